//! What a live ownership holds, and how it begins.

use std::collections::{BTreeMap, VecDeque};
use std::task::{Context, Poll};

use futures::FutureExt;
use futures::future::BoxFuture;
use tidegate_protocol::address::Offset;
use tidegate_protocol::control::LostRange;
use tidegate_protocol::proof::Checker;
use tidegate_protocol::time::Timestamp;
use tidegate_spine::{Producer, ReadHandle, Reader, Record};

use super::Run;
use super::checkpoint::Checkpoints;
use super::clock::ShardTime;
use super::due::Due;
use super::group::{Building, Flying, Sending};
use super::read_back::ReadBack;
use super::send::Sender;
use super::takeover::{Taken, micros};
use super::watch::Ended;
use crate::facts::FactsLog;
use crate::place::InputPlace;
use crate::spec::InputKind;
use crate::stage::{Signal, Stage};

/// Turns before the task yields to its executor.
const TURNS_PER_POLL: usize = 32;
/// Records after which it yields as well: a shard with a backlog must not keep the others of its thread waiting.
const RECORDS_PER_POLL: u64 = 256;
/// Records read of one input in one turn.
pub(crate) const RECORDS_PER_READ: usize = 128;

/// An input of a live shard.
pub(crate) struct LiveInput {
    pub(crate) handle: ReadHandle,
    pub(crate) kind: InputKind,
    pub(crate) place: InputPlace,
    /// Read and not yet decided: what came in one read may be more than a group or a window has room for.
    pub(crate) arrived: VecDeque<Record>,
    /// Where the place is once those are decided.
    pub(crate) reached: Offset,
    /// Of a job input: until here owners before have read it, and this one has not yet.
    pub(crate) again: Option<Offset>,
    /// Not to be read now (window full, no policy, place at its bounds): told to the reader so that it stops fetching.
    pub(crate) paused: bool,
}

/// One ownership at work.
pub(crate) struct Live<'a, S: Stage> {
    pub(crate) run: &'a mut Run<S>,
    pub(crate) stage: S,
    pub(crate) time: ShardTime,
    pub(crate) at: Timestamp,
    /// `at` of the last fact, whoever decided it.
    pub(crate) fact_at: Timestamp,
    pub(crate) epoch: u64,
    pub(crate) producer: Box<dyn Producer>,
    pub(crate) reader: Box<dyn Reader>,
    pub(crate) inputs: Vec<LiveInput>,
    pub(crate) sender: Sender,
    /// Of messages on sealed inputs.
    pub(crate) checker: Checker,
    pub(crate) log: FactsLog,
    /// Number of the next group in this epoch.
    pub(crate) sequence: u64,
    /// Hash of the last group sealed.
    pub(crate) head: String,
    pub(crate) released: Option<Offset>,
    pub(crate) building: Building,
    pub(crate) flying: VecDeque<Flying>,
    pub(crate) sending: VecDeque<Sending>,
    /// Bytes of messages decided (or found unreleased at the takeover) that have not landed.
    pub(crate) owed_bytes: usize,
    /// Of those: handed to the client.
    pub(crate) handed_bytes: usize,
    /// What the last sealed group said.
    pub(crate) said_released: Option<Offset>,
    /// The highest released group that had messages or settled something.
    pub(crate) to_say: Option<Offset>,
    pub(crate) sealed_mono: u64,
    pub(crate) reads_since_seal: u64,
    /// Records that arrived since the ownership began.
    pub(crate) records: u64,
    pub(crate) last_success: u64,
    pub(crate) due: Due,
    pub(crate) read_back: ReadBack,
    pub(crate) checkpoints: Checkpoints,
    pub(crate) facts_since_snapshot: u64,
    /// When the last one was taken, or the ownership began.
    pub(crate) snapshot_mono: u64,
    pub(crate) batch: Vec<Record>,
    /// Counts of the stage, as they were told last.
    pub(crate) counted: BTreeMap<&'static str, u64>,
    /// Accepted losses, to be recorded in the first group.
    pub(crate) lost: Vec<LostRange>,
    pub(crate) stopping: Option<u64>,
    pub(crate) published: u64,
    timer: Option<(u64, BoxFuture<'static, ()>)>,
}

impl<'a, S: Stage> Live<'a, S> {
    pub(crate) fn begin(run: &'a mut Run<S>, taken: Taken<S>) -> Result<Self, Ended> {
        let Taken { mut stage, epoch, log, producer, mut reader, places, starts, again, at, lost, .. } = taken;
        let mono = run.clock.mono_us();
        let fact_at = at;
        let mut time = ShardTime::begin(at, taken.checked, run.clock.as_ref());
        let at = time.now(run.clock.as_ref());
        stage.observe(Signal::Owner { epoch }, at);
        let inputs: Vec<LiveInput> = (run.spec.inputs.iter().zip(places).zip(starts))
            .map(|((spec, place), start)| LiveInput {
                handle: reader.open(&spec.partition, start),
                kind: spec.kind,
                reached: place.head(),
                again: Some(place.read_before()).filter(|end| spec.kind == InputKind::Jobs && *end > place.head()),
                place,
                arrived: VecDeque::new(),
                paused: false,
            })
            .collect();
        let left = inputs.iter().filter(|input| input.again.is_some()).count();
        if left > 0 {
            stage.observe(Signal::ReadAgain { left }, at);
        }
        let sender = Sender::new(&run.spec.sender, epoch, run.signer.clone(), &run.spec.outputs);
        let checker = Checker::new(run.trust.clone());
        let owed_bytes = again.iter().flat_map(|(_, messages)| messages).map(|(_, m)| m.bytes()).sum();
        let sending =
            again.into_iter().map(|(group, messages)| Sending::new(group, messages, Vec::new(), Vec::new())).collect();
        // Opened again for each reading back.
        reader.close(taken.facts);
        let contested = (log.highest_claim > epoch).then_some((log.highest_claim, mono));
        let mut live = Self {
            sequence: 0,
            head: log.head.clone(),
            released: log.released,
            said_released: log.released,
            to_say: None,
            read_back: ReadBack::new(taken.facts_read, taken.term, contested, taken.snapshot_keys, mono),
            checkpoints: Checkpoints::default(),
            due: Due::default(),
            building: Building::default(),
            flying: VecDeque::new(),
            sealed_mono: mono,
            last_success: mono,
            published: 0,
            reads_since_seal: 0,
            records: 0,
            facts_since_snapshot: taken.replayed,
            snapshot_mono: mono,
            batch: Vec::new(),
            counted: BTreeMap::new(),
            lost,
            stopping: None,
            timer: None,
            run,
            stage,
            time,
            at,
            fact_at,
            epoch,
            producer,
            reader,
            inputs,
            sender,
            checker,
            log,
            sending,
            owed_bytes,
            handed_bytes: 0,
        };
        live.hand_over()?;
        Ok(live)
    }

    /// Runs until the ownership ends.
    pub(crate) fn poll_turns(&mut self, cx: &mut Context<'_>) -> Poll<Ended> {
        let before = self.records;
        for _ in 0..TURNS_PER_POLL {
            if self.records - before >= RECORDS_PER_POLL {
                break;
            }
            match self.turn(cx) {
                Err(ended) => return Poll::Ready(ended),
                Ok(true) => {}
                Ok(false) => {
                    if !self.set_timer(cx) {
                        return Poll::Pending;
                    }
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Arms the timer for the earliest thing to come; true when it is already due.
    fn set_timer(&mut self, cx: &mut Context<'_>) -> bool {
        let pace = &self.run.spec.pace;
        // What is under way already wakes the task itself and must not keep the timer due.
        let idle_group = (self.flying.len() < pace.groups_in_flight.max(1))
            .then(|| self.sealed_mono.saturating_add(micros(pace.idle_group)));
        let wanted = [idle_group, self.read_back.next_mono(pace), self.due_mono(), self.stopping];
        let Some(earliest) = wanted.into_iter().flatten().min() else { return false };
        let earlier = self.timer.as_ref().is_none_or(|(armed, _)| earliest < *armed);
        if earlier {
            self.timer = Some((earliest, self.run.clock.sleep_until(earliest)));
        }
        let Some((_, sleep)) = &mut self.timer else { return false };
        if sleep.poll_unpin(cx).is_ready() {
            self.timer = None;
            return true;
        }
        false
    }
}
