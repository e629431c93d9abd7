//! A hasher for tables that are built from a policy and only looked up: a multiplication for eight bytes.

use std::hash::Hasher;

/// Rotate, mix and multiply by an odd constant (the golden ratio of 2^64), word by word.
#[derive(Default)]
pub(crate) struct WordHasher(u64);

const RATIO: u64 = 0x9E37_79B9_7F4A_7C15;

impl WordHasher {
    fn word(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(23) ^ word).wrapping_mul(RATIO);
    }
}

impl Hasher for WordHasher {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.word(u64::from_le_bytes(*word));
        }
        if !rest.is_empty() {
            let mut last = [0; 8];
            last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
            self.word(u64::from_le_bytes(last));
        }
        self.word(bytes.len() as u64);
    }

    fn write_u8(&mut self, _end: u8) {
        // Ends a text, whose length is in already.
    }

    fn finish(&self) -> u64 {
        // Tables take the low bits for the place and the high ones for the tag: mix the high ones down.
        self.0 ^ self.0 >> 32
    }
}
