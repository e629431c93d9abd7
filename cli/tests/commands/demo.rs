//! `tidegate demo` as somebody runs it; what it comes to is tried in `cli/src/demo/tests`.

use crate::dev::home;
use crate::{POLICY, last, run};

/// The fields that are promised, in their order, and the first that may follow.
const FIELDS: [&str; 13] = [
    "submitted",
    "approved",
    "denied",
    "held",
    "dead",
    "finished",
    "by_rule",
    "score",
    "decided_ms",
    "released_ms",
    "finished_ms",
    "data",
    "outcomes",
];

#[test]
fn the_demo_ends_with_0_and_one_document_of_the_promised_fields() {
    let home = home(POLICY);
    let (code, out, err) = run(home.path(), &["demo", "--data", "new", "--rate", "1000", "--output", "json"]);
    assert_eq!(code, Some(0), "{out}{err}");
    assert_eq!(out.lines().count(), 1, "{out}");
    let report = last(&out);
    let places: Vec<usize> = FIELDS.iter().map(|name| out.find(&format!("\"{name}\":")).unwrap()).collect();
    assert!(places[0] == 1 && places.is_sorted(), "{out}");
    let count = |name: &str| report[name].as_u64().unwrap();
    assert_eq!((count("submitted"), count("approved"), count("denied"), count("held")), (206, 143, 15, 43));
    assert_eq!(count("finished"), count("approved"));
    assert!(count("dead") > 0 && report["missing"].as_array().is_some_and(Vec::is_empty), "{report}");
    assert!(report["by_rule"].as_object().unwrap().values().all(|times| times.as_u64() > Some(0)), "{report}");
    let score = |of: &str, name: &str| report["score"][of][name].as_u64().unwrap();
    assert!(score("user", "passed") > 0 && score("user", "passed") <= score("user", "total"));
    assert!(score("injection", "stopped") > 0 && score("injection", "stopped") <= score("injection", "total"));
    for latency in ["decided_ms", "released_ms", "finished_ms"] {
        assert!(report[latency]["p50"].as_f64() <= report[latency]["p99"].as_f64(), "{report}");
        assert!(report[latency]["p50"].as_f64() > Some(0.0), "{report}");
    }
    assert!(report["data"].as_str().unwrap().ends_with("new") && home.path().join("new/world").is_dir());
    // Not twice on one folder.
    let (code, out, err) = run(home.path(), &["demo", "--data", "new"]);
    assert_eq!(code, Some(78), "{out}{err}");
    assert!(err.contains("is not empty"), "{err}");
}
