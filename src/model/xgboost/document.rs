//! What XGBoost's model files hold, as far as scoring needs it: the same in JSON and in UBJSON.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, SeqAccess, Visitor};

#[derive(Deserialize)]
pub(super) struct Document {
    pub learner: Learner,
    /// Of XGBoost, as `[3, 2, 0]`.
    #[serde(default)]
    pub version: Vec<u32>,
}

#[derive(Deserialize)]
pub(super) struct Learner {
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
    /// Empty where training had rows without names; else in the order of their values.
    #[serde(default)]
    pub feature_names: Vec<String>,
    /// `float`, `int`, `q`, `i` for true and false, `c` for a category.
    #[serde(default)]
    pub feature_types: Vec<String>,
    pub gradient_booster: GradientBooster,
    pub learner_model_param: Parameters,
    pub objective: Objective,
}

#[derive(Deserialize)]
pub(super) struct GradientBooster {
    #[serde(default)]
    pub name: String,
    /// None for a booster of another kind, and in a configuration.
    pub model: Option<Trees>,
}

#[derive(Deserialize)]
pub(super) struct Objective {
    #[serde(default)]
    pub name: String,
}

/// Numbers as texts.
#[derive(Deserialize)]
pub(super) struct Parameters {
    /// `5E-1`, and from XGBoost 3.1 on `[5E-1]` or one for each output.
    pub base_score: String,
    #[serde(default)]
    pub num_class: String,
    pub num_feature: String,
    #[serde(default)]
    pub num_target: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Trees {
    pub gbtree_model_param: TreesParameters,
    /// The first tree of each round, and the count of all; from XGBoost 2 on.
    pub iteration_indptr: Vec<usize>,
    /// The output of each tree.
    pub tree_info: Vec<usize>,
    pub trees: Vec<Tree>,
    /// Weights of the trees of a dart booster.
    pub weight_drop: Vec<f32>,
    pub cats: Categories,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct TreesParameters {
    pub num_parallel_tree: String,
}

#[derive(Deserialize)]
pub(super) struct Tree {
    #[serde(default)]
    pub tree_param: TreeParameters,
    pub left_children: Vec<i32>,
    pub right_children: Vec<i32>,
    pub split_indices: Vec<u32>,
    #[serde(deserialize_with = "floats")]
    pub split_conditions: Vec<f32>,
    #[serde(deserialize_with = "flags")]
    pub default_left: Vec<bool>,
    /// The sets of all splits by categories, one after the other.
    #[serde(default)]
    pub categories: Vec<i32>,
    /// The nodes that split by categories, rising.
    #[serde(default)]
    pub categories_nodes: Vec<usize>,
    /// Where the set of each of them begins.
    #[serde(default)]
    pub categories_segments: Vec<usize>,
    #[serde(default)]
    pub categories_sizes: Vec<usize>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct TreeParameters {
    /// Above 1 where a leaf has a value for each output.
    pub size_leaf_vector: String,
}

/// The categories' names, from XGBoost 3.1 on, where it was given a table with them.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Categories {
    /// One for each feature, empty for numbers.
    pub enc: Vec<Encoding>,
}

/// The names of a feature's categories in the order of their codes.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Encoding {
    /// For texts where each begins in `values`, and their end.
    offsets: Vec<usize>,
    /// Bytes of UTF-8, or the numbers themselves.
    values: Vec<serde_json::Number>,
    /// Of numbers their type.
    #[serde(rename = "type")]
    kind: i64,
}

impl Encoding {
    /// The names; none where there is nothing of the kind, or what is no text.
    pub(super) fn names(&self) -> Option<Vec<String>> {
        if self.values.is_empty() && self.offsets.len() < 2 {
            return None;
        }
        if self.offsets.is_empty() {
            let names = self.values.iter().map(|value| self.number(value));
            return Some(names.collect());
        }
        let bytes: Option<Vec<u8>> = self.values.iter().map(byte).collect();
        let bytes = bytes?;
        let ends = self.offsets.iter().zip(self.offsets.iter().skip(1));
        ends.map(|(from, to)| String::from_utf8(bytes.get(*from..*to)?.to_vec()).ok())
            .collect()
    }

    /// A number that is a category; those without a sign are kept in the bits of one with a sign.
    fn number(&self, value: &serde_json::Number) -> String {
        match (self.kind, value.as_i64()) {
            (10, Some(number)) => (number as u8).to_string(),
            (12, Some(number)) => (number as u16).to_string(),
            (14, Some(number)) => (number as u32).to_string(),
            (16, Some(number)) => (number as u64).to_string(),
            _ => value.to_string(),
        }
    }
}

/// A byte that is kept as a number with a sign.
fn byte(value: &serde_json::Number) -> Option<u8> {
    let value = value.as_i64()?;
    (-128..256).contains(&value).then_some(value as u8)
}

/// Numbers of any size; what `f32` does not hold is infinite.
fn floats<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<f32>, D::Error> {
    let wide = Vec::<f64>::deserialize(from)?;
    Ok(wide.into_iter().map(|number| number as f32).collect())
}

/// `true` and `false` as they are, or as 1 and 0.
fn flags<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<bool>, D::Error> {
    struct Flag(bool);

    impl<'de> Deserialize<'de> for Flag {
        fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
            from.deserialize_any(AnyFlag)
        }
    }

    struct AnyFlag;

    impl Visitor<'_> for AnyFlag {
        type Value = Flag;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("true, false, 1 or 0")
        }

        fn visit_bool<E: Error>(self, value: bool) -> Result<Flag, E> {
            Ok(Flag(value))
        }

        fn visit_i64<E: Error>(self, value: i64) -> Result<Flag, E> {
            Ok(Flag(value != 0))
        }

        fn visit_u64<E: Error>(self, value: u64) -> Result<Flag, E> {
            Ok(Flag(value != 0))
        }
    }

    struct Flags;

    impl<'de> Visitor<'de> for Flags {
        type Value = Vec<bool>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of flags")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Vec<bool>, A::Error> {
            let mut flags = Vec::new();
            while let Some(Flag(flag)) = from.next_element()? {
                flags.push(flag);
            }
            Ok(flags)
        }
    }

    from.deserialize_seq(Flags)
}
