//! Policy tests: table cases in YAML, beside the bundles they test (`bank.yaml`, `bank.test.yaml`).
//!
//! ```yaml
//! cases:
//!   - name: a wire to a stranger is denied
//!     at: 2026-03-02T09:30:00Z
//!     job: { tenant: acme, topic: job.pay.wire, capability: pay, actor: { id: a1, type: agent },
//!            requires: [net], risk_tags: [big], labels: { env: prod }, payload: { to: X, amount: 5 } }
//!     state: { pay-velocity: exceeded }
//!     expect: { verdict: deny, rule: no-strangers, tags: [stranger] }
//! ```
//!
//! `at` is the instant of the judgement, 1970 unless told. `state` says where the job stands with limits, by the rule that
//! has them (`RULE`, or `RULE#N` for its nth, from 0): `within`, `exceeded` or `unknown`; what is not named is within.
//! `payload_text` gives the exact text instead of `payload`, for what is not JSON. A delegated job says whom it acts for, root
//! first, and what was handed on to it: `delegation: { chain: [{ id: a1, type: agent }], scope: [pay] }`.
//!
//! In `expect`, `verdict` is one of the five, or `waits` where an unknown limit decides; `rule` must be among the winning
//! rules (`default` means that no rule decided), `rules` are exactly these; `tags` are exactly the derived ones,
//! `uncertain_tags` exactly those that could not be told; `constraints` and `approval` are exactly the verdict's;
//! `shadow` are exactly the rules that are only tried out and would have spoken. What is left out is not looked at.

mod coverage;
mod expect;
mod job;

pub use coverage::{Coverage, Gap, Share};

use crate::compile::Snapshot;
use crate::evaluate::Scratch;
use crate::limit::{Judgement, LimitUse, LimitView, Standing};
use crate::problem::Refused;
use crate::source::{Node, Reader, Value, parse};
use expect::Expect;
use job::Job;
use std::collections::BTreeMap;

/// How one case went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaseResult {
    /// Its name.
    pub name: String,
    /// Its file, as the caller named it.
    pub file: String,
    /// Its line, from 1.
    pub line: u32,
    /// What differed from what was expected; `None` when it passed.
    pub failure: Option<String>,
    /// The judgement.
    pub judgement: Judgement,
}

/// Runs every case of one file against a snapshot, and notes in `coverage` what they reach.
///
/// # Errors
/// When the file cannot be read as cases: nothing of it is run, and every problem is named.
pub fn run_cases(
    snapshot: &Snapshot,
    file: &str,
    text: &str,
    coverage: &mut Coverage,
) -> Result<Vec<CaseResult>, Refused> {
    let root = parse(file, text).map_err(|problem| Refused::of(vec![problem]))?;
    let mut reader = Reader::new(file);
    let cases = read_all(&mut reader, &root, snapshot);
    if !reader.problems.is_empty() {
        return Err(Refused::of(reader.problems));
    }
    let mut scratch = Scratch::new();
    Ok(cases.into_iter().map(|case| case.run(snapshot, file, &mut scratch, coverage)).collect())
}

struct Case {
    name: String,
    line: u32,
    at_ms: u64,
    job: Job,
    state: State,
    expect: Expect,
}

/// Where a case's job stands with limits.
#[derive(Default)]
struct State {
    /// By `RULE` or `RULE#N`.
    standings: BTreeMap<Box<str>, Standing>,
}

impl LimitView for State {
    fn standing(&mut self, wanted: &LimitUse) -> Standing {
        let id = wanted.limit.as_str();
        // `RULE#N@HASH`: by its number, else by its rule.
        let numbered = id.rsplit_once('@').map_or(id, |(numbered, _)| numbered);
        let rule = numbered.rsplit_once('#').map_or(numbered, |(rule, _)| rule);
        let told = self.standings.get(numbered).or_else(|| self.standings.get(rule));
        told.copied().unwrap_or(Standing::Within)
    }
}

impl Case {
    fn run(mut self, snapshot: &Snapshot, file: &str, scratch: &mut Scratch, coverage: &mut Coverage) -> CaseResult {
        let principals = self.job.principals();
        let subject = self.job.subject(&principals);
        let judgement = snapshot.judge(&subject, self.at_ms, &mut self.state, scratch);
        coverage.note(&snapshot.explain(&subject, self.at_ms, &mut self.state));
        let failure = self.expect.differs(&judgement);
        CaseResult { name: self.name, file: file.to_owned(), line: self.line, failure, judgement }
    }
}

fn read_all(reader: &mut Reader<'_>, root: &Node, snapshot: &Snapshot) -> Vec<Case> {
    let Some(fields) = reader.fields(root, "a file of cases") else { return Vec::new() };
    reader.only(fields, "a file of cases", &["cases"], &[]);
    let Some(node) = reader.required(fields, "cases", "a file of cases") else { return Vec::new() };
    let Some(items) = reader.filled_list(node, "`cases`") else { return Vec::new() };
    items.iter().filter_map(|item| read(reader, item, snapshot)).collect()
}

fn read(reader: &mut Reader<'_>, node: &Node, snapshot: &Snapshot) -> Option<Case> {
    let fields = reader.fields(node, "a case")?;
    let name = reader.required(fields, "name", "a case").and_then(|node| reader.text(node, "`name` of a case"))?;
    let what = format!("case `{name}`");
    reader.only(fields, &what, &["name", "at", "job", "state", "expect"], &[]);
    let at_ms = fields.get("at").map_or(Some(0), |node| at(reader, node, &what));
    let job = reader.required(fields, "job", &what).and_then(|node| job::read(reader, node, &what));
    let state = fields.get("state").map_or(Some(State::default()), |node| state(reader, node, &what, snapshot));
    let expect = reader.required(fields, "expect", &what).and_then(|node| expect::read(reader, node, &what, snapshot));
    Some(Case { name: name.to_owned(), line: node.line, at_ms: at_ms?, job: job?, state: state?, expect: expect? })
}

fn at(reader: &mut Reader<'_>, node: &Node, what: &str) -> Option<u64> {
    let text = reader.text(node, &format!("`at` of {what}"))?;
    let at = crate::instant(text);
    if at.is_none() {
        reader.wrong(
            node.line,
            format!("`at` of {what} is no instant: `{text}`"),
            "write it in UTC, as in `2026-03-02T09:30:00Z`",
        );
    }
    at
}

fn state(reader: &mut Reader<'_>, node: &Node, what: &str, snapshot: &Snapshot) -> Option<State> {
    const WORDS: &[(&str, Standing)] =
        &[("within", Standing::Within), ("exceeded", Standing::Exceeded), ("unknown", Standing::Unknown)];
    let what = format!("`state` of {what}");
    let mut standings = BTreeMap::new();
    for (key, node) in reader.fields(node, &what)?.iter() {
        let rule = key.name.split_once('#').map_or(key.name.as_str(), |(rule, _)| rule);
        known_rule(reader, key.line, rule, &what, snapshot);
        if let Some(standing) = reader.choice(node, &format!("standing with `{}` in {what}", key.name), WORDS) {
            standings.insert(key.name.as_str().into(), standing);
        }
    }
    Some(State { standings })
}

/// A misspelt rule would make a case say less than it seems to.
fn known_rule(reader: &mut Reader<'_>, line: u32, rule: &str, what: &str, snapshot: &Snapshot) {
    if snapshot.rule(rule).is_none() {
        reader.wrong(line, format!("{what} names the rule `{rule}`, which is not there"), "correct the id");
    }
}

/// A list that may be empty: an empty one is a statement here, that there are none.
fn any_list<'n>(reader: &mut Reader<'_>, node: &'n Node, what: &str) -> Option<&'n [Node]> {
    match &node.value {
        Value::List(items) => Some(items),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) | Value::Map(_) => reader.list(node, what),
    }
}
