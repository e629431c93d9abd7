//! The judge itself: a right log passes, each wrong one is found.

use std::collections::HashMap;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::facts::Fact;
use super::judge::{Expected, judge};
use super::position::Position;
use super::{Ledger, Totals};
use crate::broker::Met;

const AT: Position = Position { partition: 0, offset: 7 };
/// The epoch of a log's first owner, whose claim stands at offset 0.
const FIRST: u64 = (1 << 40) + 1;

/// Writes logs by hand as stages would.
struct Logs {
    ledger: Ledger,
    next: HashMap<&'static str, u64>,
    head: HashMap<&'static str, String>,
    clock: i64,
}

impl Logs {
    fn new() -> Self {
        Self { ledger: Ledger::new("p."), next: HashMap::new(), head: HashMap::new(), clock: 0 }
    }

    fn put(&mut self, topic: &'static str, headers: &[(&str, String)], value: &Value) -> u64 {
        let next = self.next.entry(topic).or_default();
        let offset = *next;
        *next += 1;
        self.clock += 1;
        self.ledger.meet(&Met {
            topic: topic.to_owned(),
            offset,
            at_ms: self.clock,
            value: Some(value.to_string().into_bytes()),
            headers: headers.iter().map(|(name, text)| ((*name).to_owned(), text.clone().into_bytes())).collect(),
            ..Met::default()
        });
        offset
    }

    fn control(&mut self, topic: &'static str, kind: &str, epoch: u64) -> u64 {
        let headers = [("tg-kind", kind.into()), ("tg-sender", "s".into()), ("tg-epoch", epoch.to_string())];
        self.put(topic, &headers, &json!({}))
    }

    /// Claim and barrier; the epoch.
    fn own(&mut self, topic: &'static str) -> u64 {
        let epoch = FIRST + self.control(topic, "claim", 0);
        self.control(topic, "barrier", epoch);
        epoch
    }

    fn group(&mut self, topic: &'static str, epoch: u64, sequence: u64, facts: &[Value]) -> u64 {
        let facts: Vec<Value> = facts.iter().map(|fact| json!({"at": 1, "fact": fact})).collect();
        self.group_of(topic, epoch, sequence, (&[], &facts))
    }

    /// A group that names these inputs, with these facts as they are recorded.
    fn group_of(&mut self, topic: &'static str, epoch: u64, sequence: u64, of: (&[Value], &[Value])) -> u64 {
        let (head, (inputs, facts)) = (self.head.get(topic).cloned().unwrap_or_default(), of);
        let value =
            json!({"v": 1, "epoch": epoch, "sequence": sequence, "previous": head, "inputs": inputs, "facts": facts});
        let headers = [("tg-kind", "group".into()), ("tg-sender", "s".into()), ("tg-epoch", epoch.to_string())];
        let before = self.ledger.totals();
        let offset = self.put(topic, &headers, &value);
        let after = self.ledger.totals();
        if (before.zombies, before.gaps) == (after.zombies, after.gaps) {
            self.head.insert(topic, hex::encode(Sha256::digest(value.to_string())));
        }
        offset
    }

    fn message(&mut self, topic: &'static str, epoch: u64, stamp: (u64, u64, u64), value: &Value) {
        let headers = [
            ("tg-sender", "s".into()),
            ("tg-epoch", epoch.to_string()),
            ("tg-stamp", format!("{} {} {}", stamp.0, stamp.1, stamp.2)),
            ("tg-source", AT.to_string()),
        ];
        self.put(topic, &headers, value);
    }

    /// One job's whole life, as it should be.
    fn life(&mut self) {
        let kernel = self.own("p.decisions.jobs.raw");
        self.control("p.approved.a", "fence", kernel);
        let group = self.group("p.decisions.jobs.raw", kernel, 0, &[decided("allow")]);
        self.message("p.approved.a", kernel, (0, group, 0), &json!({}));
        let scheduler = self.own("p.leases.a");
        self.control("p.finished", "fence", scheduler);
        self.group("p.leases.a", scheduler, 0, &[granted(scheduler, 1)]);
        self.put("p.reports.a", &[], &json!({"result": {"source": AT.to_string(), "token": token(scheduler, 1)}}));
        let group = self.group("p.leases.a", scheduler, 1, &[finished(scheduler, 1)]);
        self.message("p.finished", scheduler, (0, group, 0), &json!({"outcome": "succeeded"}));
    }

    fn broken(&self, expected: Expected) -> Vec<String> {
        judge(&self.ledger, &HashMap::from([(AT, expected)])).into_iter().map(|broken| broken.what).collect()
    }

    /// Something is broken, and said with these words.
    fn must_say(&self, expected: Expected, words: &str) {
        let broken = self.broken(expected);
        assert!(broken.iter().any(|what| what.contains(words)), "`{words}` is not in {broken:?}");
    }
}

fn decided(verdict: &str) -> Value {
    json!({"job_decided": {"job": {"source": AT.to_string()}, "decision": {"verdict": verdict}}})
}

fn token(epoch: u64, attempt: u32) -> Value {
    json!({"epoch": epoch, "attempt": attempt})
}

fn granted(epoch: u64, attempt: u32) -> Value {
    json!({"lease_granted": {"source": AT.to_string(), "token": token(epoch, attempt)}})
}

fn finished(epoch: u64, attempt: u32) -> Value {
    json!({"job_finished": {"source": AT.to_string(), "outcome": "succeeded", "by": {"token": token(epoch, attempt)}}})
}

#[test]
fn a_right_life_passes_and_nothing_else_does() {
    let mut logs = Logs::new();
    logs.life();
    assert_eq!(logs.broken(Expected::Succeeds), Vec::<String>::new());
    assert_eq!(logs.ledger.done(), 1);
    logs.must_say(Expected::Denied, "it ran");
    logs.must_say(Expected::Dead("unparsable"), "it was rejected for None");
    assert_eq!(Logs::new().broken(Expected::Succeeds)[0], "0 verdicts on one record");
    let unknown = judge(&logs.ledger, &HashMap::new());
    assert_eq!(unknown[0].what, "nobody submitted this record");
}

#[test]
fn a_zombie_is_dropped_and_counted() {
    let mut logs = Logs::new();
    logs.life();
    let newer = logs.own("p.decisions.jobs.raw");
    logs.control("p.approved.a", "fence", newer);
    // The old owner wakes: its group and message count for nothing.
    let group = logs.group("p.decisions.jobs.raw", FIRST, 1, &[decided("deny")]);
    logs.message("p.approved.a", FIRST, (1, group, 0), &json!({}));
    // The new one says again what may not have landed.
    logs.message("p.approved.a", newer, (0, 2, 0), &json!({}));
    assert_eq!(logs.broken(Expected::Succeeds), Vec::<String>::new());
    let totals = logs.ledger.totals();
    assert_eq!((totals.takeovers, totals.zombies, totals.repeated), (1, 2, 1), "{totals:?}");
    assert_ne!(totals, Totals::default());
}

#[test]
fn each_broken_promise_is_found() {
    let twice = |logs: &mut Logs| {
        logs.life();
        logs.group("p.decisions.jobs.raw", FIRST, 1, &[decided("allow")]);
    };
    let ended_twice = |logs: &mut Logs| {
        logs.life();
        logs.message("p.finished", FIRST, (1, 9, 0), &json!({"outcome": "succeeded"}));
    };
    let unasked = |logs: &mut Logs| {
        let epoch = logs.own("p.leases.a");
        logs.group("p.leases.a", epoch, 0, &[granted(epoch, 1)]);
        logs.life_of_kernel_only();
    };
    let ungranted = |logs: &mut Logs| {
        logs.life();
        logs.put("p.reports.a", &[], &json!({"result": {"source": AT.to_string(), "token": token(5, 9)}}));
    };
    let stale = |logs: &mut Logs| {
        logs.life();
        logs.group("p.leases.a", FIRST, 2, &[granted(FIRST, 2), finished(FIRST, 1)]);
    };
    let falling = |logs: &mut Logs| {
        logs.life();
        logs.group("p.leases.a", FIRST, 2, &[granted(FIRST, 1)]);
    };
    let edited = |logs: &mut Logs| {
        logs.life();
        logs.head.insert("p.leases.a", "0".repeat(64));
        logs.group("p.leases.a", FIRST, 2, &[]);
    };
    let unclaimed = |logs: &mut Logs| {
        logs.life();
        logs.control("p.leases.a", "barrier", FIRST + 77);
    };
    let forged = |logs: &mut Logs| {
        logs.life();
        logs.put("p.approved.a", &[], &json!({}));
    };
    type Wrong<'a> = &'a dyn Fn(&mut Logs);
    let table: [(Wrong<'_>, &str); 9] = [
        (&twice, "2 verdicts"),
        (&ended_twice, "2 believed messages on `finished`"),
        (&unasked, "it ran at Some(3) ms; it was allowed: true, decided at Some(6) ms"),
        (&ungranted, "which no group granted"),
        (&stale, "was ended by"),
        (&falling, "does not rise"),
        (&edited, "does not name the valid group before it"),
        (&unclaimed, "for which no claim stands before it"),
        (&forged, "a record without sender"),
    ];
    for (wrong, words) in table {
        let mut logs = Logs::new();
        wrong(&mut logs);
        logs.must_say(Expected::Succeeds, words);
    }
}

/// Facts that no run makes whose ledger this is: one of these is a violation there.
const UNMADE: [&str; 11] = [
    "approval_given",
    "command_refused",
    "delegation_revoked",
    "hold_escalated",
    "hold_renewed",
    "job_cancelled",
    "job_deferred",
    "job_held",
    "job_withdrawn",
    "record_dropped",
    "record_redriven",
];

#[test]
fn every_fact_that_an_owner_writes_can_be_read_or_is_known_not_to_come() {
    let golden = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../protocol/tests/golden");
    let (mut read, mut unread) = (0, std::collections::BTreeSet::new());
    for file in std::fs::read_dir(&golden).unwrap().map(|file| file.unwrap().path()) {
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        let Some((_, rest)) = name.split_once("kernel_fact.").or_else(|| name.split_once("scheduler_fact.")) else {
            continue;
        };
        // A run of the ledger has one source and redrives nothing; some files name another source, or a redriven job.
        let text = std::fs::read_to_string(&file).unwrap().replace("jobs.children/", "jobs.raw/").replace("~1", "");
        match serde_json::from_str::<Fact>(&text) {
            Ok(_) => read += 1,
            Err(e) if e.to_string().contains("unknown variant") => {
                unread.insert(rest.split('.').next().unwrap().to_owned());
            }
            Err(e) => panic!("{name}: {e}"),
        }
    }
    assert!(read > 40, "{read}");
    assert_eq!(unread, UNMADE.map(str::to_owned).into(), "a fact that the ledger does not know");
}

#[test]
fn a_denied_job_on_its_way_is_found_even_if_nobody_believes_it() {
    let mut logs = Logs::new();
    let old = logs.own("p.decisions.jobs.raw");
    let new = logs.own("p.decisions.jobs.raw");
    logs.control("p.approved.a", "fence", new);
    logs.group("p.decisions.jobs.raw", new, 0, &[decided("deny")]);
    logs.message("p.approved.a", old, (0, 1, 0), &json!({}));
    logs.must_say(Expected::Denied, "it is on `approved`");
}

#[test]
fn what_a_heartbeat_lists_is_no_result_that_was_refused() {
    let (mut logs, topic) = (Logs::new(), "p.leases.a");
    let epoch = logs.own(topic);
    let inputs = ["p.approved.a", "p.reports.a"].map(|topic| json!({"topic": topic, "partition": 0}));
    let refused = |why: &str, offset: u64, attempt: u32| {
        let by = json!({"token": token(epoch, attempt)});
        json!({"at": 1, "in": [1, offset], "fact": {"result_refused": {"source": AT.to_string(), "by": by, "reason": why}}})
    };
    let why = |logs: &Logs, attempt| {
        logs.ledger.account(AT).unwrap().result_refused(super::Token { epoch, attempt }).map(str::to_owned)
    };
    let heartbeat = logs.put("p.reports.a", &[], &json!({"heartbeat": {}}));
    // Of one report that leads to several facts only the last settles it.
    let listed = json!({"at": 1, "fact": refused("unknown_job", 0, 1)["fact"]});
    logs.group_of(topic, epoch, 0, (&inputs, &[listed, refused("stale_fence", heartbeat, 1)]));
    assert_eq!(why(&logs, 1), None);
    let result = json!({"result": {"source": AT.to_string(), "token": token(epoch, 1)}});
    let late = logs.put("p.reports.a", &[], &result);
    assert_eq!(why(&logs, 1), None);
    // Later groups of an epoch name the inputs by the numbers that its first one gave them.
    logs.group_of(topic, epoch, 1, (&[], &[refused("finished", late, 1)]));
    assert_eq!((why(&logs, 1).as_deref(), why(&logs, 2)), (Some("finished"), None));
}

impl Logs {
    fn life_of_kernel_only(&mut self) {
        let kernel = self.own("p.decisions.jobs.raw");
        self.group("p.decisions.jobs.raw", kernel, 0, &[decided("allow")]);
    }
}
