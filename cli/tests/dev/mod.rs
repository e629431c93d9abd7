//! `tidegate dev` as a process of its own, in a folder of its own, for tests of the real binary.
#![allow(dead_code, clippy::allow_attributes, reason = "every test file uses another part")]

use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Generous: machines that run tests are busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// A folder with a running `tidegate dev`, which ends with it.
pub(crate) struct Dev {
    pub(crate) home: tempfile::TempDir,
    process: Child,
    arguments: Vec<String>,
    environment: Vec<(&'static str, String)>,
    /// Where it listens.
    pub(crate) url: String,
    /// The gateway's key.
    pub(crate) key: String,
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A folder with a policy, which stands in `policy/`.
pub(crate) fn home(policy: &str) -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join("policy")).unwrap();
    std::fs::write(home.path().join("policy/test.yaml"), policy).unwrap();
    home
}

/// A command of the binary in that folder, without settings of whoever runs the tests.
pub(crate) fn tidegate(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.current_dir(home).stdin(Stdio::null());
    for name in ["TIDEGATE_CONFIG", "TIDEGATE_SPINE", "TIDEGATE_LOG", "TIDEGATE_URL", "TIDEGATE_KEY", "TRACEPARENT"] {
        command.env_remove(name);
    }
    command.env("TIDEGATE_DATA", "data");
    command
}

/// Asks until there is an answer.
pub(crate) fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(begun.elapsed() < PATIENCE, "{what}: not after {PATIENCE:?}");
        std::thread::yield_now();
    }
}

/// The JSON document of a command's output.
pub(crate) fn document(said: &str) -> Option<Value> {
    said.lines().find_map(|line| serde_json::from_str(line).ok())
}

/// A request: status and body of its answer.
pub(crate) fn ask(url: &str, method: &str, path: &str, key: &str, body: Option<&Value>) -> Option<(u16, Value)> {
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let (url, authorization) = (format!("{url}{path}"), format!("Bearer {key}"));
    let answer = match (method, body) {
        ("POST", Some(body)) => agent.post(&url).header("authorization", &authorization).send(body.to_string()),
        _ => agent.get(&url).header("authorization", &authorization).call(),
    };
    let mut answer = answer.ok()?;
    let text = answer.body_mut().read_to_string().ok()?;
    Some((answer.status().as_u16(), serde_json::from_str(&text).unwrap_or(Value::String(text))))
}

impl Dev {
    /// On that folder, with `tidegate.yaml` where there is one, and ready.
    pub(crate) fn start(home: tempfile::TempDir, arguments: &[&str], environment: &[(&'static str, String)]) -> Self {
        let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let environment = environment.to_vec();
        let process = spawn(home.path(), &arguments, &environment);
        let mut dev = Self { home, process, arguments, environment, url: String::new(), key: String::new() };
        dev.ready();
        dev
    }

    /// Killed, and started again on its folder.
    pub(crate) fn again(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        self.process = spawn(self.home.path(), &self.arguments, &self.environment);
        self.ready();
    }

    fn ready(&mut self) {
        let data = self.home.path().join("data");
        let begun = Instant::now();
        let look = || {
            let url = std::fs::read_to_string(data.join("address")).ok().filter(|text| text.ends_with('\n'))?;
            let url = url.trim().to_owned();
            (ask(&url, "GET", "/readyz", "", None)?.0 == 200).then_some(url)
        };
        self.url = loop {
            if let Some(url) = look() {
                break url;
            }
            let ended = self.process.try_wait().unwrap();
            assert!(ended.is_none() && begun.elapsed() < PATIENCE, "`tidegate dev` is not ready\n{}", self.log());
            std::thread::yield_now();
        };
        self.key = std::fs::read_to_string(data.join("key")).unwrap().trim().to_owned();
    }

    /// SIGHUP.
    pub(crate) fn hang_up(&self) {
        let sent = Command::new("kill").args(["-HUP", &self.process.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits until it has ended by itself.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let process = &mut self.process;
        until("it ends", || process.try_wait().unwrap())
    }

    /// What it logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.home.path().join("dev.log")).unwrap_or_default()
    }

    /// Runs a command beside it: what it prints, and its exit code.
    pub(crate) fn run(&self, arguments: &[&str]) -> (String, i32) {
        let output = tidegate(self.home.path()).args(arguments).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
        (said, output.status.code().unwrap())
    }

    /// Says something as the holder of a key: status and body of the answer.
    pub(crate) fn say(&self, key: &str, path: &str, body: &Value) -> (u16, Value) {
        ask(&self.url, "POST", path, key, Some(body)).unwrap_or_else(|| panic!("no answer\n{}", self.log()))
    }
}

fn spawn(home: &Path, arguments: &[String], environment: &[(&'static str, String)]) -> Child {
    // Of an earlier process that was killed.
    let _ = std::fs::remove_file(home.join("data/address"));
    let log = std::fs::File::create(home.join("dev.log")).unwrap();
    let mut dev = tidegate(home);
    if home.join("tidegate.yaml").exists() {
        dev.args(["--config", "tidegate.yaml"]);
    }
    dev.args(["dev", "--listen", "127.0.0.1:0", "--policy", "policy"]).args(arguments);
    dev.envs(environment.iter().map(|(name, value)| (name, value)));
    dev.stdout(Stdio::null()).stderr(log).spawn().unwrap()
}
