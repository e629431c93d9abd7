//! The kernel's part in limits: what it reads of `outcomes.<source>` and `grants.<source>`, and what it writes to
//! `limits.requests`. What it holds is in [`wallet`](crate::wallet).

use tidegate_protocol::facts::KernelFact;
use tidegate_protocol::limits::{LimitAnswer, LimitRequest, LimitUse, OutcomeTold};
use tidegate_protocol::time::Timestamp;
use tidegate_protocol::topics::partition_of;
use tidegate_spine::Headers;
use tidegate_stage::{Arrival, Decision, Delivery, Message, Outbox};

use tidegate_policy::{LimitView, Standing};

use crate::config::KernelConfig;
use crate::kernel::Kernel;
use crate::wallet::{Here, View};

/// How limits stand for a judgement.
pub(crate) struct Looking<'a> {
    pub(crate) view: View<'a>,
    /// What is not known now counts as exceeded.
    pub(crate) last: bool,
}

impl LimitView for Looking<'_> {
    fn standing(&mut self, wanted: &LimitUse) -> Standing {
        match self.view.look(wanted) {
            Here::Within => Standing::Within,
            Here::Unknown if !self.last => Standing::Unknown,
            Here::Exceeded | Here::Unknown => Standing::Exceeded,
        }
    }
}

impl Kernel {
    /// A job that took of limits ended, or comes back. What cannot be read, or is of a job nobody waits for, says nothing.
    pub(crate) fn hear_outcome(&self, arrival: &Arrival<'_>, at: Timestamp, decision: &mut Decision<KernelFact>) {
        if self.hear_returned(arrival, at, decision) {
            return;
        }
        let value = arrival.record.value.as_deref().unwrap_or_default();
        let told = serde_json::from_slice::<OutcomeTold>(value).ok().filter(|told| {
            told.v == 1
                && told.source.source == *self.config.source.name()
                && told.source.partition == self.config.shard
        });
        let facts = told.map(|told| self.wallet.told(&told, at, self.epoch)).unwrap_or_default();
        if facts.is_empty() {
            self.meters.outcomes_unused.increment(1);
        }
        for fact in facts {
            decision.fact(fact);
        }
    }

    /// The limits stage answered, or needs something back.
    pub(crate) fn hear_answer(&self, arrival: &Arrival<'_>, at: Timestamp, decision: &mut Decision<KernelFact>) {
        let value = arrival.record.value.as_deref().unwrap_or_default();
        let answer = serde_json::from_slice::<LimitAnswer>(value).ok();
        match answer.and_then(|answer| self.wallet.answered(answer, at, self.epoch)) {
            Some(fact) => decision.fact(fact),
            None => self.meters.answers_unused.increment(1),
        }
    }

    /// Holdings whose time was over at `fresh` end, and what was not answered is asked again; whether there was any.
    pub(crate) fn end_holdings(&self, fresh: Timestamp, at: Timestamp, decision: &mut Decision<KernelFact>) -> bool {
        let ended = self.wallet.tick(fresh, at, self.epoch);
        let any = !ended.is_empty();
        for fact in ended {
            decision.fact(fact);
        }
        any
    }
}

/// A request to the limits stage, in the partition of its limit and key.
pub(crate) fn send(
    config: &KernelConfig,
    request: &LimitRequest,
    outbox: &mut Outbox,
) -> Result<(), serde_json::Error> {
    let (limit, key) = request.about();
    let key = [limit.as_str(), "\n", key].concat();
    outbox.send(Message {
        ordinal: 0,
        delivery: Delivery::Fenced,
        to: config.topics.limit_requests.partition(partition_of(key.as_bytes(), config.topics.partitions.limits)),
        key: Some(key.into()),
        headers: Headers::new(),
        value: Some(serde_json::to_vec(request)?.into()),
    });
    Ok(())
}
