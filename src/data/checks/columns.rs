//! Columns and their values against `schema.yaml`.

use std::collections::HashSet;

use super::{ColumnScope, TableScope};
use crate::data::cell::{self, Cell};
use crate::data::findings::{Evidence, Reporter};
use crate::data::schema::ColumnRule;
use crate::data::types;
use crate::settings::nearest;
use crate::workspace::records::Severity;

/// A table that the schema says nothing about.
pub(super) fn undescribed(scope: &TableScope, reporter: &mut Reporter) {
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
pub(super) fn absent(scope: &TableScope, reporter: &mut Reporter) {
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
pub(super) fn extra(scope: &TableScope, reporter: &mut Reporter) {
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
pub(super) fn misfits(scope: &ColumnScope, reporter: &mut Reporter) {
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
pub(super) fn rounded(scope: &ColumnScope, reporter: &mut Reporter) {
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
pub(super) fn required(scope: &ColumnScope, reporter: &mut Reporter) {
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
pub(super) fn share_missing(scope: &TableScope, reporter: &mut Reporter) {
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
pub(super) fn domain(scope: &ColumnScope, reporter: &mut Reporter) {
    let domain = scope.rule.and_then(|rule| rule.domain.as_ref());
    if let (Some(domain), Some(known)) = (domain, scope.domain) {
        each_value(scope, reporter, |rule, value| {
            (!known.contains(&rule.comparable(value))).then(|| listed(domain))
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

/// A number or a time before the least or behind the greatest.
pub(super) fn range(scope: &ColumnScope, reporter: &mut Reporter) {
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
pub(super) fn length(scope: &ColumnScope, reporter: &mut Reporter) {
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
pub(super) fn pattern(scope: &ColumnScope, reporter: &mut Reporter) {
    if let Some(pattern) = scope.rule.and_then(|rule| rule.matches.as_ref()) {
        each_value(scope, reporter, |_, value| {
            (!pattern.is_match(value)).then(|| format!("what matches `{}`", pattern.text))
        });
    }
}
