use std::path::Path;

use serde_json::json;

use super::cloud::Cloud;
use super::plan::{Action, plan};
use super::resource::{Kind, Owner, Resource};
use super::show;
use super::wanted::{Surroundings, wanted};
use crate::config::Config;
use crate::exit::{code, exit_code, render};
use crate::gcp::scripted::{Answer, Scripted};
use crate::gcp::{Client, Storage};

const TRIGGERS: &str = "
triggers:
  service_account: builder@p.iam.gserviceaccount.com
  commit: {source: csr, repo: churn, branch: ^main$, included_files: [models/**]}
  listen: {service: serin-listen, service_account: caller@p.iam.gserviceaccount.com}
  schedule: {cron: 0 3 * * 1, time_zone: America/Bogota}
  new_data: {objects: gs://incoming/new/}
";

fn config(triggers: &str) -> Config {
    let text = format!(
        "model: churn\nbucket: gs://work.example.com\ndata: {{tables: {{t: t.csv}}, label: {{column: y}}}}\n\
         train: {{builtin: {{}}}}\nvalidate: {{require: none}}\ndeploy: {{endpoint: e}}\n{triggers}"
    );
    Config::parse(Path::new("serin.yaml"), text.as_bytes()).unwrap()
}

fn owner() -> Owner {
    Owner {
        model: "churn".into(),
        bucket: "work.example.com".into(),
    }
}

fn asked(triggers: &str) -> Result<Vec<Resource>, String> {
    let (config, owner) = (config(triggers), owner());
    let triggers = config.triggers.unwrap();
    let listen = triggers
        .listen
        .as_ref()
        .map(|_| "https://l.run.app".to_owned());
    let around = Surroundings {
        owner: &owner,
        project: "p",
        region: "us-central1",
        listen,
        bucket_location: Some("us".into()),
    };
    wanted(&triggers, &around).map_err(|error| error.to_string())
}

fn words(resources: &[Resource]) -> Vec<String> {
    resources
        .iter()
        .map(|resource| {
            format!("{} {}", resource.words(), resource.place())
                .trim_end()
                .to_owned()
        })
        .collect()
}

fn actions(rows: &[super::plan::Row]) -> Vec<(Action, Kind)> {
    rows.iter()
        .map(|row| (row.action, row.resource.kind()))
        .collect()
}

#[test]
fn a_service_is_told_by_eventarc_and_a_url_by_pubsub() {
    insta::assert_snapshot!(words(&asked(TRIGGERS).unwrap()).join("\n"), @r"
    source repository `churn`
    Cloud Build trigger `serin-churn-build` global
    Scheduler job `serin-churn-schedule` us-central1
    Scheduler job `serin-churn-check` us-central1
    Eventarc trigger `serin-churn-objects` us
    ");
    let by_url = TRIGGERS.replace(
        "service: serin-listen",
        "url: 'https://l.example.com/', topic: wake",
    );
    insta::assert_snapshot!(words(&asked(&by_url).unwrap()).join("\n"), @r"
    source repository `churn`
    Pub/Sub topic `wake`
    Pub/Sub topic `serin-churn-objects`
    Pub/Sub subscription `serin-churn-topic`
    Pub/Sub subscription `serin-churn-objects`
    Cloud Build trigger `serin-churn-build` global
    Scheduler job `serin-churn-schedule` us-central1
    Scheduler job `serin-churn-check` us-central1
    Storage notification of `gs://incoming` to `serin-churn-objects` gs://incoming
    ");
}

#[test]
fn what_others_need_has_to_be_there() {
    let without = |line: &str| {
        let kept: Vec<&str> = TRIGGERS.lines().filter(|l| !l.contains(line)).collect();
        asked(&kept.join("\n")).unwrap_err()
    };
    assert!(
        without("commit:")
            .contains("`triggers.schedule` starts builds, and `triggers.commit` is missing")
    );
    assert!(without("listen:").contains("`triggers.schedule` needs `triggers.listen`"));
    let many = asked(&TRIGGERS.replace("^main$", "release-.*")).unwrap_err();
    assert!(many.contains("names no single one"), "{many}");
    let link = "developer_connect: projects/p/locations/l/connections/c/gitRepositoryLinks/r, disabled: true";
    let linked = asked(&TRIGGERS.replace("source: csr, repo: churn", link)).unwrap_err();
    assert!(linked.contains("Developer Connect"), "{linked}");
}

#[test]
fn every_kind_of_repository_has_a_trigger() {
    let of = |repository: &str| {
        let all = asked(&TRIGGERS.replace("source: csr, repo: churn", repository)).unwrap();
        let trigger = all
            .into_iter()
            .find(|r| r.kind() == Kind::BuildTrigger)
            .unwrap();
        (trigger.place(), trigger.fields())
    };
    let connection = "projects/p/locations/europe-west1/connections/c";
    let push = json!({"branch": "^main$"});
    let (place, fields) = of("source: csr, repo: churn");
    assert_eq!(place, "global");
    assert_eq!(
        fields,
        json!({
            "filename": "cloudbuild.yaml",
            "serviceAccount": "builder@p.iam.gserviceaccount.com",
            "includedFiles": ["models/**"],
            "triggerTemplate": {"repoName": "churn", "branchName": "^main$"},
        })
    );
    let (_, fields) = of("github: acme/churn");
    assert_eq!(
        fields["github"],
        json!({"owner": "acme", "name": "churn", "push": push})
    );
    let repository = format!("{connection}/repositories/r");
    let (place, fields) = of(&format!("connection: {repository}"));
    assert_eq!(place, "europe-west1");
    let expected = json!({"repository": repository, "push": push});
    assert_eq!(fields["repositoryEventConfig"], expected);
    let link = format!("{connection}/gitRepositoryLinks/r");
    let (_, fields) = of(&format!("developer_connect: {link}"));
    let expected = json!({"gitRepositoryLink": link, "push": push});
    assert_eq!(fields["developerConnectEventConfig"], expected);

    // Without events: what is built, and where its config is.
    let (_, fields) = of("github: acme/churn, disabled: true");
    let uri = "https://github.com/acme/churn";
    assert_eq!(
        fields,
        json!({
            "serviceAccount": "builder@p.iam.gserviceaccount.com",
            "sourceToBuild": {"uri": uri, "ref": "refs/heads/main", "repoType": "GITHUB"},
            "gitFileSource": {
                "path": "cloudbuild.yaml", "uri": uri, "revision": "refs/heads/main", "repoType": "GITHUB",
            },
        })
    );
    let (_, fields) = of(&format!("connection: {repository}, disabled: true"));
    let expected = json!({"repository": repository, "ref": "refs/heads/main"});
    assert_eq!(fields["sourceToBuild"], expected);
}

#[test]
fn a_second_plan_finds_all_the_same() {
    let wanted = asked(TRIGGERS).unwrap();
    let first = plan(&wanted, &[], &owner(), true);
    assert!(first.iter().all(|row| row.action == Action::Create));
    let second = plan(&wanted, &wanted, &owner(), true);
    assert!(
        second.iter().all(|row| row.action == Action::Same),
        "{second:?}"
    );
}

#[test]
fn what_the_service_adds_or_writes_in_another_way_is_no_difference() {
    let wanted = asked(TRIGGERS).unwrap();
    let mut there = wanted.clone();
    for resource in &mut there {
        match resource {
            Resource::Job(job) => {
                job.http_target
                    .headers
                    .insert("User-Agent".into(), "Google-Cloud-Scheduler".into());
                job.state = "PAUSED".into();
            }
            Resource::Eventarc(trigger) => trigger.event_filters.reverse(),
            Resource::BuildTrigger { trigger, .. } => {
                trigger.id = "7".into();
                trigger.service_account =
                    "projects/-/serviceAccounts/builder@p.iam.gserviceaccount.com".into();
                trigger.substitutions.insert("_A".into(), "by hand".into());
            }
            _ => {}
        }
    }
    let rows = plan(&wanted, &there, &owner(), true);
    assert!(
        rows.iter().all(|row| row.action == Action::Same),
        "{rows:?}"
    );
}

#[test]
fn differences_are_named_and_a_half_done_job_is_sent_again() {
    let wanted = asked(TRIGGERS).unwrap();
    let mut there = asked(
        &TRIGGERS
            .replace("0 3 * * 1", "0 4 * * 1")
            .replace("models/**", "data/**"),
    )
    .unwrap();
    let rows = plan(&wanted, &there, &owner(), false);
    let told = format!("{}\n{}", show::table(&rows).join("\n"), show::sum(&rows));
    insta::assert_snapshot!(told, @r#"
    same    source repository    churn
    change  Cloud Build trigger  serin-churn-build     global
            includedFiles: ["data/**"] -> ["models/**"]
    change  Scheduler job        serin-churn-schedule  us-central1
            schedule: 0 4 * * 1 -> 0 3 * * 1
    same    Scheduler job        serin-churn-check     us-central1
    same    Eventarc trigger     serin-churn-objects   us
    0 to create, 2 to change, 0 to delete, 3 same
    "#);
    there.clone_from(&wanted);
    for resource in &mut there {
        if let Resource::Job(job) = resource {
            job.state = "UPDATE_FAILED".into();
        }
    }
    let rows = plan(&wanted, &there, &owner(), false);
    let changed: Vec<_> = actions(&rows)
        .into_iter()
        .filter(|(action, _)| *action == Action::Change)
        .collect();
    assert_eq!(changed, [(Action::Change, Kind::Job); 2]);
}

#[test]
fn what_is_another_s_is_foreign_and_what_is_asked_no_more_goes_by_prune() {
    let wanted = asked(TRIGGERS).unwrap();
    let other = Owner {
        model: "churn".into(),
        bucket: "work-example-com".into(),
    };
    let rows = plan(&wanted, &wanted, &other, true);
    for row in &rows {
        let shared = row.resource.kind() == Kind::Repository;
        let expected = if shared {
            Action::Same
        } else {
            Action::Foreign
        };
        assert_eq!(row.action, expected, "{row:?}");
    }
    let by_url =
        asked(&TRIGGERS.replace("service: serin-listen", "url: 'https://l.run.app'")).unwrap();
    let kept = plan(&wanted, &by_url, &owner(), false);
    let gone = plan(&wanted, &by_url, &owner(), true);
    let of = |rows: &[super::plan::Row], action| -> Vec<Kind> {
        let rows = rows.iter().filter(|row| row.action == action);
        rows.map(|row| row.resource.kind()).collect()
    };
    let unasked = [Kind::Notification, Kind::Subscription, Kind::Topic];
    assert_eq!(of(&kept, Action::Left), unasked);
    assert_eq!(of(&gone, Action::Delete), unasked);
    assert_eq!(of(&gone, Action::Create), [Kind::Eventarc]);
}

#[test]
fn of_two_equal_notifications_one_is_too_many() {
    let url = TRIGGERS.replace("service: serin-listen", "url: 'https://l.run.app'");
    let wanted = asked(&url).unwrap();
    let mut there = wanted.clone();
    let mut twin = wanted.last().unwrap().clone();
    if let Resource::Notification { notification, .. } = &mut twin {
        notification.id = "2".into();
    }
    there.push(twin);
    // What a change left half-done needs no `--prune`.
    for prune in [true, false] {
        let rows = plan(&wanted, &there, &owner(), prune);
        let deleted = rows
            .iter()
            .filter(|row| row.action == Action::Delete)
            .count();
        assert_eq!((deleted, rows.len()), (1, wanted.len() + 1));
    }
}

fn cloud(client: &Client) -> Cloud<'_> {
    Cloud {
        client,
        storage: Storage::new(client),
        project: "p",
        region: "us-central1",
        accounts: vec!["caller@p.iam.gserviceaccount.com".into()],
    }
}

/// What making the resource of a kind ends in, where the cloud answers so.
async fn refused(kind: Kind, http: u16, message: &str) -> anyhow::Error {
    let body = format!(r#"{{"error":{{"message":"{message}","status":"PERMISSION_DENIED"}}}}"#);
    let server = Scripted::start([Answer::code(http, &body)]).await;
    let client = server.client();
    let rows = plan(&asked(TRIGGERS).unwrap(), &[], &owner(), false);
    let row = rows.iter().find(|row| row.resource.kind() == kind).unwrap();
    cloud(&client).act(row, &owner()).await.unwrap_err()
}

#[tokio::test]
async fn a_refusal_names_the_resource_and_the_role() {
    let error = refused(Kind::Job, 403, "The caller does not have permission").await;
    assert_eq!(exit_code(&error), code::INPUT);
    let told = render(&error);
    for part in [
        "cannot create the Scheduler job `serin-churn-",
        "The caller does not have permission",
        "grant this account `roles/cloudscheduler.admin` on the project, and `roles/iam.serviceAccountUser` on caller@p.iam",
    ] {
        assert!(told.contains(part), "{told}");
    }
    let off = "Eventarc API has not been used in project p before or it is disabled.";
    let told = render(&refused(Kind::Eventarc, 403, off).await);
    assert!(
        told.contains("`gcloud services enable eventarc.googleapis.com --project=p`"),
        "{told}"
    );
    let taken = refused(Kind::BuildTrigger, 409, "taken").await;
    assert_eq!(exit_code(&taken), code::CLOUD);
    assert!(render(&taken).contains("run it again"), "{taken:#}");
}

#[tokio::test]
async fn a_notification_whose_answer_is_lost_is_made_once() {
    let url = TRIGGERS.replace("service: serin-listen", "url: 'https://l.run.app'");
    let rows = plan(&asked(&url).unwrap(), &[], &owner(), false);
    let row = rows.last().unwrap();
    let Resource::Notification { notification, .. } = &row.resource else {
        panic!("a notification comes last");
    };
    let there = json!({"items": [notification]}).to_string();
    // The first try is lost and had no effect, the second is lost and had one.
    let server = Scripted::start([
        Answer::Close,
        Answer::json("{}"),
        Answer::code(503, ""),
        Answer::json(&there),
    ])
    .await;
    let client = server.client();
    cloud(&client).act(row, &owner()).await.unwrap();
    let verbs: Vec<String> = server.asked().into_iter().map(|asked| asked.verb).collect();
    assert_eq!(verbs, ["POST", "GET", "POST", "GET"]);
}
