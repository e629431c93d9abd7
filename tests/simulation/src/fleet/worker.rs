//! Simulated worker processes: the worker crate's gate and session, driven by the simulated spine.

use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tidegate_protocol::address::{TopicName, TopicPartition};
use tidegate_protocol::decision::Judged;
use tidegate_protocol::fleet::Order;
use tidegate_protocol::headers;
use tidegate_protocol::ids::{Capability, TenantId, WorkerId};
use tidegate_protocol::outcome::Outcome;
use tidegate_protocol::time::Timestamp;
use tidegate_spine::inbox::Inbox;
use tidegate_spine::{Headers, Landing, NewRecord, Producer, ProducerOptions, Record, Spine};
use tidegate_worker::run::gate::{Gate, NotOurs};
use tidegate_worker::session::{Action, Ended, Identity, Incarnation, JobKey, Retry, Session, WhenUnproven};

use super::executions::{Execution, Executions};
use super::families;
use super::judge::LEEWAY;
use super::members::{Able, Members};
use super::parts::{TENANTS, Terms, named, pool_name};
use super::worker_clock::{WorkerClock, stepped_back};
use crate::chance::Chance;
use crate::executor::{Core, Process};
use crate::keys;
use crate::plants::Plant;
use crate::spine::SimSpine;

/// One worker, over all its lives.
#[derive(Clone)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// Its number among them.
    pub number: u32,
    /// What it can do.
    pub capabilities: Vec<&'static str>,
    /// Every worker can run every job: it takes all tenants' jobs.
    pub contended: bool,
    /// Jobs it runs at once.
    pub capacity: u32,
    /// Where executions are noted,
    pub executions: Arc<Executions>,
    /// and lives.
    pub members: Arc<Members>,
    /// What it does not check, if anything.
    pub plant: Plant,
    /// What its jobs do is drawn from.
    pub seed: u64,
    /// Shards of the pool.
    pub shards: u32,
    /// Its clock may be off by more than anybody allows for.
    pub wrong_clocks: bool,
    /// Some of its jobs hang: the pool stops what makes no progress.
    pub hangs: bool,
}

/// What some failures ask for: not again before.
const RETRY_AFTER: Duration = Duration::from_millis(400);
/// A job that hangs is over after so long, if nobody stops it; microseconds.
const HANGS_US: u64 = 12_000_000;
/// Processes of workers have numbers from here on.
const FIRST_PROCESS: u32 = 1_000;

impl Member {
    /// For how long beyond its time a ticket counts.
    fn leeway(&self) -> Duration {
        if self.plant == Plant::ExpiredStarts { Duration::from_secs(86_400) } else { LEEWAY }
    }

    /// What it is for one life. The first has labels that never change, the second others; a third is another one in each
    /// life, and may take the jobs of one tenant alone.
    fn able(&self, chance: &mut Chance) -> Able {
        let any = *chance.one_of(&["a", "b", "c"]);
        let mut labels = BTreeMap::new();
        let mut label = |name: &str, value: &str| drop(labels.insert(name.to_owned(), value.to_owned()));
        match self.number {
            0 => label("zone", "a"),
            1 => label("zone", "b"),
            _ => label("zone", any),
        }
        if self.number == 0 || (self.number > 1 && chance.percent(50)) {
            label("gpu", "t4");
        }
        let alone = self.number > 1 && !self.contended && chance.percent(30);
        let tenants = alone.then(|| BTreeSet::from([(*chance.one_of(&TENANTS)).to_owned()]));
        Able {
            capabilities: self.capabilities.iter().map(|name| (*name).to_owned()).collect(),
            labels,
            tenants,
            wrong_clock: false,
        }
    }

    /// What becomes of its jobs while their leases are in doubt: in a third of the seeds they are stopped.
    fn unproven(&self) -> WhenUnproven {
        if self.seed.is_multiple_of(3) { WhenUnproven::Stop } else { WhenUnproven::Keep }
    }

    /// Whether it asks who wrote an order, and for a job's ticket.
    fn checks(&self) -> bool {
        self.plant != Plant::TicketUnchecked
    }

    /// Starts a life of it; the process it lives in.
    pub fn start(&self, seed: u64, core: &Core, spine: &SimSpine, life: u32, number: u32) -> Process {
        let process = Process(FIRST_PROCESS + number * 100 + life);
        let chance = Chance::new(seed, &format!("{} {life}", self.name));
        let back = stepped_back(&mut Chance::new(seed, &format!("{} {life} began", self.name)));
        core.spawn(process, self.clone().live(core.clone(), spine.of(process), back, chance));
        process
    }

    async fn live(self, core: Core, spine: SimSpine, back: u64, mut chance: Chance) {
        let clock = WorkerClock::new(&core, self.wrong_clocks, self.number > 1, &mut chance);
        let mut last = 0;
        let work: TopicName = named("work.p");
        let capabilities = self.capabilities.iter().filter_map(|c| Capability::new(c).ok()).collect();
        let Ok(worker) = WorkerId::new(&self.name) else { return };
        loop {
            let mut producers = Vec::new();
            for _ in 0..self.shards {
                let options = ProducerOptions { name: self.name.clone(), ..ProducerOptions::default() };
                producers.extend(spine.producer(options).await.ok());
            }
            let opened =
                Inbox::open(&spine, &work, &self.name).await.ok().filter(|_| producers.len() == self.shards as usize);
            let Some(inbox) = opened else {
                core.sleep_until(core.now() + 200_000).await;
                continue;
            };
            let (lane, lane_position) = (inbox.opened_at().0.partition, inbox.opened_at().1);
            last = clock.now().millis().saturating_sub(back).max(last + 1);
            let incarnation = Incarnation { number: last, lane, lane_position };
            let able = Able { wrong_clock: clock.off() > LEEWAY, ..self.able(&mut chance) };
            self.members.note(&self.name, incarnation.number, able.clone());
            let tenants: Option<Vec<TenantId>> =
                able.tenants.clone().map(|all| all.iter().filter_map(|name| TenantId::new(name).ok()).collect());
            let identity =
                Identity { worker: worker.clone(), capabilities: Clone::clone(&capabilities), capacity: self.capacity };
            let link = |(shard, producer)| Link {
                session: Session::new(identity.clone(), incarnation, clock.now())
                    .labelled(able.labels.clone())
                    .of_tenants(tenants.clone())
                    .when_unproven(self.unproven()),
                producer,
                reports: named("reports.p").partition(shard),
                landing: None,
                timer: None,
            };
            let mut life = Life {
                links: (0..).zip(producers).map(link).collect(),
                core: core.clone(),
                clock: &clock,
                spine: spine.clone(),
                gate: Gate::new(keys::stages(), &pool_name(), work.clone(), named("approved.p"))
                    .with_leeway(self.leeway()),
                incarnation,
                able,
                inbox,
                running: BTreeMap::new(),
                member: &self,
                chance: &mut chance,
            };
            poll_fn(|cx| life.poll(cx)).await;
            last = life.incarnation.number;
        }
    }
}

/// What it is to one shard of the pool.
struct Link {
    session: Session,
    producer: Box<dyn Producer>,
    reports: TopicPartition,
    landing: Option<Landing>,
    timer: Option<(Timestamp, BoxFuture<'static, ()>)>,
}

/// One incarnation at work.
struct Life<'a> {
    links: Vec<Link>,
    core: Core,
    clock: &'a WorkerClock,
    spine: SimSpine,
    gate: Gate,
    incarnation: Incarnation,
    able: Able,
    inbox: Inbox,
    /// By shard and job; how it ends when it was told to stop.
    running: BTreeMap<(usize, JobKey), Run>,
    member: &'a Member,
    chance: &'a mut Chance,
}

/// A job that runs.
struct Run {
    until: BoxFuture<'static, ()>,
    /// It was told to stop, and heeds that.
    stops: bool,
    /// It tells how far it is so often, microseconds, and next then.
    tells: Option<(u64, BoxFuture<'static, ()>)>,
}

impl Link {
    fn speak(&mut self, name: &str, now: Timestamp) {
        if self.landing.is_some() {
            return;
        }
        let reports = self.session.tick(now);
        if reports.is_empty() {
            return;
        }
        let key = Some(name.to_owned().into());
        let record = |report| serde_json::to_vec(&report).ok();
        let records = reports.into_iter().filter_map(record);
        let records = records.map(|value| NewRecord {
            key: Clone::clone(&key),
            value: Some(value.into()),
            headers: Headers::new(),
        });
        self.landing = Some(self.producer.append(&self.reports, records.collect()));
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>, clock: &WorkerClock, now: Timestamp) -> bool {
        let Some(due) = self.session.next_due(now) else { return self.landing_came(cx) };
        if self.timer.as_ref().is_none_or(|(at, _)| *at != due) {
            self.timer = Some((due, clock.sleep_until(due.max(Timestamp(now.0 + 100)))));
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
}

impl Life<'_> {
    /// Ready when this incarnation is over.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let now = self.clock.now();
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
            for link in &mut self.links {
                progress |= link.landing_came(cx);
            }
            progress |= self.poll_running(cx);
            for link in &mut self.links {
                drop(link.session.fence(now));
                link.speak(&self.member.name, now);
                progress |= link.poll_timer(cx, self.clock, now);
            }
            if !progress {
                return Poll::Pending;
            }
        }
    }

    fn poll_running(&mut self, cx: &mut Context<'_>) -> bool {
        let mut told = false;
        for ((shard, job), run) in &mut self.running {
            let Some((every, next)) = &mut run.tells else { continue };
            if next.poll_unpin(cx).is_ready()
                && let Some(link) = self.links.get_mut(*shard)
            {
                *next = self.core.sleep_until(self.core.now() + *every).boxed();
                link.session.progressed(job, Some(0.5), String::new());
                told = true;
            }
        }
        let done: Vec<(usize, JobKey)> = self
            .running
            .iter_mut()
            .filter_map(|(job, run)| run.until.poll_unpin(cx).is_ready().then(|| job.clone()))
            .collect();
        for slot in &done {
            let stops = self.running.remove(slot).is_some_and(|run| run.stops);
            let (shard, job) = slot;
            let Some(link) = self.links.get_mut(*shard) else { continue };
            let outcome = match self.chance.percent(80) {
                _ if stops => Outcome::Cancelled,
                true => Outcome::Succeeded,
                false => Outcome::Failed,
            };
            let retry = match self.chance.percent(50) {
                true if self.chance.percent(25) => Retry::After(RETRY_AFTER),
                true => Retry::Backoff,
                false => Retry::Never,
            };
            if self.chance.percent(5) {
                link.session.give_back(job);
            } else {
                link.session.finished(job, Ended { outcome, reason: String::new(), output: None, retry });
            }
        }
        told || !done.is_empty()
    }

    /// Takes an order; true when another life of this worker is newer.
    fn order(&mut self, record: &Record, now: Timestamp) -> bool {
        let (shard, epoch) = if self.member.checks() {
            let Ok(from) = self.gate.order(self.incarnation.lane, record, now) else { return false };
            (from.shard, Some(from.epoch))
        } else {
            let sender = record.headers.text(headers::SENDER).and_then(|sender| sender.rsplit_once('/'));
            let shard = sender.and_then(|(_, shard)| shard.parse().ok()).unwrap_or(0);
            (shard, record.headers.text(headers::EPOCH).and_then(|e| e.parse().ok()))
        };
        let Ok(order) = serde_json::from_slice::<Order>(record.value.as_deref().unwrap_or_default()) else {
            return false;
        };
        let Some(link) = self.links.get_mut(shard) else { return false };
        for action in link.session.order(order, epoch, now) {
            match action {
                Action::Run { job, work } => self.begin(shard, job, work.get()),
                Action::Superseded { .. } => return true,
                Action::Outrun { .. } if self.member.plant == Plant::NeverRises => {}
                Action::Outrun { known } => self.rise(known, now),
                Action::Welcomed { .. } => self.links.iter_mut().for_each(|link| link.session.welcomed_elsewhere()),
                Action::Cancel { job, .. } => self.stop(shard, &job),
                Action::LeaseLost { .. }
                | Action::Settled { .. }
                | Action::GivenBack { .. }
                | Action::Drain { .. }
                | Action::Ignored { .. } => {}
            }
        }
        false
    }

    /// Says Hello to every shard with a number above that which its name has.
    fn rise(&mut self, known: u64, now: Timestamp) {
        self.incarnation.number = known.max(self.incarnation.number) + 1 + self.chance.within(0..1_024);
        self.member.members.rise(&self.member.name, self.incarnation.number, self.able.clone());
        for link in &mut self.links {
            drop(link.session.restart(self.incarnation, now));
        }
    }

    /// Most heed it, some in time; some go on as if nothing had been said.
    fn stop(&mut self, shard: usize, job: &JobKey) {
        let takes = self.chance.within(1_000..1_500_000);
        if let Some(run) = self.running.get_mut(&(shard, job.clone()))
            && self.chance.percent(70)
        {
            *run = Run { until: self.core.sleep_until(self.core.now() + takes).boxed(), stops: true, tells: None };
        }
    }

    fn begin(&mut self, shard: usize, job: JobKey, work: &str) {
        if let Ok(judged) = serde_json::from_str::<Judged>(work) {
            let wall = self.clock.now();
            if self.member.checks()
                && let Err(why) = self.gate.job(work, &judged, wall)
            {
                if let Some(link) = self.links.get_mut(shard) {
                    if why == NotOurs::Expired {
                        link.session.give_back(&job);
                    } else {
                        link.session.finished(&job, Ended::failed(why.to_string()));
                    }
                }
                return;
            }
            self.member.executions.note(Execution {
                worker: self.member.name.clone(),
                source: job.source.clone(),
                token: job.token,
                input_hash: judged.job.input_hash,
                landings: self.spine.broker().landings(),
                wall,
            });
            families::begun(self.member.seed, &self.core, &self.spine, &judged.job, work);
        }
        let now = self.core.now();
        let long = self.chance.percent(10);
        let takes = if long { self.chance.within(500_000..4_000_000) } else { self.chance.within(500..200_000) };
        let every = self.chance.within(100_000..1_200_000);
        let tells = (long && self.chance.percent(60)).then(|| (every, self.core.sleep_until(now + every).boxed()));
        let hangs = || Chance::new(self.member.seed, &format!("{} {:?} hangs", job.source, job.token)).percent(3);
        let (takes, tells) = if self.member.hangs && hangs() { (HANGS_US, None) } else { (takes, tells) };
        let until = self.core.sleep_until(now + takes).boxed();
        self.running.insert((shard, job), Run { until, stops: false, tells });
    }
}

/// Starts the workers and what goes wrong with them until virtual time `until`; all live again after it.
pub fn start_all(
    (seed, terms): (u64, Terms),
    core: &Core,
    spine: &SimSpine,
    (executions, members): (&Arc<Executions>, &Arc<Members>),
    plant: Plant,
    until: u64,
) {
    let mut chance = Chance::new(seed, "workers");
    let count = u32::try_from(chance.within(2..4)).unwrap_or(2);
    for number in 0..count {
        let all = number == 0 || chance.percent(50) || terms.contended;
        let capabilities = if all { vec!["echo", "sum"] } else { vec!["echo"] };
        let capacity = u32::try_from(chance.within(1..5)).unwrap_or(1);
        let member = Member {
            name: format!("w{number}"),
            number,
            capabilities,
            contended: terms.contended,
            capacity,
            executions: executions.clone(),
            members: members.clone(),
            plant,
            seed,
            shards: terms.shards,
            wrong_clocks: Chance::new(seed, "workers' clocks").percent(40),
            hangs: terms.progress_ms.is_some(),
        };
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
