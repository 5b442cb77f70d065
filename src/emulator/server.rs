//! The one port: finds a request's method among our own rows, and says of everything else that it is not
//! emulated.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::Response;

use crate::emulator::core::faults::{Api, Trouble};
use crate::emulator::core::guard;
use crate::emulator::core::service::Service;
use crate::emulator::core::variables::NOT_EMULATED;
use crate::emulator::site::{self, Live, Site};
use crate::emulator::storage::batch;
use crate::emulator::storage::retry_test::{self, Ordered};
use crate::emulator::wire::enums;
use crate::emulator::wire::error::{self, ApiError};
use crate::emulator::wire::http::{Answer, Dialect, Reply, Request, Table, empty, render};
use crate::emulator::wire::{gzip, mask};
use crate::emulator::{Emulator, SERVICES, metadata, storage, tunnel, vertex};

/// The largest body that is read into memory; uploads are streamed and have no limit.
const MAX_BODY_BYTES: usize = 64 << 20;

/// The whole server.
pub(in crate::emulator) fn app(site: Arc<Site>) -> Router {
    Router::new().fallback(move |request: axum::extract::Request| {
        let site = site.clone();
        async move {
            if request.method() != Method::CONNECT {
                return meet(site, request).await;
            }
            let through = site.clone();
            let serve = move |request| meet(through.clone(), request);
            match &*site.live.read().await {
                Some(live) => site.tunnels.open(&live.emulator.core, request, serve),
                None => render(Err(site::stopped()), error::with_status),
            }
        }
    })
}

/// Answers one request by the emulator that is there now.
async fn meet(site: Arc<Site>, request: axum::extract::Request) -> Response {
    let (head, body) = request.into_parts();
    if let Some(answer) = site.answer(&head).await {
        return guard::sandbox(render(answer, error::with_status));
    }
    let request = axum::extract::Request::from_parts(head, body);
    let live = site.live.read().await;
    let answer = match &*live {
        Some(Live { emulator, table }) => tokio::select! {
            answer = serve(emulator, table, request) => answer,
            () = site.leave.notified() => render(Err(site::left()), error::with_status),
        },
        None => render(Err(site::stopped()), error::with_status),
    };
    guard::sandbox(answer)
}

/// Answers one request, if whoever sent it may speak to the emulator.
async fn serve(
    emulator: &Arc<Emulator>,
    table: &Table,
    mut request: axum::extract::Request,
) -> Response {
    if let Some(full) = storage::full_path(request.uri()) {
        *request.uri_mut() = full;
    }
    let path = request.uri().path();
    let service = SERVICES.iter().find(|service| (service.owns)(path));
    let dialect = service.map_or(error::with_status as Dialect, |s| (s.dialect)(path));
    let mut trouble = Trouble::default();
    let answer = answer(emulator, table, request, service, &mut trouble).await;
    trouble.cut(render(answer, dialect))
}

/// The answer to one request; `trouble` is what happens to it on its way back.
async fn answer(
    emulator: &Arc<Emulator>,
    table: &Table,
    request: axum::extract::Request,
    service: Option<&Service>,
    trouble: &mut Trouble,
) -> Answer {
    let (head, body) = request.into_parts();
    let path = head.uri.path();
    emulator.core.guard.check(&head)?;
    // At the bare root clients look for the metadata server, and gsutil for its buckets.
    let buckets = path == "/" && head.headers.contains_key("x-goog-api-version");
    if head.method == Method::GET && metadata::serves(path) && !buckets {
        return Ok(metadata::answer(path, &head.headers).into());
    }
    if let Some(rest) = path
        .strip_prefix('/')
        .and_then(|p| p.strip_prefix(NOT_EMULATED))
    {
        let api = rest.split('/').nth(1).unwrap_or_default();
        let host = format!("{api}.googleapis.com");
        return Err(tunnel::not_emulated(&host).unwrap_or_else(|| missing(&head.method, path)));
    }
    if path == batch::PATH && head.method == Method::POST {
        return serve_batch(emulator, table, &head.headers, body).await;
    }
    let mut next = service.map_or_else(Trouble::default, |s| emulator.core.faults.next(s.api));
    // Even a sleep of nothing lasts until the timer's next millisecond.
    if !next.delay.is_zero() {
        tokio::time::sleep(next.delay).await;
    }
    if let Some(error) = next.before.take() {
        return Err(error);
    }
    if head.method == Method::OPTIONS {
        // As a bucket without CORS settings: no header allows anything.
        return Ok(empty(StatusCode::OK).into());
    }
    let query = head.uri.query().unwrap_or_default();
    let (mut headers, mut body) = (head.headers, body);
    // To the XML API a coding is the object's.
    if storage::xml::names(path).is_none() && gzip::is_packed(&headers) {
        headers.remove(header::CONTENT_ENCODING);
        headers.remove(header::CONTENT_LENGTH);
        body = gzip::unpacked(body);
    }
    let mut request = Request::new(query, headers);
    request.beta = path.starts_with("/v1beta1/");
    if service.is_some_and(|s| s.api == Api::Storage) {
        storage::check_request(query, &request)?;
    }
    if service.is_some_and(|s| s.api == Api::Vertex) {
        vertex::check_location(&emulator.core, path, &request)?;
    }
    look(emulator, service, &head.method, path).await;
    if let Some((bucket, object)) = storage::xml::names(path) {
        request.params = vec![bucket, object];
        request.set_stream(body);
        *trouble = next;
        let answer = storage::xml::serve(emulator.storage.clone(), &head.method, request).await;
        return trouble.replace(answer);
    }
    // The answer to HEAD is that to GET; its body is not sent.
    let method = match &head.method {
        &Method::HEAD => &Method::GET,
        method => method,
    };
    let (row, params) = table
        .find(method, path)
        .ok_or_else(|| missing(&head.method, path))?;
    request.params = params;
    if service.is_some_and(|s| s.api == Api::Storage)
        && let Some(ordered) = retry_test::next(&emulator.storage, &head.method, path, &request)
    {
        match ordered {
            Ordered::Error(error) => return Err(error),
            Ordered::Reset => {
                trouble.reset_now();
                return Ok(empty(StatusCode::OK).into());
            }
            Ordered::Broken(after) => next.break_after(after),
        }
    }
    let fields = request.get("fields").or_else(|| request.get("$fields"));
    let fields = fields
        .filter(|_| request.get("alt") != Some("media"))
        .map(str::to_owned);
    let alt = request.get("$alt").or_else(|| request.get("alt"));
    let numbers = alt.is_some_and(|alt| alt.contains("enum-encoding=int"));
    if row.streams {
        request.set_stream(body);
    } else {
        request.body = read(body).await?;
    }
    *trouble = next;
    let mut answer = row.answer(request).await;
    if let Ok(Reply::Json(message)) = &mut answer
        && numbers
    {
        enums::to_numbers(message);
    }
    let answer = match (answer, fields) {
        (Ok(Reply::Json(message)), Some(fields)) => mask::select(message, &fields).map(Reply::Json),
        (answer, _) => answer,
    };
    trouble.replace(answer)
}

/// Makes objects of the watched files that a request may ask for. A build takes its source from any bucket.
async fn look(emulator: &Emulator, service: Option<&Service>, method: &Method, path: &str) {
    let Some(watch) = &emulator.watch else {
        return;
    };
    let named = match service.map(|service| service.api) {
        Some(Api::Storage) => storage::seeded::named(path),
        Some(Api::CloudBuild) if method == Method::POST => vec![Default::default()],
        _ => Vec::new(),
    };
    for (bucket, object) in named {
        watch.ready(&bucket, &object).await;
    }
}

/// A body that is read into memory.
async fn read(body: Body) -> Result<Bytes, ApiError> {
    axum::body::to_bytes(body, MAX_BODY_BYTES)
        .await
        .map_err(|_| ApiError::too_large("Request payload size exceeds the limit."))
}

/// The requests of a batch, one after the other; each meets its own faults.
fn serve_batch<'a>(
    emulator: &'a Arc<Emulator>,
    table: &'a Table,
    headers: &'a HeaderMap,
    body: Body,
) -> Pin<Box<dyn Future<Output = Answer> + Send + 'a>> {
    Box::pin(async move {
        let body = read(body).await?;
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

fn missing(method: &Method, path: &str) -> ApiError {
    if let Some(error) = SERVICES.iter().find_map(|s| (s.left_out)(path)) {
        return error;
    }
    ApiError::unimplemented(format!(
        "This emulator has no method for {method} {path}: docs/emulator.md lists what it has."
    ))
}
