//! Who may pull jobs: keys, each for some tenants, pools and capabilities.

use std::collections::{BTreeMap, BTreeSet};

use tidegate_keys::BearerDigest;
use tidegate_protocol::ids::{Capability, KeyId, PoolName, TenantId, WorkerId};
use tidegate_worker::constraints::Enforces;

use super::{NotLeased, crew};

/// A worker's key, of which only the digest is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerKey {
    /// Its name in configuration, logs and worker ids.
    pub id: KeyId,
    /// SHA-256 of the key.
    pub digest: BearerDigest,
    /// The tenants whose jobs it sees; `None` for all.
    pub tenants: Option<Vec<TenantId>>,
    /// The pools it pulls from; `None` for all.
    pub pools: Option<BTreeSet<PoolName>>,
    /// What its workers may offer; `None` for anything.
    pub capabilities: Option<BTreeSet<Capability>>,
    /// The labels its workers may say they have, with the values; `None` for any.
    pub labels: Option<BTreeMap<String, BTreeSet<String>>>,
    /// What its workers' surroundings enforce.
    pub enforces: BTreeSet<Enforces>,
    /// Most jobs its workers have at once.
    pub max_leases: usize,
    /// It counts for nothing after this; milliseconds since the Unix epoch.
    pub until_ms: Option<u64>,
}

impl WorkerKey {
    /// Whether its workers may pull there for that, with these labels.
    ///
    /// # Errors
    /// [`NotLeased::NotCovered`] with the first thing it is not for. Whether there is such a pool is not told.
    pub fn covers(
        &self,
        pool: &PoolName,
        capabilities: &BTreeSet<Capability>,
        labels: &BTreeMap<String, String>,
    ) -> Result<(), NotLeased> {
        if self.pools.as_ref().is_some_and(|pools| !pools.contains(pool)) {
            return Err(NotLeased::NotCovered { what: format!("pool `{pool}`") });
        }
        let beyond = self.capabilities.as_ref().and_then(|all| capabilities.iter().find(|one| !all.contains(*one)));
        if let Some(one) = beyond {
            return Err(NotLeased::NotCovered { what: format!("capability `{one}`") });
        }
        let may = |name: &String, value: &String| {
            self.labels.as_ref().is_none_or(|all| all.get(name).is_some_and(|values| values.contains(value)))
        };
        match labels.iter().find(|(name, value)| !may(name, value)) {
            Some((name, value)) => Err(NotLeased::NotCovered { what: format!("label `{name}={value}`") }),
            None => Ok(()),
        }
    }

    /// Whether jobs of the tenant may be seen.
    #[must_use]
    pub fn is_for(&self, tenant: &TenantId) -> bool {
        self.tenants.as_ref().is_none_or(|all| all.contains(tenant))
    }
}

/// Keys that make no list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeysRefused {
    /// The id is there twice.
    #[error("worker key `{id}` is listed twice; give each its own id")]
    Twice {
        /// The id.
        id: KeyId,
    },
    /// The same key under two ids.
    #[error("worker keys `{first}` and `{second}` are the same key")]
    Same {
        /// One id.
        first: KeyId,
        /// The other.
        second: KeyId,
    },
}

/// All of them.
#[derive(Debug, Clone, Default)]
pub struct WorkerKeys {
    by_digest: BTreeMap<BearerDigest, WorkerKey>,
}

impl WorkerKeys {
    /// Gathers them.
    ///
    /// # Errors
    /// [`KeysRefused`].
    pub fn new(keys: impl IntoIterator<Item = WorkerKey>) -> Result<Self, KeysRefused> {
        let mut by_digest: BTreeMap<BearerDigest, WorkerKey> = BTreeMap::new();
        for key in keys {
            if by_digest.values().any(|known| known.id == key.id) {
                return Err(KeysRefused::Twice { id: key.id });
            }
            if let Some(known) = by_digest.get(&key.digest) {
                return Err(KeysRefused::Same { first: known.id.clone(), second: key.id });
            }
            by_digest.insert(key.digest, key);
        }
        Ok(Self { by_digest })
    }

    /// Whose key it is, at that time (milliseconds since the Unix epoch). Compares digests, which tell a guesser nothing.
    #[must_use]
    pub fn of(&self, offered: &str, now_ms: u64) -> Option<&WorkerKey> {
        let key = self.by_digest.get(&BearerDigest::of(offered))?;
        key.until_ms.is_none_or(|until| now_ms <= until).then_some(key)
    }

    /// How many jobs a worker of a pool may have at once, when it stands for workers over HTTP with one of these keys.
    pub(crate) fn most_of(&self, worker: &WorkerId) -> Option<usize> {
        let key = crew::key_of(worker)?;
        self.by_digest.values().find(|known| known.id.as_str() == key).map(|known| known.max_leases)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_digest.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: &str, secret: &str) -> WorkerKey {
        WorkerKey {
            id: KeyId::new(id).unwrap(),
            digest: BearerDigest::of(secret),
            tenants: Some(vec![TenantId::new("acme").unwrap()]),
            pools: Some(BTreeSet::from([PoolName::new("bank").unwrap()])),
            capabilities: Some(BTreeSet::from([Capability::new("pay").unwrap()])),
            labels: Some(BTreeMap::from([("zone".to_owned(), BTreeSet::from(["eu".to_owned(), "us".to_owned()]))])),
            enforces: BTreeSet::new(),
            max_leases: 10,
            until_ms: Some(100),
        }
    }

    #[test]
    fn a_key_is_for_what_it_names_and_until_its_time() {
        let keys = WorkerKeys::new([key("one", "s1"), key("two", "s2")]).unwrap();
        assert_eq!(keys.of("s2", 100).unwrap().id.as_str(), "two");
        assert!(keys.of("s2", 101).is_none() && keys.of("s3", 1).is_none() && keys.of("", 1).is_none());
        let one = keys.of("s1", 1).unwrap();
        let capabilities = |names: &[&str]| names.iter().map(|name| Capability::new(name).unwrap()).collect();
        let (bank, shop) = (PoolName::new("bank").unwrap(), PoolName::new("shop").unwrap());
        let labels = |all: &[(&str, &str)]| all.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        assert_eq!(one.covers(&bank, &capabilities(&["pay"]), &labels(&[])), Ok(()));
        assert_eq!(one.covers(&bank, &capabilities(&["pay"]), &labels(&[("zone", "us")])), Ok(()));
        for (beyond, what) in [(("zone", "mars"), "label `zone=mars`"), (("gpu", "a100"), "label `gpu=a100`")] {
            let refused = one.covers(&bank, &capabilities(&["pay"]), &labels(&[("zone", "eu"), beyond])).unwrap_err();
            assert_eq!(refused.to_string(), format!("this key does not cover {what}"));
        }
        let any = WorkerKey { labels: None, ..key("any", "s4") };
        assert_eq!(any.covers(&bank, &capabilities(&["pay"]), &labels(&[("gpu", "a100")])), Ok(()));
        let refused =
            |pool, names: &[&str]| one.covers(pool, &capabilities(names), &BTreeMap::new()).unwrap_err().to_string();
        assert_eq!(refused(&shop, &["pay"]), "this key does not cover pool `shop`");
        assert_eq!(refused(&bank, &["pay", "wire"]), "this key does not cover capability `wire`");
        assert!(one.is_for(&TenantId::new("acme").unwrap()) && !one.is_for(&TenantId::new("globex").unwrap()));
    }

    #[test]
    fn lists_that_are_ambiguous_are_refused() {
        assert!(matches!(WorkerKeys::new([key("a", "1"), key("a", "2")]), Err(KeysRefused::Twice { .. })));
        assert!(matches!(WorkerKeys::new([key("a", "1"), key("b", "1")]), Err(KeysRefused::Same { .. })));
    }
}
