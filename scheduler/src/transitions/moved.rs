//! `JobMoved`: a waiting job goes to `overflow`, so that it neither pins its log nor keeps others out of the window.

use bytes::Bytes;
use tidegate_protocol::facts::SchedulerFact;
use tidegate_protocol::headers;
use tidegate_protocol::job::SourcePosition;
use tidegate_spine::Headers;
use tidegate_stage::{Decision, Delivery, InputRef, Message, Outbox};

use crate::Scheduler;
use crate::window::{Origin, Waiting};

/// The runner wants this record settled.
pub(crate) fn evict(scheduler: &Scheduler, input: InputRef, decision: &mut Decision<SchedulerFact>) {
    if let Some(waiting) = scheduler.soft.window.at(input) {
        decision.settle(input, moved(scheduler, waiting));
    }
}

/// The window is full of jobs that nobody can take while workers have room: the one that waits longest makes way, so that
/// jobs behind it in the log are found. What comes back from `overflow` has a share of its own and is not moved for this.
pub(crate) fn relieve(scheduler: &Scheduler, decision: &mut Decision<SchedulerFact>) {
    let soft = &scheduler.soft;
    if !soft.window.admits(Origin::Approved)
        && soft.placement.free_workers() > 0
        && let Some(waiting) = soft.window.oldest_approved()
    {
        decision.settle(waiting.input, moved(scheduler, waiting));
    }
}

fn moved(scheduler: &Scheduler, waiting: &Waiting) -> SchedulerFact {
    SchedulerFact::JobMoved {
        source: waiting.work.source.clone(),
        bucket: scheduler.bucket(waiting.input.input),
        work: waiting.work.text.as_ref().to_owned(),
    }
}

pub(crate) fn apply(scheduler: &mut Scheduler, source: &SourcePosition) {
    scheduler.withdraw(source);
    scheduler.soft.window.remove(source);
    scheduler.state.moved();
    scheduler.soft.counts.moved += 1;
}

pub(crate) fn emit(scheduler: &Scheduler, fact: &SchedulerFact, out: &mut Outbox) {
    let SchedulerFact::JobMoved { source, bucket, work } = fact else { return };
    let source = source.to_string();
    out.send(Message {
        ordinal: 0,
        delivery: Delivery::Fenced,
        to: scheduler.pool.topics.overflow.partition(*bucket),
        key: Some(Bytes::copy_from_slice(source.as_bytes())),
        headers: Headers::from_iter([(headers::SOURCE, source)]),
        value: Some(Bytes::copy_from_slice(work.get().as_bytes())),
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
