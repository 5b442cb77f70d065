//! The traffic of a rollout: two arms with their error rates, latencies and predictions, minute by minute.

use super::judge::{Arm, Minute, Promised};
use super::latencies::Latencies;
use super::random::Random;

/// How the rates of both arms move.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Weather {
    Steady,
    /// The base rate goes up and down by 80 % and traffic by a half, so many times a day; a rollout begins where they rise.
    Drifting(f64),
    /// A minute an hour both arms fail in 30 %.
    BurstsOfBoth,
    /// One of 100 minutes one arm alone fails in 20 %.
    BurstsOfOne,
    /// Latencies of both arms go up and down by 15 % from minute to minute.
    Loaded,
}

/// Which predictions are seen, and how the challenger's are shifted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Predictions {
    Unseen,
    /// The score is so many standard deviations higher.
    Shifted(f64),
    /// This share of the answers is one value.
    Default(f64),
}

/// A champion and a challenger.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub name: String,
    /// Error rates of the champion and of the challenger.
    pub errors: (f64, f64),
    /// The challenger's errors are answers of 400.
    pub by_400: bool,
    /// 95th percentiles in milliseconds.
    pub p95: (f64, f64),
    pub weather: Weather,
    pub predictions: Predictions,
}

fn scenario(name: String, errors: (f64, f64), p95: (f64, f64), weather: Weather) -> Scenario {
    Scenario {
        name,
        errors,
        by_400: false,
        p95,
        weather,
        predictions: Predictions::Unseen,
    }
}

/// A rate in words.
fn percent(rate: f64) -> String {
    format!("{}%", (rate * 1000.0).round() / 10.0)
}

/// Champions and challengers that are alike.
pub(crate) fn healthy() -> Vec<Scenario> {
    let mut all = Vec::new();
    for (weather, word) in [
        (Weather::Steady, "steady"),
        (Weather::Drifting(1.0), "drifting over the day"),
        (Weather::Drifting(6.0), "drifting six times a day"),
        (Weather::BurstsOfBoth, "bursts of both arms"),
        (Weather::BurstsOfOne, "bursts of one arm"),
    ] {
        for rate in [0.0, 0.001, 0.005, 0.009, 0.02] {
            let name = format!("healthy {}, {word}", percent(rate));
            all.push(scenario(name, (rate, rate), (200.0, 200.0), weather));
        }
    }
    for (p95, weather, word) in [
        (400.0, Weather::Steady, "steady"),
        (480.0, Weather::Steady, "steady"),
        (450.0, Weather::Loaded, "load noise"),
    ] {
        let name = format!("healthy 0.1%, p95 {p95} of 500 ms, {word}");
        all.push(scenario(name, (0.001, 0.001), (p95, p95), weather));
    }
    all.push(Scenario {
        predictions: Predictions::Shifted(0.0),
        ..scenario(
            "healthy 0.1%, predictions as promised".into(),
            (0.001, 0.001),
            (200.0, 200.0),
            Weather::Steady,
        )
    });
    all
}

/// Challengers that do harm.
pub(crate) fn harms() -> Vec<Scenario> {
    let errors = [
        (0.001, 0.002),
        (0.001, 0.005),
        (0.001, 0.01),
        (0.001, 0.015),
        (0.009, 0.015),
        (0.001, 0.5),
    ];
    let mut all: Vec<Scenario> = errors
        .into_iter()
        .map(|(p0, p1)| {
            let name = format!("errors {} to {}", percent(p0), percent(p1));
            scenario(name, (p0, p1), (200.0, 200.0), Weather::Steady)
        })
        .collect();
    all.push(Scenario {
        by_400: true,
        ..scenario(
            "all answers 400".into(),
            (0.001, 1.0),
            (200.0, 200.0),
            Weather::Steady,
        )
    });
    for (l0, l1) in [(200.0, 260.0), (200.0, 400.0), (480.0, 520.0)] {
        let name = format!("p95 {l0} to {l1} ms");
        all.push(scenario(name, (0.001, 0.001), (l0, l1), Weather::Steady));
    }
    for (predictions, word) in [
        (Predictions::Shifted(0.25), "score shifted by 0.25 sd"),
        (Predictions::Shifted(0.5), "score shifted by 0.5 sd"),
        (
            Predictions::Default(0.2),
            "a fifth of the answers a default",
        ),
    ] {
        all.push(Scenario {
            predictions,
            ..scenario(word.into(), (0.001, 0.001), (200.0, 200.0), Weather::Steady)
        });
    }
    all
}

/// Bucket i ends at this to the i milliseconds.
const GROWTH: f64 = 1.1;
const BUCKETS: usize = 140;
/// Of the logarithm of a latency.
const SIGMA: f64 = 0.6;
/// Of the standard normal distribution at 0.95.
const Z95: f64 = 1.644_854;
/// The deciles of the standard normal distribution.
const DECILES: [f64; 9] = [
    -1.281_552, -0.841_621, -0.524_401, -0.253_347, 0.0, 0.253_347, 0.524_401, 0.841_621, 1.281_552,
];
/// Load is one of so many levels, in steps of half a standard deviation.
const LEVELS: i32 = 4;

/// A scenario at a rate of traffic.
pub(crate) struct World<'a> {
    scenario: &'a Scenario,
    per_minute: f64,
    bounds: Vec<f64>,
    /// Shares of the buckets, for both arms at each level of load.
    shares: Vec<[Vec<f64>; 2]>,
    /// Shares of the bins, for both arms.
    bins: [Vec<f64>; 2],
}

/// The distribution function of the standard normal distribution (Abramowitz and Stegun 7.1.26).
fn normal(x: f64) -> f64 {
    let z = x.abs() / std::f64::consts::SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * z);
    let poly = t
        * (0.254_829_592
            + t * (-0.284_496_736
                + t * (1.421_413_741 + t * (-1.453_152_027 + t * 1.061_405_429))));
    let upper = 0.5 * poly * (-z * z).exp();
    if x > 0.0 { 1.0 - upper } else { upper }
}

/// The shares between values of a distribution function.
fn between(at: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut before = 0.0;
    let mut shares: Vec<f64> = at
        .map(|p| {
            let share = (p - before).max(0.0);
            before = p;
            share
        })
        .collect();
    shares.push((1.0 - before).max(0.0));
    shares
}

impl<'a> World<'a> {
    pub(crate) fn new(scenario: &'a Scenario, per_minute: f64) -> Self {
        let bounds: Vec<f64> = (0..=BUCKETS).map(|i| GROWTH.powi(i as i32)).collect();
        let of = |p95: f64, level: i32| {
            let mean = p95.ln() - SIGMA * Z95 + 0.15 * f64::from(level) * 0.5;
            between(
                bounds
                    .iter()
                    .map(|bound| normal((bound.ln() - mean) / SIGMA)),
            )
        };
        let levels = match scenario.weather {
            Weather::Loaded => LEVELS,
            _ => 0,
        };
        let shares = (-levels..=levels)
            .map(|level| [of(scenario.p95.0, level), of(scenario.p95.1, level)])
            .collect();
        let shifted = |by: f64| between(DECILES.iter().map(|z| normal(z - by)));
        let theirs = shifted(0.0);
        let ours = match scenario.predictions {
            Predictions::Unseen => Vec::new(),
            Predictions::Shifted(by) => shifted(by),
            Predictions::Default(share) => {
                let mut bins: Vec<f64> = theirs.iter().map(|bin| bin * (1.0 - share)).collect();
                bins[4] += share;
                bins
            }
        };
        Self {
            scenario,
            per_minute,
            bounds,
            shares,
            bins: [ours, theirs],
        }
    }

    /// What the test rows promise: both models alike.
    pub(crate) fn promised() -> Promised {
        let shares = between(DECILES.iter().map(|z| normal(*z)));
        Promised {
            challenger: shares.clone(),
            champion: shares,
        }
    }

    /// A minute in which the challenger has so many percent.
    pub(crate) fn minute(&self, at: usize, percent: u32, random: &mut Random) -> Minute {
        let (mut p0, mut p1) = self.scenario.errors;
        let mut traffic = self.per_minute;
        match self.scenario.weather {
            Weather::Drifting(times) => {
                let wave = (std::f64::consts::TAU * at as f64 / 1440.0 * times).sin();
                p0 *= 1.0 + 0.8 * wave;
                p1 *= 1.0 + 0.8 * wave;
                traffic *= 1.0 + 0.5 * wave;
            }
            Weather::BurstsOfBoth if random.uniform() < 1.0 / 60.0 => (p0, p1) = (0.3, 0.3),
            Weather::BurstsOfOne => {
                if random.uniform() < 0.01 {
                    p0 = 0.2;
                }
                if random.uniform() < 0.01 {
                    p1 = 0.2;
                }
            }
            Weather::Steady | Weather::BurstsOfBoth | Weather::Loaded => {}
        }
        let levels = (self.shares.len() / 2) as f64;
        let level = (2.0 * random.normal()).round().clamp(-levels, levels) + levels;
        let all = random.poisson(traffic);
        let n1 = random.binomial(all, f64::from(percent) / 100.0);
        let mut arm = |side: usize, n: u64, p: f64| {
            let failed = random.binomial(n, p);
            let counts = random.multinomial(n, &self.shares[level as usize][side]);
            let seen = self.scenario.predictions != Predictions::Unseen;
            let theirs = self.scenario.by_400 && side == 1;
            Arm {
                requests: n,
                failed,
                broken: if theirs { 0 } else { failed },
                latencies: (n > 0)
                    .then(|| Latencies::new(self.bounds.clone(), counts))
                    .flatten(),
                bins: match seen {
                    true => random.multinomial(n, &self.bins[1 - side]),
                    false => Vec::new(),
                },
            }
        };
        let champion = arm(0, all - n1, p0);
        let challenger = arm(1, n1, p1);
        Minute {
            at: at as i64,
            challenger,
            champion,
        }
    }
}
