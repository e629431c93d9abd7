//! What a line was meant to be.

use super::fields::Fields;

/// Top-level fields that no record carries.
pub(super) const LABELS: [&str; 4] = ["goal", "kind", "task", "step"];

/// Whether the user wanted it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A legitimate task.
    User,
    /// What a prompt-injected agent was made to do.
    Injection,
}

/// The labels of a line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Label {
    /// Counts in the score when it is there.
    pub(crate) kind: Option<Kind>,
    /// What was asked for.
    pub(crate) goal: Option<String>,
    /// Which task it belongs to.
    pub(crate) task: Option<String>,
}

impl Label {
    pub(super) fn of(fields: &Fields<'_>) -> Self {
        let kind = match fields.text("kind").as_deref() {
            Some("user") => Some(Kind::User),
            Some("injection") => Some(Kind::Injection),
            Some(_) | None => None,
        };
        Self { kind, goal: fields.text("goal"), task: fields.text("task") }
    }
}
