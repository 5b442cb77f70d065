//! The model's room: columns to features, the learner, the model directory, scores, metrics and gates.
//!
//! It knows files and tables, no cloud: a step lands what it needs in the workspace first. What a
//! table holds is the business of `data`; what a verdict leads to is that of the steps.

pub mod compare;
pub mod encode;
pub mod gate;
pub mod learner;
pub mod metrics;
pub mod package;
pub mod predictor;
mod random;
mod slices;
mod table;
#[cfg(test)]
pub(crate) mod testing;
mod xgboost;
