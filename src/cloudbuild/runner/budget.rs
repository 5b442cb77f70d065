//! What is left of a build's timeout, on a clock whose pace changes.

use std::time::Duration;

use tokio::time::Instant;

/// The build's timeout counts on the build's clock; but while a container or a program of this
/// machine works, whose work takes real time, it counts as real time does.
pub(super) struct Budget {
    /// What was left at `since`, on the build's clock.
    left: Duration,
    since: Instant,
    /// How many times faster than real time it runs down.
    pace: u32,
}

impl Budget {
    pub(super) fn new(timeout: Duration, since: Instant, pace: u32) -> Self {
        Self {
            left: timeout,
            since,
            pace: pace.max(1),
        }
    }

    /// Goes on at another pace.
    pub(super) fn set_pace(&mut self, pace: u32) {
        self.go_on(Instant::now(), pace);
    }

    fn go_on(&mut self, now: Instant, pace: u32) {
        let passed = now.saturating_duration_since(self.since);
        self.left = self.left.saturating_sub(passed.saturating_mul(self.pace));
        self.since = now;
        self.pace = pace.max(1);
    }

    /// When the time is up unless the pace changes, in real time.
    pub(super) fn deadline(&self) -> Instant {
        self.since + self.left / self.pace
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn real_work_costs_what_it_takes() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut budget = Budget::new(Duration::from_secs(1000), start, 100);
        assert_eq!(budget.deadline(), at(10));
        budget.go_on(at(5), 1);
        assert_eq!(budget.deadline(), at(505));
        budget.go_on(at(305), 100);
        assert_eq!(budget.deadline(), at(307));
        budget.go_on(at(400), 100);
        assert_eq!(budget.deadline(), at(400));
    }
}
