//! Why a record is no job here.

use tidegate_protocol::outcome::DeadReason;

/// A record that is no job: the word for machines and a sentence for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Refusal {
    /// The word: final, dashboards and redrive use it.
    pub reason: DeadReason,
    /// What is wrong with which field and why; user input in backticks, cut.
    pub detail: String,
}

/// Most characters of user input quoted in a message.
const QUOTED: usize = 80;

impl Refusal {
    pub(crate) fn new(reason: DeadReason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into() }
    }

    /// A field that is missing or has a bad value; `problem` reads on from the field's name.
    pub(crate) fn field(field: &str, problem: impl std::fmt::Display) -> Self {
        Self::new(DeadReason::InvalidField, format!("field `{}` {problem}", quoted(field)))
    }

    /// The same for a header.
    pub(crate) fn header(header: &str, problem: impl std::fmt::Display) -> Self {
        Self::new(DeadReason::InvalidField, format!("header `{}` {problem}", quoted(header)))
    }
}

/// User input fit for a message: cut, control characters replaced.
pub(crate) fn quoted(text: &str) -> String {
    let mut out: String =
        text.chars().take(QUOTED).map(|c| if c.is_control() || c == '`' { '\u{fffd}' } else { c }).collect();
    if text.chars().nth(QUOTED).is_some() {
        out.push('…');
    }
    out
}
