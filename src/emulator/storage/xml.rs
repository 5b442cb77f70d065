//! The XML API, `/BUCKET/OBJECT`: what the crate object_store, gsutil over http and the transfer
//! manager of Google's Python client speak. Buckets and their settings, objects, lists, multipart and resumable
//! uploads.
//!
//! A bucket whose name is the first word of another API's paths is out of reach here. Left out: whether the
//! signature of a signed URL holds.

mod parts;
mod settings;
mod tree;

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

use super::buckets::{self, Bucket};
use super::bytes::{self, Incoming, Sums};
use super::internal::TENANT;
use super::lists::{self, Of};
use super::objects::download::{self, http_date};
use super::objects::{self, Attributes, New, Object, Preconditions, Sent, copy, list, resumable};
use super::{blocking, not_emulated};
use crate::emulator::core::numbers::project_number;
use crate::emulator::core::variables::local_project;
use crate::emulator::storage::Storage;
use crate::emulator::wire::error::ApiError;
use crate::emulator::wire::http::{
    self, Answer, Reply, Request, empty, percent_decode, percent_encode,
};
use tree::Element;

/// First words of the paths of other APIs.
const OTHERS: [&str; 10] = [
    "apis",
    "batch",
    "bigquery",
    "download",
    "oauth2",
    "resumable",
    "retry_test",
    "storage",
    "upload",
    "v1beta1",
];
const CONTENT_TYPE: &str = "application/xml; charset=UTF-8";
const NAMESPACE: &str = "http://s3.amazonaws.com/doc/2006-03-01/";
const MAX_MESSAGE_BYTES: usize = 4 << 20;

/// What a request about one object may have in its query beside what its method takes.
const OF_OBJECT: [&str; 8] = [
    "acl",
    "compose",
    "generation",
    "partNumber",
    "upload_id",
    "uploadId",
    "uploads",
    "userProject",
];
/// What a list of objects takes.
const OF_LIST: [&str; 12] = [
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
    "userProject",
    "versions",
];

/// The bucket and the object, of which the object or both may be empty, that a raw path names; `None` for the path
/// of another API.
pub(in crate::emulator) fn names(path: &str) -> Option<(String, String)> {
    let path = path.strip_prefix('/')?;
    if path.is_empty() {
        return Some(Default::default());
    }
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
    if request.params[0].is_empty() {
        return match method.as_str() {
            "GET" | "HEAD" => list_buckets(&storage, &request),
            _ => Err(not_served()),
        };
    }
    let whole_bucket = request.params[1].is_empty();
    let setting = settings::OF_BUCKET
        .into_iter()
        .find(|name| whole_bucket && sent(&request, name));
    check_query(&request, whole_bucket, setting.is_some())?;
    if whole_bucket && setting.is_none() && method == Method::PUT {
        return make_bucket(storage, request).await;
    }
    Bucket::find(&storage, &request.params[0]).map_err(|e| e.reason("NoSuchBucket"))?;
    if let Some(name) = setting {
        return match method.as_str() {
            "GET" | "HEAD" => settings::get(&storage, &request, name),
            "PUT" => settings::put(storage, request, name).await,
            _ => Err(not_served()),
        };
    }
    let has = |name| sent(&request, name);
    let starts = request
        .header("x-goog-resumable")
        .is_some_and(|word| word.eq_ignore_ascii_case("start"));
    match (method.as_str(), whole_bucket) {
        ("HEAD", true) => Ok(empty(StatusCode::OK).into()),
        ("GET", true) => list_objects(&storage, request),
        ("DELETE", true) => {
            let gone = buckets::delete(storage, request).await;
            gone.map_err(|error| match error.code {
                409 => error.reason("BucketNotEmpty"),
                _ => error,
            })
        }
        ("GET" | "HEAD", false) if has("acl") => settings::object_acl(&storage, &request),
        ("PUT", false) if has("acl") => settings::put_object_acl(storage, request).await,
        ("PUT", false) if has("compose") => compose(storage, request).await,
        ("POST", false) if starts => start_resumable(storage, request).await,
        ("PUT", false) if has("upload_id") => put_resumable(storage, request).await,
        ("DELETE", false) if has("upload_id") => resumable::cancel(storage, request).await,
        (_, false) if ["acl", "compose", "upload_id"].into_iter().any(has) => Err(not_served()),
        ("GET" | "HEAD", false) if !has("uploadId") && !has("uploads") => read(&storage, &request),
        ("PUT", false) if has("uploadId") => parts::put(storage, request).await,
        ("PUT", false) if request.header("x-goog-copy-source").is_some() => {
            copy_object(storage, request).await
        }
        ("PUT", false) if !has("uploads") => put(storage, request).await,
        ("POST", false) if has("uploads") => parts::start(storage, request).await,
        ("POST", false) if has("uploadId") => parts::complete(storage, request).await,
        ("DELETE", false) if has("uploadId") => parts::abort(storage, request).await,
        ("DELETE", false) if !has("uploads") => delete(storage, request).await,
        _ => Err(not_served()),
    }
}

fn not_served() -> ApiError {
    not_emulated("This method of the XML API is not emulated; the JSON API may have it.")
        .reason("NotImplemented")
}

fn malformed() -> ApiError {
    ApiError::invalid_argument("The XML you provided was not well-formed or did not validate.")
        .reason("MalformedXML")
}

/// Whether the query has a parameter, with or without a value.
fn sent(request: &Request, name: &str) -> bool {
    request.query.iter().any(|(key, _)| key == name)
}

/// Refuses what would be ignored: a sub-resource that is not served must not be taken for the object itself.
fn check_query(request: &Request, whole_bucket: bool, setting: bool) -> Result<(), ApiError> {
    // What signs a URL stands in its query.
    let signs = |name: &str| {
        let name = name.to_ascii_lowercase();
        name.starts_with("x-goog-")
            || name.starts_with("response-content-")
            || ["signature", "googleaccessid", "expires"].contains(&name.as_str())
    };
    let known = |name: &str| {
        signs(name)
            || name.starts_with("if")
            || match (whole_bucket, setting) {
                (true, true) => settings::OF_BUCKET.contains(&name) || name == "userProject",
                (true, false) => OF_LIST.contains(&name),
                (false, _) => OF_OBJECT.contains(&name),
            }
    };
    match request.query.iter().find(|(name, _)| !known(name)) {
        None => Ok(()),
        Some((other, _)) => Err(ApiError::invalid_argument(format!(
            "The parameter {other} is unknown, or this emulator does not serve it in the XML API; the JSON API may."
        ))
        .reason("InvalidQueryParameter")),
    }
}

/// The document in a request's body.
async fn read_document(request: &mut Request) -> Result<Element, ApiError> {
    let body = axum::body::to_bytes(request.take_stream(), MAX_MESSAGE_BYTES)
        .await
        .map_err(|_| ApiError::too_large("The document is too long."))?;
    let text = std::str::from_utf8(&body).ok();
    text.and_then(Element::read).ok_or_else(malformed)
}

/// Makes a request one of the JSON API's, with a message.
fn as_json(request: &mut Request, message: &serde_json::Value) {
    request.body = Bytes::from(message.to_string());
    let kind = HeaderValue::from_static("application/json");
    request.headers.insert(header::CONTENT_TYPE, kind);
}

/// `GET /`: the buckets of a project, or all where none is named.
fn list_buckets(storage: &Storage, request: &Request) -> Answer {
    check_query(request, true, true)?;
    let project = request.header("x-goog-project-id").map(project_number);
    let hidden = project_number(TENANT);
    let found = buckets::all(storage).filter(|bucket| match &project {
        Some(project) => bucket.project == *project,
        None => bucket.project != hidden,
    });
    let found: Vec<_> = found.collect();
    let owner = project.unwrap_or_else(|| project_number(&local_project()));
    let response = document("ListAllMyBucketsResult", |xml| {
        xml.create_element("Owner")
            .write_inner_content(|xml| texts(xml, [("ID", &*format!("project-owners-{owner}"))]))?;
        xml.create_element("Buckets").write_inner_content(|xml| {
            for bucket in &found {
                let elements = [
                    ("Name", bucket.name.as_str()),
                    ("CreationDate", &bucket.created.to_string()),
                ];
                xml.create_element("Bucket")
                    .write_inner_content(|xml| texts(xml, elements))?;
            }
            Ok(())
        })?;
        Ok(())
    })?;
    Ok(response.into())
}

/// `PUT /BUCKET`.
async fn make_bucket(storage: Arc<Storage>, mut request: Request) -> Answer {
    let body = axum::body::to_bytes(request.take_stream(), MAX_MESSAGE_BYTES)
        .await
        .map_err(|_| ApiError::too_large("The document is too long."))?;
    let mut message = serde_json::json!({ "name": request.params[0] });
    let canned = request.header("x-goog-acl").map(str::to_owned);
    if !body.trim_ascii().is_empty() {
        let text = std::str::from_utf8(&body).ok();
        let root = text.and_then(Element::read).ok_or_else(malformed)?;
        if root.name != "CreateBucketConfiguration" {
            return Err(malformed());
        }
        for (element, field) in [
            ("LocationConstraint", "location"),
            ("StorageClass", "storageClass"),
        ] {
            if let Some(text) = root.text_of(element).filter(|text| !text.is_empty()) {
                message[field] = text.into();
            }
        }
    }
    let project = request.header("x-goog-project-id").map(str::to_owned);
    let project = project.unwrap_or_else(local_project);
    request.query.push(("project".to_owned(), project));
    request
        .query
        .extend(canned.map(|word| ("predefinedAcl".to_owned(), word)));
    as_json(&mut request, &message);
    buckets::insert(storage, request)
        .await
        .map_err(|error| match error.code {
            409 => error.reason("BucketAlreadyOwnedByYou"),
            _ => error,
        })?;
    Ok(empty(StatusCode::OK).into())
}

/// `PUT /BUCKET/OBJECT?compose`.
async fn compose(storage: Arc<Storage>, mut request: Request) -> Answer {
    let destination = attributes(&storage, &request)?;
    let root = read_document(&mut request).await?;
    if root.name != "ComposeRequest" {
        return Err(malformed());
    }
    let mut sources = Vec::new();
    for component in root.all("Component") {
        let name = component.text_of("Name").ok_or_else(malformed)?;
        let mut source = serde_json::json!({ "name": name });
        if let Some(generation) = component.text_of("Generation") {
            source["generation"] = generation.into();
        }
        if let Some(generation) = component.text_of("IfGenerationMatch") {
            source["objectPreconditions"] = serde_json::json!({"ifGenerationMatch": generation});
        }
        sources.push(source);
    }
    let [bucket, name] = [request.params[0].clone(), request.params[1].clone()];
    let message = serde_json::json!({
        "sourceObjects": sources,
        "destination": destination.all_fields(),
    });
    as_json(&mut request, &message);
    let made = copy::compose(storage.clone(), request).await?;
    with_headers_of(&storage, made, &bucket, &name)
}

/// The XML API's answer to what made an object by the JSON API's method; another answer stays.
fn with_headers_of(storage: &Storage, made: Reply, bucket: &str, name: &str) -> Answer {
    let Reply::Json(resource) = made else {
        return Ok(made);
    };
    let generation = resource["generation"]
        .as_str()
        .and_then(|text| text.parse().ok());
    let mut response = empty(StatusCode::OK);
    if let Ok(object) = objects::find(storage, bucket, name, generation) {
        set_headers(&mut response, &object);
    }
    Ok(response.into())
}

/// `POST /BUCKET/OBJECT` with `x-goog-resumable: start`.
async fn start_resumable(storage: Arc<Storage>, request: Request) -> Answer {
    let [bucket, name] = [&request.params[0], &request.params[1]];
    objects::check_name(name)?;
    let base = request.base_url(&storage.core.url);
    let location = format!("{base}/{bucket}/{}?upload_id=", percent_encode(name));
    let sent = Sent {
        name: Some(name.clone()),
        attributes: attributes(&storage, &request)?,
        ..Sent::default()
    };
    let preconditions = Preconditions::of(&request)?;
    let id = resumable::begin(&storage, bucket, sent, preconditions, None).await?;
    let mut response = empty(StatusCode::CREATED);
    let headers = response.headers_mut();
    download::insert(headers, header::LOCATION, &format!("{location}{id}"));
    download::insert(
        headers,
        HeaderName::from_static("x-guploader-uploadid"),
        &id,
    );
    Ok(response.into())
}

async fn put_resumable(storage: Arc<Storage>, request: Request) -> Answer {
    let [bucket, name] = [request.params[0].clone(), request.params[1].clone()];
    let made = resumable::put(storage.clone(), request).await?;
    with_headers_of(&storage, made, &bucket, &name)
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
fn attributes(storage: &Storage, request: &Request) -> Result<Attributes, ApiError> {
    let acl = match request.header("x-goog-acl") {
        Some(word) => {
            let bucket = Bucket::find(storage, &request.params[0])?;
            Some(lists::predefined(Of::Object, word, &bucket.project)?)
        }
        None => None,
    };
    let sent = |name: &str| request.headers.get(name).map(text);
    let mut metadata = BTreeMap::new();
    for (name, value) in &request.headers {
        if let Some(key) = name.as_str().strip_prefix("x-goog-meta-") {
            metadata.insert(key.to_owned(), Some(text(value)));
        }
    }
    Ok(Attributes {
        content_type: sent("content-type"),
        content_encoding: sent("content-encoding"),
        content_disposition: sent("content-disposition"),
        content_language: sent("content-language"),
        cache_control: sent("cache-control"),
        custom_time: sent("x-goog-custom-time"),
        storage_class: sent("x-goog-storage-class"),
        kms_key_name: sent("x-goog-encryption-kms-key-name"),
        acl,
        metadata: Some(metadata).filter(|metadata| !metadata.is_empty()),
        ..Attributes::default()
    })
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
    let attributes = attributes(&storage, &request)?;
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
        let fields = attributes(&storage, &request)?.all_fields();
        as_json(&mut request, &serde_json::Value::Object(fields));
    }
    if let Some(key) = request.header("x-goog-encryption-kms-key-name") {
        let key = key.to_owned();
        request
            .query
            .push(("destinationKmsKeyName".to_owned(), key));
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
    let versions = sent(&request, "versions");
    if versions {
        request.query.retain(|(name, _)| name != "versions");
        request
            .query
            .push(("versions".to_owned(), "true".to_owned()));
    }
    let second = request.get("list-type") == Some("2");
    let set = |name: &str| {
        let value = request.get(name).filter(|value| !value.is_empty());
        value.map(str::to_owned)
    };
    let delimiter = set("delimiter");
    let begins = set(if second { "start-after" } else { "marker" });
    let token = set("continuation-token").filter(|_| second);
    let generation = request.parse("generation-marker").ok().flatten();
    let token = token.or_else(|| {
        let name = begins.as_deref()?;
        Some(list::token_after(name, generation, delimiter.as_deref()))
    });
    // A client that asks for none wants to know whether the bucket is there.
    let none = request.get("max-keys") == Some("0");
    let most = set("max-keys").filter(|_| !none);
    for (name, value) in [("pageToken", token), ("maxResults", most)] {
        request
            .query
            .extend(value.map(|value| (name.to_owned(), value)));
    }
    let mut found = list::find(storage, &request)?;
    if none {
        found.items.clear();
        found.prefixes.clear();
        found.next = None;
    }
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
            (Some((_, last)), false) => {
                texts(xml, [("NextMarker", &**last)])?;
                let generation = found
                    .items
                    .last()
                    .filter(|object| versions && object.name == *last);
                let generation = generation.map(|object| object.generation.to_string());
                texts(
                    xml,
                    generation
                        .as_deref()
                        .map(|text| ("NextGenerationMarker", text)),
                )?;
            }
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
            let latest = if object.deleted.is_some() {
                "false"
            } else {
                "true"
            };
            let latest = versions.then_some(("IsLatest", latest));
            xml.create_element(if versions { "Version" } else { "Contents" })
                .write_inner_content(|xml| {
                    texts(xml, elements)?;
                    texts(xml, latest)
                })?;
        }
        for prefix in &found.prefixes {
            xml.create_element("CommonPrefixes")
                .write_inner_content(|xml| texts(xml, [("Prefix", prefix.as_str())]))?;
        }
        Ok(())
    })?;
    Ok(response.into())
}
