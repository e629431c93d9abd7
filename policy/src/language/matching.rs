//! What a rule looks at.

use super::TextSet;
use crate::glob::Glob;
use crate::number::Number;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

/// What a rule looks at. An empty set or list does not restrict the rule.
#[derive(Clone, Debug, Default)]
pub(crate) struct Match {
    /// Any of them.
    pub(crate) tenants: TextSet,
    /// Any of them.
    pub(crate) topics: BTreeSet<Glob>,
    /// Any of them.
    pub(crate) capabilities: TextSet,
    /// Any of them.
    pub(crate) risk_tags: TextSet,
    /// Whether tags the submitter claims count beside derived ones.
    pub(crate) trusts_claims: bool,
    /// All of them.
    pub(crate) requires: TextSet,
    /// Any of them.
    pub(crate) actor_ids: TextSet,
    /// Any of them.
    pub(crate) actor_types: TextSet,
    /// Any of them.
    pub(crate) pack_ids: TextSet,
    /// All keys, each with any of its values.
    pub(crate) labels: BTreeMap<Box<str>, TextSet>,
    /// All of them, beside `labels`.
    pub(crate) label_tests: Vec<LabelTest>,
    /// None of what is in here.
    pub(crate) except: Except,
    /// The chain of delegations.
    pub(crate) delegation: Option<DelegationMatch>,
    /// Whether the payload holds what looks like a secret.
    pub(crate) secrets_present: Option<bool>,
    /// Only jobs that call an MCP server: with any label [`MCP`].
    pub(crate) mcp_calls: bool,
}

/// Begins the labels that say what a job calls of an MCP server.
pub(crate) const MCP: &str = "mcp.";

/// What an attribute must not be (`not_in`). A missing attribute cannot be told.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Except {
    pub(crate) tenants: TextSet,
    pub(crate) topics: BTreeSet<Glob>,
    pub(crate) capabilities: TextSet,
    pub(crate) actor_ids: TextSet,
    pub(crate) actor_types: TextSet,
    pub(crate) pack_ids: TextSet,
}

impl Except {
    pub(crate) fn is_empty(&self) -> bool {
        let Self { tenants, topics, capabilities, actor_ids, actor_types, pack_ids } = self;
        let sets = [tenants, capabilities, actor_ids, actor_types, pack_ids];
        topics.is_empty() && sets.iter().all(|set| set.is_empty())
    }
}

/// A test of one label's value beyond a list of values.
#[derive(Clone, Debug)]
pub(crate) struct LabelTest {
    pub(crate) key: Box<str>,
    pub(crate) range: Range,
    /// The list of `mcp` that it was written as (`deny_tools`). Changes nothing.
    pub(crate) list: Option<&'static str>,
}

#[derive(Clone, Debug)]
pub(crate) enum Range {
    /// None of them.
    NotIn(TextSet),
    /// The value read as a decimal number is ordered so against this one.
    Number { wanted: Vec<Ordering>, than: Number },
}

impl Range {
    /// `None` when the value is not a number but should be.
    pub(crate) fn holds(&self, value: &str) -> Option<bool> {
        match self {
            Self::NotIn(texts) => Some(!texts.contains(value)),
            Self::Number { wanted, than } => {
                Number::of_decimal(value)?.order(*than).map(|order| wanted.contains(&order))
            }
        }
    }
}

/// A job nobody delegated has depth 0 and every scope.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct DelegationMatch {
    /// At least so deep.
    pub(crate) min_depth: Option<u32>,
    /// At most so deep.
    pub(crate) max_depth: Option<u32>,
    /// All of them are in what the parent's ticket allows.
    pub(crate) required_scope: TextSet,
}
