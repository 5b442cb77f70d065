//! A refusal of the cloud's as what there is to do about it: the resource, and the role that lacks.

use super::cloud::Cloud;
use super::resource::Kind;
use crate::error::Input;
use crate::gcp;

/// What was done when the cloud refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doing {
    List,
    Create,
    Change,
    Delete,
}

impl Doing {
    fn word(self) -> &'static str {
        match self {
            Self::List => "list",
            Self::Create => "create",
            Self::Change => "change",
            Self::Delete => "delete",
        }
    }
}

/// The error of a request about a resource. A failure of the cloud's stays one.
pub(super) fn told(
    error: gcp::Error,
    kind: Kind,
    what: &str,
    doing: Doing,
    cloud: &Cloud,
) -> anyhow::Error {
    match hint(&error, kind, doing, cloud) {
        Some(hint) => {
            let message = format!("cannot {} the {what}: {}", doing.word(), error.message);
            Input::new(message).hint(hint).into()
        }
        None => {
            let context = format!(
                "cannot {} the {what}; what was done before stands, run it again",
                doing.word()
            );
            anyhow::Error::new(error).context(context)
        }
    }
}

fn hint(error: &gcp::Error, kind: Kind, doing: Doing, cloud: &Cloud) -> Option<String> {
    let project = cloud.project;
    let says = |words: &str| error.message.contains(words);
    if error.http == Some(403) && (says("has not been used") || says("is disabled")) {
        let api = kind.api().map_or("storage.googleapis.com", gcp::Api::host);
        return Some(format!(
            "switch the service on: `gcloud services enable {api} --project={project}`"
        ));
    }
    if kind == Kind::Repository && doing == Doing::Create && matches!(error.http, Some(400 | 403)) {
        return Some(format!(
            "grant this account `{}` on the project; Cloud Source Repositories takes no projects that did not use it before June 2024, which use `github` or `developer_connect`",
            kind.role()
        ));
    }
    if kind == Kind::Notification && (says("permission to publish") || says("publish messages")) {
        return Some(format!(
            "let Cloud Storage's own account publish: `gcloud storage service-agent --project={project}` names it, and it needs `roles/pubsub.publisher` on the topic"
        ));
    }
    match error.http? {
        403 => {
            let act_as = match &cloud.accounts[..] {
                [] => String::new(),
                accounts if doing != Doing::List && kind != Kind::Topic => format!(
                    ", and `roles/iam.serviceAccountUser` on {}",
                    accounts.join(" and ")
                ),
                _ => String::new(),
            };
            let on = if kind == Kind::Notification { "bucket" } else { "project" };
            Some(format!("grant this account `{}` on the {on}{act_as}", kind.role()))
        }
        400 if kind == Kind::BuildTrigger => Some(
            "Cloud Build has to know the repository: connect it in the console, under Cloud Build, Repositories; accounts are named, not made"
                .to_owned(),
        ),
        400 | 404 if doing != Doing::List => Some(
            "what the config names has to be there: the project, the bucket, the service and the accounts".to_owned(),
        ),
        _ => None,
    }
}
