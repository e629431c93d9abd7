//! A broker of a test's own, driven by `deploy/local/kafka`.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// Running until dropped.
pub(crate) struct Broker {
    folder: TempDir,
}

impl Broker {
    pub(crate) fn start(more: &[&str]) -> Self {
        let broker = Self { folder: tempfile::tempdir().unwrap() };
        broker.run(&[&["up", "--port", "0", "--heap", "512m"], more].concat());
        broker
    }

    pub(crate) fn run(&self, arguments: &[&str]) {
        let script: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/local/kafka");
        let (command, rest) = arguments.split_first().unwrap();
        let output =
            Command::new(&script).arg(command).arg("--data").arg(self.folder.path()).args(rest).output().unwrap();
        assert!(
            output.status.success(),
            "{} {arguments:?}: {}{}",
            script.display(),
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }

    /// A word the script left in its folder.
    pub(crate) fn word(&self, file: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(file)).unwrap().trim().to_owned()
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.word("port"))
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let script: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/local/kafka");
        let _ = Command::new(script).arg("kill").arg("--data").arg(self.folder.path()).output();
    }
}
