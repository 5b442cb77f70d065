//! Runs a `cloudbuild.yaml` on this machine as Cloud Build would, and says what Cloud Build would refuse.
//!
//! The way of a file: [`yaml`] reads it into nodes, [`config`] into typed fields, [`validate`] holds
//! Cloud Build's limits and rules against them, [`substitute`] fills in the substitutions, all of it
//! led by [`resolve`]. [`runner`] then runs the steps in the order that [`schedule`] gives.
//!
//! Where the tools of Google differ among each other, `gcloud builds submit` is followed. One thing is
//! different on purpose: built-ins such as `$COMMIT_SHA`, which a manual build leaves empty, are filled
//! from the git checkout, with a warning.

mod config;
mod git;
mod glob;
mod image;
mod log;
mod problem;
mod resolve;
mod runner;
mod schedule;
mod source;
mod substitute;
mod validate;
mod yaml;

pub use resolve::{Builtins, Resolved, resolve};
pub use runner::{RunOptions, RunReport, run};
pub use schedule::Status;

use std::collections::BTreeMap;

use crate::error::Input;

/// The substitutions of the command line: `KEY=VALUE,KEY=VALUE`, as gcloud reads them, given once or
/// more; a text that begins with `^X^` is separated by `X` instead of commas.
///
/// # Errors
/// [`Input`] for a part without `=`.
pub fn parse_substitutions(flags: &[String]) -> Result<BTreeMap<String, String>, Input> {
    let mut values = BTreeMap::new();
    for flag in flags {
        let (separator, pairs) = match flag.strip_prefix('^').and_then(|f| f.split_once('^')) {
            Some((separator, pairs)) if !separator.is_empty() => (separator, pairs),
            _ => (",", flag.as_str()),
        };
        for pair in pairs.split(separator).filter(|pair| !pair.is_empty()) {
            let Some((key, value)) = pair.split_once('=') else {
                let message = format!("`{pair}` is no substitution: expected KEY=VALUE");
                return Err(Input::new(message)
                    .hint("a value with commas needs another separator, as in `^:^_A=1,2:_B=3`"));
            };
            values.insert(key.to_owned(), value.to_owned());
        }
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn substitutions_are_split_as_gcloud_splits_them() {
        let parse = |flags: &[&str]| {
            parse_substitutions(&flags.iter().map(|f| (*f).to_owned()).collect::<Vec<_>>())
        };
        let values = parse(&["_A=1,_B=x=y", "^:^_C=1,2:_D=", "_A=2"]).unwrap();
        let flat: Vec<_> = values.iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(flat, ["_A=2", "_B=x=y", "_C=1,2", "_D="]);
        assert!(parse(&["_A"]).is_err());
    }
}
