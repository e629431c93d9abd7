//! Random policies and jobs from small vocabularies, so that rules and jobs meet often.

use super::{Bundles, Job, Known, told};
use fastrand::Rng;
use serde_json::{Map, Value, json};

/// An instant, and what clocks show: day (0 is Monday) and minute.
pub(crate) struct Hour {
    pub(crate) at_ms: u64,
    pub(crate) utc: (usize, u32),
    pub(crate) berlin: (usize, u32),
}

/// A winter morning, a summer night, both turns of daylight saving, a Sunday that is Monday in Berlin.
pub(crate) const HOURS: [Hour; 5] = [
    Hour { at_ms: 1_767_598_200_000, utc: (0, 450), berlin: (0, 510) },
    Hour { at_ms: 1_783_722_600_000, utc: (4, 1350), berlin: (5, 30) },
    Hour { at_ms: 1_792_891_800_000, utc: (6, 90), berlin: (6, 150) },
    Hour { at_ms: 1_774_746_000_000, utc: (6, 60), berlin: (6, 180) },
    Hour { at_ms: 1_768_173_000_000, utc: (6, 1390), berlin: (0, 10) },
];

pub(crate) const SECRET: &str = "ghp_0123456789abcdefghijABCDEFGHIJ0123456789";
pub(crate) const ROLES: [&str; 4] = ["cfo", "finance", "lead", "security"];
const TENANTS: [&str; 3] = ["acme", "beta", "core"];
const TOPICS: [&str; 8] =
    ["job.pay", "job.pay.wire", "job.mail", "job.mail.send", "sys", "job.pay.wire.now", "job/x", "job.ma"];
const DOTS: [&str; 10] =
    ["job.pay", "job.*", "job.>", ">", "*.pay.wire", "job.pay.*", "job.mail.send", "sys", "*.*", "job.pay.>"];
const PATHS: [&str; 8] = ["job.*", "*", "job.pay", "job.p?y*", "*.send", "job/*", "*a*l*", "sys"];
const CAPABILITIES: [&str; 3] = ["pay", "mail", "read"];
const ACTORS: [&str; 3] = ["a1", "a2", "a3"];
const KINDS: [&str; 2] = ["agent", "person"];
const PACKS: [&str; 2] = ["bank", "office"];
const NEEDS: [&str; 3] = ["net", "gpu", "eu"];
const TAGS: [&str; 4] = ["t0", "t1", "t2", "t3"];
const KEYS: [&str; 4] = ["env", "risk", "mcp.tool", "mcp.server"];
const VALUES: [&str; 5] = ["prod", "5", "80.5", "x", "fs"];

type Holds = fn(&Job, Option<&Value>) -> Known;

fn number(payload: Option<&Value>, name: &str) -> Option<f64> {
    payload?.as_object()?.get(name)?.as_f64()
}

fn known(holds: Option<bool>) -> Known {
    holds.map_or(Known::Unsure, told)
}

/// Conditions, and what each says of a job.
pub(crate) const CONDITIONS: [(&str, Holds); 5] = [
    ("job.n > 100", |_, payload| known(number(payload, "n").map(|n| n > 100.0))),
    ("has(job.n) && job.n >= params.limit", |_, payload| {
        let Some(object) = payload.and_then(Value::as_object) else { return Known::Unsure };
        match object.get("n") {
            None | Some(Value::Null) => Known::No,
            Some(value) => known(value.as_f64().map(|n| n >= 50.0)),
        }
    }),
    ("job.s == 'a'", |_, payload| {
        known(payload.and_then(Value::as_object).and_then(|object| object.get("s")?.as_str()).map(|s| s == "a"))
    }),
    ("job.capability == 'pay' || job.n < 5", |job, payload| {
        let pays = (!job.capability.is_empty()).then_some(job.capability == "pay");
        let small = number(payload, "n").map(|n| n < 5.0);
        match (pays, small) {
            (Some(true), _) | (_, Some(true)) => Known::Yes,
            (Some(false), Some(false)) => Known::No,
            _ => Known::Unsure,
        }
    }),
    ("job.n * 2.0 > 300.0", |_, payload| known(number(payload, "n").map(|n| n * 2.0 > 300.0))),
];

fn pick<'t>(random: &mut Rng, words: &[&'t str]) -> &'t str {
    words[random.usize(..words.len())]
}

fn chance(random: &mut Rng, percent: u32) -> bool {
    random.u32(..100) < percent
}

/// One to three of them, none twice.
fn some(random: &mut Rng, words: &[&str]) -> Value {
    let count = random.usize(1..=words.len().min(3));
    let mut drawn: Vec<&str> = (0..count).map(|_| pick(random, words)).collect();
    drawn.sort_unstable();
    drawn.dedup();
    json!(drawn)
}

/// A list, or `{in, not_in}`.
fn set(random: &mut Rng, words: &[&str]) -> Value {
    match random.u32(..10) {
        0 => json!({"not_in": some(random, words)}),
        1 => json!({"in": some(random, words), "not_in": some(random, words)}),
        _ => some(random, words),
    }
}

/// A set of one to three bundles. `bare` ones have matches and effects alone, so that many rules meet one job.
pub(crate) fn bundles(random: &mut Rng) -> Bundles {
    let bare = chance(random, 30);
    let count = random.usize(1..=3);
    (0..count).map(|number| bundle(random, number, bare)).collect()
}

fn bundle(random: &mut Rng, number: usize, bare: bool) -> Value {
    let dots = chance(random, 80);
    let globs: &[&str] = if dots { &DOTS } else { &PATHS };
    let most = if chance(random, 10) { 60 } else { 8 };
    let rules: Vec<Value> = (0..random.usize(1..=most))
        .map(|place| rule(random, &format!("r{number}-{place}"), globs, dots, bare))
        .collect();
    let mut bundle = json!({
        "id": format!("b{number}"),
        "revision": 1,
        "combine": if chance(random, 40) { "first_match" } else { "most_restrictive" },
        "topic_syntax": if dots { "dots" } else { "path" },
        "params": {"limit": 50},
        "rules": rules,
    });
    if dots {
        bundle["schemas"] = json!([{"topics": [">"], "fields": {"n": "number", "s": "string?"}}]);
    }
    // Every tag is derived somewhere, so that any rule may match any.
    let derivers: Vec<Value> = TAGS.iter().map(|tag| deriver(random, tag, globs)).collect();
    if number == 0 || chance(random, 30) {
        bundle["derivers"] = derivers.into();
    }
    if chance(random, 40) {
        let tenants: Map<String, Value> = TENANTS
            .iter()
            .enumerate()
            // No two bundles speak of the same tenant: its default must be said once.
            .filter(|(place, _)| place % 3 == number)
            .map(|(_, tenant)| ((*tenant).to_owned(), tenant_entry(random, globs, bare)))
            .collect();
        bundle["tenants"] = tenants.into();
    }
    if !bare && chance(random, 15) {
        bundle["grants"] = (0..random.usize(1..4)).map(|_| grant(random, globs)).collect();
    }
    bundle
}

fn tenant_entry(random: &mut Rng, globs: &[&str], bare: bool) -> Value {
    let mut entry = json!({"default": if chance(random, 50) { "allow" } else { "deny" }});
    if bare {
        return entry;
    }
    if chance(random, 10) {
        entry["allow_topics"] = some(random, globs);
    }
    if chance(random, 10) {
        entry["deny_topics"] = some(random, globs);
    }
    if chance(random, 10) {
        entry["mcp"] = mcp(random);
    }
    entry
}

fn mcp(random: &mut Rng) -> Value {
    let list = ["allow_tools", "deny_tools", "allow_servers", "deny_servers"][random.usize(..4)];
    json!({list: some(random, &VALUES)})
}

fn grant(random: &mut Rng, globs: &[&str]) -> Value {
    let mut grant = json!({"actor_types": set(random, &KINDS)});
    if chance(random, 40) {
        grant = json!({"actor_ids": set(random, &ACTORS)});
    }
    if chance(random, 50) {
        grant["tenants"] = some(random, &TENANTS);
    }
    if chance(random, 70) {
        grant["capabilities"] = set(random, &CAPABILITIES);
    } else {
        grant["topics"] = some(random, globs);
    }
    grant
}

fn deriver(random: &mut Rng, tag: &str, globs: &[&str]) -> Value {
    let field = pick(random, &["/n", "/s", "/deep/n", "/list/*", "/x"]);
    let mut deriver = json!({"tag": tag, "topics": some(random, globs), "field": field});
    let (test, value) = match random.u32(..7) {
        0 => ("missing", Value::Null),
        1 => ("eq", [json!("a"), json!(5), json!(true)][random.usize(..3)].clone()),
        2 => ("in", [json!(["a", "b"]), json!([5, 50.5])][random.usize(..2)].clone()),
        3 => ("not_in", [json!(["a", "b"]), json!([5, 50.5])][random.usize(..2)].clone()),
        4 => ("prefix", json!("a")),
        5 => ("gt", json!(40)),
        _ => ("address_not_in", json!(["b@x.example", "@y.example"])),
    };
    deriver["test"] = test.into();
    if test != "missing" {
        deriver["value"] = value;
        deriver["optional"] = chance(random, 30).into();
    }
    deriver
}

fn rule(random: &mut Rng, id: &str, globs: &[&str], dots: bool, bare: bool) -> Value {
    let matches = match_of(random, globs, bare);
    let tagged = !matches["risk_tags"].is_null();
    let invariant = chance(random, 15);
    let decision = match random.u32(..10) {
        0..=2 if !invariant => "allow",
        3 | 4 => "allow_with_constraints",
        5 | 6 => "require_approval",
        7 => "throttle",
        _ => "deny",
    };
    let mut rule = json!({
        "id": id,
        "tier": pick(random, &["global", "global", "workflow", "job"]),
        "invariant": invariant,
        "match": matches,
        "decision": decision,
    });
    if tagged && chance(random, 40) {
        rule["trust"] = "claimed".into();
    }
    consequence(random, &mut rule, decision);
    if bare {
        return rule;
    }
    match random.u32(..12) {
        0 => rule["mode"] = pick(random, &["shadow", "warn"]).into(),
        1 => {
            let by = pick(random, &["tenant", "actor_id", "topic", "job_id", "labels.env"]);
            rule["canary"] = json!({"percent": ([0.5, 50.0, 100.0][random.usize(..3)]), "by": by});
        }
        _ => {}
    }
    if chance(random, 12) {
        rule["window"] = json!({
            "tz": pick(random, &["UTC", "Europe/Berlin"]),
            "days": some(random, &["mon", "fri", "sat", "sun"]),
            "hours": pick(random, &["08:00-18:00", "22:00-06:00", "00:00-03:00"]),
            "outside": chance(random, 30),
        });
    }
    if dots && chance(random, 20) {
        rule["when"] = CONDITIONS[random.usize(..CONDITIONS.len())].0.into();
    }
    if decision != "allow" && chance(random, 15) {
        rule["state"] = (0..random.usize(1..3)).map(|_| limit(random)).collect();
    }
    rule
}

fn match_of(random: &mut Rng, globs: &[&str], bare: bool) -> Value {
    let mut matches = json!({});
    let mut maybe = |name: &str, percent: u32, random: &mut Rng, draw: &dyn Fn(&mut Rng) -> Value| {
        if chance(random, percent) {
            matches[name] = draw(random);
        }
    };
    maybe("tenants", 30, random, &|random| set(random, &TENANTS));
    maybe("topics", 50, random, &|random| set(random, globs));
    maybe("capabilities", 15, random, &|random| set(random, &CAPABILITIES));
    maybe("risk_tags", 20, random, &|random| some(random, &TAGS));
    maybe("requires", 10, random, &|random| some(random, &NEEDS));
    maybe("actor_ids", 12, random, &|random| set(random, &ACTORS));
    maybe("actor_types", 12, random, &|random| set(random, &KINDS));
    maybe("labels", 15, random, &labels);
    if !bare {
        maybe("pack_ids", 6, random, &|random| set(random, &PACKS));
        maybe("secrets_present", 6, random, &|random| chance(random, 50).into());
        maybe("delegation", 8, random, &delegation);
        if matches["labels"].is_null() && chance(random, 8) {
            matches["mcp"] = mcp(random);
        }
    }
    matches
}

fn labels(random: &mut Rng) -> Value {
    let mut labels = Map::new();
    for _ in 0..random.usize(1..3) {
        let wanted = match random.u32(..6) {
            0 | 1 => pick(random, &VALUES).into(),
            2 => some(random, &VALUES),
            3 => json!({"not_in": some(random, &VALUES)}),
            4 => json!({"in": some(random, &VALUES), "gt": 4}),
            _ => json!({(pick(random, &["gt", "gte", "lt", "lte"])): ([5.0, 80.5, 60.0][random.usize(..3)])}),
        };
        labels.insert(pick(random, &KEYS).to_owned(), wanted);
    }
    labels.into()
}

fn delegation(random: &mut Rng) -> Value {
    match random.u32(..4) {
        0 => json!({"max_depth": random.u32(..3)}),
        1 => json!({"min_depth": random.u32(..3)}),
        2 => json!({"required_scope": some(random, &CAPABILITIES)}),
        _ => json!({"max_depth": 2, "min_depth": 1, "required_scope": some(random, &CAPABILITIES)}),
    }
}

fn consequence(random: &mut Rng, rule: &mut Value, decision: &str) {
    if decision == "allow_with_constraints" || decision == "require_approval" && chance(random, 30) {
        rule["constraints"] = match random.u32(..5) {
            0 => json!({"budgets": {"max_runtime_ms": random.u32(1..4) * 1_000, "max_retries": random.u32(..3)}}),
            1 => json!({"sandbox": {"network_allowlist": some(random, &["a", "b", "c"])}}),
            2 => json!({"toolchain": {"allowed_tools": some(random, &["edit", "run", "see"])}}),
            3 => json!({"diff": {"max_files": random.u32(1..9), "deny_path_globs": some(random, &["*.key", ".env"])}}),
            _ => json!({"redaction_level": pick(random, &["none", "low", "standard", "strict"])}),
        };
    }
    if decision == "require_approval" && chance(random, 70) {
        let mut approval = json!({"quorum": random.u32(1..4), "ttl": format!("{}h", random.u32(4..9))});
        if chance(random, 70) {
            approval["approvers"] = some(random, &ROLES);
        }
        if chance(random, 40) {
            approval["escalate"] = json!([{"after": format!("{}h", random.u32(1..4)), "to": pick(random, &ROLES)}]);
        }
        rule["approval"] = approval;
    }
    if decision == "throttle" && chance(random, 50) {
        rule["throttle"] = json!({"retry_after": format!("{}s", random.u32(1..90)), "give_up_after": "600s"});
    }
}

fn limit(random: &mut Rng) -> Value {
    let mut limit = match random.u32(..4) {
        0 => json!({"count_within": "jobs", "window": "1m", "gt": 10}),
        1 => json!({"sum_within": "job.n", "window": "1h", "gt": 1000}),
        2 => json!({"count_distinct_within": "job.s", "window": "1h", "gt": 10}),
        _ => json!({"concurrency": "jobs", "gt": 5}),
    };
    limit["key"] = some(random, &["tenant", "actor_id", "capability", "job.s", "job.n"]);
    if chance(random, 20) {
        limit["scope"] = "global".into();
    }
    limit
}

pub(crate) fn job(random: &mut Rng) -> Job {
    let maybe = |random: &mut Rng, words: &[&str]| chance(random, 85).then(|| pick(random, words).to_owned());
    let list = |random: &mut Rng, words: &[&str]| -> Vec<String> {
        words.iter().filter(|_| chance(random, 50)).map(|word| (*word).to_owned()).collect()
    };
    let labels = (0..random.usize(..4)).map(|_| (pick(random, &KEYS).to_owned(), pick(random, &VALUES).to_owned()));
    let labels = labels.collect::<Vec<_>>();
    let delegated = chance(random, 20);
    Job {
        id: format!("j{}", random.u32(..50)),
        tenant: maybe(random, &TENANTS).unwrap_or_default(),
        topic: if chance(random, 95) { pick(random, &TOPICS).to_owned() } else { String::new() },
        capability: maybe(random, &CAPABILITIES).unwrap_or_default(),
        actor_id: maybe(random, &ACTORS),
        actor_type: maybe(random, &KINDS),
        pack_id: maybe(random, &PACKS),
        requires: list(random, &NEEDS),
        claims: list(random, &TAGS),
        labels,
        payload: payload(random),
        chain: delegated
            .then(|| (0..random.usize(1..4)).map(|_| (maybe(random, &ACTORS), maybe(random, &KINDS))).collect()),
        scope: chance(random, 70).then(|| list(random, &CAPABILITIES)),
        hour: random.usize(..HOURS.len()),
    }
}

fn payload(random: &mut Rng) -> String {
    if chance(random, 5) {
        return "not json".to_owned();
    }
    let scalar = |random: &mut Rng| match random.u32(..9) {
        0 => json!(5),
        1 => json!(50.5),
        2 => json!(500),
        3 => json!(-3),
        4 => json!("a"),
        5 => json!("b@x.example"),
        6 => json!(SECRET),
        7 => Value::Null,
        _ => json!(true),
    };
    let mut payload = Map::new();
    for name in ["n", "n", "s", "x"] {
        if chance(random, 60) {
            payload.insert(name.to_owned(), scalar(random));
        }
    }
    if chance(random, 60) {
        payload.insert("n".to_owned(), [json!(5), json!(50), json!(150.5), json!(500)][random.usize(..4)].clone());
    }
    if chance(random, 40) {
        payload.insert("deep".to_owned(), json!({"n": scalar(random)}));
    }
    if chance(random, 40) {
        payload.insert("list".to_owned(), (0..random.usize(..3)).map(|_| scalar(random)).collect());
    }
    Value::from(payload).to_string()
}
