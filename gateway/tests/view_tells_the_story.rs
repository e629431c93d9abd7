//! What a view tells of jobs, whatever the order in which the logs are read.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::Duration;

use tidegate_gateway::view::{Bounds, Filter, JobKey, State, View};
use tidegate_protocol::facts::{KernelFact, SchedulerFact};
use tidegate_protocol::ids::{JobId, PoolName, TenantId};
use tidegate_protocol::job::SourcePosition;
use tidegate_protocol::time::Timestamp;

fn position(offset: u64) -> SourcePosition {
    format!("jobs.raw/0@{offset}").parse().unwrap()
}

fn by_id(id: &str, tenant: Option<&str>) -> JobKey {
    JobKey::Id { id: JobId::new(id).unwrap(), tenant: tenant.map(|t| TenantId::new(t).unwrap()) }
}

fn decided(offset: u64, id: &str, tenant: &str, verdict: &str) -> KernelFact {
    let text = format!(
        r#"{{"job_decided":{{"job":{{"id":"{id}","tenant":"{tenant}","topic":"job.x","capability":"c","source":"jobs.raw/0@{offset}",
        "input_hash":"{:064}","submitted_ms":1000}},"decision":{{"verdict":"{verdict}","reason":"because","rule_ids":["r"],"snapshot":"s"}},
        "pool":"p","payload":"none"}}}}"#,
        0
    );
    serde_json::from_str(&text).unwrap()
}

fn leased(offset: u64, epoch: u64, attempt: u32) -> SchedulerFact {
    serde_json::from_value(serde_json::json!({"lease_granted": {
        "source": format!("jobs.raw/0@{offset}"), "worker": "w", "incarnation": 1,
        "token": {"epoch": epoch, "attempt": attempt}, "number": 1, "lane": 0}}))
    .unwrap()
}

fn expired(offset: u64, epoch: u64, attempt: u32) -> SchedulerFact {
    serde_json::from_value(serde_json::json!({"lease_expired": {
        "source": format!("jobs.raw/0@{offset}"), "token": {"epoch": epoch, "attempt": attempt}, "end": "silent"}}))
    .unwrap()
}

fn ended(offset: u64, id: &str, output: &str) -> SchedulerFact {
    let text = format!(
        r#"{{"job_finished":{{"source":"jobs.raw/0@{offset}","job_id":"{id}","tenant":"t","outcome":"succeeded",
        "output":{output},"by":{{"worker":"w","token":{{"epoch":9,"attempt":2}},"lane":0}},"attempts":2}}}}"#
    );
    serde_json::from_str(&text).unwrap()
}

fn view(jobs: usize) -> View {
    View::new(Bounds { jobs, ..Bounds::default() })
}

fn pool() -> PoolName {
    PoolName::new("p").unwrap()
}

#[test]
fn the_whole_story_is_told_in_whatever_order_topics_are_read() {
    let kernel = |view: &View| view.kernel_fact(Timestamp(2_000_500), decided(7, "a", "t", "allow"));
    let scheduler = |view: &View| {
        view.scheduler_fact(&pool(), Timestamp(3_000_000), leased(7, 9, 1));
        view.scheduler_fact(&pool(), Timestamp(4_000_000), expired(7, 9, 1));
        view.scheduler_fact(&pool(), Timestamp(5_000_000), leased(7, 9, 2));
        view.scheduler_fact(&pool(), Timestamp(6_000_000), ended(7, "a", r#"{"n":1}"#));
    };
    for kernel_first in [true, false] {
        let view = view(10);
        if kernel_first {
            kernel(&view);
        }
        scheduler(&view);
        if !kernel_first {
            kernel(&view);
        }
        let story = view.get(&by_id("a", Some("t"))).unwrap();
        assert_eq!(story.state, State::Succeeded, "kernel first: {kernel_first}");
        assert_eq!(story.decision.unwrap().rule_ids, ["r"]);
        assert_eq!(story.attempts.len(), 2);
        assert!(story.attempts[0].lost.is_some() && story.attempts[1].lost.is_none());
        assert_eq!(story.attempts[1].ended_ms, Some(6_000.0));
        assert_eq!(story.output.unwrap().get(), r#"{"n":1}"#);
        let times = (story.times.submitted_ms, story.times.decided_ms, story.times.leased_ms, story.times.finished_ms);
        assert_eq!(times, (Some(1_000.0), Some(2_000.5), Some(3_000.0), Some(6_000.0)));
        assert_eq!(view.get(&JobKey::Position(position(7))).unwrap().id.unwrap().as_str(), "a");
    }
}

#[test]
fn a_job_whose_ticket_expired_is_what_its_kernel_said_last_in_whatever_order_topics_are_read() {
    let again = |verdict| {
        let mut fact = decided(7, "a", "t", verdict);
        if let KernelFact::JobDecided { replaces, .. } = &mut fact {
            *replaces = serde_json::from_str(r#"{"was":"released","at":4000000,"leases":1}"#).unwrap();
        }
        fact
    };
    let returned = || {
        serde_json::from_str::<SchedulerFact>(r#"{"job_returned":{"source":"jobs.raw/0@7","attempts":1,"work":{}}}"#)
            .unwrap()
    };
    for (verdict, state, leased_again) in
        [("deny", State::Denied, false), ("allow", State::Approved, false), ("allow", State::Running, true)]
    {
        for kernel_first in [true, false] {
            let view = view(10);
            view.kernel_fact(Timestamp(1), decided(7, "a", "t", "allow"));
            view.scheduler_fact(&pool(), Timestamp(2), leased(7, 9, 1));
            let kernel = || view.kernel_fact(Timestamp(5), again(verdict));
            if kernel_first {
                kernel();
            }
            view.scheduler_fact(&pool(), Timestamp(3), expired(7, 9, 1));
            view.scheduler_fact(&pool(), Timestamp(4), returned());
            if leased_again {
                view.scheduler_fact(&pool(), Timestamp(6), leased(7, 9, 2));
            }
            if !kernel_first {
                kernel();
            }
            let story = view.get(&by_id("a", Some("t"))).unwrap();
            assert_eq!(story.state, state, "{verdict}, kernel first: {kernel_first}");
        }
    }
}

#[test]
fn the_same_id_of_two_tenants_is_two_jobs() {
    let view = view(10);
    view.kernel_fact(Timestamp(1), decided(1, "a", "t", "allow"));
    view.kernel_fact(Timestamp(2), decided(2, "a", "u", "deny"));
    assert_eq!(view.get(&by_id("a", Some("t"))).unwrap().state, State::Approved);
    assert_eq!(view.get(&by_id("a", Some("u"))).unwrap().state, State::Denied);
    assert!(view.get(&by_id("a", Some("v"))).is_none());
    assert_eq!(view.tenants_of(&JobId::new("a").unwrap()).len(), 2);
    let of_u = Filter { tenant: Some(TenantId::new("u").unwrap()), state: None };
    assert_eq!(view.list(&of_u, 10).jobs.len(), 1);
}

#[test]
fn a_repeat_is_answered_with_the_story_of_the_record_that_stands_for_it() {
    let view = view(10);
    view.kernel_fact(Timestamp(1), decided(1, "a", "t", "deny"));
    let again = KernelFact::JobRepeated {
        source: position(5),
        duplicate_of: position(1),
        job_id: JobId::new("a").unwrap(),
        tenant: TenantId::new("t").unwrap(),
    };
    view.kernel_fact(Timestamp(2), again);
    let story = view.get(&JobKey::Position(position(5))).unwrap();
    assert_eq!((story.source, story.state), (position(1), State::Denied));
    assert_eq!(story.repeated_at, [position(5)]);
}

#[test]
fn the_oldest_ended_job_is_put_out_first_and_nothing_of_it_stays() {
    let view = view(3);
    for offset in 0..3 {
        view.kernel_fact(
            Timestamp(offset),
            decided(offset, &format!("j{offset}"), "t", if offset == 1 { "deny" } else { "allow" }),
        );
    }
    view.kernel_fact(Timestamp(9), decided(3, "j3", "t", "allow"));
    assert_eq!(view.len(), 3);
    assert!(view.get(&by_id("j1", None)).is_none(), "the one that ended");
    assert!(view.tenants_of(&JobId::new("j1").unwrap()).is_empty());
    view.kernel_fact(Timestamp(10), decided(4, "j4", "t", "allow"));
    assert!(view.get(&by_id("j0", None)).is_none(), "none has ended: the one unchanged for longest");
    assert_eq!(view.len(), 3);
}

#[test]
fn a_large_output_is_left_out_and_said_so() {
    let view = View::new(Bounds { output_bytes: 10, ..Bounds::default() });
    view.scheduler_fact(&pool(), Timestamp(1), ended(1, "a", r#""0123456789""#));
    let story = view.get(&by_id("a", None)).unwrap();
    assert!(story.output.is_none() && story.output_left_out);
}

#[tokio::test]
async fn a_waiting_request_is_called_up_by_the_end_and_leaves_nothing_behind() {
    for key in [JobKey::Position(position(1)), by_id("a", None)] {
        let view = Arc::new(view(10));
        let waiting = tokio::spawn({
            let (view, key) = (Arc::clone(&view), key.clone());
            async move { view.ended(&key, Duration::from_secs(60)).await }
        });
        while view.waiting() == 0 {
            tokio::task::yield_now().await;
        }
        view.kernel_fact(Timestamp(1), decided(1, "a", "t", "allow"));
        view.scheduler_fact(&pool(), Timestamp(2), ended(1, "a", "null"));
        let story = waiting.await.unwrap().unwrap().unwrap();
        assert_eq!(story.state, State::Succeeded, "{key:?}");
        assert_eq!(view.waiting(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_waited_long_enough_gets_what_there_is_and_leaves_nothing_behind() {
    let view = view(10);
    view.kernel_fact(Timestamp(1), decided(1, "a", "t", "allow"));
    let story = view.ended(&by_id("a", None), Duration::from_secs(5)).await.unwrap().unwrap();
    assert_eq!(story.state, State::Approved);
    assert!(view.ended(&by_id("b", None), Duration::from_secs(5)).await.unwrap().is_none());
    assert_eq!(view.waiting(), 0);
    let none = View::new(Bounds { waiters: 0, ..Bounds::default() });
    assert!(none.ended(&by_id("a", None), Duration::from_secs(5)).await.is_err());
}

#[tokio::test]
async fn changes_are_told_once_each_in_order() {
    let view = Arc::new(view(10));
    view.kernel_fact(Timestamp(1), decided(1, "a", "t", "allow"));
    view.kernel_fact(Timestamp(2), decided(2, "b", "t", "deny"));
    let all = Filter::default();
    let first = view.changes(0, &all, 1, Duration::ZERO).await;
    let second = view.changes(first.next, &all, 1, Duration::ZERO).await;
    let ids = |changes: &tidegate_gateway::view::Changes| -> Vec<String> {
        changes.jobs.iter().map(|job| job.id.clone().unwrap().to_string()).collect()
    };
    assert_eq!((ids(&first), ids(&second)), (vec!["a".into()], vec!["b".into()]));
    let waiting = tokio::spawn({
        let view = Arc::clone(&view);
        async move {
            view.changes(second.next, &Filter { state: Some(State::Denied), tenant: None }, 9, Duration::from_secs(60))
                .await
        }
    });
    tokio::task::yield_now().await;
    view.kernel_fact(Timestamp(3), decided(3, "c", "t", "allow"));
    view.kernel_fact(Timestamp(4), decided(4, "d", "t", "deny"));
    let third = waiting.await.unwrap();
    assert_eq!(ids(&third), ["d"]);
}
