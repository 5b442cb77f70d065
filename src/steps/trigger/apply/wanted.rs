//! What the config asks for, as resources.

use std::collections::BTreeMap;

use anyhow::Result;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;

use super::resource::{Owner, Resource};
use crate::config::{
    Commit, Events, Listen, NewData, Repository, Schedule, Triggers, resource_name, what,
};
use crate::error::Input;
use crate::gcp::cloud_build::{
    BuildTrigger, DeveloperConnectEventConfig, GitFileSource, GitHubEventsConfig, GitRepoSource,
    PushFilter, RepositoryEventConfig, TriggerTemplate,
};
use crate::gcp::eventarc::{CloudRun, Destination, EventFilter, Trigger};
use crate::gcp::pubsub::{ExpirationPolicy, PushConfig, RetryPolicy, Subscription, Topic};
use crate::gcp::scheduler::{HttpTarget, Job, OidcToken, RetryConfig};
use crate::gcp::storage::Notification;

/// How long a call of `listen` may take: a look at the data may read tables.
const PATIENCE: u32 = 600;
/// Calls of the Scheduler after one that failed: after one, three and seven minutes, since a build that was left
/// half-started is taken over after two.
const RETRIES: u32 = 3;
/// Seconds.
const FIRST_RETRY: u32 = 60;

/// What stands in the cloud already and is asked there.
pub(super) struct Surroundings<'a> {
    pub owner: &'a Owner,
    pub project: &'a str,
    pub region: &'a str,
    /// The URL of `listen`, where the config has one.
    pub listen: Option<String>,
    /// The location of the bucket of `new_data.objects`, in lower case.
    pub bucket_location: Option<String>,
}

impl Surroundings<'_> {
    fn name(&self, what: &str) -> String {
        resource_name(&self.owner.model, what)
    }
}

/// The resources, in the order in which they are made.
///
/// # Errors
/// [`Input`] where the config leaves out what the rest of it needs.
pub(super) fn wanted(triggers: &Triggers, around: &Surroundings) -> Result<Vec<Resource>> {
    let mut wanted = Vec::new();
    if let Some(commit) = &triggers.commit {
        if let Repository::SourceRepositories(repo) = &commit.repository {
            let name = format!("projects/{}/repos/{repo}", around.project);
            wanted.push(Resource::Repository(name));
        }
        wanted.push(Resource::BuildTrigger {
            location: commit.repository.location().to_owned(),
            trigger: Box::new(build_trigger(triggers, commit, around)?),
        });
    }
    let causes = causes(triggers);
    if let Some(cause) = causes.first() {
        need_commit(triggers, cause)?;
        let (listen, url) = need_listen(triggers, around, cause)?;
        wanted.extend(called(triggers, listen, url, around));
    }
    wanted.sort_by_key(Resource::kind);
    Ok(wanted)
}

/// The causes that are no commit and no call of a person's, with the topic by which anything else calls.
fn causes(triggers: &Triggers) -> Vec<&'static str> {
    let topic = triggers
        .listen
        .as_ref()
        .and_then(|listen| listen.topic.as_ref());
    [
        ("listen.topic", topic.is_some()),
        ("schedule", triggers.schedule.is_some()),
        ("new_data", triggers.new_data.is_some()),
        ("performance", triggers.performance.is_some()),
        ("drift", triggers.drift.is_some()),
    ]
    .into_iter()
    .filter_map(|(name, asked)| asked.then_some(name))
    .collect()
}

fn need_commit(triggers: &Triggers, cause: &str) -> Result<(), Input> {
    if triggers.commit.is_none() {
        let message = format!(
            "`triggers.{cause}` starts builds, and `triggers.commit` is missing: the repository that they are made from"
        );
        return Err(Input::new(message).at(triggers.place.clone()).hint(
            "name it, as in `commit: {github: owner/name, branch: ^main$}`; with `disabled: true` commits start nothing",
        ));
    }
    if triggers.branch().is_none() {
        let message = format!(
            "`triggers.{cause}` starts builds of one branch, and `triggers.commit` names no single one"
        );
        return Err(Input::new(message)
            .at(triggers.place.clone())
            .hint("name it, as in `build: {branch: main}`"));
    }
    Ok(())
}

fn need_listen<'a>(
    triggers: &'a Triggers,
    around: &'a Surroundings,
    cause: &str,
) -> Result<(&'a Listen, &'a str), Input> {
    match (&triggers.listen, &around.listen) {
        (Some(listen), Some(url)) => Ok((listen, url)),
        _ => Err(Input::new(format!(
            "`triggers.{cause}` needs `triggers.listen`: what Google Cloud calls to look at it"
        ))
        .at(triggers.place.clone())
        .hint("name where `serin listen` runs, as in `listen: {service: serin-listen, service_account: …}`; without it, `serin trigger check` may be run by anything else")),
    }
}

/// What calls `listen`, and when.
fn called(triggers: &Triggers, listen: &Listen, url: &str, around: &Surroundings) -> Vec<Resource> {
    let mut wanted = Vec::new();
    let token = OidcToken {
        service_account_email: listen.service_account.value.clone(),
        audience: match &listen.audience {
            Some(audience) => audience.value.clone(),
            None => url.to_owned(),
        },
    };
    if let Some(schedule) = &triggers.schedule {
        wanted.push(job(what::SCHEDULE, schedule, url, &token, around));
    }
    if triggers.looks() {
        wanted.push(job(what::CHECK, &triggers.check, url, &token, around));
    }
    if let Some(topic) = &listen.topic {
        wanted.extend(pushed(topic, what::TOPIC, url, &token, around));
    }
    if let Some(NewData::Objects { bucket, prefix }) = &triggers.new_data {
        match &listen.at {
            crate::config::ListenAt::Service(service) => {
                wanted.push(events(bucket, service, listen, around));
            }
            crate::config::ListenAt::Url(_) => {
                let topic = around.name(what::OBJECTS);
                wanted.extend(pushed(&topic, what::OBJECTS, url, &token, around));
                wanted.push(notification(bucket, prefix, &topic, around));
            }
        }
    }
    wanted
}

fn job(
    what: &str,
    schedule: &Schedule,
    url: &str,
    token: &OidcToken,
    around: &Surroundings,
) -> Resource {
    let Surroundings {
        project, region, ..
    } = around;
    let cause = if what == what::SCHEDULE {
        "schedule"
    } else {
        "check"
    };
    let body = json!({"model": around.owner.model, "cause": cause}).to_string();
    Resource::Job(Job {
        name: format!(
            "projects/{project}/locations/{region}/jobs/{}",
            around.name(what)
        ),
        description: around.owner.description(),
        schedule: schedule.text.clone(),
        time_zone: schedule.time_zone.clone(),
        attempt_deadline: format!("{PATIENCE}s"),
        http_target: HttpTarget {
            uri: url.to_owned(),
            http_method: "POST".to_owned(),
            headers: BTreeMap::from([("Content-Type".to_owned(), "application/json".to_owned())]),
            body: BASE64_STANDARD.encode(body),
            oidc_token: token.clone(),
        },
        retry_config: RetryConfig {
            retry_count: RETRIES,
            min_backoff_duration: format!("{FIRST_RETRY}s"),
        },
        state: String::new(),
    })
}

/// A topic and the subscription that pushes its messages to `listen`.
fn pushed(
    topic: &str,
    what: &str,
    url: &str,
    token: &OidcToken,
    around: &Surroundings,
) -> [Resource; 2] {
    let (project, labels) = (around.project, around.owner.labels());
    let topic = format!("projects/{project}/topics/{topic}");
    let subscription = Subscription {
        name: format!("projects/{project}/subscriptions/{}", around.name(what)),
        topic: topic.clone(),
        push_config: PushConfig {
            push_endpoint: url.to_owned(),
            oidc_token: token.clone(),
        },
        ack_deadline_seconds: PATIENCE,
        retry_policy: RetryPolicy {
            minimum_backoff: "10s".to_owned(),
            maximum_backoff: "600s".to_owned(),
        },
        expiration_policy: ExpirationPolicy::default(),
        labels: labels.clone(),
    };
    [
        Resource::Topic(Topic {
            name: topic,
            labels,
        }),
        Resource::Subscription(subscription),
    ]
}

/// The Eventarc trigger that tells of a bucket's objects. It knows no folders: `listen` looks itself.
fn events(bucket: &str, service: &str, listen: &Listen, around: &Surroundings) -> Resource {
    let Surroundings {
        project, region, ..
    } = around;
    let location = around.bucket_location.as_deref().unwrap_or(region);
    let filter = |attribute: &str, value: &str| EventFilter {
        attribute: attribute.to_owned(),
        value: value.to_owned(),
    };
    let mut event_filters = vec![
        filter("bucket", bucket),
        filter("type", "google.cloud.storage.object.v1.finalized"),
    ];
    event_filters.sort();
    Resource::Eventarc(Trigger {
        name: format!(
            "projects/{project}/locations/{location}/triggers/{}",
            around.name(what::OBJECTS)
        ),
        event_filters,
        service_account: listen.service_account.value.clone(),
        destination: Destination {
            cloud_run: CloudRun {
                service: service.to_owned(),
                region: (*region).to_owned(),
                path: "/".to_owned(),
            },
        },
        labels: around.owner.labels(),
    })
}

fn notification(bucket: &str, prefix: &str, topic: &str, around: &Surroundings) -> Resource {
    Resource::Notification {
        bucket: bucket.to_owned(),
        notification: Notification {
            id: String::new(),
            topic: format!(
                "//pubsub.googleapis.com/projects/{}/topics/{topic}",
                around.project
            ),
            payload_format: "JSON_API_V1".to_owned(),
            event_types: vec!["OBJECT_FINALIZE".to_owned()],
            object_name_prefix: prefix.to_owned(),
            custom_attributes: around.owner.labels(),
        },
    }
}

/// The trigger that commits fire, or that is only run where they are to start nothing.
fn build_trigger(
    triggers: &Triggers,
    commit: &Commit,
    around: &Surroundings,
) -> Result<BuildTrigger> {
    let account = triggers.service_account.as_ref().map(|account| {
        format!(
            "projects/{}/serviceAccounts/{}",
            around.project, account.value
        )
    });
    let trigger = BuildTrigger {
        name: around.name(what::BUILD),
        description: around.owner.description(),
        service_account: account.unwrap_or_default(),
        ..BuildTrigger::default()
    };
    if commit.disabled {
        return by_hand(trigger, triggers, commit, around);
    }
    let (branch, tag) = match &commit.events {
        Events::Branch(pattern) => (pattern.clone(), String::new()),
        Events::Tag(pattern) => (String::new(), pattern.clone()),
    };
    let push = PushFilter {
        branch: branch.clone(),
        tag: tag.clone(),
    };
    let mut trigger = BuildTrigger {
        filename: triggers.build.config.clone(),
        included_files: commit.included_files.clone(),
        ignored_files: commit.ignored_files.clone(),
        ..trigger
    };
    match &commit.repository {
        Repository::SourceRepositories(repo) => {
            trigger.trigger_template = Some(TriggerTemplate {
                repo_name: repo.clone(),
                branch_name: branch,
                tag_name: tag,
            });
        }
        Repository::GitHub { owner, name } => {
            trigger.github = Some(GitHubEventsConfig {
                owner: owner.clone(),
                name: name.clone(),
                push,
            });
        }
        Repository::Connection(repository) => {
            trigger.repository_event_config = Some(RepositoryEventConfig {
                repository: repository.clone(),
                push,
            });
        }
        Repository::DeveloperConnect(link) => {
            trigger.developer_connect_event_config = Some(DeveloperConnectEventConfig {
                git_repository_link: link.clone(),
                push,
            });
        }
    }
    Ok(trigger)
}

/// A trigger without events: Cloud Build runs no trigger that is disabled.
fn by_hand(
    trigger: BuildTrigger,
    triggers: &Triggers,
    commit: &Commit,
    around: &Surroundings,
) -> Result<BuildTrigger> {
    let branch = triggers.branch().ok_or_else(|| {
        Input::new("`triggers.commit` is disabled and names no single branch, so nothing says which is built")
            .at(commit.place.clone())
            .hint("name it, as in `build: {branch: main}`")
    })?;
    let (uri, repository, repo_type) = match &commit.repository {
        Repository::SourceRepositories(repo) => (
            format!(
                "https://source.developers.google.com/p/{}/r/{repo}",
                around.project
            ),
            String::new(),
            "CLOUD_SOURCE_REPOSITORIES",
        ),
        Repository::GitHub { owner, name } => (
            format!("https://github.com/{owner}/{name}"),
            String::new(),
            "GITHUB",
        ),
        Repository::Connection(name) => (String::new(), name.clone(), ""),
        Repository::DeveloperConnect(_) => {
            return Err(Input::new(
                "a repository of Developer Connect is built by a trigger of its commits only",
            )
            .at(commit.place.clone())
            .hint(
                "leave out `disabled: true`, or have `ignored_files: ['**']` hold its commits back",
            )
            .into());
        }
    };
    let reference = format!("refs/heads/{branch}");
    Ok(BuildTrigger {
        source_to_build: Some(GitRepoSource {
            uri: uri.clone(),
            repository: repository.clone(),
            reference: reference.clone(),
            repo_type: repo_type.to_owned(),
        }),
        git_file_source: Some(GitFileSource {
            path: triggers.build.config.clone(),
            uri,
            repository,
            revision: reference,
            repo_type: repo_type.to_owned(),
        }),
        ..trigger
    })
}
