//! The first round: what is counted of a column cell by cell.

use anyhow::Result;

use super::{Asked, Cells, Known, Part, TEST, TRAIN, WHOLE, Wanted, cells, groups};
use crate::data::sketch::Moments;
use crate::data::warehouse::column::{
    SqlType, TypedColumn, boolean_of_text, number_of_text, time_of_text, trimmed,
};
use crate::data::warehouse::{Query, Rows};
use crate::workspace::table_profile::ValueType;

/// By how many of their lowest bits the keys of numbers and times are cut off, to see how many intervals that gives.
pub(super) const SHIFTS: [u32; 9] = [6, 12, 18, 24, 30, 36, 42, 48, 54];

/// How many columns a query is about.
const COLUMNS: usize = 40;

/// Numbers up to this size have squares that can be summed up.
const LARGE: f64 = 1e100;
const SMALL: f64 = 1e-100;

/// A column's part of a query.
struct Piece {
    n: usize,
    kind: ValueType,
    /// Fields of the rows, and fields made of these.
    fields: Vec<String>,
    more: Vec<String>,
    figures: Vec<String>,
}

/// The queries, each of columns by their places.
pub(super) fn queries(wanted: &Wanted) -> Vec<Asked<Vec<usize>>> {
    let columns = wanted.columns.iter().enumerate();
    let pieces = columns.filter_map(|(n, typed)| piece(wanted, n, *typed));
    let length = |piece: &Piece| {
        let texts = [&piece.fields, &piece.more, &piece.figures].into_iter();
        1000 + texts.flatten().map(String::len).sum::<usize>()
    };
    let mut groups = groups(pieces.collect(), COLUMNS, length);
    if groups.is_empty() {
        // The rows are counted in any case.
        groups.push(Vec::new());
    }
    groups.iter().map(|group| asked(wanted, group)).collect()
}

fn asked(wanted: &Wanted, group: &[Piece]) -> Asked<Vec<usize>> {
    let all = |of: fn(&Piece) -> &Vec<String>| -> Vec<String> {
        group.iter().flat_map(|piece| of(piece).clone()).collect()
    };
    let rows = cells::rows(wanted, &all(|piece| &piece.fields));
    let numbers = group.iter().filter(|p| p.kind == ValueType::Number);
    let numbers: Vec<usize> = numbers.map(|piece| piece.n).collect();
    let rows = cells::with_keys(&rows, &numbers);
    let rows = cells::with(&rows, &all(|piece| &piece.more));
    let mut figures = vec!["t".to_owned(), "COUNT(*)".to_owned()];
    figures.extend(all(|piece| &piece.figures));
    Asked {
        query: Query {
            purpose: "the figures of columns".to_owned(),
            sql: format!(
                "SELECT {}\nFROM {rows}\nGROUP BY ROLLUP(t)",
                figures.join(",\n  ")
            ),
        },
        of: group.iter().map(|piece| piece.n).collect(),
    }
}

fn piece(wanted: &Wanted, n: usize, typed: TypedColumn) -> Option<Piece> {
    let kind = typed.value_type();
    let mut fields = vec![cells::value(wanted, n)?];
    let value = cells::name(kind, n);
    let mut figures = vec![format!("COUNT({value})")];
    for (name, flag) in [("empty", typed.is_empty()), ("nan", typed.is_nan())] {
        if flag == "FALSE" {
            figures.push("0".to_owned());
        } else {
            fields.push(format!("{flag} AS {name}{n}"));
            figures.push(format!("COUNTIF({name}{n})"));
        }
    }
    let mut more = Vec::new();
    match kind {
        ValueType::Number => {
            more.push(format!("IF(IS_INF(v{n}), NULL, v{n}) AS f{n}"));
            figures.extend(number_figures(n));
        }
        ValueType::Boolean => figures.push(format!("COUNTIF(v{n})")),
        ValueType::Time => {
            let times_of_day = match typed.column.sql_type {
                SqlType::Date => "0".to_owned(),
                SqlType::DateTime | SqlType::Timestamp => {
                    format!("COUNTIF(MOD(k{n}, 86400000000) != 0)")
                }
                _ => {
                    let text = trimmed(&typed.column.text(false));
                    fields.push(format!("CHAR_LENGTH({text}) AS l{n}"));
                    format!("COUNTIF(k{n} IS NOT NULL AND l{n} > 10)")
                }
            };
            figures.extend([format!("MIN(k{n})"), format!("MAX(k{n})"), times_of_day]);
        }
        ValueType::Text => {
            more.push(format!("CHAR_LENGTH(v{n}) AS l{n}"));
            figures.extend(text_figures(n));
        }
    }
    match kind {
        ValueType::Number | ValueType::Time => figures.extend(interval_figures(n)),
        ValueType::Text => figures.push(format!("APPROX_COUNT_DISTINCT(v{n})")),
        ValueType::Boolean => {}
    }
    Some(Piece {
        n,
        kind,
        fields,
        more,
        figures,
    })
}

fn number_figures(n: usize) -> [String; 9] {
    let summed = format!("IF(ABS(f{n}) < {}, f{n}, NULL)", cells::number(LARGE));
    [
        format!("MIN(f{n})"),
        format!("MAX(f{n})"),
        format!("AVG({summed})"),
        format!("VAR_SAMP({summed})"),
        format!("COUNTIF(f{n} = 0)"),
        format!("COUNTIF(f{n} < 0)"),
        format!("COUNTIF(IS_INF(v{n}) AND v{n} < 0)"),
        format!("COUNTIF(IS_INF(v{n}) AND v{n} > 0)"),
        format!("COUNTIF(f{n} != TRUNC(f{n}))"),
    ]
}

fn text_figures(n: usize) -> [String; 7] {
    let text = format!("v{n}");
    [
        format!("SUM(l{n})"),
        format!("MIN(l{n})"),
        format!("MAX(l{n})"),
        format!("COUNTIF({} IS NOT NULL)", number_of_text(&text, true)),
        format!("COUNTIF({} IS NOT NULL)", boolean_of_text(&text)),
        format!("COUNTIF({} IS NOT NULL)", time_of_text(&text)),
        format!("COUNTIF(REGEXP_CONTAINS({text}, r'^[ \\t]|[ \\t]$'))"),
    ]
}

fn interval_figures(n: usize) -> Vec<String> {
    let cut = SHIFTS.map(|shift| format!("APPROX_COUNT_DISTINCT(k{n} & {})", mask(shift)));
    std::iter::once(format!("APPROX_COUNT_DISTINCT(k{n})"))
        .chain(cut)
        .collect()
}

/// What cuts off so many of the lowest bits.
pub(super) fn mask(shift: u32) -> i64 {
    -1 << shift.min(62)
}

impl Known {
    /// Takes in the answer about these columns.
    pub(super) fn summary(&mut self, columns: &[usize], rows: &Rows) -> Result<()> {
        for row in rows {
            let mut cells = Cells::of(row);
            let part = cells.part()?;
            let count = cells.count()?;
            if let Some(rows) = self.rows.get_mut(part) {
                *rows = count;
            }
            for n in columns {
                if let Some(column) = self.columns.get_mut(*n)
                    && let Some(part) = column.parts.get_mut(part)
                {
                    part.summary(column.kind, count, &mut cells)?;
                }
            }
        }
        Ok(())
    }
}

impl Part {
    fn summary(&mut self, kind: ValueType, rows: u64, cells: &mut Cells) -> Result<()> {
        let counted = &mut self.counted;
        counted.count = cells.count()?;
        counted.empty = cells.count()?;
        counted.nan = cells.count()?;
        counted.null = rows.saturating_sub(counted.count + counted.empty + counted.nan);
        match kind {
            ValueType::Number => self.number_summary(cells)?,
            ValueType::Boolean => {
                counted.trues = cells.count()?;
                let falses = counted.count.saturating_sub(counted.trues);
                self.about = u64::from(counted.trues > 0) + u64::from(falses > 0);
            }
            ValueType::Time => {
                counted.first = cells.parsed()?.unwrap_or(i64::MAX);
                counted.last = cells.parsed()?.unwrap_or(i64::MIN);
                counted.dates = cells.count()? == 0;
            }
            ValueType::Text => {
                counted.lengths = cells.count()?;
                counted.shortest = cells.parsed()?.unwrap_or(u64::MAX);
                counted.longest = cells.count()?;
                counted.like_number = cells.count()?;
                counted.like_boolean = cells.count()?;
                counted.like_time = cells.count()?;
                counted.padded = cells.count()?;
            }
        }
        if kind != ValueType::Boolean {
            self.about = cells.count()?;
        }
        if matches!(kind, ValueType::Number | ValueType::Time) {
            let intervals = SHIFTS.iter().map(|_| cells.count());
            self.intervals = intervals.collect::<Result<_>>()?;
        }
        if kind == ValueType::Number {
            // The keys are those of finite numbers.
            self.about += self.infinities.iter().filter(|n| **n > 0).count() as u64;
        }
        Ok(())
    }

    fn number_summary(&mut self, cells: &mut Cells) -> Result<()> {
        let counted = &mut self.counted;
        counted.min = cells.parsed()?.unwrap_or(f64::INFINITY);
        counted.max = cells.parsed()?.unwrap_or(f64::NEG_INFINITY);
        let mean: f64 = cells.parsed()?.unwrap_or(0.0);
        let variance: f64 = cells.parsed()?.unwrap_or(0.0);
        counted.zeros = cells.count()?;
        counted.negatives = cells.count()?;
        self.infinities = [cells.count()?, cells.count()?];
        counted.infinite = self.infinities.iter().sum();
        counted.whole = cells.count()? == 0;
        self.moments(mean, variance.max(0.0).sqrt());
        Ok(())
    }

    /// Notes the moments of the finite numbers.
    fn moments(&mut self, mean: f64, deviation: f64) {
        let counted = &self.counted;
        let finite = counted.count.saturating_sub(counted.infinite);
        let (mean, deviation) = match counted.min == counted.max {
            true => (counted.min, 0.0),
            false => (mean, deviation.min(f64::MAX)),
        };
        self.ordered.moments = Moments::from_figures(finite, mean, deviation);
    }

    /// The size of the largest finite number; 0 where there is none.
    fn size(&self) -> f64 {
        let counted = &self.counted;
        match counted.min <= counted.max {
            true => counted.min.abs().max(counted.max.abs()),
            false => 0.0,
        }
    }

    /// A power of two by which the numbers are to be divided before they are multiplied; 1 for most.
    pub(super) fn scale(&self) -> f64 {
        match self.size() {
            0.0 => 1.0,
            size if (SMALL..LARGE).contains(&size) => 1.0,
            size => 2.0_f64.powi((size.log2().floor() as i32).max(-1000)),
        }
    }
}

/// A column by its place, whose numbers are divided by `scale`, and of which `middle` is taken off then.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Scaled {
    n: usize,
    scale: f64,
    middle: f64,
}

/// Numbers whose mean is more than so many of their deviations away from zero lose digits when their squares are summed
/// up as they are.
const FAR: f64 = 1000.0;

impl Known {
    /// The moments of numbers that are too large, too small or too far from zero to be multiplied as they are.
    pub(super) fn scaled_queries(&self, wanted: &Wanted) -> Vec<Asked<Vec<Scaled>>> {
        let columns = self.columns.iter().enumerate();
        let numbers = columns.filter(|(_, column)| column.kind == ValueType::Number);
        let scaled = numbers.filter_map(|(n, column)| {
            let whole = &column.parts[WHOLE];
            let (scale, moments) = (whole.scale(), &whole.ordered.moments);
            let far = moments.mean().abs() > FAR * moments.standard_deviation();
            let middle = match scale == 1.0 && far {
                true => moments.mean(),
                false => 0.0,
            };
            let varies = whole.counted.min < whole.counted.max;
            let scaled = Scaled { n, scale, middle };
            (varies && (scale != 1.0 || middle != 0.0)).then_some(scaled)
        });
        let scaled: Vec<Scaled> = scaled.collect();
        let groups = groups(scaled, COLUMNS, |_| 1000).into_iter();
        let asked = groups.map(|group| {
            let fields: Vec<String> = group
                .iter()
                .filter_map(|scaled| cells::value(wanted, scaled.n))
                .collect();
            let figures = group.iter().map(|Scaled { n, scale, middle }| {
                let (scale, middle) = (cells::number(*scale), cells::number(*middle));
                let scaled = format!("IF(IS_INF(v{n}), NULL, v{n}) / {scale} - ({middle})");
                format!("AVG({scaled}), VAR_SAMP({scaled})")
            });
            let figures: Vec<String> = figures.collect();
            let rows = cells::rows(wanted, &fields);
            Asked {
                query: Query {
                    purpose: "the moments of very large, very small and far numbers".to_owned(),
                    sql: format!(
                        "SELECT t, {}\nFROM {rows}\nGROUP BY ROLLUP(t)",
                        figures.join(", ")
                    ),
                },
                of: group,
            }
        });
        asked.collect()
    }

    /// Takes in the answer about these columns.
    pub(super) fn scaled(&mut self, columns: &[Scaled], rows: &Rows) -> Result<()> {
        for row in rows {
            let mut cells = Cells::of(row);
            let part = cells.part()?;
            for Scaled { n, scale, middle } in columns {
                let mean: f64 = cells.parsed()?.unwrap_or(0.0);
                let variance: f64 = cells.parsed()?.unwrap_or(0.0);
                let column = self.columns.get_mut(*n);
                if let Some(part) = column.and_then(|column| column.parts.get_mut(part)) {
                    part.moments((mean + middle) * scale, variance.max(0.0).sqrt() * scale);
                }
            }
        }
        Ok(())
    }
}

/// The counts of a part, of those of the training and of the test part.
pub(super) fn in_parts(train: u64, test: u64) -> [(usize, u64); 3] {
    [(WHOLE, train + test), (TRAIN, train), (TEST, test)]
}
