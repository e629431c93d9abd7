//! What the jobs themselves write when they begin and end, of whichever worker: nothing of ours is between.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, ensure};

use crate::ledger::facts::Token;
use crate::ledger::position::Position;

/// The file, in the folder of the workers.
const LOG: &str = "runs.log";

/// What a job runs as: a line when it begins, a line when it ends, each written at once. bash, for the time without a process.
pub(super) fn command() -> String {
    let line = |sign: char| format!("echo \"{sign} $TIDEGATE_SOURCE $TIDEGATE_TOKEN $EPOCHREALTIME\" >> {LOG}");
    format!("LC_ALL=C; {}; sleep 0.25; {}", line('+'), line('-'))
}

/// When each run began and ended, microseconds; a run that was killed has no end.
pub(super) type Runs = BTreeMap<(Position, Token), (i64, Option<i64>)>;

/// Reads what was written so far.
///
/// # Errors
/// When a line is no job's, or a job ran twice under one token.
pub(super) fn read(folder: &Path) -> anyhow::Result<Runs> {
    let path = folder.join(LOG);
    let text = std::fs::read_to_string(&path).with_context(|| format!("read `{}`", path.display()))?;
    parse(&text)
}

fn parse(text: &str) -> anyhow::Result<Runs> {
    let mut runs = Runs::new();
    for line in text.lines() {
        let (sign, of, at) = parts(line).with_context(|| format!("a job wrote `{line}`"))?;
        if sign == "+" {
            ensure!(runs.insert(of, (at, None)).is_none(), "{} ran twice under {:?}", of.0, of.1);
        } else {
            let (_, end) = runs.get_mut(&of).with_context(|| format!("`{line}`: it never began"))?;
            ensure!(end.replace(at).is_none(), "`{line}`: it has ended before");
        }
    }
    Ok(runs)
}

fn parts(line: &str) -> Option<(&str, (Position, Token), i64)> {
    let words: Vec<&str> = line.split(' ').collect();
    let &[sign @ ("+" | "-"), source, token, time] = words.as_slice() else { return None };
    let (epoch, attempt) = token.split_once('.')?;
    let (seconds, micros) = time.split_once('.')?;
    let at = seconds.parse::<i64>().ok()?.checked_mul(1_000_000)?.checked_add(micros.parse().ok()?)?;
    let token = Token { epoch: epoch.parse().ok()?, attempt: attempt.parse().ok()? };
    Some((sign, (Position::read(source)?, token), at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_has_its_two_lines_and_one_that_was_killed_has_one() {
        let text = "+ jobs.raw/1@7 900.1 17.000001\n+ jobs.raw/1@8 900.1 17.000002\n- jobs.raw/1@7 900.1 17.250000\n";
        let runs: Vec<_> = parse(text).unwrap().into_values().collect();
        assert_eq!(runs, [(17_000_001, Some(17_250_000)), (17_000_002, None)]);
        for wrong in ["- jobs.raw/1@7 900.1 17.000001\n", "+ jobs.raw/1@7 900 17.000001\n", "+ x 900.1 17.000001\n"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        assert!(parse(&format!("{text}{text}")).is_err(), "twice under one token");
    }
}
