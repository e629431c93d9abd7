//! Payloads that are too large for the log, kept beside it (claim-check).
//!
//! Whoever submits a job puts its payload here ([`check_in`]) and writes a [`PayloadRef`] into the job: size and SHA-256. Whoever
//! runs it fetches the payload ([`fetch`]) and believes nothing but bytes of just that size and hash.
//!
//! * A payload is named by its tenant and its hash, never by a name that a submitter chooses: a job can refer to payloads
//!   of its own tenant alone (I9), the same payload is kept once, and what is there is never written over by other bytes.
//! * A store is no part of any promise: payloads may be gone (their time is over, the store lost them). Then their jobs
//!   fail, and say so; everything else goes on.
//! * Everything is bounded: a payload's size by [`Store::max_bytes`], an operation's time by [`PATIENCE`].
//!
//! Stores: [`folder`] (embedded; several processes may share it where they share the file system), [`redis`].

pub mod folder;
pub mod redis;

use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use sha2::{Digest, Sha256};
use tidegate_protocol::ids::TenantId;
use tidegate_protocol::payload::{PayloadHash, PayloadRef};

pub use folder::Folder;
pub use redis::Redis;

/// Longest time of an operation.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Where payloads are kept.
pub trait Store: Send + Sync + std::fmt::Debug {
    /// Largest payload, bytes.
    fn max_bytes(&self) -> usize;

    /// Keeps `payload` under this name for at least the store's time, counted anew. When this returns it is as durable as
    /// the store makes it.
    fn put<'a>(&'a self, name: &'a Name, payload: Bytes) -> BoxFuture<'a, Result<(), StoreError>>;

    /// What is kept under this name, `None` when nothing is. Of what has more than `most` bytes anything of another size.
    fn get<'a>(&'a self, name: &'a Name, most: usize) -> BoxFuture<'a, Result<Option<Bytes>, StoreError>>;
}

/// A payload's name: its tenant's hash and its own, hex digits each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// The first half of the SHA-256 of the tenant's name.
    pub tenant: String,
    /// SHA-256 of the payload.
    pub payload: PayloadHash,
}

impl Name {
    fn of(tenant: &TenantId, payload: PayloadHash) -> Self {
        let hash: [u8; 32] = Sha256::digest(tenant.as_str().as_bytes()).into();
        Self { tenant: tidegate_protocol::hex::encode(hash).chars().take(32).collect(), payload }
    }
}

/// A store that does not do what it is asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the store of payloads does not answer: {reason}")]
pub struct StoreError {
    /// Why, without secrets.
    pub reason: String,
}

impl StoreError {
    pub(crate) fn new(reason: impl std::fmt::Display) -> Self {
        Self { reason: reason.to_string() }
    }
}

/// A payload that was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotKept {
    /// It is too large even for the store.
    #[error("the payload has {bytes} bytes, more than the {limit} that are kept beside the log")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The store is away.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A payload that cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotFetched {
    /// The store is away: it may be back later.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It is not there.
    #[error("the payload {payload} is not kept any more: its time is over, or it never was")]
    Gone {
        /// Which.
        payload: PayloadHash,
    },
    /// What is there is something else.
    #[error("what is kept as payload {payload} is not it: its size or its hash is another")]
    Altered {
        /// Which.
        payload: PayloadHash,
    },
    /// The reference asks for more than is ever kept.
    #[error("the job refers to a payload of {bytes} bytes, more than the {limit} that are fetched")]
    TooLarge {
        /// As it says.
        bytes: u64,
        /// The limit.
        limit: usize,
    },
}

/// Keeps a payload of `tenant`, and gives back what refers to it. `base64`: it is a JSON string of base64, to be handed on as
/// `payload_base64`.
///
/// # Errors
/// [`NotKept`].
pub async fn check_in(
    store: &dyn Store,
    tenant: &TenantId,
    payload: Bytes,
    base64: bool,
) -> Result<PayloadRef, NotKept> {
    let (bytes, limit) = (payload.len(), store.max_bytes());
    if bytes > limit {
        return Err(NotKept::TooLarge { bytes, limit });
    }
    let hash = PayloadHash(Sha256::digest(&payload).into());
    timely(store.put(&Name::of(tenant, hash), payload)).await?;
    Ok(PayloadRef { bytes: u64::try_from(bytes).unwrap_or(u64::MAX), sha256: hash, base64 })
}

/// The payload of `tenant` that `reference` is to, checked.
///
/// # Errors
/// [`NotFetched`]; only [`NotFetched::Store`] may go better later.
pub async fn fetch(store: &dyn Store, tenant: &TenantId, reference: &PayloadRef) -> Result<Bytes, NotFetched> {
    let (payload, limit) = (reference.sha256, store.max_bytes());
    let most = usize::try_from(reference.bytes).ok().filter(|bytes| *bytes <= limit);
    let most = most.ok_or(NotFetched::TooLarge { bytes: reference.bytes, limit })?;
    let found = timely(store.get(&Name::of(tenant, payload), most)).await?.ok_or(NotFetched::Gone { payload })?;
    let hash: [u8; 32] = Sha256::digest(&found).into();
    if found.len() == most && hash == payload.0 { Ok(found) } else { Err(NotFetched::Altered { payload }) }
}

async fn timely<T>(asked: BoxFuture<'_, Result<T, StoreError>>) -> Result<T, StoreError> {
    let late = |_| StoreError::new(format!("no answer within {PATIENCE:?}"));
    tokio::time::timeout(PATIENCE, asked).await.map_err(late)?
}
