//! An honest worker, as DESIGN section 5 has it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use tidegate_protocol::facts::Token;
use tidegate_protocol::fleet::{Held, Order, Report};
use tidegate_protocol::headers;
use tidegate_protocol::ids::Capability;
use tidegate_protocol::job::SourcePosition;
use tidegate_protocol::outcome::Outcome;
use tidegate_stage::Message;

use crate::driver::{Says, capabilities};

#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) incarnation: u64,
    /// Numbers it had. Who begins anew draws another (a real one draws among a thousand).
    lives: BTreeSet<u64>,
    pub(crate) lane: u32,
    pub(crate) epoch: u64,
    pub(crate) draining: bool,
    pub(crate) inbox: VecDeque<Order>,
    capabilities: Vec<Capability>,
    capacity: u32,
    received: u64,
    running: BTreeMap<(SourcePosition, Token), bool>,
}

/// The number of a first life, and what a clock that goes on adds for the next.
const FIRST: u64 = 1_000;
const STEP: u64 = 10;

impl Member {
    pub(crate) fn new(name: &str, lane: u32, can: &[&str], capacity: u32) -> Self {
        Self {
            name: name.into(),
            incarnation: FIRST,
            lives: BTreeSet::from([FIRST]),
            lane,
            epoch: 0,
            draining: false,
            inbox: VecDeque::new(),
            capabilities: capabilities(can),
            capacity,
            received: 0,
            running: BTreeMap::new(),
        }
    }

    /// What its lane brings: messages for it alone.
    pub(crate) fn send(&mut self, message: &Message) {
        if message.headers.text(headers::TO) == Some(&self.name) {
            self.inbox.push_back(serde_json::from_slice(message.value.as_deref().unwrap()).unwrap());
        }
    }

    fn says(&self) -> Says {
        let held =
            |(source, token): &(SourcePosition, Token)| Held { source: source.clone(), token: *token, waits: false };
        Says {
            name: self.name.clone(),
            incarnation: self.incarnation,
            lane: self.lane,
            epoch: self.epoch,
            capabilities: self.capabilities.clone(),
            capacity: self.capacity,
            running: self.running.keys().map(held).collect(),
            received: self.received,
            credit: self.received + u64::from(self.capacity).saturating_sub(self.running.len() as u64),
            draining: self.draining,
            tenants: None,
            labels: std::collections::BTreeMap::new(),
            load: None,
        }
    }

    pub(crate) fn hello(&self) -> Report {
        self.says().hello()
    }

    /// A heartbeat, or Hello before the first Welcome.
    pub(crate) fn speak(&self) -> Report {
        if self.epoch == 0 { self.hello() } else { self.says().heartbeat() }
    }

    /// With this number, or the next that it never had.
    fn begin(&mut self, least: u64) {
        self.incarnation = (least..).find(|number| self.lives.insert(*number)).unwrap();
    }

    /// Another life, by a clock that went back so far, or not.
    pub(crate) fn restart(&mut self, back: u64) {
        self.begin((self.incarnation + STEP).saturating_sub(back * (STEP - 3)));
        self.epoch = 0;
        self.received = 0;
        self.running.clear();
        self.inbox.clear();
    }

    /// Reads some messages; what it has to say to a new owner.
    pub(crate) fn receive(&mut self, messages: usize) -> Vec<Report> {
        let mut says = Vec::new();
        for _ in 0..messages {
            let Some(order) = self.inbox.pop_front() else { break };
            match order {
                Order::Welcome { incarnation, epoch, .. } if incarnation == self.incarnation && epoch > self.epoch => {
                    self.epoch = epoch;
                    self.received = 0;
                    says = vec![self.says().heartbeat()];
                    says.extend(self.unsettled());
                }
                Order::Assignment { incarnation, number, source, token, .. }
                    if incarnation == self.incarnation && token.epoch == self.epoch =>
                {
                    assert_eq!(number, self.received + 1, "assignments come in order, none twice");
                    self.received = number;
                    self.running.insert((source, token), false);
                }
                Order::Settled { source, token, .. } => {
                    self.running.remove(&(source, token));
                }
                Order::Outrun { known, .. } if self.epoch == 0 && known >= self.incarnation => {
                    self.begin(known + 1);
                    says = vec![self.hello()];
                }
                Order::Outrun { known, .. } => assert!(known <= self.incarnation, "nobody else has its name"),
                // It is one that does not stop.
                Order::Welcome { .. } | Order::Assignment { .. } | Order::Cancel { .. } | Order::Drain { .. } => {}
            }
        }
        says
    }

    fn result(&self, (source, token): &(SourcePosition, Token)) -> Report {
        self.says().result(source.clone(), *token, Outcome::Succeeded)
    }

    /// Ends the `which`th job that runs.
    pub(crate) fn finish(&mut self, which: usize) -> Option<Report> {
        let (held, done) = self.running.iter_mut().filter(|(_, done)| !**done).nth(which)?;
        *done = true;
        let held = held.clone();
        Some(self.result(&held))
    }

    /// Results that were not settled yet.
    pub(crate) fn unsettled(&self) -> Vec<Report> {
        self.running.iter().filter(|(_, done)| **done).map(|(held, _)| self.result(held)).collect()
    }

    pub(crate) fn give_back(&mut self, which: usize) -> Option<Report> {
        let (held, _) = self.running.iter().filter(|(_, done)| !**done).nth(which)?;
        let held = held.clone();
        self.running.remove(&held);
        Some(self.says().give_back(held.0, held.1))
    }
}
