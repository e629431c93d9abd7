//! The session, one sentence of its contract per test.
#![expect(clippy::unwrap_used, reason = "a test")]

mod incarnations;

use std::time::Duration;

use serde_json::value::{RawValue, to_raw_value};
use tidegate_protocol::facts::Token;
use tidegate_protocol::fleet::{Held, Order, Partial, Report};
use tidegate_protocol::ids::{Capability, WorkerId};
use tidegate_protocol::job::SourcePosition;
use tidegate_protocol::outcome::Outcome;
use tidegate_protocol::time::Timestamp;
use tidegate_worker::session::{
    Action, Ended, FIRST_HEARTBEAT, Identity, Ignored, Incarnation, JobKey, PARTIAL, Retry, Session, WhenUnproven,
};

const LIFE: u64 = 7;
const BEAT: u64 = 1_000;
const LEASE: u64 = 10_000;

fn ms(ms: u64) -> Timestamp {
    Timestamp(1_000_000_000 + ms * 1_000)
}

fn new(capacity: u32) -> Session {
    let identity = Identity {
        worker: WorkerId::new("w").unwrap(),
        capabilities: vec![Capability::new("echo").unwrap()],
        capacity,
    };
    Session::new(identity, Incarnation { number: LIFE, lane: 3, lane_position: 40 }, ms(0))
}

fn key(offset: u64, epoch: u64, attempt: u32) -> JobKey {
    JobKey { source: format!("jobs/0@{offset}").parse::<SourcePosition>().unwrap(), token: Token { epoch, attempt } }
}

fn welcome(epoch: u64) -> Order {
    Order::Welcome { incarnation: LIFE, epoch, heartbeat_ms: BEAT, lease_ms: LEASE }
}

fn assignment(number: u64, job: &JobKey) -> Order {
    let work = to_raw_value(&()).unwrap();
    Order::Assignment { incarnation: LIFE, number, source: job.source.clone(), token: job.token, work }
}

fn settled(job: &JobKey, accepted: bool) -> Order {
    Order::Settled { source: job.source.clone(), token: job.token, accepted, reason: String::new() }
}

fn done() -> Ended {
    Ended { outcome: Outcome::Succeeded, reason: String::new(), output: None, retry: Retry::Never }
}

/// A session that is welcomed under `epoch` and has said so at `ms(0)`.
fn welcomed(capacity: u32, epoch: u64) -> Session {
    let mut session = new(capacity);
    said(&mut session, 0);
    session.order(welcome(epoch), Some(epoch), ms(0));
    said(&mut session, 0);
    session
}

/// Actions and reports in short, so that tables can be read.
fn did(actions: &[Action]) -> Vec<String> {
    actions
        .iter()
        .map(|action| match action {
            Action::Run { job, .. } => format!("run {job}"),
            Action::LeaseLost { job } => format!("lost {job}"),
            Action::Cancel { job, .. } => format!("cancel {job}"),
            Action::Settled { job, accepted, .. } => format!("settled {job} {accepted}"),
            Action::GivenBack { job } => format!("back {job}"),
            Action::Welcomed { epoch } => format!("welcomed {epoch}"),
            Action::Drain { reason } => format!("leave: {reason}"),
            Action::Outrun { known } => format!("outrun by {known}"),
            Action::Superseded { incarnation } => format!("superseded by {incarnation}"),
            Action::Ignored { why } => format!("ignored {}", why.word()),
        })
        .collect()
}

fn listed(held: &Held) -> String {
    let Held { source, token, waits } = held;
    format!("{}{}", JobKey { source: source.clone(), token: *token }, if *waits { " waits" } else { "" })
}

fn words(report: &Report) -> String {
    let job = |source: &SourcePosition, token: &Token| JobKey { source: source.clone(), token: *token };
    match report {
        Report::Hello { incarnation, lane, lane_position, capacity, .. } => {
            format!("hello {incarnation} lane {lane}@{lane_position} capacity {capacity}")
        }
        Report::Heartbeat { epoch, running, received, credit, draining, .. } => {
            let held: Vec<String> = running.iter().map(listed).collect();
            let draining = if *draining { " draining" } else { "" };
            format!("beat epoch {epoch} received {received} credit {credit}{draining} [{}]", held.join(", "))
        }
        Report::Result { epoch, source, token, outcome, credit, .. } => {
            format!("result epoch {epoch} {} {} credit {credit}", job(source, token), outcome.word())
        }
        Report::GiveBack { epoch, source, token, .. } => format!("back epoch {epoch} {}", job(source, token)),
        Report::Progress { source, token, note, partial: None, .. } => {
            format!("progress {} {note}", job(source, token))
        }
        Report::Progress { source, token, note, partial: Some(piece), .. } => {
            format!("partial {} {note}{}@{}", job(source, token), piece.text, piece.at)
        }
    }
}

fn reports(session: &mut Session, at: u64) -> Vec<String> {
    session.tick(ms(at)).iter().map(words).collect()
}

/// Reports that land at once.
fn said(session: &mut Session, at: u64) -> Vec<String> {
    let said = reports(session, at);
    if !said.is_empty() {
        session.landed();
    }
    said
}

#[test]
fn hello_comes_first_and_is_said_again_until_a_welcome() {
    let mut session = new(2);
    assert_eq!(said(&mut session, 0), ["hello 7 lane 3@40 capacity 2"]);
    assert_eq!(said(&mut session, 999), [""; 0]);
    assert_eq!(session.next_due(ms(999)), Some(ms(0) + FIRST_HEARTBEAT));
    assert_eq!(said(&mut session, 1_000), ["hello 7 lane 3@40 capacity 2"]);
    assert_eq!(did(&session.order(welcome(5), Some(5), ms(1_100))), ["welcomed 5"]);
    assert_eq!(said(&mut session, 1_100), ["beat epoch 5 received 0 credit 2 []"]);
    assert_eq!(said(&mut session, 2_000), [""; 0]);
    assert_eq!(said(&mut session, 2_100), ["beat epoch 5 received 0 credit 2 []"]);
}

#[test]
fn an_order_counts_only_for_this_incarnation_the_highest_epoch_and_a_new_number() {
    let job = key(1, 5, 1);
    let foreign = |incarnation| match assignment(1, &job) {
        Order::Assignment { number, source, token, work, .. } => {
            Order::Assignment { incarnation, number, source, token, work }
        }
        other @ (Order::Welcome { .. }
        | Order::Cancel { .. }
        | Order::Drain { .. }
        | Order::Outrun { .. }
        | Order::Settled { .. }) => other,
    };
    let table: Vec<(&str, Order, &str)> = vec![
        ("an assignment of this epoch", assignment(1, &job), "run jobs/0@1 (token 5.1)"),
        ("a lower epoch", assignment(1, &key(1, 4, 1)), "ignored other_epoch"),
        ("a higher epoch before its welcome", assignment(1, &key(1, 6, 1)), "ignored other_epoch"),
        ("an older incarnation", foreign(6), "ignored other_incarnation"),
        ("a higher incarnation", foreign(8), "superseded by 8"),
        ("number 0", assignment(0, &job), "ignored repeated"),
        ("the same welcome", welcome(5), "ignored repeated"),
        ("an older welcome", welcome(4), "ignored other_epoch"),
        ("a higher welcome", welcome(6), "welcomed 6"),
        ("a settlement of nothing", settled(&job, true), "ignored not_held"),
        ("an assignment beyond the credit", assignment(3, &job), "back jobs/0@1 (token 5.1)"),
    ];
    for (name, order, expected) in table {
        let mut session = welcomed(2, 5);
        assert_eq!(did(&session.order(order, Some(5), ms(1))), [expected], "{name}");
    }
}

#[test]
fn a_repeated_number_is_run_once_even_for_another_job() {
    let mut session = welcomed(2, 5);
    session.order(assignment(2, &key(2, 5, 1)), Some(5), ms(1));
    assert_eq!(did(&session.order(assignment(1, &key(1, 5, 1)), Some(5), ms(1))), ["ignored repeated"]);
    assert_eq!(did(&session.order(assignment(2, &key(3, 5, 1)), Some(5), ms(1))), ["ignored repeated"]);
    assert_eq!(session.occupied(), 1);
}

#[test]
fn credit_is_a_total_and_a_result_carries_it() {
    let mut session = welcomed(2, 5);
    let (one, two) = (key(1, 5, 1), key(2, 5, 1));
    session.order(assignment(1, &one), Some(5), ms(1));
    session.order(assignment(2, &two), Some(5), ms(1));
    assert_eq!(said(&mut session, 1), [""; 0], "taking assignments is no news");
    assert!(session.finished(&one, done()));
    assert_eq!(session.next_due(ms(2)), Some(ms(2)), "a result goes out at once");
    assert_eq!(said(&mut session, 2), ["result epoch 5 jobs/0@1 (token 5.1) succeeded credit 3"]);
    assert_eq!(
        said(&mut session, 1_000),
        ["beat epoch 5 received 2 credit 3 [jobs/0@2 (token 5.1), jobs/0@1 (token 5.1)]"],
        "unsettled is still held"
    );
    assert_eq!(did(&session.order(settled(&one, true), Some(5), ms(1_001))), ["settled jobs/0@1 (token 5.1) true"]);
    assert_eq!(said(&mut session, 2_000), ["beat epoch 5 received 2 credit 3 [jobs/0@2 (token 5.1)]"]);
}

#[test]
fn what_happens_while_an_append_is_under_way_goes_out_together_after_it() {
    let mut session = welcomed(3, 5);
    for offset in 1..=3 {
        session.order(assignment(offset, &key(offset, 5, 1)), Some(5), ms(1));
    }
    session.finished(&key(1, 5, 1), done());
    assert_eq!(reports(&mut session, 2).len(), 1);
    session.finished(&key(2, 5, 1), done());
    session.finished(&key(3, 5, 1), Ended::failed("no"));
    assert_eq!(reports(&mut session, 3), [""; 0]);
    assert_eq!(session.next_due(ms(3)), Some(ms(LEASE)).filter(|_| session.occupied() > 0));
    session.landed();
    assert_eq!(
        said(&mut session, 4),
        [
            "result epoch 5 jobs/0@2 (token 5.1) succeeded credit 6",
            "result epoch 5 jobs/0@3 (token 5.1) failed credit 6"
        ]
    );
}

#[test]
fn a_new_owner_gets_everything_restated_and_every_unsettled_result_again() {
    let mut session = welcomed(3, 5);
    for offset in 1..=3 {
        session.order(assignment(offset, &key(offset, 5, 1)), Some(5), ms(1));
    }
    session.finished(&key(1, 5, 1), done());
    said(&mut session, 2);
    assert_eq!(did(&session.order(welcome(9), Some(9), ms(3))), ["welcomed 9"]);
    assert_eq!(
        said(&mut session, 3),
        [
            "result epoch 9 jobs/0@1 (token 5.1) succeeded credit 1",
            "beat epoch 9 received 0 credit 1 [jobs/0@2 (token 5.1), jobs/0@3 (token 5.1), jobs/0@1 (token 5.1)]",
        ],
        "numbers start again; the slots in use are not offered twice"
    );
    let new = key(4, 9, 1);
    assert_eq!(did(&session.order(assignment(1, &new), Some(9), ms(4))), ["run jobs/0@4 (token 9.1)"]);
    assert_eq!(
        did(&session.order(settled(&key(1, 5, 1), true), Some(5), ms(5))),
        ["ignored other_epoch"],
        "the old owner's word may never count"
    );
    assert_eq!(
        did(&session.order(settled(&key(1, 5, 1), true), Some(9), ms(5))),
        ["settled jobs/0@1 (token 5.1) true"],
        "the new owner settles the old token"
    );
}

#[test]
fn told_to_stop_jobs_are_lost_when_nothing_landed_for_a_full_term_and_not_a_moment_earlier() {
    let mut session = welcomed(1, 5).when_unproven(WhenUnproven::Stop);
    let job = key(1, 5, 1);
    session.order(assignment(1, &job), Some(5), ms(1));
    assert_eq!(reports(&mut session, 1_000).len(), 1, "a heartbeat that never lands");
    assert_eq!(session.next_due(ms(1_000)), Some(ms(LEASE)));
    assert_eq!(did(&session.fence(ms(LEASE - 1))), [""; 0]);
    assert_eq!(session.next_due(ms(LEASE)), Some(ms(LEASE + 1)), "the job was received at 1 ms");
    assert_eq!(did(&session.fence(ms(LEASE + 1))), ["lost jobs/0@1 (token 5.1)"]);
    assert_eq!(did(&session.fence(ms(LEASE + 2))), [""; 0], "once");
    session.landed();
    assert_eq!(said(&mut session, LEASE + 3), ["beat epoch 5 received 1 credit 1 []"], "no credit while it occupies");
    assert!(!session.finished(&job, done()), "its result goes nowhere");
    assert_eq!(said(&mut session, LEASE + 4), ["beat epoch 5 received 1 credit 2 []"]);
}

#[test]
fn unless_told_otherwise_jobs_run_on_in_doubt_are_listed_and_their_results_are_sent() {
    let mut session = welcomed(2, 5);
    let (one, two) = (key(1, 5, 1), key(2, 5, 1));
    session.order(assignment(1, &one), Some(5), ms(1));
    session.order(assignment(2, &two), Some(5), ms(1));
    assert_eq!(reports(&mut session, 1_000).len(), 1, "a heartbeat that does not land for long");
    assert_eq!(session.next_due(ms(1_000)), Some(ms(LEASE)));
    assert!(!session.is_in_doubt(ms(LEASE - 1)) && session.is_in_doubt(ms(LEASE)));
    assert_eq!(did(&session.fence(ms(9 * LEASE))), [""; 0]);
    assert_eq!(session.next_due(ms(LEASE)), None, "until the append has ended there is nothing to do");
    assert!(session.finished(&one, done()), "its result counts as far as the worker can know");
    session.landed();
    let after = said(&mut session, 9 * LEASE);
    assert_eq!(after[0], "result epoch 5 jobs/0@1 (token 5.1) succeeded credit 3");
    assert_eq!(after[1], "beat epoch 5 received 2 credit 3 [jobs/0@2 (token 5.1), jobs/0@1 (token 5.1)]");
    assert!(!session.is_in_doubt(ms(9 * LEASE)));
    // The owner says which leases ended meanwhile.
    let refused = did(&session.order(settled(&two, false), Some(5), ms(9 * LEASE)));
    assert_eq!(refused, ["lost jobs/0@2 (token 5.1)", "settled jobs/0@2 (token 5.1) false"]);
}

#[test]
fn what_is_assigned_in_doubt_goes_back_unrun_whatever_becomes_of_running_jobs() {
    for what in [WhenUnproven::Keep, WhenUnproven::Stop] {
        let mut session = welcomed(2, 5).when_unproven(what);
        let job = key(1, 5, 1);
        assert_eq!(did(&session.order(assignment(1, &job), Some(5), ms(LEASE))), [format!("back {job}")]);
        assert_eq!(
            said(&mut session, LEASE),
            [format!("back epoch 5 {job}"), "beat epoch 5 received 1 credit 3 []".into()]
        );
        let next = key(2, 5, 1);
        assert_eq!(did(&session.order(assignment(2, &next), Some(5), ms(LEASE))), [format!("run {next}")]);
    }
}

#[test]
fn an_append_proves_life_from_when_it_was_handed_over_and_not_from_when_it_landed() {
    let mut session = welcomed(1, 5).when_unproven(WhenUnproven::Stop);
    session.order(assignment(1, &key(1, 5, 1)), Some(5), ms(1));
    assert_eq!(reports(&mut session, 1_000).len(), 1);
    session.landed();
    assert_eq!(did(&session.fence(ms(1_000 + LEASE - 1))), [""; 0]);
    assert_eq!(did(&session.fence(ms(1_000 + LEASE))), ["lost jobs/0@1 (token 5.1)"]);
}

#[test]
fn a_failed_append_is_said_again_in_full_with_a_heartbeat() {
    let mut session = welcomed(2, 5);
    let (one, two) = (key(1, 5, 1), key(2, 5, 1));
    session.order(assignment(1, &one), Some(5), ms(1));
    session.order(assignment(2, &two), Some(5), ms(1));
    session.finished(&one, done());
    session.give_back(&two);
    let first = reports(&mut session, 2);
    session.not_landed();
    let again = said(&mut session, 3);
    assert_eq!(again[..2], first[..]);
    assert_eq!(again[2], "beat epoch 5 received 2 credit 4 [jobs/0@1 (token 5.1)]");
    let mut session = new(1);
    reports(&mut session, 0);
    session.not_landed();
    assert_eq!(said(&mut session, 1), ["hello 7 lane 3@40 capacity 1"]);
}

#[test]
fn a_result_that_is_too_large_becomes_a_failure_that_says_so() {
    let mut session = welcomed(1, 5);
    let job = key(1, 5, 1);
    session.order(assignment(1, &job), Some(5), ms(1));
    let output: Box<RawValue> = to_raw_value("much").unwrap();
    session.finished(
        &job,
        Ended { outcome: Outcome::Succeeded, reason: String::new(), output: Some(output), retry: Retry::Never },
    );
    session.tick(ms(2));
    assert_eq!(session.too_large("limit 1 MiB"), 1);
    let again = session.tick(ms(3));
    let Report::Result { outcome: Outcome::Failed, reason, output: None, .. } = &again[0] else { panic!("{again:?}") };
    assert_eq!(reason, "limit 1 MiB");
    assert_eq!(session.too_large("limit 1 MiB"), 0, "nothing left to make smaller");
}

#[test]
fn a_drain_takes_nothing_new_and_ends_when_all_is_settled() {
    let mut session = welcomed(2, 5);
    let (one, late) = (key(1, 5, 1), key(2, 5, 1));
    session.order(assignment(1, &one), Some(5), ms(1));
    session.drain();
    assert_eq!(said(&mut session, 2), ["beat epoch 5 received 1 credit 1 draining [jobs/0@1 (token 5.1)]"]);
    assert_eq!(did(&session.order(assignment(2, &late), Some(5), ms(3))), ["back jobs/0@2 (token 5.1)"]);
    assert_eq!(said(&mut session, 3)[0], "back epoch 5 jobs/0@2 (token 5.1)");
    session.finished(&one, done());
    assert!(!session.is_idle());
    assert_eq!(reports(&mut session, 4), ["result epoch 5 jobs/0@1 (token 5.1) succeeded credit 2"]);
    session.landed();
    assert!(!session.is_idle(), "an owner may change before it is settled");
    session.order(settled(&one, true), Some(5), ms(5));
    assert!(session.is_idle());
}

#[test]
fn a_higher_token_of_a_held_job_ends_the_older_attempt() {
    let mut session = welcomed(2, 5);
    session.order(assignment(1, &key(1, 5, 1)), Some(5), ms(1));
    let actions = session.order(assignment(2, &key(1, 5, 2)), Some(5), ms(2));
    assert_eq!(did(&actions), ["lost jobs/0@1 (token 5.1)", "run jobs/0@1 (token 5.2)"]);
}

#[test]
fn a_job_that_is_settled_while_it_runs_is_stopped() {
    let mut session = welcomed(1, 5);
    let job = key(1, 5, 1);
    session.order(assignment(1, &job), Some(5), ms(1));
    let actions = session.order(settled(&job, false), Some(5), ms(2));
    assert_eq!(did(&actions), ["lost jobs/0@1 (token 5.1)", "settled jobs/0@1 (token 5.1) false"]);
    assert_eq!(said(&mut session, 1_000), ["beat epoch 5 received 1 credit 1 []"]);
}

#[test]
fn progress_goes_out_in_batches_with_the_latest_of_each_job() {
    let mut session = welcomed(1, 5);
    let job = key(1, 5, 1);
    session.order(assignment(1, &job), Some(5), ms(1));
    session.progressed(&job, Some(0.1), "a".into());
    session.progressed(&job, Some(0.2), "b".into());
    assert_eq!(said(&mut session, 2), [""; 0]);
    assert_eq!(session.next_due(ms(2)), Some(ms(250)));
    assert_eq!(said(&mut session, 250), ["progress jobs/0@1 (token 5.1) b"]);
    session.progressed(&key(9, 5, 1), None, "of nothing".into());
    assert_eq!(said(&mut session, 600), [""; 0]);
}

#[test]
fn wild_numbers_in_a_welcome_are_kept_within_bounds() {
    for (heartbeat_ms, lease_ms) in [(0, 0), (u64::MAX, u64::MAX), (5_000, 1)] {
        let mut session = new(1).when_unproven(WhenUnproven::Stop);
        said(&mut session, 0);
        session.order(Order::Welcome { incarnation: LIFE, epoch: 1, heartbeat_ms, lease_ms }, None, ms(0));
        said(&mut session, 0);
        let due = session.next_due(ms(0)).unwrap().since(ms(0));
        assert!(due >= Duration::from_millis(10) && due <= Duration::from_secs(3_600), "{heartbeat_ms}: {due:?}");
        session.order(assignment(1, &key(1, 1, 1)), None, ms(0));
        assert_eq!(did(&session.fence(ms(9))), [""; 0], "{lease_ms}");
    }
    assert_eq!(Ignored::NotHeld.word(), "not_held");
}

#[test]
fn credit_rises_only_as_far_as_slots_are_offered_and_never_falls() {
    let mut session = new(4);
    session.offer(0);
    said(&mut session, 0);
    session.order(welcome(5), Some(5), ms(0));
    assert_eq!(said(&mut session, 0), ["beat epoch 5 received 0 credit 0 []"]);
    session.offer(2);
    assert_eq!(said(&mut session, 0), ["beat epoch 5 received 0 credit 2 []"]);
    session.offer(1);
    assert_eq!(said(&mut session, 0), [""; 0]);
    let (first, second) = (key(1, 5, 1), key(2, 5, 1));
    session.order(assignment(1, &first), Some(5), ms(0));
    session.offer(0);
    // Granted before: it is run, though nobody asks for it any more.
    assert_eq!(did(&session.order(assignment(2, &second), Some(5), ms(0))), [format!("run {second}")]);
    assert_eq!(session.free(), 0);
    session.offer(9);
    assert_eq!(session.free(), 2, "two slots are left, whatever is asked for");
}

#[test]
fn a_job_that_waits_for_its_child_lends_its_slot_says_so_and_takes_it_back() {
    let mut session = welcomed(1, 5);
    let (parent, child) = (key(1, 5, 1), key(2, 5, 1));
    session.order(assignment(1, &parent), Some(5), ms(1));
    said(&mut session, 1);
    assert_eq!((session.free(), session.occupied()), (0, 1));
    session.waits(&parent, true);
    assert_eq!(said(&mut session, 1), [format!("beat epoch 5 received 1 credit 2 [{parent} waits]")]);
    assert_eq!(did(&session.order(assignment(2, &child), Some(5), ms(2))), [format!("run {child}")]);
    session.waits(&parent, false);
    assert_eq!((session.free(), session.occupied()), (0, 2), "it goes on though its slot is taken");
    assert!(session.finished(&child, done()));
    assert_eq!(session.free(), 0, "and has it back");
    assert!(session.finished(&parent, done()));
    assert_eq!(session.free(), 1);
    // What is lost lends nothing.
    session.order(assignment(3, &key(3, 5, 1)), Some(5), ms(2));
    session.waits(&key(3, 5, 1), true);
    session.order(settled(&key(3, 5, 1), false), Some(5), ms(2));
    assert_eq!((session.free(), session.occupied()), (0, 1));
}

#[test]
fn an_abandoned_job_is_listed_no_more_at_once_and_its_result_goes_nowhere() {
    let mut session = welcomed(2, 5);
    let (gone, kept) = (key(1, 5, 1), key(2, 5, 1));
    session.order(assignment(1, &gone), Some(5), ms(1));
    session.order(assignment(2, &kept), Some(5), ms(1));
    said(&mut session, 1);
    assert!(session.abandon(&gone));
    assert_eq!(said(&mut session, 2), [format!("beat epoch 5 received 2 credit 3 [{kept}]")]);
    assert!(!session.abandon(&gone) && !session.finished(&gone, done()));
}

#[test]
fn a_job_that_is_called_off_keeps_its_lease_until_it_has_ended() {
    let mut session = welcomed(2, 5);
    let one = key(1, 5, 1);
    session.order(assignment(1, &one), Some(5), ms(1));
    let cancel = |epoch| {
        let order = Order::Cancel { source: one.source.clone(), token: one.token, reason: "cancelled by olga".into() };
        (order, Some(epoch))
    };
    let (order, sender) = cancel(4);
    let old = session.order(order, sender, ms(2));
    assert!(matches!(&old[..], [Action::Ignored { why: Ignored::OtherEpoch }]), "{old:?}");
    let (order, sender) = cancel(5);
    let told = session.order(order, sender, ms(2));
    assert!(matches!(&told[..], [Action::Cancel { job, .. }] if *job == one), "{told:?}");
    let ended = Ended { outcome: Outcome::Cancelled, reason: String::new(), output: None, retry: Retry::Never };
    assert!(session.finished(&one, ended));
    let (order, sender) = cancel(5);
    let late = session.order(order, sender, ms(3));
    assert!(matches!(&late[..], [Action::Ignored { why: Ignored::NotHeld }]), "{late:?}");
}

#[test]
fn one_that_is_told_to_leave_by_the_owner_it_knows_drains_and_is_not_told_twice() {
    let mut session = welcomed(2, 5);
    let order = |incarnation| Order::Drain { incarnation, reason: "drained by olga".into() };
    assert_eq!(did(&session.order(order(7), Some(4), ms(1))), ["ignored other_epoch"]);
    assert_eq!(did(&session.order(order(6), Some(5), ms(1))), ["ignored other_incarnation"]);
    assert_eq!(did(&session.order(order(7), Some(5), ms(1))), ["leave: drained by olga"]);
    session.drain();
    assert_eq!(did(&session.order(order(7), Some(5), ms(2))), ["ignored repeated"]);
}

fn piece(at: u64, text: &str) -> Partial {
    Partial { at, text: text.to_owned() }
}

#[test]
fn pieces_of_output_are_joined_until_they_are_sent_and_a_gap_is_never_hidden() {
    let mut session = welcomed(2, 5);
    let job = key(1, 5, 1);
    session.order(assignment(1, &job), Some(5), ms(10));
    said(&mut session, 10);
    session.partial(&job, piece(0, "ab"));
    session.partial(&job, piece(2, "cd"));
    session.partial(&job, piece(9, "lost, as 5 bytes before it were"));
    assert_eq!(said(&mut session, 300), ["partial jobs/0@1 (token 5.1) abcd@0"]);
    session.partial(&job, piece(40, "e"));
    session.progressed(&job, None, "note ".into());
    assert_eq!(said(&mut session, 600), ["partial jobs/0@1 (token 5.1) note e@40"]);
    session.partial(&key(2, 5, 1), piece(0, "of a job that is not held"));
    assert_eq!(said(&mut session, 900), [""; 0]);
}

#[test]
fn the_last_piece_goes_out_before_how_the_job_ended() {
    let mut session = welcomed(2, 5);
    let job = key(1, 5, 1);
    session.order(assignment(1, &job), Some(5), ms(10));
    said(&mut session, 10);
    session.partial(&job, piece(0, "the end"));
    assert!(session.finished(&job, done()));
    let said = said(&mut session, 11);
    assert_eq!(said.first().map(String::as_str), Some("partial jobs/0@1 (token 5.1) the end@0"));
    assert!(said.get(1).is_some_and(|result| result.starts_with("result")), "{said:?}");
}

#[test]
fn pieces_are_bounded_for_a_job_and_for_all_of_them() {
    let (most, in_all) = PARTIAL;
    let mut session = welcomed(40, 5);
    let jobs: Vec<JobKey> = (1..=30).map(|n| key(n, 5, 1)).collect();
    for (number, job) in (1..).zip(&jobs) {
        session.order(assignment(number, job), Some(5), ms(10));
    }
    said(&mut session, 10);
    for round in 1..4 {
        let at = round * 1_000;
        for job in &jobs {
            session.partial(job, piece(0, &"x".repeat(most + 1)));
            session.partial(job, piece(0, &"x".repeat(most - 1)));
            session.partial(job, piece(u64::try_from(most).unwrap() - 1, "yz"));
        }
        let piece = |report: &Report| match report {
            Report::Progress { partial: Some(piece), .. } => piece.text.len(),
            Report::Progress { .. }
            | Report::Hello { .. }
            | Report::Heartbeat { .. }
            | Report::Result { .. }
            | Report::GiveBack { .. } => 0,
        };
        let sent: usize = session.tick(ms(at)).iter().map(piece).sum();
        session.landed();
        assert!(sent <= in_all && sent > in_all - most, "{sent}, in every round anew");
    }
}
