//! A folder: a file per payload, written beside and renamed, so that no half of one is ever there.
//!
//! `<folder>/<tenant>/<sha256>`. A file's time counts from when it was last put. What is older goes with [`Folder::sweep`].

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::task::spawn_blocking;

use crate::{Name, Store, StoreError};

/// See the module.
#[derive(Debug, Clone)]
pub struct Folder {
    path: PathBuf,
    max_bytes: usize,
}

impl Folder {
    /// In this folder, which is made when it is not there.
    ///
    /// # Errors
    /// [`StoreError`]: it can neither be used nor made.
    pub fn open(path: impl Into<PathBuf>, max_bytes: usize) -> Result<Self, StoreError> {
        let path = path.into();
        let made = std::fs::create_dir_all(&path);
        made.map_err(|error| StoreError::new(format!("folder `{}` cannot be made: {error}", path.display())))?;
        Ok(Self { path, max_bytes })
    }

    fn file(&self, name: &Name) -> PathBuf {
        self.path.join(&name.tenant).join(name.payload.to_string())
    }

    /// Takes away what was last put longer than `ttl` ago, and how many that was. What another process is just writing stays.
    ///
    /// # Errors
    /// The folder cannot be read; a single file that cannot be taken away is left for the next time.
    pub fn sweep(&self, ttl: Duration, now: SystemTime) -> io::Result<usize> {
        let mut swept = 0;
        for tenant in std::fs::read_dir(&self.path)? {
            let tenant = tenant?.path();
            if !tenant.is_dir() {
                continue;
            }
            for file in std::fs::read_dir(&tenant)? {
                let file = file?;
                let put = file.metadata().and_then(|about| about.modified());
                let old = put.is_ok_and(|put| now.duration_since(put).is_ok_and(|age| age > ttl));
                swept += usize::from(old && std::fs::remove_file(file.path()).is_ok());
            }
        }
        Ok(swept)
    }
}

fn write(file: &Path, payload: &[u8]) -> io::Result<()> {
    let folder = file.parent().unwrap_or_else(|| Path::new("."));
    std::fs::create_dir_all(folder)?;
    let mut beside = tempfile::Builder::new().prefix(".put-").tempfile_in(folder)?;
    beside.write_all(payload)?;
    beside.as_file().sync_all()?;
    beside.persist(file).map_err(|error| error.error)?;
    std::fs::File::open(folder)?.sync_all()
}

fn read(file: &Path, most: usize) -> io::Result<Option<Vec<u8>>> {
    let found = std::fs::metadata(file).and_then(|about| match usize::try_from(about.len()) {
        Ok(bytes) if bytes <= most => std::fs::read(file).map(Some),
        Ok(_) | Err(_) => Ok(Some(Vec::new())),
    });
    match found {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        found => found,
    }
}

impl Store for Folder {
    fn max_bytes(&self) -> usize {
        self.max_bytes
    }

    fn put<'a>(&'a self, name: &'a Name, payload: Bytes) -> BoxFuture<'a, Result<(), StoreError>> {
        let file = self.file(name);
        Box::pin(async move {
            let written = spawn_blocking(move || write(&file, &payload)).await.map_err(StoreError::new)?;
            written.map_err(|error| StoreError::new(format!("a payload cannot be written: {error}")))
        })
    }

    fn get<'a>(&'a self, name: &'a Name, most: usize) -> BoxFuture<'a, Result<Option<Bytes>, StoreError>> {
        let file = self.file(name);
        Box::pin(async move {
            let found = spawn_blocking(move || read(&file, most)).await.map_err(StoreError::new)?;
            let found = found.map_err(|error| StoreError::new(format!("a payload cannot be read: {error}")))?;
            Ok(found.map(Bytes::from))
        })
    }
}
