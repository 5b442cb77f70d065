//! What of a trigger's message is refused when the trigger is made, whatever its source holds.

use super::{ResourceName, bindings, events, filters, message, source};
use crate::emulator::wire::error::ApiError;

/// The error about a field of the trigger.
fn invalid(field: &str, text: &str) -> Result<(), ApiError> {
    let field = format!("trigger.{field}");
    Err(
        ApiError::invalid_argument(format!("invalid value for '{field}': {text}"))
            .violation(&field),
    )
}

/// Checks a trigger.
///
/// # Errors
/// `INVALID_ARGUMENT` with the field; `FAILED_PRECONDITION` for what this emulator does not do.
pub(super) fn check(
    resource: &ResourceName,
    trigger: &message::BuildTrigger,
) -> Result<(), ApiError> {
    if !trigger.name.is_empty() && !is_name(&trigger.name) {
        let text = "it must be 1 to 64 letters, digits and dashes, and begin and end with a letter or digit";
        return invalid("name", text);
    }
    let repositories = check_kinds(trigger)?;
    check_source(trigger)?;
    check_events(resource, trigger)?;
    check_event_type(trigger, repositories)?;
    check_files(trigger)?;
    check_substitutions(trigger)?;
    let account = &trigger.service_account;
    if !account.is_empty() && !is_account(account) {
        return invalid(
            "service_account",
            "it must be projects/PROJECT/serviceAccounts/ACCOUNT",
        );
    }
    if trigger.include_build_logs == Some(message::IncludeBuildLogs::WithStatus)
        && trigger.github.is_none()
    {
        return invalid("include_build_logs", "it is for triggers of GitHub only");
    }
    Ok(())
}

fn is_name(name: &str) -> bool {
    let end = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
    (1..=64).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        && end(name.bytes().next())
        && end(name.bytes().last())
}

fn is_account(name: &str) -> bool {
    let parts = name
        .strip_prefix("projects/")
        .and_then(|rest| rest.split_once("/serviceAccounts/"));
    let word = |text: &str| !text.is_empty() && !text.contains('/');
    parts.is_some_and(|(project, account)| word(project) && word(account))
}

/// One thing to build, and at most one kind of event. Gives whether it is one of a repository.
fn check_kinds(trigger: &message::BuildTrigger) -> Result<bool, ApiError> {
    let templates = [
        !trigger.filename.is_empty(),
        trigger.build.is_some(),
        trigger.git_file_source.is_some(),
        trigger.autodetect,
    ];
    if templates.iter().filter(|set| **set).count() != 1 {
        let text = "exactly one of build, filename, git_file_source and autodetect must be set";
        invalid("build_template", text)?;
    }
    let repositories = [
        trigger.trigger_template.is_some(),
        trigger.github.is_some(),
        trigger.repository_event_config.is_some(),
        trigger.developer_connect_event_config.is_some(),
        trigger.bitbucket_server_trigger_config.is_some(),
    ];
    let others = [
        trigger.pubsub_config.is_some(),
        trigger.webhook_config.is_some(),
    ];
    let repositories = repositories.iter().filter(|set| **set).count();
    let others = others.iter().filter(|set| **set).count();
    if repositories + others > 1 {
        invalid("event", "only one kind of event may be set")?;
    }
    if !trigger.filename.is_empty() && repositories == 0 {
        let text = "without events of a repository the file must be a git_file_source";
        invalid("filename", text)?;
    }
    Ok(repositories > 0)
}

/// Where the config and the source come from.
fn check_source(trigger: &message::BuildTrigger) -> Result<(), ApiError> {
    if let Some(file) = &trigger.git_file_source {
        if file.path.is_empty() {
            return invalid("git_file_source.path", "the field is required");
        }
        if file.uri.is_empty() && file.repository.is_empty() {
            let text = "one of uri and repository is required";
            return invalid("git_file_source", text);
        }
        if file.repo_type.is_none() && file.repository.is_empty() {
            return invalid("git_file_source.repo_type", "the field is required");
        }
    }
    let Some(source) = &trigger.source_to_build else {
        return Ok(());
    };
    if source.uri.is_empty() == source.repository.is_empty() {
        let text = "exactly one of uri and repository is required";
        return invalid("source_to_build", text);
    }
    if !source.reference.starts_with("refs/") {
        return invalid("source_to_build.ref", "it must begin with refs/");
    }
    if source.repo_type.is_none() && source.repository.is_empty() {
        return invalid("source_to_build.repo_type", "the field is required");
    }
    Ok(())
}

/// The event that fires it.
fn check_events(resource: &ResourceName, trigger: &message::BuildTrigger) -> Result<(), ApiError> {
    if let Some(template) = &trigger.trigger_template {
        if template.repo_name.is_empty() {
            return invalid("trigger_template.repo_name", "the field is required");
        }
        if source::reference(template).is_none() {
            let text = "exactly one of branch_name, tag_name and commit_sha is required";
            return invalid("trigger_template", text);
        }
        expression("trigger_template.branch_name", &template.branch_name)?;
        expression("trigger_template.tag_name", &template.tag_name)?;
    }
    if let Some(github) = &trigger.github {
        if github.owner.is_empty() || github.name.is_empty() {
            return invalid("github", "owner and name are required");
        }
        filter("github", &github.push, &github.pull_request)?;
    }
    if let Some(config) = &trigger.repository_event_config {
        let field = "repository_event_config";
        let form = "projects/P/locations/L/connections/C/repositories/R";
        connected(
            resource,
            &format!("{field}.repository"),
            form,
            &config.repository,
        )?;
        filter(field, &config.push, &config.pull_request)?;
    }
    if let Some(config) = &trigger.developer_connect_event_config {
        let field = "developer_connect_event_config";
        let form = "projects/P/locations/L/connections/C/gitRepositoryLinks/R";
        let link = &config.git_repository_link;
        connected(
            resource,
            &format!("{field}.git_repository_link"),
            form,
            link,
        )?;
        filter(field, &config.push, &config.pull_request)?;
    }
    if let Some(config) = &trigger.bitbucket_server_trigger_config {
        let field = "bitbucket_server_trigger_config";
        if config.repo_slug.is_empty() || config.project_key.is_empty() {
            return invalid(field, "project_key and repo_slug are required");
        }
        filter(field, &config.push, &config.pull_request)?;
    }
    if let Some(config) = &trigger.pubsub_config
        && events::topic_of(&config.topic).is_none()
    {
        let text = "it must be projects/PROJECT/topics/TOPIC";
        return invalid("pubsub_config.topic", text);
    }
    if let Some(config) = &trigger.webhook_config
        && events::secret_id(&config.secret).is_none()
    {
        let text = "it must be projects/PROJECT/secrets/SECRET/versions/VERSION";
        return invalid("webhook_config.secret", text);
    }
    Ok(())
}

/// A repository behind a connection: in the trigger's own location, which is a region.
fn connected(resource: &ResourceName, field: &str, form: &str, name: &str) -> Result<(), ApiError> {
    let parts: Vec<&str> = name.split('/').collect();
    let wanted: Vec<&str> = form.split('/').collect();
    let is_formed = parts.len() == wanted.len()
        && parts
            .iter()
            .zip(&wanted)
            .enumerate()
            .all(|(i, (part, wanted))| match i % 2 {
                0 => part == wanted,
                _ => !part.is_empty(),
            });
    match parts.get(3) {
        Some(location) if is_formed && *location == resource.location => Ok(()),
        Some(location) if is_formed => invalid(
            field,
            &format!(
                "the repository is in {location}, and the trigger in {}: they have to be in one region",
                resource.location
            ),
        ),
        _ => invalid(field, &format!("it must be {form}")),
    }
}

/// A pattern of branches or tags.
fn expression(field: &str, pattern: &str) -> Result<(), ApiError> {
    match filters::expression(pattern) {
        Ok(_) => Ok(()),
        Err(why) => invalid(field, &why),
    }
}

/// Which pushes or pull requests of a repository are meant: exactly one kind.
fn filter(
    field: &str,
    push: &Option<message::PushFilter>,
    pulls: &Option<message::PullRequestFilter>,
) -> Result<(), ApiError> {
    let fine = match (push, pulls) {
        (Some(push), None) => push.branch.is_empty() != push.tag.is_empty(),
        (None, Some(pulls)) => !pulls.branch.is_empty(),
        _ => false,
    };
    if !fine {
        let text = "exactly one of push.branch, push.tag and pull_request.branch is required";
        return invalid(field, text);
    }
    if let Some(push) = push {
        expression(&format!("{field}.push.branch"), &push.branch)?;
        expression(&format!("{field}.push.tag"), &push.tag)?;
    }
    pulls.as_ref().map_or(Ok(()), |pulls| {
        expression(&format!("{field}.pull_request.branch"), &pulls.branch)
    })
}

fn check_event_type(trigger: &message::BuildTrigger, repositories: bool) -> Result<(), ApiError> {
    use message::EventType::{Manual, Pubsub, Repo, Unspecified, Webhook};
    let has = match trigger.event_type {
        None | Some(Unspecified) => return Ok(()),
        Some(Repo) => repositories,
        Some(Pubsub) => trigger.pubsub_config.is_some(),
        Some(Webhook) => trigger.webhook_config.is_some(),
        Some(Manual) => {
            !repositories && trigger.pubsub_config.is_none() && trigger.webhook_config.is_none()
        }
    };
    match has {
        true => Ok(()),
        false => invalid("event_type", "it is not that of the rest of the trigger"),
    }
}

fn check_files(trigger: &message::BuildTrigger) -> Result<(), ApiError> {
    for (field, patterns) in [
        ("included_files", &trigger.included_files),
        ("ignored_files", &trigger.ignored_files),
    ] {
        for pattern in patterns {
            if let Err(why) = filters::glob(pattern) {
                return invalid(field, &why);
            }
        }
    }
    Ok(())
}

fn check_substitutions(trigger: &message::BuildTrigger) -> Result<(), ApiError> {
    let has_payload = trigger.pubsub_config.is_some() || trigger.webhook_config.is_some();
    let is_github = trigger.github.is_some();
    for (key, text) in &trigger.substitutions {
        let word = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_';
        if !key.starts_with('_') || key.len() < 2 || !key.bytes().all(word) {
            let text = format!("the key \"{key}\" does not respect the format ^_[A-Z0-9_]+$");
            return invalid("substitutions", &text);
        }
        if !has_payload && !is_github {
            // A text like any other, as of a trigger that is run by hand.
            continue;
        }
        if let Err(why) = bindings::check(text) {
            return invalid("substitutions", &format!("{key}: {why}"));
        }
    }
    if trigger.filter.is_empty() {
        return Ok(());
    }
    if !has_payload {
        return Err(ApiError::unimplemented(
            "This emulator has no filter but of messages and webhooks: leave the trigger's filter out.",
        )
        .violation("trigger.filter"));
    }
    match events::read_filter(trigger) {
        Ok(_) => Ok(()),
        Err(why) => invalid("filter", &why),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::emulator::wire::json::parse_value;

    fn checked(location: &str, trigger: Value) -> Result<(), ApiError> {
        let resource = ResourceName {
            project: "p".to_owned(),
            location: location.to_owned(),
            kind: "triggers".to_owned(),
            id: "t".to_owned(),
        };
        check(&resource, &parse_value(trigger)?)
    }

    #[test]
    fn a_trigger_says_once_what_it_builds_and_what_begins_it() {
        let base = json!({
            "name": "a-1", "filename": "cloudbuild.yaml",
            "github": {"owner": "o", "name": "r", "push": {"branch": "^main$"}},
        });
        let with = |field: &str, value: Value| {
            let mut trigger = base.clone();
            trigger[field] = value;
            checked("global", trigger)
        };
        with("description", "fine".into()).unwrap();
        with("eventType", "REPO".into()).unwrap();
        with("includeBuildLogs", "INCLUDE_BUILD_LOGS_WITH_STATUS".into()).unwrap();
        with("substitutions", json!({"_A": "$(push.ref)"})).unwrap();
        for (field, value) in [
            ("name", json!("-a")),
            ("name", json!("a b")),
            ("name", json!("a".repeat(65))),
            ("autodetect", json!(true)),
            ("filename", json!("")),
            ("pubsubConfig", json!({"topic": "projects/p/topics/t"})),
            ("github", json!({"owner": "o", "push": {"branch": "b"}})),
            ("github", json!({"owner": "o", "name": "r"})),
            (
                "github",
                json!({"owner": "o", "name": "r", "push": {"branch": "b", "tag": "t"}}),
            ),
            (
                "github",
                json!({"owner": "o", "name": "r", "push": {"branch": "("}}),
            ),
            (
                "github",
                json!({"owner": "o", "name": "r", "pullRequest": {}}),
            ),
            ("substitutions", json!({"COMMIT_SHA": "x"})),
            ("substitutions", json!({"_A": "$(size(body))"})),
            ("eventType", json!("PUBSUB")),
            ("includedFiles", json!(["a", "["])),
            ("ignoredFiles", json!(["\\"])),
            ("serviceAccount", json!("a@b")),
            (
                "sourceToBuild",
                json!({"uri": "u", "ref": "main", "repoType": "GITHUB"}),
            ),
        ] {
            let error = with(field, value.clone()).unwrap_err();
            assert_eq!(error.status, "INVALID_ARGUMENT", "{field} {value}");
        }
        let error = with("filter", "_A == ''".into()).unwrap_err();
        assert_eq!(error.status, "FAILED_PRECONDITION");
    }

    #[test]
    fn events_name_what_there_may_be() {
        let build = json!({"steps": [{"name": "x"}]});
        let of = |location: &str, kind: &str, config: Value| {
            checked(location, json!({"build": build, kind: config}))
        };
        let repository = "projects/p/locations/us-east1/connections/c/repositories/r";
        let link = "projects/p/locations/us-east1/connections/c/gitRepositoryLinks/r";
        let push = json!({"branch": "b"});
        let (second, connect) = ("repositoryEventConfig", "developerConnectEventConfig");
        of(
            "us-east1",
            second,
            json!({"repository": repository, "push": push}),
        )
        .unwrap();
        of(
            "us-east1",
            connect,
            json!({"gitRepositoryLink": link, "push": push}),
        )
        .unwrap();
        of(
            "global",
            "pubsubConfig",
            json!({"topic": "projects/p/topics/t"}),
        )
        .unwrap();
        for (location, kind, config) in [
            (
                "global",
                second,
                json!({"repository": repository, "push": push}),
            ),
            (
                "us-east1",
                second,
                json!({"repository": link, "push": push}),
            ),
            ("us-east1", second, json!({"repository": repository})),
            (
                "us-east1",
                connect,
                json!({"gitRepositoryLink": "r", "push": push}),
            ),
            ("global", "pubsubConfig", json!({"topic": "t"})),
            ("global", "webhookConfig", json!({"secret": "s"})),
            ("global", "triggerTemplate", json!({"branchName": "b"})),
            (
                "global",
                "triggerTemplate",
                json!({"repoName": "r", "branchName": "["}),
            ),
            (
                "global",
                "triggerTemplate",
                json!({"repoName": "r", "branchName": "b", "tagName": "t"}),
            ),
        ] {
            let error = of(location, kind, config.clone()).unwrap_err();
            assert_eq!(error.status, "INVALID_ARGUMENT", "{kind} {config}");
        }
        let filtered = |filter: &str| {
            checked(
                "global",
                json!({
                    "build": build, "filter": filter, "substitutions": {"_A": "$(body.message.data)"},
                    "pubsubConfig": {"topic": "projects/p/topics/t"},
                }),
            )
        };
        filtered("_A == 'x' && body.message.attributes.a != ''").unwrap();
        assert!(filtered("_B == 'x'").is_err());
    }
}
