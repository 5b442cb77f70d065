//! From a file to the build that Cloud Build would run: read, checked, substitutions filled in.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::Result;
use serde_json::{Map, Value, json};

use super::config::{self, Build, DEFAULT_TIMEOUT, Data, Filled, Item};
use super::git;
use super::problem::Problem;
use super::substitute::{self, Given, Rules};
use super::validate;
use crate::emulator;
use crate::error::Input;
use crate::settings::did_you_mean;

/// The id of a build that is only checked.
const NO_BUILD: &str = "00000000-0000-0000-0000-000000000000";

/// The values of the built-in substitutions.
pub(crate) struct Builtins {
    /// `$PROJECT_ID`.
    pub project: String,
    /// `$BUILD_ID`.
    pub build_id: String,
    /// Where the build was submitted by the API: `$LOCATION`, and git tells nothing.
    submitted: Option<String>,
    /// Git's facts by folder: one look serves every config of a folder.
    checkouts: Mutex<BTreeMap<PathBuf, BTreeMap<&'static str, String>>>,
}

impl Builtins {
    /// The built-ins of a build that is run: the project is `CLOUDSDK_CORE_PROJECT`, else
    /// `GOOGLE_CLOUD_PROJECT`, else `local-project`.
    pub(crate) fn new(build_id: String) -> Self {
        Self {
            project: crate::emulator::local_project(),
            build_id,
            submitted: None,
            checkouts: Mutex::default(),
        }
    }

    /// The same for configs that are only checked: every build has the same id.
    pub(crate) fn for_check() -> Self {
        Self::new(NO_BUILD.to_owned())
    }

    /// The same for a build that was submitted by the API, at this location where there is one.
    #[must_use]
    pub(crate) fn submitted(self, location: Option<String>) -> Self {
        Self {
            submitted: location,
            ..self
        }
    }

    /// Every built-in, those from git only where `wanted` asks for one.
    fn values(
        &self,
        config: &Path,
        wanted: impl Fn(&str) -> bool,
    ) -> (BTreeMap<String, String>, Vec<&'static str>) {
        let mut values: BTreeMap<String, String> = substitute::built_ins()
            .map(|key| (key.to_owned(), String::new()))
            .collect();
        for (key, value) in [
            ("PROJECT_ID", self.project.as_str()),
            ("PROJECT_NUMBER", &emulator::project_number(&self.project)),
            ("BUILD_ID", &self.build_id),
            ("LOCATION", self.submitted.as_deref().unwrap_or("global")),
        ] {
            values.insert(key.to_owned(), value.to_owned());
        }
        let mut from_git = Vec::new();
        if self.submitted.is_none() && git::KEYS.iter().any(|key| wanted(key)) {
            let folder = match config.parent() {
                Some(folder) if !folder.as_os_str().is_empty() => folder,
                _ => Path::new("."),
            };
            let mut checkouts = self
                .checkouts
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            let facts = checkouts
                .entry(folder.to_owned())
                .or_insert_with(|| git::facts(folder));
            for (key, value) in facts.iter().filter(|(key, _)| wanted(key)) {
                from_git.push(*key);
                values.insert((*key).to_owned(), value.clone());
            }
        }
        (values, from_git)
    }
}

/// A build that Cloud Build would accept, its substitutions filled in.
pub(crate) struct Resolved {
    /// The config's file, as it was named.
    pub path: PathBuf,
    /// What is written in it.
    pub(super) text: String,
    /// What the user should know, each with its place.
    pub warnings: Vec<Input>,
    pub(super) build: Filled,
    /// Every substitution with its value, built-ins included.
    pub(super) values: BTreeMap<String, String>,
    /// The keys of the file and the command line.
    given: BTreeSet<String>,
}

/// Reads a config, checks it and fills in its substitutions. `overrides` are the command line's.
///
/// # Errors
/// [`Input`] with the place in the file, for everything that Cloud Build refuses at submission.
pub(crate) fn resolve(
    path: &Path,
    overrides: &BTreeMap<String, String>,
    builtins: &Builtins,
) -> Result<Resolved> {
    let text = text_of(path)?;
    resolve_text(path, &text, overrides, builtins)
        .map_err(|problem| problem.into_error(path, &text).into())
}

/// A config's message in the API's names as it stands in the file, nothing filled in: what a trigger
/// reads.
///
/// # Errors
/// [`Input`] with the place in the file, where it is no build's.
pub(crate) fn as_written(path: &Path) -> Result<String> {
    let text = text_of(path)?;
    let written =
        config::read(&text, &mut Vec::new()).map_err(|problem| problem.into_error(path, &text))?;
    Ok(json_of(written.item()).to_string())
}

fn text_of(path: &Path) -> Result<String, Input> {
    let bytes =
        fs::read(path).map_err(|e| Input::new(format!("cannot be read: {e}")).at_file(path))?;
    String::from_utf8(bytes).map_err(|_| Input::new("is no UTF-8 text").at_file(path))
}

pub(super) fn resolve_text(
    path: &Path,
    text: &str,
    overrides: &BTreeMap<String, String>,
    builtins: &Builtins,
) -> Result<Resolved, Problem> {
    let mut warnings = Vec::new();
    let mut unfilled = config::read(text, &mut warnings)?;
    let given = given(&unfilled.build, overrides)?;
    validate::before(&unfilled)?;
    validate::substitutions(&given)?;
    warn_of_plain_env(&unfilled.build, &mut warnings);

    let options = &unfilled.build.options;
    let automapped = unfilled
        .build
        .steps
        .iter()
        .any(|step| step.automapped(options));
    let rules = Rules {
        loose: options.loose,
        dynamic: options.dynamic,
        automapped,
    };
    let (values, from_git) = {
        let matched = substitute::match_keys(&unfilled.templates(), &given, rules)?;
        let by_hand = |key: &str| given.iter().any(|given| given.key == key);
        let wanted = |key: &str| (automapped || matched.used.contains(key)) && !by_hand(key);
        let (built_ins, from_git) = builtins.values(path, wanted);
        (matched.values(built_ins)?, from_git)
    };
    let build = unfilled.fill(&values)?;
    validate::after(&build)?;
    if !from_git.is_empty() {
        warnings.push(Problem::anywhere(format!(
            "{} {} from the git checkout; a build that `gcloud builds submit` starts has nothing there",
            from_git.join(", "),
            if from_git.len() == 1 { "comes" } else { "come" },
        )));
    }
    Ok(Resolved {
        path: path.to_owned(),
        text: text.to_owned(),
        warnings: warnings
            .into_iter()
            .map(|warning| warning.into_warning(path))
            .collect(),
        build,
        values,
        given: given.into_iter().map(|given| given.key).collect(),
    })
}

/// Reads what `--substitutions` was given: `K=V,K=V`, each parted at its first `=`. As in gcloud, a list
/// that begins with `^D^` is parted by `D` instead of the comma. The last value of a key counts.
///
/// # Errors
/// [`Input`] where a part is no `K=V`.
pub(crate) fn parse_substitutions(flags: &[String]) -> Result<BTreeMap<String, String>> {
    let mut substitutions = BTreeMap::new();
    for flag in flags {
        let other = flag.strip_prefix('^').and_then(|rest| rest.split_once('^'));
        let (delimiter, list) = match other {
            Some((delimiter, list)) if !delimiter.is_empty() => (delimiter, list),
            _ => (",", flag.as_str()),
        };
        for part in list.split(delimiter).filter(|part| !part.is_empty()) {
            let (key, value) = part.split_once('=').ok_or_else(|| {
                Input::new(format!("`--substitutions`: `{part}` is no `KEY=VALUE`")).hint(
                    "a value with a comma in it takes another delimiter, as in `^;^_A=x,y;_B=z`",
                )
            })?;
            substitutions.insert(key.trim().to_owned(), value.to_owned());
        }
    }
    Ok(substitutions)
}

/// The keys of the file with the command line's laid over them.
fn given(build: &Build, overrides: &BTreeMap<String, String>) -> Result<Vec<Given>, Problem> {
    let mut given = Vec::new();
    for (key, value) in &build.substitutions {
        if !substitute::is_user_key(key) {
            let message = format!("`.substitutions`: `{}` is no key of your own", key.value);
            return Err(Problem::new(key.place, message)
                .hint("a key is `_` followed by capital letters, digits and `_`"));
        }
        given.push(Given {
            key: key.value.clone(),
            value: overrides.get(&key.value).unwrap_or(value).clone(),
            mark: Some(key.place),
        });
    }
    for (key, value) in overrides {
        if given.iter().any(|given: &Given| given.key == *key) {
            continue;
        }
        if !substitute::is_overridable(key) {
            let own = build.substitutions.iter().map(|(key, _)| key.as_str());
            let mut names: Vec<&str> = substitute::built_ins()
                .filter(|key| substitute::is_overridable(key))
                .collect();
            names.extend(own);
            let message = format!(
                "`--substitutions`: the key `{key}` does not respect the format `^_[A-Z0-9_]+$` and is not an overridable built-in substitution"
            );
            return Err(match did_you_mean(key, names) {
                Some(hint) => Problem::anywhere(message).hint(hint),
                None => Problem::anywhere(message),
            });
        }
        given.push(Given {
            key: key.clone(),
            value: value.clone(),
            mark: None,
        });
    }
    Ok(given)
}

fn warn_of_plain_env(build: &Build, warnings: &mut Vec<Problem>) {
    for (i, entry) in build.options.env.iter().enumerate() {
        let refers = substitute::pieces(entry)
            .iter()
            .any(|piece| matches!(piece, substitute::Piece::Key(_)));
        if refers {
            warnings.push(
                Problem::new(
                    entry.place,
                    format!("`.options.env[{i}]`: no substitution is filled in here"),
                )
                .hint("put it into the `env` of the steps"),
            );
        }
    }
}

impl Resolved {
    /// How many steps the build has.
    pub(super) fn steps(&self) -> usize {
        self.build.steps.len()
    }

    /// The build as one line of JSON in the API's names: substitutions filled in, `timeout` and
    /// `substitutions` always there.
    pub(crate) fn to_json(&self) -> String {
        Value::Object(self.json()).to_string()
    }

    pub(super) fn json(&self) -> Map<String, Value> {
        let mut build = match json_of(&self.build.item) {
            Value::Object(build) => build,
            _ => Map::new(),
        };
        let written = build.get("timeout").and_then(Value::as_str);
        if self.build.timeout.is_none() || written.is_none() {
            let default = format!("{}s", DEFAULT_TIMEOUT.as_secs());
            build.insert("timeout".to_owned(), default.into());
        }
        let substitutions: Map<String, Value> = self
            .given
            .iter()
            .filter_map(|key| Some((key.clone(), self.values.get(key)?.clone().into())))
            .collect();
        build.insert("substitutions".to_owned(), substitutions.into());
        let tags: Vec<&str> = self.build.tags.iter().map(|tag| tag.as_str()).collect();
        if tags.is_empty() {
            build.remove("tags");
        } else {
            build.insert("tags".to_owned(), json!(tags));
        }
        build
    }
}

fn json_of(item: &Item) -> Value {
    match &item.data {
        Data::Text(text) | Data::Template(text) | Data::Duration(text, _) => json!(text),
        Data::Bool(value) => json!(value),
        Data::Int32(value) => json!(value),
        // The API's JSON has 64-bit integers as strings.
        Data::Int64(value) => json!(value.to_string()),
        Data::List(items) => items.iter().map(json_of).collect(),
        Data::Map(entries) => entries
            .iter()
            .map(|(key, _, value)| (key.clone(), json!(value)))
            .collect(),
        Data::Object(members) => members
            .iter()
            .map(|(name, item)| ((*name).to_owned(), json_of(item)))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit;

    #[test]
    fn the_command_line_is_read_as_gcloud_reads_it() {
        let parse = |flags: &[&str]| {
            let flags: Vec<String> = flags.iter().map(ToString::to_string).collect();
            parse_substitutions(&flags).map(|map| format!("{map:?}"))
        };
        assert_eq!(
            parse(&["_A=1,_B=x=y", "_A=2"]).unwrap(),
            r#"{"_A": "2", "_B": "x=y"}"#
        );
        assert_eq!(
            parse(&["^;^_A=1,2;_B="]).unwrap(),
            r#"{"_A": "1,2", "_B": ""}"#
        );
        assert!(parse(&["_A"]).is_err());
    }

    #[test]
    fn a_refusal_draws_the_line() {
        let refused = |text: &str, overrides: &[&str]| {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("cloudbuild.yaml");
            fs::write(&path, text).unwrap();
            let overrides: Vec<String> = overrides.iter().map(ToString::to_string).collect();
            let overrides = parse_substitutions(&overrides).unwrap();
            let error = resolve(&path, &overrides, &Builtins::for_check()).err();
            let shown = exit::render(&error.unwrap());
            shown.replace(&format!("{}/", folder.path().display()), "")
        };
        insta::assert_snapshot!(
            refused("steps:\n- name: serin\n  waitfor: [a]\n", &[]),
            @"
    error: cloudbuild.yaml:3:3: `.steps[0].waitfor`: unknown field `waitfor`
      |
    3 |   waitfor: [a]
      |   ^^^^^^^
    hint: did you mean `waitFor`?
    "
        );
        insta::assert_snapshot!(refused("steps:\n- name: &x [*x]\n", &[]), @"
    error: cloudbuild.yaml:2:13: the alias stands inside what it refers to
      |
    2 | - name: &x [*x]
      |             ^^
    ");
        insta::assert_snapshot!(
            refused("steps:\n- {name: serin, script: 'echo $HOME', env: [A=$_A]}\n", &[]),
            @r#"
    error: cloudbuild.yaml:2:45: key in the template "_A" is not matched in the substitution data
      |
    2 | - {name: serin, script: 'echo $HOME', env: [A=$_A]}
      |                                             ^^^^^
    hint: a `$` for the shell is written `$$`, a substitution of your own begins with `_`
    "#
        );
        // What stands in no file has no line.
        insta::assert_snapshot!(refused("steps: [{name: serin}]\n", &["A=1"]), @"error: cloudbuild.yaml: `--substitutions`: the key `A` does not respect the format `^_[A-Z0-9_]+$` and is not an overridable built-in substitution");
    }
}
