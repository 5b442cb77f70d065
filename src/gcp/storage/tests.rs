use super::*;
use crate::gcp::scripted::{Answer, Scripted};

const CONFLICT: &str = r#"{"error":{"code":412,"message":"At least one of the pre-conditions you specified did not hold."}}"#;

fn storage(server: &Scripted) -> Storage {
    Storage::new(&server.client())
}

fn object(generation: i64, bytes: &[u8]) -> String {
    let crc = base64_of(crc32c::crc32c(bytes));
    format!(
        r#"{{"kind":"storage#object","bucket":"bucket","name":"a/b","generation":"{generation}","metageneration":"1","size":"{}","crc32c":"{crc}"}}"#,
        bytes.len()
    )
}

fn media(bytes: &[u8], whole: &[u8]) -> (Vec<(&'static str, String)>, Vec<u8>) {
    let crc = base64_of(crc32c::crc32c(whole));
    let headers = vec![
        ("X-Goog-Hash", format!("crc32c={crc},md5=AAAA")),
        ("X-Goog-Generation", "7".to_owned()),
    ];
    (headers, bytes.to_vec())
}

fn whole(bytes: &[u8]) -> Answer {
    let (headers, body) = media(bytes, bytes);
    Answer::Full(200, headers, body)
}

async fn insert(server: &Scripted, pre: Precondition) -> Result<Object, Error> {
    storage(server)
        .objects_insert(
            "bucket",
            "a/b",
            "text/plain",
            Bytes::from_static(b"hello"),
            pre,
        )
        .await
}

#[tokio::test]
async fn an_upload_carries_its_checksum_and_its_precondition() {
    let server = Scripted::start([Answer::json(&object(7, b"hello"))]).await;
    let made = insert(&server, Precondition::Absent).await.unwrap();
    assert_eq!((made.generation, made.size), (7, 5));
    assert_eq!(made.uri().to_string(), "gs://bucket/a/b");
    let asked = &server.asked()[0];
    assert_eq!(
        asked.target,
        "/upload/storage/v1/b/bucket/o?uploadType=multipart&name=a%2Fb&ifGenerationMatch=0"
    );
    let boundary = asked
        .header("content-type")
        .unwrap()
        .split_once('=')
        .unwrap()
        .1;
    let body = String::from_utf8(asked.body.clone()).unwrap();
    let parts: Vec<&str> = body.split(&format!("--{boundary}")).collect();
    assert_eq!(parts.len(), 4);
    assert!(
        parts[1].contains(r#"{"name":"a/b","contentType":"text/plain","crc32c":"mnG7TA=="}"#),
        "{body}"
    );
    assert_eq!(parts[2], "\r\nContent-Type: text/plain\r\n\r\nhello\r\n");
    assert_eq!(parts[3], "--\r\n");
}

#[tokio::test]
async fn a_conflict_with_oneself_is_a_success() {
    let script = || [Answer::Close, Answer::code(412, CONFLICT)];
    let own = Scripted::start(script()).await;
    own.then(Answer::json(&object(7, b"hello")));
    assert_eq!(
        insert(&own, Precondition::Generation(3))
            .await
            .unwrap()
            .generation,
        7
    );
    assert!(own.asked()[0].target.ends_with("ifGenerationMatch=3"));

    let other = Scripted::start(script()).await;
    other.then(Answer::json(&object(7, b"HELLO")));
    let error = insert(&other, Precondition::Absent).await.unwrap_err();
    assert!(error.is_conflict() && error.tries == 2, "{error}");

    let first = Scripted::start([Answer::code(412, CONFLICT)]).await;
    assert!(
        insert(&first, Precondition::Absent)
            .await
            .unwrap_err()
            .is_conflict()
    );
    assert_eq!(first.asked().len(), 1);
}

#[tokio::test]
async fn an_upload_without_a_precondition_is_sent_once() {
    let server = Scripted::start([Answer::code(503, ""), Answer::json("{}")]).await;
    assert_eq!(
        insert(&server, Precondition::None).await.unwrap_err().tries,
        1
    );
}

#[tokio::test]
async fn an_upload_of_the_same_bytes_is_sent_again_without_a_condition() {
    let server = Scripted::start([
        Answer::code(503, ""),
        Answer::Close,
        Answer::json(&object(7, b"hello")),
    ])
    .await;
    let made = insert(&server, Precondition::SameBytes).await.unwrap();
    assert_eq!(made.generation, 7);
    let asked = server.asked();
    assert_eq!(asked.len(), 3);
    assert!(!asked[2].target.contains("Match"), "{}", asked[2].target);
}

#[tokio::test]
async fn a_key_goes_with_uploads_and_new_buckets() {
    const KEY: &str = "projects/p/locations/us-central1/keyRings/r/cryptoKeys/k";
    let (file, bytes) = big_file();
    let server = Scripted::start([Answer::json(r#"{"name":"bucket"}"#)]).await;
    let encrypted = storage(&server).encrypted(Some(KEY));
    encrypted
        .buckets_insert("p", "bucket", "us-central1")
        .await
        .unwrap();
    server.then(Answer::json(&object(7, b"hello")));
    encrypted
        .objects_insert("bucket", "a/b", "x/y", "hello".into(), Precondition::Absent)
        .await
        .unwrap();
    server.then(started(&server, "1"));
    server.then(Answer::json(&object(9, &bytes)));
    let pre = Precondition::SameBytes;
    encrypted
        .objects_insert_file("bucket", "a/b", "x/y", file.path(), pre)
        .await
        .unwrap();
    let asked = server.asked();
    assert_eq!(asked[0].json()["encryption"]["defaultKmsKeyName"], KEY);
    let query = format!("kmsKeyName={}", KEY.replace('/', "%2F"));
    assert!(asked[1].target.contains(&query), "{}", asked[1].target);
    assert!(asked[2].target.contains(&query), "{}", asked[2].target);
}

#[tokio::test]
async fn damaged_bytes_are_read_again() {
    let (headers, _) = media(b"", b"hello");
    let damaged = Answer::Full(200, headers, b"hellx".to_vec());
    let server = Scripted::start([damaged, whole(b"hello")]).await;
    let (object, bytes) = storage(&server)
        .objects_read("bucket", "a/b")
        .await
        .unwrap()
        .unwrap();
    assert_eq!((object.generation, &bytes[..]), (7, &b"hello"[..]));
    assert_eq!(
        server.asked()[1].target,
        "/storage/v1/b/bucket/o/a%2Fb?alt=media"
    );
}

#[tokio::test]
async fn what_is_not_there_is_none() {
    let server = Scripted::start((0..3).map(|_| Answer::code(404, ""))).await;
    let storage = storage(&server);
    assert_eq!(storage.buckets_get("bucket").await.unwrap(), None);
    assert_eq!(storage.objects_get("bucket", "a").await.unwrap(), None);
    assert_eq!(storage.objects_read("bucket", "a").await.unwrap(), None);
}

#[tokio::test]
async fn all_pages_are_listed() {
    let page = |generation, next: &str| {
        Answer::json(&format!(
            r#"{{"items":[{}]{next}}}"#,
            object(generation, b"")
        ))
    };
    let server = Scripted::start([
        page(1, r#","nextPageToken":"t/1""#),
        Answer::json(r#"{"nextPageToken":"t2"}"#),
        page(2, ""),
    ])
    .await;
    let objects = storage(&server).objects_list("bucket", "a/").await.unwrap();
    let generations: Vec<i64> = objects.iter().map(|o| o.generation).collect();
    assert_eq!(generations, [1, 2]);
    assert!(
        server.asked()[1]
            .target
            .ends_with("?prefix=a%2F&pageToken=t%2F1")
    );
}

#[tokio::test]
async fn a_bucket_made_by_an_earlier_try_is_found() {
    let bucket = r#"{"name":"bucket","location":"EUROPE-WEST4"}"#;
    let server = Scripted::start([
        Answer::code(503, ""),
        Answer::code(409, ""),
        Answer::json(bucket),
    ])
    .await;
    let storage = storage(&server);
    let made = storage
        .buckets_insert("p", "bucket", "europe-west4")
        .await
        .unwrap();
    assert_eq!(made.location, "EUROPE-WEST4");
    assert_eq!(server.asked()[0].target, "/storage/v1/b?project=p");
}

/// A file of a little over two chunks.
fn big_file() -> (tempfile::NamedTempFile, Vec<u8>) {
    let bytes: Vec<u8> = (0..(17 << 20)).map(|i| (i % 251) as u8).collect();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &bytes).unwrap();
    (file, bytes)
}

fn started(server: &Scripted, session: &str) -> Answer {
    let location = vec![("Location", format!("{}/session/{session}", server.url))];
    Answer::Full(200, location, Vec::new())
}

fn kept(last: Option<u64>) -> Answer {
    let range = last.map(|last| ("Range", format!("bytes=0-{last}")));
    Answer::Full(308, range.into_iter().collect(), Vec::new())
}

fn ranges(server: &Scripted) -> Vec<(String, String)> {
    let puts = server.asked().into_iter().filter(|a| a.verb == "PUT");
    puts.map(|a| {
        (
            a.target.clone(),
            a.header("content-range").unwrap().to_owned(),
        )
    })
    .collect()
}

#[tokio::test]
async fn a_broken_upload_goes_on_where_the_session_stands() {
    let (file, bytes) = big_file();
    let total = bytes.len();
    let server = Scripted::start([]).await;
    server.then(started(&server, "secret"));
    server.then(kept(Some((8 << 20) - 1)));
    server.then(Answer::code(503, ""));
    // Half of the second chunk was kept.
    server.then(kept(Some((12 << 20) - 1)));
    server.then(Answer::Close);
    server.then(Answer::code(503, ""));
    server.then(Answer::json(&object(9, &bytes)));
    let made = storage(&server)
        .objects_insert_file("bucket", "a/b", "x/y", file.path(), Precondition::Absent)
        .await
        .unwrap();
    assert_eq!(made.generation, 9);
    let asked = server.asked();
    assert_eq!(
        asked[0].header("x-upload-content-length"),
        Some(total.to_string().as_str())
    );
    assert_eq!(asked[0].json()["crc32c"], base64_of(crc32c::crc32c(&bytes)));
    assert_eq!(asked[4].body, &bytes[12 << 20..]);
    let ranges: Vec<String> = ranges(&server)
        .into_iter()
        .map(|(_, range)| range)
        .collect();
    assert_eq!(
        ranges,
        [
            "bytes 0-8388607/17825792",
            "bytes 8388608-16777215/17825792",
            "bytes */17825792",
            "bytes 12582912-17825791/17825792",
            "bytes */17825792",
            "bytes */17825792",
        ]
    );
}

#[tokio::test]
async fn a_session_that_is_gone_or_kept_nothing_begins_anew() {
    let (file, bytes) = big_file();
    let server = Scripted::start([]).await;
    server.then(started(&server, "1"));
    server.then(Answer::code(410, ""));
    server.then(started(&server, "2"));
    server.then(Answer::Close);
    server.then(kept(None));
    server.then(kept(Some((8 << 20) - 1)));
    server.then(kept(Some((16 << 20) - 1)));
    server.then(Answer::json(&object(9, &bytes)));
    storage(&server)
        .objects_insert_file("bucket", "a/b", "x/y", file.path(), Precondition::None)
        .await
        .unwrap();
    let expected = [
        ("/session/1", "bytes 0-8388607/17825792"),
        ("/session/2", "bytes 0-8388607/17825792"),
        ("/session/2", "bytes */17825792"),
        ("/session/2", "bytes 0-8388607/17825792"),
        ("/session/2", "bytes 8388608-16777215/17825792"),
        ("/session/2", "bytes 16777216-17825791/17825792"),
    ];
    let seen = ranges(&server);
    let seen: Vec<(&str, &str)> = seen.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn an_upload_that_never_gets_on_ends_without_telling_its_session() {
    let (file, bytes) = big_file();
    let server = Scripted::start([]).await;
    server.then(started(&server, "secret"));
    let server = server.always(|| kept(None));
    let storage = Storage::new(&server.giving_up());
    let pre = Precondition::Absent;
    let path = file.path();
    let error = storage
        .objects_insert_file("bucket", "a/b", "x/y", path, pre)
        .await
        .unwrap_err();
    assert!(error.tries > 6, "{error}");
    assert!(!format!("{error} {error:?}").contains("secret"), "{error}");

    // Finished by an earlier try, whose answer was lost.
    let server = Scripted::start([]).await;
    server.then(started(&server, "secret"));
    server.then(Answer::Close);
    server.then(Answer::code(412, CONFLICT));
    server.then(Answer::json(&object(5, &bytes)));
    let storage = Storage::new(&server.client());
    let made = storage
        .objects_insert_file("bucket", "a/b", "x/y", path, pre)
        .await;
    assert_eq!(made.unwrap().generation, 5);
}

#[tokio::test]
async fn a_file_that_cannot_be_read_is_the_user_s_input() {
    let server = Scripted::start([]).await;
    let path = std::path::Path::new("/nowhere/at/all");
    let error = storage(&server)
        .objects_insert_file("bucket", "a", "x/y", path, Precondition::Absent)
        .await
        .unwrap_err();
    assert_eq!(
        crate::exit::exit_code(&error.into()),
        crate::exit::code::INPUT
    );
}

#[tokio::test]
async fn a_broken_download_goes_on_where_it_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new/file");
    let (headers, half) = media(b"hello ", b"hello world");
    let (more, rest) = media(b"world", b"hello world");
    let server = Scripted::start([
        Answer::Cut(200, headers, half),
        Answer::Full(206, more, rest),
    ])
    .await;
    let digest = storage(&server)
        .objects_download("bucket", "a/b", &path)
        .await
        .unwrap();
    assert_eq!(digest, Digest::of(b"hello world"));
    assert_eq!(std::fs::read(&path).unwrap(), b"hello world");
    let again = &server.asked()[1];
    assert_eq!(again.header("range"), Some("bytes=6-"));
    assert_eq!(
        again.target,
        "/storage/v1/b/bucket/o/a%2Fb?alt=media&generation=7"
    );
}

#[tokio::test]
async fn a_download_whose_object_was_replaced_begins_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let (headers, half) = media(b"old ", b"old text");
    let server = Scripted::start([
        Answer::Cut(200, headers, half),
        Answer::code(404, ""),
        whole(b"new text"),
    ])
    .await;
    let digest = storage(&server)
        .objects_download("bucket", "a", &path)
        .await
        .unwrap();
    assert_eq!(digest, Digest::of(b"new text"));
    assert_eq!(server.asked()[2].header("range"), None);
}

#[tokio::test]
async fn a_download_that_stays_damaged_leaves_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let damaged = || {
        let (headers, _) = media(b"", b"hello");
        Answer::Full(200, headers, b"hellx".to_vec())
    };
    let server = Scripted::start([]).await.always(damaged);
    let storage = Storage::new(&server.giving_up());
    let error = storage
        .objects_download("bucket", "a", &path)
        .await
        .unwrap_err();
    assert_eq!(error.status, "DATA_LOSS");
    assert!(error.tries > 6, "{error}");
    let server = Scripted::start([Answer::code(404, "")]).await;
    let missing = Storage::new(&server.client());
    assert!(
        missing
            .objects_download("bucket", "a", &path)
            .await
            .unwrap_err()
            .is_not_found()
    );
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_server_that_falls_silent_is_asked_again() {
    let object = object(7, b"hello world");
    let server = Scripted::start([Answer::Hang, Answer::json(&object)]).await;
    let storage = Storage::new(&server.hurried());
    let bytes = Bytes::from_static(b"hello world");
    let pre = Precondition::Absent;
    let made = storage.objects_insert("bucket", "a/b", "text/plain", bytes, pre);
    assert_eq!(made.await.unwrap().generation, 7);

    for silent in [Answer::Hang, {
        let (headers, half) = media(b"hello ", b"hello world");
        Answer::Stall(200, headers, half)
    }] {
        let server = Scripted::start([silent, whole(b"hello world")]).await;
        let storage = Storage::new(&server.hurried());
        let (_, bytes) = storage.objects_read("bucket", "a").await.unwrap().unwrap();
        assert_eq!(bytes, "hello world");
        assert_eq!(server.asked().len(), 2);
    }
}

#[tokio::test]
async fn a_download_that_falls_silent_goes_on_where_it_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let (headers, half) = media(b"hello ", b"hello world");
    let (more, rest) = media(b"world", b"hello world");
    let server = Scripted::start([
        Answer::Hang,
        Answer::Stall(200, headers, half),
        Answer::Hang,
        Answer::Full(206, more, rest),
    ])
    .await;
    let storage = Storage::new(&server.hurried());
    let digest = storage.objects_download("bucket", "a", &path).await;
    assert_eq!(digest.unwrap(), Digest::of(b"hello world"));
    assert_eq!(server.asked()[3].header("range"), Some("bytes=6-"));
}

#[tokio::test]
async fn a_download_from_a_server_that_stays_silent_ends() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let server = Scripted::start([]).await.always(|| Answer::Hang);
    let storage = Storage::new(&server.giving_up());
    let error = storage.objects_download("bucket", "a", &path).await;
    let error = error.unwrap_err();
    assert!(error.tries > 1 && error.http.is_none(), "{error}");
    assert_eq!(server.asked().len(), error.tries as usize);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_list_is_tried_again() {
    for failure in [
        || Answer::Close,
        || Answer::Hang,
        || Answer::code(503, ""),
        || Answer::Cut(200, vec![], b"{".to_vec()),
    ] {
        let server = Scripted::start([failure(), Answer::json("{}")]).await;
        let found = storage(&server).objects_list("bucket", "a/").await;
        assert!(found.unwrap().is_empty());
        assert_eq!(server.asked().len(), 2);
    }
}
