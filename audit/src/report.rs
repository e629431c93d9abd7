//! What became of an audit, as data; the command line prints it.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Serialize, Serializer};
use tidegate_protocol::address::{Offset, TopicPartition};
use tidegate_protocol::ids::SourceName;
use tidegate_protocol::signature::Trust;
use tidegate_spine::Record;
use tidegate_stage::facts::Void;

use crate::anchors::Anchors;
use crate::damage::Damage;
use crate::verifier::{Begin, Counts, Doubt, LogIdentity, Met, Verifier};

/// Void groups that are named one by one; the rest is counted.
const VOID_NAMED: usize = 100;

/// What is said of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Every record is what was written, from where verifying began to the end.
    Verified,
    /// No record is bad, and something is not known; it says what.
    CannotSay,
    /// A record is bad; it says which and how.
    Tampered,
}

impl Verdict {
    /// The word used in output.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::CannotSay => "cannot say",
            Self::Tampered => "tampered",
        }
    }
}

/// A group that does not count, as is right.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VoidGroup {
    /// Where it stands.
    pub offset: Offset,
    /// Its owner's epoch.
    pub epoch: u64,
    /// Its number there.
    pub sequence: u64,
    /// `former_owner`, or `gap`: a group before it never landed.
    pub why: &'static str,
}

/// One partition.
#[derive(Debug, Clone, Serialize)]
pub struct PartitionReport {
    /// The source whose decisions they are.
    pub source: SourceName,
    /// Its partition of the facts topic.
    #[serde(serialize_with = "as_text")]
    pub log: TopicPartition,
    /// What is said of it.
    pub verdict: Verdict,
    /// Where verifying began; absent when it could not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub begin: Option<Begin>,
    /// One above the last record that is there.
    pub end: Offset,
    /// What was met.
    #[serde(flatten)]
    pub counts: Counts,
    /// The last group that counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head: Option<Head>,
    /// The highest checkpoint it was held against: behind it a cut would not be noticed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_checkpoint: Option<Offset>,
    /// Groups that do not count, the first hundred.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub void_groups: Vec<VoidGroup>,
    /// The first bad record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub damage: Option<Damage>,
    /// Why nothing can be said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub doubt: Option<String>,
}

/// The head of a chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Head {
    /// Offset of the group.
    pub offset: Offset,
    /// Epoch of its owner.
    pub epoch: u64,
    /// SHA-256 of its value, hex.
    pub hash: String,
}

/// A checkpoint that is not believed: somebody else wrote it, or changed it.
#[derive(Debug, Clone, Serialize)]
pub struct BadCheckpoint {
    /// The partition of `audit.checkpoints`, or the file.
    pub at: String,
    /// Its offset there, or the number of its line.
    pub place: u64,
    /// The kind of damage, as a word.
    pub wrong: &'static str,
    /// Why.
    pub detail: String,
}

/// All that was looked at.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The worst of all.
    pub verdict: Verdict,
    /// Every partition.
    pub partitions: Vec<PartitionReport>,
    /// Checkpoints that are not believed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub bad_checkpoints: Vec<BadCheckpoint>,
}

impl Report {
    /// Of these parts. Nothing looked at is nothing verified.
    #[must_use]
    pub fn new(partitions: Vec<PartitionReport>, bad_checkpoints: Vec<BadCheckpoint>) -> Self {
        let worst = partitions.iter().map(|partition| partition.verdict).max().unwrap_or(Verdict::CannotSay);
        let verdict = if bad_checkpoints.is_empty() { worst } else { Verdict::Tampered };
        Self { verdict, partitions, bad_checkpoints }
    }
}

fn as_text<S: Serializer>(partition: &TopicPartition, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(partition)
}

/// The audit of one partition under way.
#[derive(Debug)]
pub struct PartitionAudit {
    source: SourceName,
    log: TopicPartition,
    verifier: Result<Verifier, Doubt>,
    last_checkpoint: Option<Offset>,
    void: Vec<VoidGroup>,
    damage: Option<Damage>,
}

impl PartitionAudit {
    /// See [`Verifier::new`].
    #[must_use]
    pub fn new(
        source: SourceName,
        log: LogIdentity,
        trust: Arc<dyn Trust>,
        start: Offset,
        anchors: Anchors,
        dense: bool,
    ) -> Self {
        let last_checkpoint = anchors.last().map(|last| last.offset);
        let at = log.facts.clone();
        let verifier = Verifier::new(log, trust, start, anchors, dense);
        Self { source, log: at, verifier, last_checkpoint, void: Vec::new(), damage: None }
    }

    /// Whether more records would change anything.
    #[must_use]
    pub const fn goes_on(&self) -> bool {
        self.verifier.is_ok() && self.damage.is_none()
    }

    /// Takes the next record; how it counts, or nothing once nothing counts any more.
    pub fn meet<F: DeserializeOwned>(&mut self, record: &Record) -> Option<Met<F>> {
        let verifier = self.verifier.as_mut().ok().filter(|_| self.damage.is_none())?;
        match verifier.meet(record) {
            Ok(met) => {
                if let Met::Void { epoch, sequence, why } = &met
                    && self.void.len() < VOID_NAMED
                {
                    let why = match why {
                        Void::Superseded | Void::Unannounced => "former_owner",
                        Void::Gap => "gap",
                    };
                    self.void.push(VoidGroup { offset: record.offset, epoch: *epoch, sequence: *sequence, why });
                }
                Some(met)
            }
            Err(damage) => {
                self.damage = Some(damage);
                None
            }
        }
    }

    /// What is said of it, when the log ends at `end`.
    #[must_use]
    pub fn report(&self, end: Offset) -> PartitionReport {
        let (mut damage, mut doubt) = (self.damage.clone(), None);
        match &self.verifier {
            Ok(verifier) if damage.is_none() => match verifier.finish(end) {
                Ok(found) => doubt = found.map(|doubt| doubt.to_string()),
                Err(found) => damage = Some(found),
            },
            Ok(_) => {}
            Err(unknown) => doubt = Some(unknown.to_string()),
        }
        let verdict = match (&damage, &doubt) {
            (Some(damage), _) if damage.wrong.is_tampering() => Verdict::Tampered,
            (None, None) => Verdict::Verified,
            (Some(_), _) | (None, Some(_)) => Verdict::CannotSay,
        };
        let verifier = self.verifier.as_ref().ok();
        PartitionReport {
            source: self.source.clone(),
            log: self.log.clone(),
            verdict,
            begin: verifier.map(Verifier::begin),
            end,
            counts: verifier.map(Verifier::counts).unwrap_or_default(),
            head: verifier.and_then(Verifier::head).map(|(offset, epoch, hash)| Head {
                offset,
                epoch,
                hash: hash.to_owned(),
            }),
            last_checkpoint: self.last_checkpoint,
            void_groups: self.void.clone(),
            damage,
            doubt,
        }
    }
}
