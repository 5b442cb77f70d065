//! Aliases of a model's versions: only what changes is sent.
//!
//! What the registry answers to the removal of an alias that is not there is not documented, and it has no
//! etag for them: so a version is read before each try, and what is as wanted already is left out.

use anyhow::{Context as _, Result};

use super::Context;

/// How often a version is read and asked to change.
const TRIES: u32 = 3;

/// The alias of the version that serves.
pub(super) const CHAMPION: &str = "champion";
/// The alias of the newest version that passed its gates.
pub(super) const CANDIDATE: &str = "candidate";
/// The alias that always exists: what is asked for without a version gets it.
pub(super) const DEFAULT: &str = "default";

/// Gives a version, `MODEL@VERSION`, some aliases, which others lose, and takes some away.
pub(super) async fn change(
    ctx: &Context,
    version: &str,
    give: &[&str],
    take: &[&str],
) -> Result<()> {
    let vertex = ctx.vertex();
    let mut refused = None;
    for _ in 0..TRIES {
        let found = vertex.models_get(version).await?;
        let found = found.with_context(|| format!("{version} is gone"))?;
        let changes = changes(&found.version_aliases, give, take);
        if changes.is_empty() {
            return Ok(());
        }
        match vertex.models_merge_version_aliases(version, &changes).await {
            Ok(_) => return Ok(()),
            // An earlier try or another build may have changed it meanwhile: look again.
            Err(e) if e.http == Some(400) || e.is_conflict() || e.may_have_happened() => {
                refused = Some(e);
            }
            Err(e) => return Err(e).context("naming the version"),
        }
    }
    match refused {
        Some(e) => Err(e).context("naming the version"),
        None => Ok(()),
    }
}

/// The number of the version that has an alias. Found in the list: Google's answer to an alias that nobody
/// has is not documented.
pub(super) async fn holder(ctx: &Context, model: &str, alias: &str) -> Result<Option<String>> {
    let versions = ctx.vertex().models_list_versions(model).await?;
    let has = |aliases: &[String]| aliases.iter().any(|a| a == alias);
    let holder = versions.into_iter().find(|v| has(&v.version_aliases));
    Ok(holder.map(|version| version.version_id))
}

/// What there is to change, in the words of `mergeVersionAliases`.
fn changes(now: &[String], give: &[&str], take: &[&str]) -> Vec<String> {
    let has = |alias: &&&str| now.iter().any(|a| a == **alias);
    let given = give.iter().filter(|alias| !has(alias));
    let taken = take.iter().filter(has);
    given
        .map(|alias| (*alias).to_owned())
        .chain(taken.map(|alias| format!("-{alias}")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_changes_is_sent() {
        let now = ["candidate".to_owned(), "default".to_owned()];
        let promoted = |now: &[String]| changes(now, &[CHAMPION, DEFAULT], &[CANDIDATE]);
        assert_eq!(promoted(&now), ["champion", "-candidate"]);
        assert_eq!(promoted(&[]), ["champion", "default"]);
        let done = ["champion".to_owned(), "default".to_owned()];
        assert!(promoted(&done).is_empty());
    }
}
