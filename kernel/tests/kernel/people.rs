//! People with keys, and what they sign: a keyed hash in place of curves.

use std::collections::BTreeMap;

use tidegate_protocol::command::{Command, KIND, People, Person};
use tidegate_protocol::ids::{KeyId, PersonId, TenantId};
use tidegate_protocol::job::InputHash;
use tidegate_protocol::signature::{Capacity, Distrust, Role, Sign, Signature, Trust, signed};

/// One person's key.
#[derive(Debug, Clone)]
pub(crate) struct Key {
    id: KeyId,
    person: PersonId,
    roles: Vec<Role>,
    tenants: Vec<String>,
}

/// Everybody whose keys are trusted.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ring(BTreeMap<String, Key>);

impl Ring {
    /// A line a key: `key: roles`, `key = person: roles`, either with `| tenants` for some tenants alone.
    pub(crate) fn read(text: &str) -> Self {
        let keys = text.lines().map(|line| {
            let (name, rest) = line.split_once(':').unwrap();
            let (id, person) = name.split_once('=').unwrap_or((name, name));
            let (roles, tenants) = rest.split_once('|').unwrap_or((rest, ""));
            let key = Key {
                id: KeyId::new(id.trim()).unwrap(),
                person: PersonId::new(person.trim()).unwrap(),
                roles: roles.split_whitespace().map(|role| role.replace('/', ":").parse().unwrap()).collect(),
                tenants: tenants.split_whitespace().map(str::to_owned).collect(),
            };
            (key.id.to_string(), key)
        });
        Self(keys.collect())
    }

    pub(crate) fn key(&self, id: &str) -> Key {
        self.0.get(id).cloned().unwrap_or_else(|| Key {
            id: KeyId::new(id).unwrap(),
            person: PersonId::new(id).unwrap(),
            roles: Vec::new(),
            tenants: Vec::new(),
        })
    }
}

impl Key {
    pub(crate) fn person(&self) -> PersonId {
        self.person.clone()
    }

    pub(crate) fn signs(&self, command: &Command) -> Vec<u8> {
        signed(self, KIND, serde_json::to_vec(command).unwrap())
    }
}

impl Sign for Key {
    fn key(&self) -> &KeyId {
        &self.id
    }

    fn sign(&self, statement: &[u8]) -> Signature {
        let none: [(&str, &[u8]); 0] = [];
        let InputHash(half) = InputHash::of(&[self.id.as_str().as_bytes(), statement].concat(), none);
        let mut signature = [0; 64];
        signature[..32].copy_from_slice(&half);
        signature
    }
}

impl Trust for Ring {
    fn entitled(&self, key: &str, capacity: Capacity<'_>, _at_ms: u64) -> Result<(), Distrust> {
        let key = self.0.get(key).ok_or(Distrust::UnknownKey)?;
        let of = |tenant: &TenantId| key.tenants.is_empty() || key.tenants.iter().any(|t| t == tenant.as_str());
        let may = key.roles.iter().any(|role| role.covers(capacity)) && capacity.tenant().is_none_or(of);
        if may { Ok(()) } else { Err(Distrust::WrongRole) }
    }

    fn verify(&self, key: &str, statement: &[u8], signature: &Signature) -> Result<(), Distrust> {
        let key = self.0.get(key).ok_or(Distrust::UnknownKey)?;
        if key.sign(statement) == *signature { Ok(()) } else { Err(Distrust::BadSignature) }
    }
}

impl People for Ring {
    fn of(&self, key: &str) -> Option<Person> {
        let key = self.0.get(key)?;
        let role = |role: &Role| match role {
            Role::ApproverAs(role) => Some(role.to_string()),
            Role::AnyStage
            | Role::Stage(_)
            | Role::Approver
            | Role::Submitter
            | Role::Worker
            | Role::Operator
            | Role::Policy => None,
        };
        Some(Person { id: key.person(), roles: key.roles.iter().filter_map(role).collect() })
    }

    fn approvers(&self, tenant: &TenantId, at_ms: u64) -> Vec<Person> {
        let may = |key: &&Key| self.entitled(key.id.as_str(), Capacity::Approver(tenant), at_ms).is_ok();
        self.0.values().filter(may).filter_map(|key| self.of(key.id.as_str())).collect()
    }
}
