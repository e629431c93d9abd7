//! A job that was not run goes back: that counts for nothing, but whoever gives back gets its next job a little later.
//!
//! Without that a worker that always gives back, honestly (nobody waited for the job any more) or not, would be given the same job as
//! fast as it can speak. So it rests: from [`FIRST_REST`] on twice as long each time, up to a heartbeat, until a result of its comes.
//! What it gives back while it rests was given before, and counts as one.

use std::time::Duration;

use tidegate_protocol::facts::{LeaseEnd, SchedulerFact};
use tidegate_protocol::fleet::Report;
use tidegate_protocol::time::Timestamp;
use tidegate_stage::{Decision, InputRef};

use super::heartbeat::holds;
use crate::Scheduler;
use crate::transitions::expired;

/// How long a worker rests that gives back for the first time.
const FIRST_REST: Duration = Duration::from_millis(10);

/// Soft: counts what cannot be given back; whoever gives back rests.
pub(crate) fn note(scheduler: &mut Scheduler, report: &Report, at: Timestamp) {
    let Report::GiveBack { worker, source, token, .. } = report else { return };
    if !holds(scheduler, worker, source, *token) {
        scheduler.soft.counts.idle_give_backs += 1;
    } else if let Some(present) = scheduler.soft.fleet.get_mut(worker)
        && !present.resting
    {
        let doubled = 1_u32.checked_shl(present.rests).unwrap_or(u32::MAX);
        let rest = FIRST_REST.saturating_mul(doubled).min(scheduler.pool.heartbeat);
        present.rests = present.rests.saturating_add(1);
        present.resting = true;
        scheduler.soft.rests.set(worker, at + rest);
        scheduler.refresh(worker, at);
    }
}

pub(crate) fn decide(
    scheduler: &Scheduler,
    report: &Report,
    at: Timestamp,
    record: InputRef,
    decision: &mut Decision<SchedulerFact>,
) {
    let Report::GiveBack { worker, source, token, .. } = report else { return };
    if holds(scheduler, worker, source, *token)
        && let Some(job) = scheduler.state.job(source)
    {
        decision.settle(record, expired::fact(scheduler, job, LeaseEnd::GivenBack, at));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tidegate_protocol::facts::{SchedulerFact, Token};
    use tidegate_protocol::outcome::Outcome;
    use tidegate_stage::Stage;

    use crate::Tuning;
    use crate::driver::{Says, Shard, approved, job, layout, position};

    fn says(name: &str) -> Says {
        Says { epoch: 1, credit: u64::MAX, ..Says::of(name) }
    }

    fn granted(shard: &mut Shard) -> Option<u32> {
        match &shard.poll().facts[..] {
            [] => None,
            [SchedulerFact::LeaseGranted { token, .. }] => Some(token.attempt),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_job_that_is_given_back_for_ever_is_never_dead_and_its_worker_gets_it_once_a_heartbeat() {
        let mut shard = Shard::new(layout(), &Tuning { heartbeat_ms: Some(1_000), ..Tuning::default() });
        shard.approved(approved(&job("a", 1), "1"));
        shard.report(&says("w").hello());
        shard.report(&says("w").heartbeat());
        let began = shard.at;
        for attempt in 1..=100 {
            while granted(&mut shard).is_none() {
                shard.wait(Duration::from_millis(1));
                shard.tick();
                shard.report(&says("w").heartbeat());
            }
            shard.report(&says("w").give_back(position(1), Token { epoch: 1, attempt }));
        }
        let took = shard.at.since(began);
        assert!(took > Duration::from_secs(90) && took < Duration::from_secs(110), "{took:?}");
        assert_eq!((shard.stage.gauges().requeued, shard.stage.gauges().counts.finished.len()), (1, 0));
    }

    #[test]
    fn another_worker_gets_it_at_once_and_a_result_makes_up_for_it() {
        let mut shard = Shard::new(layout(), &Tuning::default());
        shard.approved(approved(&job("a", 1), "1"));
        for name in ["v", "w"] {
            shard.report(&says(name).hello());
        }
        shard.report(&says("w").heartbeat());
        assert_eq!(granted(&mut shard), Some(1));
        shard.report(&says("w").give_back(position(1), Token { epoch: 1, attempt: 1 }));
        assert_eq!(granted(&mut shard), None, "it rests");
        shard.report(&says("v").heartbeat());
        assert_eq!(granted(&mut shard), Some(2));
        shard.report(&says("v").result(position(1), Token { epoch: 1, attempt: 2 }, Outcome::Succeeded));
        // The next first rest of `w` is as short as one can be: the one before was 10 ms.
        shard.wait(Duration::from_millis(11));
        shard.tick();
        for offset in [2, 3] {
            shard.approved(approved(&job(&format!("j{offset}"), offset), "1"));
        }
        shard.report(&Says { running: Vec::new(), ..says("v") }.heartbeat());
        assert_eq!(shard.poll().facts.len(), 2, "both work");
        assert!(shard.stage.next_due().is_some());
    }
}
