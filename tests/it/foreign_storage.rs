//! serin's storage client against fake-gcs-server, a Cloud Storage that others wrote.
//!
//! A go-between makes the connection as bad as one over the internet can be. Where the server differs
//! from Google it says so here, and the client is left as Google needs it.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serin::clock::{Clock, Timestamp};
use serin::gcp::{Client, Precondition, Storage};
use serin::workspace::Digest;

/// The server and the go-between, or nothing where the test command has not prepared it.
struct Foreign {
    server: Child,
    between: Between,
    storage: Storage,
}

impl Drop for Foreign {
    fn drop(&mut self) {
        let _ended = self.server.kill();
        let _reaped = self.server.wait();
    }
}

impl Foreign {
    /// With `CI=true` it must be there.
    async fn start() -> Option<Self> {
        let Some(program) = std::env::var_os("SERIN_FAKE_GCS") else {
            assert!(
                std::env::var("CI").as_deref() != Ok("true"),
                "SERIN_FAKE_GCS is not set"
            );
            eprintln!("SKIPPED: fake-gcs-server needs SERIN_FAKE_GCS, which `.ci/test` sets");
            return None;
        };
        let between = Between::new();
        let (server, address) = loop {
            if let Some(started) = serve(Path::new(&program), &between.url) {
                break started;
            }
        };
        between.forward_to(address);
        let clock = Clock::starting_at(Timestamp::real_now(), 1000);
        let url = between.url.clone();
        let client = Client::from_variables(clock, |name| {
            (name == "STORAGE_EMULATOR_HOST").then(|| url.clone())
        });
        let storage = Storage::new(&client.unwrap());
        storage.buckets_insert("p", "bucket", "US").await.unwrap();
        Some(Self {
            server,
            between,
            storage,
        })
    }
}

/// The server on a port that is free; `None` where somebody else took it meanwhile.
fn serve(program: &Path, url: &str) -> Option<(Child, String)> {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let mut server = Command::new(program)
        .args([
            "-scheme",
            "http",
            "-backend",
            "memory",
            "-log-level",
            "error",
        ])
        .args(["-host", "127.0.0.1", "-port", &address.port().to_string()])
        .args(["-external-url", url])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let end = Instant::now() + Duration::from_secs(30);
    while TcpStream::connect(address).is_err() {
        if server.try_wait().unwrap().is_some() {
            return None;
        }
        assert!(Instant::now() < end, "fake-gcs-server does not come up");
        std::thread::sleep(Duration::from_millis(10));
    }
    Some((server, address.to_string()))
}

/// What happens to one exchange.
#[derive(Clone, Copy)]
enum Trouble {
    /// So many bytes of the answer's body arrive.
    CutAnswer(usize),
    /// A bit of the answer's last byte is another one.
    Damage,
    /// So many bytes of the request's body arrive at the server, and no answer comes back.
    CutRequest(usize),
    /// The request is carried out, and no answer comes back.
    LoseAnswer,
}

/// Passes requests on, each over connections of its own.
struct Between {
    url: String,
    server: Arc<Mutex<String>>,
    /// What happens to the next request whose first line holds a text.
    troubles: Arc<Mutex<VecDeque<(&'static str, Trouble)>>>,
    /// The heads of all requests.
    heads: Arc<Mutex<Vec<String>>>,
}

impl Between {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let between = Self {
            url: format!("http://{}", listener.local_addr().unwrap()),
            server: Arc::default(),
            troubles: Arc::default(),
            heads: Arc::default(),
        };
        let (server, troubles) = (between.server.clone(), between.troubles.clone());
        let heads = between.heads.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (server, troubles) = (server.clone(), troubles.clone());
                let heads = heads.clone();
                std::thread::spawn(move || {
                    let address = server.lock().unwrap().clone();
                    // A connection that breaks is what this is about.
                    let _broken = pass(client, &address, &troubles, &heads);
                });
            }
        });
        between
    }

    fn forward_to(&self, address: String) {
        *self.server.lock().unwrap() = address;
    }

    fn trouble(&self, line: &'static str, trouble: Trouble) {
        self.troubles.lock().unwrap().push_back((line, trouble));
    }

    /// The heads of the requests whose first line holds a text.
    fn heads(&self, line: &str) -> Vec<String> {
        let heads = self.heads.lock().unwrap();
        let held = heads.iter().filter(|head| {
            head.lines()
                .next()
                .is_some_and(|first| first.contains(line))
        });
        held.cloned().collect()
    }

    /// Every trouble was met.
    fn assert_met(&self) {
        assert!(self.troubles.lock().unwrap().is_empty());
    }
}

fn pass(
    client: TcpStream,
    address: &str,
    troubles: &Mutex<VecDeque<(&'static str, Trouble)>>,
    heads: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let mut answering = client.try_clone()?;
    let mut client = BufReader::new(client);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if client.read_line(&mut head)? == 0 {
            return Ok(());
        }
    }
    heads.lock().unwrap().push(head.clone());
    let line = head.lines().next().unwrap_or_default().to_owned();
    let trouble = {
        let mut troubles = troubles.lock().unwrap();
        let at = troubles.iter().position(|(text, _)| line.contains(text));
        at.and_then(|at| troubles.remove(at))
            .map(|(_, trouble)| trouble)
    };
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.parse::<u64>().unwrap())
    });
    let mut server = TcpStream::connect(address)?;
    // Google pages a list by itself; this server does where it is asked to.
    let head = head.replacen("o?prefix=", "o?maxResults=3&prefix=", 1);
    let head = head.replacen("\r\n", "\r\nConnection: close\r\n", 1);
    server.write_all(head.as_bytes())?;
    let mut body = client.take(length.unwrap_or(0));
    if let Some(Trouble::CutRequest(bytes)) = trouble {
        std::io::copy(&mut body.take(bytes as u64), &mut server)?;
        return answering.shutdown(std::net::Shutdown::Both);
    }
    std::io::copy(&mut body, &mut server)?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer)?;
    let body = answer.windows(4).position(|end| end == b"\r\n\r\n");
    let body = body.map_or(answer.len(), |at| at + 4);
    match trouble {
        Some(Trouble::CutAnswer(bytes)) => answer.truncate(body + bytes),
        Some(Trouble::Damage) => *answer.last_mut().unwrap() ^= 1,
        Some(Trouble::LoseAnswer) => answer.clear(),
        _ => {}
    }
    answering.write_all(&answer)?;
    answering.shutdown(std::net::Shutdown::Both)
}

fn large() -> Vec<u8> {
    (0..20_000_000_u32).map(|n| (n % 251) as u8).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn small_objects_are_written_and_read() {
    let Some(foreign) = Foreign::start().await else {
        return;
    };
    let storage = &foreign.storage;
    assert!(storage.buckets_get("bucket").await.unwrap().is_some());
    assert!(storage.buckets_get("no-bucket").await.unwrap().is_none());
    let name = "a folder/ä?#%.txt";
    let insert = async |text: &'static str, pre| {
        let bytes = bytes::Bytes::from_static(text.as_bytes());
        let made = storage.objects_insert("bucket", name, "text/plain", bytes, pre);
        made.await
    };
    let first = insert("one", Precondition::Absent).await.unwrap();
    assert_eq!((first.name.as_str(), first.size), (name, 3));
    assert!(!first.crc32c.is_empty());
    let (found, bytes) = storage.objects_read("bucket", name).await.unwrap().unwrap();
    assert_eq!(
        (&bytes[..], found.generation),
        (&b"one"[..], first.generation)
    );
    assert_eq!(
        storage.objects_get("bucket", name).await.unwrap().unwrap(),
        first
    );

    let refused = insert("two", Precondition::Absent).await.unwrap_err();
    assert!(refused.is_conflict(), "{refused}");
    let stale = Precondition::Generation(first.generation - 1);
    let refused = insert("two", stale).await.unwrap_err();
    assert!(refused.is_conflict(), "{refused}");
    let now = Precondition::Generation(first.generation);
    let second = insert("two", now).await.unwrap();
    assert!(second.generation > first.generation);

    let name = "another folder/ä?#%.txt";
    assert!(storage.objects_get("bucket", name).await.unwrap().is_none());
    assert!(
        storage
            .objects_read("bucket", name)
            .await
            .unwrap()
            .is_none()
    );
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let missing = storage.objects_download("bucket", name, &path).await;
    assert!(missing.unwrap_err().is_not_found());
    assert!(!path.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_read_over_all_its_pages() {
    let Some(foreign) = Foreign::start().await else {
        return;
    };
    for n in 0..10 {
        for folder in ["in", "other"] {
            let name = format!("{folder}/{n}");
            let made = foreign.storage.objects_insert(
                "bucket",
                &name,
                "text/plain",
                name.clone().into(),
                Precondition::Absent,
            );
            made.await.unwrap();
        }
    }
    let found = foreign.storage.objects_list("bucket", "in/").await.unwrap();
    let names: Vec<String> = found.into_iter().map(|object| object.name).collect();
    let expected: Vec<String> = (0..10).map(|n| format!("in/{n}")).collect();
    assert_eq!(names, expected);
    assert_eq!(foreign.between.heads("prefix=").len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_file_goes_up_in_chunks_and_comes_down_whole() {
    let Some(foreign) = Foreign::start().await else {
        return;
    };
    let (storage, between) = (&foreign.storage, &foreign.between);
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    std::fs::write(&from, large()).unwrap();
    let digest = Digest::of(&large());
    let upload = async |name, pre| {
        let kind = "application/octet-stream";
        let made = storage.objects_insert_file("bucket", name, kind, &from, pre);
        made.await
    };
    let made = upload("large", Precondition::Absent).await.unwrap();
    assert_eq!(made.size, 20_000_000);
    assert_eq!(between.heads("PUT ").len(), 3);
    let got = storage.objects_download("bucket", "large", &to).await;
    assert_eq!(got.unwrap(), digest);

    // Broken in the middle, the download goes on from there, with a range of the same generation.
    between.trouble("alt=media", Trouble::CutAnswer(5_000_000));
    std::fs::remove_file(&to).unwrap();
    let got = storage.objects_download("bucket", "large", &to).await;
    assert_eq!(got.unwrap(), digest);
    let last = between.heads("alt=media").pop().unwrap().to_lowercase();
    assert!(
        last.contains(&format!("generation={}", made.generation)),
        "{last}"
    );
    assert!(last.contains("range: bytes="), "{last}");
    assert!(!last.contains("range: bytes=0-"), "{last}");

    // Damaged on the way, it is read again.
    between.trouble("alt=media", Trouble::Damage);
    let got = storage.objects_download("bucket", "large", &to).await;
    assert_eq!(got.unwrap(), digest);
    assert_eq!(Digest::of_file(&to).unwrap(), digest);
    between.assert_met();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_upload_goes_on() {
    let Some(foreign) = Foreign::start().await else {
        return;
    };
    let (storage, between) = (&foreign.storage, &foreign.between);
    let folder = tempfile::tempdir().unwrap();
    let from = folder.path().join("from");
    std::fs::write(&from, large()).unwrap();
    for trouble in [Trouble::CutRequest(3_000_000), Trouble::LoseAnswer] {
        for line in ["uploadType=resumable", "upload_id="] {
            between.trouble(line, trouble);
        }
    }
    let kind = "application/octet-stream";
    let pre = Precondition::Absent;
    let made = storage.objects_insert_file("bucket", "large", kind, &from, pre);
    made.await.unwrap();
    between.assert_met();
    let to = folder.path().join("to");
    let got = storage.objects_download("bucket", "large", &to).await;
    assert_eq!(got.unwrap(), Digest::of(&large()));
}
