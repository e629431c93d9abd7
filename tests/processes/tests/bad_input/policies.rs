//! Bundles that are wrong, or none at all.

use std::time::Duration;

use serde_json::json;
use tidegate_processes::dev::Dev;
use tidegate_processes::home::Home;
use tidegate_processes::http::in_path;
use tidegate_processes::process::until;

use super::must_end;

const PATIENCE: Duration = Duration::from_secs(60);

fn bundle(revision: u64, rule: &str) -> String {
    format!("id: p\nrevision: {revision}\nrules:\n  - {{ id: r, {rule} }}\n")
}

#[test]
fn check_names_file_line_reason_and_remedy() {
    let table = [
        ("an unknown field", bundle(1, "match: {}, decision: deny, colour: red"), "unknown field `colour`"),
        ("a bad glob", bundle(1, "match: { topics: [job.pay*] }, decision: deny"), "bad glob `job.pay*`"),
        ("an unknown decision", bundle(1, "match: {}, decision: perhaps"), "unknown decision `perhaps`"),
        ("an empty file", String::new(), "p.yaml"),
        ("no rules", "id: p\nrevision: 1\n".into(), "rules"),
    ];
    for (what, text, reason) in table {
        let home = Home::new("").unwrap();
        home.write("policy/p.yaml", &text).unwrap();
        let ended = home.run(&["policy", "check", "policy"]).unwrap();
        must_end(&ended, 78, &[reason, "p.yaml", ";"]);
        assert!(what == "an empty file" || ended.err.contains("p.yaml:"), "{what}: no line in {}", ended.err);
    }
    let home = Home::new("").unwrap();
    must_end(&home.run(&["policy", "check", "policy"]).unwrap(), 78, &["policy"]);
    must_end(&home.run(&["policy", "check", "nowhere"]).unwrap(), 78, &["nowhere", "cannot be read"]);
    let home = Home::new(&bundle(1, "match: { topics: [job.demo.>] }, decision: allow")).unwrap();
    must_end(&home.run(&["policy", "check", "policy"]).unwrap(), 0, &[]);
}

/// Nothing is judged until there is a policy that can be used; then what waited goes on.
#[test]
fn without_a_usable_policy_nothing_is_read_and_when_one_comes_it_goes_on() {
    for (name, first, said) in [
        ("none", None, "no policy is loaded"),
        ("bad", Some(bundle(1, "match: {}, decision: allow, colour: red")), "unknown field `colour`"),
        ("empty", Some(String::new()), "no policy is loaded"),
    ] {
        let home = Home::new("").unwrap();
        if let Some(text) = first {
            home.write("policy/p.yaml", &text).unwrap();
        }
        let further = ["--policy", "policy", "--worker", "echo=builtin:echo"];
        let dev = Dev::listening(&home, "dev", &further).unwrap();
        // Taken: jobs wait in the log.
        let job = br#"{"id":"a","tenant":"acme","topic":"job.demo.x","capability":"echo"}"#;
        let (status, taken) = dev.submit(job).unwrap();
        assert_eq!(status, 202, "{name}: {taken}");
        let source = taken["source"].as_str().unwrap();
        let waits = until(PATIENCE, "everything but the policy is there", || {
            let ready = dev.http.get("/readyz")?;
            let waits: Vec<String> = serde_json::from_value(ready.json()["waits_for"].clone())?;
            let reads_nothing = |wait: &&String| wait.ends_with("no policy is loaded, so nothing is read");
            let only_policy = waits.iter().all(|wait| wait.contains("no policy is loaded"));
            let all = only_policy && waits.iter().filter(reads_nothing).count() == 4;
            Ok((ready.status == 503 && all).then_some(()))
        });
        waits.unwrap_or_else(|error| panic!("{name}: {error}: {:?}", dev.http.get("/readyz")));
        // Not before it has stood there for two looks.
        until(PATIENCE, said, || Ok((said == "no policy is loaded" || dev.process.err().contains(said)).then_some(())))
            .unwrap_or_else(|error| panic!("{name}: {error}: {}", dev.process.err()));
        assert_eq!(dev.http.get(&format!("/v1/jobs/{}", in_path(source))).unwrap().status, 404, "{name}");
        assert!(dev.http.metric("tidegate_kernel_records_total", &[]).unwrap() < 0.5, "{name}");

        home.write("policy/p.yaml", &bundle(2, "match: { topics: [job.demo.>] }, decision: allow")).unwrap();
        let story = dev.story(source).unwrap();
        assert_eq!(story["state"], "succeeded", "{name}: {story}");
        assert!(dev.http.is_ready(), "{name}");
    }
}

#[test]
fn a_worse_policy_changes_nothing() {
    let home = Home::new(&bundle(1, "match: { topics: [job.demo.>] }, decision: allow")).unwrap();
    let dev = Dev::ready(&home, "dev", &["--policy", "policy", "--worker", "echo=builtin:echo"]).unwrap();
    for (number, bad) in [
        bundle(2, "match: { topics: [job.>.x] }, decision: allow"),
        bundle(2, "match: {}, decision: allow, colour: red"),
        bundle(1, "match: { topics: [job.>] }, decision: allow"),
        String::new(),
    ]
    .into_iter()
    .enumerate()
    {
        let refused = |dev: &Dev| dev.http.metric("tidegate_node_policy_loads_total", &["refused"]);
        let before = refused(&dev).unwrap();
        home.write("policy/p.yaml", &bad).unwrap();
        let what = format!("the bad policy {number} is refused");
        until(PATIENCE, &what, || Ok((refused(&dev)? > before).then_some(()))).unwrap();
        for (topic, state) in [("job.demo.x", "succeeded"), ("job.other.x", "denied")] {
            let job =
                json!({"id": format!("{topic}-{number}"), "tenant": "acme", "topic": topic, "capability": "echo"});
            let (_, taken) = dev.submit(job.to_string().as_bytes()).unwrap();
            let story = dev.story(taken["source"].as_str().unwrap()).unwrap();
            assert_eq!(story["state"], state, "{number}: {story}");
        }
    }
}

/// With `require_signed_policy` an unsigned folder is none, a signed one is used, and one that somebody changed
/// afterwards leaves the last good policy in force.
#[test]
fn a_policy_that_must_be_signed_is_used_as_it_was_signed() {
    let home = Home::new(&bundle(1, "match: { topics: [job.demo.>] }, decision: deny")).unwrap();
    let create = ["keys", "create", "--output", "json", "--role", "policy", "--id", "author", "--file", "author.key"];
    let made = home.run(&create).unwrap();
    must_end(&made, 0, &[]);
    let made: serde_json::Value = serde_json::from_str(made.out.lines().last().unwrap()).unwrap();
    let config = format!(
        "require_signed_policy: true\npools: [{{ name: default, capabilities: [echo] }}]\nkeys:\n  trusted:\n    - {{ id: \
         author, public: {}, roles: {} }}\n",
        made["public"], made["roles"]
    );
    home.write("tidegate.yaml", &config).unwrap();
    let dev = Dev::listening(&home, "dev", &["--policy", "policy", "--worker", "echo=builtin:echo"]).unwrap();
    let refused = |said: &str| {
        until(PATIENCE, said, || Ok(dev.process.err().contains(said).then_some(()))).unwrap();
    };
    refused("the policy is not signed and `require_signed_policy` is on");
    assert!(!dev.http.is_ready());

    let sign = || home.run(&["policy", "sign", "policy", "--key", "author", "--key-file", "author.key"]).unwrap();
    must_end(&sign(), 0, &[]);
    let state = |id: &str| {
        let job = json!({"id": id, "tenant": "acme", "topic": "job.demo.x", "capability": "echo"});
        let (_, taken) = dev.submit(job.to_string().as_bytes()).unwrap();
        dev.story(taken["source"].as_str().unwrap()).unwrap()["state"].as_str().unwrap().to_owned()
    };
    assert_eq!(state("a"), "denied");
    home.write("policy/p.yaml", &bundle(2, "match: { topics: [job.demo.>] }, decision: allow")).unwrap();
    refused("changed: `p.yaml`");
    assert_eq!(state("b"), "denied");
    must_end(&sign(), 0, &[]);
    until(PATIENCE, "the signed change is used", || {
        Ok((dev.http.metric("tidegate_node_policy_loads_total", &["loaded"])? > 1.5).then_some(()))
    })
    .unwrap();
    assert_eq!(state("c"), "succeeded");
}
