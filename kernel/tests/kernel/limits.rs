//! Limits in the kernel: jobs that wait for a slice, spend of it, and are settled.

use std::time::Duration;

use tidegate_kernel::{INPUT_COMMANDS, INPUT_GRANTS, INPUT_OUTCOMES, Kernel};
use tidegate_protocol::command::{Action, Command};
use tidegate_protocol::decision::{Decision, Verdict};
use tidegate_protocol::facts::KernelFact;
use tidegate_protocol::ids::CommandId;
use tidegate_protocol::job::{Job, SourcePosition};
use tidegate_protocol::kept::DeferredWhy;
use tidegate_protocol::limits::{Amount, LimitAnswer, LimitRequest, OutcomeTold, Usage};
use tidegate_protocol::outcome::Outcome as Ends;
use tidegate_protocol::time::Timestamp;
use tidegate_spine::Headers;
use tidegate_stage::Stage;

use crate::people::Ring;
use crate::shard::{Outcome, PLAIN, Shard, config, pool, record, source, trusting};

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
    let mut asks = Vec::new();
    for fact in &outcome.facts {
        if let KernelFact::SliceRequested { request } = fact {
            asks.push((**request).clone());
        }
    }
    let to = |message: &&tidegate_stage::Message| message.to.topic.as_str() == "tidegate.limits.requests";
    assert_eq!(outcome.messages.iter().filter(to).count(), 1, "{outcome:?}");
    let [ask] = &*asks else { panic!("{outcome:?}") };
    ask.clone()
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
    let mut verdicts = Vec::new();
    for fact in &outcome.facts {
        if let KernelFact::JobDecided { decision, spends, .. } = fact {
            verdicts.push((decision.verdict, spends.len()));
        }
    }
    verdicts
}

/// What was decided of jobs, in order, with how many limits each took of.
#[expect(clippy::wildcard_enum_match_arm, reason = "what says nothing of a job has no word")]
fn words(outcome: &Outcome) -> Vec<String> {
    let word = |fact: &KernelFact| match fact {
        KernelFact::JobDecided { decision, spends, .. } => Some(format!("{} {}", decision.verdict, spends.len())),
        KernelFact::JobHeld { .. } => Some("held".to_owned()),
        KernelFact::JobDeferred { why: DeferredWhy::Slice, .. } => Some("waits".to_owned()),
        KernelFact::JobDeferred { why: DeferredWhy::Throttle, .. } => Some("throttled".to_owned()),
        KernelFact::JobCancelled { .. } => Some("cancelled".to_owned()),
        _ => None,
    };
    outcome.facts.iter().filter_map(word).collect()
}

/// The job of this record ended.
fn ended(shard: &mut Shard, source: &SourcePosition, attempts: u32) -> Outcome {
    let (outcome, usage) = (Ends::Succeeded, Usage::default());
    let told = OutcomeTold { v: 1, source: source.clone(), outcome, attempts, usage, at: shard.at };
    shard.feed(INPUT_OUTCOMES, record(Some(&serde_json::to_vec(&told).unwrap()), Headers::new()))
}

/// A shard with people and this rule beside one that allows.
fn with_rule(rule: &str) -> (Shard, Ring) {
    let ring = Ring::read("alice: approver/finance\nolga: operator");
    let mut shard = Shard::new(trusting(config(source(PLAIN), vec![pool("bank", &["pay"], &[])]), &ring));
    shard.policy(&format!(
        "id: bank\nrevision: 1\nrules:\n  - {{ id: pay, match: {{ topics: [job.pay.>] }}, decision: allow }}\n  - {{ id: r, match: {{ topics: [job.pay.>] }}, {rule} }}\n"
    ));
    (shard, ring)
}

fn job_of(shard: &mut Shard, id: u32, actor: &str) -> Outcome {
    shard.job(&format!(
        r#"{{"id":"j{id}","tenant":"acme","topic":"job.pay.wire","actor":{{{actor}}},"capability":"pay","payload":{{}}}}"#
    ))
}

const BOT: &str = r#""id":"bot""#;

/// The job a fact of the outcome holds, and the decision on it.
#[expect(clippy::wildcard_enum_match_arm, reason = "looked for among others")]
fn held(outcome: &Outcome) -> (Job, Decision) {
    let held = outcome.facts.iter().find_map(|fact| match fact {
        KernelFact::JobHeld { job, decision, .. } => Some((job.clone(), decision.clone())),
        _ => None,
    });
    held.unwrap_or_else(|| panic!("{outcome:?}"))
}

fn says(shard: &mut Shard, ring: &Ring, key: &str, action: Action, (job, decision): &(Job, Decision)) -> Outcome {
    let command = Command {
        v: 1,
        id: CommandId::new(format!("c{}", shard.offset)).unwrap(),
        action,
        source: job.source.clone(),
        job_id: job.id.clone(),
        tenant: job.tenant.clone(),
        input_hash: job.input_hash,
        snapshot: decision.snapshot.clone(),
        by: ring.key(key).person(),
        at_ms: 0,
        reason: String::new(),
        pool: None,
        redrive: None,
    };
    shard.feed(INPUT_COMMANDS, record(Some(&ring.key(key).signs(&command)), Headers::new()))
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
fn a_request_that_is_lost_is_asked_again_before_its_job_gives_up() {
    let mut shard = self::shard(PLAIN);
    let ask = asked(&job(&mut shard, 1));
    assert!(shard.pass(Duration::from_millis(4_990)).facts.is_empty());
    let again = asked(&shard.pass(Duration::from_millis(20)));
    assert!(verdicts(&granted(&mut shard, &ask, 2)).is_empty(), "its answer is put aside");
    assert_eq!(verdicts(&granted(&mut shard, &again, 2)), [(Verdict::Allow, 1)]);
    assert!(shard.pass(Duration::from_secs(60)).facts.is_empty(), "it is asked no more");
    same_after_replay(&shard);
}

#[test]
fn what_is_granted_and_recalled_before_the_waiting_job_is_judged_is_the_jobs() {
    let mut shard = self::shard(PLAIN);
    let ask = asked(&job(&mut shard, 1));
    let LimitRequest::Ask { id, holding, limit, key, .. } = &ask else { panic!() };
    let (until, units) = (shard.at + Duration::from_mins(10), Amount::units(1).unwrap());
    let granted = LimitAnswer::Granted {
        request: *id,
        holding: *holding,
        limit: limit.clone(),
        key: key.clone(),
        amount: units,
        until,
        from: Timestamp(0),
        again: None,
        probe: false,
        refused: None,
    };
    let (limit, key) = (limit.clone(), key.clone());
    let recalled = LimitAnswer::Recalled { holding: *holding, limit, key, amount: units, owed: Amount::ZERO };
    let batch = [granted, recalled].map(|answer| record(Some(&serde_json::to_vec(&answer).unwrap()), Headers::new()));
    assert_eq!(verdicts(&shard.feed_all(INPUT_GRANTS, batch)), [(Verdict::Allow, 1)]);
    same_after_replay(&shard);
}

#[test]
fn a_rules_decision_holds_where_its_limit_is_exceeded_and_where_that_cannot_be_told() {
    let rows = [("deny", "deny 0"), ("throttle", "throttled"), ("require_approval", "held")];
    for (decision, word) in rows {
        let rule =
            format!("state: [{{ count_within: jobs, key: [actor_id], window: 10m, gt: 2 }}], decision: {decision}");
        let (mut shard, _) = with_rule(&rule);
        let ask = asked(&job_of(&mut shard, 1, BOT));
        assert_eq!(words(&granted(&mut shard, &ask, 2)), ["allow 1"], "{decision}");
        assert_eq!(words(&job_of(&mut shard, 2, BOT)), ["allow 1"], "{decision}");
        assert_eq!(words(&job_of(&mut shard, 3, BOT)), [word], "{decision}: more than the limit");
        assert_eq!(words(&job_of(&mut shard, 4, "")), [word], "{decision}: nobody can say whose share it is");
        same_after_replay(&shard);
        let (mut shard, _) = with_rule(&rule);
        let ask = asked(&job_of(&mut shard, 1, BOT));
        assert_eq!(words(&granted(&mut shard, &ask, 0)), [word], "{decision}: nothing is to be had");
        let (mut shard, _) = with_rule(&rule);
        job_of(&mut shard, 1, BOT);
        assert!(words(&shard.pass(Duration::from_millis(29_990))).is_empty());
        assert_eq!(words(&shard.pass(Duration::from_millis(20))), [word], "{decision}: nobody has answered");
        same_after_replay(&shard);
    }
}

#[test]
fn a_job_that_people_approve_takes_of_limits_when_it_is_released_and_one_that_ends_held_takes_of_none() {
    let rule = "state: [{ concurrency: jobs, key: [tenant], gt: 1 }], decision: deny }
  - { id: ask, match: {}, decision: require_approval, approval: { approvers: [finance], ttl: 1h }";
    let (mut shard, ring) = with_rule(rule);
    let ask = asked(&job_of(&mut shard, 1, BOT));
    let first = granted(&mut shard, &ask, 1);
    assert_eq!(words(&first), ["held"]);
    let [second, third, fourth] = [2, 3, 4].map(|id| job_of(&mut shard, id, BOT));
    assert_eq!([words(&second), words(&third), words(&fourth)], [["held"], ["held"], ["held"]], "nothing is taken yet");
    assert_eq!(words(&says(&mut shard, &ring, "alice", Action::Reject, &held(&third))), ["deny 0"]);
    assert_eq!(words(&says(&mut shard, &ring, "olga", Action::Cancel, &held(&fourth))), ["cancelled"]);
    assert_eq!(words(&says(&mut shard, &ring, "alice", Action::Approve, &held(&first))), ["allow 1"]);
    assert_eq!(
        words(&says(&mut shard, &ring, "alice", Action::Approve, &held(&second))),
        ["deny 0"],
        "the place is taken"
    );
    ended(&mut shard, &held(&first).0.source, 0);
    let fifth = job_of(&mut shard, 5, BOT);
    assert_eq!(words(&says(&mut shard, &ring, "alice", Action::Approve, &held(&fifth))), ["allow 1"], "and free again");
    same_after_replay(&shard);
}

#[test]
fn a_throttled_job_takes_of_limits_once_when_there_is_room() {
    let (mut shard, _) = with_rule(
        "state: [{ concurrency: jobs, key: [tenant], gt: 1 }], decision: throttle, throttle: { retry_after: 1s, give_up_after: 5s }",
    );
    let ask = asked(&job_of(&mut shard, 1, BOT));
    let first = granted(&mut shard, &ask, 1);
    assert_eq!(words(&first), ["allow 1"]);
    assert_eq!(words(&job_of(&mut shard, 2, BOT)), ["throttled"]);
    assert_eq!(words(&shard.pass(Duration::from_secs(1))), ["throttled"]);
    let KernelFact::JobDecided { job, .. } = first.facts[1].clone() else { panic!("{first:?}") };
    ended(&mut shard, &job.source, 1);
    assert_eq!(words(&shard.pass(Duration::from_secs(1))), ["allow 1"]);
    assert_eq!(words(&job_of(&mut shard, 3, BOT)), ["throttled"]);
    assert_eq!(words(&shard.pass(Duration::from_secs(6))).last().unwrap(), "deny 0");
    same_after_replay(&shard);
}

#[test]
fn an_answer_for_one_key_wakes_no_job_of_another_key() {
    let (mut shard, _) =
        with_rule("state: [{ count_within: jobs, key: [actor_id], window: 10m, gt: 2 }], decision: deny");
    let one = asked(&job_of(&mut shard, 1, BOT));
    let other = asked(&job_of(&mut shard, 2, r#""id":"ant""#));
    let released = granted(&mut shard, &one, 2);
    assert_eq!((words(&released), released.facts.len()), (vec!["allow 1".to_owned()], 2));
    assert_eq!(words(&granted(&mut shard, &other, 2)), ["allow 1"]);
}

#[test]
fn a_rule_that_is_only_tried_out_spends_nothing() {
    let (mut shard, _) =
        with_rule("mode: shadow, state: [{ count_within: jobs, key: [tenant], window: 10m, gt: 1 }], decision: deny");
    for id in 1..4 {
        let outcome = job_of(&mut shard, id, BOT);
        assert_eq!(words(&outcome), ["allow 0"]);
        assert!(!outcome.facts.iter().any(|fact| matches!(fact, KernelFact::SliceRequested { .. })), "{outcome:?}");
    }
}

#[test]
fn a_job_takes_of_a_bounded_number_of_limits() {
    let rules = |rules: usize| {
        let limits = |rule: usize| {
            let limit =
                |n: usize| format!("{{ count_within: jobs, key: [tenant], window: {}s, gt: 9 }}", rule * 16 + n + 1);
            (0..16).map(limit).collect::<Vec<_>>().join(", ")
        };
        let rule = |n: usize| format!("state: [{}], decision: deny", limits(n));
        let more = |n: usize| format!(" }}\n  - {{ id: r{n}, match: {{}}, {}", rule(n));
        let first = rule(0);
        (1..rules).map(more).fold(first, |text, more| text + &more)
    };
    for (many, word) in [(4, "allow 64"), (5, "deny 0")] {
        let (mut shard, _) = with_rule(&rules(many));
        let mut outcome = job_of(&mut shard, 1, BOT);
        assert_eq!(words(&outcome), ["waits"]);
        let mut asks = Vec::new();
        for fact in outcome.facts {
            if let KernelFact::SliceRequested { request } = fact {
                asks.push(request);
            }
        }
        assert_eq!(asks.len(), many * 16);
        outcome = Outcome::default();
        for ask in asks {
            outcome = granted(&mut shard, &ask, 9);
        }
        assert_eq!(words(&outcome), [word], "{many}");
    }
}

#[test]
fn a_source_that_is_only_observed_takes_of_no_limit_and_says_what_would_have_happened() {
    let mut shard = shard("{name: jobs.raw, tenants: any, observe: true}");
    // Two at once, each for the limit's window: no end is told of what does not run.
    for (id, verdict) in [(1, Verdict::Allow), (2, Verdict::Allow), (3, Verdict::Deny)] {
        let outcome = job(&mut shard, id);
        assert_eq!(verdicts(&outcome), [(verdict, 0)], "{outcome:?}");
        let Some(KernelFact::JobDecided { would_take, observed: true, .. }) = outcome.facts.last() else {
            panic!("{outcome:?}")
        };
        assert_eq!(would_take.len(), usize::from(verdict == Verdict::Allow));
        assert!(outcome.messages.is_empty(), "{outcome:?}");
    }
    let live = shard.kernel.snapshot().unwrap();
    assert!(!live.contains("wallet") && live.contains("observed"), "{live}");
    assert_eq!(shard.replayed().snapshot().unwrap(), live, "replay gives other bytes");
    let mut restored = Kernel::new(shard.config.clone()).unwrap();
    restored.restore(&live).unwrap();
    assert_eq!(restored.snapshot().unwrap(), live, "a restored snapshot gives other bytes");
    shard.at = shard.at + Duration::from_hours(24);
    assert_eq!(verdicts(&job(&mut shard, 4)), [(Verdict::Allow, 0)], "a window later");
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
