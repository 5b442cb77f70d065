//! What is wrong with a YAML text, or what its reader should be warned about.

use super::{DEPTH, Rules};

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Problem {
    /// The parser's own words.
    #[error("{0}")]
    Syntax(String),
    #[error("a second document, {}", match .0 {
        Rules::Strict => "expected one",
        Rules::Yaml11 => "but a build config is one document",
    })]
    SecondDocument(Rules),
    #[error("the alias `*{0}` has no anchor `&{0}` before it")]
    UnknownAlias(String),
    #[error("the alias stands inside what it refers to")]
    CircularAlias,
    #[error("the aliases make the file too large")]
    AliasesTooLarge,
    #[error("the file is nested more than {DEPTH} levels deep")]
    TooDeep,
    #[error("unknown tag `{0}`")]
    UnknownTag(String),
    #[error("`{text}` does not fit its tag `{tag}`")]
    UnfitTag { text: String, tag: String },
    #[error("{}", match .0 {
        Rules::Strict => "expected a field's name",
        Rules::Yaml11 => "a key must be a plain name",
    })]
    KeyIsNoName(Rules),
    #[error("`<<` takes a mapping or a list of mappings, not {0}")]
    MergeOf(String),
    /// Of [`Rules::Yaml11`], a warning.
    #[error("the key `{0}` is here a second time; the first value is kept")]
    RepeatedKey(String),
    /// Of [`Rules::Strict`].
    #[error("`{key}` stands here a second time; the first is on line {first}")]
    DuplicateKey { key: String, first: usize },
    /// Of [`Rules::Strict`].
    #[error("anchors and aliases are not read here: write the value out")]
    Anchor,
    /// Of [`Rules::Strict`].
    #[error("tags such as `!name` are not read here: write the value without")]
    Tag,
}
