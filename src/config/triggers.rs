//! The section `triggers`: what starts a build, how often at most, and where in Google Cloud that stands.

use std::time::Duration;

use anyhow::Result;

use super::Spot;
use super::forms::{bigquery, files, is_bucket_name, service_account};
use super::lint::{self, Drift};
use super::metrics::{Better, METRICS};
use crate::cron::{self, Cron};
use crate::error::Place;
use crate::settings::{Cursor, Fields};

mod names;
mod repository;

pub(crate) use names::{resource_name, what};
pub use repository::{Commit, Events, Repository};

#[derive(Clone, Debug)]
pub struct Triggers {
    /// The project of all that is made; that of the command where absent.
    pub project: Option<Spot<String>>,
    /// The region of Scheduler, Eventarc and the Cloud Run service; that of the command where absent.
    pub region: Option<Spot<String>>,
    /// The account that the builds run as; the project's default where absent.
    pub service_account: Option<Spot<String>>,
    /// The repository that builds are made from, and which commits start one.
    pub commit: Option<Commit>,
    pub build: Build,
    /// The service that is called on a schedule and by events.
    pub listen: Option<Listen>,
    /// When Scheduler calls that service to look at the data and the model.
    pub check: Schedule,
    pub schedule: Option<Schedule>,
    pub new_data: Option<NewData>,
    pub performance: Option<Performance>,
    pub drift: Option<DriftCause>,
    pub limits: StartLimits,
    pub place: Place,
}

/// What is built where no commit says it.
#[derive(Clone, Debug)]
pub struct Build {
    /// The build's config, relative to the repository's root.
    pub config: String,
    /// The branch that is built; [`Triggers::branch`] has its default.
    pub branch: Option<Spot<String>>,
}

/// `serin listen` as others reach it.
#[derive(Clone, Debug)]
pub struct Listen {
    pub at: ListenAt,
    /// The account whose token callers send.
    pub service_account: Spot<String>,
    /// What the token is for; the service's URL where absent.
    pub audience: Option<Spot<String>>,
    /// A topic of Pub/Sub whose messages are pushed to it.
    pub topic: Option<Spot<String>>,
}

#[derive(Clone, Debug)]
pub enum ListenAt {
    /// A service of Cloud Run in the region.
    Service(Spot<String>),
    /// `https://`, or `http://` on this machine.
    Url(Spot<String>),
}

/// Times by cron in a time zone.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// As it was written, with one space between fields.
    pub text: String,
    pub(crate) cron: Cron,
    /// A name of the tz database.
    pub time_zone: String,
}

/// How much new data starts a build, counted since the champion's snapshot.
#[derive(Clone, Debug, PartialEq)]
pub enum NewData {
    Rows(u64),
    /// Of the rows of the snapshot.
    Share(f64),
    /// Objects of this bucket whose names begin with `prefix`, which may be empty.
    Objects {
        bucket: String,
        prefix: String,
    },
}

/// A metric of the champion on labels that came later.
#[derive(Clone, Debug)]
pub struct Performance {
    pub metric: Spot<String>,
    pub bound: Bound,
    pub labels: Labels,
}

/// Beyond which value the metric is bad.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bound {
    Below(f64),
    Above(f64),
}

/// Where the truth about past predictions stands.
#[derive(Clone, Debug)]
pub struct Labels {
    pub at: LabelsAt,
    /// The columns by which a label finds its prediction.
    pub key: Vec<Spot<String>>,
    /// The column with the truth; `data.label.column` where absent.
    pub column: Option<Spot<String>>,
    /// So long after the prediction its label is known.
    pub delay: Duration,
}

#[derive(Clone, Debug)]
pub enum LabelsAt {
    /// `project.dataset.table`.
    BigQuery(Spot<String>),
    /// A file, a pattern or a folder relative to `serin.yaml`, or the same as a `gs://` URI.
    Files(Spot<String>),
}

#[derive(Clone, Debug)]
pub struct DriftCause {
    pub drift: Drift,
    pub weighted_by: Option<Weight>,
}

/// By what a column's drift counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// The share of the champion's gain that it has.
    Importance,
}

/// What holds a build back though there is a cause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartLimits {
    /// So long after a build's start no other is started.
    pub cool_down: Duration,
    /// So many are started in 24 hours, of all models that share the bucket.
    pub per_day: u32,
    pub one_at_a_time: bool,
}

const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

impl Triggers {
    /// Whether someone has to look at the data or the model from time to time.
    pub fn looks(&self) -> bool {
        self.new_data.is_some() || self.performance.is_some() || self.drift.is_some()
    }

    /// The branch that is built for causes that are no commit: the one that is told, or the one that
    /// `commit.branch` names where it is no more than a name.
    pub fn branch(&self) -> Option<&str> {
        match &self.build.branch {
            Some(branch) => Some(branch),
            None => self.commit.as_ref()?.events.only_branch(),
        }
    }
}

pub(super) fn triggers(field: Cursor) -> Result<Triggers> {
    let place = field.place();
    let fields = field.fields("triggers")?;
    let section = |name: &'static str| fields.get(name).map(|field| (name, field));
    let commit = section("commit").map(|(_, field)| repository::commit(field));
    Ok(Triggers {
        project: fields.get("project").map(|f| project(&f)).transpose()?,
        region: fields.get("region").map(|f| region(&f)).transpose()?,
        service_account: service_account(&fields)?,
        commit: commit.transpose()?,
        build: match fields.get("build") {
            Some(field) => build(&field.fields("triggers.build")?)?,
            None => Build {
                config: "cloudbuild.yaml".to_owned(),
                branch: None,
            },
        },
        listen: fields.get("listen").map(listen).transpose()?,
        check: match fields.get("check") {
            Some(field) => schedule(&field.fields("triggers.check")?)?,
            None => hourly(),
        },
        schedule: match fields.get("schedule") {
            Some(field) => Some(schedule(&field.fields("triggers.schedule")?)?),
            None => None,
        },
        new_data: fields.get("new_data").map(new_data).transpose()?,
        performance: fields.get("performance").map(performance).transpose()?,
        drift: fields.get("drift").map(drift).transpose()?,
        limits: limits(fields.get("limits"))?,
        place,
    })
}

fn project(field: &Cursor) -> Result<Spot<String>> {
    field.text_where("a project's id", |text| {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.:".contains(c);
        text.starts_with(|c: char| c.is_ascii_lowercase()) && text.chars().all(plain)
    })
}

fn region(field: &Cursor) -> Result<Spot<String>> {
    field.text_where("a region such as `us-central1`", |text| {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        text.starts_with(|c: char| c.is_ascii_lowercase())
            && text.contains('-')
            && text.chars().all(plain)
    })
}

fn build(fields: &Fields) -> Result<Build> {
    let config = fields.get("config").map(|field| {
        field.text_where("a file's path from the repository's root", |path| {
            !path.starts_with('/') && !path.split('/').any(|part| matches!(part, "" | "." | ".."))
        })
    });
    let branch = fields
        .get("branch")
        .map(|field| field.text_where("a branch's name such as `main`", names::is_branch));
    Ok(Build {
        config: match config.transpose()? {
            Some(path) => path.value,
            None => "cloudbuild.yaml".to_owned(),
        },
        branch: branch.transpose()?,
    })
}

fn listen(field: Cursor) -> Result<Listen> {
    let fields = field.fields("triggers.listen")?;
    let at = match (fields.get("service"), fields.get("url")) {
        (Some(service), None) => ListenAt::Service(service.text_where(
            "a Cloud Run service: at most 49 of `a-z`, `0-9`, `-`, the first a letter, the last no `-`",
            names::is_service,
        )?),
        (None, Some(url)) => ListenAt::Url(url.text_where(
            "a URL such as `https://listen.example.com/`, with `http://` only on this machine",
            names::is_url,
        )?),
        (service, _) => {
            let found = service.map_or("none", |_| "both");
            let error = fields.cursor.error(format!("expected `service` or `url`, found {found}"));
            return Err(error.into());
        }
    };
    Ok(Listen {
        at,
        service_account: service_account(&fields)?
            .ok_or_else(|| fields.missing("service_account"))?,
        audience: fields
            .get("audience")
            .map(|field| field.text("what tokens are for, as in `https://listen.example.com`"))
            .transpose()?,
        topic: fields.get("topic").map(|field| topic(&field)).transpose()?,
    })
}

fn topic(field: &Cursor) -> Result<Spot<String>> {
    field.text_where(
        "a topic's name: 3 to 255 letters, digits or `-._~+%`, the first a letter, not `goog…`",
        names::is_topic,
    )
}

/// When data and model are looked at unless told.
fn hourly() -> Schedule {
    let text = "0 * * * *";
    Schedule {
        text: text.to_owned(),
        cron: Cron::hourly(),
        time_zone: "Etc/UTC".to_owned(),
    }
}

fn schedule(fields: &Fields) -> Result<Schedule> {
    let field = fields.need("cron")?;
    let text = field.text("a schedule such as `0 3 * * 1`")?;
    let cron = Cron::parse(&text).map_err(|wrong| {
        let hint = "as in `0 3 * * 1`: minute, hour, day of the month, month, day of the week";
        field.error(wrong).hint(hint)
    })?;
    let zone = fields.get("time_zone").map(|field| {
        field.text_where(
            "a time zone of the tz database such as `America/Bogota`",
            |name| cron::time_zone(name).is_some(),
        )
    });
    Ok(Schedule {
        text: text.split_ascii_whitespace().collect::<Vec<_>>().join(" "),
        cron,
        time_zone: match zone.transpose()? {
            Some(zone) => zone.value,
            None => "Etc/UTC".to_owned(),
        },
    })
}

fn new_data(field: Cursor) -> Result<NewData> {
    let fields = field.fields("triggers.new_data")?;
    let (name, field) = fields.one(&["rows", "share", "objects"])?;
    match name {
        "rows" => Ok(NewData::Rows(field.integer(1, lint::MOST_ROWS)?)),
        "share" => Ok(NewData::Share(field.number(
            "a share above 0, at most 100, as in `0.1` for a tenth",
            |x| x > 0.0 && x <= 100.0,
        )?)),
        _ => objects(&field),
    }
}

fn objects(field: &Cursor) -> Result<NewData> {
    field.value(
        "a folder of objects such as `gs://my-bucket/incoming/`",
        |text| {
            let (bucket, prefix) = text.strip_prefix("gs://")?.split_once('/')?;
            let plain =
                !prefix.contains(['*', '?', '[']) && (prefix.is_empty() || prefix.ends_with('/'));
            (is_bucket_name(bucket) && plain).then(|| NewData::Objects {
                bucket: bucket.to_owned(),
                prefix: prefix.to_owned(),
            })
        },
    )
}

fn performance(field: Cursor) -> Result<Performance> {
    let fields = field.fields("triggers.performance")?;
    let (metric, higher) = metric(&fields.need("metric")?)?;
    let (right, wrong, better) = match higher {
        true => ("below", "above", "higher"),
        false => ("above", "below", "lower"),
    };
    fields.refuse(
        wrong,
        &format!(
            "is no fault of `{}`, of which {better} is better: say `{right}`",
            *metric
        ),
    )?;
    let value = fields.need(right)?.number("a number", |_| true)?;
    Ok(Performance {
        metric,
        bound: match higher {
            true => Bound::Below(value),
            false => Bound::Above(value),
        },
        labels: labels(
            &fields
                .need("labels")?
                .fields("triggers.performance.labels")?,
        )?,
    })
}

/// A metric and whether a higher value is better.
fn metric(field: &Cursor) -> Result<(Spot<String>, bool)> {
    let names: Vec<_> = METRICS.iter().map(|metric| (metric.name, metric)).collect();
    let metric = field.word(&names)?;
    let name = field.text("a metric's name")?;
    Ok((name, metric.better == Better::Higher))
}

fn labels(fields: &Fields) -> Result<Labels> {
    let (name, field) = fields.one(&["bigquery", "local"])?;
    let at = match name {
        "bigquery" => LabelsAt::BigQuery(bigquery(&field)?),
        _ => LabelsAt::Files(files(&field)?),
    };
    let key = fields.need("key")?;
    let names = key.names(None)?;
    if names.is_empty() {
        return Err(key.error("expected at least one column, found none").into());
    }
    let column = fields
        .get("column")
        .map(|field| field.text("a column's name"));
    Ok(Labels {
        at,
        key: names,
        column: column.transpose()?,
        delay: match fields.get("delay") {
            Some(field) => field.duration_or_none(LONGEST, "366 days")?,
            None => Duration::ZERO,
        },
    })
}

fn drift(field: Cursor) -> Result<DriftCause> {
    let place = field.place();
    let fields = field.fields("triggers.drift")?;
    let weighted_by = fields
        .get("weighted_by")
        .map(|field| field.word(&[("importance", Weight::Importance)]));
    Ok(DriftCause {
        drift: lint::drift(&fields, place, "triggers.drift.columns.*")?,
        weighted_by: weighted_by.transpose()?,
    })
}

fn limits(field: Option<Cursor>) -> Result<StartLimits> {
    let mut limits = StartLimits {
        cool_down: Duration::from_secs(6 * 3600),
        per_day: 4,
        one_at_a_time: true,
    };
    let Some(field) = field else {
        return Ok(limits);
    };
    let fields = field.fields("triggers.limits")?;
    if let Some(field) = fields.get("cool_down") {
        limits.cool_down = field.duration_or_none(LONGEST, "366 days")?;
    }
    if let Some(field) = fields.get("per_day") {
        limits.per_day = field.integer(1, 1000)?;
    }
    if let Some(field) = fields.get("one_at_a_time") {
        limits.one_at_a_time = field.word(&[("true", true), ("false", false)])?;
    }
    Ok(limits)
}
