//! Rows as they stand in the file.

use super::{TableScope, counted};
use crate::data::batch::BadRowKind;
use crate::data::findings::{Evidence, Reporter};
use crate::data::table::RowPlace;

/// Malformed rows, where there are more of them than `lint.max_bad_rows`.
pub(super) fn malformed(scope: &TableScope, reporter: &mut Reporter) {
    if scope.table.bad_row_count > scope.config.lint.max_bad_rows {
        each(scope, reporter);
    }
}

/// Malformed rows that are left out, because there are no more of them than `lint.max_bad_rows`.
pub(super) fn skipped(scope: &TableScope, reporter: &mut Reporter) {
    if scope.table.bad_row_count <= scope.config.lint.max_bad_rows {
        each(scope, reporter);
    }
}

/// A row with too few or too many fields, with text behind a closing quote, or that is no JSON object.
fn each(scope: &TableScope, reporter: &mut Reporter) {
    let table = scope.table;
    let wanted = table.columns.len();
    for row in &table.bad_rows {
        let place = RowPlace {
            file: &row.file,
            line: row.line,
        };
        reporter.found(table.origin(), "", Some(place), || match &row.why {
            BadRowKind::Fields(found) => {
                let (expected, found) = (
                    counted(wanted as u64, "field"),
                    counted(*found as u64, "field"),
                );
                let sentence = format!("the row has {found}, expected {wanted} as in the header");
                Evidence::new(expected, found, sentence)
            }
            BadRowKind::Misquoted => {
                let expected = "a delimiter or a line end behind a closing quote";
                Evidence::new(expected, "other text", format!("expected {expected}"))
            }
            BadRowKind::Json(why) => {
                Evidence::new("a JSON object a line", why.as_str(), why.as_str())
            }
        });
    }
    let untold = table.bad_row_count - table.bad_rows.len() as u64;
    if untold > 0 {
        reporter.more(table.origin(), "", untold);
    }
}

/// A table without rows.
pub(super) fn empty(scope: &TableScope, reporter: &mut Reporter) {
    if scope.table.rows == 0 {
        reporter.found(scope.table.origin(), "", None, || {
            Evidence::new("rows", "none", "the table has no rows")
        });
    }
}
