//! Metrics of a limits shard: names and sentences in one place. Counts are of facts that have landed; figures are of the
//! present owner.

use tidegate_protocol::limits::{LimitAnswer, LimitRequest, LimitsFact};

use crate::state::State;

/// Name and sentence of every counter, for the exporter.
pub const COUNTERS: [(&str, &str); 5] = [
    (
        "tidegate_limits_requests_total",
        "Requests of kernel and scheduler shards, by what they got: slice, time, nothing or a refusal.",
    ),
    ("tidegate_limits_returns_total", "Capacity given back by shards, and holdings that ended, by which."),
    ("tidegate_limits_notices_total", "Notices to holders, by kind: recalled, or switched (a breaker)."),
    ("tidegate_limits_lapsed_total", "Holdings that ended without a word: their shard was away. By nothing else."),
    ("tidegate_limits_refused_total", "Records that no shard could have written, or that came after a lapse."),
];

/// Name and sentence of every count of what leaves no fact, for the exporter: as each owner met it.
pub const COUNTS: [(&str, &str); 1] = [(
    "tidegate_limits_invariant_violations_total",
    "Facts that could not follow from the state; any is a defect or an altered log.",
)];

/// Name and sentence of every gauge, for the exporter.
pub const GAUGES: [(&str, &str); 3] = [
    ("tidegate_limits_keys", "Keys of limits that count now."),
    ("tidegate_limits_holdings", "Holdings of kernel and scheduler shards."),
    ("tidegate_limits_waiting_requests", "Requests that wait for others to give back."),
];

/// What of a landed fact is counted.
pub(crate) fn tally(fact: &LimitsFact, count: &mut dyn FnMut(&'static str, &'static str, &'static str)) {
    let [requests, returns, notices, lapsed, refusals] = COUNTERS.map(|(name, _)| name);
    match fact {
        LimitsFact::Answered { answer: LimitAnswer::Granted { refused: Some(why), .. }, .. } => {
            count(requests, "got", why.word());
        }
        LimitsFact::Answered { answer: LimitAnswer::Granted { holding, amount, .. }, .. } => {
            let got = match (holding, amount.is_zero()) {
                (0, _) => "nothing",
                (_, true) => "time",
                (_, false) => "slice",
            };
            count(requests, "got", got);
        }
        LimitsFact::Told { request, .. } => match &**request {
            LimitRequest::Return { rest: None, .. } => count(returns, "what", "part"),
            LimitRequest::Return { .. } => count(returns, "what", "holding"),
            LimitRequest::Ended { .. } | LimitRequest::Ask { .. } => {}
        },
        LimitsFact::Noticed { notice, .. } => {
            let kind = if matches!(notice, LimitAnswer::Switched { .. }) { "switched" } else { "recalled" };
            count(notices, "kind", kind);
        }
        LimitsFact::HoldingLapsed { .. } => count(lapsed, "why", "silent"),
        LimitsFact::RequestRefused { .. } => count(refusals, "why", "unknown"),
        LimitsFact::Answered { .. }
        | LimitsFact::AskKept { .. }
        | LimitsFact::BreakerHalfOpened { .. }
        | LimitsFact::KeyForgotten { .. } => {}
    }
}

/// Present figures, and counts since this owner began.
pub(crate) fn figures(state: &State, impossible: u64, publish: &mut dyn FnMut(&'static str, f64)) {
    #[expect(clippy::cast_precision_loss, reason = "figures for people, far below 2^53")]
    let figure = |number: usize| number as f64;
    let [keys, holdings, waiting] = GAUGES.map(|(name, _)| name);
    let [violations] = COUNTS.map(|(name, _)| name);
    publish(keys, figure(state.keys.len()));
    publish(holdings, figure(state.keys.values().map(|key| key.holders.len()).sum()));
    publish(waiting, figure(state.kept()));
    publish(violations, figure(usize::try_from(impossible).unwrap_or(usize::MAX)));
}
