//! A rule.

use super::{Match, StateCondition, Window};
use crate::effect::Effect;
use crate::when::Condition;
use std::sync::Arc;
use tidegate_protocol::constraints::Constraints;
use tidegate_protocol::decision::{Approval, Remediation, Throttle};

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

/// Whether a rule takes part in verdicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It does.
    Enforce,
    /// What it would have said is recorded with the decision.
    Shadow,
    /// As shadow, and the submitter is told.
    Warn,
}

impl Mode {
    /// The name used in policy files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Shadow => "shadow",
            Self::Warn => "warn",
        }
    }
}

/// Which share of jobs a rule is enforced for; for the others it is a shadow rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Canary {
    /// Of ten thousand, 1 to 10,000.
    pub per_10_000: u16,
    /// What stays on one side: all jobs of one key are treated alike.
    pub by: CanaryBy,
}

/// The key a canary goes by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CanaryBy {
    /// The tenant.
    Tenant,
    /// The actor's id.
    ActorId,
    /// The topic.
    Topic,
    /// The capability.
    Capability,
    /// The job's id.
    JobId,
    /// A label's value.
    Label(Box<str>),
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
    pub(crate) mode: Mode,
    pub(crate) canary: Option<Canary>,
    pub(crate) effect: Effect,
    pub(crate) reason: Arc<str>,
    pub(crate) controls: Vec<Box<str>>,
    pub(crate) remediations: Vec<Remediation>,
    pub(crate) approval: Option<Arc<Approval>>,
    pub(crate) throttle: Option<Throttle>,
    pub(crate) constraints: Option<Arc<Constraints>>,
    pub(crate) matches: Match,
    pub(crate) window: Option<Arc<Window>>,
    pub(crate) when: Option<When>,
    pub(crate) state: Vec<StateCondition>,
}

/// A condition as written and as compiled; equal ones are shared.
#[derive(Clone, Debug)]
pub(crate) struct When {
    pub(crate) line: u32,
    pub(crate) text: Box<str>,
    /// Set once every bundle is read: what it may name can stand in another.
    pub(crate) condition: Option<Arc<Condition>>,
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
    /// Whether it takes part in verdicts.
    pub fn mode(&self) -> Mode {
        self.mode
    }
    /// Which share of jobs it is enforced for; `None` for all.
    pub fn canary(&self) -> Option<&Canary> {
        self.canary.as_ref()
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
    /// Who must approve, where it requires an approval.
    pub fn approval(&self) -> Option<&Approval> {
        self.approval.as_deref()
    }
    /// When a job is judged again, where it throttles.
    pub fn throttle(&self) -> Option<Throttle> {
        self.throttle
    }
    /// What the job must keep to.
    pub fn constraints(&self) -> Option<&Constraints> {
        self.constraints.as_deref()
    }
    /// Its `when`, as written.
    pub fn condition(&self) -> Option<&str> {
        self.when.as_ref().map(|when| &*when.text)
    }
    /// Its time window, as a sentence.
    pub fn window(&self) -> Option<String> {
        self.window.as_ref().map(ToString::to_string)
    }
}
