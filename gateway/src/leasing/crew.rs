//! The workers of one key that ask one pool for the same, with the same labels: one worker towards the pool.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tidegate_protocol::ids::{BadName, Capability, KeyId, PoolName, WorkerId};
use tidegate_worker::handler::Ending;
use tidegate_worker::session::JobKey;
use tidegate_worker::{Context, Demand, Settings, Worker};
use tokio::sync::futures::Notified;
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::desk::{Desk, Lease, LeaseId, Take, token_of};
use super::hold::Holding;
use super::key::WorkerKey;
use super::{CREW, Place, Terms};
use crate::metrics;

/// A crew without requests and jobs leaves its pool after a lease, as long as a worker may be silent there, or this if that is longer; one
/// that is to leave always after this. Longer than [`super::LEAVING`], so that workers that ask on do not have it join again each time.
const UNUSED: Duration = Duration::from_secs(2);
/// Of other crews nothing tells that their key may have more again, but what frees a place.
const LOOK: Duration = Duration::from_secs(30);
/// Most jobs of a crew, as of any worker; at least one for each shard of the pool.
const MOST: usize = 1_000;

/// Which workers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct CrewName {
    pub(crate) key: KeyId,
    pub(crate) pool: PoolName,
    pub(crate) capabilities: BTreeSet<Capability>,
    pub(crate) labels: BTreeMap<String, String>,
}

/// A job, leased to whoever asked.
#[derive(Debug, Clone)]
pub struct Taken {
    /// By this id the worker speaks of it.
    pub id: LeaseId,
    /// The fencing token, which every word about it must carry.
    pub token: String,
    /// The job.
    pub context: Context,
    /// How long it lasts.
    pub terms: Terms,
}

#[derive(Debug, Default)]
struct Board {
    /// Requests that wait, and how many jobs they want.
    requests: usize,
    wanted: usize,
    shelf: VecDeque<(Arc<Lease>, Context)>,
    /// Jobs that came and lie on the shelf no longer.
    passed: u64,
    /// Jobs here: on the shelf, leased, or with their end on its way.
    jobs: usize,
    over: Option<Over>,
    idle_since: Option<Instant>,
}

/// Why a crew gives no jobs any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Over {
    /// Nobody asked it, or this process ends: whoever asks now asks another.
    Unused,
    /// It cannot work.
    Broken(String),
}

/// See the module.
#[derive(Debug)]
pub struct Crew {
    pub(crate) name: CrewName,
    pub(super) key: WorkerKey,
    /// Its name in the pool.
    pub(super) worker: WorkerId,
    terms: Terms,
    desk: Arc<Desk>,
    demand: Demand,
    board: Mutex<Board>,
    arrived: Notify,
    /// Told when it has become idle.
    idled: Notify,
    task: Mutex<Option<JoinHandle<()>>>,
}

/// A request that waits.
pub(super) struct Waits<'a> {
    crew: &'a Crew,
    /// Jobs it still wants.
    left: usize,
}

impl Waits<'_> {
    /// Leases what is on the shelf, oldest first, as far as the key may have more. Once it got something it wants no more.
    pub(super) fn take(&mut self, by: &WorkerId) -> Vec<Taken> {
        let now = Instant::now();
        let crew = self.crew;
        let mut board = crew.board();
        let mut taken = Vec::new();
        while taken.len() < self.left
            && let Some((lease, context)) = board.shelf.pop_front()
        {
            match crew.desk.take(&lease, crew.key.max_leases, now) {
                Take::Leased => {
                    tracing::debug!(pool = %crew.name.pool, worker = %by, job = %context.key(), "leased over HTTP");
                    let token = token_of(context.key());
                    taken.push(Taken { id: lease.id.clone(), token, context, terms: crew.terms });
                }
                Take::Gone => {}
                Take::Full => {
                    board.shelf.push_front((lease, context));
                    break;
                }
            }
            board.passed += 1;
        }
        if !taken.is_empty() {
            board.wanted = board.wanted.saturating_sub(std::mem::take(&mut self.left));
            crew.ask(&mut board);
            if !board.shelf.is_empty() {
                // Several came at once, or room for several: one is told of it after the other.
                crew.arrived.notify_one();
            }
        }
        taken
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        let mut board = self.crew.board();
        board.requests = board.requests.saturating_sub(1);
        board.wanted = board.wanted.saturating_sub(self.left);
        self.crew.ask(&mut board);
    }
}

impl Crew {
    pub(super) fn new(worker: WorkerId, name: CrewName, key: WorkerKey, terms: Terms, desk: Arc<Desk>) -> Self {
        Self {
            worker,
            name,
            key,
            terms,
            desk,
            demand: Demand::default(),
            board: Mutex::default(),
            arrived: Notify::new(),
            idled: Notify::new(),
            task: Mutex::default(),
        }
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the scheduler for what is wanted, as far as the key may have more.
    fn ask(&self, board: &mut Board) {
        let wanted = self.desk.room_for(board.wanted, &self.name.key, self.key.max_leases);
        self.demand.set_total(board.passed + wanted as u64);
        let idle = board.requests == 0 && board.jobs == 0;
        if idle && board.idle_since.is_none() {
            self.idled.notify_one();
        }
        board.idle_since = idle.then(|| board.idle_since.unwrap_or_else(Instant::now));
    }

    /// A request for so many jobs waits until this is dropped.
    pub(super) fn wait_for(&self, most: usize) -> Waits<'_> {
        let mut board = self.board();
        board.requests += 1;
        board.wanted += most;
        self.ask(&mut board);
        Waits { crew: self, left: most }
    }

    /// Resolves when a job came since it was made.
    pub(super) fn arrived(&self) -> Notified<'_> {
        self.arrived.notified()
    }

    pub(super) fn waiting(&self) -> usize {
        self.board().requests
    }

    pub(super) fn over(&self) -> Option<Over> {
        self.board().over.clone()
    }

    pub(super) fn shelve(
        &self,
        context: &Context,
    ) -> Result<(Arc<Lease>, oneshot::Receiver<Ending>), getrandom::Error> {
        let times = (self.terms.shelf(), self.terms.lease);
        let (lease, ended) = self.desk.shelve((&self.name.pool, &self.worker, &self.name.key), context, times)?;
        let mut board = self.board();
        board.shelf.push_back((Arc::clone(&lease), context.clone()));
        board.jobs += 1;
        self.ask(&mut board);
        drop(board);
        self.arrived.notify_one();
        Ok((lease, ended))
    }

    pub(super) fn gone(&self, lease: &Arc<Lease>) {
        // Before asking: it makes room.
        self.desk.ended(lease);
        let mut board = self.board();
        let shelved = board.shelf.len();
        board.shelf.retain(|(shelved, _)| !Arc::ptr_eq(shelved, lease));
        board.passed += (shelved - board.shelf.len()) as u64;
        board.jobs = board.jobs.saturating_sub(1);
        self.ask(&mut board);
    }

    /// A job came that never lay on the shelf.
    pub(super) fn passed_by(&self) {
        let mut board = self.board();
        board.passed += 1;
        self.ask(&mut board);
    }

    pub(super) fn counts(&self, end: &'static str) {
        let pool = self.name.pool.as_str().to_owned();
        ::metrics::counter!(metrics::LEASES, "pool" => pool, "end" => end).increment(1);
    }

    pub(super) fn runs_in(&self, task: JoinHandle<()>) {
        *self.task.lock().unwrap_or_else(PoisonError::into_inner) = Some(task);
    }

    /// Waits until it has ended.
    pub(super) async fn ended(&self) {
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task {
            let _panicked = task.await;
        }
    }

    /// Works until nobody asks any more, or until `closed`; then everything that is here goes back.
    pub(super) async fn work(self: &Arc<Self>, place: &Place, closed: watch::Receiver<bool>) {
        let ended = match self.worker(place) {
            Ok(worker) => {
                let worked = worker.run(Arc::clone(&place.spine), &place.prefix, self.unused(place, closed)).await;
                worked.map(|_| ()).map_err(|error| format!("{error}: {}", cause(&error)))
            }
            Err(reason) => Err(reason),
        };
        let over = match ended {
            Ok(()) => Over::Unused,
            Err(reason) => {
                tracing::error!(pool = %self.name.pool, key = %self.name.key, reason, "workers over HTTP are cut off from their pool");
                Over::Broken(reason)
            }
        };
        self.board().over = Some(over);
        self.arrived.notify_waiters();
    }

    /// The key may have more again, of which other crews of it may have had some.
    fn look_again(&self) {
        let mut board = self.board();
        self.ask(&mut board);
        let shelved = !board.shelf.is_empty();
        drop(board);
        if shelved {
            self.arrived.notify_one();
        }
    }

    /// How long it may yet be idle; `None` while it is not.
    fn idle_for(&self, place: &Place) -> Option<Duration> {
        let since = self.board().idle_since?;
        let leaves = place.view.fleet(&self.name.pool, |pool| pool.is_to_leave(&self.worker));
        let most = if leaves { UNUSED } else { self.terms.lease.max(UNUSED) };
        Some(most.saturating_sub(since.elapsed()))
    }

    /// Resolves when nobody has asked for so long that it is to leave, or with `closed`.
    async fn unused(self: &Arc<Self>, place: &Place, mut closed: watch::Receiver<bool>) {
        let room = self.desk.room(&self.name.key);
        let unused = async {
            loop {
                // Before looking: what frees a place in between wakes it.
                let freed = room.notified();
                self.look_again();
                let left = self.idle_for(place);
                if left.is_some_and(|left| left.is_zero()) {
                    return;
                }
                tokio::select! {
                    () = freed => {}
                    () = self.idled.notified() => {}
                    () = tokio::time::sleep(left.map_or(LOOK, |left| left.min(LOOK))) => {}
                }
            }
        };
        tokio::select! {
            () = unused => {}
            () = until(&mut closed) => {}
        }
    }

    fn worker(self: &Arc<Self>, place: &Place) -> Result<Worker, String> {
        let settings = Settings {
            concurrency: slots(self.key.max_leases, self.terms.shards),
            // What runs elsewhere cannot reach this process any more: it goes back at once.
            drain_limit: Duration::ZERO,
            settle_limit: Duration::from_secs(2),
            // A worker hears that its job is to stop by its next heartbeat alone, which may be a good part of a lease away.
            cancel_grace: Settings::default().cancel_grace.max(self.terms.lease),
            ..Settings::default()
        };
        let settling = Arc::clone(self);
        let mut builder = Worker::builder(self.name.pool.clone(), self.worker.clone(), Arc::clone(&place.trust))
            .settings(settings)
            .enforces(self.key.enforces.iter().copied())
            .tenants(self.key.tenants.clone())
            .demand(self.demand.clone())
            .payloads(place.payloads.clone())
            .stays()
            .on_settled(move |job: &JobKey, accepted, reason: &str| {
                settling.desk.settled(&settling.worker, job, accepted, reason);
            });
        for (name, value) in &self.name.labels {
            builder = builder.label(name, value);
        }
        for capability in &self.name.capabilities {
            let crew = Arc::clone(self);
            builder = builder.capability(capability.as_str(), Holding(crew));
        }
        builder.build().map_err(|error| error.to_string())
    }
}

/// Slots towards a pool of so many shards: as many for each as the key may have leases, so that its jobs are served wherever they
/// wait, without slots having to move there first. What is asked for, and the desk, keep to the key's bound.
fn slots(max_leases: usize, shards: u32) -> u32 {
    let most = u32::try_from(MOST).unwrap_or(1).max(shards);
    u32::try_from(max_leases).unwrap_or(most).saturating_mul(shards).clamp(shards.max(1), most)
}

/// The same for the same crew over restarts, and another for every other.
pub(super) fn name_of(process: &str, name: &CrewName) -> Result<WorkerId, BadName> {
    let mut hash = Sha256::new();
    for capability in &name.capabilities {
        hash.update(capability.as_str());
        hash.update([0]);
    }
    // Those without labels keep the name they had before there were any.
    for (name, value) in &name.labels {
        for text in [name, value] {
            hash.update([0]);
            hash.update(text.as_bytes());
        }
    }
    let digest: String = hash.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    WorkerId::new(format!("{CREW}{process}:{}:{digest}", name.key))
}

/// The key of the crew that a worker is; of no other worker.
pub(super) fn key_of(worker: &WorkerId) -> Option<&str> {
    let (of_process, _digest) = worker.as_str().strip_prefix(CREW)?.rsplit_once(':')?;
    of_process.rsplit_once(':').map(|(_, key)| key)
}

/// Resolves when the process ends.
pub(super) async fn until(closed: &mut watch::Receiver<bool>) {
    // An error means that whoever could say so is gone.
    let _gone = closed.wait_for(|closed| *closed).await;
}

fn cause(error: &dyn std::error::Error) -> String {
    error.source().map(ToString::to_string).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_with_other_labels_are_another_worker_and_those_without_are_the_one_they_were() {
        let named = |labels: &[(&str, &str)]| {
            let name = CrewName {
                key: KeyId::new("k").unwrap(),
                pool: PoolName::new("p").unwrap(),
                capabilities: ["dig", "pay"].iter().map(|name| Capability::new(name).unwrap()).collect(),
                labels: labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            };
            name_of("h:1", &name).unwrap().to_string()
        };
        assert_eq!(named(&[]), "http:h:1:k:921849d1a8dd");
        let all = [named(&[]), named(&[("a", "b")]), named(&[("a", "c")]), named(&[("ab", "")]), named(&[("", "ab")])];
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len(), "{all:?}");
    }

    #[test]
    fn every_shard_has_a_slot_however_little_a_key_may_have() {
        assert_eq!([slots(1, 4), slots(8, 4), slots(1, 1), slots(0, 2), slots(5, 2_000)], [4, 32, 1, 2, 2_000]);
        assert_eq!([slots(1_000, 1), slots(100_000, 3), slots(usize::MAX, 4)], [1_000, 1_000, 1_000]);
    }
}
