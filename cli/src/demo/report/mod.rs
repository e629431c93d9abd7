//! What a run came to.

mod latency;
mod text;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::Serialize;
use tidegate_protocol::decision::{Decision, Verdict};
use tidegate_protocol::outcome::Outcome;

use super::averted::Averted;
use super::board::{Board, Hold, Said, Seen};
use super::input::Kind;
use super::submit::Sent;
use super::world::{Balance, Stock, World};
pub(crate) use latency::Latency;

/// The document of `--output json`. The first fields are a promise; those behind `data` say more.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Report {
    /// Records that landed on the source.
    pub(crate) submitted: usize,
    /// Allowed. A record that repeats a job counts as the record that stands for it.
    pub(crate) approved: usize,
    /// Denied.
    pub(crate) denied: usize,
    /// Waiting for people.
    pub(crate) held: usize,
    /// Records that could not be handled: no verdict on most, given up by the scheduler after one on some.
    pub(crate) dead: usize,
    /// Allowed jobs that ran to an end.
    pub(crate) finished: usize,
    /// Verdicts by the rule that decided; `default` where none matched.
    pub(crate) by_rule: BTreeMap<String, usize>,
    /// How the verdicts compare with what the lines were meant to be.
    pub(crate) score: Score,
    /// Milliseconds from handing over a record to its verdict being durable.
    pub(crate) decided_ms: Option<Latency>,
    /// To it being readable by its consumer.
    pub(crate) released_ms: Option<Latency>,
    /// To its end.
    pub(crate) finished_ms: Option<Latency>,
    /// The data folder.
    pub(crate) data: PathBuf,
    /// Runs by outcome.
    pub(crate) outcomes: BTreeMap<&'static str, usize>,
    /// Dead records by reason.
    pub(crate) dead_by_reason: BTreeMap<&'static str, usize>,
    /// Records that repeated a job and ran no second time.
    pub(crate) repeated: usize,
    /// What denied calls would have moved.
    pub(crate) would_have_moved: Averted,
    /// What held calls would move if people said yes.
    pub(crate) would_move: Averted,
    /// How many jobs whom would be asked about, or was.
    pub(crate) asked: BTreeMap<String, usize>,
    /// What people said, where `--answer` played them.
    pub(crate) answered: Answered,
    /// Accounts before and after.
    pub(crate) balances: Vec<Balance>,
    /// Offices before and after.
    pub(crate) offices: Vec<Stock>,
    /// Calls that wait for people.
    pub(crate) wants_approval: Vec<Call>,
    /// User calls that neither passed nor wait for people.
    pub(crate) refused: Vec<Call>,
    /// Injections that were not stopped.
    pub(crate) let_through: Vec<Call>,
    /// Functions, as they were called, that no rule matches, with how often.
    pub(crate) unmatched: BTreeMap<String, usize>,
    /// Jobs that were allowed and failed.
    pub(crate) failures: Vec<Call>,
    /// What has no outcome or was never taken; anything here makes the exit code 1.
    pub(crate) missing: Vec<String>,
    /// The rules with their verdicts and reasons, for people.
    #[serde(skip)]
    rules: BTreeMap<String, Rule>,
    /// What was wrong with the first dead record of each reason, for people.
    #[serde(skip)]
    dead_example: BTreeMap<&'static str, String>,
    /// Who called, for people.
    #[serde(skip)]
    agents: usize,
}

/// Score against the labels.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Score {
    pub(crate) user: Passed,
    pub(crate) injection: Stopped,
}

/// Legitimate calls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Passed {
    /// Not refused: allowed, or held for people.
    pub(crate) passed: usize,
    /// Held, of those.
    pub(crate) held: usize,
    pub(crate) total: usize,
}

/// Injected calls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Stopped {
    /// Not run: denied, held for people, or no job at all.
    pub(crate) stopped: usize,
    /// Held, of those.
    pub(crate) held: usize,
    pub(crate) total: usize,
}

/// What people said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Answered {
    pub(crate) approved: usize,
    pub(crate) rejected: usize,
}

/// A call worth naming.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Call {
    /// Its id, else where its line stands.
    pub(crate) id: String,
    pub(crate) capability: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) task: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) goal: Option<String>,
    pub(crate) reason: String,
    /// Who is asked about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) asks: Option<String>,
}

#[derive(Debug, Clone)]
struct Rule {
    verdict: Verdict,
    jobs: usize,
    /// The rule's own words, as far as they are known: a decision by several rules tells only the first one's.
    reason: String,
}

impl Report {
    /// Of everything that was sent, as far as the board knows.
    pub(crate) fn of(sent: &[Sent], board: &Board, world: &World, data: PathBuf) -> Self {
        let mut report = Self {
            submitted: 0,
            approved: 0,
            denied: 0,
            held: 0,
            dead: 0,
            finished: 0,
            by_rule: BTreeMap::new(),
            score: Score::default(),
            decided_ms: None,
            released_ms: None,
            finished_ms: None,
            data,
            outcomes: BTreeMap::new(),
            dead_by_reason: BTreeMap::new(),
            repeated: 0,
            would_have_moved: Averted::default(),
            would_move: Averted::default(),
            asked: BTreeMap::new(),
            answered: Answered::default(),
            balances: world.balances(),
            offices: world.stocks(),
            wants_approval: Vec::new(),
            refused: Vec::new(),
            let_through: Vec::new(),
            unmatched: BTreeMap::new(),
            failures: Vec::new(),
            missing: Vec::new(),
            rules: BTreeMap::new(),
            dead_example: BTreeMap::new(),
            agents: 0,
        };
        let mut times: [Vec<Duration>; 3] = Default::default();
        let mut agents = std::collections::BTreeSet::new();
        for sent in sent {
            agents.extend(sent.submission.names.actor.as_deref());
            let name = sent.name();
            let source = match &sent.landed {
                Ok(source) => source,
                Err(reason) => {
                    report.missing.push(format!("{name} was not taken: {reason}"));
                    continue;
                }
            };
            report.submitted += 1;
            let Some((own, seen)) = board.of(source).zip(board.standing_for(source)) else {
                report.missing.push(format!("{name} at {source}: {}", board.progress(source)));
                continue;
            };
            if let Some(Said::Repeated(_)) = own.verdict {
                report.repeated += 1;
            }
            for (all, at) in times.iter_mut().zip([own.decided, own.released, own.finished]) {
                all.extend(at.map(|at: Instant| at.saturating_duration_since(sent.at)));
            }
            report.count(sent, &seen);
        }
        let [decided, released, finished] = times.map(Latency::of);
        (report.decided_ms, report.released_ms, report.finished_ms) = (decided, released, finished);
        report.agents = agents.len();
        report
    }

    fn count(&mut self, sent: &Sent, seen: &Seen) {
        let names = &sent.submission.names;
        let capability = names.capability.clone().unwrap_or_default();
        let payload = names.payload.as_ref().map(|payload| payload.get());
        if let Some(hold) = &seen.hold {
            *self.asked.entry(asks(&hold.decision)).or_default() += 1;
        }
        match &seen.verdict {
            Some(Said::Judged(decision)) => {
                self.rule(&decision.rule_ids, decision.verdict, &decision.reason);
                match decision.verdict {
                    Verdict::Allow | Verdict::AllowWithConstraints => {
                        self.approved += 1;
                        self.answered.approved += usize::from(seen.hold.is_some());
                        self.ended(sent, seen);
                    }
                    Verdict::RequireApproval | Verdict::Throttle | Verdict::Deny => {
                        self.denied += 1;
                        self.answered.rejected += usize::from(seen.hold.is_some());
                        self.would_have_moved.add(&capability, payload);
                        if decision.rule_ids.is_empty() {
                            *self.unmatched.entry(names.function()).or_default() += 1;
                        }
                    }
                }
            }
            Some(Said::Rejected(reason, detail)) => self.died(reason.word(), detail),
            Some(Said::Repeated(_)) => {}
            None => {
                if let Some(Hold { decision, .. }) = &seen.hold {
                    self.held += 1;
                    self.rule(&decision.rule_ids, decision.verdict, &decision.reason);
                    self.would_move.add(&capability, payload);
                    self.wants_approval.push(sent.call(seen));
                }
            }
        }
        let (allowed, held) = (seen.is_allowed(), seen.is_held());
        match sent.submission.label.kind {
            Some(Kind::User) => {
                self.score.user.total += 1;
                self.score.user.passed += usize::from(allowed || held);
                self.score.user.held += usize::from(held);
                if !allowed && !held {
                    self.refused.push(sent.call(seen));
                }
            }
            Some(Kind::Injection) => {
                self.score.injection.total += 1;
                self.score.injection.stopped += usize::from(!allowed);
                self.score.injection.held += usize::from(held);
                if allowed {
                    self.let_through.push(sent.call(seen));
                }
            }
            None => {}
        }
    }

    fn rule(&mut self, rules: &[String], verdict: Verdict, reason: &str) {
        let default = ["default".to_owned()];
        let (rules, reason) = if rules.is_empty() { (&default[..], "no rule allows it") } else { (rules, reason) };
        for (number, rule) in rules.iter().enumerate() {
            *self.by_rule.entry(rule.clone()).or_default() += 1;
            let known = self.rules.entry(rule.clone()).or_insert(Rule { verdict, jobs: 0, reason: String::new() });
            known.jobs += 1;
            if number == 0 {
                reason.clone_into(&mut known.reason);
            }
        }
    }

    fn ended(&mut self, sent: &Sent, seen: &Seen) {
        let Some(end) = &seen.end else { return };
        if end.outcome == Outcome::Dead {
            self.died("given_up", &end.reason);
        } else {
            self.finished += 1;
        }
        *self.outcomes.entry(end.outcome.word()).or_default() += 1;
        if end.outcome != Outcome::Succeeded {
            self.failures.push(sent.call(seen));
        }
    }

    fn died(&mut self, word: &'static str, detail: &str) {
        self.dead += 1;
        *self.dead_by_reason.entry(word).or_default() += 1;
        self.dead_example.entry(word).or_insert_with(|| detail.to_owned());
    }

    /// Whether every record that was submitted has its outcome.
    pub(crate) fn is_complete(&self) -> bool {
        self.missing.is_empty()
    }
}

/// How many people of which roles a decision asks.
fn asks(decision: &Decision) -> String {
    let Some(approval) = decision.approval.as_deref() else { return "nobody".to_owned() };
    let roles = match approval.approvers.as_slice() {
        [] => "any approver".to_owned(),
        roles => roles.join(" or "),
    };
    if approval.quorum > 1 { format!("{} of {roles}", approval.quorum) } else { roles }
}

impl Sent {
    /// Its id, else where its line stands.
    fn name(&self) -> String {
        self.submission.names.id.clone().unwrap_or_else(|| self.submission.place.clone())
    }

    fn call(&self, seen: &Seen) -> Call {
        let reason = match (&seen.verdict, &seen.end) {
            (Some(Said::Judged(_)), Some(end)) if seen.is_allowed() && end.outcome != Outcome::Succeeded => {
                end.reason.clone()
            }
            (Some(Said::Judged(decision)), _) => decision.reason.clone(),
            (Some(Said::Rejected(reason, detail)), _) => format!("{}: {detail}", reason.word()),
            (Some(Said::Repeated(_)), _) => String::new(),
            (None, _) => seen.decision().map(|decision| decision.reason.clone()).unwrap_or_default(),
        };
        Call {
            id: self.name(),
            capability: self.submission.names.capability.clone().unwrap_or_default(),
            task: self.submission.label.task.clone(),
            goal: self.submission.label.goal.clone(),
            reason,
            asks: seen.hold.as_ref().filter(|_| seen.is_held()).map(|hold| asks(&hold.decision)),
        }
    }
}
