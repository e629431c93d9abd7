//! `sim --seeds N [--base X]` runs N seeds from a base (a fresh one is printed first), on all cores; `sim --seed X`
//! replays one with its trace. `--plant NAME` runs with a planted bug (`--plant list` names them). The last line is
//! `N passed, M failed`; the exit code is 1 when one failed and 2 when the arguments make no sense.
#![expect(clippy::print_stdout, reason = "the command's output")]

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use tidegate_simulation::plants::{Bug, bugs, bugs_of_limits, right};
use tidegate_simulation::scenario;
use tidegate_simulation::seeds::{Outcome, guarded, run_many};

struct Wanted {
    seeds: u64,
    base: u64,
    seed: Option<u64>,
    bug: Bug,
    stop_at_first: bool,
}

fn wanted() -> Result<Wanted, String> {
    let mut wanted =
        Wanted { seeds: 1_000, base: fastrand::u64(..) >> 24, seed: None, bug: right(), stop_at_first: false };
    let mut args = std::env::args().skip(1);
    while let Some(name) = args.next() {
        if name == "--stop-at-first" {
            wanted.stop_at_first = true;
            continue;
        }
        let value = args.next().ok_or_else(|| format!("`{name}` needs a value"))?;
        let number = || value.parse::<u64>().map_err(|_| format!("`{name}` needs a number, not `{value}`"));
        match name.as_str() {
            "--seeds" => wanted.seeds = number()?,
            "--base" => wanted.base = number()?,
            "--seed" => wanted.seed = Some(number()?),
            "--plant" => {
                let all: Vec<Bug> = bugs().into_iter().chain(bugs_of_limits()).collect();
                let names: Vec<_> = all.iter().map(|b| b.name).collect();
                let known = all.iter().find(|b| b.name == value).copied();
                wanted.bug =
                    known.ok_or_else(|| format!("no planted bug `{value}`; there are: {}", names.join(", ")))?;
            }
            _ => return Err(format!("unknown argument `{name}`; see `--seeds`, `--base`, `--seed`, `--plant`")),
        }
    }
    Ok(wanted)
}

fn show(outcome: &Outcome) {
    for violation in outcome.violations.iter().take(6) {
        println!("  {violation}");
    }
}

fn main() -> ExitCode {
    let wanted = match wanted() {
        Ok(wanted) => wanted,
        Err(error) => {
            println!("sim: {error}");
            return ExitCode::from(2);
        }
    };
    let bug = wanted.bug;
    if let Some(seed) = wanted.seed {
        let outcome = guarded(seed, &|seed| scenario::run(seed, bug, true));
        for line in &outcome.lines {
            println!("{line}");
        }
        println!(
            "seed {seed}: trace {:016x}, {} events, {} steps, {} takeovers, {} snapshots, quiet at {} ms, ended {:?}",
            outcome.hash,
            outcome.events,
            outcome.steps,
            outcome.takeovers,
            outcome.snapshots,
            outcome.quiet_us / 1_000,
            outcome.ended
        );
        show(&outcome);
        println!("{} passed, {} failed", u8::from(outcome.passed()), u8::from(!outcome.passed()));
        return if outcome.passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    println!("base {} (repeat with --base {}), {} seeds", wanted.base, wanted.base, wanted.seeds);
    std::panic::set_hook(Box::new(|_| {}));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let begun = Instant::now();
    let mut told = begun;
    let (mut passed, mut failed, mut takeovers, mut snapshots) = (0_u64, 0_u64, 0, 0);
    let (mut ended, mut tried) = (BTreeMap::<&'static str, u64>::new(), BTreeMap::<&'static str, u64>::new());
    run_many(wanted.base, wanted.seeds, threads, &|seed| scenario::run(seed, bug, false), |outcome| {
        takeovers += outcome.takeovers;
        snapshots += outcome.snapshots;
        outcome.tried.iter().for_each(|(what, times)| *tried.entry(what).or_default() += times);
        outcome.ended.iter().for_each(|(why, times)| *ended.entry(why).or_default() += times);
        if outcome.passed() {
            passed += 1;
        } else {
            failed += 1;
            if failed <= 20 {
                println!("seed {} failed; replay: make sim SEED={}", outcome.seed, outcome.seed);
                show(&outcome);
            }
        }
        if told.elapsed() > Duration::from_secs(5) {
            told = Instant::now();
            println!("{passed} passed, {failed} failed, {:.0} s", begun.elapsed().as_secs_f64());
        }
        !(wanted.stop_at_first && failed > 0)
    });
    println!("{takeovers} takeovers, {snapshots} snapshots compared, tried: {tried:?}, ownerships ended: {ended:?}");
    let seconds = begun.elapsed().as_secs_f64();
    println!("{:.1} s, {:.1} seeds/s", seconds, (passed + failed) as f64 / seconds);
    println!("{passed} passed, {failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
