//! Topics and consumers that are not ours, beside the real binary on a real Kafka.
//!
//! | module | what it is |
//! |---|---|
//! | `adopted` | topics of somebody else that are read as sources: mapped, CloudEvents, only observed |
//! | `consumer` | a consumer of one's own, by the README's rules and with none of our code |
//! | `kernels_alone` | `serve --roles kernel` as a product, beside such a consumer |
//! | `owner` | whoever owns the foreign topics |
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod adopted;
mod consumer;
mod kernels_alone;
mod owner;

use std::time::Duration;

/// Longest wait for what takes moments on a machine that is not busy.
const PATIENCE: Duration = Duration::from_secs(120);
