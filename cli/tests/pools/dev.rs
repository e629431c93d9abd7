//! `tidegate dev` with a configuration reads its pools again, and its HTTP API knows them at once.

use serde_json::{Value, json};

use super::process::{Dev, ask, home, until};

const POLICY: &str = "id: p\nrevision: 1\nrules:\n  - { id: ok, match: { topics: [job.>] }, decision: allow }\n";
const A: &str = "pools:\n  - { name: a, capabilities: [x] }\n";

#[test]
fn workers_over_http_get_the_jobs_of_a_pool_that_came_while_it_runs_and_its_stories_are_told() {
    let home = home(POLICY);
    let write = |home: &std::path::Path, pools: &str| std::fs::write(home.join("tidegate.yaml"), pools).unwrap();
    write(home.path(), A);
    let dev = Dev::start(home, &[], &[]);
    let key = std::fs::read_to_string(dev.home.path().join("data/worker.key")).unwrap().trim().to_owned();
    let lease = |wait_ms: u64| {
        let body = json!({"worker": "test", "capabilities": ["y"], "max": 1, "wait_ms": wait_ms});
        dev.say(&key, "/v1/pools/b/lease", &body)
    };
    assert_ne!(lease(0).0, 200, "there is no such pool");

    write(dev.home.path(), &format!("{A}  - {{ name: b, capabilities: [y] }}\n"));
    dev.hang_up();
    until("the pool is served", || (lease(0).0 == 200).then_some(()));
    let job = json!({"id": "one", "tenant": "t", "topic": "job.y", "capability": "y"});
    let (status, taken) = dev.say(&dev.key, "/v1/jobs", &job);
    assert_eq!(status, 202, "{taken}");
    let lease = until("a lease", || lease(10_000).1["leases"].as_array_mut()?.pop());
    assert_eq!(lease["job"]["id"], "one", "{lease}");
    let path = format!("/v1/leases/{}/complete", lease["lease"].as_str().unwrap());
    let (status, answer) = dev.say(&key, &path, &json!({"token": lease["token"]}));
    assert_eq!((status, &answer["state"]), (200, &Value::from("accepted")), "{answer}");

    let source = taken["source"].as_str().unwrap().replace('/', "%2F").replace('@', "%40");
    let (_, story) = ask(&dev.url, "GET", &format!("/v1/jobs/{source}?wait=60s"), &dev.key, None).unwrap();
    assert_eq!((&story["state"], &story["pool"]), (&json!("succeeded"), &json!("b")), "{story}");
    let (_, pools) = ask(&dev.url, "GET", "/v1/pools", &dev.key, None).unwrap();
    let names: Vec<&Value> = pools["pools"].as_array().unwrap().iter().map(|pool| &pool["pool"]).collect();
    assert_eq!(names, ["a", "b"], "{pools}");

    // It goes again, in two steps, and what it did stays known.
    write(dev.home.path(), &format!("{A}  - {{ name: b, capabilities: [y], draining: true }}\n"));
    dev.hang_up();
    until("it drains", || (dev.log().matches("the configuration was read again").count() == 2).then_some(()));
    write(dev.home.path(), A);
    dev.hang_up();
    // Refused for as long as it cannot be seen that nothing is left.
    let mut refused = 0;
    until("it is gone", || {
        let log = dev.log();
        let refusals = log.matches("the configuration is not taken over").count();
        if refusals > refused {
            refused = refusals;
            dev.hang_up();
        }
        log.contains("removed: b").then_some(())
    });
    let (status, answer) = dev.say(&key, "/v1/pools/b/lease", &json!({"worker": "test", "capabilities": ["y"]}));
    assert_ne!(status, 200, "{answer}");
    let (_, story) = ask(&dev.url, "GET", &format!("/v1/jobs/{source}"), &dev.key, None).unwrap();
    assert_eq!(story["state"], "succeeded", "{story}");
}

#[test]
fn without_a_configuration_it_ends_in_order_when_its_terminal_is_closed() {
    let mut dev = Dev::start(home(POLICY), &[], &[]);
    dev.hang_up();
    let status = dev.ended();
    assert!(status.success(), "{status}: {}", dev.log());
    assert!(dev.log().contains("stopped"), "{}", dev.log());
}
