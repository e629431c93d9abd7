//! Headers that make a record of ours a CloudEvent (1.0, binary mode of the Kafka binding), for consumers who know nothing else of us.
//!
//! | header | is |
//! |---|---|
//! | `ce_specversion` | `1.0` |
//! | `ce_id` | source position, kind and time: the same when the record is sent once more, and of no other |
//! | `ce_source` | `/tidegate/<source>` |
//! | `ce_type` | `tidegate.job.denied`, `tidegate.job.finished` |
//! | `ce_subject`, `ce_tenant` | the job's id and tenant |
//! | `ce_time` | when it was decided or ended, RFC 3339 |
//! | `content-type` | `application/json` |
//! | `ce_causesource`, `ce_causeid` | of a job that was a CloudEvent itself: that one |

use crate::ids::{JobId, TenantId};
use crate::job::SourcePosition;
use crate::time::Timestamp;

/// What happened to a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It was denied.
    Denied,
    /// It ended, however that was.
    Finished,
}

impl Kind {
    const fn word(self) -> &'static str {
        match self {
            Self::Denied => "denied",
            Self::Finished => "finished",
        }
    }
}

/// Longest headers of one event, bytes of names and values; what a submitter may choose of them is bounded by its own rules.
pub const MOST_BYTES: usize = 2_048;

/// The headers of an event about a job, in this order. What they say of a fact never changes.
pub fn headers(
    kind: Kind,
    source: &SourcePosition,
    id: &JobId,
    tenant: &TenantId,
    at: Timestamp,
) -> impl Iterator<Item = (&'static str, String)> + use<> {
    let word = kind.word();
    [
        ("ce_specversion", "1.0".to_owned()),
        ("ce_id", format!("{source}.{word}.{}", at.0)),
        ("ce_source", format!("/tidegate/{}", source.source)),
        ("ce_type", format!("tidegate.job.{word}")),
        ("ce_subject", id.to_string()),
        ("ce_tenant", tenant.to_string()),
        ("ce_time", at.rfc3339()),
        ("content-type", "application/json".to_owned()),
    ]
    .into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_says_what_happened_to_which_job_and_when() {
        let (id, tenant) = (JobId::new("j1").unwrap(), TenantId::new("acme").unwrap());
        let at = Timestamp(1_700_000_000_123_456);
        let made = headers(Kind::Finished, &"jobs.raw/0@7".parse().unwrap(), &id, &tenant, at);
        assert_eq!(
            made.map(|(name, value)| format!("{name}: {value}")).collect::<Vec<_>>(),
            [
                "ce_specversion: 1.0",
                "ce_id: jobs.raw/0@7.finished.1700000000123456",
                "ce_source: /tidegate/jobs.raw",
                "ce_type: tidegate.job.finished",
                "ce_subject: j1",
                "ce_tenant: acme",
                "ce_time: 2023-11-14T22:13:20.123456Z",
                "content-type: application/json",
            ]
        );
    }
}
