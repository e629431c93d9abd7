//! Money that moves now, and looking at what moved.

use serde::{Deserialize, Serialize};
use tidegate_worker::Failure;

use super::{Bank, Nothing, Transaction, day, named, payable};
use crate::demo::world::call::Caller;
use crate::demo::world::money::Money;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SendMoney {
    recipient: String,
    amount: Money,
    #[serde(default)]
    subject: String,
    #[serde(default)]
    date: Option<String>,
}

/// What a payment left.
#[derive(Debug, Serialize)]
pub(crate) struct Paid {
    transaction: u64,
    balance: Money,
}

/// Pays at once.
pub(crate) fn send_money(bank: &mut Bank, caller: &Caller, call: SendMoney) -> Result<Paid, Failure> {
    let SendMoney { recipient, amount, subject, date } = call;
    payable(amount)?;
    named("recipient", &recipient)?;
    if let Some(date) = &date {
        day(date)?;
    }
    let id = bank.transactions.iter().map(|t| t.id).max().unwrap_or(0) + 1;
    let from = bank.account_mut(caller)?;
    if from.balance < amount {
        return Err(Failure::new(format!("the balance of {} does not cover {amount}", from.balance)));
    }
    if from.iban == recipient {
        return Err(Failure::new("an account cannot pay itself"));
    }
    from.balance -= amount;
    let (iban, balance) = (from.iban.clone(), from.balance);
    if let Some(to) = bank.accounts.iter_mut().find(|account| account.iban == recipient) {
        to.balance += amount;
    }
    let date = date.unwrap_or_else(|| bank.today.clone());
    bank.transactions.push(Transaction { id, account: iban.clone(), sender: iban, recipient, amount, subject, date });
    Ok(Paid { transaction: id, balance })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HowMany {
    #[serde(default = "hundred")]
    n: usize,
}

const fn hundred() -> usize {
    100
}

/// The newest `n`, newest last: of the account's own, and what arrived on it.
pub(crate) fn get_most_recent_transactions(
    bank: &Bank,
    caller: &Caller,
    call: HowMany,
) -> Result<Vec<Transaction>, Failure> {
    let iban = &bank.account(caller)?.iban;
    let mine: Vec<&Transaction> =
        bank.transactions.iter().filter(|t| t.account == *iban || t.recipient == *iban).collect();
    Ok(mine.iter().skip(mine.len().saturating_sub(call.n)).map(|t| (*t).clone()).collect())
}

/// The account's balance.
pub(crate) fn get_balance(bank: &Bank, caller: &Caller, _: Nothing) -> Result<Money, Failure> {
    Ok(bank.account(caller)?.balance)
}

/// The account's number.
pub(crate) fn get_iban(bank: &Bank, caller: &Caller, _: Nothing) -> Result<String, Failure> {
    Ok(bank.account(caller)?.iban.clone())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{arguments, bank, of};
    use super::*;

    #[test]
    fn a_payment_moves_money_and_one_that_cannot_be_moves_none() {
        let table = [
            ("agent-a", json!({"recipient": "Shop", "amount": 30}), Ok((70_00, 50_50))),
            ("agent-a", json!({"recipient": "B1", "amount": 30.25, "date": "2026-03-20"}), Ok((69_75, 80_75))),
            ("agent-a", json!({"recipient": "Shop", "amount": 100}), Ok((0, 50_50))),
            ("agent-a", json!({"recipient": "Shop", "amount": 100.01}), Err("does not cover")),
            ("agent-c", json!({"recipient": "Shop", "amount": 60}), Err("does not cover")),
            ("agent-a", json!({"recipient": "Shop", "amount": -5}), Err("not an amount to pay")),
            ("agent-a", json!({"recipient": "Shop", "amount": 0}), Err("not an amount to pay")),
            ("agent-a", json!({"recipient": "A1", "amount": 5}), Err("cannot pay itself")),
            ("agent-a", json!({"recipient": " ", "amount": 5}), Err("recipient is empty")),
            ("agent-a", json!({"recipient": "Shop", "amount": 5, "date": "soon"}), Err("no date")),
        ];
        for (agent, call, expected) in table {
            let mut bank = bank();
            let paid = send_money(&mut bank, &of(agent), arguments(call.clone()));
            match (paid, expected) {
                (Ok(_), Ok((a, b))) => {
                    let balances: Vec<Money> = bank.accounts.iter().map(|account| account.balance).collect();
                    assert_eq!(balances, [Money::cents(a), Money::cents(b)], "{call}");
                    assert_eq!(bank.transactions.len(), 3, "{call}");
                }
                (Err(failure), Err(reason)) => assert!(format!("{failure:?}").contains(reason), "{failure:?}"),
                (paid, _) => panic!("{call}: {paid:?}"),
            }
        }
    }

    #[test]
    fn arguments_that_nobody_knows_are_not_passed_over() {
        let call = serde_json::from_value::<SendMoney>(json!({"recipient": "Shop", "amount": 1, "via": "x"}));
        assert!(call.err().unwrap().to_string().contains("unknown field `via`"));
    }

    #[test]
    fn an_account_is_shown_its_own() {
        let bank = bank();
        let ids = |agent, n| -> Vec<u64> {
            let shown = get_most_recent_transactions(&bank, &of(agent), arguments(json!({"n": n}))).unwrap();
            shown.iter().map(|t| t.id).collect()
        };
        assert_eq!((ids("agent-a", 9), ids("agent-b", 9), ids("agent-a", 0)), (vec![1], vec![2], vec![]));
        assert_eq!(get_balance(&bank, &of("agent-b"), Nothing {}).unwrap(), Money::cents(50_50));
        assert_eq!(get_iban(&bank, &of("agent-b"), Nothing {}).unwrap(), "B1");
    }
}
