//! Pools and workers as people who operate them see them, through the real binary.

use serde_json::{Value, json};

use super::dev::{ask, tidegate, until};
use super::{Dev, word};

impl Dev {
    /// What a command answers as JSON, and its exit code.
    pub(super) fn cli(&self, arguments: &[&str]) -> (i32, Value) {
        let output = tidegate(self.home.path()).args(["--output", "json"]).args(arguments).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let last = said.lines().last().unwrap_or_default();
        (output.status.code().unwrap_or(-1), serde_json::from_str(last).unwrap_or(Value::Null))
    }
}

#[test]
fn pools_and_workers_are_shown_as_they_stand() {
    let dev = Dev::with(10_000, 1, 10);
    let acme = dev.acme.as_str();
    let pool = |dev: &Dev| dev.cli(&["pools", "list"]).1["pools"][0].clone();
    assert_eq!(pool(&dev)["workers"], 0, "nobody has asked for jobs yet");
    for id in 0..5 {
        dev.submit("acme", "job.dig", &id.to_string());
    }
    let lease = until("a lease", || dev.lease(acme, 10_000).pop());
    let standing = until("the pool stands so", || {
        let standing = pool(&dev);
        (standing["running"] == 1 && standing["backlog"] == 4 && standing["present"] == 1).then_some(standing)
    });
    assert_eq!((&standing["pool"], &standing["shards"]), (&json!("default"), &json!(1)), "{standing}");
    assert!(standing["oldest_waiting_ms"].as_u64().is_some() && standing["wanted_workers"] == 1, "{standing}");

    let (_, workers) = dev.cli(&["workers", "list", "--pool", "default"]);
    let worker = &workers["workers"][0];
    let name = worker["worker"].as_str().unwrap_or_else(|| panic!("{workers}"));
    assert!(name.starts_with("http:") && worker["state"] == "present" && worker["running"] == 1, "{worker}");
    assert_eq!((&worker["capabilities"], &worker["tenants"]), (&json!(["dig"]), &json!(["acme"])));
    let (code, shown) = dev.cli(&["workers", "show", name]);
    assert_eq!((code, &shown["workers"][0]["jobs"][0]), (0, &lease["job"]["source"]), "{shown}");
    assert_eq!(dev.cli(&["workers", "show", "nobody"]).0, 1);
    assert_eq!(dev.cli(&["workers", "list", "--pool", "nowhere"]).0, 1);

    assert_eq!(dev.of(acme, &lease, "complete", json!({})), word(200, "accepted"));
    let top = until("the end is counted", || {
        let (code, top) = dev.cli(&["top", "--once"]);
        assert_eq!(code, 0);
        (top["pools"][0]["outcomes"]["succeeded"] == 1).then_some(top)
    });
    let ran = &top["pools"][0]["ran"];
    assert!(ran["n"] == 1 && ran["p50_ms"].as_f64() > Some(0.0) && top["pools"][0]["waited"]["n"] == 1, "{top}");
    assert_eq!(top["workers"][0]["running"], 0);
    // For people: a table each, with the same figures.
    let text = tidegate(dev.home.path()).args(["top", "--once"]).output().unwrap();
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.lines().nth(1).is_some_and(|line| line.starts_with("default  1/1")) && text.contains(name), "{text}");
}

/// What scales workers by demand has to start one: the job is in no log, and nobody who could have it is there.
#[test]
fn a_pool_whose_only_worker_is_gone_wants_one_for_the_job_that_is_to_be_tried_again() {
    let mut dev = Dev::with(1_000, 1, 10);
    dev.submit("acme", "job.dig", "lost");
    // Leased, and its worker is never heard of again; nor is the process that spoke for it.
    until("a lease", || dev.lease(&dev.acme, 10_000).pop());
    dev.again();
    until("nobody is there, and the job is ready", || {
        let standing = dev.cli(&["pools", "list"]).1["pools"][0].clone();
        let is_so = standing["present"] == 0 && standing["running"] == 0 && standing["backlog"] == 1;
        (is_so && standing["wanted_workers"] == 1).then_some(())
    });
    let metric = |name: &str| {
        let (status, text) = ask(&dev.url, "GET", "/metrics", &dev.key, None).unwrap();
        assert_eq!(status, 200);
        let series = format!("tidegate_node_pool_{name}{{pool=\"default\"}} ");
        text.as_str()?.lines().find_map(|line| line.strip_prefix(&series)?.parse::<f64>().ok())
    };
    // A fraction of a worker: `worker_slots` are 8.
    let says = || (metric("wanted_workers"), metric("backlog_jobs"));
    until("the metric says the same", || (says() == (Some(0.125), Some(1.0))).then_some(()));
    assert_eq!((metric("free_credit"), metric("oldest_waiting_seconds")), (Some(0.0), Some(0.0)));
}

/// So long a worker at the broker may be silent until it counts as gone.
#[test]
fn a_crew_has_left_its_pool_a_lease_after_its_last_worker_asked_and_is_there_again_for_the_next() {
    let dev = Dev::with(3_000, 1, 10);
    let acme = dev.acme.as_str();
    // One that has left is shown until its scheduler forgets it.
    let present = || dev.cli(&["pools", "list"]).1["pools"][0]["present"].as_u64().unwrap();
    // However long it waits, a worker that asks is there.
    std::thread::scope(|all| {
        let asks = all.spawn(|| dev.lease(acme, 10_000));
        until("it is present", || (present() == 1).then_some(()));
        assert_eq!(asks.join().unwrap(), Vec::<Value>::new());
    });
    until("it is gone", || (present() == 0).then_some(()));
    dev.submit("acme", "job.dig", "later");
    let lease = dev.next(acme, "later");
    until("it is present again", || (present() == 1).then_some(()));
    assert_eq!(dev.of(acme, &lease, "complete", json!({})), word(200, "accepted"));
}

#[test]
fn a_crew_whose_workers_were_told_to_leave_is_gone_at_once() {
    // Nothing is waited for so long here.
    let dev = Dev::with(600_000, 1, 10);
    let acme = dev.acme.as_str();
    assert_eq!(dev.lease(acme, 100), Vec::<Value>::new());
    let worker = || dev.cli(&["workers", "list"]).1["workers"][0].clone();
    let name = until("it is present", || {
        let worker = worker();
        (worker["state"] == "present").then(|| worker["worker"].as_str().unwrap().to_owned())
    });
    assert_eq!(dev.cli(&["workers", "drain", &name, "--reason", "a test"]).0, 0);
    until("it is told to leave", || {
        let body = json!({"worker": "test", "capabilities": ["dig"], "max": 1, "wait_ms": 100});
        let (status, answer) = dev.say(acme, "/v1/pools/default/lease", &body);
        (status == 200 && answer["drain"] == true).then_some(())
    });
    // It has said so itself: while it stays it stands there as cordoned.
    until("it leaves", || (worker()["state"] == "draining").then_some(()));
}

#[test]
fn a_cordoned_crew_gets_nothing_until_it_is_uncordoned() {
    let dev = Dev::with(60_000, 2, 10);
    let acme = dev.acme.as_str();
    dev.submit("acme", "job.dig", "before");
    let lease = until("a lease", || dev.lease(acme, 10_000).pop());
    assert_eq!(dev.of(acme, &lease, "complete", json!({})), word(200, "accepted"));
    let name = dev.cli(&["workers", "list"]).1["workers"][0]["worker"].as_str().unwrap().to_owned();
    let tell = |action: &str| dev.cli(&["workers", action, &name, "--reason", "a test"]);
    let (code, told) = tell("cordon");
    assert_eq!((code, &told["became"], &told["shards"]), (0, &json!("given"), &json!(2)), "{told}");
    let shown = until("it stands so", || {
        let shown = dev.cli(&["workers", "show", &name]).1["workers"][0].clone();
        (shown["state"] == "cordoned").then_some(shown)
    });
    assert_eq!((&shown["cordon"]["reason"], &shown["free"]), (&json!("a test"), &json!(0)), "{shown}");
    let source = dev.submit("acme", "job.dig", "meanwhile");
    assert_eq!(dev.lease(acme, 1_500), Vec::<Value>::new());
    assert_eq!(dev.cli(&["pools", "list"]).1["pools"][0]["cordoned"], 1);
    assert_eq!(tell("uncordon").0, 0);
    let (code, told) = tell("uncordon");
    assert_eq!((code, &told["why"]), (1, &json!("not_cordoned")), "{told}");
    let lease = until("a lease", || dev.lease(acme, 10_000).pop());
    assert_eq!(dev.of(acme, &lease, "complete", json!({})), word(200, "accepted"));
    assert_eq!(dev.story(&source)["state"], "succeeded");
    // Whoever is no operator is not believed, and says so in nobody's name.
    let key = dev.home.path().join("mallory.key");
    let made = ["keys", "create", "--role", "submitter", "--id", "mallory", "--file", key.to_str().unwrap()];
    assert!(tidegate(dev.home.path()).args(made).output().unwrap().status.success());
    let (code, told) = dev.cli(&["workers", "cordon", &name, "--signing-key", key.to_str().unwrap()]);
    assert_eq!((code, &told["became"]), (69, &json!("pending")), "{told}");
}
