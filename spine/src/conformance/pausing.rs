//! Promises of pause and resume.

use futures::future::join;

use super::Fixture;
use super::steps::{Steps, gives_nothing, numbers};
use crate::Start;

/// With a backlog behind it and more arriving, a paused partition gives nothing; resumed, it goes on with the very
/// next record. That time passed is shown by a second handle, which reads everything meanwhile.
pub async fn nothing_is_delivered_while_paused_and_nothing_is_lost(fixture: &mut dyn Fixture) {
    let steps = Steps::of(fixture);
    let from = steps.log("paused", 1).await.partition(0);
    let mut producer = steps.producer().await;
    let mut end = 3_000;
    steps.append_numbers(producer.as_mut(), &from, 0..end).await;
    let mut reader = steps.reader().await;
    let paused = reader.open(&from, Start::Earliest);
    let witness = reader.open(&from, Start::Earliest);
    let mut got = numbers(&steps.read(reader.as_mut(), paused, 100).await);
    let mut seen = 0;
    for round in 0..3 {
        reader.pause(paused);
        assert!(gives_nothing(reader.as_mut(), paused).await, "delivered while paused, round {round}");
        steps.append_numbers(producer.as_mut(), &from, end..end + 500).await;
        end += 500;
        let more = usize::try_from(end).expect("small") - seen;
        seen += steps.read(reader.as_mut(), witness, more).await.len();
        assert!(gives_nothing(reader.as_mut(), paused).await, "delivered while paused, round {round}");
        reader.resume(paused);
        got.extend(numbers(&steps.read(reader.as_mut(), paused, 200).await));
    }
    let rest = usize::try_from(end).expect("small") - got.len();
    got.extend(numbers(&steps.read(reader.as_mut(), paused, rest).await));
    assert_eq!(got, (0..end).collect::<Vec<_>>());
}

/// Pausing one partition leaves the others flowing, and pausing at the end loses no wake-up.
pub async fn a_paused_partition_holds_up_no_other(fixture: &mut dyn Fixture) {
    let steps = Steps::of(fixture);
    let topic = steps.log("paused-one", 2).await;
    let (one, two) = (topic.partition(0), topic.partition(1));
    let mut producer = steps.producer().await;
    let mut reader = steps.reader().await;
    let paused = reader.open(&one, Start::Earliest);
    let flowing = reader.open(&two, Start::Earliest);
    assert!(gives_nothing(reader.as_mut(), paused).await);
    reader.pause(paused);
    for n in 0..20 {
        steps.append_numbers(producer.as_mut(), &one, n..n + 1).await;
        let (records, _) = join(steps.read(reader.as_mut(), flowing, 1), async {
            steps.append_numbers(producer.as_mut(), &two, n..n + 1).await
        })
        .await;
        assert_eq!(numbers(&records), [n]);
        assert!(gives_nothing(reader.as_mut(), paused).await, "delivered while paused");
    }
    reader.resume(paused);
    assert_eq!(numbers(&steps.read(reader.as_mut(), paused, 20).await), (0..20).collect::<Vec<_>>());
}
