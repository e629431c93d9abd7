//! `JobReturned`: a job whose ticket expired before it could be leased goes back to the kernel that decided.
//!
//! Nothing runs without a valid ticket, and nothing is lost for want of one: the kernel judges the job again, by the policy of
//! now. It is noticed when the job's turn comes, so a job that no worker can take does not go round and round. What comes back
//! is a new record on `approved`, of the same source position; its decision says how many leases the job had and how many attempts failed,
//! so tokens rise and attempts are counted over the way back too. What the attempts used is told on the way, as the end of the ticket.

use tidegate_protocol::facts::SchedulerFact;
use tidegate_protocol::headers;
use tidegate_protocol::job::SourcePosition;
use tidegate_protocol::limits::Usage;
use tidegate_protocol::outcome::{DeadReason, Outcome};
use tidegate_protocol::returned::{JobReturned, Returned};
use tidegate_protocol::time::Timestamp;
use tidegate_spine::Headers;
use tidegate_stage::{Decision, Delivery, Message, Outbox};

use super::ended::tell;
use crate::Scheduler;
use crate::work::Work;

/// The way back of a ready job; its end when there is no way back, because its source is no longer configured.
pub(crate) fn expired(scheduler: &Scheduler, source: &SourcePosition, decision: &mut Decision<SchedulerFact>) {
    let fact = |work: &Work, moved, (attempts, strikes, usage)| {
        let (text, settles) = (work.text.as_ref().to_owned(), work.settles);
        if scheduler.pool.outcomes_of(source).is_some() {
            return SchedulerFact::JobReturned {
                source: source.clone(),
                attempts,
                strikes,
                usage,
                work: text,
                settles,
                moved,
            };
        }
        SchedulerFact::JobFinished {
            source: source.clone(),
            job_id: work.id(),
            tenant: work.alike.tenant.clone(),
            outcome: Outcome::Dead,
            reason: "its ticket expired before it could run, and its source is no longer configured: nobody can judge it again"
                .into(),
            dead: Some(DeadReason::Expired),
            output: None,
            by: None,
            attempts,
            work: Some(text),
            usage,
            settles,
            moved,
        }
    };
    if let Some(job) = scheduler.state.job(source) {
        decision.fact(fact(&job.work, 0, (job.token.attempt, job.strikes, job.used)));
    } else if let Some(waiting) = scheduler.soft.window.get(source) {
        decision.settle(
            waiting.input,
            fact(
                &waiting.work,
                waiting.work.terms().moved,
                (waiting.work.terms().leases, waiting.work.terms().strikes, Usage::default()),
            ),
        );
    }
}

pub(crate) fn apply(scheduler: &mut Scheduler, source: &SourcePosition, at: Timestamp) {
    scheduler.withdraw(source, at);
    let of = scheduler.owner_of(source);
    scheduler.soft.window.remove(source);
    scheduler.state.release(source);
    scheduler.soft.counts.returned += 1;
    if let Some((_, line)) = of {
        scheduler.leave(source, line.as_ref(), at);
    }
}

pub(crate) fn emit(scheduler: &Scheduler, fact: &SchedulerFact, at: Timestamp, out: &mut Outbox) {
    let SchedulerFact::JobReturned { source, attempts, strikes, usage, work, settles, .. } = fact else { return };
    let (attempts, strikes) = (*attempts, *strikes);
    // First, so that what it took of limits is free when it is judged again.
    if *settles {
        tell(scheduler, 0, source, (Outcome::Cancelled, attempts, *usage), at, out);
    }
    let Some(to) = scheduler.pool.outcomes_of(source) else { return };
    let returned = Returned { source: source.clone(), attempts, strikes, at };
    // A record of plain strings, numbers and raw JSON can always be written.
    let Ok(value) = serde_json::to_vec(&JobReturned { v: 1, returned, work }) else { return };
    out.send(Message {
        ordinal: 1,
        delivery: Delivery::Fenced,
        to,
        key: None,
        headers: Headers::from_iter([(headers::SOURCE, source.to_string())]),
        value: Some(value.into()),
    });
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use tidegate_protocol::facts::{SchedulerFact, Token};
    use tidegate_protocol::ids::SourceName;
    use tidegate_protocol::job::SourcePosition;
    use tidegate_protocol::outcome::{DeadReason, Outcome};
    use tidegate_stage::{Delivery, Stage};

    use crate::driver::{Says, Shard, approved, job, position};
    use crate::pool::Layout;
    use crate::{Counts, Tuning};

    fn layout() -> Layout {
        let sources = BTreeMap::from([(SourceName::new("jobs").unwrap(), 1)]);
        Layout { sources, ..crate::driver::layout() }
    }

    /// An allowed job whose ticket expires 50 ms from now, with what else its decision says.
    fn fleeting(shard: &Shard, more: &str) -> String {
        let allowed = String::from_utf8(approved(&job("a", 1), "1").to_vec()).unwrap();
        let expires = shard.at.millis() + 50;
        allowed.replace(r#""snapshot""#, &format!(r#"{more}"expires_ms":{expires},"snapshot""#))
    }

    fn says() -> Says {
        Says { epoch: 1, credit: 9, ..Says::of("w") }
    }

    fn late(shard: &mut Shard) {
        shard.wait(Duration::from_millis(60));
        shard.report(&says().heartbeat());
    }

    #[test]
    fn a_job_whose_ticket_expired_while_it_waited_goes_back_to_its_kernel_and_is_no_longer_known() {
        let mut shard = Shard::new(layout(), &Tuning::default());
        let text = fleeting(&shard, "");
        shard.approved(text.clone().into());
        shard.report(&Says::of("w").hello());
        late(&mut shard);
        let empty = shard.stage.snapshot().unwrap();
        let step = shard.poll();
        let [SchedulerFact::JobReturned { attempts: 0, settles: false, .. }] = &step.facts[..] else {
            panic!("{step:?}")
        };
        let [back] = &step.messages[..] else { panic!("{step:?}") };
        assert_eq!((back.delivery, back.to.to_string().as_str()), (Delivery::Fenced, "tg.outcomes.jobs/0"));
        let value = String::from_utf8(back.value.as_ref().unwrap().to_vec()).unwrap();
        let said = format!(r#"{{"v":1,"returned":{{"source":"jobs/0@1","attempts":0,"at":{}}},"work":"#, shard.at.0);
        assert_eq!(value, format!("{said}{text}}}"));
        assert_eq!((shard.unsettled(), shard.stage.gauges().waiting), (0, 0));
        assert_eq!(shard.stage.snapshot().unwrap(), empty);
        assert_eq!(shard.stage.gauges().counts.returned, 1);
    }

    #[test]
    fn what_comes_back_from_there_is_leased_with_a_token_above_all_it_had() {
        let mut shard = Shard::new(layout(), &Tuning::default());
        shard.approved(fleeting(&shard, r#""settles":true,"#).into());
        shard.report(&Says::of("w").hello());
        shard.report(&says().heartbeat());
        assert!(matches!(&shard.poll().facts[..], [SchedulerFact::LeaseGranted { .. }]));
        shard.report(&says().give_back(position(1), Token { epoch: 1, attempt: 1 }));
        late(&mut shard);
        let step = shard.poll();
        let [SchedulerFact::JobReturned { attempts: 1, settles: true, .. }] = &step.facts[..] else {
            panic!("{step:?}")
        };
        let ordinals: Vec<_> = step.messages.iter().map(|m| m.ordinal).collect();
        assert_eq!(ordinals, [0, 1], "its end first, for what it took of limits");
        assert_eq!(shard.stage.gauges().requeued, 0);

        let again = String::from_utf8(approved(&job("a", 1), "1").to_vec()).unwrap();
        shard.approved(again.replace(r#""snapshot""#, r#""leases":1,"snapshot""#).into());
        let step = shard.poll();
        let [SchedulerFact::LeaseGranted { token, work: Some(_), .. }] = &step.facts[..] else { panic!("{step:?}") };
        assert_eq!(*token, Token { epoch: 1, attempt: 2 });
        let stale = shard.report(&says().result(position(1), Token { epoch: 1, attempt: 1 }, Outcome::Succeeded));
        assert!(matches!(&stale.facts[..], [SchedulerFact::ResultRefused { .. }]), "{stale:?}");
    }

    #[test]
    fn attempts_that_failed_count_and_what_they_used_is_told_though_a_ticket_expires_between_them() {
        use tidegate_protocol::fleet::Report;
        use tidegate_protocol::limits::{Amount, OutcomeTold, Usage};
        let tuning = Tuning { max_attempts: 2, backoff_ms: 100, max_backoff_ms: 100, ..Tuning::default() };
        let mut shard = Shard::new(layout(), &tuning);
        let fails = |shard: &mut Shard, attempt| {
            let mut report = says().result(position(1), Token { epoch: 1, attempt }, Outcome::Failed);
            if let Report::Result { retryable, usage, .. } = &mut report {
                (*retryable, *usage) = (true, Usage { tokens: Some(Amount(7)), money: None });
            }
            shard.report(&report)
        };
        shard.approved(fleeting(&shard, r#""settles":true,"#).into());
        shard.report(&Says::of("w").hello());
        shard.report(&says().heartbeat());
        shard.poll();
        assert!(matches!(&fails(&mut shard, 1).facts[..], [SchedulerFact::JobRetried { .. }]));
        shard.wait(Duration::from_secs(1));
        shard.tick();
        late(&mut shard);
        let step = shard.poll();
        let [SchedulerFact::JobReturned { attempts: 1, strikes: 1, usage, .. }] = &step.facts[..] else {
            panic!("{step:?}")
        };
        assert_eq!(usage.tokens, Some(Amount(7)));
        let told: OutcomeTold = serde_json::from_slice(step.messages[0].value.as_ref().unwrap()).unwrap();
        assert_eq!((told.attempts, told.usage), (1, *usage), "told now: its next ticket takes anew");
        let back = String::from_utf8(step.messages[1].value.as_ref().unwrap().to_vec()).unwrap();
        assert!(back.contains(r#""attempts":1,"strikes":1,"#), "{back}");

        let again = String::from_utf8(approved(&job("a", 1), "1").to_vec()).unwrap();
        shard.approved(again.replace(r#""snapshot""#, r#""leases":1,"strikes":1,"snapshot""#).into());
        assert!(matches!(&shard.poll().facts[..], [SchedulerFact::LeaseGranted { .. }]));
        let step = fails(&mut shard, 2);
        let [SchedulerFact::JobFinished { dead: Some(DeadReason::MaxAttempts), usage, .. }] = &step.facts[..] else {
            panic!("{step:?}")
        };
        assert_eq!(usage.tokens, Some(Amount(7)), "of this ticket alone");
    }

    #[test]
    fn one_that_is_judged_again_to_fewer_attempts_than_it_had_gets_no_further_lease() {
        let mut shard = Shard::new(layout(), &Tuning::default());
        let again = String::from_utf8(approved(&job("a", 1), "1").to_vec()).unwrap();
        let more = r#""leases":3,"strikes":2,"constraints":{"budgets":{"max_retries":1}},"snapshot""#;
        let again = again.replace(r#""snapshot""#, more);
        let step = shard.approved(again.clone().into());
        let [SchedulerFact::JobFinished { dead: Some(DeadReason::MaxAttempts), attempts: 3, .. }] = &step.facts[..]
        else {
            panic!("{step:?}")
        };
        let dead = step.messages.iter().find(|m| m.delivery == Delivery::Advisory).unwrap();
        assert_eq!((dead.value.as_deref(), shard.unsettled()), (Some(again.as_bytes()), 0));
    }

    #[test]
    fn a_late_result_of_a_job_that_went_back_does_not_count() {
        let mut shard = Shard::new(layout(), &Tuning { lease_ms: 40, ..Tuning::default() });
        shard.approved(fleeting(&shard, "").into());
        shard.report(&Says::of("w").hello());
        shard.report(&says().heartbeat());
        shard.poll();
        shard.wait(Duration::from_millis(60));
        shard.tick_fresh(shard.at);
        shard.report(&says().heartbeat());
        assert!(matches!(&shard.poll().facts[..], [SchedulerFact::JobReturned { attempts: 1, .. }]));
        let late = shard.report(&says().result(position(1), Token { epoch: 1, attempt: 1 }, Outcome::Succeeded));
        let [SchedulerFact::ResultRefused { reason, .. }] = &late.facts[..] else { panic!("{late:?}") };
        assert_eq!(reason, "unknown_job");
    }

    #[test]
    fn a_job_whose_source_is_gone_is_dead_with_its_record() {
        let mut shard = Shard::new(Layout { sources: BTreeMap::new(), ..layout() }, &Tuning::default());
        let text = fleeting(&shard, "");
        shard.approved(text.clone().into());
        shard.report(&Says::of("w").hello());
        late(&mut shard);
        let step = shard.poll();
        let [SchedulerFact::JobFinished { outcome: Outcome::Dead, dead: Some(DeadReason::Expired), .. }] =
            &step.facts[..]
        else {
            panic!("{step:?}")
        };
        let dead = step.messages.iter().find(|m| m.delivery == Delivery::Advisory).unwrap();
        assert_eq!(dead.value.as_deref(), Some(text.as_bytes()));
    }

    #[test]
    fn a_job_that_is_leased_cannot_go_back() {
        let mut shard = Shard::new(layout(), &Tuning::default());
        let text = approved(&job("a", 1), "1");
        shard.approved(text.clone());
        shard.report(&Says::of("w").hello());
        shard.report(&says().heartbeat());
        shard.poll();
        let before = shard.stage.snapshot().unwrap();
        let work = serde_json::value::RawValue::from_string(String::from_utf8(text.to_vec()).unwrap()).unwrap();
        let source: SourcePosition = position(1);
        let (strikes, usage) = (0, tidegate_protocol::limits::Usage::default());
        shard.stage.apply(
            &SchedulerFact::JobReturned { source, attempts: 1, strikes, usage, work, settles: false, moved: 0 },
            shard.at,
        );
        assert_eq!(shard.stage.snapshot().unwrap(), before);
        let counts = shard.stage.gauges().counts;
        assert_eq!((counts.impossible_facts, counts.returned), (1, Counts::default().returned));
    }
}
