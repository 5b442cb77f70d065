//! `train.existing`: a model that was made elsewhere.

use std::collections::BTreeMap;

use anyhow::Result;

use super::Spot;
use super::forms::files;
use crate::settings::yaml::Value;
use crate::settings::{Cursor, Fields};

/// A model that the build takes in place of training one.
#[derive(Clone, Debug)]
pub struct Existing {
    /// A file or a model directory, relative to `serin.yaml` or as a `gs://` URI.
    pub model: Spot<String>,
    /// The features' names in the model's order; empty where the file has them.
    pub features: Vec<String>,
    /// Of categories the texts in the order of their codes, where the file has none.
    pub levels: BTreeMap<String, Vec<String>>,
    /// The classes in the order of the model's outputs; empty for the label's own order.
    pub classes: Vec<String>,
    /// So many rounds count; without it as many as Python would take.
    pub rounds: Option<usize>,
}

/// Reads the section, or the model's place alone.
pub(super) fn existing(field: Cursor) -> Result<Existing> {
    if let Value::Scalar(..) = &field.node.value {
        return Ok(Existing {
            model: files(&field)?,
            features: Vec::new(),
            levels: BTreeMap::new(),
            classes: Vec::new(),
            rounds: None,
        });
    }
    let fields = field.fields("train.existing")?;
    let features = match fields.get("features") {
        Some(features) => features.names(None)?,
        None => Vec::new(),
    };
    Ok(Existing {
        model: files(&fields.need("model")?)?,
        features: features.into_iter().map(|name| name.value).collect(),
        levels: levels(&fields)?,
        classes: match fields.get("classes") {
            Some(classes) => texts(&classes, "a list of the label's values")?,
            None => Vec::new(),
        },
        rounds: match fields.get("rounds") {
            Some(rounds) => Some(rounds.integer(1, 1_000_000)?),
            None => None,
        },
    })
}

fn levels(fields: &Fields) -> Result<BTreeMap<String, Vec<String>>> {
    let Some(levels) = fields.get("levels") else {
        return Ok(BTreeMap::new());
    };
    let levels = levels.map("a mapping of categories to lists of their texts")?;
    let levels = levels.entries().map(|(name, field)| {
        let texts = texts(&field, "a list of texts in the order of their codes")?;
        Ok((name.text.clone(), texts))
    });
    levels.collect()
}

/// A list of texts, none twice.
fn texts(field: &Cursor, what: &str) -> Result<Vec<String>> {
    let mut texts: Vec<String> = Vec::new();
    for item in field.list(what)? {
        let text = item.text("a text")?.value;
        if texts.contains(&text) {
            return Err(item.error(format!("`{text}` is named twice")).into());
        }
        texts.push(text);
    }
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn read(train: &str) -> Result<Existing> {
        let text = format!(
            "model: churn\nbucket: gs://my-bucket\ndata: {{tables: {{t: {{local: t.csv}}}}, label: {{column: y}}}}\ntrain: {train}\nvalidate: {{require: none}}\ndeploy: {{endpoint: churn}}\n"
        );
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("serin.yaml");
        std::fs::write(&path, text).unwrap();
        Ok(Config::read(&path)?.train.existing.unwrap())
    }

    #[test]
    fn a_place_alone_is_a_model() {
        for place in ["models/churn.ubj", "gs://my-models/churn"] {
            let existing = read(&format!("{{existing: {place}}}")).unwrap();
            assert_eq!(existing.model.value, place);
            assert!(existing.features.is_empty() && existing.rounds.is_none());
        }
    }

    #[test]
    fn a_section_says_what_the_file_does_not() {
        let existing = read(
            "{existing: {model: m.json, features: [plan, minutes], levels: {plan: [basic, 408]}, classes: [a, b, c], rounds: 35}}",
        )
        .unwrap();
        assert_eq!(existing.features, ["plan", "minutes"]);
        assert_eq!(existing.levels["plan"], ["basic", "408"]);
        assert_eq!(existing.classes, ["a", "b", "c"]);
        assert_eq!(existing.rounds, Some(35));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (train, word) in [
            (
                "{existing: {features: [a]}}",
                "`train.existing.model` is missing",
            ),
            (
                "{existing: {model: m, levels: {plan: basic}}}",
                "a list of texts",
            ),
            ("{existing: {model: m, classes: [a, a]}}", "named twice"),
            ("{existing: {model: m, rounds: 0}}", "from 1 to"),
            ("{existing: m, builtin: {}}", "expected one of them"),
            ("{existing: m, machine: n1-standard-4}", "needs none"),
            ("{existing: s3://bucket/m}", "`s3://` address"),
        ] {
            let error = read(train).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }
}
