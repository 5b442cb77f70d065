//! The one integration binary: one module a behaviour.

#![allow(clippy::unwrap_used, reason = "a failed test may panic")]

mod builds;
mod clients;
mod commands;
mod emulate;
mod harness;
mod init;
mod kills;
mod main_job;
mod profile;
mod rejections;
mod rooms;
mod schema;
