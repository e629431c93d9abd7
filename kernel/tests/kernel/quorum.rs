//! Whose approvals count, before and after policy has changed, and when there can never be enough of them.

use std::time::Duration;

use tidegate_kernel::INPUT_COMMANDS;
use tidegate_protocol::command::{Action, Command};
use tidegate_protocol::facts::KernelFact;
use tidegate_protocol::ids::CommandId;
use tidegate_protocol::job::Job;
use tidegate_spine::Headers;

use crate::people::Ring;
use crate::shard::{Outcome, PLAIN, Shard, config, pool, record, source, trusting};

const PEOPLE: &str = "\
alice: approver/finance
alice-old=alice: approver/finance
bob: approver/finance
carol: approver/cfo
bot-7: approver/finance
erin: approver/finance | globex";

const JOB: &str =
    r#"{"id":"j1","tenant":"acme","topic":"job.pay.wire","actor":{"id":"bot-7"},"capability":"pay","payload":{}}"#;

/// Every payment is asked for on these terms.
fn policy(revision: u32, terms: &str) -> String {
    format!(
        "id: bank\nrevision: {revision}\nrules:\n  - {{ id: pay, match: {{ topics: [job.pay.>] }}, decision: require_approval, reason: paid, {terms} }}\n"
    )
}

/// A shard that was sent one job of `bot-7`.
struct Asked {
    shard: Shard,
    ring: Ring,
    /// The job, and the policy it is asked for under.
    held: Option<(Job, String)>,
}

impl Asked {
    fn new(terms: &str) -> (Self, Vec<String>) {
        let ring = Ring::read(PEOPLE);
        let mut shard = Shard::new(trusting(config(source(PLAIN), vec![pool("bank", &["pay"], &[])]), &ring));
        shard.policy(&policy(1, terms));
        let mut asked = Self { shard, ring, held: None };
        let outcome = asked.shard.job(JOB);
        let words = asked.words(&outcome);
        (asked, words)
    }

    /// What is said of the job.
    #[expect(clippy::wildcard_enum_match_arm, reason = "what says nothing of the job has no word")]
    fn words(&mut self, outcome: &Outcome) -> Vec<String> {
        let mut words = Vec::new();
        for fact in &outcome.facts {
            words.push(match fact {
                KernelFact::JobHeld { job, decision, .. } => {
                    self.held = Some((job.clone(), decision.snapshot.clone()));
                    "held".to_owned()
                }
                KernelFact::HoldRenewed { decision, .. } => {
                    let held = self.held.as_mut().unwrap();
                    held.1.clone_from(&decision.snapshot);
                    "renewed".to_owned()
                }
                KernelFact::JobDecided { decision, .. } => format!("{}: {}", decision.verdict.word(), decision.reason),
                KernelFact::ApprovalGiven { by, .. } => format!("given by {by}"),
                KernelFact::CommandRefused { why, .. } => why.word().to_owned(),
                _ => continue,
            });
        }
        words
    }

    fn approve(&mut self, key: &str) -> Vec<String> {
        let (job, snapshot) = self.held.clone().unwrap();
        let command = Command {
            v: 1,
            id: CommandId::new(format!("c{}", self.shard.offset)).unwrap(),
            action: Action::Approve,
            source: job.source,
            job_id: job.id,
            tenant: job.tenant,
            input_hash: job.input_hash,
            snapshot,
            by: self.ring.key(key).person(),
            at_ms: 0,
            reason: String::new(),
            pool: None,
            redrive: None,
        };
        let value = self.ring.key(key).signs(&command);
        let outcome = self.shard.feed(INPUT_COMMANDS, record(Some(&value), Headers::new()));
        self.words(&outcome)
    }

    /// Policy asks on these terms from now on; the next record, which is no job, makes it known.
    fn terms(&mut self, terms: &str) -> Vec<String> {
        self.shard.policy(&policy(2, terms));
        let outcome = self.shard.job("{");
        self.words(&outcome)
    }
}

#[test]
fn what_not_as_many_people_could_ever_approve_as_it_asks_for_is_denied_at_once() {
    // Of `acme`: alice, with two keys, and bob of finance, carol the cfo; and bot-7, whose own job it is.
    let cfo = "escalate: [{ after: 10m, to: cfo }]";
    for (terms, enough) in [
        ("approvers: [finance]".to_owned(), true),
        ("approvers: [finance], quorum: 2".to_owned(), true),
        ("approvers: [finance], quorum: 3".to_owned(), false),
        (format!("approvers: [finance], quorum: 3, {cfo}"), true),
        (format!("approvers: [finance], quorum: 4, {cfo}"), false),
        ("approvers: [finance, cfo], quorum: 3".to_owned(), true),
        ("approvers: [finance, cfo], quorum: 4".to_owned(), false),
        ("approvers: [cfo], quorum: 2".to_owned(), false),
        ("approvers: [nobody]".to_owned(), false),
    ] {
        let (_, said) = Asked::new(&format!("approval: {{ {terms}, ttl: 1h }}"));
        let denied = said == ["deny: nobody who could approve it is known here: paid"];
        assert!(if enough { said == ["held"] } else { denied }, "{terms}: {said:?}");
    }
}

#[test]
fn an_approval_counts_under_a_later_policy_where_that_takes_one_of_its_roles() {
    let first = "approval: { approvers: [finance], quorum: 2, ttl: 1h, escalate: [{ after: 10s, to: cfo }] }";
    // It went to the cfo, and she approved it.
    for (later, expected) in [
        ("approvers: [finance], quorum: 1", "renewed"),
        ("approvers: [finance], quorum: 2", "renewed"),
        ("approvers: [finance], quorum: 1, escalate: [{ after: 10s, to: board }]", "renewed"),
        ("approvers: [finance], quorum: 1, escalate: [{ after: 10s, to: cfo }]", "allow: approved by carol: paid"),
        ("approvers: [finance, cfo], quorum: 1", "allow: approved by carol: paid"),
    ] {
        let (mut asked, _) = Asked::new(first);
        asked.shard.pass(Duration::from_secs(11));
        assert_eq!(asked.approve("carol"), ["given by carol"]);
        assert_eq!(asked.terms(&format!("approval: {{ {later}, ttl: 1h }}")), [expected], "{later}");
        let live = tidegate_stage::Stage::snapshot(&asked.shard.kernel).unwrap();
        assert_eq!(tidegate_stage::Stage::snapshot(&asked.shard.replayed()).unwrap(), live, "{later}");
    }
}

#[test]
fn it_is_approved_by_those_whose_approval_counts_alone() {
    let escalating = "escalate: [{ after: 10s, to: cfo }]";
    for (later, by) in [(format!(", {escalating}"), "carol, alice"), (String::new(), "alice")] {
        let terms = format!("approval: {{ approvers: [finance], quorum: 3, ttl: 1h, {escalating} }}");
        let (mut asked, _) = Asked::new(&terms);
        asked.shard.pass(Duration::from_secs(11));
        assert_eq!(asked.approve("carol"), ["given by carol"]);
        assert_eq!(asked.approve("alice"), ["given by alice"]);
        let said = asked.terms(&format!("approval: {{ approvers: [finance], quorum: 1, ttl: 1h{later} }}"));
        assert_eq!(said, [format!("allow: approved by {by}: paid")], "{later}");
    }
}

#[test]
fn an_approval_holds_for_the_constraints_it_was_given_under_and_no_others() {
    let terms = |constraints: &str, quorum: u32| {
        format!("{constraints}approval: {{ approvers: [finance], quorum: {quorum}, ttl: 1h }}")
    };
    let shown = "constraints: { budgets: { max_tokens: 100 } }, ";
    let other = "constraints: { budgets: { max_tokens: 100, max_runtime_ms: 5 } }, ";
    for (before, after, holds) in [
        (shown, shown, true),
        ("", "", true),
        (shown, "", false),
        ("", shown, false),
        (shown, "constraints: { budgets: { max_tokens: 101 } }, ", false),
        (shown, "constraints: { budgets: { max_tokens: 99 } }, ", false),
        (shown, other, false),
        (other, shown, false),
    ] {
        let (mut asked, _) = Asked::new(&terms(before, 2));
        assert_eq!(asked.approve("alice"), ["given by alice"]);
        let allowed = |by: &str, constraints: &str| {
            let verdict = if constraints.is_empty() { "allow" } else { "allow_with_constraints" };
            format!("{verdict}: approved by {by}: paid")
        };
        let said = asked.terms(&terms(after, 1));
        if holds {
            assert_eq!(said, [allowed("alice", after)], "{before}");
            continue;
        }
        // Everybody is asked anew, whoever has approved the other included.
        assert_eq!(said, ["held"], "{before} then {after}");
        assert_eq!(asked.approve("alice"), ["given by alice".to_owned(), allowed("alice", after)], "{after}");
    }
}
