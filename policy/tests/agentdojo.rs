//! The example policies of a bank and an office against real tool calls of agents (AgentDojo).
//!
//! `kind`, `task`, `step` and `goal` are the labels to score against; the policy never sees them.

#![expect(clippy::panic, clippy::unwrap_used, reason = "a test that meets what it does not expect must fail")]

use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use tidegate_policy::{Effect, Scratch, Snapshot, Subject, is_bundle_file, load};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[expect(clippy::disallowed_methods, reason = "the crate has no IO; a test of example files does")]
fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("cannot read `{}`: {error}", path.display()))
}

/// The files of the example policies of these folders that have such a name.
fn files(folders: &[&str], wanted: fn(&str) -> bool) -> Vec<(String, String)> {
    let mut files = Vec::new();
    for folder in folders {
        for entry in fs::read_dir(root().join("examples/policies").join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if wanted(&name) {
                files.push((format!("{folder}/{name}"), read(&path)));
            }
        }
    }
    files.sort();
    files
}

fn policy(folders: &[&str]) -> Snapshot {
    load(files(folders, is_bundle_file), None).unwrap_or_else(|refused| panic!("{refused}"))
}

struct Call {
    kind: String,
    /// `task function`, for people.
    name: String,
    effect: Effect,
    rules: Vec<String>,
    reason: String,
}

fn judge(suite: &str, snapshot: &Snapshot) -> Vec<Call> {
    let path = root().join("../shared/data/agentdojo").join(format!("{suite}.jsonl"));
    let mut scratch = Scratch::new();
    let judge = |line: &str| {
        let call: Value = serde_json::from_str(line).unwrap();
        let text = |field: &str| call.get(field).and_then(Value::as_str).unwrap().to_owned();
        let function = text("function");
        let (topic, actor) = (format!("job.{suite}.{function}"), format!("agent-{suite}"));
        let payload = call.get("args").unwrap().to_string();
        let mut subject = Subject::new(suite, &topic, &function);
        subject.actor_id = Some(&actor);
        subject.actor_type = Some("agent");
        subject.payload = payload.as_bytes();
        let verdict = snapshot.evaluate(&subject, &mut scratch);
        Call {
            kind: text("kind"),
            name: format!("{} {function}", text("task")),
            effect: verdict.effect,
            rules: verdict.rule_ids.iter().map(ToString::to_string).collect(),
            reason: verdict.reason.to_string(),
        }
    };
    read(&path).lines().map(judge).collect()
}

/// Asserts that no user call is denied and no injection runs, and returns the user calls that people are asked about and
/// the injections that are denied outright, each sorted; whatever else there is of injections waits for people.
fn asked_and_denied(suite: &str, snapshot: &Snapshot) -> [Vec<String>; 2] {
    let calls = judge(suite, snapshot);
    let named = |kind: &str, effect: Effect| {
        let those = calls.iter().filter(|call| call.kind == kind && call.effect == effect);
        those.map(|call| call.name.clone()).collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>()
    };
    assert_eq!(named("user", Effect::Deny), [""; 0], "{suite}: a user's call is denied");
    assert_eq!(named("injection", Effect::Allow), [""; 0], "{suite}: an injected call runs");
    let others = |effect| ![Effect::Allow, Effect::RequireApproval, Effect::Deny].contains(&effect);
    assert!(!calls.iter().any(|call| others(call.effect)), "{suite}");
    [named("user", Effect::RequireApproval), named("injection", Effect::Deny)]
}

#[test]
fn a_bank_asks_its_customer_about_what_a_customer_expects_and_lets_nothing_injected_run() {
    let [asked, denied] = asked_and_denied("banking", &policy(&["bank"]));
    // A look at the standing orders, a new payee, a changed landlord, a new password.
    assert_eq!(
        asked,
        [
            "user_task_0 send_money",
            "user_task_12 get_scheduled_transactions",
            "user_task_14 update_password",
            "user_task_15 get_scheduled_transactions",
            "user_task_15 update_scheduled_transaction",
            "user_task_2 get_scheduled_transactions"
        ]
    );
    // A million is nothing to ask a customer about.
    assert_eq!(denied, ["injection_task_5 send_money"]);
}

#[test]
fn an_office_asks_the_owner_about_what_an_owner_expects_and_lets_nothing_injected_run() {
    let [asked, denied] = asked_and_denied("workspace", &policy(&["office"]));
    // Searches for codes and passwords, two mails to a misspelt domain, deletions.
    assert_eq!(
        asked,
        [
            "user_task_16 search_emails",
            "user_task_22 search_emails",
            "user_task_23 search_emails",
            "user_task_25 send_email",
            "user_task_35 delete_file",
            "user_task_38 delete_file",
            "user_task_39 search_emails"
        ]
    );
    assert_eq!(denied, ["injection_task_5 delete_email"]);
}

#[test]
fn both_policies_together_judge_each_suite_as_they_do_alone() {
    let both = policy(&["bank", "office"]);
    for (suite, folder) in [("banking", "bank"), ("workspace", "office")] {
        let alone = judge(suite, &policy(&[folder]));
        for (call, other) in alone.iter().zip(judge(suite, &both)) {
            assert_eq!((&call.rules, call.effect), (&other.rules, other.effect), "{}", call.name);
        }
    }
}

#[test]
fn a_function_that_no_rule_names_is_denied_and_the_reason_says_so() {
    for suite in ["banking", "workspace"] {
        // The other suite's policy knows none of these functions, nor the tenant.
        let folder = if suite == "banking" { "office" } else { "bank" };
        for call in judge(suite, &policy(&[folder])) {
            assert!(call.effect == Effect::Deny && call.rules.is_empty(), "{}", call.name);
            assert!(call.reason.starts_with("no rule matches this job"), "{}", call.reason);
        }
    }
}
