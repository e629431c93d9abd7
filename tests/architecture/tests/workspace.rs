//! The checks, applied to this workspace.

use tidegate_architecture::layers::LAYERS;
use tidegate_architecture::{files, layers, lints, workspace};

fn none(violations: Vec<String>) {
    assert!(violations.is_empty(), "\n{}\n", violations.join("\n"));
}

#[test]
fn every_crate_depends_only_on_what_its_layer_may() {
    let dependencies = workspace::dependencies().unwrap();
    assert!(dependencies["tidegate-node"].all.contains("tokio"), "cargo's tree was not understood: {dependencies:?}");
    none(layers::violations(&dependencies, LAYERS));
}

#[test]
fn no_rust_file_is_too_long() {
    let tracked = workspace::tracked().unwrap();
    let rust: Vec<_> = tracked.iter().filter(|path| path.ends_with(".rs")).collect();
    assert!(rust.len() > LAYERS.len(), "git names {} Rust files only", rust.len());
    none(rust.into_iter().filter_map(|path| files::too_long(path, &workspace::text(path).unwrap()?)).collect());
}

#[test]
fn no_file_or_folder_is_a_drawer() {
    none(workspace::tracked().unwrap().iter().flat_map(|path| files::drawer_names(path)).collect());
}

#[test]
fn every_crate_inherits_the_workspaces_lints() {
    let crates = workspace::crates().unwrap();
    assert_eq!(crates.len(), LAYERS.len());
    none(
        crates
            .into_iter()
            .filter_map(|one| {
                lints::violation(
                    &one.manifest_path.display().to_string(),
                    &std::fs::read_to_string(&one.manifest_path).unwrap(),
                )
            })
            .collect(),
    );
}
