//! What can be asked of a view.

use std::collections::HashSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidegate_protocol::ids::{JobId, TenantId};

use super::story::{DeadRecord, State, Story};
use super::{JobKey, View};

/// Which jobs are asked for.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// In this state only.
    pub state: Option<State>,
    /// Of this tenant only.
    pub tenant: Option<TenantId>,
}

impl Filter {
    fn takes(&self, story: &Story) -> bool {
        self.state.is_none_or(|state| story.state == state) && (self.tenant.is_none() || story.tenant == self.tenant)
    }
}

/// Stories that changed, and from where to ask on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Changes {
    /// In order of their last change.
    pub jobs: Vec<Story>,
    /// Everything up to this change number is in here or was before.
    pub next: u64,
}

impl View {
    /// The story of a job.
    #[must_use]
    pub fn get(&self, key: &JobKey) -> Option<Story> {
        self.shelf().find(key).cloned()
    }

    /// The tenants that have a job of this id: more than one makes an id alone ambiguous.
    #[must_use]
    pub fn tenants_of(&self, id: &JobId) -> HashSet<TenantId> {
        self.shelf().tenants_of(id)
    }

    /// The newest jobs, last changed first.
    #[must_use]
    pub fn list(&self, filter: &Filter, limit: usize) -> Changes {
        let shelf = self.shelf();
        let jobs = shelf.newest().filter(|story| filter.takes(story)).take(limit).cloned().collect();
        Changes { jobs, next: shelf.last_change() }
    }

    /// Jobs changed after `since`; waits up to `wait` for the first.
    pub async fn changes(&self, since: u64, filter: &Filter, limit: usize, wait: Duration) -> Changes {
        let mut changed = self.changed.subscribe();
        let deadline = tokio::time::Instant::now() + wait;
        let mut seen = since;
        loop {
            let found = self.changed_since(seen, filter, limit);
            if !found.jobs.is_empty() {
                return found;
            }
            seen = found.next;
            let more = changed.wait_for(|change| *change > seen);
            if tokio::time::timeout_at(deadline, more).await.is_err() {
                return found;
            }
        }
    }

    fn changed_since(&self, since: u64, filter: &Filter, limit: usize) -> Changes {
        let shelf = self.shelf();
        let mut next = shelf.last_change();
        let mut jobs = Vec::new();
        for story in shelf.changed_since(since).filter(|story| filter.takes(story)) {
            jobs.push(story.clone());
            if jobs.len() >= limit.max(1) {
                next = story.change;
                break;
            }
        }
        Changes { jobs, next }
    }

    /// Records of `dead` that no operator has dealt with, newest first.
    #[must_use]
    pub fn dead_records(&self, limit: usize) -> Vec<DeadRecord> {
        self.shelf().dead_to_see_to().take(limit).cloned().collect()
    }

    /// The record of `dead` that stands at `at` (`partition@offset`) or is about that source position.
    #[must_use]
    pub fn dead_record(&self, at: &str) -> Option<DeadRecord> {
        let shelf = self.shelf();
        let about = |dead: &&DeadRecord| dead.at == at || dead.source.as_ref().is_some_and(|s| s.to_string() == at);
        shelf.dead().find(about).cloned()
    }
}
