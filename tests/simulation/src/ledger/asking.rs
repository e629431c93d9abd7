//! What a shard asks of limits is answered, whatever was lost on the way.

use std::collections::BTreeMap;

use tidegate_protocol::facts::{KernelFact, SchedulerFact};
use tidegate_protocol::limits::{LimitAnswer, LimitId, LimitRequest, RequestId};
use tidegate_stage::ShardSpec;

use super::facts::ValidGroup;
use super::verdicts::{Invariant, Verdicts};

/// A fact that may ask, or note an answer.
pub trait Asks {
    /// What it asks.
    fn asks(&self) -> Option<&LimitRequest>;
    /// What it notes.
    fn hears(&self) -> Option<&LimitAnswer>;
}

impl Asks for KernelFact {
    fn asks(&self) -> Option<&LimitRequest> {
        if let Self::SliceRequested { request } = self { Some(request) } else { None }
    }

    fn hears(&self) -> Option<&LimitAnswer> {
        if let Self::SliceGranted { answer } = self { Some(answer) } else { None }
    }
}

impl Asks for SchedulerFact {
    fn asks(&self) -> Option<&LimitRequest> {
        if let Self::SliceRequested { request } = self { Some(request) } else { None }
    }

    fn hears(&self) -> Option<&LimitAnswer> {
        if let Self::SliceGranted { answer } = self { Some(answer) } else { None }
    }
}

/// The last request of each key has its answer in the end. How many were asked while another was not answered.
pub fn check<F: Asks>(spec: &ShardSpec, groups: &[ValidGroup<F>], verdicts: &mut Verdicts) -> u64 {
    let mut asked: BTreeMap<(&LimitId, &str), RequestId> = BTreeMap::new();
    let mut again = 0;
    for fact in groups.iter().flat_map(|group| &group.group.facts).map(|record| &record.fact) {
        if let Some(request) = fact.asks() {
            again += u64::from(asked.insert(request.about(), request.id()).is_some());
        }
        if let Some(LimitAnswer::Granted { request, limit, key, .. }) = fact.hears()
            && asked.get(&(limit, &**key)) == Some(request)
        {
            asked.remove(&(limit, &**key));
        }
    }
    for ((limit, key), request) in asked {
        verdicts.must_in_the_end(false, Invariant::I1, || {
            format!("{}: request {} of {limit} for {key} is never answered", spec.sender, request.number)
        });
    }
    again
}
