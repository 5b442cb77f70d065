//! Profiles for tests, made from values in memory.

use super::sketch::QuantileSketch;
use super::sketch::quantiles::{Distribution, Interval, key_of, key_of_time, number_of};
use crate::clock::Timestamp;
use crate::workspace::table_profile::{
    ColumnFigures, EXACT_VALUES, Estimate, Histogram, NumberFigures, QUANTILES, Sketch,
    TableProfile, TextFigures, TimeFigures, TopValue, ValueType,
};

pub(crate) fn table(rows: u64, columns: Vec<ColumnFigures>) -> TableProfile {
    TableProfile {
        rows,
        columns,
        ..TableProfile::default()
    }
}

fn column(name: &str, kind: ValueType, count: usize, distinct: usize) -> ColumnFigures {
    ColumnFigures {
        name: name.to_owned(),
        kind,
        forced_by: None,
        count: count as u64,
        null: 0,
        empty: 0,
        nan: 0,
        distinct: Estimate {
            count: distinct as u64,
            error: 0.0,
        },
        numbers: None,
        times: None,
        texts: None,
        top: Vec::new(),
        top_error: 0,
        label: None,
        sketch: None,
    }
}

fn sketch(counted: &QuantileSketch) -> Option<Sketch> {
    let cells = Some(counted.encode());
    Some(Sketch {
        cells,
        ..Sketch::default()
    })
}

/// A column of finite numbers, at least one.
pub(crate) fn numbers(name: &str, values: &[f64]) -> ColumnFigures {
    let mut counted = QuantileSketch::new(EXACT_VALUES);
    let keys: Vec<u64> = values.iter().copied().map(key_of).collect();
    counted.add_all(&keys);
    let min = values.iter().copied().fold(f64::INFINITY, f64::min);
    let max = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let distribution = Distribution::of(&counted, number_of, min, max);
    let (quantiles, quantile_error) = distribution.quantiles(QUANTILES);
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let edges: Vec<f64> = (0..=20)
        .map(|i| min + (max - min) * f64::from(i) / 20.0)
        .collect();
    let mut figures = column(
        name,
        ValueType::Number,
        values.len(),
        counted.sorted().len(),
    );
    figures.numbers = Some(NumberFigures {
        min,
        max,
        mean,
        standard_deviation: 0.0,
        quantiles,
        quantile_error,
        histogram: Histogram {
            min,
            max,
            counts: distribution.bins(&edges),
            ..Histogram::default()
        },
        zeros: values.iter().filter(|x| **x == 0.0).count() as u64,
        negatives: values.iter().filter(|x| **x < 0.0).count() as u64,
        infinite: 0,
        whole: values.iter().all(|x| x.fract() == 0.0),
    });
    figures.sketch = sketch(&counted);
    let sorted = counted.sorted();
    if sorted.len() <= 20 {
        let value = |interval: &Interval| number_of(interval.first).to_string();
        figures.top = tops(sorted.iter().map(|i| (value(i), i.count)));
    }
    figures
}

/// A column of times, in microseconds since 1970, at least one.
pub(crate) fn times(name: &str, micros: &[i64]) -> ColumnFigures {
    let mut counted = QuantileSketch::new(EXACT_VALUES);
    let keys: Vec<u64> = micros.iter().copied().map(key_of_time).collect();
    counted.add_all(&keys);
    let mut sorted = micros.to_vec();
    sorted.sort_unstable();
    let text = |t: i64| Timestamp::from_unix_micros(t).to_string();
    let mut figures = column(name, ValueType::Time, micros.len(), counted.sorted().len());
    figures.times = Some(TimeFigures {
        min: text(sorted[0]),
        max: text(sorted[sorted.len() - 1]),
        quantiles: QUANTILES.map(|q| text(sorted[(q * (sorted.len() - 1) as f64) as usize])),
        quantile_error: 0.0,
        histogram: Histogram::default(),
        dates: false,
    });
    figures.sketch = sketch(&counted);
    figures
}

/// A column of texts, from values and their counts; at most twenty are told.
pub(crate) fn texts(name: &str, values: &[(&str, u64)]) -> ColumnFigures {
    let count: u64 = values.iter().map(|(_, n)| n).sum();
    let mut figures = column(name, ValueType::Text, count as usize, values.len());
    figures.top = tops(values.iter().map(|(value, n)| ((*value).to_owned(), *n)));
    figures.texts = Some(TextFigures {
        min_length: 1,
        max_length: 9,
        mean_length: 5.0,
        numbers: 0,
        booleans: 0,
        times: 0,
        padded: 0,
    });
    figures
}

fn tops(values: impl Iterator<Item = (String, u64)>) -> Vec<TopValue> {
    let mut top: Vec<TopValue> = values
        .map(|(value, count)| TopValue { value, count })
        .collect();
    top.sort_by(|a, b| b.count.cmp(&a.count).then(a.value.cmp(&b.value)));
    top.truncate(20);
    top
}

/// A field as CSV writes it: quoted only where it has to be.
pub(crate) fn quoted(field: &str) -> std::borrow::Cow<'_, str> {
    if field.contains(['"', ',', '\n', '\r']) {
        format!("\"{}\"", field.replace('"', "\"\"")).into()
    } else {
        field.into()
    }
}
