//! What `serin run` says at its end: the verdicts, where the page is, how to call the endpoint.

use std::path::Path;

use anyhow::Result;
use serde_json::json;

use super::snapshot_files;
use crate::data::instances::some_instances;
use crate::printable::{self, word};
use crate::report::{self, terminal};
use crate::workspace::Workspace;
use crate::workspace::records::{Dataset, DeployVerdict, Deployed};

/// How the endpoint can be reached after the build.
pub(crate) enum Cloud<'a> {
    /// The emulator ended with the build; its state is here.
    Stopped { state: &'a Path },
    /// An emulator that goes on running.
    Running { url: &'a str },
}

/// The port that the hint proposes for an emulator started by hand.
const PORT: u16 = 8085;

/// The text for the end of a build, from the records that its steps left.
///
/// # Errors
/// When the snapshot cannot be read.
pub(crate) fn summary(workspace: &Workspace, cloud: &Cloud<'_>) -> Result<String> {
    let mut text = terminal::summary(workspace);
    let page = workspace.path(Workspace::relative(report::FILE));
    if page.exists() {
        // A step that was killed could not say so on the page. What a step in a container wrote may not be ours to change.
        if let Err(e) = report::write_ended(workspace) {
            eprintln!("warning: the page is not up to date: {e:#}");
        }
        text.push_str(&format!(
            "\nreport: {}\n",
            printable::text(&near(&page).to_string_lossy())
        ));
    }
    let (Some(deployed), Some(dataset)) =
        (workspace.peek::<Deployed>(), workspace.peek::<Dataset>())
    else {
        return Ok(text);
    };
    if deployed.verdict != DeployVerdict::Promoted {
        return Ok(text);
    }
    let test = snapshot_files::local_test(workspace, &dataset.test);
    if !test.files().iter().all(|file| file.exists()) {
        // There is no row to call the endpoint with.
        return Ok(text);
    }
    let rows = some_instances(test.files(), &dataset.features, 1, 1)?;
    let body = json!({ "instances": rows });
    let url = match cloud {
        Cloud::Running { url } => (*url).to_owned(),
        Cloud::Stopped { state } => {
            text.push_str(&format!(
                "\nto call the endpoint, serve the state that this build left:\n  serin emulate --state {} --port {PORT}\n",
                word(&near(state).display().to_string())
            ));
            format!("http://127.0.0.1:{PORT}")
        }
    };
    let url = match &deployed.dedicated_dns {
        Some(dns) => at_host(dns, &url),
        None => url,
    };
    text.push_str(&format!(
        "{}:\n  curl -X POST -H 'Content-Type: application/json' \\\n    {url}/v1/{}:predict \\\n    -d {}\n",
        if matches!(cloud, Cloud::Running { .. }) { "\nto call the endpoint" } else { "and in another terminal" },
        printable::line(&deployed.endpoint),
        word(&printable::json(&body.to_string()))
    ));
    Ok(text)
}

/// A host of the emulator's at the port of a URL, which may be another than when the host was named.
fn at_host(dns: &str, url: &str) -> String {
    let host = dns.split(':').next().unwrap_or(dns);
    let port = url.rsplit(':').next().unwrap_or_default();
    format!("http://{host}:{port}")
}

/// A path as seen from the current folder, where it lies in it.
fn near(path: &Path) -> &Path {
    let here = std::env::current_dir().and_then(|here| here.canonicalize());
    let here = here.unwrap_or_default();
    path.strip_prefix(&here).unwrap_or(path)
}
