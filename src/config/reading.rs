//! The sections of `serin.yaml`: their fields, defaults, ranges, and what must fit together.

use std::time::Duration;

use anyhow::Result;

use super::forms::{
    bigquery, bytes, files, is_bucket_name, is_date, is_endpoint_id, is_model_id, is_table_name,
    key_location, local, machine, service_account, share,
};
use super::learner::builtin;
use super::{
    Approve, Config, Data, Deploy, Encoding, File, Join, JoinKind, Label, Limits, Margin, OnCancel,
    PromoteOn, Replay, Split, SplitRule, Spot, Table, Times, Train, existing::existing, lint,
    machine_shape, monitor, triggers, validate,
};
use crate::error::Place;
use crate::settings::yaml::{Scalar, Value};
use crate::settings::{Cursor, Fields};

/// The longest a custom job of Vertex AI may run.
const LONGEST_JOB: Duration = Duration::from_secs(7 * 24 * 3600);

/// Half of the time that Cloud Build gives a build which says nothing of it.
const USUAL_QUEUE: Duration = Duration::from_secs(30 * 60);

const KEY: &str =
    "a Cloud KMS key such as `projects/P/locations/us-central1/keyRings/R/cryptoKeys/K`";

/// As long as the longest build of Cloud Build.
const LONGEST_STAGE: Duration = Duration::from_secs(24 * 3600);
const LONGEST_APPROVAL: Duration = Duration::from_secs(30 * 24 * 3600);

pub(super) fn config(file: &File) -> Result<Config> {
    let root = file.root()?;
    let root = Cursor {
        file,
        node: &root,
        path: String::new(),
    };
    if root.node.is_null() {
        return Err(root
            .error("the file is empty")
            .hint("`serin init` writes a first one from your tables")
            .into());
    }
    let top = root.fields("")?;
    if let Some(push) = top.get("push")
        && let Some(registry) = push.fields("push")?.get("registry")
    {
        registry.word(&[("vertex", ())])?;
    }
    let data = data(&top.need("data")?.fields("data")?)?;
    Ok(Config {
        path: file.path.clone(),
        model: top.need("model")?.text_where(
            "a model id: at most 63 of `a-z`, `0-9`, `-`, `_`, the first a letter or `_`",
            is_model_id,
        )?,
        bucket: bucket(&top.need("bucket")?)?,
        create_bucket: match top.get("create_bucket") {
            Some(create) => create.word(&[("true", true), ("false", false)])?,
            None => false,
        },
        encryption_key: top
            .get("encryption_key")
            .map(|key| key.text_where(KEY, |text| key_location(text).is_some()))
            .transpose()?,
        train: train(&top.need("train")?.fields("train")?, &data.label.column)?,
        data,
        lint: top
            .get("lint")
            .map(lint::lint)
            .transpose()?
            .unwrap_or_default(),
        validate: validate::validate(top.need("validate")?)?,
        deploy: deploy(&top.need("deploy")?.fields("deploy")?)?,
        triggers: top.get("triggers").map(triggers::triggers).transpose()?,
        monitor: top
            .get("monitor")
            .map(monitor::monitor)
            .transpose()?
            .unwrap_or_default(),
    })
}

fn bucket(field: &Cursor) -> Result<Spot<String>> {
    let what = "a bucket such as `gs://my-bucket`";
    let mut text = field.text(what)?;
    let Some(rest) = text.value.strip_prefix("gs://") else {
        let error = field.expected(what);
        return Err(if is_bucket_name(&text) {
            error.hint(format!("did you mean `gs://{}`?", *text))
        } else {
            error
        }
        .into());
    };
    let (name, path) = match rest.split_once('/') {
        Some((name, path)) => (name, Some(path)),
        None => (rest, None),
    };
    if !is_bucket_name(name) {
        return Err(field
            .expected(
                "a bucket's name: 3 to 63 of `a-z`, `0-9`, `-`, `_`, `.`, a letter or digit at both ends",
            )
            .into());
    }
    if path.is_some() {
        return Err(field
            .error("expected a bucket without a path: serin lays out its own folders in it")
            .hint(format!("write `gs://{name}`"))
            .into());
    }
    text.value = name.to_owned();
    Ok(text)
}

fn data(fields: &Fields) -> Result<Data> {
    let query = fields.get("query").map(|query| local(&query)).transpose()?;
    let tables = match fields.get("tables") {
        None if query.is_some() => Vec::new(),
        _ => tables(fields.need("tables")?)?,
    };
    if tables.iter().any(|table| table.bigquery.is_some()) {
        fields.refuse(
            "query",
            "is what BigQuery reads, and so is a table's `bigquery` place",
        )?;
    }
    let label = label(&fields.need("label")?.fields("data.label")?)?;
    let join = fields.get("join").map(|field| join(field, &label.column));
    let join = join.transpose()?;
    if tables.len() > 1 && join.is_none() {
        return Err(fields
            .missing("join")
            .hint("several tables need one, as in `join: {on: customer_id, how: inner}`")
            .into());
    }
    if tables.len() < 2 {
        fields.refuse("join", "joins several tables, and there are not two")?;
    }
    let drop = fields.get("drop");
    let drop = drop.map_or(Ok(vec![]), |drop| drop.names(Some(&label.column)))?;
    let split = match fields.get("split") {
        Some(field) => split(&field.fields("data.split")?, &label.column)?,
        None => Split {
            seed: 0,
            rule: SplitRule::Hash {
                test: 0.2,
                by: vec![],
            },
        },
    };
    let staging = fields.get("staging").map(|field| staging(&field));
    let most = fields.get("max_bytes_billed");
    Ok(Data {
        tables,
        join,
        query,
        staging: staging.transpose()?,
        max_bytes_billed: most.map_or(Ok(1 << 40), |most| {
            most.value("bytes such as `500GB` or `2TiB`", bytes)
        })?,
        label,
        drop,
        times: match fields.get("times") {
            Some(times) => times.word(&[("number", Times::Number), ("parts", Times::Parts)])?,
            None => Times::Number,
        },
        split,
    })
}

fn tables(field: Cursor) -> Result<Vec<Table>> {
    let what = "a mapping of names to tables, as in `account: data/account.csv`";
    let listed = field.map(what)?;
    let mut tables = Vec::new();
    for (key, field) in listed.entries() {
        if !is_table_name(&key.text) {
            let message = format!(
                "`{}`: expected a table's name of letters, digits, `-` and `_`",
                field.path
            );
            return Err(field.file.error(&key.mark, message).into());
        }
        let place = field.file.place(&key.mark);
        tables.push(table(key.text.clone(), place, field)?);
    }
    if tables.is_empty() {
        return Err(listed.cursor.error("expected at least one table").into());
    }
    Ok(tables)
}

fn table(name: String, place: Place, field: Cursor) -> Result<Table> {
    let mut read = Table {
        name,
        local: None,
        bigquery: None,
        filter: None,
        delimiter: None,
        encoding: None,
        place,
    };
    match &field.node.value {
        Value::Scalar(Scalar::Text, text) if text.starts_with("bq://") => {
            read.bigquery = Some(bigquery(&field)?)
        }
        Value::Scalar(Scalar::Text, _) => read.local = Some(files(&field)?),
        _ => {
            let table = field.fields("data.tables.*")?;
            read.local = table.get("local").map(|field| files(&field)).transpose()?;
            let bigquery = table.get("bigquery").map(|field| bigquery(&field));
            read.bigquery = bigquery.transpose()?;
            if read.local.is_none() && read.bigquery.is_none() {
                return Err(table
                    .cursor
                    .error("expected the table's place: `local`, `bigquery` or both")
                    .into());
            }
            let filter = table.get("where");
            read.filter = filter
                .map(|field| {
                    field.text("a condition in BigQuery's SQL, as in `day >= '2026-01-01'`")
                })
                .transpose()?;
            if read.bigquery.is_none() {
                table.refuse(
                    "where",
                    "is for a table of BigQuery, and this one has no `bigquery` place",
                )?;
            }
            let delimiter = table.get("delimiter").map(|field| delimiter(&field));
            read.delimiter = delimiter.transpose()?;
            let encoding = table.get("encoding").map(|field| encoding(&field));
            read.encoding = encoding.transpose()?;
        }
    }
    Ok(read)
}

/// What may stand between fields.
fn delimiter(field: &Cursor) -> Result<u8> {
    let what = "one character such as `;`, or `tab`";
    let Value::Scalar(Scalar::Text, text) = &field.node.value else {
        return Err(field.expected(what).into());
    };
    match text.as_bytes() {
        b"tab" | b"\\t" => Ok(b'\t'),
        [c] if (c.is_ascii_punctuation() && *c != b'"') || matches!(c, b'\t' | b' ') => Ok(*c),
        _ => Err(field.expected(what).into()),
    }
}

fn encoding(field: &Cursor) -> Result<Encoding> {
    let what = "the name of an encoding such as `windows-1252`";
    let label = field.text(what)?;
    super::encoding(&label).ok_or_else(|| {
        let error = field.expected(what);
        error.hint(super::encoding_hint(&label)).into()
    })
}

/// A dataset of BigQuery.
fn staging(field: &Cursor) -> Result<Spot<String>> {
    field.text_where("a dataset such as `my-project.staging`", |text| {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | ':' | '.');
        text.rsplit_once('.').is_some_and(|(project, dataset)| {
            let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
            !project.is_empty()
                && project.chars().all(plain)
                && !dataset.is_empty()
                && dataset.chars().all(word)
        })
    })
}

fn join(field: Cursor, label: &str) -> Result<Join> {
    let fields = field.fields("data.join")?;
    let on = fields.need("on")?;
    let names = on.names(Some(label))?;
    if names.is_empty() {
        return Err(on.error("expected at least one column, found none").into());
    }
    let kinds = [
        ("inner", JoinKind::Inner),
        ("left", JoinKind::Left),
        ("outer", JoinKind::Outer),
    ];
    let how = fields.get("how").map(|how| how.word(&kinds)).transpose()?;
    Ok(Join {
        on: names,
        how: how.unwrap_or(JoinKind::Inner),
    })
}

fn label(fields: &Fields) -> Result<Label> {
    let positive = fields.get("positive");
    Ok(Label {
        column: fields.need("column")?.text("a column's name")?,
        positive: positive.map(|field| field.text("a class")).transpose()?,
    })
}

fn split(fields: &Fields, label: &str) -> Result<Split> {
    let seed = match fields.get("seed") {
        Some(seed) => seed.integer(0, u64::MAX)?,
        None => 0,
    };
    let rule = match fields.get("time") {
        Some(time) => {
            for name in ["test", "by", "seed"] {
                fields.refuse(name, "has no meaning beside `time`")?;
            }
            let time = time.fields("data.split.time")?;
            let date = "a date or time in ISO 8601, as in `2026-01-31`";
            SplitRule::Time {
                column: time.need("column")?.text("a column's name")?,
                test_from: time.need("test_from")?.text_where(date, is_date)?.value,
            }
        }
        None => SplitRule::Hash {
            test: match fields.get("test") {
                Some(test) => test.number("a share between 0 and 1", |x| x > 0.0 && x < 1.0)?,
                None => 0.2,
            },
            by: fields
                .get("by")
                .map_or(Ok(vec![]), |by| by.names(Some(label)))?,
        },
    };
    Ok(Split { seed, rule })
}

fn train(fields: &Fields, label: &str) -> Result<Train> {
    let ways = ["builtin", "existing", "container", "python", "pipeline"];
    let chosen: Vec<&str> = ways
        .into_iter()
        .filter(|way| fields.key(way).is_some())
        .collect();
    match chosen[..] {
        ["builtin"] => {}
        ["existing"] => {
            for field in ["machine", "service_account", "timeout", "max_queue"] {
                fields.refuse(field, "is about a job, and `train.existing` needs none")?;
            }
        }
        [way] => {
            let path = format!("`train.{way}` comes later: this version trains with `builtin`");
            return Err(fields.error_at(way, path).into());
        }
        [] => {
            return Err(fields
                .missing("builtin")
                .hint("`builtin: {}` takes the defaults")
                .into());
        }
        [first, second, ..] => {
            let message = format!("`train.{first}` and `train.{second}`: expected one of them");
            return Err(fields.error_at(second, message).into());
        }
    }
    let timeout = match fields.get("timeout") {
        Some(timeout) => timeout.duration(LONGEST_JOB, "7 days")?,
        None => Duration::from_secs(4 * 3600),
    };
    let (builtin, columns) = match fields.get("builtin") {
        Some(field) => builtin(&field.fields("train.builtin")?, label)?,
        None => Default::default(),
    };
    Ok(Train {
        builtin,
        columns,
        existing: fields.get("existing").map(existing).transpose()?,
        machine: machine(fields, "n1-standard-4")?,
        service_account: service_account(fields)?,
        timeout,
        max_queue: match fields.get("max_queue") {
            Some(field) => field.duration(LONGEST_STAGE, "24 hours")?,
            None => USUAL_QUEUE,
        },
    })
}

fn deploy(fields: &Fields) -> Result<Deploy> {
    let duration = |name: &str, default: Duration| match fields.get(name) {
        Some(field) => field.duration(LONGEST_STAGE, "24 hours"),
        None => Ok(default),
    };
    let limits = limits(fields)?;
    Ok(Deploy {
        alpha: match fields.get("alpha") {
            Some(field) => field.number("a probability above 0, at most 0.5", |x| {
                x > 0.0 && x <= 0.5
            })?,
            None => 0.01,
        },
        margin: margin(fields, &limits)?,
        promote_on: match fields.get("promote_on") {
            Some(field) => field.word(&[
                ("no_harm", PromoteOn::NoHarm),
                ("not_worse", PromoteOn::NotWorse),
            ])?,
            None => PromoteOn::NoHarm,
        },
        endpoint: fields.need("endpoint")?.text_where(
            "an endpoint id: at most 63 of `a-z`, `0-9`, `-`, the first a letter, the last no `-`; or its number",
            is_endpoint_id,
        )?,
        resources: machine_shape::resources(fields)?,
        log_requests: machine_shape::log_requests(fields)?,
        dedicated_endpoint: flag(fields, "dedicated_endpoint")?,
        service_account: service_account(fields)?,
        stages: match fields.get("stages") {
            Some(stages) => read_stages(&stages)?,
            None => vec![5, 25, 50, 100],
        },
        bake: duration("bake", Duration::from_secs(600))?,
        min_requests: match fields.get("min_requests") {
            Some(field) => field.integer(1, 1_000_000_000)?,
            None => 500,
        },
        max_wait: duration("max_wait", Duration::from_secs(3600))?,
        limits,
        replay: fields.get("replay").map(replay).transpose()?,
        keep: duration("keep", Duration::ZERO)?,
        approve: match fields.get("approve") {
            Some(field) => Some(field.word(&[
                ("before_first", Approve::BeforeFirst),
                ("each_stage", Approve::EachStage),
                ("before_100", Approve::Before100),
            ])?),
            None => None,
        },
        approve_within: match fields.get("approve_within") {
            Some(field) => field.duration(LONGEST_APPROVAL, "30 days")?,
            None => Duration::from_secs(24 * 3600),
        },
        take_over: flag(fields, "take_over")?,
        share_with_others: flag(fields, "share_with_others")?,
        on_cancel: match fields.get("on_cancel") {
            Some(field) => {
                field.word(&[("rollback", OnCancel::Rollback), ("hold", OnCancel::Hold)])?
            }
            None => OnCancel::Rollback,
        },
    })
}

/// A field that is `true` or `false`, and `false` where it is not there.
fn flag(fields: &Fields, name: &str) -> Result<bool> {
    match fields.get(name) {
        Some(field) => Ok(field.word(&[("true", true), ("false", false)])?),
        None => Ok(false),
    }
}

fn read_stages(field: &Cursor) -> Result<Vec<u32>> {
    let what = "a list of rising percentages that ends with 100, as in `[5, 25, 50, 100]`";
    let mut stages: Vec<u32> = Vec::new();
    for item in field.list(what)? {
        let share = item.integer(1, 100)?;
        if let Some(before) = stages.last().filter(|before| **before >= share) {
            let error = item.error(format!("expected more than the {before} before it"));
            return Err(error.into());
        }
        stages.push(share);
    }
    match stages.last() {
        Some(100) => Ok(stages),
        Some(last) => Err(field
            .error(format!("expected 100 as the last share, found {last}"))
            .into()),
        None => Err(field.error(format!("expected {what}")).into()),
    }
}

fn limits(deploy: &Fields) -> Result<Limits> {
    let mut limits = Limits {
        error_rate: 0.01,
        latency_p95: Duration::from_millis(500),
    };
    if let Some(field) = deploy.get("limits") {
        let fields = field.fields("deploy.limits")?;
        if let Some(rate) = fields.get("error_rate") {
            limits.error_rate = rate.number("a share from 0 to 1", |x| (0.0..=1.0).contains(&x))?;
        }
        if let Some(latency) = fields.get("latency_p95") {
            limits.latency_p95 = latency.duration(Duration::from_secs(600), "10 minutes")?;
        }
    }
    Ok(limits)
}

/// A fiftieth of the limit is no reason to roll back.
const OF_LIMIT: f64 = 50.0;

fn margin(deploy: &Fields, limits: &Limits) -> Result<Margin> {
    let mut margin = Margin {
        errors: limits.error_rate / OF_LIMIT,
        latency: 0.1,
        predictions: 1.25,
    };
    if let Some(field) = deploy.get("margin") {
        let fields = field.fields("deploy.margin")?;
        if let Some(errors) = fields.get("errors") {
            let what = "a share from 0 to 1, as in `0.0005` or `0.05%`";
            margin.errors = errors.value(what, |text| share(text, 1.0))?;
        }
        if let Some(latency) = fields.get("latency") {
            let what = "a share from 0 to 10, as in `10%` or `0.1`";
            margin.latency = latency.value(what, |text| share(text, 10.0))?;
        }
        if let Some(predictions) = fields.get("predictions") {
            margin.predictions =
                predictions.number("a number from 1 to 100", |x| (1.0..=100.0).contains(&x))?;
        }
    }
    Ok(margin)
}

fn replay(field: Cursor) -> Result<Replay> {
    let fields = field.fields("deploy.replay")?;
    fields.need("from")?.word(&[("test", ())])?;
    Ok(Replay {
        concurrency: match fields.get("concurrency") {
            Some(field) => field.integer(1, 256)?,
            None => 8,
        },
    })
}
