//! The outside judge: reads every topic raw and keeps an account of each record of the source.
//!
//! | module | what it is |
//! |---|---|
//! | [`position`] | a record's identity |
//! | [`facts`] | which groups of a facts log count |
//! | [`messages`] | which messages of an output partition are believed |
//! | [`judge`] | what the accounts must say |
//! | [`story`] | everything the topics say about one record, for people |
//!
//! Words: *valid*, *believed* as in `models/takeover.py`. *Ran*: a lease was granted, or a worker reported a result.
//! Order between topics is by the broker's append times, which one broker stamps from one clock.

pub mod facts;
pub mod judge;
pub mod messages;
pub mod position;
pub mod story;

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context as _, bail};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::broker::Met;
use facts::{At, Counted, Fact, FactsLog, Said, Token};
use messages::Output;
use position::Position;

/// The header of a record on `dead` that says why it is there.
const DEAD_CLASS: &str = "__connect.errors.exception.class.name";

/// What is known of one record of the source.
#[derive(Debug, Clone, Default)]
pub struct Account {
    /// Verdicts in valid groups: decided, repeated and rejected together.
    pub verdicts: u32,
    /// It was allowed, in a valid group.
    pub allowed: bool,
    /// It was denied, in a valid group.
    pub denied: bool,
    /// It was found to be this record again.
    pub repeats: Option<Position>,
    /// It was rejected for this reason.
    pub rejected: Option<String>,
    /// The broker's time of its first valid verdict, milliseconds.
    pub decided_ms: Option<i64>,
    /// Messages on `approved` that are believed.
    pub approved: u32,
    /// Messages on `approved` of any epoch, believed or not.
    pub approved_at_all: u32,
    /// Messages on `denied`.
    pub denied_told: u32,
    /// Messages on `dead`.
    pub dead_told: u32,
    /// Tokens granted in landed groups, valid or not.
    pub tokens: Vec<Token>,
    /// The highest token granted in a valid group.
    pub valid_token: Option<Token>,
    /// The broker's time of the first grant or result.
    pub ran_ms: Option<i64>,
    /// Tokens that results named.
    pub reported: Vec<Token>,
    /// Where those results stand.
    pub results: Vec<(Token, At)>,
    /// Leases in valid groups.
    pub leases: Vec<Lease>,
    /// What was refused in valid groups.
    pub refused: Vec<Refused>,
    /// The broker's time of its end in the scheduler's facts.
    pub ended_ms: Option<i64>,
    /// Ends in valid groups of the scheduler.
    pub ended: u32,
    /// The token of the result that ended it.
    pub ended_by: Option<Token>,
    /// Messages on `finished` that are believed.
    pub finished: u32,
    /// The outcome there.
    pub outcome: Option<String>,
}

/// A result that is not believed, or a job that its worker lists and no longer has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The token that was named.
    pub token: Token,
    /// Why, as a word.
    pub why: String,
    /// The report that was answered; `None` when more facts about it follow.
    pub report: Option<At>,
}

impl Account {
    /// Why a *result* with this token was refused. What a heartbeat lists is refused as well, and is no result.
    #[must_use]
    pub fn result_refused(&self, token: Token) -> Option<&str> {
        let sent = |at: &At| self.results.iter().any(|(named, stands)| *named == token && stands == at);
        let refused = self.refused.iter().filter(|refused| refused.token == token);
        refused.filter(|refused| refused.report.as_ref().is_some_and(sent)).map(|refused| &*refused.why).next()
    }
}

/// A lease, from the scheduler's valid groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Its token.
    pub token: Token,
    /// Who had it.
    pub worker: Box<str>,
    /// The broker's time of its grant.
    pub granted_ms: i64,
    /// When and why it ended, where that was without a result.
    pub lost: Option<(i64, String)>,
}

impl Lease {
    /// Whether it ended without a result although its worker may have begun the job: one that is given back never ran.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.lost.as_ref().is_some_and(|(_, end)| end != "given_back")
    }
}

/// What the log's records add up to besides the accounts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Totals {
    /// Records read.
    pub records: u64,
    /// Owners after the first of each facts log.
    pub takeovers: u32,
    /// Records of a lower epoch behind a higher barrier or fence: written by owners who had been replaced.
    pub zombies: u64,
    /// Messages that came again and are not believed twice.
    pub repeated: u64,
    /// Groups and messages behind a gap.
    pub gaps: u64,
    /// Leases that ended without result.
    pub expired: u64,
    /// Leases in valid groups.
    pub leases: u64,
    /// Results that the scheduler did not believe: of workers whose lease was another's by then.
    pub refused: u64,
    /// Those of them whose token was no longer the job's.
    pub stale_fences: u64,
}

/// What a topic of a run is to the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Facts,
    Approved,
    Overflow,
    Finished,
    Denied,
    Dead,
    Reports,
}

/// Everything read so far.
#[derive(Debug, Default)]
pub struct Ledger {
    prefix: String,
    facts: BTreeMap<(String, u32), FactsLog>,
    outputs: BTreeMap<(String, u32), Output>,
    accounts: HashMap<Position, Account>,
    /// What no right stage writes, with where it stands.
    odd: Vec<String>,
    records: u64,
    leases: u64,
    expired: u64,
    refused: u64,
    stale_fences: u64,
    approved: u64,
    done: u64,
}

#[derive(Deserialize)]
struct Ending {
    outcome: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Report {
    Hello(IgnoredAny),
    Heartbeat(IgnoredAny),
    Result { source: Position, token: Token },
    GiveBack(IgnoredAny),
    Progress(IgnoredAny),
}

impl Ledger {
    /// Of the topics that begin with `prefix`.
    #[must_use]
    pub fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned(), ..Self::default() }
    }

    fn part(&self, topic: &str) -> Option<Part> {
        let name = topic.strip_prefix(&self.prefix)?;
        Some(match name.split('.').next()? {
            "decisions" | "leases" => Part::Facts,
            "approved" => Part::Approved,
            "overflow" => Part::Overflow,
            "finished" => Part::Finished,
            "denied" => Part::Denied,
            "dead" => Part::Dead,
            "reports" => Part::Reports,
            _ => return None,
        })
    }

    /// Whether the ledger reads this topic. The raw topic is known from its writer; snapshots and lanes judge nothing.
    #[must_use]
    pub fn reads(&self, topic: &str) -> bool {
        self.part(topic).is_some()
    }

    /// The account of a record.
    #[must_use]
    pub fn account(&self, of: Position) -> Option<&Account> {
        self.accounts.get(&of)
    }

    /// All accounts.
    pub fn accounts(&self) -> impl Iterator<Item = (&Position, &Account)> {
        self.accounts.iter()
    }

    /// What no right stage writes.
    #[must_use]
    pub fn odd(&self) -> &[String] {
        &self.odd
    }

    /// Records of the source that have come to their end: a `finished`, a repetition, or a rejection without a job.
    #[must_use]
    pub const fn done(&self) -> u64 {
        self.done
    }

    /// Messages on `approved` that are believed.
    #[must_use]
    pub const fn approved(&self) -> u64 {
        self.approved
    }

    /// The totals so far.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let (facts, outputs) = (self.facts.values(), self.outputs.values());
        let mut totals = Totals {
            records: self.records,
            leases: self.leases,
            expired: self.expired,
            refused: self.refused,
            stale_fences: self.stale_fences,
            ..Totals::default()
        };
        for log in facts {
            totals.takeovers += log.owners.saturating_sub(1);
            totals.zombies += log.superseded;
            totals.gaps += log.gaps;
        }
        for output in outputs {
            totals.zombies += output.below_fence;
            totals.repeated += output.repeated;
            totals.gaps += output.gaps;
        }
        totals
    }

    /// Takes the next record of a partition.
    pub fn meet(&mut self, met: &Met) {
        let Some(part) = self.part(&met.topic) else { return };
        self.records += 1;
        if let Err(error) = self.take(part, met) {
            // All of them are counted; a broken run may have very many.
            if self.odd.len() < 100 {
                self.odd.push(format!("{}/{}@{}: {error:#}", met.topic, met.partition, met.offset));
            }
        }
    }

    fn take(&mut self, part: Part, met: &Met) -> anyhow::Result<()> {
        let at = (met.topic.clone(), met.partition);
        match part {
            Part::Facts => {
                let (facts, valid) = match self.facts.entry(at).or_default().meet(met)? {
                    Counted::Valid(facts) => (facts, true),
                    Counted::Void(facts) => (facts, false),
                    Counted::Control => return Ok(()),
                };
                facts.into_iter().try_for_each(|said| self.fact(said, valid, met.at_ms))
            }
            Part::Approved | Part::Finished => {
                let believed = self.outputs.entry(at).or_default().meet(met)?;
                if met.header("tg-kind").is_some() {
                    return Ok(());
                }
                let account = self.accounts.entry(source(met)?).or_default();
                if part == Part::Approved {
                    account.approved_at_all += 1;
                    account.approved += u32::from(believed);
                    self.approved += u64::from(believed);
                } else if believed {
                    let value = met.value.as_deref().unwrap_or_default();
                    let ending: Ending = serde_json::from_slice(value).context("`finished` cannot be read")?;
                    account.finished += 1;
                    account.outcome = Some(ending.outcome);
                    self.done += 1;
                }
                Ok(())
            }
            Part::Overflow => self.outputs.entry(at).or_default().meet(met).map(|_| ()),
            // What a former owner sent late is no job's end: the new owner sent it again.
            Part::Dead if met.header("tg-source").is_none() && met.header(DEAD_CLASS) == Some("former_owner") => Ok(()),
            Part::Denied | Part::Dead => {
                let account = self.accounts.entry(source(met)?).or_default();
                if part == Part::Denied {
                    account.denied_told += 1
                } else {
                    account.dead_told += 1
                }
                Ok(())
            }
            Part::Reports => {
                let value = met.value.as_deref().context("a report with a null value")?;
                let report: Report = serde_json::from_slice(value).context("a report cannot be read")?;
                if let Report::Result { source, token } = report {
                    let account = self.accounts.entry(source).or_default();
                    if !account.reported.contains(&token) {
                        account.reported.push(token);
                    }
                    account.results.push((token, (at.0, at.1, met.offset)));
                    account.ran_ms = earlier(account.ran_ms, met.at_ms);
                }
                Ok(())
            }
        }
    }

    fn of(&mut self, source: Position) -> &mut Account {
        self.accounts.entry(source).or_default()
    }

    fn fact(&mut self, Said { fact, settles }: Said, valid: bool, at_ms: i64) -> anyhow::Result<()> {
        match fact {
            Fact::LeaseGranted { source, token, worker } => {
                let account = self.of(source);
                account.tokens.push(token);
                account.ran_ms = earlier(account.ran_ms, at_ms);
                if valid {
                    if account.valid_token.is_some_and(|before| token <= before) {
                        bail!("the token of {source} does not rise: {token:?} after {:?}", account.valid_token);
                    }
                    account.valid_token = Some(token);
                    account.leases.push(Lease { token, worker, granted_ms: at_ms, lost: None });
                    self.leases += 1;
                }
            }
            _ if !valid => {}
            Fact::JobDecided { job, decision } => {
                let account = self.of(job.source);
                account.verdicts += 1;
                account.decided_ms = earlier(account.decided_ms, at_ms);
                match decision.verdict.as_str() {
                    "allow" => account.allowed = true,
                    "deny" => account.denied = true,
                    other => bail!("verdict `{other}` of {}", job.source),
                }
            }
            Fact::JobRepeated { source, duplicate_of } => {
                let account = self.of(source);
                account.verdicts += 1;
                account.repeats = Some(duplicate_of);
                account.decided_ms = earlier(account.decided_ms, at_ms);
                self.done += 1;
            }
            Fact::RecordRejected { source, reason, job } => {
                let account = self.of(source);
                account.verdicts += 1;
                account.rejected = Some(reason);
                account.decided_ms = earlier(account.decided_ms, at_ms);
                if job.is_none() {
                    self.done += 1;
                }
            }
            Fact::LeaseExpired { source, token, end } => {
                let Some(lease) = self.of(source).leases.iter_mut().find(|lease| lease.token == token) else {
                    bail!("a lease of {source} ended, {token:?}, which no valid group granted");
                };
                lease.lost = Some((at_ms, end));
                self.expired += 1;
            }
            Fact::JobFinished { source, outcome, by } => {
                let account = self.of(source);
                account.ended += 1;
                account.ended_ms = Some(at_ms);
                account.ended_by = by.map(|holder| holder.token);
                if outcome == "succeeded" && account.ended_by != account.valid_token {
                    bail!("{source} was ended by {:?} although {:?} held it", account.ended_by, account.valid_token);
                }
            }
            Fact::JobReturned { source } => bail!("the ticket of {source} expired, which is an hour in this run"),
            Fact::JobDuplicate { source } => bail!("{source} ended as a duplicate, of which this run has none"),
            // A former owner's that came late; the new owner sent it again.
            Fact::WorkRefused { reason, .. } if reason == "former_owner" => {}
            Fact::WorkRefused { detail, .. } => bail!("a record on `approved` was refused: {detail}"),
            Fact::ResultRefused { source, by, reason } => {
                self.refused += 1;
                self.stale_fences += u64::from(reason == "stale_fence");
                self.of(source).refused.push(Refused { token: by.token, why: reason, report: settles });
            }
            Fact::PolicyAdopted(_)
            | Fact::CancelAsked(_)
            | Fact::WithdrawalKept(_)
            | Fact::WithdrawalMoved(_)
            | Fact::JobRetried { .. }
            | Fact::JobDelayed(_)
            | Fact::JobDue(_)
            | Fact::SliceRequested(_)
            | Fact::SliceGranted(_)
            | Fact::SliceReturned(_)
            | Fact::SpendSettled(_)
            | Fact::OutcomePassedOn(_)
            | Fact::WorkerWelcomed(_)
            | Fact::WorkerOutrun(_)
            | Fact::ResultRepeated(_)
            | Fact::JobMoved(_)
            | Fact::WorkerForgotten(_)
            | Fact::WorkerCordoned(_)
            | Fact::WorkerUncordoned(_)
            | Fact::PoolCommandRefused(_) => {}
        }
        Ok(())
    }
}

fn source(met: &Met) -> anyhow::Result<Position> {
    let named = met.header("tg-source").context("a message without source position")?;
    Position::read(named).with_context(|| format!("`{named}` is no source position of this run"))
}

fn earlier(known: Option<i64>, at_ms: i64) -> Option<i64> {
    Some(known.map_or(at_ms, |known| known.min(at_ms)))
}

#[cfg(test)]
mod tests;
