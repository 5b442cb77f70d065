//! The command line: parse, dispatch, exit code. `--help` is the manual: what a command reads, writes and
//! exits with.
//!
//! A command's flags and its entry, `command`, are one file: beside its step in [`crate::steps`], and below this
//! one where it joins several rooms. Here it has its line in [`Command`] and in [`dispatch`].

mod emulate;
mod listen;
mod run;
mod serve;

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};

use crate::catch_panic;
use crate::exit::{self, code};
use crate::steps::{
    auth, builds, deploy, fit, history, init, lint, monitor, profile, push, replay, train, trigger,
    validate,
};
use crate::{log, process};

const EXITS: &str = "\
Exit codes:
  0    done
  1    rejected by a check, gate or canary
  2    the input is wrong: a flag, a config, a file that cannot be opened or is no table
  3    the cloud failed, after retries, or another build leads the rollout: run it again
  4    a bug
  130  interrupted (SIGINT), 143 terminated (SIGTERM), after cleaning up
  137  killed (SIGKILL), as at a build's time-out or out of memory: nothing was cleaned up, run it again";

/// Every step of a machine-learning cloudbuild.yaml on Google Cloud, and the build itself on a laptop.
#[derive(Debug, Parser)]
#[command(name = "serin", version, after_help = EXITS, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(after_help = EXITS)]
    Lint(lint::Flags),
    #[command(after_help = EXITS)]
    Train(train::Flags),
    #[command(after_help = EXITS)]
    Validate(validate::Flags),
    #[command(after_help = EXITS)]
    Push(push::Flags),
    #[command(after_help = EXITS)]
    Deploy(deploy::Flags),
    #[command(after_help = EXITS)]
    Run(Box<run::Flags>),
    #[command(after_help = EXITS)]
    Emulate(Box<emulate::Flags>),
    #[command(after_help = EXITS)]
    Fit(fit::Flags),
    #[command(after_help = EXITS)]
    Serve(serve::Flags),
    #[command(after_help = format!("{}{EXITS}", profile::EXAMPLES))]
    Profile(profile::Flags),
    #[command(after_help = EXITS)]
    Builds(builds::Flags),
    #[command(after_help = EXITS)]
    History(history::Flags),
    #[command(after_help = EXITS)]
    Init(init::Flags),
    #[command(after_help = EXITS)]
    Trigger(trigger::Flags),
    #[command(after_help = EXITS)]
    Listen(Box<listen::Flags>),
    #[command(after_help = EXITS)]
    Monitor(Box<monitor::Flags>),
    #[command(after_help = EXITS)]
    Replay(Box<replay::Flags>),
    #[command(after_help = EXITS)]
    Auth(auth::Flags),
    /// End the children of a serin that is gone (started by serin itself)
    #[command(hide = true)]
    Watchdog,
}

fn dispatch(command: Command) -> Result<u8> {
    match command {
        Command::Lint(flags) => lint::command(flags),
        Command::Train(flags) => train::command(flags),
        Command::Validate(flags) => validate::command(flags),
        Command::Push(flags) => push::command(flags),
        Command::Deploy(flags) => deploy::command(flags),
        Command::Run(flags) => run::command(*flags),
        Command::Emulate(flags) => emulate::command(*flags),
        Command::Fit(flags) => fit::command(flags),
        Command::Serve(flags) => serve::command(flags),
        Command::Profile(flags) => profile::command(flags),
        Command::Builds(flags) => builds::command(flags),
        Command::History(flags) => history::command(flags),
        Command::Init(flags) => init::command(flags),
        Command::Trigger(flags) => trigger::command(flags),
        Command::Listen(flags) => listen::command(*flags),
        Command::Monitor(flags) => monitor::command(*flags),
        Command::Replay(flags) => replay::command(*flags),
        Command::Auth(flags) => auth::command(flags),
        Command::Watchdog => {
            process::watchdog(std::io::stdin().lock())?;
            Ok(code::DONE)
        }
    }
}

/// Runs the command line of this process to its exit code.
pub fn main() -> ExitCode {
    if !process::wait_for_word() {
        return ExitCode::from(code::TERMINATED);
    }
    std::panic::set_hook(Box::new(report_panic));
    // reqwest is built without a provider of cryptography, so that ring is the only one in the binary.
    let _already_there = rustls::crypto::ring::default_provider().install_default();
    let Cli { command } = Cli::parse();
    // These run as containers of the cloud, whose log takes a line for an entry.
    let logs = matches!(
        command,
        Command::Fit(_) | Command::Serve(_) | Command::Listen(_)
    );
    match std::panic::catch_unwind(|| dispatch(command)) {
        Ok(Ok(code)) => ExitCode::from(code),
        Ok(Err(e)) => {
            if logs {
                log::error(&exit::render(&e));
            } else {
                eprintln!("{}", exit::render(&e));
            }
            ExitCode::from(exit::exit_code(&e))
        }
        Err(_) => ExitCode::from(code::BUG),
    }
}

/// A panic is a bug and says so in one sentence; a reader that went away is not, nor is a damaged file.
fn report_panic(panic: &std::panic::PanicHookInfo<'_>) {
    let text = panic.payload_as_str().unwrap_or("no message");
    if text.contains("Broken pipe") {
        std::process::exit(0);
    }
    if catch_panic::is_catching() {
        return;
    }
    let place = panic
        .location()
        .map(|l| format!(" at {}:{}", l.file(), l.line()));
    eprintln!(
        "error: a bug in serin{}: {text}\nhint: please report it with the command and this message",
        place.unwrap_or_default()
    );
}

fn many_threads() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("starting the runtime")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_is_sound() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}
