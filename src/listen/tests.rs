//! Slow, stalled and greedy clients over real sockets, against small limits.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::extract::State;
use futures_util::future::join_all;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;

use super::*;

/// Nothing that is waited for takes this long, unless it never comes.
const PATIENCE: Duration = Duration::from_secs(60);
/// Longer than any test.
const NEVER: Duration = Duration::from_secs(600);
/// More than the system's buffers hold.
const LARGE: usize = 64 << 20;

fn limits() -> Limits {
    Limits {
        connections: 16,
        reserve: 4,
        head: NEVER,
        idle: NEVER,
        pause: NEVER,
        bytes_a_second: 1 << 20,
    }
}

struct Running {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    server: JoinHandle<()>,
    app: Arc<App>,
}

/// What the handlers of the test share.
#[derive(Default)]
struct App {
    go_on: Notify,
    under_way: AtomicUsize,
}

/// `/health`, `/echo`, `/large` without end in sight, and `/wait` until it may go on.
async fn handle(State(app): State<Arc<App>>, request: Request<Body>) -> Response {
    let path = request.uri().path().to_owned();
    app.under_way.fetch_add(1, Ordering::SeqCst);
    let answer = match path.as_str() {
        "/large" => Response::new(Body::from(vec![b'x'; LARGE])),
        "/wait" => {
            app.go_on.notified().await;
            Response::new(Body::from("waited"))
        }
        "/echo" => match axum::body::to_bytes(request.into_body(), LARGE).await {
            Ok(bytes) => Response::new(Body::from(bytes)),
            Err(e) => refusal(StatusCode::BAD_REQUEST, &e.to_string()),
        },
        _ => Response::new(Body::from("healthy")),
    };
    app.under_way.fetch_sub(1, Ordering::SeqCst);
    answer
}

async fn start(limits: Limits) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = Arc::new(App::default());
    let router = Router::new().fallback(handle).with_state(app.clone());
    let (stop, stopped) = oneshot::channel();
    let stopped = async {
        let _ = stopped.await;
    };
    let server = tokio::spawn(async move {
        serve(listener, router, limits, "/health", stopped).await;
    });
    Running {
        address,
        stop: Some(stop),
        server,
        app,
    }
}

impl Running {
    async fn send(&self, text: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        stream
    }

    /// Status and body of an answer on a connection of its own.
    async fn get(&self, path: &str) -> (u16, String) {
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        let answer = end(self.send(&request).await).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (status(head), body.to_owned())
    }

    async fn until_under_way(&self, requests: usize) {
        while self.app.under_way.load(Ordering::SeqCst) != requests {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

fn status(head: &str) -> u16 {
    head.split(' ').nth(1).unwrap().parse().unwrap()
}

/// All that comes until the connection ends; `None` where it is broken off.
async fn end(mut stream: TcpStream) -> Option<String> {
    let mut text = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut text)).await;
    let read = read.expect("the connection ends");
    read.ok()
        .map(|_| String::from_utf8_lossy(&text).into_owned())
}

/// Sends a byte now and then and reads nothing, until the server has closed the connection.
async fn until_broken_off(mut stream: TcpStream) {
    let drip = async {
        while stream.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, drip).await.unwrap();
}

/// One answer with a `content-length`, on a connection that stays.
async fn answer(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    loop {
        let mut piece = [0; 1024];
        let count = stream.read(&mut piece).await.unwrap();
        assert_ne!(count, 0, "the connection ended");
        text.extend_from_slice(&piece[..count]);
        let so_far = String::from_utf8_lossy(&text).into_owned();
        if let Some((head, body)) = so_far.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|l| l.strip_prefix("content-length: "));
            if body.len() == length.unwrap().parse::<usize>().unwrap() {
                return so_far;
            }
        }
    }
}

const KEPT: &str = "GET /health HTTP/1.1\r\nhost: x\r\n\r\n";

#[tokio::test]
async fn half_sent_heads_never_keep_others_out_and_are_ended() {
    let short = Limits {
        head: Duration::from_millis(300),
        ..limits()
    };
    let running = start(short).await;
    let mut half_open = Vec::new();
    for i in 0..1000 {
        let sent = if i % 2 == 0 { "GET /hea" } else { "" };
        half_open.push(running.send(sent).await);
        if i % 50 == 0 {
            assert_eq!(running.get("/health").await, (200, "healthy".to_owned()));
        }
    }
    // Those that did not have to make room are ended by the limit.
    join_all(half_open.into_iter().map(end)).await;
}

#[tokio::test]
async fn connections_between_two_requests_make_room_and_have_their_own_limit() {
    let running = start(limits()).await;
    let mut kept = Vec::new();
    for _ in 0..200 {
        let mut stream = running.send(KEPT).await;
        assert_eq!(status(&answer(&mut stream).await), 200);
        kept.push(stream);
    }
    assert_eq!(running.get("/health").await.0, 200);
    // The newest is still there.
    let mut newest = kept.pop().unwrap();
    newest.write_all(KEPT.as_bytes()).await.unwrap();
    assert_eq!(status(&answer(&mut newest).await), 200);
    end(kept.swap_remove(0)).await;

    let brief = Limits {
        idle: Duration::from_millis(50),
        ..limits()
    };
    let running = start(brief).await;
    let mut stream = running.send(KEPT).await;
    answer(&mut stream).await;
    assert_eq!(end(stream).await.unwrap(), "");
}

#[tokio::test]
async fn a_body_that_stops_or_drips_is_told_so() {
    let short = Limits {
        pause: Duration::from_millis(200),
        ..limits()
    };
    let running = start(short).await;
    let head = "POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n";
    let stopped = end(running.send(&format!("{head}half")).await)
        .await
        .unwrap();
    assert!(stopped.starts_with("HTTP/1.1 408 "), "{stopped}");
    assert!(stopped.contains("connection: close"), "{stopped}");
    let body: Value = serde_json::from_str(stopped.split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!(body["error"]["code"], 408);
    assert_eq!(body["error"]["status"], "DEADLINE_EXCEEDED");

    let length = head.replace(": 9", ": 100000");
    until_broken_off(running.send(&length).await).await;

    let mut whole = running.send(&format!("{head}123456789")).await;
    assert!(answer(&mut whole).await.ends_with("\r\n\r\n123456789"));
}

#[tokio::test]
async fn a_client_that_does_not_read_its_answer_is_closed() {
    let short = Limits {
        pause: Duration::from_millis(200),
        ..limits()
    };
    let running = start(short).await;
    let large = "GET /large HTTP/1.1\r\nhost: x\r\n\r\n";
    let stalled = join_all((0..12).map(|_| running.send(large))).await;
    assert_eq!(running.get("/health").await.0, 200);
    join_all(stalled.into_iter().map(until_broken_off)).await;
    // Every place is free again.
    let answers = join_all((0..12).map(|_| running.get("/echo"))).await;
    assert!(
        answers.iter().all(|(status, _)| *status == 200),
        "{answers:?}"
    );
}

#[tokio::test]
async fn requests_beyond_the_bound_are_to_come_again_and_health_is_answered() {
    let running = start(limits()).await;
    let wait = "GET /wait HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let mut waiting = Vec::new();
    for _ in 0..12 {
        waiting.push(running.send(wait).await);
    }
    running.until_under_way(12).await;
    for _ in 0..20 {
        assert_eq!(running.get("/health").await.0, 200);
    }
    let body = "x".repeat(1_000_000);
    let head = "POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n";
    let refused = end(running.send(&format!("{head}{body}")).await)
        .await
        .unwrap();
    assert!(refused.starts_with("HTTP/1.1 429 "), "{refused}");
    for part in [
        "retry-after: 1",
        "connection: close",
        "RESOURCE_EXHAUSTED",
        "on 12 requests",
    ] {
        assert!(refused.contains(part), "{refused}");
    }
    // Half-sent requests of every kind do not fill the reserve.
    let mut half_sent = Vec::new();
    for _ in 0..50 {
        half_sent.push(running.send(head).await);
        half_sent.push(running.send("POST /ec").await);
        assert_eq!(running.get("/health").await.0, 200);
    }
    running.app.go_on.notify_waiters();
    for stream in waiting {
        assert!(end(stream).await.unwrap().ends_with("waited"));
    }
    assert_eq!(running.get("/echo").await.0, 200);
}

#[tokio::test]
async fn stopping_answers_what_is_under_way_and_waits_for_nobody_else() {
    let mut running = start(limits()).await;
    let mut kept = running.send(KEPT).await;
    answer(&mut kept).await;
    let silent = running.send("").await;
    let half_sent = running.send("GET /hea").await;
    let waiting = running.send("GET /wait HTTP/1.1\r\nhost: x\r\n\r\n").await;
    running.until_under_way(1).await;
    running.stop.take().unwrap().send(()).unwrap();
    assert_eq!(end(kept).await.unwrap(), "");
    end(silent).await;
    end(half_sent).await;
    running.app.go_on.notify_one();
    assert!(end(waiting).await.unwrap().ends_with("waited"));
    tokio::time::timeout(PATIENCE, running.server)
        .await
        .unwrap()
        .unwrap();
    assert!(TcpStream::connect(running.address).await.is_err());
}

#[tokio::test]
async fn a_head_without_end_is_refused() {
    let running = start(limits()).await;
    let head = format!(
        "GET /health HTTP/1.1\r\nhost: x\r\nx: {}",
        "x".repeat(2 * BUFFER_BYTES)
    );
    // Broken off before or after the client had the 431.
    if let Some(text) = end(running.send(&head).await).await {
        assert!(text.starts_with("HTTP/1.1 431 "), "{text}");
    }
    assert_eq!(running.get("/health").await.0, 200);
}

#[test]
fn the_bounds_fit_into_the_descriptors() {
    for (descriptors, each) in [(64, 1), (128, 1), (1024, 1), (1024, 3), (1 << 20, 3)] {
        let limits = Limits::of_descriptors(descriptors, each);
        let taken = limits.connections as u64 * each + OWN_DESCRIPTORS;
        assert!(taken <= descriptors, "{descriptors}: {limits:?}");
        assert!(limits.reserve * 2 < limits.connections, "{limits:?}");
    }
}
