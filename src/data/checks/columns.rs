//! Columns against `schema.yaml`.

use std::collections::{HashMap, HashSet};

use super::{ColumnScope, TableScope};
use crate::data::findings::{Evidence, Reporter};
use crate::data::types;

/// A table that the schema says nothing about.
pub(super) fn undescribed(scope: &TableScope, reporter: &mut Reporter) {
    if scope.schema.is_some() && scope.rule.is_none() {
        reporter.found(scope.table, "", None, || {
            let name = &scope.table.name;
            let sentence = format!("the schema does not describe the table `{name}`");
            Evidence::new("rules", "none", sentence)
        });
    }
}

/// A column that the schema asks for and the table lacks.
pub(super) fn absent(scope: &TableScope, reporter: &mut Reporter) {
    let rules = scope.rule.map_or(&[][..], |rule| &rule.columns);
    for rule in rules.iter().filter(|rule| !rule.optional) {
        let name: &str = &rule.name;
        if scope.table.find(name).is_none() {
            reporter.found(scope.table, name, None, || {
                let sentence = format!(
                    "column `{name}` is missing, {} asks for it",
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
            reporter.found(scope.table, &column.name, None, || {
                let sentence = format!("the schema does not know column `{}`", column.name);
                Evidence::new("no such column", "a column", sentence)
            });
        }
    }
}

/// A text where a number or a boolean belongs.
pub(super) fn misfits(scope: &ColumnScope, reporter: &mut Reporter) {
    let column = scope.column;
    for row in &column.misfits {
        reporter.found(scope.table, &column.name, scope.table.place(*row), || {
            let expected = types::expected(column.kind);
            Evidence::holds(&column.name, column.text(*row), expected)
        });
    }
}

/// A cell without a value where one is required.
pub(super) fn required(scope: &ColumnScope, reporter: &mut Reporter) {
    let column = scope.column;
    if !scope.rule.is_some_and(|rule| rule.required) || column.missing == 0 {
        return;
    }
    for row in (0..column.rows()).filter(|row| column.value(*row).is_none()) {
        reporter.found(scope.table, &column.name, scope.table.place(row), || {
            Evidence::missing(&column.name)
        });
    }
}

/// More missing cells than the schema allows.
pub(super) fn share_missing(scope: &ColumnScope, reporter: &mut Reporter) {
    let column = scope.column;
    let Some(limit) = scope.rule.and_then(|rule| rule.missing_at_most) else {
        return;
    };
    let (missing, rows) = (column.missing, column.rows());
    if missing as f64 > limit * rows as f64 {
        reporter.found(scope.table, &column.name, None, || {
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

/// A value outside the domain.
pub(super) fn domain(scope: &ColumnScope, reporter: &mut Reporter) {
    let column = scope.column;
    let Some(domain) = scope.rule.and_then(|rule| rule.domain.as_ref()) else {
        return;
    };
    let known: HashSet<&str> = domain.iter().map(String::as_str).collect();
    for row in 0..column.rows() {
        if let Some(value) = column.value(row).filter(|value| !known.contains(value)) {
            reporter.found(scope.table, &column.name, scope.table.place(row), || {
                Evidence::holds(&column.name, value, listed(domain))
            });
        }
    }
}

/// The values of a domain in words; of a long one the first few.
pub(super) fn listed(values: &[String]) -> String {
    let quoted = |values: &[String]| {
        let quoted = values
            .iter()
            .map(|v| format!("`{}`", crate::data::shown(v)));
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

/// A number below the least or above the greatest.
pub(super) fn range(scope: &ColumnScope, reporter: &mut Reporter) {
    let column = scope.column;
    let Some(rule) = scope.rule else { return };
    if rule.min.is_none() && rule.max.is_none() {
        return;
    }
    for row in 0..column.rows() {
        let Some((text, number)) = column.value(row).and_then(|t| Some((t, types::number(t)?)))
        else {
            continue;
        };
        let expected = match (rule.min, rule.max) {
            (Some(min), _) if number < min => format!("at least {min}"),
            (_, Some(max)) if number > max => format!("at most {max}"),
            _ => continue,
        };
        reporter.found(scope.table, &column.name, scope.table.place(row), || {
            Evidence::holds(&column.name, text, expected)
        });
    }
}

/// A value that stands twice.
pub(super) fn unique(scope: &ColumnScope, reporter: &mut Reporter) {
    let column = scope.column;
    if !scope.rule.is_some_and(|rule| rule.unique) {
        return;
    }
    let mut seen: HashMap<&str, usize> = HashMap::with_capacity(column.rows());
    for row in 0..column.rows() {
        let Some(value) = column.value(row) else {
            continue;
        };
        let first = *seen.entry(value).or_insert(row);
        if first != row {
            let place = scope.table.place(row);
            reporter.found(scope.table, &column.name, place, || {
                let first = scope.table.place(first).map(|first| first.seen_from(place));
                let shown = crate::data::shown(value);
                let sentence = format!(
                    "column `{}` holds `{shown}` again, which stands on {} already",
                    column.name,
                    first.unwrap_or_default()
                );
                Evidence::new("each value once", shown, sentence)
            });
        }
    }
}
