//! Builds as they end in practice, for the tests of pages and tables: the churn example in six columns.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;

use super::Records;
use super::table_profile::fixtures as columns;
use crate::clock::Timestamp;
use crate::workspace::drift_report::*;
use crate::workspace::records::*;
use crate::workspace::table_profile::{ColumnFigures, TableProfile, ValueType};
use crate::workspace::{Digest, InputFile};

/// A second run that ended well: four stages beside a champion.
pub(super) fn promoted() -> Records {
    Records {
        dataset: Some(dataset()),
        profile: Some(profile()),
        lint: Some(LintReport {
            verdict: Verdict::Pass,
            findings: vec![warning()],
        }),
        drift: Some(drift()),
        trained: Some(trained()),
        validated: Some(validated(true)),
        pushed: Some(pushed()),
        deployed: Some(deployed(true, 6)),
        unfinished: std::collections::BTreeMap::new(),
    }
}

/// The first run: there is no champion anywhere.
pub(super) fn first_run() -> Records {
    Records {
        lint: Some(LintReport {
            verdict: Verdict::Pass,
            findings: Vec::new(),
        }),
        validated: Some(validated(false)),
        deployed: Some(deployed(false, 6)),
        ..promoted()
    }
}

/// The data was refused, and nothing ran after it.
pub(super) fn rejected_by_lint() -> Records {
    let find =
        |check: &str, column: &str, row, expected: &str, observed: &str, message: &str| Finding {
            check: check.into(),
            table: "usage".into(),
            column: column.into(),
            row,
            severity: Severity::Reject,
            expected: expected.into(),
            observed: observed.into(),
            message: message.into(),
        };
    Records {
        dataset: Some(dataset()),
        profile: Some(profile()),
        lint: Some(LintReport {
            verdict: Verdict::Reject,
            findings: vec![
                find(
                    "schema.type",
                    "total_day_minutes",
                    Some(413),
                    "number",
                    "n/a",
                    "data/usage.csv:413: column `total_day_minutes` holds `n/a`, expected a number",
                ),
                find(
                    "schema.presence",
                    "total_eve_calls",
                    None,
                    "present",
                    "absent",
                    "data/usage.csv: column `total_eve_calls` is missing, expected as the schema names it",
                ),
                warning(),
            ],
        }),
        ..Records::default()
    }
}

/// The canary failed in its first stage.
pub(super) fn rolled_back() -> Records {
    let mut records = promoted();
    let mut deployed = deployed(true, 6);
    deployed.verdict = DeployVerdict::RolledBack;
    deployed.reason = "at 5% 99 of 199 requests failed (49.7%), the limit is 1.0%".into();
    deployed.stages.truncate(1);
    deployed.stages[0].verdict = Verdict::Reject;
    deployed.stages[0].reason = deployed.reason.clone();
    deployed.stages[0].challenger.errors = deployed.stages[0].challenger.requests / 2;
    deployed.timeline.truncate(7);
    for point in &mut deployed.timeline {
        point.challenger.errors = point.challenger.requests / 2;
    }
    if let Some(last) = deployed.timeline.last_mut() {
        last.percent = 0;
        last.challenger = Traffic::default();
    }
    records.deployed = Some(deployed);
    records
}

/// The challenger is neither surely good enough nor surely worse, so nothing was pushed.
pub(super) fn inconclusive() -> Records {
    let mut validated = validated(true);
    validated.verdict = Verdict::Inconclusive;
    validated.gates[1].verdict = Verdict::Inconclusive;
    validated.gates[1].worse_by = Some(interval(0.0031, 0.0118));
    validated.gates[1].message =
        "log_loss is worse by 0.0031 (-0.0087 to 0.0149); 0.01 lies inside the interval".into();
    Records {
        validated: Some(validated),
        pushed: None,
        deployed: None,
        ..promoted()
    }
}

/// A canary of so many minutes.
pub(super) fn long(minutes: u64) -> Records {
    Records {
        deployed: Some(deployed(true, minutes / 4)),
        ..promoted()
    }
}

/// A table of so many columns.
pub(super) fn wide(columns: usize) -> Records {
    let mut records = promoted();
    if let Some(profile) = &mut records.profile {
        for part in [&mut profile.train, &mut profile.test] {
            let kinds = std::mem::take(&mut part.columns);
            let column = |i: usize| ColumnFigures {
                name: format!("feature_{i:04}"),
                ..kinds[i % kinds.len()].clone()
            };
            part.columns = (0..columns).map(column).collect();
        }
    }
    records.drift = None;
    records
}

/// Names that would break a page that trusts them.
pub(super) const HOSTILE: [&str; 9] = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "' onmouseover='alert(1)",
    "</style><style>@import 'http://example.org';",
    "&amp;&lt;javascript:",
    "",
    "\u{202e}txet desrever \u{1b}[2J\r\n\0",
    "顧客の解約率👩‍👩‍👧 مرحبا",
    "}{url(//example.org)}",
];

/// A build in which every text is hostile.
pub(super) fn hostile() -> Records {
    let long = "very_long_name_".repeat(400);
    let names: Vec<String> = HOSTILE
        .iter()
        .map(|n| (*n).to_owned())
        .chain([long])
        .collect();
    let at = |i: usize| names[i % names.len()].clone();
    let mut records = rolled_back();
    if let Some(p) = &mut records.profile {
        for part in [&mut p.train, &mut p.test] {
            let kinds = std::mem::take(&mut part.columns);
            for (i, (name, kind)) in names.iter().zip(kinds.iter().cycle()).enumerate() {
                let mut column = kind.clone();
                column.name = name.clone();
                for (j, top) in column.top.iter_mut().enumerate() {
                    top.value = HOSTILE[(i + j) % HOSTILE.len()].into();
                }
                part.columns.push(column);
            }
        }
        p.tables = names.clone();
    }
    if let Some(d) = &mut records.drift {
        d.against = at(3);
        d.columns[0].column = at(0);
    }
    if let Some(d) = &mut records.dataset {
        d.dropped = names.clone();
        d.label.classes = names.clone();
        d.label.column = at(1);
        for (i, table) in d.tables.iter_mut().enumerate() {
            table.name = at(i);
            table.path = at(i + 3);
        }
    }
    if let Some(t) = &mut records.trained {
        t.job = at(0);
        t.image = at(1);
        t.output_uri = at(9);
        t.parameters = names.iter().map(|n| (n.clone(), json!(n))).collect();
    }
    if let Some(v) = &mut records.validated {
        let metrics: Metrics = names
            .iter()
            .map(|n| {
                (
                    n.clone(),
                    MetricValue::Interval {
                        value: 0.5,
                        low: 0.4,
                        high: 0.6,
                        method: None,
                    },
                )
            })
            .collect();
        v.metrics = MetricSets {
            challenger: metrics.clone(),
            champion: Some(metrics.clone()),
        };
        v.notes = names.clone();
        for (i, gate) in v.gates.iter_mut().enumerate() {
            gate.metric = at(i);
            gate.rule = at(i + 4);
            gate.message = at(9);
        }
        for (i, slice) in v.slices.iter_mut().enumerate() {
            slice.column = at(i);
            slice.value = at(i + 5);
            slice.challenger = metrics.clone();
        }
    }
    if let Some(p) = &mut records.pushed {
        p.model = at(0);
        p.version = at(2);
        p.artifact_uri = at(9);
    }
    if let Some(d) = &mut records.deployed {
        d.endpoint = at(0);
        d.deployed_model_id = at(1);
        d.version = at(9);
        d.reason = names.join(" ");
    }
    records.lint = Some(LintReport {
        verdict: Verdict::Reject,
        findings: names
            .iter()
            .enumerate()
            .map(|(i, name)| Finding {
                check: at(i + 1),
                table: HOSTILE[i % HOSTILE.len()].into(),
                column: name.clone(),
                row: Some(u64::MAX),
                severity: Severity::Reject,
                expected: at(i + 2),
                observed: at(i + 3),
                message: at(i),
            })
            .collect(),
    });
    records
}

fn warning() -> Finding {
    Finding {
        check: "features.numeric_text".into(),
        table: "account".into(),
        column: "area_code".into(),
        row: None,
        severity: Severity::Warn,
        expected: "a category as text".into(),
        observed: "415 and 2 more".into(),
        message: "data/account.csv: column `area_code` is read as a category though every value is a number".into(),
    }
}

fn time(minute: u64) -> Timestamp {
    Timestamp::from_unix_micros(1_767_261_840_000_000) + Duration::from_secs(minute * 60)
}

fn digest(of: &str) -> Digest {
    Digest::of(of.as_bytes())
}

fn dataset() -> Dataset {
    let table = |name: &str| SourceTable {
        name: name.into(),
        path: format!("data/{name}.csv"),
        rows: 5000,
        sha256: digest(name),
        stored: None,
    };
    let part = |name: &str, rows| SplitFile {
        path: format!(".serin/{name}.parquet"),
        rows,
        sha256: digest(name),
        objects: Vec::new(),
    };
    Dataset {
        train: part("train", 4012),
        test: part("test", 988),
        label: LabelColumn {
            column: "churn".into(),
            positive: Some("yes".into()),
            task: Task::Binary,
            classes: vec!["no".into(), "yes".into()],
        },
        seed: 100,
        reason: None,
        watched: None,
        tables: vec![table("account"), table("usage")],
        features: [
            ("state", FeatureType::Category),
            ("area_code", FeatureType::Category),
            ("international_plan", FeatureType::Boolean),
            ("total_day_minutes", FeatureType::Number),
            ("number_vmail_messages", FeatureType::Number),
        ]
        .map(|(name, kind)| Feature {
            name: name.into(),
            kind,
        })
        .into(),
        dropped: vec!["customer_id".into()],
        digest: digest("snapshot"),
    }
}

fn profile() -> Profile {
    let [account, usage] = ["account", "usage"].map(str::to_owned);
    Profile {
        rows: 5000,
        train_rows: 4012,
        test_rows: 988,
        tables: [vec![account.clone(); 3], vec![usage; 2], vec![account]].concat(),
        train: part(4012, 0.0),
        test: part(988, 0.02),
    }
}

/// So many rows, whose numbers lie so far from those of the others.
fn part(rows: u64, shift: f64) -> TableProfile {
    let share = |share: f64| (rows as f64 * share).round() as u64;
    let texts = |name: &str, missing: f64, distinct, values: &[(&str, f64)]| {
        let top = values.iter().map(|(value, of)| (*value, share(*of)));
        ColumnFigures {
            null: share(missing),
            ..columns::texts(
                name,
                rows - share(missing),
                columns::exact(distinct),
                &top.collect::<Vec<_>>(),
            )
        }
    };
    let numbers = |name: &str, missing: f64, (min, max): (f64, f64)| {
        let ends = (min + shift * max, max + shift * max);
        ColumnFigures {
            null: share(missing),
            ..columns::numbers(name, rows - share(missing), columns::exact(1961), ends)
        }
    };
    let states = [
        ("WV", 0.03),
        ("MN", 0.025),
        ("AL", 0.0249),
        ("ID", 0.0236),
        ("VA", 0.0235),
    ];
    let codes = [("415", 0.499), ("408", 0.252), ("510", 0.247)];
    let columns = vec![
        texts("state", 0.0, 51, &states),
        texts("area_code", 0.002, 3, &codes),
        texts("international_plan", 0.0, 2, &[("no", 0.9), ("yes", 0.1)]),
        numbers("total_day_minutes", 0.001, (0.0, 351.5)),
        numbers("number_vmail_messages", 0.05, (0.0, 52.0)),
        texts("churn", 0.0, 2, &[("no", 0.86), ("yes", 0.14)]),
    ];
    TableProfile {
        rows,
        columns,
        ..TableProfile::default()
    }
}

/// Against the data of the model before: one column has moved a little.
fn drift() -> DriftReport {
    let test = DriftTest {
        p: 0.001,
        q: Some(0.004),
    };
    let baseline = part(3980, 0.1);
    DriftReport {
        against: "champion".into(),
        version: None,
        baseline_rows: baseline.rows,
        rows: 4012,
        fdr: 0.05,
        min_rows: 200,
        columns: vec![ColumnDrift {
            column: "total_day_minutes".into(),
            kind: ValueType::Number,
            threshold: 0.2,
            other_thresholds: std::collections::BTreeMap::new(),
            verdict: DriftVerdict::Slight,
            values: Some(ValueDrift {
                verdict: DriftVerdict::Slight,
                baseline_count: 3976,
                count: 4008,
                psi: 0.131,
                psi_by_chance: 0.004,
                jensen_shannon: 0.02,
                l_infinity: 0.05,
                kolmogorov_smirnov: Some(0.1),
                test,
                most: Vec::new(),
                new: Vec::new(),
                vanished: Vec::new(),
            }),
            missing: MissingDrift {
                verdict: DriftVerdict::Stable,
                baseline_share: 0.001,
                share: 0.001,
                psi: 0.0,
                psi_by_chance: 0.0,
                l_infinity: 0.0,
                test,
            },
        }],
        baseline: Some(baseline),
        ..DriftReport::default()
    }
}

fn trained() -> Trained {
    let parameters = [
        ("best_iteration", json!(142)),
        ("colsample_bytree", json!(0.8)),
        ("learning_rate", json!(0.1)),
        ("max_depth", json!(6)),
        ("objective", json!("binary:logistic")),
    ];
    let file = |name: &str| InputFile {
        path: format!(".serin/model/{name}"),
        sha256: digest(name),
    };
    Trained {
        job: "projects/1234567890/locations/europe-west4/customJobs/7021434985613459456".into(),
        key: digest("key"),
        image: "europe-west4-docker.pkg.dev/my-project/serin/serin:1".into(),
        seed: 2,
        parameters: parameters.map(|(k, v)| (k.to_owned(), v)).into(),
        output_uri: "gs://my-project-churn/jobs/6a1f0c2b9d3e/model".into(),
        model: ModelFiles {
            digest: digest("model"),
            files: vec![file("model.bst"), file("model.json")],
        },
        started: Some(time(0)),
        ended: Some(time(3) + Duration::from_secs(12)),
    }
}

fn interval(value: f64, half: f64) -> MetricValue {
    MetricValue::Interval {
        value,
        low: value - half,
        high: value + half,
        method: Some(IntervalMethod::Bca),
    }
}

fn metrics(shift: f64) -> Metrics {
    BTreeMap::from([
        ("accuracy".into(), MetricValue::Point(0.9565 + shift)),
        ("average_precision".into(), interval(0.9021 + shift, 0.0312)),
        ("log_loss".into(), interval(0.1532 - shift, 0.0214)),
        ("roc_auc".into(), interval(0.9294 + shift, 0.0187)),
    ])
}

fn validated(champion: bool) -> Validated {
    let slice = |column: &str, value: &str, rows, shift| SliceMetrics {
        column: column.into(),
        value: value.into(),
        rows,
        challenger: metrics(shift),
        champion: champion.then(|| metrics(shift - 0.004)),
    };
    let worse = interval(-0.0041, 0.0062);
    let mut gates = vec![GateResult {
        metric: "roc_auc".into(),
        rule: "at_least 0.9".into(),
        value: 0.9294,
        verdict: Verdict::Pass,
        worse_by: None,
        message: "roc_auc is 0.9294, at least 0.9 is asked for".into(),
    }];
    if champion {
        gates.push(GateResult {
            metric: "log_loss".into(),
            rule: "no_worse_than champion by 0.01".into(),
            value: 0.1532,
            verdict: Verdict::Pass,
            worse_by: Some(worse),
            message:
                "log_loss is better by 0.0041 (worse by -0.0103 to 0.0021), at most 0.01 is allowed"
                    .into(),
        });
    }
    Validated {
        verdict: Verdict::Pass,
        digest: digest("model"),
        rows: 988,
        metrics: MetricSets {
            challenger: metrics(0.0),
            champion: champion.then(|| metrics(-0.004)),
        },
        gates,
        champion: champion.then(|| Champion {
            model: "projects/my-project/locations/europe-west4/models/customer-churn".into(),
            version: "1".into(),
            digest: Some(digest("champion")),
        }),
        slices: vec![
            slice("area_code", "408", 249, -0.01),
            slice("area_code", "415", 494, 0.004),
            slice("international_plan", "yes", 94, -0.03),
        ],
        notes: Vec::new(),
        judged: 3,
    }
}

fn pushed() -> Pushed {
    Pushed {
        model: "projects/my-project/locations/europe-west4/models/customer-churn".into(),
        version: "2".into(),
        digest: digest("model"),
        artifact_uri: format!("gs://my-project-churn/models/{}/", digest("model")),
        found: false,
    }
}

/// Four stages of `minutes` each.
fn deployed(champion: bool, minutes: u64) -> Deployed {
    let shares = [5, 25, 50, 100];
    let traffic = |requests: u64, p50: f64| Traffic {
        requests,
        errors: requests / 900,
        failed: None,
        latency_p50_ms: (requests > 0).then_some(p50),
        latency_p95_ms: (requests > 0).then_some(p50 * 2.6),
    };
    let mut timeline = Vec::new();
    let mut stages = Vec::new();
    for (stage, percent) in shares.into_iter().enumerate() {
        let stage = stage as u64;
        let mut sums = (0, 0);
        for minute in 0..minutes {
            let all = 640 + (minute * 37 + stage * 53) % 90;
            let ours = all * u64::from(percent) / 100;
            sums = (sums.0 + ours, sums.1 + all - ours);
            let wave = ((minute * 29 + stage * 11) % 17) as f64 / 10.0;
            timeline.push(TimelinePoint {
                minute: time(10 + stage * minutes + minute),
                challenger: traffic(ours, 3.1 + wave),
                champion: champion.then(|| traffic(all - ours, 3.4 + wave / 2.0)),
                percent,
            });
        }
        stages.push(Stage {
            percent,
            started: time(10 + stage * minutes),
            ended: time(10 + (stage + 1) * minutes),
            verdict: Verdict::Pass,
            challenger: traffic(sums.0, 3.6),
            champion: champion.then(|| traffic(sums.1, 3.7)),
            reason: format!(
                "{} of {} requests failed (limit 1.0%), p95 is 9.36 ms (limit 300 ms)",
                sums.0 / 900,
                sums.0
            ),
        });
    }
    Deployed {
        verdict: DeployVerdict::Promoted,
        unchanged: false,
        endpoint: "projects/my-project/locations/europe-west4/endpoints/customer-churn".into(),
        dedicated_dns: None,
        deployed_model_id: "8234567890123456789".into(),
        champion_deployed_model_id: champion.then(|| "1234567890123456789".into()),
        model: "projects/my-project/locations/europe-west4/models/customer-churn".into(),
        version: "2".into(),
        stages,
        reason: "every stage passed; version 2 serves all traffic".into(),
        timeline,
        looks: looks(champion, minutes),
    }
}

/// A look at every minute of four stages, in which the evidence goes up and down.
fn looks(champion: bool, minutes: u64) -> Vec<Look> {
    let rate = |requests: u64| ErrorRate {
        requests,
        failed: requests / 900,
        low: 0.0002,
        high: 0.004,
    };
    (0..4 * minutes)
        .map(|minute| {
            let wave = 1.0 + ((minute * 29) % 17) as f64 / 10.0;
            Look {
                at: time(15 + minute),
                until: time(11 + minute),
                percent: [5, 25, 50, 100][(minute / minutes) as usize],
                challenger: rate(minute * 60),
                champion: champion.then(|| rate(minute * 400)),
                ratio: champion.then_some(Ratio {
                    low: 0.2,
                    high: Some(3.5),
                }),
                slow_ratio: None,
                evidence: Evidence {
                    errors: wave,
                    latency: 1.0 / wave,
                    predictions: None,
                    beside: 0.6 * wave + 0.4 / wave,
                    beside_limit: 125.0,
                    limits: 1.0,
                    limits_limit: 500.0,
                },
                excluded: 0.1 * minute as f64,
                rule: "wait".into(),
            }
        })
        .collect()
}
