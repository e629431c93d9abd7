//! Logs to tamper with, and those who judge them.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use serde::de::IgnoredAny;
use tidegate_audit::{Anchors, Counts, Damage, Doubt, LogIdentity, Met, Verifier, Wrong};
use tidegate_protocol::address::Offset;
use tidegate_protocol::checkpoint::Checkpoint;
use tidegate_protocol::ids::KeyId;
use tidegate_protocol::signature::{Capacity, Distrust, Sign, Signature, Trust, signed};
use tidegate_protocol::statements;
use tidegate_simulation::keys::{SimKey, stages};
use tidegate_simulation::relay::scenario::{FactsLeft, facts_left};
use tidegate_spine::{Headers, Record};

/// A log with what the untouched verification says of each record.
#[derive(Debug)]
pub(crate) struct Left {
    /// Seed and sender.
    pub(crate) name: String,
    pub(crate) identity: LogIdentity,
    pub(crate) records: Vec<Record>,
    /// No offset is left out.
    pub(crate) dense: bool,
    roles: Vec<Role>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Valid,
    /// A barrier that was one of a working owner, or its claim.
    Mark,
    Idle,
}

impl Left {
    /// A group that counts.
    pub(crate) fn is_valid(&self, place: usize) -> bool {
        self.roles[place] == Role::Valid
    }

    /// Whether these two records are of the same owner.
    pub(crate) fn are_of_one_owner(&self, one: usize, two: usize) -> bool {
        self.records[one].headers.text("tg-epoch") == self.records[two].headers.text("tg-epoch")
    }

    /// Whether what counts depends on it.
    pub(crate) fn matters(&self, place: usize) -> bool {
        self.roles[place] != Role::Idle
    }

    /// The last group that counts.
    pub(crate) fn last_valid(&self) -> usize {
        (0..self.records.len()).rfind(|place| self.is_valid(*place)).unwrap()
    }

    /// One above the last record.
    pub(crate) fn end(&self) -> Offset {
        self.records.last().unwrap().offset + 1
    }
}

/// The simulation's key speaks for stages; `worker` is somebody of another role; nobody else is known.
#[derive(Debug)]
struct Ring(Arc<SimKey>);

impl Trust for Ring {
    fn entitled(&self, key: &str, capacity: Capacity<'_>, at_ms: u64) -> Result<(), Distrust> {
        if key == "worker" { Err(Distrust::WrongRole) } else { self.0.entitled(key, capacity, at_ms) }
    }

    fn verify(&self, key: &str, statement: &[u8], signature: &Signature) -> Result<(), Distrust> {
        self.0.verify(key, statement, signature)
    }
}

/// Signs as well as the stages do, under another name.
#[derive(Debug)]
struct Rogue(KeyId, Arc<SimKey>);

impl Sign for Rogue {
    fn key(&self) -> &KeyId {
        &self.0
    }

    fn sign(&self, statement: &[u8]) -> Signature {
        self.1.sign(statement)
    }
}

/// A verifier before the first record of a log.
pub(crate) fn verifier(left: &Left, anchors: Anchors, dense: bool) -> Verifier {
    Verifier::new(left.identity.clone(), Arc::new(Ring(stages())), 0, anchors, dense).unwrap()
}

/// A verifier before each record of a log.
pub(crate) fn verifiers(left: &Left, anchors: Anchors, dense: bool) -> Vec<Verifier> {
    let mut verifier = verifier(left, anchors, dense);
    let mut all = Vec::with_capacity(left.records.len());
    for record in &left.records {
        all.push(verifier.clone());
        verifier.meet::<IgnoredAny>(record).unwrap();
    }
    all
}

/// Goes on with `records` to the end.
pub(crate) fn verify_from(
    mut verifier: Verifier,
    records: &[Record],
    end: Offset,
) -> Result<(Counts, Option<Doubt>), Damage> {
    for record in records {
        verifier.meet::<IgnoredAny>(record)?;
    }
    let doubt = verifier.finish(end)?;
    Ok((verifier.counts(), doubt))
}

fn roles(identity: &LogIdentity, records: &[Record]) -> Vec<Role> {
    let mut verifier = Verifier::new(identity.clone(), Arc::new(Ring(stages())), 0, Anchors::default(), false).unwrap();
    let mut roles: Vec<Role> = Vec::new();
    for record in records {
        let role = match verifier.meet::<IgnoredAny>(record).unwrap() {
            Met::Group(group) => {
                // Its owner's marks matter from the first group on.
                if group.sequence == 0 {
                    let claim = group.epoch - 1;
                    let epoch = group.epoch.to_string();
                    for (role, mark) in roles.iter_mut().zip(records) {
                        let barrier = mark.headers.text("tg-kind") == Some("barrier")
                            && mark.headers.text("tg-epoch") == Some(epoch.as_str());
                        if barrier || mark.offset == claim {
                            *role = Role::Mark;
                        }
                    }
                }
                Role::Valid
            }
            Met::Before | Met::Mark | Met::Void { .. } => Role::Idle,
        };
        roles.push(role);
    }
    roles
}

/// The logs of some seeds, and one without holes among them at least.
pub(crate) fn logs() -> &'static [Left] {
    static LOGS: OnceLock<Vec<Left>> = OnceLock::new();
    LOGS.get_or_init(|| {
        let mut all: Vec<Left> = Vec::new();
        for seed in (0..60).map(|number| number * 2) {
            if seed >= 16 && all.iter().filter(|left| left.dense).count() >= 6 {
                break;
            }
            for FactsLeft { sender, facts, records, .. } in facts_left(seed) {
                let dense = (0..).zip(&records).all(|(number, record)| record.offset == number);
                if (seed < 16 || dense) && records.len() > 20 {
                    let identity = LogIdentity { sender: sender.clone(), facts };
                    let roles = roles(&identity, &records);
                    all.push(Left { name: format!("seed {seed}, {sender}"), identity, records, dense, roles });
                }
            }
        }
        all
    })
}

/// A checkpoint of the group at that place.
pub(crate) fn checkpoint_at(left: &Left, place: usize) -> Checkpoint {
    let mut verifier = verifiers(left, Anchors::default(), false).swap_remove(place);
    let Met::Group(group) = verifier.meet::<IgnoredAny>(&left.records[place]).unwrap() else { panic!("no group") };
    let (offset, epoch, head) = verifier.head().unwrap();
    Checkpoint {
        v: 1,
        sender: left.identity.sender.clone(),
        facts: left.identity.facts.clone(),
        epoch,
        sequence: group.sequence,
        offset,
        head: head.to_owned(),
        wall_ms: 0,
        key: None,
        signature: None,
    }
}

/// Gives records other offsets.
pub(crate) fn renumbered(records: &mut [Record], to: impl Fn(Offset) -> Offset) {
    for record in records {
        record.offset = to(record.offset);
    }
}

/// A control record that somebody without the stages' key might write, and what it must be taken for.
pub(crate) fn rogue(left: &Left, chance: &mut fastrand::Rng) -> (Record, &'static [Wrong]) {
    let LogIdentity { sender, facts } = &left.identity;
    let epoch = 1_000_000 + chance.u64(..1_000);
    let timestamp = left.records[chance.usize(..left.records.len())].timestamp_ms;
    let (kind, statement, text) = match chance.usize(..4) {
        0 => (
            "claim",
            statements::claim(facts),
            format!(r#"{{"v":1,"sender":"{sender}","term":0,"outputs":[],"process":"x","wall_ms":{timestamp}}}"#),
        ),
        1 => (
            "barrier",
            statements::mark(tidegate_protocol::control::Kind::Barrier, facts),
            format!(r#"{{"v":1,"sender":"{sender}","epoch":{epoch}}}"#),
        ),
        2 => (
            "fence",
            statements::mark(tidegate_protocol::control::Kind::Fence, facts),
            format!(r#"{{"v":1,"sender":"{sender}","epoch":{epoch}}}"#),
        ),
        _ => ("group", String::new(), String::new()),
    };
    let (key, wrong): (_, &[Wrong]) = match chance.usize(..3) {
        0 => (None, &[Wrong::Unsigned]),
        1 => (Some("worker"), &[Wrong::WrongRole]),
        _ => (Some("stranger"), &[Wrong::UnknownKey]),
    };
    // A fence belongs in no facts log, whoever has signed it.
    let wrong = if kind == "fence" { &[Wrong::Foreign][..] } else { wrong };
    let signer = key.map(|key| Rogue(KeyId::new(key).unwrap(), stages()));
    let value = match (&signer, kind) {
        (Some(signer), "group") => {
            let header = format!(r#"{{"v":1,"epoch":{epoch},"sequence":0,"released":null,"previous":""}}"#);
            statements::group_text(header.into_bytes(), b"", Vec::new(), |root| {
                (signer.key().as_str(), signer.sign(&statements::group(sender.as_str(), epoch, root)))
            })
        }
        (None, "group") => format!(r#"{{"v":1,"epoch":{epoch},"sequence":0,"previous":"","facts":[]}}"#).into_bytes(),
        (Some(signer), _) => signed(signer, &statement, text.into_bytes()),
        (None, _) => text.into_bytes(),
    };
    let mut headers = Headers::new();
    headers.push("tg-kind", Bytes::from_static(kind.as_bytes()));
    headers.push("tg-sender", Bytes::copy_from_slice(sender.as_str().as_bytes()));
    if kind != "claim" {
        headers.push("tg-epoch", Bytes::from(epoch.to_string()));
    }
    let key = Some(Bytes::copy_from_slice(sender.as_str().as_bytes()));
    (Record { offset: 0, timestamp_ms: timestamp, key, value: Some(value.into()), headers }, wrong)
}
