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
        metric: Spot {
            value: MetricName::find(metric).unwrap(),
            place: spot(metric).place,
        },
        rule,
    }
}

fn on_value(value: f64) -> GateBound {
    GateBound {
        value,
        on: Judged::Value,
    }
}

fn no_worse(by: f64) -> GateRule {
    GateRule::NoWorse {
        by: By::Amount(by),
        confidence: 0.95,
    }
}

fn better(than: Rival) -> GateRule {
    GateRule::Better {
        than,
        by: By::Amount(0.0),
        confidence: 0.95,
    }
}

fn validate(require: Vec<Gate>, slices: &[&str]) -> Validate {
    Validate {
        require,
        on_inconclusive: Ruling::Reject,
        no_champion: Ruling::Pass,
        unscorable_champion: Ruling::Reject,
        threshold: 0.5,
        slices: slices.iter().map(|name| spot(name)).collect(),
    }
}

fn fitted(made: &Made, seed: u64) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    made.fit(seed, folder.path()).unwrap();
    folder
}

fn run(made: &Made, champion: Option<&Path>, gates: Vec<Gate>) -> Evaluation {
    let challenger = fitted(made, 1);
    let config = validate(gates, &["area", "minutes"]);
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
        gate("roc_auc", GateRule::AtLeast(on_value(0.6))),
        gate("log_loss", GateRule::AtMost(on_value(0.01))),
    ];
    let evaluation = run(&made, None, gates);
    assert_eq!(evaluation.verdict, Verdict::Reject);
    let verdicts: Vec<_> = evaluation.gates.iter().map(|g| g.verdict).collect();
    assert_eq!(verdicts, [Verdict::Pass, Verdict::Reject]);
    let MetricValue::Interval {
        value, low, high, ..
    } = evaluation.metrics.challenger["roc_auc"]
    else {
        panic!("a gate's metric has an interval");
    };
    assert!(low < value && value < high);
    let metrics = &evaluation.metrics.challenger;
    for (name, value) in metrics {
        let has_interval = matches!(value, MetricValue::Interval { .. });
        let may_have_one = name != "expected_calibration_error";
        assert_eq!(has_interval, may_have_one, "{name}: {value:?}");
    }
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
            vec![
                gate(metric, no_worse(0.001)),
                gate(metric, better(Rival::Champion)),
            ],
        );
        let verdicts: Vec<_> = evaluation.gates.iter().map(|g| g.verdict).collect();
        assert_eq!(verdicts, [Verdict::Pass, Verdict::Reject]);
        let worse = evaluation.gates[0].worse_by.unwrap();
        assert!(
            matches!(
                worse,
                MetricValue::Interval {
                    value: 0.0,
                    low: 0.0,
                    high: 0.0,
                    ..
                }
            ),
            "{worse:?}"
        );
        assert_eq!(evaluation.gates[0].rule, "no_worse_than champion by 0.001");
    }
}

#[test]
fn a_champion_of_other_classes_is_ruled_on() {
    let made = testing::binary(200);
    let other = fitted(&testing::multiclass(200), 1);
    let gates = vec![gate("log_loss", no_worse(0.01))];
    let challenger = fitted(&made, 1);
    let ruled = |ruling| {
        let mut config = validate(gates.clone(), &[]);
        config.unscorable_champion = ruling;
        let other = Some(other.path());
        evaluate(&made.part(), &made.label, challenger.path(), other, &config).unwrap()
    };
    let rejected = ruled(Ruling::Reject);
    assert_eq!(rejected.verdict, Verdict::Reject);
    assert!(rejected.gates[0].message.contains("other classes"));
    assert_eq!(ruled(Ruling::Pass).verdict, Verdict::Pass);
}

#[test]
fn a_feature_that_left_the_data_is_missing_to_the_champion() {
    let mut made = testing::binary(200);
    let champion = fitted(&made, 1);
    let read = |path| std::fs::read_to_string(path).unwrap();
    let manifest = champion.path().join("model.json");
    std::fs::write(&manifest, read(&manifest).replace("\"noise\"", "\"gone\"")).unwrap();
    made.features.truncate(2);
    let gates = vec![gate("log_loss", no_worse(0.5))];
    let evaluation = run(&made, Some(champion.path()), gates);
    assert_eq!(
        evaluation.notes,
        ["the champion reads `gone`, which left the data; it is a missing value to it"]
    );
    assert!(evaluation.metrics.champion.is_some());
}

#[test]
fn a_metric_of_another_task_or_an_unknown_slice_is_an_error_at_its_place() {
    let made = testing::binary(60);
    let challenger = fitted(&made, 1);
    let refusal = |config: Validate| {
        let error = evaluate(&made.part(), &made.label, challenger.path(), None, &config);
        let input = error.unwrap_err().downcast::<Input>().unwrap();
        format!("{input}; {}", input.hint.clone().unwrap_or_default())
    };
    let foreign = refusal(validate(
        vec![gate("r2", GateRule::AtLeast(on_value(0.5)))],
        &[],
    ));
    assert!(
        foreign.starts_with(
            "serin.yaml:20:16: the metric `r2` does not fit the label `label`, which has two classes; use one of `roc_auc`"
        ),
        "{foreign}"
    );
    let slice = refusal(validate(vec![], &["aera"]));
    assert!(
        slice.ends_with("to slice by; did you mean `area`?"),
        "{slice}"
    );
}

#[test]
fn what_test_rows_cannot_decide_is_ruled_on() {
    let made = testing::binary(100);
    let champion = fitted(&made, 2);
    let challenger = fitted(&made, 1);
    let mut config = validate(vec![gate("accuracy", no_worse(0.001))], &[]);
    let judged = |config: &Validate| {
        let champion = Some(champion.path());
        evaluate(
            &made.part(),
            &made.label,
            challenger.path(),
            champion,
            config,
        )
        .unwrap()
    };
    let open = judged(&config);
    assert_eq!(open.verdict, Verdict::Inconclusive);
    let message = &open.gates[0].message;
    assert!(message.contains("would need about"), "{message}");
    config.on_inconclusive = Ruling::Pass;
    let passed = judged(&config);
    assert_eq!(passed.verdict, Verdict::Pass);
    assert_eq!(passed.gates, open.gates);
    assert!(passed.notes[0].contains("`on_inconclusive: pass`"));
}

#[test]
fn a_model_that_learnt_something_is_better_than_the_trivial_one() {
    for (made, metric) in [
        (testing::binary(400), "log_loss"),
        (testing::binary(400), "roc_auc"),
        (testing::multiclass(400), "log_loss"),
        (testing::regression(400), "rmse"),
        (testing::regression(400), "mae"),
    ] {
        let evaluation = run(&made, None, vec![gate(metric, better(Rival::Trivial))]);
        let gate = &evaluation.gates[0];
        assert_eq!(gate.verdict, Verdict::Pass, "{}", gate.message);
    }
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
            gate("roc_auc", GateRule::AtLeast(on_value(0.9))),
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
fn a_claim_holds_only_where_its_whole_bound_does() {
    let limit = 0.01;
    let ends = [(-0.01, 0.005), (0.005, 0.02), (0.015, 0.03), (0.0, 0.01)];
    let no_worse = ends.map(|ends| Claim::NoWorse.verdict(ends, limit));
    use Verdict::{Inconclusive, Pass, Reject};
    assert_eq!(no_worse, [Pass, Inconclusive, Reject, Pass]);
    let ends = [(-0.02, -0.001), (-0.01, 0.0), (0.001, 0.02), (0.0, 0.0)];
    let better = ends.map(|ends| Claim::Better.verdict(ends, 0.0));
    assert_eq!(better, [Pass, Inconclusive, Reject, Reject]);
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
            .ends_with("shown not to be worse by less than 0.01")
    );
    assert!(gate.worse_by.unwrap().value() > 0.1);
}

proptest! {
    #[test]
    fn allowing_more_never_makes_a_verdict_worse(
        low in -1.0f64..1.0, width in 0.0f64..0.5, by in 0.0f64..1.0, more in 0.0f64..1.0
    ) {
        let rank = |by| match Claim::NoWorse.verdict((low, low + width), by) {
            Verdict::Pass => 2,
            Verdict::Inconclusive => 1,
            Verdict::Reject => 0,
        };
        prop_assert!(rank(by) <= rank(by + more));
        prop_assert_eq!(rank((low + width).max(0.0)), 2);
    }
}

#[test]
fn the_rows_of_an_export_are_judged_alike_however_they_are_cut_and_ordered() {
    let made = testing::binary(300);
    let (challenger, champion) = (fitted(&made, 1), fitted(&made, 2));
    let gates = vec![
        gate("roc_auc", GateRule::AtLeast(on_value(0.6))),
        gate("log_loss", no_worse(0.01)),
    ];
    let config = validate(gates, &["area", "minutes"]);
    let judged = |part| {
        let champion = Some(champion.path());
        evaluate(&part, &made.label, challenger.path(), champion, &config).unwrap()
    };
    let one = judged(made.exported(4, 1));
    assert_eq!(one, judged(made.exported(1, 2)));
    assert_eq!(one, judged(made.exported(9, 3)));
    let of_file = judged(made.part());
    assert_eq!(one.rows, of_file.rows);
    let accuracy = |of: &Evaluation| of.metrics.challenger["accuracy"].value();
    assert_eq!(accuracy(&one), accuracy(&of_file));
}
