//! A job that waits for one that it spawned: what its gateway says, and the slot that it lends meanwhile.
#![expect(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a test")]

mod rig;

use std::sync::Arc;

use rig::{Rig, job, spec, within, worker};
use tidegate_protocol::address::TopicName;
use tidegate_protocol::fleet::Report;
use tidegate_protocol::outcome::Outcome;
use tidegate_worker::{Children, Context, Ending, NotAwaited, Results};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

/// A gateway that answers each question with the next of `answers`, and tells the first line of each.
async fn gateway(mut answers: mpsc::Receiver<(u16, &'static str)>) -> (Results, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let results = Results::new(&format!("http://{}", listener.local_addr().unwrap()), "sesame").unwrap();
    let (asked, questions) = mpsc::channel(10);
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let mut socket = BufReader::new(socket);
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                socket.read_line(&mut head).await.unwrap();
            }
            assert!(head.contains("authorization: Bearer sesame"), "{head}");
            asked.send(head.lines().next().unwrap().to_owned()).await.unwrap();
            let Some((status, body)) = answers.recv().await else { return };
            let head = format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            socket.get_mut().write_all((head + body).as_bytes()).await.unwrap();
        }
    });
    (results, questions)
}

async fn waits(context: Context) -> Ending {
    let child = serde_json::json!({"id": "child", "topic": "job.y", "capability": "y", "payload": 1});
    let child = context.spawn(&child).await.unwrap();
    match child.wait().await {
        Ok(end) => Ending::succeeded(&(end.outcome, end.reason, end.output)),
        Err(NotAwaited::Cancelled(why)) => Ending::cancelled(why.sentence()),
        Err(error) => Ending::failed(error.to_string()),
    }
}

async fn begun() -> (Rig, rig::Running, mpsc::Sender<(u16, &'static str)>, mpsc::Receiver<String>) {
    let mut rig = Rig::new(1).await;
    let topic = TopicName::new("t.jobs.children").unwrap();
    rig.spine.create(&spec(&topic, 1)).await.unwrap();
    let (say, answers) = mpsc::channel(10);
    let (results, questions) = gateway(answers).await;
    let children = Children::new(Arc::clone(&rig.spine), "jobs.children".to_owned().try_into().unwrap(), topic);
    let running = rig.start(worker().capability("x", waits).children(children.results(results)));
    rig.welcome(0, 5).await;
    rig.credit(0, 5).await;
    (rig, running, say, questions)
}

fn waiting(report: &Report, expected: bool) -> Option<()> {
    match report {
        Report::Heartbeat { running, .. } => running.iter().any(|held| held.waits == expected).then_some(()),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_waits_for_its_child_and_lends_its_slot_until_that_has_ended() {
    let (mut rig, _running, say, mut questions) = begun().await;
    rig.assign(0, 5, &job(1, "x"), "1").await;
    let question = within(questions.recv()).await.unwrap();
    assert!(question.starts_with("GET /v1/jobs/jobs.children%2F0@0?wait=25000ms "), "{question}");
    rig.next(0, |report| waiting(report, true)).await;
    for (status, body) in [(404, "{}"), (503, "busy"), (200, r#"{"state":"running"}"#)] {
        say.send((status, body)).await.unwrap();
        within(questions.recv()).await.unwrap();
    }
    say.send((200, r#"{"state":"failed","outcome":"failed","reason":"no money","output":{"a": 1.0}}"#)).await.unwrap();
    let said = rig.result(0).await;
    assert_eq!(said.outcome, Outcome::Succeeded, "{}", said.reason);
    assert_eq!(said.output.as_deref(), Some(r#"["failed","no money",{"a": 1.0}]"#));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_to_stop_waits_no_longer_and_one_that_is_refused_is_told_so() {
    let (mut rig, _running, say, mut questions) = begun().await;
    let mut soon = job(1, "x");
    soon.deadline = Some(rig::soon());
    rig.assign(0, 5, &soon, "1").await;
    within(questions.recv()).await.unwrap();
    let said = rig.result(0).await;
    assert_eq!((said.outcome, said.reason.contains("its deadline passed")), (Outcome::TimedOut, true));
    // Of the question before.
    say.send((200, "{}")).await.unwrap();
    rig.assign(0, 5, &job(2, "x"), "1").await;
    within(questions.recv()).await.unwrap();
    say.send((401, "who are you?")).await.unwrap();
    let said = rig.result(0).await;
    assert!(said.outcome == Outcome::Failed && said.reason.contains("status 401"), "{}", said.reason);
}
