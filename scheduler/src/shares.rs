//! What each tenant may have of a pool: its weight, and how many jobs at once and in a second. As written in the pool's file.
//!
//! And what of each capability may be in use at once and begun in a second, over all tenants.
//!
//! Limits are exact. In a pool of one shard that shard counts them: *at once* counts leases, from
//! the state, so a change of owner forgets nothing. *In a second* is the generic cell rate algorithm (ITU-T I.371): starts are
//! at least 1/rate apart on average, with at most `burst` at a time; a new owner begins without a burst saved up. In a pool of
//! several shards the limits stage lends each a part ([`crate::lent`]).

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidegate_protocol::ids::{Capability, TenantId};
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

/// What of a pool may be in use of one capability, by the jobs of all tenants together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CapabilityLimit {
    /// Most jobs that need it that are leased at once; absent: no limit.
    pub max_leased: Option<u32>,
    /// Most jobs that need it that are leased in a second, on average; absent: no limit.
    pub per_second: Option<u32>,
    /// With `per_second`: most at a time, after a pause; at least 1, and `per_second` unless told.
    pub burst: Option<u32>,
}

impl CapabilityLimit {
    /// As a tenant's.
    const fn share(self) -> TenantShare {
        let Self { max_leased, per_second, burst } = self;
        TenantShare { weight: 1, max_leased, per_second, burst }
    }

    /// The field that is outside its bounds, with its value and the rule.
    pub(crate) fn out_of_bounds(self) -> Option<(&'static str, u64, &'static str)> {
        self.share().out_of_bounds()
    }
}

/// Whose limits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Subject {
    /// The jobs of a tenant.
    Tenant(TenantId),
    /// The jobs that need a capability.
    Capability(Capability),
}

/// The shares of all tenants of a pool, and the limits of capabilities.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shares {
    named: BTreeMap<TenantId, TenantShare>,
    others: TenantShare,
    /// Those that limit anything.
    capabilities: BTreeMap<Capability, TenantShare>,
}

impl Shares {
    pub(crate) fn new(
        named: BTreeMap<TenantId, TenantShare>,
        others: TenantShare,
        capabilities: &BTreeMap<Capability, CapabilityLimit>,
    ) -> Self {
        let limits = capabilities.iter().map(|(name, limit)| (name.clone(), limit.share()));
        Self { named, others, capabilities: limits.filter(|(_, share)| share.limits()).collect() }
    }

    /// Tenants that are named, with their shares.
    pub(crate) fn named(&self) -> impl Iterator<Item = (&TenantId, &TenantShare)> {
        self.named.iter()
    }

    /// Those of all others.
    pub(crate) const fn others(&self) -> &TenantShare {
        &self.others
    }

    /// Capabilities that are limited, and by what.
    pub(crate) fn capabilities(&self) -> impl Iterator<Item = (&Capability, &TenantShare)> {
        self.capabilities.iter()
    }

    /// Capabilities that are limited.
    pub(crate) fn limited(&self) -> impl Iterator<Item = &Capability> {
        self.capabilities.keys()
    }

    /// What limits it, when anything does.
    pub(crate) fn limit_of(&self, subject: &Subject) -> Option<&TenantShare> {
        match subject {
            Subject::Tenant(tenant) => Some(self.of(tenant)).filter(|share| share.limits()),
            Subject::Capability(capability) => self.capabilities.get(capability),
        }
    }

    /// Whose limits are those of jobs of a tenant that need all this.
    pub(crate) fn subjects(&self, tenant: &TenantId, needs: &[Capability]) -> Vec<Subject> {
        let mut subjects = Vec::new();
        if self.of(tenant).limits() {
            subjects.push(Subject::Tenant(tenant.clone()));
        }
        if !self.capabilities.is_empty() {
            let limited = needs.iter().filter(|capability| self.capabilities.contains_key(*capability));
            subjects.extend(limited.map(|capability| Subject::Capability(capability.clone())));
        }
        subjects
    }

    pub(crate) fn of(&self, tenant: &TenantId) -> &TenantShare {
        self.named.get(tenant).unwrap_or(&self.others)
    }
}

/// When jobs of tenants and capabilities with a rate start their next. Soft.
#[derive(Debug, Default)]
pub(crate) struct Rates {
    /// The theoretical arrival time: 1/rate after the last start, or later when they came in a burst.
    next: HashMap<Subject, Timestamp>,
}

/// Tenants of a rate that are remembered although they could start a burst now.
const MOST_KNOWN: usize = 4_096;

fn apart(per_second: u32) -> Duration {
    Duration::from_secs(1) / per_second.max(1)
}

impl Rates {
    /// When the next job may start, at or before `at` when it may now. One met for the first time has no burst.
    pub(crate) fn free_at(&mut self, subject: &Subject, share: &TenantShare, at: Timestamp) -> Timestamp {
        let Some(per_second) = share.per_second else { return at };
        if self.next.len() > MOST_KNOWN {
            self.next.retain(|_, next| *next > at);
        }
        let saved = apart(per_second) * share.burst.unwrap_or(per_second).saturating_sub(1);
        let next = *self.next.entry(subject.clone()).or_insert(at + saved);
        Timestamp(next.0.saturating_sub(u64::try_from(saved.as_micros()).unwrap_or(u64::MAX)))
    }

    /// A job starts.
    pub(crate) fn start(&mut self, subject: &Subject, share: &TenantShare, at: Timestamp) {
        if let Some(per_second) = share.per_second
            && let Some(next) = self.next.get_mut(subject)
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
        let (mut rates, tenant) = (Rates::default(), Subject::Tenant(TenantId::new("t").unwrap()));
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
