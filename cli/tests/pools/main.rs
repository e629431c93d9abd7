//! `tidegate serve` and `tidegate dev` read their pools again at SIGHUP, and say in their log what changed or why nothing did.

#![expect(clippy::panic, clippy::unwrap_used, reason = "a test that meets what it does not expect must fail")]

mod dev;
#[path = "../dev/mod.rs"]
mod process;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Generous: machines that run tests are busy.
const PATIENCE: Duration = Duration::from_secs(60);

const POLICY: &str = "id: p\nrevision: 1\nrules:\n  - { id: ok, match: { topics: [job.>] }, decision: allow }\n";

const REST: &str = "\
spine: { url: \"embedded:spine\" }
listen: 127.0.0.1:0
policy: policy
topics: { source_partitions: 1 }
keys: { signing: { id: s, file: s.key } }
";

fn tidegate(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.current_dir(home).stdin(Stdio::null());
    for name in ["TIDEGATE_CONFIG", "TIDEGATE_SPINE", "TIDEGATE_LOG", "TIDEGATE_URL", "TIDEGATE_KEY"] {
        command.env_remove(name);
    }
    command.env("TIDEGATE_DATA", "data");
    command
}

/// A process with its log; killed when a test ends early.
struct Serve {
    home: tempfile::TempDir,
    process: Child,
}

impl Drop for Serve {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn write(home: &Path, pools: &str) {
    std::fs::write(home.join("tidegate.yaml"), format!("{REST}{pools}")).unwrap();
}

impl Serve {
    fn new(pools: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join("policy")).unwrap();
        std::fs::write(home.path().join("policy/p.yaml"), POLICY).unwrap();
        write(home.path(), pools);
        for words in [&["keys", "create", "--role", "stage", "--id", "s", "--file", "s.key"][..], &["topics", "apply"]]
        {
            let ran = tidegate(home.path()).args(["--config", "tidegate.yaml"]).args(words).output().unwrap();
            assert!(ran.status.success(), "{words:?}: {}", String::from_utf8_lossy(&ran.stderr));
        }
        let log = std::fs::File::create(home.path().join("log")).unwrap();
        let mut serve = tidegate(home.path());
        serve.args(["--config", "tidegate.yaml", "serve", "--roles", "kernel,scheduler"]);
        let process = serve.stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let serve = Self { home, process };
        serve.says("shard taken over");
        serve
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.process.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.home.path().join("log")).unwrap()
    }

    fn says(&self, what: &str) {
        let begun = Instant::now();
        while !self.log().contains(what) {
            assert!(begun.elapsed() < PATIENCE, "`{what}` is not said: {}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn becomes(&self, pools: &str, says: &str) {
        write(self.home.path(), pools);
        self.signal("-HUP");
        self.says(says);
    }
}

#[test]
fn sighup_has_it_take_over_other_pools_or_say_why_not_and_sigterm_ends_it_as_before() {
    let mut serve = Serve::new("pools:\n  - { name: a, capabilities: [x], buckets: 1, tenant_buckets: 1 }\n");
    let a = "  - { name: a, capabilities: [x], buckets: 1, tenant_buckets: 1 }\n";
    let b = "  - { name: b, capabilities: [y], buckets: 1, tenant_buckets: 1 }\n";
    serve.becomes(&format!("pools:\n{a}{b}"), "added: b; kernels send by the new pools");
    serve.says("scheduler.b/0");
    serve.becomes("pools: [", "the configuration is not taken over; this process goes on as it was");
    serve.becomes(&format!("pools:\n{b}"), "let it drain first");
    serve.becomes(&format!("pools:\n{a}{}", b.replace("buckets: 1,", "buckets: 2,")), "fixed for its life");
    serve.becomes(&format!("pools:\n{a}{b}prefix: other.\n"), "`prefix` differ from what this process began with");
    let drains = a.replace(" }", ", draining: true }");
    let taken = |serve: &Serve| serve.log().matches("the configuration was read again").count();
    let before = taken(&serve);
    write(serve.home.path(), &format!("pools:\n{drains}{b}"));
    serve.signal("-HUP");
    let begun = Instant::now();
    while taken(&serve) == before {
        assert!(begun.elapsed() < PATIENCE, "it is not drained: {}", serve.log());
        std::thread::sleep(Duration::from_millis(20));
    }
    // Refused for as long as it cannot be seen that nothing is left.
    let refusals = |serve: &Serve| serve.log().matches("the configuration is not taken over").count();
    let (begun, mut refused) = (Instant::now(), refusals(&serve));
    write(serve.home.path(), &format!("pools:\n{b}"));
    serve.signal("-HUP");
    while !serve.log().contains("removed: a; kernels send by the new pools") {
        let now = refusals(&serve);
        if now > refused {
            refused = now;
            serve.signal("-HUP");
        }
        assert!(begun.elapsed() < PATIENCE, "it is not taken out: {}", serve.log());
        std::thread::sleep(Duration::from_millis(20));
    }
    serve.signal("-TERM");
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = serve.process.try_wait().unwrap() {
            break status;
        }
        assert!(begun.elapsed() < PATIENCE, "it does not end: {}", serve.log());
        std::thread::sleep(Duration::from_millis(20));
    };
    assert!(status.success(), "{status}: {}", serve.log());
}
