//! Tables, columns and their values against `schema.yaml`.

pub(super) mod keys;

use std::collections::HashSet;

use super::{Check, ColumnScope, Run, TableScope, check, counted, never_off};
use crate::data::cell::{self, Cell};
use crate::data::findings::{Evidence, Reporter};
use crate::data::keys::key as key_of;
use crate::data::schema::{ColumnRule, TableRule};
use crate::data::types;
use crate::settings::nearest;
use crate::workspace::records::Severity::{self, Reject, Warn};

/// In the order of the work.
pub(super) const CHECKS: &[Check] = &[
    check(
        "schema.table",
        Warn,
        Run::Table(undescribed),
        "The tables have one that the schema does not describe, so nothing is promised of it. Describe it in the \
         schema, or leave it out of `data.tables`.",
    ),
    check(
        "schema.rows",
        Reject,
        Run::Table(rows),
        "The table has fewer rows than its `min_rows` or more than its `max_rows`. The export was cut off, selected \
         nothing, or was loaded twice.",
    ),
    check(
        "schema.presence",
        Reject,
        Run::Table(absent),
        "The schema describes a column that the table does not have. It was renamed or dropped upstream.",
    ),
    check(
        "schema.extra",
        Warn,
        Run::Table(extra),
        "The table has a column that the schema does not describe. It becomes a feature as it is: describe it, or put \
         it under `data.drop`.",
    ),
    never_off(
        "schema.type",
        Reject,
        Run::Column(misfits),
        "A cell does not fit the type that the schema gives its column. Left alone it would be a missing value.",
    ),
    check(
        "schema.rounded",
        Warn,
        Run::Column(rounded),
        "A number has more digits than a double of 64 bits holds: a whole number beyond 2^53, or a fraction of more than \
         17 digits. As a number it becomes the double next to it, so that ids that differ in their last digits become the \
         same. Such numbers are names: `type: category` in the schema keeps them as they are written.",
    ),
    check(
        "schema.required",
        Reject,
        Run::Column(required),
        "A cell has no value in a column that the schema calls required.",
    ),
    check(
        "schema.missing",
        Reject,
        Run::Table(share_missing),
        "More cells of a column are missing than the schema allows.",
    ),
    check(
        "schema.domain",
        Reject,
        Run::Column(domain),
        "A cell holds a value that the schema does not list for its column: a new category, or one misspelt. If it is \
         new, `serin lint --update` adds it to the schema.",
    ),
    check(
        "schema.range",
        Reject,
        Run::Column(range),
        "A number or a time lies outside of what the schema allows for its column: a unit mistaken, or a placeholder such as \
         -1 or 9999.",
    ),
    check(
        "schema.length",
        Reject,
        Run::Column(length),
        "A text is shorter than the column's `min_length` or longer than its `max_length`, counted in characters: cut \
         off, or two fields run together.",
    ),
    check(
        "schema.pattern",
        Reject,
        Run::Column(pattern),
        "A text does not match the column's expression in `matches`, which is about the whole text. A code is misspelt, \
         or comes from a system that writes it otherwise, and would join with nothing.",
    ),
    check(
        "schema.unique",
        Reject,
        Run::Keys(unique),
        "A value stands twice in a column that the schema calls unique.",
    ),
    check(
        "schema.key",
        Reject,
        Run::Keys(key),
        "Values that the table's `unique` names stand together twice, as a customer and a day that should have one row. \
         Mostly an export was appended to itself. Rows that lack a part of the key are not compared.",
    ),
    check(
        "schema.reference",
        Reject,
        Run::Column(reference),
        "A column `references` one of another table, and holds a value which that one does not: a key without its \
         row. The tables are of different days, or rows were deleted on one side. Values are equal as texts, as in a \
         join; missing cells refer to nothing.",
    ),
];

/// A table that the schema says nothing about.
fn undescribed(scope: &TableScope, reporter: &mut Reporter) {
    if scope.schema.is_some() && scope.rule.is_none() {
        reporter.found(scope.table.origin(), "", None, || {
            let name = &scope.table.name;
            let sentence = format!("the schema does not describe the table `{name}`");
            Evidence::new("rules", "none", sentence)
        });
    }
}

/// Among more unknown columns than this nothing tells which one is meant, and to compare them all takes long.
const MOST_LIKELY: usize = 100;

/// A column that the schema asks for and the table lacks.
fn absent(scope: &TableScope, reporter: &mut Reporter) {
    let Some(rules) = scope.rule else { return };
    let columns = scope.table.columns.iter().map(|c| c.name.as_str());
    let there: HashSet<&str> = columns.clone().collect();
    let mut unknown: Vec<&str> = columns
        .filter(|name| rules.column(name).is_none())
        .collect();
    if unknown.len() > MOST_LIKELY {
        unknown.clear();
    }
    for rule in rules.columns.iter().filter(|rule| !rule.optional) {
        let name: &str = &rule.name;
        if !there.contains(name) {
            reporter.found(scope.table.origin(), name, None, || {
                let near = nearest(name, unknown.iter().copied());
                let near = near.map_or_else(String::new, |near| {
                    format!("; is it `{}`?", crate::printable::shown(near))
                });
                let sentence = format!(
                    "column `{name}` is missing, {} asks for it{near}",
                    rule.name.place
                );
                Evidence::new(format!("column `{name}`"), "no such column", sentence)
            });
        }
    }
}

/// A column that the schema does not know.
fn extra(scope: &TableScope, reporter: &mut Reporter) {
    let Some(rule) = scope.rule else { return };
    for column in &scope.table.columns {
        if rule.column(&column.name).is_none() {
            reporter.found(scope.table.origin(), &column.name, None, || {
                let sentence = format!("the schema does not know column `{}`", column.name);
                Evidence::new("no such column", "a column", sentence)
            });
        }
    }
}

/// A text where a number, a boolean or a time belongs.
fn misfits(scope: &ColumnScope, reporter: &mut Reporter) {
    let column = scope.column;
    let becomes_missing = reporter.severity() == Severity::Warn;
    // Without a rule it is the type that changes.
    for row in column.misfits.iter().filter(|_| column.kind.declared) {
        let place = scope.table.place(*row);
        reporter.found(scope.table.origin(), &column.name, place, || {
            let expected = types::expected(column.kind.column_type());
            let mut evidence = Evidence::holds(&column.name, &column.text(*row), expected);
            if becomes_missing {
                evidence.sentence.push_str("; it becomes a missing value");
            }
            evidence
        });
    }
    if scope.rule.is_some_and(|rule| rule.time) {
        each_value(scope, reporter, |_, value| {
            let is_time = matches!(cell::time(value.as_bytes()), Cell::Value(_));
            (!is_time).then(|| "a date or a time such as `2026-11-24T12:00:00Z`".to_owned())
        });
    }
}

/// A number with more digits than a double holds.
fn rounded(scope: &ColumnScope, reporter: &mut Reporter) {
    let column = scope.column;
    for row in &column.rounded {
        let place = scope.table.place(*row);
        reporter.found(scope.table.origin(), &column.name, place, || {
            let (text, number) = (column.text(*row), column.number(*row).unwrap_or_default());
            let kept = crate::printable::shown(&format!("{number:.0}"));
            let shown = crate::printable::shown(&text);
            let sentence = format!(
                "column `{}` holds `{shown}`, which as a number loses its last digits ({kept}); `type: category` in \
                 the schema keeps them",
                column.name
            );
            Evidence::new("at most 15 digits", shown, sentence)
        });
    }
}

/// Finds the values of a column for which `expected` has words: what they are to be and are not.
fn each_value(
    scope: &ColumnScope,
    reporter: &mut Reporter,
    expected: impl Fn(&ColumnRule, &str) -> Option<String>,
) {
    let Some(rule) = scope.rule else { return };
    let column = scope.column;
    for row in 0..column.rows() {
        let Some(value) = rule.value(column, row) else {
            continue;
        };
        if let Some(expected) = expected(rule, &value) {
            found(scope, reporter, row, &value, expected);
        }
    }
}

/// That a row holds a value and something else was expected.
fn found(scope: &ColumnScope, reporter: &mut Reporter, row: usize, value: &str, expected: String) {
    let (column, place) = (&scope.column.name, scope.table.place(row));
    reporter.found(scope.table.origin(), column, place, || {
        Evidence::holds(column, value, expected)
    });
}

/// A cell without a value where one is required.
fn required(scope: &ColumnScope, reporter: &mut Reporter) {
    let column = scope.column;
    let Some(rule) = scope.rule.filter(|rule| rule.required) else {
        return;
    };
    if rule.missing(column) == 0 {
        return;
    }
    for row in (0..column.rows()).filter(|row| rule.value(column, *row).is_none()) {
        let place = scope.table.place(row);
        reporter.found(scope.table.origin(), &column.name, place, || {
            Evidence::missing(&column.name)
        });
    }
}

/// More missing cells than the schema allows.
fn share_missing(scope: &TableScope, reporter: &mut Reporter) {
    for column in &scope.table.columns {
        let rule = scope.rule.and_then(|rule| rule.column(&column.name));
        let Some(limit) = rule.and_then(|rule| rule.missing_at_most) else {
            continue;
        };
        let (missing, rows) = (column.missing, scope.table.rows);
        if missing as f64 > limit * rows as f64 {
            reporter.found(scope.table.origin(), &column.name, None, || {
                let share = missing as f64 / rows as f64;
                let sentence = format!(
                    "column `{}` has no value in {missing} of {rows} rows, a share of {share:.4}, \
                     expected at most {limit}",
                    column.name
                );
                Evidence::new(format!("at most {limit}"), format!("{share:.4}"), sentence)
            });
        }
    }
}

/// A value outside the domain.
fn domain(scope: &ColumnScope, reporter: &mut Reporter) {
    let domain = scope.rule.and_then(|rule| rule.domain.as_ref());
    if let (Some(domain), Some(known)) = (domain, scope.domain) {
        each_value(scope, reporter, |rule, value| {
            (!known.contains(&rule.comparable(value))).then(|| listed(domain))
        });
    }
}

/// A number or a time before the least or behind the greatest.
fn range(scope: &ColumnScope, reporter: &mut Reporter) {
    let Some(rule) = scope.rule else { return };
    if rule.earliest.is_some() || rule.latest.is_some() {
        each_value(scope, reporter, ColumnRule::out_of_times);
    }
    if rule.min.is_none() && rule.max.is_none() {
        return;
    }
    let column = scope.column;
    for row in 0..column.rows() {
        let Some(number) = column.number(row) else {
            continue;
        };
        if let Some(expected) = rule.out_of_range(number) {
            found(scope, reporter, row, &column.text(row), expected);
        }
    }
}

/// A text that is too short or too long.
fn length(scope: &ColumnScope, reporter: &mut Reporter) {
    let has_bounds = |rule: &ColumnRule| rule.min_length.is_some() || rule.max_length.is_some();
    if scope.rule.is_some_and(has_bounds) {
        each_value(scope, reporter, |rule, value| {
            let characters = value.chars().count();
            let expected = rule.out_of_length(value)?;
            Some(format!("{expected}, not {characters}"))
        });
    }
}

/// A text that does not match the pattern.
fn pattern(scope: &ColumnScope, reporter: &mut Reporter) {
    if let Some(pattern) = scope.rule.and_then(|rule| rule.matches.as_ref()) {
        each_value(scope, reporter, |_, value| {
            (!pattern.is_match(value)).then(|| format!("what matches `{}`", pattern.text))
        });
    }
}

/// The values of a domain in words; of a long one the first few.
pub(super) fn listed(values: &[String]) -> String {
    let quoted = |values: &[String]| {
        let quoted = values
            .iter()
            .map(|v| format!("`{}`", crate::printable::shown(v)));
        quoted.collect::<Vec<_>>().join(", ")
    };
    match values {
        [only] => quoted(std::slice::from_ref(only)),
        [a, b, c, d, e, rest @ ..] if rest.len() > 1 => {
            let first = [a, b, c, d, e].map(String::clone);
            format!("one of {} and {} more", quoted(&first), rest.len())
        }
        _ => format!("one of {}", quoted(values)),
    }
}

/// Fewer rows than the schema asks for, or more than it allows.
fn rows(scope: &TableScope, reporter: &mut Reporter) {
    let Some(rule) = scope.rule else { return };
    let rows = scope.table.rows;
    let expected = match (rule.min_rows, rule.max_rows) {
        (Some(min), _) if rows < min => format!("at least {min}"),
        (_, Some(max)) if rows > max => format!("at most {max}"),
        _ => return,
    };
    reporter.found(scope.table.origin(), "", None, || {
        let found = counted(rows, "row");
        let sentence = format!("the table has {found}, expected {expected}");
        Evidence::new(expected, rows.to_string(), sentence)
    });
}

/// A value that stands twice.
fn unique(rule: &TableRule) -> Vec<Vec<String>> {
    let unique = rule.columns.iter().filter(|rule| rule.unique);
    unique.map(|rule| vec![rule.name.value.clone()]).collect()
}

/// Values of several columns that stand together twice.
fn key(rule: &TableRule) -> Vec<Vec<String>> {
    rule.keys.clone()
}

/// A value that the column which it refers to does not hold.
fn reference(scope: &ColumnScope, reporter: &mut Reporter) {
    let column = scope.column;
    let to = scope
        .rule
        .and_then(|rule| Some((rule, rule.references.as_ref()?)));
    let Some((rule, to)) = to else { return };
    let Some(known) = scope.references.known(to) else {
        return;
    };
    for row in 0..column.rows() {
        let value = rule.value(column, row);
        if let Some(value) = value.filter(|value| !known.contains(&key_of([value]))) {
            let place = scope.table.place(row);
            reporter.found(scope.table.origin(), &column.name, place, || {
                let expected = format!("a value of `{}` in table `{}`", to.column, to.table);
                Evidence::holds(&column.name, &value, expected)
            });
        }
    }
}

#[cfg(test)]
mod tests;
