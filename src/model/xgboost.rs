//! Model bytes that XGBoost 2.1, XGBoost 3 and hessboost all read rightly.
//!
//! They disagree on one field, `learner_model_param.base_score`. XGBoost 3 writes it as a list
//! (`"[5.55E-1]"`), and so does hessboost, which accepts nothing else; 2.1 knows only the plain
//! number (`"5.55E-1"`), takes a list for something else without a word and predicts wrongly; 3 reads
//! both. So the field is plain in what is written and a list in what hessboost is given.
//!
//! Models are written as UBJSON, which both versions expect under the name `model.bst` and which is
//! about a fifth of the size of the JSON form. The field is exchanged in the bytes themselves: nothing
//! else of the document is touched, so no number in it can change.

use anyhow::{Context, Result};
use hessboost::model::{BoostedModel, ModelFormat};

/// The booster as bytes for `model.bst`.
pub(super) fn encode(booster: &BoostedModel) -> Result<Vec<u8>> {
    let bytes = booster
        .encode(ModelFormat::XgboostUbjson)
        .context("writing the model in XGBoost's format")?;
    let (place, score) = ubjson_base_score(&bytes).context("the model has no base score")?;
    match plain(score) {
        Some(score) => Ok(with_ubjson_string(&bytes, place, &score)),
        // Several outputs with different intercepts have no plain form; only XGBoost 3 reads them.
        None => Ok(bytes),
    }
}

/// The booster of a `model.bst` in UBJSON or JSON, from XGBoost 2.1, XGBoost 3 or serin.
///
/// # Errors
/// Why the bytes are no such model, in words.
pub(super) fn decode(bytes: &[u8]) -> Result<BoostedModel, String> {
    let format = ModelFormat::detect(bytes);
    let model = match format {
        Some(ModelFormat::XgboostUbjson) => match ubjson_base_score(bytes) {
            Some((place, score)) if !score.starts_with('[') => {
                let listed = with_ubjson_string(bytes, place, &format!("[{score}]"));
                BoostedModel::decode(listed, ModelFormat::XgboostUbjson)
            }
            _ => BoostedModel::decode(bytes, ModelFormat::XgboostUbjson),
        },
        Some(ModelFormat::XgboostJson) => {
            let mut document: serde_json::Value =
                serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
            if let Some(score) = document.pointer_mut("/learner/learner_model_param/base_score")
                && let Some(text) = score.as_str()
                && !text.starts_with('[')
            {
                *score = format!("[{text}]").into();
            }
            BoostedModel::decode(document.to_string(), ModelFormat::XgboostJson)
        }
        _ => return Err("the bytes are neither XGBoost's UBJSON nor its JSON".to_owned()),
    };
    model.map_err(|e| e.to_string())
}

/// A list of equal numbers as one plain number, which stands for all outputs.
fn plain(list: &str) -> Option<String> {
    let inner = list.strip_prefix('[')?.strip_suffix(']')?;
    let mut values = inner.split(',');
    let first = values.next()?;
    values.all(|v| v == first).then(|| first.to_owned())
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
    use super::*;
    use hessboost::prelude::*;
    use proptest::prelude::*;

    fn booster() -> BoostedModel {
        let x: Vec<f32> = (0..40).map(|i| (i % 7) as f32).collect();
        let y: Vec<f32> = x.iter().map(|v| f32::from(*v > 3.0)).collect();
        let data = DMatrix::from_dense(&x, 40, 1).unwrap().with_labels(&y);
        let parameters = TrainingParams::builder()
            .objective(Objective::BinaryLogistic(RegLoss::default()))
            .build()
            .unwrap();
        train(&parameters, &data.unwrap(), 3).unwrap()
    }

    #[test]
    fn the_base_score_is_written_plain_and_read_back() {
        let booster = booster();
        let bytes = encode(&booster).unwrap();
        let (_, score) = ubjson_base_score(&bytes).unwrap();
        assert!(score.parse::<f32>().is_ok(), "{score}");
        let back = decode(&bytes).unwrap();
        for x in [0.0, 3.0, 4.0, f32::NAN] {
            let row = [x];
            assert_eq!(
                booster.predict_row(&row, Iterations::Best).unwrap(),
                back.predict_row(&row, Iterations::Best).unwrap()
            );
        }
        assert_eq!(encode(&back).unwrap(), bytes);
    }

    #[test]
    fn the_json_of_either_version_is_read() {
        let booster = booster();
        let new = String::from_utf8(booster.encode(ModelFormat::XgboostJson).unwrap()).unwrap();
        let mut old: serde_json::Value = serde_json::from_str(&new).unwrap();
        let score = old
            .pointer_mut("/learner/learner_model_param/base_score")
            .unwrap();
        *score = plain(score.as_str().unwrap()).unwrap().into();
        for text in [new, old.to_string()] {
            let back = decode(text.as_bytes()).unwrap();
            assert_eq!(back.base_score(), booster.base_score());
        }
    }

    #[test]
    fn only_equal_numbers_have_a_plain_form() {
        assert_eq!(plain("[0.5,0.5]").as_deref(), Some("0.5"));
        assert_eq!(plain("[0.5,0.4]"), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(at in 0usize..4000, byte: u8, cut in 0usize..8000) {
            let mut bytes = encode(&booster()).unwrap();
            let at = at % bytes.len();
            bytes[at] = byte;
            bytes.truncate(cut.max(1));
            let _ = decode(&bytes);
            let _ = decode(&bytes[at.min(bytes.len())..]);
        }
    }
}
