//! One shard of one pool as a stage: which file answers what.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tidegate_protocol::facts::SchedulerFact;
use tidegate_protocol::ids::WorkerId;
use tidegate_protocol::job::SourcePosition;
use tidegate_protocol::time::Timestamp;
use tidegate_spine::Record;
use tidegate_stage::{Decision, Input, InputRef, Outbox, Signal, Stage};

use crate::aside::{Aside, Entry, Why};
use crate::clock::Clock;
use crate::early::Early;
use crate::fleet::{Fleet, Holding, Present};
use crate::gate::Gates;
use crate::gauges::{Counts, Gauges};
use crate::hellos::Hellos;
use crate::lines::Lines;
use crate::measures;
use crate::owner::Reading;
use crate::placement::Placement;
use crate::pool::Pool;
use crate::ready::Ready;
use crate::reports::Heard;
use crate::state::{State, Stopping};
use crate::transition::{self, Event};
use crate::transitions::{
    arrived, cancelled, cordoned, delayed, ended, expired, forgotten, granted, moved, outrun, overdue, refused,
    retried, returned, slices, welcomed,
};
use crate::window::{Origin, Window};

/// See the crate.
#[derive(Debug)]
pub struct Scheduler {
    pub(crate) pool: Arc<Pool>,
    /// This shard's buckets, in the order of its inputs.
    pub(crate) buckets: Vec<u32>,
    pub(crate) state: State,
    pub(crate) soft: Soft,
}

/// All that is forgotten at takeover.
#[derive(Debug)]
pub(crate) struct Soft {
    /// This owner's; `None` in replay.
    pub(crate) epoch: Option<u64>,
    /// Whether what waited under an owner before is read again.
    pub(crate) reading: Reading,
    pub(crate) window: Window,
    pub(crate) ready: Ready,
    pub(crate) aside: Aside,
    pub(crate) placement: Placement,
    pub(crate) fleet: Fleet,
    /// How often known workers were welcomed and outrun of late.
    pub(crate) hellos: BTreeMap<WorkerId, Hellos>,
    /// When leases end.
    pub(crate) leases: Clock<SourcePosition>,
    /// When leased jobs that were told to stop end without their worker.
    pub(crate) cancels: Clock<SourcePosition>,
    /// Those of them whose worker this owner has told.
    pub(crate) asked: BTreeSet<SourcePosition>,
    /// Nobody could report before; until then no job ends without its worker.
    pub(crate) unheard_until: Timestamp,
    /// When leased jobs have run for longer than they may.
    pub(crate) runtimes: Clock<SourcePosition>,
    /// When leased jobs have made no progress for too long.
    pub(crate) stalls: Clock<SourcePosition>,
    /// When workers that gave jobs back get the next.
    pub(crate) rests: Clock<WorkerId>,
    /// Withdrawals of jobs that are not known yet.
    pub(crate) early: Early,
    /// When jobs without a lease have waited for too long.
    pub(crate) deadlines: Clock<SourcePosition>,
    /// When delayed jobs are due.
    pub(crate) wakes: Clock<SourcePosition>,
    /// The same of jobs that wait in the window: no fact tells of it.
    pub(crate) sleepers: Clock<SourcePosition>,
    /// When workers count as silent.
    pub(crate) silence: Clock<WorkerId>,
    /// When workers that hold nothing are forgotten.
    pub(crate) forget: Clock<WorkerId>,
    /// Jobs of a key go one after the other.
    pub(crate) lines: Lines,
    /// Whether jobs of limited tenants and capabilities may be leased.
    pub(crate) gates: Gates,
    /// Requeued jobs with too many strikes.
    pub(crate) doomed: BTreeSet<SourcePosition>,
    /// What the record being decided was understood as.
    pub(crate) heard: Option<(InputRef, Heard)>,
    pub(crate) counts: Counts,
}

impl Soft {
    pub(crate) fn new(pool: &Pool, buckets: usize) -> Self {
        Self {
            epoch: None,
            reading: Reading::Done,
            window: Window::new(pool.window_jobs, pool.window_bytes, buckets),
            ready: Ready::new(pool.aging),
            aside: Aside::default(),
            placement: Placement::default(),
            fleet: BTreeMap::new(),
            hellos: BTreeMap::new(),
            leases: Clock::default(),
            cancels: Clock::default(),
            asked: BTreeSet::new(),
            unheard_until: Timestamp(0),
            runtimes: Clock::default(),
            stalls: Clock::default(),
            rests: Clock::default(),
            early: Early::default(),
            deadlines: Clock::default(),
            wakes: Clock::default(),
            sleepers: Clock::default(),
            silence: Clock::default(),
            forget: Clock::default(),
            lines: Lines::default(),
            gates: Gates::new(&pool.shares),
            doomed: BTreeSet::new(),
            heard: None,
            counts: Counts::default(),
        }
    }
}

/// What an input's number means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InputIs {
    Jobs(Origin),
    Reports,
    Commands,
    Withdrawals,
    Grants,
}

impl Scheduler {
    /// The shard `shard` of the pool, with nothing in it.
    #[must_use]
    pub fn new(pool: Arc<Pool>, shard: u32) -> Self {
        let buckets: Vec<u32> = pool.buckets_of(shard).collect();
        let soft = Soft::new(&pool, buckets.len());
        let state = State::new(pool.lent.as_ref().map(|lent| lent.lending.bounds()));
        Self { pool, buckets, state, soft }
    }

    /// Present sizes, and counts since this owner began.
    #[must_use]
    pub fn gauges(&self) -> Gauges {
        let open = |(id, _): &(&WorkerId, &Present)| self.state.cordons().of(id).is_none();
        let room = |(id, present): (&WorkerId, &Present)| present.room(self.holding(id, present));
        let counted =
            |present: &&Present| !present.silent && present.offer.as_ref().is_some_and(|offer| !offer.draining);
        Gauges {
            waiting: self.soft.window.len(),
            waiting_bytes: self.soft.window.bytes(),
            leased: self.state.leased(),
            requeued: self.state.requeued(),
            delayed: self.state.delayed().0 + self.soft.sleepers.len(),
            workers: self.state.workers().len(),
            workers_present: self.soft.fleet.values().filter(counted).count(),
            workers_free: self.soft.placement.free_workers(),
            workers_cordoned: self.state.cordons().len(),
            slices_awaited: self.soft.gates.unanswered().0,
            limits_silent: self.soft.gates.unanswered().1,
            free_credit: self.soft.fleet.iter().filter(open).map(room).sum(),
            counts: self.soft.counts.clone(),
        }
    }

    pub(crate) fn input(&self, number: u32) -> InputIs {
        let (number, buckets) = (number as usize, self.buckets.len());
        if number < buckets {
            InputIs::Jobs(Origin::Approved)
        } else if number < 2 * buckets {
            InputIs::Jobs(Origin::Overflow)
        } else if number == 2 * buckets {
            InputIs::Reports
        } else if number == 2 * buckets + 1 {
            InputIs::Commands
        } else if number == 2 * buckets + 2 {
            InputIs::Withdrawals
        } else {
            InputIs::Grants
        }
    }

    /// The bucket a job input carries.
    pub(crate) fn bucket(&self, number: u32) -> u32 {
        self.buckets.get(number as usize % self.buckets.len().max(1)).copied().unwrap_or(0)
    }

    /// Brings placement and clocks up to what is known of a worker.
    pub(crate) fn refresh(&mut self, worker: &WorkerId, at: Timestamp) {
        let in_flight = self.state.in_flight(worker);
        let held = self.soft.fleet.get(worker).map(|present| self.holding(worker, present));
        let soft = &mut self.soft;
        let present = soft.fleet.get(worker);
        match present.and_then(|present| Some((present, present.offer.as_ref()?, held?))) {
            Some((present, offer, held)) => {
                let cordoned = self.state.cordons().of(worker).is_some();
                match present.load(held).filter(|_| !cordoned) {
                    Some((load, true)) => soft.placement.set_worker(worker, &offer.can.for_children(), Some(load)),
                    Some((load, false)) => soft.placement.set_worker(worker, &offer.can, Some(load)),
                    None => soft.placement.set_worker(worker, &offer.can, None),
                }
            }
            None => soft.placement.remove_worker(worker),
        }
        if in_flight == 0 {
            soft.forget.set(worker, present.map_or(at, |present| present.heard) + self.pool.forget_after);
        } else {
            soft.forget.stop(worker);
        }
        self.regroup(at);
    }

    /// What a worker holds, and how much of it waits for children.
    fn holding(&self, worker: &WorkerId, present: &Present) -> Holding {
        let theirs = |source: &&SourcePosition| {
            let lease = self.state.job(source).and_then(|job| job.lease.as_ref());
            lease.is_some_and(|lease| lease.worker == *worker)
        };
        Holding { all: self.state.in_flight(worker), waiting: present.waiting.iter().filter(theirs).count() }
    }

    /// Ready jobs go where they belong since workers have come or gone: those of tenants that are apart since a moment where
    /// workers of these tenants look, those that nobody serves any more aside, those that somebody serves now back; in their order,
    /// and since when they could have been leased stays.
    fn regroup(&mut self, at: Timestamp) {
        for tenant in self.soft.placement.take_newly_apart() {
            let aside = self.soft.aside.of(&tenant).into_iter().map(|entry| (entry.source, entry.since));
            let all: Vec<_> = self.soft.ready.of(&tenant).into_iter().chain(aside).collect();
            for (source, _) in &all {
                self.soft.unlist(source);
            }
            for (source, since) in all {
                self.enlist(&source, since, at);
            }
            self.heads(at);
        }
        let (served, unserved) = self.soft.placement.take_served();
        for class in &unserved {
            for (source, since) in self.soft.ready.of_class(*class) {
                if let Some((tenant, _)) = self.owner_of(&source) {
                    self.soft.ready.remove(&source);
                    self.soft.aside.put(Why::Unserved(*class), Entry { source, tenant, since });
                }
            }
        }
        for class in &served {
            for Entry { source, since, .. } in self.soft.aside.take(*class) {
                self.enlist(&source, since, at);
            }
            self.soft.head(*class);
        }
        if !served.is_empty() {
            // Those whose jobs stand behind others now.
            self.soft.placement.purge();
        }
        if !(served.is_empty() && unserved.is_empty()) {
            self.heads(at);
        }
    }

    /// Pauses between attempts are not refused any room, so nothing more is read while there are too many of them.
    fn is_full_of_delayed(&self) -> bool {
        let (jobs, bytes) = self.state.delayed();
        jobs > 2 * self.pool.delayed_jobs || bytes > 2 * self.pool.delayed_bytes
    }

    /// Nothing could be read for `gap`: silence in it says nothing of the workers.
    fn excuse(&mut self, gap: Duration, at: Timestamp) {
        if gap > self.pool.lease / 3 {
            self.soft.leases.set_all(at + self.pool.lease);
            self.soft.silence.set_all(at + self.pool.lease);
            // Whoever could not report did not stand still for that, and may have stopped what it was to stop.
            self.soft.unheard_until = at + self.pool.lease;
            self.soft.cancels.put_off(at + self.pool.lease);
            self.soft.runtimes.put_off(at + self.pool.lease);
            self.soft.stalls.put_off(at + self.pool.lease);
        }
    }

    /// Workers not heard of for a lease get nothing until they report again; jobs in the window whose time has come may be
    /// leased.
    fn sweep(&mut self, at: Timestamp) {
        self.wait_no_longer(at);
        let silent: Vec<WorkerId> = self.soft.silence.due(at).cloned().collect();
        for worker in silent {
            self.soft.silence.stop(&worker);
            if let Some(present) = self.soft.fleet.get_mut(&worker) {
                present.silent = true;
            }
            self.refresh(&worker, at);
        }
        let rested: Vec<WorkerId> = self.soft.rests.due(at).cloned().collect();
        for worker in rested {
            self.soft.rests.stop(&worker);
            if let Some(present) = self.soft.fleet.get_mut(&worker) {
                present.resting = false;
            }
            self.refresh(&worker, at);
        }
        let due: Vec<SourcePosition> = self.soft.sleepers.due(at).cloned().collect();
        for source in due {
            self.soft.sleepers.stop(&source);
            self.offer(&source, at);
        }
        for subject in self.soft.gates.due(at) {
            self.gate(&subject, at);
        }
        self.say_whether_late(at);
        self.heads(at);
    }
}

/// The job a fact is about, and what it does to it.
fn about(fact: &SchedulerFact) -> Option<(&SourcePosition, Event)> {
    match fact {
        SchedulerFact::LeaseGranted { source, .. } => Some((source, Event::Granted)),
        SchedulerFact::LeaseExpired { source, until: None, .. } => Some((source, Event::Expired)),
        SchedulerFact::LeaseExpired { source, until: Some(_), .. } => Some((source, Event::Paused)),
        SchedulerFact::JobRetried { source, .. } => Some((source, Event::Paused)),
        SchedulerFact::JobDelayed { source, .. } => Some((source, Event::Delayed)),
        SchedulerFact::JobDue { source } => Some((source, Event::Due)),
        SchedulerFact::CancelAsked { source, .. } => Some((source, Event::Asked)),
        SchedulerFact::JobFinished { source, .. } => Some((source, Event::Finished)),
        SchedulerFact::JobMoved { source, .. } => Some((source, Event::Moved)),
        SchedulerFact::JobReturned { source, .. } => Some((source, Event::Returned)),
        SchedulerFact::ResultRefused { source, .. }
        | SchedulerFact::ResultRepeated { source, .. }
        | SchedulerFact::WithdrawalKept { source, .. }
        | SchedulerFact::WithdrawalMoved { source, .. }
        | SchedulerFact::JobDuplicate { source, .. } => Some((source, Event::Aside)),
        SchedulerFact::WorkerWelcomed { .. }
        | SchedulerFact::WorkerOutrun { .. }
        | SchedulerFact::WorkRefused { .. }
        | SchedulerFact::WorkerCordoned { .. }
        | SchedulerFact::WorkerUncordoned { .. }
        | SchedulerFact::PoolCommandRefused { .. }
        | SchedulerFact::SliceRequested { .. }
        | SchedulerFact::SliceGranted { .. }
        | SchedulerFact::SliceReturned { .. }
        | SchedulerFact::WorkerForgotten { .. } => None,
    }
}

/// The number of the move of a job that this fact takes out of `overflow`; 0 when it does not.
fn back(fact: &SchedulerFact) -> u64 {
    match fact {
        SchedulerFact::LeaseGranted { moved, .. }
        | SchedulerFact::JobDelayed { moved, .. }
        | SchedulerFact::JobFinished { moved, .. }
        | SchedulerFact::JobDuplicate { moved, .. }
        | SchedulerFact::JobMoved { moved, .. }
        | SchedulerFact::JobReturned { moved, .. } => *moved,
        SchedulerFact::WorkerWelcomed { .. }
        | SchedulerFact::WorkerOutrun { .. }
        | SchedulerFact::LeaseExpired { .. }
        | SchedulerFact::CancelAsked { .. }
        | SchedulerFact::WithdrawalKept { .. }
        | SchedulerFact::WithdrawalMoved { .. }
        | SchedulerFact::JobRetried { .. }
        | SchedulerFact::JobDue { .. }
        | SchedulerFact::ResultRepeated { .. }
        | SchedulerFact::ResultRefused { .. }
        | SchedulerFact::WorkRefused { .. }
        | SchedulerFact::WorkerForgotten { .. }
        | SchedulerFact::WorkerCordoned { .. }
        | SchedulerFact::WorkerUncordoned { .. }
        | SchedulerFact::SliceRequested { .. }
        | SchedulerFact::SliceGranted { .. }
        | SchedulerFact::SliceReturned { .. }
        | SchedulerFact::PoolCommandRefused { .. } => 0,
    }
}

impl Stage for Scheduler {
    type Fact = SchedulerFact;
    type Signal = ();

    fn decide(&self, input: &Input<'_>, at: Timestamp, decision: &mut Decision<SchedulerFact>) {
        let Some(epoch) = self.soft.epoch else {
            decision.wait();
            return;
        };
        match input {
            Input::Record(arrival) => self.decide_record(arrival.at, (epoch, at), decision),
            Input::Refused(arrival, reason) => arrived::refuse(arrival, *reason, decision),
            Input::Tick { fresh } => {
                expired::tick(self, *fresh, at, decision);
                cancelled::tick(self, *fresh, at, decision);
                overdue::tick(self, *fresh, at, decision);
                delayed::tick(self, *fresh, decision);
                ended::tick(self, *fresh, decision);
                forgotten::tick(self, *fresh, decision);
                slices::tick(self, *fresh, (epoch, at), decision);
            }
            Input::Poll => {
                if !ended::doomed(self, decision)
                    && !slices::pay(self, epoch, at, decision)
                    && !granted::next(self, epoch, at, decision)
                {
                    moved::relieve(self, decision);
                }
            }
            Input::Evict(input) => moved::evict(self, *input, decision),
        }
    }

    fn apply(&mut self, fact: &SchedulerFact, at: Timestamp) {
        if let Some((source, event)) = about(fact)
            && transition::next(self.state.phase(source), event).is_none()
        {
            self.soft.counts.impossible_facts += 1;
            return;
        }
        self.state.overflow_mut().take(back(fact));
        match fact {
            SchedulerFact::WorkerWelcomed { worker, incarnation, lane, .. } => {
                welcomed::apply(self, worker, *incarnation, *lane, at);
            }
            SchedulerFact::WorkerOutrun { worker, .. } => outrun::apply(self, worker, at),
            SchedulerFact::LeaseGranted { source, worker, incarnation, token, number, work, spends, .. } => {
                let (worker, incarnation, number) = (worker.clone(), *incarnation, *number);
                let lease = crate::state::Lease { worker, incarnation, number, since: Some(at) };
                granted::apply(self, source, lease, *token, (work.as_deref(), spends), at);
            }
            SchedulerFact::LeaseExpired { source, end, until, .. } => expired::apply(self, source, *end, *until, at),
            SchedulerFact::JobRetried { source, by, until, usage, .. } => {
                retried::apply(self, source, by, *until, *usage, at);
            }
            SchedulerFact::CancelAsked { source, until, outcome, reason, again, .. } => {
                let (until, outcome, reason, again) = (*until, *outcome, reason.clone(), *again);
                cancelled::apply(self, source, Stopping { until, outcome, reason, again });
            }
            // What it is about is read when it comes from there.
            SchedulerFact::WithdrawalMoved { .. } => {}
            SchedulerFact::WithdrawalKept { source, tenant, job_id, reason } => {
                self.state.overflow_mut().withdraw(source, (tenant.clone(), job_id.clone(), reason.clone()));
            }
            SchedulerFact::JobDelayed { source, until, work, .. } => delayed::apply(self, source, *until, work, at),
            SchedulerFact::JobDue { source } => delayed::due(self, source, at),
            SchedulerFact::JobFinished { source, outcome, by, .. } => {
                ended::apply(self, source, *outcome, by.as_ref(), at);
            }
            SchedulerFact::ResultRefused { source, by, reason } => refused::apply(self, source, by, reason, at),
            SchedulerFact::ResultRepeated { by, .. } => refused::repeated(self, by, at),
            SchedulerFact::JobDuplicate { source, duplicate_of, moved, .. } => {
                arrived::duplicate(self, source, duplicate_of, *moved, at);
            }
            SchedulerFact::JobMoved { source, work, .. } => moved::apply(self, source, work, at),
            SchedulerFact::JobReturned { source, .. } => returned::apply(self, source, at),
            SchedulerFact::WorkRefused { .. } => self.soft.counts.work_refused += 1,
            SchedulerFact::WorkerForgotten { worker } => forgotten::apply(self, worker),
            SchedulerFact::WorkerCordoned { worker, tell, command, by, at_ms, reason, .. } => {
                let said = cordoned::said(by.as_str(), reason);
                cordoned::apply(self, worker, *tell, said, (command, *at_ms), at);
            }
            SchedulerFact::WorkerUncordoned { worker, command, at_ms, .. } => {
                cordoned::lift(self, worker, (command, *at_ms), at);
            }
            SchedulerFact::PoolCommandRefused { command, at_ms, why, .. } => {
                cordoned::refused(self, *why, (command, *at_ms), at);
            }
            SchedulerFact::SliceRequested { request } | SchedulerFact::SliceReturned { request } => {
                slices::asked(self, request, at);
            }
            SchedulerFact::SliceGranted { answer } => slices::granted(self, answer, at),
        }
        self.state.wallet_mut().forget_due(at);
    }

    fn emit(&self, fact: &SchedulerFact, at: Timestamp, input: Option<&Record>, outbox: &mut Outbox) {
        match fact {
            SchedulerFact::WorkerWelcomed { .. } => welcomed::emit(self, fact, outbox),
            SchedulerFact::WorkerOutrun { .. } => outrun::emit(self, fact, outbox),
            SchedulerFact::LeaseGranted { .. } => granted::emit(self, fact, outbox),
            SchedulerFact::JobFinished { .. } => ended::emit(self, fact, at, input, outbox),
            SchedulerFact::ResultRefused { .. } | SchedulerFact::ResultRepeated { .. } => {
                refused::emit(self, fact, outbox);
            }
            SchedulerFact::JobMoved { .. } | SchedulerFact::WithdrawalMoved { .. } => moved::emit(self, fact, outbox),
            SchedulerFact::JobReturned { .. } => returned::emit(self, fact, at, outbox),
            SchedulerFact::WorkRefused { .. } => arrived::emit(self, fact, input, outbox),
            SchedulerFact::JobDuplicate { .. } => ended::duplicate(self, fact, at, outbox),
            SchedulerFact::JobRetried { source, by, .. } => retried::emit(self, source, by, outbox),
            SchedulerFact::CancelAsked { source, to, reason, .. } => cancelled::emit(self, source, to, reason, outbox),
            SchedulerFact::WorkerCordoned { .. } => cordoned::emit(self, fact, outbox),
            SchedulerFact::SliceRequested { request } | SchedulerFact::SliceReturned { request } => {
                slices::emit(self, request, outbox);
            }
            SchedulerFact::SliceGranted { .. }
            | SchedulerFact::LeaseExpired { .. }
            | SchedulerFact::WorkerUncordoned { .. }
            | SchedulerFact::PoolCommandRefused { .. }
            | SchedulerFact::WithdrawalKept { .. }
            | SchedulerFact::JobDelayed { .. }
            | SchedulerFact::JobDue { .. }
            | SchedulerFact::WorkerForgotten { .. } => {}
        }
    }

    fn needs_input(&self, fact: &SchedulerFact) -> bool {
        arrived::needs_input(fact)
    }

    fn observe(&mut self, signal: Signal<'_, ()>, at: Timestamp) {
        match signal {
            Signal::Arrived(arrival) => {
                self.sweep(at);
                self.hear(&arrival, at);
            }
            Signal::Due => self.sweep(at),
            Signal::Outside(()) => {}
            Signal::Owner { epoch } => self.begin(epoch, at),
            Signal::ReadAgain { left } => self.read_again(left, at),
            Signal::Gap(gap) => self.excuse(gap, at),
        }
    }

    fn next_due(&self) -> Option<Timestamp> {
        let soft = &self.soft;
        let jobs = [soft.leases.next(), soft.cancels.next(), soft.deadlines.next(), soft.wakes.next()];
        let others = [soft.sleepers.next(), soft.gates.next(), soft.forget.next(), soft.rests.next()];
        let overdue = [soft.runtimes.next(), soft.stalls.next(), self.state.wallet().next_due()];
        jobs.into_iter().chain(others).chain(overdue).flatten().min()
    }

    fn admits(&self, input: u32) -> bool {
        match self.input(input) {
            InputIs::Jobs(_) => self.soft.window.admits(input) && !self.is_full_of_delayed(),
            InputIs::Reports | InputIs::Commands | InputIs::Withdrawals | InputIs::Grants => true,
        }
    }

    fn tally(fact: &SchedulerFact, count: &mut dyn FnMut(&'static str, &'static str, &'static str)) {
        measures::tally(fact, count);
    }

    fn figures(&self, publish: &mut dyn FnMut(&'static str, f64)) {
        measures::figures(&self.gauges(), publish);
    }

    fn snapshot(&self) -> Result<String, serde_json::Error> {
        self.state.snapshot()
    }

    fn restore(&mut self, snapshot: &str) -> Result<(), serde_json::Error> {
        self.state = State::restore(snapshot, self.pool.lent.as_ref().map(|lent| lent.lending.bounds()))?;
        self.soft = Soft::new(&self.pool, self.buckets.len());
        Ok(())
    }
}
