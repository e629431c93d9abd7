//! A folder: a file per payload, written beside and renamed, so that no half of one is ever there.
//!
//! `<folder>/<tenant>/<sha256>`. A file's time counts from when it was last put. What is older goes with [`Folder::sweep`], which takes
//! away nothing that is put meanwhile: both hold the lock `<folder>/.lock`, puts together and a sweep alone, for as long as a file
//! changes its name or goes. On a file system without locks the moment between a sweep's look and its taking away is left.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::task::spawn_blocking;

use crate::{Name, Store, StoreError};

/// What a file system without locks, or without the daemon that has them, answers too (NFS); it has no kind of its own.
const ENOLCK: i32 = if cfg!(any(target_os = "linux", target_os = "android")) { 37 } else { 77 };

/// See the module.
#[derive(Debug, Clone)]
pub struct Folder {
    path: PathBuf,
    max_bytes: usize,
}

/// The folder's lock, held until it is dropped.
#[derive(Debug)]
struct Held {
    _lock: Option<File>,
}

impl Held {
    fn of(folder: &Path, take: impl FnOnce(&File) -> io::Result<()>) -> io::Result<Self> {
        let lock = File::options().create(true).append(true).open(folder.join(".lock"))?;
        match take(&lock) {
            Ok(()) => Ok(Self { _lock: Some(lock) }),
            Err(error) if error.kind() == io::ErrorKind::Unsupported || error.raw_os_error() == Some(ENOLCK) => {
                Ok(Self { _lock: None })
            }
            Err(error) => Err(error),
        }
    }

    /// Together with others that put.
    fn together(folder: &Path) -> io::Result<Self> {
        Self::of(folder, File::lock_shared)
    }

    fn alone(folder: &Path) -> io::Result<Self> {
        Self::of(folder, File::lock)
    }
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
                let file = file.path();
                let is_old = || {
                    let put = std::fs::symlink_metadata(&file).and_then(|about| about.modified());
                    put.is_ok_and(|put| now.duration_since(put).is_ok_and(|age| age > ttl))
                };
                if is_old() {
                    let _alone = Held::alone(&self.path)?;
                    // Looked at again: it may have been put once more until now.
                    swept += usize::from(is_old() && std::fs::remove_file(&file).is_ok());
                }
            }
        }
        Ok(swept)
    }
}

/// Writes a payload's file in `root`.
fn write(root: &Path, file: &Path, payload: &[u8]) -> io::Result<()> {
    let folder = file.parent().unwrap_or_else(|| Path::new("."));
    std::fs::create_dir_all(folder)?;
    let mut beside = tempfile::Builder::new().prefix(".put-").tempfile_in(folder)?;
    beside.write_all(payload)?;
    beside.as_file().sync_all()?;
    {
        let _together = Held::together(root)?;
        // Its time counts from now, however long the writing took.
        beside.as_file().set_modified(SystemTime::now())?;
        beside.persist(file).map_err(|error| error.error)?;
    }
    File::open(folder)?.sync_all()
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
        let (root, file) = (self.path.clone(), self.file(name));
        Box::pin(async move {
            let written = spawn_blocking(move || write(&root, &file, &payload)).await.map_err(StoreError::new)?;
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

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use tidegate_protocol::ids::TenantId;
    use tidegate_protocol::payload::PayloadHash;

    use super::*;

    #[test]
    fn a_file_system_without_locks_is_used_without_and_another_error_is_one() {
        let home = tempfile::tempdir().unwrap();
        let held = |error: io::Error| Held::of(home.path(), |_| Err(error));
        assert!(held(io::ErrorKind::Unsupported.into()).is_ok());
        assert!(held(io::Error::from_raw_os_error(ENOLCK)).is_ok());
        assert!(held(io::ErrorKind::PermissionDenied.into()).is_err());
    }

    #[test]
    fn what_is_put_while_a_sweep_is_about_to_take_it_away_stays() {
        let home = tempfile::tempdir().unwrap();
        let folder = Folder::open(home.path(), 100).unwrap();
        let file = folder.file(&Name::of(&TenantId::new("acme").unwrap(), PayloadHash([7; 32])));
        write(home.path(), &file, b"kept").unwrap();
        let old = SystemTime::now() - Duration::from_secs(100);
        File::options().append(true).open(&file).unwrap().set_modified(old).unwrap();
        // A put that has the lock and is not through yet: the sweep finds the old file, and has to wait.
        let putting = Held::together(home.path()).unwrap();
        let (sweeps, swept) = channel();
        let sweeper = {
            let folder = folder.clone();
            std::thread::spawn(move || sweeps.send(folder.sweep(Duration::from_secs(50), SystemTime::now()).unwrap()))
        };
        assert!(swept.recv_timeout(Duration::from_millis(200)).is_err(), "it takes away nothing beside a put");
        std::fs::write(&file, b"kept").unwrap();
        drop(putting);
        assert_eq!(swept.recv().unwrap(), 0);
        sweeper.join().unwrap().unwrap();
        assert!(file.exists());
        File::options().append(true).open(&file).unwrap().set_modified(old).unwrap();
        assert_eq!(folder.sweep(Duration::from_secs(50), SystemTime::now()).unwrap(), 1);
    }
}
