//! The XML API, `/BUCKET/OBJECT`: what the crate object_store, gsutil over http and the transfer
//! manager of Google's Python client speak. Objects, lists and multipart uploads.
//!
//! A bucket whose name is the first word of another API's paths is out of reach here. Left out:
//! creating and changing buckets, access control, signed URLs.

mod parts;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use axum::body::Bytes;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use quick_xml::escape::partial_escape;
use quick_xml::events::{BytesDecl, BytesStart, BytesText, Event};
use tempfile::NamedTempFile;

pub(in crate::emulator::storage) use parts::{kinds, sweep};

use super::blocking;
use super::buckets::{self, Bucket};
use super::bytes::{self, Incoming, Sums};
use super::objects::download::{self, http_date};
use super::objects::{self, Attributes, New, Object, Preconditions, copy, list};
use crate::emulator::storage::Storage;
use crate::emulator::wire::error::ApiError;
use crate::emulator::wire::http::{self, Answer, Request, empty, percent_decode};

/// First words of the paths of other APIs.
const OTHERS: [&str; 7] = [
    "batch",
    "bigquery",
    "download",
    "resumable",
    "storage",
    "upload",
    "v1beta1",
];
const CONTENT_TYPE: &str = "application/xml; charset=UTF-8";
const NAMESPACE: &str = "http://s3.amazonaws.com/doc/2006-03-01/";

/// The bucket and the object, which may be empty, that a raw path names; `None` for the path of
/// another API.
pub(in crate::emulator) fn names(path: &str) -> Option<(String, String)> {
    let path = path.strip_prefix('/')?;
    let (bucket, object) = path.split_once('/').unwrap_or((path, ""));
    let bucket = percent_decode(bucket)?;
    if OTHERS.contains(&bucket.as_str()) || buckets::check_name(&bucket).is_err() {
        return None;
    }
    Some((bucket, percent_decode(object)?))
}

/// Answers a request whose `wild` holds the bucket and the object.
///
/// # Errors
/// What is wrong, for [`error`].
pub(in crate::emulator) async fn serve(
    storage: Arc<Storage>,
    method: &Method,
    mut request: Request,
) -> Answer {
    // Preconditions are headers here, and parameters there.
    for (header, parameter) in [
        ("x-goog-if-generation-match", "ifGenerationMatch"),
        ("x-goog-if-metageneration-match", "ifMetagenerationMatch"),
    ] {
        if let Some(value) = request.header(header).map(str::to_owned) {
            request.query.push((parameter.to_owned(), value));
        }
    }
    Bucket::find(&storage, &request.params[0]).map_err(|e| e.reason("NoSuchBucket"))?;
    let has = |name| request.get(name).is_some();
    let whole_bucket = request.params[1].is_empty();
    match (method.as_str(), whole_bucket) {
        ("HEAD", true) => Ok(empty(StatusCode::OK).into()),
        ("GET", true) => list_objects(&storage, request),
        ("GET" | "HEAD", false) if !has("uploadId") => read(&storage, &request),
        ("PUT", false) if has("uploadId") => parts::put(storage, request).await,
        ("PUT", false) if request.header("x-goog-copy-source").is_some() => {
            copy_object(storage, request).await
        }
        ("PUT", false) => put(storage, request).await,
        ("POST", false) if has("uploads") => parts::start(storage, request).await,
        ("POST", false) if has("uploadId") => parts::complete(storage, request).await,
        ("DELETE", false) if has("uploadId") => parts::abort(storage, request).await,
        ("DELETE", false) => delete(storage, request).await,
        _ => Err(ApiError::unimplemented(
            "This method of the XML API is not emulated; the JSON API may have it.",
        )),
    }
}

/// A document in the making.
type Xml = quick_xml::Writer<Vec<u8>>;

/// A document, whose content `write` writes into its root.
fn written(
    root: &BytesStart<'_>,
    write: impl FnOnce(&mut Xml) -> io::Result<()>,
) -> io::Result<String> {
    let mut xml = Xml::new(Vec::new());
    // With the quotes that Google's declarations have.
    let declaration = BytesStart::from_content("xml version='1.0' encoding='UTF-8'", 3);
    xml.write_event(Event::Decl(BytesDecl::from_start(declaration)))?;
    xml.write_event(Event::Start(root.borrow()))?;
    write(&mut xml)?;
    xml.write_event(Event::End(root.to_end()))?;
    String::from_utf8(xml.into_inner()).map_err(io::Error::other)
}

/// Elements that hold nothing but a text.
fn texts<'a>(
    xml: &mut Xml,
    elements: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> io::Result<()> {
    for (name, text) in elements {
        // What XML cannot hold, escaped or not.
        let unfit = |c: char| c < ' ' && !matches!(c, '\t' | '\n' | '\r');
        let text = partial_escape(text.replace(unfit, "\u{fffd}")).replace('"', "&quot;");
        xml.create_element(name)
            .write_text_content(BytesText::from_escaped(text))?;
    }
    Ok(())
}

/// A 200 with a document.
fn document(
    root: &str,
    write: impl FnOnce(&mut Xml) -> io::Result<()>,
) -> Result<Response, ApiError> {
    let root = BytesStart::from_content(format!("{root} xmlns='{NAMESPACE}'"), root.len());
    let text = written(&root, write)?;
    Ok(http::document(StatusCode::OK, CONTENT_TYPE, text))
}

/// `<Error><Code>…`: how this API writes an error; its words begin with a capital.
pub(in crate::emulator) fn error(error: &ApiError) -> (&'static str, String) {
    let word = match (error.reason, error.code) {
        (reason, _) if reason.starts_with(|c: char| c.is_ascii_uppercase()) => reason,
        (_, 404) => "NoSuchKey",
        (_, 409) => "Conflict",
        (_, 412) => "PreconditionFailed",
        (_, 413) => "EntityTooLarge",
        (_, 416) => "InvalidRange",
        (_, 429) => "SlowDown",
        ("notImplemented", _) => "NotImplemented",
        (_, 503) => "ServiceUnavailable",
        (_, 500..) => "InternalError",
        (_, 403) => "AccessDenied",
        _ => "InvalidArgument",
    };
    let message = error.message.as_str();
    let elements = [("Code", word), ("Message", message), ("Details", message)];
    let text = written(&BytesStart::new("Error"), |xml| texts(xml, elements));
    // Nothing fails that is written into memory.
    (CONTENT_TYPE, text.unwrap_or_default())
}

/// The MD5 in quotes; where there is none, a word that no other generation has.
fn etag(object: &Object) -> String {
    let md5 = object.md5.as_ref();
    match md5.and_then(|md5| BASE64_STANDARD.decode(md5).ok()) {
        Some(md5) => quoted_hex(&md5),
        None => format!("\"-{}\"", object.etag()),
    }
}

fn quoted_hex(bytes: &[u8]) -> String {
    let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    format!("\"{hex}\"")
}

/// What every answer about an object says of it.
fn set_headers(response: &mut Response, object: &Object) {
    let mut hash = format!("crc32c={}", object.crc32c_text());
    if let Some(md5) = &object.md5 {
        hash.push_str(&format!(",md5={md5}"));
    }
    let named = HeaderName::from_static;
    for (name, value) in [
        (header::ETAG, etag(object)),
        (named("x-goog-hash"), hash),
        (named("x-goog-generation"), object.generation.to_string()),
        (
            named("x-goog-metageneration"),
            object.metageneration.to_string(),
        ),
        (
            named("x-goog-stored-content-length"),
            object.size.to_string(),
        ),
    ] {
        download::insert(response.headers_mut(), name, &value);
    }
}

fn read(storage: &Arc<Storage>, request: &Request) -> Answer {
    let [bucket, name] = [&request.params[0], &request.params[1]];
    let generation = request.parse("generation")?;
    let (object, file) = bytes::open_object(storage, bucket, name, generation)?;
    Preconditions::of(request)?.check_read(&object)?;
    download::check_headers(request, &etag(&object), object.updated)?;
    let mut response = download::media(request, &object, file)?;
    set_headers(&mut response, &object);
    let headers = response.headers_mut();
    download::insert(headers, header::LAST_MODIFIED, &http_date(object.updated));
    for (key, value) in object.attributes.metadata.iter().flatten() {
        if let (Ok(name), Some(value)) = (
            HeaderName::try_from(format!("x-goog-meta-{key}")),
            value.as_ref(),
        ) {
            download::insert(headers, name, value);
        }
    }
    Ok(response.into())
}

/// A header's text; bytes that are no UTF-8 are Latin-1, as Python's clients send them.
fn text(value: &HeaderValue) -> String {
    let bytes = value.as_bytes();
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().copied().map(char::from).collect(),
    }
}

/// What a request's headers say a new object is.
fn attributes(request: &Request) -> Attributes {
    let sent = |name: &str| request.headers.get(name).map(text);
    let mut metadata = BTreeMap::new();
    for (name, value) in &request.headers {
        if let Some(key) = name.as_str().strip_prefix("x-goog-meta-") {
            metadata.insert(key.to_owned(), Some(text(value)));
        }
    }
    Attributes {
        content_type: sent("content-type"),
        content_encoding: sent("content-encoding"),
        content_disposition: sent("content-disposition"),
        content_language: sent("content-language"),
        cache_control: sent("cache-control"),
        custom_time: sent("x-goog-custom-time"),
        storage_class: sent("x-goog-storage-class"),
        metadata: Some(metadata).filter(|metadata| !metadata.is_empty()),
        ..Attributes::default()
    }
}

/// What has arrived of a body, and the sums that its headers promise.
struct Received {
    file: NamedTempFile,
    sums: Sums,
    crc32c: Option<String>,
    md5: Option<String>,
}

async fn receive(storage: &Storage, request: &mut Request) -> Result<Received, ApiError> {
    let (crc32c, md5) = bytes::goog_hash(request.header("x-goog-hash"));
    let (crc32c, md5) = (
        crc32c.map(str::to_owned),
        md5.or_else(|| request.header("content-md5"))
            .map(str::to_owned),
    );
    let mut incoming = Incoming::new(storage)?;
    let mut pieces = request.take_stream().into_data_stream();
    while let Some(piece) = bytes::next(&mut pieces).await? {
        incoming.write(piece).await?;
    }
    let (file, sums) = incoming.finish().await?;
    Ok(Received {
        file,
        sums,
        crc32c,
        md5,
    })
}

impl Received {
    /// The file, synced, and its sums, which are those promised. Blocks.
    fn finish(self) -> Result<(NamedTempFile, Sums), ApiError> {
        self.file.as_file().sync_all()?;
        self.sums
            .check(self.crc32c.as_deref(), self.md5.as_deref())
            .map_err(|e| e.reason("BadDigest"))?;
        Ok((self.file, self.sums))
    }
}

async fn put(storage: Arc<Storage>, mut request: Request) -> Answer {
    objects::check_name(&request.params[1])?;
    let preconditions = Preconditions::of(&request)?;
    let attributes = attributes(&request);
    let received = receive(&storage, &mut request).await?;
    let object = blocking(move || {
        let (file, sums) = received.finish()?;
        let new = New {
            bucket: request.params[0].clone(),
            name: request.params[1].clone(),
            attributes,
            preconditions,
            sums,
            component_count: None,
            upload: None,
        };
        objects::commit(&storage, new, file.path())
    })
    .await?;
    let mut response = empty(StatusCode::OK);
    set_headers(&mut response, &object);
    Ok(response.into())
}

async fn copy_object(storage: Arc<Storage>, mut request: Request) -> Answer {
    let source = request
        .header("x-goog-copy-source")
        .and_then(percent_decode)
        .unwrap_or_default();
    let (bucket, name) = source
        .trim_start_matches('/')
        .split_once('/')
        .ok_or_else(|| ApiError::invalid_argument("Invalid x-goog-copy-source."))?;
    let (bucket, name) = (bucket.to_owned(), name.to_owned());
    for (header, parameter) in [
        ("x-goog-copy-source-generation", "sourceGeneration"),
        (
            "x-goog-copy-source-if-generation-match",
            "ifSourceGenerationMatch",
        ),
        (
            "x-goog-copy-source-if-metageneration-match",
            "ifSourceMetagenerationMatch",
        ),
    ] {
        if let Some(value) = request.header(header).map(str::to_owned) {
            request.query.push((parameter.to_owned(), value));
        }
    }
    let replaces = request
        .header("x-goog-metadata-directive")
        .is_some_and(|word| word.eq_ignore_ascii_case("replace"));
    if replaces {
        let fields = attributes(&request).fields();
        request.body = Bytes::from(serde_json::Value::Object(fields).to_string());
        let kind = HeaderValue::from_static("application/json");
        request.headers.insert(header::CONTENT_TYPE, kind);
    }
    request.params.splice(0..0, [bucket, name]);
    let object = blocking(move || copy::plan(&storage, &request)?.carry_out(&storage)).await?;
    let (updated, etag) = (object.updated.to_string(), etag(&object));
    let mut response = document("CopyObjectResult", |xml| {
        texts(xml, [("LastModified", &*updated), ("ETag", &*etag)])
    })?;
    set_headers(&mut response, &object);
    Ok(response.into())
}

async fn delete(storage: Arc<Storage>, request: Request) -> Answer {
    let preconditions = Preconditions::of(&request)?;
    let generation = request.parse("generation")?;
    blocking(move || {
        let [bucket, name] = [&request.params[0], &request.params[1]];
        objects::delete(&storage, bucket, name, generation, preconditions)
    })
    .await?;
    Ok(empty(StatusCode::NO_CONTENT).into())
}

/// `GET /BUCKET`, in its first and its second version.
fn list_objects(storage: &Arc<Storage>, mut request: Request) -> Answer {
    const KNOWN: [&str; 11] = [
        "continuation-token",
        "delimiter",
        "encoding-type",
        "fetch-owner",
        "generation-marker",
        "list-type",
        "marker",
        "max-keys",
        "prefix",
        "start-after",
        "versions",
    ];
    if let Some((other, _)) = request
        .query
        .iter()
        .find(|(name, _)| !KNOWN.contains(&name.as_str()) && !name.starts_with("if"))
    {
        return Err(ApiError::unimplemented(format!(
            "The parameter {other} of a bucket is not emulated in the XML API."
        )));
    }
    // Without noncurrent generations, the live ones are all.
    let versions = request
        .query
        .iter()
        .position(|(name, _)| name == "versions");
    if let Some(at) = versions {
        if Bucket::find(storage, &request.params[0])?.versioned() {
            return Err(ApiError::unimplemented(
                "Versions are not listed in this XML API: use the JSON API.",
            ));
        }
        request.query.remove(at);
    }
    let second = request.get("list-type") == Some("2");
    let sent = |name: &str| {
        let value = request.get(name).filter(|value| !value.is_empty());
        value.map(str::to_owned)
    };
    let delimiter = sent("delimiter");
    let begins = sent(if second { "start-after" } else { "marker" });
    let token = sent("continuation-token").filter(|_| second);
    let token = token.or_else(|| {
        let name = begins.as_deref()?;
        Some(list::token_after(name, delimiter.as_deref()))
    });
    let most = sent("max-keys");
    for (name, value) in [("pageToken", token), ("maxResults", most)] {
        request
            .query
            .extend(value.map(|value| (name.to_owned(), value)));
    }
    let found = list::find(storage, &request)?;
    let truncated = if found.next.is_some() {
        "true"
    } else {
        "false"
    };
    let response = document("ListBucketResult", |xml| {
        let prefix = request.get("prefix").unwrap_or_default();
        texts(xml, [("Name", &*request.params[0]), ("Prefix", prefix)])?;
        texts(xml, delimiter.as_deref().map(|text| ("Delimiter", text)))?;
        texts(xml, [("IsTruncated", truncated)])?;
        match (&found.next, second) {
            (Some((token, _)), true) => texts(xml, [("NextContinuationToken", &**token)])?,
            (Some((_, last)), false) => texts(xml, [("NextMarker", &**last)])?,
            (None, _) => {}
        }
        if second {
            let count = found.items.len() + found.prefixes.len();
            texts(xml, [("KeyCount", &*count.to_string())])?;
        }
        for object in &found.items {
            let elements = [
                ("Key", object.name.as_str()),
                ("Generation", &object.generation.to_string()),
                ("MetaGeneration", &object.metageneration.to_string()),
                ("LastModified", &object.updated.to_string()),
                ("ETag", &etag(object)),
                ("Size", &object.size.to_string()),
                ("StorageClass", object.storage_class()),
            ];
            xml.create_element("Contents")
                .write_inner_content(|xml| texts(xml, elements))?;
        }
        for prefix in &found.prefixes {
            xml.create_element("CommonPrefixes")
                .write_inner_content(|xml| texts(xml, [("Prefix", prefix.as_str())]))?;
        }
        Ok(())
    })?;
    Ok(response.into())
}
