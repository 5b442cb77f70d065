//! What a model would see: columns that tell nothing, too much, or not what they seem to.

use std::collections::HashSet;

use super::{Check, DatasetScope, ProfileScope, Run, always_rejects, check, counted, short};
use crate::config::SplitRule;
use crate::data::cell::is_padded;
use crate::data::findings::{Evidence, Reporter};
use crate::printable::{percent, shown};
use crate::workspace::records::Severity::{Reject, Warn};
use crate::workspace::table_profile::{ColumnFigures, ValueType};

/// In the order of the work.
pub(super) const CHECKS: &[Check] = &[
    always_rejects(
        "features.none",
        Run::Dataset(none),
        "Without the label and the dropped columns nothing is left to learn from.",
    ),
    check(
        "features.constant",
        Warn,
        Run::Profile(constant),
        "A column has one value. It tells nothing; that it never varies is often a default written by a failed step.",
    ),
    check(
        "features.missing",
        Warn,
        Run::Profile(missing),
        "A column has no value in any row. It tells nothing; the step that fills it has failed, or it is retired.",
    ),
    check(
        "features.id",
        Warn,
        Run::Profile(id),
        "A column of texts or whole numbers has a different value in nearly every row, at least 99 of 100. It tells \
         rows apart, and a model that learns it has learnt rows by heart. Put it under `data.drop`.",
    ),
    check(
        "features.cardinality",
        Warn,
        Run::Profile(cardinality),
        "A column of texts has more than 1,000 different values, or more than 50 with fewer than five rows for each. \
         Most are too rare to learn from, and new ones come with every day. Group them, or keep what they stand for.",
    ),
    check(
        "features.numeric_text",
        Warn,
        Run::Profile(numeric_text),
        "At least 95 of 100 texts of a column read as numbers, booleans or times, so it was meant to be one of those; \
         the rest made it one of texts, which forgets the order of its values. The first such cell is named. Codes \
         with leading zeros are texts and are not meant.",
    ),
    check(
        "features.mixed_types",
        Warn,
        Run::Profile(mixed_types),
        "A part of a column's texts read as numbers, booleans or times and a part do not: two columns were put into \
         one, or two sources write it differently.",
    ),
    check(
        "features.padded",
        Warn,
        Run::Profile(padded),
        "Texts have spaces around them. ` a` and `a` are two values to a model; trim them upstream.",
    ),
    check(
        "features.outlier",
        Warn,
        Run::Profile(outlier),
        "A number lies more than 100 times the distance of the quartiles beyond them. Long tails hardly go so far: a \
         unit mistaken or a placeholder such as 999999 does. Make it a missing value, or give the column a range in \
         the schema.",
    ),
    check(
        "features.infinite",
        Reject,
        Run::Profile(infinite),
        "A column holds infinite numbers, mostly from a division by zero. Learning breaks on them.",
    ),
    check(
        "features.leakage",
        Warn,
        Run::Profile(leakage),
        "A column alone tells more than 90 of 100 parts of the label's information, or is correlated with it by more \
         than 0.99. Seldom is the world so kind: the column is mostly written after the label, or made from it, and \
         will not be known when the model is asked. A feature that is just good looks the same, so this warns: drop the \
         column, or set the check to `reject` where no column should ever know so much.",
    ),
    check(
        "features.label_name",
        Warn,
        Run::Profile(label_name),
        "A column is named like the label, as `churn_date` is for `churn`. Such columns are often known only with the \
         label.",
    ),
    check(
        "features.duplicate",
        Warn,
        Run::Profile(duplicate),
        "Two columns hold the same in nearly all rows, or one is the other's multiple. Importances are divided \
         between them, and when one drifts the other hides it. Drop one.",
    ),
    check(
        "features.future",
        Warn,
        Run::Profile(future),
        "A feature holds times that were not known yet: in the training part from the day on from which `data.split.time` \
         tests, or later than now. A column such as `closed_at` is filled in when the outcome is known; a model that \
         learns from it is right in the test and wrong in production. Drop it, or take what was known at the time.",
    ),
];

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

/// A table of nothing but the label and dropped columns.
fn none(scope: &DatasetScope, reporter: &mut Reporter) {
    let data = &scope.config.data;
    let mut columns = scope.columns.iter();
    let dropped: HashSet<&str> = data.drop.iter().map(|name| name.as_str()).collect();
    let is_feature = |name: &str| name != *data.label.column && !dropped.contains(name);
    if !columns.any(|column| is_feature(&column.name)) {
        let sentence = "without the label and the dropped columns there is nothing to learn from";
        scope.about(reporter, "", Evidence::new("a feature", "none", sentence));
    }
}

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
fn constant(scope: &ProfileScope, reporter: &mut Reporter) {
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
fn missing(scope: &ProfileScope, reporter: &mut Reporter) {
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
fn id(scope: &ProfileScope, reporter: &mut Reporter) {
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
fn cardinality(scope: &ProfileScope, reporter: &mut Reporter) {
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
fn numeric_text(scope: &ProfileScope, reporter: &mut Reporter) {
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
fn mixed_types(scope: &ProfileScope, reporter: &mut Reporter) {
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
fn padded(scope: &ProfileScope, reporter: &mut Reporter) {
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
fn outlier(scope: &ProfileScope, reporter: &mut Reporter) {
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
fn infinite(scope: &ProfileScope, reporter: &mut Reporter) {
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
fn leakage(scope: &ProfileScope, reporter: &mut Reporter) {
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
fn label_name(scope: &ProfileScope, reporter: &mut Reporter) {
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
fn duplicate(scope: &ProfileScope, reporter: &mut Reporter) {
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

/// Times that were not known yet: in a feature of the training part behind the day from which the split tests, or
/// behind now.
fn future(scope: &ProfileScope, reporter: &mut Reporter) {
    let data = &scope.config.data;
    let (by, from) = match &data.split.rule {
        SplitRule::Time { column, test_from } => (column.value.as_str(), Some(test_from.as_str())),
        SplitRule::Hash { .. } => ("", None),
    };
    let dropped: HashSet<&str> = data.drop.iter().map(|name| name.as_str()).collect();
    let is_feature =
        |name: &str| !dropped.contains(name) && *name != *data.label.column.value && name != by;
    let now = scope.now.to_string();
    let columns = scope.parts.map_or(scope.profile, |(train, _)| train);
    for column in columns.columns.iter().filter(|c| is_feature(&c.name)) {
        let Some(times) = &column.times else { continue };
        let name = &column.name;
        let newest = shown(&times.max);
        // Both are ISO 8601, so that the earlier one is the smaller text.
        let (expected, sentence) = match from {
            Some(from) if *times.max >= *from => (
                format!("times before {from} in the training part"),
                format!(
                    "column `{name}` holds {newest} in the training part, behind {from}, from which on `{by}` is \
                     tested: was it known then?"
                ),
            ),
            _ if times.max > now => (
                "times up to now".to_owned(),
                format!("column `{name}` holds {newest}, which is yet to come: was it known then?"),
            ),
            _ => continue,
        };
        scope.about(reporter, name, Evidence::new(expected, newest, sentence));
    }
}

#[cfg(test)]
mod tests;
