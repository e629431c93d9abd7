//! `JobMoved`: a waiting job goes to `overflow`, so that it neither pins its log nor keeps others out of the window.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::value::RawValue;
use tidegate_protocol::facts::SchedulerFact;
use tidegate_protocol::headers;
use tidegate_protocol::job::SourcePosition;
use tidegate_protocol::time::Timestamp;
use tidegate_spine::Headers;
use tidegate_stage::{Decision, Delivery, InputRef, Message, Outbox};

use crate::Scheduler;
use crate::window::Waiting;
use crate::work::Work;

/// The runner wants this record settled.
pub(crate) fn evict(scheduler: &Scheduler, input: InputRef, decision: &mut Decision<SchedulerFact>) {
    if let Some(waiting) = scheduler.soft.window.at(input).filter(|waiting| may_move(scheduler, &waiting.work)) {
        decision.settle(input, moved(scheduler, waiting));
    }
}

/// Makes way in a full window. Where workers have room, its jobs are such that nobody can take: the one that waits longest goes,
/// so that jobs behind it in the log are found. Where one tenant crowds others out of their bucket, what came last of it goes, before it is full.
/// Not of a line, though: what came last would then be read back first, in front of what the line waits for.
/// What comes back from `overflow` has a share of its own and is moved for one thing alone: when that is full, a job goes back to the end
/// whose line waits for one that has not come yet. (Moved once more, the first of a line may stand behind others of it, which
/// would fill the share and wait for it until their tickets expire.)
pub(crate) fn relieve(scheduler: &Scheduler, decision: &mut Decision<SchedulerFact>) {
    let soft = &scheduler.soft;
    let may_move = |work: &Work| may_move(scheduler, work);
    let stuck = if soft.placement.free_workers() > 0 { soft.window.stuck(may_move) } else { None };
    let crowding = || soft.window.crowding(|work| work.terms().line.is_none());
    // A walk along the whole share, which is for nothing while no line has a job in `overflow`.
    let lines_are_there = !scheduler.state.overflow().in_line().is_empty();
    let in_vain = || match soft.placement.free_workers() {
        0 => None,
        _ if !lines_are_there => None,
        _ => soft.window.in_vain(|work| waits_in_vain(scheduler, work)),
    };
    if let Some(waiting) = stuck.or_else(crowding).or_else(in_vain) {
        decision.settle(waiting.input, moved(scheduler, waiting));
    }
}

/// Whether the first of its line stands in `overflow` and has not come back.
fn waits_in_vain(scheduler: &Scheduler, work: &Work) -> bool {
    let Some(line) = &work.terms().line else { return false };
    let first = scheduler.soft.lines.first(line, &work.source);
    first.is_some_and(|first| {
        *first != work.source
            && scheduler.soft.window.get(first).is_none()
            && scheduler.state.job(first).is_none()
            && scheduler.state.overflow().in_line().contains_key(first)
    })
}

/// Most jobs with an ordering key in `overflow`: the state remembers each, as its line waits for it. Beyond, they stay.
const MOST_IN_LINE: usize = 100_000;

fn may_move(scheduler: &Scheduler, work: &Work) -> bool {
    work.terms().line.is_none() || scheduler.state.overflow().in_line().len() < MOST_IN_LINE
}

fn moved(scheduler: &Scheduler, waiting: &Waiting) -> SchedulerFact {
    SchedulerFact::JobMoved {
        source: waiting.work.source.clone(),
        bucket: scheduler.bucket(waiting.input.input),
        work: waiting.work.text.as_ref().to_owned(),
        moved: waiting.work.terms().moved,
    }
}

pub(crate) fn apply(scheduler: &mut Scheduler, source: &SourcePosition, text: &RawValue, at: Timestamp) {
    scheduler.withdraw(source, at);
    let work = match scheduler.soft.window.remove(source) {
        Some(waiting) => Some(waiting.work),
        None => Work::of(Arc::from(text.to_owned())).ok(),
    };
    scheduler.state.overflow_mut().put(source, work.and_then(|work| work.terms().line.clone()));
    scheduler.soft.counts.moved += 1;
}

pub(crate) fn emit(scheduler: &Scheduler, fact: &SchedulerFact, out: &mut Outbox) {
    let (SchedulerFact::JobMoved { source, bucket, work: record, .. }
    | SchedulerFact::WithdrawalMoved { source, bucket, withdrawal: record }) = fact
    else {
        return;
    };
    let source = source.to_string();
    let mut headers = Headers::from_iter([(headers::SOURCE, source.clone())]);
    if matches!(fact, SchedulerFact::JobMoved { .. }) {
        // Told right behind the fact: its own.
        headers.push(headers::MOVED, scheduler.state.overflow().moved().to_string());
    }
    out.send(Message {
        ordinal: 0,
        delivery: Delivery::Fenced,
        to: scheduler.pool.topics.overflow.partition(*bucket),
        key: Some(Bytes::copy_from_slice(source.as_bytes())),
        headers,
        value: Some(Bytes::copy_from_slice(record.get().as_bytes())),
    });
}

#[cfg(test)]
mod tests {
    use tidegate_stage::{Delivery, InputRef};

    use crate::Tuning;
    use crate::driver::{Shard, approved, job, layout};

    #[test]
    fn an_evicted_job_goes_to_the_bucket_of_the_same_number_with_its_bytes_and_waits_there() {
        let mut shard = Shard::new(layout(), &Tuning::default());
        let text = approved(&job("a", 1), "1");
        let at = shard.append(1, Some(text.clone()), tidegate_spine::Headers::new());
        shard.read();
        let step = shard.evict(at);
        let moved = step.messages.first().unwrap();
        assert_eq!((moved.to.to_string().as_str(), moved.delivery), ("tg.overflow.p/1", Delivery::Fenced));
        assert_eq!(moved.value.as_ref(), Some(&text));
        assert_eq!(shard.stage.gauges().waiting, 0);
        shard.read();
        assert_eq!((shard.stage.gauges().waiting, shard.unsettled()), (1, 1));
        assert!(shard.evict(InputRef { input: 0, offset: 9 }).facts.is_empty());
    }
}
