//! Cloud Storage as a client sees it.

mod access;
mod kills;
mod strict;
mod uploads;
mod xml;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Method};
use serde_json::{Value, json};

use super::objects::crc32c_text;
use crate::emulator::Running;
use crate::emulator::tests::{client, on};

/// A client of one emulator with a bucket `bkt`.
struct Gcs {
    running: Running,
    client: Client,
    folder: Option<tempfile::TempDir>,
}

/// An answer's code, headers and bytes.
struct Reply {
    code: u16,
    headers: HeaderMap,
    bytes: Vec<u8>,
}

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_default()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    fn reason(&self) -> String {
        self.json()["error"]["errors"][0]["reason"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }
}

impl Gcs {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let running = on(folder.path(), &[]).await;
        let gcs = Self {
            running,
            client: client(),
            folder: Some(folder),
        };
        let made = gcs
            .send("POST", "/storage/v1/b?project=p", "{\"name\": \"bkt\"}")
            .await;
        assert_eq!(made.code, 200);
        gcs
    }

    async fn send(&self, method: &str, path: &str, body: impl Into<reqwest::Body>) -> Reply {
        self.with(method, path, &[], body).await
    }

    async fn with(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<reqwest::Body>,
    ) -> Reply {
        let url = if path.starts_with("http") {
            path.to_owned()
        } else {
            format!("{}{path}", self.running.url())
        };
        let mut request = self
            .client
            .request(Method::from_bytes(method.as_bytes()).unwrap(), url)
            .body(body);
        // What is not uploaded is a message.
        if path.starts_with("/storage/v1/")
            && !headers.iter().any(|(name, _)| *name == "content-type")
        {
            request = request.header("content-type", "application/json; charset=UTF-8");
        }
        for (name, value) in headers {
            request = request.header(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        let response = request.send().await.unwrap();
        Reply {
            code: response.status().as_u16(),
            headers: response.headers().clone(),
            bytes: response.bytes().await.unwrap().to_vec(),
        }
    }

    /// The same state in a new emulator.
    async fn again(self) -> Self {
        self.running.stop().await;
        let folder = self.folder;
        let running = on(folder.as_ref().unwrap().path(), &[]).await;
        Self {
            running,
            client: self.client,
            folder,
        }
    }

    async fn upload(&self, name: &str, bytes: &[u8]) -> Value {
        let path = format!("/upload/storage/v1/b/bkt/o?uploadType=media&name={name}");
        let reply = self.send("POST", &path, bytes.to_vec()).await;
        assert_eq!(reply.code, 200);
        reply.json()
    }

    async fn names(&self, query: &str) -> (Vec<String>, Vec<String>) {
        let listed = self
            .send("GET", &format!("/storage/v1/b/bkt/o?{query}"), "")
            .await
            .json();
        let texts = |value: &Value, field: &str| -> Vec<String> {
            let items = value.as_array().cloned().unwrap_or_default();
            let text = |item: &Value| item.get(field).unwrap_or(item).as_str().unwrap().to_owned();
            items.iter().map(text).collect()
        };
        (
            texts(&listed["items"], "name"),
            texts(&listed["prefixes"], ""),
        )
    }
}

#[tokio::test]
async fn what_is_uploaded_comes_back_whole_and_in_ranges() {
    let gcs = Gcs::new().await;
    let object = gcs.upload("d%2Ff%C3%A4.txt", b"0123456789").await;
    assert_eq!(object["name"], "d/fä.txt");
    assert_eq!(object["size"], "10");
    assert_eq!(object["metageneration"], "1");
    assert_eq!(object["crc32c"], crc32c_text(crc32c::crc32c(b"0123456789")));
    assert_eq!(object["md5Hash"], "eB5eJF1ptWaXm4bijSPyxw==");
    let link = object["mediaLink"].as_str().unwrap();
    assert!(link.starts_with(gcs.running.url()), "{link}");
    for (range, code, bytes, content_range) in [
        (None, 200, "0123456789", None),
        (Some("bytes=2-4"), 206, "234", Some("bytes 2-4/10")),
        (Some("bytes=-3"), 206, "789", Some("bytes 7-9/10")),
        (Some("bytes=8-99"), 206, "89", Some("bytes 8-9/10")),
        (Some("bytes=10-"), 416, "", Some("bytes */10")),
    ] {
        let headers: Vec<_> = range.map(|range| ("range", range)).into_iter().collect();
        let reply = gcs.with("GET", link, &headers, "").await;
        assert_eq!(reply.code, code, "{range:?}");
        assert_eq!(reply.header("content-range"), content_range);
        if code != 416 {
            assert_eq!(reply.bytes, bytes.as_bytes());
            let hash = format!(
                "crc32c={},md5=eB5eJF1ptWaXm4bijSPyxw==",
                object["crc32c"].as_str().unwrap()
            );
            assert_eq!(reply.header("x-goog-hash"), Some(hash.as_str()));
        }
    }
    let empty = gcs.upload("empty", b"").await;
    assert_eq!(empty["size"], "0");
    assert_eq!(
        gcs.send("GET", empty["mediaLink"].as_str().unwrap(), "")
            .await
            .code,
        200
    );
    let big: Vec<u8> = (0..3_000_000_u32).map(|i| (i % 251) as u8).collect();
    let object = gcs.upload("big", &big).await;
    assert_eq!(
        gcs.send("GET", object["mediaLink"].as_str().unwrap(), "")
            .await
            .bytes,
        big
    );
    gcs.running.stop().await;
}

#[tokio::test]
async fn preconditions_guard_writes_and_reads() {
    let gcs = Gcs::new().await;
    let insert = "/upload/storage/v1/b/bkt/o?uploadType=media&name=a&ifGenerationMatch=";
    let first = gcs.send("POST", &format!("{insert}0"), "1").await.json();
    let generation = first["generation"].as_str().unwrap();
    let again = gcs.send("POST", &format!("{insert}0"), "2").await;
    assert_eq!(
        (again.code, again.reason().as_str()),
        (412, "conditionNotMet")
    );
    assert_eq!(
        gcs.send("POST", &format!("{insert}17"), "2").await.code,
        412
    );
    let get = format!("/storage/v1/b/bkt/o/a?ifGenerationNotMatch={generation}");
    let unchanged = gcs.send("GET", &get, "").await;
    assert_eq!((unchanged.code, unchanged.bytes.len()), (304, 0));
    assert_eq!(gcs.send("DELETE", &get, "").await.code, 412);
    let second = gcs
        .send("POST", &format!("{insert}{generation}"), "2")
        .await
        .json();
    let newer: u64 = second["generation"].as_str().unwrap().parse().unwrap();
    assert!(newer > generation.parse().unwrap());
    let old = format!("/storage/v1/b/bkt/o/a?generation={generation}");
    assert_eq!(gcs.send("GET", &old, "").await.code, 404);
    let patch = "/storage/v1/b/bkt/o/a?ifMetagenerationMatch=";
    let body = r#"{"metadata": {"k": "v", "l": "w"}, "contentType": "text/csv"}"#;
    assert_eq!(
        gcs.send("PATCH", &format!("{patch}2"), body).await.code,
        412
    );
    let patched = gcs.send("PATCH", &format!("{patch}1"), body).await.json();
    assert_eq!(patched["metageneration"], "2");
    assert_eq!(patched["contentType"], "text/csv");
    let body = r#"{"metadata": {"k": null}}"#;
    let patched = gcs
        .send("PATCH", "/storage/v1/b/bkt/o/a", body)
        .await
        .json();
    assert_eq!(patched["metadata"], json!({"l": "w"}));
    assert_eq!(patched["contentType"], "text/csv");
    let delete = format!("/storage/v1/b/bkt/o/a?ifGenerationMatch={newer}");
    assert_eq!(gcs.send("DELETE", &delete, "").await.code, 204);
    assert_eq!(gcs.send("DELETE", &delete, "").await.code, 404);
    assert_eq!(
        gcs.send("GET", "/storage/v1/b/other/o/a", "")
            .await
            .reason(),
        "notFound"
    );
    gcs.running.stop().await;
}

#[tokio::test]
async fn lists_are_paged_delimited_and_bounded() {
    let gcs = Gcs::new().await;
    for name in ["a", "b%2F1", "b%2F2", "b%2Fc%2F3", "d%2F", "e"] {
        gcs.upload(name, b"").await;
    }
    let list = async |query: &str| gcs.names(query).await;
    assert_eq!(
        list("delimiter=/").await,
        (vec!["a".into(), "e".into()], vec!["b/".into(), "d/".into()])
    );
    assert_eq!(
        list("delimiter=/&includeTrailingDelimiter=true").await.0,
        ["a", "d/", "e"]
    );
    assert_eq!(
        list("prefix=b/&delimiter=/").await,
        (vec!["b/1".into(), "b/2".into()], vec!["b/c/".into()])
    );
    assert_eq!(
        list("startOffset=b/2&endOffset=d/").await.0,
        ["b/2", "b/c/3"]
    );
    assert_eq!(list("matchGlob=b/*").await.0, ["b/1", "b/2"]);
    let first = gcs
        .send(
            "GET",
            "/storage/v1/b/bkt/o?maxResults=2&delimiter=/&fields=items/name,prefixes,nextPageToken",
            "",
        )
        .await
        .json();
    assert_eq!(first["items"], json!([{"name": "a"}]));
    assert_eq!(first["prefixes"], json!(["b/"]));
    let rest = format!(
        "delimiter=/&pageToken={}",
        first["nextPageToken"].as_str().unwrap()
    );
    assert_eq!(list(&rest).await, (vec!["e".into()], vec!["d/".into()]));
    let none = gcs
        .send("GET", "/storage/v1/b/bkt/o?prefix=zzz", "")
        .await
        .json();
    assert_eq!(none, json!({"kind": "storage#objects"}));
    gcs.running.stop().await;
}

#[tokio::test]
async fn objects_are_composed_copied_and_rewritten() {
    let gcs = Gcs::new().await;
    gcs.upload("a", b"abc").await;
    let b = gcs.upload("b", b"de").await;
    let body = json!({"sourceObjects": [{"name": "a", "generation": null},
        {"name": "b", "objectPreconditions": {"ifGenerationMatch": b["generation"]}}], "destination": {}});
    let whole = gcs
        .send("POST", "/storage/v1/b/bkt/o/w/compose", body.to_string())
        .await
        .json();
    assert_eq!(whole["componentCount"], 2);
    assert_eq!(whole["crc32c"], crc32c_text(crc32c::crc32c(b"abcde")));
    assert!(whole.get("md5Hash").is_none());
    assert_eq!(
        gcs.send("GET", "/storage/v1/b/bkt/o/w?alt=media", "")
            .await
            .bytes,
        b"abcde"
    );
    let missing = json!({"sourceObjects": [{"name": "zz"}]}).to_string();
    assert_eq!(
        gcs.send("POST", "/storage/v1/b/bkt/o/w/compose", missing)
            .await
            .code,
        404
    );

    let copied = gcs
        .send("POST", "/storage/v1/b/bkt/o/b/copyTo/b/bkt/o/c%2Fd", "")
        .await
        .json();
    assert_eq!(
        (&copied["name"], &copied["md5Hash"]),
        (&json!("c/d"), &b["md5Hash"])
    );
    gcs.upload("large", &vec![1; 2_500_000]).await;
    let rewrite = "/storage/v1/b/bkt/o/large/rewriteTo/b/bkt/o/l2?maxBytesRewrittenPerCall=1048576";
    let (mut token, mut calls) = (String::new(), 0);
    let resource = loop {
        calls += 1;
        let reply = gcs
            .send("POST", &format!("{rewrite}{token}"), "")
            .await
            .json();
        if reply["done"] == true {
            break reply["resource"].clone();
        }
        token = format!("&rewriteToken={}", reply["rewriteToken"].as_str().unwrap());
    };
    assert_eq!((calls, &resource["size"]), (3, &json!("2500000")));
    let guarded = "/storage/v1/b/bkt/o/a/rewriteTo/b/bkt/o/b?ifGenerationMatch=0";
    assert_eq!(gcs.send("POST", guarded, "").await.code, 412);
    let guarded = "/storage/v1/b/bkt/o/a/rewriteTo/b/bkt/o/n?ifSourceGenerationMatch=1";
    assert_eq!(gcs.send("POST", guarded, "").await.code, 412);
    gcs.running.stop().await;
}

#[tokio::test]
async fn packed_objects_are_unpacked_unless_asked_for() {
    use std::io::Write;
    let gcs = Gcs::new().await;
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    packer.write_all(&[b'x'; 10_000]).unwrap();
    let packed = packer.finish().unwrap();
    let path = "/upload/storage/v1/b/bkt/o?uploadType=media&name=z&contentEncoding=gzip";
    gcs.send("POST", path, packed.clone()).await;
    let media = "/storage/v1/b/bkt/o/z?alt=media";
    let unpacked = gcs.send("GET", media, "").await;
    assert_eq!(
        (unpacked.bytes.len(), unpacked.header("content-encoding")),
        (10_000, None)
    );
    assert_eq!(
        unpacked.header("x-goog-stored-content-encoding"),
        Some("gzip")
    );
    let raw = gcs
        .with("GET", media, &[("accept-encoding", "gzip")], "")
        .await;
    assert!(raw.bytes == packed);
    assert_eq!(raw.header("content-encoding"), Some("gzip"));
    gcs.running.stop().await;
}

#[tokio::test]
async fn buckets_have_a_life() {
    let gcs = Gcs::new().await;
    let taken = gcs
        .send("POST", "/storage/v1/b?project=p", r#"{"name": "bkt"}"#)
        .await;
    assert_eq!((taken.code, taken.reason().as_str()), (409, "conflict"));
    for (body, code) in [(r#"{"name": "No"}"#, 400), ("{}", 400), ("[", 400)] {
        assert_eq!(
            gcs.send("POST", "/storage/v1/b?project=p", body).await.code,
            code
        );
    }
    assert_eq!(
        gcs.send("POST", "/storage/v1/b", r#"{"name": "abc"}"#)
            .await
            .code,
        400
    );
    let body = r#"{"labels": {"a": "b"}, "versioning": {"enabled": true}}"#;
    let patched = gcs
        .send("PATCH", "/storage/v1/b/bkt?ifMetagenerationMatch=1", body)
        .await
        .json();
    assert_eq!(
        (&patched["metageneration"], &patched["labels"]["a"]),
        (&json!("2"), &json!("b"))
    );
    let layout = gcs
        .send("GET", "/storage/v1/b/bkt/storageLayout", "")
        .await
        .json();
    assert_eq!(layout["locationType"], "multi-region");
    let listed = gcs.send("GET", "/storage/v1/b?project=p", "").await.json();
    assert_eq!(listed["items"][0]["name"], "bkt");
    assert!(
        gcs.send("GET", "/storage/v1/b?project=q", "")
            .await
            .json()
            .get("items")
            .is_none()
    );

    // Versioned: what is overwritten or deleted stays as a noncurrent generation.
    let first = gcs.upload("v", b"1").await;
    gcs.upload("v", b"22").await;
    gcs.send("DELETE", "/storage/v1/b/bkt/o/v", "").await;
    assert!(gcs.names("").await.0.is_empty());
    assert_eq!(gcs.names("versions=true").await.0, ["v", "v"]);
    let old = format!(
        "/storage/v1/b/bkt/o/v?alt=media&generation={}",
        first["generation"].as_str().unwrap()
    );
    assert_eq!(gcs.send("GET", &old, "").await.bytes, b"1");
    assert_eq!(gcs.send("DELETE", "/storage/v1/b/bkt", "").await.code, 409);
    let all = gcs
        .send("GET", "/storage/v1/b/bkt/o?versions=true", "")
        .await
        .json();
    for item in all["items"].as_array().unwrap() {
        let one = format!(
            "/storage/v1/b/bkt/o/v?generation={}",
            item["generation"].as_str().unwrap()
        );
        assert_eq!(gcs.send("DELETE", &one, "").await.code, 204);
    }
    assert_eq!(gcs.send("DELETE", "/storage/v1/b/bkt", "").await.code, 204);
    assert_eq!(gcs.send("GET", "/storage/v1/b/bkt", "").await.code, 404);
    gcs.running.stop().await;
}
