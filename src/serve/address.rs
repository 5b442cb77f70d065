//! Where the server listens: for this machine alone, unless it runs in a container or is told otherwise.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr};

use anyhow::Result;

use crate::error::Input;
use crate::listen::CONTAINER_NETWORK_VARIABLE;

/// An address, and why it is that one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub host: IpAddr,
    /// For the line that says where the server listens.
    pub why: String,
}

impl Address {
    /// The address for the flag `--host` and the variables of the environment: every one of the machine's in a container
    /// of Vertex AI (`AIP_…`) or Cloud Run (`K_SERVICE`), else the loopback.
    ///
    /// # Errors
    /// [`Input`] where the emulator's variable is no address.
    pub(crate) fn choose(
        flag: Option<IpAddr>,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self> {
        let mut network = None;
        let mut container = None::<String>;
        for (name, value) in variables {
            let Some(name) = name.to_str() else { continue };
            if name == CONTAINER_NETWORK_VARIABLE {
                network = Some(value);
            } else if name == "K_SERVICE" || name.starts_with("AIP_") {
                // The first by name, so that the reason is always the same one.
                container = Some(container.map_or(name.to_owned(), |c| c.min(name.to_owned())));
            }
        }
        if let Some(network) = network {
            let host = network.to_str().and_then(|network| network.parse().ok());
            let host = host.ok_or_else(|| {
                let network = network.display();
                Input::new(format!(
                    "`{CONTAINER_NETWORK_VARIABLE}` is `{network}`, which is no address"
                ))
            })?;
            let why = "the network of an emulated container".to_owned();
            return Ok(Self { host, why });
        }
        let (host, why) = match (flag, container) {
            (Some(host), _) => (host, "as `--host` says".to_owned()),
            (None, Some(name)) => (
                IpAddr::V4(Ipv4Addr::UNSPECIFIED),
                format!("for every machine: `{name}` is set, so this is a container"),
            ),
            (None, None) => (
                IpAddr::V4(Ipv4Addr::LOCALHOST),
                "for this machine alone; `--host 0.0.0.0` listens for others".to_owned(),
            ),
        };
        Ok(Self { host, why })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(flag: Option<&str>, variables: &[(&str, &str)]) -> (String, String) {
        let variables = variables
            .iter()
            .map(|(name, value)| (name.into(), value.into()));
        let address = Address::choose(flag.map(|flag| flag.parse().unwrap()), variables).unwrap();
        (address.host.to_string(), address.why)
    }

    #[test]
    fn only_a_container_listens_for_other_machines() {
        for (variables, host, why) in [
            (&[][..], "127.0.0.1", "this machine alone"),
            (
                &[("PATH", "/bin"), ("K_SERVICES", "x")],
                "127.0.0.1",
                "this machine alone",
            ),
            (
                &[("AIP_STORAGE_URI", "x"), ("AIP_HTTP_PORT", "1")],
                "0.0.0.0",
                "`AIP_HTTP_PORT`",
            ),
            (&[("K_SERVICE", "churn")], "0.0.0.0", "`K_SERVICE`"),
        ] {
            let (chosen, because) = chosen(None, variables);
            assert_eq!(chosen, host, "{variables:?}");
            assert!(because.contains(why), "{because}");
        }
    }

    #[test]
    fn the_flag_decides_and_an_emulated_container_keeps_to_its_network() {
        let aip = ("AIP_HTTP_PORT", "8080");
        assert_eq!(chosen(Some("::1"), &[aip]).0, "::1");
        assert_eq!(chosen(Some("0.0.0.0"), &[]).0, "0.0.0.0");
        let emulated = (CONTAINER_NETWORK_VARIABLE, "127.0.0.1");
        assert_eq!(chosen(None, &[aip, emulated]).0, "127.0.0.1");
        assert_eq!(chosen(Some("0.0.0.0"), &[aip, emulated]).0, "127.0.0.1");
        let wrong = [(CONTAINER_NETWORK_VARIABLE.into(), "all".into())];
        assert_eq!(
            Address::choose(None, wrong).unwrap_err().to_string(),
            "`SERIN_CONTAINER_NETWORK` is `all`, which is no address"
        );
    }
}
