//! GitHub's events, as its webhook sends them: signed, by `POST /v1/githubDotComWebhook:receive`.
//!
//! The commits come from what stands for the repository on this machine: what `--repository OWNER/NAME=PATH` names,
//! or the emulator's own repository `github_OWNER_NAME`. A trigger of a connection or of Developer Connect is fired
//! where its repository stands for the same path by another `--repository NAME=PATH`.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::change::{Before, Change, Outcome, is_local};
use super::events::{self, Event, What};
use super::filters::Refs;
use super::trigger_run::Occasion;
use super::triggers::{self, Trigger};
use super::{check, git, message};
use crate::emulator::cloudbuild::CloudBuild;
use crate::emulator::wire::error::ApiError;
use crate::emulator::wire::http::{Answer, Request, json};

/// The block of SHA-256, in bytes.
const BLOCK: usize = 64;
/// What GitHub says of a commit that is none.
const NO_COMMIT: &str = "0000000000000000000000000000000000000000";
/// What happened to a pull request whose commit is new.
const NEW_COMMITS: [&str; 3] = ["opened", "reopened", "synchronize"];
/// Who may have a build of a pull request without being asked for it.
const INSIDERS: [&str; 3] = ["OWNER", "MEMBER", "COLLABORATOR"];

/// HMAC (RFC 2104) with SHA-256.
fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut block = [0; BLOCK];
    let hashed;
    let key = match key.len() > BLOCK {
        true => {
            hashed = Sha256::digest(key);
            hashed.as_slice()
        }
        false => key,
    };
    for (to, from) in block.iter_mut().zip(key) {
        *to = *from;
    }
    let padded = |with: u8| block.map(|byte| byte ^ with);
    let inner = Sha256::new()
        .chain_update(padded(0x36))
        .chain_update(message);
    let outer = Sha256::new()
        .chain_update(padded(0x5c))
        .chain_update(inner.finalize());
    outer.finalize().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Refuses what is not signed with the secret of the webhook.
fn verify(cloudbuild: &CloudBuild, request: &Request) -> Result<(), ApiError> {
    let Some(file) = &cloudbuild.settings.github_secret else {
        return Err(ApiError::forbidden(
            "This emulator takes no events of GitHub's: start it with `--github-secret FILE`, the file of the secret that signs them.",
        ));
    };
    let secret = events::read_secret(file)?;
    let wanted = format!("sha256={}", hex(&hmac(&secret, &request.body)));
    let given = request.header("x-hub-signature-256").unwrap_or_default();
    match events::same(given.as_bytes(), wanted.as_bytes()) {
        true => Ok(()),
        false => Err(ApiError::forbidden(
            "The X-Hub-Signature-256 of the request is not that of its body under the webhook's secret.",
        )),
    }
}

/// Takes an event. The answer, of which GitHub keeps a copy, says what came of it.
pub(super) async fn receive(cloudbuild: Arc<CloudBuild>, request: Request) -> Answer {
    request.allow_query(&["webhookKey"])?;
    verify(&cloudbuild, &request)?;
    let kind = request
        .header("x-github-event")
        .unwrap_or_default()
        .to_owned();
    let ignored = |why: String| Ok(json(json!({ "ignored": why })));
    if !matches!(kind.as_str(), "push" | "pull_request") {
        return ignored(format!("events of the kind {kind} start no builds"));
    }
    let bytes = request.json_body()?;
    let body: Value = serde_json::from_slice(bytes)
        .map_err(|e| ApiError::invalid_argument(format!("Invalid JSON payload received. {e}")))?;
    if repository(&body).is_none() {
        return Err(ApiError::invalid_argument(
            "The event has no repository.full_name, OWNER/NAME.",
        ));
    }
    let id = request.header("x-github-delivery").unwrap_or_default();
    if id.is_empty() {
        return Err(ApiError::invalid_argument(
            "The request has no X-GitHub-Delivery, by which an event is known that comes again.",
        ));
    }
    let event = Event {
        id: format!("github {id}"),
        what: What::GitHub { kind, body },
    };
    let outcomes = events::handle(&cloudbuild, event).await?;
    let told = outcomes.iter().map(|outcome| match &outcome.build {
        Ok(id) => json!({"trigger": outcome.trigger, "build": id}),
        Err(why) => json!({"trigger": outcome.trigger, "none": why}),
    });
    Ok(json(json!({ "triggers": told.collect::<Vec<_>>() })))
}

/// The owner and the name of the repository that an event is about.
fn repository(body: &Value) -> Option<(&str, &str)> {
    let (owner, name) = body["repository"]["full_name"].as_str()?.split_once('/')?;
    (!owner.is_empty() && !name.is_empty() && !name.contains('/')).then_some((owner, name))
}

/// What happened, in the words of triggers.
struct Happened<'a> {
    /// The ref that the build is of.
    reference: String,
    /// The ref that expressions are held against: of a pull request, the branch that it is to come into.
    matched: String,
    before: Before,
    after: &'a str,
    builtins: Vec<(&'static str, String)>,
    /// Of a pull request: whether its author is one of the repository's own people.
    by_insider: Option<bool>,
}

impl<'a> Happened<'a> {
    /// `None` where nothing is there to be built.
    fn of(kind: &str, body: &'a Value) -> Option<Self> {
        let text = |value: &'a Value| value.as_str().filter(|text| !text.is_empty());
        if kind == "push" {
            let after = text(&body["after"]).filter(|after| *after != NO_COMMIT)?;
            let before = text(&body["before"]).filter(|before| *before != NO_COMMIT);
            let reference = text(&body["ref"])?;
            return Some(Self {
                reference: reference.to_owned(),
                matched: reference.to_owned(),
                before: Before::of(before),
                after,
                builtins: Vec::new(),
                by_insider: None,
            });
        }
        let action = text(&body["action"])?;
        let request = &body["pull_request"];
        let (head, base) = (
            text(&request["head"]["ref"])?,
            text(&request["base"]["ref"])?,
        );
        let number = body["number"].as_u64().or(request["number"].as_u64())?;
        let author = request["author_association"].as_str().unwrap_or_default();
        let url = request["head"]["repo"]["html_url"]
            .as_str()
            .unwrap_or_default();
        NEW_COMMITS.contains(&action).then_some(())?;
        Some(Self {
            reference: format!("refs/heads/{head}"),
            matched: format!("refs/heads/{base}"),
            before: Before::ForkFrom(text(&request["base"]["sha"])?.to_owned()),
            after: text(&request["head"]["sha"])?,
            builtins: vec![
                ("_HEAD_BRANCH", head.to_owned()),
                ("_BASE_BRANCH", base.to_owned()),
                ("_HEAD_REPO_URL", url.to_owned()),
                ("_PR_NUMBER", number.to_string()),
            ],
            by_insider: Some(INSIDERS.contains(&author)),
        })
    }

    /// Whether a trigger is for it; else why it is not, where that has to be said.
    fn admits(&self, watched: &Watched<'_>) -> Result<bool, String> {
        let (Some(by_insider), Some(pulls)) = (self.by_insider, watched.pulls) else {
            let push = watched.push.filter(|_| self.by_insider.is_none());
            return Ok(push.is_some_and(|push| {
                Refs {
                    branch: &push.branch,
                    tag: &push.tag,
                    invert: push.invert_regex,
                }
                .admit(&self.matched)
            }));
        };
        let refs = Refs {
            branch: &pulls.branch,
            tag: "",
            invert: pulls.invert_regex,
        };
        use message::CommentControl::{Enabled, EnabledForExternal};
        match pulls.comment_control {
            _ if !refs.admit(&self.matched) => Ok(false),
            Some(Enabled) => Err("it waits for a comment /gcbrun, which this emulator does not read".to_owned()),
            Some(EnabledForExternal) if !by_insider => Err(
                "the author is no owner, member or collaborator, and this emulator does not read the comment /gcbrun that one of them would write".to_owned(),
            ),
            _ => Ok(true),
        }
    }
}

/// The events of a repository that a trigger is for.
struct Watched<'a> {
    push: Option<&'a message::PushFilter>,
    pulls: Option<&'a message::PullRequestFilter>,
}

/// What of a repository's events a trigger is for; `None` where it is for another repository.
fn watched<'a>(
    cloudbuild: &CloudBuild,
    trigger: &Trigger,
    sent: &'a message::BuildTrigger,
    (owner, name): (&str, &str),
) -> Option<Watched<'a>> {
    if let Some(config) = &sent.github {
        let same = |a: &str, b: &str| a.eq_ignore_ascii_case(b);
        return (same(&config.owner, owner) && same(&config.name, name)).then_some(Watched {
            push: config.push.as_ref(),
            pulls: config.pull_request.as_ref(),
        });
    }
    let (connected, watched) = if let Some(config) = &sent.repository_event_config {
        let pulls = config.pull_request.as_ref();
        let push = config.push.as_ref();
        (&config.repository, Watched { push, pulls })
    } else {
        let config = sent.developer_connect_event_config.as_ref()?;
        let pulls = config.pull_request.as_ref();
        let push = config.push.as_ref();
        (&config.git_repository_link, Watched { push, pulls })
    };
    let last = connected.rsplit('/').next().unwrap_or(connected);
    let meant = git::mapped(cloudbuild, &[connected, last])?;
    let own = git::of_github(cloudbuild, &trigger.resource.project, owner, name)?;
    (meant == own).then_some(watched)
}

/// Fires the triggers of an event.
pub(super) async fn act(
    cloudbuild: &Arc<CloudBuild>,
    kind: &str,
    body: &Value,
    event: &str,
) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    let (Some((owner, name)), Some(happened)) = (repository(body), Happened::of(kind, body)) else {
        return outcomes;
    };
    // Repositories that stand for one may differ from project to project.
    let mut fired: BTreeMap<String, Vec<(Trigger, message::BuildTrigger)>> = BTreeMap::new();
    for trigger in triggers::all(cloudbuild) {
        let Some(sent) = trigger.read().ok().filter(|sent| !sent.disabled) else {
            continue;
        };
        let Some(watched) = watched(cloudbuild, &trigger, &sent, (owner, name)) else {
            continue;
        };
        match happened.admits(&watched) {
            Ok(true) => {
                let project = trigger.resource.project.clone();
                fired.entry(project).or_default().push((trigger, sent));
            }
            Ok(false) => {}
            Err(why) => outcomes.push(Outcome {
                trigger: trigger.name().to_owned(),
                build: Err(why),
            }),
        }
    }
    for (project, triggers) in fired {
        match fire(
            cloudbuild,
            &project,
            (owner, name),
            &happened,
            &triggers,
            (event, body),
        )
        .await
        {
            Ok(some) => outcomes.extend(some),
            Err(why) => outcomes.extend(triggers.iter().map(|(trigger, _)| Outcome {
                trigger: trigger.name().to_owned(),
                build: Err(why.clone()),
            })),
        }
    }
    outcomes
}

async fn fire(
    cloudbuild: &Arc<CloudBuild>,
    project: &str,
    (owner, name): (&str, &str),
    happened: &Happened<'_>,
    triggers: &[(Trigger, message::BuildTrigger)],
    (event, body): (&str, &Value),
) -> Result<Vec<Outcome>, String> {
    check::permit(cloudbuild, None).map_err(|error| error.message)?;
    let origin = git::of_github(cloudbuild, project, owner, name).ok_or_else(|| {
        format!(
            "nothing here stands for {owner}/{name}: start the emulator with `--repository {owner}/{name}=PATH`, or push to a repository github_{owner}_{name} of the project"
        )
    })?;
    let path = is_local(&origin.address).ok_or_else(|| {
        format!(
            "what stands for {owner}/{name} is no folder of this machine: name a clone by `--repository {owner}/{name}=PATH`"
        )
    })?;
    let change = Change {
        path: path.to_owned(),
        origin: origin.clone(),
        reference: happened.reference.clone(),
        before: happened.before.clone(),
        after: happened.after.to_owned(),
        event: event.to_owned(),
    };
    let root = match happened.by_insider {
        Some(_) => "pull_request",
        None => "push",
    };
    let payload = match root {
        "push" => json!({"body": body, "push": body}),
        _ => json!({"body": body, "pull_request": body["pull_request"]}),
    };
    let occasion = || Occasion {
        builtins: happened.builtins.clone(),
        payload: Some(payload.clone()),
        ..Occasion::default()
    };
    change.fire(cloudbuild, triggers, occasion).await
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4231, cases 1, 2 and 6.
    #[test]
    fn signatures_are_those_of_the_standard() {
        for (key, message, expected) in [
            (
                vec![0x0b; 20],
                &b"Hi There"[..],
                "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
            ),
            (
                b"Jefe".to_vec(),
                b"what do ya want for nothing?",
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (
                vec![0xaa; 131],
                b"Test Using Larger Than Block-Size Key - Hash Key First",
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
            ),
        ] {
            assert_eq!(hex(&hmac(&key, message)), expected);
        }
    }

    #[test]
    fn a_pull_request_is_matched_by_its_base_and_built_at_its_head() {
        let body = json!({
            "action": "synchronize", "number": 7, "repository": {"full_name": "o/r"},
            "pull_request": {
                "author_association": "NONE",
                "head": {"ref": "feature", "sha": "b", "repo": {"html_url": "https://github.com/x/r"}},
                "base": {"ref": "main", "sha": "a"},
            },
        });
        let happened = Happened::of("pull_request", &body).unwrap();
        assert_eq!(happened.reference, "refs/heads/feature");
        assert_eq!(happened.before, Before::ForkFrom("a".to_owned()));
        let admits = |config: Value| {
            let config: message::GitHubEventsConfig = serde_json::from_value(config).unwrap();
            happened.admits(&Watched {
                push: config.push.as_ref(),
                pulls: config.pull_request.as_ref(),
            })
        };
        let pulls = |branch: &str, control: Value| {
            admits(json!({"pullRequest": {"branch": branch, "commentControl": control}}))
        };
        assert_eq!(pulls("^main$", Value::Null), Ok(true));
        assert_eq!(pulls("^feature$", Value::Null), Ok(false));
        for control in [
            "COMMENTS_ENABLED",
            "COMMENTS_ENABLED_FOR_EXTERNAL_CONTRIBUTORS_ONLY",
        ] {
            assert!(pulls("main", control.into()).is_err());
        }
        assert_eq!(admits(json!({"push": {"branch": ".*"}})), Ok(false));
        let mut closed = body.clone();
        closed["action"] = "closed".into();
        assert!(Happened::of("pull_request", &closed).is_none());
        let gone = json!({"ref": "refs/heads/x", "before": "a", "after": NO_COMMIT});
        assert!(Happened::of("push", &gone).is_none());
    }
}
