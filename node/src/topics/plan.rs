//! What differs between the topics there should be and those there are.

use std::fmt;

use serde::Serialize;
use tidegate_protocol::topics::Kind;
use tidegate_spine::{Cleanup, CleanupFound, Spine, SpineError, TopicSettings, TopicSpec, TopicState};

use super::wanted::Wanted;

/// What is said of a topic that is not there.
const MISSING: &str = "missing";
/// What is said of a topic whose settings are not told.
const UNREAD: &str = "settings";

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
    /// It cannot be said whether anything is to be done: this process must be allowed to look.
    Allow,
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The topic's full name.
    pub topic: String,
    /// `missing`, `partitions`, `settings` (they cannot be read), `cleanup`, `retention`, `retention_bytes`, `record_bytes` or
    /// `timestamps`.
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
            Action::Impossible | Action::NotOurs | Action::Allow => '!',
        };
        if self.what == MISSING {
            write!(f, "{sign} {}: is missing, should have {}", self.topic, self.wanted)?;
        } else if self.what == UNREAD {
            write!(
                f,
                "{sign} {}: its settings cannot be read ({}), should have {}",
                self.topic, self.found, self.wanted
            )?;
        } else {
            write!(f, "{sign} {}: {} is {}, should be {}", self.topic, self.what, self.found, self.wanted)?;
        }
        match self.action {
            Action::Create | Action::Alter => Ok(()),
            Action::Impossible => {
                f.write_str(" (cannot be altered: correct the configuration, or delete the topic and apply again)")
            }
            Action::NotOurs => f.write_str(" (adopted: it is verified and never altered; whoever made it must)"),
            Action::Allow => f.write_str(
                " (allow this process DescribeConfigs on the topic: `tidegate topics export --format acls` prints every right)",
            ),
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
    match &found.settings {
        Ok(settings) => compare_settings(spec, settings, &mut differs),
        Err(why) => {
            let (topic, wanted) = (spec.name.to_string(), describe(spec));
            into.push(Difference { topic, what: UNREAD, wanted, found: why.clone(), action: Action::Allow });
        }
    }
}

fn compare_settings(
    spec: &TopicSpec,
    found: &TopicSettings,
    differs: &mut impl FnMut(&'static str, String, String, Action),
) {
    match (spec.cleanup, &found.cleanup) {
        (Cleanup::Keyed, CleanupFound::Known(Cleanup::Keyed)) => {}
        (Cleanup::Log { retention_ms: should }, CleanupFound::Known(Cleanup::Log { retention_ms: is })) => {
            if should != *is {
                differs("retention", time(should), time(*is), Action::Alter);
            }
        }
        (should, CleanupFound::Known(is)) => {
            differs("cleanup", word(should).into(), word(*is).into(), Action::Alter);
        }
        (should, CleanupFound::Other(is)) => differs("cleanup", word(should).into(), is.clone(), Action::Alter),
    }
    // Records would go by size, read or not. What is compacted alone does not.
    if let (Cleanup::Log { .. }, Some(bytes)) = (spec.cleanup, found.retention_bytes) {
        differs("retention_bytes", "without limit".into(), bytes.to_string(), Action::Alter);
    }
    if found.max_record_bytes < spec.max_record_bytes {
        let (should, is) = (spec.max_record_bytes.to_string(), found.max_record_bytes.to_string());
        differs("record_bytes", should, is, Action::Alter);
    }
    if found.broker_time != spec.broker_time {
        let word = |broker| if broker { "the broker's" } else { "the producer's" };
        differs("timestamps", word(spec.broker_time).into(), word(found.broker_time).into(), Action::Alter);
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

#[cfg(test)]
mod tests {
    use tidegate_protocol::address::TopicName;
    use tidegate_protocol::topics::Topic;

    use super::*;

    fn wanted(topic: Topic, cleanup: Cleanup) -> Wanted {
        let name = TopicName::new("t").unwrap();
        let spec =
            TopicSpec { name, partitions: 1, cleanup, max_record_bytes: 1_000, broker_time: true, replication: None };
        Wanted { topic, spec, foreign: false, adopt: false }
    }

    fn settings(cleanup: CleanupFound, retention_bytes: Option<u64>) -> Result<TopicSettings, String> {
        Ok(TopicSettings { cleanup, retention_bytes, max_record_bytes: 1_000, broker_time: true })
    }

    fn compared(wanted: &Wanted, settings: Result<TopicSettings, String>) -> Vec<Difference> {
        let mut all = Vec::new();
        compare(wanted, Some(&TopicState { name: wanted.spec.name.clone(), partitions: 1, settings }), &mut all);
        all
    }

    fn told(differences: &[Difference]) -> Vec<String> {
        differences.iter().map(ToString::to_string).collect()
    }

    const EVER: Cleanup = Cleanup::Log { retention_ms: None };

    #[test]
    fn a_cleanup_that_is_none_of_ours_is_named_by_the_brokers_word() {
        let keyed = wanted(Topic::Snapshots, Cleanup::Keyed);
        let both = || settings(CleanupFound::Other("compact,delete".into()), None);
        assert_eq!(told(&compared(&keyed, both())), ["~ t: cleanup is compact,delete, should be compact"]);
        let log = wanted(Topic::Denied, EVER);
        assert_eq!(told(&compared(&log, both())), ["~ t: cleanup is compact,delete, should be delete"]);
        let adopted = Wanted { adopt: true, ..keyed };
        assert_eq!(compared(&adopted, both()).first().map(|one| one.action), Some(Action::NotOurs));
    }

    #[test]
    fn a_log_that_loses_records_by_its_size_differs_and_a_keyed_topic_does_not() {
        let log = wanted(Topic::Denied, EVER);
        let sized = settings(CleanupFound::Known(EVER), Some(5_000));
        assert_eq!(told(&compared(&log, sized)), ["~ t: retention_bytes is 5000, should be without limit"]);
        assert_eq!(compared(&log, settings(CleanupFound::Known(EVER), None)), []);
        let keyed = wanted(Topic::Shards, Cleanup::Keyed);
        assert_eq!(compared(&keyed, settings(CleanupFound::Known(Cleanup::Keyed), Some(5_000))), []);
    }

    #[test]
    fn settings_that_cannot_be_read_are_a_difference_that_says_what_to_allow() {
        let log = Wanted { adopt: true, ..wanted(Topic::Denied, EVER) };
        let unread = compared(&log, Err("DescribeConfigs: refused".into()));
        assert_eq!(
            told(&unread),
            [
                "! t: its settings cannot be read (DescribeConfigs: refused), should have 1 partition, kept for ever, records up to \
              1000 bytes (allow this process DescribeConfigs on the topic: `tidegate topics export --format acls` prints every right)"
            ]
        );
        assert!(!Plan { wanted: vec![log], differences: unread }.can_be_applied());
        let foreign = Wanted { foreign: true, ..wanted(Topic::Denied, EVER) };
        assert_eq!(compared(&foreign, Err("refused".into())), [], "nothing is asked of it but to be there");
    }
}
