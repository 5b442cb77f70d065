//! What a connection is at, and whether it keeps up.

use std::collections::HashMap;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes, HttpBody};
use axum::response::Response;
use hyper::body::{Frame, Incoming, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::futures::Notified;
use tokio::sync::{Notify, OwnedSemaphorePermit};

use super::Limits;

/// What an answer takes up until its client has it; a handler leaves it in the extensions of the answer.
#[derive(Clone)]
pub(crate) struct Held(
    #[expect(dead_code, reason = "it is kept, and let go")] pub(crate) Arc<OwnedSemaphorePermit>,
);

/// The connections that are open.
#[derive(Clone, Default)]
pub(super) struct Connections(Arc<Mutex<Open>>);

#[derive(Default)]
struct Open {
    all: HashMap<u64, Arc<Connection>>,
    /// The number of the next one: those that came first have the lower ones.
    next: u64,
}

/// A connection that is one of the open ones for as long as this lives.
pub(super) struct Entry {
    pub(super) connection: Arc<Connection>,
    number: u64,
    open: Connections,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.open.lock().all.remove(&self.number);
    }
}

impl Connections {
    fn lock(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self) -> Entry {
        let connection = Arc::new(Connection::new(Instant::now()));
        let mut open = self.lock();
        let number = open.next;
        open.next += 1;
        open.all.insert(number, connection.clone());
        drop(open);
        Entry {
            connection,
            number,
            open: self.clone(),
        }
    }

    /// Closes the connection that has waited longest without a request, one between two requests before one whose head is on
    /// its way.
    pub(super) fn make_room(&self) {
        let mut open = self.lock();
        let waiting = open.all.iter().filter_map(|(number, connection)| {
            let state = connection.state();
            (state.phase != Phase::Request).then_some((state.phase, state.since, *number))
        });
        if let Some((_, _, number)) = waiting.min()
            && let Some(connection) = open.all.remove(&number)
        {
            connection.close.notify_one();
        }
    }

    /// Ends what has fallen behind.
    pub(super) fn judge(&self, now: Instant, limits: &Limits) {
        for connection in self.lock().all.values() {
            match connection.state().verdict(now, limits) {
                Verdict::KeepsUp => {}
                Verdict::BodyIsLate => connection.late.notify_waiters(),
                Verdict::IsLate => connection.close.notify_one(),
            }
        }
    }

    /// Ends each connection after the request that is under way or on its way.
    pub(super) fn stop(&self) {
        for connection in self.lock().all.values() {
            connection.stop.notify_one();
        }
    }

    /// Closes those on which nothing is on its way.
    pub(super) fn close_idle(&self) {
        for connection in self.lock().all.values() {
            if connection.state().phase == Phase::Idle {
                connection.close.notify_one();
            }
        }
    }
}

/// In the order in which they make room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    /// No byte of a request has come.
    Idle,
    /// A head is on its way, or a request that has no place.
    Head,
    /// A request that has a place, until its answer is sent.
    Request,
}

#[derive(Debug, PartialEq)]
enum Verdict {
    KeepsUp,
    BodyIsLate,
    IsLate,
}

struct State {
    phase: Phase,
    since: Instant,
    /// No request has come yet.
    is_new: bool,
    body: Pace,
    answer: Pace,
    /// The answer's end has been handed over, perhaps not sent.
    is_answered: bool,
    place: Option<OwnedSemaphorePermit>,
    held: Option<Held>,
}

impl State {
    fn verdict(&self, now: Instant, limits: &Limits) -> Verdict {
        let waited = now.saturating_duration_since(self.since);
        let is_late = match self.phase {
            Phase::Idle if self.is_new => waited > limits.head,
            Phase::Idle => waited > limits.idle,
            Phase::Head => waited > limits.head,
            Phase::Request => false,
        };
        if is_late || self.answer.is_behind(now, limits) {
            Verdict::IsLate
        } else if self.body.is_behind(now, limits) {
            Verdict::BodyIsLate
        } else {
            Verdict::KeepsUp
        }
    }

    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.since = Instant::now();
    }
}

/// How fast bytes come through while somebody waits for them.
#[derive(Default)]
struct Pace {
    waiting_since: Option<Instant>,
    waited: Duration,
    bytes: u64,
}

impl Pace {
    fn wait(&mut self) {
        self.waiting_since.get_or_insert_with(Instant::now);
    }

    fn moved(&mut self, bytes: usize) {
        if let Some(since) = self.waiting_since.take() {
            self.waited += since.elapsed();
        }
        self.bytes += bytes as u64;
    }

    fn is_behind(&self, now: Instant, limits: &Limits) -> bool {
        let Some(since) = self.waiting_since else {
            return false;
        };
        let pause = now.saturating_duration_since(since);
        let earned = Duration::from_secs(self.bytes / u64::from(limits.bytes_a_second.max(1)));
        pause > limits.pause || self.waited + pause > limits.pause + earned
    }
}

/// One client's connection.
pub(super) struct Connection {
    state: Mutex<State>,
    close: Notify,
    stop: Notify,
    late: Notify,
}

impl Connection {
    fn new(now: Instant) -> Self {
        Self {
            state: Mutex::new(State {
                phase: Phase::Idle,
                since: now,
                is_new: true,
                body: Pace::default(),
                answer: Pace::default(),
                is_answered: false,
                place: None,
                held: None,
            }),
            close: Notify::new(),
            stop: Notify::new(),
            late: Notify::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends when the connection has to.
    pub(super) fn closed(&self) -> Notified<'_> {
        self.close.notified()
    }

    /// Ends when the connection takes no more requests.
    pub(super) fn stopped(&self) -> Notified<'_> {
        self.stop.notified()
    }

    /// Ends when the body of the request under way is late.
    pub(super) fn late(&self) -> Notified<'_> {
        self.late.notified()
    }

    /// A request's head is here. Without a place it may be closed to make room, and has the time of a head.
    pub(super) fn begin(&self, place: Option<OwnedSemaphorePermit>) {
        let mut state = self.state();
        state.enter(match place {
            Some(_) => Phase::Request,
            None => Phase::Head,
        });
        state.body = Pace::default();
        state.answer = Pace::default();
        state.is_answered = false;
        state.place = place;
    }

    /// The body of the request under way, with an eye on its pace.
    pub(super) fn paced(self: &Arc<Self>, body: Incoming) -> Paced {
        Paced {
            body,
            connection: self.clone(),
        }
    }

    /// An answer, with an eye on its end.
    pub(super) fn answered(self: &Arc<Self>, mut answer: Response) -> Response {
        self.state().held = answer.extensions_mut().remove();
        answer.map(|body| {
            Body::new(Answer {
                body,
                connection: self.clone(),
            })
        })
    }
}

/// The body of a request.
pub(super) struct Paced {
    body: Incoming,
    connection: Arc<Connection>,
}

impl HttpBody for Paced {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        let pace = &mut self.connection.state().body;
        match &frame {
            Poll::Pending => pace.wait(),
            Poll::Ready(Some(Ok(frame))) => pace.moved(frame.data_ref().map_or(0, Bytes::len)),
            Poll::Ready(_) => pace.moved(0),
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Paced {
    fn drop(&mut self) {
        // Nobody waits for it any more.
        self.connection.state().body.moved(0);
    }
}

/// The body of an answer; dropped once all of it has been handed over.
struct Answer {
    body: Body,
    connection: Arc<Connection>,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.connection.state().is_answered = true;
    }
}

/// A connection's socket, with an eye on what goes through it.
pub(super) struct Watched {
    stream: TcpStream,
    connection: Arc<Connection>,
}

impl Watched {
    pub(super) fn new(stream: TcpStream, connection: Arc<Connection>) -> Self {
        Self { stream, connection }
    }

    fn written(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        let pace = &mut self.connection.state().answer;
        match &written {
            Poll::Pending => pace.wait(),
            Poll::Ready(Ok(bytes)) => pace.moved(*bytes),
            Poll::Ready(Err(_)) => {}
        }
        written
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        if buffer.filled().len() > before {
            let mut state = self.connection.state();
            if state.phase == Phase::Idle {
                state.enter(Phase::Head);
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.written(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.written(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// Called once everything that was handed over has been written.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        let mut state = self.connection.state();
        if state.is_answered {
            state.is_answered = false;
            state.is_new = false;
            state.place = None;
            state.held = None;
            state.enter(Phase::Idle);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn limits() -> Limits {
        Limits {
            connections: 8,
            reserve: 2,
            head: SECOND,
            idle: 10 * SECOND,
            pause: 3 * SECOND,
            bytes_a_second: 100,
        }
    }

    #[test]
    fn a_first_head_has_less_time_than_the_next_request() {
        let start = Instant::now();
        let connection = Connection::new(start);
        let verdict = |after| connection.state().verdict(start + after, &limits());
        assert_eq!(verdict(SECOND), Verdict::KeepsUp);
        assert_eq!(verdict(2 * SECOND), Verdict::IsLate);
        connection.state().is_new = false;
        assert_eq!(verdict(10 * SECOND), Verdict::KeepsUp);
        assert_eq!(verdict(11 * SECOND), Verdict::IsLate);
        connection.state().phase = Phase::Head;
        assert_eq!(verdict(2 * SECOND), Verdict::IsLate);
        connection.state().phase = Phase::Request;
        assert_eq!(verdict(1000 * SECOND), Verdict::KeepsUp);
    }

    #[test]
    fn pauses_are_bounded_one_by_one_and_together() {
        let start = Instant::now();
        let behind = |waited: u64, bytes, pause: u32| {
            let pace = Pace {
                waiting_since: Some(start),
                waited: Duration::from_secs(waited),
                bytes,
            };
            pace.is_behind(start + pause * SECOND, &limits())
        };
        assert!(!behind(0, 0, 3));
        assert!(behind(0, 0, 4), "a pause too long");
        assert!(behind(0, 1_000_000, 4), "a pause too long after many bytes");
        assert!(behind(3, 99, 1), "drop by drop");
        assert!(!behind(3, 100, 1), "a hundred bytes earn a second");
        let nobody_waits = Pace {
            waited: 100 * SECOND,
            ..Pace::default()
        };
        assert!(!nobody_waits.is_behind(start + 100 * SECOND, &limits()));
    }

    #[test]
    fn room_is_made_by_those_that_wait_longest() {
        let open = Connections::default();
        let entries: Vec<_> = (0..4).map(|_| open.add()).collect();
        let phases = [Phase::Request, Phase::Head, Phase::Idle, Phase::Idle];
        for (entry, phase) in entries.iter().zip(phases) {
            entry.connection.state().phase = phase;
        }
        let numbers = || {
            let mut numbers: Vec<_> = open.lock().all.keys().copied().collect();
            numbers.sort_unstable();
            numbers
        };
        for left in [vec![0, 1, 3], vec![0, 1], vec![0], vec![0]] {
            open.make_room();
            assert_eq!(numbers(), left);
        }
        drop(entries);
        assert!(numbers().is_empty());
    }
}
