//! Topics: which there should be ([`wanted`]), what differs ([`plan`]), what may not be done with them ([`rights`]), making it so ([`apply`]), and the same for others
//! to do ([`export`]). Nothing is ever made or altered behind the user's back: only `topics apply` and `tidegate dev`
//! call [`apply`].

mod apply;
mod export;
mod names;
mod plan;
pub mod rights;
mod wanted;

pub use apply::{ApplyError, apply};
pub use export::{Export, export};
pub use names::{Named, PoolTopics, SourceTopics};
pub use plan::{Action, Difference, Plan, plan};
pub(crate) use wanted::source_partitions;
pub use wanted::{Wanted, WantedError, wanted, wanted_unasked};
