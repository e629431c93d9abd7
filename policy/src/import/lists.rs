//! Lists: of MCP servers, tools, resources and actions, and a tenant's own.

use super::Note;
use super::file::{cannot, is_unset};
use super::rule::{names, patterns};
use crate::source::{Fields, Node, Reader, Value};

/// Which MCP calls are let through. A job that calls nothing is not looked at; an empty list says nothing.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Mcp {
    pub(super) lists: Vec<Listed>,
}

/// The lists about one thing an MCP call names.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Listed {
    /// The label that has it here.
    pub(super) label: &'static str,
    pub(super) allow: Vec<String>,
    pub(super) deny: Vec<String>,
}

/// What an MCP call names: the label here, and the name of the lists.
pub(super) const MCP_FIELDS: [(&str, &str); 4] =
    [("mcp.server", "servers"), ("mcp.tool", "tools"), ("mcp.resource", "resources"), ("mcp.action", "actions")];

impl Mcp {
    pub(super) fn says_nothing(&self) -> bool {
        self.lists.iter().all(|listed| listed.allow.is_empty() && listed.deny.is_empty())
    }
}

/// A tenant's own lists.
pub(super) struct Tenant {
    pub(super) name: String,
    pub(super) allow: Vec<String>,
    pub(super) deny: Vec<String>,
    pub(super) mcp: Mcp,
    /// Jobs at once; `None` for any number.
    pub(super) concurrent: Option<u64>,
}

impl Tenant {
    pub(super) fn says_nothing(&self) -> bool {
        self.allow.is_empty() && self.deny.is_empty() && self.mcp.says_nothing() && self.concurrent.is_none()
    }
}

const KNOWN: &[&str] =
    &["allow_topics", "deny_topics", "allowed_repo_hosts", "denied_repo_hosts", "max_concurrent_jobs", "mcp"];

pub(super) fn read_all(
    reader: &mut Reader<'_>,
    fields: Fields<'_>,
    beside_rules: bool,
    notes: &mut Vec<Note>,
) -> Vec<Tenant> {
    let Some(node) = fields.get("tenants").filter(|node| !matches!(node.value, Value::Null)) else { return Vec::new() };
    let Some(entries) = reader.fields(node, "`tenants`") else { return Vec::new() };
    let mut tenants: Vec<Tenant> = Vec::new();
    for (key, node) in entries.iter() {
        let Some(tenant) = read(reader, key.name.trim(), node) else { continue };
        if beside_rules && !(tenant.allow.is_empty() && tenant.deny.is_empty()) {
            let text = format!(
                "the topics of tenant `{}` stand beside rules: here they bound what its jobs may be about, there they count only without rules",
                tenant.name
            );
            notes.push(Note { line: key.line, text });
        }
        if tenants.iter().any(|other| other.name.eq_ignore_ascii_case(&tenant.name)) {
            reader.wrong(key.line, format!("tenant `{}` is listed twice", tenant.name), "merge its lists");
        }
        tenants.push(tenant);
    }
    tenants
}

fn read(reader: &mut Reader<'_>, name: &str, node: &Node) -> Option<Tenant> {
    let what = format!("tenant `{name}`");
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || "._-:/".contains(c));
    if name.is_empty() || name.len() > 100 || !plain {
        let reason = format!("the tenant's name `{name}` is no name here");
        reader.wrong(node.line, reason, "use up to 100 letters, digits and any of `. _ - : /`");
        return None;
    }
    let nothing =
        Tenant { name: name.to_owned(), allow: Vec::new(), deny: Vec::new(), mcp: Mcp::default(), concurrent: None };
    if is_unset(node) {
        return Some(nothing);
    }
    let entry = reader.fields(node, &what)?;
    for (key, node) in entry.iter() {
        match key.name.as_str() {
            "allowed_repo_hosts" | "denied_repo_hosts" if !is_unset(node) => {
                cannot(
                    reader,
                    key.line,
                    &format!("`{}` of {what}", key.name),
                    "constrain the network (`sandbox.network_allowlist`) in a rule",
                );
            }
            name if KNOWN.contains(&name) => {}
            _ => reader.unknown(key, &what, KNOWN),
        }
    }
    let concurrent = match entry.get("max_concurrent_jobs") {
        None => None,
        Some(node) => reader.whole(node, &format!("`max_concurrent_jobs` of {what}")).filter(|&most| most > 0),
    };
    Some(Tenant {
        allow: patterns(reader, entry, "allow_topics", &what),
        deny: patterns(reader, entry, "deny_topics", &what),
        mcp: read_mcp(reader, entry, &what),
        concurrent,
        ..nothing
    })
}

pub(super) fn read_mcp(reader: &mut Reader<'_>, entry: Fields<'_>, what: &str) -> Mcp {
    let Some(node) = entry.get("mcp").filter(|node| !is_unset(node)) else { return Mcp::default() };
    let what = format!("`mcp` of {what}");
    let Some(fields) = reader.fields(node, &what) else { return Mcp::default() };
    let known: Vec<String> =
        MCP_FIELDS.iter().flat_map(|(_, field)| [format!("allow_{field}"), format!("deny_{field}")]).collect();
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    for (key, node) in fields.iter().filter(|(key, _)| !known.contains(&key.name.as_str())) {
        if !is_unset(node) {
            reader.unknown(key, &what, &known);
        }
    }
    let lists = MCP_FIELDS.map(|(label, field)| {
        let allow = names(reader, fields, &format!("allow_{field}"), &what);
        let deny = names(reader, fields, &format!("deny_{field}"), &what);
        Listed { label, allow, deny }
    });
    Mcp { lists: lists.into() }
}
