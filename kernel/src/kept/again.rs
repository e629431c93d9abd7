//! Judging a kept job again, and ending it when its time is over.

use tidegate_protocol::decision::{Decision as Judgement, Verdict};
use tidegate_protocol::facts::KernelFact;
use tidegate_protocol::kept::KeptAs;
use tidegate_protocol::time::Timestamp;
use tidegate_spine::Record;
use tidegate_stage::Decision;

use super::{KeptJob, restored};
use crate::approvals::due;
use crate::concluding::{Case, denied};
use crate::kernel::Kernel;

/// Most jobs that end by one tick: what one decision holds is bounded, the next tick goes on.
const ENDS_AT_ONCE: usize = 200;

impl Kernel {
    /// Judges the next job again that is ready for it; one at a time, so that each sees what the one before spent.
    pub(crate) fn judge_next(&self, at: Timestamp, decision: &mut Decision<KernelFact>) {
        if self.kept.count(KeptAs::Held) > 0
            && let Some(policy) = self.policies.usable()
            && !self.policies.is_adopted(policy)
        {
            // Said first: it wakes whatever was asked of people by another policy.
            self.adopt_first(policy, decision);
        } else if let Some(kept) = self.kept.next_ready(at) {
            self.judge_again(kept, at, false, decision);
        }
    }

    /// Ends what waited for as long as it may. Whatever came before `fresh` was read before. A job whose limits have not
    /// answered is judged a last time, and at most one a tick, for the same reason as above.
    pub(crate) fn end_overdue(&self, fresh: Timestamp, at: Timestamp, decision: &mut Decision<KernelFact>) {
        let mut judged = false;
        for kept in self.kept.overdue(fresh).take(ENDS_AT_ONCE) {
            if let Some(hold) = kept.asks_for() {
                if let Some(fact) = due(kept, hold, fresh) {
                    decision.fact(fact);
                }
                continue;
            }
            match kept.deferral.as_ref().and_then(|deferral| deferral.decision.as_deref()) {
                Some(verdict) => {
                    let record = restored(&kept.record);
                    let why = "throttled for as long as its rule lets it wait";
                    decision.fact(denied(case(kept, &record, at), verdict.clone(), why));
                }
                None if self.policies.usable().is_none() => {
                    let record = restored(&kept.record);
                    let snapshot = self.policies.adopted().map_or("", |adopted| &adopted.snapshot);
                    let verdict = Judgement::new(Verdict::Deny, "there is no policy to judge it by", snapshot);
                    decision.fact(denied(case(kept, &record, at), verdict, "its time is over"));
                }
                None if !judged => {
                    self.judge_again(kept, at, true, decision);
                    judged = true;
                }
                None => {}
            }
        }
    }

    /// Judges a kept job by the policy of now. Without a usable policy it goes on waiting (I3).
    fn judge_again(&self, kept: &KeptJob, at: Timestamp, last: bool, decision: &mut Decision<KernelFact>) {
        let Some(policy) = self.policies.usable() else { return };
        self.adopt_first(policy, decision);
        let record = restored(&kept.record);
        let mut memory = self.memory.borrow_mut();
        memory.reader.decode_again(kept.payload, &record);
        let said = self.say(policy, (&kept.job, kept.payload, &record), at, last, &mut memory, decision);
        decision.fact(self.resolve(case(kept, &record, at), said));
    }
}

fn case<'a>(kept: &'a KeptJob, record: &'a Record, at: Timestamp) -> Case<'a> {
    Case {
        job: kept.job.clone(),
        payload: kept.payload,
        record,
        kept: Some(kept),
        returned: None,
        at,
        spends: Vec::new(),
    }
}
