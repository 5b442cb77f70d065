//! The verdict binds: what `validate.json` says is held against itself, and against the model, scored again.

use anyhow::Result;

use crate::config::Ruling;
use crate::error::{Input, Place};
use crate::model::gate::{Evaluation, worst};
use crate::steps::{Context, champion, validate};
use crate::workspace::records::{Dataset, GateResult, MetricValue, Validated, Verdict};
use crate::workspace::{Record as _, Workspace};

/// The same figure, but for the last digits that another processor's mathematics may have.
const SAME: f64 = 1e-9;

/// Stops the step where the record is not what its own gates, or the model and the test rows, come to.
///
/// # Errors
/// [`Input`] with both figures; `gcp::Error` when the cloud fails.
pub(super) async fn hold(ctx: &Context, dataset: &Dataset, validated: &Validated) -> Result<()> {
    let config = &ctx.config.validate;
    if let Some(why) = contradiction(validated, config.on_inconclusive, config.require.len()) {
        return Err(refusal(why).into());
    }
    let serving = champion::find(ctx).await?;
    // Another champion than the one of the record is the business of `deploy`; here it cannot be compared with.
    let serving = serving.filter(|serving| validated.champion.as_ref() == Some(&serving.champion));
    let same_champion = serving.is_some() == validated.champion.is_some();
    let again = validate::score(ctx, dataset, serving.as_ref()).await?;
    match difference(validated, &again, same_champion) {
        Some(why) => Err(refusal(why).into()),
        None => Ok(()),
    }
}

fn refusal(why: String) -> Input {
    Input::new(why)
        .at(Place::File(Workspace::relative(Validated::FILE).into()))
        .hint("nothing is pushed on an edited verdict; run `serin validate` again")
}

/// Why the verdict does not follow from the record's own gates.
fn contradiction(validated: &Validated, open: Ruling, gates: usize) -> Option<String> {
    if validated.gates.len() != gates {
        return Some(format!(
            "it has {} gates, and serin.yaml has {gates}",
            validated.gates.len()
        ));
    }
    let follows = match worst(&validated.gates) {
        Verdict::Inconclusive if open == Ruling::Pass => Verdict::Pass,
        verdict => verdict,
    };
    (follows != validated.verdict).then(|| {
        format!(
            "its verdict is {}, but {} follows from its gates",
            validated.verdict.as_str(),
            follows.as_str()
        )
    })
}

/// What of the record the same rows and model do not give again.
fn difference(record: &Validated, again: &Evaluation, same_champion: bool) -> Option<String> {
    if record.rows != again.rows {
        return Some(format!(
            "it tells of {} test rows, and there are {}",
            record.rows, again.rows
        ));
    }
    for (name, found) in &again.metrics.challenger {
        let told = record.metrics.challenger.get(name);
        if !told.is_some_and(|told| is_same(*told, *found)) {
            let told = told.map_or("none".to_owned(), |told| told.value().to_string());
            return Some(format!(
                "it tells of {name} {told}, and the model, scored again on the same rows, has {}",
                found.value()
            ));
        }
    }
    let comparable = |gate: &&GateResult| same_champion || !gate.rule.contains("champion");
    let gates = record.gates.iter().zip(&again.gates);
    let differs = gates
        .filter(|(told, _)| comparable(told))
        .find(|(told, found)| {
            told.metric != found.metric
                || told.rule != found.rule
                || told.verdict != found.verdict
                || !is_close(told.value, found.value)
                || !same_difference(told.worse_by, found.worse_by)
        });
    differs.map(|(told, found)| {
        format!(
            "its gate {} {} is {} with {}, and the models, scored again on the same rows, make it {} {}: {} with {}",
            told.metric,
            told.rule,
            told.verdict.as_str(),
            in_figures(told),
            found.metric,
            found.rule,
            found.verdict.as_str(),
            in_figures(found)
        )
    })
}

fn in_figures(gate: &GateResult) -> String {
    match gate.worse_by {
        Some(worse) => format!("{}, worse by {}", gate.value, worse.value()),
        None => gate.value.to_string(),
    }
}

fn same_difference(a: Option<MetricValue>, b: Option<MetricValue>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => is_same(a, b),
        (a, b) => a.is_none() && b.is_none(),
    }
}

fn is_same(a: MetricValue, b: MetricValue) -> bool {
    let ends = |value: MetricValue| match value {
        MetricValue::Interval {
            value, low, high, ..
        } => [value, low, high],
        MetricValue::Point(value) => [value; 3],
    };
    let pairs = ends(a).into_iter().zip(ends(b));
    pairs.into_iter().all(|(a, b)| is_close(a, b))
}

fn is_close(a: f64, b: f64) -> bool {
    (a.is_nan() && b.is_nan()) || (a - b).abs() <= SAME * b.abs().max(1.0)
}
