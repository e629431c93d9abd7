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
use tidegate_protocol::command::{Action, Command};
use tidegate_protocol::control::{AcceptedLoss, Claim, FactRecord, Group, Mark, SnapshotBody, SnapshotChunk, Term};
use tidegate_protocol::decision::{Decision, Judged, PayloadAt};
use tidegate_protocol::facts::{KernelFact, SchedulerFact};
use tidegate_protocol::fleet::{Order, Report};
use tidegate_protocol::job::Job;
use tidegate_protocol::kept::HoldView;
use tidegate_protocol::limits::{LimitAnswer, LimitDefinition, LimitRequest, LimitsFact, OutcomeTold};
use tidegate_protocol::outcome::Finished;
use tidegate_protocol::pool_command::{PoolAction, PoolCommand};
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

/// The file name's word for each variant, and all of these words: a new variant does not compile without one, and its word
/// wants a file.
macro_rules! words {
    ($word:ident, $all:ident, $record:ident: $($variant:ident $text:literal,)+) => {
        fn $word(record: &$record) -> &'static str {
            match record {
                $($record::$variant { .. } => $text,)+
            }
        }
        const $all: &[&str] = &[$($text),+];
    };
}

words! { kernel_word, KERNEL_FACTS, KernelFact:
    PolicyAdopted "policy_adopted",
    JobDecided "job_decided",
    JobDeferred "job_deferred",
    SliceRequested "slice_requested",
    SliceGranted "slice_granted",
    SliceReturned "slice_returned",
    SpendSettled "spend_settled",
    OutcomePassedOn "outcome_passed_on",
    JobHeld "job_held",
    HoldRenewed "hold_renewed",
    ApprovalGiven "approval_given",
    HoldEscalated "hold_escalated",
    CommandRefused "command_refused",
    JobCancelled "job_cancelled",
    JobWithdrawn "job_withdrawn",
    DelegationRevoked "delegation_revoked",
    RecordRedriven "record_redriven",
    RecordDropped "record_dropped",
    JobRepeated "job_repeated",
    RecordRejected "record_rejected",
}

words! { scheduler_word, SCHEDULER_FACTS, SchedulerFact:
    WorkerWelcomed "worker_welcomed",
    WorkerOutrun "worker_outrun",
    LeaseGranted "lease_granted",
    LeaseExpired "lease_expired",
    JobFinished "job_finished",
    CancelAsked "cancel_asked",
    WithdrawalKept "withdrawal_kept",
    WithdrawalMoved "withdrawal_moved",
    JobRetried "job_retried",
    JobDelayed "job_delayed",
    JobDue "job_due",
    ResultRefused "result_refused",
    JobDuplicate "job_duplicate",
    JobMoved "job_moved",
    JobReturned "job_returned",
    WorkRefused "work_refused",
    WorkerForgotten "worker_forgotten",
    WorkerCordoned "worker_cordoned",
    WorkerUncordoned "worker_uncordoned",
    PoolCommandRefused "pool_command_refused",
    ResultRepeated "result_repeated",
    SliceRequested "slice_requested",
    SliceGranted "slice_granted",
    SliceReturned "slice_returned",
}

words! { limit_request_word, LIMIT_REQUESTS, LimitRequest:
    Ask "ask",
    Return "return",
    Ended "ended",
}

words! { limit_answer_word, LIMIT_ANSWERS, LimitAnswer:
    Granted "granted",
    Recalled "recalled",
    Switched "switched",
}

words! { limits_word, LIMITS_FACTS, LimitsFact:
    Answered "answered",
    AskKept "ask_kept",
    Told "told",
    Noticed "noticed",
    BreakerHalfOpened "breaker_half_opened",
    HoldingLapsed "holding_lapsed",
    KeyForgotten "key_forgotten",
    RequestRefused "request_refused",
}

words! { report_word, REPORTS, Report:
    Hello "hello",
    Heartbeat "heartbeat",
    Result "result",
    GiveBack "give_back",
    Progress "progress",
}

words! { order_word, ORDERS, Order:
    Welcome "welcome",
    Assignment "assignment",
    Cancel "cancel",
    Drain "drain",
    Outrun "outrun",
    Settled "settled",
}

words! { action_word, ACTIONS, Action:
    Approve "approve",
    Reject "reject",
    Cancel "cancel",
    Revoke "revoke",
    Redrive "redrive",
    Drop "drop",
}

words! { pool_action_word, POOL_ACTIONS, PoolAction:
    Cordon "cordon",
    Uncordon "uncordon",
    Drain "drain",
}

/// Records without variants.
const PLAIN: &[&str] = &[
    "accepted_loss",
    "checkpoint",
    "claim",
    "command",
    "decision",
    "finished",
    "group",
    "hold_view",
    "job",
    "job_returned",
    "judged",
    "limit_definition",
    "mark",
    "outcome_told",
    "pool_command",
    "snapshot_body",
    "snapshot_chunk",
    "term",
    "ticket",
    "withdrawal",
];

/// What files there must be: a word of each variant, and of each action of a command, whatever its file is called.
fn expected() -> BTreeSet<String> {
    let all = [
        ("kernel_fact", KERNEL_FACTS),
        ("scheduler_fact", SCHEDULER_FACTS),
        ("limit_request", LIMIT_REQUESTS),
        ("limit_answer", LIMIT_ANSWERS),
        ("limits_fact", LIMITS_FACTS),
        ("report", REPORTS),
        ("order", ORDERS),
        ("action of a command", ACTIONS),
        ("action of a pool_command", POOL_ACTIONS),
    ];
    let words = all.iter().flat_map(|(kind, words)| words.iter().map(move |word| format!("{kind}.{word}")));
    words.chain(PLAIN.iter().map(|kind| format!("{kind}."))).collect()
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
            "pool_command" => {
                let command: PoolCommand = same(&name);
                met.insert(format!("action of a pool_command.{}", pool_action_word(&command.action)));
                drop_in(command)
            }
            "command" => {
                let command: Command = same(&name);
                met.insert(format!("action of a command.{}", action_word(&command.action)));
                drop_in(command)
            }
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
    assert_eq!(met, expected(), "a record has no golden file");
}

/// A record without variants has no word.
fn drop_in<T>(_record: T) -> &'static str {
    ""
}
