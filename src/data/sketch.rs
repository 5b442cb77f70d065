//! Sketches: small summaries of values that estimate what would take all of them to know, each with its error.
//!
//! Two sketches of the same kind merge to the one of all their values. But for [`HeavyHitters`] and the last bits of
//! [`Moments`] they depend on the values alone, neither on their order nor on how they were divided.

mod count_table;
mod distinct;
pub(crate) mod hash;
mod heavy_hitters;
mod leb128;
mod moments;
pub(crate) mod quantiles;
mod row_sample;

pub(crate) use distinct::DistinctSample;
pub(crate) use heavy_hitters::HeavyHitters;
pub(crate) use moments::Moments;
pub(crate) use quantiles::QuantileSketch;
pub(super) use row_sample::RowSample;
