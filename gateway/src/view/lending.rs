//! Limits as the limits stage lends them: folded from its facts.
//!
//! What a holder has spent of its holding is the holder's own affair and not seen here: `lent` is what it may let count
//! within the window, `counting` what still counts of holdings that were given up.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use tidegate_protocol::ids::SenderId;
use tidegate_protocol::limits::{
    Amount, LimitAnswer, LimitDefinition, LimitId, LimitKind, LimitRequest, LimitsFact, Residue,
};
use tidegate_protocol::time::Timestamp;

/// Most keys shown; what comes beyond is left out.
const MOST_KEYS: usize = 200_000;

/// What one kernel shard has of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LentTo {
    /// The shard.
    pub holder: SenderId,
    /// Of how much it may let count.
    pub capacity: Amount,
    /// Until when, milliseconds since the Unix epoch.
    pub until_ms: u64,
}

/// One key of one limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitStanding {
    /// The limit.
    pub limit: LimitId,
    /// The key.
    pub key: Box<str>,
    /// What the limit is.
    pub definition: LimitDefinition,
    /// Lent to kernel shards, in millionths.
    pub lent: Amount,
    /// What still counts of holdings given up, in millionths.
    pub counting: Amount,
    /// Who holds how much.
    pub holders: Vec<LentTo>,
    /// Requests that wait for others to give back.
    pub waiting: usize,
    /// Of a breaker: `closed`, `open` or `half_open`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub breaker: Option<String>,
}

#[derive(Debug)]
struct Key {
    definition: LimitDefinition,
    holders: BTreeMap<SenderId, (u64, Amount, Timestamp)>,
    residue: Vec<(Timestamp, Amount)>,
    waiting: BTreeSet<SenderId>,
    breaker: Option<&'static str>,
}

impl Key {
    /// A shard has nothing of its holding any more. What it may have spent of it counts, unless that cannot be.
    fn ends(&mut self, of: &SenderId, at: Timestamp) {
        let Some((_, capacity, until)) = self.holders.remove(of) else { return };
        let places = self.definition.kind == LimitKind::Concurrency;
        if !places && until <= at && self.breaker.is_none() {
            self.residue.push((until + self.definition.effective().1, capacity));
        }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Lending {
    keys: BTreeMap<(LimitId, Box<str>), Key>,
    /// Of the latest fact.
    at: Timestamp,
}

impl Lending {
    /// Takes a fact of the limits stage.
    pub(super) fn take(&mut self, fact: LimitsFact, at: Timestamp) {
        self.at = self.at.max(at);
        match fact {
            LimitsFact::Answered { to, request, answer } => {
                if let Some(request) = request
                    && !matches!(answer, LimitAnswer::Granted { refused: Some(_), .. })
                {
                    self.asked(&to, &request);
                }
                self.granted(to, &answer);
            }
            LimitsFact::AskKept { to, request, .. } => {
                self.asked(&to, &request);
                let (limit, key) = request.about();
                self.change(limit, key, |key| {
                    key.waiting.insert(to);
                });
            }
            LimitsFact::Told { by, request } => self.told(&by, &request, at),
            LimitsFact::Noticed { to, notice } => {
                if let LimitAnswer::Switched { limit, key, .. } = &notice {
                    self.change(limit, key, |key| {
                        key.holders.remove(&to);
                        key.breaker = Some("open");
                    });
                }
            }
            LimitsFact::BreakerHalfOpened { limit, key } => {
                self.change(&limit, &key, |key| key.breaker = Some("half_open"));
            }
            LimitsFact::HoldingLapsed { of, limit, key, .. } => {
                self.change(&limit, &key, |key| {
                    key.holders.remove(&of);
                });
            }
            LimitsFact::KeyForgotten { limit, key } => {
                self.keys.remove(&(limit, key));
            }
            LimitsFact::RequestRefused { .. } => {}
        }
    }

    fn granted(&mut self, to: SenderId, answer: &LimitAnswer) {
        let LimitAnswer::Granted { holding, limit, key, amount, until, probe, .. } = answer else { return };
        self.change(limit, key, |key| {
            key.waiting.remove(&to);
            if *holding == 0 {
                return;
            }
            if let Some(breaker) = &mut key.breaker {
                *breaker = if *probe { "half_open" } else { "closed" };
            }
            let held = key.holders.entry(to).or_insert((*holding, Amount::ZERO, *until));
            if held.0 != *holding {
                *held = (*holding, Amount::ZERO, *until);
            }
            held.1 = held.1.plus(if *probe { Amount::ZERO } else { *amount });
            held.2 = *until;
        });
    }

    /// What a shard asks shows what it has.
    fn asked(&mut self, by: &SenderId, request: &LimitRequest) {
        self.open(request);
        let LimitRequest::Ask { id, holding, limit, key, has, at, .. } = request else { return };
        self.change(limit, key, |key| {
            let Some(held) = key.holders.get_mut(by) else { return };
            if held.0 == *holding {
                held.1 = has.map_or(held.1, |has| held.1.min(has));
            } else if id.number == *holding && key.breaker.is_none() {
                key.ends(by, *at);
            }
        });
    }

    fn told(&mut self, by: &SenderId, request: &LimitRequest, at: Timestamp) {
        let LimitRequest::Return { limit, key, free, rest, gone, .. } = request else {
            self.open(request);
            return;
        };
        self.change(limit, key, |key| {
            key.residue.retain(|(until, _)| *until > at);
            if *gone {
                key.ends(by, Timestamp(u64::MAX));
            }
            if let Some(held) = key.holders.get_mut(by) {
                held.1 = held.1.less(*free);
            }
            if let Some(Residue { amount, last }) = rest {
                key.holders.remove(by);
                key.residue.push((*last + key.definition.effective().1, *amount));
            }
        });
    }

    fn open(&mut self, request: &LimitRequest) {
        let (LimitRequest::Ask { definition, .. } | LimitRequest::Ended { definition, .. }) = request else { return };
        let (limit, key) = request.about();
        let name = (limit.clone(), Box::from(key));
        if self.keys.len() >= MOST_KEYS && !self.keys.contains_key(&name) {
            return;
        }
        self.keys.entry(name).or_insert_with(|| Key {
            definition: definition.clone(),
            holders: BTreeMap::new(),
            residue: Vec::new(),
            waiting: BTreeSet::new(),
            breaker: (definition.kind == LimitKind::Breaker).then_some("closed"),
        });
    }

    fn change(&mut self, limit: &LimitId, key: &str, change: impl FnOnce(&mut Key)) {
        if let Some(key) = self.keys.get_mut(&(limit.clone(), key.into())) {
            change(key);
        }
    }

    /// Keys of limits whose id begins with `of`, at most `most`, as they stand at the latest fact.
    pub(super) fn standing(&self, of: &str, most: usize) -> Vec<LimitStanding> {
        let wanted = self.keys.iter().filter(|((limit, _), _)| limit.as_str().starts_with(of)).take(most);
        let standing = wanted.map(|((limit, name), key)| LimitStanding {
            limit: limit.clone(),
            key: name.clone(),
            definition: key.definition.clone(),
            lent: key.holders.values().fold(Amount::ZERO, |sum, (_, capacity, _)| sum.plus(*capacity)),
            counting: key
                .residue
                .iter()
                .filter(|(until, _)| *until > self.at)
                .fold(Amount::ZERO, |sum, (_, amount)| sum.plus(*amount)),
            holders: key
                .holders
                .iter()
                .map(|(holder, (_, capacity, until))| LentTo {
                    holder: holder.clone(),
                    capacity: *capacity,
                    until_ms: until.millis(),
                })
                .collect(),
            waiting: key.waiting.len(),
            breaker: key.breaker.map(str::to_owned),
        });
        standing.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lent_and_counting_follow_answers_returns_and_ends() {
        let golden = |name: &str| {
            let path = format!("{}/../protocol/tests/golden/limits_fact.{name}.json", env!("CARGO_MANIFEST_DIR"));
            serde_json::from_str::<LimitsFact>(&std::fs::read_to_string(path).unwrap()).unwrap()
        };
        let (mut lending, at) = (Lending::default(), Timestamp(1_700_000_002_000_000));
        lending.take(golden("ask_kept"), at);
        assert_eq!(lending.standing("pay", 9)[0].waiting, 1);
        lending.take(golden("answered.full"), at);
        let standing = lending.standing("pay-large#1", 9);
        assert_eq!((standing[0].lent, standing[0].holders.len()), (Amount(0), 1), "a probe is no capacity");
        lending.take(golden("told"), at);
        let standing = lending.standing("", 9);
        assert_eq!((standing[0].counting, standing[0].holders.len()), (Amount(1_500_000), 0));
        assert!(lending.standing("other", 9).is_empty());
        let later = Timestamp(at.0 + 3_600_000_000);
        lending.take(golden("request_refused"), later);
        assert_eq!(lending.standing("", 9)[0].counting, Amount(0));
        lending.take(golden("key_forgotten"), later);
        assert!(lending.standing("", 9).is_empty());
    }

    #[test]
    fn what_a_shard_says_it_has_not_is_not_shown_as_lent() {
        let id = |number| serde_json::json!({"epoch": 1, "number": number});
        let window_us = 60_000_000;
        let about = serde_json::json!({"limit": "pay#0@1", "key": "acme"});
        let with = |mut fields: serde_json::Value| {
            for (name, value) in about.as_object().unwrap() {
                fields[name] = value.clone();
            }
            fields
        };
        let answered = |number: u64, holding: u64, amount: u64, has: Option<u64>| {
            let mut ask = with(serde_json::json!({
                "id": id(number), "holding": holding, "tenant": "acme", "at": number,
                "definition": {"kind": "count_within", "limit": 10_000_000, "window_ms": 60_000},
            }));
            if let Some(has) = has {
                ask["has"] = has.into();
            }
            let granted = with(serde_json::json!({
                "request": id(number), "holding": holding, "amount": amount, "until": 30, "from": 0,
            }));
            let request = serde_json::json!({"ask": ask});
            let fact = serde_json::json!({"answered": {
                "to": "kernel.jobs/0", "request": request, "answer": {"granted": granted},
            }});
            serde_json::from_value::<LimitsFact>(fact).unwrap()
        };
        let gone = || {
            let request = serde_json::json!({"return": with(serde_json::json!({
                "id": id(9), "holding": 5, "from": 0, "gone": true,
            }))});
            let told = serde_json::json!({"told": {"by": "kernel.jobs/0", "request": request}});
            serde_json::from_value::<LimitsFact>(told).unwrap()
        };
        let mut lending = Lending::default();
        let mut then = |fact| {
            lending.take(fact, Timestamp(1));
            let standing = lending.standing("pay", 9);
            (standing[0].lent.0, standing[0].counting.0, standing[0].holders.len())
        };
        assert_eq!(then(answered(1, 1, 4, None)), (4, 0, 1));
        assert_eq!(then(answered(2, 1, 2, Some(3))), (5, 0, 1), "one of the four never came");
        assert_eq!(then(answered(5, 5, 2, None)), (2, 0, 1), "it began anew");
        assert_eq!(then(gone()), (0, 2, 0), "it may have been spent");
        lending.take(gone(), Timestamp(30 + window_us));
        assert_eq!(lending.standing("pay", 9)[0].counting, Amount(0));
    }
}
