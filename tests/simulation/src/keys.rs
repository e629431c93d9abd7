//! A keyed hash in place of signatures: thousands of runs would spend their time on curves. Whoever has no secret cannot
//! make one that is believed, and that is all the runs need.

use std::sync::Arc;

use tidegate_protocol::command::{People, Person};
use tidegate_protocol::ids::{KeyId, PersonId, TenantId};
use tidegate_protocol::signature::{Capacity, Distrust, Sign, Signature, Trust};

use crate::trace::hash_of;

/// A key, and whoever trusts as this world does.
#[derive(Debug)]
pub struct SimKey(KeyId);

const STAGES: &str = "sim";
const OPERATOR: &str = "operator";

/// Who approves, and as what. Their keys have their names.
pub const PEOPLE: [(&str, &[&str]); 4] =
    [("ada", &["finance"]), ("bob", &["finance"]), ("cem", &["finance", "board"]), ("dora", &["board"])];

/// The roles of a person; none for who is not one.
#[must_use]
pub fn roles_of(name: &str) -> &'static [&'static str] {
    PEOPLE.iter().find(|(person, _)| *person == name).map_or(&[], |(_, roles)| *roles)
}

/// The key of all stages.
#[must_use]
pub fn stages() -> Arc<SimKey> {
    key(STAGES)
}

/// The key of whoever accepts losses.
#[must_use]
pub fn operator() -> Arc<SimKey> {
    key(OPERATOR)
}

/// Anybody's key; it counts for what [`SimKey`] as a [`Trust`] says.
#[must_use]
pub fn key(name: &str) -> Arc<SimKey> {
    Arc::new(SimKey(KeyId::new(name).unwrap()))
}

fn sign_as(key: &str, statement: &[u8]) -> Signature {
    let mut signature = [0x5a; 64];
    let secret = 0x7469_6465_6761_7465 ^ hash_of(key.as_bytes());
    signature[..8].copy_from_slice(&(hash_of(statement) ^ secret).to_le_bytes());
    signature
}

impl Sign for SimKey {
    fn key(&self) -> &KeyId {
        &self.0
    }

    fn sign(&self, statement: &[u8]) -> Signature {
        sign_as(self.0.as_str(), statement)
    }
}

/// The stages' key speaks for stages, the operator's for operators, people's for approvers, and nobody's else for anything.
impl Trust for SimKey {
    fn entitled(&self, key: &str, capacity: Capacity<'_>, _at_ms: u64) -> Result<(), Distrust> {
        let is_person = PEOPLE.iter().any(|(name, _)| *name == key);
        let right = match capacity {
            Capacity::Stage(_) => key == STAGES,
            Capacity::Operator => key == OPERATOR,
            Capacity::Approver(_) => is_person,
            Capacity::Submitter(_) | Capacity::Worker | Capacity::Policy => false,
        };
        match (right, is_person || [STAGES, OPERATOR].contains(&key)) {
            (true, _) => Ok(()),
            (false, true) => Err(Distrust::WrongRole),
            (false, false) => Err(Distrust::UnknownKey),
        }
    }

    fn verify(&self, key: &str, statement: &[u8], signature: &Signature) -> Result<(), Distrust> {
        if sign_as(key, statement) == *signature { Ok(()) } else { Err(Distrust::BadSignature) }
    }
}

impl People for SimKey {
    fn of(&self, key: &str) -> Option<Person> {
        if key == OPERATOR {
            return Some(Person { id: PersonId::new(OPERATOR).ok()?, roles: Vec::new() });
        }
        let (name, roles) = PEOPLE.iter().find(|(name, _)| *name == key)?;
        Some(Person { id: PersonId::new(name).ok()?, roles: roles.iter().map(|role| (*role).to_owned()).collect() })
    }

    fn approvers(&self, _tenant: &TenantId, _at_ms: u64) -> Vec<Person> {
        PEOPLE.iter().filter_map(|(name, _)| self.of(name)).collect()
    }
}
