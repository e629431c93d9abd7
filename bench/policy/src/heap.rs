//! How much is allocated.

#![expect(unsafe_code, reason = "counting allocations needs an allocator; it only counts and passes on")]

use std::alloc::{GlobalAlloc, Layout};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::Relaxed};

/// An allocator that can count what it hands out, to be declared `#[global_allocator]` by the program that measures.
///
/// It counts only while a measurement asks for it; otherwise an allocation costs one more load of a flag that never
/// changes.
#[derive(Debug)]
pub struct Counting<A>(pub A);

static COUNTS: AtomicBool = AtomicBool::new(false);
static BYTES: AtomicI64 = AtomicI64::new(0);

fn count(bytes: usize, sign: i64) {
    if COUNTS.load(Relaxed) {
        BYTES.fetch_add(sign * i64::try_from(bytes).unwrap_or(i64::MAX), Relaxed);
    }
}

// SAFETY: every call goes to the inner allocator unchanged.
unsafe impl<A: GlobalAlloc> GlobalAlloc for Counting<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 1);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { self.0.alloc(layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 1);
        // SAFETY: the caller keeps the contract of `alloc_zeroed`.
        unsafe { self.0.alloc_zeroed(layout) }
    }
    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        count(layout.size(), -1);
        // SAFETY: the caller keeps the contract of `dealloc`, and `place` came from the inner allocator.
        unsafe { self.0.dealloc(place, layout) }
    }
    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size, 1);
        count(layout.size(), -1);
        // SAFETY: the caller keeps the contract of `realloc`, and `place` came from the inner allocator.
        unsafe { self.0.realloc(place, layout, size) }
    }
}

/// Runs something and says how many bytes more are allocated after it; zero in a program without [`Counting`].
pub(crate) fn grown_by<T>(run: impl FnOnce() -> T) -> (T, i64) {
    let before = BYTES.load(Relaxed);
    COUNTS.store(true, Relaxed);
    let result = run();
    COUNTS.store(false, Relaxed);
    (result, BYTES.load(Relaxed) - before)
}
