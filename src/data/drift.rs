//! Drift: how far a table's profile is from a baseline's, column by column, and whether that matters.
//!
//! A column drifts only where all three hold, because each alone misleads:
//! - **The difference is large.** Its population stability index is by the threshold (0.2, or what `serin.yaml`
//!   says; half of it warns), or another measure by a threshold of its own, above what chance gives: of k bins (k − 1)(1/n + 1/m) on average when nothing drifts. A
//!   test alone finds every difference in a table of millions, and pages people for nothing.
//! - **Chance does not explain it.** A test's p-value, corrected by Benjamini and Hochberg for all tests of the
//!   table, is at most the false discovery rate (0.05). An index alone is noise in a small table, and one of a thousand
//!   columns is always off.
//! - **There are rows enough** on both sides (200). With fewer the column is inconclusive: told, not rejected.
//!
//! Texts and booleans are compared by value, those too rare for a test together, with the chi-square test of
//! homogeneity; numbers and times over the
//! baseline's deciles, with the Kolmogorov-Smirnov test over all their values; the missing cells of any column as
//! two proportions. What a profile only tells roughly (a list of top values that ends, cells that hold several
//! numbers) counts as equal as far as it may be: the measures are then the least that the drift can be.
//! Times go on by themselves: they are measured, and judged only where `lint.drift.columns` names them.

mod categories;
mod cumulative;
mod measures;
mod significance;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};

use categories::Counts;
use cumulative::Cumulative;
use measures::Shares;

use super::cell_text::short;
use crate::clock::Timestamp;
use crate::config::{Drift as Settings, DriftLimits};
use crate::workspace::drift_report::{
    ColumnDrift, Contribution, DriftReport, DriftTest, DriftVerdict, MissingDrift, Retyped,
    ValueDrift,
};
use crate::workspace::table_profile::{ColumnFigures, TableProfile, ValueType};

/// How many values or bins are told to explain an index.
const TOLD: usize = 3;

/// How many new and vanished values are told.
const LISTED: usize = 20;

/// What stands for values that are too rare to be looked at one by one.
const RARE: &str = "rare values";

/// Compares a table with a baseline. `skip` are columns that no model sees, such as the keys of a join; `against`
/// names the baseline.
pub(crate) fn compare(
    baseline: &TableProfile,
    current: &TableProfile,
    settings: &Settings,
    skip: &[&str],
    against: &str,
) -> DriftReport {
    let chosen: HashMap<&str, Option<DriftLimits>> = (settings.columns.iter())
        .map(|column| (column.name.as_str(), column.limits))
        .collect();
    let skip: HashSet<&str> = skip.iter().copied().collect();
    let left_out = |name: &str| skip.contains(name) || chosen.get(name) == Some(&None);
    let known: HashMap<&str, &ColumnFigures> = (baseline.columns.iter())
        .map(|column| (column.name.as_str(), column))
        .collect();
    let mut report = DriftReport {
        against: against.to_owned(),
        baseline_rows: baseline.rows,
        rows: current.rows,
        fdr: settings.fdr,
        min_rows: settings.min_rows,
        ..DriftReport::default()
    };
    for column in current
        .columns
        .iter()
        .filter(|column| !left_out(&column.name))
    {
        let Some(before) = known.get(column.name.as_str()).copied() else {
            report.added.push(column.name.clone());
            continue;
        };
        let values = if before.kind == column.kind {
            between(before, column)
        } else {
            report.retyped.push(Retyped {
                column: column.name.clone(),
                baseline: before.kind,
                current: column.kind,
            });
            None
        };
        let own = chosen.get(column.name.as_str()).copied().flatten();
        let limits = own.unwrap_or(settings.limits);
        report.columns.push(ColumnDrift {
            column: column.name.clone(),
            kind: column.kind,
            threshold: limits.psi,
            other_thresholds: [
                ("jensen_shannon", limits.jensen_shannon),
                ("l_infinity", limits.l_infinity),
                ("kolmogorov_smirnov", limits.kolmogorov_smirnov),
            ]
            .into_iter()
            .filter_map(|(measure, limit)| Some((measure.to_owned(), limit?)))
            .collect(),
            verdict: DriftVerdict::Stable,
            values,
            missing: missing(before, column),
        });
    }
    let kept: HashSet<&str> = current.columns.iter().map(|c| c.name.as_str()).collect();
    let gone = baseline.columns.iter().map(|column| &column.name);
    report.vanished.extend(
        gone.filter(|name| !left_out(name) && !kept.contains(name.as_str()))
            .cloned(),
    );
    judge(&mut report, settings);
    report
}

/// Fills in q-values and verdicts.
fn judge(report: &mut DriftReport, settings: &Settings) {
    let (min_rows, rows) = (report.min_rows, report.rows.min(report.baseline_rows));
    for column in &mut report.columns {
        let named = settings
            .columns
            .iter()
            .any(|known| *known.name == column.column);
        column.missing.verdict = if rows < min_rows {
            DriftVerdict::Inconclusive
        } else {
            DriftVerdict::Stable
        };
        if let Some(values) = &mut column.values {
            values.verdict = if column.kind == ValueType::Time && !named {
                DriftVerdict::NotJudged
            } else if values.count.min(values.baseline_count) < min_rows {
                DriftVerdict::Inconclusive
            } else {
                DriftVerdict::Stable
            };
        }
    }
    let mut judged: Vec<Judged> = report.columns.iter_mut().flat_map(judged_of).collect();
    let p: Vec<f64> = judged.iter().map(|one| one.test.p).collect();
    for (one, q) in judged.iter_mut().zip(significance::benjamini_hochberg(&p)) {
        one.test.q = Some(q);
        *one.verdict = match q <= settings.fdr {
            true if one.reached >= 1.0 => DriftVerdict::Drift,
            true if one.reached >= 0.5 => DriftVerdict::Slight,
            _ => DriftVerdict::Stable,
        };
    }
    for column in &mut report.columns {
        let values = column.values.as_ref().map(|values| values.verdict);
        column.verdict = values.map_or(column.missing.verdict, |v| v.max(column.missing.verdict));
    }
}

/// A difference that is judged: there are rows enough for it.
struct Judged<'a> {
    /// The share of its threshold that the measure has which reaches the most of it.
    reached: f64,
    test: &'a mut DriftTest,
    verdict: &'a mut DriftVerdict,
}

fn judged_of(column: &mut ColumnDrift) -> impl Iterator<Item = Judged<'_>> {
    let others = &column.other_thresholds;
    let reached = |measure: &str, value: Option<f64>| {
        let threshold = others.get(measure);
        threshold
            .zip(value)
            .map_or(0.0, |(limit, value)| value / limit)
    };
    let psi = column.threshold;
    let missing = &mut column.missing;
    let missing = Judged {
        reached: ((missing.psi - missing.psi_by_chance) / psi)
            .max(reached("l_infinity", Some(missing.l_infinity))),
        test: &mut missing.test,
        verdict: &mut missing.verdict,
    };
    let values = column.values.as_mut().map(|values| Judged {
        reached: ((values.psi - values.psi_by_chance) / psi)
            .max(reached("jensen_shannon", Some(values.jensen_shannon)))
            .max(reached("l_infinity", Some(values.l_infinity)))
            .max(reached("kolmogorov_smirnov", values.kolmogorov_smirnov)),
        test: &mut values.test,
        verdict: &mut values.verdict,
    });
    let both = values.into_iter().chain([missing]);
    both.filter(|one| *one.verdict == DriftVerdict::Stable)
}

/// Compares the values of two columns of the same type; `None` where one has no value.
pub(super) fn between(baseline: &ColumnFigures, current: &ColumnFigures) -> Option<ValueDrift> {
    match current.kind {
        ValueType::Number | ValueType::Time => ordered(baseline, current),
        ValueType::Boolean | ValueType::Text => listed(baseline, current),
    }
}

/// Compares texts or booleans value by value.
fn listed(baseline: &ColumnFigures, current: &ColumnFigures) -> Option<ValueDrift> {
    let (before, after) = (Counts::of(baseline), Counts::of(current));
    if before.total() == 0 || after.total() == 0 {
        return None;
    }
    let bins = common(
        &before.shares(&after),
        before.total() as f64,
        after.total() as f64,
    );
    let (n, m) = (before.total() as f64, after.total() as f64);
    let counts: Vec<(f64, f64)> = bins.iter().map(|(_, (b, c))| (b * n, c * m)).collect();
    let p = significance::homogeneity(&counts);
    let mut drift = measured(&bins, (before.total(), after.total()), p);
    let only = |values: Vec<(&str, f64)>, place: fn(f64) -> Shares| {
        let told = values.into_iter().take(LISTED);
        told.map(|(value, share)| contribution(&(value.to_owned(), place(share))))
            .collect()
    };
    drift.new = only(after.not_in(&before), |share| (0.0, share));
    drift.vanished = only(before.not_in(&after), |share| (share, 0.0));
    Some(drift)
}

/// Puts values together that are too rare to be looked at one by one: their shares are noise, and thousands of
/// them would make a large index of it.
fn common(values: &[(&str, Shares)], n: f64, m: f64) -> Vec<(String, Shares)> {
    let is_rare = |(b, c): Shares| significance::is_rare((b * n, c * m), (n, m));
    let (rare, common): (Vec<_>, Vec<_>) = values.iter().partition(|(_, shares)| is_rare(*shares));
    let mut bins: Vec<(String, Shares)> = common
        .iter()
        .map(|(value, shares)| ((*value).to_owned(), *shares))
        .collect();
    match rare.as_slice() {
        [] => {}
        [(value, shares)] => bins.push(((*value).to_owned(), *shares)),
        several => {
            let sum = several
                .iter()
                .fold((0.0, 0.0), |sum, (_, (b, c))| (sum.0 + b, sum.1 + c));
            bins.push((RARE.to_owned(), sum));
        }
    }
    bins
}

/// Compares numbers or times by their distribution functions.
fn ordered(baseline: &ColumnFigures, current: &ColumnFigures) -> Option<ValueDrift> {
    let (before, after) = (Cumulative::of(baseline)?, Cumulative::of(current)?);
    let show = if current.kind == ValueType::Time {
        time
    } else {
        short
    };
    let bins = before.bins(&after).into_iter();
    let bins: Vec<(String, Shares)> = bins.map(|(bin, shares)| (bin.text(show), shares)).collect();
    let distance = before.distance(&after);
    let (n, m) = (before.total(), after.total());
    let p = significance::kolmogorov_smirnov(distance, n as f64, m as f64);
    let mut drift = measured(&bins, (n, m), p);
    drift.kolmogorov_smirnov = Some(distance);
    Some(drift)
}

/// The measures over bins of columns with so many values.
fn measured(bins: &[(String, Shares)], counts: (u64, u64), p: f64) -> ValueDrift {
    let shares: Vec<Shares> = bins.iter().map(|(_, shares)| *shares).collect();
    let mut most: Vec<Contribution> = bins.iter().map(contribution).collect();
    // A stable sort: equal ones stay in the order of their values.
    most.sort_by(|a, b| b.psi.total_cmp(&a.psi));
    most.retain(|one| one.psi > 0.0);
    most.truncate(TOLD);
    ValueDrift {
        verdict: DriftVerdict::Stable,
        baseline_count: counts.0,
        count: counts.1,
        psi: measures::psi(&shares),
        psi_by_chance: measures::psi_by_chance(&shares, counts.0 as f64, counts.1 as f64),
        jensen_shannon: measures::jensen_shannon(&shares),
        l_infinity: measures::l_infinity(&shares),
        kolmogorov_smirnov: None,
        test: DriftTest { p, q: None },
        most,
        new: Vec::new(),
        vanished: Vec::new(),
    }
}

fn contribution((value, shares): &(String, Shares)) -> Contribution {
    Contribution {
        value: value.clone(),
        baseline: shares.0,
        current: shares.1,
        psi: measures::psi_of(*shares),
    }
}

/// Compares the shares of missing cells.
fn missing(baseline: &ColumnFigures, current: &ColumnFigures) -> MissingDrift {
    let counts = |of: &ColumnFigures| (of.missing() as f64, of.count as f64);
    let ((b, with_b), (c, with_c)) = (counts(baseline), counts(current));
    let share = |missing: f64, with: f64| missing / (missing + with).max(1.0);
    let (before, after) = (share(b, with_b), share(c, with_c));
    let shares = [(before, after), (1.0 - before, 1.0 - after)];
    MissingDrift {
        verdict: DriftVerdict::Stable,
        baseline_share: before,
        share: after,
        psi: measures::psi(&shares),
        psi_by_chance: measures::psi_by_chance(&shares, b + with_b, c + with_c),
        l_infinity: (before - after).abs(),
        test: DriftTest {
            p: significance::homogeneity(&[(b, c), (with_b, with_c)]),
            q: None,
        },
    }
}

/// A time given in seconds since 1970.
fn time(seconds: f64) -> String {
    let text = Timestamp::from_unix_micros((seconds * 1e6).round() as i64).to_string();
    // Without a fraction of zeros.
    text.replace(".000000Z", "Z")
}
