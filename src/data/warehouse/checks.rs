//! The checks of rows, for tables in a warehouse: SQL tells how many cells of a column each check finds, and up to
//! ten of their values; what is said of a value the check itself says, as of a cell of a file.
//!
//! A finding has no row here, and stands for all rows with its value.

mod cells;
pub(crate) mod join;
pub(crate) mod joined;
#[cfg(test)]
mod tests;

use anyhow::{Result, anyhow};

use super::column::TypedColumn;
use super::{Ask, Query, Relation, Rows};
use crate::config::Config;
use crate::data::checks::{self, Again, Keyed, References, RowChecks};
use crate::data::findings::{Findings, Origin};
use crate::data::schema::{Schema, TableRule};
use crate::data::table::{Column, ColumnTotals, Kind, Table, Totals};
use cells::Cell;

/// How many values are told for each check and column.
const EXAMPLES: usize = 10;

/// Expressions of a query and their bytes, of which BigQuery takes so many at most.
const MOST_EXPRESSIONS: usize = 500;
const MOST_BYTES: usize = 200_000;

/// A STRING of SQL: the cell of a finding that a cell is missing.
const NOTHING: &str = "CAST(NULL AS STRING)";

/// Checks and columns whose examples one query asks for.
const EXAMPLE_PARTS: usize = 50;

/// A table of `serin.yaml` that is in a warehouse.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source<'a> {
    pub name: &'a str,
    /// Its place, as messages show it: `bq://p.d.t`.
    pub path: &'a str,
    pub relation: &'a Relation,
    /// In the order of the columns.
    pub kinds: &'a [Kind],
}

impl<'a> Source<'a> {
    fn columns(&self) -> impl Iterator<Item = TypedColumn<'a>> + use<'a> {
        let columns = self.relation.columns.iter().zip(self.kinds);
        columns.map(|(column, kind)| column.taken_for(*kind))
    }

    fn column(&self, name: &str) -> Option<TypedColumn<'a>> {
        self.columns().find(|typed| typed.column.name == name)
    }

    fn origin(&self) -> Origin<'a> {
        Origin {
            table: self.name,
            path: self.path,
        }
    }
}

/// What a check asks of a table.
struct Asked<'a> {
    code: &'static str,
    /// What a finding calls the column, or the columns.
    name: String,
    /// The columns whose cells it is about, one but for a key's.
    columns: Vec<TypedColumn<'a>>,
    which: Which,
    /// A STRING of SQL: what the cell holds.
    example: String,
}

/// Which cells a check finds.
enum Which {
    /// Those of rows of the table for which a condition holds, which is never NULL.
    Condition(String),
    /// All of a clause `FROM …`.
    Clause(String),
}

/// Checks a table: its totals (rows, columns, missing cells for each column) and what was found in its rows. `all` are
/// the tables that a schema may refer to.
///
/// # Errors
/// [`crate::error::Input`] for an expression in the schema that BigQuery cannot match; when a query fails.
pub(crate) async fn table(
    config: &Config,
    schema: Option<&Schema>,
    source: &Source<'_>,
    all: &[Source<'_>],
    ask: &impl Ask,
) -> Result<(Totals, Findings)> {
    let references = References::without_values(schema);
    let row_checks = RowChecks::new(config, schema, &references, source.name);
    let rule = schema.and_then(|schema| schema.table(source.name));
    let asked = asked(config, schema, source, all)?;
    let keys = keys(&row_checks, rule, source);

    let mut counts = vec!["COUNT(*)".to_owned()];
    let missing = cells(rule, source).map(|cell| format!("COUNTIF({})", cell.is_missing()));
    counts.extend(missing);
    let mut clauses = Vec::new();
    for asked in &asked {
        match &asked.which {
            Which::Condition(condition) => counts.push(format!("COUNTIF({condition})")),
            Which::Clause(clause) => clauses.push(Query {
                purpose: format!("the `{}` of {}", asked.code, source.name),
                sql: format!("SELECT COUNT(*) {clause}"),
            }),
        }
    }
    counts.extend(keys.iter().map(KeyOfTable::repeated));
    let mut queries = counting(source, &counts);
    queries.extend(clauses);
    let mut numbers = numbers(&ask(queries).await?)?.into_iter();
    let mut next = || numbers.next().ok_or_else(unanswered);

    let rows = next()?;
    let mut columns = Vec::new();
    for column in &source.relation.columns {
        let (name, missing) = (column.name.clone(), next()?);
        columns.push(ColumnTotals { name, missing });
    }
    let totals = Totals {
        name: source.name.to_owned(),
        path: source.path.to_owned(),
        columns,
        rows,
        bad_rows: Vec::new(),
        bad_row_count: 0,
    };
    let is_of_rows = |asked: &&Asked| matches!(asked.which, Which::Condition(_));
    let mut found = Vec::new();
    for asked in asked.iter().filter(is_of_rows) {
        found.push((asked, next()?));
    }
    let mut repeated = Vec::new();
    for key in &keys {
        repeated.push((key, next()?));
    }
    for asked in asked.iter().filter(|asked| !is_of_rows(asked)) {
        found.push((asked, next()?));
    }
    found.retain(|(_, cells)| *cells > 0);
    repeated.retain(|(_, rows)| *rows > 0);

    let parts: Vec<_> = found.chunks(EXAMPLE_PARTS).collect();
    let mut queries: Vec<Query> = parts.iter().map(|part| examples(source, part)).collect();
    queries.extend(repeated.iter().map(|(key, _)| key.examples(source)));
    let answers = match queries.is_empty() {
        true => Vec::new(),
        false => ask(queries).await?,
    };
    let mut answers = answers.into_iter();
    let mut findings = Findings::default();
    for part in parts {
        let examples = answers.next().ok_or_else(unanswered)?;
        for (n, (asked, cells)) in part.iter().enumerate() {
            let mut told = Vec::new();
            for row in &examples {
                let (of, [value]) = counted::<1>(row.get(1..).unwrap_or_default())?;
                if row.first() == Some(&Some(n.to_string())) {
                    told.push((value, of));
                }
            }
            asked.tell(config, source, &row_checks, &told, *cells, &mut findings);
        }
    }
    for (key, rows) in repeated {
        let examples = answers.next().ok_or_else(unanswered)?;
        key.tell(source, &examples, rows, &mut findings)?;
    }
    Ok((totals, findings))
}

/// The cells of a table's columns with their rules.
fn cells<'a>(
    rule: Option<&'a TableRule>,
    source: &Source<'a>,
) -> impl Iterator<Item = Cell<'a>> + use<'a> {
    source.columns().map(move |column| Cell {
        column,
        rule: rule.and_then(|rule| rule.column(&column.column.name)),
    })
}

/// What the checks ask of a table.
fn asked<'a>(
    config: &Config,
    schema: Option<&'a Schema>,
    source: &Source<'a>,
    all: &[Source<'a>],
) -> Result<Vec<Asked<'a>>> {
    let rule = schema.and_then(|schema| schema.table(source.name));
    let mut asked = Vec::new();
    for (code, _) in checks::of_cells(config) {
        if code == "join.empty_key" {
            asked.extend(empty_key(config, source, code));
            continue;
        }
        for cell in cells(rule, source) {
            let which = match code {
                "schema.reference" => refers_to_none(&cell, source, schema, all).map(Which::Clause),
                _ => cell.found_by(code)?.map(Which::Condition),
            };
            let Some(which) = which else { continue };
            let example = match &which {
                // However a missing cell is written, it is missing.
                Which::Condition(_) if code == "schema.required" => NOTHING.to_owned(),
                Which::Condition(_) => cell.column.text(),
                Which::Clause(_) => "cells.value".to_owned(),
            };
            asked.push(Asked {
                code,
                name: cell.column.column.name.clone(),
                columns: vec![cell.column],
                which,
                example,
            });
        }
    }
    Ok(asked)
}

/// Rows that lack a part of the key that the tables are joined on.
fn empty_key<'a>(config: &Config, source: &Source<'a>, code: &'static str) -> Option<Asked<'a>> {
    let on = &config.data.join.as_ref()?.on;
    let columns: Vec<TypedColumn> = on.iter().filter_map(|key| source.column(key)).collect();
    let missing: Vec<String> = columns.iter().map(|column| column.is_missing()).collect();
    let names: Vec<&str> = on.iter().map(|key| key.as_str()).collect();
    (!missing.is_empty()).then(|| Asked {
        code,
        name: names.join(", "),
        columns,
        which: Which::Condition(format!("({})", missing.join(" OR "))),
        example: NOTHING.to_owned(),
    })
}

/// The cells of a column that refers to another, and whose value that one does not hold.
fn refers_to_none(
    cell: &Cell,
    source: &Source,
    schema: Option<&Schema>,
    all: &[Source],
) -> Option<String> {
    let to = cell.rule?.references.as_ref()?;
    let rule = schema?.table(&to.table)?.column(&to.column)?;
    let other = all.iter().find(|source| source.name == to.table)?;
    let known = Cell {
        column: other.column(&to.column)?,
        rule: Some(rule),
    };
    Some(format!(
        "FROM (SELECT {} AS value {}) AS cells LEFT JOIN (SELECT DISTINCT {} AS known {}) AS others \
         ON cells.value = others.known WHERE others.known IS NULL",
        cell.column.text(),
        source
            .relation
            .clause_where(&format!("NOT {}", cell.is_missing())),
        known.column.text(),
        other
            .relation
            .clause_where(&format!("NOT {}", known.is_missing())),
    ))
}

impl Asked<'_> {
    /// Lets the check speak of values, each with how many cells hold it, of `cells` altogether.
    fn tell(
        &self,
        config: &Config,
        source: &Source,
        row_checks: &RowChecks,
        examples: &[(Option<String>, u64)],
        cells: u64,
        findings: &mut Findings,
    ) {
        for (value, rows) in examples {
            let columns = self
                .columns
                .iter()
                .map(|typed| Column::example(&typed.column.name, value.as_deref(), typed.kind));
            let table = Table::example(source.origin(), columns.collect());
            row_checks.example(self.code, &table, *rows, findings);
        }
        checks::in_all(
            config,
            self.code,
            source.origin(),
            &self.name,
            cells,
            findings,
        );
    }
}

/// The query for the values that checks found most often, of each its number here, how often and what.
fn examples(source: &Source, found: &[(&Asked, u64)]) -> Query {
    let part = |(n, (asked, _)): (usize, &(&Asked, u64))| {
        let clause = match &asked.which {
            Which::Condition(condition) => source.relation.clause_where(condition),
            Which::Clause(clause) => clause.clone(),
        };
        let example = &asked.example;
        // Grouped behind the selection, because BigQuery groups by no constant.
        format!(
            "(SELECT {n} AS part, COUNT(*) AS cells, example FROM (SELECT {example} AS example {clause}) \
             GROUP BY example ORDER BY cells DESC, example LIMIT {EXAMPLES})"
        )
    };
    let parts: Vec<String> = found.iter().enumerate().map(part).collect();
    Query {
        purpose: format!("what the checks found in {}", source.name),
        sql: format!(
            "SELECT part, cells, example FROM (\n{}\n) ORDER BY part, cells DESC, example",
            parts.join("\nUNION ALL\n")
        ),
    }
}

/// Columns whose values together may stand only once in a table.
struct KeyOfTable<'a> {
    keyed: &'a Keyed,
    /// Whether a row has all parts of its key: never NULL.
    complete: String,
    /// A STRING of SQL for each part.
    parts: Vec<String>,
}

/// The keys of a table whose columns are there.
fn keys<'a>(
    checks: &'a RowChecks,
    rule: Option<&TableRule>,
    source: &Source,
) -> Vec<KeyOfTable<'a>> {
    let key = |keyed: &'a Keyed| {
        let cell = |name: &String| {
            Some(Cell {
                column: source.column(name)?,
                rule: Some(rule?.column(name)?),
            })
        };
        let cells: Vec<Cell> = keyed.columns.iter().map(cell).collect::<Option<_>>()?;
        let there = cells
            .iter()
            .map(|cell| format!("NOT {}", cell.is_missing()));
        Some(KeyOfTable {
            keyed,
            complete: format!("({})", there.collect::<Vec<_>>().join(" AND ")),
            parts: cells.iter().map(|cell| cell.column.text()).collect(),
        })
    };
    checks.keys.iter().filter_map(key).collect()
}

impl KeyOfTable<'_> {
    /// How many rows have a key that stands in a row before.
    fn repeated(&self) -> String {
        let (complete, key) = (&self.complete, together(&self.parts));
        format!("COUNTIF({complete}) - COUNT(DISTINCT IF({complete}, {key}, NULL))")
    }

    /// The query for the keys that stand most often, with how many rows have each.
    fn examples(&self, source: &Source) -> Query {
        let names: Vec<String> = (0..self.parts.len()).map(|n| format!("part{n}")).collect();
        let parts = self.parts.iter().zip(&names);
        let parts: Vec<String> = parts
            .map(|(part, name)| format!("{part} AS {name}"))
            .collect();
        let names = names.join(", ");
        Query {
            purpose: format!("the `{}` of {}", self.keyed.code, source.name),
            sql: format!(
                "SELECT COUNT(*) AS times, {} {} GROUP BY {names} HAVING times > 1 \
                 ORDER BY times DESC, {names} LIMIT {EXAMPLES}",
                parts.join(", "),
                source.relation.clause_where(&self.complete)
            ),
        }
    }

    /// Tells keys that stand in several rows; `rows` are all that stand behind another with the same.
    fn tell(
        &self,
        source: &Source,
        examples: &Rows,
        rows: u64,
        findings: &mut Findings,
    ) -> Result<()> {
        let name = self.keyed.columns.join(", ");
        let mut reporter = findings.reporter(self.keyed.code, self.keyed.severity);
        for row in examples {
            let (times, []) = counted::<0>(row)?;
            let values = row
                .iter()
                .skip(1)
                .map(|value| value.clone().unwrap_or_default());
            let values: Vec<String> = values.collect();
            reporter.found(source.origin(), &name, None, || {
                self.keyed.again(&values, &Again::Rows(times))
            });
            // Those told here stand for all of their rows but the first.
            reporter.told(source.origin(), &name, times.saturating_sub(2));
        }
        reporter.in_all(source.origin(), &name, rows);
        Ok(())
    }
}

/// A STRING of SQL that differs where one of these does; NULL where one of these is.
fn together(parts: &[String]) -> String {
    match parts {
        [only] => only.clone(),
        parts => {
            let part = |part: &String| format!("CAST(CHAR_LENGTH({part}) AS STRING), ':', {part}");
            let parts: Vec<String> = parts.iter().map(part).collect();
            format!("CONCAT({})", parts.join(", "))
        }
    }
}

/// The queries that give these numbers of a table, in their order.
fn counting(source: &Source, numbers: &[String]) -> Vec<Query> {
    let mut parts: Vec<Vec<&str>> = Vec::new();
    let mut bytes = 0;
    for number in numbers {
        bytes += number.len();
        match parts.last_mut() {
            Some(part) if part.len() < MOST_EXPRESSIONS && bytes <= MOST_BYTES => part.push(number),
            _ => {
                bytes = number.len();
                parts.push(vec![number]);
            }
        }
    }
    let query = |part: Vec<&str>| Query {
        purpose: format!("the checks of {}", source.name),
        sql: format!(
            "SELECT\n  {}\n{}",
            part.join(",\n  "),
            source.relation.clause()
        ),
    };
    parts.into_iter().map(query).collect()
}

/// All numbers of answers of one row each.
fn numbers(answers: &[Rows]) -> Result<Vec<u64>> {
    let cells = answers.iter().flatten().flatten();
    cells.map(number).collect()
}

fn number(cell: &Option<String>) -> Result<u64> {
    let cell = cell.as_deref().unwrap_or("0");
    cell.parse()
        .map_err(|_| anyhow!("`{cell}` was answered where a number was asked for"))
}

/// A row of a count, and of so many more cells.
fn counted<const N: usize>(row: &[Option<String>]) -> Result<(u64, [Option<String>; N])> {
    let (count, rest) = row.split_first().ok_or_else(unanswered)?;
    let cells: Vec<_> = rest.iter().take(N).cloned().collect();
    Ok((number(count)?, cells.try_into().map_err(|_| unanswered())?))
}

fn unanswered() -> anyhow::Error {
    anyhow!("a query of the checks was not answered in full")
}
