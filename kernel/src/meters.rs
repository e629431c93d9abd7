//! What a kernel counts. Every name, label and sentence of this crate's metrics is here.

use metrics::{Counter, Unit, counter, describe_counter};
use tidegate_protocol::decision::Verdict;
use tidegate_protocol::ids::SourceName;
use tidegate_protocol::outcome::DeadReason;

const DECISIONS: &str = "tidegate_kernel_decisions_total";
const REPEATED: &str = "tidegate_kernel_repeated_total";
const DEAD: &str = "tidegate_kernel_dead_total";
const COMMANDS_REFUSED: &str = "tidegate_kernel_commands_refused_total";
const OUTCOMES_UNUSED: &str = "tidegate_kernel_outcomes_unused_total";
const VIOLATIONS: &str = "tidegate_kernel_invariant_violations_total";

/// Tells the recorder what this crate's metrics mean; call once, after it is installed.
pub fn describe_metrics() {
    for (name, sentence) in [
        (DECISIONS, "Jobs judged, by source and verdict."),
        (REPEATED, "Records that repeat a job seen before, by source."),
        (DEAD, "Records that could not be jobs and went to `dead`, by source and reason."),
        (COMMANDS_REFUSED, "Command records read and refused, by source: this version knows no commands."),
        (OUTCOMES_UNUSED, "Outcome records read for which this version has no use, by source."),
        (VIOLATIONS, "Facts whose messages could not be made; each is a defect. Should stay 0."),
    ] {
        describe_counter!(name, Unit::Count, sentence);
    }
}

/// Handles, taken once so that counting costs no look-up.
pub(crate) struct Meters {
    source: String,
    allowed: Counter,
    denied: Counter,
    pub(crate) repeated: Counter,
    pub(crate) commands_refused: Counter,
    pub(crate) outcomes_unused: Counter,
    pub(crate) violations: Counter,
}

impl Meters {
    pub(crate) fn new(source: &SourceName) -> Self {
        let source = source.to_string();
        let decisions = |verdict: Verdict| counter!(DECISIONS, "source" => source.clone(), "verdict" => verdict.word());
        Self {
            allowed: decisions(Verdict::Allow),
            denied: decisions(Verdict::Deny),
            repeated: counter!(REPEATED, "source" => source.clone()),
            commands_refused: counter!(COMMANDS_REFUSED, "source" => source.clone()),
            outcomes_unused: counter!(OUTCOMES_UNUSED, "source" => source.clone()),
            violations: counter!(VIOLATIONS, "source" => source.clone()),
            source,
        }
    }

    pub(crate) fn decided(&self, verdict: Verdict) {
        match verdict {
            Verdict::Allow => self.allowed.increment(1),
            Verdict::Deny => self.denied.increment(1),
        }
    }

    /// Rare, so it looks its counter up.
    pub(crate) fn dead(&self, reason: DeadReason) {
        counter!(DEAD, "source" => self.source.clone(), "reason" => reason.word()).increment(1);
    }
}
