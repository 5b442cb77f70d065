//! What tests share: of BigQuery a server that stands in for it and a check of the grammar of its SQL; and a proxy that
//! loses requests and answers.

pub mod bigquery;
pub mod faults;
pub mod grammar;
pub mod lossy;

/// The interpreter that `.ci/test` has prepared with `tests/clients/bigquery.txt`.
///
/// Without it the test is skipped with a line that says so; with `CI=true` that is a failure.
fn interpreter() -> Option<std::path::PathBuf> {
    const VARIABLE: &str = "SERIN_PYTHON_BIGQUERY";
    let found = std::env::var_os(VARIABLE);
    if found.is_none() {
        assert!(
            std::env::var("CI").as_deref() != Ok("true"),
            "{VARIABLE} is not set"
        );
        eprintln!("SKIPPED: a test of BigQuery needs {VARIABLE}, which `.ci/test` sets");
    }
    found.map(Into::into)
}
