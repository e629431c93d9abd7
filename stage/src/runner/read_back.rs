//! Reading the own facts back: whether a newer owner has begun, or has claimed and gone away, and whether a snapshot may
//! be written.
//!
//! A snapshot counts for a log prefix. It is taken as a group is sealed, and written once that group is released and
//! the log, read back up to an end fetched after that release, shows no higher claim or barrier: then nobody's fences
//! can have come before the messages that the snapshot takes for landed.

use std::collections::BTreeMap;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use tidegate_protocol::address::{Offset, TopicPartition};
use tidegate_protocol::control::{Kind, SnapshotBody};
use tidegate_spine::{Ends, Landing, NewRecord, ReadHandle, SpineError, Start};

use super::live::{Live, RECORDS_PER_READ};
use super::snapshot::Chunks;
use super::takeover::micros;
use super::watch::Ended;
use crate::control::{Meta, meta};
use crate::spec::Pace;
use crate::stage::Stage;

type EndsFuture = BoxFuture<'static, Result<Vec<Ends>, SpineError>>;

/// A snapshot taken and not yet written.
pub(crate) struct Pending {
    /// Known once its group has landed.
    pub(crate) offset: Option<Offset>,
    /// Its state is elsewhere.
    pub(crate) body: SnapshotBody,
    pub(crate) state: String,
}

/// A snapshot that is being written, a chunk on its way at a time, and where inputs may be trimmed to after the next one.
struct Writing {
    chunks: Chunks,
    landing: Option<Landing>,
    trim: BTreeMap<TopicPartition, Offset>,
}

enum Step {
    Idle,
    Fetching(EndsFuture),
    Reading(Offset),
}

/// Reading back, and snapshots on their way.
pub(crate) struct ReadBack {
    /// Open only while it reads: an open log is fetched, and every group of our own would come back as it lands.
    handle: Option<ReadHandle>,
    position: Offset,
    term: u32,
    /// A higher claim was met, and when: what this owner takes for landed may be fenced.
    pub(crate) contested: Option<(u64, u64)>,
    step: Step,
    checked_mono: u64,
    pub(crate) pending: Option<Pending>,
    writing: Option<Writing>,
    slot: bool,
    old_keys: Vec<Bytes>,
    /// Where inputs may be trimmed to once the next snapshot has landed.
    trim_next: BTreeMap<TopicPartition, Offset>,
}

impl ReadBack {
    pub(crate) const fn new(
        position: Offset,
        term: u32,
        contested: Option<(u64, u64)>,
        old_keys: Vec<Bytes>,
        mono: u64,
    ) -> Self {
        Self {
            handle: None,
            position,
            term,
            contested,
            step: Step::Idle,
            checked_mono: mono,
            pending: None,
            writing: None,
            slot: false,
            old_keys,
            trim_next: BTreeMap::new(),
        }
    }

    /// When the timer must wake for the next one; `None` while one is under way.
    pub(crate) fn next_mono(&self, pace: &Pace) -> Option<u64> {
        matches!(self.step, Step::Idle).then(|| self.checked_mono.saturating_add(micros(pace.idle_read_back)))
    }

    /// Whether a snapshot may be taken now.
    pub(crate) const fn free(&self) -> bool {
        self.pending.is_none() && self.writing.is_none() && self.contested.is_none()
    }
}

impl<S: Stage> Live<'_, S> {
    /// Reads back when idle for long or when a snapshot waits for it; true when something happened.
    pub(crate) fn poll_read_back(&mut self, cx: &mut Context<'_>) -> Result<bool, Ended> {
        let mut progress = self.poll_snapshot_landing(cx)?;
        progress |= self.poll_checkpoint(cx)?;
        loop {
            match std::mem::replace(&mut self.read_back.step, Step::Idle) {
                Step::Idle => {
                    let ready = self.read_back.pending.as_ref().and_then(|p| p.offset);
                    let waits = ready.is_some_and(|offset| self.released >= Some(offset))
                        || (!self.run.rules.snapshot_of_prefix && self.read_back.pending.is_some());
                    let idle = self
                        .read_back
                        .next_mono(&self.run.spec.pace)
                        .is_none_or(|next| self.run.clock.mono_us() >= next);
                    let last = self.stopping.is_some() && self.has_unsaid_head();
                    if !waits && !idle && !last {
                        return Ok(progress);
                    }
                    self.take_checkpoint();
                    let (spine, facts) = (self.run.spine.clone(), self.run.spec.facts.clone());
                    self.read_back.step =
                        Step::Fetching(Box::pin(async move { spine.ends(std::slice::from_ref(&facts)).await }));
                }
                Step::Fetching(mut ends) => match ends.poll_unpin(cx) {
                    Poll::Pending => {
                        self.read_back.step = Step::Fetching(ends);
                        return Ok(progress);
                    }
                    Poll::Ready(Ok(ends)) => {
                        self.succeeded();
                        self.read_back.step = Step::Reading(ends.first().map_or(0, |e| e.end));
                    }
                    Poll::Ready(Err(_)) => {
                        self.read_back.checked_mono = self.run.clock.mono_us();
                        return Ok(progress);
                    }
                },
                Step::Reading(end) => {
                    if self.read_back.position < end && !self.read_own(cx)? {
                        self.read_back.step = Step::Reading(end);
                        return Ok(progress);
                    }
                    if self.read_back.position < end {
                        self.read_back.step = Step::Reading(end);
                        continue;
                    }
                    if let Some(handle) = self.read_back.handle.take() {
                        self.reader.close(handle);
                    }
                    self.read_back.checked_mono = self.run.clock.mono_us();
                    progress = true;
                    self.check_contested()?;
                    self.write_snapshot()?;
                    self.write_checkpoint()?;
                }
            }
        }
    }

    /// Reads some of the own log; false when nothing is here yet.
    fn read_own(&mut self, cx: &mut Context<'_>) -> Result<bool, Ended> {
        let mut batch = Vec::new();
        let (reader, facts, start) = (&mut self.reader, &self.run.spec.facts, Start::At(self.read_back.position));
        let handle = *self.read_back.handle.get_or_insert_with(|| reader.open(facts, start));
        let polled = self.reader.poll_read(handle, RECORDS_PER_READ, cx, &mut batch);
        let Poll::Ready(read) = polled else { return Ok(false) };
        self.read_back.position = read.map_err(Ended::Read)?.position;
        for record in batch {
            let Meta::Control { kind, sender, epoch: named } = meta(&record) else { continue };
            if sender != self.run.spec.sender.as_str() {
                continue;
            }
            let met = match kind {
                Kind::Barrier if named > self.epoch => match self.log.check_barrier(&record) {
                    Ok(()) => return Err(Ended::Superseded { by: named }),
                    Err(why) => Err(why),
                },
                Kind::Claim => self.log.meet_claim(&record, self.read_back.term),
                Kind::Barrier | Kind::Fence | Kind::Group | Kind::Snapshot | Kind::Term | Kind::Loss => continue,
            };
            match met {
                Ok(by) if by > self.epoch => {
                    let mono = self.run.clock.mono_us();
                    self.read_back.contested.get_or_insert((by, mono));
                }
                Ok(_) => {}
                Err(why) => {
                    crate::metrics::refused(&self.run.spec.sender, kind, why);
                    tracing::warn!(shard = %self.run.spec.sender, offset = record.offset, kind = kind.word(), %why, "a control record is not believed");
                }
            }
        }
        Ok(true)
    }

    /// A claimant that never wrote its barrier may have fenced outputs before it went away: messages sent since are
    /// dropped there although this owner's facts count. Only a new ownership emits them again.
    fn check_contested(&self) -> Result<(), Ended> {
        let patience = micros(self.run.spec.pace.idle_read_back);
        match self.read_back.contested {
            Some((by, since)) if self.run.clock.mono_us().saturating_sub(since) >= patience => {
                Err(Ended::Superseded { by })
            }
            _ => Ok(()),
        }
    }

    fn write_snapshot(&mut self) -> Result<(), Ended> {
        if self.read_back.contested.is_some() {
            self.read_back.pending = None;
            return Ok(());
        }
        let released = self.released;
        let whole = self.run.rules.snapshot_of_prefix;
        let may = |p: &Pending| if whole { p.offset.is_some_and(|o| released >= Some(o)) } else { p.offset.is_some() };
        if !self.read_back.pending.as_ref().is_some_and(may) {
            return Ok(());
        }
        let Some(Pending { offset: Some(offset), body, mut state }) = self.read_back.pending.take() else {
            return Ok(());
        };
        if !whole {
            // The planted bug: memory as it is now, which may hold facts that never land.
            state = self.stage.snapshot()?;
        }
        self.read_back.slot = !self.read_back.slot;
        let slot = if self.read_back.slot { 'a' } else { 'b' };
        let chunks = Chunks::new(self.epoch, slot, offset, &body, &state)?;
        let trim = body.places.iter().filter_map(|place| {
            let spec = self.run.spec.inputs.get(place.input as usize)?;
            spec.trim.then(|| (spec.partition.clone(), place.position))
        });
        let trim = trim.collect();
        self.read_back.writing = Some(Writing { chunks, landing: None, trim });
        Ok(())
    }

    /// One chunk after the other, so that groups never wait behind more than one of them.
    fn poll_snapshot_landing(&mut self, cx: &mut Context<'_>) -> Result<bool, Ended> {
        let Some(Writing { chunks, landing, .. }) = &mut self.read_back.writing else { return Ok(false) };
        let (sender, to) = (&self.run.spec.sender, self.run.spec.snapshots.partition(0));
        if let Some(under_way) = landing {
            let Poll::Ready(landed) = under_way.poll_unpin(cx) else { return Ok(false) };
            landed.map_err(Ended::Append)?;
            *landing = None;
        }
        if let Some(chunk) = chunks.next(sender, &*self.run.signer)? {
            *landing = Some(self.producer.append(&to, vec![chunk]));
            return Ok(true);
        }
        let Some(Writing { chunks, trim, .. }) = self.read_back.writing.take() else { return Ok(false) };
        let keys = chunks.keys(&self.run.spec.sender);
        crate::metrics::snapshot(&self.run.spec.sender);
        // Snapshots of earlier epochs are not needed any more; nobody waits for their removal.
        for key in std::mem::take(&mut self.read_back.old_keys) {
            if !keys.contains(&key) {
                drop(self.producer.append(&to, vec![NewRecord { key: Some(key), ..NewRecord::default() }]));
            }
        }
        for (partition, before) in std::mem::replace(&mut self.read_back.trim_next, trim) {
            if before > 0 {
                self.trim(partition, before);
            }
        }
        Ok(true)
    }
}
