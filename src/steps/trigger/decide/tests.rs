use super::*;
use crate::config::{Bound, Config, DriftCause, NewData};
use crate::steps::trigger::facts::{
    Champion, Data, Drift, Objects, Performance, Scheduled, Seen, Table,
};
use crate::workspace::drift_report::DriftVerdict;
use crate::workspace::monitor_report::{DriftOfColumn, MeasuredDrift, MeasuredMetric};

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn now() -> Timestamp {
    at("2026-06-01T12:00:00Z")
}

fn hours(n: u64) -> Duration {
    Duration::from_secs(n * 3600)
}

fn champion() -> Option<Champion> {
    Some(Champion {
        version: "3".into(),
        has_snapshot: true,
    })
}

fn table(rows: u64) -> Table {
    Table {
        name: "usage".into(),
        rows_then: Some(20_000),
        rows,
        generation: format!("g{rows}"),
    }
}

fn with_rows(limit: NewData, rows: u64) -> Facts {
    Facts {
        champion: champion(),
        new_data: Some(Data {
            limit,
            tables: vec![table(rows)],
            objects: None,
        }),
        ..Facts::default()
    }
}

fn limits() -> StartLimits {
    StartLimits {
        cool_down: hours(6),
        per_day: 2,
        one_at_a_time: true,
    }
}

fn firing(model: &str, key: &str, ago: Duration) -> Firing {
    Firing {
        model: model.into(),
        key: key.into(),
        cause: Cause::NewData,
        reason: "r".into(),
        decided_at: now() - ago,
        by: "p".into(),
        attempts: 1,
        attempted_at: Some(now() - ago),
        project: "p".into(),
        location: "global".into(),
        build: Some("b".into()),
        ended: Some("SUCCESS".into()),
    }
}

fn decided(facts: &Facts, limits: &StartLimits, firings: &[Firing]) -> Vec<Finding> {
    let held = Held {
        now: now(),
        model: "churn",
        limits,
        firings,
        known: &[],
    };
    decide(&looks(facts), &held)
}

/// The key and the reason of the one cause that fires.
fn fires(findings: &[Finding]) -> (String, String) {
    let mut fire = findings.iter().filter_map(|f| match f {
        Finding::Fires { due } => Some((due.key.clone(), due.reason.clone())),
        _ => None,
    });
    let fired = fire.next().unwrap_or_else(|| panic!("{findings:?}"));
    assert_eq!(fire.next(), None);
    fired
}

fn quiet(findings: &[Finding]) -> &str {
    match findings {
        [Finding::Quiet { sentence, .. } | Finding::Known { sentence, .. }] => sentence,
        other => panic!("{other:?}"),
    }
}

fn held(findings: &[Finding]) -> (HeldBy, &str) {
    match findings {
        [Finding::Held { by, sentence, .. }] => (*by, sentence),
        other => panic!("{other:?}"),
    }
}

#[test]
fn rows_that_came_since_the_snapshot_start_a_build_once() {
    let facts = with_rows(NewData::Rows(5000), 25_120);
    let (key, reason) = fires(&decided(&facts, &limits(), &[]));
    assert_eq!(
        reason,
        "5120 new rows in table usage since the snapshot of version 3 (20000 then, 25120 now); 5000 start a build"
    );
    assert!(key.starts_with("new-data-v3-"), "{key}");
    // The same facts have the same key, and other data another one.
    assert_eq!(fires(&decided(&facts, &limits(), &[])).0, key);
    let later = with_rows(NewData::Rows(5000), 25_121);
    assert_ne!(fires(&decided(&later, &limits(), &[])).0, key);

    let before = [firing("churn", &key, hours(100))];
    let known = decided(&facts, &limits(), &before);
    assert!(quiet(&known).contains("nothing changed since"), "{known:?}");
    // A key of another model's is another key.
    fires(&decided(
        &facts,
        &limits(),
        &[firing("other", &key, hours(100))],
    ));
}

#[test]
fn fewer_rows_than_asked_for_and_a_table_that_shrank_are_quiet() {
    for rows in [24_999, 20_000, 10] {
        let facts = with_rows(NewData::Rows(5000), rows);
        assert!(quiet(&decided(&facts, &limits(), &[])).contains("5000 start a build"));
    }
    let share = with_rows(NewData::Share(0.1), 21_999);
    assert!(quiet(&decided(&share, &limits(), &[])).contains("2000 (a share of 0.1)"));
    fires(&decided(
        &with_rows(NewData::Share(0.1), 22_000),
        &limits(),
        &[],
    ));
    let none = Facts {
        champion: None,
        ..with_rows(NewData::Rows(1), 99_999)
    };
    assert!(quiet(&decided(&none, &limits(), &[])).contains("no model serves yet"));
}

#[test]
fn objects_that_came_since_the_snapshot_start_a_build() {
    let with = |new: u64, known| Facts {
        champion: champion(),
        new_data: Some(Data {
            limit: NewData::Objects {
                bucket: "b".into(),
                prefix: "in/".into(),
            },
            tables: Vec::new(),
            objects: Some(Objects {
                place: "gs://b/in/".into(),
                all: 3,
                new,
                newest: (new > 0).then(|| "in/3.csv".into()),
                generation: "d".into(),
                known,
            }),
        }),
        ..Facts::default()
    };
    let (_, reason) = fires(&decided(&with(2, true), &limits(), &[]));
    assert!(
        reason.starts_with("2 new objects at gs://b/in/"),
        "{reason}"
    );
    assert!(quiet(&decided(&with(0, true), &limits(), &[])).contains("none newer"));
    assert!(quiet(&decided(&with(2, false), &limits(), &[])).contains("was made before"));
}

#[test]
fn a_metric_beyond_its_bound_starts_a_build() {
    let with = |value: f64, bound| Facts {
        champion: champion(),
        performance: Some(Performance {
            metric: "roc_auc".into(),
            bound,
            seen: Seen::Measured {
                what: MeasuredMetric {
                    metric: "roc_auc".into(),
                    value,
                    low: Some(value - 0.01),
                    high: Some(value + 0.01),
                    labelled: 400,
                    predictions: 1000,
                },
                from: "the requests of June".into(),
                mark: "w1".into(),
            },
        }),
        ..Facts::default()
    };
    let (_, reason) = fires(&decided(&with(0.87, Bound::Below(0.88)), &limits(), &[]));
    assert_eq!(
        reason,
        "roc_auc of version 3 is 0.8700 (0.8600 to 0.8800) on 400 labelled predictions of 1000 in the requests of June, below 0.88"
    );
    quiet(&decided(&with(0.88, Bound::Below(0.88)), &limits(), &[]));
    fires(&decided(&with(0.3, Bound::Above(0.2)), &limits(), &[]));
}

fn with_drift(weighted: bool, columns: &[(&str, DriftVerdict, f64, Option<f64>)]) -> Facts {
    let by = if weighted {
        ", weighted_by: importance"
    } else {
        ""
    };
    let columns = columns
        .iter()
        .map(|(column, verdict, psi, importance)| DriftOfColumn {
            column: (*column).into(),
            verdict: *verdict,
            psi: *psi,
            threshold: 0.2,
            importance: *importance,
        });
    Facts {
        champion: champion(),
        drift: Some(Drift {
            config: drift_cause(&format!("{{psi: 0.2, min_rows: 1000{by}}}")),
            seen: Seen::Measured {
                what: MeasuredDrift {
                    rows: 5000,
                    columns: columns.collect(),
                },
                from: "the requests of June".into(),
                mark: "w1".into(),
            },
        }),
        ..Facts::default()
    }
}

fn drift_cause(text: &str) -> DriftCause {
    let example = include_bytes!("../../../../cloudbuild/churn/serin.yaml");
    let mut bytes = example.to_vec();
    bytes.extend_from_slice(format!("\ntriggers:\n  drift: {text}\n").as_bytes());
    let config = Config::parse(std::path::Path::new("serin.yaml"), &bytes).unwrap();
    config.triggers.unwrap().drift.unwrap()
}

#[test]
fn drift_starts_a_build_where_it_matters() {
    use DriftVerdict::{Drift, Slight, Stable};
    let unimportant = [
        ("a", Drift, 0.5, Some(0.02)),
        ("b", Stable, 0.0, Some(0.9)),
        ("c", Stable, 0.0, Some(0.08)),
    ];
    let weighted = decided(&with_drift(true, &unimportant), &limits(), &[]);
    assert!(quiet(&weighted).contains("too unimportant"), "{weighted:?}");
    let (_, reason) = fires(&decided(&with_drift(false, &unimportant), &limits(), &[]));
    assert_eq!(
        reason,
        "of 3 columns, a (PSI 0.50) drifts against what version 3 was trained on, in the requests of June (unweighted)"
    );
    // Twice as important as the average needs half of it.
    let important = [
        ("a", Slight, 0.12, Some(0.7)),
        ("b", Stable, 0.0, Some(0.3)),
    ];
    let facts = with_drift(
        true,
        &[important[0], important[1], ("c", Stable, 0.0, Some(0.0))],
    );
    let (_, reason) = fires(&decided(&facts, &limits(), &[]));
    assert!(reason.ends_with("(weighted by importance)"), "{reason}");
    quiet(&decided(&with_drift(false, &important), &limits(), &[]));

    let none = [("a", Drift, 0.5, None), ("b", Stable, 0.0, None)];
    let (_, reason) = fires(&decided(&with_drift(true, &none), &limits(), &[]));
    assert!(
        reason.ends_with("(unweighted: the model tells no importance)"),
        "{reason}"
    );
}

#[test]
fn a_schedule_and_a_person_ask_for_builds() {
    let facts = Facts {
        schedule: Some(Scheduled {
            text: "0 3 * * 1 UTC".into(),
            due: Some(at("2026-06-01T03:00:00Z")),
        }),
        ..Facts::default()
    };
    let (key, _) = fires(&decided(&facts, &limits(), &[]));
    assert_eq!(key, "schedule-202606010300");
    let facts = Facts {
        asked: Some(Due {
            cause: Cause::OnDemand,
            key: "on-demand-1".into(),
            reason: "labels were corrected".into(),
        }),
        ..facts
    };
    let findings = decided(&facts, &limits(), &[]);
    assert_eq!(fires(&findings).0, "on-demand-1");
    let second = &findings[1];
    let Finding::Held { by, sentence, .. } = second else {
        panic!("{second:?}");
    };
    assert_eq!(*by, HeldBy::OneAtATime);
    assert_eq!(sentence, "a build is started for on_demand in this check");
}

#[test]
fn a_build_that_was_decided_on_and_not_started_is_told_apart() {
    let facts = with_rows(NewData::Rows(5000), 30_000);
    let (key, _) = fires(&decided(&facts, &limits(), &[]));
    let left = |ago| Firing {
        build: None,
        ended: None,
        ..firing("churn", &key, ago)
    };
    let found = decided(&facts, &limits(), &[left(hours(1))]);
    let [Finding::Starting { sentence, .. }] = &found[..] else {
        panic!("{found:?}");
    };
    assert!(sentence.ends_with("is not started yet"), "{sentence}");
    // After a day nobody starts it any more.
    assert!(quiet(&decided(&facts, &limits(), &[left(hours(25))])).contains("nothing changed"));
    // Nor does one of another model matter.
    let other = Firing {
        model: "other".into(),
        ..left(hours(1))
    };
    assert_eq!(
        held(&decided(&facts, &limits(), &[other])).0,
        HeldBy::OneAtATime
    );
}

#[test]
fn no_cool_down_holds_nothing_back() {
    let facts = with_rows(NewData::Rows(5000), 30_000);
    let none = StartLimits {
        cool_down: Duration::ZERO,
        ..limits()
    };
    fires(&decided(&facts, &none, &[firing("other", "k", hours(0))]));
}

#[test]
fn each_limit_holds_a_build_back() {
    let facts = with_rows(NewData::Rows(5000), 30_000);
    // The cool-down counts builds of every model of the bucket.
    let recent = [firing("other", "k", hours(5))];
    let found = decided(&facts, &limits(), &recent);
    let (by, sentence) = held(&found);
    assert_eq!(by, HeldBy::CoolDown);
    assert!(
        sentence
            .contains("the next is at 2026-06-01T13:00:00.000000Z at the earliest (cool_down: 6h)"),
        "{sentence}"
    );
    fires(&decided(
        &facts,
        &limits(),
        &[firing("other", "k", hours(6))],
    ));
    // A clock that goes ahead of this one has not waited for it.
    let mut ahead = firing("other", "k", hours(0));
    ahead.decided_at = now() + hours(1);
    assert_eq!(
        held(&decided(&facts, &limits(), &[ahead])).0,
        HeldBy::CoolDown
    );

    let two = [firing("a", "k", hours(23)), firing("b", "l", hours(7))];
    let found = decided(&facts, &limits(), &two);
    let (by, sentence) = held(&found);
    assert_eq!(by, HeldBy::PerDay);
    assert!(
        sentence.contains("the next is at 2026-06-01T13:00:00"),
        "{sentence}"
    );
    fires(&decided(
        &facts,
        &limits(),
        &[firing("a", "k", hours(24)), firing("b", "l", hours(7))],
    ));

    let running = Firing {
        ended: None,
        ..firing("other", "k", hours(10))
    };
    let one = [running];
    let found = decided(&facts, &limits(), &one);
    assert_eq!(
        held(&found),
        (
            HeldBy::OneAtATime,
            "the build b of other has not ended, and builds run one at a time"
        )
    );
    let several = StartLimits {
        one_at_a_time: false,
        ..limits()
    };
    fires(&decided(&facts, &several, &one));
    // A key that was left without a build counts until it is given up.
    let left = |ago| Firing {
        build: None,
        ended: None,
        ..firing("other", "k", ago)
    };
    assert_eq!(
        held(&decided(&facts, &limits(), &[left(hours(10))])).0,
        HeldBy::OneAtATime
    );
    fires(&decided(&facts, &limits(), &[left(hours(25))]));
    assert!(left(hours(1)).is_left(now()) && !left(Duration::from_secs(60)).is_left(now()));
}

#[test]
fn durations_are_written_as_in_the_config() {
    let texts = [0, 90, 3600, 90_000].map(|s| in_words(Duration::from_secs(s)));
    assert_eq!(texts, ["0s", "1m30s", "1h", "1d1h"]);
}
