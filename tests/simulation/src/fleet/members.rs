//! What workers are, life by life; and that none is given what it cannot run: capabilities, labels and tenants.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use tidegate_protocol::facts::SchedulerFact;

use super::wishes::Wishes;
use crate::executor::locked;
use crate::ledger::facts::{ValidGroup, facts};
use crate::ledger::verdicts::{Invariant, Verdicts};

/// What a worker is for a life.
#[derive(Debug, Clone, Default)]
pub struct Able {
    /// What it can do.
    pub capabilities: BTreeSet<String>,
    /// What jobs may ask of it beside.
    pub labels: BTreeMap<String, String>,
    /// The tenants whose jobs it takes; `None` for all.
    pub tenants: Option<BTreeSet<String>>,
    /// Its clock is off by more than a ticket counts beyond its time.
    pub wrong_clock: bool,
}

/// By name and incarnation.
type Lives = BTreeMap<(String, u64), Able>;

/// All lives, and how often a number was outrun.
#[derive(Debug, Default)]
pub struct Members(Mutex<(Lives, u64)>);

impl Members {
    /// A life begins.
    pub fn note(&self, worker: &str, incarnation: u64, able: Able) {
        locked(&self.0).0.insert((worker.to_owned(), incarnation), able);
    }

    /// It goes on with a higher number.
    pub fn rise(&self, worker: &str, incarnation: u64, able: Able) {
        self.note(worker, incarnation, able);
        locked(&self.0).1 += 1;
    }

    /// How often one did.
    #[must_use]
    pub fn risen(&self) -> u64 {
        locked(&self.0).1
    }

    /// Lives with a clock that is off by more than anybody allows for.
    #[must_use]
    pub fn wrong_clocks(&self) -> u64 {
        locked(&self.0).0.values().filter(|able| able.wrong_clock).count() as u64
    }

    /// Judges who was given what; how many leases were of jobs that ask for labels.
    pub fn check(&self, groups: &[ValidGroup<SchedulerFact>], wishes: &Wishes, verdicts: &mut Verdicts) -> u64 {
        let lives = locked(&self.0);
        let mut asked = 0;
        for fact in facts(groups) {
            let SchedulerFact::LeaseGranted { source, worker, incarnation, .. } = &fact.record.fact else { continue };
            let Some(wish) = wishes.get(source) else { continue };
            asked += u64::from(!wish.select.is_empty());
            let able = lives.0.get(&(worker.to_string(), *incarnation));
            let can = |able: &Able| {
                let mut needs = wish.requires.iter().chain([&wish.capability]);
                needs.all(|need| able.capabilities.contains(need))
                    && wish.select.holds(&able.labels)
                    && able.tenants.as_ref().is_none_or(|tenants| tenants.contains(&wish.tenant))
            };
            verdicts.must(able.is_some_and(can), Invariant::Eligible, || {
                format!("{source} was given to {worker}, which is {able:?}, and asks for {wish:?}")
            });
        }
        asked
    }
}
