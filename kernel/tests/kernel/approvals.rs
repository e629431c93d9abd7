//! What people may say about held jobs, and what they may not: every abuse is refused with its word.

use std::time::Duration;

use tidegate_kernel::INPUT_COMMANDS;
use tidegate_protocol::command::{Action, Command};
use tidegate_protocol::decision::{Approval, Decision, Escalation, OnTimeout, Verdict};
use tidegate_protocol::facts::KernelFact;
use tidegate_protocol::ids::{CommandId, JobId, PersonId, PoolName, TenantId};
use tidegate_protocol::job::{InputHash, Job};
use tidegate_protocol::kept::{ExactJson, KeptAs, KeptRecord, Replaced};
use tidegate_protocol::withdrawal::{Withdrawal, Withdrawn};
use tidegate_spine::Headers;
use tidegate_stage::{Delivery, Stage};

use crate::people::Ring;
use crate::shard::{Outcome, POLICY, Shard, record, trusting};

const PEOPLE: &str = "\
alice: approver/finance
alice-old=alice: approver/finance
bob: approver/finance
carol: approver/cfo
dave: approver
bot-7: approver/finance
erin: approver/finance | globex
olga: operator
sam: submitter
gina: submitter | globex
will: worker";

fn approval(quorum: u32) -> Approval {
    Approval {
        approvers: vec!["finance".into()],
        quorum,
        ttl_ms: 60_000,
        on_timeout: OnTimeout::Deny,
        escalate: vec![Escalation { after_ms: 10_000, to: "cfo".into() }],
    }
}

/// A shard that holds one job of `bot-7`, which its policy would allow by now.
struct Held {
    shard: Shard,
    ring: Ring,
    job: Job,
    snapshot: String,
    said: u32,
}

impl Held {
    fn new(approval: Approval) -> Self {
        let value = r#"{"id":"j1","tenant":"acme","topic":"job.pay.wire","actor":{"id":"bot-7"},"capability":"pay","payload":{"amount": 20}}"#;
        let mut usual = Shard::usual();
        let facts = usual.job(value).facts;
        let [adopted, KernelFact::JobDecided { job, decision, payload, .. }] = &*facts else { panic!("{facts:?}") };
        let ring = Ring::read(PEOPLE);
        let mut shard = Shard::new(trusting(usual.config.clone(), &ring));
        (shard.at, shard.offset) = (usual.at, usual.offset);
        shard.policy(POLICY);
        shard.fact(adopted);
        shard.fact(&KernelFact::JobHeld {
            job: job.clone(),
            decision: Decision {
                verdict: Verdict::RequireApproval,
                approval: Some(Box::new(approval.clone())),
                reason: "large".into(),
                ..decision.clone()
            },
            payload: *payload,
            record: Some(Box::new(KeptRecord {
                value: ExactJson::new(value).unwrap(),
                key: None,
                headers: Vec::new(),
            })),
            until: shard.at + Duration::from_millis(approval.ttl_ms),
            replaces: None,
            pool: None,
        });
        Self { shard, ring, job: job.clone(), snapshot: decision.snapshot.clone(), said: 0 }
    }

    fn command(&mut self, action: Action, key: &str) -> Command {
        self.said += 1;
        Command {
            v: 1,
            id: CommandId::new(format!("c{}", self.said)).unwrap(),
            action,
            source: self.job.source.clone(),
            job_id: self.job.id.clone(),
            tenant: self.job.tenant.clone(),
            input_hash: self.job.input_hash,
            snapshot: self.snapshot.clone(),
            by: self.ring.key(key).person(),
            at_ms: 0,
            reason: String::new(),
            pool: None,
            redrive: None,
        }
    }

    fn send(&mut self, value: &[u8]) -> Outcome {
        self.shard.feed(INPUT_COMMANDS, record(Some(value), Headers::new()))
    }

    /// This key says this, changed by `how`.
    fn say(&mut self, action: Action, key: &str, how: impl FnOnce(&mut Command)) -> Outcome {
        let mut command = self.command(action, key);
        how(&mut command);
        let value = self.ring.key(key).signs(&command);
        self.send(&value)
    }

    fn approve(&mut self, key: &str) -> Outcome {
        self.say(Action::Approve, key, |_| {})
    }
}

/// The words of the facts.
#[expect(clippy::wildcard_enum_match_arm, reason = "whatever else comes fails the test")]
fn words(outcome: &Outcome) -> Vec<String> {
    let word = |fact: &KernelFact| match fact {
        KernelFact::ApprovalGiven { by, .. } => format!("given by {by}"),
        KernelFact::CommandRefused { why, .. } => why.word().to_owned(),
        KernelFact::JobDecided { decision, replaces, .. } => {
            assert!(replaces.is_some());
            decision.verdict.word().to_owned()
        }
        KernelFact::JobCancelled { .. } => "cancelled".to_owned(),
        KernelFact::DelegationRevoked { .. } => "revoked".to_owned(),
        KernelFact::RecordDropped { source, .. } => format!("dropped {source}"),
        KernelFact::JobWithdrawn { pool, cause, .. } => format!("withdrawn from {pool} ({})", cause.word()),
        KernelFact::HoldEscalated { to, .. } => format!("escalated to {to}"),
        other => panic!("{other:?}"),
    };
    outcome.facts.iter().map(word).collect()
}

fn topics(outcome: &Outcome) -> Vec<String> {
    outcome.messages.iter().map(|m| format!("{} #{}", m.to.topic.as_str(), m.ordinal)).collect()
}

const NOTHING: [&str; 0] = [];

#[test]
fn enough_different_people_release_a_job_once_and_everybody_after_them_is_too_late() {
    let mut held = Held::new(approval(2));
    let first = held.approve("alice");
    assert_eq!(words(&first), ["given by alice"]);
    assert_eq!(topics(&first), ["tidegate.held #0"]);
    let second = held.approve("bob");
    assert_eq!(words(&second), ["given by bob", "allow"]);
    assert_eq!(topics(&second), ["tidegate.held #0", "tidegate.held #4", "tidegate.approved.bank #0"]);
    assert!(second.messages[1].value.is_none(), "a tombstone");
    for late in ["alice", "bob", "carol"] {
        assert_eq!(words(&held.approve(late)), ["not_held"], "{late}");
    }
    let live = held.shard.kernel.snapshot().unwrap();
    assert_eq!(held.shard.replayed().snapshot().unwrap(), live);
}

#[test]
fn one_person_is_one_person_with_however_many_keys_and_commands() {
    let mut held = Held::new(approval(2));
    assert_eq!(words(&held.approve("alice")), ["given by alice"]);
    assert_eq!(words(&held.approve("alice")), ["already_given"]);
    assert_eq!(words(&held.approve("alice-old")), ["already_given"]);
    let mut command = held.command(Action::Approve, "bob");
    command.reason = "looked at it".into();
    let value = held.ring.key("bob").signs(&command);
    assert_eq!(words(&held.send(&value)), ["given by bob", "allow"]);
    assert_eq!(words(&held.send(&value)), ["not_held"], "the very same record again");
}

#[test]
fn what_is_genuine_but_wrong_is_refused_with_its_word_and_changes_nothing() {
    type Change = fn(&mut Command);
    let cases: [(&str, Change, &str); 9] = [
        ("bot-7", |_| {}, "own_job"),
        ("carol", |_| {}, "not_an_approver"),
        ("dave", |_| {}, "not_an_approver"),
        ("alice", |c| c.input_hash = InputHash::of(b"other", std::iter::empty()), "other_input"),
        ("alice", |c| c.job_id = JobId::new("j2").unwrap(), "other_input"),
        ("alice", |c| c.tenant = TenantId::new("globex").unwrap(), "other_tenant"),
        ("erin", |c| c.tenant = TenantId::new("globex").unwrap(), "other_tenant"),
        ("alice", |c| c.snapshot = "other".into(), "other_snapshot"),
        ("alice", |c| c.source.offset += 1, "not_held"),
    ];
    for (key, how, word) in cases {
        let mut held = Held::new(approval(1));
        let outcome = held.say(Action::Approve, key, how);
        assert_eq!(words(&outcome), [word], "{key}");
        assert!(topics(&outcome).is_empty(), "{key}");
        assert_eq!(words(&held.approve("alice")), ["given by alice", "allow"], "after {word}");
    }
}

#[test]
fn what_nobody_trusted_has_signed_for_this_leaves_no_fact() {
    let mut held = Held::new(approval(1));
    for (key, action) in [
        ("mallory", Action::Approve),
        ("olga", Action::Approve),
        ("sam", Action::Approve),
        ("will", Action::Approve),
        ("erin", Action::Approve),
        ("alice", Action::Cancel),
        ("alice", Action::Revoke),
        ("sam", Action::Redrive),
    ] {
        assert_eq!(words(&held.say(action, key, |_| {})), NOTHING, "{key} {action:?}");
    }
    let speaks_for_another = held.say(Action::Approve, "alice", |c| c.by = PersonId::new("bob").unwrap());
    assert_eq!(words(&speaks_for_another), NOTHING);
    let control = held.say(Action::Approve, "alice", |c| c.reason = "fine\u{7}".into());
    assert_eq!(words(&control), NOTHING);
    let oversize = held.say(Action::Approve, "alice", |c| c.reason = "x".repeat(9_000));
    assert_eq!(words(&oversize), NOTHING);
    let newer = held.say(Action::Approve, "alice", |c| c.v = 2);
    assert_eq!(words(&newer), NOTHING);

    let command = held.command(Action::Approve, "alice");
    let plain = serde_json::to_vec(&command).unwrap();
    assert_eq!(words(&held.send(&plain)), NOTHING, "unsigned");
    let good = held.ring.key("alice").signs(&command);
    for at in 0..good.len() {
        let mut changed = good.clone();
        changed[at] ^= 1;
        assert_eq!(words(&held.send(&changed)), NOTHING, "byte {at} changed: {}", String::from_utf8_lossy(&changed));
    }
    for bad in [&b""[..], b"null", b"{}", b"\xff\xfe"] {
        assert_eq!(words(&held.send(bad)), NOTHING);
    }
    let nothing = held.shard.feed(INPUT_COMMANDS, record(None, Headers::new()));
    assert_eq!(words(&nothing), NOTHING);
    assert_eq!(words(&held.send(&good)), ["given by alice", "allow"], "after all that the genuine one counts");
}

#[test]
fn an_approval_of_one_job_is_worth_nothing_for_another() {
    let mut held = Held::new(approval(1));
    let command = held.command(Action::Approve, "alice");
    let value = String::from_utf8(held.ring.key("alice").signs(&command)).unwrap();
    let moved = value.replace(&held.job.source.to_string(), "jobs.raw/0@77");
    assert_eq!(words(&held.send(moved.as_bytes())), NOTHING, "what it is about is signed");
}

#[test]
fn a_rejection_ends_a_job_whatever_others_said_and_nothing_counts_after_it() {
    let mut held = Held::new(approval(2));
    held.approve("alice");
    let rejected = held.say(Action::Reject, "bob", |c| c.reason = "wrong account".into());
    assert_eq!(words(&rejected), ["deny"]);
    assert_eq!(topics(&rejected), ["tidegate.held #4", "tidegate.denied #1", "tidegate.finished #2"]);
    let Some(KernelFact::JobDecided { decision, replaces: Some(Replaced { was: KeptAs::Held, .. }), .. }) =
        rejected.facts.last()
    else {
        panic!("{rejected:?}")
    };
    assert_eq!(decision.reason, "rejected by bob: wrong account");
    assert_eq!(words(&held.approve("bob")), ["not_held"]);
    assert_eq!(words(&held.say(Action::Reject, "alice", |_| {})), ["not_held"]);
}

#[test]
fn who_may_not_approve_may_not_reject_either() {
    let mut held = Held::new(approval(1));
    assert_eq!(words(&held.say(Action::Reject, "carol", |_| {})), ["not_an_approver"]);
    assert_eq!(words(&held.say(Action::Reject, "mallory", |_| {})), NOTHING);
}

#[test]
fn time_brings_further_roles_in_and_then_ends_the_hold() {
    let mut held = Held::new(approval(1));
    assert_eq!(words(&held.approve("carol")), ["not_an_approver"]);
    let escalated = held.shard.pass(Duration::from_secs(10));
    assert_eq!(
        (words(&escalated), topics(&escalated)),
        (vec!["escalated to cfo".into()], vec!["tidegate.held #0".into()])
    );
    assert_eq!(words(&held.approve("carol")), ["given by carol", "allow"]);

    let mut held = Held::new(approval(2));
    held.approve("alice");
    let over = held.shard.pass(Duration::from_secs(61));
    assert_eq!(words(&over), ["escalated to cfo", "deny"]);
    assert_eq!(topics(&over), ["tidegate.held #0", "tidegate.held #4", "tidegate.denied #1", "tidegate.finished #2"]);
    assert_eq!(words(&held.approve("bob")), ["not_held"], "late");
}

#[test]
fn an_approval_that_arrives_when_its_time_is_over_is_late_even_before_the_timer_has_said_so() {
    let mut held = Held::new(approval(1));
    held.shard.at = held.shard.at + Duration::from_secs(60);
    assert_eq!(words(&held.approve("alice")), ["not_held"]);
}

#[test]
fn people_cannot_allow_what_policy_denies_by_then() {
    let mut held = Held::new(approval(1));
    held.shard.policy(&POLICY.replace("revision: 1", "revision: 2").replace("value: 1000", "value: 10"));
    let outcome = held.approve("alice");
    // The other policy is said first; it wakes the hold, and what it says counts.
    assert!(
        matches!(
            outcome.facts[..],
            [
                KernelFact::ApprovalGiven { .. },
                KernelFact::PolicyAdopted { revision: 2, .. },
                KernelFact::JobDecided { decision: Decision { verdict: Verdict::Deny, .. }, .. },
            ]
        ),
        "{outcome:?}"
    );
    assert!(!topics(&outcome).iter().any(|topic| topic.contains("approved")));
}

#[test]
fn a_job_is_called_off_by_those_who_operate_or_submit_for_its_tenant() {
    for key in ["olga", "sam"] {
        let mut held = Held::new(approval(1));
        let cancelled = held.say(Action::Cancel, key, |_| {});
        assert_eq!(words(&cancelled), ["cancelled"]);
        assert_eq!(topics(&cancelled), ["tidegate.held #2", "tidegate.finished #0"]);
        assert_eq!(words(&held.say(Action::Cancel, key, |_| {})), ["not_kept"]);
        assert_eq!(words(&held.say(Action::Cancel, key, |c| c.pool = bank())), ["withdrawn from bank (cancelled)"]);
        assert_eq!(words(&held.approve("alice")), ["not_held"]);
    }
    let mut held = Held::new(approval(1));
    let other = held.say(Action::Cancel, "olga", |c| c.input_hash = InputHash::of(b"x", std::iter::empty()));
    assert_eq!(words(&other), ["other_input"]);
    // Revoked, it is called off as well.
    assert_eq!(words(&held.say(Action::Revoke, "olga", |_| {})), ["revoked", "cancelled"]);
    assert_eq!(words(&held.say(Action::Revoke, "olga", |_| {})), ["already_revoked"]);
}

fn bank() -> Option<PoolName> {
    Some(PoolName::new("bank").unwrap())
}

#[test]
fn a_released_job_is_called_off_by_telling_its_pool_once() {
    let mut held = Held::new(approval(1));
    assert_eq!(words(&held.approve("alice")), ["given by alice", "allow"]);
    let released = held.shard.log.len();
    type Change = fn(&mut Command);
    let refused: [(&str, Change, &[&str]); 6] = [
        ("olga", |_| {}, &["not_kept"]),
        ("olga", |c| c.pool = Some(PoolName::new("gone").unwrap()), &["not_kept"]),
        ("olga", |c| (c.pool, c.source.partition) = (bank(), 1), &["other_input"]),
        (
            "olga",
            |c| (c.pool, c.source.source) = (bank(), "jobs.other".to_owned().try_into().unwrap()),
            &["other_input"],
        ),
        ("alice", |c| c.pool = bank(), &[]),
        ("gina", |c| c.pool = bank(), &[]),
    ];
    for (key, how, word) in refused {
        let outcome = held.say(Action::Cancel, key, how);
        assert_eq!(
            (words(&outcome), topics(&outcome)),
            (word.iter().map(ToString::to_string).collect(), vec![]),
            "{key}"
        );
    }
    assert!(held.shard.log.len() > released);
    let how = |c: &mut Command| (c.pool, c.reason) = (bank(), "ordered twice".into());
    let told = held.say(Action::Cancel, "sam", how);
    assert_eq!(words(&told), ["withdrawn from bank (cancelled)"]);
    // In whichever of its tenant's buckets the job stands, this stands after it.
    let [message, other, soon] = &told.messages[..] else { panic!("{told:?}") };
    assert_eq!((message.delivery, other.delivery, &message.value), (Delivery::Fenced, Delivery::Fenced, &other.value));
    assert_ne!(message.to, other.to);
    // And once where nothing stands before it.
    assert_eq!((soon.to.to_string().as_str(), soon.delivery), ("tidegate.withdrawals.bank/0", Delivery::Fenced));
    assert_eq!(soon.value, message.value);
    let withdrawal = Withdrawal::read(message.value.as_ref().unwrap()).unwrap();
    let Withdrawn { source, tenant, id, by, reason, .. } = withdrawal.withdrawn;
    assert_eq!((source, tenant, id), (held.job.source.clone(), held.job.tenant.clone(), held.job.id.clone()));
    assert_eq!((by.as_str(), &*reason), ("sam", "ordered twice"));
    assert_eq!(words(&held.say(Action::Cancel, "olga", |c| c.pool = bank())), ["already_withdrawn"]);
    let live = held.shard.kernel.snapshot().unwrap();
    assert_eq!(held.shard.replayed().snapshot().unwrap(), live);
}

#[test]
fn a_flood_of_refused_commands_leaves_a_bounded_number_of_facts() {
    let mut held = Held::new(approval(1));
    let facts: usize = (0..2_000).map(|_| held.say(Action::Approve, "carol", |_| {}).facts.len()).sum();
    assert_eq!(facts, 600);
}
