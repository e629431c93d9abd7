//! Many seeds on all cores.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;

use crate::ledger::verdicts::{Invariant, Violation};

/// What one seed brought.
#[derive(Debug)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// Hash of the trace.
    pub hash: u64,
    /// Events in the trace.
    pub events: u64,
    /// Polls and events of the executor.
    pub steps: u64,
    /// Takeovers completed.
    pub takeovers: u64,
    /// Snapshots written and compared.
    pub snapshots: u64,
    /// What was there to be judged, by name: a promise of which nothing was tried is not kept.
    pub tried: BTreeMap<&'static str, u64>,
    /// Virtual time at the end, microseconds.
    pub quiet_us: u64,
    /// Why ownerships ended.
    pub ended: BTreeMap<&'static str, u64>,
    /// Broken promises.
    pub violations: Vec<Violation>,
    /// The readable trace, when it was asked for.
    pub lines: Vec<String>,
}

impl Outcome {
    /// Whether every promise was kept.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.violations.is_empty()
    }
}

/// The `number`th seed of `base`.
#[must_use]
pub fn seed_of(base: u64, number: u64) -> u64 {
    let mut mixed = base.wrapping_add(number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed ^ (mixed >> 31)) >> 16
}

/// Runs one seed; a panic is a violation.
pub fn guarded(seed: u64, run: &(dyn Fn(u64) -> Outcome + Sync)) -> Outcome {
    catch_unwind(AssertUnwindSafe(|| run(seed))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|t| (*t).to_owned())).unwrap_or_default();
        Outcome {
            seed,
            hash: 0,
            events: 0,
            steps: 0,
            takeovers: 0,
            snapshots: 0,
            tried: BTreeMap::new(),
            quiet_us: 0,
            ended: BTreeMap::new(),
            violations: vec![Violation { of: Invariant::Panic, what: text }],
            lines: Vec::new(),
        }
    })
}

/// Runs seeds `0..count` of `base` on `threads` threads until `each` says stop; outcomes come as they end.
pub fn run_many(
    base: u64,
    count: u64,
    threads: usize,
    run: &(dyn Fn(u64) -> Outcome + Sync),
    mut each: impl FnMut(Outcome) -> bool,
) {
    let next = AtomicU64::new(0);
    let (sender, outcomes) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            let (sender, next) = (sender.clone(), &next);
            scope.spawn(move || {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count || sender.send(guarded(seed_of(base, number), run)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        for outcome in outcomes {
            if !each(outcome) {
                next.store(count, Ordering::Relaxed);
            }
        }
    });
}
