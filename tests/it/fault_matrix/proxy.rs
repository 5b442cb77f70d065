//! A proxy before the emulator that lets one request of a step fail, or its process be killed there.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How one request fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// Answered with 503, and not passed on.
    Unavailable,
    /// Answered with 429, and not passed on.
    TooMany,
    /// Passed on, and its connection closed without an answer.
    Reset,
    /// Neither passed on nor answered.
    TimeOut,
    /// Answered with 503, and passed on a while later.
    LateSuccess,
    /// Passed on, and half of the answer given.
    CutBody,
    /// The process is killed, and the request not passed on.
    KillBefore,
    /// The request is passed on, and the process killed.
    KillAfter,
}

pub const FAULTS: [Fault; 8] = [
    Fault::Unavailable,
    Fault::TooMany,
    Fault::Reset,
    Fault::TimeOut,
    Fault::LateSuccess,
    Fault::CutBody,
    Fault::KillBefore,
    Fault::KillAfter,
];

impl Fault {
    pub fn word(self) -> &'static str {
        match self {
            Self::Unavailable => "503",
            Self::TooMany => "429",
            Self::Reset => "done, and the connection reset",
            Self::TimeOut => "time-out",
            Self::LateSuccess => "503, and done later",
            Self::CutBody => "done, and the answer cut",
            Self::KillBefore => "`kill -9` before",
            Self::KillAfter => "`kill -9` after",
        }
    }
}

/// A request that was given up is done so much later: some minutes of the rollout's clock.
const LATER: Duration = Duration::from_millis(300);

pub struct Proxy {
    url: String,
    shared: Arc<Shared>,
}

struct Shared {
    server: String,
    fault: Option<(Fault, usize)>,
    asked: Mutex<Vec<String>>,
    /// The process that is killed; 0 until it is known.
    id: AtomicU32,
    killed: AtomicBool,
}

pub fn kill(id: u32) {
    let id = rustix::process::Pid::from_raw(i32::try_from(id).unwrap()).unwrap();
    // It may have ended.
    let _gone = rustix::process::kill_process(id, rustix::process::Signal::KILL);
}

impl Proxy {
    /// Before a server, with the fault at the request of this number from 0.
    pub fn start(server: &str, fault: Option<(Fault, usize)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared {
            server: server.trim_start_matches("http://").to_owned(),
            fault,
            asked: Mutex::default(),
            id: AtomicU32::new(0),
            killed: AtomicBool::new(false),
        });
        let proxy = Self {
            url,
            shared: shared.clone(),
        };
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let shared = shared.clone();
                std::thread::spawn(move || serve(stream, &shared));
            }
        });
        proxy
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// Which process is killed.
    pub fn kills(&self, id: u32) {
        self.shared.id.store(id, Ordering::SeqCst);
    }

    pub fn killed(&self) -> bool {
        self.shared.killed.load(Ordering::SeqCst)
    }

    /// The requests in order but for predictions, each as its method and path.
    pub fn asked(&self) -> Vec<String> {
        self.shared.asked.lock().unwrap().clone()
    }

    /// The request that the fault was at.
    pub fn hit(&self) -> String {
        let at = self.shared.fault.map_or(0, |(_, at)| at);
        let asked = self.asked();
        asked
            .get(at)
            .map_or_else(|| "none".to_owned(), |hit| pattern(hit))
    }
}

/// A request without what differs from run to run.
fn pattern(asked: &str) -> String {
    let (path, query) = asked.split_once('?').unwrap_or((asked, ""));
    let mut segments: Vec<String> = path.split('/').map(str::to_owned).collect();
    for segment in &mut segments {
        if segment.len() > 6 && segment.bytes().all(|b| b.is_ascii_digit()) {
            *segment = "N".into();
        }
    }
    let path = segments.join("/");
    let kept = query
        .split('&')
        .find(|part| part.starts_with("updateMask") || part.starts_with("name="));
    kept.map_or_else(|| path.clone(), |kept| format!("{path}?{kept}"))
}

struct Asked {
    line: String,
    bytes: Vec<u8>,
}

fn serve(stream: TcpStream, shared: &Shared) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let Some(asked) = read(&mut reader) else {
        return;
    };
    // Rows of the test part that a step sends along are clients' requests, and judged as such.
    if asked.line.ends_with(":predict") {
        give(&stream, &pass(shared, &asked));
        let _ended = stream.shutdown(Shutdown::Both);
        return;
    }
    let number = {
        let mut all = shared.asked.lock().unwrap();
        all.push(asked.line.clone());
        all.len() - 1
    };
    let fault = shared
        .fault
        .filter(|(_, at)| *at == number)
        .map(|(fault, _)| fault);
    let refuse = |code: u16, status: &str| {
        let body =
            format!(r#"{{"error":{{"code":{code},"message":"a fault","status":"{status}"}}}}"#);
        let head = format!(
            "HTTP/1.1 {code} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        give(&stream, (head + &body).as_bytes());
    };
    match fault {
        None => give(&stream, &pass(shared, &asked)),
        Some(Fault::Unavailable) => refuse(503, "UNAVAILABLE"),
        Some(Fault::TooMany) => refuse(429, "RESOURCE_EXHAUSTED"),
        Some(Fault::Reset) => {
            pass(shared, &asked);
        }
        Some(Fault::TimeOut) => {
            // Until the client gives up.
            let _ended = reader.read(&mut [0]);
        }
        Some(Fault::LateSuccess) => {
            refuse(503, "UNAVAILABLE");
            let _ended = stream.shutdown(Shutdown::Both);
            std::thread::sleep(LATER);
            pass(shared, &asked);
        }
        Some(Fault::CutBody) => {
            let answer = pass(shared, &asked);
            let head = answer
                .windows(4)
                .position(|four| four == b"\r\n\r\n")
                .map_or(0, |at| at + 4);
            give(&stream, &answer[..head + (answer.len() - head) / 2]);
        }
        Some(Fault::KillBefore) => end(shared),
        Some(Fault::KillAfter) => {
            pass(shared, &asked);
            end(shared);
        }
    }
    let _ended = stream.shutdown(Shutdown::Both);
}

fn end(shared: &Shared) {
    shared.killed.store(true, Ordering::SeqCst);
    loop {
        match shared.id.load(Ordering::SeqCst) {
            0 => std::thread::sleep(Duration::from_millis(1)),
            id => return kill(id),
        }
    }
}

fn give(mut stream: &TcpStream, bytes: &[u8]) {
    // The client may be gone.
    let _written = stream.write_all(bytes);
}

/// The server's answer, whole.
fn pass(shared: &Shared, asked: &Asked) -> Vec<u8> {
    let mut answer = Vec::new();
    let Ok(mut server) = TcpStream::connect(&shared.server) else {
        return answer;
    };
    if server.write_all(&asked.bytes).is_ok() {
        let _read = server.read_to_end(&mut answer);
    }
    answer
}

/// A request as it is sent on: its connection ends with the answer.
fn read(stream: &mut BufReader<TcpStream>) -> Option<Asked> {
    let mut head = Vec::new();
    let mut length = 0;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let lower = line.to_ascii_lowercase();
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        assert!(
            !lower.starts_with("transfer-encoding:"),
            "bodies have their length"
        );
        if line.trim_end().is_empty() {
            break;
        }
        if !lower.starts_with("connection:") {
            head.push(line);
        }
    }
    let mut first = head.first()?.split(' ');
    let line = format!("{} {}", first.next()?, first.next()?);
    let mut bytes = head.concat().into_bytes();
    bytes.extend(b"Connection: close\r\n\r\n");
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    bytes.extend(body);
    Some(Asked { line, bytes })
}
