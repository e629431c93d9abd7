//! Verifying one facts partition, record by record.
//!
//! Which groups count is [`FactsLog`]'s to say, the code by which owners replay; what is asked here is what honest owners,
//! crashes, zombies and an honest spine can leave behind. They can leave: groups of former owners behind a newer barrier,
//! claims without a barrier, barriers that came too late, and a group that never landed, with the few behind it that then
//! count for nothing. They cannot leave a record that no key has signed, one that is there twice or out of its owner's
//! order, a barrier whose claim is gone, groups without their barrier, or a group whose predecessor is another. That is damage.
//!
//! A group that is missing is told from one that never landed by the next owner: its first group names the head its replay
//! found. Until then it is a [`Doubt`].

use std::sync::Arc;

use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use tidegate_protocol::address::{Offset, TopicPartition};
use tidegate_protocol::checkpoint::Checkpoint;
use tidegate_protocol::control::{Claim, FactRecord, Group, Kind, Mark};
use tidegate_protocol::ids::SenderId;
use tidegate_protocol::proof::Refused;
use tidegate_protocol::signature::Trust;
use tidegate_protocol::statements::GroupText;
use tidegate_spine::Record;
use tidegate_stage::Rules;
use tidegate_stage::control::{Meta, meta, value_hash};
use tidegate_stage::facts::{FactsLog, Met as Found, Void};

use crate::anchors::Anchors;
use crate::damage::{Damage, Wrong};
use crate::form;
use crate::owners::{Last, Owners};

/// Groups of one owner that may stand behind one that never landed: what was on its way with it. A runner has at most a
/// few; with more, the missing one was there.
const MOST_BEHIND_A_GAP: u64 = 8;

/// Bits of an epoch that are the claim's offset plus one ([`tidegate_protocol::control::epoch`]).
const OFFSET_BITS: u32 = 40;

/// The term of the log in which an epoch began.
pub(crate) const fn term_of(epoch: u64) -> u64 {
    epoch >> OFFSET_BITS
}

/// Where the claim of that epoch stands.
const fn claim_of(epoch: u64) -> Offset {
    (epoch & ((1 << OFFSET_BITS) - 1)).saturating_sub(1)
}

/// Which log it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogIdentity {
    /// Whose: `kernel.<source>/<partition>`.
    pub sender: SenderId,
    /// Where: the facts topic's full name, and the partition.
    pub facts: TopicPartition,
}

/// Where verifying began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Begin {
    /// At the log's first record.
    Start,
    /// At a checkpoint: what was before is gone, or not covered.
    Checkpoint {
        /// Of the group at this offset.
        offset: Offset,
    },
}

/// Why it cannot be said that all is well, although no record is bad.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Doubt {
    /// The log's start is gone.
    #[error(
        "the log starts at offset {start}, and no checkpoint says what stood before: verify with the checkpoints of that time, or an older dump"
    )]
    NoStart {
        /// Its first offset.
        start: Offset,
    },
    /// A group is missing at the end, and no later owner has said whether it ever landed.
    #[error(
        "offset {offset}: group {expected} of epoch {epoch} is not there, and no later owner says whether it ever landed: verify again when the shard has a new owner"
    )]
    OpenGap {
        /// The first group behind the gap.
        offset: Offset,
        /// Of this epoch.
        epoch: u64,
        /// The number that is missing.
        expected: u64,
    },
    /// Checkpoints speak of an earlier log of this name.
    #[error(
        "the log was made anew (its term is {term}): {checkpoints} checkpoints are of an earlier log, which is gone; if nobody of yours ran `topics apply` on a deleted topic, somebody deleted it"
    )]
    MadeAnew {
        /// The term now.
        term: u64,
        /// Checkpoints of earlier terms.
        checkpoints: u64,
    },
}

/// What was met.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Records, those before the first checkpoint included.
    pub records: u64,
    /// Of those: before the checkpoint that verifying began at.
    pub before: u64,
    /// Groups that count.
    pub groups: u64,
    /// Facts in them.
    pub facts: u64,
    /// Groups that do not count, as is right: of former owners, and behind one that never landed.
    pub void: u64,
    /// Claims, those that landed too late included.
    pub claims: u64,
    /// Barriers.
    pub barriers: u64,
    /// Checkpoints that the log was found to agree with.
    pub checkpoints: u64,
}

/// A record as it counts.
#[derive(Debug)]
pub enum Met<F> {
    /// Before the checkpoint that verifying began at.
    Before,
    /// A claim, or a barrier.
    Mark,
    /// A group that counts.
    Group(Box<Group<FactRecord<F>>>),
    /// A group that does not, as is right.
    Void {
        /// Its epoch.
        epoch: u64,
        /// Its number there.
        sequence: u64,
        /// Why.
        why: Void,
    },
}

/// A gap among the groups of one owner.
#[derive(Debug, Clone)]
struct Gap {
    offset: Offset,
    epoch: u64,
    expected: u64,
    behind: u64,
}

/// See the module. Of no use after the first damage.
#[derive(Debug, Clone)]
pub struct Verifier {
    identity: LogIdentity,
    log: FactsLog,
    dense: bool,
    start: Offset,
    begin: Begin,
    /// Every offset below was met.
    next: Offset,
    term: u64,
    former_terms: u64,
    owners: Owners,
    anchors: Anchors,
    /// The first one that is not settled.
    gap: Option<Gap>,
    /// That of the present owner, when it has one: a former owner's does not excuse what stands behind it.
    present_gap: Option<Gap>,
    counts: Counts,
}

impl Verifier {
    /// For a log whose first record stands at `start` (0: nothing of it is gone). `dense`: the spine numbers the records of
    /// a log without holes (Kafka's and the embedded spine's facts logs), so that a hole is a record taken out.
    ///
    /// # Errors
    /// [`Doubt::NoStart`].
    pub fn new(
        identity: LogIdentity,
        trust: Arc<dyn Trust>,
        start: Offset,
        mut anchors: Anchors,
        dense: bool,
    ) -> Result<Self, Doubt> {
        let mut log = FactsLog::new(identity.sender.clone(), identity.facts.clone(), trust, Rules::default());
        let (mut begin, mut owners, mut term, mut former_terms) = (Begin::Start, Owners::default(), 0, 0);
        if start > 0 {
            former_terms = anchors.keep_newest_term();
            let Some(first) = anchors.first().cloned() else { return Err(Doubt::NoStart { start }) };
            begin = Begin::Checkpoint { offset: first.offset };
            term = term_of(first.epoch);
            log.barrier = first.epoch;
            log.next = Some(first.sequence + 1);
            log.head.clone_from(&first.head);
            log.head_offset = Some(first.offset);
            owners.forget_before(first.epoch);
            let last = Last { sequence: first.sequence, hash: first.head, offset: first.offset };
            owners.announced(first.epoch).last = (first.offset < start).then_some(last);
            if first.offset < start {
                anchors.take_below(start);
            }
        }
        let counts = Counts::default();
        Ok(Self {
            identity,
            log,
            dense,
            start,
            begin,
            next: start,
            term,
            former_terms,
            owners,
            anchors,
            gap: None,
            present_gap: None,
            counts,
        })
    }

    /// Where verifying began.
    #[must_use]
    pub const fn begin(&self) -> Begin {
        self.begin
    }

    /// What was met so far.
    #[must_use]
    pub const fn counts(&self) -> Counts {
        self.counts
    }

    /// One above the last record met.
    #[must_use]
    pub const fn next(&self) -> Offset {
        self.next
    }

    /// The last group that counts: offset, epoch, hash.
    #[must_use]
    pub fn head(&self) -> Option<(Offset, u64, &str)> {
        self.log.head_offset.map(|offset| (offset, self.log.barrier, self.log.head.as_str()))
    }

    /// Takes the next record, in order.
    ///
    /// # Errors
    /// [`Damage`]: the first bad record.
    pub fn meet<F: DeserializeOwned>(&mut self, record: &Record) -> Result<Met<F>, Damage> {
        let offset = record.offset;
        if offset < self.next {
            return Err(Damage::new(
                offset,
                Wrong::Moved,
                format!("it stands behind offset {}", self.next.saturating_sub(1)),
            ));
        }
        if self.dense && offset > self.next {
            let last = offset - 1;
            let gone = if last == self.next {
                format!("record {last} is")
            } else {
                format!("records {} to {last} are", self.next)
            };
            return Err(Damage::new(self.next, Wrong::Missing, format!("{gone} not there")));
        }
        self.next = offset.saturating_add(1);
        self.counts.records += 1;
        if let Begin::Checkpoint { offset: first } = self.begin {
            if offset < first {
                self.counts.before += 1;
                return Ok(Met::Before);
            }
            if offset == first
                && let Some(header) = header(record)
            {
                // The checkpoint speaks for this group and so for the one before.
                self.log.next = Some(header.sequence);
                self.log.head = header.previous;
            }
        }
        let met = self.judge(record)?;
        self.hold_against_checkpoints(record, &met)?;
        Ok(met)
    }

    fn judge<F: DeserializeOwned>(&mut self, record: &Record) -> Result<Met<F>, Damage> {
        let offset = record.offset;
        let control = match meta(record) {
            Meta::Control { kind, sender, epoch } if sender == self.identity.sender.as_str() => Some((kind, epoch)),
            Meta::Control { .. } | Meta::Stamped { .. } | Meta::Foreign => None,
        };
        if let Some((kind @ (Kind::Claim | Kind::Barrier | Kind::Group), epoch)) = control
            && let Some(fault) = form::fault(record, kind, self.identity.sender.as_str(), epoch)
        {
            return Err(Damage::new(offset, Wrong::Edited, format!("{}: {fault}", kind.word())));
        }
        let claim = match control {
            Some((Kind::Claim, _)) => serde_json::from_slice::<Claim>(record.value.as_deref().unwrap_or_default()).ok(),
            _ => None,
        };
        let term = claim.as_ref().map_or(0, |claim| claim.term);
        let expected = self.log.next;
        let found = match self.log.meet::<F>(record, term) {
            Ok(found) => found,
            Err(_) => return Err(self.broken_chain(record)),
        };
        // Only those who write fences need them.
        self.log.claims.clear();
        match found {
            Found::Claim { epoch } => {
                self.counts.claims += 1;
                self.term = self.term.max(term_of(epoch));
                self.owners.claimed(epoch, hash_of(record));
                Ok(Met::Mark)
            }
            Found::Barrier { epoch } => self.meet_barrier(record, epoch),
            Found::Group(group) => {
                self.note(offset, group.epoch, group.sequence, hash_of(record));
                (self.gap, self.present_gap) = (None, None);
                self.counts.groups += 1;
                self.counts.facts += group.facts.len() as u64;
                Ok(Met::Group(group))
            }
            Found::Void { epoch, why } => self.meet_void(record, epoch, why, expected),
            Found::Refused { kind: Kind::Claim, why: Refused::Replayed }
                if !self.owners.knows_claim(&hash_of(record)) =>
            {
                // It landed too long after it was made; its owner has gone away by itself.
                self.counts.claims += 1;
                self.owners.claimed(0, hash_of(record));
                Ok(Met::Mark)
            }
            Found::Refused { kind, why } => Err(Damage::new(offset, why.into(), refusal(kind, why, record))),
            Found::Foreign { why } => {
                let readable = control.is_none_or(|(kind, _)| kind != Kind::Group);
                let wrong = if readable { Wrong::Foreign } else { Wrong::Unreadable };
                let detail = if readable {
                    format!("it does not belong to this log: {why}")
                } else {
                    format!("a fact cannot be read by this version: {why}")
                };
                Err(Damage::new(offset, wrong, detail))
            }
        }
    }

    fn meet_barrier<F>(&mut self, record: &Record, epoch: u64) -> Result<Met<F>, Damage> {
        let offset = record.offset;
        if self.owners.of(epoch).is_some() {
            return Err(Damage::new(
                offset,
                Wrong::WrittenAgain,
                format!("the barrier of epoch {epoch} is there already"),
            ));
        }
        let mark: Option<Mark> = serde_json::from_slice(record.value.as_deref().unwrap_or_default()).ok();
        // The first barriers ever written do not name it.
        let named = mark.and_then(|mark| mark.claim);
        let right = match (self.owners.claim(epoch), &named) {
            (Some(claim), Some(named)) => claim == named,
            (Some(_), None) => true,
            (None, _) => self.owners.may_have_forgotten(epoch) || claim_of(epoch) < self.covered_from(),
        };
        if !right {
            let wanted =
                format!("the claim that made epoch {epoch}, whose barrier is at {offset}, does not stand here");
            return Err(Damage::new(claim_of(epoch).min(offset), Wrong::Missing, wanted));
        }
        self.counts.barriers += 1;
        self.owners.announced(epoch);
        Ok(Met::Mark)
    }

    /// A genuine group that does not count: right as long as it stands in its owner's order.
    fn meet_void<F>(
        &mut self,
        record: &Record,
        epoch: u64,
        why: Void,
        expected: Option<u64>,
    ) -> Result<Met<F>, Damage> {
        let offset = record.offset;
        let header = header(record);
        let (sequence, previous) = header.map_or((0, String::new()), |header| (header.sequence, header.previous));
        let group = format!("group {sequence} of epoch {epoch}");
        if why == Void::Unannounced {
            return Err(Damage::new(
                offset,
                Wrong::Missing,
                format!("the barrier of epoch {epoch} is not before {group}"),
            ));
        }
        let known = self.owners.of(epoch).map(|owner| owner.last.clone());
        match known {
            None if !self.owners.may_have_forgotten(epoch) && claim_of(epoch) >= self.covered_from() => {
                return Err(Damage::new(
                    offset,
                    Wrong::Missing,
                    format!("the barrier of epoch {epoch} is not before {group}"),
                ));
            }
            Some(Some(last)) if sequence <= last.sequence => {
                let (wrong, verb) = if last.hash == hash_of(record) {
                    (Wrong::WrittenAgain, "is there already")
                } else {
                    (Wrong::Moved, "stands before it")
                };
                let mut gaps = self.gap.iter().chain(&self.present_gap);
                let gap = gaps.find(|gap| gap.epoch == epoch && gap.expected <= sequence);
                let first = gap.map_or(offset, |gap| gap.offset);
                return Err(Damage::new(
                    first,
                    wrong,
                    format!("{group} at {offset}: group {} of its owner {verb}", last.sequence),
                ));
            }
            Some(Some(last)) if sequence == last.sequence + 1 && previous != last.hash => {
                let detail = format!("{group} at {offset} follows another group than this one");
                return Err(Damage::new(last.offset, Wrong::Edited, detail));
            }
            None | Some(_) => {}
        }
        self.note(offset, epoch, sequence, hash_of(record));
        self.counts.void += 1;
        if why == Void::Gap {
            let own = self.present_gap.take().filter(|gap| gap.epoch == epoch);
            let mut own = own.unwrap_or(Gap { offset, epoch, expected: expected.unwrap_or(0), behind: 0 });
            own.behind += 1;
            if own.behind > MOST_BEHIND_A_GAP {
                return Err(missing(&own));
            }
            self.gap.get_or_insert_with(|| own.clone());
            self.present_gap = Some(own);
        }
        Ok(Met::Void { epoch, sequence, why })
    }

    fn note(&mut self, offset: Offset, epoch: u64, sequence: u64, hash: String) {
        let last = Some(Last { sequence, hash, offset });
        match self.owners.of(epoch) {
            Some(owner) => owner.last = last,
            None => self.owners.announced(epoch).last = last,
        }
    }

    /// A group that would count names another predecessor than the last that counts: which record is the bad one?
    fn broken_chain(&self, record: &Record) -> Damage {
        let offset = record.offset;
        let header = header(record);
        let (epoch, sequence, previous) =
            header.map_or((0, 0, String::new()), |header| (header.epoch, header.sequence, header.previous));
        if let Some(gap) = &self.gap {
            return missing(gap);
        }
        if sequence > 0 {
            let at = self.log.head_offset.unwrap_or(offset);
            return Damage::new(
                at,
                Wrong::Edited,
                format!("group {sequence} of epoch {epoch} at {offset} follows another group than this one"),
            );
        }
        match self.owners.last_with(&previous) {
            Some((former, at)) => {
                let detail = format!(
                    "the owner of epoch {epoch} found this group of epoch {former} to count, and it stands behind a newer barrier"
                );
                Damage::new(at, Wrong::Moved, detail)
            }
            None => {
                let head: String = previous.chars().take(16).collect();
                let detail = format!(
                    "the owner of epoch {epoch} found a head ({head}…) that is not the last group that counts before it: groups before this one were taken out or put in"
                );
                Damage::new(offset, Wrong::Missing, detail)
            }
        }
    }

    fn hold_against_checkpoints<F>(&mut self, record: &Record, met: &Met<F>) -> Result<(), Damage> {
        while let Some(checkpoint) = self.anchors.take_below(self.next) {
            if self.is_former(&checkpoint) {
                self.former_terms += 1;
                continue;
            }
            let says = says(&checkpoint);
            if checkpoint.offset < record.offset {
                return Err(Damage::new(checkpoint.offset, Wrong::Missing, format!("{says}; there is nothing")));
            }
            let same = match met {
                Met::Group(group) => {
                    (group.epoch, group.sequence) == (checkpoint.epoch, checkpoint.sequence)
                        && self.log.head == checkpoint.head
                }
                Met::Before | Met::Mark | Met::Void { .. } => false,
            };
            if !same {
                return Err(Damage::new(record.offset, Wrong::OtherHistory, format!("{says}; this is another record")));
            }
            self.counts.checkpoints += 1;
        }
        Ok(())
    }

    const fn is_former(&self, checkpoint: &Checkpoint) -> bool {
        term_of(checkpoint.epoch) < self.term
    }

    /// The first offset whose records were judged.
    const fn covered_from(&self) -> Offset {
        match self.begin {
            Begin::Start => self.start,
            Begin::Checkpoint { offset } => offset,
        }
    }

    /// At the log's end, which the spine (or the dump) says is `end`: whether anything is missing there, and whether all can
    /// be said. May be asked again after more records.
    ///
    /// # Errors
    /// [`Damage`].
    pub fn finish(&self, end: Offset) -> Result<Option<Doubt>, Damage> {
        if self.dense && self.next < end {
            let detail = format!("the log ends here, and must have records up to {}", end - 1);
            return Err(Damage::new(self.next, Wrong::CutTail, detail));
        }
        let (mut former, mut rest) = (self.former_terms, self.anchors.clone());
        while let Some(checkpoint) = rest.take_below(Offset::MAX) {
            if !self.is_former(&checkpoint) {
                return Err(Damage::new(
                    self.next,
                    Wrong::CutTail,
                    format!("the log ends here, and {}", says(&checkpoint)),
                ));
            }
            former += 1;
        }
        if let Some(Gap { offset, epoch, expected, .. }) = self.gap {
            return Ok(Some(Doubt::OpenGap { offset, epoch, expected }));
        }
        Ok((former > 0).then_some(Doubt::MadeAnew { term: self.term, checkpoints: former }))
    }
}

fn says(checkpoint: &Checkpoint) -> String {
    let Checkpoint { offset, epoch, sequence, .. } = checkpoint;
    format!("a checkpoint says that group {sequence} of epoch {epoch} stands at {offset}")
}

fn missing(gap: &Gap) -> Damage {
    let Gap { offset, epoch, expected, .. } = gap;
    Damage::new(*offset, Wrong::Missing, format!("before this record group {expected} of epoch {epoch} was taken out"))
}

fn header(record: &Record) -> Option<Group<IgnoredAny>> {
    serde_json::from_slice(&GroupText::read(record.value.as_deref()?)?.header()).ok()
}

fn hash_of(record: &Record) -> String {
    value_hash(record.value.as_deref().unwrap_or_default())
}

/// What is said of a control record that is not believed.
fn refusal(kind: Kind, why: Refused, record: &Record) -> String {
    let signed = tidegate_protocol::signature::Signed::read(record.value.as_deref().unwrap_or_default());
    let by = signed.map(|signed| format!(", by key `{}`", signed.key)).unwrap_or_default();
    format!("a {} is not believed{by}: {why}", kind.word())
}
