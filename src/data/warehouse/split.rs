//! The split of [`crate::data::split`] as SQL: the same rows, for keys that are written the same in both.

use anyhow::Result;

use super::column::{SqlType, TypedColumn};
use super::literal;
use crate::config::{Split, SplitRule};
use crate::error::Input;

/// A BOOL, never NULL: whether a row is a test row; none is where a column of the rule is not there, which a check
/// tells.
///
/// # Errors
/// [`Input`] where the rule names no column, or one of a type that files and SQL write otherwise.
pub(crate) fn is_test<'a>(
    split: &Split,
    column: impl Fn(&str) -> Option<TypedColumn<'a>>,
) -> Result<String> {
    match &split.rule {
        SplitRule::Hash { by, .. } if by.is_empty() => Err(Input::new(
            "`data.split` goes by the whole row, which BigQuery cannot hash as files are hashed",
        )
        .hint("name what tells rows apart, as in `split: {test: 0.2, by: customer_id}`")
        .into()),
        SplitRule::Hash { test, by } => {
            let mut texts = Vec::with_capacity(by.len());
            for name in by {
                let Some(key) = column(name) else {
                    return Ok("FALSE".to_owned());
                };
                let text = key_text(key).ok_or_else(|| {
                    let written = "is of a type that BigQuery and files write otherwise";
                    Input::new(format!(
                        "`data.split.by`: the column `{}` {written}",
                        **name
                    ))
                    .at(name.place.clone())
                    .hint("a key is a STRING, an INT64, a DATE or BYTES; cast it in `data.query`")
                })?;
                texts.push(text);
            }
            Ok(by_hash(&texts, split.seed, *test))
        }
        SplitRule::Time {
            column: name,
            test_from,
        } => {
            let Some(time) = column(name) else {
                return Ok("FALSE".to_owned());
            };
            let text = super::column::trimmed(&time.kept());
            Ok(format!("IFNULL({text} >= {}, FALSE)", literal(test_from)))
        }
    }
}

/// The text of a key's cell, empty where it is missing; `None` for a type that is not written the same everywhere.
fn key_text(key: TypedColumn) -> Option<String> {
    let is_written_alike = matches!(
        key.column.sql_type,
        SqlType::String | SqlType::Int64 | SqlType::Date | SqlType::Bytes
    );
    is_written_alike.then(|| format!("IFNULL({}, '')", key.key()))
}

/// Whether the hash of these texts is one of the test part's: the condition of [`crate::data::split`] as a
/// comparison of hexadecimal digits, which is exact.
fn by_hash(texts: &[String], seed: u64, share: f64) -> String {
    let mut bytes = vec![literal(&format!(
        "{}{}",
        hex(b"serin/split/v1\0"),
        hex(&seed.to_le_bytes())
    ))];
    for text in texts {
        bytes.push(length(text));
        bytes.push(format!("TO_HEX(CAST({text} AS BYTES))"));
    }
    // The least of the first 53 bits that is no test row's any more; 2^53 for a share just below 1.
    let end = (share * (1_u64 << 53) as f64).ceil() as u64;
    if end >= 1 << 53 {
        return "TRUE".to_owned();
    }
    let hash = format!("TO_HEX(SHA256(FROM_HEX(CONCAT({}))))", bytes.join(", "));
    format!("(SUBSTR({hash}, 1, 16) < '{:016x}')", end << 11)
}

/// The digits of a text's length in bytes as eight bytes, the lowest first. A cell of BigQuery is far below 4 GiB.
fn length(text: &str) -> String {
    let digits = format!("FORMAT('%08x', BYTE_LENGTH({text}))");
    let byte = |from: usize| format!("SUBSTR({digits}, {from}, 2)");
    format!("{}, '00000000'", [7, 5, 3, 1].map(byte).join(", "))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{JoinKind, Spot};
    use crate::data::join::join;
    use crate::data::split::Partition;
    use crate::data::table::Kind;
    use crate::data::table::tests::table;
    use crate::data::warehouse::testing::server;
    use crate::error::Place;

    const ROWS: u32 = 100_000;

    fn split(by: &[&str]) -> Split {
        let spot = |name: &&str| Spot {
            value: (*name).to_owned(),
            place: Place::File("serin.yaml".into()),
        };
        let by = by.iter().map(spot).collect();
        Split {
            seed: 0xfedc_ba98_7654_3210,
            rule: SplitRule::Hash { test: 0.2, by },
        }
    }

    /// Which rows of a CSV file are for the test.
    fn of_file(csv: &str, split: &Split) -> Vec<bool> {
        let tables = [table("t", csv)];
        let frame = join(&tables, &[], JoinKind::Inner).0.unwrap();
        Partition::of(&frame, split).unwrap().test
    }

    /// Columns with a name, a type, the SQL of a cell in the row of the number `n`, and its text in a file.
    type Keys<'a> = [(&'a str, &'a str, &'a str, fn(u32) -> String)];

    /// Checks that rows with these keys fall into the same parts. `mended` is what becomes of the SQL.
    async fn same_parts(name: &str, keys: &Keys<'_>, mended: impl Fn(String) -> String) {
        let Some(server) = server() else { return };
        let mut columns = vec![("n", "INT64")];
        columns.extend(keys.iter().map(|(name, kind, _, _)| (*name, *kind)));
        let cells: String = keys
            .iter()
            .map(|(name, _, sql, _)| format!(", {sql} AS {name}"))
            .collect();
        let select = format!(
            "SELECT n{cells} FROM UNNEST(GENERATE_ARRAY(0, {})) AS n",
            ROWS - 1
        );
        let relation = server
            .table_of_query(name, &columns, &select)
            .await
            .unwrap();
        let names: Vec<&str> = keys.iter().map(|(name, _, _, _)| *name).collect();
        let split = split(&names);
        let typed = |name: &str| {
            let column = relation.columns.iter().find(|column| column.name == name)?;
            let values = column.sql_type.value_type();
            Some(column.taken_for(Kind::with(values, None, true)))
        };
        let is_test = mended(is_test(&split, typed).unwrap());
        let sql = format!("SELECT n {} ORDER BY n", relation.clause_where(&is_test));
        let there: Vec<u32> = server
            .rows(&sql)
            .await
            .unwrap()
            .iter()
            .map(|row| row[0].as_ref().unwrap().parse().unwrap())
            .collect();

        let mut csv = names.join(",");
        for n in 0..ROWS {
            let cells: Vec<String> = keys.iter().map(|(_, _, _, text)| text(n)).collect();
            csv += &format!("\n{}", cells.join(","));
        }
        let here = of_file(&csv, &split);
        let here: Vec<u32> = (0..ROWS).filter(|n| here[*n as usize]).collect();
        assert!(
            (ROWS / 6..ROWS / 4).contains(&(here.len() as u32)),
            "{name}"
        );
        assert!(
            here == there,
            "{name}: {} and {} rows",
            here.len(),
            there.len()
        );
    }

    fn day(n: u32) -> String {
        let days = i64::from(n) - 50_000;
        let day = time::Date::from_calendar_date(1970, time::Month::January, 1).unwrap()
            + time::Duration::days(days);
        format!(
            "{:04}-{:02}-{:02}",
            day.year(),
            u8::from(day.month()),
            day.day()
        )
    }

    #[tokio::test]
    async fn texts_fall_into_the_same_parts() {
        // Of all lengths up to beyond 255 bytes, every 50th missing.
        let sql =
            "IF(MOD(n, 50) = 0, NULL, CONCAT('k', CAST(n AS STRING), REPEAT('x', MOD(n, 300))))";
        let text = |n: u32| match n % 50 {
            0 => "\"\"".to_owned(),
            _ => format!("k{n}{}", "x".repeat((n % 300) as usize)),
        };
        same_parts("texts", &[("k", "STRING", sql, text)], |sql| sql).await;
    }

    #[tokio::test]
    async fn texts_beyond_ascii_fall_into_the_same_parts() {
        let sql = "CONCAT('é漢😀', CAST(n AS STRING), REPEAT('ß', MOD(n, 90)))";
        let text = |n: u32| format!("é漢😀{n}{}", "ß".repeat((n % 90) as usize));
        // The stand-in casts no such text to BYTES, and takes it for its bytes where BigQuery wants these.
        let mended = |sql: String| {
            sql.replace("TO_HEX(CAST(IFNULL(", "TO_HEX((IFNULL(")
                .replace(", '') AS BYTES))", ", '')))")
        };
        same_parts("beyond_ascii", &[("k", "STRING", sql, text)], mended).await;
    }

    #[tokio::test]
    async fn integers_fall_into_the_same_parts() {
        // Of both signs and up to 17 digits, which a double does not hold.
        let sql = "(n - 50000) * 1234567890123";
        let text = |n: u32| ((i64::from(n) - 50_000) * 1_234_567_890_123).to_string();
        same_parts("integers", &[("k", "INT64", sql, text)], |sql| sql).await;
    }

    #[tokio::test]
    async fn dates_fall_into_the_same_parts() {
        let sql = "DATE_ADD(DATE '1970-01-01', INTERVAL n - 50000 DAY)";
        same_parts("dates", &[("k", "DATE", sql, day)], |sql| sql).await;
    }

    #[tokio::test]
    async fn bytes_fall_into_the_same_parts() {
        let sql = "SHA256(CAST(n AS STRING))";
        let text = |n: u32| {
            use sha2::{Digest as _, Sha256};
            hex(&Sha256::digest(n.to_string()))
        };
        same_parts("bytes", &[("k", "BYTES", sql, text)], |sql| sql).await;
    }

    #[tokio::test]
    async fn several_columns_fall_into_the_same_parts() {
        let text = |n: u32| format!("k{}", n / 7);
        let keys: &Keys = &[
            (
                "k",
                "STRING",
                "CONCAT('k', CAST(DIV(n, 7) AS STRING))",
                text,
            ),
            ("n2", "INT64", "MOD(n, 7)", |n| (n % 7).to_string()),
            (
                "day",
                "DATE",
                "DATE_ADD(DATE '1970-01-01', INTERVAL n - 50000 DAY)",
                day,
            ),
        ];
        same_parts("several", keys, |sql| sql).await;
    }
}
