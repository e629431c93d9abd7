//! A source as a configuration file says it; see `docs` of each field. Every default is visible in what
//! [`Serialize`] shows.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidegate_protocol::address::TopicName;
use tidegate_protocol::ids::{SourceName, TenantId};

use super::{Format, Mapping, Source, Tenants};

/// Largest value that may be configured, 64 MiB: positions in a value are kept in 32 bits and everything is read into
/// memory.
const MOST_BYTES: usize = 64 << 20;
/// Deepest nesting that may be configured.
const MOST_DEPTH: usize = 512;
/// Least and longest life of a ticket that may be configured, milliseconds: a second, a week.
pub const TICKET_TTL_MS: std::ops::RangeInclusive<u64> = 1_000..=7 * 86_400_000;

/// One entry of `sources:`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceWritten {
    /// Logical name, part of the names of its topics (`decisions.<name>`, …).
    pub name: String,
    /// A topic that exists already and is somebody else's. Without it the topic is `<prefix><name>` and ours.
    #[serde(default)]
    pub topic: Option<String>,
    /// How records become jobs.
    #[serde(default)]
    pub format: FormatWritten,
    /// With `format: mapped`: what each attribute is made of.
    #[serde(default)]
    pub mapping: Option<MappingWritten>,
    /// Whom it may speak for: `any`, `{constant: NAME}` or `{allowed: [NAME, …]}`.
    pub tenants: TenantsWritten,
    /// Judge and audit, release nothing.
    #[serde(default)]
    pub observe: bool,
    /// Whether its jobs present the tickets of the jobs that spawned them (`parent_ticket` of the job envelope): `required`
    /// (a topic for delegated jobs alone), `accepted` (roots too; what comes without a ticket is one), `refused`.
    #[serde(default)]
    pub parent_ticket: ParentTickets,
    /// An allowed job of it that waits longer than this for a worker is judged again, milliseconds; without it
    /// `tickets.ttl_ms` says so.
    #[serde(default)]
    pub ticket_ttl_ms: Option<u64>,
    /// Bounds of a record.
    #[serde(default)]
    pub limits: SourceLimitsWritten,
}

/// `parent_ticket:` of a source.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ParentTickets {
    /// A record without one is no job here.
    Required,
    /// A record with one is a delegated job, any other a root.
    Accepted,
    /// A record with one is no job here.
    #[default]
    Refused,
}

/// `format:` of a source.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FormatWritten {
    /// The job envelope; CloudEvents in binary mode by their headers.
    #[default]
    TidegateJson,
    /// CloudEvents in binary mode only.
    #[serde(rename = "cloudevents")]
    CloudEvents,
    /// A foreign JSON record, by `mapping`.
    Mapped,
}

/// `tenants:` of a source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TenantsWritten {
    /// The record is believed.
    Any,
    /// Always this one.
    Constant(String),
    /// One of these, named by the record.
    Allowed(Vec<String>),
}

/// `limits:` of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SourceLimitsWritten {
    /// Largest value, in bytes; larger ones go to `dead` by reference and hash.
    pub max_bytes: usize,
    /// Deepest nesting of a value; `[]` is 1.
    pub max_depth: usize,
}

impl Default for SourceLimitsWritten {
    fn default() -> Self {
        Self { max_bytes: 1_000_000, max_depth: 64 }
    }
}

/// `mapping:` of a source. Values are templates: text with `{/json/pointer}` and `{header:NAME}` in it, each with an
/// optional default (`{/urgency|5}`); `{{` and `}}` are braces.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MappingWritten {
    /// The job's id; without it the record's `ce_source` and `ce_id`, else its position.
    pub id: Option<String>,
    /// The tenant; not needed where the source's tenant is constant.
    pub tenant: Option<String>,
    /// The job's topic. A value put in among other text must be one segment (no dots).
    pub topic: String,
    /// Who asks.
    pub actor: ActorWritten,
    /// What a worker must be able to do.
    pub capability: String,
    /// Further things a worker must offer. An entry that is nothing but one pointer may name a list.
    pub requires: Vec<String>,
    /// Claimed risk tags; lists as above.
    pub risk_tags: Vec<String>,
    /// Labels; one whose value is missing and has no default is left out.
    pub labels: BTreeMap<String, String>,
    /// 0 to 9.
    pub priority: Option<String>,
    /// Milliseconds since the Unix epoch.
    pub deadline: Option<String>,
    /// Milliseconds from when the kernel reads it; of this and `deadline` the earlier holds.
    pub ttl_ms: Option<String>,
    /// Milliseconds since the Unix epoch before which it must not start.
    pub not_before: Option<String>,
    /// The same, from when the kernel reads it.
    pub delay_ms: Option<String>,
    /// Jobs of a tenant with the same key run one after the other, in their order.
    pub ordering_key: Option<String>,
    /// Labels that its worker must have, each with this value; one whose value is missing and has no default is left out.
    pub select: BTreeMap<String, String>,
    /// Labels that its worker had better have; the same.
    pub prefer: BTreeMap<String, String>,
    /// How it is tried again.
    pub retry: RetryWritten,
    /// Id of the job that spawned it.
    pub parent: Option<String>,
    /// JSON Pointer to the payload; `""` is the whole record. Without it the job has none.
    pub payload: Option<String>,
    /// Top-level fields, as JSON Pointers, that are known and not carried on.
    pub drop: Vec<String>,
    /// What becomes of a record with top-level fields that are neither used nor dropped.
    pub others: OthersWritten,
}

/// `actor:` of a mapping.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ActorWritten {
    /// Its id.
    pub id: Option<String>,
    /// Its kind.
    #[serde(rename = "type")]
    pub kind: Option<String>,
}

/// `retry:` of a mapping.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetryWritten {
    /// Most attempts.
    pub max_attempts: Option<String>,
    /// Longest first pause, milliseconds.
    pub backoff_ms: Option<String>,
    /// Longest pause, milliseconds.
    pub max_backoff_ms: Option<String>,
}

/// `others:` of a mapping.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OthersWritten {
    /// The record goes to `dead`, with the field's name: nothing its writer meant is lost silently.
    #[default]
    Refuse,
    /// They are not carried on: for topics whose records grow fields that no policy here is about.
    Ignore,
}

/// A source's configuration that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("source `{source_name}`: {field}: {problem}; {remedy}")]
pub struct SourceRefused {
    /// The source as written.
    pub source_name: String,
    /// Where in it.
    pub field: String,
    /// What is wrong and why.
    pub problem: String,
    /// What to do.
    pub remedy: &'static str,
}

impl SourceWritten {
    /// Checks everything.
    ///
    /// # Errors
    /// [`SourceRefused`] for the first field that cannot be used.
    pub fn checked(&self) -> Result<Source, SourceRefused> {
        let refused = |field: &str, problem: String, remedy: &'static str| SourceRefused {
            source_name: self.name.chars().take(100).collect(),
            field: field.to_owned(),
            problem,
            remedy,
        };
        let name = SourceName::new(&self.name)
            .map_err(|e| refused("`name`", e.to_string(), "choose another name; it becomes part of topic names"))?;
        let topic = self
            .topic
            .as_ref()
            .map(TopicName::new)
            .transpose()
            .map_err(|e| refused("`topic`", e.to_string(), "write the topic's full name as the broker knows it"))?;
        let tenants = self.tenants.checked().map_err(|problem| {
            refused("`tenants`", problem, "write `any`, `{constant: NAME}` or `{allowed: [NAME, …]}`")
        })?;
        let format = match (self.format, &self.mapping) {
            (FormatWritten::TidegateJson, None) => Format::TidegateJson,
            (FormatWritten::CloudEvents, None) => Format::CloudEvents,
            (FormatWritten::Mapped, Some(written)) => {
                let mapping = Mapping::checked(written).map_err(|(field, problem)| {
                    refused(&format!("`mapping.{field}`"), problem, "a value is text with `{/json/pointer}` or `{header:NAME}` in it, each with an optional `|default`")
                })?;
                if mapping.names_no_tenant() && !matches!(tenants, Tenants::Constant(_)) {
                    return Err(refused(
                        "`mapping.tenant`",
                        "nothing says whose a record is".to_owned(),
                        "map `tenant`, or give the source a constant one",
                    ));
                }
                Format::Mapped(Box::new(mapping))
            }
            (FormatWritten::Mapped, None) => {
                return Err(refused(
                    "`mapping`",
                    "`format: mapped` needs one".to_owned(),
                    "say what `topic`, `capability` and `payload` are made of",
                ));
            }
            (FormatWritten::TidegateJson | FormatWritten::CloudEvents, Some(_)) => {
                return Err(refused(
                    "`mapping`",
                    "it would not be used with this `format`".to_owned(),
                    "set `format: mapped` or remove `mapping`",
                ));
            }
        };
        if self.parent_ticket != ParentTickets::Refused && self.format != FormatWritten::TidegateJson {
            let problem = "only the job envelope carries a parent's ticket".to_owned();
            return Err(refused(
                "`parent_ticket`",
                problem,
                "set `format: tidegate-json`, or `parent_ticket: refused`",
            ));
        }
        let SourceLimitsWritten { max_bytes, max_depth } = self.limits;
        if !(1..=MOST_BYTES).contains(&max_bytes) {
            let problem = format!("`{max_bytes}` is not 1 to {MOST_BYTES}");
            return Err(refused("`limits.max_bytes`", problem, "keep it below the broker's largest record"));
        }
        if !(1..=MOST_DEPTH).contains(&max_depth) {
            let problem = format!("`{max_depth}` is not 1 to {MOST_DEPTH}");
            return Err(refused("`limits.max_depth`", problem, "64 is plenty for tool calls"));
        }
        if let Some(ttl) = self.ticket_ttl_ms.filter(|ttl| !TICKET_TTL_MS.contains(ttl)) {
            let problem = format!("`{ttl}` is not {} to {}", TICKET_TTL_MS.start(), TICKET_TTL_MS.end());
            return Err(refused("`ticket_ttl_ms`", problem, "leave it out for that of all sources, `tickets.ttl_ms`"));
        }
        Ok(Source {
            name,
            topic,
            format,
            tenants,
            observe: self.observe,
            parent_tickets: self.parent_ticket,
            ticket_ttl: self.ticket_ttl_ms.map(Duration::from_millis),
            max_bytes,
            max_depth,
        })
    }
}

impl TenantsWritten {
    fn checked(&self) -> Result<Tenants, String> {
        let tenant = |name: &String| TenantId::new(name).map_err(|e| e.to_string());
        match self {
            Self::Any => Ok(Tenants::Any),
            Self::Constant(name) => tenant(name).map(Tenants::Constant),
            Self::Allowed(names) if names.is_empty() => Err("an empty `allowed` lets no record in".to_owned()),
            Self::Allowed(names) => names.iter().map(tenant).collect::<Result<BTreeSet<_>, _>>().map(Tenants::Allowed),
        }
    }
}
