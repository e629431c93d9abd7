//! The bearer key of a process, in a file only its user can read.

use std::fmt;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// A bearer key. Hidden in `Debug`.
#[derive(Clone)]
pub struct Key(String);

/// The key file cannot be made or read.
#[derive(Debug, thiserror::Error)]
#[error("key file `{file}` cannot be {what}; make the folder writable, or remove the file to get a new key")]
pub struct KeyError {
    /// The file.
    pub file: PathBuf,
    /// What was tried.
    pub what: &'static str,
    /// Why not.
    pub source: std::io::Error,
}

impl Key {
    /// Takes a key as it is (tests, clients).
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Reads `<folder>/key`, or makes folder and file (mode 0600) with 256 random bits.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn read_or_make(folder: &Path) -> Result<Self, KeyError> {
        let file = folder.join("key");
        let error = |what| {
            let file = file.clone();
            move |source| KeyError { file, what, source }
        };
        match std::fs::read_to_string(&file) {
            Ok(text) if text.trim().len() >= 32 => return Ok(Self(text.trim().to_owned())),
            Ok(_) => {
                let short = std::io::Error::other("it holds fewer than 32 characters");
                return Err(error("used")(short));
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(error("read")(e)),
        }
        std::fs::create_dir_all(folder).map_err(error("made"))?;
        let mut random = [0_u8; 32];
        std::fs::File::open("/dev/urandom").and_then(|mut f| f.read_exact(&mut random)).map_err(error("made"))?;
        let text: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        match options.open(&file) {
            Ok(mut made) => {
                writeln!(made, "{text}").and_then(|()| made.sync_all()).map_err(error("written"))?;
                Ok(Self(text))
            }
            // Another process made it meanwhile.
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
                let text = std::fs::read_to_string(&file).map_err(error("read"))?;
                Ok(Self(text.trim().to_owned()))
            }
            Err(e) => Err(error("made")(e)),
        }
    }

    /// The key, for the holder's own requests.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether `offered` is the key; takes as long for every wrong one of the same length.
    #[must_use]
    pub fn admits(&self, offered: &str) -> bool {
        let (ours, theirs) = (self.0.as_bytes(), offered.as_bytes());
        let differs = ours.iter().zip(theirs).fold(0, |all, (a, b)| std::hint::black_box(all | (a ^ b)));
        differs == 0 && ours.len() == theirs.len()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_readable_by_its_user_alone_and_admits_only_itself() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let key = Key::read_or_make(&data).unwrap();
        assert_eq!(key.reveal().len(), 64);
        assert_eq!(Key::read_or_make(&data).unwrap().reveal(), key.reveal());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = std::fs::metadata(data.join("key")).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        assert!(key.admits(key.reveal()));
        for wrong in ["", "x", &key.reveal()[1..], &format!("{}0", key.reveal()), &"0".repeat(64)] {
            assert!(!key.admits(wrong), "{wrong}");
        }
        assert_eq!(format!("{key:?}"), "Key(***)");
    }

    #[test]
    fn a_key_file_that_was_emptied_is_not_taken_as_no_key() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("key"), "\n").unwrap();
        let error = Key::read_or_make(folder.path()).unwrap_err();
        assert!(error.to_string().contains("cannot be used"), "{error}");
    }
}
