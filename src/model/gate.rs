//! Rules to a verdict.
//!
//! `at_least` and `at_most` judge the value on the test rows; its 95 % interval is shown beside it.
//! `no_worse_than: champion` judges how much worse the challenger is, W, against what is allowed, D, with the
//! interval of W at the gate's confidence from a paired bootstrap:
//! - reject, where the whole interval lies above D: worse by more than is allowed, beyond chance;
//! - inconclusive, where W is above D and the whole interval above zero: worse beyond chance, but only
//!   more test rows would tell whether by more than is allowed;
//! - pass otherwise: W is within D, or cannot be told from no difference. The message says which.
//!
//! To ask for an interval wholly within D would hold back the equal of a champion for ever where the
//! test part is small. Without a champion a relative gate passes and says so; with one that cannot be
//! scored on these rows it is inconclusive. The verdict as a whole is the worst of the gates'.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use arrow_array::RecordBatch;

use super::compare::{Distribution, Statistic, bootstrap};
use super::metrics::{self, Metric, Scored};
use super::part::{self, Order, Ordering, Part};
use super::predictor::Predictor;
use super::slices;
use super::table::{self, Cell};
use crate::config::{Gate, GateRule, Validate};
use crate::error::Input;
use crate::settings::did_you_mean;
use crate::workspace::records::{
    GateResult, LabelColumn, MetricSets, MetricValue, Metrics, SliceMetrics, Verdict,
};

/// The confidence of the intervals beside metrics, where no gate names another.
const SHOWN_CONFIDENCE: f64 = 0.95;

/// What validation came to; `validate.json` without its digests.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Evaluation {
    pub verdict: Verdict,
    /// Test rows.
    pub rows: u64,
    pub metrics: MetricSets,
    pub gates: Vec<GateResult>,
    pub slices: Vec<SliceMetrics>,
}

/// Scores challenger and champion (model directories) on the test part, and applies the gates.
///
/// # Errors
/// [`Input`] for a test part or challenger that cannot be read or do not fit each other, and for a metric
/// or a slice that does not exist, at its place in the config.
pub(crate) fn evaluate(
    test: &Part,
    label: &LabelColumn,
    challenger: &Path,
    champion: Option<&Path>,
    config: &Validate,
) -> Result<Evaluation> {
    let gates = gates(config, label)?;
    let test = Test::read(test, label, config)?;
    let predictor = Predictor::load(challenger)?;
    let challenger = test.score(&predictor, label).map_err(|why| {
        Input::new(format!("cannot be scored on the test part: {why}")).at_file(challenger)
    })?;
    // A champion that cannot be read or scored any more must not stop a build that would replace it.
    let champion = champion.map(|dir| {
        let predictor = Predictor::load(dir).map_err(|e| e.to_string())?;
        test.score(&predictor, label)
    });
    let comparison = Comparison::new(&challenger, champion.as_ref(), &gates);
    let results: Vec<_> = gates
        .iter()
        .enumerate()
        .map(|(i, (gate, metric))| comparison.judge(i, &gate.rule, metric))
        .collect();
    let champion = champion.as_ref().and_then(|side| side.as_ref().ok());
    Ok(Evaluation {
        verdict: worst(&results),
        rows: challenger.rows() as u64,
        metrics: MetricSets {
            challenger: comparison.shown(&challenger, &comparison.challenger),
            champion: champion.map(|scored| comparison.shown(scored, &comparison.champion)),
        },
        slices: test.slices(&challenger, champion),
        gates: results,
    })
}

/// The gates with their metrics, or the first that has none.
fn gates<'a>(
    config: &'a Validate,
    label: &LabelColumn,
) -> Result<Vec<(&'a Gate, &'static Metric)>> {
    let known: Vec<_> = metrics::of_task(label.task).map(|m| m.name).collect();
    let gate = |gate: &'a Gate| {
        let name = gate.metric.value.as_str();
        let message = match metrics::find(name) {
            Some(metric) if metric.tasks.contains(&label.task) => return Ok((gate, metric)),
            Some(_) => {
                let task = format!("{:?}", label.task).to_lowercase();
                format!(
                    "the metric `{name}` is none for the {task} label `{}`",
                    label.column
                )
            }
            None => format!("there is no metric `{name}`"),
        };
        let hint = did_you_mean(name, known.iter().copied())
            .unwrap_or_else(|| format!("use one of `{}`", known.join("`, `")));
        Err(Input::new(message)
            .at(gate.metric.place.clone())
            .hint(hint)
            .into())
    };
    config.require.iter().map(gate).collect()
}

/// The test part.
struct Test<'a> {
    batches: Vec<RecordBatch>,
    /// How what is read of the batches is put in order; `None` where it is already.
    order: Option<Order>,
    truth: Vec<f64>,
    /// The columns of the config's slices, with their values.
    sliced: Vec<(&'a str, Vec<Cell>)>,
}

impl<'a> Test<'a> {
    fn read(part: &Part, label: &LabelColumn, config: &'a Validate) -> Result<Self> {
        let mut ordering = part.ordering();
        let mut test = Self {
            batches: Vec::new(),
            order: None,
            truth: Vec::new(),
            sliced: config
                .slices
                .iter()
                .map(|s| (s.value.as_str(), Vec::new()))
                .collect(),
        };
        for batch in part.batches() {
            let (path, batch) = batch?;
            test.truth.extend(table::truth(path, &batch, label)?);
            for (slice, (name, cells)) in config.slices.iter().zip(&mut test.sliced) {
                let found = batch
                    .column_by_name(name)
                    .and_then(|c| table::cells(c.as_ref()));
                cells.extend(found.ok_or_else(|| {
                    let schema = batch.schema();
                    let known = schema.fields().iter().map(|f| f.name().as_str());
                    let input = Input::new(format!("there is no column `{name}` to slice by"))
                        .at(slice.place.clone());
                    input.hint(did_you_mean(name, known).unwrap_or_else(|| {
                        "slice by a feature, which `data.drop` does not name".to_owned()
                    }))
                })?);
            }
            if let Some(ordering) = &mut ordering {
                ordering.add(&batch);
            }
            test.batches.push(batch);
        }
        if test.truth.is_empty() {
            return Err(Input::new("has no rows to judge a model on")
                .at_file(part.place())
                .into());
        }
        test.order = ordering.map(Ordering::finish);
        let order = test.order.as_ref();
        test.truth = part::ordered(order, test.truth, 1);
        let sliced = test.sliced.into_iter();
        test.sliced = sliced
            .map(|(name, cells)| (name, part::ordered(order, cells, 1)))
            .collect();
        Ok(test)
    }

    /// What a model says of the rows, or why it cannot.
    fn score(&self, predictor: &Predictor, label: &LabelColumn) -> Result<Scored, String> {
        let manifest = predictor.manifest();
        if manifest.task != label.task || manifest.label.classes != label.classes {
            return Err("it predicts another label or other classes than the data has".to_owned());
        }
        let mut scores = Vec::new();
        for batch in &self.batches {
            let rows = predictor
                .encoder()
                .batch(batch)
                .map_err(|e| e.to_string())?;
            scores.extend(predictor.scores(&rows).map_err(|e| format!("{e:#}"))?);
        }
        let scores = part::ordered(self.order.as_ref(), scores, predictor.width());
        Ok(Scored::new(label.task, self.truth.clone(), &scores))
    }

    fn slices(&self, challenger: &Scored, champion: Option<&Scored>) -> Vec<SliceMetrics> {
        let mut all = Vec::new();
        for (column, cells) in &self.sliced {
            for slice in slices::of(cells) {
                let mut counts = vec![0; self.truth.len()];
                for &row in &slice.rows {
                    counts[row] = 1;
                }
                all.push(SliceMetrics {
                    column: (*column).to_owned(),
                    value: slice.value,
                    rows: slice.rows.len() as u64,
                    challenger: points(challenger, &counts),
                    champion: champion.map(|scored| points(scored, &counts)),
                });
            }
        }
        all
    }
}

fn points(scored: &Scored, counts: &[u32]) -> Metrics {
    metrics::all(scored, counts)
        .into_iter()
        .map(|(name, value)| (name.to_owned(), MetricValue::Point(value)))
        .collect()
}

/// Both models on the same rows, and the resampled values of each gate's metric.
struct Comparison<'a> {
    rows: usize,
    scored: &'a Scored,
    other: Option<&'a Result<Scored, String>>,
    /// By the gate's metric.
    challenger: BTreeMap<&'static str, Distribution>,
    champion: BTreeMap<&'static str, Distribution>,
    /// How much worse the challenger is, by the gate's place in the config.
    worse: BTreeMap<usize, Distribution>,
}

impl<'a> Comparison<'a> {
    fn new(
        scored: &'a Scored,
        other: Option<&'a Result<Scored, String>>,
        gates: &[(&Gate, &'static Metric)],
    ) -> Self {
        enum Resampled {
            Challenger(&'static str),
            Champion(&'static str),
            Worse(usize),
        }
        let comparable = other.and_then(|side| side.as_ref().ok());
        let mut named = Vec::new();
        let mut statistics: Vec<Statistic> = Vec::new();
        let distinct: BTreeMap<_, _> = gates.iter().map(|(_, m)| (m.name, *m)).collect();
        for (name, metric) in distinct {
            named.push(Resampled::Challenger(name));
            statistics.push(Box::new(|counts| metric.of(scored, counts)));
            if let Some(champion) = comparable {
                named.push(Resampled::Champion(name));
                statistics.push(Box::new(|counts| metric.of(champion, counts)));
            }
        }
        for (i, (gate, metric)) in gates.iter().enumerate() {
            if let (GateRule::NoWorseThanChampion { .. }, Some(champion)) = (&gate.rule, comparable)
            {
                named.push(Resampled::Worse(i));
                statistics.push(Box::new(|counts| {
                    worse_by(metric, scored, champion, counts)
                }));
            }
        }
        let mut comparison = Self {
            rows: scored.rows(),
            scored,
            other,
            challenger: BTreeMap::new(),
            champion: BTreeMap::new(),
            worse: BTreeMap::new(),
        };
        for (of, distribution) in named.iter().zip(bootstrap(scored.rows(), &statistics)) {
            match of {
                Resampled::Challenger(name) => comparison.challenger.insert(name, distribution),
                Resampled::Champion(name) => comparison.champion.insert(name, distribution),
                Resampled::Worse(i) => comparison.worse.insert(*i, distribution),
            };
        }
        comparison
    }

    /// All metrics of a side, with intervals for those of the gates.
    fn shown(&self, scored: &Scored, of: &BTreeMap<&'static str, Distribution>) -> Metrics {
        let with_interval = |(name, value): (&'static str, f64)| {
            let interval = of.get(name).and_then(|d| d.interval(SHOWN_CONFIDENCE));
            (name.to_owned(), valued(value, interval))
        };
        metrics::all(scored, &scored.once())
            .into_iter()
            .map(with_interval)
            .collect()
    }

    fn judge(&self, i: usize, rule: &GateRule, metric: &Metric) -> GateResult {
        let name = metric.name;
        let value = metric.of(self.scored, &self.scored.once());
        let result = |verdict, worse_by, message| GateResult {
            metric: name.to_owned(),
            rule: in_words(rule),
            value: value.unwrap_or(f64::NAN),
            verdict,
            worse_by,
            message,
        };
        let Some(value) = value else {
            let message = format!("{name} has no value on these {} test rows", self.rows);
            return result(Verdict::Inconclusive, None, message);
        };
        let interval = self
            .challenger
            .get(name)
            .and_then(|d| d.interval(SHOWN_CONFIDENCE));
        let (verdict, relation, bound) = match rule {
            GateRule::AtLeast(bound) => (value >= *bound, ["at least", "below"], *bound),
            GateRule::AtMost(bound) => (value <= *bound, ["at most", "above"], *bound),
            GateRule::NoWorseThanChampion { by, confidence } => {
                let (verdict, worse, message) = self.compare(i, metric, value, *by, *confidence);
                return result(verdict, worse, message);
            }
        };
        let shown = apart(value, bound);
        let (verdict, relation) = if verdict {
            (Verdict::Pass, relation[0])
        } else {
            (Verdict::Reject, relation[1])
        };
        let interval = between(interval, SHOWN_CONFIDENCE);
        let message = format!("{name} is {}{interval}, {relation} {}", shown.0, shown.1);
        result(verdict, None, message)
    }

    fn compare(
        &self,
        i: usize,
        metric: &Metric,
        value: f64,
        by: f64,
        confidence: f64,
    ) -> (Verdict, Option<MetricValue>, String) {
        let name = metric.name;
        let champion = match self.other {
            None => {
                let message = format!(
                    "{name} is {}, and there is no champion to compare with yet",
                    show(value)
                );
                return (Verdict::Pass, None, message);
            }
            Some(Err(why)) => {
                let message = format!(
                    "{name} cannot be compared, because the champion cannot be scored on this data: {why}"
                );
                return (Verdict::Inconclusive, None, message);
            }
            Some(Ok(champion)) => champion,
        };
        let once = champion.once();
        let there = metric.of(champion, &once);
        let worse = worse_by(metric, self.scored, champion, &once);
        let interval = self.worse.get(&i).and_then(|d| d.interval(confidence));
        let (Some(there), Some(worse), Some((low, high))) = (there, worse, interval) else {
            let rows = self.rows;
            let message =
                format!("{name} cannot be compared on these {rows} test rows, which are too few");
            return (Verdict::Inconclusive, None, message);
        };
        let verdict = relative(worse, low, by);
        let allowed = show(by);
        let reason = match verdict {
            Verdict::Pass if high <= by => {
                format!("within the {allowed} allowed, as is its whole interval")
            }
            Verdict::Pass if worse <= by => {
                format!("within the {allowed} allowed, though its interval reaches beyond")
            }
            Verdict::Pass => {
                format!("above the {allowed} allowed, but not to be told from no difference")
            }
            Verdict::Reject => format!("above the {allowed} allowed, as is its whole interval"),
            Verdict::Inconclusive => format!(
                "worse beyond chance, and only more test rows would tell whether by more than the {allowed} allowed"
            ),
        };
        let amount = if worse == 0.0 {
            "the same".to_owned()
        } else {
            let direction = if worse > 0.0 { "worse" } else { "better" };
            format!("{direction} by {}", show(worse.abs()))
        };
        let message = format!(
            "{name} is {} against the champion's {}: {amount}, worse by {} to {} at {}% confidence, {reason}",
            show(value),
            show(there),
            show(low),
            show(high),
            show(confidence * 100.0)
        );
        (verdict, Some(valued(worse, Some((low, high)))), message)
    }
}

/// The verdict on being worse by `worse`, where `low` is the lower end of its interval and `by` is allowed.
fn relative(worse: f64, low: f64, by: f64) -> Verdict {
    if worse <= by || low <= 0.0 {
        Verdict::Pass
    } else if low > by {
        Verdict::Reject
    } else {
        Verdict::Inconclusive
    }
}

/// How much worse the challenger is in the metric's own unit; below zero it is better.
fn worse_by(
    metric: &Metric,
    challenger: &Scored,
    champion: &Scored,
    counts: &[u32],
) -> Option<f64> {
    let rise = metric.of(challenger, counts)? - metric.of(champion, counts)?;
    Some(if metric.higher_is_better { -rise } else { rise })
}

/// A rejection before what is inconclusive before a pass; no gate is a pass.
fn worst(results: &[GateResult]) -> Verdict {
    let any = |verdict| results.iter().any(|r| r.verdict == verdict);
    if any(Verdict::Reject) {
        Verdict::Reject
    } else if any(Verdict::Inconclusive) {
        Verdict::Inconclusive
    } else {
        Verdict::Pass
    }
}

fn valued(value: f64, interval: Option<(f64, f64)>) -> MetricValue {
    match interval {
        Some((low, high)) => MetricValue::Interval { value, low, high },
        None => MetricValue::Point(value),
    }
}

fn in_words(rule: &GateRule) -> String {
    match rule {
        GateRule::AtLeast(bound) => format!("at_least {bound}"),
        GateRule::AtMost(bound) => format!("at_most {bound}"),
        GateRule::NoWorseThanChampion { by, .. } => format!("no_worse_than champion by {by}"),
    }
}

fn between(interval: Option<(f64, f64)>, confidence: f64) -> String {
    interval.map_or(String::new(), |(low, high)| {
        let percent = show(confidence * 100.0);
        format!(" ({} to {} at {percent}%)", show(low), show(high))
    })
}

/// A number to four digits that count.
fn show(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return value.abs().to_string();
    }
    let decimals = (3 - value.abs().log10().floor() as i32).clamp(0, 9) as usize;
    let text = format!("{value:.decimals$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

/// Two numbers as texts that differ where the numbers do.
fn apart(a: f64, b: f64) -> (String, String) {
    let (shown_a, shown_b) = (show(a), show(b));
    if shown_a == shown_b && a != b {
        (a.to_string(), b.to_string())
    } else {
        (shown_a, shown_b)
    }
}

#[cfg(test)]
mod tests;
