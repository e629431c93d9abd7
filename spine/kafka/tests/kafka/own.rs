//! What only this adapter promises.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::pin;
use std::time::{Duration, Instant};

use futures::executor::block_on;
use futures::future::{Either, select};
use rdkafka::ClientConfig;
use rdkafka::config::FromClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use tidegate_kafka::{KafkaOptions, KafkaSpine};
use tidegate_protocol::address::{TopicName, TopicPartition};
use tidegate_spine::conformance::Fixture;
use tidegate_spine::{
    Cleanup, Ends, ErrorClass, Headers, NewRecord, ProducerOptions, Spine, SpineError, Start, TopicSpec,
};

use crate::broker::Broker;
use crate::{address, fixture, prefix};

fn here() -> KafkaOptions {
    KafkaOptions::new(vec![address()])
}

/// The output of `future`, or a failure instead of a test that never ends.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    let (alarm, rings) = futures::channel::oneshot::channel();
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_secs(30));
        let _ = alarm.send(());
    });
    match select(pin!(future), rings).await {
        Either::Left((output, _)) => output,
        Either::Right(_) => panic!("nothing for 30 seconds"),
    }
}

async fn topic(spine: &dyn Spine) -> TopicPartition {
    let name = TopicName::new(format!("{}own", prefix())).unwrap();
    let cleanup = Cleanup::Log { retention_ms: None };
    let spec =
        TopicSpec { name, partitions: 1, cleanup, max_record_bytes: 1 << 20, broker_time: true, replication: None };
    spine.create(&spec).await.unwrap();
    spec.name.partition(0)
}

fn client(more: &[(&str, &str)]) -> BaseProducer {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", address());
    for (name, value) in more {
        config.set(*name, *value);
    }
    BaseProducer::from_config(&config).unwrap()
}

/// Transaction markers and aborted records take offsets that no reader sees; the position passes over them.
#[test]
fn positions_move_over_transactions() {
    block_on(async {
        let fixture = fixture().await;
        let spine = fixture.spine();
        let from = topic(spine.as_ref()).await;
        let foreign = client(&[("transactional.id", from.topic.as_str())]);
        let patience = Duration::from_secs(20);
        foreign.init_transactions(patience).unwrap();
        for committed in [true, false] {
            foreign.begin_transaction().unwrap();
            for n in 0..3_u8 {
                let record = BaseRecord::<[u8], [u8]>::to(from.topic.as_str()).partition(0);
                foreign.send(record.payload(&[n])).map_err(|(e, _)| e).unwrap();
            }
            if committed {
                foreign.commit_transaction(patience).unwrap();
            } else {
                foreign.flush(patience).unwrap();
                foreign.abort_transaction(patience).unwrap();
            }
        }
        // Three records and a marker, twice; the coordinator writes the last marker in its own time.
        let asked = Instant::now();
        let mut end = Ends { start: 0, end: 0 };
        while end != (Ends { start: 0, end: 8 }) {
            assert!(asked.elapsed() < patience, "{end:?}");
            end = spine.ends(std::slice::from_ref(&from)).await.unwrap()[0];
        }
        let mut reader = spine.reader("own").await.unwrap();
        let handle = reader.open(&from, Start::Earliest);
        let (mut records, mut position) = (Vec::new(), 0);
        while position < end.end {
            position = soon(poll_fn(|cx| reader.poll_read(handle, 100, cx, &mut records))).await.unwrap().position;
        }
        assert_eq!(records.iter().map(|r| r.offset).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(position, 8);
    });
}

/// Strangers write header names that are not UTF-8, null header values and compressed batches.
#[test]
fn strangers_records_are_read() {
    block_on(async {
        let fixture = fixture().await;
        let spine = fixture.spine();
        let from = topic(spine.as_ref()).await;
        for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
            let foreign = client(&[("compression.type", codec), ("linger.ms", "50")]);
            for _ in 0..20 {
                let headers = OwnedHeaders::new()
                    .insert(Header { key: "null", value: None::<&[u8]> })
                    .insert(Header { key: "tg-kind", value: Some("x") });
                let record = BaseRecord::<[u8], [u8]>::to(from.topic.as_str()).partition(0).headers(headers);
                foreign.send(record.payload(&[b'a'; 500])).map_err(|(e, _)| e).unwrap();
            }
            foreign.flush(Duration::from_secs(20)).unwrap();
        }
        let mut reader = spine.reader("own").await.unwrap();
        let handle = reader.open(&from, Start::Earliest);
        let mut records = Vec::new();
        while records.len() < 100 {
            soon(poll_fn(|cx| reader.poll_read(handle, 100, cx, &mut records))).await.unwrap();
        }
        let expected: Headers = [("null", &b""[..]), ("tg-kind", b"x")]
            .into_iter()
            .map(|(name, value)| (name, bytes::Bytes::from_static(value)))
            .collect();
        assert!(records.iter().all(|r| r.headers == expected && r.value.as_ref().unwrap().len() == 500));
    });
}

/// A batch fits every topic that is made here, however small its records are to be.
#[test]
fn many_small_records_fit_a_topic_for_small_records() {
    block_on(async {
        let fixture = fixture().await;
        let spine = fixture.spine();
        let name = TopicName::new(format!("{}small", prefix())).unwrap();
        let cleanup = Cleanup::Log { retention_ms: None };
        let spec =
            TopicSpec { name, partitions: 1, cleanup, max_record_bytes: 100, broker_time: true, replication: None };
        spine.create(&spec).await.unwrap();
        let to = spec.name.partition(0);
        let mut producer = spine.producer(ProducerOptions::default()).await.unwrap();
        let record = NewRecord { value: Some(bytes::Bytes::from(vec![1; 90])), ..NewRecord::default() };
        let landed = producer.append(&to, vec![record; 50_000]).await.unwrap();
        assert_eq!((landed.first, landed.last), (0, 49_999));
    });
}

/// Ends are asked for many times a second.
#[test]
fn ends_of_several_partitions_take_a_few_milliseconds() {
    block_on(async {
        let fixture = fixture().await;
        let spine = fixture.spine();
        let name = TopicName::new(format!("{}ends", prefix())).unwrap();
        let cleanup = Cleanup::Log { retention_ms: None };
        let spec =
            TopicSpec { name, partitions: 8, cleanup, max_record_bytes: 1 << 20, broker_time: true, replication: None };
        spine.create(&spec).await.unwrap();
        let all: Vec<_> = (0..8).map(|p| spec.name.partition(p)).collect();
        let mut times = Vec::new();
        for _ in 0..200 {
            let asked = Instant::now();
            assert_eq!(spine.ends(&all).await.unwrap(), [Ends { start: 0, end: 0 }; 8]);
            times.push(asked.elapsed());
        }
        times.sort();
        println!("ends of 8 partitions: p50 {:?}, p99 {:?}", times[100], times[198]);
        // Generous, since tests run beside each other; alone it is well below 2 ms.
        assert!(times[100] < Duration::from_millis(50), "{:?}", times[100]);
    });
}

#[test]
fn a_broker_that_is_down_is_unavailable_in_time() {
    let mut options = KafkaOptions::new(vec!["127.0.0.1:1".into()]);
    options.request_timeout = Duration::from_secs(1);
    let asked = Instant::now();
    let error = block_on(KafkaSpine::open(options)).unwrap_err();
    assert!(asked.elapsed() < Duration::from_secs(3), "{:?}", asked.elapsed());
    let SpineError::Unavailable { spine, reason, .. } = &error else { panic!("{error:?}") };
    assert_eq!(spine, "kafka://127.0.0.1:1");
    assert!(reason.contains("refused"), "{reason}");
    assert_eq!(error.class(), ErrorClass::Wait);
}

#[test]
fn settings_are_checked_when_opening() {
    for (name, value, says) in [
        ("no.such.setting", "1", "no.such.setting"),
        ("linger.ms", "soon", "linger.ms"),
        ("acks", "1", "replicas in sync"),
    ] {
        let mut options = here();
        options.settings = BTreeMap::from([(name.to_owned(), value.to_owned())]);
        let error = block_on(KafkaSpine::open(options)).unwrap_err();
        assert!(matches!(&error, SpineError::Invalid { reason, .. } if reason.contains(says)), "{error:?}");
    }
}

/// The right password opens, a wrong one is denied at once, in the broker's words; neither shows in the error.
#[test]
fn wrong_credentials_are_denied() {
    let broker = Broker::start(&["--sasl"]);
    let login = |password: &str| {
        let mut options = KafkaOptions::new(vec![format!("127.0.0.1:{}", broker.word("sasl_port"))]);
        options.settings = [
            ("security.protocol", "SASL_PLAINTEXT"),
            ("sasl.mechanism", "PLAIN"),
            ("sasl.username", &broker.word("sasl_user")),
            ("sasl.password", password),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        options
    };
    let spine = block_on(KafkaSpine::open(login(&broker.word("sasl_password")))).unwrap();
    block_on(spine.list("")).unwrap();
    let asked = Instant::now();
    let error = block_on(KafkaSpine::open(login("hunter2"))).unwrap_err();
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    let SpineError::Denied { reason, .. } = &error else { panic!("{error:?}") };
    assert!(reason.contains("Authentication failed") && !error.to_string().contains("hunter2"), "{error}");
    assert_eq!(error.class(), ErrorClass::Refuse);
}
