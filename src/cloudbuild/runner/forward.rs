//! A port for containers that leads to one of this machine's own.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Weak};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio::task::{JoinHandle, JoinSet};
use url::Url;

use crate::engine::{Engine, Gateway};

/// The name of this machine in the containers of an engine that runs in a virtual machine.
const HOST: &str = "host.docker.internal";
/// How often, and how long after one another, a port is asked for that was given back a moment ago.
const TRIES: u32 = 50;
const WAIT: Duration = Duration::from_millis(20);

/// How containers reach an address of this machine.
pub(super) struct Reached {
    /// Without a trailing slash.
    pub(super) url: String,
    /// What containers call this machine by, where it is not the address's own host.
    pub(super) host: Option<String>,
    /// `NAME:ADDRESS` that a container must be told.
    pub(super) hosts: Vec<String>,
    forward: Option<Forward>,
}

/// Makes an address reachable from the network whose containers see this machine at `gateways`.
///
/// The emulator listens on this machine alone, so where the gateway is an address of this machine, a
/// listener there hands connections on, for as long as a container needs it ([`Reached::open`]). Where it
/// is not, the engine runs in a virtual machine, whose name for this machine leads to the same port.
///
/// # Errors
/// When the address is no URL with a port.
pub(super) async fn reach(engine: &Engine, gateways: &[Gateway], url: &str) -> Result<Reached> {
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
            host: None,
            hosts: Vec::new(),
            forward: None,
        });
    };
    if !engine.is_desktop {
        for gateway in gateways {
            if let Some(forward) = Forward::find(*gateway, SocketAddr::new(to, port)).await {
                return Ok(Reached {
                    url: format!("http://{}", forward.at),
                    host: Some(gateway.address.to_string()),
                    hosts: Vec::new(),
                    forward: Some(forward),
                });
            }
        }
    }
    // Engines in a virtual machine know the name themselves; one of Linux has to be told.
    let is_known = engine.is_desktop || !cfg!(target_os = "linux");
    let entry = (!is_known).then(|| format!("{HOST}:host-gateway"));
    Ok(Reached {
        url: format!("http://{HOST}:{port}"),
        host: Some(HOST.to_owned()),
        hosts: entry.into_iter().collect(),
        forward: None,
    })
}

impl Reached {
    /// Lets the network's containers in for as long as any of what this gives is kept.
    ///
    /// # Errors
    /// When somebody else has taken the port meanwhile.
    pub(super) async fn open(&self) -> io::Result<Option<Arc<Door>>> {
        match &self.forward {
            Some(forward) => forward.open().await.map(Some),
            None => Ok(None),
        }
    }
}

/// A port at a network's gateway that can be opened.
struct Forward {
    at: SocketAddr,
    to: SocketAddr,
    gateway: Gateway,
    door: Mutex<Weak<Door>>,
}

/// A listener that hands every connection of its network on; it ends, with its connections, when it is dropped.
pub(super) struct Door(JoinHandle<()>);

impl Forward {
    /// None where the gateway is no address of this machine's.
    async fn find(gateway: Gateway, to: SocketAddr) -> Option<Self> {
        let listener = match TcpListener::bind((gateway.address, to.port())).await {
            Ok(listener) => listener,
            // Somebody else may have the port there.
            Err(_) => TcpListener::bind((gateway.address, 0)).await.ok()?,
        };
        Some(Self {
            at: listener.local_addr().ok()?,
            to,
            gateway,
            door: Mutex::default(),
        })
    }

    async fn open(&self) -> io::Result<Arc<Door>> {
        let mut door = self.door.lock().await;
        if let Some(open) = door.upgrade() {
            return Ok(open);
        }
        let mut tries = 1;
        let listener = loop {
            match TcpListener::bind(self.at).await {
                Ok(listener) => break listener,
                // The one before ends a moment after it is dropped.
                Err(_) if tries < TRIES => tokio::time::sleep(WAIT).await,
                Err(error) => return Err(error),
            }
            tries += 1;
        };
        let opened = Arc::new(Door(tokio::spawn(hand_on(listener, self.gateway, self.to))));
        *door = Arc::downgrade(&opened);
        Ok(opened)
    }
}

async fn hand_on(listener: TcpListener, gateway: Gateway, to: SocketAddr) {
    let mut connections = JoinSet::new();
    // What a connection could not do shows at its two ends.
    while let Ok((mut from, peer)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        if !gateway.is_of(peer.ip()) {
            continue;
        }
        connections.spawn(async move {
            let mut on = TcpStream::connect(to).await?;
            tokio::io::copy_bidirectional(&mut from, &mut on).await
        });
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.0.abort();
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

    fn gateways(texts: &[&str]) -> Vec<Gateway> {
        let gateways = texts.iter().map(|text| Gateway::parse(text));
        gateways.map(Option::unwrap).collect()
    }

    #[tokio::test]
    async fn a_gateway_of_this_machine_hands_connections_on() {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", server.local_addr().unwrap());
        let gateways = gateways(&["192.0.2.77|192.0.2.0/24", "127.0.0.2|127.0.0.0/8"]);
        let reached = reach(&engine(false), &gateways, &url).await.unwrap();
        let address = reached.url.strip_prefix("http://").unwrap().to_owned();
        assert!(address.starts_with("127.0.0.2:"), "{address}");
        assert_eq!(reached.host.as_deref(), Some("127.0.0.2"));
        assert!(
            TcpStream::connect(&address).await.is_err(),
            "no container runs"
        );
        let first = reached.open().await.unwrap();
        let door = reached.open().await.unwrap();
        drop(first);
        let mut client = TcpStream::connect(&address).await.unwrap();
        client.write_all(b"hi").await.unwrap();
        let (mut served, _) = server.accept().await.unwrap();
        let mut read = [0; 2];
        served.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"hi");
        drop(door);
        // Its connections end with it.
        assert_eq!(client.read(&mut read).await.unwrap_or(0), 0);
        let _again = reached.open().await.unwrap();
        TcpStream::connect(&address).await.unwrap();
    }

    #[tokio::test]
    async fn others_than_the_network_are_not_let_in() {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", server.local_addr().unwrap());
        let gateways = gateways(&["127.0.0.3|127.0.0.2/31"]);
        let reached = reach(&engine(false), &gateways, &url).await.unwrap();
        let _door = reached.open().await.unwrap();
        let address = reached.url.strip_prefix("http://").unwrap();
        // Connected by the operating system, and ended without a word.
        let mut stranger = TcpStream::connect(address).await.unwrap();
        assert_eq!(stranger.read(&mut [0; 2]).await.unwrap_or(0), 0);
    }

    #[tokio::test]
    async fn an_engine_in_a_virtual_machine_has_a_name_for_this_one() {
        let gateways = gateways(&["127.0.0.2|127.0.0.0/8"]);
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
