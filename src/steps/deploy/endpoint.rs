//! The endpoint and what a rollout does to it; each effect is harmless to repeat.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::error::Input;
use crate::gcp::vertex::{DeployedModel, Endpoint, NewDeployedModel};
use crate::gcp::{resource_id, same_resource};
use crate::steps::Context;
use crate::steps::champion::{CHAMPION_ALIAS, versioned};
use crate::steps::push::CANDIDATE_ALIAS;
use crate::workspace::Digest;
use crate::workspace::records::Pushed;

/// Deployments take 5 to 45 minutes.
const DEPLOY_AT_MOST: Duration = Duration::from_secs(2 * 3600);
/// How often a busy endpoint is asked again, and how long between.
const BUSY_TRIES: u32 = 30;
const BUSY_PAUSE: Duration = Duration::from_secs(20);
/// What serin deploys has a name that begins so; it never undeploys anything else.
const OURS: &str = "serin-";

/// The endpoint of the config, made where it is not there yet.
pub(super) async fn find_or_create(ctx: &Context) -> Result<Endpoint> {
    let vertex = ctx.vertex();
    let id = &ctx.config.deploy.endpoint;
    let name = format!("{}/endpoints/{}", vertex.parent(), **id);
    if let Some(endpoint) = vertex.endpoints_get(&name).await? {
        return Ok(endpoint);
    }
    let labels = BTreeMap::from([("serin_model".to_owned(), ctx.config.model.to_string())]);
    match vertex.endpoints_create(id, id, &labels).await {
        Ok(operation) => {
            vertex.operations_wait(&operation, DEPLOY_AT_MOST).await?;
            println!("created the endpoint {name}");
        }
        // Made by an earlier try whose answer was lost, or by another build; it may take a moment.
        Err(e) if e.is_conflict() => {}
        Err(e) if e.http == Some(400) => {
            let message = format!("the endpoint cannot be made: {}", e.message);
            return Err(Input::new(message).at(id.place.clone()).into());
        }
        Err(e) => return Err(e).context("creating the endpoint"),
    }
    for _ in 0..BUSY_TRIES {
        if let Some(endpoint) = vertex.endpoints_get(&name).await? {
            return Ok(endpoint);
        }
        ctx.clock.sleep(BUSY_PAUSE).await;
    }
    bail!("{name} was created and cannot be found")
}

/// The two deployed models that a rollout is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// The endpoint's name, as the cloud gave it.
    pub endpoint: String,
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
    pub async fn choose(ctx: &Context, endpoint: &Endpoint, pushed: &Pushed) -> Result<Self> {
        let share = |d: &DeployedModel| endpoint.traffic_split.get(&d.id).copied().unwrap_or(0);
        let is_challenger = |d: &DeployedModel| {
            same_resource(base(&d.model), &pushed.model) && d.model_version_id == pushed.version
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
            let alias = format!("{}@{CHAMPION_ALIAS}", pushed.model);
            champion_version = ctx.vertex().models_get(&alias).await?.map(|m| m.version_id);
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
            challenger: challenger.map_or_else(|| deployment_id(pushed), |d| d.id.clone()),
            champion: champion.map(|d| d.id.clone()),
            found_percent: challenger.map_or(0, share),
            promoted: champion_version.is_some_and(|version| version == pushed.version),
        })
    }

    /// Whether the challenger has all the traffic, and not only because a run was killed while it judged.
    pub fn serves_everything(&self) -> bool {
        self.found_percent == 100 && self.promoted
    }

    async fn read(&self, ctx: &Context) -> Result<Endpoint> {
        let found = ctx.vertex().endpoints_get(&self.endpoint).await?;
        found.with_context(|| format!("{} is gone", self.endpoint))
    }

    /// The challenger's share of the traffic as it really is.
    pub async fn percent(&self, ctx: &Context) -> Result<u32> {
        Ok(self
            .read(ctx)
            .await?
            .traffic_split
            .get(&self.challenger)
            .copied()
            .unwrap_or(0))
    }

    /// Ends deployments of serin's that are neither champion nor challenger.
    pub async fn end_leftovers(&self, ctx: &Context) -> Result<()> {
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
    pub async fn deploy_dark(&self, ctx: &Context, pushed: &Pushed) -> Result<()> {
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
        for _ in 0..BUSY_TRIES {
            let endpoint = self.read(ctx).await?;
            if endpoint
                .deployed_models
                .iter()
                .any(|d| d.id == self.challenger)
            {
                return Ok(());
            }
            println!("deploying {} without traffic", new.model);
            match ctx
                .vertex()
                .endpoints_deploy_model(&self.endpoint, &new)
                .await
            {
                Ok(operation) => {
                    ctx.vertex()
                        .operations_wait(&operation, DEPLOY_AT_MOST)
                        .await
                        .context("deploying the model")?;
                    return Ok(());
                }
                // Busy with another deployment, or with this one from a try whose answer was lost.
                Err(e) if e.is_conflict() || e.is_lost() => ctx.clock.sleep(BUSY_PAUSE).await,
                Err(e) => return Err(e).context("deploying the model"),
            }
        }
        bail!(
            "{} stayed busy; run `serin deploy` again later",
            self.endpoint
        )
    }

    /// Gives the challenger this share and the champion the rest.
    pub async fn traffic_to_challenger(&self, ctx: &Context, percent: u32) -> Result<()> {
        let mut split = BTreeMap::from([(self.challenger.clone(), percent)]);
        if let Some(champion) = &self.champion {
            split.insert(champion.clone(), 100 - percent);
        }
        split.retain(|_, share| *share > 0);
        self.patch(ctx, &split).await
    }

    /// Gives the champion everything; without one nobody has traffic.
    pub async fn traffic_to_champion(&self, ctx: &Context) -> Result<()> {
        let split = self
            .champion
            .iter()
            .map(|champion| (champion.clone(), 100))
            .collect();
        self.patch(ctx, &split).await
    }

    /// Changes the split under the endpoint's etag, reading it anew when somebody was faster.
    async fn patch(&self, ctx: &Context, split: &BTreeMap<String, u32>) -> Result<()> {
        for _ in 0..BUSY_TRIES {
            let endpoint = self.read(ctx).await?;
            let mut now = endpoint.traffic_split;
            now.retain(|_, share| *share > 0);
            if now == *split {
                return Ok(());
            }
            match ctx
                .vertex()
                .endpoints_patch_traffic_split(&self.endpoint, split, &endpoint.etag)
                .await
            {
                Ok(_) => return Ok(()),
                Err(e) if e.is_conflict() || e.is_lost() => ctx.clock.sleep(BUSY_PAUSE / 4).await,
                Err(e) => return Err(e).context("moving the traffic"),
            }
        }
        bail!(
            "the traffic of {} could not be moved: it kept changing",
            self.endpoint
        )
    }

    pub async fn undeploy_challenger(&self, ctx: &Context) -> Result<()> {
        self.undeploy(ctx, &self.challenger).await
    }

    async fn undeploy(&self, ctx: &Context, id: &str) -> Result<()> {
        for _ in 0..BUSY_TRIES {
            if !self
                .read(ctx)
                .await?
                .deployed_models
                .iter()
                .any(|d| d.id == id)
            {
                return Ok(());
            }
            match ctx
                .vertex()
                .endpoints_undeploy_model(&self.endpoint, id)
                .await
            {
                Ok(operation) => {
                    ctx.vertex()
                        .operations_wait(&operation, DEPLOY_AT_MOST)
                        .await
                        .context("undeploying a model")?;
                    return Ok(());
                }
                Err(e) if e.is_conflict() || e.is_lost() => ctx.clock.sleep(BUSY_PAUSE).await,
                Err(e) => return Err(e).context("undeploying a model"),
            }
        }
        bail!(
            "{} stayed busy; run `serin deploy` again later",
            self.endpoint
        )
    }

    /// Names the version champion and ends what served before; also finishes a promotion that was cut short.
    pub async fn finish_promotion(&self, ctx: &Context, pushed: &Pushed) -> Result<()> {
        let name = versioned(&pushed.model, &pushed.version);
        let aliases = [CHAMPION_ALIAS.to_owned(), format!("-{CANDIDATE_ALIAS}")];
        ctx.vertex()
            .models_merge_version_aliases(&name, &aliases)
            .await?;
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

/// Ten digits that the same version of the same digest always gets.
fn deployment_id(pushed: &Pushed) -> String {
    let text = format!(
        "{}@{} {}",
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
        let id = deployment_id(&pushed);
        assert_eq!(id.len(), 10);
        assert!(id.bytes().all(|b| b.is_ascii_digit()) && !id.starts_with('0'));
        assert_eq!(
            id,
            deployment_id(&Pushed {
                found: true,
                ..pushed
            })
        );
    }
}
