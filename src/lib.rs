//! serin: every step of a machine-learning `cloudbuild.yaml` on Google Cloud, in one binary.
//!
//! Each module is a room; the arrows between them are in `docs/architecture.md` and held by a
//! test (`tests/it/rooms.rs`). The binary is `main.rs` over [`cli`]; the library exists so that
//! tests and benches see the rooms.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a failed test may panic"))]

// First, because its macros are everybody's.
#[macro_use]
pub mod printable;

pub mod catch_panic;
pub mod cli;
pub mod clock;
pub mod cloudbuild;
pub mod config;
pub mod data;
pub mod emulator;
pub mod engine;
pub mod error;
pub mod exit;
pub mod gcp;
pub mod image;
mod listen;
pub mod log;
pub mod model;
pub mod process;
pub mod report;
pub mod serve;
mod settings;
pub mod signals;
pub mod steps;
pub mod workspace;
