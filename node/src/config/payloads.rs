//! `payloads:` - where payloads go that are too large for the log.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::checked::Check;
use super::lines::Step::Field;

/// `payloads:`, with at most one of `folder` and `redis`; without either, large payloads are refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PayloadsWritten {
    /// A folder that gateways and workers share.
    pub folder: Option<PathBuf>,
    /// A Redis that gateways and workers reach.
    pub redis: Option<RedisWritten>,
    /// Payloads of more bytes go there.
    pub above_bytes: usize,
    /// Largest payload, bytes.
    pub max_bytes: usize,
    /// How long one is kept, milliseconds.
    pub ttl_ms: u64,
}

impl Default for PayloadsWritten {
    fn default() -> Self {
        Self { folder: None, redis: None, above_bytes: 256 << 10, max_bytes: 16 << 20, ttl_ms: 7 * 86_400_000 }
    }
}

/// `payloads.redis:`, with exactly one of them. An address with a password in it is given as `file` or `env`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RedisWritten {
    /// Its address, without a password: `redis://host:port/db`.
    pub url: Option<String>,
    /// File that holds its address.
    pub file: Option<PathBuf>,
    /// Environment variable that holds its address.
    pub env: Option<String>,
}

/// Where payloads go that are too large for the log.
#[derive(Debug, Clone)]
pub struct Payloads {
    /// Where; `None`: nowhere.
    pub kept_in: Option<KeptIn>,
    /// Payloads of more bytes go there.
    pub above_bytes: usize,
    /// Largest payload.
    pub max_bytes: usize,
    /// How long one is kept.
    pub ttl: Duration,
}

/// A store.
#[derive(Debug, Clone)]
pub enum KeptIn {
    /// A folder.
    Folder(PathBuf),
    /// A Redis.
    Redis(RedisAddress),
}

/// The address of a Redis, unread.
#[derive(Debug, Clone)]
pub enum RedisAddress {
    /// As it is.
    Url(String),
    /// In a file.
    File(PathBuf),
    /// In an environment variable.
    Env(String),
}

/// The address of a Redis cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum AddressUnread {
    /// Its file cannot be read.
    #[error("`payloads.redis`: file `{file}` cannot be read: {source}")]
    File {
        /// The file.
        file: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Its variable is not there.
    #[error("`payloads.redis`: environment variable `{variable}` is not set, or not UTF-8")]
    Env {
        /// The variable.
        variable: String,
    },
}

impl RedisAddress {
    /// The address. It may hold a password: it is for the client alone.
    ///
    /// # Errors
    /// [`AddressUnread`].
    pub fn read(&self) -> Result<String, AddressUnread> {
        match self {
            Self::Url(url) => Ok(url.clone()),
            Self::File(file) => {
                let text = std::fs::read_to_string(file);
                let text = text.map_err(|source| AddressUnread::File { file: file.clone(), source })?;
                Ok(text.trim().to_owned())
            }
            Self::Env(variable) => {
                std::env::var(variable).map_err(|_| AddressUnread::Env { variable: variable.clone() })
            }
        }
    }
}

pub(super) fn checked(check: &mut Check<'_>, written: &PayloadsWritten, record_bytes: usize) -> Payloads {
    let at = |field| [Field("payloads"), Field(field)];
    let wide = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    check.within(&at("above_bytes"), "payloads.above_bytes", wide(written.above_bytes), 1_024, wide(record_bytes));
    let least = wide(written.above_bytes);
    check.within(&at("max_bytes"), "payloads.max_bytes", wide(written.max_bytes), least, 256 << 20);
    check.within(&at("ttl_ms"), "payloads.ttl_ms", written.ttl_ms, 60_000, 366 * 86_400_000);
    let kept_in = match (&written.folder, &written.redis) {
        (Some(_), Some(_)) => {
            check.wrong(&at("redis"), "`payloads` has a folder and a Redis", "keep one of them");
            None
        }
        (Some(folder), None) => Some(KeptIn::Folder(folder.clone())),
        (None, Some(redis)) => address(check, redis).map(KeptIn::Redis),
        (None, None) => None,
    };
    Payloads {
        kept_in,
        above_bytes: written.above_bytes,
        max_bytes: written.max_bytes,
        ttl: Duration::from_millis(written.ttl_ms),
    }
}

fn address(check: &mut Check<'_>, written: &RedisWritten) -> Option<RedisAddress> {
    let at = [Field("payloads"), Field("redis")];
    match (&written.url, &written.file, &written.env) {
        (Some(url), None, None) if url.contains('@') => {
            let remedy = "write it into a file or an environment variable, and `file:` or `env:` here";
            check.wrong(&at, "`payloads.redis.url` holds a user or a password", remedy);
            None
        }
        (Some(url), None, None) => Some(RedisAddress::Url(url.clone())),
        (None, Some(file), None) => Some(RedisAddress::File(file.clone())),
        (None, None, Some(variable)) => Some(RedisAddress::Env(variable.clone())),
        _ => {
            check.wrong(
                &at,
                "`payloads.redis` needs one of `url`, `file` and `env`",
                "e.g. `url: redis://127.0.0.1:6379`",
            );
            None
        }
    }
}
