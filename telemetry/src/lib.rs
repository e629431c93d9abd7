//! What a process says about itself: Prometheus metrics and structured logs.
//!
//! * [`Metrics`]: the exporter; crates publish through the `metrics` facade and list their names, units and a sentence
//!   each in one file of their own.
//! * [`logs`]: `tracing` to stderr, text on a terminal, JSON otherwise. stdout belongs to a command's result.
//!
//! A log's level says what an operator should do: **error** act now, something is lost or stopped; **warn** look soon, it
//! goes on but not well; **info** what changed in this process; **debug** and **trace** for those who look for a fault.
//!
//! Deliberately absent: a listener of its own (the gateway serves `/metrics`), traces.

pub mod logs;
mod metrics;

pub use crate::metrics::{Metrics, MetricsError};
