//! The body of a request to the body of its answer, in memory in proportion to the request.
//!
//! Instances are read, encoded and scored block by block as the JSON is read, so that neither a tree of the
//! request nor all of its rows are ever held.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;

use anyhow::Result;
use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use super::cell::{Cell, scalars};
use crate::model::encode::{IN_RANGE, MISSING};
use crate::model::predictor::Predictor;
use crate::printable;
use crate::settings::nearest;

/// The most instances of a request: with 150 bytes each, which is little, they are as much as a request may hold.
pub(crate) const MOST_INSTANCES: usize = 10_000;
/// The most scores of an answer, which bounds the instances where a model has many classes.
const MOST_SCORES: usize = 100_000;
/// Instances that are scored at a time.
const BLOCK: usize = 256;

/// A model, ready to score.
pub(super) struct Scorer {
    predictor: Predictor,
    /// The fields that are ignored, by name, numbered after the features.
    ignored: HashMap<String, usize>,
    /// The names of all fields, by their numbers.
    names: Vec<String>,
    most_instances: usize,
}

impl Scorer {
    /// Loads a model directory.
    ///
    /// # Errors
    /// [`crate::error::Input`] with the file and what is wrong with it.
    pub(super) fn load(model: &Path) -> Result<Self> {
        let predictor = Predictor::load(model)?;
        let manifest = predictor.manifest();
        let names = std::iter::once(&manifest.label.column).chain(&manifest.dropped);
        let width = predictor.encoder().features();
        let ignored: Vec<&String> = names.collect();
        let features = manifest.features.iter().map(|feature| &feature.name);
        Ok(Self {
            names: features.chain(ignored.iter().copied()).cloned().collect(),
            ignored: ignored
                .into_iter()
                .enumerate()
                .map(|(i, name)| (name.clone(), width + i))
                .collect(),
            most_instances: (MOST_SCORES / predictor.width().max(1)).clamp(1, MOST_INSTANCES),
            predictor,
        })
    }

    /// The body of the answer to a request's body, or what is wrong with that.
    pub(super) fn predict(&self, body: &[u8]) -> Result<Vec<u8>, String> {
        let mut reading = Reading {
            scorer: self,
            refusal: None,
            has_instances: false,
            rows: Vec::new(),
            seen: vec![0; self.names.len()],
            order: Vec::new(),
            place: 0,
            instances: 0,
            at: None,
            answer: br#"{"predictions":["#.to_vec(),
        };
        let mut json = serde_json::Deserializer::from_slice(body);
        let read = Body(&mut reading).deserialize(&mut json);
        if let Err(e) = read.and_then(|()| json.end()) {
            return Err(reading.explain(&e, body));
        }
        if !reading.has_instances {
            return Err(NO_INSTANCES.to_owned());
        }
        reading.score()?;
        let mut answer = reading.answer;
        answer.extend_from_slice(b"]}");
        Ok(answer)
    }

    /// The number of a field that the model takes or ignores.
    fn field(&self, name: &str) -> Option<usize> {
        let feature = self.predictor.encoder().position(name);
        feature.or_else(|| self.ignored.get(name).copied())
    }

    fn name(&self, feature: usize) -> &str {
        self.predictor.encoder().name(feature).unwrap_or_default()
    }

    fn unknown(&self, name: &str) -> String {
        let features = &self.predictor.manifest().features;
        let names = features.iter().map(|feature| &*feature.name);
        // Comparing takes time in proportion to both lengths.
        let near = (name.len() <= 200).then(|| nearest(name, names)).flatten();
        let hint = near.map_or(String::new(), |near| format!("; did you mean `{near}`?"));
        format!(
            ": the model has no feature `{}`{hint}",
            printable::shown(name)
        )
    }
}

const NO_INSTANCES: &str = "the body has no `instances`: send {\"instances\": [...]}";

/// How the JSON reader calls a number that even a double does not hold.
const TOO_LARGE: &str = "number out of range";

/// A request that is being read.
struct Reading<'s> {
    scorer: &'s Scorer,
    /// What is wrong with the request, other than its being no JSON.
    refusal: Option<String>,
    has_instances: bool,
    /// Of the instances that are not scored yet.
    rows: Vec<f32>,
    /// For each field, the last instance that had it, counted from 1.
    seen: Vec<usize>,
    /// The fields in the order in which instances had them: what writes one writes the next alike, so that a field
    /// is mostly known without looking it up.
    order: Vec<usize>,
    /// How many fields of the instance have been read.
    place: usize,
    /// How many have been read.
    instances: usize,
    /// The field whose value is being read, where that is a feature.
    at: Option<usize>,
    answer: Vec<u8>,
}

impl Reading<'_> {
    /// Leaves the message, and an error that ends the reading.
    fn refuse<E: Error>(&mut self, message: impl Into<String>) -> E {
        self.refusal = Some(message.into());
        E::custom("refused")
    }

    /// The same for the instance that is being read; `message` follows `instance N`.
    fn refuse_instance<E: Error>(&mut self, message: &str) -> E {
        let message = format!("instance {}{message}", self.instances);
        self.refuse(message)
    }

    fn explain(self, error: &serde_json::Error, body: &[u8]) -> String {
        let text = error.to_string();
        let no_json = |text: &str| format!("the body is no JSON: {text}");
        if let Some(refusal) = self.refusal {
            // Of a body that is broken further on, nothing can be said.
            return match serde_json::from_slice::<Cell>(body).map_err(|e| e.to_string()) {
                Err(text) if !text.starts_with(TOO_LARGE) => no_json(&text),
                _ => refusal,
            };
        }
        match self.at {
            Some(feature) if text.starts_with(TOO_LARGE) => format!(
                "instance {}, feature `{}`: the number is not {IN_RANGE}",
                self.instances,
                self.scorer.name(feature)
            ),
            _ if !error.is_data() => no_json(&text),
            _ if self.has_instances => "`instances` is no array".to_owned(),
            _ => NO_INSTANCES.to_owned(),
        }
    }

    /// Puts a value into the row of the instance that is being read.
    fn put<E: Error>(&mut self, feature: usize, cell: Cell) -> Result<(), E> {
        let encoder = self.scorer.predictor.encoder();
        let (value, kind) = match cell {
            Cell::Scalar(value) => (value, None),
            Cell::Array(None) => (Value::Array(Vec::new()), Some("an array")),
            Cell::Object(None) => (Value::Object(Map::new()), Some("an object")),
            Cell::Array(Some(name)) | Cell::Object(Some(name)) => {
                return Err(self.refuse_instance(&twice(&name)));
            }
        };
        let row = self.rows.len() - encoder.width();
        match encoder.json(feature, &value, &mut self.rows[row..]) {
            Ok(()) => Ok(()),
            Err(expected) => {
                let shown =
                    kind.map_or_else(|| printable::shown(&value.to_string()), str::to_owned);
                let name = self.scorer.name(feature);
                Err(self.refuse_instance(&format!(", feature `{name}`: {shown} is not {expected}")))
            }
        }
    }

    /// Scores the rows that have gathered.
    fn score(&mut self) -> Result<(), String> {
        let predictor = &self.scorer.predictor;
        let scores = predictor
            .scores(&self.rows)
            .map_err(|e| format!("the instances cannot be scored: {e:#}"))?;
        self.rows.clear();
        let classes = &predictor.manifest().label.classes;
        for scores in scores.chunks(predictor.width().max(1)) {
            let prediction = match classes.get(best(scores)) {
                None => Prediction::Number(scores.first().copied().unwrap_or(f32::NAN)),
                Some(label) => Prediction::Class {
                    label,
                    scores: Scores { classes, scores },
                },
            };
            if !self.answer.ends_with(b"[") {
                self.answer.push(b',');
            }
            serde_json::to_writer(&mut self.answer, &prediction)
                .map_err(|e| format!("the predictions cannot be written: {e}"))?;
        }
        Ok(())
    }
}

/// The whole body.
struct Body<'r, 's>(&'r mut Reading<'s>);

impl<'de> DeserializeSeed<'de> for Body<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Body<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        while let Some(name) = fields.next_key::<String>()? {
            if name != "instances" {
                fields.next_value::<IgnoredAny>()?;
                continue;
            }
            if self.0.has_instances {
                return Err(self.0.refuse("the body has `instances` twice"));
            }
            self.0.has_instances = true;
            fields.next_value_seed(Instances(self.0))?;
            self.0.at = None;
        }
        Ok(())
    }
}

/// The array of instances.
struct Instances<'r, 's>(&'r mut Reading<'s>);

impl<'de> DeserializeSeed<'de> for Instances<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Instances<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut instances: A) -> Result<(), A::Error> {
        let reading = self.0;
        let width = reading.scorer.predictor.encoder().width();
        while instances
            .next_element_seed(Instance(&mut *reading))?
            .is_some()
        {
            reading.instances += 1;
            if reading.rows.len() >= BLOCK * width
                && let Err(message) = reading.score()
            {
                return Err(reading.refuse(message));
            }
        }
        Ok(())
    }
}

/// An instance, to be appended to the rows.
struct Instance<'r, 's>(&'r mut Reading<'s>);

impl<'de> DeserializeSeed<'de> for Instance<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        let reading = self.0;
        let most = reading.scorer.most_instances;
        if reading.instances == most {
            return Err(reading.refuse(format!(
                "the request has more than {most} instances; send fewer at once"
            )));
        }
        let width = reading.scorer.predictor.encoder().width();
        reading.rows.resize(reading.rows.len() + width, MISSING);
        reading.at = None;
        json.deserialize_any(Instance(reading))
    }
}

/// The name of a field to its number.
struct Field<'r, 's>(&'r mut Reading<'s>);

impl<'de> DeserializeSeed<'de> for Field<'_, '_> {
    type Value = usize;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<usize, D::Error> {
        json.deserialize_str(self)
    }
}

impl Visitor<'_> for Field<'_, '_> {
    type Value = usize;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field's name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<usize, E> {
        let Self(reading) = self;
        let place = reading.place;
        reading.place += 1;
        let scorer = reading.scorer;
        let usual = reading.order.get(place).copied();
        if let Some(field) = usual.filter(|field| scorer.names[*field] == name) {
            return Ok(field);
        }
        let Some(field) = scorer.field(name) else {
            return Err(reading.refuse_instance(&scorer.unknown(name)));
        };
        reading.order.truncate(place);
        if reading.order.len() == place {
            reading.order.push(field);
        }
        Ok(field)
    }
}

impl Instance<'_, '_> {
    fn neither<E: Error>(self, value: Value) -> Result<(), E> {
        let shown = printable::shown(&value.to_string());
        Err(self.0.refuse_instance(&format!(
            ": {shown} is neither an object of features nor an array of them"
        )))
    }
}

impl<'de> Visitor<'de> for Instance<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an instance")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        let reading = self.0;
        let width = reading.scorer.predictor.encoder().features();
        reading.place = 0;
        while let Some(field) = fields.next_key_seed(Field(&mut *reading))? {
            // From 1, so that 0 is none.
            let instance = reading.instances + 1;
            if reading.seen[field] == instance {
                let name = &reading.scorer.names[field];
                return Err(reading.refuse_instance(&twice(name)));
            }
            reading.seen[field] = instance;
            reading.at = (field < width).then_some(field);
            match (fields.next_value::<Cell>()?, reading.at) {
                (cell, Some(feature)) => reading.put(feature, cell)?,
                (Cell::Array(Some(name)) | Cell::Object(Some(name)), None) => {
                    return Err(reading.refuse_instance(&twice(&name)));
                }
                (_, None) => {}
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<(), A::Error> {
        let reading = self.0;
        let width = reading.scorer.predictor.encoder().features();
        let mut count = 0;
        while count < width {
            reading.at = Some(count);
            let Some(cell) = values.next_element::<Cell>()? else {
                break;
            };
            reading.put(count, cell)?;
            count += 1;
        }
        reading.at = None;
        while values.next_element::<IgnoredAny>()?.is_some() {
            count += 1;
        }
        if count == width {
            return Ok(());
        }
        Err(reading.refuse_instance(&format!(
            ": it has {count} values, and the model has {width} features"
        )))
    }

    scalars!(neither);
}

#[derive(Serialize)]
#[serde(untagged)]
enum Prediction<'a> {
    Class { label: &'a str, scores: Scores<'a> },
    Number(f32),
}

/// A probability for each class, in their order.
struct Scores<'a> {
    classes: &'a [String],
    scores: &'a [f32],
}

impl Serialize for Scores<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.classes.len()))?;
        for (class, score) in self.classes.iter().zip(self.scores) {
            map.serialize_entry(class, score)?;
        }
        map.end()
    }
}

/// The first of the highest scores.
fn best(scores: &[f32]) -> usize {
    let mut best = 0;
    for (class, score) in scores.iter().enumerate() {
        if *score > scores[best] {
            best = class;
        }
    }
    best
}

/// Follows `instance N`.
fn twice(name: &str) -> String {
    format!(": `{}` is there twice", printable::shown(name))
}

#[cfg(test)]
mod tests;
