//! Every crate inherits the workspace's lints.

/// Whether a manifest says `[lints] workspace = true`, in either spelling.
pub fn inherits(manifest: &str) -> bool {
    let mut table = "";
    manifest.lines().map(|line| line.split('#').next().unwrap_or_default().trim()).any(|line| {
        if line.starts_with('[') {
            table = line;
        }
        let key: String = line.chars().filter(|c| !c.is_whitespace()).collect();
        (table == "[lints]" && key == "workspace=true") || (table.is_empty() && key == "lints.workspace=true")
    })
}

/// Checks a crate's manifest.
pub fn violation(path: &str, manifest: &str) -> Option<String> {
    (!inherits(manifest)).then(|| format!("`{path}` does not inherit the lints; add `[lints]` with `workspace = true`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crate_without_the_workspaces_lints_is_found() {
        for manifest in [
            "[package]\nname = \"x\"\n",
            "[package]\nname = \"x\"\n[lints]\n",
            "[lints.rust]\nunsafe_code = \"deny\"\n",
            "[lints]\nworkspace = false\n",
            "[lints]\n# workspace = true\n",
            "[dependencies.serde]\nworkspace = true\n",
        ] {
            assert!(violation("x/Cargo.toml", manifest).is_some(), "{manifest}");
        }
    }

    #[test]
    fn both_spellings_are_understood() {
        assert!(inherits("[package]\nname = \"x\"\n\n[lints]\nworkspace = true # all of them\n"));
        assert!(inherits("lints.workspace = true\n[package]\nname = \"x\"\n"));
    }
}
