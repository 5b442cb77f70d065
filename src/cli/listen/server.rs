//! The server: who calls, what the event says, whether it was seen before, and the answer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use anyhow::{Context as _, Result};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{Method, Request, StatusCode};
use axum::response::Response;
use futures_util::StreamExt;
use serde_json::json;
use tokio::net::TcpListener;

use super::desk::Desk;
use super::event::{self, Asks, Event, Names};
use super::keys::Keys;
use super::token::{self, Expected};
use crate::config::{resource_name, what};
use crate::error::Input;
use crate::listen::{self, Limits, json_answer, refusal};
use crate::log;
use crate::printable::shown;
use crate::serve::Address;
use crate::signals::Signals;
use crate::steps::Context;
use crate::steps::lint::Source;
use crate::steps::trigger::{self, Due, Events};

/// The largest body of a request, in bytes; an entry of an audit log has 100 KB at most.
const LARGEST_BODY: usize = 1 << 20;
/// The path that tells whether the server is there.
const HEALTH: &str = "/health";
/// How long requests under way may take once the server is told to stop: Cloud Run gives ten seconds.
const FAREWELL: Duration = Duration::from_secs(9);

/// What every request is served with.
pub(super) struct Server {
    ctx: Arc<Context>,
    source: Source,
    expected: Expected,
    keys: Keys,
    names: Names,
    /// Authenticated requests that were not understood.
    malformed: AtomicU64,
}

/// A server and its desk.
struct Open {
    server: Server,
    desk: Desk,
}

impl Server {
    pub(super) fn new(ctx: Context, source: Source, expected: Expected, keys: String) -> Self {
        Self {
            keys: Keys::new(&ctx.client, keys),
            names: Names {
                schedule: resource_name(&ctx.config.model, what::SCHEDULE),
            },
            ctx: Arc::new(ctx),
            source,
            expected,
            malformed: AtomicU64::new(0),
        }
    }
}

/// Serves until SIGTERM or SIGINT; requests under way are answered first.
///
/// # Errors
/// [`Input`] for a port that cannot be had.
pub(super) async fn serve(server: Server, address: Address, port: u16) -> Result<()> {
    let mut signals = Signals::listen()?;
    let wanted = SocketAddr::new(address.host, port);
    let listener = TcpListener::bind(wanted)
        .await
        .map_err(|e| Input::new(format!("cannot listen on {wanted}: {e}")))?;
    let at = listener
        .local_addr()
        .context("reading the server's address")?;
    let model = server.ctx.config.model.to_string();
    let desk = Desk::open(server.ctx.clone(), server.source);
    let open = Arc::new(Open { server, desk });
    let app = Router::new().fallback(answer).with_state(open.clone());
    log::info(&format!(
        "listening for events of {model} on http://{at} ({})",
        address.why
    ));
    let limits = Limits::for_messages();
    listen::serve_with_farewell(listener, app, limits, HEALTH, FAREWELL, async move {
        signals.next().await;
    })
    .await;
    let malformed = open.server.malformed.load(Relaxed);
    log::info(&format!("stopped; {malformed} events were not understood"));
    Ok(())
}

async fn answer(State(open): State<Arc<Open>>, request: Request<Body>) -> Response {
    match *request.method() {
        Method::GET if matches!(request.uri().path(), HEALTH | "/") => json_answer(
            StatusCode::OK,
            &json!({"model": *open.server.ctx.config.model}),
        ),
        Method::POST => open.receive(request).await,
        _ => refusal(StatusCode::METHOD_NOT_ALLOWED, "events are sent by POST"),
    }
}

impl Open {
    async fn receive(&self, request: Request<Body>) -> Response {
        let server = &self.server;
        let (head, body) = request.into_parts();
        if let Err(refused) = token::check(&head.headers, &server.expected, &server.keys).await {
            log::info(&format!(
                "refused a request with {}: {}",
                refused.status, refused.why
            ));
            return refusal(
                refused.status,
                &format!("the request is refused: {}", refused.why),
            );
        }
        let body = match read(body).await {
            Ok(body) => body,
            Err(response) => return response,
        };
        let now = server.ctx.clock.now();
        match event::read(&head.headers, &body, &server.names, now) {
            Ok(event) => self.handle(event).await,
            Err(why) => {
                let n = server.malformed.fetch_add(1, Relaxed) + 1;
                log::error(&format!(
                    "an event was not understood ({n} so far): {}",
                    shown(&why)
                ));
                empty(StatusCode::NO_CONTENT)
            }
        }
    }

    async fn handle(&self, event: Event) -> Response {
        let ctx = &self.server.ctx;
        let events = Events::new(ctx);
        if let Some(key) = &event.key {
            match events.was_seen(key).await {
                Ok(false) => {}
                Ok(true) => return decided("seen before"),
                Err(e) => return failed(&e),
            }
        }
        let due = match self.due(&event) {
            Ok(due) => due,
            // An object that nobody watches: there is nothing to remember.
            Err(response) => return response,
        };
        let Some(checked) = self.desk.decide(due).await else {
            let message = "the decision failed; the log says why";
            return refusal(StatusCode::INTERNAL_SERVER_ERROR, message);
        };
        // Who was to start the build may be gone: the sender comes again, until it is started.
        if checked.is_starting() {
            let message = "a build was decided on and is not started yet";
            return refusal(StatusCode::SERVICE_UNAVAILABLE, message);
        }
        if let Some(key) = &event.key
            && let Err(e) = events.record(key, &checked).await
        {
            return failed(&e);
        }
        json_answer(StatusCode::OK, &trigger::message(&checked))
    }

    /// The build that an event asks for by itself; none where it asks for a look.
    fn due(&self, event: &Event) -> Result<Option<Due>, Response> {
        let ctx = &self.server.ctx;
        match &event.asks {
            Asks::Check => Ok(None),
            Asks::Object { bucket, name } if trigger::is_watched(ctx, bucket, name) => Ok(None),
            Asks::Object { .. } => Err(decided("no object that is watched")),
            Asks::Schedule(at) => {
                let at = at.unwrap_or_else(|| ctx.clock.now());
                Ok(Some(trigger::scheduled(ctx, at)))
            }
            Asks::Fire(reason) => {
                let key = event.key.as_deref().map(trigger::event_key);
                match trigger::on_demand(ctx, reason, key.as_deref()) {
                    Ok(due) => Ok(Some(due)),
                    Err(e) => Err(failed(&e)),
                }
            }
        }
    }
}

async fn read(body: Body) -> Result<Bytes, Response> {
    let mut pieces = body.into_data_stream();
    let mut read = Vec::new();
    while let Some(piece) = pieces.next().await {
        let Ok(piece) = piece else {
            return Err(refusal(
                StatusCode::BAD_REQUEST,
                "the request's body broke off",
            ));
        };
        if read.len() + piece.len() > LARGEST_BODY {
            let message = format!("the request's body has more than {LARGEST_BODY} bytes");
            return Err(refusal(StatusCode::PAYLOAD_TOO_LARGE, &message));
        }
        read.extend_from_slice(&piece);
    }
    Ok(read.into())
}

fn empty(status: StatusCode) -> Response {
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = status;
    answer
}

/// An event that starts nothing.
fn decided(why: &str) -> Response {
    json_answer(StatusCode::OK, &json!({"fired": false, "why": why}))
}

/// The sender is to come again.
fn failed(error: &anyhow::Error) -> Response {
    log::error(&crate::exit::render(error));
    refusal(
        StatusCode::INTERNAL_SERVER_ERROR,
        "the decision could not be recorded",
    )
}
