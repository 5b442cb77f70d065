//! The profile of any table, as `serin profile` shows it: a table for the terminal and a page.
//!
//! Both are made of the record [`TableProfile`] alone. What is worth a look in it is told by one function
//! (`remarks`), so that terminal and page never disagree.

mod bins;
mod column;
mod over;
mod page;
mod remarks;
mod terminal;

#[cfg(test)]
pub(super) mod fixtures;
#[cfg(test)]
mod tests;

pub(crate) use page::{MOST_TABLES, page};
pub(super) use page::{Note, Script, columns_section};
pub(crate) use terminal::{column, table};

use super::number;
use crate::clock::Timestamp;
use crate::printable::percent;
use crate::workspace::table_profile::{ColumnFigures, Estimate, TableProfile};

/// What is worth a look in a table beside its columns: a word, and a text that stands for itself.
fn of_the_table(profile: &TableProfile) -> Vec<(&'static str, String)> {
    let malformed = profile.malformed.iter().map(|row| {
        let text = format!("{}:{}: {}", row.file, row.line, row.reason);
        ("malformed", super::terminal::plain(&text))
    });
    let told = profile.malformed.len() as u64;
    let untold = profile.bad_rows.checked_sub(told).filter(|n| *n > 0);
    let untold = untold.filter(|_| told > 0).map(|n| {
        let text = format!("and {} like these", number::counted(n, "more row"));
        ("malformed", text)
    });
    let similar = profile.similar.iter().map(|pair| {
        let (first, second) = (quoted(&pair.first), quoted(&pair.second));
        let text = format!(
            "{first} and {second} tell the same ({})",
            percent(pair.share)
        );
        ("alike", text)
    });
    malformed.chain(untold).chain(similar).collect()
}

/// A count, with a `~` before it where it is estimated.
fn estimate(e: Estimate) -> String {
    let sign = if e.error > 0.0 { "~" } else { "" };
    format!("{sign}{}", number::count(e.count))
}

/// The relative standard error of a count in percent; nothing where it is exact.
fn error_of(e: Estimate) -> Option<String> {
    (e.error > 0.0).then(|| format!("{}%", number::value(e.error * 100.0)))
}

/// The share of the rows without a value.
fn missing(c: &ColumnFigures) -> String {
    number::percent(c.missing(), c.count + c.missing())
}

/// What the cells without a value are: `2 null, 1 NaN`; nothing where there are none.
fn missing_kinds(c: &ColumnFigures) -> String {
    let kinds = [(c.null, "null"), (c.empty, "empty"), (c.nan, "NaN")];
    let told = kinds.iter().filter(|(n, _)| *n > 0);
    let told: Vec<_> = told
        .map(|(n, kind)| format!("{} {kind}", number::count(*n)))
        .collect();
    told.join(", ")
}

/// A time of the record as it is read: `2026-01-01` of dates, else `2026-01-01 10:04:09`.
fn time(text: &str, dates: bool) -> String {
    let text = text.trim_end_matches('Z');
    match text.split_once('T') {
        Some((day, _)) if dates => day.to_owned(),
        Some((day, time)) => format!("{day} {}", without_zeros(time)),
        None => text.to_owned(),
    }
}

/// As [`time`], to the minute.
fn minute(text: &str, dates: bool) -> String {
    let time = time(text, dates);
    time.get(..16).map_or(time.clone(), str::to_owned)
}

/// A time of the day without the zeros behind its point.
fn without_zeros(time: &str) -> &str {
    if time.contains('.') {
        time.trim_end_matches('0').trim_end_matches('.')
    } else {
        time
    }
}

/// Seconds since 1970 as a time that is read, to the second.
fn second(seconds: f64, dates: bool) -> String {
    // Beyond the years that can be written a float only saturates.
    let micros = (seconds.floor() * 1e6) as i64;
    let text = Timestamp::from_unix_micros(micros).to_string();
    time(text.split('.').next().unwrap_or(&text), dates)
}

/// A value of the user on one line, cut after 40 characters, between backticks.
fn quoted(value: &str) -> String {
    format!("`{}`", cut(&super::terminal::plain(value), 40))
}

/// A value of the user on one line; between backticks where it begins or ends with a space, or is none.
fn value(text: &str) -> String {
    let plain = super::terminal::plain(text);
    if text.is_empty() || text.trim() != text {
        format!("`{plain}`")
    } else {
        plain
    }
}

/// The first `most` characters of a text, the last three of them dots where it is longer.
fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let kept: String = text.chars().take(most.saturating_sub(3)).collect();
    kept + "..."
}
