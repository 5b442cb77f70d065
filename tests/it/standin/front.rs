//! Google's front door: TLS under its host names, before an emulator that does the work. It demands a token,
//! holds the rules, makes trouble where it is told to, and remembers every request.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header, request};
use axum::response::Response;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::namespace::{Certificate, HOSTS, NAMES};
use super::rules::{self, Refusal, Rules, Service};
use super::tokens::Tokens;

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: Method,
    pub host: String,
    /// Path and query, percent-encoded.
    pub target: String,
    pub body: Bytes,
    /// How it was answered; 0 where the connection broke instead.
    pub code: u16,
    /// The rule by which it was refused.
    pub refused: Option<&'static str>,
}

impl Asked {
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// A parameter of the query, decoded.
    pub fn query(&self, name: &str) -> Option<String> {
        let (_, query) = self.target.split_once('?')?;
        let mut pairs = url::form_urlencoded::parse(query.as_bytes());
        pairs
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.into_owned())
    }
}

/// What goes wrong with a request.
#[derive(Clone, Copy, Debug)]
pub enum Trouble {
    /// It is answered so and has no effect.
    Refused(u16, &'static str),
    /// It has its effect, and the connection breaks without an answer.
    Lost,
    /// It has its effect, and is answered with 503.
    Unclear,
    /// Half of the answer's body comes.
    Cut,
}

/// A trouble that is still to come, for requests of a method whose target holds a text.
struct Planned {
    method: Method,
    part: &'static str,
    left: u32,
    trouble: Trouble,
}

/// The front door, and all that a test asks it afterwards.
pub struct Front {
    emulator: String,
    client: reqwest::Client,
    pub tokens: Arc<Tokens>,
    rules: Rules,
    planned: Mutex<Vec<Planned>>,
    asked: Mutex<Vec<Asked>>,
    /// What went past the door: names of other hosts, connections without TLS.
    strayed: Mutex<Vec<String>>,
}

impl Front {
    pub fn new(emulator: &str, tokens: Arc<Tokens>, rules: Rules) -> Arc<Self> {
        Arc::new(Self {
            emulator: emulator.to_owned(),
            client: reqwest::Client::builder().no_proxy().build().unwrap(),
            tokens,
            rules,
            planned: Mutex::default(),
            asked: Mutex::default(),
            strayed: Mutex::default(),
        })
    }

    /// Plans a trouble for the next `times` requests that fit.
    pub fn plan(&self, method: Method, part: &'static str, times: u32, trouble: Trouble) {
        self.planned.lock().unwrap().push(Planned {
            method,
            part,
            left: times,
            trouble,
        });
    }

    /// The troubles that nobody met.
    pub fn unmet(&self) -> Vec<String> {
        let planned = self.planned.lock().unwrap();
        let unmet = planned.iter().filter(|planned| planned.left > 0);
        unmet
            .map(|p| format!("{} {} {:?}, {} times", p.method, p.part, p.trouble, p.left))
            .collect()
    }

    /// Every request so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// Names of other hosts that were looked up, and connections without TLS.
    pub fn strayed(&self) -> Vec<String> {
        self.strayed.lock().unwrap().clone()
    }

    fn stray(&self, what: String) {
        self.strayed.lock().unwrap().push(what);
    }

    /// The next trouble that a request meets, before or after its effect.
    fn trouble(&self, asked: &Asked, before: bool) -> Option<Trouble> {
        let mut planned = self.planned.lock().unwrap();
        let next = planned.iter_mut().find(|planned| {
            planned.left > 0
                && planned.method == asked.method
                && asked.target.contains(planned.part)
                && matches!(planned.trouble, Trouble::Refused(..)) == before
        })?;
        next.left -= 1;
        Some(next.trouble)
    }

    async fn serve(&self, request: axum::extract::Request) -> Response {
        let (head, body) = request.into_parts();
        let body = axum::body::to_bytes(body, 64 << 20)
            .await
            .unwrap_or_default();
        let host = head
            .headers
            .get(header::HOST)
            .and_then(|host| host.to_str().ok());
        let mut asked = Asked {
            method: head.method.clone(),
            host: host.unwrap_or_default().to_owned(),
            target: head.uri.to_string(),
            body,
            code: 0,
            refused: None,
        };
        let answer = self.answer(&head, &mut asked).await;
        if let Ok(response) = &answer {
            asked.code = response.status().as_u16();
        }
        self.asked.lock().unwrap().push(asked);
        answer.unwrap_or_else(|Broken| Response::new(broken(Bytes::new())))
    }

    async fn answer(&self, head: &request::Parts, asked: &mut Asked) -> Result<Response, Broken> {
        let service = match Rules::service(asked) {
            Ok(service) => service,
            Err(refusal) => return Ok(refuse(None, asked, &refusal)),
        };
        let json = |(code, answer): (u16, Value)| Ok(respond(code, answer.to_string().into()));
        match service {
            Service::Tokens => return json(self.tokens.exchange(&asked.body)),
            Service::Impersonation => {
                return json(self.tokens.impersonate(&head.headers, asked.path()));
            }
            _ => {}
        }
        if !self.tokens.accepts(&head.headers) {
            let refusal = Refusal::unauthenticated();
            return Ok(refuse(Some(&service), asked, &refusal));
        }
        if let Some(Trouble::Refused(code, status)) = self.trouble(asked, true) {
            let message = "So it was planned.";
            return Ok(respond(
                code,
                rules::body(Some(&service), code, status, message),
            ));
        }
        if let Err(refusal) = self.rules.check(&service, asked) {
            return Ok(refuse(Some(&service), asked, &refusal));
        }
        let (code, headers, body) = self.forward(head, asked).await;
        let mut trouble = None;
        if code.is_success() {
            self.rules.note(asked);
            trouble = self.trouble(asked, false);
        }
        let body = match serde_json::from_slice::<Value>(&body) {
            Ok(answer) if code.is_success() && asked.query("alt").is_none() => {
                self.rules.told(answer).to_string().into()
            }
            _ => body,
        };
        let mut response = respond(code.as_u16(), body.clone());
        *response.headers_mut() = headers;
        match trouble {
            Some(Trouble::Lost) => Err(Broken),
            Some(Trouble::Unclear) => {
                let message = "The service is currently unavailable.";
                Ok(respond(
                    503,
                    rules::body(Some(&service), 503, "UNAVAILABLE", message),
                ))
            }
            Some(Trouble::Cut) => {
                let length = HeaderValue::from(body.len());
                response
                    .headers_mut()
                    .insert(header::CONTENT_LENGTH, length);
                *response.body_mut() = broken(body.slice(..body.len() / 2));
                Ok(response)
            }
            _ => Ok(response),
        }
    }

    /// Passes a request on and gives the answer, in which links begin with `https`.
    async fn forward(
        &self,
        head: &request::Parts,
        asked: &Asked,
    ) -> (StatusCode, HeaderMap, Bytes) {
        let mut headers = head.headers.clone();
        drop_hops(&mut headers);
        headers.remove(header::AUTHORIZATION);
        let url = format!("{}{}", self.emulator, asked.target);
        let request = self
            .client
            .request(asked.method.clone(), url)
            .headers(headers);
        let answer = request.body(asked.body.clone()).send().await.unwrap();
        let (code, mut headers) = (answer.status(), answer.headers().clone());
        let body = answer.bytes().await.unwrap();
        drop_hops(&mut headers);
        let location = headers.get(header::LOCATION).and_then(|l| l.to_str().ok());
        if let Some(secure) = location.map(|l| l.replacen("http://", "https://", 1)) {
            headers.insert(header::LOCATION, secure.parse().unwrap());
        }
        (code, headers, body)
    }
}

/// The connection breaks in the place of an answer.
struct Broken;

fn respond(code: u16, body: Bytes) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(code).unwrap();
    let kind = HeaderValue::from_static("application/json; charset=UTF-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

fn refuse(service: Option<&Service>, asked: &mut Asked, refusal: &Refusal) -> Response {
    asked.refused = Some(refusal.rule);
    let body = rules::body(service, refusal.code, refusal.status, &refusal.message);
    respond(refusal.code, body)
}

/// These bytes, then a broken connection; without any not even the head is sent.
fn broken(first: Bytes) -> Body {
    let pieces = [Ok(first), Err(std::io::Error::other("broken off"))];
    let pieces = pieces
        .into_iter()
        .filter(|piece| piece.as_ref().map_or(true, |p| !p.is_empty()));
    Body::from_stream(futures_util::stream::unfold(pieces, async |mut pieces| {
        // What came before is sent before the break only if the server is let go once.
        tokio::task::yield_now().await;
        pieces.next().map(|piece| (piece, pieces))
    }))
}

/// Connections whose handshake is done.
struct Secured(mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>);

impl axum::serve::Listener for Secured {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.0.recv().await {
            Some(accepted) => accepted,
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, 443)))
    }
}

/// Serves Google's hosts, and listens for what goes past them.
pub async fn serve(front: Arc<Front>, certificate: &Certificate) {
    let acceptor = acceptor(&certificate.chain, &certificate.key);
    let listener = TcpListener::bind((HOSTS, 443)).await.unwrap();
    let cleartext = TcpListener::bind((HOSTS, 80)).await.unwrap();
    let names = UdpSocket::bind((NAMES, 53)).await.unwrap();
    let (sender, secured) = mpsc::channel(16);
    tokio::spawn(async move {
        loop {
            let (stream, from) = listener.accept().await.unwrap();
            let (acceptor, sender) = (acceptor.clone(), sender.clone());
            tokio::spawn(async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    sender.send((stream, from)).await.unwrap();
                }
            });
        }
    });
    let strays = front.clone();
    tokio::spawn(async move {
        while cleartext.accept().await.is_ok() {
            strays.stray("a connection without TLS".into());
        }
    });
    let strays = front.clone();
    tokio::spawn(async move {
        let mut question = [0; 512];
        while let Ok((length, from)) = names.recv_from(&mut question).await {
            strays.stray(name_of(&question[..length]));
            // An answer of no records: there is no such name.
            question[2..4].copy_from_slice(&[0x81, 0x83]);
            let _gone = names.send_to(&question[..length], from).await;
        }
    });
    let app = Router::new().fallback(move |request: axum::extract::Request| {
        let front = front.clone();
        async move { front.serve(request).await }
    });
    tokio::spawn(async move { axum::serve(Secured(secured), app).await });
}

fn acceptor(chain: &Path, key: &Path) -> TlsAcceptor {
    let chain = CertificateDer::pem_file_iter(chain)
        .unwrap()
        .collect::<Result<Vec<_>, _>>()
        .unwrap();
    let key = PrivateKeyDer::from_pem_file(key).unwrap();
    let config = rustls::ServerConfig::builder().with_no_client_auth();
    Arc::new(config.with_single_cert(chain, key).unwrap()).into()
}

/// The name that a question of DNS is about.
fn name_of(question: &[u8]) -> String {
    let mut labels = Vec::new();
    let mut rest = question.get(12..).unwrap_or_default();
    while let Some((length, more)) = rest.split_first().filter(|(length, _)| **length > 0) {
        let (label, after) = more.split_at(more.len().min(usize::from(*length)));
        labels.push(String::from_utf8_lossy(label).into_owned());
        rest = after;
    }
    labels.join(".")
}

/// Takes out what belongs to one connection.
fn drop_hops(headers: &mut HeaderMap) {
    for name in [
        "connection",
        "transfer-encoding",
        "keep-alive",
        "content-length",
    ] {
        headers.remove(name);
    }
}
