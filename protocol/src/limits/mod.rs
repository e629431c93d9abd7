//! Limits: what one is, what a job asks of it, and the records by which kernels and the limits stage share it out.
//!
//! # Words
//! A **limit** bounds what may count within a window for one **key** (a tenant and an actor, say). The limits stage lends
//! parts of it to kernel and scheduler shards: a **holding** is the capacity one shard has of one limit and key, until a time; the shard
//! spends it locally and never lets more count within the window than it holds. A **slice** is what one answer adds to a
//! holding. What a shard gives back while it still counts elsewhere is a **residue**.
//!
//! [`definition`] is what a policy says, [`spend`] what a job takes, [`records`] what stages write to each other.

mod amount;
mod definition;
mod facts;
mod records;
mod spend;

pub use amount::{Amount, BadAmount};
pub use definition::{BadLimit, BudgetOf, LimitDefinition, LimitId, LimitKind, MOST_DISTINCT};
pub use facts::LimitsFact;
pub use records::{LimitAnswer, LimitRequest, OutcomeTold, RefusedFor, RequestId, Residue};
pub use spend::{LimitUse, Member, Spend, Usage, WouldTake};
