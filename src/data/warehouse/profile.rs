//! The profile of rows in a warehouse: what [`crate::data::stats`] makes of files, with the same figures.
//!
//! Three rounds of queries, each over all rows; a round is cut into groups of columns, of which each is in one:
//! 1. `summary`: counts, ends, moments, and about how many different values a column has;
//! 2. `values`: the different values with their counts, or where they are too many the intervals of a quantile
//!    sketch and the frequent texts; `rows`: rows that are equal to others, and some rows as a sample;
//! 3. `label`: how often the levels of a column and of the label occur together; `pairs`: correlations, and columns
//!    that are alike in the sample held against each other in all rows.
//!
//! What is counted goes into the sketches that cells of files go into, and the figures are made of these. Distinct
//! counts, repeated rows and what both parts share are exact here, however many rows there are.

mod cells;
mod digits;
mod label;
mod pairs;
mod rows;
mod summary;
#[cfg(test)]
mod tests;
mod values;

use anyhow::{Context as _, Result, anyhow};

use super::column::{SqlType, TypedColumn};
use super::{Ask, Query, Relation, Rows};
use crate::data::cell::FIRST_ROUNDED;
use crate::data::stats::column::{Counted, Limits, Ordered};
use crate::data::stats::{Overlap, Profiled, SOME, Similar, figures};
use crate::workspace::table_profile::{Estimate, LabelFigures, TableProfile, ValueType};

/// Rows and what is to be known of them.
pub(crate) struct Wanted<'a> {
    pub relation: &'a Relation,
    /// The columns of the profile, in its order.
    pub columns: Vec<TypedColumn<'a>>,
    /// A BOOL that is never NULL: whether a row is in the test part. `None` where there are no parts.
    pub is_test: Option<&'a str>,
    /// The place of the column that the others are held against.
    pub label: Option<usize>,
    /// The places of the columns that tell a row of the test part from those of the training part.
    pub features: &'a [usize],
}

/// What was found out.
#[derive(Debug)]
pub(crate) struct WarehouseProfile {
    /// Of the training and of the test part, and what both hold, where there are parts.
    pub parts: Option<ProfiledParts>,
    pub whole: Profiled,
}

/// The profiles of both parts.
#[derive(Debug)]
pub(crate) struct ProfiledParts {
    pub train: TableProfile,
    pub test: TableProfile,
    pub overlap: Overlap,
}

/// Of everything that is counted: of all rows, of the training part, of the test part.
type Parts<T> = [T; 3];
const WHOLE: usize = 0;
const TRAIN: usize = 1;
const TEST: usize = 2;

/// A column of a part.
struct Part {
    counted: Counted,
    ordered: Ordered,
    /// Cells of minus and plus infinity.
    infinities: [u64; 2],
    /// Different values, about.
    about: u64,
    /// About how many intervals of [`summary::SHIFTS`] the keys of numbers or times fall into.
    intervals: Vec<u64>,
    /// Different values, where they were counted and not all were told.
    distinct: Option<u64>,
}

impl Part {
    fn new(limits: Limits) -> Self {
        Self {
            counted: Counted::new(limits),
            ordered: Ordered::new(limits),
            infinities: [0; 2],
            about: 0,
            intervals: Vec::new(),
            distinct: None,
        }
    }

    /// Whether numbers of a column may be others than the doubles they are counted as, as ids of 19 digits are: files
    /// tell these apart by their digits, so the hashes are not the same.
    fn loses_digits(&self, column: &Column) -> bool {
        let size = self.counted.min.abs().max(self.counted.max.abs());
        !column.is_float && size.is_finite() && size >= FIRST_ROUNDED
    }

    fn is_constant(&self) -> bool {
        let counted = &self.counted;
        let missing = counted.null + counted.empty + counted.nan;
        counted.count == 0 || (missing == 0 && self.about <= 1)
    }
}

/// A column in all parts.
struct Column {
    kind: ValueType,
    /// Whether its cells are FLOAT64.
    is_float: bool,
    parts: Parts<Part>,
    /// The share of the test part's different values that the training part has.
    shared: f64,
}

/// What is known of the rows so far.
struct Known {
    limits: Limits,
    rows: Parts<u64>,
    columns: Vec<Column>,
}

impl Known {
    fn new(columns: &[TypedColumn]) -> Self {
        let limits = Limits::of(columns.len());
        let column = |column: &TypedColumn| Column {
            kind: column.value_type(),
            is_float: column.column.sql_type == SqlType::Float64,
            parts: std::array::from_fn(|_| Part::new(limits)),
            shared: 0.0,
        };
        Self {
            limits,
            rows: [0; 3],
            columns: columns.iter().map(column).collect(),
        }
    }
}

/// A query whose answer `T` tells how to read.
struct Asked<T> {
    query: Query,
    of: T,
}

/// Profiles rows.
///
/// # Errors
/// When a query fails, or is not answered as it was asked.
pub(crate) async fn profile(wanted: &Wanted<'_>, ask: &impl Ask) -> Result<WarehouseProfile> {
    let mut known = Known::new(&wanted.columns);
    let summaries = summary::queries(wanted);
    let queries = summaries.iter().map(|asked| asked.query.clone());
    let answers = sent(queries.collect(), ask).await?;
    for (asked, rows) in summaries.iter().zip(answers) {
        known.summary(&asked.of, &rows)?;
    }
    for column in &mut known.columns {
        column.booleans();
    }
    let repeated = known.second_round(wanted, ask).await?;
    let (told, shares) = known.third_round(wanted, &repeated, ask).await?;
    let [whole, train, test] = [WHOLE, TRAIN, TEST].map(|part| {
        let labels = told.figures(part, &shares);
        known.profiled(wanted, part, labels, &repeated, &shares)
    });
    Ok(WarehouseProfile {
        parts: wanted.is_test.map(|_| ProfiledParts {
            train: train.profile,
            test: test.profile,
            overlap: Overlap {
                rows: exact(repeated.known_rows),
                values: known.columns.iter().map(|column| column.shared).collect(),
            },
        }),
        whole,
    })
}

impl Known {
    /// Counts the values of the columns, and the rows that are equal to others.
    async fn second_round(
        &mut self,
        wanted: &Wanted<'_>,
        ask: &impl Ask,
    ) -> Result<rows::Repeated> {
        let (values, scaled) = (self.value_queries(wanted), self.scaled_queries(wanted));
        let digits = self.digit_queries(wanted);
        let repeated = rows::query(wanted, self.rows[WHOLE]);
        let mut queries: Vec<Query> = Vec::new();
        queries.extend(values.iter().map(|asked| asked.query.clone()));
        queries.extend(scaled.iter().map(|asked| asked.query.clone()));
        queries.extend(digits.iter().map(|asked| asked.query.clone()));
        queries.extend(repeated.clone());
        let mut answers = sent(queries, ask).await?.into_iter();
        let mut next = || answers.next().context("fewer answers than queries");
        for asked in &values {
            self.values(&asked.of, &next()?)?;
        }
        for asked in &scaled {
            self.scaled(&asked.of, &next()?)?;
        }
        for asked in &digits {
            self.digits(&asked.of, &next()?)?;
        }
        match repeated {
            Some(_) => rows::Repeated::of(&next()?, wanted.columns.len()),
            None => Ok(rows::Repeated::default()),
        }
    }

    /// Holds columns against the label, and against each other.
    async fn third_round(
        &self,
        wanted: &Wanted<'_>,
        repeated: &rows::Repeated,
        ask: &impl Ask,
    ) -> Result<(label::Told, Vec<pairs::Share>)> {
        let levels = self.level_queries(wanted);
        let pairs = self.pair_queries(wanted, self.candidates(&repeated.sample));
        let mut queries: Vec<Query> = Vec::new();
        queries.extend(levels.iter().map(|asked| asked.query.clone()));
        queries.extend(pairs.iter().map(|asked| asked.query.clone()));
        let mut answers = sent(queries, ask).await?.into_iter();
        let mut next = || answers.next().context("fewer answers than queries");
        let mut told = label::Told::new(wanted.columns.len());
        for asked in &levels {
            told.levels(&asked.of, &next()?)?;
        }
        let mut shares = Vec::new();
        for asked in &pairs {
            shares.extend(pairs::shares(&asked.of, &next()?)?);
        }
        Ok((told, shares))
    }

    /// The record of a part.
    fn profiled(
        &self,
        wanted: &Wanted,
        part: usize,
        labels: Vec<Option<LabelFigures>>,
        repeated: &rows::Repeated,
        shares: &[pairs::Share],
    ) -> Profiled {
        let names = wanted.columns.iter().map(|typed| typed.column.name.clone());
        let names: Vec<String> = names.collect();
        let mut columns = Vec::new();
        for ((column, name), label) in self.columns.iter().zip(&names).zip(labels) {
            let Some(of) = column.parts.get(part) else {
                continue;
            };
            let mut figures = figures::figures(name, column.kind, &of.counted, &of.ordered);
            if let Some(distinct) = of.distinct {
                figures.distinct = exact(distinct);
                if let Some(sketch) = &mut figures.sketch {
                    sketch.hashes = None;
                }
            }
            if of.loses_digits(column)
                && let Some(sketch) = &mut figures.sketch
            {
                sketch.hashes = None;
            }
            figures.label = label;
            columns.push(figures);
        }
        let rows = self.rows.get(part).copied().unwrap_or(0);
        let similar = match rows < SOME as u64 {
            true => Vec::new(),
            false => self.similar(part, shares),
        };
        let profile = TableProfile {
            rows,
            duplicate_rows: exact(repeated.again.get(part).copied().unwrap_or(0)),
            similar: figures::similar(&similar, &names),
            columns,
            ..TableProfile::default()
        };
        Profiled { profile, similar }
    }

    /// The pairs of columns that are nearly the same in a part.
    fn similar(&self, part: usize, shares: &[pairs::Share]) -> Vec<Similar> {
        let constant = |n: usize| {
            let column = self.columns.get(n).and_then(|c| c.parts.get(part));
            column.is_none_or(Part::is_constant)
        };
        let similar = shares.iter().filter_map(|share| {
            let pair = share.pair.candidate?;
            let told = !constant(pair.first) && !constant(pair.second);
            let share = share.values.get(part).copied().flatten()?;
            told.then(|| pair.judged(share.abs())).flatten()
        });
        similar.collect()
    }
}

fn exact(count: u64) -> Estimate {
    Estimate { count, error: 0.0 }
}

/// Asks queries; an answer to each, in the same order.
async fn sent(queries: Vec<Query>, ask: &impl Ask) -> Result<Vec<Rows>> {
    match queries.is_empty() {
        true => Ok(Vec::new()),
        false => ask(queries).await,
    }
}

/// Groups of columns whose texts together are no longer than a query should be, and which are not too many.
fn groups<T>(items: Vec<T>, most: usize, length: impl Fn(&T) -> usize) -> Vec<Vec<T>> {
    /// In bytes: BigQuery reads up to a million, and what it makes of them may be twelve times that.
    const LONGEST: usize = 200_000;
    let mut groups: Vec<Vec<T>> = Vec::new();
    let mut used = 0;
    for item in items {
        let length = length(&item);
        used += length;
        match groups.last_mut() {
            Some(group) if used <= LONGEST && group.len() < most => group.push(item),
            _ => {
                used = length;
                groups.push(vec![item]);
            }
        }
    }
    groups
}

/// The cells of a row of an answer, one after the other.
struct Cells<'a> {
    cells: std::slice::Iter<'a, Option<String>>,
}

impl<'a> Cells<'a> {
    fn of(row: &'a [Option<String>]) -> Self {
        Self { cells: row.iter() }
    }

    fn text(&mut self) -> Result<Option<&'a str>> {
        let cell = self.cells.next().ok_or_else(unasked)?;
        Ok(cell.as_deref())
    }

    fn parsed<T: std::str::FromStr>(&mut self) -> Result<Option<T>> {
        let parsed = |text: &str| text.parse().map_err(|_| unasked());
        self.text()?.map(parsed).transpose()
    }

    /// A count; NULL is 0, as SQL has it for the sum of nothing.
    fn count(&mut self) -> Result<u64> {
        Ok(self.parsed()?.unwrap_or(0))
    }

    /// Which part a row of a query with `ROLLUP(t)` is about.
    fn part(&mut self) -> Result<usize> {
        match self.text()? {
            None => Ok(WHOLE),
            Some("false") => Ok(TRAIN),
            Some("true") => Ok(TEST),
            Some(_) => Err(unasked()),
        }
    }
}

fn unasked() -> anyhow::Error {
    anyhow!("a query of the profile was answered otherwise than it was asked")
}
