//! Approvals with the real binary, and everything that must not count as one.
//!
//! | module | what it shows |
//! |---|---|
//! | `desk` | a running `tidegate dev`, people with keys that `tidegate keys create` made, jobs that wait for them |
//! | `answering` | list, show, approve, reject by CLI and HTTP; a quorum; the one key of a fresh `tidegate dev` |
//! | `abuse` | genuine commands that have no effect, each with its word |
//! | `forged` | records put straight into `commands.<source>` while the kernel lay killed: they approve nothing, and what was held and given before the kill still is |
//! | `passing` | time and policy: too late, further roles, another policy |
//! | `cancelling` | jobs that wait are called off; of one that was released its pool is told |
//! | `redriving` | dead records are judged again, once, corrected or not; and dropped |
//!
//! `abuse` and `forged` together are the approval abuse matrix.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod abuse;
mod answering;
mod cancelling;
mod desk;
mod forged;
mod passing;
mod redriving;
