//! `serin trigger apply`: what the config asks for, made in the cloud.
//!
//! A plan is a comparison of two lists, and doing it is a request a row. Names and marks are the state: nothing is
//! kept beside the cloud, so a run that was killed is repeated.

mod cloud;
mod plan;
mod resource;
mod show;
#[cfg(test)]
mod tests;
mod told;
mod wanted;

use anyhow::Result;

use self::cloud::Cloud;
use self::plan::{Action, Row};
use self::resource::{Owner, Resource};
use self::wanted::Surroundings;
use crate::config::{ListenAt, NewData, Triggers};
use crate::error::Input;
use crate::exit::code;
use crate::gcp::run::{Run, Service};
use crate::gcp::{Api, Client};
use crate::printable;
use crate::steps::{CommonFlags, Context, Format};

/// Make the cloud as `triggers` of serin.yaml says
///
/// Reads serin.yaml and what is in the project: Cloud Build triggers, Scheduler jobs, Pub/Sub topics and
/// subscriptions, Eventarc triggers, the notifications of the bucket of new objects, and a repository of Cloud Source
/// Repositories. Prints a plan, a line each: create, change with the fields that differ, same, delete, or left, which is
/// what this config no longer asks for. Then does it. What carries no mark of this model and bucket is never touched;
/// where it has a name that is asked for, nothing is done, and the exit code is 2.
///
/// Service accounts and the Cloud Run service are named, not made. Writes no file. Killed half-way it is run again; the
/// second of two runs changes nothing.
///
/// Exits with 0 where all is as asked for, or with --dry-run planned; with 2 where the config leaves something out, a
/// role lacks, or a resource is another's; with 3 where the cloud failed.
#[derive(Debug, clap::Args)]
pub(super) struct ApplyFlags {
    #[command(flatten)]
    pub common: CommonFlags,
    /// Print the plan, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Delete what this config asked for before and does no more
    #[arg(long)]
    pub prune: bool,
    /// Lines for people, or one JSON object at the end
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

/// Plans and applies.
///
/// # Errors
/// [`Input`] for the config, a role that lacks and a resource that is another's; `gcp::Error` when the cloud fails.
pub(super) async fn apply(ctx: &Context, flags: &ApplyFlags) -> Result<u8> {
    let Some(triggers) = &ctx.config.triggers else {
        return Err(
            Input::new("there is no section `triggers`, so nothing is asked for")
                .at_file(&ctx.config.path)
                .hint("docs/triggers.md has one to begin with")
                .into(),
        );
    };
    whole_or_not_emulated(&ctx.client)?;
    let owner = Owner {
        model: ctx.config.model.value.clone(),
        bucket: ctx.config.bucket.value.clone(),
    };
    let around = Surroundings {
        owner: &owner,
        project: &ctx.project,
        region: &ctx.region,
        listen: listen(ctx, triggers).await?,
        bucket_location: bucket_location(ctx, triggers).await?,
    };
    let wanted = wanted::wanted(triggers, &around)?;
    let cloud = Cloud {
        client: &ctx.client,
        storage: ctx.storage(),
        project: &ctx.project,
        region: &ctx.region,
        accounts: accounts(triggers),
    };
    let there = cloud
        .look(&wanted, &told_of(triggers, &owner.bucket))
        .await?;
    let rows = plan::plan(&wanted, &there, &owner, flags.prune);
    let text = flags.format == Format::Text;
    if text {
        for line in show::table(&rows) {
            println!("{line}");
        }
        println!("{}", show::sum(&rows));
    }
    refuse_foreign(&rows)?;
    if !flags.dry_run {
        for row in rows.iter().filter(|row| acts(row)) {
            cloud.act(row, &owner).await?;
            if text {
                println!("{} {}", done(row.action), row.resource.words());
            }
        }
    }
    if !text {
        let message = show::message(&rows, !flags.dry_run);
        println!("{}", printable::json(&message.to_string()));
    }
    Ok(code::DONE)
}

fn acts(row: &Row) -> bool {
    matches!(row.action, Action::Create | Action::Change | Action::Delete)
}

fn done(action: Action) -> &'static str {
    match action {
        Action::Change => "changed the",
        Action::Delete => "deleted the",
        _ => "created the",
    }
}

/// Refuses a plan that would have to touch what is another's.
fn refuse_foreign(rows: &[Row]) -> Result<(), Input> {
    let Some(row) = rows.iter().find(|row| row.action == Action::Foreign) else {
        return Ok(());
    };
    let whose = match &row.is {
        Some(Resource::BuildTrigger { trigger, .. }) => trigger.description.clone(),
        Some(Resource::Job(job)) => job.description.clone(),
        _ => String::new(),
    };
    let whose = match whose.is_empty() {
        true => String::new(),
        false => format!(", which says of itself: {whose}"),
    };
    Err(Input::new(format!(
        "the {} is there and is not of this model and bucket{whose}",
        row.resource.words()
    ))
    .hint("nothing was changed; delete it or give the model another id"))
}

/// Refuses a cloud that is an emulator in part: what is made for a test must not be made at Google.
fn whole_or_not_emulated(client: &Client) -> Result<(), Input> {
    let google: Vec<Api> = Api::ALL
        .into_iter()
        .filter(|api| client.is_google(*api))
        .collect();
    let storage = client.redirected();
    let storage = storage
        .iter()
        .any(|redirect| redirect.variable == "STORAGE_EMULATOR_HOST");
    let all_alike = match storage {
        true => google.is_empty(),
        false => google.len() == Api::ALL.len(),
    };
    if all_alike {
        return Ok(());
    }
    let message = match google.first() {
        Some(api) => format!(
            "some services are an emulator's, and {} is Google's",
            api.host()
        ),
        None => "the services are an emulator's, and Cloud Storage is Google's".to_owned(),
    };
    Err(Input::new(message)
        .hint("`eval \"$(serin emulate env)\"` points all of them at the emulator"))
}

/// The buckets that may have notifications: that of new objects, however they are told of now, and the model's.
fn told_of<'a>(triggers: &'a Triggers, own: &'a str) -> Vec<&'a str> {
    let mut buckets = Vec::new();
    if let Some(NewData::Objects { bucket, .. }) = &triggers.new_data {
        buckets.push(bucket.as_str());
    }
    buckets.push(own);
    buckets.dedup();
    buckets
}

/// The accounts that the config names, each once.
fn accounts(triggers: &Triggers) -> Vec<String> {
    let of_builds = triggers.service_account.iter();
    let of_callers = triggers.listen.iter().map(|listen| &listen.service_account);
    let mut all: Vec<String> = of_builds
        .chain(of_callers)
        .map(|account| account.value.clone())
        .collect();
    all.dedup();
    all
}

/// The URL of `listen`, where the config has one.
async fn listen(ctx: &Context, triggers: &Triggers) -> Result<Option<String>> {
    let Some(listen) = &triggers.listen else {
        return Ok(None);
    };
    let service = match &listen.at {
        ListenAt::Url(url) => return Ok(Some(url.value.clone())),
        ListenAt::Service(service) => service,
    };
    let run = Run::new(&ctx.client, &ctx.project, &ctx.region);
    let name = run.name(service);
    let refused = |error: crate::gcp::Error| match error.http {
        Some(403) => anyhow::Error::new(
            Input::new(format!(
                "cannot read the Cloud Run service `{}`: {}",
                **service, error.message
            ))
            .at(service.place.clone())
            .hint("grant this account `roles/run.viewer` on the project"),
        ),
        _ => error.into(),
    };
    let Some(found) = run.services_get(&name).await.map_err(refused)? else {
        let message = format!(
            "there is no Cloud Run service `{}` in {}",
            **service, ctx.region
        );
        return Err(Input::new(message)
            .at(service.place.clone())
            .hint("deploy `serin listen` first, as docs/triggers.md shows, or name another region")
            .into());
    };
    if trusts_cloud_run(&found) && is_open(&run, &name, &found).await.map_err(refused)? {
        let message = format!(
            "the Cloud Run service `{}` takes Cloud Run's word for its callers, and everybody may call it",
            **service
        );
        return Err(Input::new(message)
            .at(service.place.clone())
            .hint(
                "take `allUsers` from its invokers, or `--trust cloud-run-iam` from its arguments",
            )
            .into());
    }
    Ok(Some(found.uri))
}

/// Whether it leaves the check of tokens to Cloud Run.
fn trusts_cloud_run(service: &Service) -> bool {
    let mut words = service
        .template
        .containers
        .iter()
        .flat_map(|container| container.command.iter().chain(&container.args));
    words.any(|word| word.contains("cloud-run-iam"))
}

/// Whether everybody may call it.
async fn is_open(run: &Run, name: &str, service: &Service) -> Result<bool, crate::gcp::Error> {
    if service.invoker_iam_disabled {
        return Ok(true);
    }
    let policy = run.services_get_iam_policy(name).await?;
    let open = |member: &String| member == "allUsers" || member == "allAuthenticatedUsers";
    Ok(policy
        .bindings
        .iter()
        .any(|binding| binding.role.ends_with("run.invoker") && binding.members.iter().any(open)))
}

/// The location of the bucket whose objects Eventarc tells of: its trigger has to be in the same.
async fn bucket_location(ctx: &Context, triggers: &Triggers) -> Result<Option<String>> {
    let Some(NewData::Objects { bucket, .. }) = &triggers.new_data else {
        return Ok(None);
    };
    match ctx.storage().buckets_get(bucket).await {
        Ok(Some(found)) => Ok(Some(found.location.to_lowercase()).filter(|l| !l.is_empty())),
        Ok(None) => Err(
            Input::new(format!("the bucket `gs://{bucket}` does not exist"))
                .at(triggers.place.clone())
                .hint("make it, or name another in `triggers.new_data.objects`")
                .into(),
        ),
        // Who may not look at it may still have it in the region.
        Err(error) if error.http == Some(403) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
