//! Names of the record headers we write.

/// On control records only (claim, fence, barrier, group, snapshot, term): which. Foreign consumers skip records that have it.
pub const KIND: &str = "tg-kind";
/// Decimal epoch of the writing owner. Foreign consumers drop a record whose epoch is below the highest met from its sender.
pub const EPOCH: &str = "tg-epoch";
/// Who sent it: `stage.name/shard`, the unit of epochs.
pub const SENDER: &str = "tg-sender";
/// `sequence group index` of a stage's message, decimal, separated by spaces (see [`crate::control::Stamp`]).
pub const STAMP: &str = "tg-stamp";
/// Proof that the stamp's sender sent the record (binary, [`crate::proof::Proof`]); not on records that carry a ticket.
pub const PROOF: &str = "tg-proof";
/// Source position `source/partition@offset` of the job a record is about: what a foreign consumer deduplicates by.
pub const SOURCE: &str = "tg-source";
/// On `overflow.<pool>`: the decimal number of the move that brought the job there, counted by its shard from 1.
pub const MOVED: &str = "tg-moved";
/// The member a lane's message is for.
pub const TO: &str = "tg-to";
/// Kafka Connect's dead-letter convention: the original topic.
pub const DEAD_TOPIC: &str = "__connect.errors.topic";
/// The original partition.
pub const DEAD_PARTITION: &str = "__connect.errors.partition";
/// The original offset.
pub const DEAD_OFFSET: &str = "__connect.errors.offset";
/// Which stage gave up.
pub const DEAD_STAGE: &str = "__connect.errors.stage";
/// The reason as a word ([`crate::outcome::DeadReason`]).
pub const DEAD_CLASS: &str = "__connect.errors.exception.class.name";
/// The reason for people.
pub const DEAD_MESSAGE: &str = "__connect.errors.exception.message";
/// The record's own key.
pub const DEAD_KEY: &str = "tg-original-key";
/// SHA-256 of the original value when the value itself was too large to carry on.
pub const DEAD_HASH: &str = "tg-input-hash";
