//! When a request is sent again, and how long is waited before.
//!
//! Waits are of the build's clock, so that a rehearsal waits less. Time alone ends the tries: a number
//! of them would be used up in seconds by waits that happen to be short.

use std::io::Write as _;
use std::time::{Duration, Instant};

use super::error::{Effect, Error};
use crate::clock::{Clock, Timestamp};
use crate::printable::Printable;

const FIRST_WAIT: Duration = Duration::from_secs(1);
const MAX_WAIT: Duration = Duration::from_secs(32);
/// The longest wait is never shorter than this in real time, so that a fast clock does not make a
/// failing server's work of it.
const MAX_WAIT_REAL: Duration = Duration::from_secs(1);

/// How long a call is tried: no try begins when both have passed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    /// On the build's clock.
    pub shown: Duration,
    /// Of real time. It binds in a rehearsal, whose minutes are over before a server is up again.
    pub real: Duration,
}

impl Budget {
    /// Of a step's calls: a service's short outage and the move of a control plane pass in that time.
    pub(super) const USUAL: Self = Self {
        shown: Duration::from_secs(120),
        real: Duration::from_secs(10),
    };
}

/// Whether a request may be sent again, in the words of Cloud Storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Idempotency {
    /// It only reads, or the second sending changes nothing.
    Always,
    /// A condition or a chosen id lets one sending at most take effect; a conflict after a repeat may
    /// be one's own success.
    Conditional,
    /// Only where the first sending surely had no effect.
    Never,
}

impl Idempotency {
    pub(super) fn allows(self, effect: Effect) -> bool {
        match effect {
            Effect::Settled => false,
            Effect::None => true,
            Effect::Unsure => self != Self::Never,
        }
    }
}

/// One failed try.
pub(super) struct Failed {
    pub error: Box<Error>,
    pub effect: Effect,
    /// How long the other side asked to wait.
    pub retry_after: Option<Duration>,
}

impl Failed {
    pub(super) fn new(error: Error, effect: Effect) -> Self {
        Self {
            error: Box::new(error),
            effect,
            retry_after: None,
        }
    }
}

/// The tries of one call.
pub(super) struct Tries {
    pub made: u32,
    since: Instant,
    began: Timestamp,
    clock: Clock,
    budget: Budget,
    idempotency: Idempotency,
}

impl Tries {
    /// The first try begins now.
    pub(super) fn start(clock: &Clock, budget: Budget, idempotency: Idempotency) -> Self {
        Self {
            made: 1,
            since: Instant::now(),
            began: clock.now(),
            clock: clock.clone(),
            budget,
            idempotency,
        }
    }

    /// Whether the time for tries is over after another wait.
    fn is_last(&self, wait: Duration) -> bool {
        let shown = self.clock.now().since(self.began) + wait;
        let real = self.since.elapsed() + self.clock.to_real(wait);
        shown > self.budget.shown && real > self.budget.real
    }

    /// Waits before the next try, which the caller then makes, and says so on standard error.
    ///
    /// # Errors
    /// The failed try's own, where it is the last.
    pub(super) async fn again(&mut self, failed: Failed) -> Result<(), Error> {
        let asked = failed.retry_after.unwrap_or_default();
        let wait = longest_wait(self.made, &self.clock)
            .mul_f64(fastrand::f64())
            .max(asked);
        if !self.idempotency.allows(failed.effect) || self.is_last(wait) {
            // A try may have been several of its own.
            let tries = self.made.max(failed.error.tries);
            return Err(Error {
                tries,
                ..*failed.error
            });
        }
        self.made += 1;
        // Nobody may be reading, which is no reason to stop.
        let _ = writeln!(
            std::io::stderr(),
            "{}",
            Printable(line(wait, self.made, *failed.error))
        );
        self.clock.sleep(wait).await;
        Ok(())
    }
}

/// What a log says of a wait.
fn line(wait: Duration, next: u32, error: Error) -> String {
    // How often it was tried stands before it.
    let error = Error { tries: 0, ..error };
    format!(
        "waiting {:.1} s before try {next} of {error}",
        wait.as_secs_f64()
    )
}

/// The longest wait after so many tries, on the build's clock: it doubles up to its cap. The true one
/// is anything between none and this, so that many builds do not come back at once.
fn longest_wait(made: u32, clock: &Clock) -> Duration {
    let cap = MAX_WAIT.max(MAX_WAIT_REAL.saturating_mul(clock.scale()));
    let doubled = FIRST_WAIT.saturating_mul(1 << made.saturating_sub(1).min(20));
    doubled.min(cap)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock(scale: u32) -> Clock {
        Clock::starting_at(Timestamp::from_unix_micros(0), scale)
    }

    #[test]
    fn waits_double_up_to_their_cap() {
        let longest = |scale| {
            let waits = (1..12).map(|n| longest_wait(n, &clock(scale)).as_secs());
            waits.collect::<Vec<_>>()
        };
        assert_eq!(longest(1), [1, 2, 4, 8, 16, 32, 32, 32, 32, 32, 32]);
        assert_eq!(longest(100), [1, 2, 4, 8, 16, 32, 64, 100, 100, 100, 100]);
    }

    #[test]
    fn the_budget_is_two_minutes_of_the_build_and_ten_real_seconds_at_least() {
        let last = |scale, wait| {
            let tries = Tries::start(&clock(scale), Budget::USUAL, Idempotency::Always);
            tries.is_last(Duration::from_secs(wait))
        };
        for (scale, longest) in [(1, 119), (300, 2990)] {
            assert!(!last(scale, longest), "{scale}");
            assert!(last(scale, longest + 20), "{scale}");
        }
    }

    #[test]
    fn a_wait_is_told_with_its_reason() {
        let error = Error {
            http: Some(503),
            tries: 1,
            ..Error::new("endpoints.get", "endpoints/e", "UNAVAILABLE", "try later")
        };
        insta::assert_snapshot!(
            line(Duration::from_millis(3_720), 3, error),
            @"waiting 3.7 s before try 3 of endpoints.get endpoints/e: try later (UNAVAILABLE, HTTP 503)"
        );
    }

    /// The wait that the other side asks for is longer than what is left.
    #[tokio::test]
    async fn a_wait_beyond_the_budget_is_not_begun() {
        let mut tries = Tries::start(&clock(1), Budget::USUAL, Idempotency::Always);
        let failed = Failed {
            retry_after: Some(Duration::from_secs(121)),
            ..Failed::new(Error::new("x", "y", "UNAVAILABLE", "z"), Effect::None)
        };
        assert_eq!(tries.again(failed).await.unwrap_err().tries, 1);
    }

    #[test]
    fn what_may_have_happened_is_not_sent_again_unless_it_may_be() {
        assert!(Idempotency::Never.allows(Effect::of_code(429)));
        assert!(!Idempotency::Never.allows(Effect::of_code(503)));
        assert!(Idempotency::Conditional.allows(Effect::of_code(503)));
        for code in [400, 401, 403, 404, 409, 412, 416, 499, 501] {
            assert!(!Idempotency::Always.allows(Effect::of_code(code)), "{code}");
        }
    }
}
