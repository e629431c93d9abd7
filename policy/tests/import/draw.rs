//! Random files and jobs from small pools, so that they meet.

use fastrand::Rng;
use serde_json::{Map, Value, json};

const TENANTS: [&str; 3] = ["acme", "globex", "initech"];
const TOPICS: [&str; 6] = ["job.pay.wire", "job.pay.card", "job.mail.send", "job.read", "sys.admin", "job/deep/read"];
const PATTERNS: [&str; 8] = ["job.*", "job.pay.*", "*.wire", "job.?ead", "sys.*", "*", "job/*/read", "job.mail.send"];
const CAPABILITIES: [&str; 3] = ["pay", "mail", "read"];
const ACTORS: [&str; 3] = ["bot-1", "bot-2", "ann"];
const KINDS: [&str; 2] = ["agent", "person"];
const PACKS: [&str; 2] = ["office", "bank"];
const TAGS: [&str; 3] = ["financial", "external", "bulk"];
const NEEDS: [&str; 2] = ["network", "gpu"];
const LABELS: [(&str, [&str; 3]); 2] = [("env", ["prod", "staging", "dev"]), ("region", ["eu", "us", "ap"])];
const MCP: [(&str, &str, [&str; 3]); 4] = [
    ("mcp.server", "servers", ["github", "jira", "mail"]),
    ("mcp.tool", "tools", ["read", "write", "drop"]),
    ("mcp.resource", "resources", ["repo", "issue", "page"]),
    ("mcp.action", "actions", ["get", "put", "admin"]),
];

#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) tenant: String,
    pub(crate) topic: String,
    pub(crate) capability: String,
    pub(crate) actor_id: String,
    pub(crate) actor_type: String,
    pub(crate) pack_id: String,
    pub(crate) requires: Vec<String>,
    pub(crate) tags: Vec<String>,
    pub(crate) labels: Vec<(String, String)>,
    /// It has all that a file can ask about, spelt as files spell it.
    pub(crate) complete: bool,
}

fn pick(random: &mut Rng, pool: &[&str]) -> String {
    pool[random.usize(..pool.len())].to_owned()
}

fn some(random: &mut Rng, pool: &[&str]) -> Vec<String> {
    let most = random.usize(1..=pool.len().min(3));
    random.choose_multiple(pool.iter(), most).into_iter().map(|&name| name.to_owned()).collect()
}

pub(crate) fn job(random: &mut Rng) -> Job {
    let complete = random.bool();
    let mut name = |pool: &[&str]| {
        let name = pick(random, pool);
        match random.u32(..12) {
            0 if !complete => String::new(),
            1 if !complete => name.to_uppercase(),
            2 if !complete => format!(" {name}"),
            _ => name,
        }
    };
    let (capability, actor_id, actor_type) = (name(&CAPABILITIES), name(&ACTORS), name(&KINDS));
    // No submitter chooses it.
    let pack_id = if complete || random.bool() { pick(random, &PACKS) } else { String::new() };
    let (tags, requires) = (some(random, &TAGS), some(random, &NEEDS));
    let mut labels = Vec::new();
    for (key, values) in LABELS {
        if complete || random.bool() {
            labels.push((key.to_owned(), pick(random, &values)));
        }
    }
    if complete || random.bool() {
        let odd = !complete && random.u32(..4) == 0;
        labels.push(("amount".to_owned(), if odd { "many".to_owned() } else { random.u32(..2_000).to_string() }));
    }
    if random.bool() {
        for (key, _, values) in MCP {
            if random.u32(..4) > 0 {
                let value = pick(random, &values);
                labels.push((key.to_owned(), if random.u32(..6) == 0 { value.to_uppercase() } else { value }));
            }
        }
    }
    let topic = pick(random, &TOPICS);
    let tenant = pick(random, &TENANTS);
    Job { tenant, topic, capability, actor_id, actor_type, pack_id, requires, tags, labels, complete }
}

fn mcp(random: &mut Rng) -> Value {
    let mut lists = Map::new();
    for (_, field, values) in MCP {
        for way in ["allow", "deny"] {
            if random.u32(..5) == 0 {
                lists.insert(format!("{way}_{field}"), json!(some(random, &values)));
            }
        }
    }
    lists.into()
}

fn wants(random: &mut Rng) -> Value {
    let mut wants = Map::new();
    let pools: [(&str, &[&str]); 8] = [
        ("tenants", &TENANTS),
        ("topics", &PATTERNS),
        ("capabilities", &CAPABILITIES),
        ("actor_ids", &ACTORS),
        ("actor_types", &KINDS),
        ("risk_tags", &TAGS),
        ("requires", &NEEDS),
        ("pack_ids", &PACKS),
    ];
    for (name, pool) in pools {
        if random.u32(..4) == 0 {
            wants.insert(name.to_owned(), json!(some(random, pool)));
        }
    }
    for (key, values) in LABELS {
        match random.u32(..8) {
            0 => drop(wants.insert("labels".to_owned(), json!({ key: pick(random, &values) }))),
            1 => drop(wants.insert("label_allowlist".to_owned(), json!({ key: some(random, &values) }))),
            _ => {}
        }
    }
    if random.u32(..8) == 0 {
        wants.insert("label_threshold".to_owned(), json!({ "amount": random.u32(..2_000) }));
    }
    if random.u32(..4) == 0 {
        wants.insert("mcp".to_owned(), mcp(random));
    }
    wants.into()
}

fn rule(random: &mut Rng, number: usize) -> Value {
    let words =
        ["allow", "permit", "allow_with_constraints", "require_approval", "require_human", "throttle", "deny", "block"];
    let decision = pick(random, &words);
    let mut rule =
        json!({ "id": format!("r{number}"), "match": wants(random), "decision": decision, "reason": "drawn" });
    let allows = matches!(decision.as_str(), "allow" | "permit" | "allow_with_constraints");
    if random.u32(..3) == 0 && (allows || decision.starts_with("require")) {
        rule["constraints"] = json!({ "budgets": { "max_retries": number + 1 } });
    }
    if random.u32(..4) == 0 && !allows {
        let key = pick(random, &["tenant", "actor_id", "tenant:topic", "labels.env:capability"]);
        rule["velocity"] = json!({ "max_requests": 5, "window_seconds": 60, "key": key });
    }
    rule
}

pub(crate) fn file(random: &mut Rng) -> Value {
    let count = random.usize(..7);
    let rules: Vec<Value> = (0..count).map(|number| rule(random, number)).collect();
    let mut tenants = Map::new();
    for tenant in TENANTS {
        let mut lists = Map::new();
        for name in ["allow_topics", "deny_topics"] {
            if random.u32(..3) == 0 {
                lists.insert(name.to_owned(), json!(some(random, &PATTERNS)));
            }
        }
        if random.u32(..3) == 0 {
            lists.insert("mcp".to_owned(), mcp(random));
        }
        if random.u32(..6) == 0 {
            lists.insert("max_concurrent_jobs".to_owned(), json!(3));
        }
        tenants.insert(tenant.to_owned(), lists.into());
    }
    let default = if count == 0 || random.bool() { "allow" } else { "deny" };
    json!({ "version": "v1", "default_decision": default, "rules": rules, "tenants": tenants })
}
