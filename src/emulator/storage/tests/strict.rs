//! As strict as Google: what is refused, what is filled in, and what its clients find beside objects.

use std::io::Write;
use std::time::Duration;

use serde_json::json;

use super::{Gcs, Value};

const OBJECTS: &str = "/storage/v1/b/bkt/o";

#[tokio::test]
async fn names_metadata_fields_and_globs_are_googles() {
    let gcs = Gcs::new().await;
    gcs.upload("a", b"1").await;
    let upload = "/upload/storage/v1/b/bkt/o?uploadType=media&name=";
    for name in [".well-known/acme-challenge/x", "%FF%FE", "a%0Ab"] {
        let refused = gcs.send("POST", &format!("{upload}{name}"), "x").await;
        assert_eq!(refused.code, 400, "{name}");
    }
    let long = json!({"metadata": {"k": "x".repeat(9000)}}).to_string();
    assert_eq!(
        gcs.send("PATCH", &format!("{OBJECTS}/a"), long).await.code,
        400
    );
    let missing = json!({"metadata": {"k": "x".repeat(9000)}}).to_string();
    assert_eq!(
        gcs.send("PATCH", &format!("{OBJECTS}/none"), missing)
            .await
            .code,
        400
    );
    let fits = json!({"metadata": {"k": "x".repeat(8000)}}).to_string();
    assert_eq!(
        gcs.send("PATCH", &format!("{OBJECTS}/a"), fits).await.code,
        200
    );
    for (fields, code) in [
        ("nosuch", 400),
        ("items(nosuch)", 400),
        ("items(name,metadata/anything),nextPageToken", 200),
        ("kind,items/acl/entity", 200),
    ] {
        let list = gcs
            .send("GET", &format!("{OBJECTS}?fields={fields}"), "")
            .await;
        assert_eq!(list.code, code, "{fields}");
    }
    for (glob, code) in [
        ("%5Ba", 400),
        ("%7Ba,b", 400),
        ("%7Ba,%7Bb,c%7D%7D/**", 400),
        ("%5B!%5D", 400),
        ("**&delimiter=.", 400),
        ("**&delimiter=/", 200),
        ("%7Ba,b%7D%5B!c%5D", 200),
    ] {
        let list = gcs
            .send("GET", &format!("{OBJECTS}?matchGlob={glob}"), "")
            .await;
        assert_eq!(list.code, code, "{glob}");
    }
    let make = async |body: Value| {
        let made = gcs
            .send("POST", "/storage/v1/b?project=p", body.to_string())
            .await;
        made.code
    };
    for body in [
        json!({"name": "192.168.5.4"}),
        json!({"name": "a..b"}),
        json!({"name": "my-google-bkt"}),
        json!({"name": "one-bkt", "location": "atlantis"}),
        json!({"name": "one-bkt", "storageClass": "WARM"}),
        json!({"name": "one-bkt", "rpo": "NEVER"}),
        json!({"name": "one-bkt", "iamConfiguration": {"publicAccessPrevention": "perhaps"}}),
        json!({"name": "one-bkt", "softDeletePolicy": {"retentionDurationSeconds": "5"}}),
        json!({"name": "one-bkt", "location": "US", "customPlacementConfig": {"dataLocations": ["US-EAST1"]}}),
    ] {
        assert_eq!(make(body.clone()).await, 400, "{body}");
    }
    let class = format!("{OBJECTS}/a");
    let refused = gcs
        .send("PATCH", &class, r#"{"storageClass": "WARM"}"#)
        .await;
    assert_eq!(refused.code, 400);
    gcs.running.stop().await;
}

#[tokio::test]
async fn settings_get_googles_defaults() {
    let gcs = Gcs::new().await;
    let body = json!({
        "name": "two-bkt", "location": "us",
        "customPlacementConfig": {"dataLocations": ["US-EAST1", "us-west1"]},
        "retentionPolicy": {"retentionPeriod": 100},
        "autoclass": {"enabled": true},
        "encryption": {"googleManagedEncryptionEnforcementConfig": {"restrictionMode": "FullyRestricted"}},
        "iamConfiguration": {"uniformBucketLevelAccess": {"enabled": true}},
        "ipFilter": {"mode": "Disabled"},
    });
    let path = "/storage/v1/b?project=p&enableObjectRetention=true";
    let made = gcs.send("POST", path, body.to_string()).await.json();
    assert_eq!(made["locationType"], "dual-region", "{made}");
    assert_eq!(made["rpo"], "DEFAULT");
    assert_eq!(made["objectRetention"], json!({"mode": "Enabled"}));
    assert_eq!(
        made["softDeletePolicy"]["retentionDurationSeconds"],
        "604800"
    );
    assert_eq!(made["retentionPolicy"]["retentionPeriod"], "100");
    assert_eq!(made["autoclass"]["terminalStorageClass"], "NEARLINE");
    assert_eq!(made["ipFilter"]["mode"], "Disabled");
    for time in [
        &made["softDeletePolicy"]["effectiveTime"],
        &made["retentionPolicy"]["effectiveTime"],
        &made["autoclass"]["toggleTime"],
        &made["encryption"]["googleManagedEncryptionEnforcementConfig"]["effectiveTime"],
        &made["iamConfiguration"]["uniformBucketLevelAccess"]["lockedTime"],
    ] {
        assert!(time.is_string(), "{made}");
    }
    let bucket = "/storage/v1/b/two-bkt";
    let patched = gcs
        .send("PATCH", bucket, r#"{"labels": {"a": "b"}}"#)
        .await
        .json();
    assert_eq!(
        patched["retentionPolicy"], made["retentionPolicy"],
        "unchanged"
    );
    assert_eq!(
        gcs.send("POST", &format!("{bucket}/lockRetentionPolicy"), "")
            .await
            .code,
        400
    );
    let lock = format!("{bucket}/lockRetentionPolicy?ifMetagenerationMatch=2");
    let locked = gcs.send("POST", &lock, "").await.json();
    assert_eq!(locked["retentionPolicy"]["isLocked"], true);
    for policy in [json!(null), json!({"retentionPeriod": "50"})] {
        let body = json!({ "retentionPolicy": policy }).to_string();
        assert_eq!(gcs.send("PATCH", bucket, body).await.code, 403, "{policy}");
    }

    let until = |seconds: u64| gcs.running.clock().now() + Duration::from_secs(seconds);
    let retained = json!({"retention": {"mode": "Unlocked", "retainUntilTime": until(100_000)}});
    gcs.upload("a", b"1").await;
    let refused = gcs
        .send("PATCH", &format!("{OBJECTS}/a"), retained.to_string())
        .await;
    assert_eq!(refused.code, 400, "its bucket has no object retention");
    let path = "/storage/v1/b?project=p&enableObjectRetention=true";
    gcs.send("POST", path, r#"{"name": "three-bkt"}"#).await;
    let upload = "/upload/storage/v1/b/three-bkt/o?uploadType=media&name=a";
    gcs.send("POST", upload, "1").await;
    let object = "/storage/v1/b/three-bkt/o/a";
    assert_eq!(
        gcs.send("PATCH", object, retained.to_string()).await.code,
        200
    );
    assert_eq!(gcs.send("DELETE", object, "").await.code, 403);
    let freed = r#"{"retention": {"mode": null, "retainUntilTime": null}}"#;
    assert_eq!(gcs.send("PATCH", object, freed).await.code, 403);
    let forced = format!("{object}?overrideUnlockedRetention=true");
    assert_eq!(gcs.send("PATCH", &forced, freed).await.code, 200);
    assert_eq!(gcs.send("DELETE", object, "").await.code, 204);
    gcs.running.stop().await;
}

#[tokio::test]
async fn an_object_is_not_written_again_and_again_at_once() {
    let gcs = Gcs::new().await;
    // Of a time to come, so that the clock cannot pass it.
    let later = gcs.running.clock().now() + Duration::from_secs(100_000);
    let storage = &gcs.running.emulator.storage;
    for _ in 0..8 {
        storage.pace("objects/bkt/hot", later).unwrap();
    }
    let refused = storage.pace("objects/bkt/hot", later).unwrap_err();
    assert!(refused.message.contains("bkt/hot exceeded the rate limit"));
    let second = later + Duration::from_secs(1);
    assert!(storage.pace("objects/bkt/hot", second).is_ok());
    assert!(storage.pace("objects/bkt/hot", second).is_err());

    let upload = "/upload/storage/v1/b/bkt/o?uploadType=media&name=";
    let refused = gcs.send("POST", &format!("{upload}hot"), "x").await;
    assert_eq!(
        (refused.code, refused.reason()),
        (429, "rateLimitExceeded".into())
    );
    gcs.upload("cold", b"x").await;
    for _ in 0..8 {
        storage.pace("metadata/bkt/cold", later).unwrap();
    }
    let refused = gcs.send("PATCH", &format!("{OBJECTS}/cold"), "{}").await;
    assert_eq!(refused.code, 429);
    gcs.upload("cold", b"y").await;
    // A session keeps its bytes for the next try.
    let path = "/upload/storage/v1/b/bkt/o?uploadType=resumable&name=hot";
    let begun = gcs.send("POST", path, "").await;
    let session = begun.header("location").unwrap();
    assert_eq!(gcs.send("PUT", session, "abc").await.code, 429);
    let status = gcs
        .with("PUT", session, &[("content-range", "bytes */*")], "")
        .await;
    assert_eq!((status.code, status.header("range")), (308, None));
    gcs.running.stop().await;
}

#[tokio::test]
async fn objects_move_and_have_contexts() {
    let gcs = Gcs::new().await;
    let upload = gcs.upload("a", b"1").await;
    let contexts = r#"{"contexts": {"custom": {"k": {"value": "v"}, "l": {"value": "w"}}}}"#;
    let set = gcs
        .send("PATCH", &format!("{OBJECTS}/a"), contexts)
        .await
        .json();
    let first = set["contexts"]["custom"]["k"].clone();
    assert!(first["createTime"].is_string(), "{set}");
    let less = r#"{"contexts": {"custom": {"l": {"value": null}}}}"#;
    let set = gcs
        .send("PATCH", &format!("{OBJECTS}/a"), less)
        .await
        .json();
    assert_eq!(set["contexts"], json!({"custom": {"k": first}}));
    gcs.upload("b", b"1").await;
    for (filter, names) in [
        ("contexts.%22k%22=%22v%22", "a"),
        ("contexts.%22k%22:*", "a"),
        ("-contexts.%22k%22:*", "b"),
        ("contexts.%22k%22=%22x%22", ""),
    ] {
        let list = gcs
            .send("GET", &format!("{OBJECTS}?filter={filter}"), "")
            .await
            .json();
        let found = list["items"].as_array().into_iter().flatten();
        let found: String = found.map(|item| item["name"].as_str().unwrap()).collect();
        assert_eq!(found, names, "{filter}");
    }
    assert_eq!(
        gcs.send("GET", &format!("{OBJECTS}?filter=x"), "")
            .await
            .code,
        400
    );
    let moved = format!("{OBJECTS}/a/moveTo/o/d%2Fa?ifSourceGenerationMatch=1");
    assert_eq!(gcs.send("POST", &moved, "").await.code, 412);
    let generation = upload["generation"].as_str().unwrap();
    let moved = format!("{OBJECTS}/a/moveTo/o/d%2Fa?ifSourceGenerationMatch={generation}");
    let told = gcs.send("POST", &moved, "").await.json();
    assert_eq!(told["name"], "d/a");
    assert_eq!(told["contexts"]["custom"]["k"]["value"], "v");
    assert_eq!(gcs.send("GET", &format!("{OBJECTS}/a"), "").await.code, 404);
    gcs.running.stop().await;
}

#[tokio::test]
async fn folders_notifications_and_keys_are_resources() {
    let gcs = Gcs::new().await;
    let folders = "/storage/v1/b/bkt/managedFolders";
    let empty = gcs.send("GET", folders, "").await.json();
    assert_eq!(empty, json!({"kind": "storage#managedFolders"}));
    let folder = r#"{"name": "m/"}"#;
    assert_eq!(
        gcs.send("POST", folders, folder).await.code,
        412,
        "not uniform"
    );
    let uniform = r#"{"iamConfiguration": {"uniformBucketLevelAccess": {"enabled": true}}}"#;
    gcs.send("PATCH", "/storage/v1/b/bkt", uniform).await;
    assert_eq!(gcs.send("POST", folders, folder).await.json()["name"], "m/");
    assert_eq!(gcs.send("POST", folders, folder).await.code, 409);
    gcs.upload("a%2Fx", b"1").await;
    gcs.upload("z%2Fx", b"1").await;
    for (size, expected) in [(1000, "a/m/z/"), (1, "a/")] {
        let path = format!("{OBJECTS}?delimiter=/&includeFoldersAsPrefixes=true&maxResults={size}");
        let list = gcs.send("GET", &path, "").await.json();
        let prefixes = list["prefixes"].as_array().unwrap();
        let prefixes: String = prefixes.iter().map(|p| p.as_str().unwrap()).collect();
        assert_eq!(prefixes, expected);
    }
    let one = format!("{folders}/m%2F");
    assert_eq!(gcs.send("GET", &one, "").await.code, 200);
    gcs.upload("m%2Fx", b"1").await;
    assert_eq!(gcs.send("DELETE", &one, "").await.code, 409);
    assert_eq!(
        gcs.send("DELETE", &format!("{one}?allowNonEmpty=true"), "")
            .await
            .code,
        204
    );

    let configs = "/storage/v1/b/bkt/notificationConfigs";
    let config = r#"{"topic": "projects/p/topics/t", "payload_format": "NONE"}"#;
    let made = gcs.send("POST", configs, config).await.json();
    assert_eq!(made["topic"], "//pubsub.googleapis.com/projects/p/topics/t");
    assert_eq!(
        gcs.send("POST", configs, r#"{"topic": "t"}"#).await.code,
        400
    );
    assert_eq!(gcs.send("GET", configs, "").await.json()["items"][0], made);
    let one = format!("{configs}/{}", made["id"].as_str().unwrap());
    assert_eq!(gcs.send("DELETE", &one, "").await.code, 204);
    assert_eq!(gcs.send("GET", &one, "").await.code, 404);

    // As a client asks that takes the emulator's address as its whole base.
    let keys = "/projects/p/hmacKeys";
    let made = gcs
        .send("POST", &format!("{keys}?serviceAccountEmail=a@b.c"), "")
        .await
        .json();
    assert_eq!(made["secret"].as_str().unwrap().len(), 40);
    let one = format!("{keys}/{}", made["metadata"]["accessId"].as_str().unwrap());
    assert_eq!(gcs.send("DELETE", &one, "").await.code, 400, "it is active");
    let json = [("content-type", "application/json")];
    let stale = r#"{"state": "INACTIVE", "etag": "x"}"#;
    assert_eq!(gcs.with("PUT", &one, &json, stale).await.code, 412);
    let off = r#"{"state": "INACTIVE"}"#;
    assert_eq!(
        gcs.with("PUT", &one, &json, off).await.json()["state"],
        "INACTIVE"
    );
    assert_eq!(gcs.send("DELETE", &one, "").await.code, 204);
    assert_eq!(gcs.send("GET", keys, "").await.json().get("items"), None);
    assert_eq!(gcs.send("GET", &one, "").await.json()["state"], "DELETED");
    gcs.running.stop().await;
}

#[tokio::test]
async fn paths_at_the_root_packed_bodies_and_fixed_ones() {
    let gcs = Gcs::new().await;
    gcs.upload("a", b"1").await;
    for path in [
        "/b/bkt/o/a",
        "/b/bkt/o/a?alt=json",
        "//b/bkt/o/a",
        "/storage/v1/b/bkt/o/",
    ] {
        assert_eq!(gcs.send("GET", path, "").await.code, 200, "{path}");
    }
    assert_eq!(
        gcs.send("GET", "/b/?project=p", "").await.json()["items"][0]["name"],
        "bkt"
    );

    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(b"plain text").unwrap();
    let packed = packer.finish().unwrap();
    let upload = "/upload/storage/v1/b/bkt/o?uploadType=media&name=p";
    let coded = [("content-encoding", "gzip")];
    let sent = gcs.with("POST", upload, &coded, packed.clone()).await;
    assert_eq!((sent.code, &sent.json()["size"]), (200, &json!("10")));
    assert_eq!(gcs.with("POST", upload, &coded, "no gzip").await.code, 400);

    let kept = "/upload/storage/v1/b/bkt/o?uploadType=media&name=z&contentEncoding=gzip";
    gcs.send("POST", kept, packed.clone()).await;
    let media = format!("{OBJECTS}/z?alt=media");
    assert_eq!(gcs.send("GET", &media, "").await.bytes, b"plain text");
    let fixed = r#"{"cacheControl": "public, no-transform"}"#;
    gcs.send("PATCH", &format!("{OBJECTS}/z"), fixed).await;
    assert_eq!(gcs.send("GET", &media, "").await.bytes, packed);

    // A client copies what it knows of a source into the destination.
    let compose = json!({
        "sourceObjects": [{"name": "a"}, {"name": "p"}],
        "destination": {"crc32c": "AAAAAA==", "md5Hash": "AAAA"},
        "deleteSourceObjects": true,
    });
    let path = format!("{OBJECTS}/whole/compose");
    let made = gcs.send("POST", &path, compose.to_string()).await;
    assert_eq!(made.json()["size"], "11");
    assert_eq!(gcs.send("GET", &format!("{OBJECTS}/a"), "").await.code, 404);
    gcs.running.stop().await;
}

#[tokio::test]
async fn a_retry_test_orders_faults() {
    let gcs = Gcs::new().await;
    gcs.upload("a", &[7; 300_000]).await;
    let json = [("content-type", "application/json")];
    let create = async |method: &str, instructions: &[&str]| -> String {
        let body = json!({"instructions": {method: instructions}}).to_string();
        let made = gcs.with("POST", "/retry_test", &json, body).await;
        assert_eq!(made.code, 200);
        made.json()["id"].as_str().unwrap().to_owned()
    };
    let media = format!("{OBJECTS}/a?alt=media");
    let id = create("storage.objects.get", &["return-503", "return-408"]).await;
    for code in [503, 408, 200] {
        let completed = gcs
            .send("GET", &format!("/retry_test/{id}"), "")
            .await
            .json();
        assert_eq!(completed["completed"], code == 200);
        let read = gcs
            .with("GET", &media, &[("x-retry-test-id", &id)], "")
            .await;
        assert_eq!(read.code, code);
    }
    assert_eq!(
        gcs.send("DELETE", &format!("/retry_test/{id}"), "")
            .await
            .code,
        200
    );
    assert_eq!(
        gcs.send("GET", &format!("/retry_test/{id}"), "").await.code,
        404
    );

    let instructions = ["return-reset-connection", "return-broken-stream-after-256K"];
    let id = create("storage.objects.get", &instructions).await;
    let url = format!("{}{media}", gcs.running.url());
    let ask = || gcs.client.get(&url).header("x-retry-test-id", &id).send();
    assert!(ask().await.is_err(), "reset");
    let mut broken = ask().await.unwrap();
    let mut length = 0;
    while let Ok(Some(piece)) = broken.chunk().await {
        length += piece.len();
    }
    assert_eq!(length, 262_144);
    assert_eq!(ask().await.unwrap().bytes().await.unwrap().len(), 300_000);

    let id = create("storage.buckets.delete", &["return-reset-connection"]).await;
    let url = format!("{}/storage/v1/b/bkt", gcs.running.url());
    let asked = gcs.client.delete(url).header("x-retry-test-id", &id);
    assert!(asked.send().await.is_err());
    assert_eq!(
        gcs.send("GET", "/storage/v1/b/bkt", "").await.code,
        200,
        "it took no effect"
    );
    let unknown = r#"{"instructions": {"storage.objects.get": ["fall-over"]}}"#;
    assert_eq!(
        gcs.with("POST", "/retry_test", &json, unknown).await.code,
        400
    );
    gcs.running.stop().await;
}
