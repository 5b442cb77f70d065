//! `lint --source=bigquery` where BigQuery, the network or the machine fails: nothing is asked and paid twice.

use std::collections::HashSet;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::harness::{Ended, Project, Running, ended};
use crate::support::bigquery::BigQueryServer;
use crate::support::faults::{Asked, Fate, Proxy, failed, refused};

const ONLY_LINT: [&str; 4] = ["-s", "_SOURCE=bigquery", "--only", "lint"];

/// A server with a small table, and a project that reads it; `None` where the test is to be skipped.
fn started() -> Option<(BigQueryServer, Project)> {
    let server = BigQueryServer::start()?;
    server.make_dataset("my-project.churn");
    let rows = "SELECT CAST(n AS STRING) AS customer_id, MOD(n, 7) * 1.5 AS minutes, \
                IF(MOD(n, 3) = 0, 'yes', 'no') AS churn FROM UNNEST(GENERATE_ARRAY(1, 400)) AS n";
    server.query("my-project", &format!("CREATE TABLE churn.small AS {rows}"));
    let project = Project::churn();
    project.edit("serin.yaml", |text| {
        let from = text.find("  tables:").unwrap();
        let to = text.find("  staging:").unwrap();
        let table = "  tables: {small: {bigquery: my-project.churn.small}}\n";
        let text = format!("{}{table}{}", &text[..from], &text[to..]);
        let lines = text.lines();
        let lines = lines.filter(|line| !line.contains("slices:") && !line.starts_with("lint:"));
        lines.map(|line| format!("{line}\n")).collect()
    });
    Some((server, project))
}

fn command(project: &Project, server: &BigQueryServer, proxy: &Proxy) -> Command {
    let buckets = server.gcs_root().display().to_string();
    let arguments = [&ONLY_LINT[..], &["--watch-buckets", &buckets]].concat();
    let mut command = project.command(&Project::run_arguments(&arguments));
    command.env("BIGQUERY_EMULATOR_HOST", proxy.url());
    command
}

fn run(project: &Project, server: &BigQueryServer, proxy: &Proxy) -> Ended {
    ended(command(project, server, proxy).output().unwrap())
}

/// Sends a signal to the step.
fn signal_lint(project: &Project, signal: Signal) {
    let processes = project.processes();
    let lint = processes.iter().find(|line| line.contains(" lint "));
    let id = lint.unwrap().split(' ').next().unwrap().parse().unwrap();
    kill_process(Pid::from_raw(id).unwrap(), signal).unwrap();
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn set_most(project: &Project, most: &str) {
    project.edit("serin.yaml", |text| {
        let lines = text
            .lines()
            .filter(|line| !line.contains("max_bytes_billed"));
        let text: String = lines.map(|line| format!("{line}\n")).collect();
        text.replace("data:\n", &format!("data:\n  max_bytes_billed: {most}\n"))
    });
}

#[test]
fn a_run_that_was_killed_goes_on_with_the_jobs_that_it_had() {
    let Some((server, project)) = started() else {
        return;
    };
    // Killed while its sixth job runs.
    let proxy = Proxy::before(&server, |asked, before| match asked.sql() {
        Some(_) if before == 5 => Fate::Held,
        _ => Fate::Passed,
    });
    let mut killed = Running::new(&mut command(&project, &server, &proxy));
    wait_until("six jobs were asked for", || proxy.jobs().len() >= 6);
    std::thread::sleep(Duration::from_millis(500));
    signal_lint(&project, Signal::KILL);
    assert_ne!(killed.wait(), Some(0));
    let first: HashSet<String> = proxy
        .jobs()
        .iter()
        .map(|job| job.job_id().to_owned())
        .collect();
    assert!(first.len() >= 6);

    proxy.then(|_, _| Fate::Passed);
    run(&project, &server, &proxy)
        .expect(0)
        .says("going on with the tables as of")
        .says("snapshot: gs://my-project-churn/snapshots/exports/");
    // The same ids, which are answered with 409, and no other for the same SQL.
    let jobs = proxy.jobs();
    let ids: HashSet<&str> = jobs.iter().map(Asked::job_id).collect();
    assert!(first.iter().all(|id| ids.contains(id.as_str())));
    assert_eq!(ids.len(), jobs.len());
    assert!(jobs.iter().all(|job| !job.job_id().ends_with("-2")));

    // A run after that reads the table as it is then.
    proxy.then(|_, _| Fate::Passed);
    run(&project, &server, &proxy).expect(0);
    let jobs = proxy.jobs();
    assert!(jobs.iter().all(|job| !first.contains(job.job_id())));
}

#[test]
fn a_staging_table_that_is_gone_is_made_anew() {
    let Some((server, project)) = started() else {
        return;
    };
    // Dropped before the figures of its columns are asked for.
    let proxy = Proxy::before(&server, |asked, _| match asked.sql() {
        Some(sql) if sql.contains("GROUP BY ROLLUP") => {
            let from = sql.find("`my-project.churn.serin_").unwrap();
            let name = sql[from + 1..].split('`').next().unwrap();
            Fate::After(format!("DROP TABLE `{name}`"))
        }
        _ => Fate::Passed,
    });
    let lost = run(&project, &server, &proxy).expect(2);
    lost.says("a table that this run had in my-project.churn is gone, so the tables are read anew")
        .says("Not found: Table my-project.churn.serin_");
    proxy.then(|_, _| Fate::Passed);
    // The jobs of the second moment are found, and their table is not there.
    run(&project, &server, &proxy)
        .expect(0)
        .says("going on with the tables as of")
        .says("is gone, so the tables are read anew")
        .says("snapshot: gs://my-project-churn/snapshots/exports/");
}

#[test]
fn what_passes_by_itself_is_tried_again() {
    let Some((server, project)) = started() else {
        return;
    };
    let proxy = Proxy::before(&server, |asked, before| match (asked.sql(), before) {
        (Some(_), 0) => refused(503, "backendError", "try again"),
        (Some(_), 1) => Fate::Lost,
        (Some(_), 3) => refused(403, "rateLimitExceeded", "Exceeded rate limits"),
        (Some(_), 5) => failed(asked, "backendError", "an error of the server's own"),
        (Some(_), 7) => Fate::Changed(|job| {
            job["status"] = json!({"state": "RUNNING"});
        }),
        (None, _) if asked.path.contains("/queries/") && !asked.path.contains("maxResults") => {
            let sign = if asked.path.contains('?') { '&' } else { '?' };
            Fate::PassedTo(format!("{}{sign}maxResults=2", asked.path))
        }
        _ => Fate::Passed,
    });
    run(&project, &server, &proxy)
        .expect(0)
        .says("waiting")
        .says("before the query is run again")
        .says("split: ")
        .says("snapshot: gs://my-project-churn/snapshots/exports/");
    let jobs = proxy.jobs();
    let again = jobs.iter().filter(|job| job.job_id().ends_with("-2"));
    assert_eq!(again.count(), 1);
    let pages = proxy.asked();
    assert!(pages.iter().any(|asked| asked.path.contains("pageToken=")));
    assert!(jobs.iter().all(|job| {
        let labels = &job.body["configuration"]["labels"];
        labels["serin_model"] == "customer-churn" && labels["serin_build"].is_string()
    }));
}

#[test]
fn what_does_not_pass_ends_the_step_with_its_cause() {
    let Some((server, project)) = started() else {
        return;
    };
    let proxy = Proxy::before(&server, |asked, _| match asked.sql() {
        Some(_) => refused(
            403,
            "quotaExceeded",
            "Quota exceeded: your project's queries",
        ),
        None => Fate::Passed,
    });
    let told = run(&project, &server, &proxy).expect(3);
    told.says("Quota exceeded: your project's queries")
        .says("asking BigQuery for the types of bq://my-project.churn.small");

    proxy.then(|asked, _| match asked.sql() {
        Some(_) => failed(asked, "resourcesExceeded", "Resources exceeded"),
        None => Fate::Passed,
    });
    run(&project, &server, &proxy)
        .expect(3)
        .says("Resources exceeded");

    proxy.then(|asked, _| match asked.sql() {
        Some(_) => failed(
            asked,
            "accessDenied",
            "Access Denied: Table my-project:churn.small",
        ),
        None => Fate::Passed,
    });
    let told = run(&project, &server, &proxy).expect(2);
    told.says("Access Denied")
        .says("`roles/bigquery.dataViewer`");
    assert_eq!(proxy.jobs().len(), 1);
}

#[test]
fn bytes_and_price_are_told_and_bounded() {
    let Some((server, project)) = started() else {
        return;
    };
    let of_three_gigabytes = |asked: &Asked, _: usize| match asked.is_dry_run() {
        true => Fate::Changed(|job| {
            job["statistics"]["query"]["totalBytesProcessed"] = json!("3000000000");
        }),
        false => Fate::Passed,
    };
    let proxy = Proxy::before(&server, of_three_gigabytes);
    set_most(&project, "1GB");
    run(&project, &server, &proxy)
        .expect(2)
        .says("a scan of the tables reads 3 GB, about $0.02 at $6.25 a TiB")
        .says("this would read 3 GB, after 0 bytes that were read already; `data.max_bytes_billed` allows 1 GB")
        .says("raise `data.max_bytes_billed`");
    assert!(proxy.jobs().is_empty());

    proxy.then(of_three_gigabytes);
    set_most(&project, "5GB");
    run(&project, &server, &proxy)
        .expect(2)
        .says("this would read 3 GB, after 3 GB that were read already; `data.max_bytes_billed` allows 5 GB");
    let jobs = proxy.jobs();
    let most = |job: &Asked| job.body["configuration"]["query"]["maximumBytesBilled"].clone();
    assert_eq!(
        jobs.iter().map(most).collect::<Vec<_>>(),
        [json!("5000000000")]
    );

    proxy.then(of_three_gigabytes);
    let table = "bq://my-project.churn.small";
    let mut profile = project.command(&["profile", table, "--max-bytes-billed", "2GB"]);
    profile.env("BIGQUERY_EMULATOR_HOST", proxy.url());
    ended(profile.output().unwrap())
        .expect(2)
        .says("a scan of bq://my-project.churn.small reads 3 GB, about $0.02")
        .says("`--max-bytes-billed` allows 2 GB");
    assert!(proxy.jobs().is_empty());
}

#[test]
fn jobs_that_run_are_cancelled_where_the_build_is() {
    let Some((server, project)) = started() else {
        return;
    };
    let runs_on = |asked: &Asked, _: usize| match asked.verb.as_str() {
        "POST" if asked.sql().is_some() => {
            Fate::Changed(|job| job["status"] = json!({"state": "RUNNING"}))
        }
        "GET" if asked.path.contains("/jobs/serin-") => {
            Fate::Changed(|job| job["status"] = json!({"state": "RUNNING"}))
        }
        "POST" if asked.path.contains("/cancel?") => Fate::Answered(200, json!({})),
        _ => Fate::Passed,
    };
    let proxy = Proxy::before(&server, runs_on);
    let mut cancelled = Running::new(&mut command(&project, &server, &proxy));
    wait_until("a job runs", || !proxy.jobs().is_empty());
    std::thread::sleep(Duration::from_millis(500));
    signal_lint(&project, Signal::TERM);
    assert_ne!(cancelled.wait(), Some(0));
    let jobs = proxy.jobs();
    let asked = proxy.asked();
    let is_cancelled = |job: &Asked| {
        let end = format!("/jobs/{}/cancel?location=US", job.job_id());
        asked.iter().any(|asked| asked.path.ends_with(&end))
    };
    assert!(jobs.iter().all(is_cancelled), "{asked:#?}");
    let told = format!("cancelling the BigQuery job {}", jobs[0].job_id());
    assert!(cancelled.text().contains(&told), "{}", cancelled.text());
}
