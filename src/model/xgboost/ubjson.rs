//! UBJSON, as XGBoost writes it, for `serde` to read: nothing is held beside the bytes but what is asked for.
//!
//! Strings and keys are bytes with their length before them; arrays may name the type of their elements and
//! their count. A count is held against the bytes that are left before anything is made of it.

use std::fmt;

use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};

/// Arrays and objects in each other; XGBoost's own models need seven.
const DEEPEST: usize = 32;

/// Why bytes are no UBJSON, and after how many of them.
#[derive(Debug)]
pub(super) struct Error(String);

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

impl de::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

type Result<T> = std::result::Result<T, Error>;

/// The value that is the whole of the bytes.
///
/// # Errors
/// Where the bytes end too early, go on behind the value, or hold another one than `T`.
pub(super) fn read<'de, T: de::Deserialize<'de>>(bytes: &'de [u8]) -> Result<T> {
    let mut reader = Reader {
        bytes,
        at: 0,
        depth: 0,
        typed: None,
    };
    let value = T::deserialize(&mut reader)
        .map_err(|Error(why)| Error(format!("{why}, at byte {}", reader.at)))?;
    match reader.bytes.len() - reader.at {
        0 => Ok(value),
        more => Err(Error(format!("{more} bytes follow the model's end"))),
    }
}

struct Reader<'de> {
    bytes: &'de [u8],
    at: usize,
    depth: usize,
    /// The type of the value that comes next, where its array has named it.
    typed: Option<u8>,
}

impl<'de> Reader<'de> {
    fn take(&mut self, count: usize) -> Result<&'de [u8]> {
        let end = self.at.checked_add(count);
        let taken = end.and_then(|end| self.bytes.get(self.at..end));
        let taken = taken.ok_or_else(|| Error("the file ends in the middle".to_owned()))?;
        self.at += count;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let taken = self.take(N)?;
        taken
            .try_into()
            .map_err(|_| Error("a number is cut".to_owned()))
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// The type of the value that comes next.
    fn tag(&mut self) -> Result<u8> {
        if let Some(tag) = self.typed.take() {
            return Ok(tag);
        }
        loop {
            match self.take(1)? {
                // Nothing, which may stand anywhere.
                b"N" => {}
                tag => return Ok(tag.first().copied().unwrap_or_default()),
            }
        }
    }

    fn whole(&mut self, tag: u8) -> Result<i64> {
        Ok(match tag {
            b'i' => i8::from_be_bytes(self.array()?).into(),
            b'U' => u8::from_be_bytes(self.array()?).into(),
            b'I' => i16::from_be_bytes(self.array()?).into(),
            b'l' => i32::from_be_bytes(self.array()?).into(),
            b'L' => i64::from_be_bytes(self.array()?),
            other => {
                let shown = char::from(other).escape_default();
                return Err(Error(format!("`{shown}` is no type of a count")));
            }
        })
    }

    /// A count of things that take at least a byte each, but those of a typed array may take none.
    fn count(&mut self) -> Result<usize> {
        let tag = self.tag()?;
        let count = self.whole(tag)?;
        let count = usize::try_from(count).ok();
        let left = self.bytes.len() - self.at;
        count
            .filter(|count| *count <= left)
            .ok_or_else(|| Error("a count is larger than the file".to_owned()))
    }

    fn text(&mut self) -> Result<&'de str> {
        let count = self.count()?;
        let bytes = self.take(count)?;
        std::str::from_utf8(bytes).map_err(|_| Error("a text is not in UTF-8".to_owned()))
    }

    /// What an array or object says of its elements before them: their type and their count.
    fn head(&mut self) -> Result<(Option<u8>, Option<usize>)> {
        let mut kind = None;
        if self.peek() == Some(b'$') {
            self.at += 1;
            kind = Some(self.tag()?);
        }
        let mut count = None;
        if self.peek() == Some(b'#') {
            self.at += 1;
            count = Some(self.count()?);
        }
        if kind.is_some() && count.is_none() {
            return Err(Error("an array has a type and no count".to_owned()));
        }
        Ok((kind, count))
    }

    fn enter<T>(&mut self, inside: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.depth == DEEPEST {
            return Err(Error("it is too deep".to_owned()));
        }
        self.depth += 1;
        let value = inside(self);
        self.depth -= 1;
        value
    }
}

/// Bytes of a number of this type.
fn width(kind: u8) -> Option<usize> {
    match kind {
        b'i' | b'U' | b'C' => Some(1),
        b'I' => Some(2),
        b'l' | b'd' => Some(4),
        b'L' | b'D' => Some(8),
        _ => None,
    }
}

impl<'de> Deserializer<'de> for &mut Reader<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.tag()? {
            b'Z' => visitor.visit_unit(),
            b'T' => visitor.visit_bool(true),
            b'F' => visitor.visit_bool(false),
            b'd' => visitor.visit_f32(f32::from_be_bytes(self.array()?)),
            b'D' => visitor.visit_f64(f64::from_be_bytes(self.array()?)),
            b'C' => visitor.visit_char(char::from(u8::from_be_bytes(self.array()?))),
            b'S' => visitor.visit_borrowed_str(self.text()?),
            b'[' => self.enter(|reader| {
                let (kind, left) = reader.head()?;
                visitor.visit_seq(Elements { reader, kind, left })
            }),
            b'{' => self.enter(|reader| {
                let (kind, left) = reader.head()?;
                visitor.visit_map(Elements { reader, kind, left })
            }),
            tag => visitor.visit_i64(self.whole(tag)?),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        if self.typed.is_none() && self.peek() == Some(b'Z') {
            self.at += 1;
            return visitor.visit_none();
        }
        visitor.visit_some(self)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        // Half of a model are arrays of numbers that nobody asks for.
        if self.typed.is_none()
            && self
                .bytes
                .get(self.at..)
                .is_some_and(|b| b.starts_with(b"[$"))
        {
            let start = self.at;
            self.at += 1;
            let (kind, count) = self.head()?;
            if let (Some(width), Some(count)) = (kind.and_then(width), count) {
                self.take(count.saturating_mul(width))?;
                return visitor.visit_unit();
            }
            self.at = start;
        }
        self.deserialize_any(visitor)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier
    }
}

/// The rest of an array or of an object.
struct Elements<'a, 'de> {
    reader: &'a mut Reader<'de>,
    /// Of every element.
    kind: Option<u8>,
    /// How many come; until the closing bracket where it is not said.
    left: Option<usize>,
}

impl Elements<'_, '_> {
    /// Whether there is another element.
    fn more(&mut self, end: u8) -> bool {
        match &mut self.left {
            Some(0) => false,
            Some(left) => {
                *left -= 1;
                true
            }
            None => {
                while self.reader.peek() == Some(b'N') {
                    self.reader.at += 1;
                }
                let ended = self.reader.peek() == Some(end);
                self.reader.at += usize::from(ended);
                if ended {
                    self.left = Some(0);
                }
                !ended
            }
        }
    }
}

impl<'de> SeqAccess<'de> for Elements<'_, 'de> {
    type Error = Error;

    fn next_element_seed<T: de::DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>> {
        if !self.more(b']') {
            return Ok(None);
        }
        self.reader.typed = self.kind;
        seed.deserialize(&mut *self.reader).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        self.left
    }
}

impl<'de> MapAccess<'de> for Elements<'_, 'de> {
    type Error = Error;

    fn next_key_seed<K: de::DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>> {
        if !self.more(b'}') {
            return Ok(None);
        }
        let key = self.reader.text()?;
        seed.deserialize(de::value::BorrowedStrDeserializer::new(key))
            .map(Some)
    }

    fn next_value_seed<V: de::DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value> {
        self.reader.typed = self.kind;
        seed.deserialize(&mut *self.reader)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn values_are_read_in_every_form_that_is_written() {
        let bytes = [
            &b"{i\x01a[$U#i\x03\x01\x02\xffL\0\0\0\0\0\0\0\x01b[#i\x02Si\x02hiT"[..],
            b"i\x01c[i\x05I\x01\x00l\xff\xff\xff\xff]i\x01d{N}i\x01eZi\x01fd\x3f\x80\0\0}",
        ];
        let read: Value = read(&bytes.concat()).unwrap();
        assert_eq!(
            read,
            json!({"a": [1, 2, 255], "b": ["hi", true], "c": [5, 256, -1], "d": {}, "e": null, "f": 1.0})
        );
    }

    #[test]
    fn what_is_not_asked_for_is_passed_over() {
        #[derive(serde::Deserialize)]
        struct Some {
            b: u8,
        }
        let bytes = b"{i\x01a[$d#i\x02\0\0\0\0\0\0\0\0i\x01c[$[#i\x01i\x01]i\x01bU\x07}";
        assert_eq!(read::<Some>(bytes).unwrap().b, 7);
    }

    #[test]
    fn a_count_beyond_the_file_is_no_memory() {
        for (bytes, why) in [
            (&b"[$d#L\x7f\0\0\0\0\0\0\0"[..], "larger than the file"),
            (b"[$Z#L\x7f\0\0\0\0\0\0\0", "larger than the file"),
            (b"{i\x01aSL\0\0\0\0\0\0\0\x09hello", "larger than the file"),
            (b"{i\x01ad\0\0", "ends in the middle"),
            (b"[$d]", "no count"),
            (b"Z ", "follow"),
        ] {
            let error = read::<Value>(bytes).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
        let deep = vec![b'['; 100_000];
        assert!(
            read::<Value>(&deep)
                .unwrap_err()
                .to_string()
                .contains("deep")
        );
    }
}
