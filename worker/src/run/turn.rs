//! One turn of the loop after the other, and the drain.

use std::collections::BTreeSet;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use tidegate_protocol::decision::Judged;
use tidegate_protocol::fleet::Order;
use tidegate_protocol::outcome::Outcome;
use tidegate_protocol::time::Timestamp;
use tidegate_spine::Record;
use tokio::time::{Sleep, sleep};
use tracing::{debug, info, warn};

use super::allot::Allotment;
use super::gate::{From, Gate, NotOurs};
use super::jobs::{Done, End, Jobs};
use super::lane::{Event, Lane};
use super::link::Link;
use super::shares::Shares;
use super::{Clock, Drained, RunError, incarnation};
use crate::context::{Cancel, CancelSignal, Origin};
use crate::lending::{Lender, Lending};
use crate::measures::Measures;
use crate::payload::Fetching;
use crate::session::{Action, Ended, Incarnation, JobKey, Retry};
use crate::signs::{Heard, Said, Sign, Signs, signs};
use crate::{Context, Worker, constraints};

/// A drain lasts at least this long, so that assignments sent before the scheduler read of it are given back at once and
/// need not wait for their leases to run out.
const LINGER: Duration = Duration::from_millis(250);

/// Where the worker is in its life. Times are when the phase gives up waiting.
#[derive(Debug, Clone, Copy)]
enum Phase {
    Working,
    /// Running jobs may finish.
    Draining(Timestamp),
    /// They were told to stop, and are dropped when their grace is over.
    Stopping,
    /// Nothing runs; the last results are to be settled.
    Settling(Timestamp),
}

pub(super) struct Loop {
    worker: Worker,
    clock: Clock,
    gate: Gate,
    lane: Lane,
    links: Vec<Option<Link>>,
    allotment: Allotment,
    /// Of what is asked of us.
    shares: Shares,
    incarnation: Incarnation,
    max_output: usize,
    jobs: Jobs,
    /// Handlers started since the beginning.
    started: u64,
    signs: (Signs, Heard),
    /// Slots that jobs lend while they wait for others.
    lending: Lending,
    /// Constraints that were left to handlers, as it was said: some of a fixed list.
    passed_on: BTreeSet<Vec<&'static str>>,
    records: Vec<Record>,
    timer: Pin<Box<Sleep>>,
    phase: Phase,
    /// When a drain may end at the earliest.
    linger: Timestamp,
    measures: Measures,
}

impl Loop {
    pub(super) fn new(
        worker: Worker,
        clock: Clock,
        gate: Gate,
        lane: Lane,
        (links, allotment): (Vec<Option<Link>>, Allotment),
        incarnation: Incarnation,
        max_output: usize,
    ) -> Self {
        let measures = Measures::of(&worker.pool);
        let shares = Shares::new(links.len());
        measures.incarnations.increment(1);
        Self {
            worker,
            clock,
            gate,
            lane,
            links,
            allotment,
            shares,
            incarnation,
            max_output,
            jobs: Jobs::default(),
            started: 0,
            signs: signs(),
            lending: Lending::default(),
            passed_on: BTreeSet::new(),
            records: Vec::new(),
            timer: Box::pin(sleep(Duration::ZERO)),
            phase: Phase::Working,
            linger: Timestamp::default(),
            measures,
        }
    }

    pub(super) async fn run(
        mut self,
        mut shutdown: Pin<&mut (impl Future<Output = ()> + Send)>,
    ) -> Result<Drained, RunError> {
        poll_fn(move |cx| self.poll(cx, shutdown.as_mut())).await
    }

    fn poll(
        &mut self,
        cx: &mut TaskContext<'_>,
        mut shutdown: Pin<&mut (impl Future<Output = ()> + Send)>,
    ) -> Poll<Result<Drained, RunError>> {
        loop {
            if matches!(self.phase, Phase::Working) && shutdown.as_mut().poll(cx).is_ready() {
                self.begin_drain();
            }
            let mut changed = match self.take_in(cx) {
                Ok(changed) => changed,
                Err(error) => return Poll::Ready(Err(error)),
            };
            self.heed_demand(cx);
            let now = self.clock.now();
            if let Some(drained) = self.advance(now) {
                return Poll::Ready(Ok(drained));
            }
            self.share_out(now);
            self.speak(now);
            changed |= self.poll_links(cx);
            let due = self.next_due(now).map(|at| self.clock.instant(at));
            if let Some(due) = due
                && due != self.timer.deadline()
            {
                self.timer.as_mut().reset(due);
            }
            changed |= due.is_some() && self.timer.as_mut().poll(cx).is_ready();
            if !changed {
                return Poll::Pending;
            }
        }
    }

    /// Takes what running jobs told; whether there was anything.
    fn take_signs(&mut self, cx: &mut TaskContext<'_>) -> bool {
        let mut changed = false;
        while let Poll::Ready(Some(Sign { shard, job, said })) = self.signs.1.poll(cx) {
            changed = true;
            let Some(link) = self.link(shard) else { continue };
            match said {
                Said::Progress { fraction, note } => link.session.progressed(&job, fraction, note),
                Said::Partial(piece) => link.session.partial(&job, piece),
            }
        }
        changed
    }

    /// Takes whatever is ready; whether there was anything.
    fn take_in(&mut self, cx: &mut TaskContext<'_>) -> Result<bool, RunError> {
        let mut changed = false;
        // Results first: they free the slots that orders may want.
        while let Poll::Ready(done) = self.jobs.poll_done(cx, self.max_output) {
            changed = true;
            // What it told before it ended is here by now, and belongs before its result.
            self.take_signs(cx);
            self.done(done);
        }
        changed |= self.take_signs(cx);
        let lent = self.lending.take(cx);
        if !lent.is_empty() {
            changed = true;
            for ((shard, job), waits) in lent {
                if let Some(link) = self.link(shard) {
                    link.session.waits(&job, waits);
                }
            }
            // Before the lane: what goes on takes its slot before anything new does.
            self.share_out(self.clock.now());
        }
        let mut records = std::mem::take(&mut self.records);
        if let Poll::Ready(event) = self.lane.poll(cx, &mut records) {
            changed = true;
            match event {
                Event::Records => {
                    for record in records.drain(..) {
                        self.record(&record)?;
                    }
                }
                Event::Opened { lane, position } => self.begin_again(lane, position)?,
            }
        }
        self.records = records;
        self.measures.skipped.increment(self.lane.take_skipped());
        Ok(changed)
    }

    /// Asks for what is asked of us and was not started yet.
    fn heed_demand(&mut self, cx: &TaskContext<'_>) {
        let Some(total) = self.worker.demand.as_ref().map(|demand| demand.poll_total(cx)) else { return };
        let further = u32::try_from(total.saturating_sub(self.started)).unwrap_or(u32::MAX);
        let now = self.clock.now();
        for (link, part) in self.links.iter_mut().zip(self.shares.of(further, now)) {
            if let Some(link) = link {
                link.session.offer(part);
            }
        }
    }

    /// Moves slots to the shards that have jobs for them.
    fn share_out(&mut self, now: Timestamp) {
        if self.links.len() < 2 || !matches!(self.phase, Phase::Working) {
            return;
        }
        let held: Vec<u32> =
            self.links.iter().map(|link| link.as_ref().map_or(0, |link| link.session.slots_taken())).collect();
        if self.allotment.settle(&held, now) {
            for (shard, link) in self.links.iter_mut().enumerate() {
                if let Some(link) = link {
                    link.session.set_capacity(self.allotment.of(shard));
                }
            }
        }
    }

    /// Watches leases and hands over what there is to say.
    fn speak(&mut self, now: Timestamp) {
        let (mut free, mut unsettled, mut doubted) = (0, 0, 0);
        let load = self.worker.load.as_ref().map(|load| load());
        for shard in 0..self.links.len() {
            let Some(link) = self.link(shard) else { continue };
            if let Some(load) = load {
                link.session.loaded(load);
            }
            let in_doubt = link.session.is_in_doubt(now);
            if link.doubt.set(in_doubt) {
                let jobs = link.session.occupied();
                if in_doubt {
                    warn!(
                        shard,
                        jobs, "no report landed for a full lease: its leases are in doubt, and nothing new is taken"
                    );
                } else {
                    info!(shard, jobs, "reports land again");
                }
            }
            let lost = link.session.fence(now);
            doubted += if in_doubt { link.session.occupied() } else { 0 };
            link.send(now);
            free += link.session.free();
            unsettled += link.session.unsettled();
            if !lost.is_empty() {
                warn!(jobs = lost.len(), shard, "its jobs are stopped, as the worker was told for this case");
                for action in lost {
                    if let Action::LeaseLost { job } = action {
                        self.lease_lost(shard, job);
                    }
                }
            }
        }
        self.measures.running.set(u32::try_from(self.jobs.len()).unwrap_or(u32::MAX));
        self.measures.credit.set(u32::try_from(free).unwrap_or(u32::MAX));
        self.measures.in_doubt.set(u32::try_from(doubted).unwrap_or(u32::MAX));
        self.measures.unsettled.set(u32::try_from(unsettled).unwrap_or(u32::MAX));
    }

    fn poll_links(&mut self, cx: &mut TaskContext<'_>) -> bool {
        let measures = &self.measures;
        let polled = self.links.iter_mut().flatten().map(|link| link.poll(cx, measures).is_ready());
        polled.fold(false, |any, ready| any | ready)
    }

    fn next_due(&self, now: Timestamp) -> Option<Timestamp> {
        let phase = match self.phase {
            Phase::Draining(until) => Some(until),
            Phase::Settling(until) if now < self.linger => Some(until.min(self.linger)),
            Phase::Settling(until) => Some(until),
            Phase::Working | Phase::Stopping => None,
        };
        // A link that cannot send now wakes the loop by itself; until then only its leases are due.
        let links = self.links.iter().flatten().filter_map(|link| match link.is_ready() {
            true => link.session.next_due(now),
            false => link.session.fence_due(now),
        });
        let moves = self.allotment.due().filter(|_| matches!(self.phase, Phase::Working));
        links.chain(phase).chain(moves).min()
    }

    fn link(&mut self, shard: usize) -> Option<&mut Link> {
        self.links.get_mut(shard).and_then(Option::as_mut)
    }

    fn record(&mut self, record: &Record) -> Result<(), RunError> {
        let now = self.clock.now();
        let From { shard, epoch } = match self.gate.order(self.incarnation.lane, record, now) {
            Ok(from) => from,
            Err(why) => {
                self.measures.bad.increment(1);
                warn!(offset = record.offset, %why, "a record in the lane is no order of this pool's scheduler and was skipped");
                return Ok(());
            }
        };
        let order = serde_json::from_slice::<Order>(record.value.as_deref().unwrap_or_default());
        let actions = match (order, self.link(shard)) {
            (Ok(order), Some(link)) => (shard, link.session.order(order, Some(epoch), now)),
            (Err(error), _) => {
                self.measures.bad.increment(1);
                warn!(offset = record.offset, %error, "a record in the lane is no order and was skipped");
                return Ok(());
            }
            (Ok(_), None) => {
                self.measures.bad.increment(1);
                warn!(offset = record.offset, shard, "a record in the lane names no shard of the pool and was skipped");
                return Ok(());
            }
        };
        let (shard, actions) = actions;
        actions.into_iter().try_for_each(|action| self.act(shard, action))
    }

    fn act(&mut self, shard: usize, action: Action) -> Result<(), RunError> {
        match action {
            Action::Run { job, work } => {
                self.shares.came(shard, self.clock.now());
                self.start(shard, job, work);
            }
            Action::LeaseLost { job } => self.lease_lost(shard, job),
            Action::Cancel { job, reason } => {
                info!(%job, %reason, "called off; the job is stopped");
                self.jobs.cancel(&(shard, job), Cancel::Withdrawn);
            }
            Action::Drain { reason } => {
                info!(%reason, "told to leave");
                if self.worker.leaves && matches!(self.phase, Phase::Working) {
                    self.begin_drain();
                }
            }
            Action::Settled { job, accepted, reason } => {
                if !accepted {
                    self.measures.refused.increment(1);
                    warn!(%job, %reason, "the scheduler refused a result");
                }
                if let Some(told) = &self.worker.settled {
                    told(&job, accepted, &reason);
                }
            }
            Action::GivenBack { job } => {
                self.measures.given_back.increment(1);
                debug!(%job, "given back unrun");
            }
            Action::Welcomed { epoch } => {
                info!(shard, epoch, "welcomed");
                self.links.iter_mut().flatten().for_each(|link| link.session.welcomed_elsewhere());
            }
            Action::Outrun { known } => return self.rise(known),
            Action::Superseded { incarnation } => return Err(self.superseded(incarnation)),
            Action::Ignored { why } => {
                self.measures.ignored(why);
                debug!(why = why.word(), "an order was ignored");
            }
        }
        Ok(())
    }

    fn start(&mut self, shard: usize, key: JobKey, work: Box<serde_json::value::RawValue>) {
        let judged = match serde_json::from_str::<Judged>(work.get()) {
            Ok(judged) => judged,
            Err(error) => {
                return self.ended(shard, &key, Ended::failed(format!("the worker cannot read the job: {error}")));
            }
        };
        if judged.job.source != key.source {
            return self.ended(shard, &key, Ended::failed("the assignment is not for this job"));
        }
        if let Err(why) = self.gate.job(work.get(), &judged, self.clock.now()) {
            self.measures.unproven.increment(1);
            if why == NotOurs::Expired {
                // By the scheduler's clock it will have expired too, and the job goes back to its kernel.
                warn!(job = %key, "a job's ticket expired on its way here; it goes back unrun");
                return self.give_back(shard, &key);
            }
            warn!(job = %key, %why, "a job was refused: nothing runs without a valid ticket");
            return self.ended(shard, &key, Ended::failed(format!("refused by its worker: {why}")));
        }
        let Some(handler) = self.worker.handlers.get(&judged.job.capability).cloned() else {
            warn!(job = %key, capability = %judged.job.capability, "no handler for an assigned job; it goes back");
            return self.give_back(shard, &key);
        };
        if judged.job.deadline.is_some_and(|deadline| deadline <= self.clock.now().millis()) {
            let reason = "its deadline had passed before it started".to_owned();
            return self.ended(
                shard,
                &key,
                Ended { outcome: Outcome::TimedOut, reason, output: None, retry: Retry::Never },
            );
        }
        if let Some(asked) = judged.decision.constraints.as_deref() {
            let unmet = constraints::unmet(asked, &self.worker.enforces);
            if !unmet.is_empty() {
                self.measures.unconstrained.increment(1);
                warn!(job = %key, ?unmet, "a job was refused: nothing here sees to its constraints");
                let reason = format!(
                    "refused by its worker: it does not enforce {}; run the job where that is enforced, and tell the worker so",
                    unmet.join(", ")
                );
                return self.ended(shard, &key, Ended::failed(reason));
            }
            let passed_on = constraints::passed_on(asked);
            if !passed_on.is_empty() && self.passed_on.insert(passed_on.clone()) {
                info!(job = %key, ?passed_on, "constraints that the handler alone can keep; said once of each such list");
            }
        }
        let handler = match (judged.payload_ref, &self.worker.payloads) {
            (None, _) => handler,
            (Some(reference), Some(store)) => Arc::new(Fetching { handler, store: Arc::clone(store), reference }),
            (Some(_), None) => {
                warn!(job = %key, "a job was refused: its payload is kept beside the log, and this worker knows no such place");
                let refused = Ended::failed(
                    "not run: its payload is kept beside the log, and its worker was not told where (`payloads:` in its configuration)",
                );
                return self.ended(shard, &key, Ended { retry: Retry::Backoff, ..refused });
            }
        };
        // By the worker's clock, which a step of the system's does not move.
        let deadline = judged.job.deadline.map(|ms| self.clock.instant(Timestamp(ms.saturating_mul(1_000))));
        let (signal, cancel) = CancelSignal::new();
        let origin = Origin { record: work, children: self.worker.children.clone() };
        let lender = Lender::new(self.lending.clone(), (shard, key.clone()));
        let doubt = self.link(shard).map(|link| link.doubt.clone()).unwrap_or_default();
        match Context::new(shard, key.clone(), judged, (origin, lender), (cancel, doubt), self.signs.0.clone()) {
            Ok(context) => {
                self.started += 1;
                let ends = (deadline, self.worker.settings.cancel_grace);
                self.jobs.start((shard, key), handler, context, signal, ends);
            }
            Err(error) => {
                self.ended(shard, &key, Ended::failed(format!("the worker cannot read the payload: {error}")))
            }
        }
    }

    fn done(&mut self, done: Done) {
        let (shard, key) = done.slot;
        self.measures.job_seconds.record(done.took);
        match done.end {
            End::Result(ended) => self.ended(shard, &key, ended),
            End::GivenBack => self.give_back(shard, &key),
            End::Abandoned => {
                if self.link(shard).is_some_and(|link| link.session.abandon(&key)) {
                    self.measures.abandoned.increment(1);
                }
            }
        }
    }

    fn ended(&mut self, shard: usize, key: &JobKey, ended: Ended) {
        let outcome = ended.outcome;
        if self.link(shard).is_some_and(|link| link.session.finished(key, ended)) {
            self.measures.job(outcome);
        } else {
            debug!(job = %key, outcome = outcome.word(), "ended after its lease was lost");
            if let Some(told) = &self.worker.settled {
                told(key, false, "stale_fence");
            }
        }
    }

    fn give_back(&mut self, shard: usize, key: &JobKey) {
        if self.link(shard).is_some_and(|link| link.session.give_back(key)) {
            self.measures.given_back.increment(1);
        }
    }

    fn lease_lost(&mut self, shard: usize, job: JobKey) {
        self.measures.leases_lost.increment(1);
        warn!(%job, "lease lost; the job is stopped");
        self.jobs.cancel(&(shard, job), Cancel::LeaseLost);
    }

    fn superseded(&self, theirs: u64) -> RunError {
        RunError::Superseded { worker: self.worker.id.clone(), ours: self.incarnation.number, theirs }
    }

    /// On another place of the lane.
    fn begin_again(&mut self, lane: u32, lane_position: u64) -> Result<(), RunError> {
        let number = incarnation::above(self.incarnation.number, self.clock.now());
        let number = number.ok_or_else(|| self.superseded(self.incarnation.number))?;
        self.begin(Incarnation { number, lane, lane_position })
    }

    /// Above the number that the worker's name has.
    fn rise(&mut self, known: u64) -> Result<(), RunError> {
        let ours = self.incarnation.number;
        let number = incarnation::above(known.max(ours), self.clock.now()).ok_or_else(|| self.superseded(known))?;
        info!(worker = %self.worker.id, ours, known, "a life before had a higher number: its clock was ahead of ours, or another process has this worker's name");
        self.begin(Incarnation { number, ..self.incarnation })
    }

    fn begin(&mut self, incarnation: Incarnation) -> Result<(), RunError> {
        let now = self.clock.now();
        self.incarnation = incarnation;
        self.measures.incarnations.increment(1);
        info!(worker = %self.worker.id, incarnation = incarnation.number, "a new incarnation begins");
        for shard in 0..self.links.len() {
            let lost = self.link(shard).map(|link| link.session.restart(incarnation, now)).unwrap_or_default();
            lost.into_iter().try_for_each(|action| self.act(shard, action))?;
        }
        Ok(())
    }

    fn begin_drain(&mut self) {
        info!(worker = %self.worker.id, running = self.jobs.len(), "draining");
        self.links.iter_mut().flatten().for_each(|link| link.session.drain());
        let now = self.clock.now();
        self.phase = Phase::Draining(now + self.worker.settings.drain_limit);
        self.linger = now + LINGER;
    }

    /// Moves the drain on; `Some` when it is over.
    fn advance(&mut self, now: Timestamp) -> Option<Drained> {
        loop {
            self.phase = match self.phase {
                Phase::Working => return None,
                Phase::Draining(_) | Phase::Stopping if self.jobs.len() == 0 => {
                    Phase::Settling(now + self.worker.settings.settle_limit)
                }
                Phase::Draining(until) if until <= now => {
                    warn!(running = self.jobs.len(), "drain limit reached; what still runs is stopped and goes back");
                    self.jobs.cancel_all(Cancel::Draining);
                    Phase::Stopping
                }
                Phase::Draining(_) | Phase::Stopping => return None,
                Phase::Settling(until) => {
                    let idle = self.links.iter().flatten().all(|link| link.session.is_idle());
                    if now < until && (!idle || now < self.linger) {
                        return None;
                    }
                    let unsettled = self.links.iter().flatten().map(|link| link.session.unsettled()).sum();
                    info!(worker = %self.worker.id, unsettled, "drained");
                    return Some(Drained { unsettled });
                }
            };
        }
    }
}
