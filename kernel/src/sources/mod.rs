//! Sources: which topic is read, how its records become jobs, and whom they may speak for.
//!
//! What a configuration says ([`SourceWritten`]) is checked once into a [`Source`]; reading needs no check any more.
//!
//! # Formats
//! - `tidegate-json` (the default): the value is the job envelope. A record with a `ce_specversion` header is read as a
//!   CloudEvent in binary mode instead: attributes from headers, the value is the payload.
//! - `cloudevents`: binary mode only; a record without `ce_specversion` is refused.
//! - `mapped`: a foreign JSON record; a [`Mapping`] says what each attribute is made of.
//!
//! # Tenants
//! A source says whom it may speak for. There is no default: a source without `tenants` is a configuration error.

mod mapping;
mod template;
mod tenants;
mod written;

pub use mapping::Mapping;
pub(crate) use mapping::Others;
pub(crate) use template::{Hole, Origin, Pointer, Template};
pub(crate) use tenants::TenantRefused;
pub use tenants::Tenants;
pub use written::{
    ActorWritten, FormatWritten, MappingWritten, OthersWritten, ParentTickets, SourceLimitsWritten, SourceRefused,
    SourceWritten, TICKET_TTL_MS, TenantsWritten,
};

use std::time::Duration;

use tidegate_protocol::address::{BadTopicName, TopicName};
use tidegate_protocol::ids::SourceName;
use tidegate_protocol::topics::Topic;

/// How records become jobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Format {
    /// The job envelope, or a CloudEvent in binary mode.
    TidegateJson,
    /// CloudEvents in binary mode only.
    CloudEvents,
    /// A foreign JSON record.
    Mapped(Box<Mapping>),
}

/// A checked source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    pub(crate) name: SourceName,
    pub(crate) topic: Option<TopicName>,
    pub(crate) format: Format,
    pub(crate) tenants: Tenants,
    pub(crate) observe: bool,
    pub(crate) parent_tickets: ParentTickets,
    pub(crate) ticket_ttl: Option<Duration>,
    pub(crate) max_bytes: usize,
    pub(crate) max_depth: usize,
}

impl Source {
    /// Its name; part of topic names and of every source position.
    #[must_use]
    pub const fn name(&self) -> &SourceName {
        &self.name
    }

    /// Whether its topic is somebody else's: read, never trimmed, never created by us.
    #[must_use]
    pub const fn adopted(&self) -> bool {
        self.topic.is_some()
    }

    /// The topic its records stand in: the adopted one, else `<prefix><name>`.
    ///
    /// # Errors
    /// [`BadTopicName`] when prefix and name together are no topic name.
    pub fn topic(&self, prefix: &str) -> Result<TopicName, BadTopicName> {
        match &self.topic {
            Some(topic) => Ok(topic.clone()),
            None => Topic::Raw(self.name.clone()).name(prefix),
        }
    }

    /// Whether it is only judged and audited: nothing is released.
    #[must_use]
    pub const fn observe(&self) -> bool {
        self.observe
    }

    /// Whether its jobs may, or must, be delegated ones.
    #[must_use]
    pub const fn parent_tickets(&self) -> ParentTickets {
        self.parent_tickets
    }

    /// How long a verdict on a job of it may wait for a worker; `None` for as long as is usual.
    #[must_use]
    pub const fn ticket_ttl(&self) -> Option<Duration> {
        self.ticket_ttl
    }

    /// Whom it may speak for.
    #[must_use]
    pub const fn tenants(&self) -> &Tenants {
        &self.tenants
    }

    /// How its records become jobs.
    #[must_use]
    pub const fn format(&self) -> &Format {
        &self.format
    }

    /// Largest value, in bytes.
    #[must_use]
    pub const fn max_bytes(&self) -> usize {
        self.max_bytes
    }

    /// Deepest nesting of the value: `[]` is 1.
    #[must_use]
    pub const fn max_depth(&self) -> usize {
        self.max_depth
    }
}
