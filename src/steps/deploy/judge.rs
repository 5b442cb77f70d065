//! The judge: the evidence of all minutes of a rollout against each guardrail, and the rule that it fires.
//!
//! Pure: counts in, evidence out. It is read anew at every look, so a minute that is corrected later counts as it is
//! now. A minute in which both arms answered compares them; one in which the champion answered nothing, be it at
//! 100 %, without a champion or because it was idle, is held against absolute limits. `docs/judge.md` has the rules.

use super::evidence::{self, Pair, Process};
use super::latencies::Latencies;

/// What one arm answered in a minute.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Arm {
    pub requests: u64,
    /// Answers that are not 2xx.
    pub failed: u64,
    /// Of these, the server's own: 5xx, and 429 where the code is told.
    pub broken: u64,
    pub latencies: Option<Latencies>,
    /// Rows that replay sent, by the bin of their prediction; none where none are sent.
    pub bins: Vec<u64>,
}

/// A minute of a rollout.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Minute {
    /// Minutes since 1970.
    pub at: i64,
    pub challenger: Arm,
    pub champion: Arm,
}

/// What the judge is told to hold the challenger to.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Rules {
    /// The probability of a false rollback in a whole rollout, at most.
    pub alpha: f64,
    /// The share of requests that may fail where there is no champion to compare with.
    pub error_limit: f64,
    /// Milliseconds which 95 % of the answers are to keep.
    pub latency_limit: f64,
    /// So much more of the requests may fail than the champion's.
    pub errors_margin: f64,
    /// Answers may be slower by this share.
    pub latency_margin: f64,
    /// A bin of predictions may differ from what was promised by this factor.
    pub predictions_margin: f64,
    /// What the test rows promise of predictions; none where none are sent.
    pub promised: Option<Promised>,
    /// Whether a champion serves beside the challenger.
    pub has_champion: bool,
}

/// The shares of the bins of predictions on the frozen test rows.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Promised {
    pub challenger: Vec<f64>,
    pub champion: Vec<f64>,
}

/// What a challenger is not to harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Guardrail {
    Errors,
    Latency,
    Predictions,
}

/// What made the judge reject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// Harm beside the champion was shown.
    Harm(Guardrail),
    /// An absolute limit was exceeded where there was no champion to compare with.
    Limit(Guardrail),
    /// Half of the last requests failed, so many of so many.
    Fuse { failed: u64, requests: u64 },
}

/// Sums of an arm.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Tally {
    pub requests: u64,
    pub failed: u64,
    pub broken: u64,
}

impl Tally {
    pub(super) fn add(&mut self, arm: &Arm) {
        self.requests = self.requests.saturating_add(arm.requests);
        self.failed = self.failed.saturating_add(arm.failed);
        self.broken = self.broken.saturating_add(arm.broken);
    }

    /// The share that failed; 0 of nothing.
    pub(super) fn rate(&self) -> f64 {
        self.failed as f64 / self.requests.max(1) as f64
    }
}

/// The evidence after some minutes, by guardrail: 1 where nothing is known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Evidence {
    pub errors: f64,
    pub latency: f64,
    /// `None` where no predictions are seen.
    pub predictions: Option<f64>,
    /// The weighted sum of these.
    pub beside: f64,
    /// Of the absolute limits.
    pub limits: f64,
    /// How surely the error rate is not worse by more than the margin.
    pub errors_not_worse: f64,
    /// The same of the share of slow answers.
    pub latency_not_worse: f64,
}

/// A grid of edges: the champion's quantiles at which latencies are compared.
const QUANTILES: [f64; 5] = [0.5, 0.75, 0.9, 0.95, 0.99];
/// The one at which answers are shown not to be slower.
const SHOWN: usize = 3;
/// The share of answers that may be slower than the limit.
const SLOW: f64 = 0.05;
/// A latency that differs by less than this share of the limit is no reason to roll back.
const LATENCY_FLOOR: f64 = 0.02;
/// What the guardrails weigh, without predictions and with them.
const WEIGHTS: (f64, f64) = (0.6, 0.4);
const WEIGHTS_WITH_PREDICTIONS: (f64, f64, f64) = (0.5, 0.3, 0.2);
/// What the edges of the champion and the limit weigh in the evidence of latency.
const OF_SLOW: f64 = 0.75;
/// The part of α for the minutes beside the champion; the rest is for the absolute limits.
const BESIDE: f64 = 0.8;
/// What the champion's own minutes had is so many times allowed later: rates drift, and nobody serves beside to tell.
const DRIFT: f64 = 1.5;
/// The rate that `not_worse` excludes, as a multiple of the champion's.
const NOT_WORSE: f64 = 1.5;
/// So many requests does the fuse look at, or more.
const FUSE: u64 = 20;
/// The fuse spares a challenger whose champion fails too: the minutes' own evidence has to be so large.
const FUSE_EVIDENCE: f64 = 100.0;
/// Evidence below this is calm.
pub(super) const CALM: f64 = 10.0;

/// The e-processes of a rollout.
#[derive(Clone, Debug)]
pub(super) struct Ledger<'a> {
    rules: &'a Rules,
    errors: Process,
    slow: [Process; 5],
    limit_alone: Process,
    limit_beside: Process,
    predictions: Vec<Process>,
    limits: [Absolute; 2],
    not_worse_pair: Process,
    not_worse_alone: Process,
    not_worse_slow: Process,
    /// The champion's minutes before the challenger had any.
    before: Tally,
    earlier_latencies: Latencies,
    /// The newest minutes with requests, oldest first; no more than the fuse looks at.
    last: Vec<(Tally, Tally)>,
    pub challenger: Tally,
    pub champion: Tally,
}

/// One arm against a limit: half by an e-process of single requests, half by bets on whole minutes.
#[derive(Clone, Debug)]
struct Absolute {
    alone: Process,
    bet: Process,
}

impl Absolute {
    fn new() -> Self {
        Self {
            alone: Process::capped(evidence::RATES),
            bet: Process::uncapped(evidence::STAKES),
        }
    }

    fn add(&mut self, n: f64, x: f64, p: f64) {
        self.alone.add(|g| evidence::single(n, x, p, g));
        self.bet.add(|stake| evidence::bet(n, x, p, stake));
    }

    fn value(&self) -> f64 {
        0.5 * (self.alone.value() + self.bet.value())
    }
}

impl<'a> Ledger<'a> {
    pub(super) fn new(rules: &'a Rules) -> Self {
        let bins = rules.promised.as_ref().map_or(0, |p| p.challenger.len());
        Self {
            rules,
            errors: Process::capped(evidence::ERRORS),
            slow: std::array::from_fn(|_| Process::capped(evidence::SHARES)),
            limit_alone: Process::capped(evidence::RATES),
            limit_beside: Process::capped(evidence::SHARES),
            predictions: vec![Process::capped(evidence::SHARES); 2 * bins],
            limits: [Absolute::new(), Absolute::new()],
            not_worse_pair: Process::uncapped(evidence::EXCHANGED),
            not_worse_alone: Process::uncapped(evidence::RARER),
            not_worse_slow: Process::uncapped(evidence::EXCHANGED),
            before: Tally::default(),
            earlier_latencies: Latencies::default(),
            last: Vec::new(),
            challenger: Tally::default(),
            champion: Tally::default(),
        }
    }

    /// With all minutes of a rollout; those before it tell the champion's rate and latencies.
    pub(super) fn of(rules: &'a Rules, minutes: &[Minute]) -> Self {
        let mut ledger = Self::new(rules);
        for minute in minutes {
            ledger.add(minute);
        }
        ledger
    }

    /// Adds the next minute.
    pub(super) fn add(&mut self, minute: &Minute) {
        let (ours, theirs) = (&minute.challenger, &minute.champion);
        if ours.requests > 0 {
            if theirs.requests > 0 {
                self.beside_errors(ours, theirs);
            } else {
                self.limit_errors(ours);
            }
            self.remember(ours, theirs);
            self.challenger.add(ours);
            self.champion.add(theirs);
        }
        if let Some(latencies) = &ours.latencies {
            match theirs
                .latencies
                .as_ref()
                .filter(|theirs| theirs.total() > 0.0)
            {
                Some(theirs) => self.beside_latency(latencies, theirs),
                // A champion that answered, and whose latencies are not there, is not idle.
                None if theirs.requests == 0 => self.limit_latency(latencies),
                None => {}
            }
        }
        self.add_predictions(&ours.bins, &theirs.bins);
        if self.challenger.requests == 0 {
            self.before.add(theirs);
        }
        if let Some(latencies) = &theirs.latencies {
            self.earlier_latencies.add(latencies);
        }
    }

    fn beside_errors(&mut self, ours: &Arm, theirs: &Arm) {
        let pair = failed_pair(ours, theirs);
        let margin = self.rules.errors_margin;
        self.errors.add(|rho| pair.ln_e(1.0, margin, rho));
        let exchanged = pair.exchanged();
        self.not_worse_pair
            .add(|rho| exchanged.ln_e(1.0 / NOT_WORSE, 0.0, rho));
        self.not_worse_alone
            .add(|g| evidence::single(pair.n1, pair.x1, margin, g));
    }

    fn beside_latency(&mut self, ours: &Latencies, theirs: &Latencies) {
        let (n1, n0) = (ours.total(), theirs.total());
        let least = LATENCY_FLOOR * self.rules.latency_limit;
        for (i, q) in QUANTILES.into_iter().enumerate() {
            // From minutes before, so that a minute does not choose its own edge.
            let Some(edge) = self.earlier_latencies.edge_below(q) else {
                continue;
            };
            let slower = (edge * (1.0 + self.rules.latency_margin)).max(edge + least);
            let Some(our_edge) = ours.edge_from(slower) else {
                continue;
            };
            let pair = Pair {
                n1,
                x1: ours.above_edge(our_edge),
                n0,
                x0: theirs.above_edge(edge),
            };
            self.slow[i].add(|rho| pair.ln_e(1.0, 0.0, rho));
            if i == SHOWN {
                let exchanged = pair.exchanged();
                self.not_worse_slow
                    .add(|rho| exchanged.ln_e(1.0 / NOT_WORSE, 0.0, rho));
            }
        }
        let limit = self.rules.latency_limit;
        let pair = Pair {
            n1,
            x1: ours.above(limit, 0.0),
            n0,
            x0: theirs.above(limit, 1.0),
        };
        self.limit_alone
            .add(|g| evidence::single(n1, pair.x1, SLOW, g));
        self.limit_beside.add(|rho| pair.ln_e(1.0, 0.0, rho));
    }

    fn limit_errors(&mut self, ours: &Arm) {
        let events = self.absolute_events(ours.failed, ours.broken);
        let allowed = self.allowed_errors();
        self.limits[0].add(ours.requests as f64, events, allowed);
    }

    fn limit_latency(&mut self, ours: &Latencies) {
        let limit = self.rules.latency_limit;
        let n = self.earlier_latencies.total();
        let earlier = self.earlier_latencies.above(limit, 1.0);
        self.limits[1].add(
            ours.total(),
            ours.above(limit, 0.0),
            SLOW.max(DRIFT * upper(earlier, n)),
        );
    }

    /// What fails where there is no champion beside: with one to know the clients' own mistakes by, all that is not 2xx.
    pub(super) fn absolute_events(&self, failed: u64, broken: u64) -> f64 {
        if self.earlier().requests > 0 {
            failed as f64
        } else {
            broken as f64
        }
    }

    /// The share that may fail where there is no champion beside: the limit, or what the champion's own minutes had and a half.
    pub(super) fn allowed_errors(&self) -> f64 {
        let earlier = self.earlier();
        let own = upper(earlier.failed as f64, earlier.requests as f64);
        self.rules.error_limit.max(DRIFT * own)
    }

    /// The champion's own requests: those beside the challenger, or those before it.
    fn earlier(&self) -> &Tally {
        if self.champion.requests > 0 {
            &self.champion
        } else {
            &self.before
        }
    }

    /// The champion's rate in its own minutes; `None` where it had no request.
    pub(super) fn earlier_rate(&self) -> Option<f64> {
        let earlier = self.earlier();
        (earlier.requests > 0).then(|| earlier.rate())
    }

    fn add_predictions(&mut self, ours: &[u64], theirs: &[u64]) {
        let Some(promised) = &self.rules.promised else {
            return;
        };
        let sum = |bins: &[u64]| bins.iter().map(|n| *n as f64).sum::<f64>();
        let (n1, n0) = (sum(ours), sum(theirs));
        let shares = promised.challenger.iter().zip(&promised.champion);
        for (((ours, theirs), (c1, c0)), both) in ours
            .iter()
            .zip(theirs)
            .zip(shares)
            .zip(self.predictions.chunks_mut(2))
        {
            let pair = Pair {
                n1,
                x1: *ours as f64,
                n0,
                x0: *theirs as f64,
            };
            let margin = self.rules.predictions_margin;
            if let [more, fewer] = both {
                more.add(|rho| pair.ln_e(margin * c1 / c0, 0.0, rho));
                fewer.add(|rho| pair.exchanged().ln_e(margin * c0 / c1, 0.0, rho));
            }
        }
    }

    fn remember(&mut self, ours: &Arm, theirs: &Arm) {
        let tally = |arm: &Arm| {
            let mut tally = Tally::default();
            tally.add(arm);
            tally
        };
        self.last.push((tally(ours), tally(theirs)));
        let requests = |last: &[(Tally, Tally)]| last.iter().map(|(t, _)| t.requests).sum::<u64>();
        while requests(self.last.get(1..).unwrap_or_default()) >= FUSE {
            self.last.remove(0);
        }
    }

    /// The evidence so far.
    pub(super) fn evidence(&self) -> Evidence {
        let errors = self.errors.value();
        let slow = self.slow.iter().map(Process::value).sum::<f64>() / self.slow.len() as f64;
        let limit = self.limit_alone.value().min(self.limit_beside.value());
        let latency = OF_SLOW * slow + (1.0 - OF_SLOW) * limit;
        let predictions = (!self.predictions.is_empty()).then(|| {
            let all = self.predictions.iter().map(Process::value).sum::<f64>();
            all / self.predictions.len() as f64
        });
        let beside = match predictions {
            None => WEIGHTS.0 * errors + WEIGHTS.1 * latency,
            Some(predictions) => {
                let (of_errors, of_latency, of_predictions) = WEIGHTS_WITH_PREDICTIONS;
                of_errors * errors + of_latency * latency + of_predictions * predictions
            }
        };
        let [limit_errors, limit_latency] = self.limits.each_ref().map(Absolute::value);
        Evidence {
            errors,
            latency,
            predictions,
            beside,
            limits: 0.5 * (limit_errors + limit_latency),
            errors_not_worse: 0.5 * (self.not_worse_pair.value() + self.not_worse_alone.value()),
            latency_not_worse: self.not_worse_slow.value(),
        }
    }

    /// What the sum of the guardrails has to reach beside a champion.
    pub(super) fn beside_limit(rules: &Rules) -> f64 {
        1.0 / (rules.alpha * BESIDE)
    }

    /// What the absolute limits have to reach.
    pub(super) fn absolute_limit(rules: &Rules) -> f64 {
        let part = if rules.has_champion {
            1.0 - BESIDE
        } else {
            1.0
        };
        1.0 / (rules.alpha * part)
    }

    /// The rule that fires, if one does.
    pub(super) fn fired(&self) -> Option<Rule> {
        if let Some(fuse) = self.fuse() {
            return Some(fuse);
        }
        let found = self.evidence();
        if found.beside >= Self::beside_limit(self.rules) {
            let (of_errors, of_latency) = match found.predictions {
                None => WEIGHTS,
                Some(_) => (WEIGHTS_WITH_PREDICTIONS.0, WEIGHTS_WITH_PREDICTIONS.1),
            };
            let errors = of_errors * found.errors;
            let latency = of_latency * found.latency;
            let predictions = found.predictions.unwrap_or(0.0) * WEIGHTS_WITH_PREDICTIONS.2;
            let largest = errors.max(latency).max(predictions);
            return Some(Rule::Harm(if errors >= largest {
                Guardrail::Errors
            } else if latency >= largest {
                Guardrail::Latency
            } else {
                Guardrail::Predictions
            }));
        }
        if found.limits >= Self::absolute_limit(self.rules) {
            let [errors, latency] = self.limits.each_ref().map(Absolute::value);
            return Some(Rule::Limit(if errors >= latency {
                Guardrail::Errors
            } else {
                Guardrail::Latency
            }));
        }
        None
    }

    /// Half of the last requests failed, and the champion's of the same minutes did not.
    fn fuse(&self) -> Option<Rule> {
        let sum = |of: fn(&(Tally, Tally)) -> u64| self.last.iter().map(of).sum::<u64>();
        let (requests, failed) = (sum(|m| m.0.requests), sum(|m| m.0.failed));
        if requests < FUSE || failed.saturating_mul(2) < requests {
            return None;
        }
        let pair = Pair {
            n1: requests as f64,
            x1: failed as f64,
            n0: sum(|m| m.1.requests) as f64,
            x0: sum(|m| m.1.failed) as f64,
        };
        let mut own = Process::uncapped(evidence::ERRORS);
        own.add(|rho| pair.ln_e(1.0, 0.0, rho));
        let worse = pair.n0 <= 0.0 || own.value() >= FUSE_EVIDENCE;
        worse.then_some(Rule::Fuse { failed, requests })
    }

    /// How strongly what is `not_worse` was shown: the weaker of errors and latency.
    pub(super) fn not_worse(&self) -> f64 {
        let found = self.evidence();
        found.errors_not_worse.min(found.latency_not_worse)
    }
}

fn failed_pair(ours: &Arm, theirs: &Arm) -> Pair {
    Pair {
        n1: ours.requests as f64,
        x1: ours.failed as f64,
        n0: theirs.requests as f64,
        x0: theirs.failed as f64,
    }
}

/// The failed requests of each minute in which both arms answered.
pub(super) fn failed_pairs(minutes: &[Minute]) -> Vec<Pair> {
    let both = |m: &&Minute| m.challenger.requests > 0 && m.champion.requests > 0;
    let pair = |m: &Minute| failed_pair(&m.challenger, &m.champion);
    minutes.iter().filter(both).map(pair).collect()
}

/// The answers of each minute that were slower than the champion's 95th percentile of the minutes before.
pub(super) fn slow_pairs(minutes: &[Minute]) -> Vec<Pair> {
    let mut earlier = Latencies::default();
    let mut pairs = Vec::new();
    for minute in minutes {
        let Some(theirs) = &minute.champion.latencies else {
            continue;
        };
        let edge = earlier.edge_below(QUANTILES[SHOWN]);
        if let (Some(ours), Some(edge)) = (&minute.challenger.latencies, edge) {
            // Other buckets may have no such edge.
            if let (Some(our_edge), Some(their_edge)) =
                (ours.edge_from(edge), theirs.edge_from(edge))
            {
                pairs.push(Pair {
                    n1: ours.total(),
                    x1: ours.above_edge(our_edge),
                    n0: theirs.total(),
                    x0: theirs.above_edge(their_edge),
                });
            }
        }
        earlier.add(theirs);
    }
    pairs
}

/// A share that the true one of `x` in `n` hardly exceeds: three standard errors up; 0 of nothing.
fn upper(x: f64, n: f64) -> f64 {
    if n <= 0.0 {
        return 0.0;
    }
    let p = ((x + 1.0) / n).min(1.0);
    (p + 3.0 * (p * (1.0 - p) / n).sqrt()).min(1.0)
}
