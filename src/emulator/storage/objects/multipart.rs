//! The body of a multipart upload: a JSON message, then the bytes, between boundaries.
//!
//! It is handed bytes and never reads, so that it can be cut anywhere. Two dialects are spoken:
//! lines ended by CRLF (the standard; Google's Python client) and by a bare LF (gcloud). Which one
//! is decided by the first line, because an LF may stand before a boundary as the last byte of data.

use crate::emulator::wire::error::ApiError;

/// The head of both parts together is at most this long.
const MAX_HEAD_BYTES: usize = 4 << 20;

/// The boundary in a `Content-Type` of `multipart/…`; it may stand in double or single quotes.
pub(in crate::emulator::storage) fn boundary(content_type: &str) -> Option<String> {
    let (kind, parameters) = content_type.split_once(';')?;
    if !kind.trim().to_ascii_lowercase().starts_with("multipart/") {
        return None;
    }
    parameters.split(';').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        if !name.trim().eq_ignore_ascii_case("boundary") {
            return None;
        }
        let value = value.trim();
        let bare = ['"', '\'']
            .iter()
            .find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote))
            .unwrap_or(value);
        (!bare.is_empty()).then(|| bare.to_owned())
    })
}

/// What stands before the bytes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Head {
    /// The JSON message of the first part.
    pub message: Vec<u8>,
    /// The second part's `Content-Type`.
    pub content_type: Option<String>,
}

/// A parser in the middle of its work.
pub(super) struct Multipart {
    /// `--` and the boundary.
    delimiter: Vec<u8>,
    /// What is not yet known to be anything.
    pending: Vec<u8>,
    state: State,
}

enum State {
    Head,
    Data { head: Head, end: Vec<u8> },
    Done(Head),
}

impl Multipart {
    pub(super) fn new(boundary: &str) -> Self {
        Self {
            delimiter: format!("--{boundary}").into_bytes(),
            pending: Vec::new(),
            state: State::Head,
        }
    }

    /// Takes the next bytes of the body; `data` is given those of the second part.
    ///
    /// # Errors
    /// 400 when this is no multipart upload.
    pub(super) fn push(
        &mut self,
        bytes: &[u8],
        mut data: impl FnMut(&[u8]),
    ) -> Result<(), ApiError> {
        self.pending.extend_from_slice(bytes);
        if let State::Head = self.state {
            let Some((head, newline, length)) = head(&self.pending, &self.delimiter)? else {
                if self.pending.len() > MAX_HEAD_BYTES {
                    return Err(malformed("its metadata is too long"));
                }
                return Ok(());
            };
            self.pending.drain(..length);
            let end = [newline, self.delimiter.as_slice()].concat();
            // The delimiter of no data at all follows the empty line directly.
            let empty = self.delimiter.clone();
            self.state = State::Data { head, end };
            if self.pending.starts_with(&empty) {
                self.pending.splice(..0, newline.iter().copied());
            }
        }
        if let State::Data { head, end } = &self.state {
            if let Some(at) = find(&self.pending, end) {
                data(&self.pending[..at]);
                self.pending.drain(..at + end.len());
                self.state = State::Done(head.clone());
            } else {
                // What may be the beginning of the end is held back.
                let safe = self.pending.len().saturating_sub(end.len() - 1);
                data(&self.pending[..safe]);
                self.pending.drain(..safe);
            }
        }
        Ok(())
    }

    /// The head, once everything has been pushed.
    ///
    /// # Errors
    /// 400 when the closing boundary is missing or more parts follow.
    pub(super) fn finish(self) -> Result<Head, ApiError> {
        match self.state {
            State::Done(head) if self.pending.starts_with(b"--") => Ok(head),
            State::Done(_) => Err(malformed("it has more than two parts")),
            _ => Err(malformed("its closing boundary is missing")),
        }
    }
}

fn malformed(what: &str) -> ApiError {
    ApiError::invalid_argument(format!("Malformed multipart body: {what}."))
}

/// Both heads, the kind of newline, and where the bytes begin.
type Begun = (Head, &'static [u8], usize);

/// Reads both parts' heads; `None` when there is more to come.
fn head<'a>(text: &'a [u8], delimiter: &[u8]) -> Result<Option<Begun>, ApiError> {
    let Some(begin) = find(text, delimiter) else {
        return Ok(None);
    };
    let at = begin + delimiter.len();
    let newline: &'static [u8] = match &text[at..] {
        [] | [b'\r'] => return Ok(None),
        [b'\r', b'\n', ..] => b"\r\n",
        [b'\n', ..] => b"\n",
        _ => return Err(malformed("its first boundary is none")),
    };
    // The end of a part's headers, which may be none: the position after the empty line.
    let headers = |from: usize| -> Option<(&'a [u8], usize)> {
        let rest = text.get(from..)?;
        if rest.starts_with(newline) {
            return Some((&rest[..0], from + newline.len()));
        }
        let end = find(rest, &[newline, newline].concat())?;
        Some((&rest[..end], from + end + 2 * newline.len()))
    };
    let Some((_, message)) = headers(at + newline.len()) else {
        return Ok(None);
    };
    let between = [newline, delimiter, newline].concat();
    let Some(length) = find(&text[message..], &between) else {
        return Ok(None);
    };
    let Some((second, data)) = headers(message + length + between.len()) else {
        return Ok(None);
    };
    let content_type = String::from_utf8_lossy(second).lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-type")
            .then(|| value.trim().to_owned())
    });
    let head = Head {
        message: text[message..message + length].to_vec(),
        content_type,
    };
    Ok(Some((head, newline, data)))
}

/// Where `needle` first stands in `text`.
fn find(text: &[u8], needle: &[u8]) -> Option<usize> {
    let (first, _) = needle.split_first()?;
    let mut from = 0;
    while let Some(at) = text.get(from..)?.iter().position(|b| b == first) {
        if text[from + at..].starts_with(needle) {
            return Some(from + at);
        }
        from += at + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(body: &[u8], boundary: &str, cuts: &[usize]) -> Result<(Head, Vec<u8>), ApiError> {
        let mut parts = Multipart::new(boundary);
        let mut data = Vec::new();
        let mut from = 0;
        for &cut in cuts.iter().chain([&body.len()]) {
            let to = cut.clamp(from, body.len());
            parts.push(&body[from..to], |piece| data.extend_from_slice(piece))?;
            from = to;
        }
        Ok((parts.finish()?, data))
    }

    fn body(newline: &str, data: &[u8]) -> Vec<u8> {
        let head = [
            "--==x==",
            "content-type: application/json; charset=UTF-8",
            "",
            "{\"name\": \"n\"}",
            "--==x==",
            "Content-Type: text/csv",
            "Content-Transfer-Encoding: binary",
            "",
            "",
        ];
        let mut body = head.join(newline).into_bytes();
        body.extend_from_slice(data);
        body.extend_from_slice(format!("{newline}--==x==--{newline}").as_bytes());
        body
    }

    #[test]
    fn boundaries_may_be_quoted_either_way() {
        for text in [
            "multipart/related; boundary=\"==x==\"",
            "multipart/related; boundary='==x=='",
            "Multipart/Related; charset=x; BOUNDARY===x==",
        ] {
            assert_eq!(boundary(text).as_deref(), Some("==x=="), "{text}");
        }
        assert_eq!(boundary("application/json; boundary=x"), None);
        assert_eq!(boundary("multipart/related"), None);
    }

    #[test]
    fn a_part_cut_short_or_too_many_are_refused() {
        let whole = body("\r\n", b"abc");
        for length in 0..whole.len() - 4 {
            assert!(read(&whole[..length], "==x==", &[]).is_err(), "{length}");
        }
        let mut more = whole[..whole.len() - 4].to_vec();
        more.extend_from_slice(b"\r\n\r\nx\r\n--==x==--");
        assert!(read(&more, "==x==", &[]).is_err());
        assert!(read(b"--==x==?", "==x==", &[]).is_err());
    }

    #[test]
    fn parts_need_no_headers() {
        let text = b"--b\n\n{}\n--b\n\nxyz\n--b--";
        let (head, data) = read(text, "b", &[]).unwrap();
        assert_eq!((head.message, head.content_type), (b"{}".to_vec(), None));
        assert_eq!(data, b"xyz");
    }

    proptest! {
        #[test]
        fn any_bytes_cut_anywhere_come_back(
            data in prop::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'-'), Just(b'='), any::<u8>()], 0..60),
            crlf: bool,
            mut cuts in prop::collection::vec(0_usize..250, 0..8),
        ) {
            cuts.sort_unstable();
            let newline = if crlf { "\r\n" } else { "\n" };
            let (head, read) = read(&body(newline, &data), "==x==", &cuts).unwrap();
            prop_assert_eq!(read, data);
            prop_assert_eq!(head.content_type.as_deref(), Some("text/csv"));
            prop_assert_eq!(head.message, b"{\"name\": \"n\"}");
        }
    }
}
