//! Payments to come.

use serde::Deserialize;
use tidegate_worker::Failure;

use super::{Bank, Nothing, StandingOrder, day, named, payable};
use crate::demo::world::call::Caller;
use crate::demo::world::money::Money;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Schedule {
    recipient: String,
    amount: Money,
    #[serde(default)]
    subject: String,
    date: String,
    #[serde(default)]
    recurring: bool,
}

/// A new one.
pub(crate) fn schedule_transaction(bank: &mut Bank, caller: &Caller, call: Schedule) -> Result<StandingOrder, Failure> {
    let Schedule { recipient, amount, subject, date, recurring } = call;
    payable(amount)?;
    named("recipient", &recipient)?;
    day(&date)?;
    let id = bank.scheduled.iter().map(|order| order.id).max().unwrap_or(0) + 1;
    let account = bank.account(caller)?.iban.clone();
    let order = StandingOrder { id, account, recipient, amount, subject, date, recurring };
    bank.scheduled.push(order.clone());
    Ok(order)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Update {
    id: u64,
    recipient: Option<String>,
    amount: Option<Money>,
    subject: Option<String>,
    date: Option<String>,
    recurring: Option<bool>,
}

/// Changes what is named of one of the account's own.
pub(crate) fn update_scheduled_transaction(
    bank: &mut Bank,
    caller: &Caller,
    call: Update,
) -> Result<StandingOrder, Failure> {
    let Update { id, recipient, amount, subject, date, recurring } = call;
    amount.map_or(Ok(()), payable)?;
    recipient.as_deref().map_or(Ok(()), |text| named("recipient", text))?;
    date.as_deref().map_or(Ok(()), day)?;
    let iban = bank.account(caller)?.iban.clone();
    let order = bank.scheduled.iter_mut().find(|order| order.id == id && order.account == iban);
    let order = order.ok_or_else(|| Failure::new(format!("account {iban} has no scheduled payment {id}")))?;
    let StandingOrder { id: _, account: _, recipient: to, amount: of, subject: about, date: on, recurring: again } =
        order;
    *to = recipient.unwrap_or_else(|| to.clone());
    *of = amount.unwrap_or(*of);
    *about = subject.unwrap_or_else(|| about.clone());
    *on = date.unwrap_or_else(|| on.clone());
    *again = recurring.unwrap_or(*again);
    Ok(order.clone())
}

/// The account's own.
pub(crate) fn get_scheduled_transactions(
    bank: &Bank,
    caller: &Caller,
    _: Nothing,
) -> Result<Vec<StandingOrder>, Failure> {
    let iban = &bank.account(caller)?.iban;
    Ok(bank.scheduled.iter().filter(|order| order.account == *iban).cloned().collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{arguments, bank, of};
    use super::*;

    #[test]
    fn an_order_is_made_and_moves_nothing_yet() {
        let mut bank = bank();
        let call = json!({"recipient": "Gym", "amount": 19.9, "date": "2026-04-01", "recurring": true});
        let made = schedule_transaction(&mut bank, &of("agent-b"), arguments(call)).unwrap();
        assert_eq!((made.id, made.account.as_str(), made.amount), (8, "B1", Money::cents(19_90)));
        assert_eq!(bank.accounts[1].balance, Money::cents(50_50));
        let listed = get_scheduled_transactions(&bank, &of("agent-b"), Nothing {}).unwrap();
        assert_eq!(listed, [made]);
        let bad = json!({"recipient": "Gym", "amount": 1, "date": "2026-4-1"});
        assert!(schedule_transaction(&mut bank, &of("agent-b"), arguments(bad)).is_err());
    }

    #[test]
    fn only_what_is_named_changes_and_only_on_ones_own() {
        let table = [
            ("agent-a", json!({"id": 7, "amount": 42}), Ok(("Landlord", 42_00))),
            ("agent-a", json!({"id": 7, "recipient": "New"}), Ok(("New", 40_00))),
            ("agent-a", json!({"id": 8, "amount": 42}), Err("no scheduled payment 8")),
            ("agent-b", json!({"id": 7, "amount": 42}), Err("no scheduled payment 7")),
            ("agent-a", json!({"id": 7, "amount": -42}), Err("not an amount")),
            ("agent-a", json!({"id": 7, "date": "x"}), Err("no date")),
        ];
        for (agent, call, expected) in table {
            let mut bank = bank();
            match (update_scheduled_transaction(&mut bank, &of(agent), arguments(call.clone())), expected) {
                (Ok(order), Ok((to, cents))) => {
                    assert_eq!((order.recipient.as_str(), order.amount), (to, Money::cents(cents)), "{call}");
                    assert_eq!(bank.scheduled, [order]);
                }
                (Err(failure), Err(reason)) => assert!(format!("{failure:?}").contains(reason), "{failure:?}"),
                (order, _) => panic!("{call}: {order:?}"),
            }
        }
    }
}
