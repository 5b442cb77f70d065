//! Clients of Google Cloud's public REST APIs: the one HTTP path, and a struct a service over it.
//!
//! Knows no step. Methods carry Google's names in snake case and say whether they may be sent twice.
//! The same requests go to Google or to an emulator; only the base URLs differ.

// Until a step calls it.
pub(crate) mod bigquery;
mod call;
pub(crate) mod certs;
mod client;
pub(crate) mod cloud_build;
mod connections;
mod endpoint;
mod error;
pub(crate) mod eventarc;
pub(crate) mod logging;
pub(crate) mod monitoring;
mod names;
mod operations;
pub(crate) mod pubsub;
mod rest;
mod retry;
pub(crate) mod run;
pub(crate) mod scheduler;
#[cfg(test)]
pub(crate) mod scripted;
pub(crate) mod source_repos;
pub(crate) mod storage;
mod token;
pub(crate) mod vertex;
mod wire;

pub use client::Client;
pub(crate) use endpoint::Api;
pub use endpoint::Redirect;
pub use error::{Error, Status};
pub use logging::{LogEntry, Logging};
pub use monitoring::Monitoring;
pub use names::{GsUri, is_of_key, resource_id, resource_version, same_resource};
pub use operations::Operation;
pub use storage::{Bucket, Object, Precondition, Storage};
pub use token::{Access, Principal};
pub use vertex::Vertex;
