//! The training part in memory: rows of numbers, what is true of each, and how much it counts.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Result;
use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::Float64Type;

use super::{Lesson, memory};
use crate::clock::{Timestamp, moment};
use crate::config::Times;
use crate::error::Input;
use crate::model::encode::{Encoder, ModelFeature, TimePart};
use crate::model::part::{self, Ordering, Part};
use crate::model::table;
use crate::workspace::Digest;
use crate::workspace::records::{Feature, FeatureType, Task};

/// The training part in memory.
pub(super) struct Table {
    pub features: Vec<ModelFeature>,
    /// Of each number of a row the type of its feature; parts of a time are times too.
    pub kinds: Vec<FeatureType>,
    /// Rows of numbers, one after the other.
    pub rows: Vec<f32>,
    /// Class codes, or numbers.
    pub truth: Vec<f64>,
    /// One a row, from 0, where a column says so.
    pub weights: Option<Vec<f32>>,
    pub digest: Digest,
}

/// The training part, its rows in order, with its digest; refused where it takes more than `available` bytes.
pub(super) fn read(part: &Part, lesson: &Lesson, available: Option<u64>) -> Result<Table> {
    let weight = lesson.parameters.weight.as_deref();
    let features: Vec<&Feature> = lesson.features.iter().collect();
    let features: Vec<&Feature> = features
        .into_iter()
        .filter(|feature| Some(&*feature.name) != weight)
        .collect();
    if features.is_empty() {
        return Err(Input::new("has no feature to learn from")
            .at_file(part.place())
            .into());
    }
    let (features, rows) = looked_at(part, &features, lesson.times)?;
    let encoder = Encoder::new(&features);
    let exported = matches!(part, Part::Export(_));
    memory::check(
        rows,
        encoder.width(),
        lesson.label.classes.len(),
        exported,
        available,
    )
    .map_err(|e| e.at_file(part.place()))?;
    let mut ordering = part.ordering();
    let mut numbers = Vec::with_capacity(rows.saturating_mul(encoder.width()));
    let (mut truth, mut weights) = (Vec::with_capacity(rows), Vec::new());
    for batch in part.batches() {
        let (path, batch) = batch?;
        let encoded = encoder
            .batch(&batch)
            .map_err(|e| Input::new(e.to_string()).at_file(path))?;
        numbers.extend(encoded);
        truth.extend(table::truth(path, &batch, lesson.label)?);
        if let Some(column) = weight {
            weights.extend(weights_of(path, &batch, column)?);
        }
        if let Some(ordering) = &mut ordering {
            ordering.add(&batch);
        }
    }
    let distinct = truth.iter().any(|t| Some(t) != truth.first());
    if truth.is_empty() || (lesson.label.task != Task::Regression && !distinct) {
        let found = if truth.is_empty() {
            "no row"
        } else {
            "one class only"
        };
        let message = format!(
            "has {found} of the label `{}` to learn from",
            lesson.label.column
        );
        return Err(Input::new(message).at_file(part.place()).into());
    }
    if let Some(column) = weight
        && weights.iter().all(|weight| *weight == 0.0)
    {
        let message = format!("has no weight above 0 in `{column}`");
        return Err(Input::new(message).at_file(part.place()).into());
    }
    let order = ordering.map(Ordering::finish);
    let digest = part.digest(order.as_ref())?;
    let kinds = features
        .iter()
        .flat_map(|feature| std::iter::repeat_n(feature.kind, feature.columns()));
    Ok(Table {
        kinds: kinds.collect(),
        rows: part::ordered(order.as_ref(), numbers, encoder.width()),
        truth: part::ordered(order.as_ref(), truth, 1),
        weights: weight.map(|_| part::ordered(order.as_ref(), weights, 1)),
        features,
        digest,
    })
}

/// The weights of a batch's rows.
fn weights_of(path: &Path, batch: &RecordBatch, column: &str) -> Result<Vec<f32>> {
    let numbers = batch.column_by_name(column);
    let numbers = numbers.and_then(|array| array.as_primitive_opt::<Float64Type>());
    let numbers = numbers.ok_or_else(|| {
        let message = format!("has no numbers in `{column}`, which `train.builtin.weight` names");
        Input::new(message).at_file(path)
    })?;
    let weight = |number: Option<f64>| {
        let number = number.filter(|x| (0.0..=f64::from(f32::MAX)).contains(x));
        number.map(|x| x as f32)
    };
    let weights: Option<Vec<f32>> = numbers.iter().map(weight).collect();
    weights.ok_or_else(|| {
        let message =
            format!("has a weight in `{column}` that is missing, below 0 or beyond a 32-bit float");
        let error = Input::new(message).at_file(path);
        error.hint("0 leaves a row out of training").into()
    })
}

/// What a pass over the part tells of a feature.
#[derive(Default)]
struct Seen {
    levels: BTreeSet<String>,
    /// The earliest time, in microseconds since 1970.
    earliest: Option<i64>,
    has_time_of_day: bool,
}

/// The features, with the levels of categories and the origins of times that the part has; and its rows.
fn looked_at(
    part: &Part,
    features: &[&Feature],
    times: Times,
) -> Result<(Vec<ModelFeature>, usize)> {
    let mut seen: Vec<Seen> = features.iter().map(|_| Seen::default()).collect();
    let mut rows = 0;
    for batch in part.batches() {
        let (path, batch) = batch?;
        rows += batch.num_rows();
        for (feature, seen) in features.iter().zip(&mut seen) {
            let what = match feature.kind {
                FeatureType::Category => "category",
                FeatureType::Time => "time",
                FeatureType::Number | FeatureType::Boolean => continue,
            };
            let texts = batch.column_by_name(&feature.name);
            let texts = texts.and_then(|column| column.as_string_opt::<i32>());
            let texts = texts.ok_or_else(|| {
                Input::new(format!("has no texts in the {what} `{}`", feature.name)).at_file(path)
            })?;
            for text in texts.iter().flatten() {
                seen.add(feature.kind, text);
            }
        }
    }
    let features = features.iter().zip(seen);
    let features = features.map(|(feature, seen)| seen.feature(feature, times));
    Ok((features.collect(), rows))
}

impl Seen {
    fn add(&mut self, kind: FeatureType, text: &str) {
        if kind == FeatureType::Time {
            if let Some(moment) = moment(text.trim_ascii().as_bytes()) {
                let earliest = self.earliest.get_or_insert(moment.micros);
                *earliest = moment.micros.min(*earliest);
                self.has_time_of_day |= !moment.date;
            }
        } else if !self.levels.contains(text) {
            self.levels.insert(text.to_owned());
        }
    }

    fn feature(self, feature: &Feature, times: Times) -> ModelFeature {
        let plain = ModelFeature::new(&feature.name, feature.kind);
        match feature.kind {
            FeatureType::Category => ModelFeature {
                levels: Some(self.levels.into_iter().collect()),
                ..plain
            },
            FeatureType::Time => {
                let mut parts = match times {
                    Times::Number => Vec::new(),
                    Times::Parts => vec![TimePart::Weekday, TimePart::Month],
                };
                // Dates have no hour.
                if !parts.is_empty() && self.has_time_of_day {
                    parts.push(TimePart::Hour);
                }
                ModelFeature {
                    origin: Some(Timestamp::from_unix_micros(self.earliest.unwrap_or(0))),
                    parts,
                    ..plain
                }
            }
            FeatureType::Number | FeatureType::Boolean => plain,
        }
    }
}
