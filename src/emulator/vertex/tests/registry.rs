//! The model registry.

use serde_json::{Value, json};

use super::{Cloud, next_version, upload};

#[tokio::test]
async fn aliases_and_versions_follow_the_registry_s_rules() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = Cloud::start(&folder, &[]).await;
    cloud.with_model().await;
    cloud
        .refused(
            "POST",
            "./models:upload",
            upload("churn"),
            409,
            "ALREADY_EXISTS",
        )
        .await;
    cloud
        .refused(
            "DELETE",
            "./models/churn@1:deleteVersion",
            Value::Null,
            400,
            "FAILED_PRECONDITION",
        )
        .await;
    cloud
        .operate("POST", "./models:upload", next_version(&["champion"]))
        .await;
    assert_eq!(cloud.get("./models/churn").await["versionId"], "1");
    assert_eq!(cloud.get("./models/churn@champion").await["versionId"], "2");
    assert_eq!(
        cloud.get("./models/churn%40default").await["versionAliases"],
        json!(["default"])
    );

    let merge = |aliases: Value| json!({ "versionAliases": aliases });
    let (code, merged) = cloud
        .call(
            "POST",
            "./models/churn@1:mergeVersionAliases",
            merge(json!(["champion", "old"])),
        )
        .await;
    assert_eq!(
        (code, &merged["versionAliases"]),
        (200, &json!(["champion", "default", "old"]))
    );
    assert!(
        cloud
            .get("./models/churn@2")
            .await
            .get("versionAliases")
            .is_none()
    );
    cloud
        .call(
            "POST",
            "./models/churn@1:mergeVersionAliases",
            merge(json!(["-old"])),
        )
        .await;
    for wrong in [
        json!(["1"]),
        json!(["A1"]),
        json!(["x"]),
        json!(["-default"]),
        json!(["-nobody"]),
        json!([]),
    ] {
        cloud
            .refused(
                "POST",
                "./models/churn@1:mergeVersionAliases",
                merge(wrong),
                400,
                "INVALID_ARGUMENT",
            )
            .await;
    }
    cloud
        .refused("GET", "./models/churn@3", Value::Null, 404, "NOT_FOUND")
        .await;
    cloud
        .refused(
            "GET",
            "/v1/projects/p/locations/europe-west1/models/churn",
            Value::Null,
            404,
            "NOT_FOUND",
        )
        .await;

    let list = cloud
        .get("./models/churn:listVersions?filter=labels.serin_digest%3Dabc&pageSize=1")
        .await;
    assert_eq!(list["models"][0]["versionId"], "2");
    let token = list["nextPageToken"].as_str().unwrap();
    let list = cloud
        .get(&format!(
            "./models/churn:listVersions?pageSize=1&pageToken={token}"
        ))
        .await;
    assert_eq!(
        (&list["models"][0]["versionId"], list.get("nextPageToken")),
        (&json!("1"), None)
    );
    let found = cloud
        .get("./models?filter=display_name%3D%22churn%22%20AND%20model%3Dchurn")
        .await;
    assert_eq!(found["models"].as_array().unwrap().len(), 1);
    assert_eq!(
        cloud.get("./models?filter=labels.serin_digest%3Dxyz").await,
        json!({})
    );

    // The model has its fields, a version has its own, and labels are merged.
    let path = "./models/churn@2?updateMask=labels,version_description";
    let body = json!({"labels": {"a": "b"}, "versionDescription": "why", "displayName": "left"});
    let (_, patched) = cloud.call("PATCH", path, body.clone()).await;
    assert_eq!(
        (&patched["labels"], &patched["displayName"]),
        (&json!({"a": "b", "serin_digest": "abc"}), &json!("churn"))
    );
    let (_, patched) = cloud
        .call(
            "PATCH",
            "./models/churn?updateMask=labels,display_name",
            json!({"labels": {"c": "d"}, "displayName": "x"}),
        )
        .await;
    assert_eq!(
        (&patched["labels"], &patched["displayName"]),
        (&json!({"c": "d", "serin_digest": "abc"}), &json!("x"))
    );
    assert_eq!(
        cloud.get("./models/churn@2").await["labels"],
        json!({"a": "b", "c": "d"})
    );
    cloud
        .refused(
            "PATCH",
            "./models/churn@2?updateMask=displayName",
            body.clone(),
            400,
            "FAILED_PRECONDITION",
        )
        .await;
    cloud
        .refused(
            "PATCH",
            "./models/churn?updateMask=versionDescription",
            body,
            400,
            "FAILED_PRECONDITION",
        )
        .await;
    cloud
        .refused(
            "PATCH",
            "./models/churn?updateMask=labels",
            json!({"etag": "old"}),
            400,
            "FAILED_PRECONDITION",
        )
        .await;

    // The default version's deletion hands the alias on; numbers are not used again.
    cloud.delete("./models/churn@1:deleteVersion").await;
    assert_eq!(cloud.get("./models/churn").await["versionId"], "2");
    let done = cloud
        .operate("POST", "./models:upload", next_version(&["default"]))
        .await;
    assert_eq!(done["response"]["modelVersionId"], "3");
    assert_eq!(cloud.get("./models/churn").await["versionId"], "3");
    cloud.delete("./models/churn").await;
    cloud.running.stop().await;
}

#[tokio::test]
async fn a_wrong_upload_is_refused_or_fails() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = Cloud::start(&folder, &[]).await;
    let long = "a".repeat(64);
    for (at, wrong) in [
        ("/model/labels/serin_digest", json!(long)),
        ("/model/labels", json!({ long: "a" })),
        ("/modelId", json!("Churn")),
        ("/model/displayName", json!("")),
        ("/model/labels/serin_digest", json!("A B")),
        ("/model/artifactUri", json!("/tmp/m")),
        (
            "/model/containerSpec/imageUri",
            json!("us-docker.pkg.dev/p/serin/serin:v1"),
        ),
        ("/model/containerSpec/args", json!("serve")),
    ] {
        let mut body = upload("churn");
        *body.pointer_mut(at).unwrap() = wrong;
        cloud
            .refused("POST", "./models:upload", body, 400, "INVALID_ARGUMENT")
            .await;
    }
    let mut elsewhere = upload("churn");
    elsewhere["model"]["encryptionSpec"] =
        json!({"kmsKeyName": "projects/p/locations/us/keyRings/r/cryptoKeys/k"});
    cloud
        .refused(
            "POST",
            "./models:upload",
            elsewhere,
            400,
            "INVALID_ARGUMENT",
        )
        .await;
    let mut reserved = upload("churn");
    reserved["model"]["containerSpec"]["env"] = json!([{"name": "AIP_X", "value": ""}]);
    cloud
        .refused("POST", "./models:upload", reserved, 400, "INVALID_ARGUMENT")
        .await;
    let done = cloud
        .operate("POST", "./models:upload", upload("churn"))
        .await;
    assert_eq!(done["error"]["code"], 9, "{done}");
    cloud
        .refused("GET", "./models/churn", Value::Null, 404, "NOT_FOUND")
        .await;
    cloud.running.stop().await;
}

#[tokio::test]
async fn a_model_under_way_is_taken_and_its_labels_are_of_all_versions() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = Cloud::start(&folder, &["upload:answer-lost"]).await;
    cloud.with_artifacts().await;
    let first = ("POST", "./models:upload", upload("churn"));
    cloud
        .refused(first.0, first.1, first.2.clone(), 503, "UNAVAILABLE")
        .await;
    cloud
        .refused(first.0, first.1, first.2, 409, "ALREADY_EXISTS")
        .await;
    let path = format!("{}/models", super::HERE);
    let listed = cloud
        .until(&path, |list| list.get("models").is_some())
        .await;
    assert_eq!(listed["models"].as_array().unwrap().len(), 1, "{listed}");
    // A version that was registered without labels seems to have those of the first upload.
    let mut second = next_version(&[]);
    second["model"].as_object_mut().unwrap().remove("labels");
    cloud.operate("POST", "./models:upload", second).await;
    let second = cloud.get("./models/churn@2").await;
    assert_eq!(second["labels"], json!({"serin_digest": "abc"}));
    cloud.running.stop().await;
}
