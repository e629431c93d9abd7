//! Workers, a shard and the model that watches them.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod member;
mod model;

use std::time::Duration;

use bytes::Bytes;
use tidegate_protocol::facts::Token;
use tidegate_protocol::fleet::Report;
use tidegate_protocol::ids::Capability;
use tidegate_protocol::outcome::Outcome;
use tidegate_protocol::pool_command::PoolAction;
use tidegate_protocol::time::Timestamp;
use tidegate_scheduler::Tuning;
use tidegate_spine::Headers;
use tidegate_stage::InputRef;

use crate::driver::{Key, Says, Shard, Step, Way, approved, command, job, layout, position, signed_by, withdrawal};
use member::Member;
use model::Model;

#[derive(Debug, Clone)]
pub(crate) enum Op {
    Job {
        gpu: bool,
        priority: u8,
        deadline_s: Option<u64>,
        delay_ms: Option<u64>,
    },
    Receive {
        who: usize,
        messages: usize,
    },
    Heartbeat(usize),
    Finish {
        who: usize,
        which: usize,
        retryable: bool,
    },
    GiveBack {
        who: usize,
        which: usize,
    },
    /// Its clock went back so far meanwhile.
    Restart {
        who: usize,
        back: u64,
    },
    Drain {
        who: usize,
        draining: bool,
    },
    Wait(u64),
    Gap(u64),
    /// The last `lost` messages to every worker were never sent.
    Takeover {
        replay: bool,
        by: u64,
        lost: usize,
    },
    Evict(u64),
    /// Somebody says what is not so.
    Lie {
        who: usize,
        kind: u8,
        source: u64,
        epoch: u64,
        attempt: u32,
        incarnation: u64,
    },
    /// A record comes once more.
    Again(u64),
    /// A job is called off.
    Withdraw(u64),
    /// An operator says something of a worker; `again`: for the second time.
    Command {
        who: usize,
        action: PoolAction,
        again: bool,
    },
}

pub(crate) struct World {
    shard: Shard,
    model: Model,
    members: Vec<Member>,
    /// Their records, which are the same when they come once more.
    records: Vec<Bytes>,
    jobs: u64,
    commands: u64,
}

impl World {
    pub(crate) fn new() -> Self {
        let tuning =
            Tuning { lease_ms: 10_000, max_attempts: 3, window_jobs: 16, delayed_jobs: 3, ..Tuning::default() };
        let members = vec![
            Member::new("w0", 0, &["echo"], 2),
            Member::new("w1", 1, &["echo", "gpu"], 3),
            Member::new("w2", 1, &["echo"], 1),
        ];
        let mut world = Self {
            shard: Shard::new(layout(), &tuning),
            model: Model::default(),
            members,
            records: Vec::new(),
            jobs: 0,
            commands: 0,
        };
        world.model.owner(1);
        for who in 0..world.members.len() {
            let hello = world.members[who].hello();
            world.send(&hello);
        }
        world
    }

    pub(crate) fn act(&mut self, op: &Op) {
        match *op {
            Op::Job { gpu, priority, deadline_s, delay_ms } => {
                let mut new = job(&format!("j{}", self.jobs), self.jobs);
                new.priority = priority;
                if gpu {
                    new.requires = vec![Capability::new("gpu").unwrap()];
                }
                new.deadline = deadline_s.map(|s| self.shard.at.millis() + s * 1_000);
                self.jobs += 1;
                let needs = if gpu { vec!["echo", "gpu"] } else { vec!["echo"] };
                new.not_before = delay_ms.map(|ms| self.shard.at.millis() + ms);
                let until = new.not_before.map(|ms| Timestamp(ms * 1_000));
                self.model.submitted(&new.source, &needs, until);
                self.records.push(approved(&new, "1"));
                let step = self.shard.approved(approved(&new, "1"));
                self.after(step, None);
            }
            Op::Again(n) if n < self.jobs => {
                let step = self.shard.approved(self.records[usize::try_from(n).unwrap()].clone());
                self.after(step, None);
            }
            Op::Withdraw(n) if n < self.jobs => {
                self.model.withdrawn(&position(n));
                if n % 3 > 0 {
                    let step = self.shard.called_off(withdrawal(&format!("j{n}"), n));
                    self.after(step, None);
                }
                let step = self.shard.approved(withdrawal(&format!("j{n}"), n));
                self.after(step, None);
            }
            Op::Command { who, action, again } => self.command(who, action, again),
            Op::Receive { who, messages } => self.receive(who, messages),
            Op::Heartbeat(who) => {
                let report = self.members[who].speak();
                self.send(&report);
            }
            Op::Finish { who, which, retryable } => {
                if let Some(mut report) = self.members[who].finish(which) {
                    if let Report::Result { outcome, retryable: again, .. } = &mut report
                        && retryable
                    {
                        (*outcome, *again) = (Outcome::Failed, true);
                    }
                    self.send(&report);
                }
            }
            Op::GiveBack { who, which } => {
                if let Some(report) = self.members[who].give_back(which) {
                    self.send(&report);
                }
            }
            Op::Restart { who, back } => {
                self.members[who].restart(back);
                let report = self.members[who].hello();
                self.send(&report);
            }
            Op::Drain { who, draining } => self.members[who].draining = draining,
            Op::Wait(ms) => {
                self.shard.wait(Duration::from_millis(ms));
                let step = self.shard.tick();
                self.after(step, None);
            }
            Op::Gap(ms) => {
                self.shard.wait(Duration::from_millis(ms));
                self.shard.gap(Duration::from_millis(ms));
            }
            Op::Takeover { replay, by, lost } => {
                for member in &mut self.members {
                    let kept = member.inbox.len().saturating_sub(lost);
                    member.inbox.truncate(kept);
                }
                let epoch = self.shard.epoch + by;
                self.shard.takeover(if replay { Way::Replay } else { Way::Snapshot }, epoch);
                self.model.owner(epoch);
                let step = self.shard.read();
                self.after(step, None);
            }
            Op::Evict(offset) => {
                let step = self.shard.evict(InputRef { input: 0, offset });
                self.after(step, None);
            }
            Op::Lie { who, kind, source, epoch, attempt, incarnation } => {
                let report = self.lie(who, kind, source, epoch, attempt, incarnation);
                self.send(&report);
            }
            Op::Again(_) | Op::Withdraw(_) => {
                let step = self.shard.raw_report(Some(vec![b'{'; 9].into()), Headers::new());
                self.after(step, None);
            }
        }
    }

    /// Nobody lies, everybody works: whatever is left ends.
    pub(crate) fn calm(&mut self) {
        for who in 0..self.members.len() {
            self.command(who, PoolAction::Uncordon, false);
        }
        for round in 0..200 {
            for who in 0..self.members.len() {
                self.members[who].draining = false;
                self.receive(who, usize::MAX);
                let report = self.members[who].speak();
                self.send(&report);
                self.receive(who, usize::MAX);
                while let Some(report) = self.members[who].finish(0) {
                    self.send(&report);
                }
                for report in self.members[who].unsettled() {
                    self.send(&report);
                }
            }
            if self.model.all_ended() && self.shard.unsettled() == 0 {
                assert!(self.members.iter().all(|member| member.epoch <= self.shard.epoch), "{round}");
                return;
            }
            self.shard.wait(Duration::from_millis(1_000));
            let step = self.shard.tick();
            self.after(step, None);
        }
        panic!("not all ended: {:?}, {:?}", self.model, self.shard.stage.gauges());
    }

    fn command(&mut self, who: usize, action: PoolAction, again: bool) {
        self.commands += u64::from(!again);
        let (id, of, at_ms) = (format!("c{}", self.commands), self.members[who].name.clone(), self.shard.at.millis());
        let value = signed_by(&Key::of("operator", "olga"), &command(&id, action, &of, "olga", at_ms));
        let step = self.shard.command(Some(value), Headers::new());
        self.after(step, None);
    }

    fn receive(&mut self, who: usize, messages: usize) {
        for report in self.members[who].receive(messages) {
            self.send(&report);
        }
    }

    fn send(&mut self, report: &Report) {
        self.model.reported(report);
        let step = self.shard.report(report);
        self.after(step, Some(report));
    }

    /// Checks a step and what becomes possible by it.
    fn after(&mut self, step: Step, report: Option<&Report>) {
        self.believe(&step, report);
        loop {
            let polled = self.shard.poll();
            let read = self.shard.read();
            self.believe(&polled, None);
            self.believe(&read, None);
            if polled.facts.is_empty() && read.facts.is_empty() {
                break;
            }
        }
        assert_eq!(self.shard.stage.gauges().counts.impossible_facts, 0);
    }

    fn believe(&mut self, step: &Step, report: Option<&Report>) {
        self.model.now = self.shard.at;
        for fact in &step.facts {
            self.model.fact(fact, report);
        }
        let mut finished = 0;
        for message in &step.messages {
            match message.to.topic.as_str() {
                "tg.finished" => finished += 1,
                "tg.work.p" => {
                    for member in &mut self.members {
                        member.send(message);
                    }
                }
                _ => {}
            }
        }
        assert_eq!(finished, Model::ends(&step.facts), "one `finished` for every end");
    }

    /// A report of somebody who knows the names but tells anything. An incarnation above the real one would be that
    /// worker's death warrant, which its pool (a trust domain) cannot prevent: lies name real ones or older.
    fn lie(&self, who: usize, kind: u8, source: u64, epoch: u64, attempt: u32, incarnation: u64) -> Report {
        let member = self.members.get(who);
        let epoch = self.shard.epoch.saturating_sub(epoch);
        let says = Says {
            name: member.map_or("liar", |member| &member.name).to_owned(),
            incarnation: member.map_or(1, |member| member.incarnation.saturating_sub(incarnation)),
            lane: u32::try_from(source % 5).unwrap(),
            epoch,
            capabilities: Vec::new(),
            capacity: 0,
            running: Vec::new(),
            received: 0,
            credit: 0,
            draining: false,
            tenants: None,
            labels: std::collections::BTreeMap::new(),
            load: None,
        };
        let token = Token { epoch: epoch.saturating_sub(u64::from(attempt % 2)), attempt };
        let outcome = if kind == 3 { Outcome::Dead } else { Outcome::Succeeded };
        match kind {
            // A liar may beat its own drum, and take the name of another for its results.
            0 => Says { name: "liar".into(), incarnation: 1, capabilities: Vec::new(), ..says }.heartbeat(),
            1 => says.give_back(position(source), Token { epoch: token.epoch, attempt: attempt + 90 }),
            2 => Says { name: "liar".into(), incarnation: 1, ..says }.hello(),
            _ => Says { lane: member.map_or(0, |member| member.lane), name: "liar".into(), incarnation: 1, ..says }
                .result(position(source), token, outcome),
        }
    }
}
