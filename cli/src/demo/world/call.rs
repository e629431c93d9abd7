//! Plain functions over a store, as handlers of the worker library.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use tidegate_protocol::ids::TenantId;
use tidegate_worker::{Context, Failure, TypedHandler};

use super::store::{Store, StoreError};

/// Who calls: what a function may know besides its arguments.
#[derive(Debug, Clone, Default)]
pub(crate) struct Caller {
    /// The agent, as the kernel's decision names it.
    pub(crate) agent: Option<String>,
}

/// A store for each tenant, each in a folder of its own: nothing of one is visible to another.
pub(crate) struct Stores<S> {
    folder: PathBuf,
    name: &'static str,
    initial: S,
    open: Mutex<BTreeMap<TenantId, Arc<Store<S>>>>,
}

impl<S: Clone + Serialize + DeserializeOwned> Stores<S> {
    /// `<folder>/<tenant>/<name>.json`, each made with `initial` when its tenant's first job comes.
    pub(crate) fn new(folder: PathBuf, name: &'static str, initial: S) -> Self {
        Self { folder, name, initial, open: Mutex::default() }
    }

    /// The tenant's.
    ///
    /// # Errors
    /// [`StoreError`] when its file can be neither read nor made.
    pub(crate) fn of(&self, tenant: &TenantId) -> Result<Arc<Store<S>>, StoreError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = open.get(tenant) {
            return Ok(Arc::clone(store));
        }
        let file = self.folder.join(folder_name(tenant)).join(format!("{}.json", self.name));
        let store = Arc::new(Store::open(file, &self.initial)?);
        open.insert(tenant.clone(), Arc::clone(&store));
        Ok(store)
    }

    /// Those that were used, by tenant.
    pub(crate) fn all(&self) -> BTreeMap<TenantId, Arc<Store<S>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What every tenant begins with.
    pub(crate) const fn initial(&self) -> &S {
        &self.initial
    }
}

/// A tenant may have any text as its name; a folder may not.
fn folder_name(tenant: &TenantId) -> String {
    let mut name = String::new();
    for byte in tenant.as_str().bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') {
            name.push(char::from(byte));
        } else {
            name.push_str(&format!("%{byte:02x}"));
        }
    }
    name
}

/// A function that only looks.
pub(crate) struct Reading<S, A, O> {
    stores: Arc<Stores<S>>,
    function: fn(&S, &Caller, A) -> Result<O, Failure>,
}

/// A function that changes something, once for a job however often it runs.
pub(crate) struct Changing<S, A, O> {
    stores: Arc<Stores<S>>,
    function: fn(&mut S, &Caller, A) -> Result<O, Failure>,
}

impl<S> Stores<S> {
    /// A handler that only looks.
    pub(crate) fn reading<A, O>(
        self: &Arc<Self>,
        function: fn(&S, &Caller, A) -> Result<O, Failure>,
    ) -> Reading<S, A, O> {
        Reading { stores: Arc::clone(self), function }
    }

    /// A handler that changes something.
    pub(crate) fn changing<A, O>(
        self: &Arc<Self>,
        function: fn(&mut S, &Caller, A) -> Result<O, Failure>,
    ) -> Changing<S, A, O> {
        Changing { stores: Arc::clone(self), function }
    }
}

impl<S, A, O> TypedHandler for Reading<S, A, O>
where
    S: Clone + Serialize + DeserializeOwned + Send + Sync + 'static,
    A: DeserializeOwned + Send + 'static,
    O: Serialize + 'static,
{
    type Input = A;
    type Output = Box<RawValue>;

    async fn run(&self, arguments: A, context: Context) -> Result<Self::Output, Failure> {
        let (stores, function) = (Arc::clone(&self.stores), self.function);
        // Files block.
        tokio::task::spawn_blocking(move || {
            let (job, caller) = (context.job(), caller(&context));
            let output = stores.of(&job.tenant)?.read(|state| function(state, &caller, arguments))?;
            Ok(serde_json::value::to_raw_value(&output)?)
        })
        .await?
    }
}

impl<S, A, O> TypedHandler for Changing<S, A, O>
where
    S: Clone + Serialize + DeserializeOwned + Send + Sync + 'static,
    A: DeserializeOwned + Send + 'static,
    O: Serialize + 'static,
{
    type Input = A;
    type Output = Box<RawValue>;

    async fn run(&self, arguments: A, context: Context) -> Result<Self::Output, Failure> {
        let (stores, function) = (Arc::clone(&self.stores), self.function);
        tokio::task::spawn_blocking(move || {
            let (job, caller) = (context.job(), caller(&context));
            stores.of(&job.tenant)?.change(job.id.as_str(), |state| function(state, &caller, arguments))
        })
        .await?
    }
}

fn caller(context: &Context) -> Caller {
    Caller { agent: context.job().actor.id.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tenants_have_folders_of_their_own_whatever_their_names() {
        let folder = tempfile::tempdir().unwrap();
        let stores = Stores::new(folder.path().to_owned(), "n", 0_i64);
        for (name, shown) in [("acme", "acme"), ("../acme", "%2e%2e%2facme"), ("Öl", "%c3%96l")] {
            let store = stores.of(&TenantId::new(name).unwrap()).unwrap();
            store
                .change("job", |n| {
                    *n += 1;
                    Ok(*n)
                })
                .unwrap();
            assert!(folder.path().join(shown).join("n.json").exists(), "{name}");
            assert_eq!(store.read(|n| *n), 1, "nothing of another tenant");
        }
        assert_eq!(stores.all().len(), 3);
    }
}
