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
