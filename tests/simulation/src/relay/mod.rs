//! The fast scenario: two shards of [`stage::Relay`] between open logs and sealed ones, and one of [`sink::Sink`] behind
//! them. Small stages that use everything a runner offers: facts that settle now, later or another record, soft and
//! durable waiting, ticks, evictions into a log of one's own, messages of all kinds, sealed inputs of several senders.

pub mod judge;
pub mod load;
pub mod scenario;
pub mod sink;
pub mod stage;
