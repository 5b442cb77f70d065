//! What a model would see: columns that tell nothing, too much, or not what they seem to.

use std::collections::HashSet;

use super::{ProfileScope, counted, percent, short};
use crate::data::cell::is_padded;
use crate::data::findings::{Evidence, Reporter};
use crate::printable::shown;
use crate::workspace::table_profile::{ColumnFigures, ValueType};

/// With fewer rows, different values in all of them are no wonder.
const ENOUGH: u64 = 100;

/// With fewer rows quartiles are chance, and so is what two columns have in common.
const SOME: u64 = 30;

/// A column with at least this share of different values tells rows apart.
const ID_SHARE: f64 = 0.99;

/// More different texts than this are no categories.
const MOST_LEVELS: u64 = 1000;

/// From this many different texts on, each should stand in [`ROWS_A_LEVEL`] rows on average.
const SOME_LEVELS: u64 = 50;
const ROWS_A_LEVEL: u64 = 5;

/// From this share of numbers on, a text column was meant to be one of numbers; below the rest of it a stray one is
/// a text like any other.
const MEANT: f64 = 0.95;

/// A number is far out when it is so many times the distance of the quartiles beyond them. Long tails reach 50
/// in sound tables; a unit mistaken, or 999999 for a missing value, does not stop there.
const FAR: f64 = 100.0;

/// A column that tells this share of the label's entropy, or is so correlated with it, knows it.
const LEAK: f64 = 0.9;
const LEAK_CORRELATION: f64 = 0.99;

/// The columns that a model learns from, with their places.
fn features<'a>(scope: &ProfileScope<'a>) -> impl Iterator<Item = &'a ColumnFigures> {
    let data = &scope.config.data;
    let dropped: HashSet<&str> = data.drop.iter().map(|name| name.as_str()).collect();
    let columns = scope.profile.columns.iter();
    columns.filter(move |column| {
        column.name != *data.label.column && !dropped.contains(column.name.as_str())
    })
}

/// A column with one value.
pub(super) fn constant(scope: &ProfileScope, reporter: &mut Reporter) {
    for column in features(scope).filter(|column| column.count > 0 && column.distinct.count == 1) {
        let value = column.top.first().map(|top| top.value.clone());
        let value = value
            .or_else(|| Some(column.numbers.as_ref()?.min.to_string()))
            .or_else(|| Some(column.times.as_ref()?.min.clone()))
            .unwrap_or_default();
        let value = shown(&value);
        let missing = column.missing();
        let which = if missing > 0 {
            format!("each of the {} that have one", counted(column.count, "row"))
        } else {
            "every row".to_owned()
        };
        let sentence = format!("column `{}` holds `{value}` in {which}", column.name);
        scope.about(
            reporter,
            &column.name,
            Evidence::new("different values", value, sentence),
        );
    }
}

/// A column without any value.
pub(super) fn missing(scope: &ProfileScope, reporter: &mut Reporter) {
    for column in features(scope).filter(|column| column.count == 0 && column.missing() > 0) {
        let rows = counted(column.missing(), "row");
        let sentence = format!("column `{}` has no value in any of {rows}", column.name);
        scope.about(
            reporter,
            &column.name,
            Evidence::new("values", "none", sentence),
        );
    }
}

/// Whether a column of texts or whole numbers has about as many different values as values.
fn is_id(column: &ColumnFigures) -> bool {
    let named = match column.kind {
        ValueType::Text => true,
        ValueType::Number => column.numbers.as_ref().is_some_and(|numbers| numbers.whole),
        ValueType::Boolean | ValueType::Time => false,
    };
    // Two standard errors in the column's favour: an estimate may be low.
    let distinct = column.distinct.count as f64 * (1.0 + 2.0 * column.distinct.error);
    named && column.count >= ENOUGH && distinct >= ID_SHARE * column.count as f64
}

/// A column that tells rows apart.
pub(super) fn id(scope: &ProfileScope, reporter: &mut Reporter) {
    for column in features(scope).filter(|column| is_id(column)) {
        let distinct = counted(column.distinct.count.min(column.count), "different value");
        let sentence = format!(
            "column `{}` has {distinct} in {}: it tells rows apart, and nothing of rows to come; \
             `data.drop` leaves it out",
            column.name,
            counted(column.count, "row")
        );
        scope.about(
            reporter,
            &column.name,
            Evidence::new("values that come again", distinct, sentence),
        );
    }
}

/// A text with too many values to learn from each.
pub(super) fn cardinality(scope: &ProfileScope, reporter: &mut Reporter) {
    let texts = features(scope).filter(|column| column.kind == ValueType::Text && !is_id(column));
    for column in texts {
        let levels = column.distinct.count;
        let expected = if levels > MOST_LEVELS {
            format!("at most {MOST_LEVELS} different values")
        } else if levels >= SOME_LEVELS && column.count < ROWS_A_LEVEL * levels {
            format!("{ROWS_A_LEVEL} rows or more for each value")
        } else {
            continue;
        };
        let observed = format!(
            "{} in {}",
            counted(levels, "different value"),
            counted(column.count, "row")
        );
        let sentence = format!(
            "column `{}` has {observed}, expected {expected}",
            column.name
        );
        scope.about(
            reporter,
            &column.name,
            Evidence::new(expected, observed, sentence),
        );
    }
}

/// What most texts of a column read as, and how many do; none where the texts are codes such as `01069`.
fn reads_as(column: &ColumnFigures) -> Option<(&'static str, u64)> {
    let texts = column.texts.as_ref()?;
    if column
        .forced_by
        .as_ref()
        .is_some_and(|forced| is_padded(forced.value.as_bytes()))
    {
        return None;
    }
    [
        ("numbers", texts.numbers),
        ("booleans", texts.booleans),
        ("times", texts.times),
    ]
    .into_iter()
    .max_by_key(|(_, count)| *count)
}

/// Where the first cell stands that made a column one of texts.
fn first_stranger(column: &ColumnFigures) -> String {
    let forced = column.forced_by.as_ref();
    forced.map_or_else(String::new, |forced| {
        format!(
            "; the first that does not is `{}` ({})",
            shown(&forced.value),
            forced.place
        )
    })
}

/// Texts that are nearly all numbers, booleans or times.
pub(super) fn numeric_text(scope: &ProfileScope, reporter: &mut Reporter) {
    for column in features(scope) {
        let Some((what, count)) = reads_as(column) else {
            continue;
        };
        if count == column.count || (count as f64) < MEANT * column.count as f64 {
            continue;
        }
        let others = column.count - count;
        let sentence = format!(
            "column `{}` is one of texts, though all but {others} of {} read as {what}{}",
            column.name,
            counted(column.count, "value"),
            first_stranger(column)
        );
        scope.about(
            reporter,
            &column.name,
            Evidence::new(what, counted(others, "text"), sentence),
        );
    }
}

/// Texts of which a part are numbers, booleans or times.
pub(super) fn mixed_types(scope: &ProfileScope, reporter: &mut Reporter) {
    for column in features(scope) {
        let Some((what, count)) = reads_as(column) else {
            continue;
        };
        let share = count as f64 / column.count.max(1) as f64;
        if !(1.0 - MEANT..MEANT).contains(&share) {
            continue;
        }
        let observed = format!("{} {what}", percent(share));
        let sentence = format!(
            "column `{}` mixes types: {observed}, the rest texts{}",
            column.name,
            first_stranger(column)
        );
        scope.about(
            reporter,
            &column.name,
            Evidence::new("values of one type", observed, sentence),
        );
    }
}

/// Texts with spaces around them.
pub(super) fn padded(scope: &ProfileScope, reporter: &mut Reporter) {
    for column in features(scope) {
        let padded = column.texts.as_ref().map_or(0, |texts| texts.padded);
        if padded > 0 {
            let observed = counted(padded, "value");
            let sentence = format!(
                "column `{}` has {observed} with spaces around the text: ` a` and `a` are two values",
                column.name
            );
            scope.about(
                reporter,
                &column.name,
                Evidence::new("texts without spaces around them", observed, sentence),
            );
        }
    }
}

/// A number far beyond the quartiles.
pub(super) fn outlier(scope: &ProfileScope, reporter: &mut Reporter) {
    for column in features(scope) {
        let Some(numbers) = &column.numbers else {
            continue;
        };
        let [_, _, _, low, _, high, ..] = numbers.quantiles;
        // Halved, because the distance of two finite doubles need not be one.
        let distance = high / 2.0 - low / 2.0;
        if column.count < SOME || distance <= 0.0 || !distance.is_finite() {
            continue;
        }
        let beyond = [
            (
                numbers.max,
                (numbers.max / 2.0 - high / 2.0) / distance,
                "above the upper",
                high,
            ),
            (
                numbers.min,
                (low / 2.0 - numbers.min / 2.0) / distance,
                "below the lower",
                low,
            ),
        ];
        for (value, times, side, quartile) in
            beyond.into_iter().filter(|(_, times, ..)| *times > FAR)
        {
            let sentence = format!(
                "column `{}` holds {}, {times:.0} times the distance of the quartiles {side} one, {}",
                column.name,
                short(value),
                short(quartile)
            );
            let expected = format!("at most {FAR} times that distance");
            scope.about(
                reporter,
                &column.name,
                Evidence::new(expected, short(value), sentence),
            );
        }
    }
}

/// Infinite numbers.
pub(super) fn infinite(scope: &ProfileScope, reporter: &mut Reporter) {
    for column in features(scope) {
        let infinite = column
            .numbers
            .as_ref()
            .map_or(0, |numbers| numbers.infinite);
        if infinite > 0 {
            let observed = counted(infinite, "infinite value");
            let sentence = format!(
                "column `{}` has {observed}; no model can learn from them",
                column.name
            );
            scope.about(
                reporter,
                &column.name,
                Evidence::new("finite numbers", observed, sentence),
            );
        }
    }
}

/// A column that knows the label.
pub(super) fn leakage(scope: &ProfileScope, reporter: &mut Reporter) {
    let label = &*scope.config.data.label.column;
    for column in features(scope) {
        let Some(told) = column.label.filter(|told| told.rows >= ENOUGH) else {
            continue;
        };
        let correlation = told.correlation.filter(|r| r.abs() > LEAK_CORRELATION);
        let observed = match correlation {
            Some(r) => format!("a correlation of {r:.3}"),
            None if told.share > LEAK => format!("{} of its information", percent(told.share)),
            None => continue,
        };
        let sentence = format!(
            "column `{}` gives the label `{label}` away ({observed}, over {}): is it known before the label is?",
            column.name,
            counted(told.rows, "row")
        );
        let expected = format!("at most {} of its information", percent(LEAK));
        let weight = correlation.map_or(told.share, f64::abs);
        let evidence = Evidence::new(expected, observed, sentence);
        scope.about(reporter, &column.name, evidence.weighing(weight));
    }
}

/// A column whose name says that it is made of the label.
pub(super) fn label_name(scope: &ProfileScope, reporter: &mut Reporter) {
    let label = &*scope.config.data.label.column;
    for column in features(scope).filter(|column| is_named_like(&column.name, label)) {
        let name = &column.name;
        let sentence = format!(
            "column `{name}` is named like the label `{label}`: is it known before the label is?"
        );
        scope.about(
            reporter,
            name,
            Evidence::new("a name of its own", name.as_str(), sentence),
        );
    }
}

/// Whether a name has the label's words in a row, or is the label with an ending.
fn is_named_like(name: &str, label: &str) -> bool {
    let (name, label) = (words(name), words(label));
    let (joined, wanted) = (name.concat(), label.concat());
    if wanted.chars().count() < 4 {
        return joined == wanted;
    }
    let ending = joined.strip_prefix(&wanted);
    name.windows(label.len()).any(|some| some == label)
        || ending.is_some_and(|ending| ending.chars().count() <= 2)
}

/// The words of a name such as `isChurned` or `churn_date`, in lower case.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut lower_before = false;
    for c in name.chars() {
        let starts = !c.is_alphanumeric() || (c.is_uppercase() && lower_before);
        if starts && words.last().is_some_and(|word| !word.is_empty()) {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut().filter(|_| c.is_alphanumeric()) {
            word.extend(c.to_lowercase());
        }
        lower_before = c.is_lowercase() || c.is_ascii_digit();
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Two columns that hold the same in nearly all rows, or of which one is the other's multiple.
pub(super) fn duplicate(scope: &ProfileScope, reporter: &mut Reporter) {
    let columns = &scope.profile.columns;
    if scope.profile.rows < SOME {
        return;
    }
    for pair in scope.similar {
        let (Some(a), Some(b)) = (columns.get(pair.first), columns.get(pair.second)) else {
            continue;
        };
        let is_feature = |name: &str| features(scope).any(|known| known.name == name);
        if !is_feature(&a.name) || !is_feature(&b.name) {
            continue;
        }
        let observed = format!("{} alike", percent(pair.share));
        let sentence = format!(
            "column `{}` tells the same as column `{}` ({observed})",
            b.name, a.name
        );
        scope.about(
            reporter,
            &b.name,
            Evidence::new("columns that differ", observed, sentence),
        );
    }
}

#[cfg(test)]
mod tests;
