//! No window of any limit is exceeded, every job gets its verdict, and each of its spends is settled once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidegate_kernel::KernelConfig;
use tidegate_limits_hammer::ledger::Ledger;
use tidegate_protocol::address::TopicPartition;
use tidegate_protocol::facts::{KernelFact, SchedulerFact};
use tidegate_protocol::job::SourcePosition;
use tidegate_protocol::limits::{
    Amount, LimitDefinition, LimitId, LimitKind, LimitRequest, LimitUse, LimitsFact, Spend,
};
use tidegate_stage::{ShardSpec, Stage};

use super::parts::{self, KERNELS};
use crate::fleet::{cuts, parts as fleet};
use crate::ledger::facts::{ValidGroup, valid};
use crate::ledger::verdicts::{Invariant, Verdicts};
use crate::ledger::{asking, replay, settling};
use crate::plants::LimitsPlant;
use crate::spine::Broker;

/// One that was let run: its spends, by the kernel's stamp and the true time they landed at.
struct Spending {
    source: SourcePosition,
    spends: Vec<Spend>,
    stamp: u64,
    landed: u64,
}

/// What all kernel shards said of limits.
#[derive(Default)]
pub struct Account {
    spendings: Vec<Spending>,
    definitions: BTreeMap<(LimitId, Box<str>), LimitDefinition>,
    given_up: u64,
    asks_lost: u64,
    asked_again: u64,
}

impl Account {
    /// Ranges of inputs that shards of limits and kernels lost and an operator gave up.
    #[must_use]
    pub const fn given_up(&self) -> u64 {
        self.given_up
    }

    /// Requests for limits that were lost and given up, and those that were asked while another was not answered.
    #[must_use]
    pub const fn asks(&self) -> (u64, u64) {
        (self.asks_lost, self.asked_again)
    }

    /// How long a job that took so much may be waited for, microseconds.
    fn longest(&self, spends: &[Spend]) -> u64 {
        let known = spends.iter().filter_map(|spend| self.definitions.get(&(spend.limit.clone(), spend.key.clone())));
        let settling = known.filter(|definition| definition.kind.settles());
        let longest = settling.map(|definition| definition.effective().1).max().unwrap_or_default();
        u64::try_from(longest.as_micros()).unwrap()
    }
}

fn landed<F>(broker: &Broker, log: &TopicPartition, group: &ValidGroup<F>) -> u64 {
    let log = broker.log(log);
    let at = log.partition_point(|stored| stored.record.offset < group.offset);
    log.get(at).map_or(0, |stored| stored.at)
}

/// Judges one kernel shard (replayed with what is planted, so that the ledger has to find it), and takes into `account` what it spent. The number of snapshots compared.
pub fn kernel_shard(
    broker: &Broker,
    config: &KernelConfig,
    spec: &ShardSpec,
    plant: LimitsPlant,
    account: &mut Account,
    verdicts: &mut Verdicts,
) -> usize {
    let groups = valid::<KernelFact>(broker.log(&spec.facts), spec.sender.as_str());
    settling::check(broker, spec, &groups, verdicts);
    account.given_up += cuts::given_up(&groups);
    account.asked_again += asking::check(spec, &groups, verdicts);
    let mut waiting: BTreeSet<SourcePosition> = BTreeSet::new();
    let mut settled: BTreeSet<SourcePosition> = BTreeSet::new();
    let mut decided: BTreeSet<SourcePosition> = BTreeSet::new();
    // Jobs whose end the kernel waits for, and until when what they took can count.
    let mut open: BTreeMap<SourcePosition, u64> = BTreeMap::new();
    for group in &groups {
        let landed = landed(broker, &spec.facts, group);
        for record in &group.group.facts {
            if let KernelFact::SliceRequested { request } = &record.fact
                && let LimitRequest::Ask { limit, key, definition, .. } = &**request
            {
                account.definitions.insert((limit.clone(), key.clone()), definition.clone());
            } else if let KernelFact::JobDeferred { job, .. } = &record.fact {
                waiting.insert(job.source.clone());
            } else if let KernelFact::SpendSettled { told } = &record.fact {
                verdicts.must(settled.insert(told.source.clone()), Invariant::I4, || {
                    format!("{}: the spends of {} are settled twice", spec.sender, told.source)
                });
                open.remove(&told.source);
            } else if let KernelFact::RecordRedriven { source, .. } = &record.fact {
                let counts =
                    |(of, until): &(&SourcePosition, &u64)| of.offset == source.offset && **until > record.at.0;
                let unsettled = open.iter().find(counts);
                verdicts.must(unsettled.is_none(), Invariant::I4, || {
                    format!("{source} was redriven while what an earlier life took is not settled: {unsettled:?}")
                });
            } else if let KernelFact::JobDecided { job, decision, spends, .. } = &record.fact {
                verdicts.must(decided.insert(job.source.clone()), Invariant::I4, || {
                    format!("{} is decided twice", job.source)
                });
                waiting.remove(&job.source);
                if !spends.is_empty() {
                    let (source, spends, stamp) = (job.source.clone(), spends.clone(), record.at.0);
                    if decision.settles {
                        open.insert(source.clone(), stamp + account.longest(&spends));
                    }
                    account.spendings.push(Spending { source, spends, stamp, landed });
                }
            }
        }
    }
    for source in waiting {
        verdicts.must_in_the_end(false, Invariant::I1, || format!("{source} waits for limits and gets no verdict"));
    }
    replay::check(
        broker.log(&fleet::named("snapshots").partition(0)),
        spec.sender.as_str(),
        &groups,
        &|| parts::kernel(config, plant),
        verdicts,
    )
}

/// Judges one limits shard. The number of snapshots compared.
pub fn limits_shard(
    broker: &Broker,
    spec: &ShardSpec,
    plant: LimitsPlant,
    account: &mut Account,
    verdicts: &mut Verdicts,
) -> usize {
    let groups = valid::<LimitsFact>(broker.log(&spec.facts), spec.sender.as_str());
    settling::check(broker, spec, &groups, verdicts);
    account.given_up += cuts::given_up(&groups);
    account.asks_lost += cuts::records_given_up(broker, spec, &groups);
    let config = parts::limits_config();
    let mut replayed = parts::limits(&config, plant);
    for fact in groups.iter().flat_map(|group| &group.group.facts) {
        replayed.apply(&fact.fact, fact.at);
    }
    let impossible = replayed.impossible_facts();
    verdicts.must(impossible == 0, Invariant::I7, || {
        format!("{}: {impossible} facts could not follow from what stands before them", spec.sender)
    });
    replay::check(
        broker.log(&fleet::named("snapshots").partition(0)),
        spec.sender.as_str(),
        &groups,
        &|| parts::limits(&config, plant),
        verdicts,
    )
}

/// The scheduler's part: when each job ended, in true time.
pub fn ends(broker: &Broker, spec: &ShardSpec, verdicts: &mut Verdicts) -> BTreeMap<SourcePosition, u64> {
    let groups = valid::<SchedulerFact>(broker.log(&spec.facts), spec.sender.as_str());
    settling::check(broker, spec, &groups, verdicts);
    let mut ends = BTreeMap::new();
    for group in &groups {
        let landed = landed(broker, &spec.facts, group);
        for record in &group.group.facts {
            if let SchedulerFact::JobFinished { source, .. } | SchedulerFact::JobDuplicate { source, .. } = &record.fact
            {
                ends.insert(source.clone(), landed);
            }
        }
    }
    ends
}

/// The exact account of every key over all shards.
pub fn windows(account: &Account, ends: &BTreeMap<SourcePosition, u64>, verdicts: &mut Verdicts) {
    let keys: Vec<LimitUse> = account
        .definitions
        .iter()
        .map(|((limit, key), definition)| LimitUse {
            limit: limit.clone(),
            definition: Arc::new(definition.clone()),
            key: key.clone(),
            amount: Amount::ONE,
            member: None,
        })
        .collect();
    let number = |spend: &Spend| keys.iter().position(|key| key.limit == spend.limit && key.key == spend.key);
    let open_for = |key: usize| u64::try_from(keys[key].definition.effective().1.as_micros()).unwrap();
    let budgets = |key: usize| keys[key].definition.kind == LimitKind::Budget;
    let mut ledger = Ledger::new(keys.len());
    for Spending { source, spends, stamp, landed } in &account.spendings {
        // Each life of a record is a job of its own.
        let of = (source.partition as usize + (KERNELS * source.redrive) as usize, source.offset);
        let known: Vec<(usize, &Spend)> = spends.iter().filter_map(|spend| Some((number(spend)?, spend))).collect();
        verdicts.must(known.len() == spends.len(), Invariant::I3, || format!("{source} took of what nobody asked for"));
        ledger.spent(of, &known, open_for, *stamp, *landed);
        if let Some(ended) = ends.get(source) {
            // Without workers nothing runs: what was reserved of budgets was not used.
            ledger.ended(of, 0, &budgets, *ended);
        }
    }
    if let Err(violation) = ledger.check(&keys) {
        verdicts.broken(Invariant::I3, || violation.to_string());
    }
}
