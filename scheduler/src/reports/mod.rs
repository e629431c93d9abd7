//! Workers' reports: who may be heard, and what each report leads to.
//!
//! Reports stand on an open topic: bytes that are no report, control records and reports that name what is not there are
//! counted and change nothing. Each report leads to at most one fact per lease its worker holds or entry it lists, and of those that
//! change nothing a worker gets so many a minute and no more ([`crate::answers`]), of Hellos a few at once and one a second
//! ([`crate::hellos`]): nobody can flood the log.

pub(crate) mod give_back;
pub(crate) mod heartbeat;
pub(crate) mod result;

use tidegate_protocol::facts::SchedulerFact;
use tidegate_protocol::fleet::Report;
use tidegate_protocol::headers;
use tidegate_protocol::ids::WorkerId;
use tidegate_protocol::limits::LimitAnswer;
use tidegate_protocol::pool_command::PoolCommand;
use tidegate_protocol::selector::{MOST_LABELS, is_label};
use tidegate_protocol::time::Timestamp;
use tidegate_spine::Record;
use tidegate_stage::{Arrival, Decision, InputRef};

use crate::Scheduler;
use crate::scheduler::InputIs;
use crate::transitions::arrived::{self, Fate};
use crate::transitions::{cordoned, outrun, refused, slices, welcomed};

/// Most capabilities a worker may name.
const MOST_CAPABILITIES: usize = 1_024;

/// Most tenants a worker may name.
const MOST_TENANTS: usize = 1_024;

/// What a record was understood as when it arrived.
#[derive(Debug)]
pub(crate) enum Heard {
    Work(Fate),
    Report(Box<Report>, Standing),
    Command(Box<PoolCommand>),
    /// Of the limits stage.
    Answer(Box<LimitAnswer>),
    /// Bytes that are no report, no answer, or no command that can be believed.
    Noise,
}

/// How a report's sender stands with this owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Known, of the present incarnation, under this owner's epoch.
    Present,
    /// Must be told this owner's epoch, on this lane.
    ToWelcome(u32),
    /// Was told so just now; its next report will show.
    Awaited,
    /// Says Hello on this lane with a number below the one that its name has, or with that of a life that has reported to this owner, and
    /// must be told which that is.
    Outrun(u32),
    /// Would be welcomed as another, or told so, and its name was often enough of late.
    TooOften,
    /// From an incarnation before the present one.
    OldIncarnation,
    /// Names an epoch above this owner's.
    Ahead,
    /// Unknown, and there are too many already.
    NoRoom,
    /// Names a lane that is not there, or too much, or comes from nowhere.
    Bad,
}

/// Who says it; the epoch is `None` in a Hello.
struct Sender<'a> {
    worker: &'a WorkerId,
    incarnation: u64,
    lane: Option<u32>,
    epoch: Option<u64>,
}

fn sender(report: &Report) -> Option<Sender<'_>> {
    match report {
        Report::Hello { worker, incarnation, lane, .. } => {
            Some(Sender { worker, incarnation: *incarnation, lane: Some(*lane), epoch: None })
        }
        Report::Heartbeat { worker, incarnation, lane, epoch, .. }
        | Report::Result { worker, incarnation, lane, epoch, .. } => {
            Some(Sender { worker, incarnation: *incarnation, lane: Some(*lane), epoch: Some(*epoch) })
        }
        Report::GiveBack { worker, incarnation, epoch, .. } => {
            Some(Sender { worker, incarnation: *incarnation, lane: None, epoch: Some(*epoch) })
        }
        Report::Progress { .. } => None,
    }
}

fn is_bounded(report: &Report) -> bool {
    match report {
        Report::Hello { capabilities, tenants, labels, .. }
        | Report::Heartbeat { capabilities, tenants, labels, .. } => {
            capabilities.len() <= MOST_CAPABILITIES
                && tenants.as_ref().is_none_or(|all| all.len() <= MOST_TENANTS)
                && labels.len() <= MOST_LABELS
                && labels.iter().all(|(name, value)| is_label(name) && is_label(value))
        }
        Report::Result { .. } | Report::GiveBack { .. } | Report::Progress { .. } => true,
    }
}

fn read(record: &Record) -> Option<Report> {
    if record.headers.get(headers::KIND).is_some() {
        return None; // a control record on a topic that anyone may write is no control record
    }
    serde_json::from_slice(record.value.as_ref()?).ok().filter(is_bounded)
}

impl Scheduler {
    /// Takes in what a record says of the present.
    pub(crate) fn hear(&mut self, arrival: &Arrival<'_>, at: Timestamp) {
        let heard = match self.input(arrival.at.input) {
            InputIs::Jobs(origin) => Heard::Work(arrived::hear(self, arrival, origin, at)),
            InputIs::Withdrawals => Heard::Work(arrived::hear_early(self, arrival)),
            InputIs::Reports => match read(arrival.record) {
                Some(report) => {
                    let standing = self.standing(&report, at);
                    self.note(&report, standing, at);
                    Heard::Report(Box::new(report), standing)
                }
                None => {
                    self.soft.counts.bad_reports += 1;
                    Heard::Noise
                }
            },
            InputIs::Commands => self.hear_command(arrival, at),
            InputIs::Grants => match arrival.record.value.as_deref().map(serde_json::from_slice::<LimitAnswer>) {
                Some(Ok(answer)) => {
                    self.hear_recall(&answer, at);
                    Heard::Answer(Box::new(answer))
                }
                Some(Err(_)) | None => Heard::Noise,
            },
        };
        self.soft.heard = Some((arrival.at, heard));
    }

    fn hear_command(&mut self, arrival: &Arrival<'_>, at: Timestamp) -> Heard {
        let counts = &mut self.soft.counts;
        match self.pool.operators.believe(&self.pool.layout.pool, arrival.record, at) {
            Ok(command) => {
                counts.commands_repeated += u64::from(self.state.cordons().has_met(&command.id, at));
                Heard::Command(Box::new(command))
            }
            Err(why) => {
                counts.commands_unbelieved += 1;
                let met = counts.commands_unbelieved;
                if met.is_power_of_two() {
                    let (partition, offset) = (arrival.partition, arrival.at.offset);
                    tracing::warn!(%partition, offset, met, %why, "a command was not believed; whoever sent it is waiting in vain");
                }
                Heard::Noise
            }
        }
    }

    /// The facts of a record just heard.
    pub(crate) fn decide_record(
        &self,
        record: InputRef,
        now: (u64, Timestamp),
        decision: &mut Decision<SchedulerFact>,
    ) {
        match &self.soft.heard {
            Some((at, Heard::Work(fate))) if *at == record => arrived::decide(self, fate, record, now.1, decision),
            Some((at, Heard::Report(report, standing))) if *at == record => {
                self.decide_report(report, *standing, record, now, decision);
            }
            Some((at, Heard::Command(command))) if *at == record => {
                cordoned::decide(self, command, now.1, record, decision);
            }
            Some((at, Heard::Answer(answer))) if *at == record => slices::decide(self, answer, now, record, decision),
            Some((at, Heard::Noise)) if *at == record => {}
            // Not heard: against the contract of `Stage`. It stays in its log.
            Some((_, Heard::Work(_) | Heard::Report(..) | Heard::Command(_) | Heard::Answer(_) | Heard::Noise))
            | None => {
                decision.wait();
            }
        }
    }

    fn standing(&self, report: &Report, at: Timestamp) -> Standing {
        let Some(Sender { worker, incarnation, lane, epoch }) = sender(report) else { return Standing::Present };
        if lane.is_some_and(|lane| lane >= self.pool.layout.lanes) {
            return Standing::Bad;
        }
        let Some(known) = self.state.worker(worker) else {
            return match lane {
                Some(_) if self.state.workers().len() >= self.pool.max_workers => Standing::NoRoom,
                Some(lane) => Standing::ToWelcome(lane),
                None => Standing::Bad,
            };
        };
        let hellos = self.soft.hellos.get(worker).copied().unwrap_or_default();
        let is_hello = matches!(report, Report::Hello { .. });
        let outrun = |lane| if hellos.outruns.is_left(at) { Standing::Outrun(lane) } else { Standing::TooOften };
        if incarnation < known.incarnation {
            return lane.filter(|_| is_hello).map_or(Standing::OldIncarnation, outrun);
        }
        let lane = lane.unwrap_or(known.lane);
        let present = self.soft.fleet.get(worker).filter(|p| p.incarnation == incarnation && p.lane == lane);
        let Some(present) = present else {
            return if hellos.welcomes.is_left(at) { Standing::ToWelcome(lane) } else { Standing::TooOften };
        };
        if epoch.is_some() && epoch == self.soft.epoch {
            return Standing::Present;
        }
        if epoch > self.soft.epoch {
            return Standing::Ahead;
        }
        if is_hello && present.offer.is_some() {
            // Nobody says Hello again who has been welcomed and has reported: it is another life that drew the same number.
            return outrun(lane);
        }
        if at < present.welcomed + self.pool.heartbeat / 2 { Standing::Awaited } else { Standing::ToWelcome(lane) }
    }

    fn note(&mut self, report: &Report, standing: Standing, at: Timestamp) {
        let counts = &mut self.soft.counts;
        match standing {
            Standing::Present => {}
            Standing::ToWelcome(_) | Standing::Awaited | Standing::Outrun(_) => return,
            Standing::TooOften => counts.unanswered += 1,
            Standing::OldIncarnation => counts.old_incarnation_reports += 1,
            Standing::Ahead => counts.reports_ahead += 1,
            Standing::NoRoom => counts.workers_refused += 1,
            Standing::Bad => counts.bad_reports += 1,
        }
        if standing != Standing::Present {
            return;
        }
        match report {
            Report::Heartbeat { .. } => heartbeat::note(self, report, at),
            Report::Result { worker, credit, source, token, .. } => {
                let counts = heartbeat::holds(self, worker, source, *token);
                if !counts && refused::left(self, worker, at) == 0 {
                    self.soft.counts.unanswered += 1;
                }
                if let Some(present) = self.soft.fleet.get_mut(worker) {
                    present.offer.iter_mut().for_each(|offer| offer.credit = *credit);
                    present.rests = if counts { 0 } else { present.rests };
                }
                self.heard_of(worker, at);
            }
            Report::GiveBack { worker, .. } => {
                self.heard_of(worker, at);
                give_back::note(self, report, at);
            }
            Report::Progress { worker, source, token, .. } => {
                self.soft.counts.progress += 1;
                if heartbeat::holds(self, worker, source, *token) {
                    self.progressed(source, at);
                }
            }
            Report::Hello { .. } => {} // never present: it names no epoch
        }
    }

    /// A worker reported under this epoch.
    pub(crate) fn heard_of(&mut self, worker: &WorkerId, at: Timestamp) {
        if let Some(present) = self.soft.fleet.get_mut(worker) {
            present.heard = at;
            present.silent = false;
            self.soft.silence.set(worker, at + self.pool.lease);
        }
        self.refresh(worker, at);
    }

    fn decide_report(
        &self,
        report: &Report,
        standing: Standing,
        record: InputRef,
        (epoch, at): (u64, Timestamp),
        decision: &mut Decision<SchedulerFact>,
    ) {
        match standing {
            Standing::Present => match report {
                Report::Heartbeat { .. } => heartbeat::decide(self, report, (epoch, at), record, decision),
                Report::Result { .. } => result::decide(self, report, at, record, decision),
                Report::GiveBack { .. } => give_back::decide(self, report, at, record, decision),
                Report::Hello { .. } | Report::Progress { .. } => {}
            },
            Standing::ToWelcome(lane) => {
                if let Some(Sender { worker, incarnation, .. }) = sender(report) {
                    welcomed::decide(self, worker, incarnation, lane, (epoch, at), record, decision);
                }
            }
            Standing::Outrun(lane) => {
                if let Some(Sender { worker, incarnation, .. }) = sender(report) {
                    outrun::decide(self, worker, incarnation, lane, record, decision);
                }
            }
            Standing::Awaited
            | Standing::TooOften
            | Standing::OldIncarnation
            | Standing::Ahead
            | Standing::NoRoom
            | Standing::Bad => {}
        }
    }
}

/// Adds facts of one report: the last settles it, so that the rest follows should an owner end between them.
pub(crate) fn settle(facts: Vec<SchedulerFact>, record: InputRef, decision: &mut Decision<SchedulerFact>) {
    let mut facts = facts.into_iter().peekable();
    while let Some(fact) = facts.next() {
        if facts.peek().is_some() {
            decision.fact(fact);
        } else {
            decision.settle(record, fact);
        }
    }
}
