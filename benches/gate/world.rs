//! Test rows with two models' scores, from a world in which the true metrics are known.

use super::metrics::{self, Scored};
use super::random::Random;
use crate::config::metrics::MetricName;
use crate::workspace::records::Task;

/// Rows that tell a true value.
const MANY: usize = 1_000_000;

/// How the errors of a number are spread.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Errors {
    Normal,
    /// Student's with four degrees of freedom.
    Student,
    Lognormal,
}

/// Where rows come from.
#[derive(Clone, Copy, Debug)]
pub(super) enum World {
    /// The share of positive rows; their margins lie 1.5 deviations above the others'.
    Classes(f64),
    Numbers(Errors),
}

/// A standard normal number (Box and Muller).
fn normal(random: &mut Random) -> f64 {
    let u = uniform(random);
    (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * uniform(random)).cos()
}

fn uniform(random: &mut Random) -> f64 {
    ((random.next() >> 11) as f64 + 0.5) / (1u64 << 53) as f64
}

impl World {
    pub(super) fn task(self) -> Task {
        match self {
            Self::Classes(_) => Task::Binary,
            Self::Numbers(_) => Task::Regression,
        }
    }

    /// Rows with the scores of a champion and of a challenger that has so much more noise than it.
    pub(super) fn rows(self, n: usize, worse: f64, seed: u64) -> (Scored, Scored) {
        let mut random = Random::new(seed);
        let mut truth = Vec::with_capacity(n);
        let (mut champion, mut challenger) = (Vec::new(), Vec::new());
        for row in 0..n {
            match self {
                Self::Classes(share) => {
                    // As a split by strata has it: the classes' rows are no chance.
                    let positive = row < (share * n as f64).round() as usize;
                    truth.push(f64::from(u8::from(positive)));
                    let signal = normal(&mut random) + if positive { 1.5 } else { 0.0 };
                    let (own, other) = (normal(&mut random), normal(&mut random));
                    for (scores, noise, extra) in [
                        (&mut champion, own, 0.0),
                        (&mut challenger, other, worse.max(0.0)),
                    ] {
                        let spread = 0.04 + extra;
                        let margin = (signal + spread.sqrt() * noise) / (1.0 + spread);
                        let odds = 1.5 * margin - 1.125 + (share / (1.0 - share)).ln();
                        let p = 1.0 / (1.0 + (-odds).exp());
                        scores.extend([(1.0 - p) as f32, p as f32]);
                    }
                }
                Self::Numbers(errors) => {
                    let value = 100.0 + 40.0 * normal(&mut random);
                    let error = match errors {
                        Errors::Normal => normal(&mut random),
                        Errors::Student => {
                            let squares: f64 = (0..4).map(|_| normal(&mut random).powi(2)).sum();
                            normal(&mut random) / (squares / 4.0).sqrt()
                        }
                        Errors::Lognormal => normal(&mut random).exp() - 0.5f64.exp(),
                    };
                    truth.push(value);
                    let (own, other) = (normal(&mut random), normal(&mut random));
                    let spread = 0.04 + worse.max(0.0);
                    champion.push((value + 10.0 * (error + 0.2 * own)) as f32);
                    challenger.push((value + 10.0 * (error + spread.sqrt() * other)) as f32);
                }
            }
        }
        let task = self.task();
        (
            Scored::new(task, truth.clone(), &champion, 0.5),
            Scored::new(task, truth, &challenger, 0.5),
        )
    }

    /// The champion's true value.
    pub(super) fn truth(self, metric: &MetricName) -> f64 {
        let (champion, _) = self.rows(MANY, 0.0, 1);
        metrics::value(metric, &champion, &champion.once()).unwrap()
    }

    /// How much worse the challenger truly is.
    pub(super) fn true_difference(self, metric: &MetricName, worse: f64) -> f64 {
        let (champion, challenger) = self.rows(MANY, worse, 2);
        let of = |scored: &Scored| metrics::value(metric, scored, &scored.once()).unwrap();
        let rise = of(&challenger) - of(&champion);
        match metric.better {
            crate::config::metrics::Better::Higher => -rise,
            _ => rise,
        }
    }

    /// The noise that makes a challenger truly worse by so much.
    pub(super) fn noise_for(self, metric: &MetricName, difference: f64) -> f64 {
        if difference == 0.0 {
            return 0.0;
        }
        let (mut low, mut high) = (0.0, 8.0);
        for _ in 0..18 {
            let middle = (low + high) / 2.0;
            if self.true_difference(metric, middle) < difference {
                low = middle;
            } else {
                high = middle;
            }
        }
        (low + high) / 2.0
    }
}
