//! Model bytes that XGBoost 2.1, XGBoost 3 and hessboost all read rightly.
//!
//! Two things in hessboost 0.4.6's files are put right here:
//! - `learner_model_param.base_score` is written as XGBoost 3 does, as a list (`"[5.55E-1]"`), and
//!   hessboost accepts nothing else. XGBoost 2.1 knows only the plain number (`"5.55E-1"`), takes a list
//!   for something else without a word and predicts wrongly; 3 reads both. So it is plain in what is
//!   written.
//! - XGBoost goes to a node's right child as the one after the left, whatever `right_children` says.
//!   hessboost turns the children of a split by categories around, and XGBoost (either version) then leaves the
//!   tree's memory. So the nodes are numbered anew, level by level, left before right.
//!
//! Models are written as UBJSON, which both versions expect under the name `model.bst` and which is
//! about a fifth of the size of the JSON form. What is read, of theirs and of serin's own, is in [`read`].

#[cfg(test)]
mod against_python;
mod document;
mod read;
mod ubjson;

use anyhow::{Context, Result};
use hessboost::model::{BoostedModel, ModelFormat};
use serde_json::Value;

pub(super) use read::{Booster, decode, is_booster};

/// The booster as bytes for `model.bst`.
pub(super) fn encode(booster: &BoostedModel) -> Result<Vec<u8>> {
    let json = booster
        .encode(ModelFormat::XgboostJson)
        .context("writing the model in XGBoost's format")?;
    let mut document: Value = serde_json::from_slice(&json).context("reading the model back")?;
    let trees = document
        .pointer_mut("/learner/gradient_booster/model/trees")
        .and_then(Value::as_array_mut);
    for tree in trees.into_iter().flatten() {
        number_anew(tree).context("a tree of the model is no tree")?;
    }
    let bytes = BoostedModel::decode(document.to_string(), ModelFormat::XgboostJson)
        .and_then(|booster| booster.encode(ModelFormat::XgboostUbjson))
        .context("writing the model with its nodes in XGBoost's order")?;
    let (place, score) = ubjson_base_score(&bytes).context("the model has no base score")?;
    match plain(score) {
        Some(score) => Ok(with_ubjson_string(&bytes, place, &score)),
        // Several outputs with different intercepts have no plain form; only XGBoost 3 reads them.
        None => Ok(bytes),
    }
}

/// Numbers a tree's nodes level by level, so that each right child follows its left one.
fn number_anew(tree: &mut Value) -> Option<()> {
    const COLUMNS: [&str; 10] = [
        "left_children",
        "right_children",
        "parents",
        "split_indices",
        "split_conditions",
        "default_left",
        "base_weights",
        "loss_changes",
        "sum_hessian",
        "split_type",
    ];
    let (left, right) = (
        numbers(tree, "left_children")?,
        numbers(tree, "right_children")?,
    );
    let mut order = vec![0];
    let mut next = 0;
    while let Some(&node) = order.get(next) {
        if *left.get(node)? >= 0 {
            order.push(usize::try_from(left[node]).ok()?);
            order.push(usize::try_from(*right.get(node)?).ok()?);
        }
        next += 1;
        if order.len() > left.len() {
            return None;
        }
    }
    let mut numbered: Vec<i64> = vec![0; left.len()];
    for (new, &old) in order.iter().enumerate() {
        *numbered.get_mut(old)? = new as i64;
    }
    // A child's number becomes its new one; what is no node (-1, the root's parent) stays.
    let renumbered = |node: i64| {
        let new = usize::try_from(node)
            .ok()
            .and_then(|node| numbered.get(node));
        new.copied().unwrap_or(node)
    };
    for name in COLUMNS {
        let column = tree.get_mut(name)?.as_array_mut()?;
        let mut moved = Vec::with_capacity(order.len());
        for &old in &order {
            let value = column.get(old)?;
            moved.push(match name {
                "left_children" | "right_children" | "parents" => {
                    renumbered(value.as_i64()?).into()
                }
                _ => value.clone(),
            });
        }
        *column = moved;
    }
    let (segments, sizes) = (
        numbers(tree, "categories_segments")?,
        numbers(tree, "categories_sizes")?,
    );
    let nodes = numbers(tree, "categories_nodes")?
        .into_iter()
        .map(renumbered);
    let mut splits: Vec<_> = nodes.zip(segments).zip(sizes).collect();
    splits.sort_unstable();
    tree["categories_nodes"] = splits.iter().map(|((node, _), _)| *node).collect();
    tree["categories_segments"] = splits.iter().map(|((_, segment), _)| *segment).collect();
    tree["categories_sizes"] = splits.iter().map(|(_, size)| *size).collect();
    Some(())
}

fn numbers(tree: &Value, name: &str) -> Option<Vec<i64>> {
    tree.get(name)?
        .as_array()?
        .iter()
        .map(Value::as_i64)
        .collect()
}

/// A list of equal numbers as one plain number, which stands for all outputs.
fn plain(list: &str) -> Option<String> {
    let inner = list.strip_prefix('[')?.strip_suffix(']')?;
    let mut values = inner.split(',');
    let first = values.next()?;
    let score: f32 = first.parse().ok()?;
    // With an exponent: XGBoost reads digits alone as a 64-bit integer, of which large ones become others.
    values.all(|v| v == first).then(|| format!("{score:E}"))
}

/// The places of the base score's string (its length included) and its text.
///
/// Keys and strings carry an `L` and eight bytes of length in the dialect that XGBoost and hessboost write.
fn ubjson_base_score(bytes: &[u8]) -> Option<(std::ops::Range<usize>, &str)> {
    // The last block of the learner before its objective; names chosen by a user come earlier.
    let block = last(bytes, &ubjson_key("learner_model_param"))?;
    let mut field = ubjson_key("base_score");
    field.push(b'S');
    let start = block + first(bytes.get(block..)?, &field)? + field.len();
    let length = bytes.get(start..)?.strip_prefix(b"L")?.get(..8)?;
    let length = usize::try_from(u64::from_be_bytes(length.try_into().ok()?)).ok()?;
    let end = start.checked_add(9)?.checked_add(length)?;
    let text = std::str::from_utf8(bytes.get(start + 9..end)?).ok()?;
    Some((start..end, text))
}

fn ubjson_key(name: &str) -> Vec<u8> {
    let mut key = vec![b'L'];
    key.extend((name.len() as u64).to_be_bytes());
    key.extend(name.as_bytes());
    key
}

fn with_ubjson_string(bytes: &[u8], place: std::ops::Range<usize>, text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + text.len());
    out.extend(&bytes[..place.start]);
    out.extend(ubjson_key(text));
    out.extend(&bytes[place.end..]);
    out
}

fn first(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|w| w == part)
}

fn last(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).rposition(|w| w == part)
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;
    use hessboost::data::FeatureType;
    use hessboost::prelude::*;
    use proptest::prelude::*;

    /// One column of seven categories, of which some are positive.
    fn booster() -> BoostedModel {
        let x: Vec<f32> = (0..80).map(|i| (i % 7) as f32).collect();
        let y: Vec<f32> = x
            .iter()
            .map(|v| f32::from(u8::from([1.0, 4.0, 6.0].contains(v))))
            .collect();
        let data = DMatrix::from_dense(&x, 80, 1)
            .and_then(|data| data.with_feature_types(&[FeatureType::Categorical]))
            .and_then(|data| data.with_labels(&y));
        let parameters = TrainingParams::builder()
            .objective(Objective::BinaryLogistic(RegLoss::default()))
            .build()
            .unwrap();
        train(&parameters, &data.unwrap(), 3).unwrap()
    }

    #[test]
    fn the_base_score_is_written_plain_and_scores_stay() {
        let booster = booster();
        let bytes = encode(&booster).unwrap();
        let (_, score) = ubjson_base_score(&bytes).unwrap();
        assert!(score.parse::<f32>().is_ok(), "{score}");
        let back = decode(&bytes, None).unwrap();
        for x in [0.0, 1.0, 2.0, 4.0, 6.0, 9.0, f32::NAN] {
            let one = booster.predict_row(&[x], Iterations::Best).unwrap();
            let other = back.scores(&[x])[0];
            assert!((one - other).abs() < 1e-6, "{x}: {one} and {other}");
        }
    }

    #[test]
    fn each_right_child_follows_its_left_one() {
        let made = testing::binary(500);
        let folder = tempfile::tempdir().unwrap();
        made.fit(1, folder.path()).unwrap();
        let bytes = std::fs::read(folder.path().join("model.bst")).unwrap();
        let document: Value = ubjson::read(&bytes).unwrap();
        let trees = document["learner"]["gradient_booster"]["model"]["trees"]
            .as_array()
            .unwrap();
        let mut by_category = 0;
        for tree in trees {
            let column = |name: &str| numbers(tree, name).unwrap();
            for (left, right) in column("left_children")
                .into_iter()
                .zip(column("right_children"))
            {
                assert!(
                    (left, right) == (-1, -1) || right == left + 1,
                    "{left} and {right}"
                );
            }
            assert!(column("categories_nodes").is_sorted());
            by_category += column("categories_nodes").len();
        }
        assert!(by_category > 0);
    }

    #[test]
    fn only_equal_numbers_have_a_plain_form() {
        assert_eq!(plain("[0.5,0.5]").as_deref(), Some("5E-1"));
        assert_eq!(plain("[10000000000000000000]").as_deref(), Some("1E19"));
        assert_eq!(plain("[0.5,0.4]"), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(at in 0usize..4000, byte: u8, cut in 0usize..8000) {
            thread_local!(static BYTES: Vec<u8> = encode(&booster()).unwrap());
            let mut bytes = BYTES.with(Clone::clone);
            let at = at % bytes.len();
            bytes[at] = byte;
            bytes.truncate(cut.max(1));
            let _ = decode(&bytes, None);
            let _ = decode(&bytes[at.min(bytes.len())..], Some(1));
        }
    }
}
