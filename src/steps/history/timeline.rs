//! What served on an endpoint from when to when, by the rollouts that its bucket keeps. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::clock::Timestamp;
use crate::steps::rollouts::{Deployment, Move, Rollout, Split};
use crate::workspace::records::DeployVerdict;

/// The traffic as it was for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub from: Timestamp,
    /// `None` until now.
    pub to: Option<Timestamp>,
    /// `None` where somebody moved it within this time, and nobody knows when.
    pub split: Option<Split>,
    /// Who made it so.
    pub by: By,
}

/// Who gave an endpoint its traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// It was so when the first rollout that is kept began.
    Found,
    /// A rollout, by its number.
    Rollout(u64),
    /// Somebody else than a rollout.
    Hand,
}

/// A deployed model for as long as it had a share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Served {
    pub version: String,
    pub model: String,
    pub deployed_model_id: String,
    pub from: Timestamp,
    /// `None` while it serves.
    pub to: Option<Timestamp>,
    /// The largest share that it had, in percent.
    pub most_percent: u32,
    /// The rollout that brought it; `None` where none did.
    pub rollout: Option<u64>,
    /// The build of that rollout; empty where it was none.
    pub build: String,
    /// That rollout's.
    pub verdict: Option<DeployVerdict>,
    pub came: String,
    /// Empty while it serves.
    pub went: String,
}

/// The traffic from the first rollout on; `live` is what the endpoint gives now.
pub(super) fn spans(rollouts: &[Rollout], live: &Split, now: Timestamp) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    // Until when the last span is known to have been so.
    let mut known = now;
    for rollout in rollouts {
        find(&mut spans, known, rollout.started, &rollout.before);
        for moved in moves(rollout) {
            let by = match moved.by_others {
                true => By::Hand,
                false => By::Rollout(rollout.number),
            };
            change(&mut spans, moved.at, moved.split, by);
        }
        let last = spans.last().map_or(rollout.started, |span| span.from);
        known = rollout.ended.unwrap_or(last).max(last);
    }
    if !rollouts.is_empty() {
        find(&mut spans, known, now, live);
    }
    spans
}

/// The traffic is found to be so: where it was another before, somebody moved it since.
fn find(spans: &mut Vec<Span>, known: Timestamp, at: Timestamp, split: &Split) {
    let open = |by| Span {
        from: at,
        to: None,
        split: Some(split.clone()),
        by,
    };
    match spans.last_mut() {
        None => spans.push(open(By::Found)),
        Some(last) if last.split.as_ref() == Some(split) => {}
        Some(last) => {
            last.to = Some(known);
            spans.push(Span {
                from: known,
                to: Some(at),
                split: None,
                by: By::Hand,
            });
            spans.push(open(By::Hand));
        }
    }
}

fn change(spans: &mut Vec<Span>, at: Timestamp, split: Split, by: By) {
    if let Some(last) = spans.last_mut() {
        if last.split.as_ref() == Some(&split) {
            return;
        }
        last.to = Some(at);
    }
    spans.push(Span {
        from: at,
        to: None,
        split: Some(split),
        by,
    });
}

/// A rollout's moves. Before they were kept its stages tell them.
fn moves(rollout: &Rollout) -> Vec<Move> {
    if !rollout.moves.is_empty() {
        return rollout.moves.clone();
    }
    let shares = |percent: u32| {
        let champion = rollout
            .champion
            .iter()
            .map(|c| (c.id.clone(), 100 - percent));
        let all = champion.chain([(rollout.challenger.id.clone(), percent)]);
        all.filter(|(_, share)| *share > 0).collect::<Split>()
    };
    let of = |at, split| Move {
        at,
        split,
        by_others: false,
    };
    let stages = rollout.stages.iter();
    let mut moves: Vec<Move> = stages
        .map(|stage| of(stage.started, shares(stage.percent.min(100))))
        .collect();
    if let Some(ended) = rollout.ended {
        let split = match rollout.verdict {
            Some(DeployVerdict::Promoted) => shares(100),
            _ => rollout.before.clone(),
        };
        moves.push(of(ended, split));
    }
    moves
}

/// What a deployed model's id stands for, as far as a rollout or the endpoint tells.
pub(super) type Names = BTreeMap<String, Deployment>;

/// The deployments that rollouts were about.
pub(super) fn names(rollouts: &[Rollout]) -> Names {
    let known = rollouts
        .iter()
        .flat_map(|rollout| rollout.champion.iter().chain([&rollout.challenger]));
    known
        .filter(|deployment| !deployment.version.is_empty())
        .map(|deployment| (deployment.id.clone(), deployment.clone()))
        .collect()
}

/// Which deployed model had traffic from when to when, the oldest first.
pub(super) fn served(spans: &[Span], rollouts: &[Rollout], names: &Names) -> Vec<Served> {
    let mut done: Vec<Served> = Vec::new();
    let mut open: BTreeMap<&String, Served> = BTreeMap::new();
    for span in spans {
        let Some(split) = &span.split else { continue };
        let left: BTreeSet<&String> = open
            .keys()
            .filter(|id| !split.contains_key(**id))
            .copied()
            .collect();
        for id in left {
            if let Some(mut served) = open.remove(id) {
                served.to = Some(span.from);
                served.went = went(id, span.by, rollouts);
                done.push(served);
            }
        }
        for (id, share) in split {
            let served = open
                .entry(id)
                .or_insert_with(|| begin(id, span, rollouts, names));
            served.most_percent = served.most_percent.max(*share);
        }
    }
    done.extend(open.into_values());
    done.sort_by(|a, b| (a.from, &a.deployed_model_id).cmp(&(b.from, &b.deployed_model_id)));
    done
}

fn begin(id: &str, span: &Span, rollouts: &[Rollout], names: &Names) -> Served {
    let known = names.get(id);
    // Its own rollout, whoever gave it the traffic this time.
    let own = match span.by {
        By::Rollout(number) => {
            let made = rollouts.iter().find(|r| r.number == number);
            made.filter(|made| made.challenger.id == id && !is_recovery(made))
        }
        By::Found | By::Hand => None,
    };
    Served {
        version: known.map_or_else(String::new, |known| known.version.clone()),
        model: known.map_or_else(String::new, |known| known.model.clone()),
        deployed_model_id: id.to_owned(),
        from: span.from,
        to: None,
        most_percent: 0,
        rollout: own.map(|own| own.number),
        build: own.map_or_else(String::new, |own| own.build.clone()),
        verdict: own.and_then(|own| own.verdict),
        came: came(id, span.by, rollouts),
        went: String::new(),
    }
}

fn came(id: &str, by: By, rollouts: &[Rollout]) -> String {
    let number = match by {
        By::Found => return "it served when the first rollout that is kept began".to_owned(),
        By::Hand => return "somebody gave it traffic by hand".to_owned(),
        By::Rollout(number) => number,
    };
    match rollouts.iter().find(|r| r.number == number) {
        Some(made) if is_recovery(made) => RECOVERED.to_owned(),
        Some(made) if made.challenger.id == id && made.is_promoted() => {
            format!("promoted by {}: {}", about(made), made.reason)
        }
        Some(made) if made.challenger.id == id => format!("tried by {}", about(made)),
        Some(made) => format!("{} gave it its traffic back", about(made)),
        None => format!("rollout {number} gave it its traffic back"),
    }
}

fn went(id: &str, by: By, rollouts: &[Rollout]) -> String {
    let number = match by {
        By::Found | By::Hand => return "somebody moved its traffic by hand".to_owned(),
        By::Rollout(number) => number,
    };
    match rollouts.iter().find(|r| r.number == number) {
        Some(made) if is_recovery(made) => RECOVERED.to_owned(),
        Some(made) if made.challenger.id == id => {
            let verdict = made.verdict.map_or("ended", DeployVerdict::as_str);
            format!("{verdict}: {}", made.reason)
        }
        Some(made) => format!("{} took its place in {}", made.challenger, about(made)),
        None => format!("rollout {number} took its traffic"),
    }
}

const RECOVERED: &str = "`serin deploy --recover` gave the champion all the traffic";

/// Whether a rollout is only the record of what `--recover` did, in which the champion takes its own place.
fn is_recovery(rollout: &Rollout) -> bool {
    let champion = rollout.champion.as_ref();
    champion.is_some_and(|champion| champion.id == rollout.challenger.id)
}

/// A rollout by its number and build.
pub(super) fn about(rollout: &Rollout) -> String {
    match rollout.build.as_str() {
        "" => format!("rollout {}", rollout.number),
        build => format!("rollout {} of the build {build}", rollout.number),
    }
}
