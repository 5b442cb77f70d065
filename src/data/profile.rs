//! What the columns hold: counts, moments, quantiles, histograms, the most frequent values.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::frame::{Frame, FrameColumn};
use super::label::Target;
use super::snapshot;
use super::split::Partition;
use super::types;
use crate::workspace::records::{ColumnProfile, ColumnType, NumberProfile, Profile, ValueCount};

/// Bins of a histogram, all of the same width.
const BINS: usize = 20;

/// How many of the most frequent values are listed.
const TOP: usize = 20;

/// The quantiles that are told.
const QUANTILES: [f64; 5] = [0.05, 0.25, 0.5, 0.75, 0.95];

/// Profiles the joined table and both of its parts.
pub fn profile(frame: &Frame, target: &Target, partition: &Partition) -> Profile {
    let (train, test) = partition.counts();
    let columns = frame.columns.iter().enumerate().map(|(n, column)| {
        let kind = snapshot::kind(frame, target, n);
        column_profile(frame, column, kind, partition)
    });
    Profile {
        rows: frame.rows() as u64,
        train_rows: train as u64,
        test_rows: test as u64,
        columns: columns.collect(),
    }
}

fn column_profile(
    frame: &Frame,
    column: &FrameColumn,
    kind: ColumnType,
    partition: &Partition,
) -> ColumnProfile {
    let mut profile = ColumnProfile {
        name: column.name.clone(),
        table: frame
            .table_of(column)
            .map_or_else(String::new, |table| table.name.clone()),
        kind,
        count: 0,
        missing: 0,
        distinct: 0,
        numbers: None,
        top: Vec::new(),
    };
    let values = (0..frame.rows()).filter_map(|row| {
        let value = frame.value(column, row)?;
        Some((value, partition.is_test(row)))
    });
    if kind == ColumnType::Number {
        let numbers: Vec<(f64, bool)> = values
            .filter_map(|(text, test)| Some((types::number(text)?, test)))
            .collect();
        profile.count = numbers.len() as u64;
        let distinct: HashSet<u64> = numbers.iter().map(|(x, _)| (x + 0.0).to_bits()).collect();
        profile.distinct = distinct.len() as u64;
        profile.numbers = number_profile(&numbers);
    } else {
        let mut counts: HashMap<&str, (u64, u64)> = HashMap::new();
        for (value, test) in values {
            let value = match types::boolean(value) {
                Some(true) if kind == ColumnType::Boolean => "true",
                Some(false) if kind == ColumnType::Boolean => "false",
                _ => value,
            };
            let (in_train, in_test) = counts.entry(value).or_default();
            *if test { in_test } else { in_train } += 1;
        }
        profile.count = counts.values().map(|(train, test)| train + test).sum();
        profile.distinct = counts.len() as u64;
        profile.top = top(counts);
    }
    profile.missing = frame.rows() as u64 - profile.count;
    profile
}

fn top(counts: HashMap<&str, (u64, u64)>) -> Vec<ValueCount> {
    let counts: BTreeMap<_, _> = counts
        .into_iter()
        .map(|(value, (train, test))| ((std::cmp::Reverse(train + test), value), (train, test)))
        .collect();
    let counts = counts.into_iter().take(TOP);
    counts
        .map(|((_, value), (train, test))| ValueCount {
            value: value.to_owned(),
            train,
            test,
        })
        .collect()
}

/// The figures of a column of numbers, each with whether it is a test row's; `None` without numbers.
fn number_profile(numbers: &[(f64, bool)]) -> Option<NumberProfile> {
    let mut sorted: Vec<f64> = numbers.iter().map(|(x, _)| *x).collect();
    sorted.sort_by(f64::total_cmp);
    let (min, max) = (*sorted.first()?, *sorted.last()?);
    let (mean, standard_deviation) = moments(&sorted);
    let mut histograms = [vec![0; BINS], vec![0; BINS]];
    for (x, test) in numbers {
        let bin = bin(*x, min, max);
        let histogram = histograms.get_mut(usize::from(*test));
        if let Some(count) = histogram.and_then(|h| h.get_mut(bin)) {
            *count += 1;
        }
    }
    let [train_histogram, test_histogram] = histograms;
    Some(NumberProfile {
        min,
        max,
        mean,
        standard_deviation,
        quantiles: QUANTILES.map(|p| quantile(&sorted, p)),
        train_histogram,
        test_histogram,
    })
}

/// The bin of a number between `min` and `max`; the last one holds its upper end too.
fn bin(x: f64, min: f64, max: f64) -> usize {
    // Halved, because the width of the widest range is no finite double.
    let share = (x / 2.0 - min / 2.0) / (max / 2.0 - min / 2.0);
    ((share * BINS as f64) as usize).min(BINS - 1)
}

/// Mean and standard deviation of the sample, by Welford's method, which stays exact for large means.
pub(super) fn moments(numbers: &[f64]) -> (f64, f64) {
    let (mut mean, mut squares, mut n) = (0.0, 0.0, 0.0);
    for x in numbers {
        n += 1.0;
        let before = x - mean;
        mean += before / n;
        squares += before * (x - mean);
    }
    let deviation = if n > 1.0 { squares / (n - 1.0) } else { 0.0 };
    (mean, deviation.sqrt())
}

/// R's type 7, NumPy's default.
fn quantile(sorted: &[f64], p: f64) -> f64 {
    let place = p * sorted.len().saturating_sub(1) as f64;
    let at = |n: f64| sorted.get(n as usize).copied().unwrap_or(f64::NAN);
    let (low, high) = (at(place.floor()), at(place.ceil()));
    low + (high - low) * place.fract()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::JoinKind;
    use crate::data::join::join;
    use crate::data::table::tests::table;
    use proptest::prelude::*;

    #[test]
    fn a_column_is_counted_over_both_parts() {
        let tables = [table("t", "y,n,c\na,1,x\nb,2,\na,NA,z\nb,10,x\n")];
        let frame = join(&tables, &[], JoinKind::Inner).frame.unwrap();
        let target = Target::of(&frame, 0, None, None).unwrap();
        let test = vec![false, true, false, true];
        let profile = profile(&frame, &target, &Partition { test });
        assert_eq!((profile.train_rows, profile.test_rows), (2, 2));
        let n = &profile.columns[1];
        assert_eq!((n.count, n.missing, n.distinct), (3, 1, 3));
        let numbers = n.numbers.as_ref().unwrap();
        assert_eq!((numbers.min, numbers.max), (1.0, 10.0));
        assert_eq!(numbers.quantiles[2], 2.0);
        assert_eq!(numbers.train_histogram.iter().sum::<u64>(), 1);
        assert_eq!(
            (numbers.test_histogram[2], numbers.test_histogram[19]),
            (1, 1)
        );
        let c = &profile.columns[2];
        assert_eq!((c.count, c.missing, c.distinct), (3, 1, 2));
        let x = ValueCount {
            value: "x".to_owned(),
            train: 1,
            test: 1,
        };
        assert_eq!(c.top[0], x);
        assert_eq!(c.top[1].value, "z");
    }

    #[test]
    fn figures_equal_numpys() {
        // numpy 2: np.quantile([1, 2, 3, 4, 10], p), np.std(…, ddof=1)
        let sorted = [1.0, 2.0, 3.0, 4.0, 10.0];
        assert!((quantile(&sorted, 0.05) - 1.2).abs() < 1e-12);
        assert!((quantile(&sorted, 0.95) - 8.8).abs() < 1e-12);
        let (mean, deviation) = moments(&sorted);
        assert!((mean - 4.0).abs() < 1e-12 && (deviation - 12.5_f64.sqrt()).abs() < 1e-12);
        assert_eq!(moments(&[7.0]), (7.0, 0.0));
    }

    proptest! {
        #[test]
        fn every_number_is_in_one_bin(
            numbers in prop::collection::vec((-1e308..1e308f64, any::<bool>()), 1..50),
        ) {
            let profile = number_profile(&numbers).unwrap();
            let bins = profile.train_histogram.iter().chain(&profile.test_histogram);
            prop_assert_eq!(bins.sum::<u64>(), numbers.len() as u64);
        }
    }
}
