//! `schema.yaml`: what each column of each table must hold.
//!
//! ```yaml
//! tables:
//!   account:
//!     columns:
//!       customer_id: {type: category, required: true, unique: true}
//!       churn: {type: category, required: true, domain: [no, yes]}
//!       minutes: {type: number, min: 0, max: 400, missing: {at_most: 0.05}}
//!       remark: {presence: optional}
//! ```
//! Values of a domain are texts as they are written, quoted or not: `no` is the text `no`.

use std::path::Path;

use anyhow::Result;

use crate::config::cursor::{Cursor, Sections};
use crate::config::yaml::{self, Kind};
use crate::config::{File, Spot};
use crate::workspace::records::ColumnType;

/// The fields of `schema.yaml`; `*` is a table's or a column's name.
const FIELDS: Sections = &[
    ("", &["tables"]),
    ("tables.*", &["columns"]),
    (
        "tables.*.columns.*",
        &[
            "type", "presence", "required", "missing", "unique", "domain", "min", "max",
        ],
    ),
    ("tables.*.columns.*.missing", &["at_most"]),
];

/// The whole of a `schema.yaml`.
#[derive(Clone, Debug)]
pub struct Schema {
    /// In the order of the file.
    pub tables: Vec<TableRule>,
}

#[derive(Clone, Debug)]
pub struct TableRule {
    pub name: Spot<String>,
    pub columns: Vec<ColumnRule>,
}

/// What one column must hold; what is not said is not checked.
#[derive(Clone, Debug)]
pub struct ColumnRule {
    pub name: Spot<String>,
    /// Inferred from the values where absent.
    pub kind: Option<ColumnType>,
    /// The table may be without the column.
    pub optional: bool,
    /// No cell may be missing.
    pub required: bool,
    /// The largest share of cells that may be missing, from 0 to 1.
    pub missing_at_most: Option<f64>,
    /// No value may stand twice.
    pub unique: bool,
    /// The values that a category may have; for a label its classes.
    pub domain: Option<Vec<String>>,
    pub min: Option<f64>,
    pub max: Option<f64>,
}

impl Schema {
    /// Reads and checks a `schema.yaml`.
    ///
    /// # Errors
    /// [`crate::error::Input`] with `schema.yaml:LINE:COL`, the field's path and the nearest known field.
    pub fn read(path: &Path) -> Result<Self> {
        parse(&File::open(
            path,
            FIELDS,
            "`serin init` writes a first one from your tables",
        )?)
    }

    /// The rules of a table.
    pub fn table(&self, name: &str) -> Option<&TableRule> {
        self.tables.iter().find(|table| *table.name == name)
    }
}

impl TableRule {
    /// The rules of a column.
    pub fn column(&self, name: &str) -> Option<&ColumnRule> {
        self.columns.iter().find(|column| *column.name == name)
    }
}

fn parse(file: &File) -> Result<Schema> {
    let root = match yaml::parse(&file.text) {
        Ok(root) => root,
        Err(error) => return Err(file.error(&error.mark, error.message).into()),
    };
    let root = Cursor {
        file,
        node: &root,
        path: String::new(),
    };
    let tables = root.fields("")?.need("tables")?;
    let mut schema = Schema { tables: Vec::new() };
    for (name, table) in tables.map("a mapping of tables")?.entries() {
        let name = Spot {
            value: name.text.clone(),
            place: file.place(&name.mark),
        };
        let columns = table.fields("tables.*")?.need("columns")?;
        let columns = columns.map("a mapping of columns")?;
        let rules = columns.entries().map(|(name, rule)| {
            let name = Spot {
                value: name.text.clone(),
                place: file.place(&name.mark),
            };
            column(name, rule)
        });
        schema.tables.push(TableRule {
            name,
            columns: rules.collect::<Result<_>>()?,
        });
    }
    Ok(schema)
}

fn column(name: Spot<String>, rule: Cursor) -> Result<ColumnRule> {
    let mut column = ColumnRule {
        name,
        kind: None,
        optional: false,
        required: false,
        missing_at_most: None,
        unique: false,
        domain: None,
        min: None,
        max: None,
    };
    if matches!(rule.node.kind, Kind::Null) {
        return Ok(column);
    }
    let rule = rule.fields("tables.*.columns.*")?;
    let flag = |name: &str| match rule.get(name) {
        Some(field) => field.word(&[("true", true), ("false", false)]),
        None => Ok(false),
    };
    let bound = |name: &str| {
        let field = rule.get(name);
        field.map(|f| f.number("a number", |_| true)).transpose()
    };
    column.required = flag("required")?;
    column.unique = flag("unique")?;
    column.min = bound("min")?;
    column.max = bound("max")?;
    if let Some(field) = rule.get("presence") {
        column.optional = field.word(&[("required", false), ("optional", true)])?;
    }
    if let Some(missing) = rule.get("missing") {
        let share = missing.fields("tables.*.columns.*.missing")?;
        let share = share.need("at_most")?;
        let share = share.number("a share from 0 to 1", |x| (0.0..=1.0).contains(&x))?;
        column.missing_at_most = Some(share);
    }
    if let Some(domain) = rule.get("domain") {
        let values = domain.list("a list of values")?;
        let values = values.iter().map(|value| {
            let text = value.text("a value; quote one that is empty or `null`")?;
            Ok(text.value)
        });
        column.domain = Some(values.collect::<Result<_>>()?);
    }
    if let Some(kind) = rule.get("type") {
        column.kind = Some(kind.word(&[
            ("number", ColumnType::Number),
            ("category", ColumnType::Category),
            ("boolean", ColumnType::Boolean),
        ])?);
    } else if column.domain.is_some() {
        column.kind = Some(ColumnType::Category);
    } else if column.min.is_some() || column.max.is_some() {
        column.kind = Some(ColumnType::Number);
    }
    if column.kind != Some(ColumnType::Number) {
        rule.refuse("min", "is for columns of type `number`")?;
        rule.refuse("max", "is for columns of type `number`")?;
    }
    if column.kind != Some(ColumnType::Category) {
        rule.refuse("domain", "is for columns of type `category`")?;
    }
    if let (Some(min), Some(max)) = (column.min, column.max)
        && min > max
    {
        let message = format!("`min` is {min}, above `max`, which is {max}");
        return Err(rule.error_at("min", message).into());
    }
    Ok(column)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Schema> {
        let path = Path::new("schema.yaml");
        parse(&File::new(path, text.as_bytes().to_vec(), FIELDS)?)
    }

    fn error(rule: &str) -> String {
        let text = format!("tables:\n  t:\n    columns:\n      a: {rule}\n");
        let error = read(&text).unwrap_err();
        let hint = error
            .downcast_ref::<crate::error::Input>()
            .unwrap()
            .hint
            .clone();
        format!("{error} / {}", hint.unwrap_or_default())
    }

    #[test]
    fn a_domain_is_text_as_it_is_written() {
        let text = "tables: {t: {columns: {a: {domain: [no, yes, 1.0, 'x y']}, b: {min: 1}, c: }}}";
        let schema = read(text).unwrap();
        let table = schema.table("t").unwrap();
        let a = table.column("a").unwrap();
        assert_eq!(a.domain.as_deref().unwrap(), ["no", "yes", "1.0", "x y"]);
        assert_eq!(a.kind, Some(ColumnType::Category));
        assert_eq!(table.column("b").unwrap().kind, Some(ColumnType::Number));
        assert_eq!(table.column("c").unwrap().kind, None);
        assert!(table.column("d").is_none() && schema.table("u").is_none());
    }

    #[test]
    fn a_mistake_is_named_with_its_place_and_the_nearest_field() {
        assert_eq!(
            error("{typ: number}"),
            "schema.yaml:4:11: unknown field `tables.t.columns.a.typ` / did you mean `type`?"
        );
        assert_eq!(
            error("{type: numbre}"),
            "schema.yaml:4:17: `tables.t.columns.a.type`: expected `number`, `category` or `boolean`, \
             found `numbre` / did you mean `number`?"
        );
        for (rule, part) in [
            (
                "{type: category, min: 1}",
                "is for columns of type `number`",
            ),
            (
                "{type: number, domain: [1]}",
                "is for columns of type `category`",
            ),
            ("{min: 2, max: 1}", "above `max`"),
            ("{missing: {at_most: 2}}", "a share from 0 to 1"),
            ("{domain: [~]}", "quote one that is empty"),
            ("{required: yes}", "expected `true` or `false`"),
        ] {
            assert!(error(rule).contains(part), "{rule}: {}", error(rule));
        }
        assert!(read("").is_err() && read("tables: 1").is_err());
    }
}
