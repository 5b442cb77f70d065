//! Payloads: the JSON of instances and of predictions.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::{Logged, Slot};
use crate::data::cell_text;
use crate::workspace::records::Task;
use crate::workspace::table_profile::ValueType;

/// The names of unknown fields are told of so many in an instance.
const MOST_UNKNOWN: usize = 20;

/// A field of an instance.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Field {
    /// It is not there.
    #[default]
    Absent,
    Null,
    Boolean(bool),
    Number(f64),
    Text(String),
    /// A list or an object.
    Nested,
}

impl Field {
    /// As it is written in a table; `None` where it holds nothing.
    pub(super) fn text(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Boolean(true) => Some("true".into()),
            Self::Boolean(false) => Some("false".into()),
            Self::Number(x) => Some(cell_text::number(*x).into()),
            Self::Text(text) => Some(text.as_str().into()),
            Self::Absent | Self::Null | Self::Nested => None,
        }
    }
}

/// The instance at hand.
pub(super) struct Scratch {
    /// Features, then columns of the key that are none.
    pub(super) cells: Vec<Field>,
    pub(super) unknown: Vec<String>,
    /// How many features there are, which an array has in the model's order.
    features: usize,
}

impl Scratch {
    pub(super) fn new(features: usize, of_key: usize) -> Self {
        Self {
            cells: vec![Field::Absent; features + of_key],
            unknown: Vec::new(),
            features,
        }
    }

    pub(super) fn clear(&mut self) {
        self.cells.fill(Field::Absent);
        self.unknown.clear();
    }
}

/// Instance and prediction by their texts.
pub(super) type Pair<'a> = (Cow<'a, str>, Option<Cow<'a, str>>);

/// The instances of a row, each with its prediction where there is one for each.
///
/// # Errors
/// What is wrong with the request, in words.
pub(super) fn split<'a>(row: &'a Logged) -> Result<Vec<Pair<'a>>, String> {
    let requests = texts(&row.request).map_err(|e| format!("the request is {e}"))?;
    let instances = unwrapped(requests, "instances");
    if instances.is_empty() {
        return Err("the request holds no instance".to_owned());
    }
    // An answer that is no list is none: what was asked is known all the same.
    let responses = texts(&row.response).unwrap_or_default();
    let mut predictions = unwrapped(responses, "predictions");
    if predictions.len() != instances.len() {
        predictions.clear();
    }
    let mut predictions = predictions.into_iter();
    Ok(instances
        .into_iter()
        .map(|instance| (instance, predictions.next()))
        .collect())
}

/// The texts of a list in JSON, or a text itself.
fn texts(json: &str) -> Result<Vec<Cow<'_, str>>, String> {
    /// A text that is borrowed where it has no escapes.
    #[derive(Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
    let json = json.trim_ascii();
    if json.is_empty() {
        return Err("empty".to_owned());
    }
    if !json.starts_with('[') {
        return Ok(vec![json.into()]);
    }
    match serde_json::from_str::<Vec<Text>>(json) {
        Ok(texts) => Ok(texts.into_iter().map(|Text(text)| text).collect()),
        // A list of values in place of texts: as some write it who export by themselves.
        Err(e) => match serde_json::from_str::<Vec<Value>>(json) {
            Ok(values) => Ok(values
                .iter()
                .map(|value| value.to_string().into())
                .collect()),
            Err(_) => Err(format!("no list of texts: {e}")),
        },
    }
}

/// What a whole body holds, as `rawPredict` logs it: the list under its name.
fn unwrapped<'a>(texts: Vec<Cow<'a, str>>, name: &str) -> Vec<Cow<'a, str>> {
    let [one] = texts.as_slice() else {
        return texts;
    };
    // Instances and predictions may hold what they like; a body is told by the name, which stands in it early.
    let is_object = one.trim_ascii_start().starts_with('{');
    if !is_object || !one.contains(name) {
        return texts;
    }
    let body: Option<Value> = serde_json::from_str(one).ok();
    match body.as_ref().and_then(|body| body.get(name)?.as_array()) {
        Some(list) => list.iter().map(|value| value.to_string().into()).collect(),
        None => texts,
    }
}

/// Reads an instance: an object of fields by name, or an array in the model's order.
pub(super) struct Instance<'a> {
    pub(super) slots: &'a HashMap<String, Slot>,
    pub(super) scratch: &'a mut Scratch,
}

impl Instance<'_> {
    /// # Errors
    /// What is wrong with it, in words.
    pub(super) fn read(self, text: &str) -> Result<(), String> {
        let mut json = serde_json::Deserializer::from_str(text);
        let read = json.deserialize_any(self).and_then(|()| json.end());
        read.map_err(|e| format!("an instance is no object of features: {e}"))
    }
}

impl<'de> Visitor<'de> for Instance<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object, or an array in the model's order")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(slot) = map.next_key_seed(Name(self.slots))? {
            match slot {
                Named::Known(Slot::Feature(at) | Slot::Key(at)) => {
                    let field = map.next_value_seed(Cell)?;
                    if let Some(cell) = self.scratch.cells.get_mut(at) {
                        *cell = field;
                    }
                }
                Named::Known(Slot::Ignored) => {
                    map.next_value::<IgnoredAny>()?;
                }
                Named::Unknown(name) => {
                    map.next_value::<IgnoredAny>()?;
                    if self.scratch.unknown.len() < MOST_UNKNOWN {
                        self.scratch.unknown.push(name);
                    }
                }
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let mut at = 0;
        while let Some(field) = list.next_element_seed(Cell)? {
            match self.scratch.cells.get_mut(at) {
                Some(cell) if at < self.scratch.features => *cell = field,
                _ => {
                    return Err(serde::de::Error::custom(
                        "more values than the model has features",
                    ));
                }
            }
            at += 1;
        }
        Ok(())
    }
}

/// The name of a field.
struct Name<'a>(&'a HashMap<String, Slot>);

enum Named {
    Known(Slot),
    Unknown(String),
}

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = Named;
    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Named, D::Error> {
        json.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = Named;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a feature's name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Named, E> {
        Ok(match self.0.get(name) {
            Some(slot) => Named::Known(*slot),
            None => Named::Unknown(name.to_owned()),
        })
    }
}

/// The value of a field.
struct Cell;

impl<'de> DeserializeSeed<'de> for Cell {
    type Value = Field;
    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Field, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Cell {
    type Value = Field;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a feature's value")
    }
    fn visit_bool<E>(self, value: bool) -> Result<Field, E> {
        Ok(Field::Boolean(value))
    }
    fn visit_f64<E>(self, value: f64) -> Result<Field, E> {
        Ok(Field::Number(value))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Field, E> {
        Ok(Field::Number(value as f64))
    }
    fn visit_u64<E>(self, value: u64) -> Result<Field, E> {
        Ok(Field::Number(value as f64))
    }
    fn visit_str<E>(self, value: &str) -> Result<Field, E> {
        Ok(Field::Text(value.to_owned()))
    }
    fn visit_string<E>(self, value: String) -> Result<Field, E> {
        Ok(Field::Text(value))
    }
    fn visit_unit<E>(self) -> Result<Field, E> {
        Ok(Field::Null)
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Field, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Field::Nested)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Field, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Field::Nested)
    }
}

/// How predictions are read.
#[derive(Clone, Debug)]
pub(crate) struct Scores {
    /// None where the model does not tell.
    pub task: Option<Task>,
    /// In the model's order; none of a number.
    pub classes: Vec<String>,
}

/// A prediction.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Score {
    /// The number, or the last class's probability; of several classes the place of the likeliest.
    pub value: f64,
    /// The likeliest of several classes.
    pub class: Option<String>,
    /// The number, or a probability for each class.
    pub all: Vec<f32>,
}

impl Scores {
    /// What the column of predictions holds: numbers, or names of classes where there are several.
    pub(crate) fn kind(&self) -> ValueType {
        match self.task {
            Some(Task::Multiclass) => ValueType::Text,
            _ => ValueType::Number,
        }
    }

    /// Reads a prediction as serin serves it, or a plain number or list of probabilities; `None` for any other.
    pub(super) fn read(&self, text: &str) -> Option<Score> {
        #[derive(Deserialize)]
        struct Served<'a> {
            #[serde(borrow)]
            scores: HashMap<Cow<'a, str>, f64>,
        }
        let text = text.trim_ascii();
        let all: Vec<f64> = match text.as_bytes().first()? {
            b'{' => {
                let served: Served = serde_json::from_str(text).ok()?;
                let score = |class: &String| served.scores.get(class.as_str()).copied();
                self.classes.iter().map(score).collect::<Option<_>>()?
            }
            b'[' => serde_json::from_str(text).ok()?,
            _ => vec![serde_json::from_str(text).ok()?],
        };
        self.of(all)
    }

    /// The score of a prediction as [`crate::model::offline`] tells it.
    pub(super) fn shown(&self, value: f64) -> Option<Score> {
        Some(Score {
            value,
            class: match self.task {
                Some(Task::Multiclass) => Some(self.classes.get(value as usize)?.clone()),
                _ => None,
            },
            all: Vec::new(),
        })
    }

    fn of(&self, all: Vec<f64>) -> Option<Score> {
        if all.is_empty() || all.iter().any(|score| !score.is_finite()) {
            return None;
        }
        let (value, class) = match self.task {
            Some(Task::Multiclass) => {
                let best = (0..all.len())
                    .rev()
                    .max_by(|a, b| all[*a].total_cmp(&all[*b]))?;
                (best as f64, Some(self.classes.get(best)?.clone()))
            }
            _ => (*all.last()?, None),
        };
        let whole = match (self.task, all.as_slice()) {
            // One probability of two classes.
            (Some(Task::Binary), [p]) => vec![1.0 - p, *p],
            _ => all,
        };
        Some(Score {
            value,
            class,
            all: whole.into_iter().map(|score| score as f32).collect(),
        })
    }
}
