//! YAML text to a tree in which everything knows its place.
//!
//! Files of serin's own and build configs are read by one reader, by different [`Rules`].

mod problem;
mod scalar;
mod tree;

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use granit_parser::{Event, Parser, ScalarStyle, Span, Tag};

pub(crate) use problem::Problem;
pub(crate) use scalar::Scalar;
pub(crate) use tree::{Key, Mark, Node, Value};

/// How deep collections may stand in each other, aliases included, where [`Rules::Yaml11`] hold; elsewhere the
/// parser's own limit does.
const DEPTH: usize = 200;
/// How much aliases may add to a file in all: nodes and bytes of text.
const COPIED: usize = 8 << 20;

/// How the YAML of a file is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rules {
    /// As `serin.yaml` and `schema.yaml` have it: scalars stay the text that was written, so that
    /// `positive: yes` is the text `yes` and never a boolean, and what a field holds is decided by the
    /// field. Only a value left out, or a plain `~` or `null`, is null. Anchors, aliases, tags and keys that
    /// are written twice are refused; a build's settings are short enough to be written out.
    Strict,
    /// As gcloud reads a build's config, JSON included: plain scalars are typed by YAML 1.1's rules
    /// ([`Scalar`]), anchors, aliases and merge keys are resolved. Of a key that is written twice the first
    /// value is kept, with a warning: so did the gcloud that public build logs show, while newer versions of
    /// its loader may refuse the file.
    Yaml11,
}

/// Why a text cannot be read, or what its reader should be warned about, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Error {
    pub(crate) mark: Mark,
    pub(crate) problem: Problem,
}

impl Error {
    fn new(mark: Mark, problem: Problem) -> Self {
        Self { mark, problem }
    }
}

/// What a text holds.
#[derive(Debug)]
pub(crate) struct Document {
    /// None where the text is empty.
    pub(crate) root: Option<Rc<Node>>,
    pub(crate) warnings: Vec<Error>,
}

/// Reads a text of one document.
pub(crate) fn read(text: &str, rules: Rules) -> Result<Document, Error> {
    let options = match rules {
        Rules::Strict => granit_parser::options! { emit_comments: false },
        Rules::Yaml11 => granit_parser::options! {
            emit_comments: false,
            emit_unresolved_aliases: true,
            block_scalar_eof_without_line_feed: true,
        },
    };
    let mut reader = Reader {
        text,
        rules,
        open: Vec::new(),
        anchors: BTreeMap::new(),
        copied: 0,
        root: None,
        warnings: Vec::new(),
    };
    for next in Parser::new_from_str_with_options(text, options) {
        let (event, span) = next.map_err(|error| {
            let at = *error.marker();
            let problem = Problem::Syntax(error.info().to_owned());
            Error::new(mark_at(text, Span::new(at, at)), problem)
        })?;
        reader.event(event, mark_at(text, span))?;
    }
    Ok(Document {
        root: reader.root,
        warnings: reader.warnings,
    })
}

fn mark_at(text: &str, span: Span) -> Mark {
    let clamp = |at: Option<usize>| at.map_or(0, |at| text.floor_char_boundary(at));
    let start = clamp(span.start.byte_offset());
    Mark {
        line: span.start.line().max(1),
        column: span.start.col() + 1,
        start,
        end: clamp(span.end.byte_offset()).max(start),
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
    entries: Vec<(Key, Rc<Node>)>,
    /// The line of each key, by its text.
    keys: HashMap<String, usize>,
    /// The key whose value comes next, and whether it was there before.
    key: Option<(Key, bool)>,
    merges: Vec<Rc<Node>>,
    /// Where the last node ends, or the opening bracket.
    end: usize,
    cost: usize,
    height: usize,
}

struct Reader<'t> {
    text: &'t str,
    rules: Rules,
    /// From the outermost to the innermost.
    open: Vec<Open>,
    anchors: BTreeMap<usize, Done>,
    copied: usize,
    root: Option<Rc<Node>>,
    warnings: Vec<Error>,
}

impl Reader<'_> {
    fn event(&mut self, event: Event<'_>, mark: Mark) -> Result<(), Error> {
        if self.rules == Rules::Strict
            && let Some(problem) = refused(&event)
        {
            return Err(Error::new(mark, problem));
        }
        match event {
            Event::DocumentStart(..) if self.root.is_some() => {
                Err(Error::new(mark, Problem::SecondDocument(self.rules)))
            }
            Event::UnresolvedAlias(name) => {
                Err(Error::new(mark, Problem::UnknownAlias(name.to_string())))
            }
            Event::Alias(id) => self.alias(id, mark),
            Event::Scalar(text, style, anchor, tag) => {
                let scalar = self.typed(&text, style, tag.as_deref(), mark)?;
                self.scalar(scalar, text.into_owned(), anchor, mark)
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.begin(false, anchor, tag.as_deref(), "seq", mark)
            }
            Event::MappingStart(_, anchor, tag) => {
                self.begin(true, anchor, tag.as_deref(), "map", mark)
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(mark),
            _ => Ok(()),
        }
    }

    fn typed(
        &self,
        text: &str,
        style: ScalarStyle,
        tag: Option<&Tag>,
        mark: Mark,
    ) -> Result<Scalar, Error> {
        let plain = || match style {
            ScalarStyle::Plain => Scalar::of_plain(text),
            _ => Scalar::Text,
        };
        match (self.rules, tag) {
            (Rules::Strict, _) => Ok(match plain() {
                Scalar::Null => Scalar::Null,
                _ => Scalar::Text,
            }),
            (Rules::Yaml11, Some(tag)) if !is_plain(tag) => {
                Scalar::of_tag(text, tag).map_err(|problem| Error::new(mark, problem))
            }
            (Rules::Yaml11, _) => Ok(plain()),
        }
    }

    fn scalar(
        &mut self,
        scalar: Scalar,
        text: String,
        anchor: usize,
        mark: Mark,
    ) -> Result<(), Error> {
        let key = self.open.last().and_then(|open| open.key.as_ref());
        let end = match key {
            // The parser finds a value that is left out only behind what follows.
            Some((key, _)) if scalar == Scalar::Null && mark.is_empty() => key.mark.end,
            _ => mark.end,
        };
        let cost = 1 + text.len();
        let node = Rc::new(Node {
            mark,
            end,
            value: Value::Scalar(scalar, text),
        });
        let height = 0;
        self.done(anchor, Done { node, cost, height })
    }

    fn begin(
        &mut self,
        is_map: bool,
        anchor: usize,
        tag: Option<&Tag>,
        kind: &str,
        mark: Mark,
    ) -> Result<(), Error> {
        if let Some(tag) = tag.filter(|tag| !is_plain(tag) && tag.core_suffix() != Some(kind)) {
            return Err(Error::new(mark, scalar::unknown_tag(tag)));
        }
        self.check_depth(self.open.len() + 1, mark)?;
        self.open.push(Open {
            mark,
            anchor,
            is_map,
            items: Vec::new(),
            entries: Vec::new(),
            keys: HashMap::new(),
            key: None,
            merges: Vec::new(),
            end: mark.end,
            cost: 1,
            height: 0,
        });
        Ok(())
    }

    /// Ends the innermost collection: at its bracket, or with its last node.
    fn end(&mut self, close: Mark) -> Result<(), Error> {
        let Some(mut open) = self.open.pop() else {
            return Ok(());
        };
        for merged in std::mem::take(&mut open.merges) {
            merge(&mut open, &merged)?;
        }
        let end = match self.text.get(close.start..close.end) {
            Some("]" | "}") => close.end,
            _ => open.end,
        };
        let value = if open.is_map {
            Value::Map(open.entries)
        } else {
            Value::List(open.items)
        };
        let mark = open.mark;
        let node = Rc::new(Node { mark, end, value });
        let done = Done {
            node,
            cost: open.cost,
            height: open.height + 1,
        };
        self.done(open.anchor, done)
    }

    fn alias(&mut self, id: usize, mark: Mark) -> Result<(), Error> {
        let Some(done) = self.anchors.get(&id).cloned() else {
            return Err(Error::new(mark, Problem::CircularAlias));
        };
        self.copied += done.cost;
        if self.copied > COPIED {
            return Err(Error::new(mark, Problem::AliasesTooLarge));
        }
        self.place(done, mark, mark.end)
    }

    fn done(&mut self, anchor: usize, done: Done) -> Result<(), Error> {
        if anchor != 0 {
            self.anchors.insert(anchor, done.clone());
        }
        let (mark, end) = (done.node.mark, done.node.end);
        self.place(done, mark, end)
    }

    /// Puts a node where the parser stands, into the innermost open collection. `mark` and `end` are those of
    /// its alias where it is one.
    fn place(&mut self, done: Done, mark: Mark, end: usize) -> Result<(), Error> {
        self.check_depth(self.open.len() + done.height, mark)?;
        let Some(open) = self.open.last_mut() else {
            self.root = Some(done.node);
            return Ok(());
        };
        open.cost += done.cost;
        open.height = open.height.max(done.height);
        if !open.is_map {
            open.end = end;
            open.items.push(done.node);
            return Ok(());
        }
        let Some((key, is_repeated)) = open.key.take() else {
            open.key = Some(open.key(self.rules, done.node, mark)?);
            return Ok(());
        };
        open.end = end;
        if is_repeated {
            let problem = Problem::RepeatedKey(key.text);
            self.warnings.push(Error::new(key.mark, problem));
        } else if key.scalar == Scalar::Merge {
            open.merges.push(done.node);
        } else {
            open.entries.push((key, done.node));
        }
        Ok(())
    }

    fn check_depth(&self, depth: usize, mark: Mark) -> Result<(), Error> {
        if self.rules == Rules::Yaml11 && depth > DEPTH {
            return Err(Error::new(mark, Problem::TooDeep));
        }
        Ok(())
    }
}

impl Open {
    /// A node as a key, and whether it was there before.
    fn key(&mut self, rules: Rules, node: Rc<Node>, mark: Mark) -> Result<(Key, bool), Error> {
        let strict = rules == Rules::Strict;
        let node = Rc::unwrap_or_clone(node);
        let key = match node.value {
            Value::Scalar(scalar, text) if !strict || scalar == Scalar::Text => Key {
                mark: node.mark,
                scalar,
                text,
            },
            _ => return Err(Error::new(mark, Problem::KeyIsNoName(rules))),
        };
        let first = self.keys.get(&key.text);
        if let Some(first) = first.filter(|_| strict) {
            let (key, first) = (key.text, *first);
            return Err(Error::new(mark, Problem::DuplicateKey { key, first }));
        }
        let is_repeated = first.is_some();
        if !is_repeated {
            self.keys.insert(key.text.clone(), key.mark.line);
        }
        Ok((key, is_repeated))
    }
}

/// Adds what `<<` names, where the mapping has no such key itself.
fn merge(open: &mut Open, merged: &Rc<Node>) -> Result<(), Error> {
    let wrong = |node: &Node| Error::new(node.mark, Problem::MergeOf(node.describe()));
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
            if !open.keys.contains_key(&key.text) {
                open.keys.insert(key.text.clone(), key.mark.line);
                open.entries.push((key.clone(), value.clone()));
            }
        }
    }
    Ok(())
}

/// What is wrong with an event that [`Rules::Strict`] do not take.
fn refused(event: &Event) -> Option<Problem> {
    if event.is_alias() || event.anchor_id().is_some() {
        return Some(Problem::Anchor);
    }
    let tagged = event.tag().is_some();
    tagged.then_some(Problem::Tag)
}

/// The tag `!`, which says nothing to a YAML 1.1 loader.
fn is_plain(tag: &Tag) -> bool {
    tag.parts() == ("", "!") || tag.parts() == ("!", "")
}

#[cfg(test)]
mod tests;
