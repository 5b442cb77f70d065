//! The build's config as types: what the rules, the schedule and the runner read.
//!
//! The whole config stays beside it as a tree ([`Item`]), for substitution and for the JSON that
//! `--check` prints, so that a field which nothing here needs is not lost. A config is [`Unfilled`] as it
//! was written, and [`Filled`] once its substitutions are in.

mod read;
mod schema;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;
use std::time::Duration;

use super::problem::{Problem, Spot};
use super::substitute;
use crate::settings::yaml::{self, Mark, Rules};
pub(super) use read::{Data, Item};

/// A build without a `timeout` has this long.
pub(super) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(3600);

pub(super) type Text = Spot<String>;

/// A build as it was written: its strings may be templates.
pub(super) struct Unfilled {
    item: Item,
    pub(super) build: Build,
}

/// A build whose substitutions are filled in, as it runs.
pub(super) struct Filled {
    pub(super) item: Item,
    build: Build,
}

/// The fields of a build. What is absent is empty; durations of zero count as absent.
#[derive(Clone, Debug)]
pub(super) struct Build {
    pub(super) mark: Mark,
    pub(super) steps: Vec<Step>,
    pub(super) timeout: Option<Spot<Duration>>,
    pub(super) queue_ttl: Option<Spot<Duration>>,
    pub(super) images: Vec<Text>,
    pub(super) artifacts: Artifacts,
    /// In the order of the file.
    pub(super) substitutions: Vec<(Text, String)>,
    pub(super) tags: Vec<Text>,
    pub(super) options: Options,
    /// `availableSecrets` and `secrets` together.
    pub(super) secrets: Vec<Secret>,
    pub(super) service_account: Option<Text>,
    pub(super) logs_bucket: Option<Text>,
    /// The names of the fields that are there, with their places.
    pub(super) fields: Vec<Spot<&'static str>>,
}

impl Build {
    pub(super) fn timeout(&self) -> Duration {
        self.timeout.as_ref().map_or(DEFAULT_TIMEOUT, |t| t.value)
    }

    /// What the log calls the steps.
    pub(super) fn labels(&self) -> Vec<String> {
        let steps = self.steps.iter().enumerate();
        steps.map(|(index, step)| step.label(index)).collect()
    }
}

#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) mark: Mark,
    pub(super) name: Option<Text>,
    pub(super) args: Vec<Text>,
    pub(super) env: Vec<Text>,
    pub(super) dir: Option<Text>,
    pub(super) id: Option<Text>,
    pub(super) wait_for: Vec<Text>,
    pub(super) entrypoint: Option<Text>,
    pub(super) script: Option<Text>,
    pub(super) automap: Option<bool>,
    pub(super) secret_env: Vec<Text>,
    pub(super) volumes: Vec<Volume>,
    pub(super) timeout: Option<Spot<Duration>>,
    pub(super) allow_failure: bool,
    pub(super) allow_exit_codes: Vec<Spot<i32>>,
    /// Whether it has `results`.
    pub(super) results: bool,
}

impl Step {
    /// The image; a config without one was refused.
    pub(super) fn image(&self) -> &str {
        self.name.as_ref().map_or("", |name| name.as_str())
    }

    /// Its id; empty where it has none.
    pub(super) fn id(&self) -> &str {
        self.id.as_ref().map_or("", |id| id.as_str())
    }

    /// Whether every substitution is put into its environment.
    pub(super) fn automapped(&self, options: &Options) -> bool {
        self.automap.unwrap_or(options.automap)
    }

    /// `#1 - "train"`, or `#1` without an id: how Cloud Build's log and messages name it.
    pub(super) fn label(&self, index: usize) -> String {
        match &self.id {
            Some(id) => format!("#{index} - \"{}\"", id.value),
            None => format!("#{index}"),
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Volume {
    pub(super) mark: Mark,
    pub(super) name: String,
    pub(super) path: String,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Options {
    pub(super) env: Vec<Text>,
    pub(super) secret_env: Vec<Text>,
    pub(super) volumes: Vec<Volume>,
    pub(super) loose: bool,
    pub(super) dynamic: bool,
    pub(super) automap: bool,
    pub(super) disk_size_gb: Option<Spot<i64>>,
    pub(super) logging: Option<String>,
    pub(super) logs_bucket_behavior: Option<String>,
    /// The names of the fields that are there, with their places.
    pub(super) fields: Vec<Spot<&'static str>>,
}

/// Where secret variables come from: one secret of Secret Manager, or a group under one KMS key.
#[derive(Clone, Debug)]
pub(super) struct Secret {
    pub(super) mark: Mark,
    /// Of the older `secrets`, where each key stands once.
    pub(super) kms_key: Option<String>,
    pub(super) variables: Vec<SecretVariable>,
}

#[derive(Clone, Debug)]
pub(super) struct SecretVariable {
    pub(super) name: Text,
    /// The KMS ciphertext in base64; none for Secret Manager.
    pub(super) ciphertext: Option<String>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Artifacts {
    pub(super) images: Vec<Text>,
    pub(super) objects: Option<Objects>,
    /// How many kinds of artifacts there are.
    pub(super) kinds: usize,
}

#[derive(Clone, Debug)]
pub(super) struct Objects {
    pub(super) mark: Mark,
    pub(super) location: Option<Text>,
    pub(super) paths: Vec<Text>,
}

/// Reads a config's text. What gcloud's loader and its check of names and types refuse is refused.
pub(super) fn read(text: &str, warnings: &mut Vec<Problem>) -> Result<Unfilled, Problem> {
    let document = yaml::read(text, Rules::Yaml11)?;
    warnings.extend(document.warnings.into_iter().map(Problem::from));
    let Some(root) = document.root else {
        let message = "the file is empty, expected a build config";
        return Err(Problem::new(Mark::START, message));
    };
    let item = read::read(&root, &schema::BUILD, warnings)?;
    let build = item.build();
    Ok(Unfilled { item, build })
}

impl Unfilled {
    /// The whole config.
    pub(super) fn item(&self) -> &Item {
        &self.item
    }

    /// Every string that takes substitutions, in the order of the file.
    pub(super) fn templates(&mut self) -> Vec<(Mark, &str)> {
        let templates = self.item.templates().into_iter();
        templates.map(|(mark, text)| (mark, &**text)).collect()
    }

    /// Fills every template in; of the tags the empty and the repeated are left out.
    pub(super) fn fill(self, values: &BTreeMap<String, String>) -> Result<Filled, Problem> {
        let mut item = self.item;
        substitute::fill(item.templates(), values)?;
        let mut build = item.build();
        let mut seen = BTreeSet::new();
        build
            .tags
            .retain(|tag| !tag.is_empty() && seen.insert(tag.value.clone()));
        Ok(Filled { item, build })
    }
}

impl Deref for Filled {
    type Target = Build;
    fn deref(&self) -> &Build {
        &self.build
    }
}

impl Item {
    fn get(&self, name: &str) -> Option<&Item> {
        match &self.data {
            Data::Object(members) => members
                .iter()
                .find(|(field, _)| *field == name)
                .map(|(_, item)| item),
            _ => None,
        }
    }

    fn list(&self, name: &str) -> &[Item] {
        match self.get(name).map(|item| &item.data) {
            Some(Data::List(items)) => items,
            _ => &[],
        }
    }

    fn as_text(&self) -> Option<Text> {
        match &self.data {
            Data::Text(text) | Data::Template(text) => Some(Spot {
                value: text.clone(),
                place: self.mark,
            }),
            _ => None,
        }
    }

    /// A string that is there and not empty.
    fn text(&self, name: &str) -> Option<Text> {
        self.get(name)?.as_text().filter(|text| !text.is_empty())
    }

    fn texts(&self, name: &str) -> Vec<Text> {
        self.list(name).iter().filter_map(Item::as_text).collect()
    }

    fn bool(&self, name: &str) -> Option<bool> {
        match self.get(name)?.data {
            Data::Bool(value) => Some(value),
            _ => None,
        }
    }

    fn duration(&self, name: &str) -> Option<Spot<Duration>> {
        let item = self.get(name)?;
        match item.data {
            Data::Duration(_, value) if !value.is_zero() => Some(Spot {
                value,
                place: item.mark,
            }),
            _ => None,
        }
    }

    fn map(&self, name: &str) -> impl Iterator<Item = (Text, String)> {
        let entries = match self.get(name).map(|item| &item.data) {
            Some(Data::Map(entries)) => entries.as_slice(),
            _ => &[],
        };
        entries.iter().map(|(key, mark, value)| {
            let key = Spot {
                value: key.clone(),
                place: *mark,
            };
            (key, value.clone())
        })
    }

    fn volumes(&self) -> Vec<Volume> {
        let text = |item: &Item, name| item.text(name).map(|t| t.value).unwrap_or_default();
        self.list("volumes")
            .iter()
            .map(|item| Volume {
                mark: item.mark,
                name: text(item, "name"),
                path: text(item, "path"),
            })
            .collect()
    }

    fn fields(&self) -> Vec<Spot<&'static str>> {
        match &self.data {
            Data::Object(members) => members
                .iter()
                .map(|(name, item)| Spot {
                    value: *name,
                    place: item.mark,
                })
                .collect(),
            _ => Vec::new(),
        }
    }

    /// Every string that takes substitutions, in the order of the file.
    fn templates(&mut self) -> Vec<(Mark, &mut String)> {
        let mut found = Vec::new();
        self.collect_templates(&mut found);
        found
    }

    fn collect_templates<'a>(&'a mut self, found: &mut Vec<(Mark, &'a mut String)>) {
        match &mut self.data {
            Data::Template(text) => found.push((self.mark, text)),
            Data::List(items) => {
                for item in items {
                    item.collect_templates(found);
                }
            }
            Data::Object(members) => {
                for (_, item) in members {
                    item.collect_templates(found);
                }
            }
            _ => {}
        }
    }

    /// The typed view of a whole build.
    fn build(&self) -> Build {
        let artifacts = self.get("artifacts");
        Build {
            mark: self.mark,
            steps: self.list("steps").iter().map(step).collect(),
            timeout: self.duration("timeout"),
            queue_ttl: self.duration("queueTtl"),
            images: self.texts("images"),
            artifacts: Artifacts {
                images: artifacts.map(|a| a.texts("images")).unwrap_or_default(),
                objects: artifacts.and_then(|a| a.get("objects")).map(|o| Objects {
                    mark: o.mark,
                    location: o.text("location"),
                    paths: o.texts("paths"),
                }),
                kinds: artifacts.map_or(0, |a| a.fields().len()),
            },
            substitutions: self.map("substitutions").collect(),
            tags: self.texts("tags"),
            options: self.get("options").map(options).unwrap_or_default(),
            secrets: secrets(self),
            service_account: self.text("serviceAccount"),
            logs_bucket: self.text("logsBucket"),
            fields: self.fields(),
        }
    }
}

fn step(item: &Item) -> Step {
    let exit_code = |item: &Item| match item.data {
        Data::Int32(value) => Some(Spot {
            value,
            place: item.mark,
        }),
        _ => None,
    };
    Step {
        mark: item.mark,
        name: item.text("name"),
        args: item.texts("args"),
        env: item.texts("env"),
        dir: item.text("dir"),
        id: item.text("id"),
        wait_for: item.texts("waitFor"),
        entrypoint: item.text("entrypoint"),
        script: item.text("script"),
        automap: item.bool("automapSubstitutions"),
        secret_env: item.texts("secretEnv"),
        volumes: item.volumes(),
        timeout: item.duration("timeout"),
        allow_failure: item.bool("allowFailure").unwrap_or(false),
        allow_exit_codes: item
            .list("allowExitCodes")
            .iter()
            .filter_map(exit_code)
            .collect(),
        results: !item.list("results").is_empty(),
    }
}

fn options(item: &Item) -> Options {
    let word = |name| item.text(name).map(|text| text.value);
    Options {
        env: item.texts("env"),
        secret_env: item.texts("secretEnv"),
        volumes: item.volumes(),
        loose: word("substitutionOption").as_deref() == Some("ALLOW_LOOSE"),
        dynamic: item.bool("dynamicSubstitutions").unwrap_or(false),
        automap: item.bool("automapSubstitutions").unwrap_or(false),
        disk_size_gb: item.get("diskSizeGb").and_then(|item| match item.data {
            Data::Int64(value) => Some(Spot {
                value,
                place: item.mark,
            }),
            _ => None,
        }),
        logging: word("logging"),
        logs_bucket_behavior: word("defaultLogsBucketBehavior"),
        fields: item.fields(),
    }
}

fn secrets(build: &Item) -> Vec<Secret> {
    let group = |item: &Item, map: &str, kms_key: Option<String>| Secret {
        mark: item.mark,
        kms_key,
        variables: item
            .map(map)
            .map(|(name, ciphertext)| SecretVariable {
                name,
                ciphertext: Some(ciphertext),
            })
            .collect(),
    };
    let mut secrets = Vec::new();
    if let Some(available) = build.get("availableSecrets") {
        for item in available.list("secretManager") {
            let variables = item.text("env").map(|name| SecretVariable {
                name,
                ciphertext: None,
            });
            secrets.push(Secret {
                mark: item.mark,
                kms_key: None,
                variables: variables.into_iter().collect(),
            });
        }
        for item in available.list("inline") {
            secrets.push(group(item, "envMap", None));
        }
    }
    for item in build.list("secrets") {
        let key = item.text("kmsKeyName").map(|text| text.value);
        secrets.push(group(item, "secretEnv", Some(key.unwrap_or_default())));
    }
    secrets
}
