//! When what waits is told of, and as what.

use ::metrics as metrics_crate;
use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use metrics_crate::{Counter, Gauge, Histogram, Key, KeyName, Metadata, SharedString, Unit};
use tidegate_embedded::{EmbeddedOptions, EmbeddedSpine};
use tidegate_spine::{Layer, NewRecord, ProducerOptions, TopicSettings, TopicSpec};

use super::*;

#[test]
fn half_of_what_is_kept_is_near() {
    let hour = Duration::from_secs(3_600);
    assert!(!is_near(hour / 2, hour));
    assert!(is_near(hour / 2 + Duration::from_millis(1), hour));
    assert!(is_near(Duration::MAX, hour));
}

#[test]
fn the_older_half_of_a_log_whose_start_moves_is_near_its_end() {
    let ends = |start, end| Ends { start, end };
    let share = |position, ends| (unread_share(position, 0, ends) * 100.0).round();
    assert!(share(0, ends(0, 100)) < 1.0, "nothing has gone yet");
    assert!(unread_share(25, 20, ends(20, 100)) < 0.01, "nothing has gone since");
    assert_eq!([40, 60, 100].map(|position| share(position, ends(20, 100)) as u32), [75, 50, 0]);
    assert_eq!(share(10, ends(20, 100)) as u32, 100, "gone already");
    assert!(share(100, ends(100, 100)) < 1.0);
    assert!(is_near_by_size(59, ends(20, 100)) && !is_near_by_size(60, ends(20, 100)));
    let state = |cleanup, retention_bytes| TopicState {
        name: TopicName::new("t").unwrap(),
        partitions: 1,
        settings: Ok(TopicSettings { cleanup, retention_bytes, max_record_bytes: 1, broker_time: true }),
    };
    let log = || CleanupFound::Known(Cleanup::Log { retention_ms: Some(1) });
    assert!(shrinks(&state(log(), Some(1))) && !shrinks(&state(log(), None)));
    assert!(shrinks(&state(CleanupFound::Other("compact,delete".into()), None)));
    assert!(!shrinks(&state(CleanupFound::Known(Cleanup::Keyed), None)));
    assert!(!shrinks(&TopicState { settings: Err("denied".into()), ..state(log(), Some(1)) }), "not told");
}

#[tokio::test]
async fn a_reader_in_the_older_half_of_a_log_that_shrinks_is_told_of_until_it_has_read_on() {
    let (folder, heard) = (tempfile::tempdir().unwrap(), Heard::default());
    let _heard = heard.listens();
    let name = TopicName::new("theirs").unwrap();
    let spine: Arc<dyn Spine> = Arc::new(Limited(three_records(folder.path(), &name, None).await));
    let latest = Latest::default();
    let mut looking = Looking::new(Arc::clone(&spine), Arc::clone(&latest));
    let input = name.partition(0);
    let reached = |position| Reached { input: input.clone(), position, head: position, open: 0 };
    locked(&latest).insert(input.clone(), reached(1));
    looking.look().await.unwrap();
    assert_eq!((heard.told(), heard.unread()), (vec![], 0), "nothing has gone yet");
    spine.trim(&input, 1).await.unwrap();
    looking.look().await.unwrap();
    looking.look().await.unwrap();
    let alarm = "ERROR theirs/0: records of an input are not settled, lie in the older half of what the broker has";
    assert_eq!((heard.told(), heard.unread()), (vec![alarm.to_owned()], 100), "once");
    locked(&latest).insert(input.clone(), reached(2));
    looking.look().await.unwrap();
    let over = "INFO theirs/0: what is read next of an input is no longer in the older half of what the broker has";
    assert_eq!((heard.told(), heard.unread()), (vec![alarm.to_owned(), over.to_owned()], 50));
    locked(&latest).insert(input.clone(), reached(3));
    looking.look().await.unwrap();
    assert_eq!(heard.unread(), 0);
}

#[tokio::test]
async fn of_a_log_that_its_own_reader_trims_nothing_is_told() {
    let (folder, heard) = (tempfile::tempdir().unwrap(), Heard::default());
    let _heard = heard.listens();
    let name = TopicName::new("ours").unwrap();
    let spine = three_records(folder.path(), &name, None).await;
    let latest = Latest::default();
    let mut looking = Looking::new(Arc::clone(&spine), Arc::clone(&latest));
    let input = name.partition(0);
    locked(&latest).insert(input.clone(), Reached { input: input.clone(), position: 1, head: 1, open: 0 });
    looking.look().await.unwrap();
    spine.trim(&input, 1).await.unwrap();
    looking.look().await.unwrap();
    assert_eq!((heard.told(), heard.unread()), (vec![], 0));
}

/// What is told in the log and by the gauge of what is unread, on this thread.
#[derive(Clone, Default)]
struct Heard {
    told: Arc<Mutex<Vec<String>>>,
    unread: Arc<Mutex<Option<f64>>>,
}

impl Heard {
    /// As long as these are kept.
    fn listens(&self) -> (tracing::subscriber::DefaultGuard, metrics_crate::LocalRecorderGuard<'_>) {
        (tracing::subscriber::set_default(self.clone()), metrics_crate::set_default_local_recorder(self))
    }

    /// Level, partition and sentence, up to its first bracket.
    fn told(&self) -> Vec<String> {
        self.told.lock().unwrap().clone()
    }

    /// In per cent.
    fn unread(&self) -> u32 {
        let set = self.unread.lock().unwrap().unwrap_or_else(|| panic!("the gauge was not set"));
        (set * 100.0).round() as u32
    }
}

impl tracing::Subscriber for Heard {
    fn enabled(&self, of: &tracing::Metadata<'_>) -> bool {
        *of.level() <= tracing::Level::INFO && of.target().ends_with("::lag")
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let sentence = fields.message.split(", and it lets").next().unwrap_or_default();
        let told = format!("{} {}: {sentence}", event.metadata().level(), fields.partition);
        self.told.lock().unwrap().push(told);
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

#[derive(Default)]
struct Fields {
    message: String,
    partition: String,
}

impl tracing::field::Visit for Fields {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            "partition" => self.partition = format!("{value:?}"),
            _ => {}
        }
    }
}

impl metrics_crate::Recorder for Heard {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        Counter::noop()
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        if key.name() == "tidegate_node_unread_ratio" { Gauge::from_arc(Arc::new(self.clone())) } else { Gauge::noop() }
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

impl metrics_crate::GaugeFn for Heard {
    fn increment(&self, _: f64) {}

    fn decrement(&self, _: f64) {}

    fn set(&self, value: f64) {
        *self.unread.lock().unwrap() = Some(value);
    }
}

/// A spine whose owner has limited the bytes of every topic: the embedded one has no such limit.
struct Limited(Arc<dyn Spine>);

impl Layer for Limited {
    fn behind(&self) -> &dyn Spine {
        &*self.0
    }

    fn describe<'a>(&'a self, topics: &'a [TopicName]) -> BoxFuture<'a, Result<Vec<Option<TopicState>>, SpineError>> {
        async {
            let mut states = self.0.describe(topics).await?;
            for settings in states.iter_mut().flatten().flat_map(|state| &mut state.settings) {
                settings.retention_bytes = Some(1 << 30);
            }
            Ok(states)
        }
        .boxed()
    }
}

/// A spine with this topic, of three records.
async fn three_records(folder: &std::path::Path, name: &TopicName, retention_ms: Option<u64>) -> Arc<dyn Spine> {
    let spine: Arc<dyn Spine> = Arc::new(EmbeddedSpine::open(EmbeddedOptions::new(folder)).unwrap());
    let spec = TopicSpec {
        name: name.clone(),
        partitions: 1,
        cleanup: Cleanup::Log { retention_ms },
        max_record_bytes: 1_000,
        broker_time: true,
        replication: None,
    };
    spine.create(&spec).await.unwrap();
    let mut producer = spine.producer(ProducerOptions::default()).await.unwrap();
    for _ in 0..3 {
        let record = NewRecord { value: Some(Bytes::from_static(b"job")), ..NewRecord::default() };
        producer.append(&name.partition(0), vec![record]).await.unwrap();
    }
    spine
}

#[tokio::test]
async fn what_waits_for_half_the_time_that_the_broker_keeps_it_is_told_until_it_is_settled() {
    let (folder, heard) = (tempfile::tempdir().unwrap(), Heard::default());
    let _heard = heard.listens();
    let name = TopicName::new("theirs").unwrap();
    // Whoever owns the topic keeps it that long; retention takes nothing before its first round, half a minute from now.
    let spine = three_records(folder.path(), &name, Some(60)).await;
    let latest = Latest::default();
    let mut looking = Looking::new(spine, Arc::clone(&latest));
    let input = name.partition(0);
    let reached = |position, head, open| Reached { input: input.clone(), position, head, open };
    locked(&latest).insert(input.clone(), reached(1, 3, 1));
    tokio::time::timeout(Duration::from_secs(30), async {
        while heard.told().is_empty() {
            let found = looking.look().await.unwrap();
            // One between it and the end is settled.
            assert_eq!((found.len(), found[0].unsettled), (1, 1));
        }
    })
    .await
    .unwrap();
    assert_eq!(looking.kept.get(&name), Some(&Some(Duration::from_millis(60))));
    locked(&latest).insert(input.clone(), reached(3, 3, 0));
    let found = looking.look().await.unwrap();
    assert_eq!((found[0].unsettled, found[0].oldest), (0, Some(Duration::ZERO)));
    let alarm = "ERROR theirs/0: records of an input are not settled and half the time that the broker keeps them is over: what is not read in the other half is lost; see why its reader is behind, or have the topic kept longer";
    assert_eq!(heard.told(), [alarm, "INFO theirs/0: an input is no longer near the end of what is kept"], "once each");
    // Of a shard that is somebody else's nothing is told.
    locked(&latest).clear();
    assert!(looking.look().await.unwrap().is_empty());
}

#[tokio::test]
async fn what_is_kept_whatever_its_age_is_never_near() {
    let (folder, heard) = (tempfile::tempdir().unwrap(), Heard::default());
    let _heard = heard.listens();
    let name = TopicName::new("ours").unwrap();
    let spine = three_records(folder.path(), &name, None).await;
    let latest = Latest::default();
    let mut looking = Looking::new(Arc::clone(&spine), Arc::clone(&latest));
    let input = name.partition(0);
    locked(&latest).insert(input.clone(), Reached { input: input.clone(), position: 0, head: 0, open: 0 });
    let found = looking.look().await.unwrap();
    assert!(found[0].unsettled == 3 && heard.told().is_empty(), "{found:?}");
    assert_eq!(unsettled(&*spine, &latest, std::slice::from_ref(&input)).await.unwrap(), 3);
}
