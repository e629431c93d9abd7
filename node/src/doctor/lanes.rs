//! Workers and the lanes they need.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidegate_gateway::fleet::{Fleet, WorkerState};

use super::{Level, Report};
use crate::config::Config;

pub(super) async fn examine(report: &mut Report, config: &Config, fleet: &Arc<Fleet>) {
    let workers = fleet.workers(None).await;
    for pool in &config.pools {
        let own = workers.iter().filter(|worker| worker.pool == *pool.name());
        let here: Vec<_> = own.filter(|worker| worker.state != WorkerState::Silent).collect();
        let heard = here.iter().filter(|worker| worker.state != WorkerState::Unheard).count();
        if u32::try_from(here.len()).unwrap_or(u32::MAX) > pool.lanes {
            let what = format!("pool `{}` has {} lanes for {} workers", pool.name(), pool.lanes, here.len());
            let remedy =
                "raise `pools[].lanes` and `tidegate topics apply`: workers that share a lane read each other's jobs";
            report.add("lanes", Level::Bad, what, remedy);
        }
        let mut by_lane: BTreeMap<u32, Vec<&str>> = BTreeMap::new();
        for worker in &here {
            by_lane.entry(worker.lane).or_default().push(worker.worker.as_str());
        }
        for (lane, sharing) in by_lane.into_iter().filter(|(_, sharing)| sharing.len() > 1) {
            let what = format!("pool `{}`: lane {lane} is read by {}", pool.name(), sharing.join(" and "));
            report.add(
                "lanes",
                Level::Note,
                what,
                "it works, and each reads what is for the other: more lanes make it rarer",
            );
        }
        if heard == 0 {
            let what = format!("no worker of pool `{}` is heard", pool.name());
            report.add("lanes", Level::Note, what, "its jobs wait until one is there");
        }
    }
    report.ok_unless_found("lanes", format!("{} workers, each with a lane of its own", workers.len()));
}
