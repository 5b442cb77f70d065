use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};

use gcp_auth::TokenProvider;
use reqwest::Method;

use super::*;
use crate::gcp::retry::Twice;
use crate::gcp::scripted::{Answer, Scripted};

fn call(client: &Client, twice: Twice) -> Call {
    let base = &client.bases().storage;
    base.call("things.get", "thing", Method::GET, "/v1/thing", twice)
}

async fn get(server: &Scripted, twice: Twice) -> Result<String, Error> {
    let client = server.client();
    let reply = client.send(&call(&client, twice)).await?;
    Ok(String::from_utf8(reply.body.to_vec()).unwrap())
}

fn unavailable() -> Answer {
    Answer::code(503, "<html><title>503</title>")
}

#[tokio::test]
async fn a_passing_failure_is_tried_again() {
    for failure in [
        unavailable(),
        Answer::code(500, ""),
        Answer::Close,
        Answer::Hang,
        Answer::Cut(200, vec![], b"{".to_vec()),
    ] {
        let server = Scripted::start([failure, Answer::json("yes")]).await;
        assert_eq!(get(&server, Twice::Always).await.unwrap(), "yes");
        assert_eq!(server.asked().len(), 2);
    }
}

#[tokio::test]
async fn what_may_not_be_sent_twice_is_sent_once() {
    for (failure, says) in [
        (unavailable(), "503 (UNAVAILABLE, HTTP 503, 1 try)"),
        (Answer::Close, "(UNAVAILABLE, 1 try)"),
        (Answer::Hang, "no answer in time from http://127.0.0.1"),
        (
            Answer::Cut(200, vec![], b"{".to_vec()),
            "the connection broke to",
        ),
    ] {
        let server = Scripted::start([failure, Answer::json("yes")]).await;
        let error = get(&server, Twice::Never).await.unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
        assert!(!error.contains("/v1/thing"), "{error}");
        assert_eq!(server.asked().len(), 1);
    }
}

#[tokio::test]
async fn one_too_many_is_always_tried_again_after_the_time_it_names() {
    let wait = Answer::Full(429, vec![("Retry-After", "30".into())], Vec::new());
    let server = Scripted::start([wait, Answer::json("yes")]).await;
    let client = server.client();
    let before = client.clock().now();
    client.send(&call(&client, Twice::Never)).await.unwrap();
    assert!(client.clock().now().since(before) >= Duration::from_secs(30));
}

#[tokio::test]
async fn it_gives_up_after_six_tries() {
    let server = Scripted::start((0..9).map(|_| unavailable())).await;
    let error = get(&server, Twice::Always).await.unwrap_err();
    assert_eq!((error.tries, error.http), (6, Some(503)));
    assert_eq!(server.asked().len(), 6);
}

#[tokio::test]
async fn a_refusal_is_final_and_a_redirect_is_not_followed() {
    for http in [400, 403, 404, 409, 412, 501, 302] {
        let away = vec![("Location", "http://127.0.0.1:1/".to_owned())];
        let server = Scripted::start([Answer::Full(http, away, Vec::new())]).await;
        let error = get(&server, Twice::Always).await.unwrap_err();
        assert_eq!((error.tries, error.http), (1, Some(http)));
    }
}

#[tokio::test]
async fn an_address_without_a_server_is_named() {
    let mut server = Scripted::start([]).await;
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    server.url = format!("http://{}", port.local_addr().unwrap());
    drop(port);
    let error = get(&server, Twice::Never).await.unwrap_err();
    assert_eq!((error.tries, error.http), (6, None));
    assert!(
        error
            .message
            .starts_with("cannot connect to http://127.0.0.1:"),
        "{error}"
    );
    assert!(error.message.contains("Connection refused"), "{error}");
}

/// Gives the number of providers before it as its token.
struct Counting(u32);

impl TokenProvider for Counting {
    fn token<'a, 'b, 'c, 'd>(
        &'a self,
        _: &'b [&'c str],
    ) -> Pin<Box<dyn Future<Output = Result<Arc<gcp_auth::Token>, gcp_auth::Error>> + Send + 'd>>
    where
        'a: 'd,
        'b: 'd,
        'c: 'd,
        Self: 'd,
    {
        let json = format!(r#"{{"access_token":"secret{}","expires_in":3600}}"#, self.0);
        let token: gcp_auth::Token = serde_json::from_str(&json).unwrap();
        Box::pin(async move { Ok(Arc::new(token)) })
    }

    fn project_id<'a, 'd>(
        &'a self,
    ) -> Pin<Box<dyn Future<Output = Result<Arc<str>, gcp_auth::Error>> + Send + 'd>>
    where
        'a: 'd,
        Self: 'd,
    {
        Box::pin(async { Err(gcp_auth::Error::Str("none")) })
    }
}

#[tokio::test]
async fn a_refused_token_is_replaced_once() {
    static MADE: AtomicU32 = AtomicU32::new(0);
    let tokens = Tokens::found_by(
        || {
            Box::pin(async {
                let provider = Counting(MADE.fetch_add(1, Ordering::Relaxed));
                Ok(Arc::new(provider) as Arc<dyn TokenProvider>)
            })
        },
        None,
    );
    let refused = || {
        Answer::code(
            401,
            r#"{"error":{"message":"secret?","status":"UNAUTHENTICATED"}}"#,
        )
    };
    let server = Scripted::start([
        Answer::json("{}"),
        refused(),
        Answer::json("{}"),
        refused(),
        refused(),
    ])
    .await;
    let client = server.client_with(true, tokens);
    for _ in 0..2 {
        client.send(&call(&client, Twice::Never)).await.unwrap();
    }
    let error = client
        .send(&call(&client, Twice::Always))
        .await
        .unwrap_err();
    assert_eq!(error.http, Some(401));
    let asked = server.asked();
    let sent: Vec<_> = asked
        .iter()
        .map(|a| a.header("authorization").unwrap())
        .collect();
    assert_eq!(
        sent,
        [
            "Bearer secret0",
            "Bearer secret0",
            "Bearer secret1",
            "Bearer secret1",
            "Bearer secret2"
        ]
    );
    assert_eq!(asked[0].header("x-goog-user-project"), Some("payer"));
    assert!(!format!("{client:?}{error:?}").contains("secret2"));
}

#[tokio::test]
async fn an_overridden_address_sees_no_token() {
    let server = Scripted::start([Answer::json("{}"), Answer::code(401, "")]).await;
    let never = Tokens::found_by(|| panic!("no token is needed"), None);
    let client = server.client_with(false, never);
    client.send(&call(&client, Twice::Always)).await.unwrap();
    client
        .send(&call(&client, Twice::Always))
        .await
        .unwrap_err();
    for asked in server.asked() {
        assert_eq!(asked.header("authorization"), None);
        assert_eq!(asked.header("x-goog-user-project"), None);
    }
}

#[tokio::test]
async fn no_credentials_are_the_user_s_to_set_right() {
    let server = Scripted::start([]).await;
    let tokens = Tokens::found_by(
        || {
            Box::pin(async {
                let no = || Box::new(gcp_auth::Error::Str("no"));
                Err(gcp_auth::Error::NoAuthMethod(no(), no(), no()))
            })
        },
        None,
    );
    let client = server.client_with(true, tokens);
    let error = client
        .send(&call(&client, Twice::Always))
        .await
        .unwrap_err();
    assert!(server.asked().is_empty());
    let error = anyhow::Error::new(error).context("reading the model");
    assert_eq!(crate::error::exit_code(&error), crate::error::code::INPUT);
    insta::assert_snapshot!(crate::error::render(&error), @r"
    error: reading the model: things.get thing: there is no access token (UNAUTHENTICATED, 1 try): no Google Cloud credentials were found
    hint: run `gcloud auth application-default login`
    ");
}

#[tokio::test]
async fn a_token_that_does_not_come_ends_in_an_error() {
    let server = Scripted::start([]).await;
    let client = server.client_with(
        true,
        Tokens::found_by(|| Box::pin(std::future::pending()), None),
    );
    let failed = client
        .once(&call(&client, Twice::Always))
        .await
        .err()
        .unwrap();
    assert_eq!(failed.effect, Effect::None);
    assert!(
        failed
            .error
            .input
            .unwrap()
            .message
            .contains("no access token within")
    );
}

/// Steps may run on many threads.
#[tokio::test]
async fn calls_can_be_spawned() {
    let server = Scripted::start([Answer::json("{}")]).await;
    let client = server.client();
    let storage = crate::gcp::Storage::new(&client);
    fn sent<T: Send>(_: T) {}
    let (path, pre) = (std::path::Path::new("x"), crate::gcp::Precondition::None);
    sent(storage.objects_insert_file("b", "n", "t", path, pre));
    sent(storage.objects_download("b", "n", path));
    let vertex = crate::gcp::Vertex::new(&client, "p", "l");
    sent(vertex.custom_jobs_list(""));
    let task = tokio::spawn(async move { storage.objects_list("b", "").await });
    assert!(task.await.unwrap().unwrap().is_empty());
}
