//! Trouble on purpose, for tests and game days: `--fault WORD`.
//!
//! What a word hits is decided by a counter, not by chance: the same requests in the same order
//! meet the same trouble.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::response::Response;
use futures_util::StreamExt;

use crate::emulator::wire::error::ApiError;
use crate::emulator::wire::http::Answer;

/// The words of `--fault`, for its help.
pub(crate) const HELP: &str = "\
Something that goes wrong in the emulated cloud; may be given several times.

SHARE is from 0 to 1; which requests it hits is counted, not drawn, so a run repeats. \
DURATION is like 800ms or 2s, in real time.

  canary:error:SHARE      a share of the answers of each endpoint's newest model is a 500
  canary:delay:DURATION   it answers so much later
  canary:shift:NUMBER     every number that it predicts is so much more
  model:error:SHARE       the same of every deployed model
  model:delay:DURATION
  model:shift:NUMBER
  job:never-starts        a custom job waits until it is cancelled, as without quota
  job:fails               a custom job fails as soon as it runs
  job:answer-lost         the first custom job is created, and the answer is a 503
  deploy:fails            deployModel is accepted, and its operation fails
  deploy:answer-lost      deployModel takes effect, and its answer is a 503
  deploy:slow             a deployment takes 45 minutes
  event:duplicate         every message of Pub/Sub, and so every event, is delivered twice
  event:reorder           every second one comes after the one that follows it
  metrics:never-come      requests to deployed models are not measured
  upload:fails            models:upload is accepted, and its operation fails
  upload:answer-lost      the first models:upload is accepted, and the answer is a 503
  SERVICE:CODE:SHARE      a share of its answers is 429 or 500 to 504; half of the
                          5xx come after the method took effect
  SERVICE:delay:DURATION  every answer comes so much later
  SERVICE:reset:SHARE     the method takes effect, and the connection breaks off
  SERVICE:truncate:SHARE  the answer's body breaks off in the middle

SERVICE is storage, aiplatform, monitoring, logging, bigquery, cloudbuild, sourcerepo, cloudscheduler, pubsub, eventarc or run.";

/// One word of `--fault`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Fault {
    /// Deployed models: the newest on each endpoint, or every one.
    Model { which: Which, effect: ModelFault },
    /// Work of Vertex AI that takes time.
    Work(WorkFault),
    /// Requests to a service.
    Service { service: Api, effect: Effect },
}

/// Which of the deployed models a fault is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    /// `canary`: the newest on each endpoint.
    Newest,
    /// `model`: every one.
    Every,
}

/// What goes wrong with work that takes time, or is done beside the answers, always.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WorkFault {
    /// A custom job waits until it is cancelled, as without quota.
    JobNeverStarts,
    /// A custom job fails as soon as it runs.
    JobFails,
    /// `deployModel` is accepted, and its operation fails.
    DeployFails,
    /// `deployModel` takes effect, and its answer is a 503.
    DeployAnswerLost,
    /// A deployment takes as long as in the worst case in the cloud.
    DeploySlow,
    /// Requests to deployed models are not measured.
    MetricsNeverCome,
    /// `models:upload` is accepted, and its operation fails.
    UploadFails,
    /// The first custom job is created, and nobody is told.
    JobAnswerLost,
    /// The first `models:upload` is accepted, and nobody is told.
    UploadAnswerLost,
    /// Every message of Pub/Sub is delivered twice.
    EventDuplicate,
    /// Every second message of Pub/Sub comes after the one that follows it.
    EventReorder,
}

const WORK: [(WorkFault, &str); 11] = [
    (WorkFault::EventDuplicate, "event:duplicate"),
    (WorkFault::EventReorder, "event:reorder"),
    (WorkFault::JobNeverStarts, "job:never-starts"),
    (WorkFault::JobFails, "job:fails"),
    (WorkFault::DeployFails, "deploy:fails"),
    (WorkFault::DeployAnswerLost, "deploy:answer-lost"),
    (WorkFault::DeploySlow, "deploy:slow"),
    (WorkFault::MetricsNeverCome, "metrics:never-come"),
    (WorkFault::UploadFails, "upload:fails"),
    (WorkFault::JobAnswerLost, "job:answer-lost"),
    (WorkFault::UploadAnswerLost, "upload:answer-lost"),
];

/// What deployed models do wrong.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ModelFault {
    /// This share of its answers is a 500.
    Error { share: f64 },
    /// It answers this much later, in real time.
    Delay(Duration),
    /// Every number that it predicts is so much more.
    Shift(f64),
}

/// What happens to requests to a service.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Effect {
    /// A share is answered with 429 or a 5xx; a 5xx comes before or after the method took effect.
    Status { code: u16, share: f64 },
    /// Every answer comes this much later, in real time.
    Delay(Duration),
    /// The connection of a share breaks off without an answer, after the method took effect.
    Reset { share: f64 },
    /// The body of a share of the answers breaks off in the middle.
    Truncate { share: f64 },
}

/// An API, as faults and error bodies tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Api {
    Storage,
    Vertex,
    Monitoring,
    Logging,
    CloudBuild,
    SourceRepos,
    Scheduler,
    PubSub,
    Eventarc,
    Run,
    BigQuery,
}

const SERVICES: [(Api, &str); 11] = [
    (Api::BigQuery, "bigquery"),
    (Api::Scheduler, "cloudscheduler"),
    (Api::PubSub, "pubsub"),
    (Api::Eventarc, "eventarc"),
    (Api::Run, "run"),
    (Api::Storage, "storage"),
    (Api::Vertex, "aiplatform"),
    (Api::Monitoring, "monitoring"),
    (Api::Logging, "logging"),
    (Api::CloudBuild, "cloudbuild"),
    (Api::SourceRepos, "sourcerepo"),
];

impl fmt::Display for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = SERVICES.iter().find(|(service, _)| service == self);
        f.write_str(name.map_or("", |(_, name)| name))
    }
}

/// The text is no fault.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{0}` is no fault: expected canary:error:SHARE, canary:delay:DURATION, canary:shift:NUMBER, the same with model: for \
     every model, job:never-starts, job:fails, job:answer-lost, deploy:fails, deploy:answer-lost, deploy:slow, \
     event:duplicate, event:reorder, metrics:never-come, upload:fails, upload:answer-lost, SERVICE:CODE:SHARE \
     (429 or 500 to 504), SERVICE:delay:DURATION, SERVICE:reset:SHARE or SERVICE:truncate:SHARE, \
     where SERVICE is storage, aiplatform, monitoring, logging, bigquery, cloudbuild, sourcerepo, cloudscheduler, pubsub, eventarc or run, SHARE is from 0 to 1, and \
     DURATION is like 800ms or 2s"
)]
pub(crate) struct ParseFaultError(String);

impl FromStr for Fault {
    type Err = ParseFaultError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            if let Some((work, _)) = WORK.iter().find(|(_, word)| *word == text) {
                return Some(Self::Work(*work));
            }
            let (whom, rest) = text.split_once(':')?;
            let (what, how) = rest.split_once(':')?;
            let which = match whom {
                "canary" => Some(Which::Newest),
                "model" => Some(Which::Every),
                _ => None,
            };
            if let Some(which) = which {
                let effect = match what {
                    "error" => ModelFault::Error { share: share(how)? },
                    "delay" => ModelFault::Delay(duration(how)?),
                    "shift" => {
                        ModelFault::Shift(how.parse().ok().filter(|by: &f64| by.is_finite())?)
                    }
                    _ => return None,
                };
                return Some(Self::Model { which, effect });
            }
            let (service, _) = SERVICES.iter().find(|(_, name)| *name == whom)?;
            let effect = match what {
                "delay" => Effect::Delay(duration(how)?),
                "reset" => Effect::Reset { share: share(how)? },
                "truncate" => Effect::Truncate { share: share(how)? },
                code => Effect::Status {
                    code: code.parse().ok().filter(|c| matches!(c, 429 | 500..=504))?,
                    share: share(how)?,
                },
            };
            Some(Self::Service {
                service: *service,
                effect,
            })
        };
        parse().ok_or_else(|| ParseFaultError(text.to_owned()))
    }
}

fn share(text: &str) -> Option<f64> {
    text.parse()
        .ok()
        .filter(|share| (0.0..=1.0).contains(share))
}

fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = match text.strip_suffix("ms") {
        Some(number) => (number, 0.001),
        None => (text.strip_suffix('s')?, 1.0),
    };
    let seconds = number.parse::<f64>().ok()? * unit;
    (0.0..=3600.0)
        .contains(&seconds)
        .then(|| Duration::from_secs_f64(seconds))
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Model { which, effect } => {
                let whom = match which {
                    Which::Newest => "canary",
                    Which::Every => "model",
                };
                match effect {
                    ModelFault::Error { share } => write!(f, "{whom}:error:{share}"),
                    ModelFault::Delay(delay) => {
                        write!(f, "{whom}:delay:{}ms", delay.as_secs_f64() * 1000.0)
                    }
                    ModelFault::Shift(by) => write!(f, "{whom}:shift:{by}"),
                }
            }
            Self::Work(work) => {
                let word = WORK.iter().find(|(known, _)| known == work);
                f.write_str(word.map_or("", |(_, word)| word))
            }
            Self::Service { service, effect } => match effect {
                Effect::Status { code, share } => write!(f, "{service}:{code}:{share}"),
                Effect::Delay(delay) => {
                    write!(f, "{service}:delay:{}ms", delay.as_secs_f64() * 1000.0)
                }
                Effect::Reset { share } => write!(f, "{service}:reset:{share}"),
                Effect::Truncate { share } => write!(f, "{service}:truncate:{share}"),
            },
        }
    }
}

/// The faults in force.
pub(in crate::emulator) struct Faults {
    faults: Vec<(Fault, AtomicU64)>,
}

/// What happens to one request.
#[derive(Default)]
pub(in crate::emulator) struct Trouble {
    pub delay: Duration,
    /// The answer, in the place of the method's effect.
    pub before: Option<ApiError>,
    /// The answer in the place of the method's own, which took effect.
    lost: Option<ApiError>,
    reset: bool,
    truncate: bool,
    /// The body breaks off after so many bytes.
    after: Option<usize>,
}

impl Faults {
    pub(in crate::emulator) fn new(faults: Vec<Fault>) -> Self {
        let faults = faults.into_iter().map(|fault| (fault, AtomicU64::new(0)));
        Self {
            faults: faults.collect(),
        }
    }

    /// What happens to the next request to a deployed model: whether it fails, and how much later
    /// it answers.
    pub(in crate::emulator) fn next_model(&self, newest: bool) -> (bool, Duration) {
        let (mut fails, mut delay) = (false, Duration::ZERO);
        for (i, (fault, count)) in self.faults.iter().enumerate() {
            match fault {
                Fault::Model {
                    which: Which::Newest,
                    ..
                } if !newest => {}
                Fault::Model { effect, .. } => match effect {
                    ModelFault::Error { share } => fails |= hits(i, count, *share).0,
                    ModelFault::Delay(more) => delay += *more,
                    ModelFault::Shift(_) => {}
                },
                Fault::Work(_) | Fault::Service { .. } => {}
            }
        }
        (fails, delay)
    }

    /// How much more every number is that a deployed model predicts.
    pub(in crate::emulator) fn shift(&self, newest: bool) -> f64 {
        let shifts = self.faults.iter().filter_map(|(fault, _)| match fault {
            Fault::Model {
                which,
                effect: ModelFault::Shift(by),
            } if newest || *which == Which::Every => Some(by),
            _ => None,
        });
        shifts.sum()
    }

    /// Whether work goes wrong in this way.
    pub(in crate::emulator) fn on_work(&self, work: WorkFault) -> bool {
        let wanted = Fault::Work(work);
        self.faults.iter().any(|(fault, _)| *fault == wanted)
    }

    /// The answer in the place of a method's own, the first time that it is to be lost.
    ///
    /// # Errors
    /// That answer.
    pub(in crate::emulator) fn lose(&self, work: WorkFault) -> Result<(), ApiError> {
        let wanted = Fault::Work(work);
        let mut faults = self.faults.iter();
        match faults.find(|(fault, _)| *fault == wanted) {
            Some((_, count)) if count.fetch_add(1, Ordering::Relaxed) == 0 => Err(status(503)),
            _ => Ok(()),
        }
    }

    /// What happens to the next request to a service.
    pub(in crate::emulator) fn next(&self, to: Api) -> Trouble {
        let mut trouble = Trouble::default();
        for (i, (fault, count)) in self.faults.iter().enumerate() {
            let Fault::Service { service, effect } = fault else {
                continue;
            };
            if *service != to {
                continue;
            }
            match effect {
                Effect::Delay(delay) => trouble.delay += *delay,
                Effect::Reset { share } => trouble.reset |= hits(i, count, *share).0,
                Effect::Truncate { share } => trouble.truncate |= hits(i, count, *share).0,
                Effect::Status { code, share } => match (hits(i, count, *share), code) {
                    ((false, _), _) => {}
                    ((true, true), 500..) => trouble.lost = Some(status(*code)),
                    ((true, _), _) => trouble.before = Some(status(*code)),
                },
            }
        }
        trouble
    }
}

fn status(code: u16) -> ApiError {
    match code {
        429 => ApiError::resource_exhausted("Quota exceeded, by a fault switched on."),
        500 => ApiError::internal("Internal error encountered, by a fault switched on."),
        501 => ApiError {
            code,
            status: "UNIMPLEMENTED",
            ..ApiError::unimplemented("Not implemented, by a fault switched on.")
        },
        504 => ApiError::deadline_exceeded("Deadline exceeded, by a fault switched on."),
        code => ApiError {
            code,
            ..ApiError::unavailable("The service is currently unavailable, by a fault switched on.")
        },
    }
}

/// Whether a fault hits its next request, and a second coin beside it. The counter is spread over
/// the unit interval by splitmix64, so that any run of requests meets about its share.
fn hits(fault: usize, count: &AtomicU64, share: f64) -> (bool, bool) {
    let n = count.fetch_add(1, Ordering::Relaxed);
    let seed = n.wrapping_add((fault as u64) << 32);
    let mut x = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^= x >> 31;
    // The upper 53 bits are a fraction; the lowest is the coin.
    let fraction = (x >> 11) as f64 / (1_u64 << 53) as f64;
    (fraction < share, x & 1 == 1)
}

impl Trouble {
    /// The method's answer, unless it is lost.
    pub(in crate::emulator) fn replace(&self, answer: Answer) -> Answer {
        match &self.lost {
            Some(error) => Err(error.clone()),
            None => answer,
        }
    }

    /// No answer gets through.
    pub(in crate::emulator) fn reset_now(&mut self) {
        self.reset = true;
    }

    /// The answer breaks off after so many bytes.
    pub(in crate::emulator) fn break_after(&mut self, bytes: usize) {
        self.after = Some(bytes);
    }

    /// The response, as far as it gets through.
    pub(in crate::emulator) fn cut(&self, response: Response) -> Response {
        let (head, body) = response.into_parts();
        let body = if self.reset {
            broken()
        } else if self.truncate && self.lost.is_none() {
            half(body)
        } else if let Some(after) = self.after {
            first(body, after)
        } else {
            body
        };
        Response::from_parts(head, body)
    }
}

/// A body that breaks the connection at once, so that not even the head is sent.
fn broken() -> Body {
    Body::from_stream(futures_util::stream::once(async {
        Err::<Bytes, _>(std::io::Error::other(BROKEN))
    }))
}

/// The first piece of a body, cut in half, then a broken connection.
fn half(body: Body) -> Body {
    let pieces = body.into_data_stream();
    Body::from_stream(futures_util::stream::unfold(
        Some((pieces, false)),
        |state| async {
            let (mut pieces, begun) = state?;
            if !begun && let Some(Ok(piece)) = pieces.next().await {
                return Some((Ok(piece.slice(..piece.len() / 2)), Some((pieces, true))));
            }
            // What was given is sent before the break only if the server is let go once.
            tokio::task::yield_now().await;
            Some((Err(std::io::Error::other(BROKEN)), None))
        },
    ))
}

/// The first bytes of a body, then a broken connection.
fn first(body: Body, bytes: usize) -> Body {
    let pieces = body.into_data_stream();
    Body::from_stream(futures_util::stream::unfold(
        Some((pieces, bytes)),
        |state| async {
            let (mut pieces, left) = state?;
            if left > 0
                && let Some(Ok(piece)) = pieces.next().await
            {
                let piece = piece.slice(..piece.len().min(left));
                let left = left - piece.len();
                return Some((Ok(piece), Some((pieces, left))));
            }
            tokio::task::yield_now().await;
            Some((Err(std::io::Error::other(BROKEN)), None))
        },
    ))
}

const BROKEN: &str = "broken off by a fault switched on";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_round_trip() {
        for text in [
            "canary:error:0.5",
            "canary:delay:800ms",
            "canary:shift:0.1",
            "model:shift:-0.5",
            "model:error:1",
            "model:delay:5ms",
            "job:never-starts",
            "job:fails",
            "deploy:fails",
            "deploy:answer-lost",
            "deploy:slow",
            "metrics:never-come",
            "upload:fails",
            "job:answer-lost",
            "upload:answer-lost",
            "storage:503:0.1",
            "aiplatform:429:1",
            "monitoring:delay:1500ms",
            "logging:reset:0.25",
            "storage:truncate:0",
        ] {
            assert_eq!(text.parse::<Fault>().unwrap().to_string(), text);
        }
        assert_eq!(
            "storage:delay:2s".parse::<Fault>().unwrap().to_string(),
            "storage:delay:2000ms"
        );
    }

    #[test]
    fn a_wrong_word_is_told_the_forms() {
        for text in [
            "",
            "canary",
            "canary:error:2",
            "canary:503:0.1",
            "model:reset:0.1",
            "canary:shift:much",
            "job:fails:0.1",
            "job",
            "storage:404:0.1",
            "gcs:503:0.1",
            "storage:503:nan",
            "storage:delay:5",
            "storage:delay:-1s",
        ] {
            let error = text.parse::<Fault>().unwrap_err().to_string();
            assert!(error.contains("SERVICE:CODE:SHARE"), "{error}");
        }
    }

    #[test]
    fn a_share_is_met_and_repeats() {
        let run = || {
            let faults = Faults::new(vec!["storage:503:0.1".parse().unwrap()]);
            let hit = |_| {
                let trouble = faults.next(Api::Storage);
                (trouble.before.is_some(), trouble.lost.is_some())
            };
            (0..10_000).map(hit).collect::<Vec<_>>()
        };
        let first = run();
        assert_eq!(first, run());
        let before = first.iter().filter(|(before, _)| *before).count();
        let after = first.iter().filter(|(_, lost)| *lost).count();
        assert!((400..600).contains(&before), "{before}");
        assert!((400..600).contains(&after), "{after}");
        let none = Faults::new(vec!["storage:503:1".parse().unwrap()]);
        assert!(none.next(Api::Vertex).before.is_none());
    }
}
