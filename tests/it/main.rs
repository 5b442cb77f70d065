//! The one integration binary: one module a behaviour.

#![allow(clippy::unwrap_used, reason = "a failed test may panic")]

mod rooms;
