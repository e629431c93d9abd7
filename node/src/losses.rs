//! Giving up what is gone of a source's inputs, so that its kernel's shard goes on (`tidegate sources accept-loss`).

use bytes::Bytes;
use tidegate_protocol::address::{Offset, TopicPartition};
use tidegate_protocol::control::{AcceptedLoss, Kind};
use tidegate_protocol::headers;
use tidegate_protocol::ids::SenderId;
use tidegate_protocol::signature::{Sign, signed};
use tidegate_protocol::statements::LOSS;
use tidegate_protocol::topics::Topic;
use tidegate_spine::{AppendError, Headers, NewRecord, ProducerOptions, Spine, SpineError};

use crate::config::Config;

/// An input of a kernel's shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LostInput {
    /// The source's own records.
    Source,
    /// Its commands.
    Commands,
    /// Its outcomes.
    Outcomes,
}

/// A loss cannot be accepted.
#[derive(Debug, thiserror::Error)]
pub enum AcceptLossError {
    /// No such source.
    #[error("there is no source `{name}` in the configuration; there are: {known}")]
    UnknownSource {
        /// As asked for.
        name: String,
        /// Those there are.
        known: String,
    },
    /// Names make no topic or sender.
    #[error("names of source `{name}` make no topic: {reason}")]
    Name {
        /// The source.
        name: String,
        /// Why.
        reason: String,
    },
    /// The log still has its first record.
    #[error("nothing of `{partition}` is gone: its log begins at 0")]
    NothingGone {
        /// The input.
        partition: TopicPartition,
    },
    /// The spine did not answer.
    #[error("the spine did not answer")]
    Spine(#[from] SpineError),
    /// It could not be written.
    #[error("it could not be written to `shards`; nothing was given up")]
    NotWritten(#[source] AppendError),
}

/// Signs and writes that everything of this input below the log's present start is given up. The shard, which stands
/// still, looks every few seconds; what was settled before stays settled, and the range stands in its facts.
///
/// # Errors
/// [`AcceptLossError`].
pub async fn accept_loss(
    config: &Config,
    spine: &dyn Spine,
    signer: &dyn Sign,
    (source, input, partition): (&str, LostInput, u32),
    (by, at_ms): (&str, u64),
) -> Result<(TopicPartition, Offset), AcceptLossError> {
    let found = config.sources.iter().find(|s| s.name().as_str() == source).ok_or_else(|| {
        let known: Vec<&str> = config.sources.iter().map(|s| s.name().as_str()).collect();
        AcceptLossError::UnknownSource { name: source.to_owned(), known: known.join(", ") }
    })?;
    let bad = |reason: String| AcceptLossError::Name { name: source.to_owned(), reason };
    let topic = match input {
        LostInput::Source => found.topic(&config.prefix),
        LostInput::Commands => Topic::Commands(found.name().clone()).name(&config.prefix),
        LostInput::Outcomes => Topic::Outcomes(found.name().clone()).name(&config.prefix),
    };
    let topic = topic.map_err(|error| bad(error.to_string()))?;
    let shards = Topic::Shards.name(&config.prefix).map_err(|error| bad(error.to_string()))?;
    let sender =
        SenderId::new(format!("kernel.{}/{partition}", found.name())).map_err(|error| bad(error.to_string()))?;
    let partition = topic.partition(partition);
    let ends = spine.ends(std::slice::from_ref(&partition)).await?;
    let before = ends.first().map_or(0, |ends| ends.start);
    if before == 0 {
        return Err(AcceptLossError::NothingGone { partition });
    }
    let loss = AcceptedLoss {
        v: 1,
        sender,
        partition: partition.clone(),
        before,
        by: by.to_owned(),
        at_ms,
        key: None,
        signature: None,
    };
    let list = [
        (headers::KIND, Bytes::from_static(Kind::Loss.word().as_bytes())),
        (headers::SENDER, Bytes::from(loss.sender.to_string())),
    ];
    // A struct of names and numbers always has a JSON text.
    let text = serde_json::to_vec(&loss).unwrap_or_default();
    let record = NewRecord {
        key: Some(loss.record_key().into()),
        value: Some(signed(signer, LOSS, text).into()),
        headers: Headers::from_iter(list),
    };
    let options = ProducerOptions { name: "accept-loss".into(), ..ProducerOptions::default() };
    let mut producer = spine.producer(options).await?;
    producer.append(&shards.partition(0), vec![record]).await.map_err(AcceptLossError::NotWritten)?;
    Ok((partition, before))
}
