//! What is known of every record, as its consumers read it from the topics.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tidegate_protocol::decision::Decision;
use tidegate_protocol::facts::KernelFact;
use tidegate_protocol::job::{Job, SourcePosition};
use tidegate_protocol::outcome::{DeadReason, Finished, Outcome};
use tokio::sync::watch;

/// Shared by the reader and whoever waits. The first word on a record stands; repeats say nothing new.
#[derive(Debug)]
pub(crate) struct Board {
    records: Mutex<BTreeMap<SourcePosition, Seen>>,
    settled: watch::Sender<usize>,
    /// How many jobs people were asked about.
    asked: watch::Sender<usize>,
    /// Whether somebody answers: else a job that waits for people is as far as it comes.
    answered: bool,
}

/// What was read of a record, and when.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    pub(crate) verdict: Option<Said>,
    /// What people were asked about it, before the verdict.
    pub(crate) hold: Option<Hold>,
    pub(crate) decided: Option<Instant>,
    /// Readable by whoever acts on it: on `approved`, `denied` or `dead`.
    pub(crate) released: Option<Instant>,
    pub(crate) finished: Option<Instant>,
    pub(crate) end: Option<End>,
    /// It counts as settled from here on, whatever else is said of it.
    settled: bool,
}

/// A job that waits for people.
#[derive(Debug, Clone)]
pub(crate) struct Hold {
    pub(crate) job: Job,
    /// What asks them.
    pub(crate) decision: Decision,
}

/// What the kernel said.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "nearly every record is judged; the demo keeps a few hundred")]
pub(crate) enum Said {
    /// A verdict.
    Judged(Decision),
    /// The same job again: the verdict on that record stands for it.
    Repeated(SourcePosition),
    /// It cannot be a job here.
    Rejected(DeadReason, String),
}

/// How a job ended.
#[derive(Debug, Clone)]
pub(crate) struct End {
    pub(crate) outcome: Outcome,
    pub(crate) reason: String,
}

impl Default for Board {
    fn default() -> Self {
        Self::new(false)
    }
}

impl Seen {
    /// Whether nothing more is waited for.
    fn is_settled(&self, people_answer: bool) -> bool {
        self.settled
            || match &self.verdict {
                None => self.hold.is_some() && self.released.is_some() && !people_answer,
                Some(Said::Repeated(_)) => true,
                Some(Said::Rejected(..)) => self.released.is_some(),
                Some(Said::Judged(_)) => self.released.is_some() && self.end.is_some(),
            }
    }
}

impl Board {
    /// An empty one. `answered`: somebody answers what people are asked, so that is waited for.
    pub(crate) fn new(answered: bool) -> Self {
        let records = Mutex::default();
        Self { records, settled: watch::Sender::new(0), asked: watch::Sender::new(0), answered }
    }

    /// A fact of the kernel, durable.
    pub(crate) fn decided(&self, now: Instant, fact: KernelFact) {
        let (source, said) = match fact {
            // What waits is judged again, and then said.
            KernelFact::PolicyAdopted { .. }
            | KernelFact::JobDeferred { .. }
            | KernelFact::SliceRequested { .. }
            | KernelFact::SliceGranted { .. }
            | KernelFact::SliceReturned { .. }
            | KernelFact::SpendSettled { .. }
            | KernelFact::OutcomePassedOn { .. }
            | KernelFact::HoldRenewed { .. }
            | KernelFact::ApprovalGiven { .. }
            | KernelFact::HoldEscalated { .. }
            | KernelFact::CommandRefused { .. }
            | KernelFact::JobCancelled { .. }
            | KernelFact::JobWithdrawn { .. } => return,
            KernelFact::JobHeld { job, decision, .. } => return self.held(now, job, decision),
            KernelFact::JobDecided { job, decision, .. } => (job.source, Said::Judged(decision)),
            KernelFact::JobRepeated { source, duplicate_of, .. } => (source, Said::Repeated(duplicate_of)),
            KernelFact::RecordRejected { source, reason, detail, .. } => (source, Said::Rejected(reason, detail)),
        };
        self.change(&source, |seen| {
            seen.decided.get_or_insert(now);
            seen.verdict.get_or_insert(said);
        });
    }

    /// People are asked about it.
    fn held(&self, now: Instant, job: Job, decision: Decision) {
        self.change(&job.source.clone(), |seen| {
            seen.decided.get_or_insert(now);
            seen.hold = Some(Hold { job, decision });
        });
        self.asked.send_modify(|count| *count += 1);
    }

    /// How many jobs people were asked about; changes with every further one.
    pub(crate) fn asked(&self) -> watch::Receiver<usize> {
        self.asked.subscribe()
    }

    /// The jobs that wait for people now.
    pub(crate) fn waiting(&self) -> Vec<Hold> {
        self.records().values().filter(|seen| seen.verdict.is_none()).filter_map(|seen| seen.hold.clone()).collect()
    }

    /// Its consumer can read it.
    pub(crate) fn released(&self, now: Instant, source: &SourcePosition) {
        self.change(source, |seen| {
            seen.released.get_or_insert(now);
        });
    }

    /// It ended.
    pub(crate) fn finished(&self, now: Instant, finished: Finished) {
        self.change(&finished.source, |seen| {
            seen.finished.get_or_insert(now);
            seen.end.get_or_insert(End { outcome: finished.outcome, reason: finished.reason });
        });
    }

    fn change(&self, source: &SourcePosition, by: impl FnOnce(&mut Seen)) {
        let mut records = self.records();
        let seen = records.entry(source.clone()).or_default();
        let before = seen.settled;
        by(seen);
        seen.settled = seen.is_settled(self.answered);
        if seen.settled && !before {
            self.settled.send_modify(|count| *count += 1);
        }
    }

    fn records(&self) -> MutexGuard<'_, BTreeMap<SourcePosition, Seen>> {
        // No code panics while it holds the lock; a poisoned one is as good.
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many records are settled; changes with every further one.
    pub(crate) fn settled(&self) -> watch::Receiver<usize> {
        self.settled.subscribe()
    }

    /// What is known of a record, once it is settled.
    pub(crate) fn of(&self, source: &SourcePosition) -> Option<Seen> {
        self.records().get(source).filter(|seen| seen.settled).cloned()
    }

    /// How far a record is that is not settled.
    pub(crate) fn progress(&self, source: &SourcePosition) -> &'static str {
        match self.records().get(source) {
            None => "not decided",
            Some(Seen { verdict: None, hold: Some(_), .. }) => "held, and no answer came of it",
            Some(Seen { verdict: None, .. }) => "released, and its decision was not read",
            Some(Seen { released: None, .. }) => "decided, not released",
            Some(_) => "released, not ended",
        }
    }

    /// The same as [`Self::of`], told by the record that stands for it where it is a repeat.
    pub(crate) fn standing_for(&self, source: &SourcePosition) -> Option<Seen> {
        let seen = self.of(source)?;
        match &seen.verdict {
            Some(Said::Repeated(original)) => self.of(original),
            Some(Said::Judged(_) | Said::Rejected(..)) | None => Some(seen),
        }
    }
}

impl Seen {
    /// The decision, when it was judged: the one that asks people while they have not answered.
    pub(crate) fn decision(&self) -> Option<&Decision> {
        match &self.verdict {
            Some(Said::Judged(decision)) => Some(decision),
            Some(Said::Repeated(_) | Said::Rejected(..)) => None,
            None => self.hold.as_ref().map(|hold| &hold.decision),
        }
    }

    /// Whether it waits for people.
    pub(crate) const fn is_held(&self) -> bool {
        self.verdict.is_none() && self.hold.is_some()
    }

    /// Whether it was allowed.
    pub(crate) fn is_allowed(&self) -> bool {
        self.decision().is_some_and(|decision| decision.verdict.permits())
    }
}
