//! Jobs as they are written down: a submitter's envelope, or a record of a decision.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use serde::Deserialize;
use serde_json::value::RawValue;
use tidegate_policy::{Delegation, Principal, Subject};
use tidegate_protocol::decision::Decision;

use crate::exit::{Exit, Failure};

/// A job, whoever wrote it down.
#[derive(Debug, Deserialize)]
pub(super) struct Job {
    #[serde(default)]
    pub(super) id: Option<String>,
    #[serde(default)]
    tenant: String,
    #[serde(default)]
    topic: String,
    #[serde(default)]
    capability: String,
    #[serde(default)]
    actor: tidegate_protocol::job::Actor,
    #[serde(default)]
    requires: Vec<String>,
    #[serde(default)]
    risk_tags: Vec<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    priority: Option<u8>,
    #[serde(default)]
    deadline: Option<u64>,
    #[serde(default)]
    pack_id: Option<String>,
    #[serde(default)]
    pub(super) submitted_ms: Option<u64>,
    #[serde(default)]
    delegation: Option<tidegate_protocol::delegation::Delegation>,
    #[serde(default)]
    payload: Option<Box<RawValue>>,
    #[serde(default)]
    payload_base64: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    payload_ref: Option<serde::de::IgnoredAny>,
}

/// A job with the decision about it, where one was recorded.
#[derive(Debug)]
pub(super) struct Recorded {
    /// Its line, from 1.
    pub(super) line: usize,
    pub(super) job: Job,
    pub(super) decision: Option<Decision>,
}

/// The record of a decision, as on `approved.<pool>` and `denied`.
#[derive(Deserialize)]
struct Judged {
    job: Job,
    #[serde(default)]
    decision: Option<Decision>,
    #[serde(default)]
    payload: Option<Box<RawValue>>,
    #[serde(default)]
    payload_base64: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    payload_ref: Option<serde::de::IgnoredAny>,
}

/// Tells the two apart without reading either twice.
#[derive(Deserialize)]
struct Shape {
    #[serde(default)]
    job: Option<serde::de::IgnoredAny>,
}

impl Job {
    /// Those it acts for, root first.
    pub(super) fn principals(&self) -> Vec<Principal<'_>> {
        let actors = self.delegation.iter().flat_map(|delegation| delegation.chain.iter().map(|above| &above.actor));
        actors.map(|actor| Principal { actor_id: actor.id.as_deref(), actor_type: actor.kind.as_deref() }).collect()
    }

    /// As policy sees it, acting for these.
    pub(super) fn subject<'a>(&'a self, principals: &'a [Principal<'a>]) -> Subject<'a> {
        let mut subject = Subject::new(&self.tenant, &self.topic, &self.capability);
        subject.job_id = self.id.as_deref();
        subject.actor_id = self.actor.id.as_deref();
        subject.actor_type = self.actor.kind.as_deref();
        subject.requires = &self.requires;
        subject.risk_tags = &self.risk_tags;
        subject.labels = &self.labels;
        subject.priority = self.priority.unwrap_or(subject.priority);
        subject.deadline_ms = self.deadline;
        subject.pack_id = self.pack_id.as_deref();
        subject.delegation =
            self.delegation.as_ref().map(|chain| Delegation { chain: principals, scope: Some(&chain.scope) });
        subject.payload = self.payload.as_ref().map_or(b"null", |payload| payload.get().as_bytes());
        subject
    }
}

impl Recorded {
    fn read(line: usize, text: &str) -> Result<Self, String> {
        let read = |error: serde_json::Error| error.to_string();
        let shape: Shape = serde_json::from_str(text).map_err(read)?;
        let recorded = if shape.job.is_some() {
            let Judged { mut job, decision, payload, payload_base64, payload_ref } =
                serde_json::from_str(text).map_err(read)?;
            job.payload = payload;
            job.payload_base64 = payload_base64;
            job.payload_ref = payload_ref;
            Self { line, job, decision }
        } else {
            Self { line, job: serde_json::from_str(text).map_err(read)?, decision: None }
        };
        if recorded.job.payload_base64.is_some() {
            return Err("`payload_base64` is not read here; give the payload as JSON".to_owned());
        }
        if recorded.job.payload_ref.is_some() {
            return Err("its payload is kept beside the log (`payload_ref`); give the payload itself".to_owned());
        }
        Ok(recorded)
    }
}

/// The text of a file, or of stdin.
pub(super) fn text(file: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    let read = if file == Path::new("-") {
        std::io::stdin().read_to_string(&mut text)
    } else {
        std::fs::File::open(file).and_then(|mut file| file.read_to_string(&mut text))
    };
    read.map_err(|error| Failure::say(Exit::Data, format!("`{}` cannot be read: {error}", file.display())))?;
    Ok(text)
}

/// One job.
pub(super) fn one(file: &Path) -> Result<Recorded, Failure> {
    Recorded::read(1, &text(file)?)
        .map_err(|error| Failure::say(Exit::Data, format!("job `{}`: {error}; give one job as JSON", file.display())))
}

/// The number of a line that is no job, and why.
pub(super) type Unreadable = (usize, String);

/// One job over several lines, or a job a line; lines that are none are named.
pub(super) fn all(file: &Path) -> Result<(Vec<Recorded>, Vec<Unreadable>), Failure> {
    let text = text(file)?;
    if let Ok(whole) = Recorded::read(1, &text) {
        return Ok((vec![whole], Vec::new()));
    }
    let (mut jobs, mut unreadable) = (Vec::new(), Vec::new());
    for (line, text) in (1..).zip(text.lines()).filter(|(_, text)| !text.trim().is_empty()) {
        match Recorded::read(line, text) {
            Ok(job) => jobs.push(job),
            Err(error) => unreadable.push((line, error)),
        }
    }
    if jobs.is_empty() {
        let why = unreadable.first().map_or_else(String::new, |(line, error)| format!("; line {line}: {error}"));
        return Err(Failure::say(Exit::Data, format!("`{}` has no job{why}", file.display())));
    }
    Ok((jobs, unreadable))
}
