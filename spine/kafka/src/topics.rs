//! Making, changing and describing topics.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, ConfigResource, ConfigSource, NewPartitions, NewTopic, ResourceSpecifier,
    TopicReplication, TopicResult,
};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::error::{KafkaResult, RDKafkaErrorCode as Code};
use tidegate_protocol::address::{Offset, TopicName, TopicPartition};
use tidegate_spine::{Cleanup, CleanupFound, SpineError, TopicSettings, TopicSpec, TopicState};

use crate::asking::number;
use crate::connection::Connection;
use crate::failure::{self, Failure};
use crate::keeper::Serve;
use crate::limits;
use crate::settings;
use crate::watch::Watch;

pub(crate) type Admin = AdminClient<Watch>;

/// After this an admin client is made anew: its log lines gather unread for as long as it lives.
const OLD: Duration = Duration::from_secs(60);

/// The admin client, made when needed and let go when old.
#[derive(Default)]
pub(crate) struct AdminSlot(Mutex<Option<(Instant, Arc<Admin>)>>);

impl AdminSlot {
    fn take_old(&self) -> Option<Arc<Admin>> {
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        slot.take_if(|(made, _)| made.elapsed() > OLD).map(|(_, admin)| admin)
    }
}

impl Serve for AdminSlot {
    fn serve(&self) {
        drop(self.take_old());
    }
}

impl Connection {
    /// The admin client.
    pub(crate) async fn admin(self: &Arc<Self>) -> Result<Arc<Admin>, SpineError> {
        let connection = Arc::clone(self);
        self.ask(move || {
            drop(connection.admin.take_old());
            let mut slot = connection.admin.0.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((_, admin)) = &*slot {
                return Ok(Arc::clone(admin));
            }
            let config = settings::administering(&connection.options);
            let admin = AdminClient::from_config_and_context(&config, Watch::new("admin"))
                .map_err(|error| Failure::from_client(&error, None))?;
            let admin = Arc::new(admin);
            *slot = Some((Instant::now(), Arc::clone(&admin)));
            Ok(admin)
        })
        .await
    }

    fn patience(&self) -> AdminOptions {
        let time = self.options.request_timeout;
        AdminOptions::new().request_timeout(Some(time)).operation_timeout(Some(time))
    }

    fn topic_error(&self, code: Code, topic: &TopicName) -> SpineError {
        let words = if code == Code::InvalidReplicationFactor {
            format!("topic `{topic}`: the cluster cannot keep that many copies")
        } else {
            format!("topic `{topic}`: {code}")
        };
        self.error(self.asking.explain(Failure::of(code, words, Some(topic))))
    }

    /// The one result of an admin request about one topic.
    fn done(&self, topic: &TopicName, results: KafkaResult<Vec<TopicResult>>) -> Result<(), SpineError> {
        match results.map(|all| all.into_iter().next()) {
            Ok(Some(Ok(_)) | None) => Ok(()),
            Ok(Some(Err((_, code)))) => Err(self.topic_error(code, topic)),
            Err(error) => Err(self.topic_error(failure::code(&error), topic)),
        }
    }

    /// Asks until `reached`, since brokers answer an admin request before all of them act on it.
    async fn until(
        self: &Arc<Self>,
        what: &'static str,
        reached: impl Fn(&Self) -> Result<bool, Failure> + Send + 'static,
    ) -> Result<(), SpineError> {
        let connection = Arc::clone(self);
        self.ask(move || {
            let until = Instant::now() + connection.options.request_timeout;
            while !reached(&connection)? {
                if Instant::now() >= until {
                    return Err(Failure::Unavailable(format!("the brokers have not yet {what}")));
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            Ok(())
        })
        .await
    }

    pub(crate) async fn create(self: &Arc<Self>, spec: &TopicSpec) -> Result<(), SpineError> {
        let admin = self.admin().await?;
        let partitions = i32::try_from(spec.partitions).unwrap_or(i32::MAX);
        let copies = TopicReplication::Fixed(spec.replication.map_or(-1, i32::from));
        let wanted = wanted(spec);
        let topic = wanted
            .iter()
            .fold(NewTopic::new(spec.name.as_str(), partitions, copies), |topic, (key, value)| topic.set(key, value));
        let results = admin.create_topics([&topic], &self.patience()).await;
        self.done(&spec.name, results)?;
        self.limits.learn(&spec.name, limits::record_limit(limits::batch_limit(spec.max_record_bytes)));
        let (name, partitions) = (spec.name.clone(), spec.partitions);
        self.until("made the new topic usable", move |c| c.asking.led(&name, partitions)).await
    }

    pub(crate) async fn alter(self: &Arc<Self>, spec: &TopicSpec) -> Result<(), SpineError> {
        let has = self.partitions(&spec.name).await?;
        if has == 0 {
            return Err(SpineError::UnknownTopic { topic: spec.name.clone() });
        }
        if has > spec.partitions {
            let words = format!("topic `{}` has {has} partitions and cannot shrink to {}", spec.name, spec.partitions);
            return Err(self.error(Failure::Invalid(words)));
        }
        let admin = self.admin().await?;
        // Kafka's older request, all that rdkafka offers, resets what it does not name: so all is named that was set.
        let mut settings = BTreeMap::new();
        let set = self.configs(&admin, std::slice::from_ref(&spec.name)).await?.into_iter().next();
        let set =
            set.unwrap_or(Err(Code::UnknownTopicOrPartition)).map_err(|code| self.topic_error(code, &spec.name))?;
        for entry in set.entries {
            if let (ConfigSource::DynamicTopic, Some(value)) = (entry.source, entry.value) {
                settings.insert(entry.name, value);
            }
        }
        settings.extend(wanted(spec).into_iter().map(|(key, value)| (key.to_owned(), value)));
        let request = settings
            .iter()
            .fold(AlterConfig::new(ResourceSpecifier::Topic(spec.name.as_str())), |r, (key, value)| r.set(key, value));
        match admin.alter_configs([&request], &self.patience()).await.map(|all| all.into_iter().next()) {
            Ok(Some(Err((_, code)))) => return Err(self.topic_error(code, &spec.name)),
            Err(error) => return Err(self.topic_error(failure::code(&error), &spec.name)),
            Ok(Some(Ok(_)) | None) => {}
        }
        self.until_set(&admin, spec).await?;
        self.limits.learn(&spec.name, limits::record_limit(limits::batch_limit(spec.max_record_bytes)));
        if has < spec.partitions {
            let count = usize::try_from(spec.partitions).unwrap_or(usize::MAX);
            let more = NewPartitions::new(spec.name.as_str(), count);
            let results = admin.create_partitions([&more], &self.patience()).await;
            self.done(&spec.name, results)?;
            let (name, partitions) = (spec.name.clone(), spec.partitions);
            self.until("made the new partitions usable", move |c| c.asking.led(&name, partitions)).await?;
        }
        Ok(())
    }

    /// Asks until the broker shows the settings of `spec`: it answers a change before it acts on it.
    async fn until_set(&self, admin: &Admin, spec: &TopicSpec) -> Result<(), SpineError> {
        let until = Instant::now() + self.options.request_timeout;
        let wanted = wanted(spec);
        loop {
            let found = self.configs(admin, std::slice::from_ref(&spec.name)).await?.into_iter().next();
            let found =
                found.unwrap_or(Err(Code::UnknownTopicOrPartition)).map_err(|e| self.topic_error(e, &spec.name))?;
            let value = |name: &str| found.get(name).and_then(|entry| entry.value.as_deref());
            if wanted.iter().all(|(name, wanted)| value(name) == Some(wanted)) {
                return Ok(());
            }
            if Instant::now() >= until {
                let words = format!("topic `{}`: the brokers do not yet show its new settings", spec.name);
                return Err(self.error(Failure::Unavailable(words)));
            }
            let pause = || {
                std::thread::sleep(Duration::from_millis(5));
                Ok(())
            };
            self.ask(pause).await?;
        }
    }

    pub(crate) async fn delete(self: &Arc<Self>, topic: &TopicName) -> Result<(), SpineError> {
        let admin = self.admin().await?;
        let results = admin.delete_topics(&[topic.as_str()], &self.patience()).await;
        self.done(topic, results)?;
        self.limits.forget(topic);
        let name = topic.clone();
        self.until("forgotten the topic", move |c| Ok(c.asking.partitions(&name)? == 0)).await
    }

    pub(crate) async fn trim(self: &Arc<Self>, partition: &TopicPartition, before: Offset) -> Result<(), SpineError> {
        if self.partitions(&partition.topic).await? <= partition.partition {
            return Err(SpineError::UnknownTopic { topic: partition.topic.clone() });
        }
        let admin = self.admin().await?;
        let mut list = TopicPartitionList::with_capacity(1);
        let place = rdkafka::Offset::Offset(i64::try_from(before).unwrap_or(i64::MAX));
        let refused = |error: rdkafka::error::KafkaError| {
            let code = failure::code(&error);
            let words = format!("trimming `{partition}` below {before}: {code}");
            self.error(self.asking.explain(Failure::of(code, words, Some(&partition.topic))))
        };
        list.add_partition_offset(partition.topic.as_str(), number(partition), place).map_err(refused)?;
        let answer = admin.delete_records(&list, &self.patience()).await.map_err(refused)?;
        answer.elements().iter().try_for_each(|e| e.error()).map_err(refused)
    }

    pub(crate) async fn describe(
        self: &Arc<Self>,
        topics: &[TopicName],
    ) -> Result<Vec<Option<TopicState>>, SpineError> {
        let (asking, asked) = (Arc::clone(&self.asking), topics.to_vec());
        let counts =
            self.ask(move || asked.iter().map(|topic| asking.partitions(topic)).collect::<Result<Vec<_>, _>>()).await?;
        let there: Vec<TopicName> =
            topics.iter().zip(&counts).filter(|(_, count)| **count > 0).map(|(topic, _)| topic.clone()).collect();
        let mut configs = Vec::new();
        if !there.is_empty() {
            configs = self.configs(&*self.admin().await?, &there).await?;
        }
        let mut configs = there.iter().zip(configs).collect::<BTreeMap<_, _>>();
        let states = topics
            .iter()
            .zip(counts)
            .map(|(topic, partitions)| (partitions > 0).then(|| state(topic, partitions, configs.remove(topic))));
        let states: Vec<Option<TopicState>> = states.collect();
        for state in states.iter().flatten() {
            if let Ok(settings) = &state.settings {
                self.limits.learn(&state.name, settings.max_record_bytes);
            }
        }
        Ok(states)
    }

    async fn partitions(self: &Arc<Self>, topic: &TopicName) -> Result<u32, SpineError> {
        let (asking, topic) = (Arc::clone(&self.asking), topic.clone());
        self.ask(move || asking.partitions(&topic)).await
    }

    /// Settings of topics in the order asked for, each with why it is not told: it may not be seen, or has just gone.
    async fn configs(&self, admin: &Admin, of: &[TopicName]) -> Result<Vec<Result<ConfigResource, Code>>, SpineError> {
        let asked: Vec<_> = of.iter().map(|topic| ResourceSpecifier::Topic(topic.as_str())).collect();
        let answers = admin
            .describe_configs(&asked, &self.patience())
            .await
            .map_err(|error| self.error(self.asking.explain(Failure::from_client(&error, None))))?;
        // In the order asked for: librdkafka sees to it.
        Ok(answers)
    }
}

/// Hands the admin client's slot to the keeper.
pub(crate) fn kept(slot: &Arc<AdminSlot>) -> Weak<dyn Serve> {
    let served: Arc<dyn Serve> = slot.clone();
    Arc::downgrade(&served)
}

/// Kafka's settings for a topic.
fn wanted(spec: &TopicSpec) -> Vec<(&'static str, String)> {
    let mut settings = vec![
        ("max.message.bytes", limits::batch_limit(spec.max_record_bytes).to_string()),
        ("message.timestamp.type", if spec.broker_time { "LogAppendTime" } else { "CreateTime" }.to_owned()),
    ];
    match spec.cleanup {
        Cleanup::Keyed => settings.push(("cleanup.policy", "compact".to_owned())),
        Cleanup::Log { retention_ms } => {
            settings.push(("cleanup.policy", "delete".to_owned()));
            settings.push(("retention.ms", retention_ms.map_or_else(|| "-1".to_owned(), |ms| ms.to_string())));
            // By age or by its reader, never by size: that would lose records unread.
            settings.push(("retention.bytes", "-1".to_owned()));
        }
    }
    settings
}

fn state(topic: &TopicName, partitions: u32, config: Option<Result<ConfigResource, Code>>) -> TopicState {
    let settings = match config {
        Some(Ok(config)) => settings_of(&config),
        Some(Err(code)) => Err(format!("DescribeConfigs: {code}")),
        None => Err("DescribeConfigs: no answer".to_owned()),
    };
    TopicState { name: topic.clone(), partitions, settings }
}

fn settings_of(config: &ConfigResource) -> Result<TopicSettings, String> {
    let get = |name: &str| {
        let value = config.get(name).and_then(|entry| entry.value.as_deref());
        value.ok_or_else(|| format!("the broker does not tell `{name}`"))
    };
    // A negative number is Kafka's word for no limit.
    let number = |name: &str| -> Result<Option<u64>, String> {
        let value = get(name)?;
        let number: i64 = value.parse().map_err(|_| format!("`{name}` is `{value}`, which is no number"))?;
        Ok(number.try_into().ok())
    };
    let cleanup = match get("cleanup.policy")? {
        "compact" => CleanupFound::Known(Cleanup::Keyed),
        "delete" => CleanupFound::Known(Cleanup::Log { retention_ms: number("retention.ms")? }),
        other => CleanupFound::Other(other.to_owned()),
    };
    let batch = number("max.message.bytes")?.unwrap_or_default();
    Ok(TopicSettings {
        cleanup,
        retention_bytes: number("retention.bytes")?,
        max_record_bytes: limits::record_limit(usize::try_from(batch).unwrap_or(usize::MAX)),
        broker_time: get("message.timestamp.type")? == "LogAppendTime",
    })
}
