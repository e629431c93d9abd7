//! `tidegate dev`: everything in one process on the embedded spine, in one folder.
//!
//! ```text
//! <data>/spine/       the logs
//! <data>/payloads/    payloads that are too large for the logs
//! <data>/policy/      bundles; an example is written at the first start
//! <data>/key          the HTTP key
//! <data>/stage.key    what the stages sign with
//! <data>/approver.key what approves, rejects and cancels held jobs
//! <data>/worker.key   what workers pull jobs over HTTP with
//! <data>/trusted.yaml the public halves of its keys, for `tidegate audit`
//! <data>/address      where it listens, while it runs
//! ```
//!
//! Without a configuration: one source `jobs.raw` that may speak for any tenant, one pool `default` that takes what the
//! workers inside can do (the builtins `noop` and `echo` under these names, and what was given) and what workers outside
//! are said to, the policy above.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tidegate_keys::{BearerDigest, BearerKey, SecretKey};
use tidegate_protocol::ids::{KeyId, PoolName};
use tidegate_worker::agent::Builtin;

use crate::config::{
    Config, KeysError, PoolWritten, SigningWritten, TrustedWritten, WorkerKeyWritten, Written, trusted_line,
};
use crate::pools::{ReloadRefused, Reloaded};
use crate::process::{Node, StartError, start};
use crate::roles::Role;
use crate::topics::{apply, plan, wanted};
use crate::workers::{Gateway, Runs, Surroundings, WorkerSpec, Workers, build, last_of_each};

/// The policy written at the first start.
pub const EXAMPLE_POLICY: &str = include_str!("dev/example.yaml");

/// How to start.
#[derive(Debug, Clone)]
pub struct Dev {
    /// The folder of everything.
    pub data: PathBuf,
    /// Where to listen instead of what the configuration says. Port 0 takes a free one.
    pub listen: Option<SocketAddr>,
    /// The configuration; its spine and data folder are replaced. `None`: the default one.
    pub config: Option<Written>,
    /// The policy folder instead of the configuration's, or of the one in the data folder.
    pub policy: Option<PathBuf>,
    /// Workers inside this process, for the first pool.
    pub workers: Vec<WorkerSpec>,
    /// Jobs each runs at once.
    pub concurrency: u32,
    /// What workers outside can do, which pull over HTTP.
    pub capabilities: Vec<String>,
    /// `os` or `fsync`.
    pub durability: String,
}

impl Dev {
    /// The usual, in this folder.
    #[must_use]
    pub fn new(data: impl Into<PathBuf>) -> Self {
        Self {
            data: data.into(),
            listen: None,
            config: None,
            policy: None,
            workers: Vec::new(),
            concurrency: 8,
            capabilities: Vec::new(),
            durability: "os".into(),
        }
    }
}

/// A running `tidegate dev`.
pub struct DevNode {
    how: Dev,
    node: Node,
    workers: Workers,
    address: PathBuf,
}

impl std::ops::Deref for DevNode {
    type Target = Node;
    fn deref(&self) -> &Node {
        &self.node
    }
}

impl std::ops::DerefMut for DevNode {
    fn deref_mut(&mut self) -> &mut Node {
        &mut self.node
    }
}

impl DevNode {
    /// Begins a further worker.
    pub fn start_worker(&mut self, worker: tidegate_worker::Worker) {
        let (spine, prefix) = (std::sync::Arc::clone(self.node.spine()), self.node.config().prefix.clone());
        self.workers.start(worker, &spine, &prefix);
    }

    /// As [`Node::reload`], with `written` in place of the configuration it was started with.
    ///
    /// # Errors
    /// [`ReloadRefused`]; also when it was started without a configuration.
    pub async fn reload_written(&mut self, written: Written) -> Result<Reloaded, ReloadRefused> {
        if self.how.config.is_none() {
            let reason =
                "`tidegate dev` was started without a configuration: it has one pool, of what its workers can do";
            return Err(StartError::Data { reason: reason.into() }.into());
        }
        let config = settled(&self.how, written)?;
        self.node.reload(&config).await
    }

    /// Drains the workers, then stops everything.
    pub async fn stop(self) {
        // While the scheduler still settles results.
        self.workers.stop().await;
        let _ = std::fs::remove_file(&self.address);
        self.node.stop().await;
    }
}

/// Starts everything. The first start makes the folder, the topics, the key and an example policy.
///
/// # Errors
/// [`StartError`].
pub async fn dev(mut dev: Dev) -> Result<DevNode, StartError> {
    std::fs::create_dir_all(&dev.data).map_err(|e| unusable("made", &dev.data, &e))?;
    let written_by_user = dev.config.is_some();
    let given = std::mem::take(&mut dev.workers);
    let workers = if written_by_user { last_of_each(given) } else { with_builtins(given) };
    if written_by_user && !dev.capabilities.is_empty() {
        let reason = "capabilities of workers outside were given beside a configuration; write them under its `pools`";
        return Err(StartError::Data { reason: reason.into() });
    }
    let written = match &dev.config {
        Some(written) => written.clone(),
        None => default_config(&workers, std::mem::take(&mut dev.capabilities)),
    };
    let config = settled(&dev, written)?;
    let keys = config.keys.read()?;
    let trusted = dev.data.join("trusted.yaml");
    let lines: String = keys.trust.iter().map(|key| trusted_line(key) + "\n").collect();
    std::fs::write(&trusted, lines).map_err(|e| unusable("written", &trusted, &e))?;
    let spine = crate::spine::open(&config.spine).await?;
    let plan = plan(wanted(&config, &*spine).await?, &*spine).await.map_err(StartError::Look)?;
    apply(&plan, &*spine).await?;
    let pool = config.pools.first().map(|pool| pool.name().clone());
    let node = start(config, spine, keys, Role::ALL.into_iter().collect()).await?;
    let mut running = Workers::default();
    if let Err(error) = start_workers(&mut running, &node, pool, &workers, dev.concurrency) {
        node.stop().await;
        return Err(error);
    }
    let address = dev.data.join("address");
    std::fs::write(&address, format!("http://{}\n", node.address())).map_err(|e| unusable("written", &address, &e))?;
    Ok(DevNode { how: dev, node, workers: running, address })
}

fn unusable(what: &str, path: &Path, error: &std::io::Error) -> StartError {
    StartError::Data { reason: format!("`{}` cannot be {what}: {error}", path.display()) }
}

/// The configuration with what is always so here: the spine and everything else in the folder, and its keys.
fn settled(dev: &Dev, mut written: Written) -> Result<Config, StartError> {
    if let Some(policy) = &dev.policy {
        written.policy.clone_from(policy);
    } else if dev.config.is_none() {
        written.policy = dev.data.join("policy");
        write_example(&written.policy).map_err(|e| unusable("written", &written.policy, &e))?;
    }
    written.spine.url = format!("embedded:{}?durability={}", dev.data.join("spine").display(), dev.durability);
    written.spine.settings = crate::config::Settings::default();
    written.data.clone_from(&dev.data);
    if written.payloads.folder.is_none() && written.payloads.redis.is_none() {
        written.payloads.folder = Some(dev.data.join("payloads"));
    }
    if let Some(listen) = dev.listen {
        written.listen = listen.to_string();
    }
    if written.keys.signing.is_none() {
        written.keys.signing = Some(signing(&dev.data)?);
    }
    trust_approver(&mut written, &dev.data)?;
    admit_workers(&mut written, &dev.data)?;
    Config::of(&written).map_err(|e| StartError::Data { reason: e.to_string() })
}

fn start_workers(
    workers: &mut Workers,
    node: &Node,
    pool: Option<PoolName>,
    specs: &[WorkerSpec],
    concurrency: u32,
) -> Result<(), StartError> {
    let (Some(pool), false) = (pool, specs.is_empty()) else { return Ok(()) };
    // Whoever runs this owns the folder with the key: commands may have it.
    let key = std::fs::read_to_string(node.config().data.join("key")).ok().map(|key| key.trim().to_owned());
    let gateway = Gateway { url: format!("http://{}", node.address()), key };
    let payloads = crate::payloads::store(node.config())?;
    let around = Surroundings { gateway: Some(gateway), payloads, ..Surroundings::default() };
    let worker = build(pool, "dev", specs, concurrency, &around, node.keys().trust())?;
    workers.start(worker, node.spine(), &node.config().prefix);
    Ok(())
}

/// The key in the data folder, made at the first start.
fn signing(data: &Path) -> Result<SigningWritten, StartError> {
    let path = data.join("stage.key");
    let id = KeyId::new("dev").map_err(|e| StartError::Data { reason: e.to_string() })?;
    if !path.exists() {
        let secret = SecretKey::generate(id.clone()).map_err(|e| StartError::Data { reason: e.to_string() })?;
        tidegate_keys::create(&secret, &path).map_err(KeysError::File)?;
    }
    Ok(SigningWritten { id: id.to_string(), file: Some(path), env: None })
}

/// The key in the data folder that approves whatever a rule asks for and cancels, made at the first start: here one person
/// is everybody. A configuration that trusts approvers of its own needs none.
fn trust_approver(written: &mut Written, data: &Path) -> Result<(), StartError> {
    if written.keys.trusted.iter().any(|key| key.roles.iter().any(|role| role.starts_with("approver"))) {
        return Ok(());
    }
    let path = data.join("approver.key");
    let id = KeyId::new("approver").map_err(|e| StartError::Data { reason: e.to_string() })?;
    if !path.exists() {
        let secret = SecretKey::generate(id.clone()).map_err(|e| StartError::Data { reason: e.to_string() })?;
        tidegate_keys::create(&secret, &path).map_err(KeysError::File)?;
    }
    let secret = tidegate_keys::read(id.clone(), &path).map_err(KeysError::File)?;
    written.keys.trusted.push(TrustedWritten {
        id: id.to_string(),
        public: secret.public().to_string(),
        roles: vec!["approver:*".into(), "operator".into()],
        ..TrustedWritten::default()
    });
    Ok(())
}

/// The key in the data folder with which workers pull jobs over HTTP, of every tenant and capability, made at every start
/// unless it is there. A configuration that has workers' keys needs none.
fn admit_workers(written: &mut Written, data: &Path) -> Result<(), StartError> {
    if !written.keys.workers.is_empty() {
        return Ok(());
    }
    let refused = |reason: String| StartError::Data { reason };
    let path = data.join("worker.key");
    if !path.exists() {
        let key = BearerKey::generate().map_err(|e| refused(e.to_string()))?;
        let failed = |e: std::io::Error| refused(format!("`{}` cannot be written: {e}", path.display()));
        let mut file = std::fs::OpenOptions::new();
        std::os::unix::fs::OpenOptionsExt::mode(&mut file, 0o600);
        let mut file = file.write(true).create_new(true).open(&path).map_err(failed)?;
        std::io::Write::write_all(&mut file, format!("{}\n", key.reveal()).as_bytes()).map_err(failed)?;
    }
    let text =
        std::fs::read_to_string(&path).map_err(|e| refused(format!("`{}` cannot be read: {e}", path.display())))?;
    written.keys.workers.push(WorkerKeyWritten {
        id: "dev-workers".into(),
        sha256: BearerDigest::of(text.trim()).to_string(),
        ..WorkerKeyWritten::default()
    });
    Ok(())
}

/// The builtins under their own names, then what was given: it wins.
fn with_builtins(given: Vec<WorkerSpec>) -> Vec<WorkerSpec> {
    let builtin = |name: &str, builtin| WorkerSpec { capability: name.to_owned(), runs: Runs::Builtin(builtin) };
    last_of_each([builtin("noop", Builtin::Noop), builtin("echo", Builtin::Echo)].into_iter().chain(given))
}

/// One pool that takes what its workers can do.
fn default_config(workers: &[WorkerSpec], outside: Vec<String>) -> Written {
    let inside = workers.iter().map(|worker| worker.capability.clone());
    let capabilities: std::collections::BTreeSet<String> = inside.chain(outside).collect();
    let capabilities = capabilities.into_iter().collect();
    Written { pools: vec![PoolWritten { capabilities, ..PoolWritten::default() }], ..Written::default() }
}

fn write_example(folder: &Path) -> std::io::Result<()> {
    if folder.exists() {
        return Ok(());
    }
    std::fs::create_dir_all(folder)?;
    std::fs::write(folder.join("example.yaml"), EXAMPLE_POLICY)
}
