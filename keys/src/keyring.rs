//! Who is trusted for what.

use std::collections::BTreeMap;

use ed25519_dalek::Signature as Dalek;
use tidegate_protocol::command::{People, Person};
use tidegate_protocol::ids::{KeyId, PersonId, TenantId};
use tidegate_protocol::signature::{Capacity, Distrust, Role, Signature, Trust};

use crate::secret::PublicKey;

/// A trusted key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trusted {
    /// The name that records use.
    pub id: KeyId,
    /// The key.
    pub public: PublicKey,
    /// Whose it is, where that is not its id: somebody with several keys is one person.
    pub person: Option<PersonId>,
    /// What it may speak as; at least one.
    pub roles: Vec<Role>,
    /// For which tenants it approves or submits; `None` for all. Stages, workers and operators speak for no tenant.
    pub tenants: Option<Vec<TenantId>>,
    /// Nothing said after this counts; milliseconds since the Unix epoch.
    pub until_ms: Option<u64>,
}

/// Keys that make no ring.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyringError {
    /// The id is there twice.
    #[error("key `{id}` is listed twice; a key has one id, and an id one key for ever")]
    Twice {
        /// The id.
        id: KeyId,
    },
    /// The same key under two ids: retiring one would leave the other.
    #[error("keys `{first}` and `{second}` are the same key")]
    Same {
        /// One id.
        first: KeyId,
        /// The other.
        second: KeyId,
    },
    /// It may do nothing.
    #[error("key `{id}` has no role; give it at least one, or take it out")]
    NoRole {
        /// The id.
        id: KeyId,
    },
}

/// The trusted keys of an installation.
#[derive(Debug, Clone, Default)]
pub struct Keyring {
    keys: BTreeMap<KeyId, Trusted>,
}

impl Keyring {
    /// Checks and gathers.
    ///
    /// # Errors
    /// [`KeyringError`]: the first thing that is wrong.
    pub fn new(all: impl IntoIterator<Item = Trusted>) -> Result<Self, KeyringError> {
        let mut keys: BTreeMap<KeyId, Trusted> = BTreeMap::new();
        for trusted in all {
            if trusted.roles.is_empty() {
                return Err(KeyringError::NoRole { id: trusted.id });
            }
            if let Some(same) = keys.values().find(|known| known.public == trusted.public && known.id != trusted.id) {
                return Err(KeyringError::Same { first: same.id.clone(), second: trusted.id });
            }
            if let Some(known) = keys.insert(trusted.id.clone(), trusted) {
                return Err(KeyringError::Twice { id: known.id });
            }
        }
        Ok(Self { keys })
    }

    /// The keys, by id.
    pub fn iter(&self) -> impl Iterator<Item = &Trusted> {
        self.keys.values()
    }

    fn get(&self, key: &str) -> Result<&Trusted, Distrust> {
        self.keys.get(key).ok_or(Distrust::UnknownKey)
    }
}

impl Trust for Keyring {
    fn entitled(&self, key: &str, capacity: Capacity<'_>, at_ms: u64) -> Result<(), Distrust> {
        let trusted = self.get(key)?;
        let of_tenant = |tenant| trusted.tenants.as_ref().is_none_or(|tenants| tenants.contains(tenant));
        if !trusted.roles.iter().any(|role| role.covers(capacity)) || !capacity.tenant().is_none_or(of_tenant) {
            return Err(Distrust::WrongRole);
        }
        if trusted.until_ms.is_some_and(|until| at_ms > until) { Err(Distrust::Retired) } else { Ok(()) }
    }

    fn verify(&self, key: &str, statement: &[u8], signature: &Signature) -> Result<(), Distrust> {
        let key = self.get(key)?.public.0;
        key.verify_strict(statement, &Dalek::from_bytes(signature)).map_err(|_| Distrust::BadSignature)
    }
}

impl Trusted {
    fn person(&self) -> Option<Person> {
        let id = match &self.person {
            Some(person) => person.clone(),
            None => PersonId::new(self.id.as_str()).ok()?,
        };
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
        Some(Person { id, roles: self.roles.iter().filter_map(role).collect() })
    }
}

impl People for Keyring {
    fn of(&self, key: &str) -> Option<Person> {
        self.get(key).ok()?.person()
    }

    fn approvers(&self, tenant: &TenantId, at_ms: u64) -> Vec<Person> {
        let may = |id: &KeyId| self.entitled(id.as_str(), Capacity::Approver(tenant), at_ms).is_ok();
        self.keys.values().filter(|trusted| may(&trusted.id)).filter_map(Trusted::person).collect()
    }
}

#[cfg(test)]
mod tests {
    use tidegate_protocol::signature::{self, Sign};

    use super::*;
    use crate::SecretKey;

    fn key(id: &str, seed: u8) -> SecretKey {
        SecretKey::from_seed(KeyId::new(id).unwrap(), &[seed; 32])
    }

    fn trusted(key: &SecretKey, roles: &[&str], tenants: Option<&[&str]>, until_ms: Option<u64>) -> Trusted {
        Trusted {
            id: key.key().clone(),
            public: key.public(),
            person: None,
            roles: roles.iter().map(|role| role.parse().unwrap()).collect(),
            tenants: tenants.map(|all| all.iter().map(|t| TenantId::new(t).unwrap()).collect()),
            until_ms,
        }
    }

    #[test]
    fn a_key_is_believed_in_its_roles_for_its_tenants_and_until_its_time() {
        let (old, new, boss) = (key("old", 1), key("new", 2), key("boss", 3));
        let ring = Keyring::new([
            trusted(&old, &["stage"], None, Some(100)),
            trusted(&new, &["stage:kernel", "stage:limits"], None, None),
            trusted(&boss, &["approver", "operator"], Some(&["acme"]), None),
        ])
        .unwrap();
        let (acme, globex) = (TenantId::new("acme").unwrap(), TenantId::new("globex").unwrap());
        for (key, capacity, at, expected) in [
            ("old", Capacity::Stage("kernel"), 100, Ok(())),
            ("old", Capacity::Stage("kernel"), 101, Err(Distrust::Retired)),
            ("new", Capacity::Stage("kernel"), 101, Ok(())),
            ("new", Capacity::Stage("scheduler"), 101, Err(Distrust::WrongRole)),
            ("boss", Capacity::Approver(&acme), 1, Ok(())),
            ("boss", Capacity::Approver(&globex), 1, Err(Distrust::WrongRole)),
            ("boss", Capacity::Submitter(&acme), 1, Err(Distrust::WrongRole)),
            ("boss", Capacity::Operator, 1, Ok(())),
            ("boss", Capacity::Stage("kernel"), 1, Err(Distrust::WrongRole)),
            ("none", Capacity::Operator, 1, Err(Distrust::UnknownKey)),
            ("no id", Capacity::Operator, 1, Err(Distrust::UnknownKey)),
        ] {
            assert_eq!(ring.entitled(key, capacity, at), expected, "{key} as {capacity:?} at {at}");
        }
    }

    #[test]
    fn people_are_known_by_their_keys_and_approve_for_their_tenants_until_their_time() {
        let (old, new, boss) = (key("alice-2025", 1), key("alice-2026", 2), key("boss", 3));
        let of_alice = |trusted: Trusted| Trusted { person: Some(PersonId::new("alice").unwrap()), ..trusted };
        let ring = Keyring::new([
            of_alice(trusted(&old, &["approver:finance"], None, Some(100))),
            of_alice(trusted(&new, &["approver:finance", "approver:cfo", "operator"], None, None)),
            trusted(&boss, &["approver"], Some(&["globex"]), None),
            trusted(&key("w", 4), &["worker"], None, None),
        ])
        .unwrap();
        let shown = |all: Vec<Person>| -> Vec<String> {
            all.iter().map(|person| format!("{} {}", person.id, person.roles.join(","))).collect()
        };
        assert_eq!(shown(ring.of("alice-2026").into_iter().collect()), ["alice finance,cfo"]);
        assert_eq!(shown(ring.of("boss").into_iter().collect()), ["boss "]);
        assert_eq!(ring.of("nobody"), None);
        let (acme, globex) = (TenantId::new("acme").unwrap(), TenantId::new("globex").unwrap());
        assert_eq!(shown(ring.approvers(&acme, 100)), ["alice finance", "alice finance,cfo"]);
        assert_eq!(shown(ring.approvers(&globex, 101)), ["alice finance,cfo", "boss "]);
    }

    #[test]
    fn a_record_signed_by_one_key_is_not_believed_under_the_name_of_another() {
        let (one, two) = (key("one", 1), key("two", 2));
        let ring =
            Keyring::new([trusted(&one, &["stage"], None, None), trusted(&two, &["stage"], None, None)]).unwrap();
        let value = signature::signed(&one, "tidegate claim v1", b"{\"v\":1}".to_vec());
        let check = |value: &[u8]| {
            signature::check(&ring, "tidegate claim v1", Capacity::Stage("kernel"), 1, value).map(|_| ())
        };
        assert_eq!(check(&value), Ok(()));
        let other = String::from_utf8(value).unwrap().replace("\"one\"", "\"two\"");
        assert_eq!(check(other.as_bytes()), Err(Distrust::BadSignature));
    }

    #[test]
    fn lists_that_make_no_ring_are_refused() {
        let (one, two) = (key("one", 1), key("two", 1));
        let stage = |key: &SecretKey| trusted(key, &["stage"], None, None);
        let refused = |all: Vec<Trusted>| Keyring::new(all).unwrap_err();
        assert!(matches!(refused(vec![stage(&one), stage(&one)]), KeyringError::Twice { .. }));
        assert!(matches!(refused(vec![stage(&one), stage(&two)]), KeyringError::Same { .. }));
        assert!(matches!(refused(vec![trusted(&one, &[], None, None)]), KeyringError::NoRole { .. }));
    }
}
