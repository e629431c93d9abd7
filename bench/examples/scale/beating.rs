//! What the heartbeats of many workers cost through spine, runner and client.
//!
//! A scheduler's shard as a node runs it, and one sender that speaks for all workers: each says Hello, and once every one of them is
//! welcomed, each sends a heartbeat every quarter of a lease, spread evenly. Processor time is this process's; the sender's own part, with
//! its client's, is measured afterwards without the shard, at the same pace, and told beside it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tidegate_node::config::Settings;
use tidegate_protocol::address::{Offset, TopicPartition};
use tidegate_protocol::ids::{PoolName, SenderId};
use tidegate_protocol::topics::Topic;
use tidegate_scheduler::Tuning;
use tidegate_spine::{NewRecord, Producer, ProducerOptions, Spine};
use tidegate_stage::{ShardEvent, Watch};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::cpu_seconds;
use crate::heartbeats::beat;
use crate::takeover::{Ground, PATIENCE};

/// How long each side is measured.
const MEASURED: Duration = Duration::from_secs(20);
/// Heartbeats that are due are sent so often.
const TICK: Duration = Duration::from_millis(5);

/// What the shard tells.
#[derive(Default)]
struct Seen {
    epoch: AtomicU64,
    positions: Mutex<HashMap<TopicPartition, Offset>>,
}

impl Watch for Seen {
    fn event(&self, _shard: &SenderId, event: &ShardEvent) {
        if let ShardEvent::Owning { epoch, .. } = event {
            self.epoch.store(*epoch, Ordering::Release);
        }
        if let ShardEvent::Positions(reached) = event {
            let reached = reached.iter().map(|reached| (reached.input.clone(), reached.position));
            self.positions.lock().unwrap_or_else(PoisonError::into_inner).extend(reached);
        }
    }
}

impl Seen {
    fn position(&self, of: &TopicPartition) -> Offset {
        self.positions.lock().unwrap_or_else(PoisonError::into_inner).get(of).copied().unwrap_or(0)
    }
}

/// All workers.
struct Workers {
    many: u64,
    producer: Box<dyn Producer>,
    reports: TopicPartition,
}

impl Workers {
    /// Heartbeats of the workers `from..to`, counted on over rounds.
    async fn say(&mut self, from: u64, to: u64, epoch: u64) -> anyhow::Result<()> {
        let mut landings = Vec::new();
        // A worker's report is a record and an append of its own.
        for n in from..to {
            let value = beat(n % self.many, epoch, (n % 100) as f64 / 100.0)?;
            let record = NewRecord { value: Some(value), ..NewRecord::default() };
            landings.push(self.producer.append(&self.reports, vec![record]));
        }
        for landing in landings {
            landing.await?;
        }
        Ok(())
    }

    /// Heartbeats at their pace; returns how many, and the processor's share of it.
    async fn beat(&mut self, epoch: u64, every: Duration) -> anyhow::Result<(u64, f64)> {
        let (begin, cpu, mut said) = (Instant::now(), cpu_seconds(), 0);
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while begin.elapsed() < MEASURED {
            ticks.tick().await;
            let due = (begin.elapsed().as_secs_f64() / every.as_secs_f64() * self.many as f64) as u64;
            self.say(said, due, epoch).await?;
            said = due;
        }
        Ok((said, (cpu_seconds() - cpu) / begin.elapsed().as_secs_f64()))
    }
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let begin = Instant::now();
    while !holds().await? {
        ensure!(begin.elapsed() < PATIENCE, "{what} took more than {} s", PATIENCE.as_secs());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

/// Measures on the spine of `url`, whose topics with the prefix `scale.` it makes and deletes.
pub(crate) async fn measure(url: &str, workers: u64) -> anyhow::Result<()> {
    ensure!(workers > 0, "heartbeats want a worker");
    let ground = Ground::on(url, Settings::default()).await?;
    let measured = on(&ground, workers).await;
    for topic in ground.spine.list("scale.").await? {
        ground.spine.delete(&topic).await?;
    }
    measured
}

async fn on(ground: &Ground, workers: u64) -> anyhow::Result<()> {
    ensure!(
        ground.spine.list("scale.").await?.is_empty(),
        "there are topics named `scale.…` already; delete them first"
    );
    ground.topics().await?;
    let pool = PoolName::new("p")?;
    let (reports, lane) = (Topic::Reports(pool.clone()).name("scale.")?, Topic::Work(pool).name("scale.")?);
    let (reports, lane) = (reports.partition(0), lane.partition(0));
    let options = ProducerOptions { name: "workers".into(), ..ProducerOptions::default() };
    let producer = ground.spine.producer(options).await?;
    let mut workers = Workers { many: workers, producer, reports: reports.clone() };

    let seen = Arc::new(Seen::default());
    let (owner, stop) = ground.owner(seen.clone())?;
    until("taking the shard over", async || Ok(seen.epoch.load(Ordering::Acquire) > 0)).await?;
    let epoch = seen.epoch.load(Ordering::Acquire);
    let start = next(&*ground.spine, &lane).await?;
    workers.say(0, workers.many, 0).await?;
    let welcomed = start + workers.many;
    until("welcoming them all", async || Ok(next(&*ground.spine, &lane).await? >= welcomed)).await?;

    let every = Duration::from_millis(Tuning::default().lease_ms / 4);
    let (said, with) = workers.beat(epoch, every).await?;
    let end = next(&*ground.spine, &reports).await?;
    // Nothing was left behind: the shard has them all within two of its writings of positions.
    until("hearing them all", async || Ok(seen.position(&reports) >= end)).await?;
    drop(stop);
    owner.await.context("the shard's owner panicked")?;
    let (_, without) = workers.beat(epoch, every).await?;
    println!(
        "heartbeats: {} workers, one every {} s, {said} in {} s through {}: {:.1} % of a core with shard, runner, client and the workers' \
         sender, {:.1} % the sender alone",
        workers.many,
        every.as_secs_f64(),
        MEASURED.as_secs(),
        ground.spine.url(),
        with * 100.0,
        without * 100.0
    );
    Ok(())
}

async fn next(spine: &dyn Spine, of: &TopicPartition) -> anyhow::Result<Offset> {
    let ends = spine.ends(std::slice::from_ref(of)).await?;
    Ok(ends.first().context("a partition has no end")?.end)
}
