//! Values under `dynamicSubstitutions`: templates with bash's parameter expansions.
//!
//! Beside `$KEY`, `${KEY}` and `$$` a value may hold `${KEY:-word}`, `${KEY:+word}`, `${KEY:=word}`
//! (the same as `:-`: nothing is assigned), `${KEY:?message}`, `${KEY:offset}`, `${KEY:offset:length}`,
//! `${KEY^}`, `${KEY^^}`, `${KEY,}`, `${KEY,,}`, `${KEY#glob}`, `${KEY##glob}`, `${KEY%glob}`,
//! `${KEY%%glob}`, `${KEY/glob/text}`, `${KEY//glob/text}`, `${KEY/#glob/text}` and
//! `${KEY/%glob/text}`, the words themselves with references. Lengths count characters.

use std::collections::BTreeMap;

use super::{VALUE_BYTES, leading_key};
use crate::pattern::Glob;

/// How deep expansions may stand in each other.
const DEPTH: usize = 32;
/// The longest glob: it bounds the work that one value can ask for.
const GLOB_PARTS: usize = 200;

#[derive(Debug, PartialEq, Eq)]
enum Part<'a> {
    Text(String),
    Key { key: &'a str, how: How<'a> },
}

type Word<'a> = Vec<Part<'a>>;

#[derive(Debug, PartialEq, Eq)]
enum How<'a> {
    Plain,
    OrElse(Word<'a>),
    IfSet(Word<'a>),
    OrFail(Word<'a>),
    Slice {
        offset: Word<'a>,
        length: Option<Word<'a>>,
    },
    Case {
        upper: bool,
        all: bool,
    },
    Trim {
        end: bool,
        longest: bool,
        glob: Word<'a>,
    },
    Replace {
        which: Which,
        glob: Word<'a>,
        with: Word<'a>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    First,
    All,
    Start,
    End,
}

/// The keys that a value refers to, in order.
///
/// # Errors
/// When an expansion in it cannot be read.
pub(super) fn keys(value: &str) -> Result<Vec<&str>, String> {
    let mut keys = Vec::new();
    collect(&parse(value)?, &mut keys);
    Ok(keys)
}

/// The value with every reference filled in; a key without a value is empty.
///
/// # Errors
/// When an expansion cannot be read or done, or the result is too long.
pub(super) fn expand(value: &str, values: &BTreeMap<String, String>) -> Result<String, String> {
    word(&parse(value)?, values)
}

fn collect<'a>(parts: &[Part<'a>], keys: &mut Vec<&'a str>) {
    for part in parts {
        let Part::Key { key, how } = part else {
            continue;
        };
        keys.push(key);
        match how {
            How::Plain | How::Case { .. } => {}
            How::OrElse(word) | How::IfSet(word) | How::OrFail(word) => collect(word, keys),
            How::Slice { offset, length } => {
                collect(offset, keys);
                collect(length.as_deref().unwrap_or_default(), keys);
            }
            How::Trim { glob, .. } => collect(glob, keys),
            How::Replace { glob, with, .. } => {
                collect(glob, keys);
                collect(with, keys);
            }
        }
    }
}

fn parse(value: &str) -> Result<Word<'_>, String> {
    let mut parser = Parser { rest: value };
    parser.word(&[], false, 0)
}

struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn eat(&mut self, text: &str) -> bool {
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// Reads up to one of the `stops`, which stays, or to the end. In a glob a backslash is kept for
    /// the glob; in other words of an expansion it takes the meaning from what ends or escapes there.
    fn word(&mut self, stops: &[char], glob: bool, depth: usize) -> Result<Word<'a>, String> {
        if depth > DEPTH {
            return Err(format!("expansions are nested more than {DEPTH} deep"));
        }
        let mut parts = Vec::new();
        let mut text = String::new();
        while let Some(c) = self.rest.chars().next() {
            if stops.contains(&c) {
                break;
            }
            if self.eat("$$") {
                text.push('$');
                continue;
            }
            if c == '\\' && depth > 0 {
                self.rest = &self.rest[1..];
                if let Some(next) = self.rest.chars().next() {
                    let special = stops.contains(&next) || matches!(next, '\\' | '$' | '}');
                    if glob || !special {
                        text.push('\\');
                    }
                    text.push(next);
                    self.rest = &self.rest[next.len_utf8()..];
                } else {
                    text.push('\\');
                }
                continue;
            }
            if c == '$'
                && let Some(part) = self.reference(depth)?
            {
                if !text.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut text)));
                }
                parts.push(part);
                continue;
            }
            text.push(c);
            self.rest = &self.rest[c.len_utf8()..];
        }
        if !text.is_empty() {
            parts.push(Part::Text(text));
        }
        Ok(parts)
    }

    /// A reference at the `$` where the parser stands; none where the `$` is a mere sign.
    fn reference(&mut self, depth: usize) -> Result<Option<Part<'a>>, String> {
        let behind = &self.rest[1..];
        if let Some(key) = leading_key(behind) {
            self.rest = &behind[key.len()..];
            return Ok(Some(Part::Key {
                key,
                how: How::Plain,
            }));
        }
        let Some(braced) = behind.strip_prefix('{') else {
            return Ok(None);
        };
        let Some(key) = leading_key(braced) else {
            return Ok(None);
        };
        let whole = self.rest;
        self.rest = &braced[key.len()..];
        let how = self.how(depth + 1)?;
        match how {
            Some(how) if self.eat("}") => Ok(Some(Part::Key { key, how })),
            _ => {
                let shown: String = whole.chars().take(40).collect();
                Err(format!("`{shown}` is no expansion that Cloud Build knows"))
            }
        }
    }

    /// What stands between the key and the `}`.
    fn how(&mut self, depth: usize) -> Result<Option<How<'a>>, String> {
        const END: &[char] = &['}'];
        let how = if self.rest.starts_with('}') {
            How::Plain
        } else if self.eat(":-") || self.eat(":=") {
            How::OrElse(self.word(END, false, depth)?)
        } else if self.eat(":+") {
            How::IfSet(self.word(END, false, depth)?)
        } else if self.eat(":?") {
            How::OrFail(self.word(END, false, depth)?)
        } else if self.eat(":") {
            let offset = self.word(&[':', '}'], false, depth)?;
            let length = match self.eat(":") {
                true => Some(self.word(END, false, depth)?),
                false => None,
            };
            How::Slice { offset, length }
        } else if self.rest.starts_with(['^', ',']) {
            let upper = self.rest.starts_with('^');
            let all = self.eat("^^") || self.eat(",,");
            if !all {
                self.rest = &self.rest[1..];
            }
            How::Case { upper, all }
        } else if self.rest.starts_with(['#', '%']) {
            let end = self.rest.starts_with('%');
            let longest = self.eat("##") || self.eat("%%");
            if !longest {
                self.rest = &self.rest[1..];
            }
            How::Trim {
                end,
                longest,
                glob: self.word(END, true, depth)?,
            }
        } else if self.eat("/") {
            let which = if self.eat("/") {
                Which::All
            } else if self.eat("#") {
                Which::Start
            } else if self.eat("%") {
                Which::End
            } else {
                Which::First
            };
            let glob = self.word(&['/', '}'], true, depth)?;
            let with = match self.eat("/") {
                true => self.word(END, false, depth)?,
                false => Vec::new(),
            };
            How::Replace { which, glob, with }
        } else {
            return Ok(None);
        };
        Ok(Some(how))
    }
}

fn word(parts: &[Part<'_>], values: &BTreeMap<String, String>) -> Result<String, String> {
    let mut text = String::new();
    for part in parts {
        match part {
            Part::Text(part) => text.push_str(part),
            Part::Key { key, how } => {
                let value = values.get(*key).map_or("", String::as_str);
                text.push_str(&apply(key, value, how, values)?);
            }
        }
        if text.len() > VALUE_BYTES {
            return Err(format!("it becomes longer than {VALUE_BYTES} bytes"));
        }
    }
    Ok(text)
}

fn apply(
    key: &str,
    value: &str,
    how: &How<'_>,
    values: &BTreeMap<String, String>,
) -> Result<String, String> {
    match how {
        How::Plain => Ok(value.to_owned()),
        How::OrElse(other) if value.is_empty() => word(other, values),
        How::OrElse(_) => Ok(value.to_owned()),
        How::IfSet(_) if value.is_empty() => Ok(String::new()),
        How::IfSet(other) => word(other, values),
        How::OrFail(message) if value.is_empty() => {
            Err(format!("`{key}` is empty: {}", word(message, values)?))
        }
        How::OrFail(_) => Ok(value.to_owned()),
        How::Slice { offset, length } => {
            let number = |parts: &Word<'_>| {
                let text = word(parts, values)?;
                match text.trim() {
                    "" => Ok(0),
                    number => number
                        .parse::<i64>()
                        .map_err(|_| format!("`{}` of `{key}` is no number", text.trim())),
                }
            };
            let length = length.as_ref().map(number).transpose()?;
            slice(value, number(offset)?, length)
                .ok_or_else(|| format!("`{key}` is too short to cut that much off"))
        }
        How::Case { upper, all } => Ok(change_case(value, *upper, *all)),
        How::Trim { end, longest, glob } => {
            let glob = compile(&word(glob, values)?)?;
            Ok(trim(value, &glob, *end, *longest))
        }
        How::Replace { which, glob, with } => {
            let glob = word(glob, values)?;
            let with = word(with, values)?;
            if glob.is_empty() {
                return Ok(match which {
                    Which::Start => with + value,
                    Which::End => value.to_owned() + &with,
                    Which::First | Which::All => value.to_owned(),
                });
            }
            Ok(replace(value, &compile(&glob)?, &with, *which))
        }
    }
}

fn compile(pattern: &str) -> Result<Glob, String> {
    let glob = Glob::new(pattern);
    if glob.len() > GLOB_PARTS {
        return Err(format!("a pattern in it has more than {GLOB_PARTS} parts"));
    }
    Ok(glob)
}

/// As bash: what is negative counts from the end; none where the end comes before the start.
fn slice(value: &str, offset: i64, length: Option<i64>) -> Option<String> {
    let chars: Vec<char> = value.chars().collect();
    let size = i64::try_from(chars.len()).unwrap_or(i64::MAX);
    let start = if offset < 0 {
        size.saturating_add(offset)
    } else {
        offset
    };
    if start < 0 || start > size {
        return Some(String::new());
    }
    let end = match length {
        None => size,
        Some(length) if length < 0 => size.saturating_add(length),
        Some(length) => start.saturating_add(length).min(size),
    };
    let range = usize::try_from(start).ok()?..usize::try_from(end).ok()?;
    Some(chars.get(range)?.iter().collect())
}

fn change_case(value: &str, upper: bool, all: bool) -> String {
    let change = |text: &str| match upper {
        true => text.to_uppercase(),
        false => text.to_lowercase(),
    };
    if all {
        return change(value);
    }
    let first = value.chars().next().map_or(0, char::len_utf8);
    let (first, rest) = value.split_at(first);
    change(first) + rest
}

fn trim(value: &str, glob: &Glob, end: bool, longest: bool) -> String {
    let chars: Vec<char> = value.chars().collect();
    let kept = if end {
        let covers =
            |start: &usize| glob.prefixes(&chars[*start..]).last() == Some(&(chars.len() - start));
        let mut starts = 0..=chars.len();
        let start = if longest {
            starts.find(covers)
        } else {
            starts.rev().find(covers)
        };
        &chars[..start.unwrap_or(chars.len())]
    } else {
        let lengths = glob.prefixes(&chars);
        let length = if longest {
            lengths.last()
        } else {
            lengths.first()
        };
        &chars[length.copied().unwrap_or(0)..]
    };
    kept.iter().collect()
}

/// Replaces the longest match at each place, as bash does.
fn replace(value: &str, glob: &Glob, with: &str, which: Which) -> String {
    let chars: Vec<char> = value.chars().collect();
    if chars.is_empty() && !glob.prefixes(&chars).is_empty() {
        return with.to_owned();
    }
    let mut text = String::new();
    let mut at = 0;
    while at < chars.len() {
        let lengths = glob.prefixes(&chars[at..]);
        let wanted = match which {
            Which::End => lengths.last().filter(|length| at + **length == chars.len()),
            _ => lengths.last(),
        };
        match wanted {
            Some(&length) if length > 0 => {
                text.push_str(with);
                at += length;
                if which != Which::All {
                    break;
                }
            }
            _ => {
                if which == Which::Start {
                    break;
                }
                text.push(chars[at]);
                at += 1;
            }
        }
    }
    text.extend(&chars[at..]);
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn values() -> BTreeMap<String, String> {
        [
            ("_B", "feature/Some.Thing.x"),
            ("_E", ""),
            ("_N", "3"),
            ("_U", "äöü"),
            ("COMMIT_SHA", "0123456789abcdef"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
    }

    #[test]
    fn expansions_are_bashs() {
        for (value, expected) in [
            (
                "${_B} $_B$$x",
                "feature/Some.Thing.x feature/Some.Thing.x$x",
            ),
            ("${_E:-none}", "none"),
            ("${_MISSING:-none}", "none"),
            ("${_N:-none}", "3"),
            ("${_E:-${_MISSING:-a $_N}}!", "a 3!"),
            ("${_E:-a\\}b}", "a}b"),
            ("${_E:=x}", "x"),
            ("${_N:+set}${_E:+set}", "set"),
            ("${COMMIT_SHA:0:7}", "0123456"),
            ("${COMMIT_SHA:10}", "abcdef"),
            ("${COMMIT_SHA: -3}", "def"),
            ("${COMMIT_SHA:2:-10}", "2345"),
            ("${COMMIT_SHA:0:$_N}", "012"),
            ("${COMMIT_SHA::2}", "01"),
            ("${COMMIT_SHA:99}", ""),
            ("${_U:1:1}", "ö"),
            ("${_U^}${_U^^}", "ÄöüÄÖÜ"),
            ("${_B^^}", "FEATURE/SOME.THING.X"),
            ("${_B,,}", "feature/some.thing.x"),
            ("${_B^}", "Feature/Some.Thing.x"),
            ("${_B#*/}", "Some.Thing.x"),
            ("${_B#*.}", "Thing.x"),
            ("${_B##*.}", "x"),
            ("${_B%.*}", "feature/Some.Thing"),
            ("${_B%%.*}", "feature/Some"),
            ("${_B#nothing}", "feature/Some.Thing.x"),
            ("${_B/./-}", "feature/Some-Thing.x"),
            ("${_B//./-}", "feature/Some-Thing-x"),
            ("${_B//\\//-}", "feature-Some.Thing.x"),
            ("${_B//[.\\/]/_}", "feature_Some_Thing_x"),
            ("${_B//./}", "feature/SomeThingx"),
            ("${_B//.}", "feature/SomeThingx"),
            ("${_B/#feature/fix}", "fix/Some.Thing.x"),
            ("${_B/#x/y}", "feature/Some.Thing.x"),
            ("${_B/%x/y}", "feature/Some.Thing.y"),
            ("${_B//S*./$_N}", "feature/3x"),
            ("$(body.x) ${lower} $1 $", "$(body.x) ${lower} $1 $"),
            ("a\\b", "a\\b"),
        ] {
            assert_eq!(expand(value, &values()).unwrap(), expected, "{value}");
        }
    }

    #[test]
    fn bash_agrees_where_it_is_there() {
        let mut script = String::new();
        let cases = [
            "${_B#*/}",
            "${_B##*.}",
            "${_B%.*}",
            "${_B%%.*}",
            "${_B//./-}",
            "${_B/./}",
            "${_B/#f*e/x}",
            "${_B/%.*/x}",
            "${_B^^}",
            "${_B,,}",
            "${_B^}",
            "${_B,}",
            "${_B:3:4}",
            "${_B: -4}",
            "${_B:2:-2}",
            "${_B//[a-e]/z}",
            "${_B//?/z}",
            "${_B#?}",
            "${_B%[!x]}",
            "${_E:-x}",
            "${_E:+x}",
            "${_B//\\//-}",
            "${_B//t*/-}",
            "${_B:99}",
            "${_B::3}",
        ];
        for case in cases {
            script.push_str(&format!("printf '%s\\n' \"{case}\"\n"));
        }
        let mut bash = std::process::Command::new("bash");
        bash.arg("-c").arg(&script).envs(values());
        let Ok(output) = bash.output() else { return };
        let expected = String::from_utf8(output.stdout).unwrap();
        let own: String = cases
            .iter()
            .map(|case| expand(case, &values()).unwrap() + "\n")
            .collect();
        assert_eq!(own, expected);
    }

    #[test]
    fn what_is_no_expansion_is_refused() {
        for value in [
            "${_B@Q}",
            "${_B[0]}",
            "${_B:-x",
            "${_B",
            "${_B:x}",
            "${_E:?must be set}",
            "${_N:0:-9}",
            "${_B^^x}",
        ] {
            assert!(expand(value, &values()).is_err(), "{value}");
        }
        assert!(keys(&"${_A:-".repeat(100)).is_err());
    }

    #[test]
    fn keys_inside_words_count() {
        let value = "${_A:-${_B}} ${_C//$_D/${_F}} ${_G:$_H} \\$_I";
        assert_eq!(
            keys(value).unwrap(),
            ["_A", "_B", "_C", "_D", "_F", "_G", "_H", "_I"]
        );
    }

    proptest! {
        #[test]
        fn no_value_makes_it_panic(value in "(\\$|\\{|\\}|_B|_E|[:/#%^,*?\\[\\]x0-9 -]|\\\\|ä){0,24}") {
            let _expanded = expand(&value, &values());
            let _keys = keys(&value);
        }

        #[test]
        fn a_value_without_dollars_stays(value in "[^$]{0,40}") {
            prop_assert_eq!(expand(&value, &values()).unwrap(), value);
        }
    }
}
