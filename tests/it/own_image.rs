//! serin's own image, made by the project's Dockerfile, in the three places where it runs.

use std::fs;
use std::process::Command;

use serde_json::json;
use serin::config::{Builtin, Times};
use serin::data::instances::instances;
use serin::steps::fit::Specification;
use serin::workspace::records::Dataset;

use crate::docker::{Docker, docker, put_program};
use crate::emulate::{get_text, post};
use crate::harness::{Project, Running, ended};
use crate::sent::{Files, docker_context};

const DOCKERFILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/Dockerfile");

/// The client that builds with BuildKit, which leaves out the stages that the image does not need:
/// the one with the plugin, else Debian's, of which it is a part.
fn buildkit(docker: &Docker) -> Command {
    let plugin = docker
        .command("docker")
        .args(["buildx", "version"])
        .output();
    let has_plugin = plugin.unwrap().status.success();
    let mut command = docker.command(if has_plugin {
        "docker"
    } else {
        "/usr/bin/docker"
    });
    command.env("DOCKER_BUILDKIT", "1").arg("build");
    command
}

/// The image, with the program of these tests in it. The name is of its own, so that `serin run` takes it
/// for somebody else's.
fn program_image(docker: &Docker) -> &'static str {
    const IMAGE: &str = "serin-test/program:1";
    let context = tempfile::tempdir().unwrap();
    let folder = context.path().join("image");
    fs::create_dir(&folder).unwrap();
    put_program(&crate::harness::program(), &folder);
    let mut build = buildkit(docker);
    build
        .args(["--build-arg", "IMAGE=context", "--file", DOCKERFILE])
        .args(["--tag", IMAGE])
        .arg(context.path());
    ended(build.output().unwrap()).expect(0);
    IMAGE
}

/// A container that goes with the test.
struct Container<'a> {
    docker: &'a Docker,
    id: String,
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        let mut command = self.docker.command("docker");
        let _removed = command
            .args(["rm", "--force", "--volumes", &self.id])
            .output();
    }
}

#[test]
fn the_image_runs_every_step_of_the_example() {
    let Some(docker) = docker() else { return };
    let image = program_image(&docker);
    let project = Project::churn_with_short_rollout();
    project.edit("cloudbuild.yaml", |text| {
        let own = "name: ${_REGION}-docker.pkg.dev/$PROJECT_ID/serin/serin:${_TAG}";
        assert_eq!(text.matches(own).count(), 5);
        text.replace(own, &format!("name: {image}"))
    });
    docker
        .run(&project, &["--time-scale", "600"])
        .expect(0)
        .says(&format!("Step #0 - \"lint\": Already have image: {image}"))
        .says("promoted");
    assert_eq!(project.record("deploy.json")["verdict"], "promoted");
}

#[test]
fn the_image_fits_a_model_and_serves_it() {
    let Some(docker) = docker() else { return };
    let image = program_image(&docker);
    let project = Project::churn();
    project.run(&["--only", "lint"]).expect(0);
    let workspace = project.workspace();
    let dataset: Dataset = serde_json::from_value(project.record("dataset.json")).unwrap();
    let test = instances(&workspace.join(&dataset.test.path), &dataset.features).unwrap();
    let specification = Specification {
        train_sha256: dataset.train.sha256,
        label: dataset.label,
        features: dataset.features,
        dropped: dataset.dropped,
        times: Times::default(),
        parameters: Builtin {
            rounds: 20,
            ..Builtin::default()
        },
        seed: 1,
    };
    let text = serde_json::to_string(&specification).unwrap();
    fs::write(workspace.join("specification.json"), text).unwrap();
    let mount = format!("type=bind,source={},target=/in", workspace.display());
    let train = format!("AIP_TRAINING_DATA_URI=/in/{}", dataset.train.path);
    let fitted = docker.docker(&[
        "run",
        "--rm",
        "--mount",
        &mount,
        "--env",
        &train,
        "--env",
        "AIP_MODEL_DIR=/in/model",
        image,
        "fit",
        "--spec=/in/specification.json",
    ]);
    assert!(fitted.contains("fitted 20 rounds"), "{fitted}");

    let server = Container {
        docker: &docker,
        id: docker.docker(&[
            "run",
            "--detach",
            "--publish",
            "127.0.0.1::8080",
            "--mount",
            &mount,
            "--env=AIP_HTTP_PORT=8080",
            "--env=AIP_STORAGE_URI=/in/model",
            "--env=AIP_HEALTH_ROUTE=/v1/health",
            "--env=AIP_PREDICT_ROUTE=/v1/predict",
            image,
            "serve",
        ]),
    };
    let address = docker.docker(&["port", &server.id, "8080/tcp"]);
    let url = format!("http://{address}/v1");
    let mut follow = docker.command("docker");
    let logs = Running::new(follow.args(["logs", "--follow", &server.id]));
    logs.wait_for("serving /in/model on ");
    assert_eq!(get_text(&format!("{url}/health")).0, 200);
    let body = json!({ "instances": [test[0], test[1]] });
    let (status, answer) = post(&format!("{url}/predict"), &body);
    assert_eq!(status, 200, "{answer}");
    let predictions = answer["predictions"].as_array().map(Vec::len);
    assert_eq!(predictions, Some(2), "{answer}");
    // SIGTERM, as Vertex AI ends a container: after the open requests, in order.
    docker.docker(&["stop", "--time", "20", &server.id]);
    let code = docker.docker(&["inspect", "--format", "{{.State.ExitCode}}", &server.id]);
    assert_eq!(code, "0", "{}", logs.text());
}

/// A build inside the image, as cloudbuild/serin tests it: without a shell, git or docker in it.
fn runs_the_example_by_itself(docker: &Docker, image: &str) {
    let project = Project::churn_with_short_rollout();
    let source = project.source();
    let mount = format!(
        "type=bind,source={},target=/workspace/churn",
        source.display()
    );
    let log = docker.docker(&[
        "run",
        "--rm",
        "--mount",
        &mount,
        "--workdir=/workspace",
        image,
        "run",
        "churn",
        "--time-scale=600",
    ]);
    assert!(log.contains("Step #4 - \"deploy\": promoted"), "{log}");
}

#[test]
fn the_image_takes_the_example_through_its_build_by_itself() {
    let Some(docker) = docker() else { return };
    runs_the_example_by_itself(&docker, program_image(&docker));
}

/// Compiles all crates in the builder's stages, which takes minutes: only where an image with Rust is named.
#[test]
fn the_whole_dockerfile_makes_an_image_that_runs_the_example() {
    let Ok(rust) = std::env::var("SERIN_RUST_IMAGE") else {
        eprintln!("SKIPPED: needs minutes; SERIN_RUST_IMAGE=rust:1.95-slim-bookworm runs it");
        return;
    };
    let docker = docker().unwrap();
    let image = format!("serin-test/whole-{}:1", std::process::id());
    let mut build = buildkit(&docker);
    build
        .args([
            "--build-arg",
            &format!("RUST={rust}"),
            "--build-arg",
            "PROFILE=dev",
        ])
        .args(["--tag", &image, env!("CARGO_MANIFEST_DIR")]);
    ended(build.output().unwrap()).expect(0);
    runs_the_example_by_itself(&docker, &image);
    docker.docker(&["image", "rm", &image]);
}

/// Docker's reading of .dockerignore is that of the test that compiles without an engine.
#[test]
fn the_image_is_built_from_the_sources_alone() {
    let Some(docker) = docker() else { return };
    let recipe = tempfile::tempdir().unwrap();
    let file = recipe.path().join("Dockerfile");
    fs::write(&file, "FROM scratch\nCOPY . /\nCMD [\"/\"]\n").unwrap();
    let image = format!("serin-test/context-{}:1", std::process::id());
    let mut build = buildkit(&docker);
    build.arg("--file").arg(&file).args(["--tag", &image]);
    build.arg(env!("CARGO_MANIFEST_DIR"));
    ended(build.output().unwrap()).expect(0);
    let container = Container {
        docker: &docker,
        id: docker.docker(&["create", &image]),
    };
    let archive = recipe.path().join("context.tar");
    docker.docker(&[
        "export",
        "--output",
        archive.to_str().unwrap(),
        &container.id,
    ]);
    let listing = Command::new("tar")
        .arg("tf")
        .arg(&archive)
        .output()
        .unwrap();
    let listing = ended(listing).expect(0).stdout;
    // What an engine puts into every container.
    let engines = |path: &&str| {
        let folders = ["dev/", "etc/", "proc/", "sys/"];
        !path.ends_with('/')
            && *path != ".dockerenv"
            && !folders.iter().any(|f| path.starts_with(f))
    };
    let sent: Files = listing.lines().filter(engines).map(str::to_owned).collect();
    assert_eq!(sent, docker_context());
    drop(container);
    docker.docker(&["image", "rm", &image]);
}
