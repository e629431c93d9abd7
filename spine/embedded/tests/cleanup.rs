//! Retention, trim, compaction and memory.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

mod folder;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use folder::{append, copy, files, open, read, record, topic, values};
use futures::executor::block_on;
use tidegate_embedded::EmbeddedSpine;
use tidegate_protocol::address::{TopicName, TopicPartition};
use tidegate_spine::keyed::read_whole;
use tidegate_spine::{Cleanup, Ends, Spine};

fn ends(spine: &EmbeddedSpine, of: &TopicPartition) -> Ends {
    block_on(spine.ends(std::slice::from_ref(of))).unwrap()[0]
}

fn bytes(folder: &Path) -> u64 {
    files(folder, "log").iter().map(|f| std::fs::metadata(f).unwrap().len()).sum()
}

fn contents(spine: &EmbeddedSpine, topic: &TopicName) -> BTreeMap<String, (u64, String)> {
    let text = |b: bytes::Bytes| String::from_utf8(b.to_vec()).unwrap();
    let records = block_on(read_whole(spine, topic)).unwrap();
    records.into_iter().map(|r| (text(r.key.unwrap()), (r.offset, text(r.value.unwrap())))).collect()
}

#[test]
fn records_past_their_age_go_by_whole_segments_and_others_stay() {
    let folder = tempfile::tempdir().unwrap();
    let spine = open(folder.path());
    let short = topic(&spine, "short", 1, Cleanup::Log { retention_ms: Some(20) }).partition(0);
    let long = topic(&spine, "long", 1, Cleanup::Log { retention_ms: Some(3_600_000) }).partition(0);
    let ever = topic(&spine, "ever", 1, Cleanup::Log { retention_ms: None }).partition(0);
    let texts: Vec<String> = (0..200).map(|n| format!("{n:050}")).collect();
    for to in [&short, &long, &ever] {
        append(&spine, to, texts.iter().map(|t| record(None, Some(t))));
    }
    // Time has to pass, and nothing else tells that it has.
    let deadline = Instant::now() + Duration::from_secs(20);
    while ends(&spine, &short).start < 200 {
        assert!(Instant::now() < deadline, "not gone: {:?}", ends(&spine, &short));
        block_on(spine.clean()).unwrap();
    }
    assert_eq!(ends(&spine, &short), Ends { start: 200, end: 200 });
    assert_eq!(bytes(folder.path()), 0, "the files are gone too");
    for kept in [&long, &ever] {
        assert_eq!(values(&read(&spine, kept)), texts);
    }
    drop(spine);
    let spine = open(folder.path());
    assert_eq!(ends(&spine, &short), Ends { start: 200, end: 200 }, "offsets go on after a restart");
    append(&spine, &short, [record(None, Some("new"))]);
    assert_eq!(read(&spine, &short)[0].offset, 200);
}

#[test]
fn a_trim_removes_whole_segments_below_it() {
    let folder = tempfile::tempdir().unwrap();
    let spine = open(folder.path());
    let log = topic(&spine, "trimmed", 1, Cleanup::Log { retention_ms: None }).partition(0);
    append(&spine, &log, (0..400).map(|n| record(None, Some(&format!("{n:050}")))));
    let (before, count) = (bytes(folder.path()), files(folder.path(), "log").len());
    block_on(spine.trim(&log, 300)).unwrap();
    assert!(bytes(folder.path()) < before / 2 && files(folder.path(), "log").len() < count / 2 + 1);
    assert_eq!(ends(&spine, &log), Ends { start: 300, end: 400 });
    let kept: Vec<String> = (300..400).map(|n| format!("{n:050}")).collect();
    assert_eq!(values(&read(&spine, &log)), kept);
    // Neither back nor beyond the end.
    block_on(spine.trim(&log, 100)).unwrap();
    assert_eq!(ends(&spine, &log).start, 300);
    block_on(spine.trim(&log, 1_000_000)).unwrap();
    assert_eq!(ends(&spine, &log), Ends { start: 400, end: 400 });
}

#[test]
fn compaction_keeps_the_latest_of_each_key_at_its_offset() {
    let folder = tempfile::tempdir().unwrap();
    let spine = open(folder.path());
    let name = topic(&spine, "keyed", 1, Cleanup::Keyed);
    let at = name.partition(0);
    for version in 0..300 {
        append(&spine, &at, (0..5).map(|k| record(Some(&format!("key{k}")), Some(&format!("{version:030}")))));
    }
    append(&spine, &at, [record(Some("key0"), None)]);
    let before = contents(&spine, &name);
    assert_eq!(before.len(), 4);
    block_on(spine.clean()).unwrap();
    assert!(bytes(folder.path()) < 1_000, "{} bytes for four keys", bytes(folder.path()));
    assert_eq!(contents(&spine, &name), before);
    assert_eq!(ends(&spine, &at).end, 1501);
    drop(spine);
    let spine = open(folder.path());
    assert_eq!(contents(&spine, &name), before);
    append(&spine, &at, [record(Some("key0"), Some("back"))]);
    assert_eq!(contents(&spine, &name)["key0"], (1501, "back".to_owned()));
}

/// Random writes, deletions, cleanings and restarts against a map.
#[test]
fn a_keyed_topic_agrees_with_a_map_through_cleaning_and_restarts() {
    let folder = tempfile::tempdir().unwrap();
    let mut spine = open(folder.path());
    let name = topic(&spine, "model", 1, Cleanup::Keyed);
    let mut model: BTreeMap<String, String> = BTreeMap::new();
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    for step in 0..150 {
        let mut batch = Vec::new();
        for n in 0..random(30) {
            let key = format!("key{}", random(12));
            let value = (random(4) > 0).then(|| format!("{step}.{n}.{}", "z".repeat(random(60) as usize)));
            batch.push(record(Some(&key), value.as_deref()));
            match value {
                Some(value) => drop(model.insert(key, value)),
                None => drop(model.remove(&key)),
            }
        }
        append(&spine, &name.partition(0), batch);
        if random(4) == 0 {
            block_on(spine.clean()).unwrap();
        }
        if random(6) == 0 {
            drop(spine);
            spine = open(folder.path());
        }
        let found: BTreeMap<_, _> = contents(&spine, &name).into_iter().map(|(key, (_, value))| (key, value)).collect();
        assert_eq!(found, model, "step {step}");
    }
}

/// The two moments at which compaction can be cut off: before the index counts, and before the old files are gone.
#[test]
fn a_crash_in_the_middle_of_compaction_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let spine = open(folder.path());
    let name = topic(&spine, "cut-off", 1, Cleanup::Keyed);
    for version in 0..200 {
        append(
            &spine,
            &name.partition(0),
            (0..5).map(|k| record(Some(&format!("key{k}")), Some(&format!("{version:030}")))),
        );
    }
    let expected = contents(&spine, &name);
    drop(spine);
    let old = tempfile::tempdir().unwrap();
    copy(folder.path(), old.path());
    let spine = open(folder.path());
    block_on(spine.clean()).unwrap();
    drop(spine);
    let inside = |file: &Path, root: &Path| file.strip_prefix(root).unwrap().to_owned();
    let before: Vec<_> = files(old.path(), "log").iter().map(|f| inside(f, old.path())).collect();
    let fresh: Vec<_> = files(folder.path(), "log").iter().map(|f| inside(f, folder.path())).collect();
    // The segment that is written to is generation 0, the one compaction made is not.
    let compacted = fresh.iter().find(|f| !before.contains(f) && !f.to_string_lossy().ends_with(".0.log")).unwrap();
    for index_too in [false, true] {
        let image = tempfile::tempdir().unwrap();
        copy(old.path(), image.path());
        for kind in ["log", "idx"].into_iter().take(1 + usize::from(index_too)) {
            let file = compacted.with_extension(kind);
            std::fs::copy(folder.path().join(&file), image.path().join(&file)).unwrap();
        }
        let spine = open(image.path());
        assert_eq!(contents(&spine, &name), expected);
        assert_eq!(image.path().join(compacted).exists(), index_too);
        for file in &before {
            assert_ne!(image.path().join(file).exists(), index_too, "{file:?}, index {index_too}");
        }
    }
}
