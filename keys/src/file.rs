//! Secret keys in files: one line each, readable by their owner alone.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tidegate_protocol::ids::KeyId;

use crate::secret::{BadSecret, SecretKey};

/// Bytes of a key's file beyond which it is none.
const MOST_BYTES: u64 = 4 << 10;

/// A key's file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read or written.
    #[error("key file {}: {source}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A new key was to go there.
    #[error("key file {} is there already, and a key is never written over; name another file, or move it away", path.display())]
    Exists {
        /// Which file.
        path: PathBuf,
    },
    /// Others may read it.
    #[error("key file {} may be read by others (mode {mode:03o}): chmod 600 it, and change the key if they did", path.display())]
    Open {
        /// Which file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It holds no key.
    #[error("key file {}: {source}", path.display())]
    Bad {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: BadSecret,
    },
}

/// Reads a key. Refuses a file that others may read.
///
/// # Errors
/// [`FileError`].
pub fn read(id: KeyId, path: &Path) -> Result<SecretKey, FileError> {
    let io = |source| FileError::Io { path: path.to_owned(), source };
    let about = fs::metadata(path).map_err(io)?;
    let mode = about.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(FileError::Open { path: path.to_owned(), mode });
    }
    if about.len() > MOST_BYTES {
        return Err(FileError::Bad { path: path.to_owned(), source: BadSecret });
    }
    let text = fs::read_to_string(path).map_err(io)?;
    SecretKey::parse(id, &text).map_err(|source| FileError::Bad { path: path.to_owned(), source })
}

/// Writes a key to a new file that its owner alone may read; a file that is there is never written over.
///
/// # Errors
/// [`FileError::Exists`], [`FileError::Io`].
pub fn create(key: &SecretKey, path: &Path) -> Result<(), FileError> {
    let io = |source: io::Error| {
        let path = path.to_owned();
        if source.kind() == io::ErrorKind::AlreadyExists {
            FileError::Exists { path }
        } else {
            FileError::Io { path, source }
        }
    };
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(io)?;
    let written = writeln!(file, "{}", key.reveal()).and_then(|()| file.sync_all());
    if written.is_err() {
        // Half a key would be taken for one that is there; whether it can be removed changes nothing.
        let _ = fs::remove_file(path);
    }
    written.map_err(io)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_from_the_file_it_was_written_to_which_is_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kernel.key");
        let id = KeyId::new("node-1").unwrap();
        let key = SecretKey::generate(id.clone()).unwrap();
        create(&key, &path).unwrap();
        assert_eq!(read(id.clone(), &path).unwrap().public(), key.public());
        assert!(matches!(create(&key, &path), Err(FileError::Exists { .. })), "never written over");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let refused = read(id.clone(), &path).unwrap_err();
        assert!(matches!(refused, FileError::Open { mode: 0o640, .. }) && refused.to_string().contains("chmod 600"));
        let bad = folder.path().join("bad.key");
        fs::write(&bad, "hello").unwrap();
        fs::set_permissions(&bad, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(matches!(read(id.clone(), &bad), Err(FileError::Bad { .. })));
        assert!(matches!(read(id, &folder.path().join("none")), Err(FileError::Io { .. })));
    }
}
