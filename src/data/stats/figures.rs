//! From what was counted to the record, and from the record's sketch back for a merge.

use anyhow::Result;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::column::{Counted, Limits, Ordered};
use super::label::Similar;
use super::pass::BAD_ROWS;
use crate::data::batch::{BadRow, BadRowKind};
use crate::data::cell::{self, Cell};
use crate::data::sketch::quantiles::{Distribution, key_of_time, number_of, time_of};
use crate::data::sketch::{DistinctSample, Moments, QuantileSketch};
use crate::error::Input;
use crate::workspace::table_profile::{
    ColumnFigures, Estimate, Histogram, MalformedRow, NumberFigures, QUANTILES, SimilarColumns,
    Sketch, TableProfile, TextFigures, TimeFigures, TopValue, ValueType,
};

/// How many of the most frequent values are told.
const TOP: usize = 20;
/// Bins of a histogram.
const BINS: usize = 20;

/// The record of a column.
pub(in crate::data) fn figures(
    name: &str,
    kind: ValueType,
    counted: &Counted,
    ordered: &Ordered,
) -> ColumnFigures {
    let (top, top_error) = top(kind, counted, ordered);
    ColumnFigures {
        name: name.to_owned(),
        kind,
        forced_by: None,
        count: counted.count,
        null: counted.null,
        empty: counted.empty,
        nan: counted.nan,
        distinct: distinct(kind, counted, ordered),
        numbers: numbers(kind, counted, ordered),
        times: times(kind, counted),
        texts: texts(kind, counted),
        top,
        top_error,
        label: None,
        sketch: Some(sketch(kind, counted, ordered)),
    }
}

fn distinct(kind: ValueType, counted: &Counted, ordered: &Ordered) -> Estimate {
    // The texts are counted further than their hashes where a table has many columns.
    if kind == ValueType::Text && ordered.frequent.error() == 0 {
        return Estimate {
            count: ordered.frequent.len() as u64,
            error: 0.0,
        };
    }
    let estimate = counted.distinct.distinct();
    Estimate {
        // There are no more different values than values.
        count: estimate.count.min(counted.count),
        ..estimate
    }
}

fn numbers(kind: ValueType, counted: &Counted, ordered: &Ordered) -> Option<NumberFigures> {
    if kind != ValueType::Number || counted.quantiles.total() == 0 {
        return None;
    }
    let (min, max) = (counted.min, counted.max);
    let distribution = Distribution::of(&counted.quantiles, number_of, min, max);
    let (quantiles, quantile_error) = distribution.quantiles(QUANTILES);
    Some(NumberFigures {
        min,
        max,
        mean: ordered.moments.mean(),
        standard_deviation: ordered.moments.standard_deviation(),
        quantiles,
        quantile_error,
        histogram: histogram(&distribution, bulk(quantiles, min, max), (min, max)),
        zeros: counted.zeros,
        negatives: counted.negatives,
        infinite: counted.infinite,
        whole: counted.whole,
    })
}

/// The histogram of a column's numbers or times from another least value to another most one, times in seconds
/// since 1970; from its sketch, `None` without one.
pub(crate) fn histogram_between(column: &ColumnFigures, min: f64, max: f64) -> Option<Histogram> {
    let sketch = QuantileSketch::decode(column.sketch.as_ref()?.cells.as_deref()?)?;
    let of = |value: fn(u64) -> f64, least: f64, most: f64| {
        let distribution = Distribution::of(&sketch, value, least, most);
        histogram(&distribution, (min, max), (least, most))
    };
    if let Some(numbers) = &column.numbers {
        return Some(of(number_of, numbers.min, numbers.max));
    }
    let times = column.times.as_ref()?;
    let seconds = |text: &str| Some(read_time(text)? as f64 / 1e6);
    let (least, most) = (seconds(&times.min)?, seconds(&times.max)?);
    Some(of(|key| time_of(key) as f64 / 1e6, least, most))
}

/// Where the bins of a histogram begin and end: half the span from the first to the last of the quantiles
/// beyond both, within the least and the most value; all values, where they are no more than twice as wide.
fn bulk(quantiles: [f64; 9], min: f64, max: f64) -> (f64, f64) {
    let [first, .., last] = quantiles;
    if first == last {
        return (min, max);
    }
    // Halved first, because the span of the widest range is no finite double.
    let beyond = last / 2.0 - first / 2.0;
    let (low, high) = ((first - beyond).max(min), (last + beyond).min(max));
    match max / 4.0 - min / 4.0 <= high / 2.0 - low / 2.0 {
        true => (min, max),
        false => (low, high),
    }
}

/// The bins from `min` to `max` of values that lie between `least` and `most`.
fn histogram(
    distribution: &Distribution,
    (min, max): (f64, f64),
    (least, most): (f64, f64),
) -> Histogram {
    let width = (max - min) / BINS as f64;
    let edge = |bin: usize| match width.is_finite() {
        _ if bin == BINS => max,
        true => min + bin as f64 * width,
        // The width of the widest range is no finite double.
        false => {
            let share = bin as f64 / BINS as f64;
            min * (1.0 - share) + max * share
        }
    };
    let edges: Vec<f64> = (0..=BINS).map(edge).collect();
    let mut counts = distribution.bins(&edges);
    let below = match min > least {
        true => distribution.below(min),
        false => 0,
    };
    let above = match max < most {
        true => distribution.total() - distribution.below(max.next_up()),
        false => 0,
    };
    // The outer bins are open: they hold what lies outside too.
    if let Some(first) = counts.first_mut() {
        *first = first.saturating_sub(below);
    }
    if let Some(last) = counts.last_mut() {
        *last = last.saturating_sub(above);
    }
    Histogram {
        min,
        max,
        counts,
        below,
        above,
    }
}

fn times(kind: ValueType, counted: &Counted) -> Option<TimeFigures> {
    if kind != ValueType::Time || counted.quantiles.total() == 0 {
        return None;
    }
    // From the first one on, so that a double holds every microsecond of 285 years.
    let (first, last) = (counted.first, counted.last);
    let since = |micros: i64| (i128::from(micros) - i128::from(first)) as f64;
    let span = since(last);
    let distribution = Distribution::of(&counted.quantiles, |key| since(time_of(key)), 0.0, span);
    let (keys, quantile_error) =
        counted
            .quantiles
            .keys_at(QUANTILES, key_of_time(first), key_of_time(last));
    let quantiles = keys.map(time_of);
    // Edges of whole microseconds, as the times themselves are.
    let (low, high) = bulk(quantiles.map(since), 0.0, span);
    let (low, high) = (low.floor(), high.floor());
    let seconds = |since: f64| match since == span {
        true => last as f64 / 1e6,
        false => (i128::from(first) + since as i128) as f64 / 1e6,
    };
    let histogram = Histogram {
        min: seconds(low),
        max: seconds(high),
        ..histogram(&distribution, (low, high), (0.0, span))
    };
    Some(TimeFigures {
        min: shown_time(first, counted.dates),
        max: shown_time(last, counted.dates),
        quantiles: quantiles.map(|micros| shown_time(micros, counted.dates)),
        quantile_error,
        histogram,
        dates: counted.dates,
    })
}

/// A time as RFC 3339, a date without its time of day.
pub(super) fn shown_time(micros: i64, date: bool) -> String {
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1000)
        .ok()
        .and_then(|time| time.format(&Rfc3339).ok())
        // Years beyond 9999 come from Parquet alone.
        .unwrap_or_else(|| format!("{micros} µs since 1970"));
    match (date, time.split_once('T')) {
        (true, Some((date, _))) => date.to_owned(),
        _ => time,
    }
}

/// The microseconds of a time that [`shown_time`] wrote.
fn read_time(text: &str) -> Option<i64> {
    match cell::time(text.as_bytes()) {
        Cell::Value(time) => Some(time.micros),
        _ => None,
    }
}

fn texts(kind: ValueType, counted: &Counted) -> Option<TextFigures> {
    (kind == ValueType::Text && counted.count > 0).then(|| TextFigures {
        min_length: counted.shortest,
        max_length: counted.longest,
        mean_length: counted.lengths as f64 / counted.count as f64,
        numbers: counted.like_number,
        booleans: counted.like_boolean,
        times: counted.like_time,
        padded: counted.padded,
    })
}

fn top(kind: ValueType, counted: &Counted, ordered: &Ordered) -> (Vec<TopValue>, u64) {
    let value = |value: String, count: u64| TopValue { value, count };
    let mut top: Vec<TopValue> = match kind {
        ValueType::Text => {
            let top = ordered.frequent.top(TOP);
            let text = |text: &[u8]| String::from_utf8_lossy(text).into_owned();
            let top = top.into_iter().map(|(t, count)| value(text(t), count));
            return (top.collect(), ordered.frequent.error());
        }
        ValueType::Boolean => vec![
            value("false".to_owned(), counted.count - counted.trues),
            value("true".to_owned(), counted.trues),
        ],
        ValueType::Number | ValueType::Time => {
            if !counted.quantiles.is_exact() {
                return (Vec::new(), 0);
            }
            let shown = |key: u64| match kind {
                ValueType::Number => number_of(key).to_string(),
                _ => shown_time(time_of(key), counted.dates),
            };
            let mut values = counted.quantiles.sorted();
            values.sort_by_key(|interval| std::cmp::Reverse(interval.count));
            values.truncate(TOP);
            let values = values.into_iter();
            values.map(|i| value(shown(i.first), i.count)).collect()
        }
    };
    top.retain(|value| value.count > 0);
    top.sort_by_key(|value| std::cmp::Reverse(value.count));
    (top, 0)
}

fn sketch(kind: ValueType, counted: &Counted, ordered: &Ordered) -> Sketch {
    let ordinal = matches!(kind, ValueType::Number | ValueType::Time);
    Sketch {
        cells: ordinal.then(|| counted.quantiles.encode()),
        hashes: Some(counted.distinct.encode()),
        texts: (kind == ValueType::Text).then(|| ordered.frequent.encode()),
    }
}

/// The malformed rows of a table of so many columns, with the reason in words.
pub(super) fn malformed(rows: &[BadRow], columns: usize) -> Vec<MalformedRow> {
    let reason = |why: &BadRowKind| match why {
        BadRowKind::Fields(1) => format!("the row has 1 field, expected {columns}"),
        BadRowKind::Fields(n) => format!("the row has {n} fields, expected {columns}"),
        BadRowKind::Misquoted => "a closing quote is not followed by a delimiter".to_owned(),
        BadRowKind::Json(why) => why.clone(),
    };
    let rows = rows.iter().map(|row| MalformedRow {
        file: row.file.to_string(),
        line: row.line,
        reason: reason(&row.why),
    });
    rows.collect()
}

/// Columns that are nearly the same, by their names.
pub(in crate::data) fn similar(pairs: &[Similar], names: &[String]) -> Vec<SimilarColumns> {
    let name = |n: usize| names.get(n).cloned();
    let pairs = pairs.iter().filter_map(|pair| {
        Some(SimilarColumns {
            first: name(pair.first)?,
            second: name(pair.second)?,
            share: pair.share,
        })
    });
    pairs.collect()
}

/// The first malformed rows of several tables that are taken for one.
pub(super) fn first_malformed(profiles: &[TableProfile]) -> Vec<MalformedRow> {
    let rows = profiles.iter().flat_map(|p| &p.malformed);
    rows.take(BAD_ROWS).cloned().collect()
}

/// The pairs of columns that are nearly the same in each of several tables, with their least share.
pub(super) fn similar_in_all(profiles: &[TableProfile]) -> Vec<SimilarColumns> {
    let Some((first, others)) = profiles.split_first() else {
        return Vec::new();
    };
    let least = |pair: &SimilarColumns| {
        let mut least = pair.share;
        for other in others {
            let same = |p: &&SimilarColumns| (&p.first, &p.second) == (&pair.first, &pair.second);
            least = least.min(other.similar.iter().find(same)?.share);
        }
        Some(SimilarColumns {
            share: least,
            ..pair.clone()
        })
    };
    first.similar.iter().filter_map(least).collect()
}

/// What the figures of a column were made of.
///
/// # Errors
/// [`Input`] when the record has no sketch, or one that serin did not write.
pub(super) fn counted(column: &ColumnFigures, limits: Limits) -> Result<(Counted, Ordered)> {
    let no_sketch = || {
        Input::new(format!(
            "the profile of column `{}` holds no sketch that serin wrote",
            column.name
        ))
        .hint("write profiles that are to be merged with `--sketches`")
    };
    let sketch = column.sketch.as_ref().ok_or_else(no_sketch)?;
    let mut counted = Counted::new(limits);
    let mut ordered = Ordered::new(limits);
    counted.count = column.count;
    counted.null = column.null;
    counted.empty = column.empty;
    counted.nan = column.nan;
    let hashes = sketch.hashes.as_deref().and_then(DistinctSample::decode);
    counted.distinct.merge(&hashes.ok_or_else(no_sketch)?);
    if let Some(cells) = &sketch.cells {
        counted
            .quantiles
            .merge(&QuantileSketch::decode(cells).ok_or_else(no_sketch)?);
    }
    if let Some(texts) = &sketch.texts {
        ordered.frequent.decode(texts).ok_or_else(no_sketch)?;
    }
    if let Some(numbers) = &column.numbers {
        counted.min = numbers.min;
        counted.max = numbers.max;
        counted.zeros = numbers.zeros;
        counted.negatives = numbers.negatives;
        counted.infinite = numbers.infinite;
        counted.whole = numbers.whole;
        let (mean, deviation) = (numbers.mean, numbers.standard_deviation);
        ordered.moments = Moments::from_figures(counted.quantiles.total(), mean, deviation);
    } else if column.kind == ValueType::Number {
        // Nothing but infinities.
        counted.infinite = column.count;
    }
    if let Some(times) = &column.times {
        counted.first = read_time(&times.min).ok_or_else(no_sketch)?;
        counted.last = read_time(&times.max).ok_or_else(no_sketch)?;
        counted.dates = times.dates;
    }
    if column.kind == ValueType::Boolean {
        let trues = column.top.iter().find(|top| top.value == "true");
        counted.trues = trues.map_or(0, |top| top.count);
    }
    if let Some(texts) = &column.texts {
        counted.shortest = texts.min_length;
        counted.longest = texts.max_length;
        counted.lengths = (texts.mean_length * column.count as f64).round() as u64;
        counted.like_number = texts.numbers;
        counted.like_boolean = texts.booleans;
        counted.like_time = texts.times;
        counted.padded = texts.padded;
    }
    Ok((counted, ordered))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::sketch::quantiles::key_of;

    fn histogram_of(numbers: &[f64]) -> Histogram {
        let mut sketch = QuantileSketch::new(4096);
        let keys: Vec<u64> = numbers.iter().copied().map(key_of).collect();
        sketch.add_all(&keys);
        let min = numbers.iter().copied().fold(f64::INFINITY, f64::min);
        let max = numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let distribution = Distribution::of(&sketch, number_of, min, max);
        let (quantiles, _) = distribution.quantiles(QUANTILES);
        histogram(&distribution, bulk(quantiles, min, max), (min, max))
    }

    #[test]
    fn one_value_far_away_does_not_leave_a_single_bar() {
        let mut numbers: Vec<f64> = (0..=1000).map(f64::from).collect();
        let even = histogram_of(&numbers);
        assert_eq!((even.min, even.max), (0.0, 1000.0));
        assert_eq!((even.below, even.above), (0, 0));
        assert_eq!(even.counts, [vec![50; 19], vec![51]].concat());
        numbers.extend([1e9, 1e9, -1e9]);
        let h = histogram_of(&numbers);
        assert!(h.min > -600.0 && h.max < 1600.0, "{h:?}");
        assert_eq!((h.below, h.above), (1, 2));
        assert_eq!(h.counts.iter().sum::<u64>(), 1001);
        assert!(h.counts.iter().filter(|n| **n > 0).count() >= 10, "{h:?}");
    }

    #[test]
    fn where_nothing_lies_between_the_quantiles_all_is_covered() {
        let mut numbers = vec![5.0; 1000];
        numbers.push(9.0);
        let h = histogram_of(&numbers);
        assert_eq!((h.min, h.max, h.below, h.above), (5.0, 9.0, 0, 0));
        assert_eq!((h.counts[0], h.counts[19]), (1000, 1));
    }

    #[test]
    fn the_widest_range_has_finite_edges() {
        let h = histogram_of(&[-1.7e308, -1.7e308, 1.7e308, 1.7e308]);
        assert_eq!((h.counts[0], h.counts[19]), (2, 2));
    }
}
