//! Which crate may depend on which.
//!
//! [`LAYERS`] is the picture of DESIGN §8 as a table, one row a crate, lowest first. A row names the crates of ours it may
//! use directly; what these reach is allowed below it and nothing else. A *pure* crate has no runtime, no client, no storage
//! engine and no randomness among all its dependencies.

use std::collections::{BTreeMap, BTreeSet};

/// One crate's row.
#[derive(Clone, Copy, Debug)]
pub struct Layer {
    /// The package.
    pub name: &'static str,
    /// No IO, no async runtime, no clock, no randomness; see [`IMPURE`].
    pub pure: bool,
    /// The packages of ours it may name in its manifest.
    pub may_use: &'static [&'static str],
}

const fn pure(name: &'static str, may_use: &'static [&'static str]) -> Layer {
    Layer { name, pure: true, may_use }
}

const fn acting(name: &'static str, may_use: &'static [&'static str]) -> Layer {
    Layer { name, pure: false, may_use }
}

/// Every crate of the workspace. Only `node` names an adapter.
pub const LAYERS: &[Layer] = &[
    pure("tidegate-protocol", &[]),
    acting("tidegate-keys", &["tidegate-protocol"]),
    pure("tidegate-policy", &["tidegate-protocol"]),
    pure("tidegate-wallet", &["tidegate-protocol"]),
    pure("tidegate-spine", &["tidegate-protocol"]),
    pure("tidegate-stage", &["tidegate-spine", "tidegate-protocol"]),
    pure(
        "tidegate-kernel",
        &["tidegate-policy", "tidegate-stage", "tidegate-wallet", "tidegate-spine", "tidegate-protocol"],
    ),
    pure("tidegate-limits", &["tidegate-stage", "tidegate-spine", "tidegate-protocol"]),
    pure(
        "tidegate-scheduler",
        &["tidegate-policy", "tidegate-stage", "tidegate-wallet", "tidegate-spine", "tidegate-protocol"],
    ),
    pure("tidegate-audit", &["tidegate-stage", "tidegate-spine", "tidegate-protocol"]),
    acting("tidegate-embedded", &["tidegate-spine", "tidegate-protocol"]),
    acting("tidegate-kafka", &["tidegate-spine", "tidegate-protocol"]),
    acting("tidegate-blobs", &["tidegate-protocol"]),
    acting("tidegate-worker", &["tidegate-blobs", "tidegate-spine", "tidegate-protocol"]),
    acting(
        "tidegate-gateway",
        &[
            "tidegate-blobs",
            "tidegate-keys",
            "tidegate-worker",
            "tidegate-stage",
            "tidegate-spine",
            "tidegate-protocol",
        ],
    ),
    acting("tidegate-telemetry", &[]),
    acting(
        "tidegate-node",
        &[
            "tidegate-blobs",
            "tidegate-embedded",
            "tidegate-gateway",
            "tidegate-kafka",
            "tidegate-kernel",
            "tidegate-keys",
            "tidegate-limits",
            "tidegate-policy",
            "tidegate-protocol",
            "tidegate-scheduler",
            "tidegate-spine",
            "tidegate-stage",
            "tidegate-telemetry",
            "tidegate-worker",
        ],
    ),
    acting(
        "tidegate-bench",
        &[
            "tidegate-kernel",
            "tidegate-keys",
            "tidegate-limits",
            "tidegate-node",
            "tidegate-policy",
            "tidegate-protocol",
            "tidegate-scheduler",
            "tidegate-spine",
            "tidegate-stage",
            "tidegate-worker",
        ],
    ),
    acting("tidegate-policy-bench", &["tidegate-policy"]),
    acting(
        "tidegate-cli",
        &[
            "tidegate-audit",
            "tidegate-bench",
            "tidegate-keys",
            "tidegate-node",
            "tidegate-policy",
            "tidegate-policy-bench",
            "tidegate-protocol",
            "tidegate-spine",
            "tidegate-worker",
        ],
    ),
    acting("tidegate-takeover", &[]),
    acting("tidegate-architecture", &[]),
    acting(
        "tidegate-limits-hammer",
        &["tidegate-kernel", "tidegate-limits", "tidegate-protocol", "tidegate-spine", "tidegate-stage"],
    ),
    acting(
        "tidegate-simulation",
        &[
            "tidegate-kernel",
            "tidegate-limits",
            "tidegate-limits-hammer",
            "tidegate-policy",
            "tidegate-protocol",
            "tidegate-scheduler",
            "tidegate-spine",
            "tidegate-stage",
            "tidegate-worker",
        ],
    ),
    acting(
        "tidegate-processes",
        &["tidegate-node", "tidegate-policy", "tidegate-protocol", "tidegate-spine", "tidegate-stage"],
    ),
];

/// What no pure crate may reach: runtimes, clients, storage engines, HTTP, sources of randomness. A name stands for itself
/// and for what begins with it and a hyphen (`tokio-util`, `rdkafka-sys`). `uuid` is not named: its random ids need
/// `getrandom` or `rand`, and without them it is a number with hyphens.
pub const IMPURE: &[&str] = &[
    "tokio",
    "mio",
    "async-std",
    "smol",
    "polling",
    "rdkafka",
    "lapin",
    "redis",
    "deadpool",
    "fjall",
    "lsm-tree",
    "redb",
    "hyper",
    "axum",
    "tiny_http",
    "reqwest",
    "ureq",
    "rustls",
    "openssl",
    "socket2",
    "rand",
    "fastrand",
    "getrandom",
];

/// Clients and engines, and who may name them: the adapter whose client it is, and those that measure or judge it from
/// outside (the bench's floor, the process tests' ledger).
pub const CLIENTS: &[(&str, &[&str])] = &[
    ("rdkafka", &["tidegate-kafka", "tidegate-bench", "tidegate-processes"]),
    ("fjall", &["tidegate-embedded", "tidegate-bench"]),
    ("redb", &["tidegate-embedded", "tidegate-bench"]),
];

/// A crate's dependencies as `cargo tree` shows them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dependencies {
    /// What its manifest names.
    pub direct: BTreeSet<String>,
    /// Everything below it, the direct ones included.
    pub all: BTreeSet<String>,
}

impl Dependencies {
    /// Reads `cargo tree --prefix depth`: a line is a depth, a package name, a space and more. Depth 0 is the crate itself.
    pub fn read(tree: &str) -> Self {
        let mut read = Self::default();
        for line in tree.lines() {
            let digits = line.len() - line.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            let Some((depth, rest)) = line.split_at_checked(digits) else { continue };
            let name = rest.split(' ').next().unwrap_or_default();
            if depth.is_empty() || depth == "0" || name.is_empty() {
                continue;
            }
            if depth == "1" {
                read.direct.insert(name.to_owned());
            }
            read.all.insert(name.to_owned());
        }
        read
    }
}

/// Checks every crate of the workspace, by name, against its row. A crate without a row and a row without a crate are
/// violations too, so the table cannot fall behind.
pub fn violations(crates: &BTreeMap<String, Dependencies>, layers: &[Layer]) -> Vec<String> {
    let mut found = Vec::new();
    for layer in layers {
        match crates.get(layer.name) {
            Some(dependencies) => check(layer, dependencies, layers, &mut found),
            None => found.push(format!("`{}` has a row in LAYERS and is no crate of the workspace", layer.name)),
        }
    }
    for name in crates.keys().filter(|name| !layers.iter().any(|layer| layer.name == name.as_str())) {
        found.push(format!("`{name}` has no row in LAYERS; say there which layer it belongs to"));
    }
    found
}

fn check(layer: &Layer, dependencies: &Dependencies, layers: &[Layer], found: &mut Vec<String>) {
    let name = layer.name;
    let ours = |dependency: &&String| dependency.starts_with("tidegate-");
    for dependency in dependencies.direct.iter().filter(ours) {
        if !layer.may_use.contains(&dependency.as_str()) {
            found.push(format!(
                "`{name}` depends on `{dependency}`, which its layer may not; it may use {:?}",
                layer.may_use
            ));
        }
    }
    let below = reach(layer, layers);
    for dependency in dependencies.all.difference(&dependencies.direct).filter(ours) {
        if !below.contains(dependency.as_str()) {
            found.push(format!("`{name}` reaches `{dependency}` through other crates, which its layer may not"));
        }
    }
    if layer.pure {
        for dependency in dependencies.all.iter().filter(|dependency| is_impure(dependency)) {
            found.push(format!(
                "`{name}` is pure and reaches `{dependency}`; `cargo tree -e normal -p {name} -i {dependency}` shows how"
            ));
        }
    }
    for (client, may) in CLIENTS {
        if dependencies.direct.contains(*client) && !may.contains(&name) {
            found.push(format!("`{name}` names the client `{client}`, which only {may:?} may"));
        }
    }
}

/// The names a row allows, and those their rows allow.
fn reach<'a>(layer: &'a Layer, layers: &'a [Layer]) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut open: Vec<&str> = layer.may_use.to_vec();
    while let Some(name) = open.pop() {
        if reached.insert(name) {
            open.extend(layers.iter().filter(|layer| layer.name == name).flat_map(|layer| layer.may_use));
        }
    }
    reached
}

fn is_impure(package: &str) -> bool {
    IMPURE
        .iter()
        .any(|impure| package.strip_prefix(impure).is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '_'])))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &[Layer] = &[
        pure("tidegate-low", &[]),
        acting("tidegate-high", &["tidegate-low"]),
        acting("tidegate-top", &["tidegate-high"]),
    ];

    fn found(trees: &[(&str, &str)]) -> Vec<String> {
        let crates = trees.iter().map(|(name, tree)| ((*name).to_owned(), Dependencies::read(tree))).collect();
        violations(&crates, TWO)
    }

    const LOW: (&str, &str) = ("tidegate-low", "0tidegate-low v0.1.0 (/x)\n1bytes v1.12.2\n");
    const HIGH: (&str, &str) =
        ("tidegate-high", "0tidegate-high v0.1.0 (/x)\n1tidegate-low v0.1.0 (/x)\n2bytes v1.12.2 (*)\n");
    const TOP: (&str, &str) =
        ("tidegate-top", "0tidegate-top v0.1.0 (/x)\n1tidegate-high v0.1.0 (/x)\n2tidegate-low v0.1.0 (/x)\n");

    #[test]
    fn a_workspace_that_keeps_its_layers_has_no_violation() {
        assert_eq!(found(&[LOW, HIGH, TOP]), [""; 0]);
    }

    #[test]
    fn a_dependency_upwards_is_found() {
        let low = ("tidegate-low", "0tidegate-low v0.1.0\n1tidegate-high v0.1.0\n");
        assert!(found(&[low, HIGH, TOP])[0].contains("`tidegate-low` depends on `tidegate-high`"));
    }

    #[test]
    fn a_layer_that_is_skipped_is_found() {
        let top = ("tidegate-top", "0tidegate-top v0.1.0\n1tidegate-low v0.1.0\n");
        assert!(found(&[LOW, HIGH, top])[0].contains("`tidegate-top` depends on `tidegate-low`"));
    }

    #[test]
    fn a_crate_of_ours_reached_through_a_foreign_one_is_found() {
        let low = ("tidegate-low", "0tidegate-low v0.1.0\n1bytes v1.12.2\n2tidegate-top v0.1.0\n");
        assert!(found(&[low, HIGH, TOP])[0].contains("reaches `tidegate-top` through"));
    }

    #[test]
    fn a_runtime_far_below_a_pure_crate_is_found_and_below_an_acting_one_is_not() {
        let low = ("tidegate-low", "0tidegate-low v0.1.0\n1serde v1.0.0\n2async-compat v0.2.0\n3tokio v1.0.0\n");
        let high = ("tidegate-high", "0tidegate-high v0.1.0\n1tokio v1.0.0\n");
        let found = found(&[low, high, TOP]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("`tidegate-low` is pure and reaches `tokio`"));
    }

    #[test]
    fn a_client_outside_its_adapter_is_found() {
        let high = ("tidegate-high", "0tidegate-high v0.1.0\n1rdkafka v0.39.0\n");
        assert!(found(&[LOW, high, TOP])[0].contains("names the client `rdkafka`"));
    }

    #[test]
    fn a_crate_without_a_row_and_a_row_without_a_crate_are_found() {
        let stranger = ("tidegate-new", "0tidegate-new v0.1.0\n");
        let found = found(&[LOW, HIGH, stranger]);
        assert!(found[0].contains("`tidegate-top` has a row"));
        assert!(found[1].contains("`tidegate-new` has no row"));
    }

    #[test]
    fn a_name_is_impure_with_its_family_and_not_by_its_first_letters() {
        assert!(["tokio", "tokio-util", "rdkafka-sys", "rand_core", "hyper-util"].into_iter().all(is_impure));
        assert!(!["tokiotest", "random", "futures", "miow", "hypersync"].into_iter().any(is_impure));
    }
}
