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
