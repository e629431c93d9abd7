//! Jobs that may delegate no longer, and what they spawned.
//!
//! An operator **revokes** a job (`revoke` of `commands.<source>`). The command goes to the job's own kernel shard and to every
//! shard that takes delegated jobs, since its children may stand anywhere; each shard does the same with it:
//!
//! | | facts |
//! |---|---|
//! | the job | `DelegationRevoked`: until no ticket of it can be valid any more, no job that acts for it is let run |
//! | the job itself, where it stands here | as if it was cancelled |
//! | what acts for it and is kept here | `JobCancelled`, cause `revoked` |
//! | what acts for it and was released here | `JobWithdrawn`, cause `revoked`: its pool's scheduler ends it unless a worker's result came first |
//!
//! The last two follow one by one in later decisions ([`AT_ONCE`] each), so that no decision grows with the family.
//!
//! Durable: changed by facts alone (I7). Bounded (I10): beyond [`MOST_REVOKED`] every chain counts as revoked until the last of
//! them is over (I3), and released children of those that are not remembered are not withdrawn; beyond [`MOST_RELEASED`] the oldest released children are forgotten: these are not withdrawn, but spawn
//! nothing further, and are denied when their ticket has expired.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use tidegate_protocol::decision::Decision;
use tidegate_protocol::ids::{CommandId, JobId, PersonId, PoolName, TenantId};
use tidegate_protocol::job::{Job, SourcePosition};
use tidegate_protocol::time::Timestamp;

use crate::kept::Kept;
use crate::life::Life;

/// Most jobs that are known to be revoked.
pub(crate) const MOST_REVOKED: usize = 1_000;
/// Most released children that are known.
pub(crate) const MOST_RELEASED: usize = 10_000;
/// Most jobs that one decision stops.
pub(crate) const AT_ONCE: usize = 100;

/// Who revoked a job, and until when that matters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Revocation {
    pub(crate) until: Timestamp,
    pub(crate) command: CommandId,
    pub(crate) by: PersonId,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) reason: String,
}

/// A child that was released and may still be waiting for a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Released {
    pub(crate) id: JobId,
    pub(crate) tenant: TenantId,
    pub(crate) pool: PoolName,
    /// Then its ticket is over.
    until: Timestamp,
    /// Whom it acts for.
    chain: Vec<SourcePosition>,
}

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Families {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    revoked: BTreeMap<SourcePosition, Revocation>,
    /// Until then every chain counts as revoked.
    #[serde(skip_serializing_if = "Option::is_none")]
    all_until: Option<Timestamp>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    released: BTreeMap<Life, Released>,
    /// Derived: what acts for a revoked job and has not been stopped yet, kept or released.
    #[serde(skip)]
    stopping: BTreeSet<Life>,
}

fn chain(job: &Job) -> impl Iterator<Item = &SourcePosition> {
    job.delegation.iter().flat_map(|delegation| delegation.chain.iter().map(|ancestor| &ancestor.source))
}

impl Families {
    pub(crate) fn is_empty(&self) -> bool {
        self.revoked.is_empty() && self.released.is_empty() && self.all_until.is_none()
    }

    /// Whether this job was revoked and that still matters.
    pub(crate) fn revoked(&self, job: &SourcePosition, at: Timestamp) -> Option<&Revocation> {
        self.revoked.get(job).filter(|revocation| revocation.until > at)
    }

    /// Why no further life of a dead record may begin: a life of it was revoked, or what was revoked cannot be told apart.
    pub(crate) fn forbid_redrive(&self, died: &SourcePosition, at: Timestamp) -> Option<String> {
        if self.all_until.is_some_and(|until| until > at) {
            return Some("more was revoked here than can be told apart; try again later".to_owned());
        }
        let lives = died.redriven(0)..=died.redriven(u32::MAX);
        let found = self.revoked.range(lives).find(|(_, revocation)| revocation.until > at);
        found.map(|(life, Revocation { by, until, .. })| {
            format!("the job at {life} was revoked by {by}, which is remembered until {} (ms)", until.millis())
        })
    }

    /// Why a job may not run, as far as that was revoked: itself, or one it acts for.
    pub(crate) fn forbid(&self, job: &Job, at: Timestamp) -> Option<String> {
        if self.revoked.is_empty() && self.all_until.is_none() {
            return None;
        }
        if self.all_until.is_some_and(|until| until > at) && job.delegation.is_some() {
            return Some("delegation: more was revoked here than can be told apart; try again later".to_owned());
        }
        let found = std::iter::once(&job.source)
            .chain(chain(job))
            .find_map(|at_source| self.revoked(at_source, at).map(|revocation| (at_source, revocation)));
        found.map(|(of, Revocation { by, .. })| format!("delegation: the job at {of} was revoked by {by}"))
    }

    /// A fact: the job may delegate no longer.
    pub(crate) fn revoke(&mut self, job: &SourcePosition, revocation: Revocation, kept: &Kept, at: Timestamp) {
        self.revoked.retain(|_, known| known.until > at);
        self.all_until = self.all_until.filter(|until| *until > at);
        if self.revoked.len() >= MOST_REVOKED && !self.revoked.contains_key(job) {
            self.all_until = self.all_until.max(Some(revocation.until));
        } else {
            self.revoked.insert(job.clone(), revocation);
        }
        // As after a snapshot: nothing stands here that no remembered word can stop, or it would keep its place for ever.
        self.derive(kept);
    }

    /// A fact: the job has another verdict, or none any more.
    pub(crate) fn leave(&mut self, life: Life) {
        if !self.released.is_empty() {
            self.released.remove(&life);
        }
        if !self.stopping.is_empty() {
            self.stopping.remove(&life);
        }
    }

    /// A fact: the job was released to that pool.
    pub(crate) fn release(&mut self, job: &Job, decision: &Decision, pool: &PoolName, at: Timestamp) {
        if job.delegation.is_none() {
            return;
        }
        while let Some((life, oldest)) = self.released.first_key_value() {
            let life = *life;
            if oldest.until > at && self.released.len() < MOST_RELEASED {
                break;
            }
            self.leave(life);
        }
        let until = decision.expires_ms.map_or(at, |ms| Timestamp(ms.saturating_mul(1_000)));
        let chain = chain(job).cloned().collect();
        let released = Released { id: job.id.clone(), tenant: job.tenant.clone(), pool: pool.clone(), until, chain };
        self.released.insert(Life::of(&job.source), released);
    }

    /// The next jobs to stop.
    pub(crate) fn to_stop(&self) -> impl Iterator<Item = Life> {
        self.stopping.iter().copied().take(AT_ONCE)
    }

    /// By whose word a released child is stopped.
    pub(crate) fn stops_released(&self, life: Life) -> Option<(&Released, &Revocation)> {
        let released = self.released.get(&life)?;
        Some((released, released.chain.iter().find_map(|above| self.revoked.get(above))?))
    }

    /// By whose word a kept child is stopped.
    pub(crate) fn stops_kept(&self, job: &Job) -> Option<&Revocation> {
        chain(job).find_map(|above| self.revoked.get(above))
    }

    /// Works out what is derived, after a revocation and after a snapshot was read.
    pub(crate) fn derive(&mut self, kept: &Kept) {
        let kept =
            kept.iter().filter(|kept| self.stops_kept(&kept.job).is_some()).map(|kept| Life::of(&kept.job.source));
        let released = self.released.keys().copied().filter(|life| self.stops_released(*life).is_some());
        let stopping = kept.chain(released).collect();
        self.stopping = stopping;
    }
}
