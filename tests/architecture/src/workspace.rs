//! What this workspace consists of, by cargo and git. Nothing is written and no network is used.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

use serde::Deserialize;

use crate::layers::Dependencies;

/// A crate of the workspace.
#[derive(Clone, Debug, Deserialize)]
pub struct Crate {
    /// Its package name.
    pub name: String,
    /// Its manifest, absolute.
    pub manifest_path: PathBuf,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Crate>,
}

/// The folder of the workspace.
pub fn root() -> PathBuf {
    // Two up from this crate's own folder, which is tests/architecture.
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).map_or_else(PathBuf::new, Path::to_path_buf)
}

/// The crates, in the workspace's order.
///
/// # Errors
/// cargo cannot be run, refuses, or answers something else than its metadata.
pub fn crates() -> io::Result<Vec<Crate>> {
    let answer = ask(&cargo(), &["metadata", "--no-deps", "--format-version", "1", "--locked", "--offline"])?;
    let metadata: Metadata = serde_json::from_str(&answer)?;
    Ok(metadata.packages)
}

/// The normal dependencies of every crate, by package name.
///
/// # Errors
/// As [`crates`]; also when Cargo.lock does not fit the manifests.
pub fn dependencies() -> io::Result<BTreeMap<String, Dependencies>> {
    crates()?
        .into_iter()
        .map(|Crate { name, .. }| {
            let tree = ask(
                &cargo(),
                &["tree", "--package", &name, "-e", "normal", "--prefix", "depth", "--locked", "--offline"],
            )?;
            Ok((name, Dependencies::read(&tree)))
        })
        .collect()
}

/// The paths git tracks, relative to the workspace.
///
/// # Errors
/// git cannot be run or this is no checkout.
pub fn tracked() -> io::Result<Vec<String>> {
    Ok(ask("git", &["ls-files", "-z"])?.split_terminator('\0').map(str::to_owned).collect())
}

/// The text of a tracked file; `None` if it is gone from the checkout.
///
/// # Errors
/// It is there and cannot be read as text.
pub fn text(path: &str) -> io::Result<Option<String>> {
    match fs::read_to_string(root().join(path)) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io::Error::new(error.kind(), format!("cannot read `{path}`: {error}"))),
    }
}

/// The cargo that runs the tests, else the one on the path.
fn cargo() -> String {
    std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned())
}

fn ask(program: &str, arguments: &[&str]) -> io::Result<String> {
    let asked = format!("`{program} {}`", arguments.join(" "));
    let output = Command::new(program)
        .args(arguments)
        .current_dir(root())
        .output()
        .map_err(|error| io::Error::new(error.kind(), format!("cannot run {asked}: {error}")))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(io::Error::other(format!("{asked} ended with {}: {said}", output.status)));
    }
    String::from_utf8(output.stdout).map_err(|error| io::Error::other(format!("{asked} did not answer text: {error}")))
}
