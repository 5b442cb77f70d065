//! Cloud Source Repositories: the resource ([`repos`]), the repositories on disk ([`folder`]), and git's
//! protocol over HTTP ([`http`]), which is that of git's own `http-backend`.
//!
//! A repository's document says which commits its refs had when their changes were last taken note of, and which
//! changes nobody has acted on yet. So a change is acted on once, whatever is killed in between: what the refs on
//! disk say beyond the document is a change that is still to be noted.
//!
//! Left out: mirrors, notifications to Pub/Sub, policies.

mod folder;
pub(in crate::emulator) mod http;
mod repos;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedMutexGuard, Semaphore, watch};

use crate::emulator::core::Core;
use crate::emulator::core::faults::Api;
use crate::emulator::core::numbers::project_number;
use crate::emulator::core::service::Service;
use crate::emulator::core::store::{Kind, kind};
use crate::emulator::wire::error::{self, ApiError};

pub(in crate::emulator) use folder::RefUpdate;
pub(in crate::emulator) use repos::routes;

/// Processes of git that serve requests at a time.
const MOST_PROCESSES: u32 = 8;

/// The service, with what it keeps in memory only.
pub(in crate::emulator) struct SourceRepos {
    core: Arc<Core>,
    /// The most bytes of one push.
    most_bytes: u64,
    /// Held by whoever changes a repository, by their keys.
    locks: Mutex<BTreeMap<String, Arc<tokio::sync::Mutex<()>>>>,
    places: Arc<Semaphore>,
    closing: watch::Sender<bool>,
}

impl SourceRepos {
    /// With nothing at work; a push may have `most_bytes`.
    pub(in crate::emulator) fn new(core: Arc<Core>, most_bytes: u64) -> Self {
        Self {
            core,
            most_bytes,
            locks: Mutex::default(),
            places: Arc::new(Semaphore::new(MOST_PROCESSES as usize)),
            closing: watch::Sender::new(false),
        }
    }

    /// The repository of a project and name, if there is one.
    pub(in crate::emulator) fn find(&self, project: &str, name: &str) -> Option<Repo> {
        self.core.store.get(&key(project, name))
    }

    /// The repository that an address names: that of Google's, or the emulator's own.
    pub(in crate::emulator) fn find_by_address(&self, address: &str) -> Option<Repo> {
        let (scheme, rest) = address.split_once("://")?;
        let (host, path) = rest.split_once('/')?;
        let host = host.rsplit('@').next().unwrap_or(host);
        let port = self.core.url.rsplit(':').next().unwrap_or_default();
        let own = scheme == "http"
            && host.rsplit_once(':').is_some_and(|(name, own_port)| {
                own_port == port && matches!(name, "127.0.0.1" | "localhost")
            });
        if !own && (scheme, host) != ("https", GOOGLES_HOST) {
            return None;
        }
        let (project, name) = path.strip_prefix("p/")?.split_once("/r/")?;
        self.find(project, name.trim_end_matches('/'))
    }

    /// Every repository.
    pub(in crate::emulator) fn all(&self) -> Vec<Repo> {
        let all = self.core.store.list(KEYS).into_iter();
        all.map(|(_, repo)| repo).collect()
    }

    /// Where a repository is on disk.
    pub(in crate::emulator) fn path(&self, repo: &Repo) -> PathBuf {
        self.core.store.repositories().join(&repo.folder)
    }

    /// Waits until nobody else changes a repository.
    pub(in crate::emulator) async fn lock(&self, repo: &Repo) -> OwnedMutexGuard<()> {
        let lock = {
            let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
            locks.entry(repo.key()).or_default().clone()
        };
        lock.lock_owned().await
    }

    /// Takes note of what changed in a repository since the last time; the changes are also in the document
    /// until [`SourceRepos::done`]. The caller holds the lock.
    ///
    /// # Errors
    /// When git cannot read the repository, or the disk refuses.
    pub(in crate::emulator) async fn note(&self, repo: &Repo) -> Result<Vec<RefUpdate>, ApiError> {
        let refs = folder::refs(&self.core, &self.path(repo)).await?;
        folder::point_head(&self.path(repo), &refs)?;
        let Some(known) = self.core.store.get::<Repo>(&repo.key()) else {
            return Ok(Vec::new());
        };
        if known.refs == refs {
            return Ok(known.updates);
        }
        let mut updates = folder::changes(&known.refs, &refs);
        for update in &mut updates {
            update.id = self.core.store.next_id("sourcerepo")?;
        }
        self.core.store.update(&repo.key(), |repo: &mut Repo| {
            repo.refs = refs;
            repo.updates.append(&mut updates);
            Ok(repo.updates.clone())
        })
    }

    /// Forgets a change, on which somebody has acted.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(in crate::emulator) fn done(&self, repo: &Repo, id: u64) -> Result<(), ApiError> {
        let done = self.core.store.update(&repo.key(), |repo: &mut Repo| {
            repo.updates.retain(|update| update.id != id);
            Ok(())
        });
        match done {
            // It was deleted meanwhile.
            Err(error) if error.code == 404 => Ok(()),
            done => done,
        }
    }
}

/// The host of the addresses that Google gives to repositories.
const GOOGLES_HOST: &str = "source.developers.google.com";
/// How the keys of repositories begin.
const KEYS: &str = "sourcerepo/repos/";

/// A repository's document.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::emulator) struct Repo {
    /// As whoever created it called it: an id or a number.
    pub project: String,
    pub name: String,
    /// Its folder below those of the state; never used again.
    folder: String,
    /// The refs, and what each named when that was last taken note of.
    refs: BTreeMap<String, String>,
    /// The changes on which nobody has acted, in order.
    updates: Vec<RefUpdate>,
}

impl Repo {
    fn key(&self) -> String {
        key(&self.project, &self.name)
    }
}

/// The key of a repository's document.
fn key(project: &str, name: &str) -> String {
    format!("{KEYS}{}/{name}", project_number(project))
}

pub(in crate::emulator) const SERVICE: Service = Service {
    dialect: |path| match path.starts_with("/p/") {
        true => as_text,
        false => error::with_status,
    },
    ..Service::new(Api::SourceRepos, kinds, owns)
};

/// The paths of git's, and those of the resource.
fn owns(path: &str) -> bool {
    let mut segments = path.split('/').skip(1);
    match segments.next() {
        Some("p") => segments.nth(1) == Some("r"),
        Some("v1") => segments.nth(1).is_some() && segments.next() == Some("repos"),
        _ => false,
    }
}

/// An error as git shows it to its user: it prints plain text, and nothing else.
fn as_text(error: &ApiError) -> (&'static str, String) {
    ("text/plain; charset=UTF-8", format!("{}\n", error.message))
}

fn kinds() -> Vec<Kind> {
    vec![kind::<Repo>("sourcerepo/repos/*/**")]
}

/// Removes what a kill left: folders of no repository, and locks of processes that are gone.
///
/// # Errors
/// When the disk refuses.
pub(in crate::emulator) fn start(repos: &SourceRepos) -> std::io::Result<()> {
    let known: Vec<String> = repos.all().into_iter().map(|repo| repo.folder).collect();
    folder::sweep(repos.core.store.repositories(), &known)
}

/// Ends every process that serves a request, before the emulator's own end.
pub(in crate::emulator) async fn stop(repos: &SourceRepos) {
    repos.closing.send_replace(true);
    // Each of them holds a place until its process is gone.
    let _gone = repos.places.acquire_many(MOST_PROCESSES).await;
}
