//! Giving back: what others need, and what this shard no longer uses.
//!
//! A holding whose time is over ends, with what still counts of it, unless jobs of it are open: then it stays until the
//! last of them has ended, without being spent. (The limits stage counts it for a whole window beyond its time.)

use tidegate_protocol::facts::KernelFact;
use tidegate_protocol::limits::{LimitAnswer, LimitRequest, RequestId};
use tidegate_protocol::time::Timestamp;

use super::Wallet;

/// Entries that end in one tick.
const AT_ONCE: usize = 256;

impl Wallet {
    /// What an answer or a notice of the limits stage leads to.
    #[must_use]
    pub fn answered(&self, answer: LimitAnswer, at: Timestamp, epoch: u64) -> Option<KernelFact> {
        match answer {
            LimitAnswer::Granted { .. } | LimitAnswer::Switched { .. } => {
                Some(KernelFact::SliceGranted { answer: Box::new(answer) })
            }
            LimitAnswer::Recalled { holding: number, limit, key, amount } => {
                let holding = self.entry(&limit, &key).filter(|holding| holding.number == number)?;
                // Nothing at all is an answer too: nobody need wait for it any longer.
                let request = LimitRequest::Return {
                    id: RequestId { epoch, number: self.number + 1 },
                    holding: number,
                    free: holding.free(at, self.bounds.skew).min(amount),
                    rest: None,
                    from: holding.freed_from(at, self.bounds.skew),
                    limit,
                    key,
                };
                Some(KernelFact::SliceReturned { request: Box::new(request) })
            }
        }
    }

    /// Holdings whose time was over at `fresh` end.
    #[must_use]
    pub fn tick(&self, fresh: Timestamp, at: Timestamp, epoch: u64) -> Vec<KernelFact> {
        let over = self.due.iter().take_while(|(due, _)| *due <= fresh).take(AT_ONCE);
        let ended = over.filter_map(|(_, (limit, key))| {
            let holding = self.entry(limit, key).filter(|holding| holding.number != 0)?;
            Some((limit, key, holding))
        });
        let mut number = self.number;
        ended
            .map(|(limit, key, holding)| {
                number += 1;
                let request = LimitRequest::Return {
                    id: RequestId { epoch, number },
                    holding: holding.number,
                    limit: limit.clone(),
                    key: key.clone(),
                    free: holding.free(at, self.bounds.skew),
                    rest: Some(holding.residue(at, self.bounds.skew)),
                    from: holding.freed_from(at, self.bounds.skew),
                };
                KernelFact::SliceReturned { request: Box::new(request) }
            })
            .collect()
    }
}
