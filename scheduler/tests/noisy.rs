//! A noisy neighbour: one tenant offers 95 % of five times what the workers can do. What that does to the others is measured on
//! virtual time, so it is the same in every run.
#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test fails by panicking")]

mod driver;

use std::collections::BTreeMap;
use std::time::Duration;

use driver::{Says, Shard, Step, approved, job, layout, position};
use tidegate_protocol::facts::{SchedulerFact, Token};
use tidegate_protocol::ids::TenantId;
use tidegate_protocol::outcome::Outcome;
use tidegate_scheduler::Tuning;
use tidegate_spine::Headers;

/// 10 slots of 50 ms: 200 jobs a second.
const SLOTS: u32 = 10;
const SERVICE_MS: u64 = 50;
const RUN_MS: u64 = 6_000;

struct Run {
    shard: Shard,
    now_ms: u64,
    submitted: BTreeMap<u64, (usize, u64)>,
    ends: BTreeMap<u64, Vec<(u64, Token)>>,
    latency_ms: BTreeMap<usize, Vec<u64>>,
    leased: u32,
    idle_with_work: u64,
}

impl Run {
    fn says() -> Says {
        Says { epoch: 1, credit: u64::MAX, capacity: SLOTS, ..Says::of("w") }
    }

    fn new() -> Self {
        let tuning = Tuning { window_jobs: 400, lease_ms: 60_000, ..Tuning::default() };
        let mut shard = Shard::new(layout(), &tuning);
        shard.report(&Self::says().hello());
        shard.report(&Self::says().heartbeat());
        Self {
            shard,
            now_ms: 0,
            submitted: BTreeMap::new(),
            ends: BTreeMap::new(),
            latency_ms: BTreeMap::new(),
            leased: 0,
            idle_with_work: 0,
        }
    }

    fn note(&mut self, step: &Step) {
        for fact in &step.facts {
            if let SchedulerFact::LeaseGranted { source, token, .. } = fact {
                self.leased += 1;
                self.ends.entry(self.now_ms + SERVICE_MS).or_default().push((source.offset, *token));
            }
        }
    }

    /// Tenant 0 is the noisy one; it and two of the others share bucket 0, the rest have bucket 1.
    fn submit(&mut self, tenant: usize) {
        let offset = self.submitted.len() as u64;
        let mut job = job(&format!("j{offset}"), offset);
        job.tenant = TenantId::new(format!("t{tenant}")).unwrap();
        job.priority = if tenant == 0 { 9 } else { 1 };
        self.submitted.insert(offset, (tenant, self.now_ms));
        self.shard.append(usize::from(tenant > 2), Some(approved(&job, "1")), Headers::new());
    }

    fn millisecond(&mut self) {
        self.now_ms += 1;
        self.shard.wait(Duration::from_millis(1));
        for (offset, token) in self.ends.remove(&self.now_ms).unwrap_or_default() {
            self.leased -= 1;
            let (tenant, since) = self.submitted[&offset];
            self.latency_ms.entry(tenant).or_default().push(self.now_ms - since);
            let step = self.shard.report(&Self::says().result(position(offset), token, Outcome::Succeeded));
            self.note(&step);
        }
        loop {
            let (read, polled) = (self.shard.read(), self.shard.poll());
            self.note(&read);
            self.note(&polled);
            if read.facts.is_empty() && polled.facts.is_empty() {
                break;
            }
        }
        if self.leased < SLOTS && self.shard.stage.gauges().waiting > 0 {
            self.idle_with_work += 1;
        }
    }
}

/// The p99 of each of the quiet tenants, from submission to end, with the noisy one or without.
fn p99(noisy: bool) -> (Vec<u64>, Run) {
    let mut run = Run::new();
    for ms in 0..RUN_MS {
        // 950 a second of the noisy one, 12.5 of each of the others.
        if noisy {
            for _ in 0..(ms + 1) * 950 / 1_000 - ms * 950 / 1_000 {
                run.submit(0);
            }
        }
        for tenant in 1..=4 {
            if (ms + 17 * tenant) % 80 == 0 {
                run.submit(usize::try_from(tenant).unwrap());
            }
        }
        run.millisecond();
    }
    let quiet = (1..=4).map(|tenant| {
        let mut all = run.latency_ms[&tenant].clone();
        all.sort_unstable();
        assert!(all.len() > 60, "{} of tenant {tenant}", all.len());
        all[all.len() * 99 / 100]
    });
    (quiet.collect(), run)
}

#[test]
fn the_others_p99_stays_within_twice_what_it_is_without_the_noisy_one() {
    let ((alone, _), (beside, run)) = (p99(false), p99(true));
    for (alone, beside) in alone.iter().zip(&beside) {
        assert!(*beside <= 2 * alone, "alone {alone} ms, beside the noisy one {beside} ms");
    }
    let served: usize = run.latency_ms.values().map(Vec::len).sum();
    assert!(served as u64 >= RUN_MS * 195 / 1_000, "the workers are kept busy: {served} jobs");
    assert_eq!(run.idle_with_work, 0, "no slot is free while a job that it could take waits");
    assert!(run.shard.stage.gauges().waiting <= 400, "the window stays bounded");
}
