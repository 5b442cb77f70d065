//! SIGINT and SIGTERM, which ask this process to end.

use anyhow::{Context as _, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// A signal asked this process to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Interrupted {
    #[error("interrupted by SIGINT")]
    Sigint,
    #[error("interrupted by SIGTERM")]
    Sigterm,
}

/// The two signals from the moment of [`Signals::listen`] on; until it is dropped none is lost.
#[derive(Debug)]
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// # Errors
    /// Where a handler cannot be installed; the signals then keep their default effect.
    pub(crate) fn listen() -> Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).context("listening for SIGTERM")?,
            interrupt: signal(SignalKind::interrupt()).context("listening for SIGINT")?,
        })
    }

    /// Waits for the next of them.
    pub(crate) async fn next(&mut self) -> Interrupted {
        tokio::select! {
            _ = self.interrupt.recv() => Interrupted::Sigint,
            _ = self.terminate.recv() => Interrupted::Sigterm,
        }
    }
}

/// Waits for SIGINT or SIGTERM.
///
/// Where the handlers cannot be installed this never ends, and the signals keep their default effect.
pub(crate) async fn interrupted() -> Interrupted {
    match Signals::listen() {
        Ok(mut signals) => signals.next().await,
        Err(_) => std::future::pending().await,
    }
}
