//! Where requests wait for a decision: one check at a time, and one for all that wait when it begins.
//!
//! A check that begins after an event came has seen what the event tells of, so events that come in a crowd share
//! one. Those that ask for a build of their own, of the schedule or by hand, have a check each.

use std::sync::Arc;

use anyhow::Result;
use tokio::sync::{mpsc, oneshot};

use crate::log;
use crate::steps::Context;
use crate::steps::lint::Source;
use crate::steps::trigger::{self, Checked, Due};

/// More requests than this are not kept waiting: the server takes fewer at a time.
const WAITING: usize = 2048;

/// A request for a decision.
struct Request {
    due: Option<Due>,
    answer: oneshot::Sender<Option<Arc<Checked>>>,
}

/// Takes requests; a clone is the same desk.
#[derive(Clone)]
pub(super) struct Desk(mpsc::Sender<Request>);

impl Desk {
    /// A desk that decides in a task of its own, for as long as it or a clone lives.
    pub(super) fn open(ctx: Arc<Context>, source: Source) -> Self {
        let (sender, receiver) = mpsc::channel(WAITING);
        tokio::spawn(decide(ctx, source, receiver));
        Self(sender)
    }

    /// A decision that is made after this call; `None` where it failed, which is logged.
    pub(super) async fn decide(&self, due: Option<Due>) -> Option<Arc<Checked>> {
        let (answer, decided) = oneshot::channel();
        self.0.send(Request { due, answer }).await.ok()?;
        decided.await.ok().flatten()
    }
}

async fn decide(ctx: Arc<Context>, source: Source, mut requests: mpsc::Receiver<Request>) {
    let mut crowd = Vec::new();
    while requests.recv_many(&mut crowd, WAITING).await > 0 {
        // The same build may be asked for by several.
        while let Some(first) = crowd.first() {
            let due = first.due.clone();
            let all = crowd.drain(..);
            let (asked, rest): (Vec<_>, Vec<_>) = all.partition(|request| request.due == due);
            crowd = rest;
            let checked = check(&ctx, source, due).await;
            for request in asked {
                // Who went away does not need it.
                let _gone = request.answer.send(checked.clone());
            }
        }
    }
}

async fn check(ctx: &Context, source: Source, due: Option<Due>) -> Option<Arc<Checked>> {
    let checked: Result<Checked> = trigger::check(ctx, source, due).await;
    match checked {
        Ok(checked) => {
            for line in trigger::lines(&checked) {
                log::info(&line);
            }
            Some(Arc::new(checked))
        }
        Err(e) => {
            log::error(&crate::exit::render(&e));
            None
        }
    }
}
