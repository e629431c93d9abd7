//! How far each shard has read its inputs, by what it wrote itself.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tidegate_gateway::view::View;
use tidegate_protocol::address::{TopicName, TopicPartition};
use tidegate_protocol::topics::{Kind, Topic};
use tidegate_spine::{Ends, Spine, TopicState};

use super::broker::first_at;
use super::{Level, Report, now_ms, with_causes};
use crate::roles::{is_near, is_near_by_size, kept, shrinks};
use crate::topics::Wanted;

/// A record that has waited longer is worth a word.
const LONG: Duration = Duration::from_secs(60);

pub(super) async fn examine(report: &mut Report, spine: &dyn Spine, wanted: &[Wanted], view: &View) {
    let by_name: BTreeMap<&TopicName, &Wanted> = wanted.iter().map(|one| (&one.spec.name, one)).collect();
    let inputs: Vec<TopicPartition> = inputs(wanted);
    let ends = match spine.ends(&inputs).await {
        Ok(ends) => ends,
        Err(error) => {
            return report.add("shards", Level::Bad, with_causes(&error), "the ends of the inputs cannot be had");
        }
    };
    // What retention takes is the broker's to say, of a source's own topic above all: nobody here gave it one.
    let names: Vec<TopicName> =
        inputs.iter().map(|input| input.topic.clone()).collect::<BTreeSet<_>>().into_iter().collect();
    let states = match spine.describe(&names).await {
        Ok(states) => states,
        Err(error) => {
            return report.add("shards", Level::Bad, with_causes(&error), "the inputs cannot be described");
        }
    };
    let loses = |state: Option<TopicState>| (state.as_ref().and_then(kept), state.as_ref().is_some_and(shrinks));
    let loses: BTreeMap<TopicName, (Option<Duration>, bool)> =
        names.into_iter().zip(states).map(|(name, state)| (name, loses(state))).collect();
    let mut read = 0;
    for (input, Ends { start, end }) in inputs.iter().zip(ends) {
        let Some(one) = by_name.get(&input.topic) else { continue };
        let reader = one.topic.row().readers;
        let place = view.place(input);
        read += usize::from(place.is_some());
        let (position, above) = place.unwrap_or((start, 0));
        if place.is_some() && position < start {
            let what =
                format!("`{input}`: records {position} to {start} are gone, and its {reader} had not settled them");
            let remedy = "restore them, or give them up: `tidegate sources accept-loss`";
            report.add("shards", Level::Bad, what, remedy);
            continue;
        }
        let behind = end.saturating_sub(position).saturating_sub(above);
        if behind == 0 {
            continue;
        }
        let Some(record) = first_at(spine, input, position).await else { continue };
        let age =
            Duration::from_millis(now_ms().saturating_sub(u64::try_from(record.timestamp_ms).unwrap_or_default()));
        let (kept, shrinks) = loses.get(&input.topic).copied().unwrap_or_default();
        let near_by_size = shrinks && is_near_by_size(position, Ends { start, end });
        tell_waiting(report, input, one, &Waiting { behind, age, kept, near_by_size, read: place.is_some() });
    }
    report.ok_unless_found("shards", format!("{read} inputs are read, and nothing waits long"));
}

/// What waits in an input.
struct Waiting {
    /// Records that are not settled.
    behind: u64,
    /// Of the oldest.
    age: Duration,
    /// How long the broker keeps a record, if it lets them go by time.
    kept: Option<Duration>,
    /// Whether it lies in the older half of what the broker has, which lets the oldest go by size.
    near_by_size: bool,
    /// Whether anybody has ever read the input.
    read: bool,
}

fn tell_waiting(report: &mut Report, input: &TopicPartition, one: &Wanted, waiting: &Waiting) {
    let Waiting { behind, age, kept, near_by_size, read } = waiting;
    let readers = one.topic.row().readers;
    if let Some(kept) = kept.filter(|kept| is_near(*age, *kept)) {
        let what = format!(
            "`{input}`: {behind} records are not settled, the oldest for {} s of the {} s it is kept",
            age.as_secs(),
            kept.as_secs()
        );
        let longer = if one.foreign { "have its owner keep it longer" } else { "keep it longer (`topics.retention`)" };
        report.add("shards", Level::Bad, what, format!("run its {readers}, or {longer}"));
    } else if *age > LONG && *near_by_size {
        // A few records on their way may be all that the broker has.
        let what = format!(
            "`{input}`: {behind} records are not settled, the oldest for {} s, and they lie in the older half of what the broker has: it lets the oldest go by size",
            age.as_secs()
        );
        let more = if one.foreign { "have its owner keep more" } else { "keep more" };
        let remedy = format!("run its {readers}, or {more} (`retention.bytes`, or `cleanup.policy=compact,delete`)");
        report.add("shards", Level::Bad, what, remedy);
    } else if *age > LONG {
        let what = format!("`{input}`: {behind} records are not settled, the oldest for {} s", age.as_secs());
        report.add("shards", Level::Note, what, remedy(&one.topic, *read));
    }
}

/// Every partition that a stage reads; not the topics that people, workers and submitters read.
fn inputs(wanted: &[Wanted]) -> Vec<TopicPartition> {
    let is_input = |one: &&Wanted| {
        let row = one.topic.row();
        !matches!(row.kind, Kind::Facts | Kind::Keyed | Kind::Short)
            && row.readers.split(", ").any(|reader| ["kernel", "scheduler", "limits"].contains(&reader))
            && row.writers != "all stages"
    };
    let all = wanted.iter().filter(is_input);
    all.flat_map(|one| (0..one.spec.partitions).map(|number| one.spec.name.partition(number))).collect()
}

fn remedy(topic: &Topic, read: bool) -> String {
    if !read {
        return "nobody has ever read it: is its role up? (`tidegate serve --roles`)".to_owned();
    }
    if matches!(topic, Topic::Approved(_) | Topic::Overflow(_)) {
        "jobs wait for workers: `tidegate pools list` says how many are wanted".to_owned()
    } else {
        "is its role up, and ready (`/readyz`)?".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use tidegate_protocol::ids::{PoolName, SourceName};
    use tidegate_spine::{Cleanup, TopicSpec};

    use super::*;

    fn told_of(topic: Topic, kept: Option<u64>, near_by_size: bool, seconds: u64) -> Vec<(Level, String)> {
        let spec = TopicSpec {
            name: TopicName::new("t").unwrap(),
            partitions: 1,
            cleanup: Cleanup::Log { retention_ms: None },
            max_record_bytes: 1_000,
            broker_time: true,
            replication: None,
        };
        let input = spec.name.partition(0);
        let one = Wanted { topic, spec, foreign: false, adopt: false };
        let mut report = Report::default();
        let (age, kept) = (Duration::from_secs(seconds), kept.map(Duration::from_secs));
        let waiting = Waiting { behind: 3, age, kept, near_by_size, read: true };
        tell_waiting(&mut report, &input, &one, &waiting);
        report.findings.into_iter().map(|found| (found.level, format!("{}; {}", found.what, found.remedy))).collect()
    }

    fn told(topic: Topic, kept: Option<u64>, seconds: u64) -> Vec<(Level, String)> {
        told_of(topic, kept, false, seconds)
    }

    #[test]
    fn what_is_in_the_older_half_of_a_log_that_shrinks_is_bad_when_it_has_waited() {
        let source = || Topic::Raw(SourceName::new("theirs").unwrap());
        let bad = "`t/0`: 3 records are not settled, the oldest for 61 s, and they lie in the older half of what the broker has: it lets \
                   the oldest go by size; run its kernel, or keep more (`retention.bytes`, or `cleanup.policy=compact,delete`)";
        assert_eq!(told_of(source(), None, true, 61), [(Level::Bad, bad.to_owned())]);
        assert_eq!(told_of(source(), Some(1_000), true, 61), [(Level::Bad, bad.to_owned())], "by age there is time");
        assert_eq!(told_of(source(), None, true, 60), [], "on its way");
        assert_eq!(told_of(source(), None, false, 61)[0].0, Level::Note, "another log");
    }

    #[test]
    fn what_has_waited_for_more_than_half_of_its_retention_is_bad() {
        let reports = || Topic::Reports(PoolName::new("p").unwrap());
        let bad = "`t/0`: 3 records are not settled, the oldest for 51 s of the 100 s it is kept; run its scheduler, gateway, \
                   or keep it longer (`topics.retention`)";
        assert_eq!(told(reports(), Some(100), 51), [(Level::Bad, bad.to_owned())]);
        assert_eq!(told(reports(), Some(100), 50), [], "half of it");
        let long = "`t/0`: 3 records are not settled, the oldest for 61 s; is its role up, and ready (`/readyz`)?";
        assert_eq!(told(reports(), Some(1_000), 61), [(Level::Note, long.to_owned())]);
        assert_eq!(told(reports(), None, 61), [(Level::Note, long.to_owned())], "kept for ever");
        assert_eq!(told(reports(), None, 60), []);
    }
}
