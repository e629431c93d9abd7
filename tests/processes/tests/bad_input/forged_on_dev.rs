//! Records that somebody with write access put into the logs of `tidegate dev` while it was down.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::executor::block_on;
use futures::future::poll_fn;
use serde_json::{Value, json};
use tidegate_node::config::{Settings, SpineConfig};
use tidegate_processes::dev::Dev;
use tidegate_processes::home::Home;
use tidegate_processes::process::until;
use tidegate_protocol::address::{TopicName, TopicPartition};
use tidegate_spine::{Headers, NewRecord, ProducerOptions, Record, Spine, Start};

const POLICY: &str = "\
id: p
revision: 1
rules:
  - { id: demo, match: { topics: [job.demo.>] }, decision: allow, reason: it may run }
";
const CONFIG: &str = "\
pools:
  - { name: default, capabilities: [touch] }
policy: policy
topics: { source_partitions: 1 }
";

pub(crate) fn spine(folder: &Path) -> Arc<dyn Spine> {
    let url = format!("embedded:{}", folder.join("data/spine").display());
    block_on(tidegate_node::spine::open(&SpineConfig { url, settings: Settings::default() })).unwrap()
}

pub(crate) fn all(spine: &dyn Spine, of: &TopicPartition) -> Vec<Record> {
    let end = block_on(spine.ends(std::slice::from_ref(of))).unwrap()[0].end;
    let mut reader = block_on(spine.reader("forger")).unwrap();
    let handle = reader.open(of, Start::Earliest);
    let (mut records, mut position) = (Vec::new(), 0);
    while position < end {
        position = block_on(poll_fn(|cx| reader.poll_read(handle, 100, cx, &mut records))).unwrap().position;
    }
    records
}

pub(crate) fn topic(name: &str) -> TopicName {
    TopicName::new(format!("tidegate.{name}")).unwrap()
}

/// Puts into the logs what a key would be needed for: the word each must have in `dead`.
fn forge(spine: &dyn Spine) -> BTreeSet<&'static str> {
    let mut producer = block_on(spine.producer(ProducerOptions::default())).unwrap();
    let mut append = |to: &TopicPartition, record| block_on(producer.append(to, vec![record])).map(|_| ()).unwrap();
    let mark = |kind: &str, sender: &str| {
        let headers = [("tg-kind", kind), ("tg-sender", sender), ("tg-epoch", "1000000000000")];
        NewRecord {
            key: None,
            value: Some(json!({"v": 1, "sender": sender, "epoch": 1_000_000_000_000_u64}).to_string().into()),
            headers: headers.into_iter().map(|(name, value)| (name, value.to_owned())).collect(),
        }
    };
    append(&topic("decisions.jobs.raw").partition(0), mark("barrier", "kernel.jobs.raw/0"));
    append(&topic("leases.default").partition(0), mark("barrier", "scheduler.default/0"));
    let approved = |partition| topic("approved.default").partition(partition);
    let (at, genuine) = (0..4)
        .find_map(|partition| {
            let at = approved(partition);
            let found = all(spine, &at).into_iter().find(|record| record.headers.text("tg-stamp").is_some())?;
            Some((at, found))
        })
        .unwrap();
    let text = String::from_utf8(genuine.value.clone().unwrap().to_vec()).unwrap();
    let with =
        |value: String, headers: Headers| NewRecord { key: genuine.key.clone(), value: Some(value.into()), headers };
    append(&at, mark("fence", "kernel.jobs.raw/0"));
    append(&at, with(text.clone(), genuine.headers.clone()));
    append(&at, with(text.replace(r#""job":{"id":"first""#, r#""job":{"id":"thief""#), genuine.headers.clone()));
    append(&at, with(text.clone(), Headers::new()));
    append(&approved((at.partition + 1) % 4), with(text, genuine.headers.clone()));
    BTreeSet::from(["unsigned", "altered", "replayed"])
}

#[test]
fn none_of_it_runs_and_none_of_it_stops_what_is_genuine() {
    let home = Home::new(POLICY).unwrap();
    home.write("tidegate.yaml", CONFIG).unwrap();
    home.write("touch.sh", "echo $TIDEGATE_SOURCE >> ran.log\necho '{}'\n").unwrap();
    let worker = ["--worker", "touch=sh touch.sh"];
    let run = |dev: &Dev, id: &str| -> Value {
        let job =
            json!({"id": id, "tenant": "acme", "topic": "job.demo.x", "capability": "touch", "payload": {"n": 1}});
        let (status, taken) = dev.submit(job.to_string().as_bytes()).unwrap();
        assert_eq!(status, 202, "{taken}");
        dev.story(taken["source"].as_str().unwrap()).unwrap()
    };
    let mut dev = Dev::ready(&home, "before", &worker).unwrap();
    assert_eq!(run(&dev, "first")["state"], "succeeded");
    dev.process.terminate(Duration::from_secs(30)).unwrap();

    let words = forge(&*spine(home.path()));

    let mut dev = Dev::ready(&home, "after", &worker).unwrap();
    until(Duration::from_secs(60), "every forgery is in `dead`", || {
        let list = dev.http.get("/v1/dead?limit=100")?.json();
        let told = list["dead"].as_array().cloned().unwrap_or_default();
        let told: BTreeSet<String> = told.iter().filter_map(|d| d["reason"].as_str().map(str::to_owned)).collect();
        Ok(words.iter().all(|word| told.contains(*word)).then_some(()))
    })
    .unwrap();
    for n in 0..8 {
        let story = run(&dev, &format!("then-{n}"));
        assert_eq!(story["state"], "succeeded", "{story}");
    }
    let ran = std::fs::read_to_string(home.path().join("ran.log")).unwrap();
    assert_eq!(ran.lines().count(), 9, "{ran}");
    assert_eq!(ran.lines().collect::<BTreeSet<_>>().len(), 9, "a job ran twice: {ran}");
    dev.process.terminate(Duration::from_secs(30)).unwrap();
}
