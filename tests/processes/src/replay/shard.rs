//! One shard: its facts from the log's start, against every snapshot that its owners ever wrote, and from its newest snapshot on.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidegate_protocol::address::Offset;
use tidegate_protocol::control::SnapshotBody;
use tidegate_protocol::signature::Trust;
use tidegate_protocol::time::Timestamp;
use tidegate_spine::Record;
use tidegate_stage::control::value_hash;
use tidegate_stage::replay::Replay;
use tidegate_stage::snapshots::{Complete, Snapshots};
use tidegate_stage::{Rules, ShardSpec, Stage};

/// What was compared of a shard, and what is not as it should be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Facts of valid groups.
    pub facts: u64,
    /// Snapshots compared.
    pub snapshots: u32,
    /// What is not as it should be.
    pub broken: Vec<String>,
}

/// What a snapshot says, the state by its hash: large ones are not all held.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Said {
    state: (String, usize),
    at: Timestamp,
    head: String,
    barrier: u64,
    sequence: (u64, u64),
}

fn hashed(state: &str) -> (String, usize) {
    (value_hash(state.as_bytes()), state.len())
}

impl Said {
    fn of(body: &SnapshotBody) -> Self {
        let SnapshotBody { head, sequence, barrier, at, state, .. } = body;
        Self { state: hashed(state.get()), at: *at, head: head.clone(), barrier: *barrier, sequence: *sequence }
    }

    /// Of what replay has come to.
    fn come<S: Stage>(replay: &mut Replay<'_, S>) -> Result<Self, serde_json::Error> {
        let (state, at) = replay.state()?;
        let log = replay.log();
        // After a gap nothing of the epoch counts.
        let sequence = (log.barrier, log.next.unwrap_or(u64::MAX));
        Ok(Self { state: hashed(&state), at, head: log.head.clone(), barrier: log.barrier, sequence })
    }
}

/// A shard's snapshots, read before its facts.
#[derive(Default)]
pub struct Written {
    open: Snapshots,
    said: BTreeMap<Offset, Vec<Said>>,
    newest: Option<((Offset, u64), SnapshotBody)>,
    broken: Vec<String>,
}

impl Written {
    /// Takes a record of the topic whose key is one of the shard's.
    pub fn meet(&mut self, spec: &ShardSpec, record: &Record, trust: &dyn Trust) {
        let (at, broken) = (record.offset, &mut self.broken);
        match self.open.meet(&spec.sender, record, Some(trust)) {
            Ok(None) => {}
            Err(why) => broken
                .push(format!("a chunk of a snapshot, {}@{at}, is not signed as it should be: {why}", spec.snapshots)),
            Ok(Some(Complete { offset, body: Err(error), .. })) => {
                broken.push(format!("the snapshot for {offset} cannot be read: {error}"));
            }
            Ok(Some(Complete { offset, epoch, body: Ok(body) })) => {
                self.said.entry(offset).or_default().push(Said::of(&body));
                if self.newest.as_ref().is_none_or(|(newest, _)| *newest <= (offset, epoch)) {
                    self.newest = Some(((offset, epoch), body));
                }
            }
        }
    }
}

/// A shard being judged.
pub struct Judged<'a, S: Stage> {
    spec: &'a ShardSpec,
    written: Written,
    whole: Replay<'a, S>,
    /// From the newest snapshot on, once its offset was met.
    rest: Option<Replay<'a, S>>,
    make: &'a dyn Fn() -> S,
    trust: Arc<dyn Trust>,
    outcome: Outcome,
}

impl<'a, S: Stage> Judged<'a, S> {
    /// Begins at the log's start, which is at offset `start`.
    pub fn begin(
        spec: &'a ShardSpec,
        make: &'a dyn Fn() -> S,
        trust: Arc<dyn Trust>,
        start: Offset,
        mut written: Written,
    ) -> Self {
        let mut outcome = Outcome { broken: std::mem::take(&mut written.broken), ..Outcome::default() };
        if start > 0 {
            outcome.broken.push(format!("its facts before {start} are gone: nobody can replay it from the start"));
        }
        let whole = Replay::new(spec, trust.clone(), Rules::default(), make());
        Self { spec, written, whole, rest: None, make, trust, outcome }
    }

    fn must(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.outcome.broken.push(what());
        }
    }

    /// Takes the next record of the facts log, whose term is `term`.
    ///
    /// # Errors
    /// When a state cannot be written.
    pub fn meet(&mut self, record: &Record, term: u32) -> anyhow::Result<()> {
        self.passed(record.offset);
        for replay in [Some(&mut self.whole), self.rest.as_mut()].into_iter().flatten() {
            if let Err(error) = replay.meet(record, term) {
                self.outcome.broken.push(error.to_string());
                return Ok(());
            }
        }
        let Some(said) = self.written.said.remove(&record.offset) else { return Ok(()) };
        let (offset, is_valid) = (record.offset, self.whole.log().head_offset == Some(record.offset));
        self.must(is_valid, || format!("a snapshot stands for {offset}, where no valid group is"));
        let come = Said::come(&mut self.whole)?;
        for said in said {
            self.outcome.snapshots += 1;
            self.must(said == come, || {
                format!("the snapshot for {offset} says {said:?}, replay from the start comes to {come:?}")
            });
        }
        if self.written.newest.as_ref().is_some_and(|((newest, _), _)| *newest == offset) {
            self.go_on_from_newest()?;
        }
        Ok(())
    }

    /// Snapshots for offsets below this one that no record had.
    fn passed(&mut self, next: Offset) {
        while let Some(entry) = self.written.said.first_entry().filter(|entry| *entry.key() < next) {
            let offset = *entry.key();
            entry.remove();
            self.must(false, || format!("a snapshot stands for {offset}, where no record is"));
        }
    }

    fn go_on_from_newest(&mut self) -> anyhow::Result<()> {
        let Some(((offset, _), body)) = self.written.newest.take() else { return Ok(()) };
        let mut rest = Replay::new(self.spec, self.trust.clone(), Rules::default(), (self.make)());
        if let Err(error) = rest.restore(offset, &body) {
            self.must(false, || format!("the snapshot for {offset} cannot be restored: {error}"));
            return Ok(());
        }
        let (again, said) = (Said::come(&mut rest)?, Said::of(&body));
        self.must(again == said, || format!("the snapshot for {offset} says {said:?}, and restored it says {again:?}"));
        self.rest = Some(rest);
        Ok(())
    }

    /// The log has been read to its end.
    ///
    /// # Errors
    /// When a state cannot be written.
    pub fn end(mut self) -> anyhow::Result<Outcome> {
        self.passed(Offset::MAX);
        let whole = Said::come(&mut self.whole)?;
        if let Some(mut rest) = self.rest.take() {
            let rest = Said::come(&mut rest)?;
            self.must(rest == whole, || {
                format!(
                    "from its newest snapshot on replay comes to {rest:?} at the log's end, from the start to {whole:?}"
                )
            });
        }
        self.outcome.facts = self.whole.facts();
        Ok(self.outcome)
    }
}
