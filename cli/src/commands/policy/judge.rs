//! Judging without spending.

use tidegate_policy::{Judgement, LimitUse, LimitView, Scratch, Snapshot, Standing, Subject, Verdict};

use super::args::Limits;

impl LimitView for Limits {
    fn standing(&mut self, _wanted: &LimitUse) -> Standing {
        match self {
            Self::Within => Standing::Within,
            Self::Exceeded => Standing::Exceeded,
            Self::Unknown => Standing::Unknown,
        }
    }
}

/// The verdict, or the limits it waits for.
pub(super) fn judge(
    policy: &Snapshot,
    subject: &Subject<'_>,
    at_ms: u64,
    mut limits: Limits,
    scratch: &mut Scratch,
) -> Result<Verdict, Vec<String>> {
    match policy.judge(subject, at_ms, &mut limits, scratch) {
        Judgement::Decided(verdict) => Ok(verdict),
        Judgement::Waits(uses) => Err(uses.iter().map(|one| one.limit.to_string()).collect()),
    }
}

/// Texts of ids.
pub(super) fn texts(ids: &[std::sync::Arc<str>]) -> Vec<String> {
    ids.iter().map(ToString::to_string).collect()
}
