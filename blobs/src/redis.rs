//! Redis: a key per payload, `<prefix>payload:<tenant>:<sha256>`, which it drops when its time is over.
//!
//! Redis with `maxmemory` and an eviction policy may drop payloads sooner; `noeviction` refuses new ones instead, which is
//! told to whoever submits.

use std::time::Duration;

use bytes::Bytes;
use deadpool_redis::redis::{AsyncCommands, AsyncConnectionConfig, SetExpiry, SetOptions};
use deadpool_redis::{Manager, Pool, PoolConfig, Runtime, Timeouts};
use futures::future::BoxFuture;

use crate::{Name, PATIENCE, Store, StoreError};

/// Connections at once.
const CONNECTIONS: usize = 16;

/// See the module.
#[derive(Clone)]
pub struct Redis {
    pool: Pool,
    prefix: String,
    ttl: Duration,
    max_bytes: usize,
}

impl std::fmt::Debug for Redis {
    /// Without its address, which may hold a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redis").field("prefix", &self.prefix).field("ttl", &self.ttl).finish_non_exhaustive()
    }
}

impl Redis {
    /// At `url` (`redis://[user:password@]host[:port][/db]`), reached when it is needed.
    ///
    /// # Errors
    /// [`StoreError`]: it is no such address. It is not in the error: it may hold a password.
    pub fn new(url: &str, prefix: &str, ttl: Duration, max_bytes: usize) -> Result<Self, StoreError> {
        let none = || StoreError::new("its address is none of Redis; write `redis://host:port/db`");
        // The client's own limit of half a second is less than a large payload takes.
        let patient =
            AsyncConnectionConfig::new().set_response_timeout(Some(PATIENCE)).set_connection_timeout(Some(PATIENCE));
        let manager = Manager::new_with_config(url, patient).map_err(|_| none())?;
        let timeouts = Timeouts { wait: Some(PATIENCE), create: Some(PATIENCE), recycle: Some(PATIENCE) };
        let bounds = PoolConfig { max_size: CONNECTIONS, timeouts, ..PoolConfig::default() };
        let pool = Pool::builder(manager).config(bounds).runtime(Runtime::Tokio1).build().map_err(|_| none())?;
        Ok(Self { pool, prefix: prefix.to_owned(), ttl, max_bytes })
    }

    fn key(&self, name: &Name) -> String {
        format!("{}payload:{}:{}", self.prefix, name.tenant, name.payload)
    }
}

impl Store for Redis {
    fn max_bytes(&self) -> usize {
        self.max_bytes
    }

    fn put<'a>(&'a self, name: &'a Name, payload: Bytes) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let mut redis = self.pool.get().await.map_err(StoreError::new)?;
            let ttl = u64::try_from(self.ttl.as_millis()).unwrap_or(u64::MAX);
            let options = SetOptions::default().with_expiration(SetExpiry::PX(ttl));
            redis.set_options::<_, _, ()>(self.key(name), &payload[..], options).await.map_err(StoreError::new)
        })
    }

    fn get<'a>(&'a self, name: &'a Name, most: usize) -> BoxFuture<'a, Result<Option<Bytes>, StoreError>> {
        Box::pin(async move {
            let mut redis = self.pool.get().await.map_err(StoreError::new)?;
            let key = self.key(name);
            // Never more than was asked for, whatever somebody has put there.
            let end = isize::try_from(most).unwrap_or(isize::MAX);
            let found: Vec<u8> = redis.getrange(&key, 0, end).await.map_err(StoreError::new)?;
            if found.is_empty() && !redis.exists::<_, bool>(&key).await.map_err(StoreError::new)? {
                return Ok(None);
            }
            Ok(Some(found.into()))
        })
    }
}
