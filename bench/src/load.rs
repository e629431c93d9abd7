//! The load: open loop, on a thread of its own, so that nothing that is measured can slow it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tidegate_protocol::address::TopicName;
use tidegate_spine::{Headers, NewRecord, Producer};

use crate::board::Board;
use crate::options::Rate;
use crate::tenants::Tenants;

/// Most records handed over in one go, so that a late generator catches up in slices.
const BURST: usize = 256;
/// How long the generator sleeps at most between looks at the clock.
const TICK: Duration = Duration::from_millis(1);
/// And at least: what falls due meanwhile goes in one request.
const LOOK: Duration = Duration::from_micros(200);

/// Sends to one side.
pub(crate) struct Load {
    producer: Box<dyn Producer>,
    topic: TopicName,
    partitions: u32,
    board: Board,
    size: usize,
    number: u64,
    run: String,
    tenants: Tenants,
}

/// When the job of that number is due, at `rate` a second: microseconds into the slice. The first is due at its beginning.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "microseconds of one slice"
)]
fn due_at(number: u64, rate: f64) -> u64 {
    (number as f64 * 1e6 / rate).ceil() as u64
}

/// How many are due by `now`.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a count of jobs of one slice"
)]
fn due_by(now: u64, rate: f64) -> u64 {
    (now as f64 * rate / 1e6) as u64 + 1
}

impl Load {
    pub(crate) fn new(
        producer: Box<dyn Producer>,
        topic: TopicName,
        partitions: u32,
        board: Board,
        size: usize,
    ) -> Self {
        let run = topic.as_str().to_owned();
        Self { producer, topic, partitions, board, size, number: 0, run, tenants: Tenants::One }
    }

    /// From now on these tenants send.
    pub(crate) fn is_of(&mut self, tenants: Tenants) {
        self.tenants = tenants;
    }

    /// Whether all that is sent counts in the figures of a measured slice.
    pub(crate) fn counts_all(&self) -> bool {
        self.tenants != Tenants::Noisy
    }

    /// Where what is sent is noted.
    pub(crate) fn board(&self) -> Board {
        self.board.clone()
    }

    fn job(&self, number: u64, tenant: &str) -> Bytes {
        let mut text = format!(
            r#"{{"id":"{}-{number}","tenant":"{tenant}","topic":"job.bench.call","actor":{{"id":"agent-{}","type":"agent"}},"capability":"noop","labels":{{"run":"bench"}},"payload":{{"number":{number},"text":""#,
            self.run,
            number % 97,
        );
        let filler = self.size.saturating_sub(text.len() + 3);
        text.push_str(&"x".repeat(filler));
        text.push_str(r#""}}"#);
        Bytes::from(text)
    }

    /// Offers jobs for `time`; a measured slice counts in the figures. Returns seconds it took.
    pub(crate) fn offer(
        &mut self,
        rate: Rate,
        in_flight: u64,
        time: Duration,
        measured: bool,
        stop: &Arc<AtomicBool>,
    ) -> f64 {
        let began = self.board.now_us();
        let length = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let mut due = 0_u64;
        loop {
            let now = self.board.now_us().saturating_sub(began);
            if now >= length || stop.load(Ordering::Relaxed) {
                break;
            }
            let ready = match rate {
                Rate::PerSecond(rate) => due_by(now, rate).saturating_sub(due),
                Rate::Max => in_flight.saturating_sub(self.board.open()),
            };
            if ready == 0 {
                std::thread::sleep(match rate {
                    Rate::PerSecond(rate) => {
                        Duration::from_micros(due_at(due, rate).saturating_sub(now)).clamp(LOOK, TICK)
                    }
                    Rate::Max => LOOK,
                });
                continue;
            }
            let count = usize::try_from(ready).unwrap_or(BURST).min(BURST);
            self.burst(
                count,
                |n| match rate {
                    Rate::PerSecond(rate) => began + due_at(due + n, rate),
                    Rate::Max => began + now,
                },
                measured,
            );
            due += count as u64;
        }
        #[expect(clippy::cast_precision_loss, reason = "microseconds of one slice")]
        let took = self.board.now_us().saturating_sub(began) as f64 / 1e6;
        took
    }

    fn burst(&mut self, count: usize, intended: impl Fn(u64) -> u64, measured: bool) {
        let mut batches: Vec<Vec<NewRecord>> = vec![Vec::new(); self.partitions as usize];
        for n in 0..count as u64 {
            let partition = u32::try_from(self.number % u64::from(self.partitions)).unwrap_or(0);
            let (tenant, counts) = self.tenants.of(self.number);
            let value = self.job(self.number, tenant);
            self.number += 1;
            self.board.sending(partition, intended(n), measured && counts);
            if let Some(batch) = batches.get_mut(partition as usize) {
                batch.push(NewRecord { key: None, value: Some(value), headers: Headers::new() });
            }
        }
        for (partition, batch) in (0..self.partitions).zip(batches) {
            if !batch.is_empty() {
                // Landings are not awaited: arrivals do not wait for answers. A failed one shows as lost.
                drop(self.producer.append(&self.topic.partition(partition), batch));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sent an interval late, each latency would have that much in it that nobody caused.
    #[test]
    fn a_job_is_sent_when_it_is_due_and_no_interval_later() {
        for rate in [1.0, 80.0, 200.0, 333.3, 1_000.0, 59_000.0, 1e6] {
            for number in 0..2_000 {
                let at = due_at(number, rate);
                assert!(due_by(at, rate) > number, "{number} at {rate}/s is not sent at {at} us");
                let before = at.saturating_sub(2);
                assert!(
                    at < 2 || due_by(before, rate) <= number,
                    "{number} at {rate}/s is sent at {before} us already"
                );
            }
        }
    }
}
