//! Eventarc as a client sees it.
