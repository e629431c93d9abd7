//! A small bank: accounts, what moved, what is to move, and the customers' documents.
//!
//! An agent acts on the account that names it among its `agents`, never on one that a call names; an agent that no
//! account knows acts on the first. What is paid to an account of this bank arrives there.

mod customer;
mod payments;
mod standing_orders;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tidegate_worker::Failure;

pub(crate) use customer::{Nothing, get_user_info, read_file, update_password, update_user_info};
pub(crate) use payments::{get_balance, get_iban, get_most_recent_transactions, send_money};
pub(crate) use standing_orders::{get_scheduled_transactions, schedule_transaction, update_scheduled_transaction};

use super::call::Caller;
use super::money::Money;

/// Everything the bank knows.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Bank {
    /// The bank's day, for payments that name none.
    today: String,
    accounts: Vec<Account>,
    /// Oldest first.
    transactions: Vec<Transaction>,
    scheduled: Vec<StandingOrder>,
    /// Bills and letters by file name.
    documents: BTreeMap<String, String>,
}

/// An account and whose it is.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Account {
    pub(crate) iban: String,
    pub(crate) balance: Money,
    /// Who may act on it.
    agents: Vec<String>,
    first_name: String,
    last_name: String,
    street: String,
    city: String,
    /// Times the password was changed; the password itself is not kept.
    #[serde(default)]
    password_changes: u32,
}

/// Money that moved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Transaction {
    id: u64,
    /// Our account.
    account: String,
    sender: String,
    recipient: String,
    amount: Money,
    subject: String,
    date: String,
}

/// A payment to come.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StandingOrder {
    id: u64,
    account: String,
    recipient: String,
    amount: Money,
    subject: String,
    /// The next day it is paid.
    date: String,
    #[serde(default)]
    recurring: bool,
}

impl Account {
    /// Its owner, for people.
    pub(crate) fn owner(&self) -> String {
        format!("{} {}", self.first_name, self.last_name)
    }
}

impl Bank {
    pub(crate) fn accounts(&self) -> &[Account] {
        &self.accounts
    }

    /// Where the caller's account stands in the list.
    fn place_of(&self, caller: &Caller) -> usize {
        let acts = |account: &Account| caller.agent.as_ref().is_some_and(|agent| account.agents.contains(agent));
        self.accounts.iter().position(acts).unwrap_or(0)
    }

    fn account(&self, caller: &Caller) -> Result<&Account, Failure> {
        self.accounts.get(self.place_of(caller)).ok_or_else(no_account)
    }

    fn account_mut(&mut self, caller: &Caller) -> Result<&mut Account, Failure> {
        let place = self.place_of(caller);
        self.accounts.get_mut(place).ok_or_else(no_account)
    }
}

fn no_account() -> Failure {
    Failure::new("the bank has no account")
}

/// A day as `YYYY-MM-DD`.
fn day(text: &str) -> Result<(), Failure> {
    if super::day::is_day(text) {
        return Ok(());
    }
    Err(Failure::new(format!("`{text}` is no date; write YYYY-MM-DD")))
}

fn payable(amount: Money) -> Result<(), Failure> {
    if amount.is_positive() { Ok(()) } else { Err(Failure::new(format!("{amount} is not an amount to pay"))) }
}

fn named(what: &str, text: &str) -> Result<(), Failure> {
    if text.trim().is_empty() { Err(Failure::new(format!("the {what} is empty"))) } else { Ok(()) }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn bank() -> Bank {
        serde_json::from_value(serde_json::json!({
            "today": "2026-03-16",
            "accounts": [
                {"iban": "A1", "balance": 100.0, "agents": ["agent-a"], "first_name": "Ada", "last_name": "Lind",
                 "street": "S 1", "city": "C"},
                {"iban": "B1", "balance": 50.5, "agents": ["agent-b", "agent-c"], "first_name": "Bo", "last_name": "Ek",
                 "street": "S 2", "city": "C"}],
            "transactions": [
                {"id": 1, "account": "A1", "sender": "A1", "recipient": "Shop", "amount": 1.5, "subject": "s",
                 "date": "2026-03-01"},
                {"id": 2, "account": "B1", "sender": "X", "recipient": "B1", "amount": 9.0, "subject": "t",
                 "date": "2026-03-02"}],
            "scheduled": [
                {"id": 7, "account": "A1", "recipient": "Landlord", "amount": 40.0, "subject": "rent",
                 "date": "2026-04-01", "recurring": true}],
            "documents": {"bill.txt": "Please pay 3.00"}}))
        .unwrap()
    }

    pub(crate) fn of(agent: &str) -> Caller {
        Caller { agent: Some(agent.into()) }
    }

    /// Calls `function` with JSON arguments, as a worker does.
    pub(crate) fn arguments<A: serde::de::DeserializeOwned>(json: serde_json::Value) -> A {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn an_agent_acts_on_the_account_that_knows_it() {
        let bank = bank();
        for (agent, iban) in [("agent-a", "A1"), ("agent-c", "B1"), ("nobody", "A1")] {
            assert_eq!(bank.account(&of(agent)).unwrap().iban, iban, "{agent}");
        }
        assert_eq!(bank.account(&Caller::default()).unwrap().iban, "A1");
    }
}
