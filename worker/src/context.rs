//! What a handler is told about its job.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use serde_json::value::RawValue;
use tidegate_protocol::constraints::Constraints;
use tidegate_protocol::decision::{Decision, Judged};
use tidegate_protocol::delegation::{NoChild, ParentTicket};
use tidegate_protocol::fleet::Partial;
use tidegate_protocol::job::Job;
use tidegate_protocol::trace;
use tokio::sync::watch;

use crate::children::{Children, NotSpawned, Spawned};
use crate::lending::{Lender, Lent};
use crate::session::JobKey;
use crate::signs::{Said, Sign, Signs};

/// Why a job is to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cancel {
    /// Its lease was lost: it is, or will be, given to another worker, and a result would be refused.
    LeaseLost,
    /// Its deadline passed.
    Deadline,
    /// It ran for as long as its decision's constraints allow.
    MaxRuntime,
    /// It was called off, at the place it was submitted.
    Withdrawn,
    /// The worker is shutting down and waited long enough; the job goes back and runs again elsewhere.
    Draining,
}

impl Cancel {
    /// One line for people.
    #[must_use]
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::LeaseLost => "its lease was lost",
            Self::Deadline => "its deadline passed",
            Self::MaxRuntime => "it ran for as long as its constraints allow",
            Self::Withdrawn => "it was called off",
            Self::Draining => "the worker is shutting down",
        }
    }
}

/// The worker's side of a job's cancel signal. The first reason stands.
#[derive(Debug, Clone)]
pub(crate) struct CancelSignal(Arc<watch::Sender<Option<Cancel>>>);

impl CancelSignal {
    pub(crate) fn new() -> (Self, watch::Receiver<Option<Cancel>>) {
        let (to, from) = watch::channel(None);
        (Self(Arc::new(to)), from)
    }

    pub(crate) fn set(&self, why: Cancel) {
        self.0.send_if_modified(|set| set.is_none() && set.replace(why).is_none());
    }
}

/// Whether the leases of a shard's jobs are in doubt, as the worker knows.
#[derive(Debug, Clone, Default)]
pub(crate) struct Doubt(Arc<AtomicBool>);

impl Doubt {
    /// Says so; whether it was otherwise before.
    pub(crate) fn set(&self, is: bool) -> bool {
        self.0.swap(is, Ordering::Relaxed) != is
    }
}

#[derive(Debug, Clone)]
struct Inner {
    shard: usize,
    key: JobKey,
    job: Job,
    decision: Decision,
    payload: Box<RawValue>,
    base64: bool,
    traceparent: Option<String>,
    /// Its record as it came, and where jobs it spawns go.
    origin: Origin,
    lender: Lender,
    cancel: watch::Receiver<Option<Cancel>>,
    doubt: Doubt,
    signs: Signs,
    /// Bytes of partial output so far, those that were dropped included.
    partial: Arc<AtomicU64>,
}

/// What a job needs to spawn others.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    /// The job's record from `approved`, byte for byte.
    pub(crate) record: Box<RawValue>,
    pub(crate) children: Option<Children>,
}

/// A running job, as its handler sees it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Context(Arc<Inner>);

impl Context {
    pub(crate) fn new(
        shard: usize,
        key: JobKey,
        judged: Judged,
        (origin, lender): (Origin, Lender),
        (cancel, doubt): (watch::Receiver<Option<Cancel>>, Doubt),
        signs: Signs,
    ) -> Result<Self, serde_json::Error> {
        let Judged { job, decision, payload, payload_base64, traceparent, .. } = judged;
        // Nothing signs it for what it is: what is none goes no further.
        let traceparent = traceparent.filter(|parent| trace::is_parent(parent));
        let base64 = payload.is_none() && payload_base64.is_some();
        let payload = match (payload, payload_base64) {
            (Some(json), _) => json,
            (None, Some(text)) => serde_json::value::to_raw_value(&text)?,
            (None, None) => serde_json::value::to_raw_value(&())?,
        };
        Ok(Self(Arc::new(Inner {
            shard,
            key,
            job,
            decision,
            payload,
            base64,
            traceparent,
            origin,
            lender,
            cancel,
            doubt,
            signs,
            partial: Arc::default(),
        })))
    }

    /// The same with a payload that was kept elsewhere.
    pub(crate) fn with_payload(&self, payload: Box<RawValue>, base64: bool) -> Self {
        Self(Arc::new(Inner { payload, base64, ..Inner::clone(&self.0) }))
    }

    /// The job.
    #[must_use]
    pub fn job(&self) -> &Job {
        &self.0.job
    }

    /// The kernel's decision that let it run.
    #[must_use]
    pub fn decision(&self) -> &Decision {
        &self.0.decision
    }

    /// What the job must keep to. The worker sees to some of it, the rest is the handler's to keep (see
    /// [`crate::constraints`]).
    #[must_use]
    pub fn constraints(&self) -> Option<&Constraints> {
        self.0.decision.constraints.as_deref()
    }

    /// How long it may run.
    pub(crate) fn max_runtime(&self) -> Option<Duration> {
        self.constraints()?.budgets.max_runtime_ms.map(Duration::from_millis)
    }

    /// The largest output it may give.
    pub(crate) fn max_output(&self) -> Option<usize> {
        let bytes = self.constraints()?.budgets.max_artifact_bytes?;
        Some(usize::try_from(bytes).unwrap_or(usize::MAX))
    }

    /// The payload's exact JSON text; `null` when there is none. A binary payload is a JSON string of base64, see
    /// [`Self::payload_is_base64`].
    #[must_use]
    pub fn payload(&self) -> &RawValue {
        &self.0.payload
    }

    /// Whether the payload was submitted as `payload_base64`.
    #[must_use]
    pub fn payload_is_base64(&self) -> bool {
        self.0.base64
    }

    /// The trace it belongs to, a W3C `traceparent`, where its record named one: to be handed on to whatever it calls.
    #[must_use]
    pub fn traceparent(&self) -> Option<&str> {
        self.0.traceparent.as_deref()
    }

    /// The approved record as it came, ticket included: what proves to others that the job may run.
    #[must_use]
    pub fn record(&self) -> &RawValue {
        &self.0.origin.record
    }

    /// The job's record and the token of this attempt.
    #[must_use]
    pub fn key(&self) -> &JobKey {
        &self.0.key
    }

    /// What the job presents to spawn others: its record with its ticket. Whoever has it may submit jobs in its name, within its
    /// scope, until the ticket's time is over.
    ///
    /// # Errors
    /// [`NoChild::TooLarge`]: a job with so large a payload cannot delegate.
    pub fn ticket(&self) -> Result<ParentTicket, NoChild> {
        ParentTicket::read(self.0.origin.record.get())
    }

    /// Spawns a job: submits `job`, a job envelope without `parent`, `parent_ticket` and (unless it is another's) `tenant`, with
    /// this job's ticket. It acts for this job: the kernel lets it ask for no more than this job may hand on, and judges everybody
    /// it is done for. Returns when its record has landed, before it is judged; [`Spawned::wait`] waits for its end.
    ///
    /// This job may run more than once (see the crate's documentation): an `id` made from this job's own makes sure that each child
    /// does not. While the spine is away this waits.
    ///
    /// # Errors
    /// [`NotSpawned`].
    pub async fn spawn(&self, job: &(impl Serialize + Sync)) -> Result<Spawned, NotSpawned> {
        let children = self.0.origin.children.as_ref().ok_or(NotSpawned::NoSource)?;
        children.spawn(self, job).await
    }

    /// Lends this job's slot to jobs that others spawned, until what is returned is dropped: to be held while it waits for jobs that
    /// it spawned itself, so that these can run though every slot is taken, as [`Spawned::wait`] does. How they end stands in `finished`,
    /// and over HTTP under `GET /v1/jobs/{id}`. When it goes on while its slot is taken, one more job than the worker has slots runs for that time. Time in
    /// which a slot is lent does not count as time without progress.
    pub fn lend_slot(&self) -> Lent {
        self.0.lender.lend()
    }

    /// When nobody wants the result any more.
    #[must_use]
    pub fn deadline(&self) -> Option<SystemTime> {
        UNIX_EPOCH.checked_add(Duration::from_millis(self.0.job.deadline?))
    }

    /// Whether and why the job is to stop.
    #[must_use]
    pub fn is_cancelled(&self) -> Option<Cancel> {
        *self.0.cancel.borrow()
    }

    /// Whether its lease is gone, so that nothing it still does counts.
    #[must_use]
    pub fn lease_lost(&self) -> bool {
        self.is_cancelled() == Some(Cancel::LeaseLost)
    }

    /// Whether its lease is in doubt: none of the worker's reports landed for a full lease, so the job may have been given to
    /// another worker, unless the scheduler could not read either. What must not happen twice can wait for this to pass, as far as no
    /// token guards it; a pause that nobody notices, such as a stopped process, no flag can show in time.
    #[must_use]
    pub fn lease_in_doubt(&self) -> bool {
        self.0.doubt.0.load(Ordering::Relaxed)
    }

    /// Resolves when the job is to stop. After it the handler has the worker's cancel grace before it is dropped.
    pub async fn cancelled(&self) -> Cancel {
        let mut signal = self.0.cancel.clone();
        let why = match signal.wait_for(Option::is_some).await {
            Ok(why) => *why,
            Err(_) => Some(Cancel::LeaseLost),
        };
        why.unwrap_or(Cancel::LeaseLost)
    }

    /// Says how far it is (0 to 1 when known) with a line for people. Best effort and sent in batches: of several
    /// signs within a quarter of a second the latest goes out; some may be dropped under load. Never waits.
    pub fn progress(&self, fraction: Option<f64>, note: impl Into<String>) {
        let fraction = fraction.filter(|f| f.is_finite()).map(|f| f.clamp(0.0, 1.0));
        let mut note = note.into();
        crate::handler::cut(&mut note, 1 << 10);
        self.say(Said::Progress { fraction, note });
    }

    /// Tells a piece of the output before the job ends, to whoever watches it: text as it is made, a line of a log. Best effort like
    /// progress, and in order; pieces are joined and sent at most every quarter of a second, at most 64 KiB of them as JSON text;
    /// what is more than that is dropped, and who watches sees that something is missing. Never waits. It is no part of the result.
    pub fn partial(&self, text: impl Into<String>) {
        let text = text.into();
        let bytes = u64::try_from(text.len()).unwrap_or(u64::MAX);
        let at = self.0.partial.fetch_add(bytes, Ordering::Relaxed);
        if !text.is_empty() {
            self.say(Said::Partial(Partial { at, text }));
        }
    }

    fn say(&self, said: Said) {
        let sign = Sign { shard: self.0.shard, job: self.0.key.clone(), said };
        self.0.signs.say(sign);
    }
}
