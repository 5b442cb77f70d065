//! The page's sections on the model: how it was trained, and where it is registered.

use maud::{Markup, html};

use super::html::{Section, digest, facts, name, names, table, time};
use super::{Records, number, verdicts};
use crate::workspace::records::Trained;

/// The job and its model.
pub(super) fn training(records: &Records) -> Option<Section> {
    let trained = records.trained.as_ref()?;
    let body = html! {
        (job(trained))
        div.beside {
            @if !trained.parameters.is_empty() {
                (table("parameters", "The learner's parameters as they were used", html! {
                    tr { th scope="col" { "Parameter" } th scope="col" { "Value" } }
                }, html! {
                    @for (parameter, value) in &trained.parameters {
                        tr { th scope="row" { code { (name(parameter)) } } td { (name(&plain(value))) } }
                    }
                }))
            }
            (table("model-files", "The model's files", html! {
                tr { th scope="col" { "File" } th scope="col" { "sha256" } }
            }, html! {
                @for file in &trained.model.files {
                    tr { th scope="row" { (name(&file.path)) } td { code { (file.sha256.short()) } } }
                }
            }))
        }
    };
    Some(Section {
        id: "training",
        title: "Training",
        body,
    })
}

fn job(trained: &Trained) -> Markup {
    let mut list = Vec::new();
    if let Some(round) = verdicts::best_round(trained) {
        list.push(("Best round", html! { (number::count(round)) }));
    }
    // A model that was made elsewhere has no job.
    let has_job = !trained.job.is_empty();
    if has_job {
        list.push(("Seed", html! { (trained.seed) }));
    }
    if let (Some(started), Some(ended)) = (trained.started, trained.ended) {
        list.push(("Took", html! { (number::duration(ended.since(started))) }));
    }
    if let Some(started) = trained.started {
        list.push(("Started", time(started)));
    }
    let mut places = Vec::new();
    if has_job {
        places.push(("Image", html! { code { (name(&trained.image)) } }));
        places.push(("Job", html! { code { (name(&trained.job)) } }));
    }
    let written = if has_job { "Written to" } else { "Taken from" };
    places.push((written, html! { code { (name(&trained.output_uri)) } }));
    places.push(("Made from", digest(&trained.key)));
    places.push(("Model", digest(&trained.model.digest)));
    html! {
        (facts(&list))
        (names(&places))
    }
}

/// A parameter's value without JSON's quotes.
fn plain(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The registered version.
pub(super) fn registry(records: &Records) -> Option<Section> {
    let pushed = records.pushed.as_ref()?;
    let how = if pushed.found {
        "was there already, found by its digest"
    } else {
        "registered by this build"
    };
    let body = names(&[
        (
            "Version",
            html! { (name(&pushed.version)) span.soft { ", " (how) } },
        ),
        ("Model", html! { code { (name(&pushed.model)) } }),
        ("Digest", digest(&pushed.digest)),
        ("Files", html! { code { (name(&pushed.artifact_uri)) } }),
    ]);
    Some(Section {
        id: "registry",
        title: "Registry",
        body,
    })
}
