//! What a scheduler says.

use std::time::Duration;

use serde_json::value::RawValue;
use tidegate_protocol::facts::Token;
use tidegate_protocol::fleet::Order;
use tidegate_protocol::job::SourcePosition;
use tidegate_protocol::time::Timestamp;

use super::{Action, Ignored, JobKey, Running, Session};

/// Heartbeats are kept between these, whatever a Welcome says.
const HEARTBEAT: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(3_600));

impl Session {
    /// Takes an order from the lane. `sender` is the epoch of the owner that sent it (header `tg-epoch`), when known:
    /// a `Settled` of an owner other than the one of the highest Welcome is ignored, since that owner's log may never
    /// count; the result is sent to the new owner anyway.
    pub fn order(&mut self, order: Order, sender: Option<u64>, now: Timestamp) -> Vec<Action> {
        match order {
            Order::Welcome { incarnation, epoch, heartbeat_ms, lease_ms } => match self.check(incarnation) {
                Some(refused) => vec![refused],
                None => self.welcome(epoch, heartbeat_ms, lease_ms),
            },
            Order::Assignment { incarnation, number, source, token, work } => match self.check(incarnation) {
                Some(refused) => vec![refused],
                None => self.assignment(number, JobKey { source, token }, work, now),
            },
            Order::Drain { incarnation, reason } => match self.check(incarnation) {
                Some(refused) => vec![refused],
                None if sender.is_some_and(|epoch| epoch != self.epoch) => {
                    vec![Action::Ignored { why: Ignored::OtherEpoch }]
                }
                None if self.draining => vec![Action::Ignored { why: Ignored::Repeated }],
                None => vec![Action::Drain { reason }],
            },
            Order::Outrun { known, .. } => vec![self.outrun(known)],
            Order::Cancel { source, token, reason } => self.cancel(source, token, sender, reason),
            Order::Settled { source, token, accepted, reason } => self.settled(source, token, sender, accepted, reason),
        }
    }

    fn check(&self, incarnation: u64) -> Option<Action> {
        match incarnation.cmp(&self.incarnation.number) {
            std::cmp::Ordering::Less => Some(Action::Ignored { why: Ignored::OtherIncarnation }),
            std::cmp::Ordering::Equal => None,
            // Welcomed after we were: by another process.
            std::cmp::Ordering::Greater if self.established => Some(Action::Superseded { incarnation }),
            std::cmp::Ordering::Greater => Some(Action::Outrun { known: incarnation }),
        }
    }

    /// The name has that number, whoever's Hello is answered by it.
    fn outrun(&self, known: u64) -> Action {
        match known.cmp(&self.incarnation.number) {
            std::cmp::Ordering::Less => Action::Ignored { why: Ignored::OtherIncarnation },
            // It is ours.
            std::cmp::Ordering::Equal if self.epoch > 0 => Action::Ignored { why: Ignored::OtherIncarnation },
            // This shard has welcomed ours, so it met that one later.
            std::cmp::Ordering::Greater if self.epoch > 0 => Action::Superseded { incarnation: known },
            std::cmp::Ordering::Equal | std::cmp::Ordering::Greater => Action::Outrun { known },
        }
    }

    fn welcome(&mut self, epoch: u64, heartbeat_ms: u64, lease_ms: u64) -> Vec<Action> {
        if epoch < self.epoch || epoch == 0 {
            return vec![Action::Ignored { why: Ignored::OtherEpoch }];
        }
        let (least, most) = HEARTBEAT;
        self.heartbeat = Duration::from_millis(heartbeat_ms).clamp(least, most);
        self.lease = Duration::from_millis(lease_ms).clamp(self.heartbeat, most * 24);
        self.heartbeat_wanted = true;
        if epoch == self.epoch {
            return vec![Action::Ignored { why: Ignored::Repeated }];
        }
        self.epoch = epoch;
        self.established = true;
        self.received = 0;
        self.granted = 0;
        self.told = 0;
        // The new owner settles a lease of an older epoch only by a report that names its own.
        self.unsent = self.results.keys().cloned().collect();
        self.flight.results.clear();
        vec![Action::Welcomed { epoch }]
    }

    fn assignment(&mut self, number: u64, job: JobKey, work: Box<RawValue>, now: Timestamp) -> Vec<Action> {
        if job.token.epoch != self.epoch {
            return vec![Action::Ignored { why: Ignored::OtherEpoch }];
        }
        if number <= self.received || self.jobs.contains_key(&job) || self.results.contains_key(&job) {
            return vec![Action::Ignored { why: Ignored::Repeated }];
        }
        let within = !self.draining && number <= self.credit() && self.occupied() < self.identity.capacity as usize;
        // It may have been sent before this worker fell silent, and be another's by now.
        let within = within && !self.is_in_doubt(now);
        // What was granted stays granted: only the freed slots of later moments add to it.
        self.granted = self.granted.max(self.credit());
        self.received = number;
        if !within {
            self.give_backs.push_back(job.clone());
            return vec![Action::GivenBack { job }];
        }
        // A higher token of a job that is still held here means that its older lease has ended.
        let mut actions = Vec::new();
        let first = JobKey { source: job.source.clone(), token: Token { epoch: 0, attempt: 0 } };
        for (older, running) in self.jobs.range_mut(first..job.clone()) {
            if !running.lost {
                running.lost = true;
                self.progress.remove(older);
                self.waiting.remove(older);
                actions.push(Action::LeaseLost { job: older.clone() });
            }
        }
        self.jobs.insert(job.clone(), Running { since: now, lost: false });
        actions.push(Action::Run { job, work });
        actions
    }

    fn cancel(&mut self, source: SourcePosition, token: Token, sender: Option<u64>, reason: String) -> Vec<Action> {
        if sender.is_some_and(|epoch| epoch != self.epoch) {
            return vec![Action::Ignored { why: Ignored::OtherEpoch }];
        }
        let job = JobKey { source, token };
        match self.jobs.get(&job) {
            Some(running) if !running.lost => vec![Action::Cancel { job, reason }],
            // It has ended here: its result is on its way.
            Some(_) | None => vec![Action::Ignored { why: Ignored::NotHeld }],
        }
    }

    fn settled(
        &mut self,
        source: SourcePosition,
        token: Token,
        sender: Option<u64>,
        accepted: bool,
        reason: String,
    ) -> Vec<Action> {
        if sender.is_some_and(|epoch| epoch != self.epoch) {
            return vec![Action::Ignored { why: Ignored::OtherEpoch }];
        }
        let job = JobKey { source, token };
        let running = self.jobs.get_mut(&job).filter(|running| !running.lost);
        if let Some(running) = running {
            // Ended by the owner before a result came (or by another's result): nobody waits for it any more.
            running.lost = true;
            self.progress.remove(&job);
            self.waiting.remove(&job);
            return vec![Action::LeaseLost { job: job.clone() }, Action::Settled { job, accepted, reason }];
        }
        if self.results.remove(&job).is_some() {
            vec![Action::Settled { job, accepted, reason }]
        } else {
            vec![Action::Ignored { why: Ignored::NotHeld }]
        }
    }
}
