//! What has no field in a `match` here, as conditions over labels.

use super::lists::{MCP_FIELDS, Mcp};

/// A text as CEL and YAML write it.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

pub(super) fn list<S: AsRef<str>>(texts: &[S]) -> String {
    let quoted: Vec<_> = texts.iter().map(|text| quoted(text.as_ref())).collect();
    format!("[{}]", quoted.join(", "))
}

/// In small letters, each once.
pub(super) fn lower<S: AsRef<str>>(texts: &[S]) -> Vec<String> {
    let mut lower: Vec<String> = texts.iter().map(|text| text.as_ref().trim().to_ascii_lowercase()).collect();
    lower.sort_unstable();
    lower.dedup();
    lower
}

/// The label is there and not empty.
fn there(label: &str) -> String {
    let label = quoted(label);
    format!("{label} in job.labels && job.labels[{label}] != \"\"")
}

/// The label is there, with one of these values in any case.
fn is_one(label: &str, values: &[String]) -> String {
    let (quoted, values) = (quoted(label), list(&lower(values)));
    format!("{quoted} in job.labels && job.labels[{quoted}].lowerAscii() in {values}")
}

/// The job calls an MCP server, and the lists do not let the call through.
pub(super) fn kept_out(mcp: &Mcp) -> Option<String> {
    let mut faults = Vec::new();
    for listed in &mcp.lists {
        if !listed.deny.is_empty() {
            faults.push(format!("({})", is_one(listed.label, &listed.deny)));
        }
        if !listed.allow.is_empty() {
            faults.push(format!("!({})", is_one(listed.label, &listed.allow)));
        }
    }
    let calls: Vec<_> = MCP_FIELDS.iter().map(|(label, _)| format!("({})", there(label))).collect();
    (!faults.is_empty()).then(|| format!("({}) && ({})", calls.join(" || "), faults.join(" || ")))
}

/// One of the labels is there with a value that is not listed for it.
pub(super) fn outside(allowlists: &[(String, Vec<String>)]) -> Option<String> {
    let outside = allowlists.iter().map(|(label, values)| {
        let (quoted, values) = (quoted(label), list(&lower(values)));
        match values.as_str() {
            "[]" => format!("{quoted} in job.labels"),
            _ => format!("({quoted} in job.labels && !(job.labels[{quoted}].lowerAscii() in {values}))"),
        }
    });
    let outside: Vec<_> = outside.collect();
    (!outside.is_empty()).then(|| format!("({})", outside.join(" || ")))
}

/// The label is there.
pub(super) fn has(label: &str) -> String {
    format!("{} in job.labels", quoted(label))
}
