//! What an end of the process in mid-append leaves behind.

use super::Fixture;
use super::steps::{Steps, number, numbers};
use crate::AppendError;

/// Everything whose landing was `Ok` is there after a restart, at the offset it was told.
pub async fn what_was_acknowledged_survives_a_restart(fixture: &mut dyn Fixture) {
    let (topic, mut landed) = {
        let steps = Steps::of(fixture);
        let topic = steps.log("survives", 2).await;
        let mut producer = steps.producer().await;
        let mut landed = Vec::new();
        for n in 0..100 {
            let to = topic.partition(u32::from(n % 3 == 0));
            let place = steps.append_numbers(producer.as_mut(), &to, n..n + 1).await;
            landed.push((to.partition, place.first, n));
        }
        (topic, landed)
    };
    fixture.reopen().await;
    let steps = Steps::of(fixture);
    let mut read = Vec::new();
    for p in 0..2 {
        let records = steps.read_all(&topic.partition(p)).await;
        read.extend(records.iter().zip(numbers(&records)).map(|(r, n)| (p, r.offset, n)));
    }
    landed.sort_unstable();
    assert_eq!(read, landed);
}

/// A producer dropped with appends under way, then a restart: the log holds a prefix of what was handed over, at
/// least all that was acknowledged, and takes new records.
pub async fn a_dropped_producer_leaves_a_prefix(fixture: &mut dyn Fixture) {
    let (to, acknowledged) = {
        let steps = Steps::of(fixture);
        let to = steps.log("prefix", 1).await.partition(0);
        let mut producer = steps.producer().await;
        let mut landings: Vec<_> = (0..2_000).map(|n| producer.append(&to, vec![number(n)])).collect();
        let hundredth = landings.swap_remove(99);
        steps.landed(hundredth).await;
        drop(producer);
        drop(landings);
        (to, 100)
    };
    fixture.reopen().await;
    let steps = Steps::of(fixture);
    let read = numbers(&steps.read_all(&to).await);
    assert!(read.len() >= acknowledged, "{} records of {acknowledged} acknowledged", read.len());
    assert!((0..).zip(&read).all(|(n, m)| n == *m), "not a prefix: {read:?}");
    let mut producer = steps.producer().await;
    steps.append_numbers(producer.as_mut(), &to, 5_000..5_001).await;
    assert_eq!(numbers(&steps.read_all(&to).await).last(), Some(&5_000));
}

/// A landing that is still held when its producer goes ends all the same: landed, or `Fatal`.
pub async fn a_landing_ends_although_its_producer_was_dropped(fixture: &mut dyn Fixture) {
    let steps = Steps::of(fixture);
    let to = steps.log("orphans", 1).await.partition(0);
    let mut producer = steps.producer().await;
    let landings: Vec<_> = (0..500).map(|n| producer.append(&to, vec![number(n)])).collect();
    drop(producer);
    let mut landed = 0;
    for landing in landings {
        match steps.wait("an orphaned landing", landing).await {
            Ok(_) => landed += 1,
            Err(AppendError::Fatal { .. }) => {}
            Err(other) => panic!("expected fatal, got {other:?}"),
        }
    }
    assert!(steps.read_all(&to).await.len() >= landed, "acknowledged but not there");
}
