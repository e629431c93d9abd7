//! Promises of [`crate::Reader`] and of [`crate::Spine::ends`] and [`crate::Spine::trim`].

use std::future::poll_fn;

use super::Fixture;
use super::steps::{Steps, gives_nothing, number, numbers, offsets};
use crate::{ReadError, Start};

/// `Earliest` begins at the first record, `At` at or above its offset, the end included.
pub async fn reading_starts_at_the_earliest_or_at_an_offset(fixture: &mut dyn Fixture) {
    let steps = Steps::of(fixture);
    let from = steps.log("starts", 1).await.partition(0);
    let mut producer = steps.producer().await;
    steps.append_numbers(producer.as_mut(), &from, 0..20).await;
    let all = offsets(&steps.read_all(&from).await);
    let mut reader = steps.reader().await;
    let earliest = reader.open(&from, Start::Earliest);
    assert_eq!(numbers(&steps.read(reader.as_mut(), earliest, 20).await), (0..20).collect::<Vec<_>>());
    let middle = reader.open(&from, Start::At(all[12]));
    assert_eq!(numbers(&steps.read(reader.as_mut(), middle, 8).await), (12..20).collect::<Vec<_>>());
    let end = steps.ends(&from).await.end;
    let tail = reader.open(&from, Start::At(end));
    steps.append_numbers(producer.as_mut(), &from, 20..21).await;
    for handle in [earliest, middle, tail] {
        assert_eq!(numbers(&steps.read(reader.as_mut(), handle, 1).await), [20]);
    }
}

/// Above the end is `Truncated`, not a silent jump, and stays so until the handle is closed.
pub async fn an_offset_beyond_the_ends_is_truncated(fixture: &mut dyn Fixture) {
    let steps = Steps::of(fixture);
    let from = steps.log("beyond", 1).await.partition(0);
    let mut producer = steps.producer().await;
    steps.append_numbers(producer.as_mut(), &from, 0..5).await;
    let beyond = steps.ends(&from).await.end + 10;
    let mut reader = steps.reader().await;
    let handle = reader.open(&from, Start::At(beyond));
    for _ in 0..2 {
        let error = steps.read_error(reader.as_mut(), handle).await;
        let ReadError::Truncated { from: at, requested, .. } = &error else { panic!("expected truncated: {error:?}") };
        assert_eq!((at, *requested), (&from, beyond));
    }
    reader.close(handle);
    let handle = reader.open(&from, Start::Earliest);
    assert_eq!(numbers(&steps.read(reader.as_mut(), handle, 5).await), [0, 1, 2, 3, 4]);
}

/// A read that found nothing is woken by the append, again and again. The append is handed over only after the read
/// was `Pending`, and its landing is not polled, so nothing but the reader's own wake-up can bring the task back.
pub async fn a_reader_at_the_end_is_woken_by_an_append(fixture: &mut dyn Fixture) {
    let steps = Steps::of(fixture);
    let from = steps.log("wakes", 1).await.partition(0);
    let mut producer = steps.producer().await;
    let mut reader = steps.reader().await;
    let handle = reader.open(&from, Start::Earliest);
    for n in 0..50 {
        let mut records = Vec::new();
        let mut landing = None;
        let woken = poll_fn(|cx| {
            let answer = reader.poll_read(handle, 10, cx, &mut records);
            if answer.is_pending() && landing.is_none() {
                landing = Some(producer.append(&from, vec![number(n)]));
            }
            answer
        });
        // An empty answer is a position that moved; the record is then still to come.
        steps.done("the reader to be woken", woken).await;
        if records.is_empty() {
            records = steps.read(reader.as_mut(), handle, 1).await;
        }
        assert_eq!(numbers(&records), [n]);
        if let Some(landing) = landing {
            steps.landed(landing).await;
        }
    }
}

/// Once everything below an end is delivered, `position` says so.
pub async fn the_position_reaches_the_end(fixture: &mut dyn Fixture) {
    let steps = Steps::of(fixture);
    let from = steps.log("position", 1).await.partition(0);
    let mut producer = steps.producer().await;
    steps.append_numbers(producer.as_mut(), &from, 0..40).await;
    let end = steps.ends(&from).await.end;
    let mut reader = steps.reader().await;
    let handle = reader.open(&from, Start::Earliest);
    let mut records = Vec::new();
    let mut position = 0;
    while position < end {
        let before = position;
        let read = poll_fn(|cx| reader.poll_read(handle, 7, cx, &mut records));
        position = steps.done("the position to move", read).await.position;
        assert!(position > before, "ready without progress");
        let last = records.last().map_or(0, |r| r.offset);
        assert!(position > last, "position {position} at or below the last record {last}");
    }
    assert_eq!(records.len(), 40);
}

/// An append that landed is below the end asked for afterwards, also by somebody else's records.
pub async fn ends_are_fetched_after_the_call(fixture: &mut dyn Fixture) {
    let steps = Steps::of(fixture);
    let topic = steps.log("ends", 2).await;
    let (busy, quiet) = (topic.partition(1), topic.partition(0));
    let mut producer = steps.producer().await;
    for n in 0..20 {
        let landed = steps.append_numbers(producer.as_mut(), &busy, n..n + 1).await;
        assert!(steps.ends(&busy).await.end > landed.last);
    }
    let both = [busy, quiet];
    let ends = steps.done("ends", steps.spine.ends(&both)).await;
    assert!(ends[0].end >= ends[0].start + 20, "in the order asked for");
    assert_eq!(ends[1].start, ends[1].end, "an empty partition");
}

/// Within one open every record comes once; another open starts over.
pub async fn each_open_delivers_each_record_once(fixture: &mut dyn Fixture) {
    let steps = Steps::of(fixture);
    let from = steps.log("once", 1).await.partition(0);
    let mut producer = steps.producer().await;
    steps.append_numbers(producer.as_mut(), &from, 0..100).await;
    let mut reader = steps.reader().await;
    for _ in 0..3 {
        let (one, two) = (reader.open(&from, Start::Earliest), reader.open(&from, Start::Earliest));
        let mut both = (Vec::new(), Vec::new());
        for size in [30, 70] {
            both.0.extend(numbers(&steps.read(reader.as_mut(), one, size).await));
            both.1.extend(numbers(&steps.read(reader.as_mut(), two, 100 - size).await));
        }
        assert_eq!(both.0, (0..100).collect::<Vec<_>>());
        assert_eq!(both.0, both.1);
        assert!(gives_nothing(reader.as_mut(), one).await);
        reader.close(one);
        reader.close(two);
    }
}

/// One partition with a backlog that nobody polls; the other flows.
pub async fn a_partition_nobody_polls_holds_up_no_other(fixture: &mut dyn Fixture) {
    let steps = Steps::of(fixture);
    let topic = steps.log("unpolled-partition", 2).await;
    let (backlog, live) = (topic.partition(0), topic.partition(1));
    let mut producer = steps.producer().await;
    steps.append_numbers(producer.as_mut(), &backlog, 0..5_000).await;
    let mut reader = steps.reader().await;
    let waiting = reader.open(&backlog, Start::Earliest);
    let flowing = reader.open(&live, Start::Earliest);
    for n in 0..20 {
        steps.append_numbers(producer.as_mut(), &live, n..n + 1).await;
        assert_eq!(numbers(&steps.read(reader.as_mut(), flowing, 1).await), [n]);
    }
    let all = numbers(&steps.read(reader.as_mut(), waiting, 5_000).await);
    assert_eq!(all, (0..5_000).collect::<Vec<_>>());
}

/// Several readers have the same and other partitions of a topic; some close or are dropped, others open, and who stays
/// reads on.
pub async fn readers_of_one_topic_come_and_go_unnoticed_by_each_other(fixture: &mut dyn Fixture) {
    let steps = Steps::of(fixture);
    let topic = steps.log("shared", 2).await;
    let (one, other) = (topic.partition(0), topic.partition(1));
    let mut producer = steps.producer().await;
    let mut stays = steps.reader().await;
    let kept = [stays.open(&one, Start::Earliest), stays.open(&other, Start::Earliest)];
    for round in 0..5 {
        let mut goes = steps.reader().await;
        let same = goes.open(&one, Start::Earliest);
        let more = goes.open(&other, Start::Earliest);
        for (partition, handle, passing) in [(&one, kept[0], same), (&other, kept[1], more)] {
            steps.append_numbers(producer.as_mut(), partition, round..round + 1).await;
            assert_eq!(numbers(&steps.read(stays.as_mut(), handle, 1).await), [round]);
            let passed = steps.read(goes.as_mut(), passing, usize::try_from(round).expect("a small number") + 1).await;
            assert_eq!(numbers(&passed), (0..=round).collect::<Vec<_>>());
        }
        goes.close(same);
        let again = goes.open(&one, Start::Earliest);
        assert_eq!(numbers(&steps.read(goes.as_mut(), again, 1).await), [0]);
    }
}

/// `UnknownTopic` from the read, twice, while another handle goes on.
pub async fn an_unknown_topic_is_an_error_that_stays(fixture: &mut dyn Fixture) {
    let steps = Steps::of(fixture);
    let known = steps.log("read-known", 1).await;
    let mut producer = steps.producer().await;
    steps.append_numbers(producer.as_mut(), &known.partition(0), 0..1).await;
    let mut reader = steps.reader().await;
    for unknown in [steps.name("read-nowhere").partition(0), known.partition(7)] {
        let handle = reader.open(&unknown, Start::Earliest);
        for _ in 0..2 {
            let error = steps.read_error(reader.as_mut(), handle).await;
            assert!(matches!(&error, ReadError::UnknownTopic { from } if *from == unknown), "{error:?}");
        }
        reader.close(handle);
    }
    let handle = reader.open(&known.partition(0), Start::Earliest);
    assert_eq!(numbers(&steps.read(reader.as_mut(), handle, 1).await), [0]);
}

/// A position noted before a restart names the same next record after it.
pub async fn reading_resumes_at_a_recorded_offset_after_a_restart(fixture: &mut dyn Fixture) {
    let (from, noted) = {
        let steps = Steps::of(fixture);
        let from = steps.log("resumes", 1).await.partition(0);
        let mut producer = steps.producer().await;
        steps.append_numbers(producer.as_mut(), &from, 0..100).await;
        let mut reader = steps.reader().await;
        let handle = reader.open(&from, Start::Earliest);
        let mut records = Vec::new();
        let mut noted = 0;
        while records.len() < 60 {
            let missing = 60 - records.len();
            let read = poll_fn(|cx| reader.poll_read(handle, missing, cx, &mut records));
            noted = steps.done("the first records", read).await.position;
        }
        (from, noted)
    };
    fixture.reopen().await;
    let steps = Steps::of(fixture);
    let mut producer = steps.producer().await;
    steps.append_numbers(producer.as_mut(), &from, 100..110).await;
    let mut reader = steps.reader().await;
    let handle = reader.open(&from, Start::At(noted));
    assert_eq!(numbers(&steps.read(reader.as_mut(), handle, 50).await), (60..110).collect::<Vec<_>>());
}

/// After a trim the log's start has risen, what is below it is `Truncated`, and nothing at or above the trimmed
/// offset is gone, through a restart too.
pub async fn trimmed_records_are_truncated_and_the_rest_stays(fixture: &mut dyn Fixture) {
    let (from, before, first) = {
        let steps = Steps::of(fixture);
        let from = steps.log("trimmed", 1).await.partition(0);
        let mut producer = steps.producer().await;
        for n in 0..100 {
            // One by one, so that an adapter may cut the log into pieces anywhere.
            steps.append_numbers(producer.as_mut(), &from, n..n + 1).await;
        }
        let all = offsets(&steps.read_all(&from).await);
        steps.done("trim", steps.spine.trim(&from, all[70])).await;
        (from, all[70], all[0])
    };
    for restarted in [false, true] {
        if restarted {
            fixture.reopen().await;
        }
        let steps = Steps::of(fixture);
        let ends = steps.ends(&from).await;
        assert!(ends.start > first && ends.start <= before, "start {} of {first}..{before}", ends.start);
        let mut reader = steps.reader().await;
        let gone = reader.open(&from, Start::At(first));
        let error = steps.read_error(reader.as_mut(), gone).await;
        let ReadError::Truncated { requested, start, .. } = &error else { panic!("expected truncated: {error:?}") };
        assert_eq!(*requested, first);
        assert!(start.is_none_or(|s| s == ends.start), "{error:?}");
        let kept = reader.open(&from, Start::At(before));
        assert_eq!(numbers(&steps.read(reader.as_mut(), kept, 30).await), (70..100).collect::<Vec<_>>());
        let earliest = reader.open(&from, Start::Earliest);
        assert_eq!(steps.read(reader.as_mut(), earliest, 1).await[0].offset, ends.start);
    }
}
