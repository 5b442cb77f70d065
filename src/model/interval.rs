//! The 95 % interval of each metric of one model, by the method that suits the metric.
//!
//! | metric | method |
//! |---|---|
//! | shares of rows | Wilson's score interval (1927) |
//! | the area under the ROC curve of two classes | DeLong's variance on the logit (DeLong et al. 1988, Sun and Xu 2014) |
//! | medians | order statistics |
//! | the rest | BCa of resamples; percentiles where all lie on one side of the value |

use std::collections::BTreeMap;

use statrs::distribution::{ContinuousCDF as _, Normal, StudentsT};

use super::metrics::{self, Confusion, Kind, Scored};
use super::placements::Placements;
use super::resample::{Distribution, Statistic, bootstrap, rows_to_draw};
use crate::config::metrics::MetricName;
use crate::workspace::records::{IntervalMethod, MetricValue, Metrics, Task};

/// The confidence of the intervals beside metrics.
pub(super) const SHOWN_CONFIDENCE: f64 = 0.95;

/// No interval of fewer rows than this, of a class or of numbers, covers what it says.
pub(crate) const FEWEST: usize = 30;

/// A class that is said of fewer rows has no figures of its own that an interval covers.
const FEWEST_SAID: usize = 10;

/// A row that makes this share of the squared error is the figure.
const ONE_ROWS_SHARE: f64 = 0.1;

/// Parts that are left out in turn, for the acceleration of a figure that has no formula for it.
const JACKKNIFE_PARTS: usize = 200;

/// Why the metric has no interval on these rows, as the end of a sentence.
pub(super) fn why_no_interval(metric: &MetricName, scored: &Scored) -> Option<String> {
    if metric.name == "expected_calibration_error" {
        let why = "chance alone makes it higher than it is, by more than any interval tells";
        return Some(why.to_owned());
    }
    if scored.task() != Task::Regression {
        let classes = scored.strata();
        let smallest = classes.iter().map(Vec::len).min().unwrap_or(0);
        if classes.len() < 2 {
            return Some("all test rows are of one class".to_owned());
        }
        if smallest < FEWEST {
            return Some(format!(
                "a class has {smallest} test rows, fewer than {FEWEST}"
            ));
        }
        let said = scored.fewest_said();
        let of_classes = matches!(metrics::kind(metric, scored.task()), Kind::Classes(_));
        return (of_classes && said < FEWEST_SAID)
            .then(|| format!("a class is said of {said} test rows, fewer than {FEWEST_SAID}"));
    }
    let rows = scored.rows();
    if rows < FEWEST {
        return Some(format!("there are {rows} test rows, fewer than {FEWEST}"));
    }
    let squares = matches!(metric.name, "rmse" | "r2");
    let errors = (0..rows).map(|row| scored.squared_error(row));
    let all: f64 = errors.clone().sum();
    let share = errors.fold(0.0, f64::max) / all;
    (squares && share >= ONE_ROWS_SHARE).then(|| {
        format!(
            "one row makes {:.0}% of the squared error",
            (share * 100.0).floor()
        )
    })
}

/// Every metric of predictions of which the truth is known: a class's code or a number a row, and a probability a class
/// or a number a row.
pub(crate) fn of_predictions(task: Task, truth: Vec<f64>, scores: &[f32]) -> Metrics {
    metrics_of(&Scored::new(task, truth, scores, 0.5))
}

/// Every metric that the rows define, with its interval where the rows are enough for one.
pub(super) fn metrics_of(scored: &Scored) -> Metrics {
    let once = scored.once();
    let named: Vec<(&MetricName, f64)> = MetricName::of_task(scored.task())
        .filter_map(|metric| Some((metric, metrics::value(metric, scored, &once)?)))
        .collect();
    let enough: Vec<&(&MetricName, f64)> = named
        .iter()
        .filter(|(metric, _)| why_no_interval(metric, scored).is_none())
        .collect();
    let resampled = Resampled::new(scored, enough.iter().map(|(metric, _)| *metric));
    let mut all = Metrics::new();
    for (metric, value) in &named {
        let interval = match why_no_interval(metric, scored) {
            None => resampled.interval(metric, *value),
            Some(_) => None,
        };
        all.insert(metric.name.to_owned(), valued(*value, interval));
    }
    all
}

/// A value with its interval.
pub(super) fn valued(value: f64, interval: Option<(f64, f64, IntervalMethod)>) -> MetricValue {
    match interval {
        Some((low, high, method)) => MetricValue::Interval {
            value,
            low,
            high,
            method: Some(method),
        },
        None => MetricValue::Point(value),
    }
}

/// A model's rows with the resampled values of the metrics that need them.
struct Resampled<'a> {
    scored: &'a Scored,
    /// The rows that are resampled, and how much more they vary than all.
    drawn: Scored,
    scale: f64,
    values: BTreeMap<&'static str, Distribution>,
}

impl<'a> Resampled<'a> {
    fn new(scored: &'a Scored, named: impl Iterator<Item = &'a MetricName>) -> Self {
        let (rows, scale) = rows_to_draw(&scored.strata());
        let drawn = scored.only(&rows);
        let (mut of_classes, mut of_rows) = (Vec::new(), Vec::new());
        for metric in named {
            match metrics::kind(metric, scored.task()) {
                Kind::Classes(figure) => of_classes.push((metric.name, figure)),
                Kind::Rows(_) | Kind::Mean(_) | Kind::RootMeanSquare => of_rows.push(metric),
                Kind::Share(_) | Kind::Area | Kind::Median(_) => {}
            }
        }
        let figures: Vec<_> = of_classes.iter().map(|(_, figure)| *figure).collect();
        let mut statistics: Vec<Statistic> = of_rows
            .iter()
            .map(|metric| figure_of_rows(metric, &drawn))
            .collect();
        statistics.push(Statistic {
            width: figures.len(),
            compute: Box::new(|counts: &[u32]| {
                let rows = Confusion::of(&drawn, counts);
                figures.iter().map(|figure| figure(&rows)).collect()
            }),
        });
        let names = of_rows.iter().map(|metric| metric.name);
        let names = names.chain(of_classes.iter().map(|(name, _)| *name));
        let values = names.zip(bootstrap(&drawn.strata(), &statistics)).collect();
        drop(statistics);
        Self {
            scored,
            drawn,
            scale,
            values,
        }
    }

    fn interval(&self, metric: &MetricName, value: f64) -> Option<(f64, f64, IntervalMethod)> {
        let (scored, drawn) = (self.scored, &self.drawn);
        let rows = drawn.rows();
        match metrics::kind(metric, scored.task()) {
            Kind::Share(_) => Some(wilson(value, scored.rows() as f64)),
            Kind::Area => area(scored, value),
            Kind::Median(of) => {
                order_statistics((0..scored.rows()).map(|row| of(scored, row)).collect())
            }
            Kind::Mean(of) => self.bca(metric, value, skew((0..rows).map(|row| of(drawn, row)))),
            Kind::RootMeanSquare => {
                let errors = (0..rows).map(|row| drawn.squared_error(row));
                self.bca(metric, value, skew(errors))
            }
            Kind::Classes(of) => self.bca(metric, value, skew_of_cells(drawn, of)),
            Kind::Rows(of) => {
                let acceleration = skew_of_parts(rows, |counts| of(drawn, counts));
                self.bca(metric, value, acceleration)
            }
        }
    }

    fn bca(
        &self,
        metric: &MetricName,
        value: f64,
        acceleration: f64,
    ) -> Option<(f64, f64, IntervalMethod)> {
        let values = self.values.get(metric.name)?;
        let there = metrics::value(metric, &self.drawn, &self.drawn.once())?;
        let corrected = values.bca(SHOWN_CONFIDENCE, there, acceleration);
        let named = |(low, high): (f64, f64), method| {
            let scaled = |end: f64| value + (end - there) * self.scale;
            (low < high).then_some((scaled(low), scaled(high), method))
        };
        corrected
            .and_then(|ends| named(ends, IntervalMethod::Bca))
            .or_else(|| {
                let ends = values.percentiles(SHOWN_CONFIDENCE)?;
                named(ends, IntervalMethod::Percentiles)
            })
    }
}

/// A metric as a figure of resamples; what each row adds to a mean is computed once.
fn figure_of_rows<'a>(metric: &'a MetricName, scored: &'a Scored) -> Statistic<'a> {
    let values: Option<Vec<f64>> = match metrics::kind(metric, scored.task()) {
        Kind::Mean(of) => Some((0..scored.rows()).map(|row| of(scored, row)).collect()),
        _ => None,
    };
    Statistic {
        width: 1,
        compute: Box::new(move |counts| {
            vec![match &values {
                Some(values) => metrics::mean(counts, |row| values[row]),
                None => metrics::value(metric, scored, counts),
            }]
        }),
    }
}

fn z() -> f64 {
    Normal::standard().inverse_cdf(1.0 - (1.0 - SHOWN_CONFIDENCE) / 2.0)
}

/// Student's quantile that is exceeded with probability one minus `confidence`.
pub(super) fn student_quantile(confidence: f64, freedom: f64) -> f64 {
    StudentsT::new(0.0, 1.0, freedom.max(1.0)).map_or(f64::INFINITY, |t| t.inverse_cdf(confidence))
}

/// Of a share of `n` rows.
fn wilson(share: f64, n: f64) -> (f64, f64, IntervalMethod) {
    let z2 = z() * z();
    let center = (share + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let half = z() * (share * (1.0 - share) / n + z2 / (4.0 * n * n)).sqrt() / (1.0 + z2 / n);
    let (low, high) = ((center - half).max(0.0), (center + half).min(1.0));
    (low, high, IntervalMethod::Wilson)
}

/// Of the area under the curve; where no pair is in the wrong order, or all are, as of a share of the smaller class.
fn area(scored: &Scored, value: f64) -> Option<(f64, f64, IntervalMethod)> {
    let placements = Placements::of(scored)?;
    if value <= 0.0 || value >= 1.0 {
        return Some(wilson(value, placements.smaller_class() as f64));
    }
    let logit = (value / (1.0 - value)).ln();
    let half = z() * placements.variance().sqrt() / (value * (1.0 - value));
    let back = |x: f64| 1.0 / (1.0 + (-x).exp());
    Some((
        back(logit - half),
        back(logit + half),
        IntervalMethod::DelongLogit,
    ))
}

/// Of a median: the values between whose places it lies.
fn order_statistics(mut values: Vec<f64>) -> Option<(f64, f64, IntervalMethod)> {
    values.sort_by(f64::total_cmp);
    let n = values.len() as f64;
    let half = z() * n.sqrt() / 2.0;
    let low = values.get((n / 2.0 - half).floor().max(0.0) as usize)?;
    let high = values.get(((n / 2.0 + half).ceil() as usize).min(values.len() - 1))?;
    (low < high).then_some((*low, *high, IntervalMethod::OrderStatistics))
}

/// BCa's acceleration of a mean.
fn skew(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let n = values.clone().count() as f64;
    let mean = values.clone().sum::<f64>() / n;
    acceleration(values.map(|v| (v - mean, 1.0)))
}

/// BCa's acceleration from the influence of parts, each with how often it is there.
fn acceleration(influences: impl Iterator<Item = (f64, f64)>) -> f64 {
    let (cubes, squares) = influences.fold((0.0, 0.0), |(cubes, squares), (x, n)| {
        (cubes + n * x.powi(3), squares + n * x * x)
    });
    if squares > 0.0 {
        cubes / (6.0 * squares.powf(1.5))
    } else {
        0.0
    }
}

/// The acceleration of a figure of classes: a row of each cell is left out in turn.
fn skew_of_cells(scored: &Scored, figure: fn(&Confusion) -> Option<f64>) -> f64 {
    let all = Confusion::of(scored, &scored.once());
    let cells: Vec<u32> = all.cells().iter().map(|&n| n as u32).collect();
    let without = |cell: usize| {
        let mut fewer = cells.clone();
        fewer[cell] -= 1;
        figure(&Confusion::from_cells(scored.width(), &fewer))
    };
    let left: Vec<(f64, f64)> = (0..cells.len())
        .filter(|&cell| cells[cell] > 0)
        .filter_map(|cell| Some((without(cell)?, f64::from(cells[cell]))))
        .collect();
    jackknife(&left)
}

/// The acceleration of a figure of rows: parts of them are left out in turn.
fn skew_of_parts(rows: usize, figure: impl Fn(&[u32]) -> Option<f64>) -> f64 {
    let parts = rows.min(JACKKNIFE_PARTS);
    let without = |part: usize| {
        let counts: Vec<u32> = (0..rows)
            .map(|row| u32::from(row % parts != part))
            .collect();
        figure(&counts)
    };
    let left: Vec<(f64, f64)> = (0..parts)
        .filter_map(|part| Some((without(part)?, 1.0)))
        .collect();
    jackknife(&left)
}

fn jackknife(left: &[(f64, f64)]) -> f64 {
    let n: f64 = left.iter().map(|(_, n)| n).sum();
    let mean = left.iter().map(|(value, n)| n * value).sum::<f64>() / n;
    acceleration(left.iter().map(|(value, n)| (mean - value, *n)))
}
