//! With `--answer`: the person who is asked, played by the demo with the key that `tidegate dev` made.
//!
//! The rule: one knows what one asked for. They reject what the line's label says was injected, and approve the rest.
//! It is what a careful person does at best, and shows the whole way of a held job; nobody's judgement is measured by it.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use tidegate_keys::SecretKey;
use tidegate_node::DevNode;
use tidegate_protocol::command::{Action, Command, KIND};
use tidegate_protocol::ids::{CommandId, KeyId, PersonId};
use tidegate_protocol::job::SourcePosition;
use tidegate_protocol::signature::{Sign, signed};
use tidegate_protocol::topics::Topic;
use tidegate_spine::{NewRecord, Producer, ProducerOptions};

use super::board::{Board, Hold};
use super::input::Kind;
use super::submit::Sent;

/// Answers every job that waits for people, until dropped.
///
/// # Errors
/// When the key cannot be read or the spine takes no commands.
pub(crate) async fn answer(node: &DevNode, data: &Path, board: &Board, sent: &[Sent]) -> anyhow::Result<Infallible> {
    let key = tidegate_keys::read(KeyId::new("approver")?, &data.join("approver.key"))?;
    let options = ProducerOptions { name: "demo-approver".into(), ..ProducerOptions::default() };
    let mut producer = node.spine().producer(options).await?;
    let kinds: BTreeMap<&SourcePosition, Option<Kind>> =
        sent.iter().filter_map(|sent| Some((sent.landed.as_ref().ok()?, sent.submission.label.kind))).collect();
    // By the verdict too: another policy asks anew.
    let mut answered = std::collections::BTreeSet::new();
    let mut asked = board.asked();
    loop {
        asked.borrow_and_update();
        for hold in board.waiting() {
            let source = &hold.job.source;
            if answered.insert((source.clone(), hold.decision.snapshot.clone())) {
                let injected = kinds.get(source).is_some_and(|kind| *kind == Some(Kind::Injection));
                let action = if injected { Action::Reject } else { Action::Approve };
                say(node, &mut *producer, &key, &hold, action).await?;
            }
        }
        asked.changed().await.context("nobody tells what is held any more")?;
    }
}

async fn say(
    node: &DevNode,
    producer: &mut dyn Producer,
    key: &SecretKey,
    hold: &Hold,
    action: Action,
) -> anyhow::Result<()> {
    let (job, source) = (&hold.job, &hold.job.source);
    let at_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis());
    let command = Command {
        v: 1,
        id: CommandId::new(format!("demo-{}-{}", source.partition, source.offset))?,
        action,
        source: source.clone(),
        job_id: job.id.clone(),
        tenant: job.tenant.clone(),
        input_hash: job.input_hash,
        snapshot: hold.decision.snapshot.clone(),
        by: PersonId::new(key.key().as_str())?,
        at_ms: u64::try_from(at_ms).unwrap_or(u64::MAX),
        reason: String::new(),
        pool: None,
    };
    let value = signed(key, KIND, serde_json::to_vec(&command)?);
    let topic = Topic::Commands(source.source.clone()).name(&node.config().prefix)?;
    let record = NewRecord { key: Some(source.to_string().into()), value: Some(value.into()), ..NewRecord::default() };
    producer.append(&topic.partition(source.partition), vec![record]).await.context("an answer did not land")?;
    Ok(())
}
