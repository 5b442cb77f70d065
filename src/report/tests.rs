//! What holds on every page, and the text of some.

use std::collections::BTreeSet;

use super::*;

fn html(records: &Records) -> String {
    page::page(records).into_string()
}

/// The page without the script and data that a page with columns has.
pub(super) fn without_script(html: &str) -> String {
    match html.split_once("<script") {
        Some((before, _)) => format!("{before}</body></html>"),
        None => html.to_owned(),
    }
}

/// Every kind of page, by name, and without its script.
fn pages() -> Vec<(&'static str, String)> {
    [
        ("empty", Records::default()),
        ("promoted", fixtures::promoted()),
        ("first run", fixtures::first_run()),
        ("rejected by lint", fixtures::rejected_by_lint()),
        ("inconclusive", fixtures::inconclusive()),
        ("rolled back", fixtures::rolled_back()),
        ("hostile", fixtures::hostile()),
        ("long", fixtures::long(500)),
        ("no columns", fixtures::wide(0)),
        ("wide", fixtures::wide(1500)),
    ]
    .map(|(name, records)| (name, without_script(&html(&records))))
    .into()
}

/// A page's tags and the text between them; the style is checked on its own.
pub(super) fn parts(html: &str) -> (Vec<&str>, String) {
    let (mut tags, mut text) = (Vec::new(), String::new());
    let mut rest = html;
    while let Some(start) = rest.find('<') {
        text.push_str(&rest[..start]);
        let end = start + rest[start..].find('>').unwrap() + 1;
        let tag = &rest[start..end];
        rest = &rest[end..];
        if tag == "<style>" {
            rest = &rest[rest.find("</style>").unwrap()..];
        }
        match tag.trim_matches(['<', '>', '/']).split(' ').next() {
            Some("a" | "b" | "bdi" | "code" | "span" | "time") => {}
            Some("td" | "th") if tag.starts_with("</") => text.push_str(" | "),
            Some("td" | "th" | "div" | "dt") => {}
            Some("dd") if !tag.starts_with("</") => text.push_str(": "),
            _ => text.push('\n'),
        }
        tags.push(tag);
    }
    (tags, text + rest)
}

/// The text a reader sees, a block a line.
pub(super) fn text_of(html: &str) -> String {
    let (_, text) = parts(html);
    text.lines()
        .map(|line| line.trim_end_matches([' ', '|']).trim())
        .filter(|line| !line.is_empty())
        .collect::<Vec<_>>()
        .join("\n")
}

/// The values of an attribute, in order.
pub(super) fn attributes<'a>(tags: &[&'a str], name: &str) -> Vec<&'a str> {
    let start = format!(" {name}=\"");
    tags.iter()
        .filter_map(|tag| tag.split_once(start.as_str()))
        .filter_map(|(_, value)| value.split('"').next())
        .collect()
}

#[test]
fn nothing_is_loaded_from_outside_and_only_the_own_script_runs() {
    let scripts = |records: &Records| html(records).matches("<script").count();
    assert_eq!(scripts(&Records::default()), 0);
    assert_eq!(scripts(&fixtures::hostile()), 2);
    assert!(html(&fixtures::hostile()).contains("script-src 'sha256-"));
    for (name, html) in pages() {
        let (tags, _) = parts(&html);
        for tag in &tags {
            for forbidden in [
                "http:",
                "https:",
                "//",
                "url(",
                "src=",
                "@import",
                "<script",
                "<link",
                "<img",
                "<iframe",
                " on",
                "javascript:",
            ] {
                assert!(!tag.contains(forbidden), "{name}: {tag}");
            }
        }
        assert_eq!(html.matches("<style>").count(), 1, "{name}");
    }
    let style = include_str!("page.css");
    for forbidden in ["url(", "//", "@import", "http", "<", "expression"] {
        assert!(!style.contains(forbidden), "{forbidden}");
    }
}

#[test]
fn ids_are_unique_and_anchors_resolve() {
    for (name, html) in pages() {
        let (tags, _) = parts(&html);
        let ids = attributes(&tags, "id");
        let known: BTreeSet<&str> = ids.iter().copied().collect();
        assert_eq!(known.len(), ids.len(), "{name}: an id stands twice");
        for href in attributes(&tags, "href") {
            let id = href.strip_prefix('#').unwrap();
            assert!(known.contains(id), "{name}: {href}");
        }
        for list in attributes(&tags, "aria-labelledby") {
            for id in list.split(' ') {
                assert!(known.contains(id), "{name}: {id}");
            }
        }
    }
}

#[test]
fn tags_are_balanced_and_hostile_names_stay_text() {
    for (name, html) in pages() {
        let (tags, _) = parts(&html);
        let mut open = Vec::new();
        for tag in tags {
            let word = tag.trim_matches(['<', '>']).split(' ').next().unwrap();
            if let Some(closed) = word.strip_prefix('/') {
                assert_eq!(open.pop(), Some(closed), "{name}: {tag}");
            } else if !matches!(word, "meta" | "br" | "input" | "!DOCTYPE") {
                open.push(word);
            }
        }
        assert!(open.is_empty(), "{name}: {open:?}");
    }
    let page = without_script(&html(&fixtures::hostile()));
    for raw in fixtures::HOSTILE {
        if raw.contains('<') {
            assert!(!page.contains(raw), "{raw}");
        }
    }
    assert!(!page.contains(|c| crate::printable::is_hidden(c) && c != '\n'));
    assert!(page.contains("\\u{202e}txet desrever \\u{1b}[2J"));
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
    assert!(page.contains("&amp;amp;&amp;lt;javascript:"));
}

#[test]
fn every_plot_is_titled_and_its_numbers_are_in_a_table() {
    for (name, html) in pages() {
        for (start, _) in html.match_indices("<svg ") {
            let (svg, after) = html[start..].split_once("</svg>").unwrap();
            assert!(svg.contains("role=\"img\""), "{name}");
            assert!(svg.contains("<title ") && svg.contains("<desc "), "{name}");
            assert!(
                !svg.contains("\"></title>") && !svg.contains("\"></desc>"),
                "{name}"
            );
            // Intervals stand in the row of their numbers, the script makes the tables of a card's; the table of
            // any other plot comes before the next card.
            let numbers = if svg.contains("plot intervals") {
                "</tr>"
            } else if svg.contains("id=\"plot-") {
                "Figures and counts"
            } else {
                "<table"
            };
            let until = after.split("<article").next().unwrap();
            assert!(until.contains(numbers), "{name}: {svg}");
        }
    }
    let page = html(&fixtures::long(500));
    let (_, table) = page.split_once("id=\"timeline\"").unwrap();
    assert_eq!(
        table
            .split("</table>")
            .next()
            .unwrap()
            .matches("<tr>")
            .count(),
        502
    );
}

#[test]
fn headings_are_in_order_and_tables_captioned() {
    for (name, html) in pages() {
        let (tags, _) = parts(&html);
        let mut level = 0;
        for tag in &tags {
            if let Some(next) = tag
                .strip_prefix("<h")
                .and_then(|t| t.get(..1)?.parse::<u32>().ok())
            {
                assert!(next <= level + 1, "{name}: {tag} after level {level}");
                level = next;
            }
        }
        assert_eq!(html.matches("<h1").count(), 1, "{name}");
        assert_eq!(
            html.matches("<table").count(),
            html.matches("<caption").count(),
            "{name}"
        );
        for tag in tags
            .iter()
            .filter(|t| t.starts_with("<th") && !t.starts_with("<thead"))
        {
            assert!(tag.contains("scope="), "{name}: {tag}");
        }
        assert!(html.contains("<html lang=\"en\">"));
    }
}

#[test]
fn the_same_records_give_the_same_bytes() {
    for ((_, a), (_, b)) in pages().into_iter().zip(pages()) {
        assert!(a == b);
    }
}

#[test]
fn a_page_is_written_from_the_records_that_are_there() {
    let folder = tempfile::tempdir().unwrap();
    let workspace = Workspace::new(folder.path());
    let read = |path: PathBuf| text_of(&std::fs::read_to_string(path).unwrap());
    assert!(read(write(&workspace).unwrap()).contains("Nothing has run"));

    let records = fixtures::promoted();
    workspace
        .write(records.dataset.as_ref().unwrap(), &[])
        .unwrap();
    workspace
        .write(records.profile.as_ref().unwrap(), &[])
        .unwrap();
    workspace
        .write(records.lint.as_ref().unwrap(), &[])
        .unwrap();
    workspace
        .write(records.drift.as_ref().unwrap(), &[])
        .unwrap();
    let text = read(write(&workspace).unwrap());
    assert!(text.contains("The later steps were not reached."), "{text}");
    assert!(text.contains("not reached"), "{text}");

    workspace
        .write(records.trained.as_ref().unwrap(), &[])
        .unwrap();
    workspace
        .write(records.validated.as_ref().unwrap(), &[])
        .unwrap();
    workspace
        .write(records.pushed.as_ref().unwrap(), &[])
        .unwrap();
    workspace
        .write(records.deployed.as_ref().unwrap(), &[])
        .unwrap();
    let path = write(&workspace).unwrap();
    assert_eq!(path, folder.path().join(".serin/report.html"));
    assert_eq!(std::fs::read_to_string(path).unwrap(), html(&records));
    assert!(terminal::summary(&workspace).contains("version 2 of customer-churn"));
}

#[test]
fn the_text_of_a_promoted_build() {
    insta::assert_snapshot!(text_of(&without_script(&html(&fixtures::promoted()))));
}

#[test]
fn the_text_of_an_empty_workspace() {
    insta::assert_snapshot!(text_of(&html(&Records::default())));
}

#[test]
fn the_text_of_a_build_that_lint_rejected() {
    let mut records = fixtures::rejected_by_lint();
    // The columns read as those of the promoted build.
    records.profile = None;
    insta::assert_snapshot!(text_of(&html(&records)));
}

#[test]
fn the_text_of_other_ends() {
    for (name, mut records) in [
        ("first", fixtures::first_run()),
        ("inconclusive", fixtures::inconclusive()),
        ("rolled_back", fixtures::rolled_back()),
    ] {
        records.profile = None;
        records.dataset = None;
        insta::assert_snapshot!(name, text_of(&html(&records)));
    }
}

#[test]
fn a_canary_that_had_nothing_to_do_says_so() {
    let mut records = fixtures::promoted();
    let deployed = records.deployed.as_mut().unwrap();
    deployed.unchanged = true;
    deployed.stages.clear();
    deployed.timeline.clear();
    let text = text_of(&html(&records));
    assert!(
        text.contains("this digest already served all traffic"),
        "{text}"
    );
    assert!(text.contains("No minute was counted."), "{text}");
}

#[test]
fn pages_of_many_columns_stay_small() {
    let page = html(&fixtures::wide(1500));
    assert!(page.len() < 9_000_000, "{}", page.len());
    assert_eq!(page.matches("<article").count(), 1500);
}
