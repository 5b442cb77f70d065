//! Bodies of requests, by the contract.

use std::sync::LazyLock;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::model::testing::{self, Made};

static BINARY: LazyLock<Scorer> = LazyLock::new(|| {
    let folder = fitted(&testing::binary(200));
    Scorer::load(folder.path()).unwrap()
});

fn fitted(made: &Made) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    made.fit(1, folder.path()).unwrap();
    folder
}

fn predict(body: &Value) -> Result<Value, String> {
    let answer = BINARY.predict(body.to_string().as_bytes())?;
    Ok(serde_json::from_slice(&answer).unwrap())
}

fn refused(instance: Value) -> String {
    let good = json!({"minutes": 1.0});
    predict(&json!({"instances": [good, instance]})).unwrap_err()
}

/// The refusal of an instance as it stands in the body.
fn refused_text(instance: &str) -> String {
    let body = format!(r#"{{"instances": [{{}}, {instance}]}}"#);
    BINARY.predict(body.as_bytes()).unwrap_err()
}

#[test]
fn objects_and_arrays_of_the_same_values_have_the_same_prediction() {
    let answer = predict(&json!({"instances": [
        {"minutes": 3.25, "area": "415", "plan": false, "noise": 0.5},
        [3.25, 415, 0, 0.5],
        {"noise": 0.5, "plan": false, "area": "415", "minutes": 3.25, "id": "K1", "label": "no"},
        {"minutes": null, "area": "unheard of", "noise": "NaN"},
        [null, null, "NaN", null],
        {}
    ]}));
    let answer = answer.unwrap();
    let predictions = answer["predictions"].as_array().unwrap();
    assert_eq!(predictions[0], predictions[1]);
    assert_eq!(predictions[0], predictions[2]);
    assert_eq!(predictions[3], predictions[4]);
    assert_eq!(predictions[3], predictions[5]);
    assert_ne!(predictions[0], predictions[3]);
}

#[test]
fn each_task_has_its_prediction() {
    let answer = |made: &Made| {
        let folder = fitted(made);
        let scorer = Scorer::load(folder.path()).unwrap();
        let answer = scorer.predict(br#"{"instances": [{"minutes": 9}]}"#);
        String::from_utf8(answer.unwrap()).unwrap()
    };
    let classes = answer(&testing::multiclass(100));
    assert!(
        classes.starts_with(r#"{"predictions":[{"label":"mid","scores":{"high":0."#),
        "{classes}"
    );
    let number: Value = serde_json::from_str(&answer(&testing::regression(100))).unwrap();
    assert!(number["predictions"][0].as_f64().unwrap() > 2.0);
}

#[test]
fn a_bad_instance_is_told_what_is_wrong_with_it() {
    assert_eq!(
        refused(json!({"minuts": 1})),
        "instance 1: the model has no feature `minuts`; did you mean `minutes`?"
    );
    assert_eq!(
        refused(json!({"qqq": 1})),
        "instance 1: the model has no feature `qqq`"
    );
    assert_eq!(
        refused(json!({"minutes": "1.5"})),
        "instance 1, feature `minutes`: \"1.5\" is not a number or null"
    );
    assert_eq!(
        refused(json!([1, 2])),
        "instance 1: it has 2 values, and the model has 4 features"
    );
    assert_eq!(
        refused(json!(7)),
        "instance 1: 7 is neither an object of features nor an array of them"
    );
    assert_eq!(
        refused(json!({"minutes": [{"a": 1}]})),
        "instance 1, feature `minutes`: an array is not a number or null"
    );
    let long = refused(json!({"plan": "x".repeat(500)}));
    assert!(long.len() < 120, "{long}");
}

#[test]
fn a_bad_body_is_told_what_is_wrong_with_it() {
    let refused = |body: &str| BINARY.predict(body.as_bytes()).unwrap_err();
    let broken = refused("{\"instances\":\n [1,]}");
    assert_eq!(
        broken,
        "the body is no JSON: trailing comma at line 2 column 5"
    );
    assert!(refused("{\"instance\": []}").starts_with("the body has no `instances`"));
    assert_eq!(refused("{\"instances\": {}}"), "`instances` is no array");
    assert!(refused("[]").starts_with("the body has no `instances`"));
    assert_eq!(
        refused("{\"instances\": []} {}"),
        "the body is no JSON: trailing characters at line 1 column 19"
    );
    let none = BINARY.predict(b"{\"parameters\": {\"a\": 1, \"a\": 2}, \"instances\": []}");
    assert_eq!(none.unwrap(), br#"{"predictions":[]}"#);
}

#[test]
fn a_field_that_is_there_twice_is_refused() {
    assert_eq!(
        refused_text(r#"{"minutes": 1, "plan": true, "minutes": 2}"#),
        "instance 1: `minutes` is there twice"
    );
    assert_eq!(
        refused_text(r#"{"label": "no", "label": "yes"}"#),
        "instance 1: `label` is there twice"
    );
    assert_eq!(
        refused_text(r#"{"id": [{"a": {"b": 1, "b": 2}}]}"#),
        "instance 1: `b` is there twice"
    );
    assert_eq!(
        BINARY.predict(br#"{"instances": [], "instances": []}"#),
        Err("the body has `instances` twice".to_owned())
    );
    // The same field of two instances is not twice the same.
    let body = json!({"instances": [{"minutes": 1}, {"minutes": 1}]});
    assert!(predict(&body).is_ok());
}

#[test]
fn a_number_that_a_float_cannot_hold_is_refused() {
    for (instance, shown) in [
        (r#"{"minutes": 1e39}"#, "1e+39 is"),
        (r#"[-4e38, null, null, null]"#, "-4e+38 is"),
        (r#"{"plan": true, "minutes": 1e400}"#, "the number is"),
    ] {
        assert_eq!(
            refused_text(instance),
            format!(
                "instance 1, feature `minutes`: {shown} not within the range of a 32-bit float, ±3.4e38"
            )
        );
    }
    let body =
        json!({"instances": [{"minutes": 3.4e38}, {"minutes": -3.4e38}, {"minutes": 1e-60}]});
    assert!(predict(&body).is_ok());
}

#[test]
fn names_are_repeated_cut_and_without_what_controls_a_terminal() {
    let long = refused(json!({"x".repeat(1_000_000): 1}));
    assert_eq!(
        long,
        format!("instance 1: the model has no feature `{}…`", "x".repeat(40))
    );
    assert_eq!(
        refused(json!({"\u{1b}[31m\u{9b}\n": 1})),
        r"instance 1: the model has no feature `\u{1b}[31m\u{9b}\n`"
    );
    let value = refused(json!({"plan": "\u{9b}31m"}));
    assert!(value.contains(r#"`plan`: "\u{9b}31m" is not"#), "{value}");
}

#[test]
fn the_instances_of_a_request_are_bounded() {
    let body = |count: usize| format!(r#"{{"instances":[{}]}}"#, vec!["{}"; count].join(","));
    assert_eq!(
        BINARY.predict(body(400_000).as_bytes()).unwrap_err(),
        "the request has more than 10000 instances; send fewer at once"
    );
    let answer = BINARY.predict(body(MOST_INSTANCES).as_bytes()).unwrap();
    assert!(answer.len() < 1_000_000, "{}", answer.len());
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    assert_eq!(
        answer["predictions"].as_array().unwrap().len(),
        MOST_INSTANCES
    );
}

#[test]
fn a_block_of_instances_has_the_predictions_that_they_have_alone() {
    let instance = |i: usize| json!({"minutes": i as f64 / 50.0, "noise": 0.5});
    let all: Vec<Value> = (0..2 * BLOCK + 1).map(instance).collect();
    let together = predict(&json!({"instances": all})).unwrap();
    assert_eq!(together["predictions"].as_array().unwrap().len(), all.len());
    for i in [0, BLOCK - 1, BLOCK, 2 * BLOCK] {
        let alone = predict(&json!({"instances": [instance(i)]})).unwrap();
        assert_eq!(alone["predictions"][0], together["predictions"][i]);
    }
}

proptest! {
    #[test]
    fn no_body_makes_it_panic(text in r#"[\[\]{}",:0-9a-z. ]{0,80}"#, value in any::<f64>()) {
        let _ = BINARY.predict(text.as_bytes());
        let instances = format!(r#"{{"instances": [{text}, {{"minutes": {value}}}]}}"#);
        let _ = BINARY.predict(instances.as_bytes());
    }
}
