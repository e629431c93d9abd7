//! Promises of [`crate::Producer`].

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures::future::join_all;

use super::Fixture;
use super::steps::{MAX_RECORD, Steps, number, numbers, offsets, rising};
use crate::{AppendError, Gathered, Headers, NewRecord, ProducerOptions, Start};

/// 500 appends handed over without waiting land in order, at the offsets their landings name.
pub async fn records_of_a_partition_land_in_the_order_of_the_calls(fixture: &mut dyn Fixture) {
    let steps = Steps::of(fixture);
    let to = steps.log("order", 1).await.partition(0);
    let mut producer = steps.producer().await;
    let landings: Vec<_> = (0..500).map(|n| producer.append(&to, vec![number(n)])).collect();
    let mut landed = Vec::new();
    for landing in landings {
        let place = steps.landed(landing).await;
        assert_eq!(place.first, place.last, "one record has one offset");
        landed.push(place.first);
    }
    assert!(rising(&landed), "landings are not in order: {landed:?}");
    let records = steps.read_all(&to).await;
    assert_eq!(numbers(&records), (0..500).collect::<Vec<_>>());
    assert_eq!(offsets(&records), landed);
}

/// Hundreds of records at once, in appends of 1 to 64, to two partitions in turn, with an append between that is refused: all else
/// lands in order, whether it flows or goes as a whole.
pub async fn large_waves_land_in_order_flowing_and_whole(fixture: &mut dyn Fixture) {
    for (gathered, name) in [(Gathered::Flows, "flows"), (Gathered::Whole, "whole")] {
        let steps = Steps::of(fixture);
        let topic = steps.log(name, 2).await;
        let unknown = steps.name("nowhere").partition(0);
        let mut producer =
            steps.producer_with(ProducerOptions { name: name.into(), gathered, ..ProducerOptions::default() }).await;
        let mut refused = Vec::new();
        let mut sent = [(0, Vec::new()), (0, Vec::new())];
        for size in (0..3).flat_map(|_| [1, 64, 40, 2, 33, 64]) {
            for (partition, (next, landings)) in (0..).zip(&mut sent) {
                let batch = (*next..*next + size).map(number).collect();
                landings.push((size, producer.append(&topic.partition(partition), batch)));
                *next += size;
            }
            refused.push(producer.append(&unknown, (0..40).map(number).collect()));
        }
        for landing in refused {
            let error = steps.not_landed(landing).await;
            assert!(matches!(&error, AppendError::UnknownTopic { to } if *to == unknown), "{error:?}");
        }
        for (partition, (next, landings)) in (0..).zip(sent) {
            let mut ends = Vec::new();
            for (size, landing) in landings {
                let place = steps.landed(landing).await;
                assert!(place.last - place.first >= size - 1, "{size} records at {place:?}");
                ends.extend([place.first, place.last + 1]);
            }
            assert!(ends.is_sorted(), "landings are not in order: {ends:?}");
            assert_eq!(numbers(&steps.read_all(&topic.partition(partition)).await), (0..next).collect::<Vec<_>>());
        }
    }
}

/// A call's records keep the order of the list; `first` and `last` are its ends.
pub async fn a_batch_lands_in_the_order_of_its_list(fixture: &mut dyn Fixture) {
    let steps = Steps::of(fixture);
    let to = steps.log("batch", 1).await.partition(0);
    let mut producer = steps.producer().await;
    let mut expected = 0;
    for size in [1, 2, 300, 7] {
        let batch = steps.append_numbers(producer.as_mut(), &to, expected..expected + size).await;
        expected += size;
        let records = steps.read_all(&to).await;
        assert_eq!(numbers(&records), (0..expected).collect::<Vec<_>>());
        let own = &records[records.len() - usize::try_from(size).expect("small")..];
        assert_eq!((own[0].offset, own[own.len() - 1].offset), (batch.first, batch.last));
    }
}

/// The landing of an append that nobody polled is there when it is looked at: a reader sees the record first.
pub async fn an_append_completes_without_being_polled(fixture: &mut dyn Fixture) {
    let steps = Steps::of(fixture);
    let to = steps.log("unpolled", 1).await.partition(0);
    let mut producer = steps.producer().await;
    let landing = producer.append(&to, vec![number(7)]);
    let mut reader = steps.reader().await;
    let handle = reader.open(&to, Start::Earliest);
    assert_eq!(numbers(&steps.read(reader.as_mut(), handle, 1).await), [7]);
    assert_eq!(steps.landed(landing).await.first, steps.read_all(&to).await[0].offset);
}

/// Four producers, one partition: all records are there, each producer's in its own order.
pub async fn several_producers_interleave_and_none_loses_its_order(fixture: &mut dyn Fixture) {
    let steps = Steps::of(fixture);
    let to = steps.log("shared", 1).await.partition(0);
    let mut landings = Vec::new();
    let mut producers = Vec::new();
    for _ in 0..4 {
        producers.push(steps.producer().await);
    }
    for n in 0..100 {
        for (who, producer) in (0..).zip(&mut producers) {
            landings.push(producer.append(&to, vec![number(who * 1000 + n)]));
        }
    }
    for landing in landings {
        steps.landed(landing).await;
    }
    let all = numbers(&steps.read_all(&to).await);
    assert_eq!(all.len(), 400);
    for who in 0..4 {
        let own: Vec<_> = all.iter().filter(|n| *n / 1000 == who).map(|n| n % 1000).collect();
        assert_eq!(own, (0..100).collect::<Vec<_>>(), "producer {who}");
    }
}

/// What lands in one partition moves no other.
pub async fn partitions_have_offsets_of_their_own(fixture: &mut dyn Fixture) {
    let steps = Steps::of(fixture);
    let topic = steps.log("partitions", 4).await;
    let mut producer = steps.producer().await;
    let landings: Vec<_> = (0..4)
        .flat_map(|p| (0..=u64::from(p)).map(move |n| (p, n)))
        .map(|(p, n)| producer.append(&topic.partition(p), vec![number(n)]))
        .collect();
    for landing in join_all(landings).await {
        landing.expect("landed");
    }
    for p in 0..4 {
        let records = steps.read_all(&topic.partition(p)).await;
        assert_eq!(numbers(&records), (0..=u64::from(p)).collect::<Vec<_>>());
        assert_eq!(records[0].offset, steps.ends(&topic.partition(p)).await.start, "a log begins at its start");
    }
}

/// Null is not empty, for values and for keys.
pub async fn null_and_empty_values_and_keys_stay_apart(fixture: &mut dyn Fixture) {
    let steps = Steps::of(fixture);
    let to = steps.log("nulls", 1).await.partition(0);
    let choices = [None, Some(Bytes::new()), Some(Bytes::from_static(b"\x00\xff"))];
    let written: Vec<_> =
        choices.iter().flat_map(|key| choices.iter().map(move |value| (key.clone(), value.clone()))).collect();
    let records = written
        .iter()
        .map(|(key, value)| NewRecord { key: key.clone(), value: value.clone(), headers: Headers::new() })
        .collect();
    let mut producer = steps.producer().await;
    steps.landed(producer.append(&to, records)).await;
    let read: Vec<_> = steps.read_all(&to).await.into_iter().map(|r| (r.key, r.value)).collect();
    assert_eq!(read, written);
}

/// Headers come back in order, repeats and binary and empty values included.
pub async fn headers_keep_order_repeats_and_bytes(fixture: &mut dyn Fixture) {
    let steps = Steps::of(fixture);
    let to = steps.log("headers", 1).await.partition(0);
    let every_byte: Vec<u8> = (0..=255).collect();
    let headers: Headers = [
        ("b", Bytes::from_static(b"1")),
        ("a", Bytes::from(every_byte)),
        ("b", Bytes::new()),
        ("ce_ünï", Bytes::from_static(b"\xff")),
    ]
    .into_iter()
    .collect();
    let record = NewRecord { key: None, value: Some(Bytes::from_static(b"v")), headers: headers.clone() };
    let mut producer = steps.producer().await;
    steps.landed(producer.append(&to, vec![record, number(1)])).await;
    let read = steps.read_all(&to).await;
    assert_eq!(read[0].headers, headers);
    assert!(read[1].headers.is_empty());
}

/// `TooLarge`, nothing of that append lands, and what comes before and after it does.
pub async fn a_record_too_large_is_refused_and_the_producer_goes_on(fixture: &mut dyn Fixture) {
    let steps = Steps::of(fixture);
    let to = steps.log("oversize", 1).await.partition(0);
    let mut producer = steps.producer().await;
    let before = producer.append(&to, vec![number(1)]);
    let large = NewRecord { value: Some(Bytes::from(vec![7; 2 * MAX_RECORD])), ..NewRecord::default() };
    let refused = producer.append(&to, vec![number(2), large, number(3)]);
    let after = producer.append(&to, vec![number(4)]);
    steps.landed(before).await;
    let error = steps.not_landed(refused).await;
    let AppendError::TooLarge { to: at, bytes, .. } = error else { panic!("expected too large, got {error:?}") };
    assert_eq!((at, bytes), (to.clone(), 2 * MAX_RECORD));
    steps.landed(after).await;
    let nearly = NewRecord { value: Some(Bytes::from(vec![7; MAX_RECORD - 1000])), ..NewRecord::default() };
    steps.landed(producer.append(&to, vec![nearly])).await;
    let records = steps.read_all(&to).await;
    assert_eq!(numbers(&records[..2]), [1, 4]);
    assert_eq!(records.len(), 3);
    assert_eq!(records[2].bytes(), MAX_RECORD - 1000);
}

/// `UnknownTopic` for a topic and for a partition that do not exist; others go on.
pub async fn an_unknown_topic_is_refused_and_the_producer_goes_on(fixture: &mut dyn Fixture) {
    let steps = Steps::of(fixture);
    let topic = steps.log("known", 1).await;
    let mut producer = steps.producer().await;
    let nowhere = steps.name("nowhere").partition(0);
    let beyond = topic.partition(9);
    for unknown in [nowhere, beyond] {
        let refused = producer.append(&unknown, vec![number(1)]);
        let fine = producer.append(&topic.partition(0), vec![number(2)]);
        let error = steps.not_landed(refused).await;
        assert!(matches!(&error, AppendError::UnknownTopic { to } if *to == unknown), "{error:?}");
        steps.landed(fine).await;
    }
    assert_eq!(numbers(&steps.read_all(&topic.partition(0)).await), [2, 2]);
}

/// `Full` once more bytes are in flight than allowed; what was refused never shows, and room comes back.
pub async fn a_full_producer_refuses_and_takes_nothing(fixture: &mut dyn Fixture) {
    let steps = Steps::of(fixture);
    let to = steps.log("full", 1).await.partition(0);
    let mut producer = steps
        .producer_with(ProducerOptions {
            name: "full".into(),
            max_in_flight_bytes: 10_000,
            ..ProducerOptions::default()
        })
        .await;
    let record = |n: u8| NewRecord { value: Some(Bytes::from(vec![n; 6_000])), ..NewRecord::default() };
    let error = steps.not_landed(producer.append(&to, vec![record(0), record(0)])).await;
    assert!(matches!(error, AppendError::Full { limit: 10_000 }), "{error:?}");
    for n in 1..=5 {
        // Each fits only when the one before it has left the account.
        steps.landed(producer.append(&to, vec![record(n)])).await;
    }
    let first_bytes: Vec<_> = steps.read_all(&to).await.iter().map(|r| r.value.as_ref().expect("a value")[0]).collect();
    assert_eq!(first_bytes, [1, 2, 3, 4, 5]);
}

/// Timestamps are those of the append, give or take five seconds of clock difference, and do not fall.
pub async fn broker_time_is_stamped_on_arrival(fixture: &mut dyn Fixture) {
    let now = || {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
        i64::try_from(since.as_millis()).expect("a clock of this age")
    };
    let steps = Steps::of(fixture);
    let to = steps.log("stamped", 1).await.partition(0);
    let mut producer = steps.producer().await;
    let before = now();
    for n in 0..10 {
        steps.append_numbers(producer.as_mut(), &to, n..n + 1).await;
    }
    let after = now();
    let stamps: Vec<_> = steps.read_all(&to).await.iter().map(|r| r.timestamp_ms).collect();
    assert!(stamps.is_sorted(), "{stamps:?}");
    assert!(stamps[0] >= before - 5_000 && stamps[9] <= after + 5_000, "{before} {stamps:?} {after}");
}
