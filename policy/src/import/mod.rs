//! Turns a `safety.yaml`, as users of other agent-governance kernels have it, into a bundle.
//!
//! Such a file has `version`, ordered `rules` of which the first that matches decides, `tenants` with lists of topics
//! and of MCP servers, tools, resources and actions, a `default_tenant`, and a `default_decision` for what no rule
//! matches. The bundle decides the same on every job that has the attributes its rules ask for.
//!
//! | there | here |
//! |---|---|
//! | rules, the first that matches decides | rules of one bundle with `combine: first_match` |
//! | topics after Go's `path.Match`, where `*` also stands for dots | as they are, by `topic_syntax: path` |
//! | risk tags as the submitter says | `trust: claimed` |
//! | `label_allowlist`, `label_threshold` | a `when` over labels; a label that is not there does not fire them |
//! | `velocity` | a `state` of `count_within` |
//! | `allow` with constraints | `allow_with_constraints` |
//! | a tenant's topics and no rule in the file | a deny rule, then an allow rule a tenant, before the default |
//! | a tenant's topics beside rules | bounds: invariants that deny its `deny_topics` and what its `allow_topics` leave out |
//! | a tenant's `mcp` lists | invariants that deny a call they do not let through |
//! | a tenant's `max_concurrent_jobs` | an invariant that throttles |
//! | `default_decision: allow` | a last rule that allows |
//!
//! # What is refused
//! Everything else, by name and line ([`Refused`]): rules over the contents of inputs and outputs, repository hosts,
//! selectors, an agent's risk tier or data classification, a redaction level unknown here, a misspelt field. Nothing is
//! dropped.
//!
//! # What differs and is said
//! [`Note`]s name what is carried over more strictly: names are compared exactly here, there without regard to case and
//! surrounding blanks; a job that lacks an attribute matches the rules that restrict on it; a job without a tenant is no
//! job here, there it is the default tenant's.

mod file;
mod lists;
mod pattern;
mod rule;
mod write;

use crate::problem::Refused;
use crate::source::{Reader, parse};
use std::fmt;

/// What the bundle is called.
#[derive(Clone, Debug)]
pub struct ImportAs<'a> {
    /// Its id.
    pub id: &'a str,
    /// Its revision, from 1.
    pub revision: u64,
}

/// A bundle, and what to know about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// The bundle's text; [`load`](crate::load) takes it.
    pub bundle: String,
    /// How many rules the bundle has.
    pub rules: usize,
    /// What is stricter here than there.
    pub notes: Vec<Note>,
}

/// Something that is stricter here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Where it stands in the imported file, from 1.
    pub line: u32,
    /// What differs.
    pub text: String,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.line, self.text)
    }
}

/// Imports a file.
///
/// # Errors
/// What cannot be read or carried over, each with its line.
pub fn import(file: &str, text: &str, named: &ImportAs<'_>) -> Result<Imported, Refused> {
    let root = parse(file, text).map_err(|problem| Refused::of(vec![problem]))?;
    let mut reader = Reader::new(file);
    let read = file::read(&mut reader, &root);
    match read {
        Some(read) if reader.problems.is_empty() => Ok(write::bundle(file, &read, named)),
        _ => Err(Refused::of(reader.problems)),
    }
}
