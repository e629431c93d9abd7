//! A life of a record, over all logs, in the order in which it became durable: each verdict but the first names what it stands
//! in place of, a job that was released is judged again only when its pool gave it back, nothing is leased by a ticket
//! that has expired or was taken back, and every life has one end.

use std::collections::{BTreeMap, BTreeSet};

use tidegate_protocol::facts::{KernelFact, SchedulerFact};
use tidegate_protocol::job::SourcePosition;
use tidegate_protocol::kept::{KeptAs, Replaced};
use tidegate_protocol::time::Timestamp;

use crate::ledger::facts::{ValidFact, ValidGroup, facts};
use crate::ledger::verdicts::{Invariant, Verdicts};

#[derive(Debug, Default)]
struct Life {
    /// An operator began it.
    redriven: bool,
    judged: bool,
    /// Held or deferred by its kernel.
    kept: bool,
    /// Its pool has it, by a ticket until then.
    ticket: Option<Timestamp>,
    /// Its pool gave it back.
    returned: bool,
    ends: u32,
}

impl Life {
    /// Whether a verdict that says so may follow.
    fn admits(&self, replaces: Option<Replaced>) -> bool {
        self.ends == 0
            && self.ticket.is_none()
            && match replaces.map(|replaced| replaced.was) {
                None => !self.judged && !self.redriven,
                Some(KeptAs::Held | KeptAs::Deferred) => self.kept,
                Some(KeptAs::Released) => self.returned,
                Some(KeptAs::Dead) => self.redriven && !self.judged,
            }
    }

    fn judge(&mut self, source: &SourcePosition, replaces: Option<Replaced>, verdicts: &mut Verdicts) {
        verdicts.must(self.admits(replaces), Invariant::I4, || {
            format!("{source} got a verdict that replaces {replaces:?}, but stood as {self:?}")
        });
        (self.judged, self.kept, self.returned) = (true, false, false);
    }

    fn kernel(&mut self, source: &SourcePosition, fact: &KernelFact, verdicts: &mut Verdicts) {
        if let KernelFact::RecordRedriven { .. } = fact {
            self.redriven = true;
        } else if let KernelFact::JobDecided { decision, replaces, .. } = fact {
            self.judge(source, *replaces, verdicts);
            if decision.verdict.permits() {
                self.ticket = Some(Timestamp(decision.expires_ms.unwrap_or_default() * 1_000));
            } else {
                self.ends += 1;
            }
        } else if let KernelFact::JobHeld { replaces, .. } | KernelFact::JobDeferred { replaces, .. } = fact {
            self.judge(source, *replaces, verdicts);
            self.kept = true;
        } else if let KernelFact::RecordRejected { replaces, .. } = fact {
            self.judge(source, *replaces, verdicts);
            self.ends += 1;
        } else if let KernelFact::JobCancelled { replaces, .. } = fact {
            self.judge(source, Some(*replaces), verdicts);
            self.ends += 1;
        }
    }

    fn scheduler(&mut self, source: &SourcePosition, fact: &SchedulerFact, at: Timestamp, verdicts: &mut Verdicts) {
        if let SchedulerFact::LeaseGranted { .. } = fact {
            verdicts.must(self.ticket.is_some_and(|expires| at < expires), Invariant::I2, || {
                format!("{source} was leased at {at:?}, its ticket is good until {:?}", self.ticket)
            });
        } else if let SchedulerFact::JobReturned { .. } = fact {
            let ticket = self.ticket.take();
            verdicts.must(ticket.is_some_and(|expires| expires <= at), Invariant::I4, || {
                format!("{source} was given back at {at:?}, its ticket was good until {ticket:?}")
            });
            self.returned = true;
        } else {
            verdicts.must(self.ticket.is_some(), Invariant::I4, || {
                format!("{source} ended in its pool, which did not have it")
            });
            self.ends += 1;
        }
    }
}

/// What a fact is about.
fn of_kernel(fact: &KernelFact) -> Option<&SourcePosition> {
    if let KernelFact::JobDecided { job, .. } | KernelFact::JobHeld { job, .. } | KernelFact::JobDeferred { job, .. } =
        fact
    {
        Some(&job.source)
    } else if let KernelFact::JobCancelled { job, .. } = fact {
        Some(&job.source)
    } else if let KernelFact::RecordRejected { source, .. } | KernelFact::RecordRedriven { source, .. } = fact {
        Some(source)
    } else {
        None
    }
}

const fn of_scheduler(fact: &SchedulerFact) -> Option<&SourcePosition> {
    if let SchedulerFact::LeaseGranted { source, .. }
    | SchedulerFact::JobReturned { source, .. }
    | SchedulerFact::JobFinished { source, .. }
    | SchedulerFact::JobDuplicate { source, .. } = fact
    {
        Some(source)
    } else {
        None
    }
}

enum Fact<'a> {
    Kernel(&'a KernelFact),
    Scheduler(&'a SchedulerFact, Timestamp),
}

/// Judges every life of every record; `kernels` and `leases` are all their valid groups. What was on its way back to its kernel when
/// that was lost (`gone`) has no end; how many have none for that.
pub fn check<'a>(
    kernels: impl Iterator<Item = &'a [ValidGroup<KernelFact>]>,
    leases: &'a [ValidGroup<SchedulerFact>],
    gone: &BTreeSet<SourcePosition>,
    verdicts: &mut Verdicts,
) -> u64 {
    let mut missing = 0;
    let mut all: Vec<(u64, u64, &SourcePosition, Fact<'_>)> = Vec::new();
    for groups in kernels {
        let told = facts(groups).filter_map(|ValidFact { number, index, record, .. }| {
            Some((number, index, of_kernel(&record.fact)?, Fact::Kernel(&record.fact)))
        });
        all.extend(told);
    }
    all.extend(facts(leases).filter_map(|ValidFact { number, index, record, .. }| {
        Some((number, index, of_scheduler(&record.fact)?, Fact::Scheduler(&record.fact, record.at)))
    }));
    all.sort_by_key(|(number, index, ..)| (*number, *index));
    let mut lives: BTreeMap<&SourcePosition, Life> = BTreeMap::new();
    for (_, _, source, fact) in &all {
        let life = lives.entry(source).or_default();
        match fact {
            Fact::Kernel(fact) => life.kernel(source, fact, verdicts),
            Fact::Scheduler(fact, at) => life.scheduler(source, fact, *at, verdicts),
        }
    }
    for (source, life) in lives {
        verdicts.must(life.ends <= 1, Invariant::I1, || format!("{source} ended {} times", life.ends));
        let given_up = life.returned && gone.contains(source);
        missing += u64::from(given_up && life.ends == 0);
        verdicts
            .must_in_the_end(life.ends > 0 || given_up, Invariant::I1, || format!("{source} has not ended: {life:?}"));
    }
    missing
}
