//! The variables that point clients at an emulator, and the text of `serin emulate env`, which also
//! says what to do about the clients that no variable reaches.

use crate::error::Input;
use crate::printable::sh_word;

/// The variable that names a BigQuery emulator, which is another program's affair.
const BIGQUERY: &str = "BIGQUERY_EMULATOR_HOST";
/// Where BigQuery's name for gcloud and bq is, in the same form as the others.
const BIGQUERY_OVERRIDE: &str = "CLOUDSDK_API_ENDPOINT_OVERRIDES_BIGQUERY";

/// The variables that point Google's clients, serin's steps among them, at an emulator. BigQuery's
/// are among them where `BIGQUERY_EMULATOR_HOST` is set here.
pub fn variables(url: &str) -> Vec<(String, String)> {
    with_bigquery(url, std::env::var(BIGQUERY).ok().as_deref())
}

fn with_bigquery(url: &str, bigquery: Option<&str>) -> Vec<(String, String)> {
    let mut variables = vec![("STORAGE_EMULATOR_HOST".to_owned(), url.to_owned())];
    for api in [
        "AIPLATFORM",
        "CLOUDBUILD",
        "LOGGING",
        "MONITORING",
        "STORAGE",
    ] {
        variables.push((
            format!("CLOUDSDK_API_ENDPOINT_OVERRIDES_{api}"),
            format!("{url}/"),
        ));
    }
    variables.push(("CLOUDSDK_AUTH_DISABLE_CREDENTIALS".into(), "true".into()));
    if let Some(host) = bigquery.filter(|host| !host.is_empty()) {
        let url = with_scheme(host);
        variables.push((BIGQUERY.into(), url.clone()));
        variables.push((BIGQUERY_OVERRIDE.into(), format!("{url}/")));
    }
    variables
}

/// The project that is meant where nobody names one: `CLOUDSDK_CORE_PROJECT`, else
/// `GOOGLE_CLOUD_PROJECT`, else `local-project`.
pub fn local_project() -> String {
    ["CLOUDSDK_CORE_PROJECT", "GOOGLE_CLOUD_PROJECT"]
        .into_iter()
        .filter_map(|name| std::env::var(name).ok())
        .find(|project| !project.is_empty())
        .unwrap_or_else(|| "local-project".to_owned())
}

/// An address without a slash at its end; one without a scheme is meant as http.
fn with_scheme(host: &str) -> String {
    let scheme = if host.contains("://") { "" } else { "http://" };
    format!("{scheme}{}", host.trim_end_matches('/'))
}

/// The address of an emulator as a user writes it: `http://HOST:PORT`, or without the scheme.
///
/// # Errors
/// [`Input`] when it is no such address.
pub fn address(text: &str) -> Result<String, Input> {
    let url = with_scheme(text);
    let wrong = |why: &str| {
        Input::new(format!("`{text}` is no address of an emulator: {why}"))
            .hint("write it as in `--url http://127.0.0.1:8085`")
    };
    let parsed = url::Url::parse(&url).map_err(|e| wrong(&e.to_string()))?;
    if !matches!(parsed.scheme(), "http" | "https") {
        return Err(wrong("its scheme is neither http nor https"));
    }
    if !matches!(parsed.path(), "" | "/") || parsed.query().is_some() {
        return Err(wrong("it has a path"));
    }
    if parsed.host_str().is_none_or(str::is_empty) {
        return Err(wrong("it has no host"));
    }
    Ok(url)
}

/// What `eval "$(serin emulate env)"` reads: the exports, then what no variable can do, as comments.
pub fn exports(url: &str, project: &str) -> String {
    exports_with(url, project, std::env::var(BIGQUERY).ok().as_deref())
}

fn exports_with(url: &str, project: &str, bigquery: Option<&str>) -> String {
    let mut text = String::new();
    let mut all = with_bigquery(url, bigquery);
    for name in ["CLOUDSDK_CORE_PROJECT", "GOOGLE_CLOUD_PROJECT"] {
        all.push((name.to_owned(), project.to_owned()));
    }
    for (name, value) in all {
        text.push_str(&format!("export {name}={}\n", sh_word(&value)));
    }
    // A line break in a value must not end a comment.
    let line = |text: &str| text.replace(['\n', '\r'], " ");
    let (url, project) = (line(url), line(project));
    let (host, port) = url::Url::parse(&url)
        .ok()
        .and_then(|url| Some((url.host_str()?.to_owned(), url.port_or_known_default()?)))
        .unwrap_or_default();
    let secure = if url.starts_with("https") {
        "True"
    } else {
        "False"
    };
    text.push_str(&format!(
        "\
# What no variable reaches:
#
# the Vertex AI SDK for Python, once in the program:
#   from google.auth.credentials import AnonymousCredentials
#   aiplatform.init(project={project:?}, location=\"us-central1\", api_endpoint={url:?},
#                   api_transport=\"rest\", credentials=AnonymousCredentials())
#   Its raw_predict and its dedicated endpoints ask Google's own hosts whatever is set here.
#
# gsutil: use `gcloud storage`. gsutil's JSON API speaks https only; its XML API comes here with a
# file that BOTO_CONFIG names, for ls, cat, rm and cp to a bucket (its cp from a bucket fails by
# itself on a port of its own):
#   [Credentials]
#   gs_host = {host}
#   gs_port = {port}
#   [Boto]
#   is_secure = {secure}
#   [GSUtil]
#   prefer_api = xml
#
# the crate object_store and what is built on it:
#   GoogleCloudStorageBuilder::with_base_url({url:?})
"
    ));
    if bigquery.is_none_or(str::is_empty) {
        text.push_str(&format!(
            "\
#
# BigQuery, which is not emulated here: start a server that does, and then
#   export {BIGQUERY}=http://HOST:PORT                     # the SDKs and serin
#   export {BIGQUERY_OVERRIDE}=http://HOST:PORT/  # gcloud and bq
"
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::process::Command;

    use super::*;

    /// What a shell has in its environment after it has read a text.
    fn read_by_sh(text: &str) -> BTreeMap<String, String> {
        let output = Command::new("sh")
            .args(["-c", "eval \"$1\"; env -0", "sh", text])
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .output()
            .unwrap();
        assert!(output.status.success());
        assert!(
            output.stderr.is_empty(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout)
            .unwrap()
            .split('\0')
            .filter_map(|line| line.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }

    #[test]
    fn a_shell_reads_what_is_promised() {
        let url = "http://127.0.0.1:8085";
        let project = "it's $(false) \"p\"\n; exit 1 #";
        let got = read_by_sh(&exports_with(url, project, None));
        for (name, value) in with_bigquery(url, None) {
            assert_eq!(got.get(&name), Some(&value), "{name}");
        }
        assert_eq!(got["CLOUDSDK_CORE_PROJECT"], project);
        assert_eq!(got["GOOGLE_CLOUD_PROJECT"], project);
        assert!(!got.contains_key(BIGQUERY), "{got:?}");
        assert!(!got.contains_key(BIGQUERY_OVERRIDE), "{got:?}");

        let got = read_by_sh(&exports_with(url, "p", Some("localhost:9050/")));
        assert_eq!(got[BIGQUERY], "http://localhost:9050");
        assert_eq!(got[BIGQUERY_OVERRIDE], "http://localhost:9050/");
    }

    #[test]
    fn an_address_is_checked() {
        for (text, url) in [
            ("http://127.0.0.1:8085/", "http://127.0.0.1:8085"),
            ("localhost:1", "http://localhost:1"),
            ("https://h", "https://h"),
        ] {
            assert_eq!(address(text).unwrap(), url);
        }
        for text in ["", "ftp://h", "http://h/path", "http://", "h:port"] {
            assert!(address(text).is_err(), "{text}");
        }
    }
}
