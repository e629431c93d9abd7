//! `tidegate bench` on a real Kafka that asks who is there: its topics are gone when a signal has ended it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::time::Duration;

use rustix::process::Signal;
use tidegate_processes::broker::Broker;
use tidegate_processes::home::Home;
use tidegate_processes::process::until;

const PATIENCE: Duration = Duration::from_secs(120);

/// Topics of benches, whoever's.
fn benches(broker: &Broker) -> BTreeSet<String> {
    broker.topics("bench-").unwrap().into_keys().collect()
}

#[test]
fn a_bench_that_is_told_to_stop_deletes_its_topics_and_says_that_there_are_no_figures() {
    let broker = Broker::from_environment().unwrap();
    let (address, data) = (broker.sasl.clone().unwrap(), broker.data.clone().unwrap());
    let home = Home::new("").unwrap();
    let (user, password) = (std::fs::read_to_string(data.join("sasl_user")).unwrap(), data.join("sasl_password"));
    let settings = format!(
        "spine:\n  url: kafka://{address}\n  settings:\n    security.protocol: SASL_PLAINTEXT\n    sasl.mechanism: PLAIN\n    \
         sasl.username: {}\n    sasl.password: {{ file: \"{}\" }}\n",
        user.trim(),
        password.display()
    );
    home.write("tidegate.yaml", &settings).unwrap();
    for (name, signal) in [("terminated", Signal::TERM), ("interrupted", Signal::INT)] {
        let before = benches(&broker);
        let url = format!("kafka://{address}");
        // Long enough that it does not end by itself; the floor connects as the spine does.
        let bench = ["bench", "jobs", "--spine", &url, "--rate", "200", "--duration", "600s", "--warm-up", "0.5s"];
        let bench = [&bench[..], &["--flat-out", "0.5s", "--floor", "--output", "json"]].concat();
        let mut bench = home.tidegate(name, &bench).start().unwrap();
        until(PATIENCE, "the floor has its topics, so the first parts are over", || {
            assert!(bench.ended()?.is_none(), "{}", bench.last_words());
            let new = &benches(&broker) - &before;
            Ok(new.iter().any(|topic| topic.ends_with(".floor.finished")).then_some(()))
        })
        .unwrap_or_else(|error| panic!("{error}\n{}", bench.last_words()));
        bench.signal(signal).unwrap();
        let status = bench.wait(PATIENCE).unwrap();
        assert_eq!(status.code(), Some(1), "{}", bench.last_words());
        assert!(bench.err().contains("stopped before the run's end"), "{}", bench.last_words());
        until(PATIENCE, "its topics are gone", || Ok((&benches(&broker) - &before).is_empty().then_some(()))).unwrap();
    }
    // Without the settings nobody is let in.
    home.write("other.yaml", "prefix: other.\n").unwrap();
    let refused = home.run(&["bench", "decisions", "--spine", &format!("kafka://{address}"), "--config", "other.yaml"]);
    let refused = refused.unwrap();
    assert_ne!(refused.code, Some(0), "{refused:?}");
}
