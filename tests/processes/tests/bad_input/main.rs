//! The bad-input matrix: what is wrong, given to the real binary, and its clear outcome.
//!
//! | module | what is wrong |
//! |---|---|
//! | `forged_on_dev` | records in the logs of `tidegate dev` that only a stage's key may write |
//! | `inputs_lost` | records that are gone before they were judged |
//! | `records_on_dev` | jobs, over HTTP to `tidegate dev` |
//! | `records_on_kafka` | records, straight into topics of a real Kafka; forged ones where only stages may write |
//! | `policies` | bundles, or none at all |
//! | `starts` | topics, credentials, brokers, folders, configurations |
//! | `topics` | how a real Kafka keeps its topics |
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod forged_on_dev;
mod inputs_lost;
mod policies;
mod records_on_dev;
mod records_on_kafka;
mod starts;
mod topics;

use tidegate_processes::process::Ended;

/// It ended with this code and said all of this on standard error.
fn must_end(ended: &Ended, code: i32, says: &[&str]) {
    assert_eq!(ended.code, Some(code), "out:\n{}\nerr:\n{}", ended.out, ended.err);
    for words in says {
        assert!(ended.err.contains(words), "`{words}` is not in:\n{}", ended.err);
    }
    assert!(!ended.err.contains("panicked"), "{}", ended.err);
}
