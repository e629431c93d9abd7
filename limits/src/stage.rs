//! One shard of the limits as a stage: what each request leads to.
//!
//! | the record | facts |
//! |---|---|
//! | an `Ask` | `Answered`; or `AskKept` and a `Noticed` for each who may give back; a breaker to be tried: `BreakerHalfOpened` first |
//! | a `Return` of a known holding | `Told`, and `Answered` for those who waited for it |
//! | an `Ended` of a breaker | `Told`, and when it trips a `Noticed` for each holder |
//! | anything else | `RequestRefused` |

use tidegate_protocol::ids::SenderId;
use tidegate_protocol::limits::{LimitAnswer, LimitRequest, LimitsFact};
use tidegate_protocol::time::Timestamp;
use tidegate_spine::Record;
use tidegate_stage::{Arrival, Decision, Delivery, Input, Message, Outbox, Signal, Stage};

use crate::answer::{Ask, Said, answer};
use crate::config::LimitsConfig;
use crate::key::KeyName;
use crate::measures;
use crate::snapshot;
use crate::state::State;
use crate::tick;

/// Bugs the hammer and the simulation plant, to show that they would be found; none in a working stage.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Planted {
    /// What was granted is not counted, so that it is granted again.
    pub grant_twice: bool,
}

/// See the crate.
#[derive(Debug)]
pub struct Limits {
    config: LimitsConfig,
    state: State,
    planted: Planted,
    /// Facts that could not follow.
    impossible: u64,
}

impl Limits {
    /// A shard that knows of nothing.
    #[must_use]
    pub fn new(config: LimitsConfig) -> Self {
        Self { config, state: State::default(), planted: Planted::default(), impossible: 0 }
    }

    /// The same with bugs; for tests of tests.
    #[must_use]
    pub fn with_bugs(self, planted: Planted) -> Self {
        Self { planted, ..self }
    }

    /// How many keys count.
    #[must_use]
    pub fn keys(&self) -> usize {
        self.state.keys.len()
    }

    /// Facts that could not follow from the state: 0, or there is a defect.
    #[must_use]
    pub const fn impossible_facts(&self) -> u64 {
        self.impossible
    }

    fn heard(&self, arrival: &Arrival<'_>, at: Timestamp, decision: &mut Decision<LimitsFact>) {
        // Of a sealed input the runner has always checked the sender.
        let Some((by, _)) = arrival.sender else { return };
        let refuse = |reason: String| LimitsFact::RequestRefused { by: by.clone(), reason };
        if self.config.grants_of(by).is_none() {
            decision.settle(
                arrival.at,
                refuse("it is no shard of a configured source, or of a configured pool of several shards".into()),
            );
            return;
        }
        let value = arrival.record.value.as_deref().unwrap_or_default();
        let request: LimitRequest = match serde_json::from_slice(value) {
            Ok(request) => request,
            Err(error) => {
                decision.settle(arrival.at, refuse(format!("no limit request: {error}")));
                return;
            }
        };
        if let Some(reason) = self.doubt(by, &request) {
            // A holding that its shard does not know any more has ended by what was said before.
            if !matches!(request, LimitRequest::Return { gone: true, .. }) {
                decision.settle(arrival.at, refuse(reason));
            }
            return;
        }
        match Ask::of(by, &request) {
            Some(ask) => match answer(&self.state, &self.config, ask, at, false) {
                Said::Answer(answer) => {
                    let request = Some(Box::new(request));
                    decision.settle(arrival.at, LimitsFact::Answered { to: by.clone(), request, answer });
                }
                Said::Tried(answer) => {
                    let (limit, key) = request.about();
                    decision.fact(LimitsFact::BreakerHalfOpened { limit: limit.clone(), key: key.into() });
                    let request = Some(Box::new(request));
                    decision.settle(arrival.at, LimitsFact::Answered { to: by.clone(), request, answer });
                }
                Said::Keep(until, recalls) => {
                    let request = Box::new(request);
                    decision.settle(arrival.at, LimitsFact::AskKept { to: by.clone(), request, until });
                    for (to, notice) in recalls {
                        decision.fact(LimitsFact::Noticed { to, notice });
                    }
                }
            },
            None => {
                let switches = self.switches(&request, at);
                let request = Box::new(request);
                decision.settle(arrival.at, LimitsFact::Told { by: by.clone(), request });
                for (to, notice) in switches {
                    decision.fact(LimitsFact::Noticed { to, notice });
                }
            }
        }
    }

    /// Why what a shard says cannot be. A copy of what was heard before may stand behind a range of the requests that was lost:
    /// nobody waits for an answer to it, and it gives nothing back again.
    fn doubt(&self, by: &SenderId, request: &LimitRequest) -> Option<String> {
        let (limit, key) = request.about();
        let known = self.state.keys.get(&KeyName { limit: limit.clone(), key: key.into() });
        match request {
            LimitRequest::Ask { id, .. } => {
                let held = known.filter(|key| key.breaker.is_none()).and_then(|key| key.holders.get(by));
                held.is_some_and(|held| held.has_heard(*id)).then(|| "it was heard before".into())
            }
            LimitRequest::Return { id, holding, free, .. } => {
                let held = known.and_then(|key| key.holders.get(by)).filter(|held| held.number == *holding);
                match held {
                    Some(held) if held.has_heard(*id) => Some("it was heard before".into()),
                    None => Some(format!("holding {holding} is not known, or has lapsed")),
                    Some(held) if *free > held.capacity => {
                        Some(format!("{free} is given back of a holding of {}", held.capacity))
                    }
                    Some(_) => None,
                }
            }
            LimitRequest::Ended { definition, tenant, failed, .. } => match known {
                Some(key) if key.breaker.is_none() || *key.definition != *definition => {
                    Some("it is another limit than the known one".into())
                }
                Some(_) => None,
                None if !failed => Some("nothing is known of this breaker".into()),
                None if definition.check().is_err()
                    || definition.kind != tidegate_protocol::limits::LimitKind::Breaker =>
                {
                    Some("it is no breaker that can be kept".into())
                }
                None if self.state.keys.len() >= self.config.keys
                    || self.state.keys_of(tenant) >= self.config.tenant_keys =>
                {
                    Some("there are as many keys as may be".into())
                }
                None => None,
            },
        }
    }

    /// Whom to tell when a job's end trips a breaker.
    fn switches(&self, request: &LimitRequest, at: Timestamp) -> Vec<(SenderId, LimitAnswer)> {
        let LimitRequest::Ended { limit, key: name, failed, probe, .. } = request else { return Vec::new() };
        let Some(key) = self.state.keys.get(&KeyName { limit: limit.clone(), key: name.clone() }) else {
            return Vec::new();
        };
        let trips = key.breaker.as_ref().is_some_and(|breaker| breaker.trips(&key.definition, *failed, *probe, at));
        if !trips {
            return Vec::new();
        }
        let again = at + std::time::Duration::from_millis(key.definition.open_ms.unwrap_or_default());
        let notice = |(to, held): (&SenderId, &crate::key::Holding)| {
            let (limit, key) = (limit.clone(), name.clone());
            (to.clone(), LimitAnswer::Switched { holding: held.number, limit, key, again })
        };
        key.holders.iter().map(notice).collect()
    }

    fn send(&self, to: &SenderId, answer: &LimitAnswer, outbox: &mut Outbox) {
        // A source that is no longer configured has nobody to read it; what it holds lapses.
        let Some(partition) = self.config.grants_of(to) else { return };
        // A record of plain strings and numbers can always be written.
        let Ok(value) = serde_json::to_vec(answer) else { return };
        outbox.send(Message {
            ordinal: 0,
            delivery: Delivery::Fenced,
            to: partition,
            key: None,
            headers: tidegate_spine::Headers::new(),
            value: Some(value.into()),
        });
    }
}

impl Stage for Limits {
    type Fact = LimitsFact;
    type Signal = ();

    fn decide(&self, input: &Input<'_>, at: Timestamp, decision: &mut Decision<LimitsFact>) {
        match input {
            Input::Record(arrival) => self.heard(arrival, at, decision),
            Input::Tick { fresh } => tick::tick(&self.state, &self.config, *fresh, decision),
            Input::Poll => {
                if let Some(fact) = tick::next_answer(&self.state, &self.config, at) {
                    decision.fact(fact);
                }
            }
            // Only job inputs are evicted from; what is refused the runner has counted.
            Input::Evict(_) | Input::Refused(..) => {}
        }
    }

    fn apply(&mut self, fact: &LimitsFact, at: Timestamp) {
        if !self.state.apply(fact, at, &self.config, self.planted) {
            self.impossible += 1;
        }
    }

    fn emit(&self, fact: &LimitsFact, _at: Timestamp, _input: Option<&Record>, outbox: &mut Outbox) {
        match fact {
            LimitsFact::Answered { to, answer, .. } => self.send(to, answer, outbox),
            LimitsFact::Noticed { to, notice } => self.send(to, notice, outbox),
            LimitsFact::AskKept { .. }
            | LimitsFact::Told { .. }
            | LimitsFact::BreakerHalfOpened { .. }
            | LimitsFact::HoldingLapsed { .. }
            | LimitsFact::KeyForgotten { .. }
            | LimitsFact::RequestRefused { .. } => {}
        }
    }

    fn needs_input(&self, _fact: &LimitsFact) -> bool {
        false
    }

    fn observe(&mut self, _signal: Signal<'_, ()>, _at: Timestamp) {
        // Nothing is known softly.
    }

    fn next_due(&self) -> Option<Timestamp> {
        self.state.next_due()
    }

    fn admits(&self, _input: u32) -> bool {
        true
    }

    fn tally(fact: &LimitsFact, count: &mut dyn FnMut(&'static str, &'static str, &'static str)) {
        measures::tally(fact, count);
    }

    fn figures(&self, publish: &mut dyn FnMut(&'static str, f64)) {
        measures::figures(&self.state, self.impossible, publish);
    }

    fn snapshot(&self) -> Result<String, serde_json::Error> {
        snapshot::write(&self.state)
    }

    fn restore(&mut self, snapshot: &str) -> Result<(), serde_json::Error> {
        self.state = snapshot::read(snapshot, &self.config)?;
        Ok(())
    }
}
