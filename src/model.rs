//! The model's room: columns to features, the learner, the model directory, scores, metrics and gates.
//!
//! It knows files and tables, no cloud: a step lands what it needs in the workspace first. What a
//! table holds is the business of `data`; what a verdict leads to is that of the steps.

pub(crate) mod encode;
pub(crate) mod foreign;
mod forest;
pub(crate) mod gate;
pub(crate) mod interval;
pub(crate) mod learner;
pub(crate) mod load;
mod metrics;
pub(crate) mod offline;
pub(crate) mod package;
mod paired;
pub(crate) mod part;
mod placements;
pub mod predictor;
mod random;
mod resample;
mod slices;
mod table;
#[cfg(test)]
pub(crate) mod testing;
mod xgboost;
