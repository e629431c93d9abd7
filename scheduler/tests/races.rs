//! Cancel against everything else: 10,000 orders of events around one job, each with exactly one end.
#![expect(
    clippy::wildcard_enum_match_arm,
    clippy::indexing_slicing,
    clippy::unwrap_used,
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

struct Race {
    shard: Shard,
    token: Option<Token>,
    ends: Vec<Outcome>,
    told: usize,
    /// How often everything is delivered.
    copies: usize,
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
                    self.token = Some(*token);
                }
                SchedulerFact::JobFinished { outcome, .. } => self.ends.push(*outcome),
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

    fn event(&mut self, dice: &mut Dice) {
        match dice.below(12) {
            0 => {
                self.call_off(dice.below(2) == 0);
            }
            1..=3 => {
                let Some(token) = self.token else { return };
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
    races(10_000, 1);
}

#[test]
fn everything_delivered_twice_leads_to_one_end_each() {
    races(3_000, 2);
}

fn races(seeds: u64, copies: usize) {
    let (mut cancelled, mut other) = (0, 0);
    for seed in 0..seeds {
        let mut dice = Dice(seed);
        let tuning = Tuning { cancel_grace_ms: 3_000, max_attempts: 3, ..Tuning::default() };
        let shard = Shard::new(layout(), &tuning);
        let mut race = Race { shard, token: None, ends: Vec::new(), told: 0, copies };
        // Ahead of its job there is nothing to call off yet: it ends all the same.
        if dice.below(8) == 0 {
            race.call_off(true);
        }
        for _ in 0..copies {
            let step = race.shard.approved(approved(&job("a", 1), "1"));
            race.note(&step);
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
        if race.ends == [Outcome::Cancelled] { cancelled += 1 } else { other += 1 }
    }
    assert!(cancelled > seeds / 8 && other > seeds / 8, "both win often enough: {cancelled} and {other}");
}
