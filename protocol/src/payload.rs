//! Payloads that are kept beside the log, and what stands for them in it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::hex;

/// Stands in a job for a payload that is kept elsewhere (`payload_ref`). It is kept under the job's tenant and this hash, and
/// nothing but bytes of just this size and hash is ever taken for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PayloadRef {
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256.
    pub sha256: PayloadHash,
    /// It is a JSON string of base64, as `payload_base64` would hold; otherwise the JSON text of `payload`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub base64: bool,
}

/// SHA-256 of a payload; 64 hex digits in records.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PayloadHash(pub [u8; 32]);

impl fmt::Display for PayloadHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for PayloadHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Serialize for PayloadHash {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        hex::serialize::<32, 64, S>(&self.0, to)
    }
}

impl<'de> Deserialize<'de> for PayloadHash {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        hex::deserialize(from).map(Self)
    }
}
