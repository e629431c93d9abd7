//! The `tidegate` binary.
//!
//! | module | what it is |
//! |---|---|
//! | [`args`] | what can be typed |
//! | [`exit`] | exit codes and how a failure is told |
//! | [`output`] | text for people; for programs one JSON document on the last line of stdout |
//! | [`backend`] | jobs over HTTP, or straight from a spine: the same questions |
//! | [`commands`] | one file per command |
//! | [`demo`] | `tidegate demo` |

mod args;
mod backend;
mod commands;
mod demo;
mod exit;
mod output;
mod story;

use clap::Parser;
use mimalloc::MiMalloc;
use tidegate_policy_bench::Counting;

#[global_allocator]
static ALLOCATOR: Counting<MiMalloc> = Counting(MiMalloc);

fn main() -> std::process::ExitCode {
    let cli = match args::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return exit::of_words(&error, std::env::args_os()),
    };
    tidegate_worker::time_slice::ask_for(std::time::Duration::from_micros(cli.global.time_slice_us));
    let format = cli.global.output;
    match commands::run(cli) {
        Ok(code) => code.into(),
        Err(failure) => failure.tell(format).into(),
    }
}
