//! What a job turned out to use replaces what was reserved.
//!
//! | kind | the job ended | counts from then on |
//! |---|---|---|
//! | concurrency | in any way | nothing |
//! | budget | it never ran | nothing |
//! | | with a usage report | what it used, be it more than was reserved |
//! | | without | what was reserved |
//! | breaker | it ran and failed; it was a probe and succeeded | nothing ever counts; this is passed on to the limits stage |
//! | | otherwise | nothing |
//! | others | are not told: a job counts because it was allowed | |
//!
//! A verdict that is replaced by another before its job has run is as the end of a job that never ran: the later verdict
//! takes of limits anew, and what is told of the record from then on settles that. Each spend is settled once: by the end
//! that is told first, by the verdict that replaces it, or by time.

use serde::{Deserialize, Serialize};
use tidegate_protocol::limits::{Amount, BudgetOf, LimitKind, LimitRequest, OutcomeTold, RequestId, Spend};
use tidegate_protocol::outcome::Outcome;
use tidegate_protocol::time::Timestamp;

use crate::{JobName, Wallet};

/// A job whose end is awaited.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenJob {
    /// Stamp of its spends.
    pub(crate) at: Timestamp,
    pub(crate) spends: Vec<OpenSpend>,
    /// Then its end is not waited for any longer.
    pub(crate) until: Timestamp,
    /// How often its record was redriven before.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) redrive: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// One of its spends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OpenSpend {
    pub(crate) spend: Spend,
    /// Of which holding.
    pub(crate) holding: u64,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) probe: bool,
}

/// How the wait for a job's end is over.
#[derive(Debug, Clone, Copy)]
pub(crate) enum End<'a> {
    /// The scheduler has told it.
    Told(&'a OutcomeTold),
    /// Another verdict stands in place of the one that spent; the job never ran by that.
    Replaced,
    /// It was not told for as long as it could count.
    Forgotten,
}

/// What counts of a spend once its job has ended.
fn used(kind: LimitKind, budget: Option<BudgetOf>, reserved: Amount, end: End<'_>) -> Amount {
    let ran = match end {
        End::Told(told) => (told.attempts > 0).then_some(told.usage),
        End::Replaced => None,
        // Time alone ends what it counts for.
        End::Forgotten => return reserved,
    };
    match kind {
        LimitKind::Concurrency => Amount::ZERO,
        LimitKind::Budget => ran.map_or(Amount::ZERO, |usage| {
            let reported = match budget {
                Some(BudgetOf::Tokens) => usage.tokens,
                Some(BudgetOf::Money) => usage.money,
                None => None,
            };
            reported.unwrap_or(reserved)
        }),
        LimitKind::CountWithin
        | LimitKind::SumWithin
        | LimitKind::CountDistinctWithin
        | LimitKind::Rate
        | LimitKind::Breaker => reserved,
    }
}

/// What an end says of what a breaker guards: whether it failed. A job that never ran, or was called off, says nothing.
const fn failed(told: &OutcomeTold) -> Option<bool> {
    if told.attempts == 0 {
        return None;
    }
    match told.outcome {
        Outcome::Failed | Outcome::Dead | Outcome::TimedOut => Some(true),
        Outcome::Succeeded => Some(false),
        Outcome::Cancelled | Outcome::Denied => None,
    }
}

impl<J: JobName> Wallet<J> {
    /// What is to be passed on of the end of a job; `None` when nobody waits for it (told before, or too late).
    #[must_use]
    pub fn told(&self, job: &J, told: &OutcomeTold, at: Timestamp, epoch: u64) -> Option<Vec<LimitRequest>> {
        let job = self.open.get(job)?;
        let mut requests = Vec::new();
        let mut number = self.number;
        for OpenSpend { spend, holding, probe } in &job.spends {
            let Some(entry) = self.entry(&spend.limit, &spend.key) else { continue };
            let Some(failed) = failed(told).filter(|failed| *failed || *probe) else { continue };
            if entry.definition.kind != LimitKind::Breaker {
                continue;
            }
            number += 1;
            let request = LimitRequest::Ended {
                id: RequestId { epoch, number },
                holding: *holding,
                limit: spend.limit.clone(),
                key: spend.key.clone(),
                definition: (*entry.definition).clone(),
                tenant: entry.tenant.clone(),
                failed,
                probe: *probe,
                at,
            };
            requests.push(request);
        }
        Some(requests)
    }

    /// A job's end was told.
    pub fn settled(&mut self, job: &J, told: &OutcomeTold, at: Timestamp) {
        self.close(job, at, End::Told(told));
    }

    /// A job has not what it took any more, another verdict on it stands or its lease is over: that is given back.
    pub fn replaced(&mut self, job: &J, at: Timestamp) {
        self.close(job, at, End::Replaced);
    }

    /// Remembers a job whose end is awaited.
    pub(crate) fn await_end(&mut self, job: &J, at: Timestamp, spends: Vec<OpenSpend>) {
        let taken = spends.iter().filter_map(|open| self.entry(&open.spend.limit, &open.spend.key));
        let Some(longest) = taken.map(|holding| holding.window(self.bounds.skew)).max() else { return };
        let until = at + longest.min(self.bounds.open_for);
        self.open.insert(job.clone(), OpenJob { at, spends, until, redrive: job.written().1 });
        self.forget.insert((until, job.clone()));
    }

    /// Ends the wait for a job, if it is waited for.
    pub(crate) fn close(&mut self, name: &J, at: Timestamp, end: End<'_>) {
        let skew = self.bounds.skew;
        let twice = self.bugs.settle_twice && matches!(end, End::Told(_));
        let job = if twice { self.open.get(name).cloned() } else { self.open.remove(name) };
        let Some(OpenJob { at: stamp, spends, until, .. }) = job else { return };
        if !twice {
            self.forget.remove(&(until, name.clone()));
        }
        for OpenSpend { spend, holding: number, .. } in spends {
            self.change(&spend.limit, &spend.key, |holding| {
                if holding.number != number {
                    return;
                }
                if !twice {
                    holding.open = holding.open.saturating_sub(1);
                }
                if at >= stamp + holding.window(skew) {
                    return;
                }
                let definition = &holding.definition;
                let now = used(definition.kind, definition.budget, spend.amount, end);
                if now != spend.amount {
                    holding.spent.replace(stamp, spend.amount, now);
                    if twice {
                        holding.spent.replace(Timestamp(stamp.0 + 1), spend.amount, now);
                    }
                }
            });
        }
    }
}
