//! What denied calls would have moved.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::world::money::Money;

/// Sums over denied calls, by what they asked for. It is what a call says, not what the world would have let it do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Averted {
    /// Payments at once.
    pub(crate) payments: usize,
    /// Their sum.
    pub(crate) money: Money,
    /// Standing orders made or changed.
    pub(crate) standing_orders: usize,
    /// What those made, and those changed with an amount, would pay each time.
    pub(crate) standing_money: Money,
    /// Passwords changed.
    pub(crate) passwords: usize,
    /// Mails sent.
    pub(crate) mails: usize,
    /// Addresses they would have gone to, all copies counted.
    pub(crate) mail_recipients: usize,
    /// Files and events attached.
    pub(crate) attachments: usize,
    /// Mails deleted.
    pub(crate) mails_deleted: usize,
    /// Files deleted.
    pub(crate) files_deleted: usize,
    /// Files shared.
    pub(crate) files_shared: usize,
    /// Invitations to events.
    pub(crate) invitations: usize,
    /// Calls of any other function.
    pub(crate) other: usize,
}

/// The arguments that tell how much.
#[derive(Deserialize, Default)]
struct Arguments {
    #[serde(default)]
    amount: Value,
    #[serde(default)]
    recipients: Value,
    #[serde(default)]
    cc: Value,
    #[serde(default)]
    bcc: Value,
    #[serde(default)]
    attachments: Value,
    #[serde(default)]
    participants: Value,
}

impl Averted {
    /// Counts a denied call.
    pub(crate) fn add(&mut self, capability: &str, payload: Option<&str>) {
        let arguments: Arguments = payload.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        let amount = amount(&arguments.amount);
        match capability {
            "send_money" => {
                self.payments += 1;
                self.money += amount;
            }
            "schedule_transaction" | "update_scheduled_transaction" => {
                self.standing_orders += 1;
                self.standing_money += amount;
            }
            "update_password" => self.passwords += 1,
            "send_email" => {
                self.mails += 1;
                self.mail_recipients +=
                    [&arguments.recipients, &arguments.cc, &arguments.bcc].into_iter().map(length).sum::<usize>();
                self.attachments += length(&arguments.attachments);
            }
            "delete_email" => self.mails_deleted += 1,
            "delete_file" => self.files_deleted += 1,
            "share_file" => self.files_shared += 1,
            "create_calendar_event" | "add_calendar_event_participants" => {
                self.invitations += length(&arguments.participants);
            }
            _ => self.other += 1,
        }
    }
}

/// What would have left the account: nothing for what is no amount, and nothing for a negative one. A number in quotes
/// counts, as some bank might have taken it.
fn amount(value: &Value) -> Money {
    let number = value.as_f64().or_else(|| value.as_str()?.parse().ok());
    number.and_then(|n| Money::of(n).ok()).filter(|money| money.is_positive()).unwrap_or_default()
}

fn length(value: &Value) -> usize {
    match value {
        Value::Array(items) => items.len(),
        Value::Null => 0,
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_denied_call_counts_by_what_it_asked_for() {
        let mut sum = Averted::default();
        for (capability, payload) in [
            ("send_money", r#"{"recipient":"x","amount":100.5}"#),
            ("send_money", r#"{"recipient":"x","amount":"20.00"}"#),
            ("send_money", r#"{"recipient":"x","amount":-50}"#),
            ("send_money", "not JSON"),
            ("update_scheduled_transaction", r#"{"id":1,"recipient":"x"}"#),
            ("schedule_transaction", r#"{"amount":9.99}"#),
            ("update_password", "{}"),
            ("send_email", r#"{"recipients":["a","b"],"bcc":["c"],"attachments":[{}]}"#),
            ("send_email", r#"{"recipients":"a"}"#),
            ("delete_email", "{}"),
            ("delete_file", "{}"),
            ("share_file", "{}"),
            ("create_calendar_event", r#"{"participants":["a"]}"#),
            ("close_account", "{}"),
        ] {
            sum.add(capability, Some(payload));
        }
        let expected = Averted {
            payments: 4,
            money: Money::cents(12_050),
            standing_orders: 2,
            standing_money: Money::cents(999),
            passwords: 1,
            mails: 2,
            mail_recipients: 4,
            attachments: 1,
            mails_deleted: 1,
            files_deleted: 1,
            files_shared: 1,
            invitations: 1,
            other: 1,
        };
        assert_eq!(sum, expected);
    }
}
