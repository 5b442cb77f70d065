//! A port for containers that leads to one of this machine's own.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::{Context, Result};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use url::Url;

use crate::engine::Engine;

/// The name of this machine in the containers of an engine that runs in a virtual machine.
const HOST: &str = "host.docker.internal";

/// How containers reach an address of this machine.
pub(super) struct Reached {
    /// Without a trailing slash.
    pub(super) url: String,
    /// `NAME:ADDRESS` that a container must be told.
    pub(super) hosts: Vec<String>,
    /// What makes it so; it ends when this is dropped.
    _forward: Option<Forward>,
}

/// Makes an address reachable from the network whose containers see this machine at `gateways`.
///
/// The emulator listens on this machine alone, so where the gateway is an address of this machine, a
/// listener there hands every connection on. Where it is not, the engine runs in a virtual machine,
/// whose name for this machine leads to the same port.
///
/// # Errors
/// When the address is no URL with a port.
pub(super) async fn reach(engine: &Engine, gateways: &[String], url: &str) -> Result<Reached> {
    let parsed = Url::parse(url).context("reading the emulator's address")?;
    let host = parsed.host_str().context("the emulator has no address")?;
    let port = parsed
        .port_or_known_default()
        .context("the emulator has no port")?;
    let address: Option<IpAddr> = match host {
        "localhost" => Some(Ipv4Addr::LOCALHOST.into()),
        host => host.trim_matches(['[', ']']).parse().ok(),
    };
    let Some(to) = address.filter(IpAddr::is_loopback) else {
        return Ok(Reached {
            url: url.to_owned(),
            hosts: Vec::new(),
            _forward: None,
        });
    };
    if !engine.is_desktop {
        for gateway in gateways.iter().filter_map(|text| text.parse().ok()) {
            if let Some(forward) = Forward::start(gateway, SocketAddr::new(to, port)).await {
                return Ok(Reached {
                    url: format!("http://{}", forward.at),
                    hosts: Vec::new(),
                    _forward: Some(forward),
                });
            }
        }
    }
    // Engines in a virtual machine know the name themselves; one of Linux has to be told.
    let is_known = engine.is_desktop || !cfg!(target_os = "linux");
    let told = (!is_known).then(|| format!("{HOST}:host-gateway"));
    Ok(Reached {
        url: format!("http://{HOST}:{port}"),
        hosts: told.into_iter().collect(),
        _forward: None,
    })
}

/// A listener that hands every connection on; it ends, with its connections, when it is dropped.
struct Forward {
    at: SocketAddr,
    task: JoinHandle<()>,
}

impl Forward {
    /// None where the address is not this machine's.
    async fn start(gateway: IpAddr, to: SocketAddr) -> Option<Self> {
        let listener = match TcpListener::bind((gateway, to.port())).await {
            Ok(listener) => listener,
            // Somebody else may have the port there.
            Err(_) => TcpListener::bind((gateway, 0)).await.ok()?,
        };
        let at = listener.local_addr().ok()?;
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            // What a connection could not do shows at its two ends.
            while let Ok((mut from, _)) = listener.accept().await {
                while connections.try_join_next().is_some() {}
                connections.spawn(async move {
                    let mut on = TcpStream::connect(to).await?;
                    tokio::io::copy_bidirectional(&mut from, &mut on).await
                });
            }
        });
        Some(Self { at, task })
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    fn engine(is_desktop: bool) -> Engine {
        Engine {
            version: "28".into(),
            host: "unix:///x".into(),
            is_desktop,
        }
    }

    #[tokio::test]
    async fn a_gateway_of_this_machine_hands_connections_on() {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", server.local_addr().unwrap());
        let gateways = ["192.0.2.77".to_owned(), "127.0.0.2".to_owned()];
        let reached = reach(&engine(false), &gateways, &url).await.unwrap();
        let address = reached.url.strip_prefix("http://").unwrap().to_owned();
        assert!(address.starts_with("127.0.0.2:"), "{address}");
        let mut client = TcpStream::connect(&address).await.unwrap();
        client.write_all(b"hi").await.unwrap();
        let (mut served, _) = server.accept().await.unwrap();
        let mut read = [0; 2];
        served.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"hi");
        drop(reached);
        // Its connections end with it.
        assert_eq!(client.read(&mut read).await.unwrap_or(0), 0);
    }

    #[tokio::test]
    async fn an_engine_in_a_virtual_machine_has_a_name_for_this_one() {
        let gateways = ["127.0.0.2".to_owned()];
        let url = async |is_desktop, url| {
            let reached = reach(&engine(is_desktop), &gateways, url).await;
            reached.unwrap().url
        };
        let desktop = url(true, "http://127.0.0.1:8085").await;
        assert_eq!(desktop, "http://host.docker.internal:8085");
        let elsewhere = url(false, "http://10.0.0.9:8085").await;
        assert_eq!(elsewhere, "http://10.0.0.9:8085");
    }
}
