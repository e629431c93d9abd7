//! Jobs that act for others: what a parent's ticket is worth, and that nothing grows along a chain.

use std::time::Duration;

use tidegate_kernel::{DelegationBounds, INPUT_COMMANDS, INPUT_GRANTS, Kernel, KernelConfig};
use tidegate_protocol::address::TopicName;
use tidegate_protocol::command::{Action, Command, CommandRefusal};
use tidegate_protocol::decision::{Decision, Verdict};
use tidegate_protocol::delegation::{ParentTicket, Scope};
use tidegate_protocol::facts::KernelFact;
use tidegate_protocol::ids::CommandId;
use tidegate_protocol::job::Job;
use tidegate_protocol::limits::{Amount, LimitAnswer, LimitRequest};
use tidegate_protocol::outcome::DeadReason;
use tidegate_protocol::time::Timestamp;
use tidegate_spine::Headers;
use tidegate_stage::{Message, Signal, Stage};

use crate::people::Ring;
use crate::shard::{Outcome, Shard, config, pool, record, source, trusting};
use crate::tickets::{KEYS, SENDER, STAMP, sent, signed};

pub(crate) const ACCEPTS: &str = "{name: jobs.raw, tenants: any, parent_ticket: accepted}";
pub(crate) const TTL: Duration = Duration::from_secs(60);

/// `mallory` may do nothing, `lena` needs an approval, work of `job.search` is cheap; the rest may run.
pub(crate) const POLICY: &str = "
id: agents
revision: 1
combine: most_restrictive
rules:
  - { id: all, match: { topics: [job.>] }, decision: allow }
  - { id: not-mallory, match: { actor_ids: [mallory] }, decision: deny, reason: mallory may not }
  - { id: ask-for-lena, match: { actor_ids: [lena] }, decision: require_approval, approval: { ttl: 1h } }
  - { id: shallow, match: { topics: [job.shallow], delegation: { min_depth: 2 } }, decision: deny, reason: too deep for this }
  - { id: pays, match: { topics: [job.vault], delegation: { min_depth: 1, required_scope: [pay] } }, decision: deny,
      reason: payers may not come here }
  - { id: tight, match: { capabilities: [plan] }, decision: allow_with_constraints,
      constraints: { budgets: { max_tokens: 1000, max_runtime_ms: 5000 } } }
  - { id: cheap, match: { topics: [job.search] }, decision: allow_with_constraints,
      constraints: { budgets: { max_tokens: 400 } } }
";

pub(crate) fn configured(yaml: &str) -> KernelConfig {
    let ring = Ring::read(&format!("{KEYS}\nann: approver\nbob: approver\nroot: approver\nolga: operator"));
    let pools = vec![pool("agents", &["plan", "pay", "search", "gpu"], &[])];
    KernelConfig { ticket_ttl: TTL, ..trusting(config(source(yaml), pools), &ring) }
}

pub(crate) fn shard_of(config: KernelConfig) -> Shard {
    let mut shard = Shard::new(config);
    shard.policy(POLICY);
    shard.kernel.observe(Signal::Owner { epoch: STAMP.epoch }, shard.at);
    shard
}

pub(crate) fn shard() -> Shard {
    shard_of(configured(ACCEPTS))
}

/// An envelope of `acme` with these fields more.
pub(crate) fn envelope(id: &str, more: &str) -> String {
    let comma = if more.is_empty() { "" } else { "," };
    format!(r#"{{"id":"{id}","tenant":"acme","payload":{{}}{comma}{more}}}"#)
}

/// What a planner that hands on nearly everything says of itself.
pub(crate) const PLANNER: &str = r#""topic":"job.agent.plan","capability":"plan","actor":{"id":"root","type":"human"},
    "scope":{"capabilities":["plan","search","gpu"],"topics":["job.agent.>","job.search","job.shallow","job.vault"]}"#;
/// A search that searches on.
pub(crate) const SEARCHER: &str = r#""topic":"job.search","capability":"search","actor":{"id":"bot"},
    "scope":{"capabilities":["search"],"topics":["job.search","job.shallow"]}"#;
pub(crate) const SEARCH: &str = r#""topic":"job.search","capability":"search","actor":{"id":"bot"}"#;

/// The verdict on a record, and its message on `approved`.
pub(crate) fn decided(outcome: &Outcome) -> (Job, Decision, Option<Message>) {
    let Some(KernelFact::JobDecided { job, decision, .. }) = outcome.facts.last() else { panic!("{outcome:?}") };
    let approved = outcome.messages.iter().find(|m| m.to.topic.as_str().contains("approved"));
    (job.clone(), decision.clone(), approved.cloned())
}

/// Its record as its worker gets it, when it was allowed.
pub(crate) fn ticket(outcome: &Outcome) -> String {
    let (.., approved) = decided(outcome);
    sent(&approved.unwrap_or_else(|| panic!("not allowed: {outcome:?}")), "node", SENDER)
}

pub(crate) fn child(parent: &str, envelope: &str) -> String {
    String::from_utf8(ParentTicket::read(parent).unwrap().child(envelope.as_bytes()).unwrap()).unwrap()
}

/// A root planner's ticket.
pub(crate) fn planner(shard: &mut Shard, more: &str) -> String {
    let more = if more.is_empty() { PLANNER.to_owned() } else { format!("{PLANNER},{more}") };
    let outcome = shard.job(&envelope("p", &more));
    ticket(&outcome)
}

/// The limits stage grants every request in full.
pub(crate) fn grant(shard: &mut Shard, outcome: &Outcome, units: Option<u64>) -> Outcome {
    let mut last = Outcome::default();
    for fact in &outcome.facts {
        let KernelFact::SliceRequested { request } = fact else { continue };
        let LimitRequest::Ask { id, holding, limit, key, definition, .. } = &**request else { continue };
        let answer = LimitAnswer::Granted {
            request: *id,
            holding: *holding,
            limit: limit.clone(),
            key: key.clone(),
            amount: units.map_or(definition.limit, |units| Amount::units(units).unwrap()),
            until: shard.at + Duration::from_mins(10),
            from: Timestamp(0),
            again: None,
            probe: false,
            refused: None,
        };
        last.then(shard.feed(INPUT_GRANTS, record(Some(&serde_json::to_vec(&answer).unwrap()), Headers::new())));
    }
    last
}

/// A child's verdict, with whatever limits it asks for.
pub(crate) fn run(shard: &mut Shard, value: &str) -> Outcome {
    let first = shard.job(value);
    let waits = matches!(first.facts.last(), Some(KernelFact::JobDeferred { .. }));
    if waits { grant(shard, &first, None) } else { first }
}

fn rejected(outcome: &Outcome) -> (DeadReason, String) {
    let Some(KernelFact::RecordRejected { reason, detail, job, .. }) = outcome.facts.last() else {
        panic!("{outcome:?}")
    };
    assert!(job.as_ref().is_none_or(|job| job.delegation.is_none()));
    let topics: Vec<&str> = outcome.messages.iter().map(|m| m.to.topic.as_str()).collect();
    assert_eq!(topics.first(), Some(&"tidegate.dead"));
    assert_eq!(topics.get(1).copied(), job.as_ref().map(|_| "tidegate.finished"));
    (*reason, detail.clone())
}

pub(crate) fn same_after_replay(shard: &Shard) {
    let live = shard.kernel.snapshot().unwrap();
    assert_eq!(shard.replayed().snapshot().unwrap(), live, "replay gives other bytes");
    let mut restored = Kernel::new(shard.config.clone()).unwrap();
    restored.restore(&live).unwrap();
    assert_eq!(restored.snapshot().unwrap(), live, "a restored snapshot gives other bytes");
}

#[test]
fn a_child_acts_for_its_chain_within_what_was_handed_on() {
    let mut shard = shard();
    let deadline = (shard.at + Duration::from_secs(30)).millis();
    let parent = planner(&mut shard, &format!(r#""deadline":{deadline}"#));
    let value = child(&parent, &envelope("c", &format!(r#"{SEARCH},"deadline":{}"#, deadline + 9_000)));
    let outcome = run(&mut shard, &value);
    let (job, decision, approved) = decided(&outcome);
    assert_eq!(decision.verdict, Verdict::AllowWithConstraints);
    let delegation = job.delegation.as_deref().unwrap();
    let chain: Vec<_> =
        delegation.chain.iter().map(|a| (a.job.as_str(), a.actor.id.as_deref(), a.max_tokens)).collect();
    assert_eq!(chain, [("p", Some("root"), Some(1_000))]);
    assert_eq!(job.parent.as_ref().map(AsRef::as_ref), Some("p"));
    assert_eq!((job.deadline, delegation.expires_ms, decision.expires_ms), (Some(deadline), deadline, Some(deadline)));
    let budgets = decision.constraints.unwrap().budgets;
    assert_eq!((budgets.max_tokens, budgets.max_runtime_ms), (Some(400), Some(5_000)), "its own and its parent's");
    // The parent's ticket goes no further than here.
    for message in &outcome.messages {
        let text = message.value.as_deref().unwrap_or_default();
        assert!(!text.windows(13).any(|w| w == b"parent_ticket"), "{}", message.to);
    }
    // A grandchild acts for both.
    let record = sent(&approved.unwrap(), "node", SENDER);
    let outcome = run(&mut shard, &child(&record, &envelope("g", SEARCH)));
    let (job, ..) = decided(&outcome);
    let delegation = job.delegation.unwrap();
    assert_eq!(delegation.chain.iter().map(|a| a.job.as_str()).collect::<Vec<_>>(), ["p", "c"]);
    assert_eq!(delegation.scope, Scope::handed_on_by(&serde_json::from_str::<Record>(&record).unwrap().job));
    same_after_replay(&shard);
}

#[derive(serde::Deserialize)]
struct Record {
    job: Job,
}

#[test]
fn a_ticket_that_is_not_the_parents_is_worth_nothing_and_its_job_is_dead() {
    let mut shard = shard();
    let parent = planner(&mut shard, "");
    let outcome = shard.job(&envelope("other", PLANNER));
    let (.., Some(message)) = decided(&outcome) else { panic!("{outcome:?}") };
    let bare = String::from_utf8(message.value.as_ref().unwrap().to_vec()).unwrap();
    let elsewhere = TopicName::new("tidegate.approved.gone").unwrap().partition(0);
    let denied = bare.replace(r#""verdict":"allow_with_constraints""#, r#""verdict":"deny""#);
    assert_ne!(denied, bare);
    let endless = {
        let mut record: serde_json::Value = serde_json::from_str(&bare).unwrap();
        record["decision"].as_object_mut().unwrap().remove("expires_ms");
        record.to_string()
    };
    let forged = DeadReason::ParentTicketForged;
    let mismatch = DeadReason::ParentTicketMismatch;
    let rows = [
        ("unsigned", bare.clone(), forged, "proves nothing"),
        ("widened scope", parent.replace("\"search\"", "\"pay\""), forged, "not what was signed"),
        ("another payload", parent.replace("\"payload\":{}", "\"payload\":1"), forged, "not what was signed"),
        ("a later end", parent.replace("\"expires_ms\":1", "\"expires_ms\":2"), forged, "not what was signed"),
        ("signed by nobody known", sent(&message, "stranger", SENDER), forged, "proves nothing"),
        ("signed by a scheduler", sent(&message, "other", SENDER), forged, "proves nothing"),
        ("another kernel's word", sent(&message, "node", "kernel.jobs.raw/1"), forged, "not its parent's kernel"),
        ("a scheduler's word", sent(&message, "other", "scheduler.p/0"), forged, "not its parent's kernel"),
        ("for no pool here", signed(bare.as_bytes(), &elsewhere, "node", SENDER), mismatch, "belongs to no pool"),
        ("of a denied job", signed(denied.as_bytes(), &message.to, "node", SENDER), mismatch, "verdict is `deny`"),
        ("without an end", signed(endless.as_bytes(), &message.to, "node", SENDER), mismatch, "has no end"),
    ];
    for (n, (what, ticket, reason, part)) in rows.into_iter().enumerate() {
        assert_ne!(ticket, parent, "{what}");
        let value = child(&ticket, &envelope(&format!("c{n}"), SEARCH));
        let (found, detail) = rejected(&shard.job(&value));
        assert!(found == reason && detail.contains(part), "{what}: {found:?} {detail}");
    }
    // Its time.
    shard.at = shard.at + TTL;
    let (found, detail) = rejected(&shard.job(&child(&parent, &envelope("late", SEARCH))));
    assert!(found == DeadReason::ParentTicketExpired && detail.contains("`p`"), "{detail}");
    same_after_replay(&shard);
}

#[test]
fn a_genuine_ticket_is_for_its_own_job_tenant_and_epoch_alone() {
    let mut shard = shard();
    let parent = planner(&mut shard, "");
    let quoted = serde_json::to_string(&parent).unwrap();
    let rows = [
        (format!(r#"{{"id":"a","tenant":"globex",{SEARCH},"parent":"p","parent_ticket":{quoted}}}"#), "another tenant"),
        (
            format!(r#"{{"id":"b","tenant":"acme",{SEARCH},"parent":"q","parent_ticket":{quoted}}}"#),
            "its parent is `q`",
        ),
    ];
    for (value, part) in rows {
        let (reason, detail) = rejected(&shard.job(&value));
        assert!(reason == DeadReason::ParentTicketMismatch && detail.contains(part), "{detail}");
    }
    // Without `parent` the ticket says it.
    let value = format!(r#"{{"id":"c","tenant":"acme",{SEARCH},"parent_ticket":{quoted}}}"#);
    let (job, ..) = decided(&run(&mut shard, &value));
    assert_eq!(job.parent.as_ref().map(AsRef::as_ref), Some("p"));
    // An owner of an earlier epoch cannot have met it.
    shard.kernel.observe(Signal::Owner { epoch: STAMP.epoch - 1 }, shard.at);
    let (reason, detail) = rejected(&shard.job(&child(&parent, &envelope("d", SEARCH))));
    assert!(reason == DeadReason::ParentTicketForged && detail.contains("still to come"), "{detail}");
}

#[test]
fn what_stands_as_a_ticket_and_is_none_is_refused_with_its_reason() {
    let mut shard = shard();
    for (n, ticket) in ["\"\"", "\"{}\"", "\"x\"", "{}", "7", "[]"].into_iter().enumerate() {
        let value = envelope(&format!("c{n}"), &format!(r#"{SEARCH},"parent":"p","parent_ticket":{ticket}"#));
        let (reason, detail) = rejected(&shard.job(&value));
        let expected = if ticket.starts_with('"') { DeadReason::ParentTicketForged } else { DeadReason::InvalidField };
        assert_eq!(reason, expected, "{ticket}: {detail}");
    }
    let huge = "x".repeat((256 << 10) + 1);
    let value = envelope("huge", &format!(r#"{SEARCH},"parent_ticket":"{huge}""#));
    assert_eq!(rejected(&shard.job(&value)).0, DeadReason::InvalidField);
}

#[test]
fn a_source_says_whether_it_takes_delegated_jobs() {
    let parent = planner(&mut shard(), "");
    let (root, delegated) = (envelope("r", SEARCH), child(&parent, &envelope("c", SEARCH)));
    for (setting, of_root, of_delegated) in [
        ("refused", None, Some(DeadReason::ParentTicketRefused)),
        ("accepted", None, None),
        ("required", Some(DeadReason::ParentTicketMissing), None),
    ] {
        for (value, expected) in [(&root, of_root), (&delegated, of_delegated)] {
            let mut shard = shard_of(configured(&ACCEPTS.replace("accepted", setting)));
            let outcome = run(&mut shard, value);
            match expected {
                Some(reason) => assert_eq!(rejected(&outcome).0, reason, "{setting}"),
                None => assert!(decided(&outcome).1.verdict.permits(), "{setting}"),
            }
        }
    }
    // `parent` alone is information, and makes nobody's child.
    let mut shard = shard();
    let (job, ..) = decided(&shard.job(&envelope("i", &format!(r#"{SEARCH},"parent":"p""#))));
    assert!(job.parent.is_some() && job.delegation.is_none());
}

#[test]
fn a_child_that_asks_for_more_than_was_handed_on_is_denied() {
    let mut shard = shard();
    let parent = planner(&mut shard, "");
    let rows = [
        (r#""topic":"job.search","capability":"pay""#, "needs capability `pay`"),
        (r#""topic":"job.search","capability":"search","requires":["pay"]"#, "needs capability `pay`"),
        (r#""topic":"job.pay.wire","capability":"search""#, "is about topic `job.pay.wire`"),
        (r#""topic":"job.agent.x","capability":"search","scope":{"capabilities":["pay"]}"#, "would hand on `pay`"),
        (r#""topic":"job.agent.x","capability":"search","scope":{"topics":["job.>"]}"#, "would hand on `job.>`"),
    ];
    for (n, (asks, part)) in rows.into_iter().enumerate() {
        let outcome = run(&mut shard, &child(&parent, &envelope(&format!("c{n}"), asks)));
        let (job, decision, approved) = decided(&outcome);
        assert_eq!((decision.verdict, approved.is_none()), (Verdict::Deny, true));
        assert!(decision.reason.contains(part), "{}", decision.reason);
        assert!(job.delegation.is_some(), "its chain stands in the fact");
    }
    // One that says nothing hands on no more than it does itself.
    let outcome =
        shard.job(&envelope("quiet", r#""topic":"job.agent.plan","capability":"plan","actor":{"id":"root"}"#));
    let quiet = ticket(&outcome);
    let (_, decision, _) = decided(&run(&mut shard, &child(&quiet, &envelope("x", SEARCH))));
    assert!(decision.reason.contains("needs capability `search`"), "{}", decision.reason);
}

#[test]
fn chains_are_no_deeper_than_the_kernel_and_the_policy_let_them_be() {
    let bounds = DelegationBounds { max_depth: 2 };
    let mut shard = shard_of(KernelConfig { delegation: bounds, ..configured(ACCEPTS) });
    let mut above = planner(&mut shard, "");
    for (depth, permitted) in [(1, true), (2, true), (3, false)] {
        let outcome = run(&mut shard, &child(&above, &envelope(&format!("c{depth}"), SEARCHER)));
        let (job, decision, _) = decided(&outcome);
        assert_eq!((job.delegation.unwrap().depth(), decision.verdict.permits()), (depth, permitted));
        if permitted {
            above = ticket(&outcome);
        } else {
            assert!(decision.reason.contains("3 jobs above it, and there may be 2"), "{}", decision.reason);
        }
    }
    let shallow = |id: &str| envelope(id, &SEARCH.replace("job.search", "job.shallow"));
    let mut shard = self::shard();
    let root = planner(&mut shard, "");
    assert!(decided(&run(&mut shard, &child(&root, &shallow("one")))).1.verdict.permits());
    let mut shard = self::shard();
    let root = planner(&mut shard, "");
    let outcome = run(&mut shard, &child(&root, &envelope("m", SEARCHER)));
    let middle = ticket(&outcome);
    let (_, decision, _) = decided(&run(&mut shard, &child(&middle, &shallow("two"))));
    assert!(decision.verdict == Verdict::Deny && decision.reason.contains("too deep for this"), "{}", decision.reason);
}

#[test]
fn policy_sees_what_was_handed_on() {
    let vault = r#""topic":"job.vault","capability":"search","actor":{"id":"bot"}"#;
    for (capabilities, permitted) in [(r#"["plan","search"]"#, true), (r#"["plan","search","pay"]"#, false)] {
        let mut shard = shard();
        let hands = format!(
            r#""topic":"job.agent.plan","capability":"plan","actor":{{"id":"root"}},"scope":{{"capabilities":{capabilities},"topics":["job.vault"]}}"#
        );
        let outcome = shard.job(&envelope("p", &hands));
        let outcome = run(&mut shard, &child(&ticket(&outcome), &envelope("c", vault)));
        assert_eq!(decided(&outcome).1.verdict.permits(), permitted, "{capabilities}");
    }
}

#[test]
fn every_principal_of_the_chain_is_judged() {
    let by = |n: usize, who: &str| if n == 0 { PLANNER.replace("root", who) } else { SEARCHER.replace("bot", who) };
    for (chain, expected) in [
        (["root", "middle", "bot"], Verdict::AllowWithConstraints),
        (["root", "middle", "mallory"], Verdict::Deny),
        (["root", "lena", "bot"], Verdict::RequireApproval),
        (["lena", "middle", "bot"], Verdict::RequireApproval),
    ] {
        let mut shard = shard();
        // Whoever is asked for an approval has got it: the ticket says so.
        let mut above: Option<String> = None;
        for (n, who) in chain.iter().enumerate() {
            let own = envelope(&format!("j{n}"), &by(n, who));
            let value = above.as_deref().map_or_else(|| own.clone(), |above| child(above, &own));
            let outcome = run(&mut shard, &value);
            if n + 1 < chain.len() {
                let held = matches!(outcome.facts.last(), Some(KernelFact::JobHeld { .. }));
                let outcome = if held { approve(&mut shard, &outcome, "ann") } else { outcome };
                above = Some(ticket(&outcome));
                continue;
            }
            let Some(KernelFact::JobDecided { decision, .. } | KernelFact::JobHeld { decision, .. }) =
                outcome.facts.last()
            else {
                panic!("{outcome:?}")
            };
            assert_eq!(decision.verdict, expected, "{chain:?}");
        }
    }
    // Mallory's own jobs get no ticket, so nobody acts for mallory; one that became hers later is judged with her all the same.
    let mut shard = shard();
    let parent = planner(&mut shard, "");
    shard.policy(&POLICY.replace("revision: 1", "revision: 2").replace("[mallory]", "[root]"));
    let (_, decision, _) = decided(&run(&mut shard, &child(&parent, &envelope("c", SEARCH))));
    assert!(decision.verdict == Verdict::Deny && decision.rule_ids.contains(&"not-mallory".to_owned()), "{decision:?}");
}

/// What a person says of the job that was held last.
fn say(shard: &mut Shard, held: &Outcome, who: &str) -> Outcome {
    let Some(KernelFact::JobHeld { job, decision, .. }) = held.facts.last() else { panic!("{held:?}") };
    let ring = Ring::read(&format!("{KEYS}\nann: approver\nbob: approver\nroot: approver\nolga: operator"));
    let key = ring.key(who);
    let command = Command {
        v: 1,
        id: CommandId::new(format!("say-{}-{who}", shard.offset)).unwrap(),
        action: Action::Approve,
        source: job.source.clone(),
        job_id: job.id.clone(),
        tenant: job.tenant.clone(),
        input_hash: job.input_hash,
        snapshot: decision.snapshot.clone(),
        by: key.person(),
        at_ms: 1,
        reason: String::new(),
        pool: None,
        redrive: None,
    };
    shard.feed(INPUT_COMMANDS, record(Some(&key.signs(&command)), Headers::new()))
}

fn approve(shard: &mut Shard, held: &Outcome, who: &str) -> Outcome {
    let outcome = say(shard, held, who);
    if matches!(outcome.facts.last(), Some(KernelFact::JobDeferred { .. })) {
        grant(shard, &outcome, None)
    } else {
        outcome
    }
}

#[test]
fn nobody_of_the_chain_approves_and_an_approval_ends_with_the_chain() {
    let mut shard = shard();
    let parent = planner(&mut shard, "");
    let held = shard.job(&child(&parent, &envelope("c", &SEARCH.replace("bot", "lena"))));
    let Some(KernelFact::JobHeld { job, decision, until, .. }) = held.facts.last() else { panic!("{held:?}") };
    assert_eq!(decision.constraints.as_ref().unwrap().budgets.max_runtime_ms, Some(5_000), "shown to whoever approves");
    assert_eq!(until.millis(), job.delegation.as_ref().unwrap().expires_ms);
    let view = held.messages.iter().find(|m| m.to.topic.as_str() == "tidegate.held").unwrap();
    let view: serde_json::Value = serde_json::from_slice(view.value.as_ref().unwrap()).unwrap();
    assert_eq!(view["job"]["delegation"]["chain"][0]["actor"]["id"], "root");
    let refused = say(&mut shard, &held, "root");
    let Some(KernelFact::CommandRefused { why, .. }) = refused.facts.last() else { panic!("{refused:?}") };
    assert_eq!(*why, CommandRefusal::OwnJob);
    let outcome = approve(&mut shard, &held, "bob");
    assert!(decided(&outcome).1.verdict.permits(), "{outcome:?}");
    same_after_replay(&shard);
    // What was approved too late is denied: its chain's time is over.
    let parent = planner_again(&mut shard);
    let held = shard.job(&child(&parent, &envelope("d", &SEARCH.replace("bot", "lena"))));
    let outcome = shard.pass(TTL);
    let (job, decision, _) = decided(&outcome);
    assert_eq!((job.id.as_str(), decision.verdict), ("d", Verdict::Deny));
    assert!(matches!(held.facts.last(), Some(KernelFact::JobHeld { .. })));
}

fn planner_again(shard: &mut Shard) -> String {
    let outcome = shard.job(&envelope("p2", PLANNER));
    ticket(&outcome)
}

#[test]
fn a_deferred_child_whose_chain_has_ended_is_denied_when_it_is_judged_again() {
    let mut shard = shard();
    let soon = (shard.at + Duration::from_secs(2)).millis();
    let parent = planner(&mut shard, &format!(r#""deadline":{soon}"#));
    let waits = shard.job(&child(&parent, &envelope("c", SEARCH)));
    assert!(matches!(waits.facts.last(), Some(KernelFact::JobDeferred { .. })), "{waits:?}");
    shard.at = shard.at + Duration::from_secs(3);
    let (_, decision, _) = decided(&grant(&mut shard, &waits, None));
    assert!(decision.verdict == Verdict::Deny && decision.reason.contains("is over"), "{}", decision.reason);
}

#[test]
fn what_jobs_below_a_parent_use_together_stays_within_its_budget() {
    let mut shard = shard();
    let parent = planner(&mut shard, "");
    let mut verdicts = Vec::new();
    for n in 0..4 {
        let outcome = run(&mut shard, &child(&parent, &envelope(&format!("c{n}"), SEARCH)));
        let (_, decision, _) = decided(&outcome);
        if decision.verdict == Verdict::Deny {
            assert!(decision.reason.contains("may use 1000 tokens together"), "{}", decision.reason);
        }
        assert!(decision.settles || decision.verdict == Verdict::Deny, "the scheduler is to tell what it used");
        verdicts.push(decision.verdict.permits());
    }
    assert_eq!(verdicts, [true, true, false, false], "400 and 400 of 1000");
    same_after_replay(&shard);
    // A child of a child takes of both.
    let mut shard = self::shard();
    let parent = planner(&mut shard, "");
    let outcome = run(&mut shard, &child(&parent, &envelope("m", PLANNER)));
    let Some(KernelFact::JobDecided { spends, .. }) = outcome.facts.last() else { panic!("{outcome:?}") };
    assert_eq!(spends.len(), 1);
    let middle = ticket(&outcome);
    let outcome = run(&mut shard, &child(&middle, &envelope("g", SEARCH)));
    let (_, decision, _) = decided(&outcome);
    assert_eq!(decision.verdict, Verdict::Deny, "its parent has reserved all of the root's: {}", decision.reason);
}

#[test]
fn the_same_child_under_a_later_ticket_of_its_parent_runs_once() {
    let mut shard = shard();
    let parent = planner(&mut shard, "");
    let (.., message) = decided(&shard.job(&envelope("p3", PLANNER)));
    let again = sent(&message.unwrap(), "node", SENDER);
    let (first, second) = (child(&parent, &envelope("c", SEARCH)), child(&again, &envelope("c", SEARCH)));
    let outcome = run(&mut shard, &first);
    assert!(decided(&outcome).1.verdict.permits());
    // Same parent: only the ticket's text differs.
    let same_parent = second.replace("\"parent\":\"p3\"", "\"parent\":\"p\"");
    let outcome = shard.job(&same_parent);
    assert!(matches!(outcome.facts.last(), Some(KernelFact::JobRepeated { .. })), "{outcome:?}");
}
