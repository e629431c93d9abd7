//! What commands note of themselves: a run that was interrupted is told by nobody else.
//!
//! A line when a command begins, one when it has come to its end, each with position, token and worker. One short append is one line,
//! whoever else writes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::Context as _;

use crate::ledger::Ledger;
use crate::ledger::facts::Token;
use crate::ledger::judge::Violation;
use crate::ledger::position::Position;

/// A script for `sh -c SCRIPT WORKER` that notes in `log` when it begins and when `work` is done.
#[must_use]
pub fn noting(log: &str, work: &str) -> String {
    let note = |what: &str| format!("echo {what} $TIDEGATE_SOURCE $TIDEGATE_TOKEN $0 >> {log}");
    format!("{}; {work}; {}", note("began"), note("ended"))
}

/// One run of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Under which token.
    pub token: Token,
    /// At which worker.
    pub by: String,
    /// It came to its end.
    pub ended: bool,
}

/// Every run that was noted, in the order in which they began.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Notes(BTreeMap<Position, Vec<Run>>);

impl Notes {
    /// Reads a log; one that is not there yet is empty.
    ///
    /// # Errors
    /// When it cannot be read or has a line that no such command wrote.
    pub fn read(log: &Path) -> anyhow::Result<Self> {
        match std::fs::read_to_string(log) {
            Ok(text) => Self::parse(&text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).context("read what the commands wrote"),
        }
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let mut notes = Self::default();
        for line in text.lines() {
            notes.note(line).with_context(|| format!("a command wrote `{line}`"))?;
        }
        Ok(notes)
    }

    fn note(&mut self, line: &str) -> Option<()> {
        let mut words = line.split(' ');
        let (what, position, token, by) = (words.next()?, words.next()?, words.next()?, words.next()?);
        let (epoch, attempt) = token.split_once('.')?;
        let token = Token { epoch: epoch.parse().ok()?, attempt: attempt.parse().ok()? };
        let runs = self.0.entry(Position::read(position)?).or_default();
        match what {
            "began" => runs.push(Run { token, by: by.to_owned(), ended: false }),
            "ended" => {
                runs.iter_mut().find(|run| run.token == token && run.by == by && !run.ended)?.ended = true;
            }
            _ => return None,
        }
        Some(())
    }

    /// Runs of a job.
    #[must_use]
    pub fn of(&self, position: Position) -> &[Run] {
        self.0.get(&position).map_or(&[], Vec::as_slice)
    }

    /// Jobs with a run that has begun and not come to its end.
    #[must_use]
    pub fn open(&self) -> BTreeSet<Position> {
        let open = |(position, runs): (&Position, &Vec<Run>)| runs.iter().any(|run| !run.ended).then_some(*position);
        self.0.iter().filter_map(open).collect()
    }

    /// What is broken of jobs that succeeded: each ran, whole, and no more often than under its leases. `once`: every worker lived,
    /// so each ran once, and no lease ended whose job its worker had begun.
    #[must_use]
    pub fn judge(&self, ledger: &Ledger, should: &BTreeSet<Position>, once: bool) -> Vec<Violation> {
        let mut broken = Vec::new();
        for position in self.0.keys().filter(|position| !should.contains(position)) {
            broken.push((*position, "a command ran for it, which nobody asked for".to_owned()));
        }
        for position in should {
            let runs = self.of(*position);
            let mut say = |what: String| broken.push((*position, what));
            if !runs.iter().any(|run| run.ended) {
                say(format!("it succeeded although no run of its command came to its end: {runs:?}"));
            }
            let tokens: BTreeSet<Token> = runs.iter().map(|run| run.token).collect();
            if tokens.len() < runs.len() {
                say(format!("its command ran more than once under a token: {runs:?}"));
            }
            if once && runs.len() > 1 {
                say(format!("its command was begun {} times although every worker lived: {runs:?}", runs.len()));
            }
            let leases = ledger.account(*position).map_or(&[][..], |account| account.leases.as_slice());
            for lease in leases.iter().filter(|lease| once && lease.is_lost() && tokens.contains(&lease.token)) {
                say(format!("it ran under a lease that ended without a result although its worker lived: {lease:?}"));
            }
        }
        broken.into_iter().map(|(position, what)| Violation { of: Some(position), what }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Position = Position { partition: 0, offset: 7 };

    fn broken(lines: &str, once: bool) -> Vec<String> {
        let notes = Notes::parse(lines).unwrap();
        let broken = notes.judge(&Ledger::new("p."), &BTreeSet::from([AT]), once);
        broken.into_iter().map(|violation| violation.what).collect()
    }

    #[test]
    fn a_run_is_whole_when_it_noted_its_end_and_a_second_one_is_found_where_nobody_died() {
        let once = "began jobs.raw/0@7 5.1 long-1\nended jobs.raw/0@7 5.1 long-1\n";
        assert_eq!(broken(once, true), [""; 0]);
        let again = format!("began jobs.raw/0@7 4.1 long-2\n{once}");
        assert_eq!(broken(&again, false), [""; 0], "its worker may have died");
        assert!(broken(&again, true)[0].contains("was begun 2 times"));
        assert!(broken(&format!("{once}{once}"), false)[0].contains("more than once under a token"));
        assert!(broken("began jobs.raw/0@7 5.1 long-1\n", false)[0].contains("no run of its command came to its end"));
        assert!(broken("", false)[0].contains("no run"));
        let other = format!("{once}began jobs.raw/0@8 5.1 long-1\n");
        assert!(broken(&other, false)[0].contains("which nobody asked for"));
        assert_eq!(Notes::parse(&other).unwrap().open().len(), 1);
        assert!(Notes::parse("ended jobs.raw/0@7 5.1 long-1\n").is_err(), "it never began");
    }
}
