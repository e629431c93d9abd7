//! A pool of two shards whose tenants and capabilities are limited, in a process that does everything; then another one that is
//! added while it runs.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod dev_node;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dev_node::{PATIENCE, ready, start};
use serde_json::json;
use tidegate_node::config::PoolWritten;
use tidegate_node::{Config, DevNode, Written};
use tidegate_protocol::address::TopicName;
use tidegate_protocol::ids::{Capability, PoolName, TenantId, WorkerId};
use tidegate_scheduler::{CapabilityLimit, TenantShare};
use tidegate_spine::{Headers, NewRecord, ProducerOptions};
use tidegate_worker::handler::Ending;
use tidegate_worker::{Context, Worker};
use tokio::sync::Semaphore;

/// Leases of `acme` at once.
const MOST: usize = 3;
/// Leases that need `rare` at once.
const RARE: usize = 2;

fn pool(name: &str, capability: &str) -> PoolWritten {
    let mut pool = PoolWritten {
        name: name.into(),
        capabilities: vec![capability.into(), "rare".into()],
        shards: 2,
        buckets: 2,
        tenant_buckets: 2,
        lanes: 1,
        ..PoolWritten::default()
    };
    let share = TenantShare { max_leased: Some(3), ..TenantShare::default() };
    pool.scheduling.tenants.insert(TenantId::new("acme").unwrap(), share);
    let limit = CapabilityLimit { max_leased: Some(2), ..CapabilityLimit::default() };
    pool.scheduling.capabilities.insert(Capability::new("rare").unwrap(), limit);
    pool
}

/// What runs: names of jobs begin with what they are of, a tenant or `rare`.
#[derive(Default)]
struct Seen {
    running: BTreeSet<String>,
    most: BTreeMap<&'static str, usize>,
    ended: BTreeSet<String>,
}

impl Seen {
    fn of(&self, what: &str) -> usize {
        self.running.iter().filter(|id| id.starts_with(what)).count()
    }

    fn begins(&mut self, id: &str) {
        assert!(self.running.insert(id.to_owned()), "{id} runs twice at once");
        for what in ["acme", "rare"] {
            let now = self.of(what);
            let most = self.most.entry(what).or_default();
            *most = now.max(*most);
        }
    }
}

/// A worker with room for everything, whose jobs each wait for a permit.
fn worker(node: &DevNode, pool: &str, capability: &str, gate: &Arc<Semaphore>, seen: &Arc<Mutex<Seen>>) -> Worker {
    let handler = |gate: &Arc<Semaphore>, seen: &Arc<Mutex<Seen>>| {
        let (gate, seen) = (Arc::clone(gate), Arc::clone(seen));
        move |context: Context| {
            let (gate, seen) = (Arc::clone(&gate), Arc::clone(&seen));
            async move {
                let id = context.job().id.as_str().to_owned();
                seen.lock().unwrap().begins(&id);
                if let Ok(permit) = gate.acquire().await {
                    permit.forget();
                }
                let mut seen = seen.lock().unwrap();
                seen.running.remove(&id);
                seen.ended.insert(id);
                Ending::Succeeded(None)
            }
        }
    };
    Worker::builder(PoolName::new(pool).unwrap(), WorkerId::new(pool).unwrap(), node.keys().trust())
        .capability(capability, handler(gate, seen))
        .capability("rare", handler(gate, seen))
        .concurrency(32)
        .build()
        .unwrap()
}

async fn submit(node: &DevNode, (of, pool): (&str, &str), tenant: &str, capability: &str, many: usize) {
    let record = |n: usize| {
        let id = format!("{of}-{n}-{pool}");
        let job = json!({"id": id, "tenant": tenant, "topic": "job.x", "capability": capability, "payload": 1});
        NewRecord { key: None, value: Some(job.to_string().into()), headers: Headers::new() }
    };
    let mut producer = node.spine().producer(ProducerOptions::default()).await.unwrap();
    let to = TopicName::new("tidegate.jobs.raw").unwrap().partition(0);
    producer.append(&to, (0..many).map(record).collect()).await.unwrap();
}

async fn until(what: &str, seen: &Arc<Mutex<Seen>>, holds: impl Fn(&Seen) -> bool) {
    let wait = async {
        while !holds(&seen.lock().unwrap()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let late = |_| {
        let seen = seen.lock().unwrap();
        panic!("not in time: {what}; {:?} run, {} ended", seen.running, seen.ended.len())
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(late);
}

/// Twelve jobs of the limited tenant, eight of the limited capability, four of neither.
async fn burst(node: &mut DevNode, pool: &str, capability: &str) {
    let (gate, seen) = (Arc::new(Semaphore::new(0)), Arc::new(Mutex::new(Seen::default())));
    node.start_worker(worker(node, pool, capability, &gate, &seen));
    submit(node, ("acme", pool), "acme", capability, 12).await;
    submit(node, ("rare", pool), "globex", "rare", 8).await;
    submit(node, ("free", pool), "globex", capability, 4).await;
    let full = |seen: &Seen| (seen.of("acme"), seen.of("rare"), seen.of("free")) == (MOST, RARE, 4);
    until("as many as may run", &seen, full).await;
    gate.add_permits(24);
    until("the end of all", &seen, |seen| seen.ended.len() == 24).await;
    let seen = seen.lock().unwrap();
    assert_eq!(seen.most, BTreeMap::from([("acme", MOST), ("rare", RARE)]), "never more at once, over both shards");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_of_a_pool_hold_over_its_shards_and_nobody_else_waits_for_them() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = start(folder.path(), pool("a", "greet")).await;
    burst(&mut node, "a", "greet").await;
    // The limits lend to a pool that comes later, too.
    let mut first = pool("a", "greet");
    first.capabilities = vec!["greet".into()];
    first.scheduling.capabilities.clear();
    let pools = vec![first, pool("b", "part")];
    let config = Config::of(&Written { pools, ..node.config().written().clone() }).unwrap();
    node.reload(&config).await.unwrap();
    ready(&node).await;
    burst(&mut node, "b", "part").await;
    node.stop().await;
}
