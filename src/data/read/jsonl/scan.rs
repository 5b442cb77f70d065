//! The JSON of one line (RFC 8259), checked in full and taken apart where it stands.
//!
//! Nothing is copied: a cell is a place in the line. What has to be rewritten, escapes and the spaces in
//! nested values, never gets longer, so that it can be rewritten in its place later.

/// How deep values may be nested.
const DEEPEST: usize = 128;

/// What is wrong with a line, and at which byte of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    pub at: usize,
    pub what: &'static str,
}

/// A key or a value of an object, without the quotes of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cell {
    pub start: usize,
    pub end: usize,
    pub kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Null,
    /// Its bytes are the cell.
    Plain,
    /// A text with escapes: see [`unescape`].
    Escaped,
    /// An object or an array with spaces in it: see [`compact`].
    Spaced,
}

/// Gives each key of the line's object with its value to `member`, which may refuse it.
///
/// The line is UTF-8.
///
/// # Errors
/// When the line is no object, or not written as JSON is.
pub(super) fn object(
    line: &[u8],
    mut member: impl FnMut(Cell, Cell) -> Result<(), Wrong>,
) -> Result<(), Wrong> {
    let mut scan = Scan {
        line,
        at: 0,
        spaced: false,
    };
    scan.skip_spaces();
    scan.expect(b'{', "this is no JSON object")?;
    scan.skip_spaces();
    if !scan.take(b'}') {
        loop {
            let key = scan.key()?;
            let value = scan.cell()?;
            member(key, value)?;
            scan.skip_spaces();
            if scan.take(b'}') {
                break;
            }
            scan.expect(b',', "`,` or `}` is missing")?;
            scan.skip_spaces();
        }
    }
    scan.skip_spaces();
    match scan.peek() {
        None => Ok(()),
        Some(_) => Err(scan.wrong("more follows behind the object")),
    }
}

/// Writes a text without its escapes to the front of its bytes; gives the new length.
pub(super) fn unescape(text: &mut [u8]) -> usize {
    let (mut from, mut to) = (0, 0);
    let mut utf8 = [0; 4];
    while let Some(&byte) = text.get(from) {
        let (letter, length) = match byte {
            b'\\' => escape(text.get(from + 1..).unwrap_or_default()),
            _ => (None, 0),
        };
        let written = match letter {
            Some(letter) => letter.encode_utf8(&mut utf8).as_bytes(),
            None => {
                utf8[0] = byte;
                &utf8[..1]
            }
        };
        from += 1 + length;
        for byte in written {
            // An escape is never shorter than what it stands for, so this is behind `from`.
            if let Some(place) = text.get_mut(to) {
                *place = *byte;
            }
            to += 1;
        }
    }
    to
}

/// Writes a nested value without spaces to the front of its bytes; gives the new length.
pub(super) fn compact(value: &mut [u8]) -> usize {
    let (mut to, mut quoted, mut escaped) = (0, false, false);
    for from in 0..value.len() {
        let Some(&byte) = value.get(from) else { break };
        if !quoted && is_space(byte) {
            continue;
        }
        if byte == b'"' && !escaped {
            quoted = !quoted;
        }
        escaped = byte == b'\\' && !escaped;
        if let Some(place) = value.get_mut(to) {
            *place = byte;
        }
        to += 1;
    }
    to
}

/// What an escape stands for, and its length, both behind the backslash; none where it is wrong.
fn escape(rest: &[u8]) -> (Option<char>, usize) {
    let Some(kind) = rest.first() else {
        return (None, 0);
    };
    let letter = match kind {
        b'"' => '"',
        b'\\' => '\\',
        b'/' => '/',
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => {
            let Some(first) = hex(rest.get(1..5)) else {
                return (None, 0);
            };
            if let Some(letter) = char::from_u32(first) {
                return (Some(letter), 5);
            }
            let second = match rest.get(5..7) {
                Some(b"\\u") => hex(rest.get(7..11)),
                _ => None,
            };
            // Two halves of a letter behind the first 65,536.
            let letter = match (first, second) {
                (0xd800..0xdc00, Some(second @ 0xdc00..0xe000)) => {
                    char::from_u32(0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00))
                }
                _ => None,
            };
            return (letter, 11);
        }
        _ => return (None, 0),
    };
    (Some(letter), 1)
}

fn hex(digits: Option<&[u8]>) -> Option<u32> {
    digits?.iter().try_fold(0, |number, digit| {
        let digit = char::from(*digit).to_digit(16)?;
        Some(number << 4 | digit)
    })
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

struct Scan<'a> {
    line: &'a [u8],
    at: usize,
    /// Spaces were skipped.
    spaced: bool,
}

/// A text that was passed over: has it escapes, and one that stands for NUL?
struct Text {
    escaped: bool,
    nul: bool,
}

impl Scan<'_> {
    fn wrong(&self, what: &'static str) -> Wrong {
        Wrong { at: self.at, what }
    }

    fn peek(&self) -> Option<u8> {
        self.line.get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, byte: u8, what: &'static str) -> Result<(), Wrong> {
        match self.peek() {
            Some(found) if found == byte => {
                self.at += 1;
                Ok(())
            }
            Some(_) => Err(self.wrong(what)),
            None => Err(self.wrong("the object does not end on its line")),
        }
    }

    fn skip_spaces(&mut self) {
        while self.peek().is_some_and(is_space) {
            self.at += 1;
            self.spaced = true;
        }
    }

    /// A key and the colon behind it.
    fn key(&mut self) -> Result<Cell, Wrong> {
        self.expect(b'"', "a key in double quotes is missing")?;
        let key = self.text_cell()?;
        self.skip_spaces();
        self.expect(b':', "`:` is missing behind a key")?;
        self.skip_spaces();
        Ok(key)
    }

    fn cell(&mut self) -> Result<Cell, Wrong> {
        let start = self.at;
        let kind = match self.peek() {
            Some(b'"') => {
                self.at += 1;
                return self.text_cell();
            }
            Some(b'{' | b'[') => {
                self.spaced = false;
                self.value(0)?;
                match self.spaced {
                    true => Kind::Spaced,
                    false => Kind::Plain,
                }
            }
            Some(b'n') => {
                self.value(0)?;
                Kind::Null
            }
            _ => {
                self.value(0)?;
                Kind::Plain
            }
        };
        Ok(Cell {
            start,
            end: self.at,
            kind,
        })
    }

    /// A text behind its first quote.
    fn text_cell(&mut self) -> Result<Cell, Wrong> {
        let start = self.at;
        let text = self.text()?;
        if text.nul {
            self.at = start;
            return Err(self.wrong("a text holds NUL, written `\\u0000`"));
        }
        Ok(Cell {
            start,
            end: self.at - 1,
            kind: match text.escaped {
                true => Kind::Escaped,
                false => Kind::Plain,
            },
        })
    }

    fn value(&mut self, depth: usize) -> Result<(), Wrong> {
        match self.peek() {
            Some(b'"') => {
                self.at += 1;
                self.text().map(|_| ())
            }
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word(b"true"),
            Some(b'f') => self.word(b"false"),
            Some(b'n') => self.word(b"null"),
            Some(b'{' | b'[') if depth == DEEPEST => {
                Err(self.wrong("values are nested more than 128 deep"))
            }
            Some(b'{') => self.nested(depth, b'}'),
            Some(b'[') => self.nested(depth, b']'),
            Some(_) => Err(self.wrong("a value is missing, or is none of JSON")),
            None => Err(self.wrong("the object does not end on its line")),
        }
    }

    fn word(&mut self, word: &[u8]) -> Result<(), Wrong> {
        if self.line.get(self.at..self.at + word.len()) != Some(word) {
            return Err(self.wrong("a value is missing, or is none of JSON"));
        }
        self.at += word.len();
        Ok(())
    }

    fn number(&mut self) -> Result<(), Wrong> {
        self.take(b'-');
        if !self.take(b'0') {
            self.digits()?;
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            if !self.take(b'-') {
                self.take(b'+');
            }
            self.digits()?;
        }
        match self.peek() {
            Some(b'0'..=b'9') => Err(self.wrong("a number begins with a needless 0")),
            _ => Ok(()),
        }
    }

    fn digits(&mut self) -> Result<(), Wrong> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        match self.at > start {
            true => Ok(()),
            false => Err(self.wrong("a number lacks a digit")),
        }
    }

    /// An object or an array, from its first bracket on.
    fn nested(&mut self, depth: usize, end: u8) -> Result<(), Wrong> {
        self.at += 1;
        self.skip_spaces();
        if self.take(end) {
            return Ok(());
        }
        loop {
            if end == b'}' {
                self.expect(b'"', "a key in double quotes is missing")?;
                self.text()?;
                self.skip_spaces();
                self.expect(b':', "`:` is missing behind a key")?;
                self.skip_spaces();
            }
            self.value(depth + 1)?;
            self.skip_spaces();
            if self.take(end) {
                return Ok(());
            }
            self.expect(b',', "`,` or a closing bracket is missing")?;
            self.skip_spaces();
        }
    }

    /// The rest of a text and its closing quote.
    fn text(&mut self) -> Result<Text, Wrong> {
        let mut text = Text {
            escaped: false,
            nul: false,
        };
        loop {
            self.at += plain(self.line.get(self.at..).unwrap_or_default());
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(text);
                }
                Some(b'\\') => {
                    let rest = self.line.get(self.at + 1..).unwrap_or_default();
                    match escape(rest) {
                        (Some(letter), length) => {
                            text.escaped = true;
                            text.nul |= letter == '\0';
                            self.at += 1 + length;
                        }
                        (None, 11) => return Err(self.wrong("half a surrogate pair in a text")),
                        _ => return Err(self.wrong("a text has an escape that JSON has not")),
                    }
                }
                Some(_) => return Err(self.wrong("a text holds a control character")),
                None => return Err(self.wrong("a text does not end on its line")),
            }
        }
    }
}

/// How many bytes there are before the first quote, backslash or control character.
fn plain(bytes: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    // Eight bytes at once: the lowest bit set tells the first byte that is zero, or less than a space.
    let zero = |word: u64| word.wrapping_sub(ONES) & !word;
    let (words, _) = bytes.as_chunks::<8>();
    let mut before = 0;
    for word in words {
        let word = u64::from_le_bytes(*word);
        let control = word.wrapping_sub(ONES * 0x20) & !word;
        let quote = zero(word ^ (ONES * u64::from(b'"')));
        let backslash = zero(word ^ (ONES * u64::from(b'\\')));
        let found = (control | quote | backslash) & HIGH;
        if found != 0 {
            return before + found.trailing_zeros() as usize / 8;
        }
        before += 8;
    }
    let rest = bytes.get(before..).unwrap_or_default();
    let is_plain = |byte: &&u8| **byte >= 0x20 && **byte != b'"' && **byte != b'\\';
    before + rest.iter().take_while(is_plain).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The members of a line as text, nested values and escapes rewritten.
    fn members(line: &str) -> Result<Vec<(String, Option<String>)>, Wrong> {
        let mut found = Vec::new();
        object(line.as_bytes(), |key, value| {
            let text = |cell: Cell| {
                let mut bytes = line.as_bytes()[cell.start..cell.end].to_vec();
                let length = match cell.kind {
                    Kind::Null => return None,
                    Kind::Plain => bytes.len(),
                    Kind::Escaped => unescape(&mut bytes),
                    Kind::Spaced => compact(&mut bytes),
                };
                bytes.truncate(length);
                Some(String::from_utf8(bytes).unwrap())
            };
            found.push((text(key).unwrap(), text(value)));
            Ok(())
        })?;
        Ok(found)
    }

    fn wrong(line: &str) -> (usize, &'static str) {
        let wrong = members(line).unwrap_err();
        (wrong.at, wrong.what)
    }

    #[test]
    fn a_line_comes_apart_into_keys_and_values() {
        let line = r#" { "a" : -1.50e+3 ,"b":"x\n\"\u00e9\ud83d\ude00\/", "c":null,"d":true,"":[ 1, {"k" : " \" "} ], "é":{} } "#;
        let some = |key: &str, value: &str| (key.to_owned(), Some(value.to_owned()));
        assert_eq!(
            members(line).unwrap(),
            [
                some("a", "-1.50e+3"),
                some("b", "x\n\"é😀/"),
                ("c".to_owned(), None),
                some("d", "true"),
                some("", r#"[1,{"k":" \" "}]"#),
                some("é", "{}"),
            ]
        );
        assert_eq!(members("{}").unwrap(), []);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        assert_eq!(wrong("[1]"), (0, "this is no JSON object"));
        assert_eq!(wrong("{").1, "the object does not end on its line");
        assert_eq!(
            wrong(r#"{"a":1"#),
            (6, "the object does not end on its line")
        );
        assert_eq!(wrong(r#"{"a":"x"#), (7, "a text does not end on its line"));
        assert_eq!(wrong("{a:1}"), (1, "a key in double quotes is missing"));
        assert_eq!(wrong(r#"{"a" 1}"#), (5, "`:` is missing behind a key"));
        assert_eq!(wrong(r#"{"a":1 "b":2}"#), (7, "`,` or `}` is missing"));
        assert_eq!(
            wrong(r#"{"a":1,}"#),
            (7, "a key in double quotes is missing")
        );
        assert_eq!(
            wrong(r#"{"a":01}"#),
            (6, "a number begins with a needless 0")
        );
        assert_eq!(wrong(r#"{"a":1.}"#), (7, "a number lacks a digit"));
        assert_eq!(
            wrong(r#"{"a":NaN}"#),
            (5, "a value is missing, or is none of JSON")
        );
        assert_eq!(
            wrong(r#"{"a":[1 2]}"#).1,
            "`,` or a closing bracket is missing"
        );
        assert_eq!(wrong("{} x"), (3, "more follows behind the object"));
        assert_eq!(
            wrong("{\"a\":\"\t\"}"),
            (6, "a text holds a control character")
        );
        assert_eq!(
            wrong(r#"{"a":"\x"}"#),
            (6, "a text has an escape that JSON has not")
        );
        assert_eq!(
            wrong(r#"{"a":"\ud800\u0041"}"#),
            (6, "half a surrogate pair in a text")
        );
        assert_eq!(
            wrong(r#"{"a":"\u0000"}"#),
            (6, "a text holds NUL, written `\\u0000`")
        );
        // In a nested value the escape stays as it is written.
        assert!(members(r#"{"a":["\u0000"]}"#).is_ok());
        let deep = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        assert!(members(&deep(DEEPEST)).is_ok());
        assert_eq!(
            wrong(&deep(DEEPEST + 1)).1,
            "values are nested more than 128 deep"
        );
    }

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<f64>().prop_map(Into::into),
            "[^\0]*".prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 24, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(serde_json::Value::from),
                prop::collection::btree_map("[^\0]{0,9}", inner, 0..5)
                    .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(
            map in prop::collection::btree_map("[^\0]{0,12}", json(), 0..6),
            pretty: bool,
        ) {
            let written = match pretty {
                true => serde_json::to_string_pretty(&map).unwrap(),
                false => serde_json::to_string(&map).unwrap(),
            };
            let read = members(&written).unwrap();
            let expected: Vec<_> = map.iter().map(|(key, value)| {
                let text = match value {
                    serde_json::Value::Null => None,
                    serde_json::Value::String(text) => Some(text.clone()),
                    other => Some(other.to_string()),
                };
                (key.clone(), text)
            }).collect();
            prop_assert_eq!(read, expected);
        }

        /// Held against serde_json, which keeps the last of two equal keys and refuses what is too
        /// large for a number.
        #[test]
        fn a_line_is_taken_when_it_is_json(line in r#"[{}\[\]":,0-9eE.\-+ntrufalse\\ud8dc\t é]{0,24}"#) {
            for line in [line.clone(), format!("{{{line}}}"), format!("{{\"a\":{line}}}")] {
                let theirs = serde_json::from_str::<serde_json::Map<_, _>>(&line);
                let too_large = matches!(&theirs, Err(e) if e.to_string().contains("out of range"));
                let nul = line.contains("\\u0000");
                if !too_large && !nul {
                    prop_assert_eq!(members(&line).is_ok(), theirs.is_ok(), "{}", line);
                }
            }
        }
    }
}
