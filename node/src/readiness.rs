//! Whether this process does its work, and what it waits for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tidegate_gateway::http::Readiness;
use tokio::sync::Notify;

use crate::metrics;
use crate::roles::Role;

/// Where a shard stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Claimed or about to be.
    TakingOver,
    /// Worked on.
    Owned,
}

type Question = Box<dyn Fn() -> Vec<String> + Send + Sync>;

/// Everything that readiness depends on.
pub(crate) struct Board {
    state: Mutex<State>,
    questions: Mutex<Vec<Question>>,
    changed: Notify,
}

struct State {
    /// Groups joined or about to be: whether they have taken this process in. One that was given nothing stands by.
    groups: BTreeMap<String, bool>,
    shards: BTreeMap<(Role, String), Standing>,
    waits: BTreeSet<String>,
}

impl Board {
    pub(crate) fn new() -> Self {
        let state = State { groups: BTreeMap::new(), shards: BTreeMap::new(), waits: BTreeSet::new() };
        Self { state: Mutex::new(state), questions: Mutex::new(Vec::new()), changed: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A group is about to be joined.
    pub(crate) fn expect(&self, _role: Role, group: &str) {
        self.state().groups.insert(group.to_owned(), false);
    }

    /// It is not wanted any more.
    pub(crate) fn forget(&self, group: &str) {
        self.state().groups.remove(group);
        self.changed.notify_waiters();
    }

    /// It has answered: with shards, or with none as others have them all.
    pub(crate) fn joined(&self, group: &str) {
        if let Some(joined) = self.state().groups.get_mut(group) {
            *joined = true;
        }
        self.changed.notify_waiters();
    }

    pub(crate) fn shard(&self, role: Role, name: &str, standing: Standing) {
        self.state().shards.insert((role, name.to_owned()), standing);
        self.count(role);
    }

    pub(crate) fn gone(&self, role: Role, name: &str) {
        self.state().shards.remove(&(role, name.to_owned()));
        self.count(role);
    }

    fn count(&self, role: Role) {
        let owned = self.state().shards.iter().filter(|((r, _), s)| *r == role && **s == Standing::Owned).count();
        metrics::shards_owned(role.word(), owned);
        self.changed.notify_waiters();
    }

    /// Something else that is waited for.
    pub(crate) fn wait_for(&self, what: &str, waiting: bool) {
        let mut state = self.state();
        if waiting {
            state.waits.insert(what.to_owned());
        } else {
            state.waits.remove(what);
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// Asked at every look for further things that are waited for.
    pub(crate) fn ask(&self, question: impl Fn() -> Vec<String> + Send + Sync + 'static) {
        self.questions.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(question));
    }

    pub(crate) fn look(&self) -> Readiness {
        let mut waits_for: Vec<String> = Vec::new();
        {
            let state = self.state();
            waits_for.extend(state.waits.iter().cloned());
            let unanswered = state.groups.iter().filter(|(_, joined)| !**joined);
            waits_for.extend(unanswered.map(|(group, _)| format!("group `{group}` has not answered yet")));
            for ((_, name), standing) in &state.shards {
                if *standing == Standing::TakingOver {
                    waits_for.push(format!("shard `{name}` is being taken over"));
                }
            }
        }
        for question in self.questions.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            waits_for.extend(question());
        }
        let ready = waits_for.is_empty();
        metrics::ready(ready);
        Readiness { ready, waits_for }
    }

    /// Waits until it is ready.
    pub(crate) async fn ready(&self) {
        loop {
            let changed = self.changed.notified();
            if self.look().ready {
                return;
            }
            // A kernel's standing changes without a word here.
            let _ = tokio::time::timeout(Duration::from_millis(20), changed).await;
        }
    }
}
