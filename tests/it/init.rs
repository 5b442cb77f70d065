//! `serin init` writes a project that runs at once, on any table with a class or a number to predict.

use std::fmt::Write as _;

use crate::harness::Project;

/// A table of `rows` rows from a small generator, with a class and a number that depend on the features.
fn table(rows: u32) -> String {
    let mut text = String::from("id,Größe in cm,colour: main,grade,price\n");
    let mut state = 7_u64;
    for i in 0..rows {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let size = 100 + (state >> 33) % 100;
        let colour = ["red", "green", "\"blue, dark\""][((state >> 40) % 3) as usize];
        let grade = if size < 130 {
            "a"
        } else if size < 165 {
            "no"
        } else {
            "yes"
        };
        let price = size * 3 + (state >> 50) % 20;
        writeln!(text, "K{i:05},{size},{colour},{grade},{price}.5").unwrap();
    }
    text
}

fn runs(label: &str, rows: u32) {
    let project = Project::empty();
    std::fs::write(project.folder.path().join("items.csv"), table(rows)).unwrap();
    project
        .serin(&["init", "--label", label, "--dir", "project", "items.csv"])
        .expect(0);
    project.run(&[]).expect(0);
    assert_eq!(project.record("deploy.json")["verdict"], "promoted");
    assert_eq!(project.record("dataset.json")["dropped"][0], "id");
    project
        .serin(&["init", "--label", label, "--dir", "project", "items.csv"])
        .expect(2);
}

#[test]
fn a_table_with_several_classes_runs() {
    runs("grade", 600);
}

#[test]
fn a_table_with_a_number_to_predict_runs() {
    runs("price", 600);
}

#[test]
fn wrong_words_are_refused() {
    let project = Project::empty();
    std::fs::write(project.folder.path().join("items.csv"), table(20)).unwrap();
    let init = |arguments: &[&str]| {
        let mut all = vec!["init", "--dir", "project"];
        all.extend(arguments);
        project.serin(&all)
    };
    init(&["--label", "prize", "items.csv"])
        .expect(2)
        .says("price");
    init(&["--label", "price", "nothing.csv"])
        .expect(2)
        .says("nothing.csv");
    init(&["--label", "price", "items.csv", "items.csv"]).expect(2);
}
