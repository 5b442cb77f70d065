//! A build's config as nodes with places, read the way gcloud reads it: as YAML 1.1, JSON included.
//!
//! Plain scalars are typed by YAML 1.1's rules ([`scalar`]), anchors, aliases and merge keys are
//! resolved. Of a key that is written twice the first value is kept, with a warning: so did the gcloud
//! that public build logs show, while newer versions of its loader may refuse the file.

mod scalar;

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use granit_parser::{Event, Parser, ScalarStyle, Span, Tag};

use super::problem::{Mark, Problem};
pub(super) use scalar::Scalar;

/// How deep collections may stand in each other, aliases included.
const DEPTH: usize = 200;
/// How much aliases may add to a file in all: nodes and bytes of text.
const COPIED: usize = 8 << 20;

#[derive(Debug)]
pub(super) struct Node {
    pub(super) mark: Mark,
    pub(super) value: Value,
}

#[derive(Debug)]
pub(super) enum Value {
    /// The type, and the text as it was written.
    Scalar(Scalar, String),
    List(Vec<Rc<Node>>),
    /// Keys are scalars and unique.
    Map(Vec<(Rc<Node>, Rc<Node>)>),
}

impl Node {
    pub(super) fn is_null(&self) -> bool {
        matches!(self.value, Value::Scalar(Scalar::Null, _))
    }

    /// A few words for messages: `the integer "8080"`.
    pub(super) fn describe(&self) -> String {
        match &self.value {
            Value::Scalar(scalar, text) => scalar.describe(text),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a mapping".to_owned(),
        }
    }
}

/// Reads a text of one document.
pub(super) fn read(text: &str, warnings: &mut Vec<Problem>) -> Result<Rc<Node>, Problem> {
    let options = granit_parser::options! {
        emit_comments: false,
        emit_unresolved_aliases: true,
        block_scalar_eof_without_line_feed: true,
    };
    let mut reader = Reader {
        open: Vec::new(),
        anchors: BTreeMap::new(),
        copied: 0,
        root: None,
        warnings,
    };
    for next in Parser::new_from_str_with_options(text, options) {
        let (event, span) =
            next.map_err(|e| Problem::new(mark_of(e.marker()), e.info().to_owned()))?;
        reader.event(event, &span)?;
    }
    reader
        .root
        .ok_or_else(|| Problem::new(Mark::START, "the file is empty, expected a build config"))
}

fn mark_of(marker: &granit_parser::Marker) -> Mark {
    Mark {
        line: marker.line().max(1),
        column: marker.col() + 1,
    }
}

/// A finished node, and what an alias to it would add.
#[derive(Clone)]
struct Done {
    node: Rc<Node>,
    cost: usize,
    height: usize,
}

/// A collection whose end has not been read yet.
struct Open {
    mark: Mark,
    anchor: usize,
    is_map: bool,
    items: Vec<Rc<Node>>,
    entries: Vec<(Rc<Node>, Rc<Node>)>,
    keys: BTreeSet<String>,
    /// The key whose value comes next.
    key: Option<Rc<Node>>,
    merges: Vec<Rc<Node>>,
    cost: usize,
    height: usize,
}

struct Reader<'a> {
    open: Vec<Open>,
    anchors: BTreeMap<usize, Done>,
    copied: usize,
    root: Option<Rc<Node>>,
    warnings: &'a mut Vec<Problem>,
}

impl Reader<'_> {
    fn event(&mut self, event: Event<'_>, span: &Span) -> Result<(), Problem> {
        let mark = mark_of(&span.start);
        match event {
            Event::DocumentStart(..) if self.root.is_some() => Err(Problem::new(
                mark,
                "a second document, but a build config is one document",
            )),
            Event::UnresolvedAlias(name) => Err(Problem::new(
                mark,
                format!("the alias `*{name}` has no anchor `&{name}` before it"),
            )),
            Event::Alias(id) => self.alias(id, mark),
            Event::Scalar(text, style, anchor, tag) => {
                let tag = tag.as_deref().map(|tag| (tag, mark));
                let scalar = typed(&text, style, tag)?;
                let node = Rc::new(Node {
                    mark,
                    value: Value::Scalar(scalar, text.into_owned()),
                });
                let cost = 1 + match &node.value {
                    Value::Scalar(_, text) => text.len(),
                    _ => 0,
                };
                self.done(
                    anchor,
                    Done {
                        node,
                        cost,
                        height: 0,
                    },
                )
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.begin(false, anchor, tag.as_deref(), "seq", mark)
            }
            Event::MappingStart(_, anchor, tag) => {
                self.begin(true, anchor, tag.as_deref(), "map", mark)
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            _ => Ok(()),
        }
    }

    fn begin(
        &mut self,
        is_map: bool,
        anchor: usize,
        tag: Option<&Tag>,
        own: &str,
        mark: Mark,
    ) -> Result<(), Problem> {
        if let Some(tag) = tag.filter(|tag| !is_plain(tag) && tag.core_suffix() != Some(own)) {
            return Err(unknown_tag(tag, mark));
        }
        if self.open.len() >= DEPTH {
            return Err(too_deep(mark));
        }
        self.open.push(Open {
            mark,
            anchor,
            is_map,
            items: Vec::new(),
            entries: Vec::new(),
            keys: BTreeSet::new(),
            key: None,
            merges: Vec::new(),
            cost: 1,
            height: 0,
        });
        Ok(())
    }

    fn end(&mut self) -> Result<(), Problem> {
        let Some(mut open) = self.open.pop() else {
            return Ok(());
        };
        for merged in std::mem::take(&mut open.merges) {
            merge(&mut open, &merged)?;
        }
        let value = if open.is_map {
            Value::Map(open.entries)
        } else {
            Value::List(open.items)
        };
        let node = Rc::new(Node {
            mark: open.mark,
            value,
        });
        let done = Done {
            node,
            cost: open.cost,
            height: open.height + 1,
        };
        self.done(open.anchor, done)
    }

    fn alias(&mut self, id: usize, mark: Mark) -> Result<(), Problem> {
        let Some(done) = self.anchors.get(&id).cloned() else {
            return Err(Problem::new(
                mark,
                "the alias stands inside what it refers to",
            ));
        };
        self.copied += done.cost;
        if self.copied > COPIED {
            return Err(Problem::new(mark, "the aliases make the file too large"));
        }
        self.place(done, mark)
    }

    fn done(&mut self, anchor: usize, done: Done) -> Result<(), Problem> {
        if anchor != 0 {
            self.anchors.insert(anchor, done.clone());
        }
        let mark = done.node.mark;
        self.place(done, mark)
    }

    /// Puts a node where the parser stands: into the innermost open collection.
    fn place(&mut self, done: Done, mark: Mark) -> Result<(), Problem> {
        if self.open.len() + done.height > DEPTH {
            return Err(too_deep(mark));
        }
        let Some(open) = self.open.last_mut() else {
            self.root = Some(done.node);
            return Ok(());
        };
        open.cost += done.cost;
        open.height = open.height.max(done.height);
        if !open.is_map {
            open.items.push(done.node);
            return Ok(());
        }
        let Some(key) = open.key.take() else {
            if !matches!(done.node.value, Value::Scalar(..)) {
                return Err(Problem::new(mark, "a key must be a plain name"));
            }
            open.key = Some(done.node);
            return Ok(());
        };
        let Value::Scalar(kind, name) = &key.value else {
            return Ok(());
        };
        if !open.keys.insert(name.clone()) {
            self.warnings.push(Problem::new(
                key.mark,
                format!("the key `{name}` is here a second time; the first value is kept"),
            ));
        } else if *kind == Scalar::Merge {
            open.merges.push(done.node);
        } else {
            open.entries.push((key, done.node));
        }
        Ok(())
    }
}

/// Adds what `<<` names, where the mapping has no such key itself.
fn merge(open: &mut Open, merged: &Rc<Node>) -> Result<(), Problem> {
    let wrong = |node: &Node| {
        let what = node.describe();
        Problem::new(
            node.mark,
            format!("`<<` takes a mapping or a list of mappings, not {what}"),
        )
    };
    let maps = match &merged.value {
        Value::Map(_) => std::slice::from_ref(merged),
        Value::List(maps) => maps,
        Value::Scalar(..) => return Err(wrong(merged)),
    };
    for map in maps {
        let Value::Map(entries) = &map.value else {
            return Err(wrong(map));
        };
        for (key, value) in entries {
            if let Value::Scalar(_, name) = &key.value
                && open.keys.insert(name.clone())
            {
                open.entries.push((key.clone(), value.clone()));
            }
        }
    }
    Ok(())
}

fn typed(text: &str, style: ScalarStyle, tag: Option<(&Tag, Mark)>) -> Result<Scalar, Problem> {
    let Some((tag, mark)) = tag.filter(|(tag, _)| !is_plain(tag)) else {
        return Ok(match style {
            ScalarStyle::Plain => Scalar::of_plain(text),
            _ => Scalar::Text,
        });
    };
    let plain = Scalar::of_plain(text);
    let fits = match (tag.core_suffix(), &plain) {
        (Some("str"), _) => return Ok(Scalar::Text),
        (Some("bool"), Scalar::Bool(_))
        | (Some("int"), Scalar::Int(_))
        | (Some("float"), Scalar::Float)
        | (Some("null"), Scalar::Null) => true,
        (Some("float"), Scalar::Int(_)) => return Ok(Scalar::Float),
        (Some("bool" | "int" | "float" | "null"), _) => false,
        _ => return Err(unknown_tag(tag, mark)),
    };
    if fits {
        Ok(plain)
    } else {
        let message = format!("`{text}` does not fit its tag `{}`", tag.original());
        Err(Problem::new(mark, message))
    }
}

/// The tag `!`, which says nothing to a YAML 1.1 loader.
fn is_plain(tag: &Tag) -> bool {
    tag.parts() == ("", "!") || tag.parts() == ("!", "")
}

fn unknown_tag(tag: &Tag, mark: Mark) -> Problem {
    Problem::new(mark, format!("unknown tag `{}`", tag.original()))
}

fn too_deep(mark: Mark) -> Problem {
    Problem::new(
        mark,
        format!("the file is nested more than {DEPTH} levels deep"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The tree in one line, types shown by Rust's own names.
    fn show(node: &Node) -> String {
        match &node.value {
            Value::Scalar(Scalar::Text, text) => format!("{text:?}"),
            Value::Scalar(scalar, _) => format!("{scalar:?}"),
            Value::List(items) => {
                let items: Vec<_> = items.iter().map(|item| show(item)).collect();
                format!("[{}]", items.join(", "))
            }
            Value::Map(entries) => {
                let entries: Vec<_> = entries
                    .iter()
                    .map(|(k, v)| format!("{}: {}", show(k), show(v)))
                    .collect();
                format!("{{{}}}", entries.join(", "))
            }
        }
    }

    fn parse(text: &str) -> Result<(String, Vec<Problem>), Problem> {
        let mut warnings = Vec::new();
        let node = read(text, &mut warnings)?;
        Ok((show(&node), warnings))
    }

    #[test]
    fn what_gclouds_loader_accepts_is_accepted() {
        for (text, expected) in [
            ("a: yes", "{\"a\": Bool(true)}"),
            ("a: 'yes'", "{\"a\": \"yes\"}"),
            (
                "{\n\t\"a\": 1,\n\t\"b\": [1,2,],\n}",
                "{\"a\": Int(1), \"b\": [Int(1), Int(2)]}",
            ),
            ("\u{feff}a: x", "{\"a\": \"x\"}"),
            ("---\r\na: x\r\n...\r\n", "{\"a\": \"x\"}"),
            ("a: |\n  x", "{\"a\": \"x\"}"),
            (
                "b: &b {x: k, z: l}\nc:\n  <<: *b\n  x: m",
                "{\"b\": {\"x\": \"k\", \"z\": \"l\"}, \"c\": {\"x\": \"m\", \"z\": \"l\"}}",
            ),
            ("<<: [{a: k}, {a: l, b: m}]", "{\"a\": \"k\", \"b\": \"m\"}"),
            ("a: !!str 5", "{\"a\": \"5\"}"),
            ("a: !!int '5'", "{\"a\": Int(5)}"),
            ("a: ! 5", "{\"a\": Int(5)}"),
        ] {
            assert_eq!(parse(text).unwrap().0, expected, "{text:?}");
        }
    }

    #[test]
    fn what_gclouds_loader_refuses_is_refused_with_its_place() {
        for (text, line, column, message) in [
            ("a: x\n---\nb: x", 2, 1, "a second document"),
            ("a: *x", 1, 4, "the alias `*x` has no anchor"),
            ("a: &x [*x]", 1, 8, "inside what it refers to"),
            ("a: !foo x", 1, 9, "unknown tag `!foo`"),
            ("a: !foo [x]", 1, 9, "unknown tag `!foo`"),
            ("a: !!binary aGk=", 1, 13, "unknown tag `!!binary`"),
            ("a: !!int x", 1, 10, "does not fit its tag"),
            ("a: &m {<<: k}", 1, 12, "`<<` takes a mapping"),
            ("[a]: k", 1, 1, "a key must be a plain name"),
            ("", 1, 1, "the file is empty"),
        ] {
            let problem = parse(text).unwrap_err();
            assert!(problem.message.contains(message), "{text:?}: {problem:?}");
            assert_eq!(problem.mark, Some(Mark { line, column }), "{text:?}");
        }
        assert!(parse("a:\n\t- b").is_err());
        assert!(parse("a: {").is_err());
    }

    #[test]
    fn a_repeated_key_is_warned_about_and_its_first_value_kept() {
        let (tree, warnings) = parse("a: k\nb: l\na: m").unwrap();
        assert_eq!(tree, "{\"a\": \"k\", \"b\": \"l\"}");
        assert_eq!(warnings[0].mark, Some(Mark { line: 3, column: 1 }));
        assert_eq!(warnings.len(), 1);
    }

    #[test]
    fn a_bomb_of_aliases_or_depth_is_refused() {
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for i in 1..10 {
            let items = vec![format!("*a{}", i - 1); 10].join(", ");
            bomb.push_str(&format!("a{i}: &a{i} [{items}]\n"));
        }
        assert!(parse(&bomb).unwrap_err().message.contains("too large"));
        assert!(parse(&"[".repeat(100_000)).is_err());
        let mut deep = format!("a0: &a0 {}{}\n", "[".repeat(100), "]".repeat(100));
        for i in 1..50 {
            let (open, close) = ("[".repeat(100), "]".repeat(100));
            deep.push_str(&format!("a{i}: &a{i} {open}*a{}{close}\n", i - 1));
        }
        assert!(parse(&deep).unwrap_err().message.contains("levels deep"));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,60}|[\\[\\]{}:,&*a!<\\-\n\t #'\"|>?]{0,60}") {
            let _read = parse(&text);
        }
    }
}
