//! The rollouts of an endpoint as the bucket keeps them: the one under way, and each that ended.
//!
//! `rollouts/REGION/ENDPOINT/journal.json` is the one under way and the lease of the endpoint;
//! `rollouts/REGION/ENDPOINT/N.json` are those that ended, from 1. Who is champion stands here: it is what a judged
//! rollout or a person made it, and what has traffic at the moment proves nothing.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Context, aliases};
use crate::clock::Timestamp;
use crate::error::Input;
use crate::gcp::same_resource;
use crate::gcp::vertex::{DeployedModel, Endpoint};
use crate::workspace::Digest;
use crate::workspace::records::{DeployVerdict, Look, Stage};

/// The present format of these objects. 2: `started` is where the judge's evidence begins; 3: the lease beside the
/// rollout, the splits before and after, the verdict.
pub(super) const FORMAT: u32 = 3;

/// Shares of an endpoint's traffic in percent, by deployed model's id; those with none are left out.
pub(super) type Split = BTreeMap<String, u32>;

/// The journal: who leads, and the rollout.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Entry {
    pub format: u32,
    pub holder: String,
    pub lease_until: Timestamp,
    pub rollout: Option<Rollout>,
}

/// A deployed model by what outlives its deployment. Of a journal of format 2 only the id is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Deployment {
    pub id: String,
    /// The model's resource name, without version.
    pub model: String,
    pub version: String,
}

impl Deployment {
    pub(super) fn of(deployed: &DeployedModel) -> Self {
        Self {
            id: deployed.id.clone(),
            model: base(&deployed.model).to_owned(),
            version: deployed.model_version_id.clone(),
        }
    }

    /// Whether a version of a model is the one that is deployed here.
    pub(super) fn is(&self, model: &str, version: &str) -> bool {
        same_resource(&self.model, base(model)) && self.version == version
    }
}

/// `version 3`, or what else is known.
impl std::fmt::Display for Deployment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.version.as_str() {
            "" => write!(f, "the deployed model {}", self.id),
            version => write!(f, "version {version}"),
        }
    }
}

/// One rollout.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Rollout {
    /// From 1 at each endpoint.
    pub number: u64,
    pub digest: Digest,
    pub challenger: Deployment,
    pub champion: Option<Deployment>,
    /// The build that began it; empty where it was none.
    #[serde(default)]
    pub build: String,
    pub started: Timestamp,
    /// The traffic as it was found.
    pub before: Split,
    /// The traffic as this rollout left it last; `None` before format 3.
    pub split: Option<Split>,
    /// What it was about to be changed to.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next: Option<Split>,
    /// Each move of the traffic by this rollout, oldest first; the last may not have come about while `next` is told.
    /// None before moves were kept.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub moves: Vec<Move>,
    #[serde(default)]
    pub stages: Vec<Stage>,
    /// What the judge saw and decided, look by look.
    #[serde(default)]
    pub looks: Vec<Look>,
    /// It does not go on to its next stage until a person says so.
    #[serde(default)]
    pub paused: bool,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub approvals: Vec<Approval>,
    /// Until when the version before stays deployed without traffic.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub kept_until: Option<Timestamp>,
    /// What came out, as soon as that is known; what it asks for may still have to be done.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub verdict: Option<DeployVerdict>,
    #[serde(default)]
    pub reason: String,
    /// When everything was done.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ended: Option<Timestamp>,
}

/// The traffic from an instant on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Move {
    pub at: Timestamp,
    pub split: Split,
    /// The rollout found that somebody else had moved it.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub by_others: bool,
}

/// A person's word to go on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Approval {
    pub by: String,
    pub at: Timestamp,
    /// The share of the challenger when it was given; 0 before the first stage.
    pub percent: u32,
}

/// A rollout that ended, as it is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Ended {
    pub format: u32,
    #[serde(flatten)]
    pub rollout: Rollout,
}

impl Ended {
    pub(super) fn of(rollout: &Rollout) -> Self {
        Self {
            format: FORMAT,
            rollout: rollout.clone(),
        }
    }
}

impl Rollout {
    /// The rollout after `last`, which finds the endpoint's traffic so.
    pub(super) fn after(
        last: Option<&Self>,
        digest: Digest,
        challenger: Deployment,
        champion: Option<Deployment>,
        found: Split,
        now: Timestamp,
    ) -> Self {
        Self {
            number: last.map_or(0, |last| last.number) + 1,
            digest,
            challenger,
            champion,
            build: std::env::var("BUILD_ID").unwrap_or_default(),
            started: now,
            before: found.clone(),
            split: Some(found),
            next: None,
            moves: Vec::new(),
            stages: Vec::new(),
            looks: Vec::new(),
            paused: false,
            approvals: Vec::new(),
            kept_until: None,
            verdict: None,
            reason: String::new(),
            ended: None,
        }
    }

    /// Whether a split is one that this rollout made or was about to make.
    fn made(&self, split: &Split) -> bool {
        let known = |ours: &Option<Split>| ours.as_ref().is_some_and(|ours| ours == split);
        self.split.is_none() || known(&self.split) || known(&self.next)
    }

    /// Notes that the traffic is about to be moved from what was found.
    pub(super) fn about_to_move(&mut self, found: &Split, wanted: &Split, now: Timestamp) {
        self.forget_move(found);
        self.next = Some(wanted.clone());
        self.moves.push(Move {
            at: now,
            split: wanted.clone(),
            by_others: false,
        });
    }

    /// Notes the traffic that somebody else made.
    pub(super) fn overruled_by(&mut self, found: Split, now: Timestamp) {
        if let Some(split) = self.split.clone() {
            self.forget_move(&split);
        }
        self.moves.push(Move {
            at: now,
            split: found,
            by_others: true,
        });
    }

    /// Forgets a move that was told and did not come about, by the traffic that is found.
    pub(super) fn forget_move(&mut self, found: &Split) {
        if self.next.take().is_some_and(|next| next != *found) {
            self.moves.pop();
        }
    }

    /// Whether somebody else moved the traffic since.
    pub(super) fn was_overruled(&self, endpoint: &Endpoint) -> bool {
        !self.made(&split(endpoint))
    }

    /// The version before, while it is kept deployed after a promotion.
    pub(super) fn kept(&self, now: Timestamp) -> Option<&Deployment> {
        let kept = self.is_promoted() && self.kept_until.is_some_and(|until| until > now);
        self.champion.as_ref().filter(|_| kept)
    }

    pub(super) fn is_promoted(&self) -> bool {
        self.verdict == Some(DeployVerdict::Promoted)
    }
}

/// The traffic of an endpoint.
pub(super) fn split(endpoint: &Endpoint) -> Split {
    let shares = endpoint.traffic_split.iter();
    shares
        .filter(|(_, share)| **share > 0)
        .map(|(id, share)| (id.clone(), *share))
        .collect()
}

/// A split as a person reads it, as in `25% to version 2 and 75% to version 1`.
pub(super) fn told(split: &Split, endpoint: &Endpoint) -> String {
    told_with(split, endpoint, None)
}

/// The same, of a split with a model that is not deployed yet.
pub(super) fn told_with(split: &Split, endpoint: &Endpoint, new: Option<&Deployment>) -> String {
    let parts: Vec<String> = split
        .iter()
        .map(|(id, share)| match endpoint.deployed(id) {
            Some(d) => format!("{share}% to {}", Deployment::of(d)),
            None => match new.filter(|new| new.id == *id) {
                Some(new) => format!("{share}% to {new}"),
                None => format!("{share}% to the deployed model {id}"),
            },
        })
        .collect();
    match parts.is_empty() {
        true => "nothing to anybody".to_owned(),
        false => parts.join(" and "),
    }
}

/// Where the journal of the config's endpoint is, and where those that ended are.
pub(super) fn journal_name(ctx: &Context) -> String {
    format!("{}journal.json", prefix(ctx))
}

/// The name of the rollout with a number.
pub(super) fn ended_name(ctx: &Context, number: u64) -> String {
    format!("{}{number}.json", prefix(ctx))
}

/// Where a person's wish for the rollout under way is.
pub(super) fn asked_name(ctx: &Context) -> String {
    format!("{}asked.json", prefix(ctx))
}

/// What the names of all objects of the config's endpoint begin with.
pub(super) fn prefix(ctx: &Context) -> String {
    format!("rollouts/{}/{}/", ctx.region, *ctx.config.deploy.endpoint)
}

/// The journal of the config's endpoint with its generation; `None` where nothing was ever rolled out.
///
/// # Errors
/// [`Input`] for an object that is no journal, or one of a newer serin; when the cloud fails.
pub(super) async fn read(ctx: &Context) -> Result<Option<(i64, Entry)>> {
    let name = journal_name(ctx);
    let read = ctx.storage().objects_read(&ctx.config.bucket, &name).await;
    let Some((object, bytes)) = read.map_err(|e| ctx.of_bucket(e))? else {
        return Ok(None);
    };
    let entry = parse(&bytes, &ctx.gs(&name))?;
    Ok(Some((object.generation, entry)))
}

/// The rollout under way or the last one.
///
/// # Errors
/// As [`read`].
pub(super) async fn last(ctx: &Context) -> Result<Option<Rollout>> {
    Ok(read(ctx).await?.and_then(|(_, entry)| entry.rollout))
}

/// The number of a rollout that ended, from its object's name; `None` for another object.
pub(super) fn number_of(name: &str) -> Option<u64> {
    let (_, file) = name.rsplit_once('/')?;
    file.strip_suffix(".json")?.parse().ok()
}

/// A rollout that ended. One that cannot be read is left out with a warning: the others are as true without it.
///
/// # Errors
/// [`Input`] for one of a newer serin; when the cloud fails.
pub(super) async fn read_ended(ctx: &Context, name: &str) -> Result<Option<Rollout>> {
    let read = ctx.storage().objects_read(&ctx.config.bucket, name).await;
    let Some((_, bytes)) = read.map_err(|e| ctx.of_bucket(e))? else {
        return Ok(None);
    };
    Ok(parse_ended(&bytes, &ctx.gs(name))?)
}

/// Reads a rollout that ended; `None`, with a warning, where it is none.
///
/// # Errors
/// [`Input`] with the object's name for one of a newer serin.
pub(super) fn parse_ended(bytes: &Bytes, name: &str) -> Result<Option<Rollout>, Input> {
    let found = match serde_json::from_slice::<Format>(bytes) {
        Ok(Format { format }) if format > FORMAT => {
            let message = format!("{name} is of a newer serin");
            return Err(Input::new(message).hint("read the history with that one"));
        }
        Ok(_) => serde_json::from_slice::<Ended>(bytes),
        Err(e) => Err(e),
    };
    match found {
        Ok(ended) => Ok(Some(ended.rollout)),
        Err(e) => {
            eprintln!("warning: {name} is left out, it is no rollout: {e}");
            Ok(None)
        }
    }
}

/// An earlier rollout by its number; `None` where its record is gone or is none.
///
/// # Errors
/// As [`read_ended`].
pub(super) async fn ended(ctx: &Context, number: u64) -> Result<Option<Rollout>> {
    read_ended(ctx, &ended_name(ctx, number)).await
}

/// Reads a journal of any format that this program knows.
///
/// # Errors
/// [`Input`] with the object's name.
pub(super) fn parse(bytes: &Bytes, name: &str) -> Result<Entry, Input> {
    let damaged = |e: serde_json::Error| {
        Input::new(format!("{name} is no journal of a rollout: {e}")).hint(
            "`serin deploy --recover` gives the champion its traffic back and sets the object aside",
        )
    };
    let format = serde_json::from_slice::<Format>(bytes).map_err(damaged)?;
    match format.format {
        FORMAT => serde_json::from_slice(bytes).map_err(damaged),
        1 | 2 => serde_json::from_slice::<old::Entry>(bytes)
            .map(Entry::from)
            .map_err(damaged),
        _ => Err(Input::new(format!("{name} is of a newer serin"))
            .hint("deploy with that one, or remove the object once its rollout has ended")),
    }
}

/// The number that all these objects have.
#[derive(Deserialize)]
struct Format {
    #[serde(default = "first_format")]
    format: u32,
}

fn first_format() -> u32 {
    1
}

/// The journal before format 3.
mod old {
    use super::{
        BTreeMap, Deployment, Deserialize, Digest, FORMAT, Look, Stage, Timestamp, first_format,
    };

    #[derive(Deserialize)]
    pub(super) struct Entry {
        digest: Digest,
        challenger: String,
        champion: Option<String>,
        started: Timestamp,
        stages: Vec<Stage>,
        holder: String,
        lease_until: Timestamp,
        #[serde(default = "first_format")]
        format: u32,
        #[serde(default)]
        ended: bool,
        #[serde(default)]
        looks: Vec<Look>,
    }

    impl From<Entry> for super::Entry {
        fn from(old: Entry) -> Self {
            let deployment = |id: String| Deployment {
                id,
                model: String::new(),
                version: String::new(),
            };
            let champion = old.champion.map(deployment);
            // Before format 2 an earlier rollout of the same model is not told from this one.
            let ended = old.ended || old.format < 2;
            let rollout = super::Rollout {
                number: 0,
                digest: old.digest,
                challenger: deployment(old.challenger),
                before: champion
                    .iter()
                    .map(|c| (c.id.clone(), 100))
                    .collect::<BTreeMap<_, _>>(),
                champion,
                build: String::new(),
                started: old.started,
                split: None,
                next: None,
                moves: Vec::new(),
                stages: old.stages,
                looks: old.looks,
                paused: false,
                approvals: Vec::new(),
                kept_until: None,
                verdict: None,
                reason: String::new(),
                ended: ended.then_some(old.started),
            };
            Self {
                format: FORMAT,
                holder: old.holder,
                lease_until: old.lease_until,
                rollout: Some(rollout),
            }
        }
    }
}

/// The champion of an endpoint: what a judged rollout or a person made it. `None` where neither made one.
///
/// `last` is the last rollout; `named` tells whether a deployed model's version has the alias `champion`.
pub(super) fn champion<'a>(
    endpoint: &'a Endpoint,
    last: Option<&Rollout>,
    named: impl Fn(&DeployedModel) -> bool,
) -> Option<&'a DeployedModel> {
    if let Some(last) = last {
        // Who moved all the traffic by hand chose the champion, whatever a rollout had made of it.
        let all = split(endpoint);
        let all = all.iter().find(|(_, share)| **share == 100);
        if let Some((id, _)) = all.filter(|_| last.was_overruled(endpoint)) {
            return endpoint.deployed(id);
        }
        if last.ended.is_none() {
            let proven = match last.is_promoted() {
                true => Some(&last.challenger),
                false => last.champion.as_ref(),
            };
            if let Some(found) = proven.and_then(|proven| endpoint.deployed(&proven.id)) {
                return Some(found);
            }
        }
    }
    endpoint.deployed_models.iter().find(|d| named(d))
}

/// What has the most traffic, for an endpoint whose champion nobody made: it is the best there is.
pub(super) fn serving(
    endpoint: &Endpoint,
    eligible: impl Fn(&DeployedModel) -> bool,
) -> Option<&DeployedModel> {
    let share = |d: &&DeployedModel| endpoint.traffic_split.get(&d.id).copied().unwrap_or(0);
    let models = endpoint.deployed_models.iter().filter(|d| eligible(d));
    models
        .filter(|d| share(d) > 0)
        .max_by_key(|d| (share(d), std::cmp::Reverse(d.id.clone())))
}

/// The versions that have the alias `champion`, of the models that are deployed at an endpoint.
///
/// # Errors
/// When the cloud fails.
pub(super) async fn named_champions(ctx: &Context, endpoint: &Endpoint) -> Result<Named> {
    let models: BTreeSet<&str> = endpoint
        .deployed_models
        .iter()
        .map(|d| base(&d.model))
        .collect();
    let mut named = Vec::new();
    for model in models {
        if let Some(version) = aliases::holder(ctx, model, aliases::CHAMPION).await? {
            named.push((model.to_owned(), version));
        }
    }
    Ok(Named(named))
}

/// Versions, by their models.
#[derive(Debug, Default)]
pub(super) struct Named(Vec<(String, String)>);

impl Named {
    pub(super) fn has(&self, deployed: &DeployedModel) -> bool {
        let named = self.0.iter();
        named
            .into_iter()
            .any(|(model, version)| Deployment::of(deployed).is(model, version))
    }
}

/// A model's name without its version.
pub(super) fn base(model: &str) -> &str {
    model.split('@').next().unwrap_or(model)
}
