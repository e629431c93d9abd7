//! Which workers over HTTP get a job: those whose labels it asks for, and none that are to leave.

use serde_json::{Value, json};

use super::dev::until;
use super::{Dev, word};

impl Dev {
    /// The answer to a request for jobs by a worker with these labels.
    fn ask_with(&self, key: &str, labels: &Value, wait_ms: u64) -> (u16, Value) {
        let body = json!({"worker": "test", "capabilities": ["dig"], "labels": labels, "wait_ms": wait_ms});
        self.say(key, "/v1/pools/default/lease", &body)
    }

    /// The job that comes next to such a worker.
    fn next_with(&self, key: &str, labels: &Value) -> Value {
        until("a lease", || {
            let (status, answer) = self.ask_with(key, labels, 10_000);
            assert_eq!(status, 200, "{answer}");
            answer["leases"].as_array().unwrap().first().cloned()
        })
    }
}

#[test]
fn a_job_that_asks_for_labels_comes_to_a_worker_that_has_them_and_to_no_other() {
    let dev = Dev::keyed("lease_ms: 10000", 1, 10, "labels: { zone: [eu, us] }");
    let acme = dev.acme.as_str();
    let job = json!({"id": "placed", "tenant": "acme", "topic": "job.dig", "capability": "dig", "select": {"zone": "eu"}, "payload": 1});
    let (status, answer) = dev.say(&dev.key, "/v1/jobs", &job);
    assert_eq!(status, 202, "{answer}");
    let source = answer["source"].as_str().unwrap().to_owned();
    // Whoever has no label, or another, gets nothing of it.
    assert_eq!(dev.lease(acme, 1_000), Vec::<Value>::new());
    assert_eq!(dev.ask_with(acme, &json!({"zone": "us"}), 1_000).1["leases"], json!([]));
    let lease = dev.next_with(acme, &json!({"zone": "eu"}));
    assert_eq!(lease["job"]["id"], "placed");
    assert_eq!(dev.of(acme, &lease, "complete", json!({"result": 7})), word(200, "accepted"));
    assert_eq!(dev.story(&source)["output"], 7);
    let shown = until("it is shown", || {
        let workers = dev.cli(&["workers", "list"]).1["workers"].as_array().cloned().unwrap_or_default();
        workers.into_iter().find(|worker| worker["labels"] == json!({"zone": "eu"}))
    });
    assert!(shown["worker"].as_str().unwrap().starts_with("http:"), "{shown}");
    // What the key does not say its workers may have, and what is no label, is refused.
    for (labels, status, refused) in [
        (json!({"zone": "mars"}), 403, "not_covered"),
        (json!({"gpu": "a100"}), 403, "not_covered"),
        (json!({"zone": ""}), 400, "bad_labels"),
        (json!({"zone": "e\nu"}), 400, "bad_labels"),
        (json!({"zone": 1}), 400, "bad_body"),
        ((0..65).map(|n| (format!("l{n}"), json!("x"))).collect(), 400, "bad_labels"),
    ] {
        let (answered, answer) = dev.ask_with(acme, &labels, 0);
        assert_eq!((answered, &answer["error"]), (status, &json!(refused)), "{labels}: {answer}");
    }
}

#[test]
fn workers_over_http_that_are_drained_keep_what_they_run_are_told_to_leave_and_get_nothing_until_that_is_over() {
    let dev = Dev::with(10_000, 2, 10);
    let acme = dev.acme.as_str();
    let (source, other) = (dev.submit("acme", "job.dig", "runs"), json!({"other": "crew"}));
    let lease = dev.next(acme, "runs");
    let body = json!({"worker": "test", "capabilities": ["dig"], "wait_ms": 60_000});
    let asked = |body: &Value| dev.say(acme, "/v1/pools/default/lease", body);
    let told = std::thread::scope(|threads| {
        // One waits for a job when the word comes.
        let waits = threads.spawn(|| asked(&body));
        let name = until("the crew is known", || {
            let workers = dev.cli(&["workers", "list"]).1;
            workers["workers"][0]["worker"].as_str().map(str::to_owned)
        });
        let (code, told) = dev.cli(&["workers", "drain", &name, "--reason", "a new version"]);
        assert_eq!((code, &told["became"], &told["shards"]), (0, &json!("given"), &json!(2)), "{told}");
        let (status, answer) = waits.join().unwrap();
        assert_eq!((status, &answer["leases"], &answer["drain"]), (200, &json!([]), &json!(true)), "{answer}");
        name
    });
    // What runs goes on, and its worker hears of it with its next heartbeat.
    let path = format!("/v1/leases/{}/heartbeat", lease["lease"].as_str().unwrap());
    let (_, beat) = dev.say(acme, &path, &json!({"token": lease["token"]}));
    assert_eq!((&beat["state"], &beat["drain"]), (&json!("held"), &json!(true)), "{beat}");
    assert_eq!(dev.of(acme, &lease, "complete", json!({"result": "done"})), word(200, "accepted"));
    let story = dev.story(&source);
    assert_eq!((&story["output"], story["attempts"].as_array().unwrap().len()), (&json!("done"), 1), "{story}");
    // Whoever asks later is told so too; workers with other labels are others.
    let waiting = dev.submit("acme", "job.dig", "waits");
    assert_eq!(asked(&body).1, json!({"leases": [], "drain": true}));
    let lease = dev.next_with(acme, &other);
    assert_eq!(lease["job"]["id"], "waits");
    assert_eq!(dev.of(acme, &lease, "complete", json!({})), word(200, "accepted"));
    assert_eq!(dev.story(&waiting)["state"], "succeeded");
    // Until the operator says otherwise.
    assert_eq!(dev.cli(&["workers", "uncordon", &told]).0, 0);
    let last = dev.submit("acme", "job.dig", "last");
    let lease = dev.next(acme, "last");
    assert_eq!(dev.of(acme, &lease, "complete", json!({})), word(200, "accepted"));
    assert_eq!(dev.story(&last)["state"], "succeeded");
}
