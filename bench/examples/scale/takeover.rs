//! The takeover of a shard with its backlog, by the real runner on the embedded spine.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use futures::FutureExt as _;
use futures::channel::{mpsc, oneshot};
use tidegate_keys::{Keyring, SecretKey};
use tidegate_node::clock::TokioClock;
use tidegate_node::config::{Settings, SpineConfig};
use tidegate_protocol::ids::{PoolName, SenderId, WorkerId};
use tidegate_protocol::job::SourcePosition;
use tidegate_protocol::topics::{Kind, Topic};
use tidegate_scheduler::{Pool, Scheduler, Tuning};
use tidegate_spine::{Cleanup, ProducerOptions, Spine, TopicSpec};
use tidegate_stage::{Clock, Pace, Rules, Run, ShardEvent, Watch};
use tidegate_worker::handler::Ending;
use tidegate_worker::{Context, Worker};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::seed::{fence, group, keys, layout};
use crate::{cpu_seconds, resident};

/// Jobs that run when the owner is lost.
pub(crate) const RUNNING: u64 = 1_000;
/// How long jobs end after the takeover, before the ledger is drawn; a backlog of [`DRAINED`] is worked off.
pub(crate) const GOES_ON: Duration = Duration::from_secs(10);
/// At most so many jobs are all waited for.
pub(crate) const DRAINED: u64 = 200_000;
/// What anything here may take at most.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Hears nothing.
pub(crate) struct Silent;

impl Watch for Silent {
    fn event(&self, _shard: &SenderId, _event: &ShardEvent) {}
}

/// How often each job started, and how often its result was accepted.
#[derive(Default)]
struct Ledger {
    jobs: Mutex<BTreeMap<SourcePosition, (u32, u32)>>,
    started: AtomicU64,
    accepted: AtomicU64,
}

impl Ledger {
    fn note(&self, source: &SourcePosition, change: impl FnOnce(&mut (u32, u32))) {
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        change(jobs.entry(source.clone()).or_default());
    }
}

/// Waits, looking every millisecond.
async fn until(what: &str, holds: impl Fn() -> bool) -> anyhow::Result<()> {
    let begin = Instant::now();
    while !holds() {
        ensure!(begin.elapsed() < PATIENCE, "{what} took more than {} s", PATIENCE.as_secs());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}

pub(crate) struct Ground {
    pub(crate) spine: Arc<dyn Spine>,
    pool: Arc<Pool>,
    pub(crate) keys: (Arc<SecretKey>, Arc<Keyring>),
}

impl Ground {
    pub(crate) async fn open(folder: &std::path::Path) -> anyhow::Result<Self> {
        Self::on(&format!("embedded:{}", folder.display()), Settings::default()).await
    }

    /// On any spine.
    pub(crate) async fn on(url: &str, settings: Settings) -> anyhow::Result<Self> {
        let spine = tidegate_node::spine::open(&SpineConfig { url: url.to_owned(), settings }).await?;
        Ok(Self { spine, pool: Arc::new(Pool::new(layout(1)?, &Tuning::default())?), keys: keys()? })
    }

    /// A new owner; it lives until it is aborted.
    pub(crate) fn owner(&self, watch: Arc<dyn Watch>) -> anyhow::Result<(JoinHandle<()>, oneshot::Sender<()>)> {
        let pace = Pace { snapshot_facts: 500, ..Pace::default() };
        let (pool, clock): (_, Arc<dyn Clock>) = (Arc::clone(&self.pool), Arc::new(TokioClock::start()));
        let (stop, stopped) = oneshot::channel();
        let run = Run {
            spec: self.pool.shard_spec(0, "scale", pace)?,
            spine: Arc::clone(&self.spine),
            clock,
            make: Box::new(move || Scheduler::new(Arc::clone(&pool), 0)),
            signals: mpsc::unbounded().1,
            stop: stopped,
            signer: self.keys.0.clone(),
            trust: self.keys.1.clone(),
            watch,
            rules: Rules::default(),
        };
        Ok((tokio::spawn(run.run()), stop))
    }

    pub(crate) async fn topics(&self) -> anyhow::Result<()> {
        let pool = || PoolName::new("p");
        let all = [
            Topic::Approved(pool()?),
            Topic::Overflow(pool()?),
            Topic::Work(pool()?),
            Topic::Reports(pool()?),
            Topic::Withdrawals(pool()?),
            Topic::PoolCommands(pool()?),
            Topic::Leases(pool()?),
            Topic::Finished,
            Topic::Dead,
            Topic::Snapshots,
            Topic::Shards,
        ];
        for topic in all {
            let keyed = topic.row().kind == Kind::Keyed;
            let spec = TopicSpec {
                name: topic.name("scale.")?,
                partitions: 1,
                cleanup: if keyed { Cleanup::Keyed } else { Cleanup::Log { retention_ms: None } },
                max_record_bytes: 1 << 20,
                broker_time: true,
                replication: None,
            };
            self.spine.create(&spec).await?;
        }
        Ok(())
    }

    /// The backlog, as a kernel sends it.
    pub(crate) async fn seed(&self, jobs: u64) -> anyhow::Result<()> {
        let to = Topic::Approved(PoolName::new("p")?).name("scale.")?.partition(0);
        let mut producer =
            self.spine.producer(ProducerOptions { name: "kernel".into(), ..ProducerOptions::default() }).await?;
        producer.append(&to, vec![fence(&self.keys.0, &to)?]).await?;
        let (mut first, mut last) = (0, None);
        while first < jobs {
            let (records, many) = group(&self.keys.0, &to, first, jobs)?;
            first += many;
            let landing = producer.append(&to, records);
            // Some on their way at once, none left behind.
            if let Some(before) = last.replace(landing) {
                before.await?;
            }
        }
        if let Some(landing) = last {
            landing.await?;
        }
        Ok(())
    }
}

pub(crate) async fn measure(jobs: u64) -> anyhow::Result<()> {
    ensure!(jobs > 2 * RUNNING, "a takeover wants more than {} jobs", 2 * RUNNING);
    let folder = std::env::temp_dir().join(format!("tidegate-scale-{}", std::process::id()));
    let measured = on(jobs, &folder).await;
    std::fs::remove_dir_all(&folder).context("the folder of the run could not be removed")?;
    measured
}

async fn on(jobs: u64, folder: &std::path::Path) -> anyhow::Result<()> {
    let ground = Ground::open(folder).await?;
    ground.topics().await?;
    let begin = Instant::now();
    ground.seed(jobs).await?;
    println!("takeover: {jobs} jobs with tickets appended in {:.1} s", begin.elapsed().as_secs_f64());

    let (ledger, may_end) = (Arc::new(Ledger::default()), Arc::new(Semaphore::new(0)));
    let before = resident();
    let (owner, _stop) = ground.owner(Arc::new(Silent))?;
    let worker = worker(&ground, &ledger, &may_end)?;
    let (leave, left) = oneshot::channel::<()>();
    let (spine, prefix) = (Arc::clone(&ground.spine), "scale.".to_owned());
    let at_work = tokio::spawn(async move { worker.run(spine, &prefix, left.map(|_| ())).await });
    until("starting the first jobs", || ledger.started.load(Ordering::Relaxed) == RUNNING).await?;
    let snapshots = Topic::Snapshots.name("scale.")?;
    let begin = Instant::now();
    while tidegate_spine::keyed::read_whole(&*ground.spine, &snapshots).await?.is_empty() {
        ensure!(begin.elapsed() < PATIENCE, "no snapshot was written");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let grown = resident().saturating_sub(before);
    println!(
        "takeover: the shard, its worker and {RUNNING} running jobs hold {} MiB more; the backlog is in the log",
        grown >> 20
    );

    owner.abort();
    drop(owner.await);
    let lost = Instant::now();
    may_end.add_permits(1);
    let (owner, stop) = ground.owner(Arc::new(Silent))?;
    until("the next dispatch", || ledger.started.load(Ordering::Relaxed) > RUNNING).await?;
    println!("takeover: next job started {:.0} ms after the new owner began", lost.elapsed().as_secs_f64() * 1e3);

    let (begin, cpu) = (Instant::now(), cpu_seconds());
    may_end.add_permits(Semaphore::MAX_PERMITS - 10);
    if jobs <= DRAINED {
        until("working off the backlog", || ledger.accepted.load(Ordering::Relaxed) == jobs).await?;
    } else {
        tokio::time::sleep(GOES_ON).await;
    }
    let accepted = ledger.accepted.load(Ordering::Relaxed);
    println!(
        "takeover: then {:.0} jobs/s of the backlog, {:.0} us CPU each (scheduler, worker and spine)",
        accepted as f64 / begin.elapsed().as_secs_f64(),
        (cpu_seconds() - cpu) * 1e6 / accepted.max(1) as f64
    );
    drop(leave);
    let _drained = at_work.await??;
    drop(stop);
    owner.await?;
    settle(&ledger)
}

/// Draws the ledger.
fn settle(ledger: &Ledger) -> anyhow::Result<()> {
    let noted = ledger.jobs.lock().unwrap_or_else(PoisonError::into_inner);
    let ended = noted.values().filter(|(_, accepted)| *accepted > 0).count();
    let twice = noted.values().filter(|(started, accepted)| *started > 1 || *accepted > 1).count();
    let unsettled = noted.values().filter(|(_, accepted)| *accepted == 0).count();
    println!(
        "takeover: ledger: {ended} jobs ended, {unsettled} of those that started did not, {twice} started or ended twice"
    );
    ensure!(twice == 0 && unsettled == 0, "the ledger does not balance");
    Ok(())
}

fn worker(ground: &Ground, ledger: &Arc<Ledger>, may_end: &Arc<Semaphore>) -> anyhow::Result<Worker> {
    let (noting, ending) = (Arc::clone(ledger), Arc::clone(may_end));
    let handler = move |context: Context| {
        let (ledger, may_end) = (Arc::clone(&noting), Arc::clone(&ending));
        async move {
            ledger.note(&context.key().source, |(started, _)| *started += 1);
            ledger.started.fetch_add(1, Ordering::Relaxed);
            if let Ok(permit) = may_end.acquire().await {
                permit.forget();
            }
            Ending::Succeeded(None)
        }
    };
    let settled = Arc::clone(ledger);
    Ok(Worker::builder(PoolName::new("p")?, WorkerId::new("scale")?, ground.keys.1.clone())
        .capability("noop", handler)
        .concurrency(u32::try_from(RUNNING)?)
        .on_settled(move |job, accepted, _| {
            if accepted {
                settled.note(&job.source, |(_, accepted)| *accepted += 1);
                settled.accepted.fetch_add(1, Ordering::Relaxed);
            }
        })
        .build()?)
}
