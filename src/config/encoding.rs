//! How the letters of a text are written as bytes: the encodings of the WHATWG's Encoding Standard, by their labels.

use encoding_rs as e;

use crate::settings::nearest;

pub type Encoding = &'static e::Encoding;

/// Every encoding of the standard, the usual ones last: of names that are equally near the last is told. Each has more
/// labels than its name.
const ENCODINGS: &[Encoding] = &[
    e::EUC_JP,
    e::EUC_KR,
    e::ISO_2022_JP,
    e::WINDOWS_1250,
    e::WINDOWS_1251,
    e::WINDOWS_1253,
    e::WINDOWS_1254,
    e::WINDOWS_1255,
    e::WINDOWS_1256,
    e::WINDOWS_1257,
    e::WINDOWS_1258,
    e::WINDOWS_874,
    e::ISO_8859_2,
    e::ISO_8859_3,
    e::ISO_8859_4,
    e::ISO_8859_5,
    e::ISO_8859_6,
    e::ISO_8859_7,
    e::ISO_8859_8,
    e::ISO_8859_8_I,
    e::ISO_8859_10,
    e::ISO_8859_13,
    e::ISO_8859_14,
    e::ISO_8859_15,
    e::ISO_8859_16,
    e::IBM866,
    e::KOI8_R,
    e::KOI8_U,
    e::MACINTOSH,
    e::X_MAC_CYRILLIC,
    e::X_USER_DEFINED,
    e::WINDOWS_1252,
    e::BIG5,
    e::GBK,
    e::GB18030,
    e::SHIFT_JIS,
    e::UTF_16BE,
    e::UTF_16LE,
    e::UTF_8,
];

/// The encoding of a label, such as `utf-8`, `latin-1` or `shift_jis`; case does not matter.
pub fn encoding(label: &str) -> Option<Encoding> {
    // `latin-1` is no label of the standard, and the name that people write.
    let label = match label.eq_ignore_ascii_case("latin-1") {
        true => "latin1",
        false => label,
    };
    e::Encoding::for_label_no_replacement(label.as_bytes())
}

/// What may have been meant by a label that is none.
pub fn encoding_hint(label: &str) -> String {
    match nearest(label, ENCODINGS.iter().map(|encoding| encoding.name())) {
        Some(near) => format!("did you mean `{}`?", near.to_lowercase()),
        None => "known are those of browsers, such as `utf-16le` or `windows-1252`".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_a_label() {
        for known in ENCODINGS {
            assert_eq!(encoding(&known.name().to_lowercase()), Some(*known));
        }
        for label in ["latin-1", "Latin1", "iso-8859-1", "cp1252", "windows-1252"] {
            assert_eq!(encoding(label), Some(e::WINDOWS_1252), "{label}");
        }
        assert_eq!(encoding("utf-16"), Some(e::UTF_16LE));
    }

    #[test]
    fn a_label_that_is_none_is_held_against_the_names() {
        // Browsers know the last one, so that they refuse it.
        for label in ["shift-jjis", "klingon", "hz-gb-2312"] {
            assert_eq!(encoding(label), None, "{label}");
        }
        assert_eq!(encoding_hint("shift-jjis"), "did you mean `shift_jis`?");
        assert_eq!(encoding_hint("windows-125"), "did you mean `windows-1252`?");
        assert!(encoding_hint("klingon").contains("such as `utf-16le`"));
    }
}
