//! The texts of the files. Whatever comes from the user's tables stands in double quotes.

use std::path::Path;

use anyhow::{Context as _, Result};

use super::look::{Look, TEST};
use crate::config::By;
use crate::data::schema::quoted;
use crate::model::gate::{FEWEST, rows_for_equal};
use crate::workspace::records::Task;
use crate::workspace::write_atomically;

/// The build of the example: its steps are the same for every model.
const BUILD: &str = include_str!("../../../cloudbuild/churn/cloudbuild.yaml");

/// What is not sent to Cloud Build.
///
/// The example has a file of the same text. It is not taken in from there: wherever serin's sources lie in a
/// folder without a `.gcloudignore` of its own, `gcloud builds submit` leaves out all that are in it.
const IGNORED: &str = "\
# What `gcloud builds submit` and `serin run` leave out of the source.
# The emulator's state and the artifacts of an earlier build.
.serin/
.git/
.gitignore
";

impl Look {
    /// Writes the files; their names. A `.gcloudignore` that is there stays.
    pub(super) fn write(
        &self,
        dir: &Path,
        places: &[String],
        schema: String,
    ) -> Result<Vec<&'static str>> {
        let mut files = vec![
            ("serin.yaml", self.config(places)),
            ("schema.yaml", schema),
            ("cloudbuild.yaml", build(dir)),
        ];
        if !dir.join(".gcloudignore").exists() {
            files.push((".gcloudignore", IGNORED.to_owned()));
        }
        for (name, text) in &files {
            let path = dir.join(name);
            write_atomically(&path, text.as_bytes())
                .with_context(|| format!("writing {}", path.display()))?;
        }
        Ok(files.into_iter().map(|(name, _)| name).collect())
    }

    fn config(&self, places: &[String]) -> String {
        let table = self
            .tables
            .iter()
            .find(|table| table.find(&self.label).is_some());
        let table = table.map_or("", |table| table.name.as_str());
        let id = id(&format!("{table}-{}", self.label));
        let mut lines = vec![
            "# What the model is. When and where it is built stands in cloudbuild.yaml.".to_owned(),
            format!("model: {id}"),
            format!("bucket: gs://serin-{id}   # names of buckets are worldwide: take your own"),
            "create_bucket: true".to_owned(),
            String::new(),
            "data:".to_owned(),
            "  tables:".to_owned(),
        ];
        for (table, place) in self.tables.iter().zip(places) {
            lines.push(format!(
                "    {}: {{local: {}}}",
                quoted(&table.name),
                quoted(place)
            ));
        }
        if let Some(key) = &self.join_on {
            lines.push(format!("  join: {{on: {}, how: inner}}", quoted(key)));
        }
        let label = quoted(&self.label);
        lines.push(match &self.positive {
            Some(positive) => {
                format!(
                    "  label: {{column: {label}, positive: {}}}",
                    quoted(positive)
                )
            }
            None => format!("  label: {{column: {label}}}"),
        });
        if !self.drop.is_empty() {
            lines.push("  drop:   # columns that are no features".to_owned());
            for dropped in &self.drop {
                lines.push(format!(
                    "    - {}   # {}",
                    quoted(&dropped.column),
                    dropped.why
                ));
            }
        }
        let by = self.by.iter().map(|by| format!("by: {}, ", quoted(by)));
        let by: String = by.collect();
        lines.push(format!(
            "  split: {{test: {TEST}, {by}seed: {}}}",
            self.seed
        ));
        lines.extend([
            String::new(),
            "lint: {schema: schema.yaml}".to_owned(),
            String::new(),
            "train:".to_owned(),
            "  builtin: {max_depth: 6}".to_owned(),
            "  max_queue: 2h   # a job that has not started by then is cancelled: half of cloudbuild.yaml's timeout"
                .to_owned(),
            String::new(),
        ]);
        lines.extend(self.validate());
        lines.extend([
            String::new(),
            "push: {registry: vertex}".to_owned(),
            String::new(),
            "deploy:".to_owned(),
            format!("  endpoint: {id}"),
            "  stages: [5, 25, 50, 100]   # percent of the endpoint's traffic".to_owned(),
            "  bake: 10m                  # a stage takes at least this long".to_owned(),
            "  min_requests: 100          # and is judged on at least so many answers".to_owned(),
            "  replay: {from: test, concurrency: 8}   # test rows are sent along while it is judged"
                .to_owned(),
        ]);
        lines.join("\n") + "\n"
    }

    /// The gates, with a margin that the test rows can decide; where they are too few, only proposed.
    fn validate(&self) -> Vec<String> {
        let (metric, by): (_, fn(f64) -> By) = match self.task {
            Task::Regression => ("rmse", By::Share),
            Task::Binary | Task::Multiclass => ("log_loss", By::Amount),
        };
        let rows = |margin: f64| rows_for_equal(metric, by(margin)).unwrap_or_default();
        let fits = |margin: &&f64| rows(**margin) <= self.test as u64;
        let margin = MARGINS.iter().find(fits).or(MARGINS.last());
        let margin = margin.copied().unwrap_or_default();
        let few = self.fewest < FEWEST;
        let comment = if few { "# " } else { "" };
        let mut lines = vec!["validate:".to_owned()];
        if few {
            lines.push(format!(
                "  require: none   # every model passes: a comparison needs {FEWEST} test rows, of each class; later:"
            ));
        } else {
            lines.push(
                "  # A model has to be shown to be better than the same prediction for every row, and worse than the one"
                    .to_owned(),
            );
            lines.push("  # in production by less than the margin.".to_owned());
            lines.push("  require:".to_owned());
        }
        lines.push(format!(
            "    {comment}- {{metric: {metric}, better_than: trivial}}"
        ));
        lines.push(format!(
            "    {comment}- {{metric: {metric}, no_worse_than: champion, by: {}}}   # needs about {} test rows; there are {}",
            by(margin),
            rows(margin),
            self.test
        ));
        lines
    }
}

/// The margins that are proposed, rising.
const MARGINS: &[f64] = &[0.01, 0.02, 0.03, 0.05, 0.1];

/// The example's steps under a head of this folder's own.
fn build(dir: &Path) -> String {
    let steps = BUILD
        .split_once("\nsteps:\n")
        .map_or(BUILD, |(_, steps)| steps);
    let dir = match dir.display().to_string() {
        dir if dir.is_empty() || dir.contains(|c: char| c.is_control()) => ".".to_owned(),
        dir => dir,
    };
    format!(
        "\
# From the tables to a promoted canary, in five steps of one image.
#
# On a laptop, with the emulator as the cloud:   serin run {dir}
# On Google Cloud:                               gcloud builds submit --config={dir}/cloudbuild.yaml {dir}
#
# serin.yaml, beside this file, says what the model is; this file says when and where.
steps:
{steps}"
    )
}

/// An id that Vertex AI takes for models and endpoints: small letters, digits and single hyphens, at most
/// forty, the first one a letter.
fn id(text: &str) -> String {
    let mut id = String::new();
    for c in text.to_lowercase().chars() {
        if c.is_ascii_alphanumeric() {
            id.push(c);
        } else if !id.is_empty() && !id.ends_with('-') {
            id.push('-');
        }
    }
    if !id.starts_with(|c: char| c.is_ascii_lowercase()) {
        id = format!("model-{id}");
    }
    id.truncate(40);
    id.trim_end_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_leaves_out_the_same() {
        let example = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/cloudbuild/churn/.gcloudignore"
        );
        assert_eq!(std::fs::read_to_string(example).unwrap(), IGNORED);
    }

    #[test]
    fn ids_are_what_vertex_ai_takes() {
        assert_eq!(id("account-Has Churned?"), "account-has-churned");
        assert_eq!(id("2024-é"), "model-2024");
        assert_eq!(id("é"), "model");
        assert!(id(&"a-".repeat(60)).len() <= 40);
    }
}
