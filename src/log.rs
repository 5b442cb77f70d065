//! The lines of `serin fit` and `serin serve`, which run as containers of Google Cloud.
//!
//! There, as the environment tells, a line is a JSON object on standard output, which Cloud Logging makes an
//! entry with this severity of; what stands on standard error would all be errors. Anywhere else a line is
//! text on standard error.

use std::ffi::OsString;
use std::io::Write as _;

use serde::Serialize;

use crate::printable;

#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "UPPERCASE")]
enum Severity {
    Info,
    Error,
}

/// Says what happened.
pub(crate) fn info(message: &str) {
    say(Severity::Info, message);
}

/// Says what went wrong. The message may have several lines, and stays one entry.
pub(crate) fn error(message: &str) {
    say(Severity::Error, message);
}

fn say(severity: Severity, message: &str) {
    let inside = is_collected(std::env::vars_os().map(|(name, _)| name));
    // A reader that went away must not end a server.
    let _gone = if inside {
        writeln!(std::io::stdout(), "{}", entry(severity, message))
    } else {
        writeln!(std::io::stderr(), "{}", printable::text(message))
    };
}

/// Whether these variables are of a container whose output Cloud Logging collects: Cloud Run's, or those of
/// Vertex AI's training and serving.
fn is_collected(variables: impl Iterator<Item = OsString>) -> bool {
    variables.into_iter().any(|name| {
        let name = name.to_string_lossy();
        name == "K_SERVICE" || name == "CLOUD_ML_JOB_ID" || name.starts_with("AIP_")
    })
}

/// One line that Cloud Logging understands.
fn entry(severity: Severity, message: &str) -> String {
    let entry = serde_json::json!({ "severity": severity, "message": message }).to_string();
    printable::json(&entry).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_one_line_of_json() {
        let line = entry(Severity::Error, "a \"quoted\" word\nand a second line");
        assert!(!line.contains('\n'), "{line}");
        let read: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(read["severity"], "ERROR");
        assert_eq!(read["message"], "a \"quoted\" word\nand a second line");
    }

    #[test]
    fn containers_of_the_cloud_are_known_by_their_variables() {
        let collected = |names: &[&str]| is_collected(names.iter().map(|name| (*name).into()));
        for name in ["K_SERVICE", "CLOUD_ML_JOB_ID", "AIP_HTTP_PORT"] {
            assert!(collected(&["PATH", name]), "{name}");
        }
        assert!(!collected(&["PATH", "SERIN_CLOCK", "CLOUD_ML", "XAIP_A"]));
    }
}
