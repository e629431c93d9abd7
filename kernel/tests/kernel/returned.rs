//! Jobs whose tickets expired while they waited for a worker.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::value::RawValue;
use tidegate_kernel::{INPUT_OUTCOMES, KeptBounds, Kernel, KernelConfig, Pool, Routes};
use tidegate_protocol::decision::{Decision, Verdict};
use tidegate_protocol::facts::KernelFact;
use tidegate_protocol::job::SourcePosition;
use tidegate_protocol::kept::{DeferredWhy, FactPlace, KeptAs, Replaced};
use tidegate_protocol::outcome::DeadReason;
use tidegate_protocol::returned::{JobReturned, Returned};
use tidegate_spine::Headers;
use tidegate_stage::{Message, Stage};

use crate::people::Ring;
use crate::shard::{Outcome, PLAIN, POLICY, Shard, config, pool, record, source, trusting};
use crate::tickets::{SENDER, sent};

const VALUE: &str =
    r#"{"id":"j1","tenant":"acme","topic":"job.pay.wire","capability":"pay","payload":{"amount": 20.50}}"#;
const TTL: Duration = Duration::from_secs(60);

fn configured() -> KernelConfig {
    let ring = Ring::read("node: stage/kernel\nother: stage/scheduler");
    let config = trusting(config(source(PLAIN), vec![pool("bank", &["pay"], &[])]), &ring);
    KernelConfig { ticket_ttl: TTL, ..config }
}

fn shard() -> Shard {
    let mut shard = Shard::new(configured());
    shard.policy(POLICY);
    shard
}

/// An allowed job and its record on `approved`.
fn allowed(shard: &mut Shard, value: &str) -> (Decision, String) {
    let Outcome { facts, messages, .. } = shard.job(value);
    let Some(KernelFact::JobDecided { decision, .. }) = facts.last() else { panic!("{facts:?}") };
    (decision.clone(), sent(&messages[0], "node", SENDER))
}

/// The scheduler gives it back after it was leased so often.
fn back(shard: &mut Shard, work: &str, attempts: u32) -> Outcome {
    let at = shard.at;
    let source: SourcePosition = "jobs.raw/0@0".parse().unwrap();
    let work = RawValue::from_string(work.to_owned()).unwrap();
    let back = JobReturned { v: 1, returned: Returned { source, attempts, strikes: attempts / 2, at }, work: &work };
    shard.feed(INPUT_OUTCOMES, record(Some(&serde_json::to_vec(&back).unwrap()), Headers::new()))
}

fn topics(messages: &[Message]) -> Vec<String> {
    messages.iter().map(|m| format!("{} #{}", m.to.topic.as_str(), m.ordinal)).collect()
}

fn same_after_replay(shard: &Shard) {
    let live = shard.kernel.snapshot().unwrap();
    assert_eq!(shard.replayed().snapshot().unwrap(), live, "replay gives other bytes");
    let mut restored = Kernel::new(shard.config.clone()).unwrap();
    restored.restore(&live).unwrap();
    assert_eq!(restored.snapshot().unwrap(), live, "a restored snapshot gives other bytes");
}

#[test]
fn what_is_allowed_may_run_for_as_long_as_is_configured() {
    let mut shard = shard();
    let (decision, _) = allowed(&mut shard, VALUE);
    assert_eq!(decision.expires_ms, Some((shard.at + TTL).millis()));
    assert_eq!(decision.leases, 0);
}

#[test]
fn a_job_that_comes_back_is_judged_by_the_policy_of_now_and_released_anew() {
    let mut shard = shard();
    let (_, work) = allowed(&mut shard, VALUE);
    shard.at = shard.at + TTL;
    let given_back = shard.at;
    let Outcome { facts, messages, settling, .. } = back(&mut shard, &work, 2);
    let [KernelFact::JobDecided { decision, replaces: Some(replaced), .. }] = &facts[..] else { panic!("{facts:?}") };
    let verdict = Some(FactPlace { group: 12, number: 7 });
    assert_eq!(*replaced, Replaced { was: KeptAs::Released, at: given_back, leases: 2, strikes: 1, verdict });
    assert_eq!((decision.verdict, decision.leases, decision.strikes, settling), (Verdict::Allow, 2, 1, 1));
    assert_eq!(decision.expires_ms, Some((shard.at + TTL).millis()));
    assert_eq!(topics(&messages), ["tidegate.approved.bank #0"]);
    let text = String::from_utf8(messages[0].value.as_ref().unwrap().to_vec()).unwrap();
    assert!(text.ends_with(r#","payload":{"amount": 20.50}}"#), "{text}");
    same_after_replay(&shard);
    // Its id is as known as ever: the same record again runs nothing.
    assert!(matches!(&shard.job(VALUE).facts[..], [KernelFact::JobRepeated { .. }]));
}

#[test]
fn a_job_that_policy_denies_by_then_ends_once() {
    let mut shard = shard();
    let (_, work) = allowed(&mut shard, VALUE);
    shard.policy(&POLICY.replace("revision: 1", "revision: 2").replace("value: 1000", "value: 10"));
    let Outcome { facts, messages, .. } = back(&mut shard, &work, 0);
    assert!(matches!(&facts[..], [KernelFact::PolicyAdopted { .. }, KernelFact::JobDecided { .. }]), "{facts:?}");
    assert_eq!(topics(&messages), ["tidegate.denied #1", "tidegate.finished #2"]);
    same_after_replay(&shard);
}

#[test]
fn without_a_policy_it_waits_for_one_and_keeps_its_count_of_leases() {
    let mut before = shard();
    let (_, work) = allowed(&mut before, VALUE);
    let mut shard = Shard::new(configured());
    (shard.at, shard.offset) = (before.at, before.offset);
    for (fact, _) in before.log {
        shard.fact(&serde_json::from_str(&fact).unwrap());
    }
    let outcome = back(&mut shard, &work, 3);
    let [KernelFact::JobDeferred { why: DeferredWhy::Ticket, record: Some(kept), .. }] = &outcome.facts[..] else {
        panic!("{outcome:?}")
    };
    assert_eq!(kept.value.get(), work);
    assert!(outcome.messages.is_empty());
    same_after_replay(&shard);
    shard.policy(POLICY);
    let Outcome { facts, messages, .. } = shard.pass(Duration::from_secs(1));
    let [KernelFact::JobDecided { decision, replaces: Some(replaced), .. }] = &facts[..] else { panic!("{facts:?}") };
    assert_eq!((replaced.was, replaced.leases, decision.leases), (KeptAs::Deferred, 3, 3));
    assert_eq!((replaced.strikes, decision.strikes), (1, 1));
    assert_eq!(topics(&messages), ["tidegate.approved.bank #0"]);
    same_after_replay(&shard);
}

#[test]
fn without_a_policy_and_without_room_it_is_denied() {
    let mut before = shard();
    let (_, work) = allowed(&mut before, VALUE);
    let mut shard = Shard::new(KernelConfig { kept: KeptBounds { jobs: 0, bytes: 1 }, ..configured() });
    let Outcome { facts, messages, .. } = back(&mut shard, &work, 0);
    let [KernelFact::JobDecided { decision, .. }] = &facts[..] else { panic!("{facts:?}") };
    assert_eq!(decision.verdict, Verdict::Deny);
    assert_eq!(topics(&messages), ["tidegate.denied #1", "tidegate.finished #2"]);
}

#[test]
fn a_job_that_policy_holds_by_then_waits_for_people_with_the_record_that_came_back() {
    let ring = Ring::read("node: stage/kernel\nann: approver");
    let mut shard = Shard::new(KernelConfig { ticket_ttl: TTL, ..trusting(configured(), &ring) });
    shard.policy(POLICY);
    let (_, work) = allowed(&mut shard, VALUE);
    let asks = POLICY
        .replace("revision: 1", "revision: 2")
        .replace("decision: allow,", "decision: require_approval, approval: {ttl: 1h},");
    shard.policy(&asks);
    let Outcome { facts, .. } = back(&mut shard, &work, 1);
    let Some(KernelFact::JobHeld { record: Some(kept), replaces: Some(replaced), .. }) = facts.last() else {
        panic!("{facts:?}")
    };
    assert_eq!((kept.value.get(), replaced.was, replaced.leases), (&*work, KeptAs::Released, 1));
    same_after_replay(&shard);
    let Outcome { messages, .. } = shard.pass(Duration::from_hours(1));
    assert_eq!(topics(&messages), ["tidegate.held #4", "tidegate.denied #1", "tidegate.finished #2"]);
}

#[test]
fn what_this_shard_did_not_allow_is_not_judged_and_ends_as_dead() {
    let mut shard = shard();
    let Outcome { messages, .. } = shard.job(VALUE);
    let genuine = sent(&messages[0], "node", SENDER);
    let rows = [
        (genuine.replace(r#""amount": 20.50"#, r#""amount": 20.51"#), DeadReason::Altered),
        (genuine.replace(r#""tenant":"acme""#, r#""tenant":"evil""#), DeadReason::Altered),
        (String::from_utf8(messages[0].value.as_ref().unwrap().to_vec()).unwrap(), DeadReason::Unsigned),
        (sent(&messages[0], "other", SENDER), DeadReason::Foreign),
        (sent(&messages[0], "stranger", SENDER), DeadReason::Foreign),
        (sent(&messages[0], "node", "kernel.jobs.raw/1"), DeadReason::Replayed),
    ];
    for (work, why) in rows {
        let Outcome { facts, messages, .. } = back(&mut shard, &work, 0);
        let [KernelFact::RecordRejected { reason, replaces: Some(_), .. }] = &facts[..] else { panic!("{facts:?}") };
        assert_eq!(*reason, why);
        assert_eq!(topics(&messages), ["tidegate.dead #0", "tidegate.finished #1"]);
        assert_eq!(messages[0].value, Some(Bytes::from(work)));
    }
    same_after_replay(&shard);
}

#[test]
fn a_job_of_another_partition_or_a_record_that_gives_nothing_back_says_nothing() {
    let mut shard = shard();
    let (_, work) = allowed(&mut shard, VALUE);
    for work in [work.replace("jobs.raw/0@0", "jobs.raw/1@0"), "{}".to_owned(), "1".to_owned()] {
        assert!(back(&mut shard, &work, 0).facts.is_empty(), "{work}");
    }
    assert!(shard.feed(INPUT_OUTCOMES, record(Some(b"\xff"), Headers::new())).facts.is_empty());
    assert!(shard.feed(INPUT_OUTCOMES, record(None, Headers::new())).facts.is_empty());
}

#[test]
fn a_job_that_was_called_off_while_it_came_back_ends_and_is_not_judged() {
    let mut shard = shard();
    let (_, work) = allowed(&mut shard, VALUE);
    let withdrawn = r#"{"job_withdrawn":{"source":"jobs.raw/0@0","job_id":"j1","tenant":"acme","pool":"bank","command":"c1","by":"olga","reason":"ordered twice"}}"#;
    shard.fact(&serde_json::from_str(withdrawn).unwrap());
    same_after_replay(&shard);
    let forged = back(&mut shard, &work.replace("20.50", "20.51"), 1);
    assert!(matches!(&forged.facts[..], [KernelFact::RecordRejected { .. }]), "{forged:?}");
    let Outcome { facts, messages, settling, .. } = back(&mut shard, &work, 2);
    let [KernelFact::JobCancelled { by, reason, replaces, .. }] = &facts[..] else { panic!("{facts:?}") };
    assert_eq!((by.as_str(), &**reason, replaces.was, settling), ("olga", "ordered twice", KeptAs::Released, 1));
    assert_eq!(topics(&messages), ["tidegate.finished #0"]);
    same_after_replay(&shard);
    // Once: what would come back a second time is an ordinary return.
    assert!(matches!(&back(&mut shard, &work, 2).facts[..], [KernelFact::JobDecided { .. }]));
}

/// The shard's next owner, which knows that the pool drains.
fn drains(shard: &mut Shard, policy: &str) {
    let bank = Pool { draining: true, ..pool("bank", &["pay"], &[]) };
    shard.config.routes = Arc::new(Routes::new(vec![bank], "tidegate.").unwrap());
    shard.kernel = shard.replayed();
    shard.policy(policy);
}

/// What ended as unroutable, because its pool drains.
fn unroutable(outcome: &Outcome) -> bool {
    matches!(outcome.facts.last(), Some(KernelFact::RecordRejected { reason: DeadReason::Unroutable, detail, .. })
        if detail.ends_with("pool `bank` would, but is draining"))
}

#[test]
fn a_draining_pool_takes_again_what_comes_back_and_nothing_new() {
    let mut shard = shard();
    let (_, work) = allowed(&mut shard, VALUE);
    drains(&mut shard, POLICY);
    let Outcome { facts, messages, .. } = back(&mut shard, &work, 1);
    assert!(matches!(&facts[..], [KernelFact::JobDecided { pool: Some(_), .. }]), "{facts:?}");
    assert_eq!(topics(&messages), ["tidegate.approved.bank #0"]);
    let new = shard.job(&VALUE.replace("j1", "j2"));
    assert!(unroutable(&new), "{new:?}");
    same_after_replay(&shard);
    // Where another takes it, it goes there, so that the pool is empty the sooner.
    let bank = Pool { draining: true, ..pool("bank", &["pay"], &[]) };
    shard.config.routes = Arc::new(Routes::new(vec![bank, pool("other", &["pay"], &[])], "tidegate.").unwrap());
    shard.kernel = shard.replayed();
    shard.policy(POLICY);
    assert_eq!(topics(&back(&mut shard, &work, 1).messages), ["tidegate.approved.other #0"]);
}

#[test]
fn what_came_back_to_a_draining_pool_and_had_to_wait_goes_there_but_a_throttled_new_job_does_not() {
    let mut shard = shard();
    let (_, work) = allowed(&mut shard, VALUE);
    let throttles = POLICY
        .replace("revision: 1", "revision: 2")
        .replace("decision: allow,", "decision: throttle, throttle: {retry_after: 10s, give_up_after: 1h},");
    drains(&mut shard, &throttles);
    for outcome in [back(&mut shard, &work, 1), shard.job(&VALUE.replace("j1", "j2"))] {
        assert!(matches!(outcome.facts.last(), Some(KernelFact::JobDeferred { .. })), "{outcome:?}");
    }
    drains(&mut shard, &POLICY.replace("revision: 1", "revision: 3"));
    let outcome = shard.pass(Duration::from_secs(20));
    assert_eq!(topics(&outcome.messages), ["tidegate.approved.bank #0", "tidegate.dead #0", "tidegate.finished #1"]);
    assert!(unroutable(&outcome), "{outcome:?}");
    same_after_replay(&shard);
}

#[test]
fn what_people_were_asked_about_goes_to_its_draining_pool() {
    let ring = Ring::read("node: stage/kernel\nann: approver");
    let mut shard = Shard::new(trusting(configured(), &ring));
    let asks = POLICY.replace("decision: allow,", "decision: require_approval, approval: {ttl: 1h},");
    shard.policy(&asks);
    let held = shard.job(VALUE);
    assert!(matches!(held.facts.last(), Some(KernelFact::JobHeld { pool: Some(_), .. })), "{held:?}");
    drains(&mut shard, &POLICY.replace("revision: 1", "revision: 2"));
    let Outcome { messages, .. } = shard.pass(Duration::from_secs(1));
    assert!(topics(&messages).contains(&"tidegate.approved.bank #0".to_owned()), "{messages:?}");
    same_after_replay(&shard);
}
