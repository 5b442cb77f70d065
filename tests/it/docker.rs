//! The container engine of the tests, and images that need nothing from a registry.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::harness::{Ended, Project, Running, ended};

/// The engine that the test command has started, by its address.
pub struct Docker {
    host: String,
}

/// The engine; without one the test is skipped with a line that says so, which with `CI=true` is a failure.
pub fn docker() -> Option<Docker> {
    let Ok(host) = std::env::var("SERIN_TEST_DOCKER") else {
        assert!(
            std::env::var("CI").as_deref() != Ok("true"),
            "SERIN_TEST_DOCKER is not set"
        );
        eprintln!(
            "SKIPPED: needs the container engine at SERIN_TEST_DOCKER, which `.ci/test` sets"
        );
        return None;
    };
    Some(Docker { host })
}

impl Docker {
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("DOCKER_HOST", &self.host).stdin(Stdio::null());
        command
    }

    /// Runs `docker` and gives what it printed.
    #[track_caller]
    pub fn docker(&self, arguments: &[&str]) -> String {
        let output = self.command("docker").args(arguments).output().unwrap();
        let ended = ended(output).expect(0);
        ended.stdout.trim().to_owned()
    }

    /// The project's program with this engine.
    pub fn serin(&self, project: &Project, arguments: &[&str]) -> Command {
        let mut command = project.command(arguments);
        command.env("DOCKER_HOST", &self.host);
        command
    }

    fn build_arguments<'a>(more: &[&'a str]) -> Vec<&'a str> {
        let mut arguments = vec![
            "run",
            "project",
            "--workspace",
            "workspace",
            "--state",
            "state",
        ];
        arguments.extend(more);
        arguments
    }

    /// Runs the project's build to its end.
    pub fn run(&self, project: &Project, more: &[&str]) -> Ended {
        let mut command = self.serin(project, &Self::build_arguments(more));
        ended(command.output().unwrap())
    }

    /// Starts the project's build and gives its log line by line.
    pub fn start_run(&self, project: &Project, more: &[&str]) -> Running {
        Running::new(&mut self.serin(project, &Self::build_arguments(more)))
    }

    /// An image with busybox by all its names.
    pub fn busybox(&self) -> &'static str {
        const IMAGE: &str = "serin-test/busybox:1";
        let folder = tempfile::tempdir().unwrap();
        put_busybox(folder.path());
        self.build(
            IMAGE,
            folder.path(),
            "FROM scratch\nCOPY bin /bin\nENV BAKED=in\nCMD [\"echo\", \"the image's own command\"]\n",
        );
        IMAGE
    }

    /// An image with busybox and the engine's command line.
    pub fn client(&self) -> &'static str {
        const IMAGE: &str = "serin-test/docker:1";
        let folder = tempfile::tempdir().unwrap();
        put_busybox(folder.path());
        put_program(&find("docker"), folder.path());
        self.build(
            IMAGE,
            folder.path(),
            "FROM scratch\nCOPY . /\nENTRYPOINT [\"/usr/local/bin/docker\"]\n",
        );
        IMAGE
    }

    /// The engine by another socket, which everybody may use as long as the test runs.
    pub fn at_open_socket(&self, socket: &Path) -> Self {
        let to = self.host.strip_prefix("unix://").unwrap().to_owned();
        let listener = UnixListener::bind(socket).unwrap();
        fs::set_permissions(socket, fs::Permissions::from_mode(0o777)).unwrap();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let engine = UnixStream::connect(&to).unwrap();
                for (from, to) in [(&client, &engine), (&engine, &client)] {
                    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    std::thread::spawn(move || {
                        // Either side may be gone before the other.
                        let _copied = std::io::copy(&mut from, &mut to);
                        let _ended = to.shutdown(std::net::Shutdown::Write);
                    });
                }
            }
        });
        Self {
            host: format!("unix://{}", socket.display()),
        }
    }

    /// Builds an image from a folder.
    #[track_caller]
    pub fn build(&self, image: &str, folder: &Path, dockerfile: &str) {
        fs::write(folder.join("Dockerfile"), dockerfile).unwrap();
        let folder = folder.to_str().unwrap();
        let mut command = self.command("docker");
        // The builder that is part of every engine; what it says of its age goes to a stream that nobody reads.
        command.env("DOCKER_BUILDKIT", "0");
        let output = command.args(["build", "--quiet", "--tag", image, folder]);
        ended(output.output().unwrap()).expect(0);
    }

    /// The containers of a build, running or not.
    pub fn containers(&self, build_id: &str) -> Vec<String> {
        let name = format!("name=serin-{build_id}");
        lines(&self.docker(&["ps", "--all", "--quiet", "--filter", &name]))
    }

    /// The volumes of a build.
    pub fn volumes(&self, build_id: &str) -> Vec<String> {
        let name = format!("name=serin-{build_id}");
        lines(&self.docker(&["volume", "ls", "--quiet", "--filter", &name]))
    }
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}

/// The build's id, from its log.
pub fn build_id(log: &str) -> String {
    let line = log
        .lines()
        .find_map(|line| line.strip_prefix("starting build \""));
    line.unwrap().trim_end_matches('"').to_owned()
}

/// A program of this machine, by the PATH.
fn find(program: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap();
    let mut found = std::env::split_paths(&path).map(|folder| folder.join(program));
    found.find(|file| file.is_file()).unwrap()
}

/// Puts busybox, which needs no library, and a link by each of its names into `bin`.
fn put_busybox(root: &Path) {
    let bin = root.join("bin");
    fs::create_dir_all(&bin).unwrap();
    let busybox = find("busybox");
    fs::copy(&busybox, bin.join("busybox")).unwrap();
    let names = Command::new(&busybox).arg("--list").output().unwrap();
    for name in String::from_utf8(names.stdout).unwrap().lines() {
        if name != "busybox" {
            std::os::unix::fs::symlink("busybox", bin.join(name)).unwrap();
        }
    }
    fs::create_dir_all(root.join("tmp")).unwrap();
}

/// Puts a program and the libraries that it needs where it finds them, as serin's own image has them.
pub fn put_program(program: &Path, root: &Path) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(".ci/image");
    let laid_out = root.join("laid-out");
    let output = Command::new("sh")
        .arg(script)
        .arg(program)
        .arg(&laid_out)
        .output();
    ended(output.unwrap()).expect(0);
    let name = program.file_name().unwrap();
    let bin = laid_out.join("usr/local/bin");
    if name != "serin" {
        fs::rename(bin.join("serin"), bin.join(name)).unwrap();
    }
    for entry in fs::read_dir(&laid_out).unwrap().flatten() {
        let to = root.join(entry.file_name());
        if !to.exists() {
            fs::rename(entry.path(), to).unwrap();
        }
    }
    fs::remove_dir_all(laid_out).unwrap();
}
