//! The checked language: what a bundle says once nothing in it can be wrong any more.

mod deriver;
mod matching;
mod rule;
mod state;
mod window;

pub(crate) use deriver::{Deriver, Pointer, Scalar, Scalars, Test};
pub(crate) use matching::{DelegationMatch, Except, LabelTest, MCP, Match, Range};
pub(crate) use rule::When;
pub use rule::{Canary, CanaryBy, Mode, Rule, Tier};
pub(crate) use state::{KeyPart, Measure, StateCondition};
pub(crate) use window::{DAY, LocalMinute, Window};

use crate::effect::Effect;
use crate::glob::Glob;
use crate::when;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub(crate) type TextSet = BTreeSet<Box<str>>;

#[derive(Debug)]
pub(crate) struct Bundle {
    pub(crate) id: Arc<str>,
    pub(crate) file: Arc<str>,
    pub(crate) line: u32,
    pub(crate) revision: u64,
    pub(crate) combine: Combine,
    pub(crate) params: BTreeMap<Box<str>, when::Param>,
    pub(crate) schemas: Vec<Schema>,
    pub(crate) defaults: Vec<TenantDefault>,
    pub(crate) grants: Vec<Grant>,
    pub(crate) derivers: Vec<Deriver>,
    pub(crate) rules: Vec<Rule>,
}

/// How the rules of one bundle that match in the deciding tier become one effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Combine {
    FirstMatch,
    MostRestrictive,
}

#[derive(Debug)]
pub(crate) struct TenantDefault {
    pub(crate) line: u32,
    pub(crate) tenant: Box<str>,
    pub(crate) effect: Effect,
}

/// Who may ask for what. Where grants are about a tenant, a job of it that none covers is denied.
#[derive(Debug)]
pub(crate) struct Grant {
    pub(crate) matches: Match,
}

/// The fields of the payloads of some topics.
#[derive(Debug)]
pub(crate) struct Schema {
    pub(crate) topics: BTreeSet<Glob>,
    pub(crate) fields: when::Fields,
}
