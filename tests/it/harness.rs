//! A project in a temporary folder, and serin run in it as a user would.

use std::fs;
use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// The program that is tested: the one that `SERIN_PROGRAM` names, else cargo's of the tests' profile, which is not optimised.
pub fn program() -> PathBuf {
    let named = std::env::var_os("SERIN_PROGRAM");
    named.map_or_else(|| env!("CARGO_BIN_EXE_serin").into(), PathBuf::from)
}

/// Fast enough for a test, slow enough that a minute of the clock holds a few requests.
pub const TIME_SCALE: &str = "600";

/// A copy of the example, with a program file of its own so that its processes can be told apart.
pub struct Project {
    pub folder: TempDir,
}

/// How a command ended.
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Project {
    /// The churn example.
    pub fn churn() -> Self {
        let project = Self::empty();
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("cloudbuild/churn");
        copy_folder(&example, &project.source());
        project
    }

    /// The churn example with a rollout of one stage, for tests of what comes before it.
    pub fn churn_with_short_rollout() -> Self {
        let project = Self::churn();
        project.edit("serin.yaml", |text| {
            let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
            for line in &mut lines {
                if line.trim_start().starts_with("stages:") {
                    *line = "  stages: [50, 100]".into();
                } else if line.trim_start().starts_with("min_requests:") {
                    *line = "  min_requests: 40".into();
                } else if line.trim_start().starts_with("bake:") {
                    *line = "  bake: 3m".into();
                }
            }
            lines.join("\n") + "\n"
        });
        project
    }

    /// A folder with nothing but the program.
    pub fn empty() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("serin-it-")
            .tempdir()
            .unwrap();
        let program = folder.path().join("serin");
        if fs::hard_link(self::program(), &program).is_err() {
            fs::copy(self::program(), &program).unwrap();
        }
        fs::create_dir(folder.path().join("project")).unwrap();
        Self { folder }
    }

    /// Writes a file of the project.
    pub fn write(&self, file: &str, text: &str) {
        fs::write(self.source().join(file), text).unwrap();
    }

    /// The folder with the cloudbuild.yaml.
    pub fn source(&self) -> PathBuf {
        self.folder.path().join("project")
    }

    pub fn workspace(&self) -> PathBuf {
        self.folder.path().join("workspace")
    }

    /// Changes a file of the project.
    pub fn edit(&self, file: &str, change: impl FnOnce(String) -> String) {
        let path = self.source().join(file);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, change(text)).unwrap();
    }

    /// A command of serin's with nothing of this machine's cloud settings in its environment.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.folder.path().join("serin"));
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        // Nor with an engine of this machine's: tests of containers name theirs.
        command.env("DOCKER_HOST", "unix:///no/such.sock");
        for (name, _) in std::env::vars() {
            let ours = [
                "SERIN_",
                "CLOUDSDK_",
                "GOOGLE_",
                "GCE_",
                "AIP_",
                "CLOUD_ML_",
            ];
            if ours.iter().any(|prefix| name.starts_with(prefix))
                || name.ends_with("_EMULATOR_HOST")
            {
                command.env_remove(name);
            }
        }
        command
    }

    /// Runs a command to its end.
    pub fn serin(&self, arguments: &[&str]) -> Ended {
        ended(self.command(arguments).output().unwrap())
    }

    /// The command line of a build of the project.
    pub fn run_arguments<'a>(more: &[&'a str]) -> Vec<&'a str> {
        let mut arguments = vec![
            "run",
            "project",
            "--workspace",
            "workspace",
            "--time-scale",
            TIME_SCALE,
        ];
        arguments.extend(more);
        arguments
    }

    /// Runs the build to its end.
    pub fn run(&self, more: &[&str]) -> Ended {
        self.serin(&Self::run_arguments(more))
    }

    /// Starts the build and gives its log line by line.
    pub fn start_run(&self, more: &[&str]) -> Running {
        Running::new(&mut self.command(&Self::run_arguments(more)))
    }

    /// A record of the last build's workspace.
    pub fn record(&self, name: &str) -> Value {
        let path = self.workspace().join(".serin").join(name);
        let text = fs::read_to_string(&path)
            .unwrap_or_else(|e| panic!("{} cannot be read: {e}", path.display()));
        serde_json::from_str(&text).unwrap()
    }

    pub fn has_record(&self, name: &str) -> bool {
        self.workspace().join(".serin").join(name).exists()
    }

    /// The processes that run this project's program, as `PID command line`.
    pub fn processes(&self) -> Vec<String> {
        let program = self.folder.path().join("serin");
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let exe = fs::read_link(entry.path().join("exe")).unwrap_or_default();
            if exe == program {
                let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
                let line = String::from_utf8_lossy(&line).replace('\0', " ");
                found.push(format!("{} {line}", entry.file_name().to_string_lossy()));
            }
        }
        found
    }

    /// Waits until none of the project's processes is left, for a moment at most.
    pub fn assert_no_process_left(&self) {
        let end = Instant::now() + Duration::from_secs(5);
        loop {
            let left = self.processes();
            if left.is_empty() {
                return;
            }
            assert!(Instant::now() < end, "left behind: {left:#?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// A command that runs, with what it has printed so far on both streams.
pub struct Running {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Running {
    pub fn new(command: &mut Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let streams: [Box<dyn std::io::Read + Send>; 2] = [
            Box::new(child.stdout.take().unwrap()),
            Box::new(child.stderr.take().unwrap()),
        ];
        for stream in streams {
            let lines = lines.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    lines.lock().unwrap().push(line);
                }
            });
        }
        Self { child, lines }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn text(&self) -> String {
        self.lines.lock().unwrap().join("\n")
    }

    /// Waits for a line that holds `part`, and gives it.
    pub fn wait_for(&self, part: &str) -> String {
        let end = Instant::now() + Duration::from_secs(120);
        loop {
            let found = self
                .lines
                .lock()
                .unwrap()
                .iter()
                .find(|l| l.contains(part))
                .cloned();
            if let Some(line) = found {
                return line;
            }
            assert!(
                Instant::now() < end,
                "no line holds `{part}` in:\n{}",
                self.text()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let id = rustix::process::Pid::from_raw(i32::try_from(self.id()).unwrap()).unwrap();
        rustix::process::kill_process(id, signal).unwrap();
    }

    /// Whether it has ended.
    pub fn is_over(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits for the end and gives the exit code; `None` after a signal.
    pub fn wait(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// How a command ended that was run to its end.
pub fn ended(output: Output) -> Ended {
    Ended {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

impl Ended {
    /// Fails with both streams where the exit code is another.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(
            self.code,
            Some(code),
            "\n--- stdout\n{}\n--- stderr\n{}",
            self.stdout,
            self.stderr
        );
        self
    }

    #[track_caller]
    pub fn says(self, part: &str) -> Self {
        assert!(
            self.stdout.contains(part) || self.stderr.contains(part),
            "nothing says `{part}`\n--- stdout\n{}\n--- stderr\n{}",
            self.stdout,
            self.stderr
        );
        self
    }
}

/// Sends a request as it is written, and gives the answer's head and body.
pub fn exchange(address: &str, request: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    let most = Some(Duration::from_secs(60));
    stream.set_read_timeout(most).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

pub fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        if entry.file_name() == ".serin" {
            continue;
        } else if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
