//! Numbers of a slab in the order of a key that their values contain: an unrolled list.
//!
//! A tree of keys and numbers costs a job some 40 bytes, for it holds each key once more and its leaves are half empty where they
//! grew at their end. This holds four bytes of a value: blocks of numbers, each with a lower bound of its keys, and nothing else.
//! What most do costs next to nothing: to come last (it goes into the last block while that has room, so blocks are full) and
//! to leave as the first. Elsewhere it takes a binary search in the bounds and one in a block.

use std::collections::VecDeque;

/// Most numbers of a block.
const BLOCK: usize = 128;

/// Like [`crate::slab::Index`] it knows no key of a number: whoever asks says how it is found. No two have the same, and that of a
/// number does not change while it is in.
#[derive(Debug)]
pub(crate) struct Sequence<K> {
    /// None is empty. The keys of a block are not below its bound, and below that of the next.
    blocks: VecDeque<(K, VecDeque<u32>)>,
}

impl<K> Default for Sequence<K> {
    fn default() -> Self {
        Self { blocks: VecDeque::new() }
    }
}

impl<K: Ord + Copy> Sequence<K> {
    /// Adds a number, whose key is not in.
    pub(crate) fn insert(&mut self, number: u32, key: K, key_of: impl Fn(u32) -> Option<K> + Copy) {
        let at = self.block_of(&key).unwrap_or(0);
        let Some((bound, block)) = self.blocks.get_mut(at) else {
            // Most are of one number: no room for more.
            self.blocks = VecDeque::from([(key, VecDeque::from([number]))]);
            return;
        };
        *bound = (*bound).min(key);
        let place = place(block, &key, key_of);
        if block.len() < BLOCK {
            block.insert(place, number);
        } else if place == block.len() {
            self.blocks.insert(at + 1, (key, VecDeque::from([number])));
        } else {
            let (mut behind, half) = (block.split_off(BLOCK / 2), BLOCK / 2);
            let first = behind.front().and_then(|first| key_of(*first));
            if place <= half {
                block.insert(place, number)
            } else {
                behind.insert(place - half, number)
            }
            // It is in, so it has one.
            self.blocks.insert(at + 1, (first.unwrap_or(key), behind));
        }
    }

    /// Takes a number with its key out; whether it was in.
    pub(crate) fn remove(&mut self, number: u32, key: &K, key_of: impl Fn(u32) -> Option<K> + Copy) -> bool {
        let Some(at) = self.block_of(key) else { return false };
        let Some((_, block)) = self.blocks.get_mut(at) else { return false };
        let place = if block.front() == Some(&number) { 0 } else { place(block, key, key_of) };
        if block.get(place) != Some(&number) {
            return false;
        }
        block.remove(place);
        match block.len() {
            0 => drop(self.blocks.remove(at)),
            left if left <= BLOCK / 4 => {
                self.join(at);
                if let Some(before) = at.checked_sub(1) {
                    self.join(before);
                }
            }
            _ => {}
        }
        true
    }

    /// The number with the lowest key.
    pub(crate) fn first(&self) -> Option<u32> {
        self.blocks.front()?.1.front().copied()
    }

    /// All numbers, in order.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = u32> {
        self.blocks.iter().flat_map(|(_, block)| block).copied()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// The last block with a bound that is not above `key`.
    fn block_of(&self, key: &K) -> Option<usize> {
        if self.blocks.back().is_some_and(|(bound, _)| bound <= key) {
            return Some(self.blocks.len() - 1);
        }
        self.blocks.partition_point(|(bound, _)| bound <= key).checked_sub(1)
    }

    /// Makes one block of this and the next where together they fill no more than half of one.
    fn join(&mut self, at: usize) {
        let size = |at: usize| self.blocks.get(at).map_or(BLOCK, |(_, block)| block.len());
        if size(at) + size(at + 1) <= BLOCK / 2
            && let Some((_, mut behind)) = self.blocks.remove(at + 1)
            && let Some((_, block)) = self.blocks.get_mut(at)
        {
            block.append(&mut behind);
        }
    }
}

/// Where `key` stands in a block, or would.
fn place<K: Ord>(block: &VecDeque<u32>, key: &K, key_of: impl Fn(u32) -> Option<K> + Copy) -> usize {
    let below = |number: u32| key_of(number).is_some_and(|other| other < *key);
    if block.back().is_some_and(|last| below(*last)) {
        block.len()
    } else {
        block.partition_point(|number| below(*number))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::collections::btree_map::Entry;

    use proptest::prelude::*;

    use super::*;

    /// A sequence beside a tree that says what it should be; the key of a number is what stands at it.
    #[derive(Default)]
    struct Both {
        keys: Vec<u32>,
        sequence: Sequence<u32>,
        tree: BTreeMap<u32, u32>,
    }

    impl Both {
        fn insert(&mut self, key: u32) {
            let number = u32::try_from(self.keys.len()).unwrap();
            if let Entry::Vacant(entry) = self.tree.entry(key) {
                entry.insert(number);
                self.keys.push(key);
                let keys = &self.keys;
                self.sequence.insert(number, key, |number| keys.get(number as usize).copied());
            }
        }

        fn remove(&mut self, key: u32) {
            let keys = &self.keys;
            let key_of = |number: u32| keys.get(number as usize).copied();
            let there = self.tree.remove(&key);
            assert_eq!(self.sequence.remove(there.unwrap_or(u32::MAX), &key, key_of), there.is_some(), "{key}");
        }

        fn check(&self) {
            assert_eq!(self.sequence.first(), self.tree.first_key_value().map(|(_, number)| *number));
            assert_eq!(self.sequence.is_empty(), self.tree.is_empty());
            assert!(self.sequence.numbers().eq(self.tree.values().copied()));
            assert!(self.sequence.blocks.iter().all(|(_, block)| (1..=BLOCK).contains(&block.len())));
        }
    }

    proptest! {
        #[test]
        fn it_is_the_order_of_the_keys_whatever_comes_and_goes_where(
            steps in prop::collection::vec((0_u8..10, 0_u32..2_000), 0..3_000),
        ) {
            let mut both = Both::default();
            for (n, (what, key)) in steps.into_iter().enumerate() {
                let last = both.tree.last_key_value().map_or(key, |(last, _)| last + key % 3);
                match (what, both.tree.first_key_value().map(|(first, _)| *first)) {
                    (0..3, _) => both.insert(last),
                    (3, Some(first)) => both.insert(first.saturating_sub(1)),
                    (4, Some(first)) => both.remove(first),
                    (5..7, _) => both.remove(both.tree.range(key..).next().map_or(key, |(next, _)| *next)),
                    _ => both.insert(key),
                }
                if n % 64 == 0 {
                    both.check();
                }
            }
            both.check();
            for key in both.tree.keys().copied().collect::<Vec<_>>().into_iter().rev() {
                both.remove(key);
            }
            both.check();
        }
    }

    #[test]
    fn blocks_are_full_when_numbers_come_in_order_and_few_when_most_have_left() {
        for backwards in [false, true] {
            let mut both = Both::default();
            (0..10_000).for_each(|key| both.insert(key));
            assert_eq!(both.sequence.blocks.len(), 10_000_usize.div_ceil(BLOCK));
            for key in (0..10_000).map(|n| if backwards { 9_999 - n } else { n }).filter(|key| key % 100 != 0) {
                both.remove(key);
            }
            both.check();
            let blocks = both.sequence.blocks.len();
            assert!(blocks <= 100 / (BLOCK / 8), "{blocks} blocks of 100");
        }
    }
}
