//! Access tokens: found where Google's tools leave their credentials, only when one is needed.

use std::future::Future;
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
    pub fn google() -> Self {
        Self::found_by(|| Box::pin(gcp_auth::provider()))
    }

    pub fn found_by(find: fn() -> Finding) -> Self {
        Self {
            find,
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
            Ok(Err(error)) => Err(no_token(&error)),
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
}

/// gcp_auth's own words only: its causes may quote what it read.
fn no_token(error: &gcp_auth::Error) -> NoToken {
    use gcp_auth::Error as E;
    const LOGIN: &str = "gcloud auth application-default login";
    if let Some(path) = std::env::var_os(KEY_VARIABLE).filter(|_| !matches!(error, E::Http(..))) {
        return NoToken {
            input: Input::new(
                "this file, which `GOOGLE_APPLICATION_CREDENTIALS` names, gives no access token",
            )
            .at_file(path.as_ref())
            .hint(format!(
                "let it name the key of a service account, or unset it and run `{LOGIN}`"
            )),
            passing: false,
        };
    }
    match error {
        E::NoAuthMethod(..) => NoToken {
            input: Input::new("no Google Cloud credentials were found").hint(LOGIN_HINT),
            passing: false,
        },
        E::Http(what, _) | E::Io(what, _) | E::Json(what, _) | E::Other(what, _) | E::Str(what) => {
            NoToken {
                input: Input::new(format!("the credentials give no access token: {what}"))
                    .hint(LOGIN_HINT),
                passing: matches!(error, E::Http(..)),
            }
        }
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
