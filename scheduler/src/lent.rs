//! Limits of a pool of several shards: each shard spends what the limits stage lends it.
//!
//! | limit of the pool | is lent as | counts |
//! |---|---|---|
//! | `max_leased` | a `concurrency` | a place from the lease to its end, whatever ends it |
//! | `per_second`, `burst` | a `rate` | a start, for the time in which `burst` may start |
//!
//! What a lease takes stands in its fact ([`SchedulerFact::LeaseGranted`]), what is asked for, granted and given back in facts
//! of their own, so a new owner holds and has spent exactly what the former had (I7), and what a former owner sends afterwards
//! is fenced. Places never come free by time: a lease that nobody speaks for may still be running.
//!
//! *Owed*: another shard waits for a part of what this one has more than its equal part of. This shard does not lease on what
//! came free, but gives it back, for as long as the other may be expected to ask again.
//!
//! [`SchedulerFact::LeaseGranted`]: tidegate_protocol::facts::SchedulerFact::LeaseGranted

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tidegate_protocol::address::TopicPartition;
use tidegate_protocol::ids::{Capability, PoolName, TenantId};
use tidegate_protocol::limits::{Amount, BadLimit, LimitDefinition, LimitId, LimitKind, LimitRequest, LimitUse};
use tidegate_protocol::topics::partition_of;
use tidegate_spine::Headers;
use tidegate_stage::{Delivery, Message, Outbox};
use tidegate_wallet::WalletBounds;

use crate::pool::Topics;
use crate::shares::{Shares, Subject, TenantShare};

/// Places of a lease are not freed by time; a limit must have some window, so this is the longest there is.
const FOR_EVER: Duration = Duration::from_hours(400 * 24);

/// How a pool of several shards borrows its limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lending {
    /// Partitions of `limits.requests`, at least 1.
    pub partitions: u32,
    /// The clocks' allowance of the limits stage.
    pub skew: Duration,
    /// For how long what is owed is kept for a shard that waits: until it asks again, at least.
    pub owed_for: Duration,
}

impl Default for Lending {
    fn default() -> Self {
        Self { partitions: 4, skew: Duration::from_secs(5), owed_for: Duration::from_secs(1) }
    }
}

impl Lending {
    pub(crate) const fn bounds(&self) -> WalletBounds {
        // Leases are bounded by the workers' capacity.
        let open = usize::MAX;
        let (entries, tenant_entries) = (200_000, 200_000);
        WalletBounds { entries, tenant_entries, open, open_for: FOR_EVER, skew: self.skew }
    }
}

/// A limit that several shards cannot keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NotLent {
    pub(crate) whose: String,
    pub(crate) reason: BadLimit,
}

type Definitions = Vec<(LimitId, Arc<LimitDefinition>)>;

/// The limits of a pool as they are lent.
#[derive(Debug, Clone)]
pub(crate) struct Lent {
    pub(crate) lending: Lending,
    /// Of whose keys a limit of capabilities is: keys are bounded by tenant.
    pub(crate) nobody: TenantId,
    tenants: BTreeMap<TenantId, Definitions>,
    others: Definitions,
    capabilities: BTreeMap<Capability, Definitions>,
}

/// The definitions of a share; `of` begins their names.
fn definitions(of: &str, share: &TenantShare) -> Result<Definitions, BadLimit> {
    let units = |n: u32| Amount(u64::from(n).saturating_mul(Amount::ONE.0));
    let mut all = Vec::new();
    if let Some(most) = share.max_leased {
        let definition = LimitDefinition::new(LimitKind::Concurrency, units(most), FOR_EVER);
        all.push((format!("{of}/leased/{most}"), definition));
    }
    if let Some(rate) = share.per_second {
        let burst = share.burst.unwrap_or(rate);
        let mut definition = LimitDefinition::new(LimitKind::Rate, units(rate), Duration::from_secs(1));
        definition.burst = Some(units(burst));
        all.push((format!("{of}/rate/{rate}/{burst}"), definition));
    }
    let checked = all.into_iter().map(|(name, definition)| {
        definition.check()?;
        Ok((LimitId::new(name)?, Arc::new(definition)))
    });
    checked.collect()
}

impl Lent {
    /// Of a pool's shares.
    pub(crate) fn new(pool: &PoolName, shares: &Shares, lending: Lending) -> Result<Self, NotLent> {
        let of = |kind: &str, whose: String, share: &TenantShare| {
            definitions(&format!("pool/{pool}/{kind}"), share).map_err(|reason| NotLent { whose, reason })
        };
        let named = shares
            .named()
            .map(|(tenant, share)| Ok((tenant.clone(), of("tenant", format!("tenant `{tenant}`"), share)?)));
        let capabilities = shares.capabilities().map(|(capability, share)| {
            Ok((capability.clone(), of("capability", format!("capability `{capability}`"), share)?))
        });
        let nobody = TenantId::new(pool.as_str()).map_err(|error| NotLent {
            whose: "capabilities".to_owned(),
            reason: BadLimit { reason: error.to_string() },
        })?;
        Ok(Self {
            lending,
            nobody,
            tenants: named.collect::<Result<_, _>>()?,
            others: of("tenant", "other tenants".to_owned(), shares.others())?,
            capabilities: capabilities.collect::<Result<_, _>>()?,
        })
    }

    /// What one lease takes of whose limits.
    pub(crate) fn uses(&self, subject: &Subject) -> impl Iterator<Item = LimitUse> {
        let (definitions, key): (&[_], &str) = match subject {
            Subject::Tenant(tenant) => (self.tenants.get(tenant).unwrap_or(&self.others), tenant.as_str()),
            Subject::Capability(name) => (self.capabilities.get(name).map_or(&[], Vec::as_slice), name.as_str()),
        };
        definitions.iter().map(move |(limit, definition)| LimitUse {
            limit: limit.clone(),
            definition: Arc::clone(definition),
            key: key.into(),
            amount: Amount::ONE,
            member: None,
        })
    }

    /// Whose tenant's keys those of a subject count as.
    pub(crate) const fn tenant_of<'a>(&'a self, subject: &'a Subject) -> &'a TenantId {
        match subject {
            Subject::Tenant(tenant) => tenant,
            Subject::Capability(_) => &self.nobody,
        }
    }
}

/// Whose a key of a limit of this pool is; nobody's when it is another's.
pub(crate) fn subject_of(pool: &PoolName, limit: &LimitId, key: &str) -> Option<Subject> {
    let rest = limit.as_str().strip_prefix("pool/")?.strip_prefix(pool.as_str())?.strip_prefix('/')?;
    match rest.split_once('/')?.0 {
        "tenant" => TenantId::new(key).ok().map(Subject::Tenant),
        "capability" => Capability::new(key).ok().map(Subject::Capability),
        _ => None,
    }
}

/// Where a request goes.
fn partition(topics: &Topics, lending: &Lending, request: &LimitRequest) -> (String, TopicPartition) {
    let (limit, key) = request.about();
    let key = [limit.as_str(), "\n", key].concat();
    let number = partition_of(key.as_bytes(), lending.partitions);
    (key, topics.limit_requests.partition(number))
}

/// A request to the limits stage, in the partition of its limit and key.
pub(crate) fn send(topics: &Topics, lending: &Lending, request: &LimitRequest, outbox: &mut Outbox) {
    // A record of plain strings and numbers can always be written.
    let Ok(value) = serde_json::to_vec(request) else { return };
    let (key, to) = partition(topics, lending, request);
    outbox.send(Message {
        ordinal: 0,
        delivery: Delivery::Fenced,
        to,
        key: Some(key.into()),
        headers: Headers::new(),
        value: Some(value.into()),
    });
}
