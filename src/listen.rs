//! A server that slow, stalled and greedy clients cannot hold: HTTP/1.1 over a bounded number of connections.
//!
//! - A connection has a time to send a request's head, one between two requests, and a pace for bodies and answers. One that
//!   falls behind is closed, or answered with 408 where its body is what is awaited.
//! - A handler may take as long as it likes; while it works no limit runs.
//! - When every connection is taken, the one that has waited longest without a request makes room: first one between two
//!   requests, then one whose head is half-sent. So there is always room for the next to come.
//! - Requests under way take all but a reserve of the connections. In the reserve the health route is answered, and everything
//!   else with 429.

mod connection;

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::http::{HeaderValue, Request, StatusCode, header};
use axum::response::Response;
use futures_util::StreamExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::Serialize;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;

pub(crate) use connection::Held;
use connection::{Connection, Connections, Entry, Watched};

/// The variable in which the emulator says what stands for the network of a container that it runs: an address of this
/// machine. It is stronger than any argument, as a container's network is.
pub(crate) const CONTAINER_NETWORK_VARIABLE: &str = "SERIN_CONTAINER_NETWORK";

/// Descriptors that a process needs beside those of its connections.
const OWN_DESCRIPTORS: u64 = 32;
/// More descriptors than this are not asked for.
const MOST_DESCRIPTORS: u64 = 2048;
/// More connections than this are not taken: each may fill some 200 KB of buffers.
const MOST_CONNECTIONS: u64 = 1024;
/// The most bytes of a head, and of a connection's buffers each way.
const BUFFER_BYTES: usize = 64 << 10;
/// The most of a refused request's body that is read, so that its client gets to the answer.
const DISCARDED_BYTES: u64 = 4 << 20;
/// For a head that is on its way when the server stops.
const LAST_HEAD: Duration = Duration::from_secs(1);
/// How long accepting rests after the system has refused.
const REST: Duration = Duration::from_millis(50);

/// What clients may take.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    /// Connections at a time.
    pub connections: usize,
    /// How many of them are kept from requests other than for health.
    pub reserve: usize,
    /// For a whole head, from the connection's start or the head's first byte.
    pub head: Duration,
    /// Between an answer and the next request.
    pub idle: Duration,
    /// The longest that a body or the reading of an answer may pause; in total, pauses may take this and what
    /// `bytes_a_second` gives for each byte that came through.
    pub pause: Duration,
    pub bytes_a_second: u32,
}

impl Limits {
    /// For a server of small messages that holds nothing else open and starts no program: its limit of
    /// descriptors is raised as far as it goes.
    pub(crate) fn for_messages() -> Self {
        Self {
            pause: Duration::from_secs(30),
            bytes_a_second: 8 << 10,
            ..Self::of_descriptors(raised(), 1)
        }
    }

    /// For a server of streams, in which a request may hold a file and a connection of its own. The limit of
    /// descriptors stays: programs that it starts would inherit it.
    pub(crate) fn for_streams() -> Self {
        Self::of_descriptors(limit(&getrlimit(Resource::Nofile)), 3)
    }

    /// As many connections as the descriptors suffice for, where each may take `each`.
    fn of_descriptors(descriptors: u64, each: u64) -> Self {
        let connections = descriptors.saturating_sub(OWN_DESCRIPTORS) / each;
        let connections = connections.clamp(8, MOST_CONNECTIONS);
        let connections = usize::try_from(connections).unwrap_or(8);
        Self {
            connections,
            reserve: (connections / 8).clamp(2, 64),
            head: Duration::from_secs(10),
            // Longer than Google's load balancers keep a connection, which is 600 s.
            idle: Duration::from_secs(620),
            pause: Duration::from_secs(120),
            bytes_a_second: 1 << 10,
        }
    }

    /// How often limits are looked at.
    fn tick(&self) -> Duration {
        let shortest = self.head.min(self.idle).min(self.pause);
        (shortest / 8).clamp(Duration::from_millis(5), Duration::from_secs(1))
    }
}

/// The soft limit of descriptors.
fn limit(limit: &Rlimit) -> u64 {
    limit.current.unwrap_or(u64::MAX)
}

/// The limit of descriptors after it was raised towards the hard one.
fn raised() -> u64 {
    let now = getrlimit(Resource::Nofile);
    let wanted = now
        .maximum
        .unwrap_or(MOST_DESCRIPTORS)
        .min(MOST_DESCRIPTORS);
    if limit(&now) >= wanted {
        return limit(&now);
    }
    let raised = Rlimit {
        current: Some(wanted),
        maximum: now.maximum,
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => wanted,
        // Then with what there is.
        Err(_) => limit(&now),
    }
}

/// What every connection is served with.
struct Shared {
    app: TowerToHyperService<Router>,
    limits: Limits,
    /// The path that is answered however many requests are under way.
    health: String,
    /// For requests under way, other than for health.
    places: Arc<Semaphore>,
}

/// As [`serve`], and requests under way have so long to be answered after `stop`.
pub(crate) async fn serve_with_farewell(
    listener: TcpListener,
    app: Router,
    limits: Limits,
    health: &str,
    farewell: Duration,
    stop: impl Future<Output = ()>,
) {
    let (stopping, stopped) = oneshot::channel();
    let server = serve(listener, app, limits, health, async move {
        stop.await;
        let _ = stopping.send(());
    });
    let deadline = async {
        // The sender lives as long as the server, so this ends only after the signal.
        let _ = stopped.await;
        tokio::time::sleep(farewell).await;
    };
    tokio::select! {
        () = server => {}
        () = deadline => {}
    }
}

/// Serves until `stop`; then requests under way are answered, and nothing is accepted any more. Dropping the future ends
/// every connection.
pub(crate) async fn serve(
    listener: TcpListener,
    app: Router,
    limits: Limits,
    health: &str,
    stop: impl Future<Output = ()>,
) {
    let shared = Arc::new(Shared {
        app: TowerToHyperService::new(app),
        places: Arc::new(Semaphore::new(
            limits.connections.saturating_sub(limits.reserve).max(1),
        )),
        health: health.to_owned(),
        limits,
    });
    let limits = &shared.limits;
    let open = Connections::default();
    let mut tasks = JoinSet::new();
    let mut tick = tokio::time::interval(limits.tick());
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut stop = pin!(stop);
    let mut refused_by_system = false;
    loop {
        // One more than the bound, which says that somebody waits; another one goes for it.
        let has_room = tasks.len() <= limits.connections;
        tokio::select! {
            () = &mut stop => break,
            Some(_ended) = tasks.join_next() => {}
            _ = tick.tick() => {
                open.judge(Instant::now(), limits);
                if !has_room {
                    open.make_room();
                }
            }
            accepted = listener.accept(), if has_room => match accepted {
                Ok((stream, _)) => {
                    refused_by_system = false;
                    if tasks.len() >= limits.connections {
                        open.make_room();
                    }
                    tasks.spawn(converse(stream, open.add(), shared.clone()));
                }
                Err(e) if is_the_clients(&e) => {}
                Err(e) => {
                    // No descriptor or no memory: that passes when connections end.
                    if !refused_by_system {
                        eprintln!("warning: cannot accept connections: {e}; trying again");
                    }
                    refused_by_system = true;
                    open.make_room();
                    tokio::time::sleep(REST).await;
                }
            },
        }
    }
    drop(listener);
    open.stop();
    // Soon enough, and late enough to read what has arrived.
    tick.reset_after(REST);
    // A head that does not get on is no request under way.
    let limits = &Limits {
        head: limits.head.min(LAST_HEAD),
        ..limits.clone()
    };
    while !tasks.is_empty() {
        tokio::select! {
            _ended = tasks.join_next() => {}
            _ = tick.tick() => {
                open.judge(Instant::now(), limits);
                open.close_idle();
            }
        }
    }
}

/// The client went away before it was accepted.
fn is_the_clients(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted
    )
}

/// One connection, from its start to its end.
async fn converse(stream: TcpStream, entry: Entry, shared: Arc<Shared>) {
    let connection = &entry.connection;
    // An answer must not wait for the acknowledgement of the one before it.
    let _ = stream.set_nodelay(true);
    let watched = Watched::new(stream, connection.clone());
    let service = service_fn(|request| {
        let (shared, connection) = (shared.clone(), connection.clone());
        async move { Ok::<_, Infallible>(respond(&shared, &connection, request).await) }
    });
    let served = http1::Builder::new()
        // It would also count the time between two requests.
        .header_read_timeout(None)
        .max_buf_size(BUFFER_BYTES)
        .serve_connection(TokioIo::new(watched), service)
        // A tunnel goes on beside the connections that are bounded here, and its owner bounds it.
        .with_upgrades();
    let mut served = pin!(served);
    let mut stopping = false;
    loop {
        tokio::select! {
            // A client that breaks off or speaks no HTTP is nobody's concern.
            _ended = served.as_mut() => return,
            () = connection.closed() => return,
            () = connection.stopped(), if !stopping => {
                stopping = true;
                served.as_mut().graceful_shutdown();
            }
        }
    }
}

async fn respond(
    shared: &Shared,
    connection: &Arc<Connection>,
    request: Request<Incoming>,
) -> Response {
    let place = match shared.places.clone().try_acquire_owned() {
        Ok(place) => Some(place),
        Err(_) if request.uri().path() == shared.health => None,
        Err(_) => {
            connection.begin(None);
            discard(request.into_body()).await;
            let message = format!(
                "the server is at work on {} requests, as many as it takes at a time; try again in a second",
                shared.limits.connections - shared.limits.reserve
            );
            return connection.answered(last(refusal(StatusCode::TOO_MANY_REQUESTS, &message)));
        }
    };
    connection.begin(place);
    let request = request.map(|body| Body::new(connection.paced(body)));
    let answer = tokio::select! {
        answer = shared.app.call(request) => match answer {
            Ok(answer) => answer,
            Err(never) => match never {},
        },
        () = connection.late() => {
            let message = "the request's body did not arrive in time";
            last(refusal(StatusCode::REQUEST_TIMEOUT, message))
        }
    };
    connection.answered(answer)
}

/// Reads what a client is about to send, so that it comes to read its answer.
async fn discard(body: Incoming) {
    if HttpBody::size_hint(&body).lower() > DISCARDED_BYTES {
        return;
    }
    let mut left = DISCARDED_BYTES;
    let mut pieces = Body::new(body).into_data_stream();
    while let Some(Ok(piece)) = pieces.next().await {
        match left.checked_sub(piece.len() as u64) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}

/// An answer after which the connection is closed.
fn last(mut answer: Response) -> Response {
    let close = HeaderValue::from_static("close");
    answer.headers_mut().insert(header::CONNECTION, close);
    answer
}

/// A JSON answer.
pub(crate) fn json_answer(status: StatusCode, body: &impl Serialize) -> Response {
    let (status, bytes) = match serde_json::to_vec(body) {
        Ok(bytes) => (status, bytes),
        Err(e) => (StatusCode::INTERNAL_SERVER_ERROR, e.to_string().into()),
    };
    json_bytes(status, bytes)
}

/// An answer of bytes that are JSON.
pub(crate) fn json_bytes(status: StatusCode, bytes: Vec<u8>) -> Response {
    let mut answer = Response::new(Body::from(bytes));
    *answer.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    answer.headers_mut().insert(header::CONTENT_TYPE, json);
    answer
}

/// An error in the shape of Google's. One of too many requests says when to come again.
pub(crate) fn refusal(status: StatusCode, message: &str) -> Response {
    let word = match status {
        StatusCode::NOT_FOUND => "NOT_FOUND",
        StatusCode::METHOD_NOT_ALLOWED => "UNIMPLEMENTED",
        StatusCode::REQUEST_TIMEOUT => "DEADLINE_EXCEEDED",
        StatusCode::TOO_MANY_REQUESTS => "RESOURCE_EXHAUSTED",
        StatusCode::INTERNAL_SERVER_ERROR => "INTERNAL",
        _ => "INVALID_ARGUMENT",
    };
    let error = json!({"code": status.as_u16(), "message": message, "status": word});
    let mut answer = json_answer(status, &json!({"error": error}));
    if status == StatusCode::TOO_MANY_REQUESTS {
        let a_second = HeaderValue::from_static("1");
        answer.headers_mut().insert(header::RETRY_AFTER, a_second);
    }
    answer
}

#[cfg(test)]
mod tests;
