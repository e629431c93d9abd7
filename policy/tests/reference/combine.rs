//! From matching rules to a judgement.

use super::matching::{has, matched, mcp, rule as rule_matches};
use super::tags::derived;
use super::{Job, Judged, Known, Stands, stands, told};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const ORDER: [&str; 5] = ["allow", "allow_with_constraints", "require_approval", "throttle", "deny"];

fn severity(effect: &str) -> usize {
    ORDER.iter().position(|word| *word == effect).unwrap()
}

/// A rule that matches, perhaps only because something cannot be told.
#[derive(Clone, Copy)]
struct Hit<'p> {
    rule: &'p Value,
    known: Known,
    /// Of its bundle.
    first_match: bool,
    bundle: usize,
}

impl Hit<'_> {
    fn effect(&self) -> usize {
        severity(self.rule["decision"].as_str().unwrap())
    }
    fn invariant(&self) -> bool {
        self.rule["invariant"] == true
    }
    fn tier(&self) -> &str {
        self.rule["tier"].as_str().unwrap_or("global")
    }
    fn limited(&self) -> bool {
        !self.rule["state"].is_null()
    }
}

/// Every rule with what it makes of the job, in order of evaluation; limits left out.
pub(crate) fn looked_at(bundles: &[Value], job: &Job) -> Vec<(String, String, Known)> {
    let derived = derived(bundles, job);
    let hits = all(bundles, job, &derived);
    hits.into_iter()
        .map(|hit| {
            let text = |name: &str| hit.rule[name].as_str().unwrap().to_owned();
            (text("id"), text("decision"), hit.known)
        })
        .collect()
}

fn all<'p>(bundles: &'p [Value], job: &Job, derived: &[(String, Known)]) -> Vec<Hit<'p>> {
    let mut hits: Vec<Hit<'p>> = Vec::new();
    for (number, bundle) in bundles.iter().enumerate() {
        let syntax = bundle["topic_syntax"].as_str().unwrap_or("dots");
        let first_match = bundle["combine"] == "first_match";
        for rule in bundle["rules"].as_array().unwrap() {
            let known = rule_matches(rule, syntax, job, derived);
            hits.push(Hit { rule, known, first_match, bundle: number });
        }
    }
    let tier = |hit: &Hit<'_>| match (hit.invariant(), hit.tier()) {
        (true, _) => 0,
        (false, "job") => 1,
        (false, "workflow") => 2,
        (false, _) => 3,
    };
    hits.sort_by_key(tier);
    hits
}

/// The short forms as what they stand for: `(id, match of what is denied)`.
fn short_forms(bundles: &[Value], job: &Job) -> Vec<(String, Known)> {
    let mut denied = Vec::new();
    let grants: Vec<(&Value, &str)> = bundles
        .iter()
        .flat_map(|bundle| {
            let syntax = bundle["topic_syntax"].as_str().unwrap_or("dots");
            bundle["grants"].as_array().into_iter().flatten().map(move |grant| (grant, syntax))
        })
        .collect();
    for bundle in bundles {
        let syntax = bundle["topic_syntax"].as_str().unwrap_or("dots");
        if bundle["grants"].is_array() && !denied.iter().any(|(id, _)| id == "grants") {
            let general = grants.iter().any(|(grant, _)| grant["tenants"].is_null());
            let mut about = match job.tenant.as_str() {
                _ if general => Known::Yes,
                "" => Known::Unsure,
                tenant => told(grants.iter().any(|(grant, _)| has(&grant["tenants"], tenant))),
            };
            if grants.iter().any(|(grant, syntax)| matched(grant, syntax, job) == Known::Yes) {
                about = Known::No;
            }
            denied.push(("grants".to_owned(), about));
        }
        let mut tenants: Vec<_> = bundle["tenants"].as_object().into_iter().flatten().collect();
        tenants.sort_by_key(|(name, _)| name.as_str());
        for (tenant, entry) in tenants {
            let mut deny = |list: &str, spec: Value, known: Option<Known>| {
                let known = known.unwrap_or(Known::Yes).min(matched(&spec, syntax, job));
                denied.push((format!("tenants.{tenant}.{list}"), known));
            };
            let of = json!([tenant]);
            if entry["allow_topics"].is_array() {
                deny("allow_topics", json!({"tenants": of, "topics": {"not_in": entry["allow_topics"]}}), None);
            }
            if entry["deny_topics"].is_array() {
                deny("deny_topics", json!({"tenants": of, "topics": entry["deny_topics"]}), None);
            }
            for kind in ["servers", "tools", "resources", "actions"] {
                for (list, opposite) in [("allow", "deny"), ("deny", "allow")] {
                    let name = format!("{list}_{kind}");
                    let texts = &entry["mcp"][&name];
                    if texts.is_array() {
                        // What is allowed must be outside for the denial to match, and the other way round.
                        let calls = job.labels.iter().any(|(name, _)| name.starts_with("mcp."));
                        let outside = mcp(&json!({format!("{opposite}_{kind}"): texts}), job).min(told(calls));
                        deny(&format!("mcp.{name}"), json!({"tenants": of}), Some(outside));
                    }
                }
            }
        }
    }
    denied
}

pub(crate) fn judge(bundles: &[Value], job: &Job) -> Judged {
    let mut judged = judge_one(bundles, job);
    for (actor_id, actor_type) in job.chain.clone().unwrap_or_default() {
        let other = judge_one(bundles, &Job { actor_id, actor_type, ..job.clone() });
        judged = join(judged, other);
    }
    judged
}

fn judge_one(bundles: &[Value], job: &Job) -> Judged {
    let derived = derived(bundles, job);
    let with =
        |wanted: Known| derived.iter().filter(|(_, known)| *known == wanted).map(|(tag, _)| tag.clone()).collect();
    let mut judged = Judged { tags: with(Known::Yes), uncertain: with(Known::Unsure), ..Judged::default() };
    let forms = short_forms(bundles, job);
    let denials: Vec<(usize, Value)> = forms
        .iter()
        .filter(|(_, known)| *known != Known::No)
        .map(|(id, _)| (bundle_of(bundles, id), json!({"id": id, "decision": "deny", "invariant": true})))
        .collect();
    let mut hits: Vec<Hit<'_>> = all(bundles, job, &derived)
        .into_iter()
        .filter(|hit| hit.known == Known::Yes || hit.known == Known::Unsure && hit.effect() > 0)
        .collect();
    // The short forms of a bundle stand before its own invariants.
    for (bundle, rule) in denials.iter().rev() {
        let at = hits.iter().position(|hit| !hit.invariant() || hit.bundle >= *bundle).unwrap_or(hits.len());
        hits.insert(at, Hit { rule, known: Known::Yes, first_match: false, bundle: *bundle });
    }
    hits.retain(|hit| {
        let mode = tried_out(hit.rule, job);
        if let Some(mode) = mode {
            let text = |name: &str| hit.rule[name].as_str().unwrap().to_owned();
            judged.shadow.push((text("id"), text("decision"), mode.to_owned()));
        }
        mode.is_none()
    });
    let mut heard: Vec<Hit<'_>> = Vec::new();
    let (mut open, mut decided) = (false, false);
    // Invariants: all of them, those with limits last and only while no deny is heard.
    let denies = |heard: &[Hit<'_>]| heard.iter().any(|hit| hit.effect() == 4);
    let invariants: Vec<Hit<'_>> = hits.iter().copied().filter(Hit::invariant).collect();
    heard.extend(invariants.iter().filter(|hit| !hit.limited()));
    for hit in invariants.iter().filter(|hit| hit.limited()) {
        if !denies(&heard) {
            heard.extend(ask(*hit, job, &mut judged));
        }
    }
    let floor = heard.len();
    if !denies(&heard) {
        for tier in ["job", "workflow", "global"] {
            let of_tier: Vec<Hit<'_>> =
                hits.iter().copied().filter(|hit| !hit.invariant() && hit.tier() == tier).collect();
            let mut certain = false;
            let certainly = |hit: &Hit<'_>| hit.known == Known::Yes;
            for hit in of_tier.iter().filter(|hit| !hit.first_match && !hit.limited()) {
                heard.push(*hit);
                certain |= certainly(hit);
            }
            for bundle in 0..bundles.len() {
                for hit in of_tier.iter().filter(|hit| hit.first_match && hit.bundle == bundle) {
                    let hit = if hit.limited() {
                        if denies(&heard[floor..]) {
                            continue;
                        }
                        let unknown = judged.waits.len();
                        let asked = ask(*hit, job, &mut judged);
                        open |= judged.waits.len() > unknown;
                        let Some(hit) = asked else { continue };
                        hit
                    } else {
                        *hit
                    };
                    heard.push(hit);
                    if certainly(&hit) {
                        certain = true;
                        break;
                    }
                }
            }
            for hit in of_tier.iter().filter(|hit| !hit.first_match && hit.limited()) {
                if !denies(&heard[floor..])
                    && let Some(hit) = ask(*hit, job, &mut judged)
                {
                    heard.push(hit);
                    certain |= certainly(&hit);
                }
            }
            if certain {
                decided = true;
                break;
            }
        }
    }
    decide(bundles, job, &heard, floor, (open, decided), judged)
}

fn decide(
    bundles: &[Value],
    job: &Job,
    heard: &[Hit<'_>],
    floor: usize,
    (open, certain): (bool, bool),
    mut judged: Judged,
) -> Judged {
    // An unsure permission with constraints permits nothing.
    let bound = |hit: &&Hit<'_>| hit.effect() == 1 && hit.known == Known::Unsure;
    let voices: Vec<&Hit<'_>> = heard.iter().filter(|hit| !bound(hit)).collect();
    let in_floor = |hit: &&Hit<'_>| heard[..floor].iter().any(|other| other.rule["id"] == hit.rule["id"]);
    let most = |hits: &mut dyn Iterator<Item = usize>| hits.max();
    let rest = most(&mut voices.iter().filter(|hit| !in_floor(hit)).map(|hit| hit.effect()));
    let lowest = most(&mut voices.iter().filter(|hit| in_floor(hit)).map(|hit| hit.effect()));
    let default = bundles
        .iter()
        .filter_map(|bundle| bundle["tenants"][&job.tenant]["default"].as_str())
        .map(severity)
        .next()
        .unwrap_or(4);
    // The default is heard unless a rule certainly matches.
    let decided = match rest {
        Some(rest) if certain => rest,
        rest => rest.map_or(default, |rest| rest.max(default)),
    };
    let mut effect = lowest.map_or(decided, |lowest| lowest.max(decided));
    let mut winners: Vec<&Hit<'_>> = voices.iter().copied().filter(|hit| hit.effect() == effect).collect();
    let bounds: Vec<&Hit<'_>> = heard.iter().filter(bound).collect();
    if effect <= 1 && !bounds.is_empty() {
        if effect == 0 {
            winners.clear();
        }
        winners.extend(bounds);
        effect = 1;
    }
    // In order of evaluation.
    let place = |hit: &&Hit<'_>| heard.iter().position(|other| other.rule["id"] == hit.rule["id"]);
    winners.sort_by_key(|hit| order(bundles, hit, place(hit)));
    judged.default_used = winners.is_empty();
    if !judged.waits.is_empty() && (effect != 4 || open) {
        return Judged { waits: judged.waits, ..Judged::default() };
    }
    judged.waits.clear();
    if effect == 2 {
        judged.approval = match approvals(winners.iter().map(|hit| approval_of(hit.rule))) {
            Some(approval) => approval,
            None => {
                effect = 4;
                Value::Null
            }
        };
    }
    if effect == 1 || effect == 2 {
        judged.constraints =
            tightest(heard.iter().map(|hit| &hit.rule["constraints"]).filter(|c| c.is_object()).cloned());
    }
    if effect == 3 {
        judged.throttle = slowest(winners.iter().map(|hit| hit.rule["throttle"].clone()));
    }
    judged.effect = ORDER[effect].to_owned();
    judged.rule_ids = winners.iter().take(16).map(|hit| hit.rule["id"].as_str().unwrap().to_owned()).collect();
    judged.shadow.truncate(16);
    if effect == 4 {
        judged.spends.clear();
    }
    judged
}

/// Where a rule stands among all.
fn order(bundles: &[Value], hit: &Hit<'_>, heard: Option<usize>) -> (usize, usize, usize) {
    let stage = match (hit.invariant(), hit.tier()) {
        (true, _) => 0,
        (false, "job") => 1,
        (false, "workflow") => 2,
        (false, _) => 3,
    };
    let rules = bundles[hit.bundle]["rules"].as_array().unwrap();
    let written = rules.iter().position(|rule| rule["id"] == hit.rule["id"]);
    // Short forms stand before the bundle's own rules, in the order they were heard in.
    (stage, hit.bundle, written.map_or(heard.unwrap_or(0), |at| at + 1_000))
}

fn bundle_of(bundles: &[Value], form: &str) -> usize {
    let has_form = |bundle: &Value| match form.strip_prefix("tenants.") {
        Some(rest) => bundle["tenants"].as_object().into_iter().flatten().any(|(tenant, entry)| {
            let Some(list) = rest.strip_prefix(tenant.as_str()).and_then(|list| list.strip_prefix('.')) else {
                return false;
            };
            !entry[list].is_null() || list.strip_prefix("mcp.").is_some_and(|list| !entry["mcp"][list].is_null())
        }),
        None => bundle["grants"].is_array(),
    };
    bundles.iter().position(has_form).unwrap()
}

fn tried_out(rule: &Value, job: &Job) -> Option<&'static str> {
    match rule["mode"].as_str() {
        Some("shadow") => return Some("shadow"),
        Some("warn") => return Some("warn"),
        Some(_) | None => {}
    }
    let canary = rule["canary"].as_object()?;
    let text = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let key = match canary["by"].as_str().unwrap() {
        "tenant" => text(&Some(job.tenant.clone())),
        "actor_id" => text(&job.actor_id),
        "topic" => text(&Some(job.topic.clone())),
        "job_id" => text(&Some(job.id.clone())),
        by => {
            let label = by.strip_prefix("labels.").unwrap();
            job.labels.iter().rev().find(|(name, _)| name == label).map(|(_, value)| value.clone())
        }
    };
    let enforced = match key {
        None => rule["decision"] != "allow",
        Some(key) => {
            let text = format!("{}\0{key}", rule["id"].as_str().unwrap());
            let digest: [u8; 32] = Sha256::digest(text.as_bytes()).into();
            let number = u64::from_be_bytes(digest[..8].try_into().unwrap());
            (number % 10_000) as f64 / 100.0 < canary["percent"].as_f64().unwrap()
        }
    };
    (!enforced).then_some("canary")
}

/// The rule with what its limits say; `None` when it does not match, or that is not known.
fn ask<'p>(hit: Hit<'p>, job: &Job, judged: &mut Judged) -> Option<Hit<'p>> {
    let mut known = hit.known;
    let (mut within, mut unknown) = (false, false);
    for (number, limit) in hit.rule["state"].as_array().unwrap().iter().enumerate() {
        let name = format!("{}#{number}", hit.rule["id"].as_str().unwrap());
        let Some((key, millionths)) = wanted(limit, job) else {
            known = Known::Unsure;
            continue;
        };
        match stands(&name, &key) {
            Stands::Exceeded => {}
            Stands::Within => {
                within = true;
                judged.spends.push((name, key, millionths));
            }
            Stands::Unknown => {
                unknown = true;
                judged.waits.push((name, key, millionths));
            }
        }
    }
    (!within && !unknown).then_some(Hit { known, ..hit })
}

fn wanted(limit: &Value, job: &Job) -> Option<(String, u64)> {
    let payload: Option<Value> = serde_json::from_str(&job.payload).ok();
    let field = |name: &str| -> Option<Value> {
        let value = payload.as_ref()?.as_object()?.get(name.strip_prefix("job.").unwrap())?;
        (value.is_string() || value.is_number() || value.is_boolean()).then(|| value.clone())
    };
    let millionths = match limit["sum_within"].as_str() {
        None => 1_000_000,
        Some(name) => {
            let number = field(name)?.as_f64()?;
            if number < 0.0 {
                return None;
            }
            (number * 1e6) as u64
        }
    };
    if let Some(name) = limit["count_distinct_within"].as_str() {
        field(name)?;
    }
    let mut parts = Vec::new();
    if limit["scope"] != "global" {
        parts.push(job.tenant.clone());
    }
    for part in limit["key"].as_array().unwrap() {
        match part.as_str().unwrap() {
            "tenant" if limit["scope"] != "global" => {}
            "tenant" => parts.push(job.tenant.clone()),
            "actor_id" => parts.push(job.actor_id.clone().unwrap_or_default()),
            "capability" => parts.push(job.capability.clone()),
            name => match field(name)? {
                Value::String(text) => parts.push(format!("s{text}")),
                Value::Number(number) => parts.push(format!("n{}", number.as_f64().unwrap())),
                other => parts.push(format!("b{other}")),
            },
        }
    }
    if parts.iter().any(String::is_empty) {
        return None;
    }
    Some((parts.iter().map(|part| format!("{}:{part}", part.len())).collect(), millionths))
}

fn approval_of(rule: &Value) -> Value {
    let written = &rule["approval"];
    json!({
        "approvers": written["approvers"].as_array().cloned().unwrap_or_default(),
        "quorum": written["quorum"].as_u64().unwrap_or(1),
        "hours": written["ttl"].as_str().map_or(24, |ttl| ttl.trim_end_matches('h').parse::<u64>().unwrap()),
        "escalate": written["escalate"].as_array().cloned().unwrap_or_default(),
    })
}

/// When each of the roles may approve, if ever, for all rules; `None` when nobody may at once.
fn approvals(all: impl Iterator<Item = Value>) -> Option<Value> {
    let all: Vec<Value> = all.collect();
    let hours = all.iter().map(|approval| approval["hours"].as_u64().unwrap()).min().unwrap();
    let quorum = all.iter().map(|approval| approval["quorum"].as_u64().unwrap()).max().unwrap();
    let anybody = |approval: &Value| approval["approvers"].as_array().unwrap().is_empty();
    if all.len() == 1 || all.iter().all(|approval| *approval == all[0]) {
        return Some(all[0].clone());
    }
    let after = |approval: &Value, role: &str| -> Option<u64> {
        if anybody(approval) || has(&approval["approvers"], role) {
            return Some(0);
        }
        let steps = approval["escalate"].as_array().unwrap().iter().filter(|step| step["to"] == role);
        steps.map(|step| step["after"].as_str().unwrap().trim_end_matches('h').parse().unwrap()).min()
    };
    let (mut now, mut later) = (Vec::new(), Vec::new());
    if !all.iter().all(anybody) {
        for role in super::draw::ROLES {
            let named = all.iter().any(|approval| {
                has(&approval["approvers"], role)
                    || approval["escalate"].as_array().unwrap().iter().any(|step| step["to"] == role)
            });
            let times: Option<Vec<u64>> = all.iter().map(|approval| after(approval, role)).collect();
            match times.map(|times| times.into_iter().max().unwrap()) {
                Some(0) if named => now.push(role),
                Some(at) if named && at < hours => later.push((at, role)),
                _ => {}
            }
        }
        if now.is_empty() {
            return None;
        }
    }
    later.sort_unstable();
    let later: Vec<Value> = later.iter().map(|(at, role)| json!({"after": format!("{at}h"), "to": role})).collect();
    Some(json!({"approvers": now, "quorum": quorum, "hours": hours, "escalate": later}))
}

/// The smallest number, the common entries of a list, all denied paths.
fn tightest(all: impl Iterator<Item = Value>) -> Value {
    let mut merged = Value::Null;
    for constraints in all {
        merged = both(&merged, &constraints, "");
    }
    merged
}

fn both(a: &Value, b: &Value, name: &str) -> Value {
    match (a, b) {
        (Value::Null, other) | (other, Value::Null) => other.clone(),
        (Value::Object(a), Value::Object(b)) => {
            let mut merged = a.clone();
            for (key, value) in b {
                let value = both(merged.get(key).unwrap_or(&Value::Null), value, key);
                merged.insert(key.clone(), value);
            }
            merged.into()
        }
        (Value::Array(a), Value::Array(b)) if name == "deny_path_globs" => {
            let mut all: Vec<Value> = a.iter().chain(b).cloned().collect();
            all.sort_by_key(ToString::to_string);
            all.dedup();
            all.into()
        }
        (Value::Array(a), Value::Array(b)) => a.iter().filter(|entry| b.contains(entry)).cloned().collect(),
        (Value::Number(a), Value::Number(b)) => a.as_u64().min(b.as_u64()).into(),
        (Value::String(a), Value::String(b)) => {
            let levels = ["none", "low", "standard", "strict"];
            let level = |text: &String| levels.iter().position(|level| level == text).unwrap();
            levels[level(a).max(level(b))].into()
        }
        (a, b) => panic!("{a} beside {b}"),
    }
}

fn slowest(all: impl Iterator<Item = Value>) -> Value {
    let all: Vec<Value> = all.collect();
    let seconds = |throttle: &Value, name: &str, default: u64| {
        throttle[name].as_str().map_or(default, |text| text.trim_end_matches('s').parse().unwrap())
    };
    let retry = all.iter().map(|throttle| seconds(throttle, "retry_after", 30)).max().unwrap();
    let give_up = all.iter().map(|throttle| seconds(throttle, "give_up_after", 3_600)).min().unwrap();
    json!({"retry": retry, "give_up": give_up})
}

/// The verdicts on two principals: the most restrictive holds.
fn join(a: Judged, b: Judged) -> Judged {
    let waits = |judged: &Judged| !judged.waits.is_empty();
    match (waits(&a), waits(&b)) {
        (true, true) => {
            let mut all = a.waits;
            all.extend(b.waits.into_iter().filter(|wait| !all.contains(wait)).collect::<Vec<_>>());
            return Judged { waits: all, ..Judged::default() };
        }
        (true, false) => return if b.effect == "deny" { b } else { a },
        (false, true) => return if a.effect == "deny" { a } else { b },
        (false, false) => {}
    }
    let (mut most, least) = if severity(&b.effect) > severity(&a.effect) { (b, a) } else { (a, b) };
    if most.effect == least.effect {
        let more = least.rule_ids.iter().filter(|id| !most.rule_ids.contains(id)).cloned().collect::<Vec<_>>();
        most.rule_ids.extend(more);
        most.rule_ids.truncate(16);
        most.default_used &= least.default_used;
    }
    if matches!(most.effect.as_str(), "allow_with_constraints" | "require_approval") {
        most.constraints = both(&most.constraints, &least.constraints, "");
    }
    if most.effect == "require_approval" {
        let all = [&most.approval, &least.approval].into_iter().filter(|approval| approval.is_object()).cloned();
        match approvals(all.collect::<Vec<_>>().into_iter()) {
            Some(approval) => most.approval = approval,
            None => {
                most.effect = "deny".to_owned();
                (most.approval, most.constraints) = (Value::Null, Value::Null);
            }
        }
    }
    if most.effect == "throttle" && least.effect == "throttle" {
        let number = |judged: &Judged, name: &str| judged.throttle[name].as_u64().unwrap();
        most.throttle = json!({
            "retry": number(&most, "retry").max(number(&least, "retry")),
            "give_up": number(&most, "give_up").min(number(&least, "give_up")),
        });
    }
    let more = least.shadow.iter().filter(|entry| !most.shadow.contains(entry)).cloned().collect::<Vec<_>>();
    most.shadow.extend(more);
    most.shadow.truncate(16);
    let more = least.spends.iter().filter(|spend| !most.spends.contains(spend)).cloned().collect::<Vec<_>>();
    most.spends.extend(more);
    if most.effect == "deny" {
        most.spends.clear();
    }
    most
}
