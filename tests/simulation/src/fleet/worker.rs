//! Simulated worker processes: the worker crate's gate and session, driven by the simulated spine.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::FutureExt;
use futures::future::BoxFuture;
use tidegate_protocol::address::{TopicName, TopicPartition};
use tidegate_protocol::decision::Judged;
use tidegate_protocol::fleet::Order;
use tidegate_protocol::headers;
use tidegate_protocol::ids::{Capability, WorkerId};
use tidegate_protocol::outcome::Outcome;
use tidegate_protocol::time::Timestamp;
use tidegate_spine::inbox::Inbox;
use tidegate_spine::{Headers, Landing, NewRecord, Producer, ProducerOptions, Record, Spine};
use tidegate_worker::run::gate::Gate;
use tidegate_worker::session::{Action, Ended, Identity, Incarnation, JobKey, Retry, Session};

use super::executions::{Execution, Executions};
use super::families;
use super::parts::{named, pool_name};
use crate::chance::Chance;
use crate::clock::broker_us;
use crate::executor::{Core, Process};
use crate::keys;
use crate::spine::SimSpine;

/// One worker, over all its lives.
#[derive(Clone)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// What it can do.
    pub capabilities: Vec<&'static str>,
    /// Jobs it runs at once.
    pub capacity: u32,
    /// Where executions are noted.
    pub executions: Arc<Executions>,
    /// Whether it asks who wrote an order, and for a job's ticket; not to is a planted bug.
    pub checks: bool,
    /// What its jobs do is drawn from.
    pub seed: u64,
}

/// Processes of workers have numbers from here on.
const FIRST_PROCESS: u32 = 1_000;

impl Member {
    /// Starts a life of it; the process it lives in.
    pub fn start(&self, seed: u64, core: &Core, spine: &SimSpine, life: u32, number: u32) -> Process {
        let process = Process(FIRST_PROCESS + number * 100 + life);
        let chance = Chance::new(seed, &format!("{} {life}", self.name));
        core.spawn(process, self.clone().live(core.clone(), spine.of(process), chance));
        process
    }

    async fn live(self, core: Core, spine: SimSpine, mut chance: Chance) {
        let (work, reports): (TopicName, TopicPartition) = (named("work.p"), named("reports.p").partition(0));
        let capabilities = self.capabilities.iter().filter_map(|c| Capability::new(c).ok()).collect();
        let Ok(worker) = WorkerId::new(&self.name) else { return };
        loop {
            let options = ProducerOptions { name: self.name.clone(), ..ProducerOptions::default() };
            let opened = (Inbox::open(&spine, &work, &self.name).await, spine.producer(options).await);
            let (Ok(inbox), Ok(producer)) = opened else {
                core.sleep_until(core.now() + 200_000).await;
                continue;
            };
            let (lane, lane_position) = (inbox.opened_at().0.partition, inbox.opened_at().1);
            let incarnation = Incarnation { number: core.now() + 1, lane, lane_position };
            let identity =
                Identity { worker: worker.clone(), capabilities: Clone::clone(&capabilities), capacity: self.capacity };
            let mut life = Life {
                session: Session::new(identity, incarnation, Timestamp(core.now())),
                core: core.clone(),
                spine: spine.clone(),
                gate: Gate::new(keys::stages(), &pool_name(), work.clone(), named("approved.p")),
                lane,
                inbox,
                producer,
                reports: reports.clone(),
                landing: None,
                running: BTreeMap::new(),
                timer: None,
                member: &self,
                chance: &mut chance,
            };
            poll_fn(|cx| life.poll(cx)).await;
        }
    }
}

/// One incarnation at work.
struct Life<'a> {
    session: Session,
    core: Core,
    spine: SimSpine,
    gate: Gate,
    lane: u32,
    inbox: Inbox,
    producer: Box<dyn Producer>,
    reports: TopicPartition,
    landing: Option<Landing>,
    running: BTreeMap<JobKey, BoxFuture<'static, ()>>,
    timer: Option<(u64, BoxFuture<'static, ()>)>,
    member: &'a Member,
    chance: &'a mut Chance,
}

impl Life<'_> {
    /// Ready when this incarnation is over.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let now = Timestamp(self.core.now());
            let mut progress = false;
            let mut records = Vec::new();
            match self.inbox.poll_receive(cx, &mut records) {
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Ready(Ok(())) => progress = true,
                Poll::Pending => {}
            }
            for record in records {
                if self.order(&record, now) {
                    return Poll::Ready(());
                }
            }
            if let Some(landing) = &mut self.landing
                && let Poll::Ready(landed) = landing.poll_unpin(cx)
            {
                self.landing = None;
                progress = true;
                match landed {
                    Ok(_) => self.session.landed(),
                    Err(_) => self.session.not_landed(),
                }
            }
            progress |= self.poll_running(cx);
            drop(self.session.fence(now));
            self.speak(now);
            if !progress && !self.poll_timer(cx, now) {
                return Poll::Pending;
            }
        }
    }

    fn poll_running(&mut self, cx: &mut Context<'_>) -> bool {
        let done: Vec<JobKey> = self
            .running
            .iter_mut()
            .filter_map(|(job, run)| run.poll_unpin(cx).is_ready().then(|| job.clone()))
            .collect();
        for job in &done {
            self.running.remove(job);
            let outcome = if self.chance.percent(80) { Outcome::Succeeded } else { Outcome::Failed };
            let retry = match self.chance.percent(50) {
                true => Retry::Backoff,
                false => Retry::Never,
            };
            if self.chance.percent(5) {
                self.session.give_back(job);
            } else {
                self.session.finished(job, Ended { outcome, reason: String::new(), output: None, retry });
            }
        }
        !done.is_empty()
    }

    fn speak(&mut self, now: Timestamp) {
        if self.landing.is_some() {
            return;
        }
        let reports = self.session.tick(now);
        if reports.is_empty() {
            return;
        }
        let key = Some(self.member.name.clone().into());
        let record = |report| serde_json::to_vec(&report).ok();
        let records = reports.into_iter().filter_map(record);
        let records = records.map(|value| NewRecord {
            key: Clone::clone(&key),
            value: Some(value.into()),
            headers: Headers::new(),
        });
        self.landing = Some(self.producer.append(&self.reports, records.collect()));
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>, now: Timestamp) -> bool {
        let Some(Timestamp(due)) = self.session.next_due(now) else { return self.landing_came(cx) };
        if self.timer.as_ref().is_none_or(|(at, _)| *at != due) {
            self.timer = Some((due, self.core.sleep_until(due.max(now.0 + 100)).boxed()));
        }
        let fired = self.timer.as_mut().is_some_and(|(_, sleep)| sleep.poll_unpin(cx).is_ready());
        if fired {
            self.timer = None;
        }
        fired || self.landing_came(cx)
    }

    /// Registers for a landing begun after it was last polled.
    fn landing_came(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(landing) = &mut self.landing else { return false };
        let Poll::Ready(landed) = landing.poll_unpin(cx) else { return false };
        self.landing = None;
        match landed {
            Ok(_) => self.session.landed(),
            Err(_) => self.session.not_landed(),
        }
        true
    }

    /// Takes an order; true when another life of this worker is newer.
    fn order(&mut self, record: &Record, now: Timestamp) -> bool {
        let epoch = if self.member.checks {
            let wall = Timestamp(broker_us(now.0));
            let Ok(from) = self.gate.order(self.lane, record, wall) else { return false };
            Some(from.epoch)
        } else {
            record.headers.text(headers::EPOCH).and_then(|e| e.parse().ok())
        };
        let Ok(order) = serde_json::from_slice::<Order>(record.value.as_deref().unwrap_or_default()) else {
            return false;
        };
        for action in self.session.order(order, epoch, now) {
            match action {
                Action::Run { job, work } => self.begin(job, work.get()),
                Action::Superseded { .. } => return true,
                Action::Cancel { .. }
                | Action::LeaseLost { .. }
                | Action::Settled { .. }
                | Action::GivenBack { .. }
                | Action::Drain { .. }
                | Action::Welcomed { .. }
                | Action::Ignored { .. } => {}
            }
        }
        false
    }

    fn begin(&mut self, job: JobKey, work: &str) {
        if let Ok(judged) = serde_json::from_str::<Judged>(work) {
            let wall = Timestamp(broker_us(self.core.now()));
            if self.member.checks
                && let Err(why) = self.gate.job(work, &judged, wall)
            {
                self.session.finished(&job, Ended::failed(why.to_string()));
                return;
            }
            self.member.executions.note(Execution {
                worker: self.member.name.clone(),
                source: job.source.clone(),
                token: job.token,
                input_hash: judged.job.input_hash,
                landings: self.spine.broker().landings(),
            });
            families::begun(self.member.seed, &self.core, &self.spine, &judged.job, work);
        }
        let takes = if self.chance.percent(10) {
            self.chance.within(500_000..4_000_000)
        } else {
            self.chance.within(500..200_000)
        };
        self.running.insert(job, self.core.sleep_until(self.core.now() + takes).boxed());
        // Poll it once so that it wakes this task.
        self.timer = None;
    }
}

/// Starts the workers and what goes wrong with them until virtual time `until`; all live again after it.
pub fn start_all(seed: u64, core: &Core, spine: &SimSpine, executions: &Arc<Executions>, checks: bool, until: u64) {
    let mut chance = Chance::new(seed, "workers");
    let count = u32::try_from(chance.within(2..4)).unwrap_or(2);
    for number in 0..count {
        let capabilities = if number == 0 || chance.percent(50) { vec!["echo", "sum"] } else { vec!["echo"] };
        let capacity = u32::try_from(chance.within(1..5)).unwrap_or(1);
        let member =
            Member { name: format!("w{number}"), capabilities, capacity, executions: executions.clone(), checks, seed };
        let mut process = member.start(seed, core, spine, 0, number);
        let mut at = 0;
        for life in 1..chance.within(1..4) {
            at += chance.within(300_000..until / 2);
            if at >= until {
                break;
            }
            let (member, core_then, spine, before) = (member.clone(), core.clone(), spine.clone(), process);
            let life = u32::try_from(life).unwrap_or(1);
            if chance.percent(50) {
                let back = chance.within(10_000..1_500_000);
                process = Process(FIRST_PROCESS + number * 100 + life);
                core.at(at, move || {
                    core_then.crash(before);
                    let core = core_then.clone();
                    core_then.after(back, move || {
                        member.start(seed, &core, &spine, life, number);
                    });
                });
            } else {
                let back = chance.within(100_000..5_000_000).min(until - at);
                core.at(at, move || {
                    core_then.stop(before);
                    let core = core_then.clone();
                    core_then.after(back, move || core.resume(before));
                });
            }
        }
    }
}
