//! What a verdict does to a job, in order of severity.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The effect of a rule or a verdict. `Ord` is severity: the greater one wins where the most restrictive holds.
///
/// Grows between the two ends (allow < allow_with_constraints < require_approval < throttle < deny), so code
/// outside asks [`Effect::permits`] and fails closed on what it does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Effect {
    /// The job may go on.
    Allow,
    /// The job must not run.
    Deny,
}

impl Effect {
    /// Whether the job may be released by this effect alone.
    pub fn permits(self) -> bool {
        match self {
            Self::Allow => true,
            Self::Deny => false,
        }
    }

    /// Whether a rule of this effect takes something away. What cannot be told counts as a match for such a
    /// rule, and as no match for any other.
    pub(crate) fn restricts(self) -> bool {
        !self.permits()
    }

    /// The name used in policy files and records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        }
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
