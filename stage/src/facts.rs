//! Reading a facts log: which groups are valid, what is released, which claims are open.
//!
//! A group is valid if the highest barrier before it is of its own epoch (an owner writes its barrier before its first
//! group, so "no barrier of a higher epoch stands before it" is the same) and its sequence number is the next of its
//! epoch; a gap voids the rest of that epoch. A `released` mark counts only if no claim of a higher epoch stands before
//! it. Validity of a prefix depends on nothing behind it.
//!
//! Claims, barriers and groups count only when signed by a key that may speak for the shard. What is unsigned, forged or
//! written again by somebody else changes nothing ([`Met::Refused`]): a group met before opens no gap, and a claim met
//! before, or landed long after it was made, claims nothing.

use std::collections::VecDeque;
use std::sync::Arc;

use serde::de::{DeserializeOwned, IgnoredAny};
use tidegate_protocol::address::{Offset, TopicPartition};
use tidegate_protocol::control::{Claim, FactRecord, Group, Kind, epoch};
use tidegate_protocol::ids::SenderId;
use tidegate_protocol::proof::Refused;
use tidegate_protocol::signature::{Capacity, Distrust, Signature, Trust, check};
use tidegate_protocol::statements::{self, CLAIM_COUNTS_MS, GroupText};
use tidegate_spine::Record;

use crate::Rules;
use crate::control::{Meta, check_mark, meta, value_hash, written_ms};

/// Claims remembered, so that one written again within [`CLAIM_COUNTS_MS`] is seen for what it is.
const CLAIMS_REMEMBERED: usize = 32;

/// What one record of a facts log is.
#[derive(Debug)]
pub enum Met<F> {
    /// A claim; it opens this epoch.
    Claim {
        /// The epoch.
        epoch: u64,
    },
    /// A barrier.
    Barrier {
        /// Its epoch.
        epoch: u64,
    },
    /// A valid group.
    Group(Box<Group<FactRecord<F>>>),
    /// A group that does not count: of a former owner, behind a gap, or before its barrier.
    Void {
        /// Its epoch.
        epoch: u64,
        /// Why.
        why: Void,
    },
    /// A control record of this shard that nobody who may say so has signed, or one that was written again.
    Refused {
        /// What it would be.
        kind: Kind,
        /// Why it is nothing.
        why: Refused,
    },
    /// Not a record of this shard, or one that cannot be read. Never written by a right owner.
    Foreign {
        /// What is wrong with it.
        why: String,
    },
}

/// Why a group does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Void {
    /// A barrier of a higher epoch stands before it.
    Superseded,
    /// No barrier of its epoch stands before it.
    Unannounced,
    /// A group before it is missing.
    Gap,
}

/// A valid group names another predecessor than the one found: the log was edited or a group removed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "group at offset {offset} of the facts log of `{sender}` does not follow the valid group before it: the log was altered; compare it with a backup, do not go on"
)]
pub struct BrokenChain {
    /// Whose log.
    pub sender: SenderId,
    /// Where.
    pub offset: Offset,
}

/// State of reading one facts partition from its start or from a snapshot.
#[derive(Debug, Clone)]
pub struct FactsLog {
    sender: SenderId,
    /// The partition it stands in.
    at: TopicPartition,
    trust: Arc<dyn Trust>,
    rules: Rules,
    /// Signatures of the last claims.
    claimed: VecDeque<Signature>,
    /// Groups refused for their signature before any barrier was believed, and why the last was.
    pub unheard: (u64, Option<Refused>),
    /// Highest barrier met.
    pub barrier: u64,
    /// Next sequence number of the barrier's epoch; `None` after a gap.
    pub next: Option<u64>,
    /// Hash of the last valid group.
    pub head: String,
    /// Offset of the last valid group.
    pub head_offset: Option<Offset>,
    /// Highest claim met.
    pub highest_claim: u64,
    /// Claims of the highest barrier's epoch and above: (epoch, outputs).
    pub claims: Vec<(u64, Vec<TopicPartition>)>,
    /// Messages of all groups up to here are known to have landed where they count.
    pub released: Option<Offset>,
    /// Inputs table of the current epoch.
    pub inputs: Vec<TopicPartition>,
}

impl FactsLog {
    /// At the start of a log.
    #[must_use]
    pub const fn new(sender: SenderId, at: TopicPartition, trust: Arc<dyn Trust>, rules: Rules) -> Self {
        Self {
            sender,
            at,
            trust,
            rules,
            claimed: VecDeque::new(),
            unheard: (0, None),
            barrier: 0,
            next: None,
            head: String::new(),
            head_offset: None,
            highest_claim: 0,
            claims: Vec::new(),
            released: None,
            inputs: Vec::new(),
        }
    }

    /// Takes the next record, in offset order. `term` is the log's term.
    ///
    /// # Errors
    /// [`BrokenChain`].
    pub fn meet<F: DeserializeOwned>(&mut self, record: &Record, term: u32) -> Result<Met<F>, BrokenChain> {
        let Meta::Control { kind, sender, epoch: named } = meta(record) else {
            return Ok(Met::Foreign { why: "no control record".into() });
        };
        if sender != self.sender.as_str() {
            return Ok(Met::Foreign { why: format!("of another sender, `{sender}`") });
        }
        match kind {
            Kind::Claim => Ok(match self.meet_claim(record, term) {
                Ok(epoch) => Met::Claim { epoch },
                Err(why) => Met::Refused { kind, why },
            }),
            Kind::Barrier => Ok(match self.check_barrier(record) {
                Ok(()) => {
                    if named > self.barrier {
                        self.barrier = named;
                        self.next = Some(0);
                        self.claims.retain(|(epoch, _)| *epoch >= named);
                    }
                    Met::Barrier { epoch: named }
                }
                Err(why) => Met::Refused { kind, why },
            }),
            Kind::Group => self.meet_group(record, named),
            Kind::Fence | Kind::Snapshot | Kind::Term | Kind::Loss => {
                Ok(Met::Foreign { why: format!("a {} does not belong in a facts log", kind.word()) })
            }
        }
    }

    /// Takes a claim in and returns the epoch it opens. `term` is the log's term.
    ///
    /// # Errors
    /// [`Refused`]: it claims nothing.
    pub(crate) fn meet_claim(&mut self, record: &Record, term: u32) -> Result<u64, Refused> {
        let (value, written) = (record.value.as_deref().unwrap_or_default(), written_ms(record));
        let claim: Claim = serde_json::from_slice(value).map_err(|_| Distrust::Unsigned)?;
        if self.rules.signatures {
            let capacity = Capacity::of_sender(self.sender.as_str());
            let signed = check(&*self.trust, &statements::claim(&self.at), capacity, written, value)?;
            if claim.sender != self.sender {
                return Err(Refused::Altered);
            }
            if written.abs_diff(claim.wall_ms) > CLAIM_COUNTS_MS || self.claimed.contains(signed.signature()) {
                return Err(Refused::Replayed);
            }
            self.claimed.truncate(CLAIMS_REMEMBERED - 1);
            self.claimed.push_front(*signed.signature());
        }
        let opened = epoch(term, record.offset);
        self.highest_claim = self.highest_claim.max(opened);
        self.claims.push((opened, claim.outputs));
        Ok(opened)
    }

    /// Whether a barrier in this log is genuine.
    pub(crate) fn check_barrier(&self, record: &Record) -> Result<(), Refused> {
        if self.rules.signatures { check_mark(&*self.trust, &self.at, record) } else { Ok(()) }
    }

    /// A group's text and header, when a key that may speak for the shard has signed it.
    fn open_group<'a>(&self, record: &'a Record, named: u64) -> Result<(GroupText<'a>, Group<IgnoredAny>), Refused> {
        let value = record.value.as_deref().unwrap_or_default();
        let text = GroupText::read(value).ok_or(Distrust::Unsigned)?;
        let header: Group<IgnoredAny> = serde_json::from_slice(&text.header()).map_err(|_| Distrust::Unsigned)?;
        if self.rules.signatures {
            text.check(&*self.trust, self.sender.as_str(), header.epoch, written_ms(record))?;
            if header.epoch != named {
                return Err(Refused::Altered);
            }
        }
        Ok((text, header))
    }

    fn meet_group<F: DeserializeOwned>(&mut self, record: &Record, named: u64) -> Result<Met<F>, BrokenChain> {
        let refused = |why| Met::Refused { kind: Kind::Group, why };
        let (text, header) = match self.open_group(record, named) {
            Ok(open) => open,
            Err(why) => {
                if self.barrier == 0 {
                    self.unheard = (self.unheard.0 + 1, Some(why));
                }
                return Ok(refused(why));
            }
        };
        if named < self.barrier {
            return Ok(Met::Void { epoch: named, why: Void::Superseded });
        }
        if named > self.barrier {
            return Ok(Met::Void { epoch: named, why: Void::Unannounced });
        }
        // Appends of one owner are never doubled: a group met before is somebody's copy, and no gap.
        if self.next.is_some_and(|next| header.sequence < next) && self.rules.group_sequence {
            return Ok(refused(Refused::Replayed));
        }
        if self.next != Some(header.sequence) && self.rules.group_sequence {
            self.next = None;
            return Ok(Met::Void { epoch: named, why: Void::Gap });
        }
        if header.previous != self.head && self.rules.group_sequence {
            return Err(BrokenChain { sender: self.sender.clone(), offset: record.offset });
        }
        let facts = text.facts.iter().map(|fact| serde_json::from_str(fact.get()));
        let facts: Vec<FactRecord<F>> = match facts.collect() {
            Ok(facts) => facts,
            Err(error) => {
                self.next = None;
                return Ok(Met::Foreign { why: error.to_string() });
            }
        };
        self.next = Some(header.sequence + 1);
        self.head = value_hash(record.value.as_deref().unwrap_or_default());
        self.head_offset = Some(record.offset);
        if !header.inputs.is_empty() {
            self.inputs.clone_from(&header.inputs);
        }
        if named >= self.highest_claim || !self.rules.released_before_claim {
            self.released = self.released.max(header.released);
        }
        let Group { v, epoch, sequence, released, previous, inputs, places, lost, root, key, signature, .. } = header;
        Ok(Met::Group(Box::new(Group {
            v,
            epoch,
            sequence,
            released,
            previous,
            inputs,
            places,
            lost,
            facts,
            root,
            key,
            signature,
        })))
    }

    /// For views that join a log whose start is gone: takes a genuine group as the first, whatever was before it. True when
    /// the record is one; it is then still to be met.
    pub fn begin_at(&mut self, record: &Record) -> bool {
        let Meta::Control { kind: Kind::Group, sender, epoch } = meta(record) else { return false };
        if sender != self.sender.as_str() {
            return false;
        }
        let Ok((_, header)) = self.open_group(record, epoch) else { return false };
        self.barrier = epoch;
        self.next = Some(header.sequence);
        self.head = header.previous;
        true
    }

    /// Every output partition named by a claim since the highest barrier's.
    #[must_use]
    pub fn open_outputs(&self) -> Vec<TopicPartition> {
        let mut all: Vec<_> = self.claims.iter().flat_map(|(_, outputs)| outputs.iter().cloned()).collect();
        all.sort();
        all.dedup();
        all
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tidegate_protocol::address::TopicName;
    use tidegate_protocol::merkle;
    use tidegate_protocol::signature::{Sign, signed};

    use super::*;
    use crate::cheap::Cheap;
    use crate::control::{barrier_record, control_record};

    const OURS: &str = "ours";

    fn sender() -> SenderId {
        SenderId::new("kernel.raw/0").unwrap()
    }

    fn facts() -> TopicPartition {
        TopicName::new("t.decisions.raw").unwrap().partition(0)
    }

    fn log() -> FactsLog {
        FactsLog::new(sender(), facts(), Arc::new(Cheap::new(OURS)), Rules::default())
    }

    fn at(offset: Offset, record: tidegate_spine::NewRecord) -> Record {
        Record { offset, timestamp_ms: 1_000_000, key: record.key, value: record.value, headers: record.headers }
    }

    fn claim(key: &str, wall_ms: u64) -> tidegate_spine::NewRecord {
        let text =
            format!(r#"{{"v":1,"sender":"kernel.raw/0","term":0,"outputs":[],"process":"p","wall_ms":{wall_ms}}}"#);
        let value = signed(&Cheap::new(key), &statements::claim(&facts()), text.into_bytes());
        control_record(Kind::Claim, &sender(), None, value)
    }

    fn barrier(key: &str, epoch: u64) -> tidegate_spine::NewRecord {
        barrier_record(&sender(), epoch, String::new(), &facts(), &Cheap::new(key)).unwrap()
    }

    fn group(key: &str, epoch: u64, sequence: u64, previous: &str, fact: &str) -> tidegate_spine::NewRecord {
        let header =
            format!(r#"{{"v":1,"epoch":{epoch},"sequence":{sequence},"released":null,"previous":"{previous}"}}"#);
        let fact = format!(r#"{{"at":5,"fact":"{fact}"}}"#);
        let key = Cheap::new(key);
        let leaves = vec![merkle::leaf(&[fact.as_bytes()])];
        let value = statements::group_text(header.into_bytes(), fact.as_bytes(), leaves, |root| {
            (key.key().as_str(), key.sign(&statements::group("kernel.raw/0", epoch, root)))
        });
        control_record(Kind::Group, &sender(), Some(epoch), value)
    }

    fn hash(record: &tidegate_spine::NewRecord) -> String {
        value_hash(record.value.as_deref().unwrap())
    }

    /// What a record was taken for, in a word.
    fn met(log: &mut FactsLog, offset: Offset, record: &tidegate_spine::NewRecord) -> String {
        match log.meet::<String>(&at(offset, record.clone()), 0).unwrap() {
            Met::Claim { epoch } => format!("claim {epoch}"),
            Met::Barrier { epoch } => format!("barrier {epoch}"),
            Met::Group(group) => format!("group {}", group.sequence),
            Met::Void { why, .. } => format!("{why:?}"),
            Met::Refused { why, .. } => why.word().to_owned(),
            Met::Foreign { .. } => "foreign".into(),
        }
    }

    #[test]
    fn what_nobody_who_may_has_signed_changes_nothing_and_copies_open_no_gap() {
        let mut log = log();
        let first = group(OURS, 1, 0, "", "a");
        let second = group(OURS, 1, 1, &hash(&first), "b");
        let third = group(OURS, 1, 2, &hash(&second), "c");
        let plain = |kind, epoch, text: &'static str| control_record(kind, &sender(), epoch, text.into());
        let own_claim = claim(OURS, 1_000_000);
        let mut renamed = group(OURS, 1, 2, &hash(&second), "c");
        renamed.headers = group(OURS, 9, 0, "", "x").headers;
        let mut edited = third.clone();
        let text = String::from_utf8(third.value.clone().unwrap().to_vec()).unwrap();
        edited.value = Some(Bytes::from(text.replace(r#""fact":"c""#, r#""fact":"d""#)));
        for (offset, (record, expected)) in (0..).zip([
            (own_claim.clone(), "claim 1"),
            (barrier("theirs", 9), "unknown_key"),
            (barrier(OURS, 1), "barrier 1"),
            (first.clone(), "group 0"),
            // Somebody else's barrier, claim and group.
            (barrier("theirs", 9), "unknown_key"),
            (plain(Kind::Barrier, Some(9), r#"{"v":1,"sender":"kernel.raw/0","epoch":9}"#), "unsigned"),
            (claim("theirs", 1_000_000), "unknown_key"),
            (group("theirs", 1, 1, &hash(&first), "x"), "unknown_key"),
            (plain(Kind::Group, Some(1), "nonsense"), "unsigned"),
            // Copies of genuine records.
            (first.clone(), "replayed"),
            (own_claim, "replayed"),
            (second.clone(), "group 1"),
            (first, "replayed"),
            // A claim written again long after it was made.
            (claim(OURS, 1_000_000 - CLAIM_COUNTS_MS - 1), "replayed"),
            (claim(OURS, 1_000_000 + CLAIM_COUNTS_MS + 1), "replayed"),
            // Altered.
            (renamed, "altered"),
            (edited, "forged"),
            (third, "group 2"),
        ]) {
            assert_eq!(met(&mut log, offset, &record), expected, "record {offset}");
        }
        assert_eq!((log.barrier, log.highest_claim, log.next, log.unheard.0), (1, 1, Some(3), 0));
    }

    #[test]
    fn a_genuine_group_that_skips_one_still_voids_the_rest_of_its_epoch() {
        let mut log = log();
        let first = group(OURS, 1, 0, "", "a");
        let (third, fourth) = (group(OURS, 1, 2, &hash(&first), "c"), group(OURS, 1, 3, &hash(&first), "d"));
        for (offset, (record, expected)) in
            (0..).zip([(barrier(OURS, 1), "barrier 1"), (first, "group 0"), (third, "Gap"), (fourth, "Gap")])
        {
            assert_eq!(met(&mut log, offset, &record), expected);
        }
    }

    #[test]
    fn groups_of_keys_that_are_no_longer_trusted_are_told_before_anything_is_decided_again() {
        let mut log = log();
        for (offset, record) in (0..).zip([barrier("old", 1), group("old", 1, 0, "", "a"), claim(OURS, 1_000_000)]) {
            met(&mut log, offset, &record);
        }
        assert_eq!((log.barrier, log.unheard.0), (0, 1));
    }
}
