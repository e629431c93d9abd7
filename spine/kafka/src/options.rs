//! What a connection is opened with: brokers, timeouts, and any librdkafka setting that breaks no promise.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// How to reach a Kafka cluster.
#[derive(Clone)]
pub struct KafkaOptions {
    /// Bootstrap brokers as `host:port`, at least one.
    pub brokers: Vec<String>,
    /// librdkafka settings (<https://github.com/confluentinc/librdkafka/blob/master/CONFIGURATION.md>): security,
    /// compression, buffers. They overrule Tidegate's own choices, except those that a promise rests on: see
    /// [`Self::check`]. Values are final: `${file:…}` and `${env:…}` are resolved before.
    pub settings: BTreeMap<String, String>,
    /// After this a question without an answer fails as `Unavailable`. Default 10 s.
    pub request_timeout: Duration,
}

/// A Kafka URL that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("spine URL `{url}`: {reason}; write `kafka://host:port,host:port`")]
pub struct BadUrl {
    /// The URL, user information removed.
    pub url: String,
    /// What is wrong with it.
    pub reason: String,
}

/// A setting that may not be given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Kafka setting `{name}` cannot be set: {why}; remove it")]
pub struct BadSetting {
    /// Its name.
    pub name: String,
    /// Which promise it would break.
    pub why: &'static str,
}

/// Settings that a promise rests on, and which.
const FIXED: &[(&str, &str)] = &[
    ("bootstrap.servers", "brokers belong in the spine URL"),
    ("metadata.broker.list", "brokers belong in the spine URL"),
    ("acks", DURABLE),
    ("request.required.acks", DURABLE),
    ("enable.idempotence", "appends are neither doubled nor reordered by the client's retries"),
    ("enable.gapless.guarantee", "one refused record does not end a producer"),
    ("max.in.flight", ORDER),
    ("max.in.flight.requests.per.connection", ORDER),
    ("message.timeout.ms", NO_TIMEOUT),
    ("delivery.timeout.ms", NO_TIMEOUT),
    ("retries", NO_TIMEOUT),
    ("message.send.max.retries", NO_TIMEOUT),
    ("transactional.id", "Tidegate's own protocol stands in for transactions"),
    ("queue.buffering.max.messages", BOUNDED),
    ("queue.buffering.max.kbytes", BOUNDED),
    ("message.max.bytes", "record sizes are limited by each topic's own setting"),
    ("message.copy.max.bytes", "record sizes are limited by each topic's own setting"),
    ("isolation.level", "only committed records are read"),
    ("auto.offset.reset", "a truncated log is reported, never skipped"),
    ("enable.auto.commit", POSITIONS),
    ("enable.auto.offset.store", POSITIONS),
    ("auto.commit.enable", POSITIONS),
    ("enable.partition.eof", "positions move over transaction markers"),
    ("partition.assignment.strategy", GROUPS),
    ("group.protocol", GROUPS),
    ("group.instance.id", GROUPS),
    ("session.timeout.ms", "it belongs to Tidegate's own configuration"),
    ("heartbeat.interval.ms", "it follows from the session timeout"),
    ("allow.auto.create.topics", "topics are never created behind the user's back"),
    ("log.queue", "logs go through Tidegate's own"),
];
const DURABLE: &str = "an append counts only when all replicas in sync have it";
const ORDER: &str = "records of a partition land in the order of the calls";
const NO_TIMEOUT: &str = "an append has no timeout";
const BOUNDED: &str = "what is in flight is bounded by Tidegate itself";
const POSITIONS: &str = "positions live in the facts, not in Kafka's group offsets";
const GROUPS: &str = "the way a group shares out shards is Tidegate's";

impl KafkaOptions {
    /// Options for these brokers, everything else by default.
    #[must_use]
    pub fn new(brokers: Vec<String>) -> Self {
        Self { brokers, settings: BTreeMap::new(), request_timeout: Duration::from_secs(10) }
    }

    /// Reads `kafka://host:port,host:port`; a port left out is 9092, an IPv6 host stands in brackets.
    ///
    /// # Errors
    /// [`BadUrl`] names what is wrong; credentials in the URL are refused (they are settings).
    pub fn parse(url: &str) -> Result<Self, BadUrl> {
        let bad = |reason: String| BadUrl { url: without_user(url), reason };
        let rest = url.strip_prefix("kafka://").ok_or_else(|| bad("it does not start with `kafka://`".into()))?;
        if rest.contains('@') {
            return Err(bad("credentials do not belong in it (use settings such as `sasl.password`)".into()));
        }
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if let Some(odd) = rest.chars().find(|c| matches!(c, '/' | '?' | '#') || c.is_whitespace()) {
            return Err(bad(format!("`{odd}` has no meaning in it (settings go into the configuration)")));
        }
        let brokers = rest.split(',').map(broker).collect::<Result<Vec<_>, _>>().map_err(bad)?;
        Ok(Self::new(brokers))
    }

    /// The URL of these brokers; no secrets, since none can be in it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("kafka://{}", self.brokers.join(","))
    }

    /// Whether every setting may be given; that librdkafka knows it and likes its value is found when opening.
    ///
    /// # Errors
    /// [`BadSetting`] for the first that would break a promise.
    pub fn check(&self) -> Result<(), BadSetting> {
        let plain = |name: &str| name.strip_prefix("topic.").unwrap_or(name).to_ascii_lowercase();
        for name in self.settings.keys() {
            if let Some((_, why)) = FIXED.iter().find(|(fixed, _)| *fixed == name || *fixed == plain(name)) {
                return Err(BadSetting { name: name.clone(), why });
            }
        }
        Ok(())
    }
}

fn broker(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("a broker's `host:port` is missing".into());
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !text.ends_with(']') && (!host.contains(':') || host.ends_with(']')) => (host, port),
        None => (text, "9092"),
        Some(_) if text.starts_with('[') && text.ends_with(']') => (text, "9092"),
        Some(_) => return Err(format!("`{text}` is not `host:port` (an IPv6 address stands in brackets)")),
    };
    if host.is_empty() {
        return Err(format!("`{text}` has no host"));
    }
    match port.parse::<u16>() {
        Ok(1..) => Ok(format!("{host}:{port}")),
        Ok(0) | Err(_) => Err(format!("`{port}` is not a port")),
    }
}

fn without_user(url: &str) -> String {
    match (url.find("://"), url.rfind('@')) {
        (Some(scheme), Some(at)) if scheme + 3 <= at => {
            let (head, tail) = (url.get(..scheme + 3).unwrap_or(""), url.get(at..).unwrap_or(""));
            format!("{head}***{tail}")
        }
        _ => url.to_owned(),
    }
}

/// Whether a setting's value may never be shown.
pub(crate) fn secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["password", "secret", ".pem", "oauthbearer.config", "token", "private"].iter().any(|word| name.contains(word))
}

impl fmt::Debug for KafkaOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown: BTreeMap<_, _> =
            self.settings.iter().map(|(name, value)| (name, if secret(name) { "***" } else { value })).collect();
        f.debug_struct("KafkaOptions")
            .field("brokers", &self.brokers)
            .field("settings", &shown)
            .field("request_timeout", &self.request_timeout)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read() {
        for (url, brokers) in [
            ("kafka://a:1", &["a:1"][..]),
            ("kafka://a:1,b.example:2/", &["a:1", "b.example:2"]),
            ("kafka://127.0.0.1", &["127.0.0.1:9092"]),
            ("kafka://[::1]:9093,[::2]", &["[::1]:9093", "[::2]:9092"]),
        ] {
            assert_eq!(KafkaOptions::parse(url).unwrap().brokers, brokers, "{url}");
        }
        assert_eq!(KafkaOptions::parse("kafka://a,b:2").unwrap().url(), "kafka://a:9092,b:2");
    }

    #[test]
    fn bad_urls_say_what_is_wrong() {
        for (url, says) in [
            ("amqp://a:1", "does not start with `kafka://`"),
            ("kafka://", "is missing"),
            ("kafka://a:1,", "is missing"),
            ("kafka://:9", "no host"),
            ("kafka://a:0", "`0` is not a port"),
            ("kafka://a:b", "`b` is not a port"),
            ("kafka://a:70000", "not a port"),
            ("kafka://::1:9092", "brackets"),
            ("kafka://a:1/path", "`/` has no meaning"),
            ("kafka://a:1?x=y", "`?` has no meaning"),
        ] {
            let error = KafkaOptions::parse(url).unwrap_err().to_string();
            assert!(error.contains(says), "{url}: {error}");
        }
        let error = KafkaOptions::parse("kafka://me:hunter2@a:1").unwrap_err().to_string();
        assert!(error.contains("***@a:1") && !error.contains("hunter2"), "{error}");
    }

    #[test]
    fn settings_that_break_a_promise_are_refused() {
        let mut options = KafkaOptions::new(vec!["a:1".into()]);
        options.settings.insert("sasl.mechanism".into(), "PLAIN".into());
        options.settings.insert("linger.ms".into(), "1".into());
        options.check().unwrap();
        for name in ["acks", "topic.acks", "enable.idempotence", "Enable.Idempotence", "auto.offset.reset"] {
            let mut options = options.clone();
            options.settings.insert(name.into(), "x".into());
            assert_eq!(options.check().unwrap_err().name, name);
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let mut options = KafkaOptions::new(vec!["a:1".into()]);
        for name in ["sasl.password", "ssl.key.pem", "ssl.keystore.password", "sasl.oauthbearer.client.secret"] {
            options.settings.insert(name.into(), "hunter2".into());
        }
        options.settings.insert("sasl.username".into(), "me".into());
        let shown = format!("{options:?}");
        assert!(!shown.contains("hunter2") && shown.contains("\"me\""), "{shown}");
    }
}
