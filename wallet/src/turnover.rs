//! Giving back: what others need, and what this shard no longer uses. Asking again for what is not answered.
//!
//! A request or its answer may be lost with a log. What is asked again has a number of its own and says what is held: whatever an
//! answer to the one before gave or will give is put aside here, and then counts for nothing at the limits stage either.
//!
//! A holding whose time is over ends, with what still counts of it, unless jobs of it are open: then it stays until the
//! last of them has ended, without being spent. (The limits stage counts it for a whole window beyond its time.)

use std::collections::BTreeSet;

use tidegate_protocol::limits::{Amount, LimitAnswer, LimitId, LimitRequest, RequestId};
use tidegate_protocol::time::Timestamp;

use crate::{JobName, Name, Wallet};

/// Entries that end, and as many that are asked again, in one tick.
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
                let entry = self.entry(&limit, &key);
                if entry.is_some_and(|holding| holding.number == number) {
                    // Nothing at all is an answer too: nobody need wait for it any longer.
                    return self.returned((&limit, &key), amount, at, epoch).map(Heard::Returned);
                }
                // What would begin that holding may still come.
                if entry.and_then(|holding| holding.asked).is_some_and(|asked| asked.number == number) {
                    return None;
                }
                Some(Heard::Returned(self.gone(limit, key, number, at, epoch)))
            }
        }
    }

    /// Nothing of that holding is known here: its end was not heard, or this shard's log was lost.
    fn gone(&self, limit: LimitId, key: Box<str>, holding: u64, at: Timestamp, epoch: u64) -> LimitRequest {
        LimitRequest::Return {
            id: RequestId { epoch, number: self.number + 1 },
            holding,
            limit,
            key,
            free: Amount::ZERO,
            rest: None,
            from: at,
            gone: true,
        }
    }

    /// Whether that holding of a key is held.
    #[must_use]
    pub fn holds(&self, (limit, key): (&LimitId, &str), number: u64) -> bool {
        self.entry(limit, key).is_some_and(|holding| number != 0 && holding.number == number)
    }

    /// Whether something was asked of a key and is not answered.
    #[must_use]
    pub fn is_asked(&self, (limit, key): (&LimitId, &str)) -> bool {
        self.entry(limit, key).is_some_and(|holding| holding.asked.is_some())
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
            gone: false,
        })
    }

    /// Holdings whose time was over at `fresh` end, and what was not answered by then is asked again.
    #[must_use]
    pub fn tick(&self, fresh: Timestamp, at: Timestamp, epoch: u64) -> Vec<LimitRequest> {
        let due = |set: &'_ BTreeSet<(Timestamp, Name)>| {
            let due = set.iter().take_while(|(due, _)| *due <= fresh).take(AT_ONCE);
            due.map(|(_, name)| name.clone()).collect::<Vec<_>>()
        };
        let mut number = self.number;
        let mut next = || {
            number += 1;
            RequestId { epoch, number }
        };
        let mut requests = Vec::new();
        for (limit, key) in due(&self.due) {
            let Some(holding) = self.entry(&limit, &key).filter(|holding| holding.number != 0) else { continue };
            requests.push(LimitRequest::Return {
                id: next(),
                holding: holding.number,
                free: holding.free(at, self.bounds.skew),
                rest: Some(holding.residue(at, self.bounds.skew)),
                from: holding.freed_from(at, self.bounds.skew),
                gone: false,
                limit,
                key,
            });
        }
        for (limit, key) in due(&self.again) {
            let Some(holding) = self.entry(&limit, &key) else { continue };
            let Some(asked) = holding.asked else { continue };
            let id = next();
            requests.push(LimitRequest::Ask {
                id,
                holding: if holding.number == 0 { id.number } else { holding.number },
                definition: (*holding.definition).clone(),
                tenant: holding.tenant.clone(),
                need: asked.need,
                want: asked.want,
                has: holding.has(),
                at,
                limit,
                key,
            });
        }
        requests
    }

    /// When, after `at`, time alone changes how a key stands here: what counts, what may be spent, or whether more can be had.
    #[must_use]
    pub fn changes_at(&self, (limit, key): (&LimitId, &str), at: Timestamp) -> Option<Timestamp> {
        let holding = self.entry(limit, key)?;
        let window = self.window(holding);
        let held = [holding.from, holding.until].into_iter().filter(|_| holding.number != 0);
        let counts = holding.next_to_pass(at, window);
        held.chain(holding.again).chain(counts).filter(|time| *time > at).min()
    }
}
