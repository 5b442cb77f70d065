//! Cloud Scheduler as a client sees it.
