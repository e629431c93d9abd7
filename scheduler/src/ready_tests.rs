//! The order of ready jobs, for the promises of its module.

use std::collections::BTreeMap;
use std::time::Duration;

use tidegate_protocol::ids::TenantId;
use tidegate_protocol::time::Timestamp;

use crate::driver::position;
use crate::placement::ClassId;
use crate::ready::{Claim, Ready};

const CLASS: ClassId = ClassId(1);
const AGING: Duration = Duration::from_secs(60);

fn tenant(name: &str) -> TenantId {
    TenantId::new(name).unwrap()
}

fn claim(tenant: &TenantId, priority: u8) -> Claim<'_> {
    Claim { tenant, weight: 1, leased_before: false, depth: 0, priority }
}

/// Serves the first job until none is left.
fn drain(ready: &mut Ready) -> Vec<u64> {
    let mut order = Vec::new();
    while let Some(source) = ready.head(CLASS).map(|(_, source)| source.clone()) {
        ready.serve(&source);
        order.push(source.offset);
    }
    order
}

#[test]
fn within_a_tenant_requeued_jobs_come_first_then_children_then_the_urgent_then_the_early() {
    let (mut ready, t) = (Ready::new(AGING), tenant("t"));
    for (offset, leased_before, child, priority) in [
        (1, false, false, 5),
        (2, false, false, 9),
        (3, true, false, 0),
        (4, false, false, 5),
        (5, true, false, 1),
        (6, false, false, 9),
        (7, false, true, 0),
        (8, false, false, 200),
    ] {
        let claim = Claim { leased_before, depth: u32::from(child), ..claim(&t, priority) };
        ready.insert(&position(offset), CLASS, claim, Timestamp(1));
    }
    assert_eq!(drain(&mut ready), [5, 3, 7, 2, 6, 8, 1, 4]);
    assert!(!ready.has(CLASS));
}

#[test]
fn a_job_that_waits_overtakes_a_newer_urgent_one_when_it_has_aged_by_the_difference() {
    let t = tenant("t");
    let after = |seconds: u64| Timestamp(1) + Duration::from_secs(seconds);
    for (aging, later, first) in [(AGING, 239, 2), (AGING, 241, 1), (Duration::ZERO, 1_000_000, 2)] {
        let mut ready = Ready::new(aging);
        ready.insert(&position(1), CLASS, claim(&t, 5), after(0));
        ready.insert(&position(2), CLASS, claim(&t, 9), after(later));
        assert_eq!(drain(&mut ready).first(), Some(&first), "{aging:?}, {later} s");
    }
}

#[test]
fn tenants_are_served_in_the_ratio_of_their_weights_however_much_each_submits() {
    let mut ready = Ready::new(AGING);
    let names = [("noisy", 1, 10_000), ("small", 1, 300), ("big", 3, 900)];
    let (mut offset, mut of) = (0, BTreeMap::new());
    for (name, weight, jobs) in names {
        let t = tenant(name);
        for _ in 0..jobs {
            offset += 1;
            of.insert(offset, name);
            // Even what is most urgent to the noisy one is so to nobody else.
            let priority = if name == "noisy" { 9 } else { 0 };
            ready.insert(&position(offset), CLASS, Claim { weight, ..claim(&t, priority) }, Timestamp(offset));
        }
    }
    let order = drain(&mut ready);
    for served in [50, 500, 1_500] {
        let mut counts = BTreeMap::<&str, i64>::new();
        for offset in order.iter().take(served) {
            *counts.entry(of[offset]).or_default() += 1;
        }
        let fair = i64::try_from(served).unwrap() / 5;
        for (name, weight, _) in names {
            let off = counts[name] - fair * i64::from(weight);
            assert!(off.abs() <= 2, "{name} got {} of {served}", counts[name]);
        }
    }
}

#[test]
fn a_tenant_that_comes_back_has_saved_nothing_up_and_owes_nothing() {
    let (mut ready, a, b) = (Ready::new(AGING), tenant("a"), tenant("b"));
    for offset in 1..=100 {
        ready.insert(&position(offset), CLASS, claim(&a, 5), Timestamp(1));
    }
    for _ in 0..50 {
        let source = ready.head(CLASS).unwrap().1.clone();
        ready.serve(&source);
    }
    for offset in 201..=210 {
        ready.insert(&position(offset), CLASS, claim(&b, 5), Timestamp(2));
    }
    let next: Vec<bool> = drain(&mut ready).into_iter().take(20).map(|offset| offset > 200).collect();
    let of_b = next.iter().filter(|is_b| **is_b).count();
    assert!((9..=10).contains(&of_b), "turn by turn from then on: {next:?}");
    assert!(next[..3].contains(&true) && next[..3].contains(&false), "{next:?}");
}

#[test]
fn a_blocked_tenant_heads_nothing_and_keeps_its_place() {
    let (mut ready, a, b) = (Ready::new(AGING), tenant("a"), tenant("b"));
    ready.insert(&position(1), CLASS, claim(&a, 5), Timestamp(1));
    ready.insert(&position(2), CLASS, claim(&b, 5), Timestamp(1));
    ready.block(&a, true);
    assert_eq!(ready.head(CLASS).map(|(_, source)| source.offset), Some(2));
    ready.serve(&position(2));
    assert!(ready.head(CLASS).is_none() && ready.has(CLASS));
    ready.insert(&position(3), CLASS, claim(&a, 9), Timestamp(1));
    assert!(ready.head(CLASS).is_none());
    ready.block(&a, false);
    assert_eq!(drain(&mut ready), [3, 1]);
}

#[test]
fn what_is_taken_out_unserved_costs_its_tenant_nothing_and_classes_are_told_of() {
    let (mut ready, a, b) = (Ready::new(AGING), tenant("a"), tenant("b"));
    let other = ClassId(2);
    ready.insert(&position(1), CLASS, claim(&a, 5), Timestamp(1));
    ready.insert(&position(2), CLASS, claim(&a, 5), Timestamp(1));
    ready.insert(&position(3), CLASS, claim(&b, 5), Timestamp(1));
    ready.insert(&position(4), other, claim(&a, 5), Timestamp(1));
    ready.take_touched();
    assert!(ready.remove(&position(1)) && !ready.remove(&position(1)));
    assert_eq!(ready.head(CLASS).map(|(_, source)| source.offset), Some(2), "a was not served");
    assert_eq!(ready.take_touched().into_iter().collect::<Vec<_>>(), [CLASS]);
    ready.serve(&position(2));
    assert_eq!(ready.take_touched().into_iter().collect::<Vec<_>>(), [CLASS, other], "a's turn moved in all classes");
}

#[test]
fn tenants_that_come_and_go_leave_nothing_behind() {
    let mut ready = Ready::new(AGING);
    let stays = tenant("stays");
    ready.insert(&position(0), ClassId(9), claim(&stays, 5), Timestamp(1));
    for n in 1..20_000 {
        let t = tenant(&format!("t{n}"));
        ready.insert(&position(n), CLASS, claim(&t, 5), Timestamp(n));
        ready.serve(&position(n));
        if n % 3 == 0 {
            let (source, other) = (position(100_000 + n), ClassId(9));
            ready.insert(&source, other, claim(&stays, 5), Timestamp(n));
            ready.serve(&source);
        }
    }
    assert!(ready.tenants_known() < 3_000, "{}", ready.tenants_known());
}
