//! The checked language: what a bundle says once nothing in it can be wrong any more.

use crate::effect::Effect;
use crate::glob::Glob;
use crate::number::Number;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tidegate_protocol::decision::Remediation;

pub(crate) type TextSet = BTreeSet<Box<str>>;

#[derive(Debug)]
pub(crate) struct Bundle {
    pub(crate) id: Arc<str>,
    pub(crate) file: Arc<str>,
    pub(crate) line: u32,
    pub(crate) revision: u64,
    pub(crate) combine: Combine,
    pub(crate) defaults: Vec<TenantDefault>,
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

/// How specific a rule is. A job-tier rule outweighs a workflow-tier one, which outweighs a global one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    /// Holds for everything.
    Global,
    /// Written for one workflow.
    Workflow,
    /// Written for one kind of job; the most specific.
    Job,
}

impl Tier {
    /// The name used in policy files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Global => "global",
            Self::Workflow => "workflow",
            Self::Job => "job",
        }
    }
}

/// A rule as written, checked.
#[derive(Debug)]
pub struct Rule {
    pub(crate) id: Arc<str>,
    pub(crate) bundle: Arc<str>,
    pub(crate) file: Arc<str>,
    pub(crate) line: u32,
    pub(crate) tier: Tier,
    pub(crate) invariant: bool,
    pub(crate) effect: Effect,
    pub(crate) reason: Arc<str>,
    pub(crate) controls: Vec<Box<str>>,
    pub(crate) remediations: Vec<Remediation>,
    pub(crate) matches: Match,
}

impl Rule {
    /// Unique across all bundles.
    pub fn id(&self) -> &Arc<str> {
        &self.id
    }
    /// The bundle it came from.
    pub fn bundle(&self) -> &Arc<str> {
        &self.bundle
    }
    /// The file it stands in, as the caller of `load` named it.
    pub fn file(&self) -> &str {
        &self.file
    }
    /// The line it starts at, from 1.
    pub fn line(&self) -> u32 {
        self.line
    }
    /// How specific it is.
    pub fn tier(&self) -> Tier {
        self.tier
    }
    /// Whether it is a floor that nothing can loosen.
    pub fn invariant(&self) -> bool {
        self.invariant
    }
    /// What it decides.
    pub fn effect(&self) -> Effect {
        self.effect
    }
    /// The text shown to the submitter.
    pub fn reason(&self) -> &Arc<str> {
        &self.reason
    }
    /// What the rule is for (OWASP agentic ids, audit controls).
    pub fn controls(&self) -> &[Box<str>] {
        &self.controls
    }
    /// What the submitter may do instead.
    pub fn remediations(&self) -> &[Remediation] {
        &self.remediations
    }
}

/// What a rule looks at. An empty set or list does not restrict the rule.
#[derive(Debug, Default)]
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
    /// All keys, each with any of its values.
    pub(crate) labels: BTreeMap<Box<str>, TextSet>,
}

/// Computes a risk tag from topic and payload.
#[derive(Debug)]
pub(crate) struct Deriver {
    pub(crate) bundle: Arc<str>,
    pub(crate) tag: Arc<str>,
    pub(crate) topics: BTreeSet<Glob>,
    pub(crate) field: Pointer,
    pub(crate) test: Test,
    /// A missing field means the test does not hold, instead of being uncertain.
    pub(crate) optional: bool,
}

/// A JSON pointer, unescaped; `each` when it ended in `/*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pointer {
    pub(crate) text: Box<str>,
    pub(crate) tokens: Vec<Box<str>>,
    pub(crate) each: bool,
}

#[derive(Debug)]
pub(crate) enum Test {
    Missing,
    Equal(Scalar),
    In(Scalars),
    NotIn(Scalars),
    /// Starts with any of them.
    Prefix(TextSet),
    Greater(Number),
    Less(Number),
    /// Not one plain e-mail address that is listed or whose domain is. All lower case, domains without `@`.
    AddressNotIn {
        addresses: TextSet,
        domains: TextSet,
    },
}

#[derive(Clone, Debug)]
pub(crate) enum Scalar {
    Text(Box<str>),
    Number(Number),
    Bool(bool),
}

/// A list of one kind of scalar.
#[derive(Debug)]
pub(crate) enum Scalars {
    Texts(TextSet),
    Numbers(Vec<Number>),
}
