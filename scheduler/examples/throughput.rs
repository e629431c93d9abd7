//! Nanoseconds of the stage alone for a whole job (arrival, lease, result; decide, apply and emit), with a small and a
//! large backlog, and the time of a snapshot; then with one slot, for which a tenant's jobs wait that all need something else.
//!
//! `cargo run -p tidegate-scheduler --example throughput`

#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "it measures and prints")]

#[path = "../tests/driver/mod.rs"]
mod driver;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use driver::{Says, approved, capabilities, job, layout};
use tidegate_protocol::address::TopicPartition;
use tidegate_protocol::control::Stamp;
use tidegate_protocol::facts::SchedulerFact;
use tidegate_protocol::ids::{SenderId, TenantId};
use tidegate_protocol::outcome::Outcome;
use tidegate_protocol::time::Timestamp;
use tidegate_scheduler::{Pool, Scheduler, Tuning};
use tidegate_spine::{Headers, Record};
use tidegate_stage::{Arrival, Decision, Input, InputRef, Outbox, Pace, Signal, Stage};

struct Bare {
    kernel: SenderId,
    stage: Scheduler,
    reports: u32,
    partition: TopicPartition,
    at: Timestamp,
    offset: u64,
    messages: usize,
}

impl Bare {
    fn new(window: usize) -> Option<Self> {
        let tuning = Tuning { window_jobs: window, window_bytes: 1 << 30, ..Tuning::default() };
        let pool = Arc::new(Pool::new(layout(), &tuning).ok()?);
        let spec = pool.shard_spec(0, "bench", Pace::default()).ok()?;
        let reports = u32::try_from(spec.inputs.len()).ok()? - 3;
        let partition = spec.inputs.first()?.partition.clone();
        let mut stage = Scheduler::new(pool, 0);
        let at = Timestamp(1_000_000);
        stage.observe(Signal::Owner { epoch: 1 }, at);
        let kernel = SenderId::new("kernel.jobs/0").ok()?;
        Some(Self { kernel, stage, reports, partition, at, offset: 0, messages: 0 })
    }

    fn arrive(&mut self, input: u32, value: Bytes) {
        self.at = self.at + Duration::from_micros(1);
        self.offset += 1;
        let offset = self.offset;
        let record = Record { offset, timestamp_ms: 0, key: None, value: Some(value), headers: Headers::new() };
        let at = InputRef { input, offset };
        let stamp = Stamp { epoch: 1, sequence: offset, group: 0, index: 0 };
        let sender = Some((&self.kernel, stamp));
        let arrival = Arrival { at, partition: &self.partition, record: &record, sender };
        self.stage.observe(Signal::Arrived(arrival), self.at);
        let mut decision = Decision::default();
        self.stage.decide(&Input::Record(arrival), self.at, &mut decision);
        let _ = self.enact(&decision);
    }

    /// The facts of everything that is possible now.
    fn poll(&mut self) -> Vec<SchedulerFact> {
        let mut facts = Vec::new();
        loop {
            let mut decision = Decision::default();
            self.stage.decide(&Input::Poll, self.at, &mut decision);
            if decision.facts().is_empty() {
                return facts;
            }
            facts.extend(self.enact(&decision));
        }
    }

    fn enact(&mut self, decision: &Decision<SchedulerFact>) -> Vec<SchedulerFact> {
        for (fact, _) in decision.facts() {
            self.stage.apply(fact, self.at);
            let mut outbox = Outbox::new();
            self.stage.emit(fact, self.at, None, &mut outbox);
            self.messages += outbox.into_messages().len();
        }
        decision.facts().iter().map(|(fact, _)| fact.clone()).collect()
    }
}

/// A worker with a single slot, 8,000 jobs of a tenant, alike or each with a `select` of its own, and as many of another.
fn saturated(differ: bool) -> Result<(), Box<dyn std::error::Error>> {
    let mut bare = Bare::new(400_000).ok_or("bad pool")?;
    let labels = std::collections::BTreeMap::from([("zone".to_owned(), "eu".to_owned())]);
    let mut worker = Says { epoch: 1, credit: 1, labels, ..Says::of("w") };
    bare.arrive(bare.reports, serde_json::to_vec(&worker.hello())?.into());
    bare.arrive(bare.reports, serde_json::to_vec(&worker.heartbeat())?.into());
    let (jobs, begin) = (8_000_u64, Instant::now());
    for n in 0..jobs {
        let mut noisy = job(&format!("noisy-{n}"), 2 * n);
        noisy.tenant = TenantId::new("noisy")?;
        if differ {
            noisy.select = serde_json::from_str(&format!(r#"{{"zone":["eu","x{n}"]}}"#))?;
        }
        bare.arrive(0, approved(&noisy, "1"));
        bare.arrive(0, approved(&job(&format!("quiet-{n}"), 2 * n + 1), "1"));
    }
    let mut done = 0_u64;
    while let [SchedulerFact::LeaseGranted { source, token, .. }] = &bare.poll()[..] {
        worker.credit += 1;
        done += 1;
        bare.arrive(
            bare.reports,
            serde_json::to_vec(&worker.result(source.clone(), *token, Outcome::Succeeded))?.into(),
        );
    }
    let each = begin.elapsed().as_nanos() / u128::from(done.max(1));
    println!(
        "one slot, needs that {}: {done} whole jobs of two tenants, {each} ns each",
        if differ { "differ" } else { "are alike" }
    );
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    saturated(false)?;
    saturated(true)?;
    let payload = format!("\"{}\"", "x".repeat(1_022));
    for backlog in [0_u64, 10_000, 100_000] {
        let mut bare = Bare::new(400_000).ok_or("bad pool")?;
        let mut workers: Vec<Says> = (0..50)
            .map(|n| Says {
                name: format!("worker-{n}"),
                incarnation: 1,
                lane: 0,
                epoch: 1,
                capabilities: capabilities(&["echo"]),
                capacity: 20,
                running: Vec::new(),
                received: 0,
                credit: 20,
                draining: false,
                tenants: None,
                labels: std::collections::BTreeMap::new(),
                load: None,
            })
            .collect();
        let mut source = 0_u64;
        // The backlog is what nobody can do, half of it, and what comes after what is measured.
        for n in 0..backlog {
            let mut new = job(&format!("backlog-{n}"), source);
            source += 1;
            if n % 2 == 0 {
                new.requires = capabilities(&["quantum"]);
            }
            new.priority = 0;
            bare.arrive(0, approved(&new, &payload));
        }
        for worker in &workers {
            bare.arrive(bare.reports, serde_json::to_vec(&worker.hello())?.into());
            bare.arrive(bare.reports, serde_json::to_vec(&worker.heartbeat())?.into());
        }
        let mut running = bare.poll();
        let jobs = 40_000_u64;
        let records: Vec<Bytes> =
            (0..jobs).map(|n| approved(&job(&format!("job-{n}"), source + n), &payload)).collect();
        let begin = Instant::now();
        let (mut done, mut making) = (0_u64, Duration::ZERO);
        let mut records = records.into_iter();
        while done < jobs {
            for record in records.by_ref().take(500) {
                bare.arrive(0, record);
            }
            running.extend(bare.poll());
            // Making the reports is the workers' time.
            let pause = Instant::now();
            let mut reports = Vec::new();
            for fact in running.drain(..) {
                if let SchedulerFact::LeaseGranted { source, worker, token, .. } = fact
                    && let Some(says) = workers.iter_mut().find(|says| says.name == worker.as_str())
                {
                    says.credit += 1;
                    reports.push(serde_json::to_vec(&says.result(source, token, Outcome::Succeeded))?);
                }
            }
            making += pause.elapsed();
            if reports.is_empty() {
                break;
            }
            for report in reports {
                done += 1;
                bare.arrive(bare.reports, report.into());
            }
        }
        let each = (begin.elapsed() - making).as_nanos() / u128::from(done.max(1));
        println!(
            "backlog {backlog}: {done} whole jobs of 1 KiB, {each} ns each, {} a second",
            1_000_000_000 / each.max(1)
        );
        running.extend(bare.poll());
        let begin = Instant::now();
        let snapshot = bare.stage.snapshot()?;
        let leased = bare.stage.gauges().leased;
        println!("  snapshot of {leased} leases: {} bytes in {:?}", snapshot.len(), begin.elapsed());
        let begin = Instant::now();
        bare.stage.restore(&snapshot)?;
        println!("  restored in {:?}; {} messages", begin.elapsed(), bare.messages);
    }
    Ok(())
}
