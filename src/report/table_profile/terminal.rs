//! The profile for a terminal or a log: a line a column, and one column in full.

use std::collections::BTreeMap;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::bins::spread;
use super::remarks::{self, HEAVY, Remark};
use super::{error_of, estimate, minute, missing, of_the_table, value};
use crate::printable::{percent, word};
use crate::report::number;
use crate::report::terminal::{Screen, plain};
use crate::workspace::table_profile::{ColumnFigures, Histogram, NumberFigures, TableProfile};

/// More columns than this scroll away what matters.
const MOST_COLUMNS: usize = 40;
/// More remarks of a kind than this hide those of another.
const MOST_OF_A_KIND: usize = 4;
/// What a log is given: a line a column needs more than the 80 columns of other tables.
const LOG_WIDTH: u16 = 120;

/// The table for standard output: its head, a line a column, and what is worth a look.
///
/// `name` is the table as the command line names it. Only the first columns and the worst remarks are
/// told, unless `all` are asked for.
pub(crate) fn table(profile: &TableProfile, name: &str, all: bool) -> String {
    table_on(screen(), profile, name, all)
}

/// Every figure of the column called `column` for standard output; `None` where there is none.
pub(crate) fn column(profile: &TableProfile, name: &str, column: &str) -> Option<String> {
    super::column::column_on(screen(), profile, name, column)
}

fn screen() -> Screen {
    let mut screen = Screen::of_stdout();
    if !screen.terminal {
        screen.width = LOG_WIDTH;
    }
    screen
}

pub(super) fn table_on(screen: Screen, profile: &TableProfile, name: &str, all: bool) -> String {
    let most = |most| if all { usize::MAX } else { most };
    let mut text = head(profile, name);
    let columns = &profile.columns[..profile.columns.len().min(most(MOST_COLUMNS))];
    if !columns.is_empty() {
        text.push('\n');
        text.push_str(&Layout::of(screen, columns).table(columns));
    }
    let hidden = profile.columns.len() - columns.len();
    if hidden > 0 {
        let hidden = number::counted(hidden as u64, "more column");
        text.push_str(&format!(" and {hidden}: --all\n"));
    }
    let remarks = remarks::of(profile);
    let table = of_the_table(profile);
    if !remarks.is_empty() || !table.is_empty() {
        text.push_str("\nworth a look\n");
        let most = most(MOST_OF_A_KIND);
        let (shown, hidden) = worst(&remarks, |r| r.kind, most);
        let (of_table, more) = worst(&table, |r| r.0, most);
        text.push_str(&remark_lines(screen, profile, name, &shown, &of_table));
        let hidden: Vec<_> = hidden
            .into_iter()
            .map(|(kind, n)| (kind.word(), n))
            .chain(more)
            .collect();
        if !hidden.is_empty() {
            let hidden: Vec<_> = hidden
                .iter()
                .map(|(word, n)| format!("{} {word}", number::count(*n as u64)))
                .collect();
            text.push_str(&format!(" and {} more: --all\n", hidden.join(", ")));
        }
    }
    text
}

/// The remarks that are told, at most so many of a kind, and how many others there are of each kind.
fn worst<T, K: Ord>(
    remarks: &[T],
    kind: impl Fn(&T) -> K,
    most_of_a_kind: usize,
) -> (Vec<&T>, Vec<(K, usize)>) {
    let mut seen: BTreeMap<K, usize> = BTreeMap::new();
    let shown = remarks.iter().filter(|remark| {
        let n = seen.entry(kind(remark)).or_default();
        *n += 1;
        *n <= most_of_a_kind
    });
    let shown = shown.collect();
    let hidden = seen.into_iter().filter(|(_, n)| *n > most_of_a_kind);
    let hidden = hidden.map(|(kind, n)| (kind, n - most_of_a_kind));
    (shown, hidden.collect())
}

pub(super) fn head(profile: &TableProfile, name: &str) -> String {
    let mut text = format!(
        "{}: {}, {}",
        plain(name),
        number::counted(profile.rows, "row"),
        number::counted(profile.columns.len() as u64, "column")
    );
    if profile.bytes > 0 {
        text.push_str(&format!(", {}", number::bytes(profile.bytes)));
    }
    text.push('\n');
    if profile.bad_rows > 0 {
        let rows = number::counted(profile.bad_rows, "malformed row");
        text.push_str(&format!("{rows} left out\n"));
    }
    let duplicates = profile.duplicate_rows;
    if duplicates.count > 0 {
        let noun = if duplicates.count == 1 { "row" } else { "rows" };
        text.push_str(&format!("{} duplicate {noun}", estimate(duplicates)));
        if let Some(error) = error_of(duplicates) {
            text.push_str(&format!(" (standard error {error})"));
        }
        text.push('\n');
    }
    text
}

/// A remark a line, those on a column with the command that shows more.
fn remark_lines(
    screen: Screen,
    profile: &TableProfile,
    name: &str,
    remarks: &[&Remark],
    of_table: &[&(&str, String)],
) -> String {
    let column = |r: &Remark| {
        profile
            .columns
            .get(r.column)
            .map_or("", |c| c.name.as_str())
    };
    let kinds = remarks.iter().map(|r| r.kind.word().width());
    let kinds = kinds.chain(of_table.iter().map(|r| r.0.width())).max();
    let names = remarks.iter().map(|r| plain(column(r)).width()).max();
    let texts = remarks.iter().map(|r| r.text.width());
    let texts = texts.filter(|width| *width <= WIDEST_TEXT).max();
    let (kinds, names) = (kinds.unwrap_or(0), names.unwrap_or(0).min(WIDEST_NAME));
    let mut text = String::new();
    for (word, told) in of_table {
        let word = painted(screen, YELLOW, &padded(word, kinds));
        text.push_str(&format!(" {word}  {told}\n"));
    }
    for remark in remarks {
        let paint = if remark.weight >= HEAVY { YELLOW } else { NONE };
        let command = format!(
            "serin profile {} --column {}",
            word(name),
            word(column(remark))
        );
        text.push_str(&format!(
            " {}  {}  {}  {}\n",
            painted(screen, paint, &padded(remark.kind.word(), kinds)),
            padded(&fitted(&plain(column(remark)), names), names),
            padded(&remark.text, texts.unwrap_or(0)),
            painted(screen, GREY, &command)
        ));
    }
    text
}

const NONE: &str = "";
const YELLOW: &str = "\u{1b}[33m";
const GREY: &str = "\u{1b}[90m";

fn painted(screen: Screen, colour: &str, text: &str) -> String {
    if screen.colour && !colour.is_empty() {
        format!("{colour}{text}\u{1b}[0m")
    } else {
        text.to_owned()
    }
}

const WIDEST_NAME: usize = 28;
/// Remarks are aligned up to here.
const WIDEST_TEXT: usize = 64;
const NARROWEST_NAME: usize = 10;
/// Bins of the small histogram.
const SHAPE: usize = 10;
const GAP: usize = 2;

/// The widths of the table's columns, in columns of the terminal; 0 for what is left out.
struct Layout {
    line: char,
    name: usize,
    kind: usize,
    missing: usize,
    distinct: usize,
    /// The share of the label that a column tells, and its correlation with it.
    label: [usize; 2],
    /// Least, median, most, mean and deviation of numbers; other types use their place as one.
    numbers: [usize; 5],
    values: usize,
    shape: usize,
}

const LABEL_HEADS: [&str; 2] = ["label", "corr."];
const NUMBER_HEADS: [&str; 5] = ["least", "median", "most", "mean", "sd"];

impl Layout {
    /// The widest that fit: the mean and deviation give way first, then names, then the small histogram.
    fn of(screen: Screen, columns: &[ColumnFigures]) -> Self {
        let widest = |head: &str, cell: &dyn Fn(&ColumnFigures) -> String| {
            let cells = columns.iter().map(|c| cell(c).width()).max();
            cells.unwrap_or(0).max(head.len())
        };
        let some = columns.iter().any(|c| c.numbers.is_some());
        let number = |i: usize| {
            let cell = |c: &ColumnFigures| {
                c.numbers
                    .as_ref()
                    .map_or(String::new(), |n| cells(n)[i].clone())
            };
            if some {
                widest(NUMBER_HEADS[i], &cell)
            } else {
                0
            }
        };
        let label = |i: usize| match columns.iter().any(|c| !label_cells(c)[i].is_empty()) {
            true => widest(LABEL_HEADS[i], &|c| label_cells(c)[i].clone()),
            false => 0,
        };
        let drawn = columns.iter().any(|c| histogram(c).is_some());
        let mut layout = Self {
            line: if screen.terminal { '\u{2500}' } else { '-' },
            name: widest("column", &|c| plain(&c.name)).min(WIDEST_NAME),
            kind: widest("type", &|c| c.kind.as_str().into()),
            missing: widest("missing", &missing),
            distinct: widest("distinct", &|c| estimate(c.distinct)),
            label: [0, 1].map(label),
            numbers: [0, 1, 2, 3, 4].map(number),
            values: 0,
            shape: if screen.terminal && drawn { SHAPE } else { 0 },
        };
        let width = usize::from(screen.width);
        if layout.width() > width {
            layout.name = layout.name.min(16);
        }
        if layout.width() > width {
            (layout.numbers[3], layout.numbers[4]) = (0, 0);
        }
        if layout.width() > width {
            layout.name = layout.name.min(NARROWEST_NAME);
        }
        if layout.width() > width {
            layout.shape = 0;
        }
        if layout.width() > width {
            layout.label[1] = 0;
        }
        // What is left goes to the values of other types.
        let spare = width.saturating_sub(layout.width());
        let needed = widest("values", &|c| {
            if c.numbers.is_some() {
                String::new()
            } else {
                values(c)
            }
        });
        layout.values = needed
            .min(layout.numbers_width() + spare)
            .max(layout.numbers_width());
        layout
    }

    fn numbers_width(&self) -> usize {
        let shown = self.numbers.iter().filter(|w| **w > 0);
        shown.map(|w| w + GAP).sum::<usize>().saturating_sub(GAP)
    }

    fn width(&self) -> usize {
        let widths = [
            self.name,
            self.kind,
            self.missing,
            self.distinct,
            self.label[0],
            self.label[1],
            self.values.max(self.numbers_width()),
            self.shape,
        ];
        // A space before the first; gaps between.
        let shown = widths.iter().filter(|w| **w > 0);
        shown.map(|w| w + GAP).sum::<usize>() + 1 - GAP
    }

    fn table(&self, columns: &[ColumnFigures]) -> String {
        let head = if self.numbers_width() > 0 {
            self.numbers_line(&NUMBER_HEADS.map(String::from))
        } else {
            "values".into()
        };
        let heads = LABEL_HEADS.map(String::from);
        let mut text = self.line(
            ["column", "type", "missing", "distinct", "shape", &head],
            &heads,
        );
        let line: String = std::iter::repeat_n(self.line, self.width()).collect();
        text.push_str(&line);
        text.push('\n');
        for c in columns {
            let values = match &c.numbers {
                Some(n) => self.numbers_line(&cells(n)),
                None => values(c),
            };
            let cells = [
                &plain(&c.name),
                c.kind.as_str(),
                &missing(c),
                &estimate(c.distinct),
                &histogram(c).map_or_else(String::new, sparkline),
                &values,
            ];
            text.push_str(&self.line(cells, &label_cells(c)));
        }
        text
    }

    fn numbers_line(&self, cells: &[String; 5]) -> String {
        let shown = cells
            .iter()
            .zip(self.numbers)
            .filter(|(_, width)| *width > 0);
        let cells: Vec<_> = shown.map(|(cell, width)| right(cell, width)).collect();
        cells.join(&" ".repeat(GAP))
    }

    fn line(
        &self,
        [name, kind, missing, distinct, shape, values]: [&str; 6],
        label: &[String; 2],
    ) -> String {
        let mut cells = vec![
            padded(&fitted(name, self.name), self.name),
            padded(kind, self.kind),
            right(missing, self.missing),
            right(distinct, self.distinct),
        ];
        let label = label.iter().zip(self.label).filter(|(_, w)| *w > 0);
        cells.extend(label.map(|(cell, width)| right(cell, width)));
        if self.shape > 0 {
            cells.push(padded(shape, self.shape));
        }
        cells.push(fitted(values, self.values));
        let line = cells.join(&" ".repeat(GAP));
        format!(" {}\n", line.trim_end())
    }
}

/// What a column tells of the label, in percent, and its correlation with it; empty where there is none.
fn label_cells(c: &ColumnFigures) -> [String; 2] {
    let Some(label) = c.label else {
        return Default::default();
    };
    let correlation = label.correlation.map_or_else(String::new, |r| {
        // Adding zero turns -0 into 0.
        format!("{:.2}", (r * 100.0).round() / 100.0 + 0.0)
    });
    [percent(label.share.clamp(0.0, 1.0)), correlation]
}

/// Least, median, most, mean and deviation.
fn cells(n: &NumberFigures) -> [String; 5] {
    [n.min, n.quantiles[4], n.max, n.mean, n.standard_deviation].map(number::value)
}

/// What a column of another type holds, in a line.
fn values(c: &ColumnFigures) -> String {
    if let Some(t) = &c.times {
        let [min, median, max] = [&t.min, &t.quantiles[4], &t.max].map(|v| minute(v, t.dates));
        return format!("{min} to {max}, median {median}");
    }
    let rows = c.count + c.missing();
    let about = if c.top_error > 0 { "~" } else { "" };
    match (c.top.as_slice(), &c.texts) {
        // Values that stand once each tell nothing by their counts.
        ([first, ..], Some(t)) if first.count == 1 && c.count > 1 => format!(
            "{}, as {}",
            lengths(t.min_length, t.max_length),
            value(&first.value)
        ),
        ([], Some(t)) if c.count > 0 => lengths(t.min_length, t.max_length),
        (top, _) => {
            let top = top.iter().map(|v| {
                let share = number::percent(v.count, rows);
                format!("{} {about}{share}", value(&v.value))
            });
            top.collect::<Vec<_>>().join(", ")
        }
    }
}

pub(super) fn lengths(min: u64, max: u64) -> String {
    if min == max {
        number::counted(min, "character")
    } else {
        format!(
            "{} to {}",
            number::count(min),
            number::counted(max, "character")
        )
    }
}

pub(super) fn histogram(c: &ColumnFigures) -> Option<&Histogram> {
    let numbers = c.numbers.as_ref().map(|n| &n.histogram);
    let histogram = numbers.or_else(|| c.times.as_ref().map(|t| &t.histogram))?;
    histogram.counts.iter().any(|n| *n > 0).then_some(histogram)
}

/// The histogram in blocks; a bin that is not empty is never drawn as an empty one.
fn sparkline(h: &Histogram) -> String {
    let counts = spread(h, h.min, h.max, SHAPE);
    let most = counts.iter().copied().fold(0.0, f64::max);
    let block = |n: &f64| match (n / most * 8.0).ceil() as u32 {
        0 => ' ',
        eighths => char::from_u32(0x2580 + eighths.min(8)).unwrap_or('\u{2588}'),
    };
    counts.iter().map(block).collect()
}

pub(super) fn padded(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(text.width())))
}

pub(super) fn right(text: &str, width: usize) -> String {
    format!("{}{text}", " ".repeat(width.saturating_sub(text.width())))
}

/// A text in at most `width` columns of the terminal, the last three of them dots where it is wider.
pub(super) fn fitted(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut used = 0;
    let room = width.saturating_sub(3);
    let kept: String = text
        .chars()
        .take_while(|c| {
            used += c.width().unwrap_or(0);
            used <= room
        })
        .collect();
    kept + "..."
}
