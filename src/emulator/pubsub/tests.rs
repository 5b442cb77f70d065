//! Pub/Sub as a client sees it.
