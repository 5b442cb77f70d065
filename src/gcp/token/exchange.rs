//! The requests that give a token: the OAuth server, the Security Token Service, IAM Credentials, a
//! metadata server; and the program gcloud.
//!
//! An answer is never quoted: it holds tokens, or may repeat what was sent.

use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::header::CONTENT_TYPE;
use reqwest::{RequestBuilder, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;
use url::form_urlencoded::Serializer;

use super::NoToken;
use super::file::{Credentials, Federated, ServiceAccount, Subject, SubjectPlace, User};
use crate::clock::Timestamp;
use crate::error::Input;
use crate::gcp::connections::{Connections, causes};

pub(super) const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
pub(super) const LOGIN_HINT: &str = "run `gcloud auth application-default login`";
const FLAVOR: &str = "Metadata-Flavor";
const DEFAULT_ACCOUNT: &str = "computeMetadata/v1/instance/service-accounts/default";

/// A token as it came.
pub(super) struct Fetched {
    pub bearer: String,
    pub until: Timestamp,
    /// What it is good for, where the answer says so.
    pub scopes: Option<Vec<String>>,
}

/// What gcloud says of the one who logged in.
pub(super) struct FromGcloud {
    pub token: Fetched,
    pub account: Option<String>,
    pub quota_project: Option<String>,
}

/// An answer of an OAuth server or a metadata server.
#[derive(Deserialize)]
struct TokenReply {
    access_token: String,
    #[serde(deserialize_with = "crate::gcp::wire::int")]
    expires_in: u64,
    scope: Option<String>,
    refresh_token: Option<String>,
}

impl TokenReply {
    fn fetched(self) -> Fetched {
        let scopes = self
            .scope
            .map(|s| s.split(' ').map(str::to_owned).collect());
        Fetched {
            bearer: self.access_token,
            until: Timestamp::real_now() + Duration::from_secs(self.expires_in),
            scopes,
        }
    }
}

/// An answer of IAM's `generateAccessToken`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GeneratedReply {
    access_token: String,
    expire_time: Timestamp,
}

/// One try to get a token for the credentials of a file.
pub(super) async fn from_file(
    credentials: &mut Credentials,
    connections: &Connections,
) -> Result<Fetched, NoToken> {
    match credentials {
        Credentials::ServiceAccount(account) => of_service_account(account, connections).await,
        Credentials::User(user) => of_user(user, connections).await,
        Credentials::Federated(federated) => of_federated(federated, connections).await,
        Credentials::Impersonated {
            base,
            url,
            account,
            delegates,
            lifetime,
            ..
        } => {
            let base = Box::pin(from_file(base, connections)).await?;
            let body = json!({
                "delegates": delegates,
                "scope": [SCOPE],
                "lifetime": format!("{}s", lifetime.as_secs()),
            });
            let request = post(connections, url)?
                .header(CONTENT_TYPE, "application/json")
                .bearer_auth(&base.bearer)
                .body(body.to_string());
            let hint = format!(
                "the caller needs `roles/iam.serviceAccountTokenCreator` on `{account}`, or \
                 `roles/iam.workloadIdentityUser` where it is of another provider"
            );
            let reply: GeneratedReply = ask(request, url, &hint).await?;
            Ok(Fetched {
                bearer: reply.access_token,
                until: reply.expire_time,
                scopes: Some(vec![SCOPE.to_owned()]),
            })
        }
    }
}

async fn of_service_account(
    account: &ServiceAccount,
    connections: &Connections,
) -> Result<Fetched, NoToken> {
    let assertion = assertion(account, Timestamp::real_now()).map_err(NoToken::wrong)?;
    let form = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
        ("assertion", &assertion),
    ];
    let hint = format!(
        "see that the account `{}` and its key are still there and enabled, and that this \
         machine's clock is right",
        account.email
    );
    let request = form_post(connections, &account.token_url, &form)?;
    let reply: TokenReply = ask(request, &account.token_url, &hint).await?;
    Ok(reply.fetched())
}

/// What the key says, signed: good for an hour, as the token that it is changed for.
fn assertion(account: &ServiceAccount, now: Timestamp) -> Result<String, Input> {
    let mut header = json!({"alg": "RS256", "typ": "JWT"});
    if let Some(id) = &account.key_id {
        header["kid"] = json!(id);
    }
    let seconds = now.unix_micros() / 1_000_000;
    let claims = json!({
        "iss": account.email,
        "scope": SCOPE,
        "aud": account.token_url.as_str(),
        "iat": seconds,
        "exp": seconds + 3600,
    });
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(&header), part(&claims));
    let signature = account
        .key
        .signer()
        .sign(signed.as_bytes())
        .map_err(|_| Input::new("the private key of the credentials cannot sign"))?;
    Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

async fn of_user(user: &mut User, connections: &Connections) -> Result<Fetched, NoToken> {
    let mut form = vec![
        ("grant_type", "refresh_token"),
        ("refresh_token", &user.refresh_token),
    ];
    if !user.workforce {
        form.push(("client_id", &user.client_id));
        form.push(("client_secret", &user.client_secret));
    }
    let mut request = form_post(connections, &user.token_url, &form)?;
    if user.workforce {
        request = request.basic_auth(&user.client_id, Some(&user.client_secret));
    }
    let reply: TokenReply = ask(request, &user.token_url, LOGIN_HINT).await?;
    if let Some(next) = &reply.refresh_token {
        user.refresh_token.clone_from(next);
    }
    Ok(reply.fetched())
}

async fn of_federated(
    federated: &Federated,
    connections: &Connections,
) -> Result<Fetched, NoToken> {
    let subject = subject_token(&federated.subject, connections).await?;
    let mut form = vec![
        (
            "grant_type",
            "urn:ietf:params:oauth:grant-type:token-exchange",
        ),
        ("audience", &federated.audience),
        ("scope", SCOPE),
        (
            "requested_token_type",
            "urn:ietf:params:oauth:token-type:access_token",
        ),
        ("subject_token", &subject),
        ("subject_token_type", &federated.subject_token_type),
    ];
    let options = json!({"userProject": federated.user_project}).to_string();
    // A client that names itself is known with its project.
    if federated.user_project.is_some() && federated.client.is_none() {
        form.push(("options", &options));
    }
    let mut request = form_post(connections, &federated.token_url, &form)?;
    if let Some((id, secret)) = &federated.client {
        request = request.basic_auth(id, Some(secret));
    }
    let hint = format!(
        "see that the provider `{}` takes the token: its issuer, audience and condition",
        federated.audience
    );
    let reply: TokenReply = ask(request, &federated.token_url, &hint).await?;
    Ok(reply.fetched())
}

/// The other provider's token, which is read anew each time: it lives for minutes.
async fn subject_token(subject: &Subject, connections: &Connections) -> Result<String, NoToken> {
    let (text, from) = match &subject.place {
        SubjectPlace::File(path) => {
            let text = std::fs::read_to_string(path).map_err(|e| {
                let why = format!("the provider's token cannot be read: {e}");
                NoToken::wrong(Input::new(why).at_file(path))
            })?;
            (text, path.display().to_string())
        }
        SubjectPlace::Url { url, headers } => {
            let http = if url.scheme() == "https" {
                connections.google()
            } else {
                connections.direct()
            };
            let mut request = http
                .map_err(NoToken::no_client)?
                .get(url.clone())
                .timeout(connections.limits.token);
            for (name, value) in headers {
                request = request.header(name, value);
            }
            let hint = "see that the provider gives a token at `credential_source.url`";
            (answer(request, url, hint).await?, origin(url))
        }
    };
    let token = match &subject.field {
        None => Some(text.trim().to_owned()),
        Some(field) => serde_json::from_str::<Value>(&text)
            .ok()
            .and_then(|value| Some(value.get(field)?.as_str()?.to_owned())),
    };
    token.filter(|token| !token.is_empty()).ok_or_else(|| {
        let what = match &subject.field {
            Some(field) => format!("{from} holds no token in a field `{field}` of a JSON object"),
            None => format!("{from} holds no token"),
        };
        NoToken::wrong(Input::new(what))
    })
}

/// One try to get a token of the machine's own account.
pub(super) async fn from_metadata(
    host: &str,
    connections: &Connections,
    limit: Duration,
) -> Result<Fetched, NoToken> {
    let text = metadata(host, "token", connections, limit).await?;
    let reply: TokenReply = serde_json::from_str(&text)
        .map_err(|_| NoToken::Passing(format!("the metadata server at {host} gave no token")))?;
    Ok(reply.fetched())
}

/// What a metadata server knows of the machine's own account: `token`, `email`, `scopes`.
pub(super) async fn metadata(
    host: &str,
    what: &str,
    connections: &Connections,
    limit: Duration,
) -> Result<String, NoToken> {
    let url = Url::parse(&format!("http://{host}/{DEFAULT_ACCOUNT}/{what}")).map_err(|_| {
        NoToken::wrong(Input::new(format!(
            "`GCE_METADATA_HOST` is `{host}`, which is no `HOST` or `HOST:PORT`"
        )))
    })?;
    let http = connections.direct().map_err(NoToken::no_client)?;
    let request = http.get(url).header(FLAVOR, "Google").timeout(limit);
    let said = |what: String| NoToken::Passing(format!("the metadata server at {host} {what}"));
    let response = request
        .send()
        .await
        .map_err(|e| said(format!("gave no answer: {}", causes(&e.without_url()))))?;
    let flavor = response.headers().get(FLAVOR);
    let http = response.status();
    if flavor.is_none_or(|flavor| flavor != "Google") {
        let code = http.as_u16();
        return Err(said(format!(
            "answered {code} without the header `{FLAVOR}: Google`"
        )));
    }
    if !http.is_success() {
        let why = match http {
            StatusCode::NOT_FOUND => " (is there a service account on this machine?)",
            _ => "",
        };
        return Err(said(format!("answered {}{why}", http.as_u16())));
    }
    let text = response.text().await;
    text.map_err(|e| said(format!("broke off: {}", causes(&e.without_url()))))
}

/// gcloud's own user and token; `None` where there is no gcloud, or nobody logged in.
pub(super) async fn from_gcloud(
    program: &Path,
    connections: &Connections,
) -> Result<Option<FromGcloud>, NoToken> {
    let limit = connections.limits.program;
    let run = tokio::process::Command::new(program)
        .args(["config", "config-helper", "--format=json"])
        .stdin(std::process::Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = match tokio::time::timeout(limit, run).await {
        Ok(Ok(output)) => output,
        Ok(Err(_)) => return Ok(None),
        Err(_) => {
            let limit = limit.as_secs();
            return Err(NoToken::Passing(format!(
                "`gcloud config config-helper` gave no token within {limit} s"
            )));
        }
    };
    Ok(read_gcloud(&output.stdout).filter(|_| output.status.success()))
}

/// What `gcloud config config-helper` prints.
fn read_gcloud(printed: &[u8]) -> Option<FromGcloud> {
    #[derive(Deserialize)]
    struct Printed {
        credential: Credential,
        #[serde(default)]
        configuration: Value,
    }
    #[derive(Deserialize)]
    struct Credential {
        access_token: String,
        token_expiry: Timestamp,
    }
    let printed: Printed = serde_json::from_slice(printed).ok()?;
    let property = |name: &str| {
        let value = printed
            .configuration
            .pointer(&format!("/properties/{name}"));
        Some(value?.as_str()?.to_owned())
    };
    Some(FromGcloud {
        token: Fetched {
            bearer: printed.credential.access_token,
            until: printed.credential.token_expiry,
            scopes: None,
        },
        account: property("core/account"),
        // In capitals it is a rule, as `CURRENT_PROJECT`, not a project.
        quota_project: property("billing/quota_project")
            .filter(|project| project.starts_with(|c: char| c.is_ascii_lowercase())),
    })
}

fn post(connections: &Connections, url: &Url) -> Result<RequestBuilder, NoToken> {
    let http = connections.google().map_err(NoToken::no_client)?;
    Ok(http.post(url.clone()).timeout(connections.limits.token))
}

fn form_post(
    connections: &Connections,
    url: &Url,
    form: &[(&str, &str)],
) -> Result<RequestBuilder, NoToken> {
    let form = Serializer::new(String::new()).extend_pairs(form).finish();
    let request = post(connections, url)?;
    Ok(request
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(form))
}

/// Sends a request for a token and reads the answer.
async fn ask<T: serde::de::DeserializeOwned>(
    request: RequestBuilder,
    url: &Url,
    hint: &str,
) -> Result<T, NoToken> {
    let text = answer(request, url, hint).await?;
    // The parser's message would quote.
    serde_json::from_str(&text)
        .map_err(|_| NoToken::Passing(format!("{} answered without a token", origin(url))))
}

/// Sends a request; an answer that refuses is the credentials' fault.
async fn answer(request: RequestBuilder, url: &Url, hint: &str) -> Result<String, NoToken> {
    let from = origin(url);
    let broken = |e: reqwest::Error| {
        if e.is_builder() {
            let message = format!("the credentials make no request to {from} that can be sent");
            return NoToken::wrong(Input::new(message));
        }
        NoToken::Passing(format!(
            "no answer from {from}: {}",
            causes(&e.without_url())
        ))
    };
    let response = request.send().await.map_err(broken)?;
    let http = response.status();
    let text = response.text().await.map_err(broken)?;
    if http.is_success() {
        return Ok(text);
    }
    let code = http.as_u16();
    let word = word(&text)
        .map(|word| format!(" {word}"))
        .unwrap_or_default();
    if http.is_server_error() || matches!(code, 408 | 429) {
        return Err(NoToken::Passing(format!("{from} answered {code}{word}")));
    }
    let message = format!("{from} refused the credentials: {code}{word}");
    Err(NoToken::wrong(Input::new(message).hint(hint)))
}

/// The word that says what is wrong, as in `invalid_grant` or `PERMISSION_DENIED`.
fn word(body: &str) -> Option<String> {
    let value: Value = serde_json::from_str(body).ok()?;
    let error = value.get("error")?;
    let word = error.as_str().or_else(|| error.get("status")?.as_str())?;
    let is_word = word.len() <= 40 && word.chars().all(|c| c.is_ascii_alphabetic() || c == '_');
    is_word.then(|| word.to_owned())
}

/// An address without its path and query, which may hold secrets.
fn origin(url: &Url) -> String {
    url.origin().ascii_serialization()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_by_its_word_and_nothing_else() {
        let told = |body| word(body);
        assert_eq!(
            told(r#"{"error":"invalid_grant","error_description":"secret"}"#).as_deref(),
            Some("invalid_grant")
        );
        assert_eq!(
            told(r#"{"error":{"code":403,"message":"secret","status":"PERMISSION_DENIED"}}"#)
                .as_deref(),
            Some("PERMISSION_DENIED")
        );
        for odd in [
            "",
            "<html>",
            r#"{"error":"a secret token"}"#,
            r#"{"error":7}"#,
        ] {
            assert_eq!(told(odd), None, "{odd}");
        }
    }

    #[test]
    fn gcloud_tells_user_token_and_quota_project() {
        let printed = |quota: &str| {
            format!(
                r#"{{"configuration":{{"properties":{{"core":{{"account":"a@b.c"}},"billing":{{"quota_project":"{quota}"}}}}}},
                "credential":{{"access_token":"t","token_expiry":"2026-01-01T00:00:00Z"}},"sentinels":{{}}}}"#
            )
        };
        let read = |text: &str| read_gcloud(text.as_bytes());
        let found = read(&printed("payer")).unwrap();
        assert_eq!(found.account.as_deref(), Some("a@b.c"));
        assert_eq!(found.quota_project.as_deref(), Some("payer"));
        assert_eq!(found.token.until.to_string(), "2026-01-01T00:00:00.000000Z");
        assert_eq!(
            read(&printed("CURRENT_PROJECT")).unwrap().quota_project,
            None
        );
        assert!(read("{}").is_none());
    }
}
