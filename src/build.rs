//! Runs a `cloudbuild.yaml` on this machine as Cloud Build would, and says what Cloud Build would refuse.
//!
//! The way of a file: [`yaml`] reads it into nodes, [`config`] into typed fields, [`validate`] holds
//! Cloud Build's limits and rules against them, [`substitute`] fills in the substitutions, all of it
//! led by [`resolve`]. [`runner`] then runs the steps in the order that [`schedule`] gives.
//!
//! Where the tools of Google differ among each other, `gcloud builds submit` is followed. One thing is
//! different on purpose: built-ins such as `$COMMIT_SHA`, which a manual build leaves empty, are filled
//! from the git checkout, with a warning.

mod config;
mod git;
mod glob;
mod image;
mod log;
mod problem;
mod resolve;
mod runner;
mod schedule;
mod source;
mod substitute;
mod validate;
mod yaml;

#[cfg(test)]
mod corpus;

pub use image::HostImage;
pub use resolve::{Builtins, Resolved, parse_substitutions, resolve};
pub use runner::{BuiltImage, RunOptions, RunReport, StepReport, run};
pub use schedule::Status;
