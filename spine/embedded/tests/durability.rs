//! What survives the end of the process, in every form it takes.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout, reason = "a test; its child prints")]

mod folder;

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use folder::{append, copy, files, open, options, read, record, topic, values};
use futures::executor::block_on;
use tidegate_embedded::{Durability, EmbeddedSpine};
use tidegate_protocol::address::TopicName;
use tidegate_spine::{Cleanup, Landing, ProducerOptions, Spine, SpineError};

const LOG: Cleanup = Cleanup::Log { retention_ms: None };
/// Set for the process a test starts from its own binary: the folder it works on.
const CHILD: &str = "TIDEGATE_EMBEDDED_TEST_CHILD";

/// This test binary again, running `test` alone as the child of it.
fn child(test: &str, folder: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([test, "--exact", "--nocapture", "--test-threads=1"]).env(CHILD, folder);
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

/// Appends for ever, says what was acknowledged: partition, offset, value.
fn append_and_tell(folder: &Path, durability: Durability) {
    let spine = EmbeddedSpine::open(options(folder, durability)).unwrap();
    let name = TopicName::new("killed").unwrap();
    let mut producer = block_on(spine.producer(ProducerOptions::default())).unwrap();
    let mut under_way: VecDeque<(u32, String, Landing)> = VecDeque::new();
    let from = block_on(spine.ends(&[name.partition(0)])).unwrap()[0].end;
    for n in 0_u64.. {
        for p in 0..3 {
            let value = format!("{from}-{n}-{}", "x".repeat((n % 97) as usize));
            under_way.push_back((
                p,
                value.clone(),
                producer.append(&name.partition(p), vec![record(None, Some(&value))]),
            ));
        }
        while under_way.len() > 60 {
            let (p, value, landing) = under_way.pop_front().unwrap();
            let landed = block_on(landing).unwrap();
            println!("acknowledged {p} {} {value}", landed.first);
        }
    }
}

fn kill_and_look(test: &str, durability: Durability) {
    if let Some(folder) = std::env::var_os(CHILD) {
        return append_and_tell(Path::new(&folder), durability);
    }
    let folder = tempfile::tempdir().unwrap();
    drop(topic(&open(folder.path()), "killed", 3, LOG));
    let name = TopicName::new("killed").unwrap();
    let mut acknowledged: Vec<(u32, u64, String)> = Vec::new();
    for round in 0..3 {
        let mut process = child(test, folder.path()).spawn().unwrap();
        let mut told = 0;
        for line in BufReader::new(process.stdout.take().unwrap()).lines() {
            // The line in which the process died may be cut.
            let line = line.unwrap();
            let words: Vec<_> = line.split(' ').collect();
            if let ["acknowledged", p, offset, value] = words[..] {
                acknowledged.push((p.parse().unwrap(), offset.parse().unwrap(), value.to_owned()));
                told += 1;
            }
            if told == 200 + 150 * round {
                // SIGKILL; what it still said before that is read to the end.
                process.kill().unwrap();
            }
        }
        process.wait().unwrap();
        assert!(told >= 200, "the child ended by itself after {told}");
        acknowledged.pop();
        let spine = open(folder.path());
        for p in 0..3 {
            let records = read(&spine, &name.partition(p));
            let all: Vec<_> = records.iter().map(|r| r.offset).zip(values(&records)).collect();
            assert!(all.iter().map(|(offset, _)| *offset).eq(0..all.len() as u64), "a hole in partition {p}");
            for (_, offset, value) in acknowledged.iter().filter(|(at, ..)| *at == p) {
                let found = all.get(usize::try_from(*offset).unwrap()).map(|(_, v)| v);
                assert_eq!(found, Some(value), "acknowledged at {p}/{offset}, round {round}");
            }
        }
    }
}

#[test]
fn after_kill_nine_nothing_acknowledged_is_missing() {
    kill_and_look("after_kill_nine_nothing_acknowledged_is_missing", Durability::Os);
}

#[test]
fn after_kill_nine_nothing_acknowledged_is_missing_with_fsync() {
    kill_and_look("after_kill_nine_nothing_acknowledged_is_missing_with_fsync", Durability::Fsync);
}

#[test]
fn a_second_process_on_the_folder_is_told_so() {
    if let Some(folder) = std::env::var_os(CHILD) {
        let error = EmbeddedSpine::open(options(Path::new(&folder), Durability::Os)).unwrap_err();
        println!("answer {}: {error}", matches!(error, SpineError::InUse { .. }));
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let spine = open(folder.path());
    let output = child("a_second_process_on_the_folder_is_told_so", folder.path()).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let expected = format!("answer true: data folder `{}` is in use by another process", folder.path().display());
    assert!(said.contains(&expected), "{said}");
    // Whatever was taken from it keeps it open.
    let producer = block_on(spine.producer(ProducerOptions::default())).unwrap();
    drop(spine);
    let again = EmbeddedSpine::open(options(folder.path(), Durability::Os));
    assert!(matches!(again, Err(SpineError::InUse { .. })), "{again:?}");
    drop(producer);
    open(folder.path());
}

#[test]
fn a_folder_that_cannot_be_made_is_an_error_with_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, b"in the way").unwrap();
    let error = EmbeddedSpine::open(options(&file.join("data"), Durability::Os)).unwrap_err();
    assert!(matches!(&error, SpineError::Invalid { .. }) && error.to_string().contains("file/data"), "{error}");
}

/// Cuts the last segment at a byte, or spoils what is behind it, then opens: all frames below are there, none else.
#[test]
fn a_torn_end_loses_a_suffix_and_nothing_more() {
    let folder = tempfile::tempdir().unwrap();
    let spine = open(folder.path());
    let from = topic(&spine, "torn", 1, LOG).partition(0);
    let texts: Vec<String> = (0..120).map(|n| format!("{n}{}", "y".repeat(n % 89))).collect();
    append(&spine, &from, texts.iter().map(|t| record(Some("k"), Some(t))));
    let image = tempfile::tempdir().unwrap();
    let last = files(folder.path(), "log").pop().unwrap();
    let length = std::fs::metadata(&last).unwrap().len();
    assert!(length > 200 && files(folder.path(), "log").len() > 2, "several segments, the last not empty");
    // Where each frame of the last segment ends, by the sizes of the texts: prefix, fixed part, key, value.
    let mut ends = vec![length];
    for text in texts.iter().rev() {
        let end = ends[ends.len() - 1];
        if end == 0 {
            break;
        }
        ends.push(end - (8 + 28 + 1 + text.len() as u64));
    }
    let cuts = (0..20).chain((20..length).step_by(37)).chain(length - 40..=length);
    for cut in cuts {
        let whole = ends.iter().rev().filter(|end| **end <= cut).count() - 1;
        let expected = texts.len() - (ends.len() - 1) + whole;
        for spoil in [None, Some(0_u8), Some(0xa5)] {
            if spoil.is_some() && cut % 5 != 0 {
                continue;
            }
            copy(folder.path(), image.path());
            let torn = image.path().join(last.strip_prefix(folder.path()).unwrap());
            let mut file = File::options().write(true).open(&torn).unwrap();
            file.set_len(cut).unwrap();
            if let Some(byte) = spoil {
                use std::io::Seek;
                file.seek(std::io::SeekFrom::End(0)).unwrap();
                file.write_all(&[byte; 300]).unwrap();
            }
            for opened in 0..2 {
                let spine = open(image.path());
                let read = values(&read(&spine, &from));
                let kept = expected + opened;
                assert_eq!(read.len(), kept, "cut at {cut} of {length}, spoilt with {spoil:?}");
                assert_eq!(read[..expected], texts[..expected]);
                append(&spine, &from, [record(None, Some("after"))]);
            }
        }
    }
}

/// A segment in the middle that was never synced and lost its end: what is behind it would be a hole.
#[test]
fn a_tear_in_the_middle_ends_the_log_there_and_sets_the_rest_aside() {
    let folder = tempfile::tempdir().unwrap();
    let spine = open(folder.path());
    let from = topic(&spine, "middle", 1, LOG).partition(0);
    let texts: Vec<String> = (0..300).map(|n| format!("{n:050}")).collect();
    append(&spine, &from, texts.iter().map(|t| record(None, Some(t))));
    drop(spine);
    let logs = files(folder.path(), "log");
    assert!(logs.len() > 4);
    let torn = &logs[2];
    std::fs::remove_file(torn.with_extension("idx")).unwrap();
    File::options().write(true).open(torn).unwrap().set_len(300).unwrap();
    for _ in 0..2 {
        let spine = open(folder.path());
        let read = values(&read(&spine, &from));
        assert!(read.len() > 2 && read.len() < 200);
        assert_eq!(read[..], texts[..read.len()]);
    }
    assert_eq!(files(folder.path(), "after-tear").len(), logs.len() - 3);
}

/// Bytes that rot in a closed segment are an error at that place, never a wrong or a skipped record.
#[test]
fn a_damaged_segment_is_an_error_when_it_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let spine = open(folder.path());
    let from = topic(&spine, "rot", 1, LOG).partition(0);
    append(&spine, &from, (0..200).map(|n| record(None, Some(&format!("{n:050}")))));
    drop(spine);
    let second = &files(folder.path(), "log")[1];
    let mut bytes = std::fs::read(second).unwrap();
    bytes[500] ^= 4;
    std::fs::write(second, bytes).unwrap();
    let spine = open(folder.path());
    block_on(async {
        let mut reader = spine.reader("test").await.unwrap();
        let handle = reader.open(&from, tidegate_spine::Start::Earliest);
        let mut records = Vec::new();
        let error = loop {
            if let Err(error) = std::future::poll_fn(|cx| reader.poll_read(handle, 1_000, cx, &mut records)).await {
                break error;
            }
        };
        assert!(error.to_string().contains("damaged"), "{error}");
        assert!(records.iter().map(|r| r.offset).eq(0..records.len() as u64), "skipped");
        assert!(records.len() > 10 && records.len() < 190);
    });
}
