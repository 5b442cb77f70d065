//! Resumable and multipart uploads as a client sees them.

use super::*;

#[tokio::test]
async fn a_resumable_upload_follows_the_protocol() {
    const CHUNK: usize = 262_144;
    let gcs = Gcs::new().await;
    let data: Vec<u8> = (0..2 * CHUNK + 1000).map(|i| (i % 253) as u8).collect();
    let total = data.len();
    let start = async |query: &str| {
        let path = format!("/resumable/upload/storage/v1/b/bkt/o?uploadType=resumable&{query}");
        let headers = [("x-upload-content-type", "text/x")];
        let reply = gcs.with("POST", &path, &headers, r#"{"name": "r"}"#).await;
        assert_eq!(reply.code, 200);
        reply.header("location").unwrap().to_owned()
    };
    let put = async |to: &str, range: &str, body: &[u8]| {
        gcs.with("PUT", to, &[("content-range", range)], body.to_vec())
            .await
    };
    let session = start("").await;
    let status = put(&session, "bytes */*", b"").await;
    assert_eq!((status.code, status.header("range")), (308, None));
    let odd = put(&session, "bytes 0-999/*", &data[..1000]).await;
    assert_eq!(odd.code, 400);
    let gap = put(
        &session,
        &format!("bytes {CHUNK}-{}/*", 2 * CHUNK - 1),
        &data[CHUNK..2 * CHUNK],
    )
    .await;
    assert_eq!(gap.code, 400);
    let kept = put(
        &session,
        &format!("bytes 0-{}/*", CHUNK - 1),
        &data[..CHUNK],
    )
    .await;
    assert_eq!(
        (kept.code, kept.header("range")),
        (308, Some("bytes=0-262143"))
    );
    // Bytes sent again are ignored, and the state survives a restart.
    let twice = put(
        &session,
        &format!("bytes 0-{}/{total}", 2 * CHUNK - 1),
        &data[..2 * CHUNK],
    )
    .await;
    assert_eq!(
        (twice.code, twice.header("range")),
        (308, Some("bytes=0-524287"))
    );
    let status = gcs
        .with(
            "PUT",
            &session,
            &[
                ("content-range", "bytes */*"),
                ("x-guploader-no-308", "yes"),
            ],
            "",
        )
        .await;
    assert_eq!(
        (status.code, status.header("x-http-status-code-override")),
        (200, Some("308"))
    );
    let last = format!("bytes {}-{}/{total}", 2 * CHUNK, total - 1);
    let done = put(&session, &last, &data[2 * CHUNK..]).await;
    assert_eq!(done.code, 200);
    assert_eq!(done.json()["contentType"], "text/x");
    assert_eq!(done.json()["crc32c"], crc32c_text(crc32c::crc32c(&data)));
    assert_eq!(
        put(&session, &last, &data[2 * CHUNK..]).await.json(),
        done.json()
    );
    let read = gcs.send("GET", "/storage/v1/b/bkt/o/r?alt=media", "").await;
    assert!(read.bytes == data);

    let refused = start("ifGenerationMatch=0").await;
    assert_eq!(gcs.send("PUT", &refused, "x").await.code, 412);
    assert_eq!(gcs.send("PUT", &refused, "x").await.code, 404);
    let cancelled = start("").await;
    let cancel = gcs.send("DELETE", &cancelled, "").await;
    assert_eq!((cancel.code, cancel.bytes.len()), (499, 0));
    assert_eq!(put(&cancelled, "bytes */*", b"").await.code, 404);
    let wrong = start("").await;
    let hash = [("x-goog-hash", "crc32c=AAAAAA==")];
    assert_eq!(gcs.with("PUT", &wrong, &hash, "x").await.code, 400);
    let streamed = start("").await;
    // Of unknown length, it ends where the request ends.
    let whole = put(&streamed, "bytes 0-*/*", &data[..CHUNK + 7]).await;
    assert_eq!(
        (whole.code, whole.json()["size"].as_str()),
        (200, Some("262151"))
    );
    let uneven = start("").await;
    let range = format!("bytes 0-{}/*", CHUNK + 9);
    let kept = put(&uneven, &range, &data[..CHUNK + 10]).await;
    assert_eq!(
        (kept.code, kept.header("range")),
        (308, Some("bytes=0-262143"))
    );
    let posted = [(
        "content-range",
        &*format!("bytes {CHUNK}-{}/{}", CHUNK + 9, CHUNK + 10),
    )];
    let last = data[CHUNK..CHUNK + 10].to_vec();
    let done = gcs.with("POST", &uneven, &posted, last).await;
    assert_eq!(done.code, 200, "chunks by POST are as those by PUT");
    let sum = crc32c_text(crc32c::crc32c(&data[..CHUNK + 10]));
    assert_eq!(done.json()["crc32c"], sum);
    let path = "/upload/storage/v1/b/bkt/o?uploadType=resumable&name=promised";
    let begun = gcs.send("POST", path, r#"{"crc32c": "AAAAAA=="}"#).await;
    let session = begun.header("location").unwrap();
    let right = format!("crc32c={}", crc32c_text(crc32c::crc32c(b"x")));
    let hash = [("x-goog-hash", &*right)];
    assert_eq!(gcs.with("PUT", session, &hash, "x").await.code, 400);
    let empty = start("").await;
    assert_eq!(put(&empty, "bytes */0", b"").await.json()["size"], "0");
    gcs.running.stop().await;
}

#[tokio::test]
async fn an_upload_in_parts_goes_on_after_a_restart() {
    const CHUNK: usize = 262_144;
    let folder = tempfile::tempdir().unwrap();
    let running = on(folder.path(), &[]).await;
    let gcs = Gcs {
        running,
        client: client(),
        folder: None,
    };
    gcs.send("POST", "/storage/v1/b?project=p", r#"{"name": "bkt"}"#)
        .await;
    let path = "/upload/storage/v1/b/bkt/o?uploadType=resumable&name=x";
    let session = gcs
        .send("POST", path, "")
        .await
        .header("location")
        .unwrap()
        .to_owned();
    let session = session.strip_prefix(gcs.running.url()).unwrap();
    let data = vec![7; CHUNK + 5];
    let range = format!("bytes 0-{}/{}", CHUNK - 1, data.len());
    let kept = gcs
        .with(
            "PUT",
            session,
            &[("content-range", &range)],
            data[..CHUNK].to_vec(),
        )
        .await;
    assert_eq!(kept.code, 308);
    gcs.running.stop().await;

    let running = on(folder.path(), &[]).await;
    let gcs = Gcs {
        running,
        client: client(),
        folder: None,
    };
    let status = gcs
        .with("PUT", session, &[("content-range", "bytes */*")], "")
        .await;
    assert_eq!(
        (status.code, status.header("range")),
        (308, Some("bytes=0-262143"))
    );
    let range = format!("bytes {CHUNK}-{}/{}", CHUNK + 4, data.len());
    let done = gcs
        .with(
            "PUT",
            session,
            &[("content-range", &range)],
            data[CHUNK..].to_vec(),
        )
        .await;
    assert_eq!(done.json()["crc32c"], crc32c_text(crc32c::crc32c(&data)));
    gcs.running.stop().await;

    let blobs = folder.path().join("state/emulator/blobs");
    std::fs::write(blobs.join(".incoming-x"), "half").unwrap();
    let running = on(folder.path(), &[]).await;
    let gcs = Gcs {
        running,
        client: client(),
        folder: None,
    };
    assert_eq!(std::fs::read_dir(&blobs).unwrap().count(), 1);
    assert!(
        gcs.send("GET", "/storage/v1/b/bkt/o/x?alt=media", "")
            .await
            .bytes
            == data
    );
    gcs.running.stop().await;
}

#[tokio::test]
async fn multipart_is_read_in_both_dialects_and_verified() {
    let gcs = Gcs::new().await;
    let path = "/upload/storage/v1/b/bkt/o?uploadType=multipart";
    for (newline, kind) in [
        ("\r\n", "multipart/related; boundary=\"==7==\""),
        ("\n", "multipart/related; boundary='==7=='"),
    ] {
        for (sum, code) in [(crc32c::crc32c(b"a\nb"), 200), (1, 400)] {
            let meta = format!("{{\"name\": \"m\", \"crc32c\": \"{}\"}}", crc32c_text(sum));
            let body = [
                "--==7==",
                "content-type: application/json",
                "",
                &meta,
                "--==7==",
                "content-type: text/csv",
                "",
                "a\nb",
                "--==7==--",
                "",
            ]
            .join(newline);
            let reply = gcs
                .with("POST", path, &[("content-type", kind)], body)
                .await;
            assert_eq!(reply.code, code);
            if code == 200 {
                assert_eq!(reply.json()["contentType"], "text/csv");
            }
        }
    }
    gcs.running.stop().await;
}
