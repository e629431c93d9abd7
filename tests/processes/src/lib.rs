//! Real binaries, real brokers, an outside ledger.
//!
//! | module | what it is |
//! |---|---|
//! | [`process`] | processes that die with this one: kill -9, SIGSTOP, exit codes, what they said |
//! | [`binary`] | where the `tidegate` binary is |
//! | [`home`] | a folder with a configuration and a policy for them |
//! | [`http`] | asking them |
//! | [`dev`] | `tidegate dev` in a folder |
//! | [`broker`] | the bare Kafka client: write and read anything, with none of our code |
//! | [`ledger`] | reads every topic raw and judges what became of each record |
//! | [`replay`] | replays every shard's facts against every snapshot, by the stages themselves |
//! | [`faults`] | the run behind `make faults`: load, kill -9, SIGSTOP, the ledger's verdict |
//!
//! *Outside* means: nothing here uses the stages, the runner or an adapter, [`replay`] aside, which asks whether these say the same
//! again. What the ledger knows of the formats it reads with types of its own, so that a defect there must show as a difference.
//!
//! Invariant: whatever happens to this process, nothing it started outlives it.
//!
//! Deliberately absent: any wait that only hopes. Waiting is for something, bounded, and says what was missing.

pub mod binary;
pub mod broker;
pub mod dev;
pub mod faults;
pub mod home;
pub mod http;
pub mod ledger;
pub mod process;
pub mod replay;

use std::io::Write as _;

/// A line for whoever watches. A closed pipe is no reason to stop.
pub fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}");
    let _ = out.flush();
}
