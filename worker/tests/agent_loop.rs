//! The agent's contract with a process that is kept alive, over a real embedded spine and real processes.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test")]

mod rig;

use std::time::{Duration, Instant};

use rig::{Rig, Running, Said, job, now_ms, ticketed, within, worker};
use serde_json::{Value, json};
use tidegate_protocol::decision::{Decision, Verdict};
use tidegate_protocol::outcome::Outcome;
use tidegate_worker::agent::LoopHandler;

/// A process that does `body` for every line it is told, which is `told`; `say` answers.
fn process(body: &str) -> LoopHandler {
    let script = format!(
        "import json, os, sys, time, signal\n\
         def say(kind, seq, **more): print(json.dumps(dict(more, type=kind, seq=seq)), flush=True)\n\
         done = 0\n\
         for line in iter(sys.stdin.readline, ''):\n    told = json.loads(line); seq = told['seq']; job = told.get('payload')\n    {}\n",
        body.replace('\n', "\n    ")
    );
    // Longer than any answer takes on a machine that is busy.
    LoopHandler::new(["python3", "-c", &script]).unwrap().grace(Duration::from_secs(30))
}

async fn agent(handler: LoopHandler, at_once: u32) -> (Rig, Running) {
    let mut rig = Rig::new(1).await;
    let running = rig.start(worker().concurrency(at_once).capability("run", handler));
    rig.welcome(0, 5).await;
    rig.credit(0, 5).await;
    (rig, running)
}

/// The next job of one slot.
async fn run(rig: &mut Rig, number: u64, payload: &str) -> Said {
    let key = rig.assign(0, 5, &job(number, "run"), payload).await;
    let said = rig.result(0).await;
    rig.settle(0, 5, &key, true).await;
    said
}

fn output(said: &Said) -> Value {
    serde_json::from_str(said.output.as_ref().unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_process_does_one_job_after_the_other_and_is_told_all_there_is_to_know() {
    let body = "done += 1\nsay('result', seq, output={'pid': os.getpid(), 'done': done, 'told': told})";
    let (mut rig, _running) = agent(process(body), 1).await;
    let mut full = job(1, "run");
    full.labels.insert("team".into(), "a\nb".into());
    full.deadline = Some(now_ms() + 60_000);
    let constraints = serde_json::from_str(r#"{"budgets":{"max_tokens":5}}"#).unwrap();
    let decision = Decision { constraints: Some(constraints), ..Decision::new(Verdict::Allow, "test", "s1") };
    rig.assign_text(0, 5, &full, ticketed(&full, &decision, "{\"n\": 1.0,\n \"t\":\"x\"}")).await;
    let first = output(&rig.result(0).await);
    let told = &first["told"];
    for (member, value) in [
        ("v", json!(1)),
        ("type", json!("job")),
        ("id", json!("job-1")),
        ("tenant", json!("acme")),
        ("capability", json!("run")),
        ("labels", json!({"team": "a\nb"})),
        ("source", json!("jobs/0@1")),
        ("attempt", json!(1)),
        ("token", json!("5.1")),
        ("constraints", json!({"budgets": {"max_tokens": 5}})),
        ("payload_encoding", json!("json")),
        ("traceparent", json!(rig::TRACE)),
        ("payload", json!({"n": 1.0, "t": "x"})),
        ("deadline_ms", json!(full.deadline)),
    ] {
        assert_eq!(told[member], value, "{member}");
    }
    assert!(!std::path::Path::new(told["ticket_file"].as_str().unwrap()).exists(), "it goes with the job");
    let second = output(&run(&mut rig, 2, "1").await);
    assert_eq!((&second["pid"], &second["done"]), (&first["pid"], &json!(2)));
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_at_once_have_a_process_each() {
    // Neither ends before both have begun.
    let met = tempfile::tempdir().unwrap();
    let body = format!(
        "open(os.path.join('{0}', str(job)), 'w').close()\nwhile len(os.listdir('{0}')) < 2: time.sleep(0.01)\n\
         say('result', seq, output=os.getpid())",
        met.path().display()
    );
    let (mut rig, _running) = agent(process(&body), 2).await;
    rig.assign(0, 5, &job(1, "run"), "1").await;
    rig.assign(0, 5, &job(2, "run"), "2").await;
    let (one, other) = (output(&rig.result(0).await), output(&rig.result(0).await));
    assert_ne!(one, other);
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_are_final_or_not_as_the_process_says() {
    let (mut rig, _running) = agent(process("say('failure', seq, **job)"), 1).await;
    let table = [
        (r#"{"reason":"no"}"#, false),
        (r#"{"reason":"busy","retryable":true}"#, true),
        (r#"{"reason":"busy","retry_after_ms":5}"#, true),
    ];
    for (number, (payload, retryable)) in (1..).zip(table) {
        let said = run(&mut rig, number, payload).await;
        assert_eq!((said.outcome, said.retryable), (Outcome::Failed, retryable), "{payload}: {}", said.reason);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_dies_fails_its_job_alone_which_may_be_tried_again_and_is_started_again() {
    let body = "if job == 'die':\n    sys.stderr.write('out of ideas\\n'); sys.exit(3)\nsay('result', seq, output=os.getpid())";
    let (mut rig, _running) = agent(process(body), 1).await;
    let first = output(&run(&mut rig, 1, "1").await);
    let said = run(&mut rig, 2, "\"die\"").await;
    assert_eq!((said.outcome, said.retryable), (Outcome::Failed, true));
    assert_eq!(said.reason, "its process ended without an answer: exit code 3: out of ideas");
    assert_ne!(output(&run(&mut rig, 3, "1").await), first);
    // One that answers nothing at all is started again ever more slowly.
    let begun = Instant::now();
    for number in 4..8 {
        assert!(run(&mut rig, number, "\"die\"").await.retryable);
    }
    assert!(begun.elapsed() > Duration::from_millis(350), "no pause between starts: {:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_answer_fails_the_job_for_good_and_shows_the_line() {
    let body = "if job: sys.stdout.write(job + '\\n'); sys.stdout.flush()\nelse: say('result', seq, output=1)";
    let (mut rig, _running) = agent(process(body), 1).await;
    let table = [
        ("\"Ready.\"", "its process was killed: `Ready.` is no answer: expected value"),
        (r#""{\"type\":\"done\",\"seq\":1}""#, "unknown variant `done`"),
        (r#""{\"type\":\"result\",\"seq\":99}""#, "it answered job 99 while it had job 3"),
    ];
    for (number, (payload, reason)) in (1..).zip(table) {
        let said = run(&mut rig, number, payload).await;
        assert_eq!((said.outcome, said.retryable), (Outcome::Failed, false), "{payload}");
        assert!(said.reason.contains(reason), "{}", said.reason);
    }
    assert_eq!(run(&mut rig, 4, "null").await.outcome, Outcome::Succeeded, "the next has a new process");
}

#[tokio::test(flavor = "multi_thread")]
async fn too_long_a_line_or_output_fails_the_job() {
    let body = "say('result', seq, output='x' * job)";
    let (mut rig, _running) = agent(process(body).output_limit(1_000), 1).await;
    assert_eq!(run(&mut rig, 1, "998").await.outcome, Outcome::Succeeded, "exactly the limit, its quotes included");
    let said = run(&mut rig, 2, "999").await;
    assert!(said.reason.starts_with("output of 1001 bytes is larger than the limit of 1000"), "{}", said.reason);
    let said = run(&mut rig, 3, "100000000").await;
    assert!(said.reason.starts_with("its process was killed: a line is longer than"), "{}", said.reason);
    assert_eq!((said.outcome, said.retryable), (Outcome::Failed, false));
}

#[tokio::test(flavor = "multi_thread")]
async fn told_to_stop_a_process_may_answer_and_lives_on_or_is_stopped_and_then_killed() {
    let polite = "if told['type'] == 'cancel': say('failure', seq, reason='stopped half way: ' + told['reason'])\n\
                  elif job != 'wait': say('result', seq, output=os.getpid())";
    let (mut rig, _running) = agent(process(polite), 1).await;
    let pid = output(&run(&mut rig, 1, "1").await);
    let mut soon = job(2, "run");
    soon.deadline = Some(rig::soon());
    rig.assign(0, 5, &soon, "\"wait\"").await;
    let said = rig.result(0).await;
    assert_eq!(said.outcome, Outcome::TimedOut);
    assert_eq!(said.reason, "its deadline passed: stopped half way: its deadline passed");
    assert_eq!(output(&run(&mut rig, 3, "1").await), pid, "it lives on");

    for (deaf, signal) in [("", 15), ("signal.signal(signal.SIGTERM, signal.SIG_IGN); ", 9)] {
        let body = format!("{deaf}job == 'wait' and time.sleep(60); say('result', seq, output=1)");
        let (mut rig, _running) = agent(process(&body).grace(Duration::from_secs(1)), 1).await;
        assert_eq!(output(&run(&mut rig, 1, "1").await), 1, "by now it is as deaf as it will be");
        let mut soon = job(2, "run");
        soon.deadline = Some(rig::soon());
        rig.assign(0, 5, &soon, "\"wait\"").await;
        let said = rig.result(0).await;
        assert_eq!(said.outcome, Outcome::TimedOut);
        assert!(said.reason.ends_with(&format!("(killed by signal {signal})")), "{}", said.reason);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandboxed_job_has_a_process_and_a_folder_for_itself_alone() {
    let body = "say('result', seq, output=[os.getpid(), os.getcwd(), sorted(os.listdir('.')), 'CARGO_MANIFEST_DIR' in os.environ])";
    let mut rig = Rig::new(1).await;
    let enforces = ["sandbox.isolated".parse().unwrap()];
    let _running = rig.start(worker().concurrency(1).enforces(enforces).capability("run", process(body)));
    rig.welcome(0, 5).await;
    rig.credit(0, 5).await;
    let free = output(&run(&mut rig, 1, "1").await);
    assert_eq!(free[3], true, "the worker's own environment");
    let constraints = serde_json::from_str(r#"{"sandbox":{"isolated":true}}"#).unwrap();
    let decision =
        Decision { constraints: Some(constraints), ..Decision::new(Verdict::AllowWithConstraints, "t", "s") };
    let mut folders = Vec::new();
    for number in 2..4 {
        let job = job(number, "run");
        let key = rig.assign_text(0, 5, &job, ticketed(&job, &decision, "1")).await;
        let boxed = output(&rig.result(0).await);
        rig.settle(0, 5, &key, true).await;
        assert!(boxed[0] != free[0] && boxed[1] != free[1] && boxed[2] == json!([]) && boxed[3] == false, "{boxed}");
        assert!(!std::path::Path::new(boxed[1].as_str().unwrap()).exists());
        folders.push(boxed[1].clone());
    }
    assert_ne!(folders.first(), folders.get(1));
    assert_eq!(output(&run(&mut rig, 4, "1").await)[0], free[0], "the free one was left alone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_worker_takes_its_idle_processes_with_it() {
    let (mut rig, running) = agent(process("say('result', seq, output=os.getpid())"), 1).await;
    let pid = output(&run(&mut rig, 1, "1").await);
    running.abort();
    let gone = || std::fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |stat| stat.contains(") Z "));
    within(async {
        while !gone() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}
