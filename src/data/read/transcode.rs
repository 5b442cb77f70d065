//! Text in UTF-16 and Windows-1252 as UTF-8, while it is read.

use std::io::{Error, ErrorKind, Read};

use crate::config::Encoding;

/// How many bytes are taken at once.
const STEP: usize = 64 << 10;

/// A reader of UTF-8 over a reader of something else.
pub(super) struct Transcoded<R> {
    input: R,
    encoding: Encoding,
    raw: Vec<u8>,
    text: String,
    /// How much of the text was given already.
    given: usize,
    /// What makes the bytes behind the text no text.
    fault: Option<&'static str>,
    ended: bool,
}

impl<R: Read> Transcoded<R> {
    pub(super) fn new(input: R, encoding: Encoding) -> Self {
        Self {
            input,
            encoding,
            raw: Vec::new(),
            text: String::new(),
            given: 0,
            fault: None,
            ended: false,
        }
    }

    /// Reads a step and writes it as UTF-8.
    fn fill(&mut self) -> std::io::Result<()> {
        self.text.clear();
        self.given = 0;
        let got = (&mut self.input)
            .take(STEP as u64)
            .read_to_end(&mut self.raw)?;
        self.ended = got < STEP;
        match self.encoding {
            Encoding::Windows1252 | Encoding::Utf8 => {
                self.text.extend(self.raw.drain(..).map(windows_1252));
            }
            Encoding::Utf16Le => self.utf16(u16::from_le_bytes),
            Encoding::Utf16Be => self.utf16(u16::from_be_bytes),
        }
        Ok(())
    }

    /// What may be the first half of a letter is kept for the next step.
    fn utf16(&mut self, unit: fn([u8; 2]) -> u16) {
        let (pairs, odd) = self.raw.as_chunks::<2>();
        let mut used = pairs.len();
        if !self.ended && pairs.last().is_some_and(|p| is_high(unit(*p))) {
            used -= 1;
        }
        let units = pairs.iter().take(used).map(|pair| unit(*pair));
        for letter in char::decode_utf16(units) {
            match letter {
                Ok(letter) => self.text.push(letter),
                Err(_) => {
                    self.fault = Some("half of a letter, so this is no UTF-16 text");
                    return;
                }
            }
        }
        if self.ended && !odd.is_empty() {
            self.fault = Some("half of a letter at the end, so this is no UTF-16 text");
        }
        self.raw.drain(..2 * used);
    }
}

/// The first of two units that make up one letter.
fn is_high(unit: u16) -> bool {
    (0xd800..0xdc00).contains(&unit)
}

impl<R: Read> Read for Transcoded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while self.given == self.text.len() {
            if let Some(fault) = self.fault {
                return Err(Error::new(ErrorKind::InvalidData, fault));
            }
            if self.ended {
                return Ok(0);
            }
            self.fill()?;
        }
        let mut rest = self.text.as_bytes().get(self.given..).unwrap_or_default();
        let length = rest.read(buffer)?;
        self.given += length;
        Ok(length)
    }
}

/// The letter of a byte. Five bytes stand for nothing; they are taken as Latin-1 has them, as browsers do.
fn windows_1252(byte: u8) -> char {
    const FROM_80: [char; 32] = [
        '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž',
        '\u{8f}', '\u{90}', '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}',
        'ž', 'Ÿ',
    ];
    let special = byte
        .checked_sub(0x80)
        .and_then(|n| FROM_80.get(usize::from(n)));
    special.copied().unwrap_or(char::from(byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Gives a byte at a time.
    struct Drops<'a>(&'a [u8]);

    impl Read for Drops<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let length = buffer.len().min(1);
            self.0.read(&mut buffer[..length])
        }
    }

    fn read(bytes: &[u8], encoding: Encoding) -> std::io::Result<String> {
        let mut text = String::new();
        Transcoded::new(Drops(bytes), encoding).read_to_string(&mut text)?;
        Ok(text)
    }

    fn utf16(text: &str) -> (Vec<u8>, Vec<u8>) {
        let little = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        (
            little,
            text.encode_utf16().flat_map(u16::to_be_bytes).collect(),
        )
    }

    #[test]
    fn letters_of_one_byte_are_those_of_windows() {
        let text = read(b"caf\xe9 \x80 \x9f \x81 \xff", Encoding::Windows1252).unwrap();
        assert_eq!(text, "café € Ÿ \u{81} ÿ");
    }

    #[test]
    fn a_letter_may_lie_across_two_steps() {
        // The letter of four bytes stands across the end of the first step.
        let text = format!("{}😀é", "x".repeat(STEP / 2 - 1));
        let (little, big) = utf16(&text);
        assert_eq!(read(&little, Encoding::Utf16Le).unwrap(), text);
        assert_eq!(read(&big, Encoding::Utf16Be).unwrap(), text);
    }

    #[test]
    fn what_is_before_half_a_letter_is_read() {
        for bytes in [
            &b"a\0\x00\xd8b\0"[..],
            b"a\0\x00\xdc",
            b"a\0\x00\xd8",
            b"a\0b",
        ] {
            let mut found = Vec::new();
            let mut input = Transcoded::new(bytes, Encoding::Utf16Le);
            let error = input.read_to_end(&mut found).unwrap_err();
            assert!(error.to_string().contains("half of a letter"), "{error}");
            assert_eq!(found, b"a");
        }
    }

    proptest! {
        #[test]
        fn utf16_is_read_as_it_was_meant(text in "\\PC{0,40}") {
            let (little, big) = utf16(&text);
            prop_assert_eq!(&read(&little, Encoding::Utf16Le).unwrap(), &text);
            prop_assert_eq!(&read(&big, Encoding::Utf16Be).unwrap(), &text);
        }
    }
}
