//! What an allowed job must keep to: limits on its run that travel with it to the worker.
//!
//! Several rules may constrain one job; [`Constraints::tighten`] takes the tightest of each field. A field that is
//! absent does not constrain. An allow-list that is there and empty allows nothing.

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The constraints of an `allow_with_constraints`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Constraints {
    /// What it may use up.
    #[serde(default, skip_serializing_if = "Budgets::is_empty")]
    pub budgets: Budgets,
    /// What it may reach.
    #[serde(default, skip_serializing_if = "Sandbox::is_empty")]
    pub sandbox: Sandbox,
    /// What it may call.
    #[serde(default, skip_serializing_if = "Toolchain::is_empty")]
    pub toolchain: Toolchain,
    /// What it may change.
    #[serde(default, skip_serializing_if = "Diff::is_empty")]
    pub diff: Diff,
    /// How much of its data must be blacked out before it leaves the worker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redaction_level: Option<RedactionLevel>,
}

/// What a job may use up. The smallest of each holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budgets {
    /// Longest run of one attempt, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_runtime_ms: Option<u64>,
    /// Most attempts after the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_retries: Option<u32>,
    /// Largest output, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_artifact_bytes: Option<u64>,
    /// Most jobs of its tenant at work at once while it starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_concurrent_jobs: Option<u32>,
    /// Most model tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u64>,
}

/// What a job may reach. Lists are allow-lists: what all of them allow is allowed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sandbox {
    /// In a sandbox of its own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub isolated: bool,
    /// Hosts it may talk to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_allowlist: Option<BTreeSet<String>>,
    /// Paths it may read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fs_read_only: Option<BTreeSet<String>>,
    /// Paths it may read and write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fs_read_write: Option<BTreeSet<String>>,
}

/// What a job may call. Lists are allow-lists: what all of them allow is allowed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Toolchain {
    /// Tools by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_tools: Option<BTreeSet<String>>,
    /// Commands by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_commands: Option<BTreeSet<String>>,
}

/// What a job may change.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Diff {
    /// Most files. The smallest holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_files: Option<u32>,
    /// Most lines. The smallest holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_lines: Option<u32>,
    /// Paths it must not touch: a deny-list, so all of them hold.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub deny_path_globs: BTreeSet<String>,
}

/// How much is blacked out. `Ord` is strictness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RedactionLevel {
    /// Nothing.
    None,
    /// Secrets and credentials.
    Low,
    /// Also what identifies a person.
    Standard,
    /// Everything but what the job's schema calls public.
    Strict,
}

impl RedactionLevel {
    /// The word used in policies and records.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Low => "low",
            Self::Standard => "standard",
            Self::Strict => "strict",
        }
    }
}

impl Constraints {
    /// Whether nothing is constrained.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Tightens these by others: what holds afterwards keeps to both. Commutative, associative and idempotent.
    pub fn tighten(&mut self, other: &Self) {
        let Self { budgets, sandbox, toolchain, diff, redaction_level } = other;
        self.budgets.tighten(budgets);
        self.sandbox.tighten(sandbox);
        self.toolchain.tighten(toolchain);
        self.diff.tighten(diff);
        self.redaction_level = self.redaction_level.max(*redaction_level);
    }
}

impl Budgets {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn tighten(&mut self, other: &Self) {
        let Self { max_runtime_ms, max_retries, max_artifact_bytes, max_concurrent_jobs, max_tokens } = other;
        least(&mut self.max_runtime_ms, *max_runtime_ms);
        least(&mut self.max_retries, *max_retries);
        least(&mut self.max_artifact_bytes, *max_artifact_bytes);
        least(&mut self.max_concurrent_jobs, *max_concurrent_jobs);
        least(&mut self.max_tokens, *max_tokens);
    }
}

impl Sandbox {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn tighten(&mut self, other: &Self) {
        let Self { isolated, network_allowlist, fs_read_only, fs_read_write } = other;
        self.isolated |= isolated;
        common(&mut self.network_allowlist, network_allowlist.as_ref());
        common(&mut self.fs_read_only, fs_read_only.as_ref());
        common(&mut self.fs_read_write, fs_read_write.as_ref());
    }
}

impl Toolchain {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn tighten(&mut self, other: &Self) {
        let Self { allowed_tools, allowed_commands } = other;
        common(&mut self.allowed_tools, allowed_tools.as_ref());
        common(&mut self.allowed_commands, allowed_commands.as_ref());
    }
}

impl Diff {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn tighten(&mut self, other: &Self) {
        let Self { max_files, max_lines, deny_path_globs } = other;
        least(&mut self.max_files, *max_files);
        least(&mut self.max_lines, *max_lines);
        self.deny_path_globs.extend(deny_path_globs.iter().cloned());
    }
}

fn least<N: Ord + Copy>(held: &mut Option<N>, other: Option<N>) {
    *held = match (*held, other) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    };
}

fn common(held: &mut Option<BTreeSet<String>>, other: Option<&BTreeSet<String>>) {
    match (held.as_mut(), other) {
        (_, None) => {}
        (None, Some(other)) => *held = Some(other.clone()),
        (Some(allowed), Some(other)) => allowed.retain(|entry| other.contains(entry)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Constraints {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn the_tightest_of_each_field_holds_whatever_the_order() {
        let rows = [
            (
                r#"{"budgets":{"max_runtime_ms":5}}"#,
                r#"{"budgets":{"max_runtime_ms":9}}"#,
                r#"{"budgets":{"max_runtime_ms":5}}"#,
            ),
            (r#"{"budgets":{"max_retries":0}}"#, "{}", r#"{"budgets":{"max_retries":0}}"#),
            (
                r#"{"sandbox":{"network_allowlist":["a","b"]}}"#,
                r#"{"sandbox":{"network_allowlist":["b","c"],"isolated":true}}"#,
                r#"{"sandbox":{"isolated":true,"network_allowlist":["b"]}}"#,
            ),
            (
                r#"{"toolchain":{"allowed_tools":["a"]}}"#,
                r#"{"toolchain":{"allowed_tools":["b"]}}"#,
                r#"{"toolchain":{"allowed_tools":[]}}"#,
            ),
            (
                r#"{"diff":{"deny_path_globs":["*.key"]}}"#,
                r#"{"diff":{"deny_path_globs":[".env"]}}"#,
                r#"{"diff":{"deny_path_globs":["*.key",".env"]}}"#,
            ),
            (r#"{"redaction_level":"low"}"#, r#"{"redaction_level":"strict"}"#, r#"{"redaction_level":"strict"}"#),
        ];
        for (a, b, both) in rows {
            let (a, b, both) = (read(a), read(b), read(both));
            let (mut ab, mut ba) = (a.clone(), b.clone());
            ab.tighten(&b);
            ba.tighten(&a);
            assert_eq!((&ab, &ba), (&both, &both));
            ab.tighten(&b);
            assert_eq!(ab, both, "idempotent");
        }
    }

    #[test]
    fn a_misspelt_constraint_is_no_constraint_and_so_refused() {
        serde_json::from_str::<Constraints>(r#"{"budgets":{"max_runtime":5}}"#).unwrap_err();
    }
}
