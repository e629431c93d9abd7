//! What falls due: holdings nobody speaks for, requests that waited long enough, keys that nothing counts for.

use tidegate_protocol::limits::LimitsFact;
use tidegate_protocol::time::Timestamp;
use tidegate_stage::Decision;

use crate::answer::{Ask, Said, answer};
use crate::config::LimitsConfig;
use crate::key::{Kept, Key, KeyName};
use crate::state::State;

/// Keys looked at in one tick.
const AT_ONCE: usize = 256;

/// All that is due at `at`, at most one fact a key: the next follows in the next tick.
pub(crate) fn tick(state: &State, config: &LimitsConfig, at: Timestamp, decision: &mut Decision<LimitsFact>) {
    for (name, key) in state.due(at).take(AT_ONCE) {
        if let Some(fact) = due(state, config, name, key, at) {
            decision.fact(fact);
        }
    }
}

fn due(state: &State, config: &LimitsConfig, name: &KeyName, key: &Key, at: Timestamp) -> Option<LimitsFact> {
    if let Some(kept) = key.asks.iter().find(|kept| kept.until <= at) {
        return last_answer(state, config, kept, at);
    }
    let lapsed = key.holders.iter().find(|(_, holding)| key.lapses(holding, config) <= at);
    if let Some((of, holding)) = lapsed {
        return Some(LimitsFact::HoldingLapsed {
            of: of.clone(),
            holding: holding.number,
            limit: name.limit.clone(),
            key: name.key.clone(),
            capacity: holding.capacity,
        });
    }
    key.is_idle(at).then(|| LimitsFact::KeyForgotten { limit: name.limit.clone(), key: name.key.clone() })
}

/// The answer to a request that waited, with what there is now.
pub(crate) fn last_answer(state: &State, config: &LimitsConfig, kept: &Kept, at: Timestamp) -> Option<LimitsFact> {
    let ask = Ask::of(&kept.to, &kept.request)?;
    match answer(state, config, ask, at, true) {
        Said::Answer(answer) | Said::Tried(answer) => {
            Some(LimitsFact::Answered { to: kept.to.clone(), request: None, answer })
        }
        Said::Keep(..) => None,
    }
}

/// The next request that need not wait any longer.
pub(crate) fn next_answer(state: &State, config: &LimitsConfig, at: Timestamp) -> Option<LimitsFact> {
    let kept = state.asking().find(|(_, key)| key.is_ready(at, config)).and_then(|(_, key)| key.asks.first())?;
    last_answer(state, config, kept, at)
}
