//! How much is allocated, and how often.

#![expect(unsafe_code, reason = "counting allocations needs an allocator; it only counts and passes on")]

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;

/// An allocator that can count what it hands out, to be declared `#[global_allocator]` by the program that measures.
///
/// It counts for a thread that measures, and only while it does; otherwise an allocation costs one more load of a flag of
/// its own thread.
#[derive(Debug)]
pub struct Counting<A>(pub A);

thread_local! {
    static COUNTS: Cell<bool> = const { Cell::new(false) };
    static GROWN: Cell<Grown> = const { Cell::new(Grown { bytes: 0, allocations: 0 }) };
}

/// What a thread allocated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grown {
    /// Still held.
    pub(crate) bytes: i64,
    /// Made, given back or not.
    pub(crate) allocations: u64,
}

fn count(bytes: usize, sign: i64) {
    // Without destructors, so that both are there as long as the thread is.
    if COUNTS.get() {
        let Grown { bytes: held, allocations } = GROWN.get();
        let bytes = held + sign * i64::try_from(bytes).unwrap_or(i64::MAX);
        GROWN.set(Grown { bytes, allocations: allocations + u64::from(sign > 0) });
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

/// Runs something and says what it allocated; nothing in a program without [`Counting`].
pub(crate) fn grown_by<T>(run: impl FnOnce() -> T) -> (T, Grown) {
    GROWN.set(Grown { bytes: 0, allocations: 0 });
    COUNTS.set(true);
    let result = run();
    COUNTS.set(false);
    (result, GROWN.get())
}
