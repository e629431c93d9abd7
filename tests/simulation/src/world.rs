//! Processes with clocks of their own, and the group that gives shards to them, badly.
//!
//! The group is only a hint: an owner that is stopped or moved away goes on owning until it hears of it, some time
//! later or never. Once calm, every shard has one owner on a live process.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, Weak};

use futures::channel::oneshot;
use futures::future::BoxFuture;
use tidegate_protocol::address::{Offset, TopicPartition};
use tidegate_protocol::ids::SenderId;
use tidegate_spine::{ReadError, Spine};
use tidegate_stage::{Clock, Ended, ShardEvent, ShardSpec, Watch};

use crate::chance::Chance;
use crate::clock::SimClock;
use crate::executor::{Core, Process, TaskId, locked};
use crate::spine::SimSpine;
use crate::trace::{Trace, hash_of};

/// What a shard's run gets from its process.
pub struct Launch {
    /// The spec, with the process's name.
    pub spec: ShardSpec,
    /// The spine as this process sees it.
    pub spine: Arc<dyn Spine>,
    /// The process's clock.
    pub clock: Arc<dyn Clock>,
    /// Orderly end.
    pub stop: oneshot::Receiver<()>,
    /// Where events go.
    pub watch: Arc<dyn Watch>,
}

/// Starts a shard's run.
pub type Launcher = Box<dyn Fn(Launch) -> BoxFuture<'static, ()> + Send + Sync>;

/// A shard that the group gives out.
pub struct Shard {
    /// Its spec.
    pub spec: ShardSpec,
    /// Runs it.
    pub launch: Launcher,
}

struct Running {
    shard: usize,
    process: Process,
    task: TaskId,
    stop: Option<oneshot::Sender<()>>,
}

#[derive(Default)]
struct Inner {
    members: BTreeMap<Process, Arc<SimClock>>,
    running: Vec<Running>,
    owners: BTreeMap<usize, Process>,
    /// When each shard whose owner is away is given to another.
    reassign: BTreeMap<usize, u64>,
    next_process: u32,
    calm_since: Option<u64>,
    /// Ends of ownerships that are defects, whatever the faults.
    defects: Vec<String>,
    takeovers: u64,
    ended: BTreeMap<&'static str, u64>,
}

/// The processes and the group.
pub struct World {
    /// Time and tasks.
    pub core: Core,
    /// The trace.
    pub trace: Arc<Trace>,
    /// The broker, from outside.
    pub spine: SimSpine,
    shards: Vec<Shard>,
    inner: Mutex<Inner>,
    chance: Mutex<Chance>,
    /// Largest clock skew a process may have and still own shards, microseconds.
    allowed_skew_us: u64,
}

impl World {
    /// A world of `processes` processes; every shard has an owner soon.
    #[must_use]
    pub fn new(
        seed: u64,
        spine: SimSpine,
        core: Core,
        trace: Arc<Trace>,
        shards: Vec<Shard>,
        processes: u32,
    ) -> Arc<Self> {
        let allowed = shards.iter().map(|s| s.spec.pace.clock_skew.as_micros()).min().unwrap_or(0);
        let world = Arc::new(Self {
            core,
            trace,
            spine,
            shards,
            inner: Mutex::default(),
            chance: Mutex::new(Chance::new(seed, "world")),
            allowed_skew_us: u64::try_from(allowed).unwrap_or(u64::MAX),
        });
        for _ in 0..processes {
            world.boot();
        }
        world.clone().meet();
        world
    }

    /// The shards.
    #[must_use]
    pub fn shards(&self) -> &[Shard] {
        &self.shards
    }

    /// Takeovers so far.
    #[must_use]
    pub fn takeovers(&self) -> u64 {
        locked(&self.inner).takeovers
    }

    /// Why ownerships ended, and how often.
    #[must_use]
    pub fn ended(&self) -> BTreeMap<&'static str, u64> {
        locked(&self.inner).ended.clone()
    }

    /// What must never happen and did.
    #[must_use]
    pub fn defects(&self) -> Vec<String> {
        locked(&self.inner).defects.clone()
    }

    /// A live process.
    #[must_use]
    pub fn any_process(&self) -> Option<Process> {
        let inner = locked(&self.inner);
        let live: Vec<Process> = inner.members.keys().filter(|p| !self.core.is_crashed(**p)).copied().collect();
        (!live.is_empty()).then(|| *locked(&self.chance).one_of(&live))
    }

    /// A process that owns a shard.
    #[must_use]
    pub fn any_owner(&self) -> Option<Process> {
        let inner = locked(&self.inner);
        let owners: Vec<Process> = inner.owners.values().filter(|p| inner.members.contains_key(p)).copied().collect();
        (!owners.is_empty()).then(|| *locked(&self.chance).one_of(&owners))
    }

    fn within(&self, from: u64, to: u64) -> u64 {
        locked(&self.chance).within(from..to)
    }

    fn percent(&self, percent: u32) -> bool {
        locked(&self.chance).percent(percent)
    }

    /// A new process.
    fn boot(&self) {
        let allowed = i64::try_from(self.allowed_skew_us).unwrap_or(0);
        let skew = i64::try_from(self.within(0, self.allowed_skew_us)).unwrap_or(0) - allowed / 2;
        let ppm = i64::try_from(self.within(0, 6_000)).unwrap_or(0) - 3_000;
        let start = self.within(0, 1_000_000_000);
        let mut inner = locked(&self.inner);
        inner.next_process += 1;
        let process = Process(inner.next_process);
        inner.members.insert(process, Arc::new(SimClock::new(self.core.clone(), skew, start, ppm)));
        drop(inner);
        self.event("boot", process.0.into(), || format!("{process:?} clock off by {skew} us, {ppm} ppm fast"));
    }

    fn event(&self, what: &str, number: u64, line: impl FnOnce() -> String) {
        self.trace.event(self.core.now(), what, &[number], line);
    }

    /// The group meets now and then.
    fn meet(self: Arc<Self>) {
        self.bury();
        for shard in 0..self.shards.len() {
            self.assign(shard);
        }
        let world = self.clone();
        self.core.after(self.within(20_000, 60_000), move || world.meet());
    }

    /// Crashed processes leave; others take their place.
    fn bury(&self) {
        let dead: Vec<Process> =
            locked(&self.inner).members.keys().filter(|p| self.core.is_crashed(**p)).copied().collect();
        for process in dead {
            let mut inner = locked(&self.inner);
            inner.members.remove(&process);
            inner.running.retain(|r| r.process != process);
            drop(inner);
            self.boot();
        }
    }

    fn assign(self: &Arc<Self>, shard: usize) {
        let now = self.core.now();
        let mut inner = locked(&self.inner);
        let owner = inner.owners.get(&shard).copied();
        let away = owner.is_none_or(|p| !inner.members.contains_key(&p) || self.core.is_stopped(p));
        if !away {
            inner.reassign.remove(&shard);
            return;
        }
        drop(inner);
        let wait = if owner.is_none() { 0 } else { self.within(30_000, 600_000) };
        let mut inner = locked(&self.inner);
        let when = *inner.reassign.entry(shard).or_insert(now + wait);
        if now < when {
            return;
        }
        inner.reassign.remove(&shard);
        let live: Vec<Process> = inner.members.keys().filter(|p| !self.core.is_stopped(**p)).copied().collect();
        drop(inner);
        if live.is_empty() {
            return;
        }
        let to = *locked(&self.chance).one_of(&live);
        self.give(shard, to);
    }

    /// Gives a shard to a process; who had it hears of it later, or not before all is calm.
    pub fn give(self: &Arc<Self>, shard: usize, to: Process) {
        let before = {
            let inner = locked(&self.inner);
            if self.core.is_crashed(to) || !inner.members.contains_key(&to) {
                return;
            }
            inner.running.len()
        };
        for index in 0..before {
            let (orderly, deaf, hears) = (self.percent(50), self.percent(25), self.within(0, 4_000_000));
            let mut inner = locked(&self.inner);
            let Some(running) = inner.running.get_mut(index).filter(|r| r.shard == shard && !deaf) else { continue };
            let (task, stop, core) = (running.task, running.stop.take(), self.core.clone());
            self.core.after(hears, move || match stop {
                Some(stop) if orderly => drop(stop.send(())),
                _ => core.abort(task),
            });
        }
        let mut inner = locked(&self.inner);
        let Some(clock) = inner.members.get(&to).cloned() else { return };
        inner.owners.insert(shard, to);
        drop(inner);
        self.event("give", shard as u64, || format!("{} to {to:?}", self.shards[shard].spec.sender));
        let (sender, stop) = oneshot::channel();
        let mut spec = self.shards[shard].spec.clone();
        spec.process = format!("p{}", to.0);
        let watch = Arc::new(Report { world: Arc::downgrade(self), process: to });
        let launch = Launch { spec, spine: Arc::new(self.spine.of(to)), clock, stop, watch };
        let task = self.core.spawn(to, (self.shards[shard].launch)(launch));
        locked(&self.inner).running.push(Running { shard, process: to, task, stop: Some(sender) });
    }

    /// The wall clock of a process steps.
    pub fn step_clock(&self, process: Process, skew_us: i64) {
        if let Some(clock) = locked(&self.inner).members.get(&process) {
            clock.set_skew(skew_us);
        }
        self.event("clock", process.0.into(), || format!("{process:?} is now off by {skew_us} us"));
    }

    /// Faults end: clocks are right, stopped processes go on, owners that were moved away end.
    pub fn calm(&self) {
        self.event("calm", 0, String::new);
        let mut inner = locked(&self.inner);
        inner.calm_since = Some(self.core.now());
        for (process, clock) in &inner.members {
            clock.set_skew(0);
            self.core.resume(*process);
        }
        let mut newest = BTreeMap::new();
        for (index, running) in inner.running.iter().enumerate() {
            newest.insert(running.shard, index);
        }
        let running = std::mem::take(&mut inner.running);
        for (index, running) in running.into_iter().enumerate() {
            if newest.get(&running.shard) == Some(&index) {
                inner.running.push(running);
            } else {
                self.core.abort(running.task);
            }
        }
    }
}

/// Hears what a shard's run says.
struct Report {
    world: Weak<World>,
    process: Process,
}

impl Watch for Report {
    fn event(&self, shard: &SenderId, event: &ShardEvent) {
        let Some(world) = self.world.upgrade() else { return };
        let number = match event {
            ShardEvent::Owning { epoch, .. } => *epoch,
            ShardEvent::Positions(_) => return,
            ShardEvent::FenceStalls { .. }
            | ShardEvent::InputLost { .. }
            | ShardEvent::TrimWanted { .. }
            | ShardEvent::Checkpoint { .. }
            | ShardEvent::Ended(_) => hash_of(format!("{event:?}").as_bytes()),
        };
        world.trace.event(world.core.now(), "shard", &[u64::from(self.process.0), number], || {
            format!("{:?} {shard} {event:?}", self.process)
        });
        match event {
            ShardEvent::Owning { .. } => locked(&world.inner).takeovers += 1,
            ShardEvent::TrimWanted { partition, before } => world.trim(partition.clone(), *before),
            ShardEvent::InputLost { error } => world.note_loss(shard, error),
            ShardEvent::Ended(ended) => world.note_end(shard, ended),
            ShardEvent::FenceStalls { .. } | ShardEvent::Checkpoint { .. } | ShardEvent::Positions(_) => {}
        }
    }
}

impl World {
    fn trim(&self, partition: TopicPartition, before: Offset) {
        let spine = self.spine.clone();
        let delay = self.within(0, 300_000);
        self.core.after(delay, move || spine.broker().trim(&partition, before));
    }

    /// A former owner may find gone what a newer one has done with; the last one may not.
    fn note_loss(&self, shard: &SenderId, error: &ReadError) {
        let now = self.core.now();
        let mut inner = locked(&self.inner);
        if inner.calm_since.is_some_and(|since| now > since + 2_000_000) {
            inner.defects.push(format!("{shard} lost input: {error}"));
        }
    }

    fn note_end(&self, shard: &SenderId, ended: &Ended) {
        let mut inner = locked(&self.inner);
        *inner.ended.entry(ended.word()).or_default() += 1;
        match ended {
            Ended::Chain(_)
            | Ended::FactsLost { .. }
            | Ended::Unclaimed { .. }
            | Ended::Codec { .. }
            | Ended::Untrusted { .. }
            | Ended::Unheard { .. } => {
                inner.defects.push(format!("{shard} ended by {ended:?}"));
            }
            Ended::Read(_)
            | Ended::Stopped
            | Ended::Superseded { .. }
            | Ended::Append(_)
            | Ended::Spine(_)
            | Ended::Keyed(_)
            | Ended::LateClaim
            | Ended::Clock { .. } => {}
        }
    }
}
