//! Promises of [`crate::inbox`].

use std::future::poll_fn;

use bytes::Bytes;

use super::Fixture;
use super::steps::{Steps, numbers};
use crate::NewRecord;
use crate::inbox::{Inbox, TO, lane_of};

fn addressed(to: &str, n: u64) -> NewRecord {
    let mut record = super::steps::number(n);
    record.headers.push(TO, Bytes::copy_from_slice(to.as_bytes()));
    record
}

async fn receive(steps: &Steps, inbox: &mut Inbox, n: usize) -> Vec<u64> {
    let mut records = Vec::new();
    while records.len() < n {
        steps.done("a message", poll_fn(|cx| inbox.poll_receive(cx, &mut records))).await;
    }
    numbers(&records)
}

/// Two members share a lane: each receives its own, in order, and counts the other's as skipped.
pub async fn a_member_receives_what_is_addressed_to_it_and_skips_the_rest(fixture: &mut dyn Fixture) {
    let steps = Steps::of(fixture);
    let topic = steps.log("work", 4).await;
    let lane = lane_of("worker-a", 4);
    let neighbour =
        (0..).map(|n| format!("worker-{n}")).find(|name| lane_of(name, 4) == lane).expect("one of four names shares");
    let spine = steps.spine.as_ref();
    let mut own = steps.done("an inbox", Inbox::open(spine, &topic, "worker-a")).await;
    let mut other = steps.done("an inbox", Inbox::open(spine, &topic, &neighbour)).await;
    assert_eq!(own.opened_at().0, &topic.partition(lane));
    let mut producer = steps.producer().await;
    let messages = (0..30).map(|n| addressed(if n % 3 == 0 { "worker-a" } else { &neighbour }, n)).collect();
    steps.landed(producer.append(&topic.partition(lane), messages)).await;
    assert_eq!(receive(&steps, &mut own, 10).await, (0..30).filter(|n| n % 3 == 0).collect::<Vec<_>>());
    assert_eq!(receive(&steps, &mut other, 20).await, (0..30).filter(|n| n % 3 != 0).collect::<Vec<_>>());
    steps.landed(producer.append(&topic.partition(lane), vec![addressed("worker-a", 30)])).await;
    assert_eq!(receive(&steps, &mut own, 1).await, [30]);
    assert_eq!(own.skipped(), 20);
}

/// What was sent before is not for this member, what is sent after is.
pub async fn an_inbox_starts_at_the_end_of_its_lane(fixture: &mut dyn Fixture) {
    let steps = Steps::of(fixture);
    let topic = steps.log("late", 1).await;
    let mut producer = steps.producer().await;
    steps.landed(producer.append(&topic.partition(0), vec![addressed("late", 1)])).await;
    let mut inbox = steps.done("an inbox", Inbox::open(steps.spine.as_ref(), &topic, "late")).await;
    steps.landed(producer.append(&topic.partition(0), vec![addressed("late", 2)])).await;
    assert_eq!(receive(&steps, &mut inbox, 1).await, [2]);
    assert_eq!(inbox.skipped(), 0);
}
