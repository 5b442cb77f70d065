//! The section `lint`: what is checked, how strictly, and against what.

use std::time::Duration;

use anyhow::Result;

use super::Spot;
use super::forms::local;
use crate::error::Place;
use crate::settings::yaml::{Scalar, Value};
use crate::settings::{Cursor, Fields, did_you_mean};
use crate::workspace::records::Severity;

#[derive(Clone, Debug, Default)]
pub struct Lint {
    /// Relative to `serin.yaml`.
    pub schema: Option<Spot<String>>,
    /// The checks whose severity is not their own; `None` for one that is off. `data::checks` knows the codes.
    pub checks: Vec<(Spot<String>, Option<Severity>)>,
    /// So many malformed rows of a table are left out with a warning; with more of them it is rejected.
    pub max_bad_rows: u64,
    /// The joined table has at least so many rows.
    pub min_rows: Option<Spot<u64>>,
    pub volume: Option<Volume>,
    pub freshness: Option<Freshness>,
    pub drift: Option<Drift>,
}

/// How many rows are expected after those of earlier runs.
#[derive(Clone, Debug)]
pub struct Volume {
    /// Bounds of the number of rows as a share of the median of the last runs.
    pub at_least: f64,
    pub at_most: f64,
    /// How many runs are looked back at.
    pub last: usize,
    pub place: Place,
}

/// How old the newest time of a column may be.
#[derive(Clone, Debug)]
pub struct Freshness {
    pub column: Spot<String>,
    /// On the build's clock.
    pub within: Duration,
    pub place: Place,
}

/// How far the data may be from a baseline.
#[derive(Clone, Debug)]
pub struct Drift {
    pub against: Baseline,
    pub limits: DriftLimits,
    /// The false discovery rate over all columns.
    pub fdr: f64,
    /// With fewer rows on either side nothing is judged.
    pub min_rows: u64,
    pub columns: Vec<DriftColumn>,
    pub place: Place,
}

/// From which measure on a column drifts: the first that is reached counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DriftLimits {
    /// The population stability index.
    pub psi: f64,
    /// The Jensen-Shannon divergence, in bits.
    pub jensen_shannon: Option<f64>,
    /// The largest difference of a share.
    pub l_infinity: Option<f64>,
    /// The Kolmogorov-Smirnov distance, of numbers and times.
    pub kolmogorov_smirnov: Option<f64>,
}

/// What a column has of its own.
#[derive(Clone, Debug)]
pub struct DriftColumn {
    pub name: Spot<String>,
    /// `None` for a column that is not compared.
    pub limits: Option<DriftLimits>,
}

#[derive(Clone, Debug)]
pub enum Baseline {
    /// The data that the model in production was trained on.
    Champion,
    /// A profile, as `serin profile --format json` writes it; relative to `serin.yaml`.
    File(Spot<String>),
}

const LONGEST_AGE: Duration = Duration::from_secs(10 * 366 * 24 * 3600);

pub(super) const MOST_ROWS: u64 = 1 << 53;

pub(super) fn lint(field: Cursor) -> Result<Lint> {
    let fields = field.fields("lint")?;
    Ok(Lint {
        schema: fields
            .get("schema")
            .map(|schema| local(&schema))
            .transpose()?,
        checks: fields.get("checks").map_or(Ok(vec![]), checks)?,
        max_bad_rows: match fields.get("max_bad_rows") {
            Some(field) => field.integer(0, MOST_ROWS)?,
            None => 0,
        },
        min_rows: fields.get("min_rows").map(min_rows).transpose()?,
        volume: fields.get("volume").map(volume).transpose()?,
        freshness: fields.get("freshness").map(freshness).transpose()?,
        drift: fields
            .get("drift")
            .map(|field| {
                let place = field.place();
                drift(&field.fields("lint.drift")?, place, "lint.drift.columns.*")
            })
            .transpose()?,
    })
}

fn min_rows(field: Cursor) -> Result<Spot<u64>> {
    let value = field.integer(1, MOST_ROWS)?;
    let place = field.place();
    Ok(Spot { value, place })
}

fn checks(field: Cursor) -> Result<Vec<(Spot<String>, Option<Severity>)>> {
    let what = "a mapping of checks to `off`, `warn` or `reject`, as in `schema.extra: off`";
    let levels = [
        ("off", None),
        ("warn", Some(Severity::Warn)),
        ("reject", Some(Severity::Reject)),
    ];
    let listed = field.map(what)?;
    let read = listed.entries().map(|(key, level)| {
        let code = Spot {
            value: key.text.clone(),
            place: level.file.place(&key.mark),
        };
        Ok((code, level.word(&levels)?))
    });
    read.collect()
}

fn volume(field: Cursor) -> Result<Volume> {
    let place = field.place();
    let fields = field.fields("lint.volume")?;
    let bound =
        |name: &str, what: &str, default: f64, accept: fn(f64) -> bool| match fields.get(name) {
            Some(field) => field.number(what, accept),
            None => Ok(default),
        };
    Ok(Volume {
        at_least: bound("at_least", "a number from 0 to 1", 0.5, |x| {
            (0.0..=1.0).contains(&x)
        })?,
        at_most: bound("at_most", "a number of at least 1", 2.0, |x| x >= 1.0)?,
        last: match fields.get("last") {
            Some(field) => field.integer(1, 1000)?,
            None => 10,
        },
        place,
    })
}

fn freshness(field: Cursor) -> Result<Freshness> {
    let place = field.place();
    let fields = field.fields("lint.freshness")?;
    Ok(Freshness {
        column: fields.need("column")?.text("a column's name")?,
        within: fields.need("within")?.duration(LONGEST_AGE, "10 years")?,
        place,
    })
}

/// The fields of a comparison; `section` is that of single columns.
pub(super) fn drift(fields: &Fields, place: Place, section: &str) -> Result<Drift> {
    let usual = DriftLimits {
        psi: 0.2,
        jensen_shannon: None,
        l_infinity: None,
        kolmogorov_smirnov: None,
    };
    let usual = limits(fields, usual)?;
    Ok(Drift {
        against: fields
            .get("against")
            .map_or(Ok(Baseline::Champion), |field| against(&field))?,
        limits: usual,
        fdr: match fields.get("fdr") {
            Some(field) => field.number("a rate between 0 and 1", |x| x > 0.0 && x < 1.0)?,
            None => 0.05,
        },
        min_rows: match fields.get("min_rows") {
            Some(field) => field.integer(1, MOST_ROWS)?,
            None => 200,
        },
        columns: fields
            .get("columns")
            .map_or(Ok(vec![]), |field| columns(field, usual, section))?,
        place,
    })
}

/// The limits that fields tell, the others as they are usual.
fn limits(fields: &Fields, usual: DriftLimits) -> Result<DriftLimits> {
    let share = |name: &str, usual: Option<f64>| match fields.get(name) {
        Some(field) => field
            .number("a number above 0 and at most 1", |x| x > 0.0 && x <= 1.0)
            .map(Some),
        None => Ok(usual),
    };
    Ok(DriftLimits {
        psi: match fields.get("psi") {
            Some(field) => field.number("a number above 0", |x| x > 0.0)?,
            None => usual.psi,
        },
        jensen_shannon: share("jensen_shannon", usual.jensen_shannon)?,
        l_infinity: share("l_infinity", usual.l_infinity)?,
        kolmogorov_smirnov: share("kolmogorov_smirnov", usual.kolmogorov_smirnov)?,
    })
}

fn against(field: &Cursor) -> Result<Baseline> {
    let what = "`champion` or a profile's file, as in `baseline.json`";
    let text = field.text(what)?;
    if text.value == "champion" {
        return Ok(Baseline::Champion);
    }
    if text.ends_with(".json") && !text.contains("://") {
        return Ok(Baseline::File(text));
    }
    let error = field.expected(what);
    Err(match did_you_mean(&text, ["champion"]) {
        Some(hint) => error.hint(hint),
        None => error,
    }
    .into())
}

fn columns(field: Cursor, usual: DriftLimits, section: &str) -> Result<Vec<DriftColumn>> {
    let what = "a mapping of columns, as in `{age: {psi: 0.3}, month: off}`";
    let listed = field.map(what)?;
    let read = listed.entries().map(|(key, field)| {
        let name = Spot {
            value: key.text.clone(),
            place: field.file.place(&key.mark),
        };
        let own = match &field.node.value {
            Value::Scalar(Scalar::Text, text) if text == "off" => None,
            Value::Map(entries) if !entries.is_empty() => {
                Some(limits(&field.fields(section)?, usual)?)
            }
            _ => return Err(field.expected("`off`, or `{psi: 0.3}`").into()),
        };
        Ok(DriftColumn { name, limits: own })
    });
    read.collect()
}
