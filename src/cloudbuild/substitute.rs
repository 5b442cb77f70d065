//! Substitutions: the template language of a build's strings, and which keys match which references.
//!
//! Read from left to right, `$$` is one `$`, `$KEY` and `${KEY}` are references, and every other `$`
//! stays. What is put in is not read again. Under `dynamicSubstitutions` the values of the user's keys
//! are templates themselves, with bash's expansions ([`expansion`]).

mod expansion;
#[cfg(test)]
mod properties;

use std::collections::{BTreeMap, BTreeSet};

use super::problem::Problem;
use crate::settings::yaml::Mark;

/// The longest value, also after its expansion: Cloud Build's limit of bytes for one value.
pub(super) const VALUE_BYTES: usize = 4000;
/// How much the strings of a build may take together once substitutions are filled in.
const TOTAL_BYTES: usize = 64 << 20;

/// Built-ins that every build has.
const ALWAYS: [&str; 4] = ["PROJECT_ID", "PROJECT_NUMBER", "BUILD_ID", "LOCATION"];
/// Built-ins that a trigger sets; on the command line they may be given by hand.
const OF_TRIGGERS: [&str; 12] = [
    "TRIGGER_NAME",
    "COMMIT_SHA",
    "REVISION_ID",
    "SHORT_SHA",
    "REPO_NAME",
    "REPO_FULL_NAME",
    "BRANCH_NAME",
    "TAG_NAME",
    "REF_NAME",
    "TRIGGER_BUILD_CONFIG_PATH",
    "SERVICE_ACCOUNT_EMAIL",
    "SERVICE_ACCOUNT",
];

/// Every built-in key.
pub(super) fn built_ins() -> impl Iterator<Item = &'static str> {
    ALWAYS.into_iter().chain(OF_TRIGGERS)
}

fn is_built_in(key: &str) -> bool {
    ALWAYS.contains(&key) || OF_TRIGGERS.contains(&key)
}

/// Whether a key may be the user's own: `_` and at least one capital letter, digit or `_`.
pub(super) fn is_user_key(key: &str) -> bool {
    key.len() > 1
        && key.starts_with('_')
        && key
            .bytes()
            .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
}

/// Whether a key may be given on the command line.
pub(super) fn is_overridable(key: &str) -> bool {
    is_user_key(key) || OF_TRIGGERS.contains(&key)
}

/// A part of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    Text(&'a str),
    Key(&'a str),
}

/// Takes a template apart.
pub(super) fn pieces(template: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = template;
    let mut text = 0;
    while let Some(at) = rest[text..].find('$').map(|at| at + text) {
        let behind = &rest[at + 1..];
        let (keep, taken, key) = if behind.starts_with('$') {
            (at + 1, at + 2, None)
        } else if let Some((key, length)) = reference(behind) {
            (at, at + 1 + length, Some(key))
        } else {
            text = at + 1;
            continue;
        };
        if keep > 0 {
            pieces.push(Piece::Text(&rest[..keep]));
        }
        pieces.extend(key.map(Piece::Key));
        rest = &rest[taken..];
        text = 0;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest));
    }
    pieces
}

/// A reference from behind its `$`: the key, and the bytes it takes with its braces.
fn reference(text: &str) -> Option<(&str, usize)> {
    if let Some(braced) = text.strip_prefix('{') {
        let key = leading_key(braced)?;
        return braced[key.len()..]
            .starts_with('}')
            .then_some((key, key.len() + 2));
    }
    leading_key(text).map(|key| (key, key.len()))
}

/// The longest key that a text begins with.
fn leading_key(text: &str) -> Option<&str> {
    let is_first = |b: u8| b.is_ascii_uppercase() || b == b'_';
    let length = text
        .bytes()
        .take_while(|b| is_first(*b) || b.is_ascii_digit())
        .count();
    (length > 0 && is_first(text.as_bytes()[0])).then_some(&text[..length])
}

/// A key that was given a value, in the file or on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Given {
    pub(super) key: String,
    pub(super) value: String,
    /// None for the command line.
    pub(super) mark: Option<Mark>,
}

/// How a build's substitutions are matched and expanded.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rules {
    /// `ALLOW_LOOSE`.
    pub(super) loose: bool,
    /// `dynamicSubstitutions`.
    pub(super) dynamic: bool,
    /// Some step gets every key as a variable, so that every key is used.
    pub(super) automapped: bool,
}

/// Every reference of a build, matched against what was given.
pub(super) struct Matched<'a> {
    given: &'a [Given],
    dynamic: bool,
    /// Every key that something refers to.
    pub(super) used: BTreeSet<String>,
}

/// Matches references and keys in both directions. All mismatches are one problem.
pub(super) fn match_keys<'a>(
    templates: &[(Mark, &str)],
    given: &'a [Given],
    rules: Rules,
) -> Result<Matched<'a>, Problem> {
    let mut references: Vec<(Option<Mark>, &str)> = Vec::new();
    for (mark, template) in templates {
        for piece in pieces(template) {
            if let Piece::Key(key) = piece {
                references.push((Some(*mark), key));
            }
        }
    }
    if rules.dynamic {
        for own in given.iter().filter(|given| is_user_key(&given.key)) {
            let keys = expansion::keys(&own.value).map_err(|message| Problem {
                mark: own.mark,
                message: format!("the value of `{}`: {message}", own.key),
                hint: None,
            })?;
            references.extend(keys.into_iter().map(|key| (own.mark, key)));
        }
    }
    let (used, mismatches) = compare(&references, given, rules);
    if mismatches.is_empty() {
        return Ok(Matched {
            given,
            dynamic: rules.dynamic,
            used,
        });
    }
    let in_template =
        "a `$` for the shell is written `$$`, a substitution of your own begins with `_`";
    let is_unknown = |(_, mismatch): &(_, Mismatch)| !matches!(mismatch, Mismatch::Unused(_));
    let hint = mismatches.iter().any(is_unknown);
    let messages: Vec<String> = mismatches.iter().map(|(_, m)| m.to_string()).collect();
    Err(Problem {
        mark: mismatches.iter().find_map(|(mark, _)| *mark),
        message: messages.join("; "),
        hint: hint.then(|| in_template.to_owned()),
    })
}

/// A reference without a key, or a key without a reference, in Cloud Build's words.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
enum Mismatch {
    #[error("key in the template \"{0}\" is not a valid built-in substitution")]
    NotBuiltIn(String),
    #[error("key in the template \"{0}\" is not matched in the substitution data")]
    NotGiven(String),
    #[error("key \"{0}\" in the substitution data is not matched in the template")]
    Unused(String),
}

/// Every key that something refers to, and what does not match, each once.
fn compare(
    references: &[(Option<Mark>, &str)],
    given: &[Given],
    rules: Rules,
) -> (BTreeSet<String>, Vec<(Option<Mark>, Mismatch)>) {
    let names: BTreeSet<&str> = given.iter().map(|given| given.key.as_str()).collect();
    let mut used = BTreeSet::new();
    let mut mismatches = Vec::new();
    for (mark, key) in references {
        let key = (*key).to_owned();
        if !used.insert(key.clone()) || is_built_in(&key) || names.contains(&*key) {
        } else if !key.starts_with('_') {
            mismatches.push((*mark, Mismatch::NotBuiltIn(key)));
        } else if !rules.loose {
            mismatches.push((*mark, Mismatch::NotGiven(key)));
        }
    }
    for own in given {
        if !rules.loose && !rules.automapped && !used.contains(&own.key) {
            mismatches.push((own.mark, Mismatch::Unused(own.key.clone())));
        }
    }
    (used, mismatches)
}

impl Matched<'_> {
    /// The value of every key: built-ins, what was given over them, dynamic values expanded.
    pub(super) fn values(
        &self,
        built_ins: BTreeMap<String, String>,
    ) -> Result<BTreeMap<String, String>, Problem> {
        let mut values = built_ins;
        let mut waiting: BTreeMap<&str, &Given> = BTreeMap::new();
        for given in self.given {
            if self.dynamic && is_user_key(&given.key) {
                waiting.insert(&given.key, given);
            } else {
                values.insert(given.key.clone(), given.value.clone());
            }
        }
        // Whatever refers to nothing that waits can be expanded; the longest chain sets the rounds.
        while !waiting.is_empty() {
            let ready: Vec<&str> = waiting
                .iter()
                .filter(|(_, given)| {
                    expansion::keys(&given.value)
                        .is_ok_and(|keys| !keys.iter().any(|key| waiting.contains_key(key)))
                })
                .map(|(key, _)| *key)
                .collect();
            if ready.is_empty() {
                let keys: Vec<&str> = waiting.keys().copied().collect();
                return Err(Problem {
                    mark: waiting.values().find_map(|given| given.mark),
                    message: format!(
                        "the substitutions {} refer to each other in a circle",
                        keys.join(", ")
                    ),
                    hint: None,
                });
            }
            for key in ready {
                let Some(given) = waiting.remove(key) else {
                    continue;
                };
                let value =
                    expansion::expand(&given.value, &values).map_err(|message| Problem {
                        mark: given.mark,
                        message: format!("the value of `{key}`: {message}"),
                        hint: None,
                    })?;
                values.insert(key.to_owned(), value);
            }
        }
        Ok(values)
    }
}

/// Fills templates in; a key without a value is empty.
pub(super) fn fill(
    templates: Vec<(Mark, &mut String)>,
    values: &BTreeMap<String, String>,
) -> Result<(), Problem> {
    let mut left = TOTAL_BYTES;
    for (mark, template) in templates {
        if !template.contains('$') {
            continue;
        }
        let filled = fill_one(template, values);
        left = left
            .checked_sub(filled.len())
            .ok_or_else(|| Problem::new(mark, "the substitutions make the build too large"))?;
        *template = filled;
    }
    Ok(())
}

fn fill_one(template: &str, values: &BTreeMap<String, String>) -> String {
    pieces(template)
        .into_iter()
        .map(|piece| match piece {
            Piece::Text(text) => text,
            Piece::Key(key) => values.get(key).map_or("", String::as_str),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MARK: Mark = Mark::START;

    fn given(pairs: &[(&str, &str)]) -> Vec<Given> {
        pairs
            .iter()
            .map(|(key, value)| Given {
                key: (*key).to_owned(),
                value: (*value).to_owned(),
                mark: None,
            })
            .collect()
    }

    fn values(pairs: &[(&str, &str)]) -> Result<BTreeMap<String, String>, Problem> {
        let given = given(pairs);
        let rules = Rules {
            loose: true,
            dynamic: true,
            automapped: false,
        };
        let built_ins = BTreeMap::from([("PROJECT_ID".to_owned(), "p".to_owned())]);
        match_keys(&[], &given, rules)?.values(built_ins)
    }

    #[test]
    fn the_grammar_reads_dollars_from_left_to_right() {
        let values = BTreeMap::from([
            ("_A".to_owned(), "val".to_owned()),
            ("_A_B".to_owned(), "$_A".to_owned()),
            ("T".to_owned(), "t".to_owned()),
        ]);
        for (template, expected) in [
            ("$_A ${_A}", "val val"),
            ("$$_A", "$_A"),
            ("$$$_A", "$val"),
            ("$$$$", "$$"),
            ("$_A_B", "$_A"),
            ("$_Abc", "valbc"),
            ("$Total", "total"),
            (
                "$(x) $1 $? $lower ${lower} $",
                "$(x) $1 $? $lower ${lower} $",
            ),
            (
                "${_A:-x} ${_A%x} ${_A[0]} ${_A",
                "${_A:-x} ${_A%x} ${_A[0]} ${_A",
            ),
            ("ä$_A", "äval"),
            ("$_NONE.", "."),
        ] {
            assert_eq!(fill_one(template, &values), expected, "{template}");
        }
    }

    #[test]
    fn every_mismatch_is_told_at_once() {
        let given = given(&[("_UNUSED", ""), ("_USED", ""), ("COMMIT_SHA", "")]);
        let templates = [(MARK, "$_USED $_MISSING $HOME $PROJECT_ID ${HOME}")];
        let problem = match_keys(&templates, &given, Rules::default())
            .err()
            .unwrap();
        assert_eq!(
            problem.message,
            "key in the template \"_MISSING\" is not matched in the substitution data; \
             key in the template \"HOME\" is not a valid built-in substitution; \
             key \"_UNUSED\" in the substitution data is not matched in the template; \
             key \"COMMIT_SHA\" in the substitution data is not matched in the template"
        );
        let loose = Rules {
            loose: true,
            ..Rules::default()
        };
        let problem = match_keys(&templates, &given, loose).err().unwrap();
        assert_eq!(
            problem.message,
            "key in the template \"HOME\" is not a valid built-in substitution"
        );
        let automapped = Rules {
            automapped: true,
            ..Rules::default()
        };
        assert!(match_keys(&[], &given, automapped).is_ok());
    }

    #[test]
    fn dynamic_values_refer_to_each_other_in_any_order() {
        let values = values(&[
            ("_A", "${_B}/$PROJECT_ID"),
            ("_B", "$_C-b"),
            ("_C", "c$$"),
            ("_D", "${_A}"),
        ])
        .unwrap();
        assert_eq!(values["_A"], "c$-b/p");
        assert_eq!(values["_D"], "c$-b/p");
    }

    #[test]
    fn a_circle_and_a_value_that_grows_are_refused() {
        let problem = values(&[
            ("_A", "$_B"),
            ("_B", "${_C:-$_A}"),
            ("_C", ""),
            ("_D", "$_A"),
        ]);
        insta::assert_snapshot!(
            problem.unwrap_err().message,
            @"the substitutions _A, _B, _D refer to each other in a circle"
        );
        let names: Vec<String> = (0..40).map(|i| format!("_K{i}")).collect();
        let bodies: Vec<String> = (1..41).map(|i| format!("$_K{i}$_K{i}")).collect();
        let mut pairs: Vec<(&str, &str)> = names
            .iter()
            .zip(&bodies)
            .map(|(name, body)| (name.as_str(), body.as_str()))
            .collect();
        pairs.push(("_K40", "xxxx"));
        insta::assert_snapshot!(values(&pairs).unwrap_err().message, @"the value of `_K30`: it becomes longer than 4000 bytes");
    }

    proptest! {
        #[test]
        fn doubled_dollars_give_back_any_text(text in "\\PC{0,40}") {
            let doubled = text.replace('$', "$$");
            prop_assert_eq!(fill_one(&doubled, &BTreeMap::new()), text);
        }

        #[test]
        fn no_template_makes_it_panic(text in "[${}A_a1:/#% -]{0,30}|\\PC{0,30}") {
            let values = BTreeMap::from([("_A".to_owned(), "$A".to_owned())]);
            let filled = fill_one(&text, &values);
            if !text.contains('$') {
                prop_assert_eq!(filled, text);
            }
        }

        #[test]
        fn pieces_cover_the_template(text in "[${}A_a1]{0,30}") {
            let mut taken = 0;
            for piece in pieces(&text) {
                taken += match piece {
                    Piece::Text(part) => part.len(),
                    Piece::Key(key) => key.len() + 1,
                };
            }
            prop_assert!(taken <= text.len());
        }
    }
}
