//! `keys:`, checked; and read, secrets included.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use tidegate_gateway::leasing::{WorkerKey, WorkerKeys};
use tidegate_keys::{BearerDigest, FileError, Keyring, PublicKey, SecretKey, Trusted};
use tidegate_protocol::command::People;
use tidegate_protocol::ids::{Capability, KeyId, PersonId, PoolName, TenantId};
use tidegate_protocol::selector::is_label;
use tidegate_protocol::signature::{Capacity, Role, Sign, Trust};

use super::checked::Check;
use super::lines::Step::{Field, Item};
use super::written::{PoolWritten, SigningWritten, TrustedWritten, WorkerKeyWritten, Written};

/// Whose signatures count, and what this process signs with.
#[derive(Debug, Clone, Default)]
pub struct KeysConfig {
    /// The signing key, unread.
    pub signing: Option<Signing>,
    /// Those listed.
    pub trusted: Vec<Trusted>,
    /// Who may pull jobs over HTTP.
    pub workers: WorkerKeys,
}

/// A signing key, unread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signing {
    /// Its name in records.
    pub id: KeyId,
    /// Where its secret is.
    pub from: SecretFrom,
}

/// Where a secret is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretFrom {
    /// In a file.
    File(PathBuf),
    /// In an environment variable.
    Env(String),
}

/// Keys, read.
#[derive(Default, Debug, Clone)]
pub struct Keys {
    /// What stages of this process sign with.
    pub signer: Option<Arc<dyn Sign>>,
    /// Whose signatures count, the signer's own among them.
    pub trust: Arc<Keyring>,
}

/// Keys cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The file of the signing key.
    #[error(transparent)]
    File(#[from] FileError),
    /// Its variable.
    #[error("signing key `{id}`: environment variable `{variable}` {reason}")]
    Env {
        /// The key.
        id: KeyId,
        /// The variable.
        variable: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The keys make no ring.
    #[error(transparent)]
    Ring(#[from] tidegate_keys::KeyringError),
    /// The listed key of the signer's name is another.
    #[error("`keys.trusted` has another public key for `{id}` than `keys.signing`: give one of them another id")]
    Other {
        /// The key.
        id: KeyId,
    },
    /// A stage would have to sign and cannot.
    #[error(
        "there is no `keys.signing`, and kernel, limits and scheduler sign what they decide: make a key with `tidegate keys create --role stage --id {process} --file stage.key`, name it under `keys.signing`, and its public half under `keys.trusted` of every process"
    )]
    NoSigner {
        /// A name it could have.
        process: String,
    },
    /// Nothing that a stage says would be believed.
    #[error(
        "no key is trusted for `stage`, so no ticket would be believed and nothing run: list the stages' public keys under `keys.trusted` (`tidegate keys show` prints them where they sign)"
    )]
    NoStage,
}

impl KeysConfig {
    /// Reads the signing key and gathers whom to trust.
    ///
    /// # Errors
    /// [`KeysError`].
    pub fn read(&self) -> Result<Keys, KeysError> {
        let secret = self.signing.as_ref().map(Signing::read).transpose()?;
        let mut trusted = self.trusted.clone();
        if let Some(secret) = &secret {
            match trusted.iter().find(|known| known.id == *secret.key()) {
                Some(known) if known.public != secret.public() => {
                    return Err(KeysError::Other { id: secret.key().clone() });
                }
                Some(_) => {}
                None => trusted.push(Trusted {
                    id: secret.key().clone(),
                    public: secret.public(),
                    person: None,
                    roles: vec![Role::AnyStage],
                    tenants: None,
                    until_ms: None,
                }),
            }
        }
        let signer = secret.map(|secret| Arc::new(secret) as Arc<dyn Sign>);
        Ok(Keys { signer, trust: Arc::new(Keyring::new(trusted)?) })
    }
}

impl Signing {
    fn read(&self) -> Result<SecretKey, KeysError> {
        match &self.from {
            SecretFrom::File(path) => Ok(tidegate_keys::read(self.id.clone(), path)?),
            SecretFrom::Env(variable) => {
                let error = |reason: String| KeysError::Env { id: self.id.clone(), variable: variable.clone(), reason };
                let text = std::env::var(variable).map_err(|_| error("is not set, or not UTF-8".into()))?;
                SecretKey::parse(self.id.clone(), &text).map_err(|bad| error(format!("holds no key: {bad}")))
            }
        }
    }
}

/// A trusted key as one line of `keys.trusted`.
#[must_use]
pub fn trusted_line(key: &Trusted) -> String {
    let quoted = |texts: Vec<String>| {
        let texts: Vec<String> = texts.iter().map(|text| serde_json::Value::from(text.as_str()).to_string()).collect();
        texts.join(", ")
    };
    let roles = quoted(key.roles.iter().map(ToString::to_string).collect());
    let tenants = key.tenants.as_ref().map(|all| quoted(all.iter().map(ToString::to_string).collect()));
    let tenants = tenants.map(|tenants| format!(", tenants: [{tenants}]")).unwrap_or_default();
    let person = key.person.as_ref().map(|person| format!(", person: {person}")).unwrap_or_default();
    let until = key.until_ms.map(|until| format!(", until_ms: {until}")).unwrap_or_default();
    format!("- {{ id: {}, public: \"{}\", roles: [{roles}]{tenants}{person}{until} }}", key.id, key.public)
}

impl Keys {
    /// Whose signatures count.
    #[must_use]
    pub fn trust(&self) -> Arc<dyn Trust> {
        Arc::clone(&self.trust) as Arc<dyn Trust>
    }

    /// Who approves, by their keys.
    #[must_use]
    pub fn people(&self) -> Arc<dyn People> {
        Arc::clone(&self.trust) as Arc<dyn People>
    }

    /// Whether anything that a stage signs is believed here.
    #[must_use]
    pub fn knows_stages(&self) -> bool {
        let stage = |role: &Role| matches!(role, Role::AnyStage) || role.covers(Capacity::Stage("kernel"));
        self.trust.iter().any(|trusted| trusted.roles.iter().any(stage))
    }

    /// What stages sign with.
    ///
    /// # Errors
    /// [`KeysError::NoSigner`].
    pub fn signer(&self) -> Result<Arc<dyn Sign>, KeysError> {
        self.signer.clone().ok_or_else(|| KeysError::NoSigner { process: "node-1".into() })
    }

    /// For who runs jobs.
    ///
    /// # Errors
    /// [`KeysError::NoStage`].
    pub fn trust_in_stages(&self) -> Result<Arc<dyn Trust>, KeysError> {
        if self.knows_stages() { Ok(self.trust()) } else { Err(KeysError::NoStage) }
    }
}

const MAKE_ONE: &str = "`tidegate keys create` makes one and prints what to write";

pub(super) fn checked(check: &mut Check<'_>, all: &Written) -> KeysConfig {
    let (written, pools) = (&all.keys, &all.pools);
    let signing = written.signing.as_ref().and_then(|signing| signing_of(check, signing));
    let all = written.trusted.iter().enumerate();
    let trusted: Vec<Trusted> = all.filter_map(|(number, key)| trusted_of(check, number, key)).collect();
    check.keep(&[Field("keys"), Field("trusted")], "correct the list", Keyring::new(trusted.clone()));
    let all = written.workers.iter().enumerate();
    let workers: Vec<WorkerKey> = all.filter_map(|(number, key)| worker_of(check, number, key, pools)).collect();
    let workers = check.keep(&[Field("keys"), Field("workers")], "correct the list", WorkerKeys::new(workers));
    KeysConfig { signing, trusted, workers: workers.unwrap_or_default() }
}

fn worker_of(
    check: &mut Check<'_>,
    number: usize,
    written: &WorkerKeyWritten,
    all_pools: &[PoolWritten],
) -> Option<WorkerKey> {
    let at = |field| [Field("keys"), Field("workers"), Item(number), Field(field)];
    let id = check.keep(&at("id"), "name the key", KeyId::new(&written.id));
    let made = "`tidegate keys create --role worker` makes one and prints what to write";
    let digest = check.keep(&at("sha256"), made, written.sha256.parse::<BearerDigest>());
    let tenants = named(check, &at("tenants"), written.tenants.as_ref(), TenantId::new)?;
    let pools = named(check, &at("pools"), written.pools.as_ref(), PoolName::new)?;
    let capabilities = named(check, &at("capabilities"), written.capabilities.as_ref(), Capability::new)?;
    let enforces = named(check, &at("enforces"), Some(&written.enforces), |text: &String| text.parse())?;
    let unknown = |name: &&String| !all_pools.iter().any(|pool| pool.name == **name);
    if let Some(name) = written.pools.iter().flatten().find(unknown) {
        check.wrong(&at("pools"), format!("a worker's key names no pool: `{name}`"), "correct the name");
    }
    if !(1..=100_000).contains(&written.max_leases) {
        check.wrong(&at("max_leases"), format!("`max_leases` is {}", written.max_leases), "write 1 to 100000");
    }
    if tenants.as_ref().is_some_and(|tenants: &BTreeSet<_>| tenants.len() > 1_024) {
        check.wrong(&at("tenants"), "a worker's key is for more than 1024 tenants", "make several keys");
    }
    Some(WorkerKey {
        id: id?,
        digest: digest?,
        tenants: tenants.map(|tenants| tenants.into_iter().collect()),
        pools,
        capabilities,
        labels: labels_of(check, &at("labels"), written),
        enforces: enforces.unwrap_or_default(),
        max_leases: written.max_leases,
        until_ms: written.until_ms,
    })
}

/// The labels that a key's workers may have.
fn labels_of(
    check: &mut Check<'_>,
    at: &[super::lines::Step<'_>],
    written: &WorkerKeyWritten,
) -> Option<BTreeMap<String, BTreeSet<String>>> {
    let labels = written.labels.as_ref()?;
    let bad = |text: &&String| !is_label(text);
    if let Some(text) = labels.iter().flat_map(|(name, values)| std::iter::once(name).chain(values)).find(bad) {
        check.wrong(
            at,
            format!("`{}` is no label's name or value", text.escape_debug()),
            "write 1 to 128 bytes without control characters",
        );
    }
    if let Some((name, _)) = labels.iter().find(|(_, values)| values.is_empty()) {
        check.wrong(at, format!("label `{name}` has no value"), "name its values, or leave the label out");
    }
    Some(labels.iter().map(|(name, values)| (name.clone(), values.iter().cloned().collect())).collect())
}

/// The names of a list; `Some(None)` when there is no list.
fn named<'a, T: Ord, E: std::fmt::Display>(
    check: &mut Check<'_>,
    at: &[super::lines::Step<'_>],
    written: Option<&'a Vec<String>>,
    read: impl Fn(&'a String) -> Result<T, E>,
) -> Option<Option<BTreeSet<T>>> {
    let Some(written) = written else { return Some(None) };
    let all: Vec<_> = written.iter().map(|text| check.keep(at, "correct it", read(text))).collect();
    all.into_iter().collect::<Option<BTreeSet<T>>>().map(Some)
}

/// A worker's key as one line of `keys.workers`.
#[must_use]
pub fn worker_key_line(key: &WorkerKeyWritten) -> String {
    let list = |name: &str, all: Option<&Vec<String>>| {
        let quoted = |all: &Vec<String>| {
            let all: Vec<String> = all.iter().map(|text| serde_json::Value::from(text.as_str()).to_string()).collect();
            format!(", {name}: [{}]", all.join(", "))
        };
        all.map(quoted).unwrap_or_default()
    };
    // A JSON object is YAML as well.
    let labels =
        key.labels.as_ref().map(|labels| format!(", labels: {}", serde_json::json!(labels))).unwrap_or_default();
    let enforces = Some(&key.enforces).filter(|all| !all.is_empty());
    format!(
        "- {{ id: {}, sha256: \"{}\"{}{}{}{labels}{} }}",
        key.id,
        key.sha256,
        list("tenants", key.tenants.as_ref()),
        list("pools", key.pools.as_ref()),
        list("capabilities", key.capabilities.as_ref()),
        list("enforces", enforces),
    )
}

fn signing_of(check: &mut Check<'_>, written: &SigningWritten) -> Option<Signing> {
    let at = |field| [Field("keys"), Field("signing"), Field(field)];
    let id = check.keep(&at("id"), "name the key", KeyId::new(&written.id));
    let from = match (&written.file, &written.env) {
        (Some(file), None) => SecretFrom::File(file.clone()),
        (None, Some(env)) => SecretFrom::Env(env.clone()),
        (Some(_), Some(_)) | (None, None) => {
            let reason = "`keys.signing` must have one of `file` and `env`, and not both";
            check.wrong(&[Field("keys"), Field("signing")], reason, MAKE_ONE);
            return None;
        }
    };
    Some(Signing { id: id?, from })
}

fn trusted_of(check: &mut Check<'_>, number: usize, written: &TrustedWritten) -> Option<Trusted> {
    let at = |field| [Field("keys"), Field("trusted"), Item(number), Field(field)];
    let id = check.keep(&at("id"), "name the key", KeyId::new(&written.id));
    let public = check.keep(&at("public"), MAKE_ONE, written.public.parse::<PublicKey>());
    let person = written.person.as_ref().map(|person| check.keep(&at("person"), "correct it", PersonId::new(person)));
    let mut roles = Vec::new();
    for role in &written.roles {
        roles.extend(check.keep(&at("roles"), "correct it", role.parse::<Role>()));
    }
    let mut tenants = written.tenants.as_ref().map(|_| Vec::new());
    for tenant in written.tenants.iter().flatten() {
        if let (Some(all), Some(tenant)) =
            (&mut tenants, check.keep(&at("tenants"), "correct it", TenantId::new(tenant)))
        {
            all.push(tenant);
        }
    }
    let person = match person {
        Some(person) => Some(person?),
        None => None,
    };
    Some(Trusted { id: id?, public: public?, person, roles, tenants, until_ms: written.until_ms })
}
