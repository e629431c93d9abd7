//! Names a job of this shard: a record and, where it was redriven, which of its lives.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tidegate_protocol::address::Offset;
use tidegate_protocol::job::SourcePosition;

/// A record's offset, and how often it was redriven. A shard has one source partition, so that is enough. Two lives of a record
/// may stand here at once (one that came back while another is asked about): what is kept, taken or said of one is no other's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Life(pub Offset, pub u32);

impl Life {
    /// Of this record.
    #[must_use]
    pub const fn of(source: &SourcePosition) -> Self {
        Self(source.offset, source.redrive)
    }

    /// All lives of the record at this offset.
    pub(crate) const fn all(offset: Offset) -> std::ops::RangeInclusive<Self> {
        Self(offset, 0)..=Self(offset, u32::MAX)
    }
}

impl tidegate_wallet::JobName for Life {
    type Written = Offset;

    fn written(&self) -> (Offset, u32) {
        (self.0, self.1)
    }

    fn read(offset: Offset, redrive: u32) -> Self {
        Self(offset, redrive)
    }
}

impl fmt::Display for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self(offset, 0) => write!(f, "{offset}"),
            Self(offset, redrive) => write!(f, "{offset}~{redrive}"),
        }
    }
}

impl FromStr for Life {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (offset, redrive) = text.split_once('~').unwrap_or((text, "0"));
        Ok(Self(offset.parse()?, redrive.parse()?))
    }
}

/// As text, so that it names an entry of a JSON object: `7`, and of a redriven record `7~1`.
impl Serialize for Life {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Life {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(from)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn a_life_names_an_entry_as_its_offset_did() {
        let lives = BTreeMap::from([(Life(7, 0), "a"), (Life(7, 1), "b"), (Life(12, 0), "c")]);
        let text = serde_json::to_string(&lives).unwrap();
        assert_eq!(text, r#"{"7":"a","7~1":"b","12":"c"}"#);
        assert_eq!(serde_json::from_str::<BTreeMap<Life, &str>>(&text).unwrap(), lives);
        assert!(serde_json::from_str::<BTreeMap<Life, &str>>(r#"{"7~":"a"}"#).is_err());
    }
}
