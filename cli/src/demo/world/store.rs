//! State kept as one JSON file, changed as a whole.
//!
//! A job may run again after its lease ended, here or in another life of the process. So the output of every job that
//! changed the state is kept in the same file as its effect: the second run finds it and changes nothing. The file is
//! written beside and renamed, so that a reader (or a life after `kill -9`) finds the old state or the new one, never a
//! half. It is not synced: the example survives the process, not a power cut.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tidegate_worker::Failure;

/// A file and what it holds.
pub(crate) struct Store<S> {
    file: PathBuf,
    kept: Mutex<Kept<S>>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Kept<S> {
    state: S,
    /// Outputs of the jobs that changed it, by job id.
    #[serde(default = "BTreeMap::new")]
    done: BTreeMap<String, Box<RawValue>>,
}

/// A store that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("`{file}` cannot be {what}: {reason}")]
pub(crate) struct StoreError {
    file: String,
    what: &'static str,
    reason: String,
}

impl StoreError {
    fn new(file: &Path, what: &'static str, reason: impl ToString) -> Self {
        Self { file: file.display().to_string(), what, reason: reason.to_string() }
    }
}

impl<S: Clone + Serialize + DeserializeOwned> Store<S> {
    /// Opens `file`, or makes it with `initial`.
    ///
    /// # Errors
    /// [`StoreError`] when it can be neither read nor made.
    pub(crate) fn open(file: PathBuf, initial: &S) -> Result<Self, StoreError> {
        match fs::read(&file) {
            Ok(bytes) => {
                let kept = serde_json::from_slice(&bytes).map_err(|e| StoreError::new(&file, "read", e))?;
                Ok(Self { file, kept: Mutex::new(kept) })
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let kept = Kept { state: initial.clone(), done: BTreeMap::new() };
                write(&file, &kept)?;
                Ok(Self { file, kept: Mutex::new(kept) })
            }
            Err(error) => Err(StoreError::new(&file, "read", error)),
        }
    }

    /// Looks at the state.
    pub(crate) fn read<T>(&self, look: impl FnOnce(&S) -> T) -> T {
        look(&self.kept.lock().unwrap_or_else(PoisonError::into_inner).state)
    }

    /// Changes the state for the job of that id, once: again is the first run's output. Nothing changes on an error,
    /// and a job that failed may be tried again.
    ///
    /// # Errors
    /// What `change` says, or that the file cannot be written.
    pub(crate) fn change<O: Serialize>(
        &self,
        job: &str,
        change: impl FnOnce(&mut S) -> Result<O, Failure>,
    ) -> Result<Box<RawValue>, Failure> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(output) = kept.done.get(job) {
            return Ok(output.clone());
        }
        let mut next = kept.clone();
        let output = serde_json::value::to_raw_value(&change(&mut next.state)?)?;
        next.done.insert(job.to_owned(), output.clone());
        write(&self.file, &next)?;
        *kept = next;
        Ok(output)
    }
}

fn write<S: Serialize>(file: &Path, kept: &Kept<S>) -> Result<(), StoreError> {
    let fails = |e: std::io::Error| StoreError::new(file, "written", e);
    let text = serde_json::to_vec_pretty(kept).map_err(|e| StoreError::new(file, "written", e))?;
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder).map_err(fails)?;
    }
    let beside = file.with_extension("json.new");
    let mut new = fs::File::create(&beside).map_err(fails)?;
    new.write_all(&text).map_err(fails)?;
    fs::rename(&beside, file).map_err(fails)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(store: &Store<i64>, job: &str, n: i64) -> Result<String, String> {
        let changed = store.change(job, |total| {
            if n < 0 {
                return Err(Failure::new("negative"));
            }
            *total += n;
            Ok(*total)
        });
        changed.map(|output| output.get().to_owned()).map_err(|failure| format!("{failure:?}"))
    }

    #[test]
    fn a_job_changes_the_state_once_in_this_life_and_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("deep/counter.json");
        let store = Store::open(file.clone(), &10).unwrap();
        assert_eq!(add(&store, "a", 5).unwrap(), "15");
        assert_eq!(add(&store, "a", 5).unwrap(), "15");
        assert_eq!(add(&store, "b", 1).unwrap(), "16");
        let again = Store::open(file, &99).unwrap();
        assert_eq!(add(&again, "a", 5).unwrap(), "15", "the first run's output");
        assert_eq!(again.read(|total| *total), 16);
    }

    #[test]
    fn a_failed_job_changes_nothing_and_may_come_again() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().join("counter.json"), &1).unwrap();
        assert!(add(&store, "a", -1).unwrap_err().contains("negative"));
        assert_eq!(store.read(|total| *total), 1);
        assert_eq!(add(&store, "a", 1).unwrap(), "2");
    }

    #[test]
    fn nothing_changes_in_memory_when_the_file_cannot_be_written() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("gone/counter.json");
        let store = Store::open(file, &1).unwrap();
        std::fs::remove_dir_all(folder.path()).unwrap();
        std::fs::write(folder.path(), "a file stands where the folder was").unwrap();
        assert!(add(&store, "a", 1).unwrap_err().contains("cannot be written"));
        assert_eq!(store.read(|total| *total), 1);
    }

    #[test]
    fn a_file_that_holds_something_else_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("counter.json");
        std::fs::write(&file, "{").unwrap();
        let error = Store::<i64>::open(file, &1).err().unwrap().to_string();
        assert!(error.contains("counter.json") && error.contains("cannot be read"), "{error}");
    }
}
