//! The checks of joined rows, and the classes of the label among them.

use anyhow::Result;

use super::{EXAMPLES, counted, number, unanswered};
use crate::config::{Config, SplitRule};
use crate::data::batch::ABSENT;
use crate::data::checks;
use crate::data::findings::{Findings, Origin};
use crate::data::frame::{Frame, FrameColumn};
use crate::data::label::{Labels, MOST_CLASSES};
use crate::data::table::{Column, Kind, Table, Totals};
use crate::data::warehouse::column::TypedColumn;
use crate::data::warehouse::{Ask, Query, Relation, Rows, identifier};

/// The rows of joined tables.
#[derive(Clone, Copy, Debug)]
pub(crate) struct JoinedRows<'a> {
    pub relation: &'a Relation,
    /// In the order of the relation's columns.
    pub columns: &'a [FrameColumn],
    pub kinds: &'a [Kind],
    pub tables: &'a [Totals],
    /// For each table a BOOL of SQL that is never NULL: the table has a row here.
    pub has_row: &'a [String],
}

impl<'a> JoinedRows<'a> {
    fn column(&self, name: &str) -> Option<(&'a FrameColumn, TypedColumn<'a>)> {
        let at = self.columns.iter().position(|column| column.name == name)?;
        let column = self.relation.columns.get(at)?;
        Some((
            self.columns.get(at)?,
            column.taken_for(*self.kinds.get(at)?),
        ))
    }

    /// Lets a check speak of a row in which a column has a cell, of the tables that have a row in it.
    fn tell(
        &self,
        config: &Config,
        code: &str,
        (name, cell): (&str, Option<&str>),
        there: impl Fn(usize) -> bool,
        rows: u64,
        findings: &mut Findings,
    ) {
        let kind_of = |name: &str| self.column(name).map(|(_, typed)| typed.kind);
        let unknown = Kind {
            values: None,
            declared: false,
            dates: false,
        };
        let table = |table: &Totals| {
            let columns = table.columns.iter().map(|column| {
                let cell = cell.filter(|_| column.name == name);
                let kind = kind_of(&column.name).unwrap_or(unknown);
                Column::example(&column.name, cell, kind)
            });
            let origin = Origin {
                table: &table.name,
                path: &table.path,
            };
            Table::example(origin, columns.collect())
        };
        let tables: Vec<Table> = self.tables.iter().map(table).collect();
        let places = (0..tables.len()).map(|table| vec![if there(table) { 0 } else { ABSENT }]);
        let frame = Frame::new(
            tables.iter().collect(),
            self.columns.into(),
            places.collect(),
        );
        checks::joined_example(config, code, &frame, rows, findings);
    }
}

/// Checks joined rows: each must have a label, and a date where the split goes by one.
///
/// # Errors
/// When a query fails.
pub(crate) async fn joined(
    config: &Config,
    rows: &JoinedRows<'_>,
    ask: &impl Ask,
) -> Result<Findings> {
    let mut findings = Findings::default();
    for (code, _) in checks::of_cells(config) {
        match code {
            "label.missing" => without_label(config, code, rows, ask, &mut findings).await?,
            "split.time" => without_date(config, code, rows, ask, &mut findings).await?,
            _ => {}
        }
    }
    Ok(findings)
}

/// Rows without a label: because its table has none there, or no row.
async fn without_label(
    config: &Config,
    code: &str,
    rows: &JoinedRows<'_>,
    ask: &impl Ask,
    findings: &mut Findings,
) -> Result<()> {
    let name = &*config.data.label.column;
    let Some((column, typed)) = rows.column(name) else {
        return Ok(());
    };
    let Some((of_label, _)) = column.source() else {
        return Ok(());
    };
    // For each table the rows that it is the first to have, that of the label before all others.
    let mut order: Vec<usize> = (0..rows.has_row.len()).filter(|t| *t != of_label).collect();
    order.insert(0, of_label);
    let mut counts = Vec::new();
    let mut before = format!("NOT {}", typed.is_missing());
    for table in &order {
        let there = rows.has_row.get(*table).map_or("FALSE", String::as_str);
        counts.push(format!("COUNTIF(NOT ({before}) AND {there})"));
        before = format!("{before} OR {there}");
    }
    let query = Query {
        purpose: "the rows without a label".to_owned(),
        sql: format!("SELECT {} {}", counts.join(", "), rows.relation.clause()),
    };
    let answer = ask(vec![query]).await?;
    let answer = answer
        .first()
        .and_then(|rows| rows.first())
        .ok_or_else(unanswered)?;
    for (table, found) in order.iter().zip(answer) {
        let found = number(found)?;
        if found > 0 {
            rows.tell(config, code, (name, None), |t| t == *table, found, findings);
        }
    }
    Ok(())
}

/// Rows that a split by time cannot place.
async fn without_date(
    config: &Config,
    code: &'static str,
    rows: &JoinedRows<'_>,
    ask: &impl Ask,
    findings: &mut Findings,
) -> Result<()> {
    let SplitRule::Time { column: name, .. } = &config.data.split.rule else {
        return Ok(());
    };
    let Some((column, typed)) = rows.column(name) else {
        return Ok(());
    };
    let date = r"^[0-9]{4}($|-[0-9]{2}($|-[0-9]{2}))";
    let text = format!("IF({}, NULL, {})", typed.is_missing(), typed.text());
    let without = format!("NOT IFNULL(REGEXP_CONTAINS(TRIM({text}), r'{date}'), FALSE)");
    let query = |select: &str, behind: &str| Query {
        purpose: "the rows without a date for the split".to_owned(),
        sql: format!(
            "SELECT COUNT(*) AS cells{select} {}{behind}",
            rows.relation.clause_where(&without)
        ),
    };
    let count = ask(vec![query("", "")]).await?;
    let count = count
        .first()
        .and_then(|rows| rows.first()?.first())
        .ok_or_else(unanswered)?;
    let found = number(count)?;
    if found == 0 {
        return Ok(());
    }
    let select = format!(", {text} AS example");
    let behind = format!(" GROUP BY example ORDER BY cells DESC, example LIMIT {EXAMPLES}");
    let examples = ask(vec![query(&select, &behind)]).await?;
    for row in examples.iter().flatten() {
        let (cells, [value]) = counted::<1>(row)?;
        rows.tell(
            config,
            code,
            (name, value.as_deref()),
            |_| true,
            cells,
            findings,
        );
    }
    if let Some((table, _)) = column.source()
        && let Some(table) = rows.tables.get(table)
    {
        checks::in_all(config, code, table.origin(), name, found, findings);
    }
    Ok(())
}

/// The query for the classes of the label among joined rows. `is_test` is a BOOL of SQL: the row is of the test part.
pub(crate) fn labels_query(relation: &Relation, label: TypedColumn, is_test: &str) -> Query {
    let (class, of_test) = (identifier("class"), format!("IFNULL({is_test}, FALSE)"));
    Query {
        purpose: "the classes of the label".to_owned(),
        sql: format!(
            "SELECT {} AS {class}, COUNTIF(NOT {of_test}), COUNTIF({of_test}) {} GROUP BY {class} ORDER BY {class} LIMIT {}",
            label.text(),
            relation.clause_where(&format!("NOT {}", label.is_missing())),
            MOST_CLASSES + 1
        ),
    }
}

/// The values of the label, from the answer of [`labels_query`].
///
/// # Errors
/// When the answer is none of that query.
pub(crate) fn labels(rows: &Rows) -> Result<Labels> {
    let mut labels = Labels::default();
    for row in rows {
        let [Some(class), train, test] = &row[..] else {
            return Err(unanswered());
        };
        labels.add_counts(class, [number(train)?, number(test)?]);
    }
    Ok(labels)
}
