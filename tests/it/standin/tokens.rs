//! Who gives out access tokens: the metadata server, the Security Token Service and IAM Credentials.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::namespace::METADATA;

/// The build's account.
pub const ACCOUNT: &str = "builder@my-project.iam.gserviceaccount.com";
/// What another cloud says about who one is.
pub const IDENTITY: &str = "signed.by.another-cloud";
/// Whom a token of the Security Token Service stands for, until it is exchanged for an account's.
const FEDERATED: &str = "principal://iam.googleapis.com/laptop";
const TOKEN: &str = "/computeMetadata/v1/instance/service-accounts/default/token";

/// How the metadata server behaves.
#[derive(Clone, Copy)]
pub struct Habits {
    /// Nothing listens for so long.
    pub refuses: Duration,
    /// So many requests for a token are answered with 503.
    pub busy: u32,
    /// So many of those after them are answered late, by so much.
    pub slow: (u32, Duration),
    /// What a token says about itself.
    pub expires_in: Duration,
    /// How long it really is taken.
    pub taken: Duration,
}

impl Habits {
    pub const GOOD: Self = Self {
        refuses: Duration::ZERO,
        busy: 0,
        slow: (0, Duration::ZERO),
        expires_in: Duration::from_secs(3599),
        taken: Duration::from_secs(3599),
    };
}

/// All tokens that were given out.
pub struct Tokens {
    habits: Habits,
    asked: AtomicU32,
    /// Whose each is, and when it ends.
    given: Mutex<BTreeMap<String, (String, Instant)>>,
}

impl Tokens {
    pub fn new(habits: Habits) -> Self {
        Self {
            habits,
            asked: AtomicU32::new(0),
            given: Mutex::default(),
        }
    }

    pub fn count(&self) -> usize {
        self.given.lock().unwrap().len()
    }

    fn give(&self, account: &str) -> String {
        let mut given = self.given.lock().unwrap();
        let token = format!("ya29.{}-{account}", given.len());
        let end = Instant::now() + self.habits.taken;
        given.insert(token.clone(), (account.to_owned(), end));
        token
    }

    /// The account of a request; `None` where its token is missing, unknown or over.
    pub fn account(&self, headers: &HeaderMap) -> Option<String> {
        let bearer = headers.get("authorization")?.to_str().ok()?;
        let given = self.given.lock().unwrap();
        let (account, end) = given.get(bearer.strip_prefix("Bearer ")?)?;
        (*end > Instant::now()).then(|| account.clone())
    }

    /// Whether a request carries the token of an account.
    pub fn accepts(&self, headers: &HeaderMap) -> bool {
        self.account(headers).is_some_and(|who| who == ACCOUNT)
    }

    /// `POST https://sts.googleapis.com/v1/token`: another cloud's token becomes a federated one. The form may
    /// come as such or as JSON.
    pub fn exchange(&self, body: &[u8]) -> (u16, Value) {
        let form = || url::form_urlencoded::parse(body).into_owned().collect();
        let json = serde_json::from_slice::<BTreeMap<String, String>>(body);
        let sent: BTreeMap<String, String> = json.unwrap_or_else(|_| form());
        let field =
            |snake: &str, camel: &str| sent.get(snake).or(sent.get(camel)).map(String::as_str);
        let urn = |what: &str| format!("urn:ietf:params:oauth:{what}");
        let right = field("grant_type", "grantType") == Some(&urn("grant-type:token-exchange"))
            && field("requested_token_type", "requestedTokenType")
                == Some(&urn("token-type:access_token"))
            && field("subject_token_type", "subjectTokenType") == Some(&urn("token-type:jwt"))
            && field("subject_token", "subjectToken") == Some(IDENTITY)
            && field("audience", "audience").is_some_and(|a| a.contains("workloadIdentityPools"))
            && field("scope", "scope").is_some();
        if !right {
            let error = json!({"error": "invalid_request", "error_description": "Invalid value."});
            return (400, error);
        }
        let answer = json!({
            "access_token": self.give(FEDERATED),
            "issued_token_type": urn("token-type:access_token"),
            "token_type": "Bearer",
            "expires_in": 3599,
        });
        (200, answer)
    }

    /// `:generateAccessToken` of an account, asked for with a federated token.
    pub fn impersonate(&self, headers: &HeaderMap, path: &str) -> (u16, Value) {
        let asked = format!("/v1/projects/-/serviceAccounts/{ACCOUNT}:generateAccessToken");
        let path = path.replace("%40", "@");
        if self.account(headers).is_none_or(|who| who != FEDERATED) || path != asked {
            let message = "Permission 'iam.serviceAccounts.getAccessToken' denied on resource (or it may not exist).";
            return (
                403,
                json!({"error": {"code": 403, "message": message, "status": "PERMISSION_DENIED"}}),
            );
        }
        let hour = time::OffsetDateTime::now_utc() + Duration::from_secs(3600);
        let end = hour.replace_nanosecond(0).unwrap();
        let end = end
            .format(&time::format_description::well_known::Rfc3339)
            .unwrap();
        (
            200,
            json!({"accessToken": self.give(ACCOUNT), "expireTime": end}),
        )
    }

    async fn metadata(&self, path: &str, headers: &HeaderMap) -> Response {
        let text = |code: StatusCode, text: String| {
            let mut response = Response::new(Body::from(text));
            *response.status_mut() = code;
            let flavor = axum::http::HeaderValue::from_static("Google");
            response.headers_mut().insert("metadata-flavor", flavor);
            response
        };
        if path != "/" && headers.get("metadata-flavor").is_none_or(|f| f != "Google") {
            return text(
                StatusCode::FORBIDDEN,
                "Missing Metadata-Flavor:Google header.".into(),
            );
        }
        match path {
            "/" => text(StatusCode::OK, "computeMetadata/\n".into()),
            TOKEN => {
                let turn = self.asked.fetch_add(1, Ordering::Relaxed);
                let (slow, late) = self.habits.slow;
                if turn < self.habits.busy {
                    return text(StatusCode::SERVICE_UNAVAILABLE, String::new());
                }
                if turn < self.habits.busy + slow {
                    tokio::time::sleep(late).await;
                }
                let token = json!({
                    "access_token": self.give(ACCOUNT),
                    "expires_in": self.habits.expires_in.as_secs(),
                    "token_type": "Bearer",
                });
                text(StatusCode::OK, token.to_string())
            }
            "/computeMetadata/v1/instance/service-accounts/default/email" => {
                text(StatusCode::OK, ACCOUNT.into())
            }
            "/computeMetadata/v1/project/project-id" => text(StatusCode::OK, "my-project".into()),
            _ => text(StatusCode::NOT_FOUND, "Not Found".into()),
        }
    }
}

/// Serves the metadata server at its address, in cleartext as Google does.
pub async fn serve_metadata(tokens: Arc<Tokens>) {
    tokio::time::sleep(tokens.habits.refuses).await;
    let listener = TcpListener::bind((METADATA, 80)).await.unwrap();
    let app = Router::new().fallback(move |request: axum::extract::Request| {
        let tokens = tokens.clone();
        async move {
            tokens
                .metadata(request.uri().path(), request.headers())
                .await
        }
    });
    axum::serve(listener, app).await.unwrap();
}
