//! What the checks found: at most ten findings for a check and a column, and how many more there are.

use std::collections::BTreeMap;

use super::batch::RowPlace;
use crate::workspace::records::{Finding, LintReport, Severity, Verdict};

/// Findings that one check shows for one column.
const SHOWN: u64 = 10;

/// A table and its file, as messages show them; several of them with commas.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin<'a> {
    pub table: &'a str,
    pub path: &'a str,
}

/// What a finding says, apart from where.
pub(crate) struct Evidence {
    pub expected: String,
    pub observed: String,
    /// The message behind the place.
    pub sentence: String,
    /// How bad it is beside other findings of the same severity: a share, or an index of drift.
    pub weight: f64,
}

impl Evidence {
    /// That a cell holds a value and something else was expected.
    pub(crate) fn holds(column: &str, value: &str, expected: impl Into<String>) -> Self {
        let (expected, value) = (expected.into(), crate::printable::shown(value));
        Self {
            sentence: format!("column `{column}` holds `{value}`, expected {expected}"),
            expected,
            observed: value,
            weight: 0.0,
        }
    }

    /// That a cell is missing.
    pub(crate) fn missing(column: &str) -> Self {
        Self {
            expected: "a value".to_owned(),
            observed: "missing".to_owned(),
            sentence: format!("column `{column}` has no value here"),
            weight: 0.0,
        }
    }

    pub(crate) fn new(
        expected: impl Into<String>,
        observed: impl Into<String>,
        sentence: impl Into<String>,
    ) -> Self {
        Self {
            expected: expected.into(),
            observed: observed.into(),
            sentence: sentence.into(),
            weight: 0.0,
        }
    }

    /// The same with a weight.
    #[must_use]
    pub(crate) fn weighing(self, weight: f64) -> Self {
        Self { weight, ..self }
    }
}

/// The findings of all checks so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Findings {
    list: Vec<Finding>,
    /// How often each check found something in each column, and how to speak of it.
    counts: BTreeMap<(&'static str, String, String), Count>,
}

#[derive(Clone, Debug)]
struct Count {
    found: u64,
    /// How many findings are told one by one.
    listed: u64,
    /// How often it was found in what those stand for.
    told: u64,
    severity: Severity,
    path: String,
    /// The greatest weight among them.
    weight: f64,
}

/// What a check found in a column, or in a table as a whole.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Group {
    pub check: String,
    pub severity: Severity,
    /// Empty where it is about the table.
    pub column: String,
    /// How often, those that are not told one by one too.
    pub found: u64,
    /// The first ones.
    pub findings: Vec<Finding>,
}

/// Takes the findings of one check.
pub(crate) struct Reporter<'a> {
    findings: &'a mut Findings,
    code: &'static str,
    severity: Severity,
    /// How many rows each finding stands for.
    rows: u64,
}

impl Findings {
    pub(crate) fn reporter(&mut self, code: &'static str, severity: Severity) -> Reporter<'_> {
        Reporter {
            findings: self,
            code,
            severity,
            rows: 1,
        }
    }

    /// Takes in what was found in the rows that come next.
    pub(crate) fn merge(&mut self, other: Self) {
        let mut room = BTreeMap::new();
        for (key, count) in other.counts {
            let known = self.counts.entry(key.clone()).or_insert_with(|| Count {
                found: 0,
                listed: 0,
                told: 0,
                severity: count.severity,
                path: count.path,
                weight: 0.0,
            });
            known.weight = known.weight.max(count.weight);
            known.found += count.found;
            let listed = count.listed.min(SHOWN - known.listed);
            known.listed += listed;
            // Those that stand for several rows come all at once.
            known.told += match listed == count.listed {
                true => count.told,
                false => listed,
            };
            room.insert((key.0.to_owned(), key.1, key.2), listed);
        }
        for finding in other.list {
            let key = (
                finding.check.clone(),
                finding.table.clone(),
                finding.column.clone(),
            );
            if let Some(room) = room.get_mut(&key).filter(|room| **room > 0) {
                *room -= 1;
                self.list.push(finding);
            }
        }
    }

    /// Whether a finding rejects the data.
    pub(crate) fn reject(&self) -> bool {
        let mut counts = self.counts.values();
        counts.any(|count| count.severity == Severity::Reject)
    }

    /// The findings by check and column: those that reject first, of these the heaviest, then those with the most
    /// cells.
    pub(crate) fn groups(self) -> Vec<Group> {
        let mut groups: BTreeMap<_, (Count, Vec<Finding>)> = BTreeMap::new();
        for ((check, table, column), count) in self.counts {
            groups.insert((check.to_owned(), table, column), (count, Vec::new()));
        }
        for finding in self.list {
            let key = (
                finding.check.clone(),
                finding.table.clone(),
                finding.column.clone(),
            );
            if let Some((_, findings)) = groups.get_mut(&key) {
                findings.push(finding);
            }
        }
        let mut sorted: Vec<_> = groups.into_iter().collect();
        sorted.sort_by(|(one_key, (one, _)), (other_key, (other, _))| {
            let weights = other.weight.total_cmp(&one.weight);
            one.severity
                .cmp(&other.severity)
                .then(weights)
                .then(other.found.cmp(&one.found))
                .then_with(|| (&one_key.1, &one_key.2).cmp(&(&other_key.1, &other_key.2)))
                .then_with(|| one_key.0.cmp(&other_key.0))
        });
        type Key = (String, String, String);
        let group = |((check, table, column), (count, mut findings)): (Key, (Count, Vec<_>))| {
            findings.sort_by_key(|finding: &Finding| finding.row.unwrap_or(u64::MAX));
            let more = count.found - count.told;
            if more > 0 {
                let of = match column.is_empty() {
                    true => String::new(),
                    false => format!("column `{column}`: "),
                };
                findings.push(Finding {
                    message: format!("{}: {of}{more} more findings of `{check}`", count.path),
                    check: check.clone(),
                    table,
                    column: column.clone(),
                    row: None,
                    severity: count.severity,
                    expected: String::new(),
                    observed: format!("{more} more"),
                });
            }
            Group {
                check,
                severity: count.severity,
                column,
                found: count.found,
                findings,
            }
        };
        sorted.into_iter().map(group).collect()
    }

    /// The record, in the order of the groups.
    pub(crate) fn report(self) -> LintReport {
        let verdict = if self.reject() {
            Verdict::Reject
        } else {
            Verdict::Pass
        };
        let groups = self.groups().into_iter();
        LintReport {
            verdict,
            findings: groups.flat_map(|group| group.findings).collect(),
        }
    }
}

impl Reporter<'_> {
    pub(crate) fn severity(&self) -> Severity {
        self.severity
    }

    /// The same for findings that stand for so many rows each, as an example of a table in a warehouse does.
    pub(crate) fn of_rows(self, rows: u64) -> Self {
        Self { rows, ..self }
    }

    /// Counts what is not told one by one of findings that are so many altogether.
    pub(crate) fn in_all(&mut self, origin: Origin, column: &str, found: u64) {
        let count = self.count(origin, column);
        count.found = count.found.max(found);
    }

    /// Counts rows that the last finding stands for beside its own.
    pub(crate) fn told(&mut self, origin: Origin, column: &str, rows: u64) {
        let count = self.count(origin, column);
        count.found += rows;
        count.told += rows;
    }

    /// Counts findings that are not told one by one.
    pub(crate) fn more(&mut self, origin: Origin, column: &str, more: u64) {
        self.count(origin, column).found += more;
    }

    fn count(&mut self, origin: Origin, column: &str) -> &mut Count {
        let key = (self.code, origin.table.to_owned(), column.to_owned());
        self.findings.counts.entry(key).or_insert_with(|| Count {
            found: 0,
            listed: 0,
            told: 0,
            severity: self.severity,
            path: origin.path.to_owned(),
            weight: 0.0,
        })
    }

    /// A finding about a row of a table, or about a table or several as a whole.
    pub(crate) fn found(
        &mut self,
        origin: Origin,
        column: &str,
        row: Option<RowPlace>,
        evidence: impl FnOnce() -> Evidence,
    ) {
        let rows = self.rows;
        let count = self.count(origin, column);
        count.found += rows;
        if count.listed == SHOWN {
            return;
        }
        count.listed += 1;
        count.told += rows;
        let evidence = evidence();
        count.weight = count.weight.max(evidence.weight);
        let place = match row {
            Some(row) => format!("{}:{}", row.file, row.line),
            None => origin.path.to_owned(),
        };
        self.findings.list.push(Finding {
            check: self.code.to_owned(),
            table: origin.table.to_owned(),
            column: column.to_owned(),
            row: row.map(|row| row.line),
            severity: self.severity,
            expected: evidence.expected,
            observed: evidence.observed,
            message: match rows {
                0 | 1 => format!("{place}: {}", evidence.sentence),
                _ => format!("{place}: {} ({rows} rows)", evidence.sentence),
            },
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
        warn.found(table.origin(), "a", None, || Evidence::new("", "", "odd"));
        assert!(!findings.reject());
        let mut reject = findings.reporter("schema.type", Severity::Reject);
        for line in (2..14).rev() {
            let file = "data/t.csv";
            reject.found(table.origin(), "a", Some(RowPlace { file, line }), || {
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

    #[test]
    fn stretches_that_are_merged_tell_the_first_ten() {
        let table = table("t", "a\n1\n");
        let stretch = |lines: std::ops::Range<u64>| {
            let mut findings = Findings::default();
            for line in lines {
                let file = "data/t.csv";
                let mut reject = findings.reporter("schema.type", Severity::Reject);
                reject.found(table.origin(), "a", Some(RowPlace { file, line }), || {
                    Evidence::holds("a", "x", "a number")
                });
            }
            findings
        };
        let mut merged = stretch(0..0);
        merged.merge(stretch(2..10));
        merged.merge(stretch(10..13));
        merged.merge(stretch(13..40));
        let whole = stretch(2..40).report();
        assert_eq!(merged.report().findings, whole.findings);
        assert_eq!(whole.findings.len(), 11);
    }
}
