//! The folder of policy bundles: read at start and again whenever a file changes.
//!
//! A set that is refused changes nothing: every problem is logged and the last good snapshot stays. What was used before
//! a restart is the kernel's own fact, checked by the kernel; here only this process's last good set counts.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tidegate_policy::{InUse, Refused, Snapshot, is_bundle_file, load};
use tokio::sync::watch;

use crate::metrics;

/// How often the folder is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// A folder that gives no policy.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// The folder cannot be read.
    #[error("policy folder `{folder}` cannot be read; make it, or correct `policy` in the configuration")]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// What is in it was refused.
    #[error("{0}")]
    Refused(Refused),
}

/// The files of a folder that hold bundles, name and text, by name.
///
/// # Errors
/// [`PolicyError::Folder`].
pub fn read_files(folder: &Path) -> Result<BTreeMap<String, String>, PolicyError> {
    let error = |source| PolicyError::Folder { folder: folder.to_owned(), source };
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(folder).map_err(error)? {
        let path = entry.map_err(error)?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if is_bundle_file(name) && !name.starts_with('.') && path.is_file() {
            files.insert(path.display().to_string(), std::fs::read_to_string(&path).map_err(error)?);
        }
    }
    Ok(files)
}

/// Loads a folder.
///
/// # Errors
/// [`PolicyError`].
pub fn load_folder(folder: &Path, in_use: Option<&InUse>) -> Result<Snapshot, PolicyError> {
    load(read_files(folder)?, in_use).map_err(PolicyError::Refused)
}

/// The current policy; `None` until a good one was read.
pub type Current = watch::Receiver<Option<Arc<Snapshot>>>;

/// Follows a folder until the returned receiver and its clones are gone.
#[must_use]
pub fn follow(folder: PathBuf) -> (Current, tokio::task::JoinHandle<()>) {
    let (told, current) = watch::channel(None);
    let mut folder = Folder { path: folder, seen: None, in_use: None };
    if let Some(first) = folder.look() {
        told.send_replace(Some(first));
    }
    let task = tokio::spawn(async move {
        while !told.is_closed() {
            tokio::time::sleep(LOOK).await;
            // Reading and compiling may take a while: not on a thread that shards run on.
            let looked = tokio::task::spawn_blocking(move || {
                let found = folder.look();
                (folder, found)
            });
            let Ok((back, found)) = looked.await else { return };
            folder = back;
            if let Some(found) = found {
                told.send_replace(Some(found));
            }
        }
    });
    (current, task)
}

struct Folder {
    path: PathBuf,
    /// What was last read, good or bad; `None` when it could not be read.
    seen: Option<BTreeMap<String, String>>,
    in_use: Option<InUse>,
}

impl Folder {
    /// A new good policy, if there is one since the last look.
    fn look(&mut self) -> Option<Arc<Snapshot>> {
        let files = match read_files(&self.path) {
            Ok(files) => files,
            Err(error) => {
                if self.seen.take().is_some() || self.in_use.is_none() {
                    report(&error);
                }
                return None;
            }
        };
        if self.seen.as_ref() == Some(&files) {
            return None;
        }
        let loaded = load(&files, self.in_use.as_ref());
        self.seen = Some(files);
        match loaded {
            Ok(snapshot) => {
                let snapshot = Arc::new(snapshot);
                let new = InUse::of(&snapshot);
                if self.in_use.as_ref() == Some(&new) {
                    return None;
                }
                self.in_use = Some(new);
                metrics::policy_loaded(&snapshot);
                tracing::info!(
                    revision = snapshot.revision(),
                    snapshot = snapshot.short_name(),
                    rules = snapshot.rules().len(),
                    "policy loaded"
                );
                Some(snapshot)
            }
            Err(refused) => {
                report(&PolicyError::Refused(refused));
                None
            }
        }
    }
}

fn report(error: &PolicyError) {
    metrics::policy_refused();
    let source = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    tracing::error!(error = %error, source, "no new policy: the last good one, if any, stays in force");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bundle(revision: u64, decision: &str) -> String {
        format!(
            "id: b\nrevision: {revision}\nrules:\n  - {{ id: r, match: {{ tenants: [t] }}, decision: {decision} }}\n"
        )
    }

    #[test]
    fn a_better_set_replaces_a_bad_one_changes_nothing_and_nothing_is_reported_twice() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("b.yaml");
        let mut follow = Folder { path: folder.path().to_owned(), seen: None, in_use: None };
        assert!(follow.look().is_none(), "an empty folder is no policy");
        std::fs::write(&file, bundle(1, "allow")).unwrap();
        assert_eq!(follow.look().unwrap().revision(), 1);
        assert!(follow.look().is_none(), "nothing changed");
        std::fs::write(&file, bundle(2, "perhaps")).unwrap();
        assert!(follow.look().is_none(), "refused");
        std::fs::write(&file, bundle(1, "deny")).unwrap();
        assert!(follow.look().is_none(), "changed under the same revision");
        std::fs::write(&file, bundle(2, "deny")).unwrap();
        assert_eq!(follow.look().unwrap().revision(), 2);
        std::fs::write(folder.path().join("b.test.yaml"), "rubbish: [").unwrap();
        assert!(follow.look().is_none(), "cases are no policy");
    }
}
