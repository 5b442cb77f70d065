//! What table and page show, and that no value of the user leaves its place.

use super::fixtures::*;
use super::terminal::table_on;
use super::{MOST_TABLES, column::column_on, page};
use crate::report::terminal::Screen;
use crate::report::tests::{attributes, parts, text_of, without_script};
use crate::workspace::table_profile::TableProfile;

const LOG: Screen = Screen {
    width: 120,
    terminal: false,
    colour: false,
};
const TERMINAL: Screen = Screen {
    width: 100,
    terminal: true,
    colour: false,
};

fn log(profile: &TableProfile, name: &str) -> String {
    table_on(LOG, profile, name, false)
}

/// Every kind of page, by name.
fn pages() -> Vec<(&'static str, String)> {
    let (all, later, wide) = (every_type(), later(), wide(120));
    vec![
        ("one", page(&[("data/usage.csv", &all)])),
        ("two", page(&[("train", &all), ("test", &later)])),
        (
            "three",
            page(&[("train", &all), ("test", &later), ("baseline", &wide)]),
        ),
        ("empty", page(&[("empty.csv", &empty())])),
        ("none", page(&[("", &TableProfile::default())])),
        ("unicode", page(&[("数.csv", &unicode())])),
        (
            "hostile",
            page(&[("</script><b>", &hostile()), ("\"&'", &hostile())]),
        ),
        ("wide", page(&[("wide.csv", &wide)])),
    ]
}

/// The JSON that the page's script reads.
fn data(html: &str) -> serde_json::Value {
    let (_, data) = html
        .split_once("<script type=\"application/json\" id=\"data\">")
        .unwrap();
    serde_json::from_str(data.split("</script>").next().unwrap()).unwrap()
}

#[test]
fn the_table_of_every_type() {
    insta::assert_snapshot!(log(&every_type(), "data/usage.csv"));
}

#[test]
fn the_table_on_a_terminal() {
    insta::assert_snapshot!(table_on(TERMINAL, &every_type(), "data/usage.csv", false));
    let narrow = Screen {
        width: 60,
        ..TERMINAL
    };
    insta::assert_snapshot!(
        "narrow",
        table_on(narrow, &every_type(), "data/usage.csv", false)
    );
}

#[test]
fn the_tables_of_odd_tables() {
    for (name, profile) in [
        ("unicode", unicode()),
        ("empty", empty()),
        ("hostile", hostile()),
    ] {
        insta::assert_snapshot!(name, log(&profile, "a b's.csv"));
    }
}

#[test]
fn a_column_in_full() {
    let profile = every_type();
    let shown = |screen, name| column_on(screen, &profile, "data/usage.csv", name).unwrap();
    let columns = ["total_charge", "city", "last_call", "notes"].map(|name| shown(LOG, name));
    insta::assert_snapshot!(columns.join("\n========\n"));
    assert!(shown(TERMINAL, "plan").contains('\u{2588}'));
    assert_eq!(column_on(LOG, &profile, "x", "nowhere"), None);
}

#[test]
fn a_log_holds_no_more_than_ascii_of_our_own() {
    assert!(log(&every_type(), "t.csv").is_ascii());
    let profile = every_type();
    for column in &profile.columns {
        let text = column_on(LOG, &profile, "t.csv", &column.name).unwrap();
        assert!(text.is_ascii(), "{text}");
    }
}

#[test]
fn no_line_of_the_table_is_wider_than_the_screen() {
    use unicode_width::UnicodeWidthStr;
    for profile in [every_type(), unicode(), wide(60), hostile()] {
        for width in [76, 80, 100, 160] {
            let text = table_on(Screen { width, ..TERMINAL }, &profile, "t.csv", false);
            let table = text.split("worth a look").next().unwrap();
            for line in table.lines() {
                assert!(line.width() <= usize::from(width), "{width}: {line}");
            }
        }
    }
}

#[test]
fn a_wide_table_is_cut_unless_all_is_asked_for() {
    let profile = wide(2000);
    let text = log(&profile, "wide.csv");
    insta::assert_snapshot!(text);
    let all = table_on(LOG, &profile, "wide.csv", true);
    assert_eq!(all.matches("\n feature_").count(), 2000);
    assert_eq!(all.matches("--column feature_").count(), 200);
    assert!(!all.contains("--all"));
}

#[test]
fn colour_comes_only_where_it_is_asked_for() {
    let coloured = Screen {
        colour: true,
        ..TERMINAL
    };
    let profile = every_type();
    assert!(table_on(coloured, &profile, "t", false).contains("\u{1b}[33m"));
    assert!(!table_on(TERMINAL, &profile, "t", false).contains('\u{1b}'));
}

#[test]
fn a_hostile_value_cannot_move_the_cursor() {
    let profile = hostile();
    let mut text = table_on(TERMINAL, &profile, "a\u{1b}[2J", true);
    for column in &profile.columns {
        text += &column_on(TERMINAL, &profile, "t", &column.name).unwrap();
    }
    assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text}");
    assert!(!text.contains('\u{202e}'));
}

#[test]
fn the_text_of_a_page() {
    insta::assert_snapshot!("page_of_one", text_of(&without_script(&pages()[0].1)));
    insta::assert_snapshot!("page_of_two", text_of(&without_script(&pages()[1].1)));
    let data = data(&pages()[1].1);
    assert_eq!(data["columns"][5]["name"], "plan");
    insta::assert_snapshot!(
        "data_of_two",
        format!("{}\n{}", data["columns"][3], data["columns"][5])
    );
}

#[test]
fn a_page_loads_nothing_and_runs_only_its_own_script() {
    for (name, html) in pages() {
        assert_eq!(html.matches("<script").count(), 2, "{name}");
        assert!(html.contains("script-src 'sha256-"), "{name}");
        let markup = without_script(&html);
        let (tags, _) = parts(&markup);
        for tag in &tags {
            for forbidden in [
                "http:",
                "https:",
                "//",
                "url(",
                "src=",
                "<link",
                "<img",
                " on",
                "javascript:",
            ] {
                assert!(!tag.contains(forbidden), "{name}: {tag}");
            }
        }
    }
    let script = include_str!("page.js");
    for forbidden in [
        "innerHTML",
        "outerHTML",
        "insertAdjacent",
        "document.write",
        "eval",
        "fetch",
        "http",
        "</",
    ] {
        assert!(!script.contains(forbidden), "{forbidden}");
    }
}

#[test]
fn hostile_names_and_values_stay_text() {
    for (name, html) in pages() {
        let markup = without_script(&html);
        let (tags, _) = parts(&markup);
        let mut open = Vec::new();
        for tag in tags {
            let word = tag.trim_matches(['<', '>']).split(' ').next().unwrap();
            if let Some(closed) = word.strip_prefix('/') {
                assert_eq!(open.pop(), Some(closed), "{name}: {tag}");
            } else if !matches!(word, "meta" | "input" | "!DOCTYPE") {
                open.push(word);
            }
        }
        assert!(open.is_empty(), "{name}: {open:?}");
    }
    let html = page(&[("</script><b>", &hostile())]);
    for raw in crate::report::fixtures::HOSTILE {
        if raw.contains('<') {
            assert!(!html.contains(raw), "{raw}");
        }
    }
    // In the JSON they are whole.
    let columns = data(&html)["columns"].as_array().unwrap().clone();
    for (i, raw) in crate::report::fixtures::HOSTILE.iter().enumerate() {
        assert_eq!(columns[2 * i]["name"], **raw);
    }
    assert_eq!(data(&html)["tables"][0], "</script><b>");
}

#[test]
fn ids_are_unique_and_anchors_resolve() {
    for (name, html) in pages() {
        let markup = without_script(&html);
        let (tags, _) = parts(&markup);
        let ids = attributes(&tags, "id");
        let known: std::collections::BTreeSet<_> = ids.iter().copied().collect();
        assert_eq!(known.len(), ids.len(), "{name}: an id stands twice");
        for href in attributes(&tags, "href") {
            assert!(
                known.contains(href.strip_prefix('#').unwrap()),
                "{name}: {href}"
            );
        }
        for list in attributes(&tags, "aria-labelledby") {
            for id in list.split(' ') {
                assert!(known.contains(id), "{name}: {id}");
            }
        }
    }
}

#[test]
fn every_column_has_its_card_and_its_figures() {
    let html = page(&[("wide.csv", &wide(2000))]);
    assert_eq!(html.matches("<article").count(), 2000);
    assert_eq!(data(&html)["columns"].as_array().unwrap().len(), 2000);
    assert!(html.len() < 9_000_000, "{}", html.len());
}

#[test]
fn the_same_profiles_give_the_same_page() {
    for ((_, a), (_, b)) in pages().into_iter().zip(pages()) {
        assert!(a == b);
    }
    let profile = empty();
    let many = vec![("t", &profile); MOST_TABLES + 1];
    assert!(page(&many) == page(&many[..MOST_TABLES]));
}

#[test]
fn a_profile_reads_back_as_it_was_written() {
    let mut awkward = every_type();
    for column in &mut awkward.columns {
        if let Some(n) = &mut column.numbers {
            // Numbers whose shortest text a fast parser misses by the last bit.
            (n.min, n.mean) = (
                -2.638_344_616_030_823_5e-256,
                9.007_199_254_740_993e15 / 3.0,
            );
            n.max = f64::MAX;
        }
    }
    for profile in [
        every_type(),
        later(),
        empty(),
        unicode(),
        hostile(),
        wide(30),
        awkward,
    ] {
        let text = serde_json::to_string(&profile).unwrap();
        assert_eq!(
            serde_json::from_str::<TableProfile>(&text).unwrap(),
            profile
        );
    }
}
