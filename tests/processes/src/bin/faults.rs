//! `make faults`: kills and pauses real processes on a real Kafka under load. The last line is the ledger's verdict;
//! the exit code is 0 only when nothing is broken. `--short` does the least of it.

use std::process::ExitCode;

use tidegate_processes::broker::Broker;
use tidegate_processes::faults::plan::Length;
use tidegate_processes::faults::run::run;
use tidegate_processes::say;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let length = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => Length::Full,
        ["--short"] => Length::Short,
        _ => {
            say("usage: faults [--short]   (TIDEGATE_TEST_KAFKA names the broker; see deploy/ci/with-kafka)");
            return ExitCode::from(2);
        }
    };
    match Broker::from_environment().and_then(|broker| run(&broker, length)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}
