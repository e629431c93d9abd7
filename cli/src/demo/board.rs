//! What is known of every record, as its consumers read it from the topics.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tidegate_protocol::decision::Decision;
use tidegate_protocol::facts::KernelFact;
use tidegate_protocol::job::SourcePosition;
use tidegate_protocol::outcome::{DeadReason, Finished, Outcome};
use tokio::sync::watch;

/// Shared by the reader and whoever waits. The first word on a record stands; repeats say nothing new.
#[derive(Debug)]
pub(crate) struct Board {
    records: Mutex<BTreeMap<SourcePosition, Seen>>,
    settled: watch::Sender<usize>,
}

/// What was read of a record, and when.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    pub(crate) verdict: Option<Said>,
    pub(crate) decided: Option<Instant>,
    /// Readable by whoever acts on it: on `approved`, `denied` or `dead`.
    pub(crate) released: Option<Instant>,
    pub(crate) finished: Option<Instant>,
    pub(crate) end: Option<End>,
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
        Self { records: Mutex::default(), settled: watch::Sender::new(0) }
    }
}

impl Seen {
    /// Whether nothing more can come.
    fn is_settled(&self) -> bool {
        match &self.verdict {
            None => false,
            Some(Said::Repeated(_)) => true,
            Some(Said::Rejected(..)) => self.released.is_some(),
            Some(Said::Judged(_)) => self.released.is_some() && self.end.is_some(),
        }
    }
}

impl Board {
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
            | KernelFact::JobHeld { .. }
            | KernelFact::HoldRenewed { .. }
            | KernelFact::ApprovalGiven { .. }
            | KernelFact::HoldEscalated { .. }
            | KernelFact::CommandRefused { .. }
            | KernelFact::JobCancelled { .. } => return,
            KernelFact::JobDecided { job, decision, .. } => (job.source, Said::Judged(decision)),
            KernelFact::JobRepeated { source, duplicate_of, .. } => (source, Said::Repeated(duplicate_of)),
            KernelFact::RecordRejected { source, reason, detail, .. } => (source, Said::Rejected(reason, detail)),
        };
        self.change(&source, |seen| {
            seen.decided.get_or_insert(now);
            seen.verdict.get_or_insert(said);
        });
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
        let before = seen.is_settled();
        by(seen);
        let after = seen.is_settled();
        if after && !before {
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
        self.records().get(source).filter(|seen| seen.is_settled()).cloned()
    }

    /// How far a record is that is not settled.
    pub(crate) fn progress(&self, source: &SourcePosition) -> &'static str {
        match self.records().get(source) {
            None => "not decided",
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
    /// The decision, when it was judged.
    pub(crate) const fn decision(&self) -> Option<&Decision> {
        match &self.verdict {
            Some(Said::Judged(decision)) => Some(decision),
            Some(Said::Repeated(_) | Said::Rejected(..)) | None => None,
        }
    }

    /// Whether it was allowed.
    pub(crate) fn is_allowed(&self) -> bool {
        self.decision().is_some_and(|decision| decision.verdict.permits())
    }
}
