//! A worker whose spine goes away and comes back: whether it knows that its leases stand, and what it does when it does not.
#![expect(clippy::wildcard_enum_match_arm, reason = "a test")]

mod rig;

use std::sync::Arc;
use std::time::Duration;

use rig::faulty::Faulty;
use rig::{Rig, job, within, worker};
use tidegate_protocol::fleet::{Order, Report};
use tidegate_protocol::outcome::Outcome;
use tidegate_worker::agent::Builtin;
use tidegate_worker::session::JobKey;
use tidegate_worker::{Cancel, Context, Ending, Settings, WhenUnproven};
use tokio::sync::mpsc;
use tokio::time::sleep;

/// Resolves when the job's lease is in doubt.
async fn doubted(context: &Context) {
    while !context.lease_in_doubt() {
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn told_to_stop_jobs_after_a_full_lease_without_a_report_that_landed_it_stops_them_and_goes_on_afterwards() {
    let mut rig = Rig::new(1).await;
    rig.lease_ms = 600;
    let (spine, faults) = Faulty::before(Arc::clone(&rig.spine));
    let (told, mut seen) = mpsc::unbounded_channel();
    let wait = move |context: Context| {
        let told = told.clone();
        async move {
            let why = context.cancelled().await;
            told.send(why).unwrap();
            Ending::cancelled("stopped")
        }
    };
    let builder = worker().capability("wait", wait).capability("echo", Builtin::Echo).concurrency(1);
    let _running = rig.start_on(spine, builder.when_unproven(WhenUnproven::Stop));
    rig.welcome(0, 5).await;
    rig.credit(0, 5).await;
    rig.assign(0, 5, &job(1, "wait"), "null").await;
    let holds = |report: &Report| match report {
        Report::Heartbeat { running, .. } if running.len() == 1 => Some(()),
        _ => None,
    };
    // Three leases long the reports land: nothing is lost.
    for _ in 0..10 {
        rig.next(0, holds).await;
    }
    assert!(seen.try_recv().is_err());
    faults.away(true);
    assert_eq!(within(seen.recv()).await, Some(Cancel::LeaseLost));
    faults.away(false);
    let free = |report: &Report| match report {
        Report::Heartbeat { running, credit: 2, .. } => Some(running.len()),
        Report::Result { .. } => Some(99),
        _ => None,
    };
    assert_eq!(rig.next(0, free).await, 0, "no result of a lost lease");
    rig.assign(0, 5, &job(2, "echo"), "2").await;
    assert_eq!(rig.result(0).await.output.as_deref(), Some("2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn unless_told_otherwise_a_job_runs_on_in_doubt_and_its_result_counts_and_nothing_new_is_taken_meanwhile() {
    let mut rig = Rig::new(1).await;
    rig.lease_ms = 600;
    let (spine, faults) = Faulty::before(Arc::clone(&rig.spine));
    let (told, mut seen) = mpsc::unbounded_channel();
    let wait = move |context: Context| {
        let told = told.clone();
        async move {
            doubted(&context).await;
            told.send(None).unwrap();
            told.send(Some(context.cancelled().await)).unwrap();
            Ending::Succeeded(None)
        }
    };
    let builder = worker().capability("wait", wait).capability("echo", Builtin::Echo).concurrency(2);
    let mut running = rig.start_on(spine, builder);
    rig.welcome(0, 5).await;
    rig.credit(0, 5).await;
    let first = rig.assign(0, 5, &job(1, "wait"), "null").await;
    let holds = |report: &Report| match report {
        Report::Heartbeat { running, .. } if running.len() == 1 => Some(()),
        _ => None,
    };
    rig.next(0, holds).await;
    faults.away(true);
    assert_eq!(within(seen.recv()).await, Some(None), "the job sees that its lease is in doubt");
    let second = rig.assign(0, 5, &job(2, "echo"), "2").await;
    // Behind it in the lane: when this is obeyed, that was met. It is also the first thing that stops the job.
    let JobKey { source, token } = first.clone();
    rig.order(0, 5, &Order::Cancel { source, token, reason: "called off".into() }).await;
    assert_eq!(within(seen.recv()).await, Some(Some(Cancel::Withdrawn)));
    faults.away(false);
    // Whichever is said first.
    let either = |report: &Report| match report {
        Report::Result { source, token, outcome, .. } => {
            Some((JobKey { source: source.clone(), token: *token }, Some(*outcome)))
        }
        Report::GiveBack { source, token, .. } => Some((JobKey { source: source.clone(), token: *token }, None)),
        _ => None,
    };
    let mut said = [rig.next(0, either).await, rig.next(0, either).await];
    said.sort_by_key(|(key, _)| key.clone());
    let should = [(first.clone(), Some(Outcome::Succeeded)), (second, None)];
    assert_eq!(said, should, "what ended in doubt is told, what came in doubt was not run");
    rig.settle(0, 5, &first, true).await;
    // It is as before.
    rig.assign(0, 5, &job(3, "echo"), "3").await;
    let third = rig.result(0).await;
    assert_eq!(third.output.as_deref(), Some("3"));
    rig.settle(0, 5, &third.job, true).await;
    running.stop();
    assert_eq!(running.ended().await.unwrap().unsettled, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_in_an_outage_ends_like_any_other_and_says_what_was_not_settled() {
    let mut rig = Rig::new(1).await;
    rig.lease_ms = 600;
    let (spine, faults) = Faulty::before(Arc::clone(&rig.spine));
    let (told, mut seen) = mpsc::unbounded_channel();
    let wait = move |context: Context| {
        let told = told.clone();
        async move {
            doubted(&context).await;
            told.send(()).unwrap();
            context.cancelled().await;
            Ending::Succeeded(None)
        }
    };
    let short = Duration::from_millis(100);
    let settings = Settings { drain_limit: short, cancel_grace: short, settle_limit: short, ..Settings::default() };
    let mut running = rig.start_on(spine, worker().settings(settings).capability("wait", wait));
    rig.welcome(0, 5).await;
    rig.credit(0, 5).await;
    rig.assign(0, 5, &job(1, "wait"), "null").await;
    faults.away(true);
    within(seen.recv()).await.unwrap();
    running.stop();
    assert_eq!(running.ended().await.unwrap().unsettled, 1, "nobody could hear its result");
}

#[tokio::test(flavor = "multi_thread")]
async fn results_lost_with_their_producers_are_sent_again_by_the_next() {
    let mut rig = Rig::new(1).await;
    let (spine, faults) = Faulty::before(Arc::clone(&rig.spine));
    let (go, gone) = tokio::sync::watch::channel(false);
    let wait = move |_: Context| {
        let mut gone = gone.clone();
        async move {
            let _closed = gone.wait_for(|go| *go).await;
            Ending::Succeeded(None)
        }
    };
    let mut running = rig.start_on(spine, worker().capability("wait", wait));
    rig.welcome(0, 5).await;
    rig.credit(0, 5).await;
    let key = rig.assign(0, 5, &job(1, "wait"), "null").await;
    faults.fatal(3);
    go.send_replace(true);
    let said = rig.result(0).await;
    assert_eq!((said.job, said.outcome), (key.clone(), Outcome::Succeeded));
    assert_eq!(faults.fatal_left(), 0);
    rig.settle(0, 5, &key, true).await;
    running.stop();
    assert_eq!(running.ended().await.unwrap().unsettled, 0);
}
