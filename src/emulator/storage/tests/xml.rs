//! The XML API, as object_store and Google's transfer manager speak it.

use super::{Gcs, Reply};

impl Reply {
    fn text(&self) -> String {
        String::from_utf8(self.bytes.clone()).unwrap()
    }

    /// What stands between the first pair of a tag.
    fn tag(&self, tag: &str) -> String {
        let text = self.text();
        let (_, rest) = text.split_once(&format!("<{tag}>")).unwrap_or_default();
        rest.split(&format!("</{tag}>")).next().unwrap().to_owned()
    }
}

#[tokio::test]
async fn objects_are_put_read_in_ranges_copied_and_deleted() {
    let gcs = Gcs::new().await;
    let meta = [("content-type", "text/csv"), ("x-goog-meta-k", "v")];
    let put = gcs
        .with("PUT", "/bkt/d/a%20b.csv", &meta, "0123456789")
        .await;
    assert_eq!(put.code, 200, "{}", put.text());
    let etag = "\"781e5e245d69b566979b86e28d23f2c7\"";
    assert_eq!(put.header("etag"), Some(etag));
    let generation = put.header("x-goog-generation").unwrap().to_owned();
    let json = gcs
        .send("GET", "/storage/v1/b/bkt/o/d%2Fa%20b.csv", "")
        .await;
    assert_eq!(json.json()["generation"], generation);
    assert_eq!(json.json()["metadata"]["k"], "v");

    let head = gcs.send("HEAD", "/bkt/d/a%20b.csv", "").await;
    assert_eq!((head.code, head.bytes.len()), (200, 0));
    assert_eq!(head.header("content-length"), Some("10"));
    assert_eq!(head.header("x-goog-meta-k"), Some("v"));
    assert!(head.header("last-modified").unwrap().ends_with(" GMT"));
    let part = gcs
        .with("GET", "/bkt/d/a%20b.csv", &[("range", "bytes=2-4")], "")
        .await;
    assert_eq!((part.code, part.bytes.as_slice()), (206, &b"234"[..]));
    let beyond = gcs
        .with("GET", "/bkt/d/a%20b.csv", &[("range", "bytes=10-")], "")
        .await;
    assert_eq!(
        (beyond.code, beyond.tag("Code")),
        (416, "InvalidRange".into())
    );
    for (header, value, code) in [
        ("if-match", etag, 200),
        ("if-match", "\"x\"", 412),
        ("if-none-match", etag, 304),
        ("if-modified-since", "Mon, 01 Jan 2001 00:00:00 GMT", 200),
        ("if-unmodified-since", "Mon, 01 Jan 2001 00:00:00 GMT", 412),
        (
            "if-modified-since",
            head.header("last-modified").unwrap(),
            304,
        ),
    ] {
        let read = gcs
            .with("GET", "/bkt/d/a%20b.csv", &[(header, value)], "")
            .await;
        assert_eq!(read.code, code, "{header}: {value}");
    }

    let source = [("x-goog-copy-source", "/bkt/d%2Fa%20b.csv")];
    let copied = gcs.with("PUT", "/bkt/copy", &source, "").await;
    assert_eq!(copied.tag("ETag"), etag.replace('"', "&quot;"));
    let copy = gcs.send("GET", "/bkt/copy", "").await;
    assert_eq!(copy.header("content-type"), Some("text/csv"));

    let none = [("x-goog-if-generation-match", "0")];
    let taken = gcs.with("PUT", "/bkt/copy", &none, "x").await;
    assert_eq!(
        (taken.code, taken.tag("Code")),
        (412, "PreconditionFailed".into())
    );
    assert_eq!(gcs.with("DELETE", "/bkt/copy", &none, "").await.code, 412);
    assert_eq!(gcs.send("DELETE", "/bkt/copy", "").await.code, 204);
    let gone = gcs.send("GET", "/bkt/copy", "").await;
    assert_eq!((gone.code, gone.tag("Code")), (404, "NoSuchKey".into()));
    let gone = gcs.send("GET", "/other-bkt/x", "").await;
    assert_eq!((gone.code, gone.tag("Code")), (404, "NoSuchBucket".into()));
    let wrong = [("content-md5", "1B2M2Y8AsgTpgAmY7PhCfg==")];
    let wrong = gcs.with("PUT", "/bkt/sum", &wrong, "x").await;
    assert_eq!((wrong.code, wrong.tag("Code")), (400, "BadDigest".into()));
    assert_eq!(gcs.send("PUT", "/new-bucket", "").await.code, 200);
    assert_eq!(gcs.send("DELETE", "/bkt", "").await.code, 409);
    gcs.running.stop().await;
}

#[tokio::test]
async fn lists_have_pages_in_both_versions() {
    let gcs = Gcs::new().await;
    for name in ["a", "b%2F1", "b%2F2", "c", "d%3C%26"] {
        gcs.upload(name, b"x").await;
    }
    for (version, more, token) in [
        ("list-type=2", "NextContinuationToken", "continuation-token"),
        ("", "NextMarker", "marker"),
    ] {
        let (mut seen, mut after) = (String::new(), String::new());
        for _ in 0..4 {
            let path = format!("/bkt?{version}&delimiter=/&max-keys=1{after}");
            let page = gcs.send("GET", &path, "").await;
            assert_eq!(page.code, 200, "{}", page.text());
            seen.push_str(&format!(
                "{}{} ",
                page.tag("Key"),
                page.tag("CommonPrefixes")
            ));
            after = match page.tag("IsTruncated").as_str() {
                "true" => format!("&{token}={}", page.tag(more).replace('/', "%2F")),
                _ => String::new(),
            };
        }
        assert_eq!(seen, "a <Prefix>b/</Prefix> c d&lt;&amp; ", "{version}");
        assert!(after.is_empty());
    }
    let later = gcs
        .send("GET", "/bkt?list-type=2&start-after=b/2", "")
        .await;
    assert_eq!(
        (later.tag("Key"), later.tag("KeyCount")),
        ("c".into(), "2".into())
    );
    gcs.running.stop().await;
}

#[tokio::test]
async fn parts_come_in_any_order_and_become_one_object() {
    let gcs = Gcs::new().await;
    let meta = [("content-type", "text/x"), ("x-goog-meta-a", "b")];
    let started = gcs.with("POST", "/bkt/d/big?uploads", &meta, "").await;
    let id = started.tag("UploadId");
    assert_eq!((started.code, started.tag("Key")), (200, "d/big".into()));
    let first = vec![7_u8; 5 << 20];
    let path = |number: u32| format!("/bkt/d/big?partNumber={number}&uploadId={id}");
    let two = gcs.send("PUT", &path(2), "tail").await;
    gcs.send("PUT", &path(1), "replaced").await;
    let one = gcs.send("PUT", &path(1), first.clone()).await;
    assert!(one.header("x-goog-hash").unwrap().contains("crc32c="));
    let wrong = gcs
        .with("PUT", &path(3), &[("x-goog-hash", "crc32c=AAAAAA==")], "x")
        .await;
    assert_eq!((wrong.code, wrong.tag("Code")), (400, "BadDigest".into()));
    assert!(!wrong.tag("Details").is_empty());
    assert_eq!(gcs.send("PUT", &path(0), "x").await.code, 400);

    let part = |number: u32, reply: &Reply| {
        let etag = reply.header("etag").unwrap();
        format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>")
    };
    let list = |parts: &[String]| {
        let parts = parts.concat();
        format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>")
    };
    let end = format!("/bkt/d/big?uploadId={id}");
    for (parts, code) in [
        (vec![part(2, &two), part(1, &one)], "InvalidPartOrder"),
        (vec![part(1, &two)], "InvalidPart"),
        (vec![part(1, &one), part(4, &two)], "InvalidPart"),
        (vec![], "MalformedXML"),
    ] {
        let refused = gcs.send("POST", &end, list(&parts)).await;
        assert_eq!((refused.code, refused.tag("Code")), (400, code.into()));
    }
    let done = gcs
        .send("POST", &end, list(&[part(1, &one), part(2, &two)]))
        .await;
    assert_eq!(done.code, 200, "{}", done.text());
    let object = gcs
        .send("GET", "/storage/v1/b/bkt/o/d%2Fbig", "")
        .await
        .json();
    assert_eq!(object["contentType"], "text/x");
    assert!(object.get("md5Hash").is_none(), "{object}");
    let read = gcs.send("GET", "/bkt/d/big", "").await;
    assert_eq!(read.bytes, [first.as_slice(), b"tail"].concat());
    let gone = gcs.send("POST", &end, "").await;
    assert_eq!((gone.code, gone.tag("Code")), (404, "NoSuchUpload".into()));

    let started = gcs.send("POST", "/bkt/small?uploads", "").await;
    let id = started.tag("UploadId");
    let path = |number: u32| format!("/bkt/small?partNumber={number}&uploadId={id}");
    let (one, two) = (
        gcs.send("PUT", &path(1), "a").await,
        gcs.send("PUT", &path(2), "b").await,
    );
    let end = format!("/bkt/small?uploadId={id}");
    let small = gcs
        .send("POST", &end, list(&[part(1, &one), part(2, &two)]))
        .await;
    assert_eq!(
        (small.code, small.tag("Code")),
        (400, "EntityTooSmall".into())
    );
    assert_eq!(gcs.send("DELETE", &end, "").await.code, 204);
    assert_eq!(gcs.send("PUT", &path(1), "a").await.code, 404);
    gcs.running.stop().await;
}

#[tokio::test]
async fn parts_survive_a_restart() {
    let mut gcs = Gcs::new().await;
    let id = gcs.send("POST", "/bkt/o?uploads", "").await.tag("UploadId");
    let part = gcs
        .send("PUT", &format!("/bkt/o?partNumber=1&uploadId={id}"), "kept")
        .await;
    gcs = gcs.again().await;
    let list = format!(
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{}</ETag></Part></CompleteMultipartUpload>",
        part.header("etag").unwrap()
    );
    let done = gcs
        .send("POST", &format!("/bkt/o?uploadId={id}"), list)
        .await;
    assert_eq!(done.code, 200, "{}", done.text());
    assert_eq!(gcs.send("GET", "/bkt/o", "").await.bytes, b"kept");
    gcs.running.stop().await;
}

#[tokio::test]
async fn a_sub_resource_is_never_taken_for_the_object() {
    let gcs = Gcs::new().await;
    gcs.upload("o", b"data").await;
    for method in ["GET", "PUT", "DELETE", "POST"] {
        for query in [
            "tagging",
            "restore",
            "retention",
            "x=1",
            "legal-hold&generation=1",
        ] {
            let reply = gcs.send(method, &format!("/bkt/o?{query}"), "<X/>").await;
            assert_eq!(reply.code, 400, "{method} {query}: {}", reply.text());
        }
    }
    for query in ["acl", "compose"] {
        let reply = gcs.send("DELETE", &format!("/bkt/o?{query}"), "").await;
        assert!(reply.code >= 400, "{query}");
        let reply = gcs
            .send("PUT", &format!("/bkt/o?{query}"), "<Wrong/>")
            .await;
        assert_eq!(reply.tag("Code"), "MalformedXML", "{query}");
    }
    let read = gcs.send("GET", "/bkt/o", "").await;
    assert_eq!(read.bytes, b"data");

    let list = gcs.send("GET", "/bkt/o?acl", "").await;
    assert!(
        list.text()
            .contains("<Permission>FULL_CONTROL</Permission>"),
        "{}",
        list.text()
    );
    let given = list.text().replace(
        "</Entries>",
        "<Entry><Scope type=\"UserByEmail\"><EmailAddress>a@b.c</EmailAddress></Scope><Permission>READ</Permission></Entry></Entries>",
    );
    assert_eq!(gcs.send("PUT", "/bkt/o?acl", given).await.code, 200);
    assert!(
        gcs.send("GET", "/bkt/o?acl", "")
            .await
            .text()
            .contains("a@b.c")
    );

    gcs.upload("p", b"more").await;
    let compose = "<ComposeRequest><Component><Name>o</Name></Component><Component><Name>p</Name></Component></ComposeRequest>";
    let made = gcs.send("PUT", "/bkt/whole?compose", compose).await;
    assert_eq!(made.code, 200, "{}", made.text());
    assert_eq!(gcs.send("GET", "/bkt/whole", "").await.bytes, b"datamore");
    gcs.running.stop().await;
}

#[tokio::test]
async fn buckets_are_made_listed_set_and_deleted() {
    let gcs = Gcs::new().await;
    let body = "<CreateBucketConfiguration><LocationConstraint>eu</LocationConstraint><StorageClass>NEARLINE</StorageClass></CreateBucketConfiguration>";
    let project = [("x-goog-project-id", "p"), ("x-goog-api-version", "2")];
    let made = gcs.with("PUT", "/other-bkt", &project, body).await;
    assert_eq!(made.code, 200, "{}", made.text());
    let again = gcs.with("PUT", "/other-bkt", &project, "").await;
    assert_eq!(
        (again.code, again.tag("Code")),
        (409, "BucketAlreadyOwnedByYou".into())
    );
    let all = gcs.with("GET", "/", &project, "").await;
    assert!(
        all.text().contains("<Name>other-bkt</Name>"),
        "{}",
        all.text()
    );
    for (setting, sent) in [
        (
            "versioning",
            "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>",
        ),
        (
            "lifecycle",
            "<LifecycleConfiguration><Rule><Action><Delete></Delete></Action><Condition><Age>3</Age><MatchesStorageClass>NEARLINE</MatchesStorageClass></Condition></Rule></LifecycleConfiguration>",
        ),
        (
            "cors",
            "<CorsConfig><Cors><Origins><Origin>*</Origin></Origins><Methods><Method>GET</Method></Methods><MaxAgeSec>5</MaxAgeSec></Cors></CorsConfig>",
        ),
        (
            "websiteConfig",
            "<WebsiteConfiguration><MainPageSuffix>i.html</MainPageSuffix></WebsiteConfiguration>",
        ),
        (
            "tagging",
            "<Tagging><TagSet><Tag><Key>k</Key><Value>v</Value></Tag></TagSet></Tagging>",
        ),
    ] {
        let path = format!("/other-bkt?{setting}");
        let set = gcs.send("PUT", &path, sent).await;
        assert_eq!(set.code, 200, "{setting}: {}", set.text());
        let (_, inner) = sent.split_once('>').unwrap();
        let told = gcs.send("GET", &path, "").await.text();
        assert!(told.contains(inner), "{setting}: {told}");
        let wrong = gcs.send("PUT", &path, "<X/>").await;
        assert_eq!(wrong.tag("Code"), "MalformedXML", "{setting}");
    }
    let json = gcs.send("GET", "/storage/v1/b/other-bkt", "").await.json();
    assert_eq!(json["lifecycle"]["rule"][0]["condition"]["age"], 3);
    assert_eq!(json["location"], "EU");
    for (setting, told) in [("location", "EU"), ("storageClass", "NEARLINE")] {
        let reply = gcs.send("GET", &format!("/other-bkt?{setting}"), "").await;
        assert!(
            reply.text().contains(&format!(">{told}</")),
            "{}",
            reply.text()
        );
    }
    assert_eq!(gcs.send("GET", "/other-bkt?policy", "").await.code, 400);
    let none = gcs.send("GET", "/bkt?tagging", "").await;
    assert_eq!((none.code, none.tag("TagSet").as_str()), (200, ""));
    let probe = gcs.send("GET", "/bkt?max-keys=0", "").await;
    assert_eq!(
        (probe.code, probe.tag("IsTruncated")),
        (200, "false".into())
    );

    for content in ["1", "2"] {
        gcs.send("PUT", "/other-bkt/o", content).await;
    }
    let versions = gcs.send("GET", "/other-bkt?versions", "").await.text();
    assert_eq!(versions.matches("<Version>").count(), 2, "{versions}");
    let first = gcs.send("GET", "/other-bkt?versions&max-keys=1", "").await;
    let next = format!(
        "/other-bkt?versions&marker={}&generation-marker={}",
        first.tag("NextMarker"),
        first.tag("NextGenerationMarker")
    );
    let second = gcs.send("GET", &next, "").await;
    assert_eq!(
        (first.tag("IsLatest"), second.tag("IsLatest")),
        ("false".into(), "true".into())
    );
    let full = gcs.send("DELETE", "/other-bkt", "").await;
    assert_eq!(
        (full.code, full.tag("Code")),
        (409, "BucketNotEmpty".into())
    );
    for part in [&first, &second] {
        let one = format!("/other-bkt/o?generation={}", part.tag("Generation"));
        assert_eq!(gcs.send("DELETE", &one, "").await.code, 204);
    }
    assert_eq!(gcs.send("DELETE", "/other-bkt", "").await.code, 204);
    assert_eq!(
        gcs.send("GET", "/other-bkt", "").await.tag("Code"),
        "NoSuchBucket"
    );
    gcs.running.stop().await;
}

#[tokio::test]
async fn a_resumable_upload_is_started_in_xml() {
    let gcs = Gcs::new().await;
    let start = [
        ("x-goog-resumable", "start"),
        ("content-type", "text/x"),
        ("x-goog-meta-k", "v"),
    ];
    let begun = gcs.with("POST", "/bkt/d/r", &start, "").await;
    assert_eq!(begun.code, 201, "{}", begun.text());
    let session = begun.header("location").unwrap();
    let status = gcs
        .with("PUT", session, &[("content-range", "bytes */3")], "")
        .await;
    assert_eq!(status.code, 308);
    let range = [("content-range", "bytes 0-2/3")];
    let done = gcs.with("PUT", session, &range, "abc").await;
    assert_eq!((done.code, done.bytes.len()), (200, 0));
    assert!(done.header("etag").is_some());
    let told = gcs
        .send("GET", "/storage/v1/b/bkt/o/d%2Fr", "")
        .await
        .json();
    assert_eq!(
        (&told["contentType"], &told["metadata"]["k"]),
        (&"text/x".into(), &"v".into())
    );
    gcs.running.stop().await;
}
