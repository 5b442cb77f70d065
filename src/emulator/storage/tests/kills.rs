//! States that only a kill between two writes leaves, made by hand: `tests/it/restarts.rs` kills for
//! real, and rarely meets a moment as short as these.

use super::*;
use crate::emulator::core::store::Store;

/// An emulator on a folder that another one used before.
async fn again(folder: &tempfile::TempDir) -> Gcs {
    Gcs {
        running: on(folder.path(), &[]).await,
        client: client(),
        folder: None,
    }
}

fn store(folder: &tempfile::TempDir) -> Store {
    Store::open(&folder.path().join("state"), crate::emulator::kinds()).unwrap()
}

#[tokio::test]
async fn an_upload_whose_object_is_made_takes_no_more_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let gcs = again(&folder).await;
    gcs.send("POST", "/storage/v1/b?project=p", r#"{"name": "bkt"}"#)
        .await;
    let path = "/upload/storage/v1/b/bkt/o?uploadType=resumable&name=x";
    let session = gcs.send("POST", path, "").await;
    let session = session.header("location").unwrap();
    let session = session.strip_prefix(gcs.running.url()).unwrap().to_owned();
    let object = gcs.send("PUT", &session, "whole").await.json();
    gcs.running.stop().await;

    // The object is named, its session still holds the same file and knows of nothing.
    let store = store(&folder);
    let (key, mut document) = store.list::<Value>("uploads/").pop().unwrap();
    document["object"] = Value::Null;
    document["kept"] = 0.into();
    document["total"] = Value::Null;
    store.put(&key, &document).unwrap();
    let blob = store.blob(&format!("upload-{}", key.trim_start_matches("uploads/")));
    let bytes = store.blob(object["generation"].as_str().unwrap());
    std::fs::hard_link(bytes, &blob).unwrap();
    drop(store);

    let gcs = again(&folder).await;
    let range = [("content-range", "bytes 0-4/9")];
    let told = gcs.with("PUT", &session, &range, "other").await;
    assert_eq!(told.code, 200);
    assert_eq!(told.json()["generation"], object["generation"]);
    let media = gcs.send("GET", "/storage/v1/b/bkt/o/x?alt=media", "").await;
    assert_eq!(media.bytes, b"whole");
    assert!(!blob.exists());
    gcs.running.stop().await;
}

#[tokio::test]
async fn a_generation_is_live_or_noncurrent_and_never_both() {
    let folder = tempfile::tempdir().unwrap();
    let gcs = again(&folder).await;
    let bucket = r#"{"name": "bkt", "versioning": {"enabled": true}}"#;
    gcs.send("POST", "/storage/v1/b?project=p", bucket).await;
    let object = gcs.upload("x", b"one").await;
    gcs.running.stop().await;

    // On its way to become noncurrent.
    let store = store(&folder);
    let document: Value = store.get("objects/bkt/x").unwrap();
    let generation = object["generation"].as_str().unwrap();
    let old = format!("noncurrent/bkt/x/{generation:0>20}");
    store.put(&old, &document).unwrap();
    drop(store);

    let gcs = again(&folder).await;
    assert_eq!(gcs.names("versions=true").await.0, ["x"]);
    // Deleted for good, it is nowhere.
    let path = format!("/storage/v1/b/bkt/o/x?generation={generation}");
    assert_eq!(gcs.send("DELETE", &path, "").await.code, 204);
    assert!(gcs.names("versions=true").await.0.is_empty());
    gcs.running.stop().await;
}

#[tokio::test]
async fn a_copy_under_way_is_swept() {
    let folder = tempfile::tempdir().unwrap();
    let left = store(&folder).blob(".incoming-x");
    std::fs::create_dir(&left).unwrap();
    std::fs::write(left.join("copy"), "half").unwrap();
    again(&folder).await.running.stop().await;
    assert!(!left.exists());
}
