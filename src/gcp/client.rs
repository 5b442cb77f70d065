//! The one HTTP path: address, token, time-outs, retry, and Google's error body as an [`Error`].
//!
//! Time-outs of requests are of the operating system's clock, waits between tries of the build's.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::RETRY_AFTER;
use reqwest::{Response, StatusCode};
use serde::de::DeserializeOwned;

use super::call::{Call, Reply, Timeout};
use super::connections::{Connections, Limits, causes};
use super::endpoint::{Api, Bases, Redirect};
use super::error::{Effect, Error};
use super::retry::{Budget, Failed, Idempotency, Tries};
use super::token::{Access, Places, Token, Tokens};
use crate::clock::Clock;

/// The way to the cloud. A clone shares the connections and the token.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
    budget: Budget,
}

struct Inner {
    clock: Clock,
    bases: Bases,
    tokens: Tokens,
    connections: Connections,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

impl Client {
    /// A client for Google Cloud, or for what the variables that redirect Google's tools name:
    /// `STORAGE_EMULATOR_HOST`, `BIGQUERY_EMULATOR_HOST` and
    /// `CLOUDSDK_API_ENDPOINT_OVERRIDES_{AIPLATFORM,BIGQUERY,MONITORING,LOGGING}`, and those of [`Api`].
    /// `CLOUDSDK_CORE_HTTP_TIMEOUT` says how long an answer is waited for.
    ///
    /// # Errors
    /// An [`Input`](crate::error::Input) that names the variable which is no address, or no time-out.
    pub fn from_env(clock: Clock) -> anyhow::Result<Self> {
        Self::from_variables(clock, |name| std::env::var(name).ok())
    }

    /// As [`Client::from_env`], with these variables in the place of the environment's.
    ///
    /// # Errors
    /// As [`Client::from_env`].
    pub fn from_variables(
        clock: Clock,
        variable: impl Fn(&str) -> Option<String> + Copy,
    ) -> anyhow::Result<Self> {
        let bases = Bases::from_variables(variable)?;
        let tokens = Tokens::at(Places::from_variables(variable));
        let connections = Connections::new(Limits::from_variables(variable)?);
        Ok(Self::new(clock, bases, tokens, connections, Budget::USUAL))
    }

    fn new(
        clock: Clock,
        bases: Bases,
        tokens: Tokens,
        connections: Connections,
        budget: Budget,
    ) -> Self {
        let inner = Inner {
            clock,
            bases,
            tokens,
            connections,
        };
        Self {
            inner: Arc::new(inner),
            budget,
        }
    }

    /// The services whose requests go elsewhere than to Google, without a token.
    pub fn redirected(&self) -> Vec<Redirect> {
        self.bases().redirected()
    }

    /// Whether requests of a service go to Google.
    pub(crate) fn is_google(&self, api: Api) -> bool {
        self.bases().api(api).google
    }

    /// Whether a request may go to Google, so that a token may be needed.
    pub fn speaks_to_google(&self) -> bool {
        self.bases().any_google()
    }

    /// Who the requests to Google are made as. Reads a token, and may be asked twice.
    ///
    /// # Errors
    /// With an [`Input`](crate::error::Input) where there are no credentials or they are refused;
    /// else when the server that gives tokens fails.
    pub async fn access(&self) -> Result<Access, Error> {
        let mut tries = self.tries(Idempotency::Always);
        loop {
            match self.inner.tokens.access(&self.inner.connections).await {
                Ok(access) => return Ok(access),
                Err(none) => tries.again(none.failed("auth", "token")).await?,
            }
        }
    }

    /// The build's clock.
    pub fn clock(&self) -> &Clock {
        &self.inner.clock
    }

    pub(super) fn bases(&self) -> &Bases {
        &self.inner.bases
    }

    pub(super) fn tries(&self, idempotency: Idempotency) -> Tries {
        Tries::start(self.clock(), self.budget, idempotency)
    }

    /// Sends a call, again where that may help and is allowed, and reads the whole answer.
    pub(super) async fn send(&self, call: &Call) -> Result<Reply, Error> {
        let mut tries = self.tries(call.idempotency);
        loop {
            match self.once(call).await {
                Ok(reply) => return Ok(reply),
                Err(failed) => tries.again(failed).await?,
            }
        }
    }

    /// As [`Client::send`], and reads the answer's message; one that breaks off is a failed try.
    pub(super) async fn json<T: DeserializeOwned>(&self, call: &Call) -> Result<T, Error> {
        let mut tries = self.tries(call.idempotency);
        loop {
            let read = self.once(call).await.and_then(|reply| reply.read(call));
            match read {
                Ok(message) => return Ok(message),
                Err(failed) => tries.again(failed).await?,
            }
        }
    }

    /// As [`Client::send`], and hands out the answer before its body was read.
    pub(super) async fn open(&self, call: &Call) -> Result<Response, Error> {
        let mut tries = self.tries(call.idempotency);
        loop {
            match self.attempt(call).await {
                Ok(response) => return Ok(response),
                Err(failed) => tries.again(failed).await?,
            }
        }
    }

    /// Sends a call once and reads the whole answer.
    pub(super) async fn once(&self, call: &Call) -> Result<Reply, Failed> {
        let response = self.attempt(call).await?;
        let (http, headers) = (response.status(), response.headers().clone());
        let body = response.bytes().await.map_err(|e| broken(call, &e))?;
        Ok(Reply {
            http,
            headers,
            body,
        })
    }

    /// One try, up to the answer's headers. A refused token is replaced once.
    async fn attempt(&self, call: &Call) -> Result<Response, Failed> {
        let mut refused = false;
        loop {
            let token = if call.google {
                Some(self.token(call).await?)
            } else {
                None
            };
            let request = self.request(call, token.as_ref())?;
            let response = request.send().await.map_err(|e| broken(call, &e))?;
            let http = response.status();
            if http.is_success() || call.also_good == Some(http) {
                return Ok(response);
            }
            if let Some(token) = token.filter(|_| http == StatusCode::UNAUTHORIZED && !refused) {
                self.inner.tokens.forget(&token).await;
                refused = true;
                continue;
            }
            let retry_after = response
                .headers()
                .get(RETRY_AFTER)
                .and_then(|value| value.to_str().ok()?.trim().parse().ok())
                .map(Duration::from_secs);
            let body = response.bytes().await.unwrap_or_default();
            let error = Error::answered(call.method, &call.resource, http, &body);
            let effect = error.effect();
            return Err(Failed {
                retry_after,
                ..Failed::new(error, effect)
            });
        }
    }

    async fn token(&self, call: &Call) -> Result<Token, Failed> {
        let token = self.inner.tokens.get(&self.inner.connections).await;
        token.map_err(|none| none.failed(call.method, &call.resource))
    }

    fn request(
        &self,
        call: &Call,
        token: Option<&Token>,
    ) -> Result<reqwest::RequestBuilder, Failed> {
        let Limits {
            message,
            object,
            query,
            ..
        } = self.inner.connections.limits;
        let connections = &self.inner.connections;
        let http = match call.timeout {
            // Only of servers of this machine.
            Timeout::Query => connections.patient(),
            _ if call.google => connections.google(),
            _ => connections.direct(),
        };
        let http = http.map_err(|why| {
            Failed::new(
                call.error("INTERNAL", format!("no HTTP client: {why}")),
                Effect::Settled,
            )
        })?;
        let mut request = http
            .request(call.verb.clone(), &call.url)
            .headers(call.headers.clone());
        if let Some(body) = &call.body {
            request = request.body(body.clone());
        }
        request = match call.timeout {
            Timeout::Message => request.timeout(message),
            Timeout::Object => request.timeout(object),
            Timeout::Query => request.timeout(query),
            Timeout::Stream => request,
        };
        if let Some(token) = token {
            request = request.bearer_auth(&token.bearer);
            if let Some(project) = &token.quota_project {
                request = request.header("x-goog-user-project", project);
            }
        }
        Ok(request)
    }

    /// Every service at one address, with other time-outs.
    #[cfg(test)]
    pub(super) fn all_at(
        base: &super::endpoint::Base,
        clock: Clock,
        limits: Limits,
        budget: Budget,
        tokens: Tokens,
    ) -> Self {
        let connections = Connections::new(limits);
        Self::new(clock, Bases::all_at(base), tokens, connections, budget)
    }
}

/// What broke on the way. The URL stays out of the message: an upload session's is a secret.
pub(super) fn broken(call: &Call, error: &reqwest::Error) -> Failed {
    let origin = || url::Url::parse(&call.url).map(|u| u.origin().ascii_serialization());
    let origin = origin().unwrap_or_default();
    let (status, what, effect) = if error.is_builder() {
        (
            "INVALID_ARGUMENT",
            "cannot make a request to",
            Effect::Settled,
        )
    } else if error.is_connect() {
        ("UNAVAILABLE", "cannot connect to", Effect::None)
    } else if error.is_timeout() {
        (
            "DEADLINE_EXCEEDED",
            "no answer in time from",
            Effect::Unsure,
        )
    } else {
        ("UNAVAILABLE", "the connection broke to", Effect::Unsure)
    };
    let message = match error.source() {
        Some(source) => format!("{what} {origin}: {}", causes(source)),
        None => format!("{what} {origin}"),
    };
    let error = Error {
        tries: 1,
        ..call.error(status, message)
    };
    Failed::new(error, effect)
}

#[cfg(test)]
mod tests;
