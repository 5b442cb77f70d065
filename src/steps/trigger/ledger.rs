//! The builds that were started, in the bucket: one object for the limits of all models, and one for each key.
//!
//! `triggers/ledger.json` is read before a decision and replaced under its generation after it: of two that decide
//! at the same time one comes too late, reads again and decides again, so limits hold across models and machines.
//! `triggers/MODEL/KEY.json` is made once and stays: it outlives the ledger, which forgets what no limit needs. Its
//! first writer starts the build. A key without a build, left by a process that was killed, is taken over by a later
//! check; which of the builds of a key goes on is then settled by the build's first step.

use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::decide::{Cause, Finding, HeldBy};
use crate::clock::Timestamp;
use crate::error::{Input, Place};
use crate::gcp::Precondition;
use crate::steps::Context;

/// The present format of every object here.
const FORMAT: u32 = 1;
/// Longer ago than this nothing counts as running or unfinished: a build of Cloud Build takes a day at most.
const FORGOTTEN: Duration = Duration::from_secs(48 * 3600);
/// A start that is not known to have succeeded is taken over by another check after this.
const STALE: Duration = Duration::from_secs(2 * 60);
/// A key without a build is given up after so long.
const GIVEN_UP: Duration = Duration::from_secs(24 * 3600);
/// Firings that are kept in the ledger whatever their age.
const KEPT: usize = 100;

/// A decision to start a build, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Firing {
    pub model: String,
    pub key: String,
    pub cause: Cause,
    /// One sentence with the figures.
    pub reason: String,
    pub decided_at: Timestamp,
    /// The process that decided.
    pub by: String,
    /// So many times a start was begun.
    #[serde(default)]
    pub attempts: u32,
    #[serde(default)]
    pub attempted_at: Option<Timestamp>,
    /// The project and the location of Cloud Build in which it is started.
    pub project: String,
    pub location: String,
    /// Cloud Build's id, once it is known.
    #[serde(default)]
    pub build: Option<String>,
    /// How the build ended, as in `SUCCESS`, or why there is none.
    #[serde(default)]
    pub ended: Option<String>,
}

impl Firing {
    /// Whether it is this key of this model.
    pub(super) fn is(&self, model: &str, key: &str) -> bool {
        self.model == model && self.key == key
    }

    /// Whether its build is at work, or may be, as far as is known.
    pub(super) fn is_running(&self, now: Timestamp) -> bool {
        let most = match self.build {
            Some(_) => FORGOTTEN,
            None => GIVEN_UP,
        };
        self.ended.is_none() && now.since(self.decided_at) < most
    }

    /// Whether it was decided on and no build is known, though one is still to come.
    pub(super) fn is_starting(&self, now: Timestamp) -> bool {
        self.build.is_none() && self.is_running(now)
    }

    /// Whether its start was begun and left, and another check is to go on with it.
    pub(super) fn is_left(&self, now: Timestamp) -> bool {
        let begun = self.attempted_at.unwrap_or(self.decided_at);
        self.is_starting(now) && now.since(begun) >= STALE
    }
}

/// A document of the bucket, as it is stored.
#[derive(Serialize, Deserialize)]
struct Stored<T> {
    format: u32,
    /// Of these very bytes: a write whose answer was lost is known by it.
    writer: String,
    #[serde(flatten)]
    body: T,
}

/// A document and the generation that it was read at; 0 for one that is not there.
pub(super) struct Document<T> {
    pub body: T,
    generation: i64,
}

/// What the ledger holds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Ledger {
    pub firings: Vec<Firing>,
}

impl Ledger {
    /// Forgets what no limit needs any more.
    pub(super) fn forget(&mut self, now: Timestamp) {
        self.firings
            .sort_by(|a, b| (a.decided_at, &a.key).cmp(&(b.decided_at, &b.key)));
        let old = self.firings.len().saturating_sub(KEPT);
        let mut place = 0;
        self.firings.retain(|firing| {
            place += 1;
            place > old || now.since(firing.decided_at) < FORGOTTEN
        });
    }
}

/// A build that was held back, `triggers/MODEL/held/KEY.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HeldBack {
    pub model: String,
    pub key: String,
    pub cause: Cause,
    pub reason: String,
    pub by: HeldBy,
    /// Why, in one sentence; of the last time.
    pub sentence: String,
    pub first: Timestamp,
    pub last: Timestamp,
}

/// Where the ledger is, of all models of the bucket.
const LEDGER: &str = "triggers/ledger.json";

/// Where what belongs to a model begins.
pub(super) fn folder(model: &str) -> String {
    format!("triggers/{model}/")
}

fn key_object(model: &str, key: &str) -> String {
    format!("{}{key}.json", folder(model))
}

fn held_object(model: &str, key: &str) -> String {
    format!("{}held/{key}.json", folder(model))
}

/// The ledger; an empty one where there is none.
///
/// # Errors
/// When the cloud fails, or the ledger is of a later serin.
pub(super) async fn read(ctx: &Context) -> Result<Document<Ledger>> {
    let found = read_document(ctx, LEDGER).await?;
    Ok(found.unwrap_or_else(|| Document {
        body: Ledger::default(),
        generation: 0,
    }))
}

/// Replaces the ledger; `false` where another was faster, and nothing was written.
///
/// # Errors
/// When the cloud fails.
pub(super) async fn write(ctx: &Context, ledger: &mut Document<Ledger>) -> Result<bool> {
    ledger.body.forget(ctx.clock.now());
    write_document(ctx, LEDGER, ledger).await
}

/// The firing of a key of this build's model.
///
/// # Errors
/// As [`read`].
pub(super) async fn firing(ctx: &Context, key: &str) -> Result<Option<Document<Firing>>> {
    read_document(ctx, &key_object(&ctx.config.model, key)).await
}

/// Makes the object of a key; `None` where there is one already.
///
/// # Errors
/// When the cloud fails.
pub(super) async fn claim(ctx: &Context, firing: &Firing) -> Result<Option<Document<Firing>>> {
    let mut document = Document {
        body: firing.clone(),
        generation: 0,
    };
    let object = key_object(&ctx.config.model, &firing.key);
    let made = write_document(ctx, &object, &mut document).await?;
    Ok(made.then_some(document))
}

/// Replaces the object of a key; `false` where another was faster.
///
/// # Errors
/// When the cloud fails.
pub(super) async fn replace(ctx: &Context, firing: &mut Document<Firing>) -> Result<bool> {
    let object = key_object(&firing.body.model, &firing.body.key);
    write_document(ctx, &object, firing).await
}

/// Tells the ledger what became of a firing.
///
/// # Errors
/// When the cloud fails, or others write without pause.
pub(super) async fn tell(ctx: &Context, firing: &Firing) -> Result<()> {
    for wait in Waits::default() {
        let mut ledger = read(ctx).await?;
        let listed = ledger.body.firings.iter_mut();
        let mut same = listed.filter(|f| f.is(&firing.model, &firing.key));
        match same.next() {
            Some(known) if *known == *firing => return Ok(()),
            Some(known) => *known = firing.clone(),
            None => ledger.body.firings.push(firing.clone()),
        }
        if write(ctx, &mut ledger).await? {
            return Ok(());
        }
        ctx.clock.sleep(wait).await;
    }
    Err(contended())
}

/// The error of a ledger that others keep writing.
pub(super) fn contended() -> anyhow::Error {
    anyhow::anyhow!("{LEDGER} is written by others without pause")
}

/// Waits between two tries to replace an object that others replace, too: 50 ms to 3 s, two dozen of them.
#[derive(Default)]
pub(super) struct Waits(u32);

impl Iterator for Waits {
    type Item = Duration;
    fn next(&mut self) -> Option<Duration> {
        self.0 += 1;
        let most = 100 << self.0.min(5);
        (self.0 <= 24).then(|| Duration::from_millis(fastrand::u64(50..=most.min(3000))))
    }
}

/// Records what was held back; the last writer wins.
///
/// # Errors
/// When the cloud fails.
pub(super) async fn record_held(ctx: &Context, findings: &[Finding]) -> Result<()> {
    let now = ctx.clock.now();
    for finding in findings {
        let Finding::Held { due, by, sentence } = finding else {
            continue;
        };
        let model = ctx.config.model.to_string();
        let object = held_object(&model, &due.key);
        let before: Option<Document<HeldBack>> = read_document(ctx, &object).await?;
        let held = HeldBack {
            model,
            key: due.key.clone(),
            cause: due.cause,
            reason: due.reason.clone(),
            by: *by,
            sentence: sentence.clone(),
            first: before.as_ref().map_or(now, |before| before.body.first),
            last: now,
        };
        let mut document = Document {
            body: held,
            generation: before.map_or(0, |before| before.generation),
        };
        // Another check has recorded the same a moment ago.
        let _another = write_document(ctx, &object, &mut document).await?;
    }
    Ok(())
}

/// What happened to a model's causes: the builds that were started, and those that were held back, each oldest
/// first; the latest `most` of each.
///
/// # Errors
/// When the cloud fails, or an object is of a later serin.
pub(super) async fn history(ctx: &Context, most: usize) -> Result<(Vec<Firing>, Vec<HeldBack>)> {
    let folder = folder(&ctx.config.model);
    let held_folder = format!("{folder}held/");
    let objects = ctx
        .storage()
        .objects_list(&ctx.config.bucket, &folder)
        .await;
    let mut objects = match objects {
        Ok(objects) => objects,
        Err(e) if e.is_not_found() => Vec::new(),
        Err(e) => return Err(e).context("listing the builds that were started"),
    };
    objects.sort_by(|a, b| (a.time_created, &a.name).cmp(&(b.time_created, &b.name)));
    let named = |prefix: &str| {
        let own = objects.iter().filter_map(|o| o.name.strip_prefix(prefix));
        let own = own.filter(|name| {
            !name.contains('/') && name.ends_with(".json") && !name.ends_with(CLAIM_END)
        });
        let names: Vec<String> = own.map(|name| format!("{prefix}{name}")).collect();
        let old = names.len().saturating_sub(most);
        names.into_iter().skip(old)
    };
    let (mut firings, mut held) = (Vec::new(), Vec::new());
    for name in named(&folder) {
        firings.extend(read_document::<Firing>(ctx, &name).await?.map(|d| d.body));
    }
    for name in named(&held_folder) {
        held.extend(read_document::<HeldBack>(ctx, &name).await?.map(|d| d.body));
    }
    Ok((firings, held))
}

/// How the object ends by which a build claims a key.
pub(crate) const CLAIM_END: &str = ".claim.json";

/// A build's claim of a key, `triggers/MODEL/KEY.claim.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Claim {
    pub key: String,
    /// Cloud Build's id.
    pub build: String,
    pub at: Timestamp,
}

/// Claims a key for a build, and gives the build that has it: another one where that was faster.
///
/// # Errors
/// When the cloud fails.
pub(crate) async fn claim_for_build(ctx: &Context, key: &str, build: &str) -> Result<String> {
    let object = format!("{}{key}{CLAIM_END}", folder(&ctx.config.model));
    let mut claim = Document {
        body: Claim {
            key: key.to_owned(),
            build: build.to_owned(),
            at: ctx.clock.now(),
        },
        generation: 0,
    };
    if write_document(ctx, &object, &mut claim).await? {
        return Ok(build.to_owned());
    }
    let found = read_document::<Claim>(ctx, &object).await?;
    let found = found.with_context(|| format!("{} is gone", ctx.gs(&object)))?;
    Ok(found.body.build)
}

/// The build that has claimed a key of a model.
///
/// # Errors
/// When the cloud fails.
pub(super) async fn claimed_by(ctx: &Context, model: &str, key: &str) -> Result<Option<String>> {
    let object = format!("{}{key}{CLAIM_END}", folder(model));
    let found = read_document::<Claim>(ctx, &object).await?;
    Ok(found.map(|claim| claim.body.build))
}

/// Reads a document; `None` where there is none.
///
/// # Errors
/// When the cloud fails; [`Input`] for one that is none of ours or of a later format.
pub(super) async fn read_document<T: DeserializeOwned>(
    ctx: &Context,
    object: &str,
) -> Result<Option<Document<T>>> {
    let read = ctx.storage().objects_read(&ctx.config.bucket, object).await;
    let read = read.map_err(|e| match e.http {
        Some(403) => ctx.of_bucket(e),
        _ => e.into(),
    });
    let Some((found, bytes)) = read.with_context(|| format!("reading {}", ctx.gs(object)))? else {
        return Ok(None);
    };
    #[derive(Deserialize)]
    struct Head {
        format: u32,
    }
    let place = || Place::Resource(ctx.gs(object));
    let wrong = |e: serde_json::Error| {
        Input::new(format!("is no record of serin's: {e}"))
            .at(place())
            .hint("move it away; serin writes it anew")
    };
    let head: Head = serde_json::from_slice(&bytes).map_err(wrong)?;
    if head.format > FORMAT {
        let message = format!("has format {}, and this serin knows {FORMAT}", head.format);
        return Err(Input::new(message)
            .at(place())
            .hint("take the later serin that wrote it")
            .into());
    }
    let stored: Stored<T> = serde_json::from_slice(&bytes).map_err(wrong)?;
    Ok(Some(Document {
        body: stored.body,
        generation: found.generation,
    }))
}

/// Writes a document over the generation that it was read at; `false` where that is not the present one any more.
///
/// # Errors
/// When the cloud fails.
pub(super) async fn write_document<T: Serialize>(
    ctx: &Context,
    object: &str,
    document: &mut Document<T>,
) -> Result<bool> {
    let stored = Stored {
        format: FORMAT,
        writer: format!("{}-{:08x}", ctx.writer(), fastrand::u32(..)),
        body: &document.body,
    };
    let bytes = Bytes::from(serde_json::to_vec(&stored).context("writing JSON")?);
    let pre = match document.generation {
        0 => Precondition::Absent,
        generation => Precondition::Generation(generation),
    };
    let (storage, bucket) = (ctx.storage(), &ctx.config.bucket);
    let written = storage
        .objects_insert(bucket, object, "application/json", bytes, pre)
        .await;
    match written {
        Ok(written) => {
            document.generation = written.generation;
            Ok(true)
        }
        Err(e) if e.is_conflict() => Ok(false),
        Err(e) => Err(ctx.of_bucket(e)).with_context(|| format!("writing {}", ctx.gs(object))),
    }
}

impl<T> Document<T> {
    /// One that is not there yet.
    pub(super) fn new(body: T) -> Self {
        Self {
            body,
            generation: 0,
        }
    }
}
