//! A second implementation of the language: naive, slow, and meant to be obviously right. It judges the policies that are
//! given to the real one as text by reading that JSON rule by rule, and shares no code with it.

pub(crate) mod combine;
pub(crate) mod compare;
pub(crate) mod draw;
pub(crate) mod matching;
pub(crate) mod tags;

use serde_json::Value;

/// Bundles as written, ids in order.
pub(crate) type Bundles = Vec<Value>;

#[derive(Clone, Debug, Default)]
pub(crate) struct Job {
    pub(crate) id: String,
    pub(crate) tenant: String,
    pub(crate) topic: String,
    pub(crate) capability: String,
    pub(crate) actor_id: Option<String>,
    pub(crate) actor_type: Option<String>,
    pub(crate) pack_id: Option<String>,
    pub(crate) requires: Vec<String>,
    pub(crate) claims: Vec<String>,
    pub(crate) labels: Vec<(String, String)>,
    pub(crate) payload: String,
    /// Those it acts for, root first; `None` when nobody delegated it.
    pub(crate) chain: Option<Vec<(Option<String>, Option<String>)>>,
    pub(crate) scope: Option<Vec<String>>,
    /// Place in [`draw::HOURS`].
    pub(crate) hour: usize,
}

/// What is known of a predicate. The weakest of a rule's predicates holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Known {
    No,
    Unsure,
    Yes,
}

pub(crate) fn told(holds: bool) -> Known {
    if holds { Known::Yes } else { Known::No }
}

/// Where a job stands with a limit: any fixed function of limit and key will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stands {
    Within,
    Exceeded,
    Unknown,
}

pub(crate) fn stands(limit: &str, key: &str) -> Stands {
    let sum: usize = limit.bytes().chain(key.bytes()).map(usize::from).sum();
    [Stands::Within, Stands::Exceeded, Stands::Within, Stands::Exceeded, Stands::Unknown][sum % 5]
}

/// A judgement in terms both sides have.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Judged {
    pub(crate) effect: String,
    pub(crate) rule_ids: Vec<String>,
    pub(crate) default_used: bool,
    pub(crate) tags: Vec<String>,
    pub(crate) uncertain: Vec<String>,
    pub(crate) constraints: Value,
    pub(crate) approval: Value,
    pub(crate) throttle: Value,
    pub(crate) shadow: Vec<(String, String, String)>,
    /// Limit, key and millionths.
    pub(crate) spends: Vec<(String, String, u64)>,
    /// As `spends`; when there are any, nothing else is said.
    pub(crate) waits: Vec<(String, String, u64)>,
}
