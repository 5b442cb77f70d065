//! The emulator is killed beside pushes: each ref that moved is built once.

use std::collections::BTreeMap;
use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::{CONFIG, HOST, Work, builds, on_branch, only_repository, repository, told};
use crate::emulate::emulate_with;
use crate::harness::Project;

/// What a kill leaves between a ref's change and its builds: the next start makes them, once.
#[test]
fn a_ref_that_changed_before_a_kill_is_built_by_the_next_start() {
    let project = Project::empty();
    let (mut emulator, url) = emulate_with(&project, "cloud", HOST);
    let address = repository(&url, "churn");
    on_branch(&url, "all", "^main$");
    let work = Work::new(project.folder.path().join("work"), CONFIG);
    work.push(&address, &["main"]);
    let first = builds(&url);
    let commit = work.commit("a", "");
    emulator.signal(Signal::KILL);
    emulator.wait();
    let kept = only_repository(&project);
    work.push(kept.to_str().unwrap(), &["main"]);
    // And what a killed git leaves would hold up every later push.
    fs::write(kept.join("refs/heads/main.lock"), "").unwrap();
    fs::create_dir(kept.join("objects/tmp_objdir-incoming-x")).unwrap();
    for _ in 0..3 {
        let (mut emulator, url) = emulate_with(&project, "cloud", HOST);
        let expected = [first.clone(), vec![format!("all {commit}")]].concat();
        until(|| builds(&url).len() >= expected.len());
        let mut expected = expected;
        expected.sort();
        assert_eq!(builds(&url), expected);
        emulator.signal(Signal::KILL);
        emulator.wait();
    }
    let (_emulator, url) = emulate_with(&project, "cloud", HOST);
    work.commit("b", "");
    assert_eq!(
        told(&work.push(&format!("{url}/p/p/r/churn"), &["main"])).len(),
        1
    );
}

fn until(mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < end, "it never came to be");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Kills at any moment of a push: its ref is moved and built once, or it is not moved.
#[test]
fn a_kill_at_any_moment_of_a_push_loses_no_build_and_doubles_none() {
    let project = Project::empty();
    let work = Work::new(project.folder.path().join("work"), CONFIG);
    let (mut emulator, mut url) = emulate_with(&project, "cloud", HOST);
    repository(&url, "churn");
    on_branch(&url, "all", "^main$");
    let mut commits = Vec::new();
    for round in 0..8_u64 {
        commits.push(work.commit("a", &round.to_string()));
        let mut push = work
            .command(&["push", "--force", &format!("{url}/p/p/r/churn"), "main"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(20 + 45 * round));
        emulator.signal(Signal::KILL);
        emulator.wait();
        push.wait().unwrap();
        (emulator, url) = emulate_with(&project, "cloud", HOST);
        let commit = commits.last().unwrap();
        let there = work.git(&["ls-remote", &format!("{url}/p/p/r/churn"), "main"]);
        if there.contains(commit) {
            until(|| builds(&url).contains(&format!("all {commit}")));
        }
    }
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for build in builds(&url) {
        *counts.entry(build).or_default() += 1;
    }
    assert!(counts.values().all(|count| *count == 1), "{counts:?}");
    work.commit("a", "last");
    assert_eq!(
        told(&work.push(&format!("{url}/p/p/r/churn"), &["main"])).len(),
        1
    );
}
