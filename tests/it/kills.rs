//! A build that is interrupted or killed leaves no process behind, and running again gets through.

use rustix::process::Signal;

use crate::harness::Project;

/// Starts a build, ends it when its log holds `part`, and runs it again.
fn ends_at(part: &str, signal: Signal, code: Option<i32>) {
    let project = Project::churn_with_short_rollout();
    let mut build = project.start_run(&[]);
    build.wait_for(part);
    build.signal(signal);
    assert_eq!(build.wait(), code, "{}", build.text());
    if part == "is JOB_STATE" {
        let left = project.record("train.json");
        let status = match signal {
            Signal::KILL => "running",
            _ => "cancelled",
        };
        assert_eq!(left["status"], status, "{left}");
        assert!(
            left["reason"]
                .as_str()
                .unwrap()
                .contains("its job is projects/"),
            "{left}"
        );
    }
    project.assert_no_process_left();
    project.run(&[]).expect(0);
    let deployed = project.record("deploy.json");
    assert_eq!(deployed["verdict"], "promoted");
    assert_eq!(
        project.record("push.json")["version"],
        "1",
        "no second version"
    );
}

#[test]
fn a_kill_in_train() {
    ends_at("is JOB_STATE", Signal::KILL, None);
}

#[test]
fn a_kill_in_push() {
    ends_at("Step #3 - \"push\": uploaded", Signal::KILL, None);
}

#[test]
fn a_kill_in_deploy_before_the_traffic() {
    ends_at("without traffic", Signal::KILL, None);
}

#[test]
fn a_kill_in_a_stage() {
    ends_at("% to the challenger", Signal::KILL, None);
}

/// Kills the step's own process, as the system does when memory runs out, and runs the build again.
fn a_step_is_killed(step: &str) {
    let project = Project::churn_with_short_rollout();
    let mut build = project.start_run(&[]);
    build.wait_for(&format!("- \"{step}\": Already have image"));
    let word = format!("serin {step} ");
    let line = loop {
        let found = project
            .processes()
            .into_iter()
            .find(|line| line.contains(&word));
        // From its record on a step that is killed is told from one that was not reached.
        if let Some(line) = found.filter(|_| project.has_record(&format!("{step}.json"))) {
            break line;
        }
        assert!(!build.text().contains("DONE"), "{}", build.text());
    };
    let id = line.split(' ').next().unwrap().parse().unwrap();
    rustix::process::kill_process(rustix::process::Pid::from_raw(id).unwrap(), Signal::KILL)
        .unwrap();
    assert_eq!(build.wait(), Some(137), "{}", build.text());
    project.assert_no_process_left();
    // Who was killed could not say so; the summary and the page do.
    let row = build.wait_for(&format!("{step} "));
    let text = build.text();
    let (_, summary) = text
        .rsplit_once("step")
        .unwrap_or_else(|| panic!("{row}\n{text}"));
    assert!(summary.contains("interrupted"), "{summary}");
    let page = std::fs::read_to_string(project.workspace().join(".serin/report.html")).unwrap();
    assert!(page.contains(&format!("Interrupted in {step}")), "{page}");
    project.run(&[]).expect(0);
    assert_eq!(project.record("deploy.json")["verdict"], "promoted");
}

#[test]
fn a_killed_train_step() {
    a_step_is_killed("train");
}

#[test]
fn a_killed_deploy_step() {
    a_step_is_killed("deploy");
}

#[test]
fn a_ctrl_c_in_train() {
    ends_at("is JOB_STATE", Signal::INT, Some(130));
}

#[test]
fn a_sigterm_in_a_stage() {
    ends_at("% to the challenger", Signal::TERM, Some(143));
}

#[test]
fn a_killed_canary_beside_a_champion_goes_on_where_it_was() {
    let project = Project::churn_with_short_rollout();
    project.run(&[]).expect(0);
    let mut build = project.start_run(&["-s", "_SEED=2"]);
    build.wait_for("50% to the challenger");
    build.signal(Signal::KILL);
    build.wait();
    project.assert_no_process_left();
    project.run(&["-s", "_SEED=2"]).expect(0);
    let deployed = project.record("deploy.json");
    assert_eq!(deployed["verdict"], "promoted");
    assert_eq!(project.record("push.json")["version"], "2");
}

#[test]
fn a_killed_canary_is_ended_by_the_next_challenger() {
    let project = Project::churn_with_short_rollout();
    project.run(&[]).expect(0);
    let champion = project.record("deploy.json")["deployed_model_id"].clone();
    let mut build = project.start_run(&["-s", "_SEED=2"]);
    build.wait_for("50% to the challenger");
    build.signal(Signal::KILL);
    build.wait();
    project
        .run(&["-s", "_SEED=3"])
        .expect(0)
        .says("left by an earlier rollout");
    let deployed = project.record("deploy.json");
    assert_eq!(deployed["champion_deployed_model_id"], champion);
}
