//! People with keys, a policy that asks them, and a running `tidegate dev` whose jobs wait for them.

use std::time::Duration;

use serde_json::{Value, json};
use tidegate_processes::dev::Dev;
use tidegate_processes::home::Home;
use tidegate_processes::http::in_path;
use tidegate_processes::process::{Ended, until};
use tidegate_protocol::command::{Action, Command, KIND};
use tidegate_protocol::ids::{CommandId, KeyId, PersonId, PoolName};
use tidegate_protocol::job::Job;
use tidegate_protocol::signature::signed;

/// Longest wait for what takes moments.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// Key, its roles and tenant as `tidegate keys create` is told, and what the configuration says besides.
const PEOPLE: [(&str, &[&str], &str); 11] = [
    ("alice", &["--role", "approver:finance", "--tenant", "acme"], ""),
    ("alice-phone", &["--role", "approver:finance", "--tenant", "acme"], "person: alice"),
    ("bob", &["--role", "approver:finance", "--tenant", "acme"], ""),
    ("carol", &["--role", "approver:cfo", "--tenant", "acme"], ""),
    ("dave", &["--role", "approver"], ""),
    ("agent-7", &["--role", "approver:finance"], ""),
    ("erin", &["--role", "approver:finance", "--tenant", "globex"], ""),
    ("retired", &["--role", "approver:finance"], "until_ms: 1000"),
    ("olga", &["--role", "operator"], ""),
    ("sam", &["--role", "submitter", "--tenant", "acme"], ""),
    ("will", &["--role", "stage:limits"], ""),
];

/// What asks people, what does not, and what waits for nobody.
pub(crate) const POLICY: &str = "\
id: p
revision: 1
rules:
  - { id: small, match: { topics: [job.pay.small] }, decision: allow, reason: small }
  - id: large
    match: { topics: [job.pay.large] }
    decision: require_approval
    reason: large payments are looked at
    approval: { approvers: [finance], ttl: 1h }
  - id: two
    match: { topics: [job.pay.two] }
    decision: require_approval
    reason: two look at it
    approval: { approvers: [finance], quorum: 2, ttl: 1h }
  - id: soon
    match: { topics: [job.pay.soon] }
    decision: require_approval
    reason: it cannot wait
    approval: { approvers: [finance], ttl: 2s, on_timeout: deny }
  - id: upwards
    match: { topics: [job.pay.upwards] }
    decision: require_approval
    reason: goes to the top
    approval: { approvers: [finance], ttl: 1h, escalate: [{ after: 2s, to: cfo }] }
  - id: board
    match: { topics: [job.pay.board] }
    decision: require_approval
    reason: for the board
    approval: { approvers: [board], ttl: 1h }
  - { id: slow, match: { topics: [job.pay.slow] }, decision: throttle, reason: later, throttle: { retry_after: 30m } }
";

const ARGUMENTS: [&str; 6] =
    ["--policy", "policy", "--worker", "pay=builtin:echo", "--worker", "sit=builtin:sleep:600000"];

/// All of it.
pub(crate) struct Desk {
    pub(crate) home: Home,
    pub(crate) dev: Dev,
}

impl Desk {
    /// Makes the keys, starts `tidegate dev` and waits until it is ready.
    pub(crate) fn open() -> Self {
        let home = Home::new(POLICY).unwrap();
        let mut config = String::from("pools: [{ name: default, capabilities: [pay, sit] }]\nkeys:\n  trusted:\n");
        for (id, arguments, more) in PEOPLE {
            let file = format!("{id}.key");
            let create = [&["keys", "create", "--output", "json", "--id", id, "--file", &file], arguments].concat();
            let made = home.run(&create).unwrap();
            assert_eq!(made.code, Some(0), "{made:?}");
            let made = last_line(&made);
            let (public, roles, tenants) = (&made["public"], &made["roles"], &made["tenants"]);
            let comma = if more.is_empty() { "" } else { ", " };
            config.push_str(&format!(
                "    - {{ id: {id}, public: {public}, roles: {roles}, tenants: {tenants}{comma}{more} }}\n"
            ));
        }
        home.write("tidegate.yaml", &config).unwrap();
        let dev = Dev::ready(&home, "dev-1", &ARGUMENTS).unwrap();
        Self { home, dev }
    }

    /// Starts it again on the same folder.
    pub(crate) fn restart(&mut self, name: &str) {
        self.dev = Dev::ready(&self.home, name, &ARGUMENTS).unwrap();
    }

    /// Submits a payment of `agent-7` and waits until its story stands at `state`; its source position.
    pub(crate) fn submit(&self, id: &str, topic: &str, capability: &str, state: &str) -> String {
        let job = json!({
            "id": id, "tenant": "acme", "topic": topic, "capability": capability,
            "actor": { "id": "agent-7", "type": "agent" }, "payload": { "amount": 20_000, "to": "Globex" },
        });
        let (status, taken) = self.dev.submit(job.to_string().as_bytes()).unwrap();
        assert_eq!(status, 202, "{taken}");
        let at = taken["source"].as_str().unwrap().to_owned();
        self.until(&at, &format!("{id} is {state}"), |story| story["state"] == state);
        at
    }

    /// Whether `dead list` shows these records and no others, in any order, soon.
    pub(crate) fn listed(&self, wanted: &[&str]) {
        let shown = || {
            let (_, list) = self.json(&["dead", "list"]);
            let dead = list["dead"].as_array().cloned().unwrap_or_default();
            let mut sources: Vec<String> = dead.iter().filter_map(|d| Some(d["source"].as_str()?.to_owned())).collect();
            sources.sort();
            sources
        };
        let mut wanted: Vec<&str> = wanted.to_vec();
        wanted.sort_unstable();
        until(SOON, "dead records are listed", || Ok((shown() == wanted).then_some(())))
            .unwrap_or_else(|e| panic!("{e}: {:?} instead of {wanted:?}", shown()));
    }

    /// A payment that is held.
    pub(crate) fn held(&self, id: &str, topic: &str) -> String {
        self.submit(id, topic, "pay", "held")
    }

    /// The story as it stands.
    pub(crate) fn story(&self, at: &str) -> Value {
        let answer = self.dev.http.get(&format!("/v1/jobs/{}", in_path(at))).unwrap();
        answer.json()
    }

    /// The story once it is so.
    pub(crate) fn until(&self, at: &str, what: &str, so: impl Fn(&Value) -> bool) -> Value {
        until(SOON, what, || Ok(Some(self.story(at)).filter(&so))).unwrap_or_else(|e| panic!("{e}: {}", self.story(at)))
    }

    /// Asserts that it is held, that nobody's approval counts and that nothing ran.
    pub(crate) fn is_untouched(&self, at: &str) {
        let story = self.story(at);
        assert_eq!(story["state"], "held", "{story}");
        assert_eq!((&story["hold"]["given"], &story["attempts"]), (&Value::Null, &Value::Null), "{story}");
    }

    /// What the person of `key` says about the job at `at`, as it stands.
    pub(crate) fn command(&self, action: Action, key: &str, at: &str) -> Command {
        let story = self.story(at);
        let job: Job = serde_json::from_value(story["job"].clone()).unwrap();
        let person = if key == "alice-phone" { "alice" } else { key };
        static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Command {
            v: 1,
            id: CommandId::new(format!("test-{number}")).unwrap(),
            action,
            source: job.source,
            job_id: job.id,
            tenant: job.tenant,
            input_hash: job.input_hash,
            snapshot: story["decision"]["snapshot"].as_str().unwrap_or_default().to_owned(),
            by: PersonId::new(person).unwrap(),
            at_ms: 0,
            reason: String::new(),
            redrive: None,
            pool: story["pool"].as_str().map(|pool| PoolName::new(pool).unwrap()),
        }
    }

    /// The same, signed with the key in the person's file.
    pub(crate) fn sign(&self, key: &str, command: &Command) -> Vec<u8> {
        let file = self.home.path().join(format!("{key}.key"));
        let secret = tidegate_keys::read(KeyId::new(key).unwrap(), &file).unwrap();
        signed(&secret, KIND, serde_json::to_vec(command).unwrap())
    }

    /// Sends a command to where it belongs; status and answer.
    pub(crate) fn send(&self, action: Action, at: &str, body: &[u8]) -> (u16, Value) {
        let of = if action == Action::Cancel { "jobs" } else { "approvals" };
        let path = format!("/v1/{of}/{}/{}", in_path(at), action.word());
        let answer = self.dev.http.post(&path, "application/json", body).unwrap();
        (answer.status, answer.json())
    }

    /// This person says this over HTTP: what became of it, and why not.
    pub(crate) fn say(&self, action: Action, key: &str, at: &str) -> (String, String) {
        let command = self.command(action, key, at);
        self.became(action, at, &self.sign(key, &command))
    }

    /// What became of these bytes, and why not.
    pub(crate) fn became(&self, action: Action, at: &str, body: &[u8]) -> (String, String) {
        let (status, answer) = self.send(action, at, body);
        assert_eq!(status, 200, "{answer}");
        let word = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
        (word("became"), word("why"))
    }

    /// `tidegate …` in the folder, about this `dev`.
    pub(crate) fn cli(&self, arguments: &[&str]) -> Ended {
        self.home.run(&[arguments, &["--data", "data"]].concat()).unwrap()
    }

    /// The same with `--output json`: exit code and document.
    pub(crate) fn json(&self, arguments: &[&str]) -> (Option<i32>, Value) {
        let ended = self.cli(&[arguments, &["--output", "json"]].concat());
        (ended.code, last_line(&ended))
    }

    /// Commands that had no effect for this reason.
    pub(crate) fn refused(&self, why: &str) -> u64 {
        let why = format!("why=\"{why}\"");
        let count = self.dev.http.metric("tidegate_kernel_commands_refused_total", &[&why]).unwrap();
        format!("{count}").parse().unwrap()
    }
}

pub(crate) fn last_line(ended: &Ended) -> Value {
    let line = ended.out.lines().last().unwrap_or_default();
    serde_json::from_str(line).unwrap_or_else(|_| panic!("{ended:?}"))
}

/// Became this, without a refusal.
pub(crate) fn became(word: &str) -> (String, String) {
    (word.to_owned(), String::new())
}

/// Was refused with this word.
pub(crate) fn refused(why: &str) -> (String, String) {
    ("refused".to_owned(), why.to_owned())
}
