//! The one integration binary: one module a behaviour.

#![allow(clippy::unwrap_used, reason = "a failed test may panic")]

mod auth;
mod bigquery;
mod bigquery_faults;
mod bucket;
mod builds;
mod canary;
mod clients;
mod cloud_parts;
mod cloudbuild;
mod commands;
mod configs;
mod container_logs;
mod containers;
mod crowd;
mod damage;
mod docker;
mod emulate;
mod encryption;
mod foreign_storage;
mod guard;
mod harness;
mod hostile;
mod init;
mod kills;
mod lint;
mod main_job;
mod own_image;
mod profile;
mod readme;
mod reference;
mod registry;
mod rejections;
mod restarts;
mod rollout;
mod rooms;
mod schema;
mod seeds;
mod sent;
mod serve;
mod standin;
mod states;
mod support;
mod terminal;
mod watched;
