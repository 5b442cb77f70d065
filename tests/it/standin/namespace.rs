//! Namespaces of a test's own: a network in which Google's host names are this machine, and the few files of
//! `/etc` that say so. Nothing outside of them is touched, and nothing in them reaches the world.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Tells a test that it runs inside; its value is the test's name.
const INSIDE: &str = "SERIN_STANDIN";
/// Where Google's hosts are, in cleartext and with TLS.
pub const HOSTS: &str = "127.0.1.1";
/// Where the metadata server is, as on every machine of Google's.
pub const METADATA: &str = "169.254.169.254";
/// Who is asked for every name that `/etc/hosts` does not hold.
pub const NAMES: &str = "127.0.0.53";
/// A test takes seconds; one that hangs is ended.
const LIMIT: Duration = Duration::from_secs(240);

/// Whether this test runs inside already. Outside, it is run again inside, by this very program, and has then
/// passed, or was skipped with a line that says why, which with `CI=true` is a failure.
///
/// # Panics
/// Where the test has failed inside, with all that it printed.
pub fn inside<T: Fn()>(_test: T) -> bool {
    let path = std::any::type_name::<T>();
    let (_, test) = path.split_once("::").unwrap();
    match std::env::var(INSIDE) {
        Ok(name) => {
            assert_eq!(name, test, "another test was to run");
            true
        }
        Err(_) => {
            if let Some(missing) = missing() {
                assert!(std::env::var("CI").as_deref() != Ok("true"), "{missing}");
                eprintln!("SKIPPED: needs namespaces of its own: {missing}");
            } else {
                run_again(test);
            }
            false
        }
    }
}

/// What this machine lacks.
fn missing() -> Option<String> {
    let on_path = |program: &&str| {
        std::env::var_os("PATH").is_some_and(|path| {
            std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
        })
    };
    if !cfg!(target_os = "linux") || !rustix::process::geteuid().is_root() {
        return Some("only root on Linux can make them".to_owned());
    }
    let programs = ["unshare", "mount", "ip", "openssl", "timeout"];
    if let Some(program) = programs.iter().find(|program| !on_path(program)) {
        return Some(format!("`{program}` is missing; `.ci/test` installs it"));
    }
    let tried = Command::new("unshare")
        .args(["--mount", "--net", "true"])
        .output()
        .unwrap();
    (!tried.status.success()).then(|| String::from_utf8_lossy(&tried.stderr).trim().to_owned())
}

fn run_again(test: &str) {
    let output = Command::new("timeout")
        .args(["--kill-after=5", &LIMIT.as_secs().to_string()])
        .args(["unshare", "--mount", "--net"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, test)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    // Without the name of a test, none is run, and that is a success.
    let passed = output.status.success() && stdout.contains("1 passed");
    assert!(
        passed,
        "{}\n--- stdout\n{stdout}\n--- stderr\n{stderr}",
        output.status
    );
}

/// The certificate under which Google's hosts speak here.
pub struct Certificate {
    /// Of the authority that a client has to trust.
    pub root: PathBuf,
    pub chain: PathBuf,
    pub key: PathBuf,
}

/// Brings the network up, puts the names of these hosts into it, and makes this any machine.
pub fn enter(folder: &Path, hosts: &[String]) {
    let mut text = format!("127.0.0.1 localhost\n{METADATA} metadata.google.internal metadata\n");
    for host in hosts {
        text.push_str(&format!("{HOSTS} {host}\n"));
    }
    for (name, text) in [
        ("hosts", text.as_str()),
        // No machine of Google's, whoever runs the tests.
        ("product", "laptop\n"),
        ("nsswitch.conf", "hosts: files dns\n"),
        (
            "resolv.conf",
            &format!("nameserver {NAMES}\noptions attempts:1\n"),
        ),
    ] {
        fs::write(folder.join(name), text).unwrap();
    }
    let setup = format!(
        "ip link set lo up
        ip address add {METADATA}/32 dev lo
        for name in hosts nsswitch.conf resolv.conf; do
            test ! -e /etc/$name || mount --bind $name /etc/$name
        done
        product=/sys/class/dmi/id/product_name
        test ! -e $product || mount --bind product $product"
    );
    run(folder, "sh", &["-euc", &setup]);
}

/// A certificate for these hosts.
pub fn certify(folder: &Path, hosts: &[String]) -> Certificate {
    let names: Vec<String> = hosts.iter().map(|host| format!("DNS:{host}")).collect();
    let make = "req -x509 -nodes -days 2 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1";
    let make: Vec<&str> = make.split(' ').collect();
    let authority =
        "-subj /CN=stand-in -addext basicConstraints=critical,CA:TRUE -keyout ca.key -out ca.pem";
    let authority: Vec<&str> = authority.split(' ').collect();
    run(folder, "openssl", &[&make[..], &authority[..]].concat());
    let names = format!("subjectAltName={}", names.join(","));
    let of_hosts = [
        &make[..],
        &["-subj", "/CN=googleapis.com", "-addext", &names],
        &["-addext", "basicConstraints=critical,CA:FALSE"],
        &["-CA", "ca.pem", "-CAkey", "ca.key"],
        &["-keyout", "hosts.key", "-out", "hosts.pem"],
    ];
    run(folder, "openssl", &of_hosts.concat());
    Certificate {
        root: folder.join("ca.pem"),
        chain: folder.join("hosts.pem"),
        key: folder.join("hosts.key"),
    }
}

fn run(folder: &Path, program: &str, arguments: &[&str]) {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {said}");
}
