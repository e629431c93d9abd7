//! How much a request gets.
//!
//! | of the limit | the request gets |
//! |---|---|
//! | unknown key, and the tenant (or the shard) has as many as it may | nothing, `too_many_keys` |
//! | another definition than the known one, or a holding that is not its own | nothing, `invalid` |
//! | nobody else holds or waits | what it wants, as far as it is free |
//! | others hold or wait | what it needs, and up to half of what is free |
//! | less free than it needs, others hold some | kept: they are asked to give back, it is answered when they have |
//! | less free than it needs, nobody can give | nothing until the next amount stops counting, or for `retry_ms` |
//!
//! A request also shows what its shard has ([`Ask::shows`]): what counts beyond that was in an answer or a return that was lost.
//!
//! *Free* is what is left beside the needs of the requests that wait before it: else a busy shard that gives a place back and asks
//! at once would be given it again, each time, before the one that waits is looked at.

use tidegate_protocol::control::term;
use tidegate_protocol::ids::{SenderId, TenantId};
use tidegate_protocol::limits::{
    Amount, LimitAnswer, LimitDefinition, LimitId, LimitKind, LimitRequest, RefusedFor, RequestId,
};
use tidegate_protocol::time::Timestamp;

use crate::breaker::Phase;
use crate::config::LimitsConfig;
use crate::key::{Holding, Key, KeyName};
use crate::state::State;

/// An `Ask`, taken apart.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ask<'a> {
    pub(crate) to: &'a SenderId,
    pub(crate) id: RequestId,
    pub(crate) holding: u64,
    pub(crate) limit: &'a LimitId,
    pub(crate) key: &'a str,
    pub(crate) definition: &'a LimitDefinition,
    pub(crate) tenant: &'a TenantId,
    pub(crate) need: Amount,
    pub(crate) want: Amount,
    /// What its shard has of its holding.
    pub(crate) has: Option<Amount>,
    /// Its shard's stamp.
    pub(crate) at: Timestamp,
}

/// What an ask shows of the holding that is recorded of its shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    /// It is of that holding.
    Same,
    /// Its shard has nothing of it, and nothing of it was spent.
    Unspent,
    /// Its shard has nothing of it; what was spent of it nobody knows any more.
    Lost,
    /// It cannot be.
    Contradiction,
}

impl<'a> Ask<'a> {
    /// Of a request; `None` when it is another.
    pub(crate) fn of(to: &'a SenderId, request: &'a LimitRequest) -> Option<Self> {
        match request {
            LimitRequest::Ask { id, holding, limit, key, definition, tenant, need, want, has, at } => Some(Self {
                to,
                id: *id,
                holding: *holding,
                limit,
                key,
                definition,
                tenant,
                need: *need,
                want: (*want).max(*need),
                has: *has,
                at: *at,
            }),
            LimitRequest::Return { .. } | LimitRequest::Ended { .. } => None,
        }
    }

    /// What it shows of the holding that is recorded of its shard.
    ///
    /// A shard begins a holding only when it has none, its requests come in order with numbers that rise, and it takes the
    /// answer to its last request alone. So one that begins anew, after another was recorded, has nothing of that: the answers
    /// that would have made it the shard's were put aside, or the `Return` that told its end was lost or refused. Of a pool's places
    /// nothing is in use then. What was spent in a window may still count; but such a holding ended with its time, so before that
    /// it cannot be. A shard whose log was made anew knows nothing of what it spent.
    pub(crate) fn shows(&self, held: &Holding) -> Shown {
        let begins = self.holding == self.id.number;
        if begins && held.heard.is_some_and(|heard| term(heard.epoch) < term(self.id.epoch)) {
            return Shown::Lost;
        }
        if self.holding == held.number {
            return Shown::Same;
        }
        if !begins || self.id.number <= held.number {
            return Shown::Contradiction;
        }
        if self.at < held.until || is_places(self.to, self.definition) { Shown::Unspent } else { Shown::Lost }
    }

    fn granted(&self, holding: u64, amount: Amount, until: Timestamp, from: Timestamp) -> Grant<'a> {
        Grant { ask: *self, holding, amount, until, from, again: None, probe: false, refused: None }
    }
}

/// A `Granted` in the making.
pub(crate) struct Grant<'a> {
    ask: Ask<'a>,
    holding: u64,
    amount: Amount,
    until: Timestamp,
    from: Timestamp,
    again: Option<Timestamp>,
    probe: bool,
    refused: Option<RefusedFor>,
}

impl Grant<'_> {
    fn answer(self) -> LimitAnswer {
        LimitAnswer::Granted {
            request: self.ask.id,
            holding: self.holding,
            limit: self.ask.limit.clone(),
            key: self.ask.key.into(),
            amount: self.amount,
            until: self.until,
            from: self.from,
            again: self.again,
            probe: self.probe,
            refused: self.refused,
        }
    }
}

/// What becomes of a request.
#[derive(Debug)]
pub(crate) enum Said {
    Answer(LimitAnswer),
    /// A breaker lets probes through first.
    Tried(LimitAnswer),
    /// It waits until a time, and these are asked to give back.
    Keep(Timestamp, Vec<(SenderId, LimitAnswer)>),
}

/// Decides about a request; `last` when it must not be kept (again).
pub(crate) fn answer(state: &State, config: &LimitsConfig, ask: Ask<'_>, at: Timestamp, last: bool) -> Said {
    let name = KeyName { limit: ask.limit.clone(), key: ask.key.into() };
    let known = state.keys.get(&name);
    let refuse = |refused| {
        let again = Some(at + config.retry.max(std::time::Duration::from_secs(1)));
        Said::Answer(Grant { again, refused: Some(refused), ..ask.granted(0, Amount::ZERO, at, at) }.answer())
    };
    if ask.definition.check().is_err() || known.is_some_and(|key| *key.definition != *ask.definition) {
        return refuse(RefusedFor::Invalid);
    }
    if known.is_none() && (state.keys.len() >= config.keys || state.keys_of(ask.tenant) >= config.tenant_keys) {
        return refuse(RefusedFor::TooManyKeys);
    }
    let fresh = Key { floor: state.floor, ..Key::new(std::sync::Arc::new(ask.definition.clone()), ask.tenant.clone()) };
    let key = known.unwrap_or(&fresh);
    if key.breaker.is_some() {
        return pass(key, config, ask, at);
    }
    // One that waited was met when it was kept.
    let met;
    let key = if !last && key.is_met(&ask) {
        let mut after = key.clone();
        after.meet(&ask, config);
        met = after;
        &met
    } else {
        key
    };
    let held = key.holders.get(ask.to);
    if held.is_some_and(|held| held.number != ask.holding) {
        return refuse(RefusedFor::Invalid);
    }
    let ahead = ahead(key, ask.to, last);
    let free = key.free(at).less(ahead);
    let waiting = key.asks.iter().any(|kept| kept.to != *ask.to);
    let alone = key.holders.keys().all(|holder| holder == ask.to) && !waiting;
    let fits = free >= ask.need;
    let give = if fits { ask.want.min(if alone { free } else { half(key, free).max(ask.need) }) } else { Amount::ZERO };
    if !fits && !last && ask.need <= key.whole().0 {
        let recalls = recalls(key, ask, held, free);
        if !recalls.is_empty() {
            // Asking again makes nobody wait longer.
            let before = key.asks.iter().find(|kept| kept.to == *ask.to).map(|kept| kept.until);
            return Said::Keep(before.unwrap_or(at + config.recall), recalls);
        }
    }
    let holding = match held {
        Some(held) => held.number,
        None if give.is_zero() => 0,
        None => ask.id.number,
    };
    let mut grant = ask.granted(holding, give, at + config.holding, key.from(at, config));
    if give < ask.want {
        let retry = at + config.retry;
        grant.again = Some(if alone { key.residue.next().unwrap_or(retry).max(retry) } else { retry });
    }
    Said::Answer(grant.answer())
}

/// What the requests of others that wait before one of `to` need; when that is the `last` look at it, it waits itself.
fn ahead(key: &Key, to: &SenderId, last: bool) -> Amount {
    let before = key.asks.iter().take_while(|kept| !last || kept.to != *to).filter(|kept| kept.to != *to);
    before.fold(Amount::ZERO, |sum, kept| sum.plus(Key::need_of(kept)))
}

/// Whether what a shard has of a limit are places of a pool's leases: these come free by their ends alone.
pub(crate) fn is_places(holder: &SenderId, definition: &LimitDefinition) -> bool {
    definition.kind == LimitKind::Concurrency && holder.as_str().starts_with("scheduler.")
}

/// Half of what is free, in whole units where only these are of use.
fn half(key: &Key, free: Amount) -> Amount {
    let half = free.0 / 2;
    Amount(if key.in_units() { half - half % Amount::ONE.0 } else { half })
}

/// Who is asked to give back for `ask`: what is missing, and what is more than an equal share. What of it is owed although
/// it is in use is what the one who asks wants, as far as the other has more than a share; and where shares are less than one
/// job takes, one job's worth of whoever has most, for somebody who has nothing.
fn recalls(key: &Key, ask: Ask<'_>, held: Option<&Holding>, free: Amount) -> Vec<(SenderId, LimitAnswer)> {
    let holders = u64::try_from(key.holders.len()).unwrap_or(u64::MAX);
    let share = Amount(key.whole().0.0 / holders.saturating_add(1));
    let others = || key.holders.iter().filter(|(holder, held)| *holder != ask.to && !held.capacity.is_zero());
    let asks_first = held.is_none_or(|held| held.capacity.is_zero());
    let most = others().map(|(_, held)| held.capacity).max().filter(|_| asks_first);
    let most = most.and_then(|most| others().find(|(_, held)| held.capacity == most).map(|(holder, _)| holder));
    // Of those that have a holding, the one who asks included.
    let parts = holders + u64::from(!key.holders.contains_key(ask.to));
    let part = Amount(key.whole().0.0.div_ceil(parts.max(1)));
    let part = if key.in_units() { Amount(part.0.div_ceil(Amount::ONE.0).saturating_mul(Amount::ONE.0)) } else { part };
    let missing = ask.want.less(free);
    others()
        .map(|(holder, held)| {
            let amount = ask.need.less(free).max(held.capacity.less(share));
            let least = if Some(holder) == most { ask.need.less(free) } else { Amount::ZERO };
            let owed = held.capacity.less(part).min(missing).max(least).min(held.capacity);
            let (limit, key) = (ask.limit.clone(), ask.key.into());
            (holder.clone(), LimitAnswer::Recalled { holding: held.number, limit, key, amount: amount.max(owed), owed })
        })
        .collect()
}

/// Of a breaker: whether jobs pass.
fn pass(key: &Key, config: &LimitsConfig, ask: Ask<'_>, at: Timestamp) -> Said {
    let Some(breaker) = &key.breaker else { return Said::Keep(at, Vec::new()) };
    let until = at + config.holding;
    let number = key.holders.get(ask.to).map_or(ask.id.number, |held| held.number);
    let probe = || Grant { probe: true, ..ask.granted(number, Amount::ONE, until, Timestamp(0)) }.answer();
    if breaker.may_be_tried(at) {
        return Said::Tried(probe());
    }
    let none = |again: Timestamp| {
        let again = Some(again.max(at + config.retry));
        Grant { again, ..ask.granted(0, Amount::ZERO, at, Timestamp(0)) }.answer()
    };
    Said::Answer(match breaker.phase {
        Phase::Closed => ask.granted(number, Amount::ZERO, until, Timestamp(0)).answer(),
        Phase::Open { until } => none(until),
        Phase::HalfOpen { left: 0, .. } => none(at),
        Phase::HalfOpen { .. } => probe(),
    })
}
