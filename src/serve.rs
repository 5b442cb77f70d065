//! The prediction server: Vertex AI's serving contract over one model directory.
//!
//! - `GET` on the health route answers 200; the model is loaded before the server listens.
//! - `POST` on the predict route takes `{"instances": [...]}` and answers `{"predictions": [...]}`, one
//!   for each instance in its order. `parameters` and other fields beside `instances` are ignored.
//! - An instance is an object of features by name, or an array of them in the order of `model.json`.
//!   A category is its text, or the number of the same value; a number is a JSON number; a boolean is
//!   `true` or `false` (or 1 or 0). `null`, `"NaN"`, a field left out of an object and a category that
//!   training has not seen are missing values, which the model knows how to handle. Dropped columns and
//!   the label are ignored; any other unknown field is an error, and so is one that stands there twice.
//! - A prediction is a number, or `{"label": "yes", "scores": {"no": 0.07, "yes": 0.93}}`.
//! - An error is `{"error": {"code": 400, "message": "...", "status": "INVALID_ARGUMENT"}}`.
//! - The memory of all requests together is bounded: what does not fit is answered with 429.

mod address;
mod cell;
mod scorer;

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Method, StatusCode, Uri};
use axum::response::Response;
use futures_util::StreamExt;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::Input;
use crate::listen::{self, Held, Limits, json_answer, json_bytes, refusal};
use crate::log;
use crate::printable::shown;
use crate::signals::Signals;
pub(crate) use address::Address;
use scorer::Scorer;

/// The largest request, in bytes: what a shared endpoint of Vertex AI lets through.
const LARGEST_REQUEST_BYTES: usize = 1_500_000;
/// The bytes of requests and answers that are in memory at a time: beyond it, requests are answered with 429. Forty of the
/// largest requests, which all the cores of a small machine score in seconds.
const IN_MEMORY_BYTES: usize = 64 << 20;
/// How long requests under way may take once the server is told to stop.
const FAREWELL: Duration = Duration::from_secs(20);

/// What to serve, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    /// The model directory.
    pub model: PathBuf,
    pub address: Address,
    /// 0 takes a free one, which is then printed.
    pub port: u16,
    pub routes: Routes,
}

/// Where health and predictions are; each begins with a slash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Routes {
    pub health: String,
    pub predict: String,
}

impl Routes {
    /// The routes of the flags, else those that Vertex AI gives a model which names none: made of the endpoint and the
    /// deployed model. Elsewhere they are short.
    pub(crate) fn choose(
        health: Option<String>,
        predict: Option<String>,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Self {
        let deployed = || {
            let endpoint = variable("AIP_ENDPOINT_ID")?;
            let model = variable("AIP_DEPLOYED_MODEL_ID")?;
            Some(format!("/v1/endpoints/{endpoint}/deployedModels/{model}"))
        };
        let (usual_health, usual_predict) = match deployed() {
            Some(route) => (route.clone(), route + ":predict"),
            None => ("/health".to_owned(), "/predict".to_owned()),
        };
        Self {
            health: health.unwrap_or(usual_health),
            predict: predict.unwrap_or(usual_predict),
        }
    }
}

/// Serves until SIGTERM or SIGINT; requests under way are answered first.
///
/// # Errors
/// [`Input`] for a model that cannot be loaded or a port that cannot be had.
pub(crate) async fn serve(options: Options) -> Result<()> {
    let mut signals = Signals::listen()?;
    let stop = async move {
        signals.next().await;
    };
    serve_until(&options, |address| announce(&options, address), stop).await
}

/// Serves until it is told to stop, and says when it listens.
async fn serve_until(
    options: &Options,
    listening: impl FnOnce(SocketAddr),
    stop: impl Future<Output = ()>,
) -> Result<()> {
    let server = Arc::new(Server::new(options)?);
    // The routes may hold any text and share one path.
    let app = Router::new().fallback(answer).with_state(server);
    let address = SocketAddr::new(options.address.host, options.port);
    let listener = TcpListener::bind(address)
        .await
        .map_err(|e| Input::new(format!("cannot listen on {address}: {e}")))?;
    listening(
        listener
            .local_addr()
            .context("reading the server's address")?,
    );
    let (limits, health) = (Limits::for_messages(), &options.routes.health);
    listen::serve_with_farewell(listener, app, limits, health, FAREWELL, stop).await;
    Ok(())
}

/// Says what is served where, and why there.
fn announce(options: &Options, address: SocketAddr) {
    log::info(&format!(
        "serving {} on http://{address}{} ({})",
        options.model.display(),
        options.routes.predict,
        options.address.why
    ));
}

struct Server {
    scorer: Arc<Scorer>,
    /// In bytes.
    memory: Arc<Semaphore>,
    /// As many as score at a time; the others wait in the order in which they came.
    cores: Arc<Semaphore>,
    routes: Routes,
}

async fn answer(
    State(server): State<Arc<Server>>,
    method: Method,
    uri: Uri,
    body: Body,
) -> Response {
    let path = uri.path();
    let (health, predict) = (path == server.routes.health, path == server.routes.predict);
    match method {
        Method::GET | Method::HEAD if health => {
            json_answer(StatusCode::OK, &json!({"status": "healthy"}))
        }
        Method::POST if predict => server.predict(body).await.unwrap_or_else(|answer| *answer),
        _ if health || predict => refusal(
            StatusCode::METHOD_NOT_ALLOWED,
            &format!("`{path}` does not take {}", shown(method.as_str())),
        ),
        _ => refusal(
            StatusCode::NOT_FOUND,
            &format!(
                "there is nothing at `{}`; predictions are at `{}`, health is at `{}`",
                shown(path),
                server.routes.predict,
                server.routes.health
            ),
        ),
    }
}

impl Server {
    fn new(options: &Options) -> Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self {
            scorer: Arc::new(Scorer::load(&options.model)?),
            memory: Arc::new(Semaphore::new(IN_MEMORY_BYTES)),
            cores: Arc::new(Semaphore::new(cores)),
            routes: options.routes.clone(),
        })
    }

    /// The answer to a request for predictions, or the refusal.
    async fn predict(&self, body: Body) -> Result<Response, Box<Response>> {
        let (body, memory) = self.read(body).await?;
        let core = self.cores.clone().acquire_owned().await.map_err(broken)?;
        let scorer = self.scorer.clone();
        // What is begun is ended, and keeps its core and its memory until then, also where the client goes away.
        let scoring = move || {
            let answer = scorer.predict(&body);
            drop((core, body, memory));
            answer
        };
        let answer = tokio::task::spawn_blocking(scoring)
            .await
            .map_err(broken)?
            .map_err(|message| Box::new(refusal(StatusCode::BAD_REQUEST, &message)))?;
        let held = self.remember(answer.len())?;
        let mut answer = json_bytes(StatusCode::OK, answer);
        answer.extensions_mut().insert(Held(Arc::new(held)));
        Ok(answer)
    }

    /// A request's body, with its share of the memory.
    async fn read(&self, body: Body) -> Result<(Vec<u8>, OwnedSemaphorePermit), Box<Response>> {
        let mut bytes = Vec::new();
        let mut memory = self.remember(0)?;
        let mut refused = None;
        let mut discarded = 0;
        let mut pieces = body.into_data_stream();
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(|e| {
                let message = format!("the request could not be read: {e}");
                Box::new(refusal(StatusCode::BAD_REQUEST, &message))
            })?;
            if refused.is_some() {
                // Most clients read an answer only when they have sent all.
                discarded += piece.len();
                if discarded > 2 * LARGEST_REQUEST_BYTES {
                    break;
                }
            } else if bytes.len() + piece.len() > LARGEST_REQUEST_BYTES {
                let message = format!(
                    "the request is larger than {LARGEST_REQUEST_BYTES} bytes; send fewer instances at once"
                );
                refused = Some(Box::new(refusal(StatusCode::PAYLOAD_TOO_LARGE, &message)));
            } else {
                match self.remember(piece.len()) {
                    Ok(more) => {
                        memory.merge(more);
                        bytes.extend_from_slice(&piece);
                    }
                    Err(full) => {
                        (bytes, memory) = (Vec::new(), self.remember(0)?);
                        refused = Some(full);
                    }
                }
            }
        }
        match refused {
            None => Ok((bytes, memory)),
            Some(refused) => Err(refused),
        }
    }

    /// A share of the memory, where there is as much.
    fn remember(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Box<Response>> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let memory = self.memory.clone();
        memory.try_acquire_many_owned(bytes).map_err(|_| {
            let message = format!(
                "the requests under way hold {} MiB, as much as the server takes at a time; try again in a second",
                IN_MEMORY_BYTES >> 20
            );
            Box::new(refusal(StatusCode::TOO_MANY_REQUESTS, &message))
        })
    }
}

/// A bug: scoring panicked.
fn broken(error: impl std::error::Error) -> Box<Response> {
    let message = format!("the instances could not be scored: {error}");
    Box::new(refusal(StatusCode::INTERNAL_SERVER_ERROR, &message))
}

#[cfg(test)]
mod tests;
