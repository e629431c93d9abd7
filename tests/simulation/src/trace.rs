//! The trace of a run: a hash over everything that happened, and lines for people on request.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::executor::locked;

/// What happened, in order.
#[derive(Debug, Default)]
pub struct Trace {
    hash: AtomicU64,
    events: AtomicU64,
    keep: AtomicBool,
    lines: Mutex<Vec<String>>,
}

impl Trace {
    /// With `keep`, also keeps lines.
    #[must_use]
    pub fn new(keep: bool) -> Self {
        Self { keep: AtomicBool::new(keep), ..Self::default() }
    }

    /// Something happened at virtual time `now`. `what` and `numbers` make the hash, `line` is for people.
    pub fn event(&self, now: u64, what: &str, numbers: &[u64], line: impl FnOnce() -> String) {
        let mut hash = self.hash.load(Ordering::Relaxed);
        let mut mix = |n: u64| hash = (hash ^ n).wrapping_mul(0x100_0000_01b3).rotate_left(23);
        mix(now);
        what.bytes().for_each(|b| mix(u64::from(b)));
        numbers.iter().for_each(|n| mix(*n));
        self.hash.store(hash, Ordering::Relaxed);
        self.events.fetch_add(1, Ordering::Relaxed);
        if self.keep.load(Ordering::Relaxed) {
            locked(&self.lines).push(format!("{:>10.3} ms  {what:<10} {}", now as f64 / 1_000.0, line()));
        }
    }

    /// Hash over all events so far.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.hash.load(Ordering::Relaxed)
    }

    /// Number of events.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.events.load(Ordering::Relaxed)
    }

    /// The lines kept.
    #[must_use]
    pub fn take_lines(&self) -> Vec<String> {
        std::mem::take(&mut locked(&self.lines))
    }
}

/// A hash of bytes for the trace.
#[must_use]
pub fn hash_of(bytes: &[u8]) -> u64 {
    let mix = |hash: u64, word: u64| (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    let (words, rest) = bytes.as_chunks::<8>();
    let hash = words.iter().fold(0xcbf2_9ce4_8422_2325, |hash, word| mix(hash, u64::from_le_bytes(*word)));
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    mix(mix(hash, u64::from_le_bytes(last)), bytes.len() as u64)
}
