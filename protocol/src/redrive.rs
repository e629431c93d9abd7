//! A dead record on its way to be judged again: what an operator's signed command carries.
//!
//! `dead` is open and advisory, so nothing is believed because it stands there: the operator signs the very bytes that shall
//! be judged, and the kernel reads them like any record of the source. A job that died after it was released stands in
//! `dead` as its record from `approved`, whose ticket proves what it is.

use serde::{Deserialize, Serialize};

use crate::kept::{ExactJson, KeptBytes};

/// Largest command to redrive, bytes: a record of the largest size that a kernel keeps, escaped, fits.
pub const MAX_REDRIVE_BYTES: usize = 512 << 10;

/// What is to be judged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Redriven {
    /// A record as the source had it, or a corrected one.
    Record(RawRecord),
    /// A record from `approved.<pool>`, byte for byte.
    Work(ExactJson),
}

/// A record's value, key and headers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RawRecord {
    /// Its value.
    pub value: KeptBytes,
    /// Its key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<KeptBytes>,
    /// Its headers in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, KeptBytes)>,
}
