//! Many clients at once: what each was told is true for all.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::emulate::emulate;
use crate::harness::Project;

const CLIENTS: usize = 32;
const ROUNDS: usize = 4;

struct Client {
    http: reqwest::Client,
    url: String,
}

impl Client {
    async fn send(&self, method: &str, path: &str, body: String) -> (u16, Value) {
        let url = format!("{}{path}", self.url);
        let request = self.http.request(method.parse().unwrap(), url);
        let request = request
            .header("content-type", "application/json")
            .body(body);
        let answer = request.send().await.unwrap();
        let code = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        (code, serde_json::from_str(&text).unwrap_or_default())
    }

    async fn get(&self, path: &str) -> Value {
        let (code, value) = self.send("GET", path, String::new()).await;
        assert_eq!(code, 200, "{path}: {value}");
        value
    }

    /// Adds one to the shared object's count: read, then written only if nobody else came between.
    async fn count_up(&self) {
        let path = "/storage/v1/b/crowded/o/shared";
        loop {
            let now = self.get(path).await;
            let count: usize = now["metadata"]["count"].as_str().unwrap().parse().unwrap();
            let guarded = format!(
                "{path}?ifMetagenerationMatch={}",
                now["metageneration"].as_str().unwrap()
            );
            let body = json!({"metadata": {"count": (count + 1).to_string()}});
            match self.send("PATCH", &guarded, body.to_string()).await.0 {
                200 => return,
                412 => {}
                other => panic!("{other}"),
            }
        }
    }

    async fn work(&self, me: usize) {
        let of_mine = format!("/storage/v1/b/crowded/o?prefix=client-{me}/");
        for round in 0..ROUNDS {
            let bytes = format!("{me} in {round}").repeat(1000);
            let upload = format!(
                "/upload/storage/v1/b/crowded/o?uploadType=media&name=client-{me}/{round}&ifGenerationMatch=0"
            );
            let (code, made) = self.send("POST", &upload, bytes.clone()).await;
            assert_eq!(code, 200, "{made}");
            let listed = self.get(&of_mine).await;
            assert_eq!(listed["items"].as_array().unwrap().len(), round + 1);
            let media = format!("/storage/v1/b/crowded/o/client-{me}%2F{round}?alt=media");
            let url = format!("{}{media}", self.url);
            let read = self.http.get(url).send().await.unwrap().text().await;
            assert_eq!(read.unwrap(), bytes);
            self.count_up().await;
        }
    }
}

#[test]
fn thirty_two_clients_lose_nothing_of_each_other() {
    let project = Project::empty();
    let (_emulator, url) = emulate(&project, "cloud");
    let _already_there = rustls::crypto::ring::default_provider().install_default();
    let client = Arc::new(Client {
        http: reqwest::Client::builder().no_proxy().build().unwrap(),
        url,
    });
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(CLIENTS)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let bucket = json!({"name": "crowded"}).to_string();
        client.send("POST", "/storage/v1/b?project=p", bucket).await;
        let upload = "/upload/storage/v1/b/crowded/o?uploadType=media&name=shared";
        client.send("POST", upload, String::new()).await;
        let zero = json!({"metadata": {"count": "0"}}).to_string();
        client
            .send("PATCH", "/storage/v1/b/crowded/o/shared", zero)
            .await;
        let mut clients = tokio::task::JoinSet::new();
        for me in 0..CLIENTS {
            let client = client.clone();
            clients.spawn(async move { client.work(me).await });
        }
        // All of one name at once: one of them makes it.
        for _ in 0..CLIENTS {
            let client = client.clone();
            clients.spawn(async move {
                let once =
                    "/upload/storage/v1/b/crowded/o?uploadType=media&name=once&ifGenerationMatch=0";
                let (code, _) = client.send("POST", once, "x".into()).await;
                if code == 200 {
                    client.count_up().await;
                } else {
                    assert_eq!(code, 412);
                }
            });
        }
        while let Some(ended) = clients.join_next().await {
            ended.unwrap();
        }
        let shared = client.get("/storage/v1/b/crowded/o/shared").await;
        let count = CLIENTS * ROUNDS + 1;
        assert_eq!(shared["metadata"]["count"], count.to_string());
        assert_eq!(shared["metageneration"], (count + 2).to_string());
        let all = client
            .get("/storage/v1/b/crowded/o?fields=items/name")
            .await;
        assert_eq!(all["items"].as_array().unwrap().len(), CLIENTS * ROUNDS + 2);
    });
}
