//! What an owner has to say is bounded by nothing but what was decided: however much it is, it goes out in pieces that
//! the client has room for (I1, I10).
#![expect(clippy::unwrap_used, reason = "everything here is made by the test itself")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::channel::oneshot;
use serde::{Deserialize, Serialize};
use tidegate_protocol::address::TopicPartition;
use tidegate_protocol::control::Group;
use tidegate_protocol::ids::SenderId;
use tidegate_protocol::time::Timestamp;
use tidegate_simulation::clock::SimClock;
use tidegate_simulation::executor::{Core, Executor, Process, locked};
use tidegate_simulation::ledger::messages::believed;
use tidegate_simulation::relay::scenario::facts_left;
use tidegate_simulation::run::{run_of, topic};
use tidegate_simulation::scenario::Scenario;
use tidegate_simulation::seeds::seed_of;
use tidegate_simulation::spine::{Manners, SimSpine};
use tidegate_simulation::trace::Trace;
use tidegate_simulation::world::Launch;
use tidegate_spine::{Cleanup, Headers, NewRecord, Record, TopicSpec};
use tidegate_stage::message::Outbox;
use tidegate_stage::{
    Decision, Delivery, Input, InputKind, InputSpec, Message, Pace, Rules, ShardEvent, ShardSpec, Signal, Stage, Watch,
    Writers,
};

/// A message of it.
const LOUD: usize = 10_000;
/// What it keeps of each record.
const KEPT: usize = 20_000;

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Said {
    n: u64,
    id: String,
}

/// Says something long about every record and remembers it at length.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Loud {
    n: u64,
    kept: BTreeMap<u64, String>,
}

impl Stage for Loud {
    type Fact = Said;
    type Signal = ();

    fn decide(&self, input: &Input<'_>, _: Timestamp, decision: &mut Decision<Said>) {
        if let Input::Record(arrival) = input {
            let id = String::from_utf8_lossy(arrival.record.value.as_deref().unwrap_or_default()).into_owned();
            decision.fact(Said { n: self.n, id });
        }
    }

    fn apply(&mut self, fact: &Said, _: Timestamp) {
        self.n += 1;
        self.kept.insert(fact.n, format!("{} \"\\ {}", fact.id, "ü".repeat(KEPT / 2)));
    }

    fn emit(&self, fact: &Said, _: Timestamp, _: Option<&Record>, outbox: &mut Outbox) {
        outbox.send(Message {
            ordinal: 0,
            delivery: Delivery::Fenced,
            to: topic("out").partition(0),
            key: Some(Bytes::from(fact.id.clone())),
            headers: Headers::new(),
            value: Some(Bytes::from(vec![b'x'; LOUD])),
        });
    }

    fn needs_input(&self, _: &Said) -> bool {
        false
    }

    fn observe(&mut self, _: Signal<'_, ()>, _: Timestamp) {}

    fn next_due(&self) -> Option<Timestamp> {
        None
    }

    fn admits(&self, _: u32) -> bool {
        true
    }

    fn snapshot(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }

    fn restore(&mut self, snapshot: &str) -> Result<(), serde_json::Error> {
        *self = serde_json::from_str(snapshot)?;
        Ok(())
    }
}

/// Keeps what happens, in words.
#[derive(Default)]
struct Heard(Mutex<Vec<String>>);

impl Watch for Heard {
    fn event(&self, _: &SenderId, event: &ShardEvent) {
        if let ShardEvent::Owning { .. } | ShardEvent::Ended(_) = event {
            locked(&self.0).push(format!("{event:?}"));
        }
    }
}

/// One shard of the stage and its broker.
struct Scene {
    executor: Executor,
    core: Core,
    spine: SimSpine,
    heard: Arc<Heard>,
    _stops: Vec<oneshot::Sender<()>>,
}

fn jobs() -> TopicPartition {
    topic("jobs").partition(0)
}

fn out() -> TopicPartition {
    topic("out").partition(0)
}

impl Scene {
    fn new() -> Self {
        let executor = Executor::default();
        let core = executor.core();
        let manners = Manners { append_us: 3_000, read_us: 3_000, gaps: 0, split: 10 };
        let spine = SimSpine::new(core.clone(), Arc::new(Trace::new(false)), 7, manners);
        let log = Cleanup::Log { retention_ms: None };
        let topics = [("jobs", log), ("out", log), ("facts", log), ("snapshots", Cleanup::Keyed)];
        for (name, cleanup) in topics.into_iter().chain([("shards", Cleanup::Keyed)]) {
            spine.broker().create(TopicSpec {
                name: topic(name),
                partitions: 1,
                cleanup,
                max_record_bytes: 1 << 20,
                broker_time: true,
                replication: None,
            });
        }
        Self { executor, core, spine, heard: Arc::default(), _stops: Vec::new() }
    }

    fn submit(&self, ids: std::ops::Range<u64>) {
        for id in ids {
            let value = Some(Bytes::from(format!("job {id}")));
            self.spine.put(&jobs(), NewRecord { value, ..NewRecord::default() });
        }
    }

    /// An owner in a process of its own.
    fn own(&mut self, process: u32, pace: Pace) {
        let input = InputSpec { partition: jobs(), kind: InputKind::Jobs, writers: Writers::Anyone, trim: false };
        let spec = ShardSpec {
            sender: SenderId::new("loud/0").unwrap(),
            facts: topic("facts").partition(0),
            inputs: vec![input],
            outputs: vec![out()],
            snapshots: topic("snapshots"),
            shards: topic("shards"),
            checkpoints: None,
            process: format!("p{process}"),
            pace,
        };
        let (sender, stop) = oneshot::channel();
        self._stops.push(sender);
        let launch = Launch {
            spec,
            spine: Arc::new(self.spine.of(Process(process))),
            clock: Arc::new(SimClock::new(self.core.clone(), 0, 0, 0)),
            stop,
            watch: self.heard.clone(),
        };
        self.core.spawn(Process(process), run_of(launch, Rules::default(), Loud::default));
    }

    fn run_for(&mut self, time: Duration) {
        let until = self.core.now() + u64::try_from(time.as_micros()).unwrap();
        self.executor.run_until(until);
    }

    /// What a reader of the output believes, in order.
    fn believed(&self) -> Vec<String> {
        let broker = self.spine.broker();
        let key = |record: &Record| String::from_utf8_lossy(record.key.as_deref().unwrap_or_default()).into_owned();
        believed(broker.log(&out())).iter().map(|b| key(b.record)).collect()
    }

    /// How ownerships ended, the first few.
    fn ended(&self) -> Vec<String> {
        locked(&self.heard.0).iter().filter(|what| what.starts_with("Ended")).take(3).cloned().collect()
    }
}

fn pace(message_bytes: usize) -> Pace {
    Pace { message_bytes, snapshot_facts: u64::MAX, ..Pace::default() }
}

fn names(ids: std::ops::Range<u64>) -> Vec<String> {
    ids.map(|id| format!("job {id}")).collect()
}

#[test]
fn jobs_that_all_say_a_lot_at_once_fit_through_a_small_client() {
    let mut scene = Scene::new();
    scene.submit(0..300);
    scene.own(1, pace(64 << 10));
    scene.run_for(Duration::from_secs(20));
    assert_eq!((scene.believed(), scene.ended()), (names(0..300), Vec::new()));
}

#[test]
fn far_more_unreleased_than_the_client_holds_is_emitted_again() {
    let mut scene = Scene::new();
    scene.own(1, pace(1 << 20));
    scene.run_for(Duration::from_secs(1));
    scene.spine.stall(&out(), 3_000_000, false);
    scene.submit(0..200);
    scene.run_for(Duration::from_secs(2));
    scene.core.crash(Process(1));
    scene.own(2, pace(16 << 10));
    scene.run_for(Duration::from_secs(20));
    let owning = locked(&scene.heard.0).iter().filter(|what| what.starts_with("Owning")).cloned().collect::<Vec<_>>();
    let again = owning.last().and_then(|what| what.split("emitted_again: ").nth(1)?.split(' ').next()?.parse().ok());
    assert!(again.is_some_and(|messages: usize| messages * LOUD > 4 * (16 << 10)), "{owning:?}");
    assert_eq!((scene.believed(), scene.ended()), (names(0..200), Vec::new()));
}

#[test]
fn a_snapshot_of_many_chunks_fits_through_a_small_client_and_is_taken_up() {
    let mut scene = Scene::new();
    let small = Pace { snapshot_facts: 150, ..pace(512 << 10) };
    scene.submit(0..200);
    scene.own(1, small.clone());
    scene.run_for(Duration::from_secs(20));
    let snapshots = topic("snapshots").partition(0);
    let bytes: usize =
        scene.spine.broker().log(&snapshots).iter().filter_map(|s| s.record.value.as_ref()).map(Bytes::len).sum();
    assert!(bytes > 4 * (512 << 10), "{bytes} bytes of snapshots");
    scene.core.crash(Process(1));
    scene.submit(200..210);
    scene.own(2, small);
    scene.run_for(Duration::from_secs(20));
    let heard = locked(&scene.heard.0).clone();
    let replayed = heard.last().and_then(|what| what.split("replayed: ").nth(1)?.split(',').next()?.parse().ok());
    assert!(replayed.is_some_and(|facts: u64| facts < 60), "{heard:?}");
    assert_eq!((scene.believed(), scene.ended()), (names(0..210), Vec::new()));
}

/// Groups are written often: what their places tell for the case of a loss must cost little beside what they tell anyway.
#[test]
fn what_places_tell_of_what_was_heard_is_a_small_part_of_their_groups() {
    let (mut groups, mut bytes, mut runs, mut heard) = (0_usize, 0_usize, 0_usize, 0_usize);
    let relays = (0..400).map(|number| seed_of(31, number)).filter(|seed| Scenario::of(*seed) == Scenario::Relay);
    for left in relays.take(60).flat_map(facts_left) {
        for record in left.records.iter().filter(|record| record.headers.text("tg-kind") == Some("group")) {
            let value = record.value.as_deref().unwrap_or_default();
            let group: Group<Box<serde_json::value::RawValue>> = serde_json::from_slice(value).unwrap();
            groups += 1;
            bytes += value.len();
            for place in group.places.iter().filter(|place| !place.heard.is_empty()) {
                runs += place.heard.len();
                heard += r#","h":"#.len() + serde_json::to_string(&place.heard).unwrap().len();
            }
        }
    }
    println!("{groups} groups of {bytes} bytes tell of {runs} runs in {heard} bytes");
    assert!(runs > groups / 10, "{runs} runs in {groups} groups: hardly anything tells of what was heard");
    assert!(heard * 20 < bytes, "{heard} of {bytes} bytes of {groups} groups");
}
