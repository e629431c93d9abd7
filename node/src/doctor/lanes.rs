//! Workers and the lanes they need.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidegate_gateway::fleet::{Fleet, WorkerStanding, WorkerState};
use tidegate_protocol::ids::PoolName;

use super::{Level, Report};
use crate::config::Config;

pub(super) async fn examine(report: &mut Report, config: &Config, fleet: &Arc<Fleet>) {
    let workers = fleet.workers(None).await;
    for pool in &config.pools {
        let own = workers.iter().filter(|worker| worker.pool == *pool.name());
        let here: Vec<_> = own.filter(|worker| worker.state != WorkerState::Silent).collect();
        tell_pool(report, pool.name(), pool.lanes, &here);
    }
    report.ok_unless_found("lanes", format!("{} workers, each with a lane of its own", workers.len()));
}

/// `here`: the pool's workers but those that have gone silent.
fn tell_pool(report: &mut Report, pool: &PoolName, lanes: u32, here: &[&WorkerStanding]) {
    if u32::try_from(here.len()).unwrap_or(u32::MAX) > lanes {
        let what = format!("pool `{pool}` has {lanes} lanes for {} workers", here.len());
        let remedy =
            "raise `pools[].lanes` and `tidegate topics apply`: workers that share a lane read each other's jobs";
        report.add("lanes", Level::Bad, what, remedy);
    }
    let mut by_lane: BTreeMap<u32, Vec<&str>> = BTreeMap::new();
    for worker in here {
        by_lane.entry(worker.lane).or_default().push(worker.worker.as_str());
    }
    for (lane, sharing) in by_lane.into_iter().filter(|(_, sharing)| sharing.len() > 1) {
        let what = format!("pool `{pool}`: lane {lane} is read by {}", sharing.join(" and "));
        let remedy = "it works, and each reads what is for the other: more lanes make it rarer";
        report.add("lanes", Level::Note, what, remedy);
    }
    if here.iter().all(|worker| worker.state == WorkerState::Unheard) {
        let what = format!("no worker of pool `{pool}` is heard");
        report.add("lanes", Level::Note, what, "its jobs wait until one is there");
    }
}

#[cfg(test)]
mod tests {
    use tidegate_protocol::ids::WorkerId;

    use super::*;

    fn worker(name: &str, lane: u32, state: WorkerState) -> WorkerStanding {
        WorkerStanding {
            pool: PoolName::new("p").unwrap(),
            worker: WorkerId::new(name).unwrap(),
            state,
            incarnation: 1,
            lane,
            heard_ms_ago: None,
            running: 0,
            capacity: 1,
            free: 1,
            capabilities: Vec::new(),
            tenants: None,
            labels: BTreeMap::new(),
            load: None,
            cordon: None,
            cordoned_shards: 0,
            jobs: Vec::new(),
        }
    }

    fn told(lanes: u32, workers: &[WorkerStanding]) -> Vec<(Level, String)> {
        let mut report = Report::default();
        tell_pool(&mut report, &PoolName::new("p").unwrap(), lanes, &workers.iter().collect::<Vec<_>>());
        report.findings.into_iter().map(|finding| (finding.level, finding.what)).collect()
    }

    #[test]
    fn more_workers_than_lanes_is_bad_and_who_shares_one_is_named() {
        let present = |name, lane| worker(name, lane, WorkerState::Present);
        let three = [present("a", 0), present("b", 1), present("c", 1)];
        let sharing = (Level::Note, "pool `p`: lane 1 is read by b and c".to_owned());
        let few = (Level::Bad, "pool `p` has 2 lanes for 3 workers".to_owned());
        assert_eq!(told(2, &three), [few, sharing.clone()]);
        assert_eq!(told(3, &three), [sharing], "enough lanes, and two of the workers hash to one");
        assert_eq!(told(2, &three[..2]), []);
    }

    #[test]
    fn a_pool_without_a_worker_that_is_heard_is_named() {
        let nobody = (Level::Note, "no worker of pool `p` is heard".to_owned());
        assert_eq!(told(2, &[]), std::slice::from_ref(&nobody));
        assert_eq!(told(2, &[worker("a", 0, WorkerState::Unheard)]), [nobody]);
    }
}
