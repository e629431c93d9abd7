//! A shard's ownership: live state ahead of what has landed, and what a takeover leaves of it.

use std::collections::VecDeque;

use tidegate_protocol::limits::{LimitAnswer, LimitRequest, OutcomeTold};

/// What goes from shard to shard.
#[derive(Debug, Clone)]
pub enum Sent {
    /// Of this kernel shard, to a limits shard.
    Request(usize, Box<LimitRequest>),
    /// To a kernel shard.
    Answer(Box<LimitAnswer>),
    /// A scheduler's word to a kernel shard.
    Outcome(Box<OutcomeTold>),
}

/// A stage, or a part of one, whose state is changed by facts.
pub trait Part: Sized {
    /// Its facts.
    type Fact: Clone;
    /// Takes a fact in.
    fn apply(&mut self, fact: &Self::Fact, at: u64);
    /// What follows from a fact, with the number of the shard it goes to.
    fn emit(&self, fact: &Self::Fact, at: u64) -> Vec<(usize, Sent)>;
    /// All state, equal for equal states.
    fn text(&self) -> String;
    /// Another with the state of `text`, owned by `epoch`.
    fn of(&self, text: &str, epoch: u64) -> Self;
}

type Step<F> = (F, u64, Vec<(usize, Sent)>);
/// When it lands, how many records it settles, what was decided.
type Group<F> = (u64, usize, Vec<Step<F>>);

/// What landed: facts with their stamps, and what goes out now.
pub struct Landed<F> {
    /// Facts with `at`.
    pub facts: Vec<(F, u64)>,
    /// Messages.
    pub sent: Vec<(usize, Sent)>,
}

/// See the module.
pub struct Owner<P: Part> {
    /// Replayed from what has landed.
    pub durable: P,
    /// Ahead of it.
    pub live: P,
    /// Last stamp of the live state, and of the durable one.
    pub at: u64,
    durable_at: u64,
    /// Its clock against the true time.
    pub offset: i64,
    /// Of the present owner.
    pub epoch: u64,
    /// Nobody owns it before.
    pub down_until: u64,
    building: Vec<Step<P::Fact>>,
    reads: usize,
    flying: VecDeque<Group<P::Fact>>,
    inbox: VecDeque<(u64, Sent)>,
    read: usize,
}

impl<P: Part> Owner<P> {
    /// The first owner.
    pub fn new(part: P, offset: i64) -> Self {
        let durable = part.of(&part.text(), 1);
        Self {
            durable,
            live: part,
            at: 0,
            durable_at: 0,
            offset,
            epoch: 1,
            down_until: 0,
            building: Vec::new(),
            reads: 0,
            flying: VecDeque::new(),
            inbox: VecDeque::new(),
            read: 0,
        }
    }

    /// The next stamp at true time `now`: never back, never still.
    pub fn stamp(&mut self, now: u64) -> u64 {
        self.at = (self.at + 1).max(now.saturating_add_signed(self.offset));
        self.at
    }

    /// Takes a fact in, live; it lands with the next group.
    pub fn step(&mut self, fact: P::Fact) {
        self.live.apply(&fact, self.at);
        let sent = self.live.emit(&fact, self.at);
        self.building.push((fact, self.at, sent));
    }

    /// The next record that has arrived by `now`.
    pub fn next_record(&mut self, now: u64) -> Option<Sent> {
        let (arrives, sent) = self.inbox.get(self.read)?;
        if *arrives > now {
            return None;
        }
        self.read += 1;
        self.reads += 1;
        Some(sent.clone())
    }

    /// A record is appended to its input; it arrives not before those appended earlier.
    pub fn append(&mut self, arrives: u64, sent: Sent) {
        let last = self.inbox.back().map_or(0, |(last, _)| *last);
        self.inbox.push_back((arrives.max(last), sent));
    }

    /// Seals what was decided as a group that lands at `lands`.
    pub fn seal(&mut self, lands: u64) {
        if !self.building.is_empty() || self.reads > 0 {
            let last = self.flying.back().map_or(0, |(last, ..)| *last);
            let reads = std::mem::take(&mut self.reads);
            self.flying.push_back((lands.max(last), reads, std::mem::take(&mut self.building)));
        }
    }

    /// Groups that have landed by `now`.
    pub fn land(&mut self, now: u64) -> Landed<P::Fact> {
        let mut landed = Landed { facts: Vec::new(), sent: Vec::new() };
        while self.flying.front().is_some_and(|(lands, ..)| *lands <= now) {
            let Some((_, reads, steps)) = self.flying.pop_front() else { break };
            self.inbox.drain(..reads);
            self.read -= reads;
            for (fact, at, sent) in steps {
                self.durable.apply(&fact, at);
                self.durable_at = at;
                landed.facts.push((fact, at));
                landed.sent.extend(sent);
            }
        }
        landed
    }

    /// A new owner takes over what has landed by now, after a pause, with another clock. What had not landed is void.
    pub fn take_over(&mut self, from: u64, offset: i64) {
        self.flying.clear();
        self.building.clear();
        self.reads = 0;
        self.read = 0;
        self.epoch += 1;
        self.live = self.durable.of(&self.durable.text(), self.epoch);
        self.at = self.durable_at;
        self.offset = offset;
        self.down_until = from;
    }

    /// Whether replay and snapshot give the live state, once everything has landed.
    pub fn agrees(&self) -> bool {
        !self.flying.is_empty() || !self.building.is_empty() || self.live.text() == self.durable.text()
    }
}
