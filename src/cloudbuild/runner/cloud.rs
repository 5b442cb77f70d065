//! The cloud of a build: an emulator of its own, or one that runs already.

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::RunOptions;
use crate::clock::{self, Clock, Course};
use crate::emulator::{self, seed::Seed};
use crate::error::Input;
use crate::process::Groups;

/// The cloud that a build speaks to.
pub(super) struct Cloud {
    pub(super) url: String,
    pub(super) clock: Clock,
    /// The emulator, where this run started it.
    pub(super) running: Option<emulator::Running>,
}

/// Starts the emulator on the state folder, or finds the one that the options name.
pub(super) async fn start(
    options: &RunOptions,
    (seed, watch): (Option<Seed>, Option<Seed>),
    state: &Path,
    serin: &Path,
    groups: &Groups,
) -> Result<Cloud> {
    if let Some(url) = &options.emulator {
        let url = url.trim_end_matches('/').to_owned();
        let clock = clock::follow(&url, ask_clock(&url).await?);
        return Ok(Cloud {
            url,
            clock,
            running: None,
        });
    }
    let secrets = options.secrets.iter().cloned();
    let running = emulator::start(emulator::Options {
        state: state.to_owned(),
        port: 0,
        time_scale: options.time_scale,
        pace: emulator::Pace::InWaits,
        serin: serin.to_owned(),
        own_images: options.self_images.clone(),
        faults: options.faults.clone(),
        lenient: options.lenient,
        seed,
        watch,
        builds: emulator::BuildSettings {
            allowed: options.builds,
            repositories: options.repositories.clone(),
            secrets: secrets.map(|file| (file.name, file.path)).collect(),
            github_secret: None,
            hosts: options.hosts.clone(),
        },
        groups: groups.clone(),
        allowed_hosts: Vec::new(),
        most_push_bytes: emulator::DEFAULT_PUSH_MIB << 20,
        run_services: Vec::new(),
        accepted: options.accepted.clone(),
    })
    .await?;
    Ok(Cloud {
        url: running.url().to_owned(),
        clock: running.clock(),
        running: Some(running),
    })
}

/// How often an emulator is asked before it is given up, and the wait after the first try, which
/// doubles: 1.5 s in all, for one that is just starting or has its hands full.
const TRIES: u32 = 5;
const FIRST_WAIT: Duration = Duration::from_millis(100);

/// The clock of an emulator that runs already.
async fn ask_clock(url: &str) -> Result<Course> {
    let request = |client: &reqwest::Client| client.get(format!("{url}/_serin/clock"));
    ask(url, request).await
}

/// Tells an emulator the address at which containers reach it, so that it answers them.
///
/// # Errors
/// [`Input`] when it does not answer.
pub(super) async fn admit(url: &str, host: &str) -> Result<()> {
    let body = json!({"host": host});
    let request = |client: &reqwest::Client| client.post(format!("{url}/_serin/hosts")).json(&body);
    ask(url, request).await.map(|_: Value| ())
}

/// Asks an emulator until it answers.
async fn ask<T: DeserializeOwned>(
    url: &str,
    request: impl Fn(&reqwest::Client) -> reqwest::RequestBuilder,
) -> Result<T> {
    // There may be one already; either will do.
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder()
        .timeout(Duration::from_secs(10))
        .no_proxy()
        .build()
        .context("preparing a request")?;
    let mut wait = FIRST_WAIT;
    let mut tried = 1;
    loop {
        let error = match once(request(&client)).await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        if tried == TRIES {
            let mut message = error.to_string();
            let mut cause = error.source();
            while let Some(error) = cause {
                message = format!("{message}: {error}");
                cause = error.source();
            }
            return Err(Input::new(format!(
                "`--emulator {url}`: no emulator of serin answers there: {message}"
            ))
            .hint("start one with `serin emulate`")
            .into());
        }
        tokio::time::sleep(wait).await;
        wait *= 2;
        tried += 1;
    }
}

/// Asks once.
async fn once<T: DeserializeOwned>(request: reqwest::RequestBuilder) -> reqwest::Result<T> {
    request.send().await?.error_for_status()?.json().await
}
