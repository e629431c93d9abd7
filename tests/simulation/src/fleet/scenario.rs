//! One run of the full scenario.

use std::collections::BTreeSet;
use std::sync::Arc;

use tidegate_scheduler::Pool;
use tidegate_stage::{Rules, ShardSpec};

use super::executions::Executions;
use super::judge::{self, AllAllowed};
use super::leases::scheduler_shard;
use super::members::Members;
use super::parts::{self, BUCKETS, KERNELS, LANES, named};
use super::planted::{
    AnyToken, FailOpen, Forgetful, Forgets, OtherInput, RevokedLives, RunsExpired, SameLife, Unheard, Wish, WishLost,
};
use super::policies::Policies;
use super::wishes::{self, Wishes};
use super::{cuts, forgers, liars, lines, lives, load, people, redrives, shares, turns, worker};
use crate::ledger::asking;
use crate::plants::Plant;
use crate::run::{CALM_US, Judged, LOAD_US, Stand, run_of, run_told};
use crate::seeds::Outcome;
use crate::world::{Launcher, Shard};

/// Everything must be quiet by then: leases may have to expire several times.
const QUIET_US: u64 = 90_000_000;

/// Runs one seed.
#[must_use]
pub fn run(seed: u64, rules: Rules, plant: Plant, keep_trace: bool) -> Outcome {
    let terms = parts::terms(seed);
    let logs = [
        ("jobs.raw", KERNELS),
        ("decisions.jobs.raw", KERNELS),
        ("commands.jobs.raw", KERNELS),
        ("outcomes.jobs.raw", KERNELS),
        ("grants.jobs.raw", KERNELS),
        ("approved.p", BUCKETS),
        ("overflow.p", BUCKETS),
        ("reports.p", terms.shards),
        ("withdrawals.p", terms.shards),
        ("commands.p", terms.shards),
        ("leases.p", terms.shards),
        ("grants.p", terms.shards),
        ("limits.requests", 1),
        ("limits.facts", 1),
        ("work.p", LANES),
        ("denied", 1),
        ("finished", 1),
        ("dead", 1),
        ("audit.checkpoints", 1),
    ];
    let logs = logs.map(|(name, n)| (named(name), n));
    let mut stand = Stand::new(seed, keep_trace, &logs, &[named("snapshots"), named("shards"), named("held")]);
    let open = ["jobs.raw", "commands.jobs.raw", "commands.p", "reports.p"].map(named);
    let storms =
        stand.storm(&open, &["outcomes.jobs.raw", "approved.p", "overflow.p", "withdrawals.p", "work.p"].map(named));
    let kernels: Vec<_> = (0..KERNELS)
        .map(|shard| {
            let config = parts::kernel_config(shard, terms.shards, terms.ticket_ttl);
            let spec = parts::kernel_spec(seed, &config);
            (config, spec)
        })
        .collect();
    let pool = parts::pool(seed, plant);
    let leases: Vec<_> = (0..terms.shards).map(|shard| (shard, parts::scheduler_spec(seed, &pool, shard))).collect();
    let mut shards = Vec::new();
    let policies = Policies::new(seed, LOAD_US + 1_000_000);
    for (config, spec) in &kernels {
        let (config, policies, core) = (config.clone(), policies.clone(), stand.core.clone());
        let launch: Launcher = Box::new(move |launch| {
            let (config, core) = (config.clone(), core.clone());
            let hearing = policies.hear(&core, &launch.spec.process);
            let at_hand = hearing.at_hand();
            let make = move || parts::kernel(&config, at_hand(core.now()));
            match plant {
                Plant::FailOpen => run_told(launch, rules, hearing.signals, move || FailOpen { stage: make() }),
                Plant::OtherInput => run_told(launch, rules, hearing.signals, move || OtherInput { stage: make() }),
                Plant::RevokedLives => run_told(launch, rules, hearing.signals, move || RevokedLives { stage: make() }),
                Plant::SameLife => run_told(launch, rules, hearing.signals, move || SameLife { stage: make() }),
                Plant::OrderIgnored => {
                    run_told(launch, rules, hearing.signals, move || WishLost { stage: make(), lost: Wish::Order })
                }
                Plant::SelectorIgnored => {
                    run_told(launch, rules, hearing.signals, move || WishLost { stage: make(), lost: Wish::Selector })
                }
                Plant::Nothing
                | Plant::StaleToken
                | Plant::TicketUnchecked
                | Plant::LostCancel
                | Plant::StrikesForgotten
                | Plant::ShareIgnored
                | Plant::LostSpend
                | Plant::ExpiredRuns
                | Plant::OutOfTurn
                | Plant::NeverRises
                | Plant::ProgressUnheard
                | Plant::ExpiredStarts => run_told(launch, rules, hearing.signals, make),
            }
        });
        shards.push(Shard { spec: spec.clone(), launch });
    }
    for (shard, spec) in &leases {
        shards.push(Shard { spec: spec.clone(), launch: scheduling(&pool, *shard, rules, plant) });
    }
    let lender = parts::limits_spec(seed, terms.shards);
    if terms.shards > 1 {
        let launch: Launcher = Box::new(move |launch| run_of(launch, rules, move || parts::limits(terms.shards)));
        shards.push(Shard { spec: lender.clone(), launch });
    }
    for (shard, (_, spec)) in (0..).zip(&kernels) {
        load::submit((seed, terms.contended), shard, &stand.core, &stand.spine, &spec.inputs[0].partition, LOAD_US);
    }
    let (executions, members) = (Arc::new(Executions::default()), Arc::new(Members::default()));
    worker::start_all((seed, terms), &stand.core, &stand.spine, (&executions, &members), plant, CALM_US);
    people::attend(seed, &stand.core, &stand.spine, CALM_US + 2_000_000);
    liars::tell(seed, &stand.core, &stand.spine, 500_000, CALM_US + 1_000_000);
    forgers::forge(seed, &stand.core, &stand.spine, 300_000..CALM_US + 1_000_000);
    redrives::redrive(seed, &stand.core, &stand.spine, 600_000, CALM_US + 1_000_000);
    let specs: Vec<&ShardSpec> = kernels.iter().map(|(_, spec)| spec).chain(leases.iter().map(|(_, s)| s)).collect();
    cuts::begin(seed, &stand.core, &stand.spine, &specs, CALM_US - 500_000);
    if terms.shards > 1 {
        let borrowing: Vec<_> = leases.iter().map(|(_, spec)| spec).collect();
        cuts::lose_lent(seed, &stand.core, &stand.spine, &[&lender], &borrowing);
    }
    let world = stand.world(shards);
    stand.run(&world, QUIET_US, |broker, verdicts| {
        let mut allowed = AllAllowed::new();
        let (mut judged, mut records) = (Judged::default(), 0);
        let (mut decisions, mut asked, mut gone) = (Vec::new(), Wishes::new(), BTreeSet::new());
        for (config, spec) in &kernels {
            let found = judge::kernel_shard(broker, (config, terms.shards), spec, &mut allowed, verdicts);
            judged.snapshots += found.snapshots;
            *judged.tried.entry("held jobs released").or_default() += found.released;
            wishes::read(broker, &spec.inputs[0].partition, config.source.name(), &found.inputs, &mut asked);
            gone.extend(judge::lost_outcomes(broker, spec, &found.groups));
            records += cuts::records_given_up(broker, spec, &found.groups);
            decisions.push(found.groups);
        }
        let released = wishes::released(broker);
        let (mut groups, mut turns) = (Vec::new(), 0);
        let (mut asks_lost, mut asked_again) = (0, 0);
        for (shard, spec) in &leases {
            let (compared, of_shard) =
                scheduler_shard(broker, (&pool, *shard, terms), spec, (&allowed, &asked), verdicts);
            records += cuts::records_given_up(broker, spec, &of_shard);
            asked_again += asking::check(spec, &of_shard, verdicts);
            if terms.contended {
                turns += turns::check(&of_shard, &released, verdicts);
            }
            judged.snapshots += compared;
            groups.extend(of_shard);
        }
        if terms.shards > 1 {
            let (compared, lost) = shares::lender(broker, &lender, terms.shards, verdicts);
            judged.snapshots += compared;
            asks_lost += lost;
        }
        shares::check(&groups, terms, verdicts);
        let tried = [
            ("leases for whoever's turn it was", turns),
            ("leases of a key that others have", lines::check(&groups, &released, &asked, verdicts)),
            ("leases that ask for labels", members.check(&groups, &asked, verdicts)),
        ];
        judged.tried.extend(tried);
        let given_up = decisions.iter().map(|groups| cuts::given_up(groups)).sum::<u64>() + cuts::given_up(&groups);
        judged.tried.extend([
            ("runs in which everything is written twice", u64::from(storms)),
            ("ranges of inputs given up", given_up),
            ("records of control inputs lost and given up", records),
            ("requests for limits lost and given up", asks_lost),
            ("requests for limits asked again", asked_again),
            ("lives of workers with wrong clocks", members.wrong_clocks()),
            ("workers that rose above an earlier life", members.risen()),
        ]);
        let executions = executions.all();
        let missing = lives::check(decisions.iter().map(Vec::as_slice), &groups, &gone, verdicts);
        judged.tried.insert("jobs that were lost on their way back and given up", missing);
        judge::check_executions(&executions, &allowed, verdicts);
        judge::check_ends(broker, &kernels, &allowed, &groups, &executions, verdicts);
        judged
    })
}

/// A scheduler's shard with what is planted.
fn scheduling(pool: &Arc<Pool>, shard: u32, rules: Rules, plant: Plant) -> Launcher {
    let pool = pool.clone();
    let make = move || parts::scheduler(&pool, shard);
    match plant {
        Plant::StaleToken => Box::new(move |launch| {
            let make = make.clone();
            run_of(launch, rules, move || AnyToken::new(make()))
        }),
        Plant::LostCancel => Box::new(move |launch| {
            let make = make.clone();
            run_of(launch, rules, move || Forgetful::new(make(), Forgets::Cancels))
        }),
        Plant::ExpiredRuns => Box::new(move |launch| {
            let make = make.clone();
            run_of(launch, rules, move || RunsExpired { stage: make() })
        }),
        Plant::ProgressUnheard => Box::new(move |launch| {
            let make = make.clone();
            run_of(launch, rules, move || Unheard { stage: make() })
        }),
        Plant::StrikesForgotten => Box::new(move |launch| {
            let make = make.clone();
            run_of(launch, rules, move || Forgetful::new(make(), Forgets::Strikes))
        }),
        Plant::LostSpend => Box::new(move |launch| {
            let make = make.clone();
            run_of(launch, rules, move || Forgetful::new(make(), Forgets::Spends))
        }),
        Plant::Nothing
        | Plant::FailOpen
        | Plant::OtherInput
        | Plant::TicketUnchecked
        | Plant::ExpiredStarts
        | Plant::RevokedLives
        | Plant::SameLife
        | Plant::OrderIgnored
        | Plant::SelectorIgnored
        | Plant::OutOfTurn
        | Plant::NeverRises
        | Plant::ShareIgnored => Box::new(move |launch| run_of(launch, rules, make.clone())),
    }
}
