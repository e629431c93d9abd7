//! A set of rules: one bit a rule, words without a bit left out, and a summary that says which words are there.
//!
//! Intersecting sets looks at summaries first (one bit for 64 rules), so the cost follows the rules that can
//! still match and not the number of rules. All sets lie in one run of memory; one of few rules takes a few cells there,
//! which share a cache line.

/// Many sets of rule slots, side by side.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    /// Of each row: two cells a group (its summary, and where its words begin), then its words.
    cells: Vec<u64>,
}

/// A set in [`Rows`].
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Row {
    start: u32,
    groups: u32,
}

/// A row's part in a group of 64 words: which of them hold something, and where the first of those lies.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Head {
    pub(crate) summary: u64,
    first: u64,
}

impl Rows {
    /// Adds a set of slots in ascending order.
    pub(crate) fn push(&mut self, slots: impl IntoIterator<Item = u32>) -> Row {
        // Bit `w` of summary `s`: word `64 * s + w` is stored.
        let mut summaries: Vec<u64> = Vec::new();
        let mut words: Vec<(u32, u64)> = Vec::new();
        for slot in slots {
            let (at, bit) = (slot / 64, 1_u64 << (slot % 64));
            match words.last_mut() {
                Some((last, word)) if *last == at => *word |= bit,
                _ => words.push((at, bit)),
            }
            let group = (at / 64) as usize;
            if summaries.len() <= group {
                summaries.resize(group + 1, 0);
            }
            if let Some(summary) = summaries.get_mut(group) {
                *summary |= 1 << (at % 64);
            }
        }
        let start = self.cells.len();
        let mut first = start + 2 * summaries.len();
        for summary in &summaries {
            self.cells.extend([*summary, first as u64]);
            first += summary.count_ones() as usize;
        }
        self.cells.extend(words.into_iter().map(|(_, word)| word));
        // A set of 100,000 rules has some 100,000 rows of few words each, far from what a place holds.
        let fits = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        Row { start: fits(start), groups: fits(summaries.len()) }
    }

    #[inline]
    fn cell(&self, at: usize) -> u64 {
        self.cells.get(at).copied().unwrap_or(0)
    }

    /// Which of the words `64 * group ..` hold something.
    #[inline]
    pub(crate) fn summary(&self, row: Row, group: usize) -> u64 {
        if group >= row.groups as usize {
            return 0;
        }
        self.cell(row.start as usize + 2 * group)
    }

    /// What [`Rows::word_of`] needs of a row in a group of 64 words.
    #[inline]
    pub(crate) fn head(&self, row: Row, group: usize) -> Head {
        if group >= row.groups as usize {
            return Head::default();
        }
        let at = row.start as usize + 2 * group;
        Head { summary: self.cell(at), first: self.cell(at + 1) }
    }

    /// The bits of word `bit` of the group whose head this is.
    #[inline]
    pub(crate) fn word_of(&self, head: Head, bit: u32) -> u64 {
        if head.summary >> bit & 1 == 0 {
            return 0;
        }
        let below = head.summary & ((1 << bit) - 1);
        self.cell(head.first as usize + below.count_ones() as usize)
    }

    /// The bits of word `at`.
    #[inline]
    pub(crate) fn word(&self, row: Row, at: usize) -> u64 {
        self.word_of(self.head(row, at / 64), (at % 64) as u32)
    }
}

/// The numbers of the bits of a word, ascending.
#[inline]
pub(crate) fn bits(mut word: u64) -> impl Iterator<Item = u32> {
    std::iter::from_fn(move || {
        (word != 0).then(|| {
            let bit = word.trailing_zeros();
            word &= word - 1;
            bit
        })
    })
}

/// The bits from one to before another of the word that begins at `base`.
#[inline]
pub(crate) fn span(base: usize, from: usize, to: usize) -> u64 {
    let below = |end: usize| match end.saturating_sub(base) {
        0 => 0,
        count if count >= 64 => u64::MAX,
        count => (1 << count) - 1,
    };
    below(to) & !below(from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_gives_back_exactly_what_was_put_in() {
        let sets = [vec![], vec![0], vec![63, 64], vec![5, 4095, 4096, 9999], (0..10_000).step_by(7).collect()];
        let mut rows = Rows::default();
        let made: Vec<Row> = sets.iter().map(|slots| rows.push(slots.iter().copied())).collect();
        for (row, slots) in made.into_iter().zip(sets) {
            let mut got = Vec::new();
            for group in 0..row.groups as usize {
                for word in bits(rows.summary(row, group)) {
                    let at = group * 64 + word as usize;
                    got.extend(bits(rows.word(row, at)).map(|bit| u32::try_from(at * 64).unwrap() + bit));
                }
            }
            assert_eq!(got, slots);
            assert_eq!(rows.word(row, 1_000_000), 0);
        }
    }

    #[test]
    fn a_span_has_the_bits_between_its_ends() {
        for (base, from, to) in [(0, 0, 64), (64, 70, 72), (64, 0, 65), (64, 127, 500), (64, 0, 64), (64, 128, 200)] {
            let wanted: u64 = (0..64).filter(|bit| (from..to).contains(&(base + bit))).map(|bit| 1 << bit).sum();
            assert_eq!(span(base, from, to), wanted, "{base} {from} {to}");
        }
    }
}
