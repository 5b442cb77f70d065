//! git over HTTP: a request becomes one of `git http-backend` (CGI), whose answer is streamed.
//!
//! What a client sends is first put into a file, so that no process, lock or memory waits for a slow one. What it
//! is sent waits for it, within the server's own limits.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use futures_util::StreamExt;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::folder::{self, RefUpdate};
use super::{Repo, SourceRepos};
use crate::emulator::core::child;
use crate::emulator::wire::error::ApiError;
use crate::emulator::wire::http::Request;
use crate::process::Group;

/// Real time that one process of git may take.
const LIMIT: Duration = Duration::from_secs(600);
/// Real time for asking where git keeps its programs.
const SHORT: Duration = Duration::from_secs(30);
/// Between SIGTERM, at which git removes its locks, and SIGKILL.
const GRACE: Duration = Duration::from_secs(2);
/// The most bytes of a request other than a push: the commits that a client has and wants.
const MOST_ASKED: u64 = 64 << 20;
/// A push is also the list of its refs, beside the objects that are counted.
const MOST_COMMANDS: u64 = 4 << 20;
/// The longest head of an answer of the backend's.
const MOST_HEAD: usize = 16 << 10;
/// So much of an answer is read at once.
const PIECE: usize = 32 << 10;
/// The most kilobytes of memory that a process of git may map.
const MOST_MEMORY_KB: u32 = 4 << 20;
/// The end of what `git receive-pack` answers.
const FLUSH: &[u8] = b"0000";
/// The most bytes of a text in one packet of a side band.
const MOST_TEXT: usize = 900;

/// What is asked of a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::emulator) enum Asked {
    /// Its refs, before a fetch or a push.
    Refs,
    /// Objects.
    Fetch,
    /// To take objects and change refs.
    Push,
}

/// The repository that the end of a path names, and what is asked of it.
///
/// # Errors
/// `NOT_FOUND` where that is nothing that git asks, or there is no such repository.
pub(in crate::emulator) fn asked(
    repos: &SourceRepos,
    request: &Request,
    posted: bool,
) -> Result<(Repo, Asked), ApiError> {
    let [project, rest] = request.params.as_slice() else {
        return Err(ApiError::not_found("There is no repository at this path."));
    };
    let found = [
        ("/info/refs", false, Asked::Refs),
        ("/git-upload-pack", true, Asked::Fetch),
        ("/git-receive-pack", true, Asked::Push),
    ];
    let found = found.into_iter().find_map(|(end, post, asked)| {
        let name = rest.strip_suffix(end)?;
        (post == posted).then_some((name, asked))
    });
    let (name, asked) = found.ok_or_else(|| {
        ApiError::not_found(format!(
            "git asks a repository for info/refs, git-upload-pack or git-receive-pack, not for {}.",
            rest.rsplit('/').next().unwrap_or_default()
        ))
    })?;
    let name = name.strip_suffix(".git").unwrap_or(name);
    let repo = repos.find(project, name).ok_or_else(|| {
        let shown: String = name.chars().take(200).collect();
        ApiError::not_found(format!(
            "The project {project} has no repository {shown}: create it with `gcloud source repos create {shown}`."
        ))
    })?;
    Ok((repo, asked))
}

/// Answers with the refs or with objects.
///
/// # Errors
/// In a sentence, where git cannot do it.
pub(in crate::emulator) async fn serve(
    repos: &Arc<SourceRepos>,
    repo: &Repo,
    asked: Asked,
    mut request: Request,
) -> Result<Response, ApiError> {
    let input = match asked {
        Asked::Refs => None,
        _ => Some(spool(repos, request.take_stream(), MOST_ASKED).await?.0),
    };
    let mut backend = Backend::start(repos, repo, asked, &request, input).await?;
    let head = backend.head().await?;
    let (sender, body) = channel();
    repos.core.spawn(async move {
        // Where the client is gone nobody is left to answer.
        if let Err(Some(error)) = backend.pass_on(&sender).await {
            let _gone = sender.send(Err(error)).await;
        }
    });
    Ok(head.response(body))
}

/// Takes a push. `act` is told what changed, while nobody else can push, and gives the lines that whoever pushed is
/// told; it runs to its end whether the client is there or not.
///
/// # Errors
/// In a sentence, where git cannot do it; the refs are then as they were.
pub(in crate::emulator) async fn receive<F>(
    repos: &Arc<SourceRepos>,
    repo: &Repo,
    mut request: Request,
    act: impl FnOnce(Vec<RefUpdate>) -> F + Send + 'static,
) -> Result<Response, ApiError>
where
    F: Future<Output = Vec<String>> + Send,
{
    let most = repos.most_bytes.saturating_add(MOST_COMMANDS);
    let (input, has_side_band) = spool(repos, request.take_stream(), most).await?;
    let (sender, body) = channel();
    let (told, began) = tokio::sync::oneshot::channel::<Result<Head, ApiError>>();
    let (shared, repo) = (repos.clone(), repo.clone());
    // A client that goes does not stop git half-way, between its objects and its refs.
    repos.core.spawn(async move {
        let _lock = shared.lock(&repo).await;
        let begun = async {
            let started = Backend::start(&shared, &repo, Asked::Push, &request, Some(input));
            let mut backend = started.await?;
            let head = backend.head().await?;
            Ok::<_, ApiError>((backend, head))
        };
        let mut backend = match begun.await {
            Ok((backend, head)) => {
                let _gone = told.send(Ok(head));
                backend
            }
            Err(error) => {
                let _gone = told.send(Err(error));
                return;
            }
        };
        let held = match backend.pass_on_but_the_end(&sender).await {
            Ok(held) => held,
            Err(error) => {
                let _gone = sender.send(Err(error)).await;
                Vec::new()
            }
        };
        drop(backend);
        let lines = match shared.note(&repo).await {
            Ok(updates) => act(updates).await,
            Err(error) => vec![format!(
                "the builds of this push are looked for at the emulator's next start: {error}"
            )],
        };
        let is_whole = has_side_band && held == FLUSH;
        let told = lines.iter().filter(|_| is_whole).map(|line| packet(line));
        let end: Vec<u8> = told.flatten().chain(held).collect();
        let _gone = sender.send(Ok(end.into())).await;
    });
    let head = began
        .await
        .map_err(|_| ApiError::unavailable("The emulator ends."))??;
    Ok(head.response(body))
}

/// A line for the terminal of whoever pushes, as a packet of git's: its length, the band, the text.
fn packet(line: &str) -> Vec<u8> {
    let printable = line.chars().filter(|c| !c.is_control());
    let mut text = String::new();
    for c in printable {
        if text.len() + c.len_utf8() > MOST_TEXT {
            break;
        }
        text.push(c);
    }
    format!("{:04x}\u{2}{text}\n", text.len() + 6).into_bytes()
}

type Sender = mpsc::Sender<std::io::Result<Bytes>>;

fn channel() -> (Sender, Body) {
    let (sender, receiver) = mpsc::channel(4);
    let pieces = futures_util::stream::unfold(receiver, async |mut receiver| {
        receiver.recv().await.map(|piece| (piece, receiver))
    });
    (sender, Body::from_stream(pieces))
}

/// A request's body as a file that has no name, and whether its sender can be told something beside git's answer.
async fn spool(repos: &SourceRepos, body: Body, most: u64) -> Result<(File, bool), ApiError> {
    let file = tempfile::tempfile_in(repos.core.store.scratch())?;
    let mut writer = tokio::fs::File::from_std(file);
    let mut pieces = body.into_data_stream();
    let mut length = 0;
    let mut beginning: Vec<u8> = Vec::new();
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|e| {
            ApiError::invalid_argument(format!("The request's body broke off: {e}."))
        })?;
        length += piece.len() as u64;
        if length > most {
            return Err(ApiError::too_large(format!(
                "The request has more than {} MiB: push fewer commits at a time, or start the emulator with a larger `--max-push`.",
                most >> 20
            )));
        }
        let missing = 1024_usize.saturating_sub(beginning.len());
        beginning.extend(piece.iter().take(missing));
        writer.write_all(&piece).await?;
    }
    writer.flush().await?;
    let mut file = writer.into_std().await;
    file.seek(SeekFrom::Start(0))?;
    // The capabilities stand after the first ref.
    let wanted = b"side-band-64k";
    let has_side_band = beginning
        .windows(wanted.len())
        .any(|window| window == wanted);
    Ok((file, has_side_band))
}

/// The head of an answer.
struct Head {
    status: StatusCode,
    headers: BTreeMap<String, String>,
}

impl Head {
    /// Reads what stands before the first empty line.
    fn parse(text: &str) -> Option<Self> {
        let mut head = Self {
            status: StatusCode::OK,
            headers: BTreeMap::new(),
        };
        for line in text.lines().filter(|line| !line.is_empty()) {
            let (name, value) = line.split_once(':')?;
            let (name, value) = (name.trim().to_ascii_lowercase(), value.trim());
            match name.as_str() {
                "status" => head.status = value.split(' ').next()?.parse().ok()?,
                _ => {
                    head.headers.insert(name, value.to_owned());
                }
            }
        }
        Some(head)
    }

    fn response(self, body: Body) -> Response {
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        for (name, value) in self.headers {
            if let (Ok(name), Ok(value)) = (
                HeaderName::try_from(name.as_str()),
                HeaderValue::try_from(value.as_str()),
            ) {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }
}

/// A process of `git http-backend`.
struct Backend {
    repos: Arc<SourceRepos>,
    group: Group,
    output: tokio::process::ChildStdout,
    /// What was read behind the head.
    rest: Vec<u8>,
    /// Given back when the process is gone.
    _place: tokio::sync::OwnedSemaphorePermit,
}

impl Backend {
    async fn start(
        repos: &Arc<SourceRepos>,
        repo: &Repo,
        asked: Asked,
        request: &Request,
        input: Option<File>,
    ) -> Result<Self, ApiError> {
        find_backend(repos).await?;
        let place = repos.places.clone().acquire_owned().await;
        let place = place.map_err(|e| ApiError::internal(e.to_string()))?;
        if *repos.closing.borrow() {
            return Err(ApiError::unavailable("The emulator ends."));
        }
        let service = match (asked, request.get("service")) {
            (Asked::Fetch, _) | (Asked::Refs, Some("git-upload-pack")) => "git-upload-pack",
            (Asked::Push, _) | (Asked::Refs, Some("git-receive-pack")) => "git-receive-pack",
            _ => {
                return Err(ApiError::forbidden(
                    "This emulator speaks git's smart protocol only: use a git that is newer than 1.6.6.",
                ));
            }
        };
        let (method, file, query) = match asked {
            Asked::Refs => ("GET", "info/refs", format!("service={service}")),
            _ => ("POST", service, String::new()),
        };
        let mut command = folder::clean_git();
        // A pack that unfolds into more memory than this is refused by its own end.
        command = limited(&command);
        command
            .current_dir(repos.core.store.repositories())
            .env("GIT_PROJECT_ROOT", repos.core.store.repositories())
            .env("GIT_HTTP_EXPORT_ALL", "1")
            .env("PATH_INFO", format!("/{}/{file}", repo.folder))
            .env("REQUEST_METHOD", method)
            .env("QUERY_STRING", query)
            .env("REMOTE_USER", "emulator")
            .env("REMOTE_ADDR", "127.0.0.1")
            .env("GIT_CONFIG_COUNT", "2")
            .env("GIT_CONFIG_KEY_1", "receive.maxInputSize")
            .env("GIT_CONFIG_VALUE_1", repos.most_bytes.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        if let Some(kind) = request.header("content-type") {
            command.env("CONTENT_TYPE", kind);
        }
        if let Some(protocol) = request.header("git-protocol") {
            command.env("GIT_PROTOCOL", protocol);
        }
        match input {
            Some(file) => {
                command.env("CONTENT_LENGTH", file.metadata()?.len().to_string());
                command.stdin(Stdio::from(file));
            }
            None => {
                command.stdin(Stdio::null());
            }
        }
        let mut group =
            repos.core.groups.spawn(&mut command).map_err(|e| {
                ApiError::failed_precondition(format!("git cannot be started: {e}"))
            })?;
        let output = group.stdout();
        Ok(Self {
            repos: repos.clone(),
            output: output.ok_or_else(|| ApiError::internal("git has no standard output"))?,
            group,
            rest: Vec::new(),
            _place: place,
        })
    }

    /// Reads the answer's head.
    async fn head(&mut self) -> Result<Head, ApiError> {
        let unreadable = || ApiError::internal("git http-backend gave no answer that can be read.");
        let mut closing = self.repos.closing.subscribe();
        let mut bytes = Vec::new();
        loop {
            let mut piece = vec![0; PIECE];
            let count = tokio::select! {
                read = timeout(LIMIT, self.output.read(&mut piece)) => read.map_err(|_| unreadable())??,
                _ = closing.wait_for(|closing| *closing) => {
                    return Err(ApiError::unavailable("The emulator ends."));
                }
            };
            bytes.extend(piece.iter().take(count));
            let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
            if let Some(end) = end {
                self.rest = bytes.split_off(end + 4);
                let text = String::from_utf8_lossy(&bytes).into_owned();
                return Head::parse(&text).ok_or_else(unreadable);
            }
            if count == 0 || bytes.len() > MOST_HEAD {
                return Err(unreadable());
            }
        }
    }

    /// Sends the rest of the answer; no error where the client is gone.
    async fn pass_on(&mut self, sender: &Sender) -> Result<(), Option<std::io::Error>> {
        let rest = std::mem::take(&mut self.rest);
        let mut closing = self.repos.closing.subscribe();
        let all = async {
            sender.send(Ok(rest.into())).await.map_err(|_| None)?;
            while let Some(piece) = read(&mut self.output).await? {
                sender.send(Ok(piece)).await.map_err(|_| None)?;
            }
            Ok(())
        };
        let passed = tokio::select! {
            passed = timeout(LIMIT, all) => passed.unwrap_or_else(|_| Err(Some(late()))),
            _ = closing.wait_for(|closing| *closing) => Err(Some(std::io::Error::other("the emulator ends"))),
        };
        self.end(passed.is_ok()).await;
        passed
    }

    /// The same but for the last bytes, which it gives; whether the client is there does not matter.
    async fn pass_on_but_the_end(&mut self, sender: &Sender) -> std::io::Result<Vec<u8>> {
        let mut held = std::mem::take(&mut self.rest);
        let mut closing = self.repos.closing.subscribe();
        let all = async {
            loop {
                let sure = held.len().saturating_sub(FLUSH.len());
                let piece: Vec<u8> = held.drain(..sure).collect();
                if !piece.is_empty() {
                    let _gone = sender.send(Ok(piece.into())).await;
                }
                match read(&mut self.output).await? {
                    Some(piece) => held.extend_from_slice(&piece),
                    None => return Ok(()),
                }
            }
        };
        let passed = tokio::select! {
            passed = timeout(LIMIT, all) => passed.unwrap_or_else(|_| Err(late())),
            _ = closing.wait_for(|closing| *closing) => Err(std::io::Error::other("the emulator ends")),
        };
        self.end(passed.is_ok()).await;
        passed.map(|()| held)
    }

    /// Waits until the process is gone, and has it go where it is not wanted any more.
    async fn end(&mut self, in_order: bool) {
        let ended = match in_order {
            true => self.group.stop_after(GRACE).await,
            false => self.group.stop(GRACE).await,
        };
        if let Err(error) = ended {
            eprintln!("warning: git http-backend: {error}");
        }
    }
}

fn late() -> std::io::Error {
    std::io::Error::other(format!("git took longer than {} seconds", LIMIT.as_secs()))
}

async fn read(output: &mut (impl AsyncRead + Unpin)) -> std::io::Result<Option<Bytes>> {
    let mut piece = vec![0; PIECE];
    let count = output.read(&mut piece).await?;
    piece.truncate(count);
    Ok((count > 0).then(|| piece.into()))
}

/// `git http-backend` with the variables of a command, by way of a shell that bounds its memory, where it can.
fn limited(git: &tokio::process::Command) -> tokio::process::Command {
    let mut command = tokio::process::Command::new("/bin/sh");
    let script = format!("ulimit -v {MOST_MEMORY_KB} 2>/dev/null; exec git http-backend");
    command.arg("-c").arg(script).env_clear();
    let variables = git.as_std().get_envs();
    command.envs(variables.filter_map(|(name, value)| Some((name, value?))));
    command
}

/// Makes sure that git and its `http-backend` are there.
async fn find_backend(repos: &SourceRepos) -> Result<(), ApiError> {
    let hint = "install git with its program http-backend, and push again.";
    let missing = |why: String| {
        ApiError::failed_precondition(format!(
            "This emulator serves repositories by `git http-backend`, and {why}: {hint}"
        ))
    };
    let mut command = folder::clean_git();
    command.arg("--exec-path");
    let ended = child::output(&repos.core, &mut command, SHORT)
        .await
        .map_err(missing)?;
    let folder = std::path::Path::new(ended.stdout.trim()).to_owned();
    match folder.join("git-http-backend").is_file() {
        true => Ok(()),
        false => Err(missing(format!("there is none in {}", folder.display()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_and_a_line_becomes_a_packet() {
        let head = Head::parse("Status: 404 Not Found\r\nContent-Type: text/plain\r\n").unwrap();
        assert_eq!(head.status, StatusCode::NOT_FOUND);
        assert_eq!(head.headers["content-type"], "text/plain");
        assert!(Head::parse("nonsense\r\n").is_none());
        assert_eq!(packet("a\u{1b}[1m"), b"000a\x02a[1m\n");
        let long = packet(&"ä".repeat(5000));
        assert!(long.len() < 1000);
        let length = std::str::from_utf8(&long[..4]).unwrap();
        assert_eq!(usize::from_str_radix(length, 16).unwrap(), long.len());
    }
}
