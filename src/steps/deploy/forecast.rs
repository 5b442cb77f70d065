//! What is told before a rollout begins: what its stages will need, and what size of harm they can then see.

use super::canary::{Plan, RESERVE};
use super::evidence::{self, Pair};
use super::judge::{Ledger, Rules};
use crate::printable::percent;
use crate::workspace::records::Traffic;

/// What is known before a rollout.
pub(super) struct Forecast {
    /// What the champion answered in the last hour.
    pub hour: Traffic,
    /// The share to which the first stage was raised.
    pub raised: Option<u32>,
    /// Test rows are sent along.
    pub replays: bool,
}

/// Rollouts of a year, one a week and one a day.
const RATES: [f64; 2] = [52.0, 365.0];

impl Forecast {
    /// The lines for the log.
    pub(super) fn lines(&self, rules: &Rules, plan: &Plan) -> Vec<String> {
        let hour = &self.hour;
        let mut lines = Vec::new();
        lines.push(if rules.has_champion {
            format!(
                "the champion answered {} requests in the last hour, {} of them failed",
                hour.requests,
                hour.failed()
            )
        } else {
            "no champion serves beside: absolute limits judge".to_owned()
        });
        if let Some(raised) = self.raised {
            lines.push(format!(
                "the first stage takes {raised}% instead of less, which so little traffic would not fill in time"
            ));
        }
        for (i, share) in plan.stages.iter().enumerate() {
            lines.push(format!(
                "stage {} will need {} requests to the challenger{}{}",
                i + 1,
                plan.needed(rules, *share),
                self.hours(rules, plan, *share),
                self.visible(rules, plan, *share)
                    .map_or_else(String::new, |rate| format!(
                        ", and can see errors from {} on",
                        percent(rate)
                    ))
            ));
        }
        if !self.replays && rules.has_champion && !self.fills(rules, plan) {
            lines.push(
                "warning: only replay can carry the proof: the endpoint has too little traffic for any stage to end in time; \
                 `deploy.replay: {from: test}` sends test rows along"
                    .to_owned(),
            );
        }
        let [week, day] = RATES.map(|rollouts| short(rollouts * rules.alpha));
        lines.push(format!(
            "alpha {}: of challengers that are no worse, at most {week} a year are rolled back at a rollout a week, {day} at one a day",
            rules.alpha
        ));
        lines
    }

    /// Whether the first stage gets its requests in time.
    fn fills(&self, rules: &Rules, plan: &Plan) -> bool {
        let first = plan.stages.first().copied().unwrap_or(100);
        let hours = (plan.bake + plan.max_wait).as_secs_f64() / 3600.0;
        let requests = self.hour.requests as f64 * hours * f64::from(first) / 100.0;
        requests >= RESERVE * plan.needed(rules, first) as f64
    }

    /// How long a stage takes at the last hour's rate.
    fn hours(&self, rules: &Rules, plan: &Plan, share: u32) -> String {
        let bake = plan.bake.as_secs_f64() / 3600.0;
        if self.replays {
            return ", which replay sends".to_owned();
        }
        let per_hour = self.hour.requests as f64 * f64::from(share) / 100.0;
        if per_hour <= 0.0 {
            return String::new();
        }
        let hours = (plan.needed(rules, share) as f64 / per_hour).max(bake);
        format!(", {} hours at this rate", short(hours))
    }

    /// The least error rate that a stage is expected to reject by the end of its bake; `None` where none is.
    fn visible(&self, rules: &Rules, plan: &Plan, share: u32) -> Option<f64> {
        let w = f64::from(share) / 100.0;
        let baked = if self.replays {
            0.0
        } else {
            self.hour.requests as f64 * w * plan.bake.as_secs_f64() / 3600.0
        };
        let n1 = baked.max(plan.needed(rules, share) as f64);
        let base = self.hour.failed() as f64 / self.hour.requests.max(1) as f64;
        let beside = rules.has_champion && share < 100;
        let allowed = rules.error_limit.max(base);
        let least = if beside { base } else { allowed };
        let rejects = |rate: f64| {
            let (expected, needed) = if beside {
                let pair = Pair {
                    n1,
                    x1: n1 * rate,
                    n0: n1 * (1.0 - w) / w,
                    x0: n1 * (1.0 - w) / w * base,
                };
                let ln_e = |rho: &f64| pair.ln_e(1.0, rules.errors_margin, *rho);
                let best = evidence::ERRORS.iter().map(ln_e).fold(0.0, f64::max);
                (best, OF_ERRORS * Ledger::beside_limit(rules))
            } else {
                let ln_e = |g: &f64| evidence::single(n1, n1 * rate, allowed, *g);
                let best = evidence::RATES.iter().map(ln_e).fold(0.0, f64::max);
                (best, OF_LIMITS * Ledger::absolute_limit(rules))
            };
            expected >= needed.ln()
        };
        // In steps of a tenth, which is finer than such an estimate.
        let mut rate = least.max(1e-5);
        while rate < 1.0 {
            if rejects(rate) {
                return Some(rate);
            }
            rate *= 1.1;
        }
        None
    }
}

/// One alternative of seven has to carry the weighted sum alone: so many times its limit.
const OF_ERRORS: f64 = 7.0 / 0.6;
/// The same of the absolute limits, of which errors are a half and single requests a half of that.
const OF_LIMITS: f64 = 7.0 * 4.0;

/// Two digits, or whole above ten.
fn short(value: f64) -> String {
    if value >= 10.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.1}")
    }
}

#[cfg(test)]
mod tests {
    use super::super::stages;
    use super::*;

    fn lines(more: &str, champion: bool, requests: u64, replays: bool) -> String {
        let deploy = stages::tests::config(more);
        let rules = stages::rules(&deploy, champion);
        let mut plan = stages::plan(&deploy, champion);
        let raised = match replays {
            true => None,
            false => {
                let (stages, raised) = plan.raised(&rules, requests as f64);
                plan.stages = stages;
                raised
            }
        };
        let hour = Traffic {
            requests,
            failed: Some(requests / 1000),
            ..Traffic::default()
        };
        let forecast = Forecast {
            hour,
            raised,
            replays,
        };
        forecast.lines(&rules, &plan).join("\n")
    }

    #[test]
    fn what_a_rollout_needs_is_told_before_it_begins() {
        insta::assert_snapshot!(lines("", true, 36_000, false));
    }

    #[test]
    fn a_stage_that_is_too_small_is_raised_and_said() {
        insta::assert_snapshot!(lines("", true, 2_000, false));
    }

    #[test]
    fn where_only_replay_can_carry_the_proof_it_is_said() {
        insta::assert_snapshot!(lines("", true, 100, false));
        let with = lines("", true, 100, true);
        assert!(!with.contains("only replay") && with.contains("which replay sends"));
    }

    #[test]
    fn a_first_model_is_told_the_limits_and_alpha() {
        insta::assert_snapshot!(lines(", alpha: 0.05", false, 0, true));
    }
}
