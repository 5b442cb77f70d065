//! A walk over the tree of a settings file that knows each field's path and words the errors.

use std::collections::HashSet;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Result;

use super::yaml::{Key, Mark, Node, Scalar, Value};
use super::{File, Spot, did_you_mean, parse_duration};
use crate::error::{Input, Mistake, Place};
use crate::printable::shown;

/// The fields of a settings file by the section they stand in.
pub(crate) type Sections = &'static [(&'static str, &'static [&'static str])];

/// A value and its path, as in `data.join.how`.
#[derive(Clone)]
pub(crate) struct Cursor<'a> {
    pub(crate) file: &'a File,
    pub(crate) node: &'a Node,
    pub(crate) path: String,
}

/// A mapping whose keys are all known, or any where the keys are the user's own names.
pub(crate) struct Fields<'a> {
    pub(crate) cursor: Cursor<'a>,
    entries: &'a [(Key, Rc<Node>)],
}

impl<'a> Fields<'a> {
    /// The field's value; one that is null counts as absent.
    pub(crate) fn get(&self, name: &str) -> Option<Cursor<'a>> {
        self.entries
            .iter()
            .find(|(key, node)| key.text == name && !node.is_null())
            .map(|(_, node)| self.cursor.child(node, name))
    }

    pub(crate) fn need(&self, name: &str) -> Result<Cursor<'a>> {
        self.get(name).ok_or_else(|| self.missing(name).into())
    }

    /// The error that a field is missing here.
    pub(crate) fn missing(&self, name: &str) -> Input {
        let path = join(&self.cursor.path, name);
        self.error_at(name, format!("`{path}` is missing"))
            .mistake(Mistake::Missing)
    }

    /// The key's place, where it is written, even without a value.
    pub(crate) fn key(&self, name: &str) -> Option<&'a Mark> {
        let entry = self.entries.iter().find(|(key, _)| key.text == name);
        entry.map(|(key, _)| &key.mark)
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = (&'a Key, Cursor<'a>)> {
        self.entries
            .iter()
            .map(|(key, node)| (key, self.cursor.child(node, &key.text)))
    }

    /// An error at a field's key.
    pub(crate) fn error_at(&self, name: &str, message: String) -> Input {
        let mark = self.key(name).unwrap_or(&self.cursor.node.mark);
        self.cursor.file.error(mark, message)
    }

    /// The one field that is there of some of which one is needed.
    pub(crate) fn one(&self, names: &[&'static str]) -> Result<(&'static str, Cursor<'a>)> {
        let mut there = names
            .iter()
            .filter_map(|name| Some((*name, self.get(name)?)));
        match (there.next(), there.next()) {
            (Some(one), None) => Ok(one),
            (first, _) => {
                let found = first.map_or("none", |_| "several");
                let error = format!("expected one of {}, found {found}", one_of(names));
                Err(self.cursor.error(error).into())
            }
        }
    }

    /// Refuses a field that makes no sense beside another.
    pub(crate) fn refuse(&self, name: &str, why: &str) -> Result<()> {
        if self.key(name).is_none() {
            return Ok(());
        }
        let path = join(&self.cursor.path, name);
        Err(self.error_at(name, format!("`{path}` {why}")).into())
    }
}

impl<'a> Cursor<'a> {
    fn child(&self, node: &'a Node, name: &str) -> Self {
        Self {
            file: self.file,
            node,
            path: join(&self.path, name),
        }
    }

    pub(crate) fn place(&self) -> Place {
        self.file.place(&self.node.mark)
    }

    pub(crate) fn error(&self, message: impl std::fmt::Display) -> Input {
        let message = if self.path.is_empty() {
            message.to_string()
        } else {
            format!("`{}`: {message}", self.path)
        };
        self.file.error(&self.node.mark, message)
    }

    pub(crate) fn expected(&self, what: &str) -> Input {
        let found = match &self.node.value {
            Value::Scalar(Scalar::Null, _) => "nothing".to_owned(),
            Value::Scalar(_, text) => format!("`{}`", shown(text)),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a mapping".to_owned(),
        };
        self.error(format!("expected {what}, found {found}"))
            .mistake(Mistake::Unexpected {
                expected: what.to_owned(),
                found,
            })
    }

    /// A mapping of the fields that the file's list has for `section`.
    pub(crate) fn fields(self, section: &str) -> Result<Fields<'a>> {
        let fields = self.map("a mapping of fields")?;
        let sections = fields.cursor.file.fields;
        let known = sections.iter().find(|(name, _)| *name == section);
        let known = known.map_or(&[][..], |(_, known)| *known);
        for (key, _) in fields.entries {
            if !known.contains(&key.text.as_str()) {
                let path = join(&fields.cursor.path, &shown(&key.text));
                let error = fields
                    .cursor
                    .file
                    .error(&key.mark, format!("unknown field `{path}`"))
                    .mistake(Mistake::Unknown);
                return Err(error.hint(advice(&key.text, known, sections)).into());
            }
        }
        Ok(fields)
    }

    /// A mapping whose keys are names that the user chose.
    pub(crate) fn map(self, what: &str) -> Result<Fields<'a>> {
        match &self.node.value {
            Value::Map(entries) => Ok(Fields {
                entries,
                cursor: self,
            }),
            _ => Err(self.expected(what).into()),
        }
    }

    pub(crate) fn list(&self, what: &str) -> Result<Vec<Cursor<'a>>> {
        match &self.node.value {
            Value::List(items) => Ok(self.items(items)),
            _ => Err(self.expected(what).into()),
        }
    }

    fn items(&self, items: &'a [Rc<Node>]) -> Vec<Cursor<'a>> {
        let item = |(n, node): (usize, &'a Rc<Node>)| Cursor {
            file: self.file,
            node,
            path: format!("{}[{n}]", self.path),
        };
        items.iter().enumerate().map(item).collect()
    }

    /// One column's name or a list of them, none twice and none of them the label.
    pub(crate) fn names(&self, label: Option<&str>) -> Result<Vec<Spot<String>>> {
        let (items, what) = match &self.node.value {
            Value::List(items) => (self.items(items), "a column's name"),
            _ => {
                let alone = self.child(self.node, "");
                (vec![alone], "a column's name or a list of them")
            }
        };
        let mut names: Vec<Spot<String>> = Vec::new();
        let mut known = HashSet::new();
        for item in items {
            let name = item.text(what)?;
            if !known.insert(name.value.clone()) {
                return Err(item.error(format!("`{}` is named twice", *name)).into());
            }
            if label == Some(name.as_str()) {
                return Err(item.error(format!("`{}` is the label", *name)).into());
            }
            names.push(name);
        }
        Ok(names)
    }

    /// A text as it was written, which is not empty.
    pub(crate) fn text(&self, what: &str) -> Result<Spot<String>> {
        match &self.node.value {
            Value::Scalar(Scalar::Text, text) if !text.trim().is_empty() => Ok(Spot {
                value: text.clone(),
                place: self.place(),
            }),
            _ => Err(self.expected(what).into()),
        }
    }

    /// A text that `accept` takes.
    pub(crate) fn text_where(
        &self,
        what: &str,
        accept: impl Fn(&str) -> bool,
    ) -> Result<Spot<String>> {
        let text = self.text(what)?;
        if accept(&text) {
            Ok(text)
        } else {
            Err(self.expected(what).into())
        }
    }

    /// What `read` makes of a text.
    pub(crate) fn value<T>(&self, what: &str, read: impl Fn(&str) -> Option<T>) -> Result<T> {
        read(&self.text(what)?).ok_or_else(|| self.expected(what).into())
    }

    pub(crate) fn number(&self, what: &str, accept: impl Fn(f64) -> bool) -> Result<f64> {
        let read = |text: &str| text.parse().ok().filter(|x: &f64| x.is_finite());
        self.value(what, |text| read(text).filter(|x| accept(*x)))
    }

    pub(crate) fn integer<T: TryFrom<u64>>(&self, low: u64, high: u64) -> Result<T> {
        let what = format!("a whole number from {low} to {high}");
        self.value(&what, |text| {
            let number = text.parse().ok()?;
            (low..=high).contains(&number).then_some(())?;
            T::try_from(number).ok()
        })
    }

    /// A duration above zero; `longest` is worded for a person in `words`.
    pub(crate) fn duration(&self, longest: Duration, words: &str) -> Result<Duration> {
        let shortest = Duration::from_millis(1);
        self.duration_between(shortest, longest, &format!("above 0, at most {words}"))
    }

    /// As [`Self::duration`], where `0s` means none.
    pub(crate) fn duration_or_none(&self, longest: Duration, words: &str) -> Result<Duration> {
        self.duration_between(Duration::ZERO, longest, &format!("of at most {words}"))
    }

    fn duration_between(&self, from: Duration, to: Duration, words: &str) -> Result<Duration> {
        let duration = self.value(
            "a duration such as `90s`, `10m`, `1h30m` or `30d`",
            parse_duration,
        )?;
        if duration < from || duration > to {
            return Err(self.expected(&format!("a duration {words}")).into());
        }
        Ok(duration)
    }

    /// One of a few words.
    pub(crate) fn word<T: Copy>(&self, words: &[(&str, T)]) -> Result<T> {
        let names: Vec<&str> = words.iter().map(|(name, _)| *name).collect();
        let what = one_of(&names);
        let text = self.text(&what)?;
        if let Some((_, value)) = words.iter().find(|(name, _)| *name == text.value) {
            return Ok(*value);
        }
        let error = self.expected(&what);
        Err(match did_you_mean(&text, names) {
            Some(hint) => error.hint(hint),
            None => error,
        }
        .into())
    }
}

/// What to do about a field that its section does not know.
fn advice(name: &str, known: &[&str], sections: Sections) -> String {
    if let Some(hint) = did_you_mean(name, known.iter().copied()) {
        return hint;
    }
    let elsewhere = sections.iter().find(|(_, names)| names.contains(&name));
    match elsewhere {
        Some(("", _)) => format!("`{name}` stands at the top of the file"),
        Some((section, _)) => format!("`{name}` is a field of `{section}`"),
        None => format!("known here: {}", listed(known, "and")),
    }
}

pub(crate) fn one_of(names: &[&str]) -> String {
    listed(names, "or")
}

fn listed(names: &[&str], word: &str) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => {
            format!("{} {word} {last}", rest.join(", "))
        }
        _ => quoted.concat(),
    }
}

fn join(path: &str, name: &str) -> String {
    match (path, name) {
        ("", only) | (only, "") => only.to_owned(),
        _ => format!("{path}.{name}"),
    }
}
