//! From files to a snapshot, or to everything that is wrong with them.

use crate::compile::{FixedState, Snapshot, compile};
use crate::conditions;
use crate::effect::Effect;
use crate::language::{Bundle, Rule};
use crate::problem::{Problem, Refused};
use crate::source::read_bundle;
use crate::supported::Supported;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// The most rules in a set.
const MAX_RULES: usize = 100_000;

/// What is in force, so that nothing older or different under the same number replaces it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InUse {
    /// The highest revision ever adopted.
    pub revision: u64,
    /// The name of the snapshot adopted with it, if known.
    pub name: Option<Box<str>>,
}

impl InUse {
    /// What stands when this snapshot is in force.
    pub fn of(snapshot: &Snapshot) -> Self {
        Self { revision: snapshot.revision(), name: Some(snapshot.name().into()) }
    }
}

/// Whether a file of this name holds a bundle: `*.yaml` or `*.yml`, but not test cases and no hidden file (editors
/// keep half-written copies under such names).
pub fn is_bundle_file(name: &str) -> bool {
    !is_case_file(name) && !is_hidden(name) && has_ending(name, &[".yaml", ".yml"])
}

/// Whether a file of this name holds test cases: `*.test.yaml` or `*.test.yml`, not hidden.
pub fn is_case_file(name: &str) -> bool {
    !is_hidden(name) && has_ending(name, &[".test.yaml", ".test.yml"])
}

fn is_hidden(name: &str) -> bool {
    name.rsplit(['/', '\\']).next().is_some_and(|last| last.starts_with('.'))
}

fn has_ending(name: &str, endings: &[&str]) -> bool {
    endings.iter().any(|ending| name.ends_with(ending))
}

/// Loads a set of bundles for the kernel of this version, as [`load_for`] does.
///
/// # Errors
/// As [`load_for`], with [`Supported::BY_KERNEL`].
pub fn load<F: AsRef<str>, T: AsRef<str>>(
    files: impl IntoIterator<Item = (F, T)>,
    in_use: Option<&InUse>,
) -> Result<Snapshot, Refused> {
    load_for(files, in_use, Supported::BY_KERNEL)
}

/// Loads a set of bundles, one a file. Files that hold test cases ([`is_case_file`]) are passed over; every other one
/// counts, whatever its name.
///
/// # Errors
/// The whole set is refused when anything in any file is wrong, when rule or bundle ids come twice, when tenants
/// have contradictory defaults, when a rule matches a tag that nothing derives, when a condition is wrong, when
/// something is used that is not `supported`, when there is no rule at all, or when the set is older than what is in use
/// or differs from it under the same revision.
pub fn load_for<F: AsRef<str>, T: AsRef<str>>(
    files: impl IntoIterator<Item = (F, T)>,
    in_use: Option<&InUse>,
    supported: Supported,
) -> Result<Snapshot, Refused> {
    let mut bundles = Vec::new();
    let mut problems = Vec::new();
    for (file, text) in files {
        if is_case_file(file.as_ref()) {
            continue;
        }
        match read_bundle(file.as_ref(), text.as_ref()) {
            Ok(bundle) => bundles.push(bundle),
            Err(found) => problems.extend(found),
        }
    }
    if bundles.is_empty() && problems.is_empty() {
        problems.push(Problem::new(
            "policy",
            None,
            "there is no bundle, and an empty policy is refused",
            "add a YAML file with `id`, `revision` and `rules`",
        ));
    }
    check_ids(&bundles, &mut problems);
    check_defaults(&bundles, &mut problems);
    supported.check(&bundles, &mut problems);
    // What other files derive is unknown while one of them is unreadable.
    if problems.is_empty() {
        check_tags(&bundles, &mut problems);
        check_size(&bundles, &mut problems);
        conditions::compile(&mut bundles, &mut problems);
    }
    if !problems.is_empty() {
        return Err(Refused::of(problems));
    }
    let newest = bundles.iter().max_by_key(|bundle| bundle.revision);
    let place = newest.map(|bundle| (bundle.file.to_string(), bundle.line));
    let snapshot = compile(bundles);
    match (in_use.and_then(|in_use| stale(&snapshot, in_use)), place) {
        (Some((reason, remedy)), Some((file, line))) => {
            Err(Refused::of(vec![Problem::new(&file, line, reason, remedy)]))
        }
        _ => Ok(snapshot),
    }
}

fn check_ids(bundles: &[Bundle], problems: &mut Vec<Problem>) {
    let mut seen: BTreeMap<&str, String> = BTreeMap::new();
    for bundle in bundles {
        let place = format!("{}:{}", bundle.file, bundle.line);
        if let Some(first) = seen.insert(&bundle.id, place) {
            problems.push(Problem::new(
                &bundle.file,
                bundle.line,
                format!("bundle `{}` is already defined at {first}", bundle.id),
                "give each bundle its own id",
            ));
        }
    }
    let mut seen: HashMap<&str, &Rule, FixedState> = HashMap::default();
    for rule in bundles.iter().flat_map(|bundle| &bundle.rules) {
        let first = *seen.entry(&rule.id).or_insert(rule);
        if !std::ptr::eq(first, rule) {
            problems.push(Problem::new(
                &rule.file,
                rule.line,
                format!("rule `{}` is already defined at {}:{}", rule.id, first.file, first.line),
                "give each rule an id of its own across all bundles",
            ));
        }
    }
}

fn check_defaults(bundles: &[Bundle], problems: &mut Vec<Problem>) {
    let mut seen: BTreeMap<&str, (Effect, String)> = BTreeMap::new();
    for bundle in bundles {
        for entry in &bundle.defaults {
            match seen.get(&*entry.tenant) {
                Some((effect, first)) if *effect != entry.effect => problems.push(Problem::new(
                    &bundle.file,
                    entry.line,
                    format!(
                        "the default of tenant `{}` is {} here and {effect} at {first}",
                        entry.tenant, entry.effect
                    ),
                    "state a tenant's default once",
                )),
                Some(_) => {}
                None => {
                    seen.insert(&entry.tenant, (entry.effect, format!("{}:{}", bundle.file, entry.line)));
                }
            }
        }
    }
}

/// A misspelt tag would silently switch a restriction off.
fn check_tags(bundles: &[Bundle], problems: &mut Vec<Problem>) {
    let derived: BTreeSet<&str> =
        bundles.iter().flat_map(|bundle| &bundle.derivers).map(|deriver| &*deriver.tag).collect();
    for rule in bundles.iter().flat_map(|bundle| &bundle.rules).filter(|rule| !rule.matches.trusts_claims) {
        for tag in rule.matches.risk_tags.iter().filter(|tag| !derived.contains(&***tag)) {
            problems.push(Problem::new(
                &rule.file,
                rule.line,
                format!("rule `{}` matches the tag `{tag}`, which no deriver sets", rule.id),
                "correct the tag, add a deriver, or say `trust: claimed` if the submitter's word is enough",
            ));
        }
    }
}

fn check_size(bundles: &[Bundle], problems: &mut Vec<Problem>) {
    let rules: usize = bundles.iter().map(|bundle| bundle.rules.len()).sum();
    if rules > MAX_RULES {
        problems.push(Problem::new(
            "policy",
            None,
            format!("the set has {rules} rules, more than {MAX_RULES}"),
            "merge rules that differ only in what they list",
        ));
    }
}

fn stale(snapshot: &Snapshot, in_use: &InUse) -> Option<(String, String)> {
    let differs = in_use.name.as_deref().is_some_and(|name| name != snapshot.name());
    let reason = if snapshot.revision() < in_use.revision {
        format!("stale: the highest revision here is {}, but {} is in use", snapshot.revision(), in_use.revision)
    } else if snapshot.revision() == in_use.revision && differs {
        format!("the set differs from the one in use under the same revision {}", in_use.revision)
    } else {
        return None;
    };
    let next = in_use.revision.saturating_add(1);
    Some((
        reason,
        format!("raise the `revision` of a changed bundle to {next} or more; a rollback is a new revision too"),
    ))
}
