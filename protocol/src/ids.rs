//! A type per kind of name. Constructors refuse bad values, so later code need not check.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::job::SourcePosition;
use crate::text::deserialize;

/// A name that is not allowed for its kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} `{name}` {rule}")]
pub struct BadName {
    /// What it was to be the name of.
    pub kind: &'static str,
    /// As written (cut at 80 characters).
    pub name: String,
    /// The rule it breaks.
    pub rule: &'static str,
}

fn is_word(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 100
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

fn is_text(name: &str) -> bool {
    let plain = |name: &str| match name.is_ascii() {
        true => !name.bytes().any(|b| b.is_ascii_control()),
        false => !name.chars().any(char::is_control),
    };
    !name.is_empty() && name.len() <= 256 && plain(name)
}

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident, $kind:literal, $check:ident, $rule:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks `name`.
            ///
            /// # Errors
            /// [`BadName`] with the rule it breaks.
            pub fn new(name: impl AsRef<str>) -> Result<Self, BadName> {
                let name = name.as_ref();
                if $check(name) {
                    Ok(Self(Arc::from(name)))
                } else {
                    Err(BadName { kind: $kind, name: name.chars().take(80).collect(), rule: $rule })
                }
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                deserialize(from, |name| Self::new(name))
            }
        }

        impl TryFrom<String> for $name {
            type Error = BadName;
            fn try_from(name: String) -> Result<Self, Self::Error> {
                Self::new(name)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0.to_string()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "`{}`", self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    )*};
}

impl From<&SourcePosition> for JobId {
    /// The id of a job that its submitter gave none. A position is text, and short enough.
    fn from(position: &SourcePosition) -> Self {
        Self(Arc::from(position.to_string()))
    }
}

names! {
    /// A tenant; the unit of isolation (I9).
    TenantId, "tenant", is_text, "is not 1 to 256 bytes without control characters";
    /// A job's id as its submitter chose it, unique within its tenant; or one made from the record's position.
    JobId, "job id", is_text, "is not 1 to 256 bytes without control characters";
    /// A capability: what a job needs and a worker offers.
    Capability, "capability", is_text, "is not 1 to 256 bytes without control characters";
    /// A worker process; stable over its incarnations.
    WorkerId, "worker", is_text, "is not 1 to 256 bytes without control characters";
    /// A source: the logical name of a raw topic. Part of topic names.
    SourceName, "source", is_word, "is not 1 to 100 letters, digits, `.`, `_` and `-`";
    /// A pool. Part of topic names.
    PoolName, "pool", is_word, "is not 1 to 100 letters, digits, `.`, `_` and `-`";
    /// A person who gives commands; the same over all their keys.
    PersonId, "person", is_text, "is not 1 to 256 bytes without control characters";
    /// A command, named by its sender.
    CommandId, "command id", is_word, "is not 1 to 100 letters, digits, `.`, `_` and `-`";
    /// A key that signs, as configuration and records name it.
    KeyId, "key", is_word, "is not 1 to 100 letters, digits, `.`, `_` and `-`";
    /// Who sends stamped messages: stage, what it serves and shard, e.g. `kernel.jobs.raw/0`.
    SenderId, "sender", is_text, "is not 1 to 256 bytes without control characters";
}
