//! The variables that point clients at an emulator, and the text of `serin emulate env`, which also
//! says what to do about the clients that no variable reaches.

use crate::defaults;
use crate::error::Input;
use crate::printable::sh_word;

/// The variable that names a BigQuery emulator, which is another program's affair.
const BIGQUERY: &str = "BIGQUERY_EMULATOR_HOST";
/// Where BigQuery's name for gcloud and bq is, in the same form as the others.
const BIGQUERY_OVERRIDE: &str = "CLOUDSDK_API_ENDPOINT_OVERRIDES_BIGQUERY";

/// The APIs of gcloud that are emulated, by the names of its overrides.
const EMULATED: [&str; 11] = [
    "AI",
    "AIPLATFORM",
    "CLOUDBUILD",
    "CLOUDSCHEDULER",
    "EVENTARC",
    "LOGGING",
    "MONITORING",
    "PUBSUB",
    "RUN",
    "SOURCEREPO",
    "STORAGE",
];
/// The first segment of Eventarc's paths, whose triggers have the names of Cloud Build's.
pub(in crate::emulator) const EVENTARC: &str = "_eventarc";
/// The first segment of the paths of all others, which are refused there by their names.
pub(in crate::emulator) const NOT_EMULATED: &str = "_not_emulated";
/// All others that gcloud 528 has, BigQuery aside, by the names in its section `api_endpoint_overrides`.
const OTHERS: &str = "\
    accessapproval accesscontextmanager alloydb anthosevents anthospolicycontrollerstatus_pa apigateway apigee \
    apihub apikeys appconfigmanager appengine apphub artifactregistry assuredworkloads auditmanager authztoolkit \
    backupdr baremetalsolution batch beyondcorp bigquerymigration bigtableadmin binaryauthorization \
    categorymanager certificatemanager cloudaicompanion cloudasset cloudbilling cloudcommerceconsumerprocurement \
    clouddebugger clouddeploy clouderrorreporting cloudfunctions cloudidentity cloudkms cloudlocationfinder \
    cloudnumberregistry cloudquotas cloudresourcemanager cloudresourcesearch cloudshell cloudtasks \
    cloudtrace composer compute config configdelivery connectgateway container containeranalysis datacatalog \
    dataflow datafusion datamigration datapipelines dataplex datapol dataproc dataprocgdc datastore datastream \
    deploymentmanager designcenter developerconnect discovery dns domains edgecontainer edgenetwork \
    eventarcpublishing faultinjectiontesting file firebasedataconnect firestore geminicloudassist genomics \
    gkebackup gkehub gkemulticloud gkeonprem gkerecommender healthcare iam iamcredentials iap ids krmapihosting \
    kubernetespolicy language lifesciences looker lustre managedflink managedidentities managedkafka manager \
    marketplacesolutions mediaasset memcache memorystore messagestreams metastore ml modelarmor netapp \
    networkconnectivity networkmanagement networksecurity networkservices notebooks observability ondemandscanning \
    oracledatabase orglifecycle orgpolicy osconfig oslogin parallelstore parametermanager policyanalyzer \
    policysimulator policytroubleshooter privateca privilegedaccessmanager publicca pubsublite \
    recaptchaenterprise recommender redis remotebuildexecution replicapoolupdater runapps runtimeconfig \
    saasservicemgmt sasportal sddc seclm secretmanager securesourcemanager securitycenter securitycentermanagement \
    securityposture servicedirectory servicemanagement serviceregistry serviceusage source spanner \
    speech sql storagebatchoperations storageinsights stream telcoautomation testing toolresults tpu transcoder \
    transfer transferappliance vision vmmigration vmwareengine vpcaccess workflowexecutions workflows \
    workloadcertificate workstations";
/// A file with one line, which is there on every Linux, in containers too: a token may be any text here.
const ANY_LINE: &str = "/proc/sys/kernel/ostype";

/// The variables that point Google's clients, serin's steps among them, at an emulator. BigQuery's
/// are among them where `BIGQUERY_EMULATOR_HOST` is set here.
pub(crate) fn variables(url: &str) -> Vec<(String, String)> {
    with_bigquery(url, std::env::var(BIGQUERY).ok().as_deref())
}

fn with_bigquery(url: &str, bigquery: Option<&str>) -> Vec<(String, String)> {
    let mut variables = vec![("STORAGE_EMULATOR_HOST".to_owned(), url.to_owned())];
    let mut set = |name: &str, value: &str| variables.push((name.to_owned(), value.to_owned()));
    let override_of = |api: &str| format!("CLOUDSDK_API_ENDPOINT_OVERRIDES_{api}");
    for api in EMULATED {
        match api == "EVENTARC" {
            true => set(&override_of(api), &format!("{url}/{EVENTARC}/")),
            false => set(&override_of(api), &format!("{url}/")),
        }
    }
    // Without an account, and with no credentials that another host could be shown.
    set("CLOUDSDK_AUTH_ACCESS_TOKEN_FILE", &token_file(url));
    let bigquery = bigquery.filter(|host| !host.is_empty()).map(with_scheme);
    match (&bigquery, proxy(url)) {
        // One proxy, and no request of gcloud's, gsutil's or bq's has another way.
        (None, Some((host, port))) => {
            set("CLOUDSDK_PROXY_TYPE", "http");
            set("CLOUDSDK_PROXY_ADDRESS", &host);
            set("CLOUDSDK_PROXY_PORT", &port.to_string());
            set("CLOUDSDK_AUTH_DISABLE_SSL_VALIDATION", "true");
            // Which gcloud would say of each of its connections.
            set("PYTHONWARNINGS", "ignore:Unverified HTTPS request");
        }
        // A proxy would stand before that server too.
        _ => {
            for api in OTHERS.split_whitespace() {
                set(
                    &override_of(&api.to_ascii_uppercase()),
                    &format!("{url}/{NOT_EMULATED}/{api}/"),
                );
            }
        }
    }
    if let Some(bigquery) = bigquery {
        set(BIGQUERY, &bigquery);
        set(BIGQUERY_OVERRIDE, &format!("{bigquery}/"));
    }
    // tensorstore's; it would show credentials that it finds.
    set("TENSORSTORE_GCS_HTTP_URL", url);
    set("GOOGLE_AUTH_TOKEN_FOR_TESTING", "serin-emulator-token");
    // gcsfs asks every bucket for its layout, and for the project of new ones.
    set("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false");
    variables
}

/// Whether an API is emulated, by the first part of its host's name at Google.
pub(in crate::emulator) fn is_emulated(api: &str) -> bool {
    // The host of `ai` is that of `aiplatform`.
    let known = |name: &&str| *name != "AI" && name.eq_ignore_ascii_case(api);
    api.ends_with("-aiplatform") || api == "www" || EMULATED.iter().any(known)
}

/// The host and the port at which the emulator is a proxy: none where TLS is before it.
fn proxy(url: &str) -> Option<(String, u16)> {
    let url = url::Url::parse(url).ok()?;
    let host = (url.scheme() == "http").then(|| url.host_str()).flatten()?;
    Some((host.to_owned(), url.port_or_known_default()?))
}

/// A file with a text that gcloud may send as a token.
fn token_file(url: &str) -> String {
    let in_container = proxy(url).is_some_and(|(host, _)| host != "127.0.0.1");
    if cfg!(target_os = "linux") || in_container {
        return ANY_LINE.to_owned();
    }
    let file = std::env::temp_dir().join("serin-emulator-token");
    // Where it cannot be written gcloud says that it cannot read it.
    let _said_by_gcloud = std::fs::write(&file, "serin-emulator-token\n");
    file.display().to_string()
}

/// The project that is meant where nobody names one: `CLOUDSDK_CORE_PROJECT`, else
/// `GOOGLE_CLOUD_PROJECT`, else `local-project`.
pub(crate) fn local_project() -> String {
    defaults::project().unwrap_or_else(|| "local-project".to_owned())
}

/// The region that is meant where nobody names one: that of [`defaults::region`], else `us-central1`.
pub(crate) fn local_region() -> String {
    defaults::region().unwrap_or_else(|| "us-central1".to_owned())
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
pub(crate) fn address(text: &str) -> Result<String, Input> {
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
pub(crate) fn exports(url: &str, project: &str, region: &str) -> String {
    exports_with(
        url,
        project,
        region,
        std::env::var(BIGQUERY).ok().as_deref(),
    )
}

fn exports_with(url: &str, project: &str, region: &str, bigquery: Option<&str>) -> String {
    let mut text = String::new();
    let mut all = with_bigquery(url, bigquery);
    for name in [
        "CLOUDSDK_CORE_PROJECT",
        "GOOGLE_CLOUD_PROJECT",
        "GCSFS_DEFAULT_PROJECT",
    ] {
        all.push((name.to_owned(), project.to_owned()));
    }
    // gcloud's commands have properties of their own for it; that of Cloud Build stays, as its triggers are `global`.
    for name in [
        "CLOUDSDK_COMPUTE_REGION",
        "CLOUDSDK_EVENTARC_LOCATION",
        "CLOUDSDK_FUNCTIONS_REGION",
        "CLOUDSDK_RUN_REGION",
    ] {
        all.push((name.to_owned(), region.to_owned()));
    }
    if !all.iter().any(|(name, _)| name == "CLOUDSDK_PROXY_TYPE") {
        // One of before would stand before that server too.
        text.push_str("unset CLOUDSDK_PROXY_TYPE CLOUDSDK_PROXY_ADDRESS CLOUDSDK_PROXY_PORT\n");
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
# polars: storage_options={{\"google_base_url\": {url:?}, \"google_skip_signature\": \"true\", \"allow_http\": \"true\"}}
#
# duckdb: INSTALL httpfs; then read {url}/BUCKET/OBJECT as a file
#
# gsutil, where it does not take gcloud's settings (it is not the one of the Google Cloud SDK): a file that
# BOTO_CONFIG names, for ls, cat, rm and cp to a bucket (its cp from a bucket fails by itself on a port
# of its own):
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
# BigQuery, which is not emulated here: start a server that does, and let this command know of it:
#   export {BIGQUERY}=http://HOST:PORT; eval \"$(serin emulate env)\"
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
        let got = read_by_sh(&exports_with(url, project, "europe-west1", None));
        for (name, value) in with_bigquery(url, None) {
            assert_eq!(got.get(&name), Some(&value), "{name}");
        }
        assert_eq!(got["CLOUDSDK_CORE_PROJECT"], project);
        assert_eq!(got["GOOGLE_CLOUD_PROJECT"], project);
        assert_eq!(got["CLOUDSDK_COMPUTE_REGION"], "europe-west1");
        assert!(!got.contains_key(BIGQUERY), "{got:?}");
        assert!(!got.contains_key(BIGQUERY_OVERRIDE), "{got:?}");
        assert_eq!(got["CLOUDSDK_PROXY_PORT"], "8085");

        let got = read_by_sh(&exports_with(url, "p", "r", Some("localhost:9050/")));
        assert_eq!(got[BIGQUERY], "http://localhost:9050");
        assert_eq!(got[BIGQUERY_OVERRIDE], "http://localhost:9050/");
        assert!(!got.contains_key("CLOUDSDK_PROXY_TYPE"), "{got:?}");
        assert_eq!(
            got["CLOUDSDK_API_ENDPOINT_OVERRIDES_PUBSUBLITE"],
            "http://127.0.0.1:8085/_not_emulated/pubsublite/"
        );
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
