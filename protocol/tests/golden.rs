//! Golden files: what was ever written must be read for ever, and is written the same.
//!
//! `golden/<type>[.<variant>][.<form>].json` holds one record as it stands on a broker. `least` leaves out everything
//! optional, `full` has it all. A format that changes gets new files; old ones stay.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that meets what it does not expect must fail")]
#![expect(clippy::disallowed_methods, reason = "the crate has no IO; its golden files are files")]

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use tidegate_protocol::checkpoint::Checkpoint;
use tidegate_protocol::command::Command;
use tidegate_protocol::control::{AcceptedLoss, Claim, FactRecord, Group, Mark, SnapshotBody, SnapshotChunk, Term};
use tidegate_protocol::decision::{Decision, Judged, PayloadAt};
use tidegate_protocol::facts::{KernelFact, SchedulerFact};
use tidegate_protocol::fleet::{Order, Report};
use tidegate_protocol::job::Job;
use tidegate_protocol::kept::HoldView;
use tidegate_protocol::limits::{LimitAnswer, LimitDefinition, LimitRequest, LimitsFact, OutcomeTold};
use tidegate_protocol::outcome::Finished;
use tidegate_protocol::pool_command::PoolCommand;
use tidegate_protocol::proof::Ticket;
use tidegate_protocol::returned::JobReturned;
use tidegate_protocol::withdrawal::Withdrawal;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// Names of the golden files, without `.json`.
fn names() -> BTreeSet<String> {
    let files = fs::read_dir(folder()).unwrap();
    files.filter_map(|f| f.unwrap().file_name().to_str()?.strip_suffix(".json").map(str::to_owned)).collect()
}

fn text(name: &str) -> String {
    fs::read_to_string(folder().join(format!("{name}.json"))).unwrap().trim_end().to_owned()
}

/// Decodes a file and encodes it again: equal bytes, and nothing lost on the way.
fn same<T: Serialize + DeserializeOwned + Debug>(name: &str) -> T {
    let text = text(name);
    let value: T = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{name} can no longer be read: {e}"));
    let encoded = serde_json::to_string(&value).unwrap();
    assert_eq!(encoded, text, "{name} is written differently");
    let again: T = serde_json::from_str(&encoded).unwrap();
    assert_eq!(format!("{value:?}"), format!("{again:?}"), "{name}");
    value
}

/// A judged job is written around the payload's own bytes.
fn judged(name: &str) -> Judged {
    let text = text(name);
    let value: Judged = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{name} can no longer be read: {e}"));
    let record = match (&value.payload, &value.payload_base64, &value.payload_ref) {
        (Some(raw), None, None) => raw.get().to_owned(),
        (None, Some(base64), None) => serde_json::to_string(base64).unwrap(),
        (None, None, Some(reference)) => serde_json::to_string(reference).unwrap(),
        (payload, base64, reference) => {
            assert!(payload.is_none() && base64.is_none() && reference.is_none(), "{name} has two payloads");
            String::new()
        }
    };
    let end = u32::try_from(record.len()).unwrap();
    let at = match (record.is_empty(), value.payload_base64.is_some(), value.payload_ref.is_some()) {
        (true, _, _) => PayloadAt::None,
        (false, false, false) => PayloadAt::Json(0, end),
        (false, true, _) => PayloadAt::Base64(0, end),
        (false, false, true) => PayloadAt::Ref(0, end),
    };
    let encoded = Judged::encode(&value.job, &value.decision, at, record.as_bytes()).unwrap();
    assert_eq!(String::from_utf8(encoded).unwrap(), text, "{name} is written differently");
    value
}

/// The file name's word for each variant: a new variant does not compile without one.
fn kernel_word(fact: &KernelFact) -> &'static str {
    match fact {
        KernelFact::PolicyAdopted { .. } => "policy_adopted",
        KernelFact::JobDecided { .. } => "job_decided",
        KernelFact::JobDeferred { .. } => "job_deferred",
        KernelFact::SliceRequested { .. } => "slice_requested",
        KernelFact::SliceGranted { .. } => "slice_granted",
        KernelFact::SliceReturned { .. } => "slice_returned",
        KernelFact::SpendSettled { .. } => "spend_settled",
        KernelFact::OutcomePassedOn { .. } => "outcome_passed_on",
        KernelFact::JobHeld { .. } => "job_held",
        KernelFact::HoldRenewed { .. } => "hold_renewed",
        KernelFact::ApprovalGiven { .. } => "approval_given",
        KernelFact::HoldEscalated { .. } => "hold_escalated",
        KernelFact::CommandRefused { .. } => "command_refused",
        KernelFact::JobCancelled { .. } => "job_cancelled",
        KernelFact::JobWithdrawn { .. } => "job_withdrawn",
        KernelFact::DelegationRevoked { .. } => "delegation_revoked",
        KernelFact::RecordRedriven { .. } => "record_redriven",
        KernelFact::RecordDropped { .. } => "record_dropped",
        KernelFact::JobRepeated { .. } => "job_repeated",
        KernelFact::RecordRejected { .. } => "record_rejected",
    }
}

fn scheduler_word(fact: &SchedulerFact) -> &'static str {
    match fact {
        SchedulerFact::WorkerWelcomed { .. } => "worker_welcomed",
        SchedulerFact::LeaseGranted { .. } => "lease_granted",
        SchedulerFact::LeaseExpired { .. } => "lease_expired",
        SchedulerFact::JobFinished { .. } => "job_finished",
        SchedulerFact::CancelAsked { .. } => "cancel_asked",
        SchedulerFact::WithdrawalKept { .. } => "withdrawal_kept",
        SchedulerFact::WithdrawalMoved { .. } => "withdrawal_moved",
        SchedulerFact::JobRetried { .. } => "job_retried",
        SchedulerFact::JobDelayed { .. } => "job_delayed",
        SchedulerFact::JobDue { .. } => "job_due",
        SchedulerFact::ResultRefused { .. } => "result_refused",
        SchedulerFact::JobDuplicate { .. } => "job_duplicate",
        SchedulerFact::JobMoved { .. } => "job_moved",
        SchedulerFact::JobReturned { .. } => "job_returned",
        SchedulerFact::WorkRefused { .. } => "work_refused",
        SchedulerFact::WorkerForgotten { .. } => "worker_forgotten",
        SchedulerFact::WorkerCordoned { .. } => "worker_cordoned",
        SchedulerFact::WorkerUncordoned { .. } => "worker_uncordoned",
        SchedulerFact::PoolCommandRefused { .. } => "pool_command_refused",
        SchedulerFact::ResultRepeated { .. } => "result_repeated",
        SchedulerFact::SliceRequested { .. } => "slice_requested",
        SchedulerFact::SliceGranted { .. } => "slice_granted",
        SchedulerFact::SliceReturned { .. } => "slice_returned",
    }
}

fn limit_request_word(request: &LimitRequest) -> &'static str {
    match request {
        LimitRequest::Ask { .. } => "ask",
        LimitRequest::Return { .. } => "return",
        LimitRequest::Ended { .. } => "ended",
    }
}

fn limit_answer_word(answer: &LimitAnswer) -> &'static str {
    match answer {
        LimitAnswer::Granted { .. } => "granted",
        LimitAnswer::Recalled { .. } => "recalled",
        LimitAnswer::Switched { .. } => "switched",
    }
}

fn limits_word(fact: &LimitsFact) -> &'static str {
    match fact {
        LimitsFact::Answered { .. } => "answered",
        LimitsFact::AskKept { .. } => "ask_kept",
        LimitsFact::Told { .. } => "told",
        LimitsFact::Noticed { .. } => "noticed",
        LimitsFact::BreakerHalfOpened { .. } => "breaker_half_opened",
        LimitsFact::HoldingLapsed { .. } => "holding_lapsed",
        LimitsFact::KeyForgotten { .. } => "key_forgotten",
        LimitsFact::RequestRefused { .. } => "request_refused",
    }
}

fn report_word(report: &Report) -> &'static str {
    match report {
        Report::Hello { .. } => "hello",
        Report::Heartbeat { .. } => "heartbeat",
        Report::Result { .. } => "result",
        Report::GiveBack { .. } => "give_back",
        Report::Progress { .. } => "progress",
    }
}

fn order_word(order: &Order) -> &'static str {
    match order {
        Order::Welcome { .. } => "welcome",
        Order::Assignment { .. } => "assignment",
        Order::Cancel { .. } => "cancel",
        Order::Drain { .. } => "drain",
        Order::Settled { .. } => "settled",
    }
}

#[test]
fn every_record_is_read_and_written_as_ever() {
    let mut met = BTreeSet::new();
    for name in names() {
        let mut parts = name.split('.');
        let (kind, variant) = (parts.next().unwrap(), parts.next().unwrap_or_default());
        let word = match kind {
            "checkpoint" => drop_in(same::<Checkpoint>(&name)),
            "claim" => drop_in(same::<Claim>(&name)),
            "mark" => drop_in(same::<Mark>(&name)),
            "group" => {
                // As a stage reads it, and as one who only checks the chain does.
                same::<Group<Box<RawValue>>>(&name);
                drop_in(same::<Group<FactRecord<KernelFact>>>(&name))
            }
            "snapshot_chunk" => drop_in(same::<SnapshotChunk>(&name)),
            "snapshot_body" => drop_in(same::<SnapshotBody>(&name)),
            "term" => drop_in(same::<Term>(&name)),
            "pool_command" => drop_in(same::<PoolCommand>(&name)),
            "command" => drop_in(same::<Command>(&name)),
            "hold_view" => drop_in(same::<HoldView>(&name)),
            "accepted_loss" => drop_in(same::<AcceptedLoss>(&name)),
            "job" => drop_in(same::<Job>(&name)),
            "decision" => drop_in(same::<Decision>(&name)),
            "judged" => drop_in(judged(&name)),
            "finished" => drop_in(same::<Finished>(&name)),
            "ticket" => drop_in(same::<Ticket>(&name)),
            "kernel_fact" => kernel_word(&same(&name)),
            "scheduler_fact" => scheduler_word(&same(&name)),
            "limit_request" => limit_request_word(&same(&name)),
            "limit_answer" => limit_answer_word(&same(&name)),
            "limits_fact" => limits_word(&same(&name)),
            "limit_definition" => drop_in(same::<LimitDefinition>(&name)),
            "job_returned" => {
                let text = text(&name);
                let value: JobReturned<'_> = serde_json::from_str(&text).unwrap();
                assert_eq!(serde_json::to_string(&value).unwrap(), text, "{name} is written differently");
                drop_in(value)
            }
            "withdrawal" => drop_in(same::<Withdrawal>(&name)),
            "outcome_told" => drop_in(same::<OutcomeTold>(&name)),
            "report" => report_word(&same(&name)),
            "order" => order_word(&same(&name)),
            other => panic!("`{other}` is no record of the protocol"),
        };
        assert!(word.is_empty() || word == variant, "{name} holds `{word}`");
        met.insert(format!("{kind}.{word}"));
    }
    let expected = [
        "accepted_loss.",
        "checkpoint.",
        "claim.",
        "command.",
        "decision.",
        "finished.",
        "group.",
        "hold_view.",
        "job.",
        "job_returned.",
        "judged.",
        "kernel_fact.approval_given",
        "kernel_fact.command_refused",
        "kernel_fact.delegation_revoked",
        "kernel_fact.hold_escalated",
        "kernel_fact.hold_renewed",
        "kernel_fact.job_cancelled",
        "kernel_fact.job_decided",
        "kernel_fact.job_deferred",
        "kernel_fact.job_held",
        "kernel_fact.job_repeated",
        "kernel_fact.job_withdrawn",
        "kernel_fact.outcome_passed_on",
        "kernel_fact.policy_adopted",
        "kernel_fact.record_dropped",
        "kernel_fact.record_redriven",
        "kernel_fact.record_rejected",
        "kernel_fact.slice_granted",
        "kernel_fact.slice_requested",
        "kernel_fact.slice_returned",
        "kernel_fact.spend_settled",
        "limit_answer.granted",
        "limit_answer.recalled",
        "limit_answer.switched",
        "limit_definition.",
        "limit_request.ask",
        "limit_request.ended",
        "limit_request.return",
        "limits_fact.answered",
        "limits_fact.ask_kept",
        "limits_fact.breaker_half_opened",
        "limits_fact.holding_lapsed",
        "limits_fact.key_forgotten",
        "limits_fact.noticed",
        "limits_fact.request_refused",
        "limits_fact.told",
        "mark.",
        "order.assignment",
        "order.cancel",
        "order.drain",
        "order.settled",
        "order.welcome",
        "outcome_told.",
        "pool_command.",
        "report.give_back",
        "report.heartbeat",
        "report.hello",
        "report.progress",
        "report.result",
        "scheduler_fact.cancel_asked",
        "scheduler_fact.job_delayed",
        "scheduler_fact.job_due",
        "scheduler_fact.job_duplicate",
        "scheduler_fact.job_finished",
        "scheduler_fact.job_moved",
        "scheduler_fact.job_retried",
        "scheduler_fact.job_returned",
        "scheduler_fact.lease_expired",
        "scheduler_fact.lease_granted",
        "scheduler_fact.pool_command_refused",
        "scheduler_fact.result_refused",
        "scheduler_fact.result_repeated",
        "scheduler_fact.slice_granted",
        "scheduler_fact.slice_requested",
        "scheduler_fact.slice_returned",
        "scheduler_fact.withdrawal_kept",
        "scheduler_fact.withdrawal_moved",
        "scheduler_fact.work_refused",
        "scheduler_fact.worker_cordoned",
        "scheduler_fact.worker_forgotten",
        "scheduler_fact.worker_uncordoned",
        "scheduler_fact.worker_welcomed",
        "snapshot_body.",
        "snapshot_chunk.",
        "term.",
        "ticket.",
        "withdrawal.",
    ];
    assert_eq!(met.iter().map(String::as_str).collect::<Vec<_>>(), expected, "a record has no golden file");
}

/// A record without variants has no word.
fn drop_in<T>(_record: T) -> &'static str {
    ""
}
