//! The broker goes away and comes back.

use futures::FutureExt;
use futures::future::{join, select};
use std::future::poll_fn;

use super::steps::{Steps, gives_nothing, number, numbers};
use super::{Outages, bounded};
use crate::{ErrorClass, Start};

/// Appends handed over before and during an outage stay pending, then land once, in order.
pub async fn an_append_waits_out_an_outage_and_lands_in_order(fixture: &mut dyn Outages) {
    let steps = Steps::of(fixture);
    let to = steps.log("outage-append", 1).await.partition(0);
    let mut producer = steps.producer().await;
    steps.append_numbers(producer.as_mut(), &to, 0..1).await;
    let before = (1..200).map(|n| producer.append(&to, vec![number(n)])).collect::<Vec<_>>();
    fixture.break_connection().await;
    let mut during = (200..400).map(|n| producer.append(&to, vec![number(n)])).collect::<Vec<_>>();
    let last = during.pop().expect("some");
    // Whichever ends first: nothing handed over during the outage may, neither well nor badly.
    let last = match select(last, bounded::lasts(fixture.outage()).boxed()).await {
        futures::future::Either::Left((early, _)) => panic!("ended during the outage: {early:?}"),
        futures::future::Either::Right(((), last)) => last,
    };
    fixture.restore().await;
    for landing in before.into_iter().chain(during).chain([last]) {
        steps.landed(landing).await;
    }
    assert_eq!(numbers(&steps.read_all(&to).await), (0..400).collect::<Vec<_>>());
}

/// A reader is silent during an outage and goes on after it, without an error and without losing its place.
pub async fn a_reader_waits_out_an_outage(fixture: &mut dyn Outages) {
    let steps = Steps::of(fixture);
    let from = steps.log("outage-read", 1).await.partition(0);
    let mut producer = steps.producer().await;
    steps.append_numbers(producer.as_mut(), &from, 0..50).await;
    let mut reader = steps.reader().await;
    let handle = reader.open(&from, Start::Earliest);
    assert_eq!(numbers(&steps.read(reader.as_mut(), handle, 50).await), (0..50).collect::<Vec<_>>());
    fixture.break_connection().await;
    let mut records = Vec::new();
    let silent = poll_fn(|cx| reader.poll_read(handle, 10, cx, &mut records));
    let answer = bounded::within(fixture.outage(), silent).await;
    assert!(answer.is_none(), "{answer:?} during an outage");
    fixture.restore().await;
    let (records, _) = join(steps.read(reader.as_mut(), handle, 50), async {
        steps.append_numbers(producer.as_mut(), &from, 50..100).await
    })
    .await;
    assert_eq!(numbers(&records), (50..100).collect::<Vec<_>>());
    assert!(gives_nothing(reader.as_mut(), handle).await);
}

/// A question asked during an outage ends with an error to wait on, and works again afterwards.
pub async fn questions_end_within_a_bound_during_an_outage(fixture: &mut dyn Outages) {
    let steps = Steps::of(fixture);
    let topic = steps.log("outage-ask", 1).await;
    let partition = topic.partition(0);
    fixture.break_connection().await;
    let error = steps.refused("ends", steps.spine.ends(std::slice::from_ref(&partition))).await;
    assert_eq!(error.class(), ErrorClass::Wait, "{error:?}");
    let error = steps.refused("describe", steps.spine.describe(std::slice::from_ref(&topic))).await;
    assert_eq!(error.class(), ErrorClass::Wait, "{error:?}");
    fixture.restore().await;
    assert_eq!(steps.ends(&partition).await.end, steps.ends(&partition).await.start);
}
