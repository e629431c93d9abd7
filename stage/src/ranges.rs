//! A set of offsets kept as ranges.

use std::collections::BTreeMap;

use tidegate_protocol::address::Offset;

/// Disjoint, non-touching half-open ranges.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Ranges(BTreeMap<Offset, Offset>);

impl Ranges {
    /// Adds `[from, to)`.
    pub(crate) fn insert(&mut self, from: Offset, to: Offset) {
        if from >= to {
            return;
        }
        let (mut from, mut to) = (from, to);
        // Ranges that start at or before `to` and end at or after `from` melt into the new one; the last such starts
        // at or before `to`, and walking down stops at the first that ends before `from`.
        while let Some((&start, &end)) = self.0.range(..=to).next_back() {
            if end < from {
                break;
            }
            from = from.min(start);
            to = to.max(end);
            self.0.remove(&start);
        }
        self.0.insert(from, to);
    }

    pub(crate) fn contains(&self, offset: Offset) -> bool {
        self.0.range(..=offset).next_back().is_some_and(|(_, end)| *end > offset)
    }

    /// Forgets everything below `offset`.
    pub(crate) fn trim_below(&mut self, offset: Offset) {
        while let Some((&start, &end)) = self.0.first_key_value() {
            if start >= offset {
                break;
            }
            self.0.remove(&start);
            if end > offset {
                self.0.insert(offset, end);
                break;
            }
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Offset, Offset)> {
        self.0.iter().map(|(from, to)| (*from, *to))
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ranges_agree_with_a_plain_set() {
        let mut state = 42_u64;
        let mut next = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        for _ in 0..300 {
            let (mut ranges, mut set) = (Ranges::default(), BTreeSet::new());
            for _ in 0..40 {
                let from = next(100);
                let to = from + next(6);
                ranges.insert(from, to);
                set.extend(from..to);
                if next(8) == 0 {
                    let below = next(100);
                    ranges.trim_below(below);
                    set.retain(|o| *o >= below);
                }
                for offset in 0..110 {
                    assert_eq!(ranges.contains(offset), set.contains(&offset), "{offset} in {ranges:?}");
                }
                let all: Vec<_> = ranges.iter().collect();
                assert!(all.windows(2).all(|w| w[0].1 < w[1].0), "touching ranges in {all:?}");
            }
        }
    }
}
