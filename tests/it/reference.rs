//! A profile's figures are those of NumPy 2.4.6, pandas 3.1.1, SciPy 1.17.1 and DuckDB 2.0.1.
//!
//! `tests/data/reference/make.py` wrote the tables and `expected.json`, and tells every definition. Counts are held exactly, other
//! figures to a relative 1e-9, and figures from a sketch to the error that the profile states. The truth about a
//! larger table, which is made here, is counted here too.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::harness::Project;

/// Figures that may be off by this share of themselves.
const NEAR: f64 = 1e-9;
/// Four times the least double, below which there are no digits.
const LEAST: f64 = 2e-323;
/// Up to how many distinct numbers a column is exact in a table of more than 64 columns.
const SURELY_EXACT: u64 = 2048;
const QUANTILES: [f64; 9] = [0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/reference")
}

/// Where a table lies: made or packed beside what is expected of it, or among the data of the example.
fn place(file: &str) -> PathBuf {
    let path = folder().join(file);
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("cloudbuild/churn/data");
    if path.exists() {
        path
    } else {
        example.join(file)
    }
}

/// What is expected of a table.
fn reference(file: &str) -> Value {
    let text = fs::read_to_string(folder().join("expected.json")).unwrap();
    let mut reference: Value = serde_json::from_str(&text).unwrap();
    let tables = reference["tables"].as_array_mut().unwrap();
    let at = tables.iter().position(|table| table["file"] == file);
    tables.swap_remove(at.unwrap_or_else(|| panic!("nothing is expected of {file}")))
}

/// The profile of a table, under its bare name.
fn profile(file: &str, label: Option<&str>) -> Value {
    let project = Project::empty();
    fs::copy(place(file), project.folder.path().join(file)).unwrap();
    profile_in(&project, file, label)
}

fn profile_in(project: &Project, file: &str, label: Option<&str>) -> Value {
    let mut arguments = vec!["profile", file, "--format", "json"];
    if let Some(label) = label {
        arguments.extend(["--label", label]);
    }
    let ended = project.serin(&arguments).expect(0);
    serde_json::from_str(&ended.stdout).unwrap()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Counts as how many there are up to each.
fn sums(counts: &Value) -> Vec<u64> {
    let mut sum = 0;
    let counts = list(counts).iter().map(|count| count.as_u64().unwrap());
    counts
        .map(|count| {
            sum += count;
            sum
        })
        .collect()
}

/// How many values lie below each edge of a histogram's bins, the first and the last one too, and in all.
fn below_edges(histogram: &Value) -> Vec<u64> {
    let outside = |side: &str| histogram[side].as_u64().unwrap_or(0);
    let below = outside("below");
    let inner = sums(&histogram["counts"]);
    let mut all: Vec<u64> = std::iter::once(0).chain(inner).map(|n| below + n).collect();
    all.push(all.last().unwrap() + outside("above"));
    all
}

/// Where the bins of a histogram begin and end, by the rule of docs/profile.md.
fn bulk(first: f64, last: f64, least: f64, most: f64) -> (f64, f64) {
    if first == last {
        return (least, most);
    }
    let beyond = last / 2.0 - first / 2.0;
    let (low, high) = ((first - beyond).max(least), (last + beyond).min(most));
    match most / 4.0 - least / 4.0 <= high / 2.0 - low / 2.0 {
        true => (least, most),
        false => (low, high),
    }
}

/// A comparison that goes on after a difference, so that one run tells them all.
struct Held {
    table: String,
    differences: Vec<String>,
}

impl Held {
    fn new(table: &str) -> Self {
        Self {
            table: table.to_owned(),
            differences: Vec::new(),
        }
    }

    #[track_caller]
    fn finish(self) {
        assert!(
            self.differences.is_empty(),
            "{} figures differ:\n{}",
            self.differences.len(),
            self.differences.join("\n")
        );
    }

    fn check(&mut self, right: bool, column: &str, figure: &str, got: &Value, expected: &Value) {
        if !right {
            let table = &self.table;
            let text = format!("{table}: {column}: {figure} is {got}, expected {expected}");
            self.differences.push(text);
        }
    }

    fn same(&mut self, column: &str, figure: &str, got: &Value, expected: &Value) {
        self.check(got == expected, column, figure, got, expected);
    }

    /// Numbers that are the same but for rounding; `zero` is what is next to nothing here.
    fn near(&mut self, column: &str, figure: &str, got: &Value, expected: &Value, zero: f64) {
        let near = match (got.as_f64(), expected.as_f64()) {
            (Some(got), Some(expected)) => {
                let most = (NEAR * expected.abs()).max(zero).max(LEAST);
                got == expected || (got - expected).abs() <= most
            }
            _ => got == expected,
        };
        self.check(near, column, figure, got, expected);
    }

    fn nears(&mut self, column: &str, figure: &str, got: &Value, expected: &Value) {
        let (g, e) = (list(got), list(expected));
        self.check(g.len() == e.len(), column, figure, got, expected);
        for (n, (got, expected)) in g.iter().zip(e).enumerate() {
            self.near(column, &format!("{figure}[{n}]"), got, expected, 0.0);
        }
    }

    /// Whether there are such figures, as there should be.
    fn both(&mut self, column: &str, figure: &str, got: &Value, expected: &Value) -> bool {
        let right = got.is_null() == expected.is_null();
        self.check(right, column, figure, got, expected);
        right && !got.is_null()
    }

    /// A table, but for what it tells about a label.
    fn table(&mut self, got: &Value, expected: &Value) {
        for figure in ["rows", "bytes", "bad_rows"] {
            self.same("the table", figure, &got[figure], &expected[figure]);
        }
        self.estimate("the table", "duplicate_rows", got, expected);
        let names = |table: &Value| -> Vec<Value> {
            let columns = list(&table["columns"]).iter();
            columns.map(|column| column["name"].clone()).collect()
        };
        assert_eq!(names(got), names(expected), "{}", self.table);
        for (got, expected) in list(&got["columns"]).iter().zip(list(&expected["columns"])) {
            self.column(expected["name"].as_str().unwrap(), got, expected);
        }
    }

    /// An estimate that is exact.
    fn estimate(&mut self, column: &str, figure: &str, got: &Value, expected: &Value) {
        let (got, expected) = (&got[figure], &expected[figure]);
        let right = &got["count"] == expected && got["error"].as_f64() == Some(0.0);
        self.check(right, column, figure, got, expected);
    }

    fn column(&mut self, name: &str, got: &Value, expected: &Value) {
        for figure in ["type", "count", "null", "empty", "nan", "forced_by"] {
            self.same(name, figure, &got[figure], &expected[figure]);
        }
        self.estimate(name, "distinct", got, expected);
        if self.both(name, "numbers", &got["numbers"], &expected["numbers"]) {
            let distinct = expected["distinct"].as_u64().unwrap();
            self.moments(name, &got["numbers"], &expected["numbers"]);
            self.distribution(name, &got["numbers"], &expected["numbers"], distinct);
        }
        if self.both(name, "times", &got["times"], &expected["times"]) {
            self.times(name, &got["times"], &expected["times"]);
        }
        if self.both(name, "texts", &got["texts"], &expected["texts"]) {
            for (figure, expected) in expected["texts"].as_object().unwrap() {
                self.near(name, figure, &got["texts"][figure], expected, 0.0);
            }
        }
        // Numbers that a sketch holds have no most frequent values.
        let sketched = got["numbers"]["quantile_error"].as_f64() > Some(0.0);
        if !sketched || !got["top"].is_null() {
            self.top(name, got, expected);
        }
    }

    fn moments(&mut self, name: &str, got: &Value, expected: &Value) {
        let size = |end: &str| expected[end].as_f64().unwrap().abs();
        // What sums of positive and negative numbers lose.
        let zero = 1e-14 * size("min").max(size("max"));
        self.near(name, "mean", &got["mean"], &expected["mean"], zero);
        for figure in ["min", "max", "standard_deviation"] {
            self.near(name, figure, &got[figure], &expected[figure], 0.0);
        }
        for figure in ["zeros", "negatives", "infinite", "whole"] {
            self.same(name, figure, &got[figure], &expected[figure]);
        }
    }

    fn distribution(&mut self, name: &str, got: &Value, expected: &Value, distinct: u64) {
        let (histogram, counts) = (&got["histogram"], &expected["histogram"]);
        let (these, those) = (below_edges(histogram), below_edges(counts));
        let error = got["quantile_error"].as_f64().unwrap();
        if error == 0.0 {
            self.nears(name, "quantiles", &got["quantiles"], &expected["quantiles"]);
            // What a difference of large quantiles loses.
            let size = |end: &str| expected[end].as_f64().unwrap().abs();
            let zero = 1e-14 * size("min").max(size("max"));
            for end in ["min", "max"] {
                let figure = format!("histogram.{end}");
                self.near(name, &figure, &histogram[end], &counts[end], zero);
            }
            let free = list(&counts["on_edges"]);
            let free = free.iter().map(|n| n.as_u64().unwrap()).chain([0]);
            let mut parts = these.iter().zip(&those).zip(free);
            let right = these.len() == those.len()
                && parts.all(|((got, expected), free)| got.abs_diff(*expected) <= free);
            self.check(right, name, "histogram", histogram, counts);
            return;
        }
        let exact = Value::from(0.0);
        let right = distinct > SURELY_EXACT && error < 0.01;
        self.check(
            right,
            name,
            "quantile_error",
            &got["quantile_error"],
            &exact,
        );
        // The bins lie where the sketch has the quantiles.
        let quantiles = list(&got["quantiles"]);
        let number = |value: &Value| value.as_f64().unwrap();
        let ends = bulk(
            number(&quantiles[0]),
            number(&quantiles[quantiles.len() - 1]),
            number(&expected["min"]),
            number(&expected["max"]),
        );
        let right = these.len() == those.len()
            && these.last() == those.last()
            && ends == (number(&histogram["min"]), number(&histogram["max"]));
        self.check(right, name, "histogram", histogram, counts);
        // The value at each of a thousand places.
        let values = list(&expected["values"]);
        let last = values.len() - 1;
        assert_eq!(list(&got["quantiles"]).len(), QUANTILES.len());
        for (got, place) in list(&got["quantiles"]).iter().zip(QUANTILES) {
            let at = |share: f64| share * last as f64;
            let low = &values[(at(place - error).floor() - 1.0).max(0.0) as usize];
            let high = &values[last.min(at(place + error).ceil() as usize + 1)];
            let quantile = got.as_f64().unwrap();
            let right = (low.as_f64().unwrap()..=high.as_f64().unwrap()).contains(&quantile);
            let between = Value::from(vec![low.clone(), high.clone()]);
            self.check(right, name, &format!("quantile {place}"), got, &between);
        }
    }

    fn times(&mut self, name: &str, got: &Value, expected: &Value) {
        for figure in ["min", "max", "dates"] {
            self.same(name, figure, &got[figure], &expected[figure]);
        }
        let exact = Value::from(0.0);
        self.same(name, "quantile_error", &got["quantile_error"], &exact);
        let (histogram, counts) = (&got["histogram"], &expected["histogram"]);
        for end in ["min", "max", "counts"] {
            let figure = format!("histogram.{end}");
            self.same(name, &figure, &histogram[end], &counts[end]);
        }
        let right = below_edges(histogram) == below_edges(counts);
        self.check(right, name, "histogram", histogram, counts);
        let [least, most] = [0, 1].map(|n| expected["seconds"][n].as_f64().unwrap());
        let end = |end: &str| histogram[end].as_f64().unwrap();
        assert!(least <= end("min") && end("max") <= most, "{name}");
        let (quantiles, either) = (list(&got["quantiles"]), list(&expected["quantiles"]));
        assert_eq!(quantiles.len(), either.len(), "{}: {name}", self.table);
        for ((got, either), place) in quantiles.iter().zip(either).zip(QUANTILES) {
            let right = list(either).contains(got);
            self.check(right, name, &format!("quantile {place}"), got, either);
        }
    }

    fn top(&mut self, name: &str, got: &Value, expected: &Value) {
        let kind = &expected["type"];
        let exact = Value::Null;
        self.same(name, "top_error", &got["top_error"], &exact);
        let (got, expected) = (&got["top"], &expected["top"]);
        if !self.both(name, "top", got, expected) {
            return;
        }
        let right = list(got).len() == list(expected).len();
        self.check(right, name, "top", got, expected);
        for (n, (got, expected)) in list(got).iter().zip(list(expected)).enumerate() {
            let value = got["value"].as_str().unwrap();
            let right = match expected[0].as_str() {
                Some(text) if kind == "text" => is_text(value, text),
                Some(text) => value == text,
                None => value.parse::<f64>().ok() == expected[0].as_f64(),
            };
            let right = right && got["count"] == expected[1];
            self.check(right, name, &format!("top[{n}]"), got, expected);
        }
    }

    /// What the columns tell about a label.
    fn label(&mut self, got: &Value, expected: &Value) {
        for column in list(&got["columns"]) {
            let name = column["name"].as_str().unwrap();
            let (got, expected) = (&column["label"], &expected[name]);
            if !self.both(name, "label", got, expected) {
                continue;
            }
            self.same(name, "label.rows", &got["rows"], &expected["rows"]);
            for figure in ["information", "share", "correlation"] {
                let (got, expected) = (&got[figure], &expected[figure]);
                // All three are differences of larger numbers.
                self.near(name, &format!("label.{figure}"), got, expected, 1e-12);
            }
        }
    }

    /// The same rows in another format.
    fn other_format(&mut self, got: &Value, expected: &Value) {
        let name = expected["name"].as_str().unwrap();
        for figure in ["name", "type", "count"] {
            self.same(name, figure, &got[figure], &expected[figure]);
        }
        let missing = |column: &Value| -> u64 {
            let sorts = ["null", "empty", "nan"];
            sorts
                .map(|sort| column[sort].as_u64().unwrap())
                .iter()
                .sum()
        };
        let (these, those) = (Value::from(missing(got)), Value::from(missing(expected)));
        self.same(name, "missing cells", &these, &those);
        // Whole numbers beyond 2^53 are told apart by their digits where they are written in digits.
        if !["beyond_2_53", "beyond_64_bits"].contains(&name) {
            self.same(name, "distinct", &got["distinct"], &expected["distinct"]);
        }
        let (numbers, expected_numbers) = (&got["numbers"], &expected["numbers"]);
        if self.both(name, "numbers", numbers, expected_numbers) {
            self.moments(name, numbers, expected_numbers);
            for figure in ["quantiles", "histogram", "quantile_error"] {
                self.same(name, figure, &numbers[figure], &expected_numbers[figure]);
            }
        }
        for figure in ["times", "texts", "top", "label"] {
            self.same(name, figure, &got[figure], &expected[figure]);
        }
    }
}

/// Whether a text is shown as it is, or as far as its first 250 bytes at least.
fn is_text(shown: &str, text: &str) -> bool {
    let start = shown.trim_end_matches('…');
    shown == text || (text.len() > 256 && start.len() >= 250 && text.starts_with(start))
}

/// Holds tables against the reference, each once for every label that it has.
#[track_caller]
fn hold(files: &[&str]) {
    let mut differences = Held::new("");
    for file in files {
        let expected = reference(file);
        let mut held = Held::new(file);
        match expected["labels"].as_object() {
            None => held.table(&profile(file, None), &expected),
            Some(labels) => {
                for (n, (label, of_label)) in labels.iter().enumerate() {
                    let got = profile(file, Some(label));
                    if n == 0 {
                        held.table(&got, &expected);
                    }
                    held.table = format!("{file} with label {label}");
                    held.label(&got, of_label);
                    held.table = (*file).to_owned();
                }
            }
        }
        differences.differences.append(&mut held.differences);
    }
    differences.finish();
}

#[test]
fn numbers_have_the_figures_of_the_reference() {
    hold(&["numbers.csv", "numbers.parquet"]);
}

#[test]
fn texts_have_the_figures_of_the_reference() {
    hold(&["texts.csv", "texts.parquet"]);
}

#[test]
fn times_and_booleans_have_the_figures_of_the_reference() {
    hold(&["times.csv", "times.parquet"]);
}

#[test]
fn repeated_and_malformed_rows_are_counted_as_the_reference_counts_them() {
    hold(&["rows.csv", "rows.parquet"]);
}

#[test]
fn columns_tell_about_a_label_what_the_reference_says() {
    hold(&["label.csv", "label.parquet"]);
}

#[test]
fn real_tables_have_the_figures_of_the_reference() {
    hold(&["account.csv", "usage.csv", "hpc_data.csv.gz", "ames.csv.gz"]);
}

#[test]
fn the_same_rows_have_the_same_figures_as_csv_and_as_parquet() {
    let mut differences = Held::new("");
    for (table, label) in [
        ("numbers", None),
        ("texts", None),
        ("times", None),
        ("rows", None),
        ("label", Some("y")),
    ] {
        let expected = profile(&format!("{table}.csv"), label);
        let got = profile(&format!("{table}.parquet"), label);
        let mut held = Held::new(&format!("{table}.parquet against {table}.csv"));
        held.same("the table", "rows", &got["rows"], &expected["rows"]);
        let (got, expected) = (list(&got["columns"]), list(&expected["columns"]));
        assert_eq!(got.len(), expected.len(), "{table}");
        for (got, expected) in got.iter().zip(expected) {
            held.other_format(got, expected);
        }
        differences.differences.append(&mut held.differences);
    }
    differences.finish();
}

/// Numbers that look random: the upper bits of Knuth's generator for MMIX.
struct Random(u64);

impl Random {
    fn draw(&mut self) -> u64 {
        let factor = 6_364_136_223_846_793_005;
        self.0 = self
            .0
            .wrapping_mul(factor)
            .wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }
}

/// Rows that differ from one another, and how many of them stand twice.
const ROWS: u64 = 60_000;
const TWICE: usize = 1000;
const NUMBERS: u64 = 50_000;
const TEXTS: u64 = 40_000;
/// Texts that occur far more often than the others.
const FREQUENT: u64 = 5;

#[derive(Clone)]
struct Row {
    number: f64,
    text: String,
    seconds: i64,
}

/// Rows in no order, with more distinct values than are counted one by one.
fn many_rows() -> Vec<Row> {
    let mut random = Random(20_261_124);
    let row = |row: u64| {
        // Strides that reach every number and every text once before they begin again.
        let number = match row {
            0..NUMBERS => row * 17_389 % NUMBERS,
            _ => random.draw() % NUMBERS,
        };
        let from_zero = number as f64 - 20_000.0;
        let text = match (row % 3, random.draw()) {
            (first @ 0..2, _) => (row / 3 * 2 + first) * 7919 % TEXTS,
            (_, often) if often.is_multiple_of(2) => often / 2 % FREQUENT,
            (_, seldom) => seldom / 2 % TEXTS,
        };
        Row {
            number: from_zero * from_zero * from_zero / 1e3,
            text: format!("név {text}"),
            seconds: 1_767_225_600 + (random.draw() % 10_000_000) as i64,
        }
    };
    let mut rows: Vec<Row> = (0..ROWS).map(row).collect();
    rows.extend_from_within(..TWICE);
    rows
}

/// Holds quantiles against all values in order: each has its place, but for the error that is stated.
fn hold_quantiles(what: &str, quantiles: &[f64], error: f64, sorted: &[f64]) {
    assert!(
        error > 0.0 && error < 0.01,
        "{what}: quantile_error {error}"
    );
    assert_eq!(quantiles.len(), QUANTILES.len(), "{what}");
    let n = sorted.len() as f64;
    for (quantile, share) in quantiles.iter().zip(QUANTILES) {
        let place = share * (n - 1.0);
        let below = sorted.partition_point(|x| x < quantile) as f64;
        let up_to = sorted.partition_point(|x| x <= quantile) as f64;
        assert!(
            below <= place.ceil() + error * n && up_to >= place.floor() - error * n,
            "{what}: quantile {share} is {quantile}, of which {below} are less and {up_to} are not more; \
             expected place {place} but for {}",
            error * n
        );
    }
}

/// Holds a histogram against all values in order.
fn hold_histogram(what: &str, histogram: &Value, quantiles: &[f64], error: f64, sorted: &[f64]) {
    let (least, most) = (sorted[0], sorted[sorted.len() - 1]);
    let (min, max) = bulk(quantiles[0], quantiles[quantiles.len() - 1], least, most);
    // Times are whole microseconds.
    let near = |end: &str, edge: f64| (histogram[end].as_f64().unwrap() - edge).abs() < 2e-6;
    assert!(
        near("min", min) && near("max", max),
        "{what}: {histogram} is not from {min} to {max}"
    );
    let sums = below_edges(histogram);
    assert_eq!(
        (sums.len(), sums.last()),
        (22, Some(&(sorted.len() as u64))),
        "{what}"
    );
    for (bin, sum) in (0..=20).zip(&sums) {
        let edge = min + (max - min) * f64::from(bin) / 20.0;
        let below = sorted.partition_point(|x| *x < edge) as u64;
        // One more where the edge itself is rounded.
        let off = sum.abs_diff(below) as f64;
        assert!(
            off <= error * sorted.len() as f64 + 1.0,
            "{what}: {sum} values lie below edge {bin} of the histogram, expected {below}"
        );
    }
}

/// Holds an estimate of different values to four times its standard error.
fn hold_estimate(what: &str, got: &Value, truth: usize) {
    let (count, error) = (
        got["count"].as_f64().unwrap(),
        got["error"].as_f64().unwrap(),
    );
    assert!(
        error < 0.02 && (count - truth as f64).abs() <= 4.0 * error * truth as f64,
        "{what}: distinct is {got}, expected {truth}"
    );
}

#[test]
fn sketches_of_a_larger_table_stay_within_the_error_that_they_state() {
    let rows = many_rows();
    let mut csv = String::from("number,text,time\n");
    for row in &rows {
        let time = OffsetDateTime::from_unix_timestamp(row.seconds).unwrap();
        let time = time.format(&Rfc3339).unwrap();
        writeln!(csv, "{},{},{time}", row.number, row.text).unwrap();
    }
    let project = Project::empty();
    fs::write(project.folder.path().join("many.csv"), csv).unwrap();
    let got = profile_in(&project, "many.csv", None);
    assert_eq!(got["rows"], rows.len());
    let different: HashSet<(u64, &str, i64)> = rows
        .iter()
        .map(|row| (row.number.to_bits(), row.text.as_str(), row.seconds))
        .collect();
    assert!(rows.len() - different.len() >= TWICE);
    assert_eq!(got["duplicate_rows"]["count"], rows.len() - different.len());
    assert_eq!(got["duplicate_rows"]["error"], 0.0);
    for column in list(&got["columns"]) {
        assert_eq!(column["count"], rows.len(), "{}", column["name"]);
    }
    hold_numbers(&got["columns"][0], &rows);
    hold_texts(&got["columns"][1], &rows);
    hold_times(&got["columns"][2], &rows);
}

fn hold_numbers(got: &Value, rows: &[Row]) {
    let mut sorted: Vec<f64> = rows.iter().map(|row| row.number).collect();
    sorted.sort_by(f64::total_cmp);
    let mut distinct = sorted.clone();
    distinct.dedup();
    assert_eq!(distinct.len() as u64, NUMBERS);
    hold_estimate("number", &got["distinct"], distinct.len());
    assert_eq!(got["top"], Value::Null);

    let got = &got["numbers"];
    let n = sorted.len() as f64;
    let mean = sorted.iter().sum::<f64>() / n;
    let squares = sorted.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>();
    let deviation = (squares / (n - 1.0)).sqrt();
    for (figure, expected) in [
        ("min", sorted[0]),
        ("max", sorted[sorted.len() - 1]),
        ("mean", mean),
        ("standard_deviation", deviation),
    ] {
        let got = got[figure].as_f64().unwrap();
        assert!(
            (got - expected).abs() <= NEAR * expected.abs(),
            "number: {figure} is {got}, expected {expected}"
        );
    }
    let count = |which: fn(f64) -> bool| sorted.iter().filter(|x| which(**x)).count();
    assert_eq!(got["zeros"], count(|x| x == 0.0), "zeros");
    assert_eq!(got["negatives"], count(|x| x < 0.0), "negatives");
    assert_eq!(got["infinite"], 0, "infinite");
    assert_eq!(got["whole"], false, "whole");

    let error = got["quantile_error"].as_f64().unwrap();
    let quantiles: Vec<f64> = list(&got["quantiles"])
        .iter()
        .map(|quantile| quantile.as_f64().unwrap())
        .collect();
    hold_quantiles("number", &quantiles, error, &sorted);
    hold_histogram("number", &got["histogram"], &quantiles, error, &sorted);
}

fn hold_texts(got: &Value, rows: &[Row]) {
    let mut counts: HashMap<&str, u64> = HashMap::new();
    for row in rows {
        *counts.entry(&row.text).or_default() += 1;
    }
    assert_eq!(counts.len() as u64, TEXTS);
    hold_estimate("text", &got["distinct"], counts.len());
    let lengths = || rows.iter().map(|row| row.text.chars().count());
    let texts = &got["texts"];
    assert_eq!(texts["min_length"], lengths().min().unwrap());
    assert_eq!(texts["max_length"], lengths().max().unwrap());
    let mean = lengths().sum::<usize>() as f64 / rows.len() as f64;
    let got_mean = texts["mean_length"].as_f64().unwrap();
    assert!((got_mean - mean).abs() <= NEAR * mean, "{got_mean} {mean}");
    for figure in ["numbers", "booleans", "times", "padded"] {
        assert_eq!(texts[figure], 0, "{figure}");
    }

    let error = got["top_error"].as_u64().unwrap();
    assert!(error > 0 && error < 100, "text: top_error is {error}");
    let mut before = u64::MAX;
    for top in list(&got["top"]) {
        let (value, count) = (
            top["value"].as_str().unwrap(),
            top["count"].as_u64().unwrap(),
        );
        let truth = counts[value];
        assert!(
            count <= truth && truth <= count + error,
            "text: {value} occurs {truth} times, not {count} and up to {error} more"
        );
        assert!(count <= before, "text: {value} stands too late");
        before = count;
    }
    // No count that is low by the error falls behind one of the others.
    let told: HashSet<&str> = list(&got["top"])
        .iter()
        .map(|top| top["value"].as_str().unwrap())
        .collect();
    for (text, count) in counts.iter().filter(|(_, count)| **count >= 1000) {
        assert!(
            told.contains(text),
            "text: {text}, {count} times, is not told"
        );
    }
    assert_eq!(
        counts.values().filter(|count| **count >= 1000).count() as u64,
        FREQUENT
    );
}

fn hold_times(got: &Value, rows: &[Row]) {
    let mut sorted: Vec<f64> = rows.iter().map(|row| row.seconds as f64).collect();
    sorted.sort_by(f64::total_cmp);
    let mut distinct = sorted.clone();
    distinct.dedup();
    hold_estimate("time", &got["distinct"], distinct.len());
    assert_eq!(got["top"], Value::Null);
    let times = &got["times"];
    let seconds = |time: &Value| {
        let time = OffsetDateTime::parse(time.as_str().unwrap(), &Rfc3339).unwrap();
        time.unix_timestamp_nanos() as f64 / 1e9
    };
    assert_eq!(seconds(&times["min"]), sorted[0]);
    assert_eq!(seconds(&times["max"]), sorted[sorted.len() - 1]);
    assert_eq!(times["dates"], false);
    let error = times["quantile_error"].as_f64().unwrap();
    let quantiles: Vec<f64> = list(&times["quantiles"]).iter().map(seconds).collect();
    hold_quantiles("time", &quantiles, error, &sorted);
    hold_histogram("time", &times["histogram"], &quantiles, error, &sorted);
}
