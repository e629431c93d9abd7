//! What the heartbeats of many workers cost their shard.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::ensure;
use bytes::Bytes;
use tidegate_protocol::fleet::Report;
use tidegate_protocol::ids::{Capability, WorkerId};
use tidegate_scheduler::Tuning;

use crate::seed::{Bare, record};

/// The input of reports of a pool with one bucket.
const REPORTS: u32 = 2;
/// Rounds of heartbeats that are measured.
const ROUNDS: u64 = 4;

/// A heartbeat of an idle worker.
pub(crate) fn beat(worker: u64, epoch: u64, load: f64) -> anyhow::Result<Bytes> {
    let report = Report::Heartbeat {
        worker: WorkerId::new(format!("worker-{worker}"))?,
        incarnation: 1,
        lane: 0,
        epoch,
        capabilities: vec![Capability::new("noop")?, Capability::new("other")?],
        capacity: 8,
        running: Vec::new(),
        received: 0,
        credit: 8,
        draining: false,
        tenants: None,
        labels: BTreeMap::from([("zone".to_owned(), format!("z{}", worker % 3))]),
        load: Some(load),
    };
    Ok(serde_json::to_vec(&report)?.into())
}

pub(crate) fn measure(workers: u64) -> anyhow::Result<()> {
    let mut bare = Bare::new(&Tuning::default())?;
    for worker in 0..workers {
        bare.arrive(REPORTS, beat(worker, 0, 0.0)?); // welcomes it
        bare.arrive(REPORTS, beat(worker, 1, 0.0)?);
    }
    ensure!(bare.stage.gauges().workers_free as u64 == workers, "not every worker is free");
    let mut spent = 0.0;
    for round in 0..ROUNDS {
        let beats: Vec<Bytes> = (0..workers)
            .map(|worker| beat(worker, 1, (worker + round) as f64 % 100.0 / 100.0))
            .collect::<Result<_, _>>()?;
        let begin = Instant::now();
        for beat in beats {
            bare.arrive(REPORTS, beat);
        }
        spent += begin.elapsed().as_secs_f64();
    }
    let each = spent / (ROUNDS * workers).max(1) as f64;
    let pace = Tuning::default().lease_ms as f64 / 4_000.0;
    println!(
        "heartbeats: {workers} workers, one every {pace} s: {:.1} us each, {:.1} % of a core",
        each * 1e6,
        each * workers as f64 / pace * 100.0
    );
    // And placing jobs among them.
    let jobs = (workers * 4).min(40_000);
    let records: Vec<Bytes> = (0..jobs).map(|n| record(n).map(Into::into)).collect::<Result<_, _>>()?;
    let (mut placed, begin) = (0, Instant::now());
    for record in records {
        bare.arrive(0, record);
        placed += bare.poll();
    }
    ensure!(placed as u64 == jobs, "{placed} of {jobs} jobs were placed");
    let each = begin.elapsed().as_secs_f64() / jobs.max(1) as f64;
    println!("placement: {jobs} jobs among {workers} workers: {:.1} us each, from its record to its lease", each * 1e6);
    Ok(())
}
