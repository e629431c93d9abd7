//! What each tenant may have of a pool: its weight, and how many jobs at once and in a second. As written in the pool's file.
//!
//! Limits are exact, since one shard counts them: a pool with several shards refuses them. *At once* counts leases, from
//! the state, so a change of owner forgets nothing. *In a second* is the generic cell rate algorithm (ITU-T I.371): starts are
//! at least 1/rate apart on average, with at most `burst` at a time; a new owner begins without a burst saved up.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidegate_protocol::ids::TenantId;
use tidegate_protocol::time::Timestamp;

/// A tenant's share of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TenantShare {
    /// Its part of what others want too, 1 to 1,000: one of weight 3 gets three jobs for each of one of weight 1.
    pub weight: u32,
    /// Most of its jobs that are leased at once; absent: no limit.
    pub max_leased: Option<u32>,
    /// Most of its jobs that are leased in a second, on average; absent: no limit.
    pub per_second: Option<u32>,
    /// With `per_second`: most at a time, after a pause; at least 1, and `per_second` unless told.
    pub burst: Option<u32>,
}

impl Default for TenantShare {
    fn default() -> Self {
        Self { weight: 1, max_leased: None, per_second: None, burst: None }
    }
}

impl TenantShare {
    /// Whether it limits anything.
    pub(crate) const fn limits(&self) -> bool {
        self.max_leased.is_some() || self.per_second.is_some()
    }

    /// The field that is outside its bounds, with its value and the rule.
    pub(crate) fn out_of_bounds(&self) -> Option<(&'static str, u64, &'static str)> {
        let outside = |field, value: u32, most: u32, rule| {
            (!(1..=most).contains(&value)).then_some((field, u64::from(value), rule))
        };
        outside("weight", self.weight, 1_000, "1 to 1000")
            .or_else(|| outside("max_leased", self.max_leased?, 1_000_000, "1 to 1000000"))
            .or_else(|| outside("per_second", self.per_second?, 1_000_000, "1 to 1000000"))
            .or_else(|| outside("burst", self.burst?, 1_000_000, "1 to 1000000"))
    }
}

/// The shares of all tenants of a pool.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shares {
    named: BTreeMap<TenantId, TenantShare>,
    others: TenantShare,
}

impl Shares {
    pub(crate) const fn new(named: BTreeMap<TenantId, TenantShare>, others: TenantShare) -> Self {
        Self { named, others }
    }

    pub(crate) fn of(&self, tenant: &TenantId) -> &TenantShare {
        self.named.get(tenant).unwrap_or(&self.others)
    }
}

/// When tenants with a rate may start their next job. Soft.
#[derive(Debug, Default)]
pub(crate) struct Rates {
    /// The theoretical arrival time: 1/rate after the last start, or later when they came in a burst.
    next: HashMap<TenantId, Timestamp>,
}

/// Tenants of a rate that are remembered although they could start a burst now.
const MOST_KNOWN: usize = 4_096;

fn apart(per_second: u32) -> Duration {
    Duration::from_secs(1) / per_second.max(1)
}

impl Rates {
    /// When the next job may start, at or before `at` when it may now. One met for the first time has no burst.
    pub(crate) fn free_at(&mut self, tenant: &TenantId, share: &TenantShare, at: Timestamp) -> Timestamp {
        let Some(per_second) = share.per_second else { return at };
        if self.next.len() > MOST_KNOWN {
            self.next.retain(|_, next| *next > at);
        }
        let saved = apart(per_second) * share.burst.unwrap_or(per_second).saturating_sub(1);
        let next = *self.next.entry(tenant.clone()).or_insert(at + saved);
        Timestamp(next.0.saturating_sub(u64::try_from(saved.as_micros()).unwrap_or(u64::MAX)))
    }

    /// A job starts.
    pub(crate) fn start(&mut self, tenant: &TenantId, share: &TenantShare, at: Timestamp) {
        if let Some(per_second) = share.per_second
            && let Some(next) = self.next.get_mut(tenant)
        {
            *next = (*next).max(at) + apart(per_second);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_keep_to_the_rate_with_at_most_a_burst_at_a_time() {
        let (mut rates, tenant) = (Rates::default(), TenantId::new("t").unwrap());
        let share = TenantShare { per_second: Some(10), burst: Some(3), ..TenantShare::default() };
        let mut starts = Vec::new();
        // Wants to at every millisecond; nothing from second 2 to second 4.
        for ms in (0..2_000_u64).chain(4_000..5_000) {
            let at = Timestamp(ms * 1_000);
            if rates.free_at(&tenant, &share, at) <= at {
                rates.start(&tenant, &share, at);
                starts.push(ms);
            }
        }
        assert_eq!(starts.iter().filter(|ms| **ms < 2_000).count(), 20, "{starts:?}");
        assert_eq!(starts.iter().filter(|ms| (4_000..4_010).contains(*ms)).count(), 3, "a burst: {starts:?}");
        assert_eq!(starts.iter().filter(|ms| **ms >= 4_000).count(), 3 + 9, "{starts:?}");
        assert_eq!(starts[0], 0);
        assert_eq!(starts[1], 100, "no burst was saved up before anything was known");
    }

    #[test]
    fn a_share_outside_its_bounds_is_named() {
        let bad = TenantShare { max_leased: Some(0), ..TenantShare::default() };
        assert_eq!(bad.out_of_bounds(), Some(("max_leased", 0, "1 to 1000000")));
        assert_eq!(TenantShare::default().out_of_bounds(), None);
    }
}
