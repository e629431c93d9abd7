//! The agent's contract with an HTTP endpoint, over a real embedded spine and a real socket.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test")]

mod rig;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rig::{Rig, Running, Said, job, now_ms, ticketed, within, worker};
use tidegate_protocol::decision::{Decision, Verdict};
use tidegate_protocol::ids::JobId;
use tidegate_protocol::outcome::Outcome;
use tidegate_worker::agent::http::HEADERS;
use tidegate_worker::agent::{Endpoint, HttpHandler};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

#[derive(Debug, Clone, Default)]
struct Asked {
    line: String,
    headers: BTreeMap<String, String>,
    body: String,
}

/// An endpoint that answers everything with these bytes, then closes; with none it reads and stays silent.
struct Server {
    url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    closed: Arc<Mutex<u32>>,
}

async fn server(answer: Option<String>) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/run?x=y", listener.local_addr().unwrap());
    let server = Server { url, asked: Arc::default(), closed: Arc::default() };
    let (asked, closed) = (Arc::clone(&server.asked), Arc::clone(&server.closed));
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let mut socket = BufReader::new(socket);
            let mut request = Asked::default();
            socket.read_line(&mut request.line).await.unwrap();
            loop {
                let mut line = String::new();
                socket.read_line(&mut line).await.unwrap();
                let Some((name, value)) = line.trim_end().split_once(": ") else { break };
                request.headers.insert(name.to_lowercase(), value.to_owned());
            }
            let length = request.headers.get("content-length").map_or(0, |length| length.parse().unwrap());
            let mut body = vec![0; length];
            socket.read_exact(&mut body).await.unwrap();
            request.body = String::from_utf8(body).unwrap();
            asked.lock().unwrap().push(request);
            match &answer {
                Some(answer) => {
                    let _closed = socket.get_mut().write_all(answer.as_bytes()).await;
                }
                None => {
                    let mut rest = Vec::new();
                    let _end = socket.read_to_end(&mut rest).await;
                    *closed.lock().unwrap() += 1;
                }
            }
        }
    });
    server
}

fn answer(status: &str, headers: &str, body: &str) -> Option<String> {
    Some(format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n{headers}\r\n{body}", body.len()))
}

async fn agent(handler: HttpHandler) -> (Rig, Running) {
    let mut rig = Rig::new(1).await;
    let running = rig.start(worker().capability("run", handler));
    rig.welcome(0, 5).await;
    rig.credit(0, 5).await;
    (rig, running)
}

fn to(server: &Server) -> HttpHandler {
    HttpHandler::new(Endpoint::new(&server.url).unwrap())
}

async fn run(handler: HttpHandler) -> Said {
    let (mut rig, _running) = agent(handler).await;
    rig.assign(0, 5, &job(1, "run"), "1").await;
    rig.result(0).await
}

#[tokio::test(flavor = "multi_thread")]
async fn status_and_body_are_how_the_job_ended() {
    let table = [
        ("200 OK", "", r#"{"a": 1}"#, Outcome::Succeeded, false, ""),
        ("204 No Content", "", "", Outcome::Succeeded, false, ""),
        (
            "422 Unprocessable",
            "",
            "no such account\n",
            Outcome::Failed,
            false,
            "status 422 Unprocessable Entity: no such account",
        ),
        ("500 Oops", "", "", Outcome::Failed, false, "status 500 Internal Server Error"),
        ("503 Busy", "", "later", Outcome::Failed, true, "status 503 Service Unavailable: later"),
        ("429 Slow", "retry-after: 2\r\n", "", Outcome::Failed, true, "status 429 Too Many Requests"),
        ("500 Oops", "retry-after: 2\r\n", "", Outcome::Failed, true, "status 500 Internal Server Error"),
        (
            "307 Elsewhere",
            "location: http://127.0.0.1:1/\r\n",
            "",
            Outcome::Failed,
            false,
            "status 307 Temporary Redirect (redirects are not followed)",
        ),
    ];
    for (status, headers, body, outcome, retryable, reason) in table {
        let server = server(answer(status, headers, body)).await;
        let said = run(to(&server)).await;
        assert_eq!((said.outcome, said.retryable, said.reason.as_str()), (outcome, retryable, reason), "{status}");
        if status.starts_with("200") {
            assert_eq!(said.output.as_deref(), Some(body));
        }
        assert_eq!(server.asked.lock().unwrap().len(), 1, "{status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_cannot_be_reached_or_breaks_off_or_takes_too_long_may_do_better_later() {
    let nobody = HttpHandler::new(Endpoint::new("http://127.0.0.1:1/").unwrap());
    let said = run(nobody).await;
    assert!(said.retryable && said.reason.starts_with("the endpoint did not answer: no connection"), "{}", said.reason);
    let cut = server(Some("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n12".into())).await;
    let said = run(to(&cut)).await;
    assert!(said.retryable && said.reason.starts_with("the answer broke off"), "{}", said.reason);
    let silent = server(None).await;
    let said = run(to(&silent).answer_limit(Duration::from_millis(200))).await;
    assert!(said.retryable && said.reason.contains("no answer in time"), "{}", said.reason);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_beyond_the_limit_is_a_failure_for_good() {
    let server = server(answer("200 OK", "", "12345")).await;
    assert_eq!(run(to(&server).output_limit(5)).await.outcome, Outcome::Succeeded);
    let said = run(to(&server).output_limit(4)).await;
    assert!(!said.retryable && said.reason.starts_with("the answer has more than 4 bytes"), "{}", said.reason);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_to_stop_has_its_connection_closed() {
    let silent = server(None).await;
    let (mut rig, _running) = agent(to(&silent)).await;
    let mut soon = job(1, "run");
    soon.deadline = Some(rig::soon());
    rig.assign(0, 5, &soon, "1").await;
    let said = rig.result(0).await;
    assert_eq!(said.outcome, Outcome::TimedOut, "{}", said.reason);
    within(async {
        while *silent.closed.lock().unwrap() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_headers_tell_the_job_and_the_documented_list_is_complete() {
    let server = server(answer("200 OK", "", "")).await;
    let endpoint = Endpoint::new(&server.url).unwrap().bearer("sesame").unwrap();
    let (mut rig, _running) = agent(HttpHandler::new(endpoint)).await;
    let mut full = job(1, "run");
    full.id = JobId::new("größer").unwrap();
    full.deadline = Some(now_ms() + 60_000);
    let constraints = serde_json::from_str(r#"{"toolchain":{"allowed_tools":["ö"]}}"#).unwrap();
    let decision = Decision { constraints: Some(constraints), ..Decision::new(Verdict::Allow, "test", "s1") };
    rig.assign_text(0, 5, &full, ticketed(&full, &decision, "{\"n\": 1}")).await;
    assert_eq!(rig.result(0).await.outcome, Outcome::Succeeded);
    let asked = server.asked.lock().unwrap().first().cloned().unwrap();
    assert_eq!((asked.line.as_str(), asked.body.as_str()), ("POST /run?x=y HTTP/1.1\r\n", "{\"n\": 1}"));
    for (name, value) in [
        ("authorization", "Bearer sesame"),
        ("idempotency-key", "jobs/0@1"),
        ("tidegate-job", "größer"),
        ("tidegate-tenant", "acme"),
        ("tidegate-attempt", "1"),
        ("tidegate-token", "5.1"),
        ("tidegate-constraints", r#"{"toolchain":{"allowed_tools":["\u00f6"]}}"#),
        ("tidegate-payload-encoding", "json"),
        ("traceparent", rig::TRACE),
    ] {
        assert_eq!(asked.headers.get(name).map(String::as_str), Some(value), "{name}");
    }
    let others = ["idempotency-key", "traceparent"];
    let ours = |name: &&String| name.starts_with("tidegate-") || others.contains(&name.as_str());
    let sent: BTreeSet<&str> = asked.headers.keys().filter(ours).map(String::as_str).collect();
    assert_eq!(sent, HEADERS.iter().map(|(name, _)| *name).collect());
}
