//! Large payloads through the real binary: put beside the log in a real redis-server, run, refused while it is away, and
//! nothing lost.

#![expect(clippy::panic, clippy::unwrap_used, reason = "a test that meets what it does not expect must fail")]

#[path = "../dev/mod.rs"]
mod dev;

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::{Value, json};

use dev::{Dev, tidegate, until};

const POLICY: &str = "\
id: work
revision: 1
schemas: [{ topics: [job.guarded], fields: { key: string(20) } }]
rules:
  - { id: run, match: { topics: [job.>] }, decision: allow, reason: jobs may run }
  - { id: no-key, invariant: true, match: { topics: [job.guarded] }, when: 'has(job.key)', decision: deny, reason: it holds a key }
";

/// A process that ends with the test.
struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Keeps what was acknowledged over a restart.
fn redis(home: &Path, port: u16) -> Ends {
    let port = port.to_string();
    let arguments =
        ["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "yes", "--appendfsync", "always"];
    let mut server = Command::new("redis-server");
    let server = server.args(arguments).current_dir(home).stdout(Stdio::null()).spawn();
    let server = Ends(server.unwrap_or_else(|error| panic!("redis-server (deploy/ci/setup installs it): {error}")));
    until("redis-server listens", || TcpStream::connect(format!("127.0.0.1:{port}")).ok());
    server
}

fn submit(home: &Path, job: &Value, wait: bool) -> Output {
    let mut submit = tidegate(home);
    submit.args(["submit", "-", "--output", "json"]).args(wait.then_some("--wait"));
    let mut submit = submit.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    submit.stdin.take().unwrap().write_all(format!("{job}\n").as_bytes()).unwrap();
    submit.wait_with_output().unwrap()
}

fn get(home: &Path, id: &str, wait: &str) -> Value {
    let said = tidegate(home).args(["jobs", "get", id, "--wait", wait, "--output", "json"]).output().unwrap();
    let text = String::from_utf8(said.stdout).unwrap();
    serde_json::from_str(text.lines().last().unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(&said.stderr))))
        .unwrap()
}

fn job(id: &str, topic: &str, payload: Value) -> Value {
    json!({"id": id, "tenant": "acme", "topic": topic, "capability": "size", "payload": payload})
}

#[test]
fn a_large_payload_goes_beside_the_log_and_nothing_is_lost_while_redis_is_away() {
    let folder = dev::home(POLICY);
    let home = &folder.path().to_owned();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let server = redis(home, port);
    let config = "payloads: { redis: { env: TEST_REDIS }, above_bytes: 65536 }\n\
                  pools: [{ name: default, scheduling: { max_attempts: 50, backoff_ms: 50, max_backoff_ms: 200 } }]\n";
    std::fs::write(home.join("tidegate.yaml"), config).unwrap();
    let shown = tidegate(home).args(["config", "show"]).output().unwrap();
    assert!(String::from_utf8(shown.stdout).unwrap().contains("TEST_REDIS"), "the name, not what it holds");
    let redis_url = ("TEST_REDIS", format!("redis://127.0.0.1:{port}"));
    let _dev = Dev::start(folder, &["--worker", "size=wc -c"], &[redis_url]);

    let large = json!({"text": "x".repeat(3 << 20)});
    let bytes = large.to_string().len();
    let said = submit(home, &job("large", "job.work", large.clone()), true);
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    assert_eq!(get(home, "large", "0s")["output"], json!(bytes), "the worker had all of it");
    let files =
        |folder: &str| std::fs::read_dir(home.join("data").join(folder)).is_ok_and(|mut found| found.next().is_some());
    assert!(!files("payloads"), "it went to Redis");

    // Whoever looks into it is not told that it holds nothing.
    assert!(submit(home, &job("small", "job.guarded", json!({})), true).status.success());
    assert!(!submit(home, &job("hidden", "job.guarded", large.clone()), true).status.success());
    assert_eq!(get(home, "hidden", "0s")["state"], "denied");

    // Redis goes away with a job on its way.
    let mut late = job("late", "job.work", large.clone());
    late["delay_ms"] = json!(1_500);
    assert!(submit(home, &late, false).status.success());
    drop(server);
    let said = submit(home, &job("refused", "job.work", large), false);
    let told = String::from_utf8_lossy(&said.stdout).into_owned() + &String::from_utf8_lossy(&said.stderr);
    assert!(!said.status.success() && told.contains("the store of payloads does not answer"), "{told}");
    assert!(submit(home, &job("small-2", "job.work", json!(1)), true).status.success(), "others go on");
    until("the late job was tried and failed", || {
        get(home, "late", "0s")["attempts"].as_array().filter(|attempts| attempts.len() > 1).map(|_| ())
    });
    let _server = redis(home, port);
    assert_eq!(get(home, "late", "60s")["output"], json!(bytes));
}
