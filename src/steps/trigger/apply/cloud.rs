//! Reads what is there, and makes, changes and deletes it.

use std::time::Duration;

use anyhow::Result;

use super::plan::{Action, Change, Row};
use super::resource::{Kind, Owner, Resource};
use super::told::{Doing, told};
use crate::gcp::cloud_build::CloudBuild;
use crate::gcp::eventarc::Eventarc;
use crate::gcp::pubsub::PubSub;
use crate::gcp::scheduler::Scheduler;
use crate::gcp::source_repos::SourceRepos;
use crate::gcp::storage::Notification;
use crate::gcp::{self, Client, Storage, resource_id};

/// Creations of a notification that are answered by nobody, before that is an error.
const LOST_CREATES: u32 = 3;
const AFTER_LOSS: Duration = Duration::from_secs(2);
/// Every location, for Eventarc.
const EVERYWHERE: &str = "-";

/// The services, in one project.
pub(super) struct Cloud<'a> {
    pub client: &'a Client,
    pub storage: Storage,
    pub project: &'a str,
    pub region: &'a str,
    /// Who is served, where a role is missing: the accounts that the config names.
    pub accounts: Vec<String>,
}

impl Cloud<'_> {
    /// What is there of what is wanted, and of what the owner has beside it. Services that nothing is wanted of
    /// may be switched off, or closed to this account: then nothing is found there, and a line says so. `buckets` are
    /// those that may have notifications.
    ///
    /// # Errors
    /// When the cloud fails, or refuses to show what is wanted.
    pub(super) async fn look(
        &self,
        wanted: &[Resource],
        buckets: &[&str],
    ) -> Result<Vec<Resource>> {
        let mut found = Vec::new();
        for kind in [
            Kind::Repository,
            Kind::Topic,
            Kind::Subscription,
            Kind::BuildTrigger,
            Kind::Job,
            Kind::Eventarc,
            Kind::Notification,
        ] {
            let of_kind: Vec<&Resource> = wanted.iter().filter(|w| w.kind() == kind).collect();
            match self.of_kind(kind, &of_kind, buckets).await {
                Ok(there) => found.extend(there),
                Err(error) if of_kind.is_empty() && is_closed(&error) => {
                    eprintln!(
                        "note: not looked at for what is no longer asked for: resources of the kind {} ({})",
                        kind.words(),
                        error.message
                    );
                }
                Err(error) => {
                    let what = format!("resources of the kind {}", kind.words());
                    return Err(told(error, kind, &what, Doing::List, self));
                }
            }
        }
        Ok(found)
    }

    async fn of_kind(
        &self,
        kind: Kind,
        wanted: &[&Resource],
        buckets: &[&str],
    ) -> Result<Vec<Resource>, gcp::Error> {
        let (client, project) = (self.client, self.project);
        match kind {
            Kind::Repository => self.repositories(wanted).await,
            Kind::Topic => {
                let topics = PubSub::new(client, project).topics_list().await?;
                Ok(topics.into_iter().map(Resource::Topic).collect())
            }
            Kind::Subscription => {
                let all = PubSub::new(client, project).subscriptions_list().await?;
                Ok(all.into_iter().map(Resource::Subscription).collect())
            }
            Kind::BuildTrigger => self.build_triggers(wanted).await,
            Kind::Job => {
                let scheduler = Scheduler::new(client, project, self.region);
                let jobs = scheduler.jobs_list().await?;
                Ok(jobs.into_iter().map(Resource::Job).collect())
            }
            Kind::Eventarc => {
                let eventarc = Eventarc::new(client, project, EVERYWHERE);
                let triggers = eventarc.triggers_list().await?;
                Ok(triggers.into_iter().map(Resource::Eventarc).collect())
            }
            Kind::Notification => self.notifications(wanted, buckets).await,
        }
    }

    async fn repositories(&self, wanted: &[&Resource]) -> Result<Vec<Resource>, gcp::Error> {
        let repos = SourceRepos::new(self.client, self.project);
        let mut found = Vec::new();
        for resource in wanted {
            if let Resource::Repository(name) = resource
                && repos.repos_get(name).await?.is_some()
            {
                found.push(Resource::Repository(name.clone()));
            }
        }
        Ok(found)
    }

    /// Where they are wanted, where they may have been wanted before, and in the region.
    async fn build_triggers(&self, wanted: &[&Resource]) -> Result<Vec<Resource>, gcp::Error> {
        let mut locations = vec!["global".to_owned(), self.region.to_owned()];
        locations.extend(wanted.iter().map(|resource| resource.place()));
        locations.sort();
        locations.dedup();
        let mut found = Vec::new();
        for location in locations {
            let triggers = self.cloud_build(&location).triggers_list().await?;
            found.extend(triggers.into_iter().map(|trigger| Resource::BuildTrigger {
                location: location.clone(),
                trigger: Box::new(trigger),
            }));
        }
        Ok(found)
    }

    /// Of every bucket in which one is wanted, or may have been wanted before.
    async fn notifications(
        &self,
        wanted: &[&Resource],
        buckets: &[&str],
    ) -> Result<Vec<Resource>, gcp::Error> {
        let mut found = Vec::new();
        for bucket in buckets {
            let listed = match self.storage.notifications_list(bucket).await {
                Err(error) if is_closed(&error) && !is_wanted_in(wanted, bucket) => Vec::new(),
                other => other?,
            };
            found.extend(
                listed
                    .into_iter()
                    .map(|notification| Resource::Notification {
                        bucket: (*bucket).to_owned(),
                        notification,
                    }),
            );
        }
        Ok(found)
    }

    /// Does what a row says.
    ///
    /// # Errors
    /// [`crate::error::Input`] with the role where this account may not; when the cloud fails or refuses.
    pub(super) async fn act(&self, row: &Row, owner: &Owner) -> Result<()> {
        let resource = &row.resource;
        let (doing, done) = match (row.action, &row.is) {
            (Action::Create, _) => (Doing::Create, self.create(resource, owner).await),
            (Action::Change, Some(is)) => {
                let changed = self.change(is, resource, &row.changes, owner).await;
                (Doing::Change, changed)
            }
            (Action::Delete, Some(is)) => (Doing::Delete, self.delete(is).await),
            _ => return Ok(()),
        };
        done.map_err(|error| told(error, resource.kind(), &resource.words(), doing, self))
    }

    async fn create(&self, resource: &Resource, owner: &Owner) -> Result<(), gcp::Error> {
        let (client, project) = (self.client, self.project);
        match resource {
            Resource::Repository(name) => {
                let repos = SourceRepos::new(client, project);
                repos.repos_create(name).await.map(drop)
            }
            Resource::Topic(topic) => {
                let pubsub = PubSub::new(client, project);
                pubsub.topics_create(topic).await.map(drop)
            }
            Resource::Subscription(subscription) => {
                let pubsub = PubSub::new(client, project);
                pubsub.subscriptions_create(subscription).await.map(drop)
            }
            Resource::BuildTrigger { location, trigger } => {
                let cloud_build = self.cloud_build(location);
                cloud_build.triggers_create(trigger).await.map(drop)
            }
            Resource::Job(job) => {
                let scheduler = Scheduler::new(client, project, self.region);
                scheduler.jobs_create(job).await.map(drop)
            }
            Resource::Eventarc(trigger) => {
                let eventarc = Eventarc::new(client, project, &resource.place());
                eventarc.triggers_create(trigger).await
            }
            Resource::Notification {
                bucket,
                notification,
            } => self.notify(bucket, notification, resource, owner).await,
        }
    }

    /// Makes a notification, unless an earlier try of this one did.
    async fn notify(
        &self,
        bucket: &str,
        notification: &Notification,
        wanted: &Resource,
        owner: &Owner,
    ) -> Result<(), gcp::Error> {
        let mut tries = 1;
        loop {
            let lost = match self
                .storage
                .notifications_insert(bucket, notification)
                .await
            {
                Ok(_) => return Ok(()),
                Err(error) if error.may_have_happened() && tries < LOST_CREATES => error,
                Err(error) => return Err(error),
            };
            eprintln!("warning: looking whether it is there after all: {lost}");
            self.client.clock().sleep(AFTER_LOSS).await;
            let there = self.storage.notifications_list(bucket).await?;
            let is_it = |notification: Notification| {
                let there = Resource::Notification {
                    bucket: bucket.to_owned(),
                    notification,
                };
                there.is_of(owner) && there.fields() == wanted.fields()
            };
            if there.into_iter().any(is_it) {
                return Ok(());
            }
            tries += 1;
        }
    }

    async fn change(
        &self,
        is: &Resource,
        wanted: &Resource,
        changes: &[Change],
        owner: &Owner,
    ) -> Result<(), gcp::Error> {
        let mask = mask(changes);
        let (client, project) = (self.client, self.project);
        match (is, wanted) {
            (Resource::Subscription(_), Resource::Subscription(subscription)) => {
                // A subscription stays with its topic, also where that is gone.
                if mask.contains(&"topic") {
                    self.delete(is).await?;
                    return self.create(wanted, owner).await;
                }
                let pubsub = PubSub::new(client, project);
                pubsub
                    .subscriptions_patch(subscription, &mask)
                    .await
                    .map(drop)
            }
            (
                Resource::BuildTrigger { trigger: old, .. },
                Resource::BuildTrigger { location, trigger },
            ) => {
                let cloud_build = self.cloud_build(location);
                let patched = cloud_build.triggers_patch(&old.id, trigger, &mask).await;
                patched.map(drop)
            }
            (_, Resource::Job(job)) => {
                // One whose last change did not come through is sent whole.
                let whole = [
                    "schedule",
                    "timeZone",
                    "attemptDeadline",
                    "httpTarget",
                    "retryConfig",
                ];
                let mask = if mask.is_empty() { &whole[..] } else { &mask };
                let scheduler = Scheduler::new(client, project, self.region);
                scheduler.jobs_patch(job, mask).await.map(drop)
            }
            (_, Resource::Eventarc(trigger)) => {
                let eventarc = Eventarc::new(client, project, &wanted.place());
                eventarc.triggers_patch(trigger, &mask).await
            }
            (Resource::Notification { .. }, Resource::Notification { .. }) => {
                // There is no way to change one; the new one is there before the old one goes.
                self.create(wanted, owner).await?;
                self.delete(is).await
            }
            // Others have nothing that differs.
            _ => Ok(()),
        }
    }

    async fn delete(&self, resource: &Resource) -> Result<(), gcp::Error> {
        let (client, project) = (self.client, self.project);
        match resource {
            // Nobody's mark is on one.
            Resource::Repository(_) => Ok(()),
            Resource::Topic(topic) => {
                let pubsub = PubSub::new(client, project);
                pubsub.topics_delete(&topic.name).await.map(drop)
            }
            Resource::Subscription(subscription) => {
                let pubsub = PubSub::new(client, project);
                pubsub
                    .subscriptions_delete(&subscription.name)
                    .await
                    .map(drop)
            }
            Resource::BuildTrigger { location, trigger } => {
                let cloud_build = self.cloud_build(location);
                cloud_build.triggers_delete(&trigger.id).await.map(drop)
            }
            Resource::Job(job) => {
                let scheduler = Scheduler::new(client, project, self.region);
                scheduler.jobs_delete(&job.name).await.map(drop)
            }
            Resource::Eventarc(trigger) => {
                let eventarc = Eventarc::new(client, project, &resource.place());
                eventarc.triggers_delete(&trigger.name).await.map(drop)
            }
            Resource::Notification {
                bucket,
                notification,
            } => {
                let id = resource_id(&notification.id);
                self.storage
                    .notifications_delete(bucket, id)
                    .await
                    .map(drop)
            }
        }
    }

    fn cloud_build(&self, location: &str) -> CloudBuild {
        CloudBuild::new(self.client, self.project, location)
    }
}

/// The fields at the top of what differs.
fn mask(changes: &[Change]) -> Vec<&str> {
    let top =
        |change: &'_ Change| -> usize { change.field.find('.').unwrap_or(change.field.len()) };
    let mut mask: Vec<&str> = changes
        .iter()
        .filter_map(|change| change.field.get(..top(change)))
        .collect();
    mask.dedup();
    mask
}

/// Whether a notification of this bucket is among what is wanted.
fn is_wanted_in(wanted: &[&Resource], of: &str) -> bool {
    wanted
        .iter()
        .any(|resource| matches!(resource, Resource::Notification { bucket, .. } if bucket == of))
}

/// Whether a service, or a bucket, is not there for this account.
fn is_closed(error: &gcp::Error) -> bool {
    matches!(error.http, Some(403 | 404 | 501))
}
