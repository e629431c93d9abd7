//! The tools of an MCP server as capabilities, over a real embedded spine and a real server of both kinds
//! (`mcp_server.py`).
#![cfg(unix)]
#![expect(clippy::indexing_slicing, clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a test")]

mod rig;

use std::time::Duration;

use rig::{Rig, Running, Said, job, ticketed, worker};
use serde_json::{Value, json};
use tidegate_protocol::decision::{Decision, Verdict};
use tidegate_protocol::fleet::Report;
use tidegate_protocol::job::Job;
use tidegate_protocol::outcome::Outcome;
use tidegate_worker::agent::mcp::Offer;
use tidegate_worker::agent::{BadServer, Endpoint, McpServer};
use tokio::io::AsyncBufReadExt;
use tokio::process::{Child, Command};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/mcp_server.py");

fn stdio(flags: &[&str]) -> McpServer {
    let words = ["python3", "tests/mcp_server.py"].into_iter().chain(flags.iter().copied());
    McpServer::stdio(words, None).unwrap().grace(Duration::from_secs(3))
}

/// With the process, which ends with it.
async fn http(flags: &[&str]) -> (McpServer, Child) {
    let mut command = Command::new("python3");
    command.arg(SCRIPT).arg("--http").args(flags).kill_on_drop(true).stdout(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut port = String::new();
    tokio::io::BufReader::new(child.stdout.take().unwrap()).read_line(&mut port).await.unwrap();
    let endpoint = Endpoint::new(&format!("http://127.0.0.1:{}/mcp", port.trim())).unwrap();
    let endpoint = if flags.contains(&"--key") { endpoint.bearer("sesame").unwrap() } else { endpoint };
    (McpServer::http(endpoint).grace(Duration::from_secs(3)), child)
}

async fn agent(offer: &Offer) -> (Rig, Running) {
    let mut rig = Rig::new(1).await;
    let tools = offer.tools.iter();
    let builder = tools.fold(worker(), |builder, tool| builder.capability(offer.capability(tool), offer.handler(tool)));
    let running = rig.start(builder.capability("mcp", offer.by_label()));
    rig.welcome(0, 5).await;
    rig.credit(0, 5).await;
    (rig, running)
}

/// A call of a tool, labelled as it should be.
fn call(number: u64, tool: &str) -> Job {
    let mut call = job(number, &format!("mcp.notes.{tool}"));
    call.labels.insert("mcp.server".into(), "notes".into());
    call.labels.insert("mcp.tool".into(), tool.into());
    call
}

async fn run(rig: &mut Rig, job: &Job, payload: &str) -> Said {
    rig.assign(0, 5, job, payload).await;
    rig.result(0).await
}

fn text_of(said: &Said) -> String {
    let output: Value = serde_json::from_str(said.output.as_ref().unwrap()).unwrap();
    output["content"][0]["text"].as_str().unwrap().to_owned()
}

/// What both kinds of server do alike.
async fn keeps_the_contract(server: McpServer) -> (Rig, Running) {
    let offer = server.output_limit(10_000).offer(None).await.unwrap();
    assert_eq!((offer.name.as_str(), offer.tools.len()), ("notes", 9), "all pages: {:?}", offer.tools);
    let (mut rig, running) = agent(&offer).await;

    let said = run(&mut rig, &call(1, "echo"), "{\"n\": 10000000000000000000001}").await;
    assert_eq!(said.outcome, Outcome::Succeeded, "{}", said.reason);
    assert_eq!(text_of(&said), "{\"n\": 10000000000000000000001}", "arguments go as they were judged");
    let said: Value = serde_json::from_str(said.output.as_ref().unwrap()).unwrap();
    assert_eq!(said["structuredContent"]["trace"], rig::TRACE, "it belongs to the job's trace");
    assert_eq!(text_of(&run(&mut rig, &call(2, "echo"), "null").await), "{}");

    let said = run(&mut rig, &call(3, "fail"), "{}").await;
    assert_eq!((said.outcome, said.retryable, said.reason.as_str()), (Outcome::Failed, false, "no such account"));
    assert!(said.output.is_some(), "the result is handed on all the same");

    let said = run(&mut rig, &call(4, "large"), "{\"bytes\": 9999}").await;
    assert!(!said.retryable && said.reason.contains("more than the limit of 10000"), "{}", said.reason);

    for (number, payload) in (5..).zip(["1", "[1]", "\"x\""]) {
        let said = run(&mut rig, &call(number, "echo"), payload).await;
        assert_eq!(said.reason, "the payload of an MCP call is an object: its arguments");
    }
    (rig, running)
}

async fn is_told_to_stop(rig: &mut Rig, number: u64) {
    let mut soon = call(number, "slow");
    soon.deadline = Some(rig::once_started());
    rig.assign(0, 5, &soon, "{}").await;
    let progress = |report: &Report| match report {
        Report::Progress { fraction, note, .. } => Some((*fraction, note.clone())),
        _ => None,
    };
    assert_eq!(rig.next(0, progress).await, (Some(0.25), "a quarter".into()));
    let said = rig.result(0).await;
    assert_eq!(text_of(&said), "stopped when it was told to");
}

#[tokio::test(flavor = "multi_thread")]
async fn tools_of_a_process_are_called_cancelled_and_tell_their_progress() {
    let (mut rig, _running) = keeps_the_contract(stdio(&[])).await;
    is_told_to_stop(&mut rig, 8).await;
    let said = run(&mut rig, &call(9, "busy"), "{}").await;
    assert_eq!((said.retryable, said.reason.as_str()), (true, "error -32603: the database is away"));
    let said = run(&mut rig, &call(10, "teapot"), "{}").await;
    assert_eq!((said.retryable, said.reason.as_str()), (false, "error -32602: unknown tool: teapot"));
    let asked = text_of(&run(&mut rig, &call(11, "ask"), "{}").await);
    let asked: Vec<Value> = serde_json::from_str(&asked).unwrap();
    assert_eq!(asked.first(), Some(&json!({"jsonrpc": "2.0", "id": "their-1", "result": {}})));
    assert_eq!(asked.get(1).map(|said| &said["error"]["code"]), Some(&json!(-32601)));
    let methods = text_of(&run(&mut rig, &call(12, "seen"), "{}").await);
    assert!(methods.starts_with(r#"["initialize", "notifications/initialized", "tools/list""#), "{methods}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tools_over_http_are_called_and_answer_in_documents_or_streams() {
    let (server, _process) = http(&["--key"]).await;
    let (mut rig, _running) = keeps_the_contract(server).await;
    let said = run(&mut rig, &call(8, "busy"), "{}").await;
    assert_eq!((said.retryable, said.reason.as_str()), (true, "error -32603: the database is away"));
    let said = run(&mut rig, &call(9, "teapot"), "{}").await;
    assert_eq!(
        (said.retryable, said.reason.as_str()),
        (false, "the MCP server: status 418 I'm a teapot: I am a teapot")
    );

    let (server, _process) = http(&["--stream"]).await;
    let (mut rig, _running) = keeps_the_contract(server).await;
    is_told_to_stop(&mut rig, 8).await;
    let said = run(&mut rig, &call(9, "busy"), "{}").await;
    assert!(said.retryable && said.reason.ends_with("the stream ended before the answer"), "{}", said.reason);
    let asked = text_of(&run(&mut rig, &call(10, "ask"), "{}").await);
    assert!(asked.contains("their-1") && asked.contains("-32601"), "{asked}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_dies_fails_what_it_had_and_is_started_again_with_pauses() {
    let offer = stdio(&[]).offer(Some("notes")).await.unwrap();
    let (mut rig, _running) = agent(&offer).await;
    let pid = |said: &Said| {
        serde_json::from_str::<Value>(said.output.as_ref().unwrap()).unwrap()["structuredContent"]["pid"].clone()
    };
    let first = pid(&run(&mut rig, &call(1, "echo"), "{}").await);
    rig.assign(0, 5, &call(2, "slow"), "{}").await;
    rig.assign(0, 5, &call(3, "die"), "{}").await;
    for _ in 0..2 {
        let said = rig.result(0).await;
        assert_eq!((said.outcome, said.retryable), (Outcome::Failed, true));
        assert_eq!(said.reason, "the MCP server is away: exit code 3: out of ideas");
    }
    let second = pid(&run(&mut rig, &call(4, "echo"), "{}").await);
    assert_ne!(first, second);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_too_large_to_take_in_fails_its_call_alone() {
    let offer = stdio(&[]).output_limit(10_000).offer(None).await.unwrap();
    let (mut rig, _running) = agent(&offer).await;
    rig.assign(0, 5, &call(1, "slow"), "{\"seconds\": 3}").await;
    for number in 2..5 {
        rig.assign(0, 5, &call(number, "large"), "{\"bytes\": 300000}").await;
        let said = rig.result(0).await;
        assert_eq!((said.outcome, said.retryable), (Outcome::Failed, false), "{}", said.reason);
        assert!(said.reason.contains("its answer has more than 75536 bytes"), "{}", said.reason);
    }
    assert_eq!(text_of(&run(&mut rig, &call(5, "echo"), "{}").await), "{}");
    assert_eq!(text_of(&rig.result(0).await), "done", "the server lives on, and with it what others had asked");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_not_known_is_begun_anew_once_though_the_server_says_bad_request() {
    let (server, _process) = http(&["--forget", "--vague"]).await;
    let offer = server.offer(None).await.unwrap();
    let (mut rig, _running) = agent(&offer).await;
    for number in 1..4 {
        let said = run(&mut rig, &call(number, "echo"), "{}").await;
        assert_eq!(said.outcome, Outcome::Succeeded, "{number}: {}", said.reason);
    }
    let said = run(&mut rig, &call(4, "teapot"), "{}").await;
    assert_eq!(
        (said.retryable, said.reason.as_str()),
        (false, "the MCP server: status 400 Bad Request: I am a teapot"),
        "what a new session refuses as well is wrong in itself"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_over_is_begun_anew_and_a_server_that_is_gone_may_come_back() {
    let (server, mut process) = http(&["--forget"]).await;
    let offer = server.offer(None).await.unwrap();
    let (mut rig, _running) = agent(&offer).await;
    for number in 1..4 {
        let said = run(&mut rig, &call(number, "echo"), "{}").await;
        assert_eq!(said.outcome, Outcome::Succeeded, "{number}: {}", said.reason);
    }
    process.kill().await.unwrap();
    let said = run(&mut rig, &call(4, "echo"), "{}").await;
    assert!(said.retryable && said.reason.starts_with("the MCP server is away: "), "{}", said.reason);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_runs_only_for_a_job_whose_labels_policy_judged_it_by() {
    let offer = stdio(&[]).offer(None).await.unwrap().only(&["echo".into(), "fail".into()]).unwrap();
    let (mut rig, _running) = agent(&offer).await;
    let mut unlabelled = call(1, "echo");
    unlabelled.labels.clear();
    let mut serverless = call(2, "echo");
    serverless.labels.remove("mcp.server");
    let mut disguised = call(3, "fail");
    disguised.labels.insert("mcp.tool".into(), "echo".into());
    let mut elsewhere = call(4, "echo");
    elsewhere.labels.insert("mcp.server".into(), "mail".into());
    for job in [unlabelled, serverless, disguised, elsewhere] {
        let said = run(&mut rig, &job, "{}").await;
        assert!(said.reason.starts_with("refused by its worker: policy judges MCP calls by labels"), "{}", said.reason);
        assert_eq!((said.outcome, said.retryable), (Outcome::Failed, false));
    }
    // One capability for all tools: the label names it.
    let by_label = |number, tool: &str| Job { capability: "mcp".to_owned().try_into().unwrap(), ..call(number, tool) };
    assert_eq!(run(&mut rig, &by_label(5, "echo"), "{}").await.outcome, Outcome::Succeeded);
    let said = run(&mut rig, &by_label(6, "seen"), "{}").await;
    assert_eq!(said.reason, "the MCP server `notes` offers no tool `seen`");

    let under = |constraints: &str| {
        let constraints = Some(serde_json::from_str(constraints).unwrap());
        Decision { constraints, ..Decision::new(Verdict::AllowWithConstraints, "test", "s1") }
    };
    for (number, constraints, refusal) in [
        (
            7,
            r#"{"toolchain":{"allowed_tools":["fail"]}}"#,
            Some("its constraints allow the tools [fail]; `echo` is none of them"),
        ),
        (8, r#"{"toolchain":{"allowed_tools":["echo"]}}"#, None),
        (
            9,
            r#"{"toolchain":{"allowed_commands":["node"]}}"#,
            Some("its constraints allow the commands [node]; `python3` is none of them"),
        ),
        (10, r#"{"budgets":{"max_artifact_bytes":10}}"#, Some("more than the limit of 10")),
    ] {
        let job = call(number, "echo");
        rig.assign_text(0, 5, &job, ticketed(&job, &under(constraints), "{}")).await;
        let said = rig.result(0).await;
        match refusal {
            Some(refusal) => assert!(said.reason.ends_with(refusal), "{}", said.reason),
            None => assert_eq!(said.outcome, Outcome::Succeeded, "{}", said.reason),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_cannot_be_used_is_refused_at_the_start_with_the_reason() {
    assert_eq!(stdio(&["--no-tools"]).offer(None).await.unwrap_err(), BadServer::NoTools);
    let newer = stdio(&["--revision", "2026-07-28"]).offer(None).await.unwrap_err();
    assert_eq!(newer, BadServer::Revision { theirs: "2026-07-28".into() });
    assert!(stdio(&["--revision", "2025-03-26"]).offer(None).await.is_ok());
    assert!(matches!(stdio(&[]).offer(Some("my notes")).await.unwrap_err(), BadServer::Name { .. }));
    let none = stdio(&[]).offer(None).await.unwrap().only(&["rm".into()]).unwrap_err();
    assert!(none.to_string().contains("no tool `rm`; its tools are ask, busy"), "{none}");
    let mute = McpServer::stdio(["true"], None).unwrap().offer(None).await.unwrap_err().to_string();
    assert!(mute.ends_with("exit code 0"), "{mute}");
    let missing = McpServer::stdio(["/no/such/program"], None).unwrap().offer(None).await.unwrap_err();
    assert!(matches!(missing, BadServer::NoAnswer { .. }));
    let (keyed, _process) = http(&["--key"]).await;
    drop(keyed);
    let nobody = McpServer::http(Endpoint::new("http://127.0.0.1:1/").unwrap()).offer(None).await.unwrap_err();
    assert!(nobody.to_string().contains("no connection"), "{nobody}");
}
