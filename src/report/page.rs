//! The page of a build: a header with the five verdicts, and the sections of its steps.

use maud::{Markup, html};

use super::html::{Frame, Section, class, frame, navigation, sign, tag, ticked};
use super::verdicts::{self, Overall, StepVerdict, last_segment};
use super::{Records, deploy, lint, number, profile, train, validate};

/// The whole page.
pub(super) fn page(records: &Records) -> Markup {
    let steps = verdicts::of_steps(records);
    let overall = verdicts::overall(&steps);
    let (columns, script) = profile::columns(records).unzip();
    let sections: Vec<Section> = [
        lint::findings(records),
        lint::data(records),
        columns,
        train::training(records),
        validate::metrics(records),
        validate::slices(records),
        train::registry(records),
        deploy::canary(records),
    ]
    .into_iter()
    .flatten()
    .collect();
    let model = model(records);
    frame(&Frame {
        title: html! {
            (overall.word) ": "
            @if let Some((name, version)) = model { (name) " " (version) } @else { "a build" }
        },
        header: header(model, &overall, &steps, &sections),
        sections: &sections,
        footer: html! { "Written by serin from the records under " code { ".serin/" } ". Every number on this page comes from one of them." },
        script,
    })
}

/// The model's id and version, once it is registered.
fn model(records: &Records) -> Option<(&str, &str)> {
    let pushed = records.pushed.as_ref();
    let deployed = records.deployed.as_ref();
    pushed
        .map(|p| (last_segment(&p.model), p.version.as_str()))
        .or_else(|| deployed.map(|d| (last_segment(&d.model), d.version.as_str())))
}

fn header(
    model: Option<(&str, &str)>,
    overall: &Overall,
    steps: &[StepVerdict],
    sections: &[Section],
) -> Markup {
    html! {
        header.top {
            p.kicker { @if model.is_some() { "serin build report" } @else { "serin" } }
            h1 {
                @match &model {
                    Some((name, version)) => { bdi { (name) } " " span.version { "version " bdi { (version) } } },
                    None => "Build report",
                }
            }
            div class={ "overall " (class(overall.tone)) } {
                p.word { (sign(overall.tone)) " " (overall.word) }
                p.sentence { (ticked(&overall.sentence)) }
            }
            ol.steps {
                @for step in steps {
                    li class=(class(step.tone)) {
                        span.step { (step.step) } " "
                        (tag(step.tone, step.word)) " "
                        @if step.evidence != number::NONE { span.evidence { (step.evidence) } }
                    }
                }
            }
            (navigation(sections))
        }
    }
}
