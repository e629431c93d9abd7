//! Which (tenant, job id) were seen lately, with what input: the bounded window in which a job that is submitted twice
//! runs once.
//!
//! Entries leave by age (judged by the `at` of facts, never by a clock) and, beyond the bound, oldest first. So the
//! window is a function of the facts alone and a replay rebuilds it byte for byte (I7).

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidegate_protocol::address::Offset;
use tidegate_protocol::ids::{JobId, TenantId};
use tidegate_protocol::job::{InputHash, Job};
use tidegate_protocol::time::Timestamp;

/// How long and how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowBounds {
    /// Longest age of an entry.
    pub age: Duration,
    /// Most entries.
    pub ids: usize,
}

impl Default for WindowBounds {
    fn default() -> Self {
        Self { age: Duration::from_mins(10), ids: 200_000 }
    }
}

/// The first 128 bits of an input hash: enough to tell inputs apart, half the memory and snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ShortHash(u128);

impl ShortHash {
    fn of(hash: &InputHash) -> Self {
        let InputHash(bytes) = hash;
        Self(bytes.iter().take(16).fold(0, |sum, byte| (sum << 8) | u128::from(*byte)))
    }
}

impl Serialize for ShortHash {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&format_args!("{:032x}", self.0))
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Identity {
    tenant: TenantId,
    id: JobId,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    hash: ShortHash,
    offset: Offset,
    at: Timestamp,
}

/// What the window knows of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Known {
    /// Nothing, or too old.
    New,
    /// The same job with the same input, first at this offset of this source partition.
    Repeat(Offset),
    /// The id with another input, first at this offset.
    Conflict(Offset),
}

/// The window.
#[derive(Debug)]
pub(crate) struct Window {
    bounds: WindowBounds,
    /// Looked up, never walked through: its order shows nowhere, and its random keys keep submitters, who choose the
    /// ids, from crowding a bucket.
    seen: HashMap<Identity, Seen>,
    /// Keys in the order they came.
    order: VecDeque<Identity>,
}

/// An entry of a snapshot as read: tenant, id, short hash in hex, offset, at.
#[derive(Deserialize)]
pub(crate) struct Entry(TenantId, JobId, String, Offset, Timestamp);

/// The same as written.
#[derive(Serialize)]
pub(crate) struct EntryOut<'a>(&'a str, &'a str, ShortHash, Offset, Timestamp);

impl Window {
    pub(crate) fn new(bounds: WindowBounds) -> Self {
        Self { bounds, seen: HashMap::new(), order: VecDeque::new() }
    }

    /// Whether a job's id was made from its position: it cannot come twice, so it takes no room here.
    fn made_here(job: &Job) -> bool {
        job.id.as_str().contains('@')
            && job.id.as_str().parse().is_ok_and(|position| job.source.redriven(0) == position)
    }

    /// What is known of `job` at `at`.
    pub(crate) fn look_up(&self, job: &Job, at: Timestamp) -> Known {
        if Self::made_here(job) {
            return Known::New;
        }
        let identity = Identity { tenant: job.tenant.clone(), id: job.id.clone() };
        match self.seen.get(&identity) {
            Some(seen) if at.since(seen.at) <= self.bounds.age => {
                if seen.hash == ShortHash::of(&job.input_hash) {
                    Known::Repeat(seen.offset)
                } else {
                    Known::Conflict(seen.offset)
                }
            }
            _ => Known::New,
        }
    }

    /// Remembers a job that was decided at `at`, and forgets what is out of bounds by then.
    pub(crate) fn remember(&mut self, job: &Job, at: Timestamp) {
        while let Some(oldest) = self.order.front() {
            let stays = self.seen.get(oldest).is_some_and(|seen| at.since(seen.at) <= self.bounds.age);
            if stays && self.order.len() < self.bounds.ids {
                break;
            }
            self.seen.remove(oldest);
            self.order.pop_front();
        }
        if self.bounds.ids == 0 || Self::made_here(job) {
            return;
        }
        let identity = Identity { tenant: job.tenant.clone(), id: job.id.clone() };
        let seen = Seen { hash: ShortHash::of(&job.input_hash), offset: job.source.offset, at };
        if self.seen.insert(identity.clone(), seen).is_none() {
            self.order.push_back(identity);
        }
    }

    /// Entries in the order they came.
    pub(crate) fn entries(&self) -> impl Iterator<Item = EntryOut<'_>> {
        self.order.iter().filter_map(|identity| {
            let seen = self.seen.get(identity)?;
            Some(EntryOut(identity.tenant.as_str(), identity.id.as_str(), seen.hash, seen.offset, seen.at))
        })
    }

    /// Replaces everything by entries of a snapshot.
    ///
    /// # Errors
    /// The hash that is none.
    pub(crate) fn replace(&mut self, entries: Vec<Entry>) -> Result<(), String> {
        let mut seen = HashMap::with_capacity(entries.len());
        let mut order = VecDeque::with_capacity(entries.len());
        for Entry(tenant, id, hash, offset, at) in entries {
            let hash = u128::from_str_radix(&hash, 16).map(ShortHash).map_err(|_| hash)?;
            let identity = Identity { tenant, id };
            seen.insert(identity.clone(), Seen { hash, offset, at });
            order.push_back(identity);
        }
        self.seen = seen;
        self.order = order;
        Ok(())
    }

    /// How many ids it holds.
    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_protocol::ids::Capability;
    use tidegate_protocol::job::{Actor, SourcePosition};

    fn job(id: &str, value: &str, offset: Offset) -> Job {
        let none: [(&str, &[u8]); 0] = [];
        Job {
            id: JobId::new(id).unwrap(),
            tenant: TenantId::new("acme").unwrap(),
            topic: "job".to_owned(),
            actor: Actor::default(),
            capability: Capability::new("pay").unwrap(),
            requires: Vec::new(),
            risk_tags: Vec::new(),
            labels: std::collections::BTreeMap::new(),
            priority: 5,
            deadline: None,
            not_before: None,
            ordering_key: None,
            select: tidegate_protocol::selector::Selector::default(),
            prefer: tidegate_protocol::selector::Selector::default(),
            retry: tidegate_protocol::job::Retry::default(),
            parent: None,
            scope: None,
            delegation: None,
            source: SourcePosition::new("jobs".to_owned().try_into().unwrap(), 0, offset),
            input_hash: InputHash::of(value.as_bytes(), none),
            submitted_ms: 0,
        }
    }

    fn window(ids: usize) -> Window {
        Window::new(WindowBounds { age: Duration::from_secs(10), ids })
    }

    #[test]
    fn an_id_is_known_until_its_age_is_beyond_the_bound() {
        let mut window = window(10);
        window.remember(&job("a", "x", 7), Timestamp(0));
        for (micros, expected) in [(0, Known::Repeat(7)), (10_000_000, Known::Repeat(7)), (10_000_001, Known::New)] {
            assert_eq!(window.look_up(&job("a", "x", 9), Timestamp(micros)), expected, "{micros}");
        }
        assert_eq!(window.look_up(&job("a", "y", 9), Timestamp(1)), Known::Conflict(7));
        assert_eq!(window.look_up(&job("b", "x", 9), Timestamp(1)), Known::New);
        window.remember(&job("a", "y", 9), Timestamp(10_000_001));
        assert_eq!(window.look_up(&job("a", "y", 11), Timestamp(10_000_002)), Known::Repeat(9));
        assert_eq!(window.len(), 1);
    }

    #[test]
    fn beyond_the_bound_the_oldest_goes_first() {
        let mut window = window(3);
        for (offset, id) in (0..).zip(["a", "b", "c", "d"]) {
            window.remember(&job(id, "x", offset), Timestamp(offset));
        }
        assert_eq!(window.len(), 3);
        assert_eq!(window.look_up(&job("a", "x", 9), Timestamp(9)), Known::New);
        assert_eq!(window.look_up(&job("b", "x", 9), Timestamp(9)), Known::Repeat(1));
        assert_eq!(window.look_up(&job("d", "x", 9), Timestamp(9)), Known::Repeat(3));
    }

    #[test]
    fn an_id_made_from_a_position_takes_no_room() {
        let mut window = window(3);
        window.remember(&job("jobs/0@5", "x", 5), Timestamp(0));
        assert_eq!(window.len(), 0);
        window.remember(&job("jobs/0@5", "x", 6), Timestamp(0));
        assert_eq!(window.len(), 1, "an id that looks like another record's position is an ordinary one");
    }
}
