//! Reads what a decision is made from: the champion, its snapshot, the data of today, and what was measured.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::decide::{Due, Look};
use super::facts::{self, Facts, Scheduled, Seen};
use crate::clock::Timestamp;
use crate::config::{DriftCause, NewData, Schedule, Triggers};
use crate::cron;
use crate::data::read;
use crate::gcp::bigquery::{BigQuery, TableName};
use crate::steps::lint::Source;
use crate::steps::measured::{Watched, measured_drift, measured_object, watched};
use crate::steps::tables::{Tables, dialect};
use crate::steps::{Context, champion};
use crate::workspace::drift_report::DriftReport;
use crate::workspace::monitor_report::{self, MeasuredDrift, MonitorReport};
use crate::workspace::monitor_window::Judged;
use crate::workspace::records::{Dataset, WatchedObjects};
use crate::workspace::{Digest, Record};

/// How far back a check looks for a scheduled time that nobody acted on.
const LOOK_BACK: Duration = Duration::from_secs(3600);

/// What a check looks at.
pub(super) struct Looking<'a> {
    pub ctx: &'a Context,
    pub triggers: &'a Triggers,
    /// Which of a table's places is read.
    pub source: Source,
}

impl Looking<'_> {
    /// All facts, beside those of the ledger; where somebody asks for a build, that alone.
    ///
    /// # Errors
    /// [`crate::error::Input`] for a table that cannot be read, `gcp::Error` when the cloud fails.
    pub(super) async fn facts(&self, asked: Option<Due>) -> Result<Facts> {
        if asked.is_some() {
            return Ok(Facts {
                asked,
                ..Facts::default()
            });
        }
        let now = self.ctx.clock.now();
        let schedule = self.triggers.schedule.as_ref();
        let mut facts = Facts {
            asked,
            schedule: schedule.map(|schedule| scheduled(schedule, now)),
            ..Facts::default()
        };
        if !self.triggers.looks() {
            return Ok(facts);
        }
        let serving = champion::find(self.ctx).await?;
        let dataset = match serving.as_ref().and_then(|s| s.snapshot.as_ref()) {
            Some(snapshot) if self.triggers.new_data.is_some() => self.dataset(snapshot).await?,
            _ => None,
        };
        let version = serving.map(|serving| serving.champion.version);
        facts.champion = version.clone().map(|version| facts::Champion {
            version,
            has_snapshot: dataset.is_some(),
        });
        let version = version.as_deref();
        let (performance, drift) = (&self.triggers.performance, &self.triggers.drift);
        let monitor = match version {
            Some(version) if performance.is_some() || drift.is_some() => {
                self.measured(version, MonitorReport::STEP).await?
            }
            _ => None,
        };
        facts.performance = performance.as_ref().map(|cause| facts::Performance {
            metric: cause.metric.value.clone(),
            bound: cause.bound,
            seen: seen_metric(monitor.as_ref(), &cause.metric, version.unwrap_or_default()),
        });
        if let Some(cause) = drift {
            let seen = self
                .drift(cause, version.unwrap_or_default(), monitor)
                .await?;
            let config = cause.clone();
            facts.drift = Some(facts::Drift { config, seen });
        }
        if let Some(limit) = &self.triggers.new_data {
            facts.new_data = Some(self.data(limit, dataset.as_ref()).await?);
        }
        Ok(facts)
    }

    /// The record of the champion's snapshot.
    async fn dataset(&self, snapshot: &Digest) -> Result<Option<Dataset>> {
        let object = format!("snapshots/{snapshot}/{}", Dataset::FILE);
        let bucket = &self.ctx.config.bucket;
        let read = self.ctx.storage().objects_read(bucket, &object).await;
        let found = read.context("fetching the record of the champion's snapshot")?;
        Ok(found.and_then(|(_, bytes)| serde_json::from_slice(&bytes).ok()))
    }

    /// What a step measured last of this version, here or in the bucket, whichever is later.
    async fn measured(&self, version: &str, step: &str) -> Result<Option<MonitorReport>> {
        let ctx = self.ctx;
        let object = measured_object(&ctx.config.model, step);
        let read = ctx
            .storage()
            .objects_read(&ctx.config.bucket, &object)
            .await;
        let found = read.with_context(|| format!("reading {}", ctx.gs(&object)))?;
        let in_bucket = found.and_then(|(_, bytes)| {
            let report = serde_json::from_slice::<MonitorReport>(&bytes);
            // One that is not understood is told as one that is not there: a later serin may write it.
            report.ok()
        });
        let here = match step == MonitorReport::STEP {
            true => ctx.workspace.peek::<MonitorReport>(),
            false => None,
        };
        let model = &**ctx.config.model;
        let of_version = |report: &MonitorReport| {
            report.format <= monitor_report::FORMAT
                && report.model == model
                && report.version == version
        };
        let both = here.into_iter().chain(in_bucket).filter(of_version);
        Ok(both.max_by_key(|report| report.until))
    }

    /// The latest drift that is known: of the endpoint's requests, else of the tables when `lint` read them last.
    async fn drift(
        &self,
        cause: &DriftCause,
        version: &str,
        monitor: Option<MonitorReport>,
    ) -> Result<Seen<MeasuredDrift>> {
        let of_lint = self.measured(version, "lint").await?;
        let here = self.ctx.workspace.peek::<DriftReport>();
        let here = here.filter(|report| report.version.as_deref() == Some(version));
        let monitor = monitor.filter(|report| report.drift.is_some());
        if let Some(report) = monitor.or(of_lint)
            && let Some(what) = report.drift.clone()
        {
            return Ok(Seen::Measured {
                mark: report.until.to_string(),
                from: window(&report),
                what,
            });
        }
        Ok(match here {
            Some(report) => {
                let what = measured_drift(&report, &cause.drift);
                let bytes = serde_json::to_vec(&what).context("writing JSON")?;
                Seen::Measured {
                    mark: Digest::of(&bytes).short().to_owned(),
                    from: "the tables that `serin lint` read last".to_owned(),
                    what,
                }
            }
            None => Seen::Nothing(format!(
                "nothing was measured of version {version} yet: `serin monitor` does, and `serin lint` with `lint.drift`"
            )),
        })
    }

    async fn data(&self, limit: &NewData, dataset: Option<&Dataset>) -> Result<facts::Data> {
        let mut data = facts::Data {
            limit: limit.clone(),
            tables: Vec::new(),
            objects: None,
        };
        if let NewData::Objects { bucket, prefix } = limit {
            let then = dataset.and_then(|dataset| dataset.watched.as_ref());
            let now = watched(self.ctx, bucket, prefix).await?;
            data.objects = Some(new_objects(then, &now));
            return Ok(data);
        }
        let Some(dataset) = dataset else {
            return Ok(data);
        };
        for table in &self.ctx.config.data.tables {
            let found = match self.source {
                Source::Local => self.files(table).await?,
                Source::BigQuery => self.table(table).await?,
            };
            let Some((rows, generation)) = found else {
                continue;
            };
            let then = dataset.tables.iter().find(|then| then.name == table.name);
            data.tables.push(facts::Table {
                name: table.name.clone(),
                rows_then: then.map(|then| then.stored.unwrap_or(then.rows)),
                rows,
                generation,
            });
        }
        Ok(data)
    }

    /// The rows of a table's files, which are read through; their digest is the generation.
    async fn files(&self, table: &crate::config::Table) -> Result<Option<(u64, String)>> {
        let Some(place) = &table.local else {
            return Ok(None);
        };
        let folder = self.ctx.config.path.parent().unwrap_or(Path::new(""));
        let mut tables = Tables::default();
        let files = tables.find_in(folder, place).await?;
        let mut generation = String::new();
        for file in &files {
            let digest =
                Digest::of_file(&file.path).with_context(|| format!("reading {}", file.shown))?;
            generation.push_str(&format!("{digest}  {}\n", file.shown));
        }
        let table = read::Table::open(files, &dialect(table))?;
        let mut rows = 0;
        let mut blocks = table.blocks()?;
        while let Some(block) = blocks.next()? {
            rows += block.parse()?.rows as u64;
        }
        Ok(Some((rows, generation)))
    }

    /// The rows of a table of BigQuery as its metadata count them; `None` for a view, which has no number.
    async fn table(&self, table: &crate::config::Table) -> Result<Option<(u64, String)>> {
        let Some(place) = &table.bigquery else {
            return Ok(None);
        };
        let name: TableName = place
            .parse()
            .map_err(|e: crate::error::Input| e.at(place.place.clone()))?;
        if name.is_wildcard() {
            return Ok(None);
        }
        let ctx = self.ctx;
        let bigquery = BigQuery::new(&ctx.client, &ctx.project);
        let info = bigquery.tables_get(&name).await?;
        let info = info.ok_or_else(|| {
            crate::error::Input::new(format!(
                "there is no table `{}`, or this account may not see it",
                **place
            ))
            .at(place.place.clone())
            .hint("it needs `roles/bigquery.metadataViewer` on the dataset")
        })?;
        if info.rows == 0 && info.bytes == 0 && info.modified.is_none() {
            return Ok(None);
        }
        let modified = info.modified.map(|at| at.to_string()).unwrap_or_default();
        Ok(Some((info.rows, format!("{modified} {}", info.rows))))
    }
}

/// What `serin monitor` measured, held against the limits of `triggers` as a check would: of each limit that is set
/// whether it is crossed, and the sentence.
pub(in crate::steps) fn judged(triggers: &Triggers, report: &MonitorReport) -> Vec<Judged> {
    let facts = Facts {
        champion: Some(facts::Champion {
            version: report.version.clone(),
            has_snapshot: true,
        }),
        performance: triggers
            .performance
            .as_ref()
            .map(|cause| facts::Performance {
                metric: cause.metric.value.clone(),
                bound: cause.bound,
                seen: seen_metric(Some(report), &cause.metric, &report.version),
            }),
        drift: triggers.drift.as_ref().map(|cause| facts::Drift {
            config: cause.clone(),
            seen: match &report.drift {
                Some(what) => Seen::Measured {
                    what: what.clone(),
                    from: window(report),
                    mark: report.until.to_string(),
                },
                None => Seen::Nothing("no drift could be measured".to_owned()),
            },
        }),
        ..Facts::default()
    };
    let looks = super::decide::looks(&facts).into_iter();
    let judged = looks.map(|look| match look {
        Look::Due(due) => (due.cause, true, due.reason),
        Look::Quiet(cause, sentence) => (cause, false, sentence),
    });
    judged
        .map(|(cause, is_crossed, sentence)| Judged {
            limit: cause.as_str().to_owned(),
            is_crossed,
            sentence,
        })
        .collect()
}

fn window(report: &MonitorReport) -> String {
    match report.from == report.until {
        true => format!("the tables that `serin lint` read at {}", report.until),
        false => format!("the requests from {} to {}", report.from, report.until),
    }
}

fn seen_metric(
    report: Option<&MonitorReport>,
    metric: &str,
    version: &str,
) -> Seen<monitor_report::MeasuredMetric> {
    let Some(report) = report else {
        return Seen::Nothing(format!(
            "`serin monitor` has measured nothing of version {version} yet"
        ));
    };
    match report.performance.iter().find(|m| m.metric == metric) {
        Some(measured) => Seen::Measured {
            what: measured.clone(),
            from: window(report),
            mark: report.until.to_string(),
        },
        None => Seen::Nothing(format!(
            "`serin monitor` tells no {metric} of {}: perhaps no labels have come yet",
            window(report)
        )),
    }
}

fn new_objects(then: Option<&WatchedObjects>, now: &Watched) -> facts::Objects {
    let seen = &now.seen;
    let then = then.filter(|then| then.place == seen.place);
    let since = then.and_then(|then| then.newest);
    let mut new: Vec<&(Timestamp, String)> = now
        .created
        .iter()
        .filter(|(at, _)| since.is_none_or(|since| *at > since))
        .collect();
    new.sort();
    if then.is_some_and(|then| then.digest == seen.digest) {
        new.clear();
    }
    facts::Objects {
        place: seen.place.clone(),
        all: seen.count,
        new: new.len() as u64,
        newest: new.last().map(|(_, name)| name.clone()),
        generation: seen.digest.to_string(),
        known: then.is_some(),
    }
}

/// The latest time of a schedule that is not longer ago than a check looks back.
fn scheduled(schedule: &Schedule, now: Timestamp) -> Scheduled {
    let text = format!("{} {}", schedule.text, schedule.time_zone);
    let zone = cron::time_zone(&schedule.time_zone);
    let last = now.floor_minute();
    let minutes = (0..LOOK_BACK.as_secs() / 60).map(|n| last - Duration::from_secs(60 * n));
    let due = zone.and_then(|zone| {
        let mut minutes = minutes;
        minutes.find(|at| names(schedule, &zone, *at))
    });
    Scheduled { text, due }
}

/// Whether a schedule names a minute. Of a local time that comes twice, when clocks are set back, it is the first.
fn names(schedule: &Schedule, zone: &jiff::tz::TimeZone, at: Timestamp) -> bool {
    let Ok(instant) = jiff::Timestamp::from_microsecond(at.unix_micros()) else {
        return false;
    };
    let local = zone.to_datetime(instant);
    let first = zone.to_ambiguous_timestamp(local).compatible();
    let number = |n: i8| u32::try_from(n).unwrap_or_default();
    let (month, day) = (number(local.month()), number(local.day()));
    let weekday = number(local.weekday().to_sunday_zero_offset());
    first.is_ok_and(|first| first == instant)
        && schedule.cron.names_day(month, day, weekday)
        && schedule
            .cron
            .names_time(number(local.hour()), number(local.minute()))
}
