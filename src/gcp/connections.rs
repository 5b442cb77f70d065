//! The connections: time-outs, and the two HTTP clients that everything goes through.

use std::sync::OnceLock;
use std::time::Duration;

use crate::error::Input;

/// Time-outs, in real time.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    pub connect: Duration,
    /// Of a message and its answer.
    pub message: Duration,
    /// Of a message that carries an object's bytes.
    pub object: Duration,
    /// Of a message that is answered when a query is done.
    pub query: Duration,
    /// Of the silence between two pieces of an answer.
    pub silence: Duration,
    /// Of one request for a token.
    pub token: Duration,
    /// Of one request to a metadata server, which is near.
    pub metadata: Duration,
    /// Of the one where there may be none.
    pub probe: Duration,
    /// Of a program that is asked for a token.
    pub program: Duration,
}

impl Limits {
    pub(super) const USUAL: Self = Self {
        connect: Duration::from_secs(10),
        message: Duration::from_secs(60),
        object: Duration::from_secs(300),
        query: Duration::from_secs(3600),
        silence: Duration::from_secs(60),
        token: Duration::from_secs(15),
        metadata: Duration::from_secs(3),
        probe: Duration::from_secs(1),
        program: Duration::from_secs(30),
    };
}

/// The property `core/http_timeout` of gcloud's: seconds without an answer, after which a request is given up.
const TIMEOUT_VARIABLE: &str = "CLOUDSDK_CORE_HTTP_TIMEOUT";

impl Limits {
    /// The usual ones, with the patience that [`TIMEOUT_VARIABLE`] names; 0 is as if it were not set.
    ///
    /// # Errors
    /// [`Input`] where it is no number of seconds.
    pub(super) fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Result<Self, Input> {
        let text = variable(TIMEOUT_VARIABLE).unwrap_or_default();
        let text = text.trim();
        if matches!(text, "" | "0") {
            return Ok(Self::USUAL);
        }
        let seconds = text.parse::<u64>().ok().filter(|n| (1..=3600).contains(n));
        let patience = Duration::from_secs(seconds.ok_or_else(|| {
            Input::new(format!(
                "`{TIMEOUT_VARIABLE}` is {text:?}: expected whole seconds, 3600 at most"
            ))
        })?);
        Ok(Self {
            message: patience,
            object: patience.max(Self::USUAL.object),
            silence: patience,
            ..Self::USUAL
        })
    }
}

/// The HTTP clients. Each is made at its first use, since reading the platform's root certificates
/// takes its time.
pub(super) struct Connections {
    pub limits: Limits,
    google: Http,
    direct: Http,
    patient: Http,
}

type Http = OnceLock<Result<reqwest::Client, String>>;

impl Connections {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            google: OnceLock::new(),
            direct: OnceLock::new(),
            patient: OnceLock::new(),
        }
    }

    /// To Google, as the environment says: by a proxy or not.
    pub(super) fn google(&self) -> Result<&reqwest::Client, &str> {
        let made = self.google.get_or_init(|| self.make(true));
        made.as_ref().map_err(String::as_str)
    }

    /// To an address that is behind no proxy: an emulator on this machine, a metadata server.
    pub(super) fn direct(&self) -> Result<&reqwest::Client, &str> {
        let made = self.direct.get_or_init(|| self.make(false));
        made.as_ref().map_err(String::as_str)
    }

    /// As [`Self::direct`], to a server that is silent until a query is done.
    pub(super) fn patient(&self) -> Result<&reqwest::Client, &str> {
        let limits = Limits {
            silence: self.limits.query,
            ..self.limits
        };
        let build = || build(false, &limits).map_err(|e| causes(&e));
        let made = self.patient.get_or_init(build);
        made.as_ref().map_err(String::as_str)
    }

    fn make(&self, google: bool) -> Result<reqwest::Client, String> {
        build(google, &self.limits).map_err(|e| causes(&e))
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

/// An error with its causes, each said once.
pub(super) fn causes(error: &dyn std::error::Error) -> String {
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
mod tests {
    use super::*;

    #[test]
    fn how_long_an_answer_is_waited_for_may_be_told_as_to_gcloud() {
        let limits = |text: &str| {
            Limits::from_variables(|name| {
                assert_eq!(name, TIMEOUT_VARIABLE);
                Some(text.to_owned())
            })
        };
        let seconds = |text: &str| {
            let limits = limits(text).unwrap();
            [limits.message, limits.object, limits.silence].map(|limit| limit.as_secs())
        };
        assert_eq!(seconds(""), [60, 300, 60]);
        assert_eq!(seconds("0"), [60, 300, 60]);
        assert_eq!(seconds(" 5 "), [5, 300, 5]);
        assert_eq!(seconds("600"), [600, 600, 600]);
        for wrong in ["soon", "-1", "1.5", "3601", "5s"] {
            let error = limits(wrong).err().unwrap().to_string();
            assert!(error.contains("`CLOUDSDK_CORE_HTTP_TIMEOUT` is"), "{error}");
        }
    }
}
