//! Appends the lines to the source, at a steady rate that no answer slows.

use std::time::{Duration, Instant};

use tidegate_node::DevNode;
use tidegate_protocol::job::SourcePosition;
use tidegate_protocol::topics::partition_of;
use tidegate_spine::{Landing, NewRecord, ProducerOptions};

use super::input::Submission;

/// A line that was handed to the spine.
pub(crate) struct Sent {
    pub(crate) submission: Submission,
    /// When it was handed over.
    pub(crate) at: Instant,
    /// Where it landed, or why it did not.
    pub(crate) landed: Result<SourcePosition, String>,
}

/// How long an acknowledgement is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// Submits everything to the node's first source, `rate` a second.
///
/// Lines of one tenant and job id go to one partition, as the gateway sends them: so what is sent twice meets itself.
///
/// # Errors
/// When there is no source or the spine gives no producer.
pub(crate) async fn submit(node: &DevNode, lines: Vec<Submission>, rate: f64) -> anyhow::Result<Vec<Sent>> {
    let config = node.config();
    let source = config.sources.first().ok_or_else(|| anyhow::anyhow!("the configuration has no source"))?;
    let (name, topic) = (source.name().clone(), source.topic(&config.prefix)?);
    let partitions = config.topics.partitions_of(&name);
    let options = ProducerOptions { name: "demo".into(), ..ProducerOptions::default() };
    let mut producer = node.spine().producer(options).await?;
    let begin = tokio::time::Instant::now();
    let mut begun: Vec<(Submission, Instant, u32, Landing)> = Vec::with_capacity(lines.len());
    for (number, submission) in (0_u32..).zip(lines) {
        tokio::time::sleep_until(begin + Duration::from_secs_f64(f64::from(number) / rate)).await;
        let key = submission.names.id.as_ref().map(|id| {
            let tenant = submission.names.tenant.as_deref().unwrap_or_default();
            format!("{tenant}/{id}")
        });
        let partition = key.as_ref().map_or(number % partitions, |key| partition_of(key.as_bytes(), partitions));
        let value = Some(submission.value.clone());
        let record = NewRecord { key: key.map(Into::into), value, ..NewRecord::default() };
        let at = Instant::now();
        let landing = producer.append(&topic.partition(partition), vec![record]);
        begun.push((submission, at, partition, landing));
    }
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let mut sent = Vec::with_capacity(begun.len());
    for (submission, at, partition, landing) in begun {
        let landed = match tokio::time::timeout_at(deadline, landing).await {
            Ok(Ok(landed)) => Ok(SourcePosition::new(name.clone(), partition, landed.first)),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("the spine did not acknowledge it within {} s", PATIENCE.as_secs())),
        };
        sent.push(Sent { submission, at, landed });
    }
    Ok(sent)
}
