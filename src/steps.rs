//! The five steps of a build, one file each, and what they share.

pub mod init;
pub mod lint;

use crate::error::code;

/// How a command ended when nothing went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Done,
    /// A check, gate or canary said no.
    Rejected,
}

impl Outcome {
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Done => code::DONE,
            Self::Rejected => code::REJECTED,
        }
    }
}

/// What every step that speaks to the cloud has at hand.
pub struct Context {
    pub config: crate::config::Config,
    pub workspace: crate::workspace::Workspace,
    pub clock: crate::clock::Clock,
    pub project: String,
    pub region: String,
}
