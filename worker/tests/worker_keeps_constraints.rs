//! A decision's constraints, kept by the worker over real processes.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test")]

use std::time::{Duration, Instant};

use serde_json::json;
use tidegate_protocol::decision::{Decision, Verdict};
use tidegate_protocol::outcome::Outcome;
use tidegate_worker::agent::CommandHandler;
use tidegate_worker::{Context, Ending, Settings};

mod rig;
use rig::{Rig, Running, Said, job, ticketed, worker};

fn under(constraints: &serde_json::Value) -> Decision {
    let constraints = Some(Box::new(serde_json::from_value(constraints.clone()).unwrap()));
    Decision { constraints, ..Decision::new(Verdict::AllowWithConstraints, "test", "s1") }
}

fn sh(script: &str) -> CommandHandler {
    CommandHandler::new(["sh", "-c", script]).unwrap().grace(Duration::from_millis(100))
}

/// Runs a script once under constraints, where `enforces` is seen to.
async fn run(script: &str, constraints: serde_json::Value, enforces: &[&str]) -> Said {
    let (mut rig, _running) = agent(script, enforces).await;
    rig.assign_text(0, 5, &job(1, "run"), ticketed(&job(1, "run"), &under(&constraints), "1")).await;
    rig.result(0).await
}

async fn agent(script: &str, enforces: &[&str]) -> (Rig, Running) {
    let mut rig = Rig::new(1).await;
    let enforces: Vec<_> = enforces.iter().map(|word| word.parse().unwrap()).collect();
    let running = rig.start(worker().enforces(enforces).capability("run", sh(script)));
    rig.welcome(0, 5).await;
    rig.credit(0, 5).await;
    (rig, running)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_runs_longer_than_it_may_is_told_to_stop_and_then_killed() {
    let begun = Instant::now();
    let said = run("trap '' TERM; sleep 60 & wait; wait; wait", json!({"budgets": {"max_runtime_ms": 200}}), &[]).await;
    assert_eq!(said.outcome, Outcome::TimedOut, "{}", said.reason);
    assert!(said.reason.starts_with("it ran for as long as its constraints allow"), "{}", said.reason);
    assert!(said.reason.contains("signal 9"), "it ignored the first signal: {}", said.reason);
    assert!(begun.elapsed() >= Duration::from_millis(300), "{:?}", begun.elapsed());
    let said = run("sleep 0.05; echo 1", json!({"budgets": {"max_runtime_ms": 20_000}}), &[]).await;
    assert_eq!(said.outcome, Outcome::Succeeded);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_of_the_library_is_told_to_stop_and_then_dropped() {
    let mut rig = Rig::new(1).await;
    let forever = |_: Context| std::future::pending::<Ending>();
    let settings = Settings { cancel_grace: Duration::from_millis(50), ..Settings::default() };
    let _running = rig.start(worker().settings(settings).capability("run", forever));
    rig.welcome(0, 5).await;
    rig.credit(0, 5).await;
    let decision = under(&json!({"budgets": {"max_runtime_ms": 50}}));
    rig.assign_text(0, 5, &job(1, "run"), ticketed(&job(1, "run"), &decision, "1")).await;
    let said = rig.result(0).await;
    assert_eq!(said.outcome, Outcome::TimedOut, "{}", said.reason);
    assert!(said.reason.starts_with("it ran for as long as its constraints allow: did not stop"), "{}", said.reason);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_output_beyond_its_budget_is_a_failure() {
    let said = run("yes", json!({"budgets": {"max_artifact_bytes": 100}}), &[]).await;
    assert_eq!(said.outcome, Outcome::Failed);
    assert!(said.reason.starts_with("the command wrote more than 100 bytes to stdout"), "{}", said.reason);

    let mut rig = Rig::new(1).await;
    let _running =
        rig.start(worker().capability("run", |_: Context| std::future::ready(Ending::succeeded(&"x".repeat(99)))));
    rig.welcome(0, 5).await;
    rig.credit(0, 5).await;
    let decision = under(&json!({"budgets": {"max_artifact_bytes": 100}}));
    rig.assign_text(0, 5, &job(1, "run"), ticketed(&job(1, "run"), &decision, "1")).await;
    let said = rig.result(0).await;
    assert_eq!(said.reason, "output of 101 bytes is larger than the limit of 100 bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nothing_here_enforces_is_refused_unrun_and_what_the_surroundings_enforce_runs() {
    let marker = tempfile::tempdir().unwrap();
    let ran = marker.path().join("ran");
    let script = format!("touch '{}'; echo 1", ran.display());
    let rows = [
        (json!({"sandbox": {"isolated": true}}), "sandbox.isolated"),
        (json!({"sandbox": {"network_allowlist": ["a.example"]}}), "sandbox.network_allowlist"),
        (json!({"sandbox": {"fs_read_only": ["/etc"]}}), "sandbox.fs_read_only"),
        (json!({"sandbox": {"fs_read_write": []}}), "sandbox.fs_read_write"),
    ];
    for (constraints, word) in &rows {
        let others: Vec<&str> = rows.iter().map(|(_, other)| *other).filter(|other| other != word).collect();
        let said = run(&script, constraints.clone(), &others).await;
        assert_eq!(said.outcome, Outcome::Failed);
        assert!(
            said.reason.starts_with(&format!("refused by its worker: it does not enforce {word};")),
            "{}",
            said.reason
        );
        assert!(!ran.exists(), "{word}");
    }
    for (constraints, word) in &rows {
        assert_eq!(run(&script, constraints.clone(), &[word]).await.outcome, Outcome::Succeeded, "{word}");
        std::fs::remove_file(&ran).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn under_a_sandbox_a_command_has_an_empty_folder_of_its_own_and_none_of_the_workers_environment() {
    let script = r#"pwd; ls -A | wc -l; echo "$HOME $TMPDIR"; env | grep -c CARGO; touch left; echo $TIDEGATE_JOB_ID"#;
    let said = run(script, json!({"sandbox": {"isolated": true}}), &["sandbox.isolated"]).await;
    let output: String = serde_json::from_str(said.output.as_deref().unwrap()).unwrap();
    let lines: Vec<&str> = output.lines().collect();
    let [folder, entries, homes, cargo, id] = lines[..] else { panic!("{output}") };
    assert_eq!((entries.trim(), cargo, id), ("0", "0", "job-1"));
    assert_eq!(homes, format!("{folder} {folder}"));
    assert!(!std::path::Path::new(folder).exists(), "{folder} is left");
    // The worker's own has them, and hands them on where nothing is asked.
    let said = run("env | grep -c CARGO", json!({"budgets": {"max_tokens": 5}}), &[]).await;
    assert_ne!(said.output.as_deref(), Some("0"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_is_told_its_constraints_and_must_be_among_those_allowed() {
    let asked = json!({"budgets": {"max_tokens": 5}, "toolchain": {"allowed_commands": ["git", "sh"]}});
    let said = run(r#"echo "$TIDEGATE_CONSTRAINTS""#, asked.clone(), &[]).await;
    let told: serde_json::Value = serde_json::from_str(said.output.as_deref().unwrap()).unwrap();
    assert_eq!(told, asked);
    let said = run("echo 1", json!({"toolchain": {"allowed_commands": ["git"]}}), &[]).await;
    assert_eq!(said.reason, "its constraints allow the commands [git]; `sh` is none of them");
}
