//! The one integration binary: one module a behaviour.

#![allow(clippy::unwrap_used, reason = "a failed test may panic")]

mod clients;
mod commands;
mod crowd;
mod emulate;
mod harness;
mod init;
mod kills;
mod main_job;
mod rejections;
mod rooms;
mod seeds;
