//! XGBoost's model files to a booster that scores: those that Python's XGBoost 1.7, 2 and 3 write, and serin's own.
//!
//! - `base_score` is a number until XGBoost 3.0, and from 3.1 on a list of one for all outputs or one for each. It is
//!   what the model would predict without trees; for several classes it is their margins.
//! - A model of scikit-learn's kind (`XGBClassifier` and so on, which leave their mark in the file) is scored with its
//!   rounds up to `best_iteration`, and a `Booster` with all: so do Python's own `predict` and `predict_proba`.
//! - A round has a tree for each output, times `num_parallel_tree`; from XGBoost 2 on the file says where each begins.
//! - Where a split by categories has its threshold, some write NaN, which JSON has no word for.

use super::document::{Document, Tree, Trees};
use super::ubjson;
use crate::model::forest::{Columns, Forest, Kind};

/// A model that scores rows of numbers.
#[derive(Debug)]
pub(crate) struct Booster {
    /// As XGBoost names it.
    pub objective: String,
    /// The features' names, none where the file has none.
    pub names: Vec<String>,
    /// Their types in XGBoost's words, none where the file has none.
    types: Vec<String>,
    /// For each feature the names of its categories, as far as the file has them.
    levels: Vec<Option<Vec<String>>>,
    /// Rounds that are scored, and those that the file has.
    pub rounds: usize,
    pub rounds_in_file: usize,
    /// XGBoost's version, as `3.2.0`; of serin's own the one that its files look like.
    pub version: String,
    link: Link,
    forest: Forest,
}

/// What makes scores of sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    Identity,
    Logistic,
    Exponential,
    Softmax,
}

/// The most outputs of a model: as many as a request's answer may have scores for.
const MOST_OUTPUTS: usize = 100_000;

/// The booster in the bytes of a file; `rounds` says how many of its rounds count, where the file's word is not asked.
///
/// # Errors
/// Why the bytes are no such model, in words.
pub(crate) fn decode(bytes: &[u8], rounds: Option<usize>) -> Result<Booster, String> {
    if let Some(other) = other_kind(bytes) {
        return Err(other);
    }
    let document: Document = if is_json(bytes) {
        serde_json::from_slice(&without_words(bytes)).map_err(|e| e.to_string())?
    } else {
        ubjson::read(bytes).map_err(|e| e.to_string())?
    };
    booster(document, rounds)
}

/// Whether a file begins as a booster and no other one with the same name: with the learner, or as UBJSON.
pub(crate) fn is_booster(bytes: &[u8]) -> bool {
    let Some(inside) = bytes.trim_ascii_start().strip_prefix(b"{") else {
        return false;
    };
    let ubjson = matches!(inside.first(), Some(b'L' | b'l' | b'I' | b'i' | b'U'));
    ubjson || inside.trim_ascii_start().starts_with(b"\"learner\"")
}

/// Whether the bytes may be JSON: an object of UBJSON begins with a key's length instead of a quote.
fn is_json(bytes: &[u8]) -> bool {
    let mut rest = bytes.trim_ascii_start().iter();
    rest.next() == Some(&b'{') && rest.find(|b| !b.is_ascii_whitespace()) == Some(&b'"')
}

/// What else a file with a model may be.
fn other_kind(bytes: &[u8]) -> Option<String> {
    const SAVE: &str = "save it with `save_model(\"model.ubj\")`";
    let start = bytes.trim_ascii_start();
    if start.starts_with(b"{") {
        return None;
    }
    let old = bytes.starts_with(b"binf") || has(bytes.get(..512).unwrap_or(bytes), b"gbtree");
    Some(if old {
        format!("it has the binary form of XGBoost 1: load it with XGBoost 1.7 and {SAVE}")
    } else if bytes.starts_with(b"\x80") {
        format!("it is a pickle, which is a program that runs when it is loaded: {SAVE}")
    } else if bytes.starts_with(b"tree\n") {
        "it is a model of LightGBM, and serin reads those of XGBoost".to_owned()
    } else if start.starts_with(b"[") {
        format!("it is a dump of trees, which is no model: {SAVE}")
    } else {
        "the bytes are neither XGBoost's UBJSON nor its JSON".to_owned()
    })
}

fn has(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|w| w == part)
}

/// The JSON with numbers for the words that XGBoost writes where JSON has none: NaN, which is the threshold of a split
/// by categories only, and the infinite.
fn without_words(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let words: [(&[u8], &[u8]); 3] = [
        (b"NaN", b"0.0"),
        (b"Infinity", b"9.9e99  "),
        (b"-Infinity", b"-9.9e99  "),
    ];
    let mut at = 1;
    while at < bytes.len() {
        let bare = matches!(bytes.get(at - 1), Some(b'[' | b','));
        let word = words.iter().find(|(word, _)| {
            let rest = bytes.get(at..).and_then(|rest| rest.strip_prefix(*word));
            bare && rest.is_some_and(|rest| matches!(rest.first(), Some(b']' | b',')))
        });
        if let Some((_, number)) = word
            && let Some(place) = bytes.get_mut(at..at + number.len())
        {
            place.copy_from_slice(number);
        }
        at += 1;
    }
    bytes
}

fn booster(document: Document, rounds: Option<usize>) -> Result<Booster, String> {
    let learner = document.learner;
    let objective = learner.objective.name;
    let kind = learner.gradient_booster.name;
    let trees = learner.gradient_booster.model.unwrap_or_default();
    let weighted = trees.weight_drop.iter().any(|weight| *weight != 1.0);
    if kind != "gbtree" || weighted {
        let kind = if weighted { "dart" } else { &kind };
        return Err(format!(
            "its booster is `{kind}`, and serin reads `gbtree` only"
        ));
    }
    let link = link(&objective)?;
    let parameters = learner.learner_model_param;
    let (classes, targets) = (
        whole(&parameters.num_class, "num_class")?,
        whole(&parameters.num_target, "num_target")?,
    );
    if targets > 1 {
        return Err(format!(
            "it predicts {targets} values of the kind `{objective}`, not one"
        ));
    }
    let outputs = if link == Link::Softmax { classes } else { 1 };
    if outputs == 0 || outputs > MOST_OUTPUTS || (link != Link::Softmax && classes > 1) {
        return Err(format!(
            "it has {classes} classes with the objective `{objective}`"
        ));
    }
    let features = whole(&parameters.num_feature, "num_feature")?;
    let names = [&learner.feature_names, &learner.feature_types];
    if names.iter().any(|n| !n.is_empty() && n.len() != features) {
        return Err(format!(
            "it has {features} features and another number of names"
        ));
    }
    let base = base(&parameters.base_score, outputs, link)?;
    let rounds_in_file = rounds_of(&trees, outputs)?;
    let best = match learner.attributes.contains_key("scikit_learn") {
        true => learner.attributes.get("best_iteration"),
        false => None,
    };
    let best = match best {
        Some(best) => whole(best, "best_iteration")?.saturating_add(1),
        None => rounds_in_file,
    };
    let kept = rounds.unwrap_or(best);
    if kept > rounds_in_file {
        return Err(format!(
            "it has {rounds_in_file} rounds, and {kept} are to be scored"
        ));
    }
    let forest = forest(&trees, outputs, kept, features, base)?;
    let levels = trees.cats.enc.iter().map(|names| names.names());
    let version: Vec<String> = document.version.iter().map(u32::to_string).collect();
    Ok(Booster {
        objective,
        names: learner.feature_names,
        types: learner.feature_types,
        levels: levels.collect(),
        rounds: kept,
        rounds_in_file,
        version: version.join("."),
        link,
        forest,
    })
}

/// A number that is written as a text; one that is not there is 0.
fn whole(text: &str, name: &str) -> Result<usize, String> {
    if text.is_empty() {
        return Ok(0);
    }
    text.parse()
        .map_err(|_| format!("its `{name}` is `{text}`, which is no number"))
}

fn link(objective: &str) -> Result<Link, String> {
    Ok(match objective {
        "binary:logistic" | "reg:logistic" => Link::Logistic,
        "multi:softprob" | "multi:softmax" => Link::Softmax,
        "count:poisson" | "reg:gamma" | "reg:tweedie" => Link::Exponential,
        "reg:squarederror"
        | "reg:squaredlogerror"
        | "reg:pseudohubererror"
        | "reg:absoluteerror"
        | "reg:quantileerror"
        | "reg:expectileerror"
        | "reg:linear" => Link::Identity,
        "binary:hinge" | "binary:logitraw" => {
            return Err(format!(
                "its objective is `{objective}`, which gives no probabilities: train it with `binary:logistic`"
            ));
        }
        other => {
            return Err(format!(
                "its objective is `{other}`, which is none for a class or a number"
            ));
        }
    })
}

/// The margins of a row before the first tree.
fn base(text: &str, outputs: usize, link: Link) -> Result<Vec<f32>, String> {
    let wrong = || format!("its `base_score` is `{text}`, which a model like this cannot have");
    let list = text
        .trim()
        .strip_prefix('[')
        .and_then(|t| t.strip_suffix(']'));
    let scores = list.unwrap_or(text).split(',').map(|score| {
        let score: f32 = score.trim().parse().map_err(|_| wrong())?;
        // As XGBoost, in `f32`.
        let margin = match link {
            Link::Identity | Link::Softmax => score,
            Link::Logistic => -(1.0 / score - 1.0).ln(),
            Link::Exponential => score.ln(),
        };
        if margin.is_finite() {
            Ok(margin)
        } else {
            Err(wrong())
        }
    });
    let scores: Vec<f32> = scores.collect::<Result<_, _>>()?;
    match scores[..] {
        [one] => Ok(vec![one; outputs]),
        _ if scores.len() == outputs => Ok(scores),
        _ => Err(wrong()),
    }
}

/// How many rounds there are.
fn rounds_of(trees: &Trees, outputs: usize) -> Result<usize, String> {
    let count = trees.trees.len();
    if trees.tree_info.len() != count {
        return Err(format!(
            "it has {count} trees and another number of their outputs"
        ));
    }
    let begins = &trees.iteration_indptr;
    if begins.is_empty() {
        let a_round = round_size(trees, outputs)?;
        return match count % a_round {
            0 => Ok(count / a_round),
            _ => Err(format!("its {count} trees are no rounds of {a_round}")),
        };
    }
    if begins.first() != Some(&0) || begins.last() != Some(&count) || !begins.is_sorted() {
        return Err(format!("its {count} trees are in no rounds"));
    }
    Ok(begins.len() - 1)
}

/// Trees of a round, where the file does not say where each begins.
fn round_size(trees: &Trees, outputs: usize) -> Result<usize, String> {
    let parallel = whole(
        &trees.gbtree_model_param.num_parallel_tree,
        "num_parallel_tree",
    )?;
    Ok(outputs.saturating_mul(parallel.max(1)))
}

fn forest(
    trees: &Trees,
    outputs: usize,
    rounds: usize,
    features: usize,
    base: Vec<f32>,
) -> Result<Forest, String> {
    let kept = match trees.iteration_indptr.get(rounds) {
        Some(end) => *end,
        None => rounds.saturating_mul(round_size(trees, outputs)?),
    };
    let mut forest = Forest::new(features, base);
    let kept = trees.trees.iter().zip(&trees.tree_info).take(kept);
    for (number, (tree, output)) in kept.enumerate() {
        let why = |why| format!("tree {number}: {why}");
        let vector = whole(&tree.tree_param.size_leaf_vector, "size_leaf_vector").map_err(why)?;
        if vector > 1 {
            return Err("its trees have several values a leaf (`multi_output_tree`)".to_owned());
        }
        let sets =
            sets(tree).ok_or_else(|| why("its categories do not fit each other".to_owned()))?;
        let columns = Columns {
            left: &tree.left_children,
            right: &tree.right_children,
            feature: &tree.split_indices,
            threshold: &tree.split_conditions,
            missing_left: &tree.default_left,
            categories: &sets,
        };
        forest.add(&columns, *output).map_err(why)?;
    }
    Ok(forest)
}

/// The categories of each node that splits by them.
fn sets(tree: &Tree) -> Option<Vec<(usize, &[i32])>> {
    let nodes = &tree.categories_nodes;
    let (segments, sizes) = (&tree.categories_segments, &tree.categories_sizes);
    if segments.len() != nodes.len() || sizes.len() != nodes.len() {
        return None;
    }
    let places = nodes.iter().zip(segments).zip(sizes);
    let set = |((node, from), size): ((&usize, &usize), &usize)| {
        let set = tree.categories.get(*from..from.checked_add(*size)?)?;
        Some((*node, set))
    };
    let mut sets: Vec<_> = places.map(set).collect::<Option<_>>()?;
    sets.sort_by_key(|(node, _)| *node);
    Some(sets)
}

impl Booster {
    /// Values a row has.
    pub(crate) fn features(&self) -> usize {
        self.forest.features().len()
    }

    /// Values a row comes to.
    pub(crate) fn outputs(&self) -> usize {
        self.forest.outputs()
    }

    /// Whether a feature holds categories: where it is split by them, or said to.
    pub(crate) fn is_category(&self, feature: usize) -> bool {
        let split = self.forest.features().get(feature).copied().flatten();
        split == Some(Kind::Category) || self.types.get(feature).is_some_and(|kind| kind == "c")
    }

    /// Whether trees split a feature by categories.
    pub(crate) fn splits_by_category(&self, feature: usize) -> bool {
        self.forest.features().get(feature) == Some(&Some(Kind::Category))
    }

    /// Whether a feature is said to be true or false.
    pub(crate) fn is_boolean(&self, feature: usize) -> bool {
        self.types.get(feature).is_some_and(|kind| kind == "i")
    }

    /// The names of a feature's categories in the order of their codes, where the file has them.
    pub(crate) fn levels(&self, feature: usize) -> Option<&[String]> {
        self.levels.get(feature)?.as_deref()
    }

    /// The scores of whole rows, one row after the other: a probability for each class (for two the second's only), or a
    /// number.
    pub(crate) fn scores(&self, rows: &[f32]) -> Vec<f32> {
        let mut scores = self.forest.sums(rows);
        match self.link {
            Link::Identity => {}
            Link::Logistic => scores.iter_mut().for_each(|score| *score = sigmoid(*score)),
            Link::Exponential => scores.iter_mut().for_each(|score| *score = score.exp()),
            Link::Softmax => scores.chunks_mut(self.outputs().max(1)).for_each(softmax),
        }
        scores
    }
}

/// As XGBoost: the exponent is kept within what a float holds.
fn sigmoid(margin: f32) -> f32 {
    1.0 / ((-margin).min(88.7).exp() + 1.0)
}

fn softmax(margins: &mut [f32]) {
    let most = margins.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for margin in margins.iter_mut() {
        *margin = (*margin - most).exp();
        sum += f64::from(*margin);
    }
    for margin in margins.iter_mut() {
        *margin /= sum as f32;
    }
}
