//! The agent's contract with commands, over a real embedded spine and real processes.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test")]

mod rig;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use rig::{Rig, Running, Said, job, now_ms, ticketed, within, worker};
use tidegate_protocol::decision::{Decision, Verdict};
use tidegate_protocol::ids::{Capability, JobId};
use tidegate_protocol::outcome::Outcome;
use tidegate_worker::agent::environment::VARIABLES;
use tidegate_worker::agent::{CommandHandler, EmptyCommand, Gateway};

fn sh(script: &str) -> CommandHandler {
    CommandHandler::new(["sh", "-c", script]).unwrap()
}

/// A worker that offers `run` by `handler`, welcomed under epoch 5.
async fn agent(handler: CommandHandler) -> (Rig, Running) {
    let mut rig = Rig::new(1).await;
    let settings = tidegate_worker::Settings { max_output_bytes: 2 << 20, ..Default::default() };
    let running = rig.start(worker().settings(settings).capability("run", handler));
    rig.welcome(0, 5).await;
    rig.credit(0, 5).await;
    (rig, running)
}

async fn run(handler: CommandHandler, payload: &str) -> Said {
    let (mut rig, _running) = agent(handler).await;
    rig.assign(0, 5, &job(1, "run"), payload).await;
    rig.result(0).await
}

/// Whether a process is gone, or dead and waiting for whoever adopted it.
fn is_dead(pid: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .map_or(true, |stat| stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z')))
}

async fn eventually(what: impl Fn() -> bool) {
    within(async {
        while !what() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_exit_code_is_the_outcome_and_stdout_the_result() {
    let table = [
        ("cat", Outcome::Succeeded, "", Some(r#"{"n":1}"#)),
        ("echo hello", Outcome::Succeeded, "", Some(r#""hello""#)),
        ("exit 0", Outcome::Succeeded, "", None),
        ("echo '[1'", Outcome::Succeeded, "", Some(r#""[1""#)),
        ("echo no >&2; echo '{}'; exit 3", Outcome::Failed, "exit code 3: no", None),
        ("exit 1", Outcome::Failed, "exit code 1", None),
        ("kill -9 $$", Outcome::Failed, "killed by signal 9", None),
    ];
    for (script, outcome, reason, output) in table {
        let said = run(sh(script), r#"{"n":1}"#).await;
        assert_eq!((said.outcome, said.reason.as_str(), said.output.as_deref()), (outcome, reason, output), "{script}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn exit_code_75_alone_asks_for_another_attempt() {
    for (script, retryable) in [("echo busy >&2; exit 75", true), ("exit 74", false), ("kill -9 $$", false)] {
        let said = run(sh(script), "1").await;
        assert_eq!((said.outcome, said.retryable), (Outcome::Failed, retryable), "{script}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_is_missing_has_its_job_tried_again_and_an_empty_command_is_refused() {
    let said = run(CommandHandler::new(["/no/such/program"]).unwrap(), "1").await;
    assert_eq!((said.outcome, said.retryable), (Outcome::Failed, true), "the worker is to blame, not the job");
    assert!(said.reason.starts_with("command `/no/such/program` could not be started: "), "{}", said.reason);
    assert_eq!(CommandHandler::new(Vec::<String>::new()).unwrap_err(), EmptyCommand);
    assert_eq!(CommandHandler::new([""]).unwrap_err(), EmptyCommand);
}

#[tokio::test(flavor = "multi_thread")]
async fn large_payloads_pass_both_ways_at_once_and_need_not_be_read() {
    let payload = format!("\"{}\"", "x".repeat(1 << 20));
    let said = run(sh("cat").output_limit(2 << 20), &payload).await;
    assert_eq!(said.output.map(|output| output.len()), Some(payload.len()));
    let said = run(sh("echo unread"), &payload).await;
    assert_eq!((said.outcome, said.output.as_deref()), (Outcome::Succeeded, Some("\"unread\"")));
    let said = run(sh("exec <&-; echo closed; sleep 0.05"), &payload).await;
    assert_eq!((said.outcome, said.output.as_deref()), (Outcome::Succeeded, Some("\"closed\"")));
}

#[tokio::test(flavor = "multi_thread")]
async fn output_beyond_the_limit_kills_the_command_and_says_so() {
    let said = run(sh("yes"), "1").await;
    assert_eq!(said.outcome, Outcome::Failed);
    assert!(said.reason.starts_with("the command wrote more than 262144 bytes to stdout"), "{}", said.reason);
    let said = run(sh("head -c 262144 /dev/zero | tr '\\0' 1"), "1").await;
    assert_eq!(said.output.map(|output| output.len()), Some(262_144), "exactly the limit is allowed");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_long_stderr_the_last_whole_lines_are_the_reason() {
    let said = run(sh("seq 1 100000 >&2; exit 2"), "1").await;
    assert!(said.reason.starts_with("exit code 2: ") && said.reason.ends_with("\n99999\n100000"), "{}", said.reason);
    assert!(said.reason.len() <= 4_096 + 16, "{}", said.reason.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_is_sigterm_and_a_command_may_still_end_well_or_not() {
    let table = [
        (
            "trap 'echo last words; exit 0' TERM; sleep 60 & wait",
            rig::once_started as fn() -> u64,
            Outcome::Succeeded,
            "",
        ),
        (
            "sleep 60",
            rig::soon,
            Outcome::TimedOut,
            "its deadline passed: stopped because its deadline passed (killed by signal 15)",
        ),
    ];
    for (script, deadline, outcome, reason) in table {
        let (mut rig, _running) = agent(sh(script)).await;
        let mut soon = job(1, "run");
        soon.deadline = Some(deadline());
        rig.assign(0, 5, &soon, "1").await;
        let said = rig.result(0).await;
        assert_eq!((said.outcome, said.reason.as_str()), (outcome, reason), "{script}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_ignores_sigterm_is_killed_after_the_grace_with_all_its_children() {
    let folder = tempfile::tempdir().unwrap();
    let pids = folder.path().join("pids");
    let script = format!("trap '' TERM; sleep 600 & echo $! >>{0}; echo $$ >>{0}; wait; sleep 600", pids.display());
    let (mut rig, _running) = agent(sh(&script).grace(Duration::from_millis(100))).await;
    let mut soon = job(1, "run");
    soon.deadline = Some(rig::once_started());
    rig.assign(0, 5, &soon, "1").await;
    let said = rig.result(0).await;
    assert_eq!(said.outcome, Outcome::TimedOut);
    assert!(said.reason.ends_with("(killed by signal 9)"), "{}", said.reason);
    let pids = std::fs::read_to_string(&pids).unwrap();
    assert_eq!(pids.lines().count(), 2);
    eventually(|| pids.lines().all(is_dead)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_command_leaves_behind_in_its_group_dies_with_it_and_does_not_hold_up_the_result() {
    let said = run(sh("sleep 600 & echo $!"), "1").await;
    assert_eq!(said.outcome, Outcome::Succeeded);
    let pid = said.output.unwrap();
    eventually(|| is_dead(&pid)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_worker_takes_its_processes_with_it_and_leaves_no_zombie() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pid");
    let script = format!("echo $$ >{0}.new; mv {0}.new {0}; trap '' TERM; sleep 600 & wait", file.display());
    let (mut rig, running) = agent(sh(&script)).await;
    rig.assign(0, 5, &job(1, "run"), "1").await;
    eventually(|| Path::new(&file).exists()).await;
    running.abort();
    let pid = std::fs::read_to_string(&file).unwrap();
    eventually(|| !Path::new(&format!("/proc/{}", pid.trim())).exists()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_environment_tells_the_job_and_the_documented_list_is_complete() {
    let gateway = Gateway { url: "http://127.0.0.1:1".into(), key: Some("k".into()) };
    let (mut rig, _running) = agent(sh("env -0").gateway(gateway)).await;
    let mut full = job(1, "run");
    full.id = JobId::new("id with spaces").unwrap();
    full.actor.id = Some("agent-7".into());
    full.actor.kind = Some("agent".into());
    full.requires = vec![Capability::new("gpu").unwrap()];
    full.labels.insert("team".into(), "a\"b".into());
    full.deadline = Some(now_ms() + 60_000);
    full.parent = Some(JobId::new("parent").unwrap());
    let constraints = serde_json::from_str(r#"{"budgets":{"max_tokens":5}}"#).unwrap();
    let decision = Decision { constraints: Some(constraints), ..Decision::new(Verdict::Allow, "test", "s1") };
    rig.assign_text(0, 5, &full, ticketed(&full, &decision, "1")).await;
    let output: String = serde_json::from_str(&rig.result(0).await.output.unwrap()).unwrap();
    let found: std::collections::BTreeMap<&str, &str> = output
        .split('\0')
        .filter(|pair| pair.starts_with("TIDEGATE_") || pair.starts_with("TRACEPARENT="))
        .filter_map(|pair| pair.split_once('='))
        .collect();
    let documented: BTreeSet<&str> = VARIABLES.iter().map(|(name, _)| *name).collect();
    assert_eq!(found.keys().copied().collect::<BTreeSet<_>>(), documented);
    for (name, value) in [
        ("TIDEGATE_JOB_ID", "id with spaces"),
        ("TIDEGATE_TENANT", "acme"),
        ("TRACEPARENT", rig::TRACE),
        ("TIDEGATE_ACTOR_TYPE", "agent"),
        ("TIDEGATE_REQUIRES", r#"["gpu"]"#),
        ("TIDEGATE_LABELS", r#"{"team":"a\"b"}"#),
        ("TIDEGATE_SOURCE", "jobs/0@1"),
        ("TIDEGATE_TOKEN", "5.1"),
        ("TIDEGATE_PARENT", "parent"),
        ("TIDEGATE_PAYLOAD_ENCODING", "json"),
    ] {
        assert_eq!(found.get(name), Some(&value), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_finds_its_ticket_in_a_file_of_its_own_which_goes_with_the_job() {
    let script = "stat -c %a $TIDEGATE_TICKET_FILE; echo $TIDEGATE_TICKET_FILE; cat $TIDEGATE_TICKET_FILE";
    let (mut rig, _running) = agent(sh(script)).await;
    let decision = Decision::new(Verdict::Allow, "test", "s1");
    let record = ticketed(&job(1, "run"), &decision, "1");
    rig.assign_text(0, 5, &job(1, "run"), record.clone()).await;
    let output: String = serde_json::from_str(&rig.result(0).await.output.unwrap()).unwrap();
    let lines: Vec<&str> = output.lines().collect();
    assert_eq!((lines[0], lines[2].as_bytes()), ("600", &*record), "exactly as it came");
    assert!(!Path::new(lines[1]).exists(), "{} is left", lines[1]);
    // One that is too large to delegate has none, and runs all the same.
    let large = serde_json::to_string(&"x".repeat(300 << 10)).unwrap();
    let said = run(sh("echo ${TIDEGATE_TICKET_FILE-none}"), &large).await;
    assert_eq!((said.outcome, said.output.as_deref()), (Outcome::Succeeded, Some("\"none\"")));
}
