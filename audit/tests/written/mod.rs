//! Logs written by hand, record by record, as owners of a shard sign them.

use bytes::Bytes;
use serde::de::IgnoredAny;
use tidegate_audit::{Anchors, Damage, LogIdentity, Met, Verifier};
use tidegate_protocol::address::{Offset, TopicName};
use tidegate_protocol::control::Kind;
use tidegate_protocol::ids::SenderId;
use tidegate_protocol::signature::{Sign as _, signed};
use tidegate_protocol::statements;
use tidegate_simulation::keys::stages;
use tidegate_spine::{Headers, Record};
use tidegate_stage::control::value_hash;

const SENDER: &str = "kernel.jobs/0";

/// The log of one shard.
pub(crate) fn identity() -> LogIdentity {
    let facts = TopicName::new("t.decisions.jobs").unwrap().partition(0);
    LogIdentity { sender: SenderId::new(SENDER).unwrap(), facts }
}

/// Records as owners write them, each at the next offset.
pub(crate) struct Log {
    pub(crate) records: Vec<Record>,
    pub(crate) start: Offset,
}

impl Log {
    pub(crate) const fn from(start: Offset) -> Self {
        Self { records: Vec::new(), start }
    }

    pub(crate) fn end(&self) -> Offset {
        self.start + self.records.len() as u64
    }

    fn push(&mut self, kind: &'static str, epoch: Option<u64>, value: Vec<u8>) {
        let mut headers = Headers::new();
        headers.push("tg-kind", Bytes::from_static(kind.as_bytes()));
        headers.push("tg-sender", Bytes::from_static(SENDER.as_bytes()));
        if let Some(epoch) = epoch {
            headers.push("tg-epoch", Bytes::from(epoch.to_string()));
        }
        let (offset, value) = (self.end(), Some(value.into()));
        let key = Some(Bytes::from_static(SENDER.as_bytes()));
        self.records.push(Record { offset, timestamp_ms: 1_000, key, value, headers });
    }

    /// A claim; the epoch it opens.
    pub(crate) fn claim(&mut self) -> u64 {
        let epoch = self.end() + 1;
        // No two claims are the same record.
        let at = self.end();
        let text = format!(r#"{{"v":1,"sender":"{SENDER}","term":0,"outputs":[],"process":"p{at}","wall_ms":1000}}"#);
        self.push("claim", None, signed(&*stages(), &statements::claim(&identity().facts), text.into_bytes()));
        epoch
    }

    pub(crate) fn barrier(&mut self, epoch: u64) {
        let text = format!(r#"{{"v":1,"sender":"{SENDER}","epoch":{epoch}}}"#);
        let statement = statements::mark(Kind::Barrier, &identity().facts);
        self.push("barrier", Some(epoch), signed(&*stages(), &statement, text.into_bytes()));
    }

    /// A group that names this one before it; its own hash.
    pub(crate) fn group(&mut self, epoch: u64, sequence: u64, previous: &str) -> String {
        let header =
            format!(r#"{{"v":1,"epoch":{epoch},"sequence":{sequence},"released":null,"previous":"{previous}"}}"#);
        let key = stages();
        let value = statements::group_text(header.into_bytes(), b"", Vec::new(), |root| {
            (key.key().as_str(), key.sign(&statements::group(SENDER, epoch, root)))
        });
        let hash = value_hash(&value);
        self.push("group", Some(epoch), value);
        hash
    }

    pub(crate) fn meet(&self, mut verifier: Verifier) -> Result<Vec<Met<IgnoredAny>>, Damage> {
        self.records.iter().map(|record| verifier.meet(record)).collect()
    }

    pub(crate) fn verified(&self) -> Result<Vec<Met<IgnoredAny>>, Damage> {
        self.meet(Verifier::new(identity(), stages(), 0, Anchors::default(), true).unwrap())
    }
}
