//! What the accounts must say.

use std::collections::{BTreeMap, HashMap};

use super::position::Position;
use super::{Account, Ledger};

/// What must become of a submitted record, whatever is killed meanwhile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// Allowed, run, succeeded.
    Succeeds,
    /// Denied, never run.
    Denied,
    /// Rejected for this reason, without a `finished` of its own.
    Dead(&'static str),
    /// The same record as that one again: no end of its own.
    Repeats(Position),
}

/// A broken promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Whose; `None` when it is about a topic.
    pub of: Option<Position>,
    /// What was seen.
    pub what: String,
}

/// Every promise that is broken; none when all is well.
#[must_use]
pub fn judge(ledger: &Ledger, submitted: &HashMap<Position, Expected>) -> Vec<Violation> {
    let mut broken: Vec<Violation> = ledger.odd().iter().map(|odd| Violation { of: None, what: odd.clone() }).collect();
    let nothing = Account::default();
    // In order, so that two judgements of one run read the same.
    let ordered: BTreeMap<&Position, &Expected> = submitted.iter().collect();
    for (position, expected) in ordered {
        let account = ledger.account(*position).unwrap_or(&nothing);
        let whats = of_account(account, expected);
        broken.extend(whats.into_iter().map(|what| Violation { of: Some(*position), what }));
    }
    for (position, _) in ledger.accounts().filter(|(position, _)| !submitted.contains_key(position)) {
        broken.push(Violation { of: Some(*position), what: "nobody submitted this record".into() });
    }
    broken
}

fn of_account(account: &Account, expected: &Expected) -> Vec<String> {
    let mut broken = Vec::new();
    let mut must = |holds: bool, what: String| {
        if !holds {
            broken.push(what);
        }
    };
    let ran = account.ran_ms.is_some();
    must(account.verdicts == 1, format!("{} verdicts on one record", account.verdicts));
    must(
        !ran || (account.allowed && account.decided_ms <= account.ran_ms),
        format!(
            "it ran at {:?} ms; it was allowed: {}, decided at {:?} ms",
            account.ran_ms, account.allowed, account.decided_ms
        ),
    );
    if let Some(token) = account.reported.iter().find(|token| !account.tokens.contains(token)) {
        must(false, format!("a worker ran it under {token:?}, which no group granted"));
    }
    match expected {
        Expected::Succeeds => {
            must(account.allowed && !account.denied, "it should have been allowed".into());
            must(account.approved == 1, format!("{} believed messages on `approved`", account.approved));
            must(account.ended == 1, format!("{} ends in the scheduler's facts", account.ended));
            must(account.finished == 1, format!("{} believed messages on `finished`", account.finished));
            let outcome = account.outcome.as_deref();
            must(outcome == Some("succeeded"), format!("its outcome is {outcome:?}, should be succeeded"));
            must(account.dead_told == 0 && account.denied_told == 0, "it is on `dead` or `denied`".into());
            return broken;
        }
        Expected::Denied => {
            must(account.denied && !account.allowed, "it should have been denied".into());
            must(account.finished == 1, format!("{} believed messages on `finished`", account.finished));
            let outcome = account.outcome.as_deref();
            must(outcome == Some("denied"), format!("its outcome is {outcome:?}, should be denied"));
            must(account.denied_told > 0, "it is not on `denied`".into());
        }
        Expected::Dead(reason) => {
            let rejected = account.rejected.as_deref();
            must(rejected == Some(*reason), format!("it was rejected for {rejected:?}, should be for {reason}"));
            must(account.finished == 0, format!("{} believed messages on `finished`", account.finished));
            must(account.dead_told > 0, "it is not on `dead`".into());
        }
        Expected::Repeats(twin) => {
            let repeats = account.repeats;
            must(repeats == Some(*twin), format!("it was found to repeat {repeats:?}, should be {twin}"));
            must(account.finished == 0, format!("{} believed messages on `finished`", account.finished));
        }
    }
    // Nothing of what may not run may be on its way to a worker, not even from an owner nobody believes.
    must(account.approved_at_all == 0, "it is on `approved`".into());
    must(!ran, "it ran".into());
    broken
}
