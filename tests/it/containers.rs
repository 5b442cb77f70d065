//! Steps of other images than serin's: in real containers, by programs of this machine, or refused.

use std::fs;
use std::path::Path;

use rustix::process::Signal;

use crate::docker::{build_id, docker};
use crate::harness::Project;

/// A project with a build of steps, one a line, in which `IMAGE` stands for an image.
fn project(config: &str, image: &str) -> Project {
    let project = Project::empty();
    project.write("cloudbuild.yaml", &config.replace("IMAGE", image));
    project
}

#[test]
fn a_step_sees_what_cloud_build_gives_it() {
    let Some(docker) = docker() else { return };
    let project = project(
        r"steps:
- {name: IMAGE}
- name: IMAGE
  entrypoint: sh
  args: [-c, 'env; echo args $0 $*; pwd; id -u', a, 'b c']
  env: [A=step, 'TWO=one
    two', '_OWN=$_KEY']
  dir: sub/folder
- name: IMAGE
  args: [sh, -c, 'echo a > /workspace/a; echo h > $$HOME/h; echo hi > $$BUILDER_OUTPUT/output; touch /gone; ls /var/run/docker.sock']
- name: IMAGE
  args: [sh, -c, 'cat a ../builder/home/h; ls /gone; ls $$BUILDER_OUTPUT | wc -l']
  dir: /workspace
  allowFailure: true
- {name: IMAGE, args: [pwd], dir: /opt/x}
substitutions: {_KEY: k}
options: {env: [A=all, B=all]}
",
        docker.busybox(),
    );
    let ended = docker.run(&project, &[]).expect(0);
    let log = &ended.stdout;
    let of = |step: usize| -> Vec<&str> {
        let prefix = format!("Step #{step}: ");
        log.lines()
            .filter_map(|line| line.strip_prefix(&prefix))
            .collect()
    };
    let image = docker.busybox();
    let present = format!("Already have image: {image}");
    assert_eq!(of(0), [present.as_str(), "the image's own command"]);
    let second = of(1);
    for line in [
        "A=step",
        "B=all",
        "TWO=one two",
        "_OWN=k",
        "BAKED=in",
        "HOME=/builder/home",
        "BUILDER_OUTPUT=/builder/outputs",
        "CLOUDSDK_AUTH_ACCESS_TOKEN_FILE=/proc/sys/kernel/ostype",
        "args a b c",
        "/workspace/sub/folder",
        "0",
    ] {
        assert!(second.contains(&line), "{line}: {second:#?}");
    }
    let clock = second.iter().any(|line| line.starts_with("SERIN_CLOCK="));
    assert!(clock, "{second:#?}");
    for name in ["DOCKER_HOST=", "CARGO", "USER="] {
        assert!(
            !second.iter().any(|line| line.starts_with(name)),
            "{name} is passed on: {second:#?}"
        );
    }
    assert_eq!(of(2), [present.as_str(), "/var/run/docker.sock"]);
    let fourth = of(3);
    for line in ["a", "h", "0"] {
        assert!(fourth.contains(&line), "{line}: {fourth:#?}");
    }
    assert!(of(4).contains(&"/opt/x"), "{log}");
    assert_eq!(
        fs::read_to_string(project.workspace().join("a")).unwrap(),
        "a\n"
    );
    assert!(docker.containers(&build_id(log)).is_empty());
}

#[test]
fn scripts_and_users_and_volumes_are_those_of_the_container() {
    let Some(docker) = docker() else { return };
    let folder = tempfile::tempdir().unwrap();
    let of_user = "serin-test/user:1";
    docker.build(
        of_user,
        folder.path(),
        &format!("FROM {}\nUSER 1234\n", docker.busybox()),
    );
    let project = project(
        &r"steps:
- name: IMAGE
  script: |
    echo $BAKED by $0
    echo $BUILDER_OUTPUT
    false
    echo goes on
- name: IMAGE
  script: |
    #!/bin/sh -e
    echo shebang
    false
    echo no
  allowFailure: true
- {name: USER, script: id -u}
- name: IMAGE
  args: [sh, -c, 'ls /v | wc -l; echo shared > /v/f']
  volumes: [{name: vol, path: /v}]
- name: IMAGE
  args: [cat, /other/f]
  volumes: [{name: vol, path: /other}]
"
        .replace("USER", of_user),
        docker.busybox(),
    );
    let ended = docker.run(&project, &[]).expect(0);
    let log = &ended.stdout;
    for line in [
        "Step #0: in by /builder/script",
        "Step #0: goes on",
        "Step #1: shebang",
        "Step #2: 1234",
        "Step #3: 0",
        "Step #4: shared",
    ] {
        assert!(log.lines().any(|l| l == line), "{line}\n{log}");
    }
    assert!(!log.contains("Step #1: no"), "{log}");
    assert!(docker.volumes(&build_id(log)).is_empty());
    // Empty again in the next build.
    docker.run(&project, &[]).expect(0).says("Step #3: 0\n");
}

#[test]
fn a_secret_is_in_the_containers_environment_and_not_in_the_log() {
    let Some(docker) = docker() else { return };
    let project = project(
        r"steps:
- name: IMAGE
  args: [sh, -c, 'echo it is $$TOKEN; echo $$TOKEN > /workspace/token']
  secretEnv: [TOKEN]
availableSecrets:
  secretManager: [{versionName: projects/p/secrets/s/versions/1, env: TOKEN}]
",
        docker.busybox(),
    );
    fs::write(project.folder.path().join("token"), "hush-hush\n").unwrap();
    let ended = docker
        .run(&project, &["--secret", "TOKEN=@token"])
        .expect(0);
    assert!(ended.stdout.contains("it is "), "{}", ended.stdout);
    assert!(!ended.stdout.contains("hush"), "{}", ended.stdout);
    let token = fs::read_to_string(project.workspace().join("token")).unwrap();
    assert_eq!(token, "hush-hush\n");
}

#[test]
fn a_container_reaches_the_emulator() {
    let Some(docker) = docker() else { return };
    let project = project(
        r#"steps:
- name: IMAGE
  script: |
    wget -q -O - --header 'Content-Type: application/json' --post-data '{"name": "made-in-a-container"}' \
      "$STORAGE_EMULATOR_HOST/storage/v1/b?project=my-project"; echo
    wget -q -O - --header 'Content-Type: application/json' --post-data 'hello' \
      "$STORAGE_EMULATOR_HOST/upload/storage/v1/b/made-in-a-container/o?uploadType=media&name=greeting" > object
    link=$(sed -n 's/.*"mediaLink": *"\([^"]*\)".*/\1/p' object)
    echo link $link
    wget -q -O - "$link"; echo
    echo metadata $GCE_METADATA_HOST
- name: serin
  script: |
    curl --version > /dev/null && echo from here $STORAGE_EMULATOR_HOST
  allowFailure: true
"#,
        docker.busybox(),
    );
    let log = docker.run(&project, &[]).expect(0).stdout;
    assert!(log.contains("made-in-a-container"), "{log}");
    assert!(log.contains("Step #0: hello"), "{log}");
    let address = |start: &str| -> &str {
        let line = log.lines().find_map(|line| line.strip_prefix(start));
        line.unwrap_or_else(|| panic!("{start}: {log}"))
    };
    let metadata = address("Step #0: metadata ");
    let link = address("Step #0: link ");
    assert!(link.starts_with(&format!("http://{metadata}/")), "{log}");
    assert!(!metadata.starts_with("127."), "{log}");
}

#[test]
fn a_containers_exit_code_is_the_steps() {
    let Some(docker) = docker() else { return };
    for (step, message, code) in [
        (
            "args: [sh, -c, exit 7]",
            "step exited with non-zero status: 7",
            1,
        ),
        (
            "args: [sh, -c, exit 127]",
            "step exited with non-zero status: 127",
            1,
        ),
        (
            "args: [sh, -c, exit 125]",
            "step exited with non-zero status: 125",
            1,
        ),
        ("args: [sh, -c, 'kill -9 $$$$']", "DONE", 0),
        (
            "args: [no-such-program]",
            "starting step container failed: ",
            1,
        ),
        ("entrypoint: /bin", "starting step container failed: ", 1),
    ] {
        let project = project(
            &format!("steps: [{{name: IMAGE, {step}}}]"),
            docker.busybox(),
        );
        let ended = docker.run(&project, &[]).expect(code).says(message);
        if message.starts_with("starting") {
            let image = docker.busybox();
            let whole = format!("ERROR: build step 0 \"{image}\" failed: {message}");
            let ended = ended.says(&whole);
            assert!(!ended.stdout.contains("non-zero"), "{}", ended.stdout);
        }
    }
}

#[test]
fn an_image_that_cannot_be_pulled_fails_its_step() {
    let Some(docker) = docker() else { return };
    let project = project(
        "steps:\n- {name: IMAGE, args: [pwd], allowFailure: true}\n- {name: IMAGE}\n",
        "localhost:1/no/such:image",
    );
    let image = "localhost:1/no/such:image";
    docker
        .run(&project, &[])
        .expect(1)
        .says(&format!("Step #0: Pulling image: {image}"))
        .says("Step #0: Error response from daemon: ")
        .says("this step may fail")
        .says(&format!(
            "ERROR: build step 1 \"{image}\" failed: error pulling build step 1 \"{image}\": "
        ));
}

#[test]
fn a_steps_timeout_ends_its_container_and_counts_in_real_time() {
    let Some(docker) = docker() else { return };
    // At 100,000 times real time the build's hour would be over in 36 ms.
    let project = project(
        "steps:\n- {name: IMAGE, args: [sleep, '0.2'], timeout: 60s}\n- {name: IMAGE, args: [sleep, '600'], timeout: 0.5s}\n",
        docker.busybox(),
    );
    let ended = docker.run(&project, &["--time-scale", "100000"]).expect(1);
    let ended = ended.says("failed: context deadline exceeded");
    let rows: Vec<&str> = ended
        .stdout
        .lines()
        .filter(|line| line.starts_with('#'))
        .collect();
    assert!(rows[0].contains("SUCCESS"), "{rows:?}");
    assert!(rows[1].contains("TIMEOUT"), "{rows:?}");
    assert!(docker.containers(&build_id(&ended.stdout)).is_empty());
}

#[test]
fn a_ctrl_c_asks_the_container_to_end() {
    let Some(docker) = docker() else { return };
    let project = project(
        "steps:\n- name: IMAGE\n  script: |\n    trap 'echo asked to end; exit 0' TERM\n    echo it runs\n    while :; do sleep 0.05; done\n- {name: IMAGE}\n",
        docker.busybox(),
    );
    let mut build = docker.start_run(&project, &[]);
    build.wait_for("it runs");
    build.signal(Signal::INT);
    assert_eq!(build.wait(), Some(130), "{}", build.text());
    let log = build.text();
    assert!(log.contains("asked to end"), "{log}");
    assert!(log.contains("CANCELLED"), "{log}");
    assert!(docker.containers(&build_id(&log)).is_empty());
    project.assert_no_process_left();
}

#[test]
fn a_second_ctrl_c_ends_a_container_that_does_not_listen() {
    let Some(docker) = docker() else { return };
    let project = project(
        "steps:\n- name: IMAGE\n  script: |\n    trap 'echo it heard and goes on' TERM\n    echo it runs\n    while :; do sleep 0.05; done\n",
        docker.busybox(),
    );
    let mut build = docker.start_run(&project, &[]);
    build.wait_for("it runs");
    build.signal(Signal::INT);
    build.wait_for("and goes on");
    build.signal(Signal::INT);
    assert_eq!(build.wait(), Some(130), "{}", build.text());
    assert!(docker.containers(&build_id(&build.text())).is_empty());
}

#[test]
fn what_a_killed_build_leaves_the_next_one_removes() {
    let Some(docker) = docker() else { return };
    let steps = "steps:\n\
         - {name: IMAGE, args: [sh, -c, 'echo it runs; sleep 600'], volumes: [{name: vol, path: /v}]}\n\
         - {name: IMAGE, args: [ls], volumes: [{name: vol, path: /v}]}\n";
    let project = project(steps, docker.busybox());
    let mut build = docker.start_run(&project, &[]);
    build.wait_for("it runs");
    let killed = build_id(&build.text());
    build.signal(Signal::KILL);
    build.wait();
    project.assert_no_process_left();
    assert_eq!(docker.containers(&killed).len(), 1);
    assert_eq!(docker.volumes(&killed).len(), 1);
    project.edit("cloudbuild.yaml", |text| {
        text.replace("sleep 600", "echo ended")
    });
    docker.run(&project, &[]).expect(0);
    assert!(docker.containers(&killed).is_empty());
    assert!(docker.volumes(&killed).is_empty());
}

#[test]
fn an_image_that_a_step_builds_runs_in_a_later_one_and_is_found_at_the_end() {
    let Some(docker) = docker() else { return };
    let built = format!("serin-test/built-{}:1", std::process::id());
    let config = r#"steps:
- {name: CLIENT, args: [build, --quiet, --tag, BUILT, .]}
- {name: BUILT, args: [cat, /greeting]}
- {name: CLIENT, args: [run, --rm, BUILT, echo, a container of a container]}
images: [BUILT]
"#;
    let config = config
        .replace("CLIENT", docker.client())
        .replace("BUILT", &built);
    let project = project(&config, "");
    let dockerfile = format!("FROM {}\nCOPY greeting /\n", docker.busybox());
    project.write("Dockerfile", &dockerfile);
    project.write("greeting", "hello from the image\n");
    let ended = docker.run(&project, &[]).expect(0);
    let ended = ended
        .says(&format!("Step #1: Already have image: {built}"))
        .says("Step #1: hello from the image")
        .says("Step #2: a container of a container");
    let id = docker.docker(&["image", "inspect", "--format", "{{.Id}}", &built]);
    ended.says(&format!("PUSH\n{built} is there as {id}"));
    docker.docker(&["image", "rm", &built]);
    project.edit("cloudbuild.yaml", |text| {
        text.replace(
            &format!("images: [{built}]"),
            "images: [no/such, 'no/other:2']",
        )
    });
    docker.run(&project, &[]).expect(1).says(
        "PUSH\nERROR\nERROR: failed to find one or more images after execution of build steps: \
         [\"no/such\" \"no/other:2\"]",
    );
    docker.docker(&["image", "rm", &built]);
}

/// Changes the owner of a folder and all that is in it.
fn give(folder: &Path, user: u32) {
    std::os::unix::fs::chown(folder, Some(user), Some(user)).unwrap();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        match entry.file_type().unwrap().is_dir() {
            true => give(&entry.path(), user),
            false => std::os::unix::fs::chown(entry.path(), Some(user), Some(user)).unwrap(),
        }
    }
}

#[test]
fn a_user_who_is_not_root_owns_what_containers_of_root_write() {
    const USER: u32 = 4321;
    let Some(docker) = docker() else { return };
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: only root can run serin as somebody else");
        return;
    }
    let project = project(
        "steps:\n\
         - {name: IMAGE, args: [sh, -c, 'umask 077; mkdir -p d/e; echo a > d/e/f; id -u']}\n\
         - {name: serin, script: 'cat d/e/f; rm -r d/e; touch d/mine'}\n\
         - {name: IMAGE, args: [mkdir, -p, g/h]}\n",
        docker.busybox(),
    );
    give(project.folder.path(), USER);
    let docker = docker.at_open_socket(&project.folder.path().join("docker.sock"));
    // The second build empties the workspace of the first.
    for _ in 0..2 {
        let mut command = docker.serin(&project, &["run", "project", "--workspace", "workspace"]);
        std::os::unix::process::CommandExt::uid(&mut command, USER);
        std::os::unix::process::CommandExt::gid(&mut command, USER);
        let ended =
            crate::harness::ended(command.env("HOME", project.folder.path()).output().unwrap());
        let ended = ended.expect(0).says("Step #0: 0\n").says("Step #1: a\n");
        assert!(!ended.stderr.contains("chown"), "{}", ended.stderr);
        let meta = fs::metadata(project.workspace().join("g/h")).unwrap();
        assert_eq!(std::os::unix::fs::MetadataExt::uid(&meta), USER);
    }
}

#[test]
fn a_program_of_this_machine_runs_in_place_of_an_image() {
    let project = project(
        r"steps:
- {name: 'gcr.io/cloud-builders/env', env: [A=b]}
- {name: 'some/where/shell:2', args: [-c, 'pwd; echo $$HOME; exit 3'], dir: sub, allowFailure: true}
- {name: 'some/where/shell:3', script: 'echo script by $0'}
- {name: 'python:3.12', args: [echo, of the args]}
- {name: serin, args: [--version]}
options: {env: [C=d]}
",
        "",
    );
    let hosts = [
        "--host",
        "gcr.io/cloud-builders/*",
        "--host",
        "some/*=sh",
        "--host",
        "*",
    ];
    let mut arguments = vec!["run", "project", "--workspace", "workspace"];
    arguments.extend(hosts);
    let log = project.serin(&arguments).expect(0).stdout;
    for line in [
        "Step #0: A=b",
        "Step #0: C=d",
        "Step #1: step exited with non-zero status: 3; this step may fail",
        "Step #3: of the args",
    ] {
        assert!(log.lines().any(|l| l == line), "{line}\n{log}");
    }
    let workspace = project.workspace().canonicalize().unwrap();
    assert!(
        log.contains(&format!("Step #1: {}/sub\n", workspace.display())),
        "{log}"
    );
    assert!(log.contains("Step #2: script by "), "{log}");
    let home = log.lines().find_map(|l| l.strip_prefix("Step #0: HOME="));
    assert!(home.unwrap().ends_with("builder/home"), "{log}");
}

#[test]
fn without_an_engine_every_step_that_needs_one_is_named_before_any_runs() {
    let project = project(
        "steps:\n\
         - {name: serin, script: echo ran}\n\
         - {name: 'python:3.12', id: py}\n\
         - {name: gcr.io/cloud-builders/gsutil}\n\
         - {name: 'bash', args: [-c, ls]}\n",
        "",
    );
    let mut command = project.command(&["run", "project", "--host", "bash"]);
    let ended = crate::harness::ended(command.output().unwrap()).expect(2);
    let ended = ended
        .says("step #1 - \"py\": the image `python:3.12` is not serin's own and needs a container")
        .says("step #2: the image `gcr.io/cloud-builders/gsutil`")
        .says("start a container engine")
        .says("`--host IMAGE=PROGRAM`")
        .says("`--self IMAGE`");
    assert!(!ended.stderr.contains("bash"), "{}", ended.stderr);
    assert!(!ended.stdout.contains("ran"), "{}", ended.stdout);
}
