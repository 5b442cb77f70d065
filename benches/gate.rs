//! Simulated validations: how often the intervals of metrics cover the truth, and how often the gate lets a worse model pass.
//!
//! `cargo bench --bench gate` prints every table of `docs/validate.md`; `-- coverage` the tables whose names hold the
//! word, and `SERIN_SIMULATIONS=200` so many data sets a cell, 1,000 unless told. It compiles the gate's own files.

#![allow(
    clippy::unwrap_used,
    dead_code,
    unused_imports,
    reason = "the gate's files bring what only sentences and records need"
)]

#[path = "../src/config"]
mod config {
    pub mod metrics;
}
#[path = "../src/settings"]
mod settings {
    mod nearest;
    pub(crate) use nearest::did_you_mean;
}
#[path = "../src/workspace"]
mod workspace {
    pub mod records {
        mod metric;
        pub use metric::{IntervalMethod, MetricValue, Metrics, Task};
    }
}
#[path = "../src/model"]
mod model {
    pub mod interval;
    pub mod metrics;
    pub mod paired;
    pub mod placements;
    pub mod random;
    pub mod resample;

    #[path = "../../benches/gate/tables.rs"]
    pub mod tables;
    #[path = "../../benches/gate/world.rs"]
    mod world;
}

fn main() {
    let words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with('-'))
        .collect();
    let simulations = std::env::var("SERIN_SIMULATIONS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(1000);
    model::tables::print(&words, simulations);
}
