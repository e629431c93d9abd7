//! The wallet in a snapshot: equal states give equal bytes.

use serde::{Deserialize, Serialize};
use tidegate_protocol::limits::LimitId;

use crate::holding::Holding;
use crate::{JobName, OpenJob, Wallet};

/// As written.
#[derive(Debug, Serialize)]
pub struct WalletOut<'a, J: JobName> {
    number: u64,
    entries: Vec<(&'a LimitId, &'a str, &'a Holding)>,
    open: Vec<(J::Written, &'a OpenJob)>,
}

/// As read.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WalletIn<J: JobName> {
    number: u64,
    entries: Vec<(LimitId, Box<str>, Holding)>,
    open: Vec<(J::Written, OpenJob)>,
}

impl<J: JobName> Default for WalletIn<J> {
    fn default() -> Self {
        Self { number: 0, entries: Vec::new(), open: Vec::new() }
    }
}

impl<J: JobName> Wallet<J> {
    /// For a snapshot.
    #[must_use]
    pub fn written(&self) -> WalletOut<'_, J> {
        let entries = self
            .entries
            .iter()
            .flat_map(|(limit, keys)| keys.iter().map(move |(key, holding)| (limit, &**key, holding)));
        WalletOut {
            number: self.number,
            entries: entries.collect(),
            open: self.open.iter().map(|(name, job)| (name.written().0, job)).collect(),
        }
    }

    /// Replaces everything by what was written.
    pub fn replace(&mut self, read: WalletIn<J>) {
        let mut wallet = Self::new(self.bounds).with_bugs(self.bugs);
        wallet.number = read.number;
        for (limit, key, holding) in read.entries {
            wallet.count += 1;
            *wallet.tenants.entry(holding.tenant.clone()).or_default() += 1;
            if let Some((due, at)) = holding.next_due() {
                wallet.set_of(due).insert((at, (limit.clone(), key.clone())));
            }
            wallet.entries.entry(limit).or_default().insert(key, holding);
        }
        wallet.open = read.open.into_iter().map(|(name, job)| (J::read(name, job.redrive), job)).collect();
        wallet.forget.extend(wallet.open.iter().map(|(name, job)| (job.until, name.clone())));
        *self = wallet;
    }

    /// As JSON text; for tests, that replay gives equal bytes.
    ///
    /// # Errors
    /// When it cannot be written as JSON.
    pub fn to_text(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(&self.written())
    }

    /// Replaces everything by what [`Wallet::to_text`] gave.
    ///
    /// # Errors
    /// When the text is none.
    pub fn read_text(&mut self, text: &str) -> Result<(), serde_json::Error> {
        self.replace(serde_json::from_str(text)?);
        Ok(())
    }
}
