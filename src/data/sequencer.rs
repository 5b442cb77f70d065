//! A value that threads change one after the other, in the order of numbered batches, whoever has which.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// A value, and the number of the batch whose turn it is.
pub(super) struct Sequencer<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
    step: u64,
}

struct State<T> {
    next: u64,
    stopped: bool,
    value: T,
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a mutex holds in the end.
pub(super) fn into_inner<T>(mutex: Mutex<T>) -> T {
    mutex.into_inner().unwrap_or_else(PoisonError::into_inner)
}

impl<T> Sequencer<T> {
    /// For the batches `first`, `first + step`, and so on.
    pub(super) fn new(first: u64, step: u64, value: T) -> Self {
        Self {
            state: Mutex::new(State {
                next: first,
                stopped: false,
                value,
            }),
            changed: Condvar::new(),
            step,
        }
    }

    /// Waits for the turn of a batch and changes the value; `None` where it will not come, because somebody
    /// stopped. Every batch takes its turn once.
    pub(super) fn run<R>(&self, batch: u64, change: impl FnOnce(&mut T) -> R) -> Option<R> {
        let waits = |state: &mut State<T>| state.next != batch && !state.stopped;
        let state = self.changed.wait_while(lock(&self.state), waits);
        let mut state = state.unwrap_or_else(PoisonError::into_inner);
        if state.next != batch {
            return None;
        }
        let result = change(&mut state.value);
        state.next += self.step;
        drop(state);
        self.changed.notify_all();
        Some(result)
    }

    /// Wakes everybody who waits for a turn that will not come.
    pub(super) fn stop(&self) {
        lock(&self.state).stopped = true;
        self.changed.notify_all();
    }

    pub(super) fn into_inner(self) -> T {
        into_inner(self.state).value
    }
}
