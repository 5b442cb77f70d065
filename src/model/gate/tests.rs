//! The gates on small tables.

use std::path::PathBuf;

use proptest::prelude::*;

use super::super::testing::{self, Made};
use super::*;
use crate::config::Spot;
use crate::error::Place;

fn spot(value: &str) -> Spot<String> {
    Spot {
        value: value.to_owned(),
        place: Place::Text {
            path: PathBuf::from("serin.yaml"),
            line: 20,
            column: 16,
        },
    }
}

fn gate(metric: &str, rule: GateRule) -> Gate {
    Gate {
        metric: spot(metric),
        rule,
    }
}

fn no_worse(by: f64) -> GateRule {
    GateRule::NoWorseThanChampion {
        by,
        confidence: 0.95,
    }
}

fn fitted(made: &Made, seed: u64) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    made.fit(seed, folder.path()).unwrap();
    folder
}

fn run(made: &Made, champion: Option<&Path>, gates: Vec<Gate>) -> Evaluation {
    let challenger = fitted(made, 1);
    let config = Validate {
        require: gates,
        slices: vec![spot("area"), spot("minutes")],
    };
    evaluate(
        &made.part(),
        &made.label,
        challenger.path(),
        champion,
        &config,
    )
    .unwrap()
}

#[test]
fn absolute_gates_judge_the_value_and_show_its_interval() {
    let made = testing::binary(300);
    let gates = vec![
        gate("roc_auc", GateRule::AtLeast(0.6)),
        gate("log_loss", GateRule::AtMost(0.01)),
    ];
    let evaluation = run(&made, None, gates);
    assert_eq!(evaluation.verdict, Verdict::Reject);
    let verdicts: Vec<_> = evaluation.gates.iter().map(|g| g.verdict).collect();
    assert_eq!(verdicts, [Verdict::Pass, Verdict::Reject]);
    let MetricValue::Interval { value, low, high } = evaluation.metrics.challenger["roc_auc"]
    else {
        panic!("a gate's metric has an interval");
    };
    assert!(low < value && value < high);
    assert!(matches!(
        evaluation.metrics.challenger["accuracy"],
        MetricValue::Point(_)
    ));
    let message = &evaluation.gates[1].message;
    assert!(message.contains("at 95%), above 0.01"), "{message}");
    assert_eq!(evaluation.rows, 300);
}

#[test]
fn without_a_champion_a_relative_gate_passes_and_says_so() {
    let evaluation = run(
        &testing::binary(100),
        None,
        vec![gate("log_loss", no_worse(0.01))],
    );
    assert_eq!(evaluation.verdict, Verdict::Pass);
    assert!(
        evaluation.gates[0]
            .message
            .contains("no champion to compare with yet")
    );
    assert!(evaluation.metrics.champion.is_none());
}

#[test]
fn the_same_model_is_never_worse() {
    for (made, metric) in [
        (testing::binary(200), "log_loss"),
        (testing::multiclass(200), "roc_auc"),
        (testing::regression(200), "rmse"),
    ] {
        let champion = fitted(&made, 1);
        let evaluation = run(
            &made,
            Some(champion.path()),
            vec![gate(metric, no_worse(0.0))],
        );
        assert_eq!(evaluation.verdict, Verdict::Pass);
        let worse = MetricValue::Interval {
            value: 0.0,
            low: 0.0,
            high: 0.0,
        };
        assert_eq!(evaluation.gates[0].worse_by, Some(worse));
        assert_eq!(evaluation.gates[0].rule, "no_worse_than champion by 0");
    }
}

#[test]
fn a_champion_of_other_columns_or_classes_leaves_the_gate_open() {
    let made = testing::binary(200);
    let other = fitted(&testing::multiclass(200), 1);
    let evaluation = run(
        &made,
        Some(other.path()),
        vec![gate("log_loss", no_worse(0.01))],
    );
    assert_eq!(evaluation.verdict, Verdict::Inconclusive);
    assert!(evaluation.gates[0].message.contains("other classes"));

    let narrower = {
        let mut narrower = testing::binary(200);
        narrower.features.truncate(2);
        narrower
    };
    let champion = fitted(&made, 1);
    std::fs::write(
        champion.path().join("model.json"),
        std::fs::read_to_string(champion.path().join("model.json"))
            .unwrap()
            .replace("\"noise\"", "\"gone\""),
    )
    .unwrap();
    let evaluation = run(
        &narrower,
        Some(champion.path()),
        vec![gate("log_loss", no_worse(0.01))],
    );
    let message = &evaluation.gates[0].message;
    assert!(
        message
            .ends_with("the model's feature `gone` is a number, and the table has no such column"),
        "{message}"
    );
    assert_eq!(evaluation.gates[0].verdict, Verdict::Inconclusive);
}

#[test]
fn an_unknown_metric_or_slice_is_an_error_at_its_place() {
    let made = testing::binary(60);
    let challenger = fitted(&made, 1);
    let refusal = |config: Validate| {
        let error = evaluate(&made.part(), &made.label, challenger.path(), None, &config);
        let input = error.unwrap_err().downcast::<Input>().unwrap();
        format!("{input}; {}", input.hint.clone().unwrap_or_default())
    };
    let only = |name: &str| Validate {
        require: vec![gate(name, GateRule::AtLeast(0.5))],
        slices: vec![],
    };
    assert_eq!(
        refusal(only("roc_acu")),
        "serin.yaml:20:16: there is no metric `roc_acu`; did you mean `roc_auc`?"
    );
    let foreign = refusal(only("r2"));
    assert!(
        foreign.contains("is none for the binary label `label`; use one of `roc_auc`"),
        "{foreign}"
    );
    let slice = refusal(Validate {
        require: vec![],
        slices: vec![spot("aera")],
    });
    assert!(
        slice.ends_with("to slice by; did you mean `area`?"),
        "{slice}"
    );
}

#[test]
fn slices_hold_every_row_once() {
    let made = testing::binary(200);
    let champion = fitted(&made, 2);
    let evaluation = run(&made, Some(champion.path()), vec![]);
    assert_eq!(evaluation.verdict, Verdict::Pass);
    for column in ["area", "minutes"] {
        let of_column = evaluation.slices.iter().filter(|s| s.column == column);
        assert_eq!(of_column.map(|s| s.rows).sum::<u64>(), 200, "{column}");
    }
    assert!(evaluation.slices.iter().all(|s| s.champion.is_some()));
}

#[test]
fn the_same_rows_give_the_same_evaluation() {
    let made = testing::binary(200);
    let champion = fitted(&made, 2);
    let gates = || {
        vec![
            gate("log_loss", no_worse(0.01)),
            gate("roc_auc", GateRule::AtLeast(0.9)),
        ]
    };
    let one = run(&made, Some(champion.path()), gates());
    assert_eq!(one, run(&made, Some(champion.path()), gates()));
}

#[test]
fn numbers_are_shown_to_the_digits_that_count() {
    assert_eq!(show(0.93124), "0.9312");
    assert_eq!(show(0.9), "0.9");
    assert_eq!(show(25_321.4), "25321");
    assert_eq!(show(-0.000_012_345), "-0.00001234");
    assert_eq!(show(0.0), "0");
    assert_eq!(
        apart(0.899_96, 0.9),
        ("0.89996".to_owned(), "0.9".to_owned())
    );
}

#[test]
fn only_a_difference_beyond_chance_holds_a_challenger_back() {
    let verdicts = [(0.02, 0.015), (0.02, 0.005), (0.02, -0.001), (0.005, 0.001)]
        .map(|(worse, low)| relative(worse, low, 0.01));
    let expected = [
        Verdict::Reject,
        Verdict::Inconclusive,
        Verdict::Pass,
        Verdict::Pass,
    ];
    assert_eq!(verdicts, expected);
}

#[test]
fn a_much_worse_challenger_is_rejected_with_the_numbers() {
    let mut made = testing::binary(600);
    let champion = fitted(&made, 1);
    made.features.retain(|f| f.name == "noise");
    let evaluation = run(
        &made,
        Some(champion.path()),
        vec![gate("roc_auc", no_worse(0.01))],
    );
    let gate = &evaluation.gates[0];
    assert_eq!(gate.verdict, Verdict::Reject, "{}", gate.message);
    assert!(
        gate.message
            .ends_with("above the 0.01 allowed, as is its whole interval")
    );
    assert!(gate.worse_by.unwrap().value() > 0.1);
}

proptest! {
    #[test]
    fn allowing_more_never_makes_a_verdict_worse(
        worse in -1.0f64..1.0, below in 0.0f64..0.5, by in 0.0f64..1.0, more in 0.0f64..1.0
    ) {
        let rank = |by| match relative(worse, worse - below, by) {
            Verdict::Pass => 2,
            Verdict::Inconclusive => 1,
            Verdict::Reject => 0,
        };
        prop_assert!(rank(by) <= rank(by + more));
        prop_assert_eq!(rank(worse.max(0.0)), 2);
    }
}

#[test]
fn the_rows_of_an_export_are_judged_alike_however_they_are_cut_and_ordered() {
    let made = testing::binary(300);
    let (challenger, champion) = (fitted(&made, 1), fitted(&made, 2));
    let config = Validate {
        require: vec![
            gate("roc_auc", GateRule::AtLeast(0.6)),
            gate("log_loss", no_worse(0.01)),
        ],
        slices: vec![spot("area"), spot("minutes")],
    };
    let judged = |part| {
        let champion = Some(champion.path());
        evaluate(&part, &made.label, challenger.path(), champion, &config).unwrap()
    };
    let one = judged(made.exported(4, 1));
    assert_eq!(one, judged(made.exported(1, 2)));
    assert_eq!(one, judged(made.exported(9, 3)));
    let of_file = judged(made.part());
    assert_eq!(one.rows, of_file.rows);
    let accuracy = |of: &Evaluation| of.metrics.challenger["accuracy"];
    assert_eq!(accuracy(&one), accuracy(&of_file));
}
