//! Sizes of what the Tidegate side appended during its warm-up, so that the floor appends as much.

use std::future::poll_fn;
use std::sync::Arc;

use tidegate_protocol::address::TopicName;
use tidegate_protocol::topics::Topic;
use tidegate_spine::{Spine, Start};

use super::chain::Sizes;
use crate::governed::Names;
use crate::options::{BenchArgs, Scenario};

/// Bytes and records of a topic.
struct Volume {
    bytes: u64,
    records: u64,
}

async fn volume(spine: &Arc<dyn Spine>, topic: &TopicName) -> anyhow::Result<Volume> {
    let state = spine.describe(std::slice::from_ref(topic)).await?.into_iter().next().flatten();
    let partitions: Vec<_> = (0..state.map_or(0, |s| s.partitions)).map(|p| topic.partition(p)).collect();
    let ends = spine.ends(&partitions).await?;
    let mut reader = spine.reader("bench-sizes").await?;
    let mut volume = Volume { bytes: 0, records: 0 };
    for (partition, ends) in partitions.iter().zip(ends) {
        let handle = reader.open(partition, Start::Earliest);
        let (mut position, mut batch) = (0, Vec::new());
        while position < ends.end {
            position = poll_fn(|cx| reader.poll_read(handle, 1_000, cx, &mut batch)).await?.position;
            for record in batch.drain(..) {
                volume.bytes += record.value.map_or(0, |v| v.len() as u64);
                volume.records += 1;
            }
        }
        reader.close(handle);
    }
    Ok(volume)
}

fn each(bytes: u64, jobs: u64) -> usize {
    usize::try_from(bytes / jobs.max(1)).unwrap_or(0)
}

/// Averages over what was appended so far.
pub(crate) async fn sizes(spine: &Arc<dyn Spine>, names: &Names, args: &BenchArgs) -> anyhow::Result<Sizes> {
    let of = async |topic: &Topic| volume(spine, &names.topic(topic)?).await;
    let decisions = of(&Topic::Decisions(names.source.clone())).await?;
    let approved = of(&Topic::Approved(names.pool.clone())).await?;
    let jobs = approved.records;
    anyhow::ensure!(jobs > 0, "nothing came out of the warm-up; see the log");
    let mut sizes = Sizes {
        fact: each(decisions.bytes, jobs),
        verdict: each(approved.bytes, jobs).saturating_sub(args.size as usize),
        lease: 0,
        end: 0,
        assignment: 0,
        report: 0,
        finished: 0,
    };
    if args.scenario == Scenario::Jobs {
        let leases = of(&Topic::Leases(names.pool.clone())).await?;
        let work = of(&Topic::Work(names.pool.clone())).await?;
        let reports = of(&Topic::Reports(names.pool.clone())).await?;
        let finished = of(&Topic::Finished).await?;
        sizes.finished = each(finished.bytes, jobs);
        // A job's end is a fact about as large as its `finished` record; the rest of the log is its lease.
        sizes.end = sizes.finished;
        sizes.lease = each(leases.bytes, jobs).saturating_sub(sizes.end);
        sizes.assignment = each(work.bytes, jobs);
        sizes.report = each(reports.bytes, jobs);
    }
    Ok(sizes)
}
