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
    assert_eq!(gcs.send("PUT", "/new-bucket", "").await.code, 404);
    assert_eq!(gcs.send("DELETE", "/bkt", "").await.code, 400);
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
