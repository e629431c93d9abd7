//! Withdrawals of jobs that are not known yet: on `withdrawals.<pool>` they come ahead of all that waits in `approved.<pool>`.
//!
//! Soft and bounded: every one of them stands on `approved.<pool>` too, behind its job, and that one is believed whatever is
//! forgotten here. What is lost by forgetting is time: the job may be leased before that one is read.

use std::collections::{BTreeMap, VecDeque};

use tidegate_protocol::job::SourcePosition;
use tidegate_protocol::withdrawal::Withdrawn;

use crate::work::Work;

/// Most that are remembered, the oldest is forgotten first.
const MOST: usize = 4_096;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Early {
    by_source: BTreeMap<SourcePosition, Withdrawn>,
    order: VecDeque<SourcePosition>,
}

impl Early {
    /// One more.
    pub(crate) fn remember(&mut self, withdrawn: Withdrawn) {
        let source = withdrawn.source.clone();
        if self.by_source.insert(source.clone(), withdrawn).is_none() {
            self.order.push_back(source);
        }
        if self.order.len() > MOST
            && let Some(oldest) = self.order.pop_front()
        {
            self.by_source.remove(&oldest);
        }
    }

    /// Why a job that has just been read is called off.
    pub(crate) fn of(&self, work: &Work) -> Option<String> {
        let Withdrawn { tenant, id, cause, by, reason, .. } = self.by_source.get(&work.source)?;
        (*tenant == work.alike.tenant && id.as_str() == work.name()).then(|| cause.sentence(by, reason))
    }
}

#[cfg(test)]
mod tests {
    use tidegate_protocol::withdrawal::Withdrawal;

    use super::*;
    use crate::driver::{approved, job, withdrawal};

    #[test]
    fn it_is_bounded_and_a_withdrawal_is_of_one_job_alone() {
        let mut early = Early::default();
        for offset in 0..=MOST as u64 {
            let read = Withdrawal::read(&withdrawal("a", offset)).unwrap();
            early.remember(read.withdrawn.clone());
            early.remember(read.withdrawn);
        }
        let of = |id, offset| early.of(&Work::read(Some(&approved(&job(id, offset), "1"))).unwrap());
        assert_eq!((early.by_source.len(), early.order.len()), (MOST, MOST));
        assert_eq!((of("a", 0), of("a", 1)), (None, Some("cancelled by olga".to_owned())));
        assert_eq!(of("b", 1), None, "another job stands there");
    }
}
