//! Who sees to it that a job keeps to its decision's constraints.
//!
//! | constraint | seen to by |
//! |---|---|
//! | `budgets.max_runtime_ms` | the worker: the job is told to stop, and dropped (a command: killed) after its grace |
//! | `budgets.max_artifact_bytes` | the worker: a larger output is a failure; a command that writes more is killed |
//! | `budgets.max_retries` | the scheduler |
//! | `sandbox.*` | the worker's surroundings, where it was told that they do ([`Enforces`]); else the job is refused unrun |
//! | `toolchain.allowed_commands` | the agent, for the command it starts itself; beyond that the handler |
//! | `budgets.max_tokens`, `toolchain.*`, `diff.*`, `redaction_level` | the handler: nobody outside it can tell |
//!
//! `budgets.max_concurrent_jobs` is kept by the kernel: a policy that is loaded has a limit beside the rule.
//!
//! Under any `sandbox` the agent also gives a command an empty folder of its own and none of the worker's environment.

use std::collections::BTreeSet;
use std::str::FromStr;

use tidegate_protocol::constraints::Constraints;

/// A constraint that a worker process cannot see to by itself, but what surrounds it may: a container, a network policy, a
/// mount namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Enforces {
    /// `sandbox.isolated`.
    Isolated,
    /// `sandbox.network_allowlist`.
    Network,
    /// `sandbox.fs_read_only`.
    ReadOnly,
    /// `sandbox.fs_read_write`.
    ReadWrite,
}

/// Text that names none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is nothing that surroundings enforce; write `sandbox.isolated`, `sandbox.network_allowlist`, `sandbox.fs_read_only` or `sandbox.fs_read_write`"
)]
pub struct UnknownConstraint {
    /// As written (cut at 80 characters).
    pub text: String,
}

impl Enforces {
    const ALL: [Self; 4] = [Self::Isolated, Self::Network, Self::ReadOnly, Self::ReadWrite];

    /// As a policy says it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Isolated => "sandbox.isolated",
            Self::Network => "sandbox.network_allowlist",
            Self::ReadOnly => "sandbox.fs_read_only",
            Self::ReadWrite => "sandbox.fs_read_write",
        }
    }

    fn is_asked(self, constraints: &Constraints) -> bool {
        let sandbox = &constraints.sandbox;
        match self {
            Self::Isolated => sandbox.isolated,
            Self::Network => sandbox.network_allowlist.is_some(),
            Self::ReadOnly => sandbox.fs_read_only.is_some(),
            Self::ReadWrite => sandbox.fs_read_write.is_some(),
        }
    }
}

impl FromStr for Enforces {
    type Err = UnknownConstraint;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|kind| kind.word() == text);
        found.ok_or_else(|| UnknownConstraint { text: text.chars().take(80).collect() })
    }
}

/// What is asked for and nobody here sees to.
pub(crate) fn unmet(constraints: &Constraints, enforces: &BTreeSet<Enforces>) -> Vec<&'static str> {
    let unmet = Enforces::ALL.into_iter().filter(|kind| kind.is_asked(constraints) && !enforces.contains(kind));
    unmet.map(Enforces::word).collect()
}

/// What is left to the handler.
pub(crate) fn passed_on(constraints: &Constraints) -> Vec<&'static str> {
    let Constraints { budgets, sandbox: _, toolchain, diff, redaction_level } = constraints;
    let asked = [
        (budgets.max_tokens.is_some(), "budgets.max_tokens"),
        (toolchain.allowed_tools.is_some(), "toolchain.allowed_tools"),
        (toolchain.allowed_commands.is_some(), "toolchain.allowed_commands"),
        (diff.max_files.is_some(), "diff.max_files"),
        (diff.max_lines.is_some(), "diff.max_lines"),
        (!diff.deny_path_globs.is_empty(), "diff.deny_path_globs"),
        (redaction_level.is_some(), "redaction_level"),
    ];
    asked.into_iter().filter(|(asked, _)| *asked).map(|(_, word)| word).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_worker_cannot_see_to_must_be_seen_to_by_its_surroundings() {
        let constraints: Constraints = serde_json::from_str(
            r#"{"budgets":{"max_runtime_ms":5,"max_tokens":7},"sandbox":{"isolated":true,"network_allowlist":[]},"redaction_level":"low"}"#,
        )
        .unwrap();
        let enforces = |words: &[&str]| words.iter().map(|word| word.parse().unwrap()).collect();
        assert_eq!(unmet(&constraints, &enforces(&[])), ["sandbox.isolated", "sandbox.network_allowlist"]);
        assert_eq!(unmet(&constraints, &enforces(&["sandbox.isolated"])), ["sandbox.network_allowlist"]);
        let both = enforces(&["sandbox.isolated", "sandbox.network_allowlist", "sandbox.fs_read_only"]);
        assert!(unmet(&constraints, &both).is_empty());
        assert_eq!(passed_on(&constraints), ["budgets.max_tokens", "redaction_level"]);
        assert!("sandbox".parse::<Enforces>().is_err());
        assert!(Enforces::ALL.iter().all(|kind| kind.word().parse() == Ok(*kind)));
    }
}
