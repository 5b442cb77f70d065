//! The five verdicts of a build, and the one they come to: shared by the page and the terminal.

use super::{Records, groups, number};
use crate::workspace::records::{
    DeployVerdict, Deployed, LintReport, Profile, Pushed, Severity, Trained, Validated, Verdict,
};
use crate::workspace::unfinished::{Status, Unfinished};

/// How a verdict is meant; it picks colour and sign, never replaces the word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    Good,
    Bad,
    Unsure,
    /// There is no record.
    Absent,
}

impl From<Verdict> for Tone {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Pass => Self::Good,
            Verdict::Reject => Self::Bad,
            Verdict::Inconclusive => Self::Unsure,
        }
    }
}

impl From<DeployVerdict> for Tone {
    fn from(verdict: DeployVerdict) -> Self {
        match verdict {
            DeployVerdict::Promoted => Self::Good,
            DeployVerdict::RolledBack => Self::Bad,
            DeployVerdict::Held | DeployVerdict::Running | DeployVerdict::Interrupted => {
                Self::Unsure
            }
        }
    }
}

/// What one step came to.
pub(super) struct StepVerdict {
    pub(super) step: &'static str,
    pub(super) word: &'static str,
    pub(super) tone: Tone,
    /// A few words with the numbers.
    pub(super) evidence: String,
    /// The sentence behind a verdict that is not good.
    pub(super) because: Option<String>,
}

/// What the build came to.
pub(super) struct Overall {
    pub(super) word: String,
    pub(super) tone: Tone,
    pub(super) sentence: String,
}

/// Lint, train, validate, push, deploy, in this order.
pub(super) fn of_steps(records: &Records) -> [StepVerdict; 5] {
    let begun = |step| records.unfinished.get(step);
    [
        step("lint", begun("lint"), records.lint.as_ref(), |r| {
            of_lint(r, records.profile.as_ref())
        }),
        step("train", begun("train"), records.trained.as_ref(), of_train),
        step(
            "validate",
            begun("validate"),
            records.validated.as_ref(),
            of_validate,
        ),
        step("push", begun("push"), records.pushed.as_ref(), of_push),
        step(
            "deploy",
            begun("deploy"),
            records.deployed.as_ref(),
            of_deploy,
        ),
    ]
}

/// The first verdict that is not good decides.
pub(super) fn overall(verdicts: &[StepVerdict]) -> Overall {
    let found = |tone| verdicts.iter().find(|v| v.tone == tone);
    if let Some(v) = verdicts
        .iter()
        .find(|v| matches!(v.tone, Tone::Bad | Tone::Unsure))
    {
        let word = match (v.step, v.word) {
            (step, "running") => format!("Running {step}"),
            (step, "failed") => format!("Failed in {step}"),
            (step, "cancelled") => format!("Cancelled in {step}"),
            (step, "interrupted") => format!("Interrupted in {step}"),
            ("deploy", _) if v.tone == Tone::Bad => "Rolled back".to_owned(),
            ("deploy", _) => "Held".to_owned(),
            (step, _) if v.tone == Tone::Bad => format!("Rejected by {step}"),
            (step, _) => format!("Inconclusive at {step}"),
        };
        return Overall {
            word,
            tone: v.tone,
            sentence: v.because.clone().unwrap_or_else(|| v.evidence.clone()),
        };
    }
    match (found(Tone::Good), found(Tone::Absent)) {
        (_, None) => Overall {
            word: "Promoted".into(),
            tone: Tone::Good,
            sentence: verdicts
                .last()
                .and_then(|v| v.because.clone())
                .unwrap_or_default(),
        },
        (None, _) => Overall {
            word: "Nothing has run".into(),
            tone: Tone::Absent,
            sentence: "No step has left a record in this workspace.".into(),
        },
        // Lint is run by itself too, to look at the data.
        (Some(done), Some(_)) if done.step == "lint" && alone(verdicts) => Overall {
            word: "Lint passed".into(),
            tone: Tone::Good,
            sentence: "The checks do not reject the data. The later steps were not reached.".into(),
        },
        (Some(_), Some(missing)) => Overall {
            word: "Unfinished".into(),
            tone: Tone::Absent,
            sentence: format!("{} and what follows it were not reached.", missing.step),
        },
    }
}

/// Whether a single step has left a record.
fn alone(verdicts: &[StepVerdict]) -> bool {
    let done = verdicts.iter().filter(|v| v.tone != Tone::Absent);
    done.count() == 1
}

struct Judged {
    word: &'static str,
    tone: Tone,
    evidence: String,
    because: Option<String>,
}

fn step<T>(
    step: &'static str,
    begun: Option<&Unfinished>,
    record: Option<&T>,
    judge: impl FnOnce(&T) -> Judged,
) -> StepVerdict {
    let judged = match (record, begun) {
        (Some(record), _) => judge(record),
        (None, Some(begun)) => of_unfinished(begun),
        (None, None) => Judged {
            word: "not reached",
            tone: Tone::Absent,
            evidence: number::NONE.into(),
            because: None,
        },
    };
    StepVerdict {
        step,
        word: judged.word,
        tone: judged.tone,
        evidence: judged.evidence,
        because: judged.because,
    }
}

/// A step that left no record: how far it came, and what is known of why.
fn of_unfinished(begun: &Unfinished) -> Judged {
    let tone = match begun.status {
        Status::Failed => Tone::Bad,
        Status::Running | Status::Cancelled | Status::Interrupted => Tone::Unsure,
    };
    let evidence = match begun.reason.as_str() {
        "" => format!("since {} UTC", number::minute(begun.started)),
        reason => shortened(reason),
    };
    Judged {
        word: begun.status.as_str(),
        tone,
        evidence,
        because: Some(begun.reason.clone()).filter(|reason| !reason.is_empty()),
    }
}

/// The begin of a long text; the page has the whole of it.
fn shortened(text: &str) -> String {
    const SHOWN: usize = 120;
    match text.char_indices().nth(SHOWN) {
        None => text.to_owned(),
        Some((at, _)) => format!("{}...", text.get(..at).unwrap_or(text).trim_end()),
    }
}

fn of_lint(report: &LintReport, profile: Option<&Profile>) -> Judged {
    let groups = groups::groups(report);
    let found = |severity| -> u64 {
        let of = groups.iter().filter(|g| g.first.severity == severity);
        of.map(|group| group.found).sum()
    };
    let (rejects, warns) = (found(Severity::Reject), found(Severity::Warn));
    let mut parts = Vec::new();
    if rejects > 0 {
        parts.push(number::counted(rejects, "rejection"));
    }
    if warns > 0 {
        parts.push(number::counted(warns, "warning"));
    }
    if report.findings.is_empty() {
        parts.push("no findings".into());
    }
    if let Some(p) = profile {
        parts.push(number::counted(p.train.columns.len() as u64, "column"));
        parts.push(number::counted(p.rows, "row"));
    }
    Judged {
        word: report.verdict.as_str(),
        tone: report.verdict.into(),
        evidence: parts.join(", "),
        // The worst comes first.
        because: groups
            .first()
            .filter(|group| group.first.severity == Severity::Reject)
            .map(|group| group.first.message.clone()),
    }
}

fn of_train(trained: &Trained) -> Judged {
    let mut parts = Vec::new();
    if let Some(round) = best_round(trained) {
        parts.push(format!("best round {round}"));
    }
    if trained.job.is_empty() {
        parts.push("made elsewhere".to_owned());
    } else {
        parts.push(format!("seed {}", trained.seed));
    }
    parts.push(format!("model {}", trained.model.digest.short()));
    if let (Some(started), Some(ended)) = (trained.started, trained.ended) {
        parts.push(number::duration(ended.since(started)));
    }
    Judged {
        word: "done",
        tone: Tone::Good,
        evidence: parts.join(", "),
        because: None,
    }
}

/// The round that early stopping chose, where the learner reported it among its parameters.
pub(super) fn best_round(trained: &Trained) -> Option<u64> {
    ["best_iteration", "best_round"]
        .iter()
        .find_map(|name| trained.parameters.get(*name)?.as_u64())
}

fn of_validate(validated: &Validated) -> Judged {
    let gates = &validated.gates;
    let failed: Vec<_> = gates
        .iter()
        .filter(|g| g.verdict != Verdict::Pass)
        .collect();
    let shown: Vec<_> = if failed.is_empty() {
        gates.iter().collect()
    } else {
        failed.clone()
    };
    let mut parts = vec![match gates.len() as u64 {
        0 => "no gates".to_owned(),
        n => format!(
            "{} of {} passed",
            number::count(n - failed.len() as u64),
            number::counted(n, "gate")
        ),
    }];
    for gate in shown.iter().take(2) {
        parts.push(format!("{} {}", gate.metric, number::metric(gate.value)));
    }
    Judged {
        word: validated.verdict.as_str(),
        tone: validated.verdict.into(),
        evidence: parts.join(", "),
        because: failed.first().map(|g| g.message.clone()),
    }
}

fn of_push(pushed: &Pushed) -> Judged {
    let found = if pushed.found {
        ", found by its digest"
    } else {
        ""
    };
    Judged {
        word: "done",
        tone: Tone::Good,
        evidence: format!(
            "version {} of {}{found}",
            pushed.version,
            last_segment(&pushed.model)
        ),
        because: None,
    }
}

/// The id at the end of a resource name.
pub(super) fn last_segment(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

fn of_deploy(deployed: &Deployed) -> Judged {
    let evidence = match deployed.stages.last() {
        _ if deployed.unchanged => "this digest already served all traffic".to_owned(),
        _ if matches!(
            deployed.verdict,
            DeployVerdict::Running | DeployVerdict::Interrupted
        ) =>
        {
            shortened(&deployed.reason)
        }
        None => "no stages".to_owned(),
        Some(last) => {
            let requests = deployed.stages.iter().map(|s| s.challenger.requests).sum();
            let errors = deployed.stages.iter().map(|s| s.challenger.failed()).sum();
            format!(
                "{} up to {}%, {}, {}",
                number::counted(deployed.stages.len() as u64, "stage"),
                last.percent,
                number::counted(requests, "request"),
                number::counted(errors, "error")
            )
        }
    };
    Judged {
        word: deploy_word(deployed.verdict),
        tone: deployed.verdict.into(),
        evidence,
        because: Some(deployed.reason.clone()),
    }
}

/// The verdict of a canary as it is read.
pub(super) fn deploy_word(verdict: DeployVerdict) -> &'static str {
    match verdict {
        DeployVerdict::RolledBack => "rolled back",
        other => other.as_str(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixtures;

    fn outcome(records: &Records) -> (String, Tone) {
        let overall = overall(&of_steps(records));
        (overall.word, overall.tone)
    }

    #[test]
    fn the_first_verdict_that_is_not_good_decides() {
        let of = |records| outcome(&records);
        assert_eq!(of(fixtures::promoted()), ("Promoted".into(), Tone::Good));
        assert_eq!(of(fixtures::first_run()), ("Promoted".into(), Tone::Good));
        assert_eq!(
            of(fixtures::rolled_back()),
            ("Rolled back".into(), Tone::Bad)
        );
        assert_eq!(
            of(fixtures::rejected_by_lint()),
            ("Rejected by lint".into(), Tone::Bad)
        );
        assert_eq!(
            of(fixtures::inconclusive()),
            ("Inconclusive at validate".into(), Tone::Unsure)
        );
        assert_eq!(
            of(Records::default()),
            ("Nothing has run".into(), Tone::Absent)
        );
        // An older record behind a rejection changes nothing.
        let stale = Records {
            lint: fixtures::rejected_by_lint().lint,
            ..fixtures::promoted()
        };
        assert_eq!(of(stale), ("Rejected by lint".into(), Tone::Bad));
    }

    #[test]
    fn a_record_that_is_missing_leaves_the_build_unfinished() {
        let records = Records {
            pushed: None,
            deployed: None,
            ..fixtures::promoted()
        };
        assert_eq!(outcome(&records), ("Unfinished".into(), Tone::Absent));
        let steps = of_steps(&records);
        assert_eq!(
            (steps[3].word, steps[4].word),
            ("not reached", "not reached")
        );
        assert_eq!(steps[3].evidence, number::NONE);
        let linted = Records {
            dataset: records.dataset,
            profile: records.profile,
            lint: records.lint,
            ..Records::default()
        };
        assert_eq!(outcome(&linted), ("Lint passed".into(), Tone::Good));
        assert!(
            overall(&of_steps(&linted))
                .sentence
                .contains("were not reached")
        );
    }

    #[test]
    fn a_step_that_ran_and_left_no_record_is_told_by_how_it_ended() {
        let now: crate::clock::Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        let of = |status, reason: &str| {
            let begun = Unfinished {
                status,
                reason: reason.into(),
                ..Unfinished::begun(now)
            };
            let records = Records {
                trained: None,
                validated: None,
                pushed: None,
                deployed: None,
                unfinished: [("train", begun)].into(),
                ..fixtures::promoted()
            };
            let steps = of_steps(&records);
            assert_eq!(steps[2].word, "not reached");
            (
                steps[1].word,
                steps[1].evidence.clone(),
                outcome(&records).0,
            )
        };
        assert_eq!(
            of(Status::Running, ""),
            ("running", "since 03:04 UTC".into(), "Running train".into())
        );
        let (word, evidence, overall) = of(Status::Failed, &"long ".repeat(60));
        assert_eq!((word, &*overall), ("failed", "Failed in train"));
        assert!(evidence.ends_with("long...") && evidence.len() < 130);
        assert_eq!(of(Status::Cancelled, "x").2, "Cancelled in train");
        let killed = Unfinished::begun(now).of_ended_build();
        assert_eq!(
            of(killed.status, &killed.reason),
            (
                "interrupted",
                "killed before it ended".into(),
                "Interrupted in train".into()
            )
        );
    }
}
