//! A proxy before the emulator that troubles one request of a process: before it takes effect, or after.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It is answered with 503.
    Refused,
    /// The connection breaks off.
    Broken,
    /// No answer comes, for as long as the client waits; or until it is killed.
    Silent,
}

/// What happens to a request, and whether it has taken effect then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fate {
    pub trouble: Trouble,
    pub takes_effect: bool,
}

impl Fate {
    /// All there are.
    pub fn all() -> Vec<Self> {
        let troubles = [Trouble::Refused, Trouble::Broken, Trouble::Silent];
        let both = |trouble| {
            [false, true].map(|takes_effect| Self {
                trouble,
                takes_effect,
            })
        };
        troubles.into_iter().flat_map(both).collect()
    }
}

/// A proxy that ends with the test.
pub struct Proxy {
    pub url: String,
    shared: Arc<Shared>,
}

struct Shared {
    /// The server's `host:port`.
    server: String,
    /// Which request is troubled, counted from 0.
    nth: usize,
    fate: Fate,
    reached: AtomicBool,
    /// As in `GET /storage/v1/b`.
    asked: Mutex<Vec<String>>,
}

impl Proxy {
    /// Before the server at a URL.
    pub fn before(url: &str, nth: usize, fate: Fate) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let shared = Arc::new(Shared {
            server: url.trim_start_matches("http://").to_owned(),
            nth,
            fate,
            reached: AtomicBool::new(false),
            asked: Mutex::default(),
        });
        let proxy = Self {
            url: format!("http://{}", listener.local_addr().unwrap()),
            shared: shared.clone(),
        };
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let shared = shared.clone();
                // A process that is killed breaks its connections off.
                std::thread::spawn(move || drop(serve(stream, &shared)));
            }
        });
        proxy
    }

    /// Whether the request that is to be troubled has come, and taken effect where it was to.
    pub fn was_reached(&self) -> bool {
        self.shared.reached.load(Ordering::SeqCst)
    }

    /// Waits until the request has come, or something else is the case.
    pub fn wait_for(&self, mut or: impl FnMut() -> bool) {
        let end = Instant::now() + Duration::from_secs(60);
        while !self.was_reached() && !or() {
            assert!(Instant::now() < end, "{:?}", self.asked());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// What was asked, as in `GET /storage/v1/b`.
    pub fn asked(&self) -> Vec<String> {
        self.shared.asked.lock().unwrap().clone()
    }
}

/// Serves one request of a connection, and closes it.
fn serve(stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let Some((head, body)) = read(&mut reader)? else {
        return Ok(());
    };
    let mut stream = reader.into_inner();
    let n = {
        let mut asked = shared.asked.lock().unwrap();
        let first = head.lines().next().unwrap_or_default();
        let words: Vec<&str> = first.split(' ').take(2).collect();
        asked.push(words.join(" "));
        asked.len() - 1
    };
    if n != shared.nth {
        stream.write_all(&pass(shared, &head, &body)?)?;
        return stream.shutdown(Shutdown::Write);
    }
    if shared.fate.takes_effect {
        pass(shared, &head, &body)?;
    }
    shared.reached.store(true, Ordering::SeqCst);
    match shared.fate.trouble {
        Trouble::Refused => {
            let body = r#"{"error":{"code":503,"message":"troubled","status":"UNAVAILABLE"}}"#;
            let length = body.len();
            let answer = format!(
                "HTTP/1.1 503 X\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            );
            stream.write_all(answer.as_bytes())
        }
        Trouble::Broken => Ok(()),
        // Until the client has had enough.
        Trouble::Silent => stream.read(&mut [0; 1]).map(drop),
    }
}

/// The server's answer as it comes, headers and all.
fn pass(shared: &Shared, head: &str, body: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut server = TcpStream::connect(&shared.server)?;
    let kept = head
        .lines()
        .filter(|line| !line.to_ascii_lowercase().starts_with("connection:"));
    let head: String = kept.map(|line| format!("{line}\r\n")).collect();
    server.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes())?;
    server.write_all(body)?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer)?;
    Ok(answer)
}

/// The head of a request, without its empty line, and the body; nothing where the connection is closed.
fn read(stream: &mut BufReader<TcpStream>) -> std::io::Result<Option<(String, Vec<u8>)>> {
    let mut head = String::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        if line.trim_end().is_empty() {
            break;
        }
        head.push_str(&line);
    }
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        let is_it = name.eq_ignore_ascii_case("content-length");
        is_it.then(|| value.trim().parse().ok()).flatten()
    });
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body)?;
    Ok(Some((head, body)))
}
