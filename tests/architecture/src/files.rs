//! No long file, no drawer.

/// The most lines a Rust file may have, tests included.
pub const MOST_LINES: usize = 600;

/// Names that say nothing about what is inside; what is called so grows without end.
pub const DRAWERS: &[&str] = &["util", "utils", "common", "helper", "helpers", "manager", "managers", "misc"];

/// Names among [`DRAWERS`] that say nothing at the end of a longer name either (`lease_manager`, `kafka-utils`).
const DRAWER_ENDINGS: &[&str] = &["util", "utils", "helper", "helpers", "manager", "managers"];

/// Checks a file's length.
pub fn too_long(path: &str, text: &str) -> Option<String> {
    let lines = text.lines().count();
    (path.ends_with(".rs") && lines > MOST_LINES)
        .then(|| format!("`{path}` has {lines} lines, the most is {MOST_LINES}; one idea per file, split it"))
}

/// Checks the names along a path: of its folders and of the file, without what follows the first dot.
pub fn drawer_names(path: &str) -> Vec<String> {
    path.split('/')
        .filter(|part| {
            let name = part.split('.').find(|piece| !piece.is_empty()).unwrap_or_default().to_lowercase();
            let ending = name.rsplit(['_', '-']).next().unwrap_or_default();
            DRAWERS.contains(&name.as_str()) || DRAWER_ENDINGS.contains(&ending)
        })
        .map(|part| format!("`{path}`: the name `{part}` does not say what is inside; name it by what it does"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rust_file_of_601_lines_is_found_and_one_of_600_is_not() {
        let of = |lines: usize| "x\n".repeat(lines);
        assert!(too_long("kernel/src/decide.rs", &of(601)).is_some_and(|found| found.contains("601 lines")));
        assert_eq!(too_long("kernel/src/decide.rs", &of(600)), None);
        assert_eq!(too_long("Cargo.lock", &of(5000)), None);
    }

    #[test]
    fn a_drawer_is_found_as_a_file_and_as_a_folder() {
        for path in [
            "kernel/src/util.rs",
            "tests/common/mod.rs",
            "misc/notes.md",
            "a/Helpers/b.rs",
            "gateway/src/lease_manager.rs",
        ] {
            assert_eq!(drawer_names(path).len(), 1, "{path}");
        }
    }

    #[test]
    fn a_name_that_only_contains_a_drawers_is_none() {
        for path in
            ["stage/src/utility_curve.rs", "policy/src/common_prefix.rs", "a/management.rs", ".ci/run", "Makefile"]
        {
            assert_eq!(drawer_names(path), [""; 0], "{path}");
        }
    }
}
