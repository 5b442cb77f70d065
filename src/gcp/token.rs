//! Access tokens: found where Google's tools leave their credentials, only when one is needed; kept, and
//! renewed before they end.
//!
//! One call here is one try. Who calls tries again, as with every request: see [`NoToken`].

mod exchange;
mod file;
mod places;

use std::fmt;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::Mutex;

pub(super) use self::places::{Metadata, Places};

use self::exchange::{Fetched, FromGcloud, LOGIN_HINT, SCOPE};
use self::file::Credentials;
use self::places::Source;
use super::connections::Connections;
use super::error::{Effect, Error};
use super::retry::Failed;
use crate::clock::Timestamp;
use crate::error::Input;

/// A token is renewed so long before its end: later than a metadata server does so itself, which keeps
/// its own until five minutes before.
const EARLY: Duration = Duration::from_secs(240);
/// Where that fails, the next try is so much later, as long as the token is good.
const RENEW_AGAIN: Duration = Duration::from_secs(15);
/// A token that ends so soon is not sent any more.
const LAST_USE: Duration = Duration::from_secs(20);

/// The source of tokens.
pub(super) struct Tokens {
    places: Places,
    found: Mutex<Found>,
}

/// The source in use and its token; a source is looked for until there is one.
#[derive(Default)]
struct Found {
    source: Option<Source>,
    kept: Option<Kept>,
    /// How many tokens there were.
    number: u64,
}

/// A token with what is known about it; what it is stays out of messages, so there is no `Debug`.
struct Kept {
    bearer: String,
    until: Timestamp,
    renew: Timestamp,
    scopes: Option<Vec<String>>,
    account: Option<String>,
    quota_project: Option<String>,
    number: u64,
}

/// A token to send.
pub(super) struct Token {
    pub bearer: String,
    /// The project that the request is counted for.
    pub quota_project: Option<String>,
    number: u64,
}

/// Why there is no token.
pub(super) enum NoToken {
    /// Something to set right.
    Wrong(Box<Input>),
    /// It may be there at the next try.
    Passing(String),
}

impl NoToken {
    fn wrong(input: Input) -> Self {
        Self::Wrong(Box::new(input))
    }

    fn no_client(why: &str) -> Self {
        Self::wrong(Input::new(format!("no HTTP client: {why}")))
    }

    /// A call that failed for it, before it was sent.
    pub(super) fn failed(self, method: &'static str, resource: &str) -> Failed {
        match self {
            Self::Wrong(input) => {
                let error = Error {
                    input: Some(input),
                    ..Error::new(
                        method,
                        resource,
                        "UNAUTHENTICATED",
                        "there is no access token",
                    )
                };
                Failed::new(error, Effect::Settled)
            }
            Self::Passing(why) => {
                let message = format!("there is no access token: {why}");
                let error = Error::new(method, resource, "UNAVAILABLE", message);
                Failed::new(error, Effect::None)
            }
        }
    }
}

/// Who requests to Google are made as, for a person to see.
#[derive(Clone, Debug, Serialize)]
pub struct Access {
    pub principal: Principal,
    /// A file, a metadata server, gcloud.
    pub source: String,
    /// The project that requests are counted for, where it is not the account's own.
    pub quota_project: Option<String>,
    /// When the token ends that is at hand; it is renewed before.
    pub valid_until: Timestamp,
    pub scopes: Vec<String>,
}

/// An account, as far as its credentials tell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", content = "name", rename_all = "snake_case")]
pub enum Principal {
    /// By its address; a metadata server may not tell it.
    ServiceAccount(Option<String>),
    User(Option<String>),
    /// An identity of another provider, by the audience that names the provider.
    Federated(String),
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ServiceAccount(Some(email)) => write!(f, "the service account {email}"),
            Self::ServiceAccount(None) => {
                f.write_str("a service account, whose address the metadata server does not tell")
            }
            Self::User(Some(email)) => write!(f, "the user {email}"),
            Self::User(None) => f.write_str("a user, whose address the credentials do not tell"),
            Self::Federated(audience) => write!(f, "an identity of {audience}"),
        }
    }
}

impl Tokens {
    /// Looks in these places, at the first use.
    pub(super) fn at(places: Places) -> Self {
        Self {
            places,
            found: Mutex::default(),
        }
    }

    /// A token that is good for some seconds at least.
    pub(super) async fn get(&self, connections: &Connections) -> Result<Token, NoToken> {
        let mut found = self.found.lock().await;
        let kept = found.token(&self.places, connections).await?;
        let quota_project = self.places.quota_project.clone();
        Ok(Token {
            bearer: kept.bearer.clone(),
            quota_project: quota_project.or_else(|| kept.quota_project.clone()),
            number: kept.number,
        })
    }

    /// Drops a token that Google refused, so that the next is another.
    pub(super) async fn forget(&self, token: &Token) {
        let mut found = self.found.lock().await;
        if found.number == token.number {
            found.kept = None;
        }
    }

    /// What there is to tell about the token.
    pub(super) async fn access(&self, connections: &Connections) -> Result<Access, NoToken> {
        let mut found = self.found.lock().await;
        let kept = found.token(&self.places, connections).await?;
        let (account, scopes) = (kept.account.clone(), kept.scopes.clone());
        let valid_until = kept.until;
        let quota_project = self.places.quota_project.clone();
        let quota_project = quota_project.or_else(|| kept.quota_project.clone());
        let (principal, source, scopes) = match &found.source {
            Some(Source::File { path, credentials }) => (
                principal(credentials),
                path.display().to_string(),
                scopes.unwrap_or_else(|| vec![SCOPE.to_owned()]),
            ),
            Some(Source::Metadata { host }) => {
                // A page more to read; what it says changes no request.
                let limit = connections.limits.metadata;
                let read = async |what| {
                    let text = exchange::metadata(host, what, connections, limit).await;
                    text.ok().map(|text| text.trim().to_owned())
                };
                let email = read("email").await.filter(|email| email.contains('@'));
                let scopes = read("scopes").await.unwrap_or_default();
                (
                    Principal::ServiceAccount(email),
                    format!("the metadata server at {host}"),
                    scopes.lines().map(str::to_owned).collect(),
                )
            }
            Some(Source::Gcloud) | None => {
                let principal = match account {
                    Some(account) if account.ends_with(".gserviceaccount.com") => {
                        Principal::ServiceAccount(Some(account))
                    }
                    account => Principal::User(account),
                };
                (principal, "gcloud".to_owned(), scopes.unwrap_or_default())
            }
        };
        Ok(Access {
            principal,
            source,
            quota_project,
            valid_until,
            scopes,
        })
    }
}

impl Found {
    /// The token at hand, fetched or renewed where it is time.
    async fn token(
        &mut self,
        places: &Places,
        connections: &Connections,
    ) -> Result<&Kept, NoToken> {
        let now = Timestamp::real_now();
        let old = self.kept.take();
        let kept = match old {
            Some(kept) if now < kept.renew => kept,
            old => match (self.fetch(places, connections).await, old) {
                (Ok(kept), _) => kept,
                // The old one does as long as it is good.
                (Err(_), Some(old)) if now + LAST_USE < old.until => Kept {
                    renew: now + RENEW_AGAIN,
                    ..old
                },
                (Err(none), _) => return Err(none),
            },
        };
        Ok(self.kept.insert(kept))
    }

    async fn fetch(&mut self, places: &Places, connections: &Connections) -> Result<Kept, NoToken> {
        if self.source.is_none() {
            self.source = places.file().map_err(NoToken::Wrong)?;
        }
        let (mut account, mut quota_project) = (None, None);
        let fetched = match &mut self.source {
            Some(Source::File { path, credentials }) => {
                quota_project = credentials.quota_project().map(str::to_owned);
                let fetched = exchange::from_file(credentials, connections).await;
                fetched.map_err(|none| none.about(path))?
            }
            Some(Source::Metadata { host }) => {
                let limit = connections.limits.metadata;
                exchange::from_metadata(host, connections, limit).await?
            }
            Some(Source::Gcloud) => {
                let found = of_gcloud(places, connections).await?;
                (account, quota_project) = (found.account, found.quota_project);
                found.token
            }
            None => {
                let (source, found) = without_file(places, connections).await?;
                self.source = Some(source);
                (account, quota_project) = (found.account, found.quota_project);
                found.token
            }
        };
        self.number += 1;
        Ok(Kept {
            renew: renew(Timestamp::real_now(), fetched.until),
            bearer: fetched.bearer,
            until: fetched.until,
            scopes: fetched.scopes,
            account,
            quota_project,
            number: self.number,
        })
    }
}

impl NoToken {
    /// Names the file of credentials that a mistake is about, unless it is about another.
    fn about(self, path: &std::path::Path) -> Self {
        match self {
            Self::Wrong(input) if input.place.is_none() => Self::wrong(input.at_file(path)),
            other => other,
        }
    }
}

/// When a token is renewed: early, but not before half its time, since a server may give short ones.
fn renew(now: Timestamp, until: Timestamp) -> Timestamp {
    let lifetime = until.since(now);
    now + lifetime.saturating_sub(EARLY).max(lifetime / 2)
}

/// The machine's own account, else gcloud's user on a machine that is a person's.
async fn without_file(
    places: &Places,
    connections: &Connections,
) -> Result<(Source, FromGcloud), NoToken> {
    let of_machine = |token: Fetched, host: &str| {
        let source = Source::Metadata {
            host: host.to_owned(),
        };
        let found = FromGcloud {
            token,
            account: None,
            quota_project: None,
        };
        (source, found)
    };
    match &places.metadata {
        Metadata::Certain(host) => {
            let limit = connections.limits.metadata;
            let token = exchange::from_metadata(host, connections, limit).await?;
            return Ok(of_machine(token, host));
        }
        Metadata::Possible(host) => {
            let limit = connections.limits.probe;
            if let Ok(token) = exchange::from_metadata(host, connections, limit).await {
                return Ok(of_machine(token, host));
            }
        }
        Metadata::None => {}
    }
    Ok((Source::Gcloud, of_gcloud(places, connections).await?))
}

async fn of_gcloud(places: &Places, connections: &Connections) -> Result<FromGcloud, NoToken> {
    let found = exchange::from_gcloud(&places.gcloud, connections).await?;
    found.ok_or_else(|| {
        NoToken::wrong(Input::new("no Google Cloud credentials were found").hint(LOGIN_HINT))
    })
}

fn principal(credentials: &Credentials) -> Principal {
    match credentials {
        Credentials::ServiceAccount(account) => {
            Principal::ServiceAccount(Some(account.email.clone()))
        }
        Credentials::User(user) => Principal::User(user.account.clone()),
        Credentials::Federated(federated) => Principal::Federated(federated.audience.clone()),
        Credentials::Impersonated { account, .. } => {
            Principal::ServiceAccount(Some(account.clone()))
        }
    }
}

#[cfg(test)]
mod tests;
