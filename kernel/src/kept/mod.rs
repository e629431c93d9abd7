//! Jobs that are kept past the release of their record, because their verdict is still to come.
//!
//! | how | comes by | is judged again | ends at the latest |
//! |---|---|---|---|
//! | held for people | `JobHeld` | when enough have approved it, when another policy is used | at `until` |
//! | deferred for a slice | `JobDeferred` | when the limits it waits for have answered | at `until` |
//! | deferred for a throttle | `JobDeferred` | at `retry` | at `until` |
//! | deferred because its ticket expired, without a policy | `JobDeferred` | as soon as there is a policy | at `until` |
//!
//! A job that people have approved may still be deferred: its hold stays with it. A kept job ends by `JobDecided`,
//! `RecordRejected` or `JobCancelled`, which name what they replace; their messages come from
//! the record kept here, never from an input. All of it is changed by facts alone, so a replay rebuilds it (I7).
//!
//! Count and bytes are bounded (I10): beyond the bound no further job is read (deferred jobs end by themselves), and what
//! would be held is denied.

mod again;
mod deferral;
mod record;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};
use tidegate_protocol::address::Offset;
use tidegate_protocol::decision::PayloadAt;
use tidegate_protocol::ids::{JobId, TenantId};
use tidegate_protocol::job::{Job, SourcePosition};
use tidegate_protocol::kept::{KeptAs, KeptRecord, Replaced};
use tidegate_protocol::time::Timestamp;

use crate::approvals::Hold;
use crate::life::Life;

use deferral::is_zero;
pub(crate) use deferral::{Deferral, awaited};
pub(crate) use record::{keep, restored};

/// Largest record that is kept, bytes of value, key and headers: with everything else a fact holds it stays below what
/// is left of a facts record beside a full group.
pub const MAX_KEPT_RECORD_BYTES: usize = 192 << 10;

/// How much a shard keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeptBounds {
    /// Most jobs of each kind.
    pub jobs: usize,
    /// Most bytes of their records, of each kind.
    pub bytes: usize,
}

impl Default for KeptBounds {
    fn default() -> Self {
        Self { jobs: 10_000, bytes: 16 << 20 }
    }
}

/// A job whose verdict is still to come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeptJob {
    pub(crate) job: Job,
    /// In the kept record's value.
    pub(crate) payload: PayloadAt,
    pub(crate) record: Box<KeptRecord>,
    /// `at` of the fact that last said how it is kept.
    pub(crate) since: Timestamp,
    /// Leases it had under tickets that have expired since.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) leases: u32,
    /// Those of them that count as failed attempts.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) strikes: u32,
    /// What people are asked, and what they have said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) hold: Option<Hold>,
    /// What it waits for, unless that is people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) deferral: Option<Deferral>,
}

impl KeptJob {
    /// What a later fact replaces.
    pub(crate) const fn replaced(&self) -> Replaced {
        Replaced { was: self.kept_as(), at: self.since, leases: self.leases, strikes: self.strikes, verdict: None }
    }

    pub(crate) const fn kept_as(&self) -> KeptAs {
        if self.deferral.is_some() { KeptAs::Deferred } else { KeptAs::Held }
    }

    /// Its hold, while people are asked.
    pub(crate) const fn asks_for(&self) -> Option<&Hold> {
        if self.deferral.is_none() { self.hold.as_ref() } else { None }
    }

    /// When time has something to say: at its end, and before that to a hold that goes to a further role.
    fn due(&self) -> Option<Timestamp> {
        match (&self.deferral, &self.hold) {
            (Some(deferral), _) => Some(deferral.until),
            (None, Some(hold)) => Some(hold.next_escalation().map_or(hold.until, |(when, _)| when.min(hold.until))),
            (None, None) => None,
        }
    }

    /// Whether it is to be judged again now that this policy is used.
    fn is_woken(&self, policy: &str) -> bool {
        match &self.deferral {
            Some(deferral) => deferral.is_woken(),
            None => self.hold.as_ref().is_some_and(|hold| hold.is_satisfied() || hold.decision.snapshot != policy),
        }
    }
}

/// Count and bytes of one kind.
#[derive(Debug, Clone, Copy, Default)]
struct Load {
    jobs: usize,
    bytes: usize,
}

/// All kept jobs of a shard.
#[derive(Debug)]
pub(crate) struct Kept {
    bounds: KeptBounds,
    jobs: BTreeMap<Life, KeptJob>,
    /// Looked up, never walked through, as in the window of known ids.
    ids: HashMap<(TenantId, JobId), Life>,
    deadlines: BTreeSet<(Timestamp, Life)>,
    retries: BTreeSet<(Timestamp, Life)>,
    /// By limit and key ([`awaited`]), who waits for it.
    waiting: BTreeMap<String, BTreeSet<Life>>,
    /// To be judged again: nothing it waited for is still to be answered, enough people have approved it, or another policy
    /// is used.
    woken: BTreeSet<Life>,
    deferred: Load,
    held: Load,
    /// The job that the fact just applied has ended, for its messages.
    leaving: Option<KeptJob>,
    /// Hash of the policy last used.
    policy: String,
}

impl Kept {
    pub(crate) fn new(bounds: KeptBounds) -> Self {
        Self {
            bounds,
            jobs: BTreeMap::new(),
            ids: HashMap::new(),
            deadlines: BTreeSet::new(),
            retries: BTreeSet::new(),
            waiting: BTreeMap::new(),
            woken: BTreeSet::new(),
            deferred: Load::default(),
            held: Load::default(),
            leaving: None,
            policy: String::new(),
        }
    }

    /// The job of this record.
    pub(crate) fn get(&self, source: &SourcePosition) -> Option<&KeptJob> {
        self.jobs.get(&Life::of(source)).filter(|kept| kept.job.source == *source)
    }

    /// A job of the record at that offset, in whichever of its lives.
    pub(crate) fn at(&self, offset: Offset) -> Option<&KeptJob> {
        self.jobs.range(Life::all(offset)).next().map(|(_, kept)| kept)
    }

    /// The job of this id: kept for as long as it takes, so longer than the window may know it.
    pub(crate) fn of(&self, job: &Job) -> Option<&KeptJob> {
        // Nothing is looked up, or copied for it, while nothing is kept.
        if self.ids.is_empty() {
            return None;
        }
        self.jobs.get(self.ids.get(&(job.tenant.clone(), job.id.clone()))?)
    }

    /// Keeps a job, or keeps it in another way.
    pub(crate) fn keep(&mut self, kept: KeptJob) {
        let life = Life::of(&kept.job.source);
        self.take_out(life);
        self.ids.insert((kept.job.tenant.clone(), kept.job.id.clone()), life);
        let load = self.load_mut(kept.kept_as());
        load.jobs += 1;
        load.bytes += kept.record.bytes();
        self.deadlines.extend(kept.due().map(|due| (due, life)));
        if let Some(deferral) = &kept.deferral {
            self.retries.extend(deferral.retry.map(|retry| (retry, life)));
            for limit in &deferral.waits_for {
                self.waiting.entry(limit.clone()).or_default().insert(life);
            }
        }
        if kept.is_woken(&self.policy) {
            self.woken.insert(life);
        }
        self.jobs.insert(life, kept);
    }

    /// Changes how a job is kept.
    pub(crate) fn change(&mut self, source: &SourcePosition, how: impl FnOnce(&mut KeptJob)) -> bool {
        if self.get(source).is_none() {
            return false;
        }
        let Some(mut kept) = self.take_out(Life::of(source)) else { return false };
        how(&mut kept);
        self.keep(kept);
        true
    }

    /// This policy is used from here on: whatever people are asked by another is judged again.
    pub(crate) fn adopt(&mut self, snapshot: &str) {
        snapshot.clone_into(&mut self.policy);
        let woken = self.jobs.iter().filter(|(_, kept)| kept.is_woken(&self.policy));
        self.woken = woken.map(|(life, _)| *life).collect();
    }

    /// Ends a job: its messages are made from [`Self::leaving`].
    pub(crate) fn end(&mut self, source: &SourcePosition) {
        self.leaving = self.get(source).is_some().then(|| self.take_out(Life::of(source))).flatten();
    }

    /// The job that the last fact ended.
    pub(crate) fn leaving(&self, source: &SourcePosition) -> Option<&KeptJob> {
        self.leaving.as_ref().filter(|kept| kept.job.source == *source)
    }

    fn load_mut(&mut self, kind: KeptAs) -> &mut Load {
        match kind {
            KeptAs::Held => &mut self.held,
            KeptAs::Deferred | KeptAs::Released | KeptAs::Dead => &mut self.deferred,
        }
    }

    fn take_out(&mut self, life: Life) -> Option<KeptJob> {
        let kept = self.jobs.remove(&life)?;
        // The window may have forgotten the id of a job that came back late: then a later job has it.
        let id = (kept.job.tenant.clone(), kept.job.id.clone());
        if self.ids.get(&id) == Some(&life) {
            self.ids.remove(&id);
        }
        let bytes = kept.record.bytes();
        let load = self.load_mut(kept.kept_as());
        load.jobs = load.jobs.saturating_sub(1);
        load.bytes = load.bytes.saturating_sub(bytes);
        if let Some(due) = kept.due() {
            self.deadlines.remove(&(due, life));
        }
        if let Some(deferral) = &kept.deferral {
            if let Some(retry) = deferral.retry {
                self.retries.remove(&(retry, life));
            }
            for limit in &deferral.waits_for {
                if let Some(waiting) = self.waiting.get_mut(limit) {
                    waiting.remove(&life);
                    if waiting.is_empty() {
                        self.waiting.remove(limit);
                    }
                }
            }
        }
        self.woken.remove(&life);
        Some(kept)
    }

    /// A limit has answered for a key ([`awaited`]): whoever waited for that alone is judged again.
    pub(crate) fn wake(&mut self, limit: &str) {
        for life in self.waiting.remove(limit).unwrap_or_default() {
            let Some(deferral) = self.jobs.get_mut(&life).and_then(|kept| kept.deferral.as_mut()) else { continue };
            deferral.waits_for.retain(|waited| waited != limit);
            if deferral.is_woken() {
                self.woken.insert(life);
            }
        }
    }

    /// The next to be judged again at `at`: who was woken, in the order of their records, then whose delay is over.
    pub(crate) fn next_ready(&self, at: Timestamp) -> Option<&KeptJob> {
        let delayed = self.retries.first().filter(|(retry, _)| *retry <= at).map(|(_, life)| life);
        self.jobs.get(self.woken.first().or(delayed)?)
    }

    /// Those to whom time had something to say at `fresh`, the earliest first.
    pub(crate) fn overdue(&self, fresh: Timestamp) -> impl Iterator<Item = &KeptJob> {
        let due = self.deadlines.iter().take_while(move |(until, _)| *until <= fresh);
        due.filter_map(|(_, life)| self.jobs.get(life))
    }

    /// When time has something to say next.
    pub(crate) fn next_deadline(&self) -> Option<Timestamp> {
        self.deadlines.first().map(|(until, _)| *until)
    }

    /// When the first delay is over.
    pub(crate) fn next_retry(&self) -> Option<Timestamp> {
        self.retries.first().map(|(retry, _)| *retry)
    }

    /// Whether no further job of this kind may come.
    pub(crate) const fn is_full(&self, kind: KeptAs) -> bool {
        let load = match kind {
            KeptAs::Held => self.held,
            KeptAs::Deferred | KeptAs::Released | KeptAs::Dead => self.deferred,
        };
        load.jobs >= self.bounds.jobs || load.bytes >= self.bounds.bytes
    }

    /// How many are kept in this way.
    pub(crate) const fn count(&self, kind: KeptAs) -> usize {
        match kind {
            KeptAs::Held => self.held.jobs,
            KeptAs::Deferred | KeptAs::Released | KeptAs::Dead => self.deferred.jobs,
        }
    }

    /// All, in the order of their records.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &KeptJob> {
        self.jobs.values()
    }

    /// Replaces everything by jobs of a snapshot; [`Self::adopt`] is to follow.
    pub(crate) fn replace(&mut self, jobs: Vec<KeptJob>) {
        *self = Self::new(self.bounds);
        for kept in jobs {
            self.keep(kept);
        }
    }
}

#[cfg(test)]
mod tests;
