//! Workers that die, and one that stands still past its lease.

use tidegate_processes::broker::Broker;
use tidegate_processes::faults::worker_dies::{self, Burst};
use tidegate_processes::faults::worker_wakes;

#[test]
fn a_worker_that_wakes_past_its_lease_is_refused_as_stale_fence_and_one_completion_is_accepted() {
    worker_wakes::run(&Broker::from_environment().unwrap()).unwrap_or_else(|error| panic!("{error:#}"));
}

#[test]
fn of_a_burst_nothing_stays_with_a_worker_that_was_killed_and_every_job_succeeds_once() {
    worker_dies::run(&Broker::from_environment().unwrap(), Burst::SHORT).unwrap_or_else(|error| panic!("{error:#}"));
}
