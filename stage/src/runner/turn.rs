//! One turn: what landed, what arrived, what is due, what can be sealed.

use std::collections::BTreeMap;
use std::task::{Context, Poll};

use futures::{FutureExt, StreamExt};
use tidegate_protocol::address::{Offset, TopicPartition};
use tidegate_protocol::control::{Kind, SnapshotBody};
use tidegate_protocol::headers;
use tidegate_protocol::ids::SenderId;
use tidegate_protocol::proof::{Checker, Refused, Said};
use tidegate_protocol::signature::{Distrust, stage_of};
use tidegate_spine::Record;

use super::group::{Building, Flying, Header, Sending};
use super::live::{Live, LiveInput, RECORDS_PER_READ};
use super::read_back::Pending;
use super::takeover::micros;
use super::watch::{Ended, Reached, ShardEvent};
use crate::control::{Meta, check_mark, control_record, meta, value_hash, written_ms};
use crate::message::Outbox;
use crate::metrics;
use crate::place::Admission;
use crate::spec::{InputKind, Writers};
use crate::stage::{Arrival, Decision, Input, InputRef, Signal, Stage};

/// How long a stop waits for what was decided to land.
const STOP_WITHIN: std::time::Duration = std::time::Duration::from_secs(10);
/// How often figures and positions are published.
const PUBLISH_EVERY: std::time::Duration = std::time::Duration::from_secs(1);

impl<S: Stage> Live<'_, S> {
    /// True when something happened and another turn may find more.
    pub(crate) fn turn(&mut self, cx: &mut Context<'_>) -> Result<bool, Ended> {
        self.at = self.time.now(self.run.clock.as_ref());
        let mut progress = self.poll_flying(cx)?;
        progress |= self.poll_sending(cx)?;
        if self.stopping.is_none() && self.run.stop.poll_unpin(cx).is_ready() {
            self.stopping = Some(self.run.clock.mono_us().saturating_add(micros(STOP_WITHIN)));
        }
        if self.stopping.is_none() {
            while let Poll::Ready(Some(signal)) = self.run.signals.poll_next_unpin(cx) {
                self.stage.observe(Signal::Outside(signal), self.at);
                progress = true;
            }
            let mut arrived = self.poll_inputs(InputKind::Control, cx)?;
            arrived |= self.poll_due(cx)?;
            arrived |= self.poll_inputs(InputKind::Jobs, cx)?;
            if arrived || progress {
                self.poll_stage()?;
                self.bound_places()?;
            }
            progress |= arrived;
            self.publish();
        }
        progress |= self.seal_when_due()?;
        progress |= self.poll_read_back(cx)?;
        match self.stopping {
            Some(deadline) if self.is_drained() || self.run.clock.mono_us() >= deadline => Err(Ended::Stopped),
            _ => Ok(progress),
        }
    }

    fn is_drained(&self) -> bool {
        let unsaid = self.has_unsaid() || self.owes_checkpoint();
        self.building.facts == 0 && self.flying.is_empty() && self.sending.is_empty() && !unsaid
    }

    /// Whether a released group is not yet said to be. A group that moved nothing never needs saying: else every group
    /// that says so would call for the next.
    fn has_unsaid(&self) -> bool {
        self.to_say > self.said_released
    }

    /// Groups land in order; a landed group's messages go out.
    fn poll_flying(&mut self, cx: &mut Context<'_>) -> Result<bool, Ended> {
        let mut progress = false;
        while let Some(flying) = self.flying.front_mut() {
            let Poll::Ready(landed) = flying.landing.poll_unpin(cx) else { break };
            let offset = landed.map_err(Ended::Append)?.first;
            let Some(Flying { settles, messages, submitted_ms, tally, hash, sequence, snapshot, .. }) =
                self.flying.pop_front()
            else {
                break;
            };
            self.succeeded();
            self.log.head = hash;
            self.log.head_offset = Some(offset);
            self.log.next = Some(sequence + 1);
            if snapshot && let Some(pending) = &mut self.read_back.pending {
                pending.offset = Some(offset);
            }
            metrics::landed(&self.run.spec.sender, &submitted_ms, self.run.clock.wall_us(), &tally);
            self.sending.push_back(Sending::new(offset, messages, settles, submitted_ms));
            self.hand_over()?;
            progress = true;
        }
        Ok(progress)
    }

    /// Hands messages of landed groups over, in order, for as long as the client may hold more.
    pub(crate) fn hand_over(&mut self) -> Result<(), Ended> {
        let most = self.run.spec.pace.message_bytes;
        for sending in self.sending.iter_mut().filter(|sending| !sending.unsent.is_empty()) {
            let room = most.saturating_sub(self.handed_bytes);
            if room == 0 {
                break;
            }
            let landings = self.sender.send(self.producer.as_mut(), sending.group, &mut sending.unsent, room)?;
            self.handed_bytes += landings.iter().map(|(_, bytes)| bytes).sum::<usize>();
            sending.landings.extend(landings);
        }
        Ok(())
    }

    /// A group whose messages have all landed is released, in order.
    fn poll_sending(&mut self, cx: &mut Context<'_>) -> Result<bool, Ended> {
        let mut progress = false;
        while let Some(sending) = self.sending.front_mut() {
            while let Some((landing, bytes)) = sending.landings.front_mut() {
                match landing.poll_unpin(cx) {
                    Poll::Pending => return Ok(progress),
                    Poll::Ready(landed) => landed.map_err(Ended::Append)?,
                };
                self.handed_bytes -= *bytes;
                self.owed_bytes -= *bytes;
                sending.landings.pop_front();
                progress = true;
            }
            if !sending.unsent.is_empty() {
                self.hand_over()?;
                continue;
            }
            let Some(Sending { group, speaks, settles, submitted_ms, .. }) = self.sending.pop_front() else { break };
            self.released = Some(group);
            if speaks || !settles.is_empty() {
                self.to_say = Some(group);
            }
            for InputRef { input, offset } in settles {
                if let Some(input) = self.inputs.get_mut(input as usize) {
                    input.place.settle(offset);
                }
            }
            metrics::released(&self.run.spec.sender, &submitted_ms, self.run.clock.wall_us());
            progress = true;
        }
        Ok(progress)
    }

    /// Whether another input may be decided now: groups and messages on their way are bounded. Nothing is decided
    /// while somebody else's higher claim is known: `released` does not count any more, so all of it would be said again.
    pub(crate) fn has_room(&self) -> bool {
        let pace = &self.run.spec.pace;
        self.building.facts < pace.group_facts as u64
            && self.building.bytes.len() < pace.group_bytes
            && self.owed_bytes < pace.message_bytes
            && self.read_back.contested.is_none()
    }

    fn poll_inputs(&mut self, kind: InputKind, cx: &mut Context<'_>) -> Result<bool, Ended> {
        let mut progress = false;
        for number in 0..self.inputs.len() {
            if self.inputs.get(number).is_none_or(|i| i.kind != kind) || !self.wants(number) || !self.has_room() {
                continue;
            }
            let Some(input) = self.inputs.get_mut(number) else { continue };
            if input.arrived.is_empty() {
                match self.reader.poll_read(input.handle, RECORDS_PER_READ, cx, &mut self.batch) {
                    Poll::Pending => continue,
                    Poll::Ready(read) => input.reached = read.map_err(Ended::Read)?.position,
                }
                input.arrived.extend(self.batch.drain(..));
            }
            self.take_arrived(number)?;
            progress = true;
        }
        Ok(progress)
    }

    /// Decides what was read for as long as there is room.
    fn take_arrived(&mut self, number: usize) -> Result<(), Ended> {
        while self.has_room() && self.wants(number) {
            let arrived = self.inputs.get_mut(number).and_then(|input| input.arrived.pop_front());
            let Some(record) = arrived else { break };
            self.arrive(number, &record)?;
        }
        // Also when the last one filled the room: whoever waits for this end must not wait for the next record.
        if let Some(input) = self.inputs.get_mut(number).filter(|input| input.arrived.is_empty()) {
            input.place.reached(input.reached);
        }
        self.tell_read_again(number);
        Ok(())
    }

    /// Tells the stage when what owners before have read of an input is known again.
    fn tell_read_again(&mut self, number: usize) {
        let Some(input) = self.inputs.get_mut(number) else { return };
        let next = input.arrived.front().map_or(input.reached, |record| record.offset);
        if input.again.is_some_and(|end| next >= end) {
            input.again = None;
            let left = self.inputs.iter().filter(|input| input.again.is_some()).count();
            self.stage.observe(Signal::ReadAgain { left }, self.at);
        }
    }

    /// Whether a job input is to be read, telling the reader when that changes.
    fn wants(&mut self, number: usize) -> bool {
        let pace = &self.run.spec.pace;
        let Some(input) = self.inputs.get_mut(number) else { return false };
        if input.kind == InputKind::Control {
            return true;
        }
        let admitted = u32::try_from(number).is_ok_and(|n| self.stage.admits(n));
        // With more that waits than this, making way would move jobs round and round behind each other.
        let few = (input.place.waiting() as u64) < (pace.place_distance / 2).max(1);
        let wanted = admitted && few && input.place.distance() < pace.place_distance.saturating_mul(2);
        if wanted == input.paused {
            input.paused = !wanted;
            if wanted {
                self.reader.resume(input.handle);
            } else {
                self.reader.pause(input.handle);
            }
        }
        wanted
    }

    fn arrive(&mut self, number: usize, record: &Record) -> Result<(), Ended> {
        self.reads_since_seal += 1;
        self.records += 1;
        let (Some(input), Some(spec)) = (self.inputs.get_mut(number), self.run.spec.inputs.get(number)) else {
            return Ok(());
        };
        let genuine = match spec.writers {
            Writers::Stages(writers) if self.run.rules.signatures => {
                genuine(&mut self.checker, writers, &spec.partition, record)
            }
            Writers::Stages(_) | Writers::Anyone => Ok(()),
        };
        let (sender, refused) = match input.place.meet(record, genuine) {
            Admission::Skip => return Ok(()),
            Admission::Drop(why) => {
                metrics::dropped(&self.run.spec.sender, why);
                return Ok(());
            }
            Admission::Refuse(why) => {
                metrics::dropped(&self.run.spec.sender, why);
                (None, why.refusal())
            }
            Admission::Deliver(sender) => (sender, None),
        };
        let mark = sender.and_then(|(n, stamp)| Some((input.place.marks().senders().get(n)?.sender.clone(), stamp)));
        let partition: TopicPartition = spec.partition.clone();
        let at = InputRef { input: u32::try_from(number).unwrap_or(u32::MAX), offset: record.offset };
        let sender = mark.as_ref().map(|(sender, stamp)| (sender, *stamp));
        let arrival = Arrival { at, partition: &partition, record, sender };
        if let Some(reason) = refused {
            return self.decide(&Input::Refused(arrival, reason), Some((at, record)));
        }
        self.stage.observe(Signal::Arrived(arrival), self.at);
        self.decide(&Input::Record(arrival), Some((at, record)))
    }

    /// Asks the stage, applies its facts, gathers facts and messages for the next group.
    pub(crate) fn decide(&mut self, input: &Input<'_>, present: Option<(InputRef, &Record)>) -> Result<(), Ended> {
        let mut decision = Decision::default();
        self.stage.decide(input, self.at, &mut decision);
        let waits = decision.waits;
        let own = present.map(|(at, _)| at);
        let mut settled = decision.facts.iter().any(|(_, settles)| settles.is_some() && *settles == own);
        // Facts of a record that is done with settle it together, whichever of them is free to say so.
        if !waits
            && !settled
            && own.is_some()
            && let Some((_, settles)) = decision.facts.iter_mut().rev().find(|(_, settles)| settles.is_none())
        {
            *settles = own;
            settled = true;
        }
        if waits
            && !settled
            && !decision.facts.is_empty()
            && let Some(at) = own
            && let Some(input) = self.inputs.get_mut(at.input as usize)
        {
            input.place.held(at.offset);
        }
        for (fact, settles) in decision.facts {
            self.stage.apply(&fact, self.at);
            self.fact_at = self.at;
            let record = present.filter(|(at, _)| settles == Some(*at)).map(|(_, record)| record);
            let number = self.building.push(&fact, self.at, settles)?;
            if let Some(InputRef { input, offset }) = settles
                && let Some(input) = self.inputs.get_mut(input as usize)
            {
                input.place.decided(offset);
            }
            let mut outbox = Outbox::new();
            self.stage.emit(&fact, self.at, record.filter(|_| self.stage.needs_input(&fact)), &mut outbox);
            self.owed_bytes += outbox.messages.iter().map(crate::Message::bytes).sum::<usize>();
            self.building.messages.extend(outbox.messages.into_iter().map(|m| (number, m)));
            S::tally(&fact, &mut |name, label, value| self.building.tally.push((name, label, value)));
            self.facts_since_snapshot += 1;
            if let Some((at, record)) = present
                && settles == Some(at)
                && self.inputs.get(at.input as usize).is_some_and(|i| i.kind == InputKind::Jobs)
            {
                self.building.submitted_ms.push(record.timestamp_ms);
            }
        }
        if !waits
            && !settled
            && let Some(at) = own
            && let Some(input) = self.inputs.get_mut(at.input as usize)
        {
            input.place.settle(at.offset);
        }
        Ok(())
    }

    /// Lets the stage go on by itself for as long as it has facts to give.
    fn poll_stage(&mut self) -> Result<(), Ended> {
        while self.has_room() {
            let before = self.building.facts;
            self.decide(&Input::Poll, None)?;
            if self.building.facts == before {
                break;
            }
        }
        Ok(())
    }

    /// Moves the oldest waiting jobs of an input whose place is at its bounds.
    fn bound_places(&mut self) -> Result<(), Ended> {
        let (most, ranges) = (self.run.spec.pace.place_distance, self.run.spec.pace.place_ranges);
        for number in 0..self.inputs.len() {
            let Some(input) = self.inputs.get(number).filter(|i| i.kind == InputKind::Jobs) else { continue };
            let excess = input.place.excess(most, ranges);
            let oldest: Vec<Offset> = input.place.staying().take(excess).collect();
            for offset in oldest {
                let before = self.building.facts;
                if self.has_room() {
                    let oldest = InputRef { input: u32::try_from(number).unwrap_or(u32::MAX), offset };
                    self.decide(&Input::Evict(oldest), None)?;
                }
                if self.building.facts == before {
                    break;
                }
            }
        }
        Ok(())
    }

    fn seal_when_due(&mut self) -> Result<bool, Ended> {
        let pace = &self.run.spec.pace;
        if self.flying.len() >= pace.groups_in_flight.max(1) {
            return Ok(false);
        }
        let quiet = self.run.clock.mono_us().saturating_sub(self.sealed_mono) >= micros(pace.idle_group);
        let moved = self.has_unsaid() || self.reads_since_seal > 0;
        let idle = moved && (quiet || self.reads_since_seal >= pace.idle_records);
        let last = self.stopping.is_some() && self.sending.is_empty() && self.has_unsaid();
        // Where reading begins is said at once.
        let first = self.sequence == 0 && (!self.lost.is_empty() || self.inputs.iter().any(|i| !i.place.is_known()));
        if self.building.facts == 0 && !idle && !last && !first {
            if quiet {
                self.sealed_mono = self.run.clock.mono_us();
            }
            return Ok(false);
        }
        self.seal()?;
        Ok(true)
    }

    /// Seals what was gathered as the next group and hands it over.
    fn seal(&mut self) -> Result<(), Ended> {
        let Building { bytes, leaves, settles, messages, submitted_ms, tally, .. } = std::mem::take(&mut self.building);
        // The next group is likely about as large: a buffer that grows step by step is copied at each.
        self.building.bytes.reserve(bytes.len());
        let mut places = Vec::new();
        for (number, input) in (0_u32..).zip(&mut self.inputs) {
            places.extend(input.place.record(number));
        }
        let inputs: Vec<TopicPartition> = match self.sequence {
            0 => self.run.spec.inputs.iter().map(|i| i.partition.clone()).collect(),
            _ => Vec::new(),
        };
        let header = Header {
            v: 1,
            epoch: self.epoch,
            sequence: self.sequence,
            released: self.released,
            previous: &self.head,
            inputs: &inputs,
            places: &places,
            lost: &self.lost,
        };
        let value = header.with_facts(&bytes, leaves, self.run.spec.sender.as_str(), &*self.run.signer)?;
        let hash = value_hash(&value);
        self.lost.clear();
        let record = control_record(Kind::Group, &self.run.spec.sender, Some(self.epoch), value);
        let landing = self.producer.append(&self.run.spec.facts, vec![record]);
        let snapshot = self.wants_snapshot() && self.read_back.free();
        if snapshot {
            self.take_snapshot(&hash, &settles)?;
        }
        metrics::group(&self.run.spec.sender, bytes.len());
        self.said_released = self.released;
        self.reads_since_seal = 0;
        self.sealed_mono = self.run.clock.mono_us();
        let sequence = self.sequence;
        self.sequence += 1;
        self.head.clone_from(&hash);
        let (messages, early) =
            if self.run.rules.facts_first { (messages, Vec::new()) } else { (Vec::new(), messages) };
        if !early.is_empty() {
            // The planted bug: messages before their facts have landed, with a guessed offset.
            let guess = self.log.head_offset.map_or(0, |o| o + 1);
            self.sending.push_back(Sending::new(guess, early, Vec::new(), Vec::new()));
            self.hand_over()?;
        }
        self.flying.push_back(Flying { landing, settles, messages, submitted_ms, tally, hash, sequence, snapshot });
        Ok(())
    }

    /// So many facts came since the last snapshot, or any and so long ago.
    fn wants_snapshot(&self) -> bool {
        let pace = &self.run.spec.pace;
        let passed = self.run.clock.mono_us().saturating_sub(self.snapshot_mono);
        let (some, many) = (self.facts_since_snapshot > 0, self.facts_since_snapshot >= pace.snapshot_facts);
        many || (some && pace.snapshot_every.is_some_and(|every| passed >= micros(every)))
    }

    /// The state as it is after the group being sealed, kept until that group is released.
    fn take_snapshot(&mut self, head: &str, sealed: &[InputRef]) -> Result<(), Ended> {
        let on_their_way = self.flying.iter().map(|f| &f.settles).chain(self.sending.iter().map(|s| &s.settles));
        let also: Vec<InputRef> = on_their_way.flatten().chain(sealed).copied().collect();
        let places = (0_u32..)
            .zip(&self.inputs)
            .map(|(n, input)| input.place.whole(n, also.iter().filter(|r| r.input == n).map(|r| r.offset)))
            .collect();
        let body = SnapshotBody {
            head: head.to_owned(),
            sequence: (self.epoch, self.sequence + 1),
            barrier: self.epoch,
            claims: vec![(self.epoch, self.run.spec.outputs.clone())],
            released: self.released,
            at: self.fact_at,
            inputs: self.run.spec.inputs.iter().map(|i| i.partition.clone()).collect(),
            places,
            state: serde_json::value::RawValue::from_string("null".to_owned())?,
        };
        self.facts_since_snapshot = 0;
        self.snapshot_mono = self.run.clock.mono_us();
        self.read_back.pending = Some(Pending { offset: None, body, state: self.stage.snapshot()? });
        Ok(())
    }

    /// Lets an input's settled records go, behind the last snapshot but one.
    pub(crate) fn trim(&self, partition: TopicPartition, before: Offset) {
        self.run.watch.event(&self.run.spec.sender, &ShardEvent::TrimWanted { partition, before });
    }

    fn publish(&mut self) {
        let mono = self.run.clock.mono_us();
        if mono.saturating_sub(self.published) < micros(PUBLISH_EVERY) {
            return;
        }
        self.published = mono;
        let sender = &self.run.spec.sender;
        let counted = &mut self.counted;
        self.stage.figures(&mut |name, value| match name.ends_with("_total") {
            true => count(counted, sender, name, value),
            false => metrics::figure(sender, name, value),
        });
        let reached = self.run.spec.inputs.iter().zip(&self.inputs).map(|(spec, LiveInput { place, .. })| Reached {
            input: spec.partition.clone(),
            position: place.position(),
            head: place.head(),
            open: place.open(),
        });
        self.run.watch.event(sender, &ShardEvent::Positions(reached.collect()));
    }

    /// The ownership is over. Its figures are the next owner's to tell, which may be another process: a gauge that nobody lowers would
    /// stand here for as long as the process lives.
    pub(crate) fn withdraw_figures(&mut self) {
        let sender = &self.run.spec.sender;
        let counted = &mut self.counted;
        self.stage.figures(&mut |name, value| match name.ends_with("_total") {
            true => count(counted, sender, name, value),
            false => metrics::figure(sender, name, 0.0),
        });
    }
}

/// Adds what a count has risen by since it was told last.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts are whole and below 2^53")]
fn count(counted: &mut BTreeMap<&'static str, u64>, sender: &SenderId, name: &'static str, value: f64) {
    let told = counted.entry(name).or_default();
    let value = value as u64;
    metrics::counted(sender, name, value.saturating_sub(*told));
    *told = (*told).max(value);
}

/// Whether a record of a sealed input is proven to be its sender's, one of those that may write there. What is neither a
/// fence nor stamped is nothing to act on in any case.
fn genuine(checker: &mut Checker, writers: &[&str], at: &TopicPartition, record: &Record) -> Result<(), Refused> {
    let may = |sender: &str| match writers.contains(&stage_of(sender)) {
        true => Ok(()),
        false => Err(Distrust::WrongRole),
    };
    match meta(record) {
        Meta::Control { kind: Kind::Fence, sender, .. } => {
            may(sender)?;
            check_mark(checker.trust(), at, record)
        }
        Meta::Stamped { sender, stamp } => {
            may(sender)?;
            let said = Said { sender, stamp, to: at };
            let proof = record.headers.get(headers::PROOF).map(|proof| &**proof);
            checker.message(said, record.key.as_deref(), record.value.as_deref(), proof, written_ms(record))
        }
        Meta::Control { .. } | Meta::Foreign => Ok(()),
    }
}
