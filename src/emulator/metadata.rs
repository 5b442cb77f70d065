//! The metadata server, as a build's containers reach it by `GCE_METADATA_HOST`.
//!
//! The token is a fixed text that no real service takes. Which project a container belongs to cannot
//! be told from its request: it is the emulator's own, `CLOUDSDK_CORE_PROJECT` or `GOOGLE_CLOUD_PROJECT`.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use serde_json::json;

use crate::emulator::core::numbers::project_number;
use crate::emulator::core::variables::local_project;

const ROOT: &str = "/computeMetadata/v1/";
const FLAVOR: &str = "metadata-flavor";
const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
const ACCOUNT: &str = "instance/service-accounts/default/";
const TOKEN: &str = "serin-emulator-token";

/// Whether a path is the metadata server's. Clients ask the bare root whether there is one.
pub(in crate::emulator) fn serves(path: &str) -> bool {
    path == "/" || path == "/computeMetadata" || path.starts_with("/computeMetadata/")
}

/// Answers a request, which must carry `Metadata-Flavor: Google`.
pub(in crate::emulator) fn answer(path: &str, headers: &HeaderMap) -> Response {
    let asked = headers.get(FLAVOR).is_some_and(|f| f == "Google");
    let (status, kind, text) = match (path, asked) {
        ("/", _) | ("/computeMetadata" | "/computeMetadata/", true) => (
            StatusCode::OK,
            "application/text",
            "computeMetadata/\n".to_owned(),
        ),
        (_, false) => (
            StatusCode::FORBIDDEN,
            "text/html",
            "Missing required header \"Metadata-Flavor\": \"Google\"\n".to_owned(),
        ),
        (path, true) => match value(path.strip_prefix(ROOT).unwrap_or_default()) {
            Some((kind, text)) => (StatusCode::OK, kind, text),
            None => (StatusCode::NOT_FOUND, "text/html", "Not Found\n".to_owned()),
        },
    };
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(FLAVOR, HeaderValue::from_static("Google"));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// The value under a key: its content type and its text.
fn value(key: &str) -> Option<(&'static str, String)> {
    let project = local_project();
    let number = project_number(&project);
    let email = format!("{number}@cloudbuild.gserviceaccount.com");
    let plain = |text: &str| Some(("application/text", text.to_owned()));
    if let Some(rest) = key.strip_prefix(ACCOUNT) {
        return match rest {
            "" => {
                let account = json!({"aliases": ["default"], "email": email, "scopes": [SCOPE]});
                Some(("application/json", account.to_string()))
            }
            "aliases" => plain("default"),
            "email" => plain(&email),
            "scopes" => plain(&format!("{SCOPE}\n")),
            "token" => {
                let token =
                    json!({"access_token": TOKEN, "expires_in": 3599, "token_type": "Bearer"});
                Some(("application/json", token.to_string()))
            }
            _ => None,
        };
    }
    match key {
        "" => plain("instance/\nproject/\n"),
        "project/" => plain("numeric-project-id\nproject-id\n"),
        "project/project-id" => plain(&project),
        "project/numeric-project-id" => plain(&number),
        "instance/" => plain("id\nservice-accounts/\nzone\n"),
        "instance/id" => plain("1"),
        "instance/zone" => plain(&format!("projects/{number}/zones/us-central1-a")),
        "instance/service-accounts/" => plain(&format!("default/\n{email}/\n")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clients_ask_for_is_there() {
        for key in [
            "project/project-id",
            "instance/zone",
            "instance/service-accounts/",
        ] {
            assert!(value(key).is_some(), "{key}");
        }
        let (kind, token) = value("instance/service-accounts/default/token").unwrap();
        assert_eq!(kind, "application/json");
        assert!(token.contains("access_token"));
        assert!(value("instance/service-accounts/default/identity").is_none());
        assert!(serves("/computeMetadata/v1/project/project-id"));
        assert!(!serves("/v1/projects"));
    }
}
