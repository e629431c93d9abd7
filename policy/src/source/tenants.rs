//! `tenants` and `grants`: the short forms about whole tenants and about who may ask for what.
//!
//! A tenant's lists become invariants that deny what is outside of them, named `tenants.<tenant>.<list>`.

use super::fields::{Fields, Reader};
use super::matches;
use crate::effect::Effect;
use crate::glob::Syntax;
use crate::language::{Except, Grant, Match, Mode, Rule, TenantDefault, TextSet, Tier};
use std::sync::Arc;

/// Defaults, and the invariants that lists stand for.
pub(super) fn read(
    reader: &mut Reader<'_>,
    fields: Fields<'_>,
    syntax: Syntax,
    bundle: &Arc<str>,
) -> (Vec<TenantDefault>, Vec<Rule>) {
    let (mut defaults, mut rules) = (Vec::new(), Vec::new());
    let Some(tenants) = fields.get("tenants").and_then(|node| reader.fields(node, "`tenants`")) else {
        return (defaults, rules);
    };
    for (key, node) in tenants.iter() {
        let what = format!("tenant `{}`", key.name);
        if key.name.is_empty() {
            reader.wrong(key.line, "a tenant has an empty name", "write the tenant's name");
        }
        let Some(entry) = reader.fields(node, &what) else { continue };
        reader.only(entry, &what, &["default", "allow_topics", "deny_topics", "mcp"], &[]);
        if entry.iter().next().is_none() {
            reader.wrong(
                key.line,
                format!("{what} says nothing"),
                "add `default`, `allow_topics`, `deny_topics` or `mcp`",
            );
        }
        if let Some(node) = entry.get("default") {
            let words = [("allow", Effect::Allow), ("deny", Effect::Deny)];
            if let Some(effect) = reader.choice(node, "default", &words) {
                defaults.push(TenantDefault { line: key.line, tenant: key.name.as_str().into(), effect });
            }
        }
        for (list, forbids, matches) in forbidden(reader, entry, syntax, &what) {
            let matches = Match { tenants: TextSet::from([key.name.as_str().into()]), ..matches };
            let id = format!("tenants.{}.{list}", key.name);
            let reason = format!("tenant {}: {forbids}", key.name);
            rules.push(invariant(reader.file, bundle, key.line, &id, reason, matches));
        }
    }
    (defaults, rules)
}

/// Name, sentence and match of what each list forbids.
fn forbidden(
    reader: &mut Reader<'_>,
    entry: Fields<'_>,
    syntax: Syntax,
    what: &str,
) -> Vec<(String, &'static str, Match)> {
    let mut forbidden = Vec::new();
    if let Some(node) = entry.get("allow_topics")
        && let Some(topics) = reader.globs_of(node, syntax, &format!("`allow_topics` of {what}"))
    {
        let except = Except { topics, ..Except::default() };
        let matches = Match { except, ..Match::default() };
        forbidden.push(("allow_topics".to_owned(), "this topic is not among the allowed ones", matches));
    }
    if let Some(node) = entry.get("deny_topics")
        && let Some(topics) = reader.globs_of(node, syntax, &format!("`deny_topics` of {what}"))
    {
        let matches = Match { topics, ..Match::default() };
        forbidden.push(("deny_topics".to_owned(), "this topic is among the denied ones", matches));
    }
    for (list, matches) in matches::outside_mcp(reader, entry, what).unwrap_or_default() {
        forbidden.push((format!("mcp.{list}"), "this MCP call is outside of what is allowed", matches));
    }
    forbidden
}

fn invariant(file: &str, bundle: &Arc<str>, line: u32, id: &str, reason: String, matches: Match) -> Rule {
    Rule {
        id: id.into(),
        bundle: Arc::clone(bundle),
        file: file.into(),
        line,
        tier: Tier::Global,
        invariant: true,
        mode: Mode::Enforce,
        canary: None,
        effect: Effect::Deny,
        reason: reason.into(),
        controls: Vec::new(),
        remediations: Vec::new(),
        approval: None,
        throttle: None,
        constraints: None,
        matches,
        window: None,
        when: None,
        state: Vec::new(),
    }
}

/// `grants: [{actor_ids, actor_types, tenants, capabilities, topics}]`.
pub(super) fn grants(reader: &mut Reader<'_>, fields: Fields<'_>, syntax: Syntax, what: &str) -> Vec<Grant> {
    let Some(node) = fields.get("grants") else { return Vec::new() };
    let Some(items) = reader.filled_list(node, &format!("`grants` of {what}")) else { return Vec::new() };
    let mut grants = Vec::new();
    for item in items {
        let Some(entry) = reader.fields(item, "a grant") else { continue };
        reader.only(entry, "a grant", &["tenants", "actor_ids", "actor_types", "capabilities", "topics"], &[]);
        if entry.get("actor_ids").is_none() && entry.get("actor_types").is_none() {
            reader.wrong(item.line, "a grant names nobody", "add `actor_ids` or `actor_types`");
        }
        if entry.get("capabilities").is_none() && entry.get("topics").is_none() {
            reader.wrong(item.line, "a grant grants nothing in particular", "add `capabilities` or `topics`");
        }
        let matches = matches::read(reader, entry, syntax, "a grant");
        if let Some(matches) = matches {
            if !matches.except.tenants.is_empty() {
                reader.wrong(item.line, "a grant is about all tenants but some", "list the tenants it is about");
            }
            grants.push(Grant { matches });
        }
    }
    grants
}
