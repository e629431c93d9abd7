//! What the bench asks of an engine.

use crate::workload::Job;

/// What an engine decides. Every language here has these two; no matching rule is a deny.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// A rule allows and none denies.
    Allow,
    /// A rule denies, or none matches.
    Deny,
}

/// A decision with the rules that made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruling {
    /// The decision.
    pub decision: Decision,
    /// Numbers of the matching rules of this decision, ascending; empty when no rule matches.
    pub rules: Vec<u32>,
}

/// A policy engine that holds one workload's rules.
pub trait Engine {
    /// Judges a job and says which rules decided. Not timed.
    fn rule_on(&mut self, job: &Job) -> Ruling;
    /// Makes the engine's own form of each job, so that only judging is timed.
    fn prepare(&mut self, jobs: &[Job]);
    /// Judges the prepared job at `place`: what is timed.
    fn time(&mut self, place: usize);
}
