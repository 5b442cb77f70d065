//! Rows as they stand in the file.

use super::TableScope;
use crate::data::findings::{Evidence, Reporter};

/// Malformed rows, where there are more of them than `lint.max_bad_rows`.
pub(super) fn malformed(scope: &TableScope, reporter: &mut Reporter) {
    if scope.table.bad_rows.len() as u64 > scope.config.lint.max_bad_rows {
        each(scope, reporter);
    }
}

/// Malformed rows that are left out, because there are no more of them than `lint.max_bad_rows`.
pub(super) fn skipped(scope: &TableScope, reporter: &mut Reporter) {
    if scope.table.bad_rows.len() as u64 <= scope.config.lint.max_bad_rows {
        each(scope, reporter);
    }
}

/// A row with too few or too many fields, or with text behind a closing quote.
fn each(scope: &TableScope, reporter: &mut Reporter) {
    let table = scope.table;
    let wanted = table.columns.len();
    for row in &table.bad_rows {
        reporter.found(table, "", Some(row.line), || {
            if row.misquoted {
                let expected = "a comma or a line end behind a closing quote";
                return Evidence::new(expected, "other text", format!("expected {expected}"));
            }
            let fields = |n| format!("{n} field{}", if n == 1 { "" } else { "s" });
            Evidence::new(
                fields(wanted),
                fields(row.fields),
                format!(
                    "the row has {}, expected {wanted} as in the header",
                    fields(row.fields)
                ),
            )
        });
    }
}

/// A table without rows.
pub(super) fn empty(scope: &TableScope, reporter: &mut Reporter) {
    if scope.table.rows() == 0 {
        reporter.found(scope.table, "", None, || {
            Evidence::new("rows", "none", "the table has no rows")
        });
    }
}
