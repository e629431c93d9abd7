//! Claim-check: payloads that are too large for the log are put beside it before the job is written, and a reference goes
//! onto the log in their place (`payload_ref`). Nothing else of the job changes, byte for byte.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use tidegate_blobs::{NotKept, Store, check_in};
use tidegate_protocol::ids::TenantId;

use crate::submit::NotSubmitted;

/// Payloads put at once, of one request.
const AT_ONCE: usize = 4;

/// Where large payloads go, and which are.
#[derive(Debug, Clone)]
pub struct ClaimCheck {
    store: Arc<dyn Store>,
    above: usize,
    max_depth: usize,
}

/// A job's members as they stand, in order.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Members<'de>, M::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry::<String, &RawValue>()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        from.deserialize_map(Read)
    }
}

impl ClaimCheck {
    /// Payloads of more than `above` bytes go to `store`, unless the job with them is nested deeper than `max_depth`, as its
    /// source allows: such a one is left as it is, so that whoever judges it sees what it is.
    #[must_use]
    pub const fn new(store: Arc<dyn Store>, above: usize, max_depth: usize) -> Self {
        Self { store, above, max_depth }
    }

    /// The jobs as they go onto the log, in order.
    pub(crate) async fn check_in(&self, jobs: Vec<Bytes>) -> Vec<Result<Bytes, NotSubmitted>> {
        futures::stream::iter(jobs).map(|job| self.one(job)).buffered(AT_ONCE).collect().await
    }

    async fn one(&self, job: Bytes) -> Result<Bytes, NotSubmitted> {
        if job.len() <= self.above {
            return Ok(job);
        }
        // What is no job, or not clear, is told by whoever reads it next.
        let Ok(Members(members)) = serde_json::from_slice(&job) else { return Ok(job) };
        let is = |wanted: &'static str| move |(name, _): &&(String, &RawValue)| name == wanted;
        let payloads: Vec<_> = members.iter().filter(|(name, _)| name.starts_with("payload")).collect();
        let [(name, payload)] = payloads[..] else { return Ok(job) };
        let base64 = match name.as_str() {
            "payload" => false,
            "payload_base64" => true,
            _ => return Ok(job),
        };
        let tenant = members.iter().find(is("tenant")).and_then(|(_, text)| serde_json::from_str(text.get()).ok());
        let Some(tenant) = tenant.and_then(|tenant: String| TenantId::new(tenant).ok()) else { return Ok(job) };
        if payload.get().len() <= self.above || depth(payload.get()) >= self.max_depth {
            return Ok(job);
        }
        let kept = check_in(&*self.store, &tenant, Bytes::copy_from_slice(payload.get().as_bytes()), base64).await;
        let reference = kept.map_err(|error| match error {
            NotKept::TooLarge { bytes, limit } => NotSubmitted::TooLarge { bytes, limit },
            NotKept::Store(error) => NotSubmitted::NotKept(error),
        })?;
        let reference = serde_json::value::to_raw_value(&reference);
        let written = reference.and_then(|reference| {
            let mut text = String::from("{");
            for (name, value) in members.iter().filter(|(name, _)| !name.starts_with("payload")) {
                text.push_str(&serde_json::to_string(name)?);
                text.push(':');
                text.push_str(value.get());
                text.push(',');
            }
            text.push_str("\"payload_ref\":");
            text.push_str(reference.get());
            text.push('}');
            Ok(text)
        });
        written.map(Bytes::from).map_err(|error| NotSubmitted::NotAnObject { reason: error.to_string() })
    }
}

/// How deep a JSON text is nested.
fn depth(json: &str) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Mutex;

    use futures::future::BoxFuture;
    use serde_json::json;
    use tidegate_blobs::{Name, StoreError};

    use super::*;

    #[derive(Debug, Default)]
    struct Shelf {
        kept: Mutex<HashMap<String, Bytes>>,
        away: bool,
    }

    impl Store for Shelf {
        fn max_bytes(&self) -> usize {
            1_000
        }
        fn put<'a>(&'a self, name: &'a Name, payload: Bytes) -> BoxFuture<'a, Result<(), StoreError>> {
            self.kept.lock().unwrap().insert(format!("{}/{}", name.tenant, name.payload), payload);
            Box::pin(async { if self.away { Err(StoreError { reason: "gone".into() }) } else { Ok(()) } })
        }
        fn get<'a>(&'a self, _: &'a Name, _: usize) -> BoxFuture<'a, Result<Option<Bytes>, StoreError>> {
            Box::pin(async { Ok(None) })
        }
    }

    fn checked(shelf: &Arc<Shelf>, job: &str) -> Result<String, NotSubmitted> {
        let check = ClaimCheck::new(Arc::clone(shelf) as Arc<dyn Store>, 100, 64);
        let mut jobs = futures::executor::block_on(async {
            // A pending timer needs a runtime; these stores answer at once.
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            runtime.block_on(check.check_in(vec![Bytes::from(job.to_owned())]))
        });
        jobs.remove(0).map(|bytes| String::from_utf8(bytes.to_vec()).unwrap())
    }

    #[test]
    fn a_large_payload_is_put_and_everything_else_stays_as_it_was() {
        let shelf = Arc::new(Shelf::default());
        let payload = format!("{{\"n\":  1.50, \"t\":\"{}\"}}", "x".repeat(200));
        let job =
            format!("{{ \"id\" : \"a\", \"payload\": {payload}, \"tenant\":\"acme\", \"labels\":{{\"k\":  \"v\"}} }}");
        let written = checked(&shelf, &job).unwrap();
        assert!(
            written.starts_with(r#"{"id":"a","tenant":"acme","labels":{"k":  "v"},"payload_ref":{"bytes":"#),
            "{written}"
        );
        let job: serde_json::Value = serde_json::from_str(&written).unwrap();
        assert_eq!(job["payload_ref"]["bytes"], json!(payload.len()));
        let kept = shelf.kept.lock().unwrap();
        let (name, bytes) = kept.iter().next().unwrap();
        assert_eq!(&bytes[..], payload.as_bytes(), "exactly as it stood");
        assert!(name.ends_with(job["payload_ref"]["sha256"].as_str().unwrap()));
    }

    #[test]
    fn what_is_small_or_unclear_is_left_to_the_kernel() {
        let shelf = Arc::new(Shelf::default());
        let long = "x".repeat(200);
        for job in [
            json!({"tenant": "acme", "payload": "small"}),
            json!({"payload": long}),
            json!({"tenant": 7, "payload": long}),
            json!({"tenant": "acme", "payload": long, "payload_base64": "aGk="}),
            json!({"tenant": "acme", "payload_ref": {"bytes": 1}, "labels": {"l": long}}),
            json!({"tenant": "acme", "labels": {"l": long}, "payload": 1}),
        ] {
            assert_eq!(checked(&shelf, &job.to_string()).unwrap(), job.to_string());
        }
        let large = json!({"tenant": "acme", "payload": "x".repeat(2_000)}).to_string();
        assert!(matches!(checked(&shelf, &large), Err(NotSubmitted::TooLarge { bytes: 2_002, limit: 1_000 })));
        assert!(shelf.kept.lock().unwrap().is_empty());
        let away = Arc::new(Shelf { away: true, ..Shelf::default() });
        let job = json!({"tenant": "acme", "payload_base64": long}).to_string();
        assert!(matches!(checked(&away, &job), Err(NotSubmitted::NotKept(_))));
    }

    #[tokio::test]
    async fn what_is_nested_deeper_than_its_source_allows_is_left_for_the_kernel_to_refuse() {
        let shelf = Arc::new(Shelf::default());
        let check = ClaimCheck::new(Arc::clone(&shelf) as Arc<dyn Store>, 100, 64);
        for (levels, left) in [(63, false), (64, true), (400, true)] {
            let payload = format!("{}\"{}\"{}", "[".repeat(levels), "[{".repeat(100), "]".repeat(levels));
            let job = Bytes::from(format!(r#"{{"id":"j","tenant":"acme","payload":{payload}}}"#));
            let checked = check.check_in(vec![job.clone()]).await.pop().unwrap().unwrap();
            assert_eq!(checked == job, left, "{levels} levels");
        }
    }
}
