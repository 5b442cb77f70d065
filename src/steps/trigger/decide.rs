//! What is decided: pure functions from what was seen to a build that starts, or to why none does.
//!
//! They know no clock, no client and no file: the same facts give the same answer. A cause that asks for a build
//! carries a key. The key is the same for as long as nothing changed that the cause looks at, and one build is
//! started for a key.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::facts::Facts;
use super::ledger::Firing;
use crate::clock::Timestamp;
use crate::config::StartLimits;

/// What starts a build; in the order in which the causes of one check are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Cause {
    OnDemand,
    Schedule,
    Performance,
    Drift,
    NewData,
}

impl Cause {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::OnDemand => "on_demand",
            Self::Schedule => "schedule",
            Self::Performance => "performance",
            Self::Drift => "drift",
            Self::NewData => "new_data",
        }
    }
}

/// A cause that asks for a build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Due {
    pub cause: Cause,
    pub key: String,
    /// One sentence with the figures.
    pub reason: String,
}

/// What a look at one cause found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Look {
    Due(Due),
    /// Nothing to do, with the sentence that says why.
    Quiet(Cause, String),
}

/// What holds a build back though a cause asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum HeldBy {
    CoolDown,
    PerDay,
    OneAtATime,
}

impl HeldBy {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::CoolDown => "cool_down",
            Self::PerDay => "per_day",
            Self::OneAtATime => "one_at_a_time",
        }
    }
}

/// What becomes of a cause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    /// A build is started for it.
    Fires { due: Due },
    /// It asks for a build, and a limit says no for now.
    Held {
        due: Due,
        by: HeldBy,
        sentence: String,
    },
    /// Nothing changed since a build was started for it.
    Known { due: Due, sentence: String },
    /// A build was decided on for it and has not been started yet, as far as is known.
    Starting { due: Due, sentence: String },
    /// It asks for nothing.
    Quiet { cause: Cause, sentence: String },
}

/// Looks at every cause that is configured or asked for.
pub(super) fn looks(facts: &Facts) -> Vec<Look> {
    let mut looks = Vec::new();
    looks.extend(facts.asked.clone().map(Look::Due));
    looks.extend(facts.schedule.as_ref().map(super::causes::schedule));
    looks.extend(
        facts
            .performance
            .as_ref()
            .map(|seen| super::causes::performance(facts, seen)),
    );
    looks.extend(
        facts
            .drift
            .as_ref()
            .map(|seen| super::causes::drift(facts, seen)),
    );
    looks.extend(
        facts
            .new_data
            .as_ref()
            .map(|seen| super::causes::new_data(facts, seen)),
    );
    looks
}

/// What the limits are held against.
pub(super) struct Held<'a> {
    pub now: Timestamp,
    /// The model whose causes these are.
    pub model: &'a str,
    pub limits: &'a StartLimits,
    /// The builds that were started, of every model of the bucket.
    pub firings: &'a [Firing],
    /// Keys of these looks for which a build was started longer ago than `firings` tells.
    pub known: &'a [(String, Timestamp)],
}

/// Decides on what was found: at most one of the causes fires.
pub(super) fn decide(looks: &[Look], held: &Held) -> Vec<Finding> {
    let mut fires = None;
    looks
        .iter()
        .map(|look| {
            let due = match look {
                Look::Quiet(cause, sentence) => {
                    return Finding::Quiet {
                        cause: *cause,
                        sentence: sentence.clone(),
                    };
                }
                Look::Due(due) => due.clone(),
            };
            if let Some(firing) = held.of_ledger(&due.key).filter(|f| f.is_starting(held.now)) {
                let sentence = format!(
                    "{}; a build for that was decided on at {} and is not started yet",
                    due.reason, firing.decided_at
                );
                return Finding::Starting { due, sentence };
            }
            if let Some(at) = held.fired(&due.key) {
                let sentence = format!(
                    "{}; nothing changed since a build was started for that at {at}",
                    due.reason
                );
                return Finding::Known { due, sentence };
            }
            if let Some((by, sentence)) = held.back(fires) {
                return Finding::Held { due, by, sentence };
            }
            fires = Some(due.cause);
            Finding::Fires { due }
        })
        .collect()
}

impl Held<'_> {
    fn of_ledger(&self, key: &str) -> Option<&Firing> {
        self.firings.iter().find(|f| f.is(self.model, key))
    }

    /// When a build was started for a key of this model.
    fn fired(&self, key: &str) -> Option<Timestamp> {
        let of_ledger = self.of_ledger(key);
        let known = self.known.iter().find(|(known, _)| known == key);
        of_ledger.map(|f| f.decided_at).or(known.map(|(_, at)| *at))
    }

    /// What holds another build back now, with its sentence; `fires` is a cause that fires in this very check.
    fn back(&self, fires: Option<Cause>) -> Option<(HeldBy, String)> {
        if let Some(cause) = fires {
            let sentence = format!("a build is started for {} in this check", cause.as_str());
            return Some((HeldBy::OneAtATime, sentence));
        }
        if self.limits.one_at_a_time
            && let Some(running) = self.firings.iter().find(|f| f.is_running(self.now))
        {
            let build = match &running.build {
                Some(build) => format!("the build {build} of {}", running.model),
                None => format!("a build of {} is being started, which", running.model),
            };
            let sentence = format!("{build} has not ended, and builds run one at a time");
            return Some((HeldBy::OneAtATime, sentence));
        }
        self.cool_down().or_else(|| self.per_day())
    }

    fn cool_down(&self) -> Option<(HeldBy, String)> {
        let last = self.firings.iter().max_by_key(|f| f.decided_at)?;
        let cool_down = self.limits.cool_down;
        // An instant of a clock that goes ahead of this one is no time ago.
        if self.now.since(last.decided_at) >= cool_down {
            return None;
        }
        let sentence = format!(
            "a build of {} was started at {}, and the next is at {} at the earliest (cool_down: {})",
            last.model,
            last.decided_at,
            last.decided_at + cool_down,
            in_words(cool_down)
        );
        Some((HeldBy::CoolDown, sentence))
    }

    fn per_day(&self) -> Option<(HeldBy, String)> {
        const DAY: Duration = Duration::from_secs(24 * 3600);
        let of_day = self.firings.iter();
        let mut of_day: Vec<Timestamp> = of_day
            .map(|f| f.decided_at)
            .filter(|at| self.now.since(*at) < DAY)
            .collect();
        of_day.sort_unstable();
        let most = usize::try_from(self.limits.per_day).unwrap_or(usize::MAX);
        // The one that has to be a day ago before there is room again.
        let oldest = of_day.len().checked_sub(most)?;
        let again = *of_day.get(oldest)? + DAY;
        let sentence = format!(
            "{} builds were started in 24 hours, and the next is at {again} at the earliest (per_day: {most})",
            of_day.len()
        );
        Some((HeldBy::PerDay, sentence))
    }
}

/// A duration as the config writes it.
pub(super) fn in_words(duration: Duration) -> String {
    let mut rest = duration.as_secs();
    let mut words = String::new();
    for (unit, seconds) in [("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)] {
        if rest >= seconds {
            words.push_str(&format!("{}{unit}", rest / seconds));
            rest %= seconds;
        }
    }
    if words.is_empty() {
        words.push_str("0s");
    }
    words
}

#[cfg(test)]
mod tests;
