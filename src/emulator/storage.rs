//! Cloud Storage, the JSON API.

use std::sync::Arc;

use super::Emulator;
use super::server::Route;

#[derive(Default)]
pub(in crate::emulator) struct Runtime;

pub(in crate::emulator) fn routes() -> Vec<Route> {
    Vec::new()
}

pub(in crate::emulator) fn start(_emulator: &Arc<Emulator>) -> anyhow::Result<()> {
    Ok(())
}
