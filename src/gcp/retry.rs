//! When a request is sent again, and how long is waited before.
//!
//! Waits are of the build's clock, so that a rehearsal waits less; the limit on the whole is of the
//! operating system's clock.

use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

use super::error::Error;
use crate::clock::Clock;

/// Tries of one call, the first included.
const MAX_TRIES: u32 = 6;
/// No try begins later than this after the first.
const MAX_TIME: Duration = Duration::from_secs(120);
const FIRST_WAIT: Duration = Duration::from_secs(1);
const MAX_WAIT: Duration = Duration::from_secs(32);

/// Whether a request may be sent twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Twice {
    /// It only reads, or the second sending changes nothing.
    Always,
    /// A condition or a chosen id lets one sending at most take effect; a conflict after a repeat may
    /// be one's own success.
    Precondition,
    /// Only where the first sending surely had no effect.
    Never,
}

/// What a failed try did at the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// It was answered for good: the same request would be answered the same.
    Settled,
    /// Nothing was done: not connected, or refused as one too many.
    None,
    /// Perhaps it was done.
    Unsure,
}

impl Twice {
    pub fn allows(self, effect: Effect) -> bool {
        match effect {
            Effect::Settled => false,
            Effect::None => true,
            Effect::Unsure => self != Self::Never,
        }
    }
}

impl Effect {
    pub fn of_code(http: u16) -> Self {
        match http {
            429 => Self::None,
            408 | 500 | 502 | 503 | 504 => Self::Unsure,
            _ => Self::Settled,
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
    pub fn new(error: Error, effect: Effect) -> Self {
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
}

impl Tries {
    /// The first try begins now.
    pub fn start() -> Self {
        Self {
            made: 1,
            since: Instant::now(),
        }
    }

    /// Waits before the next try, which the caller then makes.
    ///
    /// # Errors
    /// The failed try's own, where it is the last.
    pub async fn again(
        &mut self,
        clock: &Clock,
        twice: Twice,
        failed: Failed,
    ) -> Result<(), Error> {
        let asked = failed.retry_after.unwrap_or_default().min(MAX_WAIT);
        let wait = wait(self.made, random()).max(asked);
        if !twice.allows(failed.effect)
            || self.made >= MAX_TRIES
            || self.since.elapsed() + clock.to_real(wait) > MAX_TIME
        {
            // A try may have been several of its own.
            let tries = self.made.max(failed.error.tries);
            return Err(Error {
                tries,
                ..*failed.error
            });
        }
        clock.sleep(wait).await;
        self.made += 1;
        Ok(())
    }
}

/// The wait after so many tries, for a random number of 0 to 1: exponential with full jitter.
fn wait(made: u32, random: f64) -> Duration {
    let doubled = FIRST_WAIT.saturating_mul(1 << made.saturating_sub(1).min(16));
    doubled.min(MAX_WAIT).mul_f64(random)
}

/// A number of 0 to 1. The keys of std's hash maps are the one random source that needs no crate.
fn random() -> f64 {
    f64::from((RandomState::new().hash_one(0) >> 32) as u32) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_their_cap() {
        let longest: Vec<u64> = (1..8).map(|n| wait(n, 1.0).as_secs()).collect();
        assert_eq!(longest, [1, 2, 4, 8, 16, 32, 32]);
        assert_eq!(wait(3, 0.0), Duration::ZERO);
        assert!((0.0..=1.0).contains(&random()));
    }

    #[test]
    fn what_may_have_happened_is_not_sent_again_unless_it_may_be() {
        assert!(Twice::Never.allows(Effect::of_code(429)));
        assert!(!Twice::Never.allows(Effect::of_code(503)));
        assert!(Twice::Precondition.allows(Effect::of_code(503)));
        for code in [400, 401, 403, 404, 409, 412, 416, 499, 501] {
            assert!(!Twice::Always.allows(Effect::of_code(code)), "{code}");
        }
    }
}
