//! Cancel against everything else: 10,000 races of a call-off and a result that are both on their way, and as many other orders of events
//! around one job, each with exactly one end; and all of it again with everything delivered twice.
#![expect(
    clippy::wildcard_enum_match_arm,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking"
)]

mod driver;

use std::time::Duration;

use driver::{Says, Shard, Step, Way, approved, job, layout, position, withdrawal};
use tidegate_protocol::facts::{SchedulerFact, Token};
use tidegate_protocol::fleet::Report;
use tidegate_protocol::outcome::Outcome;
use tidegate_scheduler::Tuning;

/// Numbers that only look random (Knuth's MMIX constants), so that a failing race can be run again by its seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most
    }
}

/// Races of a call-off and a result, each once.
const RACES: u64 = 10_000;

struct Race {
    shard: Shard,
    token: Option<Token>,
    /// That of the lease before.
    stale: Option<Token>,
    ends: Vec<Outcome>,
    told: usize,
    /// Its worker was told to stop it for good.
    called_off: bool,
    /// How often everything is delivered.
    copies: usize,
    /// A result and a call-off of a leased job that were both on their way before either was read: which was read first.
    met: Option<First>,
}

/// Which of the two was read first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum First {
    CallOff,
    Result,
}

impl Race {
    fn says(&self) -> Says {
        Says { epoch: self.shard.epoch, credit: 99, capacity: 2, ..Says::of("w") }
    }

    fn note(&mut self, step: &Step) {
        for fact in &step.facts {
            match fact {
                SchedulerFact::LeaseGranted { token, .. } => {
                    assert!(self.ends.is_empty(), "leased after its end");
                    assert!(!self.called_off, "leased after it was called off");
                    self.stale = self.token.replace(*token);
                }
                SchedulerFact::CancelAsked { again, .. } => self.called_off |= !again,
                SchedulerFact::JobRetried { .. } => {
                    assert!(!self.called_off, "to be tried again after it was called off")
                }
                SchedulerFact::JobFinished { outcome, by, .. } => {
                    let by = by.as_ref().map(|by| by.token);
                    assert!(by.is_none() || by == self.token, "ended by {by:?}, {:?} has it", self.token);
                    self.ends.push(*outcome);
                }
                other => {
                    assert!(self.copies > 1 || !matches!(other, SchedulerFact::JobDuplicate { .. }), "{other:?}");
                }
            }
        }
        self.told += step.messages.iter().filter(|m| m.to.topic.as_str() == "tg.finished").count();
    }

    fn report(&mut self, report: &Report) {
        for _ in 0..self.copies {
            let step = self.shard.report(report);
            self.note(&step);
        }
    }

    /// On the input that is always read, or behind the job.
    fn call_off(&mut self, soon: bool) {
        for _ in 0..self.copies {
            let withdrawal = withdrawal("a", 1);
            let step = if soon { self.shard.called_off(withdrawal) } else { self.shard.approved(withdrawal) };
            self.note(&step);
        }
    }

    /// The job is leased; its worker's result and a call-off are both under way, and are read in either order, now and then with a new
    /// owner between them. The worker has been asked for nothing yet.
    fn cross(&mut self, dice: &mut Dice) {
        let hello = self.says().hello();
        self.report(&hello);
        let beat = self.says().heartbeat();
        self.report(&beat);
        let step = self.shard.poll();
        self.note(&step);
        let Some(token) = self.token else { return };
        assert!(self.ends.is_empty(), "nothing has ended it");
        let outcome = [Outcome::Succeeded, Outcome::Failed][usize::try_from(dice.below(2)).unwrap()];
        let result = self.says().result(position(1), token, outcome);
        let first = if dice.below(2) == 0 { First::CallOff } else { First::Result };
        let moves = dice.below(4) == 0;
        match first {
            First::CallOff => {
                self.call_off(true);
                assert!(self.ends.is_empty(), "called off while its worker has it, it waits for its worker");
                self.moved(moves);
                self.report(&result);
                // A new owner has to welcome its worker before it hears of results.
                assert!(moves || self.ends == [outcome], "the result counts (I5), not {:?}", self.ends);
            }
            First::Result => {
                self.report(&result);
                assert_eq!(self.ends, [outcome], "the result came first");
                self.moved(moves);
                self.call_off(true);
            }
        }
        self.met = Some(first);
    }

    fn moved(&mut self, moves: bool) {
        if moves {
            let epoch = self.shard.epoch + 1;
            self.shard.takeover(Way::Replay, epoch);
            let step = self.shard.read();
            self.note(&step);
        }
    }

    fn event(&mut self, dice: &mut Dice) {
        match dice.below(12) {
            0 => {
                self.call_off(dice.below(2) == 0);
            }
            1..=3 => {
                // Now and then of a lease that has ended.
                let stale = self.stale.filter(|_| dice.below(4) == 0);
                let Some(token) = stale.or(self.token) else { return };
                let outcome = [Outcome::Succeeded, Outcome::Failed, Outcome::Cancelled];
                let outcome = outcome[usize::try_from(dice.below(3)).unwrap()];
                let mut report = self.says().result(position(1), token, outcome);
                if let Report::Result { retryable, .. } = &mut report {
                    *retryable = dice.below(2) == 0;
                }
                self.report(&report);
            }
            4 => {
                let Some(token) = self.token else { return };
                let report = self.says().give_back(position(1), token);
                self.report(&report);
            }
            5 => {
                let way = if dice.below(2) == 0 { Way::Replay } else { Way::Snapshot };
                let epoch = self.shard.epoch + 1;
                self.shard.takeover(way, epoch);
                let step = self.shard.read();
                self.note(&step);
            }
            6 => {
                self.shard.wait(Duration::from_millis(dice.below(12_000)));
                let step = self.shard.tick();
                self.note(&step);
            }
            7 => {
                let hello = self.says().hello();
                self.report(&hello);
            }
            _ => {
                let beat = self.says().heartbeat();
                self.report(&beat);
            }
        }
        let step = self.shard.poll();
        self.note(&step);
    }
}

#[test]
fn every_race_of_cancel_and_completion_has_one_end() {
    races(2 * RACES, 1);
}

#[test]
fn everything_delivered_twice_leads_to_one_end_each() {
    races(2 * RACES, 2);
}

fn races(seeds: u64, copies: usize) {
    let (mut cancelled, mut other, mut calls_first, mut results_first) = (0, 0, 0, 0);
    for seed in 0..seeds {
        let mut dice = Dice(seed);
        let tuning = Tuning { cancel_grace_ms: 3_000, max_attempts: 3, ..Tuning::default() };
        let shard = Shard::new(layout(), &tuning);
        let mut race =
            Race { shard, token: None, stale: None, ends: Vec::new(), told: 0, called_off: false, copies, met: None };
        // Ahead of its job there is nothing to call off yet: it ends all the same.
        let (crossing, early) = (seed % 2 == 0, seed % 2 == 1 && dice.below(4) == 0);
        if early {
            race.call_off(true);
        }
        for _ in 0..copies {
            let step = race.shard.approved(approved(&job("a", 1), "1"));
            race.note(&step);
        }
        // Half of the seeds are a race of the two from a lease, the others anything at all.
        if crossing && !early {
            race.cross(&mut dice);
        }
        for _ in 0..dice.below(24) {
            race.event(&mut dice);
        }
        // Whatever happened: called off at last, it ends.
        race.call_off(false);
        for _ in 0..6 {
            race.shard.wait(Duration::from_secs(20));
            let mut step = race.shard.tick();
            let more = race.shard.poll();
            step.facts.extend(more.facts);
            step.messages.extend(more.messages);
            race.note(&step);
        }
        assert_eq!((race.ends.len(), race.told), (1, 1), "seed {seed}: {:?}", race.ends);
        assert_eq!(race.shard.unsettled(), 0, "seed {seed}");
        let counts = race.shard.stage.gauges().counts;
        assert_eq!(counts.impossible_facts, 0, "seed {seed}");
        match race.met {
            Some(First::CallOff) => calls_first += 1,
            Some(First::Result) => results_first += 1,
            None => {}
        }
        if race.ends == [Outcome::Cancelled] { cancelled += 1 } else { other += 1 }
    }
    println!(
        "{} races of a call-off and a result, everything delivered {copies} times: {calls_first} call-offs and {results_first} results \
         were read first; {cancelled} of {seeds} jobs ended as cancelled, {other} otherwise, each once",
        calls_first + results_first
    );
    assert_eq!(calls_first + results_first, seeds / 2, "every second seed is such a race");
    assert!(calls_first > seeds / 5 && results_first > seeds / 5, "both orders: {calls_first} and {results_first}");
    assert!(cancelled > seeds / 8 && other > seeds / 8, "both win often enough: {cancelled} and {other}");
}
