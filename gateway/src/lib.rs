//! HTTP API over the topics, and the view of jobs it answers from.
//!
//! * [`submit`]: appends jobs to a source and says where they landed;
//! * [`claim_check`]: puts large payloads beside the log first;
//! * [`commands`]: passes people's signed commands on;
//! * [`view`]: the whole story of every recent job, in bounded memory, built by reading the logs from their start. It
//!   is a cache: it can be lost at any time and read again. It believes only what stages believe (valid groups), and it works without HTTP too;
//! * [`http`]: routes, the bearer key, errors;
//! * [`progress`]: what running jobs say of themselves, for whoever watches one;
//! * [`leasing`]: workers that pull jobs over HTTP;
//! * [`fleet`]: pools and workers as they stand;
//! * `reports`: how `fleet` and `progress` read what workers say;
//! * [`key`]: the key file.
//!
//! Words: a *story* is what is known of one record of a source; a *change number* rises with every change to any story,
//! so that a client can ask for what changed since.
//!
//! Failure: with the spine away, submitting fails with a clear error and the view keeps answering with what it has.
//!
//! Deliberately absent: judging jobs at the door (the kernel does, and its verdict is durable; only what is no JSON
//! object is refused here), tenants' own keys (one key may do everything but pull jobs: that is for workers' keys), TLS (put a proxy before it).

pub mod claim_check;
pub mod commands;
pub mod fleet;
pub mod http;
pub mod key;
pub mod leasing;
pub mod metrics;
pub mod progress;
mod reports;
pub mod submit;
pub mod view;
