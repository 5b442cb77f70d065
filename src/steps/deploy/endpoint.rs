//! The endpoint, and which of its models a rollout is about.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::machine_shape;
use crate::error::Input;
use crate::gcp::vertex::{DeployedModel, Endpoint, NewEndpoint};
use crate::gcp::{is_of_key, resource_id};
use crate::steps::Context;
use crate::steps::rollouts::{self, Deployment, Rollout, Split, base, split};
use crate::workspace::Digest;
use crate::workspace::records::Pushed;

/// How long the making of an endpoint is watched.
const CREATED_AT_MOST: Duration = Duration::from_secs(2 * 3600);
/// How long between two looks at a new endpoint.
const PAUSE: Duration = Duration::from_secs(20);
/// How often a new endpoint is looked for, while a try whose answer was lost still makes it.
const FOUND_TRIES: u32 = 30;
/// What serin deploys has a name that begins so; it never undeploys anything else.
pub(super) const OURS: &str = "serin-";

/// The endpoint of the config, made where it is not there yet.
pub(super) async fn find_or_create(ctx: &Context) -> Result<Endpoint> {
    let vertex = ctx.vertex();
    let id = &ctx.config.deploy.endpoint;
    let name = ctx.endpoint_name();
    if let Some(endpoint) = vertex.endpoints_get(&name).await? {
        check(ctx, &endpoint)?;
        return machine_shape::log_as_asked(ctx, endpoint).await;
    }
    // Only ids of up to nine digits can be asked for; Google generates the longer ones.
    if id.len() > 9 && id.bytes().all(|b| b.is_ascii_digit()) {
        let message = format!("there is no endpoint {name}, and such an id cannot be chosen");
        return Err(Input::new(message)
            .at(id.place.clone())
            .hint("correct the number or the region, or give a word, which serin makes an endpoint of")
            .into());
    }
    let labels = BTreeMap::from([("serin_model".to_owned(), ctx.config.model.to_string())]);
    let new = NewEndpoint {
        id: id.as_str(),
        labels,
        dedicated: ctx.config.deploy.dedicated_endpoint,
        logging: machine_shape::logging(ctx),
    };
    let taken = match vertex.endpoints_create(&new).await {
        Ok(operation) => {
            vertex.operations_wait(&operation, CREATED_AT_MOST).await?;
            println!("created the endpoint {name}");
            None
        }
        // Made by an earlier try whose answer was lost, or by another build; it may take a moment.
        Err(e) if e.http == Some(409) => Some(e),
        Err(e) if e.http == Some(400) => {
            let message = format!("the endpoint cannot be made: {}", e.message);
            return Err(Input::new(message).at(id.place.clone()).into());
        }
        Err(e) => return Err(e).context("creating the endpoint"),
    };
    for _ in 0..FOUND_TRIES {
        if let Some(endpoint) = vertex.endpoints_get(&name).await? {
            return Ok(endpoint);
        }
        ctx.clock.sleep(PAUSE).await;
    }
    match taken {
        Some(taken) => Err(taken).context("creating the endpoint"),
        None => bail!("{name} was created and cannot be found"),
    }
}

/// Refuses an endpoint that was made as another than the config asks for, and stays so.
///
/// # Errors
/// [`Input`] with the endpoint's place.
pub(super) fn check(ctx: &Context, endpoint: &Endpoint) -> Result<(), Input> {
    check_key(ctx, endpoint)?;
    machine_shape::check_dedicated(ctx, endpoint)
}

/// Refuses an endpoint under another key than the config's: an endpoint keeps the key that it was made with.
fn check_key(ctx: &Context, endpoint: &Endpoint) -> Result<(), Input> {
    let Some(key) = &ctx.config.encryption_key else {
        return Ok(());
    };
    let found = &endpoint.encryption_spec.kms_key_name;
    if is_of_key(found, key) {
        return Ok(());
    }
    let found = match found.as_str() {
        "" => "a key of Google's own",
        key => key,
    };
    let message = format!(
        "the endpoint is encrypted with {found}, not with the `encryption_key` of this file, and keeps the key that it was made with"
    );
    Err(Input::new(message)
        .at(ctx.config.deploy.endpoint.place.clone())
        .hint("name an endpoint that is not there yet, and serin makes it with the key"))
}

/// The deployed models that a rollout is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// The endpoint's name, as the cloud gave it.
    pub endpoint: String,
    /// The host that answers predictions, where the endpoint is a dedicated one.
    pub dedicated_dns: Option<String>,
    /// The challenger; its deployment's id is chosen so that a second try is recognised.
    pub challenger: Deployment,
    /// The deployment that a judged rollout or a person made champion.
    pub champion: Option<Deployment>,
    /// Shares of models that serin did not deploy, which stay as they are.
    pub others: Split,
    /// The challenger is the champion already.
    pub promoted: bool,
}

impl Target {
    /// Tells challenger and champion apart among what is deployed.
    ///
    /// # Errors
    /// [`Input`] where traffic is divided in a way that no rollout and no alias explains, or models that serin did not
    /// deploy have a part of it and the config does not say what to do with them.
    pub(super) async fn choose(
        ctx: &Context,
        endpoint: &Endpoint,
        pushed: &Pushed,
        last: Option<&Rollout>,
    ) -> Result<Self> {
        let chosen = deployment_id(&endpoint.name, pushed);
        let is_challenger = |d: &DeployedModel| {
            d.id == chosen || Deployment::of(d).is(&pushed.model, &pushed.version)
        };
        let models = &endpoint.deployed_models;
        let challenger = models.iter().find(|d| is_challenger(d));
        // A single model that is not ours to judge needs no name to be told from others.
        let named = match (models.len(), challenger) {
            (0 | 1, None) => rollouts::Named::default(),
            _ => rollouts::named_champions(ctx, endpoint).await?,
        };
        let proven = rollouts::champion(endpoint, last, |d| named.has(d));
        let promoted = proven.is_some_and(is_challenger);
        let champion = match promoted {
            true => None,
            false => proven.or_else(|| rollouts::serving(endpoint, |d| !is_challenger(d))),
        };
        let target = Self {
            endpoint: endpoint.name.clone(),
            dedicated_dns: endpoint.dedicated_host().map(str::to_owned),
            challenger: Deployment {
                id: challenger.map_or(chosen, |d| d.id.clone()),
                model: base(&pushed.model).to_owned(),
                version: pushed.version.clone(),
            },
            champion: champion.map(Deployment::of),
            others: Split::new(),
            promoted,
        };
        target
            .beside_others(ctx, endpoint, last)
            .map_err(Into::into)
    }

    /// What a rollout in the journal is about.
    pub(super) fn of(endpoint: &Endpoint, rollout: &Rollout) -> Self {
        let champion = rollout.champion.as_ref();
        let is_known = |id: &String| {
            *id == rollout.challenger.id || champion.is_some_and(|champion| *id == champion.id)
        };
        let others = rollout.before.iter().filter(|(id, _)| !is_known(id));
        Self {
            endpoint: endpoint.name.clone(),
            dedicated_dns: endpoint.dedicated_host().map(str::to_owned),
            challenger: rollout.challenger.clone(),
            champion: champion.cloned(),
            others: others
                .filter(|(id, _)| endpoint.deployed(id).is_some_and(|d| !is_ours(d)))
                .map(|(id, share)| (id.clone(), *share))
                .collect(),
            promoted: false,
        }
    }

    /// The champion with all the traffic that is not of models that serin did not deploy.
    pub(super) fn champion_alone(endpoint: &Endpoint, champion: &DeployedModel) -> Self {
        let is_other =
            |id: &str| id != champion.id && endpoint.deployed(id).is_some_and(|d| !is_ours(d));
        let others = split(endpoint).into_iter().filter(|(id, _)| is_other(id));
        Self {
            endpoint: endpoint.name.clone(),
            dedicated_dns: endpoint.dedicated_host().map(str::to_owned),
            challenger: Deployment::of(champion),
            champion: None,
            others: others.collect(),
            promoted: true,
        }
    }

    /// Settles what becomes of traffic that is neither the challenger's nor the champion's.
    fn beside_others(
        mut self,
        ctx: &Context,
        endpoint: &Endpoint,
        last: Option<&Rollout>,
    ) -> Result<Self, Input> {
        let deploy = &ctx.config.deploy;
        let place = || deploy.endpoint.place.clone();
        let split = split(endpoint);
        let told = rollouts::told(&split, endpoint);
        let is_foreign = |id: &str| endpoint.deployed(id).is_some_and(|d| !is_ours(d));
        let champion = self.champion.as_ref().map(|c| c.id.as_str());
        if let Some(champion) = champion.filter(|id| is_foreign(id) && !deploy.take_over) {
            let name = endpoint.deployed(champion).map(|d| d.display_name.as_str());
            let message = format!(
                "the endpoint's traffic is at `{}`, which serin did not deploy",
                name.unwrap_or(champion)
            );
            return Err(Input::new(message).at(place()).hint(
                "`deploy.take_over: true` lets serin hold new models against it and undeploy it when one is promoted; or name another endpoint",
            ));
        }
        let is_known = |id: &str| id == self.challenger.id || Some(id) == champion;
        let foreign: Split = split
            .iter()
            .filter(|(id, _)| !is_known(id) && is_foreign(id))
            .map(|(id, share)| (id.clone(), *share))
            .collect();
        if !foreign.is_empty() && !deploy.share_with_others {
            let message = format!(
                "the endpoint shares its traffic with models that serin did not deploy: {told}"
            );
            return Err(Input::new(message).at(place()).hint(
                "`deploy.share_with_others: true` leaves them their share; or give one model all the traffic, or name another endpoint",
            ));
        }
        let overruled = last.is_some_and(|last| last.was_overruled(endpoint));
        let divided = split.iter().filter(|(id, _)| !is_foreign(id)).count() > 1;
        if overruled && divided {
            let message = format!("somebody divided the endpoint's traffic by hand: {told}");
            return Err(Input::new(message).at(place()).hint(
                "give one model all of it, or `serin deploy --recover` gives it to the champion",
            ));
        }
        self.others = foreign;
        Ok(self)
    }

    /// Whether the challenger is champion, has all the traffic that is serin's, and nothing else of serin's is deployed.
    ///
    /// `kept` is the version before, while it is kept deployed.
    pub(super) fn is_settled(&self, endpoint: &Endpoint, kept: Option<&str>) -> bool {
        let alone = endpoint
            .deployed_models
            .iter()
            .all(|d| d.id == self.challenger.id || !is_ours(d) || Some(&*d.id) == kept);
        self.promoted && alone && split(endpoint) == self.split(100)
    }

    /// The split in which the challenger has this share of what is not others', in percent.
    pub(super) fn split(&self, percent: u32) -> Split {
        let rest = 100 - self.others.values().sum::<u32>().min(100);
        let ours = match self.champion {
            // Whoever has a share is given one percent at least.
            Some(_) if percent > 0 => (rest * percent / 100).max(1),
            Some(_) => 0,
            None => rest,
        };
        let champion = self.champion.iter().map(|c| (c.id.clone(), rest - ours));
        let mut split: Split = champion.collect();
        split.insert(self.challenger.id.clone(), ours);
        split.extend(self.others.clone());
        split.retain(|_, share| *share > 0);
        split
    }

    /// The stage's share that the challenger has, in percent.
    pub(super) fn percent(&self, endpoint: &Endpoint, stages: &[u32]) -> u32 {
        let found = split(endpoint);
        let stage = stages.iter().find(|stage| self.split(**stage) == found);
        stage.copied().unwrap_or(0)
    }

    /// The ids of the deployed models that are measured.
    pub(super) fn models(&self) -> Vec<&str> {
        let champion = self.champion.iter().map(|champion| champion.id.as_str());
        std::iter::once(self.challenger.id.as_str())
            .chain(champion)
            .collect()
    }
}

pub(super) fn is_ours(deployed: &DeployedModel) -> bool {
    deployed.display_name.starts_with(OURS)
}

/// Ten digits that the same version of the same digest always gets on the same endpoint, and no other
/// endpoint's deployment: metrics are told apart by them.
fn deployment_id(endpoint: &str, pushed: &Pushed) -> String {
    let below_project: Vec<&str> = endpoint.split('/').skip(2).collect();
    let text = format!(
        "{} {}@{} {}",
        below_project.join("/"),
        resource_id(&pushed.model),
        pushed.version,
        pushed.digest
    );
    let digest = Digest::of(text.as_bytes());
    let number = u64::from_str_radix(&digest.as_str()[..12], 16).unwrap_or(0);
    (1_000_000_000 + number % 9_000_000_000).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deployment_ids_are_ten_digits_and_stable() {
        let pushed = Pushed {
            model: "projects/p/locations/l/models/m".into(),
            version: "3".into(),
            digest: Digest::of(b"x"),
            artifact_uri: String::new(),
            found: false,
        };
        let endpoint = "projects/p/locations/l/endpoints/e";
        let id = deployment_id(endpoint, &pushed);
        assert_eq!(id.len(), 10);
        assert!(id.bytes().all(|b| b.is_ascii_digit()) && !id.starts_with('0'));
        let again = Pushed {
            found: true,
            ..pushed
        };
        let by_number = "projects/123/locations/l/endpoints/e";
        assert_eq!(id, deployment_id(by_number, &again));
        let other = "projects/p/locations/l/endpoints/staging";
        assert_ne!(id, deployment_id(other, &again));
    }
}
