//! A small document, read whole.

use quick_xml::Reader;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesStart, Event};

/// Deeper ones are refused.
const MAX_DEPTH: usize = 16;

/// An element with its own text and its children.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Element {
    pub name: String,
    pub attributes: Vec<(String, String)>,
    pub text: String,
    pub children: Vec<Element>,
}

impl Element {
    fn begin(start: &BytesStart<'_>) -> Option<Self> {
        let mut attributes = Vec::new();
        for attribute in start.attributes() {
            let attribute = attribute.ok()?;
            let name = attribute.key.local_name().as_ref().to_owned();
            attributes.push((name, attribute.value.into_owned()));
        }
        Some(Self {
            name: start.local_name().as_ref().to_owned(),
            attributes,
            ..Self::default()
        })
    }

    /// The root of a document; `None` where it is no whole one.
    pub(super) fn read(text: &str) -> Option<Self> {
        let mut reader = Reader::from_str(text);
        let mut open = vec![Self::default()];
        loop {
            match reader.read_event().ok()? {
                Event::Start(start) => {
                    if open.len() > MAX_DEPTH {
                        return None;
                    }
                    open.push(Self::begin(&start)?);
                }
                Event::Empty(start) => open.last_mut()?.children.push(Self::begin(&start)?),
                Event::End(_) => {
                    let element = open.pop()?;
                    open.last_mut()?.children.push(element);
                }
                Event::Text(text) => open.last_mut()?.text.push_str(&text),
                Event::CData(text) => open.last_mut()?.text.push_str(&text),
                Event::GeneralRef(reference) => {
                    let into = &mut open.last_mut()?.text;
                    match reference.resolve_char_ref().ok()? {
                        Some(c) => into.push(c),
                        None => into.push_str(resolve_predefined_entity(&reference)?),
                    }
                }
                Event::Eof => break,
                _ => {}
            }
        }
        let mut document = open.pop().filter(|_| open.is_empty())?;
        document
            .children
            .pop()
            .filter(|_| document.children.is_empty())
    }

    pub(super) fn child(&self, name: &str) -> Option<&Self> {
        self.all(name).next()
    }

    pub(super) fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a Self> {
        self.children.iter().filter(move |child| child.name == name)
    }

    /// The text of a child.
    pub(super) fn text_of(&self, name: &str) -> Option<&str> {
        self.child(name).map(|child| child.text.trim())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_read_and_a_piece_of_one_is_not() {
        let text =
            "<?xml version='1.0'?>\n<n:A xmlns:n='x'><B k=\"v\">1 &lt; &#50;</B><B/></n:A>\n";
        let root = Element::read(text).unwrap();
        assert_eq!((root.name.as_str(), root.children.len()), ("A", 2));
        assert_eq!(root.text_of("B"), Some("1 < 2"));
        let kept = [("k".to_owned(), "v".to_owned())];
        assert_eq!(root.children[0].attributes, kept);
        for text in [
            "",
            "text",
            "<A>",
            "<A></B>",
            "<A/><B/>",
            "<A>&x;</A>",
            &"<A>".repeat(40),
        ] {
            assert_eq!(Element::read(text), None, "{text}");
        }
    }
}
