//! From a record of `commands.<pool>` to a command that an operator has signed.
//!
//! The topic is open: what cannot be believed - also a genuine command for another pool - is counted and logged ever more
//! seldom, changes nothing and leaves no fact.

use std::sync::Arc;

use tidegate_protocol::command::{MAX_REASON_BYTES, Nobody, People};
use tidegate_protocol::headers;
use tidegate_protocol::ids::PoolName;
use tidegate_protocol::pool_command::{KIND, MAX_POOL_COMMAND_BYTES, PoolCommand};
use tidegate_protocol::signature::{Capacity, Distrust, Signed, Trust};
use tidegate_protocol::time::Timestamp;
use tidegate_spine::Record;

/// Who may command a pool.
#[derive(Debug, Clone)]
pub(crate) struct Operators {
    pub(crate) trust: Arc<dyn Trust>,
    pub(crate) people: Arc<dyn People>,
}

impl Default for Operators {
    fn default() -> Self {
        Self { trust: Arc::new(Nobody), people: Arc::new(Nobody) }
    }
}

/// Why a record of the topic is no command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unbelieved {
    /// A control record: on a topic that anyone may write it is none.
    #[error("it looks like a control record, which this topic has none of")]
    Control,
    /// Larger than any command.
    #[error("it has {0} bytes, a command has at most {MAX_POOL_COMMAND_BYTES}")]
    TooLarge(usize),
    /// Signed, perhaps, but no command.
    #[error("it is no command: {0}")]
    Malformed(String),
    /// Not by an operator.
    #[error("{0}")]
    Distrusted(#[from] Distrust),
    /// Signed with the key of somebody else than it names.
    #[error("it speaks for another person than its key's")]
    NotThisPerson,
    /// Genuine, but for another pool.
    #[error("it is for pool `{0}`")]
    OtherPool(PoolName),
}

impl Operators {
    /// Reads a command for `pool`.
    pub(crate) fn believe(&self, pool: &PoolName, record: &Record, at: Timestamp) -> Result<PoolCommand, Unbelieved> {
        if record.headers.get(headers::KIND).is_some() {
            return Err(Unbelieved::Control);
        }
        let value = record.value.as_deref().unwrap_or_default();
        if value.len() > MAX_POOL_COMMAND_BYTES {
            return Err(Unbelieved::TooLarge(value.len()));
        }
        let signed = Signed::read(value).ok_or(Distrust::Unsigned)?;
        let malformed = |problem: String| Unbelieved::Malformed(problem);
        let command: PoolCommand = serde_json::from_slice(value).map_err(|error| malformed(error.to_string()))?;
        if command.v != 1 {
            return Err(malformed(format!("format version {} is not known here", command.v)));
        }
        if command.reason.len() > MAX_REASON_BYTES || command.reason.chars().any(char::is_control) {
            return Err(malformed(format!("its reason has a control character or more than {MAX_REASON_BYTES} bytes")));
        }
        signed.check(&*self.trust, KIND, Capacity::Operator, at.millis())?;
        match self.people.of(signed.key) {
            Some(person) if person.id == command.by => {}
            Some(_) | None => return Err(Unbelieved::NotThisPerson),
        }
        if command.pool != *pool {
            return Err(Unbelieved::OtherPool(command.pool));
        }
        Ok(command)
    }
}
