//! What `serin trigger apply` makes, and the mark by which it knows its own.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::gcp::cloud_build::BuildTrigger;
use crate::gcp::eventarc::Trigger;
use crate::gcp::pubsub::{Subscription, Topic};
use crate::gcp::scheduler::Job;
use crate::gcp::storage::Notification;
use crate::gcp::{Api, resource_id};
use crate::workspace::Digest;

/// How the description of what serin made begins, where a resource has no labels.
const MARK: &str = "Made by serin trigger apply";
const MODEL_LABEL: &str = "serin_model";
const BUCKET_LABEL: &str = "serin_bucket";
/// The longest value of a label.
const LONGEST_LABEL: usize = 63;
/// Before a topic's name in a notification.
const TOPIC_PREFIX: &str = "//pubsub.googleapis.com/";

/// Whose a resource is: one model in one bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub model: String,
    pub bucket: String,
}

impl Owner {
    /// The description of what it owns.
    pub(super) fn description(&self) -> String {
        format!("{MARK} for {} in gs://{}", self.model, self.bucket)
    }

    /// The labels of what it owns. A bucket's name may hold dots and a label may not: a digest stands for them.
    pub(super) fn labels(&self) -> BTreeMap<String, String> {
        let mut bucket = self.bucket.replace('.', "-");
        if bucket != self.bucket {
            let digest = Digest::of(self.bucket.as_bytes());
            bucket.truncate(LONGEST_LABEL - digest.short().len() - 1);
            bucket = format!("{bucket}-{}", digest.short());
        }
        BTreeMap::from([
            (MODEL_LABEL.to_owned(), self.model.clone()),
            (BUCKET_LABEL.to_owned(), bucket),
        ])
    }

    fn has_labels(&self, labels: &BTreeMap<String, String>) -> bool {
        let own = self.labels();
        own.iter()
            .all(|(name, value)| labels.get(name) == Some(value))
    }
}

/// One resource, as it is to be or as it is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Resource {
    /// `projects/P/repos/R`.
    Repository(String),
    Topic(Topic),
    Subscription(Subscription),
    BuildTrigger {
        location: String,
        trigger: Box<BuildTrigger>,
    },
    Job(Job),
    Eventarc(Trigger),
    Notification {
        bucket: String,
        notification: Notification,
    },
}

/// The kinds of resources, in the order in which they are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Repository,
    Topic,
    Subscription,
    BuildTrigger,
    Job,
    Eventarc,
    Notification,
}

impl Kind {
    /// For people.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Repository => "source repository",
            Self::Topic => "Pub/Sub topic",
            Self::Subscription => "Pub/Sub subscription",
            Self::BuildTrigger => "Cloud Build trigger",
            Self::Job => "Scheduler job",
            Self::Eventarc => "Eventarc trigger",
            Self::Notification => "Storage notification",
        }
    }

    /// For programs.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Repository => "source_repository",
            Self::Topic => "pubsub_topic",
            Self::Subscription => "pubsub_subscription",
            Self::BuildTrigger => "build_trigger",
            Self::Job => "scheduler_job",
            Self::Eventarc => "eventarc_trigger",
            Self::Notification => "storage_notification",
        }
    }

    /// The service that has it; none for Cloud Storage.
    pub(super) fn api(self) -> Option<Api> {
        match self {
            Self::Repository => Some(Api::SourceRepositories),
            Self::Topic | Self::Subscription => Some(Api::PubSub),
            Self::BuildTrigger => Some(Api::CloudBuild),
            Self::Job => Some(Api::CloudScheduler),
            Self::Eventarc => Some(Api::Eventarc),
            Self::Notification => None,
        }
    }

    /// The role that may make, change and delete it.
    pub(super) fn role(self) -> &'static str {
        match self {
            Self::Repository => "roles/source.admin",
            Self::Topic | Self::Subscription => "roles/pubsub.editor",
            Self::BuildTrigger => "roles/cloudbuild.builds.editor",
            Self::Job => "roles/cloudscheduler.admin",
            Self::Eventarc => "roles/eventarc.admin",
            Self::Notification => "roles/storage.admin",
        }
    }
}

impl Resource {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Repository(_) => Kind::Repository,
            Self::Topic(_) => Kind::Topic,
            Self::Subscription(_) => Kind::Subscription,
            Self::BuildTrigger { .. } => Kind::BuildTrigger,
            Self::Job(_) => Kind::Job,
            Self::Eventarc(_) => Kind::Eventarc,
            Self::Notification { .. } => Kind::Notification,
        }
    }

    /// Its short name, which is one of its kind in its place.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Repository(name) => {
                let parts = name.splitn(4, '/');
                parts.last().unwrap_or_default().to_owned()
            }
            Self::Topic(topic) => resource_id(&topic.name).to_owned(),
            Self::Subscription(subscription) => resource_id(&subscription.name).to_owned(),
            Self::BuildTrigger { trigger, .. } => trigger.name.clone(),
            Self::Job(job) => resource_id(&job.name).to_owned(),
            Self::Eventarc(trigger) => resource_id(&trigger.name).to_owned(),
            // It has none of its own: the topic is what tells it from others of the bucket.
            Self::Notification { notification, .. } => resource_id(&notification.topic).to_owned(),
        }
    }

    /// The location or the bucket that it is in; empty where the project is all.
    pub(super) fn place(&self) -> String {
        let location = |name: &str| name.split('/').nth(3).unwrap_or_default().to_owned();
        match self {
            Self::Repository(_) | Self::Topic(_) | Self::Subscription(_) => String::new(),
            Self::BuildTrigger { location, .. } => location.clone(),
            Self::Job(job) => location(&job.name),
            Self::Eventarc(trigger) => location(&trigger.name),
            Self::Notification { bucket, .. } => format!("gs://{bucket}"),
        }
    }

    /// For messages, as in ``Scheduler job `serin-churn-check` ``.
    pub(super) fn words(&self) -> String {
        match self {
            Self::Notification { bucket, .. } => {
                format!(
                    "Storage notification of `gs://{bucket}` to `{}`",
                    self.name()
                )
            }
            _ => format!("{} `{}`", self.kind().words(), self.name()),
        }
    }

    /// Whether two of them are the same thing, however it looks.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.kind() == other.kind() && self.name() == other.name() && self.place() == other.place()
    }

    /// Whether it carries the owner's mark.
    pub(super) fn is_of(&self, owner: &Owner) -> bool {
        match self {
            Self::Repository(_) => false,
            Self::Topic(topic) => owner.has_labels(&topic.labels),
            Self::Subscription(subscription) => owner.has_labels(&subscription.labels),
            Self::BuildTrigger { trigger, .. } => trigger.description == owner.description(),
            Self::Job(job) => job.description == owner.description(),
            Self::Eventarc(trigger) => owner.has_labels(&trigger.labels),
            Self::Notification { notification, .. } => {
                owner.has_labels(&notification.custom_attributes)
            }
        }
    }

    /// Whether it is used whoever made it: what others may share.
    pub(super) fn is_shared(&self) -> bool {
        matches!(self, Self::Repository(_) | Self::Topic(_))
    }

    /// What is compared, in the names of the service's fields and in one form.
    pub(super) fn fields(&self) -> Value {
        match self {
            Self::Repository(_) | Self::Topic(_) => json!({}),
            Self::Subscription(subscription) => without(json!(subscription), &["name", "labels"]),
            Self::BuildTrigger { trigger, .. } => {
                let account = &trigger.service_account;
                let mut fields = json!(trigger);
                if !account.is_empty() {
                    fields["serviceAccount"] = address(account).into();
                }
                // Those that somebody added by hand stay.
                without(fields, &["name", "description", "substitutions"])
            }
            Self::Job(job) => {
                let mut fields = json!(job);
                if let Some(headers) = fields["httpTarget"]["headers"].as_object_mut() {
                    // The service adds its own.
                    headers.retain(|name, _| name.eq_ignore_ascii_case("content-type"));
                }
                without(fields, &["name", "description"])
            }
            Self::Eventarc(trigger) => {
                let mut sorted = trigger.clone();
                sorted.event_filters.sort();
                let mut fields = json!(sorted);
                fields["serviceAccount"] = address(&trigger.service_account).into();
                without(fields, &["name", "labels"])
            }
            Self::Notification { notification, .. } => {
                let mut fields = json!(notification);
                let topic = &notification.topic;
                fields["topic"] = topic.strip_prefix(TOPIC_PREFIX).unwrap_or(topic).into();
                without(fields, &["custom_attributes"])
            }
        }
    }
}

/// The address of an account, which services name with its project and without.
fn address(account: &str) -> &str {
    account.rsplit('/').next().unwrap_or(account)
}

fn without(mut fields: Value, names: &[&str]) -> Value {
    if let Some(fields) = fields.as_object_mut() {
        fields.retain(|name, _| !names.contains(&name.as_str()));
    }
    fields
}
