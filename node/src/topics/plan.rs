//! What differs between the topics there should be and those there are.

use std::fmt;

use serde::Serialize;
use tidegate_protocol::topics::Kind;
use tidegate_spine::{Cleanup, Spine, SpineError, TopicSpec, TopicState};

use super::wanted::Wanted;

/// What is said of a topic that is not there.
const MISSING: &str = "missing";

/// What can be done about a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// `topics apply` makes the topic.
    Create,
    /// `topics apply` alters it.
    Alter,
    /// Nobody can without losing order or records: change the configuration, or make the topic anew.
    Impossible,
    /// It is adopted: whoever made it must.
    NotOurs,
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The topic's full name.
    pub topic: String,
    /// `missing`, `partitions`, `cleanup`, `retention`, `record_bytes` or `timestamps`.
    pub what: &'static str,
    /// As it should be.
    pub wanted: String,
    /// As it is.
    pub found: String,
    /// What can be done.
    pub action: Action,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.action {
            Action::Create => '+',
            Action::Alter => '~',
            Action::Impossible | Action::NotOurs => '!',
        };
        if self.what == MISSING {
            write!(f, "{sign} {}: is missing, should have {}", self.topic, self.wanted)?;
        } else {
            write!(f, "{sign} {}: {} is {}, should be {}", self.topic, self.what, self.found, self.wanted)?;
        }
        match self.action {
            Action::Create | Action::Alter => Ok(()),
            Action::Impossible => {
                f.write_str(" (cannot be altered: correct the configuration, or delete the topic and apply again)")
            }
            Action::NotOurs => f.write_str(" (adopted: it is verified and never altered; whoever made it must)"),
        }
    }
}

/// All differences, and what is wanted.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Everything there should be.
    pub wanted: Vec<Wanted>,
    /// What differs; empty when nothing does.
    pub differences: Vec<Difference>,
}

impl Plan {
    /// Whether nothing differs.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.differences.is_empty()
    }

    /// Whether `apply` can do all of it.
    #[must_use]
    pub fn can_be_applied(&self) -> bool {
        self.differences.iter().all(|d| matches!(d.action, Action::Create | Action::Alter))
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_clean() {
            return write!(f, "{} topics are as they should be", self.wanted.len());
        }
        for (number, difference) in self.differences.iter().enumerate() {
            if number > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{difference}")?;
        }
        Ok(())
    }
}

/// Compares.
///
/// # Errors
/// [`SpineError`] when the spine could not be asked.
pub async fn plan(wanted: Vec<Wanted>, spine: &dyn Spine) -> Result<Plan, SpineError> {
    let names: Vec<_> = wanted.iter().map(|w| w.spec.name.clone()).collect();
    let found = spine.describe(&names).await?;
    let mut differences = Vec::new();
    for (wanted, found) in wanted.iter().zip(found) {
        compare(wanted, found.as_ref(), &mut differences);
    }
    Ok(Plan { wanted, differences })
}

fn compare(wanted: &Wanted, found: Option<&TopicState>, into: &mut Vec<Difference>) {
    let spec = &wanted.spec;
    let mut differs = |what, should: String, is: String, action| {
        let action = if wanted.adopt { Action::NotOurs } else { action };
        into.push(Difference { topic: spec.name.to_string(), what, wanted: should, found: is, action });
    };
    let Some(found) = found else {
        return differs(MISSING, describe(spec), "none".into(), Action::Create);
    };
    if wanted.foreign {
        return;
    }
    if found.partitions != spec.partitions {
        // A bucket or lane is chosen by a hash modulo their number: another number would break order or addressing.
        let fixed = matches!(wanted.topic.row().kind, Kind::Keyed | Kind::Short)
            || wanted.topic.row().name.ends_with("<pool>")
            || wanted.topic.row().name.starts_with("limits.")
            || found.partitions > spec.partitions;
        let action = if fixed { Action::Impossible } else { Action::Alter };
        differs("partitions", spec.partitions.to_string(), found.partitions.to_string(), action);
    }
    match (spec.cleanup, found.cleanup) {
        (_, None) => {}
        (Cleanup::Log { retention_ms: should }, Some(Cleanup::Log { retention_ms: is })) if should != is => {
            differs("retention", time(should), time(is), Action::Alter);
        }
        (should, Some(is)) if std::mem::discriminant(&should) != std::mem::discriminant(&is) => {
            differs("cleanup", word(should).into(), word(is).into(), Action::Alter);
        }
        (Cleanup::Log { .. } | Cleanup::Keyed, Some(Cleanup::Log { .. } | Cleanup::Keyed)) => {}
    }
    if let Some(bytes) = found.max_record_bytes
        && bytes < spec.max_record_bytes
    {
        differs("record_bytes", spec.max_record_bytes.to_string(), bytes.to_string(), Action::Alter);
    }
    if let Some(broker_time) = found.broker_time
        && broker_time != spec.broker_time
    {
        let word = |broker| if broker { "the broker's" } else { "the producer's" };
        differs("timestamps", word(spec.broker_time).into(), word(broker_time).into(), Action::Alter);
    }
}

const fn word(cleanup: Cleanup) -> &'static str {
    match cleanup {
        Cleanup::Log { .. } => "delete",
        Cleanup::Keyed => "compact",
    }
}

fn time(ms: Option<u64>) -> String {
    ms.map_or_else(|| "for ever".to_owned(), |ms| format!("{ms} ms"))
}

fn describe(spec: &TopicSpec) -> String {
    let keep = match spec.cleanup {
        Cleanup::Log { retention_ms } => format!("kept {}", time(retention_ms)),
        Cleanup::Keyed => "compacted".into(),
    };
    let s = if spec.partitions == 1 { "" } else { "s" };
    format!("{} partition{s}, {keep}, records up to {} bytes", spec.partitions, spec.max_record_bytes)
}
