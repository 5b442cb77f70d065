//! How a command ends: its exit code, and what an error looks like on standard error.
//!
//! A step that rejects is no error: it returns [`crate::steps::Outcome::Rejected`]. Errors are of
//! four kinds: [`Input`] (the user's files, flags or names), [`gcp::Error`] (the cloud, after
//! retries), [`LeaseError`] (another build leads), and anything else, which is a bug.

use crate::error::{EmulatorError, Input, LeaseError};
use crate::gcp;
use crate::signals::Interrupted;

/// The exit codes, as documented in `--help`.
pub(crate) mod code {
    pub(crate) const DONE: u8 = 0;
    pub(crate) const REJECTED: u8 = 1;
    pub(crate) const INPUT: u8 = 2;
    /// To run the command again may help: the cloud failed, or another build leads the rollout.
    pub(crate) const CLOUD: u8 = 3;
    pub(crate) const BUG: u8 = 4;
    pub(crate) const INTERRUPTED: u8 = 130;
    pub(crate) const TERMINATED: u8 = 143;
}

/// What the user got wrong, also where a request to the cloud failed for it.
fn input(error: &anyhow::Error) -> Option<&Input> {
    let cloud = || error.downcast_ref::<gcp::Error>()?.input.as_deref();
    error.downcast_ref::<Input>().or_else(cloud)
}

/// The exit code for an error: the first typed error in its chain decides.
pub(crate) fn exit_code(error: &anyhow::Error) -> u8 {
    if input(error).is_some() {
        code::INPUT
    } else if error.is::<gcp::Error>() || error.is::<LeaseError>() || error.is::<EmulatorError>() {
        code::CLOUD
    } else if let Some(interrupted) = error.downcast_ref::<Interrupted>() {
        interrupted_by(*interrupted)
    } else {
        code::BUG
    }
}

/// The exit code of a process that a signal ended.
pub(crate) fn interrupted_by(signal: Interrupted) -> u8 {
    match signal {
        Interrupted::Sigint => code::INTERRUPTED,
        Interrupted::Sigterm => code::TERMINATED,
    }
}

/// The text for standard error: the message with its causes, then a drawing and one hint.
pub(crate) fn render(error: &anyhow::Error) -> String {
    let mut text = format!("error: {error:#}");
    if let Some(input) = input(error) {
        if let Some(drawing) = &input.drawing {
            text.push('\n');
            text.push_str(drawing.trim_end());
        }
        if let Some(hint) = &input.hint {
            text.push_str("\nhint: ");
            text.push_str(hint);
        }
    } else if exit_code(error) == code::BUG {
        text.push_str(
            "\nhint: this is unexpected; please report it with the command and this message",
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Place;
    use anyhow::Context;

    #[test]
    fn a_typed_error_is_found_through_contexts() {
        let input = Input::new("unknown field `modle`")
            .at(Place::Text {
                path: "serin.yaml".into(),
                line: 3,
                column: 1,
            })
            .hint("did you mean `model`?");
        let error = Err::<(), _>(input)
            .context("reading the config")
            .unwrap_err();
        assert_eq!(exit_code(&error), code::INPUT);
        assert_eq!(
            render(&error),
            "error: reading the config: serin.yaml:3:1: unknown field `modle`\nhint: did you mean `model`?"
        );
    }

    #[test]
    fn a_lease_that_another_build_holds_asks_for_another_run() {
        let lease = "gs://b/rollouts/l/e/journal.json".to_owned();
        let error = anyhow::Error::new(LeaseError::Lost { lease }).context("rolling out");
        assert_eq!(exit_code(&error), code::CLOUD);
        assert_eq!(
            render(&error),
            "error: rolling out: gs://b/rollouts/l/e/journal.json: another build has taken over the rollout to this \
             endpoint; run `serin deploy` again when it is done"
        );
    }

    #[test]
    fn anything_else_is_a_bug() {
        let error = anyhow::anyhow!("a surprise");
        assert_eq!(exit_code(&error), code::BUG);
        assert!(render(&error).contains("please report it"));
    }
}
