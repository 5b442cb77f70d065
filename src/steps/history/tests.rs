use super::timeline::{By, Served, Span, names, served, spans};
use crate::clock::Timestamp;
use crate::steps::rollouts::{Deployment, Move, Rollout, Split, parse_ended};
use crate::workspace::Digest;
use crate::workspace::records::DeployVerdict;

fn at(minute: i64) -> Timestamp {
    Timestamp::from_unix_micros(minute * 60_000_000)
}

fn shares(of: &[(u32, u32)]) -> Split {
    of.iter()
        .map(|(version, share)| (id(*version), *share))
        .collect()
}

fn id(version: u32) -> String {
    format!("id-{version}")
}

fn deployment(version: u32) -> Deployment {
    Deployment {
        id: id(version),
        model: "projects/p/locations/l/models/m".into(),
        version: version.to_string(),
    }
}

/// A rollout of a version over another: the minutes at which it moved the traffic, and to what.
fn rollout(
    number: u64,
    version: u32,
    over: Option<u32>,
    started: i64,
    moves: &[(i64, Split)],
) -> Rollout {
    let before = over.map_or_else(Split::new, |over| shares(&[(over, 100)]));
    let own = (Digest::of(b"x"), deployment(version), over.map(deployment));
    let mut rollout = Rollout::after(None, own.0, own.1, own.2, before, at(started));
    rollout.number = number;
    rollout.build = format!("b{number}");
    for (minute, split) in moves {
        rollout.moves.push(Move {
            at: at(*minute),
            split: split.clone(),
            by_others: false,
        });
    }
    rollout
}

fn ended(mut rollout: Rollout, minute: i64, verdict: DeployVerdict, reason: &str) -> Rollout {
    rollout.ended = Some(at(minute));
    rollout.verdict = Some(verdict);
    rollout.reason = reason.into();
    rollout
}

fn told(served: &[Served]) -> Vec<String> {
    let minute = |t: Timestamp| t.unix_micros() / 60_000_000;
    let line = |s: &Served| {
        let to =
            s.to.map_or_else(|| "now".into(), |to| minute(to).to_string());
        format!(
            "{} {}..{to} {}% {} / {}",
            s.version,
            minute(s.from),
            s.most_percent,
            s.came,
            s.went
        )
    };
    served.iter().map(line).collect()
}

/// One model, then one that was rolled back, then one that was promoted.
fn three() -> Vec<Rollout> {
    let first = rollout(1, 1, None, 10, &[(11, shares(&[(1, 100)]))]);
    let second = [(31, shares(&[(1, 75), (2, 25)])), (40, shares(&[(1, 100)]))];
    let third = [(51, shares(&[(1, 75), (3, 25)])), (60, shares(&[(3, 100)]))];
    vec![
        ended(first, 20, DeployVerdict::Promoted, "the first"),
        ended(
            rollout(2, 2, Some(1), 30, &second),
            41,
            DeployVerdict::RolledBack,
            "errors",
        ),
        ended(
            rollout(3, 3, Some(1), 50, &third),
            70,
            DeployVerdict::Promoted,
            "no harm",
        ),
    ]
}

#[test]
fn each_model_is_told_from_when_to_when_and_why() {
    let rollouts = three();
    let spans = spans(&rollouts, &shares(&[(3, 100)]), at(100));
    let served = served(&spans, &rollouts, &names(&rollouts));
    assert_eq!(
        told(&served),
        [
            "1 11..60 100% promoted by rollout 1 of the build b1: the first / version 3 took its place in rollout 3 of the build b3",
            "2 31..40 25% tried by rollout 2 of the build b2 / rolled_back: errors",
            "3 51..now 100% promoted by rollout 3 of the build b3: no harm / ",
        ]
    );
    assert_eq!(
        (served[1].build.as_str(), served[1].rollout),
        ("b2", Some(2))
    );
}

#[test]
fn what_somebody_moved_between_rollouts_is_a_time_of_which_nothing_is_known() {
    let rollouts = three();
    let spans = spans(&rollouts, &shares(&[(1, 100)]), at(100));
    let last: Vec<&Span> = spans.iter().rev().take(3).rev().collect();
    assert_eq!((last[0].from, last[0].to), (at(60), Some(at(70))));
    assert_eq!(
        (last[1].from, last[1].to, &last[1].split),
        (at(70), Some(at(100)), &None)
    );
    assert_eq!((last[2].by, last[2].to), (By::Hand, None));
    let served = served(&spans, &rollouts, &names(&rollouts));
    assert_eq!(
        served.last().unwrap().came,
        "somebody gave it traffic by hand"
    );
}

#[test]
fn what_somebody_moved_in_a_rollout_is_told_when_it_was_seen() {
    let mut own = rollout(2, 2, Some(1), 30, &[(31, shares(&[(1, 75), (2, 25)]))]);
    own.split = Some(shares(&[(1, 75), (2, 25)]));
    own.overruled_by(shares(&[(1, 100)]), at(35));
    let rollouts = [ended(own, 36, DeployVerdict::Held, "somebody else")];
    let spans = spans(&rollouts, &shares(&[(1, 100)]), at(100));
    let bys: Vec<By> = spans.iter().map(|span| span.by).collect();
    assert_eq!(bys, [By::Found, By::Rollout(2), By::Hand]);
    let served = served(&spans, &rollouts, &names(&rollouts));
    assert_eq!(served[1].went, "somebody moved its traffic by hand");
}

#[test]
fn a_move_that_did_not_come_about_is_not_told() {
    let mut own = rollout(2, 2, Some(1), 30, &[]);
    own.split = Some(shares(&[(1, 100)]));
    own.about_to_move(&shares(&[(1, 100)]), &shares(&[(1, 75), (2, 25)]), at(31));
    own.forget_move(&shares(&[(1, 100)]));
    assert_eq!(own.moves, []);
    own.about_to_move(&shares(&[(1, 100)]), &shares(&[(1, 75), (2, 25)]), at(32));
    // The answer was lost, and the endpoint has it.
    own.about_to_move(&shares(&[(1, 75), (2, 25)]), &shares(&[(2, 100)]), at(40));
    assert_eq!(own.moves.len(), 2);
}

#[test]
fn a_rollout_of_before_moves_were_kept_is_told_by_its_end() {
    let old = ended(
        rollout(1, 2, Some(1), 30, &[]),
        40,
        DeployVerdict::Promoted,
        "x",
    );
    let spans = spans(&[old], &shares(&[(2, 100)]), at(100));
    assert_eq!(spans.len(), 2);
    assert_eq!((spans[1].from, spans[1].to), (at(40), None));
}

/// As serin 0.1.0 keeps it.
const KEPT: &str = r#"{"format":3,"number":2,"digest":"2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881",
"challenger":{"id":"22","model":"projects/1/locations/l/models/m","version":"2"},
"champion":{"id":"11","model":"projects/1/locations/l/models/m","version":"1"},
"build":"b","started":"2026-01-02T03:04:05.000000Z","before":{"11":100},"split":{"22":100},
"moves":[{"at":"2026-01-02T03:10:05.000000Z","split":{"11":50,"22":50}},{"at":"2026-01-02T03:20:05.000000Z","split":{"22":100}}],
"stages":[],"looks":[],"paused":false,"verdict":"promoted","reason":"no harm seen","ended":"2026-01-02T03:30:05.000000Z"}"#;

#[test]
fn a_rollout_as_it_is_kept_now_stays_readable() {
    let read = |text: &str| parse_ended(&text.to_owned().into(), "gs://b/2.json");
    let rollout = read(KEPT).unwrap().unwrap();
    assert_eq!((rollout.number, rollout.moves.len()), (2, 2));
    assert_eq!(rollout.moves[1].split, Split::from([("22".into(), 100)]));
    // Before moves were kept.
    let (before, rest) = KEPT.split_once("\"moves\"").unwrap();
    let (_, after) = rest.split_once("\"stages\"").unwrap();
    let earlier = format!("{before}\"stages\"{after}");
    assert_eq!(read(&earlier).unwrap().unwrap().moves, []);
    // What is no rollout is left out, and what is newer is refused.
    assert!(read("{}").unwrap().is_none());
    let newer = KEPT.replace("\"format\":3", "\"format\":4");
    let refused = read(&newer).unwrap_err();
    assert_eq!(refused.to_string(), "gs://b/2.json is of a newer serin");
}
