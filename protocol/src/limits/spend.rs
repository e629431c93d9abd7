//! What a job takes of limits, and what it turned out to use.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::amount::Amount;
use super::definition::{LimitDefinition, LimitId};

/// A value as `count_distinct_within` remembers it: the first 128 bits of its SHA-256, 32 hex digits in records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Member(pub u128);

impl Member {
    /// Of the value's canonical bytes.
    #[must_use]
    pub fn of(value: &[u8]) -> Self {
        use sha2::Digest;
        let hash: [u8; 32] = sha2::Sha256::digest(value).into();
        Self(hash.iter().take(16).fold(0, |sum, byte| (sum << 8) | u128::from(*byte)))
    }
}

impl Serialize for Member {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&format_args!("{:032x}", self.0))
    }
}

impl<'de> Deserialize<'de> for Member {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(from)?;
        let whole = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
        let number = whole.then(|| u128::from_str_radix(&text, 16).ok()).flatten();
        number.map(Self).ok_or_else(|| serde::de::Error::custom("a member is not 32 hex digits"))
    }
}

/// What a judgement asks of a limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitUse {
    /// Which.
    pub limit: LimitId,
    /// What it is.
    pub definition: Arc<LimitDefinition>,
    /// Whose: the parts of the key joined so that no two keys run together, the tenant first unless the limit is global.
    /// At most [`LimitUse::MOST_KEY`] bytes; longer ones are hashed by whoever makes them.
    pub key: Box<str>,
    /// How much; of counting kinds one unit, of a budget what is reserved.
    pub amount: Amount,
    /// Of `count_distinct_within`: the value.
    pub member: Option<Member>,
}

impl LimitUse {
    /// Longest key, bytes.
    pub const MOST_KEY: usize = 512;

    /// What is written with a decision.
    #[must_use]
    pub fn spend(&self) -> Spend {
        Spend { limit: self.limit.clone(), key: self.key.clone(), amount: self.amount, member: self.member }
    }
}

/// What an allowed job took of a limit (in the fact of its decision).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spend {
    /// Of which.
    pub limit: LimitId,
    /// Whose.
    pub key: Box<str>,
    /// How much.
    pub amount: Amount,
    /// Of `count_distinct_within`: the value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<Member>,
}

/// What a job of a source that is only observed would have taken (in the fact of its decision). Nobody was asked for it, so it
/// says what the limit is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WouldTake {
    /// What it would have taken.
    pub spend: Spend,
    /// Of a limit like this.
    pub definition: LimitDefinition,
}

impl WouldTake {
    /// What a judgement asked for.
    #[must_use]
    pub fn of(wanted: &LimitUse) -> Self {
        Self { spend: wanted.spend(), definition: (*wanted.definition).clone() }
    }
}

/// What a job used, as its worker reports it. What is not reported counts as reserved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Usage {
    /// Tokens, in millionths of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<Amount>,
    /// Money, in millionths of the currency's main unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub money: Option<Amount>,
}

impl Usage {
    /// Whether nothing is reported.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.tokens.is_none() && self.money.is_none()
    }

    /// Both together, of a job's attempts; what is beyond an amount counts as the largest.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        let sum = |a: Option<Amount>, b: Option<Amount>| match (a, b) {
            (Some(a), Some(b)) => Some(Amount(a.0.saturating_add(b.0))),
            (a, b) => a.or(b),
        };
        Self { tokens: sum(self.tokens, other.tokens), money: sum(self.money, other.money) }
    }
}
