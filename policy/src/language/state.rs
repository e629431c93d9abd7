//! Conditions over what happened before: a limit that would be exceeded.

use super::Pointer;
use std::sync::Arc;
use tidegate_protocol::limits::{LimitDefinition, LimitId};

/// A limit of a rule. The condition holds when a job like this one would exceed it.
#[derive(Debug)]
pub(crate) struct StateCondition {
    pub(crate) limit: LimitId,
    pub(crate) definition: Arc<LimitDefinition>,
    /// Whether all tenants share it.
    pub(crate) global: bool,
    /// Whose share it is, beside the tenant's.
    pub(crate) key: Vec<KeyPart>,
    pub(crate) measure: Measure,
}

impl StateCondition {
    pub(crate) fn reads_payload(&self) -> bool {
        self.measure != Measure::One || self.key.iter().any(|part| matches!(part, KeyPart::Payload(_)))
    }
}

/// A part of a limit's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum KeyPart {
    Tenant,
    ActorId,
    ActorType,
    Capability,
    Topic,
    PackId,
    Label(Box<str>),
    Payload(Pointer),
}

/// How much a job takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Measure {
    /// One job.
    One,
    /// A number of its payload.
    Sum(Pointer),
    /// Different values of a field of its payload.
    Distinct(Pointer),
}
