//! The short variant of `make faults SCENARIO=shared-limits`.

use tidegate_processes::broker::Broker;
use tidegate_processes::faults::shared_limits::{SharedLimits, run};

#[test]
fn limits_that_shards_of_a_pool_share_hold_while_scheduler_limits_stage_and_worker_are_killed() {
    run(&Broker::from_environment().unwrap(), SharedLimits::SHORT).unwrap_or_else(|error| panic!("{error:#}"));
}
