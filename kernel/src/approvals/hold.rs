//! A hold: what is asked of people, and what they have said so far.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use tidegate_protocol::command::{Given, Person};
use tidegate_protocol::decision::{Approval, Decision};
use tidegate_protocol::ids::PersonId;
use tidegate_protocol::job::Job;
use tidegate_protocol::time::Timestamp;

/// Stands for every role.
const ANY: &str = "*";
/// Most snapshots an approval may name: those of the last verdicts that asked for as much or more.
const SNAPSHOTS: usize = 8;

/// A held job's verdict and its approvals.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Hold {
    /// What asks for the approval.
    pub(crate) decision: Box<Decision>,
    /// Escalation counts from here.
    pub(crate) begun: Timestamp,
    /// Then nobody may give it any more.
    pub(crate) until: Timestamp,
    /// In the order they came, each person once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) given: Vec<Given>,
    /// Roles it went to because time passed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) escalated: Vec<String>,
    /// Policy snapshots an approval may name: this verdict's, and those of earlier ones that asked for as much or more.
    pub(crate) snapshots: Vec<String>,
}

/// Whether any of these roles may approve now: one of the rule's, or one it has gone to since. A rule without roles
/// takes any approver of the tenant.
fn counts(approval: &Approval, escalated: &[String], roles: &[String]) -> bool {
    let escalated = escalated.iter().filter(|role| approval.escalate.iter().any(|step| step.to == **role));
    let mut wanted = approval.approvers.iter().chain(escalated);
    approval.approvers.is_empty() || roles.iter().any(|role| role == ANY) || wanted.any(|role| roles.contains(role))
}

/// When a hold that begins at `at` ends: the job's own deadline ends it too.
pub(crate) fn end(approval: &Approval, deadline_ms: Option<u64>, at: Timestamp) -> Timestamp {
    let end = at + std::time::Duration::from_millis(approval.ttl_ms);
    deadline_ms.map_or(end, |ms| end.min(Timestamp(ms.saturating_mul(1_000))))
}

impl Hold {
    /// A hold that begins at `at`.
    pub(crate) fn new(decision: Decision, until: Timestamp, at: Timestamp) -> Self {
        let snapshots = vec![decision.snapshot.clone()];
        Self { decision: Box::new(decision), begun: at, until, given: Vec::new(), escalated: Vec::new(), snapshots }
    }

    /// What is asked for.
    pub(crate) fn approval(&self) -> Option<&Approval> {
        self.decision.approval.as_deref()
    }

    /// Whether somebody of these roles may approve it now.
    pub(crate) fn takes(&self, roles: &[String]) -> bool {
        self.approval().is_some_and(|approval| counts(approval, &self.escalated, roles))
    }

    /// Whose approvals count towards `approval`, each once, in the order in which they were given.
    pub(crate) fn counting(&self, approval: &Approval) -> Vec<PersonId> {
        let mut seen = BTreeSet::new();
        let counting = self.given.iter().filter(|given| counts(approval, &self.escalated, &given.roles));
        counting.map(|given| &given.by).filter(|by| seen.insert(*by)).cloned().collect()
    }

    /// Whether as many people as `approval` asks for have given it.
    pub(crate) fn satisfies(&self, approval: &Approval) -> bool {
        // A quorum of nobody is no approval.
        self.counting(approval).len() >= usize::try_from(approval.quorum.max(1)).unwrap_or(usize::MAX)
    }

    /// Whether enough people have approved it.
    pub(crate) fn is_satisfied(&self) -> bool {
        self.approval().is_some_and(|approval| self.satisfies(approval))
    }

    /// Whether what was approved under this hold is approved under a later verdict: it asks for no more people and for no
    /// others, and lets the job run under the very same constraints.
    pub(crate) fn carries_over(&self, later: &Decision) -> bool {
        let (Some(asked), Some(asks)) = (self.approval(), &later.approval) else { return false };
        let everybody = asks.approvers.is_empty();
        let no_others = everybody
            || (!asked.approvers.is_empty() && asked.approvers.iter().all(|role| asks.approvers.contains(role)));
        asks.quorum <= asked.quorum && no_others && self.decision.constraints == later.constraints
    }

    /// The hold under a later verdict that it carries over to: it never lasts longer.
    pub(crate) fn renew(&mut self, decision: Decision, until: Timestamp) {
        self.snapshots.retain(|snapshot| *snapshot != decision.snapshot);
        if self.snapshots.len() >= SNAPSHOTS {
            self.snapshots.remove(0);
        }
        self.snapshots.push(decision.snapshot.clone());
        *self.decision = decision;
        self.until = until;
    }

    /// The next role it goes to, and when.
    pub(crate) fn next_escalation(&self) -> Option<(Timestamp, &str)> {
        let step = self.approval()?.escalate.iter().find(|step| !self.escalated.contains(&step.to))?;
        Some((self.begun + std::time::Duration::from_millis(step.after_ms), &step.to))
    }
}

/// Everybody a job is made by or for: none of them may approve it.
pub(crate) fn is_principal(job: &Job, person: &Person) -> bool {
    let above = job.delegation.iter().flat_map(|delegation| delegation.chain.iter().map(|ancestor| &ancestor.actor));
    let mut principals = std::iter::once(&job.actor).chain(above).filter_map(|actor| actor.id.as_deref());
    principals.any(|actor| actor.eq_ignore_ascii_case(person.id.as_str()))
}

/// Whether people who exist could give this approval to this job, now or after every escalation.
pub(crate) fn can_be_given(approval: &Approval, job: &Job, people: &[Person]) -> bool {
    let later: Vec<String> = approval.escalate.iter().map(|step| step.to.clone()).collect();
    let able = people.iter().filter(|person| !is_principal(job, person) && counts(approval, &later, &person.roles));
    let able = able.map(|person| &person.id).collect::<BTreeSet<_>>().len();
    able >= usize::try_from(approval.quorum.max(1)).unwrap_or(usize::MAX)
}
