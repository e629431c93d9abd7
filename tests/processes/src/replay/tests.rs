//! A recorded log of two owners, its snapshots, and what is altered in them.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::json;
use tidegate_keys::{Keyring, SecretKey, Trusted};
use tidegate_protocol::address::{Offset, TopicName};
use tidegate_protocol::control::{Kind, epoch};
use tidegate_protocol::ids::{KeyId, SenderId};
use tidegate_protocol::signature::{Role, Sign as _, Trust, signed};
use tidegate_protocol::time::Timestamp;
use tidegate_protocol::{headers, merkle, statements};
use tidegate_spine::{Headers, Record};
use tidegate_stage::control::value_hash;
use tidegate_stage::snapshots::is_of;
use tidegate_stage::{Decision, Input, Outbox, Pace, ShardSpec, Signal, Stage};

use super::Replayed;
use super::shard::{Judged, Outcome, Written};

const TERM: u32 = 1;

/// Adds facts up.
#[derive(Default)]
struct Sum {
    total: u64,
    /// What is not in the facts: how often it was shared. Only a defect adds it.
    elsewhere: Option<Rc<Cell<u64>>>,
}

impl Stage for Sum {
    type Fact = u64;
    type Signal = ();

    fn decide(&self, _: &Input<'_>, _: Timestamp, _: &mut Decision<u64>) {}

    fn apply(&mut self, fact: &u64, _: Timestamp) {
        self.total += fact;
        if let Some(elsewhere) = &self.elsewhere {
            elsewhere.set(elsewhere.get() + 1);
            self.total += elsewhere.get();
        }
    }

    fn emit(&self, _: &u64, _: Timestamp, _: Option<&Record>, _: &mut Outbox) {}

    fn needs_input(&self, _: &u64) -> bool {
        false
    }

    fn observe(&mut self, _: Signal<'_, ()>, _: Timestamp) {}

    fn next_due(&self) -> Option<Timestamp> {
        None
    }

    fn admits(&self, _: u32) -> bool {
        true
    }

    fn snapshot(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(&json!({"total": self.total}))
    }

    fn restore(&mut self, snapshot: &str) -> Result<(), serde_json::Error> {
        let said: BTreeMap<String, u64> = serde_json::from_str(snapshot)?;
        self.total = said.get("total").copied().unwrap_or(0);
        Ok(())
    }
}

fn spec() -> ShardSpec {
    let topic = |name: &str| TopicName::new(name).unwrap();
    ShardSpec {
        sender: SenderId::new("kernel.raw/0").unwrap(),
        facts: topic("t.decisions.raw").partition(0),
        inputs: Vec::new(),
        outputs: Vec::new(),
        snapshots: topic("t.snapshots"),
        shards: topic("t.shards"),
        checkpoints: None,
        process: "p".into(),
        pace: Pace::default(),
    }
}

struct Log {
    spec: ShardSpec,
    key: SecretKey,
    facts: Vec<Record>,
    snapshots: Vec<Record>,
    /// Hash of the group at each offset.
    hashes: BTreeMap<Offset, String>,
    head: String,
}

fn record(offset: Offset, key: String, kind: Kind, epoch: u64, value: Vec<u8>) -> Record {
    let (sender, epoch) = ("kernel.raw/0", epoch.to_string());
    let list = [(headers::KIND, kind.word().to_owned()), (headers::SENDER, sender.into()), (headers::EPOCH, epoch)];
    let headers = list.into_iter().map(|(name, text)| (name, Bytes::from(text))).collect::<Headers>();
    Record { offset, timestamp_ms: 1_000_000, key: Some(key.into()), value: Some(value.into()), headers }
}

impl Log {
    fn add(&mut self, kind: Kind, epoch: u64, value: Vec<u8>) -> Offset {
        let offset = self.facts.len() as Offset;
        self.facts.push(record(offset, "kernel.raw/0".into(), kind, epoch, value));
        offset
    }

    /// Claim and barrier; the epoch.
    fn owner(&mut self) -> u64 {
        let at = self.spec.facts.clone();
        let claim = json!({"v": 1, "sender": "kernel.raw/0", "term": TERM, "outputs": [], "process": "p", "wall_ms": 1_000_000});
        let claim = signed(&self.key, &statements::claim(&at), claim.to_string().into_bytes());
        let own = epoch(TERM, self.add(Kind::Claim, 0, claim));
        let barrier = json!({"v": 1, "sender": "kernel.raw/0", "epoch": own}).to_string().into_bytes();
        let barrier = signed(&self.key, &statements::mark(Kind::Barrier, &at), barrier);
        self.add(Kind::Barrier, own, barrier);
        own
    }

    fn group(&mut self, epoch: u64, sequence: u64, facts: &[(u64, u64)], valid: bool) -> Offset {
        let header = json!({"v": 1, "epoch": epoch, "sequence": sequence, "released": null, "previous": self.head});
        let facts: Vec<String> = facts.iter().map(|(at, fact)| format!(r#"{{"at":{at},"fact":{fact}}}"#)).collect();
        let leaves = facts.iter().map(|fact| merkle::leaf(&[fact.as_bytes()])).collect();
        let key = &self.key;
        let value =
            statements::group_text(header.to_string().into_bytes(), facts.join(",").as_bytes(), leaves, |root| {
                (key.key().as_str(), key.sign(&statements::group("kernel.raw/0", epoch, root)))
            });
        let hash = value_hash(&value);
        let offset = self.add(Kind::Group, epoch, value);
        if valid {
            self.head.clone_from(&hash);
        }
        self.hashes.insert(offset, hash);
        offset
    }

    /// A snapshot in chunks of eleven bytes; `signs` as well, where its writer does.
    fn snapshot(&mut self, (epoch, offset): (u64, Offset), next: u64, (total, at): (u64, u64), signs: bool) {
        let body = json!({
            "head": self.hashes[&offset], "sequence": [epoch, next], "barrier": epoch, "claims": [[epoch, []]],
            "released": offset, "at": at, "inputs": [], "places": [], "state": {"total": total},
        });
        let body = body.to_string();
        let of = body.len().div_ceil(11);
        for (chunk, text) in body.as_bytes().chunks(11).enumerate() {
            let text = std::str::from_utf8(text).unwrap();
            let chunk_of = json!({
                "v": 1, "sender": "kernel.raw/0", "epoch": epoch, "offset": offset, "chunk": chunk, "of": of, "text": text,
            });
            let value = chunk_of.to_string().into_bytes();
            let value = if signs { signed(&self.key, statements::SNAPSHOT, value) } else { value };
            let key = format!("kernel.raw/0/{epoch}/a.{chunk}");
            self.snapshots.push(record(self.snapshots.len() as Offset, key, Kind::Snapshot, epoch, value));
        }
    }

    /// What two owners wrote: a group of the first landed behind the second's barrier. Facts add up to 6 at offset 3, to 10 at
    /// offset 7, to 15 at the end.
    fn recorded() -> (Self, u64, u64) {
        let key = SecretKey::parse(KeyId::new("test").unwrap(), &format!("tidegate-secret-1:{}", "5a".repeat(32)));
        let (facts, snapshots, hashes, head) = (Vec::new(), Vec::new(), BTreeMap::new(), String::new());
        let mut log = Self { spec: spec(), key: key.unwrap(), facts, snapshots, hashes, head };
        let first = log.owner();
        log.group(first, 0, &[(10, 1), (20, 2)], true);
        assert_eq!(log.group(first, 1, &[(30, 3)], true), 3);
        let second = log.owner();
        assert_eq!(log.group(first, 2, &[(40, 100)], false), 6);
        assert_eq!(log.group(second, 0, &[(50, 4)], true), 7);
        log.group(second, 1, &[(60, 5)], true);
        (log, first, second)
    }

    fn judged_with(&self, start: Offset, make: &dyn Fn() -> Sum) -> Outcome {
        let trusted = Trusted {
            id: self.key.key().clone(),
            public: self.key.public(),
            person: None,
            roles: vec![Role::AnyStage],
            tenants: None,
            until_ms: None,
        };
        let trust: Arc<dyn Trust> = Arc::new(Keyring::new([trusted]).unwrap());
        let mut written = Written::default();
        for record in &self.snapshots {
            assert!(is_of(&self.spec.sender, record.key.as_deref().unwrap()));
            written.meet(&self.spec, record, &*trust);
        }
        let mut judged = Judged::begin(&self.spec, make, trust, start, written);
        for record in &self.facts {
            judged.meet(record, TERM).unwrap();
        }
        judged.end().unwrap()
    }

    fn judged(&self) -> Outcome {
        self.judged_with(0, &Sum::default)
    }
}

/// Exactly one thing is broken, and it is told so.
fn one(outcome: &Outcome, told: &str) {
    assert!(matches!(&*outcome.broken, [what] if what.contains(told)), "`{told}`: {outcome:#?}");
}

#[test]
fn what_two_owners_wrote_is_rebuilt_from_the_start_and_from_each_snapshot() {
    let (mut log, first, second) = Log::recorded();
    assert_eq!(log.judged(), Outcome { facts: 5, snapshots: 0, broken: Vec::new() });
    log.snapshot((first, 3), 2, (6, 30), true);
    log.snapshot((second, 7), 1, (10, 50), true);
    // The last chunk of a third never came.
    log.snapshot((second, 8), 2, (15, 60), true);
    log.snapshots.pop();
    assert_eq!(log.judged(), Outcome { facts: 5, snapshots: 2, broken: Vec::new() });
}

#[test]
fn a_snapshot_that_differs_in_a_byte_is_found_wherever_it_stands() {
    let (mut log, first, second) = Log::recorded();
    log.snapshot((first, 3), 2, (7, 30), true);
    log.snapshot((second, 7), 1, (10, 50), true);
    one(&log.judged(), "the snapshot for 3 says");
    // The newest leads elsewhere as well.
    let (mut log, first, second) = Log::recorded();
    log.snapshot((first, 3), 2, (6, 30), true);
    log.snapshot((second, 7), 1, (11, 50), true);
    let broken = log.judged().broken;
    assert!(broken.len() == 2 && broken[0].contains("for 7 says") && broken[1].contains("log's end"), "{broken:#?}");
}

#[test]
fn so_is_one_that_says_another_time_or_counts_a_group_that_does_not() {
    let (mut log, first, second) = Log::recorded();
    log.snapshot((second, 7), 1, (10, 0), true);
    one(&log.judged(), "the snapshot for 7 says");
    let (mut log, _, _) = Log::recorded();
    log.snapshot((first, 6), 3, (106, 40), true);
    let broken = log.judged().broken;
    assert!(broken[0].contains("for 6, where no valid group is"), "{broken:#?}");
}

#[test]
fn a_chunk_that_nobody_signed_and_a_snapshot_for_no_record_are_found() {
    let (mut log, first, second) = Log::recorded();
    log.snapshot((first, 3), 2, (6, 30), true);
    let last = log.snapshots.last_mut().unwrap();
    let text = String::from_utf8(last.value.as_ref().unwrap().to_vec()).unwrap();
    last.value = Some(text.replace("6", "7").into());
    let outcome = log.judged();
    one(&outcome, "is not signed as it should be");
    assert_eq!(outcome.snapshots, 0);
    let (mut log, ..) = Log::recorded();
    log.snapshot((second, 7), 1, (10, 50), false);
    assert!(log.judged().broken.len() > 1);
    let (mut log, ..) = Log::recorded();
    log.snapshot((second, 8), 2, (15, 60), true);
    log.facts.pop();
    one(&log.judged(), "for 8, where no record is");
}

#[test]
fn a_stage_that_uses_what_is_not_in_the_facts_is_found() {
    let (mut log, first, second) = Log::recorded();
    log.snapshot((first, 3), 2, (6, 30), true);
    log.snapshot((second, 7), 1, (10, 50), true);
    let elsewhere = Rc::new(Cell::new(0));
    let make = || Sum { total: 0, elsewhere: Some(Rc::clone(&elsewhere)) };
    let broken = log.judged_with(0, &make).broken;
    assert!(broken.iter().any(|what| what.contains("for 3 says")), "{broken:#?}");
    assert!(broken.iter().any(|what| what.contains("log's end")), "{broken:#?}");
}

#[test]
fn a_log_that_was_altered_or_whose_start_is_gone_is_not_judged_well() {
    let (mut log, ..) = Log::recorded();
    one(&log.judged_with(2, &Sum::default), "before 2 are gone");
    log.facts.remove(2);
    let broken = log.judged().broken;
    assert!(broken.iter().any(|what| what.contains("the log was altered")), "{broken:#?}");
}

#[test]
fn where_nothing_was_compared_nothing_was_judged() {
    let outcome = |snapshots| Outcome { facts: 5, snapshots, broken: Vec::new() };
    let of = |kernel, scheduler, audit| {
        let mut all = Replayed::default();
        all.add("kernel.raw/0", outcome(kernel));
        all.add("scheduler.work/0", outcome(scheduler));
        all.add("scheduler.audit/0", outcome(audit));
        all.add("limits/0", Outcome::default());
        all
    };
    let line = of(1, 2, 1).verdict(1).unwrap();
    assert!(line.contains("4 snapshots of 3 shards with 15 facts; 1 shards without facts"), "{line}");
    assert!(of(1, 1, 0).verdict(0).is_ok());
    for (few, least) in [(of(0, 2, 1), 0), (of(1, 0, 0), 0), (of(1, 1, 0), 1), (of(2, 2, 1), 2)] {
        let said = few.verdict(least).unwrap_err().to_string();
        assert!(said.contains("was not judged"), "{said}");
    }
    let mut broken = of(1, 1, 1);
    broken.add("kernel.raw/1", Outcome { broken: vec!["a byte".into()], ..outcome(1) });
    assert!(broken.verdict(1).unwrap_err().to_string().contains("BROKEN"));
}
