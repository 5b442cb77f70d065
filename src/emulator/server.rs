//! The one port: finds a request's method among our own rows, and answers everything else with
//! Google's 404 naming what is missing.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::Response;

use crate::emulator::core::faults::{Service, Trouble};
use crate::emulator::core::{clock, guard, operations};
use crate::emulator::storage::batch;
use crate::emulator::wire::error::{ApiError, Dialect};
use crate::emulator::wire::http::{Answer, Request, Table, empty};
use crate::emulator::wire::mask;
use crate::emulator::{Emulator, cloudbuild, logging, metadata, monitoring, storage, vertex};

/// The largest body that is read into memory; uploads are streamed and have no limit.
const MAX_BODY_BYTES: usize = 64 << 20;

/// The whole server.
pub(in crate::emulator) fn app(emulator: Arc<Emulator>) -> Router {
    let mut table = Table::default();
    table.add(&emulator.storage, storage::routes());
    table.add(&emulator.vertex, vertex::routes());
    table.add(&emulator.cloudbuild, cloudbuild::routes());
    table.add(&emulator.core, operations::routes());
    table.add(&emulator.monitoring, monitoring::routes());
    table.add(&emulator.core, logging::routes());
    table.add(&emulator.core, clock::routes());
    table.add(&emulator.core, [guard::route()]);
    let table = Arc::new(table);
    Router::new().fallback(move |request: axum::extract::Request| {
        let (emulator, table) = (emulator.clone(), table.clone());
        async move { guard::sandbox(serve(&emulator, &table, request).await) }
    })
}

/// Answers one request, if whoever sent it may speak to the emulator.
async fn serve(
    emulator: &Arc<Emulator>,
    table: &Table,
    request: axum::extract::Request,
) -> Response {
    let (head, body) = request.into_parts();
    let path = head.uri.path();
    let xml = storage::xml::names(path);
    let service = match &xml {
        Some(_) => Some(Service::Storage),
        None => service_of(path),
    };
    let dialect = match service {
        _ if xml.is_some() => Dialect::Xml,
        Some(Service::Storage) => Dialect::Storage,
        _ => Dialect::Status,
    };
    if let Err(error) = emulator.core.guard.check(&head) {
        return error.respond(dialect);
    }
    if head.method == Method::GET && metadata::serves(path) {
        return metadata::answer(path, &head.headers);
    }
    if path == batch::PATH && head.method == Method::POST {
        return serve_batch(emulator, table, &head.headers, body)
            .await
            .unwrap_or_else(|e| e.respond(Dialect::Storage));
    }
    let trouble = match service {
        Some(service) => emulator.core.faults.next(service),
        None => Trouble::default(),
    };
    // Even a sleep of nothing lasts until the timer's next millisecond.
    if !trouble.delay.is_zero() {
        tokio::time::sleep(trouble.delay).await;
    }
    if let Some(error) = &trouble.before {
        return error.respond(dialect);
    }
    if head.method == Method::OPTIONS {
        // As a bucket without CORS settings: no header allows anything.
        return empty(StatusCode::OK);
    }
    let query = head.uri.query().unwrap_or_default();
    let mut request = Request::new(query, head.headers);
    if service == Some(Service::Storage)
        && let Err(error) = storage::check_headers(&request)
    {
        return error.respond(dialect);
    }
    if let Some((bucket, object)) = xml {
        request.wild = vec![bucket, object];
        request.set_stream(body);
        let answer = storage::xml::serve(emulator.storage.clone(), &head.method, request).await;
        let answer = answer.unwrap_or_else(|error| error.respond(dialect));
        return trouble.after(answer, dialect);
    }
    // The answer to HEAD is that to GET; its body is not sent.
    let method = match &head.method {
        &Method::HEAD => &Method::GET,
        method => method,
    };
    let Some((row, wild)) = table.find(method, path) else {
        return missing(&head.method, path).respond(dialect);
    };
    request.wild = wild;
    let mask = request.get("fields").or_else(|| request.get("$fields"));
    let mask = mask
        .filter(|_| request.get("alt") != Some("media"))
        .map(str::to_owned);
    if row.streams {
        request.set_stream(body);
    } else {
        match axum::body::to_bytes(body, MAX_BODY_BYTES).await {
            Ok(bytes) => request.body = bytes,
            Err(_) => {
                return ApiError::too_large("Request payload size exceeds the limit.")
                    .respond(dialect);
            }
        }
    }
    let answer = row.answer(request).await;
    let answer = match (answer, mask) {
        (Ok(response), Some(mask)) => mask::select(response, &mask).await,
        (answer, _) => answer,
    };
    trouble.after(
        answer.unwrap_or_else(|error| error.respond(dialect)),
        dialect,
    )
}

/// The requests of a batch, one after the other; each meets its own faults.
fn serve_batch<'a>(
    emulator: &'a Arc<Emulator>,
    table: &'a Table,
    headers: &'a HeaderMap,
    body: Body,
) -> Pin<Box<dyn Future<Output = Answer> + Send + 'a>> {
    Box::pin(async move {
        let body = axum::body::to_bytes(body, MAX_BODY_BYTES)
            .await
            .map_err(|_| ApiError::too_large("Request payload size exceeds the limit."))?;
        let mut answers = Vec::new();
        for (id, mut request) in batch::read(headers, &body)? {
            if let Some(host) = headers.get(header::HOST) {
                request.headers_mut().insert(header::HOST, host.clone());
            }
            answers.push((id, serve(emulator, table, request).await));
        }
        batch::write(answers).await
    })
}

/// The service that a path belongs to.
fn service_of(path: &str) -> Option<Service> {
    let mut segments = path.split('/').skip(1);
    match (segments.next()?, segments.next()?) {
        ("storage", _) | ("upload" | "download" | "batch", "storage") => Some(Service::Storage),
        ("resumable", "upload") => Some(Service::Storage),
        ("v1" | "v1beta1" | "ui", "operations") => Some(Service::CloudBuild),
        ("v1" | "v1beta1" | "ui", _) => {
            let kind = match (segments.nth(1), segments.next(), segments.next()) {
                (Some("locations"), _, kind) => kind,
                (kind, ..) => kind,
            };
            // A collection, or one and a verb.
            match kind.unwrap_or_default().split(':').next() {
                Some("builds" | "triggers") => Some(Service::CloudBuild),
                _ => Some(Service::Vertex),
            }
        }
        ("v2", _) => Some(Service::Logging),
        ("v3", _) => Some(Service::Monitoring),
        _ => None,
    }
}

fn missing(method: &Method, path: &str) -> ApiError {
    if path.starts_with("/bigquery/") {
        return ApiError::not_found(
            "BigQuery is not emulated here: start a server that does, and name it in BIGQUERY_EMULATOR_HOST.",
        );
    }
    if let Some(error) = vertex::left_out(path) {
        return error;
    }
    ApiError::not_found(format!(
        "The requested URL {path} was not found on this server: the emulator has no method for {method} {path}."
    ))
}
