//! A shard of a pool of two, whose limits are lent to it.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod driver;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use tidegate_protocol::facts::{SchedulerFact, Token};
use tidegate_protocol::ids::{Capability, TenantId};
use tidegate_protocol::limits::{Amount, LimitAnswer, LimitRequest};
use tidegate_protocol::outcome::Outcome;
use tidegate_protocol::time::Timestamp;
use tidegate_scheduler::{CapabilityLimit, Layout, Lending, Pool, TenantShare, Tuning};

use tidegate_stage::Stage;

use driver::{Says, Shard, Step, Way, approved, capabilities, held, job, layout, position};

fn two_shards() -> Layout {
    Layout { shards: 2, ..layout() }
}

fn tuning(share: TenantShare) -> Tuning {
    Tuning { tenants: BTreeMap::from([(TenantId::new("a").unwrap(), share)]), ..Tuning::default() }
}

fn at_once(most: u32) -> Tuning {
    tuning(TenantShare { max_leased: Some(most), ..TenantShare::default() })
}

fn of(tenant: &str, offset: u64) -> Bytes {
    let mut job = job(&format!("j{offset}"), offset);
    job.tenant = TenantId::new(tenant).unwrap();
    approved(&job, "1")
}

fn says(epoch: u64) -> Says {
    Says { epoch, credit: 99, capacity: 9, ..Says::of("w") }
}

fn begin(tuning: &Tuning) -> Shard {
    let mut shard = Shard::new(two_shards(), tuning);
    shard.report(&says(1).hello());
    shard.report(&says(1).heartbeat());
    shard
}

fn leased(step: &Step) -> Vec<u64> {
    let granted = step.facts.iter().filter_map(|fact| {
        if let SchedulerFact::LeaseGranted { source, .. } = fact { Some(source.offset) } else { None }
    });
    granted.collect()
}

fn asks(step: &Step) -> Vec<LimitRequest> {
    let asked = step.facts.iter().filter_map(|fact| {
        if let SchedulerFact::SliceRequested { request } = fact { Some((**request).clone()) } else { None }
    });
    asked.collect()
}

/// How much is given back, in units.
fn returns(step: &Step) -> Vec<u64> {
    let returned = step.facts.iter().filter_map(|fact| {
        let SchedulerFact::SliceReturned { request } = fact else { return None };
        let LimitRequest::Return { free, .. } = &**request else { panic!("{request:?}") };
        Some(free.0 / Amount::ONE.0)
    });
    returned.collect()
}

fn units(n: u64) -> Amount {
    Amount::units(n).unwrap()
}

/// So much is granted of what was asked, for half a minute.
fn granted(shard: &Shard, ask: &LimitRequest, amount: u64) -> LimitAnswer {
    let LimitRequest::Ask { id, holding, limit, key, .. } = ask else { panic!("{ask:?}") };
    LimitAnswer::Granted {
        request: *id,
        holding: *holding,
        limit: limit.clone(),
        key: key.clone(),
        amount: units(amount),
        until: shard.at + Duration::from_secs(30),
        from: Timestamp(0),
        again: None,
        probe: false,
        refused: None,
    }
}

fn recalled(ask: &LimitRequest, amount: u64, owed: u64) -> LimitAnswer {
    let LimitRequest::Ask { holding, limit, key, .. } = ask else { panic!("{ask:?}") };
    let (amount, owed) = (units(amount), units(owed));
    LimitAnswer::Recalled { holding: *holding, limit: limit.clone(), key: key.clone(), amount, owed }
}

fn ends(shard: &mut Shard, offset: u64) -> Step {
    let token = Token { epoch: shard.epoch, attempt: 1 };
    let report = says(shard.epoch).result(position(offset), token, Outcome::Succeeded);
    shard.report(&report)
}

/// With the tenant's first ask answered by so many places, its jobs 1 to 4 and another's 5.
fn with_places(most: u32, places: u64) -> (Shard, LimitRequest, Step) {
    let mut shard = begin(&at_once(most));
    for offset in 1..=4 {
        shard.approved(of("a", offset));
    }
    shard.approved(of("b", 5));
    let step = shard.poll();
    let [ask] = &asks(&step)[..] else { panic!("{step:?}") };
    assert_eq!(leased(&step), [5], "nobody else waits for what is asked");
    let answer = granted(&shard, ask, places);
    shard.answer(&answer);
    let step = shard.poll();
    (shard, ask.clone(), step)
}

#[test]
fn a_job_waits_for_its_slice_and_for_nobody_elses_and_no_more_are_leased_than_are_lent() {
    let (mut shard, ask, step) = with_places(3, 2);
    let LimitRequest::Ask { need, want, tenant, .. } = &ask else { panic!("{ask:?}") };
    assert_eq!((*need, tenant.as_str()), (units(1), "a"));
    assert!(*want >= *need && *want <= units(3), "{want}");
    assert_eq!(leased(&step), [1, 2]);
    let spends = step.facts.iter().filter_map(|fact| {
        if let SchedulerFact::LeaseGranted { spends, .. } = fact { Some(spends.len()) } else { None }
    });
    assert_eq!(spends.collect::<Vec<_>>(), [1, 1]);
    assert_eq!(asks(&step).len(), 1, "for the third; while that is on its way nothing more");
    assert_eq!(shard.stage.gauges().slices_awaited, 1);
    ends(&mut shard, 1);
    assert_eq!(leased(&shard.poll()), [3], "a place that is held is taken again");
}

#[test]
fn what_is_held_and_taken_is_known_to_the_next_owner() {
    for way in [Way::Replay, Way::Snapshot] {
        let (mut shard, _, _) = with_places(3, 2);
        shard.takeover(way, 2);
        shard.read();
        let token = Token { epoch: 1, attempt: 1 };
        let running = vec![held(1, token), held(2, token), held(5, token)];
        shard.report(&says(2).hello());
        shard.report(&Says { running, ..says(2) }.heartbeat());
        assert!(leased(&shard.poll()).is_empty());
        shard.report(&says(2).result(position(1), token, Outcome::Succeeded));
        assert_eq!(leased(&shard.poll()), [3]);
    }
}

#[test]
fn a_lease_that_ends_in_any_way_frees_its_place() {
    let (mut shard, _, _) = with_places(2, 2);
    let token = Token { epoch: 1, attempt: 1 };
    shard.report(&says(1).give_back(position(1), token));
    let other = Says { name: "v".into(), ..says(1) };
    shard.report(&other.hello());
    shard.report(&other.heartbeat());
    assert_eq!(leased(&shard.poll()), [1], "given back");
    let mut failed = says(1).result(position(2), token, Outcome::Failed);
    if let tidegate_protocol::fleet::Report::Result { retryable, .. } = &mut failed {
        *retryable = true;
    }
    shard.report(&failed);
    assert_eq!(leased(&shard.poll()), [3], "tried again later");
    shard.report(&Says { incarnation: 2, ..other.clone() }.hello());
    shard.report(&Says { incarnation: 2, ..other }.heartbeat());
    assert_eq!(leased(&shard.poll()).len(), 2, "their worker began anew: both, and no more");
}

#[test]
fn what_is_not_in_use_goes_back_when_others_need_it() {
    let (mut shard, ask, _) = with_places(8, 6);
    assert_eq!(returns(&shard.answer(&recalled(&ask, 4, 0))), [2], "four are in use");
    ends(&mut shard, 1);
    assert_eq!(returns(&shard.answer(&recalled(&ask, 4, 0))), [1]);
}

#[test]
fn what_is_owed_goes_back_as_it_comes_free_instead_of_being_taken_again_and_not_for_ever() {
    let (mut shard, ask, _) = with_places(2, 2);
    assert!(returns(&shard.answer(&recalled(&ask, 1, 1))).is_empty(), "both are in use");
    ends(&mut shard, 1);
    let step = shard.poll();
    assert_eq!((returns(&step), leased(&step)), (vec![1], Vec::new()));
    ends(&mut shard, 2);
    assert_eq!(leased(&shard.poll()), [3], "the other place stays its own");
    // Somebody else is owed one more, and asks no further.
    shard.answer(&recalled(&ask, 1, 1));
    shard.wait(Duration::from_secs(2));
    shard.tick();
    ends(&mut shard, 3);
    assert_eq!(leased(&shard.poll()), [4]);
}

#[test]
fn what_one_shard_is_owed_is_not_taken_back_by_the_recalls_of_others() {
    let (mut shard, ask, _) = with_places(4, 4);
    // For three others: the first wants two of what is in use, the next one, the last only what is not in use.
    for owed in [2, 1, 0] {
        assert!(returns(&shard.answer(&recalled(&ask, 2, owed))).is_empty(), "all are in use, and two are owed");
    }
    for offset in 6..=9 {
        shard.approved(of("a", offset));
    }
    for offset in [1, 2] {
        ends(&mut shard, offset);
        let step = shard.poll();
        assert_eq!((returns(&step), leased(&step)), (vec![1], Vec::new()), "{offset}");
    }
    ends(&mut shard, 3);
    assert_eq!(leased(&shard.poll()), [6], "all is paid");
}

#[test]
fn a_recall_of_a_former_holding_is_no_debt_of_the_present_one() {
    let (mut shard, ask, _) = with_places(2, 2);
    let mut stale = recalled(&ask, 1, 1);
    if let LimitAnswer::Recalled { holding, .. } = &mut stale {
        *holding += 1;
    }
    assert_eq!(returns(&shard.answer(&stale)), [0], "that it has none of that");
    ends(&mut shard, 1);
    assert_eq!(leased(&shard.poll()), [3]);
}

#[test]
fn a_limits_stage_that_does_not_answer_is_said_and_everybody_else_runs() {
    let mut shard = begin(&at_once(2));
    shard.approved(of("a", 1));
    let step = shard.poll();
    let [ask] = &asks(&step)[..] else { panic!("{step:?}") };
    assert!(!shard.stage.gauges().limits_silent);
    shard.wait(Duration::from_secs(5));
    assert!(shard.stage.next_due().is_some_and(|due| due <= shard.at));
    let again = asks(&shard.tick());
    shard.report(&says(1).heartbeat());
    shard.approved(of("b", 2));
    assert_eq!(leased(&shard.poll()), [2]);
    assert!(shard.stage.gauges().limits_silent);
    let answer = granted(&shard, ask, 1);
    shard.answer(&answer);
    assert!(shard.stage.gauges().limits_silent, "it was asked again since");
    let [again] = &again[..] else { panic!("{again:?}") };
    let answer = granted(&shard, again, 1);
    shard.answer(&answer);
    assert!(!shard.stage.gauges().limits_silent);
    assert_eq!(leased(&shard.poll()), [1]);
}

#[test]
fn a_place_that_is_granted_and_recalled_at_once_is_used_by_the_job_that_waited_and_goes_back_then() {
    let mut shard = begin(&at_once(1));
    shard.approved(of("a", 1));
    shard.approved(of("a", 2));
    let step = shard.poll();
    let [ask] = &asks(&step)[..] else { panic!("{step:?}") };
    let (answer, recall) = (granted(&shard, ask, 1), recalled(ask, 1, 1));
    shard.answer(&answer);
    assert!(returns(&shard.answer(&recall)).is_empty());
    assert_eq!(leased(&shard.poll()), [1]);
    ends(&mut shard, 1);
    let step = shard.poll();
    assert_eq!((returns(&step), leased(&step)), (vec![1], Vec::new()));
}

#[test]
fn leases_of_before_a_limit_was_changed_count_towards_the_changed_one() {
    // Of four that are leased, under no limit, a higher one, and a lower one.
    for before in [None, Some(4)] {
        for way in [Way::Replay, Way::Snapshot] {
            let (mut shard, running) = four_leased(before);
            shard.change(two_shards(), &at_once(2));
            shard.takeover(way, 2);
            shard.read();
            shard.report(&says(2).hello());
            shard.report(&Says { running, ..says(2) }.heartbeat());
            for offset in 6..=9 {
                shard.approved(of("a", offset));
            }
            let step = shard.poll();
            assert_eq!((leased(&step), asks(&step).len()), (Vec::new(), 0), "four are more than two");
            for offset in 1..=3 {
                ends_of(&mut shard, offset);
            }
            // One of before is left, and one may begin when both have their places.
            let step = shard.poll();
            let [ask] = &asks(&step)[..] else { panic!("{before:?}: {step:?}") };
            assert!(matches!(ask, LimitRequest::Ask { need, .. } if *need == units(2)), "{ask:?}");
            let answer = granted(&shard, ask, 2);
            shard.answer(&answer);
            assert_eq!(leased(&shard.poll()), [6]);
            ends_of(&mut shard, 4);
            assert_eq!(leased(&shard.poll()), [7]);
        }
    }
}

/// Jobs 1 to 4 of a tenant, leased under so high a limit or none, and another's job 5; and what their worker says of them.
fn four_leased(most: Option<u32>) -> (Shard, Vec<tidegate_protocol::fleet::Held>) {
    let mut shard = match most {
        Some(most) => with_places(most, 4).0,
        None => begin(&Tuning::default()),
    };
    if most.is_none() {
        for offset in 1..=4 {
            shard.approved(of("a", offset));
        }
        shard.approved(of("b", 5));
        assert_eq!(leased(&shard.poll()).len(), 5);
    }
    let token = Token { epoch: 1, attempt: 1 };
    (shard, (1..=5).map(|offset| held(offset, token)).collect())
}

/// The job of an offset ends that the first owner leased.
fn ends_of(shard: &mut Shard, offset: u64) {
    let token = Token { epoch: 1, attempt: 1 };
    shard.report(&says(shard.epoch).result(position(offset), token, Outcome::Succeeded));
}

#[test]
fn a_holding_that_nobody_uses_goes_back_when_its_time_is_over() {
    let (mut shard, ..) = with_places(4, 4);
    for offset in 1..=4 {
        ends(&mut shard, offset);
    }
    shard.wait(Duration::from_secs(31));
    shard.report(&says(1).heartbeat());
    assert_eq!(returns(&shard.tick()), [4]);
}

#[test]
fn a_rate_is_a_burst_in_its_window() {
    let ten = TenantShare { per_second: Some(10), burst: Some(2), ..TenantShare::default() };
    let mut shard = begin(&tuning(ten));
    for offset in 1..=30 {
        shard.approved(of("a", offset));
    }
    let step = shard.poll();
    let [ask] = &asks(&step)[..] else { panic!("{step:?}") };
    let answer = granted(&shard, ask, 2);
    shard.answer(&answer);
    let (began, mut started) = (shard.at, Vec::new());
    while shard.at.since(began) < Duration::from_millis(995) {
        if shard.stage.next_due().is_some_and(|due| due <= shard.at) {
            shard.tick();
        }
        shard.report(&Says { capacity: 100, ..says(1) }.heartbeat());
        started.extend(leased(&shard.poll()));
        shard.wait(Duration::from_millis(3));
    }
    assert_eq!(started, (1..=10).collect::<Vec<_>>());
}

#[test]
fn starts_that_are_owed_go_back_when_those_that_kept_them_have_passed_though_nothing_else_happens() {
    let two = TenantShare { per_second: Some(20), burst: Some(2), ..TenantShare::default() };
    let lending = Lending { skew: Duration::from_millis(100), ..Lending::default() };
    let mut shard = Shard::new(Layout { lending, ..two_shards() }, &tuning(two));
    shard.report(&says(1).hello());
    shard.report(&says(1).heartbeat());
    for offset in 1..=2 {
        shard.approved(of("a", offset));
    }
    let step = shard.poll();
    let [ask] = &asks(&step)[..] else { panic!("{step:?}") };
    let answer = granted(&shard, ask, 2);
    shard.answer(&answer);
    assert_eq!(leased(&shard.poll()), [1, 2]);
    let began = shard.at;
    assert!(returns(&shard.answer(&recalled(ask, 1, 1))).is_empty(), "both have just been used");
    assert!(returns(&shard.poll()).is_empty());
    let mut looks = 0;
    let paid = loop {
        let due = shard.stage.next_due().unwrap();
        assert!(due.since(began) < Duration::from_secs(1), "not while it is owed");
        looks += 1;
        assert!(looks <= 8, "look {looks} at {:?}: {due:?} is due", shard.at);
        shard.wait(due.since(shard.at));
        shard.tick();
        let paid = returns(&shard.poll());
        if !paid.is_empty() {
            break paid;
        }
    };
    // Their window and the clocks' allowance are over.
    assert!(shard.at.since(began) >= Duration::from_millis(150), "{:?}", shard.at.since(began));
    assert_eq!(paid, [1]);
}

#[test]
fn jobs_of_a_capability_that_is_all_in_use_wait_and_those_of_others_do_not() {
    let limit = CapabilityLimit { max_leased: Some(1), ..CapabilityLimit::default() };
    let limits = BTreeMap::from([(Capability::new("gpu").unwrap(), limit)]);
    let tuning = Tuning { capabilities: limits, ..Tuning::default() };
    let says = |epoch| Says { capabilities: capabilities(&["echo", "gpu"]), ..says(epoch) };
    let needs = |offset: u64, tenant: &str, gpu: bool| {
        let mut job = job(&format!("j{offset}"), offset);
        job.tenant = TenantId::new(tenant).unwrap();
        job.requires = if gpu { capabilities(&["gpu"]) } else { Vec::new() };
        approved(&job, "1")
    };
    for shards in [1, 2] {
        for way in [Way::Replay, Way::Snapshot] {
            let mut shard = Shard::new(Layout { shards, ..layout() }, &tuning);
            shard.report(&says(1).hello());
            shard.report(&says(1).heartbeat());
            for offset in 1..=3 {
                shard.approved(needs(offset, ["a", "b"][offset as usize % 2], true));
            }
            shard.approved(needs(4, "a", false));
            let mut step = shard.poll();
            let mut all = leased(&step);
            if let [ask] = &asks(&step)[..] {
                assert_eq!(shards, 2);
                let answer = granted(&shard, ask, 1);
                shard.answer(&answer);
                step = shard.poll();
                all.extend(leased(&step));
            }
            all.sort_unstable();
            assert_eq!(all, [1, 4], "{shards} shards");
            shard.takeover(way, 2);
            shard.read();
            let token = Token { epoch: 1, attempt: 1 };
            shard.report(&says(2).hello());
            shard.report(&Says { running: vec![held(1, token), held(4, token)], ..says(2) }.heartbeat());
            assert!(leased(&shard.poll()).is_empty());
            shard.report(&says(2).result(position(1), token, Outcome::Succeeded));
            assert_eq!(leased(&shard.poll()).len(), 1);
        }
    }
}

#[test]
fn a_limit_that_shards_cannot_share_is_refused_with_its_reason() {
    let share = TenantShare { per_second: Some(5_000), burst: Some(1), ..TenantShare::default() };
    let error = Pool::new(two_shards(), &tuning(share)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "pool `p` has 2 shards, which cannot share a limit of tenant `a`: a burst of 1 at this rate lasts less than 1 ms; raise `burst`"
    );
    assert!(Pool::new(layout(), &tuning(share)).is_ok(), "one shard can");
}

#[test]
fn more_limited_capabilities_than_a_job_may_take_of_are_refused_by_name() {
    let limit = CapabilityLimit { max_leased: Some(1), ..CapabilityLimit::default() };
    let limits = |n: usize| {
        let named = (0..n).map(|n| (Capability::new(format!("c{n}")).unwrap(), limit));
        Tuning { capabilities: named.collect(), ..Tuning::default() }
    };
    assert!(Pool::new(two_shards(), &limits(Pool::MOST_LENT_CAPABILITIES)).is_ok());
    let error = Pool::new(two_shards(), &limits(Pool::MOST_LENT_CAPABILITIES + 1)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "pool `p`: `capabilities` is 32, but must be at most 31 that are limited in a pool of several shards; divide them over pools"
    );
    assert!(Pool::new(layout(), &limits(100)).is_ok(), "one shard counts for itself");
}
