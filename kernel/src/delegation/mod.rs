//! Jobs that act for others: what a parent's ticket is worth, and what follows from it for its child.
//!
//! | the record | its source's `parent_ticket` | it becomes |
//! |---|---|---|
//! | has no ticket | `refused`, `accepted` | a root: its `parent` is information for people |
//! | | `required` | dead, `parent_ticket_missing` |
//! | has one | `refused` | dead, `parent_ticket_refused` |
//! | one that no kernel signed just so for just that job | the others | dead, `parent_ticket_forged` |
//! | a genuine one, but of another tenant, of another job than its `parent`, for no pool of this installation, or of a job that was not allowed | | dead, `parent_ticket_mismatch` |
//! | a genuine one whose time is over, or whose job's deadline has passed | | dead, `parent_ticket_expired` |
//! | a genuine one | | a child: judged with its [`Delegation`](tidegate_protocol::delegation::Delegation) |
//!
//! | the child, whenever it is judged | verdict |
//! |---|---|
//! | it, or one it acts for, was revoked ([`families`]) | deny |
//! | deeper than this kernel lets chains be | deny |
//! | the time of its chain is over | deny |
//! | needs, is about, or would hand on more than was handed on to it | deny |
//! | an ancestor's tokens are used up ([`tokens`]) | deny |
//! | otherwise | the most restrictive of what policy says of its actor and of every principal of its chain; under what its parent must keep to as well |
//!
//! A ticket is checked as a worker checks it, and once: what follows from it stands in the job from then on, and is signed with
//! the child's own ticket. So each step looks at one parent alone, and nothing can grow along a chain. A ticket of an owner that
//! had been superseded when it wrote it is refused where that can be known: where the shard is this one and the epoch is still
//! to come. Such a record gets no worker, so no honest one presents it.

mod attenuation;
mod families;
mod presented;
mod stopping;
mod tokens;

pub(crate) use attenuation::attenuated;
pub(crate) use families::{Families, Revocation};
pub(crate) use presented::parents_topic;
pub(crate) use tokens::tokens;

/// Bounds of delegation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DelegationBounds {
    /// Jobs a chain may have above a job, up to [`MAX_DEPTH`](tidegate_protocol::delegation::MAX_DEPTH); 0: nothing is
    /// delegated here.
    pub max_depth: u32,
}

impl Default for DelegationBounds {
    fn default() -> Self {
        Self { max_depth: 8 }
    }
}
