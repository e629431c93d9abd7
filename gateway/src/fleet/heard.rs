//! What workers say of themselves. Nobody signs it: it is shown, and only of workers that the facts know.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;
use tidegate_protocol::ids::{PoolName, WorkerId};
use tidegate_spine::Record;

/// Most capabilities, tenants and labels of a worker that are kept, and bytes of each.
const MOST: (usize, usize) = (64, 128);

/// The latest of a worker to a shard.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Said {
    pub(super) incarnation: u64,
    pub(super) epoch: u64,
    pub(super) capabilities: Vec<String>,
    pub(super) tenants: Option<Vec<String>>,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) load: Option<f64>,
    pub(super) capacity: u32,
    pub(super) credit: u64,
    pub(super) draining: bool,
    /// When the broker took it, milliseconds since the Unix epoch.
    pub(super) heard_ms: i64,
}

/// Of all workers.
#[derive(Debug, Default)]
pub(super) struct Heard {
    pools: BTreeMap<PoolName, BTreeMap<WorkerId, BTreeMap<u32, Said>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Word {
    Hello(Own),
    Heartbeat(Own),
}

/// The fields of both that are shown; what a later version adds is passed over.
#[derive(Deserialize)]
struct Own {
    worker: WorkerId,
    incarnation: u64,
    #[serde(default)]
    epoch: u64,
    capabilities: Vec<String>,
    capacity: u32,
    #[serde(default)]
    credit: u64,
    #[serde(default)]
    draining: bool,
    #[serde(default)]
    tenants: Option<Vec<String>>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    load: Option<f64>,
    #[serde(default, rename = "running")]
    _running: IgnoredAny,
}

impl Heard {
    /// Takes a report, if it is one of these and `known` knows its worker.
    pub(super) fn take(&mut self, pool: &PoolName, shard: u32, record: &Record, known: impl FnOnce(&WorkerId) -> bool) {
        let value = record.value.as_deref().unwrap_or_default();
        // Most reports are results, with what jobs gave back: not looked into.
        if !(value.starts_with(b"{\"heartbeat\"") || value.starts_with(b"{\"hello\"")) {
            return;
        }
        let Ok(Word::Hello(own) | Word::Heartbeat(own)) = serde_json::from_slice::<Word>(value) else { return };
        if !known(&own.worker) {
            return;
        }
        let few = |list: Vec<String>| list.into_iter().take(MOST.0).map(short).collect::<Vec<_>>();
        let said = Said {
            incarnation: own.incarnation,
            epoch: own.epoch,
            capabilities: few(own.capabilities),
            tenants: own.tenants.map(few),
            labels: own.labels.into_iter().take(MOST.0).map(|(name, value)| (short(name), short(value))).collect(),
            load: own.load.filter(|load| load.is_finite()),
            capacity: own.capacity,
            credit: own.credit,
            draining: own.draining,
            heard_ms: record.timestamp_ms,
        };
        self.pools.entry(pool.clone()).or_default().entry(own.worker).or_default().insert(shard, said);
    }

    pub(super) fn of(&self, pool: &PoolName, worker: &WorkerId, shard: u32) -> Option<&Said> {
        self.pools.get(pool)?.get(worker)?.get(&shard)
    }

    /// Forgets workers that are known no longer.
    pub(super) fn retain(&mut self, known: impl Fn(&PoolName, &WorkerId) -> bool) {
        for (pool, workers) in &mut self.pools {
            workers.retain(|worker, _| known(pool, worker));
        }
    }
}

fn short(text: String) -> String {
    if text.len() <= MOST.1 { text } else { text.chars().take(MOST.1 / 4).collect() }
}
