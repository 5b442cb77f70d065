//! What the emulator knows of a service before it answers anything: a line of its list for each.

use super::faults::Api;
use super::store::Kind;
use crate::emulator::wire::error::{self, ApiError};
use crate::emulator::wire::http::Dialect;

/// A service.
pub(in crate::emulator) struct Service {
    /// How faults call it.
    pub api: Api,
    /// The documents that it keeps.
    pub kinds: fn() -> Vec<Kind>,
    /// Whether a raw path is its own, also where no method of it answers.
    pub owns: fn(&str) -> bool,
    /// How it writes an error about a raw path of its own.
    pub dialect: fn(&str) -> Dialect,
    /// The error of a method that Google has and this emulator has not; `None` for any other path.
    pub left_out: fn(&str) -> Option<ApiError>,
}

impl Service {
    /// One that writes errors as most do.
    pub(in crate::emulator) const fn new(
        api: Api,
        kinds: fn() -> Vec<Kind>,
        owns: fn(&str) -> bool,
    ) -> Self {
        Self {
            api,
            kinds,
            owns,
            dialect: |_| error::with_status,
            left_out: |_| None,
        }
    }
}
