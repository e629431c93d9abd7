//! Reading a facts log as `models/takeover.py` does: which groups count.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail};
use serde::Deserialize;
use serde::de::IgnoredAny;
use sha2::{Digest as _, Sha256};

use super::position::Position;
use crate::broker::Met;

/// What the ledger needs of a group.
#[derive(Debug, Deserialize)]
struct Group {
    epoch: u64,
    sequence: u64,
    previous: String,
    #[serde(default)]
    inputs: Vec<Input>,
    #[serde(default)]
    facts: Vec<Numbered>,
}

#[derive(Debug, Clone, Deserialize)]
struct Input {
    topic: String,
    partition: u32,
}

#[derive(Debug, Deserialize)]
struct Numbered {
    #[serde(rename = "in", default)]
    settles: Option<(usize, u64)>,
    fact: Fact,
}

/// Where a record stands: topic, partition, offset.
pub type At = (String, u32, u64);

/// A fact, and the record that it settles.
#[derive(Debug)]
pub struct Said {
    /// The fact.
    pub fact: Fact,
    /// That record; `None` when it settles none.
    pub settles: Option<At>,
}

/// What the ledger needs of a fact.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fact {
    /// Kernel.
    PolicyAdopted(IgnoredAny),
    /// Kernel: of limits.
    SliceRequested(IgnoredAny),
    /// Kernel: of limits.
    SliceGranted(IgnoredAny),
    /// Kernel: of limits.
    SliceReturned(IgnoredAny),
    /// Kernel: of limits.
    SpendSettled(IgnoredAny),
    /// Kernel: of limits.
    OutcomePassedOn(IgnoredAny),
    /// Kernel: a verdict.
    JobDecided {
        /// The job.
        job: Named,
        /// The decision.
        decision: Decided,
    },
    /// Kernel: the same record again.
    JobRepeated {
        /// This record.
        source: Position,
        /// The one decided.
        duplicate_of: Position,
    },
    /// Kernel: no job.
    RecordRejected {
        /// This record.
        source: Position,
        /// Why.
        reason: String,
        /// The job, when it ends with a `finished`.
        #[serde(default)]
        job: Option<IgnoredAny>,
    },
    /// Scheduler.
    WorkerWelcomed(IgnoredAny),
    /// Scheduler: a worker's number is not above the one that its name has.
    WorkerOutrun(IgnoredAny),
    /// Scheduler: a lease.
    LeaseGranted {
        /// The job.
        source: Position,
        /// Its token.
        token: Token,
        /// Who has it.
        #[serde(default)]
        worker: Box<str>,
    },
    /// Scheduler: a lease ended without result.
    LeaseExpired {
        /// The job.
        source: Position,
        /// Its token.
        token: Token,
        /// Why, as a word.
        end: String,
    },
    /// Scheduler: a leased job is to stop.
    CancelAsked(IgnoredAny),
    /// Scheduler: a job that is elsewhere is called off.
    WithdrawalKept(IgnoredAny),
    /// Scheduler: an attempt failed, another follows.
    JobRetried {
        /// The job.
        source: Position,
    },
    /// Scheduler: a later start.
    JobDelayed(IgnoredAny),
    /// Scheduler.
    WithdrawalMoved(IgnoredAny),
    /// Scheduler: its time has come.
    JobDue(IgnoredAny),
    /// Scheduler: the end.
    JobFinished {
        /// The job.
        source: Position,
        /// How.
        outcome: String,
        /// Whose result ended it.
        #[serde(default)]
        by: Option<Holder>,
    },
    /// Scheduler.
    ResultRepeated(IgnoredAny),
    /// Scheduler: a result that is not believed, or a job that its worker lists and no longer has.
    ResultRefused {
        /// The job.
        source: Position,
        /// Who said so.
        by: Holder,
        /// Why, as a word.
        reason: String,
    },
    /// Scheduler: the second live record of a job.
    JobDuplicate {
        /// This record.
        source: Position,
    },
    /// Scheduler.
    JobMoved(IgnoredAny),
    /// Scheduler: a job whose ticket expired went back to its kernel.
    JobReturned {
        /// The job.
        source: Position,
    },
    /// Scheduler: a record on `approved` that is no allowed job.
    WorkRefused {
        /// Why, as a word.
        reason: String,
        /// Why.
        detail: String,
    },
    /// Scheduler.
    WorkerForgotten(IgnoredAny),
    /// Scheduler.
    WorkerCordoned(IgnoredAny),
    /// Scheduler.
    WorkerUncordoned(IgnoredAny),
    /// Scheduler.
    PoolCommandRefused(IgnoredAny),
}

/// A job by its position.
#[derive(Debug, Deserialize)]
pub struct Named {
    /// Its record.
    pub source: Position,
}

/// A decision by its verdict.
#[derive(Debug, Deserialize)]
pub struct Decided {
    /// `allow` or `deny`.
    pub verdict: String,
}

/// A fencing token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub struct Token {
    /// Epoch of the granting owner.
    pub epoch: u64,
    /// Number of the lease.
    pub attempt: u32,
}

/// Who held a lease.
#[derive(Debug, Deserialize)]
pub struct Holder {
    /// Its token.
    pub token: Token,
}

/// What became of a record of a facts log.
#[derive(Debug)]
pub enum Counted {
    /// These facts stand in a valid group.
    Valid(Vec<Said>),
    /// These do not: the group counts for nothing.
    Void(Vec<Said>),
    /// A control record.
    Control,
}

/// One facts partition, read from its start.
#[derive(Debug, Default)]
pub struct FactsLog {
    highest: u64,
    following: BTreeMap<u64, Option<u64>>,
    head: String,
    /// What facts call inputs by number: said by an owner's first group.
    inputs: Vec<Input>,
    claims: Vec<u64>,
    term: Option<u64>,
    /// Owners that wrote a barrier of a new highest epoch.
    pub owners: u32,
    /// Groups behind a barrier of a higher epoch.
    pub superseded: u64,
    /// Groups behind a gap.
    pub gaps: u64,
    /// Valid groups.
    pub groups: u64,
}

impl FactsLog {
    /// Takes the next record.
    ///
    /// # Errors
    /// When it cannot be what an owner writes: no runner wrote it, the chain of hashes breaks, an epoch has no claim.
    pub fn meet(&mut self, met: &Met) -> anyhow::Result<Counted> {
        let value = met.value.as_deref().context("a null value in a facts log")?;
        match met.header("tg-kind") {
            Some("claim") => {
                self.claims.push(met.offset);
                Ok(Counted::Control)
            }
            Some("barrier") => {
                let epoch = met.number("tg-epoch").context("a barrier without epoch")?;
                // Minted from the log: the term, which only `topics apply` raises, above the claim's offset + 1.
                let (term, after) = (epoch >> 40, epoch & ((1 << 40) - 1));
                if !self.claims.iter().any(|claim| claim + 1 == after) || *self.term.get_or_insert(term) != term {
                    bail!("a barrier of epoch {epoch}, for which no claim stands before it");
                }
                if self.owners == 0 || epoch > self.highest {
                    self.highest = epoch;
                    self.owners += 1;
                }
                Ok(Counted::Control)
            }
            Some("group") => {
                let group: Group = serde_json::from_slice(value).context("a group that cannot be read")?;
                if met.number("tg-epoch") != Some(group.epoch) {
                    bail!("a group of epoch {} whose header says another", group.epoch);
                }
                let unnamed = |said: Numbered| Said { fact: said.fact, settles: None };
                if group.epoch < self.highest {
                    self.superseded += 1;
                    return Ok(Counted::Void(group.facts.into_iter().map(unnamed).collect()));
                }
                if *self.following.entry(group.epoch).or_insert(Some(0)) != Some(group.sequence) {
                    self.following.insert(group.epoch, None);
                    self.gaps += 1;
                    return Ok(Counted::Void(group.facts.into_iter().map(unnamed).collect()));
                }
                self.following.insert(group.epoch, Some(group.sequence + 1));
                if group.previous != self.head {
                    bail!("a valid group that does not name the valid group before it");
                }
                self.head = hex::encode(Sha256::digest(value));
                self.groups += 1;
                if !group.inputs.is_empty() {
                    self.inputs = group.inputs;
                }
                let named = |Numbered { settles, fact }| {
                    let at = settles.and_then(|(number, offset): (usize, u64)| {
                        self.inputs.get(number).map(|input| (input.topic.clone(), input.partition, offset))
                    });
                    Said { fact, settles: at }
                };
                Ok(Counted::Valid(group.facts.into_iter().map(named).collect()))
            }
            kind => bail!("a record of kind {kind:?} in a facts log"),
        }
    }
}
