use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::error::Input;
use crate::exit::{code, exit_code, render};
use crate::settings::nearest;
use crate::workspace::records::Severity;

const WHOLE: &str = r#"# what the build is about
model: customer-churn
bucket: gs://my-project-churn
create_bucket: true
data:
  tables:
    account: {bigquery: my-project.churn.account, local: data/account.csv}
    usage:   {bigquery: bq://my-project.churn.usage, local: data/usage.csv}
  join: {on: customer_id, how: inner}
  label: {column: churn, positive: "yes"}
  drop: [customer_id]
  split: {test: 0.2, by: customer_id, seed: 100}
lint:
  schema: schema.yaml
  checks: {schema.extra: off, join.unmatched: reject}
  max_bad_rows: 3
  min_rows: 1000
  volume: {at_least: 0.8, last: 5}
  freshness: {column: month, within: 36h}
  drift: {against: champion, psi: 0.25, fdr: 0.1, columns: {age: {psi: 0.3}, month: off}}
train:    {builtin: {max_depth: 4}, machine: n1-standard-8, timeout: 1h30m, max_queue: 20m}
validate:
  require:
    - {metric: roc_auc, at_least: 0.90}
    - {metric: log_loss, no_worse_than: champion, by: 0.01, confidence: 0.9}
  slices: [area_code, international_plan]
push:     {registry: vertex}
deploy:
  endpoint: customer-churn
  stages: [10, 100]
  bake: 5m
  min_requests: 100
  limits: {error_rate: 0.02, latency_p95: 250ms}
  replay: {from: test, concurrency: 4}
triggers:
  project: my-project
  region: europe-west1
  service_account: builder@my-project.iam.gserviceaccount.com
  commit: {source: csr, repo: team/churn, branch: ^main$, included_files: [models/churn/**]}
  build: {config: models/churn/cloudbuild.yaml}
  listen: {service: serin-listen, service_account: caller@my-project.iam.gserviceaccount.com, topic: wake}
  check: {cron: "*/15 6-20 * * MON-FRI"}
  schedule: {cron: "0  3 * * 1", time_zone: America/Bogota}
  new_data: {rows: 5000}
  performance: {metric: accuracy, below: 0.88, labels: {bigquery: p.d.outcomes, key: customer_id, delay: 30d}}
  drift: {psi: 0.22, min_rows: 999, weighted_by: importance, columns: {usage: off}}
  limits: {cool_down: 1d12h, per_day: 2, one_at_a_time: false}
monitor: {window: 12h, requests: {bigquery: bq://p.d.request_response_log}}
"#;

const SMALL: &str = "\
model: _m
bucket: gs://abc
data:
  tables: {only: data.csv}
  label: {column: price}
train: {builtin:}
validate: {require: none}
deploy: {endpoint: e}
";

fn read(text: &str) -> Result<Config> {
    Config::parse(Path::new("serin.yaml"), text.as_bytes())
}

/// The message and the hint for a text, without the drawing.
fn refused(text: &str) -> String {
    let error = read(text).expect_err("it should be refused");
    assert_eq!(exit_code(&error), code::INPUT);
    let shown = error.to_string();
    match &error.downcast_ref::<Input>().unwrap().hint {
        Some(hint) => format!("{shown}\nhint: {hint}"),
        None => shown,
    }
}

fn values<T: Clone>(spots: &[Spot<T>]) -> Vec<T> {
    spots.iter().map(|spot| spot.value.clone()).collect()
}

#[test]
fn the_learners_parameters_have_xgboosts_names() {
    let of = |text: &str| {
        let text = WHOLE.replace("max_depth: 4", text);
        read(&text).unwrap().train
    };
    let train = of(
        "eta: 0.3, reg_lambda: 2, reg_alpha: 0.5, min_split_loss: 1, max_bin: 64, colsample_bynode: 0.5, \
         grow_policy: lossguide, max_leaves: 31, max_delta_step: 0.7, scale_pos_weight: auto, refit: false, \
         monotone_constraints: {age: 1, month: decreasing, other: 0}, weight: w, calibrate: true",
    );
    let expected = Builtin {
        learning_rate: 0.3,
        lambda: 2.0,
        alpha: 0.5,
        gamma: 1.0,
        max_bin: 64,
        colsample_bynode: 0.5,
        grow_policy: GrowPolicy::LossGuide,
        max_leaves: 31,
        max_delta_step: 0.7,
        scale_pos_weight: PositiveWeight::Auto,
        refit: false,
        monotone_constraints: [
            ("age".to_owned(), Monotone::Increasing),
            ("month".to_owned(), Monotone::Decreasing),
        ]
        .into(),
        weight: Some("w".to_owned()),
        calibrate: true,
        ..Builtin::default()
    };
    assert_eq!(train.builtin, expected);
    let named: Vec<&str> = train
        .columns
        .iter()
        .map(|(column, _)| column.as_str())
        .collect();
    assert_eq!(named, ["age", "month", "w"]);
    let fixed = of("scale_pos_weight: 3.5").builtin;
    assert_eq!(fixed.scale_pos_weight, PositiveWeight::Times(3.5));
    // What a specification says comes back.
    for builtin in [expected, fixed] {
        let text = serde_json::to_string(&builtin).unwrap();
        assert_eq!(serde_json::from_str::<Builtin>(&text).unwrap(), builtin);
    }
    let older = r#"{"max_depth": 3, "rounds": 10}"#;
    assert_eq!(serde_json::from_str::<Builtin>(older).unwrap().max_depth, 3);
}

#[test]
fn a_whole_file_is_read() {
    let config = read(WHOLE).unwrap();
    assert_eq!(config.model.value, "customer-churn");
    assert_eq!(config.model.place.to_string(), "serin.yaml:2:8");
    assert_eq!(config.bucket.value, "my-project-churn");
    assert!(config.create_bucket);
    let data = &config.data;
    let names: Vec<&str> = data.tables.iter().map(|t| t.name.as_str()).collect();
    assert_eq!(names, ["account", "usage"]);
    let usage = data.tables.last().unwrap();
    assert_eq!(usage.local.as_ref().unwrap().value, "data/usage.csv");
    assert_eq!(
        usage.bigquery.as_ref().unwrap().value,
        "my-project.churn.usage"
    );
    assert_eq!(usage.place.to_string(), "serin.yaml:8:5");
    let join = data.join.as_ref().unwrap();
    assert_eq!(
        (values(&join.on), join.how),
        (vec!["customer_id".to_owned()], JoinKind::Inner)
    );
    assert_eq!(data.label.positive.as_ref().unwrap().value, "yes");
    assert_eq!(values(&data.drop), ["customer_id"]);
    assert_eq!(data.split.seed, 100);
    let SplitRule::Hash { test, by } = &data.split.rule else {
        panic!("a split by hash");
    };
    assert_eq!((*test, values(by)), (0.2, vec!["customer_id".to_owned()]));
    assert_eq!(config.lint.schema.as_ref().unwrap().value, "schema.yaml");
    let lint = &config.lint;
    let checks: Vec<_> = lint
        .checks
        .iter()
        .map(|(code, level)| (code.as_str(), *level))
        .collect();
    assert_eq!(
        checks,
        [
            ("schema.extra", None),
            ("join.unmatched", Some(Severity::Reject))
        ]
    );
    assert_eq!(lint.checks[0].0.place.to_string(), "serin.yaml:15:12");
    assert_eq!(
        (lint.max_bad_rows, lint.min_rows.as_ref().unwrap().value),
        (3, 1000)
    );
    let volume = lint.volume.as_ref().unwrap();
    assert_eq!(
        (volume.at_least, volume.at_most, volume.last),
        (0.8, 2.0, 5)
    );
    let freshness = lint.freshness.as_ref().unwrap();
    assert_eq!(
        (freshness.column.as_str(), freshness.within),
        ("month", Duration::from_secs(36 * 3600))
    );
    let drift = lint.drift.as_ref().unwrap();
    assert!(matches!(drift.against, Baseline::Champion));
    assert_eq!(
        (drift.limits.psi, drift.fdr, drift.min_rows),
        (0.25, 0.1, 200)
    );
    let columns: Vec<_> = drift
        .columns
        .iter()
        .map(|column| (column.name.as_str(), column.limits.map(|limits| limits.psi)))
        .collect();
    assert_eq!(columns, [("age", Some(0.3)), ("month", None)]);
    assert_eq!(
        config.train.builtin,
        Builtin {
            max_depth: 4,
            ..Builtin::default()
        }
    );
    assert_eq!(config.train.machine, "n1-standard-8");
    assert_eq!(config.train.timeout, Duration::from_secs(5400));
    assert_eq!(config.train.max_queue, Duration::from_secs(1200));
    let gates = config.validate.require.iter();
    let gates: Vec<_> = gates.map(|g| (g.metric.name, g.rule)).collect();
    assert_eq!(
        gates,
        [
            (
                "roc_auc",
                GateRule::AtLeast(GateBound {
                    value: 0.9,
                    on: Judged::Value
                })
            ),
            (
                "log_loss",
                GateRule::NoWorse {
                    by: By::Amount(0.01),
                    confidence: 0.9
                }
            )
        ]
    );
    assert_eq!(
        values(&config.validate.slices),
        ["area_code", "international_plan"]
    );
    assert_eq!(config.deploy.stages, [10, 100]);
    assert_eq!(config.deploy.bake, Duration::from_secs(300));
    assert_eq!(config.deploy.min_requests, 100);
    assert_eq!(
        config.deploy.limits,
        Limits {
            error_rate: 0.02,
            latency_p95: Duration::from_millis(250)
        }
    );
    assert_eq!(config.deploy.replay, Some(Replay { concurrency: 4 }));
}

#[test]
fn what_starts_builds_is_read() {
    let triggers = read(WHOLE).unwrap().triggers.unwrap();
    assert!(read(SMALL).unwrap().triggers.is_none());
    let commit = triggers.commit.as_ref().unwrap();
    assert_eq!(
        (&commit.repository, &commit.events),
        (
            &Repository::SourceRepositories("team/churn".to_owned()),
            &Events::Branch("^main$".to_owned())
        )
    );
    assert_eq!(commit.included_files, ["models/churn/**"]);
    assert!(!commit.disabled && commit.ignored_files.is_empty());
    assert_eq!(triggers.branch(), Some("main"));
    assert_eq!(triggers.build.config, "models/churn/cloudbuild.yaml");
    let listen = triggers.listen.as_ref().unwrap();
    assert!(matches!(&listen.at, ListenAt::Service(name) if name.value == "serin-listen"));
    assert_eq!(listen.topic.as_ref().unwrap().value, "wake");
    let schedule = triggers.schedule.as_ref().unwrap();
    assert_eq!(
        (schedule.text.as_str(), schedule.time_zone.as_str()),
        ("0 3 * * 1", "America/Bogota")
    );
    assert_eq!(triggers.check.time_zone, "Etc/UTC");
    assert_eq!(triggers.new_data, Some(NewData::Rows(5000)));
    let performance = triggers.performance.as_ref().unwrap();
    assert_eq!(
        (performance.metric.as_str(), performance.bound),
        ("accuracy", Bound::Below(0.88))
    );
    let labels = &performance.labels;
    assert!(matches!(&labels.at, LabelsAt::BigQuery(table) if table.value == "p.d.outcomes"));
    assert_eq!(labels.delay, Duration::from_secs(30 * 86_400));
    let drift = triggers.drift.as_ref().unwrap();
    assert_eq!(drift.weighted_by, Some(Weight::Importance));
    assert_eq!((drift.drift.limits.psi, drift.drift.min_rows), (0.22, 999));
    assert_eq!(
        triggers.limits,
        StartLimits {
            cool_down: Duration::from_secs(36 * 3600),
            per_day: 2,
            one_at_a_time: false
        }
    );
}

#[test]
fn what_starts_builds_has_other_forms_and_defaults() {
    let read = |section: &str| {
        let config = read(&format!("{SMALL}triggers: {{{section}}}\n")).unwrap();
        config.triggers.unwrap()
    };
    let none = read("");
    assert!(none.commit.is_none() && none.listen.is_none() && !none.looks());
    assert_eq!(
        (none.branch(), none.check.text.as_str()),
        (None, "0 * * * *")
    );
    assert_eq!(
        none.check.cron,
        crate::cron::Cron::parse("0 * * * *").unwrap()
    );
    assert_eq!(none.build.config, "cloudbuild.yaml");
    assert_eq!(
        none.limits,
        StartLimits {
            cool_down: Duration::from_secs(6 * 3600),
            per_day: 4,
            one_at_a_time: true
        }
    );
    let link = "projects/p/locations/europe-west1/connections/c/gitRepositoryLinks/r";
    let linked = read(&format!(
        "commit: {{developer_connect: {link}, tag: 'v[0-9]+'}}"
    ));
    let commit = linked.commit.as_ref().unwrap();
    assert_eq!(commit.repository.location(), "europe-west1");
    assert_eq!(
        (linked.branch(), &commit.events),
        (None, &Events::Tag("v[0-9]+".to_owned()))
    );
    let hub = read("commit: {github: a/b, branch: ., disabled: true}, build: {branch: dev}");
    assert_eq!(hub.branch(), Some("dev"));
    let commit = hub.commit.unwrap();
    assert_eq!(
        (commit.repository.location(), commit.disabled),
        ("global", true)
    );
    let files = read(
        "new_data: {objects: gs://my-bucket/in/}, performance: {metric: rmse, above: 2, labels: {local: gs://b/l/*.csv, key: [a, b]}}",
    );
    assert_eq!(
        files.new_data,
        Some(NewData::Objects {
            bucket: "my-bucket".to_owned(),
            prefix: "in/".to_owned()
        })
    );
    assert_eq!(files.performance.unwrap().bound, Bound::Above(2.0));
}

#[test]
fn the_judge_of_a_rollout_is_told_what_to_hold_it_to() {
    let deploy = |fields: &str| {
        let line = format!("deploy: {{endpoint: e, {fields}}}");
        read(&SMALL.replace("deploy: {endpoint: e}", &line)).map(|config| config.deploy)
    };
    let found = deploy("limits: {error_rate: 0.02}").unwrap();
    let margin = |errors, latency, predictions| Margin {
        errors,
        latency,
        predictions,
    };
    assert_eq!(found.margin, margin(0.02 / 50.0, 0.1, 1.25));
    assert_eq!((found.alpha, found.promote_on), (0.01, PromoteOn::NoHarm));
    let found = deploy(
        "alpha: 0.05, margin: {errors: 0.05%, latency: 0.2, predictions: 2}, promote_on: not_worse",
    )
    .unwrap();
    assert_eq!(found.margin, margin(0.0005, 0.2, 2.0));
    assert_eq!((found.alpha, found.promote_on), (0.05, PromoteOn::NotWorse));
    assert_eq!(
        deploy("margin: {latency: 10%}").unwrap().margin.latency,
        0.1
    );
    for wrong in [
        "alpha: 0",
        "alpha: 0.6",
        "margin: {errors: -1%}",
        "margin: {errors: 101%}",
        "margin: {latency: nan}",
        "margin: {predictions: 0.5}",
        "promote_on: always",
        "take_over: perhaps",
        "on_cancel: wait",
    ] {
        assert!(deploy(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn what_a_model_runs_on_is_read_and_told() {
    let text = |fields: &str| {
        let line = format!("deploy: {{endpoint: e, {fields}}}");
        SMALL.replace("deploy: {endpoint: e}", &line)
    };
    let told = |fields: &str| read(&text(fields)).unwrap().deploy.resources.to_string();
    assert_eq!(
        told(
            "machine: n1-standard-4, accelerator: {type: NVIDIA_TESLA_T4, count: 2}, replicas: {min: 2, max: 5}, \
             autoscale: {cpu: 70, accelerator: 80}"
        ),
        "n1-standard-4 with 2 NVIDIA_TESLA_T4, 2 to 5 replicas, more from 70% of the processors on, \
         more from 80% of the accelerators on"
    );
    assert_eq!(told("replicas: {min: 3}"), "n1-standard-2, 3 replicas");
    assert_eq!(
        told("machine: g2-standard-4, accelerator: {type: NVIDIA_L4}"),
        "g2-standard-4 with 1 NVIDIA_L4"
    );
    assert_eq!(told("resource_pool: shared"), "the resource pool shared");
    let logged = read(&text("log_requests: {table: bq://p-1.d_1.t, sample: 5%}")).unwrap();
    let logged = logged.deploy.log_requests.unwrap();
    assert_eq!(
        (logged.table.as_str(), logged.sample),
        ("bq://p-1.d_1.t", 0.05)
    );
    for (fields, why) in [
        ("replicas: {min: 0}", "from 1 to 1000"),
        (
            "replicas: {min: 3, max: 2}",
            "no less than `min`, which is 3",
        ),
        (
            "autoscale: {cpu: 70}",
            "nothing to scale between 1 and 1 replicas",
        ),
        (
            "replicas: {max: 2}, autoscale: {}",
            "`cpu` or `accelerator`",
        ),
        ("replicas: {max: 2}, autoscale: {cpu: 101}", "1 to 100"),
        (
            "replicas: {max: 2}, autoscale: {accelerator: 60}",
            "needs `deploy.accelerator`",
        ),
        (
            "machine: e2-standard-4, accelerator: {type: NVIDIA_TESLA_T4}",
            "is neither",
        ),
        ("machine: g2-standard-4", "come with accelerators"),
        ("accelerator: {type: t4}", "NVIDIA_TESLA_T4"),
        (
            "accelerator: {type: NVIDIA_TESLA_T4, count: 3}",
            "1, 2, 4, 8 or 16",
        ),
        (
            "resource_pool: shared, machine: n1-standard-2",
            "is the pool's own",
        ),
        ("resource_pool: Shared", "a pool's id"),
        ("log_requests: {table: p.d.t}", "bq://"),
        ("log_requests: {table: bq://p.d.t.x}", "bq://"),
        (
            "log_requests: {table: bq://p, sample: 0}",
            "a share above 0",
        ),
        ("log_requests: {sample: 0.5}", "table"),
    ] {
        let said = refused(&text(fields));
        assert!(said.contains(why), "{fields}: {said}");
    }
}

#[test]
fn the_example_is_read() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = Config::read(&root.join("cloudbuild/churn/serin.yaml")).unwrap();
    assert_eq!(config.model.value, "customer-churn");
}

#[test]
fn what_is_left_out_has_a_default() {
    let config = read(SMALL).unwrap();
    assert!(!config.create_bucket && config.data.join.is_none() && config.data.drop.is_empty());
    let SplitRule::Hash { test, by } = &config.data.split.rule else {
        panic!("a split by hash");
    };
    assert_eq!((*test, by.len(), config.data.split.seed), (0.2, 0, 0));
    let lint = &config.lint;
    assert!(lint.schema.is_none() && lint.drift.is_none() && lint.checks.is_empty());
    assert!(lint.volume.is_none() && lint.freshness.is_none() && lint.min_rows.is_none());
    assert_eq!(lint.max_bad_rows, 0);
    assert_eq!(config.train.builtin, Builtin::default());
    assert_eq!(config.train.machine, "n1-standard-4");
    assert_eq!(config.train.timeout, Duration::from_secs(4 * 3600));
    assert_eq!(config.train.max_queue, Duration::from_secs(1800));
    assert!(config.encryption_key.is_none());
    assert!(config.validate.require.is_empty() && config.validate.slices.is_empty());
    let deploy = &config.deploy;
    assert_eq!(deploy.resources.to_string(), "n1-standard-2");
    assert!(deploy.log_requests.is_none() && !deploy.dedicated_endpoint);
    assert_eq!(deploy.stages, [5, 25, 50, 100]);
    assert_eq!(
        (deploy.bake, deploy.max_wait),
        (Duration::from_secs(600), Duration::from_secs(3600))
    );
    assert_eq!((deploy.min_requests, deploy.replay.clone()), (500, None));
    assert_eq!(deploy.limits.error_rate, 0.01);
    assert_eq!(deploy.limits.latency_p95, Duration::from_millis(500));
}

#[test]
fn drift_and_volume_have_defaults() {
    let config = read(&format!("{SMALL}lint: {{drift: {{}}, volume: {{}}}}\n")).unwrap();
    let drift = config.lint.drift.unwrap();
    assert!(matches!(drift.against, Baseline::Champion) && drift.columns.is_empty());
    assert_eq!(
        (drift.limits.psi, drift.fdr, drift.min_rows),
        (0.2, 0.05, 200)
    );
    let volume = config.lint.volume.unwrap();
    assert_eq!(
        (volume.at_least, volume.at_most, volume.last),
        (0.5, 2.0, 10)
    );
}

#[test]
fn drift_is_held_against_a_file() {
    let config = read(&format!(
        "{SMALL}lint: {{drift: {{against: profiles/base.json}}}}\n"
    ))
    .unwrap();
    let Baseline::File(file) = config.lint.drift.unwrap().against else {
        panic!("a file");
    };
    assert_eq!(file.value, "profiles/base.json");
}

#[test]
fn scalars_stay_as_they_were_written() {
    for written in ["yes", "no", "on", "True", "1", "0x10", "1.50", "2020-01-01"] {
        let text = SMALL.replace(
            "{column: price}",
            &format!("{{column: price, positive: {written}}}"),
        );
        let config = read(&text).unwrap();
        assert_eq!(config.data.label.positive.unwrap().value, written);
    }
}

#[test]
fn a_time_split_is_read() {
    for from in [
        "2026",
        "2026-01",
        "2026-01-31",
        "2026-01-31T10:00:00Z",
        "2026-01-31 10:00",
    ] {
        let split = format!("split: {{time: {{column: month, test_from: '{from}'}}}}\n  label:");
        let config = read(&SMALL.replace("label:", &split)).unwrap();
        let SplitRule::Time { column, test_from } = config.data.split.rule else {
            panic!("a split by time");
        };
        assert_eq!((column.value.as_str(), test_from.as_str()), ("month", from));
    }
}

#[test]
fn carriage_returns_a_byte_order_mark_and_comments_do_no_harm() {
    let text = format!("\u{feff}# comment\n{}", WHOLE.replace('\n', " # comment\n"));
    assert!(read(&text.replace('\n', "\r\n")).is_ok());
}

/// Edits of `WHOLE`: what by what. The messages stand in the snapshot.
const WRONG: &[(&str, &str)] = &[
    ("model: customer-churn\n", "modle: customer-churn\n"),
    ("model: customer-churn\n", ""),
    ("model: customer-churn\n", "model:\n"),
    ("model: customer-churn\n", "model: Customer\n"),
    ("model: customer-churn\n", "model: [a]\n"),
    ("gs://my-project-churn", "my-project-churn"),
    ("gs://my-project-churn", "gs://my-project-churn/models"),
    ("gs://my-project-churn", "gs://My_Bucket"),
    ("create_bucket: true", "create_bucket: yes"),
    ("create_bucket: true", "seed: 1"),
    ("create_bucket: true", "frobnicate: 1"),
    ("  join: {on: customer_id, how: inner}\n", ""),
    ("how: inner", "how: innr"),
    ("how: inner", "how: cross"),
    ("on: customer_id, how", "on: [], how"),
    ("on: customer_id, how", "on: [a, a], how"),
    ("on: customer_id, how", "on: churn, how"),
    (
        "    usage:   {bigquery: bq://my-project.churn.usage, local: data/usage.csv}\n",
        "",
    ),
    (
        "usage:   {bigquery: bq://my-project.churn.usage, local: data/usage.csv}",
        "usage: {local: gs://b/usage.csv, delimiter: \",,\"}",
    ),
    (
        "usage:   {bigquery: bq://my-project.churn.usage, local: data/usage.csv}",
        "usage: {local: gs://b/usage.csv, encoding: windows-125}",
    ),
    (
        "usage:   {bigquery: bq://my-project.churn.usage, local: data/usage.csv}",
        "usage: {}",
    ),
    (
        "usage:   {bigquery: bq://my-project.churn.usage, local: data/usage.csv}",
        "usage: s3://b/usage.csv",
    ),
    ("usage:   {bigquery", "account: {bigquery"),
    ("usage:   {bigquery", "\"us age\": {bigquery"),
    ("my-project.churn.account", "churn.account"),
    ("  tables:\n", "  query: features.sql\n  tables:\n"),
    ("column: churn, ", ""),
    ("drop: [customer_id]", "drop: [customer_id, churn]"),
    ("drop: [customer_id]", "drop: {a: b}"),
    ("test: 0.2", "test: 20"),
    ("test: 0.2", "tset: 0.2"),
    (
        "{test: 0.2, by: customer_id, seed: 100}",
        "{test: 0.2, time: {column: month, test_from: 2026-01-01}}",
    ),
    (
        "{test: 0.2, by: customer_id, seed: 100}",
        "{time: {column: month, test_from: january}}",
    ),
    ("seed: 100", "seed: -1"),
    ("against: champion", "against: champoin"),
    ("against: champion", "against: base.csv"),
    ("against: champion", "against: gs://b/base.json"),
    ("psi: 0.25", "psi: 0"),
    ("fdr: 0.1", "fdr: 1"),
    ("fdr: 0.1", "min_rows: 0"),
    ("age: {psi: 0.3}", "age: {jsd: 0.3}"),
    ("age: {psi: 0.3}", "age: {}"),
    ("age: {psi: 0.3}", "age: {l_infinity: 2}"),
    ("age: {psi: 0.3}", "age: on"),
    ("{age: {psi: 0.3}, month: off}", "age"),
    ("schema.extra: off", "schema.extra: error"),
    ("{schema.extra: off, join.unmatched: reject}", "off"),
    ("max_bad_rows: 3", "max_bad_rows: -1"),
    ("max_bad_rows: 3", "max_bad_row: 3"),
    ("min_rows: 1000", "min_rows: 0"),
    ("at_least: 0.8", "at_least: 1.2"),
    ("at_least: 0.8", "at_most: 0.8"),
    ("last: 5", "last: 0"),
    ("within: 36h", "within: 36"),
    ("column: month, ", ""),
    ("{builtin: {max_depth: 4}, ", "{"),
    ("{builtin: {max_depth: 4}, ", "{container: {image: x}, "),
    ("{builtin: {max_depth: 4}, ", "{builtin: {}, python: {}, "),
    ("max_depth: 4", "max_depth: 0"),
    ("max_depth: 4", "maxdepth: 4"),
    ("max_depth: 4", "learning_rate: fast"),
    ("max_depth: 4", "eta: 1.5"),
    ("max_depth: 4", "eta: 0.1, learning_rate: 0.1"),
    ("max_depth: 4", "gamma: -1"),
    ("max_depth: 4", "max_bin: 1"),
    ("max_depth: 4", "grow_policy: depth"),
    ("max_depth: 4", "scale_pos_weight: 0"),
    ("max_depth: 4", "scale_pos_weight: balanced"),
    ("max_depth: 4", "monotone_constraints: [1, 0]"),
    ("max_depth: 4", "monotone_constraints: {age: up}"),
    ("max_depth: 4", "weight: churn"),
    ("max_depth: 4", "calibrate: sigmoid"),
    ("timeout: 1h30m", "timeout: 90"),
    ("timeout: 1h30m", "timeout: 200h"),
    ("max_queue: 20m", "max_queue: 0s"),
    ("max_queue: 20m", "max_queue: 25h"),
    (
        "create_bucket: true",
        "encryption_key: projects/p/locations/l/cryptoKeys/k",
    ),
    ("at_least: 0.90", "at_leats: 0.90"),
    ("at_least: 0.90", "at_least: 0.90, at_most: 1"),
    ("at_least: 0.90", "at_least: 0.90, by: 1"),
    (", at_least: 0.90", ""),
    ("at_least: 0.90", "at_least: .inf"),
    ("confidence: 0.9", "confidence: 95"),
    ("registry: vertex", "registry: mlflow"),
    ("endpoint: customer-churn", "endpoint: customer_churn"),
    ("[10, 100]", "[10, 50]"),
    ("[10, 100]", "[50, 10, 100]"),
    ("[10, 100]", "[]"),
    ("[10, 100]", "[10, 110]"),
    (
        "bake: 5m",
        "bake: five minutes and then a very long text beside it",
    ),
    ("latency_p95: 250ms", "latency_p95: 0s"),
    ("concurrency: 4", "concurrency: 257"),
    ("from: test, ", ""),
    ("push:     {registry", "push: &p {registry"),
    ("push:     {registry", "push: !x {registry"),
    ("# what the build is about\n", "--- 1\n---\n"),
    ("[area_code, international_plan]", "[area_code"),
    ("  slices:", " slices:"),
    ("  bake: 5m", "\tbake: 5m"),
    ("model: customer-churn\n", "? [a]\n: b\n"),
    ("model: customer-churn\n", "bucket: gs://other\n"),
    ("project: my-project\n", "project: My Project\n"),
    ("region: europe-west1", "region: europe"),
    ("source: csr, repo", "source: bitbucket, repo"),
    ("source: csr, repo: team/churn", "source: csr"),
    ("source: csr, repo: team/churn", "source: csr, repo: /churn"),
    ("source: csr, repo", "source: csr, github: a/b, repo"),
    ("source: csr, repo: team/churn, ", ""),
    ("source: csr, repo", "github: a/b, repo"),
    (
        "source: csr, repo: team/churn",
        "github: https://github.com/a/b",
    ),
    (
        "source: csr, repo: team/churn",
        "connection: projects/p/locations/l/connections/c",
    ),
    (
        "source: csr, repo: team/churn",
        "developer_connect: projects/p/locations/l/connections/c/repositories/r",
    ),
    (", branch: ^main$", ""),
    ("branch: ^main$", "branch: ^main$, tag: v1"),
    ("branch: ^main$", "branch: '^(main$'"),
    ("branch: ^main$", "branch: '^(?!main)'"),
    ("[models/churn/**]", "models/churn/**"),
    ("[models/churn/**]", "[/models/**]"),
    ("[models/churn/**]", "['models/[ab/**']"),
    ("[models/churn/**]", "[./models/**]"),
    (
        "config: models/churn/cloudbuild.yaml",
        "config: /cloudbuild.yaml",
    ),
    ("config: models/churn/cloudbuild.yaml", "branch: ^main$"),
    ("service: serin-listen", "service: Listen"),
    (
        "service: serin-listen",
        "service: listen, url: https://a.example.com",
    ),
    ("service: serin-listen, ", ""),
    ("service: serin-listen", "url: http://a.example.com"),
    (
        ", service_account: caller@my-project.iam.gserviceaccount.com",
        "",
    ),
    ("caller@my-project.iam.gserviceaccount.com", "caller"),
    ("topic: wake", "topic: a/b"),
    ("0  3 * * 1", "0 25 * * 1"),
    ("0  3 * * 1", "every monday 03:00"),
    ("*/15 6-20 * * MON-FRI", "0 0 31 2,4 *"),
    ("America/Bogota", "America/Bogata"),
    ("cron: \"0  3 * * 1\", ", ""),
    ("rows: 5000", "rows: 0"),
    ("rows: 5000", "rows: 5000, share: 0.1"),
    ("rows: 5000", "share: 0"),
    ("rows: 5000", "objects: gs://bucket"),
    ("rows: 5000", "objects: gs://my-bucket/*.csv"),
    ("metric: accuracy", "metric: acuracy"),
    ("metric: accuracy", "metric: log_loss"),
    ("below: 0.88", "above: 0.88"),
    ("below: 0.88, ", ""),
    ("bigquery: p.d.outcomes", "bigquery: d.outcomes"),
    ("bigquery: p.d.outcomes, ", ""),
    (", key: customer_id, delay", ", key: [], delay"),
    ("delay: 30d", "delay: 30days"),
    ("delay: 30d", "delay: 367d"),
    ("weighted_by: importance", "weighted_by: gain"),
    ("psi: 0.22", "psi: -1"),
    ("{usage: off}", "{usage: {jsd: 1}}"),
    ("cool_down: 1d12h", "cool_down: 367d"),
    ("per_day: 2", "per_day: 0"),
    ("one_at_a_time: false", "one_at_a_time: no"),
];

#[test]
fn every_mistake_is_named_with_its_place() {
    let mut messages = String::new();
    for (what, by) in WRONG {
        assert_eq!(
            WHOLE.matches(what).count(),
            1,
            "{what} should stand in the file once"
        );
        let message = refused(&WHOLE.replacen(what, by, 1));
        messages.push_str(&format!("{what:?} → {by:?}\n{message}\n\n"));
    }
    insta::assert_snapshot!(messages);
}

#[test]
fn a_message_draws_the_line() {
    let error = read(&WHOLE.replace("how: inner", "how: innr")).unwrap_err();
    insta::assert_snapshot!(render(&error), @"
    error: serin.yaml:9:32: `data.join.how`: expected `inner`, `left` or `outer`, found `innr`
      |
    9 |   join: {on: customer_id, how: innr}
      |                                ^^^^
    hint: did you mean `inner`?
    ");
}

#[test]
fn a_file_of_nothing_is_refused() {
    for text in ["", "# only a comment\n", "---\n", "~"] {
        let error = read(text).unwrap_err().downcast::<Input>().unwrap();
        assert_eq!(error.message, "the file is empty", "{text:?}");
        assert!(error.hint.unwrap().starts_with("`serin init`"));
    }
    assert_eq!(
        refused("[]"),
        "serin.yaml:1:1: expected a mapping of fields, found a list"
    );
    let error = Config::parse(Path::new("serin.yaml"), b"model: a\nbucket: \xff").unwrap_err();
    assert_eq!(error.to_string(), "serin.yaml: line 2 is no UTF-8 text");
}

#[test]
fn a_missing_file_is_the_users_input() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("serin.yaml");
    let error = Config::read(&path).unwrap_err();
    assert_eq!(exit_code(&error), code::INPUT);
    let input = error.downcast::<Input>().unwrap();
    assert_eq!(input.message, "there is no such file");
    assert_eq!(input.place, Some(Place::File(path)));
    assert!(input.hint.unwrap().starts_with("`serin init`"));
    let error = Config::read(folder.path()).unwrap_err();
    let message = error.downcast::<Input>().unwrap().message;
    assert!(message.starts_with("cannot be read: "), "{message}");
}

#[test]
fn a_field_is_nearest_to_itself() {
    for (section, names) in fields::FIELDS {
        for name in *names {
            assert_eq!(
                nearest(name, names.iter().copied()),
                Some(*name),
                "{section}"
            );
        }
    }
}

/// Pieces that look like a config, so that random texts get past the first line.
fn pieces() -> impl Strategy<Value = String> {
    let names = fields::FIELDS
        .iter()
        .flat_map(|(_, names)| names.iter().copied());
    let words: Vec<&str> = names
        .chain([
            "{", "}", "[", "]", ",", "- ", "\n", "\n  ", "&a ", "*a", "!t ", "|", "'", "\"", "é",
            "champion",
        ])
        .chain([
            "1", "0.5", "-1", "1e999", "nan", "10m", "gs://b", "bq://", "~", "? ", "# ", "---",
            "\t", "\u{feff}",
        ])
        .collect();
    let word = prop_oneof![
        4 => proptest::sample::select(words).prop_map(|word| format!("{word}: ")),
        1 => any::<char>().prop_map(String::from),
    ];
    proptest::collection::vec(word, 0..40).prop_map(|words| words.concat())
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Config::parse(Path::new("serin.yaml"), &bytes);
    }

    #[test]
    fn no_text_makes_it_panic(text in pieces()) {
        if let Err(error) = read(&text) {
            prop_assert_eq!(exit_code(&error), code::INPUT);
        }
    }

    #[test]
    fn no_edit_of_a_good_file_makes_it_panic(
        at in 0..WHOLE.len(),
        cut in 0..60usize,
        piece in pieces(),
    ) {
        let end = (at + cut).min(WHOLE.len());
        let text = format!("{}{piece}{}", &WHOLE[..WHOLE.floor_char_boundary(at)], &WHOLE[end..]);
        if let Err(error) = read(&text) {
            prop_assert_eq!(exit_code(&error), code::INPUT);
            prop_assert!(!render(&error).is_empty());
        }
    }

    #[test]
    fn nesting_is_bounded(depth in 0..20_000usize, open in "[\\[{]|- |\\? |a: \\[") {
        let _ = read(&open.repeat(depth));
    }
}

fn gates(require: &str) -> Result<Config> {
    read(&SMALL.replace("require: none", &format!("require: {require}")))
}

#[test]
fn gates_that_cannot_be_meant_are_refused_where_they_stand() {
    for (require, message) in [
        ("[]", "an empty list of gates lets every model pass"),
        ("[{metric: auc, at_least: 0.9}]", "there is no metric `auc`"),
        (
            "[{metric: roc_auc, at_most: 0.9}]",
            "roc_auc is better the higher it is",
        ),
        (
            "[{metric: log_loss, at_least: 0.1}]",
            "log_loss is better the lower it is",
        ),
        (
            "[{metric: roc_auc, at_least: 90}]",
            "expected a number from 0 to 1, as roc_auc has, found `90`",
        ),
        (
            "[{metric: rmse, at_most: -1}]",
            "expected a number from 0, as rmse has, found `-1`",
        ),
        (
            "[{metric: log_loss, no_worse_than: champion}]",
            "`validate.require[0].by` is missing",
        ),
        (
            "[{metric: log_loss, no_worse_than: champion, by: 0}]",
            "expected a number above 0, or a share of the other's value",
        ),
        (
            "[{metric: roc_auc, no_worse_than: champion, by: 1}]",
            "expected a number above 0 and below 1",
        ),
        (
            "[{metric: roc_auc, no_worse_than: trivial, by: 0.1}]",
            "expected `champion`",
        ),
        (
            "[{metric: bias, better_than: trivial}]",
            "the mean has no bias, so nothing is better",
        ),
        (
            "[{metric: roc_auc, at_least: 0.9, by: 0.1}]",
            "has a meaning beside `no_worse_than` and `better_than` only",
        ),
        (
            "[{metric: roc_auc, better_than: champion, on: interval}]",
            "has a meaning beside `at_least` and `at_most` only",
        ),
    ] {
        let error = gates(require).unwrap_err();
        assert_eq!(exit_code(&error), code::INPUT, "{require}");
        let shown = render(&error);
        assert!(shown.contains(message), "{require}: {shown}");
    }
    let error = read(&SMALL.replace("validate: {require: none}\n", "validate: {slices: a}\n"));
    let shown = render(&error.unwrap_err());
    assert!(shown.contains("`validate.require` is missing"), "{shown}");
    assert!(shown.contains("`require: none`"), "{shown}");
    assert!(gates("none").unwrap().validate.require.is_empty());
}

#[test]
fn differences_are_read_in_units_and_in_percent() {
    let config = gates(
        "[{metric: rmse, no_worse_than: champion, by: 5%}, {metric: mae, better_than: champion, by: 0.5, confidence: 0.9}]",
    );
    let rules = config.unwrap().validate.require;
    let written: Vec<String> = rules.iter().map(|gate| gate.rule.to_string()).collect();
    assert_eq!(
        written,
        [
            "no_worse_than champion by 5%",
            "better_than champion by 0.5"
        ]
    );
}

#[test]
fn the_log_stands_at_one_place() {
    let monitor = read(WHOLE).unwrap().monitor;
    assert_eq!(monitor.window, Duration::from_secs(12 * 3600));
    let Some(RequestsAt::BigQuery(table)) = &monitor.requests else {
        panic!("{monitor:?}");
    };
    assert_eq!(**table, "p.d.request_response_log");
    let usual = read(SMALL).unwrap().monitor;
    assert!(usual.requests.is_none());
    assert_eq!(usual.window, Duration::from_secs(24 * 3600));
    for (section, told) in [
        ("window: 0s", "a duration above 0, at most 366 days"),
        (
            "requests: {}",
            "expected one of `bigquery` or `local`, found none",
        ),
        ("requests: {bigquery: log}", "`monitor.requests.bigquery`"),
        ("request: {}", "did you mean `requests`?"),
    ] {
        let refused = refused(&format!("{SMALL}monitor: {{{section}}}\n"));
        assert!(refused.contains(told), "{refused}");
    }
}
