//! Rows of a table in memory: a whole one, or a stretch of one that is read through.

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

use anyhow::Result;

use super::batch::{BadRow, Batch, NULL, Nulls, Places, RowPlace, Texts, Values, is_null};
use super::cell::{self, Cell};
use super::findings::Origin;
use super::scan::{Reading, scan};
use super::sequencer::Sequencer;
use super::stats::{self, Misfit, widened};
use super::{read, types};
use crate::error::Input;
use crate::workspace::records::ColumnType;
use crate::workspace::table_profile::{Forced, ValueType};

/// How many malformed rows of a table are told one by one.
const BAD_ROWS: usize = 10;

/// In microseconds.
const DAY: i64 = 24 * 3600 * 1_000_000;

/// What the cells of a column are taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    /// None where no cell holds a value.
    pub values: stats::Kind,
    /// The schema says so: a cell that does not fit is told, and does not change the type.
    pub declared: bool,
    /// Typed times are told as dates, because all of them are.
    pub dates: bool,
}

impl Kind {
    /// The type that all of these cells fit, or the declared one.
    pub(crate) fn of(values: &Values, declared: Option<ColumnType>) -> Self {
        let dates = first_time_of_day(values).is_none();
        Self::with(stats::guess(values), declared, dates)
    }

    /// The declared type, or what all cells fit, which `guess` is.
    pub(crate) fn with(guess: stats::Kind, declared: Option<ColumnType>, dates: bool) -> Self {
        let kind = match declared {
            None => guess,
            Some(ColumnType::Number) => Some(ValueType::Number),
            Some(ColumnType::Boolean) => Some(ValueType::Boolean),
            Some(ColumnType::Category) if guess == Some(ValueType::Time) => Some(ValueType::Time),
            Some(ColumnType::Category) => Some(ValueType::Text),
        };
        Self {
            values: kind,
            declared: declared.is_some(),
            dates,
        }
    }

    /// The same where a cell does not fit it.
    pub(crate) fn widened(self, cell: &str) -> Self {
        Self {
            values: Some(widened(self.values, cell)),
            ..self
        }
    }

    /// The type as a snapshot has it.
    pub(crate) fn column_type(self) -> ColumnType {
        match self.values {
            Some(ValueType::Number) => ColumnType::Number,
            Some(ValueType::Boolean) => ColumnType::Boolean,
            Some(ValueType::Time | ValueType::Text) | None => ColumnType::Category,
        }
    }
}

/// The first typed time that is not the beginning of a day.
fn first_time_of_day(values: &Values) -> Option<usize> {
    let Values::Times(times, nulls) = values else {
        return None;
    };
    let mut times = times.iter().enumerate();
    let (row, _) = times.find(|(row, time)| time.rem_euclid(DAY) != 0 && !is_null(nulls, *row))?;
    Some(row)
}

/// The cells of a column, taken for a type.
#[derive(Clone, Debug)]
pub(crate) struct Column {
    pub name: String,
    pub kind: Kind,
    /// As they were read.
    read: Values,
    /// As a snapshot keeps them, where that is another way: numbers and booleans that were read as texts,
    /// and the texts of a category that were read as something else.
    kept: Option<Values>,
    /// Rows whose cell does not fit the type, in order.
    pub misfits: Vec<usize>,
    /// Rows with a number that loses digits because it has more than a double holds.
    pub rounded: Vec<usize>,
    /// The first row with a time of day among what was taken for dates.
    pub time_of_day: Option<usize>,
    /// Rows without a value.
    pub missing: usize,
    /// The cell that makes it one of texts, in a table that is in memory as a whole.
    pub forced: Option<Forced>,
}

impl Column {
    pub(crate) fn new(name: String, read: Values, kind: Kind) -> Self {
        let mut column = Self {
            name,
            kind,
            time_of_day: kind.dates.then(|| first_time_of_day(&read)).flatten(),
            read,
            kept: None,
            misfits: Vec::new(),
            rounded: Vec::new(),
            missing: 0,
            forced: None,
        };
        match kind.column_type() {
            ColumnType::Number => column.take_numbers(),
            ColumnType::Boolean => column.take_booleans(),
            ColumnType::Category => column.take_texts(),
        }
        column
    }

    /// A cell of a column elsewhere, which is null without a text.
    pub(crate) fn example(name: &str, cell: Option<&str>, kind: Kind) -> Self {
        let texts = Texts::of([cell.map(Cow::Borrowed)].into_iter());
        Self::new(
            name.to_owned(),
            Values::Texts(texts.unwrap_or_default()),
            kind,
        )
    }

    fn take_numbers(&mut self) {
        if let Values::Numbers(numbers, nulls) = &self.read {
            let mut nulls = flags(nulls);
            let missing = numbers.iter().filter(|x| nulls() || x.is_nan());
            self.missing = missing.count();
            return;
        }
        // What the schema does not say may still turn out to be a name, such as the postal code 01069.
        let padded_fit = self.kind.declared;
        self.kept = Some(
            self.parsed(Values::Numbers, f64::NAN, |text| match cell::number(text) {
                Cell::Value(_) if !padded_fit && cell::is_padded(text) => Cell::Misfit,
                number => number,
            }),
        );
        if let (Values::Texts(texts), Some(Values::Numbers(numbers, _))) = (&self.read, &self.kept)
        {
            let long = |(row, x): (usize, &f64)| {
                let text = texts.get(row)?;
                cell::long_digits(*x, text).map(|_| row)
            };
            self.rounded = numbers.iter().enumerate().filter_map(long).collect();
        }
    }

    fn take_booleans(&mut self) {
        if let Values::Booleans(booleans, nulls) = &self.read {
            let mut nulls = flags(nulls);
            self.missing = booleans.iter().filter(|_| nulls()).count();
            return;
        }
        self.kept = Some(self.parsed(Values::Booleans, false, cell::boolean));
    }

    /// Parses every cell, and notes those that are missing or do not fit.
    fn parsed<T: Copy>(
        &mut self,
        values: fn(Vec<T>, Nulls) -> Values,
        null: T,
        parse: impl Fn(&[u8]) -> Cell<T>,
    ) -> Values {
        let rows = self.read.len();
        let mut found = Vec::with_capacity(rows);
        let mut nulls: Nulls = None;
        for row in 0..rows {
            let cell = match &self.read {
                Values::Texts(texts) => texts.get(row).map(&parse),
                typed => typed.text(row, false).map(|_| Cell::Misfit),
            };
            if let Some(Cell::Value(value)) = cell {
                found.push(value);
                continue;
            }
            match cell {
                Some(Cell::Misfit) => self.misfits.push(row),
                _ => self.missing += 1,
            }
            found.push(null);
            let nulls = nulls.get_or_insert_with(|| vec![false; rows]);
            if let Some(null) = nulls.get_mut(row) {
                *null = true;
            }
        }
        values(found, nulls)
    }

    fn take_texts(&mut self) {
        let Values::Texts(texts) = &self.read else {
            let texts = (0..self.read.len()).map(|row| self.read.text(row, self.kind.dates));
            let texts = Texts::of(texts).unwrap_or_default();
            let nulls = texts.spans.iter().filter(|s| **s == NULL);
            self.missing = nulls.count();
            if self.kind.values.is_none() && self.missing < texts.len() {
                let value = texts.spans.iter().position(|s| *s != NULL);
                self.misfits.extend(value);
            }
            self.kept = Some(Values::Texts(texts));
            return;
        };
        // Null has no length either.
        self.missing = texts.spans.iter().filter(|(a, b)| a == b).count();
        if self.kind.values.is_none() {
            let value = |row: &usize| {
                let cell = texts.get(*row).map(cell::number);
                matches!(cell, Some(Cell::Value(_) | Cell::Misfit))
            };
            self.misfits.extend((0..texts.len()).find(value));
        }
    }

    /// The cells as a snapshot keeps them.
    pub(crate) fn kept(&self) -> &Values {
        self.kept.as_ref().unwrap_or(&self.read)
    }

    /// The cell as it was written, empty where it is null.
    pub(crate) fn text(&self, row: usize) -> Cow<'_, str> {
        self.read.text(row, self.kind.dates).unwrap_or_default()
    }

    /// The cell's text where it has a value.
    pub(crate) fn value(&self, row: usize) -> Option<Cow<'_, str>> {
        let text = self.read.text(row, self.kind.dates)?;
        (!types::is_missing(self.kind.column_type(), &text)).then_some(text)
    }

    /// The cell's number, in a column of numbers.
    pub(crate) fn number(&self, row: usize) -> Option<f64> {
        let Values::Numbers(numbers, nulls) = self.kept() else {
            return None;
        };
        let number = numbers.get(row).copied();
        number.filter(|x| !is_null(nulls, row) && !x.is_nan())
    }

    pub(crate) fn rows(&self) -> usize {
        self.read.len()
    }
}

/// Tells of one row after the other whether it is null.
fn flags(nulls: &Nulls) -> impl FnMut() -> bool + '_ {
    let mut flags = nulls.iter().flatten();
    move || flags.next() == Some(&true)
}

/// Where the rows of a table stand.
#[derive(Clone, Debug, Default)]
struct Rows {
    lines: Vec<u64>,
    /// The files in order, each with the place of its first row.
    files: Vec<(usize, Arc<str>)>,
}

impl Rows {
    /// Adds the rows of a batch.
    fn push(&mut self, places: &Places, rows: usize) {
        let known = self.files.last();
        if known.is_none_or(|(_, file)| *file != places.file) {
            self.files.push((self.lines.len(), places.file.clone()));
        }
        self.lines.extend((0..rows).map(|row| places.get(row)));
    }

    fn place(&self, row: usize) -> Option<(&Arc<str>, u64)> {
        let line = *self.lines.get(row)?;
        let after = self.files.partition_point(|(first, _)| *first <= row);
        let (_, file) = self.files.get(after.checked_sub(1)?)?;
        Some((file, line))
    }
}

/// Rows of a table.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    /// Its name in `serin.yaml`.
    pub name: String,
    /// Its place, as messages show it: a file, or what stands for several.
    pub path: String,
    pub columns: Vec<Column>,
    rows: Rows,
    /// The first malformed rows, which are left out, and how many there are.
    pub bad_rows: Vec<BadRow>,
    pub bad_row_count: u64,
}

impl Table {
    /// The rows of a batch, none without one; its columns called `names` and taken for `kinds`.
    pub(crate) fn stretch(
        name: &str,
        path: &str,
        names: &[String],
        kinds: &[Kind],
        batch: Option<Batch>,
    ) -> Self {
        let mut table = Self {
            name: name.to_owned(),
            path: path.to_owned(),
            columns: Vec::with_capacity(names.len()),
            rows: Rows::default(),
            bad_rows: Vec::new(),
            bad_row_count: 0,
        };
        let mut columns = Vec::new();
        if let Some(batch) = batch {
            table.rows.push(&batch.places, batch.rows);
            table.bad_rows = batch.bad_rows;
            table.bad_row_count = batch.bad_row_count;
            columns = batch.columns;
        }
        columns.resize(names.len(), Values::Texts(Texts::default()));
        for ((name, kind), values) in names.iter().zip(kinds).zip(columns) {
            table.columns.push(Column::new(name.clone(), values, *kind));
        }
        table
    }

    /// A table of one row that stands nowhere: cells of a table elsewhere that are told.
    pub(crate) fn example(origin: Origin, columns: Vec<Column>) -> Self {
        Self {
            name: origin.table.to_owned(),
            path: origin.path.to_owned(),
            columns,
            rows: Rows {
                lines: vec![0],
                files: Vec::new(),
            },
            bad_rows: Vec::new(),
            bad_row_count: 0,
        }
    }

    /// Reads a table whole, its columns taken for the types that `declared` tells for their names, else for
    /// those that all of their cells fit.
    ///
    /// # Errors
    /// [`Input`] when a file cannot be read to its end, or the texts of a column are more than fits.
    pub(crate) fn read(
        name: &str,
        path: &str,
        table: &read::Table,
        declared: impl Fn(&str) -> Option<ColumnType>,
    ) -> Result<Self> {
        let batches: Sequencer<Vec<Batch>> = Sequencer::new(0, 1, Vec::new());
        let work = |(): &mut (), batch: Batch| {
            batches.run(batch.index, |batches| batches.push(batch));
            Ok(())
        };
        scan(table, &Reading::default(), || (), work, || batches.stop())?;
        let mut batches = batches.into_inner();
        let mut rows = Rows::default();
        let (mut bad_rows, mut bad_row_count) = (Vec::new(), 0);
        for batch in &mut batches {
            rows.push(&batch.places, batch.rows);
            bad_row_count += batch.bad_row_count;
            bad_rows.append(&mut batch.bad_rows);
        }
        bad_rows.truncate(BAD_ROWS);
        let mut columns = Vec::new();
        for (n, name) in table.columns().iter().enumerate() {
            let parts = batches.iter_mut().filter_map(|b| b.columns.get_mut(n));
            let none = || Values::Texts(Texts::default());
            let parts: Vec<Values> = parts.map(|part| std::mem::replace(part, none())).collect();
            let dates = parts.iter().all(|part| first_time_of_day(part).is_none());
            let values = Values::concat(&parts, dates).ok_or_else(|| {
                Input::new(format!(
                    "column `{}` holds more than 4 GiB of text",
                    crate::printable::shown(name)
                ))
                .at_file(Path::new(path))
                .hint("only the first table of `data.tables` may be so large")
            })?;
            let kind = Kind::of(&values, declared(name));
            let forced = (!kind.declared)
                .then(|| stats::forced(&values, kind.values))
                .flatten();
            let mut column = Column::new(name.clone(), values, kind);
            column.forced = forced.and_then(|(row, before)| {
                let (file, line) = rows.place(row)?;
                let place = RowPlace { file, line };
                let misfit = Misfit {
                    place: place.to_string(),
                    value: column.text(row).into_owned(),
                };
                Some(misfit.forced(before))
            });
            columns.push(column);
        }
        Ok(Self {
            name: name.to_owned(),
            path: path.to_owned(),
            columns,
            rows,
            bad_rows,
            bad_row_count,
        })
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows.lines.len()
    }

    /// The place of a column among the columns.
    pub(crate) fn find(&self, column: &str) -> Option<usize> {
        self.columns.iter().position(|c| c.name == column)
    }

    /// Where a row stands.
    pub(crate) fn place(&self, row: usize) -> Option<RowPlace<'_>> {
        let (file, line) = self.rows.place(row)?;
        Some(RowPlace { file, line })
    }

    /// The same with a file that outlives the table.
    pub(super) fn kept_place(&self, row: usize) -> Option<(Arc<str>, u64)> {
        let (file, line) = self.rows.place(row)?;
        Some((file.clone(), line))
    }

    pub(crate) fn origin(&self) -> Origin<'_> {
        Origin {
            table: &self.name,
            path: &self.path,
        }
    }
}

/// What is known of a table when all of its rows were seen.
#[derive(Clone, Debug)]
pub(crate) struct Totals {
    pub name: String,
    pub path: String,
    pub columns: Vec<ColumnTotals>,
    pub rows: u64,
    /// The first malformed rows, at most ten, and how many there are.
    pub bad_rows: Vec<BadRow>,
    pub bad_row_count: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct ColumnTotals {
    pub name: String,
    /// Rows without a value, as the schema's rule for the column sees them.
    pub missing: u64,
}

impl Totals {
    /// Of a table without rows.
    pub(crate) fn new<'a>(
        name: &str,
        path: &str,
        columns: impl Iterator<Item = &'a String>,
    ) -> Self {
        let columns = columns.cloned();
        let columns = columns.map(|name| ColumnTotals { name, missing: 0 });
        Self {
            name: name.to_owned(),
            path: path.to_owned(),
            columns: columns.collect(),
            rows: 0,
            bad_rows: Vec::new(),
            bad_row_count: 0,
        }
    }

    /// Adds the rows that come next. `missing` are a column's rows without a value.
    pub(super) fn add(&mut self, table: &Table, missing: &[u64]) {
        self.rows += table.rows() as u64;
        for (column, more) in self.columns.iter_mut().zip(missing) {
            column.missing += more;
        }
        let room = BAD_ROWS.saturating_sub(self.bad_rows.len());
        let told = table.bad_rows.iter().take(room);
        self.bad_rows.extend(told.cloned());
        self.bad_row_count += table.bad_row_count;
    }

    pub(crate) fn origin(&self) -> Origin<'_> {
        Origin {
            table: &self.name,
            path: &self.path,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::data::batch::BadRowKind;
    use crate::data::read::{Dialect, File};

    /// A table from CSV text, its types inferred.
    pub(crate) fn table(name: &str, text: &str) -> Table {
        declared(name, text, |_| None)
    }

    /// A table from CSV text, with the types that a schema declares.
    pub(crate) fn declared(
        name: &str,
        text: &str,
        declared: impl Fn(&str) -> Option<ColumnType>,
    ) -> Table {
        let path = format!("data/{name}.csv");
        let (_file, found) = opened(text, &path);
        Table::read(name, &path, &found, declared).unwrap()
    }

    /// CSV text as a table that was opened, as long as its file is kept.
    pub(crate) fn opened(text: &str, shown: &str) -> (tempfile::NamedTempFile, read::Table) {
        let mut written = tempfile::NamedTempFile::new().unwrap();
        written.write_all(text.as_bytes()).unwrap();
        let file = File {
            path: written.path().to_owned(),
            shown: shown.into(),
        };
        let found = read::Table::open(vec![file], &Dialect::default()).unwrap();
        (written, found)
    }

    #[test]
    fn a_column_knows_its_misfits_and_missing_cells() {
        let table = declared("a", "a\n1\nNA\nx\n", |_| Some(ColumnType::Number));
        let column = &table.columns[0];
        assert_eq!((&column.misfits[..], column.missing), (&[2][..], 1));
        assert_eq!(column.value(0).as_deref(), Some("1"));
        assert_eq!((column.value(1), column.number(2)), (None, None));
        assert_eq!(column.text(2), "x");
    }

    #[test]
    fn cells_come_by_column_and_bad_rows_apart() {
        let table = table("a", "a,b\n1,x\n2\n\"3\"3,y\n4,z,z\n5,\n");
        let texts = |c: &Column| (0..c.rows()).map(|r| c.text(r).into_owned()).collect();
        let texts: Vec<Vec<String>> = table.columns.iter().map(texts).collect();
        assert_eq!(texts, [["1", "5"], ["x", ""]]);
        let bad: Vec<_> = table.bad_rows.iter().map(|b| (b.line, &b.why)).collect();
        let expected = [
            (3, &BadRowKind::Fields(1)),
            (4, &BadRowKind::Misquoted),
            (5, &BadRowKind::Fields(3)),
        ];
        assert_eq!(bad, expected);
        assert_eq!(table.bad_row_count, 3);
    }

    fn kept(values: &Values, declared: Option<ColumnType>) -> Vec<String> {
        let kind = Kind::of(values, declared);
        let column = Column::new("c".to_owned(), values.clone(), kind);
        let cell = |row| column.kept().text(row, false).unwrap_or("-".into());
        (0..column.rows())
            .map(|row| cell(row).into_owned())
            .collect()
    }

    #[test]
    fn a_snapshot_keeps_typed_cells_by_their_type() {
        let nulls = Some(vec![false, true, false]);
        let days = Values::Times(vec![0, 1, 31 * DAY], nulls.clone());
        assert_eq!(kept(&days, None), ["1970-01-01", "-", "1970-02-01"]);
        let times = Values::Times(vec![0, 1, DAY + 500_000], nulls.clone());
        let expected = ["1970-01-01T00:00:00Z", "-", "1970-01-02T00:00:00.5Z"];
        assert_eq!(kept(&times, None), expected);
        let numbers = Values::Numbers(vec![1.5, 0.0, f64::NAN], nulls);
        assert_eq!(kept(&numbers, None), ["1.5", "-", "-"]);
        let category = Some(ColumnType::Category);
        assert_eq!(kept(&numbers, category), ["1.5", "-", "-"]);
        let flags = Values::Booleans(vec![true, false], None);
        assert_eq!(kept(&flags, Some(ColumnType::Number)), ["-", "-"]);
    }

    #[test]
    fn a_type_is_what_every_cell_fits() {
        let kind = |texts: &[&str]| {
            let texts = texts.iter().map(|text| Some(Cow::Borrowed(*text)));
            let values = Values::Texts(Texts::of(texts).unwrap());
            Kind::of(&values, None).column_type()
        };
        assert_eq!(kind(&["1", "", "-2.5e3", "NA", " 3 "]), ColumnType::Number);
        assert_eq!(kind(&["true", "FALSE", "null"]), ColumnType::Boolean);
        assert_eq!(kind(&["1", "two"]), ColumnType::Category);
        assert_eq!(kind(&["1", "true"]), ColumnType::Category);
        assert_eq!(kind(&["", "NA"]), ColumnType::Category);
        assert_eq!(kind(&["01069", "10115"]), ColumnType::Category);
        assert_eq!(kind(&["0", "0.5", "-0"]), ColumnType::Number);
    }
}
