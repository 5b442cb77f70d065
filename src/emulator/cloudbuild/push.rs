//! Pushes to the emulated Cloud Source Repositories, and the triggers that they fire.
//!
//! Each ref that a push changed is one event. What is still to be done for it stands in the repository's document
//! until it is done, and its builds have ids that follow from it: so a kill at any moment loses no build, and
//! doubles none.

use std::sync::Arc;

use axum::http::Method;

use super::change::{Before, Change};
use super::filters::Refs;
use super::git::Origin;
use super::message;
use super::trigger_run::Occasion;
use super::triggers::{self, Trigger};
use crate::emulator::cloudbuild::CloudBuild;
use crate::emulator::core::numbers::project_number;
use crate::emulator::source_repos::http::{self, Asked};
use crate::emulator::source_repos::{RefUpdate, Repo};
use crate::emulator::wire::http::{Answer, Request, Route, streaming};

pub(super) fn routes() -> Vec<Route<CloudBuild>> {
    vec![
        streaming(Method::GET, "p/*/r/**", get),
        streaming(Method::POST, "p/*/r/**", post),
    ]
}

async fn get(cloudbuild: Arc<CloudBuild>, request: Request) -> Answer {
    let (repo, asked) = http::asked(&cloudbuild.repos, &request, false)?;
    let response = http::serve(&cloudbuild.repos, &repo, asked, request).await?;
    Ok(response.into())
}

async fn post(cloudbuild: Arc<CloudBuild>, request: Request) -> Answer {
    let (repo, asked) = http::asked(&cloudbuild.repos, &request, true)?;
    let repos = cloudbuild.repos.clone();
    if asked != Asked::Push {
        return Ok(http::serve(&repos, &repo, asked, request).await?.into());
    }
    let changed = repo.clone();
    let act = move |updates| async move { fire_all(&cloudbuild, &changed, updates).await };
    Ok(http::receive(&repos, &repo, request, act).await?.into())
}

/// Takes up what pushes have left to be done, of every repository, in a task of its own.
pub(super) fn start(cloudbuild: &Arc<CloudBuild>) {
    let shared = cloudbuild.clone();
    cloudbuild.core.spawn(async move {
        for repo in shared.repos.all() {
            let _lock = shared.repos.lock(&repo).await;
            match shared.repos.note(&repo).await {
                Ok(updates) => {
                    for line in fire_all(&shared, &repo, updates).await {
                        eprintln!("note: {}: {line}", repo.name);
                    }
                }
                Err(error) => eprintln!("warning: the repository {}: {error}", repo.name),
            }
        }
    });
}

/// Acts on changes of a repository, one after the other. Gives what whoever pushed is to know.
async fn fire_all(
    cloudbuild: &Arc<CloudBuild>,
    repo: &Repo,
    updates: Vec<RefUpdate>,
) -> Vec<String> {
    let mut lines = Vec::new();
    for update in updates {
        match fire(cloudbuild, repo, &update).await {
            Ok(said) => lines.extend(said),
            Err(why) => lines.push(format!("{}: no build: {why}", update.name)),
        }
        if let Err(error) = cloudbuild.repos.done(repo, update.id) {
            lines.push(format!("{}: {error}", update.name));
        }
    }
    lines
}

/// The refs of a repository of Cloud Source Repositories that a trigger is for.
fn watched<'a>(
    trigger: &Trigger,
    sent: &'a message::BuildTrigger,
    repo: &Repo,
) -> Option<Refs<'a>> {
    let template = sent.trigger_template.as_ref()?;
    let project = match template.project_id.as_str() {
        "" => trigger.resource.project.as_str(),
        project => project,
    };
    let is_meant =
        template.repo_name == repo.name && project_number(project) == project_number(&repo.project);
    is_meant.then_some(Refs {
        branch: &template.branch_name,
        tag: &template.tag_name,
        invert: template.invert_regex,
    })
}

/// Starts the builds of one ref's change.
async fn fire(
    cloudbuild: &Arc<CloudBuild>,
    repo: &Repo,
    update: &RefUpdate,
) -> Result<Vec<String>, String> {
    let Some(new) = &update.new else {
        return Ok(Vec::new());
    };
    let mut fired = Vec::new();
    for trigger in triggers::all(cloudbuild) {
        let sent = trigger.read().map_err(|e| e.to_string())?;
        let refs = watched(&trigger, &sent, repo);
        if !sent.disabled && refs.is_some_and(|refs| refs.admit(&update.name)) {
            fired.push((trigger, sent));
        }
    }
    if fired.is_empty() {
        return Ok(Vec::new());
    }
    let change = Change {
        path: cloudbuild.repos.path(repo),
        origin: Origin::own(cloudbuild, repo),
        reference: update.name.clone(),
        before: Before::of(update.old.as_deref()),
        after: new.clone(),
        event: format!("push {}", update.id),
    };
    let outcomes = change.fire(cloudbuild, &fired, Occasion::default).await?;
    Ok(outcomes
        .iter()
        .map(|outcome| outcome.line(&update.name))
        .collect())
}
