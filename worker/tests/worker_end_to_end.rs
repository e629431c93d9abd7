//! A worker over a real embedded spine, with a scripted scheduler.
#![expect(clippy::wildcard_enum_match_arm, reason = "a test")]

mod rig;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use rig::{Rig, job, now_ms, spec, within, worker};
use serde::{Deserialize, Serialize};
use tidegate_protocol::address::TopicName;
use tidegate_protocol::decision::Verdict;
use tidegate_protocol::delegation::MAX_PARENT_TICKET_BYTES;
use tidegate_protocol::fleet::{Order, Report};
use tidegate_protocol::job::SourcePosition;
use tidegate_protocol::outcome::Outcome;
use tidegate_worker::agent::Builtin;
use tidegate_worker::{
    Builder, Cancel, Children, Context, Drained, Ending, Failure, NotSpawned, RunError, Settings, Spawned, TypedHandler,
};
use tokio::sync::mpsc;

/// Runs until told to stop and says why.
async fn until_cancelled(context: Context) -> Ending {
    let why = context.cancelled().await;
    Ending::cancelled(format!("{why:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_goes_from_its_lane_to_a_settled_result_and_the_worker_drains() {
    let mut rig = Rig::new(1).await;
    let mut running = rig.start(worker().capability("echo", Builtin::Echo).concurrency(2));
    assert_eq!(rig.welcome(0, 5).await, 2);
    assert_eq!(rig.credit(0, 5).await, 2);
    let key = rig.assign(0, 5, &job(1, "echo"), r#"{ "a": [1.10] }"#).await;
    let said = rig.result(0).await;
    assert_eq!((said.job, said.outcome), (key.clone(), Outcome::Succeeded));
    assert_eq!(said.output.as_deref(), Some(r#"{ "a": [1.10] }"#), "the payload's exact bytes");
    running.stop();
    let held = |report: &Report| match report {
        Report::Heartbeat { draining: true, running, .. } => Some(running.len()),
        _ => None,
    };
    assert_eq!(rig.next(0, held).await, 1, "an unsettled result is still held");
    rig.settle(0, 5, &key, true).await;
    assert_eq!(running.ended().await.unwrap(), Drained { unsettled: 0 });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_is_a_failure_of_its_job_alone() {
    let mut rig = Rig::new(1).await;
    let explode = |context: Context| async move {
        assert!(context.payload().get() == "1", "payload {} makes it explode", context.payload());
        Ending::Succeeded(None)
    };
    let _running = rig.start(worker().capability("x", explode));
    rig.welcome(0, 5).await;
    rig.credit(0, 5).await;
    rig.assign(0, 5, &job(1, "x"), "2").await;
    let said = rig.result(0).await;
    assert_eq!(said.outcome, Outcome::Failed);
    assert_eq!(said.reason, "the handler panicked: payload 2 makes it explode");
    rig.assign(0, 5, &job(2, "x"), "1").await;
    assert_eq!(rig.result(0).await.outcome, Outcome::Succeeded);
}

#[derive(Deserialize)]
struct Numbers {
    of: Vec<u32>,
}

#[derive(Serialize)]
struct Sum {
    sum: u32,
}

struct Add;

impl TypedHandler for Add {
    type Input = Numbers;
    type Output = Sum;

    async fn run(&self, input: Numbers, _context: Context) -> Result<Sum, Failure> {
        let sum = input.of.iter().try_fold(0_u32, |sum, n| sum.checked_add(*n));
        Ok(Sum { sum: sum.ok_or_else(|| Failure::new("too much"))? })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_typed_handler_reads_and_writes_what_serde_knows() {
    let mut rig = Rig::new(1).await;
    let _running = rig.start(worker().typed("add", Add));
    rig.welcome(0, 5).await;
    rig.credit(0, 5).await;
    let table = [
        (r#"{"of":[1,2,3]}"#, Outcome::Succeeded, "", Some(r#"{"sum":6}"#)),
        (r#"{"of":[4294967295,1]}"#, Outcome::Failed, "too much", None),
        (r#"{"off":1}"#, Outcome::Failed, "payload is not what this capability takes: missing field `of`", None),
    ];
    for (number, (payload, outcome, reason, output)) in (1..).zip(table) {
        rig.assign(0, 5, &job(number, "add"), payload).await;
        let said = rig.result(0).await;
        assert_eq!((said.outcome, said.output.as_deref()), (outcome, output), "{payload}");
        assert!(said.reason.starts_with(reason), "{payload}: {}", said.reason);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_stops_a_job_and_one_that_has_passed_starts_none() {
    let mut rig = Rig::new(1).await;
    let _running = rig.start(worker().capability("wait", until_cancelled));
    rig.welcome(0, 5).await;
    rig.credit(0, 5).await;
    let mut soon = job(1, "wait");
    soon.deadline = Some(rig::soon());
    rig.assign(0, 5, &soon, "null").await;
    let said = rig.result(0).await;
    assert_eq!((said.outcome, said.reason.as_str()), (Outcome::TimedOut, "its deadline passed: Deadline"));
    assert!(now_ms() >= soon.deadline.unwrap());
    let mut past = job(2, "wait");
    past.deadline = Some(now_ms() - 1);
    rig.assign(0, 5, &past, "null").await;
    let said = rig.result(0).await;
    assert_eq!((said.outcome, said.reason.as_str()), (Outcome::TimedOut, "its deadline had passed before it started"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_lease_stops_the_job_and_frees_its_slot_without_a_result() {
    let mut rig = Rig::new(1).await;
    let (told, mut seen) = mpsc::unbounded_channel();
    let watch = move |context: Context| {
        let told = told.clone();
        async move {
            context.progress(Some(0.5), "half");
            told.send(context.cancelled().await).unwrap();
            assert!(context.lease_lost());
            Ending::Succeeded(None)
        }
    };
    let _running = rig.start(worker().capability("wait", watch).concurrency(1));
    rig.welcome(0, 5).await;
    assert_eq!(rig.credit(0, 5).await, 1);
    let key = rig.assign(0, 5, &job(1, "wait"), "null").await;
    let progress = |report: &Report| match report {
        Report::Progress { fraction, note, .. } => Some((*fraction, note.clone())),
        _ => None,
    };
    assert_eq!(rig.next(0, progress).await, (Some(0.5), "half".to_owned()));
    rig.settle(0, 5, &key, false).await;
    assert_eq!(within(seen.recv()).await, Some(Cancel::LeaseLost));
    let after = |report: &Report| match report {
        Report::Result { .. } => Some(Err("a result of a lost lease")),
        Report::Heartbeat { credit: 2, running, .. } => Some(Ok(running.len())),
        _ => None,
    };
    assert_eq!(rig.next(0, after).await, Ok(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn past_the_drain_limit_jobs_are_stopped_and_go_back_even_if_they_do_not_listen() {
    let mut rig = Rig::new(1).await;
    let settings = Settings {
        drain_limit: Duration::from_millis(100),
        cancel_grace: Duration::from_millis(200),
        ..Settings::default()
    };
    let deaf = |_: Context| std::future::pending::<Ending>();
    let builder = worker().settings(settings).capability("listens", until_cancelled).capability("deaf", deaf);
    let mut running = rig.start(builder);
    rig.welcome(0, 5).await;
    rig.credit(0, 5).await;
    let listens = rig.assign(0, 5, &job(1, "listens"), "null").await;
    let deaf = rig.assign(0, 5, &job(2, "deaf"), "null").await;
    let both = |report: &Report| match report {
        Report::Heartbeat { running, .. } if running.len() == 2 => Some(()),
        _ => None,
    };
    rig.next(0, both).await;
    running.stop();
    assert_eq!(rig.given_back(0).await, listens);
    assert_eq!(rig.given_back(0).await, deaf);
    assert_eq!(running.ended().await.unwrap(), Drained { unsettled: 0 });
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_allowed_or_not_offered_is_never_run() {
    let mut rig = Rig::new(1).await;
    let runs = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&runs);
    let count = move |_: Context| {
        counted.fetch_add(1, Ordering::SeqCst);
        async { Ending::Succeeded(None) }
    };
    let _running = rig.start(worker().capability("count", count));
    rig.welcome(0, 5).await;
    rig.credit(0, 5).await;
    rig.lane(0, 5, "w1", b"no order".to_vec()).await;
    rig.lane(0, 5, "another", b"not ours".to_vec()).await;
    rig.assign_as(0, 5, &job(1, "count"), "null", Verdict::Deny).await;
    let said = rig.result(0).await;
    assert_eq!((said.outcome, said.reason.as_str()), (Outcome::Failed, "refused by its worker: its verdict is deny"));
    let other = rig.assign(0, 5, &job(2, "other"), "null").await;
    assert_eq!(rig.given_back(0).await, other);
    assert_eq!(runs.load(Ordering::SeqCst), 0);
    rig.assign(0, 5, &job(3, "count"), "null").await;
    assert_eq!(rig.result(0).await.outcome, Outcome::Succeeded);
    assert_eq!(runs.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_shard_has_its_own_owner_and_its_share_of_the_slots() {
    let mut rig = Rig::new(2).await;
    let _running = rig.start(worker().capability("echo", Builtin::Echo).concurrency(3));
    let shares = (rig.welcome(0, 5).await, rig.welcome(1, 8).await);
    assert_eq!(shares.0 + shares.1, 3);
    rig.credit(0, 5).await;
    rig.credit(1, 8).await;
    let (left, right) = (rig.assign(0, 5, &job(1, "echo"), "1").await, rig.assign(1, 8, &job(1, "echo"), "2").await);
    let (first, second) = (rig.result(0).await, rig.result(1).await);
    assert_eq!((first.job, first.output.as_deref()), (left, Some("1")));
    assert_eq!((second.job, second.output.as_deref()), (right, Some("2")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_too_large_for_its_limit_is_a_failure_that_says_so() {
    let mut rig = Rig::new(1).await;
    let settings = Settings { max_output_bytes: 100, ..Settings::default() };
    let _running = rig.start(worker().settings(settings).capability("echo", Builtin::Echo));
    rig.welcome(0, 5).await;
    rig.credit(0, 5).await;
    rig.assign(0, 5, &job(1, "echo"), &format!("\"{}\"", "x".repeat(99))).await;
    let said = rig.result(0).await;
    assert_eq!(said.outcome, Outcome::Failed);
    assert_eq!(said.reason, "output of 101 bytes is larger than the limit of 100 bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_an_operator_drains_ends_what_runs_and_leaves_as_on_a_signal() {
    let mut rig = Rig::new(2).await;
    let running = rig.start(worker().capability("echo", Builtin::Echo).concurrency(2));
    for shard in 0..2 {
        rig.welcome(shard, 5).await;
    }
    rig.credit(1, 5).await;
    let job = rig.assign(1, 5, &job(1, "echo"), "7").await;
    rig.result(1).await;
    // One shard says so; the worker leaves all.
    let drain = Order::Drain { incarnation: rig.incarnation, reason: "drained by olga".into() };
    rig.order(0, 5, &drain).await;
    for shard in 0..2 {
        rig.next(shard, |report| matches!(report, Report::Heartbeat { draining: true, .. }).then_some(())).await;
    }
    rig.settle(1, 5, &job, true).await;
    assert_eq!(running.ended().await.unwrap().unsettled, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_lends_its_slot_lets_the_one_it_waits_for_run_on_a_single_slot() {
    let mut rig = Rig::new(1).await;
    let ended = Arc::new(tokio::sync::Notify::new());
    let waited_for = Arc::clone(&ended);
    let parent = move |context: Context| {
        let waited_for = Arc::clone(&waited_for);
        async move {
            let lent = context.lend_slot();
            waited_for.notified().await;
            drop(lent);
            Ending::Succeeded(None)
        }
    };
    let child = move |_context: Context| {
        let ended = Arc::clone(&ended);
        async move {
            ended.notify_one();
            Ending::Succeeded(None)
        }
    };
    let _running = rig.start(worker().capability("parent", parent).capability("child", child).concurrency(1));
    rig.welcome(0, 5).await;
    rig.credit(0, 5).await;
    let above = rig.assign(0, 5, &job(1, "parent"), "1").await;
    // What it lends and what it has room for may be said in two heartbeats.
    let lends = |report: &Report| match report {
        Report::Heartbeat { running, credit: 2, .. } => running.iter().any(|held| held.waits).then_some(()),
        _ => None,
    };
    rig.next(0, lends).await;
    let below = rig.assign(0, 5, &job(2, "child"), "1").await;
    // The child's word that lets its parent go on comes before its own end, so either may be told first.
    let mut ends = [rig.result(0).await, rig.result(0).await].map(|said| (said.job, said.outcome));
    ends.sort_by_key(|(job, _)| job.clone());
    assert_eq!(ends, [(above, Outcome::Succeeded), (below, Outcome::Succeeded)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_lane_begins_a_new_incarnation() {
    let mut rig = Rig::new(1).await;
    let _running = rig.start(worker().capability("echo", Builtin::Echo));
    rig.welcome(0, 5).await;
    rig.credit(0, 5).await;
    let before = rig.incarnation;
    rig.spine.delete(&rig.work).await.unwrap();
    rig.spine.create(&spec(&rig.work, rig::LANES)).await.unwrap();
    rig.welcome(0, 5).await;
    assert!(rig.incarnation > before);
    rig.credit(0, 5).await;
    rig.assign(0, 5, &job(1, "echo"), "7").await;
    assert_eq!(rig.result(0).await.output.as_deref(), Some("7"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_with_the_name_ends_the_first() {
    let mut rig = Rig::new(1).await;
    let running = rig.start(worker().capability("echo", Builtin::Echo));
    rig.welcome(0, 5).await;
    let theirs = rig.incarnation + 1;
    let welcome = Order::Welcome { incarnation: theirs, epoch: 5, heartbeat_ms: 200, lease_ms: 2_000 };
    rig.order(0, 5, &welcome).await;
    let error = running.ended().await.unwrap_err();
    assert!(matches!(&error, RunError::Superseded { theirs: t, .. } if *t == theirs), "{error}");
}

/// The worker, by a clock that is an hour behind.
fn an_hour_behind() -> Builder {
    worker().capability("echo", Builtin::Echo).wall_clock(|| SystemTime::now() - Duration::from_secs(3_600))
}

#[tokio::test(flavor = "multi_thread")]
async fn one_whose_clock_stepped_back_between_two_lives_rises_above_the_first_and_works() {
    let mut rig = Rig::new(2).await;
    let first = rig.start(worker().capability("echo", Builtin::Echo));
    for shard in [0, 1] {
        rig.welcome(shard, 5).await;
        rig.credit(shard, 5).await;
    }
    let known = rig.incarnation;
    first.abort();
    let second = rig.start(an_hour_behind());
    let said = rig.hello(0, |number| number != known).await;
    assert!(said < known);
    rig.order(0, 5, &Order::Outrun { said, known }).await;
    // Towards every shard it is the same life.
    let risen = [rig.hello(0, |number| number > known).await, rig.hello(1, |number| number > known).await];
    assert_eq!(risen[0], risen[1]);
    // The same answer of the other shard comes late.
    rig.order(1, 5, &Order::Outrun { said, known }).await;
    for shard in [0, 1] {
        rig.welcome_as(shard, 5, risen[0]).await;
        rig.credit(shard, 5).await;
    }
    rig.assign(1, 5, &job(1, "echo"), "7").await;
    assert_eq!(rig.result(1).await.output.as_deref(), Some("7"));
    second.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_processes_with_one_name_that_begin_together_one_goes_on_whatever_their_clocks_say() {
    let mut rig = Rig::new(1).await;
    let ahead = rig.start(worker().capability("echo", Builtin::Echo));
    let known = rig.hello(0, |_| true).await;
    let behind = rig.start(an_hour_behind());
    let said = rig.hello(0, |number| number != known).await;
    rig.welcome_as(0, 5, known).await;
    rig.order(0, 5, &Order::Outrun { said, known }).await;
    let risen = rig.hello(0, |number| number > known).await;
    rig.welcome_as(0, 5, risen).await;
    let error = ahead.ended().await.unwrap_err();
    assert!(
        matches!(&error, RunError::Superseded { ours, theirs, .. } if (*ours, *theirs) == (known, risen)),
        "{error}"
    );
    rig.credit(0, 5).await;
    rig.assign(0, 5, &job(1, "echo"), "7").await;
    assert_eq!(rig.result(0).await.output.as_deref(), Some("7"));
    behind.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_no_number_is_above_says_so_and_ends() {
    let mut rig = Rig::new(1).await;
    let running = rig.start(worker().capability("echo", Builtin::Echo));
    let said = rig.hello(0, |_| true).await;
    rig.order(0, 5, &Order::Outrun { said, known: u64::MAX }).await;
    let error = running.ended().await.unwrap_err();
    assert!(matches!(error, RunError::Superseded { theirs: u64::MAX, .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_of_the_clock_does_nothing_to_a_worker_that_runs() {
    let mut rig = Rig::new(1).await;
    // Whoever looks at it again sees it an hour back.
    let looked = Arc::new(AtomicU32::new(0));
    let seen = Arc::clone(&looked);
    let wall = move || match seen.fetch_add(1, Ordering::SeqCst) {
        0 => SystemTime::now(),
        _ => SystemTime::now() - Duration::from_secs(3_600),
    };
    let _running = rig.start(worker().capability("wait", until_cancelled).wall_clock(wall));
    rig.welcome(0, 5).await;
    rig.credit(0, 5).await;
    let mut soon = job(1, "wait");
    soon.deadline = Some(rig::soon());
    rig.assign(0, 5, &soon, "null").await;
    assert_eq!(rig.result(0).await.outcome, Outcome::TimedOut);
    assert!(now_ms() >= soon.deadline.unwrap());
    let mut passed = job(2, "wait");
    passed.deadline = soon.deadline;
    rig.assign(0, 5, &passed, "null").await;
    assert_eq!(rig.result(0).await.reason, "its deadline had passed before it started");
    assert_eq!(looked.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_topic_is_an_error_at_the_start_that_says_what_to_do() {
    let rig = Rig::new(1).await;
    rig.spine.delete(&TopicName::new("t.reports.p").unwrap()).await.unwrap();
    let error = rig.start(worker().capability("echo", Builtin::Echo)).ended().await.unwrap_err();
    assert_eq!(error.to_string(), "worker `w1`: topic `t.reports.p` does not exist; run `tidegate topics apply`");
}

/// Spawns every job its payload lists, and says what came of it.
async fn spawn(context: Context) -> Ending {
    let jobs = serde_json::from_str::<Vec<Box<serde_json::value::RawValue>>>(context.payload().get());
    let mut spawned = Vec::new();
    for job in jobs.unwrap_or_default() {
        match context.spawn(&job).await {
            Ok(Spawned { source, id, .. }) => spawned.push((source, id)),
            Err(NotSpawned::NoSource) => return Ending::failed("no source"),
            Err(error) => return Ending::failed(error.to_string()),
        }
    }
    Ending::succeeded(&spawned)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_spawns_others_with_its_own_ticket_into_one_partition() {
    let mut rig = Rig::new(1).await;
    let topic = TopicName::new("t.jobs.children").unwrap();
    rig.spine.create(&spec(&topic, 7)).await.unwrap();
    let children = Children::new(Arc::clone(&rig.spine), "jobs.children".to_owned().try_into().unwrap(), topic.clone());
    let _running = rig.start(worker().capability("x", spawn).children(children));
    rig.welcome(0, 5).await;
    rig.credit(0, 5).await;
    let child = |id: &str| format!(r#"{{"id":"{id}", "topic":"job.y","capability":"y","payload": {{"n":  1.50}}}}"#);
    rig.assign(0, 5, &job(1, "x"), &format!("[{},{}]", child("a"), child("b"))).await;
    let said = rig.result(0).await;
    assert_eq!(said.outcome, Outcome::Succeeded, "{}", said.reason);
    let spawned: Vec<(SourcePosition, String)> = serde_json::from_str(&said.output.unwrap()).unwrap();
    let [(first, a), (second, b)] = &*spawned else { panic!("{spawned:?}") };
    assert_eq!((a.as_str(), b.as_str()), ("a", "b"));
    assert_eq!(
        (first.partition, second.offset),
        (second.partition, first.offset + 1),
        "a job's children stand together"
    );
    let records = rig.read_all(&topic.partition(first.partition), 2).await;
    for (record, id) in records.iter().zip(["a", "b"]) {
        let text = std::str::from_utf8(record.value.as_ref().unwrap()).unwrap();
        assert!(
            text.starts_with(&format!(r#"{{"id":"{id}", "topic":"job.y","capability":"y","payload": {{"n":  1.50}},"#))
        );
        let child: serde_json::Value = serde_json::from_str(text).unwrap();
        assert_eq!((&child["tenant"], &child["parent"]), (&"acme".into(), &"job-1".into()));
        let parent: serde_json::Value = serde_json::from_str(child["parent_ticket"].as_str().unwrap()).unwrap();
        assert_eq!((&parent["job"]["id"], parent["ticket"].is_object()), (&"job-1".into(), true));
        assert_eq!(record.key.as_deref(), Some(&b"acme/job-1"[..]));
        assert_eq!(record.headers.text("traceparent"), Some(rig::TRACE), "it belongs to its parent's trace");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_spawned_says_why() {
    let mut rig = Rig::new(1).await;
    let topic = TopicName::new("t.none").unwrap();
    let children = Children::new(Arc::clone(&rig.spine), "jobs.children".to_owned().try_into().unwrap(), topic);
    let _running = rig.start(worker().capability("x", spawn).children(children));
    rig.welcome(0, 5).await;
    rig.credit(0, 5).await;
    let large = format!(r#"[{{"payload":"{}"}}]"#, "x".repeat(MAX_PARENT_TICKET_BYTES));
    let rows = [
        (r#"[{"topic":"job.y"}]"#, "`t.none` does not exist"),
        (r#"[{"parent":"me"}]"#, "`parent` of its own"),
        ("[1]", "cannot be written as JSON"),
        (&*large, "cannot delegate"),
    ];
    for (n, (payload, part)) in (1..).zip(rows) {
        rig.assign(0, 5, &job(n, "x"), payload).await;
        let said = rig.result(0).await;
        assert!(said.outcome == Outcome::Failed && said.reason.contains(part), "{}", said.reason);
    }
    let mut rig = Rig::new(1).await;
    let _running = rig.start(worker().capability("x", spawn));
    rig.welcome(0, 5).await;
    rig.credit(0, 5).await;
    rig.assign(0, 5, &job(1, "x"), "[{}]").await;
    assert_eq!(rig.result(0).await.reason, "no source");
}
