use reqwest::Method;

use super::*;
use crate::gcp::scripted::{Answer, Scripted, no_tokens, nowhere};
use crate::gcp::token::Metadata;

fn call(client: &Client, idempotency: Idempotency) -> Call {
    let base = &client.bases().storage;
    base.call("things.get", "thing", Method::GET, "/v1/thing", idempotency)
}

async fn get(server: &Scripted, idempotency: Idempotency) -> Result<String, Error> {
    let client = server.client();
    let reply = client.send(&call(&client, idempotency)).await?;
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
        assert_eq!(get(&server, Idempotency::Always).await.unwrap(), "yes");
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
        let error = get(&server, Idempotency::Never)
            .await
            .unwrap_err()
            .to_string();
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
    client
        .send(&call(&client, Idempotency::Never))
        .await
        .unwrap();
    assert!(client.clock().now().since(before) >= Duration::from_secs(30));
}

#[tokio::test]
async fn it_gives_up_when_its_time_is_over() {
    let server = Scripted::start([]).await.always(unavailable);
    let client = server.giving_up();
    let error = client
        .send(&call(&client, Idempotency::Always))
        .await
        .unwrap_err();
    assert_eq!(error.http, Some(503));
    assert_eq!(server.asked().len(), error.tries as usize);
    assert!(error.tries > 6, "{error}");
}

/// A proxy may close an answer in the middle and call it whole.
#[tokio::test]
async fn an_answer_that_breaks_off_is_read_again() {
    for cut in ["", "{\"name\":\"thi", "<html>"] {
        let server = Scripted::start([Answer::json(cut), Answer::json(r#"{"name":"thing"}"#)]);
        let server = server.await;
        let client = server.client();
        let found: serde_json::Value = client
            .json(&call(&client, Idempotency::Always))
            .await
            .unwrap();
        assert_eq!(found["name"], "thing");
    }
    // What may not be sent twice is not, and what it did is open.
    let server = Scripted::start([Answer::json("{"), Answer::json("{}")]).await;
    let client = server.client();
    let made: Result<serde_json::Value, _> = client.json(&call(&client, Idempotency::Never)).await;
    let error = made.unwrap_err();
    assert!(error.is_lost() && error.http == Some(200), "{error}");
    // What is whole and something else stays so.
    let server = Scripted::start([Answer::json("7"), Answer::json("{}")]).await;
    let client = server.client();
    let made: Result<String, _> = client.json(&call(&client, Idempotency::Always)).await;
    assert_eq!(made.unwrap_err().tries, 1);
}

#[tokio::test]
async fn a_refusal_is_final_and_a_redirect_is_not_followed() {
    for http in [400, 403, 404, 409, 412, 501, 302] {
        let away = vec![("Location", "http://127.0.0.1:1/".to_owned())];
        let server = Scripted::start([Answer::Full(http, away, Vec::new())]).await;
        let error = get(&server, Idempotency::Always).await.unwrap_err();
        assert_eq!((error.tries, error.http), (1, Some(http)));
    }
}

#[tokio::test]
async fn an_address_without_a_server_is_named() {
    let mut server = Scripted::start([]).await;
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    server.url = format!("http://{}", port.local_addr().unwrap());
    drop(port);
    let client = server.giving_up();
    let error = client
        .send(&call(&client, Idempotency::Never))
        .await
        .unwrap_err();
    assert!(error.tries > 6 && error.http.is_none(), "{error}");
    assert!(
        error
            .message
            .starts_with("cannot connect to http://127.0.0.1:"),
        "{error}"
    );
    assert!(error.message.contains("Connection refused"), "{error}");
}

/// A metadata server's answer.
fn metadata(body: &str) -> Answer {
    Answer::Full(200, vec![("Metadata-Flavor", "Google".into())], body.into())
}

fn token(name: &str) -> Answer {
    metadata(&format!(r#"{{"access_token":"{name}","expires_in":3600}}"#))
}

/// The tokens of a machine of Google's.
fn at(server: &Scripted) -> Tokens {
    Tokens::at(Places {
        metadata: Metadata::Certain(server.host()),
        quota_project: Some("payer".into()),
        ..nowhere()
    })
}

#[tokio::test]
async fn a_refused_token_is_replaced_once() {
    let machine = Scripted::start(["secret0", "secret1", "secret2"].map(token)).await;
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
    let client = server.client_with(true, at(&machine));
    for _ in 0..2 {
        client
            .send(&call(&client, Idempotency::Never))
            .await
            .unwrap();
    }
    let error = client
        .send(&call(&client, Idempotency::Always))
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
    let machine = Scripted::start([]).await;
    let server = Scripted::start([Answer::json("{}"), Answer::code(401, "")]).await;
    let client = server.client_with(false, at(&machine));
    client
        .send(&call(&client, Idempotency::Always))
        .await
        .unwrap();
    client
        .send(&call(&client, Idempotency::Always))
        .await
        .unwrap_err();
    assert!(machine.asked().is_empty());
    for asked in server.asked() {
        assert_eq!(asked.header("authorization"), None);
        assert_eq!(asked.header("x-goog-user-project"), None);
    }
}

#[tokio::test]
async fn no_credentials_are_the_user_s_to_set_right() {
    let server = Scripted::start([]).await;
    let client = server.client_with(true, no_tokens());
    let error = client
        .send(&call(&client, Idempotency::Always))
        .await
        .unwrap_err();
    assert!(server.asked().is_empty());
    let error = anyhow::Error::new(error).context("reading the model");
    assert_eq!(crate::exit::exit_code(&error), crate::exit::code::INPUT);
    insta::assert_snapshot!(crate::exit::render(&error), @r"
    error: reading the model: things.get thing: there is no access token (UNAUTHENTICATED, 1 try): no Google Cloud credentials were found
    hint: run `gcloud auth application-default login`
    ");
}

/// As a metadata server is in the first seconds of a machine.
#[tokio::test]
async fn a_call_waits_for_a_metadata_server_that_is_not_up_yet() {
    let machine = Scripted::start([
        Answer::Close,
        Answer::Hang,
        Answer::code(503, "secret"),
        // Something else answers in its place.
        Answer::json(r#"{"access_token":"secret","expires_in":3600}"#),
        Answer::Full(404, vec![("Metadata-Flavor", "Google".into())], Vec::new()),
        metadata("{"),
        token("right"),
    ])
    .await;
    let server = Scripted::start([Answer::json("{}")]).await;
    let client = server.client_with(true, at(&machine));
    client
        .send(&call(&client, Idempotency::Never))
        .await
        .unwrap();
    let [asked] = <[_; 1]>::try_from(server.asked()).unwrap();
    assert_eq!(asked.header("authorization"), Some("Bearer right"));
    let machine = machine.asked();
    assert_eq!(machine.len(), 7);
    assert_eq!(machine[0].header("metadata-flavor"), Some("Google"));
    assert_eq!(
        machine[0].target,
        "/computeMetadata/v1/instance/service-accounts/default/token"
    );
}

#[tokio::test]
async fn a_metadata_server_that_never_comes_up_is_the_cloud_s_failure() {
    let machine = Scripted::start([])
        .await
        .always(|| Answer::code(503, "secret"));
    let server = Scripted::start([]).await;
    let client = server.client_with(true, at(&machine));
    let failed = client.once(&call(&client, Idempotency::Never)).await.err();
    let Failed { error, effect, .. } = failed.unwrap();
    assert_eq!(effect, Effect::None);
    let error = anyhow::Error::new(*error);
    assert_eq!(crate::exit::exit_code(&error), crate::exit::code::CLOUD);
    let text = error.to_string().replace(&machine.host(), "HOST");
    insta::assert_snapshot!(text, @"things.get thing: there is no access token: the metadata server at HOST answered 503 without the header `Metadata-Flavor: Google` (UNAVAILABLE)");
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
