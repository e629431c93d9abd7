//! One run of the scenario of limits.

use std::collections::BTreeMap;

use tidegate_stage::Rules;

use super::judge::{self, Account};
use super::load;
use super::parts::{self, KERNELS, LENDERS};
use crate::fleet::cuts;
use crate::fleet::parts::{BUCKETS, LANES, kernel_spec, named, scheduler, scheduler_spec};
use crate::plants::LimitsPlant;
use crate::run::{CALM_US, Judged, LOAD_US, Stand, run_of};
use crate::seeds::Outcome;
use crate::world::{Launcher, Shard};

/// Everything must be quiet by then: a job waits for limits for 30 s at most.
const QUIET_US: u64 = 90_000_000;

/// Runs one seed.
#[must_use]
pub fn run(seed: u64, rules: Rules, plant: LimitsPlant, keep_trace: bool) -> Outcome {
    let logs = [
        ("jobs.raw", KERNELS),
        ("decisions.jobs.raw", KERNELS),
        ("commands.jobs.raw", KERNELS),
        ("outcomes.jobs.raw", KERNELS),
        ("grants.jobs.raw", KERNELS),
        ("limits.requests", LENDERS),
        ("limits.facts", LENDERS),
        ("approved.p", BUCKETS),
        ("overflow.p", BUCKETS),
        ("reports.p", 1),
        ("withdrawals.p", 1),
        ("commands.p", 1),
        ("leases.p", 1),
        ("work.p", LANES),
        ("denied", 1),
        ("held", 1),
        ("finished", 1),
        ("dead", 1),
        ("audit.checkpoints", 1),
    ];
    let logs = logs.map(|(name, n)| (named(name), n));
    let mut stand = Stand::new(seed, keep_trace, &logs, &[named("snapshots"), named("shards")]);
    let sealed = ["outcomes.jobs.raw", "grants.jobs.raw", "limits.requests", "approved.p", "overflow.p"].map(named);
    let storms = stand.storm(&["jobs.raw", "commands.jobs.raw"].map(named), &sealed);
    let mut shards = Vec::new();
    let kernels: Vec<_> = (0..KERNELS)
        .map(|shard| {
            let config = parts::kernel_config(shard);
            let spec = kernel_spec(seed, &config);
            (config, spec)
        })
        .collect();
    for (config, spec) in &kernels {
        let config = config.clone();
        let launch: Launcher = Box::new(move |launch| {
            let config = config.clone();
            run_of(launch, rules, move || parts::kernel(&config, plant))
        });
        shards.push(Shard { spec: spec.clone(), launch });
    }
    let lenders: Vec<_> = (0..LENDERS).map(|shard| parts::limits_spec(seed, &parts::limits_config(), shard)).collect();
    for spec in &lenders {
        let launch: Launcher =
            Box::new(move |launch| run_of(launch, rules, move || parts::limits(&parts::limits_config(), plant)));
        shards.push(Shard { spec: spec.clone(), launch });
    }
    let pool = parts::pool();
    let leases = scheduler_spec(seed, &pool, 0);
    let for_launch = pool.clone();
    let launch: Launcher = Box::new(move |launch| {
        let pool = for_launch.clone();
        run_of(launch, rules, move || scheduler(&pool, 0))
    });
    shards.push(Shard { spec: leases.clone(), launch });
    for (shard, (_, spec)) in (0..).zip(&kernels) {
        let from = &spec.inputs[0].partition;
        load::submit(seed, shard, &stand.core, &stand.spine, from, LOAD_US);
        load::redrive(seed, shard, &stand.core, &stand.spine, from, LOAD_US + 1_000_000);
    }
    let specs: Vec<_> = kernels.iter().map(|(_, spec)| spec).chain(&lenders).chain([&leases]).collect();
    cuts::begin(seed, &stand.core, &stand.spine, &specs, CALM_US - 500_000);
    let (lending, borrowing): (Vec<_>, Vec<_>) = (lenders.iter().collect(), kernels.iter().map(|(_, s)| s).collect());
    if !storms {
        // Somebody's copy of what was lost, behind it, makes a reader deaf to its sender until that has another owner (decision 0012).
        cuts::lose_lent(seed, &stand.core, &stand.spine, &lending, &borrowing);
    }
    let world = stand.world(shards);
    stand.run(&world, QUIET_US, |broker, verdicts| {
        let mut account = Account::default();
        let mut snapshots = 0;
        for (config, spec) in &kernels {
            snapshots += judge::kernel_shard(broker, config, spec, plant, &mut account, verdicts);
        }
        for spec in &lenders {
            snapshots += judge::limits_shard(broker, spec, plant, &mut account, verdicts);
        }
        let ends = judge::ends(broker, &leases, verdicts);
        judge::windows(&account, &ends, verdicts);
        let (lost, again) = account.asks();
        let tried = BTreeMap::from([
            ("ranges of limits' inputs given up", account.given_up()),
            ("requests for limits lost and given up", lost),
            ("requests for limits asked again", again),
        ]);
        Judged { snapshots, tried }
    })
}
