use super::*;
use proptest::prelude::*;

/// The tree in one line, types shown by Rust's own names.
fn show(node: &Node) -> String {
    match &node.value {
        Value::Scalar(scalar, text) => show_scalar(*scalar, text),
        Value::List(items) => {
            let items: Vec<_> = items.iter().map(|item| show(item)).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Map(entries) => {
            let entries: Vec<_> = entries
                .iter()
                .map(|(k, v)| format!("{}: {}", show_scalar(k.scalar, &k.text), show(v)))
                .collect();
            format!("{{{}}}", entries.join(", "))
        }
    }
}

fn show_scalar(scalar: Scalar, text: &str) -> String {
    match scalar {
        Scalar::Text => format!("{text:?}"),
        scalar => format!("{scalar:?}"),
    }
}

fn parse(text: &str) -> Result<(String, Vec<Error>), Error> {
    let document = read(text, Rules::Yaml11)?;
    let root = document.root.as_deref();
    Ok((root.map_or_else(String::new, show), document.warnings))
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

/// Holds what is refused against the text, with the place; the messages stand in the snapshots.
fn check_refused(rules: Rules, cases: &[(&str, usize, usize, Problem)]) -> String {
    let mut messages = String::new();
    for (text, line, column, problem) in cases {
        let error = read(text, rules).unwrap_err();
        assert_eq!(error.problem, *problem, "{text:?}");
        let place = (error.mark.line, error.mark.column);
        assert_eq!(place, (*line, *column), "{text:?}");
        messages.push_str(&format!("{text:?}: {problem}\n"));
    }
    messages
}

#[test]
fn what_gclouds_loader_refuses_is_refused_with_its_place() {
    let unknown_tag = |tag: &str| Problem::UnknownTag(tag.to_owned());
    let (text, tag) = ("x".to_owned(), "!!int".to_owned());
    let messages = check_refused(
        Rules::Yaml11,
        &[
            (
                "a: x\n---\nb: x",
                2,
                1,
                Problem::SecondDocument(Rules::Yaml11),
            ),
            ("a: *x", 1, 4, Problem::UnknownAlias("x".to_owned())),
            ("a: &x [*x]", 1, 8, Problem::CircularAlias),
            ("a: !foo x", 1, 9, unknown_tag("!foo")),
            ("a: !foo [x]", 1, 9, unknown_tag("!foo")),
            ("a: !!binary aGk=", 1, 13, unknown_tag("!!binary")),
            ("a: !!int x", 1, 10, Problem::UnfitTag { text, tag }),
            (
                "a: &m {<<: k}",
                1,
                12,
                Problem::MergeOf("the string `k`".to_owned()),
            ),
            ("[a]: k", 1, 1, Problem::KeyIsNoName(Rules::Yaml11)),
        ],
    );
    insta::assert_snapshot!(messages);
    assert!(parse("a:\n\t- b").is_err());
    assert!(parse("a: {").is_err());
}

#[test]
fn a_repeated_key_is_warned_about_and_its_first_value_kept() {
    let (tree, warnings) = parse("a: k\nb: l\na: m").unwrap();
    assert_eq!(tree, "{\"a\": \"k\", \"b\": \"l\"}");
    assert_eq!(warnings[0].problem, Problem::RepeatedKey("a".to_owned()));
    assert_eq!((warnings[0].mark.line, warnings[0].mark.column), (3, 1));
    assert_eq!(warnings.len(), 1);
}

#[test]
fn a_bomb_of_aliases_or_depth_is_refused() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for i in 1..10 {
        let items = vec![format!("*a{}", i - 1); 10].join(", ");
        bomb.push_str(&format!("a{i}: &a{i} [{items}]\n"));
    }
    let problem = |text: &str| parse(text).unwrap_err().problem;
    assert_eq!(problem(&bomb), Problem::AliasesTooLarge);
    assert!(parse(&"[".repeat(100_000)).is_err());
    let mut deep = format!("a0: &a0 {}{}\n", "[".repeat(100), "]".repeat(100));
    for i in 1..50 {
        let (open, close) = ("[".repeat(100), "]".repeat(100));
        deep.push_str(&format!("a{i}: &a{i} {open}*a{}{close}\n", i - 1));
    }
    assert_eq!(problem(&deep), Problem::TooDeep);
}

#[test]
fn an_empty_text_has_no_root() {
    for text in ["", "\n", "# nothing\n"] {
        for rules in [Rules::Strict, Rules::Yaml11] {
            assert!(read(text, rules).unwrap().root.is_none(), "{text:?}");
        }
    }
}

#[test]
fn strict_files_hold_texts_and_nothing_that_has_to_be_looked_up() {
    let text = "{a: yes, b: '~', c: ~, d: [1, 2020-01-02], e: << }";
    let root = read(text, Rules::Strict).unwrap().root.unwrap();
    assert_eq!(
        show(&root),
        "{\"a\": \"yes\", \"b\": \"~\", \"c\": Null, \"d\": [\"1\", \"2020-01-02\"], \"e\": \"<<\"}"
    );
    let key = "a".to_owned();
    let messages = check_refused(
        Rules::Strict,
        &[
            ("a: &x k", 1, 7, Problem::Anchor),
            ("a: !!str k", 1, 10, Problem::Tag),
            ("a: k\na: l", 2, 1, Problem::DuplicateKey { key, first: 1 }),
            ("~: k", 1, 1, Problem::KeyIsNoName(Rules::Strict)),
            ("[a]: k", 1, 1, Problem::KeyIsNoName(Rules::Strict)),
            (
                "a: x\n---\nb: x",
                2,
                1,
                Problem::SecondDocument(Rules::Strict),
            ),
        ],
    );
    insta::assert_snapshot!(messages);
}

#[test]
fn every_node_knows_where_it_ends() {
    for rules in [Rules::Strict, Rules::Yaml11] {
        for (text, written) in [
            ("a: [b, c] # d\n", "a: [b, c]"),
            ("a:\n  b: c\n\n# d\n", "a:\n  b: c"),
            ("a:\n- b\n- {c: d}\n", "a:\n- b\n- {c: d}"),
            ("a:\n\n# b\n", "a"),
            ("é: 'ü'\n", "é: 'ü'"),
        ] {
            let root = read(text, rules).unwrap().root.unwrap();
            assert_eq!(
                text.get(root.mark.start..root.end),
                Some(written),
                "{text:?}"
            );
        }
    }
    let text = "a: &x {b: c}\nd:\n- *x\n";
    let root = read(text, Rules::Yaml11).unwrap().root.unwrap();
    assert_eq!(text.get(..root.end), Some(text.trim_end()));
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,60}|[\\[\\]{}:,&*a!<\\-\n\t #'\"|>?]{0,60}") {
        let _read = parse(&text);
        let _read = read(&text, Rules::Strict);
    }
}
