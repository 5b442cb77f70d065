//! Why a build was started: what a trigger's decision hands to the build, and what the build records of it.

use std::ffi::OsString;

use serde::{Deserialize, Serialize};

use super::Record;

/// The variables in which a build's config hands the reason to its steps.
pub(crate) const CAUSE_VARIABLE: &str = "SERIN_CAUSE";
pub(crate) const REASON_VARIABLE: &str = "SERIN_REASON";
pub(crate) const KEY_VARIABLE: &str = "SERIN_KEY";
/// The variable with Cloud Build's id of the build.
pub(crate) const BUILD_VARIABLE: &str = "BUILD_ID";

/// The longest reason in bytes; Cloud Build takes 4,000 for a substitution.
const LONGEST_REASON: usize = 1000;
/// The longest key in bytes: it is part of an object's name.
const LONGEST_KEY: usize = 200;

/// The cause of a build with its figures, and the key under which it is started once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// `on_demand`, `schedule`, `new_data`, `performance` or `drift`.
    pub cause: String,
    /// One sentence with the figures.
    pub reason: String,
    pub key: String,
}

impl Reason {
    /// What the variables of this process say; `None` for a build that no trigger of serin's started.
    pub(crate) fn from_variables(variable: impl Fn(&str) -> Option<OsString>) -> Option<Self> {
        let text = |name: &str| {
            let value = variable(name).map(|value| value.to_string_lossy().into_owned());
            value.unwrap_or_default()
        };
        let key = text(KEY_VARIABLE);
        is_key(&key).then(|| Self {
            cause: plain(&text(CAUSE_VARIABLE)),
            reason: plain(&text(REASON_VARIABLE)),
            key,
        })
    }

    /// Of this process.
    pub(crate) fn from_env() -> Option<Self> {
        Self::from_variables(|name| std::env::var_os(name))
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { cause, reason, key } = self;
        write!(f, "started by {cause}: {reason} (key {key})")
    }
}

/// Whether a text can be a key: it stands in names of objects.
pub(crate) fn is_key(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    !text.is_empty() && text.len() <= LONGEST_KEY && text.bytes().all(plain)
}

/// A text as the value of a substitution: one line, and nothing that Cloud Build would expand.
pub(crate) fn plain(text: &str) -> String {
    let mut plain: String = text
        .chars()
        .map(|c| match c {
            c if c.is_control() => ' ',
            '$' => '\u{ff04}',
            c => c,
        })
        .collect();
    if plain.len() > LONGEST_REASON {
        plain.truncate(plain.floor_char_boundary(LONGEST_REASON - 3));
        plain.push_str("...");
    }
    plain.trim().to_owned()
}

/// `claim.json`: which build has the key of this workspace's build.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Claimed {
    pub key: String,
    /// Cloud Build's id of the build that works in this workspace.
    pub build: String,
    /// The build that has the key: where it is another one, this build is a twin and does nothing.
    pub holder: String,
}

impl Record for Claimed {
    const FILE: &'static str = "claim.json";
    const SCHEMA: &'static str = "serin/claim/v1";
    const STEP: &'static str = "lint";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_without_a_key_was_started_by_no_trigger() {
        let with = |key: &'static str| {
            Reason::from_variables(|name| {
                let value = match name {
                    KEY_VARIABLE => key,
                    CAUSE_VARIABLE => "new_data",
                    _ => "5120 new\nrows for $5",
                };
                Some(value.into())
            })
        };
        assert_eq!(with(""), None);
        assert_eq!(with("a/b"), None, "a key is part of an object's name");
        let reason = with("new-data-v3-1a2b").unwrap();
        assert_eq!(
            reason.to_string(),
            "started by new_data: 5120 new rows for \u{ff04}5 (key new-data-v3-1a2b)"
        );
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let cut = plain(&"ü".repeat(1000));
        assert!(cut.len() <= LONGEST_REASON && cut.ends_with("..."));
    }
}
