//! Access tokens: found where Google's tools leave their credentials, only when one is needed.

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use gcp_auth::TokenProvider;
use serde::Deserialize;
use tokio::sync::Mutex;

use crate::error::Input;

const SCOPES: &[&str] = &["https://www.googleapis.com/auth/cloud-platform"];
const KEY_VARIABLE: &str = "GOOGLE_APPLICATION_CREDENTIALS";

type Finding =
    Pin<Box<dyn Future<Output = Result<Arc<dyn TokenProvider>, gcp_auth::Error>> + Send>>;

/// The source of tokens.
pub(super) struct Tokens {
    find: fn() -> Finding,
    /// What `GOOGLE_APPLICATION_CREDENTIALS` names, for messages.
    key_file: Option<PathBuf>,
    found: Mutex<Found>,
}

/// The provider in use, and how many there were before it.
#[derive(Default)]
struct Found {
    number: u64,
    provider: Option<Arc<dyn TokenProvider>>,
}

/// A token; what it is stays out of messages, so there is no `Debug`.
pub(super) struct Token {
    pub bearer: String,
    /// The provider it came from.
    number: u64,
}

/// Why there is no token.
pub(super) struct NoToken {
    pub input: Input,
    /// It may be there at the next try.
    pub passing: bool,
}

impl Tokens {
    /// Looks where gcp_auth looks, at the first use.
    pub fn google(variable: impl Fn(&str) -> Option<String>) -> Self {
        Self::found_by(
            || Box::pin(gcp_auth::provider()),
            variable(KEY_VARIABLE).map(PathBuf::from),
        )
    }

    pub fn found_by(find: fn() -> Finding, key_file: Option<PathBuf>) -> Self {
        Self {
            find,
            key_file,
            found: Mutex::default(),
        }
    }

    /// A token that is valid for some seconds at least; fetched within `limit` of real time.
    pub async fn get(&self, limit: Duration) -> Result<Token, NoToken> {
        let fetch = async {
            let (number, provider) = self.provider().await?;
            let token = provider.token(SCOPES).await?;
            Ok(Token {
                bearer: token.as_str().to_owned(),
                number,
            })
        };
        match tokio::time::timeout(limit, fetch).await {
            Ok(Ok(token)) => Ok(token),
            Ok(Err(error)) => Err(self.no_token(&error)),
            Err(_) => Err(NoToken {
                input: Input::new(format!(
                    "the credentials' server gave no access token within {} s",
                    limit.as_secs()
                )),
                passing: true,
            }),
        }
    }

    /// Drops the provider, which keeps its tokens, of a token that Google refused.
    pub async fn forget(&self, token: &Token) {
        let mut found = self.found.lock().await;
        if found.number == token.number {
            found.number += 1;
            found.provider = None;
        }
    }

    async fn provider(&self) -> Result<(u64, Arc<dyn TokenProvider>), gcp_auth::Error> {
        let mut found = self.found.lock().await;
        let provider = match &found.provider {
            Some(provider) => Arc::clone(provider),
            None => {
                let provider = (self.find)().await?;
                found.provider = Some(Arc::clone(&provider));
                provider
            }
        };
        Ok((found.number, provider))
    }

    /// gcp_auth's own words only: its causes may quote what it read.
    fn no_token(&self, error: &gcp_auth::Error) -> NoToken {
        use gcp_auth::Error as E;
        let passing = matches!(error, E::Http(..));
        let input = match (&self.key_file, error) {
            (Some(file), _) if !passing => {
                Input::new("`GOOGLE_APPLICATION_CREDENTIALS` names no key of a service account")
                    .at_file(file)
                    .hint(format!("unset the variable and {LOGIN_HINT}"))
            }
            (_, E::NoAuthMethod(..)) => {
                Input::new("no Google Cloud credentials were found").hint(LOGIN_HINT)
            }
            (
                _,
                E::Http(what, _)
                | E::Io(what, _)
                | E::Json(what, _)
                | E::Other(what, _)
                | E::Str(what),
            ) => {
                Input::new(format!("the credentials give no access token: {what}")).hint(LOGIN_HINT)
            }
        };
        NoToken { input, passing }
    }
}

const LOGIN_HINT: &str = "run `gcloud auth application-default login`";

/// The project that is billed for an end user's requests: `GOOGLE_CLOUD_QUOTA_PROJECT`, else what
/// `gcloud auth application-default login` wrote beside the user's credentials.
pub(super) fn quota_project(variable: impl Fn(&str) -> Option<String>) -> Option<String> {
    #[derive(Deserialize)]
    struct Credentials {
        quota_project_id: Option<String>,
    }
    if let Some(project) = variable("GOOGLE_CLOUD_QUOTA_PROJECT").filter(|p| !p.is_empty()) {
        return Some(project);
    }
    if variable(KEY_VARIABLE).is_some() {
        return None;
    }
    let home = variable("HOME")?;
    let file =
        std::path::Path::new(&home).join(".config/gcloud/application_default_credentials.json");
    let bytes = std::fs::read(file).ok()?;
    let credentials: Credentials = serde_json::from_slice(&bytes).ok()?;
    credentials.quota_project_id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_do_not_quote_what_was_read() {
        let none = |key_file: Option<&str>| {
            let quoting = serde_json::from_str::<u8>(r#""secret""#).unwrap_err();
            let error = gcp_auth::Error::Json("failed to read the token", quoting);
            let find: fn() -> Finding = || Box::pin(std::future::pending());
            Tokens::found_by(find, key_file.map(PathBuf::from)).no_token(&error)
        };
        insta::assert_snapshot!(none(None).input, @"the credentials give no access token: failed to read the token");
        insta::assert_snapshot!(none(Some("key.json")).input, @"key.json: `GOOGLE_APPLICATION_CREDENTIALS` names no key of a service account");
    }

    #[test]
    fn the_quota_project_is_the_variable_s_or_the_file_s() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join(".config/gcloud");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(
            folder.join("application_default_credentials.json"),
            r#"{"type":"authorized_user","quota_project_id":"from-file"}"#,
        )
        .unwrap();
        let with = |set: &'static [&'static str]| {
            quota_project(|name| match name {
                "HOME" => Some(home.path().to_str().unwrap().to_owned()),
                name => set.contains(&name).then(|| "set".to_owned()),
            })
        };
        assert_eq!(with(&[]).as_deref(), Some("from-file"));
        assert_eq!(
            with(&["GOOGLE_CLOUD_QUOTA_PROJECT"]).as_deref(),
            Some("set")
        );
        assert_eq!(with(&[KEY_VARIABLE]), None);
    }
}
