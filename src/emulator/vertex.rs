use std::sync::Arc;

use super::Emulator;
use super::error::ApiError;
use super::operations::Operation;
use super::server::Route;

#[derive(Default)]
pub(in crate::emulator) struct Runtime;

pub(in crate::emulator) fn routes() -> Vec<Route> {
    Vec::new()
}

/// Takes up what the state says is running, at the emulator's start.
pub(in crate::emulator) async fn start(_emulator: &Arc<Emulator>) -> anyhow::Result<()> {
    Ok(())
}

/// Ends the children.
pub(in crate::emulator) async fn stop(_emulator: &Arc<Emulator>) {}

/// Does the work of an operation once its time is over: first run and after a restart alike.
pub(in crate::emulator) async fn resume(
    _emulator: &Arc<Emulator>,
    operation: &Operation,
) -> Result<serde_json::Value, ApiError> {
    Err(ApiError::unimplemented(operation.name.clone()))
}
