//! The container engine of this machine, by its command line, `docker`.
//!
//! The program rather than a client of its REST interface: it finds the engine as the user has set it
//! up (contexts, `DOCKER_HOST`, TLS, ssh), logs in to registries as the user did, and needs no crate.
//! What is left on the engine by a process that was killed is found again by a label.

use std::ffi::OsStr;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

/// The command line.
const PROGRAM: &str = "docker";
/// How long the engine may take to say that it is there.
const FIND: Duration = Duration::from_secs(10);
/// How long it may take for anything else that is not a pull, a run or a push.
const ANSWER: Duration = Duration::from_secs(60);
/// Where a container finds the engine's socket.
pub(crate) const SOCKET: &str = "/var/run/docker.sock";
/// The label of what belongs to a run; its value says to which.
const LABEL: &str = "serin.run";

/// The engine refused, or did not answer.
#[derive(Clone, Debug, thiserror::Error)]
#[error("`docker {command}`: {message}")]
pub(crate) struct Error {
    /// The words of the command, without its values: some are secret.
    pub command: String,
    /// What the engine said.
    pub message: String,
}

/// An engine that answered.
#[derive(Clone, Debug)]
pub(crate) struct Engine {
    /// As in `28.2.2`.
    pub version: String,
    /// Where it is, as in `unix:///var/run/docker.sock`.
    pub host: String,
    /// Its containers run in a virtual machine of Docker Desktop's.
    pub is_desktop: bool,
}

/// An image that the engine has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Image {
    /// `sha256:…` of its configuration.
    pub id: String,
    /// It came from a registry or was pushed to one.
    pub has_digest: bool,
}

/// How a container stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct State {
    /// None where its process was never started, or runs still.
    pub exit_code: Option<i32>,
    pub was_started: bool,
    /// Why it was not started; empty where it was.
    pub error: String,
}

/// What a container sees as a folder or file of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mount {
    /// A file or folder of this machine.
    Bind {
        from: PathBuf,
        to: String,
        read_only: bool,
    },
    /// A named volume.
    Volume { name: String, to: String },
}

/// A container that is to be made.
#[derive(Clone, Debug, Default)]
pub(crate) struct Container {
    pub name: String,
    /// To which run it belongs.
    pub owner: String,
    pub image: String,
    pub network: String,
    pub privileged: bool,
    /// In place of the image's own, as in `0:0`.
    pub user: Option<String>,
    /// In place of the image's own.
    pub entrypoint: Option<String>,
    pub args: Vec<String>,
    pub folder: String,
    /// Each name once.
    pub env: Vec<(String, String)>,
    /// Variables whose values stand in no command line.
    pub secrets: Vec<(String, String)>,
    pub mounts: Vec<Mount>,
    /// `NAME:ADDRESS`, beside the names that the network knows.
    pub hosts: Vec<String>,
}

/// Variables that the command line reads itself, so that none of them can be passed on through it.
const OF_THE_CLIENT: [&str; 15] = [
    "DOCKER_API_VERSION",
    "DOCKER_CERT_PATH",
    "DOCKER_CONFIG",
    "DOCKER_CONTENT_TRUST",
    "DOCKER_CONTEXT",
    "DOCKER_CUSTOM_HEADERS",
    "DOCKER_DEFAULT_PLATFORM",
    "DOCKER_HOST",
    "DOCKER_TLS",
    "DOCKER_TLS_VERIFY",
    "GODEBUG",
    "HOME",
    "LD_LIBRARY_PATH",
    "LD_PRELOAD",
    "PATH",
];

/// Whether a secret may have this name.
pub(crate) fn can_be_secret(name: &str) -> bool {
    !OF_THE_CLIENT.contains(&name)
}

impl Engine {
    /// Asks for the engine.
    ///
    /// # Errors
    /// Why there is none, in a sentence.
    pub(crate) async fn find() -> Result<Self, String> {
        let asked = [
            "info",
            "--format",
            "{{.ServerVersion}}|{{.OSType}}|{{.OperatingSystem}}",
        ];
        let answer = match tokio::time::timeout(FIND, command(asked).output()).await {
            Err(_) => {
                return Err(format!(
                    "the container engine does not answer within {} seconds",
                    FIND.as_secs()
                ));
            }
            Ok(Err(e)) if e.kind() == std::io::ErrorKind::NotFound => {
                return Err(format!("there is no `{PROGRAM}` in the PATH"));
            }
            Ok(Err(e)) => return Err(format!("`{PROGRAM}` cannot be started: {e}")),
            Ok(Ok(answer)) => answer,
        };
        let text = String::from_utf8_lossy(&answer.stdout);
        let mut fields = text.trim().splitn(3, '|');
        let mut field = || fields.next().unwrap_or_default().to_owned();
        let (version, kind, system) = (field(), field(), field());
        if !answer.status.success() || version.is_empty() {
            return Err(first_line(&answer.stderr));
        }
        if kind != "linux" {
            return Err(format!(
                "the container engine runs {kind} containers, not those of Linux"
            ));
        }
        let host = ask(
            &["context", "inspect"],
            ["--format", "{{.Endpoints.docker.Host}}"],
        )
        .await;
        Ok(Self {
            version,
            host: host.map_err(|e| e.to_string())?,
            is_desktop: system == "Docker Desktop",
        })
    }

    /// The socket that a container mounts to speak to the engine; none where that is not a socket.
    pub(crate) fn socket(&self) -> Option<PathBuf> {
        let path = self.host.strip_prefix("unix://")?;
        // Where the engine is in a virtual machine, the path is one of that machine.
        let is_here = cfg!(target_os = "linux") && !self.is_desktop;
        Some(PathBuf::from(if is_here { path } else { SOCKET }))
    }

    /// Whether the engine is reached by a socket of this machine, so that it sees this machine's files.
    pub(crate) fn is_local(&self) -> bool {
        self.host.starts_with("unix://")
    }

    /// The image, where the engine has it.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub(crate) async fn image(&self, name: &str) -> Result<Option<Image>, Error> {
        let format = "{{.Id}}|{{len .RepoDigests}}";
        match ask(&["image", "inspect"], ["--format", format, name]).await {
            Ok(text) => Ok(text.split_once('|').map(|(id, digests)| Image {
                id: id.to_owned(),
                has_digest: digests != "0",
            })),
            Err(error) if is_absent(&error, "no such image") => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The command that pulls an image and says how far it is.
    pub(crate) fn pull(&self, image: &str) -> Command {
        command(["pull", image])
    }

    /// Makes a container, which does not run yet, and gives its id.
    ///
    /// # Errors
    /// When the engine refuses.
    pub(crate) async fn create(&self, container: &Container) -> Result<String, Error> {
        let mut create = command(["create", "--pull", "never"]);
        create.args(arguments(container));
        create.envs(container.secrets.iter().map(|(name, value)| (name, value)));
        answer(create, "create").await
    }

    /// The command that starts a container and lasts as long as it, with its two streams.
    pub(crate) fn start(&self, id: &str) -> Command {
        command(["start", "--attach", id])
    }

    /// Runs a container that is soon done to its end, and removes it.
    ///
    /// # Errors
    /// When the engine refuses, or it ends with another exit code than 0.
    pub(crate) async fn run(&self, container: &Container) -> Result<(), Error> {
        let id = self.create(container).await?;
        let ran = answer(self.start(&id), "start").await;
        self.remove(&id).await?;
        ran.map(drop)
    }

    /// Sends a signal, as in `TERM`, to a container's first process; one that has ended is no error.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub(crate) async fn kill(&self, id: &str, signal: &str) -> Result<(), Error> {
        match ask(&["kill"], ["--signal", signal, id]).await {
            Err(error) if !is_absent(&error, "is not running") && !is_absent(&error, "no such") => {
                Err(error)
            }
            _ => Ok(()),
        }
    }

    /// How a container stands.
    ///
    /// # Errors
    /// When there is no such container, or the engine does not answer.
    pub(crate) async fn state(&self, id: &str) -> Result<State, Error> {
        let format = "{{.State.Running}}|{{.State.StartedAt}}|{{.State.ExitCode}}|{{.State.Error}}";
        let text = ask(&["container", "inspect"], ["--format", format, id]).await?;
        let mut fields = text.splitn(4, '|');
        let is_running = fields.next() == Some("true");
        // Year 1 is the engine's word for never.
        let was_started = fields.next().is_some_and(|time| !time.starts_with("0001-"));
        let code = fields.next().and_then(|code| code.parse().ok());
        Ok(State {
            exit_code: code.filter(|_| was_started && !is_running),
            was_started,
            error: fields.next().unwrap_or_default().to_owned(),
        })
    }

    /// Removes a container, which may run, and its nameless volumes; one that is gone is no error.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub(crate) async fn remove(&self, id: &str) -> Result<(), Error> {
        match ask(&["rm"], ["--force", "--volumes", id]).await {
            Err(error) if !is_absent(&error, "no such container") => Err(error),
            _ => Ok(()),
        }
    }

    /// Removes every container and volume that belongs to a run.
    ///
    /// # Errors
    /// When the engine does not answer, or somebody else uses one of the volumes.
    pub(crate) async fn sweep(&self, owner: &str) -> Result<(), Error> {
        let label = format!("label={LABEL}={owner}");
        let containers = ask(&["ps"], ["--all", "--quiet", "--filter", &label]).await?;
        if !containers.is_empty() {
            let flags = ["--force", "--volumes"].into_iter();
            ask(&["rm"], flags.chain(containers.lines())).await?;
        }
        let volumes = ask(&["volume", "ls"], ["--quiet", "--filter", &label]).await?;
        if !volumes.is_empty() {
            ask(&["volume", "rm"], volumes.lines()).await?;
        }
        Ok(())
    }

    /// Makes an empty volume.
    ///
    /// # Errors
    /// When the engine refuses.
    pub(crate) async fn make_volume(&self, name: &str, owner: &str) -> Result<(), Error> {
        let label = format!("{LABEL}={owner}");
        ask(&["volume", "create"], ["--label", &label, name])
            .await
            .map(drop)
    }

    /// Makes a bridge network unless there is one of the name, and gives the gateways by which its
    /// containers reach the engine's machine.
    ///
    /// # Errors
    /// When the engine refuses.
    pub(crate) async fn network(&self, name: &str) -> Result<Vec<Gateway>, Error> {
        let gateways = || {
            let format = "{{range .IPAM.Config}}{{.Gateway}}|{{.Subnet}} {{end}}";
            ask(&["network", "inspect"], ["--format", format, name])
        };
        let text = match gateways().await {
            Err(_) => {
                let made = ask(&["network", "create"], ["--driver", "bridge", name]).await;
                // Another run may have been faster.
                match gateways().await {
                    Ok(text) => text,
                    Err(error) => return Err(made.err().unwrap_or(error)),
                }
            }
            Ok(text) => text,
        };
        Ok(text.split_whitespace().filter_map(Gateway::parse).collect())
    }
}

/// The engine's machine as the containers of a network see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gateway {
    pub address: IpAddr,
    /// The network's own addresses: one of them, and how many bits all have in common with it.
    subnet: (IpAddr, u32),
}

impl Gateway {
    /// Reads `GATEWAY|ADDRESS/BITS`; some versions write the bits behind the gateway, too.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (gateway, subnet) = text.split_once('|')?;
        let (first, bits) = subnet.split_once('/')?;
        Some(Self {
            address: gateway.split('/').next()?.parse().ok()?,
            subnet: (first.parse().ok()?, bits.parse().ok()?),
        })
    }

    /// Whether an address is one of the network's.
    pub(crate) fn is_of(&self, address: IpAddr) -> bool {
        // Left aligned, so that bits count alike in both families.
        let number = |address: IpAddr| match address {
            IpAddr::V4(v4) => u128::from(v4.to_bits()) << 96,
            IpAddr::V6(v6) => v6.to_bits(),
        };
        let (first, bits) = self.subnet;
        let mask = u128::MAX
            .checked_shl(128_u32.saturating_sub(bits))
            .unwrap_or(0);
        first.is_ipv4() == address.is_ipv4() && (number(first) ^ number(address)) & mask == 0
    }
}

/// The words behind `docker create`.
fn arguments(container: &Container) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut flag = |name: &str, value: &str| words.extend([name.to_owned(), value.to_owned()]);
    flag("--name", &container.name);
    flag("--label", &format!("{LABEL}={}", container.owner));
    flag("--network", &container.network);
    flag("--workdir", &container.folder);
    // The lines are read as they are written; nobody reads them again from the engine.
    flag("--log-driver", "none");
    for host in &container.hosts {
        flag("--add-host", host);
    }
    for (name, value) in &container.env {
        flag("--env", &format!("{name}={value}"));
    }
    for (name, _) in &container.secrets {
        flag("--env", name);
    }
    for mount in &container.mounts {
        flag("--mount", &mount.to_string());
    }
    if let Some(user) = &container.user {
        flag("--user", user);
    }
    if let Some(entrypoint) = &container.entrypoint {
        flag("--entrypoint", entrypoint);
    }
    if container.privileged {
        words.push("--privileged".to_owned());
    }
    words.push(container.image.clone());
    words.extend(container.args.iter().cloned());
    words
}

impl Mount {
    /// Where it is in the container.
    pub(crate) fn target(&self) -> &str {
        match self {
            Self::Bind { to, .. } | Self::Volume { to, .. } => to,
        }
    }
}

impl std::fmt::Display for Mount {
    /// A record of comma-separated values, as `--mount` takes it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let quoted = |field: String| format!("\"{}\"", field.replace('"', "\"\""));
        match self {
            Self::Bind {
                from,
                to,
                read_only,
            } => {
                let from = quoted(format!("source={}", from.display()));
                write!(f, "type=bind,{from},{}", quoted(format!("target={to}")))?;
                f.write_str(if *read_only { ",readonly" } else { "" })
            }
            Self::Volume { name, to } => {
                let to = quoted(format!("target={to}"));
                write!(f, "type=volume,source={name},{to}")
            }
        }
    }
}

fn is_absent(error: &Error, words: &str) -> bool {
    error.message.to_lowercase().contains(words)
}

/// A command of the engine's, in a group of its own: a Ctrl-C at the terminal is for serin alone.
fn command<S: AsRef<OsStr>>(words: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(PROGRAM);
    command
        .args(words)
        // Messages and dates as this file reads them.
        .env("LC_ALL", "C")
        .env("DOCKER_CLI_HINTS", "false")
        .stdin(Stdio::null())
        .process_group(0)
        .kill_on_drop(true);
    command
}

/// Runs `docker WORDS VALUES…` and gives what it printed.
async fn ask<S: AsRef<OsStr>>(
    words: &[&str],
    values: impl IntoIterator<Item = S>,
) -> Result<String, Error> {
    let mut asked = command(words);
    asked.args(values);
    answer(asked, &words.join(" ")).await
}

async fn answer(mut command: Command, words: &str) -> Result<String, Error> {
    let failed = |message: String| Error {
        command: words.to_owned(),
        message,
    };
    let output = tokio::time::timeout(ANSWER, command.output())
        .await
        .map_err(|_| failed(format!("no answer within {} seconds", ANSWER.as_secs())))?
        .map_err(|e| failed(e.to_string()))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
        false => Err(failed(first_line(&output.stderr))),
    }
}

/// What the engine says went wrong.
fn first_line(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let line = text.lines().map(str::trim).find(|line| !line.is_empty());
    line.unwrap_or("it failed and does not say why").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_containers_words_hold_no_secret_value() {
        let words = arguments(&Container {
            name: "n".into(),
            image: "i".into(),
            entrypoint: Some("sh".into()),
            args: vec!["-c".into(), "x".into()],
            env: vec![("A".into(), "b c".into())],
            secrets: vec![("TOKEN".into(), "hush".into())],
            ..Container::default()
        });
        let line = words.join("|");
        assert!(line.contains("--env|A=b c|--env|TOKEN|"), "{line}");
        assert!(line.ends_with("--entrypoint|sh|i|-c|x"), "{line}");
        assert!(
            !line.contains("hush") && !line.contains("--privileged"),
            "{line}"
        );
    }

    #[test]
    fn a_network_knows_its_addresses() {
        let gateway = Gateway::parse("172.18.0.1|172.18.0.0/16").unwrap();
        assert_eq!(gateway.address.to_string(), "172.18.0.1");
        for (address, is_of) in [
            ("172.18.0.2", true),
            ("172.18.255.255", true),
            ("172.19.0.1", false),
            ("127.0.0.1", false),
            ("::1", false),
        ] {
            assert_eq!(gateway.is_of(address.parse().unwrap()), is_of, "{address}");
        }
        let gateway = Gateway::parse("fd00:1::1/64|fd00:1::/64").unwrap();
        assert!(gateway.is_of("fd00:1::9".parse().unwrap()));
        assert!(!gateway.is_of("fd00:2::9".parse().unwrap()));
        let all = Gateway::parse("10.0.0.1|0.0.0.0/0").unwrap();
        assert!(all.is_of("192.0.2.1".parse().unwrap()));
        for text in ["", "|", "172.18.0.1|", "|172.18.0.0/16", "x|172.18.0.0/16"] {
            assert_eq!(Gateway::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_mount_takes_any_path() {
        let mount = Mount::Bind {
            from: "/a,b\"c".into(),
            to: "/x:y".into(),
            read_only: true,
        };
        let expected = "type=bind,\"source=/a,b\"\"c\",\"target=/x:y\",readonly";
        assert_eq!(mount.to_string(), expected);
    }
}
