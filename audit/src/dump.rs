//! A log as a file: lines of JSON, the first a header, the rest records.
//!
//! ```json
//! {"tidegate_dump":1,"partitions":[{"topic":"t.decisions.raw","partition":0,"source":"raw","start":0,"end":812}]}
//! {"topic":"t.decisions.raw","partition":0,"offset":0,"timestamp_ms":1700000000000,"key":"…","headers":[["tg-kind","…"]],"value":"…"}
//! ```
//!
//! Key, header values and value are base64 (RFC 4648, with padding), null where the record has none. `source` is there on
//! the partitions of `decisions.<source>`, not on those of `audit.checkpoints`. Records of a partition stand in order of
//! offset; partitions may be mixed. Nothing in a dump needs to be believed: signatures say what is genuine.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tidegate_protocol::address::{Offset, TopicName, TopicPartition};
use tidegate_protocol::ids::SourceName;
use tidegate_spine::{Headers, Record};

/// The version written here.
pub const VERSION: u32 = 1;

/// The longest line that is read, bytes: far above the largest record a broker takes, in base64.
pub const LONGEST_LINE: usize = 256 << 20;

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// Format version, 1.
    pub tidegate_dump: u32,
    /// What is in it.
    pub partitions: Vec<Dumped>,
}

/// A partition in a dump.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dumped {
    /// The topic's full name.
    pub topic: TopicName,
    /// Its partition.
    pub partition: u32,
    /// The source whose decisions they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<SourceName>,
    /// The first offset that was there.
    pub start: Offset,
    /// One above the last.
    pub end: Offset,
}

/// A record's line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    #[serde(borrow)]
    topic: Cow<'a, str>,
    partition: u32,
    offset: Offset,
    timestamp_ms: i64,
    #[serde(borrow)]
    key: Option<Cow<'a, str>>,
    #[serde(borrow)]
    headers: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    #[serde(borrow)]
    value: Option<Cow<'a, str>>,
}

/// A line that is none of a dump.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct BadLine {
    /// What is wrong.
    pub reason: String,
}

impl BadLine {
    fn new(reason: impl ToString) -> Self {
        Self { reason: reason.to_string() }
    }
}

impl Header {
    /// Its line, without the line's end.
    ///
    /// # Errors
    /// When it has no JSON text.
    pub fn write(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }

    /// Reads the first line.
    ///
    /// # Errors
    /// [`BadLine`].
    pub fn read(line: &str) -> Result<Self, BadLine> {
        let header: Self = serde_json::from_str(line)
            .map_err(|error| BadLine::new(format!("it is not the header of a dump: {error}")))?;
        if header.tidegate_dump == VERSION {
            Ok(header)
        } else {
            let written = header.tidegate_dump;
            Err(BadLine::new(format!("the dump has version {written}, and this program reads version {VERSION}")))
        }
    }
}

/// A record's line, without the line's end.
///
/// # Errors
/// When it has no JSON text.
pub fn write(at: &TopicPartition, record: &Record) -> Result<String, serde_json::Error> {
    let text = |bytes: &Bytes| Cow::Owned(STANDARD.encode(bytes));
    serde_json::to_string(&Line {
        topic: at.topic.as_str().into(),
        partition: at.partition,
        offset: record.offset,
        timestamp_ms: record.timestamp_ms,
        key: record.key.as_ref().map(text),
        headers: record.headers.iter().map(|(name, value)| (name.into(), text(value))).collect(),
        value: record.value.as_ref().map(text),
    })
}

/// Reads a record's line.
///
/// # Errors
/// [`BadLine`].
pub fn read(line: &str) -> Result<(TopicPartition, Record), BadLine> {
    let line: Line<'_> = serde_json::from_str(line).map_err(BadLine::new)?;
    let bytes = |text: &str| STANDARD.decode(text).map(Bytes::from).map_err(BadLine::new);
    let headers = line.headers.iter().map(|(name, value)| Ok((name.to_string(), bytes(value)?)));
    let headers: Headers = headers.collect::<Result<Vec<_>, BadLine>>()?.into_iter().collect();
    let record = Record {
        offset: line.offset,
        timestamp_ms: line.timestamp_ms,
        key: line.key.as_deref().map(bytes).transpose()?,
        value: line.value.as_deref().map(bytes).transpose()?,
        headers,
    };
    let topic = TopicName::new(&line.topic).map_err(BadLine::new)?;
    Ok((topic.partition(line.partition), record))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let at = TopicName::new("t.decisions.raw").unwrap().partition(3);
        let headers = [("tg-kind", Bytes::from_static(b"group")), ("x", Bytes::from_static(b"\xff\n"))];
        let full = Record {
            offset: 7,
            timestamp_ms: -1,
            key: Some(Bytes::from_static(b"kernel.raw/3")),
            value: Some(Bytes::from_static(b"{\"v\":\"\xc3\xa9\"}\x00")),
            headers: headers.into_iter().collect(),
        };
        let empty = Record { offset: 8, timestamp_ms: 0, key: None, value: None, headers: Headers::new() };
        for record in [full, empty] {
            let line = write(&at, &record).unwrap();
            assert!(!line.contains('\n'));
            assert_eq!(read(&line).unwrap(), (at.clone(), record));
        }
    }

    #[test]
    fn what_was_written_is_read_for_ever() {
        let line = r#"{"topic":"t.decisions.raw","partition":3,"offset":7,"timestamp_ms":5,"key":"aw==","headers":[["tg-kind","Z3JvdXA="]],"value":null}"#;
        let (at, record) = read(line).unwrap();
        assert_eq!(write(&at, &record).unwrap(), line);
        let header = r#"{"tidegate_dump":1,"partitions":[{"topic":"t.decisions.raw","partition":3,"source":"raw","start":0,"end":8}]}"#;
        assert_eq!(Header::read(header).unwrap().write().unwrap(), header);
    }

    #[test]
    fn lines_that_are_none_are_refused() {
        for bad in [
            "",
            "{}",
            r#"{"topic":"a b","partition":0,"offset":0,"timestamp_ms":0,"key":null,"headers":[],"value":null}"#,
            r#"{"topic":"t","partition":0,"offset":0,"timestamp_ms":0,"key":"%","headers":[],"value":null}"#,
            r#"{"topic":"t","partition":0,"offset":0,"timestamp_ms":0,"key":null,"headers":[],"value":null,"x":1}"#,
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
        assert!(Header::read(r#"{"tidegate_dump":2,"partitions":[]}"#).unwrap_err().reason.contains("version 2"));
    }
}
