//! What the checks found: at most ten findings for a check and a column, and how many more there are.

use std::collections::BTreeMap;

use super::table::{RowPlace, Table};
use crate::workspace::records::{Finding, LintReport, Severity, Verdict};

/// Findings that one check shows for one column.
const SHOWN: u64 = 10;

/// What a finding says, apart from where.
pub struct Evidence {
    pub expected: String,
    pub observed: String,
    /// The message behind the place.
    pub sentence: String,
}

impl Evidence {
    /// That a cell holds a value and something else was expected.
    pub fn holds(column: &str, value: &str, expected: impl Into<String>) -> Self {
        let (expected, value) = (expected.into(), super::shown(value));
        Self {
            sentence: format!("column `{column}` holds `{value}`, expected {expected}"),
            expected,
            observed: value,
        }
    }

    /// That a cell is missing.
    pub fn missing(column: &str) -> Self {
        Self {
            expected: "a value".to_owned(),
            observed: "missing".to_owned(),
            sentence: format!("column `{column}` has no value here"),
        }
    }

    pub fn new(
        expected: impl Into<String>,
        observed: impl Into<String>,
        sentence: impl Into<String>,
    ) -> Self {
        Self {
            expected: expected.into(),
            observed: observed.into(),
            sentence: sentence.into(),
        }
    }
}

/// The findings of all checks so far.
#[derive(Debug, Default)]
pub struct Findings {
    list: Vec<Finding>,
    /// How often each check found something in each column, and how to speak of it.
    counts: BTreeMap<(&'static str, String, String), Count>,
}

#[derive(Debug)]
struct Count {
    found: u64,
    severity: Severity,
    path: String,
}

/// Takes the findings of one check.
pub struct Reporter<'a> {
    findings: &'a mut Findings,
    code: &'static str,
    severity: Severity,
}

impl Findings {
    pub fn reporter(&mut self, code: &'static str, severity: Severity) -> Reporter<'_> {
        Reporter {
            findings: self,
            code,
            severity,
        }
    }

    /// Whether a finding rejects the data.
    pub fn reject(&self) -> bool {
        let mut counts = self.counts.values();
        counts.any(|count| count.severity == Severity::Reject)
    }

    /// The record: rejecting findings first, then by table, column and row.
    pub fn report(mut self) -> LintReport {
        let verdict = if self.reject() {
            Verdict::Reject
        } else {
            Verdict::Pass
        };
        for ((check, table, column), count) in self.counts {
            let Some(more) = count.found.checked_sub(SHOWN).filter(|more| *more > 0) else {
                continue;
            };
            let of = if column.is_empty() {
                String::new()
            } else {
                format!("column `{column}`: ")
            };
            self.list.push(Finding {
                check: check.to_owned(),
                table,
                column,
                row: None,
                severity: count.severity,
                expected: String::new(),
                observed: format!("{more} more"),
                message: format!("{}: {of}{more} more findings of `{check}`", count.path),
            });
        }
        self.list.sort_by_cached_key(|finding| {
            let row = finding.row.unwrap_or(u64::MAX);
            let (table, column) = (finding.table.clone(), finding.column.clone());
            (finding.severity, table, column, row, finding.check.clone())
        });
        LintReport {
            verdict,
            findings: self.list,
        }
    }
}

impl Reporter<'_> {
    /// A finding about a row of a table, or about the table as a whole.
    pub fn found(
        &mut self,
        table: &Table,
        column: &str,
        row: Option<RowPlace>,
        evidence: impl FnOnce() -> Evidence,
    ) {
        self.add(&table.name, &table.path, column, row, evidence);
    }

    /// Counts findings that are not told one by one.
    pub fn more(&mut self, table: &Table, column: &str, more: u64) {
        self.count(&table.name, &table.path, column, more);
    }

    /// How many the check has found in a column, these ones too.
    fn count(&mut self, table: &str, path: &str, column: &str, found: u64) -> u64 {
        let key = (self.code, table.to_owned(), column.to_owned());
        let count = self.findings.counts.entry(key).or_insert_with(|| Count {
            found: 0,
            severity: self.severity,
            path: path.to_owned(),
        });
        count.found += found;
        count.found
    }

    /// A finding about several tables, or about none; `path` is the file it is about.
    pub fn add(
        &mut self,
        table: &str,
        path: &str,
        column: &str,
        row: Option<RowPlace>,
        evidence: impl FnOnce() -> Evidence,
    ) {
        if self.count(table, path, column, 1) > SHOWN {
            return;
        }
        let evidence = evidence();
        let place = match row {
            Some(row) => format!("{}:{}", row.file, row.line),
            None => path.to_owned(),
        };
        self.findings.list.push(Finding {
            check: self.code.to_owned(),
            table: table.to_owned(),
            column: column.to_owned(),
            row: row.map(|row| row.line),
            severity: self.severity,
            expected: evidence.expected,
            observed: evidence.observed,
            message: format!("{place}: {}", evidence.sentence),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::table::tests::table;

    #[test]
    fn ten_are_shown_and_the_rest_is_counted() {
        let table = table("t", "a\n1\n");
        let mut findings = Findings::default();
        let mut warn = findings.reporter("schema.extra", Severity::Warn);
        warn.found(&table, "a", None, || Evidence::new("", "", "odd"));
        assert!(!findings.reject());
        let mut reject = findings.reporter("schema.type", Severity::Reject);
        for line in (2..14).rev() {
            let file = "data/t.csv";
            reject.found(&table, "a", Some(RowPlace { file, line }), || {
                Evidence::holds("a", "x", "a number")
            });
        }
        let report = findings.report();
        assert_eq!(report.verdict, Verdict::Reject);
        let messages: Vec<_> = report.findings.iter().map(|f| f.message.as_str()).collect();
        assert_eq!(messages.len(), 12);
        assert_eq!(
            messages[0],
            "data/t.csv:4: column `a` holds `x`, expected a number"
        );
        assert_eq!(
            messages[10],
            "data/t.csv: column `a`: 2 more findings of `schema.type`"
        );
        assert_eq!(messages[11], "data/t.csv: odd");
    }
}
