//! The public keys by which Google signs ID tokens, as a JSON Web Key Set.

use std::time::Duration;

use reqwest::Method;
use reqwest::header::CACHE_CONTROL;
use serde::Deserialize;

use super::client::Client;
use super::endpoint::Base;
use super::error::Error;
use super::retry::Idempotency;

/// Google's keys.
pub(crate) const GOOGLE: &str = "https://www.googleapis.com/oauth2/v3/certs";
/// The path of the keys of an emulator.
const PATH: &str = "/oauth2/v3/certs";

/// The keys, and how long they may be kept.
pub(crate) struct Certs {
    pub keys: Vec<Jwk>,
    pub max_age: Duration,
}

/// An RSA key.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Jwk {
    #[serde(default)]
    pub kid: String,
    #[serde(default)]
    pub kty: String,
    /// The modulus and the exponent, in base64 for URLs.
    #[serde(default)]
    pub n: String,
    #[serde(default)]
    pub e: String,
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<Jwk>,
}

impl Client {
    /// Where the keys are of those who call this machine: Google's, or an emulator's in a rehearsal.
    pub(crate) fn certs_url(&self) -> String {
        let storage = &self.bases().storage;
        match storage.google {
            true => GOOGLE.to_owned(),
            false => format!("{}{PATH}", storage.url),
        }
    }

    /// The keys at a URL, without a token. May be sent twice.
    ///
    /// # Errors
    /// When none come.
    pub(crate) async fn certs(&self, url: &str) -> Result<Certs, Error> {
        let base = Base {
            url: url.to_owned(),
            google: false,
            host: None,
        };
        let call = base.call("certs", url, Method::GET, "", Idempotency::Always);
        let reply = self.send(&call).await?;
        let set: KeySet = reply.json(&call)?;
        let max_age = reply
            .headers
            .get(CACHE_CONTROL)
            .and_then(|value| max_age(value.to_str().ok()?));
        Ok(Certs {
            keys: set.keys,
            max_age: max_age.unwrap_or_default(),
        })
    }
}

/// How long an answer may be kept, as its `Cache-Control` says.
fn max_age(header: &str) -> Option<Duration> {
    let directives = header.split(',').map(str::trim);
    let mut ages = directives.filter_map(|d| d.strip_prefix("max-age="));
    ages.next()?.parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_long_keys_may_be_kept_is_read() {
        let seconds = |header| max_age(header).map(|age| age.as_secs());
        assert_eq!(seconds("public, max-age=300, must-revalidate"), Some(300));
        assert_eq!(seconds("no-store"), None);
        assert_eq!(seconds("max-age=x"), None);
    }
}
