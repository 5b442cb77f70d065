//! The keys that callers' tokens are signed by: fetched when one is needed, kept for as long as their server says.

use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use crate::gcp::Client;
use crate::gcp::certs::Jwk;
use crate::log;

/// How long fetching may take, with its retries: callers wait for it.
const FETCHED_WITHIN: Duration = Duration::from_secs(8);
/// Keys are kept at least so long, whatever their server says.
const LEAST_AGE: Duration = Duration::from_secs(60);
/// A key that is not among the known ones has them fetched again, at most so often.
const UNKNOWN_APART: Duration = Duration::from_secs(60);
/// Keys that could not be renewed are good for so much longer.
const GRACE: Duration = Duration::from_secs(24 * 3600);

/// The keys of one address.
pub(super) struct Keys {
    client: Client,
    url: String,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    keys: Vec<Jwk>,
    /// Until when they need not be fetched.
    fresh: Option<Instant>,
    tried: Option<Instant>,
}

/// What became of the search for a key.
pub(super) enum Found {
    Key(Jwk),
    /// There is no such key.
    Unknown,
    /// The keys cannot be had at present.
    Unavailable,
}

impl Keys {
    pub(super) fn new(client: &Client, url: String) -> Self {
        Self {
            client: client.clone(),
            url,
            known: Mutex::default(),
        }
    }

    /// The key of an id. While one caller has the keys fetched, others wait for them.
    pub(super) async fn find(&self, id: &str) -> Found {
        let mut known = self.known.lock().await;
        let now = Instant::now();
        let is_fresh = known.fresh.is_some_and(|until| now < until);
        if is_fresh && let Some(key) = known.find(id) {
            return Found::Key(key);
        }
        let rests = known
            .tried
            .is_some_and(|at| now.duration_since(at) < UNKNOWN_APART);
        let fetched = if is_fresh && rests {
            true
        } else {
            self.fetch(&mut known, now).await
        };
        let good = known.fresh.is_some_and(|until| now < until + GRACE);
        match known.find(id) {
            Some(key) if good => Found::Key(key),
            _ if fetched => Found::Unknown,
            _ => Found::Unavailable,
        }
    }

    async fn fetch(&self, known: &mut Known, now: Instant) -> bool {
        known.tried = Some(now);
        let fetched = tokio::time::timeout(FETCHED_WITHIN, self.client.certs(&self.url)).await;
        match fetched {
            Ok(Ok(certs)) => {
                known.keys = certs.keys;
                known.fresh = Some(now + certs.max_age.max(LEAST_AGE));
                true
            }
            Ok(Err(e)) => {
                log::error(&format!(
                    "the keys of callers' tokens cannot be fetched: {e}"
                ));
                false
            }
            Err(_) => {
                let url = &self.url;
                log::error(&format!(
                    "the keys of callers' tokens did not come in time from {url}"
                ));
                false
            }
        }
    }
}

impl Known {
    fn find(&self, id: &str) -> Option<Jwk> {
        self.keys.iter().find(|key| key.kid == id).cloned()
    }
}
