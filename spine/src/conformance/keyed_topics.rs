//! Promises of keyed topics and [`crate::keyed::read_whole`].

use tidegate_protocol::address::TopicName;

use super::Fixture;
use super::steps::{Steps, keyed_record};
use crate::keyed::read_whole;

async fn contents(steps: &Steps, topic: &TopicName) -> Vec<(String, String)> {
    let text = |b: Option<bytes::Bytes>| String::from_utf8(b.expect("there").to_vec()).expect("text");
    let records = steps.done("the keyed topic, whole", read_whole(steps.spine.as_ref(), topic)).await;
    records.into_iter().map(|r| (text(r.key), text(r.value))).collect()
}

fn pair(key: impl ToString, value: impl ToString) -> (String, String) {
    (key.to_string(), value.to_string())
}

/// Many versions of few keys over several partitions: exactly the latest of each, in key order.
pub async fn the_latest_record_of_each_key_is_read_back_whole(fixture: &mut dyn Fixture) {
    let steps = Steps::of(fixture);
    let topic = steps.keyed("latest", 3).await;
    let mut producer = steps.producer().await;
    for version in 0..50 {
        for p in 0..3 {
            let records = (0..4).map(|k| keyed_record(&format!("k{p}{k}"), Some(&format!("v{version}")))).collect();
            steps.landed(producer.append(&topic.partition(p), records)).await;
        }
    }
    let expected: Vec<_> = (0..3).flat_map(|p| (0..4).map(move |k| pair(format!("k{p}{k}"), "v49"))).collect();
    assert_eq!(contents(&steps, &topic).await, expected);
}

/// A null value takes its key away; a later value brings it back.
pub async fn a_tombstone_removes_its_key(fixture: &mut dyn Fixture) {
    let steps = Steps::of(fixture);
    let topic = steps.keyed("tombstones", 1).await;
    let to = topic.partition(0);
    let mut producer = steps.producer().await;
    let records = vec![
        keyed_record("a", Some("1")),
        keyed_record("b", Some("1")),
        keyed_record("c", Some("1")),
        keyed_record("a", None),
        keyed_record("c", None),
        keyed_record("c", Some("2")),
    ];
    steps.landed(producer.append(&to, records)).await;
    assert_eq!(contents(&steps, &topic).await, [pair("b", "1"), pair("c", "2")]);
    steps.landed(producer.append(&to, vec![keyed_record("b", None), keyed_record("c", None)])).await;
    assert_eq!(contents(&steps, &topic).await, []);
}

/// Nothing there is an answer, not a wait.
pub async fn an_empty_keyed_topic_is_read_whole_at_once(fixture: &mut dyn Fixture) {
    let steps = Steps::of(fixture);
    let topic = steps.keyed("empty", 2).await;
    assert_eq!(contents(&steps, &topic).await, []);
}

/// The same contents after a restart, and writing goes on.
pub async fn a_keyed_topic_survives_a_restart(fixture: &mut dyn Fixture) {
    let topic = {
        let steps = Steps::of(fixture);
        let topic = steps.keyed("survives", 1).await;
        let mut producer = steps.producer().await;
        for version in 0..30 {
            let records = ["x", "y", "z"].map(|k| keyed_record(k, Some(&version.to_string()))).to_vec();
            steps.landed(producer.append(&topic.partition(0), records)).await;
        }
        steps.landed(producer.append(&topic.partition(0), vec![keyed_record("y", None)])).await;
        topic
    };
    fixture.reopen().await;
    let steps = Steps::of(fixture);
    assert_eq!(contents(&steps, &topic).await, [pair("x", 29), pair("z", 29)]);
    let mut producer = steps.producer().await;
    steps.landed(producer.append(&topic.partition(0), vec![keyed_record("x", Some("30"))])).await;
    assert_eq!(contents(&steps, &topic).await, [pair("x", 30), pair("z", 29)]);
}
