//! What a rejection looks like: a broken table, a model below its gate, a canary that fails.

use crate::harness::Project;

/// Changes the `n`-th line (from 1) of a table of the example.
fn change_line(project: &Project, table: &str, n: usize, change: impl Fn(&str) -> String) {
    project.edit(&format!("data/{table}"), |text| {
        let lines = text.lines().enumerate();
        let lines: Vec<String> = lines
            .map(|(i, line)| {
                if i + 1 == n {
                    change(line)
                } else {
                    line.to_owned()
                }
            })
            .collect();
        lines.join("\n") + "\n"
    });
}

fn with_cell(line: &str, column: usize, value: &str) -> String {
    let mut cells: Vec<&str> = line.split(',').collect();
    cells[column] = value;
    cells.join(",")
}

fn column_of(project: &Project, table: &str, name: &str) -> usize {
    let text = std::fs::read_to_string(project.source().join("data").join(table)).unwrap();
    text.lines()
        .next()
        .unwrap()
        .split(',')
        .position(|c| c == name)
        .unwrap()
}

#[test]
fn a_text_where_numbers_belong_is_rejected_with_its_line() {
    let project = Project::churn();
    let column = column_of(&project, "usage.csv", "total_day_minutes");
    change_line(&project, "usage.csv", 17, |line| {
        with_cell(line, column, "lots")
    });
    project
        .run(&[])
        .expect(1)
        .says("usage.csv:17")
        .says("total_day_minutes")
        .says("lots");
    let lint = project.record("lint.json");
    assert_eq!(lint["verdict"], "reject");
    let finding = &lint["findings"][0];
    assert_eq!(finding["row"], 17);
    assert_eq!(finding["column"], "total_day_minutes");
    assert_eq!(finding["table"], "usage");
    assert!(!project.has_record("dataset.json"));
    project.assert_no_process_left();
}

#[test]
fn a_column_that_is_gone_is_rejected() {
    let project = Project::churn();
    let column = column_of(&project, "usage.csv", "total_eve_calls");
    project.edit("data/usage.csv", |text| {
        let without = |line: &str| {
            let cells = line.split(',').enumerate().filter(|(i, _)| *i != column);
            cells.map(|(_, cell)| cell).collect::<Vec<_>>().join(",")
        };
        text.lines().map(without).collect::<Vec<_>>().join("\n") + "\n"
    });
    project
        .run(&[])
        .expect(1)
        .says("total_eve_calls")
        .says("usage.csv");
}

#[test]
fn a_class_never_seen_is_rejected() {
    let project = Project::churn();
    let column = column_of(&project, "account.csv", "churn");
    change_line(&project, "account.csv", 30, |line| {
        with_cell(line, column, "maybe")
    });
    project
        .run(&[])
        .expect(1)
        .says("account.csv:30")
        .says("churn")
        .says("maybe");
}

#[test]
fn a_table_that_cannot_be_opened_is_wrong_input() {
    let project = Project::churn();
    std::fs::remove_file(project.source().join("data/usage.csv")).unwrap();
    project.run(&[]).expect(2).says("data/usage.csv");
}

#[test]
fn where_no_bigquery_is_named_two_lines_start_one() {
    let project = Project::churn();
    project
        .run(&["-s", "_SOURCE=bigquery"])
        .expect(2)
        .says("Cloud Storage is the emulator at http://127.0.0.1:")
        .says("`BIGQUERY_EMULATOR_HOST` names no other server")
        .says("pip install bqemulator && bqemulator start --rest-port 9050 --grpc-port 9060\n")
        .says("export BIGQUERY_EMULATOR_HOST=http://127.0.0.1:9050\n");
}

#[test]
fn a_model_below_its_gate_is_rejected_and_not_pushed() {
    let project = Project::churn();
    project
        .run(&["-s", "_MAX_DEPTH=1"])
        .expect(1)
        .says("reject");
    let validated = project.record("validate.json");
    assert_eq!(validated["verdict"], "reject");
    let gates = validated["gates"].as_array().unwrap();
    assert!(
        gates
            .iter()
            .any(|gate| gate["verdict"] == "reject" && gate["value"].is_number())
    );
    assert!(!project.has_record("push.json"));
}

/// A champion, then a challenger that the emulator makes fail.
fn fails_in_its_canary(fault: &str, because: &str) {
    let project = Project::churn_with_short_rollout();
    project.run(&[]).expect(0);
    let champion = project.record("deploy.json")["deployed_model_id"].clone();

    project
        .run(&["-s", "_SEED=2", "--fault", fault])
        .expect(1)
        .says(because);
    let deployed = project.record("deploy.json");
    assert_eq!(deployed["verdict"], "rolled_back");
    assert_eq!(deployed["champion_deployed_model_id"], champion);
    project.assert_no_process_left();

    // The champion has everything, the challenger is gone: the first model is unchanged.
    project.run(&[]).expect(0);
    let again = project.record("deploy.json");
    assert_eq!(again["unchanged"], true);
    assert_eq!(again["deployed_model_id"], champion);
}

#[test]
fn a_canary_with_errors_is_rolled_back() {
    fails_in_its_canary("canary:error:0.5", "errors: harm shown: ");
}

#[test]
fn a_slow_canary_is_rolled_back() {
    fails_in_its_canary("canary:delay:800ms", "latency: harm shown: ");
}

#[test]
fn a_first_model_that_fails_leaves_the_endpoint_empty() {
    let project = Project::churn_with_short_rollout();
    project.run(&["--fault", "canary:error:0.5"]).expect(1);
    let deployed = project.record("deploy.json");
    assert_eq!(deployed["verdict"], "rolled_back");
    assert!(deployed["champion_deployed_model_id"].is_null());
    project.run(&[]).expect(0);
    assert_eq!(project.record("deploy.json")["verdict"], "promoted");
}
