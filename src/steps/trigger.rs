//! `serin trigger`: decides whether a build is to start, starts it, and tells what was decided.

mod apply;
mod causes;
mod check;
mod decide;
mod events;
mod facts;
mod ledger;
mod look;
mod start;
mod text;

use anyhow::Result;
use serde_json::json;

pub(crate) use check::{Checked, check, triggers};
pub(crate) use decide::{Cause, Due, Finding};
pub(crate) use events::{Events, event_key, is_watched};
pub(super) use ledger::claim_for_build;
pub(super) use look::judged;
pub(crate) use text::{lines, message};

use super::lint::Source;
use super::{CommonFlags, Context, Format, one_thread};
use crate::error::Input;
use crate::exit::code;
use crate::workspace::reason;

/// Decide whether a build is to start, and start it
///
/// serin.yaml's section `triggers` says which causes start a build and what limits them. What was decided is kept in the
/// bucket, at triggers/: one build is started for a key, whoever looks and however often.
#[derive(Debug, clap::Args)]
pub(crate) struct Flags {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Apply(apply::ApplyFlags),
    Check(CheckFlags),
    Fire(FireFlags),
    History(HistoryFlags),
}

/// Look at every cause once, and start a build where one asks for it
///
/// Prints a line for each cause and what was decided. Exits with 0 whether a build was started or not.
#[derive(Debug, clap::Args)]
struct CheckFlags {
    #[command(flatten)]
    common: CommonFlags,
    #[command(flatten)]
    looking: LookingFlags,
}

/// Start a build by hand, within the limits
///
/// Exits with 1 where a limit holds it back.
#[derive(Debug, clap::Args)]
struct FireFlags {
    #[command(flatten)]
    common: CommonFlags,
    /// Why, in a sentence that the build records
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// One build is started for a key; without it each call asks for one of its own
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    #[command(flatten)]
    looking: LookingFlags,
}

/// Say what fired, what was held back, and why
#[derive(Debug, clap::Args)]
struct HistoryFlags {
    #[command(flatten)]
    common: CommonFlags,
    /// The latest so many of each
    #[arg(long, value_name = "N", default_value_t = 20)]
    last: usize,
    /// How it is written
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// What all that look at data are told.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct LookingFlags {
    /// Which of a table's places is counted
    #[arg(long, value_enum, default_value = "local", env = "SERIN_SOURCE")]
    pub source: Source,
    /// How the decision is written
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// Runs `serin trigger`.
///
/// # Errors
/// [`Input`] for flags, the config and the tables, `gcp::Error` when the cloud fails.
pub(crate) fn command(flags: Flags) -> Result<u8> {
    match flags.command {
        Command::Apply(flags) => run(flags.common.clone(), async |ctx| {
            apply::apply(ctx, &flags).await
        }),
        Command::Check(flags) => run(flags.common, async |ctx| {
            let checked = check(ctx, flags.looking.source, None).await?;
            print(&checked, flags.looking.format)?;
            Ok(code::DONE)
        }),
        Command::Fire(flags) => run(flags.common, async |ctx| {
            let due = on_demand(ctx, &flags.reason, flags.key.as_deref())?;
            let checked = check(ctx, flags.looking.source, Some(due)).await?;
            print(&checked, flags.looking.format)?;
            Ok(match is_held(&checked) {
                true => code::REJECTED,
                false => code::DONE,
            })
        }),
        Command::History(flags) => run(flags.common, async |ctx| {
            history(ctx, flags.last, flags.format).await
        }),
    }
}

fn run(flags: CommonFlags, command: impl AsyncFnOnce(&Context) -> Result<u8>) -> Result<u8> {
    let ctx = Context::of_triggers(flags)?;
    one_thread()?.block_on(command(&ctx))
}

/// Whether what was asked for is held back.
fn is_held(checked: &Checked) -> bool {
    checked
        .findings
        .iter()
        .any(|finding| matches!(finding, Finding::Held { due, .. } if due.cause == Cause::OnDemand))
}

/// What somebody asks for.
///
/// # Errors
/// [`Input`] for a reason or a key that cannot be passed to a build.
pub(crate) fn on_demand(ctx: &Context, text: &str, key: Option<&str>) -> Result<Due> {
    let reason = reason::plain(text);
    if reason.is_empty() {
        return Err(Input::new("`--reason` is empty")
            .hint("say why, as in `--reason \"the labels of June were corrected\"`")
            .into());
    }
    let key = match key {
        Some(key) => format!("on-demand-{key}"),
        None => format!(
            "on-demand-{}-{}",
            ctx.clock.now().unix_micros(),
            std::process::id()
        ),
    };
    if !reason::is_key(&key) {
        return Err(Input::new(
            "`--key` holds other than letters, digits, `-` and `_`, or too many",
        )
        .into());
    }
    Ok(Due {
        cause: Cause::OnDemand,
        key,
        reason,
    })
}

/// What a schedule asks for, at this time of it.
pub(crate) fn scheduled(ctx: &Context, at: crate::clock::Timestamp) -> Due {
    let triggers = ctx.config.triggers.as_ref();
    let schedule = triggers.and_then(|triggers| triggers.schedule.as_ref());
    let text = schedule.map_or_else(
        || "the schedule".to_owned(),
        |schedule| format!("`{} {}`", schedule.text, schedule.time_zone),
    );
    Due {
        cause: Cause::Schedule,
        key: causes::schedule_key(at),
        reason: format!("{text} was due at {at}"),
    }
}

fn print(checked: &Checked, format: Format) -> Result<()> {
    match format {
        Format::Json => println!("{}", message(checked)),
        Format::Text => {
            for line in lines(checked) {
                println!("{line}");
            }
        }
    }
    Ok(())
}

async fn history(ctx: &Context, last: usize, format: Format) -> Result<u8> {
    triggers(ctx)?;
    let (firings, held) = ledger::history(ctx, last).await?;
    match format {
        Format::Json => println!("{}", json!({"fired": firings, "held": held})),
        Format::Text => {
            let lines = text::history(&firings, &held);
            if lines.is_empty() {
                println!("nothing has fired and nothing was held back");
            }
            for line in lines {
                println!("{line}");
            }
        }
    }
    Ok(code::DONE)
}
