//! A shard, its logs and its owners.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tidegate_protocol::control::Stamp;
use tidegate_protocol::facts::SchedulerFact;
use tidegate_protocol::fleet::Report;
use tidegate_protocol::ids::SenderId;
use tidegate_protocol::outcome::DeadReason;
use tidegate_protocol::time::Timestamp;
use tidegate_scheduler::{Layout, Pool, Scheduler, Tuning};
use tidegate_spine::{Headers, Record};
use tidegate_stage::{Arrival, Decision, Delivery, Input, InputRef, Message, Outbox, Pace, ShardSpec, Signal, Stage};

use super::Desk;

/// What one step led to.
#[derive(Debug, Default)]
pub struct Step {
    pub facts: Vec<SchedulerFact>,
    pub messages: Vec<Message>,
}

/// How a new owner comes to its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Replay,
    Snapshot,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Unread,
    Waits,
    Settled,
}

pub struct Shard {
    pub pool: Arc<Pool>,
    pub spec: ShardSpec,
    pub stage: Scheduler,
    number: u32,
    pub at: Timestamp,
    pub epoch: u64,
    /// Facts as their log holds them, with `at`.
    pub log: Vec<(Timestamp, String)>,
    inputs: Vec<Vec<(Record, Place)>>,
    /// Whose what stands on `approved` is.
    kernel: String,
}

impl Shard {
    /// Shard 0 of the pool under its first owner, of epoch 1, at second 1.
    pub fn new(layout: Layout, tuning: &Tuning) -> Self {
        Self::number(0, layout, tuning)
    }

    /// The same of another shard.
    pub fn number(shard: u32, layout: Layout, tuning: &Tuning) -> Self {
        Self::made(shard, layout, tuning, |pool| pool)
    }

    /// Shard 0 of a pool that is not as usual.
    pub fn of(layout: Layout, tuning: &Tuning, change: impl FnOnce(Pool) -> Pool) -> Self {
        Self::made(0, layout, tuning, change)
    }

    /// The terms of the pool change: its next owner has others.
    pub fn change(&mut self, layout: Layout, tuning: &Tuning) {
        self.pool = Arc::new(Pool::new(layout, tuning).unwrap().operated_by(Arc::new(Desk), Arc::new(Desk)));
    }

    fn made(shard: u32, layout: Layout, tuning: &Tuning, change: impl FnOnce(Pool) -> Pool) -> Self {
        let pool = Pool::new(layout, tuning).unwrap().operated_by(Arc::new(Desk), Arc::new(Desk));
        let pool = Arc::new(change(pool));
        let spec = pool.shard_spec(shard, "test", Pace::default()).unwrap();
        let stage = Scheduler::new(pool.clone(), shard);
        let inputs = spec.inputs.iter().map(|_| Vec::new()).collect();
        let (at, log, kernel) = (Timestamp(1_000_000), Vec::new(), "kernel.jobs/0".to_owned());
        let number = shard;
        let mut shard = Self { pool, spec, stage, number, at, epoch: 1, log, inputs, kernel };
        shard.stage.observe(Signal::Owner { epoch: 1 }, shard.at);
        shard
    }

    pub fn reports_input(&self) -> usize {
        self.inputs.len() - 3 - usize::from(self.borrows())
    }

    /// Whether it reads `grants`: the last input then.
    fn borrows(&self) -> bool {
        self.spec.inputs.last().is_some_and(|input| input.partition.topic.as_str().contains("grants"))
    }

    /// The limits stage answers, read at once.
    pub fn answer(&mut self, answer: &tidegate_protocol::limits::LimitAnswer) -> Step {
        assert!(self.borrows());
        let value = serde_json::to_vec(answer).unwrap();
        self.append(self.inputs.len() - 1, Some(value.into()), Headers::new());
        self.read()
    }

    /// A record on `commands`, read at once.
    pub fn command(&mut self, value: Option<Bytes>, headers: Headers) -> Step {
        self.append(self.reports_input() + 1, value, headers);
        self.read()
    }

    /// Lets time pass.
    pub fn wait(&mut self, by: Duration) {
        self.at = self.at + by;
    }

    /// Appends to an input without reading it.
    pub fn append(&mut self, input: usize, value: Option<Bytes>, headers: Headers) -> InputRef {
        let log = &mut self.inputs[input];
        let offset = log.len() as u64;
        log.push((Record { offset, timestamp_ms: 0, key: None, value, headers }, Place::Unread));
        InputRef { input: u32::try_from(input).unwrap(), offset }
    }

    /// A record on `approved`, bucket 0, read at once when it is admitted.
    pub fn approved(&mut self, value: Bytes) -> Step {
        self.append(0, Some(value), Headers::new());
        self.read()
    }

    /// One that the runner checked to be of that sender.
    pub fn sent_by(&mut self, sender: &str, value: Bytes) -> Step {
        let before = std::mem::replace(&mut self.kernel, sender.to_owned());
        let step = self.approved(value);
        self.kernel = before;
        step
    }

    /// One that the runner does not believe.
    pub fn refused(&mut self, value: Bytes, reason: DeadReason) -> Step {
        let at = self.append(0, Some(value), Headers::new());
        let slot = &mut self.inputs[0][usize::try_from(at.offset).unwrap()];
        slot.1 = Place::Waits;
        let (record, partition) = (slot.0.clone(), self.spec.inputs[0].partition.clone());
        let arrival = Arrival { at, partition: &partition, record: &record, sender: None };
        let mut decision = Decision::default();
        self.stage.decide(&Input::Refused(arrival, reason), self.at, &mut decision);
        let mut step = Step::default();
        self.enact(&decision, Some(at), &mut step);
        step
    }

    fn sender_of(&self, input: usize) -> &str {
        match self.reports_input() / 2 {
            buckets if (buckets..2 * buckets).contains(&input) => "scheduler.p/0",
            _ => &self.kernel,
        }
    }

    /// A withdrawal on the input that is always read.
    pub fn called_off(&mut self, value: Bytes) -> Step {
        let input = self.reports_input() + 2;
        self.append(input, Some(value), Headers::new());
        self.read()
    }

    /// A report, read at once.
    pub fn report(&mut self, report: &Report) -> Step {
        self.raw_report(Some(serde_json::to_vec(report).unwrap().into()), Headers::new())
    }

    pub fn raw_report(&mut self, value: Option<Bytes>, headers: Headers) -> Step {
        let input = self.reports_input();
        self.append(input, value, headers);
        self.read()
    }

    /// Reads everything that is admitted, reports first, as the runner does.
    pub fn read(&mut self) -> Step {
        let mut step = Step::default();
        while let Some(at) = self.next_unread() {
            self.at = self.at + Duration::from_micros(1);
            let (input, offset) = (at.input as usize, usize::try_from(at.offset).unwrap());
            let record = self.inputs[input][offset].0.clone();
            let partition = self.spec.inputs[input].partition.clone();
            let sender = SenderId::new(self.sender_of(input)).unwrap();
            let stamp = Stamp { epoch: 1, sequence: at.offset, group: 0, index: 0 };
            let arrival = Arrival { at, partition: &partition, record: &record, sender: Some((&sender, stamp)) };
            self.stage.observe(Signal::Arrived(arrival), self.at);
            let mut decision = Decision::default();
            self.stage.decide(&Input::Record(arrival), self.at, &mut decision);
            let settles_itself = decision.facts().iter().any(|(_, settles)| *settles == Some(at));
            // A withdrawal ends a job that waits, by a fact that settles the job's record.
            let settles_all = decision.facts().iter().all(|(_, settles)| settles.is_some());
            assert!(settles_itself || settles_all, "facts of a record settle it, or one that waits");
            assert!(!decision.waits() || decision.facts().is_empty(), "a record that waits has no facts");
            self.inputs[input][offset].1 = if decision.waits() { Place::Waits } else { Place::Settled };
            if settles_itself {
                self.inputs[input][offset].1 = Place::Waits;
            }
            self.enact(&decision, Some(at), &mut step);
        }
        step
    }

    /// Asks until nothing more is possible.
    pub fn poll(&mut self) -> Step {
        let mut step = Step::default();
        loop {
            let mut decision = Decision::default();
            self.stage.decide(&Input::Poll, self.at, &mut decision);
            if decision.facts().is_empty() {
                return step;
            }
            self.enact(&decision, None, &mut step);
        }
    }

    /// Time passes and all reports are read: whatever is due fires.
    pub fn tick(&mut self) -> Step {
        self.tick_fresh(self.at)
    }

    pub fn tick_fresh(&mut self, fresh: Timestamp) -> Step {
        let mut step = Step::default();
        let mut decision = Decision::default();
        self.stage.observe(Signal::Due, self.at);
        self.stage.decide(&Input::Tick { fresh }, self.at, &mut decision);
        self.enact(&decision, None, &mut step);
        step
    }

    pub fn gap(&mut self, gap: Duration) {
        self.stage.observe(Signal::Gap(gap), self.at);
    }

    pub fn evict(&mut self, input: InputRef) -> Step {
        let mut step = Step::default();
        let mut decision = Decision::default();
        self.stage.decide(&Input::Evict(input), self.at, &mut decision);
        self.enact(&decision, None, &mut step);
        step
    }

    /// A new owner, with `epoch`: by replay of all facts, or by snapshot. Both must give the same bytes. What waits is
    /// unread again.
    pub fn takeover(&mut self, way: Way, epoch: u64) {
        let snapshot = self.stage.snapshot().unwrap();
        let mut stage = Scheduler::new(self.pool.clone(), self.number);
        match way {
            Way::Replay => {
                for (at, fact) in &self.log {
                    let fact = serde_json::from_str(fact).unwrap();
                    stage.apply(&fact, *at);
                    stage.emit(&fact, *at, None, &mut Outbox::new());
                }
            }
            Way::Snapshot => stage.restore(&snapshot).unwrap(),
        }
        assert_eq!(stage.snapshot().unwrap(), snapshot, "I7: a replayed state is the state");
        stage.observe(Signal::Owner { epoch }, self.at);
        self.stage = stage;
        self.epoch = epoch;
        for (_, place) in self.inputs.iter_mut().flatten() {
            if *place == Place::Waits {
                *place = Place::Unread;
            }
        }
    }

    /// Records of job inputs that are neither settled nor lost: what must still end.
    pub fn unsettled(&self) -> usize {
        let jobs = self.reports_input();
        self.inputs.iter().take(jobs).flatten().filter(|(_, place)| *place != Place::Settled).count()
    }

    fn next_unread(&self) -> Option<InputRef> {
        let reports = self.reports_input();
        (reports..self.inputs.len()).rev().chain(0..reports).find_map(|input| {
            let number = u32::try_from(input).unwrap();
            let offset = self.inputs[input].iter().position(|(_, place)| *place == Place::Unread)?;
            self.stage.admits(number).then_some(InputRef { input: number, offset: offset as u64 })
        })
    }

    fn enact(&mut self, decision: &Decision<SchedulerFact>, deciding: Option<InputRef>, step: &mut Step) {
        for (fact, settles) in decision.facts() {
            let text = serde_json::to_string(fact).unwrap();
            let fact: SchedulerFact = serde_json::from_str(&text).unwrap();
            let mut input = None;
            if let Some(at) = settles {
                let slot = &mut self.inputs[at.input as usize][usize::try_from(at.offset).unwrap()];
                assert_eq!(slot.1, Place::Waits, "an input is settled once, and was read before: {fact:?}");
                slot.1 = Place::Settled;
                input = self.stage.needs_input(&fact).then(|| slot.0.clone());
                assert!(input.is_none() || *settles == deciding, "only the record being decided may be needed");
            }
            self.log.push((self.at, text));
            self.stage.apply(&fact, self.at);
            let mut outbox = Outbox::new();
            self.stage.emit(&fact, self.at, input.as_ref(), &mut outbox);
            let messages = outbox.into_messages();
            let mut ordinals = BTreeMap::new();
            for message in &messages {
                let before = ordinals.insert(message.to.clone(), message.ordinal);
                assert!(before < Some(message.ordinal), "ordinals rise in a partition");
                if matches!(message.delivery, Delivery::Fenced | Delivery::Ticketed) {
                    assert!(self.spec.outputs.contains(&message.to), "{} is not in the claim", message.to);
                }
                if let Some(input) = self.spec.inputs.iter().position(|input| input.partition == message.to) {
                    self.append(input, message.value.clone(), message.headers.clone());
                }
            }
            step.facts.push(fact);
            step.messages.extend(messages);
        }
    }
}
