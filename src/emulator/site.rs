//! The emulator that answers now, and how its whole state is kept, emptied and exchanged: `GET /health`,
//! `POST /_serin/reset` and `/_serin/snapshots`.
//!
//! To exchange a state is to stop the emulator on it in order and to start another one on the next, while the
//! port stays open and the clock goes on: requests wait meanwhile.

use std::fs::File;
use std::io::ErrorKind;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::http::Method;
use axum::http::request::Parts;
use serde_json::{Value, json};
use tokio::sync::{Mutex, Notify, RwLock, RwLockWriteGuard};

use super::core::store::{Store, folder, snapshot};
use super::wire::error::ApiError;
use super::wire::http::{Answer, Reply, Table};
use super::{Emulator, Setup, kinds, monitoring, still, table, tunnel};

/// Real time that requests under way are given before the state goes.
const PATIENCE: Duration = Duration::from_secs(2);

/// Where emulators answer, one after the other.
pub(super) struct Site {
    pub(super) setup: Setup,
    pub(super) tunnels: tunnel::Tunnels,
    /// Held for reading by each request. None once it has ended, or where a state could not be started on.
    pub(super) live: RwLock<Option<Live>>,
    /// Tells requests under way that they end now.
    pub(super) leave: Notify,
    /// Held by whoever handles the state as a whole.
    changing: Mutex<()>,
}

/// An emulator and the methods of its services.
pub(super) struct Live {
    pub(super) emulator: Arc<Emulator>,
    pub(super) table: Table,
}

impl Live {
    fn of(emulator: Arc<Emulator>) -> Self {
        Self {
            table: table(&emulator),
            emulator,
        }
    }
}

impl Site {
    /// A site at which an emulator answers.
    ///
    /// # Errors
    /// When its proxy cannot be made.
    pub(super) fn new(setup: Setup, emulator: Arc<Emulator>) -> anyhow::Result<Self> {
        Ok(Self {
            setup,
            tunnels: tunnel::Tunnels::new()?,
            live: RwLock::new(Some(Live::of(emulator))),
            leave: Notify::new(),
            changing: Mutex::default(),
        })
    }

    /// Ends the emulator, writes the state and unlocks its folder.
    pub(super) async fn close(&self) {
        let _changing = self.changing.lock().await;
        let Some(live) = self.alone().await.take() else {
            return;
        };
        still(&live.emulator).await;
        let store = &live.emulator.core.store;
        let written = self.setup.keeper.settle(store);
        if let Err(error) = written.and_then(|()| store.close()) {
            eprintln!("warning: the emulator's state: {error}");
        }
    }

    /// Waits until no request is under way, and lets no other begin.
    async fn alone(&self) -> RwLockWriteGuard<'_, Option<Live>> {
        let mut gate = pin!(self.live.write());
        let mut patience = PATIENCE;
        loop {
            tokio::select! {
                gate = &mut gate => return gate,
                () = tokio::time::sleep(patience) => self.leave.notify_waiters(),
            }
            // One that had just begun may have missed it.
            patience = PATIENCE / 20;
        }
    }

    /// Puts a snapshot, or an empty state with the seed, in the place of the state.
    async fn replace(&self, snapshot: Option<&str>) -> Result<(), ApiError> {
        let _changing = self.changing.lock().await;
        let state = &self.setup.options.state;
        let folder = snapshot::stage(state, snapshot).map_err(|e| match (e.kind(), snapshot) {
            (ErrorKind::NotFound, Some(name)) => unknown(name),
            _ => e.into(),
        })?;
        // A damaged snapshot is found out while the present state is there.
        let staged = Store::at(&folder, kinds(), None).map_err(internal)?;
        let mut live = self.alone().await;
        let Some(before) = live.take() else {
            return Err(stopped());
        };
        still(&before.emulator).await;
        let keeper = &self.setup.keeper;
        let store = &before.emulator.core.store;
        let lock = keeper.settle(store).and_then(|()| store.finish())?;
        let swapped = keeper
            .hand_over(&staged)
            .and_then(|()| staged.go_on_counting(store))
            .and_then(|()| snapshot::swap(state));
        // Where the disk refused it is the state before that is gone on with.
        *live = Some(self.start(lock, snapshot).await.map_err(internal)?);
        Ok(swapped?)
    }

    async fn start(&self, lock: Option<File>, snapshot: Option<&str>) -> anyhow::Result<Live> {
        let folder = self.setup.options.state.join(folder::EMULATOR);
        let store = Store::at(&folder, kinds(), lock)?;
        let seed = self.setup.options.seed.clone();
        let seed = seed.filter(|_| snapshot.is_none());
        Ok(Live::of(self.setup.make(store, seed).await?.0))
    }

    /// Makes a snapshot, as a kill would leave the state at one instant.
    async fn save(&self, name: &str) -> Result<(), ApiError> {
        let _changing = self.changing.lock().await;
        let emulator = {
            let live = self.live.read().await;
            live.as_ref().ok_or_else(stopped)?.emulator.clone()
        };
        monitoring::keep(&emulator.monitoring);
        let name = name.to_owned();
        let saved = tokio::task::spawn_blocking(move || emulator.core.store.save(&name));
        Ok(saved.await.map_err(|e| internal(e.into()))??)
    }

    /// Answers what is asked of the state as a whole; `None` for any other path.
    pub(super) async fn answer(self: &Arc<Self>, head: &Parts) -> Option<Answer> {
        let path = head.uri.path();
        if path == "/health" && matches!(head.method, Method::GET | Method::HEAD) {
            return Some(Ok(Reply::Json(json!({
                "status": "SERVING",
                "version": env!("CARGO_PKG_VERSION"),
                "timeScale": self.setup.keeper.clock.scale(),
            }))));
        }
        let what = path.strip_prefix("/_serin/")?;
        let snapshot = what.strip_prefix("snapshots/").map(|rest| {
            let (name, verb) = rest.split_once(':').unwrap_or((rest, ""));
            (name.to_owned(), verb.to_owned())
        });
        let (site, method) = (self.clone(), head.method.clone());
        let reset = what == "reset" && method == Method::POST;
        if !reset && what != "snapshots" && snapshot.is_none() {
            return None;
        }
        if let Err(refused) = self.setup.guard.check(head) {
            return Some(Err(refused));
        }
        // A client that goes must not stop it half-way.
        let done = tokio::spawn(async move {
            let Some((name, verb)) = &snapshot else {
                return match method {
                    Method::POST if reset => site.replace(None).await.map(|()| json!({})),
                    Method::GET => site.list(),
                    _ => Err(no_method(&method, "_serin/snapshots")),
                };
            };
            if !snapshot::is_name(name) {
                return Err(ApiError::invalid_argument(format!(
                    "\"{}\" is no name of a snapshot: at most 64 lower-case letters, digits, dots, dashes and underscores, not beginning with a dot.",
                    name.get(..80).unwrap_or(name)
                )));
            }
            match (&method, verb.as_str()) {
                (&Method::POST, "") => site.save(name).await?,
                (&Method::POST, "load") => site.replace(Some(name)).await?,
                (&Method::DELETE, "") => {
                    let _changing = site.changing.lock().await;
                    if !snapshot::remove(&site.setup.options.state, name)? {
                        return Err(unknown(name));
                    }
                }
                _ => return Err(no_method(&method, "_serin/snapshots/NAME")),
            }
            Ok(json!({ "name": name }))
        });
        let done = done.await.unwrap_or_else(|e| Err(internal(e.into())));
        Some(done.map(Reply::Json))
    }

    fn list(&self) -> Result<Value, ApiError> {
        let names = snapshot::names(&self.setup.options.state)?;
        let names: Vec<_> = names.iter().map(|name| json!({ "name": name })).collect();
        Ok(json!({ "snapshots": names }))
    }
}

fn unknown(name: &str) -> ApiError {
    ApiError::not_found(format!("There is no snapshot \"{name}\"."))
}

fn no_method(method: &Method, path: &str) -> ApiError {
    ApiError::not_found(format!("The emulator has no method for {method} {path}."))
}

/// The answer where nothing answers.
pub(super) fn stopped() -> ApiError {
    ApiError::unavailable("The emulator has ended, or could not be started on its new state.")
}

/// The answer to a request that was under way when the state went.
pub(super) fn left() -> ApiError {
    ApiError::unavailable("The emulator's state was exchanged while the request was under way.")
}

fn internal(error: anyhow::Error) -> ApiError {
    let message = format!("{error:#}");
    eprintln!("warning: the emulator's state: {message}");
    ApiError::internal(message)
}
