//! A limits stage by itself: the requests it hears and the facts it answers with.
#![allow(dead_code, reason = "each test uses its part of it")]

use std::collections::BTreeMap;
use std::time::Duration;

use tidegate_limits::{Layout, Limits, LimitsConfig, Tuning};
use tidegate_protocol::address::TopicName;
use tidegate_protocol::control::Stamp;
use tidegate_protocol::ids::{PoolName, SenderId, SourceName, TenantId};
use tidegate_protocol::limits::{
    Amount, LimitAnswer, LimitDefinition, LimitId, LimitKind, LimitRequest, LimitsFact, RequestId,
};
use tidegate_protocol::time::Timestamp;
use tidegate_spine::{Headers, Record};
use tidegate_stage::{Arrival, Decision, Input, InputRef, Stage};

/// The most that may count.
pub(crate) const MOST: u64 = 10;

/// A limits stage of a pool of two shards and a source of two.
pub(crate) struct Lender {
    stage: Limits,
    config: LimitsConfig,
    kind: LimitKind,
    window: Duration,
}

pub(crate) fn scheduler(shard: u32) -> SenderId {
    SenderId::new(format!("scheduler.bank/{shard}")).unwrap()
}

pub(crate) fn kernel(shard: u32) -> SenderId {
    SenderId::new(format!("kernel.jobs.raw/{shard}")).unwrap()
}

pub(crate) fn units(units: u64) -> Amount {
    Amount::units(units).unwrap()
}

pub(crate) fn seconds(seconds: u64) -> u64 {
    seconds * 1_000_000
}

fn limit() -> LimitId {
    LimitId::new("rule#0:0011223344556677").unwrap()
}

/// What is asked.
#[derive(Clone, Copy)]
pub(crate) struct Asks {
    pub(crate) epoch: u64,
    pub(crate) number: u64,
    pub(crate) holding: u64,
    pub(crate) need: u64,
    pub(crate) want: u64,
    pub(crate) has: Option<u64>,
}

/// For a first holding, or of one that is not said to be known.
pub(crate) const fn asks(number: u64, holding: u64, need: u64, want: u64) -> Asks {
    Asks { epoch: 1, number, holding, need, want, has: None }
}

/// What is given back.
pub(crate) fn returns(number: u64, holding: u64, free: u64) -> LimitRequest {
    LimitRequest::Return {
        id: RequestId { epoch: 1, number },
        holding,
        limit: limit(),
        key: "acme".into(),
        free: units(free),
        rest: None,
        from: Timestamp(0),
        gone: false,
    }
}

/// Nothing is known of a holding.
pub(crate) fn gone(epoch: u64, number: u64, of: u64) -> LimitRequest {
    let LimitRequest::Return { holding, limit, key, free, rest, from, .. } = returns(number, of, 0) else {
        unreachable!()
    };
    LimitRequest::Return { id: RequestId { epoch, number }, holding, limit, key, free, rest, from, gone: true }
}

impl Lender {
    /// Of one limit, `MOST` of this kind.
    pub(crate) fn new(kind: LimitKind, window: Duration) -> Self {
        let pools = BTreeMap::from([(PoolName::new("bank").unwrap(), 2)]);
        let sources = BTreeMap::from([(SourceName::new("jobs.raw").unwrap(), 2)]);
        let layout = Layout { prefix: String::new(), sources, pools };
        let config = LimitsConfig::new(&layout, &Tuning::default()).unwrap();
        Self { stage: Limits::new(config.clone()), config, kind, window }
    }

    /// Places of a pool's leases.
    pub(crate) fn of_places() -> Self {
        Self::new(LimitKind::Concurrency, Duration::from_hours(400 * 24))
    }

    /// What is asked at the shard's time `at` and heard at the same time.
    pub(crate) fn asked(&mut self, by: &SenderId, asks: Asks, at: u64) -> Vec<LimitsFact> {
        self.asked_late(by, asks, (at, at))
    }

    /// What is asked at one time and heard at another.
    pub(crate) fn asked_late(&mut self, by: &SenderId, asks: Asks, (at, heard): (u64, u64)) -> Vec<LimitsFact> {
        let request = LimitRequest::Ask {
            id: RequestId { epoch: asks.epoch, number: asks.number },
            holding: asks.holding,
            limit: limit(),
            key: "acme".into(),
            definition: LimitDefinition::new(self.kind, units(MOST), self.window),
            tenant: TenantId::new("acme").unwrap(),
            need: units(asks.need),
            want: units(asks.want),
            has: asks.has.map(units),
            at: Timestamp(at),
        };
        self.hears(by, &request, heard)
    }

    /// The facts a request leads to, taken in; no `Poll` follows.
    pub(crate) fn hears(&mut self, by: &SenderId, request: &LimitRequest, at: u64) -> Vec<LimitsFact> {
        let value = Some(serde_json::to_vec(request).unwrap().into());
        let record = Record { offset: 1, timestamp_ms: 0, key: None, value, headers: Headers::new() };
        let arrival = Arrival {
            at: InputRef { input: 0, offset: 1 },
            partition: &TopicName::new("limits.requests").unwrap().partition(0),
            record: &record,
            sender: Some((by, Stamp { epoch: 1, sequence: 0, group: 0, index: 0 })),
        };
        self.decides(&Input::Record(arrival), at)
    }

    pub(crate) fn decides(&mut self, input: &Input<'_>, at: u64) -> Vec<LimitsFact> {
        let mut decision = Decision::default();
        self.stage.decide(input, Timestamp(at), &mut decision);
        let facts: Vec<_> = decision.facts().iter().map(|(fact, _)| fact.clone()).collect();
        for fact in &facts {
            self.stage.apply(fact, Timestamp(at));
        }
        assert_eq!(self.stage.impossible_facts(), 0);
        let (text, mut other) = (self.stage.snapshot().unwrap(), Limits::new(self.config.clone()));
        other.restore(&text).unwrap();
        assert_eq!(other.snapshot().unwrap(), text);
        self.stage = other;
        facts
    }

    /// Ticks until nothing is due.
    pub(crate) fn ticks(&mut self, at: u64) -> Vec<LimitsFact> {
        let mut all = Vec::new();
        loop {
            let facts = self.decides(&Input::Tick { fresh: Timestamp(at) }, at);
            if facts.is_empty() {
                return all;
            }
            all.extend(facts);
        }
    }
}

/// Who was granted how much, under which holding.
pub(crate) fn granted(facts: &[LimitsFact]) -> Option<(SenderId, u64, u64)> {
    facts.iter().find_map(|fact| {
        let LimitsFact::Answered { to, answer: LimitAnswer::Granted { holding, amount, .. }, .. } = fact else {
            return None;
        };
        Some((to.clone(), *holding, amount.0 / Amount::ONE.0))
    })
}

pub(crate) fn is_kept(facts: &[LimitsFact]) -> bool {
    matches!(facts.first(), Some(LimitsFact::AskKept { .. }))
}

pub(crate) fn is_refused(facts: &[LimitsFact]) -> bool {
    matches!(facts, [LimitsFact::RequestRefused { .. }])
}
