//! The prediction server: Vertex AI's serving contract over one model directory.
//!
//! - `GET` on the health route answers 200; the model is loaded before the server listens.
//! - `POST` on the predict route takes `{"instances": [...]}` and answers `{"predictions": [...]}`, one
//!   for each instance in its order. `parameters` and other fields beside `instances` are ignored.
//! - An instance is an object of features by name, or an array of them in the order of `model.json`.
//!   A category is its text, or the number of the same value; a number is a JSON number; a boolean is
//!   `true` or `false` (or 1 or 0). `null`, `"NaN"`, a field left out of an object and a category that
//!   training has not seen are missing values, which the model knows how to handle. Dropped columns and
//!   the label are ignored; any other unknown field is an error.
//! - A prediction is a number, or `{"label": "yes", "scores": {"no": 0.07, "yes": 0.93}}`.
//! - An error is `{"error": {"code": 400, "message": "...", "status": "INVALID_ARGUMENT"}}`.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::serve::ListenerExt;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::error::Input;
use crate::model::gate::nearest;
use crate::model::predictor::Predictor;

/// The largest request, in bytes: what a shared endpoint of Vertex AI lets through.
const LARGEST_REQUEST_BYTES: usize = 1_500_000;
/// How long requests under way may take once the server is told to stop.
const FAREWELL: Duration = Duration::from_secs(20);

/// What to serve, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The model directory.
    pub model: PathBuf,
    pub host: IpAddr,
    /// 0 takes a free one, which is then printed.
    pub port: u16,
    pub health_route: String,
    pub predict_route: String,
}

impl Options {
    /// The options that Vertex AI's variables give (`AIP_HTTP_PORT` and so on), read through `variable`.
    ///
    /// Without a route the one of the endpoint and deployed model is taken, and without these `/health`
    /// and `/predict`.
    ///
    /// # Errors
    /// [`Input`] for a port or a route that is none.
    pub fn from_variables(
        model: PathBuf,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self> {
        let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
        let port = match variable("AIP_HTTP_PORT") {
            None => 8080,
            Some(text) => text.parse().map_err(|_| {
                Input::new(format!("`AIP_HTTP_PORT` is `{text}`, which is no port"))
            })?,
        };
        let deployed = variable("AIP_ENDPOINT_ID").zip(variable("AIP_DEPLOYED_MODEL_ID"));
        let deployed = deployed
            .map(|(endpoint, model)| format!("/v1/endpoints/{endpoint}/deployedModels/{model}"));
        let route = |name: &str, verb: &str, local: &str| {
            let route = variable(name)
                .or_else(|| {
                    deployed
                        .as_ref()
                        .map(|deployed| format!("{deployed}{verb}"))
                })
                .unwrap_or_else(|| local.to_owned());
            if !route.starts_with('/') {
                let message = format!("`{name}` is `{route}`, which is no path");
                return Err(anyhow::Error::from(Input::new(message)));
            }
            Ok(route)
        };
        Ok(Self {
            model,
            host: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            port,
            health_route: route("AIP_HEALTH_ROUTE", "", "/health")?,
            predict_route: route("AIP_PREDICT_ROUTE", ":predict", "/predict")?,
        })
    }
}

/// Serves until SIGTERM or SIGINT; requests under way are answered first.
///
/// # Errors
/// [`Input`] for a model that cannot be loaded or a port that cannot be had.
pub async fn serve(options: Options) -> Result<()> {
    let stop = stop_signal()?;
    let app = app(&options)?;
    let address = SocketAddr::new(options.host, options.port);
    let listener = TcpListener::bind(address)
        .await
        .map_err(|e| Input::new(format!("cannot listen on {address}: {e}")))?;
    let address = listener
        .local_addr()
        .context("reading the server's address")?;
    eprintln!(
        "serving {} on http://{address}{}",
        options.model.display(),
        options.predict_route
    );
    run(listener, app, stop).await
}

async fn run(
    listener: TcpListener,
    app: Router,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<()> {
    // An answer must not wait for the acknowledgement of the one before it.
    let listener = listener.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    let (stopping, stopped) = tokio::sync::oneshot::channel();
    let server = axum::serve(listener, app).with_graceful_shutdown(async move {
        stop.await;
        let _ = stopping.send(());
    });
    let deadline = async {
        // The sender lives as long as the server, so this ends only after the signal.
        let _ = stopped.await;
        tokio::time::sleep(FAREWELL).await;
    };
    tokio::select! {
        served = server => served.context("serving"),
        () = deadline => Ok(()),
    }
}

fn stop_signal() -> Result<impl Future<Output = ()> + Send + 'static> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

struct Server {
    predictor: Predictor,
    health_route: String,
    predict_route: String,
}

/// The server's routes, which may hold any text and share one path.
fn app(options: &Options) -> Result<Router> {
    let server = Arc::new(Server {
        predictor: Predictor::load(&options.model)?,
        health_route: options.health_route.clone(),
        predict_route: options.predict_route.clone(),
    });
    Ok(Router::new()
        .fallback(answer)
        .layer(DefaultBodyLimit::max(LARGEST_REQUEST_BYTES))
        .with_state(server))
}

async fn answer(
    State(server): State<Arc<Server>>,
    method: Method,
    uri: Uri,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let (health, predict) = (
        uri.path() == server.health_route,
        uri.path() == server.predict_route,
    );
    match method {
        Method::GET | Method::HEAD if health => {
            json_answer(StatusCode::OK, &json!({"status": "healthy"}))
        }
        Method::POST if predict => match body {
            Ok(body) => match server.predict(&body) {
                Ok(predictions) => json_answer(StatusCode::OK, &Predictions { predictions }),
                Err(message) => refusal(StatusCode::BAD_REQUEST, &message),
            },
            Err(e) if e.status() == StatusCode::PAYLOAD_TOO_LARGE => refusal(
                e.status(),
                &format!(
                    "the request is larger than {LARGEST_REQUEST_BYTES} bytes; send fewer instances at once"
                ),
            ),
            Err(e) => refusal(e.status(), &format!("the request could not be read: {e}")),
        },
        _ if health || predict => refusal(
            StatusCode::METHOD_NOT_ALLOWED,
            &format!("`{}` does not take {method}", uri.path()),
        ),
        _ => refusal(
            StatusCode::NOT_FOUND,
            &format!(
                "there is nothing at `{}`; predictions are at `{}`, health is at `{}`",
                uri.path(),
                server.predict_route,
                server.health_route
            ),
        ),
    }
}

#[derive(Serialize)]
struct Predictions<'a> {
    predictions: Vec<Prediction<'a>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Prediction<'a> {
    Class { label: &'a str, scores: Scores<'a> },
    Number(f32),
}

/// A probability for each class, in their order.
struct Scores<'a> {
    classes: &'a [String],
    scores: Vec<f32>,
}

impl Serialize for Scores<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.classes.len()))?;
        for (class, score) in self.classes.iter().zip(&self.scores) {
            map.serialize_entry(class, score)?;
        }
        map.end()
    }
}

impl Server {
    /// A prediction for each instance of a request's body, or what is wrong with it.
    fn predict(&self, body: &[u8]) -> Result<Vec<Prediction<'_>>, String> {
        let body: Value =
            serde_json::from_slice(body).map_err(|e| format!("the body is no JSON: {e}"))?;
        let instances = match body.get("instances") {
            Some(Value::Array(instances)) => instances,
            Some(_) => return Err("`instances` is no array".to_owned()),
            None => {
                return Err("the body has no `instances`: send {\"instances\": [...]}".to_owned());
            }
        };
        let width = self.predictor.encoder().width();
        let mut rows = Vec::with_capacity(instances.len() * width);
        for (i, instance) in instances.iter().enumerate() {
            self.encode(instance, &mut rows)
                .map_err(|message| format!("instance {i}{message}"))?;
        }
        let scores = self
            .predictor
            .scores(&rows)
            .map_err(|e| format!("the instances cannot be scored: {e:#}"))?;
        let classes = &self.predictor.manifest().label.classes;
        let prediction = |scores: &[f32]| match classes.get(best(scores)) {
            None => Prediction::Number(scores.first().copied().unwrap_or(f32::NAN)),
            Some(label) => Prediction::Class {
                label,
                scores: Scores {
                    classes,
                    scores: scores.to_vec(),
                },
            },
        };
        Ok(scores
            .chunks(self.predictor.width())
            .map(prediction)
            .collect())
    }

    /// Appends an instance's row, or says what is wrong with it, to follow `instance N`.
    fn encode(&self, instance: &Value, rows: &mut Vec<f32>) -> Result<(), String> {
        let encoder = self.predictor.encoder();
        let from = rows.len();
        rows.resize(from + encoder.width(), crate::model::encode::MISSING);
        let mut put = |position: usize, value: &Value| {
            let feature = encoder.json(position, value).map_err(|expected| {
                let name = encoder.name(position).unwrap_or_default();
                format!(", feature `{name}`: {} is not {expected}", cut_short(value))
            })?;
            rows[from + position] = feature;
            Ok(())
        };
        match instance {
            Value::Object(fields) => {
                fields
                    .iter()
                    .try_for_each(|(name, value)| match encoder.position(name) {
                        Some(position) => put(position, value),
                        None if self.ignores(name) => Ok(()),
                        None => Err(self.unknown(name)),
                    })
            }
            Value::Array(values) if values.len() == encoder.width() => values
                .iter()
                .enumerate()
                .try_for_each(|(i, value)| put(i, value)),
            Value::Array(values) => Err(format!(
                ": it has {} values, and the model has {} features",
                values.len(),
                encoder.width()
            )),
            other => Err(format!(
                ": {} is neither an object of features nor an array of them",
                cut_short(other)
            )),
        }
    }

    fn ignores(&self, name: &str) -> bool {
        let manifest = self.predictor.manifest();
        name == manifest.label.column || manifest.dropped.iter().any(|dropped| dropped == name)
    }

    fn unknown(&self, name: &str) -> String {
        let features = &self.predictor.manifest().features;
        let near = nearest(name, features.iter().map(|feature| &*feature.name));
        let hint = near.map_or(String::new(), |near| format!("; did you mean `{near}`?"));
        format!(": the model has no feature `{name}`{hint}")
    }
}

/// The first of the highest scores.
fn best(scores: &[f32]) -> usize {
    let mut best = 0;
    for (class, score) in scores.iter().enumerate() {
        if *score > scores[best] {
            best = class;
        }
    }
    best
}

/// A value as JSON, at most forty characters of it.
fn cut_short(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(40) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

fn refusal(status: StatusCode, message: &str) -> Response {
    let word = match status {
        StatusCode::NOT_FOUND => "NOT_FOUND",
        StatusCode::METHOD_NOT_ALLOWED => "UNIMPLEMENTED",
        _ => "INVALID_ARGUMENT",
    };
    let error = json!({"code": status.as_u16(), "message": message, "status": word});
    json_answer(status, &json!({"error": error}))
}

fn json_answer(status: StatusCode, body: &impl Serialize) -> Response {
    match serde_json::to_vec(body) {
        Ok(bytes) => (status, [(header::CONTENT_TYPE, "application/json")], bytes).into_response(),
        Err(e) => (StatusCode::INTERNAL_SERVER_ERROR, e.to_string()).into_response(),
    }
}

#[cfg(test)]
mod tests;
