//! What `overflow.<pool>` may hold of this shard's jobs, and the withdrawals that are kept for them. Part of the state.
//!
//! A shard counts the jobs it moves; a moved record carries its number, and the fact that takes it out of `overflow` names it.
//! Of every [`BLOCK`] numbers the state remembers how many have not come back: a number of entries that is a thousandth of the
//! backlog. A withdrawal is kept while a job that was moved before it may still come back, and leaves by itself when none may: it
//! may have been of a job that had ended long ago (on `withdrawals.<pool>`, ahead of the record that is kept here), and nothing
//! else would ever tell.
//!
//! Records that were moved before moves were numbered never count as back. So on a shard that had moved any by then, what is kept
//! stays, of later withdrawals too, up to [`WITHDRAWALS_REMEMBERED`] of them.

use std::collections::{BTreeMap, VecDeque};

use tidegate_protocol::ids::{JobId, TenantId};
use tidegate_protocol::job::SourcePosition;

use crate::lines::LineKey;
use crate::work::Work;

/// Numbers that are counted together. Part of the state's meaning: another one gives other snapshots.
const BLOCK: u64 = 1_024;

/// Withdrawals of jobs that may be in `overflow`, that are remembered. Part of the state's meaning.
const WITHDRAWALS_REMEMBERED: usize = 4_096;

/// What ends a job when it is read back: its tenant and id, and the reason.
pub(crate) type Withdrawal = (TenantId, JobId, String);

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Overflow {
    /// Jobs ever moved; the number of the last.
    moved: u64,
    /// By block, jobs that have not come back; none of a block that is not there.
    out: BTreeMap<u64, u64>,
    /// Those of them with an ordering key that have not been leased nor ended since: they keep their place in line.
    in_line: BTreeMap<SourcePosition, LineKey>,
    withdrawn: BTreeMap<SourcePosition, Kept>,
    /// As they were kept.
    order: VecDeque<SourcePosition>,
}

#[derive(Debug)]
struct Kept {
    withdrawal: Withdrawal,
    /// Its job has no higher number.
    moved: u64,
}

/// All of it, as a snapshot holds it.
pub(crate) struct Parts<W, L> {
    pub(crate) moved: u64,
    /// `None` in a snapshot of older software.
    pub(crate) out: Option<Vec<(u64, u64)>>,
    pub(crate) in_line: Vec<L>,
    pub(crate) withdrawn: Vec<W>,
    /// Of each of `withdrawn`; absent in a snapshot of older software.
    pub(crate) kept_at: Vec<u64>,
}

impl Overflow {
    /// The number of the last job that was moved.
    pub(crate) fn moved(&self) -> u64 {
        self.moved
    }

    /// Whether a job may come from there.
    pub(crate) fn may_hold(&self) -> bool {
        !self.out.is_empty()
    }

    /// A job goes there.
    pub(crate) fn put(&mut self, source: &SourcePosition, line: Option<LineKey>) {
        self.moved += 1;
        *self.out.entry(self.moved / BLOCK).or_default() += 1;
        if let Some(line) = line {
            self.in_line.insert(source.clone(), line);
        }
    }

    /// The job of that number has come back for good. What was kept of jobs that cannot come any more is forgotten.
    pub(crate) fn take(&mut self, number: u64) {
        if number == 0 || number > self.moved {
            return;
        }
        let block = number / BLOCK;
        if let Some(left) = self.out.get_mut(&block) {
            *left -= 1;
            if *left == 0 {
                self.out.remove(&block);
            }
        }
        let first = self.out.first_key_value().map_or(u64::MAX, |(block, _)| *block);
        while let Some(oldest) = self.order.front()
            && self.withdrawn.get(oldest).is_none_or(|kept| kept.moved / BLOCK < first)
        {
            self.withdrawn.remove(oldest);
            self.order.pop_front();
        }
    }

    /// Jobs there that keep their place in a line, read back or not.
    pub(crate) fn in_line(&self) -> &BTreeMap<SourcePosition, LineKey> {
        &self.in_line
    }

    /// A job of the line is leased, or its place is given up.
    pub(crate) fn leave_line(&mut self, source: &SourcePosition) {
        self.in_line.remove(source);
    }

    /// A job has ended: nothing more is to be known of it.
    pub(crate) fn end(&mut self, source: &SourcePosition) {
        if self.withdrawn.remove(source).is_some() {
            self.order.retain(|kept| kept != source);
        }
        self.in_line.remove(source);
    }

    /// Remembers that a job is called off, for when it is read.
    pub(crate) fn withdraw(&mut self, source: &SourcePosition, withdrawal: Withdrawal) {
        self.keep(source, withdrawal, self.moved);
    }

    fn keep(&mut self, source: &SourcePosition, withdrawal: Withdrawal, moved: u64) {
        if let Some(kept) = self.withdrawn.get_mut(source) {
            kept.withdrawal = withdrawal;
            return;
        }
        self.withdrawn.insert(source.clone(), Kept { withdrawal, moved });
        self.order.push_back(source.clone());
        if self.order.len() > WITHDRAWALS_REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.withdrawn.remove(&oldest);
        }
    }

    /// Whether a withdrawal can be remembered without another being forgotten.
    pub(crate) fn may_withdraw(&self, source: &SourcePosition) -> bool {
        self.withdrawn.len() < WITHDRAWALS_REMEMBERED || self.withdrawn.contains_key(source)
    }

    /// Why a job that has just been read is called off.
    pub(crate) fn withdrawn(&self, work: &Work) -> Option<&str> {
        let (tenant, id, reason) = &self.withdrawn.get(&work.source)?.withdrawal;
        (*tenant == work.alike.tenant && id.as_str() == work.name()).then_some(reason)
    }

    /// For a snapshot.
    pub(crate) fn parts(&self) -> Parts<(&SourcePosition, &Withdrawal), (&SourcePosition, &TenantId, &str)> {
        let kept = || self.order.iter().filter_map(|source| Some((source, self.withdrawn.get(source)?)));
        Parts {
            moved: self.moved,
            out: (self.moved > 0).then(|| self.out.iter().map(|(block, left)| (*block, *left)).collect()),
            in_line: self.in_line.iter().map(|(source, (tenant, key))| (source, tenant, &**key)).collect(),
            withdrawn: kept().map(|(source, kept)| (source, &kept.withdrawal)).collect(),
            kept_at: kept().map(|(_, kept)| kept.moved).collect(),
        }
    }

    /// From a snapshot.
    pub(crate) fn of(parts: Parts<(SourcePosition, Withdrawal), (SourcePosition, TenantId, String)>) -> Self {
        let Parts { moved, out, in_line, withdrawn, kept_at } = parts;
        let mut overflow = Self { moved, ..Self::default() };
        match out {
            Some(out) => overflow.out = out.into_iter().collect(),
            // None of them was numbered, so none will be met again.
            None => overflow.out = all_of(moved),
        }
        overflow.in_line = in_line.into_iter().map(|(source, tenant, key)| (source, (tenant, key.into()))).collect();
        let kept_at = kept_at.into_iter().map(Some).chain(std::iter::repeat(None));
        for ((source, withdrawal), at) in withdrawn.into_iter().zip(kept_at) {
            overflow.keep(&source, withdrawal, at.unwrap_or(moved));
        }
        overflow
    }
}

/// By block, the numbers up to this.
fn all_of(moved: u64) -> BTreeMap<u64, u64> {
    let of = |block: u64| (block, moved.min(block * BLOCK + (BLOCK - 1)) + 1 - (block * BLOCK).max(1));
    (0..=moved / BLOCK).map(of).filter(|(_, many)| *many > 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::position;

    fn withdrawal() -> Withdrawal {
        (TenantId::new("t").unwrap(), JobId::new("j").unwrap(), String::new())
    }

    fn again(overflow: &Overflow) -> Overflow {
        let Parts { moved, out, in_line, withdrawn, kept_at } = overflow.parts();
        let in_line = in_line.into_iter().map(|(s, t, k)| (s.clone(), t.clone(), k.to_owned())).collect();
        let withdrawn = withdrawn.into_iter().map(|(s, w)| (s.clone(), w.clone())).collect();
        Overflow::of(Parts { moved, out, in_line, withdrawn, kept_at })
    }

    #[test]
    fn what_was_kept_leaves_when_all_that_was_moved_before_has_come_back_in_whatever_order() {
        let mut overflow = Overflow::default();
        let moves = |overflow: &mut Overflow, many| (0..many).for_each(|n| overflow.put(&position(n), None));
        moves(&mut overflow, 2_000);
        overflow.withdraw(&position(1), withdrawal());
        moves(&mut overflow, 2_000);
        overflow.withdraw(&position(2), withdrawal());
        moves(&mut overflow, 2_000);
        for number in (2..=2_100).rev() {
            overflow.take(number);
        }
        assert_eq!(overflow.order.len(), 2, "the first has not come back");
        let mut overflow = again(&overflow);
        overflow.take(1);
        assert_eq!(overflow.order, [position(2)], "of the second some are still there");
        (2_101..=6_000).for_each(|number| overflow.take(number));
        assert!(overflow.order.is_empty() && overflow.withdrawn.is_empty() && !overflow.may_hold());
        overflow.take(6_001);
        overflow.take(0);
        assert_eq!(again(&overflow).moved, 6_000);
        assert!(!again(&overflow).may_hold());
    }

    #[test]
    fn the_blocks_of_all_that_was_moved_are_those_that_moving_them_makes() {
        let mut overflow = Overflow::default();
        assert_eq!(all_of(0), overflow.out);
        for moved in 1..=3 * BLOCK + 1 {
            overflow.put(&position(moved), None);
            assert_eq!(all_of(moved), overflow.out, "{moved}");
        }
    }

    #[test]
    fn what_was_moved_before_moves_were_numbered_is_never_known_to_be_back() {
        let (out, kept_at, in_line) = (None, Vec::new(), Vec::new());
        let mut overflow =
            Overflow::of(Parts { moved: 2, out, in_line, withdrawn: vec![(position(1), withdrawal())], kept_at });
        overflow.put(&position(3), None);
        overflow.take(3);
        assert!(overflow.may_hold());
        assert_eq!(overflow.order, [position(1)]);
    }
}
