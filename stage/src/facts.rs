//! Reading a facts log: which groups are valid, what is released, which claims are open.
//!
//! A group is valid if the highest barrier before it is of its own epoch (an owner writes its barrier before its first
//! group, so "no barrier of a higher epoch stands before it" is the same) and its sequence number is the next of its
//! epoch; a gap voids the rest of that epoch. A `released` mark counts only if no claim of a higher epoch stands before
//! it. Validity of a prefix depends on nothing behind it.

use serde::de::DeserializeOwned;
use tidegate_protocol::address::{Offset, TopicPartition};
use tidegate_protocol::control::{Claim, FactRecord, Group, Kind, epoch};
use tidegate_protocol::ids::SenderId;
use tidegate_spine::Record;

use crate::Rules;
use crate::control::{Meta, meta, value_hash};

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
    Group(Group<FactRecord<F>>),
    /// A group that does not count: of a former owner, behind a gap, or before its barrier.
    Void {
        /// Its epoch.
        epoch: u64,
        /// Why.
        why: Void,
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
    rules: Rules,
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
    pub const fn new(sender: SenderId, rules: Rules) -> Self {
        Self {
            sender,
            rules,
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
        let value = record.value.as_deref().unwrap_or_default();
        match kind {
            Kind::Claim => match serde_json::from_slice::<Claim>(value) {
                Ok(claim) => {
                    let opened = epoch(term, record.offset);
                    self.highest_claim = self.highest_claim.max(opened);
                    self.claims.push((opened, claim.outputs));
                    Ok(Met::Claim { epoch: opened })
                }
                Err(error) => Ok(Met::Foreign { why: error.to_string() }),
            },
            Kind::Barrier => {
                if named > self.barrier {
                    self.barrier = named;
                    self.next = Some(0);
                    self.claims.retain(|(epoch, _)| *epoch >= named);
                }
                Ok(Met::Barrier { epoch: named })
            }
            Kind::Group => self.meet_group(record.offset, value, named),
            Kind::Fence | Kind::Snapshot | Kind::Term => {
                Ok(Met::Foreign { why: format!("a {} does not belong in a facts log", kind.word()) })
            }
        }
    }

    fn meet_group<F: DeserializeOwned>(
        &mut self,
        offset: Offset,
        value: &[u8],
        named: u64,
    ) -> Result<Met<F>, BrokenChain> {
        if named < self.barrier {
            return Ok(Met::Void { epoch: named, why: Void::Superseded });
        }
        if named > self.barrier {
            return Ok(Met::Void { epoch: named, why: Void::Unannounced });
        }
        let group: Group<FactRecord<F>> = match serde_json::from_slice(value) {
            Ok(group) => group,
            Err(error) => {
                self.next = None;
                return Ok(Met::Foreign { why: error.to_string() });
            }
        };
        if self.next != Some(group.sequence) && self.rules.group_sequence {
            self.next = None;
            return Ok(Met::Void { epoch: named, why: Void::Gap });
        }
        if group.previous != self.head && self.rules.group_sequence {
            return Err(BrokenChain { sender: self.sender.clone(), offset });
        }
        self.next = Some(group.sequence + 1);
        self.head = value_hash(value);
        self.head_offset = Some(offset);
        if !group.inputs.is_empty() {
            self.inputs.clone_from(&group.inputs);
        }
        if named >= self.highest_claim || !self.rules.released_before_claim {
            self.released = self.released.max(group.released);
        }
        Ok(Met::Group(group))
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
