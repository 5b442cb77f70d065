//! What commands ask of an emulator that runs: whether it answers, its clock, and its state as a whole.

use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use serde_json::Value;

use crate::clock::{CLOCK_VARIABLE, Clock, Course, Timestamp, waits_at};
use crate::error::{EmulatorError, Input};
use crate::printable::sh_word;

/// For an answer that needs no work.
const SHORT: Duration = Duration::from_secs(2);
/// For a change of the state, before which builds end.
const LONG: Duration = Duration::from_secs(120);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(100);

/// Waits until an emulator answers.
///
/// # Errors
/// [`EmulatorError`] where none has after `most`.
pub(crate) async fn wait(url: &str, most: Duration) -> anyhow::Result<()> {
    let until = Instant::now() + most;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let limit = left.clamp(Duration::from_millis(1), SHORT);
        let why = match send(url, Method::GET, "health", limit).await {
            Ok((status, said)) if status.is_success() && said["status"] == "SERVING" => {
                return Ok(());
            }
            Ok((status, _)) => format!("something else answers there, with {status}"),
            Err(error) => error,
        };
        if left <= PAUSE {
            let most = most.as_secs_f64();
            return Err(EmulatorError(format!(
                "no emulator answers at {url} within {most} s: {why}"
            ))
            .into());
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Empties the state of an emulator, which then plants its seed again.
///
/// # Errors
/// [`Input`] or [`EmulatorError`].
pub(crate) async fn reset(url: &str) -> anyhow::Result<()> {
    ask(url, Method::POST, "_serin/reset").await.map(|_| ())
}

/// What to do with a snapshot.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Snapshot {
    Save,
    Load,
    Remove,
}

/// Makes a snapshot of an emulator's state, puts it in the state's place, or removes it.
///
/// # Errors
/// [`Input`] where there is none of that name; [`EmulatorError`].
pub(crate) async fn snapshot(url: &str, what: Snapshot, name: &str) -> anyhow::Result<()> {
    let (method, verb) = match what {
        Snapshot::Save => (Method::POST, ""),
        Snapshot::Load => (Method::POST, ":load"),
        Snapshot::Remove => (Method::DELETE, ""),
    };
    let name = percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC);
    // Names that need it are refused there.
    let name = name
        .to_string()
        .replace("%2D", "-")
        .replace("%5F", "_")
        .replace("%2E", ".");
    let path = format!("_serin/snapshots/{name}{verb}");
    ask(url, method, &path).await.map(|_| ())
}

/// The names of an emulator's snapshots.
///
/// # Errors
/// [`EmulatorError`].
pub(crate) async fn snapshots(url: &str) -> anyhow::Result<Vec<String>> {
    let said = ask(url, Method::GET, "_serin/snapshots").await?;
    let snapshots = said["snapshots"].as_array().into_iter().flatten();
    let names = snapshots.filter_map(|snapshot| snapshot["name"].as_str());
    Ok(names.map(str::to_owned).collect())
}

/// The line that makes programs of a shell share the clock of an emulator that answers and whose waits go by
/// faster than real time; else nothing.
pub(crate) async fn clock_export(url: &str) -> String {
    let said = send(url, Method::GET, "_serin/clock", SHORT).await;
    let course = said
        .ok()
        .and_then(|(_, said)| serde_json::from_value::<Course>(said).ok());
    match course.filter(|course| course.scale > 1) {
        // No worker has this number: it is a stranger that waits.
        Some(course) => {
            // The text does not tell the pace, at which the clock has gone since its course began: it begins now.
            let (real, shown) = (Timestamp::real_now(), Clock::new(course, None).now());
            let course = Course {
                real,
                shown,
                ..course
            };
            let clock = Clock::new(course, Some(waits_at(url, 0)));
            format!("export {CLOCK_VARIABLE}={}\n", sh_word(&clock.to_string()))
        }
        None => String::new(),
    }
}

async fn ask(url: &str, method: Method, path: &str) -> anyhow::Result<Value> {
    let (status, said) = send(url, method, path, LONG).await.map_err(|why| {
        EmulatorError(format!(
            "no emulator answers at {url}: {why}; `serin emulate` starts one"
        ))
    })?;
    if status.is_success() {
        return Ok(said);
    }
    let message = match said["error"]["message"].as_str() {
        Some(message) => format!("the emulator at {url}: {message}"),
        None => format!("{url} answers {status}, and is no emulator of this serin"),
    };
    Err(match status {
        StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST => Input::new(message).into(),
        _ => EmulatorError(message).into(),
    })
}

/// The status and the message of an answer; else why there is none.
async fn send(
    url: &str,
    method: Method,
    path: &str,
    limit: Duration,
) -> Result<(StatusCode, Value), String> {
    let answer = async {
        let client = reqwest::Client::builder()
            .no_proxy()
            .timeout(limit)
            .build()?;
        let answer = client
            .request(method, format!("{url}/{path}"))
            .send()
            .await?;
        let status = answer.status();
        let text = answer.text().await?;
        Ok((status, serde_json::from_str(&text).unwrap_or_default()))
    };
    answer.await.map_err(|error: reqwest::Error| {
        let mut why = &error as &dyn std::error::Error;
        while let Some(source) = why.source() {
            why = source;
        }
        why.to_string()
    })
}
