//! A short time slice for the threads of this process.
//!
//! A decision crosses a dozen threads, the broker client's among them, and each is woken by the one before. On a machine with
//! nothing to spare, a thread that is woken waits until the running one has used its slice up: 1.4 to 3 ms by default, whose
//! end the kernel looks for at its tick, every 4 ms with 250 Hz. That wait, a few times on a job's way, is the p99
//! (docs/performance.md). Since 6.12, Linux lets a thread of the ordinary class ask for a slice of its own
//! (`sched_setattr(2)`, `sched_runtime`): one with a shorter slice goes before, as soon as it is woken. It gets no more of
//! the processor for that, only earlier and in smaller pieces.
//!
//! Asked for once, before there are other threads: those inherit it. Commands that a worker starts would too, and are not meant:
//! they are started with the system's ([`systems`]).

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// As it was asked for, nanoseconds.
static ASKED_FOR: AtomicU64 = AtomicU64::new(0);

/// Asks for a slice of `slice`, at least 100 µs; zero asks for nothing. A kernel or a scheduling class that has none leaves
/// everything as it was: it is a matter of latency alone.
pub fn ask_for(slice: Duration) {
    if let Ok(nanos) = u64::try_from(slice.as_nanos())
        && nanos > 0
    {
        ASKED_FOR.store(nanos, Ordering::Relaxed);
        linux::set(nanos);
    }
}

/// Has this thread do something with the system's slice: a process that it starts meanwhile inherits that.
pub fn systems<T>(start: impl FnOnce() -> T) -> T {
    /// Whatever happens, the thread has its slice again.
    struct Back(u64);
    impl Drop for Back {
        fn drop(&mut self) {
            linux::set(self.0);
        }
    }
    let asked_for = ASKED_FOR.load(Ordering::Relaxed);
    let back = (asked_for > 0).then(|| {
        linux::set(0);
        Back(asked_for)
    });
    let started = start();
    drop(back);
    started
}

#[cfg(target_os = "linux")]
mod linux {
    #![expect(unsafe_code, reason = "two system calls that no crate in use wraps")]

    /// `struct sched_attr` of Linux, in its first published size.
    #[repr(C)]
    #[derive(Default)]
    struct Attributes {
        size: u32,
        policy: u32,
        flags: u64,
        nice: i32,
        priority: u32,
        runtime: u64,
        deadline: u64,
        period: u64,
    }

    const SIZE: u32 = 48;
    const ORDINARY: u32 = 0;
    /// The calling thread; no flags; and the size, as system calls take them.
    const THIS: libc::c_long = 0;
    const NO_FLAGS: libc::c_long = 0;
    const BYTES: libc::c_long = 48;

    /// Zero is the system's.
    pub(super) fn set(nanos: u64) {
        let mut attributes = Attributes::default();
        // SAFETY: the kernel writes at most `SIZE` bytes, the structure's size, to a structure that lives through the call.
        let got = unsafe { libc::syscall(libc::SYS_sched_getattr, THIS, &raw mut attributes, BYTES, NO_FLAGS) };
        // Batch, idle and real-time classes are somebody's wish.
        if got != 0 || attributes.policy != ORDINARY {
            return;
        }
        attributes.size = SIZE;
        attributes.flags = 0;
        attributes.runtime = nanos;
        // SAFETY: the kernel reads `size` bytes of a structure that is as large and lives through the call. A refusal changes
        // nothing.
        let _ = unsafe { libc::syscall(libc::SYS_sched_setattr, THIS, &raw const attributes, NO_FLAGS) };
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn the_structure_is_the_kernels() {
            assert_eq!(size_of::<Attributes>(), SIZE as usize);
        }

        #[test]
        fn threads_inherit_what_was_asked_for_and_nothing_else_changes() {
            let read = || {
                let mut attributes = Attributes::default();
                // SAFETY: as above.
                let got = unsafe { libc::syscall(libc::SYS_sched_getattr, THIS, &raw mut attributes, BYTES, NO_FLAGS) };
                (got == 0).then_some((attributes.policy, attributes.nice, attributes.runtime))
            };
            let seen = std::thread::spawn(move || {
                let before = read();
                super::super::ask_for(std::time::Duration::from_micros(300));
                let after = std::thread::spawn(read).join().unwrap_or_default();
                let meanwhile = super::super::systems(|| std::thread::spawn(read).join().unwrap_or_default());
                (before, after, meanwhile, read())
            });
            let Ok((Some(before), Some(after), meanwhile, again)) = seen.join() else {
                panic!("the kernel does not say")
            };
            assert_eq!((after.0, after.1), (before.0, before.1));
            // A kernel before 6.12 knows none and says 0.
            assert!(after.2 == 300_000 || after.2 == 0, "{after:?}");
            assert_eq!((meanwhile, again), (Some(before), Some(after)), "what starts meanwhile has the system's");
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod linux {
    pub(super) fn set(_nanos: u64) {}
}
