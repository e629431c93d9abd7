//! Open-loop load with a floor beside it.
//!
//! A run makes its own topics under `bench-<run>.`, starts the roles in this process, offers jobs at a fixed rate
//! whether or not answers come ([`load`]), and marks on a [`board`] when each was seen at its milestones, counted from the
//! *intended* send time. With a floor, load alternates between Tidegate and the same appends through the bare client in
//! slices of 5 s, so that both see the same machine. Instruments and load are the same on both sides.

mod board;
mod features;
mod floor;
mod governed;
mod isolation;
mod lending;
mod load;
mod machine;
mod noting;
mod options;
mod policy;
mod readers;
mod report;
mod run;
mod tenants;
mod unsigned;

pub use board::Latency;
pub use features::{Features, Row};
pub use isolation::{Isolation, isolation};
pub use lending::Asked;
pub use options::{BenchArgs, Rate, Scenario};
pub use report::{Ratio, Report, Side};
pub use run::{Stopped, features, run};
