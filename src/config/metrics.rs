//! THE LIST of metrics as a config names them; `model::metrics` computes each.
//!
//! Names are those of scikit-learn's functions without `_score` and `mean_`, with `rmse`, `mae` and `mape` in their
//! usual short form; for more than two classes `roc_auc` is `roc_auc_ovr` and `f1` is `f1_macro`.

use crate::settings::did_you_mean;
use crate::workspace::records::Task::{self, Binary, Multiclass, Regression};

/// What is known of a metric before there is a model.
#[derive(Debug)]
pub(crate) struct MetricName {
    pub(crate) name: &'static str,
    pub(crate) tasks: &'static [Task],
    pub(crate) better: Better,
    /// The values that it can have, both ends included.
    pub(crate) range: (f64, f64),
}

/// Which values of a metric are good ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Better {
    Higher,
    Lower,
    /// The nearer to zero, from either side.
    NearZero,
}

use Better::{Higher, Lower, NearZero};

const CLASSES: &[Task] = &[Binary, Multiclass];
const TWO: &[Task] = &[Binary];
const MANY: &[Task] = &[Multiclass];
const NUMBERS: &[Task] = &[Regression];

const SHARE: (f64, f64) = (0.0, 1.0);
const POSITIVE: (f64, f64) = (0.0, f64::INFINITY);

/// Every metric, in the order of tables.
pub(crate) const METRICS: &[MetricName] = &[
    metric("roc_auc", CLASSES, Higher, SHARE),
    metric("average_precision", TWO, Higher, SHARE),
    metric("log_loss", CLASSES, Lower, POSITIVE),
    metric("brier_score", TWO, Lower, SHARE),
    metric("expected_calibration_error", CLASSES, Lower, SHARE),
    metric("accuracy", CLASSES, Higher, SHARE),
    metric("balanced_accuracy", CLASSES, Higher, SHARE),
    metric("matthews_corrcoef", CLASSES, Higher, (-1.0, 1.0)),
    metric("f1", CLASSES, Higher, SHARE),
    metric("precision", TWO, Higher, SHARE),
    metric("recall", TWO, Higher, SHARE),
    metric("f1_macro", CLASSES, Higher, SHARE),
    metric("f1_weighted", CLASSES, Higher, SHARE),
    metric("precision_macro", CLASSES, Higher, SHARE),
    metric("precision_weighted", CLASSES, Higher, SHARE),
    metric("recall_macro", CLASSES, Higher, SHARE),
    metric("recall_weighted", CLASSES, Higher, SHARE),
    metric("top_2_accuracy", MANY, Higher, SHARE),
    metric("top_3_accuracy", MANY, Higher, SHARE),
    metric("top_5_accuracy", MANY, Higher, SHARE),
    metric("r2", NUMBERS, Higher, (f64::NEG_INFINITY, 1.0)),
    metric("rmse", NUMBERS, Lower, POSITIVE),
    metric("mae", NUMBERS, Lower, POSITIVE),
    metric("median_absolute_error", NUMBERS, Lower, POSITIVE),
    metric("mape", NUMBERS, Lower, POSITIVE),
    metric(
        "bias",
        NUMBERS,
        NearZero,
        (f64::NEG_INFINITY, f64::INFINITY),
    ),
    metric("pinball_loss_10", NUMBERS, Lower, POSITIVE),
    metric("pinball_loss_50", NUMBERS, Lower, POSITIVE),
    metric("pinball_loss_90", NUMBERS, Lower, POSITIVE),
];

const fn metric(
    name: &'static str,
    tasks: &'static [Task],
    better: Better,
    range: (f64, f64),
) -> MetricName {
    MetricName {
        name,
        tasks,
        better,
        range,
    }
}

impl MetricName {
    /// The metric of that name.
    pub(crate) fn find(name: &str) -> Option<&'static Self> {
        METRICS.iter().find(|metric| metric.name == name)
    }

    /// The metrics of a task, in the order of the list.
    pub(crate) fn of_task(task: Task) -> impl Iterator<Item = &'static Self> {
        let of = move |metric: &&Self| metric.tasks.contains(&task);
        METRICS.iter().filter(of)
    }

    /// What to write instead of a name that is none.
    pub(crate) fn hint(name: &str) -> String {
        let known: Vec<_> = METRICS.iter().map(|metric| metric.name).collect();
        did_you_mean(name, known.iter().copied())
            .unwrap_or_else(|| format!("use one of `{}`", known.join("`, `")))
    }
}
