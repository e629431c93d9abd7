//! `hammer [--spends N] [--seed S] [--skew-ms N] [--planted grant_twice|settle_twice|window_short]`: runs rounds of up to a
//! million spends until N have landed (10 million unless told), each with its own seed, and prints one JSON line. With a
//! planted bug it succeeds when the bug is found.

#![expect(clippy::print_stdout, reason = "the command's output")]

use std::process::ExitCode;
use std::time::Instant;

use tidegate_limits_hammer::{Planted, Settings, Summary, run};

const ROUND: u64 = 1_000_000;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (mut spends, mut seed, mut skew_ms, mut planted) = (10_000_000, 1, 2_000, None);
    while let Some(argument) = arguments.next() {
        let value = arguments.next().unwrap_or_default();
        let number = value.parse::<u64>();
        match (argument.as_str(), number, value.as_str()) {
            ("--spends", Ok(number), _) => spends = number,
            ("--seed", Ok(number), _) => seed = number,
            ("--skew-ms", Ok(number), _) => skew_ms = i64::try_from(number).unwrap_or(i64::MAX),
            ("--planted", _, "grant_twice") => planted = Some(Planted::GrantTwice),
            ("--planted", _, "settle_twice") => planted = Some(Planted::SettleTwice),
            ("--planted", _, "window_short") => planted = Some(Planted::WindowShort),
            _ => {
                eprintln!("hammer: `{argument} {value}` is not understood");
                return ExitCode::from(2);
            }
        }
    }
    let started = Instant::now();
    let mut total = Summary::default();
    let mut rounds = 0;
    while total.spends < spends {
        let settings = Settings {
            seed: seed + rounds,
            spends: ROUND.min(spends - total.spends),
            kernels: 8,
            limits: 2,
            skew: skew_ms * 1_000,
            planted,
        };
        rounds += 1;
        match (run(settings), planted) {
            (Ok(round), _) => total = sum(total, round),
            (Err(found), Some(bug)) => {
                println!("found {bug:?} with seed {}: {found}", settings.seed);
                return ExitCode::SUCCESS;
            }
            (Err(violation), None) => {
                println!("seed {}: {violation}", settings.seed);
                return ExitCode::FAILURE;
            }
        }
    }
    println!(
        "{{\"spends\":{},\"rounds\":{rounds},\"kernel_takeovers\":{},\"limits_takeovers\":{},\"refused\":{},\"waits\":{},\
         \"answers\":{},\"recalls\":{},\"lapsed\":{},\"simulated_s\":{},\"keys_filled\":{},\"seconds\":{:.1}}}",
        total.spends,
        total.takeovers.0,
        total.takeovers.1,
        total.refused,
        total.waits,
        total.answers,
        total.recalls,
        total.lapsed,
        total.time / 1_000_000,
        total.filled,
        started.elapsed().as_secs_f64()
    );
    if planted.is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn sum(a: Summary, b: Summary) -> Summary {
    Summary {
        spends: a.spends + b.spends,
        takeovers: (a.takeovers.0 + b.takeovers.0, a.takeovers.1 + b.takeovers.1),
        refused: a.refused + b.refused,
        waits: a.waits + b.waits,
        answers: a.answers + b.answers,
        recalls: a.recalls + b.recalls,
        lapsed: a.lapsed + b.lapsed,
        time: a.time + b.time,
        filled: a.filled + b.filled,
    }
}
