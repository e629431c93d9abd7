//! Delegation through the real binary: a command that spawns a job with its ticket, what such a job may do, and what a ticket is
//! worth in other hands.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use serde_json::{Value, json};
use tidegate_processes::binary;
use tidegate_processes::dev::Dev;
use tidegate_processes::home::Home;

const POLICY: &str = "\
id: p
revision: 1
combine: most_restrictive
rules:
  - { id: work, match: { topics: [job.>] }, decision: allow, reason: it may run }
  - { id: no-guests, match: { topics: [job.order], actor_types: [guest] }, decision: deny, reason: nothing is ordered for a guest }
  - { id: bounded, match: { capabilities: [plan] }, decision: allow_with_constraints,
      constraints: { budgets: { max_artifact_bytes: 60000 } } }
";
const CONFIG: &str = "
pools: [{ name: default, capabilities: [plan, search, order, keep] }]
topics: { source_partitions: 2 }
sources:
  - { name: jobs.raw, tenants: any, parent_ticket: accepted }
  - { name: jobs.children, tenants: any, parent_ticket: required }
";

struct Desk {
    home: Home,
    dev: Dev,
}

impl Desk {
    /// `plan` submits its payload as a child and waits for it; `keep` gives its ticket away.
    fn open() -> Self {
        let home = Home::new(POLICY).unwrap();
        home.write("tidegate.yaml", CONFIG).unwrap();
        let binary = binary::tidegate().unwrap();
        let plan = format!(
            "test \"$(stat -c %a \"$TIDEGATE_TICKET_FILE\")\" = 600 || exit 9\n\
             exec {} --output json submit --source jobs.children --parent-ticket \"$TIDEGATE_TICKET_FILE\" --wait --timeout 80s\n",
            binary.display()
        );
        home.write("plan.sh", &plan).unwrap();
        home.write("keep.sh", "cat \"$TIDEGATE_TICKET_FILE\" > kept.json\necho $TIDEGATE_TICKET_FILE\n").unwrap();
        let workers = ["plan=sh plan.sh", "keep=sh keep.sh", "search=builtin:echo", "order=builtin:echo"];
        let workers = workers.map(|worker| ["--worker", worker]).concat();
        let dev = Dev::ready(&home, "dev", &[&["--policy", "policy"], &*workers].concat()).unwrap();
        Self { home, dev }
    }

    /// Submits a job; its story once it has ended.
    fn story(&self, source: &str, job: &Value) -> Value {
        let answer =
            self.dev.http.post(&format!("/v1/jobs?source={source}"), "application/json", job.to_string().as_bytes());
        let answer = answer.unwrap();
        assert_eq!(answer.status, 202, "{}", answer.text);
        self.dev.story(answer.json()["source"].as_str().unwrap()).unwrap()
    }

    /// A plan for somebody that spawns `child`; its story.
    fn plan(&self, id: &str, of: &str, child: &Value) -> Value {
        let job = json!({
            "id": id, "tenant": "acme", "topic": "job.plan", "capability": "plan", "actor": {"id": "ann", "type": of},
            "scope": {"capabilities": ["search", "order"], "topics": ["job.search", "job.order"]}, "payload": child,
        });
        self.story("jobs.raw", &job)
    }
}

/// What the command of a plan said of its child.
fn child(story: &Value) -> Value {
    assert_eq!(story["state"], "succeeded", "{story:#}");
    story["output"]["jobs"][0]["story"].clone()
}

#[test]
fn a_command_spawns_a_job_that_acts_for_it_and_gets_its_result() {
    let desk = Desk::open();
    let story = desk.plan(
        "p1",
        "person",
        &json!({"id": "p1-s", "topic": "job.search", "capability": "search", "payload": {"q": "x"}}),
    );
    let found = child(&story);
    assert_eq!((&found["state"], &found["output"]), (&json!("succeeded"), &json!({"q": "x"})), "{found:#}");
    let job = &found["job"];
    assert!(job["source"].as_str().unwrap().starts_with("jobs.children/"), "{job}");
    assert_eq!((&job["tenant"], &job["parent"]), (&json!("acme"), &json!("p1")));
    let chain = job["delegation"]["chain"].as_array().unwrap();
    assert_eq!((chain.len(), &chain[0]["job"], &chain[0]["actor"]["id"]), (1, &json!("p1"), &json!("ann")));
    assert_eq!(found["decision"]["constraints"]["budgets"]["max_artifact_bytes"], 60_000, "its parent's: {found:#}");
    assert_eq!(found["decision"]["verdict"], "allow_with_constraints");
    let shown = desk.home.run(&["jobs", "get", "--data", "data", "p1-s"]).unwrap().out;
    assert!(shown.contains("acts for   person ann (p1 at jobs.raw/"), "{shown}");

    // Its ticket file goes with the job; whoever kept a copy may use it for what the job hands on, and no other way.
    let keeper = json!({
        "id": "k", "tenant": "acme", "topic": "job.keep", "capability": "keep", "actor": {"id": "bo"},
        "scope": {"capabilities": ["search"], "topics": ["job.search"]},
    });
    let kept = desk.story("jobs.raw", &keeper);
    assert_eq!(kept["state"], "succeeded", "{kept:#}");
    let file = kept["output"].as_str().unwrap();
    assert!(!std::path::Path::new(file).exists(), "{file} is left");
    let ticket = std::fs::read_to_string(desk.home.path().join("kept.json")).unwrap();
    let with = |id: &str, ticket: &str, change: &[(&str, Value)]| {
        let mut job = json!({
            "id": id, "tenant": "acme", "topic": "job.search", "capability": "search", "payload": 1,
            "parent": "k", "parent_ticket": ticket,
        });
        for (field, value) in change {
            job[*field] = value.clone();
        }
        let story = desk.story("jobs.children", &job);
        let why =
            story["dead"]["reason"].as_str().or(story["decision"]["reason"].as_str()).unwrap_or_default().to_owned();
        (story["state"].as_str().unwrap().to_owned(), why)
    };
    assert_eq!(with("c0", &ticket, &[]).0, "succeeded");
    let dead = |reason: &str| ("dead".to_owned(), reason.to_owned());
    let widened = ticket.replace("\"search\"", "\"order\"");
    assert_ne!(widened, ticket);
    assert_eq!(with("c1", &widened, &[]), dead("parent_ticket_forged"));
    assert_eq!(with("c2", &ticket, &[("tenant", json!("globex"))]), dead("parent_ticket_mismatch"));
    assert_eq!(with("c3", &ticket, &[("parent", json!("p1"))]), dead("parent_ticket_mismatch"));
    assert_eq!(with("c4", &ticket, &[("parent_ticket", Value::Null)]), dead("parent_ticket_missing"));
    let (state, why) = with("c5", &ticket, &[("topic", json!("job.order"))]);
    assert!(state == "denied" && why.contains("was not handed on"), "{state}: {why}");

    // Once its job is revoked the same ticket admits nobody. Shards hear of it one after the other.
    let told = desk.home.run(&["jobs", "revoke", "--data", "data", "--reason", "it went astray", "k"]).unwrap();
    assert_eq!(told.code, Some(0), "{told:?}");
    let mut tries = (0..100).map(|n| with(&format!("r{n}"), &ticket, &[]));
    let (state, why) = tries.find(|(state, _)| state != "succeeded").unwrap();
    assert!(state == "denied" && why.contains("was revoked by approver"), "{state}: {why}");
    let shown = desk.home.run(&["jobs", "get", "--data", "data", "k"]).unwrap().out;
    assert!(shown.contains("by approver: it went astray"), "{shown}");
    let again = desk.home.run(&["jobs", "revoke", "--data", "data", "k"]).unwrap();
    assert!(again.code == Some(1) && again.out.contains("already_revoked"), "{again:?}");
}

#[test]
fn a_child_is_judged_for_everybody_it_acts_for() {
    let desk = Desk::open();
    let order = |id: &str| json!({"id": id, "topic": "job.order", "capability": "order", "actor": {"id": "bot", "type": "agent"}});
    let found = child(&desk.plan("p1", "person", &order("o1")));
    assert_eq!(found["state"], "succeeded", "{found:#}");
    // The same agent's order, for a guest: the command sees that its child was denied, and fails.
    let story = desk.plan("p2", "guest", &order("o2"));
    assert_eq!(story["state"], "failed", "{story:#}");
    let shown = desk.home.run(&["jobs", "get", "--data", "data", "o2"]).unwrap().out;
    assert!(shown.contains("denied") && shown.contains("nothing is ordered for a guest"), "{shown}");
    assert!(shown.contains("acts for   guest ann (p2 at "), "{shown}");
}
