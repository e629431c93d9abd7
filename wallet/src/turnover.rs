//! Giving back: what others need, and what this shard no longer uses.
//!
//! A holding whose time is over ends, with what still counts of it, unless jobs of it are open: then it stays until the
//! last of them has ended, without being spent. (The limits stage counts it for a whole window beyond its time.)

use tidegate_protocol::limits::{Amount, LimitAnswer, LimitId, LimitRequest, RequestId};
use tidegate_protocol::time::Timestamp;

use crate::{JobName, PATIENCE, Wallet};

/// Entries that end in one tick.
const AT_ONCE: usize = 256;

/// What an answer or a notice of the limits stage leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// It is to be noted.
    Granted(LimitAnswer),
    /// This is to be given back.
    Returned(LimitRequest),
}

impl<J: JobName> Wallet<J> {
    /// What an answer or a notice of the limits stage leads to; nothing when it is of a holding that is no more.
    #[must_use]
    pub fn answered(&self, answer: LimitAnswer, at: Timestamp, epoch: u64) -> Option<Heard> {
        match answer {
            LimitAnswer::Granted { .. } | LimitAnswer::Switched { .. } => Some(Heard::Granted(answer)),
            LimitAnswer::Recalled { holding: number, limit, key, amount, .. } => {
                self.entry(&limit, &key).filter(|holding| holding.number == number)?;
                // Nothing at all is an answer too: nobody need wait for it any longer.
                self.returned((&limit, &key), amount, at, epoch).map(Heard::Returned)
            }
        }
    }

    /// How much of a key could be given back at `at`.
    #[must_use]
    pub fn unused(&self, (limit, key): (&LimitId, &str), at: Timestamp) -> Amount {
        let holding = self.entry(limit, key).filter(|holding| holding.number != 0);
        holding.map_or(Amount::ZERO, |holding| holding.free(at, self.bounds.skew))
    }

    /// When, after `at`, time alone may make more of a key free to be given back.
    #[must_use]
    pub fn frees_at(&self, (limit, key): (&LimitId, &str), at: Timestamp) -> Option<Timestamp> {
        let holding = self.entry(limit, key).filter(|holding| holding.number != 0)?;
        holding.frees_at(at, self.bounds.skew)
    }

    /// Gives back what is not in use of a key, `amount` at most, be it nothing; `None` when nothing is held.
    #[must_use]
    pub fn returned(
        &self,
        (limit, key): (&LimitId, &str),
        amount: Amount,
        at: Timestamp,
        epoch: u64,
    ) -> Option<LimitRequest> {
        let holding = self.entry(limit, key).filter(|holding| holding.number != 0)?;
        Some(LimitRequest::Return {
            id: RequestId { epoch, number: self.number + 1 },
            holding: holding.number,
            limit: limit.clone(),
            key: key.into(),
            free: holding.free(at, self.bounds.skew).min(amount),
            rest: None,
            from: holding.freed_from(at, self.bounds.skew),
        })
    }

    /// Holdings whose time was over at `fresh` end.
    #[must_use]
    pub fn tick(&self, fresh: Timestamp, at: Timestamp, epoch: u64) -> Vec<LimitRequest> {
        let over = self.due.iter().take_while(|(due, _)| *due <= fresh).take(AT_ONCE);
        let ended = over.filter_map(|(_, (limit, key))| {
            let holding = self.entry(limit, key).filter(|holding| holding.number != 0)?;
            Some((limit, key, holding))
        });
        let mut number = self.number;
        ended
            .map(|(limit, key, holding)| {
                number += 1;
                LimitRequest::Return {
                    id: RequestId { epoch, number },
                    holding: holding.number,
                    limit: limit.clone(),
                    key: key.clone(),
                    free: holding.free(at, self.bounds.skew),
                    rest: Some(holding.residue(at, self.bounds.skew)),
                    from: holding.freed_from(at, self.bounds.skew),
                }
            })
            .collect()
    }

    /// When, after `at`, time alone changes how a key stands here: what counts, what may be spent, or whether to ask again.
    #[must_use]
    pub fn changes_at(&self, (limit, key): (&LimitId, &str), at: Timestamp) -> Option<Timestamp> {
        let holding = self.entry(limit, key)?;
        let window = self.window(holding);
        let held = [holding.from, holding.until].into_iter().filter(|_| holding.number != 0);
        let asked = holding.asked.map(|asked| asked.at + PATIENCE);
        let counts = holding.next_to_pass(at, window);
        held.chain(holding.again).chain(asked).chain(counts).filter(|time| *time > at).min()
    }
}
