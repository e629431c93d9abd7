//! The short variant of `make faults`.

use tidegate_processes::broker::Broker;
use tidegate_processes::faults::plan::{Plan, Scenario};
use tidegate_processes::faults::run::run;

#[test]
fn roles_killed_and_paused_on_kafka_lose_and_double_nothing() {
    run(&Broker::from_environment().unwrap(), Plan::of(Scenario::Short)).unwrap_or_else(|error| panic!("{error:#}"));
}
