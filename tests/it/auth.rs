//! Who serin is to Google Cloud, asked of a metadata server of the test's own.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use serde_json::Value;

use crate::harness::Project;

/// Answers each path with its text; anything else with 404, and so the first requests. Gives `host:port`.
fn metadata_server(pages: &'static [(&'static str, &'static str)], not_yet: usize) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let mut stream = stream.unwrap();
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
                head.push(byte[0]);
            }
            let head = String::from_utf8(head).unwrap();
            let asked = head.split(' ').nth(1).unwrap_or_default();
            let mut pages = pages.iter().filter(|_| number >= not_yet);
            let page = pages.find(|(path, _)| asked.ends_with(path));
            let (code, text) = page.map_or((404, ""), |(_, text)| (200, *text));
            let answer = format!(
                "HTTP/1.1 {code} X\r\nMetadata-Flavor: Google\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{text}",
                text.len()
            );
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    host
}

const PAGES: &[(&str, &str)] = &[
    (
        "/default/token",
        r#"{"access_token":"s3cret","expires_in":3599,"token_type":"Bearer"}"#,
    ),
    ("/default/email", "build@p.iam.gserviceaccount.com"),
    (
        "/default/scopes",
        "https://www.googleapis.com/auth/cloud-platform\n",
    ),
];

/// `serin auth` where there is nothing of this machine's own.
fn auth(format: &str, set: &[(&str, &str)]) -> (Option<i32>, String, String) {
    let project = Project::empty();
    let mut command = project.command(&["auth", "--format", format]);
    command
        .env("HOME", project.folder.path())
        .env("PATH", "/nowhere")
        .env_remove("GCE_METADATA_HOST")
        .envs(set.iter().copied());
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

#[test]
fn the_machine_s_account_is_told_without_its_token() {
    let host = metadata_server(PAGES, 0);
    let (code, stdout, stderr) = auth("text", &[("GCE_METADATA_HOST", &host)]);
    assert_eq!(code, Some(0), "{stderr}");
    for line in [
        "serin is:    the service account build@p.iam.gserviceaccount.com\n",
        &format!("source:      the metadata server at {host}\n"),
        "counted for: the account's own project\n",
        " (in 60 minutes)\n",
        "scopes:      https://www.googleapis.com/auth/cloud-platform\n",
    ] {
        assert!(stdout.contains(line), "{stdout}");
    }
    let set = [
        ("GCE_METADATA_HOST", host.as_str()),
        ("GOOGLE_CLOUD_QUOTA_PROJECT", "payer"),
        ("STORAGE_EMULATOR_HOST", "127.0.0.1:9"),
    ];
    let (code, json, _) = auth("json", &set);
    assert_eq!(code, Some(0));
    let told: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(told["access"]["principal"]["kind"], "service_account");
    assert_eq!(
        told["access"]["principal"]["name"],
        "build@p.iam.gserviceaccount.com"
    );
    assert_eq!(told["access"]["quota_project"], "payer");
    assert_eq!(told["redirected"][0]["variable"], "STORAGE_EMULATOR_HOST");
    assert_eq!(told["redirected"][0]["url"], "http://127.0.0.1:9");
    assert!(!format!("{stdout}{json}").contains("s3cret"));
}

#[test]
fn an_emulator_needs_no_account() {
    let apis = [
        "AIPLATFORM",
        "CLOUDBUILD",
        "CLOUDSCHEDULER",
        "EVENTARC",
        "LOGGING",
        "MONITORING",
        "PUBSUB",
        "RUN",
        "SOURCEREPO",
    ];
    let names = apis.map(|api| format!("CLOUDSDK_API_ENDPOINT_OVERRIDES_{api}"));
    let mut set = vec![("STORAGE_EMULATOR_HOST", "127.0.0.1:9")];
    set.extend(
        names
            .iter()
            .map(|name| (name.as_str(), "http://127.0.0.1:9/")),
    );
    let (code, stdout, stderr) = auth("text", &set);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.starts_with("no request goes to Google"), "{stdout}");
    assert!(
        stdout.contains("by STORAGE_EMULATOR_HOST, without a token"),
        "{stdout}"
    );
}

#[test]
fn no_credentials_and_a_wrong_file_are_the_user_s_to_set_right() {
    let (code, _, stderr) = auth("text", &[("NO_GCE_CHECK", "true")]);
    assert_eq!(code, Some(2), "{stderr}");
    insta::assert_snapshot!(stderr, @r"
    error: no Google Cloud credentials were found
    hint: run `gcloud auth application-default login`
    ");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), r#"{"type":"magic","refresh_token":"s3cret"}"#).unwrap();
    let path = file.path().to_str().unwrap();
    let (code, _, stderr) = auth("text", &[("GOOGLE_APPLICATION_CREDENTIALS", path)]);
    assert_eq!(code, Some(2), "{stderr}");
    insta::assert_snapshot!(stderr.replace(path, "FILE"), @r"
    error: FILE: the credentials are of the type `magic`, which serin does not know
    hint: it takes `service_account`, `authorized_user`, `external_account`, `external_account_authorized_user` and `impersonated_service_account`
    ");
}

/// As on a machine in its first seconds.
#[test]
fn a_metadata_server_that_is_not_up_yet_is_waited_for() {
    let host = metadata_server(PAGES, 2);
    let clock = "1000@2026-01-01T00:00:00Z=2026-01-01T00:00:00Z";
    let set = [("GCE_METADATA_HOST", host.as_str()), ("SERIN_CLOCK", clock)];
    let (code, stdout, stderr) = auth("text", &set);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(
        stdout.contains("build@p.iam.gserviceaccount.com"),
        "{stdout}"
    );
    let lines: Vec<&str> = stderr.lines().collect();
    assert_eq!(lines.len(), 2, "{stderr}");
    assert!(lines[0].starts_with("waiting "), "{stderr}");
    assert!(
        lines[0].ends_with(&format!(
            " s before try 2 of auth token: there is no access token: the metadata server at {host} answered 404 (is there a service account on this machine?) (UNAVAILABLE)"
        )),
        "{stderr}"
    );
}
