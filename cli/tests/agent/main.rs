//! What the agent runs, through the real binary: `tidegate dev` with a process that is kept alive, an MCP server and an
//! endpoint, and jobs of all of them submitted and waited for.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that meets what it does not expect must fail"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Generous: machines that run tests are busy.
const PATIENCE: Duration = Duration::from_secs(90);
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

const POLICY: &str = "\
id: agents
revision: 1
rules:
  - { id: run, match: { topics: [job.>] }, decision: allow, reason: jobs may run }
  - { id: no-large, invariant: true, match: { topics: [job.mcp.>], labels: { mcp.tool: large } }, decision: deny, reason: that tool is not for agents }
";

struct Dev {
    home: tempfile::TempDir,
    process: Child,
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn tidegate(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.current_dir(home).stdin(Stdio::null());
    for name in ["TIDEGATE_CONFIG", "TIDEGATE_SPINE", "TIDEGATE_LOG", "TIDEGATE_URL", "TIDEGATE_KEY"] {
        command.env_remove(name);
    }
    command.env("TIDEGATE_DATA", "data");
    command
}

impl Dev {
    fn new(arguments: &[String]) -> Self {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join("policy")).unwrap();
        std::fs::write(home.path().join("policy/agents.yaml"), POLICY).unwrap();
        let log = std::fs::File::create(home.path().join("dev.log")).unwrap();
        let mut dev = tidegate(home.path());
        dev.args(["dev", "--listen", "127.0.0.1:0", "--policy", "policy"]).args(arguments);
        let process = dev.stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let dev = Self { home, process };
        let begun = Instant::now();
        while !dev.home.path().join("data/address").exists() {
            assert!(
                begun.elapsed() < PATIENCE,
                "{}",
                std::fs::read_to_string(dev.home.path().join("dev.log")).unwrap()
            );
            std::thread::yield_now();
        }
        dev
    }

    /// Submits jobs, waits for them, and gives back each as it ended.
    fn ended(&self, jobs: &[Value]) -> Vec<Value> {
        let mut submit = tidegate(self.home.path());
        submit.args(["submit", "-", "--wait", "--output", "json"]).stdin(Stdio::piped());
        let mut submit = submit.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines: String = jobs.iter().map(|job| format!("{job}\n")).collect();
        submit.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
        let said = submit.wait_with_output().unwrap();
        assert!(said.stdout.ends_with(b"\n"), "{}", String::from_utf8_lossy(&said.stderr));
        let get = |job: &Value| {
            let mut get = tidegate(self.home.path());
            get.args(["jobs", "get", job["id"].as_str().unwrap(), "--output", "json"]);
            let output = get.output().unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            serde_json::from_str(text.lines().last().unwrap_or_else(|| panic!("{job}"))).unwrap()
        };
        jobs.iter().map(get).collect()
    }
}

/// An endpoint that takes one request and gives its body back.
fn endpoint() -> (String, std::thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/run", listener.local_addr().unwrap());
    let served = std::thread::spawn(move || {
        let mut socket = BufReader::new(listener.accept().unwrap().0);
        let (mut length, mut key) = (0, String::new());
        loop {
            let mut line = String::new();
            socket.read_line(&mut line).unwrap();
            match line.trim_end().split_once(": ") {
                Some(("content-length", value)) => length = value.parse().unwrap(),
                Some(("idempotency-key", value)) => value.clone_into(&mut key),
                Some(_) => {}
                None if line.trim_end().is_empty() => break,
                None => {}
            }
        }
        let mut body = vec![0; length];
        socket.read_exact(&mut body).unwrap();
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
        socket.get_mut().write_all(&[head.as_bytes(), &body].concat()).unwrap();
        key
    });
    (url, served)
}

fn job(id: &str, capability: &str, payload: Value) -> Value {
    json!({"id": id, "tenant": "acme", "topic": "job.test", "capability": capability, "payload": payload})
}

fn call(id: &str, tool: &str, payload: Value) -> Value {
    let mut call = job(id, &format!("mcp.notes.{tool}"), payload);
    call["topic"] = json!(format!("job.mcp.notes.{tool}"));
    call["labels"] = json!({"mcp.server": "notes", "mcp.tool": tool});
    call
}

#[test]
fn a_process_kept_alive_an_endpoint_and_an_mcp_server_run_jobs_of_dev() {
    let (url, served) = endpoint();
    let dev = Dev::new(&[
        "--concurrency=1".into(),
        format!("--worker=count=loop:python3 {ROOT}/examples/workers/word_count.py"),
        format!("--worker=hook={url}"),
        format!("--mcp=notes=python3 {ROOT}/worker/tests/mcp_server.py"),
    ]);
    let mut unlabelled = call("m4", "echo", json!({}));
    unlabelled.as_object_mut().unwrap().remove("labels");
    let mut disguised = call("m5", "fail", json!({}));
    disguised["labels"]["mcp.tool"] = json!("echo");
    let ended = dev.ended(&[
        job("c1", "count", json!({"text": "a b c"})),
        job("c2", "count", json!({"text": ""})),
        job("c3", "count", json!(7)),
        job("h1", "hook", json!({"n": 1})),
        call("m1", "echo", json!({"n": 1})),
        call("m2", "fail", json!({})),
        call("m3", "large", json!({"bytes": 1})),
        unlabelled,
        disguised,
    ]);
    let states: Vec<&str> = ended.iter().map(|job| job["state"].as_str().unwrap()).collect();
    let wanted = ["succeeded", "succeeded", "failed", "succeeded", "succeeded", "failed", "denied", "denied", "failed"];
    assert_eq!(states, wanted, "{ended:#?}");
    let output = |at: usize| &ended[at]["output"];
    assert_eq!((&output(0)["words"], &output(1)["words"]), (&json!(3), &json!(0)));
    assert_ne!(output(0)["process_has_done"], output(1)["process_has_done"], "one process did both");
    assert_eq!(output(3), &json!({"n": 1}));
    assert_eq!(output(4)["structuredContent"]["arguments"], json!({"n": 1}));
    assert!(
        ended[8]["reason"].as_str().unwrap().contains("policy judges MCP calls by labels"),
        "{}",
        ended[8]["reason"]
    );
    assert!(served.join().unwrap().contains('@'), "the job's record is the key of idempotency");
}

#[test]
fn a_worker_whose_server_cannot_be_used_ends_with_the_reason() {
    let home = tempfile::tempdir().unwrap();
    let made =
        tidegate(home.path()).args(["keys", "create", "--role", "stage", "--id", "s", "--file", "s.key"]).output();
    let said = String::from_utf8(made.unwrap().stdout).unwrap();
    let line = said.lines().find(|line| line.starts_with("- {")).unwrap_or_else(|| panic!("{said}"));
    std::fs::write(home.path().join("tidegate.yaml"), format!("keys:\n  trusted:\n    {line}\n")).unwrap();
    let mut worker = tidegate(home.path());
    worker.args(["worker", "--spine", "embedded:spine", "--mcp-stdio", "--", "false"]);
    let said = worker.output().unwrap();
    let text = String::from_utf8_lossy(&said.stderr);
    assert!(!said.status.success() && text.contains("the MCP server does not say who it is"), "{text}");
}

#[test]
fn what_a_running_job_tells_reaches_whoever_watches_it() {
    let script = "import json, os, sys, time
for line in iter(sys.stdin.readline, ''):
    told = json.loads(line); n = 0
    while not os.path.exists(told['payload']):
        n += 1
        print(json.dumps({'type': 'partial', 'seq': told['seq'], 'text': '%d ' % n}), flush=True)
        print(json.dumps({'type': 'progress', 'seq': told['seq'], 'note': 'at %d' % n}), flush=True)
        time.sleep(0.05)
    print(json.dumps({'type': 'partial', 'seq': told['seq'], 'text': 'the end'}), flush=True)
    print(json.dumps({'type': 'result', 'seq': told['seq']}), flush=True)
";
    let folder = tempfile::tempdir().unwrap();
    let (file, stop) = (folder.path().join("count.py"), folder.path().join("stop"));
    std::fs::write(&file, script).unwrap();
    let dev = Dev::new(&[format!("--worker=count=loop:python3 {}", file.display())]);
    let mut submit = tidegate(dev.home.path());
    let mut submit = submit.args(["submit", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    submit.stdin.take().unwrap().write_all(format!("{}\n", job("p1", "count", json!(stop))).as_bytes()).unwrap();
    assert!(submit.wait().unwrap().success());

    let mut watch = tidegate(dev.home.path());
    let watch = watch.args(["jobs", "watch", "p1", "--output", "json"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut watch = Dev { home: tempfile::tempdir().unwrap(), process: watch };
    let told = BufReader::new(watch.process.stdout.take().unwrap());
    let (mut text, mut next, mut notes, mut last) = (String::new(), None::<u64>, 0, Value::Null);
    for line in told.lines() {
        let sign: Value = serde_json::from_str(&line.unwrap()).unwrap();
        if let Some(partial) = sign.get("partial").filter(|partial| partial.is_object()) {
            let at = partial["at"].as_u64().unwrap();
            assert!(next.is_none_or(|next| next == at), "a piece is missing before {sign}");
            let piece = partial["text"].as_str().unwrap();
            next = Some(at + u64::try_from(piece.len()).unwrap());
            text += piece;
            notes += usize::from(sign["note"].as_str().is_some_and(|note| note.starts_with("at ")));
        }
        if text.split(' ').count() > 5 && notes > 0 {
            std::fs::write(&stop, "").unwrap();
        }
        last = sign;
    }
    assert!(text.ends_with(" the end"), "{text}");
    assert_eq!((&last["id"], &last["state"]), (&json!("p1"), &json!("succeeded")), "the story is the last word");
}
