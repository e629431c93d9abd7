//! One run of the full scenario.

use std::sync::Arc;

use tidegate_stage::Rules;

use super::executions::Executions;
use super::judge::{self, AllAllowed};
use super::leases::scheduler_shard;
use super::parts::{self, BUCKETS, KERNELS, LANES, named};
use super::planted::{AnyToken, FailOpen};
use super::{liars, load, worker};
use crate::plants::Plant;
use crate::run::{CALM_US, LOAD_US, Stand, run_of};
use crate::seeds::Outcome;
use crate::world::{Launcher, Shard};

/// Everything must be quiet by then: leases may have to expire several times.
const QUIET_US: u64 = 90_000_000;

/// Runs one seed.
#[must_use]
pub fn run(seed: u64, rules: Rules, plant: Plant, keep_trace: bool) -> Outcome {
    let logs = [
        ("jobs.raw", KERNELS),
        ("decisions.jobs.raw", KERNELS),
        ("commands.jobs.raw", KERNELS),
        ("outcomes.jobs.raw", KERNELS),
        ("grants.jobs.raw", KERNELS),
        ("approved.p", BUCKETS),
        ("overflow.p", BUCKETS),
        ("reports.p", 1),
        ("leases.p", 1),
        ("work.p", LANES),
        ("denied", 1),
        ("finished", 1),
        ("dead", 1),
        ("audit.checkpoints", 1),
    ];
    let logs = logs.map(|(name, n)| (named(name), n));
    let mut stand = Stand::new(seed, keep_trace, &logs, &[named("snapshots"), named("shards")]);
    let kernels: Vec<_> = (0..KERNELS)
        .map(|shard| {
            let config = parts::kernel_config(shard);
            let spec = parts::kernel_spec(seed, &config);
            (config, spec)
        })
        .collect();
    let pool = parts::pool(seed);
    let leases = parts::scheduler_spec(seed, &pool);
    let mut shards = Vec::new();
    for (config, spec) in &kernels {
        let config = config.clone();
        let launch: Launcher = match plant {
            Plant::FailOpen => Box::new(move |launch| {
                let config = config.clone();
                run_of(launch, rules, move || FailOpen { stage: parts::kernel(&config) })
            }),
            Plant::Nothing | Plant::StaleToken => Box::new(move |launch| {
                let config = config.clone();
                run_of(launch, rules, move || parts::kernel(&config))
            }),
        };
        shards.push(Shard { spec: spec.clone(), launch });
    }
    let for_launch = pool.clone();
    let launch: Launcher = match plant {
        Plant::StaleToken => Box::new(move |launch| {
            let pool = for_launch.clone();
            run_of(launch, rules, move || AnyToken::new(parts::scheduler(&pool)))
        }),
        Plant::Nothing | Plant::FailOpen => Box::new(move |launch| {
            let pool = for_launch.clone();
            run_of(launch, rules, move || parts::scheduler(&pool))
        }),
    };
    shards.push(Shard { spec: leases.clone(), launch });
    for (shard, (_, spec)) in (0..).zip(&kernels) {
        load::submit(seed, shard, &stand.core, &stand.spine, &spec.inputs[0].partition, LOAD_US);
    }
    let executions = Arc::new(Executions::default());
    worker::start_all(seed, &stand.core, &stand.spine, &executions, CALM_US);
    liars::tell(seed, &stand.core, &stand.spine, 500_000, CALM_US + 1_000_000);
    let world = stand.world(shards);
    stand.run(&world, QUIET_US, |broker, verdicts| {
        let mut allowed = AllAllowed::new();
        let mut snapshots = 0;
        for (config, spec) in &kernels {
            snapshots += judge::kernel_shard(broker, config, spec, &mut allowed, verdicts);
        }
        let (compared, groups) = scheduler_shard(broker, &pool, &leases, &allowed, verdicts);
        let executions = executions.all();
        judge::check_executions(&executions, &allowed, verdicts);
        judge::check_ends(broker, &kernels, &groups, &executions, verdicts);
        snapshots + compared
    })
}
