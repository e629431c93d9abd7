//! `make faults`: kills, pauses and stops real processes on a real Kafka under load. The last line is the ledger's verdict;
//! the exit code is 0 only when nothing is broken. An argument names a scenario ([`Scenario`]); without one it is `full`.
//! `scheduler-backlog`, `shared-limits` and `worker-dies` are runs of their own ([`backlog`], [`shared_limits`], [`worker_dies`]).

use std::process::ExitCode;

use tidegate_processes::broker::Broker;
use tidegate_processes::faults::plan::{Plan, Scenario};
use tidegate_processes::faults::run::run;
use tidegate_processes::faults::{backlog, shared_limits, worker_dies};
use tidegate_processes::say;

/// Kills the scheduler that owns a pool with a great backlog.
const BACKLOG: &str = "scheduler-backlog";
/// Kills one of two workers that have a burst of jobs.
const WORKER_DIES: &str = "worker-dies";
/// Kills whoever keeps the limits that the shards of a pool share.
const SHARED_LIMITS: &str = "shared-limits";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [name, further @ ..] = arguments.as_slice()
        && name == BACKLOG
    {
        return ended(backlog::plan(further).and_then(|plan| backlog::run(&Broker::from_environment()?, plan)));
    }
    if let [name, further @ ..] = arguments.as_slice()
        && name == SHARED_LIMITS
    {
        let plan = shared_limits::plan(further);
        return ended(plan.and_then(|plan| shared_limits::run(&Broker::from_environment()?, plan)));
    }
    if let [name] = arguments.as_slice()
        && name == WORKER_DIES
    {
        let run = |broker| worker_dies::run(&broker, worker_dies::Burst::LONG);
        return ended(Broker::from_environment().and_then(run));
    }
    let (named, further) = match arguments.as_slice() {
        [] => (Some(Scenario::Full), &[][..]),
        [name, further @ ..] => {
            let named = |scenario: &Scenario| scenario.word() == name.trim_start_matches("--");
            (Scenario::ALL.into_iter().find(named), further)
        }
    };
    let Some(scenario) = named else {
        let words: Vec<&str> = Scenario::ALL.into_iter().map(Scenario::word).collect();
        let names = words.join("|");
        say(&format!(
            "usage: faults [{names}] [--seconds N]\n       faults broker-stop [--seconds N] [--planted]\n       faults {WORKER_DIES}\n       faults {BACKLOG} [--waiting N]\n       faults {SHARED_LIMITS} [--seconds N] [--planted]\n(TIDEGATE_TEST_KAFKA names the broker; see deploy/ci/with-kafka)"
        ));
        return ExitCode::from(2);
    };
    let plan = Plan::read(scenario, further);
    ended(plan.and_then(|plan| run(&Broker::from_environment()?, plan)))
}

fn ended(how: anyhow::Result<()>) -> ExitCode {
    match how {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}
