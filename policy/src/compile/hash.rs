//! A hasher for tables that are built from a policy and only looked up: a multiplication for eight bytes.

use std::hash::Hasher;

/// Rotate, mix and multiply by an odd constant (the golden ratio of 2^64), word by word.
#[derive(Default)]
pub(crate) struct WordHasher(u64);

const RATIO: u64 = 0x9E37_79B9_7F4A_7C15;

impl WordHasher {
    #[inline]
    fn word(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(23) ^ word).wrapping_mul(RATIO);
    }
}

impl Hasher for WordHasher {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        // The last word overlaps the one before: names differ at their ends, and nothing is copied byte by byte.
        if let Some(last) = bytes.last_chunk::<8>() {
            let (words, rest) = bytes.as_chunks::<8>();
            for word in words {
                self.word(u64::from_le_bytes(*word));
            }
            if !rest.is_empty() {
                self.word(u64::from_le_bytes(*last));
            }
        } else if let (Some(first), Some(last)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
            self.word(u64::from(u32::from_le_bytes(*first)) << 32 | u64::from(u32::from_le_bytes(*last)));
        } else if let (Some(first), Some(last)) = (bytes.first(), bytes.last()) {
            let middle = bytes.get(bytes.len() / 2).copied().unwrap_or(0);
            self.word(u64::from(*first) << 16 | u64::from(middle) << 8 | u64::from(*last));
        }
        self.word(bytes.len() as u64);
    }

    #[inline]
    fn write_u8(&mut self, _end: u8) {
        // Ends a text, whose length is in already.
    }

    #[inline]
    fn finish(&self) -> u64 {
        // Tables take the low bits for the place and the high ones for the tag: mix the high ones down.
        self.0 ^ self.0 >> 32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_every_length_that_differ_in_one_byte_differ() {
        let of = |bytes: &[u8]| {
            let mut hasher = WordHasher::default();
            hasher.write(bytes);
            hasher.finish()
        };
        let mut seen = std::collections::BTreeSet::new();
        let mut count = 0;
        for length in 0..40 {
            let text = vec![b'a'; length];
            assert!(seen.insert(of(&text)));
            for place in 0..length {
                let mut other = text.clone();
                other[place] = b'b';
                assert!(seen.insert(of(&other)), "{length} {place}");
                count += 1;
            }
        }
        assert_eq!(count, 39 * 40 / 2);
    }
}
