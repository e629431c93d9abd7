//! A worker whose spine goes away and comes back.
#![expect(clippy::wildcard_enum_match_arm, reason = "a test")]

mod rig;

use std::sync::Arc;

use rig::faulty::Faulty;
use rig::{Rig, job, within, worker};
use tidegate_protocol::fleet::Report;
use tidegate_protocol::outcome::Outcome;
use tidegate_worker::agent::Builtin;
use tidegate_worker::{Cancel, Context, Ending};
use tokio::sync::mpsc;

#[tokio::test(flavor = "multi_thread")]
async fn a_full_lease_without_an_acknowledged_report_loses_the_leases_and_the_worker_goes_on_afterwards() {
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
    let _running = rig.start_on(spine, builder);
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
