//! Each trouble that a first day may bring, one by one, and what is there once after it.

use rustix::process::Signal;
use serde_json::json;

use super::{ENDPOINT, Google, Method, Trouble, Wanted, arguments};
use crate::harness::Running;

/// Every effect of a build, by the method and a part of its target.
const EFFECTS: [(Method, &str); 10] = [
    (Method::POST, "name=snapshots"),
    (Method::POST, "intent.json"),
    (Method::POST, "journal.json"),
    (Method::POST, "/customJobs"),
    (Method::POST, "/models:upload"),
    (Method::POST, "/endpoints?endpointId="),
    (Method::POST, ":deployModel"),
    (Method::PATCH, "/endpoints/"),
    (Method::POST, ":mergeVersionAliases"),
    (Method::POST, ":undeployModel"),
];

/// Two builds in which each effect meets a trouble once, and nothing is there twice.
fn each_effect_meets<T: Fn()>(test: T, trouble: Trouble) {
    let Some(google) = Google::enter(test, Wanted::GOOD) else {
        return;
    };
    let plan = |but: &str| {
        for (method, part) in EFFECTS.into_iter().filter(|(_, part)| !but.contains(part)) {
            google.front.plan(method, part, 1, trouble);
        }
    };
    // The first build has nothing to end; the second has its snapshot and its endpoint already.
    plan(":undeployModel");
    google.build("1");
    google.assert_made(1);
    plan("name=snapshots /endpoints?endpointId=");
    google.build("2");
    google.assert_made(2);
    // A write that took effect may be repeated within a second of it, is refused, and repeated again.
    google.assert_strict(&["rate"]);
}

#[test]
fn an_effect_whose_reply_is_lost_is_there_once() {
    each_effect_meets(an_effect_whose_reply_is_lost_is_there_once, Trouble::Lost);
}

#[test]
fn an_effect_that_is_answered_with_503_is_there_once() {
    let test = an_effect_that_is_answered_with_503_is_there_once;
    each_effect_meets(test, Trouble::Unclear);
}

#[test]
fn an_effect_that_is_refused_with_503_is_tried_again() {
    let test = an_effect_that_is_refused_with_503_is_tried_again;
    each_effect_meets(test, Trouble::Refused(503, "UNAVAILABLE"));
}

#[test]
fn an_effect_beyond_a_quota_is_tried_again() {
    let test = an_effect_beyond_a_quota_is_tried_again;
    each_effect_meets(test, Trouble::Refused(429, "RESOURCE_EXHAUSTED"));
}

/// What a build reads.
const READS: [&str; 9] = [
    "/storage/v1/b/my-project-churn/o/",
    "alt=media",
    "/customJobs?",
    "/customJobs/",
    "/operations/",
    ":listVersions",
    "/endpoints/customer-churn",
    "/models/customer-churn",
    "/timeSeries?",
];

#[test]
fn an_outage_of_each_read_is_waited_for() {
    let Some(google) = Google::enter(an_outage_of_each_read_is_waited_for, Wanted::GOOD) else {
        return;
    };
    for read in READS {
        let busy = Trouble::Refused(503, "UNAVAILABLE");
        google.front.plan(Method::GET, read, 8, busy);
    }
    google.build("1");
    google.assert_made(1);
    google.assert_strict(&[]);
}

#[test]
fn an_answer_that_breaks_off_is_read_again() {
    let Some(google) = Google::enter(an_answer_that_breaks_off_is_read_again, Wanted::GOOD) else {
        return;
    };
    for read in READS {
        google.front.plan(Method::GET, read, 1, Trouble::Cut);
    }
    google.build("1");
    google.assert_made(1);
    google.assert_strict(&[]);
}

#[test]
fn a_stale_etag_is_read_again_whatever_its_code() {
    let test = a_stale_etag_is_read_again_whatever_its_code;
    let Some(google) = Google::enter(test, Wanted::GOOD) else {
        return;
    };
    google.build("1");
    // In the second build's rollout each of its changes of the traffic meets one.
    for (code, status) in [(400, "FAILED_PRECONDITION"), (409, "ABORTED")] {
        let stale = Trouble::Refused(code, status);
        google.front.plan(Method::PATCH, "/endpoints/", 1, stale);
    }
    google.build("2");
    google.assert_made(2);
    google.assert_strict(&[]);
}

#[test]
fn a_deployment_of_45_minutes_is_waited_for() {
    let wanted = Wanted {
        faults: &["deploy:slow"],
        ..Wanted::GOOD
    };
    let Some(google) = Google::enter(a_deployment_of_45_minutes_is_waited_for, wanted) else {
        return;
    };
    let lost = Trouble::Lost;
    google.front.plan(Method::POST, ":deployModel", 1, lost);
    google.build("1");
    google.assert_made(1);
    google.assert_strict(&[]);
}

#[test]
fn a_rollout_is_undone_through_an_outage() {
    let Some(google) = Google::enter(a_rollout_is_undone_through_an_outage, Wanted::GOOD) else {
        return;
    };
    google.build("1");
    let champion = google.get(ENDPOINT)["trafficSplit"].clone();
    google.build_to_push("2");
    let mut deploy = Running::new(&mut google.command(&arguments("deploy")));
    deploy.wait_for("50% to the challenger");
    let busy = Trouble::Refused(503, "UNAVAILABLE");
    google.front.plan(Method::PATCH, "/endpoints/", 20, busy);
    deploy.signal(Signal::TERM);
    assert_eq!(deploy.wait(), Some(143), "{}", deploy.text());
    let split = google.get(ENDPOINT)["trafficSplit"].clone();
    assert_eq!(split, champion, "{}", deploy.text());
    // Whoever reads the log knows what it waits for.
    deploy.wait_for("waiting ");
    google.assert_strict(&[]);
}

#[test]
fn what_a_job_writes_is_written_again() {
    let wanted = Wanted {
        faults: &["storage:503:0.5"],
        ..Wanted::GOOD
    };
    let Some(google) = Google::enter(what_a_job_writes_is_written_again, wanted) else {
        return;
    };
    google.step("lint", &[]).expect(0);
    for seed in ["1", "2", "3"] {
        google.step("train", &["--seed", seed]).expect(0);
    }
    google.assert_strict(&[]);
}

#[test]
fn a_job_without_quota_is_ended_before_the_build() {
    let wanted = Wanted {
        faults: &["job:never-starts"],
        ..Wanted::GOOD
    };
    let Some(google) = Google::enter(a_job_without_quota_is_ended_before_the_build, wanted) else {
        return;
    };
    google.project.edit("serin.yaml", |text| {
        let lines = text.lines().filter(|line| !line.contains("max_queue:"));
        let text: Vec<&str> = lines.collect();
        text.join("\n")
            .replace("train:\n", "train:\n  max_queue: 10m\n")
    });
    google.step("lint", &[]).expect(0);
    google.step("train", &[]).expect(3).says("max_queue");
    let job = google.get("customJobs")["customJobs"][0].clone();
    assert_eq!(job["state"], json!("JOB_STATE_CANCELLED"), "{job:#}");
    google.assert_strict(&[]);
}
