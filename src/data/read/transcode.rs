//! Text in another encoding as UTF-8, while it is read.

use std::io::{Error, ErrorKind, Read};

use encoding_rs::{Decoder, DecoderResult, UTF_16BE, UTF_16LE};

use crate::config::Encoding;

/// How many bytes are taken at once.
const STEP: usize = 64 << 10;

/// A reader of UTF-8 over a reader of something else.
pub(super) struct Transcoded<R> {
    input: R,
    /// Keeps what may be the first part of a letter.
    decoder: Decoder,
    raw: Vec<u8>,
    text: String,
    /// How much of the text was given already.
    given: usize,
    /// What makes the bytes behind the text no text.
    fault: Option<String>,
    ended: bool,
}

impl<R: Read> Transcoded<R> {
    pub(super) fn new(input: R, encoding: Encoding) -> Self {
        Self {
            input,
            decoder: encoding.new_decoder_without_bom_handling(),
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
        self.raw.clear();
        let step = (&mut self.input).take(STEP as u64);
        let got = { step }.read_to_end(&mut self.raw)?;
        self.ended = got < STEP;
        let decoder = &mut self.decoder;
        let room = decoder.max_utf8_buffer_length_without_replacement(got);
        self.text.reserve(room.unwrap_or(4 * STEP));
        let (result, read) =
            decoder.decode_to_string_without_replacement(&self.raw, &mut self.text, self.ended);
        if result != DecoderResult::InputEmpty {
            let encoding = decoder.encoding();
            let is_cut_off = self.ended && read == got && got % 2 == 1;
            self.fault = Some(match encoding == UTF_16LE || encoding == UTF_16BE {
                true if is_cut_off => {
                    "half of a letter at the end, so this is no UTF-16 text".into()
                }
                true => "half of a letter, so this is no UTF-16 text".into(),
                false => format!("bytes that are no {} text", encoding.name()),
            });
        }
        Ok(())
    }
}

impl<R: Read> Read for Transcoded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while self.given == self.text.len() {
            if let Some(fault) = &self.fault {
                return Err(Error::new(ErrorKind::InvalidData, fault.clone()));
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

#[cfg(test)]
mod tests {
    use super::*;
    use encoding_rs::WINDOWS_1252;
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
        let text = read(b"caf\xe9 \x80 \x9f \x81 \xff", WINDOWS_1252).unwrap();
        assert_eq!(text, "café € Ÿ \u{81} ÿ");
    }

    #[test]
    fn a_letter_may_lie_across_two_steps() {
        // The letter of four bytes stands across the end of the first step.
        let text = format!("{}😀é", "x".repeat(STEP / 2 - 1));
        let (little, big) = utf16(&text);
        assert_eq!(read(&little, UTF_16LE).unwrap(), text);
        assert_eq!(read(&big, UTF_16BE).unwrap(), text);
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
            let mut input = Transcoded::new(bytes, UTF_16LE);
            let error = input.read_to_end(&mut found).unwrap_err();
            assert!(error.to_string().contains("half of a letter"), "{error}");
            assert_eq!(found, b"a");
        }
    }

    proptest! {
        #[test]
        fn utf16_is_read_as_it_was_meant(text in "\\PC{0,40}") {
            let (little, big) = utf16(&text);
            prop_assert_eq!(&read(&little, UTF_16LE).unwrap(), &text);
            prop_assert_eq!(&read(&big, UTF_16BE).unwrap(), &text);
        }
    }
}
