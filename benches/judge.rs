//! Simulated rollouts: how often the judge of `serin deploy` rolls back what is healthy, and how soon what is not.
//!
//! `cargo bench --bench judge` prints every table of `docs/judge.md`; `-- drifting` tables and rollouts whose names hold the word,
//! and `SERIN_ROLLOUTS=200` so many rollouts a cell, 2,000 unless told. It compiles the judge's own files.

#![allow(
    clippy::unwrap_used,
    dead_code,
    unused_imports,
    reason = "the judge's files bring their tests, and what only sentences and records need"
)]

#[path = "../src/steps/deploy/canary.rs"]
mod canary;
#[path = "../src/steps/deploy/evidence.rs"]
mod evidence;
#[path = "../src/steps/deploy/judge.rs"]
mod judge;
#[path = "../src/steps/deploy/latencies.rs"]
mod latencies;
#[path = "../src/steps/deploy/severe.rs"]
mod severe;

#[path = "judge/others.rs"]
mod others;
#[path = "judge/random.rs"]
mod random;
#[path = "judge/world.rs"]
mod world;

use std::time::Duration;

use canary::{Facts, Missing, Next, Plan, Seen};
use judge::{Ledger, Rules, Tally};
use others::{MannWhitney, Threshold, Today};
use random::Random;
use severe::Severe;
use world::{Predictions, Scenario, World};

/// Minutes of a stage at least, and how many more it may wait.
const BAKE: usize = 10;
const MAX_WAIT: usize = 60;
/// A look sees the minutes that are so old.
const DELAY: usize = 5;
const STAGES: [u32; 4] = [5, 25, 50, 100];

/// How a rollout ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Ended {
    Promoted,
    RolledBack,
    Held,
}

/// One judge of a rollout.
pub(crate) trait Judge {
    /// The shares of the traffic that it goes through.
    fn stages(&self) -> Vec<u32> {
        STAGES.to_vec()
    }
    /// A stage begins.
    fn stage(&mut self, percent: u32);
    /// A minute is old enough to be seen. That of an earlier stage may come late.
    fn minute(&mut self, minute: &judge::Minute, of_stage: bool);
    /// A look, after so many minutes of the stage; whether it may go on.
    fn look(&mut self, covered: usize) -> Option<Ended>;
}

/// This repository's.
struct Serin<'a> {
    rules: &'a Rules,
    plan: Plan,
    ledger: Ledger<'a>,
    severe: Severe,
    percent: u32,
    stage: Tally,
}

impl<'a> Serin<'a> {
    fn new(rules: &'a Rules, per_minute: f64) -> Self {
        let minutes = |n: usize| Duration::from_secs(60 * n as u64);
        let ledger = Ledger::new(rules);
        let mut plan = Plan {
            stages: STAGES.to_vec(),
            bake: minutes(BAKE),
            max_wait: minutes(MAX_WAIT),
            min_requests: 500,
            not_worse: false,
        };
        plan.stages = plan.raised(rules, 60.0 * per_minute).0;
        Self {
            rules,
            plan,
            severe: Severe::new(rules, 5, &ledger),
            ledger,
            percent: 5,
            stage: Tally::default(),
        }
    }
}

impl Judge for Serin<'_> {
    fn stages(&self) -> Vec<u32> {
        self.plan.stages.clone()
    }

    fn stage(&mut self, percent: u32) {
        self.percent = percent;
        self.severe = Severe::new(self.rules, percent, &self.ledger);
        self.stage = Tally::default();
    }

    fn minute(&mut self, minute: &judge::Minute, of_stage: bool) {
        if of_stage {
            canary::add(&mut self.ledger, &mut self.severe, &mut self.stage, minute);
        } else {
            self.ledger.add(minute);
        }
    }

    fn look(&mut self, covered: usize) -> Option<Ended> {
        let look = canary::look(&self.ledger, &self.severe, self.stage);
        let facts = Facts {
            look: &look,
            rule: self.ledger.fired(),
            not_worse: false,
            latencies: self.stage.requests > 0,
        };
        let seen = Seen {
            percent: self.percent,
            minutes: &[],
            from: 0,
            covered: Duration::from_secs(60 * covered as u64),
            replayed: None,
            mismatch: None,
        };
        match canary::decide(self.rules, &self.plan, &seen, &facts) {
            Next::Wait => None,
            Next::Pass { .. } | Next::Unopposed => Some(Ended::Promoted),
            Next::Reject(_) => Some(Ended::RolledBack),
            Next::Hold(Missing::Metrics { .. }) => unreachable!("nothing is replayed"),
            Next::Hold(_) => Some(Ended::Held),
        }
    }
}

/// One rollout's end, in which minute, the challenger's failed requests and all of its requests until then.
struct Outcome {
    ended: Ended,
    minutes: usize,
    failed: u64,
    requests: u64,
}

fn rollout(world: &World<'_>, judge: &mut dyn Judge, random: &mut Random) -> Outcome {
    let (mut clock, mut failed, mut requests) = (0_usize, 0_u64, 0_u64);
    let mut unseen: Vec<judge::Minute> = Vec::new();
    // The hour before tells the champion's latencies and rate; ten minutes of it are plenty here.
    for before in 0..10 {
        judge.minute(&world.minute(before, 0, random), false);
    }
    for percent in judge.stages() {
        for minute in unseen.drain(..) {
            judge.minute(&minute, false);
        }
        judge.stage(percent);
        let mut covered = 0;
        loop {
            let minute = world.minute(clock + 10, percent, random);
            clock += 1;
            failed += minute.challenger.failed;
            requests += minute.challenger.requests;
            unseen.push(minute);
            if unseen.len() <= DELAY {
                continue;
            }
            judge.minute(&unseen.remove(0), true);
            covered += 1;
            match judge.look(covered) {
                None => {}
                Some(Ended::Promoted) => break,
                Some(ended) => {
                    return Outcome {
                        ended,
                        minutes: clock,
                        failed,
                        requests,
                    };
                }
            }
        }
    }
    Outcome {
        ended: Ended::Promoted,
        minutes: clock,
        failed,
        requests,
    }
}

/// What the rollouts of a cell came to.
fn cell(scenario: &Scenario, per_minute: f64, judge: &str, rollouts: u64) -> String {
    let world = World::new(scenario, per_minute);
    let rules = Rules {
        alpha: 0.01,
        error_limit: 0.01,
        latency_limit: 500.0,
        errors_margin: 0.0002,
        latency_margin: 0.1,
        predictions_margin: 1.25,
        promised: (scenario.predictions != Predictions::Unseen).then(World::promised),
        has_champion: true,
    };
    let one = |seed: u64| {
        let mut random = Random::new(seed);
        let mut judge: Box<dyn Judge> = match judge {
            "serin" => Box::new(Serin::new(&rules, per_minute)),
            "before" => Box::new(Today::new()),
            "threshold" => Box::new(Threshold::new()),
            _ => Box::new(MannWhitney::new()),
        };
        rollout(&world, &mut *judge, &mut random)
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    let outcomes: Vec<Outcome> = std::thread::scope(|scope| {
        let parts: Vec<_> = (0..threads)
            .map(|part| {
                let one = &one;
                scope.spawn(move || {
                    (part..rollouts)
                        .step_by(threads as usize)
                        .map(one)
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        parts
            .into_iter()
            .flat_map(|part| part.join().unwrap_or_default())
            .collect()
    });
    summary(&outcomes)
}

fn summary(outcomes: &[Outcome]) -> String {
    let share = |ended: Ended| {
        let n = outcomes.iter().filter(|o| o.ended == ended).count();
        100.0 * n as f64 / outcomes.len().max(1) as f64
    };
    let rolled_back: Vec<&Outcome> = outcomes
        .iter()
        .filter(|o| o.ended == Ended::RolledBack)
        .collect();
    let median = |of: fn(&Outcome) -> u64| {
        let mut all: Vec<u64> = rolled_back.iter().map(|o| of(o)).collect();
        all.sort_unstable();
        match share(Ended::RolledBack) >= 1.0 {
            true => all
                .get(all.len() / 2)
                .map_or_else(|| "-".into(), u64::to_string),
            false => "-".to_owned(),
        }
    };
    let failed = outcomes.iter().map(|o| o.failed as f64).sum::<f64>() / outcomes.len() as f64;
    format!(
        "{:.2} / {:.2} / {:.2} | {} | {} | {failed:.0}",
        share(Ended::Promoted),
        share(Ended::RolledBack),
        share(Ended::Held),
        median(|o| o.minutes as u64),
        median(|o| o.requests),
    )
}

/// Beside the name of a table, its scenarios, requests a minute, and judges.
struct Table {
    name: &'static str,
    scenarios: Vec<Scenario>,
    per_minute: &'static [f64],
    judges: &'static [&'static str],
}

const ALL: &[f64] = &[1.0, 10.0, 60.0, 300.0, 600.0, 1800.0, 6000.0];
const SOME: &[f64] = &[60.0, 300.0, 600.0, 1800.0, 6000.0];
const FEW: &[f64] = &[600.0, 6000.0];
const JUDGES: &[&str] = &["serin", "before", "threshold", "mann-whitney"];

fn tables() -> Vec<Table> {
    let healthy = world::healthy();
    let harms = world::harms();
    let calm = healthy
        .clone()
        .into_iter()
        .filter(|s| !s.name.contains("drifting"));
    let calm = calm.filter(|s| !s.name.contains("bursts") || s.name.contains(" 0.1%"));
    vec![
        Table {
            name: "healthy",
            scenarios: healthy,
            per_minute: ALL,
            judges: &["serin"],
        },
        Table {
            name: "harm",
            scenarios: harms.clone(),
            per_minute: SOME,
            judges: &["serin"],
        },
        Table {
            name: "compared",
            scenarios: calm.chain(harms).collect(),
            per_minute: FEW,
            judges: JUDGES,
        },
    ]
}

fn main() {
    let wanted = std::env::args().skip(1).find(|arg| !arg.starts_with('-'));
    let rollouts = std::env::var("SERIN_ROLLOUTS").ok();
    let rollouts = rollouts.and_then(|n| n.parse().ok()).unwrap_or(2000);
    for table in tables() {
        let is_wanted = |scenario: &&Scenario| {
            let word = wanted.as_deref().unwrap_or_default();
            table.name.contains(word) || scenario.name.contains(word)
        };
        let scenarios: Vec<&Scenario> = table.scenarios.iter().filter(is_wanted).collect();
        if scenarios.is_empty() {
            continue;
        }
        println!("\n### {}, {rollouts} rollouts a cell\n", table.name);
        println!(
            "| scenario | requests a minute | judge | promoted / rolled back / held, % | median minutes | median requests to the new version | its failed requests |"
        );
        println!("|---|---|---|---|---|---|---|");
        for scenario in scenarios {
            for per_minute in table.per_minute {
                for judge in table.judges {
                    let found = cell(scenario, *per_minute, judge, rollouts);
                    println!("| {} | {per_minute} | {judge} | {found} |", scenario.name);
                }
            }
        }
    }
}
