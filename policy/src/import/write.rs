//! The bundle's text. Values are written as JSON, which YAML reads.

use super::file::Safety;
use super::lists::Tenant;
use super::rule::{Rule, Velocity};
use super::terms::{has, kept_out, list, outside, quoted};
use super::{ImportAs, OWN, spelling};
use std::fmt::Write;

pub(super) fn bundle(file: &str, safety: &Safety, named: ImportAs<'_>) -> String {
    let file: String = file.chars().filter(|c| !c.is_control()).collect();
    let mut text = format!(
        "# Imported from {file} by `tidegate policy import`.\nid: {}\nrevision: {}\ncombine: first_match\ntopic_syntax: path\n",
        quoted(named.id),
        named.revision
    );
    let bounds: Vec<&Tenant> =
        safety.tenants.iter().filter(|tenant| !(tenant.allow.is_empty() && tenant.deny.is_empty())).collect();
    if !safety.rules.is_empty() && !bounds.is_empty() {
        text.push_str("tenants:\n");
        for tenant in &bounds {
            line(&mut text, &format!("  {}:", quoted(&tenant.name)));
            topics(&mut text, "    allow_topics", &tenant.allow);
            topics(&mut text, "    deny_topics", &tenant.deny);
        }
    }
    text.push_str("rules:\n");
    for (what, when) in spelling::rules(safety) {
        let reason = format!("a name among `{what}` differs in case or blanks from one that rules know");
        own(&mut text, &format!("spelling.{what}"), true, "{}", Some(&when), "deny", &reason);
    }
    safety.tenants.iter().for_each(|tenant| invariants(&mut text, tenant));
    if safety.rules.is_empty() {
        for tenant in bounds {
            by_topics(&mut text, tenant, "deny", &tenant.deny);
            by_topics(&mut text, tenant, "allow", &tenant.allow);
        }
    }
    safety.rules.iter().for_each(|rule| write_rule(&mut text, rule));
    if safety.allows_by_default {
        own(&mut text, "default", false, "{}", None, "allow", "no rule matches this job, and the default is to allow");
    }
    text
}

fn line(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}

fn topics(text: &mut String, name: &str, patterns: &[String]) {
    if !patterns.is_empty() {
        line(text, &format!("{name}: {}", list(patterns)));
    }
}

/// A rule the file does not have as such.
fn own(text: &mut String, id: &str, invariant: bool, matches: &str, when: Option<&str>, decision: &str, reason: &str) {
    line(text, &format!("  - id: {}", quoted(&format!("{OWN}{id}"))));
    if invariant {
        line(text, "    invariant: true");
    }
    line(text, &format!("    match: {matches}"));
    if let Some(when) = when {
        line(text, &format!("    when: {}", quoted(when)));
    }
    line(text, &format!("    decision: {decision}"));
    line(text, &format!("    reason: {}", quoted(reason)));
}

/// What holds for a tenant's jobs whatever rules say.
fn invariants(text: &mut String, tenant: &Tenant) {
    let matches = format!("{{ tenants: {} }}", list(&[&tenant.name]));
    if let Some(when) = kept_out(&tenant.mcp) {
        let reason = format!("tenant {}: this MCP call is outside of what is allowed", tenant.name);
        own(text, &format!("mcp.{}", tenant.name), true, &matches, Some(&when), "deny", &reason);
    }
    if let Some(most) = tenant.concurrent {
        let reason = format!("tenant {}: {most} jobs run already", tenant.name);
        own(text, &format!("concurrency.{}", tenant.name), true, &matches, None, "throttle", &reason);
        line(text, &format!("    state: [{{ concurrency: jobs, key: [tenant], gt: {most} }}]"));
    }
}

/// A rule about a tenant's topics, where the file has no rules.
fn by_topics(text: &mut String, tenant: &Tenant, decision: &str, patterns: &[String]) {
    if !patterns.is_empty() {
        let matches = format!("{{ tenants: {}, topics: {} }}", list(&[&tenant.name]), list(patterns));
        let id = format!("{decision}.{}", tenant.name);
        let reason = format!("tenant {}: the topic is among its `{decision}_topics`", tenant.name);
        own(text, &id, false, &matches, None, decision, &reason);
    }
}

fn write_rule(text: &mut String, rule: &Rule) {
    let wants = &rule.wants;
    line(text, &format!("  - id: {}", quoted(&rule.id)));
    line(text, &format!("    match: {}", matching(rule)));
    if !wants.risk_tags.is_empty() {
        line(text, "    trust: claimed");
    }
    let mcp = kept_out(&wants.mcp).map(|kept_out| format!("!({kept_out})"));
    let threshold = wants.label_threshold.as_ref().map(|(label, _)| has(label));
    let terms: Vec<String> = [outside(&wants.label_allowlist), threshold, mcp].into_iter().flatten().collect();
    if !terms.is_empty() {
        line(text, &format!("    when: {}", quoted(&terms.join(" && "))));
    }
    if let Some(velocity) = &rule.velocity {
        line(text, &format!("    state: [{}]", state(velocity)));
    }
    line(text, &format!("    decision: {}", rule.effect.word()));
    if let Some(reason) = &rule.reason {
        line(text, &format!("    reason: {}", quoted(reason)));
    }
    if !rule.constraints.is_empty() {
        json(text, "constraints", &rule.constraints);
    }
    if !rule.remediations.is_empty() {
        json(text, "remediations", &rule.remediations);
    }
}

fn json(text: &mut String, name: &str, value: &impl serde::Serialize) {
    // Maps of texts and numbers always have a JSON text.
    let value = serde_json::to_string(value).unwrap_or_default();
    line(text, &format!("    {name}: {value}"));
}

fn matching(rule: &Rule) -> String {
    let wants = &rule.wants;
    let lists = [
        ("tenants", &wants.tenants),
        ("topics", &wants.topics),
        ("capabilities", &wants.capabilities),
        ("risk_tags", &wants.risk_tags),
        ("requires", &wants.requires),
        ("pack_ids", &wants.pack_ids),
        ("actor_ids", &wants.actor_ids),
        ("actor_types", &wants.actor_types),
    ];
    let lists = lists.into_iter().filter(|(_, names)| !names.is_empty());
    let mut parts: Vec<String> = lists.map(|(name, names)| format!("{name}: {}", list(names))).collect();
    let mut labels: Vec<String> =
        wants.labels.iter().map(|(key, value)| format!("{}: {}", quoted(key), quoted(value))).collect();
    labels.extend(wants.label_threshold.iter().map(|(key, most)| format!("{}: {{ gt: {most} }}", quoted(key))));
    if !labels.is_empty() {
        parts.push(format!("labels: {{ {} }}", labels.join(", ")));
    }
    parts.extend(wants.secrets_present.map(|wanted| format!("secrets_present: {wanted}")));
    if parts.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", parts.join(", ")) }
}

/// A sliding window over all tenants, as the file's key says nothing of them.
fn state(velocity: &Velocity) -> String {
    let Velocity { most, seconds, key } = velocity;
    let mut text = String::new();
    // Writing to a text cannot fail.
    let _ = write!(text, "{{ count_within: jobs, scope: global, key: {}, window: {seconds}s, gt: {most} }}", list(key));
    text
}
