//! An approved record as the scheduler reads it: once, without its payload.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use tidegate_protocol::constraints::Budgets;
use tidegate_protocol::decision::Verdict;
use tidegate_protocol::ids::{Capability, JobId, TenantId};
use tidegate_protocol::job::{Job, Retry, SourcePosition};
use tidegate_protocol::outcome::DeadReason;
use tidegate_protocol::time::Timestamp;

use crate::lines::LineKey;
use crate::placement::Wish;

/// What a worker must offer: the job's capability and what it requires, sorted, each once.
pub(crate) type Requirement = Arc<[Capability]>;

/// A judged, allowed job with its record's exact text. Many of them wait: what few jobs say stands apart.
#[derive(Debug, Clone)]
pub(crate) struct Work {
    pub(crate) source: SourcePosition,
    pub(crate) alike: Arc<Alike>,
    terms: Option<Box<Terms>>,
    /// When its ticket expires; the end of time when it does not.
    pub(crate) expires: Timestamp,
    /// Where its id stands in the text, unless its terms have it.
    id_at: u32,
    /// How long it is there.
    id_len: u16,
    pub(crate) priority: u8,
    /// The kernel waits for its end.
    pub(crate) settles: bool,
    pub(crate) text: Arc<RawValue>,
}

/// What many jobs have in common.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Alike {
    pub(crate) tenant: TenantId,
    pub(crate) requirement: Requirement,
}

/// What a job may say, and most do not.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Terms {
    /// Its id, when the text has it in escapes alone.
    id: Option<JobId>,
    /// What it says of its worker's labels.
    pub(crate) wish: Option<Arc<Wish>>,
    pub(crate) deadline: Option<Timestamp>,
    /// It is not to start before.
    pub(crate) not_before: Option<Timestamp>,
    /// Jobs above it, that spawned it one by the other; 0 for a job of nobody else.
    pub(crate) depth: u32,
    /// Its tenant and ordering key, when it has one.
    pub(crate) line: Option<LineKey>,
    /// How it wants to be tried again.
    pub(crate) retry: Retry,
    /// Leases it had under earlier tickets.
    pub(crate) leases: u32,
    /// Those of them that count as failed attempts.
    pub(crate) strikes: u32,
    /// Longest run of one attempt.
    pub(crate) max_runtime: Option<Duration>,
    /// Most leases that may end badly, and one more.
    pub(crate) max_retries: Option<u32>,
    /// The number of its move, when it was read from `overflow`; else 0.
    pub(crate) moved: u64,
}

/// Those of a job that says nothing.
static USUAL: Terms = Terms {
    id: None,
    wish: None,
    deadline: None,
    not_before: None,
    depth: 0,
    line: None,
    retry: Retry { max_attempts: None, backoff_ms: None, max_backoff_ms: None },
    leases: 0,
    strikes: 0,
    max_runtime: None,
    max_retries: None,
    moved: 0,
};

/// A record that is no judged, allowed job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NotWork {
    pub(crate) reason: DeadReason,
    pub(crate) detail: String,
}

#[derive(Deserialize)]
struct Lean {
    v: u32,
    job: Job,
    decision: LeanDecision,
    #[serde(default, rename = "payload")]
    _payload: IgnoredAny,
}

#[derive(Deserialize)]
struct LeanDecision {
    verdict: Verdict,
    #[serde(default)]
    settles: bool,
    #[serde(default)]
    leases: u32,
    #[serde(default)]
    strikes: u32,
    #[serde(default)]
    expires_ms: Option<u64>,
    #[serde(default)]
    constraints: LeanConstraints,
}

#[derive(Default, Deserialize)]
struct LeanConstraints {
    #[serde(default)]
    budgets: Budgets,
}

impl Work {
    /// Reads a record's value.
    pub(crate) fn read(value: Option<&Bytes>) -> Result<Self, NotWork> {
        let no = |reason, detail: String| NotWork { reason, detail };
        let value = value.ok_or_else(|| no(DeadReason::NullValue, "the record has a null value".into()))?;
        let text = std::str::from_utf8(value).map_err(|error| no(DeadReason::Unparsable, error.to_string()))?;
        let text = RawValue::from_string(text.to_owned())
            .map_err(|error| no(DeadReason::Unparsable, format!("no JSON: {error}")))?;
        Self::of(Arc::from(text))
    }

    /// Reads a record's JSON text.
    pub(crate) fn of(text: Arc<RawValue>) -> Result<Self, NotWork> {
        let no = |reason, detail: String| NotWork { reason, detail };
        let lean: Lean = serde_json::from_str(text.get())
            .map_err(|error| no(DeadReason::InvalidField, format!("no judged job: {error}")))?;
        if lean.v != 1 {
            return Err(no(DeadReason::InvalidField, format!("format version {} is not known here", lean.v)));
        }
        match lean.decision.verdict {
            Verdict::Allow | Verdict::AllowWithConstraints => {}
            Verdict::RequireApproval | Verdict::Throttle | Verdict::Deny => {
                return Err(no(DeadReason::Forged, "its verdict is not allow".into()));
            }
        }
        let Job {
            id,
            tenant,
            capability,
            mut requires,
            priority,
            deadline,
            not_before,
            retry,
            delegation,
            ordering_key,
            select,
            prefer,
            source,
            ..
        } = lean.job;
        requires.push(capability);
        requires.sort_unstable();
        requires.dedup();
        let time = |ms: u64| Timestamp(ms.saturating_mul(1_000));
        let (deadline, not_before) = (deadline.map(time), not_before.map(time));
        let expires = lean.decision.expires_ms.map(time);
        let LeanDecision { settles, leases, strikes, constraints: LeanConstraints { budgets }, .. } = lean.decision;
        let (requirement, max_retries) = (requires.into(), budgets.max_retries);
        let max_runtime = budgets.max_runtime_ms.map(Duration::from_millis);
        // The same characters anywhere in the text do: it stands at the beginning of what a kernel writes.
        let place = place(text.get(), id.as_str());
        let (id_at, id_len) = place.unwrap_or_default();
        let terms = Terms {
            id: place.is_none().then_some(id),
            wish: (!select.is_empty() || !prefer.is_empty()).then(|| Arc::new(Wish { select, prefer })),
            deadline,
            not_before,
            depth: delegation.map_or(0, |delegation| delegation.depth()),
            line: ordering_key.map(|key| (tenant.clone(), key.into())),
            retry,
            leases,
            strikes,
            max_runtime,
            max_retries,
            moved: 0,
        };
        Ok(Self {
            source,
            alike: Arc::new(Alike { tenant, requirement }),
            id_at,
            id_len,
            terms: (terms != USUAL).then(|| Box::new(terms)),
            expires: expires.unwrap_or(Timestamp(u64::MAX)),
            priority,
            settles,
            text,
        })
    }

    /// The job's id as text.
    pub(crate) fn name(&self) -> &str {
        let (at, len) = (self.id_at as usize, usize::from(self.id_len));
        match &self.terms().id {
            Some(id) => id.as_str(),
            None => self.text.get().get(at..at + len).unwrap_or_default(),
        }
    }

    /// The job's id.
    pub(crate) fn id(&self) -> JobId {
        // These characters were read as an id, and the text does not change; a job without one is named by its position.
        JobId::new(self.name()).unwrap_or_else(|_| JobId::from(&self.source))
    }

    /// It was read from `overflow`, as the job of that number; 0: it was not.
    pub(crate) fn came_back(&mut self, number: u64) {
        if number > 0 {
            self.terms = Some(Box::new(Terms { moved: number, ..self.terms().clone() }));
        }
    }

    /// What it says beside what every job says.
    pub(crate) fn terms(&self) -> &Terms {
        self.terms.as_deref().unwrap_or(&USUAL)
    }

    /// Bytes of its record.
    pub(crate) fn bytes(&self) -> usize {
        self.text.get().len()
    }
}

/// Where `id` stands in `text`, and how long it is.
fn place(text: &str, id: &str) -> Option<(u32, u16)> {
    Some((u32::try_from(text.find(id)?).ok()?, u16::try_from(id.len()).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver;

    #[test]
    fn the_id_is_read_from_the_text_and_held_apart_when_it_stands_there_in_escapes() {
        let named = |id: &str| Work::read(Some(&driver::approved(&driver::job(id, 7), r#"{"b":1}"#))).unwrap();
        for id in ["a", "v", "job", "j-1", "größe", "a b:c"] {
            let work = named(id);
            assert_eq!((work.name(), work.id().as_str(), work.terms.is_none()), (id, id, true));
        }
        let work = named(r#"a"b\c"#);
        assert_eq!((work.name(), work.id().as_str()), (r#"a"b\c"#, r#"a"b\c"#));
        let mut back = work.clone();
        back.came_back(3);
        assert_eq!((back.name(), back.terms().moved), (work.name(), 3));
    }

    #[test]
    fn a_job_that_says_nothing_of_its_own_is_small() {
        assert!(size_of::<Work>() <= 80, "{} bytes", size_of::<Work>());
    }

    #[test]
    fn an_allowed_job_is_read_and_its_text_kept_exactly() {
        let mut job = driver::job("a", 7);
        job.requires = vec![Capability::new("gpu").unwrap(), Capability::new("echo").unwrap()];
        let value = driver::approved(&job, r#"{ "b" : 1.0 }"#);
        let work = Work::read(Some(&value)).unwrap();
        assert_eq!(work.alike.requirement.iter().map(Capability::as_str).collect::<Vec<_>>(), ["echo", "gpu"]);
        assert_eq!(work.text.get().as_bytes(), &value[..]);
        assert_eq!((work.name(), work.source.offset), ("a", 7));
    }

    #[test]
    fn what_is_no_allowed_job_is_refused_with_its_reason() {
        let reason = |value: Option<&[u8]>| {
            let value = value.map(Bytes::copy_from_slice);
            Work::read(value.as_ref()).map(|_| ()).unwrap_err().reason
        };
        let good = driver::approved(&driver::job("a", 1), "1");
        let denied = String::from_utf8(good.to_vec()).unwrap().replace(r#""verdict":"allow""#, r#""verdict":"deny""#);
        assert_eq!(reason(None), DeadReason::NullValue);
        assert_eq!(reason(Some(b"\xff")), DeadReason::Unparsable);
        assert_eq!(reason(Some(&good[..40])), DeadReason::Unparsable);
        assert_eq!(reason(Some(b"{}")), DeadReason::InvalidField);
        assert_eq!(reason(Some(denied.as_bytes())), DeadReason::Forged);
        let newer = String::from_utf8(good.to_vec()).unwrap().replace(r#""v":1"#, r#""v":2"#);
        assert_eq!(reason(Some(newer.as_bytes())), DeadReason::InvalidField);
    }
}
