//! One record as bytes in a segment file.
//!
//! `length u32 | crc32 of the body u32 | body`, little-endian; the body is `offset u64 | timestamp i64 | key length
//! u32 | value length u32 | number of headers u32 | (name length u32, value length u32) of each | names and values |
//! key | value`. A length of `u32::MAX` stands for "null". Zeroes are not a frame, because a body is never empty.

use std::borrow::Cow;

use bytes::{Buf, Bytes};
use tidegate_protocol::address::Offset;
use tidegate_spine::{Headers, NewRecord, Record};

/// Length and checksum.
pub(crate) const PREFIX: usize = 8;
/// Body without headers, key and value.
const FIXED: usize = 28;
const NULL: u32 = u32::MAX;

/// What stands at the beginning of some bytes of a file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Front {
    /// A frame whose checksum holds; its length with the prefix.
    Whole(usize),
    /// The beginning of a frame of this length; the rest is not in the bytes.
    Part(usize),
    /// Not a frame.
    Bad,
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map(u32::from_le_bytes)
}

/// Looks at the frame that `bytes` begin with. `largest` bounds what a length field is believed.
pub(crate) fn front(bytes: &[u8], largest: usize) -> Front {
    let (Some(length), Some(crc)) = (u32_at(bytes, 0), u32_at(bytes, 4)) else { return Front::Part(PREFIX) };
    let length = length as usize;
    if length < FIXED || length > largest {
        return Front::Bad;
    }
    match bytes.get(PREFIX..PREFIX + length) {
        None => Front::Part(PREFIX + length),
        Some(body) if crc32fast::hash(body) == crc => Front::Whole(PREFIX + length),
        Some(_) => Front::Bad,
    }
}

/// The offset and timestamp of a whole frame.
pub(crate) fn stamp(frame: &[u8]) -> Option<(Offset, i64)> {
    let mut body = frame.get(PREFIX..PREFIX + 16)?;
    Some((body.get_u64_le(), body.get_i64_le()))
}

fn length_of(bytes: Option<&Bytes>) -> u32 {
    bytes.map_or(NULL, |b| u32::try_from(b.len()).unwrap_or(NULL))
}

/// Appends the frame of `record` to `out`. Sizes are below `u32::MAX`: topics take no records that large.
pub(crate) fn encode(record: &NewRecord, offset: Offset, timestamp_ms: i64, out: &mut Vec<u8>) {
    let length = FIXED + 8 * record.headers.len() + record.bytes();
    let begin = out.len();
    out.reserve(PREFIX + length);
    out.extend_from_slice(&u32::try_from(length).unwrap_or(NULL).to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&offset.to_le_bytes());
    out.extend_from_slice(&timestamp_ms.to_le_bytes());
    out.extend_from_slice(&length_of(record.key.as_ref()).to_le_bytes());
    out.extend_from_slice(&length_of(record.value.as_ref()).to_le_bytes());
    out.extend_from_slice(&u32::try_from(record.headers.len()).unwrap_or(NULL).to_le_bytes());
    for (name, value) in record.headers.iter() {
        out.extend_from_slice(&u32::try_from(name.len()).unwrap_or(NULL).to_le_bytes());
        out.extend_from_slice(&u32::try_from(value.len()).unwrap_or(NULL).to_le_bytes());
    }
    for (name, value) in record.headers.iter() {
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(value);
    }
    out.extend_from_slice(record.key.as_deref().unwrap_or_default());
    out.extend_from_slice(record.value.as_deref().unwrap_or_default());
    let crc = out.get(begin + PREFIX..).map_or(0, crc32fast::hash);
    if let Some(place) = out.get_mut(begin + 4..begin + PREFIX) {
        place.copy_from_slice(&crc.to_le_bytes());
    }
}

/// The record of a whole frame. Its bytes are copied once, so that a kept record does not keep a whole chunk.
pub(crate) fn decode(frame: &[u8]) -> Option<Record> {
    let mut body = Bytes::copy_from_slice(frame.get(PREFIX..)?);
    let fixed = body.get(..FIXED)?;
    let (offset, timestamp_ms) = stamp(frame)?;
    let (key, value, count) = (u32_at(fixed, 16)?, u32_at(fixed, 20)?, u32_at(fixed, 24)? as usize);
    body.advance(FIXED);
    if body.len() / 8 < count {
        return None;
    }
    let mut lengths = body.split_to(8 * count);
    let take = |body: &mut Bytes, length: u32| {
        let length = length as usize;
        (length <= body.len()).then(|| body.split_to(length))
    };
    let mut headers = Headers::with_capacity(count);
    for _ in 0..count {
        let (name, value) = (lengths.get_u32_le(), lengths.get_u32_le());
        let name = take(&mut body, name)?;
        headers.push(Cow::Owned(String::from_utf8(name.to_vec()).ok()?), take(&mut body, value)?);
    }
    let key = if key == NULL { None } else { Some(take(&mut body, key)?) };
    let value = if value == NULL { None } else { Some(take(&mut body, value)?) };
    Some(Record { offset, timestamp_ms, key, value, headers })
}

/// Key of a whole frame and whether its value is null, without copying; `None` when it has no key.
pub(crate) fn key_of(frame: &[u8]) -> Option<(&[u8], bool)> {
    let body = frame.get(PREFIX..)?;
    let (key, value, count) = (u32_at(body, 16)?, u32_at(body, 20)?, u32_at(body, 24)? as usize);
    if key == NULL {
        return None;
    }
    let value_bytes = if value == NULL { 0 } else { value as usize };
    let end = body.len().checked_sub(value_bytes)?;
    let begin = end.checked_sub(key as usize)?;
    (begin >= FIXED + 8 * count).then(|| body.get(begin..end)).flatten().map(|key| (key, value == NULL))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> NewRecord {
        let mut headers = Headers::new();
        headers.push("a", Bytes::from_static(b"1"));
        headers.push("a", Bytes::new());
        NewRecord { key: Some(Bytes::from_static(b"key")), value: Some(Bytes::from_static(b"value")), headers }
    }

    #[test]
    fn a_record_comes_back_as_it_was() {
        for record in [sample(), NewRecord::default(), NewRecord { value: None, ..sample() }] {
            let mut bytes = Vec::new();
            encode(&record, 7, -3, &mut bytes);
            assert_eq!(front(&bytes, 1000), Front::Whole(bytes.len()));
            let back = decode(&bytes).unwrap();
            assert_eq!((back.offset, back.timestamp_ms), (7, -3));
            assert_eq!((&back.key, &back.value, &back.headers), (&record.key, &record.value, &record.headers));
            let key = record.key.as_ref().map(|k| (k.as_ref(), record.value.is_none()));
            assert_eq!(key_of(&bytes), key);
        }
    }

    #[test]
    fn every_cut_and_every_flipped_bit_is_noticed() {
        let mut bytes = Vec::new();
        encode(&sample(), 1, 2, &mut bytes);
        for cut in 0..bytes.len() {
            assert!(matches!(front(&bytes[..cut], 1000), Front::Part(n) if n > cut), "cut at {cut}");
        }
        for bit in 0..bytes.len() * 8 {
            let mut broken = bytes.clone();
            broken[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(front(&broken, 1000), Front::Whole(bytes.len()), "bit {bit}");
        }
        assert_eq!(front(&[0; 64], 1000), Front::Bad);
    }
}
