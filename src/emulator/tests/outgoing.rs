//! Whom the emulator calls.

use std::time::Duration;

use axum::http::{HeaderMap, Method};

use super::on;
use crate::emulator::core::outgoing::{Call, CallError, RunService, keep, place, send};

#[tokio::test]
async fn only_addresses_that_a_user_named_are_called() {
    let folder = tempfile::tempdir().unwrap();
    let running = on(folder.path(), &[]).await;
    let core = running.core();
    let service = RunService {
        name: "churn".into(),
        url: "http://127.0.0.1:9".into(),
        public: false,
    };
    keep(core, &service).unwrap();
    for (url, expected, checked) in [
        (
            "http://127.0.0.1:81/x?y=1",
            "http://127.0.0.1:81/x?y=1",
            false,
        ),
        ("http://[::1]/", "http://[::1]/", false),
        ("https://a.localhost/", "https://a.localhost/", false),
        ("http://127.0.0.1:9/x", "http://127.0.0.1:9/x", true),
        (
            "https://churn-1234.us-central1.run.app/x",
            "http://127.0.0.1:9/x",
            true,
        ),
    ] {
        let place = place(core, url).unwrap();
        assert_eq!((place.url.as_str(), place.checked), (expected, checked));
    }
    let own = place(core, "https://cloudbuild.googleapis.com/v1/x").unwrap();
    assert_eq!(own.url.as_str(), format!("{}/v1/x", running.url()));
    for url in [
        "http://169.254.169.254/computeMetadata/v1/",
        "http://metadata.google.internal/",
        "http://0.0.0.0/",
        "http://[::]/",
        "http://[::ffff:127.0.0.1]/",
        "http://10.0.0.1/",
        "http://127.0.0.1.evil.test/",
        "http://localhost.evil.test/",
        "http://evil.test@127.0.0.1/",
        "http://127.0.0.1@evil.test/",
        "https://example.com/",
        "https://compute.googleapis.com/",
        "https://other-1234.us-central1.run.app/",
        "file:///etc/passwd",
        "ftp://127.0.0.1/",
        "x",
    ] {
        assert!(
            matches!(place(core, url), Err(CallError::Refused(_))),
            "{url}"
        );
    }
    running.stop().await;
}

#[tokio::test]
async fn a_call_ends_though_nobody_answers() {
    let folder = tempfile::tempdir().unwrap();
    let running = on(folder.path(), &[]).await;
    let deaf = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let call = |url: String| Call {
        method: Method::POST,
        url,
        headers: HeaderMap::new(),
        body: b"x".to_vec(),
        timeout: Duration::from_millis(300),
        token: None,
        follow: true,
    };
    let url = format!("http://{}/", deaf.local_addr().unwrap());
    let error = send(running.core(), call(url.clone())).await.unwrap_err();
    assert_eq!(error.status().0, 4);
    drop(deaf);
    let error = send(running.core(), call(url)).await.unwrap_err();
    assert_eq!(error.status().0, 14, "{error:?}");
    running.stop().await;
}
