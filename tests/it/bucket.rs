//! The bucket of `serin.yaml`: what an account needs that uses it, and what it is told where it cannot.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use crate::harness::{Ended, Project, ended};

/// A Cloud Storage that knows no bucket or lets nobody in, and what it was asked.
struct Refusing {
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Refusing {
    /// Answers a request, given as its method and path, with the code that `code` says.
    fn start(code: impl Fn(&str) -> u16 + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let keeps = asked.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let request = read_request(&client);
                let (code, message) = match code(&request) {
                    404 => (404, "The specified bucket does not exist."),
                    code => (
                        code,
                        "build@p.iam.gserviceaccount.com does not have access.",
                    ),
                };
                keeps.lock().unwrap().push(request);
                let body = format!(r#"{{"error":{{"code":{code},"message":"{message}"}}}}"#);
                let head = format!("HTTP/1.1 {code} Refused\r\nConnection: close\r\n");
                let length = format!("Content-Length: {}\r\n\r\n", body.len());
                // The client may be gone.
                let _sent = (&client).write_all((head + &length + &body).as_bytes());
            }
        });
        Self { url, asked }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

/// The method and path of a request, which is read to its end.
fn read_request(client: &TcpStream) -> String {
    let mut reader = BufReader::new(client);
    let (mut first, mut length) = (String::new(), 0);
    let _read = reader.read_line(&mut first);
    for line in reader.by_ref().lines().map_while(Result::ok) {
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    let _read = reader.read_exact(&mut body);
    let mut words = first.split([' ', '?']);
    format!("{} {}", words.next().unwrap(), words.next().unwrap())
}

/// `serin train` on the example's snapshot with this storage.
fn train(create_bucket: bool, storage: &Refusing) -> Ended {
    let project = Project::churn();
    project.edit("serin.yaml", |text| {
        assert!(text.contains("create_bucket: true"));
        text.replace(
            "create_bucket: true",
            &format!("create_bucket: {create_bucket}"),
        )
    });
    let step = |name: &str, source: &[&str]| {
        let mut command = project.command(&[name, "--project=p", "--region=us-central1"]);
        command.args(source).env("SERIN_IMAGE", "serin");
        command.env("STORAGE_EMULATOR_HOST", &storage.url);
        ended(command.current_dir(project.source()).output().unwrap())
    };
    step("lint", &["--source=local"]).expect(0);
    step("train", &[])
}

fn is_of_the_bucket(request: &str) -> bool {
    request.starts_with("GET ") && !request.contains("/o")
}

#[test]
fn a_bucket_that_is_not_there_is_told_with_the_line_that_makes_it() {
    let storage = Refusing::start(|_| 404);
    train(false, &storage)
        .expect(2)
        .says("serin.yaml:3:9: the bucket `gs://my-project-churn` does not exist")
        .says("hint: make it: `gcloud storage buckets create gs://my-project-churn --project=p --location=us-central1")
        .says("or let serin make it with `create_bucket: true`");
    let asked = storage.asked();
    assert!(!asked.iter().any(|r| is_of_the_bucket(r)), "{asked:?}");
}

#[test]
fn only_create_bucket_asks_for_the_bucket_itself() {
    // As Google answers an account with `roles/storage.objectUser`, but for the object's own refusal.
    for create_bucket in [false, true] {
        let storage = Refusing::start(|_| 403);
        train(create_bucket, &storage)
            .expect(2)
            .says("serin.yaml:3:9: this account may not use the bucket: build@p.iam")
            .says("hint: grant it `roles/storage.objectUser` there");
        let asked = storage.asked();
        let of_bucket = asked.iter().filter(|r| is_of_the_bucket(r)).count();
        assert_eq!(of_bucket, usize::from(create_bucket), "{asked:?}");
        let last = asked.last().unwrap();
        assert!(
            last.starts_with("GET /storage/v1/b/my-project-churn/o/snapshots%2F"),
            "{asked:?}"
        );
    }
}

#[test]
fn an_account_that_may_not_make_the_bucket_is_told_who_may() {
    let storage = Refusing::start(|request| if request.starts_with("GET") { 404 } else { 403 });
    train(true, &storage)
        .expect(2)
        .says("does not exist, and this account may not make it: build@p.iam")
        .says("hint: make it: `gcloud storage buckets create gs://my-project-churn");
    let asked = storage.asked();
    assert_eq!(asked.last().unwrap(), "POST /storage/v1/b", "{asked:?}");
}
