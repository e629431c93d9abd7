//! Jobs whose verdict comes later.

use std::time::Duration;

use tidegate_kernel::{INPUT_JOBS, KeptBounds, Kernel};
use tidegate_protocol::decision::{Decision, PayloadAt, Throttle, Verdict};
use tidegate_protocol::facts::KernelFact;
use tidegate_protocol::ids::{Capability, JobId};
use tidegate_protocol::kept::{DeferredWhy, ExactJson, KeptAs, KeptBytes, KeptRecord, Replaced};
use tidegate_spine::Headers;
use tidegate_stage::{Message, Stage};

use crate::shard::{Outcome, Shard, record};

/// The fact that defers the job of this value, as the owner before wrote it: throttled, again in 1 s, for 3 s at most.
fn throttled(shard: &mut Shard, value: &str) -> KernelFact {
    let outcome = shard.feed(INPUT_JOBS, record(Some(value.as_bytes()), Headers::new()));
    let Some(KernelFact::JobDecided { job, payload, decision, .. }) = outcome.facts.last().cloned() else {
        panic!("{outcome:?}")
    };
    let throttle = Throttle { retry_after_ms: 1_000, give_up_after_ms: 3_000 };
    let decision = Decision { verdict: Verdict::Throttle, throttle: Some(throttle), ..decision };
    KernelFact::JobDeferred {
        job,
        payload,
        record: Some(Box::new(KeptRecord {
            value: ExactJson::new(value).unwrap(),
            key: Some(KeptBytes::new(b"k")),
            headers: vec![("ce_id".to_owned(), KeptBytes::new(b"17"))],
        })),
        why: DeferredWhy::Throttle,
        until: shard.at + Duration::from_secs(3),
        retry: Some(shard.at + Duration::from_secs(1)),
        throttled: 1,
        waits_for: Vec::new(),
        decision: Some(Box::new(decision)),
        replaces: None,
    }
}

fn value(amount: u32, capability: &str) -> String {
    format!(
        r#"{{"id":"j1","tenant":"acme","topic":"job.pay.wire","capability":"{capability}","payload":{{"amount": {amount}}}}}"#
    )
}

/// A shard that has this job deferred.
fn waiting(amount: u32, capability: &str) -> Shard {
    let mut usual = Shard::usual();
    let mut fact = throttled(&mut usual, &value(amount, "pay"));
    if let KernelFact::JobDeferred { job, record: Some(kept), .. } = &mut fact {
        job.capability = Capability::new(capability).unwrap();
        kept.value = ExactJson::new(&value(amount, capability)).unwrap();
    }
    let mut shard = Shard::usual();
    (shard.at, shard.offset) = (usual.at, usual.offset);
    shard.fact(&fact);
    shard
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
fn a_deferred_job_is_judged_again_after_its_delay_and_released_from_what_was_kept() {
    let mut shard = waiting(20, "pay");
    assert!(shard.pass(Duration::from_millis(999)).facts.is_empty());
    same_after_replay(&shard);
    let Outcome { facts, messages, .. } = shard.pass(Duration::from_millis(1));
    let Some(KernelFact::JobDecided { decision, pool: Some(_), replaces: Some(Replaced { was, .. }), .. }) =
        facts.last()
    else {
        panic!("{facts:?}")
    };
    assert_eq!((decision.verdict, *was), (Verdict::Allow, KeptAs::Deferred));
    assert_eq!(topics(&messages), ["tidegate.approved.bank #0"]);
    let judged: serde_json::Value = serde_json::from_slice(messages[0].value.as_deref().unwrap()).unwrap();
    assert_eq!(judged["payload"], serde_json::json!({"amount": 20}));
    assert_eq!(messages[0].headers.text("ce_id"), Some("17"));
    same_after_replay(&shard);
    assert_eq!(shard.kernel.next_due(), None);
}

#[test]
fn a_deferred_job_that_policy_denies_by_then_ends_once() {
    let Outcome { facts, messages, .. } = waiting(2_000, "pay").pass(Duration::from_secs(9));
    assert!(matches!(facts.last(), Some(KernelFact::JobDecided { replaces: Some(_), .. })), "{facts:?}");
    assert_eq!(topics(&messages), ["tidegate.denied #1", "tidegate.finished #2"]);
}

#[test]
fn a_deferred_job_that_no_pool_takes_is_dead_with_the_kept_record() {
    let Outcome { messages, .. } = waiting(20, "fly").pass(Duration::from_secs(9));
    assert_eq!(topics(&messages), ["tidegate.dead #0", "tidegate.finished #1"]);
    assert_eq!(messages[0].value.as_deref(), Some(value(20, "fly").as_bytes()));
    assert_eq!(messages[0].headers.text("tg-original-key"), Some("k"));
}

#[test]
fn without_a_usable_policy_it_waits_and_is_denied_when_its_time_is_over() {
    let mut shard = waiting(20, "pay");
    let log = std::mem::take(&mut shard.log);
    shard.kernel = Kernel::new(shard.config.clone()).unwrap();
    for (fact, at) in &log {
        shard.kernel.apply(&serde_json::from_str(fact).unwrap(), *at);
    }
    shard.log = log;
    assert!(shard.pass(Duration::from_millis(2_999)).facts.is_empty());
    let Outcome { facts, messages, .. } = shard.pass(Duration::from_millis(1));
    let [KernelFact::JobDecided { decision, .. }] = &*facts else { panic!("{facts:?}") };
    assert_eq!(decision.verdict, Verdict::Deny);
    assert!(decision.reason.starts_with("throttled for as long as its rule lets it wait"), "{}", decision.reason);
    assert_eq!(topics(&messages), ["tidegate.denied #1", "tidegate.finished #2"]);
}

#[test]
fn a_kept_job_is_known_for_as_long_as_it_is_kept_not_only_within_the_window() {
    let mut shard = waiting(20, "pay");
    shard.config.window.age = Duration::from_millis(1);
    let log = shard.log.clone();
    let mut again = Shard::new(shard.config.clone());
    again.policy(crate::shard::POLICY);
    (again.at, again.offset) = (shard.at, shard.offset);
    for (fact, _) in &log {
        again.fact(&serde_json::from_str(fact).unwrap());
    }
    again.at = again.at + Duration::from_millis(500);
    let same = again.job(&value(20, "pay"));
    assert!(matches!(same.facts.last(), Some(KernelFact::JobRepeated { .. })), "{same:?}");
    let other = again.job(&value(21, "pay"));
    assert!(matches!(other.facts.last(), Some(KernelFact::RecordRejected { job: None, .. })), "{other:?}");
}

#[test]
fn no_job_is_read_while_as_many_are_deferred_as_may_be() {
    let mut shard = waiting(20, "pay");
    assert!(shard.kernel.admits(INPUT_JOBS));
    shard.config.kept = KeptBounds { jobs: 1, bytes: 1 << 20 };
    let mut full = Shard::new(shard.config.clone());
    full.policy(crate::shard::POLICY);
    full.fact(&serde_json::from_str(&shard.log[0].0).unwrap());
    assert!(!full.kernel.admits(INPUT_JOBS));
    full.pass(Duration::from_secs(9));
    assert!(full.kernel.admits(INPUT_JOBS), "a deferred job ends by itself");
}

#[test]
fn a_fact_about_a_job_that_is_not_kept_changes_nothing() {
    let mut shard = waiting(20, "pay");
    let KernelFact::JobDeferred { job, payload, .. } = serde_json::from_str(&shard.log[0].0).unwrap() else { panic!() };
    let before = shard.kernel.snapshot().unwrap();
    let mut other = job;
    other.source.offset = 99;
    other.id = JobId::new("other").unwrap();
    assert_ne!(payload, PayloadAt::None);
    shard.kernel.apply(
        &KernelFact::JobDeferred {
            job: other,
            payload,
            record: None,
            why: DeferredWhy::Slice,
            until: shard.at,
            retry: None,
            throttled: 0,
            waits_for: Vec::new(),
            decision: None,
            replaces: None,
        },
        shard.at,
    );
    assert_eq!(shard.kernel.snapshot().unwrap(), before);
}
