//! Which of a build's steps are run.

use std::collections::BTreeSet;

use anyhow::Result;

use crate::cloudbuild::resolve::Resolved;
use crate::error::Input;
use crate::settings::did_you_mean;

/// Which of a build's steps are run, each named by its id or its number. Where some are left out, the
/// workspace of the last build is used as that build left it, under the source as it is now.
pub(crate) enum Part {
    All,
    Only(Vec<String>),
    /// This step and those behind it in the config.
    From(String),
}

impl Part {
    /// The steps that are not run, by their numbers.
    pub(super) fn left_out(&self, resolved: &Resolved) -> Result<Vec<usize>> {
        let steps = &resolved.build.steps;
        let number = |flag: &str, name: &str| {
            let by_id = steps.iter().position(|step| step.id() == name);
            let by_number = || name.trim_start_matches('#').parse().ok();
            by_id
                .filter(|_| !name.is_empty())
                .or_else(by_number)
                .filter(|number| *number < steps.len())
                .ok_or_else(|| {
                    let input = Input::new(format!("`{flag} {name}`: there is no such step"))
                        .at_file(&resolved.path);
                    let ids = steps.iter().map(|step| step.id());
                    match did_you_mean(name, ids.filter(|id| !id.is_empty())) {
                        Some(hint) => input.hint(hint),
                        None => input.hint("name a step by its id, or by its number from 0"),
                    }
                })
        };
        let run: BTreeSet<usize> = match self {
            Self::All => return Ok(Vec::new()),
            Self::Only(names) => names
                .iter()
                .map(|name| number("--only", name))
                .collect::<Result<_, _>>()?,
            Self::From(name) => (number("--from", name)?..steps.len()).collect(),
        };
        Ok((0..steps.len()).filter(|i| !run.contains(i)).collect())
    }
}
