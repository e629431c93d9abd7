//! Pools and workers as people who operate them see them, through the real binary.

use serde_json::{Value, json};

use super::{Dev, tidegate, until, word};

impl Dev {
    /// What a command answers as JSON, and its exit code.
    fn cli(&self, arguments: &[&str]) -> (i32, Value) {
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
