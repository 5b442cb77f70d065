//! A proxy for the hosts of Google's that no setting of a client moves: gcloud reads the log of a build at
//! `storage.googleapis.com` and calls Cloud Run at a host of the region, whatever its endpoints are.
//!
//! `CONNECT HOST:443` opens a tunnel that ends here: the emulator speaks TLS for any host, answers for those
//! whose services it has, and says of every other one that it is not emulated. Nothing is passed on.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::pki_types::PrivatePkcs8KeyDer;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use super::core::Core;
use super::core::variables::{EVENTARC, is_emulated};
use super::wire::error::{ApiError, with_reason, with_status};
use super::wire::http::{empty, render};
use crate::listen::refusal;

/// More tunnels are not open at a time.
const MOST: usize = 256;
/// For the client's side of TLS.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Between two requests of a tunnel.
const IDLE: Duration = Duration::from_secs(620);

/// What tunnels are made with.
pub(super) struct Tunnels {
    acceptor: TlsAcceptor,
    places: Arc<Semaphore>,
}

impl Tunnels {
    /// With a certificate of this start's own, which no client can check: it is for clients that are told not to.
    ///
    /// # Errors
    /// When no key can be made.
    pub(super) fn new() -> anyhow::Result<Self> {
        let made = rcgen::generate_simple_self_signed(vec!["*.googleapis.com".to_owned()])
            .context("making the certificate of the emulator's proxy")?;
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key.into())?;
        Ok(Self {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            places: Arc::new(Semaphore::new(MOST)),
        })
    }

    /// Opens a tunnel for a `CONNECT`; `serve` answers what comes through it, by the emulator's own address.
    pub(super) fn open<S, F>(
        &self,
        core: &Core,
        request: hyper::Request<Body>,
        serve: S,
    ) -> Response
    where
        S: Fn(axum::extract::Request) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response> + Send + 'static,
    {
        let Some(host) = request.uri().host().map(str::to_ascii_lowercase) else {
            return refusal(
                StatusCode::BAD_REQUEST,
                "CONNECT needs a host, as in `CONNECT storage.googleapis.com:443`",
            );
        };
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            return refusal(
                StatusCode::TOO_MANY_REQUESTS,
                "the emulator's proxy has as many tunnels open as it takes; try again in a second",
            );
        };
        let acceptor = self.acceptor.clone();
        let own = core.url.trim_start_matches("http://").to_owned();
        core.spawn(async move {
            let _place = place;
            let Ok(upgraded) = hyper::upgrade::on(request).await else {
                return;
            };
            let handshake = acceptor.accept(TokioIo::new(upgraded));
            let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, handshake).await else {
                return;
            };
            let service = service_fn(|request: hyper::Request<hyper::body::Incoming>| {
                let answer = answer(&host, &own, request.map(Body::new), &serve);
                async move { Ok::<_, Infallible>(answer.await) }
            });
            // A client that breaks off is nobody's concern.
            let _ended = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(IDLE)
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
        empty(StatusCode::OK)
    }
}

/// Answers what a client asks a host.
async fn answer<F: Future<Output = Response>>(
    host: &str,
    own: &str,
    mut request: axum::extract::Request,
    serve: impl Fn(axum::extract::Request) -> F,
) -> Response {
    if let Some(error) = not_emulated(host) {
        // bq takes another form for no error at all.
        let dialect = match host {
            "bigquery.googleapis.com" => with_reason,
            _ => with_status,
        };
        return render(Err(error), dialect);
    }
    if host == "eventarc.googleapis.com"
        && let Some(path) = request.uri().path_and_query()
        && let Ok(moved) = format!("/{EVENTARC}{path}").parse()
    {
        *request.uri_mut() = moved;
    }
    if let Ok(own) = HeaderValue::from_str(own) {
        request.headers_mut().insert(header::HOST, own);
    }
    serve(request).await
}

/// The refusal of a host whose services the emulator has not.
pub(super) fn not_emulated(host: &str) -> Option<ApiError> {
    let service = host.strip_suffix(".googleapis.com").unwrap_or_default();
    if is_emulated(service) {
        return None;
    }
    let hint = match service {
        "bigquery" => {
            "; start a server that does, and name it in BIGQUERY_EMULATOR_HOST before `serin emulate env`"
        }
        _ => "",
    };
    Some(ApiError::failed_precondition(format!(
        "{host} is not emulated: this emulator has Cloud Storage, Vertex AI, Cloud Build, Cloud Source Repositories, Cloud Scheduler, Pub/Sub, Eventarc, Cloud Logging and \
         Cloud Monitoring, and its proxy passes nothing on to Google{hint}."
    )))
}
