//! The servers behind the endpoints: every deployed model is a real child process.
//!
//! A server is started, probed until its health route answers 200, watched, and started again when
//! it dies. Traffic goes only to one that is healthy.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use crate::emulator::core::clock::Working;
use crate::emulator::core::container::{self, Container, EnvVar};
use crate::emulator::logging::{self, Source};
use crate::emulator::vertex::Vertex;
use crate::emulator::wire::error::ApiError;

/// Real time between two looks at a server that is coming up.
const LOOK: Duration = Duration::from_millis(20);
/// Vertex's probes of a server that is up, in real time: it is a real process.
const PROBE_EVERY: Duration = Duration::from_secs(10);
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);
const BAD_PROBES: u32 = 4;
/// A new server that ended this often without having been healthy is given up.
const LIVES: u32 = 3;
/// Real time that a new server has to become healthy.
const COMES_UP: Duration = Duration::from_secs(60);
/// Real time that a request waits for a server that is coming up again.
const PATIENCE: Duration = Duration::from_secs(30);
const GRACE: Duration = Duration::from_secs(2);
/// Lines of a server that are kept in the log, for each of its lives and streams.
const LOG_LINES: usize = 1000;

/// What a server is and how it is started.
#[derive(Clone, Debug)]
pub(in crate::emulator::vertex) struct Spec {
    pub project: String,
    pub location: String,
    pub endpoint: String,
    pub deployed_model: String,
    pub image: String,
    pub command: Vec<String>,
    pub args: Vec<String>,
    pub env: Vec<EnvVar>,
    /// Begins with a slash.
    pub health_route: String,
    /// Begins with a slash.
    pub predict_route: String,
    /// The contract's variables but the port.
    pub contract: Vec<(String, String)>,
}

#[derive(Clone, Debug, PartialEq)]
enum Health {
    /// Coming up, for the first time or again.
    Starting,
    /// Healthy, on this port.
    Up(u16),
    /// It ended several times before it was healthy; it is still tried.
    Broken(String),
}

/// A server, whatever state it is in.
pub(in crate::emulator::vertex) struct Server {
    pub predict_route: String,
    health: watch::Receiver<Health>,
    stop: Arc<Notify>,
    ended: watch::Receiver<bool>,
}

/// The servers of this run, by the endpoint's key and the deployed model's id.
#[derive(Default)]
pub(in crate::emulator::vertex) struct Servers {
    servers: Mutex<BTreeMap<String, Arc<Server>>>,
    client: OnceLock<reqwest::Client>,
}

impl Servers {
    fn servers(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Server>>> {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self, key: &str) -> Option<Arc<Server>> {
        self.servers().get(key).cloned()
    }

    /// The client of the servers: its connections are kept open.
    ///
    /// # Errors
    /// When it cannot be made, which is a bug.
    pub(in crate::emulator::vertex) fn client(&self) -> Result<&reqwest::Client, ApiError> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        // Whoever came first has installed it; nothing here speaks TLS, but the client insists.
        let _installed = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .no_proxy()
            .pool_max_idle_per_host(256)
            .tcp_nodelay(true)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|e| ApiError::internal(e.to_string()))?;
        Ok(self.client.get_or_init(|| client))
    }
}

/// The server under a key, started if there is none.
pub(in crate::emulator::vertex) fn ensure(
    vertex: &Arc<Vertex>,
    key: &str,
    spec: Spec,
) -> Arc<Server> {
    let mut servers = vertex.serving.servers();
    if let Some(server) = servers.get(key) {
        return server.clone();
    }
    let (health, seen) = watch::channel(Health::Starting);
    let (ended, has_ended) = watch::channel(false);
    let stop = Arc::new(Notify::new());
    let server = Arc::new(Server {
        predict_route: spec.predict_route.clone(),
        health: seen,
        stop: stop.clone(),
        ended: has_ended,
    });
    servers.insert(key.to_owned(), server.clone());
    let shared = vertex.clone();
    vertex.core.spawn(async move {
        supervise(&shared, &spec, &health, &stop).await;
        let _nobody_waits = ended.send(true);
    });
    server
}

/// Ends a server and waits until it is gone.
pub(in crate::emulator::vertex) async fn remove(vertex: &Vertex, key: &str) {
    let server = vertex.serving.servers().remove(key);
    if let Some(server) = server {
        server.stop.notify_one();
        let mut ended = server.ended.clone();
        // Closed without a word only when the emulator itself ends.
        let _closed = ended.wait_for(|ended| *ended).await;
    }
}

impl Server {
    /// The port of a healthy server; waits for one that is coming up, within bounds.
    ///
    /// # Errors
    /// `UNAVAILABLE` when it does not come up.
    pub(in crate::emulator::vertex) async fn port(&self) -> Result<u16, ApiError> {
        if let Health::Up(port) = *self.health.borrow() {
            return Ok(port);
        }
        let mut health = self.health.clone();
        let up = health.wait_for(|health| *health != Health::Starting);
        match tokio::time::timeout(PATIENCE, up).await {
            Ok(Ok(health)) => match &*health {
                Health::Up(port) => Ok(*port),
                _ => Err(ApiError::unavailable("The model server is not available.")),
            },
            _ => Err(ApiError::unavailable("The model server is not ready.")),
        }
    }

    /// Waits until a new server is healthy for the first time.
    ///
    /// # Errors
    /// `FAILED_PRECONDITION` when it never is.
    pub(in crate::emulator::vertex) async fn comes_up(&self) -> Result<(), ApiError> {
        let mut health = self.health.clone();
        let up = health.wait_for(|health| *health != Health::Starting);
        match tokio::time::timeout(COMES_UP, up).await {
            Ok(Ok(health)) => match &*health {
                Health::Broken(why) => Err(ApiError::failed_precondition(format!(
                    "Model server exited unexpectedly. {why}"
                ))),
                _ => Ok(()),
            },
            _ => Err(ApiError::failed_precondition(
                "Model server never became ready. Check the model and the container's configuration.",
            )),
        }
    }
}

async fn supervise(
    vertex: &Arc<Vertex>,
    spec: &Spec,
    health: &watch::Sender<Health>,
    stop: &Notify,
) {
    let mut failures = 0_u32;
    loop {
        let life = live(vertex, spec, health, stop).await;
        let Some(why) = life.ended else { return };
        failures = if life.was_healthy { 0 } else { failures + 1 };
        health.send_replace(if failures >= LIVES {
            Health::Broken(why)
        } else {
            Health::Starting
        });
        let pause = Duration::from_millis(50 << failures.min(6));
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.notified() => return,
        }
    }
}

struct Life {
    was_healthy: bool,
    /// Why it ended; `None` when it was asked to.
    ended: Option<String>,
}

/// One life of a server, from its start to its end.
async fn live(
    vertex: &Arc<Vertex>,
    spec: &Spec,
    health: &watch::Sender<Health>,
    stop: &Notify,
) -> Life {
    let never = |why: String| Life {
        was_healthy: false,
        ended: Some(why),
    };
    let port = match free_port() {
        Ok(port) => port,
        Err(e) => return never(format!("No port is free: {e}.")),
    };
    let mut contract = vec![("AIP_HTTP_PORT".to_owned(), port.to_string())];
    contract.extend(spec.contract.iter().cloned());
    // Arguments may name any variable of the container.
    let args: Vec<String> = spec
        .args
        .iter()
        .map(|arg| container::expand(arg, &contract))
        .collect();
    let container = Container {
        image: &spec.image,
        command: &spec.command,
        args: &args,
        env: &spec.env,
    };
    // What a server does until it is healthy counts in real time.
    let work = vertex.core.keeper.work();
    let prepared = container::prepare(&vertex.core, &container, contract, &work);
    let (mut group, _folder) = match prepared.and_then(|prepared| prepared.start(&vertex.core)) {
        Ok(started) => started,
        Err(why) => return never(why),
    };
    if let Some(stdout) = group.stdout() {
        vertex.core.spawn(logging::follow(
            vertex.core.clone(),
            source(spec, "INFO"),
            stdout,
        ));
    }
    if let Some(stderr) = group.stderr() {
        vertex.core.spawn(logging::follow(
            vertex.core.clone(),
            source(spec, "ERROR"),
            stderr,
        ));
    }
    let mut was_healthy = false;
    let ended = tokio::select! {
        status = group.wait() => Some(match status {
            Ok(status) => format!("It ended with {status}."),
            Err(e) => e.to_string(),
        }),
        why = probe(vertex, spec, port, health, work, &mut was_healthy) => Some(why),
        () = stop.notified() => None,
    };
    if let Err(error) = group.stop(GRACE).await {
        eprintln!("warning: a model server cannot be ended: {error}");
    }
    Life { was_healthy, ended }
}

fn source(spec: &Spec, severity: &'static str) -> Source {
    let labels = [
        ("endpoint_id", &spec.endpoint),
        ("location", &spec.location),
        ("deployed_model_id", &spec.deployed_model),
    ];
    Source {
        project: spec.project.clone(),
        kind: "aiplatform.googleapis.com/Endpoint",
        labels: labels
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.clone()))
            .collect(),
        task: "aiplatform.googleapis.com%2Fprediction_container",
        severity,
        most: LOG_LINES,
    }
}

/// Looks at the health route for as long as the server lives; returns only if that is impossible.
async fn probe(
    vertex: &Vertex,
    spec: &Spec,
    port: u16,
    health: &watch::Sender<Health>,
    starting: Working,
    was_healthy: &mut bool,
) -> String {
    let client = match vertex.serving.client() {
        Ok(client) => client,
        Err(error) => return error.message,
    };
    let url = format!("http://127.0.0.1:{port}{}", spec.health_route);
    let mut bad = 0;
    let mut starting = Some(starting);
    loop {
        let answer = client.get(&url).timeout(PROBE_TIMEOUT).send().await;
        if answer.is_ok_and(|answer| answer.status() == 200) {
            bad = 0;
            *was_healthy = true;
            drop(starting.take());
            health.send_if_modified(|now| {
                let changed = *now != Health::Up(port);
                *now = Health::Up(port);
                changed
            });
        } else {
            bad += 1;
            if bad >= BAD_PROBES {
                health.send_if_modified(|now| {
                    let changed = matches!(now, Health::Up(_));
                    if changed {
                        *now = Health::Starting;
                    }
                    changed
                });
            }
        }
        let up = matches!(*health.borrow(), Health::Up(_));
        tokio::time::sleep(if up { PROBE_EVERY } else { LOOK }).await;
    }
}

/// A port of the loopback that nobody holds at this moment. Somebody may take it before the server
/// does; the server then ends and is started on another one.
fn free_port() -> std::io::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.port())
}
