//! Reading a partition that stages alone write as `models/takeover.py` does: which messages are believed.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail};

use crate::broker::Met;

/// One output partition, read from its start.
#[derive(Debug, Default)]
pub struct Output {
    senders: BTreeMap<String, Sender>,
    /// Messages below the fence: of a former owner who woke late.
    pub below_fence: u64,
    /// Messages that came again.
    pub repeated: u64,
    /// Messages behind a gap.
    pub gaps: u64,
}

#[derive(Debug, Default)]
struct Sender {
    fence: u64,
    last: Option<(u64, u64)>,
    following: BTreeMap<u64, Option<u64>>,
}

impl Output {
    /// Takes the next record; whether it is a message that a reader believes.
    ///
    /// # Errors
    /// When no stage can have written it.
    pub fn meet(&mut self, met: &Met) -> anyhow::Result<bool> {
        let sender = met.header("tg-sender").context("a record without sender")?;
        let epoch = met.number("tg-epoch").context("a record without epoch")?;
        let known = self.senders.entry(sender.to_owned()).or_default();
        match met.header("tg-kind") {
            Some("fence") => {
                known.fence = known.fence.max(epoch);
                return Ok(false);
            }
            Some(kind) => bail!("a control record of kind `{kind}`"),
            None => {}
        }
        let stamp: Vec<u64> = met.header("tg-stamp").unwrap_or_default().split(' ').flat_map(str::parse).collect();
        let &[sequence, group, index] = stamp.as_slice() else { bail!("a message without a stamp") };
        let next = known.following.entry(epoch).or_insert(Some(0));
        let follows = *next == Some(sequence);
        *next = follows.then_some(sequence + 1);
        if epoch < known.fence {
            self.below_fence += 1;
            return Ok(false);
        }
        if !follows {
            self.gaps += 1;
            return Ok(false);
        }
        if known.last.is_some_and(|last| (group, index) <= last) {
            self.repeated += 1;
            return Ok(false);
        }
        known.last = Some((group, index));
        Ok(true)
    }
}
