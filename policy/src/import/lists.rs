//! Lists: of MCP servers, tools, resources and actions, and a tenant's own.

use super::Note;
use super::file::{cannot, is_unset};
use super::pattern::Pattern;
use super::rule::{names, patterns};
use crate::source::{Fields, Node, Reader, Value};

/// Which MCP calls are let through. A job that calls nothing is not looked at; an empty list says nothing.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Mcp {
    /// `(field, allowed, denied)`, in the order of [`MCP_FIELDS`].
    pub(super) lists: Vec<(&'static str, Vec<String>, Vec<String>)>,
}

/// What an MCP call names.
pub(super) const MCP_FIELDS: [&str; 4] = ["servers", "tools", "resources", "actions"];

impl Mcp {
    pub(super) fn says_nothing(&self) -> bool {
        self.lists.iter().all(|(_, allow, deny)| allow.is_empty() && deny.is_empty())
    }
}

/// A tenant's own lists.
pub(super) struct Tenant {
    pub(super) name: String,
    pub(super) allow: Vec<Pattern>,
    pub(super) deny: Vec<Pattern>,
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
    let mut tenants = Vec::new();
    for (key, node) in entries.iter() {
        if let Some(tenant) = read(reader, key.name.trim(), node) {
            if beside_rules && !(tenant.allow.is_empty() && tenant.deny.is_empty()) {
                let text = format!(
                    "the topics of tenant `{}` stand beside rules: here they bound what its jobs may be about, there they may count for nothing",
                    tenant.name
                );
                notes.push(Note { line: key.line, text });
            }
            tenants.push(tenant);
        }
    }
    tenants
}

fn read(reader: &mut Reader<'_>, name: &str, node: &Node) -> Option<Tenant> {
    let what = format!("tenant `{name}`");
    if name.is_empty() {
        reader.wrong(node.line, "a tenant has an empty name", "write the tenant's name");
        return None;
    }
    if is_unset(node) {
        return Some(Tenant {
            name: name.to_owned(),
            allow: Vec::new(),
            deny: Vec::new(),
            mcp: Mcp::default(),
            concurrent: None,
        });
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
        name: name.to_owned(),
        allow: patterns(reader, entry, "allow_topics", &what),
        deny: patterns(reader, entry, "deny_topics", &what),
        mcp: read_mcp(reader, entry, &what),
        concurrent,
    })
}

pub(super) fn read_mcp(reader: &mut Reader<'_>, entry: Fields<'_>, what: &str) -> Mcp {
    let Some(node) = entry.get("mcp").filter(|node| !is_unset(node)) else { return Mcp::default() };
    let what = format!("`mcp` of {what}");
    let Some(fields) = reader.fields(node, &what) else { return Mcp::default() };
    let known: Vec<String> =
        MCP_FIELDS.iter().flat_map(|field| [format!("allow_{field}"), format!("deny_{field}")]).collect();
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    for (key, node) in fields.iter().filter(|(key, _)| !known.contains(&key.name.as_str())) {
        if !is_unset(node) {
            reader.unknown(key, &what, &known);
        }
    }
    let mut list = |field: &'static str| {
        let allow = names(reader, fields, &format!("allow_{field}"), &what);
        let deny = names(reader, fields, &format!("deny_{field}"), &what);
        (field, allow, deny)
    };
    Mcp { lists: MCP_FIELDS.map(&mut list).into() }
}
