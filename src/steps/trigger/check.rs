//! One check: look, decide under the ledger, start, and record what was held back.

use anyhow::Result;

use super::decide::{self, Due, Finding, Held, Look};
use super::ledger::{self, Firing, Ledger, Waits};
use super::look::Looking;
use super::start::Starter;
use crate::clock::Timestamp;
use crate::config::Triggers;
use crate::error::Input;
use crate::steps::Context;
use crate::steps::lint::Source;

/// What a check decided.
#[derive(Clone, Debug)]
pub(crate) struct Checked {
    pub at: Timestamp,
    pub findings: Vec<Finding>,
    /// The build that was started.
    pub started: Option<Firing>,
    /// Builds that an earlier check had decided on and not started.
    pub finished: Vec<Firing>,
}

impl Checked {
    /// Whether a build was decided on, here or before, and is not known to be started: whoever started it may have
    /// been killed, and a check two minutes later goes on with it.
    pub(crate) fn is_starting(&self) -> bool {
        let known = self.started.as_ref();
        let is_starting = |finding: &Finding| matches!(finding, Finding::Starting { .. });
        known.is_some_and(|firing| firing.build.is_none()) || self.findings.iter().any(is_starting)
    }
}

/// The section `triggers` of the config.
///
/// # Errors
/// [`Input`] where there is none.
pub(crate) fn triggers(ctx: &Context) -> Result<&Triggers> {
    ctx.config.triggers.as_ref().ok_or_else(|| {
        Input::new("has no section `triggers`, which says what starts a build")
            .at_file(&ctx.config.path)
            .hint("docs/triggers.md has one to copy")
            .into()
    })
}

/// Looks at every cause once, decides, and starts the build that was decided on.
///
/// # Errors
/// [`Input`] for the config and the tables, `gcp::Error` when the cloud fails. What was decided stays: the next
/// check goes on with it.
pub(crate) async fn check(ctx: &Context, source: Source, asked: Option<Due>) -> Result<Checked> {
    let triggers = triggers(ctx)?;
    let starter = Starter::new(ctx, triggers)?;
    let looking = Looking {
        ctx,
        triggers,
        source,
    };
    let finished = finish(ctx, &starter).await?;
    let looks = decide::looks(&looking.facts(asked).await?);
    let known = known(ctx, &looks).await?;
    for wait in Waits::default() {
        let mut ledger = ledger::read(ctx).await?;
        let refreshed = starter.refresh(&mut ledger.body.firings).await?;
        let at = ctx.clock.now();
        let findings = decide_on(ctx, triggers, &looks, &ledger.body, &known, at);
        let Some(due) = fires(&findings) else {
            if refreshed {
                // Where another was faster the next check reads the builds' ends again.
                let _another = ledger::write(ctx, &mut ledger).await?;
            }
            ledger::record_held(ctx, &findings).await?;
            return Ok(Checked {
                at,
                findings,
                started: None,
                finished,
            });
        };
        let firing = starter.firing(due, at);
        ctx.find_or_create_bucket().await?;
        ledger.body.firings.push(firing.clone());
        if ledger::write(ctx, &mut ledger).await? {
            ledger::record_held(ctx, &findings).await?;
            let started = Some(starter.start(&firing).await?);
            return Ok(Checked {
                at,
                findings,
                started,
                finished,
            });
        }
        ctx.clock.sleep(wait).await;
    }
    Err(ledger::contended())
}

/// Starts what an earlier check decided on and left without a build.
async fn finish(ctx: &Context, starter: &Starter<'_>) -> Result<Vec<Firing>> {
    let now = ctx.clock.now();
    let ledger = ledger::read(ctx).await?;
    let model = &**ctx.config.model;
    let left = ledger.body.firings.iter();
    let left = left.filter(|firing| firing.model == model && firing.is_left(now));
    let mut finished = Vec::new();
    for firing in left {
        println!(
            "the build for {} was decided on at {} and not started; starting it",
            firing.key, firing.decided_at
        );
        finished.push(starter.take_over(firing).await?);
    }
    Ok(finished)
}

/// Those of the keys for which a build was started, however long ago.
async fn known(ctx: &Context, looks: &[Look]) -> Result<Vec<(String, Timestamp)>> {
    let mut known = Vec::new();
    for look in looks {
        if let Look::Due(due) = look
            && let Some(firing) = ledger::firing(ctx, &due.key).await?
        {
            known.push((due.key.clone(), firing.body.decided_at));
        }
    }
    Ok(known)
}

fn decide_on(
    ctx: &Context,
    triggers: &Triggers,
    looks: &[Look],
    ledger: &Ledger,
    known: &[(String, Timestamp)],
    now: Timestamp,
) -> Vec<Finding> {
    let held = Held {
        now,
        model: &ctx.config.model,
        limits: &triggers.limits,
        firings: &ledger.firings,
        known,
    };
    decide::decide(looks, &held)
}

fn fires(findings: &[Finding]) -> Option<&Due> {
    findings.iter().find_map(|finding| match finding {
        Finding::Fires { due } => Some(due),
        _ => None,
    })
}
