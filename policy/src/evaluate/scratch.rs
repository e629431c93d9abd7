//! Memory an evaluation reuses.

use super::derive::Outcome;
use super::payload::Payload;
use crate::compile::{Found, Head, Row, Run, Topic, Traits};
use crate::language::LocalMinute;
use crate::when::Truth;
use tidegate_protocol::decision::ShadowMode;
use tidegate_protocol::limits::LimitUse;

/// Buffers kept between evaluations, one a thread. Holds no state that a verdict depends on, and serves any
/// snapshot, so it outlives a reload.
#[derive(Debug, Default)]
pub struct Scratch {
    pub(super) payload: Payload,
    /// By tag id.
    pub(super) tags: Vec<Outcome>,
    /// Of a topic that the index keeps nothing about.
    pub(super) topic: Topic,
    pub(super) granted_topic: Topic,
    pub(super) rules: Selection,
    pub(super) grants: Selection,
    pub(super) memory: Memory,
    pub(super) heard: Heard,
}

/// The rows an index gives for a subject, and the rules where they meet.
#[derive(Debug, Default)]
pub(super) struct Selection {
    /// Runs that rows say more of.
    pub(super) indexed: Vec<Run>,
    /// Rows of all attributes, one attribute after the other.
    pub(super) picks: Vec<Row>,
    /// Where in `picks` each attribute ends.
    pub(super) ends: Vec<usize>,
    /// Rows of label keys the subject has.
    pub(super) labelled: Vec<Row>,
    /// Rows whose rules are unsure where they match.
    pub(super) unsure: Vec<Row>,
    /// Rows whose rules match by a tag that cannot be told, unless they stand in one of `told` too.
    pub(super) untold: Vec<Row>,
    pub(super) told: Vec<Row>,
    /// Of `picks`, for the group of words that is looked at.
    pub(super) heads: Vec<Head>,
    /// What matches, in order of evaluation once it is ordered.
    pub(super) found: Vec<Match>,
}

/// A rule that matches. In order of evaluation when sorted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Match {
    pub(super) place: u32,
    pub(super) traits: Traits,
    /// It matches only because something cannot be told.
    pub(super) unsure: bool,
}

impl Match {
    #[inline]
    pub(super) fn place(self) -> usize {
        self.place as usize
    }
}

/// What was found out once and holds for the rest of an evaluation.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// Rises with every evaluation: what carries another number is forgotten.
    pub(super) now: u32,
    /// By window.
    pub(super) minutes: Vec<(u32, Option<LocalMinute>)>,
    /// By condition.
    pub(super) truths: Vec<(u32, Option<Truth>)>,
    /// By compared field, after one that stands for nothing to compare.
    pub(super) numbers: Vec<Reading>,
    pub(super) secrets: Option<Outcome>,
    /// Whether a grant covers the job.
    pub(super) granted: Option<bool>,
}

/// A number of the payload.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reading {
    /// When it was read, as [`Memory::now`].
    pub(super) then: u32,
    /// It is a whole number of 64 bits: `int`.
    pub(super) small: bool,
    pub(super) int: i64,
    /// `None` when it cannot be told.
    pub(super) found: Option<Found>,
}

/// What combining has heard.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// Winners so far among invariants.
    pub(super) floor: Vec<u32>,
    /// Winners so far among the rest.
    pub(super) winners: Vec<u32>,
    /// Unsure permissions with constraints: they permit nothing and constrain what is permitted.
    pub(super) bounds: Vec<u32>,
    /// Rules with constraints.
    pub(super) constraining: Vec<u32>,
    /// Rules that are only tried out.
    pub(super) shadow: Vec<(u32, ShadowMode)>,
    /// Limits that admitted the job.
    pub(super) spends: Vec<LimitUse>,
    /// Limits that are not known.
    pub(super) unknown: Vec<LimitUse>,
}

impl Heard {
    pub(super) fn clear(&mut self) {
        let Self { floor, winners, bounds, constraining, shadow, spends, unknown } = self;
        [floor, winners, bounds, constraining].into_iter().for_each(Vec::clear);
        shadow.clear();
        spends.clear();
        unknown.clear();
    }
}

impl Memory {
    /// Forgets everything, in constant time.
    pub(super) fn renew(&mut self) {
        self.now = self.now.wrapping_add(1);
        if self.now == 0 {
            // What is four billion evaluations old could be taken for new.
            self.minutes.clear();
            self.truths.clear();
            self.numbers.clear();
            self.now = 1;
        }
        let nothing = Reading { then: self.now, small: true, int: 0, found: None };
        match self.numbers.first_mut() {
            Some(first) => *first = nothing,
            None => self.numbers.push(nothing),
        }
        self.secrets = None;
        self.granted = None;
    }
}

impl Scratch {
    /// Empty buffers.
    pub fn new() -> Self {
        Self::default()
    }
}
