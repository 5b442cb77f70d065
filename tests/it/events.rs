//! Triggers that are fired by messages, webhooks and GitHub's events.

use std::fs;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::cloudbuild::wait_for;
use crate::emulate::{client, emulate_with, get, post, text_answer};
use crate::harness::Project;
use crate::pushes::Work;

const SHOW: &str = "#!/bin/sh\necho $_T $_U\n";

fn builds(url: &str) -> Vec<Value> {
    let (_, list) = get(&format!("{url}/v1/projects/p/builds"));
    let mut builds = list["builds"].as_array().cloned().unwrap_or_default();
    builds.reverse();
    builds
}

fn until_builds(url: &str, count: usize) -> Vec<Value> {
    let end = std::time::Instant::now() + std::time::Duration::from_secs(30);
    loop {
        let found = builds(url);
        if found.len() >= count {
            assert_eq!(found.len(), count, "{found:#?}");
            return found;
        }
        assert!(std::time::Instant::now() < end, "{found:#?}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

fn trigger(url: &str, trigger: &Value) {
    let (code, made) = post(&format!("{url}/v1/projects/p/triggers"), trigger);
    assert_eq!(code, 200, "{made}");
}

#[test]
fn a_message_fires_the_triggers_of_its_topic_whose_filter_it_passes() {
    let project = Project::empty();
    let (_emulator, url) = emulate_with(&project, "cloud", &["--builds=host"]);
    let answer = client()
        .put(format!("{url}/v1/projects/p/topics/topic"))
        .json(&json!({}));
    assert_eq!(text_answer(answer).0, 200);
    let build = json!({"steps": [{"name": "serin", "script": SHOW}]});
    let of = |name: &str, filter: &str| {
        json!({
            "name": name, "build": build, "filter": filter, "pubsubConfig": {"topic": "projects/p/topics/topic"},
            "substitutions": {"_T": "$(body.message.data.tag)", "_U": "$(body.message.attributes.kind)-$(body.message.messageId)"},
        })
    };
    trigger(&url, &of("all", ""));
    trigger(
        &url,
        &of(
            "some",
            "_T.startsWith(\"v\") && body.message.attributes.kind == \"a\"",
        ),
    );
    let publish = |data: &str, kind: &str| {
        let message = json!({"data": BASE64_STANDARD.encode(data), "attributes": {"kind": kind}});
        let (code, said) = post(
            &format!("{url}/v1/projects/p/topics/topic:publish"),
            &json!({"messages": [message]}),
        );
        assert_eq!(code, 200, "{said}");
        said["messageIds"][0].as_str().unwrap().to_owned()
    };
    let id = publish("{\"tag\": \"v1\"}", "a");
    let found = until_builds(&url, 2);
    assert_eq!(found[0]["substitutions"]["_T"], "v1");
    assert_eq!(found[0]["substitutions"]["_U"], format!("a-{id}"));
    publish("{\"tag\": \"v2\"}", "b");
    let found = until_builds(&url, 3);
    assert_eq!(found[2]["substitutions"]["TRIGGER_NAME"], "all");
    // A message without the value starts nothing, and the next is not held up by it.
    publish("no json", "a");
    publish("{\"tag\": \"x\"}", "a");
    let found = until_builds(&url, 4);
    assert_eq!(found[3]["substitutions"]["_T"], "x");
    let (_, made) = get(&format!("{url}/v1/projects/p/triggers/all"));
    assert_eq!(
        made["pubsubConfig"]["subscription"],
        "projects/p/subscriptions/gcb-all"
    );
}

#[test]
fn a_webhook_needs_the_triggers_secret() {
    let project = Project::empty();
    fs::write(project.folder.path().join("secret"), "s3cret\n").unwrap();
    let (_emulator, url) = emulate_with(
        &project,
        "cloud",
        &["--builds=host", "--secret", "hook=@secret"],
    );
    trigger(
        &url,
        &json!({
            "name": "hook", "build": {"steps": [{"name": "serin", "script": SHOW}]},
            "webhookConfig": {"secret": "projects/p/secrets/hook/versions/1"},
            "substitutions": {"_T": "$(body.a[0].b)"},
        }),
    );
    let call = |query: &str, body: &Value| {
        post(
            &format!("{url}/v1/projects/p/triggers/hook:webhook{query}"),
            body,
        )
    };
    let body = json!({"a": [{"b": "c d"}]});
    for query in ["", "?secret=wrong", "?secret=s3cre", "?secret=s3cret%0a"] {
        assert_eq!(call(query, &body).0, 403, "{query}");
    }
    assert_eq!(call("?secret=s3cret&trigger=hook", &body), (200, json!({})));
    let found = until_builds(&url, 1);
    assert_eq!(found[0]["substitutions"]["_T"], "c d");
    assert_eq!(call("?secret=s3cret", &json!({})).0, 200);
    until_builds(&url, 1);
}

fn signature(secret: &[u8], body: &[u8]) -> String {
    let padded = |with: u8| {
        let mut block = [0_u8; 64];
        block[..secret.len()].copy_from_slice(secret);
        block.map(|byte| byte ^ with)
    };
    let inner = Sha256::new()
        .chain_update(padded(0x36))
        .chain_update(body)
        .finalize();
    let outer = Sha256::new()
        .chain_update(padded(0x5c))
        .chain_update(inner)
        .finalize();
    let hex: String = outer.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256={hex}")
}

#[test]
fn githubs_signed_events_fire_triggers_from_a_clone_of_this_machine() {
    let project = Project::empty();
    fs::write(project.folder.path().join("secret"), "hush").unwrap();
    let work = Work::new(
        project.folder.path().join("work"),
        "steps: [{name: serin, args: [--version]}]\n",
    );
    let first = work.git(&["rev-parse", "HEAD"]);
    let second = work.commit("models/a", "1");
    work.git(&["checkout", "--quiet", "-b", "feature"]);
    let third = work.commit("docs/a", "1");
    let mapped = format!("acme/shop={}", project.folder.path().join("work").display());
    let connected = format!("link={}", project.folder.path().join("work").display());
    let flags = [
        "--builds=host",
        "--github-secret",
        "secret",
        "--repository",
        &mapped,
        "--repository",
        &connected,
    ];
    let (_emulator, url) = emulate_with(&project, "cloud", &flags);
    let of = |name: &str, event: Value| {
        let mut made = json!({"name": name, "filename": "cloudbuild.yaml", "includedFiles": ["models/**"], "github": {"owner": "acme", "name": "shop"}});
        made["github"]
            .as_object_mut()
            .unwrap()
            .extend(event.as_object().unwrap().clone());
        made
    };
    trigger(&url, &of("push", json!({"push": {"branch": "^main$"}})));
    trigger(
        &url,
        &of(
            "pull",
            json!({"pullRequest": {"branch": "^main$", "commentControl": "COMMENTS_DISABLED"}}),
        ),
    );
    let mut any = of("any-pull", json!({"pullRequest": {"branch": "^main$"}}));
    any["includedFiles"] = json!(["docs/**"]);
    any["substitutions"] = json!({"_TITLE": "$(pull_request.title)"});
    trigger(&url, &any);
    let link = "projects/p/locations/us-east1/connections/c/gitRepositoryLinks/link";
    let connect = json!({
        "name": "connect", "filename": "cloudbuild.yaml",
        "developerConnectEventConfig": {"gitRepositoryLink": link, "push": {"branch": "^main$"}},
    });
    let (code, made) = post(
        &format!("{url}/v1/projects/p/locations/us-east1/triggers"),
        &connect,
    );
    assert_eq!(code, 200, "{made}");

    let send = |kind: &str, delivery: &str, body: &Value, secret: &[u8]| {
        let text = body.to_string();
        let asked = client()
            .post(format!("{url}/v1/githubDotComWebhook:receive?webhookKey=k"))
            .header("content-type", "application/json")
            .header("x-github-event", kind)
            .header("x-github-delivery", delivery)
            .header("x-hub-signature-256", signature(secret, text.as_bytes()))
            .body(text);
        let (code, text) = text_answer(asked);
        (code, serde_json::from_str::<Value>(&text).unwrap())
    };
    let push = json!({
        "ref": "refs/heads/main", "before": first, "after": second,
        "repository": {"full_name": "acme/shop", "name": "shop"},
    });
    assert_eq!(send("push", "1", &push, b"wrong").0, 403);
    assert_eq!(send("ping", "0", &json!({"zen": "x"}), b"hush").0, 200);
    let (code, said) = send("push", "1", &push, b"hush");
    assert_eq!(
        (code, said["triggers"].as_array().unwrap().len()),
        (200, 2),
        "{said}"
    );
    let id = said["triggers"]
        .as_array()
        .unwrap()
        .iter()
        .find(|t| t["trigger"] == "push")
        .unwrap()["build"]
        .as_str()
        .unwrap();
    let build = wait_for(&url, id, &["SUCCESS", "FAILURE"]);
    assert_eq!(
        (&build["status"], &build["substitutions"]["COMMIT_SHA"]),
        (&json!("SUCCESS"), &json!(second))
    );
    assert_eq!(build["substitutions"]["REPO_FULL_NAME"], "acme/shop");
    // Sent again, it is the same event.
    assert_eq!(send("push", "1", &push, b"hush").1, said);
    assert_eq!(builds(&url).len(), 1);

    let pull = json!({
        "action": "opened", "number": 7, "repository": {"full_name": "acme/shop"},
        "pull_request": {
            "number": 7, "title": "More docs", "author_association": "NONE",
            "head": {"ref": "feature", "sha": third, "repo": {"html_url": "https://github.com/x/shop"}},
            "base": {"ref": "main", "sha": second},
        },
    });
    let (_, said) = send("pull_request", "2", &pull, b"hush");
    let outcomes = said["triggers"].as_array().unwrap();
    assert_eq!(outcomes.len(), 2, "{said}");
    assert!(
        outcomes[0]["none"]
            .as_str()
            .unwrap()
            .contains("includedFiles"),
        "{said}"
    );
    let build = wait_for(
        &url,
        outcomes[1]["build"].as_str().unwrap(),
        &["SUCCESS", "FAILURE"],
    );
    for (key, value) in [
        ("_PR_NUMBER", "7"),
        ("_HEAD_BRANCH", "feature"),
        ("_BASE_BRANCH", "main"),
        ("_HEAD_REPO_URL", "https://github.com/x/shop"),
        ("_TITLE", "More docs"),
        ("COMMIT_SHA", &third),
    ] {
        assert_eq!(build["substitutions"][key], value, "{key}");
    }
    let mut gone = push.clone();
    gone["after"] = "f".repeat(40).into();
    let (code, said) = send("push", "3", &gone, b"hush");
    assert_eq!(code, 200);
    assert!(
        said["triggers"][0]["none"]
            .as_str()
            .unwrap()
            .contains("is no commit"),
        "{said}"
    );
}

#[test]
fn githubs_events_are_refused_without_a_secret() {
    let project = Project::empty();
    let (_emulator, url) = emulate_with(&project, "cloud", &["--builds=host"]);
    let (code, said) = post(&format!("{url}/v1/githubDotComWebhook:receive"), &json!({}));
    assert_eq!(code, 403);
    assert!(
        said["error"]["message"]
            .as_str()
            .unwrap()
            .contains("--github-secret"),
        "{said}"
    );
}
