//! Workers over HTTP, through the real binary: what a lease is good for, and for whom. `tidegate dev` runs as a process of
//! its own; the worker is this test, which says by HTTP whatever it likes.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that meets what it does not expect must fail"
)]

#[path = "../dev/mod.rs"]
mod dev;
mod floods;
mod placed;
mod standing;
mod stubborn;

use std::ops::{Deref, DerefMut};
use std::path::Path;

use serde_json::{Value, json};

use dev::{ask, tidegate, until};

const POLICY: &str = "\
id: work
revision: 1
rules:
  - { id: run, match: { topics: [job.>] }, decision: allow, reason: jobs may run }
  - id: short
    tier: job
    match: { topics: [job.short] }
    decision: allow_with_constraints
    constraints: { budgets: { max_runtime_ms: 300 } }
    reason: not for long
";

/// A key of workers: for one tenant's jobs, and `dig` alone.
struct Key {
    secret: String,
    line: String,
}

/// A `tidegate dev`, and the keys of workers of two tenants.
struct Dev {
    dev: dev::Dev,
    acme: String,
    globex: String,
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

fn key(home: &Path, tenant: &str) -> Key {
    let arguments =
        ["keys", "create", "--role", "worker", "--pool", "default", "--capability", "dig", "--tenant", tenant];
    let output = tidegate(home).args(arguments).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let line = |begin: &str| said.lines().find(|line| line.starts_with(begin)).unwrap_or_else(|| panic!("{said}"));
    Key { secret: line("tidegate-worker-1:").to_owned(), line: line("- {").to_owned() }
}

/// The line of a key with more said of it.
fn with_more(line: &str, more: &str) -> String {
    let (begin, end) = line.rsplit_once('}').unwrap();
    format!("{}, {more} }}{end}", begin.trim_end())
}

impl Dev {
    /// `lease_ms`: of the pool.
    fn new(lease_ms: u32) -> Self {
        Self::with(lease_ms, 1, 1_000)
    }

    /// A pool of so many shards, and keys that may have so many leases.
    fn with(lease_ms: u32, shards: u32, max_leases: u32) -> Self {
        Self::scheduled(&format!("lease_ms: {lease_ms}"), shards, max_leases)
    }

    /// The same with this in the pool's `scheduling`.
    fn scheduled(scheduling: &str, shards: u32, max_leases: u32) -> Self {
        Self::keyed(scheduling, shards, max_leases, "until_ms: null")
    }

    /// The same with this in the keys.
    fn keyed(scheduling: &str, shards: u32, max_leases: u32, more: &str) -> Self {
        let home = dev::home(POLICY);
        let (acme, globex) = (key(home.path(), "acme"), key(home.path(), "globex"));
        let more = format!("max_leases: {max_leases}, {more}");
        let config = format!(
            "pools:\n  - {{ name: default, capabilities: [dig], shards: {shards}, scheduling: {{ {scheduling} }} }}\n\
             keys:\n  workers:\n    {}\n    {}\n",
            with_more(&acme.line, &more),
            with_more(&globex.line, &more)
        );
        std::fs::write(home.path().join("tidegate.yaml"), config).unwrap();
        Self { dev: dev::Dev::start(home, &[], &[]), acme: acme.secret, globex: globex.secret }
    }

    fn submit(&self, tenant: &str, topic: &str, id: &str) -> String {
        let job = json!({"id": id, "tenant": tenant, "topic": topic, "capability": "dig", "payload": {"at": id}});
        let (status, answer) = self.say(&self.key, "/v1/jobs", &job);
        assert_eq!(status, 202, "{answer}");
        answer["source"].as_str().unwrap().to_owned()
    }

    fn lease(&self, key: &str, wait_ms: u64) -> Vec<Value> {
        let body = json!({"worker": "test", "capabilities": ["dig"], "max": 1, "wait_ms": wait_ms});
        let (status, answer) = self.say(key, "/v1/pools/default/lease", &body);
        assert_eq!(status, 200, "{answer}");
        answer["leases"].as_array().unwrap().clone()
    }

    /// The job that comes next, which must be that one.
    fn next(&self, key: &str, id: &str) -> Value {
        let lease = until("a lease", || self.lease(key, 10_000).pop());
        assert_eq!(lease["job"]["id"], id, "{lease}");
        lease
    }

    /// What is said of a lease: the answer's status and its word.
    fn of(&self, key: &str, lease: &Value, verb: &str, mut body: Value) -> (u16, String) {
        let fields = body.as_object_mut().unwrap();
        fields.entry("token").or_insert_with(|| lease["token"].clone());
        let path = format!("/v1/leases/{}/{verb}", lease["lease"].as_str().unwrap());
        let (status, answer) = self.say(key, &path, &body);
        let word = answer["state"].as_str().or_else(|| answer["error"].as_str());
        (status, word.unwrap_or_else(|| panic!("{answer}")).to_owned())
    }

    /// Once it has ended.
    fn story(&self, source: &str) -> Value {
        self.story_after(source, "60s")
    }

    fn story_after(&self, source: &str, wait: &str) -> Value {
        let path = format!("/v1/jobs/{}?wait={wait}", source.replace('/', "%2F").replace('@', "%40"));
        let (status, story) = ask(&self.url, "GET", &path, &self.key, None).unwrap();
        assert_eq!(status, 200, "{story}");
        story
    }
}

fn word(status: u16, word: &str) -> (u16, String) {
    (status, word.to_owned())
}

#[test]
fn a_job_is_leased_kept_by_heartbeats_and_finished_once() {
    let dev = Dev::new(10_000);
    let acme = dev.acme.as_str();
    let source = dev.submit("acme", "job.dig", "one");
    let lease = dev.next(acme, "one");
    assert_eq!(lease["payload"], json!({"at": "one"}));
    assert_eq!((&lease["term_ms"], &lease["heartbeat_ms"]), (&json!(10_000), &json!(2_500)));
    let record: Value = serde_json::from_str(lease["ticket"].as_str().unwrap()).unwrap();
    assert!(record["ticket"].is_object(), "the approved record with its ticket: {record}");
    assert_eq!(dev.of(acme, &lease, "heartbeat", json!({})), word(200, "held"));
    assert_eq!(dev.of(acme, &lease, "progress", json!({"fraction": 0.5, "note": "half"})), word(200, "held"));
    // Neither another token, nor another tenant's key, nor a guess has a say; the last two are told the same.
    assert_eq!(dev.of(acme, &lease, "complete", json!({"token": "1.99"})), word(409, "stale_fence"));
    for verb in ["heartbeat", "complete", "release", "progress"] {
        assert_eq!(dev.of(&dev.globex, &lease, verb, json!({})), word(404, "lease_lost"), "{verb}");
        let guess = json!({"lease": "0".repeat(32), "token": lease["token"]});
        assert_eq!(dev.of(&dev.globex, &guess, verb, json!({})), word(404, "lease_lost"), "{verb}");
    }
    let result = json!({"result": {"found": 7}, "usage": {"tokens": 12}});
    assert_eq!(dev.of(acme, &lease, "complete", result.clone()), word(200, "accepted"));
    let story = dev.story(&source);
    assert_eq!(
        (&story["state"], &story["output"]),
        (&json!("succeeded"), &json!({"found": 7, "usage": {"tokens": 12}}))
    );
    // Said again it is known; said otherwise it is refused.
    assert_eq!(dev.of(acme, &lease, "complete", result), word(200, "accepted"));
    assert_eq!(dev.of(acme, &lease, "complete", json!({"result": 8})), word(409, "already_ended"));
    assert_eq!(dev.of(acme, &lease, "heartbeat", json!({})), word(200, "ended"));

    let source = dev.submit("acme", "job.dig", "two");
    let lease = dev.next(acme, "two");
    assert_eq!(dev.of(acme, &lease, "fail", json!({"error": "too deep"})), word(200, "accepted"));
    let story = dev.story(&source);
    assert_eq!((&story["state"], &story["reason"]), (&json!("failed"), &json!("too deep")), "{story}");
}

#[test]
fn a_tenants_jobs_come_to_its_own_keys_alone() {
    let dev = Dev::new(10_000);
    // A worker of acme waits before the job of globex comes, and gets nothing of it.
    let source = dev.submit("globex", "job.dig", "secret");
    assert_eq!(dev.lease(&dev.acme, 1_500), Vec::<Value>::new());
    let lease = dev.next(&dev.globex, "secret");
    dev.submit("acme", "job.dig", "ours");
    dev.next(&dev.acme, "ours");
    assert_eq!(dev.of(&dev.globex, &lease, "complete", json!({"result": 1})), word(200, "accepted"));
    assert_eq!(dev.story(&source)["state"], "succeeded");
}

#[test]
fn a_request_for_one_job_brings_one_and_the_others_wait_for_whoever_asks() {
    let dev = Dev::new(10_000);
    let acme = dev.acme.as_str();
    let sources: Vec<String> = ["a", "b", "c"].iter().map(|id| dev.submit("acme", "job.dig", id)).collect();
    let lease = until("a lease", || dev.lease(acme, 10_000).pop());
    assert_eq!(dev.of(acme, &lease, "complete", json!({})), word(200, "accepted"));
    let states = until("what is shown of the end", || {
        let state = |source: &String| dev.story_after(source, "0ms")["state"].clone();
        let states: Vec<Value> = sources.iter().map(state).collect();
        states.iter().any(|state| *state == "succeeded").then_some(states)
    });
    let waiting = states.iter().filter(|state| **state == "approved").count();
    // The scheduler has heard of the end, and so of all credit that was given until then.
    assert_eq!(waiting, 2, "{states:?}");
}

#[test]
fn a_silent_worker_loses_its_job_to_another_and_its_late_result_does_not_count() {
    let dev = Dev::new(1_000);
    let acme = dev.acme.as_str();
    let source = dev.submit("acme", "job.dig", "one");
    let slow = dev.next(acme, "one");
    let quick = dev.next(acme, "one");
    assert_ne!(slow["token"], quick["token"]);
    assert_eq!(dev.of(acme, &slow, "complete", json!({"result": "late"})), word(409, "stale_fence"));
    assert_eq!(dev.of(acme, &slow, "heartbeat", json!({})), word(200, "lost"));
    assert_eq!(dev.of(acme, &quick, "complete", json!({"result": "in time"})), word(200, "accepted"));
    assert_eq!(dev.story(&source)["output"], "in time");
}

#[test]
fn a_job_given_back_runs_elsewhere_and_one_past_its_time_is_told_to_stop() {
    let dev = Dev::new(10_000);
    let acme = dev.acme.as_str();
    dev.submit("acme", "job.dig", "back");
    let first = dev.next(acme, "back");
    assert_eq!(dev.of(acme, &first, "release", json!({})), word(200, "released"));
    let second = dev.next(acme, "back");
    assert_eq!(dev.of(acme, &first, "complete", json!({})), word(409, "already_ended"));
    assert_eq!(dev.of(acme, &second, "complete", json!({})), word(200, "accepted"));

    let source = dev.submit("acme", "job.short", "long");
    let lease = dev.next(acme, "long");
    assert_eq!(lease["constraints"]["budgets"]["max_runtime_ms"], 300);
    until("it is told to stop", || (dev.of(acme, &lease, "heartbeat", json!({})).1 == "cancel").then_some(()));
    assert_eq!(dev.of(acme, &lease, "fail", json!({"error": "stopped"})), word(200, "accepted"));
    assert_eq!(dev.story(&source)["state"], "timed_out");
}

#[test]
fn a_lease_of_a_gateway_that_was_killed_is_lost_and_its_job_runs_again() {
    let mut dev = Dev::new(1_000);
    let source = dev.submit("acme", "job.dig", "one");
    let before = dev.next(&dev.acme, "one");
    dev.again();
    assert_eq!(dev.of(&dev.acme, &before, "heartbeat", json!({})), word(404, "lease_lost"));
    assert_eq!(dev.of(&dev.acme, &before, "complete", json!({"result": 1})), word(404, "lease_lost"));
    let after = dev.next(&dev.acme, "one");
    assert_eq!(dev.of(&dev.acme, &after, "complete", json!({"result": 2})), word(200, "accepted"));
    assert_eq!(dev.story(&source)["output"], 2);
}

#[test]
fn a_key_has_no_more_leases_than_it_may_have_however_many_of_its_requests_wait() {
    let dev = Dev::with(10_000, 1, 2);
    let body = json!({"worker": "test", "capabilities": ["dig"], "max": 2, "wait_ms": 2_000});
    let taken: Vec<Value> = std::thread::scope(|threads| {
        let ask = || dev.say(&dev.acme, "/v1/pools/default/lease", &body).1;
        let asking: Vec<_> = (0..4).map(|_| threads.spawn(ask)).collect();
        for id in 0..8 {
            dev.submit("acme", "job.dig", &id.to_string());
        }
        asking
            .into_iter()
            .flat_map(|answer| answer.join().unwrap()["leases"].as_array().cloned().unwrap_or_default())
            .collect()
    });
    assert_eq!(taken.len(), 2, "of four requests for two: {taken:?}");
    assert_eq!(dev.say(&dev.acme, "/v1/pools/default/lease", &body).1["error"], "too_many_leases");
    // Each that ends makes room for the next, until all have run.
    let mut left = taken;
    for _ in 0..8 {
        let lease = left.pop().unwrap_or_else(|| until("a lease", || dev.lease(&dev.acme, 10_000).pop()));
        assert_eq!(dev.of(&dev.acme, &lease, "complete", json!({})), word(200, "accepted"));
    }
}

#[test]
fn a_key_of_one_lease_is_served_by_every_shard_of_a_pool() {
    let dev = Dev::with(2_000, 4, 1);
    // Over all buckets, and so over all shards.
    let sources: Vec<String> = (0..12).map(|id| dev.submit("acme", "job.dig", &format!("job-{id}"))).collect();
    for _ in &sources {
        let lease = until("a lease", || dev.lease(&dev.acme, 10_000).pop());
        assert_eq!(dev.of(&dev.acme, &lease, "complete", json!({})), word(200, "accepted"));
    }
    assert!(sources.iter().all(|source| dev.story(source)["state"] == "succeeded"));
}
