//! `Idempotency-Key` of a submission: the id of the one job it brings. The kernel knows a job by tenant and id, so the same key
//! sent again runs nothing twice; a key that says otherwise than the job does is refused instead of being passed over.

use axum::http::HeaderMap;
use bytes::Bytes;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use tidegate_protocol::ids::JobId;

use super::answer::Refused;

/// The header.
const NAME: &str = "idempotency-key";

/// What a job says of its id, `null` included.
#[derive(Deserialize)]
struct Named {
    #[serde(default, deserialize_with = "stands")]
    id: Option<Box<RawValue>>,
}

fn stands<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(from).map(Some)
}

fn bad(detail: impl Into<String>) -> Refused {
    Refused::bad_request(
        "bad_idempotency_key",
        detail,
        "send one, which can be a job's id: 1 to 256 bytes of text, in double quotes or without",
    )
}

/// The key, if there is one: as it stands, or between double quotes, without escapes.
pub(super) fn key_of(headers: &HeaderMap) -> Result<Option<JobId>, Refused> {
    let mut values = headers.get_all(NAME).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(bad("`Idempotency-Key` stands there more than once"));
    }
    let text = std::str::from_utf8(value.as_bytes()).map_err(|_| bad("`Idempotency-Key` is no text"))?.trim();
    let inner = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    if inner.is_some_and(|inner| inner.contains(['"', '\\'])) || (inner.is_none() && text.starts_with('"')) {
        return Err(bad("`Idempotency-Key` is no string between double quotes without escapes"));
    }
    JobId::new(inner.unwrap_or(text)).map(Some).map_err(|error| bad(error.to_string()))
}

/// There are several jobs, of which none can have it.
pub(super) fn of_several() -> Refused {
    Refused::bad_request(
        "idempotency_key_of_several",
        "`Idempotency-Key` is the id of one job, and the body has several",
        "give each job an `id` of its own instead, or send them one at a time",
    )
}

/// The source's records have their ids elsewhere, or none.
pub(super) fn not_read() -> Refused {
    Refused::bad_request(
        "idempotency_key_not_read",
        "`Idempotency-Key` is the `id` of a job's envelope, which records of this source do not have",
        "name the record as the source's `mapping` says, or submit to a source of jobs",
    )
}

/// The job with this id: nothing else of it changes, byte for byte. What is no job is left for the submitter to refuse.
///
/// # Errors
/// When it says another id.
pub(super) fn with_id(job: Bytes, key: &JobId) -> Result<Bytes, Refused> {
    let begin = job.len() - job.trim_ascii_start().len();
    // A list would be read as an object without names.
    let Some(b'{') = job.get(begin) else { return Ok(job) };
    let Ok(Named { id }) = serde_json::from_slice::<Named>(&job) else { return Ok(job) };
    if let Some(id) = id {
        return match serde_json::from_str::<String>(id.get()) {
            Ok(id) if id == key.as_str() => Ok(job),
            _ => Err(Refused::bad_request(
                "idempotency_key_contradicts",
                format!("`Idempotency-Key` is `{key}`, and the job's `id` is {}", cut(id.get())),
                "send one of both, or both the same",
            )),
        };
    }
    let (before, members) = job.split_at(begin + 1);
    let Ok(id) = serde_json::to_string(key.as_str()) else { return Ok(job) };
    let is_empty = members.trim_ascii_start().starts_with(b"}");
    let comma: &[u8] = if is_empty { b"" } else { b"," };
    Ok(Bytes::from([before, b"\"id\":", id.as_bytes(), comma, members].concat()))
}

fn cut(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn key(values: &[&[u8]]) -> Result<Option<String>, String> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(NAME, HeaderValue::from_bytes(value).unwrap());
        }
        key_of(&headers).map(|key| key.map(String::from)).map_err(|refused| refused.into_body().detail)
    }

    #[test]
    fn a_key_is_taken_as_it_stands_or_between_quotes() {
        assert_eq!(key(&[]), Ok(None));
        for value in [&b"pay-7"[..], b"\"pay-7\"", b"  pay-7 "] {
            assert_eq!(key(&[value]), Ok(Some("pay-7".into())));
        }
        assert_eq!(key(&["zahlung-ä".as_bytes()]), Ok(Some("zahlung-ä".into())));
        for (values, expected) in [
            (&[&b"a"[..], b"a"][..], "more than once"),
            (&[b"\xff"], "no text"),
            (&[b""], "job id ``"),
            (&[b"\"\""], "job id ``"),
            (&[b"\"a"], "between double quotes"),
            (&[b"\"a\\\"b\""], "without escapes"),
            (&[&[b'x'; 257]], "is not 1 to 256 bytes"),
        ] {
            let refused = key(values).unwrap_err();
            assert!(refused.contains(expected), "{refused}");
        }
    }

    #[test]
    fn a_job_gets_the_id_and_changes_in_nothing_else() {
        let key = JobId::new("a\"b").unwrap();
        for (job, with) in [
            (r" { }", r#" {"id":"a\"b" }"#),
            (r#"{"payload": {"id": 1.0}}"#, r#"{"id":"a\"b","payload": {"id": 1.0}}"#),
            ("{\n \"tenant\":\"t\"}", "{\"id\":\"a\\\"b\",\n \"tenant\":\"t\"}"),
            (r#"{"id":"a\u0022b"}"#, r#"{"id":"a\u0022b"}"#),
            // No job: said by who reads it next.
            ("[1]", "[1]"),
            (r#"{"id":"#, r#"{"id":"#),
            (r#"{"id":"x","id":"x"}"#, r#"{"id":"x","id":"x"}"#),
        ] {
            assert_eq!(with_id(Bytes::from(job), &key).unwrap(), with.as_bytes(), "{job}");
        }
    }

    #[test]
    fn a_job_that_says_another_id_or_none_on_purpose_is_refused() {
        for id in [r#""b""#, "null", "7", r#"["a"]"#] {
            let job = format!(r#"{{"tenant":"t","id":{id}}}"#);
            let refused = with_id(Bytes::from(job), &JobId::new("a").unwrap()).unwrap_err().into_body();
            assert_eq!(refused.error, "idempotency_key_contradicts");
            assert!(refused.detail.contains(id), "{}", refused.detail);
        }
    }
}
