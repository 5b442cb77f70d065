//! Who may speak to the emulator: programs of this machine and the containers that run on it, and no
//! page that its user happens to open.
//!
//! A browser tells where a request comes from (`Origin`, `Sec-Fetch-Site`) and which name it looked up
//! (`Host`). A page of another origin is refused by the first two, a name that was made to lead here (DNS
//! rebinding) by the third.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};

use axum::http::header::{HOST, ORIGIN};
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderValue, Method, header};
use axum::response::Response;
use serde::Deserialize;

use super::Core;
use crate::emulator::wire::error::ApiError;
use crate::emulator::wire::http::{self, Answer, Request, Route, json};
use crate::emulator::wire::json::parse_body;

/// How container engines in a virtual machine call this one.
const CONTAINERS_HOST: &str = "host.docker.internal";
/// So much of a name stands in an answer.
const SHOWN: usize = 100;

/// The names that requests may call the emulator by, beside the loopback's own.
#[derive(Debug, Default)]
pub(in crate::emulator) struct Guard {
    /// Those of `--allow-host`, in lower case.
    named: BTreeSet<String>,
    /// The addresses at which containers reach the emulator.
    gateways: RwLock<BTreeSet<String>>,
}

impl Guard {
    /// With the names of `--allow-host`.
    pub(in crate::emulator) fn new(named: &[String]) -> Self {
        Self {
            named: named.iter().map(|name| plain(name)).collect(),
            gateways: RwLock::default(),
        }
    }

    /// Lets containers call the emulator by an address of their network's.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` where it is no address that a container engine gives.
    fn admit(&self, gateway: &str) -> Result<(), ApiError> {
        let name = plain(gateway);
        if name != CONTAINERS_HOST && name.parse::<IpAddr>().is_err() {
            return Err(ApiError::invalid_argument(format!(
                "\"{}\" is no address at which containers reach this machine.",
                shown(gateway)
            ))
            .violation("host"));
        }
        let mut gateways = self
            .gateways
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        gateways.insert(name);
        Ok(())
    }

    /// Refuses a request that a page of another origin sent, or that calls the emulator by a name which is
    /// not its own.
    ///
    /// # Errors
    /// `PERMISSION_DENIED` in one sentence.
    pub(in crate::emulator) fn check(&self, head: &Parts) -> Result<(), ApiError> {
        let headers = &head.headers;
        let text = |name: header::HeaderName| headers.get(name).map(to_text).transpose();
        let Some(host) = text(HOST)? else {
            return Err(refused("The request does not say which host it means."));
        };
        self.check_host(&host)?;
        // A proxy's request names the host a second time.
        if let Some(authority) = head.uri.authority() {
            self.check_host(authority.as_str())?;
        }
        if let Some(origin) = text(ORIGIN)?
            && !is_origin_of(&origin, &host)
        {
            return Err(refused(format!(
                "The request comes from a page of {}, and this emulator answers no page of another origin.",
                shown(&origin)
            )));
        }
        match headers.get("sec-fetch-site").map(HeaderValue::as_bytes) {
            None | Some(b"none" | b"same-origin") => Ok(()),
            Some(_) => Err(refused(
                "The request comes from a page of another site, and this emulator answers none.",
            )),
        }
    }

    /// Whether the emulator may call a host because its user runs or named it: by the same names by which it is
    /// called itself.
    pub(in crate::emulator) fn may_be_called(&self, host: &str) -> bool {
        let name = plain(host);
        let gateways = self.gateways.read().unwrap_or_else(PoisonError::into_inner);
        is_loopback(&name) || self.named.contains(&name) || gateways.contains(&name)
    }

    fn check_host(&self, host: &str) -> Result<(), ApiError> {
        let name = name_of(host);
        match name {
            Some(name) if is_regional(&name) || self.may_be_called(&name) => Ok(()),
            _ => Err(refused(format!(
                "The host {host} is not this emulator's: start it with `--allow-host {host}` if it is to answer by that name.",
                host = shown(name.as_deref().unwrap_or(host))
            ))),
        }
    }
}

/// `POST /_serin/hosts`, by which a build says where its containers reach the emulator.
pub(in crate::emulator) fn route() -> Route<Core> {
    http::route(Method::POST, "_serin/hosts", admit)
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Admission {
    host: String,
}

/// Refuses what only a program of this machine may ask for, and no container.
///
/// # Errors
/// `PERMISSION_DENIED`.
pub(in crate::emulator) fn check_local(request: &Request) -> Result<(), ApiError> {
    let host = request.header("host").and_then(name_of);
    match host.is_some_and(|name| is_loopback(&name)) {
        true => Ok(()),
        false => Err(refused(
            "Only a program of this machine says where containers and services are.",
        )),
    }
}

async fn admit(core: Arc<Core>, request: Request) -> Answer {
    check_local(&request)?;
    let sent: Admission = parse_body(&request)?;
    core.guard.admit(&sent.host)?;
    Ok(json(serde_json::json!({})))
}

/// Takes its own origin from an answer that a browser shows as a page: what somebody stored as an object
/// runs no script in the emulator's name.
pub(in crate::emulator) fn sandbox(mut response: Response) -> Response {
    response.headers_mut().insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("sandbox"),
    );
    response
}

/// The name in a `Host`, without its port; `None` where it is no host.
fn name_of(host: &str) -> Option<String> {
    let authority: Authority = host.parse().ok()?;
    (!host.contains('@')).then(|| plain(authority.host()))
}

/// A host in one spelling: lower case, without the brackets of an address and the dot of the root.
fn plain(host: &str) -> String {
    let host = host
        .strip_prefix('[')
        .and_then(|h| h.strip_suffix(']'))
        .unwrap_or(host);
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

/// The emulator's own name as gcloud calls Cloud Run: with a region in front, through its proxy. It ends in a number,
/// so no DNS has it and no browser takes it for a host.
fn is_regional(name: &str) -> bool {
    name.ends_with("-127.0.0.1")
}

/// Names below `localhost` lead to the loopback (RFC 6761, section 6.3), so nobody else can have one.
pub(super) fn is_loopback(name: &str) -> bool {
    name == "localhost"
        || name.ends_with(".localhost")
        || name
            .parse()
            .is_ok_and(|address: IpAddr| address.is_loopback())
}

/// Whether an origin, `SCHEME://HOST[:PORT]`, is that of the pages at a host.
fn is_origin_of(origin: &str, host: &str) -> bool {
    let authority = origin
        .strip_prefix("http://")
        .or_else(|| origin.strip_prefix("https://"));
    authority.is_some_and(|authority| authority.eq_ignore_ascii_case(host))
}

fn to_text(value: &HeaderValue) -> Result<String, ApiError> {
    let text = value.to_str().map(str::to_owned);
    text.map_err(|_| refused("The request's host or origin is no text."))
}

fn refused(message: impl Into<String>) -> ApiError {
    ApiError::forbidden(message)
}

/// The beginning of a name; headers hold no control characters.
fn shown(text: &str) -> &str {
    text.get(..SHOWN).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use axum::http::Request as Asked;

    use super::*;

    fn asked(headers: &[(&str, &str)]) -> Result<(), ApiError> {
        let guard = Guard::new(&["Emulator.Test".to_owned()]);
        guard.admit("172.18.0.1").unwrap();
        let mut request = Asked::builder().uri("/storage/v1/b");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        guard.check(&request.body(()).unwrap().into_parts().0)
    }

    #[test]
    fn programs_of_this_machine_and_containers_are_answered() {
        for host in [
            "127.0.0.1:8085",
            "127.9.9.9",
            "[::1]:8085",
            "localhost:1",
            "LOCALHOST.",
            "7.endpoint.localhost:8085",
            "emulator.test:80",
            "172.18.0.1:8085",
            "us-central1-127.0.0.1:8085",
        ] {
            asked(&[("host", host)]).unwrap_or_else(|e| panic!("{host}: {e}"));
            let origin = format!("http://{host}");
            asked(&[
                ("host", host),
                ("origin", &origin),
                ("sec-fetch-site", "same-origin"),
            ])
            .unwrap();
        }
        asked(&[("host", "localhost"), ("sec-fetch-site", "none")]).unwrap();
    }

    #[test]
    fn foreign_names_and_pages_are_refused() {
        let long = "a".repeat(3000);
        for host in [
            "",
            "evil.test",
            "localhost.evil.test",
            "127.0.0.1.evil.test:8085",
            "evil.test@127.0.0.1",
            "10.0.0.1:8085",
            "172.18.0.2",
            "0.0.0.0",
            "notlocalhost",
            "[::2]",
            "us-central1-127.0.0.1.evil.test",
            &long,
        ] {
            let error = asked(&[("host", host)]).unwrap_err();
            assert_eq!(
                (error.code, error.status),
                (403, "PERMISSION_DENIED"),
                "{host}"
            );
            assert!(error.message.len() < 400, "{host}");
        }
        assert!(asked(&[]).unwrap_err().message.contains("which host"));
        for headers in [
            ("origin", "null"),
            ("origin", "https://evil.test"),
            ("origin", "http://127.0.0.1:8086"),
            ("origin", "http://127.0.0.1"),
            ("origin", "127.0.0.1:8085"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
        ] {
            let error = asked(&[("host", "127.0.0.1:8085"), headers]).unwrap_err();
            assert_eq!(error.code, 403, "{headers:?}");
        }
    }

    #[test]
    fn only_addresses_of_containers_networks_are_admitted() {
        let guard = Guard::default();
        for host in ["evil.test", "", "localhost", "172.18.0.1:80"] {
            assert_eq!(guard.admit(host).unwrap_err().code, 400, "{host}");
        }
        for host in ["10.1.1.1", "fd00::1", "host.docker.internal"] {
            guard.admit(host).unwrap();
        }
    }

    #[test]
    fn the_hint_names_the_host_without_its_port() {
        let error = asked(&[("host", "evil.test:8085")]).unwrap_err();
        insta::assert_snapshot!(error.message, @"The host evil.test is not this emulator's: start it with `--allow-host evil.test` if it is to answer by that name.");
    }
}
