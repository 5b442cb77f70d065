//! What every page is made of: the frame with its head and style, and the parts that all sections use.
//!
//! A name or value of the user stands only in text, never in an attribute; ids are made of serin's own
//! words and numbers. The policy in the head forbids the page to load or run anything, whatever it holds.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest as _, Sha256};

use super::number;
use super::verdicts::Tone;
use crate::clock::Timestamp;
use crate::printable;
use crate::workspace::Digest;

const STYLE: &str = include_str!("page.css");

/// A part of the page that can be jumped to.
pub(super) struct Section {
    /// The anchor.
    pub(super) id: &'static str,
    pub(super) title: &'static str,
    pub(super) body: Markup,
}

/// What differs between pages.
pub(super) struct Frame<'a> {
    pub(super) title: Markup,
    pub(super) header: Markup,
    pub(super) sections: &'a [Section],
    pub(super) footer: Markup,
    /// A script of serin's own and the JSON that it reads from the element `data`.
    pub(super) script: Option<(&'static str, String)>,
}

/// A page that loads nothing, and runs nothing but its own script.
pub(super) fn frame(frame: &Frame<'_>) -> Markup {
    // The script is allowed by its digest; a value that came to stand outside of a text would not run.
    let script = match &frame.script {
        Some((script, _)) => format!(" script-src 'sha256-{}';", sha256(script)),
        None => String::new(),
    };
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="referrer" content="no-referrer";
                meta http-equiv="Content-Security-Policy" content={ "default-src 'none'; style-src 'unsafe-inline';" (script) " base-uri 'none'; form-action 'none'" };
                title { (frame.title) ", serin" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                a.skip href="#main" { "Skip to the content" }
                (frame.header)
                main id="main" {
                    @for section in frame.sections {
                        section id=(section.id) aria-labelledby={ (section.id) "-title" } {
                            h2 id={ (section.id) "-title" } { (section.title) }
                            (section.body)
                        }
                    }
                }
                footer {
                    p { (frame.footer) }
                }
                @if let Some((script, data)) = &frame.script {
                    // `<` would end the element; JSON may spell it otherwise.
                    script type="application/json" id="data" { (PreEscaped(printable::json(&data.replace('<', "\\u003c")))) }
                    script { (PreEscaped(script)) }
                }
            }
        }
    };
    // What the records hold of controls and of turned directions is seen, and does nothing.
    PreEscaped(printable::text(&page.0).into_owned())
}

/// The SHA-256 of a text in base64, as a page's policy names it.
fn sha256(text: &str) -> String {
    BASE64.encode(Sha256::digest(text))
}

/// The way to each section.
pub(super) fn navigation(sections: &[Section]) -> Markup {
    html! {
        @if !sections.is_empty() {
            nav aria-label="Sections" {
                ul { @for section in sections { li { a href={ "#" (section.id) } { (section.title) } } } }
            }
        }
    }
}

/// A verdict as a word with its sign and colour.
pub(super) fn tag(tone: Tone, word: &str) -> Markup {
    html! { span class={ "tag " (class(tone)) } { (sign(tone)) " " (word) } }
}

pub(super) fn class(tone: Tone) -> &'static str {
    match tone {
        Tone::Good => "good",
        Tone::Bad => "bad",
        Tone::Unsure => "unsure",
        Tone::Absent => "absent",
    }
}

pub(super) fn sign(tone: Tone) -> Markup {
    let sign = match tone {
        Tone::Good => "\u{2713}",
        Tone::Bad => "\u{2715}",
        Tone::Unsure => "?",
        Tone::Absent => "\u{2013}",
    };
    html! { span.sign aria-hidden="true" { (sign) } }
}

/// A table that scrolls inside its own box where it is wider than the page.
pub(super) fn table(id: &str, caption: &str, head: Markup, body: Markup) -> Markup {
    html! {
        div.scroll role="region" tabindex="0" aria-labelledby=(id) {
            table {
                caption id=(id) { (caption) }
                thead { (head) }
                tbody { (body) }
            }
        }
    }
}

/// A list of names and what they are.
pub(super) fn facts(facts: &[(&str, Markup)]) -> Markup {
    html! {
        dl.facts { @for (name, value) in facts { div { dt { (name) } dd { (value) } } } }
    }
}

/// Names and long values such as resource names and digests, a line each.
pub(super) fn names(facts: &[(&str, Markup)]) -> Markup {
    html! {
        dl.names { @for (name, value) in facts { dt { (name) } dd { (value) } } }
    }
}

/// A name or value of the user: set apart from the text's direction, wrapped anywhere, never lost when empty.
pub(super) fn name(text: &str) -> Markup {
    html! {
        @if text.trim().is_empty() { span.soft { "(empty)" } } @else { bdi.name { (text) } }
    }
}

/// A sentence in a table's cell.
pub(super) fn sentence(text: &str) -> Markup {
    html! { div.text { (ticked(text)) } }
}

/// A sentence with what stands between backticks set as code.
pub(super) fn ticked(text: &str) -> Markup {
    let parts: Vec<&str> = text.split('`').collect();
    // One that is not closed stands for itself.
    let open = parts.len() - 1;
    html! {
        @for (i, part) in parts.iter().enumerate() {
            @if i % 2 == 0 { (part) }
            @else if i == open { "`" (part) }
            @else { code { bdi { (part) } } }
        }
    }
}

/// A digest in full.
pub(super) fn digest(digest: &Digest) -> Markup {
    html! { code { (digest) } }
}

/// An instant to the second.
pub(super) fn time(t: Timestamp) -> Markup {
    html! { time datetime=(t) { (number::instant(t)) } }
}
