//! Limits end to end: `tidegate dev` as a process of its own, jobs through its HTTP side, and what `tidegate limits` shows.
//!
//! One partition, so that what is said of one kernel shard's amounts is exact. What comes back asynchronously (an end that
//! is told, a breaker that opens) is waited for by further jobs, never by time.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that meets what it does not expect must fail"
)]

#[path = "../dev/mod.rs"]
mod dev;

use std::cell::Cell;
use std::ops::{Deref, DerefMut};
use std::process::Command;

use serde_json::{Value, json};

use dev::{document, tidegate, until};

const POLICY: &str = "\
id: shop
revision: 1
rules:
  - { id: run, match: { topics: [job.>] }, decision: allow, reason: jobs may run }
  - id: often
    match: { topics: [job.count] }
    state: [{ count_within: jobs, key: [actor_id], window: 1h, gt: 2 }]
    decision: deny
    reason: an agent does this twice an hour
  - id: places
    match: { topics: [job.hold] }
    state: [{ concurrency: jobs, key: [capability], gt: 1, window: 1h }]
    decision: deny
    reason: one at a time
  - id: tokens
    match: { topics: [job.tokens] }
    state: [{ budget: tokens, reserve: job.reserve, key: [actor_id], window: 1h, gt: 100 }]
    decision: deny
    reason: an agent has 100 tokens an hour
  - id: guard
    match: { topics: [job.risky] }
    state: [{ breaker: failures, key: [actor_id], failures: 2, window: 1h, open_for: 2s, probes: 1 }]
    decision: deny
    reason: this fails too often just now
";

/// A `tidegate dev`, and how many jobs were submitted to it.
struct Dev {
    dev: dev::Dev,
    jobs: Cell<u32>,
}

impl Deref for Dev {
    type Target = dev::Dev;

    fn deref(&self) -> &dev::Dev {
        &self.dev
    }
}

impl DerefMut for Dev {
    fn deref_mut(&mut self) -> &mut dev::Dev {
        &mut self.dev
    }
}

impl Dev {
    fn new() -> Self {
        let home = dev::home(POLICY);
        std::fs::write(home.path().join("tidegate.yaml"), "topics: { source_partitions: 1 }\n").unwrap();
        // What `hold` reads: a job of it runs until somebody has written there.
        assert!(Command::new("mkfifo").arg(home.path().join("gate")).status().unwrap().success());
        let workers = ["echo=builtin:echo", "fail=false", "hold=cat gate"].map(|worker| ["--worker", worker]);
        let arguments = [&["--concurrency", "4"], &workers.concat()[..]].concat();
        Self { dev: dev::Dev::start(home, &arguments, &[]), jobs: Cell::new(0) }
    }

    /// Submits a job with a name of its own; its story, once it has ended where that is waited for.
    fn submit(&self, topic: &str, capability: &str, actor: &str, payload: &Value, wait: bool) -> Value {
        self.jobs.set(self.jobs.get() + 1);
        let id = format!("j{}", self.jobs.get());
        let job = json!({
            "id": id, "tenant": "acme", "topic": topic, "capability": capability, "actor": {"id": actor}, "payload": payload,
        });
        std::fs::write(self.home.path().join("job.jsonl"), job.to_string()).unwrap();
        let mut arguments = vec!["submit", "job.jsonl", "--output", "json"];
        if wait {
            arguments.extend(["--wait", "--timeout", "90s"]);
        }
        let (said, _) = self.run(&arguments);
        let answer = document(&said).unwrap_or_else(|| panic!("{said}\n{}", self.log()));
        answer["jobs"][0].clone()
    }

    /// The story of the job of a record, as it stands when it has ended, or then; nothing while it is not judged.
    fn story(&self, source: &str, wait: &str) -> Value {
        let (said, _) = self.run(&["jobs", "get", source, "--wait", wait, "--output", "json"]);
        document(&said).unwrap_or_default()
    }

    /// How a job ended, and by which rule where it was denied.
    fn ends(&self, topic: &str, capability: &str, actor: &str, payload: &Value) -> String {
        let job = self.submit(topic, capability, actor, payload, true);
        let story = &job["story"];
        match story["state"].as_str() {
            Some("denied") => format!("denied by {}", story["decision"]["rule_ids"][0].as_str().unwrap_or("default")),
            Some(state) => state.to_owned(),
            None => panic!("{job}\n{}", self.log()),
        }
    }

    fn limits(&self, of: &str) -> Vec<Value> {
        let (said, _) = self.run(&["limits", "show", of, "--output", "json"]);
        document(&said).unwrap_or_default()["limits"].as_array().cloned().unwrap_or_default()
    }
}

#[test]
fn a_policys_limits_hold_from_the_rule_to_the_worker_and_back_and_over_a_kill() {
    let mut dev = Dev::new();
    let nothing = json!({});

    // A count: twice an hour for each agent.
    let counted = |dev: &Dev, actor| dev.ends("job.count", "echo", actor, &nothing);
    assert_eq!([counted(&dev, "ann"), counted(&dev, "ann")], ["succeeded", "succeeded"]);
    assert_eq!(counted(&dev, "ann"), "denied by often");
    assert_eq!(counted(&dev, "ben"), "succeeded", "each has a share of its own");

    // A place: taken until the job has ended.
    let held = dev.submit("job.hold", "hold", "ann", &nothing, false);
    let place = |dev: &Dev| dev.ends("job.hold", "echo", "ann", &nothing);
    let other = |dev: &Dev| dev.ends("job.hold", "hold", "ann", &nothing);
    assert_eq!(place(&dev), "succeeded", "another capability has another place");
    assert_eq!(other(&dev), "denied by places");
    std::fs::write(dev.home.path().join("gate"), "\"done\"").unwrap();
    let source = held["source"].as_str().unwrap();
    assert_eq!(dev.story(source, "90s")["state"], "succeeded");
    // The next that gets the place runs until it may read on.
    until("the place is free again", || {
        let job = dev.submit("job.hold", "hold", "ann", &nothing, false);
        let story = dev.story(job["source"].as_str().unwrap(), "1s");
        (story["decision"]["verdict"] == "allow").then_some(())
    });
    std::fs::write(dev.home.path().join("gate"), "\"done\"").unwrap();

    // A budget: what was reserved and not used is free again.
    let tokens = |dev: &Dev, payload: Value| dev.ends("job.tokens", "echo", "ann", &payload);
    assert_eq!(tokens(&dev, json!({"reserve": 60, "usage": {"tokens": 10}})), "succeeded");
    assert_eq!(tokens(&dev, json!({"reserve": 95})), "denied by tokens");
    until("50 of the 60 tokens are free again", || (tokens(&dev, json!({"reserve": 80})) == "succeeded").then_some(()));
    assert_eq!(tokens(&dev, json!({"reserve": 20})), "denied by tokens", "80 were reserved and no usage was reported");
    assert_eq!(tokens(&dev, json!({"reserve": "20"})), "denied by tokens", "what cannot be told is not allowed");

    // A breaker: opens after two failures, tries once, and closes.
    let risky = |dev: &Dev, capability| dev.ends("job.risky", capability, "ann", &nothing);
    assert_eq!([risky(&dev, "fail"), risky(&dev, "fail")], ["failed", "failed"]);
    until("the breaker opens", || (risky(&dev, "echo") == "denied by guard").then_some(()));
    assert_eq!(dev.ends("job.risky", "echo", "ben", &nothing), "succeeded", "a breaker of its own");
    until("it lets a job through", || (risky(&dev, "echo") == "succeeded").then_some(()));
    until("it closes", || {
        risky(&dev, "echo");
        let shown = dev.limits("guard");
        shown.iter().all(|limit| limit["breaker"] == "closed").then_some(())
    });
    assert_eq!(risky(&dev, "echo"), "succeeded");

    // What counts is facts.
    dev.again();
    assert_eq!(counted(&dev, "ann"), "denied by often");
    assert_eq!(tokens(&dev, json!({"reserve": 20})), "denied by tokens");
    assert_eq!(tokens(&dev, json!({"reserve": 5})), "succeeded");

    let shown = until("what is lent is shown", || Some(dev.limits("often")).filter(|limits| !limits.is_empty()));
    assert!(shown.iter().all(|limit| limit["definition"]["kind"] == "count_within"), "{shown:?}");
    assert!(shown.iter().any(|limit| limit["holders"][0]["holder"] == "kernel.jobs.raw/0"), "{shown:?}");
    let (list, code) = dev.run(&["limits", "list"]);
    assert_eq!(code, 0, "{list}");
    for rule in ["often#0@", "places#0@", "tokens#0@", "guard#0@"] {
        assert!(list.contains(rule), "{rule} in\n{list}");
    }
    let (one, code) = dev.run(&["limits", "show", "tokens"]);
    assert!(code == 0 && one.contains("most      100 within 3600000 ms"), "{one}");
    let (none, code) = dev.run(&["limits", "show", "nothing-of-this-name"]);
    assert_eq!(code, 1, "{none}");
}

#[test]
fn the_example_with_a_limit_of_every_kind_passes_its_cases() {
    let home = tempfile::tempdir().unwrap();
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/policies/quotas");
    let output = tidegate(home.path()).args(["policy", "test", example]).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && said.contains(" 0 failed; 8/8 (100 %) of rules"), "{said}");
}
