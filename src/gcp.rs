//! Clients of Google Cloud's public REST APIs: the one HTTP path, and a struct a service over it.
//!
//! Knows no step. Methods carry Google's names in snake case and say whether they may be sent twice.

mod error;

pub use error::Error;
