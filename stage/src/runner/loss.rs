//! Inputs whose records are gone before they were settled (a retention that was too short, a log cut by hand).
//!
//! The shard stands still and says so; it claims nothing, so that it disturbs nobody. An operator either gives the
//! records back or gives them up: a signed [`AcceptedLoss`] on `shards`, which the next owner reads at its takeover. It then
//! records the range in its first group and reads on behind it.

use tidegate_protocol::address::{Offset, TopicPartition};
use tidegate_protocol::control::{AcceptedLoss, Kind, LostRange};
use tidegate_protocol::signature::{Capacity, Trust, check};
use tidegate_protocol::statements::LOSS;
use tidegate_spine::{Ends, ReadError, Record, Spine};

use super::Run;
use super::watch::{Ended, ShardEvent};
use crate::Rules;
use crate::control::{Meta, meta};
use crate::place::InputPlace;
use crate::spec::ShardSpec;
use crate::stage::Stage;

/// What operators have given up of this shard's inputs.
#[derive(Debug, Default)]
pub(crate) struct Accepted(Vec<AcceptedLoss>);

impl Accepted {
    /// Of the records of `shards`, those that an operator has signed. With `trust` `None` all (a planted bug).
    pub(crate) fn of(spec: &ShardSpec, records: &[Record], trust: Option<&dyn Trust>) -> Self {
        let loss = |record: &Record| {
            let Meta::Control { kind: Kind::Loss, .. } = meta(record) else { return None };
            let value = record.value.as_deref()?;
            let loss: AcceptedLoss =
                serde_json::from_slice(value).ok().filter(|l: &AcceptedLoss| l.sender == spec.sender)?;
            let at_ms = u64::try_from(record.timestamp_ms).unwrap_or(0);
            if let Some(trust) = trust
                && let Err(why) = check(trust, LOSS, Capacity::Operator, at_ms, value)
            {
                tracing::warn!(shard = %spec.sender, partition = %loss.partition, %why, "an accepted loss is not believed");
                return None;
            }
            Some(loss)
        };
        Self(records.iter().filter_map(loss).collect())
    }

    /// Who gave up what is below `start` of this input.
    fn by(&self, partition: &TopicPartition, start: Offset) -> Option<&str> {
        self.0.iter().find(|loss| loss.partition == *partition && loss.before >= start).map(|loss| loss.by.as_str())
    }

    /// Moves places behind what is gone. `needed` is the lowest offset of an input that has to be read again.
    ///
    /// # Errors
    /// [`Ended::InputLost`] of the first input of which something is gone that nobody has given up.
    pub(crate) fn give_up(
        &self,
        spec: &ShardSpec,
        places: &mut [InputPlace],
        ends: &[Ends],
        needed: impl Fn(u32) -> Option<Offset>,
        rules: Rules,
    ) -> Result<Vec<LostRange>, Ended> {
        let mut lost = Vec::new();
        for (number, ((input, place), ends)) in (0_u32..).zip(spec.inputs.iter().zip(places).zip(ends)) {
            let position = place.is_known().then(|| place.position());
            let Some(from) = position.into_iter().chain(needed(number)).min().filter(|from| *from < ends.start) else {
                continue;
            };
            let (partition, start) = (input.partition.clone(), ends.start);
            let Some(by) = self.by(&partition, start) else {
                if !rules.lost_is_given_up {
                    place.lose(start.max(place.position()));
                    continue;
                }
                return Err(Ended::InputLost { partition, from, start });
            };
            if place.position() < start {
                place.lose(start);
            }
            lost.push(LostRange { input: number, from, to: start, by: by.to_owned() });
        }
        Ok(lost)
    }
}

/// An end by a truncated input is named as what it is.
pub(crate) async fn name(spine: &dyn Spine, spec: &ShardSpec, ended: Ended) -> Ended {
    let Ended::Read(ReadError::Truncated { from: partition, requested, start }) = &ended else { return ended };
    if !spec.inputs.iter().any(|input| input.partition == *partition) {
        return ended;
    }
    let start = match start {
        Some(start) => Some(*start),
        None => spine.ends(std::slice::from_ref(partition)).await.ok().and_then(|e| Some(e.first()?.start)),
    };
    match start {
        Some(start) => Ended::InputLost { partition: partition.clone(), from: *requested, start },
        None => ended,
    }
}

impl<S: Stage> Run<S> {
    /// Waits, with the alarm raised, until what is gone of an input is given up or there again. True when it was stopped
    /// meanwhile.
    pub(crate) async fn stand_still(&mut self, partition: TopicPartition, from: Offset, start: Offset) -> bool {
        let alarm = ShardEvent::InputLost { partition: partition.clone(), from, start };
        self.watch.event(&self.spec.sender, &alarm);
        loop {
            if let Ok(ends) = self.spine.ends(std::slice::from_ref(&partition)).await
                && let Some(ends) = ends.first()
            {
                let accepted = match super::takeover::of_shards(self).await {
                    Ok((_, accepted)) => accepted,
                    Err(_) => Accepted::default(),
                };
                if ends.start <= from || accepted.by(&partition, ends.start).is_some() {
                    return false;
                }
            }
            if self.pause(self.spec.pace.backoff.1).await {
                return true;
            }
        }
    }
}
