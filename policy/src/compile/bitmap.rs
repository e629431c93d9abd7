//! A set of rules: one bit a rule, words without a bit left out, and a summary that says which words are there.
//!
//! Intersecting sets looks at summaries first (one bit for 64 rules), so the cost follows the rules that can
//! still match and not the number of rules. A set of one rule among 10,000 takes some 60 bytes.

/// An immutable set of rule slots.
#[derive(Debug, Default)]
pub(crate) struct Row {
    /// Bit `w` of word `s`: word `64 * s + w` is stored.
    summary: Box<[u64]>,
    /// How many words are stored before those of each summary word.
    before: Box<[u32]>,
    words: Box<[u64]>,
}

impl Row {
    /// From slots in ascending order.
    pub(crate) fn new(slots: impl IntoIterator<Item = u32>) -> Self {
        let mut summary: Vec<u64> = Vec::new();
        let mut words: Vec<(u32, u64)> = Vec::new();
        for slot in slots {
            let (at, bit) = (slot / 64, 1_u64 << (slot % 64));
            match words.last_mut() {
                Some((last, word)) if *last == at => *word |= bit,
                _ => words.push((at, bit)),
            }
            let group = (at / 64) as usize;
            if summary.len() <= group {
                summary.resize(group + 1, 0);
            }
            if let Some(group) = summary.get_mut(group) {
                *group |= 1 << (at % 64);
            }
        }
        let mut before = Vec::with_capacity(summary.len());
        let mut count = 0;
        for group in &summary {
            before.push(count);
            count += group.count_ones();
        }
        Self {
            summary: summary.into(),
            before: before.into(),
            words: words.into_iter().map(|(_, word)| word).collect(),
        }
    }

    /// Which of the words `64 * group ..` hold something.
    pub(crate) fn summary(&self, group: usize) -> u64 {
        self.summary.get(group).copied().unwrap_or(0)
    }

    /// The bits of word `at`.
    pub(crate) fn word(&self, at: usize) -> u64 {
        let (group, bit) = (at / 64, at % 64);
        let summary = self.summary(group);
        if summary >> bit & 1 == 0 {
            return 0;
        }
        let below = summary & ((1 << bit) - 1);
        let before = self.before.get(group).copied().unwrap_or(0) + below.count_ones();
        self.words.get(before as usize).copied().unwrap_or(0)
    }

    /// How many summary words there are.
    pub(crate) fn groups(&self) -> usize {
        self.summary.len()
    }
}

/// The numbers of the bits of a word, ascending.
pub(crate) fn bits(mut word: u64) -> impl Iterator<Item = u32> {
    std::iter::from_fn(move || {
        (word != 0).then(|| {
            let bit = word.trailing_zeros();
            word &= word - 1;
            bit
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_gives_back_exactly_what_was_put_in() {
        for places in [vec![], vec![0], vec![63, 64], vec![5, 4095, 4096, 9999], (0..10_000).step_by(7).collect()] {
            let row = Row::new(places.iter().copied());
            let mut got = Vec::new();
            for group in 0..row.groups() {
                for word in bits(row.summary(group)) {
                    let at = group * 64 + word as usize;
                    got.extend(bits(row.word(at)).map(|bit| u32::try_from(at * 64).unwrap() + bit));
                }
            }
            assert_eq!(got, places);
            assert_eq!(row.word(1_000_000), 0);
        }
    }
}
