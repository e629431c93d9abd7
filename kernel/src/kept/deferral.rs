//! How long a job waits for what policy cannot say yet, or for a throttle.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidegate_protocol::decision::{Decision, Throttle};
use tidegate_protocol::kept::DeferredWhy;
use tidegate_protocol::limits::LimitId;
use tidegate_protocol::time::Timestamp;

use super::KeptJob;

/// Longest wait for slices of limits; then they count as exhausted.
pub(crate) const SLICE_PATIENCE: Duration = Duration::from_secs(30);
/// Longest wait for a policy of a job whose ticket expired.
const POLICY_PATIENCE: Duration = Duration::from_secs(3_600);
/// Most times a job is throttled, whatever its rule says.
pub(crate) const THROTTLE_TRIES: u32 = 100;
/// Shortest delay of a throttle, whatever its rule says.
const LEAST_DELAY: Duration = Duration::from_millis(100);

/// A limit and a key as something a job waits for.
pub(crate) fn awaited(limit: &LimitId, key: &str) -> String {
    [limit.as_str(), " ", key].concat()
}

/// What a deferred job waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Deferral {
    pub(crate) why: DeferredWhy,
    /// Its end.
    pub(crate) until: Timestamp,
    /// A throttled job is judged again then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) retry: Option<Timestamp>,
    /// Times throttled.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) throttled: u32,
    /// Limits and keys ([`awaited`]) that have not answered yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) waits_for: Vec<String>,
    /// What policy said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) decision: Option<Box<Decision>>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
pub(super) fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Deferral {
    /// Everything it waited for has answered.
    pub(crate) fn is_woken(&self) -> bool {
        match self.why {
            DeferredWhy::Slice => self.waits_for.is_empty(),
            DeferredWhy::Throttle => false,
            DeferredWhy::Ticket => true,
        }
    }

    /// A wait for limits that begins, or goes on, at `at`.
    pub(crate) fn for_slices(kept: Option<&KeptJob>, waits_for: Vec<String>, at: Timestamp) -> Self {
        let why = DeferredWhy::Slice;
        Self {
            why,
            until: end(kept, why, SLICE_PATIENCE, at),
            retry: None,
            throttled: throttled(kept),
            waits_for,
            decision: None,
        }
    }

    /// A job whose ticket expired at a time without a policy: judged as soon as there is one.
    pub(crate) fn for_a_policy(at: Timestamp) -> Self {
        let (why, until) = (DeferredWhy::Ticket, at + POLICY_PATIENCE);
        Self { why, until, retry: None, throttled: 0, waits_for: Vec::new(), decision: None }
    }

    /// A throttle; `None` when the job was throttled often or long enough.
    pub(crate) fn for_throttle(kept: Option<&KeptJob>, decision: Decision, at: Timestamp) -> Option<Self> {
        let why = DeferredWhy::Throttle;
        let Throttle { retry_after_ms, give_up_after_ms } = decision.throttle?;
        let until = end(kept, why, Duration::from_millis(give_up_after_ms), at);
        let retry = at + Duration::from_millis(retry_after_ms).max(LEAST_DELAY);
        let throttled = throttled(kept);
        (throttled < THROTTLE_TRIES && at < until).then(|| Self {
            why,
            until,
            retry: Some(retry),
            throttled: throttled + 1,
            waits_for: Vec::new(),
            decision: Some(Box::new(decision)),
        })
    }
}

fn throttled(kept: Option<&KeptJob>) -> u32 {
    kept.and_then(|kept| kept.deferral.as_ref()).map_or(0, |deferral| deferral.throttled)
}

/// A job that waits again for the same reason keeps its first end.
fn end(kept: Option<&KeptJob>, why: DeferredWhy, patience: Duration, at: Timestamp) -> Timestamp {
    let earlier = kept.and_then(|kept| kept.deferral.as_ref()).filter(|deferral| deferral.why == why);
    earlier.map_or_else(|| at + patience, |deferral| deferral.until)
}
