//! Jobs that are revoked: what acts for them is stopped, and nothing more is let act for them.

use std::time::Duration;

use tidegate_kernel::{INPUT_COMMANDS, KernelConfig};
use tidegate_protocol::address::TopicName;
use tidegate_protocol::command::{Action, Command};
use tidegate_protocol::decision::Verdict;
use tidegate_protocol::facts::KernelFact;
use tidegate_protocol::ids::CommandId;
use tidegate_protocol::job::Job;
use tidegate_spine::Headers;
use tidegate_stage::{Signal, Stage};

use crate::delegation::{
    ACCEPTS, PLANNER, POLICY, SEARCH, SEARCHER, TTL, child, configured, decided, envelope, run, same_after_replay,
    shard, shard_of, ticket,
};
use crate::people::Ring;
use crate::shard::{Outcome, Shard, record};
use crate::tickets::{KEYS, SENDER, STAMP, sent, signed};

/// An operator's word about the job at `source`.
fn revoke(shard: &mut Shard, job: &Job, pool: Option<&str>) -> Outcome {
    let ring = Ring::read(&format!("{KEYS}\nann: approver\nbob: approver\nroot: approver\nolga: operator"));
    let command = Command {
        v: 1,
        id: CommandId::new(format!("revoke-{}", shard.offset)).unwrap(),
        action: Action::Revoke,
        source: job.source.clone(),
        job_id: job.id.clone(),
        tenant: job.tenant.clone(),
        input_hash: job.input_hash,
        snapshot: String::new(),
        by: ring.key("olga").person(),
        at_ms: 1,
        reason: "it went astray".to_owned(),
        pool: pool.map(|pool| pool.to_owned().try_into().unwrap()),
        redrive: None,
    };
    shard.feed(INPUT_COMMANDS, record(Some(&ring.key("olga").signs(&command)), Headers::new()))
}

/// What a revocation led to, in order.
#[expect(clippy::wildcard_enum_match_arm, reason = "what has no word is shown whole")]
fn words(outcome: &Outcome) -> Vec<String> {
    let word = |fact: &KernelFact| match fact {
        KernelFact::DelegationRevoked { job_id, by, .. } => format!("{job_id} revoked by {by}"),
        KernelFact::JobWithdrawn { job_id, cause, .. } => format!("{job_id} withdrawn {}", cause.word()),
        KernelFact::JobCancelled { job, cause, .. } => format!("{} cancelled {}", job.id, cause.word()),
        KernelFact::CommandRefused { why, .. } => format!("refused {}", why.word()),
        other => format!("{other:?}"),
    };
    outcome.facts.iter().map(word).collect()
}

#[test]
fn what_a_revoked_job_spawned_and_has_not_begun_is_stopped_and_it_spawns_nothing_more() {
    let mut shard = shard();
    let root = shard.job(&envelope("p", PLANNER));
    let (parent, record) = (decided(&root).0, ticket(&root));
    let (.., other) = decided(&shard.job(&envelope("p2", PLANNER)));
    let other = sent(&other.unwrap(), "node", SENDER);
    // A released child and its own, one that is held, one that waits for a limit; one of another family.
    let released = run(&mut shard, &child(&record, &envelope("released", SEARCHER)));
    let deeper = run(&mut shard, &child(&ticket(&released), &envelope("deeper", SEARCH)));
    assert!(decided(&deeper).1.verdict.permits());
    let held = shard.job(&child(&record, &envelope("held", &SEARCH.replace("bot", "lena"))));
    assert!(matches!(held.facts.last(), Some(KernelFact::JobHeld { .. })), "{held:?}");
    let stranger = run(&mut shard, &child(&other, &envelope("stranger", SEARCH)));
    assert!(decided(&stranger).1.verdict.permits());
    same_after_replay(&shard);
    let outcome = revoke(&mut shard, &parent, Some("agents"));
    assert_eq!(
        words(&outcome),
        [
            "p revoked by olga",
            "p withdrawn revoked",
            "released withdrawn revoked",
            "deeper withdrawn revoked",
            "held cancelled revoked"
        ]
    );
    same_after_replay(&shard);
    // Its ticket is as genuine as ever, and admits nobody; nor does its child's.
    for (id, ticket) in [("late", &record), ("later", &ticket(&released))] {
        let (job, decision, approved) = decided(&shard.job(&child(ticket, &envelope(id, SEARCH))));
        assert!(job.delegation.is_some() && approved.is_none());
        assert!(decision.verdict == Verdict::Deny && decision.reason.contains("was revoked by olga"), "{decision:?}");
    }
    // Others go on.
    assert!(decided(&run(&mut shard, &child(&other, &envelope("more", SEARCH)))).1.verdict.permits());
    assert_eq!(words(&revoke(&mut shard, &parent, None)), ["refused already_revoked"]);
    // It is remembered for as long as it matters, and no longer.
    shard.at = shard.at + TTL + Duration::from_secs(11);
    assert_eq!(words(&revoke(&mut shard, &parent, None)).first().map(String::as_str), Some("p revoked by olga"));
    same_after_replay(&shard);
}

#[test]
fn a_job_of_another_shard_is_revoked_here_as_well() {
    let mut shard = shard();
    let root = shard.job(&envelope("p", PLANNER));
    let (mut parent, record) = (decided(&root).0, ticket(&root));
    // As if it stood elsewhere, and its child here.
    let elsewhere = record.replace("\"jobs.raw/0@0\"", "\"jobs.raw/1@0\"");
    let content = elsewhere.rsplit_once(",\"ticket\":").unwrap().0.to_owned() + "}";
    let to = TopicName::new("tidegate.approved.agents").unwrap().partition(0);
    let elsewhere = signed(content.as_bytes(), &to, "node", "kernel.jobs.raw/1");
    assert!(decided(&run(&mut shard, &child(&elsewhere, &envelope("c", SEARCH)))).1.verdict.permits());
    parent.source = "jobs.raw/1@0".parse().unwrap();
    assert_eq!(words(&revoke(&mut shard, &parent, Some("agents"))), ["p revoked by olga", "c withdrawn revoked"]);
    let (_, decision, _) = decided(&shard.job(&child(&elsewhere, &envelope("d", SEARCH))));
    assert!(decision.reason.contains("was revoked"), "{}", decision.reason);
    // One of this shard by the same number is another job.
    assert!(decided(&run(&mut shard, &child(&record, &envelope("e", SEARCH)))).1.verdict.permits());
    same_after_replay(&shard);
}

#[test]
fn a_deferred_child_of_a_revoked_job_ends_and_a_wrong_name_revokes_nothing() {
    let mut shard = shard();
    let root = shard.job(&envelope("p", PLANNER));
    let (parent, record) = (decided(&root).0, ticket(&root));
    let waits = shard.job(&child(&record, &envelope("c", SEARCH)));
    let Some(KernelFact::JobDeferred { job: deferred, .. }) = waits.facts.last() else { panic!("{waits:?}") };
    let wrong = Job { id: "x".to_owned().try_into().unwrap(), ..deferred.clone() };
    assert_eq!(words(&revoke(&mut shard, &wrong, None)), ["refused other_input"]);
    assert_eq!(words(&revoke(&mut shard, &parent, None)), ["p revoked by olga", "c cancelled revoked"]);
    same_after_replay(&shard);
}

#[test]
fn a_family_of_any_size_is_stopped_in_bounded_steps() {
    let policy = POLICY.replace("max_tokens: 1000, ", "").replace("max_tokens: 400", "max_artifact_bytes: 400");
    let mut shard = Shard::new(configured(ACCEPTS));
    shard.policy(&policy);
    shard.kernel.observe(Signal::Owner { epoch: STAMP.epoch }, shard.at);
    let root = shard.job(&envelope("p", PLANNER));
    let (parent, record) = (decided(&root).0, ticket(&root));
    for n in 0..250 {
        let outcome = shard.job(&child(&record, &envelope(&format!("c{n}"), SEARCH)));
        assert!(decided(&outcome).1.verdict.permits());
    }
    let outcome = revoke(&mut shard, &parent, None);
    assert_eq!(words(&outcome).iter().filter(|word| word.ends_with("withdrawn revoked")).count(), 250);
    assert!(outcome.largest <= 100, "one decision had {} facts", outcome.largest);
    same_after_replay(&shard);
}

/// Beyond what is remembered nothing of the family can be told apart, and what was never stopped is in nobody's way later.
#[test]
fn more_than_can_be_remembered_denies_every_chain_and_hinders_no_later_revocation() {
    let policy = POLICY.replace("max_tokens: 1000, ", "").replace("max_tokens: 400", "max_artifact_bytes: 400");
    let mut shard = Shard::new(configured(ACCEPTS));
    shard.policy(&policy);
    shard.kernel.observe(Signal::Owner { epoch: STAMP.epoch }, shard.at);
    let stranger = decided(&shard.job(&envelope("s", PLANNER))).0;
    for n in 0..1_000 {
        let stranger = Job { source: format!("jobs.raw/9@{n}").parse().unwrap(), ..stranger.clone() };
        assert_eq!(words(&revoke(&mut shard, &stranger, None)), ["s revoked by olga"]);
    }
    shard.at = shard.at + Duration::from_secs(30);
    let root = shard.job(&envelope("p", PLANNER));
    let (parent, record) = (decided(&root).0, ticket(&root));
    // More than one decision stops at once.
    for n in 0..120 {
        assert!(decided(&shard.job(&child(&record, &envelope(&format!("c{n}"), SEARCH)))).1.verdict.permits());
    }
    let other = shard.job(&envelope("q", PLANNER));
    assert!(decided(&shard.job(&child(&ticket(&other), &envelope("d", SEARCH)))).1.verdict.permits());
    assert_eq!(words(&revoke(&mut shard, &parent, None)), ["p revoked by olga"]);
    let (_, decision, _) = decided(&shard.job(&child(&record, &envelope("late", SEARCH))));
    assert!(decision.verdict == Verdict::Deny && decision.reason.contains("more was revoked"), "{decision:?}");
    same_after_replay(&shard);
    // The first are over, and there is room for another.
    shard.at = shard.at + (TTL - Duration::from_secs(15));
    assert_eq!(words(&revoke(&mut shard, &decided(&other).0, None)), ["q revoked by olga", "d withdrawn revoked"]);
    same_after_replay(&shard);
}

#[test]
fn what_is_said_of_a_chain_counts_as_long_as_the_longest_ticket_of_any_source() {
    let config = KernelConfig { ticket_ttl_elsewhere: 3 * TTL, ..configured(ACCEPTS) };
    let mut shard = shard_of(config);
    let root = shard.job(&envelope("p", PLANNER));
    let (parent, record) = (decided(&root).0, ticket(&root));
    assert_eq!(decided(&root).1.expires_ms, Some((shard.at + TTL).millis()), "its own ticket lives as its source says");
    // What it may use of tokens is counted for so long: the definition says so.
    let spawned = shard.job(&child(&record, &envelope("c", SEARCH)));
    let mut asks = Vec::new();
    for fact in &spawned.facts {
        if let KernelFact::SliceRequested { request } = fact {
            asks.push(request.about().0.to_string());
        }
    }
    assert_eq!(asks, [format!("delegation:tokens:1000:{}", (3 * TTL).as_millis())]);
    let outcome = revoke(&mut shard, &parent, None);
    let Some(KernelFact::DelegationRevoked { until, .. }) = outcome.facts.first() else { panic!("{outcome:?}") };
    assert!(*until > shard.at + 3 * TTL, "{outcome:?}");
}
