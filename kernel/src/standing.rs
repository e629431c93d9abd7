//! Whether the kernel can judge: which policy it holds, against which one it has used.
//!
//! | held | used before (durable) | standing |
//! |---|---|---|
//! | none | any | no policy: nothing is read |
//! | revision r | none, or lower | ready; `PolicyAdopted` goes before the first verdict |
//! | revision r, snapshot s | revision r, snapshot s | ready |
//! | revision r | higher | stale: judges nothing until a newer policy is here |
//! | revision r, snapshot s | revision r, another snapshot | changed without a new revision: judges nothing; raise the revision |
//!
//! A held policy is replaced only by one of a higher revision, or when it cannot be used itself. Everything else that
//! is offered is ignored, so a bad file on one machine never stops a kernel that has a good policy.

use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use tidegate_policy::Snapshot;

/// The policy last used: durable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Adopted {
    pub(crate) revision: u64,
    pub(crate) snapshot: String,
}

/// Whether, and with what, the kernel can judge.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum PolicyStanding {
    /// None is here yet.
    #[default]
    NoPolicy,
    /// It judges with this one.
    Ready {
        /// Its revision.
        revision: u64,
        /// Its hash.
        snapshot: String,
    },
    /// A higher revision was used before: this process has an old policy.
    Stale {
        /// The revision at hand.
        revision: u64,
        /// The one used before.
        adopted: u64,
    },
    /// The same revision was used before with another content.
    Changed {
        /// The revision.
        revision: u64,
        /// Hash of the one at hand.
        snapshot: String,
        /// Hash of the one used before.
        adopted: String,
    },
}

impl PolicyStanding {
    /// Whether jobs are judged.
    #[must_use]
    pub const fn is_ready(&self) -> bool {
        matches!(self, Self::Ready { .. })
    }
}

impl std::fmt::Display for PolicyStanding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoPolicy => f.write_str("no policy is loaded, so nothing is read"),
            Self::Ready { revision, .. } => write!(f, "judging with policy revision {revision}"),
            Self::Stale { revision, adopted } => write!(
                f,
                "the policy here has revision {revision}, but {adopted} was used before; install revision {adopted} or a higher one"
            ),
            Self::Changed { revision, .. } => write!(
                f,
                "the policy here differs from the one used before under the same revision {revision}; raise its revision"
            ),
        }
    }
}

/// A window on a kernel's standing for readiness checks: cheap to clone, follows the kernel it came from.
#[derive(Debug, Clone, Default)]
pub struct StandingView(Arc<Mutex<PolicyStanding>>);

impl StandingView {
    /// The standing now.
    #[must_use]
    pub fn get(&self) -> PolicyStanding {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, standing: PolicyStanding) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = standing;
    }
}

/// Held and adopted policy.
#[derive(Debug, Default)]
pub(crate) struct Policies {
    /// Soft: given from outside.
    held: Option<Arc<Snapshot>>,
    /// Durable: changed by facts only.
    adopted: Option<Adopted>,
    view: StandingView,
}

impl Policies {
    pub(crate) fn view(&self) -> StandingView {
        self.view.clone()
    }

    /// The policy to judge with.
    pub(crate) fn usable(&self) -> Option<&Snapshot> {
        self.held.as_deref().filter(|held| usable(held, self.adopted.as_ref()))
    }

    /// Whether using `policy` now has to be told by a fact first.
    pub(crate) fn is_adopted(&self, policy: &Snapshot) -> bool {
        self.adopted
            .as_ref()
            .is_some_and(|adopted| adopted.snapshot == policy.name() && adopted.revision == policy.revision())
    }

    /// A policy is offered.
    pub(crate) fn offer(&mut self, offered: Arc<Snapshot>) {
        let better = match &self.held {
            None => true,
            Some(held) if !usable(held, self.adopted.as_ref()) => {
                usable(&offered, self.adopted.as_ref()) || offered.revision() >= held.revision()
            }
            Some(held) => offered.revision() > held.revision() && usable(&offered, self.adopted.as_ref()),
        };
        if better {
            self.held = Some(offered);
            self.refresh();
        }
    }

    pub(crate) fn adopted(&self) -> Option<&Adopted> {
        self.adopted.as_ref()
    }

    /// By fact, or from a snapshot.
    pub(crate) fn adopt(&mut self, adopted: Option<Adopted>) {
        self.adopted = adopted;
        self.refresh();
    }

    fn refresh(&self) {
        let standing = match (&self.held, &self.adopted) {
            (None, _) => PolicyStanding::NoPolicy,
            (Some(held), Some(adopted)) if held.revision() < adopted.revision => {
                PolicyStanding::Stale { revision: held.revision(), adopted: adopted.revision }
            }
            (Some(held), Some(adopted)) if held.revision() == adopted.revision && held.name() != adopted.snapshot => {
                PolicyStanding::Changed {
                    revision: held.revision(),
                    snapshot: held.name().to_owned(),
                    adopted: adopted.snapshot.clone(),
                }
            }
            (Some(held), _) => PolicyStanding::Ready { revision: held.revision(), snapshot: held.name().to_owned() },
        };
        self.view.set(standing);
    }
}

fn usable(held: &Snapshot, adopted: Option<&Adopted>) -> bool {
    adopted.is_none_or(|adopted| {
        held.revision() > adopted.revision || (held.revision() == adopted.revision && held.name() == adopted.snapshot)
    })
}
