//! What the agent runs, through the real binary: `tidegate dev` with a process that is kept alive, an MCP server and an
//! endpoint, and jobs of all of them submitted and waited for.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that meets what it does not expect must fail"
)]

#[path = "../dev/mod.rs"]
mod dev;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{Child, Stdio};

use serde_json::{Value, json};

use dev::{Dev, home, tidegate};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

const POLICY: &str = "\
id: agents
revision: 1
rules:
  - { id: run, match: { topics: [job.>] }, decision: allow, reason: jobs may run }
  - { id: no-large, invariant: true, match: { topics: [job.mcp.>], labels: { mcp.tool: large } }, decision: deny, reason: that tool is not for agents }
";

/// A process that ends with the test.
struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(arguments: &[String]) -> Dev {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    Dev::start(home(POLICY), &arguments, &[])
}

impl Dev {
    /// Submits jobs, waits for them, and gives back each as it ended.
    fn how_they_ended(&self, jobs: &[Value]) -> Vec<Value> {
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
    let dev = start(&[
        "--concurrency=1".into(),
        format!("--worker=count=loop:python3 {ROOT}/examples/workers/word_count.py"),
        format!("--worker=hook={url}"),
        format!("--mcp=notes=python3 {ROOT}/worker/tests/mcp_server.py"),
    ]);
    let mut unlabelled = call("m4", "echo", json!({}));
    unlabelled.as_object_mut().unwrap().remove("labels");
    let mut disguised = call("m5", "fail", json!({}));
    disguised["labels"]["mcp.tool"] = json!("echo");
    let ended = dev.how_they_ended(&[
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
    let dev = start(&[format!("--worker=count=loop:python3 {}", file.display())]);
    let mut submit = tidegate(dev.home.path());
    let mut submit = submit.args(["submit", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    submit.stdin.take().unwrap().write_all(format!("{}\n", job("p1", "count", json!(stop))).as_bytes()).unwrap();
    assert!(submit.wait().unwrap().success());

    let followed = follow(&dev, "p1");
    let mut watch = tidegate(dev.home.path());
    let watch = watch.args(["jobs", "watch", "p1", "--output", "json"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut watch = Ends(watch);
    let told = BufReader::new(watch.0.stdout.take().unwrap());
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

    let events = followed.join().unwrap();
    let of = |kind: &str| events.iter().filter(|(of, _)| of == kind).map(|(_, data)| data).collect::<Vec<_>>();
    assert_eq!(events.first().map(|(kind, data)| (kind.as_str(), &data["id"])), Some(("story", &json!("p1"))));
    assert_eq!(events.last().map(|(kind, data)| (kind.as_str(), &data["state"])), Some(("end", &json!("succeeded"))));
    assert!(of("progress").iter().any(|sign| sign["note"].as_str().is_some_and(|note| note.starts_with("at "))));
    let text: String = of("partial").iter().map(|piece| piece["text"].as_str().unwrap()).collect();
    assert!(text.ends_with(" the end"), "{text}");
    // Whoever comes too late is told the story, what is still kept of its signs, and the end.
    let again = follow(&dev, "p1").join().unwrap();
    assert_eq!(again.first().map(|(kind, _)| kind.as_str()), Some("story"));
    assert_eq!(again.last().map(|(kind, _)| kind.as_str()), Some("end"));
    assert!(again.iter().skip(1).all(|(kind, _)| kind != "story"), "nothing changes any more");
    assert_eq!(dev::ask(&dev.url, "GET", "/v1/jobs/nobody/events", &dev.key, None).unwrap().0, 404);
    assert_eq!(dev::ask(&dev.url, "GET", "/v1/jobs/p1/events", "guessed", None).unwrap().0, 401);
}

/// Every event of a job with its data, until the stream is over.
fn follow(dev: &Dev, job: &str) -> std::thread::JoinHandle<Vec<(String, Value)>> {
    let (url, key) = (format!("{}/v1/jobs/{job}/events?wait=60s", dev.url), format!("Bearer {}", dev.key));
    std::thread::spawn(move || {
        let stream = ureq::get(&url).header("authorization", &key).call().unwrap();
        let (mut events, mut kind) = (Vec::new(), String::new());
        for line in BufReader::new(stream.into_body().into_reader()).lines() {
            let line = line.unwrap();
            match line.split_once(':').map(|(name, text)| (name, text.trim_start())) {
                Some(("event", text)) => text.clone_into(&mut kind),
                Some(("data", text)) => events.push((kind.clone(), serde_json::from_str(text).unwrap())),
                _ => {}
            }
        }
        events
    })
}

#[test]
fn a_job_has_the_trace_it_was_submitted_with_wherever_it_runs() {
    let dev = start(&["--worker=env=env".into()]);
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    std::fs::write(dev.home.path().join("job.jsonl"), job("t1", "env", json!(1)).to_string()).unwrap();
    let mut submit = tidegate(dev.home.path());
    let said = submit.args(["submit", "job.jsonl", "--wait"]).env("TRACEPARENT", trace).output().unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    let (story, _) = dev.run(&["jobs", "get", "t1", "--output", "json"]);
    let output = dev::document(&story).unwrap()["output"].as_str().unwrap().to_owned();
    assert!(output.contains(&format!("TRACEPARENT={trace}")), "{output}");
}

#[test]
fn a_running_command_that_is_called_off_gets_sigterm_its_job_ends_as_cancelled_and_its_slot_takes_another() {
    let script = "trap 'echo TERM >>\"$file\"; exit 7' TERM
read -r payload
file=$(printf %s \"$payload\" | tr -d '\"')
echo begun >>\"$file\"
while :; do sleep 0.05; done
";
    let folder = tempfile::tempdir().unwrap();
    let (sit, file) = (folder.path().join("sit.sh"), folder.path().join("said"));
    std::fs::write(&sit, script).unwrap();
    let dev = start(&[
        "--concurrency=1".into(),
        format!("--worker=sit=sh {}", sit.display()),
        "--worker=echo=builtin:echo".into(),
    ]);
    let submit = |job: &Value| {
        let (status, answer) = dev.say(&dev.key, "/v1/jobs", job);
        assert_eq!(status, 202, "{answer}");
    };
    let story = |id: &str, wait: &str| {
        let path = format!("/v1/jobs/{id}?wait={wait}");
        let (status, story) = dev::ask(&dev.url, "GET", &path, &dev.key, None).unwrap();
        (status == 200).then_some(story)
    };
    submit(&job("sits", "sit", json!(file)));
    let said = || std::fs::read_to_string(&file).unwrap_or_default();
    dev::until("the command runs", || (said() == "begun\n").then_some(()));
    // The one slot is taken.
    submit(&job("next", "echo", json!(3)));
    dev::until("it waits", || story("next", "0ms").filter(|story| story["state"] == "approved"));
    let (told, code) = dev.run(&["jobs", "cancel", "sits", "--reason", "ordered twice"]);
    assert_eq!(code, 0, "{told}");
    let ended = dev::until("it has ended", || story("sits", "30s").filter(|story| story["state"] != "running"));
    assert_eq!((&ended["state"], &ended["outcome"]), (&json!("cancelled"), &json!("cancelled")), "{ended}");
    assert!(ended["reason"].as_str().unwrap().contains("ordered twice"), "{ended}");
    assert_eq!(ended["attempts"].as_array().unwrap().len(), 1, "{ended}");
    assert_eq!(said(), "begun\nTERM\n", "told, and not killed");
    let next = dev::until("the next has ended", || story("next", "30s").filter(|story| story["state"] != "approved"));
    assert_eq!((&next["state"], &next["output"]), (&json!("succeeded"), &json!(3)), "{next}");
}
