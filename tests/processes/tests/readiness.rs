//! `/readyz` follows the spine: 503 and why while the broker does not answer, 200 when it does again.
//!
//! The broker is this test's own: others' would stand still too, and its controller is not to take its partitions' leader away
//! meanwhile (docs/operating.md, a broker that comes back).
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use tidegate_processes::broker::Broker;
use tidegate_processes::home::{Home, KEYS, own_prefix};
use tidegate_processes::http::{Http, free_port};
use tidegate_processes::process::until;

/// A request to a broker that is stopped takes half a minute to fail.
const PATIENCE: Duration = Duration::from_secs(180);

/// Longer than the broker stands still.
const SESSION: &str = "broker.session.timeout.ms=600000";

/// A broker that ends with this test.
struct Own(Broker);

impl Drop for Own {
    fn drop(&mut self) {
        if let Err(error) = self.0.control("down") {
            eprintln!("the broker cannot be ended: {error:#}");
        }
    }
}

/// A broker that was stopped. Dropped, it goes on.
struct Stopped<'a>(&'a Broker);

impl<'a> Stopped<'a> {
    fn stop(broker: &'a Broker) -> Self {
        let stopped = Self(broker);
        broker.control("stop").unwrap();
        stopped
    }
}

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.0.control("cont") {
            eprintln!("the broker cannot be told to go on: {error:#}");
        }
    }
}

#[test]
fn a_process_whose_broker_does_not_answer_is_not_ready_and_says_so_until_it_does_again() {
    let folder = tempfile::tempdir().unwrap();
    let own = Own(Broker::start(folder.path().join("kafka"), &[SESSION]).unwrap());
    let broker = &own.0;
    let home = Home::new("id: p\nrevision: 1\nrules:\n  - { id: r, match: {}, decision: allow }\n").unwrap();
    let port = free_port().unwrap();
    let config = format!(
        "\
spine: {{ url: \"{}\" }}
prefix: \"{}\"
policy: policy
listen: 127.0.0.1:{port}
data: data
topics: {{ source_partitions: 1, shared_partitions: 1 }}
{KEYS}",
        broker.url(),
        own_prefix("readiness")
    );
    home.write("tidegate.yaml", &config).unwrap();
    let made = home.run(&["topics", "apply"]).unwrap();
    assert_eq!(made.code, Some(0), "{}", made.err);
    let process = home.tidegate("serve", &["serve"]).start().unwrap();
    let http = Http::new(&format!("http://127.0.0.1:{port}"), None);
    let is_ready = |what: &str| {
        let ready = until(PATIENCE, what, || Ok(http.is_ready().then_some(())));
        ready.unwrap_or_else(|error| panic!("{error}: {:?}\n{}", http.get("/readyz"), process.err()));
    };
    is_ready("it is ready");
    {
        let _stopped = Stopped::stop(broker);
        let waits = until(PATIENCE, "it is not ready", || {
            let answer = http.get("/readyz")?;
            Ok((answer.status == 503).then(|| answer.json()["waits_for"].to_string()))
        })
        .unwrap();
        // The pulse may be the second to notice.
        let said = until(PATIENCE, "it says why", || {
            let answer = http.get("/readyz")?;
            Ok((answer.status == 503 && answer.text.contains("the spine does not answer")).then_some(()))
        });
        said.unwrap_or_else(|error| panic!("{error}: it waited for {waits}\n{}", process.err()));
        // Alive all the while: it is not to be killed for that.
        assert_eq!(http.get("/healthz").unwrap().status, 200);
    }
    is_ready("it is ready again");
}
