//! What is known of the workers at present. Soft: a new owner knows nothing until a worker reports to it.

use std::collections::{BTreeMap, BTreeSet};

use tidegate_protocol::facts::Token;
use tidegate_protocol::ids::WorkerId;
use tidegate_protocol::job::SourcePosition;
use tidegate_protocol::time::Timestamp;

use crate::answers::Answers;
use crate::placement::{Can, Load};

/// Most jobs a worker holds, whatever it says: bounds what one report can lead to.
pub(crate) const MOST_HELD: u32 = 1_000;

/// Most entries remembered in [`Present::told`]; beyond it a worker may be told again.
const MOST_TOLD: usize = 4_096;

/// What a heartbeat under this epoch said.
#[derive(Debug, Clone)]
pub(crate) struct Offer {
    /// Kept while it is the same, so that it need not be compared with more than itself.
    pub(crate) can: Can,
    /// At most [`MOST_HELD`].
    pub(crate) capacity: u32,
    /// Number of the highest assignment it received in this epoch.
    pub(crate) received: u64,
    /// Assignments up to this number are accepted.
    pub(crate) credit: u64,
    pub(crate) draining: bool,
    /// How busy it says that what it runs on is, in 65,536ths.
    pub(crate) busy: u64,
}

/// How many jobs a worker holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Holding {
    pub(crate) all: usize,
    /// Those of them that wait for jobs that they spawned.
    pub(crate) waiting: usize,
}

impl Holding {
    /// Jobs that use a slot.
    fn busy(self) -> usize {
        self.all.saturating_sub(self.waiting)
    }
}

/// A worker this owner has welcomed.
#[derive(Debug)]
pub(crate) struct Present {
    pub(crate) incarnation: u64,
    pub(crate) lane: u32,
    pub(crate) welcomed: Timestamp,
    /// `None` until its first heartbeat under this epoch.
    pub(crate) offer: Option<Offer>,
    /// Number of the last assignment to this incarnation in this epoch, as far as it was not forgotten since
    /// ([`Present::last_number`]).
    pub(crate) sent: u64,
    /// When it last reported under this epoch.
    pub(crate) heard: Timestamp,
    /// Gets nothing until it reports again.
    pub(crate) silent: bool,
    /// Of what it lists but no longer has, what it was told to drop.
    pub(crate) told: BTreeSet<(SourcePosition, Token)>,
    pub(crate) last_grant: u64,
    /// It gave back what it was given, and gets nothing for a while.
    pub(crate) resting: bool,
    /// How often it did since its last result.
    pub(crate) rests: u32,
    /// Of what it holds, what waits for jobs that it spawned, as it said last.
    pub(crate) waiting: BTreeSet<SourcePosition>,
    /// What it was answered of late though it changed nothing.
    pub(crate) answers: Answers,
}

impl Present {
    /// It is told to drop that.
    pub(crate) fn tell(&mut self, source: &SourcePosition, token: Token) {
        if self.told.len() < MOST_TOLD {
            self.told.insert((source.clone(), token));
        }
    }

    /// Number of the last assignment to this incarnation in this epoch. One that lives and was forgotten has met numbers that this owner
    /// no longer knows of, and runs nothing up to them.
    pub(crate) fn last_number(&self) -> u64 {
        self.offer.as_ref().map_or(self.sent, |offer| self.sent.max(offer.received))
    }

    /// Assignments it can take beyond what it holds.
    pub(crate) fn room(&self, held: Holding) -> u64 {
        match &self.offer {
            Some(offer) if !self.silent && !self.resting && !offer.draining => {
                let slots = u64::from(offer.capacity).saturating_sub(held.all as u64);
                slots.min(offer.credit.saturating_sub(self.last_number()))
            }
            Some(_) | None => 0,
        }
    }

    /// The same of jobs that others spawned: the slots of those that wait for such jobs are theirs too.
    pub(crate) fn room_for_children(&self, held: Holding) -> u64 {
        if held.all >= MOST_HELD as usize {
            return 0;
        }
        self.room(Holding { all: held.busy(), ..held })
    }

    /// Its load when it has room, and whether that is for children alone.
    pub(crate) fn load(&self, held: Holding) -> Option<(Load, bool)> {
        let offer = self.offer.as_ref()?;
        // What it says is of the past; what it was given since is counted here, so that nothing herds to one that looks idle.
        let share = (((held.busy() as u64) << 16) / u64::from(offer.capacity).max(1)).max(offer.busy);
        let load = Load { share, last_grant: self.last_grant };
        match (self.room(held), self.room_for_children(held)) {
            (1.., _) => Some((load, false)),
            (0, 1..) => Some((load, true)),
            (0, 0) => None,
        }
    }
}

/// All workers welcomed by this owner.
pub(crate) type Fleet = BTreeMap<WorkerId, Present>;

#[cfg(test)]
mod tests {
    use tidegate_protocol::facts::{SchedulerFact, Token};
    use tidegate_protocol::job::Job;
    use tidegate_protocol::outcome::Outcome;

    use crate::Tuning;
    use crate::driver::{Says, Shard, approved, held, job, layout, position};

    /// A job with so many above it.
    fn of_depth(offset: u64, depth: u64) -> Job {
        let above = |n| serde_json::json!({"job": format!("a{n}"), "source": format!("jobs/0@{n}")});
        let chain: Vec<_> = (0..depth).map(above).collect();
        let mut job = job(&format!("j{offset}"), offset);
        if depth > 0 {
            let delegation = serde_json::json!({"chain": chain, "scope": {"capabilities": [], "topics": []}, "expires_ms": 9_000_000_000_000_u64});
            job.delegation = Some(serde_json::from_value(delegation).unwrap());
        }
        job
    }

    const TOKEN: Token = Token { epoch: 1, attempt: 1 };

    fn at_work(shard: &mut Shard, running: &[(u64, bool)]) {
        let listed = |(offset, waits): &(u64, bool)| {
            let mut held = held(*offset, TOKEN);
            held.waits = *waits;
            held
        };
        let running = running.iter().map(listed).collect();
        shard.report(&Says { epoch: 1, credit: 99, running, ..Says::of("w") }.heartbeat());
    }

    fn granted(shard: &mut Shard) -> Vec<u64> {
        let source = |fact: &SchedulerFact| {
            let SchedulerFact::LeaseGranted { source, .. } = fact else { panic!("{fact:?}") };
            source.offset
        };
        shard.poll().facts.iter().map(source).collect()
    }

    fn ends(shard: &mut Shard, offset: u64) {
        let says = Says { epoch: 1, credit: 99, ..Says::of("w") };
        let step = shard.report(&says.result(position(offset), TOKEN, Outcome::Succeeded));
        assert!(matches!(&step.facts[..], [SchedulerFact::JobFinished { .. }]), "{step:?}");
    }

    #[test]
    fn a_chain_of_jobs_that_wait_for_each_other_ends_in_a_pool_of_one_slot() {
        let mut shard = Shard::new(layout(), &Tuning::default());
        shard.report(&Says::of("w").hello());
        at_work(&mut shard, &[]);
        shard.approved(approved(&of_depth(1, 0), "1"));
        assert_eq!(granted(&mut shard), [1]);
        // Others stand before its child, and may not have its slot.
        for offset in [2, 3] {
            shard.approved(approved(&of_depth(offset, 0), "1"));
        }
        shard.approved(approved(&of_depth(4, 1), "1"));
        at_work(&mut shard, &[(1, false)]);
        assert!(granted(&mut shard).is_empty(), "it has not said that it waits");
        at_work(&mut shard, &[(1, true)]);
        assert_eq!(granted(&mut shard), [4]);
        // Of two children the one further down goes first.
        shard.approved(approved(&of_depth(5, 1), "1"));
        shard.approved(approved(&of_depth(6, 2), "1"));
        at_work(&mut shard, &[(1, true), (4, true)]);
        assert_eq!(granted(&mut shard), [6]);
        at_work(&mut shard, &[(1, true), (4, true), (6, false)]);
        ends(&mut shard, 6);
        // The one above goes on: nothing is free.
        at_work(&mut shard, &[(1, true), (4, false)]);
        assert!(granted(&mut shard).is_empty());
        ends(&mut shard, 4);
        at_work(&mut shard, &[(1, false)]);
        assert!(granted(&mut shard).is_empty());
        ends(&mut shard, 1);
        at_work(&mut shard, &[]);
        assert_eq!(granted(&mut shard), [5], "children first");
        ends(&mut shard, 5);
        at_work(&mut shard, &[]);
        assert_eq!(granted(&mut shard), [2]);
    }

    #[test]
    fn what_a_worker_said_of_a_job_that_waited_is_over_with_its_lease() {
        let mut shard = Shard::new(layout(), &Tuning::default());
        shard.report(&Says::of("w").hello());
        at_work(&mut shard, &[]);
        shard.approved(approved(&of_depth(1, 0), "1"));
        assert_eq!(granted(&mut shard), [1]);
        at_work(&mut shard, &[(1, true)]);
        let says = Says { epoch: 1, credit: 99, ..Says::of("w") };
        shard.report(&says.give_back(position(1), TOKEN));
        shard.wait(std::time::Duration::from_millis(11));
        shard.tick();
        assert_eq!(granted(&mut shard), [1], "again, to the same");
        shard.approved(approved(&of_depth(2, 1), "1"));
        assert!(granted(&mut shard).is_empty(), "its one slot is taken by a job that waits for nobody");
    }

    #[test]
    fn what_waits_lends_no_slot_beyond_a_thousand_jobs_and_no_reason_to_move_what_others_wait_for() {
        let mut shard = Shard::new(layout(), &Tuning { window_jobs: 8, ..Tuning::default() });
        shard.report(&Says::of("w").hello());
        at_work(&mut shard, &[]);
        for offset in 1..9 {
            shard.approved(approved(&of_depth(offset, 0), "1"));
        }
        assert_eq!(granted(&mut shard), [1]);
        at_work(&mut shard, &[(1, true)]);
        shard.approved(approved(&of_depth(9, 0), "1"));
        assert!(granted(&mut shard).is_empty(), "the bucket is full of jobs that the pool can do");
        let present = super::Holding { all: 1_000, waiting: 1_000 };
        assert_eq!(shard.stage.soft.fleet.values().map(|w| w.room_for_children(present)).sum::<u64>(), 0);
    }
}
