//! Policies, holds and retention, and what is refused rather than ignored.

use serde_json::json;

use super::Gcs;

#[tokio::test]
async fn a_policy_is_kept_under_its_etag() {
    let gcs = Gcs::new().await;
    let path = "/storage/v1/b/bkt/iam";
    let mut policy = gcs.send("GET", path, "").await.json();
    assert_eq!(policy["bindings"].as_array().unwrap().len(), 2);
    let binding = json!({"role": "roles/storage.objectViewer", "members": ["allUsers"]});
    policy["bindings"].as_array_mut().unwrap().push(binding);
    let set = gcs.send("PUT", path, policy.to_string()).await;
    assert_eq!(set.code, 200);
    assert_eq!(gcs.send("PUT", path, policy.to_string()).await.code, 412);
    let told = gcs.send("GET", path, "").await.json();
    assert_eq!(told["bindings"], policy["bindings"]);
    for bindings in [
        json!([{"role": "viewer"}]),
        json!([{"role": "roles/x", "members": ["me"]}]),
        json!("x"),
    ] {
        let body = json!({"bindings": bindings}).to_string();
        assert_eq!(gcs.send("PUT", path, body).await.code, 400);
    }
    // Conditions want uniform access, and a policy of version 3.
    let condition = json!({"bindings": [{
        "role": "roles/storage.objectViewer",
        "members": ["user:a@b.c"],
        "condition": {"title": "t", "expression": "true"},
    }]});
    let mut versioned = condition.clone();
    versioned["version"] = 3.into();
    assert_eq!(gcs.send("PUT", path, versioned.to_string()).await.code, 412);
    let uniform = r#"{"iamConfiguration": {"uniformBucketLevelAccess": {"enabled": true}}}"#;
    gcs.send("PATCH", "/storage/v1/b/bkt", uniform).await;
    assert_eq!(gcs.send("PUT", path, condition.to_string()).await.code, 400);
    assert_eq!(gcs.send("PUT", path, versioned.to_string()).await.code, 200);
    let test = format!("{path}/testPermissions?permissions=storage.objects.get");
    let told = gcs.send("GET", &test, "").await.json();
    assert_eq!(told["permissions"], json!(["storage.objects.get"]));
    let test = format!("{path}/testPermissions?permissions=compute.x");
    assert_eq!(gcs.send("GET", &test, "").await.code, 400);
    gcs.running.stop().await;
}

#[tokio::test]
async fn what_is_held_or_retained_does_not_go() {
    let gcs = Gcs::new().await;
    gcs.upload("a", b"1").await;
    let object = "/storage/v1/b/bkt/o/a";
    gcs.send("PATCH", object, r#"{"temporaryHold": true}"#)
        .await;
    let held = gcs.send("DELETE", object, "").await;
    assert_eq!(
        (held.code, held.reason().as_str()),
        (403, "objectUnderActiveHold")
    );
    let over = "/upload/storage/v1/b/bkt/o?uploadType=media&name=a";
    assert_eq!(gcs.send("POST", over, "2").await.code, 403);
    gcs.send("PATCH", object, r#"{"temporaryHold": false}"#)
        .await;
    assert_eq!(gcs.send("POST", over, "2").await.code, 200);

    let policy = r#"{"retentionPolicy": {"retentionPeriod": "1000000"}}"#;
    gcs.send("PATCH", "/storage/v1/b/bkt", policy).await;
    let told = gcs.send("GET", object, "").await.json();
    assert!(told["retentionExpirationTime"].is_string(), "{told}");
    let kept = gcs.send("DELETE", object, "").await;
    assert_eq!(
        (kept.code, kept.reason().as_str()),
        (403, "retentionPolicyNotMet")
    );
    gcs.send("PATCH", "/storage/v1/b/bkt", r#"{"retentionPolicy": null}"#)
        .await;
    assert_eq!(gcs.send("DELETE", object, "").await.code, 204);
    gcs.running.stop().await;
}

#[tokio::test]
async fn what_is_not_kept_is_refused() {
    let gcs = Gcs::new().await;
    gcs.upload("a", b"1").await;
    let acl = r#"{"acl": [{"entity": "allUsers", "role": "READER"}]}"#;
    let object = "/storage/v1/b/bkt/o/a";
    let uniform = r#"{"iamConfiguration": {"uniformBucketLevelAccess": {"enabled": true}}}"#;
    gcs.send("PATCH", "/storage/v1/b/bkt", uniform).await;
    assert_eq!(gcs.send("PATCH", object, acl).await.code, 400);
    assert_eq!(
        gcs.send("GET", &format!("{object}/acl"), "").await.code,
        400
    );
    let key = [("x-goog-encryption-algorithm", "AES256")];
    assert_eq!(gcs.with("GET", object, &key, "").await.code, 400);
    let deleted = "/storage/v1/b/bkt/o?softDeleted=True";
    assert_eq!(gcs.send("GET", deleted, "").await.code, 400);
    for path in [
        "/storage/v1/b/bkt?softDeleted=true",
        "/storage/v1/b/bkt/o/a?softDeleted=true",
    ] {
        assert_eq!(gcs.send("GET", path, "").await.code, 400, "{path}");
    }
    let restore = gcs
        .send("POST", &format!("{object}/restore?generation=1"), "")
        .await;
    assert_eq!(
        (restore.code, restore.reason().as_str()),
        (400, "notImplemented")
    );
    for labels in [
        r#"{"A": "x"}"#,
        r#"{"a": "x y"}"#,
        r#"{"1": "x"}"#,
        r#"{"a": 1}"#,
        &format!(r#"{{"a": "{}"}}"#, "b".repeat(64)),
        &format!(r#"{{"{}": "b"}}"#, "a".repeat(64)),
    ] {
        let body = format!("{{\"labels\": {labels}}}");
        assert_eq!(gcs.send("PATCH", "/storage/v1/b/bkt", body).await.code, 400);
    }
    let head = gcs.send("HEAD", object, "").await;
    assert_eq!((head.code, head.bytes.len()), (200, 0));
    gcs.running.stop().await;
}

#[tokio::test]
async fn keys_of_cloud_kms_are_kept_and_told() {
    let gcs = Gcs::new().await;
    let key = |name: &str| format!("projects/p/locations/us/keyRings/r/cryptoKeys/{name}");
    let told = |name: &str| json!(format!("{}/cryptoKeyVersions/1", key(name)));
    let upload = "/upload/storage/v1/b/bkt/o?uploadType=media&name";
    let made = gcs.send("POST", &format!("{upload}=plain"), "x").await;
    assert!(made.json().get("kmsKeyName").is_none());
    let named = format!("{upload}=named&kmsKeyName={}", key("a"));
    assert_eq!(
        gcs.send("POST", &named, "x").await.json()["kmsKeyName"],
        told("a")
    );
    for wrong in ["a", "projects/p/locations/europe/keyRings/r/cryptoKeys/a"] {
        let path = format!("{upload}=wrong&kmsKeyName={wrong}");
        assert_eq!(gcs.send("POST", &path, "x").await.code, 400, "{wrong}");
        let body = format!(r#"{{"encryption": {{"defaultKmsKeyName": "{wrong}"}}}}"#);
        assert_eq!(gcs.send("PATCH", "/storage/v1/b/bkt", body).await.code, 400);
    }
    // The bucket's own key is for what names none; a change of attributes changes no key.
    let body = format!(
        r#"{{"encryption": {{"defaultKmsKeyName": "{}"}}}}"#,
        key("b")
    );
    assert_eq!(gcs.send("PATCH", "/storage/v1/b/bkt", body).await.code, 200);
    let made = gcs.send("POST", &format!("{upload}=default"), "x").await;
    assert_eq!(made.json()["kmsKeyName"], told("b"));
    let object = "/storage/v1/b/bkt/o/named";
    let patched = gcs
        .send(
            "PATCH",
            object,
            r#"{"kmsKeyName": null, "cacheControl": "no-store"}"#,
        )
        .await;
    assert_eq!(patched.json()["kmsKeyName"], told("a"));
    let rewrite = format!("{object}/rewriteTo/b/bkt/o/copy");
    let copied = gcs.send("POST", &rewrite, "").await.json();
    assert_eq!(copied["resource"]["kmsKeyName"], told("b"));
    let rewrite = format!("{rewrite}?destinationKmsKeyName={}", key("c"));
    let copied = gcs.send("POST", &rewrite, "").await.json();
    assert_eq!(copied["resource"]["kmsKeyName"], told("c"));
    let compose = format!("/storage/v1/b/bkt/o/whole/compose?kmsKeyName={}", key("d"));
    let body = r#"{"sourceObjects": [{"name": "plain"}]}"#;
    let composed = gcs.send("POST", &compose, body).await.json();
    assert_eq!(composed["kmsKeyName"], told("d"));
    gcs.running.stop().await;
}

#[tokio::test]
async fn access_control_lists_are_kept_and_told() {
    let gcs = Gcs::new().await;
    gcs.upload("a", b"1").await;
    let object = "/storage/v1/b/bkt/o/a";
    let list = gcs.send("GET", &format!("{object}/acl"), "").await.json();
    assert_eq!(list["kind"], "storage#objectAccessControls");
    assert_eq!(list["items"].as_array().unwrap().len(), 3);
    for (path, role) in [
        ("/storage/v1/b/bkt/acl", "WRITER"),
        ("/storage/v1/b/bkt/defaultObjectAcl", "READER"),
        ("/storage/v1/b/bkt/o/a/acl", "READER"),
    ] {
        let sent = json!({"entity": "user-a@example.com", "role": role}).to_string();
        let made = gcs.send("POST", path, sent).await;
        assert_eq!(
            (made.code, &made.json()["email"]),
            (200, &json!("a@example.com"))
        );
        let one = format!("{path}/user-a@example.com");
        assert_eq!(gcs.send("GET", &one, "").await.json()["role"], role);
        let patched = gcs.send("PATCH", &one, r#"{"role": "OWNER"}"#).await;
        assert_eq!(patched.json()["role"], "OWNER");
        let refused = json!({"entity": "nobody", "role": "READER"}).to_string();
        assert_eq!(gcs.send("POST", path, refused).await.code, 400);
        assert_eq!(
            gcs.send("DELETE", &format!("{path}/user-b"), "").await.code,
            404
        );
    }
    gcs.upload("b", b"1").await;
    let full = gcs
        .send("GET", "/storage/v1/b/bkt/o/b?projection=full", "")
        .await
        .json();
    assert!(
        full["acl"].to_string().contains("a@example.com"),
        "the bucket's default"
    );
    let public = format!("{object}?predefinedAcl=publicRead&projection=full");
    let told = gcs.send("PATCH", &public, "{}").await.json();
    assert_eq!(told["acl"][1]["entity"], "allUsers");
    assert_eq!(gcs.send("GET", object, "").await.json().get("acl"), None);

    let kept_out = r#"{"iamConfiguration": {"publicAccessPrevention": "enforced"}}"#;
    assert_eq!(
        gcs.send("PATCH", "/storage/v1/b/bkt", kept_out).await.code,
        200
    );
    assert_eq!(gcs.send("PATCH", &public, "{}").await.code, 412);
    let policy =
        json!({"bindings": [{"role": "roles/storage.objectViewer", "members": ["allUsers"]}]});
    let set = gcs
        .send("PUT", "/storage/v1/b/bkt/iam", policy.to_string())
        .await;
    assert_eq!(set.code, 412);

    // Under uniform access the lists rest.
    for (enabled, code) in [(true, 400), (false, 200)] {
        let body = json!({"iamConfiguration": {"uniformBucketLevelAccess": {"enabled": enabled}}});
        gcs.send("PATCH", "/storage/v1/b/bkt", body.to_string())
            .await;
        for path in ["/storage/v1/b/bkt/acl", "/storage/v1/b/bkt/o/b/acl"] {
            assert_eq!(gcs.send("GET", path, "").await.code, code, "{path}");
        }
    }
    gcs.running.stop().await;
}
