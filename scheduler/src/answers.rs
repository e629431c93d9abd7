//! How much a worker is answered of what changes nothing: entries of heartbeats that are no lease of its, results that do not count.
//!
//! Each answer is a fact and an order, so one who says ever new things would grow the log and its lane for as long as it speaks. A
//! worker has a budget of answers a [`SPAN`], through its restarts; what it says beyond is counted and not answered. Nobody honest comes
//! near it: a worker holds a thousand jobs at most, which an outage makes stale once. What it lists beyond is told with a later heartbeat.
//!
//! Soft: a new owner begins with the whole budget.

use std::time::Duration;

use tidegate_protocol::time::Timestamp;

/// Answers a worker gets in a [`SPAN`]: twice what one can hold, all of which an outage may have made stale.
pub(crate) const MOST: usize = 2 * crate::fleet::MOST_HELD as usize;
/// See [`MOST`].
pub(crate) const SPAN: Duration = Duration::from_mins(1);

/// See the module.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Answers {
    since: Timestamp,
    given: usize,
}

impl Answers {
    /// How many more may be given at `at`.
    pub(crate) fn left(&self, at: Timestamp) -> usize {
        if at.since(self.since) >= SPAN { MOST } else { MOST.saturating_sub(self.given) }
    }

    /// One was given.
    pub(crate) fn give(&mut self, at: Timestamp) {
        if at.since(self.since) >= SPAN {
            *self = Self { since: at, given: 0 };
        }
        self.given = self.given.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use tidegate_protocol::facts::{SchedulerFact, Token};
    use tidegate_protocol::outcome::Outcome;

    use super::*;
    use crate::Tuning;
    use crate::driver::{Says, Shard, approved, held, job, layout, position};

    fn says(name: &str) -> Says {
        Says { epoch: 1, capacity: 10, credit: 999, ..Says::of(name) }
    }

    const TOKEN: Token = Token { epoch: 1, attempt: 1 };

    #[test]
    fn a_flood_of_made_up_entries_and_results_is_answered_within_a_budget_and_holds_nobody_up() {
        let mut shard = Shard::new(layout(), &Tuning::default());
        for name in ["v", "w"] {
            shard.report(&says(name).hello());
        }
        shard.report(&says("w").heartbeat());
        shard.approved(approved(&job("mine", 1), "1"));
        assert_eq!(shard.poll().facts.len(), 1, "the one that floods has a job");
        shard.report(&says("v").heartbeat());
        let (mut made_up, mut answers, mut orders, mut received) = (1_000_000, 0, 0, 0);
        for turn in 0..200 {
            let fresh = (0..150).map(|n| held(made_up + n, TOKEN));
            let running = std::iter::once(held(1, TOKEN)).chain(fresh).collect();
            let step = shard.report(&Says { running, received: 1, ..says("w") }.heartbeat());
            let results = (0..50).map(|n| says("w").result(position(made_up + n), TOKEN, Outcome::Succeeded));
            let steps: Vec<_> = results.map(|result| shard.report(&result)).chain([step]).collect();
            made_up += 150;
            for fact in steps.iter().flat_map(|step| &step.facts) {
                assert!(matches!(fact, SchedulerFact::ResultRefused { .. }), "{fact:?}");
                answers += 1;
            }
            orders += steps.iter().map(|step| step.messages.len()).sum::<usize>();
            // Meanwhile another's jobs come, run and end.
            let offset = 10 + turn;
            shard.approved(approved(&job(&format!("j{offset}"), offset), "1"));
            received += 1;
            let granted = shard.poll().facts;
            let [SchedulerFact::LeaseGranted { worker, .. }] = &granted[..] else { panic!("{granted:?}") };
            let ends = Says { received, ..says(worker.as_str()) };
            let ended = shard.report(&ends.result(position(offset), TOKEN, Outcome::Succeeded)).facts;
            assert!(matches!(&ended[..], [SchedulerFact::JobFinished { .. }]), "{ended:?}");
        }
        assert_eq!((answers, orders), (MOST, MOST), "of 30,000 made-up entries and 10,000 made-up results");
        let counts = &shard.stage.gauges().counts;
        assert_eq!(counts.unanswered, 200 * (100 + 50) - MOST as u64, "a hundred entries of a heartbeat are looked at");
        // Its own job is its own all the same.
        let ended = shard.report(&says("w").result(position(1), TOKEN, Outcome::Succeeded)).facts;
        assert!(matches!(&ended[..], [SchedulerFact::JobFinished { .. }]), "{ended:?}");
    }

    #[test]
    fn the_budget_is_of_a_minute_and_outlasts_the_workers_restarts() {
        let mut shard = Shard::new(layout(), &Tuning::default());
        let mut made_up = 0;
        let mut flood = |shard: &mut Shard, incarnation: u64| {
            let says = Says { incarnation, ..says("w") };
            shard.report(&says.hello());
            let mut facts = 0;
            for _ in 0..50 {
                let running = (made_up..made_up + 100).map(|n| held(n, TOKEN)).collect();
                made_up += 100;
                facts += shard.report(&Says { running, ..says.clone() }.heartbeat()).facts.len();
            }
            facts
        };
        assert_eq!(flood(&mut shard, 1), MOST);
        assert_eq!(flood(&mut shard, 2), 0);
        shard.wait(SPAN);
        assert_eq!(flood(&mut shard, 3), MOST);
    }

    #[test]
    fn what_was_not_answered_is_answered_later() {
        let mut shard = Shard::new(layout(), &Tuning::default());
        shard.report(&says("w").hello());
        let listed = |from: u64| (from..from + 1_000).map(|n| held(n, TOKEN)).collect::<Vec<_>>();
        // 2,500 entries of which it has none: all that one can hold, and more.
        let all = [listed(0), listed(1_000), listed(2_000)[..500].to_vec()].concat();
        let told = |shard: &mut Shard| -> usize {
            let beats = (0..30).map(|_| Says { running: all.clone(), ..says("w") }.heartbeat());
            beats.map(|beat| shard.report(&beat).facts.len()).sum()
        };
        assert_eq!(told(&mut shard), MOST);
        shard.wait(SPAN);
        assert_eq!(told(&mut shard), 500);
    }
}
