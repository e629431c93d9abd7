//! Turns a `safety.yaml`, as users of other agent-governance kernels have it, into a bundle.
//!
//! Such a file has `version`, ordered `rules` of which the first that matches decides, `tenants` with lists of topics
//! and of MCP servers, tools, resources and actions, a `default_tenant`, and a `default_decision` for what no rule
//! matches. The bundle decides the same on every job that has the attributes its rules ask for, and never less strictly.
//!
//! | there | here |
//! |---|---|
//! | rules, the first that matches decides | rules of one bundle with `combine: first_match` |
//! | topics after Go's `path.Match`, where `*` also stands for dots | as they are, by `topic_syntax: path` |
//! | risk tags as the submitter says | `trust: claimed` |
//! | names compared without regard to case and blanks around them | exactly; a job that spells a listed tenant, capability or actor otherwise is denied (`import.spelling.…`) |
//! | `label_allowlist`, a rule's `mcp` lists | a `when` over labels; what is not there does not fire or fail them |
//! | `label_threshold` | a label's `gt`, where the label is there |
//! | `velocity` | a `state` of `count_within` |
//! | `allow` with constraints | `allow_with_constraints` |
//! | a tenant's topics, no rule in the file | a rule that denies and one that allows, a tenant |
//! | a tenant's topics beside rules | bounds: invariants that deny its `deny_topics` and what its `allow_topics` leave out |
//! | a tenant's `mcp` lists | an invariant that denies a call they do not let through |
//! | a tenant's `max_concurrent_jobs` | an invariant that throttles |
//! | `default_decision: allow` | a last rule that allows |
//!
//! # What is refused
//! Everything else, by name and line ([`Refused`]): rules over the contents of inputs and outputs, repository hosts,
//! selectors and tiers, an agent's risk tier or data classification, patterns with classes, a redaction level unknown
//! here, a misspelt field or decision. Nothing is dropped.
//!
//! # What differs and is said
//! [`Note`]s name what is carried over more strictly: a job that lacks an attribute matches the rules that restrict on it;
//! a job without a tenant is no job here, there it is the default tenant's.

mod file;
mod lists;
mod rule;
mod spelling;
mod terms;
mod write;

use crate::load::load_for;
use crate::problem::Refused;
use crate::source::{Reader, parse};
use crate::supported::Supported;
use std::fmt;

/// Ids the import gives to rules of its own begin so.
const OWN: &str = "import.";

/// What the bundle is called.
#[derive(Clone, Copy, Debug)]
pub struct ImportAs<'a> {
    /// Its id.
    pub id: &'a str,
    /// Its revision, from 1.
    pub revision: u64,
}

/// A bundle, and what to know about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// The bundle's text. It loads where the whole language is supported ([`Supported::EVERYTHING`]).
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
/// What cannot be read or carried over, each with its line; also a bundle that does not load (a condition that would be
/// too long, say), with the lines of that bundle.
pub fn import(file: &str, text: &str, named: ImportAs<'_>) -> Result<Imported, Refused> {
    let root = parse(file, text).map_err(|problem| Refused::of(vec![problem]))?;
    let mut reader = Reader::new(file);
    let safety = match file::read(&mut reader, &root) {
        Some(safety) if reader.problems.is_empty() => safety,
        _ => return Err(Refused::of(reader.problems)),
    };
    let bundle = write::bundle(file, &safety, named);
    let snapshot = load_for([(format!("{}.yaml", named.id), &bundle)], None, Supported::EVERYTHING)?;
    let mut notes = safety.notes;
    notes.sort_by_key(|note| note.line);
    Ok(Imported { rules: snapshot.rules().len(), bundle, notes })
}
