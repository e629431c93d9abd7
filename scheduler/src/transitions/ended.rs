//! `JobFinished`: a job ends, by a result, its deadline, too many strikes, or because it is called off.

use serde_json::value::RawValue;
use tidegate_protocol::cloudevents::{self, Kind};
use tidegate_protocol::facts::{Holder, SchedulerFact};
use tidegate_protocol::fleet::Order;
use tidegate_protocol::headers;
use tidegate_protocol::job::{InputHash, SourcePosition};
use tidegate_protocol::limits::{OutcomeTold, Usage};
use tidegate_protocol::outcome::{DeadReason, Finished, Outcome};
use tidegate_protocol::time::Timestamp;
use tidegate_protocol::topics::partition_of;
use tidegate_spine::{Headers, Record};
use tidegate_stage::{ADDED_HEADERS, Decision, Delivery, Message, Outbox};

use super::Dead;
use super::expired::AT_ONCE;
use crate::Scheduler;
use crate::state::{Job, Stopping};
use crate::work::Work;

/// The end of `job` by a result that counts.
pub(crate) fn by_result(
    scheduler: &Scheduler,
    job: &Job,
    by: Holder,
    (outcome, reason, usage): (Outcome, &str, Usage),
    output: Option<&RawValue>,
) -> SchedulerFact {
    let (bytes, most) = (output.map_or(0, |output| output.get().len()), scheduler.pool.max_output_bytes);
    let fits = bytes <= most;
    SchedulerFact::JobFinished {
        source: job.work.source.clone(),
        job_id: job.work.id(),
        tenant: job.work.alike.tenant.clone(),
        outcome: if fits { outcome } else { Outcome::Dead },
        reason: if fits {
            reason.to_owned()
        } else {
            format!("its output of {bytes} bytes is over the limit of {most}; its worker said {}", outcome.word())
        },
        dead: (!fits).then_some(DeadReason::TooLarge),
        output: output.filter(|_| fits).map(ToOwned::to_owned),
        by: Some(by),
        attempts: job.token.attempt,
        work: (!fits).then(|| job.work.text.as_ref().to_owned()),
        usage: job.used.plus(usage),
        settles: job.work.settles,
        moved: 0,
    }
}

/// The end of `job` by a failure that might have been retried, had it attempts left.
pub(crate) fn by_last_failure(job: &Job, by: Holder, (reason, usage): (&str, Usage)) -> SchedulerFact {
    if job.ending().is_some() {
        return stopped(job, Some(by), usage);
    }
    let (failures, attempts) = (job.strikes.saturating_add(1), job.token.attempt);
    SchedulerFact::JobFinished {
        source: job.work.source.clone(),
        job_id: job.work.id(),
        tenant: job.work.alike.tenant.clone(),
        outcome: Outcome::Dead,
        reason: format!("failed in {failures} of {attempts} attempts, at last: {reason}"),
        dead: Some(DeadReason::MaxAttempts),
        output: None,
        by: Some(by),
        attempts,
        work: Some(job.work.text.as_ref().to_owned()),
        usage: job.used.plus(usage),
        settles: job.work.settles,
        moved: 0,
    }
}

/// The end of a job that its worker was told to stop; `usage`: what the last attempt used.
pub(crate) fn stopped(job: &Job, by: Option<Holder>, usage: Usage) -> SchedulerFact {
    let (outcome, reason) = match job.ending() {
        Some(Stopping { outcome, reason, .. }) => (*outcome, reason.clone()),
        None => (Outcome::Cancelled, String::new()),
    };
    called_off(job, by, (outcome, reason), usage)
}

/// The end of a job of the state without a result; `usage`: what the last attempt used beyond what was told before.
pub(crate) fn called_off(
    job: &Job,
    by: Option<Holder>,
    (outcome, reason): (Outcome, String),
    usage: Usage,
) -> SchedulerFact {
    SchedulerFact::JobFinished {
        source: job.work.source.clone(),
        job_id: job.work.id(),
        tenant: job.work.alike.tenant.clone(),
        outcome,
        reason,
        dead: None,
        output: None,
        by,
        attempts: job.token.attempt,
        work: None,
        usage: job.used.plus(usage),
        settles: job.work.settles,
        moved: 0,
    }
}

/// The end of a job that was never leased under its present ticket.
pub(crate) fn called_off_unleased(work: &Work, outcome: Outcome, reason: String) -> SchedulerFact {
    SchedulerFact::JobFinished {
        source: work.source.clone(),
        job_id: work.id(),
        tenant: work.alike.tenant.clone(),
        outcome,
        reason,
        dead: None,
        output: None,
        by: None,
        attempts: work.terms().leases,
        work: None,
        usage: Usage::default(),
        settles: work.settles,
        moved: work.terms().moved,
    }
}

/// The end of a job whose attempts under earlier tickets are as many as it may have under this one: what judged it again gives it
/// fewer, or its pool does.
pub(crate) fn spent(work: &Work) -> SchedulerFact {
    SchedulerFact::JobFinished {
        source: work.source.clone(),
        job_id: work.id(),
        tenant: work.alike.tenant.clone(),
        outcome: Outcome::Dead,
        reason: format!(
            "leased {} times without a result, {} of them ended badly",
            work.terms().leases,
            work.terms().strikes
        ),
        dead: Some(DeadReason::MaxAttempts),
        output: None,
        by: None,
        attempts: work.terms().leases,
        work: Some(work.text.as_ref().to_owned()),
        usage: Usage::default(),
        settles: work.settles,
        moved: work.terms().moved,
    }
}

/// Jobs without a lease whose deadline has passed.
pub(crate) fn tick(scheduler: &Scheduler, fresh: Timestamp, decision: &mut Decision<SchedulerFact>) {
    for source in scheduler.soft.deadlines.due(fresh).take(AT_ONCE) {
        timed_out(scheduler, source, decision);
    }
}

/// The end of a job that waits, or waits again, beyond its deadline.
pub(crate) fn timed_out(scheduler: &Scheduler, source: &SourcePosition, decision: &mut Decision<SchedulerFact>) {
    let reason = "its deadline passed before a worker ended it".to_owned();
    if let Some(job) = scheduler.state.job(source) {
        decision.fact(called_off(job, None, (Outcome::TimedOut, reason), Usage::default()));
    } else if let Some(waiting) = scheduler.soft.window.get(source) {
        decision.settle(waiting.input, called_off_unleased(&waiting.work, Outcome::TimedOut, reason));
    }
}

/// The end of one job that gets no further lease: too many strikes, or called off; false when there is none.
pub(crate) fn doomed(scheduler: &Scheduler, decision: &mut Decision<SchedulerFact>) -> bool {
    let Some(job) = scheduler.soft.doomed.first().and_then(|source| scheduler.state.job(source)) else { return false };
    if job.ending().is_some() {
        decision.fact(stopped(job, None, Usage::default()));
        return true;
    }
    decision.fact(SchedulerFact::JobFinished {
        source: job.work.source.clone(),
        job_id: job.work.id(),
        tenant: job.work.alike.tenant.clone(),
        outcome: Outcome::Dead,
        reason: format!("leased {} times without a result, {} of them ended badly", job.token.attempt, job.strikes),
        dead: Some(DeadReason::MaxAttempts),
        output: None,
        by: None,
        attempts: job.token.attempt,
        work: Some(job.work.text.as_ref().to_owned()),
        usage: job.used,
        settles: job.work.settles,
        moved: 0,
    });
    true
}

pub(crate) fn apply(
    scheduler: &mut Scheduler,
    source: &SourcePosition,
    outcome: Outcome,
    by: Option<&Holder>,
    at: Timestamp,
) {
    scheduler.withdraw(source, at);
    let of = scheduler.owner_of(source);
    scheduler.soft.window.remove(source);
    let by = by.map(|by| (by.worker.clone(), by.token));
    scheduler.free_places(source, at);
    let worker = scheduler.state.finish(source, by);
    if scheduler.soft.epoch.is_none() {
        return;
    }
    scheduler.unwatch(source);
    *scheduler.soft.counts.finished.entry(outcome).or_default() += 1;
    if let Some((_, line)) = of {
        scheduler.leave(source, line.as_ref(), at);
    }
    if let Some(worker) = worker {
        scheduler.refresh(&worker, at);
    }
}

pub(crate) fn emit(
    scheduler: &Scheduler,
    fact: &SchedulerFact,
    at: Timestamp,
    input: Option<&Record>,
    out: &mut Outbox,
) {
    let SchedulerFact::JobFinished {
        source,
        job_id,
        tenant,
        outcome,
        reason,
        dead,
        output,
        by,
        attempts,
        work,
        usage,
        settles,
        moved: _,
    } = fact
    else {
        return;
    };
    let finished = Finished {
        v: 1,
        job_id: job_id.clone(),
        tenant: tenant.clone(),
        source: source.clone(),
        outcome: *outcome,
        reason: reason.clone(),
        output: output.clone(),
        worker: by.as_ref().map(|by| by.worker.clone()),
        attempts: *attempts,
        at,
    };
    // A record of plain strings, numbers and raw JSON can always be written.
    let Ok(value) = serde_json::to_vec(&finished) else { return };
    let key = job_id.as_str().as_bytes();
    let mut headers = Headers::with_capacity(1 + ADDED_HEADERS);
    headers.push(headers::SOURCE, source.text());
    if scheduler.pool.cloudevents {
        for (name, value) in cloudevents::headers(Kind::Finished, source, job_id, tenant, at) {
            headers.push(name, value);
        }
    }
    out.send(Message {
        ordinal: 0,
        delivery: Delivery::Fenced,
        to: scheduler.pool.topics.finished.partition(partition_of(key, scheduler.pool.layout.finished_partitions)),
        key: Some(key.to_vec().into()),
        headers,
        value: Some(value.into()),
    });
    if let Some(word) = dead {
        let value = work.as_ref().map(|work| work.get().as_bytes().to_vec().into());
        let hash = || input.and_then(|record| record.value.as_ref()).map(|value| InputHash::of(value, []).to_string());
        let dead = Dead {
            key: job_id.as_str(),
            topic: source.source.as_str(),
            partition: source.partition,
            offset: source.offset,
            reason: *word,
            detail: reason,
            source: Some(source),
            hash: if value.is_none() { hash() } else { None },
            value,
        };
        scheduler.dead(1, dead, out);
    }
    if let Some(by) = by {
        let order = Order::Settled { source: source.clone(), token: by.token, accepted: true, reason: String::new() };
        scheduler.order(2, by.lane, &by.worker, Some(source), &order, out);
    }
    if *settles {
        tell(scheduler, OUTCOME, source, (*outcome, *attempts, *usage), at, out);
    }
}

/// Ordinal of the outcome a kernel is told, among the messages of a job's end.
const OUTCOME: u8 = 3;

/// A second record of a live job ends here: it never ran, so what it took of limits is free again.
pub(crate) fn duplicate(scheduler: &Scheduler, fact: &SchedulerFact, at: Timestamp, out: &mut Outbox) {
    if let SchedulerFact::JobDuplicate { source, settles: true, .. } = fact {
        tell(scheduler, 0, source, (Outcome::Cancelled, 0, Usage::default()), at, out);
    }
}

/// Tells the kernel that decided how a job ended.
pub(super) fn tell(
    scheduler: &Scheduler,
    ordinal: u8,
    source: &SourcePosition,
    (outcome, attempts, usage): (Outcome, u32, Usage),
    at: Timestamp,
    out: &mut Outbox,
) {
    // Of a source that is no longer configured nobody reads it; what the job took expires.
    let Some(to) = scheduler.pool.outcomes_of(source) else { return };
    let told = OutcomeTold { v: 1, source: source.clone(), outcome, attempts, usage, at };
    // A record of plain strings and numbers can always be written.
    let Ok(value) = serde_json::to_vec(&told) else { return };
    let mut headers = Headers::with_capacity(1 + ADDED_HEADERS);
    headers.push(headers::SOURCE, source.text());
    out.send(Message { ordinal, delivery: Delivery::Fenced, to, key: None, headers, value: Some(value.into()) });
}

#[cfg(test)]
mod tests {
    use tidegate_protocol::facts::Token;
    use tidegate_protocol::outcome::{Finished, Outcome};
    use tidegate_stage::{Delivery, Stage};

    use crate::Tuning;
    use crate::driver::{Says, Shard, approved, job, layout, position};

    #[test]
    fn an_end_is_told_once_with_the_time_it_was_decided_and_a_second_is_not_believed() {
        let mut shard = Shard::new(layout(), &Tuning::default());
        shard.approved(approved(&job("a", 1), "1"));
        let says = Says { epoch: 1, ..Says::of("w") };
        shard.report(&says.hello());
        shard.report(&says.heartbeat());
        shard.poll();
        let mut step = shard.report(&says.result(position(1), Token { epoch: 1, attempt: 1 }, Outcome::Failed));
        let kinds: Vec<_> = step.messages.iter().map(|m| (m.ordinal, m.delivery)).collect();
        assert_eq!(kinds, [(0, Delivery::Fenced), (2, Delivery::Lane)]);
        let finished: Finished = serde_json::from_slice(step.messages[0].value.as_ref().unwrap()).unwrap();
        assert_eq!((finished.outcome, finished.attempts, finished.at), (Outcome::Failed, 1, shard.at));
        let (fact, before) = (step.facts.remove(0), shard.stage.snapshot().unwrap());
        shard.stage.apply(&fact, shard.at);
        assert_eq!(shard.stage.snapshot().unwrap(), before);
        assert_eq!(shard.stage.gauges().counts.impossible_facts, 1);
    }

    /// A shard whose worker has the job, of a pool that says so of its records of `finished`.
    fn leased(cloudevents: bool) -> Shard {
        let mut shard = Shard::of(layout(), &Tuning::default(), |pool| pool.telling_cloudevents(cloudevents));
        shard.approved(approved(&job("a", 1), "1"));
        let says = Says { epoch: 1, ..Says::of("w") };
        shard.report(&says.hello());
        shard.report(&says.heartbeat());
        shard.poll();
        shard
    }

    #[test]
    fn every_end_of_a_job_that_ran_is_a_cloudevent_where_the_pool_says_so() {
        let says = Says { epoch: 1, ..Says::of("w") };
        for outcome in [Outcome::Succeeded, Outcome::Failed, Outcome::TimedOut] {
            let headers = |cloudevents| {
                let mut shard = leased(cloudevents);
                let step = shard.report(&says.result(position(1), Token { epoch: 1, attempt: 1 }, outcome));
                let finished = step.messages.iter().find(|m| m.to.topic.as_str() == "tg.finished").unwrap();
                let text = |value: &[u8]| String::from_utf8(value.to_vec()).unwrap();
                let all = finished.headers.iter().map(|(name, value)| format!("{name}: {}", text(value)));
                (all.collect::<Vec<_>>(), shard.at)
            };
            let (plain, _) = headers(false);
            assert_eq!(plain.len(), 1, "where the job stands: {plain:?}");
            let (of_event, at) = headers(true);
            let event = tidegate_protocol::cloudevents::headers(
                tidegate_protocol::cloudevents::Kind::Finished,
                &position(1),
                &job("a", 1).id,
                &job("a", 1).tenant,
                at,
            );
            let wanted = plain.into_iter().chain(event.map(|(name, value)| format!("{name}: {value}")));
            assert_eq!(of_event, wanted.collect::<Vec<_>>(), "{outcome:?}");
        }
    }
}
