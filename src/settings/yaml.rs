//! YAML text to a tree in which everything knows its place.
//!
//! Scalars stay the text that was written, so `positive: yes` is the text `yes` and never a
//! boolean: what a field holds is decided by the field. Anchors, aliases, tags and further
//! documents are refused; a build's settings are short enough to be written out.

use std::collections::HashMap;
use std::ops::Range;

use granit_parser::{Event, Parser, ScalarStyle, ScanError, Span};

/// A place in the text; line and column count from 1, the column in characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) line: usize,
    pub(crate) column: usize,
    /// The same in bytes of the text.
    pub(crate) span: Range<usize>,
}

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) mark: Mark,
    pub(crate) kind: Kind,
    /// Where it ends, in bytes of the text: behind its last letter or bracket.
    pub(crate) end: usize,
}

#[derive(Debug)]
pub(crate) enum Kind {
    /// A value left out, or a plain `~` or `null`.
    Null,
    Text(String),
    List(Vec<Node>),
    /// Keys are unique, in the order of the file.
    Map(Vec<(Key, Node)>),
}

#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) mark: Mark,
    pub(crate) text: String,
}

/// Why a text cannot be read, and where.
#[derive(Debug)]
pub(crate) struct Error {
    pub(crate) mark: Mark,
    pub(crate) message: String,
}

/// Reads a text of one document.
pub(crate) fn parse(text: &str) -> Result<Node, Error> {
    let options = granit_parser::options! { emit_comments: false };
    let mut reader = Reader {
        text,
        parser: Parser::new_from_str_with_options(text, options),
    };
    let mut root = None;
    loop {
        let (event, mark) = reader.next()?;
        match event {
            Event::StreamEnd => break,
            Event::StreamStart | Event::DocumentEnd => {}
            Event::DocumentStart(..) if root.is_none() => {
                let (event, mark) = reader.next()?;
                root = Some(reader.node(event, mark)?);
            }
            _ => {
                return Err(Error {
                    mark,
                    message: "a second document, expected one".to_owned(),
                });
            }
        }
    }
    Ok(root.unwrap_or_else(|| Node {
        mark: mark_at(text, Span::default()),
        kind: Kind::Null,
        end: 0,
    }))
}

struct Reader<'a> {
    text: &'a str,
    parser: Parser<'a, granit_parser::StrInput<'a>>,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Mark), Error> {
        match self.parser.next_event() {
            Some(Ok((event, span))) => Ok((event, mark_at(self.text, span))),
            Some(Err(error)) => Err(self.syntax(&error)),
            None => Ok((Event::StreamEnd, mark_at(self.text, Span::default()))),
        }
    }

    fn syntax(&self, error: &ScanError) -> Error {
        let at = *error.marker();
        Error {
            mark: mark_at(self.text, Span::new(at, at)),
            message: format!("no valid YAML: {}", error.info()),
        }
    }

    /// The node that begins with `event`; the parser's own limit on nesting bounds the recursion.
    fn node(&mut self, event: Event<'a>, mark: Mark) -> Result<Node, Error> {
        if let Some(message) = refused(&event) {
            return Err(error(mark, message));
        }
        let mut end = mark.span.end;
        let kind = match event {
            Event::Scalar(text, ScalarStyle::Plain, ..)
                if matches!(&*text, "" | "~" | "null" | "Null" | "NULL") =>
            {
                Kind::Null
            }
            Event::Scalar(text, ..) => Kind::Text(text.into_owned()),
            Event::SequenceStart(..) => {
                let mut items = Vec::new();
                loop {
                    match self.next()? {
                        (Event::SequenceEnd, mark) => {
                            end = self.end_of(&mark, items.last(), end);
                            break Kind::List(items);
                        }
                        (event, mark) => items.push(self.node(event, mark)?),
                    }
                }
            }
            Event::MappingStart(..) => {
                let mut entries = Vec::new();
                // The line of each key, by its text.
                let mut lines = HashMap::new();
                loop {
                    match self.next()? {
                        (Event::MappingEnd, mark) => {
                            end = self.end_of_map(&mark, &mut entries, end);
                            break Kind::Map(entries);
                        }
                        (event, mark) => {
                            let key = self.key(event, mark, &mut lines)?;
                            let (event, mark) = self.next()?;
                            entries.push((key, self.node(event, mark)?));
                        }
                    }
                }
            }
            _ => return Err(error(mark, "no valid YAML: expected a value")),
        };
        Ok(Node { mark, kind, end })
    }

    /// Where a mapping ends; tells its empty values where they end, which the parser finds only behind them.
    fn end_of_map(&self, close: &Mark, entries: &mut [(Key, Node)], start: usize) -> usize {
        for (key, node) in entries.iter_mut() {
            if node.mark.span.is_empty() && matches!(node.kind, Kind::Null) {
                node.end = key.mark.span.end;
            }
        }
        self.end_of(close, entries.last().map(|(_, node)| node), start)
    }

    /// Where a list or a mapping ends: at its bracket, or with its last node.
    fn end_of(&self, close: &Mark, last: Option<&Node>, start: usize) -> usize {
        let bracket = self.text.get(close.span.start..close.span.end);
        match bracket {
            Some("]" | "}") => close.span.end,
            _ => last.map_or(start, |node| node.end),
        }
    }

    fn key(
        &mut self,
        event: Event<'a>,
        mark: Mark,
        lines: &mut HashMap<String, usize>,
    ) -> Result<Key, Error> {
        let Kind::Text(text) = self.node(event, mark.clone())?.kind else {
            return Err(Error {
                mark,
                message: "expected a field's name".to_owned(),
            });
        };
        if let Some(first) = lines.insert(text.clone(), mark.line) {
            let message =
                format!("`{text}` stands here a second time; the first is on line {first}");
            return Err(Error { mark, message });
        }
        Ok(Key { mark, text })
    }
}

/// What is wrong with an event that these files do not take. Apart from [`Reader::node`], so that the stack
/// holds as many levels as the parser allows.
fn refused(event: &Event) -> Option<&'static str> {
    if event.is_alias() || event.anchor_id().is_some() {
        return Some("anchors and aliases are not read here: write the value out");
    }
    let tagged = event.tag().is_some();
    tagged.then_some("tags such as `!name` are not read here: write the value without")
}

fn error(mark: Mark, message: &str) -> Error {
    Error {
        mark,
        message: message.to_owned(),
    }
}

fn mark_at(text: &str, span: Span) -> Mark {
    let clamp = |at: Option<usize>| at.map_or(0, |at| text.floor_char_boundary(at));
    let start = clamp(span.start.byte_offset());
    Mark {
        line: span.start.line().max(1),
        column: span.start.col() + 1,
        span: start..clamp(span.end.byte_offset()).max(start),
    }
}
