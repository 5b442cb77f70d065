//! What stands against a join of tables in a warehouse, or is worth knowing about it, as [`crate::data::join`] finds it
//! in files: how often each key stands in each table tells all of it.

use anyhow::Result;

use super::{EXAMPLES, Source, counted, number, together, unanswered};
use crate::config::{Config, JoinKind};
use crate::data::join::{Fault, KeyedRow, misfits};
use crate::data::warehouse::column::TypedColumn;
use crate::data::warehouse::{Ask, Query};
use crate::printable::shown;

/// What stands against the join of these tables; nothing where they are not joined. Where columns or keys make it
/// impossible, only that.
///
/// # Errors
/// When a query fails.
pub(crate) async fn join(
    config: &Config,
    tables: &[Source<'_>],
    ask: &impl Ask,
) -> Result<Vec<Fault>> {
    let Some(join) = &config.data.join else {
        return Ok(Vec::new());
    };
    let on: Vec<String> = join.on.iter().map(|key| key.value.clone()).collect();
    let names = |table: &Source| {
        let columns = table.relation.columns.iter();
        columns.map(|column| column.name.clone()).collect()
    };
    let names: Vec<Vec<String>> = tables.iter().map(names).collect();
    let names: Vec<Vec<&str>> = names
        .iter()
        .map(|of| of.iter().map(String::as_str).collect())
        .collect();
    let faults = misfits(&names, &on);
    if !faults.is_empty() {
        return Ok(faults);
    }
    let keys: Vec<Key> = tables.iter().map(|table| Key::of(table, &on)).collect();
    let pairs = pairs(tables.len(), join.how);
    let answer = ask(vec![query(tables, &keys, &pairs)]).await?;
    let row = answer
        .first()
        .and_then(|rows| rows.first())
        .ok_or_else(unanswered)?;
    let (repeated, unmatched) = row.split_at_checked(tables.len()).ok_or_else(unanswered)?;
    let repeated = repeated.iter().map(number).collect::<Result<Vec<u64>>>()?;
    let faults = duplicates(tables, &keys, &repeated, ask).await?;
    if !faults.is_empty() {
        return Ok(faults);
    }
    let mut faults = Vec::new();
    for (pair, found) in pairs.iter().zip(unmatched.chunks(2)) {
        let (rows, [key]) = counted::<1>(found)?;
        if rows > 0 {
            let key = shown(&key.unwrap_or_default());
            faults.push(Fault::Unmatched {
                table: pair.table,
                partner: pair.partner,
                rows,
                first: KeyedRow { place: None, key },
            });
        }
    }
    Ok(faults)
}

/// The key of a table's rows in SQL.
struct Key {
    /// A STRING that is the same for the same key; NULL where a part is missing.
    key: String,
    /// A STRING as messages show it.
    shown: String,
}

impl Key {
    fn of(table: &Source, on: &[String]) -> Self {
        let columns: Vec<TypedColumn> = on.iter().filter_map(|key| table.column(key)).collect();
        let keys: Vec<String> = columns.iter().map(|column| column.key()).collect();
        let shown: Vec<String> = columns
            .iter()
            .map(|column| format!("IFNULL({}, '')", column.text()))
            .collect();
        Self {
            key: together(&keys),
            shown: match &shown[..] {
                [only] => only.clone(),
                several => format!("CONCAT({})", several.join(", ', ', ")),
            },
        }
    }
}

/// Rows of a table that are asked for a partner in another.
struct Pair {
    table: usize,
    partner: usize,
    /// Which keys have none there, of the columns `n0`, `n1` … of counts: never NULL.
    condition: String,
}

/// The pairs of tables in the order in which [`crate::data::join`] tells them: a row is asked for its partner in the
/// next table only as far as the kind of join goes on with it.
fn pairs(tables: usize, how: JoinKind) -> Vec<Pair> {
    let stands = |table: usize| format!("(k IS NOT NULL AND n{table} > 0)");
    let all = |of: std::ops::Range<usize>, join: &str| {
        let all: Vec<String> = of.map(stands).collect();
        format!("({})", all.join(join))
    };
    let mut pairs = Vec::new();
    let mut push = |table, partner, condition| {
        pairs.push(Pair {
            table,
            partner,
            condition,
        });
    };
    for partner in 1..tables {
        let before = match how {
            JoinKind::Inner if partner > 1 => format!("{} AND ", all(1..partner, " AND ")),
            _ => String::new(),
        };
        push(0, partner, format!("({before}NOT {})", stands(partner)));
    }
    for table in 1..tables {
        let alone = match how {
            JoinKind::Inner => format!("NOT {}", all(0..table, " AND ")),
            JoinKind::Left => format!("NOT {}", stands(0)),
            JoinKind::Outer => format!("NOT {}", all(0..table, " OR ")),
        };
        push(table, 0, format!("({alone})"));
        if how == JoinKind::Outer {
            for partner in table + 1..tables {
                push(
                    table,
                    partner,
                    format!("({alone} AND NOT {})", stands(partner)),
                );
            }
        }
    }
    pairs
}

/// The query that gives for each table the rows whose key stands before, and for each pair the rows without a partner
/// and the key of one.
fn query(tables: &[Source], keys: &[Key], pairs: &[Pair]) -> Query {
    let of_table = |(n, (table, key)): (usize, (&Source, &Key))| {
        let (key, shown, clause) = (&key.key, &key.shown, table.relation.clause());
        format!("SELECT {n} AS t, {key} AS k, {shown} AS shown {clause}")
    };
    let rows = tables.iter().zip(keys).enumerate().map(of_table);
    let rows: Vec<String> = rows.collect();
    let counts: Vec<String> = (0..tables.len())
        .map(|n| format!("COUNTIF(t = {n}) AS n{n}, MIN(IF(t = {n}, shown, NULL)) AS s{n}"))
        .collect();
    let repeated =
        (0..tables.len()).map(|n| format!("SUM(IF(k IS NOT NULL AND n{n} > 1, n{n} - 1, 0))"));
    let unmatched = pairs.iter().map(|pair| {
        let (condition, n) = (&pair.condition, pair.table);
        format!("SUM(IF({condition}, n{n}, 0)), MIN(IF({condition} AND n{n} > 0, s{n}, NULL))")
    });
    let figures: Vec<String> = repeated.chain(unmatched).collect();
    Query {
        purpose: "the keys of the join".to_owned(),
        sql: format!(
            "SELECT\n  {}\nFROM (SELECT k, {} FROM (\n{}\n) GROUP BY k)",
            figures.join(",\n  "),
            counts.join(", "),
            rows.join("\nUNION ALL\n")
        ),
    }
}

/// Keys that stand several times in a second table. `repeated` are the rows of each table whose key stands before.
async fn duplicates(
    tables: &[Source<'_>],
    keys: &[Key],
    repeated: &[u64],
    ask: &impl Ask,
) -> Result<Vec<Fault>> {
    let mut twice = repeated.iter().zip(tables).zip(keys).enumerate();
    let twice: Vec<_> = twice
        .by_ref()
        .filter(|(_, ((rows, _), _))| **rows > 0)
        .collect();
    // The first of the others may have keys twice, unless the first table has; and that may, unless one of them has.
    let others = twice.iter().filter(|(table, _)| *table > 0);
    let first = twice.iter().any(|(table, _)| *table == 0);
    let (other, told): (usize, Vec<_>) = match others.clone().next() {
        Some((first_other, _)) if others.clone().count() > 1 => {
            (*first_other, others.skip(1).collect())
        }
        Some(_) if first => (0, others.collect()),
        _ => return Ok(Vec::new()),
    };
    let query = |(_, ((_, table), key)): &&(usize, ((&u64, &Source), &Key))| Query {
        purpose: format!("the keys that stand twice in {}", table.name),
        sql: format!(
            "SELECT COUNT(*) AS times, MIN({}) AS shown, {} AS k {} GROUP BY k \
             HAVING k IS NOT NULL AND times > 1 ORDER BY times DESC, shown, k LIMIT {EXAMPLES}",
            key.shown,
            key.key,
            table.relation.clause()
        ),
    };
    let answers = ask(told.iter().map(query).collect()).await?;
    let mut faults = Vec::new();
    for ((table, ((rows, _), _)), examples) in told.into_iter().zip(answers) {
        let mut keys = Vec::new();
        for row in &examples {
            let (times, [key]) = counted::<1>(row)?;
            keys.push((shown(&key.unwrap_or_default()), times));
        }
        faults.push(Fault::Duplicates {
            table: *table,
            keys,
            rows: **rows,
            other,
        });
    }
    Ok(faults)
}
