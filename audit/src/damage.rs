//! What is wrong with a log.

use std::fmt;

use serde::Serialize;
use tidegate_protocol::address::Offset;
use tidegate_protocol::proof::Refused;
use tidegate_protocol::signature::Distrust;

/// Kind of damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Wrong {
    /// The record is not what its key signed, or its key or headers are not those of its kind.
    Edited,
    /// A record is not there that must have been.
    Missing,
    /// A genuine record stands where its owner did not put it: swapped, or put behind others.
    Moved,
    /// A genuine record is there twice.
    WrittenAgain,
    /// Not signed: anybody may have written it.
    Unsigned,
    /// Signed by a key that is not trusted here.
    UnknownKey,
    /// Signed by a key that is trusted for something else.
    WrongRole,
    /// Signed by a key after its time.
    RetiredKey,
    /// No record of this log: another shard's, or none of ours.
    Foreign,
    /// The log ends before what a checkpoint or the spine says it has.
    CutTail,
    /// The log has another group where a checkpoint says one stood: it was put back or written anew.
    OtherHistory,
    /// A genuine group that this version cannot read: no damage, but what stands behind it cannot be judged.
    Unreadable,
}

impl Wrong {
    /// The word used in output.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Edited => "edited",
            Self::Missing => "missing",
            Self::Moved => "moved",
            Self::WrittenAgain => "written_again",
            Self::Unsigned => "unsigned",
            Self::UnknownKey => "unknown_key",
            Self::WrongRole => "wrong_role",
            Self::RetiredKey => "retired_key",
            Self::Foreign => "foreign",
            Self::CutTail => "cut_tail",
            Self::OtherHistory => "other_history",
            Self::Unreadable => "unreadable",
        }
    }

    /// Whether only somebody's hand makes it so.
    #[must_use]
    pub const fn is_tampering(self) -> bool {
        !matches!(self, Self::Unreadable)
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl From<Distrust> for Wrong {
    fn from(why: Distrust) -> Self {
        match why {
            Distrust::Unsigned => Self::Unsigned,
            Distrust::UnknownKey => Self::UnknownKey,
            Distrust::WrongRole => Self::WrongRole,
            Distrust::Retired => Self::RetiredKey,
            Distrust::BadSignature => Self::Edited,
        }
    }
}

impl From<Refused> for Wrong {
    fn from(why: Refused) -> Self {
        match why {
            Refused::Altered => Self::Edited,
            Refused::Replayed => Self::WrittenAgain,
            Refused::Distrusted(why) => why.into(),
        }
    }
}

/// The first bad record of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("offset {offset}: {wrong}: {detail}")]
pub struct Damage {
    /// Where it stands, or would stand.
    pub offset: Offset,
    /// The kind.
    pub wrong: Wrong,
    /// In a sentence.
    pub detail: String,
}

impl Damage {
    pub(crate) fn new(offset: Offset, wrong: Wrong, detail: impl Into<String>) -> Self {
        Self { offset, wrong, detail: detail.into() }
    }
}
