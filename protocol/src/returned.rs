//! A job on its way back: its ticket expired before a worker could have it.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::decision::{Decision, PayloadAt};
use crate::job::{Job, SourcePosition};
use crate::time::Timestamp;

/// The scheduler to the kernel that decided, on `outcomes.<source>`: judge this job again.
#[derive(Debug, Serialize, Deserialize)]
pub struct JobReturned<'a> {
    /// Format version, 1.
    pub v: u32,
    /// Which, and how far it came.
    pub returned: Returned,
    /// Its record from `approved.<pool>`, byte for byte, so with the ticket that has expired.
    #[serde(borrow)]
    pub work: &'a RawValue,
}

/// What a scheduler says about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Returned {
    /// The job.
    pub source: SourcePosition,
    /// Leases it had.
    pub attempts: u32,
    /// Attempts that count as failed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub strikes: u32,
    /// When the scheduler decided so.
    pub at: Timestamp,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// What its record says.
#[derive(Debug)]
pub struct Work {
    /// The job.
    pub job: Job,
    /// The decision that released it.
    pub decision: Decision,
    /// Where its payload stands in the record's text; `null` is none.
    pub payload: PayloadAt,
}

impl Work {
    /// Reads the text of a record from `approved.<pool>`.
    ///
    /// # Errors
    /// When it is none.
    pub fn read(text: &str) -> Result<Self, serde_json::Error> {
        #[derive(Deserialize)]
        struct Read<'a> {
            job: Job,
            decision: Decision,
            #[serde(borrow, default)]
            payload: Option<&'a RawValue>,
            #[serde(borrow, default)]
            payload_base64: Option<&'a RawValue>,
            #[serde(borrow, default)]
            payload_ref: Option<&'a RawValue>,
        }
        let Read { job, decision, payload, payload_base64, payload_ref } = serde_json::from_str(text)?;
        // Borrowed from `text`, so each of them stands in it.
        let place = |part: &RawValue| {
            let start = part.get().as_ptr().addr().saturating_sub(text.as_ptr().addr());
            let place = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
            (place(start), place(start.saturating_add(part.get().len())))
        };
        let payload = match (payload.map(place), payload_base64.map(place), payload_ref.map(place)) {
            (_, _, Some((start, end))) => PayloadAt::Ref(start, end),
            (Some((start, end)), _, None) => PayloadAt::Json(start, end),
            (None, Some((start, end)), None) => PayloadAt::Base64(start, end),
            (None, None, None) => PayloadAt::None,
        };
        Ok(Self { job, decision, payload })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision::{Judged, Verdict};

    fn job() -> Job {
        serde_json::from_value(serde_json::json!({
            "id": "a", "tenant": "acme", "topic": "job.pay", "capability": "pay", "source": "jobs/0@7",
            "input_hash": "00".repeat(32), "submitted_ms": 1,
        }))
        .unwrap()
    }

    #[test]
    fn the_payload_is_found_where_it_stands() {
        let decision = Decision::new(Verdict::Allow, "r", "s");
        let value = br#"{"payload": {"n":  1.50}, "payload_base64": "aGk=", "payload_ref": {"bytes": 7}}"#;
        for (at, text) in [
            (PayloadAt::None, None),
            (PayloadAt::Json(12, 24), Some(r#"{"n":  1.50}"#)),
            (PayloadAt::Base64(44, 50), Some(r#""aGk=""#)),
            (PayloadAt::Ref(67, 79), Some(r#"{"bytes": 7}"#)),
        ] {
            let record = String::from_utf8(Judged::encode(&job(), &decision, at, value).unwrap()).unwrap();
            let work = Work::read(&record).unwrap();
            let found = match work.payload {
                PayloadAt::None => None,
                PayloadAt::Json(start, end) | PayloadAt::Base64(start, end) | PayloadAt::Ref(start, end) => {
                    record.get(start as usize..end as usize)
                }
            };
            assert_eq!((found, work.job, work.decision), (text, job(), decision.clone()));
            assert_eq!(std::mem::discriminant(&work.payload), std::mem::discriminant(&at));
        }
        Work::read("{}").unwrap_err();
    }
}
