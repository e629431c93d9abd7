//! A verdict as the log records it.

use crate::compile::Snapshot;
use crate::verdict::Verdict;
use std::collections::BTreeSet;
use tidegate_protocol::decision::{Decision, Remediation, Shadow};

/// The most remediations a decision offers.
const MOST_REMEDIATIONS: usize = 16;

impl Snapshot {
    /// The decision a verdict of this snapshot is recorded as: with the controls and remediations of the rules that
    /// decided, and without expiry and ticket, which are not policy's.
    pub fn decision(&self, verdict: &Verdict) -> Decision {
        let winners = || verdict.rule_ids.iter().filter_map(|id| self.rule(id));
        let controls: BTreeSet<&str> = winners().flat_map(|rule| &rule.controls).map(|control| &**control).collect();
        let remediations: Vec<Remediation> =
            winners().flat_map(|rule| &rule.remediations).take(MOST_REMEDIATIONS).cloned().collect();
        let shadow = verdict.shadow.iter().map(|(rule, effect, mode)| Shadow {
            rule: rule.to_string(),
            effect: *effect,
            mode: *mode,
        });
        Decision {
            rule_ids: verdict.rule_ids.iter().map(ToString::to_string).collect(),
            risk_tags: verdict.tags.iter().map(ToString::to_string).collect(),
            constraints: verdict.constraints.as_deref().cloned().map(Box::new),
            approval: verdict.approval.as_deref().cloned().map(Box::new),
            throttle: verdict.throttle,
            remediations,
            controls: controls.into_iter().map(str::to_owned).collect(),
            shadow: shadow.collect(),
            ..Decision::new(verdict.effect, verdict.reason.to_string(), self.name())
        }
    }
}
