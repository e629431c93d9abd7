//! Several shards of a pool in several scheduler processes, one of which is killed.

use tidegate_processes::broker::Broker;
use tidegate_processes::faults::backlog::{Backlog, run};

#[test]
fn a_pool_whose_shards_are_in_two_processes_loses_and_doubles_nothing_when_one_is_killed() {
    // Slow enough that jobs wait when the first results are seen, whatever else the machine does.
    // Far more than a shard may have in memory (I10), or a kernel may know.
    let bounds = (300, 200);
    let plan = Backlog {
        waiting: 3_000,
        running: 16,
        shards: 2,
        builtin: "sleep:20",
        concurrency: 8,
        window: bounds.0,
        seen: bounds.1,
    };
    run(&Broker::from_environment().unwrap(), plan).unwrap_or_else(|error| panic!("{error:#}"));
}
