//! Alerts, dashboard and scaling name only metrics that there are.
//!
//! Every metric's name stands once as a literal in the source, beside its sentence; so what is not there is never exported.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;

use tidegate_architecture::workspace;

/// Where metrics are named for people and machines that watch.
const WATCHERS: [&str; 3] = ["deploy/prometheus/", "deploy/grafana/", "deploy/keda/"];

fn text(path: &str) -> String {
    workspace::text(path).unwrap().unwrap_or_default()
}

/// Words that begin as our metrics do.
fn named(text: &str) -> BTreeSet<String> {
    let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    text.match_indices("tidegate_").map(|(at, _)| text[at..].chars().take_while(|c| word(*c)).collect()).collect()
}

/// Without what an exporter adds to a histogram's name.
fn base(name: &str) -> &str {
    ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name)
}

#[test]
fn every_metric_that_is_watched_is_exported() {
    let tracked = workspace::tracked().unwrap();
    let source = |path: &&String| path.ends_with(".rs") && !path.contains("/tests/") && !path.starts_with("tests/");
    let mut exported = BTreeSet::new();
    for path in tracked.iter().filter(source) {
        exported.extend(named(&text(path)));
    }
    let mut watched = 0;
    for path in tracked.iter().filter(|path| WATCHERS.iter().any(|folder| path.starts_with(folder))) {
        for name in named(&text(path)) {
            watched += 1;
            assert!(exported.contains(base(&name)), "{path} names `{name}`, which nothing exports");
        }
    }
    assert!(watched > 20, "{watched} metrics are watched");
}

#[test]
fn the_dashboard_is_one_that_grafana_reads() {
    let text = text("deploy/grafana/tidegate.json");
    let dashboard: serde_json::Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<u64> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len(), "every panel has an id of its own");
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        let targets = panel["targets"].as_array().unwrap();
        assert!(targets.iter().all(|target| target["expr"].as_str().is_some_and(|expr| expr.contains("tidegate_"))));
    }
}
