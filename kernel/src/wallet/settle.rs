//! What a job turned out to use replaces what was reserved.
//!
//! | kind | the job ended | counts from then on |
//! |---|---|---|
//! | concurrency | in any way | nothing |
//! | budget | it never ran | nothing |
//! | | with a usage report | what it used, be it more than was reserved |
//! | | without | what was reserved |
//! | breaker | | nothing ever counts; a failure, and any probe, is passed on to the limits stage |
//! | others | are not told: a job counts because it was allowed | |

use serde::{Deserialize, Serialize};
use tidegate_protocol::address::Offset;
use tidegate_protocol::facts::KernelFact;
use tidegate_protocol::limits::{Amount, BudgetOf, LimitKind, LimitRequest, OutcomeTold, RequestId, Spend};
use tidegate_protocol::outcome::Outcome;
use tidegate_protocol::time::Timestamp;

use super::holding::Holding;
use super::{OPEN_AT_MOST, Wallet};

/// A job whose end is awaited.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenJob {
    /// Stamp of its spends.
    pub(super) at: Timestamp,
    pub(super) spends: Vec<OpenSpend>,
    /// Then its end is not waited for any longer.
    pub(super) until: Timestamp,
}

/// One of its spends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct OpenSpend {
    pub(super) spend: Spend,
    /// Of which holding.
    pub(super) holding: u64,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) probe: bool,
}

/// What counts of a spend once its job has ended.
fn used(kind: LimitKind, budget: Option<BudgetOf>, reserved: Amount, told: &OutcomeTold) -> Amount {
    match kind {
        LimitKind::Concurrency => Amount::ZERO,
        LimitKind::Budget if told.attempts == 0 => Amount::ZERO,
        LimitKind::Budget => {
            let reported = match budget {
                Some(BudgetOf::Tokens) => told.usage.tokens,
                Some(BudgetOf::Money) => told.usage.money,
                None => None,
            };
            reported.unwrap_or(reserved)
        }
        LimitKind::CountWithin
        | LimitKind::SumWithin
        | LimitKind::CountDistinctWithin
        | LimitKind::Rate
        | LimitKind::Breaker => reserved,
    }
}

/// Whether an end speaks against what a breaker guards.
const fn failed(told: &OutcomeTold) -> bool {
    match told.outcome {
        Outcome::Failed | Outcome::Dead => true,
        Outcome::TimedOut => told.attempts > 0,
        Outcome::Succeeded | Outcome::Cancelled | Outcome::Denied => false,
    }
}

impl Wallet {
    /// What the end of a job leads to; nothing when nobody waits for it (told before, or too late).
    #[must_use]
    pub fn told(&self, told: &OutcomeTold, at: Timestamp, epoch: u64) -> Vec<KernelFact> {
        let Some(job) = self.open.get(&told.source.offset) else { return Vec::new() };
        let mut facts = Vec::new();
        let mut number = self.number;
        for OpenSpend { spend, holding, probe } in &job.spends {
            let Some(entry) = self.entry(&spend.limit, &spend.key) else { continue };
            if entry.definition.kind != LimitKind::Breaker || !(failed(told) || *probe) {
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
                failed: failed(told),
                probe: *probe,
                at,
            };
            facts.push(KernelFact::OutcomePassedOn { request: Box::new(request) });
        }
        facts.push(KernelFact::SpendSettled { told: Box::new(told.clone()) });
        facts
    }

    pub(super) fn settled(&mut self, told: &OutcomeTold, at: Timestamp) {
        self.close(told.source.offset, at, Some(told));
    }

    /// Remembers a job whose end is awaited.
    pub(super) fn await_end(&mut self, offset: Offset, at: Timestamp, spends: Vec<OpenSpend>) {
        let windows =
            spends.iter().filter_map(|open| self.entry(&open.spend.limit, &open.spend.key)).map(Holding::window);
        let Some(longest) = windows.max() else { return };
        let until = at + longest.min(OPEN_AT_MOST);
        self.open.insert(offset, OpenJob { at, spends, until });
        self.forget.insert((until, offset));
    }

    /// Ends the wait for a job: by what was told, or because it was not.
    pub(super) fn close(&mut self, offset: Offset, at: Timestamp, told: Option<&OutcomeTold>) {
        let twice = self.bugs.settle_twice && told.is_some();
        let job = if twice { self.open.get(&offset).cloned() } else { self.open.remove(&offset) };
        let Some(OpenJob { at: stamp, spends, until }) = job else { return };
        if !twice {
            self.forget.remove(&(until, offset));
        }
        for OpenSpend { spend, holding: number, .. } in spends {
            self.change(&spend.limit, &spend.key, |holding| {
                if holding.number != number {
                    return;
                }
                if !twice {
                    holding.open = holding.open.saturating_sub(1);
                }
                let window = holding.window();
                let (Some(told), true) = (told, at < stamp + window) else { return };
                let definition = &holding.definition;
                let now = used(definition.kind, definition.budget, spend.amount, told);
                if now != spend.amount {
                    holding.spent.replace(stamp, spend.amount, now);
                }
            });
        }
    }
}
