use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::gcp::scripted::{Answer, Asked, Scripted, limits, nowhere};

const EMAIL: &str = "ci@p.iam.gserviceaccount.com";
const KEY: &str = include_str!("../../../tests/data/auth/key.pem");

/// A file of credentials, and the connections of one process.
struct Bench {
    folder: TempDir,
    connections: Connections,
    tokens: Tokens,
}

impl Bench {
    fn of(places: Places) -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            connections: Connections::new(limits()),
            tokens: Tokens::at(places),
        }
    }

    fn with_file(content: &Value) -> Self {
        let mut bench = Self::of(nowhere());
        let path = bench.folder.path().join("credentials.json");
        std::fs::write(&path, content.to_string()).unwrap();
        bench.tokens.places.key_file = Some(path);
        bench
    }

    async fn get(&self) -> Result<Token, NoToken> {
        self.tokens.get(&self.connections).await
    }

    async fn bearer(&self) -> String {
        match self.get().await {
            Ok(token) => token.bearer,
            Err(none) => panic!("{}", said(none)),
        }
    }

    async fn access(&self) -> Access {
        match self.tokens.access(&self.connections).await {
            Ok(access) => access,
            Err(none) => panic!("{}", said(none)),
        }
    }

    /// What is told where there is no token; the folder's name is left out.
    async fn told(&self) -> String {
        let none = self.get().await.err().expect("a token");
        said(none).replace(&format!("{}/", self.folder.path().display()), "")
    }
}

fn said(none: NoToken) -> String {
    match none {
        NoToken::Wrong(input) => match &input.hint {
            Some(hint) => format!("{input}\nhint: {hint}"),
            None => input.to_string(),
        },
        NoToken::Passing(why) => format!("passing: {why}"),
    }
}

fn token(name: &str, seconds: u64) -> Answer {
    Answer::json(&json!({"access_token": name, "expires_in": seconds}).to_string())
}

fn flavored(body: &str) -> Answer {
    Answer::Full(200, vec![("Metadata-Flavor", "Google".into())], body.into())
}

fn form(asked: &Asked) -> Vec<(String, String)> {
    url::form_urlencoded::parse(&asked.body)
        .into_owned()
        .collect()
}

fn field(asked: &Asked, name: &str) -> Option<String> {
    form(asked)
        .into_iter()
        .find_map(|(n, value)| (n == name).then_some(value))
}

fn user(server: &Scripted) -> Value {
    json!({
        "type": "authorized_user",
        "client_id": "id",
        "client_secret": "s3cret",
        "refresh_token": "r3fresh",
        "token_uri": format!("{}/token", server.url),
        "quota_project_id": "payer",
    })
}

fn federated(server: &Scripted, source: Value) -> Value {
    json!({
        "type": "external_account",
        "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/w/providers/p",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": format!("{}/v1/token", server.url),
        "credential_source": source,
        "quota_project_id": "payer",
    })
}

fn account_url(server: &Scripted) -> String {
    format!(
        "{}/v1/projects/-/serviceAccounts/{EMAIL}:generateAccessToken",
        server.url
    )
}

fn generated(name: &str) -> Answer {
    let until = Timestamp::real_now() + Duration::from_secs(1200);
    Answer::json(&json!({"accessToken": name, "expireTime": until}).to_string())
}

#[tokio::test]
async fn a_key_of_a_service_account_signs_for_a_token() {
    let server = Scripted::start([token("t", 3600)]).await;
    let bench = Bench::with_file(&json!({
        "type": "service_account",
        "client_email": EMAIL,
        "private_key_id": "k1",
        "private_key": KEY,
        "token_uri": format!("{}/token", server.url),
        "universe_domain": "googleapis.com",
        "quota_project_id": "none of its own",
    }));
    let Token {
        bearer,
        quota_project,
        ..
    } = bench.get().await.ok().unwrap();
    assert_eq!((bearer.as_str(), quota_project), ("t", None));
    let asked = &server.asked()[0];
    let assertion = field(asked, "assertion").unwrap();
    let parts: Vec<Vec<u8>> = assertion
        .split('.')
        .map(|part| URL_SAFE_NO_PAD.decode(part).unwrap())
        .collect();
    let header: Value = serde_json::from_slice(&parts[0]).unwrap();
    assert_eq!(header, json!({"alg": "RS256", "typ": "JWT", "kid": "k1"}));
    let claims: Value = serde_json::from_slice(&parts[1]).unwrap();
    assert_eq!(
        (&claims["iss"], &claims["scope"]),
        (&json!(EMAIL), &json!(SCOPE))
    );
    assert_eq!(claims["aud"], json!(format!("{}/token", server.url)));
    assert_eq!(
        claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(),
        3600
    );
    assert_eq!(parts[2].len(), 256);
    let access = bench.access().await;
    assert_eq!(
        access.principal,
        Principal::ServiceAccount(Some(EMAIL.into()))
    );
    assert_eq!(access.scopes, [SCOPE]);
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test]
async fn a_user_s_refresh_token_gives_a_token_and_a_quota_project() {
    let reply = json!({"access_token": "t", "expires_in": "3599", "scope": "openid a"});
    let server = Scripted::start([Answer::json(&reply.to_string())]).await;
    let bench = Bench::with_file(&user(&server));
    let token = bench.get().await.ok().unwrap();
    assert_eq!(token.quota_project.as_deref(), Some("payer"));
    let asked = &server.asked()[0];
    assert_eq!(field(asked, "grant_type").as_deref(), Some("refresh_token"));
    assert_eq!(field(asked, "client_secret").as_deref(), Some("s3cret"));
    let access = bench.access().await;
    assert_eq!(access.principal, Principal::User(None));
    assert_eq!(access.scopes, ["openid", "a"]);
    assert!(access.source.ends_with("credentials.json"));
}

#[tokio::test]
async fn a_workforce_user_s_refresh_token_is_the_last_that_was_given() {
    let first = json!({"access_token": "t1", "expires_in": 0, "refresh_token": "next"});
    let server = Scripted::start([Answer::json(&first.to_string()), token("t2", 60)]).await;
    let mut file = user(&server);
    file["type"] = json!("external_account_authorized_user");
    file["token_url"] = file["token_uri"].take();
    let bench = Bench::with_file(&file);
    assert_eq!([bench.bearer().await, bench.bearer().await], ["t1", "t2"]);
    let asked = server.asked();
    assert_eq!(
        field(&asked[0], "refresh_token").as_deref(),
        Some("r3fresh")
    );
    assert_eq!(field(&asked[1], "refresh_token").as_deref(), Some("next"));
    // `id:s3cret`
    assert_eq!(asked[0].header("authorization"), Some("Basic aWQ6czNjcmV0"));
    assert_eq!(field(&asked[0], "client_secret"), None);
}

#[tokio::test]
async fn another_provider_s_token_is_exchanged() {
    let other = Scripted::start([Answer::json(r#"{"value":"theirs"}"#)]).await;
    let server = Scripted::start([token("t", 3600)]).await;
    let bench = Bench::with_file(&federated(
        &server,
        json!({
            "url": format!("{}/oidc?aud=x", other.url),
            "headers": {"Authorization": "Bearer runner"},
            "format": {"type": "json", "subject_token_field_name": "value"},
        }),
    ));
    assert_eq!(bench.bearer().await, "t");
    assert_eq!(
        other.asked()[0].header("authorization"),
        Some("Bearer runner")
    );
    assert_eq!(other.asked()[0].target, "/oidc?aud=x");
    insta::assert_snapshot!(
        form(&server.asked()[0]).iter().map(|(n, v)| format!("{n}={v}\n")).collect::<String>(),
        @r"
    grant_type=urn:ietf:params:oauth:grant-type:token-exchange
    audience=//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/w/providers/p
    scope=https://www.googleapis.com/auth/cloud-platform
    requested_token_type=urn:ietf:params:oauth:token-type:access_token
    subject_token=theirs
    subject_token_type=urn:ietf:params:oauth:token-type:jwt
    "
    );
    let access = bench.access().await;
    assert_eq!(access.quota_project.as_deref(), Some("payer"));
    assert!(matches!(access.principal, Principal::Federated(a) if a.ends_with("/providers/p")));
}

#[tokio::test]
async fn another_provider_s_token_acts_as_a_service_account() {
    let server = Scripted::start([token("federated", 3600), generated("t")]).await;
    let subject = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(subject.path(), "theirs\n").unwrap();
    let mut file = federated(&server, json!({"file": subject.path()}));
    file["service_account_impersonation_url"] = json!(account_url(&server));
    file["service_account_impersonation"] = json!({"token_lifetime_seconds": 1200});
    file["workforce_pool_user_project"] = json!("counted");
    let bench = Bench::with_file(&file);
    assert_eq!(bench.bearer().await, "t");
    let asked = server.asked();
    assert_eq!(field(&asked[0], "subject_token").as_deref(), Some("theirs"));
    assert_eq!(
        field(&asked[0], "options").as_deref(),
        Some(r#"{"userProject":"counted"}"#)
    );
    assert_eq!(asked[1].header("authorization"), Some("Bearer federated"));
    let body = json!({"delegates": [], "scope": [SCOPE], "lifetime": "1200s"});
    assert_eq!(asked[1].json(), body);
    let principal = bench.access().await.principal;
    assert_eq!(principal, Principal::ServiceAccount(Some(EMAIL.into())));
}

#[tokio::test]
async fn a_user_acts_as_a_service_account_by_delegates() {
    let server = Scripted::start([token("mine", 3600), generated("t")]).await;
    let delegate = "projects/-/serviceAccounts/between@p.iam.gserviceaccount.com";
    let bench = Bench::with_file(&json!({
        "type": "impersonated_service_account",
        "service_account_impersonation_url": account_url(&server),
        "delegates": [delegate],
        "source_credentials": user(&server),
    }));
    let token = bench.get().await.ok().unwrap();
    assert_eq!(token.bearer, "t");
    assert_eq!(token.quota_project.as_deref(), Some("payer"));
    let asked = server.asked();
    assert_eq!(asked[1].header("authorization"), Some("Bearer mine"));
    assert_eq!(asked[1].json()["delegates"], json!([delegate]));
    assert_eq!(asked[1].json()["lifetime"], json!("3600s"));
}

#[tokio::test]
async fn a_refusal_is_told_without_what_was_sent_or_answered() {
    let refusal = r#"{"error":"invalid_grant","error_description":"r3fresh"}"#;
    let server = Scripted::start([Answer::code(400, refusal)]).await;
    let told = Bench::with_file(&user(&server)).told().await;
    insta::assert_snapshot!(told.replace(&server.url, "URL"), @r"
    credentials.json: URL refused the credentials: 400 invalid_grant
    hint: run `gcloud auth application-default login`
    ");
    let refusal = r#"{"error":{"code":403,"message":"mine","status":"PERMISSION_DENIED"}}"#;
    let server = Scripted::start([token("mine", 3600), Answer::code(403, refusal)]).await;
    let told = Bench::with_file(&json!({
        "type": "impersonated_service_account",
        "service_account_impersonation_url": account_url(&server),
        "source_credentials": user(&server),
    }));
    insta::assert_snapshot!(told.told().await.replace(&server.url, "URL"), @r"
    credentials.json: URL refused the credentials: 403 PERMISSION_DENIED
    hint: the caller needs `roles/iam.serviceAccountTokenCreator` on `ci@p.iam.gserviceaccount.com`, or `roles/iam.workloadIdentityUser` where it is of another provider
    ");
}

#[tokio::test]
async fn a_server_that_fails_is_passing() {
    for failure in [
        Answer::code(503, "r3fresh"),
        Answer::code(429, ""),
        Answer::Close,
        Answer::Hang,
        Answer::json(r#"{"access_token":"r3fresh"}"#),
        Answer::Cut(200, vec![], b"r3fresh".to_vec()),
    ] {
        let server = Scripted::start([failure, token("t", 60)]).await;
        let bench = Bench::with_file(&user(&server));
        let told = bench.told().await;
        assert!(told.starts_with("passing: "), "{told}");
        assert!(!told.contains("r3fresh"), "{told}");
        assert_eq!(bench.bearer().await, "t");
    }
}

#[tokio::test]
async fn a_file_that_serin_does_not_take_is_told_by_name() {
    let server = Scripted::start([]).await;
    let with = |field: &str, value: Value| {
        let mut file = user(&server);
        file[field] = value;
        file
    };
    let source = |source: Value| federated(&server, source);
    let mut told = String::new();
    for file in [
        with("type", json!("magic")),
        with("type", json!("gdch_service_account")),
        with("type", Value::Null),
        with("universe_domain", json!("example.com")),
        with("refresh_token", json!({"secret": 1})),
        with(
            "token_uri",
            json!("https://oauth2.googleapis.com.evil.example/token"),
        ),
        source(json!({"executable": {"command": "/bin/x"}})),
        source(json!({"environment_id": "aws1"})),
        source(json!({"certificate": {}})),
        source(json!({"url": "http://example.com/token"})),
        source(json!({"url": "http://127.0.0.1:9/", "headers": {"a": "b\nsecret"}})),
        source(json!({"file": "/t", "format": {"type": "xml"}})),
        source(json!({})),
        json!(["secret"]),
        json!({"type": "service_account", "client_email": EMAIL, "private_key": "secret",
            "token_uri": server.url}),
        json!({"type": "impersonated_service_account", "source_credentials": user(&server),
            "service_account_impersonation_url": format!("{}/x", server.url)}),
    ] {
        told.push_str(
            &Bench::with_file(&file)
                .told()
                .await
                .replace("credentials.json: ", ""),
        );
        told.push('\n');
    }
    assert!(server.asked().is_empty());
    insta::assert_snapshot!(told);
}

#[test]
fn secrets_go_to_google_by_https_only() {
    let trusted = |text: &str| file::is_google(&url::Url::parse(text).unwrap());
    for url in [
        "https://sts.googleapis.com/v1/token",
        "https://iamcredentials.googleapis.com/v1/x",
        "https://accounts.google.com/o/oauth2/token",
    ] {
        assert!(trusted(url), "{url}");
    }
    for url in [
        "http://sts.googleapis.com/v1/token",
        "https://sts.googleapis.com.example.com/",
        "https://evilgoogleapis.com/",
        "https://googleapis.com@example.com/",
        "http://127.0.0.1/",
    ] {
        assert!(!trusted(url), "{url}");
    }
}

#[tokio::test]
async fn a_missing_file_is_an_error_only_where_it_was_named() {
    let mut bench = Bench::of(nowhere());
    bench.tokens.places.adc_file = Some(bench.folder.path().join("none.json"));
    insta::assert_snapshot!(bench.told().await, @r"
    no Google Cloud credentials were found
    hint: run `gcloud auth application-default login`
    ");
    bench.tokens.places.key_file = Some(bench.folder.path().join("none.json"));
    insta::assert_snapshot!(bench.told().await, @r"
    none.json: the credentials cannot be read: No such file or directory (os error 2)
    hint: set `GOOGLE_APPLICATION_CREDENTIALS` to a file of credentials, or unset it
    ");
}

#[tokio::test]
async fn a_token_is_kept_and_renewed_before_its_end() {
    let server = Scripted::start([token("short", 1), token("long", 3600)]).await;
    let bench = Bench::with_file(&user(&server));
    assert_eq!(bench.bearer().await, "short");
    bench.tokens.found.lock().await.kept.as_mut().unwrap().renew = Timestamp::real_now();
    assert_eq!(
        [bench.bearer().await, bench.bearer().await],
        ["long", "long"]
    );
    assert_eq!(server.asked().len(), 2);
    // What cannot be renewed is used while it is good, without asking each time.
    bench.tokens.found.lock().await.kept.as_mut().unwrap().renew = Timestamp::real_now();
    assert_eq!(
        [bench.bearer().await, bench.bearer().await],
        ["long", "long"]
    );
    assert_eq!(server.asked().len(), 3);
}

#[test]
fn a_token_is_renewed_four_minutes_early_or_at_half_its_time() {
    let now = Timestamp::from_unix_micros(0);
    let after = |seconds| {
        let renew = renew(now, now + Duration::from_secs(seconds));
        renew.since(now).as_secs()
    };
    assert_eq!(
        [after(3600), after(481), after(300), after(0)],
        [3360, 241, 150, 0]
    );
}

#[tokio::test]
async fn a_possible_metadata_server_is_asked_once_and_then_gcloud() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let gcloud = folder.path().join("gcloud");
    let said = json!({
        "configuration": {"properties": {"core": {"account": "a@b.c"}}},
        "credential": {"access_token": "t", "token_expiry": "2999-01-01T00:00:00Z"},
    });
    let script =
        format!("#!/bin/sh\n[ \"$*\" = 'config config-helper --format=json' ] && echo '{said}'\n");
    std::fs::write(&gcloud, script).unwrap();
    std::fs::set_permissions(&gcloud, std::fs::Permissions::from_mode(0o755)).unwrap();
    let server = Scripted::start([Answer::code(
        200,
        r#"{"access_token":"fake","expires_in":9}"#,
    )])
    .await;
    let possible = |gcloud: &Path| Places {
        metadata: Metadata::Possible(server.host()),
        gcloud: gcloud.to_owned(),
        ..nowhere()
    };
    let bench = Bench::of(possible(&gcloud));
    assert_eq!(bench.bearer().await, "t");
    let access = bench.access().await;
    assert_eq!(access.principal, Principal::User(Some("a@b.c".into())));
    assert_eq!(access.source, "gcloud");
    assert_eq!(server.asked().len(), 1);

    // On a machine of Google's, gcloud's person is nobody to act as.
    let bench = Bench::of(Places {
        metadata: Metadata::Certain(server.host()),
        ..possible(&gcloud)
    });
    assert!(bench.told().await.starts_with("passing: "));

    let bench = Bench::of(possible(Path::new("/bin/false")));
    insta::assert_snapshot!(bench.told().await, @r"
    no Google Cloud credentials were found
    hint: run `gcloud auth application-default login`
    ");
}

#[tokio::test]
async fn a_metadata_server_tells_the_account_and_its_scopes() {
    let server = Scripted::start([
        flavored(r#"{"access_token":"t","expires_in":3600,"token_type":"Bearer"}"#),
        flavored(EMAIL),
        flavored("https://www.googleapis.com/auth/devstorage.read_only\n"),
        Answer::code(503, ""),
        Answer::code(503, ""),
    ])
    .await;
    let bench = Bench::of(Places {
        metadata: Metadata::Possible(server.host()),
        ..nowhere()
    });
    let access = bench.access().await;
    assert_eq!(
        access.principal,
        Principal::ServiceAccount(Some(EMAIL.into()))
    );
    assert_eq!(
        access.source,
        format!("the metadata server at {}", server.host())
    );
    assert_eq!(
        access.scopes,
        ["https://www.googleapis.com/auth/devstorage.read_only"]
    );
    // What it does not tell is left open.
    let access = bench.access().await;
    assert_eq!(access.principal, Principal::ServiceAccount(None));
}

#[tokio::test]
async fn the_environment_s_quota_project_counts_before_the_file_s() {
    let server = Scripted::start([token("t", 3600)]).await;
    let mut bench = Bench::with_file(&user(&server));
    bench.tokens.places.quota_project = Some("set".into());
    let token = bench.get().await.ok().unwrap();
    assert_eq!(token.quota_project.as_deref(), Some("set"));
}

#[tokio::test]
async fn another_universe_is_refused() {
    let bench = Bench::of(Places {
        universe: Some("example.com".into()),
        ..nowhere()
    });
    insta::assert_snapshot!(bench.told().await, @"`GOOGLE_CLOUD_UNIVERSE_DOMAIN` is of the universe `example.com`; serin speaks to `googleapis.com` only");
}
