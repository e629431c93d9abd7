//! What the last owners of a shard have written, in constant memory: an owner's groups stand in the order it made them,
//! each naming the one before, whether they count or not; an owner writes one claim and one barrier.

use std::collections::VecDeque;

use tidegate_protocol::address::Offset;

/// Owners and claims remembered. A former owner's last groups land within the time its client holds them, so a few would do.
const REMEMBERED: usize = 1_024;

/// The last group met of an owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Last {
    pub(crate) sequence: u64,
    pub(crate) hash: String,
    pub(crate) offset: Offset,
}

/// An owner whose barrier was met.
#[derive(Debug, Clone)]
pub(crate) struct Owner {
    pub(crate) epoch: u64,
    pub(crate) last: Option<Last>,
}

/// A claim met: the epoch it opens (0 for one that landed too late to open any), and its hash.
#[derive(Debug, Clone)]
struct ClaimMet {
    epoch: u64,
    hash: String,
}

/// See the module.
#[derive(Debug, Clone, Default)]
pub(crate) struct Owners {
    owners: VecDeque<Owner>,
    claims: VecDeque<ClaimMet>,
    /// Epochs up to this one may have been forgotten.
    forgotten: u64,
}

impl Owners {
    pub(crate) fn claimed(&mut self, epoch: u64, hash: String) {
        if self.claims.len() == REMEMBERED
            && let Some(oldest) = self.claims.pop_front()
        {
            self.forgotten = self.forgotten.max(oldest.epoch);
        }
        self.claims.push_back(ClaimMet { epoch, hash });
    }

    /// Nothing is known of owners before that epoch.
    pub(crate) fn forget_before(&mut self, epoch: u64) {
        self.forgotten = self.forgotten.max(epoch.saturating_sub(1));
    }

    /// Whether that very claim was met.
    pub(crate) fn knows_claim(&self, hash: &str) -> bool {
        self.claims.iter().any(|claim| claim.hash == hash)
    }

    /// The hash of the claim that made that epoch.
    pub(crate) fn claim(&self, epoch: u64) -> Option<&str> {
        self.claims.iter().rev().find(|claim| claim.epoch == epoch).map(|claim| claim.hash.as_str())
    }

    /// Whether an owner of that epoch may have been, and been forgotten.
    pub(crate) const fn may_have_forgotten(&self, epoch: u64) -> bool {
        epoch <= self.forgotten
    }

    pub(crate) fn announced(&mut self, epoch: u64) -> &mut Owner {
        if self.owners.len() == REMEMBERED
            && let Some(oldest) = self.owners.pop_front()
        {
            self.forgotten = self.forgotten.max(oldest.epoch);
        }
        self.owners.push_back(Owner { epoch, last: None });
        let newest = self.owners.len() - 1;
        #[expect(clippy::indexing_slicing, reason = "just pushed")]
        &mut self.owners[newest]
    }

    pub(crate) fn of(&mut self, epoch: u64) -> Option<&mut Owner> {
        self.owners.iter_mut().rev().find(|owner| owner.epoch == epoch)
    }

    /// Where the last group of some owner stands, when its hash is this.
    pub(crate) fn last_with(&self, hash: &str) -> Option<(u64, Offset)> {
        let with =
            |owner: &Owner| owner.last.as_ref().filter(|last| last.hash == hash).map(|last| (owner.epoch, last.offset));
        self.owners.iter().rev().find_map(with)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_forgotten_is_neither_claimed_to_be_there_nor_missed() {
        let mut owners = Owners::default();
        for epoch in 1..=3_000 {
            owners.claimed(epoch, epoch.to_string());
            owners.announced(epoch);
        }
        assert_eq!((owners.owners.len(), owners.claims.len()), (REMEMBERED, REMEMBERED));
        assert_eq!((owners.claim(3_000), owners.claim(5)), (Some("3000"), None));
        assert!(owners.knows_claim("3000") && !owners.knows_claim("5"));
        assert!(owners.of(3_000).is_some() && owners.of(5).is_none() && owners.may_have_forgotten(5));
        assert!(!owners.may_have_forgotten(2_999));
    }
}
