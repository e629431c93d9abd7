//! What the demo's workers act on: a small bank and a small office, as JSON files in the data folder.
//!
//! Words: a *function* is what an agent calls (`send_money`), the capability of a job; its *arguments* are the payload.
//! Functions take their names and arguments from AgentDojo's banking and workspace suites, so that traces of real agents
//! run on them; what they do is written here.
//!
//! Invariants: a tenant's state lies in a folder of its own; a job changes it once, however often it runs ([`store`]);
//! a function that fails changes nothing and says why. Nothing leaves the machine: a mail sent is a line in a file.
//!
//! Absent on purpose: any check that policy makes (who may be paid, who may get mail). A function does what it is told,
//! as a real bank's interface would with an agent's credentials.

pub(crate) mod bank;
mod call;
mod day;
pub(crate) mod money;
pub(crate) mod office;
mod store;

use std::path::Path;
use std::sync::Arc;

use tidegate_protocol::ids::{PoolName, TenantId, WorkerId};
use tidegate_protocol::signature::Trust;
use tidegate_worker::{Builder, SettingsError, Worker};

use bank::Bank;
use call::Stores;
use money::Money;
use office::{Inventory, Office};

/// The pool that acts on the bank.
pub(crate) const BANK: &str = "bank";
/// The pool that acts on the office.
pub(crate) const OFFICE: &str = "office";

/// Bank and office of every tenant.
pub(crate) struct World {
    banks: Arc<Stores<Bank>>,
    offices: Arc<Stores<Office>>,
}

/// An account before and after.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub(crate) struct Balance {
    pub(crate) tenant: TenantId,
    pub(crate) owner: String,
    pub(crate) iban: String,
    pub(crate) before: Money,
    pub(crate) after: Money,
}

/// What an office had before and after.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub(crate) struct Stock {
    pub(crate) tenant: TenantId,
    pub(crate) before: Inventory,
    pub(crate) after: Inventory,
}

/// What a world cannot begin with.
#[derive(Debug, thiserror::Error)]
#[error("the initial {what} cannot be read: {reason}")]
pub(crate) struct BadWorld {
    what: &'static str,
    reason: String,
}

/// Calls `$use` with every function of the bank and how it is run: a pool's capabilities and its handlers are one list.
macro_rules! each_bank_function {
    ($use:ident) => {
        $use! {
            reading get_balance, reading get_iban, reading get_most_recent_transactions,
            reading get_scheduled_transactions, reading get_user_info, reading read_file,
            changing schedule_transaction, changing send_money, changing update_password,
            changing update_scheduled_transaction, changing update_user_info,
        }
    };
}

macro_rules! each_office_function {
    ($use:ident) => {
        $use! {
            changing add_calendar_event_participants, changing append_to_file, changing cancel_calendar_event,
            changing create_calendar_event, changing create_file, changing delete_email, changing delete_file,
            reading get_current_day, reading get_day_calendar_events, reading get_draft_emails,
            reading get_file_by_id, reading get_received_emails, reading get_sent_emails,
            changing get_unread_emails, reading list_files, changing reschedule_calendar_event,
            reading search_calendar_events, reading search_contacts_by_email, reading search_contacts_by_name,
            reading search_emails, reading search_files, reading search_files_by_filename, changing send_email,
            changing share_file,
        }
    };
}

macro_rules! names {
    ($($how:ident $function:ident,)*) => { &[$(stringify!($function)),*] };
}

/// The functions of a pool, its capabilities.
pub(crate) fn functions(pool: &str) -> &'static [&'static str] {
    match pool {
        BANK => each_bank_function!(names),
        OFFICE => each_office_function!(names),
        _ => &[],
    }
}

impl World {
    /// In `folder`, every tenant beginning with this bank and office (JSON).
    ///
    /// # Errors
    /// [`BadWorld`].
    pub(crate) fn new(folder: &Path, bank: &str, office: &str) -> Result<Self, BadWorld> {
        let bad = |what| move |e: serde_json::Error| BadWorld { what, reason: e.to_string() };
        let bank: Bank = serde_json::from_str(bank).map_err(bad("bank"))?;
        let office: Office = serde_json::from_str(office).map_err(bad("office"))?;
        Ok(Self {
            banks: Arc::new(Stores::new(folder.to_owned(), "bank", bank)),
            offices: Arc::new(Stores::new(folder.to_owned(), "office", office)),
        })
    }

    /// A worker of [`BANK`].
    ///
    /// # Errors
    /// [`SettingsError`], for nothing a caller chooses but `concurrency`.
    pub(crate) fn bank_worker(
        &self,
        pool: PoolName,
        id: WorkerId,
        concurrency: u32,
        trust: Arc<dyn Trust>,
    ) -> Result<Worker, SettingsError> {
        let builder = Worker::builder(pool, id, trust).concurrency(concurrency);
        let stores = &self.banks;
        macro_rules! add {
            ($($how:ident $function:ident,)*) => {
                builder$(.typed(stringify!($function), stores.$how(bank::$function)))*
            };
        }
        let builder: Builder = each_bank_function!(add);
        builder.build()
    }

    /// A worker of [`OFFICE`].
    ///
    /// # Errors
    /// As [`Self::bank_worker`].
    pub(crate) fn office_worker(
        &self,
        pool: PoolName,
        id: WorkerId,
        concurrency: u32,
        trust: Arc<dyn Trust>,
    ) -> Result<Worker, SettingsError> {
        let builder = Worker::builder(pool, id, trust).concurrency(concurrency);
        let stores = &self.offices;
        macro_rules! add {
            ($($how:ident $function:ident,)*) => {
                builder$(.typed(stringify!($function), stores.$how(office::$function)))*
            };
        }
        let builder: Builder = each_office_function!(add);
        builder.build()
    }

    /// Every account of every tenant whose bank was used.
    pub(crate) fn balances(&self) -> Vec<Balance> {
        let mut balances = Vec::new();
        for (tenant, store) in self.banks.all() {
            store.read(|bank| {
                for (before, after) in self.banks.initial().accounts().iter().zip(bank.accounts()) {
                    balances.push(Balance {
                        tenant: tenant.clone(),
                        owner: after.owner(),
                        iban: after.iban.clone(),
                        before: before.balance,
                        after: after.balance,
                    });
                }
            });
        }
        balances
    }

    /// What every office that was used has.
    pub(crate) fn stocks(&self) -> Vec<Stock> {
        let before = self.offices.initial().inventory();
        let stock = |(tenant, store): (TenantId, Arc<store::Store<Office>>)| {
            let after = store.read(Office::inventory);
            Stock { tenant, before, after }
        };
        self.offices.all().into_iter().map(stock).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_function_has_a_handler_in_one_pool_alone() {
        let folder = tempfile::tempdir().unwrap();
        let [bank, office] = [crate::demo::shipped::BANK, crate::demo::shipped::OFFICE];
        let world = World::new(folder.path(), bank, office).unwrap();
        let trust = || Arc::new(tidegate_keys::Keyring::default());
        let names = |worker: Worker| format!("{worker:?}");
        let pool = |name: &str| (PoolName::new(name).unwrap(), WorkerId::new(name).unwrap());
        let (name, id) = pool(BANK);
        let bank = names(world.bank_worker(name, id, 1, trust()).unwrap());
        let (name, id) = pool(OFFICE);
        let office = names(world.office_worker(name, id, 1, trust()).unwrap());
        for function in functions(BANK) {
            assert!(bank.contains(&format!("`{function}`")) && !functions(OFFICE).contains(function), "{function}");
        }
        for function in functions(OFFICE) {
            assert!(office.contains(&format!("`{function}`")), "{function}");
        }
        assert_eq!((functions(BANK).len(), functions(OFFICE).len()), (11, 24));
    }
}
