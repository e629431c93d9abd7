//! The spine on Apache Kafka, by librdkafka.
//!
//! * [`KafkaOptions`]: brokers and librdkafka settings; those a promise rests on cannot be overruled.
//! * [`KafkaSpine`]: the adapter. Every client it makes runs on threads of its own; no async runtime is needed.
//!
//! How promises are kept: appends go through an idempotent producer (`acks=all`, no timeout) per
//! [`Producer`](tidegate_spine::Producer), whose reports complete the landings, in waves (`flow`; `gate` for those that go whole); readers assign partitions by hand, to
//! one consumer for each topic that the process reads (`consumers` says why), and take records from one queue a
//! partition, which wakes them; groups are cooperative-sticky and fetch nothing; positions move over transaction markers
//! and compacted records by end-of-partition events; a position the log no longer has is `Truncated`, checked against the
//! log's real ends. librdkafka's errors are sorted once, in `failure`.
//!
//! What it needs on the cluster: the rights that DESIGN section 3's table implies, and for readers DESCRIBE on the
//! group `tidegate-readers` (librdkafka asks for its coordinator; nothing is ever committed there).
//!
//! Failure behaviour: an outage leaves appends and reads pending and fails questions as `Unavailable` within
//! [`KafkaOptions::request_timeout`]; wrong credentials or rights are `Denied`, in the broker's words. A client that
//! librdkafka leaves without any broker is given them again (`brokers`).
//!
//! Deliberately absent: transactions, topics created by use, OIDC token refresh (librdkafka is built without curl),
//! Kerberos. A member with a static name (`instance`) that leaves keeps its shards until its session ends: Kafka
//! takes them from nobody earlier.

mod asking;
mod brokers;
mod connection;
mod consumers;
mod delivery;
mod failure;
mod flow;
mod gate;
mod keeper;
mod limits;
mod membership;
mod names;
mod options;
mod producer;
mod queue;
mod reader;
mod reports;
mod rights;
mod settings;
mod spine;
mod threads;
mod topics;
mod watch;

pub use limits::batch_limit;
pub use options::{BadSetting, BadUrl, KafkaOptions};
pub use spine::KafkaSpine;
