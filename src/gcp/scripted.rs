//! A server that answers what a test tells it to, in order, and keeps what it was asked.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::client::Client;
use super::connections::Limits;
use super::endpoint::Base;
use super::retry::Budget;
use super::token::{Metadata, Places, Tokens};
use crate::clock::{Clock, Timestamp};

/// One answer.
pub(crate) enum Answer {
    /// Code, headers, body.
    Full(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// Promises more bytes than it sends, then closes.
    Cut(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// Promises more bytes than it sends, then falls silent.
    Stall(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// Closes without an answer.
    Close,
    /// Never answers.
    Hang,
}

impl Answer {
    pub(crate) fn json(body: &str) -> Self {
        Self::code(200, body)
    }

    pub(crate) fn code(http: u16, body: &str) -> Self {
        Self::Full(http, Vec::new(), body.into())
    }
}

/// One request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub verb: String,
    /// The path with its query, still encoded.
    pub target: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(n, _)| n == name);
        found.map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// Who answers when no answer is left.
type Last = Arc<Mutex<Option<Answering>>>;
type Answering = Arc<dyn Fn(&Asked) -> Answer + Send + Sync>;

pub(crate) struct Scripted {
    pub url: String,
    answers: Arc<Mutex<VecDeque<Answer>>>,
    last: Last,
    asked: Arc<Mutex<Vec<Asked>>>,
    connections: Arc<Mutex<usize>>,
}

impl Scripted {
    pub(crate) async fn start(answers: impl IntoIterator<Item = Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            url: format!("http://{}", listener.local_addr().unwrap()),
            answers: Arc::new(Mutex::new(answers.into_iter().collect())),
            last: Last::default(),
            asked: Arc::default(),
            connections: Arc::default(),
        };
        let (answers, asked) = (Arc::clone(&server.answers), Arc::clone(&server.asked));
        let (connections, last) = (Arc::clone(&server.connections), Arc::clone(&server.last));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                *connections.lock().unwrap() += 1;
                let answers = Answers {
                    next: Arc::clone(&answers),
                    last: Arc::clone(&last),
                };
                tokio::spawn(serve(stream, answers, Arc::clone(&asked)));
            }
        });
        server
    }

    /// Adds an answer, as one that names the server's own address.
    pub(crate) fn then(&self, answer: Answer) {
        self.answers.lock().unwrap().push_back(answer);
    }

    /// Forgets the answers that are left.
    pub(crate) fn clear(&self) {
        self.answers.lock().unwrap().clear();
    }

    /// What every request is answered when no other answer is left.
    pub(crate) fn always(self, answer: fn() -> Answer) -> Self {
        self.answering(move |_| answer())
    }

    /// Who answers every request when no other answer is left.
    pub(crate) fn answering(
        self,
        answer: impl Fn(&Asked) -> Answer + Send + Sync + 'static,
    ) -> Self {
        *self.last.lock().unwrap() = Some(Arc::new(answer));
        self
    }

    /// `host:port`.
    pub(crate) fn host(&self) -> String {
        self.url.trim_start_matches("http://").to_owned()
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// Forgets what was asked.
    pub(crate) fn forget(&self) {
        self.asked.lock().unwrap().clear();
    }

    pub(crate) fn connections(&self) -> usize {
        *self.connections.lock().unwrap()
    }

    /// A client of an overridden address, whose clock makes a back-off of seconds one of
    /// milliseconds.
    pub(crate) fn client(&self) -> Client {
        self.client_with(false, no_tokens())
    }

    /// As [`Scripted::client`]; `google` treats the address as Google's.
    pub(super) fn client_with(&self, google: bool, tokens: Tokens) -> Client {
        self.limited(
            google,
            tokens,
            Duration::from_secs(5),
            Duration::from_secs(20),
        )
    }

    /// As [`Scripted::client`], and gives up soon.
    pub(crate) fn giving_up(&self) -> Client {
        let long = Duration::from_millis(500);
        self.limited(false, no_tokens(), long, Duration::from_secs(1))
    }

    /// As [`Scripted::client`], with little patience for objects' bytes too.
    pub(crate) fn hurried(&self) -> Client {
        let long = Duration::from_millis(500);
        self.limited(false, no_tokens(), long, Duration::from_secs(20))
    }

    fn limited(&self, google: bool, tokens: Tokens, long: Duration, tried: Duration) -> Client {
        let base = Base {
            url: self.url.clone(),
            google,
            host: None,
        };
        let clock = Clock::starting_at(Timestamp::from_unix_micros(0), 10_000);
        let limits = Limits {
            object: long,
            query: long,
            silence: long,
            ..limits()
        };
        let budget = Budget {
            shown: Duration::ZERO,
            real: tried,
        };
        Client::all_at(&base, clock, limits, budget, tokens)
    }
}

/// Time-outs that a test can wait for, and that a machine keeps that does much else.
pub(super) fn limits() -> Limits {
    let short = Duration::from_millis(500);
    Limits {
        connect: Duration::from_secs(5),
        message: short,
        object: Duration::from_secs(5),
        query: Duration::from_secs(5),
        silence: Duration::from_secs(5),
        token: short,
        metadata: short,
        probe: short,
        program: Duration::from_secs(5),
    }
}

/// Places without any credentials, whose files may name a server of the test.
pub(super) fn nowhere() -> Places {
    Places {
        key_file: None,
        adc_file: None,
        metadata: Metadata::None,
        gcloud: "/nowhere/gcloud".into(),
        quota_project: None,
        universe: None,
        trusted: |url| url.host_str() == Some("127.0.0.1"),
    }
}

/// The tokens of a test that needs none.
pub(super) fn no_tokens() -> Tokens {
    Tokens::at(nowhere())
}

struct Answers {
    next: Arc<Mutex<VecDeque<Answer>>>,
    last: Last,
}

impl Answers {
    fn take(&self, asked: &Asked) -> Option<Answer> {
        let next = self.next.lock().unwrap().pop_front();
        next.or_else(|| {
            let last = self.last.lock().unwrap().clone();
            last.map(|last| last(asked))
        })
    }
}

async fn serve(stream: TcpStream, answers: Answers, asked: Arc<Mutex<Vec<Asked>>>) {
    let mut stream = BufReader::new(stream);
    while let Some(request) = read(&mut stream).await {
        asked.lock().unwrap().push(request.clone());
        let answer = answers.take(&request);
        let mut silent = false;
        let (http, headers, body, missing) = match answer {
            Some(Answer::Full(http, headers, body)) => (http, headers, body, 0),
            Some(Answer::Cut(http, headers, body)) => (http, headers, body, 10),
            Some(Answer::Stall(http, headers, body)) => {
                silent = true;
                (http, headers, body, 10)
            }
            Some(Answer::Close) => return,
            Some(Answer::Hang) => return std::future::pending().await,
            None => (501, Vec::new(), b"no answer is left".to_vec(), 0),
        };
        let mut head = format!(
            "HTTP/1.1 {http} X\r\nContent-Length: {}\r\n",
            body.len() + missing
        );
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        let sent = [head.as_bytes(), &body].concat();
        let broken = stream.write_all(&sent).await.is_err();
        if silent {
            return std::future::pending().await;
        }
        if broken || missing > 0 {
            let _ = stream.shutdown().await;
            return;
        }
    }
}

async fn read(stream: &mut BufReader<TcpStream>) -> Option<Asked> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let mut first = lines.first()?.split(' ');
    let (verb, target) = (first.next()?.to_owned(), first.next()?.to_owned());
    let headers: Vec<(String, String)> = lines[1..]
        .iter()
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let mut body = vec![0; length.map_or(0, |(_, n)| n.parse().unwrap())];
    stream.read_exact(&mut body).await.ok()?;
    Some(Asked {
        verb,
        target,
        headers,
        body,
    })
}
