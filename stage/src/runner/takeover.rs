//! Becoming a shard's owner: claim, fences, barrier, replay (DESIGN section 2; `models/takeover.py`).

use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;

use futures::future::{Either, join_all, select};
use tidegate_protocol::address::{Offset, TopicPartition};
use tidegate_protocol::control::{Claim, Kind, LostRange, epoch};
use tidegate_protocol::proof::Refused;
use tidegate_protocol::signature::signed;
use tidegate_protocol::statements;
use tidegate_protocol::time::Timestamp;
use tidegate_spine::keyed::read_whole;
use tidegate_spine::{AppendError, Gathered, Producer, ProducerOptions, ReadError, ReadHandle, Reader, Record, Start};

use super::Run;
use super::loss::{self, Accepted};
use super::snapshot::{Found, find};
use super::watch::{Ended, ShardEvent};
use crate::control::{barrier_record, control_record, encode, fence_record, value_hash};
use crate::facts::{FactsLog, Met};
use crate::message::Message;
use crate::place::InputPlace;
use crate::replay::{Replay, term_of};
use crate::stage::{InputRef, Stage};

/// A shard taken over: state replayed, nothing read yet.
pub(crate) struct Taken<S: Stage> {
    pub(crate) stage: S,
    pub(crate) epoch: u64,
    pub(crate) term: u32,
    pub(crate) log: FactsLog,
    pub(crate) producer: Box<dyn Producer>,
    pub(crate) reader: Box<dyn Reader>,
    pub(crate) facts: ReadHandle,
    /// Next facts offset to read back.
    pub(crate) facts_read: Offset,
    pub(crate) places: Vec<InputPlace>,
    pub(crate) starts: Vec<Start>,
    /// Messages of groups that are not released, in order.
    pub(crate) again: Vec<(Offset, Vec<(u64, Message)>)>,
    pub(crate) at: Timestamp,
    /// The wall and the monotonic clock as they were when the claim had landed.
    pub(crate) checked: (u64, u64),
    pub(crate) snapshot_keys: Vec<bytes::Bytes>,
    pub(crate) replayed: u64,
    /// What was given up of the inputs, to be recorded.
    pub(crate) lost: Vec<LostRange>,
}

/// Reads on from `handle` until everything below `end` was met.
async fn read_through(
    reader: &mut dyn Reader,
    handle: ReadHandle,
    mut position: Offset,
    end: Offset,
    mut meet: impl FnMut(&Record) -> Result<(), Ended>,
) -> Result<Offset, Ended> {
    let mut batch = Vec::new();
    while position < end {
        position = poll_fn(|cx| reader.poll_read(handle, 500, cx, &mut batch)).await.map_err(Ended::Read)?.position;
        for record in batch.drain(..) {
            meet(&record)?;
        }
    }
    Ok(position)
}

/// What `shards` says of this one: the term of its facts log, and what was given up of its inputs.
pub(crate) async fn of_shards<S: Stage>(run: &Run<S>) -> Result<(u32, Accepted), Ended> {
    let spec = &run.spec;
    let records = read_whole(run.spine.as_ref(), &spec.shards).await.map_err(Ended::Keyed)?;
    let term = term_of(&spec.sender, &records)?;
    let trust = run.rules.signatures.then_some(&*run.trust);
    Ok((term, Accepted::of(spec, &records, trust)))
}

async fn append_one(
    producer: &mut dyn Producer,
    to: &TopicPartition,
    record: tidegate_spine::NewRecord,
) -> Result<Offset, Ended> {
    Ok(producer.append(to, vec![record]).await.map_err(Ended::Append)?.first)
}

/// Fences every output named by a claim that may still be at work. One that does not exist counts as fenced; one that
/// stalls raises an alarm and is waited for.
async fn fence<S: Stage>(
    run: &Run<S>,
    producer: &mut dyn Producer,
    outputs: Vec<TopicPartition>,
    epoch: u64,
) -> Result<(), Ended> {
    let mut landings = Vec::new();
    for output in outputs {
        let fence = fence_record(&run.spec.sender, epoch, &output, &*run.signer)?;
        let landing = producer.append(&output, vec![fence]);
        let alarm = run.clock.sleep_until(run.clock.mono_us().saturating_add(micros(run.spec.pace.fence_alarm)));
        landings.push(async move {
            let landed = match select(landing, alarm).await {
                Either::Left((landed, _)) => landed,
                Either::Right(((), landing)) => {
                    run.watch.event(&run.spec.sender, &ShardEvent::FenceStalls { output });
                    landing.await
                }
            };
            match landed {
                Ok(_) | Err(AppendError::UnknownTopic { .. }) => Ok(()),
                Err(error) => Err(Ended::Append(error)),
            }
        });
    }
    join_all(landings).await.into_iter().collect()
}

pub(crate) fn micros(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Refuses the shard when this machine's clock, before or after the claim, is more than the allowed skew off the spine's
/// timestamp of it. `elapsed_us` passed between the two by the monotonic clock, which does not step.
fn check_clock(
    (before_us, after_us): (u64, u64),
    elapsed_us: u64,
    claim_ms: i64,
    allowed: std::time::Duration,
) -> Result<(), Ended> {
    let claim = u64::try_from(claim_ms).unwrap_or(0);
    for begun_us in [before_us, after_us.saturating_sub(elapsed_us)] {
        let (begun, landed) = (begun_us / 1_000, begun_us.saturating_add(elapsed_us) / 1_000);
        let skew_ms = if claim < begun { begun - claim } else { claim.saturating_sub(landed) };
        if u128::from(skew_ms) > allowed.as_millis() {
            return Err(Ended::Clock { skew_ms });
        }
    }
    Ok(())
}

/// Takes the shard over.
pub(crate) async fn take_over<S: Stage>(run: &Run<S>) -> Result<Taken<S>, Ended> {
    let (spec, spine) = (&run.spec, run.spine.as_ref());
    let (term, accepted) = of_shards(run).await?;
    let options = ProducerOptions {
        name: spec.sender.to_string(),
        max_in_flight_bytes: spec.pace.message_bytes * 4,
        gathered: Gathered::Whole,
    };
    let mut producer = spine.producer(options).await.map_err(Ended::Spine)?;
    let mut reader = spine.reader(spec.sender.as_str()).await.map_err(Ended::Spine)?;

    // 1. The claim names every output; its offset is the epoch.
    let (wall_us, mono_us) = (run.clock.wall_us(), run.clock.mono_us());
    let claim = Claim {
        v: 1,
        sender: spec.sender.clone(),
        term,
        outputs: spec.outputs.clone(),
        process: spec.process.clone(),
        wall_ms: wall_us / 1_000,
        key: None,
        signature: None,
    };
    let claim = signed(&*run.signer, &statements::claim(&spec.facts), encode(&claim)?);
    let claim_hash = value_hash(&claim);
    let record = control_record(Kind::Claim, &spec.sender, None, claim);
    let claimed = append_one(producer.as_mut(), &spec.facts, record).await?;
    let checked = (run.clock.wall_us(), run.clock.mono_us());
    let own = epoch(term, claimed);

    // What is before the claim says which outputs others may still write to.
    let trust = run.rules.signatures.then_some(&*run.trust);
    let Found { newest, keys } = find(spine, spec, claimed, trust).await?;
    let mut replay = Replay::new(spec, run.trust.clone(), run.rules, (run.make)());
    let ends = spine.ends(std::slice::from_ref(&spec.facts)).await.map_err(Ended::Spine)?;
    let log_start = ends.first().map_or(0, |e| e.start);
    let mut position = log_start;
    if let Some((offset, body)) = &newest {
        replay.restore(*offset, body)?;
        position = offset.saturating_add(1);
    }
    if position < log_start || (newest.is_none() && log_start > 0) {
        return Err(Ended::FactsLost { start: log_start, snapshot: newest.map(|(offset, _)| offset) });
    }
    let start = if position == 0 { Start::Earliest } else { Start::At(position) };
    let facts = reader.open(&spec.facts, start);
    let mut behind_claim = VecDeque::new();
    let (mut claim_ms, mut own_claim) = (None, None);
    position = read_through(reader.as_mut(), facts, position, claimed + 1, |record| {
        if record.offset > claimed {
            behind_claim.push_back(record.clone());
            return Ok(());
        }
        if record.offset == claimed {
            claim_ms = Some(record.timestamp_ms);
            let met = replay.log.meet::<S::Fact>(record, term).map_err(Ended::Chain)?;
            own_claim = Some(if let Met::Refused { why, .. } = met { Err(why) } else { Ok(()) });
            return Ok(());
        }
        replay.meet(record, term).map_err(Ended::Chain)
    })
    .await?;
    if let Some(claim_ms) = claim_ms {
        check_clock((wall_us, checked.0), checked.1.saturating_sub(mono_us), claim_ms, spec.pace.clock_skew)?;
    }
    match own_claim {
        Some(Err(Refused::Replayed)) => return Err(Ended::LateClaim),
        Some(Err(why)) => return Err(Ended::Untrusted { key: run.signer.key().to_string(), why }),
        Some(Ok(())) | None => {}
    }
    if let (0, (groups, Some(why))) = (replay.log.barrier, replay.log.unheard) {
        return Err(Ended::Unheard { groups, why });
    }
    let outputs = replay.log.open_outputs();

    // 2. and 3. Fences, then the barrier.
    let barrier = barrier_record(&spec.sender, own, claim_hash, &spec.facts, &*run.signer)?;
    let barrier_at = if run.rules.fence_first {
        fence(run, producer.as_mut(), outputs, own).await?;
        append_one(producer.as_mut(), &spec.facts, barrier).await?
    } else {
        let at = append_one(producer.as_mut(), &spec.facts, barrier).await?;
        fence(run, producer.as_mut(), outputs, own).await?;
        at
    };
    for record in behind_claim {
        replay.meet(&record, term).map_err(Ended::Chain)?;
    }
    position = read_through(reader.as_mut(), facts, position, barrier_at + 1, |record| {
        replay.meet(record, term).map_err(Ended::Chain)
    })
    .await?;
    if replay.log.barrier > own {
        return Err(Ended::Superseded { by: replay.log.barrier });
    }

    // 4. What is not released is emitted again, from the inputs where a message needs them.
    let partitions: Vec<_> = spec.inputs.iter().map(|i| i.partition.clone()).collect();
    let ends = spine.ends(&partitions).await.map_err(Ended::Spine)?;
    let is_there = |w: &InputRef| ends.get(w.input as usize).is_none_or(|ends| w.offset >= ends.start);
    let (wanted, gone): (Vec<_>, Vec<_>) = replay.wanted().into_iter().partition(is_there);
    let inputs = match fetch(run, reader.as_mut(), wanted).await {
        Ok(inputs) => inputs,
        Err(ended) => return Err(loss::name(spine, spec, ended).await),
    };
    let mut again = Vec::new();
    let mut messages = Vec::new();
    while let Some(offset) = replay.apply_next(&inputs, Some(&mut messages)) {
        again.push((offset, std::mem::take(&mut messages)));
    }
    let Replay { stage, log, mut places, at, replayed, .. } = replay;

    // Each input goes on where its place says, and what is not there any more must have been given up.
    for place in &mut places {
        place.begin();
    }
    let needed = |n| gone.iter().filter(|w| w.input == n).map(|w| w.offset).min();
    let lost = accepted.give_up(spec, &mut places, &ends, needed, run.rules)?;
    for LostRange { input, from, to, by } in &lost {
        let Some(partition) = partitions.get(*input as usize).cloned() else { continue };
        crate::metrics::lost(&spec.sender, to.saturating_sub(*from));
        let event = ShardEvent::LossAccepted { partition, from: *from, to: *to, by: by.clone() };
        run.watch.event(&spec.sender, &event);
    }
    let starts = places
        .iter_mut()
        .zip(ends)
        .map(|(place, ends)| {
            if place.has_begun() {
                return Start::At(place.head());
            }
            if !run.rules.from_log_start {
                place.begin_at_log_start(ends.end);
                return Start::At(ends.end);
            }
            place.begin_at_log_start(ends.start);
            Start::Earliest
        })
        .collect();
    Ok(Taken {
        stage,
        epoch: own,
        term,
        log,
        producer,
        reader,
        facts,
        facts_read: position,
        places,
        starts,
        again,
        at,
        checked,
        snapshot_keys: keys,
        replayed,
        lost,
    })
}

/// Reads named input records again.
async fn fetch<S: Stage>(
    run: &Run<S>,
    reader: &mut dyn Reader,
    wanted: Vec<InputRef>,
) -> Result<BTreeMap<InputRef, Record>, Ended> {
    let mut by_input: BTreeMap<u32, Vec<Offset>> = BTreeMap::new();
    for wanted in wanted {
        by_input.entry(wanted.input).or_default().push(wanted.offset);
    }
    let mut found = BTreeMap::new();
    for (input, mut offsets) in by_input {
        offsets.sort_unstable();
        let (Some(spec), Some(&first), Some(&last)) =
            (run.spec.inputs.get(input as usize), offsets.first(), offsets.last())
        else {
            continue;
        };
        let handle = reader.open(&spec.partition, Start::At(first));
        read_through(reader, handle, first, last + 1, |record| {
            if offsets.binary_search(&record.offset).is_ok() {
                found.insert(InputRef { input, offset: record.offset }, record.clone());
            }
            Ok(())
        })
        .await?;
        reader.close(handle);
        if let Some(missing) = offsets.iter().find(|o| !found.contains_key(&InputRef { input, offset: **o })) {
            return Err(Ended::Read(ReadError::Truncated {
                from: spec.partition.clone(),
                requested: *missing,
                start: None,
            }));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_clock_outside_the_allowed_skew_refuses_the_shard() {
        let two = Duration::from_secs(2);
        for (before_ms, after_ms, claim_ms, good) in [
            (10_000, 10_050, 10_020, true),
            (10_000, 10_050, 8_100, true),
            (10_000, 10_050, 7_900, false),
            (10_000, 10_050, 12_000, true),
            (10_000, 10_050, 12_100, false),
            // It stepped while the claim was on its way.
            (10_000, 15_050, 10_020, false),
            (15_000, 10_050, 10_020, false),
        ] {
            let checked = check_clock((before_ms * 1_000, after_ms * 1_000), 50_000, claim_ms, two);
            assert_eq!(checked.is_ok(), good, "claim at {claim_ms}");
        }
    }
}
