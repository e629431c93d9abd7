//! Promises of creating, describing, altering, listing and deleting topics.

use super::Fixture;
use super::steps::{Steps, number, numbers};
use crate::{Cleanup, CleanupFound, Rights, SpineError, TopicSpec, TopicState};

fn check(state: &TopicState, spec: &TopicSpec) {
    assert_eq!((&state.name, state.partitions), (&spec.name, spec.partitions));
    let settings = state.settings.as_ref().expect("who may create a topic is told how it is kept");
    assert_eq!(settings.cleanup, CleanupFound::Known(spec.cleanup), "{state:?}");
    assert_eq!((settings.retention_bytes, settings.broker_time), (None, spec.broker_time), "{state:?}");
    assert!(settings.max_record_bytes >= spec.max_record_bytes, "{state:?}");
}

async fn state(steps: &Steps, spec: &TopicSpec) -> Option<TopicState> {
    steps.done("describe", steps.spine.describe(std::slice::from_ref(&spec.name))).await[0].clone()
}

/// The whole life of a topic, and a name that can be used again for an empty one.
pub async fn a_topic_is_created_described_listed_and_deleted(fixture: &mut dyn Fixture) {
    let steps = Steps::of(fixture);
    let mut log = steps.spec("life.log", 3);
    log.cleanup = Cleanup::Log { retention_ms: Some(3_600_000) };
    let keyed = TopicSpec { cleanup: Cleanup::Keyed, ..steps.spec("life.keyed", 1) };
    for spec in [&log, &keyed] {
        assert_eq!(state(&steps, spec).await, None);
        steps.done("create", steps.spine.create(spec)).await;
        check(&state(&steps, spec).await.expect("created"), spec);
    }
    let prefix = steps.group("life.");
    let mut listed = steps.done("list", steps.spine.list(&prefix)).await;
    listed.sort();
    assert_eq!(listed, [keyed.name.clone(), log.name.clone()]);

    let mut producer = steps.producer().await;
    steps.landed(producer.append(&log.name.partition(0), vec![number(1)])).await;
    drop(producer);
    steps.done("delete", steps.spine.delete(&log.name)).await;
    assert_eq!(state(&steps, &log).await, None);
    assert_eq!(steps.done("list", steps.spine.list(&prefix)).await, [keyed.name]);
    steps.done("create again", steps.spine.create(&log)).await;
    let ends = steps.ends(&log.name.partition(0)).await;
    assert_eq!(ends.start, ends.end, "made anew, and empty");
}

/// Creating twice is `Invalid` and leaves the topic as it was.
pub async fn a_topic_that_exists_is_not_created_again(fixture: &mut dyn Fixture) {
    let steps = Steps::of(fixture);
    let spec = steps.spec("twice", 2);
    steps.done("create", steps.spine.create(&spec)).await;
    let again = TopicSpec { partitions: 5, ..spec.clone() };
    let error = steps.refused("creating again", steps.spine.create(&again)).await;
    assert!(matches!(error, SpineError::Invalid { .. }), "{error:?}");
    check(&state(&steps, &spec).await.expect("still there"), &spec);
}

/// Cleanup and sizes change, partitions are added, records stay.
pub async fn a_topic_is_altered_and_grows(fixture: &mut dyn Fixture) {
    let steps = Steps::of(fixture);
    let spec = steps.spec("grows", 1);
    steps.done("create", steps.spine.create(&spec)).await;
    let mut producer = steps.producer().await;
    steps.append_numbers(producer.as_mut(), &spec.name.partition(0), 0..5).await;
    let altered = TopicSpec {
        partitions: 3,
        cleanup: Cleanup::Log { retention_ms: Some(7_200_000) },
        max_record_bytes: 900_000,
        ..spec
    };
    steps.done("alter", steps.spine.alter(&altered)).await;
    check(&state(&steps, &altered).await.expect("still there"), &altered);
    steps.append_numbers(producer.as_mut(), &altered.name.partition(2), 7..8).await;
    assert_eq!(numbers(&steps.read_all(&altered.name.partition(0)).await), [0, 1, 2, 3, 4]);
    assert_eq!(numbers(&steps.read_all(&altered.name.partition(2)).await), [7]);
}

/// `None` from describe, `UnknownTopic` from everything that needs the topic.
pub async fn what_does_not_exist_is_said_so(fixture: &mut dyn Fixture) {
    let steps = Steps::of(fixture);
    let known = steps.spec("there", 1);
    steps.done("create", steps.spine.create(&known)).await;
    let absent = steps.spec("absent", 1);
    let both = [absent.name.clone(), known.name.clone()];
    let states = steps.done("describe", steps.spine.describe(&both)).await;
    assert_eq!(states[0], None);
    assert!(states[1].is_some(), "in the order asked for");
    let rights = steps.done("rights", steps.spine.rights(std::slice::from_ref(&known.name))).await;
    assert_eq!(rights, [Rights::all()], "whoever may create and delete it may do everything with it");
    let partition = absent.name.partition(0);
    let errors = [
        steps.refused("ends", steps.spine.ends(std::slice::from_ref(&partition))).await,
        steps.refused("alter", steps.spine.alter(&absent)).await,
        steps.refused("delete", steps.spine.delete(&absent.name)).await,
        steps.refused("trim", steps.spine.trim(&partition, 0)).await,
    ];
    for error in errors {
        assert!(matches!(&error, SpineError::UnknownTopic { topic } if *topic == absent.name), "{error:?}");
    }
}
