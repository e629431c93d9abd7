//! Operators and their keys: a keyed hash in place of a signature.

use bytes::Bytes;
use tidegate_protocol::command::{People, Person};
use tidegate_protocol::ids::{CommandId, KeyId, PersonId, PoolName, TenantId};
use tidegate_protocol::pool_command::{KIND, PoolAction, PoolCommand};
use tidegate_protocol::signature::{Capacity, Distrust, Role, Sign, Signature, Trust, signed};

use super::worker;

/// The key `<role>:<person>`, e.g. `operator:olga`.
#[derive(Debug, Clone)]
pub struct Key(KeyId);

impl Key {
    pub fn of(role: &str, person: &str) -> Self {
        Self(KeyId::new(format!("{role}.{person}")).unwrap())
    }
}

fn sign(key: &str, statement: &[u8]) -> Signature {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in key.bytes().chain(statement.iter().copied()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    }
    let mut signature = [7; 64];
    signature[..8].copy_from_slice(&hash.to_be_bytes());
    signature
}

impl Sign for Key {
    fn key(&self) -> &KeyId {
        &self.0
    }

    fn sign(&self, statement: &[u8]) -> Signature {
        sign(self.0.as_str(), statement)
    }
}

/// Trusts every key for what its name says, but those of `mallory`.
#[derive(Debug)]
pub struct Desk;

impl Trust for Desk {
    fn entitled(&self, key: &str, capacity: Capacity<'_>, _at_ms: u64) -> Result<(), Distrust> {
        let (role, person) = key.split_once('.').ok_or(Distrust::UnknownKey)?;
        let role: Role = role.parse().map_err(|_| Distrust::UnknownKey)?;
        match person {
            "mallory" => Err(Distrust::UnknownKey),
            _ if role.covers(capacity) => Ok(()),
            _ => Err(Distrust::WrongRole),
        }
    }

    fn verify(&self, key: &str, statement: &[u8], signature: &Signature) -> Result<(), Distrust> {
        if sign(key, statement) == *signature { Ok(()) } else { Err(Distrust::BadSignature) }
    }
}

impl People for Desk {
    fn of(&self, key: &str) -> Option<Person> {
        let (_, person) = key.split_once('.')?;
        Some(Person { id: PersonId::new(person).unwrap(), roles: Vec::new() })
    }

    fn approvers(&self, _tenant: &TenantId, _at_ms: u64) -> Vec<Person> {
        Vec::new()
    }
}

/// A command of `by` to pool `p`.
pub fn command(id: &str, action: PoolAction, of: &str, by: &str, at_ms: u64) -> PoolCommand {
    PoolCommand {
        v: 1,
        id: CommandId::new(id).unwrap(),
        action,
        pool: PoolName::new("p").unwrap(),
        worker: worker(of),
        by: PersonId::new(by).unwrap(),
        at_ms,
        reason: String::new(),
    }
}

/// As it stands on `commands.<pool>`.
pub fn signed_by(key: &Key, command: &PoolCommand) -> Bytes {
    signed(key, KIND, serde_json::to_vec(command).unwrap()).into()
}
