//! The section `validate`: what a model has to reach on the test rows.

use anyhow::Result;

use super::Spot;
use super::metrics::{Better, MetricName};
use crate::settings::{Cursor, Fields};

/// The gates, and what becomes of what they leave open.
#[derive(Clone, Debug)]
pub struct Validate {
    /// All have to pass; none where the config says `require: none`.
    pub(crate) require: Vec<Gate>,
    /// What a gate comes to that the test rows cannot decide.
    pub(crate) on_inconclusive: Ruling,
    /// What a comparison with the champion comes to where none serves.
    pub(crate) no_champion: Ruling,
    /// What it comes to where the champion cannot be scored on these rows.
    pub(crate) unscorable_champion: Ruling,
    /// Of two classes the positive one is said above this probability.
    pub(crate) threshold: f64,
    /// Columns whose values' metrics are reported one by one.
    pub(crate) slices: Vec<Spot<String>>,
}

/// What a question without an answer comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ruling {
    Pass,
    Reject,
}

/// One requirement on one metric.
#[derive(Clone, Debug)]
pub(crate) struct Gate {
    pub(crate) metric: Spot<&'static MetricName>,
    pub(crate) rule: GateRule,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum GateRule {
    AtLeast(Bound),
    AtMost(Bound),
    /// Worse than the champion by less than `by`, which is above zero, shown at this confidence.
    NoWorse {
        by: By,
        confidence: f64,
    },
    /// Better than the other by more than `by`, shown at this confidence.
    Better {
        than: Rival,
        by: By,
        confidence: f64,
    },
}

/// A value, and what of a metric is held against it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Bound {
    pub(crate) value: f64,
    pub(crate) on: Judged,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judged {
    /// The value on the test rows.
    Value,
    /// The end of its 95 % interval that is nearer to the bound.
    Interval,
}

/// With what a model is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rival {
    Champion,
    /// The best prediction that is the same for every row.
    Trivial,
}

/// A difference.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum By {
    /// In the metric's unit.
    Amount(f64),
    /// As a share of the other's value.
    Share(f64),
}

impl By {
    /// In the metric's unit, where the other's value is this.
    pub(crate) fn amount(self, of: f64) -> f64 {
        match self {
            Self::Amount(amount) => amount,
            Self::Share(share) => share * of.abs(),
        }
    }
}

impl std::fmt::Display for By {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Amount(amount) => write!(f, "{amount}"),
            // A percent as it was written, without the digits that a product of doubles has.
            Self::Share(share) => write!(f, "{}%", (share * 1e8).round() / 1e6),
        }
    }
}

const RULINGS: &[(&str, Ruling)] = &[("pass", Ruling::Pass), ("reject", Ruling::Reject)];

const RULES: &[&str] = &["at_least", "at_most", "no_worse_than", "better_than"];

const GATES: &str = "a list of gates, as in `- {metric: roc_auc, at_least: 0.9}`, or `none`";

/// Reads the section.
///
/// # Errors
/// [`crate::error::Input`] at what cannot be meant.
pub(super) fn validate(field: Cursor) -> Result<Validate> {
    let fields = field.fields("validate")?;
    let ruling = |name: &str, default: Ruling| match fields.get(name) {
        Some(field) => field.word(RULINGS),
        None => Ok(default),
    };
    Ok(Validate {
        require: gates(&need_gates(&fields)?)?,
        on_inconclusive: ruling("on_inconclusive", Ruling::Reject)?,
        no_champion: ruling("no_champion", Ruling::Pass)?,
        unscorable_champion: ruling("unscorable_champion", Ruling::Reject)?,
        threshold: match fields.get("threshold") {
            Some(field) => {
                field.number("a probability above 0 and below 1", |x| x > 0.0 && x < 1.0)?
            }
            None => 0.5,
        },
        slices: fields
            .get("slices")
            .map_or(Ok(vec![]), |slices| slices.names(None))?,
    })
}

/// What `require` says.
fn need_gates<'a>(fields: &Fields<'a>) -> Result<Cursor<'a>> {
    let missing = || fields.missing("require").hint(NO_GATES).into();
    fields.get("require").ok_or_else(missing)
}

const NO_GATES: &str =
    "name the gates that a model has to pass, or write `require: none` where every model may pass";

fn gates(field: &Cursor) -> Result<Vec<Gate>> {
    if field.word(&[("none", ())]).is_ok() {
        return Ok(Vec::new());
    }
    let gates = field.list(GATES)?;
    if gates.is_empty() {
        let error = field.error("an empty list of gates lets every model pass");
        return Err(error.hint(NO_GATES).into());
    }
    gates.into_iter().map(gate).collect()
}

fn gate(field: Cursor) -> Result<Gate> {
    let fields = field.fields("validate.require")?;
    let metric = metric(&fields.need("metric")?)?;
    let (rule, value) = fields.one(RULES)?;
    if !matches!(rule, "no_worse_than" | "better_than") {
        for name in ["by", "confidence"] {
            fields.refuse(
                name,
                "has a meaning beside `no_worse_than` and `better_than` only",
            )?;
        }
    } else {
        fields.refuse("on", "has a meaning beside `at_least` and `at_most` only")?;
    }
    let rule = match rule {
        "at_least" => GateRule::AtLeast(bound(&fields, &value, &metric, Better::Lower)?),
        "at_most" => GateRule::AtMost(bound(&fields, &value, &metric, Better::Higher)?),
        "no_worse_than" => {
            value.word(&[("champion", ())])?;
            let by = fields.need("by").map_err(|_| {
                let hint = "say by how much it may be worse, as in `by: 0.01` or `by: 5%`: that it is not worse at \
                            all cannot be shown on any number of rows";
                fields.missing("by").hint(hint)
            })?;
            GateRule::NoWorse {
                by: difference(&by, &metric, "above 0", |x| x > 0.0)?,
                confidence: confidence(&fields)?,
            }
        }
        _ => GateRule::Better {
            than: rival(&value, &metric)?,
            by: match fields.get("by") {
                Some(by) => difference(&by, &metric, "from 0", |x| x >= 0.0)?,
                None => By::Amount(0.0),
            },
            confidence: confidence(&fields)?,
        },
    };
    Ok(Gate { metric, rule })
}

/// The metric of that name.
fn metric(field: &Cursor) -> Result<Spot<&'static MetricName>> {
    let name = field.text("a metric's name")?;
    match MetricName::find(&name) {
        Some(metric) => Ok(Spot {
            value: metric,
            place: name.place,
        }),
        None => {
            let error = field.error(format!("there is no metric `{}`", *name));
            Err(error.hint(MetricName::hint(&name)).into())
        }
    }
}

/// The bound of an absolute gate, which is refused for a metric whose good values are on the other side.
fn bound(fields: &Fields, field: &Cursor, metric: &MetricName, refused: Better) -> Result<Bound> {
    if metric.better == refused {
        let (good, other) = match refused {
            Better::Lower => ("low", "at_most"),
            _ => ("high", "at_least"),
        };
        let message = format!("{} is better the {good}er it is", metric.name);
        return Err(field.error(message).hint(format!("use `{other}`")).into());
    }
    let (low, high) = metric.range;
    let what = match (low.is_finite(), high.is_finite()) {
        (true, true) => format!("a number from {low} to {high}, as {} has", metric.name),
        (true, false) => format!("a number from {low}, as {} has", metric.name),
        (false, true) => format!("a number up to {high}, as {} has", metric.name),
        (false, false) => "a number".to_owned(),
    };
    Ok(Bound {
        value: field.number(&what, |x| (low..=high).contains(&x))?,
        on: match fields.get("on") {
            Some(on) => on.word(&[("value", Judged::Value), ("interval", Judged::Interval)])?,
            None => Judged::Value,
        },
    })
}

/// A difference of two values of the metric.
fn difference(
    field: &Cursor,
    metric: &MetricName,
    from: &str,
    accept: impl Fn(f64) -> bool,
) -> Result<By> {
    let (low, high) = metric.range;
    let widest = high - low;
    let most = match widest.is_finite() {
        true => format!(" and below {widest}"),
        false => String::new(),
    };
    let what = format!("a number {from}{most}, or a share of the other's value, as in `5%`");
    field.value(&what, |text| {
        let by = match text.strip_suffix('%') {
            Some(percent) => By::Share(percent.trim().parse::<f64>().ok()? / 100.0),
            None => By::Amount(text.parse().ok()?),
        };
        let (By::Amount(size) | By::Share(size)) = by;
        let fits = match by {
            By::Amount(amount) => amount < widest,
            By::Share(share) => share < 1.0,
        };
        (size.is_finite() && accept(size) && fits).then_some(by)
    })
}

fn confidence(fields: &Fields) -> Result<f64> {
    match fields.get("confidence") {
        Some(field) => field.number("a confidence from 0.5 to 0.999", |x| {
            (0.5..=0.999).contains(&x)
        }),
        None => Ok(0.95),
    }
}

fn rival(field: &Cursor, metric: &MetricName) -> Result<Rival> {
    let rival = field.word(&[("champion", Rival::Champion), ("trivial", Rival::Trivial)])?;
    if rival == Rival::Trivial && metric.better == Better::NearZero {
        let message = format!("the mean has no {}, so nothing is better", metric.name);
        return Err(field.error(message).into());
    }
    Ok(rival)
}

/// The rule as a person reads it, as in `no_worse_than champion by 0.01`.
impl std::fmt::Display for GateRule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let absolute = |f: &mut std::fmt::Formatter<'_>, name: &str, bound: &Bound| {
            let on = match bound.on {
                Judged::Value => "",
                Judged::Interval => " on interval",
            };
            write!(f, "{name} {}{on}", bound.value)
        };
        match self {
            Self::AtLeast(bound) => absolute(f, "at_least", bound),
            Self::AtMost(bound) => absolute(f, "at_most", bound),
            Self::NoWorse { by, .. } => write!(f, "no_worse_than champion by {by}"),
            Self::Better { than, by, .. } => {
                let than = match than {
                    Rival::Champion => "champion",
                    Rival::Trivial => "trivial",
                };
                match by {
                    By::Amount(0.0) => write!(f, "better_than {than}"),
                    by => write!(f, "better_than {than} by {by}"),
                }
            }
        }
    }
}
