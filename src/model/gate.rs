//! Rules to a verdict.
//!
//! `at_least` and `at_most` judge the value on the test rows, or the nearer end of its interval. What compares two
//! models is a test of non-inferiority or of superiority, on the paired difference W (above zero the challenger is
//! worse), with one bound on each side at the gate's confidence, and D, what is allowed:
//! - `no_worse_than` passes where W is shown to lie below D, and rejects where it is shown to lie above;
//! - `better_than` passes where W is shown to lie below −D, and rejects where it is shown to lie above;
//! - else, and where the rows are too few for any bound, the gate is inconclusive, and its message says how many rows
//!   would decide. `validate.on_inconclusive` says what that comes to.
//!
//! All gates have to pass, so each keeps its own level (Berger, "Multiparameter hypothesis testing and acceptance
//! sampling", 1982). The tables of error rates in `docs/validate.md` are made by `cargo bench --bench gate`.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use arrow_array::{ArrayRef, BooleanArray, Float64Array, RecordBatch, StringArray};
use arrow_schema::{Field, Schema};

use super::encode::ModelFeature;
use super::interval::{SHOWN_CONFIDENCE, metrics_of, valued, why_no_interval};
use super::metrics::{self, Scored};
use super::paired::Paired;
use super::part::{self, Order, Ordering, Part};
use super::predictor::Predictor;
use super::slices;
use super::table::{self, Cell};
use crate::config::metrics::MetricName;
use crate::config::{By, Gate, GateBound, GateRule, Judged, Rival, Ruling, Validate};
use crate::error::Input;
use crate::settings::did_you_mean;
use crate::workspace::records::{
    FeatureType, GateResult, LabelColumn, MetricSets, MetricValue, Metrics, SliceMetrics, Task,
    Verdict,
};

pub(crate) use super::interval::FEWEST;

/// How far two trainings on like data differ in what a row adds to a metric: as a share of the metric's value where
/// that has the label's unit. Measured on tables of customers, credit and diabetes; other data differ by half.
const SPREADS: &[(&str, f64)] = &[
    ("log_loss", 0.2),
    ("roc_auc", 0.125),
    ("brier_score", 0.06),
    ("accuracy", 0.22),
    ("rmse", 0.33),
    ("mae", 0.33),
];

/// What validation came to; `validate.json` without its digests.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Evaluation {
    pub verdict: Verdict,
    /// Test rows.
    pub rows: u64,
    pub metrics: MetricSets,
    pub gates: Vec<GateResult>,
    pub slices: Vec<SliceMetrics>,
    /// What a reader of the verdict has to know, one sentence each.
    pub notes: Vec<String>,
}

/// A champion on the test rows, or why it cannot be scored.
type Champion = std::result::Result<Scored, String>;

/// Scores challenger and champion (model directories) on the test part, and applies the gates.
///
/// # Errors
/// [`Input`] for a test part or challenger that cannot be read or do not fit each other, and for a metric of another
/// task or a slice that does not exist, at its place in the config.
pub(crate) fn evaluate(
    test: &Part,
    label: &LabelColumn,
    challenger: &Path,
    champion: Option<&Path>,
    config: &Validate,
) -> Result<Evaluation> {
    fit_task(config, label)?;
    let test = Test::read(test, label, config)?;
    let predictor = Predictor::load(challenger)?;
    let challenger = test.score(&predictor, label).map_err(|why| {
        Input::new(format!("cannot be scored on the test part: {why}")).at_file(challenger)
    })?;
    // A champion that cannot be read or scored any more must not stop a build that would replace it.
    let mut notes = Vec::new();
    let champion: Option<Champion> = champion.map(|dir| {
        let predictor = Predictor::load(dir).map_err(|e| e.to_string())?;
        let gone = test.without(&predictor.manifest().features);
        notes.extend(gone.iter().map(|column| {
            format!(
                "the champion reads `{column}`, which left the data; it is a missing value to it"
            )
        }));
        test.score(&predictor, label)
    });
    let comparison = Comparison {
        challenger: &challenger,
        shown: metrics_of(&challenger),
        champion: champion.as_ref(),
        config,
    };
    let results: Vec<_> = config
        .require
        .iter()
        .map(|gate| comparison.judge(gate))
        .collect();
    let champion = champion.as_ref().and_then(|side| side.as_ref().ok());
    if config.require.is_empty() {
        notes.push("no gate was asked for: `require: none` lets every model pass".to_owned());
    }
    let verdict = worst(&results);
    let passed_open = verdict == Verdict::Inconclusive && config.on_inconclusive == Ruling::Pass;
    if passed_open {
        notes.push(
            "a gate is inconclusive and the model passes all the same, as `on_inconclusive: pass` asks"
                .to_owned(),
        );
    }
    Ok(Evaluation {
        verdict: if passed_open { Verdict::Pass } else { verdict },
        rows: challenger.rows() as u64,
        metrics: MetricSets {
            challenger: comparison.shown,
            champion: champion.map(metrics_of),
        },
        slices: test.slices(&challenger, champion),
        gates: results,
        notes,
    })
}

/// About how many test rows let an equal model pass `no_worse_than` four times in five, at a confidence of 95 %, before
/// there is a model to ask; `None` where the metric's or the margin's kind has no experience behind it.
pub(crate) fn rows_for_equal(metric: &str, by: By) -> Option<u64> {
    let (_, spread) = SPREADS.iter().find(|(name, _)| *name == metric)?;
    let margin = match (metric, by) {
        ("rmse" | "mae", By::Share(share)) => share,
        ("rmse" | "mae", By::Amount(_)) | (_, By::Share(_)) => return None,
        (_, By::Amount(amount)) => amount,
    };
    Some((2.486 * spread / margin).powi(2).ceil() as u64)
}

/// Holds the gates' metrics against the label's task.
///
/// # Errors
/// [`Input`] for the first metric of another task, at its place.
pub(crate) fn fit_task(config: &Validate, label: &LabelColumn) -> Result<()> {
    for Gate { metric, .. } in &config.require {
        if !metric.tasks.contains(&label.task) {
            let kind = match label.task {
                Task::Binary => "has two classes",
                Task::Multiclass => "has more than two classes",
                Task::Regression => "is a number",
            };
            let message = format!(
                "the metric `{}` does not fit the label `{}`, which {kind}",
                metric.name, label.column
            );
            let known: Vec<_> = MetricName::of_task(label.task).map(|m| m.name).collect();
            return Err(Input::new(message)
                .at(metric.place.clone())
                .hint(format!("use one of `{}`", known.join("`, `")))
                .into());
        }
    }
    Ok(())
}

/// The test part.
struct Test<'a> {
    batches: Vec<RecordBatch>,
    /// How what is read of the batches is put in order; `None` where it is already.
    order: Option<Order>,
    truth: Vec<f64>,
    /// Of two classes the positive one is said above this probability.
    threshold: f64,
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
            threshold: config.threshold,
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

    /// The features that a model reads and that are not there.
    fn without(&self, features: &[ModelFeature]) -> BTreeSet<String> {
        let there = |name: &str| {
            let batch = self.batches.first();
            batch.is_some_and(|batch| batch.column_by_name(name).is_some())
        };
        let names = features.iter().map(|feature| feature.name.clone());
        names.filter(|name| !there(name)).collect()
    }

    /// What a model says of the rows, or why it cannot.
    fn score(&self, predictor: &Predictor, label: &LabelColumn) -> Result<Scored, String> {
        let manifest = predictor.manifest();
        let classes = &manifest.label.classes;
        // Where each class of the data is among the model's.
        let places = label
            .classes
            .iter()
            .map(|class| classes.iter().position(|c| c == class));
        let places: Option<Vec<usize>> = places.collect();
        let places = places.filter(|places| places.len() == classes.len());
        let Some(places) = places.filter(|_| manifest.task == label.task) else {
            return Err("it predicts another label or other classes than the data has".to_owned());
        };
        let mut scores = Vec::new();
        for batch in &self.batches {
            let batch = completed(batch, &manifest.features).map_err(|e| e.to_string())?;
            let rows = predictor
                .encoder()
                .batch(&batch)
                .map_err(|e| e.to_string())?;
            let of_batch = predictor.scores(&rows).map_err(|e| format!("{e:#}"))?;
            if places.is_sorted() {
                scores.extend(of_batch);
                continue;
            }
            for row in of_batch.chunks(predictor.width()) {
                scores.extend(places.iter().map(|place| row[*place]));
            }
        }
        let scores = part::ordered(self.order.as_ref(), scores, predictor.width());
        Ok(Scored::new(
            label.task,
            self.truth.clone(),
            &scores,
            self.threshold,
        ))
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

/// The batch with a column of missing values for each feature that is not there, as a request without it is served.
fn completed(batch: &RecordBatch, features: &[ModelFeature]) -> Result<RecordBatch> {
    let rows = batch.num_rows();
    let mut fields: Vec<Arc<Field>> = batch.schema().fields().iter().cloned().collect();
    let mut columns = batch.columns().to_vec();
    for feature in features {
        if batch.column_by_name(&feature.name).is_none() {
            let missing: ArrayRef = match feature.kind {
                FeatureType::Number => Arc::new(Float64Array::new_null(rows)),
                FeatureType::Category | FeatureType::Time => Arc::new(StringArray::new_null(rows)),
                FeatureType::Boolean => Arc::new(BooleanArray::new_null(rows)),
            };
            let field = Field::new(&feature.name, missing.data_type().clone(), true);
            fields.push(Arc::new(field));
            columns.push(missing);
        }
    }
    Ok(RecordBatch::try_new(
        Arc::new(Schema::new(fields)),
        columns,
    )?)
}

fn points(scored: &Scored, counts: &[u32]) -> Metrics {
    metrics::all(scored, counts)
        .into_iter()
        .map(|(name, value)| (name.to_owned(), MetricValue::Point(value)))
        .collect()
}

/// Both models on the same rows.
struct Comparison<'a> {
    challenger: &'a Scored,
    /// The challenger's metrics with their intervals.
    shown: Metrics,
    champion: Option<&'a Champion>,
    config: &'a Validate,
}

/// What a gate comes to, and why.
struct Judgement {
    verdict: Verdict,
    /// How much worse the challenger is, with its interval.
    worse_by: Option<MetricValue>,
    message: String,
}

impl Judgement {
    fn of(verdict: Verdict, message: String) -> Self {
        Self {
            verdict,
            worse_by: None,
            message,
        }
    }
}

impl Comparison<'_> {
    fn judge(&self, gate: &Gate) -> GateResult {
        let metric = *gate.metric;
        let value = metrics::value(metric, self.challenger, &self.challenger.once());
        let judgement = match (value, gate.rule) {
            (None, _) => {
                let rows = self.challenger.rows();
                let message = format!("{} has no value on these {rows} test rows", metric.name);
                Judgement::of(Verdict::Inconclusive, message)
            }
            (Some(value), GateRule::AtLeast(bound)) => self.absolute(metric, value, bound, 1.0),
            (Some(value), GateRule::AtMost(bound)) => self.absolute(metric, value, bound, -1.0),
            (Some(value), GateRule::NoWorse { by, confidence }) => {
                self.against_champion(metric, value, by, confidence, Claim::NoWorse)
            }
            (
                Some(value),
                GateRule::Better {
                    than: Rival::Champion,
                    by,
                    confidence,
                },
            ) => self.against_champion(metric, value, by, confidence, Claim::Better),
            (Some(value), GateRule::Better { by, confidence, .. }) => {
                let trivial = self.challenger.trivial(metric);
                self.compare(
                    metric,
                    value,
                    &trivial,
                    Rival::Trivial,
                    by,
                    confidence,
                    Claim::Better,
                )
            }
        };
        GateResult {
            metric: metric.name.to_owned(),
            rule: gate.rule.to_string(),
            value: value.unwrap_or(f64::NAN),
            verdict: judgement.verdict,
            worse_by: judgement.worse_by,
            message: judgement.message,
        }
    }

    /// A value against a bound; `sign` is above zero where the value has to be above.
    fn absolute(
        &self,
        metric: &'static MetricName,
        value: f64,
        bound: GateBound,
        sign: f64,
    ) -> Judgement {
        let name = metric.name;
        let interval = match self.shown.get(name) {
            Some(MetricValue::Interval { low, high, .. }) => Some((*low, *high)),
            _ => None,
        };
        let holds = |x: f64| (x - bound.value) * sign >= 0.0;
        let (passes, fails) = match (bound.on, interval) {
            (Judged::Value, _) => (holds(value), !holds(value)),
            (Judged::Interval, Some((low, high))) => {
                (holds(low) && holds(high), !holds(low) && !holds(high))
            }
            (Judged::Interval, None) => {
                let why = why_no_interval(metric, self.challenger)
                    .unwrap_or_else(|| "all resamples agree".to_owned());
                let message = format!("{name} is {}, without an interval: {why}", show(value));
                return Judgement::of(Verdict::Inconclusive, message);
            }
        };
        let shown = apart(value, bound.value);
        let relation = match (sign > 0.0, holds(value)) {
            (true, true) => "at least",
            (true, false) => "below",
            (false, true) => "at most",
            (false, false) => "above",
        };
        let between = interval.map_or(String::new(), |(low, high)| {
            let percent = show(SHOWN_CONFIDENCE * 100.0);
            format!(" ({} to {} at {percent}%)", show(low), show(high))
        });
        let message = format!("{name} is {}{between}, {relation} {}", shown.0, shown.1);
        let (verdict, more) = match (passes, fails, bound.on) {
            (true, _, Judged::Value) => (Verdict::Pass, ""),
            (true, _, Judged::Interval) => (Verdict::Pass, " with its whole interval"),
            (_, true, Judged::Value) => (Verdict::Reject, ""),
            (_, true, Judged::Interval) => (Verdict::Reject, " with its whole interval"),
            _ => (Verdict::Inconclusive, ", which lies within its interval"),
        };
        Judgement::of(verdict, message + more)
    }

    fn against_champion(
        &self,
        metric: &'static MetricName,
        value: f64,
        by: By,
        confidence: f64,
        claim: Claim,
    ) -> Judgement {
        let name = metric.name;
        let ruled = |ruling: Ruling| match ruling {
            Ruling::Pass => Verdict::Pass,
            Ruling::Reject => Verdict::Reject,
        };
        match self.champion {
            None => Judgement::of(
                ruled(self.config.no_champion),
                format!(
                    "{name} is {}, and there is no champion to compare with yet",
                    show(value)
                ),
            ),
            Some(Err(why)) => Judgement::of(
                ruled(self.config.unscorable_champion),
                format!(
                    "{name} cannot be compared, because the champion cannot be scored on this data: {why}"
                ),
            ),
            Some(Ok(champion)) => self.compare(
                metric,
                value,
                champion,
                Rival::Champion,
                by,
                confidence,
                claim,
            ),
        }
    }

    /// The challenger, whose metric is `value`, against another model on the same rows.
    #[expect(clippy::too_many_arguments, reason = "what a comparison is made of")]
    fn compare(
        &self,
        metric: &'static MetricName,
        value: f64,
        other: &Scored,
        than: Rival,
        by: By,
        confidence: f64,
        claim: Claim,
    ) -> Judgement {
        let name = metric.name;
        let there = metrics::value(metric, other, &other.once());
        let whose = match than {
            Rival::Champion => "the champion's",
            Rival::Trivial => "the trivial predictor's",
        };
        let start = match there {
            Some(there) => format!("{name} is {} against {whose} {}", show(value), show(there)),
            None => format!("{name} is {}, {whose} has no value", show(value)),
        };
        let inconclusive = |why: &str| {
            Judgement::of(
                Verdict::Inconclusive,
                format!("{start}, which decides nothing: {why}"),
            )
        };
        // The trivial predictor has no chance in it but that of the rows.
        let of_other = || match than {
            Rival::Champion => why_no_interval(metric, other),
            Rival::Trivial => None,
        };
        let few = why_no_interval(metric, self.challenger).or_else(of_other);
        if let Some(why) = few {
            return inconclusive(&why);
        }
        let (Some(there), Some(paired)) = (there, Paired::of(metric, self.challenger, other))
        else {
            return inconclusive("the rows define no difference");
        };
        if paired.has_no_error() {
            return inconclusive("no row tells the models apart in it");
        }
        let (low, high) = paired.ends(confidence);
        // What W has to lie below.
        let limit = match claim {
            Claim::NoWorse => by.amount(there),
            Claim::Better => -by.amount(there),
        };
        let verdict = claim.verdict((low, high), limit);
        let message = format!(
            "{start}: {}, {} at {}% on each side; {}",
            in_words(paired.worse),
            between(low, high),
            show(confidence * 100.0),
            claim.reason(verdict, limit, &paired, confidence)
        );
        let interval = (low, high, paired.method);
        Judgement {
            verdict,
            worse_by: Some(valued(paired.worse, Some(interval))),
            message,
        }
    }
}

/// What a comparison has to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Claim {
    NoWorse,
    Better,
}

impl Claim {
    /// Of the ends of what W can be, where it has to lie below `limit`.
    fn verdict(self, (low, high): (f64, f64), limit: f64) -> Verdict {
        let is_below = match self {
            Self::NoWorse => high <= limit,
            Self::Better => high < limit,
        };
        match (is_below, low > limit || (low == high && low == limit)) {
            (true, _) => Verdict::Pass,
            (_, true) => Verdict::Reject,
            _ => Verdict::Inconclusive,
        }
    }

    /// Why a comparison ended so, with how many rows would decide where these do not.
    fn reason(self, verdict: Verdict, limit: f64, paired: &Paired, confidence: f64) -> String {
        let by = show(limit.abs());
        let allowed = match self {
            Self::NoWorse => format!("worse by less than {by}"),
            Self::Better if limit == 0.0 => "better".to_owned(),
            Self::Better => format!("better by more than {by}"),
        };
        match verdict {
            Verdict::Pass => format!("shown to be {allowed}"),
            Verdict::Reject => format!("shown not to be {allowed}"),
            Verdict::Inconclusive => {
                let room = limit - paired.worse.max(0.0);
                let (room, who) = match self {
                    Self::NoWorse if room > 0.0 => (room, "these models"),
                    Self::NoWorse => (limit, "an equal model"),
                    Self::Better => (limit - paired.worse, "these models"),
                };
                if room > 0.0 {
                    let rows = paired.rows_needed(confidence, room);
                    format!(
                        "too few rows to show that it is {allowed}: {who} would need about {rows}"
                    )
                } else {
                    format!("not shown to be {allowed}, and not shown not to be")
                }
            }
        }
    }
}

/// A rejection before what is inconclusive before a pass; no gate is a pass.
pub(crate) fn worst(results: &[GateResult]) -> Verdict {
    let any = |verdict| results.iter().any(|r| r.verdict == verdict);
    if any(Verdict::Reject) {
        Verdict::Reject
    } else if any(Verdict::Inconclusive) {
        Verdict::Inconclusive
    } else {
        Verdict::Pass
    }
}

/// How much worse, or better.
fn in_words(worse: f64) -> String {
    match worse {
        0.0 => "the same".to_owned(),
        worse if worse > 0.0 => format!("worse by {}", show(worse)),
        worse => format!("better by {}", show(-worse)),
    }
}

/// The ends of how much worse, or better.
fn between(low: f64, high: f64) -> String {
    if low > 0.0 {
        format!("worse by {} to {}", show(low), show(high))
    } else if high < 0.0 {
        format!("better by {} to {}", show(-high), show(-low))
    } else {
        format!("{} to {}", in_words(low), in_words(high))
    }
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
