//! How often a worker's name is welcomed as another, and told that it was outrun.
//!
//! Each is a fact and an order, and costs whoever wants it one report: with an ever higher number, from another lane, or below the number
//! that is known. So a name gets [`BURST`] of either at once, and one more each [`EVERY`]; what is said beyond is counted and not
//! answered. Who begins again and again is thus kept out for as long as its next Hello takes, which it says once a second; and all
//! that are outrun at a time are helped by one answer, whoever asked for it.
//!
//! Soft: a new owner begins with the whole.

use std::time::Duration;

use tidegate_protocol::time::Timestamp;

/// So many at once.
pub(crate) const BURST: u32 = 8;
/// One more is there after so long. A worker says Hello as often.
pub(crate) const EVERY: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Hellos {
    pub(crate) welcomes: Turns,
    pub(crate) outruns: Turns,
}

/// What is left: known by when all of it is there again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Turns(Timestamp);

impl Turns {
    /// Whether there is one at `at`.
    pub(crate) fn is_left(self, at: Timestamp) -> bool {
        self.0 <= at + EVERY * (BURST - 1)
    }

    /// One was taken.
    pub(crate) fn take(&mut self, at: Timestamp) {
        self.0 = self.0.max(at) + EVERY;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tidegate_protocol::facts::SchedulerFact;

    use super::{BURST, EVERY};
    use crate::Tuning;
    use crate::driver::{Says, Shard, layout};

    fn shard() -> Shard {
        Shard::new(layout(), &Tuning::default())
    }

    fn says(incarnation: u64) -> Says {
        Says { incarnation, ..Says::of("w") }
    }

    /// Facts that come of so many Hellos, one each `every`.
    fn facts(shard: &mut Shard, hellos: impl Iterator<Item = Says>, every: Duration) -> Vec<SchedulerFact> {
        let said = hellos.flat_map(|says| {
            shard.wait(every);
            let step = shard.report(&says.hello());
            assert_eq!(step.messages.len(), step.facts.len(), "an order each");
            step.facts
        });
        said.collect()
    }

    #[test]
    fn a_flood_of_rising_incarnations_is_bounded_and_whoever_begins_anew_after_it_is_welcomed_within_a_second() {
        let mut shard = shard();
        // A thousand in a second, for ten.
        let welcomed = facts(&mut shard, (1..=10_500).map(says), Duration::from_millis(1)).len();
        assert_eq!(welcomed, BURST as usize + 10);
        assert_eq!(shard.stage.gauges().counts.unanswered, 10_500 - welcomed as u64);
        assert!(facts(&mut shard, std::iter::once(says(20_000)), Duration::ZERO).is_empty());
        let later = facts(&mut shard, std::iter::once(says(20_000)), EVERY);
        assert!(matches!(&later[..], [SchedulerFact::WorkerWelcomed { incarnation: 20_000, .. }]), "{later:?}");
    }

    #[test]
    fn one_that_begins_again_and_again_is_welcomed_each_time_at_once() {
        let mut shard = shard();
        assert_eq!(facts(&mut shard, (1..=8).map(says), Duration::from_millis(10)).len(), 8);
        assert_eq!(
            facts(&mut shard, (9..=100).map(says), EVERY).len(),
            92,
            "a crash a second, for as long as it likes"
        );
    }

    #[test]
    fn a_worker_that_is_here_and_there_is_not_welcomed_each_time() {
        let mut shard = shard();
        let lanes = (0..1_000).map(|n| Says { lane: n % 2, ..says(1) });
        assert_eq!(facts(&mut shard, lanes, Duration::from_millis(1)).len(), BURST as usize);
    }

    #[test]
    fn hellos_of_the_past_are_answered_within_a_bound_and_one_answer_is_for_all() {
        let mut shard = shard();
        shard.report(&says(500).hello());
        let told = facts(&mut shard, (0..5_500).map(|n| says(n % 400)), Duration::from_millis(1));
        assert_eq!(told.len(), BURST as usize + 5);
        assert!(told.iter().all(|fact| matches!(fact, SchedulerFact::WorkerOutrun { known: 500, .. })), "{told:?}");
        // That takes nothing from whoever says a higher one.
        let step = shard.report(&says(501).hello());
        assert!(matches!(&step.facts[..], [SchedulerFact::WorkerWelcomed { incarnation: 501, .. }]), "{step:?}");
        // Nobody else is touched by it.
        let step = shard.report(&Says { incarnation: 1, ..Says::of("v") }.hello());
        assert!(matches!(&step.facts[..], [SchedulerFact::WorkerWelcomed { .. }]), "{step:?}");
    }

    #[test]
    fn a_new_owner_begins_with_the_whole_and_one_that_was_forgotten_too() {
        let mut shard = Shard::new(layout(), &Tuning { forget_after_ms: 20_000, ..Tuning::default() });
        assert_eq!(facts(&mut shard, (1..=100).map(says), Duration::ZERO).len(), BURST as usize);
        shard.takeover(crate::driver::Way::Snapshot, 2);
        assert_eq!(facts(&mut shard, (101..=200).map(says), Duration::ZERO).len(), BURST as usize);
        assert_eq!(shard.stage.soft.hellos.len(), 1);
        shard.wait(Duration::from_secs(20));
        shard.tick();
        assert_eq!(shard.stage.soft.hellos.len(), 0, "nothing is kept of it");
    }
}
