//! The endpoint and what a rollout does to it; each effect is harmless to repeat.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::error::Input;
use crate::gcp::vertex::{DeployedModel, Endpoint, NewDeployedModel};
use crate::gcp::{Error, Operation, is_of_key, resource_id, same_resource};
use crate::steps::champion::versioned;
use crate::steps::{Context, aliases};
use crate::workspace::Digest;
use crate::workspace::records::Pushed;

/// How long an operation is watched; a model may ask for two hours to come up.
const DEPLOY_AT_MOST: Duration = Duration::from_secs(2 * 3600);
/// How long an endpoint may refuse: a deployment takes 5 to 45 minutes, and where the reply to one's own
/// was lost, the endpoint is busy with it for as long.
const BUSY_AT_MOST: Duration = Duration::from_secs(3600);
/// How long between two tries on a busy endpoint.
const BUSY_PAUSE: Duration = Duration::from_secs(20);
/// How often a new endpoint is looked for, while a try whose answer was lost still makes it.
const FOUND_TRIES: u32 = 30;
/// What serin deploys has a name that begins so; it never undeploys anything else.
const OURS: &str = "serin-";

/// The endpoint of the config, made where it is not there yet.
pub(super) async fn find_or_create(ctx: &Context) -> Result<Endpoint> {
    let vertex = ctx.vertex();
    let id = &ctx.config.deploy.endpoint;
    let name = format!("{}/endpoints/{}", vertex.parent(), **id);
    if let Some(endpoint) = vertex.endpoints_get(&name).await? {
        check_key(ctx, &endpoint)?;
        return Ok(endpoint);
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
    let taken = match vertex.endpoints_create(id, id, &labels).await {
        Ok(operation) => {
            vertex.operations_wait(&operation, DEPLOY_AT_MOST).await?;
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
        ctx.clock.sleep(BUSY_PAUSE).await;
    }
    match taken {
        Some(taken) => Err(taken).context("creating the endpoint"),
        None => bail!("{name} was created and cannot be found"),
    }
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

/// The two deployed models that a rollout is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// The endpoint's name, as the cloud gave it.
    pub endpoint: String,
    /// The host that answers predictions, where the endpoint is a dedicated one.
    pub dedicated_dns: Option<String>,
    /// The id of the challenger's deployment, chosen so that a second try is recognised.
    pub challenger: String,
    /// The id of the deployment that serves now.
    pub champion: Option<String>,
    /// The challenger's share as it was found, in percent.
    found_percent: u32,
    /// The challenger is the registry's champion already.
    promoted: bool,
}

impl Target {
    /// Tells challenger and champion apart among what is deployed.
    ///
    /// # Errors
    /// [`Input`] when models that serin did not deploy share the traffic.
    pub(super) async fn choose(
        ctx: &Context,
        endpoint: &Endpoint,
        pushed: &Pushed,
    ) -> Result<Self> {
        let share = |d: &DeployedModel| endpoint.traffic_split.get(&d.id).copied().unwrap_or(0);
        let chosen = deployment_id(&endpoint.name, pushed);
        let is_challenger = |d: &DeployedModel| {
            d.id == chosen
                || same_resource(base(&d.model), &pushed.model)
                    && d.model_version_id == pushed.version
        };
        let challenger = endpoint.deployed_models.iter().find(|d| is_challenger(d));
        let mut others: Vec<&DeployedModel> = endpoint
            .deployed_models
            .iter()
            .filter(|d| !is_challenger(d))
            .collect();
        // The alias decides between two that a killed canary left; else the larger share.
        let mut champion_version = None;
        if others.iter().filter(|d| share(d) > 0).count() > 1
            || challenger.is_some_and(|c| share(c) > 0)
        {
            champion_version = aliases::holder(ctx, &pushed.model, aliases::CHAMPION).await?;
        }
        let named = |d: &DeployedModel| {
            same_resource(base(&d.model), &pushed.model)
                && champion_version.as_ref() == Some(&d.model_version_id)
        };
        others.sort_by_key(|d| (!named(d), std::cmp::Reverse(share(d)), d.id.clone()));
        let champion = others.first().filter(|d| share(d) > 0 || named(d));
        let foreign = others.iter().find(|d| {
            share(d) > 0 && !is_ours(d) && champion.is_none_or(|champion| champion.id != d.id)
        });
        if let Some(foreign) = foreign {
            let message = format!(
                "the endpoint shares its traffic with `{}`, which serin did not deploy",
                foreign.display_name
            );
            return Err(Input::new(message)
                .at(ctx.config.deploy.endpoint.place.clone())
                .hint("give one model all the traffic, or name another endpoint")
                .into());
        }
        Ok(Self {
            endpoint: endpoint.name.clone(),
            dedicated_dns: endpoint.dedicated_host().map(str::to_owned),
            challenger: challenger.map_or_else(|| chosen.clone(), |d| d.id.clone()),
            champion: champion.map(|d| d.id.clone()),
            found_percent: challenger.map_or(0, share),
            promoted: champion_version.is_some_and(|version| version == pushed.version),
        })
    }

    /// Whether the challenger has all the traffic, and not only because a run was killed while it judged.
    pub(super) fn serves_everything(&self) -> bool {
        self.found_percent == 100 && self.promoted
    }

    /// The endpoint as it is now.
    pub(super) async fn read(&self, ctx: &Context) -> Result<Endpoint> {
        let found = ctx.vertex().endpoints_get(&self.endpoint).await?;
        found.with_context(|| format!("{} is gone", self.endpoint))
    }

    /// The challenger's share of an endpoint's traffic.
    pub(super) fn percent(&self, endpoint: &Endpoint) -> u32 {
        let share = endpoint.traffic_split.get(&self.challenger);
        share.copied().unwrap_or(0)
    }

    /// The ids of the deployed models that are measured.
    pub(super) fn models(&self) -> Vec<&str> {
        let champion = self.champion.as_deref();
        std::iter::once(self.challenger.as_str())
            .chain(champion)
            .collect()
    }

    /// Ends deployments of serin's that are neither champion nor challenger.
    pub(super) async fn end_leftovers(&self, ctx: &Context) -> Result<()> {
        let endpoint = self.read(ctx).await?;
        let keep = |d: &DeployedModel| {
            d.id == self.challenger || Some(&d.id) == self.champion.as_ref() || !is_ours(d)
        };
        let leftovers: Vec<DeployedModel> = endpoint
            .deployed_models
            .iter()
            .filter(|d| !keep(d))
            .cloned()
            .collect();
        if leftovers
            .iter()
            .any(|d| endpoint.traffic_split.get(&d.id).is_some_and(|s| *s > 0))
        {
            self.traffic_to_champion(ctx).await?;
        }
        for leftover in leftovers {
            println!(
                "undeploying {}, left by an earlier rollout",
                leftover.display_name
            );
            self.undeploy(ctx, &leftover.id).await?;
        }
        Ok(())
    }

    /// Deploys the version without traffic, unless it is there.
    pub(super) async fn deploy_dark(&self, ctx: &Context, pushed: &Pushed) -> Result<()> {
        let deploy = &ctx.config.deploy;
        let new = NewDeployedModel {
            id: self.challenger.clone(),
            model: versioned(&pushed.model, &pushed.version),
            display_name: format!("{OURS}{}-{}", pushed.version, pushed.digest.short()),
            machine_type: deploy.machine.clone(),
            min_replicas: 1,
            max_replicas: 1,
            service_account: deploy.service_account.as_ref().map(|a| a.to_string()),
        };
        let there = |e: &Endpoint| e.deployed(&new.id).is_some();
        if !there(&self.read(ctx).await?) {
            println!("deploying {} without traffic", new.model);
        }
        self.bring_about(ctx, "deploying the model", there, async |_| {
            let vertex = ctx.vertex();
            let begun = vertex.endpoints_deploy_model(&self.endpoint, &new).await;
            begun.map(Some)
        })
        .await
    }

    /// Gives the challenger this share and the champion the rest.
    pub(super) async fn traffic_to_challenger(&self, ctx: &Context, percent: u32) -> Result<()> {
        let mut split = BTreeMap::from([(self.challenger.clone(), percent)]);
        if let Some(champion) = &self.champion {
            split.insert(champion.clone(), 100 - percent);
        }
        split.retain(|_, share| *share > 0);
        self.patch(ctx, &split).await
    }

    /// Gives the champion everything; without one nobody has traffic.
    pub(super) async fn traffic_to_champion(&self, ctx: &Context) -> Result<()> {
        let split = self
            .champion
            .iter()
            .map(|champion| (champion.clone(), 100))
            .collect();
        self.patch(ctx, &split).await
    }

    /// Changes the split under the endpoint's etag, reading it anew when somebody was faster.
    async fn patch(&self, ctx: &Context, split: &BTreeMap<String, u32>) -> Result<()> {
        let there = |e: &Endpoint| {
            let shares = e.traffic_split.iter().filter(|(_, share)| **share > 0);
            shares.eq(split)
        };
        self.bring_about(ctx, "moving the traffic", there, async |endpoint| {
            let etag = &endpoint.etag;
            let vertex = ctx.vertex();
            let patched = vertex
                .endpoints_patch_traffic_split(&self.endpoint, split, etag)
                .await;
            patched.map(|_| None)
        })
        .await
    }

    pub(super) async fn undeploy_challenger(&self, ctx: &Context) -> Result<()> {
        self.undeploy(ctx, &self.challenger).await
    }

    async fn undeploy(&self, ctx: &Context, id: &str) -> Result<()> {
        let gone = |e: &Endpoint| e.deployed(id).is_none();
        self.bring_about(ctx, "undeploying a model", gone, async |_| {
            let vertex = ctx.vertex();
            let begun = vertex.endpoints_undeploy_model(&self.endpoint, id).await;
            begun.map(Some)
        })
        .await
    }

    /// Asks until the endpoint is as it should be.
    ///
    /// Whatever comes of a request, the endpoint is looked at before the next: the effect may be there
    /// though its reply was lost or an earlier try had it. A busy endpoint is asked again for as
    /// long as a deployment takes; so is one that somebody else changed meanwhile, also where the
    /// stale etag is answered by a 400 without more.
    async fn bring_about(
        &self,
        ctx: &Context,
        doing: &'static str,
        there: impl Fn(&Endpoint) -> bool,
        request: impl AsyncFn(&Endpoint) -> Result<Option<Operation>, Error>,
    ) -> Result<()> {
        let end = ctx.clock.now() + BUSY_AT_MOST;
        let mut announced = false;
        let mut endpoint = self.read(ctx).await?;
        while !there(&endpoint) {
            let refused = match request(&endpoint).await {
                Ok(None) => return Ok(()),
                Ok(Some(operation)) => {
                    let vertex = ctx.vertex();
                    match vertex.operations_wait(&operation, DEPLOY_AT_MOST).await {
                        Ok(_) => return Ok(()),
                        Err(_) if there(&self.read(ctx).await?) => return Ok(()),
                        Err(e) => return Err(e).context(doing),
                    }
                }
                Err(e) => e,
            };
            let now = self.read(ctx).await?;
            if there(&now) {
                break;
            }
            let stale = matches!(refused.http, Some(400 | 409 | 412)) && now.etag != endpoint.etag;
            let lost = refused.is_lost() && refused.tries > 0;
            if !(stale || lost || refused.is_conflict()) || ctx.clock.now() >= end {
                return Err(refused).context(doing);
            }
            endpoint = if stale {
                now
            } else {
                if !announced {
                    println!("{doing} has to wait: {}", refused.message);
                    announced = true;
                }
                ctx.clock.sleep(BUSY_PAUSE).await;
                self.read(ctx).await?
            };
        }
        Ok(())
    }

    /// Names the version champion and ends what served before; also finishes a promotion that was cut short.
    pub(super) async fn finish_promotion(&self, ctx: &Context, pushed: &Pushed) -> Result<()> {
        let name = versioned(&pushed.model, &pushed.version);
        // `default` too: who asks for the model without a version is to get the one that serves.
        let given = [aliases::CHAMPION, aliases::DEFAULT];
        aliases::change(ctx, &name, &given, &[aliases::CANDIDATE]).await?;
        for deployed in self.read(ctx).await?.deployed_models {
            let champion = Some(&deployed.id) == self.champion.as_ref();
            if deployed.id != self.challenger && (champion || is_ours(&deployed)) {
                println!("undeploying {}", deployed.display_name);
                self.undeploy(ctx, &deployed.id).await?;
            }
        }
        Ok(())
    }
}

fn is_ours(deployed: &DeployedModel) -> bool {
    deployed.display_name.starts_with(OURS)
}

/// A model's name without its version.
fn base(model: &str) -> &str {
    model.split('@').next().unwrap_or(model)
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
