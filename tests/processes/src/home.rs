//! A folder with a configuration and a policy, for processes of one test.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;

use crate::binary;
use crate::process::{Ended, Start};

/// Longest wait for a command of the binary that is not meant to stay.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// What a configuration says so that its stages sign with the key of a [`Home`].
pub const KEYS: &str = "keys: { signing: { id: test, file: stage.key } }\n";

/// A temporary folder; removed when dropped.
pub struct Home {
    folder: tempfile::TempDir,
    binary: PathBuf,
    commands: AtomicU32,
}

impl Home {
    /// A new one, with the policy `policy` in `policy/p.yaml` (none when empty).
    ///
    /// # Errors
    /// When the folder cannot be made or the binary is missing.
    pub fn new(policy: &str) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("tidegate-test-").tempdir().context("make a folder")?;
        let home = Self { folder, binary: binary::tidegate()?, commands: AtomicU32::new(0) };
        std::fs::create_dir(home.path().join("policy"))?;
        home.write("stage.key", &format!("tidegate-secret-1:{}\n", "5a".repeat(32)))?;
        std::fs::set_permissions(home.path().join("stage.key"), std::fs::Permissions::from_mode(0o600))?;
        if !policy.is_empty() {
            home.write("policy/p.yaml", policy)?;
        }
        Ok(home)
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file in it, whole or not at all (readers may be watching).
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, name: &str, text: &str) -> anyhow::Result<()> {
        let path = self.path().join(name);
        let beside = self.path().join(format!("{}.new", name.replace('/', "_")));
        std::fs::write(&beside, text).with_context(|| format!("write `{}`", beside.display()))?;
        std::fs::rename(&beside, &path).with_context(|| format!("write `{}`", path.display()))
    }

    /// `tidegate arguments…` in this folder, to be started.
    #[must_use]
    pub fn tidegate(&self, name: &str, arguments: &[&str]) -> Start {
        Start::new(name, &self.binary, self.path(), arguments)
    }

    /// Runs `tidegate arguments…` to its end.
    ///
    /// # Errors
    /// When it does not end.
    pub fn run(&self, arguments: &[&str]) -> anyhow::Result<Ended> {
        let number = self.commands.fetch_add(1, Ordering::Relaxed);
        self.tidegate(&format!("command-{number}"), arguments).run(PATIENCE)
    }
}

/// A topic prefix that no other run has.
#[must_use]
pub fn own_prefix(what: &str) -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    format!("{what}-{now}-{}-{}.", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed))
}
