//! What labels of any service are made of.

/// As many as a resource may have.
pub(in crate::emulator) const MOST: usize = 64;

/// Whether a text may be a label's value, and its key as far as letters and length go: fewer than 64
/// lower-case letters, digits, underscores and dashes, in at most 128 bytes.
pub(in crate::emulator) fn is_word(text: &str) -> bool {
    let word = |c: char| {
        c.is_numeric() || c == '_' || c == '-' || (c.is_alphabetic() && !c.is_uppercase())
    };
    text.chars().count() < 64 && text.len() <= 128 && text.chars().all(word)
}
