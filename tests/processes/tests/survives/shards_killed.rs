//! Several shards of a pool in several scheduler processes, one of which is killed.

use tidegate_processes::broker::Broker;
use tidegate_processes::faults::backlog::{Backlog, run};

#[test]
fn a_pool_whose_shards_are_in_two_processes_loses_and_doubles_nothing_when_one_is_killed() {
    // Slow enough that jobs wait when the first results are seen, whatever else the machine does.
    let plan = Backlog { waiting: 3_000, running: 16, shards: 2, builtin: "sleep:20", concurrency: 8 };
    run(&Broker::from_environment().unwrap(), plan).unwrap_or_else(|error| panic!("{error:#}"));
}
