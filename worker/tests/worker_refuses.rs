//! What a worker is told by others than its pool's scheduler, and jobs without a valid ticket: nothing of it runs, and the
//! worker goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tidegate_protocol::decision::{Decision, Verdict};
use tidegate_protocol::outcome::Outcome;
use tidegate_spine::NewRecord;
use tidegate_worker::{Context, Ending};

mod rig;
use rig::{Rig, job, ticketed, worker};

fn counting() -> (Arc<AtomicUsize>, impl Fn(Context) -> std::future::Ready<Ending> + Send + Sync + 'static) {
    let ran = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&ran);
    let handler = move |context: Context| {
        count.fetch_add(1, Ordering::SeqCst);
        std::future::ready(Ending::succeeded(&context.payload()))
    };
    (ran, handler)
}

fn allowed() -> Decision {
    Decision::new(Verdict::Allow, "test", "s1")
}

#[tokio::test]
async fn a_job_runs_only_with_a_ticket_of_the_kernel_of_its_own_source_for_this_pool() {
    let mut rig = Rig::new(1).await;
    let (ran, handler) = counting();
    let mut running = rig.start(worker().capability("echo", handler).concurrency(32));
    rig.welcome(0, 5).await;
    rig.credit(0, 5).await;
    let good = |n| String::from_utf8(ticketed(&job(n, "echo"), &allowed(), r#"{"amount":1}"#)).unwrap();
    let unsigned = |n| {
        let whole = good(n);
        format!("{}}}", whole.split_once(r#","ticket""#).unwrap().0)
    };
    let other_source = {
        let mut theirs = job(7, "echo");
        theirs.source = "jobs/0@7".parse().unwrap();
        let text = String::from_utf8(ticketed(&theirs, &allowed(), "1")).unwrap();
        text.replace(r#""sender":"kernel.jobs/0""#, r#""sender":"kernel.jobs/1""#)
    };
    let expired = Decision { expires_ms: Some(1), ..allowed() };
    for (n, work, reason) in [
        (1, unsigned(1), "it is not signed"),
        (2, good(2).replace(r#""amount":1"#, r#""amount":2"#), "altered"),
        (3, good(3).replace(r#""tenant":"acme""#, r#""tenant":"evil""#), "altered"),
        (4, good(4).replace(r#""key":"kernel""#, r#""key":"nobody""#), "not trusted here"),
        (5, good(5).replace(r#""key":"kernel""#, r#""key":"scheduler""#), "not trusted for this"),
        (6, good(6).replace(r#""topic":"t.approved.p""#, r#""topic":"t.approved.q""#), "altered"),
        (7, other_source, "signature is wrong"),
        (
            9,
            String::from_utf8(ticketed(&job(9, "echo"), &Decision::new(Verdict::Deny, "no", "s"), "1")).unwrap(),
            "its verdict is deny",
        ),
    ] {
        let key = rig.assign_text(0, 5, &job(n, "echo"), work.into_bytes()).await;
        let said = rig.result(0).await;
        assert_eq!((&said.job, said.outcome), (&key, Outcome::Failed), "{}", said.reason);
        assert!(said.reason.starts_with("refused by its worker") && said.reason.contains(reason), "{}", said.reason);
        rig.settle(0, 5, &key, true).await;
    }
    // One whose ticket expired goes back, to be judged again.
    let late = ticketed(&job(10, "echo"), &expired, "1");
    let key = rig.assign_text(0, 5, &job(10, "echo"), late).await;
    assert_eq!(rig.given_back(0).await, key);
    assert_eq!(ran.load(Ordering::SeqCst), 0);
    let key = rig.assign(0, 5, &job(11, "echo"), "1").await;
    assert_eq!(rig.result(0).await.outcome, Outcome::Succeeded);
    rig.settle(0, 5, &key, true).await;
    assert_eq!(ran.load(Ordering::SeqCst), 1);
    running.stop();
    running.ended().await.unwrap();
}

#[tokio::test]
async fn an_order_that_no_scheduler_of_the_pool_sent_to_this_worker_here_has_no_effect() {
    let mut rig = Rig::new(1).await;
    let (ran, handler) = counting();
    let mut running = rig.start(worker().capability("echo", handler).concurrency(8));
    rig.welcome(0, 5).await;
    rig.credit(0, 5).await;
    let spoils: [fn(&mut NewRecord); 6] = [
        // Unsigned.
        |record| {
            let kept = record.headers.iter().filter(|(n, _)| *n != "tg-proof");
            record.headers = kept.map(|(n, v)| (n.to_owned(), v.clone())).collect();
        },
        // Of another sender than signed, and of one that is no scheduler of this pool.
        |record| replace(record, "tg-sender", "scheduler.p/1"),
        |record| replace(record, "tg-sender", "kernel.p/0"),
        // Of another epoch, another place in the order, another worker.
        |record| replace(record, "tg-epoch", "6"),
        |record| replace(record, "tg-stamp", "99 99 0"),
        |record| record.key = Some("w2".into()),
    ];
    for (n, spoil) in (1..).zip(spoils) {
        rig.spoil = Some(spoil);
        rig.assign(0, 5, &job(n, "echo"), "1").await;
    }
    // Altered.
    rig.spoil = Some(|record| {
        let text = String::from_utf8(record.value.clone().unwrap().to_vec()).unwrap();
        record.value = Some(text.replace(r#""attempt":1"#, r#""attempt":2"#).into());
    });
    rig.assign(0, 5, &job(7, "echo"), "1").await;
    // What comes after them runs, so they were read.
    let key = rig.assign(0, 5, &job(8, "echo"), "1").await;
    let said = rig.result(0).await;
    assert_eq!((&said.job, said.outcome), (&key, Outcome::Succeeded));
    assert_eq!(ran.load(Ordering::SeqCst), 1);
    rig.settle(0, 5, &key, true).await;
    running.stop();
    running.ended().await.unwrap();
}

fn replace(record: &mut NewRecord, name: &'static str, value: &'static str) {
    let kept = record.headers.iter().filter(|(n, _)| *n != name);
    record.headers = kept.map(|(n, v)| (n.to_owned(), v.clone())).chain([(name.into(), value.into())]).collect();
}
