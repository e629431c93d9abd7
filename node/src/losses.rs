//! Giving up what is gone of a shard's input, so that the shard goes on (`tidegate sources accept-loss`).

use bytes::Bytes;
use tidegate_keys::{Keyring, KeyringError};
use tidegate_protocol::address::{Offset, TopicName, TopicPartition};
use tidegate_protocol::control::{AcceptedLoss, Kind};
use tidegate_protocol::headers;
use tidegate_protocol::ids::{BadName, SenderId};
use tidegate_protocol::signature::{Capacity, Distrust, Sign, signed};
use tidegate_protocol::statements::LOSS;
use tidegate_protocol::topics::Topic;
use tidegate_spine::{AppendError, Headers, NewRecord, ProducerOptions, Spine, SpineError};

use crate::config::Config;

/// What is to be given up.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// The shard that stands still, as its alarm names it (`kernel.jobs.raw/0`); the kernel's of the source that `input`
    /// names when left out.
    pub shard: Option<&'a str>,
    /// The input's topic and partition, as the alarm names them; without a shard a source and its partition (`jobs.raw/0`).
    pub input: &'a str,
    /// Who accepts it, for people.
    pub by: &'a str,
    /// Now, milliseconds since the Unix epoch.
    pub at_ms: u64,
}

/// What was given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GivenUp {
    /// The shard.
    pub shard: SenderId,
    /// Its input.
    pub partition: TopicPartition,
    /// Everything below this that was not settled.
    pub before: Offset,
}

/// A loss cannot be accepted. Nothing was given up.
#[derive(Debug, thiserror::Error)]
pub enum AcceptLossError {
    /// Not of the form.
    #[error("`{written}` is not a name, `/` and the number of a partition")]
    Form {
        /// As written.
        written: String,
    },
    /// No such source.
    #[error("there is no source `{name}` in the configuration; there are: {known}")]
    UnknownSource {
        /// As asked for.
        name: String,
        /// Those there are.
        known: String,
    },
    /// No such shard.
    #[error(
        "`{shard}` is no shard of this configuration: shards are called `kernel.SOURCE/N`, `scheduler.POOL/N` and `limits/N`"
    )]
    UnknownShard {
        /// As asked for.
        shard: String,
    },
    /// The shard does not read it.
    #[error("shard `{shard}` does not read `{input}`; it reads partitions of {known}")]
    NotItsInput {
        /// The shard.
        shard: String,
        /// As asked for.
        input: String,
        /// What it reads.
        known: String,
    },
    /// Names make no topic or sender.
    #[error("names of the configuration make no topic")]
    Name(#[from] tidegate_protocol::address::BadTopicName),
    /// A shard's name.
    #[error("the shard's name cannot be")]
    Shard(#[from] BadName),
    /// The trusted keys make no ring.
    #[error("`keys.trusted` cannot be used")]
    Keys(#[from] KeyringError),
    /// It would be written in vain.
    #[error("the key `{key}` is not believed for this ({why}): list it under `keys.trusted` with role `operator`")]
    NotTrusted {
        /// The key.
        key: String,
        /// Why.
        why: Distrust,
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
    #[error("it could not be written to `shards`")]
    NotWritten(#[source] AppendError),
}

/// Signs and writes that everything of an input below its log's present start is given up. The shard, which stands still,
/// looks every few seconds; what was settled before stays settled, and the range stands in its facts.
///
/// # Errors
/// [`AcceptLossError`].
pub async fn accept_loss(
    config: &Config,
    spine: &dyn Spine,
    signer: &dyn Sign,
    wanted: Wanted<'_>,
) -> Result<GivenUp, AcceptLossError> {
    let (shard, partition) = named(config, wanted)?;
    let shards = Topic::Shards.name(&config.prefix)?;
    let ends = spine.ends(std::slice::from_ref(&partition)).await?;
    let before = ends.first().map_or(0, |ends| ends.start);
    if before == 0 {
        return Err(AcceptLossError::NothingGone { partition });
    }
    let Wanted { by, at_ms, .. } = wanted;
    let loss = AcceptedLoss {
        v: 1,
        sender: shard.clone(),
        partition: partition.clone(),
        before,
        by: by.to_owned(),
        at_ms,
        key: None,
        signature: None,
    };
    // A struct of names and numbers always has a JSON text.
    let text = signed(signer, LOSS, serde_json::to_vec(&loss).unwrap_or_default());
    let ring = Keyring::new(config.keys.trusted.iter().cloned())?;
    if let Err(why) = tidegate_protocol::signature::check(&ring, LOSS, Capacity::Operator, at_ms, &text) {
        return Err(AcceptLossError::NotTrusted { key: signer.key().to_string(), why });
    }
    let list = [
        (headers::KIND, Bytes::from_static(Kind::Loss.word().as_bytes())),
        (headers::SENDER, Bytes::from(shard.to_string())),
    ];
    let record =
        NewRecord { key: Some(loss.record_key().into()), value: Some(text.into()), headers: Headers::from_iter(list) };
    let options = ProducerOptions { name: "accept-loss".into(), ..ProducerOptions::default() };
    let mut producer = spine.producer(options).await?;
    producer.append(&shards.partition(0), vec![record]).await.map_err(AcceptLossError::NotWritten)?;
    Ok(GivenUp { shard, partition, before })
}

/// Name and number of `name/number`.
fn numbered(written: &str) -> Result<(&str, u32), AcceptLossError> {
    let form = || AcceptLossError::Form { written: written.to_owned() };
    let (name, number) = written.rsplit_once('/').ok_or_else(form)?;
    Ok((name, number.parse().map_err(|_| form())?))
}

/// The shard and its input.
fn named(config: &Config, wanted: Wanted<'_>) -> Result<(SenderId, TopicPartition), AcceptLossError> {
    let (name, number) = numbered(wanted.input)?;
    let Some(shard) = wanted.shard else {
        let Some(source) = config.sources.iter().find(|source| source.name().as_str() == name) else {
            let known: Vec<&str> = config.sources.iter().map(|source| source.name().as_str()).collect();
            return Err(AcceptLossError::UnknownSource { name: name.to_owned(), known: known.join(", ") });
        };
        let topic = source.topic(&config.prefix)?;
        return Ok((SenderId::new(format!("kernel.{name}/{number}"))?, topic.partition(number)));
    };
    let inputs = inputs_of(config, shard)?;
    let Some(topic) = inputs.iter().find(|topic| topic.as_str() == name) else {
        let known: Vec<String> = inputs.iter().map(|topic| format!("`{topic}`")).collect();
        let (shard, input) = (shard.to_owned(), wanted.input.to_owned());
        return Err(AcceptLossError::NotItsInput { shard, input, known: known.join(", ") });
    };
    Ok((SenderId::new(shard)?, topic.partition(number)))
}

/// The topics that a shard reads.
fn inputs_of(config: &Config, shard: &str) -> Result<Vec<TopicName>, AcceptLossError> {
    let unknown = || AcceptLossError::UnknownShard { shard: shard.to_owned() };
    let prefix = &config.prefix;
    let (stage, _) = numbered(shard)?;
    if stage == "limits" {
        return Ok(vec![Topic::LimitRequests.name(prefix)?]);
    }
    match stage.split_once('.').ok_or_else(unknown)? {
        ("kernel", name) => {
            let source = config.sources.iter().find(|source| source.name().as_str() == name).ok_or_else(unknown)?;
            let name = source.name();
            let others = [Topic::Commands(name.clone()), Topic::Outcomes(name.clone()), Topic::Grants(name.clone())];
            let others = others.iter().map(|topic| topic.name(prefix));
            Ok(std::iter::once(source.topic(prefix)).chain(others).collect::<Result<_, _>>()?)
        }
        ("scheduler", name) => {
            let pool = config.pools.iter().find(|pool| pool.name().as_str() == name).ok_or_else(unknown)?;
            let name = pool.name();
            let all = [Topic::Approved, Topic::Overflow, Topic::Reports, Topic::Withdrawals, Topic::PoolCommands];
            let grants = pool.borrows().then(|| Topic::PoolGrants(name.clone()));
            let all: Vec<Topic> = all.map(|topic| topic(name.clone())).into_iter().chain(grants).collect();
            Ok(all.iter().map(|topic| topic.name(prefix)).collect::<Result<_, _>>()?)
        }
        _ => Err(unknown()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Written;

    fn said(shard: Option<&str>, input: &str) -> String {
        let config = Config::of(&Written::default()).unwrap();
        match named(&config, Wanted { shard, input, by: "ada", at_ms: 0 }) {
            Ok((shard, partition)) => format!("{shard} {partition}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_source_names_its_kernels_shard_and_an_alarm_names_any() {
        assert_eq!(said(None, "jobs.raw/2"), "kernel.jobs.raw/2 tidegate.jobs.raw/2");
        let kernel = Some("kernel.jobs.raw/2");
        for input in ["tidegate.jobs.raw/2", "tidegate.commands.jobs.raw/2", "tidegate.outcomes.jobs.raw/2"] {
            assert_eq!(said(kernel, input), format!("kernel.jobs.raw/2 {input}"));
        }
        let reports = "tidegate.reports.default/0";
        for input in [reports, "tidegate.commands.default/0"] {
            assert_eq!(said(Some("scheduler.default/0"), input), format!("scheduler.default/0 {input}"));
        }
        assert_eq!(said(Some("limits/1"), "tidegate.limits.requests/1"), "limits/1 tidegate.limits.requests/1");
    }

    #[test]
    fn what_no_shard_reads_is_refused_by_name() {
        for (shard, input, says) in [
            (None, "jobs.raw", "`jobs.raw` is not a name, `/` and the number of a partition"),
            (None, "jobs.raw/x", "`jobs.raw/x` is not a name"),
            (None, "orders/0", "there is no source `orders` in the configuration; there are: jobs.raw"),
            (Some("kernel.orders/0"), "tidegate.jobs.raw/0", "`kernel.orders/0` is no shard"),
            (Some("audit/0"), "tidegate.jobs.raw/0", "`audit/0` is no shard"),
            (Some("kernel.jobs.raw/0"), "tidegate.approved.default/0", "does not read `tidegate.approved.default/0`"),
            (Some("scheduler.default/0"), "jobs.raw/0", "it reads partitions of `tidegate.approved.default`"),
        ] {
            assert!(said(shard, input).contains(says), "{}", said(shard, input));
        }
    }
}
