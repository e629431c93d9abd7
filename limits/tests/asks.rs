//! What shards that ask for places of one limit are given.
#![expect(clippy::unwrap_used, reason = "a test's own parts are well-formed")]

use std::collections::BTreeMap;

use tidegate_limits::{Layout, Limits, LimitsConfig, Tuning};
use tidegate_protocol::address::TopicName;
use tidegate_protocol::control::Stamp;
use tidegate_protocol::ids::{PoolName, SenderId, TenantId};
use tidegate_protocol::limits::{
    Amount, LimitAnswer, LimitDefinition, LimitId, LimitKind, LimitRequest, LimitsFact, RequestId,
};
use tidegate_protocol::time::Timestamp;
use tidegate_spine::{Headers, Record};
use tidegate_stage::{Arrival, Decision, Input, InputRef, Stage};

const PLACES: u64 = 10;

/// A limits stage of a pool of two shards.
struct Lender(Limits);

fn sender(shard: u32) -> SenderId {
    SenderId::new(format!("scheduler.bank/{shard}")).unwrap()
}

fn units(units: u64) -> Amount {
    Amount::units(units).unwrap()
}

fn limit() -> LimitId {
    LimitId::new("rule#0:0011223344556677").unwrap()
}

fn ask(number: u64, holding: u64, need: u64, want: u64, at: u64) -> LimitRequest {
    let window = std::time::Duration::from_hours(400 * 24);
    LimitRequest::Ask {
        id: RequestId { epoch: 1, number },
        holding,
        limit: limit(),
        key: "acme".into(),
        definition: LimitDefinition::new(LimitKind::Concurrency, units(PLACES), window),
        tenant: TenantId::new("acme").unwrap(),
        need: units(need),
        want: units(want),
        at: Timestamp(at),
    }
}

impl Lender {
    fn new() -> Self {
        let pools = BTreeMap::from([(PoolName::new("bank").unwrap(), 2)]);
        let layout = Layout { prefix: String::new(), sources: BTreeMap::new(), pools };
        Self(Limits::new(LimitsConfig::new(&layout, &Tuning::default()).unwrap()))
    }

    /// The facts a request leads to, taken in; no `Poll` follows.
    fn hears(&mut self, shard: u32, request: &LimitRequest, at: u64) -> Vec<LimitsFact> {
        let value = Some(serde_json::to_vec(request).unwrap().into());
        let record = Record { offset: 1, timestamp_ms: 0, key: None, value, headers: Headers::new() };
        let by = sender(shard);
        let arrival = Arrival {
            at: InputRef { input: 0, offset: 1 },
            partition: &TopicName::new("limits.requests").unwrap().partition(0),
            record: &record,
            sender: Some((&by, Stamp { epoch: 1, sequence: 0, group: 0, index: 0 })),
        };
        self.decides(&Input::Record(arrival), at)
    }

    fn decides(&mut self, input: &Input<'_>, at: u64) -> Vec<LimitsFact> {
        let mut decision = Decision::default();
        self.0.decide(input, Timestamp(at), &mut decision);
        let facts: Vec<_> = decision.facts().iter().map(|(fact, _)| fact.clone()).collect();
        for fact in &facts {
            self.0.apply(fact, Timestamp(at));
        }
        assert_eq!(self.0.impossible_facts(), 0);
        facts
    }
}

/// Who was granted how much, under which holding.
fn granted(facts: &[LimitsFact]) -> Option<(SenderId, u64, Amount)> {
    facts.iter().find_map(|fact| {
        let LimitsFact::Answered { to, answer: LimitAnswer::Granted { holding, amount, .. }, .. } = fact else {
            return None;
        };
        Some((to.clone(), *holding, *amount))
    })
}

#[test]
fn a_place_given_back_is_for_the_shard_that_waits_not_for_the_one_that_gave_it() {
    let mut lender = Lender::new();
    assert_eq!(granted(&lender.hears(0, &ask(1, 1, PLACES, PLACES, 1), 1)), Some((sender(0), 1, units(PLACES))));
    let kept = lender.hears(1, &ask(1, 1, 1, 1, 2), 2);
    assert!(matches!(kept[0], LimitsFact::AskKept { .. }), "{kept:?}");
    let back = LimitRequest::Return {
        id: RequestId { epoch: 1, number: 2 },
        holding: 1,
        limit: limit(),
        key: "acme".into(),
        free: units(1),
        rest: None,
        from: Timestamp(0),
    };
    lender.hears(0, &back, 3);
    // Nor for a renewal that would like more.
    for (number, need) in [(3, 0), (4, 1)] {
        let answer = lender.hears(0, &ask(number, 1, need, 1, 3), 3);
        assert_eq!(granted(&answer), Some((sender(0), 1, Amount::ZERO)));
    }
    assert_eq!(granted(&lender.decides(&Input::Poll, 3)), Some((sender(1), 1, units(1))));
}

#[test]
fn a_shard_that_asks_anew_before_it_was_answered_gets_what_the_former_answer_gave() {
    let mut lender = Lender::new();
    assert_eq!(granted(&lender.hears(0, &ask(1, 1, 1, PLACES, 1), 5)), Some((sender(0), 1, units(PLACES))));
    assert_eq!(granted(&lender.hears(0, &ask(2, 2, 1, PLACES, 2), 5)), Some((sender(0), 2, units(PLACES))));
    // All is lent, once.
    let kept = lender.hears(1, &ask(1, 1, 1, 1, 6), 6);
    assert!(matches!(kept[0], LimitsFact::AskKept { .. }), "{kept:?}");
    // A lower number tells nothing of a later holding.
    assert_eq!(granted(&lender.hears(0, &ask(1, 1, 1, 1, 1), 7)), Some((sender(0), 0, Amount::ZERO)));
}
