//! Delegation: a running job spawns others, on whose behalf they act (DESIGN section 4).
//!
//! A child presents its parent's record from `approved.<pool>` - exactly the text its worker got, ticket included - in the
//! field `parent_ticket` of its envelope. The kernel checks the ticket as a worker would and writes what follows from it into
//! the judged job: a [`Delegation`]. The text itself goes no further than the kernel.
//!
//! Along a chain everything can only shrink: what may be asked for ([`Scope`]), until when, under which constraints.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::constraints::Constraints;
use crate::ids::{Capability, JobId, TenantId};
use crate::job::{Actor, Job, SourcePosition};
use crate::topic_glob::TopicGlob;

/// Largest `parent_ticket`, bytes. A job whose record is larger (its payload is in there) cannot delegate.
pub const MAX_PARENT_TICKET_BYTES: usize = 256 << 10;
/// Longest chain there may be, whatever is configured.
pub const MAX_DEPTH: u32 = 64;

/// What a job may hand on to the jobs it spawns, or what was handed on to it. Both lists are allow-lists.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scope {
    /// Capabilities a child may need.
    #[serde(default)]
    pub capabilities: BTreeSet<Capability>,
    /// Job topics it may be about.
    #[serde(default)]
    pub topics: BTreeSet<TopicGlob>,
}

/// What is asked for beyond a [`Scope`]. Reads on from "it".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Beyond {
    /// It needs this.
    #[error("needs capability `{0}`, which was not handed on to it")]
    Capability(Capability),
    /// It is about this.
    #[error("is about topic `{0}`, which was not handed on to it")]
    Topic(String),
    /// It would hand this on.
    #[error("would hand on `{0}`, which it has not been given itself")]
    HandsOn(String),
}

impl Scope {
    /// What `job` hands on: what its submitter wrote, else what it may do itself and nothing else.
    #[must_use]
    pub fn handed_on_by(job: &Job) -> Self {
        if let Some(scope) = &job.scope {
            return (**scope).clone();
        }
        let capabilities = std::iter::once(&job.capability).chain(&job.requires).cloned().collect();
        // A topic of a job has no wildcards; one that is no glob all the same is handed on to nobody.
        let topics = TopicGlob::new(&job.topic).into_iter().collect();
        Self { capabilities, topics }
    }

    /// Whether a job with this scope may be, and hand on, what `job` says.
    ///
    /// # Errors
    /// [`Beyond`]: the first thing it may not.
    pub fn admits(&self, job: &Job) -> Result<(), Beyond> {
        let mut needed = std::iter::once(&job.capability).chain(&job.requires);
        if let Some(lacking) = needed.find(|capability| !self.capabilities.contains(*capability)) {
            return Err(Beyond::Capability(lacking.clone()));
        }
        if !self.topics.iter().any(|glob| glob.matches(&job.topic)) {
            return Err(Beyond::Topic(job.topic.clone()));
        }
        job.scope.as_deref().map_or(Ok(()), |scope| self.covers(scope))
    }

    /// Whether everything in `other` is in this scope.
    ///
    /// # Errors
    /// [`Beyond::HandsOn`]: the first that is not.
    pub fn covers(&self, other: &Self) -> Result<(), Beyond> {
        if let Some(more) = other.capabilities.iter().find(|capability| !self.capabilities.contains(*capability)) {
            return Err(Beyond::HandsOn(more.to_string()));
        }
        let more = other.topics.iter().find(|glob| !self.topics.iter().any(|wider| wider.covers(glob)));
        more.map_or(Ok(()), |glob| Err(Beyond::HandsOn(glob.to_string())))
    }
}

/// On whose behalf a job acts, and within what: from its parent's ticket, checked by the kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delegation {
    /// From the root to the parent, never empty; its length is the depth, from 1. All are of the job's own tenant.
    pub chain: Vec<Ancestor>,
    /// What the parent hands on: the job asks for no more.
    pub scope: Scope,
    /// From then on the job may not start: the first of the chain's tickets and deadlines that ends. Milliseconds since the
    /// Unix epoch.
    pub expires_ms: u64,
    /// What the parent has to keep to, and so the job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub constraints: Option<Box<Constraints>>,
}

impl Delegation {
    /// Jobs above this one, from 1.
    #[must_use]
    pub fn depth(&self) -> u32 {
        u32::try_from(self.chain.len()).unwrap_or(u32::MAX)
    }
}

/// A job that another acts for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ancestor {
    /// Its id.
    pub job: JobId,
    /// Where its record stands.
    pub source: SourcePosition,
    /// Who asked for it: a principal of every job below.
    #[serde(default)]
    pub actor: Actor,
    /// What all jobs below it may use together of model tokens, from its constraints.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u64>,
}

/// A running job's record as its worker got it, with which it spawns others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParentTicket {
    text: String,
    job: JobId,
    tenant: TenantId,
}

/// The key of the records of a job's children.
#[must_use]
pub fn key(tenant: &TenantId, parent: &JobId) -> String {
    format!("{tenant}/{parent}")
}

/// A child that cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoChild {
    /// What should be the parent's record is none.
    #[error("the parent's ticket is no record of a running job: {0}")]
    NoTicket(String),
    /// It is too large to be presented.
    #[error("the parent's record has {0} bytes; a job of more than {MAX_PARENT_TICKET_BYTES} cannot delegate")]
    TooLarge(usize),
    /// The child is no JSON object.
    #[error("the child is no JSON object: {0}")]
    NoObject(String),
    /// The child says itself what the ticket says.
    #[error("the child has a field `{0}` of its own; leave it out, the parent's ticket says it")]
    SaysItself(&'static str),
}

impl ParentTicket {
    /// Takes the exact text of a record from `approved.<pool>`. It is not verified: the kernel does that.
    ///
    /// # Errors
    /// [`NoChild`].
    pub fn read(text: &str) -> Result<Self, NoChild> {
        #[derive(Deserialize)]
        struct Record {
            job: Names,
        }
        #[derive(Deserialize)]
        struct Names {
            id: JobId,
            tenant: TenantId,
        }
        let text = text.trim();
        if text.len() > MAX_PARENT_TICKET_BYTES {
            return Err(NoChild::TooLarge(text.len()));
        }
        let Record { job } = serde_json::from_str(text).map_err(|error| NoChild::NoTicket(error.to_string()))?;
        Ok(Self { text: text.to_owned(), job: job.id, tenant: job.tenant })
    }

    /// The parent.
    #[must_use]
    pub const fn job(&self) -> &JobId {
        &self.job
    }

    /// Its tenant, and that of every child.
    #[must_use]
    pub const fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// The key of a child's record: all children of a job stand in one partition of their source.
    #[must_use]
    pub fn key(&self) -> String {
        key(&self.tenant, &self.job)
    }

    /// The envelope of a child: `job`, a job envelope without these fields, with `tenant` (unless it names one), `parent` and
    /// `parent_ticket` added at its end. Its other bytes stay as they are.
    ///
    /// # Errors
    /// [`NoChild`].
    pub fn child(&self, job: &[u8]) -> Result<Vec<u8>, NoChild> {
        #[derive(Deserialize)]
        struct Says {
            #[serde(default)]
            tenant: Option<serde::de::IgnoredAny>,
            #[serde(default)]
            parent: Option<serde::de::IgnoredAny>,
            #[serde(default)]
            parent_ticket: Option<serde::de::IgnoredAny>,
        }
        let no_object = |error: serde_json::Error| NoChild::NoObject(error.to_string());
        let says: Says = serde_json::from_slice(job).map_err(no_object)?;
        for (said, field) in [(says.parent.is_some(), "parent"), (says.parent_ticket.is_some(), "parent_ticket")] {
            if said {
                return Err(NoChild::SaysItself(field));
            }
        }
        let open = job.trim_ascii_end().strip_suffix(b"}").map(<[u8]>::trim_ascii_end);
        let open = open.ok_or_else(|| NoChild::NoObject("it does not end with `}`".to_owned()))?;
        let mut child = Vec::with_capacity(job.len() + self.text.len() + self.text.len() / 4 + 256);
        child.extend_from_slice(open);
        let mut empty = open.ends_with(b"{");
        let tenant = says.tenant.is_none().then_some(("tenant", self.tenant.as_str()));
        for (field, value) in tenant.into_iter().chain([("parent", self.job.as_str()), ("parent_ticket", &self.text)]) {
            if !std::mem::take(&mut empty) {
                child.push(b',');
            }
            child.push(b'"');
            child.extend_from_slice(field.as_bytes());
            child.extend_from_slice(b"\":");
            serde_json::to_writer(&mut child, value).map_err(no_object)?;
        }
        child.push(b'}');
        Ok(child)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: &str = r#"{"v":1,"job":{"id":"p","tenant":"acme"},"payload":"\u00e9 \"x\""}"#;

    fn job(text: &str) -> Job {
        serde_json::from_str(text).unwrap()
    }

    fn agent() -> Job {
        job(&format!(
            r#"{{"id":"a","tenant":"acme","topic":"job.agent.plan","capability":"plan","requires":["gpu"],"source":"jobs/0@7","input_hash":"{}","submitted_ms":1}}"#,
            "00".repeat(32)
        ))
    }

    fn scope(capabilities: &[&str], topics: &[&str]) -> Scope {
        Scope {
            capabilities: capabilities.iter().map(|name| Capability::new(name).unwrap()).collect(),
            topics: topics.iter().map(|glob| TopicGlob::new(glob).unwrap()).collect(),
        }
    }

    #[test]
    fn a_job_that_says_nothing_hands_on_what_it_may_do_itself() {
        assert_eq!(Scope::handed_on_by(&agent()), scope(&["plan", "gpu"], &["job.agent.plan"]));
        let said = scope(&["pay"], &["job.pay.>"]);
        assert_eq!(Scope::handed_on_by(&Job { scope: Some(Box::new(said.clone())), ..agent() }), said);
    }

    #[test]
    fn a_scope_admits_no_more_than_it_has() {
        let has = scope(&["plan", "gpu", "pay"], &["job.agent.>", "job.pay.*"]);
        let hands = |capabilities: &[&str], topics: &[&str]| Job {
            scope: Some(Box::new(scope(capabilities, topics))),
            ..agent()
        };
        for (job, expected) in [
            (agent(), None),
            (hands(&["pay"], &["job.pay.wire"]), None),
            (hands(&[], &[]), None),
            (Job { capability: Capability::new("wire").unwrap(), ..agent() }, Some("needs capability `wire`")),
            (Job { requires: vec![Capability::new("x").unwrap()], ..agent() }, Some("needs capability `x`")),
            (Job { topic: "job.mail".to_owned(), ..agent() }, Some("is about topic `job.mail`")),
            (hands(&["wire"], &["job.pay.wire"]), Some("would hand on `wire`")),
            (hands(&["pay"], &["job.pay.>"]), Some("would hand on `job.pay.>`")),
        ] {
            let said = has.admits(&job).err().map(|beyond| beyond.to_string());
            assert_eq!(said.is_some(), expected.is_some(), "{said:?}");
            assert!(said.as_deref().unwrap_or_default().starts_with(expected.unwrap_or_default()), "{said:?}");
        }
    }

    #[test]
    fn a_child_carries_its_parents_record_byte_for_byte() {
        let ticket = ParentTicket::read(&format!(" {RECORD}\n")).unwrap();
        assert_eq!((ticket.job().as_str(), ticket.tenant().as_str()), ("p", "acme"));
        for (given, begins) in [
            (
                "{\"id\":\"c\", \"payload\": {\"n\":  1.50}} \n",
                "{\"id\":\"c\", \"payload\": {\"n\":  1.50},\"tenant\":\"acme\",",
            ),
            ("{ }", "{\"tenant\":\"acme\","),
            ("{\"tenant\":\"other\"}", "{\"tenant\":\"other\",\"parent\":"),
        ] {
            let child = String::from_utf8(ticket.child(given.as_bytes()).unwrap()).unwrap();
            assert!(child.starts_with(begins), "{child}");
            let read: serde_json::Value = serde_json::from_str(&child).unwrap();
            assert_eq!((read["parent"].as_str(), read["parent_ticket"].as_str()), (Some("p"), Some(RECORD)));
        }
    }

    #[test]
    fn what_cannot_be_a_child_or_a_ticket_says_why() {
        let ticket = ParentTicket::read(RECORD).unwrap();
        for (child, part) in [
            ("[1]", "no JSON object"),
            ("{\"id\":", "no JSON object"),
            ("{\"parent\":\"x\"}", "`parent` of its own"),
            ("{\"parent_ticket\":\"x\"}", "`parent_ticket` of its own"),
        ] {
            let said = ticket.child(child.as_bytes()).unwrap_err().to_string();
            assert!(said.contains(part), "{said}");
        }
        assert!(matches!(ParentTicket::read("{}"), Err(NoChild::NoTicket(_))));
        let large = format!("{RECORD}{}", " ".repeat(10)).replace("\\\"x", &"x".repeat(MAX_PARENT_TICKET_BYTES));
        assert!(matches!(ParentTicket::read(&large), Err(NoChild::TooLarge(_))));
    }
}
