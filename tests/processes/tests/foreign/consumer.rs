//! A consumer of one's own: what the README says of reading our topics, rule by rule, and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use tidegate_processes::broker::Met;

/// What it keeps.
#[derive(Debug, Default)]
pub(crate) struct Consumer {
    /// The highest epoch met of each sender in each partition.
    epochs: BTreeMap<(String, u32, String), u64>,
    /// Topic and source position of every job that was taken.
    taken: BTreeSet<(String, String)>,
    /// Source positions of jobs that were called off.
    pub(crate) called_off: BTreeSet<String>,
    /// Every fence met: its sender and epoch.
    pub(crate) fences: BTreeSet<(String, u64)>,
}

impl Consumer {
    /// A job's record, once: its source position and value.
    pub(crate) fn read(&mut self, met: &Met) -> Option<(String, Value)> {
        // 1. Control records are none; a fence raises what counts.
        let kind = met.header("tg-kind");
        if kind.is_some_and(|kind| kind != "fence") {
            return None;
        }
        // 2. Nothing below the highest epoch of its sender in this partition.
        let (sender, epoch) = (met.header("tg-sender").unwrap().to_owned(), met.number("tg-epoch").unwrap());
        let highest = self.epochs.entry((met.topic.clone(), met.partition, sender.clone())).or_default();
        if epoch < *highest {
            return None;
        }
        *highest = epoch;
        if kind.is_some() {
            self.fences.insert((sender, epoch));
            return None;
        }
        let source = met.header("tg-source").unwrap().to_owned();
        let value: Value = serde_json::from_slice(met.value.as_deref().unwrap()).unwrap();
        // 3. A withdrawal is no job: it calls one off.
        if value.get("withdrawn").is_some() {
            self.called_off.insert(source);
            return None;
        }
        // 4. A job that was taken is not taken again.
        self.taken.insert((met.topic.clone(), source.clone())).then_some((source, value))
    }
}

/// A record of sender `s` under that epoch; a fence without a value.
fn met(epoch: u64, source: &str, value: Option<&str>) -> Met {
    let header = |name: &str, text: &str| (name.to_owned(), text.as_bytes().to_vec());
    let mut headers = vec![header("tg-sender", "s"), header("tg-epoch", &epoch.to_string())];
    match value {
        None => headers.push(header("tg-kind", "fence")),
        Some(_) => headers.push(header("tg-source", source)),
    }
    Met { value: value.map(|value| value.as_bytes().to_vec()), headers, ..Met::default() }
}

#[test]
fn each_of_the_readmes_rules_drops_what_it_is_for() {
    let mut consumer = Consumer::default();
    let job = Some(r#"{"job":{}}"#);
    let mut took = |record: &Met| consumer.read(record).map(|(source, _)| source);
    assert_eq!(took(&met(5, "jobs/0@1", job)).as_deref(), Some("jobs/0@1"));
    assert_eq!(took(&met(5, "jobs/0@1", job)), None, "it was taken");
    assert_eq!(took(&met(9, "", None)), None, "a fence is no job");
    assert_eq!(took(&met(8, "jobs/0@2", job)), None, "it is of a former owner");
    assert_eq!(took(&met(9, "jobs/0@2", job)).as_deref(), Some("jobs/0@2"));
    let other = Met { partition: 1, ..met(8, "jobs/0@3", job) };
    assert_eq!(took(&other).as_deref(), Some("jobs/0@3"), "the fence was in another partition");
    assert_eq!(took(&met(9, "jobs/0@2", Some(r#"{"v":1,"withdrawn":{}}"#))), None, "a withdrawal is no job");
    assert_eq!(consumer.called_off, BTreeSet::from(["jobs/0@2".to_owned()]));
}
