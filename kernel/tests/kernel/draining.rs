//! Children of jobs that a draining pool runs: without them their parents could not end.

use std::sync::Arc;

use tidegate_kernel::{Pool, Routes};
use tidegate_protocol::facts::KernelFact;
use tidegate_protocol::outcome::DeadReason;
use tidegate_stage::{Signal, Stage};

use crate::delegation::{POLICY, SEARCH, SEARCHER, child, decided, envelope, grant, planner, run, shard, ticket};
use crate::shard::{Outcome, Shard, pool};
use crate::tickets::STAMP;

const ALL: [&str; 4] = ["plan", "pay", "search", "gpu"];

/// The shard's next owner, by whose configuration these are the pools.
fn next_owner(shard: &mut Shard, pools: Vec<Pool>) {
    shard.config.routes = Arc::new(Routes::new(pools, "tidegate.").unwrap());
    shard.kernel = shard.replayed();
    shard.policy(POLICY);
    shard.kernel.observe(Signal::Owner { epoch: STAMP.epoch }, shard.at);
}

fn draining(name: &str) -> Pool {
    Pool { draining: true, ..pool(name, &ALL, &[]) }
}

fn sent_to(outcome: &Outcome) -> String {
    decided(outcome).2.unwrap_or_else(|| panic!("not released: {outcome:?}")).to.topic.to_string()
}

fn unroutable(outcome: &Outcome) -> bool {
    matches!(outcome.facts.last(), Some(KernelFact::RecordRejected { reason: DeadReason::Unroutable, detail, .. })
        if detail.ends_with("pool `agents` would, but is draining"))
}

#[test]
fn a_draining_pool_takes_children_of_its_own_jobs_however_deep() {
    let mut shard = shard();
    let parent = planner(&mut shard, "");
    next_owner(&mut shard, vec![draining("agents")]);
    let late = run(&mut shard, &child(&parent, &envelope("late", SEARCHER)));
    assert_eq!(sent_to(&late), "tidegate.approved.agents");
    let below = run(&mut shard, &child(&ticket(&late), &envelope("below", SEARCH)));
    assert_eq!(sent_to(&below), "tidegate.approved.agents");
    let root = shard.job(&envelope("root", SEARCH));
    assert!(unroutable(&root), "{root:?}");
}

#[test]
fn a_child_that_waited_for_its_limits_goes_to_its_parents_draining_pool_where_no_open_one_takes_it() {
    let mut shard = shard();
    let parent = planner(&mut shard, "");
    let waits = shard.job(&child(&parent, &envelope("early", SEARCH)));
    assert!(matches!(waits.facts.last(), Some(KernelFact::JobDeferred { .. })), "{waits:?}");
    next_owner(&mut shard, vec![draining("agents")]);
    assert_eq!(sent_to(&grant(&mut shard, &waits, None)), "tidegate.approved.agents");
    next_owner(&mut shard, vec![draining("agents"), pool("open", &ALL, &[])]);
    let elsewhere = run(&mut shard, &child(&parent, &envelope("elsewhere", SEARCH)));
    assert_eq!(sent_to(&elsewhere), "tidegate.approved.open");
}

#[test]
fn a_draining_pool_takes_no_children_of_other_pools_jobs_or_it_would_never_be_empty() {
    let mut shard = shard();
    next_owner(&mut shard, vec![pool("plans", &["plan"], &[]), draining("agents")]);
    let parent = planner(&mut shard, "");
    let spawned = run(&mut shard, &child(&parent, &envelope("c", SEARCH)));
    assert!(unroutable(&spawned), "{spawned:?}");
}
