//! A build claims the key that it was started for, before anything else.
//!
//! `triggers.run` has no key by which Google would know a repeat, so one decision may start two builds: its first
//! answer was lost. The first step of each writes the key's claim under `ifGenerationMatch=0`. The build that comes
//! too late is a twin: this step and those after it end at once, well and with a line.

use anyhow::Result;

use super::Context;
use super::trigger::claim_for_build;
use crate::error::Input;
use crate::workspace::reason::{BUILD_VARIABLE, Claimed, Reason};

/// Whether this build has to do its work: `false` for a twin.
///
/// # Errors
/// [`Input`] where the build does not tell its id; else when the cloud fails.
pub(super) async fn goes_on(ctx: &Context) -> Result<bool> {
    let Some(reason) = Reason::from_env() else {
        return Ok(true);
    };
    let build = std::env::var(BUILD_VARIABLE).unwrap_or_default();
    if build.is_empty() {
        let message = format!(
            "the build was started for the key {}, and `{BUILD_VARIABLE}` does not tell which build it is",
            reason.key
        );
        return Err(Input::new(message)
            .hint("in cloudbuild.yaml each step needs `env: [BUILD_ID=$BUILD_ID, …]`, as `serin init` writes it")
            .into());
    }
    let known = ctx.workspace.peek::<Claimed>();
    let known = known.filter(|known| known.key == reason.key && known.build == build);
    let is_first = known.is_none();
    let claimed = match known {
        Some(claimed) => claimed,
        None => claim(ctx, &reason, build).await?,
    };
    if claimed.holder != claimed.build {
        println!(
            "the build {} was started for the key {} already: this one, {}, is its twin and does nothing",
            claimed.holder, claimed.key, claimed.build
        );
        return Ok(false);
    }
    if is_first {
        println!("{reason}");
    }
    Ok(true)
}

async fn claim(ctx: &Context, reason: &Reason, build: String) -> Result<Claimed> {
    ctx.find_or_create_bucket().await?;
    let holder = claim_for_build(ctx, &reason.key, &build).await?;
    let claimed = Claimed {
        key: reason.key.clone(),
        build,
        holder,
    };
    ctx.workspace.write(&claimed, &[])?;
    Ok(claimed)
}
