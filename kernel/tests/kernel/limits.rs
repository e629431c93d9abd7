//! Limits in the kernel: jobs that wait for a slice, spend of it, and are settled.

use std::time::Duration;

use tidegate_kernel::{INPUT_GRANTS, INPUT_OUTCOMES, Kernel};
use tidegate_protocol::decision::Verdict;
use tidegate_protocol::facts::KernelFact;
use tidegate_protocol::limits::{Amount, LimitAnswer, LimitRequest, OutcomeTold, Usage};
use tidegate_protocol::outcome::Outcome as Ends;
use tidegate_protocol::time::Timestamp;
use tidegate_spine::Headers;
use tidegate_stage::Stage;

use crate::shard::{Outcome, PLAIN, Shard, config, pool, record, source};

const POLICY: &str = "
id: bank
revision: 1
rules:
  - { id: pay, match: { topics: [job.pay.>] }, decision: allow, reason: payments are fine }
  - { id: often, match: { topics: [job.pay.>] }, state: [{ concurrency: jobs, key: [tenant], gt: 2 }], decision: deny,
      reason: two at once }
";

fn shard(yaml: &str) -> Shard {
    let mut shard = Shard::new(config(source(PLAIN), vec![pool("bank", &["pay"], &[])]));
    shard.policy(POLICY);
    if yaml.contains("observe") {
        shard = Shard::new(config(source(yaml), vec![pool("bank", &["pay"], &[])]));
        shard.policy(POLICY);
    }
    shard
}

fn job(shard: &mut Shard, id: u32) -> Outcome {
    shard.job(&format!(r#"{{"id":"j{id}","tenant":"acme","topic":"job.pay.wire","capability":"pay","payload":{{}}}}"#))
}

/// The request a decision made.
fn asked(outcome: &Outcome) -> LimitRequest {
    let asks = outcome.facts.iter().filter_map(|fact| match fact {
        KernelFact::SliceRequested { request } => Some((**request).clone()),
        _ => None,
    });
    let asks: Vec<LimitRequest> = asks.collect();
    assert_eq!(asks.len(), 1, "{outcome:?}");
    let to = |message: &&tidegate_stage::Message| message.to.topic.as_str() == "tidegate.limits.requests";
    assert_eq!(outcome.messages.iter().filter(to).count(), 1, "{outcome:?}");
    asks[0].clone()
}

/// The limits stage grants `units`.
fn granted(shard: &mut Shard, ask: &LimitRequest, units: u64) -> Outcome {
    let LimitRequest::Ask { id, holding, limit, key, .. } = ask else { panic!("{ask:?}") };
    let amount = Amount::units(units).unwrap();
    let answer = LimitAnswer::Granted {
        request: *id,
        holding: if units > 0 { *holding } else { 0 },
        limit: limit.clone(),
        key: key.clone(),
        amount,
        until: shard.at + Duration::from_mins(10),
        from: Timestamp(0),
        again: (units == 0).then_some(shard.at + Duration::from_secs(5)),
        probe: false,
        refused: None,
    };
    shard.feed(INPUT_GRANTS, record(Some(&serde_json::to_vec(&answer).unwrap()), Headers::new()))
}

fn verdicts(outcome: &Outcome) -> Vec<(Verdict, usize)> {
    let verdict = |fact: &KernelFact| match fact {
        KernelFact::JobDecided { decision, spends, .. } => Some((decision.verdict, spends.len())),
        _ => None,
    };
    outcome.facts.iter().filter_map(verdict).collect()
}

fn same_after_replay(shard: &Shard) {
    let live = shard.kernel.snapshot().unwrap();
    assert_eq!(shard.replayed().snapshot().unwrap(), live);
    let mut restored = Kernel::new(shard.config.clone()).unwrap();
    restored.restore(&live).unwrap();
    assert_eq!(restored.snapshot().unwrap(), live);
}

#[test]
fn a_job_waits_for_its_slice_then_runs_and_one_too_many_is_denied_until_another_has_ended() {
    let mut shard = shard(PLAIN);
    let first = job(&mut shard, 1);
    let ask = asked(&first);
    assert!(matches!(first.facts.last(), Some(KernelFact::JobDeferred { .. })), "{first:?}");
    let second = job(&mut shard, 2);
    assert!(matches!(&*second.facts, [KernelFact::JobDeferred { .. }]), "it waits for the same request: {second:?}");
    let released = granted(&mut shard, &ask, 2);
    assert_eq!(verdicts(&released), [(Verdict::Allow, 1), (Verdict::Allow, 1)], "{released:?}");
    let judged: serde_json::Value = serde_json::from_slice(released.messages[0].value.as_deref().unwrap()).unwrap();
    assert_eq!(judged["decision"]["settles"], true);
    same_after_replay(&shard);
    let third = job(&mut shard, 3);
    assert_eq!(verdicts(&third), [(Verdict::Deny, 0)], "{third:?}");
    let KernelFact::JobDecided { job: ended, .. } = released.facts[1].clone() else { panic!("{released:?}") };
    let usage = Usage::default();
    let told = OutcomeTold { v: 1, source: ended.source, outcome: Ends::Succeeded, attempts: 1, usage, at: shard.at };
    let told = serde_json::to_vec(&told).unwrap();
    let settled = shard.feed(INPUT_OUTCOMES, record(Some(&told), Headers::new()));
    assert!(matches!(&*settled.facts, [KernelFact::SpendSettled { .. }]), "{settled:?}");
    let again = shard.feed(INPUT_OUTCOMES, record(Some(&told), Headers::new()));
    assert!(again.facts.is_empty(), "once: {again:?}");
    assert_eq!(verdicts(&job(&mut shard, 4)), [(Verdict::Allow, 1)]);
    assert_eq!(verdicts(&job(&mut shard, 5)), [(Verdict::Deny, 0)]);
    same_after_replay(&shard);
}

#[test]
fn what_cannot_be_had_is_exceeded_and_what_is_never_answered_counts_as_exceeded_in_the_end() {
    let mut shard = shard(PLAIN);
    let ask = asked(&job(&mut shard, 1));
    let denied = granted(&mut shard, &ask, 0);
    assert_eq!(verdicts(&denied), [(Verdict::Deny, 0)]);
    let mut shard = self::shard(PLAIN);
    asked(&job(&mut shard, 1));
    let ended = shard.pass(Duration::from_secs(31));
    assert_eq!(verdicts(&ended), [(Verdict::Deny, 0)], "{ended:?}");
    same_after_replay(&shard);
}

#[test]
fn a_source_that_is_only_observed_takes_of_no_limit() {
    let mut shard = shard("{name: jobs.raw, tenants: any, observe: true}");
    let outcome = job(&mut shard, 1);
    assert_eq!(verdicts(&outcome), [(Verdict::Deny, 0)], "{outcome:?}");
    assert!(outcome.messages.is_empty() && !shard.kernel.snapshot().unwrap().contains("wallet"));
}

#[test]
fn what_is_no_answer_or_no_outcome_changes_nothing() {
    let mut shard = shard(PLAIN);
    let before = shard.kernel.snapshot().unwrap();
    for input in [INPUT_GRANTS, INPUT_OUTCOMES] {
        for value in [None, Some(&b""[..]), Some(b"{}"), Some(br#"{"granted":{}}"#)] {
            assert!(shard.feed(input, record(value, Headers::new())).facts.is_empty());
        }
    }
    assert_eq!(shard.kernel.snapshot().unwrap(), before);
}
