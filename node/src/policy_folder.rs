//! The folder of policy bundles: read at start and again whenever a file changes.
//!
//! Nobody says when a change is complete, so one is taken only when two looks in succession, [`LOOK`] apart, find the same. A bundle
//! caught half-written and cut at the end of a rule is a good one without its last rules, and with the new revision: used once,
//! the whole text would differ from it under the same revision and be refused from then on. The same goes for the first of several
//! files that are saved one after the other. What takes longer to write is to be put in place by renaming, or signed.
//!
//! A set that is refused, or whose signature does not hold ([`policy_signature`](crate::policy_signature)), changes
//! nothing: every problem is logged and the last good snapshot stays. What was used before
//! a restart is the kernel's own fact, checked by the kernel; here only this process's last good set counts.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tidegate_policy::{InUse, Refused, Snapshot, is_bundle_file, load};
use tidegate_protocol::ids::KeyId;
use tokio::sync::watch;

use crate::metrics;
use crate::policy_signature::{self, BadPolicySignature, Demand};

/// How often the folder is looked at, and how long a change must have stood there.
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
    /// Its signature does not hold.
    #[error(transparent)]
    Signature(#[from] BadPolicySignature),
}

/// What is read of a folder.
#[derive(Debug, PartialEq, Eq)]
struct Read {
    /// Bundles, path and text.
    files: BTreeMap<String, String>,
    /// The text of [`policy_signature::FILE`], where there is one.
    signature: Option<Vec<u8>>,
}

impl Read {
    fn of(folder: &Path) -> Result<Self, PolicyError> {
        Ok(Self { files: read_files(folder)?, signature: read_signature(folder)? })
    }

    fn check(&self, demand: &Demand) -> Result<(), BadPolicySignature> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        if let Some(key) = demand.check(&self.files, self.signature.as_deref(), now_ms)? {
            tracing::info!(%key, "the policy's signature holds");
        }
        Ok(())
    }
}

fn read_signature(folder: &Path) -> Result<Option<Vec<u8>>, PolicyError> {
    let path = folder.join(policy_signature::FILE);
    let mut text = Vec::new();
    let read = std::fs::File::open(&path).and_then(|file| {
        std::io::Read::read_to_end(&mut std::io::Read::take(file, policy_signature::MAX_BYTES), &mut text)
    });
    match read {
        Ok(_) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(PolicyError::Folder { folder: path, source }),
    }
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

/// Loads a folder, whoever signed it.
///
/// # Errors
/// [`PolicyError`], never `Signature`.
pub fn load_folder(folder: &Path, in_use: Option<&InUse>) -> Result<Snapshot, PolicyError> {
    load(read_files(folder)?, in_use).map_err(PolicyError::Refused)
}

/// Loads a folder as a process would at its start; also who signed it, where somebody did.
///
/// # Errors
/// [`PolicyError`].
pub fn load_signed(folder: &Path, demand: &Demand) -> Result<(Snapshot, Option<KeyId>), PolicyError> {
    let Read { files, signature } = Read::of(folder)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
    let by = demand.check(&files, signature.as_deref(), now_ms)?;
    Ok((load(files, None).map_err(PolicyError::Refused)?, by))
}

/// The current policy; `None` until a good one was read.
pub type Current = watch::Receiver<Option<Arc<Snapshot>>>;

/// Follows a folder until the returned receiver and its clones are gone. The first policy comes after [`LOOK`].
#[must_use]
pub fn follow(folder: PathBuf, demand: Demand) -> (Current, tokio::task::JoinHandle<()>) {
    let (told, current) = watch::channel(None);
    let mut folder = Folder::new(folder, demand);
    // The first of the two looks that a policy needs.
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

/// What a look finds.
type Found = Result<Read, PolicyError>;

struct Folder {
    path: PathBuf,
    demand: Demand,
    /// What the last look found, when that was new.
    pending: Option<Found>,
    /// What was last taken, good or bad.
    taken: Option<Found>,
    in_use: Option<InUse>,
}

impl Folder {
    const fn new(path: PathBuf, demand: Demand) -> Self {
        Self { path, demand, pending: None, taken: None, in_use: None }
    }

    /// A new good policy, if this look and the one before found it.
    fn look(&mut self) -> Option<Arc<Snapshot>> {
        let found = Read::of(&self.path);
        let before = self.pending.take();
        if self.taken.as_ref().is_some_and(|taken| is_same(taken, &found)) {
            return None;
        }
        if !before.is_some_and(|before| is_same(&before, &found)) {
            self.pending = Some(found);
            return None;
        }
        let loaded = match self.taken.insert(found) {
            Ok(read) => match read.check(&self.demand) {
                Ok(()) => load(&read.files, self.in_use.as_ref()).map_err(PolicyError::Refused),
                Err(bad) => Err(bad.into()),
            },
            Err(error) => {
                report(error);
                return None;
            }
        };
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
            Err(error) => {
                report(&error);
                None
            }
        }
    }
}

/// Whether two looks found the same; of a folder that cannot be read, by what is said of it.
fn is_same(one: &Found, other: &Found) -> bool {
    match (one, other) {
        (Ok(one), Ok(other)) => one == other,
        (Err(one), Err(other)) => one.to_string() == other.to_string(),
        (Ok(_), Err(_)) | (Err(_), Ok(_)) => false,
    }
}

fn report(error: &PolicyError) {
    metrics::policy_refused();
    let source = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    tracing::error!(error = %error, source, "no new policy: the last good one, if any, stays in force");
}

#[cfg(test)]
mod tests {
    use tidegate_keys::{Keyring, SecretKey, Trusted};
    use tidegate_protocol::ids::KeyId;
    use tidegate_protocol::signature::{Role, Sign};

    use super::*;

    fn bundle(revision: u64, decision: &str) -> String {
        format!(
            "id: b\nrevision: {revision}\nrules:\n  - {{ id: r, match: {{ tenants: [t] }}, decision: {decision} }}\n"
        )
    }

    fn author() -> SecretKey {
        SecretKey::from_seed(KeyId::new("author").unwrap(), &[1; 32])
    }

    fn demand(required: bool) -> Demand {
        let trusted = Trusted {
            id: author().key().clone(),
            public: author().public(),
            person: None,
            roles: vec![Role::Policy],
            tenants: None,
            until_ms: None,
        };
        Demand { trust: Arc::new(Keyring::new([trusted]).unwrap()), required }
    }

    /// What two looks give, of which the first never suffices.
    fn twice(folder: &mut Folder) -> Option<Arc<Snapshot>> {
        assert!(folder.look().is_none(), "one look is no proof that nobody writes");
        folder.look()
    }

    #[test]
    fn a_file_caught_half_written_is_not_taken_for_the_whole() {
        let whole = format!("{}  - {{ id: last, invariant: true, match: {{}}, decision: deny }}\n", bundle(2, "allow"));
        let half = bundle(2, "allow");
        assert!(whole.starts_with(&half) && load([("b.yaml", &half)], None).is_ok(), "a half that is a policy itself");
        for first in [None, Some(bundle(1, "deny"))] {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("b.yaml");
            let mut follow = Folder::new(folder.path().to_owned(), demand(false));
            if let Some(first) = &first {
                std::fs::write(&file, first).unwrap();
                assert_eq!(twice(&mut follow).unwrap().revision(), 1);
            }
            std::fs::write(&file, &half).unwrap();
            assert!(follow.look().is_none(), "it has not stood there for long");
            std::fs::write(&file, &whole).unwrap();
            let taken = twice(&mut follow).unwrap();
            assert_eq!((taken.revision(), taken.rules().len()), (2, 2));
            assert!(twice(&mut follow).is_none(), "nothing changed");
        }
    }

    #[test]
    fn files_that_are_saved_one_after_the_other_are_one_change() {
        let folder = tempfile::tempdir().unwrap();
        let save = |name: &str, revision| {
            let text = bundle(revision, "allow")
                .replace("id: b", &format!("id: {name}"))
                .replace("id: r", &format!("id: r-{name}"));
            std::fs::write(folder.path().join(format!("{name}.yaml")), text).unwrap();
        };
        let mut follow = Folder::new(folder.path().to_owned(), demand(false));
        for revision in [1, 2] {
            save("a", revision);
            assert!(follow.look().is_none());
            save("b", revision);
            let taken = twice(&mut follow).unwrap();
            assert_eq!((taken.revision(), taken.rules().len()), (revision, 2));
        }
    }

    #[test]
    fn a_folder_that_comes_and_goes_is_no_change() {
        let parent = tempfile::tempdir().unwrap();
        let (here, away) = (parent.path().join("policy"), parent.path().join("away"));
        std::fs::create_dir(&here).unwrap();
        std::fs::write(here.join("b.yaml"), bundle(1, "allow")).unwrap();
        let mut follow = Folder::new(here.clone(), demand(false));
        assert_eq!(twice(&mut follow).unwrap().revision(), 1);
        std::fs::rename(&here, &away).unwrap();
        assert!(twice(&mut follow).is_none());
        std::fs::rename(&away, &here).unwrap();
        assert!(twice(&mut follow).is_none(), "it is the same");
        std::fs::write(here.join("b.yaml"), bundle(2, "deny")).unwrap();
        assert_eq!(twice(&mut follow).unwrap().revision(), 2);
    }

    #[test]
    fn a_folder_that_needs_a_signature_is_used_as_it_was_signed_and_not_otherwise() {
        let folder = tempfile::tempdir().unwrap();
        let mut follow = Folder::new(folder.path().to_owned(), demand(true));
        let sign = || {
            let text = policy_signature::sign(&author(), &read_files(folder.path()).unwrap()).unwrap();
            std::fs::write(folder.path().join(policy_signature::FILE), text).unwrap();
        };
        let file = folder.path().join("b.yaml");
        std::fs::write(&file, bundle(1, "deny")).unwrap();
        assert!(twice(&mut follow).is_none(), "not signed");
        sign();
        assert_eq!(twice(&mut follow).unwrap().revision(), 1);
        std::fs::write(&file, bundle(2, "allow")).unwrap();
        assert!(twice(&mut follow).is_none(), "changed by somebody else");
        sign();
        assert_eq!(twice(&mut follow).unwrap().revision(), 2);
        std::fs::write(folder.path().join("c.yaml"), bundle(3, "allow").replace("id: b", "id: c")).unwrap();
        assert!(twice(&mut follow).is_none(), "put in by somebody else");
    }

    #[test]
    fn a_better_set_replaces_a_bad_one_changes_nothing_and_nothing_is_reported_twice() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("b.yaml");
        let mut follow = Folder::new(folder.path().to_owned(), demand(false));
        assert!(twice(&mut follow).is_none(), "an empty folder is no policy");
        std::fs::write(&file, bundle(1, "allow")).unwrap();
        assert_eq!(twice(&mut follow).unwrap().revision(), 1);
        assert!(twice(&mut follow).is_none(), "nothing changed");
        std::fs::write(&file, bundle(2, "perhaps")).unwrap();
        assert!(twice(&mut follow).is_none(), "refused");
        std::fs::write(&file, bundle(1, "deny")).unwrap();
        assert!(twice(&mut follow).is_none(), "changed under the same revision");
        std::fs::write(&file, bundle(2, "deny")).unwrap();
        assert_eq!(twice(&mut follow).unwrap().revision(), 2);
        std::fs::write(folder.path().join("b.test.yaml"), "rubbish: [").unwrap();
        assert!(twice(&mut follow).is_none(), "cases are no policy");
    }
}
