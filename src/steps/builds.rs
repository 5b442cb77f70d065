//! `serin builds`: builds with the reason for which they were started, and their logs while they run.

mod follow;
mod show;
#[cfg(test)]
mod tests;

use anyhow::Result;

use super::{Format, one_thread, project};
use crate::clock::Clock;
use crate::config::{resource_name, what};
use crate::defaults;
use crate::error::Input;
use crate::exit::code;
use crate::gcp::Client;
use crate::gcp::cloud_build::{Build, CloudBuild};
use crate::printable;

/// The location of builds whose triggers are in no region.
const GLOBAL: &str = "global";
/// So many builds of each location are looked through where only some are shown.
const LOOKED_THROUGH: usize = 200;

/// Show builds with the reason for which they were started
///
/// Reads the builds of the project at `global` and in the region, of Cloud Build or of an emulator that
/// `serin emulate env` points at. Needs no serin.yaml, and writes nothing.
#[derive(Debug, clap::Args)]
pub(crate) struct Flags {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    List(ListFlags),
    Show(ShowFlags),
    Follow(FollowFlags),
}

/// List the newest builds, a line each
///
/// The build's id, when it was made, how long it took, its status, the cause that started it, and the reason. The cause is
/// commit, schedule, new_data, performance, drift or on_demand; trigger for a build of another trigger, and by_hand for
/// one that was submitted. Exits with 0, also where there is none.
#[derive(Debug, clap::Args)]
struct ListFlags {
    #[command(flatten)]
    place: PlaceFlags,
    /// So many at most
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
    /// Only those of the trigger that `serin trigger apply` makes for this model
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// Lines for people, or a JSON object for each build
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// Show one build: its reason, its steps and where its log is
///
/// Exits with 0 whatever became of the build.
#[derive(Debug, clap::Args)]
struct ShowFlags {
    /// The build's id
    #[arg(value_name = "BUILD")]
    id: String,
    #[command(flatten)]
    place: PlaceFlags,
    /// Lines for people, or one JSON object
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// Print a build's log until the build ends
///
/// Reads the log where the build writes it, Cloud Storage or Cloud Logging. To stop following does not stop the build.
///
/// Exits with 0 where the build succeeded; with the exit code of the step that failed where its image is serin's own, so
/// with 1 where a check, gate or canary rejected; with 1 for another step's failure, and for a build that was cancelled or
/// took too long; with 3 where Cloud Build itself failed, or the build expired in its queue.
#[derive(Debug, clap::Args)]
struct FollowFlags {
    /// The build's id [default: the newest build]
    #[arg(value_name = "BUILD")]
    id: Option<String>,
    #[command(flatten)]
    place: PlaceFlags,
}

/// Where the builds are.
#[derive(Debug, clap::Args)]
struct PlaceFlags {
    /// The project, by id [default: CLOUDSDK_CORE_PROJECT, else GOOGLE_CLOUD_PROJECT]
    #[arg(long, env = "SERIN_PROJECT")]
    project: Option<String>,
    /// The region that is looked at beside `global` [default: CLOUDSDK_COMPUTE_REGION, else GOOGLE_CLOUD_REGION]
    #[arg(long, env = "SERIN_REGION")]
    region: Option<String>,
}

/// A build and the location that it is in.
#[derive(Clone, Debug)]
struct Found {
    build: Build,
    location: String,
}

/// The builds of a project.
struct Builds {
    client: Client,
    project: String,
    locations: Vec<String>,
}

/// Runs `serin builds`.
///
/// # Errors
/// [`Input`] for flags and ids of no build, `gcp::Error` when the cloud fails.
pub(crate) fn command(flags: Flags) -> Result<u8> {
    one_thread()?.block_on(async {
        match flags.command {
            Command::List(flags) => list(flags).await,
            Command::Show(flags) => show(flags).await,
            Command::Follow(flags) => {
                let builds = Builds::at(flags.place)?;
                tokio::select! {
                    ended = follow::follow(&builds, flags.id) => ended,
                    interrupted = crate::signals::interrupted() => Err(interrupted.into()),
                }
            }
        }
    })
}

async fn list(flags: ListFlags) -> Result<u8> {
    let builds = Builds::at(flags.place)?;
    let limit = usize::from(flags.limit);
    let found = match flags.model {
        None => builds.newest(limit).await?,
        Some(model) => {
            let trigger = resource_name(&model, what::BUILD);
            let mut found = builds.newest(LOOKED_THROUGH.max(limit)).await?;
            found.retain(|found| found.build.substitutions.get("TRIGGER_NAME") == Some(&trigger));
            found.truncate(limit);
            found
        }
    };
    match flags.format {
        Format::Text => {
            for line in show::table(&found) {
                println!("{line}");
            }
        }
        Format::Json => {
            for found in &found {
                println!("{}", printable::json(&show::message(found).to_string()));
            }
        }
    }
    Ok(code::DONE)
}

async fn show(flags: ShowFlags) -> Result<u8> {
    let found = Builds::at(flags.place)?.find(&flags.id).await?;
    match flags.format {
        Format::Text => {
            for line in show::lines(&found) {
                println!("{line}");
            }
        }
        Format::Json => println!("{}", printable::json(&show::message(&found).to_string())),
    }
    Ok(code::DONE)
}

impl Builds {
    fn at(place: PlaceFlags) -> Result<Self> {
        let clock = Clock::from_env().map_err(|e| Input::new(e.to_string()))?;
        let mut locations = vec![GLOBAL.to_owned()];
        locations.extend(place.region.or_else(defaults::region));
        locations.dedup();
        Ok(Self {
            client: Client::from_env(clock)?,
            project: project(place.project)?,
            locations,
        })
    }

    fn cloud_build(&self, location: &str) -> CloudBuild {
        CloudBuild::new(&self.client, &self.project, location)
    }

    /// The newest of all locations, the newest first.
    async fn newest(&self, at_most: usize) -> Result<Vec<Found>> {
        let mut all = Vec::new();
        for location in &self.locations {
            let listed = self.cloud_build(location).builds_list("", at_most).await;
            let builds = listed.map_err(|error| self.refused(error))?;
            all.extend(builds.into_iter().map(|build| Found {
                build,
                location: location.clone(),
            }));
        }
        all.sort_by_key(|found| std::cmp::Reverse(found.build.create_time));
        all.truncate(at_most);
        Ok(all)
    }

    /// The build with this id.
    async fn find(&self, id: &str) -> Result<Found> {
        for location in &self.locations {
            let found = self.cloud_build(location).builds_get(id).await;
            if let Some(build) = found.map_err(|error| self.refused(error))? {
                return Ok(Found {
                    build,
                    location: location.clone(),
                });
            }
        }
        let places = self.locations.join(" and ");
        Err(Input::new(format!(
            "there is no build `{id}` in the project {} at {places}",
            self.project
        ))
        .hint("`serin builds list` names them; `--region` looks in another region")
        .into())
    }

    fn refused(&self, error: crate::gcp::Error) -> anyhow::Error {
        match error.http {
            Some(403) => Input::new(format!(
                "this account may not see the builds of {}: {}",
                self.project, error.message
            ))
            .hint("grant it `roles/cloudbuild.builds.viewer` on the project")
            .into(),
            _ => error.into(),
        }
    }
}
