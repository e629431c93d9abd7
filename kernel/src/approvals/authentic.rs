//! From a record of `commands.<source>` to a command that somebody trusted has signed.
//!
//! The topic is open: what cannot be believed is counted by a fixed word, logged ever more seldom, and leaves no fact.

use tidegate_protocol::command::{Action, Command, KIND, MAX_COMMAND_BYTES, MAX_REASON_BYTES, Person};
use tidegate_protocol::redrive::MAX_REDRIVE_BYTES;
use tidegate_protocol::signature::{Capacity, Distrust, Signed};
use tidegate_protocol::time::Timestamp;
use tidegate_stage::Arrival;

use crate::kernel::Kernel;

/// Why a record of the topic is no command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unbelieved {
    /// Larger than any command.
    #[error("it has {0} bytes, a command has at most {MAX_COMMAND_BYTES}, to redrive {MAX_REDRIVE_BYTES}")]
    TooLarge(usize),
    /// Signed, perhaps, but no command.
    #[error("it is no command: {0}")]
    Malformed(String),
    /// Not by somebody who may say this.
    #[error("{0}")]
    Distrusted(#[from] Distrust),
    /// Signed with the key of somebody else than it names.
    #[error("it speaks for another person than its key's")]
    NotThisPerson,
}

impl Unbelieved {
    /// The word used in metrics.
    pub(super) const fn word(&self) -> &'static str {
        match self {
            Self::TooLarge(_) => "too_large",
            Self::Malformed(_) => "malformed",
            Self::Distrusted(distrust) => distrust.word(),
            Self::NotThisPerson => "not_this_person",
        }
    }
}

impl Kernel {
    /// Reads a command and says who gave it.
    pub(super) fn believe(&self, arrival: &Arrival<'_>, at: Timestamp) -> Result<(Command, Person), Unbelieved> {
        let value = arrival.record.value.as_deref().unwrap_or_default();
        if value.len() > MAX_REDRIVE_BYTES {
            return Err(Unbelieved::TooLarge(value.len()));
        }
        let signed = Signed::read(value).ok_or(Distrust::Unsigned)?;
        let command = read(value)?;
        let capacities: &[Capacity<'_>] = match command.action {
            Action::Approve | Action::Reject => &[Capacity::Approver(&command.tenant)],
            Action::Cancel => &[Capacity::Operator, Capacity::Submitter(&command.tenant)],
            Action::Revoke | Action::Redrive | Action::Drop => &[Capacity::Operator],
        };
        let trust = &*self.config.trust;
        let entitled = capacities.iter().map(|capacity| trust.entitled(signed.key, *capacity, at.millis()));
        entitled
            .reduce(|first, other| if first.is_ok() { first } else { other })
            .unwrap_or(Err(Distrust::WrongRole))?;
        trust.verify(signed.key, &signed.statement(KIND), signed.signature())?;
        match self.config.people.of(signed.key) {
            Some(person) if person.id == command.by => Ok((command, person)),
            _ => Err(Unbelieved::NotThisPerson),
        }
    }

    pub(super) fn disbelieve(&self, arrival: &Arrival<'_>, why: &Unbelieved) {
        self.meters.commands_refused(why.word());
        let met = self.unbelieved.get().saturating_add(1);
        self.unbelieved.set(met);
        if met.is_power_of_two() {
            let (partition, offset) = (arrival.partition, arrival.at.offset);
            tracing::warn!(%partition, offset, met, %why, "a command was not believed; whoever sent it is waiting in vain");
        }
    }
}

fn read(value: &[u8]) -> Result<Command, Unbelieved> {
    let malformed = |problem: String| Unbelieved::Malformed(problem);
    let command: Command = serde_json::from_slice(value).map_err(|error| malformed(error.to_string()))?;
    if value.len() > MAX_COMMAND_BYTES && command.action != Action::Redrive {
        return Err(Unbelieved::TooLarge(value.len()));
    }
    if command.v != 1 {
        return Err(malformed(format!("format version {} is not known here", command.v)));
    }
    if command.reason.len() > MAX_REASON_BYTES || command.reason.chars().any(char::is_control) {
        return Err(malformed(format!("its reason has a control character or more than {MAX_REASON_BYTES} bytes")));
    }
    if command.snapshot.len() > 200 || command.snapshot.chars().any(char::is_control) {
        return Err(malformed("its snapshot is no name of one".to_owned()));
    }
    Ok(command)
}
