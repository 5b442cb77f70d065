//! Measures `serin emulate` beside fake-gcs-server, and `serin run --check`; prints a table.
//!
//! `cargo bench --bench emulator`, with `SERIN_FAKE_GCS` naming the server that `.ci/test` installs
//! (without it serin is measured alone). Both get their requests from curl and keep their state on
//! the disk of `target/`. `SERIN_BENCH_MIB` is the object's size, 1024 unless told. Every number but
//! the starts' is the best of three, since whatever else runs only makes a run slower.

#![allow(clippy::unwrap_used, reason = "a bench that cannot measure may panic")]

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const SERIN: &str = env!("CARGO_BIN_EXE_serin");
const CHUNK_BYTES: u64 = 16 << 20;
const STARTS: usize = 20;
const RUNS: usize = 3;
/// `--check` gets so many files at least.
const CONFIGS: usize = 600;

fn main() {
    let folder = tempfile::Builder::new()
        .prefix("bench-")
        .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
        .unwrap();
    let mib: u64 = std::env::var("SERIN_BENCH_MIB").map_or(1024, |text| text.parse().unwrap());
    let input = Input::write(folder.path(), mib << 20);
    let mut programs = vec![Program::Serin];
    match std::env::var_os("SERIN_FAKE_GCS") {
        Some(path) => programs.push(Program::FakeGcs(path.into())),
        None => println!("SERIN_FAKE_GCS is not set: serin is measured alone"),
    }
    print!(
        "{:<44}",
        format!("{mib} MiB, chunks of {} MiB", CHUNK_BYTES >> 20)
    );
    for program in &programs {
        print!("{:>18}", program.name());
    }
    println!();
    for (name, cells) in measure(&programs, folder.path(), &input) {
        print!("{name:<44}");
        cells.iter().for_each(|cell| print!("{cell:>18}"));
        println!();
    }
    let (files, time) = check();
    let rate = files as f64 / time.as_secs_f64();
    println!(
        "{:<44}{rate:>10.0} a second ({files} files in {time:.0?})",
        "serin run --check"
    );
}

/// The object's bytes, in one file and in chunks.
struct Input {
    whole: PathBuf,
    chunks: Vec<PathBuf>,
    bytes: u64,
}

impl Input {
    fn write(folder: &Path, bytes: u64) -> Self {
        let whole = folder.join("input");
        let mut random = File::open("/dev/urandom").unwrap();
        let mut file = File::create(&whole).unwrap();
        let mut chunks = Vec::new();
        let mut left = bytes;
        while left > 0 {
            let mut chunk = vec![0; usize::try_from(left.min(CHUNK_BYTES)).unwrap()];
            random.read_exact(&mut chunk).unwrap();
            file.write_all(&chunk).unwrap();
            let path = folder.join(format!("input-{}", chunks.len()));
            fs::write(&path, &chunk).unwrap();
            chunks.push(path);
            left -= chunk.len() as u64;
        }
        // What is still to be written must not slow down whoever is measured first.
        file.sync_all().unwrap();
        Self {
            whole,
            chunks,
            bytes,
        }
    }
}

enum Program {
    Serin,
    FakeGcs(PathBuf),
}

impl Program {
    fn name(&self) -> &'static str {
        match self {
            Self::Serin => "serin",
            Self::FakeGcs(_) => "fake-gcs-server",
        }
    }

    fn start(&self, state: &Path) -> Server {
        // Nobody else looks for a port here in the meantime.
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let port = address.port().to_string();
        let url = format!("http://{address}");
        let since = Instant::now();
        let mut command = match self {
            Self::Serin => {
                let mut command = Command::new(SERIN);
                command
                    .args(["emulate", "--port", &port, "--state"])
                    .arg(state);
                command
            }
            Self::FakeGcs(path) => {
                let mut command = Command::new(path);
                command
                    .args(["-scheme", "http", "-host", "127.0.0.1", "-port", &port])
                    .args(["-public-host", &address.to_string(), "-external-url", &url])
                    .args(["-log-level", "error", "-backend", "filesystem"])
                    .arg("-filesystem-root")
                    .arg(state);
                command
            }
        };
        let child = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut server = Server {
            child,
            url,
            started: Duration::ZERO,
        };
        while !answers(&address.to_string()) {
            assert!(server.child.try_wait().unwrap().is_none(), "it has ended");
            std::thread::sleep(Duration::from_micros(200));
        }
        server.started = since.elapsed();
        server
    }
}

/// Whether a list of buckets is answered with 200.
fn answers(address: &str) -> bool {
    let Ok(mut stream) = TcpStream::connect(address) else {
        return false;
    };
    let request = format!(
        "GET /storage/v1/b?project=p HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    );
    let mut answer = String::new();
    stream.write_all(request.as_bytes()).is_ok()
        && stream.read_to_string(&mut answer).is_ok()
        && answer.starts_with("HTTP/1.1 200")
}

struct Server {
    child: Child,
    url: String,
    /// From its start to its first answer.
    started: Duration,
}

impl Server {
    /// The most memory it has had, in MiB.
    fn peak_mib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
        kib.unwrap_or(0) / 1024
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// What is measured by curl, each with a server of its own, so that its memory is told apart.
type Case = (&'static str, fn(&Server, &Input) -> Duration);
const CASES: [Case; 3] = [
    ("upload in one request", upload),
    ("upload, resumable", upload_in_chunks),
    ("download", download),
];

/// The rows of the table, each with a cell for each program.
fn measure(programs: &[Program], folder: &Path, input: &Input) -> Vec<(String, Vec<String>)> {
    let state = |program: &Program, n: usize| folder.join(format!("{}-{n}", program.name()));
    let starts = programs.iter().map(|program| {
        let start = |n| program.start(&state(program, n)).started;
        let mut starts: Vec<Duration> = (0..STARTS).map(start).collect();
        starts.sort();
        format!("{:.1?}", starts[STARTS / 2])
    });
    let mut rows = vec![(
        "start to first answer, median of 20".to_owned(),
        starts.collect(),
    )];
    for (name, run) in CASES {
        let start = |program: &Program| program.start(&state(program, STARTS));
        let servers: Vec<Server> = programs.iter().map(start).collect();
        servers.iter().for_each(make_bucket);
        let mut best = vec![Duration::MAX; servers.len()];
        // In turns, so that what else this machine does meets all of them.
        for _ in 0..RUNS {
            for (server, best) in servers.iter().zip(&mut best) {
                *best = (*best).min(run(server, input));
            }
        }
        let mib = (input.bytes >> 20) as f64;
        let rate = |time: &Duration| format!("{:.0} MiB/s", mib / time.as_secs_f64());
        rows.push((name.to_owned(), best.iter().map(rate).collect()));
        let peak = |server: &Server| format!("{} MiB", server.peak_mib());
        rows.push((
            format!("{name}: peak memory"),
            servers.iter().map(peak).collect(),
        ));
    }
    rows
}

/// Runs curl and gives the seconds it took; what it writes to its output is the codes of the answers.
fn curl(arguments: &[&str]) -> (Duration, String) {
    let since = Instant::now();
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--write-out", "%{http_code} "])
        .args(arguments)
        .output()
        .expect("curl is installed");
    let time = since.elapsed();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    (time, String::from_utf8(output.stdout).unwrap())
}

fn make_bucket(server: &Server) {
    let url = format!("{}/storage/v1/b?project=p", server.url);
    let json = "content-type: application/json";
    let body = r#"{"name": "bench"}"#;
    // There may be one from the run before.
    curl(&[
        "--output",
        "/dev/null",
        "--header",
        json,
        "--data",
        body,
        &url,
    ]);
}

fn upload(server: &Server, input: &Input) -> Duration {
    let url = format!(
        "{}/upload/storage/v1/b/bench/o?uploadType=media&name=x",
        server.url
    );
    let file = input.whole.to_str().unwrap();
    let (time, codes) = curl(&[
        "--request",
        "POST",
        "--header",
        "Expect:",
        "--output",
        "/dev/null",
        "--upload-file",
        file,
        &url,
    ]);
    assert_eq!(codes, "200 ");
    time
}

/// All chunks by one curl, over one connection.
fn upload_in_chunks(server: &Server, input: &Input) -> Duration {
    let url = format!(
        "{}/upload/storage/v1/b/bench/o?uploadType=resumable&name=y",
        server.url
    );
    let (_, head) = curl(&[
        "--request",
        "POST",
        "--data",
        "",
        "--dump-header",
        "-",
        "--output",
        "/dev/null",
        &url,
    ]);
    let session = head
        .lines()
        .find_map(|line| {
            line.split_once(": ")
                .filter(|(name, _)| name.eq_ignore_ascii_case("location"))
        })
        .map(|(_, uri)| uri.trim().to_owned())
        .expect("a session");
    let mut requests = String::new();
    let mut first = 0;
    for chunk in &input.chunks {
        let last = first + fs::metadata(chunk).unwrap().len() - 1;
        let line = format!(
            "url = \"{session}\"\nrequest = PUT\nheader = \"Expect:\"\noutput = /dev/null\n\
             header = \"Content-Range: bytes {first}-{last}/{}\"\nupload-file = \"{}\"\n\
             silent\nwrite-out = \"%{{http_code}} \"\nnext\n",
            input.bytes,
            chunk.display()
        );
        requests.push_str(&line);
        first = last + 1;
    }
    let config = input.whole.with_extension("curl");
    fs::write(&config, requests.trim_end_matches("next\n")).unwrap();
    let (time, codes) = curl(&["--config", config.to_str().unwrap()]);
    assert!(codes.ends_with("200 "), "{codes}");
    time
}

fn download(server: &Server, input: &Input) -> Duration {
    let url = format!("{}/storage/v1/b/bench/o/x?alt=media", server.url);
    let size = "%{http_code} %{size_download}";
    let (time, told) = curl(&["--output", "/dev/null", "--write-out", size, &url]);
    assert_eq!(told, format!("200 {}", input.bytes));
    time
}

/// Checks the corpus again and again in one run; gives the files and the time.
fn check() -> (usize, Duration) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let configs: Vec<PathBuf> = fs::read_dir(corpus)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "yaml"))
        .filter(|path| path.with_extension("build.json").exists())
        .collect();
    let files: Vec<&PathBuf> = configs
        .iter()
        .cycle()
        .take(CONFIGS.max(configs.len()))
        .collect();
    let times = (0..RUNS).map(|_| {
        let since = Instant::now();
        let mut command = Command::new(SERIN);
        command.args(["run", "--check"]).args(&files);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        // A config that needs substitutions of its own is refused, which takes as long.
        let code = command.status().unwrap().code();
        assert!(matches!(code, Some(0 | 2)), "{code:?}");
        since.elapsed()
    });
    (files.len(), times.min().unwrap())
}
