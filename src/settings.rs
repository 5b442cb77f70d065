//! What the readers of `serin.yaml`, `schema.yaml` and `cloudbuild.yaml` share.

mod nearest;

pub(crate) use nearest::{did_you_mean, nearest};
