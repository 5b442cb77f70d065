//! A `schema.yaml` from its text, with the mistakes in it.

use std::collections::{HashMap, HashSet};

use anyhow::Result;

use super::{ColumnRule, Moment, Pattern, Reference, Schema, TableRule};
use crate::data::cell::{self, Cell};
use crate::data::types;
use crate::settings::yaml::Key;
use crate::settings::{Cursor, Fields, File, Sections, Spot, did_you_mean};
use crate::workspace::records::ColumnType;

/// The fields of `schema.yaml`; `*` is a table's or a column's name.
pub(super) const FIELDS: Sections = &[
    ("", &["tables"]),
    ("tables.*", &["columns", "min_rows", "max_rows", "unique"]),
    (
        "tables.*.columns.*",
        &[
            "type",
            "presence",
            "required",
            "missing",
            "unique",
            "domain",
            "min",
            "max",
            "min_length",
            "max_length",
            "matches",
            "references",
        ],
    ),
    ("tables.*.columns.*.missing", &["at_most"]),
    ("tables.*.columns.*.references", &["table", "column"]),
];

/// The most rows that a rule may speak of; up to here numbers in a YAML file are exact everywhere.
const MOST: u64 = 1 << 53;

const DAY: i64 = 86_400_000_000;

pub(super) fn schema(file: &File) -> Result<Schema> {
    let root = file.root()?;
    let root = Cursor {
        file,
        node: &root,
        path: String::new(),
    };
    let tables = root.fields("")?.need("tables")?;
    let tables = tables.map("a mapping of tables")?;
    let mut schema = Schema {
        tables: Vec::new(),
        by_name: HashMap::new(),
    };
    for (name, rules) in tables.entries() {
        schema.add(table(spot(file, name), rules)?);
    }
    for (name, rules) in tables.entries() {
        let columns = rules.fields("tables.*")?.need("columns")?;
        for (column, rule) in columns.map("a mapping of columns")?.entries() {
            if !rule.node.is_null()
                && let Some(field) = rule.fields("tables.*.columns.*")?.get("references")
            {
                check_reference(&schema, (&name.text, &column.text), &field)?;
            }
        }
    }
    Ok(schema)
}

fn spot(file: &File, name: &Key) -> Spot<String> {
    Spot {
        value: name.text.clone(),
        place: file.place(&name.mark),
    }
}

fn table(name: Spot<String>, rules: Cursor) -> Result<TableRule> {
    let file = rules.file;
    let fields = rules.fields("tables.*")?;
    let columns = fields.need("columns")?;
    let columns = columns.map("a mapping of columns")?;
    let rows = |name: &str| {
        let field = fields.get(name);
        field.map(|field| field.integer(0, MOST)).transpose()
    };
    let mut table = TableRule {
        name,
        columns: Vec::new(),
        min_rows: rows("min_rows")?,
        max_rows: rows("max_rows")?,
        keys: Vec::new(),
        by_name: HashMap::new(),
    };
    in_order(
        &fields,
        ("min_rows", table.min_rows),
        ("max_rows", table.max_rows),
    )?;
    for (name, rule) in columns.entries() {
        table.add(column(spot(file, name), rule)?);
    }
    let Some(keys) = fields.get("unique") else {
        return Ok(table);
    };
    let what = "a list of keys, each a list of columns as in `[[customer, day]]`";
    for key in keys.list(what)? {
        let names = key.list(what)?;
        if names.is_empty() {
            return Err(key.error("a key has at least one column").into());
        }
        let mut columns: Vec<String> = Vec::new();
        let mut seen = HashSet::new();
        for name in names {
            let column = name.text("a column's name")?;
            if table.column(&column).is_none() {
                let known: Vec<&str> = table.columns.iter().map(|c| c.name.as_str()).collect();
                return Err(unknown(&name, "column", &column, &known));
            }
            if !seen.insert(column.value.clone()) {
                return Err(name.error(format!("`{}` is named twice", *column)).into());
            }
            columns.push(column.value);
        }
        table.keys.push(columns);
    }
    Ok(table)
}

/// The error that the schema describes no such table or column.
fn unknown(field: &Cursor, what: &str, name: &str, known: &[&str]) -> anyhow::Error {
    let name = crate::printable::shown(name);
    let error = field.error(format!("the schema describes no {what} `{name}`"));
    match did_you_mean(&name, known.iter().copied()) {
        Some(hint) => error.hint(hint),
        None => error,
    }
    .into()
}

/// Refuses a least above a greatest.
fn in_order<T: PartialOrd + std::fmt::Display>(
    fields: &Fields,
    (min_name, min): (&str, Option<T>),
    (max_name, max): (&str, Option<T>),
) -> Result<()> {
    match (min, max) {
        (Some(min), Some(max)) if min > max => {
            let message = format!("`{min_name}` is {min}, above `{max_name}`, which is {max}");
            Err(fields.error_at(min_name, message).into())
        }
        _ => Ok(()),
    }
}

fn column(name: Spot<String>, rule: Cursor) -> Result<ColumnRule> {
    let mut column = ColumnRule {
        name,
        kind: None,
        time: false,
        optional: false,
        required: false,
        missing_at_most: None,
        unique: false,
        domain: None,
        min: None,
        max: None,
        earliest: None,
        latest: None,
        min_length: None,
        max_length: None,
        matches: None,
        references: None,
    };
    if rule.node.is_null() {
        return Ok(column);
    }
    let rule = rule.fields("tables.*.columns.*")?;
    kind(&mut column, &rule)?;
    presence(&mut column, &rule)?;
    bounds(&mut column, &rule)?;
    if let Some(field) = rule.get("matches") {
        let text = field.text("a regular expression")?;
        let pattern = Pattern::new(&text)
            .map_err(|why| field.error(format!("is no regular expression: {why}")))?;
        column.matches = Some(pattern);
    }
    if let Some(field) = rule.get("references") {
        let to = field.fields("tables.*.columns.*.references")?;
        column.references = Some(Reference {
            table: to.need("table")?.text("a table's name")?.value,
            column: to.need("column")?.text("a column's name")?.value,
        });
    }
    if let Some(field) = rule.get("domain") {
        column.domain = Some(domain(&column, &field)?);
    }
    Ok(column)
}

/// The type, told or following from the other fields, and that these are for it.
fn kind(column: &mut ColumnRule, rule: &Fields) -> Result<()> {
    let has = |name: &str| rule.get(name).is_some();
    let bounded = has("min") || has("max");
    let texts = has("min_length") || has("max_length") || has("matches");
    let time = (ColumnType::Category, true);
    let told = match rule.get("type") {
        Some(kind) => Some(kind.word(&[
            ("number", (ColumnType::Number, false)),
            ("category", (ColumnType::Category, false)),
            ("boolean", (ColumnType::Boolean, false)),
            ("time", time),
        ])?),
        None if bounded => Some((ColumnType::Number, false)),
        None if has("domain") || texts => Some((ColumnType::Category, false)),
        None => None,
    };
    if let Some((kind, time)) = told {
        (column.kind, column.time) = (Some(kind), time);
    }
    let is_category = column.kind == Some(ColumnType::Category) && !column.time;
    for name in ["min", "max"] {
        if column.kind != Some(ColumnType::Number) && !column.time {
            rule.refuse(name, "is for columns of type `number` or `time`")?;
        }
    }
    for name in ["min_length", "max_length", "matches"] {
        if !is_category {
            rule.refuse(name, "is for columns of type `category`")?;
        }
    }
    if column.kind != Some(ColumnType::Number) && !is_category {
        rule.refuse("domain", "is for columns of type `category` or `number`")?;
    }
    Ok(())
}

fn presence(column: &mut ColumnRule, rule: &Fields) -> Result<()> {
    let flag = |name: &str| match rule.get(name) {
        Some(field) => field.word(&[("true", true), ("false", false)]),
        None => Ok(false),
    };
    column.required = flag("required")?;
    column.unique = flag("unique")?;
    if let Some(field) = rule.get("presence") {
        column.optional = field.word(&[("required", false), ("optional", true)])?;
    }
    if let Some(missing) = rule.get("missing") {
        let share = missing.fields("tables.*.columns.*.missing")?;
        let share = share.need("at_most")?;
        let share = share.number("a share from 0 to 1", |x| (0.0..=1.0).contains(&x))?;
        column.missing_at_most = Some(share);
        if column.required && share > 0.0 {
            let why = "says that cells may be missing, and `required` that none may";
            rule.refuse("missing", why)?;
        }
    }
    Ok(())
}

fn bounds(column: &mut ColumnRule, rule: &Fields) -> Result<()> {
    if column.time {
        let what = "a date or a time such as `2026-11-24` or `2026-11-24T12:00:00Z`";
        let moment = |name: &str, last: bool| {
            let read = |text: &str| match cell::time(text.as_bytes()) {
                Cell::Value(time) if time.date && last => Some(Moment {
                    micros: time.micros + DAY - 1,
                    text: text.trim().to_owned(),
                }),
                Cell::Value(time) => Some(Moment {
                    micros: time.micros,
                    text: text.trim().to_owned(),
                }),
                _ => None,
            };
            let field = rule.get(name);
            field.map(|field| field.value(what, read)).transpose()
        };
        column.earliest = moment("min", false)?;
        column.latest = moment("max", true)?;
        if let (Some(earliest), Some(latest)) = (&column.earliest, &column.latest)
            && earliest.micros > latest.micros
        {
            let (min, max) = (&earliest.text, &latest.text);
            let message = format!("`min` is {min}, above `max`, which is {max}");
            return Err(rule.error_at("min", message).into());
        }
    } else {
        let bound = |name: &str| {
            let field = rule.get(name);
            field.map(|f| f.number("a number", |_| true)).transpose()
        };
        column.min = bound("min")?;
        column.max = bound("max")?;
        in_order(rule, ("min", column.min), ("max", column.max))?;
    }
    let length = |name: &str| {
        let field = rule.get(name);
        field.map(|field| field.integer(0, MOST)).transpose()
    };
    column.min_length = length("min_length")?;
    column.max_length = length("max_length")?;
    let (min, max) = (column.min_length, column.max_length);
    in_order(rule, ("min_length", min), ("max_length", max))
}

/// The values of a domain, each of which the other rules of the column allow.
fn domain(column: &ColumnRule, field: &Cursor) -> Result<Vec<String>> {
    let mut values: Vec<String> = Vec::new();
    let mut seen = HashSet::new();
    for value in field.list("a list of values")? {
        let text = value
            .text("a value; quote one that is empty or `null`")?
            .value;
        let number = column.kind == Some(ColumnType::Number);
        if number && types::number(&text).is_none() {
            return Err(value.expected("a number").into());
        }
        let shown = crate::printable::shown(&text);
        if !seen.insert(column.comparable(&text).into_owned()) {
            return Err(value.error(format!("`{shown}` stands here twice")).into());
        }
        let pattern = column.matches.as_ref();
        let pattern = pattern.filter(|pattern| !pattern.is_match(&text));
        let refused = column
            .out_of_length(&text)
            .or_else(|| number.then(|| column.out_of_bounds(&text)).flatten())
            .or_else(|| pattern.map(|pattern| format!("what matches `{}`", pattern.text)));
        if let Some(expected) = refused {
            let message =
                format!("`{shown}` is refused by the column's other rules: expected {expected}");
            return Err(value.error(message).into());
        }
        values.push(text);
    }
    if values.is_empty() {
        return Err(field.error("a domain has at least one value").into());
    }
    Ok(values)
}

/// That a reference is to a column which the schema describes, and not to itself.
fn check_reference(schema: &Schema, from: (&str, &str), field: &Cursor) -> Result<()> {
    let to = field.clone().fields("tables.*.columns.*.references")?;
    let (table, column) = (to.need("table")?, to.need("column")?);
    let (table_name, column_name) = (
        table.text("a table's name")?,
        column.text("a column's name")?,
    );
    let Some(found) = schema.table(&table_name) else {
        let known: Vec<&str> = schema.tables.iter().map(|t| t.name.as_str()).collect();
        return Err(unknown(&table, "table", &table_name, &known));
    };
    if found.column(&column_name).is_none() {
        let known: Vec<&str> = found.columns.iter().map(|c| c.name.as_str()).collect();
        return Err(unknown(&column, "column", &column_name, &known));
    }
    if from == (table_name.as_str(), column_name.as_str()) {
        return Err(field.error("a column cannot refer to itself").into());
    }
    Ok(())
}
