//! Objects that come and go: uploads of every kind, copies, changes, deletions.

use std::collections::BTreeMap;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use md5::{Digest, Md5};
use reqwest::Method;
use serde_json::{Value, json};

use super::{Cloud, Gone, Random, Reply, encode};

/// A client works on so many names.
const NAMES: u64 = 6;
const QUANTUM: u64 = 262_144;

pub async fn make_buckets(cloud: &Cloud) {
    for (name, versioned) in [("plain", false), ("kept", true)] {
        let bucket = json!({"name": name, "versioning": {"enabled": versioned}});
        let made = cloud.json(Method::POST, "/storage/v1/b?project=p", &bucket);
        made.await.unwrap().ok();
    }
}

/// An object as it was acknowledged.
#[derive(Clone)]
struct Known {
    bytes: Bytes,
    resource: Value,
}

impl Known {
    fn new(bytes: Bytes, resource: Value) -> Self {
        let known = Self {
            bytes,
            resource: without_links(resource),
        };
        known.check_resource(&known.resource);
        known
    }

    fn generation(&self) -> &str {
        self.resource["generation"].as_str().unwrap()
    }

    fn note(&self) -> &Value {
        &self.resource["metadata"]["note"]
    }

    /// The resource tells these very bytes.
    fn check_resource(&self, resource: &Value) {
        assert_eq!(resource["size"], self.bytes.len().to_string(), "{resource}");
        assert_eq!(resource["crc32c"], crc32c_of(&self.bytes), "{resource}");
    }
}

/// The links hold the address of one life of the emulator.
fn without_links(mut resource: Value) -> Value {
    for link in ["selfLink", "mediaLink"] {
        resource.as_object_mut().unwrap().remove(link);
    }
    resource
}

fn crc32c_of(bytes: &[u8]) -> String {
    BASE64_STANDARD.encode(crc32c::crc32c(bytes).to_be_bytes())
}

/// What a request that was sent makes of a name.
#[derive(Clone)]
enum Change {
    /// Another generation, of these bytes and this note.
    Bytes(Bytes, Value),
    /// The same generation with another note.
    Note(Value),
    Deleted,
}

/// A resumable upload under way.
struct Session {
    uri: String,
    name: String,
    bytes: Bytes,
    /// So many bytes were acknowledged, and so many were ever sent.
    acknowledged: u64,
    sent: u64,
}

pub struct Objects {
    bucket: &'static str,
    prefix: &'static str,
    live: BTreeMap<String, Known>,
    /// Earlier generations of a bucket that keeps them, by name and generation.
    old: BTreeMap<(String, String), Known>,
    /// A change of a name that was sent and not answered.
    pending: Option<(String, Change)>,
    session: Option<Session>,
    requests: u64,
    taken_up: u64,
}

impl Objects {
    pub fn new(bucket: &'static str, prefix: &'static str) -> Self {
        Self {
            bucket,
            prefix,
            live: BTreeMap::new(),
            old: BTreeMap::new(),
            pending: None,
            session: None,
            requests: 0,
            taken_up: 0,
        }
    }

    pub fn done(&self) -> String {
        let Self {
            requests, taken_up, ..
        } = self;
        format!(
            "{}: {requests} changes, {taken_up} uploads taken up",
            self.prefix
        )
    }

    fn keeps(&self) -> bool {
        self.bucket == "kept"
    }

    fn path(&self, name: &str) -> String {
        format!("/storage/v1/b/{}/o/{}", self.bucket, encode(name))
    }

    /// The precondition that nobody came in between.
    fn unchanged(&self, name: &str) -> String {
        let generation = self.live.get(name).map_or("0", Known::generation);
        format!("ifGenerationMatch={generation}")
    }

    fn upload_path(&self, kind: &str, name: &str) -> String {
        format!(
            "/upload/storage/v1/b/{}/o?uploadType={kind}&name={}&{}",
            self.bucket,
            encode(name),
            self.unchanged(name)
        )
    }

    pub async fn step(&mut self, cloud: &Cloud, random: &mut Random) -> Result<(), Gone> {
        self.requests += 1;
        let name = format!("{}{} ü", self.prefix, random.below(NAMES));
        let bytes = {
            let most = [300, 30_000, 300_000][random.below(3) as usize];
            let length = random.below(most);
            random.bytes(length)
        };
        let note = json!(random.next().to_string());
        match random.below(14) {
            0..3 => {
                let path = self.upload_path("media", &name);
                let sent = Change::Bytes(bytes.clone(), Value::Null);
                let reply = cloud.send(Method::POST, &path, &[], bytes);
                self.change(&name, sent, reply).await
            }
            3..5 => {
                let path = self.upload_path("multipart", &name);
                let message = json!({"metadata": {"note": note}, "crc32c": crc32c_of(&bytes)});
                let mut body = format!(
                    "--xx\r\ncontent-type: application/json\r\n\r\n{message}\r\n--xx\r\n\r\n"
                )
                .into_bytes();
                body.extend_from_slice(&bytes);
                body.extend_from_slice(b"\r\n--xx--");
                let kind = [("content-type", "multipart/related; boundary=xx")];
                let sent = Change::Bytes(bytes, note);
                let reply = cloud.send(Method::POST, &path, &kind, body);
                self.change(&name, sent, reply).await
            }
            5..7 => self.begin_session(cloud, random).await,
            7 => self.compose(cloud, &name).await,
            8 => self.copy(cloud, &name).await,
            9..11 if self.live.contains_key(&name) => {
                let path = format!("{}?{}", self.path(&name), self.unchanged(&name));
                let patch = json!({"metadata": {"note": note}});
                let reply = cloud.json(Method::PATCH, &path, &patch);
                self.change(&name, Change::Note(note), reply).await
            }
            11 if self.live.contains_key(&name) => {
                let path = format!("{}?{}", self.path(&name), self.unchanged(&name));
                let reply = cloud.send(Method::DELETE, &path, &[], "");
                self.change(&name, Change::Deleted, reply).await
            }
            _ => {
                // Refused, and without effect.
                let path = self
                    .upload_path("media", &name)
                    .replace("Match=", "Match=9");
                let reply = cloud.send(Method::POST, &path, &[], bytes).await?;
                assert_eq!(reply.code, 412);
                self.forget_old(cloud).await
            }
        }
    }

    /// Sends a change and takes in its answer.
    async fn change(
        &mut self,
        name: &str,
        change: Change,
        answer: impl Future<Output = Result<Reply, Gone>>,
    ) -> Result<(), Gone> {
        self.pending = Some((name.to_owned(), change));
        let reply = answer.await?;
        let resource = match reply.code {
            204 => None,
            _ => Some(reply.ok()),
        };
        // A rewrite's answer holds the resource.
        let resource = resource.map(|mut value| match value.get_mut("resource") {
            Some(resource) => resource.take(),
            None => value,
        });
        let (name, change) = self.pending.take().unwrap();
        self.take_in(name, change, resource);
        Ok(())
    }

    /// A change that took place.
    fn take_in(&mut self, name: String, change: Change, resource: Option<Value>) {
        let before = self.live.remove(&name);
        if let (Some(before), true) = (&before, self.keeps())
            && !matches!(change, Change::Note(_))
        {
            let key = (name.clone(), before.generation().to_owned());
            self.old.insert(key, before.clone());
        }
        let known = match change {
            Change::Deleted => return,
            Change::Bytes(bytes, note) => {
                let known = Known::new(bytes, resource.unwrap());
                assert_eq!(*known.note(), note);
                if let Some(before) = &before {
                    let number = |known: &Known| known.generation().parse::<u64>().unwrap();
                    assert!(number(&known) > number(before), "{}", known.resource);
                }
                known
            }
            Change::Note(note) => {
                let before = before.unwrap();
                let known = Known::new(before.bytes.clone(), resource.unwrap());
                assert_eq!(known.generation(), before.generation());
                assert_eq!(*known.note(), note);
                known
            }
        };
        self.live.insert(name, known);
    }

    async fn compose(&mut self, cloud: &Cloud, name: &str) -> Result<(), Gone> {
        let parts: Vec<(String, Bytes)> = self
            .live
            .iter()
            .filter(|(_, known)| known.bytes.len() < 300_000)
            .take(3)
            .map(|(name, known)| (name.clone(), known.bytes.clone()))
            .collect();
        if parts.is_empty() {
            return Ok(());
        }
        let sources: Vec<Value> = parts
            .iter()
            .map(|(name, _)| json!({"name": name}))
            .collect();
        let whole: Vec<u8> = parts.iter().flat_map(|(_, bytes)| bytes.to_vec()).collect();
        let path = format!("{}/compose?{}", self.path(name), self.unchanged(name));
        let message = json!({"sourceObjects": sources, "destination": {}});
        let reply = cloud.json(Method::POST, &path, &message);
        let change = Change::Bytes(whole.into(), Value::Null);
        self.change(name, change, reply).await
    }

    async fn copy(&mut self, cloud: &Cloud, name: &str) -> Result<(), Gone> {
        let Some((from, known)) = self.live.iter().find(|(from, _)| *from != name) else {
            return Ok(());
        };
        let change = Change::Bytes(known.bytes.clone(), known.note().clone());
        let target = self.path(name);
        let target = target.strip_prefix("/storage/v1").unwrap();
        let path = format!(
            "{}/rewriteTo{target}?{}",
            self.path(from),
            self.unchanged(name)
        );
        let reply = cloud.send(Method::POST, &path, &[], "");
        self.change(name, change, reply).await
    }

    /// Forgets an earlier generation for good, so that there are not ever more.
    async fn forget_old(&mut self, cloud: &Cloud) -> Result<(), Gone> {
        if self.old.len() < 20 {
            return Ok(());
        }
        // From here on it may be there or not.
        let ((name, generation), _) = self.old.pop_first().unwrap();
        let path = format!("{}?generation={generation}", self.path(&name));
        let reply = cloud.send(Method::DELETE, &path, &[], "").await?;
        assert_eq!(reply.code, 204, "{}", reply.value());
        let gone = cloud.get(&path).await?;
        assert_eq!(gone.code, 404, "{}", gone.value());
        Ok(())
    }

    async fn begin_session(&mut self, cloud: &Cloud, random: &mut Random) -> Result<(), Gone> {
        let name = format!("{}large", self.prefix);
        let length = random.below(4 * QUANTUM) + 1;
        let bytes = random.bytes(length);
        let path = self.upload_path("resumable", &name);
        let reply = cloud.json(Method::POST, &path, &json!({})).await?;
        assert_eq!(reply.code, 200, "{}", reply.value());
        self.session = Some(Session {
            uri: reply.headers["location"].to_str().unwrap().to_owned(),
            name,
            bytes,
            acknowledged: 0,
            sent: 0,
        });
        self.go_on(cloud).await
    }

    /// Sends the session's chunks from where it is known to stand.
    async fn go_on(&mut self, cloud: &Cloud) -> Result<(), Gone> {
        while let Some(session) = &mut self.session {
            let total = session.bytes.len() as u64;
            let end = (session.acknowledged + QUANTUM).min(total);
            let chunk = session
                .bytes
                .slice(session.acknowledged as usize..end as usize);
            let range = format!("bytes {}-{}/{total}", session.acknowledged, end - 1);
            session.sent = session.sent.max(end);
            if end == total {
                let change = Change::Bytes(session.bytes.clone(), Value::Null);
                self.pending = Some((session.name.clone(), change));
            }
            let range = [("content-range", range.as_str())];
            let reply = cloud.send(Method::PUT, &session.uri, &range, chunk).await?;
            self.answered(&reply);
        }
        Ok(())
    }

    /// Takes in what a session answers to a chunk or to the question how far it is.
    fn answered(&mut self, reply: &Reply) {
        let session = self.session.as_mut().unwrap();
        if reply.code == 308 {
            let kept = reply.headers.get("range").map_or(0, |range| {
                let last = range.to_str().unwrap().strip_prefix("bytes=0-").unwrap();
                last.parse::<u64>().unwrap() + 1
            });
            assert!(
                (session.acknowledged..=session.sent).contains(&kept),
                "{kept} bytes kept, {} acknowledged, {} sent",
                session.acknowledged,
                session.sent
            );
            session.acknowledged = kept;
            return;
        }
        let resource = reply.ok();
        let session = self.session.take().unwrap();
        self.pending = None;
        let change = Change::Bytes(session.bytes, Value::Null);
        self.take_in(session.name, change, Some(resource));
    }

    /// What is live under a name: none where nothing is.
    async fn found(&self, cloud: &Cloud, name: &str) -> Option<Value> {
        let reply = cloud.get(&self.path(name)).await.unwrap();
        (reply.code != 404).then(|| without_links(reply.ok()))
    }

    /// Whether what is live under a name is what a change makes of it; else it is what it was.
    fn took_place(&self, name: &str, change: &Change, found: Option<&Value>) -> bool {
        let before = self.live.get(name);
        if found == before.map(|known| &known.resource) {
            return false;
        }
        match (change, found) {
            (Change::Deleted, None) => {}
            (Change::Bytes(bytes, note), Some(found)) => {
                assert_eq!(found["crc32c"], crc32c_of(bytes), "{name}");
                assert_eq!(found["size"], bytes.len().to_string(), "{name}");
                assert_eq!(found["metadata"]["note"], *note, "{name}");
            }
            (Change::Note(note), Some(found)) => {
                let before = before.unwrap();
                assert_eq!(found["generation"], before.generation(), "{name}");
                assert_eq!(found["metadata"]["note"], *note, "{name}");
            }
            (_, found) => panic!("{name}: {found:?}"),
        }
        true
    }

    /// Every name is as acknowledged, or as the one change that was under way makes it.
    pub async fn check(&self, cloud: &Cloud) {
        let mut names: Vec<String> = (0..NAMES)
            .map(|n| format!("{}{n} ü", self.prefix))
            .collect();
        names.push(format!("{}large", self.prefix));
        for name in &names {
            let found = self.found(cloud, name).await;
            let pending = self.pending.as_ref().filter(|(of, _)| of == name);
            let changed =
                pending.is_some_and(|(_, change)| self.took_place(name, change, found.as_ref()));
            let before = self.live.get(name);
            if !changed {
                assert_eq!(
                    found.as_ref(),
                    before.map(|known| &known.resource),
                    "{name}"
                );
            }
            let bytes = match (changed, pending) {
                (true, Some((_, Change::Deleted))) => None,
                (true, Some((_, Change::Bytes(bytes, _)))) => Some(bytes),
                _ => before.map(|known| &known.bytes),
            };
            let path = format!("{}?alt=media", self.path(name));
            let reply = cloud.get(&path).await.unwrap();
            assert_eq!(
                reply.code,
                if bytes.is_some() { 200 } else { 404 },
                "{name}"
            );
            assert!(bytes.is_none_or(|bytes| *bytes == reply.body), "{name}");
        }
        for ((name, generation), known) in &self.old {
            let path = format!("{}?generation={generation}", self.path(name));
            let found = cloud.get(&path).await.unwrap().ok();
            known.check_resource(&found);
            let reply = cloud.get(&format!("{path}&alt=media")).await.unwrap();
            assert!(reply.code == 200 && reply.body == known.bytes, "{path}");
        }
        if let Some(session) = &self.session {
            let total = format!("bytes */{}", session.bytes.len());
            let total = [("content-range", total.as_str())];
            let asked = cloud.send(Method::PUT, &session.uri, &total, "");
            let code = asked.await.unwrap().code;
            assert!(matches!(code, 200 | 308), "{code}: {}", session.uri);
        }
    }

    /// Learns whether the change under way took place, and brings an upload to its end.
    pub async fn settle(&mut self, cloud: &Cloud) -> Result<(), Gone> {
        if let Some(session) = &self.session {
            self.taken_up += 1;
            let total = format!("bytes */{}", session.bytes.len());
            let total = [("content-range", total.as_str())];
            let reply = cloud.send(Method::PUT, &session.uri, &total, "").await?;
            self.answered(&reply);
            return self.go_on(cloud).await;
        }
        let Some((name, change)) = self.pending.clone() else {
            return Ok(());
        };
        let reply = cloud.get(&self.path(&name)).await?;
        let found = (reply.code != 404).then(|| without_links(reply.ok()));
        self.pending = None;
        if self.took_place(&name, &change, found.as_ref()) {
            self.take_in(name, change, found);
        }
        Ok(())
    }
}

/// Every object that is listed is there, once, and its bytes are those of its checksums.
pub async fn check_everything(cloud: &Cloud) {
    let mut buckets = Vec::new();
    for project in ["p", "local-project", "serin-emulator-tenant"] {
        let path = format!("/storage/v1/b?project={project}");
        buckets.extend(cloud.list(&path, "items").await);
    }
    assert!(buckets.len() > 2, "{buckets:?}");
    for bucket in buckets {
        let path = format!("/storage/v1/b/{}/o", bucket["name"].as_str().unwrap());
        let mut seen = BTreeMap::new();
        for item in cloud
            .list(&format!("{path}?versions=true&maxResults=40"), "items")
            .await
        {
            let (name, generation) = (&item["name"], &item["generation"]);
            let live = item.get("timeDeleted").is_none();
            let key = (name.to_string(), generation.to_string());
            assert!(seen.insert(key, live).is_none(), "listed twice: {item}");
            let one = format!(
                "{path}/{}?generation={}",
                encode(name.as_str().unwrap()),
                generation.as_str().unwrap()
            );
            let found = cloud.get(&one).await.unwrap();
            let media = cloud.get(&format!("{one}&alt=media")).await.unwrap();
            if media.code == 404 {
                // A version's deletion that was taken up has removed its copy since it was listed.
                assert_eq!(cloud.get(&one).await.unwrap().code, 404, "{item}");
                assert_ne!(bucket["name"], "plain", "{item}");
                assert_ne!(bucket["name"], "kept", "{item}");
                continue;
            }
            assert_eq!(found.ok(), item);
            assert_eq!(media.code, 200, "{item}");
            assert_eq!(item["size"], media.body.len().to_string(), "{item}");
            assert_eq!(item["crc32c"], crc32c_of(&media.body), "{item}");
            if let Some(md5) = item.get("md5Hash") {
                let found = BASE64_STANDARD.encode(Md5::digest(&media.body));
                assert_eq!(*md5, found, "{item}");
            }
        }
        let mut live = BTreeMap::new();
        for ((name, generation), _) in seen.into_iter().filter(|(_, live)| *live) {
            let other = live.insert(name, generation);
            assert!(other.is_none(), "two live generations: {other:?}");
        }
    }
}
