//! The look in words and on the page.

use std::time::Duration;

use super::*;
use crate::clock::Timestamp;
use crate::report::terminal::Screen;
use crate::workspace::monitor_report::{FORMAT, MeasuredMetric};
use crate::workspace::monitor_window::{
    FeatureReport, Judged, LabelReport, LogReport, ModelReport, PredictionReport, TrafficSeen,
};

const LOG: Screen = Screen {
    width: 120,
    terminal: false,
    colour: false,
};

fn feature(name: &str, psi: f64, verdict: DriftVerdict) -> FeatureReport {
    FeatureReport {
        name: name.into(),
        missing: 0.02,
        missing_before: 0.01,
        absent: 7,
        mistyped: 3,
        unseen: 0.05,
        unseen_values: vec!["<b>new</b>".into()],
        psi,
        threshold: 0.2,
        verdict,
        importance: None,
    }
}

fn window(day: u64, version: &str, is_crossed: bool) -> WindowReport {
    let from = "2026-11-20T00:00:00Z".parse::<Timestamp>().unwrap();
    let from = from + Duration::from_secs(day * 86_400);
    let until = from + Duration::from_secs(86_400);
    let traffic = TrafficSeen {
        requests: 1200,
        failed: 12,
        latency_p50_ms: Some(3.0),
        latency_p95_ms: Some(9.0),
    };
    let model = |id: &str, is_champion: bool| ModelReport {
        deployed_model: id.into(),
        version: is_champion.then(|| version.to_owned()),
        is_champion,
        traffic: Some(traffic),
        logged: 600,
        instances: 600,
        first: Some(from),
        last: Some(until),
        mean_prediction: Some(0.25),
    };
    WindowReport {
        from,
        until,
        version: version.into(),
        traffic: Some(traffic),
        models: vec![model("11", true), model("22", false)],
        log: Some(LogReport {
            place: "bq://p.d.t".into(),
            sampling: Some(0.5),
            rows: 1200,
            instances: 600,
            without_prediction: 1,
            malformed: 2,
            examples: vec!["an instance is no object".into()],
            bad_rows: 0,
        }),
        features: vec![
            feature("quiet", 0.001, DriftVerdict::Stable),
            feature("moved\u{202e}", 0.75, DriftVerdict::Drift),
        ],
        unknown: vec![("extra".into(), 4)],
        prediction: Some(PredictionReport {
            mean: Some(0.3),
            mean_before: Some(0.2),
            psi: Some(0.1),
            verdict: Some(DriftVerdict::Slight),
        }),
        labels: Some(LabelReport {
            from,
            until,
            keys: 600,
            waiting: 600,
            is_sample: false,
            labelled: 150,
            repeated: 1,
            contradictory: 2,
            unusable: 0,
            without_key: 0,
            mean_labelled: Some(0.5),
            mean: Some(0.25),
        }),
        performance: vec![MeasuredMetric {
            metric: "roc_auc".into(),
            value: 0.9,
            low: Some(0.85),
            high: Some(0.95),
            labelled: 150,
            predictions: 600,
        }],
        judged: vec![Judged {
            limit: "drift".into(),
            is_crossed,
            sentence: "of 2 columns, moved drifts".into(),
        }],
    }
}

fn report(windows: Vec<WindowReport>) -> MonitorReport {
    let last = windows.last().unwrap();
    MonitorReport {
        format: FORMAT,
        model: "churn".into(),
        version: last.version.clone(),
        from: last.from,
        until: last.until,
        performance: Vec::new(),
        drift: None,
        windows,
    }
}

#[test]
fn what_matters_is_said_first_and_what_to_mind_is_said_too() {
    let text = text::on(LOG, &report(vec![window(0, "1", true)]));
    for part in [
        "champion version 1",
        "bq://p.d.t: 1,200 requests",
        "logs 50% of its requests",
        "2 payloads could not be read",
        "4 instances hold `extra`",
        "150 of 600 predicted keys have a label by now (25%)",
        "predicted 0.5 on average, all 0.25",
        "2 keys are labelled in different ways",
        "drift: crossed: of 2 columns",
        "monitor: a limit is crossed",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    let (moved, quiet) = (text.find("moved").unwrap(), text.find("quiet").unwrap());
    assert!(moved < quiet, "{text}");
    assert!(text.is_ascii(), "{text}");
}

#[test]
fn the_page_draws_the_windows_and_marks_where_the_version_changed() {
    let windows = vec![
        window(0, "1", false),
        window(1, "1", true),
        window(2, "2", false),
    ];
    let html = page::page(&report(windows)).into_string();
    for part in [
        "Over time",
        "limit 1",
        "v2",
        "beyond",
        "roc_auc",
        "within the limits",
    ] {
        assert!(html.contains(part), "{part}");
    }
    assert!(!html.contains("<b>new</b>") && html.contains("&lt;b&gt;new"));
    assert!(!html.contains('\u{202e}') && !html.contains("<script"));
}

#[test]
fn without_a_log_it_is_said() {
    let mut bare = window(0, "1", false);
    bare.log = None;
    bare.features.clear();
    bare.judged.clear();
    bare.traffic = None;
    let text = text::on(LOG, &report(vec![bare]));
    assert!(text.contains("there is no log of predictions"), "{text}");
    assert!(text.contains("monitor: no limit is set"), "{text}");
}
