//! Dead records that an operator has judged again.

use std::time::Duration;

use tidegate_kernel::{INPUT_COMMANDS, INPUT_OUTCOMES, Kernel};
use tidegate_protocol::command::{Action, Command};
use tidegate_protocol::decision::Verdict;
use tidegate_protocol::facts::KernelFact;
use tidegate_protocol::ids::{CommandId, JobId, PersonId, TenantId};
use tidegate_protocol::job::{InputHash, SourcePosition};
use tidegate_protocol::kept::{ExactJson, KeptAs, KeptBytes};
use tidegate_protocol::limits::{OutcomeTold, Usage};
use tidegate_protocol::outcome::{DeadReason, Outcome as Ends};
use tidegate_protocol::redrive::{RawRecord, Redriven};
use tidegate_spine::Headers;
use tidegate_stage::Stage;

use crate::delegation::grant;
use crate::people::Ring;
use crate::shard::{Outcome, PLAIN, POLICY, Shard, config, pool, record, source, trusting};
use crate::tickets::{SENDER, sent};

const PEOPLE: &str = "olga: operator\nsam: submitter\nalice: approver/finance\nnode: stage/kernel";
const GOOD: &str =
    r#"{"id":"j1","tenant":"acme","topic":"job.pay.wire","capability":"pay","payload":{"amount": 20.50}}"#;

fn shard() -> Shard {
    let ring = Ring::read(PEOPLE);
    let mut shard = Shard::new(trusting(config(source(PLAIN), vec![pool("bank", &["pay"], &[])]), &ring));
    shard.policy(POLICY);
    shard
}

fn raw(value: &str) -> Redriven {
    let headers = vec![("traceparent".to_owned(), KeptBytes::new(b"00-aa-bb-01"))];
    Redriven::Record(RawRecord { value: KeptBytes::new(value.as_bytes()), key: None, headers })
}

fn command(shard: &Shard, died: &str, redriven: Redriven) -> Command {
    Command {
        v: 1,
        id: CommandId::new("c1").unwrap(),
        action: Action::Redrive,
        source: died.parse().unwrap(),
        job_id: JobId::new("-").unwrap(),
        tenant: TenantId::new("-").unwrap(),
        input_hash: InputHash::of(b"", std::iter::empty()),
        snapshot: String::new(),
        by: PersonId::new("olga").unwrap(),
        at_ms: shard.at.millis(),
        reason: "mended".into(),
        pool: None,
        redrive: Some(Box::new(redriven)),
    }
}

fn say(shard: &mut Shard, key: &str, command: &Command) -> Outcome {
    let value = Ring::read(PEOPLE).key(key).signs(command);
    shard.feed(INPUT_COMMANDS, record(Some(&value), Headers::new()))
}

fn redrive(shard: &mut Shard, died: &str, redriven: Redriven) -> Outcome {
    let command = command(shard, died, redriven);
    say(shard, "olga", &command)
}

fn refusal(outcome: &Outcome) -> &'static str {
    match &outcome.facts[..] {
        [KernelFact::CommandRefused { why, .. }] => why.word(),
        other => panic!("{other:?}"),
    }
}

fn topics(outcome: &Outcome) -> Vec<String> {
    outcome.messages.iter().map(|m| format!("{} #{}", m.to.topic.as_str(), m.ordinal)).collect()
}

/// The first record, unparsable: dead.
fn unparsable(shard: &mut Shard) {
    let outcome = shard.job(&GOOD[..40]);
    assert!(matches!(
        &outcome.facts[..],
        [KernelFact::PolicyAdopted { .. }, KernelFact::RecordRejected { reason: DeadReason::Unparsable, .. }]
    ));
}

fn same_after_replay(shard: &Shard) {
    let live = shard.kernel.snapshot().unwrap();
    assert_eq!(shard.replayed().snapshot().unwrap(), live, "replay gives other bytes");
    let mut restored = Kernel::new(shard.config.clone()).unwrap();
    restored.restore(&live).unwrap();
    assert_eq!(restored.snapshot().unwrap(), live, "a restored snapshot gives other bytes");
}

#[test]
fn a_corrected_record_is_judged_once_as_the_next_life_of_the_one_that_died() {
    let mut shard = shard();
    unparsable(&mut shard);
    assert_eq!(refusal(&redrive(&mut shard, "jobs.raw/0@0", raw(&GOOD[..40]))), "no_job", "as broken as ever");
    let outcome = redrive(&mut shard, "jobs.raw/0@0", raw(GOOD));
    let [
        KernelFact::RecordRedriven { source: new, by, .. },
        KernelFact::JobDecided { job, decision, replaces: Some(replaced), .. },
    ] = &outcome.facts[..]
    else {
        panic!("{outcome:?}")
    };
    assert_eq!((new.to_string(), by.as_str(), &job.source), ("jobs.raw/0@0~1".into(), "olga", new));
    assert_eq!((decision.verdict, replaced.was, outcome.settling), (Verdict::Allow, KeptAs::Dead, 1));
    assert_eq!(topics(&outcome), ["tidegate.approved.bank #0"]);
    let text = String::from_utf8(outcome.messages[0].value.as_ref().unwrap().to_vec()).unwrap();
    assert!(
        text.contains(r#""source":"jobs.raw/0@0~1""#) && text.ends_with(r#""payload":{"amount": 20.50}}"#),
        "{text}"
    );
    assert_eq!(outcome.messages[0].headers.text("traceparent"), Some("00-aa-bb-01"));
    same_after_replay(&shard);
    assert_eq!(refusal(&redrive(&mut shard, "jobs.raw/0@0", raw(GOOD))), "already_redriven");
    // It died again: the next life. A record of the same id that comes meanwhile is its repeat.
    assert!(matches!(&shard.job(GOOD).facts[..],
        [KernelFact::JobRepeated { duplicate_of, .. }] if duplicate_of.to_string() == "jobs.raw/0@0~1"));
    let again = redrive(&mut shard, "jobs.raw/0@0~1", raw(GOOD));
    assert!(matches!(&again.facts[..], [KernelFact::RecordRedriven { source, .. }, KernelFact::JobDecided { .. }]
        if source.redrive == 2));
    same_after_replay(&shard);
}

#[test]
fn the_very_command_once_more_changes_nothing_and_an_old_one_does_not_count() {
    let mut shard = shard();
    unparsable(&mut shard);
    let command = command(&shard, "jobs.raw/0@0", raw(GOOD));
    assert_eq!(say(&mut shard, "olga", &command).facts.len(), 2);
    assert_eq!(refusal(&say(&mut shard, "olga", &command)), "already_redriven");
    let mut old = command.clone();
    old.source = "jobs.raw/0@900".parse().unwrap();
    shard.at = shard.at + Duration::from_secs(3_601);
    assert_eq!(refusal(&say(&mut shard, "olga", &old)), "out_of_time");
}

#[test]
fn only_an_operator_may_and_only_for_a_record_of_this_shard() {
    let mut shard = shard();
    unparsable(&mut shard);
    for key in ["sam", "alice", "mallory"] {
        let mut by = command(&shard, "jobs.raw/0@0", raw(GOOD));
        by.by = PersonId::new(key).unwrap();
        assert!(say(&mut shard, key, &by).facts.is_empty(), "{key}");
        by.action = Action::Drop;
        assert!(say(&mut shard, key, &by).facts.is_empty(), "{key}");
    }
    for elsewhere in ["jobs.raw/1@0", "jobs.other/0@0"] {
        assert_eq!(refusal(&redrive(&mut shard, elsewhere, raw(GOOD))), "other_input");
    }
    let mut nothing = command(&shard, "jobs.raw/0@0", raw(GOOD));
    nothing.redrive = None;
    assert_eq!(refusal(&say(&mut shard, "olga", &nothing)), "no_job");
    let mut dropped = command(&shard, "jobs.raw/0@0", raw(GOOD));
    (dropped.action, dropped.redrive) = (Action::Drop, None);
    let outcome = say(&mut shard, "olga", &dropped);
    assert!(matches!(&outcome.facts[..], [KernelFact::RecordDropped { .. }]), "{outcome:?}");
    same_after_replay(&shard);
}

#[test]
fn what_lives_or_has_the_id_of_another_is_not_redriven() {
    let mut shard = shard();
    shard.job(GOOD);
    assert_eq!(refusal(&redrive(&mut shard, "jobs.raw/0@7", raw(GOOD))), "id_taken", "the job of 0@0");
    let held = "id: bank\nrevision: 2\nrules:\n  - { id: later, match: { topics: [job.pay.>] }, decision: throttle, throttle: { retry_after: 30m } }";
    shard.policy(held);
    let waits = shard.job(&GOOD.replace("j1", "j2"));
    let Some(KernelFact::JobDeferred { job, .. }) = waits.facts.last() else { panic!("{waits:?}") };
    let at = job.source.to_string();
    assert_eq!(refusal(&redrive(&mut shard, &at, raw(GOOD))), "id_taken", "it waits");
}

#[test]
fn a_job_that_died_in_its_pool_is_judged_from_its_own_record_and_no_other() {
    let mut shard = shard();
    let released = shard.job(GOOD);
    let work = sent(&released.messages[0], "node", SENDER);
    let exact = |text: &str| Redriven::Work(ExactJson::new(text).unwrap());
    let at = "jobs.raw/0@0";
    assert_eq!(refusal(&redrive(&mut shard, at, exact(&work.replace("20.50", "20.51")))), "no_job", "altered");
    assert_eq!(refusal(&redrive(&mut shard, at, exact("{}"))), "no_job");
    assert_eq!(refusal(&redrive(&mut shard, "jobs.raw/0@1", exact(&work))), "no_job", "of another record");
    let outcome = redrive(&mut shard, at, exact(&work));
    let [KernelFact::RecordRedriven { .. }, KernelFact::JobDecided { job, replaces: Some(replaced), .. }] =
        &outcome.facts[..]
    else {
        panic!("{outcome:?}")
    };
    assert_eq!(job.source, at.parse::<SourcePosition>().unwrap().redriven(1));
    assert_eq!(replaced.verdict.map(|verdict| (verdict.group, verdict.number)), Some((12, 7)));
    let text = String::from_utf8(outcome.messages[0].value.as_ref().unwrap().to_vec()).unwrap();
    assert!(text.ends_with(r#""payload":{"amount": 20.50}}"#), "{text}");
    same_after_replay(&shard);
}

#[test]
fn what_is_still_not_allowed_ends_like_any_other() {
    let mut shard = shard();
    unparsable(&mut shard);
    let denied = redrive(&mut shard, "jobs.raw/0@0", raw(&GOOD.replace("20.50", "2000")));
    assert_eq!(topics(&denied), ["tidegate.denied #1", "tidegate.finished #2"]);
    let unroutable = GOOD.replace(r#""capability":"pay""#, r#""capability":"fly""#).replace("j1", "j2");
    let dead = redrive(&mut shard, "jobs.raw/0@0~1", raw(&unroutable));
    assert_eq!(topics(&dead), ["tidegate.dead #0", "tidegate.finished #1"]);
    assert_eq!(dead.messages[0].headers.text("tg-source"), Some("jobs.raw/0@0~2"));
    assert_eq!(dead.messages[0].value.as_deref(), Some(unroutable.as_bytes()), "its own bytes, not the command's");
    same_after_replay(&shard);
}

#[test]
fn no_further_life_of_a_revoked_job_begins_while_that_is_remembered() {
    let mut shard = shard();
    let released = shard.job(GOOD);
    let work = sent(&released.messages[0], "node", SENDER);
    let own = || Redriven::Work(ExactJson::new(&work).unwrap());
    let mut revoked = command(&shard, "jobs.raw/0@0", raw(GOOD));
    (revoked.action, revoked.redrive, revoked.job_id) = (Action::Revoke, None, JobId::new("j1").unwrap());
    let outcome = say(&mut shard, "olga", &revoked);
    assert!(matches!(&outcome.facts[..], [KernelFact::DelegationRevoked { .. }, ..]), "{outcome:?}");
    let KernelFact::DelegationRevoked { until, .. } = outcome.facts[0] else { panic!("{outcome:?}") };
    assert_eq!(refusal(&redrive(&mut shard, "jobs.raw/0@0", own())), "already_revoked");
    assert_eq!(refusal(&redrive(&mut shard, "jobs.raw/0@0", raw(GOOD))), "already_revoked");
    assert_eq!(refusal(&redrive(&mut shard, "jobs.raw/0@0~3", raw(GOOD))), "already_revoked", "nor any later life");
    let other = GOOD.replace("j1", "j2");
    assert_eq!(redrive(&mut shard, "jobs.raw/0@1", raw(&other)).facts.len(), 2, "another record is another's");
    same_after_replay(&shard);
    shard.at = until;
    assert_eq!(redrive(&mut shard, "jobs.raw/0@0", raw(GOOD)).facts.len(), 2);
}

#[test]
fn two_lives_of_a_record_wait_side_by_side() {
    let mut shard = shard();
    let later = "id: bank\nrevision: 2\nrules:\n  - { id: later, match: { topics: [job.pay.>] }, decision: throttle, throttle: { retry_after: 30m } }";
    shard.policy(later);
    // Redriven by mistake: the record has not been read yet. It comes, and is another job.
    let redriven = redrive(&mut shard, "jobs.raw/0@0", raw(&GOOD.replace("j1", "j2")));
    assert!(matches!(redriven.facts.last(), Some(KernelFact::JobDeferred { job, .. }) if job.source.redrive == 1));
    let first = shard.job(GOOD);
    assert!(matches!(first.facts.last(), Some(KernelFact::JobDeferred { job, .. }) if job.source.redrive == 0));
    let live = shard.kernel.snapshot().unwrap();
    assert_eq!(live.matches(r#""deferral""#).count(), 2, "neither takes the other's place: {live}");
    same_after_replay(&shard);
    assert_eq!(refusal(&redrive(&mut shard, "jobs.raw/0@0~1", raw(GOOD))), "id_taken", "both wait");
}

#[test]
fn what_a_life_has_taken_of_limits_is_settled_before_the_next_one_takes() {
    let mut shard = shard();
    shard.policy(
        "id: bank\nrevision: 2\nrules:\n  - { id: pay, match: { topics: [job.pay.>] }, decision: allow }\n  - { id: few, match: {}, state: [{ concurrency: jobs, key: [tenant], gt: 9 }], decision: deny }",
    );
    let waits = shard.job(GOOD);
    let released = grant(&mut shard, &waits, Some(9));
    assert!(matches!(released.facts.last(), Some(KernelFact::JobDecided { spends, .. }) if spends.len() == 1));
    for (life, source) in ["jobs.raw/0@0", "jobs.raw/0@0~1", "jobs.raw/0@0~2"].into_iter().enumerate() {
        // The next life does not begin, while another record's may.
        assert_eq!(refusal(&redrive(&mut shard, source, raw(GOOD))), "not_now", "{source}");
        let (other, id) = (format!("jobs.raw/0@{}", 900 + life), format!("other-{life}"));
        let taken = redrive(&mut shard, &other, raw(&GOOD.replace("j1", &id)));
        assert!(matches!(taken.facts.last(), Some(KernelFact::JobDecided { spends, .. }) if spends.len() == 1));
        let (usage, at) = (Usage::default(), shard.at);
        let told = OutcomeTold { v: 1, source: source.parse().unwrap(), outcome: Ends::Dead, attempts: 1, usage, at };
        let told = serde_json::to_vec(&told).unwrap();
        let settled = shard.feed(INPUT_OUTCOMES, record(Some(&told), Headers::new()));
        assert!(matches!(&settled.facts[..], [KernelFact::SpendSettled { .. }]), "{settled:?}");
        let next = redrive(&mut shard, source, raw(GOOD));
        let Some(KernelFact::JobDecided { decision, spends, .. }) = next.facts.last() else { panic!("{next:?}") };
        assert_eq!((decision.verdict, spends.len()), (Verdict::Allow, 1), "{source}");
        same_after_replay(&shard);
    }
}
