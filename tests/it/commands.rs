//! The steps by themselves: what they refuse, and what they say.

use crate::harness::Project;

#[test]
fn every_command_has_its_manual() {
    let project = Project::empty();
    for command in [
        "lint", "train", "validate", "push", "deploy", "run", "emulate", "fit", "serve", "init",
        "auth",
    ] {
        let help = project.serin(&[command, "--help"]).expect(0);
        assert!(help.stdout.contains("Exit codes:"), "{command}");
        assert!(
            help.stdout.contains("rites") || command == "serve",
            "{command} says what it writes"
        );
    }
    project.serin(&["--version"]).expect(0).says("serin ");
    project.serin(&["lnit"]).expect(2).says("lint");
}

#[test]
fn a_step_names_the_step_that_must_run_before_it() {
    let project = Project::churn();
    let step = |name: &str| {
        let mut command = project.command(&[name, "--project=p", "--region=us-central1"]);
        command
            .env("SERIN_IMAGE", "serin")
            .current_dir(project.source());
        let output = command.output().unwrap();
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    for (name, before) in [
        ("train", "serin lint"),
        ("validate", "serin train"),
        ("push", "serin validate"),
        ("deploy", "serin validate"),
    ] {
        // A step that failed is one that ran: the next is to find nothing of it.
        let _none_yet = std::fs::remove_dir_all(project.source().join(".serin"));
        let (code, stderr) = step(name);
        assert_eq!(code, Some(2), "{name}: {stderr}");
        assert!(
            stderr.contains(&format!("hint: run `{before}` first")),
            "{name}: {stderr}"
        );
    }
}

#[test]
fn what_a_killed_step_left_half_written_goes_with_the_next() {
    let project = Project::churn();
    let folder = project.source().join(".serin");
    std::fs::create_dir_all(folder.join("data")).unwrap();
    let left = [".writing-abc", "data/.writing-def"].map(|name| folder.join(name));
    for path in &left {
        std::fs::write(path, "half").unwrap();
    }
    let mut command = project.command(&["lint"]);
    let output = command.current_dir(project.source()).output().unwrap();
    assert!(output.status.success());
    assert!(left.iter().all(|path| !path.exists()));
}

#[test]
fn an_edited_artifact_is_refused() {
    let project = Project::churn();
    let step = |name: &str| {
        let mut command = project.command(&[name, "--project=p", "--region=us-central1"]);
        command
            .env("SERIN_IMAGE", "serin")
            .env("STORAGE_EMULATOR_HOST", "http://127.0.0.1:9");
        let output = command.current_dir(project.source()).output().unwrap();
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    assert_eq!(step("lint").0, Some(0));
    project.edit("data/account.csv", |text| text.replacen(",no", ",yes", 1));
    let (code, stderr) = step("train");
    assert_eq!(code, Some(2), "{stderr}");
    assert!(
        stderr.contains("was made from another `data/account.csv`"),
        "{stderr}"
    );
    assert!(stderr.contains("hint: run `serin lint` again"), "{stderr}");
}

#[test]
fn a_config_error_has_its_place_and_the_nearest_field() {
    let project = Project::churn();
    project.edit("serin.yaml", |text| text.replacen("bucket:", "buckte:", 1));
    project
        .run(&[])
        .expect(2)
        .says("serin.yaml:")
        .says("bucket");
    let project = Project::churn();
    project.edit("cloudbuild.yaml", |text| {
        text.replacen("steps:", "stepz:", 1)
    });
    project
        .run(&[])
        .expect(2)
        .says("cloudbuild.yaml:")
        .says("steps");
}

#[test]
fn an_image_that_is_not_serins_is_refused_before_anything_starts() {
    let project = Project::churn();
    project.edit("cloudbuild.yaml", |text| {
        text.replacen(
            "steps:\n",
            "steps:\n  - name: gcr.io/cloud-builders/docker\n    args: [version]\n",
            1,
        )
    });
    let ended = project
        .run(&[])
        .expect(2)
        .says("gcr.io/cloud-builders/docker");
    assert!(!ended.stdout.contains("Step #"), "{}", ended.stdout);
}
