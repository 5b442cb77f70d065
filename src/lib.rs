//! serin: every step of a machine-learning `cloudbuild.yaml` on Google Cloud, in one binary.
//!
//! Each module is a room; the arrows between them are in `docs/architecture.md` and held by a
//! test (`tests/it/rooms.rs`). The binary is `main.rs` over [`cli`]; the library exists so that
//! tests and benches see the rooms.

#![warn(unreachable_pub)]
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a failed test may panic"))]

// First, because its macros are everybody's.
#[macro_use]
mod printable;

mod catch_panic;
pub mod cli;
pub mod clock;
mod cloudbuild;
pub mod config;
mod cron;
pub mod data;
mod defaults;
pub mod emulator;
mod engine;
mod error;
mod exit;
pub mod gcp;
mod image;
mod listen;
mod log;
pub mod model;
mod pattern;
mod process;
mod report;
mod serve;
mod settings;
mod signals;
pub mod steps;
pub mod workspace;
