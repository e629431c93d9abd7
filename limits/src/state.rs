//! The durable state: every key that counts. Changed by facts alone; what is derived from it is kept beside it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidegate_protocol::ids::{SenderId, TenantId};
use tidegate_protocol::limits::{Amount, LimitAnswer, LimitRequest, LimitsFact, Residue};
use tidegate_protocol::time::Timestamp;

use crate::answer::Ask;
use crate::config::LimitsConfig;
use crate::key::{Holding, Kept, Key, KeyName};
use crate::stage::Planted;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) keys: BTreeMap<Arc<KeyName>, Key>,
    /// The latest floor of any key forgotten: where a new one begins.
    pub(crate) floor: Timestamp,
    /// Derived: keys of each tenant.
    tenants: BTreeMap<TenantId, usize>,
    /// Derived: when time changes something.
    due: BTreeSet<(Timestamp, Arc<KeyName>)>,
    /// Derived: keys somebody waits for.
    asking: BTreeSet<Arc<KeyName>>,
}

impl State {
    /// From a snapshot's keys.
    pub(crate) fn of(keys: BTreeMap<Arc<KeyName>, Key>, floor: Timestamp, config: &LimitsConfig) -> Self {
        let mut state = Self { floor, ..Self::default() };
        for (name, key) in &keys {
            *state.tenants.entry(key.tenant.clone()).or_default() += 1;
            state.due.extend(key.next_due(config).map(|due| (due, Arc::clone(name))));
            if !key.asks.is_empty() {
                state.asking.insert(Arc::clone(name));
            }
        }
        state.keys = keys;
        state
    }

    /// Keys of a tenant.
    pub(crate) fn keys_of(&self, tenant: &TenantId) -> usize {
        self.tenants.get(tenant).copied().unwrap_or_default()
    }

    /// When time changes something next.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        self.due.first().map(|(due, _)| *due)
    }

    /// What is due at `at`, earliest first.
    pub(crate) fn due(&self, at: Timestamp) -> impl Iterator<Item = (&KeyName, &Key)> {
        let due = self.due.iter().take_while(move |(due, _)| *due <= at);
        due.filter_map(|(_, name)| Some((&**name, self.keys.get(name)?)))
    }

    /// Keys somebody waits for.
    pub(crate) fn asking(&self) -> impl Iterator<Item = (&KeyName, &Key)> {
        self.asking.iter().filter_map(|name| Some((&**name, self.keys.get(name)?)))
    }

    /// Requests that wait.
    pub(crate) fn kept(&self) -> usize {
        self.asking().map(|(_, key)| key.asks.len()).sum()
    }

    /// Takes a fact in. A fact that cannot follow changes nothing; false then.
    pub(crate) fn apply(&mut self, fact: &LimitsFact, at: Timestamp, config: &LimitsConfig, planted: Planted) -> bool {
        match fact {
            LimitsFact::Answered { to, request, answer } => {
                self.answered(to, request.as_deref(), answer, at, config, planted)
            }
            LimitsFact::AskKept { to, request, until } => {
                let (limit, key) = request.about();
                self.change(limit, key, at, config, |key| {
                    if let Some(ask) = Ask::of(to, request) {
                        key.meet(&ask, config);
                    }
                    if let Some(held) = key.holders.get_mut(to) {
                        held.heard = held.heard.max(Some(request.id()));
                    }
                    let kept = Kept { to: to.clone(), request: request.clone(), until: *until };
                    match key.asks.iter_mut().find(|kept| kept.to == *to) {
                        // It waits in the place of the one before.
                        Some(before) => *before = kept,
                        None => key.asks.push(kept),
                    }
                    true
                })
            }
            LimitsFact::Told { by, request } => self.told(by, request, at, config),
            LimitsFact::Noticed { to, notice } => match notice {
                LimitAnswer::Recalled { limit, key, holding, .. } => self.change(limit, key, at, config, |key| {
                    let holder = key.holders.get_mut(to).filter(|holder| holder.number == *holding);
                    holder.map(|holder| holder.recalled = Some(at)).is_some()
                }),
                LimitAnswer::Switched { limit, key, .. } => {
                    self.change(limit, key, at, config, |key| key.holders.remove(to).is_some())
                }
                LimitAnswer::Granted { .. } => false,
            },
            LimitsFact::BreakerHalfOpened { limit, key } => self.change(limit, key, at, config, |key| {
                let definition = Arc::clone(&key.definition);
                key.breaker.as_mut().map(|breaker| breaker.half_open(&definition, at)).is_some()
            }),
            LimitsFact::HoldingLapsed { of, holding, limit, key, .. } => self.change(limit, key, at, config, |key| {
                if key.holders.get(of).is_none_or(|holder| holder.number != *holding) {
                    return false;
                }
                let Some(holder) = key.holders.remove(of) else { return false };
                if key.breaker.is_none() {
                    key.floor = key.floor.max(holder.until + key.whole().1);
                }
                true
            }),
            LimitsFact::KeyForgotten { limit, key } => self.forget(limit, key, at, config),
            LimitsFact::RequestRefused { .. } => true,
        }
    }

    fn answered(
        &mut self,
        to: &SenderId,
        request: Option<&LimitRequest>,
        answer: &LimitAnswer,
        at: Timestamp,
        config: &LimitsConfig,
        planted: Planted,
    ) -> bool {
        let LimitAnswer::Granted { request: id, holding, limit, key: name, amount, until, probe, refused, .. } = answer
        else {
            return false;
        };
        if let Some(LimitRequest::Ask { definition, tenant, .. }) = request
            && *holding != 0
        {
            self.open(&KeyName { limit: limit.clone(), key: name.clone() }, definition, tenant);
        }
        let ask = request.filter(|_| refused.is_none()).and_then(|request| Ask::of(to, request));
        let changed = self.change(limit, name, at, config, |key| {
            // Its shard waits for no earlier one either.
            key.asks.retain(|kept| kept.to != *to || kept.request.id() > *id);
            if let Some(ask) = ask.filter(|_| key.breaker.is_none()) {
                key.meet(&ask, config);
            }
            if *holding == 0 {
                return true;
            }
            let fresh =
                Holding { number: *holding, capacity: Amount::ZERO, until: *until, recalled: None, heard: None };
            let holder = key.holders.entry(to.clone()).or_insert_with(|| fresh.clone());
            if holder.number != *holding {
                *holder = fresh;
            }
            holder.until = holder.until.max(*until);
            holder.heard = holder.heard.max(Some(*id));
            match &mut key.breaker {
                Some(breaker) if *probe => breaker.probed(),
                Some(_) => {}
                None if planted.grant_twice => {}
                None => holder.capacity = holder.capacity.plus(*amount),
            }
            true
        });
        changed || *holding == 0
    }

    fn told(&mut self, by: &SenderId, request: &LimitRequest, at: Timestamp, config: &LimitsConfig) -> bool {
        match request {
            LimitRequest::Ask { .. } => false,
            LimitRequest::Return { id, holding, limit, key, free, rest, from, gone } => {
                self.change(limit, key, at, config, |key| {
                    let longest = key.whole().1 + config.skew;
                    let Some(holder) = key.holders.get_mut(by).filter(|holder| holder.number == *holding) else {
                        return false;
                    };
                    holder.capacity = holder.capacity.less(*free);
                    if *gone {
                        key.retire(by, id.epoch, config);
                        return true;
                    }
                    holder.recalled = None;
                    holder.heard = holder.heard.max(Some(*id));
                    if !free.is_zero() {
                        key.floor = key.floor.max(*from);
                    }
                    if let Some(Residue { amount, last }) = rest {
                        key.holders.remove(by);
                        key.residue.add(*last + longest, *amount, longest);
                        key.floor = key.floor.max(*from);
                    }
                    true
                })
            }
            LimitRequest::Ended { limit, key: name, definition, tenant, failed, probe, .. } => {
                if *failed {
                    self.open(&KeyName { limit: limit.clone(), key: name.clone() }, definition, tenant);
                }
                self.change(limit, name, at, config, |key| {
                    let definition = Arc::clone(&key.definition);
                    key.breaker.as_mut().map(|breaker| breaker.ended(&definition, *failed, *probe, at)).is_some()
                })
            }
        }
    }

    /// Makes the key when it is not there.
    fn open(&mut self, name: &KeyName, definition: &tidegate_protocol::limits::LimitDefinition, tenant: &TenantId) {
        if !self.keys.contains_key(name) {
            let mut key = Key::new(Arc::new(definition.clone()), tenant.clone());
            key.floor = self.floor;
            *self.tenants.entry(tenant.clone()).or_default() += 1;
            self.keys.insert(Arc::new(name.clone()), key);
        }
    }

    /// Changes a key and what is derived from it.
    fn change(
        &mut self,
        limit: &tidegate_protocol::limits::LimitId,
        name: &str,
        at: Timestamp,
        config: &LimitsConfig,
        change: impl FnOnce(&mut Key) -> bool,
    ) -> bool {
        let wanted = KeyName { limit: limit.clone(), key: name.into() };
        let Some((name, _)) = self.keys.get_key_value(&wanted) else { return false };
        let name = Arc::clone(name);
        let Some(key) = self.keys.get_mut(&wanted) else { return false };
        let before = key.next_due(config);
        key.prune(at, config);
        let changed = change(key);
        let after = key.next_due(config);
        if key.asks.is_empty() {
            self.asking.remove(&name);
        } else {
            self.asking.insert(Arc::clone(&name));
        }
        // Opening a key leaves it without a due time.
        if let Some(before) = before {
            self.due.remove(&(before, Arc::clone(&name)));
        }
        if let Some(after) = after {
            self.due.insert((after, name));
        }
        changed
    }

    fn forget(
        &mut self,
        limit: &tidegate_protocol::limits::LimitId,
        name: &str,
        at: Timestamp,
        config: &LimitsConfig,
    ) -> bool {
        if !self.change(limit, name, at, config, |key| key.is_idle(at)) {
            return false;
        }
        let name = KeyName { limit: limit.clone(), key: name.into() };
        let Some((name, key)) = self.keys.remove_entry(&name) else { return false };
        self.floor = self.floor.max(key.floor);
        if let Some(due) = key.next_due(config) {
            self.due.remove(&(due, Arc::clone(&name)));
        }
        if let Some(count) = self.tenants.get_mut(&key.tenant) {
            *count -= 1;
            if *count == 0 {
                self.tenants.remove(&key.tenant);
            }
        }
        true
    }
}
