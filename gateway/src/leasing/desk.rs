//! All leases of this process, by an id that nobody can guess, and what is said of them.
//!
//! Whatever the holder of another key says meets the same answer as an id that never was: there is no such lease (I9).

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tidegate_protocol::ids::{KeyId, PoolName, WorkerId};
use tidegate_worker::handler::Ending;
use tidegate_worker::session::JobKey;
use tidegate_worker::{Cancel, Context, Lent};
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::Instant;

use super::lease::{Beat, End, Over, Said, State};

/// Ended leases that are remembered, over all keys: beyond it the key that has most of them loses its oldest, so that none
/// can push out what others may still be asked about.
const REMEMBERED: usize = 20_000;

/// A lease's id: 128 random bits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(String);

impl LeaseId {
    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What became of a report: whether it counts, and why not.
type Settled = Option<(bool, String)>;

/// One job here.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(crate) id: LeaseId,
    pub(super) pool: PoolName,
    /// Whose slot it is.
    pub(super) crew: WorkerId,
    key: KeyId,
    job: JobKey,
    term: Duration,
    state: Mutex<State>,
    progress: Mutex<Option<Context>>,
    /// Its slot, while it waits for a job that it spawned.
    lent: Mutex<Option<Lent>>,
    end: Mutex<Option<oneshot::Sender<Ending>>>,
    settled: watch::Sender<Settled>,
    /// Whether it counts towards what its key may have at once. Changes under the desk's lock alone.
    counts: AtomicBool,
}

/// What a request gets of a job on the shelf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Take {
    /// It is the worker's now.
    Leased,
    /// Its key has as many leases as it may have: it stays on the shelf.
    Full,
    /// It is on the shelf no longer.
    Gone,
}

/// Why nothing was done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotDone {
    /// No lease of this key has that id.
    #[error("no lease of this key has this id; it ended long ago, or the gateway began anew")]
    NoSuchLease,
    /// The token is not the lease's, or its lease is over.
    #[error("it does not count: {why}")]
    Stale {
        /// Why.
        why: String,
    },
    /// Another end was reported before.
    #[error("the end of this lease was reported before, and otherwise")]
    AlreadyEnded,
}

/// What became of a report of a job's end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reported {
    /// It counts.
    Accepted,
    /// The scheduler refused it, with its word.
    Refused(String),
    /// The scheduler has not said yet.
    Pending,
}

/// A sign of progress: what is absent is not said.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sign {
    /// 0 to 1.
    pub fraction: Option<f64>,
    /// A line for people.
    pub note: Option<String>,
    /// A piece of the output.
    pub partial: Option<String>,
    /// Whether it waits for a job that it spawned: its slot is lent meanwhile.
    pub waits: Option<bool>,
}

/// How a lease stands, as its worker is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Go on, stop, or nothing to be done any more.
    pub beat: Beat,
    /// It lasts so long from now, while it is held.
    pub term: Duration,
    /// Its worker is to leave: to end what it has, and to ask for nothing more.
    pub drain: bool,
    /// None of the gateway's own reports landed for a full lease: the job may have been given to another, who may run it too.
    pub in_doubt: bool,
}

impl Lease {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn cancel(&self, why: Cancel) -> bool {
        self.state().cancel(why.sentence())
    }

    pub(crate) fn lose(&self, why: &'static str) {
        self.state().lose(why);
    }

    pub(crate) fn until(&self) -> Option<Instant> {
        self.state().until()
    }

    pub(crate) fn over(&self, now: Instant) -> Over {
        self.state().over(now)
    }

    /// Ends it in that way, unless it ended before.
    fn say(&self, ending: Ending, said: Said) -> Result<(), NotDone> {
        let stale = |why: &str| NotDone::Stale { why: why.to_owned() };
        let mut state = self.state();
        match state.end(said) {
            End::First => {
                let to = self.end.lock().unwrap_or_else(PoisonError::into_inner).take();
                if to.is_none_or(|to| to.send(ending).is_err()) {
                    *state = State::Lost { why: "it was stopped at this moment" };
                    return Err(stale("it was stopped at this moment"));
                }
                Ok(())
            }
            End::Again => Ok(()),
            End::Other => Err(NotDone::AlreadyEnded),
            End::Lost(why) => Err(stale(why)),
        }
    }

    pub(crate) fn is_taken(&self) -> bool {
        matches!(&*self.state(), State::Leased { .. })
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct Desk {
    all: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    by_id: HashMap<LeaseId, Arc<Lease>>,
    /// A crew's worker and a job: whose result was settled.
    by_job: HashMap<(WorkerId, JobKey), LeaseId>,
    /// Ended leases in `of_key`.
    remembered: usize,
    of_key: BTreeMap<KeyId, OfKey>,
}

/// What is kept of a key, for as long as the process lives: keys are those of the configuration.
#[derive(Debug, Default)]
struct OfKey {
    /// Jobs its workers have, without those that wait for others.
    leased: usize,
    /// Whether somebody wanted more than there was room for.
    short: bool,
    /// Told when there is more room after that.
    room: Arc<Notify>,
    /// Oldest first.
    ended: VecDeque<LeaseId>,
}

impl OfKey {
    /// The lease counts no longer, if it did.
    fn free(&mut self, lease: &Lease) {
        if lease.counts.swap(false, Ordering::Relaxed) {
            self.leased = self.leased.saturating_sub(1);
            if std::mem::take(&mut self.short) {
                self.room.notify_waiters();
            }
        }
    }
}

impl Table {
    fn of_key(&mut self, key: &KeyId) -> &mut OfKey {
        self.of_key.entry(key.clone()).or_default()
    }

    /// Forgets until no more than `most` ended leases are remembered.
    fn forget(&mut self, most: usize) {
        while self.remembered > most {
            let fullest = self.of_key.values_mut().max_by_key(|of| of.ended.len());
            let Some(oldest) = fullest.and_then(|of| of.ended.pop_front()) else { return };
            self.remembered -= 1;
            if let Some(oldest) = self.by_id.remove(&oldest) {
                self.by_job.remove(&(oldest.crew.clone(), oldest.job.clone()));
            }
        }
    }
}

impl Desk {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A job came to the worker `crew`: it lies on the shelf. What ends it comes out of the receiver.
    pub(crate) fn shelve(
        &self,
        (pool, crew, key): (&PoolName, &WorkerId, &KeyId),
        context: &Context,
        times: (Duration, Duration),
    ) -> Result<(Arc<Lease>, oneshot::Receiver<Ending>), getrandom::Error> {
        self.put((pool, crew, key, context.key().clone()), Some(context.clone()), times)
    }

    /// `progress`: whom to tell how far it is.
    fn put(
        &self,
        (pool, crew, key, job): (&PoolName, &WorkerId, &KeyId, JobKey),
        progress: Option<Context>,
        (shelf, term): (Duration, Duration),
    ) -> Result<(Arc<Lease>, oneshot::Receiver<Ending>), getrandom::Error> {
        let mut random = [0; 16];
        getrandom::fill(&mut random)?;
        let id = LeaseId(random.iter().map(|byte| format!("{byte:02x}")).collect());
        let (end, ended) = oneshot::channel();
        let lease = Arc::new(Lease {
            id: id.clone(),
            pool: pool.clone(),
            crew: crew.clone(),
            key: key.clone(),
            job,
            term,
            state: Mutex::new(State::new(Instant::now() + shelf)),
            progress: Mutex::new(progress),
            lent: Mutex::default(),
            end: Mutex::new(Some(end)),
            settled: watch::channel(None).0,
            counts: AtomicBool::new(false),
        });
        let mut table = self.table();
        table.by_job.insert((crew.clone(), lease.job.clone()), id.clone());
        table.by_id.insert(id, Arc::clone(&lease));
        Ok((lease, ended))
    }

    /// A request takes a job from the shelf, unless its key has `most` leases: looked at and counted in one step, however
    /// many requests there are.
    pub(crate) fn take(&self, lease: &Lease, most: usize, now: Instant) -> Take {
        let mut table = self.table();
        let of = table.of_key(&lease.key);
        if of.leased >= most {
            of.short = true;
            return Take::Full;
        }
        if !lease.state().take(now, lease.term) {
            return Take::Gone;
        }
        of.leased += 1;
        lease.counts.store(true, Ordering::Relaxed);
        Take::Leased
    }

    /// As many of `wanted` leases as the key may still have of `most`. When that is not all, [`Self::room`] is told of the
    /// next that ends.
    pub(crate) fn room_for(&self, wanted: usize, key: &KeyId, most: usize) -> usize {
        let mut table = self.table();
        let of = table.of_key(key);
        let room = most.saturating_sub(of.leased);
        of.short |= wanted > room;
        wanted.min(room)
    }

    /// Told when there is more room than there was for somebody.
    pub(crate) fn room(&self, key: &KeyId) -> Arc<Notify> {
        Arc::clone(&self.table().of_key(key).room)
    }

    /// A job that waits for others does not count towards what its key may have, so that these find room. When it goes on it counts
    /// again at once: its key may be over for that time, and gets nothing new.
    fn waits(&self, lease: &Lease, waits: bool) {
        let mut table = self.table();
        let of = table.of_key(&lease.key);
        if waits {
            of.free(lease);
        } else if lease.is_taken() && !lease.counts.swap(true, Ordering::Relaxed) {
            // Looked at under the lock: what is lost meanwhile is taken out after this.
            of.leased += 1;
        }
    }

    /// It is held no longer; what was said of it is remembered for a while.
    pub(crate) fn ended(&self, lease: &Lease) {
        lease.lose("it ended");
        *lease.progress.lock().unwrap_or_else(PoisonError::into_inner) = None;
        *lease.lent.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let mut table = self.table();
        let of = table.of_key(&lease.key);
        of.ended.push_back(lease.id.clone());
        of.free(lease);
        table.remembered += 1;
        table.forget(REMEMBERED);
    }

    /// The scheduler has settled a result of the worker `crew`; or ended a job that its worker still has, which holds it no longer then.
    pub(crate) fn settled(&self, crew: &WorkerId, job: &JobKey, accepted: bool, reason: &str) {
        let table = self.table();
        let id = table.by_job.get(&(crew.clone(), job.clone()));
        if let Some(lease) = id.and_then(|id| table.by_id.get(id)) {
            lease.settled.send_replace(Some((accepted, reason.to_owned())));
            if !accepted {
                lease.lose("the job has ended without it");
                // Whoever waits for its end waits no longer.
                drop(lease.end.lock().unwrap_or_else(PoisonError::into_inner).take());
            }
        }
    }

    fn find(&self, key: &KeyId, id: &str, token: &str) -> Result<Arc<Lease>, NotDone> {
        let lease = self.table().by_id.get(&LeaseId(id.to_owned())).filter(|lease| lease.key == *key).cloned();
        let lease = lease.ok_or(NotDone::NoSuchLease)?;
        if token != token_of(&lease.job) {
            return Err(NotDone::Stale { why: "the token is not the one of this lease".into() });
        }
        Ok(lease)
    }

    /// A worker says that it is there and has the job. `leaves`: whether it is to leave.
    pub(super) fn beat(
        &self,
        (key, id, token): (&KeyId, &str, &str),
        leaves: impl FnOnce(&Lease) -> bool,
    ) -> Result<Standing, NotDone> {
        let lease = self.find(key, id, token)?;
        let beat = lease.state().beat(Instant::now(), lease.term);
        let in_doubt =
            lease.progress.lock().unwrap_or_else(PoisonError::into_inner).as_ref().is_some_and(Context::lease_in_doubt);
        Ok(Standing { beat, term: lease.term, drain: leaves(&lease), in_doubt })
    }

    /// A worker says how far it is. That is no heartbeat.
    ///
    /// # Errors
    /// [`NotDone`].
    pub fn progress(
        &self,
        key: &KeyId,
        id: &str,
        token: &str,
        Sign { fraction, note, partial, waits }: Sign,
    ) -> Result<(), NotDone> {
        let lease = self.find(key, id, token)?;
        if !lease.is_taken() {
            return Err(NotDone::Stale { why: "its lease is over".into() });
        }
        let context = lease.progress.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(waits) = waits {
            let lent = context.as_ref().filter(|_| waits).map(Context::lend_slot);
            *lease.lent.lock().unwrap_or_else(PoisonError::into_inner) = lent;
            // The last word of several is the last for both: the first lock is held.
            self.waits(&lease, waits);
        }
        if let Some(context) = &*context {
            let only_another = partial.is_some() || waits.is_some();
            if let Some(text) = partial {
                context.partial(text);
            }
            if fraction.is_some() || note.is_some() || !only_another {
                context.progress(fraction, note.unwrap_or_default());
            }
        }
        Ok(())
    }

    /// A worker says how it ended; waits up to `patience` for the scheduler's word. `said` names what was said.
    ///
    /// # Errors
    /// [`NotDone`].
    pub async fn end(
        &self,
        (key, id, token): (&KeyId, &str, &str),
        ending: Ending,
        said: Said,
        patience: Duration,
    ) -> Result<Reported, NotDone> {
        let lease = self.find(key, id, token)?;
        lease.say(ending, said)?;
        let mut settled = lease.settled.subscribe();
        let told = tokio::time::timeout(patience, settled.wait_for(Option::is_some)).await;
        let Ok(Ok(settled)) = told else { return Ok(Reported::Pending) };
        Ok(match &*settled {
            Some((true, _)) => Reported::Accepted,
            Some((false, reason)) => Reported::Refused(reason.clone()),
            None => Reported::Pending,
        })
    }

    /// A worker gives the job back unrun; nothing is waited for.
    ///
    /// # Errors
    /// [`NotDone`].
    pub fn release(&self, key: &KeyId, id: &str, token: &str) -> Result<(), NotDone> {
        let lease = self.find(key, id, token)?;
        lease.say(Ending::GivenBack, RELEASED)
    }
}

/// Stands for what `release` says.
const RELEASED: Said = [0; 32];

/// A fencing token as workers are told it.
#[must_use]
pub fn token_of(job: &JobKey) -> String {
    format!("{}.{}", job.token.epoch, job.token.attempt)
}

#[cfg(test)]
mod tests {
    use tidegate_protocol::facts::Token;
    use tidegate_protocol::ids::SourceName;
    use tidegate_protocol::job::SourcePosition;

    use super::*;

    const TERM: Duration = Duration::from_secs(10);

    fn key(id: &str) -> KeyId {
        KeyId::new(id).unwrap()
    }

    fn job(offset: u64) -> JobKey {
        let source = SourcePosition::new(SourceName::new("jobs").unwrap(), 0, offset);
        JobKey { source, token: Token { epoch: 1, attempt: 1 } }
    }

    fn shelved(desk: &Desk, key: &KeyId, offset: u64) -> Arc<Lease> {
        let crew = WorkerId::new("crew").unwrap();
        let pool = PoolName::new("p").unwrap();
        desk.put((&pool, &crew, key, job(offset)), None, (TERM, TERM)).unwrap().0
    }

    #[tokio::test]
    async fn a_key_has_no_more_leases_than_it_may_have_whoever_asks_and_the_shelf_does_not_count() {
        let (desk, key, other, now) = (Desk::default(), key("one"), key("two"), Instant::now());
        let jobs: Vec<Arc<Lease>> = (0..5).map(|offset| shelved(&desk, &key, offset)).collect();
        assert_eq!(desk.room_for(5, &key, 2), 2, "five lie on the shelf, none is leased");
        let taken: Vec<Take> = jobs.iter().map(|lease| desk.take(lease, 2, now)).collect();
        assert_eq!(taken, [Take::Leased, Take::Leased, Take::Full, Take::Full, Take::Full]);
        assert_eq!(desk.take(&shelved(&desk, &other, 9), 2, now), Take::Leased, "another key's own");
        let room = desk.room(&key);
        let told = room.notified();
        desk.ended(&jobs[4]);
        assert_eq!(desk.room_for(1, &key, 2), 0, "what was never leased frees nothing");
        desk.ended(&jobs[0]);
        told.await;
        assert_eq!(desk.take(&jobs[4], 2, now), Take::Gone);
        assert_eq!(desk.take(&jobs[2], 2, now), Take::Leased);
        assert_eq!(desk.room_for(1, &key, 2), 0);
    }

    #[tokio::test]
    async fn a_job_that_waits_for_its_child_leaves_the_child_room_and_counts_again_when_it_goes_on() {
        let (desk, key, now) = (Desk::default(), key("one"), Instant::now());
        let jobs: Vec<Arc<Lease>> = (0..4).map(|offset| shelved(&desk, &key, offset)).collect();
        let [parent, child, next, last] = &jobs[..] else { panic!("four") };
        let says = |lease: &Lease, waits| {
            let sign = Sign { waits: Some(waits), ..Sign::default() };
            desk.progress(&key, lease.id.as_str(), &token_of(&lease.job), sign)
        };
        let leased = || desk.table().of_key(&key).leased;
        assert_eq!((desk.take(parent, 1, now), desk.take(child, 1, now)), (Take::Leased, Take::Full));
        let room = desk.room(&key);
        let told = room.notified();
        // Said twice it makes room once.
        assert_eq!((says(parent, true), says(parent, true)), (Ok(()), Ok(())));
        told.await;
        assert_eq!((desk.take(child, 1, now), desk.take(next, 1, now)), (Take::Leased, Take::Full));
        assert_eq!((says(parent, false), says(parent, false)), (Ok(()), Ok(())));
        assert_eq!(leased(), 2, "over, for as long as both run");
        desk.ended(child);
        assert_eq!((desk.room_for(1, &key, 1), desk.take(next, 1, now)), (0, Take::Full));
        desk.ended(parent);
        assert_eq!((leased(), desk.take(next, 1, now)), (0, Take::Leased));
        // One that ends while it waits was taken out before, and its late word changes nothing.
        says(next, true).unwrap();
        desk.ended(next);
        assert!(matches!(says(next, false), Err(NotDone::Stale { .. })));
        desk.waits(next, false);
        assert_eq!((leased(), desk.take(last, 1, now)), (0, Take::Leased));
    }

    #[tokio::test]
    async fn a_job_that_ended_without_its_worker_is_lost_at_once_and_nobody_waits_for_its_end() {
        let (desk, key, crew, now) = (Desk::default(), key("one"), WorkerId::new("crew").unwrap(), Instant::now());
        let pool = PoolName::new("p").unwrap();
        let (lease, ended) = desk.put((&pool, &crew, &key, job(1)), None, (TERM, TERM)).unwrap();
        assert_eq!(desk.take(&lease, 1, now), Take::Leased);
        desk.settled(&crew, &job(1), false, "finished");
        assert!(ended.await.is_err());
        let (id, token) = (lease.id.as_str(), token_of(&lease.job));
        let standing = desk.beat((&key, id, &token), |_| false).unwrap();
        assert!(matches!(standing.beat, Beat::Lost(_)));
        let late = desk.end((&key, id, &token), Ending::Succeeded(None), [1; 32], TERM).await;
        assert!(matches!(late, Err(NotDone::Stale { .. })), "{late:?}");
    }

    #[tokio::test]
    async fn a_key_that_ends_many_leases_makes_its_own_forgotten_and_no_others() {
        let (desk, quiet, busy) = (Desk::default(), key("quiet"), key("busy"));
        let first = shelved(&desk, &quiet, 0);
        desk.ended(&first);
        let own = shelved(&desk, &busy, 1);
        desk.ended(&own);
        for offset in 2..=REMEMBERED as u64 + 10 {
            let lease = shelved(&desk, &busy, offset);
            desk.ended(&lease);
        }
        let of = |key: &KeyId, lease: &Lease| desk.find(key, lease.id.as_str(), &token_of(&lease.job)).map(|_| ());
        assert_eq!((of(&quiet, &first), of(&busy, &own)), (Ok(()), Err(NotDone::NoSuchLease)));
        let table = desk.table();
        assert_eq!((table.by_id.len(), table.by_job.len(), table.remembered), (REMEMBERED, REMEMBERED, REMEMBERED));
    }
}
