//! Panics of a library over damaged input, which should be errors: caught here, and known to the hook that reports a
//! panic as a bug.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};

thread_local! {
    static CATCHING: Cell<bool> = const { Cell::new(false) };
}

/// What `work` returns; `None` where it panics. What it was changing then must be thrown away.
pub(crate) fn catch_panic<T>(work: impl FnOnce() -> T) -> Option<T> {
    let before = CATCHING.replace(true);
    let done = panic::catch_unwind(AssertUnwindSafe(work));
    CATCHING.set(before);
    done.ok()
}

/// Whether a panic of this thread will be caught by [`catch_panic`], so that it is no bug to report.
pub(crate) fn is_catching() -> bool {
    CATCHING.get()
}
