//! The one HTTP path: address, token, time-outs, retry, and Google's error body as an [`Error`].
//!
//! Time-outs of requests are of the operating system's clock, waits between tries of the build's.

use std::error::Error as _;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use reqwest::header::RETRY_AFTER;
use reqwest::{Response, StatusCode};

use super::call::{Call, Patience, Reply};
use super::endpoint::Bases;
use super::error::Error;
use super::retry::{Effect, Failed, Tries};
use super::token::{Token, Tokens, quota_project};
use crate::clock::Clock;

/// The way to the cloud. A clone shares the connections and the token.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    clock: Clock,
    bases: Bases,
    tokens: Tokens,
    quota_project: Option<String>,
    limits: Limits,
    google: Http,
    overridden: Http,
}

/// Made at the first use, since reading the platform's root certificates takes its time.
type Http = OnceLock<Result<reqwest::Client, String>>;

/// Time-outs, in real time.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    pub connect: Duration,
    /// Of a message and its answer.
    pub message: Duration,
    /// Of a message that carries an object's bytes.
    pub object: Duration,
    /// Of the silence between two pieces of an answer.
    pub silence: Duration,
    pub token: Duration,
}

impl Limits {
    const USUAL: Self = Self {
        connect: Duration::from_secs(10),
        message: Duration::from_secs(60),
        object: Duration::from_secs(300),
        silence: Duration::from_secs(60),
        token: Duration::from_secs(30),
    };
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

impl Client {
    /// A client for Google Cloud, or for what the variables that redirect Google's tools name:
    /// `STORAGE_EMULATOR_HOST` and `CLOUDSDK_API_ENDPOINT_OVERRIDES_{AIPLATFORM,MONITORING,LOGGING}`.
    ///
    /// # Errors
    /// An [`Input`](crate::error::Input) that names the variable which is no address.
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
        let quota = quota_project(variable);
        Ok(Self::new(
            clock,
            bases,
            Tokens::google(variable),
            quota,
            Limits::USUAL,
        ))
    }

    fn new(
        clock: Clock,
        bases: Bases,
        tokens: Tokens,
        quota_project: Option<String>,
        limits: Limits,
    ) -> Self {
        let inner = Inner {
            clock,
            bases,
            tokens,
            quota_project,
            limits,
            google: OnceLock::new(),
            overridden: OnceLock::new(),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// The build's clock.
    pub fn clock(&self) -> &Clock {
        &self.inner.clock
    }

    pub(super) fn bases(&self) -> &Bases {
        &self.inner.bases
    }

    /// Sends a call, again where that may help and is allowed, and reads the whole answer.
    pub(super) async fn send(&self, call: &Call) -> Result<Reply, Error> {
        let mut tries = Tries::start();
        loop {
            match self.once(call).await {
                Ok(reply) => return Ok(reply),
                Err(failed) => tries.again(self.clock(), call.twice, failed).await?,
            }
        }
    }

    /// As [`Client::send`], and hands out the answer before its body was read.
    pub(super) async fn open(&self, call: &Call) -> Result<Response, Error> {
        let mut tries = Tries::start();
        loop {
            match self.attempt(call).await {
                Ok(response) => return Ok(response),
                Err(failed) => tries.again(self.clock(), call.twice, failed).await?,
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
            return Err(Failed {
                retry_after,
                ..Failed::new(error, Effect::of_code(http.as_u16()))
            });
        }
    }

    async fn token(&self, call: &Call) -> Result<Token, Failed> {
        let token = self.inner.tokens.get(self.inner.limits.token).await;
        token.map_err(|none| {
            let error = Error {
                input: Some(Box::new(none.input)),
                ..call.error("UNAUTHENTICATED", "there is no access token")
            };
            let effect = if none.passing {
                Effect::None
            } else {
                Effect::Settled
            };
            Failed::new(error, effect)
        })
    }

    fn request(
        &self,
        call: &Call,
        token: Option<&Token>,
    ) -> Result<reqwest::RequestBuilder, Failed> {
        let Limits {
            message, object, ..
        } = self.inner.limits;
        let http = self.http(call.google).map_err(|why| {
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
        request = match call.patience {
            Patience::Message => request.timeout(message),
            Patience::Object => request.timeout(object),
            Patience::Stream => request,
        };
        if let Some(token) = token {
            request = request.bearer_auth(&token.bearer);
            if let Some(project) = &self.inner.quota_project {
                request = request.header("x-goog-user-project", project);
            }
        }
        Ok(request)
    }

    /// Google is reached as the environment says, by a proxy or not; an overridden address always
    /// directly: an emulator on this machine is behind no proxy.
    fn http(&self, google: bool) -> Result<&reqwest::Client, &str> {
        let http = if google {
            &self.inner.google
        } else {
            &self.inner.overridden
        };
        let made = http.get_or_init(|| build(google, &self.inner.limits).map_err(|e| causes(&e)));
        made.as_ref().map_err(String::as_str)
    }

    /// Every service at one address, with other time-outs.
    #[cfg(test)]
    pub(super) fn all_at(
        base: &super::endpoint::Base,
        clock: Clock,
        limits: Limits,
        tokens: Tokens,
    ) -> Self {
        Self::new(
            clock,
            Bases::all_at(base),
            tokens,
            Some("payer".into()),
            limits,
        )
    }
}

fn build(google: bool, limits: &Limits) -> reqwest::Result<reqwest::Client> {
    // An error says that a provider is installed already, and one is enough.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("serin/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(limits.connect)
        .read_timeout(limits.silence)
        // A redirect could lead a token to another host, and no method here answers with one.
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never());
    if !google {
        builder = builder.no_proxy();
    }
    builder.build()
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

/// An error with its causes, each said once.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests;
