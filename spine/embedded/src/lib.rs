//! The spine in one process: a durable, partitioned log in a folder, without a server.
//!
//! ```text
//! producers ──> queue of a partition ──> who writes ──> segment file ──(fsync)──> in-memory tail ──> readers
//!                                        groups what waits                       wakes who waits     landings
//! ```
//!
//! * Records live in segment files of our own, `logs/<topic id>/<partition>/`; topics and trims live in `meta.redb`.
//!   Why not all of it in one storage crate: docs/decisions/0001-embedded-storage.md has the figures.
//! * Who writes (with `os` an appender, with `fsync` a thread) takes all that was handed over for a partition, writes it with one
//!   call, syncs it when `durability=fsync`, and only then shows it to readers and completes the landings. While it syncs,
//!   the next group gathers. With `durability=os` what was acknowledged survives the end of the process in any form (`kill -9`), a
//!   power cut may take the last seconds: always a suffix, never a hole. With `fsync` it survives both.
//! * Recent records stay in memory, shared with the appender's bytes, so reading what was just written touches no file
//!   and copies nothing. Older ones are read in the reader's own thread, at most 256 KiB (or one record) a poll.
//! * Nobody polls: an append wakes the readers that wait for that partition, and no others.
//! * Old records go by whole segments (age, trim); keyed topics are compacted in the background. One background
//!   thread, the keeper, does that, and everything that changes topics.
//! * A write that fails is taken back and refused (`disk full`); a sync that fails ends the partition until the next
//!   start, because nobody knows what the disk has.
//!
//! Deliberately absent: replication, more than one process on a folder (the second gets
//! [`tidegate_spine::SpineError::InUse`]), timestamps other than ours (`broker_time` is always in force).

mod catalog;
mod compaction;
mod frame;
mod groups;
mod keeper;
mod options;
mod partition;
mod producer;
mod reader;
mod recovery;
mod segment;
mod spine;
mod writer;

pub use options::{BadUrl, Durability, EmbeddedOptions};
pub use spine::EmbeddedSpine;
