//! The grammar of BigQuery's SQL, by `tests/clients/bigquery/grammar.py`.

use std::path::Path;
use std::process::Command;

use crate::harness::{Ended, ended};

/// Fails with every problem of a file of statements, each after a line `-- query: PURPOSE` and with `;` at its end.
#[track_caller]
pub fn check_grammar(path: &Path) {
    if let Some(checked) = checked(path) {
        checked.expect(0);
    }
}

/// How the check of a file ended; `None` where it is skipped.
fn checked(path: &Path) -> Option<Ended> {
    let script = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/clients/bigquery/grammar.py"
    );
    let mut command = Command::new(super::interpreter()?);
    Some(ended(command.arg(script).arg(path).output().unwrap()))
}

#[test]
fn what_bigquery_has_not_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("queries.sql");
    let write = |text: &str| std::fs::write(&path, text).unwrap();
    write("-- query: rows\nSELECT COUNT(*), SAFE.LN(x)\nFROM `p.d.t` WHERE (x IN (1, 2));\n");
    check_grammar(&path);
    for (sql, says) in [
        (
            "SELECT\n  LIST_SUM(x) FROM t;",
            ":3: sums: BigQuery has no function LIST_SUM",
        ),
        ("SELECT x\nFROM t WHERE (x = 1;", ":3: sums: Expecting )"),
        ("SELECT x::INT64 FROM t;", "BigQuery has no ::"),
        ("SELECT 1", "does not end with `;`"),
    ] {
        write(&format!("-- query: sums\n{sql}\n"));
        if let Some(checked) = checked(&path) {
            checked.expect(1).says(says);
        }
    }
}
