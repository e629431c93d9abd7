//! All leases of this process, by an id that nobody can guess, and what is said of them.
//!
//! Whatever the holder of another key says meets the same answer as an id that never was: there is no such lease (I9).

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tidegate_protocol::ids::{KeyId, WorkerId};
use tidegate_worker::handler::Ending;
use tidegate_worker::session::JobKey;
use tidegate_worker::{Cancel, Context};
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use super::lease::{Beat, End, Over, Said, State};

/// Ended leases that are remembered.
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
    /// Whose slot it is.
    crew: WorkerId,
    key: KeyId,
    job: JobKey,
    term: Duration,
    state: Mutex<State>,
    progress: Mutex<Option<Context>>,
    end: Mutex<Option<oneshot::Sender<Ending>>>,
    settled: watch::Sender<Settled>,
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
}

/// How a lease stands, as its worker is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Go on, stop, or nothing to be done any more.
    pub beat: Beat,
    /// It lasts so long from now, while it is held.
    pub term: Duration,
}

impl Lease {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn take(&self, now: Instant) -> bool {
        self.state().take(now, self.term)
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
    ended: VecDeque<LeaseId>,
    live: BTreeMap<KeyId, usize>,
}

impl Desk {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A job came to the worker `crew`: it lies on the shelf. What ends it comes out of the receiver.
    pub(crate) fn shelve(
        &self,
        crew: &WorkerId,
        key: &KeyId,
        context: &Context,
        (shelf, term): (Duration, Duration),
    ) -> Result<(Arc<Lease>, oneshot::Receiver<Ending>), getrandom::Error> {
        let mut random = [0; 16];
        getrandom::fill(&mut random)?;
        let id = LeaseId(random.iter().map(|byte| format!("{byte:02x}")).collect());
        let (end, ended) = oneshot::channel();
        let lease = Arc::new(Lease {
            id: id.clone(),
            crew: crew.clone(),
            key: key.clone(),
            job: context.key().clone(),
            term,
            state: Mutex::new(State::new(Instant::now() + shelf)),
            progress: Mutex::new(Some(context.clone())),
            end: Mutex::new(Some(end)),
            settled: watch::channel(None).0,
        });
        let mut table = self.table();
        table.by_job.insert((crew.clone(), lease.job.clone()), id.clone());
        table.by_id.insert(id, Arc::clone(&lease));
        *table.live.entry(key.clone()).or_default() += 1;
        Ok((lease, ended))
    }

    /// It is held no longer; what was said of it is remembered for a while.
    pub(crate) fn ended(&self, lease: &Lease) {
        lease.lose("it ended");
        *lease.progress.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let mut table = self.table();
        if let Some(live) = table.live.get_mut(&lease.key) {
            *live = live.saturating_sub(1);
            if *live == 0 {
                table.live.remove(&lease.key);
            }
        }
        table.ended.push_back(lease.id.clone());
        if table.ended.len() > REMEMBERED
            && let Some(oldest) = table.ended.pop_front()
            && let Some(oldest) = table.by_id.remove(&oldest)
        {
            table.by_job.remove(&(oldest.crew.clone(), oldest.job.clone()));
        }
    }

    /// The scheduler has settled a result of the worker `crew`.
    pub(crate) fn settled(&self, crew: &WorkerId, job: &JobKey, accepted: bool, reason: &str) {
        let table = self.table();
        let id = table.by_job.get(&(crew.clone(), job.clone()));
        if let Some(lease) = id.and_then(|id| table.by_id.get(id)) {
            lease.settled.send_replace(Some((accepted, reason.to_owned())));
        }
    }

    /// Jobs of a key that are leased or lie on the shelf.
    #[must_use]
    pub fn leases_of(&self, key: &KeyId) -> usize {
        self.table().live.get(key).copied().unwrap_or(0)
    }

    fn find(&self, key: &KeyId, id: &str, token: &str) -> Result<Arc<Lease>, NotDone> {
        let lease = self.table().by_id.get(&LeaseId(id.to_owned())).filter(|lease| lease.key == *key).cloned();
        let lease = lease.ok_or(NotDone::NoSuchLease)?;
        if token != token_of(&lease.job) {
            return Err(NotDone::Stale { why: "the token is not the one of this lease".into() });
        }
        Ok(lease)
    }

    /// A worker says that it is there and has the job.
    ///
    /// # Errors
    /// [`NotDone`].
    pub fn beat(&self, key: &KeyId, id: &str, token: &str) -> Result<Standing, NotDone> {
        let lease = self.find(key, id, token)?;
        let beat = lease.state().beat(Instant::now(), lease.term);
        Ok(Standing { beat, term: lease.term })
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
        Sign { fraction, note, partial }: Sign,
    ) -> Result<(), NotDone> {
        let lease = self.find(key, id, token)?;
        if !lease.is_taken() {
            return Err(NotDone::Stale { why: "its lease is over".into() });
        }
        if let Some(context) = &*lease.progress.lock().unwrap_or_else(PoisonError::into_inner) {
            if let Some(text) = partial {
                context.partial(text);
                if fraction.is_none() && note.is_none() {
                    return Ok(());
                }
            }
            context.progress(fraction, note.unwrap_or_default());
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
