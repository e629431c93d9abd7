//! Where the `tidegate` binary is.

use std::path::PathBuf;

use anyhow::{Context as _, bail};

/// `target/<profile>/tidegate`, beside this program (`target/<profile>/faults`, `target/<profile>/deps/<test>`).
///
/// # Errors
/// When it was not built.
pub fn tidegate() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("the path of this program is not known")?;
    for folder in own.ancestors().skip(1).take(2) {
        let binary = folder.join("tidegate");
        if binary.is_file() {
            return Ok(binary);
        }
    }
    bail!("there is no `tidegate` binary beside `{}`; run `cargo build -p tidegate-cli` first", own.display())
}
