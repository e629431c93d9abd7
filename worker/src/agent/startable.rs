//! Whether there is a program to start, seen before any job comes: a worker whose command is misspelt takes no jobs at all.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// A program that cannot be started.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("command `{}` cannot be started: {why}", program.display())]
pub struct NotStartable {
    /// Where it would be.
    pub program: PathBuf,
    /// What is wrong there, and what to do.
    pub why: &'static str,
}

/// Looks for `program` where the system would: at its path, or in the folders of `PATH`. What cannot be looked at passes.
///
/// # Errors
/// [`NotStartable`]: it is not there, is no file, or may not be executed.
pub fn startable(program: &OsStr) -> Result<(), NotStartable> {
    let bad = |program: PathBuf, why| Err(NotStartable { program, why });
    let Some(at) = find(program, std::env::var_os("PATH").as_deref()) else {
        return bad(PathBuf::from(program), "no folder of `PATH` has it; correct its name, or give its path");
    };
    match std::fs::metadata(&at) {
        Ok(there) if !there.is_file() => bad(at, "that is no file; give a program"),
        Ok(there) if !may_be_executed(&there) => bad(at, "it may not be executed; `chmod +x` allows it"),
        Err(error) if error.kind() == io::ErrorKind::NotFound => bad(
            at,
            "there is no such file; correct its path, which begins at the worker's folder unless it begins with `/`",
        ),
        Ok(_) | Err(_) => Ok(()),
    }
}

fn may_be_executed(there: &std::fs::Metadata) -> bool {
    there.permissions().mode() & 0o111 != 0
}

/// Of several files in `path` the first that may be executed, else the first.
fn find(program: &OsStr, path: Option<&OsStr>) -> Option<PathBuf> {
    if program.as_bytes().contains(&b'/') {
        return Some(Path::new(program).to_owned());
    }
    // What the C library takes where `PATH` is not set.
    let path = path.unwrap_or(OsStr::new("/bin:/usr/bin"));
    let files = || std::env::split_paths(path).map(|folder| folder.join(program)).filter(|file| file.is_file());
    let executable = |file: &PathBuf| file.metadata().is_ok_and(|there| may_be_executed(&there));
    files().find(executable).or_else(|| files().next())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_looked_for_at_its_path_or_in_the_folders_of_path() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for (name, mode) in [("runs", 0o755), ("plain", 0o644)] {
            std::fs::write(at(name), "#!/bin/sh\n").unwrap();
            std::fs::set_permissions(at(name), std::fs::Permissions::from_mode(mode)).unwrap();
        }
        assert_eq!(startable(at("runs").as_os_str()), Ok(()));
        assert_eq!(startable(OsStr::new("sh")), Ok(()));
        for (program, why) in [
            (at("plain"), "may not be executed"),
            (at("missing"), "there is no such file"),
            (folder.path().to_owned(), "that is no file"),
            (PathBuf::from("no-such-program-anywhere"), "no folder of `PATH`"),
        ] {
            let error = startable(program.as_os_str()).unwrap_err().to_string();
            assert!(error.contains(why) && error.contains(program.to_str().unwrap()), "{error}");
        }
        let path = std::env::join_paths([at("none"), folder.path().to_owned()]).unwrap();
        assert_eq!(find(OsStr::new("plain"), Some(&path)), Some(at("plain")));
        assert_eq!(find(OsStr::new("runs"), Some(&path)), Some(at("runs")));
        assert_eq!(find(OsStr::new("runs"), None), None);
    }
}
