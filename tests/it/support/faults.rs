//! A proxy before BigQuery's stand-in, which does what the stand-in never does: it loses answers, refuses, fails jobs,
//! lets them run on, and knows which ids of jobs are taken.

use std::collections::HashSet;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::bigquery::BigQueryServer;
use crate::emulate::{client, text_answer};

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Asked {
    pub verb: String,
    /// With the query, still encoded.
    pub path: String,
    /// NULL where it has no body.
    pub body: Value,
}

impl Asked {
    fn is_insert(&self) -> bool {
        self.verb == "POST" && self.path.ends_with("/jobs")
    }

    /// Whether it only asks what a query would do.
    pub fn is_dry_run(&self) -> bool {
        self.is_insert() && self.body["configuration"]["dryRun"] == true
    }

    /// The SQL of a job that is to run; none of those that ask for the time.
    pub fn sql(&self) -> Option<&str> {
        let runs = self.is_insert() && !self.is_dry_run();
        let sql = self.body["configuration"]["query"]["query"].as_str();
        sql.filter(|sql| runs && !sql.contains("CURRENT_TIMESTAMP"))
    }

    pub fn job_id(&self) -> &str {
        self.body["jobReference"]["jobId"].as_str().unwrap_or("")
    }
}

/// What becomes of a request.
pub enum Fate {
    Passed,
    /// Passed on to another path.
    PassedTo(String),
    /// Passed on, and what comes back is changed.
    Changed(fn(&mut Value)),
    /// Passed on, and its connection closed without an answer.
    Lost,
    /// Passed on after a statement of somebody else.
    After(String),
    /// Passed on, and never answered.
    Held,
    Answered(u16, Value),
}

/// An error as BigQuery answers it.
pub fn refused(code: u16, reason: &str, message: &str) -> Fate {
    let errors = json!([{"reason": reason, "message": message, "domain": "global"}]);
    let error = json!({"error": {"code": code, "message": message, "errors": errors}});
    Fate::Answered(code, error)
}

/// A job that is done and failed.
pub fn failed(asked: &Asked, reason: &str, message: &str) -> Fate {
    let mut job = asked.body.clone();
    let error = json!({"reason": reason, "message": message});
    job["status"] = json!({"state": "DONE", "errorResult": error, "errors": [error]});
    Fate::Answered(200, job)
}

type Decide = dyn Fn(&Asked, usize) -> Fate + Send + Sync;

/// A proxy that ends with the test.
pub struct Proxy {
    url: String,
    shared: Arc<Shared>,
}

struct Shared {
    server: String,
    decide: Mutex<Arc<Decide>>,
    asked: Mutex<Vec<Asked>>,
    /// The ids of the jobs that the server has.
    taken: Mutex<HashSet<String>>,
}

impl Proxy {
    /// `decide` is told how many requests with [`Asked::sql`] came before.
    pub fn before(
        server: &BigQueryServer,
        decide: impl Fn(&Asked, usize) -> Fate + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let shared = Arc::new(Shared {
            server: server.url().to_owned(),
            decide: Mutex::new(Arc::new(decide)),
            asked: Mutex::default(),
            taken: Mutex::default(),
        });
        let url = format!("http://{}", listener.local_addr().unwrap());
        let proxy = Self {
            url,
            shared: shared.clone(),
        };
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let shared = shared.clone();
                std::thread::spawn(move || serve(stream, &shared));
            }
        });
        proxy
    }

    /// From now on something else becomes of requests.
    pub fn then(&self, decide: impl Fn(&Asked, usize) -> Fate + Send + Sync + 'static) {
        *self.shared.decide.lock().unwrap() = Arc::new(decide);
        self.shared.asked.lock().unwrap().clear();
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// What was asked since the last [`Self::then`].
    pub fn asked(&self) -> Vec<Asked> {
        self.shared.asked.lock().unwrap().clone()
    }

    /// Of these the jobs that were to run, but for those that ask for the time.
    pub fn jobs(&self) -> Vec<Asked> {
        let mut asked = self.asked();
        asked.retain(|asked| asked.sql().is_some());
        asked
    }
}

fn serve(stream: TcpStream, shared: &Shared) {
    let mut stream = BufReader::new(stream);
    while let Some(asked) = read(&mut stream) {
        let (decide, before) = {
            let mut all = shared.asked.lock().unwrap();
            let before = all.iter().filter(|asked| asked.sql().is_some()).count();
            all.push(asked.clone());
            (shared.decide.lock().unwrap().clone(), before)
        };
        let (code, answer) = match decide(&asked, before) {
            Fate::Answered(code, answer) => (code, answer),
            Fate::Passed => pass(shared, &asked, &asked.path),
            Fate::PassedTo(path) => pass(shared, &asked, &path),
            Fate::Changed(change) => {
                let (code, mut answer) = pass(shared, &asked, &asked.path);
                change(&mut answer);
                (code, answer)
            }
            Fate::After(sql) => {
                let other = asked.path.replace("/jobs", "/queries");
                let body = json!({"query": sql, "useLegacySql": false});
                let request = client().post(format!("{}{other}", shared.server));
                assert_eq!(text_answer(request.json(&body)).0, 200);
                pass(shared, &asked, &asked.path)
            }
            Fate::Lost => {
                pass(shared, &asked, &asked.path);
                return;
            }
            Fate::Held => {
                pass(shared, &asked, &asked.path);
                loop {
                    std::thread::park();
                }
            }
        };
        let answer = answer.to_string();
        let head = format!(
            "HTTP/1.1 {code} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            answer.len()
        );
        let stream = stream.get_mut();
        if stream.write_all((head + &answer).as_bytes()).is_err() {
            return;
        }
    }
}

/// Asks the server, which would run a job of an id that is taken again.
fn pass(shared: &Shared, asked: &Asked, path: &str) -> (u16, Value) {
    let id = asked.job_id();
    if asked.is_insert() && !id.is_empty() && !shared.taken.lock().unwrap().insert(id.to_owned()) {
        let message = format!("Already Exists: Job p:US.{id}");
        let errors = json!([{"reason": "duplicate", "message": message}]);
        let error = json!({"code": 409, "message": message, "errors": errors});
        return (409, json!({"error": error}));
    }
    let verb = asked.verb.parse().unwrap();
    let mut request = client().request(verb, format!("{}{path}", shared.server));
    if !asked.body.is_null() {
        request = request.json(&asked.body);
    }
    let (code, answer) = text_answer(request);
    (code, serde_json::from_str(&answer).unwrap_or(Value::Null))
}

fn read(stream: &mut BufReader<TcpStream>) -> Option<Asked> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let mut first = lines.first()?.split(' ');
    let (verb, path) = (first.next()?.to_owned(), first.next()?.to_owned());
    let length = lines.iter().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.parse().unwrap())
    });
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).ok()?;
    Some(Asked {
        verb,
        path,
        body: serde_json::from_slice(&body).unwrap_or(Value::Null),
    })
}
