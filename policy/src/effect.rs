//! What a rule or a verdict does to a job, in order of severity.
//!
//! The words are the protocol's, so that what policy says is what the log records.

pub use tidegate_protocol::decision::Verdict as Effect;
