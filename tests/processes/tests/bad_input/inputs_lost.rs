//! Records of a source that are gone before they were judged: `tidegate dev` stands still, says which, and goes on when an
//! operator has given them up.

use std::time::Duration;

use futures::executor::block_on;
use serde_json::{Value, json};
use tidegate_processes::dev::Dev;
use tidegate_processes::home::Home;
use tidegate_processes::process::until;
use tidegate_spine::{Headers, NewRecord, ProducerOptions};

use crate::forged_on_dev::{all, spine, topic};

const POLICY: &str = "\
id: p
revision: 1
rules:
  - { id: demo, match: { topics: [job.demo.>] }, decision: allow, reason: it may run }
";

fn config(operator: &str) -> String {
    format!(
        "\
pools:
  - {{ name: default, capabilities: [touch] }}
policy: policy
topics: {{ source_partitions: 1 }}
keys:
  trusted:
    - {{ id: ada, public: {operator}, roles: [operator] }}
"
    )
}

fn job(id: &str) -> String {
    json!({"id": id, "tenant": "acme", "topic": "job.demo.x", "capability": "touch", "payload": {"n": 1}}).to_string()
}

/// Makes the operator's key in the folder; its public half.
fn key(home: &Home, id: &str) -> String {
    let file = format!("{id}.key");
    let made =
        home.run(&["keys", "create", "--role", "operator", "--id", id, "--file", &file, "--output", "json"]).unwrap();
    assert_eq!(made.code, Some(0), "{}", made.err);
    let told: Value = serde_json::from_str(made.out.lines().last().unwrap()).unwrap();
    told["public"].as_str().unwrap_or_else(|| panic!("no public half in {told}")).to_owned()
}

/// While nobody runs: submits `gone-0` to `gone-2` and `kept`, and cuts the log before `kept`. Where it begins.
fn lose(home: &Home) -> u64 {
    let spine = spine(home.path());
    let raw = topic("jobs.raw").partition(0);
    let mut producer = block_on(spine.producer(ProducerOptions::default())).unwrap();
    for id in ["gone-0", "gone-1", "gone-2", "kept"] {
        let record = NewRecord { key: None, value: Some(job(id).into()), headers: Headers::new() };
        block_on(producer.append(&raw, vec![record])).unwrap();
    }
    let end = block_on(spine.ends(std::slice::from_ref(&raw))).unwrap()[0].end;
    block_on(spine.trim(&raw, end - 1)).unwrap();
    end - 1
}

#[test]
fn a_shard_whose_input_is_gone_stands_still_until_an_operator_gives_it_up_and_the_range_stands_in_its_facts() {
    let home = Home::new(POLICY).unwrap();
    home.write("tidegate.yaml", &config(&key(&home, "ada"))).unwrap();
    key(&home, "mallory");
    let worker = ["--worker", "touch=builtin:echo"];
    let mut dev = Dev::ready(&home, "before", &worker).unwrap();
    let (_, taken) = dev.submit(job("first").as_bytes()).unwrap();
    assert_eq!(dev.story(taken["source"].as_str().unwrap()).unwrap()["state"], "succeeded");
    dev.process.terminate(Duration::from_secs(30)).unwrap();

    let start = lose(&home);

    // It says what is missing and what to do, and is not ready.
    let mut dev = Dev::listening(&home, "without", &worker).unwrap();
    let ask = "tidegate sources accept-loss --shard kernel.jobs.raw/0 tidegate.jobs.raw/0";
    until(Duration::from_secs(60), "the alarm", || Ok(dev.process.err().contains(ask).then_some(()))).unwrap();
    let says = dev.process.err();
    assert!(says.contains(&format!("records 1 to {start} of `tidegate.jobs.raw/0` are gone")), "{says}");
    assert!(!dev.http.is_ready());
    dev.process.terminate(Duration::from_secs(30)).unwrap();

    // Not everybody may give it up, and only what is gone.
    let accept = |input: &str, key: &str| {
        let key = format!("{key}.key");
        let spine = ["--spine", "embedded:data/spine", "--signing-key", &key];
        home.run(&[&["sources", "accept-loss", input][..], &spine].concat()).unwrap()
    };
    crate::must_end(&accept("jobs.raw/0", "mallory"), 78, &["`mallory` is not believed", "role `operator`"]);
    crate::must_end(&accept("orders/0", "ada"), 2, &["there is no source `orders`"]);
    let nothing = ["--shard", "kernel.jobs.raw/0", "--spine", "embedded:data/spine", "--signing-key", "ada.key"];
    let nothing =
        home.run(&[&["sources", "accept-loss", "tidegate.commands.jobs.raw/0"][..], &nothing].concat()).unwrap();
    crate::must_end(&nothing, 1, &["nothing of `tidegate.commands.jobs.raw/0` is gone"]);
    let accepted = accept("jobs.raw/0", "ada");
    assert_eq!(accepted.code, Some(0), "{}", accepted.err);

    // It goes on behind the loss, tells of it in its facts, and need not be told again.
    for name in ["with", "again"] {
        let mut dev = Dev::ready(&home, name, &worker).unwrap();
        let kept = dev.story(&format!("jobs.raw/0@{start}")).unwrap();
        assert_eq!((&kept["state"], &kept["job"]["id"]), (&json!("succeeded"), &json!("kept")), "{kept}");
        let (_, taken) = dev.submit(job(name).as_bytes()).unwrap();
        assert_eq!(dev.story(taken["source"].as_str().unwrap()).unwrap()["state"], "succeeded");
        dev.process.terminate(Duration::from_secs(30)).unwrap();
    }
    let facts = all(&*spine(home.path()), &topic("decisions.jobs.raw").partition(0));
    let lost: Vec<Value> = facts
        .iter()
        .filter(|record| record.headers.text("tg-kind") == Some("group"))
        .filter_map(|record| serde_json::from_slice::<Value>(record.value.as_ref()?).ok())
        .filter_map(|group| group.get("lost").cloned())
        .collect();
    assert_eq!(lost, [json!([{"i": 0, "from": 1, "to": start, "by": "ada"}])]);
}
