//! Whether replaying the facts rebuilds the same state, byte for byte (I7), when a run is over and everybody who writes is gone.
//!
//! | module | what it is |
//! |---|---|
//! | [`shard`] | one shard: its facts from the log's start, against every snapshot that its owners ever wrote |
//! | [`topics`] | a run's topics, by the bare client |
//!
//! The one place of this crate that uses the stages, made as the roles make them, and the runner's own replay: the question is
//! whether these say the same again. Records come by the bare client.

pub mod shard;
mod topics;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, ensure};
use tidegate_node::config::{Config, SecretFrom};
use tidegate_node::roles::every_shard;

use crate::broker::Broker;

/// Broken promises of one shard that are told.
const TOLD: usize = 3;

/// What was compared, of all shards.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Snapshots compared, by shard; of those that have facts.
    pub shards: BTreeMap<String, u32>,
    /// Shards that were claimed and have no fact.
    pub without_facts: u32,
    /// Facts applied, by the replays from the start.
    pub facts: u64,
    /// What is not as it should be.
    pub broken: Vec<String>,
}

impl Replayed {
    /// Snapshots compared.
    #[must_use]
    pub fn snapshots(&self) -> u32 {
        self.shards.values().sum()
    }

    fn add(&mut self, sender: &str, outcome: shard::Outcome) {
        let shard::Outcome { facts, snapshots, broken } = outcome;
        self.facts += facts;
        self.broken.extend(broken.into_iter().take(TOLD).map(|what| format!("{sender}: {what}")));
        if facts == 0 && snapshots == 0 {
            self.without_facts += 1;
        } else {
            self.shards.insert(sender.to_owned(), snapshots);
        }
    }

    /// For the verdict. Nothing was judged where nothing was compared: of each shard with facts `least` snapshots must be there,
    /// and one of the kernel's and one of the scheduler's in any case.
    ///
    /// # Errors
    /// When a state was not rebuilt, or too little was compared.
    pub fn verdict(&self, least: u32) -> anyhow::Result<String> {
        ensure!(self.broken.is_empty(), "verdict: BROKEN, replay does not rebuild the state: {:#?}", self.broken);
        for stage in ["kernel.", "scheduler."] {
            let compared: u32 =
                self.shards.iter().filter(|(sender, _)| sender.starts_with(stage)).map(|(_, n)| n).sum();
            ensure!(
                compared > 0,
                "verdict: replay was not judged, no snapshot of `{stage}` was compared: {:?}",
                self.shards
            );
        }
        let few: Vec<_> = self.shards.iter().filter(|(_, compared)| **compared < least).collect();
        ensure!(
            few.is_empty(),
            "verdict: replay was not judged, fewer than {least} snapshots were compared of {few:?}"
        );
        Ok(format!(
            "replay rebuilds every state byte for byte ({} snapshots of {} shards with {} facts; {} shards without facts)",
            self.snapshots(),
            self.shards.len(),
            self.facts,
            self.without_facts
        ))
    }
}

/// Judges every shard that `config` in `folder` has stages for.
///
/// # Errors
/// When the configuration or a topic cannot be read.
pub fn judge(broker: &Broker, folder: &Path, config: &str) -> anyhow::Result<Replayed> {
    let mut config = Config::read(&folder.join(config)).map_err(|refused| anyhow::anyhow!("{refused}"))?;
    // Its paths are relative to where its processes ran.
    if let Some(signing) = &mut config.keys.signing
        && let SecretFrom::File(path) = &mut signing.from
    {
        *path = folder.join(&*path);
    }
    let keys = config.keys.read().context("read the keys of the run")?;
    let sources = topics::sources(broker, &config)?;
    let mut specs = topics::Specs::default();
    every_shard(&config, &keys, &sources, &mut specs).context("make the stages of the run")?;
    let mut topics = topics::Topics::read(broker, keys.trust(), &specs.0)?;
    every_shard(&config, &keys, &sources, &mut topics).context("make the stages of the run")?;
    topics.judged()
}

#[cfg(test)]
mod tests;
