//! Builds of scripts, which run on this machine, and of a stand-in for serin.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use super::prepare::{PATH, interpreter};
use super::*;
use crate::cloudbuild::CONFIG;

/// A log that a test reads.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut text = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        text.write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Lines {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    /// The log from its first line about the build to the table.
    fn log(&self) -> String {
        let text = self.text();
        let start = text.find("BUILD\n").unwrap();
        let end = text[start..].find("\n\nbuild ").unwrap();
        text[start..start + end].to_owned()
    }
}

/// A build that is ready to run in a folder of its own.
struct Bench {
    folder: tempfile::TempDir,
    lines: Lines,
    sender: watch::Sender<(u8, u32)>,
    interrupts: watch::Receiver<(u8, u32)>,
}

impl Bench {
    fn new() -> Self {
        let (sender, interrupts) = watch::channel((0, 0));
        Self {
            folder: tempfile::tempdir().unwrap(),
            lines: Lines::default(),
            sender,
            interrupts,
        }
    }

    fn job(&self, config: &str, scale: u32) -> Job {
        let source = self.folder.path().join("source");
        let state = self.folder.path().join("state");
        fs::create_dir_all(&source).unwrap();
        fs::create_dir_all(&state).unwrap();
        let path = source.join(CONFIG);
        fs::write(&path, config).unwrap();
        let resolved = resolve(&path, &BTreeMap::new(), &Builtins::for_check()).unwrap();
        let own = SelfImages::default();
        let here = Here {
            own: &own,
            hosts: &["hosted".parse().unwrap()],
            no_engine: Some("there is none in these tests"),
            left_out: &[],
        };
        let clock = Clock::starting_at(Timestamp::real_now(), scale);
        let secrets = Secrets::read(&[], &resolved).unwrap();
        let labels = resolved.build.labels();
        let serin = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/serin.sh");
        Job {
            build_id: new_build_id(),
            whole: false,
            follow_links: false,
            source,
            plan: image::plan(&resolved, &here).unwrap(),
            containers: None,
            resolved,
            own,
            workspace: claim(&state.join("workspace"), Content::Emptied).unwrap(),
            builder: claim(&state.join("builder"), Content::Emptied).unwrap(),
            state: state.canonicalize().unwrap(),
            url: "http://127.0.0.1:9".to_owned(),
            clock: clock.clone(),
            left_out: Vec::new(),
            groups: Groups::new(&serin).unwrap(),
            serin,
            log: Arc::new(Log::to(
                Box::new(self.lines.clone()),
                Format::Text,
                labels,
                secrets.masks(),
                clock,
            )),
            secrets,
        }
    }

    async fn run(&self, config: &str) -> RunReport {
        let job = self.job(config, 1);
        job.run(self.interrupts.clone()).await.unwrap()
    }
}

fn statuses(report: &RunReport) -> Vec<Status> {
    report.steps.iter().map(|step| step.status).collect()
}

use Status::{Cancelled, Failure, Queued, Success, Timeout};

#[tokio::test]
async fn the_log_is_cloud_builds() {
    let bench = Bench::new();
    let report = bench
        .run(
            "steps:\n\
             - {name: serin, id: one, script: 'echo a; echo b >&2; printf c'}\n\
             - {name: serin, script: 'echo; exit 7'}\n\
             - {name: serin, id: never, script: 'echo no'}\n",
        )
        .await;
    assert_eq!((report.code, report.status), (7, Failure));
    assert_eq!(statuses(&report), [Success, Failure, Queued]);
    let log = bench.lines.log();
    for lines in [
        "BUILD\nStarting Step #0 - \"one\"\nStep #0 - \"one\": Already have image: serin\n",
        "Step #0 - \"one\": a\n",
        "Step #0 - \"one\": b\n",
        "Step #0 - \"one\": c\n",
        "Finished Step #0 - \"one\"\nStarting Step #1\nStep #1: Already have image: serin\nStep #1: \n\
         Finished Step #1\nERROR\nERROR: build step 1 \"serin\" failed: step exited with non-zero status: 7",
    ] {
        assert!(log.contains(lines), "{lines}\n---\n{log}");
    }
    assert!(!log.contains("never"), "{log}");
    let table = bench.lines.text();
    assert!(table.contains("build         FAILURE"), "{table}");
    assert!(table.contains("#2 - \"never\"  QUEUED\n"), "{table}");
}

#[tokio::test]
async fn a_single_step_has_no_prefix_and_success_ends_with_push_and_done() {
    let bench = Bench::new();
    let report = bench.run("steps: [{name: serin, script: echo a}]").await;
    assert_eq!((report.code, report.status), (0, Success));
    let expected = "BUILD\nAlready have image: serin\na\nPUSH\nDONE";
    assert_eq!(bench.lines.log(), expected);
}

#[tokio::test]
async fn a_step_sees_its_own_environment_and_nothing_more() {
    let bench = Bench::new();
    let report = bench
        .run(
            "steps:\n\
             - {name: x/serin, args: [lint, '--project=$PROJECT_ID'], env: [SHOW_EXIT=0, A=step]}\n\
             - {name: serin, script: 'env; pwd', env: [A=$_K], automapSubstitutions: true, dir: sub}\n\
             substitutions: {_K: k}\n\
             options: {env: [A=all, B=$_K]}\n",
        )
        .await;
    assert_eq!(report.code, 0, "{}", bench.lines.text());
    let log = bench.lines.log();
    let of = |step: &str| -> BTreeMap<String, String> {
        log.lines()
            .filter_map(|line| line.strip_prefix(step)?.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .filter(|(name, _)| !matches!(name.as_str(), "PWD" | "OLDPWD" | "_" | "SHLVL"))
            .collect()
    };
    assert!(log.contains("Step #0: args: lint --project="), "{log}");
    let mut expected: Vec<String> = emulator::variables("http://127.0.0.1:9")
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    expected.extend(
        [
            "A",
            "B",
            "HOME",
            "BUILDER_OUTPUT",
            "SERIN_CLOCK",
            "SHOW_EXIT",
        ]
        .map(str::to_owned),
    );
    expected.sort();
    let first = of("Step #0: ");
    let names: Vec<&String> = first
        .keys()
        .filter(|name| !name.starts_with("args: "))
        .collect();
    assert_eq!(names, expected.iter().collect::<Vec<_>>());
    assert_eq!((first["A"].as_str(), first["B"].as_str()), ("step", "$_K"));
    let second = of("Step #1: ");
    assert_eq!(second["A"], "k");
    assert_eq!(second["_K"], "k");
    assert_eq!(second["BRANCH_NAME"], "");
    assert_eq!(second["PATH"], PATH);
    assert!(log.contains("/workspace/sub\n"), "{log}");
}

#[tokio::test]
async fn steps_that_may_run_together_do() {
    let bench = Bench::new();
    // Each waits for what the other writes: one after the other they would never end.
    let report = bench
        .run(
            "steps:\n\
             - {name: serin, waitFor: ['-'], script: 'touch a; while [ ! -e b ]; do sleep 0.01; done'}\n\
             - {name: serin, waitFor: ['-'], script: 'touch b; while [ ! -e a ]; do sleep 0.01; done'}\n\
             - {name: serin, script: 'test -e a && test -e b'}\n\
             timeout: 30s\n",
        )
        .await;
    assert_eq!(statuses(&report), [Success, Success, Success]);
}

#[tokio::test]
async fn allowed_failures_let_the_build_succeed() {
    let bench = Bench::new();
    let report = bench
        .run(
            "steps:\n\
             - {name: serin, script: exit 3, allowFailure: true}\n\
             - {name: serin, script: exit 4, allowExitCodes: [4]}\n\
             - {name: serin, entrypoint: no-such-program, allowFailure: true}\n\
             - {name: serin, script: 'true'}\n",
        )
        .await;
    assert_eq!((report.code, report.status), (0, Success));
    assert_eq!(statuses(&report), [Failure, Failure, Failure, Success]);
    assert_eq!(report.steps[1].exit_code, Some(4));
    let log = bench.lines.log();
    assert!(
        log.contains("Step #2: starting step container failed: "),
        "{log}"
    );
}

#[tokio::test]
async fn the_first_failure_ends_the_others_and_gives_the_exit_code() {
    let bench = Bench::new();
    let report = bench
        .run(
            "steps:\n\
             - {name: serin, waitFor: ['-'], script: 'sleep 60'}\n\
             - {name: serin, waitFor: ['-'], script: 'exit 5'}\n",
        )
        .await;
    assert_eq!((report.code, report.status), (5, Failure));
    assert_eq!(statuses(&report), [Cancelled, Failure]);
    assert!(report.duration < Duration::from_secs(20));
}

#[tokio::test]
async fn timeouts_count_on_the_builds_clock() {
    let bench = Bench::new();
    let steps = "steps: [{name: serin, script: sleep 60, allowFailure: true, timeout: 300s}]";
    let job = bench.job(steps, 6000);
    let report = job.run(bench.interrupts.clone()).await.unwrap();
    assert_eq!((report.code, report.status), (1, Failure));
    assert_eq!(statuses(&report), [Timeout]);

    let bench = Bench::new();
    let steps = "steps: [{name: serin, script: sleep 60}]\ntimeout: 300s";
    let job = bench.job(steps, 6000);
    let report = job.run(bench.interrupts.clone()).await.unwrap();
    assert_eq!((report.code, report.status), (1, Timeout));
    assert_eq!(statuses(&report), [Cancelled]);
    let log = bench.lines.log();
    assert!(
        log.ends_with("TIMEOUT\nERROR: context deadline exceeded"),
        "{log}"
    );
}

#[tokio::test]
async fn what_a_step_leaves_in_its_output_folder_is_kept_up_to_50_kib() {
    let bench = Bench::new();
    let report = bench
        .run(
            "steps:\n\
             - {name: serin, script: 'ls $BUILDER_OUTPUT | wc -l > n; echo hi > $BUILDER_OUTPUT/output; cat n'}\n\
             - {name: serin, script: 'head -c 60000 /dev/zero > $BUILDER_OUTPUT/output; exit 1'}\n",
        )
        .await;
    assert_eq!(report.steps[0].output, b"hi\n");
    assert_eq!(report.steps[1].output.len(), 50 << 10);
    assert_eq!(
        fs::read_to_string(report.workspace.join("n"))
            .unwrap()
            .trim(),
        "0"
    );
}

#[tokio::test]
async fn a_shebang_chooses_the_interpreter() {
    let bench = Bench::new();
    let config =
        "steps:\n- name: serin\n  script: |\n    #!/usr/bin/env -S sh -e\n    false\n    echo no\n";
    let report = bench.run(config).await;
    assert_eq!(report.code, 1);
    assert!(!bench.lines.text().contains("no\n"));
    let words = |text: &str| interpreter(text, "/s");
    assert_eq!(words("ls"), ("/bin/sh".into(), vec!["/s".into()]));
    assert_eq!(
        words("#! /bin/x  a b \nls"),
        ("/bin/x".into(), vec!["a b".into(), "/s".into()])
    );
}

#[tokio::test]
async fn an_interruption_leaves_no_process_behind() {
    let bench = Bench::new();
    let job = bench.job(
        "steps:\n\
         - {name: serin, script: 'sleep 600 & echo $! > child; echo $$ > own; wait'}\n\
         - {name: serin, script: 'true'}\n",
        1,
    );
    let workspace = job.workspace.path.clone();
    let running = tokio::spawn(job.run(bench.interrupts.clone()));
    while !workspace.join("own").is_file() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    bench.sender.send((code::TERMINATED, 1)).unwrap();
    let report = running.await.unwrap().unwrap();
    assert_eq!((report.code, report.status), (143, Cancelled));
    assert_eq!(statuses(&report), [Cancelled, Queued]);
    for name in ["child", "own"] {
        let id = fs::read_to_string(workspace.join(name)).unwrap();
        // A killed orphan is there until it is reaped, but it no longer runs.
        for _ in 0..100 {
            let stat = fs::read_to_string(format!("/proc/{}/stat", id.trim()));
            if stat.as_ref().map_or(true, |stat| stat.contains(") Z ")) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let stat = fs::read_to_string(format!("/proc/{}/stat", id.trim()));
        assert!(stat.map_or(true, |stat| stat.contains(") Z ")), "{name}");
    }
}

#[tokio::test]
async fn a_signal_before_the_first_step_starts_none() {
    let bench = Bench::new();
    bench.sender.send((code::INTERRUPTED, 1)).unwrap();
    let report = bench.run("steps: [{name: serin, script: touch x}]").await;
    assert_eq!((report.code, report.status), (130, Cancelled));
    assert_eq!(statuses(&report), [Queued]);
}

#[tokio::test]
async fn the_source_may_not_be_in_the_workspace() {
    let bench = Bench::new();
    let mut job = bench.job("steps: [{name: serin}]", 1);
    job.source = job.workspace.path.join("inner");
    fs::create_dir(&job.source).unwrap();
    let error = job.run(bench.interrupts.clone()).await.err().unwrap();
    let input = error.downcast::<Input>().unwrap();
    assert_eq!(
        input.message,
        "the source is inside the workspace, which each build empties"
    );
}

#[test]
fn a_source_is_a_folder_or_a_config() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    fs::write(path.join("b.yaml"), "").unwrap();
    let at = |source: &Path, config| locate(source, config).ok();
    let both = |config: &str| Some((path.to_owned(), path.join(config)));
    assert_eq!(at(path, None), both(CONFIG));
    assert_eq!(at(path, Some(Path::new("b.yaml"))), both("b.yaml"));
    assert_eq!(at(&path.join("b.yaml"), None), both("b.yaml"));
    assert_eq!(at(&path.join("b.yaml"), Some(Path::new("c"))), None);
    assert_eq!(
        at(Path::new("x.yaml"), None),
        Some((".".into(), "x.yaml".into()))
    );
}

#[test]
fn a_builds_id_looks_like_cloud_builds() {
    let id = new_build_id();
    let lengths: Vec<usize> = id.split('-').map(str::len).collect();
    assert_eq!(lengths, [8, 4, 4, 4, 12]);
}
