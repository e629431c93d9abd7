//! `make faults`: kills, pauses and stops real processes on a real Kafka under load. The last line is the ledger's verdict;
//! the exit code is 0 only when nothing is broken. An argument names a scenario ([`Scenario`]); without one it is `full`.
//! `scheduler-backlog` and `shared-limits` are runs of their own ([`backlog`], [`shared_limits`]).

use std::process::ExitCode;

use tidegate_processes::broker::Broker;
use tidegate_processes::faults::plan::Scenario;
use tidegate_processes::faults::run::run;
use tidegate_processes::faults::{backlog, shared_limits};
use tidegate_processes::say;

/// Kills the scheduler that owns a pool with a great backlog.
const BACKLOG: &str = "scheduler-backlog";
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
    let named = match arguments.as_slice() {
        [] => Some(Scenario::Full),
        [name] => Scenario::ALL.into_iter().find(|scenario| scenario.word() == name.trim_start_matches("--")),
        _ => None,
    };
    let Some(scenario) = named else {
        let words: Vec<&str> = Scenario::ALL.into_iter().map(Scenario::word).collect();
        let names = words.join("|");
        say(&format!(
            "usage: faults [{names}]\n       faults {BACKLOG} [--waiting N]\n       faults {SHARED_LIMITS} [--seconds N] [--planted]\n(TIDEGATE_TEST_KAFKA names the broker; see deploy/ci/with-kafka)"
        ));
        return ExitCode::from(2);
    };
    ended(Broker::from_environment().and_then(|broker| run(&broker, scenario)))
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
