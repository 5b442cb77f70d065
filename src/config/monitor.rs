//! The section `monitor`: how long a window is, and where the log of predictions stands.

use std::time::Duration;

use anyhow::Result;

use super::Spot;
use super::forms::{bigquery, files};
use crate::settings::Cursor;

/// How the endpoint is looked at.
#[derive(Clone, Debug)]
pub struct Monitor {
    /// How much of the log one look is about.
    pub window: Duration,
    /// The log; that of the endpoint where absent.
    pub requests: Option<RequestsAt>,
}

/// Where the log of predictions stands.
#[derive(Clone, Debug)]
pub enum RequestsAt {
    /// `project.dataset.table`.
    BigQuery(Spot<String>),
    /// A file, a pattern or a folder relative to `serin.yaml`, or the same as a `gs://` URI.
    Files(Spot<String>),
}

const DAY: Duration = Duration::from_secs(24 * 3600);
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

impl Default for Monitor {
    fn default() -> Self {
        Self {
            window: DAY,
            requests: None,
        }
    }
}

pub(super) fn monitor(field: Cursor) -> Result<Monitor> {
    let fields = field.fields("monitor")?;
    Ok(Monitor {
        window: match fields.get("window") {
            Some(window) => window.duration(LONGEST, "366 days")?,
            None => DAY,
        },
        requests: fields.get("requests").map(requests).transpose()?,
    })
}

fn requests(field: Cursor) -> Result<RequestsAt> {
    let fields = field.fields("monitor.requests")?;
    let (name, field) = fields.one(&["bigquery", "local"])?;
    Ok(match name {
        "bigquery" => RequestsAt::BigQuery(bigquery(&field)?),
        _ => RequestsAt::Files(files(&field)?),
    })
}
