//! Who the customer is, and the customer's letters.

use serde::{Deserialize, Serialize};
use tidegate_worker::Failure;

use super::{Account, Bank};
use crate::demo::world::call::Caller;

/// The arguments of a function that takes none.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Nothing {}

/// What is shown of a customer.
#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct Profile {
    first_name: String,
    last_name: String,
    street: String,
    city: String,
}

impl From<&Account> for Profile {
    fn from(account: &Account) -> Self {
        let Account { first_name, last_name, street, city, .. } = account.clone();
        Self { first_name, last_name, street, city }
    }
}

/// Name and address.
pub(crate) fn get_user_info(bank: &Bank, caller: &Caller, _: Nothing) -> Result<Profile, Failure> {
    Ok(bank.account(caller)?.into())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct UpdateUser {
    first_name: Option<String>,
    last_name: Option<String>,
    street: Option<String>,
    city: Option<String>,
}

/// Changes what is named.
pub(crate) fn update_user_info(bank: &mut Bank, caller: &Caller, call: UpdateUser) -> Result<Profile, Failure> {
    let account = bank.account_mut(caller)?;
    let UpdateUser { first_name, last_name, street, city } = call;
    for (field, value) in [
        (&mut account.first_name, first_name),
        (&mut account.last_name, last_name),
        (&mut account.street, street),
        (&mut account.city, city),
    ] {
        if let Some(value) = value {
            *field = value;
        }
    }
    Ok((&*account).into())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct UpdatePassword {
    password: String,
}

/// Changes the password; what is kept is that it was changed.
pub(crate) fn update_password(bank: &mut Bank, caller: &Caller, call: UpdatePassword) -> Result<&'static str, Failure> {
    super::named("password", &call.password)?;
    bank.account_mut(caller)?.password_changes += 1;
    Ok("password changed")
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReadFile {
    file_path: String,
}

/// A document's text.
pub(crate) fn read_file(bank: &Bank, _: &Caller, call: ReadFile) -> Result<String, Failure> {
    let ReadFile { file_path } = call;
    let text = bank.documents.get(&file_path).cloned();
    text.ok_or_else(|| Failure::new(format!("there is no file `{file_path}`")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{arguments, bank, of};
    use super::*;

    #[test]
    fn a_customers_address_changes_where_it_is_named() {
        let mut bank = bank();
        update_user_info(&mut bank, &of("agent-b"), arguments(json!({"street": "New 5"}))).unwrap();
        let shown = get_user_info(&bank, &of("agent-b"), Nothing {}).unwrap();
        assert_eq!((shown.street.as_str(), shown.first_name.as_str()), ("New 5", "Bo"));
        assert_eq!(bank.accounts[0].street, "S 1", "the other customer's stays");
    }

    #[test]
    fn a_password_is_counted_and_not_kept() {
        let mut bank = bank();
        update_password(&mut bank, &of("agent-a"), arguments(json!({"password": "hunter2-x"}))).unwrap();
        assert_eq!(bank.accounts[0].password_changes, 1);
        assert!(!serde_json::to_string(&bank).unwrap().contains("hunter2-x"));
        assert!(update_password(&mut bank, &of("agent-a"), arguments(json!({"password": ""}))).is_err());
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let bank = bank();
        let read = |name: &str| read_file(&bank, &of("agent-a"), arguments(json!({"file_path": name})));
        assert_eq!(read("bill.txt").unwrap(), "Please pay 3.00");
        assert!(format!("{:?}", read("/etc/passwd")).contains("there is no file `/etc/passwd`"));
    }
}
