//! What the log says of the time after a kill, by the broker's clock.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::broker::{Broker, Met, Tail};

/// Longest wait for the next dispatch and its result.
const PATIENCE: Duration = Duration::from_secs(120);

/// When what happened first, milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    /// A shard was claimed.
    pub(super) claimed_ms: i64,
    /// That owner's barrier.
    pub(super) owned_ms: i64,
    /// Its first lease.
    pub(super) leased_ms: i64,
    /// The first result under a lease of its.
    pub(super) result_ms: i64,
}

/// Reads facts and reports of the pool from here on.
pub(super) fn tail(broker: &Broker, prefix: &str) -> anyhow::Result<Tail> {
    let mut topics = broker.topics(prefix)?;
    topics.retain(|topic, _| is(topic, "leases") || is(topic, "reports"));
    ensure!(topics.len() == 2, "the pool's facts and reports are not there: {topics:?}");
    broker.tail_from_the_ends(&topics)
}

/// Whether a topic of the pool is that.
fn is(topic: &str, what: &str) -> bool {
    topic.ends_with(&format!(".{what}.work"))
}

/// Reads until everything is found.
pub(super) fn find(tail: &mut Tail, killed_ms: i64) -> anyhow::Result<Found> {
    let (began, mut so_far) = (Instant::now(), SoFar::default());
    loop {
        ensure!(
            began.elapsed() < PATIENCE,
            "no dispatch and result {} s after the kill: {so_far:?}",
            PATIENCE.as_secs()
        );
        let Some(met) = tail.next(Duration::from_millis(200))? else { continue };
        // The broker's clock is this machine's, in whole milliseconds.
        if met.at_ms >= killed_ms
            && let Some(found) = so_far.meet(&met)?
        {
            return Ok(found);
        }
    }
}

#[derive(Debug, Default)]
struct SoFar {
    /// By partition and the offset that its epoch is made of.
    claims: BTreeMap<(u32, u64), i64>,
    /// By epoch.
    owned: BTreeMap<u64, (i64, i64)>,
    leased: Option<(u64, i64)>,
    results: BTreeMap<u64, i64>,
}

impl SoFar {
    fn meet(&mut self, met: &Met) -> anyhow::Result<Option<Found>> {
        let value = met.value.as_deref().unwrap_or_default();
        match met.header("tg-kind") {
            Some("claim") => {
                self.claims.insert((met.partition, met.offset), met.at_ms);
            }
            Some("barrier") => {
                let epoch = met.number("tg-epoch").context("a barrier without epoch")?;
                // Below the log's term.
                let claim = (epoch & ((1 << 40) - 1)).checked_sub(1);
                if let Some(claimed) = claim.and_then(|claim| self.claims.get(&(met.partition, claim))) {
                    self.owned.insert(epoch, (*claimed, met.at_ms));
                }
            }
            Some("group") if self.leased.is_none() => {
                let epoch = met.number("tg-epoch").context("a group without epoch")?;
                if self.owned.contains_key(&epoch) {
                    let group: Value = serde_json::from_slice(value).context("a group that cannot be read")?;
                    let facts = group.get("facts").and_then(Value::as_array);
                    let leases = |fact: &Value| fact.pointer("/fact/lease_granted").is_some();
                    self.leased = facts.is_some_and(|facts| facts.iter().any(leases)).then_some((epoch, met.at_ms));
                }
            }
            None if is(&met.topic, "reports") => {
                let report: Value = serde_json::from_slice(value).context("a report that cannot be read")?;
                if let Some(epoch) = report.pointer("/result/token/epoch").and_then(Value::as_u64) {
                    self.results.entry(epoch).or_insert(met.at_ms);
                }
            }
            Some(_) | None => {}
        }
        Ok(self.leased.and_then(|(epoch, leased_ms)| {
            let (claimed_ms, owned_ms) = *self.owned.get(&epoch)?;
            Some(Found { claimed_ms, owned_ms, leased_ms, result_ms: *self.results.get(&epoch)? })
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn met(topic: &str, offset: u64, kind: Option<&str>, epoch: u64, value: &str) -> Met {
        let mut headers = vec![("tg-epoch".to_owned(), epoch.to_string().into_bytes())];
        headers.extend(kind.map(|kind| ("tg-kind".to_owned(), kind.as_bytes().to_vec())));
        let at_ms = i64::try_from(offset).unwrap();
        Met { topic: topic.into(), offset, at_ms, value: Some(value.into()), headers, ..Met::default() }
    }

    #[test]
    fn the_first_lease_counts_of_an_owner_that_claimed_after_the_kill_and_no_late_one_of_the_former() {
        let (facts, reports) = ("p.leases.work", "p.reports.work");
        let lease = r#"{"facts":[{"fact":{"job_due":{}}},{"fact":{"lease_granted":{}}}]}"#;
        let result = |epoch: u64| format!(r#"{{"result":{{"token":{{"epoch":{epoch},"attempt":1}}}}}}"#);
        let term = 1 << 40;
        let mut so_far = SoFar::default();
        for met in [
            met(facts, 10, Some("group"), term + 5, lease),
            met(facts, 11, Some("claim"), 0, "{}"),
            met(facts, 12, Some("group"), term + 5, lease),
            met(facts, 13, Some("barrier"), term + 12, "{}"),
            met(facts, 14, Some("group"), term + 5, lease),
            met(facts, 15, Some("group"), term + 12, r#"{"facts":[{"fact":{"worker_welcomed":{}}}]}"#),
            met(facts, 16, Some("group"), term + 12, lease),
            met(reports, 17, None, 0, &result(term + 5)),
        ] {
            assert_eq!(so_far.meet(&met).unwrap(), None);
        }
        let found = so_far.meet(&met(reports, 18, None, 0, &result(term + 12))).unwrap();
        assert_eq!(found, Some(Found { claimed_ms: 11, owned_ms: 13, leased_ms: 16, result_ms: 18 }));
    }
}
