//! Makes topics as they should be.

use std::collections::BTreeMap;

use bytes::Bytes;
use tidegate_protocol::control::{Kind, Term};
use tidegate_protocol::headers;
use tidegate_protocol::ids::{BadName, SenderId};
use tidegate_protocol::topics::Topic;
use tidegate_spine::keyed::{ReadWholeError, read_whole};
use tidegate_spine::{AppendError, Headers, NewRecord, ProducerOptions, Spine, SpineError};

use super::plan::{Action, Plan};
use super::wanted::Wanted;

/// A plan was not carried out, or not whole; what was done stays.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// It has parts nobody can carry out.
    #[error("not applied, nothing was changed:\n{plan}")]
    Impossible {
        /// The parts.
        plan: String,
    },
    /// The spine refused or does not answer.
    #[error("topic `{topic}` could not be made as it should be; run `tidegate topics plan` to see what is left")]
    Topic {
        /// The topic.
        topic: String,
        /// Why.
        source: SpineError,
    },
    /// The terms of new facts logs could not be read.
    #[error("the terms of facts logs could not be read; nothing was changed")]
    Terms(#[from] ReadWholeError),
    /// The terms of new facts logs could not be written.
    #[error(
        "the term of a new facts log could not be written; run `tidegate topics apply` again before starting a role"
    )]
    TermNotWritten(#[source] AppendError),
    /// No producer to write them with.
    #[error(
        "the term of a new facts log could not be written; run `tidegate topics apply` again before starting a role"
    )]
    NoProducer(#[source] SpineError),
    /// A source's or pool's name makes no sender.
    #[error("a name is too long")]
    Name(#[from] BadName),
}

/// Carries `plan` out: first the terms of facts logs that are made anew, then the topics.
///
/// # Errors
/// [`ApplyError`]; with `Impossible` nothing was changed.
pub async fn apply(plan: &Plan, spine: &dyn Spine) -> Result<(), ApplyError> {
    if !plan.can_be_applied() {
        let impossible: Vec<String> = plan
            .differences
            .iter()
            .filter(|d| matches!(d.action, Action::Impossible | Action::NotOurs | Action::Allow))
            .map(ToString::to_string)
            .collect();
        return Err(ApplyError::Impossible { plan: impossible.join("\n") });
    }
    let of = |action: Action| {
        plan.wanted.iter().filter(move |wanted| {
            plan.differences.iter().any(|d| d.action == action && d.topic == wanted.spec.name.as_str())
        })
    };
    let new: Vec<&Wanted> = of(Action::Create).collect();
    let topic_error = |wanted: &Wanted| {
        let topic = wanted.spec.name.to_string();
        move |source| ApplyError::Topic { topic, source }
    };
    // `shards` first: a facts log made anew counts from a higher term before anybody can write to it.
    let is_shards = |wanted: &&&Wanted| matches!(wanted.topic, Topic::Shards);
    for wanted in new.iter().filter(is_shards) {
        spine.create(&wanted.spec).await.map_err(topic_error(wanted))?;
        tracing::info!(topic = %wanted.spec.name, "topic made");
    }
    raise_terms(plan, &new, spine).await?;
    for wanted in new.iter().filter(|wanted| !is_shards(wanted)) {
        spine.create(&wanted.spec).await.map_err(topic_error(wanted))?;
        tracing::info!(topic = %wanted.spec.name, "topic made");
    }
    let mut altered: Vec<&str> = Vec::new();
    for wanted in of(Action::Alter) {
        spine.alter(&wanted.spec).await.map_err(topic_error(wanted))?;
        altered.push(wanted.spec.name.as_str());
    }
    if !altered.is_empty() {
        tracing::info!(topics = ?altered, "topics altered");
    }
    Ok(())
}

/// The stage and name of a facts topic's sender.
fn sender_of(topic: &Topic) -> Option<String> {
    match topic {
        Topic::Decisions(source) => Some(format!("kernel.{source}")),
        Topic::Leases(pool) => Some(format!("scheduler.{pool}")),
        Topic::LimitFacts => Some("limits".to_owned()),
        Topic::Raw(_)
        | Topic::Commands(_)
        | Topic::PoolCommands(_)
        | Topic::Outcomes(_)
        | Topic::Grants(_)
        | Topic::PoolGrants(_)
        | Topic::LimitRequests
        | Topic::Approved(_)
        | Topic::Withdrawals(_)
        | Topic::Denied
        | Topic::Held
        | Topic::Work(_)
        | Topic::Reports(_)
        | Topic::Overflow(_)
        | Topic::Finished
        | Topic::Dead
        | Topic::Snapshots
        | Topic::Shards
        | Topic::AuditCheckpoints => None,
    }
}

/// Of a facts log made for the first time. Not 0: with it a claim at offset 0 would open epoch 0, which to workers means
/// that they have not been welcomed yet.
const FIRST_TERM: u32 = 1;

/// A facts log that is made again gets the next term, so that its epochs go on rising.
async fn raise_terms(plan: &Plan, new: &[&Wanted], spine: &dyn Spine) -> Result<(), ApplyError> {
    let Some(shards) = plan.wanted.iter().find(|wanted| matches!(wanted.topic, Topic::Shards)) else { return Ok(()) };
    let topic = &shards.spec.name;
    let known: BTreeMap<SenderId, u32> = read_whole(spine, topic)
        .await?
        .into_iter()
        .filter_map(|record| serde_json::from_slice::<Term>(record.value.as_deref()?).ok())
        .map(|term| (term.sender, term.term))
        .collect();
    let mut records = Vec::new();
    for wanted in new {
        let Some(sender) = sender_of(&wanted.topic) else { continue };
        for shard in 0..wanted.spec.partitions {
            let sender = SenderId::new(format!("{sender}/{shard}"))?;
            let term = known.get(&sender).map_or(FIRST_TERM, |term| term.saturating_add(1));
            records.push(term_record(Term { v: 1, sender, term }));
        }
    }
    if records.is_empty() {
        return Ok(());
    }
    let options = ProducerOptions { name: "topics-apply".into(), ..ProducerOptions::default() };
    let mut producer = spine.producer(options).await.map_err(ApplyError::NoProducer)?;
    producer.append(&topic.partition(0), records).await.map_err(ApplyError::TermNotWritten)?;
    Ok(())
}

fn term_record(term: Term) -> NewRecord {
    let key = Bytes::from(term.sender.to_string());
    let headers = Headers::from_iter([
        (headers::KIND, Bytes::from_static(Kind::Term.word().as_bytes())),
        (headers::SENDER, key.clone()),
    ]);
    // A struct of a name and two numbers always has a JSON text.
    let value = serde_json::to_vec(&term).unwrap_or_default();
    NewRecord { key: Some(key), value: Some(value.into()), headers }
}
