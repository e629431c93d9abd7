//! What is judged: a borrowed view of a job, so that the caller copies nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use tidegate_protocol::delegation::Scope;
use tidegate_protocol::job::DEFAULT_PRIORITY;

/// A set of names (`requires`, claimed risk tags), visited in the caller's own representation.
pub trait Names {
    /// Calls `visit` once for each name.
    fn each<'a>(&'a self, visit: &mut dyn FnMut(&'a str));
}

/// The names that `required_scope` is about: a scope's capabilities, and its topic globs as they are written.
impl Names for Scope {
    fn each<'a>(&'a self, visit: &mut dyn FnMut(&'a str)) {
        let Self { capabilities, topics } = self;
        capabilities.iter().for_each(|capability| visit(capability.as_str()));
        topics.iter().for_each(|glob| visit(glob.as_str()));
    }
}

impl<S: AsRef<str>> Names for [S] {
    fn each<'a>(&'a self, visit: &mut dyn FnMut(&'a str)) {
        self.iter().for_each(|name| visit(name.as_ref()));
    }
}

impl<S: AsRef<str>, const N: usize> Names for [S; N] {
    fn each<'a>(&'a self, visit: &mut dyn FnMut(&'a str)) {
        self.as_slice().each(visit);
    }
}

impl<S: AsRef<str>> Names for &[S] {
    fn each<'a>(&'a self, visit: &mut dyn FnMut(&'a str)) {
        (**self).each(visit);
    }
}

impl<S: AsRef<str>> Names for Vec<S> {
    fn each<'a>(&'a self, visit: &mut dyn FnMut(&'a str)) {
        self.as_slice().each(visit);
    }
}

impl<S: AsRef<str>> Names for Box<[S]> {
    fn each<'a>(&'a self, visit: &mut dyn FnMut(&'a str)) {
        (**self).each(visit);
    }
}

impl<S: AsRef<str>> Names for BTreeSet<S> {
    fn each<'a>(&'a self, visit: &mut dyn FnMut(&'a str)) {
        self.iter().for_each(|name| visit(name.as_ref()));
    }
}

/// A set of labels. A key that comes twice matches with any of its values.
pub trait Labels {
    /// Calls `visit(key, value)` once for each label.
    fn each<'a>(&'a self, visit: &mut dyn FnMut(&'a str, &'a str));
}

impl<K: AsRef<str>, V: AsRef<str>> Labels for [(K, V)] {
    fn each<'a>(&'a self, visit: &mut dyn FnMut(&'a str, &'a str)) {
        self.iter().for_each(|(key, value)| visit(key.as_ref(), value.as_ref()));
    }
}

impl<K: AsRef<str>, V: AsRef<str>, const N: usize> Labels for [(K, V); N] {
    fn each<'a>(&'a self, visit: &mut dyn FnMut(&'a str, &'a str)) {
        self.as_slice().each(visit);
    }
}

impl<K: AsRef<str>, V: AsRef<str>> Labels for &[(K, V)] {
    fn each<'a>(&'a self, visit: &mut dyn FnMut(&'a str, &'a str)) {
        (**self).each(visit);
    }
}

impl<K: AsRef<str>, V: AsRef<str>> Labels for Vec<(K, V)> {
    fn each<'a>(&'a self, visit: &mut dyn FnMut(&'a str, &'a str)) {
        self.as_slice().each(visit);
    }
}

impl<K: AsRef<str>, V: AsRef<str>> Labels for Box<[(K, V)]> {
    fn each<'a>(&'a self, visit: &mut dyn FnMut(&'a str, &'a str)) {
        (**self).each(visit);
    }
}

impl<K: AsRef<str>, V: AsRef<str>> Labels for BTreeMap<K, V> {
    fn each<'a>(&'a self, visit: &mut dyn FnMut(&'a str, &'a str)) {
        self.iter().for_each(|(key, value)| visit(key.as_ref(), value.as_ref()));
    }
}

impl<K: AsRef<str>, V: AsRef<str>, H> Labels for HashMap<K, V, H> {
    fn each<'a>(&'a self, visit: &mut dyn FnMut(&'a str, &'a str)) {
        self.iter().for_each(|(key, value)| visit(key.as_ref(), value.as_ref()));
    }
}

/// Somebody a delegated job is done for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Principal<'a> {
    /// Its id.
    pub actor_id: Option<&'a str>,
    /// What kind of actor it is.
    pub actor_type: Option<&'a str>,
}

/// The chain a delegated job came down. Every principal of it is judged as if it had asked itself, and the most
/// restrictive verdict holds.
#[derive(Clone, Copy)]
pub struct Delegation<'a> {
    /// From the root to the parent; the subject's own actor is not among them. Its length is the depth, from 1.
    pub chain: &'a [Principal<'a>],
    /// What the parent's ticket lets the job do; `None` when that is unknown.
    pub scope: Option<&'a dyn Names>,
}

/// A job as policy sees it. An empty string is a missing attribute, like `None`.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    /// Whose job it is.
    pub tenant: &'a str,
    /// The dotted name inside the job (`job.payments.wire`), never a broker topic.
    pub topic: &'a str,
    /// What the job wants done.
    pub capability: &'a str,
    /// Who asks.
    pub actor_id: Option<&'a str>,
    /// What kind of actor asks (`agent`, `person`).
    pub actor_type: Option<&'a str>,
    /// What the job needs of a worker.
    pub requires: &'a dyn Names,
    /// Risk tags the submitter claims. Only rules that say `trust: claimed` look at them.
    pub risk_tags: &'a dyn Names,
    /// Labels the submitter set.
    pub labels: &'a dyn Labels,
    /// The job's id within its tenant.
    pub job_id: Option<&'a str>,
    /// The pack the job's topic belongs to.
    pub pack_id: Option<&'a str>,
    /// 0 (least urgent) to 9.
    pub priority: u8,
    /// Milliseconds since the Unix epoch after which nobody wants the result.
    pub deadline_ms: Option<u64>,
    /// On whose behalf the actor asks; `None` for a job nobody delegated.
    pub delegation: Option<Delegation<'a>>,
    /// The payload's exact bytes: JSON text, or anything else (then every deriver that applies is uncertain).
    pub payload: &'a [u8],
}

impl<'a> Subject<'a> {
    /// A subject with nothing but these three names: no actor, no sets, the payload `null`.
    pub fn new(tenant: &'a str, topic: &'a str, capability: &'a str) -> Self {
        const NONE: &[&str] = &[];
        const NO_LABELS: &[(&str, &str)] = &[];
        Self {
            tenant,
            topic,
            capability,
            actor_id: None,
            actor_type: None,
            requires: &NONE,
            risk_tags: &NONE,
            labels: &NO_LABELS,
            job_id: None,
            pack_id: None,
            priority: DEFAULT_PRIORITY,
            deadline_ms: None,
            delegation: None,
            payload: b"null",
        }
    }
}

/// An attribute with its empty value taken as missing.
pub(crate) fn present(value: &str) -> Option<&str> {
    (!value.is_empty()).then_some(value)
}
