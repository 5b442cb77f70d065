//! Reading a table through on all cores.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use anyhow::Result;

use super::batch::Batch;
use super::read::Table;
use super::sequencer::{into_inner, lock};

/// How a table is read through.
#[derive(Clone, Copy, Default)]
pub(crate) struct Reading<'a> {
    /// As many as the machine has where absent, at most [`MOST_THREADS`].
    pub threads: Option<usize>,
    /// Is told of the bytes read since the last time.
    pub progress: Option<&'a (dyn Fn(u64) + Sync)>,
}

/// More threads than this have nothing to do.
pub(super) const MOST_THREADS: usize = 8;

/// Gives every batch of a table to `work`, which each thread calls with a state of its own, made by `start`.
/// A thread has its batches in their order. On an error `stop` is called, for those who wait for others.
///
/// # Errors
/// When a file cannot be read on, or `work` fails; of several errors that of the earliest batch.
pub(super) fn scan<S: Send>(
    table: &Table,
    reading: &Reading,
    start: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, Batch) -> Result<()> + Sync,
    stop: impl Fn() + Sync,
) -> Result<Vec<S>> {
    let blocks = Mutex::new(table.blocks()?);
    let stopped = AtomicBool::new(false);
    let first_error: Mutex<Option<(u64, anyhow::Error)>> = Mutex::default();
    let fail = |batch: u64, error: anyhow::Error| {
        let mut first = lock(&first_error);
        if first.as_ref().is_none_or(|(earlier, _)| batch < *earlier) {
            *first = Some((batch, error));
        }
        drop(first);
        stopped.store(true, Relaxed);
        stop();
    };
    let run = || {
        let mut state = start();
        while !stopped.load(Relaxed) {
            let block = match lock(&blocks).next() {
                Ok(Some(block)) => block,
                Ok(None) => break,
                // Behind all blocks that were handed out.
                Err(error) => {
                    fail(u64::MAX, error);
                    break;
                }
            };
            let index = block.index();
            let done = block.parse().and_then(|batch| {
                let bytes = batch.bytes;
                work(&mut state, batch).map(|()| bytes)
            });
            match done {
                Ok(bytes) => {
                    if let Some(progress) = reading.progress {
                        progress(bytes);
                    }
                }
                Err(error) => {
                    fail(index, error);
                    break;
                }
            }
        }
        state
    };
    let threads = reading
        .threads
        .or_else(|| std::thread::available_parallelism().ok().map(usize::from))
        .unwrap_or(1)
        .clamp(1, MOST_THREADS);
    let states = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(run)).collect();
        let mut states = vec![run()];
        for other in others {
            match other.join() {
                Ok(state) => states.push(state),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        states
    });
    match into_inner(first_error) {
        Some((_, error)) => Err(error),
        None => Ok(states),
    }
}
