//! The broker: topics, rights, clock.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use tidegate_protocol::address::{Offset, TopicPartition};
use tidegate_protocol::topics::{Kind, Topic};
use tidegate_spine::{Ends, Headers, NewRecord, ProducerOptions, ReadError, Record, Spine, Start};

use super::{CLOCK, Level, Report, now_ms, with_causes};
use crate::config::Config;
use crate::roles::{Role, Roles};
use crate::topics::{Plan, Wanted, rights};

/// How long a refusal to read may take to come.
const REFUSAL: Duration = Duration::from_secs(3);
/// Longest wait for a record that is there.
const PATIENCE: Duration = Duration::from_secs(5);
/// The key of the record that is written: nobody's.
const KEY: &[u8] = b"tidegate-doctor";

/// Every difference, bad where the roles read or write the topic; the names of all topics that are missing.
pub(super) fn topics(report: &mut Report, plan: &Plan, roles: &Roles) -> BTreeSet<String> {
    let needed = rights::of_roles(plan.wanted.clone(), roles);
    let mut missing = BTreeSet::new();
    for difference in &plan.differences {
        if difference.what == "missing" {
            missing.insert(difference.topic.clone());
        }
        if needed.iter().any(|one| one.spec.name.as_str() == difference.topic) {
            let remedy = "`tidegate topics plan` shows it all, `tidegate topics apply` does what can be done";
            report.add("topics", Level::Bad, difference.to_string(), remedy);
        } else {
            let remedy = "other roles need it: nothing is to be done where they run nowhere";
            report.add("topics", Level::Note, difference.to_string(), remedy);
        }
    }
    report.ok_unless_found("topics", format!("{} topics are as they should be", plan.wanted.len()));
    missing
}

/// Whether a role reads what the column names.
fn reads(role: Role, column: &str) -> bool {
    let words: &[&str] = match role {
        Role::Kernel => &["kernel", "all stages"],
        Role::Limits => &["limits", "all stages"],
        Role::Scheduler => &["scheduler", "all stages"],
        Role::Gateway => &["gateway", "people", "workers of the pool", "operators"],
    };
    column.split(", ").any(|word| words.contains(&word))
}

/// Compares what the roles must do with what the broker says this process may, as every process does when it starts.
pub(super) async fn rights(
    report: &mut Report,
    config: &Config,
    spine: &dyn Spine,
    wanted: &[Wanted],
    missing: &BTreeSet<String>,
    roles: &Roles,
) {
    let there: Vec<Wanted> = wanted.iter().filter(|one| !missing.contains(one.spec.name.as_str())).cloned().collect();
    let lack = rights::compare(&config.prefix, &there, roles, config.spine.settings.user(), spine).await;
    for one in &lack.lacking {
        let command = lack.command_for(one);
        report.add("rights", Level::Bad, one.to_string(), command);
    }
    if let Some((groups, why)) = &lack.untold_groups {
        let what = format!("the broker does not say whether {groups} groups may be joined: {why}");
        report.add("rights", Level::Note, what, "it shows when they are joined");
    }
    if let Some((topics, why)) = &lack.untold {
        let what = format!("the broker does not say what may be done with {topics} topics: {why}");
        report.add("rights", Level::Note, what, "those that are read are tried; writing shows only when it is done");
        return tried(report, spine, &there, roles).await;
    }
    let words: Vec<&str> = roles.iter().map(|role| role.word()).collect();
    let what = format!("{} may do all that they must with {} topics", words.join(", "), there.len());
    report.ok_unless_found("rights", what);
}

/// Tries to read each topic that the roles read: a broker says at once when it may not be.
async fn tried(report: &mut Report, spine: &dyn Spine, there: &[Wanted], roles: &Roles) {
    let read = |one: &&Wanted| roles.iter().any(|role| reads(*role, one.topic.row().readers));
    let partitions: Vec<TopicPartition> = there.iter().filter(read).map(|one| one.spec.name.partition(0)).collect();
    let mut refused = Vec::new();
    match (spine.ends(&partitions).await, spine.reader("doctor").await) {
        (Ok(ends), Ok(mut reader)) => {
            let mut open: Vec<_> = partitions
                .iter()
                .zip(ends)
                .map(|(partition, Ends { end, .. })| Some(reader.open(partition, Start::At(end))))
                .collect();
            let mut batch = Vec::new();
            let all = poll_fn(|cx| {
                for handle in &mut open {
                    let Some(own) = *handle else { continue };
                    match reader.poll_read(own, 1, cx, &mut batch) {
                        Poll::Ready(Ok(_)) => *handle = None,
                        Poll::Ready(Err(error)) => {
                            *handle = None;
                            if !matches!(error, ReadError::Truncated { .. }) {
                                refused.push(error.to_string());
                            }
                        }
                        Poll::Pending => {}
                    }
                }
                if open.iter().all(Option::is_none) { Poll::Ready(()) } else { Poll::Pending }
            });
            // Silence is consent: at the end of a log there is nothing to read.
            let _silent = tokio::time::timeout(REFUSAL, all).await;
        }
        (Err(error), _) | (_, Err(error)) => refused.push(with_causes(&error)),
    }
    for refusal in refused {
        let remedy = "`tidegate topics export --format acls` prints what each role must be allowed to";
        report.add("rights", Level::Bad, refusal, remedy);
    }
}

pub(super) async fn clock(report: &mut Report, config: &Config, spine: &dyn Spine, wanted: &[Wanted], write: bool) {
    let off = if write { compared(config, spine).await } else { newest(spine, wanted).await };
    tell_clock(report, off, write);
}

/// `off`: by how many milliseconds the broker's clock is ahead of this one, if that is known. `exact`: compared by a record of
/// now.
fn tell_clock(report: &mut Report, off: Result<Option<i64>, String>, exact: bool) {
    let remedy = "set the clocks by NTP: a process whose clock is more than 2 s off the broker's is given no shard";
    let (bound, way) = (i64::try_from(CLOCK.as_millis()).unwrap_or(i64::MAX), if exact { "" } else { " at least" });
    match off {
        Err(why) => report.add("clock", Level::Bad, why, "without it the clocks cannot be compared"),
        Ok(Some(ms)) if ms.saturating_abs() > bound => {
            let what = format!(
                "this machine's clock is{way} {} ms {} the broker's",
                ms.saturating_abs(),
                if ms > 0 { "behind" } else { "ahead of" }
            );
            report.add("clock", Level::Bad, what, remedy);
        }
        Ok(Some(ms)) if exact => report.ok("clock", format!("{} ms from the broker's, and writing works", ms.abs())),
        Ok(_) => report.ok("clock", "no record is from the future; `--write` compares it exactly, by one empty record"),
    }
}

/// How far the broker's clock is ahead of this one: by an empty record for a key that nobody has.
async fn compared(config: &Config, spine: &dyn Spine) -> Result<Option<i64>, String> {
    let held = Topic::Held.name(&config.prefix).map_err(|error| error.to_string())?.partition(0);
    let options = ProducerOptions { name: "doctor".into(), ..ProducerOptions::default() };
    let mut producer = spine.producer(options).await.map_err(|error| with_causes(&error))?;
    let record = NewRecord { key: Some(Bytes::from_static(KEY)), value: None, headers: Headers::new() };
    let before = now_ms();
    let landed = tokio::time::timeout(PATIENCE, producer.append(&held, vec![record])).await;
    let landed = landed.map_err(|_| format!("`{held}` took no record within {} s", PATIENCE.as_secs()))?;
    let landed = landed.map_err(|error| format!("`{held}` takes no record: {}", with_causes(&error)))?;
    let after = now_ms();
    let record = first_at(spine, &held, landed.first).await.ok_or_else(|| format!("`{held}` cannot be read back"))?;
    Ok(Some(beyond(u64::try_from(record.timestamp_ms).unwrap_or_default(), before, after)))
}

/// How far `stamp` is after `after` or, below zero, before `before`. Between the two the record was taken: that is not off.
fn beyond(stamp: u64, before: u64, after: u64) -> i64 {
    let signed = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
    if stamp > after {
        signed(stamp - after)
    } else if stamp < before {
        -signed(before - stamp)
    } else {
        0
    }
}

/// How far the newest record of a stage is ahead of this clock, if any is.
async fn newest(spine: &dyn Spine, wanted: &[Wanted]) -> Result<Option<i64>, String> {
    let facts = wanted.iter().filter(|one| one.topic.row().kind == Kind::Facts);
    let partitions: Vec<TopicPartition> =
        facts.flat_map(|one| (0..one.spec.partitions).map(|number| one.spec.name.partition(number))).collect();
    let ends = spine.ends(&partitions).await.map_err(|error| with_causes(&error))?;
    let now = i64::try_from(now_ms()).unwrap_or(i64::MAX);
    let mut ahead = None;
    for (partition, Ends { start, end }) in partitions.iter().zip(ends) {
        if end > start
            && let Some(record) = first_at(spine, partition, end - 1).await
        {
            ahead = ahead.max(Some(record.timestamp_ms - now)).filter(|ms| *ms > 0);
        }
    }
    Ok(ahead)
}

/// The first record at or above an offset, if it comes soon.
pub(super) async fn first_at(spine: &dyn Spine, partition: &TopicPartition, at: Offset) -> Option<Record> {
    let mut reader = spine.reader("doctor").await.ok()?;
    let handle = reader.open(partition, Start::At(at));
    let mut batch = Vec::new();
    let read = async {
        while batch.is_empty() {
            poll_fn(|cx| reader.poll_read(handle, 1, cx, &mut batch)).await?;
        }
        Ok::<_, ReadError>(())
    };
    tokio::time::timeout(PATIENCE, read).await.ok()?.ok()?;
    batch.into_iter().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(off: Result<Option<i64>, String>, exact: bool) -> (Level, String) {
        let mut report = Report::default();
        tell_clock(&mut report, off, exact);
        let found = report.findings.pop().unwrap();
        assert!(report.findings.is_empty() && (found.level == Level::Ok) == found.remedy.is_empty(), "{found:?}");
        (found.level, found.what)
    }

    #[test]
    fn a_clock_more_than_two_seconds_off_is_bad_and_it_is_said_which_way() {
        let behind = |way| (Level::Bad, format!("this machine's clock is{way} 2001 ms behind the broker's"));
        assert_eq!(told(Ok(Some(2_001)), true), behind(""));
        assert_eq!(told(Ok(Some(2_001)), false), behind(" at least"));
        let ahead = "this machine's clock is 2001 ms ahead of the broker's".to_owned();
        assert_eq!(told(Ok(Some(-2_001)), true), (Level::Bad, ahead));
        for near in [2_000, 0, -2_000] {
            assert_eq!(told(Ok(Some(near)), true).0, Level::Ok, "{near}");
        }
        assert_eq!(told(Ok(None), false).0, Level::Ok);
        assert_eq!(told(Err("it takes no record".into()), true), (Level::Bad, "it takes no record".into()));
    }

    #[test]
    fn only_what_lies_outside_the_append_is_off() {
        assert_eq!([beyond(100, 100, 110), beyond(105, 100, 110), beyond(110, 100, 110)], [0, 0, 0]);
        assert_eq!((beyond(3_110, 100, 110), beyond(90, 100, 110)), (3_000, -10));
    }
}
