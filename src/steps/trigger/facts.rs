//! What a decision is made from: figures of the data, the champion and the schedule, as they were read.

use serde::Serialize;

use super::decide::Due;
use crate::clock::Timestamp;
use crate::config::{Bound, DriftCause, NewData};
use crate::workspace::monitor_report::{MeasuredDrift, MeasuredMetric};

/// All that a decision depends on beside the limits and the builds that were started.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    /// `None` where no model serves yet.
    pub champion: Option<Champion>,
    /// What somebody asked for by hand or by an event.
    pub asked: Option<Due>,
    pub schedule: Option<Scheduled>,
    pub performance: Option<Performance>,
    pub drift: Option<Drift>,
    pub new_data: Option<Data>,
}

/// The model that serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Champion {
    pub version: String,
    /// Whether the record of its snapshot was found.
    pub has_snapshot: bool,
}

/// The time at which the schedule last asked for a build.
#[derive(Clone, Debug)]
pub(super) struct Scheduled {
    /// As the config writes it, with its time zone.
    pub text: String,
    /// None where it is longer ago than a check looks back.
    pub due: Option<Timestamp>,
}

/// A metric and its bound.
#[derive(Clone, Debug)]
pub(super) struct Performance {
    pub metric: String,
    pub bound: Bound,
    pub seen: Seen<MeasuredMetric>,
}

/// Drift and its thresholds.
#[derive(Clone, Debug)]
pub(super) struct Drift {
    pub config: DriftCause,
    pub seen: Seen<MeasuredDrift>,
}

/// What was measured of the champion, or why nothing is known.
#[derive(Clone, Debug)]
pub(super) enum Seen<T> {
    Nothing(String),
    Measured {
        what: T,
        /// Where it stands, for a person.
        from: String,
        /// Tells this measurement from the one before and after.
        mark: String,
    },
}

/// The data and how much of it is new.
#[derive(Clone, Debug)]
pub(super) struct Data {
    pub limit: NewData,
    pub tables: Vec<Table>,
    pub objects: Option<Objects>,
}

/// A table then, at the champion's snapshot, and now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Table {
    pub name: String,
    /// `None` where the snapshot was made without it.
    pub rows_then: Option<u64>,
    pub rows: u64,
    /// Another one after each change.
    pub generation: String,
}

/// The objects of a folder that came after the champion's snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Objects {
    /// `gs://BUCKET/PREFIX`.
    pub place: String,
    pub all: u64,
    pub new: u64,
    /// One of the new ones.
    pub newest: Option<String>,
    /// Of all names and generations.
    pub generation: String,
    /// Whether the snapshot tells what it saw.
    pub known: bool,
}
