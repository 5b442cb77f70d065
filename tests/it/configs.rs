//! The configs that this repository holds and `serin init` writes are what Cloud Build takes, and the commands
//! of docs/first-hour.md are there.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::harness::Project;

const TOP: &str = env!("CARGO_MANIFEST_DIR");
/// What names a build's account, once it is no comment.
const ACCOUNT: &str = "\nserviceAccount: projects/$PROJECT_ID/serviceAccounts/serin-build@$PROJECT_ID.iam.gserviceaccount.com\n";

fn text_of(file: &str) -> String {
    fs::read_to_string(Path::new(TOP).join(file)).unwrap()
}

/// A config as Cloud Build would take it, outside of any repository.
fn checked(text: &str, substitutions: &[&str]) -> Value {
    let project = Project::empty();
    project.write("cloudbuild.yaml", text);
    let check = [
        "run",
        "--check",
        "--format",
        "json",
        "project/cloudbuild.yaml",
    ];
    let line = project.serin(&[&check[..], substitutions].concat());
    serde_json::from_str(&line.expect(0).stdout).unwrap()
}

/// With the comment before the account taken away, as a person would.
fn with_account(text: &str) -> String {
    let found = ACCOUNT.replacen('\n', "\n# ", 1);
    assert_eq!(text.matches(&found).count(), 1, "{text}");
    assert!(
        text.contains("#   gcloud iam service-accounts create serin-build\n"),
        "{text}"
    );
    text.replace(&found, ACCOUNT)
}

#[test]
fn the_image_s_config_is_accepted_from_a_trigger_and_by_hand() {
    let text = text_of("cloudbuild/serin/cloudbuild.yaml");
    let image = "us-central1-docker.pkg.dev/local-project/serin/serin";
    let commit = ["--substitutions", "SHORT_SHA=abc1234"];
    for (given, tag) in [(&[][..], "by-hand"), (&commit[..], "abc1234")] {
        let build = checked(&text, given);
        let images = [tag, "latest", "dependencies"].map(|tag| format!("{image}:{tag}"));
        assert_eq!(build["images"], serde_json::json!(images));
        let steps = build["steps"].as_array().unwrap();
        let example = steps.iter().find(|step| step["id"] == "example").unwrap();
        assert_eq!(example["name"], format!("{image}:{tag}"));
    }
    let build = checked(&with_account(&text), &[]);
    assert_eq!(build["options"]["logging"], "CLOUD_LOGGING_ONLY");
    let account = build["serviceAccount"].as_str().unwrap();
    assert!(account.contains("/serin-build@local-project."), "{account}");
}

#[test]
fn the_image_s_config_and_its_dockerfile_compile_alike() {
    let config = text_of("cloudbuild/serin/cloudbuild.yaml");
    let dockerfile = text_of("Dockerfile");
    let rust = dockerfile
        .lines()
        .find_map(|line| line.strip_prefix("ARG RUST="))
        .unwrap();
    assert!(config.contains(&format!("name: {rust}\n")), "{rust}");
    assert!(dockerfile.contains(" AS dependencies\n") && config.contains("--target=dependencies"));
}

#[test]
fn the_example_and_what_init_writes_tell_of_an_account() {
    let build = checked(
        &with_account(&text_of("cloudbuild/churn/cloudbuild.yaml")),
        &[],
    );
    assert!(build["serviceAccount"].is_string());

    let project = Project::churn();
    let init = [
        "init",
        "--label=churn",
        "--join-on=customer_id",
        "--dir=own",
    ];
    let tables = ["project/data/account.csv", "project/data/usage.csv"];
    project.serin(&[&init[..], &tables].concat()).expect(0);
    let written = fs::read_to_string(project.folder.path().join("own/cloudbuild.yaml")).unwrap();
    let build = checked(&with_account(&written), &[]);
    assert!(build["serviceAccount"].is_string());
}

#[test]
fn the_first_hour_has_fifteen_commands_and_its_edits_fit_the_files() {
    let text = text_of("docs/first-hour.md");
    let numbers = text.lines().filter_map(|line| line.strip_prefix("### "));
    let numbers: Vec<&str> = numbers
        .map(|line| line.split_once(". ").unwrap().0)
        .collect();
    let fifteen: Vec<String> = (1..=15).map(|n| n.to_string()).collect();
    assert_eq!(numbers, fifteen);
    for section in text.split("\n### ").skip(1) {
        let (section, _) = section.split_once("\n## ").unwrap_or((section, ""));
        let commands = section
            .lines()
            .filter(|line| line.starts_with("$ gcloud ") || line.starts_with("$ serin "));
        let other = ["6. ", "13. "].iter().any(|n| section.starts_with(n));
        assert!(commands.count() >= 1 || other, "{section}");
    }

    // The two `sed` lines, on the files that they name.
    let project = Project::churn();
    for file in [
        "cloudbuild/churn/serin.yaml",
        "cloudbuild/churn/cloudbuild.yaml",
        "cloudbuild/serin/cloudbuild.yaml",
    ] {
        let to = project.source().join(file);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::write(to, text_of(file)).unwrap();
    }
    let lines = text.lines().filter_map(|line| line.strip_prefix("$ "));
    for line in lines.filter(|line| line.starts_with("sed ")) {
        let mut sed = std::process::Command::new("sh");
        sed.args(["-c", line])
            .env("BUCKET", "somebody-s")
            .current_dir(project.source());
        assert!(sed.status().unwrap().success(), "{line}");
    }
    let of = |file: &str| fs::read_to_string(project.source().join(file)).unwrap();
    let config = of("cloudbuild/churn/serin.yaml");
    assert!(config.contains("\nbucket: gs://somebody-s "), "{config}");
    assert!(config.contains("\ncreate_bucket: false "), "{config}");
    for file in [
        "cloudbuild/churn/cloudbuild.yaml",
        "cloudbuild/serin/cloudbuild.yaml",
    ] {
        assert!(
            checked(&of(file), &[])["serviceAccount"].is_string(),
            "{file}"
        );
    }
}
