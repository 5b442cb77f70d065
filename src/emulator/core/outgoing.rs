//! The calls that the emulator makes: of Cloud Scheduler's targets, of push subscriptions, of Eventarc's destinations.
//!
//! A request says where a call goes, so this is the one door: out of it go calls to the loopback, to the hosts of
//! `--allow-host`, to the Cloud Run services that stand on this machine, and to the emulator itself under the names of
//! Google's hosts. Every other address is refused in a sentence, before any name is looked up. A call has a time-out
//! of the operating system's clock, and of an answer only its status is read, but for [`post`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::http::header::{AUTHORIZATION, LOCATION};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use serde::{Deserialize, Serialize};
use url::Url;

use super::store::{self, Kind};
use super::{Core, guard, identity, variables};
use crate::emulator::wire::error::ApiError;

/// For a connection, which on this machine comes at once or never.
const CONNECT: Duration = Duration::from_secs(5);
/// More redirections than this are not followed.
const REDIRECTIONS: usize = 5;
/// Where the services of Cloud Run are kept that were told by request.
const SERVICES: &str = "runServices/";
/// What the names of Google's APIs end in.
const GOOGLE: &str = ".googleapis.com";
/// What the addresses of Cloud Run's services end in.
const RUN_APP: &str = ".run.app";

/// A program of this machine that stands for a service of Cloud Run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RunService {
    /// Its name in Cloud Run, in whatever project and region.
    pub name: String,
    /// Where it listens, as in `http://127.0.0.1:8080`.
    pub url: String,
    /// Whether Cloud Run lets everybody call it and checks no token (`invokerIamDisabled`).
    #[serde(default)]
    pub public: bool,
}

impl std::str::FromStr for RunService {
    type Err = String;
    /// `NAME=URL`, or `NAME=URL,public`.
    fn from_str(text: &str) -> Result<Self, String> {
        let expected = "expected NAME=URL or NAME=URL,public, as in churn=http://127.0.0.1:8080";
        let (name, rest) = text.split_once('=').ok_or(expected)?;
        let (url, public) = match rest.strip_suffix(",public") {
            Some(url) => (url, true),
            None => (rest, false),
        };
        let service = Self {
            name: name.to_owned(),
            url: url.trim_end_matches('/').to_owned(),
            public,
        };
        service
            .check()
            .map_err(|why| format!("{why}; {expected}"))?;
        Ok(service)
    }
}

impl RunService {
    /// What is wrong with it, in words.
    ///
    /// # Errors
    /// For a name that no service has and an address that is none of a program's.
    pub(in crate::emulator) fn check(&self) -> Result<(), String> {
        let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let begins = self
            .name
            .bytes()
            .next()
            .is_some_and(|b| b.is_ascii_lowercase());
        if !begins || self.name.len() > 49 || !self.name.bytes().all(word) {
            return Err(format!("\"{}\" is no name of a service", self.name));
        }
        match Url::parse(&self.url) {
            Ok(url) if matches!(url.scheme(), "http" | "https") && url.path() == "/" => Ok(()),
            _ => Err(format!("\"{}\" is no address of a program", self.url)),
        }
    }
}

pub(in crate::emulator) fn kind() -> Kind {
    store::kind::<RunService>("runServices/*")
}

/// Makes calls.
pub(in crate::emulator) struct Outgoing {
    client: reqwest::Client,
    /// Those of `--run-service`.
    services: Vec<RunService>,
}

impl Outgoing {
    /// With the services that the command line names.
    ///
    /// # Errors
    /// When the client cannot be made.
    pub(in crate::emulator) fn new(services: Vec<RunService>) -> anyhow::Result<Self> {
        let _installed = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT)
            .dns_resolver(Arc::new(Loopback))
            .build()?;
        Ok(Self { client, services })
    }
}

/// Looks names up; those of the loopback nowhere.
struct Loopback;

impl Resolve for Loopback {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            if guard::is_loopback(name.as_str()) {
                let own: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
                let own = own.map(|address| SocketAddr::new(address, 0));
                return Ok(Box::new(own.into_iter()) as Addrs);
            }
            let found: Vec<_> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// All services of Cloud Run that stand on this machine; of two of a name the one that was told last.
pub(in crate::emulator) fn services(core: &Core) -> Vec<RunService> {
    let told = core.store.list::<RunService>(SERVICES).into_iter();
    let mut all: Vec<RunService> = told.map(|(_, service)| service).collect();
    for named in &core.outgoing.services {
        if !all.iter().any(|service| service.name == named.name) {
            all.push(named.clone());
        }
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

/// Keeps a service that was told by request.
///
/// # Errors
/// When the state cannot be written.
pub(in crate::emulator) fn keep(core: &Core, service: &RunService) -> Result<(), ApiError> {
    Ok(core
        .store
        .put(&format!("{SERVICES}{}", service.name), service)?)
}

/// Forgets a service that was told by request; says whether there was one.
///
/// # Errors
/// When the state cannot be written.
pub(in crate::emulator) fn forget(core: &Core, name: &str) -> Result<bool, ApiError> {
    Ok(core.store.delete(&format!("{SERVICES}{name}"))?)
}

/// A call to be made.
pub(in crate::emulator) struct Call {
    pub method: Method,
    pub url: String,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    /// In real time, from the connection to the head of the answer.
    pub timeout: Duration,
    /// Who calls, as the receiver is to see it.
    pub token: Option<Token>,
    /// Whether redirections are followed.
    pub follow: bool,
}

/// A service account's token.
#[derive(Clone, Debug)]
pub(in crate::emulator) enum Token {
    /// An ID token.
    Oidc { email: String, audience: String },
    /// An access token, which only Google's own hosts take.
    OAuth,
}

/// Why a call has no answer.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::emulator) enum CallError {
    /// The emulator does not call there.
    Refused(String),
    /// Nobody answered in time.
    TimedOut(String),
    /// The connection could not be made, or broke.
    Unreachable(String),
}

impl CallError {
    /// The number and the text of Google's status.
    pub(in crate::emulator) fn status(&self) -> (i32, &str) {
        match self {
            Self::Refused(why) => (7, why),
            Self::TimedOut(why) => (4, why),
            Self::Unreachable(why) => (14, why),
        }
    }
}

/// Where a call goes.
#[derive(Debug)]
pub(in crate::emulator) struct Place {
    pub url: Url,
    /// Whether a service stands there whose tokens Cloud Run checks.
    pub checked: bool,
}

/// Where a call to an address goes, if the emulator makes it.
///
/// # Errors
/// [`CallError::Refused`] where it does not.
pub(in crate::emulator) fn place(core: &Core, text: &str) -> Result<Place, CallError> {
    let refused = |why: String| Err(CallError::Refused(why));
    let Ok(url) = Url::parse(text) else {
        return refused(format!("\"{text}\" is no address."));
    };
    if !matches!(url.scheme(), "http" | "https") {
        return refused(format!("The address {url} is neither http nor https."));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return refused("An address with a user's name in it is not called.".to_owned());
    }
    let host = url.host_str().unwrap_or_default().to_ascii_lowercase();
    let services = services(core);
    if let Some(api) = host.strip_suffix(GOOGLE) {
        let prefix = match api {
            "eventarc" => format!("/{}", variables::EVENTARC),
            _ => String::new(),
        };
        let own = Url::parse(&core.url).map(|own| moved(&url, &own, &prefix));
        return match own {
            Ok(url) if variables::is_emulated(api) => Ok(Place {
                url,
                checked: false,
            }),
            _ => refused(format!("{host} is not emulated, and is not called.")),
        };
    }
    let named = host.strip_suffix(RUN_APP).and_then(|label| {
        services.iter().find(|service| {
            let rest = label.strip_prefix(service.name.as_str());
            rest.is_some_and(|rest| rest.starts_with('-'))
        })
    });
    if let Some(service) = named
        && let Ok(own) = Url::parse(&service.url)
    {
        return Ok(Place {
            url: moved(&url, &own, ""),
            checked: !service.public,
        });
    }
    let origin = url.origin();
    let standing = services
        .iter()
        .find(|service| Url::parse(&service.url).is_ok_and(|own| own.origin() == origin));
    if standing.is_some() || core.guard.may_be_called(&host) {
        return Ok(Place {
            url,
            checked: standing.is_some_and(|service| !service.public),
        });
    }
    refused(format!(
        "The host {host} is not called: this emulator calls programs of this machine, and hosts that `--allow-host` names. A service of Cloud Run is named by `--run-service NAME=URL`."
    ))
}

/// An address with its path at another origin.
fn moved(url: &Url, own: &Url, prefix: &str) -> Url {
    let mut moved = own.clone();
    moved.set_path(&format!("{prefix}{}", url.path()));
    moved.set_query(url.query());
    moved
}

/// Makes a call; the answer is the HTTP code of the answer.
///
/// # Errors
/// Where the emulator does not call, and where nobody answers.
pub(in crate::emulator) async fn send(core: &Arc<Core>, call: Call) -> Result<u16, CallError> {
    let timeout = call.timeout;
    let sent = tokio::time::timeout(timeout, send_all(core, call)).await;
    sent.unwrap_or_else(|_| {
        Err(CallError::TimedOut(format!(
            "Nobody answered within {timeout:?}."
        )))
    })
}

/// Sends a message to a program of this machine, or of a host that may be called; the answer is the HTTP code and the
/// message, null where it is none.
///
/// # Errors
/// Where the emulator does not call, and where nobody answers.
pub(in crate::emulator) async fn post(
    core: &Core,
    url: &str,
    message: &serde_json::Value,
    timeout: Duration,
) -> Result<(u16, serde_json::Value), CallError> {
    let at = place(core, url)?;
    let unreachable = |e: reqwest::Error| {
        let e = e.without_url();
        match e.is_timeout() {
            true => CallError::TimedOut(format!("Nobody answered within {timeout:?}.")),
            false => CallError::Unreachable(format!("{url} cannot be called: {}", deepest(&e))),
        }
    };
    let sent = core.outgoing.client.post(at.url).timeout(timeout);
    let answer = sent.json(message).send().await.map_err(unreachable)?;
    let code = answer.status().as_u16();
    let body = answer.bytes().await.map_err(unreachable)?;
    Ok((code, serde_json::from_slice(&body).unwrap_or_default()))
}

async fn send_all(core: &Arc<Core>, mut call: Call) -> Result<u16, CallError> {
    let mut at = place(core, &call.url)?;
    for _ in 0..=REDIRECTIONS {
        let token = bearer(core, &call, at.checked).await?;
        if at.checked && token.is_none() {
            // As Cloud Run, before the service learns of it.
            return Ok(403);
        }
        let mut headers = call.headers.clone();
        headers.extend(token.map(|token| (AUTHORIZATION, token)));
        let request = core
            .outgoing
            .client
            .request(call.method.clone(), at.url.clone());
        let answer = request
            .headers(headers)
            .body(call.body.clone())
            .send()
            .await;
        let answer = answer.map_err(|e| {
            let e = e.without_url();
            CallError::Unreachable(format!("{} cannot be called: {}", at.url, deepest(&e)))
        })?;
        let status = answer.status();
        let next = answer
            .headers()
            .get(LOCATION)
            .and_then(|to| to.to_str().ok());
        let Some(next) = next.filter(|_| call.follow && status.is_redirection()) else {
            return Ok(status.as_u16());
        };
        let next = at
            .url
            .join(next)
            .map_err(|e| CallError::Unreachable(format!("{} leads nowhere: {e}", at.url)))?;
        let before = at.url.origin();
        at = place(core, next.as_str())?;
        if at.url.origin() != before {
            call.token = None;
            call.headers.remove(AUTHORIZATION);
        }
        if matches!(status.as_u16(), 301..=303) && call.method != Method::HEAD {
            call.method = Method::GET;
            call.body = Vec::new();
        }
    }
    Err(CallError::Unreachable(format!(
        "{} leads on more than {REDIRECTIONS} times.",
        at.url
    )))
}

/// The innermost reason of an error, which is the one that says something.
fn deepest(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(inner) = error.source() {
        error = inner;
    }
    error.to_string()
}

/// The header that tells who calls, as it arrives behind Cloud Run's check where that `checked`.
async fn bearer(
    core: &Arc<Core>,
    call: &Call,
    checked: bool,
) -> Result<Option<HeaderValue>, CallError> {
    let token = match &call.token {
        None => return Ok(None),
        Some(Token::OAuth) => "serin-emulator-token".to_owned(),
        Some(Token::Oidc { email, audience }) => {
            let token = identity::token(core, email, audience).await;
            let token = token.map_err(|e| CallError::Unreachable(e.message))?;
            match checked {
                true => identity::without_signature(&token),
                false => token,
            }
        }
    };
    Ok(HeaderValue::from_str(&format!("Bearer {token}")).ok())
}

/// A header from texts; `None` where they are none.
pub(in crate::emulator) fn header(name: &str, value: &str) -> Option<(HeaderName, HeaderValue)> {
    Some((name.parse().ok()?, HeaderValue::from_str(value).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_read_or_refused() {
        let service: RunService = "churn=http://127.0.0.1:9000/".parse().unwrap();
        assert_eq!(service.url, "http://127.0.0.1:9000");
        assert!(!service.public);
        assert!(
            "a=http://127.0.0.1:1,public"
                .parse::<RunService>()
                .unwrap()
                .public
        );
        for text in [
            "",
            "a",
            "A=http://h",
            "a=ftp://h",
            "a=http://h/x",
            "=http://h",
        ] {
            assert!(text.parse::<RunService>().is_err(), "{text}");
        }
    }
}
