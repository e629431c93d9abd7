//! A record as a fact keeps it, and back: what a later verdict emits comes from here.

use bytes::Bytes;
use tidegate_protocol::decision::PayloadAt;
use tidegate_protocol::kept::{ExactJson, KeptBytes, KeptRecord};
use tidegate_spine::{Headers, Record};

/// A record that cannot be kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unkept {
    /// Its value is no JSON to everybody.
    #[error("the value cannot be kept: {0}")]
    NotJson(String),
}

/// The record as a fact keeps it, and where its payload stands in there.
pub(crate) fn keep(record: &Record, payload: PayloadAt) -> Result<(KeptRecord, PayloadAt), Unkept> {
    let value = record.value.as_deref().unwrap_or_default();
    let text = std::str::from_utf8(value).map_err(|error| Unkept::NotJson(error.to_string()))?;
    // What RawValue leaves out, so that places in the value move by it.
    let before = text.bytes().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n')).count();
    let kept = KeptRecord {
        value: ExactJson::new(text).map_err(|error| Unkept::NotJson(error.to_string()))?,
        key: record.key.as_deref().map(KeptBytes::new),
        headers: record.headers.iter().map(|(name, value)| (name.to_owned(), KeptBytes::new(value))).collect(),
    };
    Ok((kept, moved(payload, u32::try_from(before).unwrap_or(u32::MAX))))
}

fn moved(payload: PayloadAt, by: u32) -> PayloadAt {
    match payload {
        PayloadAt::None => PayloadAt::None,
        PayloadAt::Json(start, end) => PayloadAt::Json(start.saturating_sub(by), end.saturating_sub(by)),
        PayloadAt::Base64(start, end) => PayloadAt::Base64(start.saturating_sub(by), end.saturating_sub(by)),
        PayloadAt::Ref(start, end) => PayloadAt::Ref(start.saturating_sub(by), end.saturating_sub(by)),
    }
}

/// The record again. Its offset and timestamp are not kept: nothing that is emitted depends on them.
pub(crate) fn restored(kept: &KeptRecord) -> Record {
    let mut headers = Headers::with_capacity(kept.headers.len());
    for (name, value) in &kept.headers {
        headers.push(name.clone(), Bytes::copy_from_slice(value.get()));
    }
    Record {
        offset: 0,
        timestamp_ms: 0,
        key: kept.key.as_ref().map(|key| Bytes::copy_from_slice(key.get())),
        value: Some(Bytes::copy_from_slice(kept.value.get().as_bytes())),
        headers,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_comes_back_as_it_was_but_for_white_space_around_its_value() {
        let mut headers = Headers::new();
        headers.push("ce_id", "17");
        headers.push("ce_id", Bytes::from_static(b"\xff"));
        let value = "\n {\"payload\": [1,  2]} ";
        let record = Record {
            offset: 9,
            timestamp_ms: 5,
            key: Some(Bytes::from_static(b"k\xff")),
            value: Some(Bytes::from_static(value.as_bytes())),
            headers,
        };
        let start = u32::try_from(value.find('[').unwrap()).unwrap();
        let (kept, payload) = keep(&record, PayloadAt::Json(start, start + 7)).unwrap();
        let again = restored(&kept);
        assert_eq!(again.value.as_deref(), Some(value.trim().as_bytes()));
        assert_eq!((again.key, again.headers), (record.key, record.headers));
        let PayloadAt::Json(start, end) = payload else { panic!("{payload:?}") };
        assert_eq!(&kept.value.get()[start as usize..end as usize], "[1,  2]");
    }
}
