//! What a judgement asks of whoever keeps limits, and what it may come to.

use crate::verdict::Verdict;
pub use tidegate_protocol::limits::LimitUse;

/// Where a job stands with one limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The limit admits this job: the condition does not hold.
    Within,
    /// The limit would be exceeded, or is exhausted: the condition holds.
    Exceeded,
    /// Not known yet: the judgement waits unless the verdict is the same either way.
    Unknown,
}

/// Knows limits. Asked only for limits that could change the verdict, at most once each in a judgement.
pub trait LimitView {
    /// Where a job that would spend this stands. Must not spend: what a verdict lists in
    /// [`spends`](Verdict::spends) is spent by the caller with the decision.
    fn standing(&mut self, wanted: &LimitUse) -> Standing;
}

/// Knows no limit: each counts as exhausted, so restrictions on one hold and permissions on one do not.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoLimits;

impl LimitView for NoLimits {
    fn standing(&mut self, _wanted: &LimitUse) -> Standing {
        Standing::Exceeded
    }
}

/// What a judgement comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// A verdict.
    Decided(Verdict),
    /// These limits must be known first, and are in the order they were asked for. Never empty.
    Waits(Vec<LimitUse>),
}
