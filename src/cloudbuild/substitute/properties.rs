//! Properties that hold for any template, and real bash to agree with.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use proptest::sample::select;

use super::expansion::expand;
use super::{Given, Mismatch, Rules, compare, fill_one, is_user_key};
use crate::settings::yaml::Mark;

const MARK: Mark = Mark::START;

/// A template with more references than chance would give it.
fn template() -> impl Strategy<Value = String> {
    let parts = select(vec![
        "$_A", "${_A}", "$$", "$", "{", "}", "_A", "${_B}", "x", "ä", "\n",
    ]);
    vec(parts, 0..12).prop_map(|parts| parts.concat())
}

/// A name: some are the user's, some built in, some neither.
fn key() -> impl Strategy<Value = &'static str> {
    select(vec![
        "_A",
        "_B",
        "_C_1",
        "COMMIT_SHA",
        "TAG_NAME",
        "PROJECT_ID",
        "BUILD_ID",
        "HOME",
        "A",
        "B_",
    ])
}

fn given(keys: &BTreeSet<&str>) -> Vec<Given> {
    let given = keys.iter().map(|key| Given {
        key: (*key).to_owned(),
        value: "v".to_owned(),
        mark: None,
    });
    given.collect()
}

proptest! {
    #[test]
    fn what_is_put_in_is_not_read_again(template in template(), a in template(), b in "\\PC{0,8}") {
        let filled = |a: &str, b: &str| {
            let pairs = [("_A", a), ("_B", b)].map(|(k, v)| (k.to_owned(), v.to_owned()));
            fill_one(&template, &pairs.into())
        };
        // Marks that no template holds stand where the values are to stand.
        let marked = filled("\u{1}", "\u{2}");
        let expected = marked.replace('\u{1}', &a).replace('\u{2}', &b);
        prop_assert_eq!(filled(&a, &b), expected);
    }

    #[test]
    fn text_beside_references_stays(before in "[^$]{0,20}", value in "\\PC{0,20}", after in "[^$]{0,20}") {
        let values = BTreeMap::from([("_A".to_owned(), value.clone())]);
        let filled = fill_one(&format!("{before}${{_A}}{after}"), &values);
        prop_assert_eq!(filled, format!("{before}{value}{after}"));
    }

    #[test]
    fn every_mismatch_is_told_once_and_nothing_else(
        used in btree_set(key(), 0..8),
        own in btree_set(key().prop_filter("given", |key| is_user_key(key) || *key == "TAG_NAME"), 0..4),
        loose: bool,
    ) {
        let references: Vec<_> = used.iter().flat_map(|key| [(None, *key), (Some(MARK), *key)]).collect();
        let rules = Rules { loose, ..Rules::default() };
        let (found, mismatches) = compare(&references, &given(&own), rules);
        prop_assert_eq!(found.iter().map(String::as_str).collect::<BTreeSet<_>>(), used.clone());
        let once: BTreeSet<Mismatch> = mismatches.iter().map(|(_, mismatch)| mismatch.clone()).collect();
        prop_assert_eq!(mismatches.len(), once.len());
        let mut expected = BTreeSet::new();
        for key in &used {
            if ["HOME", "A", "B_"].contains(key) {
                expected.insert(Mismatch::NotBuiltIn((*key).to_owned()));
            } else if key.starts_with('_') && !own.contains(key) && !loose {
                expected.insert(Mismatch::NotGiven((*key).to_owned()));
            }
        }
        for key in own.difference(&used).filter(|_| !loose) {
            expected.insert(Mismatch::Unused((*key).to_owned()));
        }
        prop_assert_eq!(once, expected);
    }
}

/// Plain characters: bash reads `&` of a replacement in its own way, and quotes everywhere.
fn plain() -> impl Strategy<Value = String> {
    "[a-cA-C1._ -]{0,6}"
}

fn glob() -> impl Strategy<Value = String> {
    let parts = select(vec![
        "a", "b", "C", ".", "-", "1", "?", "*", "[a-b]", "[!a]", "\\/", "\\.",
    ]);
    vec(parts, 1..4).prop_map(|parts| parts.concat())
}

/// What stands between a key and its closing brace.
fn form() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        select(vec!["^", "^^", ",", ",,"]).prop_map(str::to_owned),
        (select(vec![":-", ":+", ":="]), plain()).prop_map(|(sign, word)| format!("{sign}{word}")),
        (-9..9_i32).prop_map(|offset| format!(": {offset}")),
        (-9..9_i32, -5..9_i32).prop_map(|(offset, length)| format!(": {offset}:{length}")),
        (select(vec!["#", "##", "%", "%%"]), glob())
            .prop_map(|(sign, glob)| sign.to_owned() + &glob),
        (select(vec!["/", "//", "/#", "/%"]), glob(), plain())
            .prop_map(|(sign, glob, with)| format!("{sign}{glob}/{with}")),
        (select(vec!["/", "//"]), glob()).prop_map(|(sign, glob)| sign.to_owned() + &glob),
        (select(vec!["/#", "/%"]), plain()).prop_map(|(sign, with)| format!("{sign}/{with}")),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn bash_expands_the_same(cases in vec(("[a-cA-C1._/-]{0,8}", form()), 60)) {
        // The bash of macOS is older than these expansions.
        let mut script = "((BASH_VERSINFO[0] >= 5)) || exit 9\n".to_owned();
        for (value, form) in &cases {
            // What bash cannot do ends the parentheses.
            script.push_str(&format!(
                "(_V='{value}'; printf 'is %s' \"${{_V{form}}}\"); printf '\\0'\n"
            ));
        }
        let mut bash = Command::new("bash");
        let output = bash.arg("-c").arg(&script).env("LC_ALL", "C").output();
        let Some(output) = output.ok().filter(|output| output.status.code() != Some(9)) else {
            // Nothing to agree with.
            return Ok(());
        };
        let output = String::from_utf8(output.stdout).unwrap();
        let answers: Vec<&str> = output.split_terminator('\0').collect();
        prop_assert_eq!(answers.len(), cases.len());
        for ((value, form), answer) in cases.iter().zip(answers) {
            let values = BTreeMap::from([("_V".to_owned(), value.clone())]);
            let own = expand(&format!("${{_V{form}}}"), &values).ok();
            prop_assert_eq!(own.as_deref(), answer.strip_prefix("is "), "_V='{}' {}", value, form);
        }
    }
}
