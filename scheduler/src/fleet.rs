//! What is known of the workers at present. Soft: a new owner knows nothing until a worker reports to it.

use std::collections::{BTreeMap, BTreeSet};

use tidegate_protocol::facts::Token;
use tidegate_protocol::ids::WorkerId;
use tidegate_protocol::job::SourcePosition;
use tidegate_protocol::time::Timestamp;

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
    /// Number of the last assignment to this incarnation in this epoch.
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
}

impl Present {
    /// It is told to drop that.
    pub(crate) fn tell(&mut self, source: &SourcePosition, token: Token) {
        if self.told.len() < MOST_TOLD {
            self.told.insert((source.clone(), token));
        }
    }

    /// Assignments it can take beyond what it holds.
    pub(crate) fn room(&self, held: Holding) -> u64 {
        match &self.offer {
            Some(offer) if !self.silent && !self.resting && !offer.draining => {
                let slots = u64::from(offer.capacity).saturating_sub(held.all as u64);
                slots.min(offer.credit.saturating_sub(self.sent))
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
